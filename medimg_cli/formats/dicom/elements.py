"""The elements of one DICOM data set, as bytes until somebody asks for one.

A file of a series of thousands is asked for a dozen of its elements, and most of them hold the same bytes as the file
before: so nothing is decoded that nobody asks for, and what is decoded is remembered by its bytes, if they are few.

Every question has the same answer for what a damaged file may hold: an element that is absent, empty or no number is
None, and text is one line of printable characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from struct import unpack
from typing import Any

from medimg_cli.formats.dicom.tags import PRIVATE, TAGS
from medimg_cli.storage.source import ByteSource

__all__ = ["Elements", "Raw", "numbers_in", "plain", "printable"]

#: VR, bytes of the value or (offset, length) in the file where they were not read, whether they are big-endian.
Raw = tuple[str, bytes | tuple[int, int], bool]

#: VR of binary numbers -> code of ``struct`` and bytes of one.
_BINARY = {
    "US": ("H", 2), "SS": ("h", 2), "UL": ("I", 4), "SL": ("i", 4), "FL": ("f", 4), "FD": ("d", 8), "AT": ("H", 2),
    "UV": ("Q", 8), "SV": ("q", 8),
}  # fmt: skip
#: A value that is longer is no fact that anybody asks for; what one that is longer means is not remembered.
_MOST, _REMEMBERED = 1 << 24, 1 << 10
_PRIVATE = {keyword: (group, low, creator) for (group, low), (keyword, _, creator) in PRIVATE.items()}


def printable(words: str) -> str:
    """Return text as one line of printable characters.

    >>> printable("a\\x1b[31mb\\n c ")
    'a[31mb c'
    """
    line = " ".join(words.split())
    return line if line.isprintable() else "".join(c for c in line if c.isprintable())


def numbers_in(words: str) -> tuple[float, ...] | None:
    """Return the numbers that stand in text with backslashes between, as DS and IS do; None where it is none.

    >>> numbers_in("1\\\\2.5"), numbers_in("1A"), numbers_in("")
    ((1.0, 2.5), None, None)
    """
    return _numbers("DS", words.encode("ascii", "replace"), False)


def plain(value: float) -> float | int:
    """Return a number as JSON should show it: whole ones without a point."""
    return int(value) if value.is_integer() and abs(value) < 1 << 53 else value


class Elements:
    """The elements that were read of one file, by keyword (PS3.6; `PRIVATE` for those of makers).

    Parameters
    ----------
    raw : mapping of int to Raw
        By tag.
    source : ByteSource
        Where values lie that were not read.
    """

    __slots__ = ("raw", "source")

    def __init__(self, raw: Mapping[int, Raw], source: ByteSource) -> None:
        self.raw, self.source = raw, source

    def __contains__(self, keyword: str) -> bool:
        return self._find(keyword) is not None

    def __bool__(self) -> bool:
        return bool(self.raw)

    def _find(self, keyword: str) -> Raw | None:
        row = TAGS.get(keyword)
        if row is not None:
            return self.raw.get(row[0])
        group, low, creator = _PRIVATE[keyword]
        for block in range(0x10, 0x100):
            owner = self.raw.get(group << 16 | block)
            if owner is None:
                if block > 0x1F:
                    return None
                continue
            if self._words(owner).startswith(creator):
                found = self.raw.get(group << 16 | block << 8 | low)
                if found is not None:
                    return found
        return None

    def value(self, keyword: str) -> bytes:
        """Return the value of an element as it is stored; b"" where it is absent."""
        found = self._find(keyword)
        return b"" if found is None else self._loaded(found[1])

    def _loaded(self, value: bytes | tuple[int, int]) -> bytes:
        if isinstance(value, bytes):
            return value
        offset, length = value
        held = bytearray(min(length, _MOST))
        with self.source.cursor() as cursor:
            return bytes(memoryview(held)[: cursor.readinto(offset, memoryview(held))])

    def numbers(self, keyword: str) -> tuple[float, ...] | None:
        """Return all numbers of an element; None where it is absent, empty or holds something else."""
        found = self._find(keyword)
        return None if found is None else _numbers(found[0], self._loaded(found[1]), found[2])

    def number(self, keyword: str) -> float | None:
        """Return a number, the first of several; None where it is absent, empty or no finite number."""
        found = self.numbers(keyword)
        return found[0] if found else None

    def text(self, keyword: str) -> str:
        """Return an element on one line, several values with a backslash between; "" where it is absent."""
        found = self._find(keyword)
        return "" if found is None else self._words(found, self._charset())

    def _charset(self) -> str:
        found = self.raw.get(0x00080005)
        return "" if found is None else self._words(found)

    def _words(self, found: Raw, charset: str = "") -> str:
        return _words(found[0], self._loaded(found[1]), found[2], charset)

    def parts(self, keyword: str) -> tuple[str, ...]:
        """Return the values of an element as text, without empty ones."""
        return tuple(part for each in self.text(keyword).split("\\") if (part := each.strip()))

    def plain(self, keyword: str) -> Any:
        """Return the value of an element as JSON knows it; None where it is absent or empty."""
        found = self._find(keyword)
        numbers = self.numbers(keyword) if found is not None and found[0] in _NUMERIC else None
        if numbers is not None:
            values: list[Any] = list(map(plain, numbers))
        else:
            values = list(self.parts(keyword))
        return None if not values else values[0] if len(values) == 1 else values


_NUMERIC = frozenset((*_BINARY, "DS", "IS"))


def _numbers(vr: str, value: bytes, big: bool) -> tuple[float, ...] | None:
    """Return the numbers in the bytes of an element, None where they are none."""
    return (_known_numbers if len(value) <= _REMEMBERED else _read_numbers)(vr, value, big)


def _words(vr: str, value: bytes, big: bool, charset: str) -> str:
    """Return the bytes of an element on one line."""
    return (_known_words if len(value) <= _REMEMBERED else _read_words)(vr, value, big, charset)


def _read_numbers(vr: str, value: bytes, big: bool) -> tuple[float, ...] | None:
    try:
        if vr in _BINARY:
            code, size = _BINARY[vr]
            count = len(value) // size
            found = tuple(map(float, unpack(f"{'>' if big else '<'}{count}{code}", value[: count * size])))
        else:
            parts = value.decode("ascii").strip(" \0\t\r\n").split("\\")
            found = tuple(float(part) for part in parts) if parts != [""] else ()
    except (ValueError, UnicodeDecodeError):
        return None
    return found if found and all(map(isfinite, found)) else None


def _read_words(vr: str, value: bytes, big: bool, charset: str) -> str:
    if vr in _BINARY:
        found = _numbers(vr, value, big)
        return "" if found is None else "\\".join(f"{number:.15g}" for number in found)
    value = value.rstrip(b" \0")
    try:
        return printable(value.decode("ascii"))
    except UnicodeDecodeError:
        return printable(_decoded(value, charset))


_known_numbers, _known_words = lru_cache(maxsize=4096)(_read_numbers), lru_cache(maxsize=4096)(_read_words)


def _decoded(value: bytes, charset: str) -> str:
    """Return text in the character set of a file (PS3.5, 6.1)."""
    if charset == "ISO_IR 192":
        return value.decode("utf-8", "replace")
    if not charset or charset == "ISO_IR 100":
        return value.decode("latin-1")
    from pydicom.charset import convert_encodings, decode_bytes

    try:
        return str(decode_bytes(value, convert_encodings(charset.split("\\")), {"\\", "\r", "\n", "\t", "\f"}))
    except (LookupError, ValueError):
        return value.decode("latin-1")

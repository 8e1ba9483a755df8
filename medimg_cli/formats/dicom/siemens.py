"""What Siemens scanners write beside the standard: the CSA header, and the protocol of the measurement in it.

A CSA header is a list of fields, each with a name of 64 bytes and some items of text. Two forms of it exist: one of
syngo VA and before, and the one that starts with ``SV10``. Neither is documented by its maker; what is known of them is
in the documentation of nibabel (SIEMENS CSA header) and of dcm2niix.

Decisions:

- Only text of printable characters is handed on, and at most what a real scanner writes: 65536 items.
- Numbers of the old form give the length of an item from that of the first field on, and may end early: what is cut
  off there is empty. A header of the new form that runs past its end is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import isfinite
from struct import Struct
from types import MappingProxyType

from medimg_cli.errors import FormatError
from medimg_cli.formats.dicom.elements import Elements, printable

__all__ = ["Fields", "csa_header", "csa_number", "csa_numbers", "protocol"]

Fields = Mapping[str, tuple[str, ...]]

_MAGIC = b"SV10"
#: Name, multiplicity, VR, data type, items, an end mark.
_FIELD = Struct("<64si4siii")
#: What precedes an item; one of the four is its length.
_ITEM = Struct("<4i")
_COUNT = Struct("<I")
_MOST_FIELDS, _MOST_ITEMS = 1024, 1 << 16
_NOTHING: Fields = MappingProxyType({})
_BEGIN, _END = "### ASCCONV BEGIN", "### ASCCONV END"


def csa_header(elements: Elements, keyword: str = "SiemensImageHeader") -> Fields:
    """Return the fields of a CSA header that hold something: name -> values as text.

    Parameters
    ----------
    elements : Elements
    keyword : str
        "SiemensImageHeader" (0029,xx10) or "SiemensSeriesHeader" (0029,xx20).

    Returns
    -------
    mapping of str to tuple of str
        Empty where the file has no such header.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    return _parsed(elements.value(keyword), keyword)


def csa_numbers(fields: Fields, name: str) -> tuple[float, ...] | None:
    """Return the numbers of a field; None where it is absent or holds something else.

    >>> csa_numbers({"B_value": ("1000",)}, "B_value")
    (1000.0,)
    """
    try:
        found = tuple(float(value) for value in fields.get(name, ()))
    except ValueError:
        return None
    return found if found and all(map(isfinite, found)) else None


def csa_number(fields: Fields, name: str) -> float | None:
    """Return the first number of a field; None where it has none."""
    found = csa_numbers(fields, name)
    return found[0] if found else None


def protocol(elements: Elements, keyword: str = "SiemensSeriesHeader") -> Mapping[str, str]:
    """Return the protocol of the measurement: the lines ``name = value`` between the ASCCONV marks.

    Parameters
    ----------
    elements : Elements
    keyword : str
        "SiemensSeriesHeader" (0029,xx20), or "SiemensProtocol" (0021,xx19) of syngo XA.

    Raises
    ------
    FormatError
        If the header that holds it is damaged.
    """
    return _protocol(elements.value(keyword))


@lru_cache(maxsize=2)
def _protocol(value: bytes) -> Mapping[str, str]:
    text = value.decode("latin-1")
    start = text.rfind(_BEGIN)
    end = text.find(_END, start)
    if start < 0 or end < 0:
        return MappingProxyType({})
    lines = (line.partition("=") for line in text[start:end].splitlines()[1:])
    return MappingProxyType({printable(name): printable(said).strip('"') for name, mark, said in lines if mark})


@lru_cache(maxsize=4)
def _parsed(value: bytes, keyword: str) -> Fields:
    """Return the fields of a header."""
    if not value.strip(b"\0 "):
        return _NOTHING
    new = value.startswith(_MAGIC)
    at = 8 if new else 0
    if len(value) < at + 8:
        raise FormatError(f"its {keyword} is cut off after {len(value)} bytes")
    count = _COUNT.unpack_from(value, at)[0]
    if not 0 < count <= _MOST_FIELDS:
        raise FormatError(f"its {keyword} is damaged: it says that it has {count} fields")
    try:
        return MappingProxyType({name: items for name, items in _fields(value, at + 8, count, new) if items})
    except FormatError as error:
        raise FormatError(f"its {keyword} is damaged: {error.message}") from None


def _fields(value: bytes, at: int, count: int, new: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give name and values of each field."""
    base, total = 0, 0
    for n in range(count):
        if at + _FIELD.size > len(value):
            raise FormatError(f"{n} of {count} fields are there")
        raw, multiplicity, _, _, items, _ = _FIELD.unpack_from(value, at)
        name = printable(raw.partition(b"\0")[0].decode("latin-1"))
        base = items if n == 0 else base
        total += items
        if items < 0 or multiplicity < 0 or total > _MOST_ITEMS:
            raise FormatError(f"field {n + 1} of {count} has {items} items")
        found, at = _items(value, at + _FIELD.size, items, None if new else base)
        kept = found[: multiplicity or len(found)]
        while kept and not kept[-1]:
            kept.pop()
        yield name, tuple(kept)


def _items(value: bytes, at: int, count: int, base: int | None) -> tuple[list[str], int]:
    """Return the items of a field, and where the next field starts; ``base`` is what lengths of the old form start at.

    Items start at multiples of four bytes.
    """
    found: list[str] = []
    for _ in range(count):
        if at + _ITEM.size > len(value):
            raise FormatError("an item runs past its end")
        first, second, _, _ = _ITEM.unpack_from(value, at)
        at += _ITEM.size
        length = second if base is None else first - base
        if length < 0 or at + length > len(value):
            if base is not None:
                break
            raise FormatError(f"an item of {length} bytes runs past its end")
        found.append(printable(value[at : at + length].partition(b"\0")[0].decode("latin-1")))
        at += length + -length % 4
    return found, at

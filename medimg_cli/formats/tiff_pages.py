"""The pages of a TIFF file: their tags, parsed within bounds, and what they say about the voxels.

Source: TIFF revision 6.0 (Adobe, 1992), its Technical Notes, and BigTIFF. Nothing here decodes voxels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError
from medimg_cli.formats.text import decoded
from medimg_cli.storage.source import ByteSource, Cursor

__all__ = ["Page", "byte_order_of", "read_pages"]

#: Values of one tag, pages of one file and tags of one page that are read at most.
_MOST_VALUES, _MOST_PAGES, _MOST_TAGS = 1 << 22, 1 << 20, 4096

#: Field type -> (struct code, bytes); RATIONAL is a pair.
_TYPES = {
    1: ("B", 1), 2: ("s", 1), 3: ("H", 2), 4: ("I", 4), 5: ("II", 8), 6: ("b", 1), 7: ("s", 1), 8: ("h", 2),
    9: ("i", 4), 11: ("f", 4), 12: ("d", 8), 13: ("I", 4), 16: ("Q", 8), 17: ("q", 8), 18: ("Q", 8),
}  # fmt: skip

#: (bits, SampleFormat) -> dtype; format 4 (undefined) counts as unsigned.
_DTYPES = {
    **{(bits, form): f"uint{bits}" for bits in (8, 16, 32, 64) for form in (1, 4)},
    **{(bits, 2): f"int{bits}" for bits in (8, 16, 32, 64)},
    **{(bits, 3): f"float{bits}" for bits in (16, 32, 64)},
    **{(bits, 6): f"complex{bits}" for bits in (64, 128)},
}
#: Bytes that one byte of a compressed strip can stand for at most; 2 to 4 (fax) spend a bit on a blank row.
_RATIOS = {1: 1, 5: 2560, 6: 256, 7: 256, 8: 1032, 32773: 64, 32946: 1032}

_IMAGE_WIDTH, _IMAGE_LENGTH, _STRIP_OFFSETS, _TILE_OFFSETS = 256, 257, 273, 324
#: Tags that say where and what the samples are, read of every page; and those read of the first one only.
_OF_ALL = frozenset({254, 256, 257, 258, 259, 262, 273, 277, 279, 284, 324, 325, 339})
_OF_FIRST = _OF_ALL | {270, 274, 282, 283, 296}


class Page(NamedTuple):
    """One image file directory: tag -> values, and how many bytes the file has."""

    tags: dict[int, tuple[Any, ...]]
    size: int

    def value(self, tag: int, default: int) -> int:
        """Return the single whole number of a tag."""
        values = self.tags.get(tag, ())
        return int(values[0]) if values and isinstance(values[0], int) else default

    def text(self, tag: int) -> str:
        """Return the text of a tag, up to its first null character."""
        values = self.tags.get(tag, ())
        raw = values[0].partition(b"\0")[0] if values and isinstance(values[0], bytes) else b""
        return decoded(raw)

    def ratio(self, tag: int) -> float | None:
        """Return a RATIONAL above 0, or None."""
        values = self.tags.get(tag, ())
        if len(values) < 2 or not isinstance(values[0], int) or min(values[:2]) <= 0:
            return None
        return float(values[0] / values[1])

    @property
    def width(self) -> int:
        return self.value(_IMAGE_WIDTH, 0)

    @property
    def height(self) -> int:
        return self.value(_IMAGE_LENGTH, 0)

    @property
    def samples(self) -> int:
        return self.value(277, 1)

    @property
    def photometric(self) -> int:
        return self.value(262, 1)

    @property
    def dtype(self) -> str | None:
        """Type of one sample, None where it is none of ours or differs between samples."""
        bits, forms = set(self.tags.get(258, (1,))), set(self.tags.get(339, (1,)))
        return _DTYPES.get((min(bits), min(forms))) if len(bits) == len(forms) == 1 else None

    @property
    def nbytes(self) -> int:
        """Bytes of its samples, uncompressed."""
        return self.width * self.height * self.samples * (ITEMSIZE[self.dtype] if self.dtype else 1)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What pages of one stack have in common."""
        return self.width, self.height, self.samples, self.photometric, self.tags.get(258), self.tags.get(339)

    @property
    def is_extra(self) -> bool:
        """Whether it is a thumbnail or a mask of another page (NewSubfileType, bits 0 and 2)."""
        return bool(self.value(254, 0) & 5)

    def places(self) -> list[tuple[int, int]]:
        """Return offset and bytes of its strips or tiles."""
        tiled = _TILE_OFFSETS in self.tags
        offsets = self.tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, ())
        counts = self.tags.get(325 if tiled else 279, ())
        if not counts and len(offsets) == 1:
            counts = (self.nbytes,)
        return list(zip(offsets, counts, strict=False))

    def plain_offset(self) -> int | None:
        """Return where its samples begin, if they lie there uncompressed, without gaps, to be taken as they are."""
        places = self.places()
        if (
            self.value(259, 1) != 1
            or self.photometric not in (1, 2)
            or self.dtype is None
            or _TILE_OFFSETS in self.tags
            or not (self.value(284, 1) == 1 or self.samples == 1)
            or not places
        ):
            return None
        end = places[0][0]
        for offset, count in places:
            if offset != end:
                return None
            end += count
        return int(places[0][0]) if end - places[0][0] >= self.nbytes else None

    def check(self, name: str) -> None:
        """Refuse a page that cannot be: no size, no voxels, or voxels that its bytes cannot stand for.

        Raises
        ------
        TruncatedError
            If strips lie beyond the end of the file.
        FormatError
            If sizes are absurd.
        """
        if not 0 < self.width < 1 << 31 or not 0 < self.height < 1 << 31 or not 0 < self.samples <= 1 << 16:
            raise FormatError(f"a page of {self.width} x {self.height} x {self.samples} samples cannot be", path=name)
        places = self.places()
        if not places:
            raise FormatError("a page has neither strips nor tiles", path=name)
        end = max(offset + count for offset, count in places)
        if end > self.size:
            raise TruncatedError(f"truncated: {self.size} bytes, a page needs {end}", path=name)
        compression = self.value(259, 1)
        ratio = 8 * self.width if compression in (2, 3, 4) else _RATIOS.get(compression, 45_000)
        there = sum(count for _, count in places)
        if self.nbytes > there * ratio * (8 if self.dtype is None else 1) + 64:
            raise TruncatedError(f"{there} bytes cannot hold a page of {self.nbytes} bytes", path=name)


class _Reader:
    """Reads numbers of one byte order from any place of a source."""

    def __init__(self, cursor: Cursor, size: int, order: str, big: bool, name: str) -> None:
        self.cursor, self.size, self.order, self.big, self.name = cursor, size, order, big, name

    def take(self, offset: int, count: int, ahead: int = 0) -> bytes:
        """Return ``count`` bytes, and up to ``ahead`` more where they are there."""
        if offset + count > self.size:
            raise TruncatedError(f"truncated: {self.size} bytes, a directory needs {offset + count}", path=self.name)
        view = bytearray(min(count + ahead, self.size - offset))
        self.cursor.readinto(offset, memoryview(view))
        return bytes(view)

    def number(self, raw: bytes) -> int:
        return int.from_bytes(raw, "little" if self.order == "<" else "big")

    def directory(self, offset: int, wanted: frozenset[int]) -> tuple[Page, int]:
        """Return the page at an offset and the offset of the next one, 0 where it is the last."""
        width, entry, word = (8, 20, 8) if self.big else (2, 12, 4)
        start = self.take(offset, width, 512)
        count = self.number(start[:width])
        if not 0 < count <= _MOST_TAGS:
            raise FormatError(f"a TIFF directory of {count} entries cannot be", path=self.name)
        size = count * entry + word
        raw = start[width : width + size] if len(start) >= width + size else self.take(offset + width, size)
        tags: dict[int, tuple[Any, ...]] = {}
        for at in range(0, count * entry, entry):
            tag, kind = struct.unpack_from(self.order + "HH", raw, at)
            if tag in tags:
                raise FormatError(f"TIFF tag {tag} stands there twice", path=self.name)
            if tag in wanted and kind in _TYPES:
                tags[tag] = self._values(kind, raw[at + 4 : at + 4 + word], raw[at + 4 + word : at + entry])
        return Page(tags, self.size), self.number(raw[count * entry :])

    def _values(self, kind: int, count_bytes: bytes, inline: bytes) -> tuple[Any, ...]:
        count = self.number(count_bytes)
        code, width = _TYPES[kind]
        if count > _MOST_VALUES:
            raise FormatError(f"a TIFF tag of {count} values cannot be", path=self.name)
        raw = inline if count * width <= len(inline) else self.take(self.number(inline), count * width)
        if code == "s":
            return (raw[:count],)
        return struct.unpack_from(f"{self.order}{count * len(code)}{code[0]}", raw)


def read_pages(source: ByteSource, size: int) -> Iterator[Page]:
    """Yield the pages of a TIFF file one by one.

    Raises
    ------
    TruncatedError
        If a directory lies beyond the end.
    FormatError
        If the magic is missing, or directories are absurd or run in a circle.
    """
    head = source.head(16)
    order = byte_order_of(head)
    if order is None or len(head) < 8:
        raise UnknownFormatError("has no TIFF magic", path=source.name)
    code = "<" if order == "little" else ">"
    (version,) = struct.unpack_from(code + "H", head, 2)
    if version not in (42, 43) or (version == 43 and len(head) < 16):
        raise UnknownFormatError("has no TIFF magic", path=source.name)
    (offset,) = struct.unpack_from(code + ("Q" if version == 43 else "I"), head, 8 if version == 43 else 4)
    count, mark, until = 0, 0, 1
    with source.cursor() as cursor:
        reader = _Reader(cursor, size, code, version == 43, source.name)
        while offset:
            page, offset = reader.directory(offset, _OF_ALL if count else _OF_FIRST)
            yield page
            count += 1
            if (offset and offset == mark) or count >= _MOST_PAGES:  # Brent: a circle comes back to one of the marks
                raise FormatError("its TIFF directories run in a circle or have no end", path=source.name)
            if count == until:
                mark, until = offset, 2 * until
    if not count:
        raise FormatError("has no pages", path=source.name)


def byte_order_of(head: bytes) -> str | None:
    """Return the byte order that the first two bytes tell."""
    return {b"II": "little", b"MM": "big"}.get(head[:2])

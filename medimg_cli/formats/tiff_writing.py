"""The directories of a TIFF file to be written: one page a slice, all of one size, uncompressed, one strip each."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any, NamedTuple

from medimg_cli.dtypes import ITEMSIZE, kind
from medimg_cli.header import Header

__all__ = ["directories"]

#: struct code -> (field type, bytes).
_TYPES = {"H": (3, 2), "I": (4, 4), "II": (5, 8), "s": (2, 1), "Q": (16, 8)}
_SAMPLE_FORMATS = {"uint": 1, "int": 2, "float": 3, "complex": 6}
_STRIP_OFFSETS = 273


class _Style(NamedTuple):
    """Byte order, and whether offsets have 8 bytes (BigTIFF)."""

    order: str
    big: bool

    @property
    def word(self) -> str:
        return "Q" if self.big else "I"

    @property
    def word_size(self) -> int:
        return 8 if self.big else 4

    def pack(self, code: str, *values: Any) -> bytes:
        return struct.pack(self.order + code, *values)

    def directory_size(self, entries: int) -> int:
        return 8 + 20 * entries + 8 if self.big else 2 + 12 * entries + 4


def directories(header: Header, samples: int, pages: int, resolution: tuple[Fraction, Fraction], text: bytes) -> bytes:
    """Return everything in front of the voxels.

    Parameters
    ----------
    header : Header
    samples : int
        Samples of a pixel.
    pages : int
    resolution : (Fraction, Fraction)
        Pixels in a centimetre along I and J.
    text : bytes
        Description; none where empty.
    """
    too_long = header.data_bytes + pages * 512 > (1 << 32) - (1 << 20)
    style = _Style("<" if header.byte_order == "little" else ">", too_long)
    start = 16 if style.big else 8
    pool = bytearray()
    page_bytes = header.data_bytes // pages
    entries = []
    for tag, code, values in _tags(header, samples, pages, resolution, text, page_bytes, style):
        kind_number, width = _TYPES[code]
        raw = values if isinstance(values, bytes) else style.pack(f"{len(values)}{code[0]}", *values)
        if len(raw) > style.word_size:
            place = start + len(pool)
            pool += raw.ljust(-(-len(raw) // 8) * 8, b"\0")
            inline = style.pack(style.word, place)
        else:
            inline = raw
        start_of = style.pack("HH", tag, kind_number) + style.pack(style.word, len(raw) // width)
        entries.append((tag, start_of + inline.ljust(style.word_size, b"\0")))
    one = style.directory_size(len(entries))
    first = start + len(pool)
    data = -(-(first + pages * one) // 16) * 16
    out = bytearray(_file_header(style, first) + pool)
    count_code = "Q" if style.big else "H"
    for n in range(pages):
        out += style.pack(count_code, len(entries))
        there = style.pack(style.word, data + n * page_bytes)
        out += b"".join(raw[: -style.word_size] + there if tag == _STRIP_OFFSETS else raw for tag, raw in entries)
        out += style.pack(style.word, first + (n + 1) * one if n + 1 < pages else 0)
    return bytes(out).ljust(data, b"\0")


def _file_header(style: _Style, first: int) -> bytes:
    mark = b"II" if style.order == "<" else b"MM"
    return mark + (style.pack("HHHQ", 43, 8, 0, first) if style.big else style.pack("HI", 42, first))


def _tags(
    header: Header,
    samples: int,
    pages: int,
    resolution: tuple[Fraction, Fraction],
    text: bytes,
    page_bytes: int,
    style: _Style,
) -> list[tuple[int, str, Any]]:
    """Return the tags of a page in ascending order, as (tag, struct code, values)."""
    x, y = resolution
    tags: list[tuple[int, str, Any]] = [
        (254, "I", (2 if pages > 1 else 0,)),
        (256, "I", (header.shape[1],)),
        (257, "I", (header.shape[2],)),
        (258, "H", (8 * ITEMSIZE[header.dtype],) * samples),
        (259, "H", (1,)),
        (262, "H", (2 if samples > 1 else 1,)),
    ]
    if text:
        tags.append((270, "s", text + b"\0"))
    tags += [
        (_STRIP_OFFSETS, style.word, (0,)),
        (277, "H", (samples,)),
        (278, "I", (header.shape[2],)),
        (279, style.word, (page_bytes,)),
        (282, "II", (x.numerator, x.denominator)),
        (283, "II", (y.numerator, y.denominator)),
        (284, "H", (1,)),
        (296, "H", (3,)),
    ]
    if samples > 3:
        tags.append((338, "H", (0,) * (samples - 3)))
    tags.append((339, "H", (_SAMPLE_FORMATS[kind(header.dtype)],) * samples))
    return tags

"""What a codestream says of the frame in it: JPEG and JPEG-LS (SOF markers), JPEG 2000 (SIZ).

Decoders take memory by these numbers, not by those of the DICOM header: so both have to agree before one is called.
"""

from __future__ import annotations

from struct import unpack_from
from typing import NamedTuple

__all__ = ["Codestream", "codestream"]

#: Markers of a start of frame: JPEG's (not DHT C4, JPG C8, DAC CC), and F7 of JPEG-LS.
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7))
#: Markers without a length: TEM, RST0 to RST7, SOI.
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))
_BOX = b"\x00\x00\x00\x0cjP  "


class Codestream(NamedTuple):
    """Size of the frame in a codestream.

    Parameters
    ----------
    rows, columns, samples : int
    precision : int
        Bits of a sample.
    """

    rows: int
    columns: int
    samples: int
    precision: int


def codestream(data: bytes) -> Codestream | None:
    """Return what a codestream says of its frame; None where it is none, or ends before it says so.

    >>> codestream(bytes.fromhex("ffd8ffc0000b0800030005010111 00"))
    Codestream(rows=3, columns=5, samples=1, precision=8)
    """
    if data.startswith(_BOX):  # JP2, which a few writers put around the codestream
        data = data[max(data.find(b"\xff\x4f\xff\x51"), 0) :]
    if data.startswith(b"\xff\x4f\xff\x51") and len(data) >= 43:
        right, low, left, top = unpack_from(">4I", data, 8)
        (samples,) = unpack_from(">H", data, 40)
        return Codestream(low - top, right - left, samples, (data[42] & 0x7F) + 1)
    return _jpeg(data) if data.startswith(b"\xff\xd8") else None


def _jpeg(data: bytes) -> Codestream | None:
    """Walk through the segments of JPEG up to the start of frame."""
    at = 2
    while at + 10 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        elif marker in _FRAMES:
            precision, rows, columns, samples = unpack_from(">BHHB", data, at + 4)
            return Codestream(rows, columns, samples, precision)
        else:
            at += 2 + max(unpack_from(">H", data, at + 2)[0], 2)
    return None

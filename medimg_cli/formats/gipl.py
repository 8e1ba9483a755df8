"""GIPL (Guy's Image Processing Lab): a header of 256 bytes, big-endian, and packed voxels.

Source: ``itkGiplImageIO``, which reads and writes what VolView, IRTK and MIRTK exchange. Offsets: sizes (4 uint16) at
0, type at 8, voxel sizes (4 float32) at 10, one line of text (80) at 26, origin (4 float64) at 204, magic at 252. The
format stores no direction; as in ITK its axes run along LPS and the origin is the centre of the first voxel. The
fourth axis is time where its step is neither 0 nor 1, else plain channels.

The header is read here and the voxels by medimg itself: SimpleITK 2.5 fills a truncated file with zeros, writes
vectors as something else without a word and cannot read the uint32 files that it writes.
"""

from __future__ import annotations

import struct
from math import isfinite
from typing import TYPE_CHECKING

from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.errors import TruncatedError, UnknownFormatError, UnsupportedError
from medimg_cli.formats.foreign import (
    bare,
    check_shape,
    lps_affine,
    refuse_size,
    sane_origin,
    sane_spacing,
    single_line,
    widened,
)
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

if TYPE_CHECKING:
    from medimg_cli.formats.writing import Encoded

__all__ = ["encode", "fit", "open"]

SIZE = 256
_MAGIC = (0xEFFFE9B0, 0x2AE389B8)
_TYPES = {
    7: "int8", 8: "uint8", 15: "int16", 16: "uint16", 31: "uint32", 32: "int32", 64: "float32", 65: "float64",
    192: "complex64", 193: "complex128",
}  # fmt: skip
_CODES = {dtype: code for code, dtype in _TYPES.items()}
_WRITABLE = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64", "complex64", "complex128")
#: What ITK writes into the line of text where there is none.
_NO_TEXT = "No Patient Information"


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a GIPL file.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If the magic is missing or the sizes cannot be.
    UnsupportedError
        If the voxels are of a type without counterpart.
    """
    head = source.head(SIZE)
    if len(head) < SIZE:
        raise TruncatedError(f"ends after {len(head)} bytes, a GIPL header has {SIZE}", path=source.name)
    *sizes, code = struct.unpack_from(">5H", head, 0)
    (magic,) = struct.unpack_from(">I", head, 252)
    if magic not in _MAGIC:
        raise UnknownFormatError(f"has no GIPL magic, found {magic:#010x}", path=source.name)
    if code not in _TYPES:
        raise UnsupportedError(f"GIPL image type {code} is not supported", path=source.name)
    # Writers leave the sizes of axes that are not there at 0.
    i, j, k, c = sizes[0], *(size or 1 for size in sizes[1:])
    dtype = _TYPES[code]
    check_shape((c, i, j, k), dtype, source.name)
    notes: list[str] = []
    steps = struct.unpack_from(">4f", head, 10)
    affine = lps_affine(sane_spacing(steps[:3], notes), sane_origin(struct.unpack_from(">3d", head, 204), notes))
    timed = c > 1 and steps[3] not in (0.0, 1.0) and isfinite(steps[3]) and steps[3] > 0
    text = head[26:106].partition(b"\0")[0].decode("latin-1").strip()
    header = Header(
        shape=(c, i, j, k),
        dtype=dtype,
        affine=affine,
        axes=(("time" if timed else "channel", c),) if c > 1 else (),
        byte_order="big",
        affine_source="gipl",
        time_spacing=steps[3] if timed else None,
        description="" if text == _NO_TEXT else text,
        warnings=tuple(notes),
    )
    return StoredBackend(StoredArray(source, SIZE, Layout.packed(header.shape, dtype, byte_order="big")), header)


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a GIPL file: no direction, no slope, one axis for all channels.

    Raises
    ------
    UnsupportedError
        If no type of GIPL holds every value, or an axis is longer than 65535.
    """
    refuse_size(header, 65535, "GIPL")
    axes = header.channel_axes()
    step = _float32(header.time_spacing or 0.0)
    timed = len(axes) == 1 and axes[0][0] == "time" and header.channels > 1 and step not in (0.0, 1.0) and step > 0
    return bare(
        header,
        dtype=widened(header, _WRITABLE, "GIPL"),
        affine=lps_affine([_float32(size) for size in header.spacing], header.affine.to_lps().origin),
        axes=(("time" if timed else "channel", header.channels),) if header.channels > 1 else (),
        affine_source="gipl",
        byte_order="big",
        time_spacing=step if timed else None,
        description=single_line(header.description, 79),
    )


def encode(header: Header, name: str, level: int | None) -> Encoded:
    """Lay out a fitted header for a GIPL file."""
    from medimg_cli.formats.writing import Encoded, output_compression

    head = bytearray(SIZE)
    c, i, j, k = header.shape
    struct.pack_into(">5H", head, 0, i, j, k, c, _CODES[header.dtype])
    struct.pack_into(">4f", head, 10, *header.spacing, header.time_spacing or 1.0)
    head[26:105] = (header.description or _NO_TEXT).encode("latin-1", "replace")[:79].ljust(79, b"\0")
    struct.pack_into(">3d", head, 204, *header.affine.to_lps().origin)
    struct.pack_into(">I", head, 252, _MAGIC[0])
    layout = Layout.packed(header.shape, header.dtype, byte_order="big")
    return Encoded(layout=layout, head=bytes(head), compression=output_compression(name))


def _float32(value: float) -> float:
    rounded: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return rounded

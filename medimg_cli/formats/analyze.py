"""Analyze 7.5 (Mayo Clinic): a header of 348 bytes and a file of voxels. Read only.

The format stores no orientation that software agrees on; ``nifti1.h`` (method 1) attaches none to such files, and
neither does medimg: the affine is the voxel sizes, origin 0, and the header warns. SPM's scale factor in ``funused1``
and origin in ``originator`` are not part of the format and not applied.
"""

from __future__ import annotations

import struct
from math import isfinite, prod

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError, UnsupportedError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.nifti import bytes_of_pair, header_of_pair, voxels_of_pair
from medimg_cli.formats.nifti_fields import recognise, text
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["open"]

#: datatype -> (dtype, components); 128 is DT_RGB.
_DATATYPES = {
    2: ("uint8", 1), 4: ("int16", 1), 8: ("int32", 1), 16: ("float32", 1), 32: ("complex64", 1), 64: ("float64", 1),
    128: ("uint8", 3),
}  # fmt: skip


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an Analyze pair; the name of either file will do.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If sizes or datatype cannot be.
    """
    stem, suffix, _ = split_suffix(source.name)
    if suffix == ".img":
        source = header_of_pair(source, stem)
    head = source.head(348)
    if head[344:346] in (b"n+", b"ni"):
        recognise(head, source.name)  # a damaged NIfTI header says so
        from medimg_cli.formats import nifti

        return nifti.open(source, compression)
    order = "little" if head[:4] == b"\x5c\x01\0\0" else "big"
    if len(head) < 348:
        raise TruncatedError(f"ends after {len(head)} bytes, an Analyze header has 348", path=source.name)
    size = int.from_bytes(head[:4], order)  # type: ignore[arg-type]
    if size != 348:
        raise UnknownFormatError(f"is no Analyze header: sizeof_hdr is {size}, expected 348", path=source.name)
    header, offset = _neutral(head, order, source.name)
    data, problem = voxels_of_pair(source, stem)
    if problem is None:
        header = header.replace(file_bytes=bytes_of_pair(source, data))
    sizes = [size for _, size in header.axes]
    rgb = bool(header.axes) and header.axes[-1][0] == "rgb"
    axes = [2 + len(sizes), 0, 1, 2] if rgb else [0, 1, 2]
    layout = Layout.packed(header.shape, header.dtype, byte_order=order, order=axes, channels=sizes)
    return StoredBackend(StoredArray(data, offset, layout), header, problem)


def _neutral(head: bytes, order: str, name: str) -> tuple[Header, int]:
    prefix = "<" if order == "little" else ">"
    dim = struct.unpack_from(prefix + "8h", head, 40)
    (datatype,) = struct.unpack_from(prefix + "h", head, 70)
    pixdim = struct.unpack_from(prefix + "8f", head, 76)
    (offset,) = struct.unpack_from(prefix + "f", head, 108)
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise FormatError(f"dim is {dim}: no shape of an image", path=name)
    if datatype not in _DATATYPES:
        raise UnsupportedError(f"Analyze datatype {datatype} is not supported", path=name)
    if not isfinite(offset) or abs(offset) > 1 << 40:
        raise FormatError(f"vox_offset is {offset:g}: voxels cannot lie there", path=name)
    dtype, components = _DATATYPES[datatype]
    warnings = ["orientation is unknown: Analyze 7.5 stores none (voxel sizes alone)"]
    sizes = [abs(p) if isfinite(p) and p else 1.0 for p in pixdim[1:4]]
    if list(pixdim[1:4]) != sizes:
        warnings.append("a voxel size is not above 0; its absolute value, or 1, is used")
    step = pixdim[4]
    spatial = [*dim[1 : dim[0] + 1], 1, 1]
    axes = [("channel", size) for size in dim[4 : dim[0] + 1]]
    time_spacing = None
    if axes and isfinite(step) and step > 0 and step != 1:
        axes[0], time_spacing = ("time", axes[0][1]), step
    if components > 1:
        axes.append(("rgb", components))
    affine = AffineMatrix.from_spacing(sizes)
    header = Header(
        shape=(prod(size for _, size in axes), *spatial[:3]),  # type: ignore[arg-type]
        dtype=dtype,
        affine=affine,
        format="analyze",
        axes=tuple(axes),
        ndim=min(dim[0], 3),
        byte_order=order,
        affine_source="pixdim",
        time_spacing=time_spacing,
        description=text(head[148:228]),
        warnings=tuple(warnings),
    )
    return header, abs(int(offset))

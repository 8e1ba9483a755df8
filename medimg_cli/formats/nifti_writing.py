"""The writing half of the NIfTI codec: a neutral header to raw fields, patching a native header where there is one."""

from __future__ import annotations

import struct
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.nifti import EXTRA_FIELDS, layout_of, neutral, timed
from medimg_cli.formats.nifti_fields import (
    DATATYPES,
    INTENTS,
    SIZES,
    SPACE_UNITS,
    Fields,
    affine_quaternion,
    extension_bytes,
    quaternion_affine,
    text_bytes,
    unpack,
)
from medimg_cli.formats.writing import Encoded
from medimg_cli.header import Header

__all__ = ["build", "encoded", "placed"]

#: dtypes that NIfTI lacks -> the narrowest that holds all their values.
_WIDER = {"bool": "uint8", "float16": "float32"}
_CODES = {pair: code for code, pair in DATATYPES.items()}
_INTENT_CODES = {name: code for code, name in INTENTS.items()}
#: Voxel sizes that NIfTI-1 can count.
_MOST_VOXELS = 32767


def build(header: Header) -> tuple[Fields, int, str]:
    """Return raw fields, version and byte order for a header.

    A header that came from NIfTI starts from its own raw fields, and only those change whose neutral value changed.
    """
    native = header.native.data if header.native is not None and header.native.family == "nifti" else None
    if native and not header.format.startswith("nifti"):  # NIfTI-Zarr: the same header in another container
        header = header.replace(format=f"nifti{native[0]}")
    version = 2 if header.format == "nifti2" else 1
    axes = _file_axes(header)
    byte_order = native[1] if native else "little"
    if native:
        fields = unpack(native[2], native[0], byte_order)
        read = neutral(fields, native[0], byte_order, "", native[2])
        old: Header | None = timed(read.replace(gradients=header.gradients))
    else:
        fields = {"pixdim": (1.0,) * 8, "regular": ord("r"), "extents": 16384}
        old = None
    if max(header.shape[1:] + tuple(size for _, size in axes)) > _MOST_VOXELS and not _same_voxels(old, header):
        version = 2
    _set_voxels(fields, header, old, axes)
    _set_geometry(fields, header, old)
    _set_meaning(fields, header, old, axes)
    fields["sizeof_hdr"] = SIZES[version]
    fields["magic"] = b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"
    if version == 2 and isinstance(fields.get("glmin"), int):
        fields.pop("glmin")
    # nifti1.h has whole numbers where nifti2.h has longer ones; vox_offset is a float there.
    offset = fields.get("vox_offset", 0)
    fields["vox_offset"] = float(offset) if version == 1 else int(offset) if offset == offset else 0
    fields["vox_offset"] = (float if version == 1 else int)(SIZES[version] + 4)
    return fields, version, byte_order


def _file_axes(header: Header) -> list[tuple[str, int]]:
    """Return the non-spatial axes as dim[4] to dim[7] can hold them; colours of the datatype left out."""
    axes = list(header.channel_axes())
    if axes and axes[-1][0] == "rgb":
        if header.dtype == "uint8" and not header.scaled and axes[-1][1] in (3, 4):
            axes.pop()
        else:
            axes[-1] = ("vector", axes[-1][1])
    if len(axes) > 4:
        axes = [("channel", header.channels)]
    vectors = [n for n, axis in enumerate(axes) if axis[0] == "vector"]
    if vectors == [0] and len(axes) == 1 and not _native_vector(header):
        axes = [("time", 1), *axes]  # nifti1.h: the components of a vector are on the fifth axis
    return axes


def _native_vector(header: Header) -> bool:
    """Tell whether a NIfTI header of ours holds vectors on its fourth axis already."""
    return header.format.startswith("nifti") and len(header.axes) == 1 and header.axes[0][0] == "vector"


def _same_voxels(old: Header | None, header: Header) -> bool:
    """Tell whether ``dim`` stays as it is; FreeSurfer's long first axis, -1 there, stays, too."""
    return old is not None and (old.shape, old.axes, old.ndim, old.format) == (
        header.shape, header.axes, header.ndim, header.format
    )  # fmt: skip


def _set_voxels(fields: Fields, header: Header, old: Header | None, axes: list[tuple[str, int]]) -> None:
    colours = header.axes[-1][1] if header.axes and header.axes[-1][0] == "rgb" and axes != list(header.axes) else 1
    colours = colours if header.dtype == "uint8" and not any(kind == "vector" for kind, _ in axes) else 1
    dtype = _WIDER.get(header.dtype, header.dtype)
    if (dtype, colours) not in _CODES:
        raise FormatError(f"NIfTI has no datatype for {header.dtype}")
    sizes = [size for _, size in axes]
    rank = 3 + len(sizes) if sizes else header.ndim
    if not _same_voxels(old, header):
        fields["dim"] = (rank, *header.shape[1:], *sizes, *(1,) * (4 - len(sizes)))
    fields["datatype"] = _CODES[dtype, colours]
    fields["bitpix"] = 8 * ITEMSIZE[dtype] * colours
    if old is None or (old.slope, old.inter) != (header.slope, header.inter):
        fields["scl_slope"] = 1.0 if header.slope is None else header.slope
        fields["scl_inter"] = header.inter or 0.0


def _set_geometry(fields: Fields, header: Header, old: Header | None) -> None:
    """Set both forms and the voxel sizes, where they changed."""
    space_code = fields.get("xyzt_units", 2 if old is None else 0) & 7
    if old is None or old.space_units != header.space_units:
        space_code = next((c for c, (_, unit) in SPACE_UNITS.items() if unit == header.space_units), 2)
        if header.space_units is None and old is None:
            space_code = 2
    fields["xyzt_units"] = fields.get("xyzt_units", 0) & ~7 | space_code
    factor = SPACE_UNITS.get(space_code, (1.0, None))[0]
    if old is not None and _same_geometry(old, header):
        return
    sform, qform = header.sform, header.qform
    sform_code, qform_code = header.sform_code or 0, header.qform_code or 0
    used = sform if sform_code > 0 and sform is not None else qform if qform_code > 0 else None
    if used is None or not used.allclose(header.affine, 1e-6):
        unknown = used is None and header.affine_source == "pixdim"
        if unknown and AffineMatrix.from_spacing(header.affine.spacing).allclose(header.affine):
            sform_code = qform_code = 0  # orientation is unknown and nothing turned: it stays unknown
        elif unknown:  # what was made up stays apart from what a scanner said: code 2, "aligned"
            sform, sform_code, qform = header.affine, 2, None
        elif header.qform is None and _off_as_qform(header.affine) > 0.01:
            sform, sform_code = header.affine, sform_code or 1
        else:
            sform, sform_code = header.affine, sform_code or 1
            qform, qform_code = header.affine, qform_code or 1
    _set_forms(fields, header, sform, sform_code, qform, qform_code, factor)


def _off_as_qform(affine: AffineMatrix) -> float:
    """Return how far, in mm over 256 voxels, an affine moves when a quaternion of float32 holds it.

    Near half a turn the standard takes the real part of the quaternion for 0 (``nifti1.h``, nifti_quatern_to_mat44).
    """
    if affine.is_singular or affine.is_sheared:
        return float("inf")
    quaternion, qfac = affine_quaternion(affine)
    rounded = struct.unpack("<3f", struct.pack("<3f", *quaternion))
    fields = {"quatern": rounded, "qoffset": affine.origin, "pixdim": (qfac,)}
    held = quaternion_affine(fields, affine.spacing)
    return float("inf") if held is None else held.mm_shift(affine, (256, 256, 256))


def _same_geometry(old: Header, header: Header) -> bool:
    return (
        (old.sform, old.sform_code, old.qform, old.qform_code) ==
        (header.sform, header.sform_code, header.qform, header.qform_code)
        and old.affine == header.affine
        and old.space_units == header.space_units
    )  # fmt: skip


def _set_forms(
    fields: Fields,
    header: Header,
    sform: AffineMatrix | None,
    sform_code: int,
    qform: AffineMatrix | None,
    qform_code: int,
    factor: float,
) -> None:
    if qform is not None and (qform.is_singular or qform.is_sheared):
        qform = None  # a quaternion holds no shear
    fields["sform_code"] = sform_code if sform is not None else 0
    fields["qform_code"] = qform_code if qform is not None else 0
    zero = (0.0,) * 4
    rows = sform.rows[:3] if sform is not None else (zero, zero, zero)
    fields["srow"] = tuple(value / factor for row in rows for value in row)
    pixdim = list(fields["pixdim"])
    pixdim[1:4] = [size / factor for size in (qform or header.affine).spacing]
    fields["quatern"], fields["qoffset"], pixdim[0] = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0
    if qform is not None:
        fields["quatern"], pixdim[0] = affine_quaternion(qform)
        fields["qoffset"] = tuple(value / factor for value in qform.origin)
    fields["pixdim"] = tuple(pixdim)


def _set_meaning(fields: Fields, header: Header, old: Header | None, axes: list[tuple[str, int]]) -> None:
    """Set time, intent, description and the fields that travel as key-values."""
    if old is None or (old.time_spacing, old.axes, old.time_units) != (
        header.time_spacing, header.axes, header.time_units
    ):  # fmt: skip
        timed = bool(axes) and axes[0][0] == "time" and axes[0][1] >= 1 and ("time", axes[0][1]) in header.axes
        units = {"s": (8, 1.0), "ms": (16, 1e-3), "us": (24, 1e-6)}
        code, factor = units.get(header.time_units or "s", (8, 1.0))
        if not timed:
            code = 0 if header.time_units in (None, "s", "ms", "us") or old is None else fields["xyzt_units"] & 56
        fields["xyzt_units"] = fields["xyzt_units"] & 7 | code
        pixdim = list(fields["pixdim"])
        pixdim[4] = (
            (header.time_spacing or 0.0) / factor if timed else (pixdim[4] if old and old.axes == header.axes else 1.0)
        )
        fields["pixdim"] = tuple(pixdim)
    intent = header.intent
    if intent is None and any(kind == "vector" for kind, _ in axes):
        intent = "vector"
    if old is None or old.intent != intent:
        name = intent or ""
        fields["intent_code"] = _INTENT_CODES.get(name, int(name[7:]) if name.startswith("intent-") else 0)
    if old is None or old.intent_params != header.intent_params:
        fields["intent_p"] = (*header.intent_params, 0.0, 0.0, 0.0)[:3]
    if old is None or old.intent_name != header.intent_name:
        fields["intent_name"] = text_bytes(header.intent_name, 16)
    if old is None or old.description != header.description:
        fields["descrip"] = text_bytes(header.description, 80)
    for name in EXTRA_FIELDS:
        value = header.metadata.get(f"nifti_{name}")
        if old is None or old.metadata.get(f"nifti_{name}") != value:
            _set_extra(fields, name, value)


def _set_extra(fields: Fields, name: str, value: Any) -> None:
    """Set a field from a key-value, where it is of the field's type; else the key-value stays one."""
    whole = name in ("slice_code", "slice_start", "slice_end", "dim_info")
    if name == "aux_file":
        fields[name] = text_bytes(value, 24) if isinstance(value, str) else b""
    elif value is None:
        fields[name] = 0
    elif isinstance(value, (int, float)) and not (whole and value != int(value)):
        fits = not whole or 0 <= value < (256 if name in ("slice_code", "dim_info") else 32768)
        fields[name] = (int(value) if whole else float(value)) if fits else 0


def encoded(header: Header, name: str, extensions: list[tuple[int, bytes]]) -> Encoded:
    """Lay out a fitted header for a file of that name."""
    from medimg_cli.formats.writing import output_compression

    assert header.native is not None
    version, byte_order, raw = header.native.data
    stem, suffix, _ = split_suffix(name)
    compression = output_compression(name)
    behind = extension_bytes(extensions, byte_order)
    layout = layout_of(header)
    if suffix == ".nii":
        head = placed(raw, version, byte_order, SIZES[version] + len(behind), b"n+") + behind
        return Encoded(layout=layout, head=head, compression=compression)
    base = stem.rpartition("/")[2]
    ending = name[len(stem) + len(suffix) :]
    return Encoded(
        layout=layout,
        compression=compression,
        data_name=f"{base}.img{ending}",
        header=placed(raw, version, byte_order, 0, b"ni") + behind,
        header_name=f"{base}.hdr{ending}",
        header_compression=compression,
    )


def placed(raw: bytes, version: int, byte_order: str, offset: int, magic: bytes) -> bytes:
    """Return a raw header with its voxels at ``offset`` and the magic of a single file or a pair."""
    out = bytearray(raw)
    order = "<" if byte_order == "little" else ">"
    struct.pack_into(order + ("f" if version == 1 else "q"), out, 108 if version == 1 else 168, offset)
    at = 344 if version == 1 else 4
    out[at : at + 2] = magic
    return bytes(out)

"""NIfTI-1 and NIfTI-2: single files and pairs, both byte orders, all standard datatypes.

Decisions, each by the standard (``nifti1.h``):

- The affine is the sform if its code is above 0, else the qform if its code is, else method 1: voxel sizes alone,
  origin 0. Method 1 attaches no orientation; the header warns. A form without finite numbers, or singular, counts as
  absent.
- ``scl_slope`` 0 or not finite means unscaled, and RGB is never scaled.
- World coordinates are millimetres whatever ``xyzt_units`` says: metres and micrometres are converted.
- A colour datatype is an axis "rgb", an intent of vectors makes the last axis "vector"; the fourth axis is time where
  its unit is one of time or its step is neither 0 nor 1, else plain channels.
- Label table, history and key-values that no field holds travel in one extension with code 6 (comment), as JSON.
"""

from __future__ import annotations

from math import isfinite, prod
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.errors import FormatError, GeometryError, MissingPartError, NotFoundError, OversizeError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.nifti_fields import (
    DATATYPES,
    INTENTS,
    LAST_FORM_CODE,
    LONGEST_QUATERNION,
    SIZES,
    SPACE_UNITS,
    VECTOR_INTENTS,
    Fields,
    pack,
    padded,
    quaternion_affine,
    read_extensions,
    recognise,
    text,
    unpack,
)
from medimg_cli.header import Header, Native
from medimg_cli.storage.codecs import codec_of_magic
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource, MemorySource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["encode", "fit", "native_fields", "open"]

#: Factor from the unit of the fourth axis (xyzt_units & 56) to seconds, and its name; no factor: not time.
TIME_UNITS: dict[int, tuple[float | None, str | None]] = {
    0: (1.0, None), 8: (1.0, "s"), 16: (1e-3, "ms"), 24: (1e-6, "us"), 32: (None, "Hz"), 40: (None, "ppm"),
    48: (None, "rad/s"),
}  # fmt: skip
#: Fields without a neutral counterpart; kept as key-values when they say something, so that other formats can hold
#: them.
EXTRA_FIELDS = (
    "cal_min", "cal_max", "slice_code", "slice_start", "slice_end", "slice_duration", "toffset", "dim_info", "aux_file",
)  # fmt: skip
#: The extension that carries what NIfTI has no field for.
OWN_CODE, OWN_MARK = 6, b'{"medimg": 1,'
_MOST_BYTES = 1 << 62
#: Fields of several numbers that the standard names one by one.
_PARTS = {"quatern": ("_b", "_c", "_d"), "qoffset": ("_x", "_y", "_z"), "srow": ("_x", "_y", "_z"), "intent_p": "123"}


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a NIfTI file or pair; the name of either file of a pair will do.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If it contradicts itself: no magic, impossible sizes, datatype, offset or extensions.
    """
    stem, suffix, _ = split_suffix(source.name)
    head = source.head(max(SIZES.values()) + 4)
    if suffix == ".img" and head[:4] not in (b"\\\1\0\0", b"\0\0\1\\", b"\x1c\2\0\0", b"\0\0\2\x1c"):
        source = header_of_pair(source, stem)
        head = source.head(max(SIZES.values()) + 4)
        if head[:4] in (b"\\\1\0\0", b"\0\0\1\\") and head[344:346] not in (b"n+", b"ni"):
            from medimg_cli.formats import analyze

            return analyze.open(source, compression)
    version, byte_order = recognise(head, source.name)
    fields = unpack(head, version, byte_order)
    pair = fields["magic"].startswith(b"ni") and suffix != ".nii"
    warnings = (
        ["the magic says header and voxels are apart, they are in one file"]
        if suffix == ".nii" and fields["magic"].startswith(b"ni")
        else []
    )
    offset = _voxel_offset(fields, version, pair, source.name, warnings)
    raw = head[: SIZES[version]]
    # Extensions: in a single file between header and voxels, in a pair all that follows the header.
    end = source.most if pair else offset
    extensions: list[tuple[int, bytes]] = []
    if head[SIZES[version] : SIZES[version] + 1] not in (b"", b"\0") and end > SIZES[version] + 4:
        extensions, notes = read_extensions(source.head(min(end, 1 << 28))[SIZES[version] :], byte_order, source.name)
        warnings += notes
    header = neutral(fields, version, byte_order, source.name, raw, warnings)
    header = _with_extensions(header, extensions)
    header = _with_gradients(header, source, stem)
    data, problem = voxels_of_pair(source, stem) if pair else (source, None)
    if pair and problem is None:
        header = header.replace(file_bytes=bytes_of_pair(source, data))
    stored = StoredArray(data, offset, layout_of(header))
    unread = (data.size or 0) - stored.span()[1]
    if unread > 0:
        header = header.warn(f"{unread} bytes follow the voxels: the header may state too few")
    return StoredBackend(stored, header, problem)


def header_of_pair(source: ByteSource, stem: str) -> ByteSource:
    """Return the header that belongs to a file of voxels."""
    base = stem.rpartition("/")[2]
    for suffix in (".hdr", ".hdr.gz", ".hdr.bz2", ".hdr.zst", ".HDR"):
        try:
            return decoded(source.sibling(base + suffix))
        except NotFoundError:
            continue
    raise MissingPartError("has no header beside it", path=source.name, hint=f"expected {base}.hdr")


def voxels_of_pair(source: ByteSource, stem: str) -> tuple[ByteSource, MissingPartError | None]:
    """Return the file of voxels that belongs to a header, or an empty one and what is wrong."""
    base = stem.rpartition("/")[2]
    for suffix in (".img", ".img.gz", ".img.bz2", ".img.zst", ".IMG"):
        try:
            return decoded(source.sibling(base + suffix)), None
        except (NotFoundError, FormatError):
            continue
    problem = MissingPartError(f"its voxels are missing: there is no {base}.img beside it", path=source.name)
    return MemorySource(b"", source.name), problem


def bytes_of_pair(*sources: ByteSource) -> int | None:
    """Return the size of both files, compressed as they are."""
    sizes = [source.base.size if isinstance(source, EncodedSource) else source.size for source in sources]
    return sum(size for size in sizes if size is not None) if None not in sizes else None


def decoded(source: ByteSource) -> ByteSource:
    """Return the decompressed view of a source, itself where it is not compressed."""
    compression = codec_of_magic(source.head(6))
    return EncodedSource(source, compression) if compression else source


def _voxel_offset(fields: Fields, version: int, pair: bool, name: str, warnings: list[str]) -> int:
    stated = fields["vox_offset"]
    least = 0 if pair else SIZES[version] + 4
    if not isfinite(stated) or stated < 0 or stated > _MOST_BYTES:
        raise FormatError(f"vox_offset is {stated:g}: voxels cannot lie there", path=name)
    if stated == 0 and not pair:
        warnings.append(f"vox_offset is 0, taken as {least}")
        return least
    if stated < least:
        raise FormatError(f"vox_offset is {stated:g}: voxels would lie inside the header", path=name)
    if stated != int(stated):
        warnings.append(f"vox_offset is {stated:g}, taken as {int(stated)}")
    return int(stated)


def _dimensions(fields: Fields, name: str) -> list[int]:
    dim = fields["dim"]
    rank = dim[0]
    if not 1 <= rank <= 7:
        raise FormatError(f"dim[0] is {rank}: an image has 1 to 7 axes", path=name)
    sizes = list(dim[1 : rank + 1])
    if sizes[0] == -1 and fields.get("glmin", 0) > 0 and sizes[1:3] == [1, 1]:
        sizes[0] = fields["glmin"]  # FreeSurfer: surfaces of more than 32767 vertices
    if min(sizes) < 1:
        raise FormatError(f"dim is {tuple(sizes)}: an axis has no voxels", path=name)
    return sizes


def neutral(
    fields: Fields, version: int, byte_order: str, name: str, raw: bytes, warnings: list[str] | None = None
) -> Header:
    """Turn raw fields into a neutral header, without extensions and sidecars."""
    warnings = list(warnings or [])
    sizes = _dimensions(fields, name)
    if fields["datatype"] not in DATATYPES:
        raise FormatError(f"datatype {fields['datatype']} is unknown", path=name)
    dtype, components = DATATYPES[fields["datatype"]]
    axes, time_spacing = _axes(fields, sizes[3:], components)
    shape = (prod(size for _, size in axes), *(sizes + [1, 1])[:3])
    header = Header(shape=shape, dtype=dtype, affine=AffineMatrix())  # type: ignore[arg-type]
    if header.data_bytes > _MOST_BYTES:
        raise OversizeError(f"dim is {tuple(sizes)}: no file can hold that", path=name)
    if fields["bitpix"] != 8 * header.itemsize * components:
        warnings.append(f"bitpix is {fields['bitpix']}, datatype {fields['datatype']} says otherwise")
    scale_space, space = SPACE_UNITS.get(fields["xyzt_units"] & 7, (1.0, None))
    if fields["xyzt_units"] & 7 > 3:
        warnings.append(f"the unit of space ({fields['xyzt_units'] & 7}) is unknown, taken as mm")
    if time_spacing is not None and time_spacing >= 100:
        warnings.append(f"a time step of {time_spacing:g} s is stored; it may be meant as milliseconds")
    slope, inter = (None, None) if components > 1 else _scaling(fields, warnings)
    sform, qform, chosen, affine = _forms(fields, scale_space, warnings)
    if 3000 <= fields["intent_code"] < 3100:
        warnings.append("CIFTI-2: the last axes are grayordinates and series, not space")
    return header.replace(
        affine=affine,
        format=f"nifti{version}",
        axes=axes,
        ndim=min(len(sizes), 3),
        byte_order=byte_order,
        slope=slope,
        inter=inter,
        affine_source=chosen,
        sform=sform,
        sform_code=fields["sform_code"],
        qform=qform,
        qform_code=fields["qform_code"],
        space_units=space,
        time_units=TIME_UNITS.get(fields["xyzt_units"] & 56, (None, None))[1],
        time_spacing=time_spacing,
        intent=INTENTS.get(fields["intent_code"])
        or (f"intent-{fields['intent_code']}" if fields["intent_code"] else None),
        intent_params=fields["intent_p"] if any(fields["intent_p"]) else (),
        intent_name=text(fields["intent_name"]),
        description=text(fields["descrip"]),
        metadata=_extra_metadata(fields),
        warnings=tuple(warnings),
        native=Native("nifti", (version, byte_order, raw)),
    )


def _axes(fields: Fields, sizes: list[int], components: int) -> tuple[tuple[tuple[str, int], ...], float | None]:
    factor, unit = TIME_UNITS.get(fields["xyzt_units"] & 56, (None, None))
    step = fields["pixdim"][4]
    kinds = ["channel"] * len(sizes)
    spacing = None
    if sizes:
        if fields["intent_code"] in VECTOR_INTENTS:
            kinds[1 if len(sizes) > 1 else 0] = "vector"
        if kinds[0] == "channel" and factor is not None and (unit or step not in (0.0, 1.0)):
            kinds[0] = "time"
            spacing = step * factor if isfinite(step) and step > 0 else None
    axes = list(zip(kinds, sizes, strict=True))
    if components > 1:
        axes.append(("rgb", components))
    return tuple(axes), spacing


def _scaling(fields: Fields, warnings: list[str]) -> tuple[float | None, float | None]:
    slope, inter = fields["scl_slope"], fields["scl_inter"]
    if slope == 0:
        return None, None
    if not isfinite(slope) or not isfinite(inter):
        if not (slope != slope and inter != inter):
            warnings.append(f"scl_slope {slope:g} and scl_inter {inter:g} are no scaling, taken as unscaled")
        return None, None
    return slope, inter


def _forms(
    fields: Fields, factor: float, warnings: list[str]
) -> tuple[AffineMatrix | None, AffineMatrix | None, str, AffineMatrix]:
    """Return sform, qform, which is used, and the affine, in mm."""
    sizes = fields["pixdim"][1:4]
    good = [isfinite(size) and size > 0 for size in sizes]
    if not all(good):
        shown = ", ".join(f"{size:g}" for size in sizes)
        warnings.append(f"pixdim {shown}: a voxel size must be above 0; its absolute value, or 1, is used")
    spacing = tuple(abs(size) if isfinite(size) and 1e-100 < abs(size) < 1e100 else 1.0 for size in sizes)
    sform = _form(fields["srow"], factor) if fields["sform_code"] > 0 else None
    qform = _qform(fields, spacing, factor) if fields["qform_code"] > 0 else None
    for name, form in (("sform", sform), ("qform", qform)):
        code = fields[f"{name}_code"]
        if code > 0 and (form is None or form.is_singular):
            warnings.append(f"the {name} (code {code}) holds no usable matrix and is ignored")
        elif not 0 <= code <= LAST_FORM_CODE:
            warnings.append(f"{name}_code {code} is unknown")
    if sum(q * q for q in fields["quatern"]) > LONGEST_QUATERNION and qform is not None:
        warnings.append("the quaternion of the qform is longer than 1 and was normalised")
    if sform is not None and qform is not None and not sform.is_singular:
        apart = sform.mm_shift(qform, [max(size, 1) for size in fields["dim"][1:4]])
        if apart > 0.1:
            warnings.append(f"sform and qform are {apart:.3g} mm apart, the sform is used")
    if sform is not None and not sform.is_singular:
        return sform, qform, "sform", sform
    if qform is not None and not qform.is_singular:
        return sform, qform, "qform", qform
    warnings.append("orientation is unknown: neither sform nor qform (NIfTI method 1, voxel sizes alone)")
    return sform, qform, "pixdim", AffineMatrix.from_spacing([size * factor for size in spacing])


def _form(srow: tuple[float, ...], factor: float) -> AffineMatrix | None:
    try:
        return _in_mm(AffineMatrix.from_rows((srow[0:4], srow[4:8], srow[8:12])), factor)  # type: ignore[arg-type]
    except GeometryError:  # not finite, or beyond all measure
        return None


def _qform(fields: Fields, spacing: tuple[float, ...], factor: float) -> AffineMatrix | None:
    try:
        form = quaternion_affine(fields, spacing)  # type: ignore[arg-type]
        return None if form is None else _in_mm(form, factor)
    except GeometryError:
        return None


def _in_mm(form: AffineMatrix, factor: float) -> AffineMatrix:
    return form if factor == 1.0 else AffineMatrix([[value * factor for value in row] for row in form.rows[:3]])


def _extra_metadata(fields: Fields) -> dict[str, Any]:
    extra = {}
    for name in EXTRA_FIELDS:
        value = text(fields[name]) if isinstance(fields[name], bytes) else fields[name]
        if value and value == value:
            extra[f"nifti_{name}"] = value
    return extra


def _with_extensions(header: Header, extensions: list[tuple[int, bytes]]) -> Header:
    """Take our own extension apart, keep the others verbatim."""
    if not extensions:
        return header
    kept = []
    for code, content in extensions:
        if code == OWN_CODE and content.startswith(OWN_MARK):
            try:
                header = _from_own(header, content)
                continue
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                header = header.warn("the medimg extension of the header cannot be read and is kept as it is")
        kept.append((code, content))
    return header.replace(extensions=tuple(kept))


def _from_own(header: Header, content: bytes) -> Header:
    import json

    from medimg_cli.labels import LabelTable

    facts = json.loads(content.rstrip(b"\0"))
    labels, history, metadata = facts.get("labels"), facts.get("history", []), facts.get("metadata", {})
    if not isinstance(facts.get("description", ""), str):
        raise TypeError
    after = history[-1].get("grid_after") if history else None
    if after is not None:
        from medimg_cli.grid import Grid

        if not Grid(after["shape"], after["affine"]).same_as(header.grid, 0.01):
            header, history = (
                header.warn("its history belongs to another grid and is left out: it was edited since"),
                [],
            )
    return header.replace(
        labels=LabelTable.from_json(labels) if labels is not None else None,
        history=tuple(dict(step) for step in history),
        metadata={**header.metadata, **metadata},
        description=facts.get("description", header.description),
    )


def _own_extension(header: Header, in_fields: Header) -> list[tuple[int, bytes]]:
    """Return the extension for what no field holds; none where all is in fields."""
    facts: dict[str, Any] = {"medimg": 1}
    if header.labels is not None:
        facts["labels"] = header.labels.to_json()
    if header.history:
        facts["history"] = list(header.history)
    rest = {k: v for k, v in header.metadata.items() if in_fields.metadata.get(k) != v}
    if rest:
        facts["metadata"] = rest
    if header.description != in_fields.description:
        facts["description"] = header.description
    if len(facts) == 1:
        return []
    import json

    body = json.dumps(facts, ensure_ascii=False, sort_keys=False, separators=(",", ":"), default=str)
    return [(OWN_CODE, OWN_MARK + body[len('{"medimg":1,') :].encode())]


def _with_gradients(header: Header, source: ByteSource, stem: str) -> Header:
    """Read the ``.bval`` and ``.bvec`` beside a file that has an axis for volumes."""
    if not _may_have_gradients(header):
        return header
    from medimg_cli.formats.sidecars import read_gradients

    try:
        gradients = read_gradients(source, stem.rpartition("/")[2])
    except FormatError as error:
        return header.warn(error.message)
    if gradients is None:
        return header
    if len(gradients.bvals) != header.channels:
        return header.warn(f"{len(gradients.bvals)} b-values beside it, the image has {header.channels} volumes")
    return timed(header.replace(gradients=gradients))


def timed(header: Header) -> Header:
    """Return a header whose fourth axis is time where gradients say that it is a series of volumes."""
    if header.gradients is None or not header.axes or header.axes[0][0] != "channel":
        return header
    return header.replace(axes=(("time", header.axes[0][1]), *header.axes[1:]))


def _may_have_gradients(header: Header) -> bool:
    return bool(header.axes) and header.axes[-1][0] not in ("rgb", "vector")


def layout_of(header: Header) -> Layout:
    """Return how NIfTI lays voxels out: colours first, then I, J, K, then the other axes."""
    sizes = [size for _, size in header.axes]
    order = [0, 1, 2, *range(3, 3 + len(sizes))]
    if header.axes and header.axes[-1][0] == "rgb":
        order = [2 + len(sizes), *order[:-1]]
    return Layout.packed(header.shape, header.dtype, byte_order=header.byte_order, order=order, channels=sizes)


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a NIfTI file of that name.

    Everything neutral fits; dtypes that NIfTI lacks are widened, slopes of NIfTI-1 are rounded to float32, and more
    than four non-spatial axes become one.

    Raises
    ------
    FormatError
        If a size or number is beyond both versions.
    """
    from medimg_cli.formats.nifti_writing import build

    fields, version, byte_order = build(header)
    raw = pack(fields, version, byte_order)
    stored = neutral(unpack(raw, version, byte_order), version, byte_order, name, raw)
    stored = timed(stored.replace(gradients=header.gradients if _may_have_gradients(stored) else None))
    return stored.replace(
        labels=header.labels,
        history=header.history,
        metadata={**stored.metadata, **header.metadata},
        description=header.description,
        extensions=tuple((code, padded(content)) for code, content in header.extensions),
    )


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file, or a pair of files, of that name."""
    from medimg_cli.formats.nifti_writing import encoded

    own = _own_extension(header, neutral_of_native(header))
    return encoded(header, name, [*header.extensions, *own])


def native_fields(data: tuple[int, str, bytes]) -> Fields:
    """Return every field of the raw header by the standard's name."""
    version, byte_order, raw = data
    named: Fields = {}
    for name, value in unpack(raw, version, byte_order).items():
        parts = _PARTS.get(name)
        if parts is None:
            named[name] = text(value) if isinstance(value, bytes) else value
        else:
            size = len(value) // len(parts)
            values = value if size == 1 else [value[n * size : n * size + size] for n in range(len(parts))]
            named.update({f"{name}{part}": item for part, item in zip(parts, values, strict=True)})
    return named


def neutral_of_native(header: Header) -> Header:
    """Return the neutral form of the raw fields of a fitted header."""
    assert header.native is not None
    version, byte_order, raw = header.native.data
    return neutral(unpack(raw, version, byte_order), version, byte_order, "", raw)

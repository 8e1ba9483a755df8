"""FreeSurfer MGH and MGZ, big-endian, 284 bytes of header, and a tail behind the voxels.

Decisions, by FreeSurfer's own reader (``mriio.cpp``, ``mghRead``) and the format's page
(https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat):

- The affine is ``Mdc * delta``; its origin follows from the centre, voxel ``(width, height, depth) / 2``,
  halves included. ``goodRASFlag`` at most 0 means the default geometry: 1 mm, coronal (LIA), centred. The
  matrix is taken as it is: shear and columns that are no unit vectors stay, and so does a singular one (files
  of surface data have them), with a warning.
- The low byte of the version is 1; FreeSurfer 8 keeps an intent in the bytes above.
- TR stands behind the voxels, in ms. It is the spacing of time where there are several frames, else the
  sequence's TR and a key-value. A tail is read when the file is opened, also through compression: label
  table, TR and command history are facts of the header, though they stand at the end.
- The tail is kept verbatim when an MGH file is written from another one; only what changed is replaced.
"""

from __future__ import annotations

import struct
from math import isfinite, prod
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    MedImgError,
    OversizeError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
)
from medimg_cli.formats.mgh_tail import SEQUENCE, Tail, build_tail, parse_tail, single
from medimg_cli.header import Header, Native
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["encode", "fit", "native_fields", "open"]

#: Bytes of the header.
HEADER = 284
#: Types that FreeSurfer reads and writes.
TYPES = {0: "uint8", 1: "int32", 3: "float32", 4: "int16", 10: "uint16"}
_TENSOR = 6
_RARE = {2: "64-bit integers", 5: "a bitmap", 7: "complex numbers", 8: "complex numbers", 9: "RGB"}
_CODES = {dtype: code for code, dtype in TYPES.items()}
#: dtypes that MGH lacks -> the narrowest that holds all their values.
_WIDER = {"bool": "uint8", "int8": "int16", "float16": "float32"}
_FIELDS = struct.Struct(">7ih15f")
_DEFAULT = (1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
_MOST_BYTES = 1 << 62
_MOST_TAIL = 1 << 24


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an MGH file.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If its version, sizes or type are impossible.
    UnsupportedError
        If its type is one that FreeSurfer names but hardly uses.
    """
    head = source.head(HEADER)
    header = neutral(head, b"", source.name)
    stored = StoredArray(source, HEADER, _layout(header))
    if stored.shortage() is not None:
        return StoredBackend(stored, header)
    end = HEADER + header.data_bytes
    tail, problem = _read_tail(source, end)
    header = neutral(head, tail, source.name)
    backend = StoredBackend(stored, header.warn(problem) if problem else header)
    backend.ends_at = end + len(tail)
    return backend


def _read_tail(source: ByteSource, start: int) -> tuple[bytes, str | None]:
    """Return what follows the voxels, and what is wrong where it cannot be read."""
    try:
        with source.cursor() as cursor:
            tail = b"".join(bytes(piece) for piece in cursor.chunks(start, _MOST_TAIL))
    except MedImgError as error:
        return b"", f"what stands behind the voxels cannot be read: {error.message}"
    if len(tail) == _MOST_TAIL:
        return b"", f"more than {_MOST_TAIL >> 20} MiB stand behind the voxels and are ignored"
    return tail, None


def neutral(head: bytes, tail: bytes, name: str) -> Header:
    """Turn a raw header and tail into a neutral one."""
    if len(head) < HEADER:
        raise TruncatedError(f"truncated: {len(head)} bytes, an MGH header has {HEADER}", path=name)
    version, *sizes, code, _, flag = _FIELDS.unpack_from(head)[:8]
    geometry = _FIELDS.unpack_from(head)[8:]
    if version & 0xFF != 1 or not 0 < version < 1 << 24:
        raise UnknownFormatError(f"MGH version {version} is unknown, expected 1", path=name)
    if min(sizes) < 1:
        raise FormatError(f"width, height, depth, frames are {tuple(sizes)}: an axis has no voxels", path=name)
    if code in _RARE:
        raise UnsupportedError(f"MGH type {code} ({_RARE[code]}) is not supported", path=name)
    if code not in TYPES and code != _TENSOR:
        raise FormatError(f"MGH type {code} is unknown", path=name)
    dtype = TYPES.get(code, "float32")
    frames = 9 if code == _TENSOR else sizes[3]
    if prod(sizes[:3]) * frames * 4 > _MOST_BYTES:
        raise OversizeError(f"width, height, depth, frames are {tuple(sizes)}: no file can hold that", path=name)
    what = parse_tail(tail)
    timed = frames > 1 and what.repetition_time > 0
    affine, chosen, warnings = _geometry(flag, geometry, sizes)
    return Header(
        shape=(frames, sizes[0], sizes[1], sizes[2]),
        dtype=dtype,
        affine=affine,
        axes=(("time" if timed else "channel", frames),) if frames > 1 else (),
        byte_order="big",
        affine_source=chosen,
        space_units="mm",
        time_units="ms" if timed else None,
        time_spacing=what.repetition_time / 1000 if timed else None,
        intent="label" if what.labels is not None else None,
        labels=what.labels,
        metadata=what.metadata(frames=frames),
        warnings=(*warnings, *what.warnings),
        native=Native("mgh", (bytes(head), bytes(tail))),
    )


def _geometry(flag: int, geometry: tuple[float, ...], sizes: list[int]) -> tuple[AffineMatrix, str, tuple[str, ...]]:
    """Return the affine, where it comes from, and warnings."""
    if flag <= 0:
        note = "orientation is unknown: the file states no geometry (goodRASFlag), FreeSurfer's default is used"
        return _affine(_DEFAULT, sizes), "default", (note,)
    if not all(map(isfinite, geometry)):
        note = "orientation is unknown: the geometry holds numbers that are not finite, the default is used"
        return _affine(_DEFAULT, sizes), "default", (note,)
    affine = _affine(geometry, sizes)
    return affine, "mgh", ("the affine is singular: voxels have no volume",) if affine.is_singular else ()


def _affine(geometry: tuple[float, ...], sizes: list[int]) -> AffineMatrix:
    delta, columns, centre = geometry[:3], (geometry[3:6], geometry[6:9], geometry[9:12]), geometry[12:]
    rows = []
    for axis in range(3):
        row = [columns[n][axis] * delta[n] for n in range(3)]
        rows.append((*row, centre[axis] - sum(row[n] * sizes[n] / 2 for n in range(3))))
    return AffineMatrix(rows)


def _layout(header: Header) -> Layout:
    return Layout.packed(header.shape, header.dtype, byte_order="big")


def fit(header: Header, name: str) -> Header:
    """Return what would come back from an MGH file of that name.

    Kept are voxels, geometry (in single precision), one axis of frames, TR, the numbers of the pulse
    sequence, command history and label table.

    Raises
    ------
    UnsupportedError
        If MGH has no type for the values.
    GeometryError
        If the affine is beyond single precision.
    FormatError
        If a size is beyond 32 bits.
    """
    native = header.native
    old_head, old_tail = native.data if native is not None and native.family == "mgh" else (b"", None)
    head = _build_head(header, old_head, name)
    timed = header.time_spacing is not None and [kind for kind, size in header.axes if size > 1] == ["time"]
    if header.channels > 1:
        repetition_time = _milliseconds(header.time_spacing) if timed else 0.0
    else:
        repetition_time = _milliseconds(header.metadata.get(SEQUENCE[0]), 1.0)
    tail = build_tail(
        old_tail,
        repetition_time=repetition_time,
        metadata=dict(header.metadata),
        labels=_labels(header),
        view=max(s * n for s, n in zip(header.spacing, header.shape[1:], strict=True)),
        frames=not old_head or int.from_bytes(old_head[16:20], "big") == header.channels,
    )
    return neutral(head, tail, name)


def _milliseconds(value: Any, factor: float = 1000.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    try:
        found = single(value * factor)
    except OverflowError:
        return 0.0
    return found if isfinite(found) and found > 0 else 0.0


def _labels(header: Header) -> Any:
    """Return the label table as a binary colour table holds it; None where it cannot."""
    if not header.labels or max(header.labels.values) >= 1 << 24:
        return None  # FreeSurfer makes room for every number up to the largest
    from medimg_cli.labels import LabelTable

    complete = header.labels.fit("freesurfer")
    rows = []
    for label, full in zip(header.labels, complete, strict=True):
        text = label.name.partition("\0")[0].rstrip()
        rows.append((label.value, text, label.color or full.color))
    return LabelTable(rows)


def _build_head(header: Header, old: bytes, name: str) -> bytes:
    """Return the raw header, changing of an old one only what has another value."""
    dtype = header.value_dtype
    dtype = _WIDER.get(dtype, dtype)
    if dtype not in _CODES:
        raise UnsupportedError(
            f"MGH has no type that holds {dtype}",
            path=name,
            hint="choose one of " + ", ".join(sorted(_CODES)),
        )
    raw = bytearray(old or bytes(HEADER))
    was = neutral(old, b"", name) if old else None
    sizes = (*header.shape[1:], header.channels)
    try:
        if was is None:
            struct.pack_into(">i", raw, 0, 1)
        if was is None or was.shape != header.shape:
            struct.pack_into(">4i", raw, 4, *sizes)
        if was is None or was.dtype != dtype or was.shape[0] != header.shape[0]:
            struct.pack_into(">i", raw, 20, _CODES[dtype])
    except struct.error:
        raise FormatError(f"shape {header.shape} is beyond the 32 bits of MGH", path=name) from None
    if was is None or was.affine != header.affine or was.shape[1:] != header.shape[1:]:
        try:
            struct.pack_into(">h15f", raw, 28, 1, *_pack_geometry(header))
        except OverflowError:
            raise GeometryError("the affine is beyond the single precision of MGH", path=name) from None
    return bytes(raw)


def _pack_geometry(header: Header) -> tuple[float, ...]:
    """Return voxel sizes, direction cosines column by column, and the centre."""
    columns = [list(column) for column in zip(*header.affine.direction, strict=True)]
    for axis, column in enumerate(columns):
        if not any(column):
            column[axis] = 1.0
    centre = header.affine.apply([size / 2 for size in header.shape[1:]])
    return (*header.spacing, *(value for column in columns for value in column), *centre)


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file of that name."""
    from medimg_cli.formats.writing import Encoded, output_compression

    assert header.native is not None
    head, tail = header.native.data
    return Encoded(layout=_layout(header), head=head, tail=tail, compression=output_compression(name))


def native_fields(data: tuple[bytes, bytes]) -> dict[str, Any]:
    """Return the fields of a raw header and tail by the names of the format's page."""
    head, tail = data
    values = _FIELDS.unpack_from(head)
    names = ("version", "width", "height", "depth", "nframes", "type", "dof", "goodRASFlag")
    fields: dict[str, Any] = dict(zip(names, values, strict=False))
    fields["delta"], fields["Mdc"], fields["Pxyz_c"] = (
        list(values[8:11]),
        list(values[11:20]),
        list(values[20:23]),
    )
    what: Tail = parse_tail(tail)
    fields.update(zip(("tr", "flip_angle", "te", "ti", "fov"), what.numbers, strict=False))
    for number in sorted({tag.number for tag in what.tags}):
        sizes = [len(tag.content) for tag in what.tags if tag.number == number]
        fields[f"tag {number}"] = f"{sum(sizes)} bytes" + (f" in {len(sizes)}" if len(sizes) > 1 else "")
    return fields

"""AFNI HEAD/BRIK pairs, read only: a text file of attributes, and packed voxels that may be compressed.

Source: "AFNI file formats: README.attributes". Decisions:

- IJK_TO_DICOM_REAL is the affine, DICOM order is LPS; without it ORIENT_SPECIFIC, ORIGIN and DELTA are.
- BRICK_FLOAT_FACS scales each sub-brick; 0 means unscaled. One factor for all is the slope, and the stored numbers
  remain; else the values are float64.
- Sub-bricks are time where TAXIS_NUMS is there, else channels; BRICK_LABS becomes the key-value "brick_labels".
- Without BYTEORDER_STRING the voxels are taken as little-endian.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, FramesBackend, StoredBackend
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    MissingPartError,
    NotFoundError,
    UnknownFormatError,
    UnsupportedError,
)
from medimg_cli.formats import split_suffix
from medimg_cli.formats.foreign import ScaledBackend, check_shape
from medimg_cli.header import Header
from medimg_cli.storage.codecs import codec_of_magic
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource, MemorySource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["open"]

_MOST_HEADER = 1 << 26
_TYPES = {0: ("uint8", 1), 1: ("int16", 1), 2: ("int32", 1), 3: ("float32", 1), 4: ("float64", 1), 5: ("complex64", 1),
          6: ("uint8", 3)}  # fmt: skip
_ORDERS = {"LSB_FIRST": "little", "MSB_FIRST": "big"}
_MILLISECONDS = 77001
_PACKINGS = ("", ".gz", ".bz2", ".zst")
_TEMPLATE = re.compile(
    r"\s*type\s*=\s*(string|integer|float)-attribute\s*\n\s*name\s*=\s*(\S+)\s*\n\s*count\s*=\s*(\d+)\s*\n"
)
_WORD = re.compile(r"\S+")

Attributes = dict[str, Any]


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an AFNI dataset; the name of either file will do.

    Raises
    ------
    FormatError
        If attributes are missing or make no sense.
    UnsupportedError
        If sub-bricks are of several types.
    """
    stem, suffix, _ = split_suffix(source.name)
    base = stem.rpartition("/")[2]
    if suffix == ".brik":
        data: ByteSource = source
        source = _head_of(source, base)
        problem = None
    else:
        data, problem = _brik_of(source, base)
    attributes = _parse(source)
    header, factors = _neutral(attributes, source.name)
    if problem is None:
        packed = data.codec if isinstance(data, EncodedSource) else None
        both = (source.size or 0) + (data.base.most if isinstance(data, EncodedSource) else data.most)
        header = header.replace(file_bytes=both, compression=packed)
    colours = bool(header.axes) and header.axes[-1][0] == "rgb"
    sizes = [size for _, size in header.axes]
    order = [2 + len(sizes), 0, 1, 2] if colours else [0, 1, 2]
    layout = Layout.packed(header.shape, header.dtype, byte_order=header.byte_order, order=order, channels=sizes)
    stored = StoredBackend(StoredArray(data, 0, layout), header, problem)
    return stored if len(set(factors)) == 1 else _scaled(stored, factors)


def _scaled(stored: StoredBackend, factors: list[float]) -> Backend:
    """Scale each sub-brick by its own factor."""
    header = stored.header.replace(dtype="float64", byte_order="little")
    one = header.replace(shape=(1, *header.shape[1:]), axes=())
    raw = stored.header.replace(shape=one.shape, axes=())
    frames: list[Backend] = []
    axes = [(axis, range(raw.shape[axis + 1])) for axis in range(3)]
    for channel, factor in enumerate(factors):
        part = stored.viewed(range(channel, channel + 1), axes, raw)
        assert part is not None
        frames.append(ScaledBackend(part, factor, 0.0, one))
    return FramesBackend(frames, header, axis=0)


def _head_of(source: ByteSource, base: str) -> ByteSource:
    for suffix in (".HEAD", ".head"):
        try:
            return source.sibling(base + suffix)
        except NotFoundError:
            continue
    raise MissingPartError("has no header beside it", path=source.name, hint=f"expected {base}.HEAD")


def _brik_of(source: ByteSource, base: str) -> tuple[ByteSource, MissingPartError | None]:
    """Return the file of voxels, decompressed, or an empty one and what is wrong."""
    for suffix in (".BRIK", ".brik"):
        for packing in _PACKINGS:
            try:
                data = source.sibling(base + suffix + packing)
            except (NotFoundError, FormatError):
                continue
            codec = codec_of_magic(data.head(6))
            return (EncodedSource(data, codec) if codec and packing else data), None
    problem = MissingPartError(f"its voxels are missing: there is no {base}.BRIK beside it", path=source.name)
    return MemorySource(b"", source.name), problem


def _parse(source: ByteSource) -> Attributes:
    """Read all attributes: lists of numbers, or text."""
    text = source.head(_MOST_HEADER).decode("latin-1").replace("\r\n", "\n")
    found: Attributes = {}
    at = 0
    while rest := text[at : at + 200].strip():
        match = _TEMPLATE.match(text, at)
        if match is None:
            raise FormatError(f"{rest[:30]!r} stands where an AFNI attribute belongs", path=source.name)
        kind, key, count = match[1], match[2], int(match[3])
        if kind == "string":
            start = match.end() + (text[match.end() : match.end() + 1] == "'")
            at = start + count
            found[key] = text[start:at].rstrip("~\0")
            short = at > len(text)
        else:
            found[key], at = _numbers(text, match.end(), count, kind, source.name)
            short = len(found[key]) < count
        if short:
            raise FormatError(f"attribute {key[:40]!r} is shorter than its count {count}", path=source.name)
    if not found:
        raise UnknownFormatError("holds no AFNI attributes", path=source.name)
    return found


def _numbers(text: str, start: int, count: int, kind: str, name: str) -> tuple[list[Any], int]:
    """Read numbers, and return where the text behind them begins."""
    numbers: list[Any] = []
    at = start
    for match in islice(_WORD.finditer(text, start), count):
        try:
            numbers.append(int(match[0]) if kind == "integer" else float(match[0]))
        except ValueError:
            raise FormatError(f"{match[0][:30]!r} stands where a number belongs", path=name) from None
        at = match.end()
    return numbers, at


def _list(attributes: Attributes, key: str, least: int, name: str) -> list[Any]:
    values = attributes.get(key)
    if not isinstance(values, list) or len(values) < least:
        raise FormatError(f"attribute {key} is missing or too short", path=name)
    return values


def _neutral(attributes: Attributes, name: str) -> tuple[Header, list[float]]:
    """Return the header, and the factor of each sub-brick."""
    sizes = _list(attributes, "DATASET_DIMENSIONS", 3, name)[:3]
    bricks = _list(attributes, "DATASET_RANK", 2, name)[1]
    types = set(_list(attributes, "BRICK_TYPES", 1, name))
    if len(types) > 1:
        raise UnsupportedError(f"its sub-bricks are of several types {sorted(types)}", path=name)
    code = types.pop()
    if code not in _TYPES:
        raise UnsupportedError(f"AFNI brick type {code} is not supported", path=name)
    dtype, components = _TYPES[code]
    check_shape((bricks * components, *sizes), dtype, name)
    notes: list[str] = []
    time = attributes.get("TAXIS_NUMS")
    spacing = _time_spacing(attributes) if time else None
    axes = [("time" if time else "channel", bricks)] if bricks > 1 else []
    axes += [("rgb", components)] if components > 1 else []
    if "BRICK_FLOAT_FACS" not in attributes:
        notes.append("it states no scale factors; the stored numbers are taken as they are")
    factors = [factor or 1.0 for factor in attributes.get("BRICK_FLOAT_FACS") or [0.0]]
    if len(factors) not in (1, bricks):
        notes.append(f"{len(factors)} scale factors for {bricks} sub-bricks; the missing ones are taken as 1")
    factors = (factors * bricks if len(factors) == 1 else [*factors, *[1.0] * bricks])[:bricks]
    uniform = len(set(factors)) == 1 and factors[0] != 1.0 and components == 1
    header = Header(
        shape=(bricks * components, *sizes),
        dtype=dtype,
        affine=_affine(attributes, name),
        axes=tuple(axes),
        byte_order=_ORDERS.get(str(attributes.get("BYTEORDER_STRING")), "little"),
        slope=factors[0] if uniform else None,
        inter=0.0 if uniform else None,
        affine_source="afni",
        time_spacing=spacing if bricks > 1 else None,
        metadata=_metadata(attributes),
        warnings=tuple(notes),
    )
    return header, [1.0] if components > 1 else factors


def _time_spacing(attributes: Attributes) -> float | None:
    nums, floats = attributes.get("TAXIS_NUMS"), attributes.get("TAXIS_FLOATS")
    if not isinstance(nums, list) or not isinstance(floats, list) or len(nums) < 3 or len(floats) < 2:
        return None
    step = float(floats[1]) * (1e-3 if nums[2] == _MILLISECONDS else 1.0)
    return step if 0 < step < 1e9 else None


def _metadata(attributes: Attributes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, name in (("TEMPLATE_SPACE", "afni_space"), ("HISTORY_NOTE", "afni_history")):
        if isinstance(attributes.get(key), str) and attributes[key]:
            found[name] = attributes[key]
    labels = attributes.get("BRICK_LABS")
    if isinstance(labels, str) and labels:
        found["brick_labels"] = labels.split("~")
    return found


def _affine(attributes: Attributes, name: str) -> AffineMatrix:
    stated = attributes.get("IJK_TO_DICOM_REAL")
    try:
        if isinstance(stated, list) and len(stated) == 12:
            return AffineMatrix.from_lps([stated[0:4], stated[4:8], stated[8:12]])
        rows = [[0.0] * 4 for _ in range(3)]
        codes = _list(attributes, "ORIENT_SPECIFIC", 3, name)
        origin, delta = _list(attributes, "ORIGIN", 3, name), _list(attributes, "DELTA", 3, name)
        for axis, code in enumerate(codes[:3]):
            world = code // 2  # 0, 1: left and right; 2, 3: posterior and anterior; 4, 5: inferior and superior
            rows[world][axis], rows[world][3] = delta[axis], origin[axis]
        return AffineMatrix.from_lps(rows)
    except (GeometryError, IndexError, TypeError):
        raise FormatError("its orientation makes no sense", path=name) from None

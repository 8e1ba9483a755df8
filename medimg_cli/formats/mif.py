"""MRtrix images: ``.mif``, compressed ``.mif.gz``, and ``.mih`` with the voxels in another file.

Decisions, by the format's page (https://mrtrix.readthedocs.io, "MRtrix image formats") and, where that is
silent, by what MRtrix 3.0 does:

- ``layout`` gives the strides, of any order and sign; voxel (0, 0, 0) then lies in the middle of the data.
  World coordinates are RAS+; ``transform`` has unit axes, the affine is that times ``vox``. Without a
  transform the axes are the world's and the image is centred at the origin.
- Voxel sizes that are no positive numbers are replaced by the mean of the others, or 1; a transform that is
  not finite counts as missing. Columns that are not of length 1 are taken as they are. Each with a warning.
- value = offset + scale * stored, where ``scaling`` is "offset,scale"; a scale of 0 means unscaled.
- The fourth axis is time where ``vox`` says its step (1 only beside a RepetitionTime) or there are gradients,
  else channels.
- ``dw_scheme`` is in world coordinates; in the header gradients follow FSL.
- datatypes without LE or BE are little-endian. ``Bit`` holds eight voxels a byte, the first in the highest
  bit.
- Several ``file`` lines are files that follow each other.
- Repeated keys are a list. What MRtrix has no key for (label table, history, both NIfTI forms, kinds of axes
  ...) is written as JSON under one key; facts about the grid are believed only while it says the same grid as
  the file does.
"""

from __future__ import annotations

from math import hypot, isfinite, prod
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, GeometryError, MissingPartError, NotFoundError, OversizeError, TruncatedError
from medimg_cli.formats.mif_text import (
    FACTS_KEY,
    Entries,
    numbers,
    read_entries,
    typed,
    whole_numbers,
)
from medimg_cli.formats.neutral import OF_GRID, from_facts
from medimg_cli.header import Gradients, Header, Native
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import ByteSource, MemorySource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["Plan", "encode", "fit", "native_fields", "neutral", "open"]

_BASES = {
    "bit": "bool", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32",
    "uint32": "uint32", "int64": "int64", "uint64": "uint64", "float16": "float16", "float32": "float32",
    "float64": "float64", "cfloat32": "complex64", "cfloat64": "complex128",
}  # fmt: skip
_MOST_BYTES = 1 << 62
_MOST_AXES = 16
_MOST_FILES = 1 << 16


class Plan(NamedTuple):
    """Where the voxels lie, in values counted from the start of the data.

    Parameters
    ----------
    sizes : tuple of int
        Of all axes of the file, at least one.
    strides : tuple of int
        Of these axes; negative where an axis is stored backwards.
    first : int
        Position of voxel (0, 0, 0).
    dtype, byte_order : str
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    first: int
    dtype: str
    byte_order: str

    def layout(self) -> Layout:
        """Return the strides in bytes; of a bit image in decoded bytes, one a voxel."""
        size = ITEMSIZE[self.dtype]
        i, j, k = (stride * size for stride in (*self.strides[:3], 0, 0)[:3])
        channels = tuple((n, stride * size) for n, stride in zip(self.sizes[3:], self.strides[3:], strict=True))
        shape = (prod(self.sizes[3:]), *(*self.sizes[:3], 1, 1)[:3])
        return Layout(shape, self.dtype, self.byte_order, (i, j, k), channels)  # type: ignore[arg-type]


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an MRtrix image.

    Raises
    ------
    FormatError
        If a required key is missing or makes no sense, or the data file lies outside the header's folder.
    NotFoundError
        If the data file does not exist.
    """
    entries, end = read_entries(source)
    if end is None and entries.get("file", (".",))[0].startswith("."):
        raise TruncatedError("its header has no END", path=source.name, hint="get the file again")
    header, plan = neutral(entries, source.name)
    count = prod(plan.sizes)
    length = -(-count // 8) if plan.dtype == "bool" else count * ITEMSIZE[plan.dtype]
    data, offset, problem = _data(source, entries, end, length)
    file_bytes = None
    if data is not source and source.size is not None and data.size is not None:
        file_bytes = source.size + data.size
    if plan.dtype == "bool":
        data, offset = EncodedSource(data, "bits", offset, length), 0
    stored = StoredArray(data, offset + plan.first * ITEMSIZE[plan.dtype], plan.layout())
    return StoredBackend(stored, header.replace(file_bytes=file_bytes), problem)


def _data(
    source: ByteSource, entries: Entries, end: int | None, length: int
) -> tuple[ByteSource, int, FormatError | None]:
    """Return the source of the voxels, where they begin in it, and what is wrong where it is not there."""
    lines = entries.get("file")
    if not lines:
        raise FormatError("has no 'file' entry", path=source.name)
    places = [_place(line, source.name) for line in lines]
    if places[0][0] == ".":
        if len(places) > 1:
            raise FormatError("its voxels are in itself and in other files", path=source.name)
        assert end is not None  # open has seen to it
        if places[0][1] < end:
            raise FormatError(f"its data begin at {places[0][1]}, inside the header of {end} bytes", path=source.name)
        return source, places[0][1], None
    if len(places) > _MOST_FILES or length % len(places):
        raise FormatError(f"{length} bytes of voxels in {len(places)} files", path=source.name)
    try:
        files = [source.sibling(name) for name, _ in places]
    except NotFoundError as error:
        return MemorySource(b"", source.name), 0, MissingPartError(error.message, path=source.name)
    if len(files) == 1:
        return files[0], places[0][1], None
    share = length // len(files)
    pieces = [(file, start, share) for file, (_, start) in zip(files, places, strict=True)]
    return JoinedSource(pieces, source.name), 0, None


def _place(line: str, name: str) -> tuple[str, int]:
    """Split "NAME OFFSET", where NAME may hold spaces and OFFSET may be missing."""
    *file, offset = line.rsplit(None, 1)
    if not file or not (offset.isascii() and offset.isdigit()):
        return line, 0
    if len(offset) > 18:
        raise FormatError(f"its data begin at {offset[:30]}", path=name)
    return file[0], int(offset)


def neutral(entries: Entries, name: str) -> tuple[Header, Plan]:
    """Turn entries into a neutral header, and say where the voxels lie."""
    plan = _plan(entries, name)
    vox = numbers(_last(entries, "vox", name), "vox", name)
    if len(vox) < min(len(plan.sizes), 3):
        raise FormatError(f"vox has {len(vox)} numbers for {len(plan.sizes)} axes", path=name)
    warnings: list[str] = []
    shape = plan.layout().shape
    affine, source = _affine(entries, vox, shape, name, warnings)
    slope, inter = _scaling(entries, name, warnings)
    header = Header(
        shape=shape,
        dtype=plan.dtype,
        affine=affine,
        ndim=min(len(plan.sizes), 3),
        byte_order=plan.byte_order,
        slope=slope,
        inter=inter,
        affine_source=source,
        space_units="mm",
        native=Native("mif", entries),
    )
    kinds = ["channel"] * (len(plan.sizes) - 3)
    gradients = _gradients(entries, plan, affine, warnings)
    step = vox[3] if len(vox) > 3 and isfinite(vox[3]) and vox[3] > 0 else None
    spacing = None
    timed = step is not None and (step != 1 or "RepetitionTime" in entries)
    if kinds and (gradients is not None or timed):
        kinds[0], spacing = "time", step if timed else None
    header = header.replace(
        axes=tuple(zip(kinds, plan.sizes[3:], strict=True)),
        time_spacing=spacing,
        time_units="s" if kinds[:1] == ["time"] else None,
        gradients=gradients,
        warnings=tuple(warnings),
    )
    return _with_facts(header, entries), plan


def _last(entries: Entries, key: str, name: str) -> str:
    if key not in entries:
        raise FormatError(f"has no '{key}' entry", path=name)
    return entries[key][-1]


def _plan(entries: Entries, name: str) -> Plan:
    sizes = whole_numbers(_last(entries, "dim", name), "dim", name)
    if not 1 <= len(sizes) <= _MOST_AXES or min(sizes) < 1:
        raise FormatError(f"dim is {', '.join(map(str, sizes[:20]))}: no image has such axes", path=name)
    word = _last(entries, "datatype", name).lower()
    base, order = (word[:-2], word[-2:]) if word[-2:] in ("le", "be") else (word, "")
    dtype = _BASES.get(base)
    if dtype is None or (order and ITEMSIZE[dtype] == 1):
        raise FormatError(f"datatype {_last(entries, 'datatype', name)[:40]!r} is unknown", path=name)
    if prod(sizes) * ITEMSIZE[dtype] > _MOST_BYTES:
        raise OversizeError(f"dim is {', '.join(map(str, sizes))}: no file can hold that", path=name)
    text = _last(entries, "layout", name)
    ranks = [abs(rank) for rank in whole_numbers(text, "layout", name)]
    if sorted(ranks) != list(range(len(sizes))):
        raise FormatError(f"layout {text[:60]!r} is no order of {len(sizes)} axes", path=name)
    strides, step, first = [0] * len(sizes), 1, 0
    backwards = [word.strip().startswith("-") for word in text.split(",")]
    for axis in sorted(range(len(sizes)), key=ranks.__getitem__):
        strides[axis] = -step if backwards[axis] else step
        first += (sizes[axis] - 1) * step if backwards[axis] else 0
        step *= sizes[axis]
    return Plan(tuple(sizes), tuple(strides), first, dtype, "big" if order == "be" else "little")


def _affine(
    entries: Entries, vox: list[float], shape: tuple[int, ...], name: str, warnings: list[str]
) -> tuple[AffineMatrix, str]:
    stated = (*vox[:3], 1.0, 1.0)[:3]
    good = [size for size in stated if isfinite(size) and 0 < size < 1e15]
    if len(good) < 3:
        warnings.append(
            f"vox {', '.join(f'{size:g}' for size in stated)}: a voxel size must be above 0; "
            "the mean of the others, or 1, is used"
        )
    mean = sum(good) / len(good) if good else 1.0
    spacing = [size if size in good else mean for size in stated]
    centred = AffineMatrix.from_spacing(
        spacing, origin=[-(n - 1) * size / 2 for n, size in zip(shape[1:], spacing, strict=True)]
    )
    if "transform" not in entries:
        return centred, "default"
    values = [value for line in entries["transform"] for value in numbers(line, "transform", name)]
    if len(values) < 12:
        raise FormatError(f"transform has {len(values)} numbers, expected 12", path=name)
    rows = (values[0:4], values[4:8], values[8:12])
    try:
        affine = AffineMatrix([[*(row[axis] * spacing[axis] for axis in range(3)), row[3]] for row in rows])
    except GeometryError:
        warnings.append("orientation is unknown: the transform is not usable, axes of the world are taken")
        return centred, "default"
    if affine.is_singular:
        warnings.append("the affine is singular: voxels have no volume")
    elif any(abs(hypot(*(row[axis] for row in rows)) - 1) > 1e-3 for axis in range(3)):
        warnings.append("the axes of the transform are not of length 1: vox is not the voxel size")
    return affine, "transform"


def _scaling(entries: Entries, name: str, warnings: list[str]) -> tuple[float | None, float | None]:
    if "scaling" not in entries:
        return None, None
    values = numbers(_last(entries, "scaling", name), "scaling", name)
    if len(values) != 2:
        raise FormatError(f"scaling has {len(values)} numbers, expected offset and scale", path=name)
    offset, factor = values
    if not isfinite(offset) or not isfinite(factor) or factor == 0:
        warnings.append(f"scaling {offset:g},{factor:g} is no scaling, taken as unscaled")
        return None, None
    return factor, offset


def _gradients(entries: Entries, plan: Plan, affine: AffineMatrix, warnings: list[str]) -> Gradients | None:
    """Return the gradient table, turned from world coordinates into FSL's convention."""
    lines = entries.get("dw_scheme")
    if lines is None:
        return None
    try:
        rows = [numbers(line, "dw_scheme", "") for line in lines]
    except FormatError:
        rows = [[]]
    count = prod(plan.sizes[3:])
    usable = all(len(row) >= 4 and all(map(isfinite, row[:4])) for row in rows) and not affine.is_singular
    if len(rows) != count or not usable:
        warnings.append(f"dw_scheme is no table of 4 columns and {count} rows and is ignored")
        return None
    turn = _turn(affine).inverse()
    vectors = tuple(tuple(v + 0.0 for v in turn.apply((x, y, z))) for x, y, z, *_ in rows)
    return Gradients(tuple(row[3] for row in rows), vectors)


def _turn(affine: AffineMatrix) -> AffineMatrix:
    """Return the map from vectors in FSL's convention to vectors in world coordinates."""
    flip = -1.0 if affine.determinant > 0 else 1.0
    return AffineMatrix([[row[0] * flip, row[1], row[2], 0.0] for row in affine.direction])


def world_scheme(gradients: Gradients, affine: AffineMatrix) -> tuple[str, ...]:
    """Return the lines of a ``dw_scheme``: direction in world coordinates, and b-value."""
    vectors = _turn(affine).apply(gradients.bvecs) if gradients.bvecs else ()
    return tuple(
        ",".join(repr(value + 0.0) for value in (*vector, b))
        for vector, b in zip(vectors, gradients.bvals, strict=True)
    )


def _with_facts(header: Header, entries: Entries) -> Header:
    """Add key-values, and what was written as JSON."""
    facts: dict[str, Any] = {}
    if FACTS_KEY in entries:
        import json

        try:
            facts = json.loads(entries[FACTS_KEY][-1])
            if not isinstance(facts, dict):
                raise ValueError
        except (ValueError, RecursionError):
            header, facts = header.warn(f"its {FACTS_KEY} entry is not valid JSON and is ignored"), {}
    said = facts.pop("metadata", {})
    if header.gradients is not None:
        facts.pop("gradients", None)
    header = header.replace(metadata=typed(entries, said if isinstance(said, dict) else {}))
    if OF_GRID.intersection(facts) and not _same_grid(header, facts.get("grid")):
        facts = {key: value for key, value in facts.items() if key not in OF_GRID}
        header = header.warn("forms, history or gradients that medimg wrote belong to another grid and are ignored")
    if facts:
        header = from_facts(header, facts)
    return header


def _same_grid(header: Header, grid: Any) -> bool:
    try:
        return list(header.shape[1:]) == grid["shape"] and (
            header.affine.mm_shift(AffineMatrix(grid["affine"]), header.shape[1:]) < 1e-3
        )
    except (TypeError, KeyError, GeometryError):
        return False


def fit(header: Header, name: str) -> Header:
    """Return what would come back from an MRtrix file of that name.

    Nearly everything fits: what MRtrix has no key for travels as JSON.

    Raises
    ------
    UnsupportedError
        If MRtrix has no datatype for the values.
    FormatError
        If an axis of the image cannot be written.
    """
    from medimg_cli.formats.mif_writing import build

    return neutral(build(header, name), name)[0]


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file of that name."""
    from medimg_cli.formats.mif_writing import encoded

    return encoded(header, name)


def native_fields(data: Entries) -> dict[str, Any]:
    """Return the entries of the file by their keys."""
    return {key: lines[0] if len(lines) == 1 else list(lines) for key, lines in data.items()}

"""HDF5 files as ITK writes them, with one image in the group ITKImage/0.

Source: ``itkHDF5ImageIO``. Directions holds one axis per row, in LPS, as Origin; VoxelData has the slowest axis first
and the components of a pixel last. A fourth axis is time where its spacing is neither 0 nor 1, else plain channels.
SimpleITK is the referee only; :mod:`medimg_cli.formats.h5` says why.
"""

from __future__ import annotations

from math import isfinite, prod
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend
from medimg_cli.errors import FormatError, MedImgError, StorageError
from medimg_cli.formats.foreign import (
    bare,
    check_shape,
    component_axes,
    one_line,
    refuse_shear,
    sane_origin,
    sane_spacing,
    widened,
)
from medimg_cli.formats.h5 import TargetFile, dataset, dtype_of, h5py_module, opened, undisturbed, voxels
from medimg_cli.formats.keyvalues import KEY, facts_text, with_facts
from medimg_cli.header import Header, Native
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout

if TYPE_CHECKING:
    from medimg_cli.storage.atomic import StagedFile

__all__ = ["fit", "open", "write_file"]

_IMAGE, _FAMILY = "ITKImage/0", "itk-hdf5"
#: Spacing, origin, and one row of direction cosines per axis, all in LPS.
Vector = tuple[float, float, float]
Geometry = tuple[Vector, Vector, tuple[Vector, Vector, Vector]]
_STRAIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_TYPES = {
    "int8": "CHAR", "uint8": "UCHAR", "int16": "SHORT", "uint16": "USHORT", "int32": "INT", "uint32": "UINT",
    "int64": "LONG", "uint64": "ULONG", "float32": "FLOAT", "float64": "DOUBLE",
}  # fmt: skip
_WRITABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "uint64", "int64", "float64")
#: Entries of a group, and values of one of them, that are read.
_MOST_ENTRIES = 4096


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an HDF5 file that ITK, or medimg, wrote.

    Raises
    ------
    FormatError
        If it holds no ITK image, or one that contradicts itself.
    MissingExtraError
        If h5py is not installed.
    """
    title = "ITK HDF5"
    with opened(source, title) as tree:
        if "ITKImage" not in tree and "minc-2.0" in tree:
            from medimg_cli.formats import minc

            return minc.open(source, compression)
        data = dataset(tree, f"{_IMAGE}/VoxelData", source.name)
        header, order = _neutral(tree, data, source.name)
        return voxels(source, data, f"{_IMAGE}/VoxelData", title, header, order)


def _neutral(tree: Any, data: Any, name: str) -> tuple[Header, list[int]]:
    sizes = _numbers(tree, "Dimension", name)
    rank = len(sizes)
    agree = tuple(data.shape[:rank]) == tuple(int(n) for n in sizes[::-1])
    if not 1 <= rank <= 8 or not agree or data.ndim - rank not in (0, 1):
        raise FormatError(f"Dimension {sizes} and voxels {data.shape} contradict each other", path=name)
    dtype, byte_order = dtype_of(data, name)
    notes: list[str] = []
    geometry, steps = _geometry(tree, rank, notes, name)
    spatial = [int(n) for n in sizes] + [1] * (3 - rank)
    timed = rank > 3 and steps[3] not in (0.0, 1.0) and steps[3] > 0
    axes = [("time" if timed and n == 0 else "channel", size) for n, size in enumerate(spatial[3:])]
    components = data.shape[rank] if data.ndim > rank else 1
    order = [*range(min(rank, 3)), *range(3, 3 + len(axes))]
    if data.ndim > rank:
        order.insert(0, 3 + len(axes))
        axes += component_axes(components, dtype) or [("vector", 1)]
    shape = (prod(size for _, size in axes), *spatial[:3])
    check_shape(shape, dtype, name)
    metadata = _metadata(tree, name)
    facts = metadata.pop(KEY, "")
    header = Header(
        shape=shape,  # type: ignore[arg-type]
        dtype=dtype,
        affine=_affine(geometry),
        format="hdf5",
        axes=tuple(axes),
        ndim=min(rank, 3),
        byte_order=byte_order,
        affine_source="itk",
        time_spacing=float(steps[3]) if timed else None,
        metadata=metadata,
        warnings=tuple(notes),
        native=Native(_FAMILY, geometry),
    )
    return (with_facts(header, facts, _plain) if isinstance(facts, str) and facts else header), order


def _numbers(tree: Any, key: str, name: str) -> list[Any]:
    data = dataset(tree, f"{_IMAGE}/{key}", name)
    if data.dtype.kind not in "iuf" or data.size > 64:
        raise FormatError(f"{key} holds no numbers", path=name)
    found: list[Any] = data[()].tolist()
    return found if isinstance(found, list) else [found]


def _geometry(tree: Any, rank: int, notes: list[str], name: str) -> tuple[Geometry, list[float]]:
    """Read the geometry of the spatial axes, and the spacing of all."""
    steps, origin, rows = (_numbers(tree, key, name) for key in ("Spacing", "Origin", "Directions"))
    if not len(steps) == len(origin) == len(rows) == rank or any(len(row) != rank for row in rows):
        raise FormatError("Spacing, Origin and Directions are not of the image's dimension", path=name)
    count = min(rank, 3)
    spacing = sane_spacing((*steps[:3], 1.0, 1.0)[:3], notes)
    corner = sane_origin((*origin[:3], 0.0, 0.0)[:3], notes)
    directions = [[float(i == j) for j in range(3)] for i in range(3)]
    for axis in range(count):
        directions[axis][:count] = rows[axis][:count]
    if not all(isfinite(value) and abs(value) < 1e30 for row in directions for value in row):
        notes.append("Directions holds no finite numbers; the axes are taken as those of the world")
        return (spacing, corner, _STRAIGHT), steps
    a, b, c = (tuple(row) for row in directions)
    return (spacing, corner, (a, b, c)), steps  # type: ignore[return-value]


def _affine(geometry: Geometry) -> AffineMatrix:
    spacing, origin, directions = geometry
    columns = list(zip(*directions, strict=True))
    return AffineMatrix.from_lps(AffineMatrix.from_spacing(spacing, origin=origin, direction=columns))


def _geometry_of(header: Header) -> Geometry:
    """Return spacing, origin and directions: those of the file that the header came from, where they still hold."""
    if header.native is not None and header.native.family == _FAMILY:
        geometry: Geometry = header.native.data
        if _affine(geometry) == header.affine:
            return geometry
    lps = header.affine.to_lps()
    a, b, c = zip(*lps.direction, strict=True)
    return lps.spacing, lps.origin, (a, b, c)


def _metadata(tree: Any, name: str) -> dict[str, Any]:
    """Read key-values; what is no text, number or list of numbers is left out."""
    if "MetaData" not in dataset(tree, _IMAGE, name):
        return {}
    group = dataset(tree, f"{_IMAGE}/MetaData", name)
    found: dict[str, Any] = {}
    for key in list(group)[:_MOST_ENTRIES]:
        data: Any = dataset(tree, f"{_IMAGE}/MetaData/{key}", name)
        if getattr(data, "size", None) is None or data.size > _MOST_ENTRIES:
            continue
        value = data[()].tolist() if data.shape else data[()]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, (str, int, float)) or (isinstance(value, list) and data.dtype.kind in "iuf"):
            found[key] = value
    return found


def fit(header: Header, name: str) -> Header:
    """Return what would come back from an HDF5 file: values, geometry, and all that key-values can say.

    Raises
    ------
    UnsupportedError
        If no type of ITK holds every value.
    GeometryError
        If the axes are sheared: the file holds directions at right angles.
    """
    base = _base(header)
    facts = facts_text(header, base)
    return with_facts(base, facts, _plain) if facts else base


def _base(header: Header) -> Header:
    """Return what a file says by ITK's own means."""
    refuse_shear(header.affine, "ITK HDF5")
    dtype = widened(header, _WRITABLE, "ITK HDF5")
    axes, geometry = _file_axes(header, dtype), _geometry_of(header)
    return bare(
        header,
        dtype=dtype,
        affine=_affine(geometry),
        axes=axes,
        affine_source="itk",
        time_spacing=header.time_spacing if axes and axes[0][0] == "time" else None,
        metadata={key: value for key, value in header.metadata.items() if _is_kept(key, value)},
        native=Native(_FAMILY, geometry),
    )


def _plain(key: str, value: Any) -> str | None:
    """Return nothing: a key-value that ITK has no type for is in no file of its own accord."""
    return None


def _is_kept(key: str, value: Any) -> bool:
    if "/" in key or key in ("", ".", KEY) or "\0" in key or isinstance(value, bool):
        return False
    return (isinstance(value, str) and "\0" not in value) or (isinstance(value, int) and abs(value) < 1 << 63) or (
        isinstance(value, float)
    )  # fmt: skip


def _file_axes(header: Header, dtype: str) -> tuple[tuple[str, int], ...]:
    """Return a fourth axis and components as they are read back."""
    axes = [axis for axis in header.channel_axes() if axis[1] > 1]
    components = [axes.pop()] if axes and axes[-1][0] in ("rgb", "vector") else []
    if len(axes) > 1:
        axes = [("channel", prod(size for _, size in axes))]
    step = header.time_spacing or 0.0
    named = [("time" if kind == "time" and step > 0 and step != 1 else "channel", size) for kind, size in axes]
    return (*named, *(component_axes(components[0][1], dtype) if components else ()))


def write_file(staged: StagedFile, name: str, backend: Backend, header: Header, level: int | None) -> None:
    """Write an image slice by slice, as ITK lays it out.

    Raises
    ------
    StorageError
        If the disk is full, or writing fails otherwise.
    """
    h5py = h5py_module("ITK HDF5")
    target = TargetFile(staged)
    try:
        with undisturbed(target), h5py.File(target, "w") as tree:
            _write_facts(tree, h5py, header)
            _write_voxels(tree, backend, header, 4 if level is None else level, target)
    except MedImgError:
        raise
    except Exception as error:
        if target.problem is not None:
            raise target.problem from None
        raise StorageError(f"cannot be written: {one_line(error)}", path=name) from None
    if target.problem is not None:
        raise target.problem


def _write_facts(tree: Any, h5py: Any, header: Header) -> None:
    def put(group: Any, key: str, value: Any) -> None:
        if isinstance(value, str):
            kind = h5py.string_dtype("ascii" if value.isascii() else "utf-8")
            group.create_dataset(key, data=[value], dtype=kind)
        else:
            group.create_dataset(key, data=value)

    import numpy as np

    base = _base(header)
    spacing, origin, spatial = _geometry_of(header)
    sizes = [*header.shape[1:], *(size for kind, size in base.axes if kind in ("time", "channel"))]
    rank = len(sizes)
    directions = np.eye(rank)
    directions[:3, :3] = spatial
    put(tree, "ITKVersion", "5.4.0")
    put(tree, "HDFVersion", "HDF5 library version: 1.12.1")
    group = tree.create_group(_IMAGE)
    put(group, "Dimension", np.array(sizes, dtype="u8"))
    put(group, "Directions", directions)
    put(group, "Origin", np.array([*origin, *[0.0] * (rank - 3)]))
    put(group, "Spacing", np.array([*spacing, base.time_spacing or 1.0][:rank]))
    put(group, "VoxelType", _TYPES[header.dtype])
    entries = group.create_group("MetaData")
    facts = facts_text(header, base)
    for key, value in sorted(({**base.metadata, KEY: facts} if facts else base.metadata).items()):
        put(entries, key, value if isinstance(value, str) else [value])


def _write_voxels(tree: Any, backend: Backend, header: Header, level: int, target: TargetFile) -> None:
    import numpy as np

    axes = _file_axes(header, header.dtype)
    components = [size for kind, size in axes if kind in ("rgb", "vector")]
    volumes = [size for kind, size in axes if kind in ("time", "channel")]
    shape = [*volumes, *header.shape[:0:-1], *components]
    chunk = [1] * (len(volumes) + 1) + shape[len(volumes) + 1 :]
    data = tree[_IMAGE].create_dataset(
        "VoxelData", shape, header.dtype, chunks=tuple(chunk), compression="gzip" if level else None,
        compression_opts=level or None, track_times=False,
    )  # fmt: skip
    sizes = [size for _, size in axes]
    order = [*range(3 + len(volumes), 3 + len(sizes)), 0, 1, 2, *range(3, 3 + len(volumes))]
    layout = Layout.packed(header.shape, header.dtype, order=order, channels=sizes)
    raw = not backend.header.scaled or header.scaled
    slice_bytes, pending, done = prod(chunk) * header.itemsize, bytearray(), 0
    for block in backend.blocks(layout, raw=raw):
        pending += block
        while len(pending) >= slice_bytes:
            values = np.frombuffer(bytes(pending[:slice_bytes]), np.dtype(header.dtype).newbyteorder("<"))
            place = divmod(done, header.shape[3]) if volumes else (done,)
            data[place] = values.reshape(chunk[len(place) :])
            del pending[:slice_bytes]
            done += 1
            if target.problem is not None:
                raise target.problem

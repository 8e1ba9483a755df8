"""MINC 1 (netCDF) and MINC 2 (HDF5), read only. Decisions, by the MINC reference (McConnell Brain Imaging Centre):

- World coordinates are RAS: "X increases from patient left to right", as every xspace says of itself. ITK takes the
  numbers as LPS when it reads and writes, which mirrors x and y (its files look turned by 180 degrees here, and in
  nibabel and the MINC tools).
- The affine is direction_cosines * step per axis, start measured along the cosines. I, J, K are the spatial axes in
  the order of the file, slowest first, as in nibabel.
- Which axis is time says its name, not its place: dimension "time" is an axis of channels even where it comes first.
  "vector_dimension" holds the components of a voxel.
- Integers are real values scaled: ``valid_range`` maps to ``image-min`` .. ``image-max``, which may differ by slice.
  Where one pair holds for all, slope and inter say it and the stored numbers remain; else the values are float64.
  Stored numbers outside the valid range are moved to its end, as in nibabel. Floating-point voxels are never scaled.

nibabel is the referee: it reads the voxels of MINC 1 with the header, and needs a path for MINC 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import integer_range, is_integer
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError
from medimg_cli.formats.foreign import DerivedBackend, check_shape
from medimg_cli.formats.netcdf import read_netcdf
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, Region, StoredArray

if TYPE_CHECKING:
    import numpy as np

__all__ = ["open"]

_SPATIAL = {"xspace": (1.0, 0.0, 0.0), "yspace": (0.0, 1.0, 0.0), "zspace": (0.0, 0.0, 1.0)}
_NETCDF_TYPES = {"b": ("uint8", "int8"), "h": ("uint16", "int16"), "i": ("uint32", "int32")}
_SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6}

Attributes = dict[str, Any]


class _Volume(NamedTuple):
    """What both containers say; dimensions are named slowest first."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    dimensions: dict[str, Attributes]
    attributes: Attributes
    dtype: str
    byte_order: str
    limits: tuple[_Limits, _Limits] | None
    history: str


class _Limits(NamedTuple):
    """image-min or image-max: one number for each place along some dimensions."""

    names: tuple[str, ...]
    values: list[float]


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a MINC file.

    Raises
    ------
    FormatError
        If the header makes no sense.
    UnsupportedError
        If there are not three spatial axes, or their spacing is irregular.
    MissingExtraError
        If it is MINC 2 and h5py is not installed.
    """
    if not source.head(3).startswith(b"CDF"):
        return _open2(source)
    variables, attributes = read_netcdf(source)
    image = variables.get("image")
    if image is None or image.code == "s":
        raise FormatError("has no image variable: no MINC file", path=source.name)
    if image.code in _NETCDF_TYPES:
        signed = image.attributes.get("signtype", "unsigned" if image.code == "b" else "signed__") != "unsigned"
        dtype = _NETCDF_TYPES[image.code][signed]
    else:
        dtype = {"f": "float32", "d": "float64"}[image.code]
    ends = [variables.get(name) for name in ("image-min", "image-max")]
    limits = [_Limits(end.dimensions, end.values(source)) for end in ends if end is not None]
    volume = _Volume(
        image.dimensions,
        image.shape,
        {name: variables[name].attributes for name in image.dimensions if name in variables},
        image.attributes,
        dtype,
        "big",
        (limits[0], limits[1]) if len(limits) == 2 else None,
        str(attributes.get("history", "")),
    )
    header, order = _neutral(volume, "minc1", source.name)
    layout = Layout.packed(
        header.shape, dtype, byte_order="big", order=order, channels=[size for _, size in header.axes]
    )
    if image.stride:
        layout = _in_records(layout, order[-1], image.stride)
    stored = StoredBackend(StoredArray(source, image.offset, layout), header)
    return _scaled(stored, volume, header, order, source.name)


def _in_records(layout: Layout, slowest: int, stride: int) -> Layout:
    """Return a layout whose slowest axis is netCDF's unlimited dimension."""
    if slowest < 3:
        strides = tuple(stride if axis == slowest else step for axis, step in enumerate(layout.strides))
        return layout._replace(strides=strides)  # type: ignore[arg-type]
    channels = tuple((n, stride if axis == slowest - 3 else step) for axis, (n, step) in enumerate(layout.channels))
    return layout._replace(channels=channels)


def _open2(source: ByteSource) -> Backend:
    from medimg_cli.formats.h5 import dataset, dtype_of, opened, voxels

    title, path = "MINC 2", "minc-2.0/image/0/image"
    with opened(source, title) as tree:
        if "minc-2.0" not in tree and "ITKImage" in tree:
            from medimg_cli.formats import hdf5

            return hdf5.open(source, None)
        image = dataset(tree, path, source.name)
        names = _dimorder(image)
        folder = dataset(tree, "minc-2.0/dimensions", source.name)
        found = {name: dataset(tree, f"minc-2.0/dimensions/{name}", source.name) for name in names if name in folder}
        ends = []
        for name in ("image-min", "image-max"):
            if name in dataset(tree, "minc-2.0/image/0", source.name):
                data = dataset(tree, f"minc-2.0/image/0/{name}", source.name)
                ends.append(_Limits(_dimorder(data), _floats(data, source.name)))
        dtype, byte_order = dtype_of(image, source.name)
        volume = _Volume(
            names,
            image.shape,
            {name: _attributes(node) for name, node in found.items()},
            _attributes(image),
            dtype,
            byte_order,
            (ends[0], ends[1]) if len(ends) == 2 else None,
            str(_attributes(tree["minc-2.0"]).get("history", "")),
        )
        header, order = _neutral(volume, "minc2", source.name)
        stored = voxels(source, image, path, title, header, order)
    return _scaled(stored, volume, header, order, source.name)


def _dimorder(data: Any) -> tuple[str, ...]:
    """Return the names of a dataset's dimensions; a list that is longer than the dataset has axes is left over."""
    text = _attributes(data).get("dimorder", "")
    return tuple(text.split(",")[: data.ndim]) if isinstance(text, str) and data.ndim else ()


def _attributes(node: Any) -> Attributes:
    found: Attributes = {}
    for key, value in node.attrs.items():
        if isinstance(value, bytes):
            value = value.partition(b"\0")[0].decode("utf-8", "replace")
        elif hasattr(value, "tolist") and getattr(value, "size", 0) <= 64:
            value = value.tolist()
            value = tuple(value) if isinstance(value, list) else value
        found[key] = value
    return found


def _floats(data: Any, name: str) -> list[float]:
    if data.dtype.kind not in "iuf" or data.size > 1 << 22:
        raise FormatError("its scale factors are no plain array of numbers", path=name)
    found: list[float] = data[()].astype("f8").ravel().tolist()
    return found


def _neutral(volume: _Volume, format: str, name: str) -> tuple[Header, list[int]]:
    """Return the header of the stored numbers, and the order of axes, fastest first, for a layout."""
    if len(volume.names) != len(volume.shape):
        raise FormatError(f"names {len(volume.names)} dimensions, the image has {len(volume.shape)}", path=name)
    spatial = [n for n, label in enumerate(volume.names) if label in _SPATIAL]
    if len(spatial) != 3 or len({volume.names[n] for n in spatial}) != 3:
        shown = ", ".join(volume.names)[:80]
        raise UnsupportedError(f"an image over {shown!r} has not the three spatial axes of MINC", path=name)
    others = [n for n in range(len(volume.names)) if n not in spatial]
    # The last of the other axes is the fastest in the file: it is the first, and fastest, in C.
    others.reverse()
    vectors = [n for n in others if volume.names[n] == "vector_dimension"]
    others = [n for n in others if n not in vectors] + vectors
    notes: list[str] = []
    axes = tuple((_kind(volume, n), volume.shape[n]) for n in others)
    times = [n for n in others if volume.names[n] == "time"]
    shape = (prod(size for _, size in axes), *(volume.shape[n] for n in spatial))
    check_shape(shape, volume.dtype, name)
    place = {n: axis for axis, n in enumerate(spatial)} | {n: 3 + axis for axis, n in enumerate(others)}
    header = Header(
        shape=shape,  # type: ignore[arg-type]
        dtype=volume.dtype,
        affine=_affine(volume, [volume.names[n] for n in spatial], notes, name),
        format=format,
        axes=axes,
        byte_order=volume.byte_order,
        affine_source="minc",
        time_spacing=_time_spacing(volume, notes) if times else None,
        metadata={"minc_history": volume.history} if volume.history else {},
        warnings=tuple(notes),
    )
    return header, [place[n] for n in reversed(range(len(volume.names)))]


def _kind(volume: _Volume, axis: int) -> str:
    label = volume.names[axis]
    if label == "vector_dimension":
        return "rgb" if volume.dtype == "uint8" and volume.shape[axis] in (3, 4) else "vector"
    return "time" if label == "time" else "channel"


def _time_spacing(volume: _Volume, notes: list[str]) -> float | None:
    own = volume.dimensions.get("time", {})
    if own.get("spacing", "regular__") != "regular__":
        notes.append("its time steps are irregular; no time spacing is told")
        return None
    step = _real(own.get("step"), 0.0) * _SECONDS.get(str(own.get("units", "s")).lower(), 1.0)
    return step if step > 0 else None


def _real(value: Any, default: float) -> float:
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    good = isinstance(value, (int, float)) and isfinite(value) and abs(value) < 1e30
    return float(value) if good else default


def _affine(volume: _Volume, names: Sequence[str], notes: list[str], path: str) -> AffineMatrix:
    columns, origin = [], [0.0, 0.0, 0.0]
    for label in names:
        own = volume.dimensions.get(label, {})
        spacing = own.get("spacing", "regular__")
        if spacing == "irregular":
            raise UnsupportedError(f"slices along {label} are irregularly spaced", path=path)
        if spacing != "regular__":
            notes.append(f"the spacing of {label} is declared as {str(spacing)[:20]!r}; taken as regular")
        cosines = own.get("direction_cosines", _SPATIAL[label])
        if not isinstance(cosines, tuple) or len(cosines) != 3 or not any(_real(c, 0.0) for c in cosines):
            notes.append(f"the direction of {label} makes no sense; its own axis is used")
            cosines = _SPATIAL[label]
        step = _real(own.get("step", 1.0), 0.0)
        if not step:
            notes.append(f"the step of {label} is no number other than 0; 1 is used")
            step = 1.0
        start = _real(own.get("start", 0.0), 0.0)
        columns.append([_real(c, 0.0) * step for c in cosines])
        origin = [o + _real(c, 0.0) * start for o, c in zip(origin, cosines, strict=True)]
    try:
        return AffineMatrix([[*(column[n] for column in columns), origin[n]] for n in range(3)])
    except GeometryError:
        raise FormatError("its directions and steps make no affine", path=path) from None


def _scaled(stored: Backend, volume: _Volume, header: Header, order: Sequence[int], name: str) -> Backend:
    """Put the scaling of integers on top of the stored numbers."""
    if not is_integer(header.dtype):
        return stored
    low, high = _valid_range(volume, header.dtype, name)
    if volume.limits is None or high <= low:
        note = "it states no range of real values; the stored numbers are taken as they are"
        return _renamed(stored, header.warn(note))
    minima, maxima = (_spread(limit, volume, order, name) for limit in volume.limits)
    slopes = (maxima - minima) / (high - low)
    inters = minima - low * slopes
    if slopes.min() == slopes.max() and inters.min() == inters.max():
        slope, inter = float(slopes.flat[0]), float(inters.flat[0])
        if slope and isfinite(slope) and isfinite(inter) and (slope, inter) != (1.0, 0.0):
            header = header.replace(slope=slope, inter=inter)
        if (low, high) == integer_range(header.dtype):
            return _renamed(stored, header)
        return MincBackend(stored, header, (low, high), None, None)
    header = header.replace(dtype="float64", byte_order="little")
    return MincBackend(stored, header, (low, high), slopes, inters)


def _renamed(stored: Any, header: Header) -> Backend:
    stored.header = header
    renamed: Backend = stored
    return renamed


def _valid_range(volume: _Volume, dtype: str, name: str) -> tuple[float, float]:
    least, most = integer_range(dtype)
    stated = volume.attributes.get("valid_range")
    if not isinstance(stated, tuple) or len(stated) != 2:
        stated = (volume.attributes.get("valid_min", least), volume.attributes.get("valid_max", most))
    low, high = sorted((_real(stated[0], least), _real(stated[1], most)))
    if low < least or high > most:
        raise FormatError(f"valid_range {low:g} to {high:g} is beyond {dtype}", path=name)
    return low, high


def _spread(limit: _Limits, volume: _Volume, order: Sequence[int], name: str) -> np.ndarray[Any, Any]:
    """Return limits as an array that broadcasts against (C, I, J, K)."""
    import numpy as np

    sizes = dict(zip(volume.names, volume.shape, strict=True))
    if any(label not in sizes for label in limit.names) or prod(sizes[n] for n in limit.names) != len(limit.values):
        raise FormatError("image-min and image-max are not over dimensions of the image", path=name)
    places = dict(zip(volume.names, reversed(order), strict=True))  # name -> axis as in a layout
    array = np.array(limit.values, dtype=np.float64).reshape([sizes[label] for label in limit.names])
    channels = sorted((axis for axis in places.values() if axis >= 3), reverse=True)
    wanted = [*channels, 0, 1, 2]
    mine = [places[label] for label in limit.names]
    array = array.transpose([mine.index(axis) for axis in wanted if axis in mine])
    along = {axis: sizes[label] for label, axis in places.items()}
    array = array.reshape([along[axis] if axis in mine else 1 for axis in wanted])
    if any(axis in mine for axis in channels):
        array = np.broadcast_to(array, (*(along[axis] for axis in channels), *array.shape[len(channels) :]))
    return array.reshape(-1, *array.shape[-3:])


class MincBackend(DerivedBackend):
    """Stored numbers kept within their valid range, and scaled slice by slice where slopes are given.

    Parameters
    ----------
    base : Backend
        The stored numbers.
    header : Header
        Of what is read: the stored numbers, or float64 values.
    valid : (float, float)
        Least and largest valid stored number.
    slopes, inters : numpy.ndarray or None
        Broadcast against (C, I, J, K).
    """

    def __init__(
        self,
        base: Backend,
        header: Header,
        valid: tuple[float, float],
        slopes: np.ndarray[Any, Any] | None,
        inters: np.ndarray[Any, Any] | None,
    ) -> None:
        super().__init__(base, header)
        self.valid, self.slopes, self.inters = valid, slopes, inters

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        part = self.base.read(region, raw=True)
        part.clip(self.valid[0], self.valid[1], out=part, casting="unsafe")
        if self.slopes is None or self.inters is None:
            return part
        values = part.astype(self.header.dtype)
        values *= self.slopes[_picked(region, self.slopes.shape)]
        values += self.inters[_picked(region, self.inters.shape)]
        return values


def _picked(region: Region, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(span.start, span.stop, span.step) if size > 1 else slice(None)
        for span, size in zip(region, shape, strict=True)
    )

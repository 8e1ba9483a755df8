"""Arrays of xarray with named axes, as ITK and spatial-image write them.

The conventions are those of ``itk.xarray_from_image``: dims out of t, z, y, x, c (c last); along x, y, z one float64
coordinate per voxel, in mm, LPS+; ``attrs["direction"]`` is the direction matrix with rows and columns in the order of
the dims (z, y, x), so ITK's own reversed on both axes. spatial-image has the same dims and coordinates, no direction.

Coordinates count along the voxel axes of the array, from its origin: where a direction is oblique, the coordinates
alone do not say where a part of an array lies. `to_xarray` therefore adds ``attrs["affine"]``, the 4 x 4 map from
voxels to RAS+ mm of the whole; with it, what was sliced, turned round or interpolated along its axes is in its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.errors import GeometryError, MissingExtraError, UnsupportedError
from medimg_cli.formats.foreign import component_axes, refuse_shear
from medimg_cli.header import Header
from medimg_cli.interop.pixels import is_picture, native, padded, pixels, time_axis
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["from_xarray", "to_xarray"]

_SPACE = ("x", "y", "z")
_MM = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1e3, "um": 1e-3, "µm": 1e-3, "nm": 1e-6}
_MM |= {"millimeter": 1.0, "centimeter": 10.0, "meter": 1e3, "micrometer": 1e-3, "micron": 1e-3, "nanometer": 1e-6}
_SECONDS = {"s": 1.0, "second": 1.0, "sec": 1.0, "ms": 1e-3, "millisecond": 1e-3, "us": 1e-6, "microsecond": 1e-6}
_KINDS = ("channel", "vector", "rgb")
#: How far coordinates may be from evenly spaced, in steps.
_UNEVEN = 1e-3
#: Attributes that are geometry or ours, and no key-values of the image.
_OURS = ("direction", "origin", "spacing", "affine", "metadata")


def to_xarray(backend: Backend) -> Any:
    """Return an image as an array of xarray in memory; its values are read, scaled.

    Parameters
    ----------
    backend : Backend

    Returns
    -------
    xarray.DataArray, ([t,] z, y, x[, c])
        ``t`` where there is a time axis, ``c`` for all other channels; a picture is (y, x). Coordinates in mm, LPS+,
        and in s; attributes ``direction``, ``affine`` and the key-values of the image (those that ITK cannot take, in
        ``metadata``).

    Raises
    ------
    GeometryError
        If the axes are sheared or singular, with the angle: coordinates and a direction cannot say so.
    MissingExtraError
        If xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise MissingExtraError("xarray is not installed", hint="pip install 'medimg-cli[xarray]'") from None

    import numpy as np

    header = backend.header
    refuse_shear(header.affine, "xarray")
    cells = pixels(backend.read(whole(header.shape)), header)
    dims = ["t", "z", "y", "x", "c"]
    dropped = {
        "t": time_axis(header) is None,
        "z": is_picture(header),
        "c": cells.shape[-1] == 1,
    }
    cells = cells[tuple(0 if dropped.get(dim) else slice(None) for dim in dims)]
    dims = [dim for dim in dims if not dropped.get(dim)]
    found = xarray.DataArray(np.ascontiguousarray(cells), dims=dims, name="image", attrs=_attributes(header, dims))
    return found.assign_coords({dim: _coordinates(header, dim, size) for dim, size in found.sizes.items()})


def _attributes(header: Header, dims: list[str]) -> dict[str, Any]:
    """Return direction, affine and key-values; what ITK's dictionaries choke on goes together into one mapping."""
    import numpy as np

    rank = len(dims) - ("c" in dims)
    direction = np.eye(rank)
    count = min(rank, 3)
    direction[:count, :count] = np.array(header.affine.to_lps().direction)[:count, :count]
    attributes: dict[str, Any] = {"direction": np.flip(direction), "affine": header.affine.numpy()}
    apart: dict[str, Any] = {}
    for key, value in header.metadata.items():
        plain = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 31)
        (attributes if plain and key not in _OURS else apart)[key] = value
    return attributes | ({"metadata": apart} if apart else {})


def _coordinates(header: Header, dim: str, size: int) -> Any:
    """Return the coordinates of one axis with their attributes."""
    import numpy as np

    places = np.arange(size, dtype=np.float64)
    if dim in _SPACE:
        lps, axis = header.affine.to_lps(), _SPACE.index(dim)
        return dim, lps.origin[axis] + places * lps.spacing[axis], {"units": "mm"}
    if dim == "t":
        timed = header.time_spacing is not None
        return dim, places * (header.time_spacing or 1.0), {"units": "s"} if timed else {}
    kinds = {kind for kind, _ in header.channel_axes()} - {"time"}
    return dim, np.arange(size, dtype=np.uint32), {"long_name": kinds.pop()} if len(kinds) == 1 else {}


def from_xarray(data: Any) -> Backend:
    """Return an array of xarray as a backend: (C, I, J, K), RAS+; in the same memory where that can be.

    Parameters
    ----------
    data : xarray.DataArray
        Its dims, in any order, are at least two of x, y, z, and perhaps t and c. Coordinates that fall are voxel axes
        that run the other way. An axis without coordinates, or with one voxel, has a step of 1 mm unless
        ``attrs["affine"]`` says more; the header warns of it.

    Raises
    ------
    GeometryError
        If dims have other names, coordinates are not evenly spaced (with axis and numbers) or in no unit of length, or
        ``direction`` and ``affine`` contradict each other.
    UnsupportedError
        If it is no DataArray, or its elements are no numbers.
    """
    dims = getattr(data, "dims", None)
    if not isinstance(dims, tuple) or not hasattr(data, "coords"):
        raise UnsupportedError(f"a {type(data).__name__} is no image", hint="pick one of its DataArrays")
    names = {str(dim) for dim in dims}
    if not names <= {"t", "z", "y", "x", "c"} or len(names & set(_SPACE)) < 2:
        raise GeometryError(
            f"dims are {tuple(map(str, dims))}, expected two or three of x, y, z, and t or c",
            hint="use rename",
        )
    order = [dim for dim in ("c", "t", "x", "y", "z") if dim in names]
    array = native(data.transpose(*order).values)
    components, steps, *spatial = (dict(zip(order, array.shape, strict=True)).get(dim, 1) for dim in "ctxyz")
    shape = (components * steps, *spatial)
    header = Header(
        shape=shape,  # type: ignore[arg-type]
        dtype=array.dtype.name,
        affine=AffineMatrix(),
        format="xarray",
        axes=(("time", steps),) * ("t" in names) + _component_axes(data, components, array.dtype.name),
        ndim=2 if "z" not in names else 3,
        affine_source="xarray",
        metadata=_metadata(data.attrs),
    )
    header = _timed(_placed(header, data), data) if "t" in names else _placed(header, data)
    return ArrayBackend(array.reshape(shape), header)


def _component_axes(data: Any, count: int, dtype: str) -> tuple[tuple[str, int], ...]:
    """Return what c stands for: what its coordinates say, colours by type and number as in ITK, else channels."""
    if "c" not in data.dims:
        return ()
    said = data.coords["c"].attrs.get("long_name") if "c" in data.coords else None
    if said in _KINDS:
        return ((said, count),)
    return tuple((kind if kind == "rgb" else "channel", size) for kind, size in component_axes(count, dtype))


def _metadata(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the attributes that are key-values."""
    apart = attributes.get("metadata")
    found = dict(apart) if isinstance(apart, Mapping) else {}
    for key, value in attributes.items():
        value = value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value
        if key not in _OURS and isinstance(value, str | bool | int | float):
            found[str(key)] = value
    return found


class _Axis(NamedTuple):
    """Where the voxels of an axis lie along it, in mm.

    Parameters
    ----------
    first : float or None
        The first coordinate, None where nobody says.
    step : float or None
        None where nobody says.
    low : float or None
        The lowest coordinate.
    """

    first: float | None
    step: float | None
    low: float | None


def _axis(data: Any, dim: str) -> _Axis:
    """Return what the coordinates of an axis say."""
    import numpy as np

    if dim not in data.coords or data.coords[dim].dtype.kind not in "fiu":
        return _Axis(None, None, None)
    coordinates = data.coords[dim]
    factor = _MM.get(_unit(coordinates.attrs))
    if factor is None:
        raise GeometryError(
            f"the coordinates of {dim} are in {coordinates.attrs['units']!r}, expected a unit of length"
        )
    places = np.atleast_1d(np.asarray(coordinates.values, np.float64)) * factor
    if not np.isfinite(places).all():
        raise GeometryError(f"the coordinates of {dim} are not all finite numbers")
    if len(places) == 1:
        return _Axis(float(places[0]), None, float(places[0]))
    step = float(_step(places, dim, 4 * np.finfo(coordinates.dtype).eps if coordinates.dtype.kind == "f" else 0.0))
    return _Axis(float(places[0]), step, float(places.min()))


def _step(places: np.ndarray[Any, Any], dim: str, eps: float) -> float:
    """Return the step between coordinates.

    Raises
    ------
    GeometryError
        If they are not evenly spaced: names the axis, both steps and where.
    """
    import numpy as np

    gaps = np.diff(places)
    step: float = (places[-1] - places[0]) / len(gaps)
    off = np.abs(gaps - step)
    if step == 0 or off.max() > _UNEVEN * abs(step) + eps * np.abs(places).max():
        worst = int(off.argmax())
        raise GeometryError(
            f"the coordinates of {dim} are not evenly spaced: {gaps[worst]:.6g} from {dim}={places[worst]:.6g} on, "
            f"{step:.6g} on average",
            hint="interpolate onto even coordinates first",
        )
    return float(gaps[0]) if (gaps == gaps[0]).all() else step


def _unit(attributes: Mapping[Any, Any]) -> str:
    """Return the unit of coordinates in the singular, "" where there is none."""
    text = str(attributes.get("units") or "").strip()
    text = text.replace("metre", "meter")
    return text[:-1] if len(text) > 3 and text.endswith("s") else text


def _placed(header: Header, data: Any) -> Header:
    """Return a header with the affine of an array, and warnings of what is missing."""
    axes = {dim: _axis(data, dim) for dim in _SPACE}
    whole_affine = _whole(data)
    affine = _by_direction(axes, data) if whole_affine is None else _by_affine(axes, whole_affine)
    for dim, size in zip(_SPACE, header.spatial_shape, strict=True):
        if dim in data.dims and axes[dim].first is None:
            header = header.warn(
                f"{dim} has no coordinates: a step of {affine.spacing[_SPACE.index(dim)]:.4g} mm is assumed"
            )
        elif whole_affine is None and size == 1 and (dim in data.dims or axes[dim].first is not None):
            header = header.warn(f"{dim} has one voxel, and nothing says how thick it is: 1 mm is assumed")
    return header.replace(affine=affine)


def _whole(data: Any) -> AffineMatrix | None:
    """Return the affine that an array carries, of the whole it was part of.

    Raises
    ------
    GeometryError
        If its direction is another.
    """
    said = data.attrs.get("affine")
    if said is None:
        return None
    affine = AffineMatrix(said)
    direction = _direction(data)
    lps = affine.to_lps().direction
    if direction is not None:
        apart = max(
            abs(a - b) for left, right in zip(lps, direction, strict=True) for a, b in zip(left, right, strict=True)
        )
        if apart > 1e-4:
            raise GeometryError(
                f"attrs['direction'] and attrs['affine'] are {apart:.3g} apart", hint="delete the one that is wrong"
            )
    return affine


def _direction(data: Any) -> list[list[float]] | None:
    """Return the direction that an array carries as 3 x 3 numbers in the order x, y, z, None where it has none.

    Raises
    ------
    GeometryError
        If it is no matrix of the array's spatial axes (and time).
    """
    import numpy as np

    if data.attrs.get("direction") is None:
        return None
    matrix = np.asarray(data.attrs["direction"], np.float64)
    if matrix.shape not in ((2, 2), (3, 3), (4, 4)):
        raise GeometryError(f"attrs['direction'] has shape {matrix.shape}, expected (3, 3)")
    return padded(np.flip(matrix).tolist())


def _by_affine(axes: Mapping[str, _Axis], affine: AffineMatrix) -> AffineMatrix:
    """Return the affine of a part of an array whose affine is known, by the coordinates that are left."""
    origin, spacing = affine.to_lps().origin, affine.spacing
    rows = [[0.0] * 4 for _ in range(3)]
    for n, (axis, start, size) in enumerate(zip(axes.values(), origin, spacing, strict=True)):
        rows[n][n] = _snapped(1.0 if axis.step is None else axis.step / size)
        rows[n][3] = _snapped(0.0 if axis.first is None else (axis.first - start) / size)
    part = AffineMatrix(rows)
    return affine if part == AffineMatrix() else affine @ part


def _snapped(value: float) -> float:
    """Return a number of voxels without the noise of coordinates."""
    return float(round(value)) if abs(value - round(value)) < 1e-9 * max(1.0, abs(value)) else value


def _by_direction(axes: Mapping[str, _Axis], data: Any) -> AffineMatrix:
    """Return the affine that coordinates and direction say, as ITK reads them.

    ITK's origin is the lowest coordinate of each axis: an axis whose coordinates fall was turned round since, about it.
    """
    direction = _direction(data) or padded([])
    low = [axis.low or 0.0 for axis in axes.values()]
    away = [(axis.first or 0.0) - start for axis, start in zip(axes.values(), low, strict=True)]
    rows = []
    for row, start in zip(direction, low, strict=True):
        steps = [cosine * (axis.step or 1.0) for cosine, axis in zip(row, axes.values(), strict=True)]
        rows.append([*steps, start + sum(cosine * far for cosine, far in zip(row, away, strict=True))])
    return AffineMatrix.from_lps(rows)


def _timed(header: Header, data: Any) -> Header:
    """Return a header with the time between two steps, where the coordinates of t say so."""
    import numpy as np

    coordinates = data.coords.get("t")
    if coordinates is None or coordinates.size < 2:
        return header
    unit = _unit(coordinates.attrs)
    places = np.asarray(coordinates.values)
    if places.dtype.kind in "mM":
        places, unit = (places - places[0]) / np.timedelta64(1, "s"), "s"
    if places.dtype.kind not in "fiu" or (unit and unit not in _SECONDS):
        return header.warn("the coordinates of t are no times: the time between two steps is not known")
    gaps = np.diff(places.astype(np.float64)) * _SECONDS.get(unit, 1.0)
    step = float(gaps.mean())
    if not step > 0 or np.abs(gaps - step).max() > _UNEVEN * step:
        return header.warn(f"time steps are uneven, {gaps.min():.4g} to {gaps.max():.4g} s: no single one is kept")
    step = float(gaps[0]) if (gaps == gaps[0]).all() else step
    return header if not unit and step == 1.0 else header.replace(time_spacing=step)

"""How objects of many libraries say where they lie: each becomes one view with the same fields.

Objects are known by what they can do, libraries by the name of their module: none is imported for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from medimg_cli.errors import MedImgError

__all__ = ["View", "view_of"]

_LETTERS = {"x": 0, "y": 1, "z": 2, "i": 0, "j": 1, "k": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What an object says of its place; None where it says nothing.

    Parameters
    ----------
    world : str or None
        "ras" or "lps" where its library is known to count so.
    library : str
        For messages.
    origin, spacing, direction, affine, orientation : object
        As the object has them, unchecked.
    units : str or None
        Of spacing, where the object names one.
    shape : object
        Of its array, as declared.
    spatial_shape : object
        Voxels along i, j, k (fewer where there are fewer).
    tail : bool or None
        Whether ``spatial_shape`` is the end of ``shape``; None where the library has an order of its own.
    array : callable or None
        Returns the voxels.
    dtype : object
        As declared.
    take : callable or None
        (axis 0 to 2, slice) -> the part of the object.
    problems : tuple of (code, message)
        What was wrong already in reading it.
    """

    world: str | None = None
    library: str = ""
    origin: Any = None
    spacing: Any = None
    direction: Any = None
    affine: Any = None
    orientation: Any = None
    units: str | None = None
    shape: Any = None
    spatial_shape: Any = None
    tail: bool | None = None
    array: Callable[[], Any] | None = None
    dtype: Any = None
    take: Callable[[int, slice], Any] | None = None
    problems: tuple[tuple[str, str], ...] = ()


def view_of(thing: Any, convention: str) -> View:
    """Return what an object says of its place.

    Parameters
    ----------
    thing : object
    convention : str
        "ras": arrays of unknown libraries are (C, I, J, K) or (I, J, K); "lps": (K, J, I), as ITK's.
    """
    libraries = {kind.__module__.partition(".")[0] for kind in type(thing).__mro__}
    for library, view in _VIEWS.items():
        if library in libraries:
            return view(thing)
    if all(hasattr(thing, name) for name in ("GetOrigin", "GetSpacing", "GetDirection")):
        return _of_itk(thing)
    return _of_anything(thing, convention)


def _of_nibabel(image: Any) -> View:
    """Read a nibabel image: an affine in RAS+ and, in its header, zooms and units."""
    header: Any = getattr(image, "header", None)
    zooms = header.get_zooms()[:3] if hasattr(header, "get_zooms") else None
    units = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "unknown"
    shape = tuple(image.shape)

    def take(axis: int, span: slice) -> Any:
        return image.slicer[tuple(span if n == axis else slice(None) for n in range(3))]

    return View(
        world="ras",
        library="nibabel",
        affine=getattr(image, "affine", None),
        spacing=zooms if zooms is not None and len(zooms) == 3 else None,
        units=None if units == "unknown" else units,
        shape=shape,
        spatial_shape=shape[:3],
        array=None,
        take=take if len(shape) >= 3 else None,
    )


def _of_itk(image: Any) -> View:
    """Read an image of SimpleITK or itk: methods, LPS+."""
    rank = len(image.GetSpacing())
    count = min(rank, 3)
    direction = image.GetDirection()
    if hasattr(direction, "GetVnlMatrix"):
        matrix = direction.GetVnlMatrix()
        flat = [float(matrix.get(row, column)) for row in range(rank) for column in range(rank)]
    else:
        flat = [float(value) for value in direction]
    unit = [[float(row == column) for column in range(3)] for row in range(3)]
    for row in range(count):
        unit[row][:count] = flat[row * rank : row * rank + count]
    sizes = image.GetSize() if hasattr(image, "GetSize") else image.GetLargestPossibleRegion().GetSize()
    size = tuple(int(each) for each in sizes)
    simple = type(image).__module__.partition(".")[0] == "SimpleITK"

    def take(axis: int, span: slice) -> Any:
        return image[tuple(span if n == axis else slice(None) for n in range(rank))]

    return View(
        world="lps",
        library="SimpleITK" if simple else "ITK",
        origin=(*(float(x) for x in image.GetOrigin()), 0.0)[:3],
        spacing=(*(float(x) for x in image.GetSpacing()), 1.0)[:3],
        direction=unit,
        shape=size,
        spatial_shape=size[:3],
        take=take if simple else None,
    )


def _of_xarray(data: Any) -> View:
    """Read an array of xarray as ITK and spatial-image write it: coordinates and direction, LPS+."""
    from medimg_cli.interop import from_xarray

    def take(axis: int, span: slice) -> Any:
        return data.isel({"xyz"[axis]: span})

    known: dict[str, Any] = {"world": "lps", "library": "xarray", "shape": getattr(data, "shape", None)}
    try:
        header = from_xarray(data).header
    except MedImgError as error:
        return View(**known, problems=(("SP001", str(error)),))
    direction = data.attrs.get("direction")
    rising = all(
        float(data.coords[dim][-1]) >= float(data.coords[dim][0]) for dim in data.dims if dim in ("x", "y", "z")
    )
    size = len(direction) if direction is not None else 0
    square = [[direction[2 - row][2 - column] for column in range(3)] for row in range(3)] if size == 3 else None
    return View(
        **known,
        affine=header.affine.to_lps(),
        direction=square if rising else None,
        spatial_shape=header.spatial_shape,
        take=take if {"x", "y", "z"} <= set(data.dims) else None,
        problems=tuple(("SP001", warning) for warning in header.warnings if "assumed" in warning),
    )


def _of_monai(tensor: Any) -> View:
    """Read a MetaTensor of MONAI: channels first, an affine in RAS+ unless its space says LPS."""
    space = str(getattr(tensor.meta.get("space"), "value", tensor.meta.get("space") or "RAS")).lower()
    shape = tuple(int(size) for size in tensor.shape)
    affine = tensor.affine
    if tuple(affine.shape) == (3, 3):
        rows = affine.tolist()
        affine = [[*row[:2], 0.0, row[2]] for row in rows[:2]] + [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]

    def take(axis: int, span: slice) -> Any:
        return tensor[(Ellipsis, span, *(slice(None),) * (2 - axis))]

    return View(
        world=space,
        library="MONAI",
        affine=affine,
        shape=shape,
        spatial_shape=shape[1:],
        tail=True,
        take=take if len(shape) == 4 else None,
    )


def _of_torchio(image: Any) -> View:
    """Read an image of TorchIO: (C, I, J, K), RAS+; its index is spatial only."""

    def take(axis: int, span: slice) -> Any:
        spans = [slice(0, size) for size in image.spatial_shape]
        spans[axis] = span
        return image[tuple(spans)]

    return View(
        world="ras",
        library="TorchIO",
        **_parts(image),
        shape=tuple(image.shape),
        spatial_shape=tuple(image.spatial_shape),
        tail=True,
        take=take,
    )


def _of_ours(image: Any) -> View:
    """Read an image of this library; its voxels stay where they are."""
    voxels = _said(image, "dataobj")
    array = None if voxels is None else voxels.__array__
    return replace(_of_anything(image, "ras"), world="ras", library="medimg", array=array)


def _of_anything(thing: Any, convention: str) -> View:
    """Read any other object by its attributes."""
    shape, spatial = _said(thing, "shape"), _said(thing, "spatial_shape")
    names = [str(dim).lower() for dim in _said(thing, "dims") or ()]
    order = [_LETTERS.get(name) for name in names] or _default_order(shape, convention)
    if spatial is None and shape is not None and len(order) == len(shape):
        spatial = tuple(shape[order.index(axis)] for axis in range(3) if axis in order)

    def take(axis: int, span: slice) -> Any:
        return thing[tuple(span if place == axis else slice(None) for place in order)]

    indexed = hasattr(type(thing), "__getitem__") and {0, 1, 2} <= set(order)
    return View(
        library=type(thing).__name__,
        **_parts(thing),
        units=_said(thing, "space_units") or _said(thing, "units"),
        shape=shape,
        spatial_shape=spatial,
        tail=True if convention == "ras" and not names else None,
        array=thing.__array__ if hasattr(thing, "__array__") else None,
        dtype=_said(thing, "dtype"),
        take=take if indexed else None,
    )


def _default_order(shape: Any, convention: str) -> list[int | None]:
    """Return which spatial axis each axis of an array is: (C, I, J, K) in RAS+, (K, J, I) in LPS+."""
    count = len(shape) if isinstance(shape, tuple | list) or hasattr(shape, "__len__") else 0
    orders: dict[int, list[int | None]] = {2: [0, 1], 3: [0, 1, 2], 4: [None, 0, 1, 2]}
    if convention == "lps":
        orders = {2: [1, 0], 3: [2, 1, 0], 4: [2, 1, 0, None]}
    return orders.get(count, [])


def _parts(thing: Any) -> dict[str, Any]:
    """Return what an object says of its place by attributes."""
    return {name: _said(thing, name) for name in ("origin", "spacing", "direction", "affine", "orientation")}


def _said(thing: Any, name: str) -> Any:
    """Return an attribute; None where there is none, or asking for it fails."""
    try:
        return getattr(thing, name, None)
    except Exception:
        return None


_VIEWS: dict[str, Callable[[Any], View]] = {
    "medimg_cli": _of_ours,
    "nibabel": _of_nibabel,
    "xarray": _of_xarray,
    "monai": _of_monai,
    "torchio": _of_torchio,
}
"""Library -> how its objects are read; everything else by its methods or attributes."""

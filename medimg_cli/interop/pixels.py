"""ITK's order of things, which SimpleITK, itk and xarray share: arrays (T, K, J, I, component), a world in LPS+.

Time is an axis of its own, everything else that is not space a component of each pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.formats.foreign import component_axes
from medimg_cli.formats.text import is_plane
from medimg_cli.header import Header

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["is_picture", "itk_affine", "itk_backend", "native", "padded", "pixels", "time_axis"]

_UNIT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def itk_backend(
    array: Array,
    *,
    spacing: Sequence[float],
    origin: Sequence[float],
    direction: Any,
    metadata: Mapping[str, Any],
    source: str,
) -> ArrayBackend:
    """Return the pixels of an ITK image as a backend, in the same memory where that can be.

    Parameters
    ----------
    array : ([[T,] K,] J, I[, component]) array
    spacing, origin : sequence of float
        Along i, j[, k[, t]]; their number is the number of axes. A step of time that is neither 0 nor 1 makes the
        fourth axis time, else it holds channels.
    direction : (rank, rank) nested sequence
    metadata : mapping
    source : str
        Name of the library, for the header.

    Raises
    ------
    UnsupportedError
        If there are other than 2 to 4 axes.
    GeometryError
        If array and geometry do not have the same number of axes.
    """
    rank = len(spacing)
    if rank not in (2, 3, 4):
        raise UnsupportedError(f"a {source} image with {rank} axes is not supported")
    if array.ndim - rank not in (0, 1):
        raise GeometryError(
            f"an array of shape {array.shape} has {array.ndim} axes, its spacing {rank}",
            hint="give it `dims`, such as ('z', 'y', 'x')",
        )
    components = array.shape[rank] if array.ndim > rank else 1
    cells = native(array).reshape((1,) * (4 - rank) + array.shape[:rank] + (components,))
    timed = rank == 4 and spacing[3] not in (0.0, 1.0)
    axes = (("time" if timed else "channel", cells.shape[0]),) if rank == 4 else ()
    header = Header(
        shape=(cells.shape[0] * components, *cells.shape[3:0:-1]),
        dtype=cells.dtype.name,
        affine=itk_affine(spacing, origin, direction),
        format=source,
        axes=(*axes, *component_axes(components, cells.dtype.name)),
        ndim=min(rank, 3),
        affine_source="itk",
        time_spacing=float(spacing[3]) if timed else None,
        metadata=metadata,
    )
    return ArrayBackend(cells.transpose(4, 0, 3, 2, 1).reshape(header.shape), header)


def native(array: Array) -> Array:
    """Return an array in native byte order.

    Raises
    ------
    UnsupportedError
        If its elements are no numbers.
    """
    if array.dtype.name not in ITEMSIZE:
        raise UnsupportedError(f"an array of {array.dtype} holds no voxels", hint="cast it to a type of numbers")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def padded(direction: Any) -> list[list[float]]:
    """Return the spatial part of a direction of 2, 3 or 4 axes as 3 x 3 numbers; an axis that is not there is S.

    >>> padded([[0, 1], [1, 0]])
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    found = [list(row) for row in _UNIT]
    for row, values in zip(found, direction, strict=False):
        count = min(len(values), 3)
        row[:count] = (float(value) for value in values[:count])
    return found


def itk_affine(spacing: Sequence[float], origin: Sequence[float], direction: Any) -> AffineMatrix:
    """Return the spatial part of an ITK image's geometry in RAS+.

    Parameters
    ----------
    spacing, origin : 2 to 4 floats
        In mm, LPS+.
    direction : (rank, rank) nested sequence
    """
    steps, corner = (*spacing[:3], 1.0)[:3], (*origin[:3], 0.0)[:3]
    return AffineMatrix.from_lps(AffineMatrix.from_spacing(steps, origin=corner, direction=padded(direction)))


def time_axis(header: Header) -> int | None:
    """Return the place of the time axis among a header's axes, None where there is none, or several."""
    times = [n for n, (kind, _) in enumerate(header.channel_axes()) if kind == "time"]
    return times[0] if len(times) == 1 else None


def pixels(values: Array, header: Header) -> Array:
    """Return the values of an image, (C, I, J, K), as (T, K, J, I, component), a view where that is possible."""
    import numpy as np

    axes, time = header.channel_axes(), time_axis(header)
    steps = 1 if time is None else axes[time][1]
    cells = values.reshape([size for _, size in reversed(axes)] + list(header.shape[1:]))
    if time is not None:
        cells = np.moveaxis(cells, len(axes) - 1 - time, 0)
    return cells.reshape(steps, -1, *header.shape[1:]).transpose(0, 4, 3, 2, 1)


def is_picture(header: Header) -> bool:
    """Tell whether an image is a picture: 2-D in its file, in the plane of the world's first two axes."""
    return header.ndim == 2 and is_plane(header)

"""Where two grids lie, and the second image in the order of the first."""

from __future__ import annotations

from math import dist
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import GeometryError
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.compare.headers import Fits
    from medimg_cli.header import Header

__all__ = ["Placed", "parts_apart", "place", "shift_of", "without_turns"]

_SERIES = "dicom"
#: Voxels that corners may lie apart and still be meant to be the same: headers round.
_NEAR = 0.1
_TURNS = ("reorient", "turn", "flip")


class Placed(NamedTuple):
    """The second image in the order of the first.

    Parameters
    ----------
    backend : Backend
        Turned where the orientation of storage differs and the places do not, or that is no matter.
    turned : str or None
        The orientation that it was turned to; None where it is as stored.
    excused : bool
        Whether the turn is no difference: it was asked for, or one image is a series of DICOM, which puts its slices
        into an order of its own.
    """

    backend: Backend
    turned: str | None = None
    excused: bool = False


def place(a: Header, backend: Backend, fits: Fits, *, canonical: bool, tolerance: float) -> Placed:
    """Bring an image into the order of another one where it is the same voxels in another order.

    Parameters
    ----------
    a : Header
        Of the image that stays as it is.
    backend : Backend
        The other one.
    fits : Fits
        What the formats of the two can say.
    canonical : bool
        Turn it whatever its place, so that both could be brought to RAS+.
    tolerance : float
        Millimetres.
    """
    b = backend.header
    if a.orientation == b.orientation or a.grid.same_as(b.grid, tolerance):  # noise may decide between two letters
        return Placed(backend)
    near = max(tolerance, _NEAR * min(a.spacing))
    same = b.grid.turned_to(a.grid, near) is not None and not a.grid.same_as(b.grid, near)
    if not canonical and (not same or fits.places_explained()):
        return Placed(backend)
    codes = "".join(a.orientation)
    turned = apply(Reorient(codes), backend)
    turned = _with_history(turned, b)
    along_k = a.orientation[:2] == b.orientation[:2]
    return Placed(turned, codes, canonical or (along_k and _SERIES in (a.format, b.format)))


def _with_history(backend: Backend, header: Header) -> Backend:
    """Return a turned image that does not tell of the turn."""
    from medimg_cli.backends import with_header

    return with_header(backend, backend.header.replace(history=header.history, ndim=header.ndim))


def without_turns(header: Header) -> Header:
    """Return a header whose history does not tell of turns, which are no difference where storage is none."""
    kept = tuple(step for step in header.history if step.get("name") not in _TURNS)
    return header if len(kept) == len(header.history) else header.replace(history=kept)


def shift_of(a: Header, b: Header) -> tuple[float, float | None]:
    """Return how far the corners of one grid lie from those of another at worst: in mm, and in voxels of the first.

    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.header import Header
    >>> a = Header(shape=(1, 5, 4, 3), dtype="int8", affine=AffineMatrix.from_spacing((1, 1, 2)))
    >>> shift_of(a, a.replace(affine=a.affine.with_origin((3, 0, 8))))
    (8.54400374531753, 5.0)
    """
    mm = a.grid.mm_shift(b.grid)
    try:
        return mm, a.grid.voxel_shift(b.grid)
    except GeometryError:
        return mm, None


def parts_apart(a: Header, b: Header, tolerance: float) -> dict[str, tuple[Any, Any]]:
    """Return which of spacing, origin and direction differ by more than a tolerance at the far corner.

    Parameters
    ----------
    a, b : Header
    tolerance : float
        Millimetres.
    """
    steps = [max(size - 1, 1) for size in a.spatial_shape]
    length = dist((0, 0, 0), [n * step for n, step in zip(steps, a.spacing, strict=True)])
    found: dict[str, tuple[Any, Any]] = {}
    if any(abs(x - y) * n > tolerance / 2 for x, y, n in zip(a.spacing, b.spacing, steps, strict=True)):
        found["spacing"] = (a.spacing, b.spacing)
    if dist(a.origin, b.origin) > tolerance / 2:
        found["origin"] = (a.origin, b.origin)
    one, two = a.affine.direction, b.affine.direction
    if any(dist(x, y) * length > tolerance / 2 for x, y in zip(one, two, strict=True)):
        found["direction"] = (one, two)
    return found

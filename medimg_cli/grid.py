"""`Grid`: where the voxels of an image lie, as a spatial shape and an affine.

All methods are pure: they return a new grid. A grid is changed by a *voxel map*, an `AffineMatrix` from new
voxel indices to old ones, so that ``new.affine == old.affine @ voxel_map``; whoever must move something else
along (both NIfTI forms, points) uses the same map.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from operator import index as as_int
from typing import Any, SupportsIndex

from medimg_cli import orientation
from medimg_cli.affine import AffineMatrix, corner_shift
from medimg_cli.errors import GeometryError

__all__ = ["Grid", "RegionError", "axes_map", "parse_amounts", "region_map", "to_ranges", "way_to"]

Shape = tuple[int, int, int]
Vector = tuple[float, float, float]
Pair = tuple[float, float]
Ranges = tuple[range, ...]
Amounts = SupportsIndex | Sequence[Sequence[SupportsIndex]]

_MOST = 2**40  # voxels along an axis that resampling may ask for
_EDGE = 1e-6  # voxels that a point may lie outside by rounding and still count as inside


class RegionError(GeometryError, IndexError):
    """An index lies outside the grid, or selects nothing."""


class Grid:
    """The voxels of an image in physical space: how many, and where.

    Parameters
    ----------
    shape : 3 ints
        Voxels along i, j, k, each at least 1.
    affine : AffineMatrix, or what its constructor takes, optional
        Maps voxel indices to RAS+ mm.

    Raises
    ------
    GeometryError
        If the shape is not three positive integers, or the affine is none.

    Examples
    --------
    >>> grid = Grid((10, 20, 30), AffineMatrix.from_spacing((2, 3, 4), origin=(-10, 0, 5)))
    >>> grid.world((1, 2, 3))
    (-8.0, 6.0, 17.0)
    >>> part = grid[2:8:3, ::-1, 4]
    >>> part.shape, part.affine.spacing, part.affine.orientation, part.affine.origin
    ((2, 20, 1), (6.0, 3.0, 4.0), ('R', 'P', 'S'), (-6.0, 57.0, 21.0))
    """

    __slots__ = ("_affine", "_shape")

    _shape: Shape
    _affine: AffineMatrix

    def __init__(self, shape: Iterable[int], affine: Any = None) -> None:
        object.__setattr__(self, "_shape", _parse_shape(shape))
        object.__setattr__(self, "_affine", affine if isinstance(affine, AffineMatrix) else AffineMatrix(affine))

    @property
    def shape(self) -> Shape:
        """Voxels along i, j, k."""
        return self._shape

    @property
    def affine(self) -> AffineMatrix:
        """The map from voxel indices to RAS+ mm."""
        return self._affine

    @property
    def spacing(self) -> Vector:
        """Voxel size along i, j, k in mm."""
        return self._affine.spacing

    @property
    def origin(self) -> Vector:
        """Centre of voxel (0, 0, 0) in RAS+ mm."""
        return self._affine.origin

    @property
    def orientation(self) -> tuple[str, str, str]:
        """Letters of the directions that i, j, k run to."""
        return self._affine.orientation

    @property
    def center(self) -> Vector:
        """Centre of the whole in RAS+ mm.

        Examples
        --------
        >>> Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5))).center
        (2.0, 3.0, 0.0)
        """
        i, j, k = self._shape
        center: Vector = self._affine.apply(((i - 1) / 2, (j - 1) / 2, (k - 1) / 2))
        return center

    @property
    def bounds(self) -> tuple[Vector, Vector]:
        """Centres of the first and of the last voxel in RAS+ mm (2 x 3).

        Examples
        --------
        >>> Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5))).bounds
        ((0.0, 0.0, 0.0), (4.0, 6.0, 0.0))
        """
        i, j, k = self._shape
        return self._affine.origin, self._affine.apply((i - 1, j - 1, k - 1))

    @property
    def extent(self) -> Vector:
        """Length in mm along i, j, k of what the voxels occupy: voxels times spacing."""
        (i, j, k), (u, v, w) = self._shape, self._affine.spacing
        return i * u, j * v, k * w

    @property
    def box(self) -> tuple[Pair, Pair, Pair]:
        """Lowest and highest x, y and z in RAS+ mm that the voxels reach, half a voxel beyond their centres.

        Examples
        --------
        >>> Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5))).box
        ((-1.0, 5.0), (-1.0, 7.0), (-2.5, 2.5))
        """
        middle = self.center
        pairs = []
        for row, at in zip(self._affine.rows, middle, strict=False):
            half = sum(abs(step) * size for step, size in zip(row, self._shape, strict=False)) / 2
            pairs.append((at - half, at + half))
        return pairs[0], pairs[1], pairs[2]

    def world(self, voxel: Any) -> Any:
        """Map voxel indices, (3,) or (N, 3), to RAS+ mm; see `AffineMatrix.apply`."""
        return self._affine.apply(voxel)

    def voxel(self, world: Any) -> Any:
        """Map RAS+ mm, (3,) or (N, 3), to voxel indices with fractions.

        Raises
        ------
        GeometryError
            If the affine is singular.

        Examples
        --------
        >>> Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5))).voxel((4, 3, -5))
        (2.0, 1.5, -1.0)
        """
        return self._affine.inverse().apply(world)

    def contains(self, world: Any) -> Any:
        """Return whether points lie in what the voxels occupy, half a voxel around their centres.

        The faces belong to it, with 1e-6 voxels of room for rounding.

        Parameters
        ----------
        world : (3,) or (N, 3) sequence, array or tensor
            Points in RAS+ mm.

        Returns
        -------
        bool, tuple of bool, or boolean array or tensor

        Raises
        ------
        GeometryError
            If the affine is singular.

        Examples
        --------
        >>> grid = Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5)))
        >>> grid.contains((-1, 7, 2.5)), grid.contains([(0, 0, 3), (5, 0, 0)])
        (True, (False, True))
        """
        voxels = self.voxel(world)
        if hasattr(voxels, "all"):
            low = voxels >= -0.5 - _EDGE
            high = [voxels[..., axis] <= size - 0.5 + _EDGE for axis, size in enumerate(self._shape)]
            return low.all(-1) & high[0] & high[1] & high[2]
        if voxels and isinstance(voxels[0], tuple):
            return tuple(self._holds(voxel) for voxel in voxels)
        return self._holds(voxels) if voxels else ()

    def _holds(self, voxel: Vector) -> bool:
        return all(-0.5 - _EDGE <= at <= size - 0.5 + _EDGE for at, size in zip(voxel, self._shape, strict=True))

    def mm_shift(self, other: Grid) -> float:
        """Return the largest distance in mm between a corner voxel and the same corner of another grid.

        Examples
        --------
        >>> Grid((3, 4, 5)).mm_shift(Grid((3, 4, 6)))
        1.0
        """
        return corner_shift(self._affine, self._shape, other._affine, other._shape)

    def voxel_shift(self, other: Grid) -> float:
        """Return the largest distance in voxels between a corner voxel and the same corner of another grid.

        Raises
        ------
        GeometryError
            If the voxel axes of this grid lie in one plane.

        Examples
        --------
        >>> fine, coarse = Grid((3, 4, 5)), Grid((3, 4, 5), AffineMatrix.from_spacing((1, 1, 2)))
        >>> fine.voxel_shift(coarse), coarse.voxel_shift(fine)
        (4.0, 2.0)
        """
        return corner_shift(AffineMatrix(), self._shape, self._affine.inverse() @ other._affine, other._shape)

    def same_as(self, other: Grid, tolerance: float = 1e-3) -> bool:
        """Return whether another grid has the same shape and its corners within `tolerance` mm.

        Examples
        --------
        >>> Grid((3, 4, 5)).same_as(Grid((3, 4, 5), AffineMatrix.from_spacing((1, 1, 1.0002))))
        True
        """
        return self._shape == other._shape and self.mm_shift(other) <= tolerance

    def turned_to(self, other: Grid, tolerance: float = 1e-3) -> str | None:
        """Return the letters to run to for which turning the voxel axes makes another grid of this one.

        Returns
        -------
        str or None
            None where turning is not enough.

        Examples
        --------
        >>> grid = Grid((3, 4, 5))
        >>> grid.reoriented("SPL").turned_to(grid), grid.turned_to(Grid((3, 4, 6)))
        ('RAS', None)
        """
        codes = "".join(other.orientation)
        return codes if self.reoriented(codes).same_as(other, tolerance) else None

    def __getitem__(self, index: Any) -> Grid:
        """Return the grid of a region; start, step and sign change the affine.

        Parameters
        ----------
        index : int, slice, range, Ellipsis, or a tuple of them
            As in NumPy on (I, J, K), but an int keeps its axis with size 1.

        Raises
        ------
        RegionError
            If an index lies outside, or the result is empty. It is both a `GeometryError` and an
            `IndexError`.

        Examples
        --------
        >>> Grid((10, 20, 30))[..., ::-2].affine.rows[2]
        (0.0, 0.0, -2.0, 29.0)
        """
        region = to_ranges(index, self._shape)
        return Grid([len(each) for each in region], self._affine @ region_map(region))

    def flipped(self, axis: SupportsIndex | Iterable[SupportsIndex]) -> Grid:
        """Return the grid with one voxel axis (or several) running the other way; no voxel moves.

        Raises
        ------
        GeometryError
            If an axis is not 0, 1 or 2 (or -3 to -1).

        Examples
        --------
        >>> Grid((10, 20, 30)).flipped(1).affine.rows[1]
        (0.0, -1.0, 0.0, 19.0)
        """
        flips = {_parse_axis(each) for each in (axis if isinstance(axis, Iterable) else (axis,))}
        return self._turned([(each, -1 if each in flips else 1) for each in range(3)])

    def permuted(self, order: Iterable[int]) -> Grid:
        """Return the grid with its voxel axes in another order: new axis n is old axis ``order[n]``.

        Raises
        ------
        GeometryError
            If `order` is no permutation of 0, 1, 2.

        Examples
        --------
        >>> Grid((10, 20, 30)).permuted((2, 0, 1)).shape
        (30, 10, 20)
        """
        axes = [_parse_axis(each) for each in order]
        if sorted(axes) != [0, 1, 2]:
            raise GeometryError(f"axis order {axes} is no permutation of 0, 1, 2")
        return self._turned([(each, 1) for each in axes])

    def reoriented(self, codes: str | Iterable[str]) -> Grid:
        """Return the grid with its voxel axes permuted and flipped to run to the given letters.

        Raises
        ------
        UsageError
            If `codes` is not one letter of each pair R/L, A/P, S/I.

        Examples
        --------
        >>> grid = Grid((10, 20, 30), AffineMatrix.from_spacing((2, 3, 4))).reoriented("SPR")
        >>> grid.shape, grid.spacing, grid.orientation, grid.origin
        ((30, 20, 10), (4.0, 3.0, 2.0), ('S', 'P', 'R'), (0.0, 57.0, 0.0))
        """
        return self._turned(orientation.transform_between(self.orientation, codes))

    def _turned(self, axes: Sequence[tuple[int, int]]) -> Grid:
        return Grid([self._shape[old] for old, _ in axes], self._affine @ axes_map(axes, self._shape))

    def cropped(self, amounts: Amounts) -> Grid:
        """Return the grid without some voxels at its ends.

        Parameters
        ----------
        amounts : int or ((lo, hi), (lo, hi), (lo, hi))
            Voxels to take off at the low and high end of i, j, k.

        Raises
        ------
        GeometryError
            If an amount is negative, or nothing is left.

        Examples
        --------
        >>> grid = Grid((10, 20, 30)).cropped(((1, 2), (0, 0), (5, 0)))
        >>> grid.shape, grid.origin
        ((7, 20, 25), (1.0, 0.0, 5.0))
        """
        pairs = parse_amounts(amounts, "crop")
        return self._resized([lo for lo, _ in pairs], [-lo - hi for lo, hi in pairs])

    def padded(self, amounts: Amounts) -> Grid:
        """Return the grid with voxels added at its ends.

        Parameters
        ----------
        amounts : int or ((lo, hi), (lo, hi), (lo, hi))
            Voxels to add at the low and high end of i, j, k.

        Raises
        ------
        GeometryError
            If an amount is negative.

        Examples
        --------
        >>> grid = Grid((10, 20, 30)).padded(((1, 2), (0, 0), (5, 0)))
        >>> grid.shape, grid.origin
        ((13, 20, 35), (-1.0, 0.0, -5.0))
        """
        pairs = parse_amounts(amounts, "pad")
        return self._resized([-lo for lo, _ in pairs], [lo + hi for lo, hi in pairs])

    def _resized(self, start: Sequence[int], growth: Sequence[int]) -> Grid:
        shape = [size + more for size, more in zip(self._shape, growth, strict=True)]
        if min(shape) < 1:
            raise GeometryError(f"nothing is left: shape {self._shape} would become {tuple(shape)}")
        return Grid(shape, self._affine @ AffineMatrix.from_spacing(1.0, origin=start))

    def resampled(self, *, spacing: float | Iterable[float] | None = None, size: Iterable[int] | None = None) -> Grid:
        """Return a grid over the same field of view with other voxels.

        What the voxels occupy keeps its centre, so the origin moves by half the change of the spacing. With
        `size` the field of view is kept exactly. With `spacing` the size is the nearest whole number (a half
        rounds down), at least 1, and the field of view may change by up to half a voxel at each end, alike at
        both. These are the rules of MRtrix's ``mrgrid regrid`` (core/filter/resize.h); TorchIO keeps the
        centre too, but always rounds the size down.

        Parameters
        ----------
        spacing : float or 3 floats, optional
            Wanted voxel size in mm.
        size : 3 ints, optional
            Wanted number of voxels.

        Raises
        ------
        GeometryError
            If not exactly one of the two is given, either is not positive, or a voxel axis has length 0.

        Examples
        --------
        >>> grid = Grid((10, 20, 30), AffineMatrix.from_spacing((1, 1, 2)))
        >>> fine = grid.resampled(spacing=(2, 0.5, 2))
        >>> fine.shape, fine.origin, fine.box == grid.box
        ((5, 40, 30), (0.5, -0.25, 0.0), True)
        >>> grid.resampled(size=(4, 20, 30)).spacing
        (2.5, 1.0, 2.0)
        """
        if (spacing is None) == (size is None):
            raise GeometryError("resampling takes either a spacing or a size")
        old = zip(self._shape, self.spacing, strict=True)
        if spacing is None:
            shape = _parse_shape(size)
            wanted = [step if new == n else n * step / new for new, (n, step) in zip(shape, old, strict=True)]
        else:
            wanted = list(AffineMatrix.from_spacing(spacing).spacing)
            shape = _parse_shape(_count(n * step / new) for new, (n, step) in zip(wanted, old, strict=True))
        affine = self._affine.with_spacing(wanted)
        moved = Grid(shape, affine).center
        return Grid(
            shape,
            affine.with_origin(o + (c - m) for o, c, m in zip(affine.origin, self.center, moved, strict=True)),
        )

    __iter__ = None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Grid is frozen: can't set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Grid is frozen: can't delete {name!r}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self._shape == other._shape and self._affine == other._affine

    def __hash__(self) -> int:
        return hash((self._shape, self._affine))

    def __reduce__(self) -> tuple[object, ...]:
        return Grid, (self._shape, self._affine)

    def __repr__(self) -> str:
        return f"Grid(shape={self._shape}, affine={self._affine!r})"


def way_to(grid: Grid, other: Grid, like: str, tolerance: float = 1e-3) -> str:
    """Say how an image gets to another grid; ``like`` is what follows ``medimg resample --like``."""
    codes = grid.turned_to(other, tolerance)
    if codes is not None:
        return f"it is the same grid, stored the other way: medimg reorient --to {codes}"
    return f"resample it first: medimg resample --like {like}"


def to_ranges(index: Any, shape: Sequence[int]) -> Ranges:
    """Turn an index as written in brackets into one range per axis.

    Parameters
    ----------
    index : int, slice, range, Ellipsis, or a tuple of them
        NumPy's rules, but an int keeps its axis with size 1. Axes that are not named are taken whole. A range
        must lie inside the axis and counts from its start, also when it runs down.
    shape : sequence of ints
        Size of each axis, any number of axes.

    Returns
    -------
    tuple of range
        Non-empty, inside the axes, steps of any sign.

    Raises
    ------
    RegionError
        If there are too many indices, an index lies outside its axis, selects nothing, or is of another kind.

    Examples
    --------
    >>> to_ranges((0, ..., slice(None, None, -2)), (3, 4, 5))
    (range(0, 1), range(0, 4), range(4, -1, -2))
    """
    items = index if isinstance(index, tuple) else (index,)
    dots = [at for at, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise RegionError("an index may hold only one ...")
    named = len(items) - len(dots)
    if named > len(shape):
        raise RegionError(f"{named} indices for {len(shape)} axes")
    at = dots[0] if dots else len(items)
    whole = (slice(None),) * (len(shape) - named)
    items = items[:at] + whole + items[at + 1 :]
    return tuple(_to_range(item, size, axis) for axis, (item, size) in enumerate(zip(items, shape, strict=True)))


def region_map(region: Sequence[range]) -> AffineMatrix:
    """Return the voxel map of a region: from indices inside it to indices of the whole.

    Parameters
    ----------
    region : 3 ranges
        Along i, j, k, such as `to_ranges` returns.

    Examples
    --------
    >>> region_map((range(5), range(2, 9, 3), range(9, -1, -1))).apply((1, 1, 1))
    (1.0, 5.0, 8.0)
    """
    first, second, third = region
    return AffineMatrix(
        ((first.step, 0, 0, first.start), (0, second.step, 0, second.start), (0, 0, third.step, third.start))
    )


def axes_map(axes: Sequence[tuple[int, int]], shape: Sequence[int]) -> AffineMatrix:
    """Return the voxel map of a permutation with flips: from new indices to old ones.

    Parameters
    ----------
    axes : 3 pairs (int, int)
        Per new axis the old axis and +1 or -1, such as `orientation.transform_between` returns.
    shape : 3 ints
        The **old** spatial shape.

    Examples
    --------
    >>> axes_map(((2, 1), (0, -1), (1, 1)), (10, 20, 30)).apply((3, 1, 2))
    (8.0, 2.0, 3.0)
    """
    rows = [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    for new, (old, sign) in enumerate(axes):
        rows[old][new] = sign
        rows[old][3] = shape[old] - 1 if sign < 0 else 0
    return AffineMatrix(rows)


def _written(item: slice | range) -> str:
    """Write a slice as people do: 20:10."""
    if isinstance(item, range):
        return str(item)
    ends = ":".join("" if end is None else str(end) for end in (item.start, item.stop))
    return ends if item.step is None else f"{ends}:{item.step}"


def _to_range(item: Any, size: int, axis: int) -> range:
    if isinstance(item, slice):
        try:
            found = range(size)[item]
        except (TypeError, ValueError) as error:
            raise RegionError(f"index {item} of axis {axis}: {error}") from None
    elif isinstance(item, range):
        found = item
        if found and not (0 <= found[0] < size and 0 <= found[-1] < size):
            raise RegionError(f"{found} lies outside axis {axis} with size {size}")
    else:
        try:
            at = as_int(item) if not isinstance(item, bool) else None
        except TypeError:
            at = None
        if at is None:
            raise RegionError(f"index of axis {axis} is a {type(item).__name__}, expected an int, slice or range")
        if not -size <= at < size:
            raise RegionError(f"index {at} lies outside axis {axis} with size {size}")
        found = range(at % size, at % size + 1)
    if not found:
        raise RegionError(f"{_written(item)} selects nothing of axis {axis} with size {size}")
    return found


def _parse_shape(shape: Any) -> Shape:
    try:
        sizes = [as_int(size) for size in shape]
    except TypeError:
        sizes = []
    if len(sizes) != 3 or min(sizes) < 1:
        raise GeometryError(f"spatial shape is {shape}, expected three integers of at least 1")
    return sizes[0], sizes[1], sizes[2]


def _parse_axis(axis: Any) -> int:
    try:
        return (0, 1, 2)[as_int(axis)]
    except (TypeError, IndexError):
        raise GeometryError(f"axis is {axis!r}, expected 0, 1 or 2") from None


def parse_amounts(amounts: Any, what: str) -> tuple[tuple[int, int], ...]:
    """Return voxels at the ends of the axes as ((lo, hi), (lo, hi), (lo, hi)).

    Raises
    ------
    GeometryError
        If they are neither that nor one integer, or negative.

    Examples
    --------
    >>> parse_amounts(2, "crop")
    ((2, 2), (2, 2), (2, 2))
    """
    try:
        each_end = ((amounts, amounts),) * 3 if hasattr(amounts, "__index__") else amounts
        pairs = tuple((as_int(lo), as_int(hi)) for lo, hi in each_end)
    except (TypeError, ValueError):
        pairs = ()
    if len(pairs) != 3 or min(map(min, pairs)) < 0:
        raise GeometryError(
            f"{what} is {amounts}, expected an integer or ((lo, hi), (lo, hi), (lo, hi)), none negative"
        )
    return pairs


def _count(voxels: float) -> int:
    if voxels > _MOST:
        raise GeometryError(f"the spacing is too small: it would need {voxels:.0f} voxels along one axis")
    return max(1, ceil(voxels - 0.5001))

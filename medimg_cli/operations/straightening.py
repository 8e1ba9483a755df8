"""Sheared volumes at right angles: what ``--untilt`` makes of slices of a tilted gantry.

Rows and columns stay: only K is turned, to the normal of the slices. Slices keep their distance from each other, so
that each new slice is an old one, shifted within itself by linear interpolation; the first one by whole voxels.
"""

from __future__ import annotations

from functools import cached_property
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import GeometryError
from medimg_cli.formats.foreign import MOST_SHEAR
from medimg_cli.grid import Grid
from medimg_cli.operations.pad import fill_number
from medimg_cli.operations.protocol import Step
from medimg_cli.operations.resample import Resample, ResampleBackend
from medimg_cli.statistics.recognition import declared_labels

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["straight_grid", "straightened"]

#: How many times as large slices may become.
_MOST = 64
#: Part of a voxel that rounding may add to the field of view.
_NOISE = 1e-3


def straight_grid(grid: Grid) -> Grid:
    """Return the grid with the same rows and columns whose K is their normal, around all voxels.

    Parameters
    ----------
    grid : Grid

    Raises
    ------
    GeometryError
        If slices move sideways so far that it would be more than 64 times as large.

    Examples
    --------
    A gantry that is tilted so that each slice lies half a pixel further down:

    >>> tilted = AffineMatrix([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    >>> found = straight_grid(Grid((64, 64, 5), tilted))
    >>> found.shape, found.affine.rows[1]
    ((64, 66, 5), (0.0, 1.0, 0.0, 0.0))
    """
    (a, b, c), (d, e, f), (u, v, w) = (tuple(row[axis] for row in grid.affine.rows[:3]) for axis in range(3))
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    straight = sum(x * y for x, y in zip(normal, (u, v, w), strict=True)) / sum(x * x for x in normal)
    target = [[p, q, n * straight, 0.0] for p, q, n in zip((a, b, c), (d, e, f), normal, strict=True)]
    turned = grid.affine.inverse() @ AffineMatrix([*target, [0, 0, 0, 1]])  # its third column: (-i, -j, 1) a slice
    starts, shape = [], []
    for axis in range(2):
        far = -turned[axis, 2] * (grid.shape[2] - 1)
        low, high = floor(min(far, 0.0) + _NOISE), ceil(max(far, 0.0) - _NOISE)
        starts.append(low)
        shape.append(grid.shape[axis] + high - low)
    if shape[0] * shape[1] > _MOST * grid.shape[0] * grid.shape[1]:
        raise GeometryError(
            f"slices sheared by {grid.affine.shear_deg:.3g} degrees are too far apart to be straightened"
        )
    for row, origin in zip(target, grid.affine.apply((starts[0], starts[1], 0)), strict=True):
        row[3] = origin
    return Grid((shape[0], shape[1], grid.shape[2]), AffineMatrix([*target, [0, 0, 0, 1]]))


def straightened(backend: Backend) -> Backend:
    """Return an image whose slices face each other, computed where it is read; itself where they do already.

    Label maps take the nearest voxel, others are interpolated. Beyond the slices lies the smallest value of the image,
    for which it is read once; 0 in colours, label maps and complex images.

    Parameters
    ----------
    backend : Backend

    Raises
    ------
    GeometryError
        As `straight_grid`.
    """
    header = backend.header
    if header.affine.is_singular or header.affine.shear_deg <= MOST_SHEAR:
        return backend
    labels = declared_labels(header) is not None
    grid = straight_grid(header.grid)
    operation = Resample(grid, interpolation="nearest" if labels else "linear", antialias=False)
    step: Step = operation.plan(header)
    warnings = [warning for warning in header.warnings if "the affine is sheared" not in warning]
    after = header.replace(warnings=tuple(warnings)).follow(step)
    note = f"its slices were tilted by {header.affine.shear_deg:.3g} degrees: they are resampled to right angles"
    return StraightBackend(backend, after.warn(note), step.voxel_map, str(operation.interpolation))


class StraightBackend(ResampleBackend):
    """An image at right angles, with its smallest value beyond the slices; see `straightened`."""

    def __init__(self, base: Backend, header: Header, voxel_map: AffineMatrix, interpolation: str) -> None:
        self.base, self.header, self.voxel_map = base, header, voxel_map
        self.interpolation, self.antialias = interpolation, False

    @cached_property
    def fill(self) -> Any:  # type: ignore[override]
        """The stored number of the smallest value; found when voxels are read for the first time."""
        from medimg_cli.statistics.counts import value_range

        header = self.base.header
        plain = header.axes and header.axes[-1][0] == "rgb"
        if plain or self.interpolation == "nearest" or is_complex(header.dtype):
            return fill_number(header, None)
        return fill_number(header, value_range(self.base).low)

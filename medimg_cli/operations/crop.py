"""Cropping, and placing an image on a larger grid, which is what crops and slices are undone by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index as as_int
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import view
from medimg_cli.errors import GeometryError
from medimg_cli.grid import Grid, parse_amounts
from medimg_cli.operations.pad import Pad, check_fill, check_mode, placed
from medimg_cli.operations.protocol import Recipe, Rows, Step, landed

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Crop", "CropOrPad", "Place"]

Three = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Crop(Recipe):
    """Take voxels off the ends of the axes.

    Parameters
    ----------
    amounts : int or ((lo, hi), (lo, hi), (lo, hi))
        Voxels to take off at the low and high end of i, j, k.

    Raises
    ------
    GeometryError
        If an amount is negative, or nothing would be left.
    """

    amounts: Any
    affine: Rows | None = None

    name: ClassVar[str] = "crop"

    def __post_init__(self) -> None:
        object.__setattr__(self, "amounts", parse_amounts(self.amounts, "crop"))

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        before = header.grid
        move = AffineMatrix.from_spacing(1.0, origin=[lo for lo, _ in self.amounts])
        after = landed(before.cropped(self.amounts), self.affine)
        return self.step(before, after, move, idle=before == after)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the part, a view of the stored numbers."""
        header = backend.header
        spans = [range(lo, n - hi) for (lo, hi), n in zip(self.amounts, header.spatial_shape, strict=True)]
        return view(backend, range(header.channels), list(enumerate(spans)), header.follow(step))

    def inverse(self, step: Step) -> Pad:
        """Return the padding that leads back; the voxels taken off are 0 then."""
        return Pad(self.amounts, affine=step.grid_before.affine.rows)


@dataclass(frozen=True, slots=True)
class CropOrPad(Recipe):
    """Crop or pad each axis, about the centre, to a number of voxels.

    Where an odd number of voxels comes or goes, the low end gets or loses one more, as in TorchIO.

    Parameters
    ----------
    shape : int or 3 ints
        Voxels along i, j, k afterwards.
    mode, value
        What padding fills with, see `Pad`.

    Raises
    ------
    GeometryError
        If the shape is not positive.
    """

    shape: Any
    mode: str = "constant"
    value: float | None = None
    affine: Rows | None = None

    name: ClassVar[str] = "crop_or_pad"

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _three(self.shape, "shape", 1))
        check_mode(self.mode)
        check_fill(self.value)

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        before = header.grid
        starts = []
        for size, wanted in zip(before.shape, self.shape, strict=True):
            change = wanted - size
            starts.append(change - change // 2 if change > 0 else -((-change + 1) // 2))
        move = AffineMatrix.from_spacing(1.0, origin=[-start for start in starts])
        after = landed(Grid(self.shape, before.affine @ move), self.affine)
        return self.step(before, after, move, idle=before == after)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image on the new grid."""
        starts = _three([-round(at) for at in step.voxel_map.origin], "start", None)
        return placed(backend, backend.header.follow(step), starts, mode=self.mode, value=self.value)

    def inverse(self, step: Step) -> Place:
        """Return the operation that leads back; voxels that were cropped are 0 then."""
        starts = _three([round(at) for at in step.voxel_map.origin], "start", None)
        return Place(starts, step.grid_before.shape, affine=step.grid_before.affine.rows)


@dataclass(frozen=True, slots=True)
class Place(Recipe):
    """Place an image on a grid of another shape: voxel n lies on ``start + n * step`` along each axis.

    Parameters
    ----------
    start : 3 ints
        Where voxel (0, 0, 0) comes to lie; it may lie outside.
    shape : 3 ints
        Voxels along i, j, k afterwards.
    steps : 3 ints
        Not 0. Voxels between two placed ones take the value of the nearest.
    mode, value
        What voxels beyond the image are filled with, see `Pad`.
    affine : 4 x 4 rows, optional
        The exact affine of the result, where an inverse restores it.

    Raises
    ------
    GeometryError
        If the shape is not positive, a step is 0, or nothing of the image would be left.
    """

    start: Any
    shape: Any
    steps: Any = (1, 1, 1)
    mode: str = "constant"
    value: float | None = None
    affine: Rows | None = None

    name: ClassVar[str] = "place"

    def __post_init__(self) -> None:
        for name, least in (("start", None), ("shape", 1), ("steps", None)):
            object.__setattr__(self, name, _three(getattr(self, name), name, least))
        if 0 in self.steps:
            raise GeometryError(f"steps are {self.steps}, expected none to be 0")
        check_mode(self.mode)
        check_fill(self.value)

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        before = header.grid
        rows = [[0.0] * 4 for _ in range(3)]
        for axis, (start, step) in enumerate(zip(self.start, self.steps, strict=True)):
            rows[axis][axis], rows[axis][3] = 1 / step, -start / step
        move = AffineMatrix(rows)
        after = landed(Grid(self.shape, before.affine @ move), self.affine)
        return self.step(before, after, move, idle=before == after)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image on the new grid."""
        header = backend.header.follow(step)
        return placed(backend, header, self.start, steps=self.steps, mode=self.mode, value=self.value)

    def inverse(self, step: Step) -> Place | None:
        """Return the operation that leads back, or None where voxels were placed apart."""
        if self.steps != (1, 1, 1):
            return None
        start = tuple(-at for at in self.start)
        return Place(start, step.grid_before.shape, affine=step.grid_before.affine.rows)


def _three(values: Any, what: str, least: int | None) -> Three:
    """Return three integers, of at least ``least``."""
    try:
        found = [as_int(values)] * 3 if hasattr(values, "__index__") else [as_int(value) for value in values]
    except TypeError:
        found = []
    if len(found) != 3 or (least is not None and min(found) < least):
        wanted = "three integers" + (f" of at least {least}" if least is not None else "")
        raise GeometryError(
            f"{what} is {values if not isinstance(values, Sequence) else tuple(values)}, expected {wanted}"
        )
    return found[0], found[1], found[2]

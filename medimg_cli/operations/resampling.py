"""What ``medimg resample`` is asked for, and what becomes of it once it meets an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid
from medimg_cli.operations.amounts import refuse_absurd, three, times
from medimg_cli.operations.pad import filled_with
from medimg_cli.operations.protocol import Operation, Request
from medimg_cli.operations.resample import LABEL_SAFE, Resample
from medimg_cli.statistics.recognition import declared_labels, why_labels

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["ResampleRequest", "interpolation_for", "misses", "refuse_apart"]


@dataclass(frozen=True)
class ResampleRequest(Request):
    """Another grid, as a command line names it.

    Parameters
    ----------
    spacing : str, optional
        One or three numbers, mm.
    size : str, optional
        One or three numbers, voxels.
    like : str, optional
        An image whose grid is wanted.
    isotropic : bool
        Whether all axes get the smallest spacing of the image.
    interpolation : str, optional
        One of `INTERPOLATIONS`; left out: "nearest" for what is taken for a label map, else "linear".
    fill : float, optional
        Value beyond the image.
    antialias : bool

    Raises
    ------
    UsageError
        If not exactly one of the first four is given, or one of them makes no sense.
    """

    spacing: str | None = None
    size: str | None = None
    like: str | None = None
    isotropic: bool = False
    interpolation: str | None = None
    fill: float | None = None
    antialias: bool = True

    def __post_init__(self) -> None:
        if sum(bool(each) for each in (self.spacing, self.size, self.like, self.isotropic)) != 1:
            raise UsageError(
                "give one of --spacing, --size, --like and --isotropic", hint="as in --spacing 1, or --like OTHER"
            )
        _ = self._wanted

    @cached_property
    def _wanted(self) -> Resample:
        """The operation, as far as it does not depend on the image."""
        options: dict[str, Any] = {"interpolation": self.interpolation, "fill": self.fill, "antialias": self.antialias}
        if self.size is not None:
            return Resample(size=three(self.size, "--size", int), **options)
        if self.like is not None:
            from medimg_cli.formats import open_backend

            return Resample(open_backend(self.like).header.grid, **options)
        return Resample(three(self.spacing, "--spacing") if self.spacing else 1.0, **options)

    def prepare(self, source: Backend) -> Resample:
        """Return the resampling of an image.

        Raises
        ------
        UsageError
            If labels would be mixed, or the result would have more than a terabyte.
        GeometryError
            If nothing of the image lies on the grid of the other one.
        """
        wanted = self._wanted
        if self.isotropic:
            wanted = replace(wanted, target=(min(source.header.spacing),) * 3)
        if self.like is not None:
            refuse_apart(source.header.grid, Grid(*wanted.target), self.like)
        refuse_absurd(source.header, wanted.plan(source.header).grid_after, hint="spacing is in mm")
        return replace(wanted, interpolation=interpolation_for(source, self.interpolation))

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say from which grid to which one, and how values are found."""
        assert isinstance(operation, Resample)
        step = operation.plan(header)
        if step.idle:
            return ("already lies on that grid, nothing is interpolated",)
        how = {"label": "label with most weight", "nearest": "nearest voxel"}.get(
            str(operation.interpolation), f"{operation.interpolation} interpolation"
        )
        if operation.smooths(step.voxel_map):
            how += ", smoothed first where resolution is lost"
        if self.interpolation is None and operation.interpolation == "nearest":
            how = "taken for a label map, so each voxel is the nearest old one (--interpolation says otherwise)"
        filled = filled_with(header) if self.fill is None and self.like is not None else None
        beyond = (f"beyond the image it is {filled}",) if filled else ()
        return (f"{_shown(step.grid_before)} -> {_shown(step.grid_after)}: {how}", *beyond)


def interpolation_for(source: Backend, wanted: str | None) -> str:
    """Return how an image is interpolated so that labels are never mixed.

    Parameters
    ----------
    source : Backend
    wanted : str, optional
        What somebody asked for.

    Returns
    -------
    str
        ``wanted``; where None, "nearest" for what `why_labels` takes for a label map, else "linear".

    Raises
    ------
    UsageError
        If the header says that these are labels, and they would be mixed.
    """
    if wanted is None:
        return "nearest" if why_labels(source) else "linear"
    declared = declared_labels(source.header)
    if declared is not None and wanted not in LABEL_SAFE:
        hint = "use --interpolation nearest or label"
        raise UsageError(f"{wanted} interpolation would invent labels, and this is a label map: {declared}", hint=hint)
    return wanted


def refuse_apart(image: Grid, target: Grid, path: str) -> None:
    """Refuse the grid of another image, the one at ``path``, where nothing of an image lies on it.

    Raises
    ------
    GeometryError
        Says how far they are apart.
    """
    apart = misses(image, target)
    if apart is not None:
        hint = "the two do not lie in one space; see 'medimg info' of both"
        raise GeometryError(f"nothing of it lies on the grid of {path}: {apart}", hint=hint)


def misses(image: Grid, target: Grid) -> str | None:
    """Say how far an image lies from a grid no voxel of which lies in it, None where they overlap.

    Axis by axis of the image, which is exact for aligned grids and lets some others pass.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> far = AffineMatrix.from_spacing(1, origin=(0, 0, 12))
    >>> misses(Grid((4, 4, 4)), Grid((4, 4, 4), far))
    'the two are 9 mm apart'
    """
    to_image = image.affine.inverse() @ target.affine
    for axis, (size, spacing) in enumerate(zip(image.shape, image.spacing, strict=True)):
        row = to_image.rows[axis]
        reach = [sorted((0.0, step * (count - 1))) for step, count in zip(row, target.shape, strict=False)]
        low, high = (row[3] + sum(ends[side] for ends in reach) for side in (0, 1))
        gap = max(-0.5 - high, low - (size - 0.5))
        if gap > 0:
            return f"the two are {(gap + 0.5) * spacing:.4g} mm apart"
    return None


def _shown(grid: Grid) -> str:
    """Write a grid as voxels and spacing.

    >>> from medimg_cli.affine import AffineMatrix
    >>> _shown(Grid((4, 5, 6), AffineMatrix.from_spacing((1, 1, 2.5))))
    '4 x 5 x 6 at 1 x 1 x 2.5 mm'
    """
    return f"{times(grid.shape)} at {' x '.join(f'{step:.4g}' for step in grid.spacing)} mm"

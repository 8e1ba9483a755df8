"""Resampling: an image on another grid, computed where a region of it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, blocks_by_region, check_region, scale
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid
from medimg_cli.operations.pad import check_fill, fill_number
from medimg_cli.operations.protocol import Recipe, Step
from medimg_cli.statistics.recognition import declared_labels

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend, Buffer
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Layout, Region

__all__ = ["INTERPOLATIONS", "LABEL_SAFE", "Resample", "ResampleBackend"]

#: How values between voxels are found.
INTERPOLATIONS = ("nearest", "linear", "cubic", "lanczos", "label")
#: Those that invent no label: the nearest voxel's, or the one that linear interpolation gives most weight.
LABEL_SAFE = ("nearest", "label")

#: Decoded bytes of a block: the arithmetic takes several times as much.
_BLOCK = BLOCK // 3


@dataclass(frozen=True, slots=True)
class Resample(Recipe):
    """Compute an image on another grid, in world space.

    The stored type stays: in integers values are rounded to the nearest (halves to the even one), and where "cubic"
    and "lanczos" overshoot its range they take its end. An image with a slope keeps it. NaN and infinities spread to
    the voxels that linear interpolation, with the smoothing, mixes them into; to others they count as 0. "nearest"
    copies voxels of any type; the others compute in float32 or float64, and refuse numbers that these do not hold.

    Parameters
    ----------
    target : float, 3 floats, Grid, object with a ``grid``, or (shape, affine rows)
        Spacing in mm (a number: isotropic), or the grid itself. With a spacing the field of view stays as
        `Grid.resampled` says.
    size : int or 3 ints
        Instead of a target: voxels along i, j, k over the same field of view.
    interpolation : str, optional
        "linear", "nearest", "cubic" (B-spline of third order), "lanczos" (windowed sinc, radius 5), "label" (the
        label with most weight, where each label is smoothed and interpolated linearly; of two with the same weight the
        smaller one). Left out: "nearest" where the header declares labels, else "linear".
    fill : float, optional
        Value of voxels beyond the image, farther than half a voxel from its outermost centres; left out: 0, or the
        value nearest to it that the image can hold.
    antialias : bool
        Whether to smooth, before any interpolation but nearest, along axes that lose resolution: with a Gaussian of
        variance (f^2 - 1) / (8 ln 2) voxels for one new voxel every f old ones (Cardoso et al., Scale factor point
        spread function matching, MICCAI 2015).

    Raises
    ------
    UsageError
        If there is no such interpolation, or not exactly one of target and size is given.
    GeometryError
        If spacing, size or grid make no sense.
    UnsupportedError
        When read, if the interpolation cannot hold the values: 64-bit integers beyond 2^53, floats of 128 bits, and for
        "label" anything but whole numbers, or more than 4096 of them in a block.

    Examples
    --------
    >>> Resample(2).target, Resample(size=5).size
    ((2.0, 2.0, 2.0), (5, 5, 5))
    """

    target: Any = None
    size: Any = None
    interpolation: str | None = None
    fill: float | None = None
    antialias: bool = True

    name: ClassVar[str] = "resample"

    def __post_init__(self) -> None:
        if (self.target is None) == (self.size is None):
            raise UsageError("resampling takes either a target (spacing or grid) or a size")
        check_fill(self.fill)
        if self.interpolation not in (None, *INTERPOLATIONS):
            hint = "one of: " + ", ".join(INTERPOLATIONS)
            raise UsageError(f"there is no interpolation {self.interpolation!r}", hint=hint)
        unit = Grid((1, 1, 1), AffineMatrix())
        if self.size is not None:
            size = (self.size,) * 3 if hasattr(self.size, "__index__") else self.size
            object.__setattr__(self, "size", unit.resampled(size=size).shape)
        else:
            object.__setattr__(self, "target", _target(self.target))

    def prepare(self, source: Backend) -> Resample:
        """Choose the interpolation where none is given: labels are never mixed."""
        if self.interpolation is not None:
            return self
        return replace(self, interpolation="nearest" if declared_labels(source.header) else "linear")

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        before = header.grid
        if self.size is not None:
            after = before.resampled(size=self.size)
        elif len(self.target) == 3:
            after = before.resampled(spacing=self.target)
        else:
            after = Grid(*self.target)
        if before.affine.is_singular or after.affine.is_singular:
            raise GeometryError("voxel axes that lie in one plane cannot be resampled")
        move = before.affine.inverse() @ after.affine
        there = before == after or (len(self.target or ()) != 2 and before.same_as(after))
        return self.step(before, before if there else after, move, idle=there)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image on the new grid, computed when it is read."""
        fill = fill_number(backend.header, self.fill)
        chosen, smooth = self.interpolation or "linear", self.antialias and self.interpolation != "nearest"
        return ResampleBackend(backend, backend.header.follow(step), step.voxel_map, chosen, fill, smooth)

    def smooths(self, voxel_map: AffineMatrix) -> bool:
        """Tell whether a Gaussian comes before the interpolation, because some axis loses resolution."""
        from medimg_cli.operations.sampling import smoothing

        return self.antialias and self.interpolation != "nearest" and any(smoothing(voxel_map))

    def inverse(self, step: Step) -> Resample:
        """Return the resampling back to the grid before, the very affine that it had."""
        return replace(self, target=step.grid_before, size=None)

    def for_labels(self) -> Resample:
        """Return the same resampling so that it invents no label."""
        return self if self.interpolation in LABEL_SAFE else replace(self, interpolation="nearest")


def _target(target: Any) -> tuple[Any, ...]:
    """Return a spacing as three numbers, a grid as (shape, affine rows)."""
    target = getattr(target, "grid", target)
    if isinstance(target, Sequence) and len(target) == 2 and not isinstance(target, str):
        target = Grid(*target)
    if isinstance(target, Grid):
        return target.shape, target.affine.rows
    return AffineMatrix.from_spacing(target).spacing


class ResampleBackend:
    """An image on another grid: each region is computed from the part of the source that it needs.

    Parameters
    ----------
    base : Backend
    header : Header
        Of the result; its stored type and scaling are those of ``base``.
    voxel_map : AffineMatrix
        New voxel -> voxel of ``base``.
    interpolation : str
        One of `INTERPOLATIONS`.
    fill : scalar
        Stored number beyond the image.
    antialias : bool
        Whether to smooth along axes that lose resolution.
    """

    def __init__(
        self,
        base: Backend,
        header: Header,
        voxel_map: AffineMatrix,
        interpolation: str,
        fill: Any,
        antialias: bool,
    ) -> None:
        self.base, self.header, self.voxel_map = base, header, voxel_map
        self.interpolation, self.fill, self.antialias = interpolation, fill, antialias

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        from medimg_cli.operations.sampling import Sampler

        check_region(region, self.header.shape)
        spans = [span if span.step > 0 else span[::-1] for span in region[1:]]
        turns = tuple(slice(None, None, 1 if span.step > 0 else -1) for span in region[1:])
        sampler = Sampler(
            self.voxel_map, spans, self.base.header.spatial_shape, self.interpolation, self.fill, self.antialias
        )
        support = sampler.support()
        channels = []
        for channel in region[0]:
            part = None
            if support is not None:
                part = self.base.read((range(channel, channel + 1), *support), raw=True)[0]
            channels.append(sampler.sample(part, self.header.dtype)[turns])
        found = np.stack(channels)
        return found if raw else scale(found, self.header)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = _BLOCK) -> Iterator[Buffer]:
        shrunk = max(abs(self.voxel_map.determinant) / 8, 1.0)  # of the source, a block needs so much more
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=int(min(max_bytes, _BLOCK) / shrunk))

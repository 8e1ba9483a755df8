"""Slicing: the part of an image that an index selects, with steps of any sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.backends import check_region, view
from medimg_cli.errors import GeometryError
from medimg_cli.grid import Grid, region_map, to_ranges
from medimg_cli.operations.crop import Place
from medimg_cli.operations.protocol import Recipe, Step

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Slice"]


@dataclass(frozen=True, slots=True)
class Slice(Recipe):
    """Keep a region: start, step and sign of each range change the affine.

    Parameters
    ----------
    region : 4 triples (start, stop, step)
        Ranges on (C, I, J, K) as Python's ``range`` counts them: inside the axis, not empty. `Slice.of` makes
        them from an index as written in brackets.

    Raises
    ------
    GeometryError
        If these are not four ranges.
    """

    region: Any

    name: ClassVar[str] = "slice"

    def __post_init__(self) -> None:
        try:
            spans = [range(r.start, r.stop, r.step) if isinstance(r, range) else range(*r) for r in self.region]
        except (TypeError, ValueError):
            spans = []
        if len(spans) != 4:
            raise GeometryError(f"region is {self.region}, expected four ranges (start, stop, step) on C, I, J, K")
        object.__setattr__(self, "region", tuple((span.start, span.stop, span.step) for span in spans))

    @classmethod
    def of(cls, index: Any, shape: Sequence[int]) -> Slice:
        """Return the slice that an index selects.

        Parameters
        ----------
        index : int, slice, range, Ellipsis, or a tuple of them
            As in NumPy on (C, I, J, K), but an int keeps its axis with size 1.
        shape : (C, I, J, K)

        Raises
        ------
        RegionError
            If an index lies outside, selects nothing, or is of another kind (masks and lists, for example).

        Examples
        --------
        >>> Slice.of((0, ..., slice(None, None, -2)), (3, 4, 5, 6)).region
        ((0, 1, 1), (0, 4, 1), (0, 5, 1), (5, -1, -2))
        """
        return cls(to_ranges(index, shape))

    @property
    def spans(self) -> tuple[range, range, range, range]:
        """The region as ranges."""
        c, i, j, k = (range(*triple) for triple in self.region)
        return c, i, j, k

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        check_region(self.spans, header.shape)
        before, move = header.grid, region_map(self.spans[1:])
        after = Grid([len(span) for span in self.spans[1:]], before.affine @ move)
        idle = before == after and all(span == range(n) for span, n in zip(self.spans, header.shape, strict=True))
        return self.step(before, after, move, idle=idle)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the part, a view of the stored numbers."""
        channels, *spans = self.spans
        header = backend.header.follow(step).with_channels(channels)
        return view(backend, channels, list(enumerate(spans)), header)

    def inverse(self, step: Step) -> Place:
        """Return the operation that leads back to the grid before.

        Voxels that were kept return to their places; those that a step left out take the value of their
        nearest neighbour, those outside are 0. Channels stay as they are.
        """
        spans = self.spans[1:]
        return Place(
            tuple(span.start for span in spans),
            step.grid_before.shape,
            steps=tuple(span.step for span in spans),
            affine=step.grid_before.affine.rows,
        )

"""Reorienting: voxel axes permuted and flipped, no voxel moved, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medimg_cli import orientation
from medimg_cli.backends import view
from medimg_cli.errors import GeometryError
from medimg_cli.grid import Grid, axes_map
from medimg_cli.operations.protocol import Recipe, Rows, Step, landed

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Reorient", "Turn"]

#: Per new axis the old axis, and +1, or -1 where it is flipped.
Axes = Sequence[tuple[int, int]]


class _Turning(Recipe):
    """Operations that permute and flip voxel axes."""

    __slots__ = ()

    affine: Rows | None

    def turned(self, header: Header) -> Axes:
        raise NotImplementedError

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        axes = self.turned(header)
        before = header.grid
        move = axes_map(axes, before.shape)
        after = Grid([before.shape[old] for old, _ in axes], before.affine @ move)
        idle = [tuple(axis) for axis in axes] == [(0, 1), (1, 1), (2, 1)] and self.affine is None
        return self.step(before, landed(after, self.affine), move, idle=idle)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the turned image, a view of the stored numbers."""
        header = backend.header
        spans = []
        for old, sign in _axes_of(step):
            size = header.spatial_shape[old]
            spans.append((old, range(size) if sign > 0 else range(size - 1, -1, -1)))
        return view(backend, range(header.channels), spans, header.follow(step))

    def inverse(self, step: Step) -> Turn:
        """Return the turn that leads back, to the very affine of before."""
        axes = _axes_of(step)
        back = [next((new, sign) for new, (old, sign) in enumerate(axes) if old == axis) for axis in range(3)]
        return Turn(tuple(back), affine=step.grid_before.affine.rows)


def _axes_of(step: Step) -> list[tuple[int, int]]:
    """Read old axis and sign of each new axis off a voxel map."""
    return [
        next((old, 1 if step.voxel_map[old, new] > 0 else -1) for old in range(3) if step.voxel_map[old, new])
        for new in range(3)
    ]


@dataclass(frozen=True, slots=True)
class Reorient(_Turning):
    """Permute and flip the voxel axes so that they run to the given letters.

    Parameters
    ----------
    codes : str or 3 letters
        Such as ``"RAS"``: where i, j, k shall run to.

    Raises
    ------
    UsageError
        If these are not one letter of each pair R/L, A/P, S/I.
    """

    codes: str | Sequence[str]
    affine: Rows | None = None

    name: ClassVar[str] = "reorient"

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", "".join(orientation.parse_codes(self.codes)))

    def turned(self, header: Header) -> Axes:
        """Return old axis and sign per new axis."""
        return orientation.transform_between(header.orientation, self.codes)


@dataclass(frozen=True, slots=True)
class Turn(_Turning):
    """Permute and flip voxel axes, explicitly: the inverse of all that turns.

    Parameters
    ----------
    order : 3 pairs (axis, sign)
        Per new axis the old axis that it takes, and +1, or -1 where that is flipped.
    affine : 4 x 4 rows, optional
        The exact affine of the result, where an inverse restores it.

    Raises
    ------
    GeometryError
        If the axes are no permutation of 0, 1, 2 or a sign is not +1 or -1.
    """

    order: tuple[tuple[int, int], ...]
    affine: Rows | None = None

    name: ClassVar[str] = "turn"

    def __post_init__(self) -> None:
        try:
            pairs = [(int(axis), int(sign)) for axis, sign in self.order]
        except (TypeError, ValueError):
            pairs = []
        if sorted(axis for axis, _ in pairs) != [0, 1, 2] or any(sign not in (1, -1) for _, sign in pairs):
            raise GeometryError(f"turn is {self.order}, expected each of the axes 0, 1, 2 once, with +1 or -1")

    def turned(self, header: Header) -> Axes:
        """Return old axis and sign per new axis."""
        return self.order

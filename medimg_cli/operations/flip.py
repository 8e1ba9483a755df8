"""Flipping: voxel axes that run the other way. The affine follows, so that no voxel moves in the world."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import index as as_int
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.errors import GeometryError
from medimg_cli.operations.protocol import Rows
from medimg_cli.operations.reorient import Axes, _Turning

if TYPE_CHECKING:
    from medimg_cli.header import Header

__all__ = ["Flip"]


@dataclass(frozen=True, slots=True)
class Flip(_Turning):
    """Let voxel axes run the other way.

    This is not a mirror: left stays left, because the affine changes with the order of the voxels.

    Parameters
    ----------
    axes : int, str, or several of them
        0, 1, 2 (or -3 to -1) for i, j, k; a letter or word such as ``"L"``, ``"right"`` or ``"Anterior"`` for
        the axis that lies nearest to that direction.

    Raises
    ------
    GeometryError
        If one is something else.
    """

    axes: Any
    affine: Rows | None = None

    name: ClassVar[str] = "flip"

    def __post_init__(self) -> None:
        given = self.axes
        many = isinstance(given, Iterable) and not isinstance(given, str)
        object.__setattr__(self, "axes", tuple(_parse(axis) for axis in (given if many else (given,))))

    def turned(self, header: Header) -> Axes:
        """Return old axis and sign per new axis."""
        flips = {header.affine.nearest_axis(axis)[0] if isinstance(axis, str) else axis for axis in self.axes}
        return [(axis, -1 if axis in flips else 1) for axis in range(3)]


def _parse(axis: Any) -> int | str:
    if isinstance(axis, str) and axis[:1].upper() in tuple("RLAPSI"):
        return axis[0].upper()
    try:
        return (0, 1, 2)[as_int(axis)]
    except (TypeError, IndexError):
        raise GeometryError(
            f"axis to flip is {axis!r}, expected 0, 1, 2 or a direction such as 'L' or 'anterior'"
        ) from None

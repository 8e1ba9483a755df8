"""Three usable voxel axes out of what a header says, for the formats that state them as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, isfinite

from medimg_cli.affine import AffineMatrix

__all__ = ["LIMIT", "usable_axes"]

Vector = tuple[float, float, float]

#: Numbers beyond it count as not finite.
LIMIT = 1e100


def _sound(column: Sequence[float] | None) -> bool:
    return column is not None and all(isfinite(x) and abs(x) < LIMIT for x in column) and hypot(*column) > 1e-30


def _cross(u: Sequence[float], v: Sequence[float]) -> Vector:
    x, y, z = u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]
    size = hypot(x, y, z) or 1.0
    return x / size + 0.0, y / size + 0.0, z / size + 0.0


def _unit(column: Sequence[float]) -> Vector:
    size = hypot(*column)
    x, y, z = (value / size for value in column)
    return x, y, z


def usable_axes(columns: Sequence[Sequence[float] | None]) -> tuple[list[Vector], bool]:
    """Return three independent voxel axes.

    Parameters
    ----------
    columns : three vectors or None
        Step of one voxel along i, j, k in some world, mm; None where the file has no such axis.

    Returns
    -------
    list of three vectors
        Those given where they can be used. One that is missing or unusable (not finite, of length 0) becomes the unit
        vector at right angles to the other two, right-handed. Where fewer than two are left, or they lie in one plane,
        all become the axes of the world, each as long as it was, or 1 mm.
    bool
        Whether one that was given had to be replaced.

    Examples
    --------
    >>> usable_axes([(2, 0, 0), (0, 3, 0), None])
    ([(2, 0, 0), (0, 3, 0), (0.0, 0.0, 1.0)], False)
    >>> usable_axes([(0, 0, 0), (0, 3, 0), (0, 0, 4)])
    ([(1.0, 0.0, 0.0), (0, 3, 0), (0, 0, 4)], True)
    """
    sound = [column if _sound(column) else None for column in columns]
    repaired = any(column is not None and good is None for column, good in zip(columns, sound, strict=True))
    given = [n for n in range(3) if sound[n] is not None]
    axes: list[Sequence[float] | None] = list(sound)
    if len(given) == 1:
        known = _unit(sound[given[0]])  # type: ignore[arg-type]
        flattest = min(range(3), key=lambda n: (abs(known[n]), n != (given[0] + 1) % 3))
        helper = [float(n == flattest) for n in range(3)]
        last = (given[0] + 2) % 3
        axes[last] = _cross(known, helper)
        given = [n for n in range(3) if axes[n] is not None]
    if len(given) == 2:
        (empty,) = set(range(3)) - set(given)
        axes[empty] = _cross(axes[(empty + 1) % 3], axes[(empty + 2) % 3])  # type: ignore[arg-type]
    if len(given) > 1:
        a, b, c = axes
        assert a is not None and b is not None and c is not None
        if not AffineMatrix([[a[n], b[n], c[n], 0.0] for n in range(3)]).is_singular:
            return [(a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])], repaired
    sizes = [hypot(*column) if column is not None else 1.0 for column in sound]
    straight = [tuple(size if row == n else 0.0 for row in range(3)) for n, size in enumerate(sizes)]
    return straight, repaired or len(given) > 0  # type: ignore[return-value]

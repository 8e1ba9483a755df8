"""Vectors in the space of the patient: positions, steps and directions, LPS in mm."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Vector", "close", "cross", "dot", "minus", "moved", "normal_of", "times"]

Vector = tuple[float, ...]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the scalar product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def minus(a: Vector, b: Vector) -> Vector:
    """Return a difference."""
    return tuple(x - y for x, y in zip(a, b, strict=True))


def moved(position: Vector, step: Vector, count: float) -> Vector:
    """Return where one is after so many steps."""
    return tuple(x + count * y for x, y in zip(position, step, strict=True))


def times(a: Vector, factor: float) -> Vector:
    """Return a vector that is so many times as long."""
    return tuple(x * factor for x in a)


def cross(u: Sequence[float], v: Sequence[float]) -> Vector:
    """Return the vector product.

    >>> cross((1, 0, 0), (0, 1, 0))
    (0, 0, 1)
    """
    (a, b, c), (d, e, f) = u, v
    return b * f - c * e, c * d - a * f, a * e - b * d


def normal_of(orientation: Vector) -> Vector:
    """Return row x column of ImageOrientationPatient: the way in which slices are counted (PS3.3, C.7.6.2.1.1)."""
    return cross(orientation[:3], orientation[3:])


def close(a: Vector | None, b: Vector | None, tolerance: float) -> bool:
    """Tell whether numbers are the same within a tolerance, or neither are there."""
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))

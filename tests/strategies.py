"""Hypothesis strategies: affines and grids of every kind that a scanner, or a bad header, may produce."""

from __future__ import annotations

from itertools import permutations

from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.grid import Grid

__all__ = [
    "affines",
    "codes",
    "degenerate_blocks",
    "flat_affines",
    "grids",
    "indices",
    "points",
    "rotations",
    "shapes",
    "sheared_affines",
    "spacings",
]

Block = tuple[tuple[float, float, float], ...]


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


codes: st.SearchStrategy[tuple[str, str, str]] = st.tuples(
    st.sampled_from(list(permutations(((0, "RL"), (1, "AP"), (2, "SI"))))),
    st.tuples(*[st.integers(0, 1)] * 3),
).map(lambda drawn: tuple(pair[which] for (_, pair), which in zip(*drawn, strict=True)))
"""Orientations, all 48."""

spacings = st.tuples(*[floats(0.05, 12)] * 3)
"""Anisotropic voxel sizes in mm."""

shapes = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 11))
"""Small spatial shapes, most of them non-cubic."""

points = st.tuples(*[floats(-300, 300)] * 3)
"""Points in mm, or voxel indices."""


def _turn(quaternion: tuple[float, float, float, float]) -> Block:
    """Return the rotation of a quaternion (NIfTI-1 standard, method 2)."""
    size = sum(part * part for part in quaternion) ** 0.5
    a, b, c, d = (part / size for part in quaternion)
    return (
        (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
        (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
        (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
    )


def _product(left: Block, right: Block) -> Block:
    return tuple(
        tuple(sum(row[k] * right[k][column] for k in range(3)) for column in range(3))  # type: ignore[misc]
        for row in left
    )


@st.composite
def rotations(draw: st.DrawFn, angle: float = 1.0) -> Block:
    """Rotations; `angle` below 1 keeps them near the identity."""
    part = floats(-angle, angle)
    return _turn((1.0, draw(part), draw(part), draw(part)))


@st.composite
def straight_blocks(draw: st.DrawFn) -> Block:
    """Permutations with flips: axes along the world's, left-handed in half of the cases."""
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    return tuple(
        tuple(signs[k] if order[k] == row else 0.0 for k in range(3))  # type: ignore[misc]
        for row in range(3)
    )


def _affine(block: Block, spacing: tuple[float, ...], origin: tuple[float, ...]) -> AffineMatrix:
    return AffineMatrix.from_spacing(spacing, origin=origin, direction=block)


straight_affines = st.builds(_affine, straight_blocks(), spacings, points)
"""Axis-aligned, any permutation and handedness, anisotropic."""

oblique_affines = st.builds(_affine, st.builds(_product, rotations(), straight_blocks()), spacings, points)
"""Orthogonal, turned by any angle."""


@st.composite
def sheared_affines(draw: st.DrawFn, most: float = 0.6) -> AffineMatrix:
    """Oblique affines with shear, but far from singular."""
    s = [draw(floats(-most, most)) for _ in range(3)]
    shear: Block = ((1.0, s[0], s[1]), (0.0, 1.0, s[2]), (0.0, 0.0, 1.0))
    block = _product(_product(draw(rotations()), shear), draw(straight_blocks()))
    return _affine(block, draw(spacings), draw(points))


affines = st.one_of(straight_affines, oblique_affines, sheared_affines())
"""Affines that have an inverse."""

flat_affines = st.builds(
    lambda affine, column: AffineMatrix(
        [[*(0.0 if k == column else row[k] for k in range(3)), row[3]] for row in affine.rows[:3]]
    ),
    affines,
    st.integers(0, 2),
)
"""Singular affines: one voxel axis has no length."""


@st.composite
def degenerate_blocks(draw: st.DrawFn) -> Block:
    """Blocks of small integers: ties, zero columns, parallel columns, all-zero blocks."""
    number = st.integers(-2, 2).map(float)
    return draw(st.tuples(*[st.tuples(number, number, number)] * 3))


grids = st.builds(Grid, shapes, affines)
"""Grids whose affine has an inverse."""


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[slice | int | range, ...]:
    """Indices that select something: ints, slices with steps of any sign and open ends, ranges."""
    found: list[slice | int | range] = []
    for size in shape:
        first, last = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
        step = draw(st.integers(1, 4)) * (1 if first <= last else -1)
        after = last + (1 if step > 0 else -1)
        kind = draw(st.sampled_from(("int", "negative", "slice", "range", "all", "reverse")))
        if kind == "int":
            found.append(first)
        elif kind == "negative":
            found.append(first - size)
        elif kind == "slice":
            found.append(slice(first - size, after if after >= 0 else None, step))
        elif kind == "range":
            found.append(range(first, after, step))
        else:
            found.append(slice(None, None, draw(st.integers(1, 4)) * (1 if kind == "all" else -1)))
    return tuple(found)

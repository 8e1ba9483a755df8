"""Which anatomical direction does each voxel axis run to?

Letters name where an axis runs **to** in RAS+ world coordinates: ``("R", "A", "S")`` means that the first
index grows towards the patient's right, the second towards anterior, the third towards superior. The answers
are those of nibabel's ``io_orientation`` and ``aff2axcodes`` (nibabel 5.4), also for sheared and degenerate
matrices, in pure Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import copysign, fsum, hypot, inf

from medimg_cli.errors import UsageError

__all__ = ["LETTERS", "axes_of", "axis_codes", "nearest_axis", "parse_codes", "transform_between"]

Axis = tuple[int, int]
Axes = tuple[Axis, Axis, Axis]
Codes = tuple[str, str, str]
Vector = tuple[float, float, float]

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Negative and positive letter of each world axis (RAS+)."""

_AXIS_OF_LETTER: dict[str, Axis] = {
    letter: (axis, sign) for axis, pair in enumerate(LETTERS) for letter, sign in zip(pair, (-1, 1), strict=True)
}
_EPSILON = 2.0**-52
_NEGLIGIBLE = 1e-8  # numpy.allclose(column, 0), as io_orientation asks
_PAIRS = ((0, 1), (0, 2), (1, 2))


def axis_codes(matrix: Sequence[Sequence[float]]) -> Codes:
    """Name the world direction that each voxel axis runs to.

    Parameters
    ----------
    matrix : 3 or more rows of 3 or more numbers
        Maps voxel indices to RAS+ mm; only the upper left 3 x 3 block is read. Finite.

    Returns
    -------
    tuple of str
        One letter of R/L, A/P, S/I per voxel axis, each pair once. A voxel axis that points nowhere (a column
        of zeros, or one that depends on the others) gets a pair that is left over, positive letter.

    Examples
    --------
    >>> axis_codes([[0, 0, -3], [2, 0, 0], [0, -1, 0]])
    ('A', 'I', 'L')
    >>> axis_codes([[2, 0, 0], [0, 0, 0], [0, 0, -1]])
    ('R', 'A', 'I')
    """
    first, second, third = axes_of(matrix)
    return (
        LETTERS[first[0]][first[1] > 0],
        LETTERS[second[0]][second[1] > 0],
        LETTERS[third[0]][third[1] > 0],
    )


def axes_of(matrix: Sequence[Sequence[float]]) -> Axes:
    """Pair each voxel axis with the world axis that it follows most closely.

    The assignment is that of nibabel's ``io_orientation``: columns are scaled to length 1, shear is removed
    by the polar decomposition, then the axes choose in order of their strongest component. nibabel drops an
    axis that points nowhere; here it takes a world axis that is left over, with sign +1.

    Parameters
    ----------
    matrix : 3 or more rows of 3 or more numbers
        Maps voxel indices to RAS+ mm; only the upper left 3 x 3 block is read. Finite.

    Returns
    -------
    tuple of (int, int)
        One (world axis 0..2, +1 or -1) per voxel axis; every world axis occurs once.

    Examples
    --------
    >>> axes_of([[0, -2, 0.1], [1, 0, 0], [0, 0.1, 3]])
    ((1, 1), (0, -1), (2, 1))
    """
    columns = _unit_columns(matrix)
    return _clear_axes(columns) or _strongest_axes(_without_shear(columns))


def nearest_axis(matrix: Sequence[Sequence[float]], letter: str) -> Axis:
    """Find the voxel axis that lies nearest to an anatomical letter.

    Parameters
    ----------
    matrix : 3 or more rows of 3 or more numbers
        Maps voxel indices to RAS+ mm.
    letter : str
        One of R, L, A, P, S, I (any case).

    Returns
    -------
    (int, int)
        Voxel axis 0..2, and +1 where its index grows towards the letter, else -1.

    Raises
    ------
    UsageError
        If `letter` is none of the six.

    Examples
    --------
    >>> nearest_axis([[0, -2, 0], [1, 0, 0], [0, 0, 3]], "R")
    (1, -1)
    """
    try:
        wanted, towards = _AXIS_OF_LETTER[letter.upper()]
    except (KeyError, AttributeError):
        raise UsageError(f"axis {letter!r} is none of R, L, A, P, S, I") from None
    for voxel_axis, (world_axis, sign) in enumerate(axes_of(matrix)):
        if world_axis == wanted:
            return voxel_axis, sign * towards
    raise AssertionError("every world axis has a voxel axis")


def parse_codes(codes: str | Iterable[str]) -> Codes:
    """Check orientation letters and return them as a tuple of capitals.

    Parameters
    ----------
    codes : str or sequence of str
        Such as ``"RAS"``, ``"ras"``, ``"RAS+"`` or ``("R", "A", "S")``.

    Raises
    ------
    UsageError
        If these are not three letters, one of each pair R/L, A/P, S/I.

    Examples
    --------
    >>> parse_codes("lpi")
    ('L', 'P', 'I')
    """
    try:
        plain = codes.strip().removesuffix("+") if isinstance(codes, str) else codes
        letters = tuple(str(code).upper() for code in plain)
    except TypeError:
        letters = ()
    axes = {_AXIS_OF_LETTER[letter][0] for letter in letters if letter in _AXIS_OF_LETTER}
    if len(letters) != 3 or len(axes) != 3:
        shown = codes if isinstance(codes, str) else "".join(letters)
        raise UsageError(
            f"orientation {shown!r} is not one letter of each pair R/L, A/P, S/I",
            hint="write it like RAS or LPS",
        )
    first, second, third = letters
    return first, second, third


def transform_between(codes_from: str | Iterable[str], codes_to: str | Iterable[str]) -> Axes:
    """Say how axes are permuted and flipped to get from one orientation to another.

    Parameters
    ----------
    codes_from, codes_to : str or sequence of str
        Orientations such as ``"LPS"``, see `parse_codes`.

    Returns
    -------
    tuple of (int, int)
        Per **new** axis: the old axis that it takes, and +1, or -1 where that is flipped.

    Raises
    ------
    UsageError
        If either orientation is not one letter of each pair.

    Examples
    --------
    >>> transform_between("PIR", "RAS")
    ((2, 1), (0, -1), (1, -1))
    """
    old = {}
    for position, letter in enumerate(parse_codes(codes_from)):
        axis, sign = _AXIS_OF_LETTER[letter]
        old[axis] = (position, sign)
    wanted = [_AXIS_OF_LETTER[letter] for letter in parse_codes(codes_to)]
    first, second, third = ((old[axis][0], old[axis][1] * sign) for axis, sign in wanted)
    return first, second, third


def _unit_columns(matrix: Sequence[Sequence[float]]) -> tuple[Vector, Vector, Vector]:
    """Return the three columns scaled to length 1; a column of zeros stays."""
    x, y, z = matrix[0], matrix[1], matrix[2]
    return _unit(x[0], y[0], z[0]), _unit(x[1], y[1], z[1]), _unit(x[2], y[2], z[2])


def _unit(x: float, y: float, z: float) -> Vector:
    length = hypot(x, y, z)
    if length == 0:
        return 0.0, 0.0, 0.0
    if length == inf:  # finite numbers near the end of the float range
        x, y, z = x / 4, y / 4, z / 4
        length = hypot(x, y, z)
    return x / length, y / length, z / length


def _clear_axes(columns: tuple[Vector, Vector, Vector]) -> Axes | None:
    """Answer without a decomposition where shear can't change the answer, else return None.

    The nearest orthogonal matrix R to a matrix A satisfies ``|R - A| <= |A'A - 1|`` (2-norm), which is at
    most 0.037 where the cosines between unit columns are below 0.015. A component of A above 0.75 is then
    above sqrt(1/2) in R: no other entry of its row or column in R can be as large.
    """
    (a, b, c), (d, e, f), (g, h, i) = columns
    if not (abs(a * d + b * e + c * f) < 0.015 > abs(a * g + b * h + c * i) and abs(d * g + e * h + f * i) < 0.015):
        return None
    axes = []
    for x, y, z in columns:
        if abs(x) > 0.75:
            axes.append((0, 1 if x > 0 else -1))
        elif abs(y) > 0.75:
            axes.append((1, 1 if y > 0 else -1))
        elif abs(z) > 0.75:
            axes.append((2, 1 if z > 0 else -1))
        else:
            return None
    return axes[0], axes[1], axes[2]


def _without_shear(columns: tuple[Vector, Vector, Vector]) -> list[list[float]]:
    """Return the columns of the orthogonal polar factor, null directions left out as in ``io_orientation``.

    One-sided Jacobi rotations make the columns orthogonal: A V = U S. The factor is U V', summed over the
    singular values above nibabel's tolerance, ``max(S) * 3 * eps``.
    """
    us = [list(column) for column in columns]
    vs = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]  # columns of V
    for _ in range(30):
        turned = [_rotate_pair(us, vs, p, q) for p, q in _PAIRS]
        if not any(turned):
            break
    sizes = [hypot(*u) for u in us]
    tolerance = max(sizes) * 3 * _EPSILON
    kept = [k for k in range(3) if sizes[k] > tolerance]
    return [[fsum(us[k][row] / sizes[k] * vs[k][column] for k in kept) for row in range(3)] for column in range(3)]


def _rotate_pair(us: list[list[float]], vs: list[list[float]], p: int, q: int) -> bool:
    """Make columns `p` and `q` of `us` orthogonal, turn `vs` alike; return False where they already are."""
    (a, b, c), (d, e, f) = us[p], us[q]
    cross = a * d + b * e + c * f
    size_p, size_q = a * a + b * b + c * c, d * d + e * e + f * f
    if abs(cross) <= _EPSILON * (size_p * size_q) ** 0.5:
        return False
    ratio = (size_q - size_p) / (2 * cross)
    tangent = copysign(1.0, ratio) / (abs(ratio) + hypot(1.0, ratio))
    cosine = 1 / hypot(1.0, tangent)
    sine = cosine * tangent
    for columns in (us, vs):
        left, right = columns[p], columns[q]
        columns[p] = [cosine * x - sine * y for x, y in zip(left, right, strict=True)]
        columns[q] = [sine * x + cosine * y for x, y in zip(left, right, strict=True)]
    return True


def _strongest_axes(columns: list[list[float]]) -> Axes:
    """Let each column choose its largest free component, the column with the strongest component first."""
    order = sorted(range(3), key=lambda column: -max(value * value for value in columns[column]))
    free = {0, 1, 2}
    found: dict[int, Axis] = {}
    for voxel_axis in order:
        column = columns[voxel_axis]
        world_axis = max(sorted(free), key=lambda axis: abs(column[axis]))
        if abs(column[world_axis]) > _NEGLIGIBLE:
            free.remove(world_axis)
            found[voxel_axis] = (world_axis, 1 if column[world_axis] > 0 else -1)
    for voxel_axis in range(3):
        if voxel_axis not in found:
            found[voxel_axis] = (min(free), 1)
            free.remove(min(free))
    return found[0], found[1], found[2]

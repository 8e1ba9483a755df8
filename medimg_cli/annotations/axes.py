"""The axes that coordinates count along: voxel axes in any order, or the patient's."""

from __future__ import annotations

from typing import Any

from medimg_cli import orientation
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import UsageError

__all__ = ["change", "frame", "is_voxel", "parse_axes"]

_STRAIGHT = 1e-11  # what rounding leaves in the block of a map from voxels to voxels
_SHIFT = 1e-9  # and in its last column, in voxels


def parse_axes(axes: Any) -> str:
    """Check the name of three axes and return it in capitals.

    Parameters
    ----------
    axes : str, or sequence of three letters
        A permutation of ``"IJK"`` (voxel indices), or one letter of each pair R/L, A/P, S/I in any order: the
        directions that the coordinates grow towards, in mm.

    Raises
    ------
    UsageError
        If it is neither.

    Examples
    --------
    >>> parse_axes("kji"), parse_axes(("L", "P", "S"))
    ('KJI', 'LPS')
    """
    if isinstance(axes, str) and sorted(axes.upper()) == ["I", "J", "K"]:
        return axes.upper()
    try:
        return "".join(orientation.parse_codes(axes))
    except UsageError:
        raise UsageError(
            f"Invalid axes {ascii(axes)[:40]}: expected a permutation of IJK, or one letter of each pair R/L, A/P, S/I"
        ) from None


def is_voxel(axes: str) -> bool:
    """Tell voxel axes from the patient's; `axes` as `parse_axes` returns them."""
    return "J" in axes


def frame(axes: str, affine: AffineMatrix) -> AffineMatrix:
    """Return the map from coordinates along some axes to RAS+ mm.

    Parameters
    ----------
    axes : str
        As `parse_axes` returns them.
    affine : AffineMatrix
        Of the voxels that ``IJK`` counts; not asked for the patient's axes.

    Examples
    --------
    >>> frame("KJI", AffineMatrix.from_spacing((2, 3, 4), origin=(-10, 0, 5))).apply((3, 2, 1))
    (-8.0, 6.0, 17.0)
    >>> frame("LPS", AffineMatrix()).apply((1, 2, 3))
    (-1.0, -2.0, 3.0)
    """
    return affine @ _order(axes) if is_voxel(axes) else AffineMatrix.between(axes, "RAS")


def change(axes_from: str, affine_from: AffineMatrix, axes_to: str, affine_to: AffineMatrix) -> AffineMatrix:
    """Return the map from coordinates along some axes to those along others.

    It is exact, digits and all, where both axes are the patient's, or both count the same voxels. Between two voxel
    frames what rounding left of whole numbers is taken away.

    Raises
    ------
    GeometryError
        If the way leads into the voxels of an affine that has no inverse.

    Examples
    --------
    >>> small, large = AffineMatrix.from_spacing(0.1), AffineMatrix.from_spacing(0.3, origin=(0.3, 0, 0))
    >>> change("IJK", large, "IJK", small).apply((1, 1, 1))
    (6.0, 3.0, 3.0)
    """
    if not is_voxel(axes_from) and not is_voxel(axes_to):
        return AffineMatrix.between(axes_from, axes_to)
    if is_voxel(axes_from) and is_voxel(axes_to) and affine_from == affine_to:
        return _order(axes_to).inverse() @ _order(axes_from)
    found = frame(axes_to, affine_to).inverse() @ frame(axes_from, affine_from)
    return _whole(found) if is_voxel(axes_from) and is_voxel(axes_to) else found


def _order(axes: str) -> AffineMatrix:
    """Return the map from voxel indices in another order to (i, j, k)."""
    return AffineMatrix([[float(letter == axis) for letter in axes] + [0.0] for axis in "IJK"])


def _whole(matrix: AffineMatrix) -> AffineMatrix:
    """Round the elements that are whole numbers but for rounding."""
    rooms = (_STRAIGHT, _STRAIGHT, _STRAIGHT, _SHIFT)
    return AffineMatrix(
        [
            [float(round(value)) if abs(value - round(value)) < room else value for value, room in zip(row, rooms)]
            for row in matrix.rows[:3]
        ]
    )

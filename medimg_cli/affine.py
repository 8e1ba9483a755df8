"""`AffineMatrix`: a frozen 4 x 4 matrix from voxel indices to world coordinates.

World is RAS+ in mm (x to the right, y to anterior, z to superior). Files and libraries that count otherwise
(LPS of DICOM, ITK and NRRD, LAS of some NRRD files) cross over here, through `AffineMatrix.from_lps`,
`to_lps` and `between`, and nowhere else. Plain Python floats: neither NumPy nor torch is imported until
somebody asks for an array.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from math import asin, atan2, degrees, hypot, isfinite
from typing import TYPE_CHECKING, Any

from medimg_cli import orientation
from medimg_cli.errors import GeometryError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["AffineMatrix"]

Vector = tuple[float, float, float]
Row = tuple[float, float, float, float]
Rows = tuple[Row, Row, Row, Row]

_LAST: Row = (0.0, 0.0, 0.0, 1.0)
_IDENTITY: Rows = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), _LAST)
_SINGULAR = 1e-12  # volume of the unit columns below which no inverse is offered
_NOISE = 1e-9  # what the last row may be off by
_LIMIT = 1e100  # elements stay below it, so that no length or volume overflows


class AffineMatrix:
    """Map voxel indices (i, j, k) to world coordinates (x, y, z) in RAS+ mm.

    A value: it can't be changed, so two images may share one. Compose with ``@``; `with_spacing`,
    `with_origin` and `with_direction` return changed copies.

    Parameters
    ----------
    matrix : AffineMatrix, 4 x 4 or 3 x 4 nested sequence, numpy array or torch tensor, optional
        Columns 0 to 2 are the steps of one voxel along i, j, k in mm; column 3 is the centre of voxel (0, 0,
        0). The identity where omitted. The block may be sheared, left-handed or even singular (a header may
        hold that), but not NaN, infinite or beyond 1e100.

    Raises
    ------
    GeometryError
        If the shape is neither 4x4 nor 3x4, an element is no finite number, or the last row is not (0, 0, 0,
        1).

    Examples
    --------
    >>> affine = AffineMatrix([[-2, 0, 0, 90], [0, 0, 3, -126], [0, 2.5, 0, -72], [0, 0, 0, 1]])
    >>> affine.spacing, affine.origin, affine.orientation
    ((2.0, 2.5, 3.0), (90.0, -126.0, -72.0), ('L', 'S', 'A'))
    >>> affine.apply((1, 0, 2))
    (88.0, -120.0, -72.0)
    """

    __slots__ = ("_rows",)

    _rows: Rows

    def __init__(self, matrix: Any = None) -> None:
        if matrix is None:
            rows = _IDENTITY
        elif isinstance(matrix, AffineMatrix):
            rows = matrix._rows
        else:
            rows = _parse_matrix(matrix)
        object.__setattr__(self, "_rows", rows)

    @classmethod
    def from_spacing(
        cls,
        spacing: float | Iterable[float],
        *,
        origin: Iterable[float] = (0.0, 0.0, 0.0),
        direction: Any = None,
    ) -> AffineMatrix:
        """Build an affine from voxel size, position and axes.

        Parameters
        ----------
        spacing : float or 3 floats
            Voxel size along i, j, k in mm, above 0.
        origin : 3 floats
            Centre of voxel (0, 0, 0) in RAS+ mm.
        direction : 3 x 3 matrix, or its 9 numbers row by row, optional
            Its columns are the unit vectors of i, j, k in RAS+. They are multiplied by `spacing` as they are,
            as ITK does.

        Raises
        ------
        GeometryError
            If a spacing is not above 0, or something is not finite or has another size.

        Examples
        --------
        >>> turned = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
        >>> AffineMatrix.from_spacing((2, 3, 4), origin=(10, 20, 30), direction=turned).rows[0]
        (0.0, -3.0, 0.0, 10.0)
        """
        rows = _IDENTITY[:3] if direction is None else _parse_direction(direction)
        return _from_columns(rows, _parse_spacing(spacing), _parse_vector(origin, "origin"))

    @classmethod
    def from_rows(cls, rows: Iterable[Row]) -> AffineMatrix:
        """Wrap the first three rows, each four Python floats: the quick way in for header parsers.

        Parameters
        ----------
        rows : 3 tuples of 4 float
            Other types are not converted.

        Raises
        ------
        GeometryError
            If an element is not finite, or beyond 1e100.

        Examples
        --------
        >>> AffineMatrix.from_rows([(2.0, 0.0, 0.0, 1.0), (0.0, 3.0, 0.0, 2.0), (0.0, 0.0, 4.0, 3.0)]).spacing
        (2.0, 3.0, 4.0)
        """
        return _make(rows)

    @classmethod
    def from_lps(cls, matrix: Any) -> AffineMatrix:
        """Read a matrix whose world is LPS+ mm, as DICOM, ITK, MetaImage and most NRRD files count.

        Parameters
        ----------
        matrix : anything that `AffineMatrix` takes
            Maps voxel indices to (left, posterior, superior) mm.

        Examples
        --------
        >>> AffineMatrix.from_lps([[1, 0, 0, -5], [0, 1, 0, 7], [0, 0, 1, 9]]).origin
        (5.0, -7.0, 9.0)
        """
        return cls(matrix).to_lps()

    @classmethod
    def between(cls, space_from: str | Iterable[str], space_to: str | Iterable[str]) -> AffineMatrix:
        """Return the map from coordinates of one world convention to those of another.

        Parameters
        ----------
        space_from, space_to : str
            Letters that the coordinates grow towards: ``"RAS"``, ``"LPS"`` (DICOM, ITK), ``"LAS"`` (NRRD),
            ``"SRA"`` ...

        Raises
        ------
        UsageError
            If either is not one letter of each pair R/L, A/P, S/I.

        Examples
        --------
        >>> AffineMatrix.between("LPS", "RAS").apply((10, 20, 30))
        (-10.0, -20.0, 30.0)
        >>> AffineMatrix.between("RAS", "SLA").apply((1, 2, 3))
        (3.0, -1.0, 2.0)
        """
        steps = orientation.transform_between(space_from, space_to)
        rows = [tuple(float(sign) if column == old else 0.0 for column in range(4)) for old, sign in steps]
        return cls(rows)

    @property
    def rows(self) -> Rows:
        """The matrix as a tuple of 4 tuples of 4 floats."""
        return self._rows

    @property
    def shape(self) -> tuple[int, int]:
        """Always (4, 4)."""
        return 4, 4

    @property
    def spacing(self) -> Vector:
        """Length in mm of one voxel step along i, j, k (the norms of the columns).

        Examples
        --------
        >>> AffineMatrix([[0, -3, 0, 0], [4, 0, 0, 0], [3, 0, 1.5, 0]]).spacing
        (5.0, 3.0, 1.5)
        """
        (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = self._rows
        return hypot(a, d, g), hypot(b, e, h), hypot(c, f, i)

    @property
    def origin(self) -> Vector:
        """Centre of voxel (0, 0, 0) in RAS+ mm."""
        x, y, z, _ = self._rows
        return x[3], y[3], z[3]

    @property
    def direction(self) -> tuple[Vector, Vector, Vector]:
        """The 3 x 3 block with its columns scaled to length 1, as three rows; a column of zeros stays.

        Examples
        --------
        >>> AffineMatrix([[0, -3, 0, 0], [2, 0, 0, 0], [0, 0, 1.5, 0]]).direction
        ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
        """
        (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = self._rows
        u, v, w = (size or 1.0 for size in self.spacing)
        return (a / u, b / v, c / w), (d / u, e / v, f / w), (g / u, h / v, i / w)

    @property
    def orientation(self) -> tuple[str, str, str]:
        """Letters of the directions that i, j, k run to, such as ``("R", "A", "S")``; see `axis_codes`."""
        return orientation.axis_codes(self._rows)

    @property
    def euler_angles(self) -> Vector:
        """Angles (x, y, z) in degrees: direction = Rz(z) @ Ry(y) @ Rx(x).

        These are turns about the fixed world axes, first x, then y, then z, which is the same as turning
        about the moving axes in the order z, y, x. The numbers are those of TorchIO's
        ``AffineMatrix.euler_angles``. Where y is +-90 degrees x and z can't be told apart, and z is 0. Of a
        left-handed or sheared affine they describe only part.

        Examples
        --------
        >>> AffineMatrix([[0, -3, 0, 0], [2, 0, 0, 0], [0, 0, 1.5, 0]]).euler_angles
        (0.0, 0.0, 90.0)
        """
        (a, _, _), (d, e, f), (g, h, i) = self.direction
        flat = hypot(a, d)
        about_x, about_z = (atan2(-f, e), 0.0) if flat < 1e-6 else (atan2(h, i), atan2(d, a))
        return degrees(about_x) + 0.0, degrees(atan2(-g, flat)) + 0.0, degrees(about_z) + 0.0

    @property
    def determinant(self) -> float:
        """Signed volume of a voxel in mm3; negative where the axes are left-handed.

        Examples
        --------
        >>> AffineMatrix.from_spacing((2, 3, 4), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)).determinant
        -24.0
        """
        u, v, w = self.spacing
        return _determinant(self.direction) * u * v * w + 0.0

    @property
    def is_finite(self) -> bool:
        """Whether all elements are finite numbers: always true, the constructor refuses others."""
        return all(isfinite(value) for row in self._rows for value in row)

    @property
    def is_singular(self) -> bool:
        """Whether a voxel has no volume, so that `inverse` raises.

        Examples
        --------
        >>> AffineMatrix([[1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0]]).is_singular
        True
        """
        return abs(_determinant(self.direction)) < _SINGULAR

    @property
    def shear_deg(self) -> float:
        """Largest departure from 90 degrees between two voxel axes, in degrees (0 to 90).

        Examples
        --------
        >>> round(AffineMatrix([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0]]).shear_deg, 9)
        45.0
        """
        (a, b, c), (d, e, f), (g, h, i) = self.direction
        cosine = max(abs(a * b + d * e + g * h), abs(a * c + d * f + g * i), abs(b * c + e * f + h * i))
        return degrees(asin(min(cosine, 1.0)))

    @property
    def is_sheared(self) -> bool:
        """Whether the voxel axes are farther from right angles than rounding: a quaternion does not hold that.

        Examples
        --------
        >>> AffineMatrix().is_sheared, AffineMatrix([[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]).is_sheared
        (False, True)
        """
        return self.shear_deg > 0.01

    @property
    def obliquity_deg(self) -> float:
        """Largest angle between a voxel axis and the world axis nearest to it, in degrees.

        The definition is that of AFNI (``THD_compute_oblique_angle``). nibabel's ``affines.obliquity`` asks the
        other way round, per world axis; its maximum is the same up to 45 degrees where there is no shear.

        Examples
        --------
        >>> AffineMatrix([[0, -3, 0, 0], [2, 0, 0, 0], [0, 0, 1.5, 0]]).obliquity_deg
        0.0
        >>> round(AffineMatrix([[4, -3, 0, 0], [3, 4, 0, 0], [0, 0, 1.5, 0]]).obliquity_deg, 6)
        36.869898
        """
        (a, b, c, _), (d, e, f, _), (g, h, i, _), _ = self._rows
        largest = 0.0
        for column in ((a, d, g), (b, e, h), (c, f, i)):
            low, middle, high = sorted((abs(column[0]), abs(column[1]), abs(column[2])))
            if middle:
                largest = max(largest, atan2(hypot(low, middle), high))
        return degrees(largest)

    @property
    def data(self) -> torch.Tensor:
        """The matrix as a new torch tensor, (4, 4), float64, on the CPU.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        return _torch().tensor(self._rows, dtype=_torch().float64)

    @property
    def device(self) -> torch.device:
        """The device of `data`: the CPU always.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        return _torch().device("cpu")

    def nearest_axis(self, letter: str) -> tuple[int, int]:
        """Find the voxel axis nearest to an anatomical letter; see `orientation.nearest_axis`.

        Examples
        --------
        >>> AffineMatrix([[0, -2, 0, 0], [1, 0, 0, 0], [0, 0, 3, 0]]).nearest_axis("L")
        (1, 1)
        """
        return orientation.nearest_axis(self._rows, letter)

    def inverse(self) -> AffineMatrix:
        """Return the map from world coordinates to voxel indices.

        Raises
        ------
        GeometryError
            If the voxel axes lie in one plane (a voxel has no volume).

        Examples
        --------
        >>> AffineMatrix([[0, -4, 0, 8], [2, 0, 0, 6], [0, 0, 1, 5]]).inverse().rows[:2]
        ((0.0, 0.5, 0.0, -3.0), (-0.25, 0.0, 0.0, 2.0))
        """
        (a, b, c), (d, e, f), (g, h, i) = self.direction
        det = _determinant(self.direction)
        if abs(det) < _SINGULAR:
            raise GeometryError("affine has no inverse: its three voxel axes lie in one plane")
        x, y, z = self.origin
        rows = []
        for size, (p, q, r) in zip(
            self.spacing,
            (
                (e * i - f * h, c * h - b * i, b * f - c * e),
                (f * g - d * i, a * i - c * g, c * d - a * f),
                (d * h - e * g, b * g - a * h, a * e - b * d),
            ),
            strict=True,
        ):
            p, q, r = p / det / size, q / det / size, r / det / size
            rows.append((p, q, r, -(p * x + q * y + r * z)))
        return _make(rows)

    def compose(self, other: AffineMatrix) -> AffineMatrix:
        """Return ``self @ other``: first `other`, then this one.

        Examples
        --------
        >>> half = AffineMatrix.from_spacing(0.5, origin=(1, 2, 3))
        >>> (half @ half.inverse()) == AffineMatrix()
        True
        """
        (a, b, c, s), (d, e, f, t), (g, h, i, u), _ = AffineMatrix(other)._rows
        return _make(
            (p * a + q * d + r * g, p * b + q * e + r * h, p * c + q * f + r * i, p * s + q * t + r * u + v)
            for p, q, r, v in self._rows[:3]
        )

    def apply(self, points: Any) -> Any:
        """Map voxel indices to world coordinates.

        Parameters
        ----------
        points : (3,) or (N, 3) sequence, numpy array or torch tensor
            Voxel indices, fractions allowed.

        Returns
        -------
        tuple of 3 floats, tuple of such tuples, float64 array or tensor
            Same shape and kind as `points`; nested sequences come back as tuples.

        Raises
        ------
        GeometryError
            If the last axis has not 3 numbers.

        Examples
        --------
        >>> affine = AffineMatrix.from_spacing((2, 3, 4), origin=(10, 20, 30))
        >>> affine.apply((1, 1, 1))
        (12.0, 23.0, 34.0)
        >>> affine.apply([(0, 0, 0), (0, 0, -1)])
        ((10.0, 20.0, 30.0), (10.0, 20.0, 26.0))
        """
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(points, torch.Tensor):
            return _apply_array(self, points.to(torch.float64), self.data.to(points.device))
        if hasattr(points, "__array__"):
            import numpy as np

            return _apply_array(self, np.asarray(points, dtype=np.float64), self.numpy())
        return _apply_sequence(self._rows, points)

    def with_spacing(self, spacing: float | Iterable[float]) -> AffineMatrix:
        """Return a copy with another voxel size in mm; origin and direction stay.

        Raises
        ------
        GeometryError
            If a spacing is not above 0, or a voxel axis has length 0 and therefore no direction.

        Examples
        --------
        >>> AffineMatrix([[0, -4, 0, 8], [2, 0, 0, 6], [0, 0, 1, 5]]).with_spacing((1, 1, 2)).rows[:2]
        ((0.0, -1.0, 0.0, 8.0), (1.0, 0.0, 0.0, 6.0))
        """
        wanted = _parse_spacing(spacing)
        if wanted == self.spacing:
            return self
        if 0.0 in self.spacing:
            raise GeometryError(f"spacing {self.spacing} has a 0: that voxel axis has no direction to keep")
        keep = [new == old for new, old in zip(wanted, self.spacing, strict=True)]
        scales = tuple(1.0 if same else new for same, new in zip(keep, wanted, strict=True))
        columns = [
            [raw if same else unit for same, raw, unit in zip(keep, row, units, strict=False)]
            for row, units in zip(self._rows, self.direction, strict=False)
        ]
        return _from_columns(columns, scales, self.origin)

    def with_origin(self, origin: Iterable[float]) -> AffineMatrix:
        """Return a copy whose voxel (0, 0, 0) has its centre at `origin` (RAS+ mm).

        Raises
        ------
        GeometryError
            If `origin` is not three finite numbers.
        """
        return _make(
            (*row[:3], value) for row, value in zip(self._rows[:3], _parse_vector(origin, "origin"), strict=True)
        )

    def with_direction(self, direction: Any) -> AffineMatrix:
        """Return a copy with other axes (3 x 3, columns are unit vectors in RAS+); spacing and origin stay.

        Raises
        ------
        GeometryError
            If `direction` is not 3 x 3 (or 9) finite numbers.
        """
        rows = _parse_direction(direction)
        return self if rows == self.direction else _from_columns(rows, self.spacing, self.origin)

    def to_lps(self) -> AffineMatrix:
        """Return the matrix with its world in LPS+ mm, for DICOM, ITK and NRRD.

        The result maps to another world: its `orientation` letters mean nothing. `from_lps` leads back, bit
        for bit.

        Examples
        --------
        >>> AffineMatrix.from_spacing((2, 3, 4), origin=(5, -7, 9)).to_lps().origin
        (-5.0, 7.0, 9.0)
        """
        (a, b, c, s), (d, e, f, t), z, last = self._rows
        return _trusted(((0.0 - a, 0.0 - b, 0.0 - c, 0.0 - s), (0.0 - d, 0.0 - e, 0.0 - f, 0.0 - t), z, last))

    def allclose(self, other: Any, atol: float = 1e-6) -> bool:
        """Return whether no element differs by more than `atol`."""
        pairs = zip(self._rows[:3], AffineMatrix(other)._rows[:3], strict=True)
        return all(abs(a - b) <= atol for left, right in pairs for a, b in zip(left, right, strict=True))

    def mm_shift(self, other: Any, shape: Sequence[int]) -> float:
        """Return the largest distance in mm between where two affines put the same voxel.

        Parameters
        ----------
        other : AffineMatrix, or what its constructor takes
            The affine to compare with.
        shape : 3 ints
            Voxels along i, j, k. The distance is largest at the centre of one of the 8 corner voxels.

        Examples
        --------
        >>> AffineMatrix().mm_shift(AffineMatrix.from_spacing((1, 1, 1.5)), (10, 20, 31))
        15.0
        """
        return corner_shift(self, shape, AffineMatrix(other), shape)

    def numpy(self) -> np.ndarray[Any, Any]:
        """Return the matrix as a new writable numpy array, (4, 4), float64."""
        import numpy as np

        return np.array(self._rows, dtype=np.float64)

    def clone(self) -> AffineMatrix:
        """Return an equal affine: itself, as it can't change."""
        return self

    def to(self, *args: Any, **kwargs: Any) -> AffineMatrix:
        """Return itself: the numbers stay float64 on the CPU, whatever device the voxels move to."""
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("an AffineMatrix holds no array: a copy is always made")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __getitem__(self, key: Any) -> Any:
        """Return an element ``[i, j]``, a row ``[i]``, or tuples where slices are given.

        Examples
        --------
        >>> AffineMatrix.from_spacing((2, 3, 4), origin=(5, -7, 9))[:3, 3]
        (5.0, -7.0, 9.0)
        """
        row, column = key if isinstance(key, tuple) else (key, slice(None))
        found: Any = self._rows[row]
        return tuple(each[column] for each in found) if isinstance(row, slice) else found[column]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return 4

    def __matmul__(self, other: object) -> AffineMatrix:
        return self.compose(other) if isinstance(other, AffineMatrix) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return self._rows == other._rows if isinstance(other, AffineMatrix) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._rows)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"AffineMatrix is frozen: can't set {name!r}; use with_spacing, with_origin, with_direction"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"AffineMatrix is frozen: can't delete {name!r}")

    def __copy__(self) -> AffineMatrix:
        return self

    def __deepcopy__(self, memo: object) -> AffineMatrix:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        return AffineMatrix, (self._rows,)

    def __repr__(self) -> str:
        spacing, origin = (", ".join(f"{value:.2f}" for value in values) for values in (self.spacing, self.origin))
        return f"AffineMatrix(spacing=({spacing}), origin=({origin}), orientation={''.join(self.orientation)}+)"


def corner_shift(first: AffineMatrix, shape: Sequence[int], second: AffineMatrix, second_shape: Sequence[int]) -> float:
    """Return the largest distance in mm between the corner voxels of one grid and those of another.

    Parameters
    ----------
    first, second : AffineMatrix
        Affines of the grids.
    shape, second_shape : 3 ints
        Voxels along i, j, k of each.
    """
    if first._rows == second._rows and tuple(shape) == tuple(second_shape):
        return 0.0
    worst = 0.0
    for which in range(8):
        far = which & 1, which >> 1 & 1, which >> 2
        one = first.apply([bit * (size - 1) for bit, size in zip(far, shape, strict=True)])
        two = second.apply([bit * (size - 1) for bit, size in zip(far, second_shape, strict=True)])
        worst = max(worst, hypot(one[0] - two[0], one[1] - two[1], one[2] - two[2]))
    return worst


def _trusted(rows: Rows) -> AffineMatrix:
    """Wrap rows that are known to be finite floats."""
    affine = AffineMatrix.__new__(AffineMatrix)
    object.__setattr__(affine, "_rows", rows)
    return affine


def _make(rows: Iterable[Row]) -> AffineMatrix:
    """Wrap three computed rows: no negative zero, nothing that overflowed."""
    (a, b, c, s), (d, e, f, t), (g, h, i, u) = rows
    for value in (a, b, c, s, d, e, f, t, g, h, i, u):
        if not -_LIMIT <= value <= _LIMIT:
            raise GeometryError(f"an affine holds {value}, expected finite numbers below {_LIMIT:g}")
    return _trusted(
        (
            (a + 0.0, b + 0.0, c + 0.0, s + 0.0),
            (d + 0.0, e + 0.0, f + 0.0, t + 0.0),
            (g + 0.0, h + 0.0, i + 0.0, u + 0.0),
            _LAST,
        )
    )


def _from_columns(direction: Sequence[Sequence[float]], spacing: Iterable[float], origin: Vector) -> AffineMatrix:
    u, v, w = spacing
    return _make((row[0] * u, row[1] * v, row[2] * w, at) for row, at in zip(direction, origin, strict=True))


def _determinant(block: Sequence[Sequence[float]]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = block
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _number(value: Any, what: str) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise GeometryError(f"{what} holds {ascii(value)[:40]}, expected a real number") from None
    if not abs(number) <= _LIMIT:
        raise GeometryError(f"{what} holds {number}, expected a finite number below {_LIMIT:g}")
    return number + 0.0


def _plain(values: Any) -> Any:
    """Turn arrays, tensors and what can become an array into nested lists."""
    if isinstance(values, list | tuple):
        return values
    if not hasattr(values, "tolist") and hasattr(values, "__array__"):
        values = values.__array__()
    return values.tolist() if hasattr(values, "tolist") else values


def _parse_matrix(matrix: Any) -> Rows:
    shape = getattr(matrix, "shape", (4, 4))
    try:
        rows = [list(_plain(row)) for row in _plain(matrix)] if len(shape) == 2 else []
    except TypeError:
        rows = []
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        sizes = shape if hasattr(matrix, "shape") else (len(rows), *{len(row) for row in rows})
        found = "x".join(map(str, sizes))
        raise GeometryError(f"affine has shape {found}, expected 4x4")
    a, b, c = (
        (_number(p, "affine"), _number(q, "affine"), _number(r, "affine"), _number(s, "affine"))
        for p, q, r, s in rows[:3]
    )
    if len(rows) == 4 and any(abs(_number(x, "affine") - y) > _NOISE for x, y in zip(rows[3], _LAST, strict=True)):
        raise GeometryError(f"affine has last row {tuple(rows[3])}, expected (0, 0, 0, 1)")
    return a, b, c, _LAST


def _parse_vector(values: Any, what: str) -> Vector:
    try:
        numbers = [_number(value, what) for value in _plain(values)]
    except TypeError:
        numbers = []
    if len(numbers) != 3:
        raise GeometryError(f"{what} has {len(numbers)} values, expected 3")
    x, y, z = numbers
    return x, y, z


def _parse_spacing(spacing: Any) -> Vector:
    plain = _plain(spacing)
    vector = _parse_vector((plain,) * 3 if isinstance(plain, int | float) else plain, "spacing")
    if min(vector) <= 0:
        raise GeometryError(f"spacing is {vector}, expected three numbers above 0")
    return vector


def _parse_direction(direction: Any) -> tuple[Vector, Vector, Vector]:
    try:
        rows = list(_plain(direction))
    except TypeError:
        rows = []
    if len(rows) == 9:
        rows = [rows[:3], rows[3:6], rows[6:]]
    if len(rows) != 3:
        raise GeometryError(f"direction has {len(rows)} rows, expected 3x3")
    a, b, c = (_parse_vector(row, "direction") for row in rows)
    return a, b, c


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch is not installed", hint="pip install 'medimg-cli[torch]'") from None
    return torch


def _apply_array(affine: AffineMatrix, points: Any, matrix: Any) -> Any:
    if not points.ndim or points.shape[-1] != 3:
        raise GeometryError(f"points have shape {tuple(points.shape)}, expected (3,) or (N, 3)")
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _apply_sequence(rows: Rows, points: Any) -> Any:
    (a, b, c, s), (d, e, f, t), (g, h, i, u), _ = rows
    points = tuple(points)
    single = bool(points) and not hasattr(points[0], "__len__")
    found = []
    try:
        for x, y, z in (points,) if single else points:
            x, y, z = float(x), float(y), float(z)
            found.append((a * x + b * y + c * z + s, d * x + e * y + f * z + t, g * x + h * y + i * z + u))
    except (TypeError, ValueError):
        raise GeometryError(f"a point is not three numbers: {str(points)[:60]}") from None
    return found[0] if single else tuple(found)

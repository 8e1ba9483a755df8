"""`check_spatial`: hold an object against every rule of an image in physical space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.spatial.rules import RULES, Finding
from medimg_cli.spatial.views import View, view_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

__all__ = ["check_spatial"]

#: mm that two statements of a place may be apart, and what two of a size or a cosine may.
_MM, _SHARE = 1e-3, 1e-4
#: mm between which the voxels of medical images lie.
_SMALLEST, _LARGEST = 1e-3, 100.0
_MILLIMETERS = ("mm", "millimeter", "millimetre", "millimeters", "millimetres")
_PAIRS = ("RL", "AP", "SI")
_UNFIT = (TypeError, ValueError, IndexError, KeyError, NotImplementedError, RuntimeError, AttributeError)


def check_spatial(obj: Any, convention: str = "ras") -> list[Finding]:
    """Say where an object is no proper image in physical space; an empty list means that it is one.

    For the tests of any library: no class to inherit from, no name to register. What an object does not have is not
    asked for where the rest says where it lies: an ``affine`` alone will do, or ``origin``, ``spacing`` and
    ``direction``. Everything that it has must be right, and say the same.

    Images of medimg, nibabel, SimpleITK, itk, xarray (spatial-image), MONAI and TorchIO are known; of others the
    attributes ``origin`` (3,), ``spacing`` (3,), ``direction`` (3, 3), ``affine`` (4, 4), ``orientation`` (3 letters),
    ``shape``, ``spatial_shape``, ``dims``, ``units`` and ``dtype`` are read, and ``__array__`` and ``__getitem__``
    used, so that a lazy image reads its voxels.

    Checked are, by the first digit of a code (`RULES` has them all with their reasons):

    0. presence: the object says where it lies and how large it is, in the convention that is asked for;
    1. types: finite numbers, of the right shape; an affine whose last row is 0 0 0 1 and that has an inverse;
    2. spacing: above 0, in mm;
    3. direction: columns of length 1, at right angles. Its determinant may have either sign;
    4. agreement: origin, spacing and direction are those of the affine, in the same world, with the same handedness;
    5. orientation: the letters are those of the affine (in RAS+, whatever the convention);
    6. data: spatial shape, declared shape and dtype are those of the array;
    7. slicing, where it can be done: along each axis, ``[::2]`` doubles the spacing, ``[::-1]`` begins at the last
       voxel and runs back, ``[1:]`` moves the origin. An object that refuses one of them passes.

    Parameters
    ----------
    obj : object
        It is not changed.
    convention : "ras" or "lps"
        The world that its origin, direction and affine are meant to be in: RAS+ mm as in NIfTI, nibabel and here, or
        LPS+ mm as in DICOM and ITK. It also says what the axes of an array without ``dims`` are: (C, I, J, K) or
        (I, J, K) for "ras", (K, J, I) or (K, J, I, C) for "lps".

    Returns
    -------
    list of Finding
        Each with ``code``, ``severity`` ("error", "warning"), ``message`` and ``reason``.

    Raises
    ------
    UsageError
        If the convention is another.

    Examples
    --------
    A test of another library:

    >>> import numpy as np
    >>> class Scan:
    ...     def __init__(self, array, affine):
    ...         self.array, self.affine = array, affine
    ...         self.shape, self.dtype = array.shape, array.dtype
    ...     def __array__(self, dtype=None, copy=None):
    ...         return self.array
    ...     def __getitem__(self, index):
    ...         return Scan(self.array[index], self.affine)  # forgets to move the affine
    >>> def test_scan_is_an_image():
    ...     assert check_spatial(Scan(np.zeros((4, 5, 6)), np.diag([1, 1, 2, 1]))) == []
    >>> for finding in check_spatial(Scan(np.zeros((4, 5, 6)), np.diag([1, 1, 2, 1]))):
    ...     print(finding)
    SP701 error: [::2] along i: voxels lie up to 1 mm from where they were, expected 0
    SP702 error: [::-1] along i: voxels lie up to 3 mm from where they were, expected 0
    SP703 error: [1:] along i: voxels lie up to 1 mm from where they were, expected 0
    """
    world = str(convention).lower()
    if world not in ("ras", "lps"):
        raise UsageError(f"convention is {convention!r}, expected 'ras' or 'lps'")
    return _Suite(view_of(obj, world), world).findings


class _Suite:
    """One object, held against all rules at once.

    Parameters
    ----------
    view : View
    world : str
        "ras" or "lps".
    """

    def __init__(self, view: View, world: str) -> None:
        self.view, self.world = view, world
        self.findings: list[Finding] = []
        for code, message in view.problems:
            self.found(code, message)
        self.origin = self.vector("origin")
        self.spacing = self.vector("spacing")
        self.direction = self.square()
        self.affine = self.matrix()
        self.presence()
        self.sizes()
        self.axes()
        self.agreement()
        self.letters()
        self.data()
        self.slicing()

    def found(self, code: str, message: str) -> None:
        """Note that a rule is broken."""
        self.findings.append(Finding(code, RULES[code].severity, message, RULES[code].reason))

    # -- types

    def numbers(self, name: str) -> Array | None:
        """Return an attribute as float64, None where it is absent or none."""
        import numpy as np

        value = getattr(self.view, name)
        if value is None:
            return None
        try:
            found = np.asarray(value)
            if found.dtype.kind not in "fiu":
                raise TypeError
            found = found.astype(np.float64)
        except (TypeError, ValueError):
            self.found("SP101", f"{name} is {_short(value)}, expected numbers")
            return None
        if not np.isfinite(found).all():
            self.found("SP103", f"{name} is {_short(found.tolist())}, expected finite numbers")
            return None
        return found

    def vector(self, name: str) -> Array | None:
        """Return origin or spacing, (3,)."""
        found = self.numbers(name)
        if found is None or found.shape == (3,):
            return found
        self.found("SP102", f"{name} has shape {found.shape}, expected (3,)")
        return None

    def square(self) -> Array | None:
        """Return the direction, (3, 3)."""
        found = self.numbers("direction")
        if found is None or found.shape == (3, 3):
            return found
        if found.shape != (9,):
            self.found("SP102", f"direction has shape {found.shape}, expected (3, 3)")
            return None
        self.found("SP107", "direction is 9 numbers in a row, expected shape (3, 3)")
        return found.reshape(3, 3)

    def matrix(self) -> Array | None:
        """Return the affine, (4, 4), if it is one."""
        found = self.numbers("affine")
        if found is None:
            return None
        if found.shape != (4, 4):
            self.found("SP104", f"affine has shape {found.shape}, expected (4, 4)")
            return None
        if abs(found[3] - (0, 0, 0, 1)).max() > 1e-9:
            self.found("SP105", f"the last row of the affine is {_row(found[3])}, expected (0, 0, 0, 1)")
            return None
        try:
            singular = AffineMatrix(found).is_singular
        except GeometryError:
            singular = True
        if singular:
            self.found("SP106", "the columns of the affine lie in one plane, expected three that do not")
        return found

    # -- what it is

    def presence(self) -> None:
        """Ask for a place, a shape, and the right world."""
        view = self.view
        if view.world not in (None, self.world):
            asked, known = self.world.upper(), str(view.world).upper()
            self.found("SP003", f"{view.library} counts in {known}+ here, expected {asked}+")
        if view.affine is None and not view.problems:
            names = [name for name in ("origin", "spacing", "direction") if getattr(view, name) is None]
            if names:
                self.found(
                    "SP001", f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing, and no affine"
                )
        if view.shape is None:
            self.found("SP002", "shape is missing, expected the number of voxels along each axis")

    def sizes(self) -> None:
        """Ask for voxel sizes in mm."""
        units = self.view.units
        if units and str(units).strip().lower() not in _MILLIMETERS:
            self.found("SP203", f"sizes are in {_short(units)}, expected mm")
        spacing = self.spacing
        if spacing is None and self.affine is not None:
            spacing = _lengths(self.affine)
        elif spacing is not None and min(spacing) <= 0:
            self.found("SP201", f"spacing is {_row(spacing)}, expected three numbers above 0")
            return
        if spacing is None or units or min(spacing) == 0:  # SP106 says that
            return
        if min(spacing) < _SMALLEST or max(spacing) > _LARGEST:
            self.found("SP202", f"spacing is {_row(spacing)}, expected {_SMALLEST:g} to {_LARGEST:g} mm")

    def axes(self) -> None:
        """Ask for unit vectors at right angles."""
        import numpy as np

        block = self.direction if self.direction is not None else None if self.affine is None else self.affine[:3, :3]
        if block is None:
            return
        lengths = _lengths(block)
        if self.direction is not None and abs(lengths - 1).max() > _SHARE:
            self.found("SP301", f"the columns of direction have lengths {_row(lengths)}, expected 1")
        if lengths.min() == 0:
            return
        unit = block / lengths
        cosines = abs(np.triu(unit.T @ unit, 1))
        if cosines.max() > 1e-3:
            angle = np.degrees(np.arcsin(min(float(cosines.max()), 1.0)))
            self.found("SP302", f"voxel axes are {angle:.3g} degrees off a right angle, expected 0")

    def agreement(self) -> None:
        """Compare the parts with the affine."""
        affine = self.affine
        if affine is None:
            return
        parts = self.parts_differ(affine)
        if parts and not self.parts_differ(_other_world(affine)):
            self.found("SP405", "origin and direction are those of the affine in the other of RAS+ and LPS+")
            return
        for code, message in parts:
            self.found(code, message)

    def parts_differ(self, affine: Array) -> list[tuple[str, str]]:
        """Return which parts are not those of an affine: code and message."""
        import numpy as np

        lengths = _lengths(affine)
        found = []
        if self.spacing is not None and (abs(self.spacing - lengths) > _SHARE * lengths + 1e-9).any():
            found.append(("SP401", f"spacing is {_row(self.spacing)}, the affine says {_row(lengths)}"))
        if self.origin is not None:
            apart = float(np.linalg.norm(self.origin - affine[:3, 3]))
            if apart > _MM + 1e-6 * abs(affine[:3, 3]).max():
                where = f"origin is {_row(self.origin)}, the affine says {_row(affine[:3, 3])}"
                found.append(("SP402", f"{where}: {apart:.4g} mm apart"))
        if self.direction is not None and lengths.min() > 0:
            unit = affine[:3, :3] / lengths
            signs = np.linalg.det(self.direction), np.linalg.det(unit)
            if signs[0] * signs[1] < -1e-6:
                found.append(
                    ("SP404", f"direction has determinant {signs[0]:+.3g}, the affine {signs[1]:+.3g}: one is mirrored")
                )
            elif abs(self.direction - unit).max() > _SHARE * 10:
                apart = float(abs(self.direction - unit).max())
                found.append(("SP403", f"direction and the affine differ by {apart:.3g} in a cosine, expected 0"))
        return found

    def letters(self) -> None:
        """Compare the orientation with the affine."""
        said, place = self.view.orientation, self.place()
        if said is None:
            return
        try:
            codes = tuple(str(letter).upper() for letter in said)
        except TypeError:
            codes = ()
        if len(codes) != 3 or not all(sum(each in pair for each in codes) == 1 for pair in _PAIRS):
            self.found("SP501", f"orientation is {_short(said)}, expected one letter each of R/L, A/P, S/I")
        elif place is not None:
            ras = place if self.world == "ras" else _other_world(place)
            expected = AffineMatrix(ras).orientation
            if codes != expected:
                self.found("SP502", f"orientation is {''.join(codes)}, the affine says {''.join(expected)}")

    def place(self) -> Array | None:
        """Return the map from voxels to mm, by the affine or by the parts; None where there is no sound one."""
        import numpy as np

        if self.affine is not None:
            return self.affine if _sound(self.affine) else None
        if self.origin is None or self.spacing is None or self.direction is None:
            return None
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = self.direction * self.spacing, self.origin
        return found if _sound(found) else None

    # -- what is in it

    def data(self) -> None:
        """Compare shape, spatial shape and dtype with one another and with the array."""
        shape, spatial = _sizes(self.view.shape), _sizes(self.view.spatial_shape)
        if self.view.shape is None:
            return
        if shape is None or min(shape, default=0) < 1 or (self.view.tail and len(shape) not in (3, 4)):
            expected = "(C, I, J, K) or (I, J, K)" if self.view.tail else "numbers of voxels above 0"
            self.found("SP601", f"shape is {_short(self.view.shape)}, expected {expected}")
            return
        if self.view.spatial_shape is not None and (
            spatial is None or (shape[-len(spatial) :] != spatial if self.view.tail else not {*spatial} <= {*shape, 1})
        ):
            self.found("SP602", f"spatial shape is {_short(self.view.spatial_shape)}, the shape is {shape}")
        self.held(shape)

    def held(self, shape: tuple[int, ...]) -> None:
        """Compare what is declared with the array itself."""
        if self.view.array is None:
            return
        try:
            array = self.view.array()
            there, dtype = tuple(array.shape), array.dtype
        except _UNFIT as error:
            self.found("SP603", f"no array can be made of it: {_short(error)}")
            return
        if there != shape:
            self.found("SP603", f"shape is {shape}, the array has {there}")
        declared = getattr(self.view.dtype, "name", None)
        if declared is not None and declared != dtype.name:
            self.found("SP604", f"dtype is {declared}, the array has {dtype.name}")

    def slicing(self) -> None:
        """Take parts along each axis and see whether their voxels are where they were."""
        place, spatial = self.place(), _sizes(self.view.spatial_shape)
        if place is None or self.view.take is None or spatial is None or len(spatial) != 3:
            return
        if any(finding.code in ("SP601", "SP602", "SP603") for finding in self.findings):
            return
        for code, text, span, step, start in (
            ("SP701", "[::2]", slice(None, None, 2), 2, 0),
            ("SP702", "[::-1]", slice(None, None, -1), -1, -1),
            ("SP703", "[1:]", slice(1, None), 1, 1),
        ):
            for axis, size in enumerate(spatial):
                moved = size > 1 and self.shift(axis, span, place, (step, start % size), size)
                if moved:
                    where = f"{text} along {'ijk'[axis]}"
                    self.found(code, f"{where}: voxels lie up to {moved:.4g} mm from where they were, expected 0")
                    break

    def shift(self, axis: int, span: slice, place: Array, move: Sequence[int], size: int) -> float:
        """Return how far the first or last voxel of a part lies from where it was, in mm; 0 where there is no part."""
        import numpy as np

        assert self.view.take is not None
        try:
            part = _Place(view_of(self.view.take(axis, span), self.world), self.world).place()
        except _UNFIT:
            return 0.0
        if part is None:
            return 0.0
        step, start = move
        count = len(range(size)[span])
        expected = place.copy()
        expected[:3, axis] *= step
        expected[:3, 3] += place[:3, axis] * start
        corners = np.eye(4)
        corners[:, 3], corners[axis, axis] = 1, max(count - 1, 1)
        far = float(np.linalg.norm((part - expected) @ corners.T, axis=0).max())
        return far if far > _MM else 0.0


class _Place(_Suite):
    """The place of a part: what it says, unjudged."""

    def __init__(self, view: View, world: str) -> None:
        self.view, self.world = view, world
        self.findings = []
        self.origin, self.spacing = self.vector("origin"), self.vector("spacing")
        self.direction, self.affine = self.square(), self.matrix()


def _lengths(matrix: Array) -> Array:
    import numpy as np

    found: Array = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    return found


def _other_world(affine: Array) -> Array:
    """Return an affine in LPS+ if it is in RAS+, and the other way round."""
    return AffineMatrix(affine).to_lps().numpy()


def _sound(affine: Array) -> bool:
    try:
        return not AffineMatrix(affine).is_singular
    except GeometryError:
        return False


def _sizes(shape: Any) -> tuple[int, ...] | None:
    """Return a shape as a tuple of integers, None where it is none."""
    try:
        found = tuple(shape)
    except TypeError:
        return None
    return tuple(int(size) for size in found) if all(hasattr(size, "__index__") for size in found) else None


def _row(values: Any) -> str:
    """Write numbers shortly."""
    return f"({', '.join(f'{float(value):.6g}' for value in values)})"


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

"""Members of an image that need nothing but its header: where it lies, its time axis, its key-values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, StateError
from medimg_cli.sources.placing import with_affine

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.grid import Grid
    from medimg_cli.header import Header

__all__ = ["Located", "Metadata", "plain_value"]

Vector = tuple[float, float, float]
Pair = tuple[float, float]

_OPPOSITE = dict(zip("LRPAISTBDV", "RLAPSIBTVD", strict=True))


class Located:
    """What a header says of place and time; whoever mixes it in has a ``header`` and can replace it."""

    @property
    def header(self) -> Header:
        """Everything that is known of the image but its voxels."""
        raise NotImplementedError

    def _replace_header(self, header: Header) -> None:
        raise NotImplementedError

    # -- how many

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Channels, and voxels along i, j, k: (C, I, J, K)."""
        return self.header.shape

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    @property
    def spatial_shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.header.spatial_shape

    @property
    def num_channels(self) -> int:
        """Number of channels, C."""
        return self.header.channels

    def is_2d(self) -> bool:
        """Tell whether the image has a single slice (K is 1)."""
        return self.shape[-1] == 1

    @property
    def width(self) -> int:
        """Voxels along i of an image with a single slice.

        Raises
        ------
        StateError
            If it has several slices.
        """
        return self._flat()[0]

    @property
    def height(self) -> int:
        """Voxels along j of an image with a single slice.

        Raises
        ------
        StateError
            If it has several slices.
        """
        return self._flat()[1]

    def _flat(self) -> tuple[int, int, int]:
        if not self.is_2d():
            raise StateError(f"the image is not 2D, its spatial shape is {self.spatial_shape}")
        return self.spatial_shape

    # -- where

    @property
    def affine(self) -> AffineMatrix:
        """The map from voxel indices to RAS+ mm.

        Setting it gives the image a new frozen affine; no voxel is touched. Both NIfTI forms become it and
        keep their codes (where both were 0, the sform gets code 2).
        """
        return self.header.affine

    @affine.setter
    def affine(self, affine: Any) -> None:
        self._replace_header(with_affine(self.header, AffineMatrix(affine)))

    @property
    def grid(self) -> Grid:
        """Spatial shape and affine."""
        return self.header.grid

    @property
    def spacing(self) -> Vector:
        """Voxel size along i, j, k in mm. Setting it keeps origin and direction."""
        return self.affine.spacing

    @spacing.setter
    def spacing(self, spacing: Any) -> None:
        self.affine = self.affine.with_spacing(spacing)

    @property
    def origin(self) -> Vector:
        """Centre of voxel (0, 0, 0) in RAS+ mm. Setting it moves the image."""
        return self.affine.origin

    @origin.setter
    def origin(self, origin: Any) -> None:
        self.affine = self.affine.with_origin(origin)

    @property
    def direction(self) -> tuple[Vector, Vector, Vector]:
        """Unit vectors of i, j, k as the columns of a 3 x 3 matrix. Setting it keeps spacing and origin."""
        return self.affine.direction

    @direction.setter
    def direction(self, direction: Any) -> None:
        self.affine = self.affine.with_direction(direction)

    @property
    def orientation(self) -> tuple[str, str, str]:
        """Letters of the directions that i, j, k run to."""
        return self.affine.orientation

    @property
    def bounds(self) -> np.ndarray[Any, Any]:
        """Centres of the first and of the last voxel in RAS+ mm, (2, 3)."""
        import numpy as np

        return np.array(self.grid.bounds)

    def get_bounds(self) -> tuple[Pair, Pair, Pair]:
        """Return the lowest and highest x, y and z in RAS+ mm that the voxels occupy."""
        return self.grid.box

    def get_center(self, lps: bool = False) -> Vector:
        """Return the centre of the image in mm.

        Parameters
        ----------
        lps : bool
            Whether to count in LPS+ instead of RAS+.
        """
        center: Vector = AffineMatrix.between("RAS", "LPS" if lps else "RAS").apply(self.grid.center)
        return center

    def axis_name_to_index(self, name: str) -> int:
        """Return the voxel axis along a direction, counted from the end: -3, -2 or -1 for i, j, k.

        Parameters
        ----------
        name : str
            ``"Left"``, ``"right"``, ``"A"``, ``"posterior"`` ...: the first letter counts. ``"Top"`` and
            ``"Bottom"`` are j.

        Raises
        ------
        GeometryError
            If it is none of these.
        """
        if not isinstance(name, str):
            raise GeometryError(f"axis name is {name!r}, expected a string")
        letter = name[:1].upper()
        if letter in ("T", "B"):
            return -2
        letters = self.orientation
        for each in (letter, self.flip_axis(letter or "?")):
            if each in letters:
                return letters.index(each) - 3
        raise GeometryError(f"axis name is {name!r}, expected left, right, anterior, posterior, inferior, superior")

    @staticmethod
    def flip_axis(name: str) -> str:
        """Return the letter of the opposite direction.

        Raises
        ------
        GeometryError
            If the name begins with none of L, R, P, A, I, S, T, B, D, V.

        Examples
        --------
        >>> Located.flip_axis("left"), Located.flip_axis("S")
        ('R', 'I')
        """
        try:
            return _OPPOSITE[name[:1].upper()]
        except (KeyError, TypeError):
            raise GeometryError(f"Axis not understood: {name!r}", hint="use one of " + ", ".join(_OPPOSITE)) from None

    # -- when

    @property
    def time_steps(self) -> int:
        """Number of steps on the time axis, 1 where there is none."""
        return next((size for kind, size in self.header.axes if kind == "time"), 1)

    @property
    def time_spacing(self) -> float | None:
        """Seconds between two steps on the time axis.

        Setting it where the channels are of no known kind makes them time steps.
        """
        return self.header.time_spacing

    @time_spacing.setter
    def time_spacing(self, seconds: float | None) -> None:
        header = self.header
        plain = header.axes in ((), (("channel", header.channels),))
        axes = (("time", header.channels),) if seconds is not None and plain else header.axes
        self._replace_header(header.replace(time_spacing=None if seconds is None else float(seconds), axes=axes))


class Metadata(MutableMapping[str, Any]):
    """The key-values of an image; writing one writes it into the image's header.

    Parameters
    ----------
    read : callable
        Returns the present key-values.
    write : callable
        Takes the new ones.
    """

    def __init__(self, read: Any, write: Any) -> None:
        self._read, self._write = read, write

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._write({**self._read(), str(key): plain_value(key, value)})

    def __delitem__(self, key: str) -> None:
        kept = dict(self._read())
        del kept[key]
        self._write(kept)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(dict(self._read()))


def plain_value(key: str, value: Any) -> Any:
    """Return a key's value as text, a number, a bool, None, or lists and mappings of them.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    >>> plain_value("te", (1, 2.5))
    [1, 2.5]
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return value.tolist()
    if hasattr(value, "__fspath__"):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain_value(key, item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain_value(key, item) for item in value]
    raise TypeError(f"metadata {key!r} is a {type(value).__name__}, expected text, numbers, bools or lists of them")

"""What people ask for in words on a command line; each request becomes an operation once it meets an image.

A request is an operation of which only ``prepare`` matters: it returns the operation proper, so that history
never holds a word that somebody would have to parse again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from medimg_cli.dtypes import integer_range, is_integer
from medimg_cli.errors import UsageError
from medimg_cli.operations.protocol import Request
from medimg_cli.operations.slicing import Slice
from medimg_cli.orientation import nearest_axis

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.operations.cast import Cast
    from medimg_cli.operations.protocol import Operation

__all__ = ["CastRequest", "IndexRequest", "PlaceRequest"]

#: What NumPy, C and FSL call by one name, with the sizes that they mean.
_SIZES = {"float": ("32", "64"), "int": ("16", "32", "64"), "uint": ("16", "32", "64"), "complex": ("64", "128")}


@dataclass(frozen=True, slots=True)
class IndexRequest(Request):
    """A selection in NumPy's syntax on (C, I, J, K).

    Parameters
    ----------
    text : str
        Such as ``[0, 10:50, :, ::2]``; the brackets may be left out.

    Raises
    ------
    UsageError
        If the text is no such selection.

    Examples
    --------
    >>> IndexRequest("[0, ..., ::-2]").items
    (0, Ellipsis, slice(None, None, -2))
    """

    text: str

    def __post_init__(self) -> None:
        _ = self.items

    @property
    def items(self) -> tuple[Any, ...]:
        """The selection as Python's ints, slices and Ellipsis."""
        text = self.text.strip()
        if text.startswith("[") and text.endswith("]"):
            text = text[1:-1]
        return tuple(self._item(word.strip()) for word in text.removesuffix(",").split(","))

    def _item(self, word: str) -> Any:
        if word == "...":
            return Ellipsis
        try:
            parts = [int(part) if part.strip() else None for part in word.split(":")]
        except ValueError:
            parts = []
        if len(parts) == 1 and parts[0] is not None:
            return parts[0]
        if len(parts) in (2, 3) and parts[2:] != [0]:
            return slice(*parts)
        raise UsageError(f"--index {self.text}: {word!r} is no index", hint="write it as in '[0, 10:50, :, ::2]'")

    def prepare(self, source: Backend) -> Slice:
        """Return the slice of an image with the shape of ``source``.

        Raises
        ------
        RegionError
            If the index lies outside or selects nothing.
        """
        return Slice.of(self.items, source.header.shape)


@dataclass(frozen=True, slots=True)
class PlaceRequest(Request):
    """One slice across an anatomical axis.

    Parameters
    ----------
    letter : str
        R, L, A, P, S or I. On an oblique image the storage axis nearest to it is meant.
    place : str
        ``50%`` of the extent that the voxels occupy, growing towards the letter; ``12mm``, the world
        coordinate of that axis (RAS+); or ``88``, a voxel counted towards the letter.

    Raises
    ------
    UsageError
        If either makes no sense.
    """

    letter: str
    place: str

    def __post_init__(self) -> None:
        nearest_axis(((1, 0, 0), (0, 1, 0), (0, 0, 1)), self.letter)  # refuses other letters
        object.__setattr__(self, "letter", self.letter.upper())
        _ = self.parts

    @property
    def parts(self) -> tuple[float, Literal["%", "mm", ""]]:
        """The place as a number and its unit."""
        text = self.place.strip().lower()
        units: tuple[Literal["%", "mm"], ...] = ("%", "mm")
        for unit in units:
            if text.endswith(unit):
                return self._number(text.removesuffix(unit)), unit
        number = self._number(text)
        if number != int(number):
            raise UsageError(f"--at {self.place}: a voxel is a whole number", hint="write 50%, 12mm or 88")
        return number, ""

    def _number(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not abs(number) < 1e9:
            raise UsageError(f"--at {self.place} is no place", hint="write 50%, 12mm or 88")
        return number

    def prepare(self, source: Backend) -> Slice:
        """Return the slice of an image with the grid of ``source``.

        Raises
        ------
        UsageError
            If the place lies outside the image; says what lies inside.
        """
        grid = source.header.grid
        axis, sign = nearest_axis(grid.affine.rows, self.letter)
        size = grid.shape[axis]
        number, unit = self.parts
        if unit == "%":
            voxel = min(int(number / 100 * size), size - 1) if 0 <= number <= 100 else -1
        elif unit == "mm":
            voxel = self._at_mm(number, source, axis, sign)
        else:
            voxel = int(number) if number >= 0 else size + int(number)
        if not 0 <= voxel < size:
            raise UsageError(f"--at {self.place} lies outside", hint=self._inside(source, axis, sign))
        index: list[Any] = [slice(None)] * 4
        index[axis + 1] = voxel if sign > 0 else size - 1 - voxel
        return Slice.of(tuple(index), source.header.shape)

    def _world_axis(self) -> int:
        return "RLAPSI".index(self.letter) // 2

    def _at_mm(self, number: float, source: Backend, axis: int, sign: int) -> int:
        """Return the voxel towards the letter whose slice passes nearest, at the centre of the field of view."""
        grid = source.header.grid
        middle = [(n - 1) / 2 for n in grid.shape]
        step = grid.affine[self._world_axis(), axis]
        if not step:
            raise UsageError(
                f"--at {self.place}: no voxel axis of this image runs towards {self.letter}", hint="give a voxel or a %"
            )
        there = middle[axis] + (number - grid.center[self._world_axis()]) / step
        return round(there) if sign > 0 else grid.shape[axis] - 1 - round(there)

    def _inside(self, source: Backend, axis: int, sign: int) -> str:
        grid = source.header.grid
        half = (grid.shape[axis] - 1) / 2 * abs(grid.affine[self._world_axis(), axis])
        middle = grid.center[self._world_axis()]
        last = grid.shape[axis] - 1
        return f"along {self.letter} it has voxels 0 to {last}, {middle - half:.4g} to {middle + half:.4g} mm"


@dataclass(frozen=True, slots=True)
class CastRequest(Request):
    """A change of dtype or range.

    Parameters
    ----------
    dtype : str, optional
        Wanted stored type; the image's own where None.
    rescale : str, optional
        ``MIN:MAX``, or ``full`` for the whole range of the type with slope and inter.
    clip, rounded : bool
        What the cast may do to values.
    without_slope : bool
        Whether ``rescale`` stands in for a slope that the output cannot hold.

    Raises
    ------
    UsageError
        If ``rescale`` is neither, or ``dtype`` is none, or one whose size depends on whom one asks.
    """

    dtype: str | None = None
    rescale: str | None = None
    clip: bool = False
    rounded: bool = False
    without_slope: bool = False

    def __post_init__(self) -> None:
        _ = self.range
        if self.dtype in _SIZES:
            hint = f"write {' or '.join(self.dtype + size for size in _SIZES[self.dtype])}"
            raise UsageError(f"--dtype {self.dtype} has another size in every program", hint=hint)
        if self.dtype is not None:
            from medimg_cli.operations.cast import dtype_name

            object.__setattr__(self, "dtype", dtype_name(self.dtype))

    @property
    def range(self) -> Any:
        """The range as :class:`~medimg_cli.operations.cast.Cast` takes it."""
        if self.rescale in (None, "full"):
            return self.rescale == "full" or None
        low, colon, high = str(self.rescale).partition(":")
        try:
            if colon and float(low) < float(high):
                return float(low), float(high)
        except ValueError:
            pass
        hint = "write MIN:MAX, the smaller one first, or --rescale alone"
        raise UsageError(f"--rescale {self.rescale} is no range", hint=hint)

    def for_target(self, header: Header, path: str) -> CastRequest:
        """Return the request for an output of that name: one without slope gets the whole range as values."""
        if self.rescale != "full":
            return self
        from medimg_cli.formats.writing import keeps_slope

        dtype = self.dtype or header.dtype
        if not is_integer(dtype) or keeps_slope(header.replace(dtype=dtype), path):
            return self
        low, high = integer_range(dtype)
        return replace(self, rescale=f"{low}:{high}", without_slope=True)

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say that the values themselves are rescaled where the output has no slope."""
        return (f"the output has no slope, so the values themselves become {self.rescale}",) * self.without_slope

    def prepare(self, source: Backend) -> Cast:
        """Return the cast for an image, its range found and its losses refused.

        Raises
        ------
        UsageError
            If whole numbers should get another range and nobody says of which type.
        CastError
            If the cast would lose what no option allows.
        """
        from medimg_cli.operations.cast import Cast

        dtype = self.dtype or source.header.dtype
        if self.dtype is None and isinstance(self.range, tuple) and is_integer(dtype) and not self.rounded:
            raise UsageError(
                f"--rescale {self.rescale} would round to whole numbers, it is stored as {dtype}",
                hint="add --dtype float32 to keep fractions, or --round",
            )
        return Cast(dtype, round=self.rounded, clip=self.clip, rescale=self.range).prepare(source)

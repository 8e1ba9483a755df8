"""Amounts and ranges along voxel axes, as people write them: voxels (``10``), ``10mm``, ``5%`` of the extent.

Places are rounded to whole voxels by `down` and `up`: the caller knows in which direction nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.orientation import nearest_axis

if TYPE_CHECKING:
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header

__all__ = [
    "SLACK",
    "Amount",
    "Ends",
    "Margins",
    "Range",
    "amounts",
    "down",
    "paired",
    "refuse_absurd",
    "three",
    "times",
    "up",
]

#: Voxels by which a place may miss a whole number and still be it: affines in files are float32.
SLACK = 1e-3

#: Bytes of an image that somebody means to have.
_MOST = 10**12

#: Voxels at the low and high ends of i, j, k.
Ends = tuple[tuple[int, int], ...]
Unit = Literal["%", "mm", ""]


class Amount(NamedTuple):
    """A length or a place along an axis, as somebody wrote it.

    Parameters
    ----------
    number : float
    unit : str
        "mm", "%" or "" for voxels.
    """

    number: float
    unit: Unit

    @classmethod
    def parse(cls, text: str, option: str, *, signed: bool = False) -> Amount:
        """Read an amount.

        Parameters
        ----------
        text : str
        option : str
            Whose value it is, for messages.
        signed : bool
            Whether it is a place, which may be negative.

        Raises
        ------
        UsageError
            If it is no amount, or one of voxels with a fraction.

        Examples
        --------
        >>> Amount.parse("2.5 mm", "--by"), Amount.parse("10", "--by").unit
        (Amount(number=2.5, unit='mm'), '')
        """
        word = text.strip().lower()
        unit: Unit = "mm" if word.endswith("mm") else "%" if word.endswith("%") else ""
        try:
            number = float(word.removesuffix(unit))
        except ValueError:
            number = float("nan")
        if not abs(number) < 1e9 or (number < 0 and not signed) or (not unit and number != int(number)):
            raise UsageError(
                f"{option} {text}: this is no {'place' if signed else 'amount'}",
                hint="write 10 (whole voxels), 10mm or 5%" + ("" if signed else ", none of them negative"),
            )
        return cls(number, unit)

    def voxels(self, grid: Grid, axis: int) -> float:
        """Return how many voxels along an axis it is, with fractions.

        Raises
        ------
        GeometryError
            If it is in mm, and the axis has no length.
        """
        if self.unit == "mm":
            if not grid.spacing[axis]:
                raise GeometryError(f"axis {'ijk'[axis]} has no length in mm", hint="give voxels or a %")
            return self.number / grid.spacing[axis]
        return self.number * grid.shape[axis] / 100 if self.unit else self.number

    def __str__(self) -> str:
        return f"{self.number:g}{self.unit}"


def amounts(text: str, option: str) -> tuple[tuple[Amount, Amount], ...]:
    """Read what comes off or on at both ends of all axes: one amount or ``LO:HI``, or three with commas between them.

    Raises
    ------
    UsageError
        If it is anything else.

    Examples
    --------
    >>> [f"{low} {high}" for low, high in amounts("10:20,0,5mm:0", "--by")]
    ['10 20', '0 0', '5mm 0']
    """
    words = text.split(",")
    pairs = []
    for word in words:
        low, colon, high = word.partition(":")
        first = Amount.parse(low, option)
        pairs.append((first, Amount.parse(high, option) if colon else first))
    if len(pairs) not in (1, 3):
        raise UsageError(
            f"{option} {text} is {len(pairs)} amounts",
            hint="give one for all axes, or three for i, j and k, such as 10,0,5mm:20",
        )
    return tuple(pairs * 3 if len(pairs) == 1 else pairs)


@dataclass(frozen=True)
class Margins:
    """Amounts at the ends of axes, by axis or by anatomy.

    Parameters
    ----------
    by : tuple of str
        One text as `amounts` reads it, or one amount for each letter.
    axis : tuple of str
        R, L, A, P, S or I: the end of the voxel axis nearest to it.
    option : str
        Whose values they are, for messages.

    Raises
    ------
    UsageError
        If an amount or a letter is none, or they do not go in pairs.

    Examples
    --------
    >>> from medimg_cli.grid import Grid
    >>> Margins(("2mm", "10%"), ("I", "R")).ends(Grid((30, 20, 10)), down)
    ((0, 3), (0, 0), (2, 0))
    """

    by: tuple[str, ...]
    axis: tuple[str, ...] = ()
    option: str = "--by"

    def __post_init__(self) -> None:
        if not self.axis:
            if len(self.by) != 1:
                raise UsageError("--by is given twice", hint="give --axis with each, as in --axis S --by 30mm")
            _ = self._everywhere
        else:
            paired(self.axis, self.by, "--by")
            _ = self._at_letters

    @property
    def _everywhere(self) -> tuple[tuple[Amount, Amount], ...]:
        return amounts(self.by[0], self.option)

    @property
    def _at_letters(self) -> dict[str, Amount]:
        """The amount at each end that a letter names."""
        found = {}
        for letter, text in zip(self.axis, self.by, strict=True):
            if ":" in text or "," in text:
                hint = f"with --axis give one amount, for the end at {letter}; repeat both for another end"
                raise UsageError(f"--by {text}: this is more than one amount", hint=hint)
            found[letter] = Amount.parse(text, "--by")
        return found

    def found(self, grid: Grid) -> list[list[Amount]]:
        """Return the amounts at the low and high ends of i, j and k of a grid."""
        if not self.axis:
            return [list(pair) for pair in self._everywhere]
        ends = [[Amount(0.0, ""), Amount(0.0, "")] for _ in range(3)]
        for letter, amount in self._at_letters.items():
            axis, sign = nearest_axis(grid.affine.rows, letter)
            ends[axis][sign > 0] = amount
        return ends

    def ends(self, grid: Grid, rounded: Callable[[float], int]) -> Ends:
        """Return whole voxels at the ends of the axes of a grid."""
        found = enumerate(self.found(grid))
        return tuple((rounded(lo.voxels(grid, axis)), rounded(hi.voxels(grid, axis))) for axis, (lo, hi) in found)

    def uneven(self, grid: Grid, rounded: Callable[[float], int]) -> str | None:
        """Say what came of amounts that are no whole number of voxels; None where all are."""
        parts = []
        for axis, (pair, whole) in enumerate(zip(self.found(grid), self.ends(grid, rounded), strict=True)):
            for amount, count in dict(zip(pair, whole, strict=True)).items():
                if abs(amount.voxels(grid, axis) - count) > SLACK:
                    parts.append(f"{amount} along {'ijk'[axis]} is {count} ({count * grid.spacing[axis]:.4g} mm)")
        return "in whole voxels " + ", ".join(parts) if parts else None


def down(voxels: float) -> int:
    """Return the whole number of voxels below, or the one that it only just misses.

    >>> down(2.9), down(2.9999)
    (2, 3)
    """
    return floor(voxels + SLACK)


def up(voxels: float) -> int:
    """Return the whole number of voxels above, or the one that it only just misses.

    >>> up(3.1), up(3.0001)
    (4, 3)
    """
    return ceil(voxels - SLACK)


def paired(letters: Sequence[str], values: Sequence[str], option: str) -> None:
    """Refuse letters that are none, or twice the same, or not one for each value."""
    for letter in letters:
        nearest_axis(((1, 0, 0), (0, 1, 0), (0, 0, 1)), letter)
    if len(letters) != len(values):
        hint = f"give them in pairs, as in --axis S {option} {'20%:80%' if option == '--keep' else '30mm'}"
        raise UsageError(f"--axis is given {len(letters)} and {option} {len(values)} times", hint=hint)
    ends = ["RLAPSI".index(letter.upper()) // (2 if option == "--keep" else 1) for letter in letters]
    if len(set(ends)) < len(ends):
        what = "axis" if option == "--keep" else "end"
        raise UsageError(f"--axis {' '.join(letters)} names one {what} twice", hint=f"give one {option} for each")


@dataclass(frozen=True)
class Range:
    """A range along the axis nearest to a letter, growing towards it.

    Parameters
    ----------
    letter : str
        R, L, A, P, S or I.
    text : str
        ``FROM:TO``; either may be left out. Voxels count as in a slice: the last one is not kept, negative ones count
        from the end. mm are world coordinates (RAS+) of the centre of the field of view, % are of the extent. Every
        voxel that the range touches is kept.

    Raises
    ------
    UsageError
        If it is no range.

    Examples
    --------
    >>> from medimg_cli.grid import Grid
    >>> grid = Grid((30, 20, 10))
    >>> Range("S", "25%:-1").ends(grid), Range("I", "25%:-1").ends(grid), Range("L", "3mm:5mm").ends(grid)
    ((2, 2, 1), (2, 1, 2), (0, 3, 24))
    """

    letter: str
    text: str

    def __post_init__(self) -> None:
        _ = self.places

    @property
    def places(self) -> tuple[Amount | None, Amount | None]:
        """Where the range begins and ends; None is the end of the image."""
        low, colon, high = self.text.partition(":")
        if not colon:
            raise UsageError(f"--keep {self.text} is no range", hint="write FROM:TO, such as 20%:80% or -30mm:50mm")
        option = f"--keep {self.text}:"
        first, last = (Amount.parse(each, option, signed=True) if each.strip() else None for each in (low, high))
        for place in (first, last):
            if place is not None and place.unit == "%" and not 0 <= place.number <= 100:
                raise UsageError(f"--keep {self.text}: percents go from 0 to 100")
        return first, last

    def edges(self, grid: Grid) -> tuple[int, int, float, float]:
        """Return the voxel axis, +1 where it grows towards the letter or -1, and both places, in voxels.

        Places count from the face of the image that lies farthest from the letter, towards the letter.
        """
        axis, sign = nearest_axis(grid.affine.rows, self.letter)
        size = grid.shape[axis]
        first, last = self.places
        low = 0.0 if first is None else self._edge(first, grid, axis, sign)
        high = float(size) if last is None else self._edge(last, grid, axis, sign)
        if first is not None and last is not None and first.unit == last.unit == "mm" and low > high:
            low, high = high, low  # world coordinates fall towards L, P and I
        return axis, sign, low, high

    def _edge(self, place: Amount, grid: Grid, axis: int, sign: int) -> float:
        size = grid.shape[axis]
        if place.unit == "mm":
            world = "RLAPSI".index(self.letter.upper()) // 2
            step = grid.affine[world, axis]
            if not step:
                hint = "give voxels or a %"
                raise UsageError(f"--keep {self.text}: no voxel axis runs towards {self.letter}", hint=hint)
            there = (size - 1) / 2 + (place.number - grid.center[world]) / step
            return (there if sign > 0 else size - 1 - there) + 0.5
        if place.unit == "%":
            return place.voxels(grid, axis)
        return place.number if place.number >= 0 else size + place.number

    def ends(self, grid: Grid) -> tuple[int, int, int]:
        """Return the axis, and the voxels to take off at its low and high end.

        Raises
        ------
        GeometryError
            If nothing would be left, or voxels are meant that the image does not have.
        """
        axis, sign, low, high = self.edges(grid)
        size = grid.shape[axis]
        voxels = [place for place in self.places if place is not None and not place.unit]
        if any(not -size <= place.number <= size for place in voxels):
            raise GeometryError(f"--keep {self.text} lies outside", hint=self._inside(grid, axis))
        start, stop = max(0, down(low)), min(size, up(high))
        if start >= stop:
            raise GeometryError(f"--keep {self.text} holds nothing of the image", hint=self._inside(grid, axis))
        return (axis, start, size - stop) if sign > 0 else (axis, size - stop, start)

    def _inside(self, grid: Grid, axis: int) -> str:
        world = "RLAPSI".index(self.letter.upper()) // 2
        middle, half = grid.center[world], abs(grid.affine[world, axis]) * grid.shape[axis] / 2
        reach = f"{middle - half:.4g} to {middle + half:.4g} mm"
        return f"along {self.letter} it has {grid.shape[axis]} voxels, {reach}"

    def short(self, grid: Grid) -> str | None:
        """Say by how much the range is longer than the image; None where it is not."""
        axis, _, low, high = self.edges(grid)
        beyond = max(-low, high - grid.shape[axis]) * grid.spacing[axis]
        if beyond <= SLACK * grid.spacing[axis]:
            return None
        return f"--keep {self.text} reaches {beyond:.4g} mm beyond the image, which is not padded"


def three(text: str, option: str, kind: type[float] | type[int] = float) -> tuple[Any, Any, Any]:
    """Read one number for all three axes, or three with commas between them.

    Raises
    ------
    UsageError
        If it is anything else, or a number is not positive.

    Examples
    --------
    >>> three("2", "--spacing"), three("64, 64,32", "--size", int)
    ((2.0, 2.0, 2.0), (64, 64, 32))
    """
    words = text.replace("x", " ").replace(",", " ").split()
    try:
        numbers = [kind(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(0 < number < float("inf") for number in numbers):
        example = "1 or 1,1,2.5" if kind is float else "128 or 128,128,64"
        raise UsageError(f"{option} {text} is not one or three positive numbers", hint=f"write {option} {example}")
    i, j, k = numbers * 3 if len(numbers) == 1 else numbers
    return i, j, k


def refuse_absurd(header: Header, grid: Grid, *, hint: str) -> None:
    """Refuse a grid on which an image would take more than a terabyte.

    Raises
    ------
    UsageError
        With the hint.
    """
    size = prod(grid.shape) * header.channels * header.itemsize
    if size > _MOST:
        raise UsageError(f"it would have {times(grid.shape)} voxels, {size / 1e12:.3g} TB", hint=hint)


def times(sizes: Iterable[int]) -> str:
    """Write a shape.

    >>> times((4, 5, 6))
    '4 x 5 x 6'
    """
    return " x ".join(map(str, sizes))

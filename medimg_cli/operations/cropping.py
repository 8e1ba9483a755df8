"""What ``medimg crop`` and ``medimg pad`` are asked for, and what becomes of it once it meets an image.

What is not a whole number of voxels is rounded so that nothing is lost that was not given away: a crop takes off no
more than it was told to, a pad adds no less, a range and a box keep every voxel that they touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.labels import LabelTable
from medimg_cli.operations.amounts import SLACK, Ends, Margins, Range, down, paired, refuse_absurd, three, times, up
from medimg_cli.operations.crop import Crop, CropOrPad
from medimg_cli.operations.pad import Pad, filled_with
from medimg_cli.operations.protocol import Operation, Request, Step

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header

__all__ = ["CropRequest", "PadRequest", "label_value"]

#: Low and high face along i, j, k of a grid, in voxels: voxel n reaches from n to n + 1.
Box = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Mask:
    """The box of a mask, which may lie on another grid.

    Parameters
    ----------
    path : str
    label : str, optional
        A value or a name, where not all that is neither 0 nor NaN is meant.

    Notes
    -----
    Where it lies on a grid is kept: the images of a batch often share both.
    """

    path: str
    label: str | None = None
    _boxes: dict[Any, Box] = field(default_factory=dict, compare=False, repr=False)

    def box(self, grid: Grid) -> Box:
        """Return how far the voxels of the mask reach on a grid, face to face; voxel n goes from n to n + 1.

        Raises
        ------
        MedImgError
            If the mask cannot be read, has no such label, is empty, or lies outside.
        """
        if grid not in self._boxes:
            self._boxes[grid] = self._find(grid)
        return self._boxes[grid]

    def _find(self, grid: Grid) -> Box:
        from medimg_cli.formats import open_backend
        from medimg_cli.statistics.boxes import is_something, reach

        mask = open_backend(self.path)
        try:
            value = None if self.label is None else label_value(self.label, mask.header)
        except UsageError as error:
            raise error.at(self.path) from None
        move = grid.affine.inverse() @ mask.header.grid.affine
        centres = reach(mask, move.rows[:3], is_something if value is None else lambda values: values == value)
        if centres is None:
            what = "nothing but 0" if self.label is None else f"no voxel of label {self.label}"
            raise GeometryError(f"the mask holds {what}", path=self.path)
        halves = [sum(abs(step) for step in row[:3]) / 2 for row in move.rows[:3]]
        box = tuple((low - half + 0.5, high + half + 0.5) for (low, high), half in zip(centres, halves, strict=True))
        for (low, high), size, spacing, name in zip(box, grid.shape, grid.spacing, "ijk", strict=True):
            gap = max(-high, low - size)
            if gap > -SLACK:
                raise GeometryError(
                    f"the mask lies outside the image, {max(gap, 0.0) * spacing:.4g} mm beyond it along {name}",
                    path=self.path,
                    hint="the two do not lie in one space; see 'medimg info' of both",
                )
        return box

    def short(self, grid: Grid) -> str | None:
        """Say by how much the mask reaches beyond the image; None where it does not."""
        box = zip(self.box(grid), grid.shape, grid.spacing, strict=True)
        beyond = max(max(-low, high - size) * spacing for (low, high), size, spacing in box)
        if beyond <= SLACK * max(grid.spacing):
            return None
        return f"the mask reaches {beyond:.4g} mm beyond the image, which is not padded"


def label_value(label: str, header: Header) -> int:
    """Return the value of a label that is given by number or by name.

    Raises
    ------
    UsageError
        If the image has no table that knows the name, or several labels have it.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.header import Header
    >>> table = LabelTable({5: "liver", 7: "spleen"})
    >>> label_value("Liver", Header(shape=(1, 2, 2, 2), dtype="uint8", affine=AffineMatrix(), labels=table))
    5
    """
    try:
        number = float(label)
    except ValueError:
        number = float("nan")
    return int(number) if number.is_integer() else (header.labels or LabelTable()).value_of(label)


def _grown(box: Box, margin: str | None, grid: Grid) -> Ends:
    """Return what to take off so that a box and a margin are left, as far as the image goes."""
    wide = Margins((margin or "0",), option="--margin").ends(grid, up)
    ends = []
    for (low, high), (before, after), size in zip(box, wide, grid.shape, strict=True):
        ends.append((max(0, down(low) - before), max(0, size - up(high) - after)))
    return tuple(ends)


class _Resizing(Request):
    """The words that both commands understand."""

    by: Sequence[str]
    axis: Sequence[str]
    to_multiple: str | None
    to_shape: str | None

    @cached_property
    def _margins(self) -> Margins | None:
        return Margins(tuple(self.by), tuple(self.axis)) if self.by else None

    @cached_property
    def _numbers(self) -> tuple[int, int, int] | None:
        """Voxels along i, j, k, or what they shall be a multiple of."""
        if self.to_multiple is not None:
            return three(self.to_multiple, "--to-multiple", int)
        return None if self.to_shape is None else three(self.to_shape, "--to-shape", int)


@dataclass(frozen=True)
class CropRequest(_Resizing):
    """What to keep of an image, in one of several ways.

    Parameters
    ----------
    by : sequence of str
        Amounts off the ends; one for each letter in ``axis``, if there are any.
    axis : sequence of str
        R, L, A, P, S or I: the end of the nearest voxel axis.
    keep : sequence of str
        Ranges ``FROM:TO`` along the axes nearest to ``axis``, growing towards the letter. Voxels count as in a slice,
        so that the last one is not kept; mm are world coordinates; % are of the extent.
    to_mask : str, optional
        An image; the box of its voxels that are not 0 is kept, or of those with ``label``, a value or a name.
    to_nonzero : bool
        Keep the box of the voxels that are neither 0 nor NaN, in any channel.
    margin : str, optional
        With the last two: amounts that the box is larger by.
    to_multiple : str, optional
        Keep the largest number of voxels that is a multiple, about the centre.
    to_shape : str, optional
        Keep that number of voxels about the centre.
    or_pad : bool
        Whether ``to_shape`` pads an image that is smaller.

    Raises
    ------
    UsageError
        If not exactly one way is given, or one makes no sense.
    """

    by: Sequence[str] = ()
    axis: Sequence[str] = ()
    keep: Sequence[str] = ()
    to_mask: str | None = None
    label: str | None = None
    to_nonzero: bool = False
    margin: str | None = None
    to_multiple: str | None = None
    to_shape: str | None = None
    or_pad: bool = False

    def __post_init__(self) -> None:
        ways = {
            "--by": bool(self.by),
            "--keep": bool(self.keep),
            "--to-mask": self.to_mask is not None,
            "--to-nonzero": self.to_nonzero,
            "--to-multiple": self.to_multiple is not None,
            "--to-shape": self.to_shape is not None,
        }
        way = _only(ways, "as in --by 10mm, or --to-mask MASK --margin 5mm")
        _belongs("--axis", bool(self.axis), way, ("--by", "--keep"))
        _belongs("--label", self.label is not None, way, ("--to-mask",))
        _belongs("--margin", self.margin is not None, way, ("--to-mask", "--to-nonzero"))
        _belongs("--or-pad", self.or_pad, way, ("--to-shape",))
        _ = self._margins, self._ranges, self._mask, self._numbers
        if self.margin is not None:
            Margins((self.margin,), option="--margin")

    @cached_property
    def _ranges(self) -> tuple[Range, ...]:
        if self.keep:
            paired(self.axis, self.keep, "--keep")
        return tuple(Range(letter, text) for letter, text in zip(self.axis, self.keep, strict=False))

    @cached_property
    def _mask(self) -> _Mask | None:
        return None if self.to_mask is None else _Mask(self.to_mask, self.label)

    def prepare(self, source: Backend) -> Crop | CropOrPad:
        """Return the crop of an image.

        Raises
        ------
        MedImgError
            If nothing would be left, the image is too small, or a mask cannot be read, is empty or lies outside.
        """
        grid = source.header.grid
        if self._numbers is not None:
            shaped = CropOrPad(self._shape(grid, self._numbers))
            refuse_absurd(source.header, shaped.plan(source.header).grid_after, hint="give a smaller --to-shape")
            return shaped
        if self._margins is not None:
            return Crop(self._margins.ends(grid, down))
        if self._ranges:
            ends = [(0, 0)] * 3
            for each in self._ranges:
                axis, low, high = each.ends(grid)
                ends[axis] = low, high
            return Crop(tuple(ends))
        return Crop(_grown(self._mask.box(grid) if self._mask else _nonzero(source), self.margin, grid))

    def _shape(self, grid: Grid, numbers: tuple[int, int, int]) -> tuple[int, ...]:
        for name, size, number in zip("ijk", grid.shape, numbers, strict=True):
            if size < number and not self.or_pad:
                option = "multiple" if self.to_multiple else "shape"
                raise UsageError(
                    f"--to-{option} {self.to_multiple or self.to_shape}: it has only {size} voxels along {name}",
                    hint="use 'medimg pad', or give 1 for that axis" if self.to_multiple else "add --or-pad",
                )
        if self.to_multiple is None:
            return numbers
        return tuple(size // number * number for size, number in zip(grid.shape, numbers, strict=True))

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say what is left, and what was asked for but could not be."""
        grid = header.grid
        more = [each.short(grid) for each in (*self._ranges, self._mask) if each is not None]
        if self._margins is not None:
            more.append(self._margins.uneven(grid, down))
        if self.margin is not None:
            more.append(Margins((self.margin,), option="--margin").uneven(grid, up))
        return (_told(operation.plan(header)), *(sentence for sentence in more if sentence))


@dataclass(frozen=True)
class PadRequest(_Resizing):
    """What to add to an image, in one of several ways.

    Parameters
    ----------
    by, axis, to_multiple, to_shape
        As in `CropRequest`: amounts to add, the smallest multiple that holds the image, the shape wanted.
    to_cube : bool
        Give all axes as many voxels as the longest has.
    or_crop : bool
        Whether ``to_shape`` crops an image that is larger.
    mode : str
        One of `MODES`.
    fill : float, optional
        What "constant" fills with. Left out: 0, or where the image cannot hold 0 the value nearest to it.

    Raises
    ------
    UsageError
        If not exactly one way is given, or one makes no sense.
    """

    by: Sequence[str] = ()
    axis: Sequence[str] = ()
    to_multiple: str | None = None
    to_shape: str | None = None
    to_cube: bool = False
    or_crop: bool = False
    mode: str = "constant"
    fill: float | None = None

    def __post_init__(self) -> None:
        ways = {
            "--by": bool(self.by),
            "--to-multiple": self.to_multiple is not None,
            "--to-shape": self.to_shape is not None,
            "--to-cube": self.to_cube,
        }
        way = _only(ways, "as in --by 10mm, or --to-multiple 16")
        _belongs("--axis", bool(self.axis), way, ("--by",))
        _belongs("--or-crop", self.or_crop, way, ("--to-shape",))
        Pad(0, mode=self.mode, value=self.fill)  # refuses what does not go together
        _ = self._margins, self._numbers

    def prepare(self, source: Backend) -> Pad | CropOrPad:
        """Return the padding of an image.

        Raises
        ------
        UsageError
            If the image is larger than ``to_shape``, or the result than a terabyte.
        """
        grid = source.header.grid
        wanted: Pad | CropOrPad
        if self._margins is not None:
            wanted = Pad(self._margins.ends(grid, up), mode=self.mode, value=self.fill)
        else:
            wanted = CropOrPad(self._shape(grid), mode=self.mode, value=self.fill)
        refuse_absurd(source.header, wanted.plan(source.header).grid_after, hint="pad with less")
        return wanted

    def _shape(self, grid: Grid) -> tuple[int, ...]:
        if self._numbers is None:
            return (max(grid.shape),) * 3
        if self.to_multiple is not None:
            return tuple(-(-size // number) * number for size, number in zip(grid.shape, self._numbers, strict=True))
        for name, size, number in zip("ijk", grid.shape, self._numbers, strict=True):
            if size > number and not self.or_crop:
                raise UsageError(f"--to-shape {self.to_shape}: it has {size} voxels along {name}", hint="add --or-crop")
        return self._numbers

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say how large it becomes, what amounts were rounded, and what fills it where that is not 0."""
        step = operation.plan(header)
        more = [_told(step)]
        if self._margins is not None:
            more.append(self._margins.uneven(header.grid, up) or "")
        if self.fill is None and self.mode == "constant" and not step.idle:
            more.append(filled_with(header) or "")
        return tuple(sentence for sentence in more if sentence)


def _only(ways: dict[str, bool], example: str) -> str:
    """Return the one option that is given."""
    given = [name for name, there in ways.items() if there]
    if len(given) == 1:
        return given[0]
    if given:
        raise UsageError(f"{' and '.join(given)} do not go together", hint="give one of them")
    *first, last = ways
    raise UsageError(f"give one of {', '.join(first)} and {last}", hint=example)


def _belongs(option: str, given: bool, way: str, ways: Sequence[str]) -> None:
    """Refuse an option that means nothing with the way that was chosen."""
    if given and way not in ways:
        raise UsageError(f"{option} says nothing with {way}", hint=f"it goes with {' and '.join(ways)}")


def _nonzero(source: Backend) -> Box:
    from medimg_cli.statistics.boxes import bounding_box

    found = bounding_box(source)
    if found is None:
        raise GeometryError("holds nothing but 0 and NaN, so there is nothing to keep", hint="leave out --to-nonzero")
    return tuple((span.start, span.stop) for span in found)


def _told(step: Step) -> str:
    """Say in voxels what a step keeps of an image and what it adds.

    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.header import Header
    >>> header = Header(shape=(1, 9, 8, 7), dtype="uint8", affine=AffineMatrix())
    >>> _told(Crop(((1, 2), (0, 0), (0, 3))).plan(header))
    'keeps 6 x 8 x 4 of 9 x 8 x 7 voxels, [:, 1:7, 0:8, 0:4]'
    >>> _told(CropOrPad((9, 10, 10)).plan(header))
    '9 x 8 x 7 voxels become 9 x 10 x 10, 1:1 along j, 2:1 along k added'
    """
    if step.idle:
        return "has that shape already, nothing is changed"
    old, new = step.grid_before.shape, step.grid_after.shape
    starts = [round(at) for at in step.voxel_map.origin]
    kept = [range(max(0, at), min(n, at + m)) for at, n, m in zip(starts, old, new, strict=True)]
    added = [(max(0, -at), max(0, at + m - n)) for at, n, m in zip(starts, old, new, strict=True)]
    told = []
    if any(len(span) < n for span, n in zip(kept, old, strict=True)):
        spans = ", ".join(f"{span.start}:{span.stop}" for span in kept)
        told.append(f"keeps {times(map(len, kept))} of {times(old)} voxels, [:, {spans}]")
    if any(map(any, added)):
        ends = ", ".join(f"{lo}:{hi} along {name}" for (lo, hi), name in zip(added, "ijk", strict=True) if lo or hi)
        told.append(f"{'these' if told else f'{times(old)} voxels'} become {times(new)}, {ends} added")
    return "; ".join(told)

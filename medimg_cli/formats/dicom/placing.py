"""Frames of one image: in which order they are, and where they lie.

Decisions (PS3.3, C.7.6.2.1.1):

- Slices are sorted by their position along the normal of the slice, never by file name or number. K runs along row x
  column, so that the axes are right-handed as they are in the file.
- The step along K is that between the first and the last position. Every slice of every volume must lie where this step
  puts it, to 1 % of the step or 0.01 mm: an affine cannot say anything else. What does not is refused, with the two
  frames and the millimetres between them. ``Reading.tolerance`` replaces both numbers.
- ``gaps="ignore"`` takes slices for evenly spaced: the first and the last are where they were, those between may not be
  (dcm2niix takes the first gap as the step). Copies of a file and a second frame at a position are left out. Every such
  decision is a warning.
- ``gaps="resample"`` leaves the slices where they are and interpolates between them, see `gaps`: as many as the finest
  common step needs from the first position to the last, both of which stay (a step is common that is a quarter as
  frequent as the most common one). dcm2niix takes the smallest step of all, makes at most twice as many slices as there
  are, and leaves out the last one.
- The affine takes its directions and pixel size from one slice. Where another is turned against it by so little that
  they are one stack, and yet ends more than that tolerance beside its place, a warning says so.
- Slices that lack at an end leave no gap. Where NumberOfSlices (0054,0081) or NumberOfTemporalPositions (0020,0105) say
  that there are more, a warning says so.
- Slices that move sideways (gantry tilt) are kept where they are, as a sheared affine; a warning says so.
- A single slice is as thick as SpacingBetweenSlices or SliceThickness say.
- A file without a position is a picture; its frames are time points.
- Which frames are one volume, where several lie at each position, is decided in `ordering`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import DuplicateSliceError, GeometryError, MissingSliceError, SliceError, UnevenSliceError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.ordering import arrange
from medimg_cli.formats.dicom.vectors import Vector, close, dot, minus, moved, normal_of, times
from medimg_cli.formats.foreign import MOST_SHEAR, lps_affine
from medimg_cli.formats.reading import Reading

__all__ = ["Stack", "place"]

#: How far a slice may be off its place, of a step and in mm.
_RELATIVE, _ABSOLUTE = 0.01, 0.01
#: What adding decimal fractions may be off, in mm.
_NOISE = 1e-6
#: How far rows and columns may be off unit length and a right angle.
_SKEW = 0.01
#: Slices that interpolation makes at most, for each that is there.
_MOST = 64
#: Slices that a series can lack; with more of them a position is wrong.
_MOST_MISSING = 10_000
#: A gap is worth a slice of its own if it is so many times as frequent as the most common one.
_COMMON = 0.25
#: Groups of frames at one distance that a frame is compared with.
_COMPARED = 8


class Stack(NamedTuple):
    """Slices in place.

    Parameters
    ----------
    volumes : tuple of tuple of Frame
        Frames by time and K.
    affine : AffineMatrix
    positioned : bool
        Whether the frames say where they are; else they are pictures.
    warnings : tuple of str
    places : tuple of float, optional
        Where slices are interpolated: for each slice of the image its place among those of a volume, 2.5 for half-way
        between the third and the fourth. The affine is that of the image. None: the slices are those of the volumes.
    """

    volumes: tuple[tuple[Frame, ...], ...]
    affine: AffineMatrix
    positioned: bool
    warnings: tuple[str, ...]
    places: tuple[float, ...] | None = None


def place(frames: Sequence[Frame], reading: Reading) -> Stack:
    """Put the frames of one image in order.

    Parameters
    ----------
    frames : sequence of Frame
        At least one.
    reading : Reading
        What to do where slices are not evenly spaced.

    Raises
    ------
    UnsupportedError
        If nothing says which frames are one volume.
    GeometryError
        If slices are missing, double, or not evenly spaced; the line names two frames.
    """
    if all(map(_lacking, frames)) and len({id(frame.file) for frame in frames}) == 1:
        return _picture(frames)
    for frame in frames:
        if _lacking(frame):
            raise GeometryError(f"{frame.name} has no {_lacking(frame)}: its place in the series is unknown")
    axes = _axes(frames[0])
    frames, copied = _originals(frames, reading)
    groups, doubled = _positions(frames, axes, reading)
    volumes, left_out = arrange(groups, reading)
    line = _line(groups, axes, reading)
    rows = [[u, v, w, o] for u, v, w, o in zip(axes.i, axes.j, line.step, groups[0][0].position or (), strict=True)]
    affine = AffineMatrix.from_lps([*rows, [0, 0, 0, 1]])
    turned = _turned(groups, max(_RELATIVE * hypot(*line.step), _noticed(axes), reading.tolerance or 0.0))
    return Stack(
        volumes, affine, True, (*copied, *doubled, *left_out, *line.notes, *turned, *_fewer(volumes)), line.places
    )


def _lacking(frame: Frame) -> str:
    """Return which tag of geometry a file has not; "" where it has all."""
    names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    values = (frame.position, frame.orientation, frame.spacing)
    return next((name for name, value in zip(names, values, strict=True) if value is None), "")


def _picture(frames: Sequence[Frame]) -> Stack:
    """Place a file that has no position, as a picture, or several that follow each other."""
    frame = frames[0]
    lacking, spacing, note = _lacking(frame), frame.spacing, "PixelSpacing"
    for note in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or _pair(frame, note)
        if spacing:
            break
    said = f"its pixel size is {note}" if spacing else "nor a pixel size, 1 mm is used"
    _check_spacing(frame, spacing or (1.0, 1.0))
    down, across = spacing or (1.0, 1.0)
    warning = f"has no {lacking}: where it lies in the patient is unknown; {said}"
    volumes = tuple((each,) for each in sorted(frames, key=lambda frame: frame.at))
    return Stack(volumes, lps_affine((across, down, 1.0)), False, (warning,))


def _pair(frame: Frame, keyword: str) -> Vector | None:
    found = frame.numbers(keyword)
    return found if found is not None and len(found) == 2 else None


def _check_spacing(frame: Frame, spacing: Vector) -> None:
    if not all(1e-9 < size < 1e9 for size in spacing):
        raise GeometryError(f"a pixel of {spacing[1]:g} x {spacing[0]:g} mm has no area", path=frame.file.source.name)


# where it lies


class _Axes(NamedTuple):
    """Steps of one voxel along I and J, and the unit normal, LPS."""

    i: Vector
    j: Vector
    normal: Vector


def _axes(frame: Frame) -> _Axes:
    """Return the axes of a slice.

    PixelSpacing is (between rows, between columns): the second is the step along I, the first along J.
    """
    assert frame.orientation is not None and frame.spacing is not None
    row, column = frame.orientation[:3], frame.orientation[3:]
    sizes = [hypot(*row), hypot(*column)]
    if max(abs(size - 1) for size in sizes) > _SKEW or abs(dot(row, column)) > _SKEW:
        shown = "\\".join(f"{cosine:g}" for cosine in frame.orientation)
        raise GeometryError(
            f"ImageOrientationPatient {shown} is no pair of unit vectors at a right angle", path=frame.file.source.name
        )
    _check_spacing(frame, frame.spacing)
    normal = normal_of(frame.orientation)
    return _Axes(
        times(row, frame.spacing[1]), times(column, frame.spacing[0]), times(normal, 1 / hypot(*normal))
    )  # fmt: skip


# which frames are at one position


def _originals(frames: Sequence[Frame], reading: Reading) -> tuple[Sequence[Frame], list[str]]:
    """Return frames without copies of files (the same SOPInstanceUID at the same position), and warnings."""
    known: dict[tuple[object, ...], Frame] = {}
    copies = []
    for frame in frames:
        uid = frame.file.elements.raw.get(0x00080018)
        key = (uid[1] if uid else id(frame), frame.at, frame.tile, frame.position)
        first = known.setdefault(key, frame)
        if first is not frame:
            copies.append((first, frame))
    if not copies:
        return frames, []
    a, b = _names(*copies[0])
    if reading.gaps != "ignore":
        raise DuplicateSliceError(f"{a} and {b} are copies of one image", hint="--gaps ignore leaves copies out")
    return list(known.values()), [_counted(len(copies), "copy is", "copies are", f"{b} (of {a})")]


def _names(a: Frame, b: Frame) -> tuple[str, str]:
    """Return the names of two frames, with their folders where they would be the same without."""
    if a.name != b.name or a.file.source.name == b.file.source.name:
        return a.name, b.name
    return a.file.source.name, b.file.source.name


def _counted(count: int, one: str, many: str, name: str) -> str:
    return f"{count} {one if count == 1 else many} left out, such as {name}"


def _positions(frames: Sequence[Frame], axes: _Axes, reading: Reading) -> tuple[list[list[Frame]], list[str]]:
    """Gather the frames at each position, along the normal, and say what was left out."""
    along = sorted(((dot(axes.normal, frame.position or ()), frame) for frame in frames), key=lambda pair: pair[0])
    same = _noticed(axes)
    groups = _gathered(along, same)
    if reading.tolerance is not None and reading.tolerance > same and len(groups) > 1:
        gaps = [gap for gap in _gaps(groups, axes) if gap > reading.tolerance]
        groups = _gathered(along, min(reading.tolerance, 0.4 * _usual(gaps)) if gaps else same)
    sizes = Counter(map(len, groups))
    if len(sizes) == 1:
        return groups, []
    usual = sizes.most_common(1)[0][0]
    if usual > 1:
        _find_moved(groups, axes, usual)
        return groups, []
    doubled = [group for group in groups if len(group) > 1]
    a, b = _names(*doubled[0][:2])
    if max(sizes) * sizes[max(sizes)] > sizes[1] or reading.gaps != "ignore":
        raise DuplicateSliceError(
            f"{a} and {b} lie at the same position, 0 mm apart", hint="--gaps ignore takes the first at each position"
        )
    first = [[min(group, key=lambda frame: frame.number("InstanceNumber") or 0.0)] for group in groups]
    count = sum(map(len, doubled)) - len(doubled)
    lost = next(frame for frame in doubled[0] if frame is not first[groups.index(doubled[0])][0])
    return first, [_counted(count, "second slice at a position is", "slices at positions of others are", lost.name)]


def _noticed(axes: _Axes) -> float:
    """Return the millimetres that count: `_ABSOLUTE`, or less where pixels are as small as those of microscopes."""
    return min(_ABSOLUTE, 0.05 * hypot(*axes.i), 0.05 * hypot(*axes.j))


def _gathered(along: Sequence[tuple[float, Frame]], same: float) -> list[list[Frame]]:
    """Gather frames, sorted by their distance along the normal, that are nearer to each other than ``same``."""
    groups: list[list[Frame]] = []
    starts: list[float] = []
    for distance, frame in along:
        for n in range(len(groups) - 1, max(len(groups) - 1 - _COMPARED, -1), -1):
            if distance - starts[n] < same and close(groups[n][0].position, frame.position, same):
                groups[n].append(frame)
                break
        else:
            groups.append([frame])
            starts.append(distance)
    return groups


def _find_moved(groups: Sequence[Sequence[Frame]], axes: _Axes, usual: int) -> None:
    """Refuse a frame that lies beside the others of its position."""
    half = _usual(_gaps(groups, axes)) / 2
    for a, b in pairwise(groups):
        few, many = sorted((a, b), key=len)
        if len(few) < usual and len(few) + len(many) == usual:
            off = hypot(*minus(few[0].position or (), many[0].position or ()))
            if off < half:
                said = f"{few[0].name} lies {off:.3g} mm off {many[0].name}, a slice of another volume at its position"
                raise SliceError(said, hint="--tolerance allows for it")


def _gaps(groups: Sequence[Sequence[Frame]], axes: _Axes) -> list[float]:
    """Return the millimetres from each position to the next, along the normal."""
    return [
        dot(axes.normal, minus(b[0].position or (), a[0].position or ())) for a, b in pairwise(groups)
    ]  # fmt: skip


def _usual(gaps: Sequence[float], share: float = 1.0) -> float:
    """Return the smallest gap that is common: at least that share as frequent as the most common one.

    Gaps that differ by 1 % count as one; the result is their mean.
    """
    ordered = sorted(gaps)
    ends = [bisect_right(ordered, gap + max(_RELATIVE * gap, _ABSOLUTE) + _NOISE) for gap in ordered]
    counts = [end - n for n, end in enumerate(ends)]
    least = share * max(counts, default=0)
    n = next((n for n, count in enumerate(counts) if count >= least), 0)
    alike = ordered[n : ends[n]] if ends else [0.0]
    return sum(alike) / len(alike)


# where slices lie


class _Line(NamedTuple):
    """Where slices lie: the step from one to the next in LPS, warnings, and places of interpolated slices."""

    step: Vector
    notes: list[str]
    places: tuple[float, ...] | None = None


def _line(groups: Sequence[Sequence[Frame]], axes: _Axes, reading: Reading) -> _Line:
    """Return how slices follow each other, checked against every one of them."""
    slices = [group[0] for group in groups]
    if len(slices) == 1:
        return _thickness(slices[0], axes)
    gaps = _gaps(groups, axes)
    usual, steps = _usual(gaps), len(gaps)
    same = _noticed(axes)
    allowed = max(_RELATIVE * usual, same) if reading.tolerance is None else reading.tolerance
    odd = [n for n, gap in enumerate(gaps) if abs(gap - usual) > allowed + _NOISE]
    way = minus(slices[-1].position or (), slices[0].position or ())
    beside = next((n for n, gap in enumerate(gaps) if gap < same), None)
    if beside is not None:
        a, b = slices[beside : beside + 2]
        apart = hypot(*minus(b.position or (), a.position or ()))
        raise SliceError(
            f"{a.name} and {b.name} lie side by side, {apart:.4g} mm apart: they are slices of different stacks"
        )
    if odd:
        said = _gap_sentence(slices[odd[0]], slices[odd[0] + 1], gaps[odd[0]], usual)
        return _uneven(groups, gaps, usual, said, reading, allowed, way)
    off = _off_line(groups, way, [n / steps for n in range(steps + 1)], allowed)
    if off and reading.gaps != "ignore":
        raise SliceError(off)
    step = times(way, 1 / steps)
    return _Line(step, [*_tilt(step, axes), *([f"{off}; this is ignored"] if off else [])])


def _uneven(
    groups: Sequence[Sequence[Frame]],
    gaps: Sequence[float],
    usual: float,
    said: str,
    reading: Reading,
    allowed: float,
    way: Vector,
) -> _Line:
    """Refuse slices that are not evenly spaced, take them for evenly spaced, or say where to interpolate."""
    if reading.gaps == "refuse":
        whole = all(_missing(gap, usual) for gap in gaps if abs(gap - usual) > allowed + _NOISE)
        hint = "--gaps resample interpolates, --gaps ignore takes them for evenly spaced"
        raise (MissingSliceError if whole else UnevenSliceError)(said, hint=hint)
    length, axes = sum(gaps), _axes(groups[0][0])
    if reading.gaps == "ignore":
        step = times(way, 1 / len(gaps))
        note = f"{said}; they are taken for evenly spaced, {length / len(gaps):.4g} mm apart"
        return _Line(step, [note, *_tilt(step, axes)])
    along = [0.0]
    for gap in gaps:
        along.append(along[-1] + gap)
    off = _off_line(groups, way, [distance / length for distance in along], allowed)
    if off:
        raise SliceError(off)
    finest = _usual(gaps, _COMMON)
    count = max(round(length / finest), 1) if finest > 0 else _MOST * len(along)
    if count >= _MOST * len(along):
        raise UnevenSliceError(f"{said}; to interpolate takes too many slices", hint="--gaps ignore")
    places = tuple(_place(along, n * length / count) for n in range(count + 1))
    step = times(way, 1 / count)
    note = f"{said}; slices are interpolated from {len(along)} to {count + 1}, {length / count:.4g} mm apart"
    return _Line(step, [note, *_tilt(step, axes)], places)


def _place(along: Sequence[float], distance: float) -> float:
    """Return the fractional index of a distance among ascending ones."""
    n = min(max(bisect_right(along, distance) - 1, 0), len(along) - 2)
    part = (distance - along[n]) / (along[n + 1] - along[n])
    near = round(part)
    return float(n + near) if abs(part - near) < 1e-4 else n + min(max(part, 0.0), 1.0)


def _off_line(groups: Sequence[Sequence[Frame]], way: Vector, parts: Sequence[float], allowed: float) -> str:
    """Say which slice is not where its part of the way from the first to the last is; "" where all are."""
    first = groups[0][0]
    for group, part in zip(groups, parts, strict=True):
        seen = None
        for frame in group:
            if frame.position == seen:
                continue
            seen = frame.position
            off = hypot(*minus(seen or (), moved(first.position or (), way, part)))
            if off > allowed + _NOISE:
                return (
                    f"{frame.name} lies {off:.3g} mm off the line from {first.name} to {groups[-1][0].name}: "
                    "the slices are no regular stack"
                )
    return ""


def _fewer(volumes: Sequence[Sequence[Frame]]) -> list[str]:
    """Say where there is less than the file says that there is: the end of a series lacks, which leaves no gap."""
    first = volumes[0][0]
    counted = {"NumberOfSlices": len(volumes[0]), "NumberOfTemporalPositions": len(volumes)}
    said = {keyword: first.number(keyword) or 0.0 for keyword in counted}
    return [
        f"{key} is {said[key]:.0f}, and {here} of them are here" for key, here in counted.items() if said[key] > here
    ]


def _turned(groups: Sequence[Sequence[Frame]], allowed: float) -> list[str]:
    """Say which slice ends beside where the affine, which knows one direction and pixel size, puts its end."""
    first = groups[0][0]
    for frame in (frame for group in groups for frame in group):
        if (frame.orientation, frame.spacing) != (first.orientation, first.spacing):
            off = hypot(*minus(_diagonal(frame), _diagonal(first)))
            if off > allowed:
                return [f"{frame.name} is turned a little against {first.name}: its last pixel lies {off:.3g} mm off"]
    return []


def _diagonal(frame: Frame) -> Vector:
    """Return the way from the first pixel of a slice to its last, in mm."""
    down, across = ((size - 1) * mm for size, mm in zip(frame.size, frame.spacing or (), strict=True))
    cosines = frame.orientation or ()
    return tuple(x * across + y * down for x, y in zip(cosines[:3], cosines[3:], strict=True))


def _tilt(step: Vector, axes: _Axes) -> list[str]:
    """Say how many degrees slices are off facing each other."""
    straight = dot(axes.normal, step)
    tilt = degrees(atan2(hypot(*minus(step, times(axes.normal, straight))), straight))
    if tilt <= MOST_SHEAR:
        return []
    return [f"the slices are tilted by {tilt:.3g} degrees (gantry tilt): the affine is sheared"]


def _gap_sentence(a: Frame, b: Frame, gap: float, usual: float) -> str:
    said = f"{a.name} and {b.name} are {gap:.4g} mm apart, other slices {usual:.4g} mm"
    missing = _missing(gap, usual)
    if missing:
        return f"{said}: {missing} slice{'s are' if missing > 1 else ' is'} missing between them"
    return f"{said}: the slices are not evenly spaced"


def _missing(gap: float, usual: float) -> int:
    """Return how many slices a gap lacks; 0 where it is no whole number of steps, or of too many."""
    missing = round(gap / usual) - 1 if usual > 0 else 0
    near = abs(gap - (missing + 1) * usual) <= max(2 * _RELATIVE * gap, _ABSOLUTE)
    return missing if near and 0 < missing <= _MOST_MISSING else 0


def _thickness(frame: Frame, axes: _Axes) -> _Line:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        size = frame.number(keyword)
        if size is not None and 0 < size < 1e30:
            return _Line(times(axes.normal, size), [])
    return _Line(axes.normal, ["says nothing about how thick its slice is; 1 mm is used"])

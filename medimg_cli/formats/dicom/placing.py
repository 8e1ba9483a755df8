"""Frames of one image: in which order they are, and where they lie.

Decisions (PS3.3, C.7.6.2.1.1):

- Slices are sorted by their position along the normal of the slice, never by file name or number. K runs along row x
  column, so that the axes are right-handed as they are in the file.
- The step along K is that between the first and the last position. Every slice must lie where this step puts it, to
  1 % of the step or 0.01 mm: an affine cannot say anything else. What does not is refused, with the two frames and the
  millimetres between them.
- Slices that move sideways (gantry tilt) are kept where they are, as a sheared affine; a warning says so.
- A single slice is as thick as SpacingBetweenSlices or SliceThickness say.
- Several frames at each position are time points where nothing but time tells them apart and the numbers of the
  frames step through the volumes in one way; all else (echoes, b-values, phases) is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.formats.dicom.frames import Frame, Vector
from medimg_cli.formats.dicom.stacks import close
from medimg_cli.formats.foreign import MOST_SHEAR, lps_affine
from medimg_cli.formats.reading import Reading

__all__ = ["Stack", "place"]

#: How far a slice may be off its place, of a step and in mm.
_RELATIVE, _ABSOLUTE = 0.01, 0.01
#: What adding decimal fractions may be off, in mm.
_NOISE = 1e-6
#: How far rows and columns may be off unit length and a right angle.
_SKEW = 0.01
_APART = "put each into a folder of its own"
_BVALUES = ("DiffusionBValue", "SiemensBValue", "PhilipsBValue", "GEBValue", "UIHBValue")
#: What tells images at one position apart that are no time points, and how to call it.
_OTHER = (
    ("EchoNumbers", "echo"), ("EchoTime", "echo time"), *((keyword, "b-value") for keyword in _BVALUES),
    ("InversionTime", "inversion time"), ("FlipAngle", "flip angle"),
    ("ImageType", "type of image"), ("SequenceName", "sequence"), ("ConvolutionKernel", "kernel"),
)  # fmt: skip


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
    """

    volumes: tuple[tuple[Frame, ...], ...]
    affine: AffineMatrix
    positioned: bool
    warnings: tuple[str, ...]


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
    if len(frames) == 1 and _lacking(frames[0]):
        return _picture(frames[0])
    for frame in frames:
        if _lacking(frame):
            raise GeometryError(f"{frame.name} has no {_lacking(frame)}: its place in the series is unknown")
    axes = _axes(frames[0])
    along = sorted(((_dot(axes.normal, frame.position or ()), frame) for frame in frames), key=lambda pair: pair[0])
    groups = _positions(along)
    volumes = _volumes(groups)
    step, notes = _step([group[0] for group in groups], axes)
    origin = volumes[0][0].position or ()
    rows = [[u, v, w, o] for u, v, w, o in zip(axes.i, axes.j, step, origin, strict=True)]
    return Stack(volumes, AffineMatrix.from_lps([*rows, [0, 0, 0, 1]]), True, tuple(notes))


def _lacking(frame: Frame) -> str:
    """Return which tag of geometry a file has not; "" where it has all."""
    names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    values = (frame.position, frame.orientation, frame.spacing)
    return next((name for name, value in zip(names, values, strict=True) if value is None), "")


def _picture(frame: Frame) -> Stack:
    """Place one file that has no position, as a picture."""
    lacking, spacing, note = _lacking(frame), frame.spacing, "PixelSpacing"
    for note in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or _pair(frame, note)
        if spacing:
            break
    said = f"its pixel size is {note}" if spacing else "nor a pixel size, 1 mm is used"
    _check_spacing(frame, spacing or (1.0, 1.0))
    down, across = spacing or (1.0, 1.0)
    warning = f"has no {lacking}: where it lies in the patient is unknown; {said}"
    return Stack(((frame,),), lps_affine((across, down, 1.0)), False, (warning,))


def _pair(frame: Frame, keyword: str) -> Vector | None:
    found = frame.numbers(keyword)
    return found if found is not None and len(found) == 2 else None


def _check_spacing(frame: Frame, spacing: Vector) -> None:
    if not all(0 < size < 1e30 for size in spacing):
        raise GeometryError(f"a pixel of {spacing[1]:g} x {spacing[0]:g} mm has no area", path=frame.file.source.name)


# where it lies


class _Axes(NamedTuple):
    """Steps of one voxel along I and J, and the unit normal, LPS."""

    i: Vector
    j: Vector
    normal: Vector


def _dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _minus(a: Vector, b: Vector) -> Vector:
    return tuple(x - y for x, y in zip(a, b, strict=True))


def _times(a: Vector, factor: float) -> Vector:
    return tuple(x * factor for x in a)


def _axes(frame: Frame) -> _Axes:
    """Return the axes of a slice.

    PixelSpacing is (between rows, between columns): the second is the step along I, the first along J.
    """
    assert frame.orientation is not None and frame.spacing is not None
    row, column = frame.orientation[:3], frame.orientation[3:]
    sizes = [hypot(*row), hypot(*column)]
    if max(abs(size - 1) for size in sizes) > _SKEW or abs(_dot(row, column)) > _SKEW:
        shown = "\\".join(f"{cosine:g}" for cosine in frame.orientation)
        raise GeometryError(
            f"ImageOrientationPatient {shown} is no pair of unit vectors at a right angle", path=frame.file.source.name
        )
    _check_spacing(frame, frame.spacing)
    (a, b, c), (d, e, f) = row, column
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return _Axes(
        _times(row, frame.spacing[1]), _times(column, frame.spacing[0]), _times(normal, 1 / hypot(*normal))
    )  # fmt: skip


def _positions(along: Sequence[tuple[float, Frame]]) -> list[list[Frame]]:
    """Gather the frames at each position; they must be equally many."""
    groups: list[list[Frame]] = []
    last = 0.0
    for distance, frame in along:
        if groups and distance - last < _ABSOLUTE and close(groups[-1][0].position, frame.position, _ABSOLUTE):
            groups[-1].append(frame)
        else:
            groups.append([frame])
            last = distance
    usual = Counter(map(len, groups)).most_common(1)[0][0]
    odd = next((group for group in groups if len(group) != usual), None)
    if odd is not None and len(odd) > 1 and usual == 1:
        raise GeometryError(f"{odd[0].name} and {odd[1].name} lie at the same position, 0 mm apart")
    if odd is not None:
        raise GeometryError(
            f"{len(odd)} file{'s' if len(odd) > 1 else ''} at the position of {odd[0].name}, {usual} at others: "
            "slices are missing or double"
        )
    return groups


def _step(slices: Sequence[Frame], axes: _Axes) -> tuple[Vector, list[str]]:
    """Return the step along K in LPS, checked against every slice, with warnings."""
    first = slices[0].position or ()
    if len(slices) == 1:
        return _thickness(slices[0], axes)
    places = [_minus(frame.position or (), first) for frame in slices]
    gaps = [_dot(axes.normal, _minus(b, a)) for a, b in pairwise(places)]
    usual = sorted(gaps)[len(gaps) // 2]
    allowed = max(_RELATIVE * usual, _ABSOLUTE) + _NOISE
    for n, gap in enumerate(gaps):
        if abs(gap - usual) > allowed:
            raise GeometryError(_gap_sentence(slices[n], slices[n + 1], gap, usual))
    step = _times(places[-1], 1 / (len(slices) - 1))
    for n, (frame, where) in enumerate(zip(slices, places, strict=True)):
        off = hypot(*_minus(where, _times(step, n)))
        if off > allowed:
            raise GeometryError(
                f"{frame.name} lies {off:.3g} mm off the line from {slices[0].name} to {slices[-1].name}: "
                "the slices are no regular stack"
            )
    straight = _dot(axes.normal, step)
    tilt = degrees(atan2(hypot(*_minus(step, _times(axes.normal, straight))), straight))
    if tilt <= MOST_SHEAR:
        return step, []
    return step, [f"the slices are tilted by {tilt:.3g} degrees (gantry tilt): the affine is sheared"]


def _gap_sentence(a: Frame, b: Frame, gap: float, usual: float) -> str:
    said = f"{a.name} and {b.name} are {gap:.4g} mm apart, other slices {usual:.4g} mm"
    missing = round(gap / usual) - 1
    if missing > 0 and abs(gap - (missing + 1) * usual) <= max(2 * _RELATIVE * gap, _ABSOLUTE):
        return f"{said}: {missing} slice{'s are' if missing > 1 else ' is'} missing between them"
    return f"{said}: the slices are not evenly spaced"


def _thickness(frame: Frame, axes: _Axes) -> tuple[Vector, list[str]]:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        size = frame.number(keyword)
        if size is not None and 0 < size < 1e30:
            return _times(axes.normal, size), []
    return axes.normal, ["says nothing about how thick its slice is; 1 mm is used"]


# time


def _volumes(groups: Sequence[Sequence[Frame]]) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames by time and K."""
    if len(groups[0]) == 1:
        return (tuple(group[0] for group in groups),)
    a, b = groups[0][:2]
    same = a.text("SOPInstanceUID")
    if same and same == b.text("SOPInstanceUID"):
        raise GeometryError(f"{a.name} and {b.name} are copies of one image")
    for keyword, title in _OTHER:
        values = list(dict.fromkeys(frame.text(keyword) for group in groups for frame in group))
        if len(values) > 1:
            shown = ", ".join(value or "none" for value in values[:4])
            raise UnsupportedError(
                f"its {len(groups)} slices come {len(groups[0])} times, with another {title} ({shown}), which this "
                "version does not read", hint=_APART,
            )  # fmt: skip
    for key in (_temporal, _acquisition, *_instance_keys(groups)):
        ordered = _ordered(groups, key)
        if ordered is not None:
            return ordered
    raise UnsupportedError(
        f"its {len(groups)} slices come {len(groups[0])} times, and nothing says which belong to one volume "
        f"({a.name} and {b.name} lie at the same position)"
    )


Key = Callable[[Frame], Any]


def _temporal(frame: Frame) -> float | None:
    return frame.number("TemporalPositionIdentifier")


def _acquisition(frame: Frame) -> float | None:
    return frame.number("AcquisitionNumber")


def _instance_keys(groups: Sequence[Sequence[Frame]]) -> list[Key]:
    """Return how InstanceNumber counts: all times of a slice, then the next slice; else volume by volume."""
    numbers = {frame.number("InstanceNumber") for group in groups for frame in group}
    count, times = len(groups), len(groups[0])
    if None in numbers or len(numbers) != count * times:
        return []
    rank = {value: n for n, value in enumerate(sorted(value for value in numbers if value is not None))}

    def place_of(frame: Frame) -> int:
        return rank[frame.number("InstanceNumber") or 0.0]

    if all(len({place_of(frame) // times for frame in group}) == 1 for group in groups):
        return [lambda frame: place_of(frame) % times]
    return [lambda frame: place_of(frame) // count]


def _ordered(groups: Sequence[Sequence[Frame]], key: Key) -> tuple[tuple[Frame, ...], ...] | None:
    """Return the volumes that a key makes, None where it is not the same set of distinct values at each position."""
    found: list[dict[Any, Frame]] = [{key(frame): frame for frame in group} for group in groups]
    values = set(found[0])
    if None in values or len(values) != len(groups[0]) or any(set(each) != values for each in found):
        return None
    return tuple(tuple(each[value] for each in found) for value in sorted(values))

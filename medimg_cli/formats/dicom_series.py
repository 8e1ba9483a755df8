"""Files of one DICOM series: what belongs together, in which order, and where it lies.

Decisions (PS3.3, C.7.6.2.1.1):

- Slices are sorted by their position along the normal of the slice, never by file name or number. K runs along row x
  column, so that the axes are right-handed as they are in the file.
- The step along K is that between the first and the last position. Every slice must lie where this step puts it, to
  1 % of the step or 0.01 mm: an affine cannot say anything else. What does not is refused, with the two files and the
  millimetres between them.
- Slices that move sideways (gantry tilt) are kept where they are, as a sheared affine; a warning says so.
- A single slice is as thick as SpacingBetweenSlices or SliceThickness say.
- Several files at each position are time points where nothing but time tells them apart and the numbers of the
  files step through the volumes in one way; all else (echoes, b-values, phases) is refused by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import atan2, degrees, hypot
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.formats.dicom_reading import BVALUES, DicomFile, number, plain, text
from medimg_cli.formats.foreign import MOST_SHEAR, lps_affine

__all__ = ["Stack", "place"]

Vector = tuple[float, ...]

#: How far a slice may be off its place, of a step and in mm.
_RELATIVE, _ABSOLUTE = 0.01, 0.01
#: What adding decimal fractions may be off, in mm.
_NOISE = 1e-6
#: Difference of direction cosines below which two slices are parallel.
_PARALLEL = 1e-3
#: How far rows and columns may be off unit length and a right angle.
_SKEW = 0.01
#: Entries of a list in a message.
_LISTED = 5
_APART = "put each into a folder of its own"
#: What tells images at one position apart that are no time points, and how to call it.
_OTHER = (
    ("EchoNumbers", "echo"), ("EchoTime", "echo time"), *((tag, "b-value") for tag in BVALUES),
    ("InversionTime", "inversion time"), ("FlipAngle", "flip angle"),
    ("ImageType", "type of image"), ("SequenceName", "sequence"), ("ConvolutionKernel", "kernel"),
)  # fmt: skip


class Stack(NamedTuple):
    """Slices in place.

    Parameters
    ----------
    volumes : tuple of tuple of DicomFile
        Files by time and K.
    affine : AffineMatrix
    positioned : bool
        Whether the files say where they are; else they are pictures.
    warnings : tuple of str
    """

    volumes: tuple[tuple[DicomFile, ...], ...]
    affine: AffineMatrix
    positioned: bool
    warnings: tuple[str, ...]


def place(files: Sequence[DicomFile]) -> Stack:
    """Put the files of one series in order.

    Parameters
    ----------
    files : sequence of DicomFile
        At least one.

    Raises
    ------
    UnsupportedError
        If they are several series or stacks; the line lists them.
    GeometryError
        If slices are missing, double, or not evenly spaced; the line names two files.
    """
    _refuse_series(files)
    _refuse_stacks(files)
    if len(files) == 1 and _lacking(files[0]):
        return _picture(files[0])
    for file in files:
        if _lacking(file):
            raise GeometryError(f"{file.name} has no {_lacking(file)}: its place in the series is unknown")
    axes = _axes(files[0])
    along = sorted(((_dot(axes.normal, file.position or ()), file) for file in files), key=lambda pair: pair[0])
    groups = _positions(along)
    volumes = _volumes(groups)
    step, notes = _step([group[0] for group in groups], axes)
    origin = volumes[0][0].position or ()
    rows = [[u, v, w, o] for u, v, w, o in zip(axes.i, axes.j, step, origin, strict=True)]
    return Stack(volumes, AffineMatrix.from_lps([*rows, [0, 0, 0, 1]]), True, tuple(notes))


def _lacking(file: DicomFile) -> str:
    """Return which tag of geometry a file has not; "" where it has all."""
    names = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    values = (file.position, file.orientation, file.spacing)
    return next((name for name, value in zip(names, values, strict=True) if value is None), "")


def _picture(file: DicomFile) -> Stack:
    """Place one file that has no position, as a picture."""
    lacking, spacing, note = _lacking(file), file.spacing, "PixelSpacing"
    for note in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        spacing = spacing or _pair(file, note)
        if spacing:
            break
    said = f"its pixel size is {note}" if spacing else "nor a pixel size, 1 mm is used"
    _check_spacing(file, spacing or (1.0, 1.0))
    down, across = spacing or (1.0, 1.0)
    warning = f"has no {lacking}: where it lies in the patient is unknown; {said}"
    return Stack(((file,),), lps_affine((across, down, 1.0)), False, (warning,))


def _pair(file: DicomFile, keyword: str) -> Vector | None:
    found = plain(file.dataset, keyword)
    numeric = isinstance(found, list) and len(found) == 2 and all(isinstance(n, (int, float)) for n in found)
    return (float(found[0]), float(found[1])) if numeric else None


def _check_spacing(file: DicomFile, spacing: Vector) -> None:
    if not all(0 < size < 1e30 for size in spacing):
        raise GeometryError(f"a pixel of {spacing[1]:g} x {spacing[0]:g} mm has no area", path=file.source.name)


# what belongs together


def _refuse_series(files: Sequence[DicomFile]) -> None:
    counts = Counter(file.series for file in files)
    if len(counts) > 1:
        firsts = {file.series: file for file in reversed(files)}
        listed = sorted((number(firsts[uid].dataset, "SeriesNumber") or 0, uid) for uid in counts)
        said = _listed(_series_name(firsts[uid], counts[uid]) for _, uid in listed)
        raise UnsupportedError(f"holds {len(counts)} series: {said}", hint=_APART)


def _series_name(file: DicomFile, count: int) -> str:
    words = [text(file.dataset, "SeriesNumber"), text(file.dataset, "SeriesDescription")[:60]]
    return " ".join([*filter(None, words), f"({count} file{'s' if count > 1 else ''})"])


def _listed(words: Iterable[str]) -> str:
    said = list(words)
    rest = f" and {len(said) - _LISTED} more" if len(said) > _LISTED else ""
    return ", ".join(said[:_LISTED]) + rest


def _refuse_stacks(files: Sequence[DicomFile]) -> None:
    """Refuse slices of several kinds in one series."""
    stacks: list[list[DicomFile]] = []
    for file in files:
        mine = next((stack for stack in stacks if _alike(stack[0], file)), None)
        if mine is None:
            stacks.append(mine := [])
        mine.append(file)
    if len(stacks) > 1:
        said = _listed(f"{len(stack)} of {_kind(stack[0])}, first {stack[0].name}" for stack in stacks)
        raise UnsupportedError(f"its series holds {len(stacks)} stacks: {said}", hint=_APART)


def _alike(a: DicomFile, b: DicomFile) -> bool:
    """Tell whether two files can be slices of one stack."""
    return (
        a.pixels[:4] == b.pixels[:4]
        and (a.pixels.signed, a.pixels.photometric) == (b.pixels.signed, b.pixels.photometric)
        and _close(a.orientation, b.orientation, _PARALLEL)
        and _close(a.spacing, b.spacing, 1e-4)
    )


def _close(a: Vector | None, b: Vector | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def _kind(file: DicomFile) -> str:
    """Name the kind of a slice in a list of stacks."""
    words = [f"{file.pixels.columns} x {file.pixels.rows} pixels of {file.pixels.dtype}"]
    if file.spacing:
        words.append(f"{file.spacing[1]:g} x {file.spacing[0]:g} mm")
    if file.orientation:
        words.append("direction " + "\\".join(f"{cosine:.3g}" for cosine in file.orientation))
    return ", ".join(words)


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


def _axes(file: DicomFile) -> _Axes:
    """Return the axes of a slice.

    PixelSpacing is (between rows, between columns): the second is the step along I, the first along J.
    """
    assert file.orientation is not None and file.spacing is not None
    row, column = file.orientation[:3], file.orientation[3:]
    sizes = [hypot(*row), hypot(*column)]
    if max(abs(size - 1) for size in sizes) > _SKEW or abs(_dot(row, column)) > _SKEW:
        shown = "\\".join(f"{cosine:g}" for cosine in file.orientation)
        raise GeometryError(
            f"ImageOrientationPatient {shown} is no pair of unit vectors at a right angle", path=file.source.name
        )
    _check_spacing(file, file.spacing)
    (a, b, c), (d, e, f) = row, column
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    return _Axes(
        _times(row, file.spacing[1]), _times(column, file.spacing[0]), _times(normal, 1 / hypot(*normal))
    )  # fmt: skip


def _positions(along: Sequence[tuple[float, DicomFile]]) -> list[list[DicomFile]]:
    """Gather the files at each position; they must be equally many."""
    groups: list[list[DicomFile]] = []
    last = 0.0
    for distance, file in along:
        if groups and distance - last < _ABSOLUTE and _close(groups[-1][0].position, file.position, _ABSOLUTE):
            groups[-1].append(file)
        else:
            groups.append([file])
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


def _step(slices: Sequence[DicomFile], axes: _Axes) -> tuple[Vector, list[str]]:
    """Return the step along K in LPS, checked against every slice, with warnings."""
    first = slices[0].position or ()
    if len(slices) == 1:
        return _thickness(slices[0], axes)
    places = [_minus(file.position or (), first) for file in slices]
    gaps = [_dot(axes.normal, _minus(b, a)) for a, b in pairwise(places)]
    usual = sorted(gaps)[len(gaps) // 2]
    allowed = max(_RELATIVE * usual, _ABSOLUTE) + _NOISE
    for n, gap in enumerate(gaps):
        if abs(gap - usual) > allowed:
            raise GeometryError(_gap_sentence(slices[n], slices[n + 1], gap, usual))
    step = _times(places[-1], 1 / (len(slices) - 1))
    for n, (file, where) in enumerate(zip(slices, places, strict=True)):
        off = hypot(*_minus(where, _times(step, n)))
        if off > allowed:
            raise GeometryError(
                f"{file.name} lies {off:.3g} mm off the line from {slices[0].name} to {slices[-1].name}: "
                "the slices are no regular stack"
            )
    straight = _dot(axes.normal, step)
    tilt = degrees(atan2(hypot(*_minus(step, _times(axes.normal, straight))), straight))
    if tilt <= MOST_SHEAR:
        return step, []
    return step, [f"the slices are tilted by {tilt:.3g} degrees (gantry tilt): the affine is sheared"]


def _gap_sentence(a: DicomFile, b: DicomFile, gap: float, usual: float) -> str:
    said = f"{a.name} and {b.name} are {gap:.4g} mm apart, other slices {usual:.4g} mm"
    missing = round(gap / usual) - 1
    if missing > 0 and abs(gap - (missing + 1) * usual) <= max(2 * _RELATIVE * gap, _ABSOLUTE):
        return f"{said}: {missing} slice{'s are' if missing > 1 else ' is'} missing between them"
    return f"{said}: the slices are not evenly spaced"


def _thickness(file: DicomFile, axes: _Axes) -> tuple[Vector, list[str]]:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        size = number(file.dataset, keyword)
        if size is not None and 0 < size < 1e30:
            return _times(axes.normal, size), []
    return axes.normal, ["says nothing about how thick its slice is; 1 mm is used"]


# time


def _volumes(groups: Sequence[Sequence[DicomFile]]) -> tuple[tuple[DicomFile, ...], ...]:
    """Return the files by time and K."""
    if len(groups[0]) == 1:
        return (tuple(group[0] for group in groups),)
    a, b = groups[0][:2]
    same = text(a.dataset, "SOPInstanceUID")
    if same and same == text(b.dataset, "SOPInstanceUID"):
        raise GeometryError(f"{a.name} and {b.name} are copies of one image")
    for keyword, title in _OTHER:
        values = list(dict.fromkeys(text(file.dataset, keyword) for group in groups for file in group))
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


Key = Callable[[DicomFile], Any]


def _temporal(file: DicomFile) -> float | None:
    return number(file.dataset, "TemporalPositionIdentifier")


def _acquisition(file: DicomFile) -> float | None:
    return number(file.dataset, "AcquisitionNumber")


def _instance_keys(groups: Sequence[Sequence[DicomFile]]) -> list[Key]:
    """Return how InstanceNumber counts: all times of a slice, then the next slice; else volume by volume."""
    numbers = {number(file.dataset, "InstanceNumber") for group in groups for file in group}
    count, times = len(groups), len(groups[0])
    if None in numbers or len(numbers) != count * times:
        return []
    rank = {value: n for n, value in enumerate(sorted(value for value in numbers if value is not None))}

    def place_of(file: DicomFile) -> int:
        return rank[number(file.dataset, "InstanceNumber") or 0.0]

    if all(len({place_of(file) // times for file in group}) == 1 for group in groups):
        return [lambda file: place_of(file) % times]
    return [lambda file: place_of(file) // count]


def _ordered(groups: Sequence[Sequence[DicomFile]], key: Key) -> tuple[tuple[DicomFile, ...], ...] | None:
    """Return the volumes that a key makes, None where it is not the same set of distinct values at each position."""
    found: list[dict[Any, DicomFile]] = [{key(file): file for file in group} for group in groups]
    values = set(found[0])
    if None in values or len(values) != len(groups[0]) or any(set(each) != values for each in found):
        return None
    return tuple(tuple(each[value] for each in found) for value in sorted(values))

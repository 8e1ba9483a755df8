"""Rules about values: what voxels hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medimg_cli.checks.numbers import NEAR, NumberFacts, Numbers
from medimg_cli.checks.phrases import among, number, place, placed
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.slices import SliceFacts, Slices, Spot
from medimg_cli.checks.subject import Subject
from medimg_cli.dtypes import ITEMSIZE, integer_range, is_float, is_integer
from medimg_cli.statistics.recognition import FEW
from medimg_cli.text import counted

__all__ = ["RULES"]

#: How many times as often as a number next to it the limit of a type must be stored to look like what was cut off, how
#: often at least, and how many times as often as all numbers next to it at most: more are letters, or padding.
_PILE, _FEWEST, _DRAWN = 10, 5, 200
#: Values that there must be for each level, for it to say anything that levels are few.
_VOXELS_PER_LEVEL = 16
#: Integer types that a wide type may be wasted on, small ones first.
_SMALLER = ("uint8", "int8", "uint16", "int16", "uint32", "int32")


def _numbers(subject: Subject) -> NumberFacts | None:
    return subject.gathered.get(Numbers)


def _slices(subject: Subject) -> SliceFacts | None:
    """Return what is known of slices, None where they are those of a mask: blank ones and copies are usual there."""
    facts = _numbers(subject)
    like_mask = facts is not None and facts.whole and facts.distinct is not None and len(facts.distinct) <= FEW
    return None if like_mask else subject.gathered.get(Slices)


def _nan(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if facts and facts.nans:
        text = f"{among(facts.nans, facts.count)} are NaN"
        yield Found(text + placed(subject, facts.nan_at), **place(subject, facts.nan_at))


def _infinite(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if facts and facts.infinities:
        text = f"{among(facts.infinities, facts.count)} are infinite"
        yield Found(text + placed(subject, facts.infinity_at), **place(subject, facts.infinity_at))


def _constant(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if not facts or facts.count == 1 or subject.is_labels:
        return
    if not facts.finite:
        yield Found(f"none of {counted(facts.count, 'value')} is finite")
    elif facts.finite == facts.count:
        value = facts.low if facts.nonzero else 0  # complex numbers have no lowest
        if value is not None and facts.low == facts.high:
            yield Found(f"all {counted(facts.count, 'value')} are {number(value)}")


def _blank_slices(subject: Subject) -> Iterator[Found]:
    facts = _slices(subject)
    if facts is None:
        return
    for spot in facts.blank:
        holds = "holds" if spot.total == 1 else "hold"
        text = f"{_slices_of(subject, spot)} between slices with content {holds} one value only{_from(facts, spot)}"
        yield Found(text, **_middle(subject, spot))


def _blank_volumes(subject: Subject) -> Iterator[Found]:
    facts = _slices(subject)
    if facts and facts.blank_volumes:
        yield Found(f"{_volumes_of(facts, facts.blank_volumes)} one value only")


def _copied_slices(subject: Subject) -> Iterator[Found]:
    facts = _slices(subject)
    if facts and facts.copies:
        spot = facts.copies
        what = "is an exact copy" if spot.total == 1 else "are exact copies"
        text = f"{_slices_of(subject, spot)} {what} of the one before" + _from(facts, spot)
        yield Found(text, **_middle(subject, spot))


def _copied_volumes(subject: Subject) -> Iterator[Found]:
    facts = _slices(subject)
    if facts and facts.copied_volumes:
        what = _volumes_of(facts, facts.copied_volumes).removesuffix(" holds").removesuffix(" hold")
        is_copy = "is an exact copy" if len(facts.copied_volumes) == 1 else "are exact copies"
        yield Found(f"{what} {is_copy} of the one before")


def _cut_off(subject: Subject) -> Iterator[Found]:
    facts = subject.gathered.get(Slices)
    if facts is not None and facts.tail is not None:
        tail = facts.tail
        volume = f" of volume {tail.volume}" if subject.header.channels > 1 else ""
        where = f"{'ijk'[tail.axis]} = {tail.slice}{volume}"
        zeros = f"only zeros follow, in {counted(tail.blank, 'slice')}"
        yield Found(
            f"slice {where} ends in the middle, and {zeros}", **_middle(subject, Spot(tail.axis, 1, 0, tail.slice))
        )


def _slices_of(subject: Subject, spot: Spot) -> str:
    axis = "ijk"[spot.axis]
    if spot.total == 1:
        return f"slice {axis} = {spot.first}"
    volumes = max(1, subject.gathered[Slices].volumes)
    return f"{spot.total:,} of {subject.header.spatial_shape[spot.axis] * volumes:,} slices along {axis}"


def _from(facts: SliceFacts, spot: Spot) -> str:
    """Return where the first of slices is, as far as that was not said."""
    axis = "ijk"[spot.axis]
    first = f"; the first is {axis} = {spot.first}" if spot.total > 1 else ""
    if facts.volumes == 1:
        return first
    return f"{first} of volume {spot.volume}" if first else f" (volume {spot.volume})"


def _volumes_of(facts: SliceFacts, which: tuple[int, ...]) -> str:
    if len(which) == 1:
        return f"volume {which[0]} of {facts.volumes:,} holds"
    return f"{len(which):,} of {facts.volumes:,} volumes, the first of them {which[0]}, hold"


def _middle(subject: Subject, spot: Spot) -> dict[str, Any]:
    """Return the voxel in the middle of a slice, as fields of `Found`."""
    voxel = [size // 2 for size in subject.header.spatial_shape]
    voxel[spot.axis] = spot.first
    return place(subject, (0, *voxel))


def _clipped(subject: Subject) -> Iterator[Found]:
    facts, header, dtype = _numbers(subject), subject.header, subject.header.dtype
    if not facts or subject.is_labels or not is_integer(dtype) or (facts.levels or FEW + 1) <= FEW:
        return
    if "rgb" in dict(header.axes):  # white is a colour
        return
    slope, inter = (float(header.slope or 1), float(header.inter or 0)) if header.scaled else (1.0, 0.0)
    low, high = integer_range(dtype)
    numbers_near = (high - low + 1) // NEAR - 1
    least = max(_FEWEST, subject.settings.limit("clipped-share") * facts.count)
    for side, limit, (at, near) in (("smallest", low, facts.bottom), ("largest", high, facts.top)):
        is_background = limit == 0 or abs(limit * slope + inter) < abs(slope)  # stored as 0, or made 0 by scaling
        if not is_background and at >= least and _PILE * near / numbers_near < at <= _DRAWN * near:
            text = f"{among(at, facts.count)} are stored as {limit}, the {side} number of {dtype}: they look clipped"
            yield Found(text)


def _few_levels(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if not facts or subject.is_labels or facts.whole or not facts.levels or facts.levels <= 2:
        return
    if facts.levels <= subject.settings.limit("levels-least") and facts.finite >= _VOXELS_PER_LEVEL * facts.levels:
        low, high = number(facts.low), number(facts.high)
        yield Found(f"{facts.finite:,} values take only {facts.levels} levels from {low} to {high}")


def _coarse_slope(subject: Subject) -> Iterator[Found]:
    facts, header = _numbers(subject), subject.header
    if not facts or subject.is_labels or not header.scaled or not is_integer(header.dtype) or facts.stored is None:
        return
    low, high = facts.stored
    least, most = integer_range(header.dtype)
    used = (high - low + 1) / (most - least + 1)
    if facts.whole or low == high or ITEMSIZE[header.dtype] == 1 or used >= subject.settings.limit("range-share"):
        return
    yield Found(
        f"values take {high - low + 1:,} of the {most - least + 1:,} numbers of {header.dtype} ({100 * used:.2g} %), "
        f"in steps of {number(abs(float(header.slope or 1)))}: a smaller slope would keep finer steps"
    )


def _wasteful(subject: Subject) -> Iterator[Found]:
    facts, header = _numbers(subject), subject.header
    if not facts or not facts.finite or facts.stored is None or (header.scaled and is_float(header.dtype)):
        return
    smaller = _smallest(facts, header.dtype)
    if smaller is not None:
        factor = ITEMSIZE[header.dtype] // ITEMSIZE[smaller]
        yield Found(f"all values fit exactly into {smaller}, {factor} times as small as {header.dtype}")


def _smallest(facts: NumberFacts, dtype: str) -> str | None:
    """Return the smallest type for stored numbers, None where it is the one in use, or that has 16 bits or fewer."""
    if ITEMSIZE[dtype] <= 2 or not (is_float(dtype) or is_integer(dtype)):
        return None
    assert facts.stored is not None
    low, high = facts.stored
    if is_integer(dtype) or (facts.whole and facts.finite == facts.count):
        for name in _SMALLER:
            least, most = integer_range(name)
            if least <= low and high <= most and ITEMSIZE[name] < ITEMSIZE[dtype]:
                return name
    return "float32" if facts.single else None


RULES = (
    Rule(
        "V001",
        "nan",
        "warning",
        _nan,
        "No value is NaN.",
        why="A mean over NaN is NaN, a loss over NaN ends a training, and SimpleITK reads NaN of NIfTI as 0. Some "
        "programs mean background by it, others a division by zero.",
        example="A map of a ratio, divided by 0 outside the head.",
        remedy="Write a number that means background when the image is made. `medimg stats` counts NaN, and "
        "the finding names a voxel. Where NaN is meant, ignore this rule for these files.",
        gathers=(Numbers,),
    ),
    Rule(
        "V002",
        "infinite",
        "warning",
        _infinite,
        "No value is infinite.",
        why="One infinite value makes mean, variance and display window infinite. It comes from a division by zero, "
        "the logarithm of zero or a sum that was too large for its type.",
        example="-log10(p) where p is 0.",
        remedy="Clamp the values when the image is made. `medimg stats` counts infinite values.",
        gathers=(Numbers,),
    ),
    Rule(
        "V003",
        "constant",
        "warning",
        _constant,
        "An image holds more than one value.",
        why="An image of one value shows nothing: a step of a pipeline failed, or a reader filled with zeros what it "
        "could not read.",
        example="A `.nii.gz` of zeros that a program left behind after it had run out of memory.",
        remedy="Make the image again. Where a blank image is meant, such as a field without displacement, ignore this "
        "rule for it.",
        gathers=(Numbers,),
    ),
    Rule(
        "V004",
        "blank-slice",
        "warning",
        _blank_slices,
        "No slice between slices full of content holds one value only.",
        why="A slice that was lost on the way becomes zeros. Segmentation and registration take it for the end of the "
        "body. Blank slices at the ends are background, and so are those between the few voxels of a sparse map: a "
        "slice has content where a quarter of its lines (`content-share`) hold more than one value.",
        example="40 slices of a head, of which slice k = 17 is all 0.",
        remedy="Convert the series again: `medimg dicom` tells whether slices are missing there. `medimg plot` shows "
        "the slice.",
        gathers=(Numbers, Slices),
    ),
    Rule(
        "V005",
        "blank-volume",
        "warning",
        _blank_volumes,
        "No volume of a series holds one value only.",
        why="A volume of zeros in a time or diffusion series is an outlier in every fit, and most fits do not tell.",
        example="A series of 200 volumes, the last of them zeros: the scan was stopped.",
        remedy="Cut volumes off at the end with `medimg slice`, and b-values and events with them; convert the series "
        "again where one is missing in between.",
        gathers=(Numbers, Slices),
    ),
    Rule(
        "V006",
        "copied-slice",
        "warning",
        _copied_slices,
        "No slice is an exact copy of the one before.",
        why="Noise makes no two slices equal. Copies are a file that was taken twice, gaps that somebody filled, or an "
        "image that was stretched by nearest neighbour: it has less resolution than its header says.",
        example="A series of 60 files, one of them there under two names, stacked to 61 slices.",
        remedy="Convert the series again: `medimg dicom` lists duplicates. `medimg slice` takes slices out.",
        gathers=(Numbers, Slices),
    ),
    Rule(
        "V007",
        "copied-volume",
        "warning",
        _copied_volumes,
        "No volume is an exact copy of the one before.",
        why="Noise makes no two volumes of a series equal. A copy counts one measurement twice, and shifts the time of "
        "all that follow.",
        example="A series of 100 volumes; volume 57 was lost, and a program filled the gap with volume 56.",
        remedy="Convert the series again, or take the volume out with `medimg slice`, and its b-value or event with "
        "it.",
        gathers=(Numbers, Slices),
    ),
    Rule(
        "V008",
        "clipped",
        "warning",
        _clipped,
        "Values do not pile up at the limits of the stored type.",
        why="What is larger than the type can hold was cut off when the image was cast, and cannot be told from the "
        "largest number. The rule looks for many more voxels at the limit than at numbers next to it; 0 of unsigned "
        "types, and what a scaling makes 0, is background, and a number far from all others is padding. Letters drawn "
        "into an image may look clipped where their edges were smoothed.",
        example="A CT of -1024 to 3071 HU, cast to int8: bone is 127.",
        remedy="Cast the original again: `medimg convert --dtype` refuses to clip unless `--clip` says so, and "
        "`--rescale` fits the range.",
        gathers=(Numbers,),
    ),
    Rule(
        "V009",
        "few-levels",
        "warning",
        _few_levels,
        "Values that are no whole numbers take more than a few levels.",
        why="A quantity that takes 16 levels or fewer (`levels-least`) was rounded on its way: a slope too coarse, "
        "or a cast in between. Contrast is gone for good.",
        example="A map from 0 to 1, stored in int16 with a slope of 0.1: 11 levels.",
        remedy="Store the original in float32, or let `medimg convert --dtype int16 --rescale` choose the slope.",
        gathers=(Numbers,),
    ),
    Rule(
        "V010",
        "coarse-slope",
        "info",
        _coarse_slope,
        "Scaled values use the range of the stored type.",
        why="Where stored numbers use less than one percent of their type (`range-share`), values were rounded to "
        "coarse steps although there is room for finer ones.",
        example="A map from 0 to 1 in int16 with a slope of 0.01: 101 of 65,536 numbers.",
        remedy="Store the original with `medimg convert --dtype int16 --rescale`, or in float32. What has been rounded "
        "does not come back.",
        gathers=(Numbers,),
    ),
    Rule(
        "V011",
        "wasteful-type",
        "info",
        _wasteful,
        "Values need the type that they are stored in.",
        why="Memory, disk and transfer cost 2 to 8 times as much as needed.",
        example="A mask of 0 and 1 in float64; a CT in int32.",
        remedy="`medimg convert --dtype` to the type named, in a format that has it: it refuses if a value would "
        "change.",
        gathers=(Numbers,),
    ),
    Rule(
        "V012",
        "cut-off-and-filled",
        "warning",
        _cut_off,
        "No scan ends in the middle of a slice.",
        why="Some readers take a file that is cut off for whole and fill it up with zeros; whatever they write then "
        "looks sound. The last slice with content is like the one before up to a line, and zeros follow. A scan with "
        "background of zeros may be cut off where nobody can tell.",
        example="A truncated scan that was converted to another format by a program that did not notice.",
        remedy="Get the scan again from where it came, and check that file: `medimg check` finds what is cut off. "
        "`medimg plot` shows the slice.",
        gathers=(Slices,),
    ),
)

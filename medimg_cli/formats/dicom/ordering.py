"""Which frames are one volume, where several lie at each position: time points and diffusion weightings.

Decisions:

- What numbers the volumes is looked for in this order: TemporalPositionIdentifier (0020,0100), the phase number of
  Philips, AcquisitionNumber (0020,0012), DimensionIndexValues (0020,9157), InstanceNumber (0020,0013), which counts
  volume by volume or slice by slice, TriggerTime (0018,1060), AcquisitionTime (0008,0032), ContentTime (0008,0033).
  It counts where it tells all frames at each position apart, and has no more values than there are volumes. Of times
  the order at each position counts, for each slice has a time of its own; times after midnight follow those before it.
- All frames of a volume must be weighted in the same way. Where no number makes such volumes, those with the same
  b-value and direction are one volume; of several, the first at each position belong together. Volumes are in the order
  in which the slices of the first position were acquired (InstanceNumber, AcquisitionTime), in a multi-frame file in
  that of its dimensions (PS3.3, C.7.6.17), not sorted by b-value. dcm2niix looks at the last dimension alone, and so
  puts b = 0 of Philips behind the directions; values and directions go with their volumes in either order.
- A volume that has not all slices (a scan that was interrupted) is refused by its number; ``gaps="ignore"`` leaves it
  out, with a warning.
- Where nothing tells which frames belong together, nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from medimg_cli.errors import MissingSliceError, UnsupportedError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.vectors import Vector
from medimg_cli.formats.reading import Reading

__all__ = ["Group", "Volumes", "arrange"]

Group = Sequence[Frame]
"""The frames at one position."""
Volumes = tuple[tuple[Frame, ...], ...]
"""Frames by time and K."""

_NUMBERS = ("TemporalPositionIdentifier", "PhilipsPhaseNumber", "AcquisitionNumber")
_TIMES = ("TriggerTime", "AcquisitionTime", "ContentTime")
#: Times of day are HHMMSS.
_NOON, _DAY = 120000, 240000
#: Volumes by what numbers them: K -> frame.
_Found = list[dict[int, Frame]]


def arrange(groups: Sequence[Group], reading: Reading) -> tuple[Volumes, list[str]]:
    """Return the volumes that frames make, and warnings.

    Parameters
    ----------
    groups : sequence of sequence of Frame
        The frames at each position, by K.
    reading : Reading
        Its ``gaps`` say what to do with volumes that are not complete.

    Raises
    ------
    UnsupportedError
        If nothing says which frames are one volume.
    GeometryError
        If a volume has not all slices.
    """
    times = max(map(len, groups))
    if times == 1:
        return (tuple(group[0] for group in groups),), []
    weights = _weights(groups)
    for found in _candidates(groups, times):
        if not weights or _uniform(found, weights):
            return _complete(found, groups, reading)
    weighted = _by_weight(groups, weights) if weights else None
    if weighted is not None:
        return _complete(weighted, groups, reading)
    usual = Counter(map(len, groups)).most_common(1)[0][0]
    odd = next((group for group in groups if len(group) != usual), None)
    if odd is not None:
        count = f"{len(odd)} file{'s' if len(odd) > 1 else ''} at the position of {odd[0].name}"
        raise MissingSliceError(f"{count}, {usual} at others: slices are missing or double")
    raise UnsupportedError(
        f"its {len(groups)} slices come {times} times, and nothing says which belong to one volume "
        f"({groups[0][0].name} and {groups[0][1].name} lie at the same position)"
    )


def _complete(found: _Found, groups: Sequence[Group], reading: Reading) -> tuple[Volumes, list[str]]:
    """Return volumes that have all slices; others are refused or left out."""
    count = len(groups)
    short = [n for n, volume in enumerate(found) if len(volume) < count]
    whole = tuple(tuple(volume[k] for k in range(count)) for volume in found if len(volume) == count)
    if not short:
        return whole, []
    said = [f"volume {n + 1} of {len(found)} has {len(found[n])} of {count} slices" for n in short]
    if reading.gaps != "ignore" or not whole:
        missing = next(k for k in range(count) if k not in found[short[0]])
        hint = "--gaps ignore leaves it out" if whole and reading.gaps != "ignore" else None
        raise MissingSliceError(f"{said[0]}, none at the position of {groups[missing][0].name}", hint=hint)
    return whole, [f"{sentence}: it is left out" for sentence in said[:3]]


# what numbers volumes


def _candidates(groups: Sequence[Group], times: int) -> Iterator[_Found]:
    """Yield the volumes that each of the numbers of frames makes, where it makes some."""
    for keyword in _NUMBERS:
        yield from _split_by(groups, times, [[frame.number(keyword) for frame in group] for group in groups])
    yield from _split_by(groups, times, _dimensions(groups))
    for numbers in _instances(groups, times):
        yield from _split_by(groups, times, numbers)
    if len(set(map(len, groups))) == 1:
        for keyword in _TIMES:
            yield from _split_by(groups, times, [_ranks(group, keyword) for group in groups])


def _split_by(groups: Sequence[Group], times: int, numbers: Sequence[Sequence[Any]]) -> Iterator[_Found]:
    """Yield volumes by their numbers, if there are as many as volumes and no two at one position are the same."""
    values = {number for row in numbers for number in row}
    if None in values or len(values) != times or any(len(set(row)) < len(row) for row in numbers):
        return
    found: dict[Any, dict[int, Frame]] = {value: {} for value in sorted(values)}
    for k, (group, row) in enumerate(zip(groups, numbers, strict=True)):
        for frame, number in zip(group, row, strict=True):
            found[number][k] = frame
    yield list(found.values())


def _dimensions(groups: Sequence[Group]) -> list[list[Any]]:
    """Return what DimensionIndexValues (0020,9157) of multi-frame files tell apart at one position."""
    rows = [[frame.numbers("DimensionIndexValues") for frame in group] for group in groups]
    if len({value and len(value) for row in rows for value in row}) > 1 or not rows[0][0]:
        return [[None] for _ in groups]
    told = [n for n in range(len(rows[0][0])) if any(len({value[n] for value in row if value}) > 1 for row in rows)]
    return [[tuple(value[n] for n in told) for value in row if value] for row in rows]


def _instances(groups: Sequence[Group], times: int) -> Iterator[list[list[Any]]]:
    """Yield what InstanceNumber says: all times of a slice, then the next slice; else volume by volume.

    Its values count where none is missing between the first and the last, else their places in order.
    """
    said = [[frame.number("InstanceNumber") for frame in group] for group in groups]
    numbers = [[n for n in row if n is not None] for row in said]
    known = sorted(n for row in numbers for n in row)
    count = len(groups)
    if len(set(known)) < sum(map(len, groups)):
        return
    counted = [{n: n - known[0] for n in known}] if known[-1] - known[0] < count * times else []
    for place in (*counted, {n: float(rank) for rank, n in enumerate(known)}):
        if all(len({place[n] // times for n in row}) == 1 for row in numbers):
            yield [[place[n] % times for n in row] for row in numbers]
        yield [[place[n] // count for n in row] for row in numbers]


def _ranks(group: Group, keyword: str) -> list[Any]:
    """Return the places in order of time of the frames at one position; None where two have the same time."""
    values = [frame.number(keyword) for frame in group]
    known = [value for value in values if value is not None]
    if len(set(known)) < len(group):
        return [None] * len(group)
    if keyword != "TriggerTime" and max(known) - min(known) > _NOON:
        known = [value + _DAY if value < _NOON else value for value in known]
    order = sorted(range(len(known)), key=known.__getitem__)
    rank = {n: place for place, n in enumerate(order)}
    return [rank[n] for n in range(len(group))]


# diffusion


def _weights(groups: Sequence[Group]) -> dict[int, Any]:
    """Return how each frame is weighted, by its id; nothing where those at one position are weighted alike."""
    from medimg_cli.formats.dicom.diffusion import weighting

    if len({_rounded(weighting(frame)) for frame in max(groups, key=len)}) == 1:
        return {}
    return {id(frame): _rounded(weighting(frame)) for group in groups for frame in group}


def _rounded(weight: tuple[float, Vector | None] | None) -> tuple[Any, ...]:
    if weight is None:
        return ()
    value, direction = weight
    return round(value, 2), direction and tuple(round(x, 4) + 0.0 for x in direction)


def _uniform(found: _Found, weights: dict[int, Any]) -> bool:
    return all(len({weights[id(frame)] for frame in volume.values()}) == 1 for volume in found)


def _by_weight(groups: Sequence[Group], weights: dict[int, Any]) -> _Found | None:
    """Return volumes of frames with one weighting, None where positions do not have as many of each."""
    found: dict[Any, dict[int, Frame]] = {}
    for k, group in enumerate(groups):
        count: Counter[Any] = Counter()
        for frame in sorted(group, key=_acquired):
            weight = weights[id(frame)]
            found.setdefault((weight, count[weight]), {})[k] = frame
            count[weight] += 1
    if len(found) > max(map(len, groups)):
        return None
    return sorted(found.values(), key=lambda volume: _acquired(volume[min(volume)]))


def _acquired(frame: Frame) -> tuple[float, ...]:
    numbers = (frame.number(keyword) or 0.0 for keyword in ("InstanceNumber", "AcquisitionTime"))
    return *numbers, *(frame.numbers("DimensionIndexValues") or ()), float(frame.at)

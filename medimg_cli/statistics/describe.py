"""What the values of an image are like: counts, range, mean, deviation, exact percentiles, volumes.

The image is streamed, a mask and a label map are read beside it, and memory does not grow with the size of any of them.
Stored numbers of at most 16 bits are counted, all in one pass; others take a pass for their moments, and a few more for
exact percentiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, isfinite, prod, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medimg_cli.backends import numpy_dtype, scale
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import UnsupportedError, UsageError
from medimg_cli.statistics.moments import Moments, Tally, tally_of_counts
from medimg_cli.statistics.ranks import MOST_BINS, Selector, count_into
from medimg_cli.statistics.selection import Selection, check_match, found_labels, selected

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.labels import LabelTable

__all__ = ["PERCENTILES", "Description", "check_numbers", "describe", "percentile_name"]

PERCENTILES = (1.0, 5.0, 25.0, 75.0, 95.0, 99.0)
"""Percentiles that are found where none are asked for; the median always is."""

#: Groups (channel and label) that one pass looks after.
_MOST_GROUPS = 1 << 11

Array = np.ndarray[Any, Any]
Pick = Callable[[int], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Facts about some values of an image. NaN and infinities are left out of all but their counts.

    Parameters
    ----------
    channel : int or None
        None: all channels together.
    label : int or None
        None: whatever the label.
    name : str or None
        Of the label.
    count : int
        Values, NaN and infinities included.
    finite, nan, positive_infinity, negative_infinity : int
        How many of them are that.
    min, max, sum, mean : int or float, or None
        None where no value is finite, as in all that follow. The sum of integers is exact.
    std, std_sample : float or None
        Standard deviation: divided by n, as in `numpy.std`; by n - 1, as mrstats and fslstats do (None for one value).
    median : int or float, or None
        The middle value, or the mean of the two in the middle.
    percentiles : tuple of (float, value)
        Percentage and percentile, in the order asked for; between two values it is linear, as in `numpy.percentile`.
    volume_mm3 : float or None
        Space that the voxels take, None for several channels together, which share it.
    above : float or None
        The threshold.
    above_count : int or None
        Finite values above it.
    above_mm3 : float or None
        Their space.
    """

    channel: int | None
    label: int | None = None
    name: str | None = None
    count: int = 0
    finite: int = 0
    nan: int = 0
    positive_infinity: int = 0
    negative_infinity: int = 0
    min: float | None = None
    max: float | None = None
    sum: float | None = None
    mean: float | None = None
    std: float | None = None
    std_sample: float | None = None
    median: float | None = None
    percentiles: tuple[tuple[float, float | None], ...] = ()
    volume_mm3: float | None = None
    above: float | None = None
    above_count: int | None = None
    above_mm3: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return a flat record of the facts: percentiles as ``p5``, ``p97.5``; a threshold only where there is one."""
        record = {name: getattr(self, name) for name in self.__slots__}
        record.pop("percentiles")
        tail = {name: record.pop(name) for name in ("volume_mm3", "above", "above_count", "above_mm3")}
        record.update((percentile_name(percent), value) for percent, value in self.percentiles)
        record.update((name, value) for name, value in tail.items() if name == "volume_mm3" or self.above is not None)
        return record


def percentile_name(percent: float) -> str:
    """Return the key of a percentile in a record.

    >>> percentile_name(5.0), percentile_name(97.5)
    ('p5', 'p97.5')
    """
    return "p" + repr(float(percent)).removesuffix(".0")


def describe(
    backend: Backend,
    *,
    mask: Backend | None = None,
    labels: Backend | None = None,
    known: Sequence[int] | None = None,
    table: LabelTable | None = None,
    percentiles: Sequence[float] = PERCENTILES,
    above: float | None = None,
    each: bool = True,
) -> list[Description]:
    """Describe the values of an image of any size.

    Parameters
    ----------
    backend : Backend
    mask : Backend, optional
        Only voxels where it is not 0 (and not NaN) count. One channel, or as many as the image.
    labels : Backend, optional
        Label map; each label but 0 gets descriptions of its own. One channel, or as many as the image.
    known : sequence of int, optional
        Labels to describe; all that the label map holds, but 0, where left out.
    table : LabelTable, optional
        Names of labels; that of the label map where left out.
    percentiles : sequence of float
        Percentages, 0 to 100.
    above : float, optional
        Threshold above which values are counted.
    each : bool
        Describe each channel, and where there are several, all together behind them. Else all together only.

    Returns
    -------
    list of Description
        Channel by channel, in each label by label.

    Raises
    ------
    UsageError
        If a percentage is not from 0 to 100, or the threshold is not finite.
    GeometryError
        If the mask or the label map lies on another grid, or has other channels.
    FormatError
        If a label is no whole number.
    UnsupportedError
        If values are complex or of 128 bits, or the label map has more than a million different values.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.backends import ArrayBackend
    >>> from medimg_cli.header import Header
    >>> array = np.arange(24, dtype="int16").reshape(1, 2, 3, 4)
    >>> header = Header(shape=array.shape, dtype="int16", affine=AffineMatrix())
    >>> (found,) = describe(ArrayBackend(array, header), percentiles=[90], above=20)
    >>> found.mean, found.median, found.percentiles, found.above_count
    (11.5, 11.5, ((90.0, 20.7),), 3)
    """
    header = backend.header
    check_numbers(percentiles, above)
    _check_type(header.value_dtype)
    if mask is not None:
        check_match(header, mask.header)
    if labels is not None:
        check_match(header, labels.header, "label map", "IMAGE LABELS RESULT")
        known = found_labels(labels) if known is None else sorted(set(known))
        table = table if table is not None else labels.header.labels
    plan = _Plan(header, each, tuple(map(float, percentiles)), above)
    found: dict[tuple[int, int], Description] = {}
    most = max(1, _MOST_GROUPS // plan.slots)
    wanted = known if labels is not None and known is not None else (0,)
    parts = [wanted[start : start + most] for start in range(0, len(wanted), most)]
    for part in parts:
        gather = _by_counting if plan.countable(len(part)) else _by_passes
        with np.errstate(all="ignore"):
            for slot, group, tally, pick in gather(backend, Selection(mask, labels, part), plan):
                label = part[group] if labels is not None else None
                name = table.name_of(label) or None if table is not None and label is not None else None
                found[slot, label or 0] = plan.described(slot, label, name, tally, pick)
    return [found[place] for slot in range(plan.slots) for place in sorted(found) if place[0] == slot]


def check_numbers(percentiles: Sequence[float], above: float | None) -> None:
    """Refuse percentages that are not from 0 to 100, and a threshold that is not finite.

    Raises
    ------
    UsageError
        As said.
    """
    odd = next((each for each in percentiles if not 0 <= each <= 100), None)
    if odd is not None:
        raise UsageError(f"there is no percentile {odd:g}", hint="percentages go from 0 to 100")
    if above is not None and not isfinite(above):
        raise UsageError(f"the threshold {above:g} is not finite")


def _check_type(dtype: str) -> None:
    if dtype.startswith("complex"):
        raise UnsupportedError("its values are complex, which have no order", hint="take magnitude or phase first")
    if dtype == "float128":
        raise UnsupportedError("its values are float128", hint="convert it first: medimg convert --dtype float64")


class _Plan(NamedTuple):
    """What is asked of an image: slots are channels, the last one all of them together where there are several."""

    header: Header
    each: bool
    percentiles: tuple[float, ...]
    above: float | None

    @property
    def slots(self) -> int:
        channels = self.header.channels
        return channels + (channels > 1) if self.each else 1

    def slots_of(self, channel: int) -> tuple[int, ...]:
        """Return where the values of a channel count."""
        if not self.each:
            return (0,)
        return (channel, self.slots - 1) if self.slots > 1 else (channel,)

    def countable(self, groups: int) -> bool:
        """Tell whether there is room to count how often each stored number occurs."""
        bits = 8 * ITEMSIZE[self.header.dtype]
        return bits <= 16 and (self.slots * groups) << bits <= MOST_BINS

    def ranks(self, finite: int) -> list[int]:
        """Return the ranks of all values that percentiles need."""
        return sorted({rank for percent in (50.0, *self.percentiles) for rank in _between(percent, finite)[:2]})

    def described(self, slot: int, label: int | None, name: str | None, tally: Tally, pick: Pick) -> Description:
        """Put what is known of a group into a description."""
        count = tally.finite + sum(tally.odd)
        channels = self.header.channels
        alone = channels == 1 or (self.each and slot < channels)
        voxel = abs(self.header.affine.determinant) if alone else None
        facts: dict[str, Any] = {
            "channel": slot if self.each and slot < channels else None,
            "label": label,
            "name": name,
            "count": count,
            "finite": tally.finite,
            "volume_mm3": None if voxel is None else count * voxel,
            "percentiles": tuple((percent, None) for percent in self.percentiles),
        }
        facts.update(zip(("nan", "positive_infinity", "negative_infinity"), tally.odd, strict=True))
        if self.above is not None:
            space = None if voxel is None else tally.above * voxel
            facts.update(above=self.above, above_count=tally.above, above_mm3=space)
        if tally.finite:
            facts.update(self._measured(tally, pick))
        return Description(**facts)

    def _measured(self, tally: Tally, pick: Pick) -> dict[str, Any]:
        count = tally.finite
        return {
            "min": tally.low + 0,
            "max": tally.high + 0,
            "sum": tally.total,
            "mean": tally.mean,
            "std": sqrt(tally.squares / count),
            "std_sample": sqrt(tally.squares / (count - 1)) if count > 1 else None,
            "median": _percentile(50.0, count, pick),
            "percentiles": tuple((percent, _percentile(percent, count, pick)) for percent in self.percentiles),
        }


def _between(percent: float, count: int) -> tuple[int, int, float]:
    """Return the ranks that a percentile lies between, and how far it is from the first towards the second.

    >>> _between(50.0, 4), _between(100.0, 4)
    ((1, 2, 0.5), (3, 3, 0.0))
    """
    place = (count - 1) * (percent / 100)
    low = min(floor(place), count - 1)
    part = place - low
    return low, low + (part > 0), part


def _percentile(percent: float, count: int, pick: Pick) -> Any:
    """Return a percentile: a value as it is, or between two of them the number that NumPy's formula gives."""
    first, second, part = _between(percent, count)
    low, high = pick(first), pick(second)
    if low == high:
        return low + 0
    apart = float(high) - float(low)
    return low + apart * part if part < 0.5 else high - apart * (1 - part)


def _by_counting(backend: Backend, selection: Selection, plan: _Plan) -> Iterator[tuple[int, int, Tally, Pick]]:
    """Count how often each stored number occurs; that says everything."""
    header, groups = backend.header, selection.groups
    dtype = numpy_dtype(header.dtype)
    unsigned = f"u{dtype.itemsize}"
    table = np.zeros((plan.slots * groups, 1 << 8 * dtype.itemsize), np.int64)
    for channel, numbers, group in selected(backend, selection, raw=True):
        for slot in plan.slots_of(channel):
            rows = slot if group is None else group + slot * groups
            count_into(table, rows, numbers.view(unsigned))
    for row, counts in enumerate(table):
        there = np.flatnonzero(counts).astype(unsigned)
        values = scale(there.view(dtype) if dtype.kind != "b" else (there != 0).view("u1"), header)
        tally, values, counts = tally_of_counts(values, counts[there], plan.above)
        yield *divmod(row, groups), tally, _picker(values, np.cumsum(counts))


def _picker(values: Array, ends: Array) -> Pick:
    return lambda rank: values[np.searchsorted(ends, rank, side="right")].item()


def _by_passes(backend: Backend, selection: Selection, plan: _Plan) -> Iterator[tuple[int, int, Tally, Pick]]:
    """Gather moments in one pass, and find percentiles in as many more as it takes."""
    header, groups = backend.header, selection.groups
    dtype = np.dtype("u1" if header.value_dtype == "bool" else header.value_dtype)
    moments = Moments(plan.slots, groups, dtype, plan.above)
    most = prod(header.shape) * len(plan.slots_of(0))
    selector = Selector(plan.slots * groups, dtype, most)

    def stream(take: Callable[[Array, Array | int], None], first: bool = False) -> None:
        for channel, values, group in selected(backend, selection):
            values = values if values.dtype.kind != "b" else (values.view("u1") != 0).view("u1")
            slots = plan.slots_of(channel)
            if first:
                values, group = moments.add(values, group, slots)
            elif dtype.kind == "f":
                good = np.isfinite(values)
                if not good.all():
                    values, group = values[good], None if group is None else group[good]
            for slot in slots:
                take(values, slot if group is None else group + slot * groups)

    stream(selector.add, True)
    tallies = [moments.tally(*divmod(number, groups)) for number in range(plan.slots * groups)]
    varied = [plan.ranks(tally.finite) if tally.finite and tally.low != tally.high else [] for tally in tallies]
    for number, (tally, found) in enumerate(zip(tallies, selector.select(varied, stream), strict=True)):
        yield *divmod(number, groups), tally, found.__getitem__ if found else _constant(tally.low)


def _constant(value: Any) -> Pick:
    return lambda rank: value

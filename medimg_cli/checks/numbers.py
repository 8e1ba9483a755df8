"""What numbers an image holds: range, NaN and infinities, zeros, and how often each occurs where they are few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import numpy_dtype, scale
from medimg_cli.dtypes import ITEMSIZE, integer_range, is_complex, is_float, is_integer

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.checks.subject import Subject
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Region

__all__ = ["MOST_LABELS", "NEAR", "NumberFacts", "Numbers", "plain"]

MOST_LABELS = 1 << 16
"""Different values of a label map that are kept with their counts."""

NEAR = 16
"""What part of the range of a type lies next to one of its limits: one of so many."""

#: Different values of all other images that are kept with their counts.
_MOST_VALUES = 256
#: Whole numbers that lie no further apart are counted in a table.
_TABLE = 1 << 16
#: Values that are looked at before all of a box are.
_SAMPLE = 1 << 12

Array = Any
Place = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberFacts:
    """What numbers an image holds, over all channels; values, that is with slope and intercept, unless said otherwise.

    Parameters
    ----------
    count : int
        How many values there are.
    low, high : int, float or None
        Smallest and largest finite value; None where none is finite, and of complex values.
    nans, infinities : int
        How many values are NaN, and how many infinite (of either sign; complex ones in either part).
    nonzero : int
        How many are neither 0 nor NaN.
    whole : bool
        Whether all finite values are whole numbers; False of complex values.
    distinct : mapping or None
        Finite value -> how often it occurs, ascending; whole numbers are int. None where there are more than 256 (of
        label maps, and where labels are expected: more than 65,536).
    levels : int or None
        How many different finite stored numbers there are; None where that is not known.
    stored : (low, high) or None
        Smallest and largest finite stored number; None where none is finite, and of complex numbers.
    census : int or None
        CRC-32 of how often each finite value occurs, in the order of the values: the same for all images of the same
        values, whatever their type and order. None where values are not counted.
    single : bool
        Whether all finite stored numbers are exact in 32 bits; only of float64.
    bottom, top : (int, int)
        How often the smallest and the largest number of an integer type are stored, and how often the others in that
        sixteenth of its range; zeros of other types.
    nan_at, infinity_at : (c, i, j, k) or None
        Where one of them is.
    """

    count: int
    low: Any = None
    high: Any = None
    nans: int = 0
    infinities: int = 0
    nonzero: int = 0
    whole: bool = False
    distinct: Mapping[Any, int] | None = None
    levels: int | None = None
    stored: tuple[Any, Any] | None = None
    census: int | None = None
    single: bool = False
    bottom: tuple[int, int] = (0, 0)
    top: tuple[int, int] = (0, 0)
    nan_at: Place | None = None
    infinity_at: Place | None = None

    @property
    def finite(self) -> int:
        """How many values are finite."""
        return self.count - self.nans - self.infinities


class Numbers:
    """Gathers what numbers an image holds; its result is a `NumberFacts`."""

    def __init__(self, subject: Subject) -> None:
        header = subject.header
        about_labels = subject.is_labels or subject.settings.known is not None
        about_labels = about_labels or any("label" in each for each in subject.settings.expect)
        most = MOST_LABELS if about_labels else _MOST_VALUES
        few = ITEMSIZE[header.dtype] <= 2 and not is_float(header.dtype)
        self._kept: _Counted | _Measured = _Counted(header, most) if few else _Measured(header, most)

    @staticmethod
    def wants(subject: Subject) -> bool:
        return True

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        self._kept.add(region, box)

    def result(self) -> NumberFacts:
        return self._kept.result()


class _Counted:
    """Numbers of at most 16 bits: how often each occurs says everything."""

    def __init__(self, header: Header, most: int) -> None:
        import numpy as np

        self._header, self._most = header, most
        self._dtype = numpy_dtype(header.dtype)
        self._table = np.zeros((1, 1 << 8 * self._dtype.itemsize), np.int64)

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        from medimg_cli.statistics.ranks import count_into

        count_into(self._table, 0, box.ravel("K").view(f"u{box.dtype.itemsize}"))

    def result(self) -> NumberFacts:
        import numpy as np

        table = self._table[0]
        if self._dtype.kind == "b":
            table = np.array([table[0], table[1:].sum()])
        there = np.flatnonzero(table)
        counts = table[there]
        stored = there.astype(f"u{self._dtype.itemsize}").view("u1" if self._dtype.kind == "b" else self._dtype)
        order = np.argsort(stored)
        stored, counts = stored[order], counts[order]
        values = scale(stored, self._header)
        edges = _Edges(self._header.dtype)
        edges.add(stored, counts)
        return NumberFacts(
            count=int(counts.sum()),
            **_range_of(values, counts),
            **_variety_of(values, counts, self._most),
            levels=len(stored),
            stored=(stored[0].item(), stored[-1].item()),
            census=_census(values, counts),
            bottom=(edges.bottom[0], edges.bottom[1]),
            top=(edges.top[0], edges.top[1]),
        )


def _range_of(values: Array, counts: Array) -> dict[str, Any]:
    """Return the facts that tell of range, of values and how often each occurs."""
    import numpy as np

    good = np.isfinite(values)  # a slope may make infinities of numbers
    found = values[good]
    return {
        "low": found.min().item() if len(found) else None,
        "high": found.max().item() if len(found) else None,
        "nans": int(counts[np.isnan(values)].sum()),
        "infinities": int(counts[np.isinf(values)].sum()),
        "nonzero": int(counts[(values != 0) & (values == values)].sum()),
    }


def _census(values: Array, counts: Array) -> int:
    import zlib

    import numpy as np

    good = np.isfinite(values)
    _, places = np.unique(values[good], return_inverse=True)
    return zlib.crc32(np.bincount(places, counts[good]).astype("<i8").tobytes())


def _variety_of(values: Array, counts: Array, most: int) -> dict[str, Any]:
    """Return the facts that tell of different values."""
    import numpy as np

    good = np.isfinite(values)
    values, counts = values[good], counts[good]
    whole = values.dtype.kind != "f" or bool((values == np.floor(values)).all())
    distinct: dict[Any, int] = {}
    if len(values) <= most:
        for value, count in sorted(zip(values.tolist(), counts.tolist(), strict=True)):
            value = plain(value)
            distinct[value] = distinct.get(value, 0) + count
    return {"whole": whole, "distinct": distinct if len(values) <= most else None}


def plain(value: Any) -> int | float:
    """Return a number as Python's int where it is whole and below 2**64, else as its float.

    >>> plain(3.0), plain(0.5)
    (3, 0.5)
    """
    whole = isinstance(value, int) or (abs(value) < 2**64 and value == value // 1)
    found: int | float = int(value) if whole else float(value)
    return found


class _Measured:
    """Numbers of more bits, and floats: range and counts, box by box; different values while they are few."""

    def __init__(self, header: Header, most: int) -> None:
        self._header, self._most = header, most
        self._complex = is_complex(header.dtype)
        self._edges = _Edges(header.dtype)
        self._count = self._nans = self._infinities = self._nonzero = 0
        self._stored: tuple[Any, Any] | None = None
        self._range: tuple[Any, Any] | None = None
        self._whole = not self._complex
        self._single = header.dtype == "float64"
        self._distinct: dict[Any, int] | None = None if self._complex else {}
        self._nan_at: Place | None = None
        self._infinity_at: Place | None = None

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        import numpy as np

        with np.errstate(all="ignore"):
            if self._complex:
                self._odd(region, scale(box, self._header))
                return
            raw = box.ravel("K")
            self._stored = _wider(self._stored, raw)
            self._edges.add(raw)
            self._single = self._single and _is_single(raw)
            values = raw if not self._header.scaled else scale(raw, self._header)
            low, high = values.min(), values.max()
            if not (np.isfinite(low) and np.isfinite(high)):
                values = self._odd(region, scale(box, self._header))
            else:
                self._count += values.size
                self._nonzero += int(np.count_nonzero(values != 0))
            if values.size:
                self._range = _wider(self._range, values)
                self._vary(values)

    def _odd(self, region: Region, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Count values some of which are not finite; return those that are, 1-D."""
        import numpy as np

        missing, good = np.isnan(values), np.isfinite(values)
        nans = int(np.count_nonzero(missing))
        infinities = values.size - nans - int(np.count_nonzero(good))
        if nans and self._nan_at is None:
            self._nan_at = _first(region, missing)
        if infinities and self._infinity_at is None:
            self._infinity_at = _first(region, ~(missing | good))
        self._count += values.size
        self._nans += nans
        self._infinities += infinities
        self._nonzero += int(np.count_nonzero(values != 0)) - nans
        return values.ravel("K")[good.ravel("K")]

    def _vary(self, values: np.ndarray[Any, Any]) -> None:
        """Take finite values in that may be different from those before."""
        import numpy as np

        sample = values[:: max(1, values.size // _SAMPLE)]
        if self._whole and values.dtype.kind == "f":
            self._whole = bool((sample == np.floor(sample)).all() and (values == np.floor(values)).all())
        if self._distinct is None:
            return
        if len(np.unique(sample)) > self._most:
            self._distinct = None
            return
        for value, count in zip(*_counts(values, self._whole), strict=True):
            value = plain(value)
            self._distinct[value] = self._distinct.get(value, 0) + count
        if len(self._distinct) > self._most:
            self._distinct = None

    def result(self) -> NumberFacts:
        low, high = self._range or (None, None)
        distinct = None if self._distinct is None else dict(sorted(self._distinct.items()))
        return NumberFacts(
            count=self._count,
            low=None if low is None else _number(low),
            high=None if high is None else _number(high),
            nans=self._nans,
            infinities=self._infinities,
            nonzero=self._nonzero,
            whole=self._whole,
            distinct=distinct,
            levels=None if distinct is None else len(distinct),
            stored=None if self._stored is None else (_number(self._stored[0]), _number(self._stored[1])),
            single=self._single,
            bottom=(self._edges.bottom[0], self._edges.bottom[1]),
            top=(self._edges.top[0], self._edges.top[1]),
            nan_at=self._nan_at,
            infinity_at=self._infinity_at,
        )


def _wider(known: tuple[Any, Any] | None, values: Array) -> tuple[Any, Any] | None:
    """Return a range that also takes in some numbers, those of them that are finite."""
    import numpy as np

    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        values = values[np.isfinite(values)]
        if not values.size:
            return known
        low, high = values.min(), values.max()
    return (low, high) if known is None else (min(known[0], low), max(known[1], high))


class _Edges:
    """How many numbers lie at the limits of an integer type, and next to them."""

    def __init__(self, dtype: str) -> None:
        self.bottom, self.top = [0, 0], [0, 0]
        self._limits = integer_range(dtype) if is_integer(dtype) else None

    def add(self, numbers: Array, counts: Array = None) -> None:
        """Take in stored numbers, 1-D, each of which may stand for several."""
        if self._limits is None:
            return
        low, high = self._limits
        near = (high - low + 1) // NEAR
        kind = numbers.dtype.type
        if int(numbers.min()) < low + near:
            self._note(self.bottom, numbers == kind(low), numbers < kind(low + near), counts)
        if int(numbers.max()) > high - near:
            self._note(self.top, numbers == kind(high), numbers > kind(high - near), counts)

    def _note(self, side: list[int], there: Array, near: Array, counts: Array) -> None:
        import numpy as np

        at, all_near = (int(np.count_nonzero(hits) if counts is None else counts[hits].sum()) for hits in (there, near))
        side[0] += at
        side[1] += all_near - at


def _is_single(values: Array) -> bool:
    """Tell whether all values that are finite are exact in 32 bits."""
    import numpy as np

    sample = values[:: max(1, values.size // _SAMPLE)]
    return all(((part.astype(np.float32) == part) | ~np.isfinite(part)).all() for part in (sample, values))


def _counts(values: Array, whole: bool) -> tuple[list[Any], list[int]]:
    """Return the different values of 1-D finite ones, and how often each occurs."""
    import numpy as np

    from medimg_cli.statistics.counts import distinct

    low, high = values.min(), values.max()
    if not whole or float(high) - float(low) >= _TABLE:
        return distinct(values)
    totals = np.bincount((values - low).astype(np.intp))
    places = np.flatnonzero(totals)
    return (places.astype(values.dtype) + low).tolist(), totals[places].tolist()


def _first(region: Region, hits: Array) -> Place:
    """Return where in the image the first hit of a box is."""
    import numpy as np

    c, i, j, k = (
        span[int(place)] for span, place in zip(region, np.unravel_index(hits.argmax(), hits.shape), strict=True)
    )
    return c, i, j, k


def _number(value: Any) -> int | float:
    """Return a NumPy number as Python's; of 128 bits, the nearest float."""
    return int(value) if value.dtype.kind in "iu" else float(value)

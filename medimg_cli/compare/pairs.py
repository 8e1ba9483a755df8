"""Numbers gathered from pairs of values, block by block: how far they are apart, how alike, how they overlap.

Means and sums of products merge as in Chan, Golub and LeVeque (1983), so that a large offset costs no digits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, sqrt
from typing import Any, NamedTuple

import numpy as np

from medimg_cli.statistics.counts import distinct, not_whole
from medimg_cli.statistics.recognition import FEW

__all__ = ["Correlation", "Differing", "Extreme", "Overlap", "common"]

Array = np.ndarray[Any, Any]


class Extreme(NamedTuple):
    """A difference and where it is: the place in the stream, and both values."""

    difference: Any
    place: int
    a: Any
    b: Any


def common(a: np.dtype[Any], b: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type in which values of two types can be compared, without rounding where this platform has one.

    >>> common(np.dtype("int16"), np.dtype("uint16")), common(np.dtype("int32"), np.dtype("float32"))
    (dtype('int32'), dtype('float64'))
    """
    a, b = (np.dtype("uint8") if each.kind == "b" else each for each in (a, b))
    if a == b:
        return a
    found = np.result_type(a, b)
    wide = any(each.kind in "iu" and each.itemsize == 8 for each in (a, b))
    return np.dtype(np.longdouble) if wide and found.kind == "f" else found


class Differing:
    """How many pairs differ, and the worst of them.

    Parameters
    ----------
    rtol, atol : float
        Tolerances; see `asking.Comparing`.
    """

    def __init__(self, rtol: float, atol: float) -> None:
        self._rtol, self._atol = rtol, atol
        self.count = self.beyond = self.nans = self.infinities = 0
        self.largest: Extreme | None = None
        self.relative: Extreme | None = None
        self.odd: Extreme | None = None
        self.total: Any = 0.0
        self.squares = 0.0

    def add(self, places: Array, a: Array, b: Array) -> None:
        """Take in pairs that differ: at places of the stream, of one dtype."""
        self.count += len(places)
        if a.dtype.kind in "fc":
            places, a, b = self._without_odd(places, a, b)
        if not len(places):
            return
        gap, signed = _gaps(a, b)
        size = np.maximum(_magnitude(a), _magnitude(b))
        wide = gap.astype(np.float64)
        exact = not self._rtol and not self._atol
        self.beyond += len(places) if exact else int(np.count_nonzero(wide > self._atol + self._rtol * size))
        self.largest = _worse(self.largest, gap, places, a, b)
        self.relative = _worse(self.relative, wide / size, places, a, b)
        self.total += signed.sum().item()
        self.squares += float(np.square(wide).sum())

    def _without_odd(self, places: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """Count pairs with a NaN or an infinity, and leave them out of all else."""
        good = np.isfinite(a) & np.isfinite(b)
        if good.all():
            return places, a, b
        odd = ~good
        nans = int(np.count_nonzero(np.isnan(a[odd]) | np.isnan(b[odd])))
        count = int(np.count_nonzero(odd))
        if self.odd is None:
            first = int(odd.argmax())
            self.odd = Extreme(None, int(places[first]), a[first].item(), b[first].item())
        self.nans, self.infinities = self.nans + nans, self.infinities + count - nans
        self.beyond += count
        return places[good], a[good], b[good]


def _magnitude(values: Array) -> Array:
    found: Array = np.abs(values if values.dtype.kind == "c" else values.astype(np.float64))
    return found.astype(np.float64)


def _gaps(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the distances of pairs, of integers exact, and b - a as floats."""
    if a.dtype.kind == "c":
        difference = b.astype(np.complex128) - a
        return np.abs(difference), difference
    if a.dtype.kind == "f":
        kind = np.float64 if a.dtype.itemsize <= 8 else a.dtype
        difference = b.astype(kind) - a.astype(kind)
        return np.abs(difference), difference
    above = a > b
    gap = (np.where(above, a, b) - np.where(above, b, a)).view(f"u{a.dtype.itemsize}")
    return gap, np.where(above, -1.0, 1.0) * gap


def _worse(known: Extreme | None, gaps: Array, places: Array, a: Array, b: Array) -> Extreme:
    """Return the largest difference of those known so far and those of a block; of equals the first."""
    which = int(gaps.argmax())
    gap = gaps[which].item()
    if known is not None and known.difference >= gap:
        return known
    return Extreme(gap, int(places[which]), a[which].item(), b[which].item())


class Correlation:
    """Means, variances and the covariance of pairs in which both are finite."""

    def __init__(self) -> None:
        self.count = 0
        self._mean_a = self._mean_b = self._aa = self._bb = self._ab = 0.0

    def add(self, a: Array, b: Array) -> None:
        """Take a block of pairs in; complex values are counted only."""
        if a.dtype.kind in "fc" or b.dtype.kind in "fc":
            good = np.isfinite(a) & np.isfinite(b)
            if not good.all():
                a, b = a[good], b[good]
        count = len(a)
        if not count:
            return
        if a.dtype.kind == "c" or b.dtype.kind == "c":
            self.count, self._ab = self.count + count, float("nan")
            return
        same = a is b
        x = a.astype(np.float64)
        y = x if same else b.astype(np.float64)
        mean_a, mean_b = float(x.mean()), float(y.mean())
        x -= mean_a
        if not same:
            y -= mean_b
        aa = float(np.square(x).sum())  # no dot: BLAS would start threads
        bb, ab = (aa, aa) if same else (float(np.square(y).sum()), float((x * y).sum()))
        share = count / (self.count + count)
        apart_a, apart_b, weight = mean_a - self._mean_a, mean_b - self._mean_b, self.count * share
        self._aa += aa + apart_a * apart_a * weight
        self._bb += bb + apart_b * apart_b * weight
        self._ab += ab + apart_a * apart_b * weight
        self._mean_a += apart_a * share
        self._mean_b += apart_b * share
        self.count += count

    def coefficient(self) -> float | None:
        """Return Pearson's coefficient; None where one of the two does not vary."""
        if not (0 < self._aa < inf and 0 < self._bb < inf and isfinite(self._ab)):
            return None
        return max(-1.0, min(1.0, self._ab / sqrt(self._aa) / sqrt(self._bb)))


class Overlap:
    """How many voxels have each label in one image, in the other, and in both.

    Parameters
    ----------
    limit : int
        Labels beyond which it gives up, as it does where a value is no whole number.
    are_labels : callable, optional
        Asked once, where there are more values than few, whether they are labels; left out: they are.
    """

    def __init__(self, limit: int, are_labels: Callable[[], bool] | None = None) -> None:
        self._counts: tuple[dict[Any, int], ...] = ({}, {}, {})
        self._limit, self._are_labels, self._declared = limit, are_labels, are_labels is None
        self.given_up = False

    def add(self, a: Array, b: Array) -> None:
        """Take a block of pairs in; the same array twice where they are equal."""
        if self.given_up:
            return
        same = a is b
        for which, values in enumerate((a,) if same else (a, b, a[a == b])):
            if not_whole(values) is not None:
                self.given_up = True
                return
            for value, count in _counted(values):
                for counts in self._counts if same else (self._counts[which],):
                    counts[value] = counts.get(value, 0) + count
        most = max(map(len, self._counts))
        self.given_up = most > self._limit
        if self._are_labels is not None and most > FEW and not self.given_up:
            self.given_up, self._are_labels = not self._are_labels(), None

    @property
    def convinced(self) -> bool:
        """Whether these are labels: one value other than 0, of which nothing says so, could be anything."""
        constant = any(len(counts) == 1 and 0 not in counts for counts in self._counts[:2])
        return not self.given_up and (self._declared or not constant)

    def labels(self) -> list[tuple[int, int, int, int]]:
        """Return (label, voxels in A, voxels in B, voxels in both), without 0, ascending."""
        a, b, both = self._counts
        return [(int(each), a.get(each, 0), b.get(each, 0), both.get(each, 0)) for each in sorted({*a, *b}) if each]


def _counted(values: Array) -> list[tuple[Any, int]]:
    """Return how often each value occurs; wide types by runs, which labels have."""
    if not len(values):
        return []
    if (values == values[0]).all():  # background
        return [(values[0].item(), len(values))]
    if values.dtype.itemsize <= 2 and values.dtype.kind in "iub":
        return list(zip(*distinct(values), strict=True))
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    lengths = np.diff(np.append(starts, len(values)))
    found, places = np.unique(values[starts], return_inverse=True)
    return list(zip(found.tolist(), np.bincount(places, lengths).astype(np.int64).tolist(), strict=True))

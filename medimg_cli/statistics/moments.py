"""Counts, ranges, means and variances of groups of values, merged block by block.

Means and sums of squares merge as in Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance", so
that a large offset costs no digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import floor
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Moments", "Tally", "tally_of_counts"]

Array = np.ndarray[Any, Any]


class Tally(NamedTuple):
    """What is known of one group of values; NaN and infinities are counted and left out of all else.

    Parameters
    ----------
    finite : int
        How many are finite.
    odd : (int, int, int)
        How many are NaN, +infinity, -infinity.
    low, high : int or float
        Smallest and largest; of no meaning where none is finite, as what follows.
    total : int or float
        Sum; exact for integers.
    mean : float
    squares : float
        Sum of the squared distances from the mean.
    above : int
        How many are above the threshold.
    """

    finite: int
    odd: tuple[int, int, int]
    low: Any
    high: Any
    total: Any
    mean: float
    squares: float
    above: int


def tally_of_counts(values: Array, counts: Array, above: float | None) -> tuple[Tally, Array, Array]:
    """Put values and how often each occurs into a tally.

    Parameters
    ----------
    values : 1-D array
        Each may occur several times, in any order.
    counts : 1-D integer array
    above : float or None

    Returns
    -------
    tally : Tally
    values : 1-D array
        The finite ones, ascending.
    counts : 1-D integer array
        How often each of those occurs.
    """
    odd = _triple(counts[where].sum() for where in _odd_places(values))
    if any(odd):
        good = np.isfinite(values)
        values, counts = values[good], counts[good]
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    finite = int(counts.sum())
    if not finite:
        return Tally(0, odd, None, None, None, 0.0, 0.0, 0), values, counts
    exact = values.dtype.kind in "iu"
    total = np.dot(values.astype(np.int64 if exact else np.float64), counts).item()
    mean = total / finite
    squares = np.dot((values.astype(np.float64) - mean) ** 2, counts).item()
    over = int(counts[_exceed(values, above)].sum()) if above is not None else 0
    tally = Tally(finite, odd, values[0].item(), values[-1].item(), total, mean, squares, over)
    return tally, values, counts


def _odd_places(values: Array) -> tuple[Array, Array, Array]:
    """Return where values are NaN, +infinity and -infinity."""
    return np.isnan(values), values == np.inf, values == -np.inf


def _triple(counts: Iterable[Any]) -> tuple[int, int, int]:
    nan, positive, negative = map(int, counts)
    return nan, positive, negative


def _exceed(values: Array, above: float) -> Array:
    """Tell which values are above a threshold; floats compare as NumPy's do, integers of 64 bits exactly."""
    found: Array = values > (above if values.dtype.kind == "f" else floor(above))
    return found


class Moments:
    """Tallies of groups, over any number of blocks.

    Parameters
    ----------
    slots : int
        How often the groups repeat: once for each channel, say.
    groups : int
    dtype : numpy.dtype
        Of the values: integers or floats.
    above : float or None
        Threshold.
    """

    def __init__(self, slots: int, groups: int, dtype: np.dtype[Any], above: float | None) -> None:
        shape = (slots, groups)
        self._dtype, self._above, self._groups = dtype, above, groups
        self._exact = dtype.kind in "iu"
        limits: Any = np.iinfo(dtype) if self._exact else np.finfo(dtype)
        self._limits = limits.max, limits.min
        self.finite, self._over = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._odd = np.zeros((3, *shape), np.int64)
        self.low, self.high = np.full(shape, limits.max, dtype), np.full(shape, limits.min, dtype)
        self._total: Array = np.zeros(shape, np.dtype(object if self._exact else np.float64))
        self._mean, self._squares = np.zeros(shape), np.zeros(shape)

    def add(self, values: Array, groups: Array | None, slots: tuple[int, ...]) -> tuple[Array, Array | None]:
        """Take a block in.

        Parameters
        ----------
        values : 1-D array
        groups : 1-D integer array, or None
            Group of each value; None: all are group 0.
        slots : tuple of int
            Where they count.

        Returns
        -------
        values, groups
            Of the finite ones.
        """
        values, groups = self._without_odd(values, groups, slots)
        if len(values):
            self._merge(slots, *self._of_block(values, groups))
            if self._above is not None:
                over = self._counted(groups, _exceed(values, self._above))
                for slot in slots:
                    self._over[slot] += over
        return values, groups

    def _without_odd(self, values: Array, groups: Array | None, slots: tuple[int, ...]) -> tuple[Array, Array | None]:
        if self._exact:
            return values, groups
        good = np.isfinite(values)
        if good.all():
            return values, groups
        for number, where in enumerate(_odd_places(values)):
            found = self._counted(groups, where)
            for slot in slots:
                self._odd[number, slot] += found
        return values[good], None if groups is None else groups[good]

    def _counted(self, groups: Array | None, where: Array) -> Array:
        if groups is None:
            return np.array([np.count_nonzero(where)])
        return np.bincount(groups[where], minlength=self._groups)

    def _of_block(self, values: Array, groups: Array | None) -> tuple[Array, ...]:
        """Return count, low, high, total, mean and sum of squares of each group."""
        wide = values.astype(np.float64)
        if groups is None:
            mean = wide.mean()
            wide -= mean
            wide *= wide
            found = (len(values), values.min(), values.max(), self._sums(values, None)[0], mean, wide.sum())
            kinds = (np.int64, self._dtype, self._dtype, self._total.dtype, np.float64, np.float64)
            return tuple(np.array([each], kind) for each, kind in zip(found, kinds, strict=True))
        counts = np.bincount(groups, minlength=self._groups)
        low, high = (np.full(self._groups, limit, self._dtype) for limit in self._limits)
        np.minimum.at(low, groups, values)
        np.maximum.at(high, groups, values)
        some = np.maximum(counts, 1)
        means = np.bincount(groups, wide, self._groups) / some
        wide -= means[groups]
        rest = np.bincount(groups, wide, self._groups) / some  # what rounding left in a sum of many large numbers
        wide *= wide
        squares = np.bincount(groups, wide, self._groups) - counts * rest * rest
        total = np.array(self._sums(values, groups), dtype=self._total.dtype)
        return counts, low, high, total, means + rest, squares

    def _sums(self, values: Array, groups: Array | None) -> list[Any]:
        """Return the sum of each group; of integers by halves, which float64 holds exactly for a block."""
        halved = self._exact and values.itemsize > 4
        parts = [values & 0xFFFFFFFF, values >> 32] if halved else [values]
        if groups is None:
            sums = [[part.sum(dtype=np.int64 if self._exact else np.float64).item()] for part in parts]
        else:
            sums = [np.bincount(groups, part, self._groups).tolist() for part in parts]
        if not self._exact:
            return sums[0]
        return [sum(int(half) << 32 * place for place, half in enumerate(halves)) for halves in zip(*sums, strict=True)]

    def _merge(self, slots: tuple[int, ...], *block: Array) -> None:
        counts, low, high, total, mean, squares = block
        for slot in slots:
            before = self.finite[slot].copy()
            share = counts / np.maximum(before + counts, 1)
            apart = mean - self._mean[slot]
            self._mean[slot] += apart * share
            self._squares[slot] += squares + apart * apart * before * share
            self.finite[slot] += counts
            self._total[slot] += total
            np.minimum(self.low[slot], low, out=self.low[slot])
            np.maximum(self.high[slot], high, out=self.high[slot])

    def tally(self, slot: int, group: int) -> Tally:
        """Return what is known of one group."""
        place = slot, group
        total, finite = self._total[place], int(self.finite[place])
        return Tally(
            finite,
            _triple(self._odd[:, slot, group]),
            self.low[place].item(),
            self.high[place].item(),
            total if self._exact else float(total),
            total / finite if self._exact and finite else float(self._mean[place]),
            float(self._squares[place]),
            int(self._over[place]),
        )

"""Exact order statistics of more values than memory holds, in a few passes over them.

Values become unsigned integers of the same order. A pass counts how often each pattern of the topmost bits occurs; that
tells in which pattern a rank lies, and the next pass looks at the next bits of those values only. Once few values are
left, they are held and sorted. (Radix selection.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["MOST_BINS", "Selector", "count_into", "from_keys", "to_keys"]

#: Counters of all histograms together, of 8 bytes each.
MOST_BINS = 1 << 22
#: Bytes of values that are held at most.
_MOST_HELD = 1 << 24
#: Bits that a pass looks at.
_MOST_BITS, _LEAST_BITS = 16, 4

Array = np.ndarray[Any, Any]
Sink = Callable[[Array, Any], None]


def to_keys(values: Array) -> Array:
    """Return unsigned integers that are ordered as integers or floats without NaN are; -0 comes before 0.

    >>> to_keys(np.array([-2.0, -0.0, 0.0, 1.5], np.float16)).tolist()
    [16383, 32767, 32768, 48640]
    """
    unsigned = np.dtype(f"u{values.itemsize}")
    bits = values.view(unsigned)
    sign = unsigned.type(1 << 8 * values.itemsize - 1)
    if values.dtype.kind == "u":
        return bits
    if values.dtype.kind == "i":
        return bits ^ sign
    negative = (values.view(f"i{values.itemsize}") >> 8 * values.itemsize - 1).view(unsigned)
    found: Array = bits ^ (negative | sign)
    return found


def from_keys(keys: Array, dtype: np.dtype[Any]) -> Array:
    """Return the values of keys.

    >>> from_keys(to_keys(np.array([-2.0, 1.5])), np.dtype("float64")).tolist()
    [-2.0, 1.5]
    """
    sign = keys.dtype.type(1 << 8 * keys.itemsize - 1)
    if dtype.kind == "u":
        return keys.astype(dtype)
    if dtype.kind == "i":
        return (keys ^ sign).view(dtype)
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)


def count_into(table: Array, rows: Array | int, digits: Array) -> None:
    """Count digits, in place.

    Parameters
    ----------
    table : int64 array (rows, width), contiguous
    rows : 1-D array, or int
        Row of each digit, or of all.
    digits : 1-D array of unsigned integers
        Below the width.
    """
    width = table.shape[1]
    if not isinstance(rows, int):
        np.add.at(table.reshape(-1), rows.astype(np.intp, copy=False) * width + digits.astype(np.intp), 1)
    elif len(digits) < width // 8:
        np.add.at(table[rows], digits.astype(np.intp), 1)
    else:
        counts = np.bincount(digits)
        table[rows, : len(counts)] += counts


class _Cell(NamedTuple):
    """Values of a group that agree in their topmost bits, and the ranks that lie among them."""

    group: int
    prefix: int
    size: int
    ranks: list[tuple[int, int]]  # in the group, in the cell


class _Counted:
    """Counts the next bits of the keys of each cell."""

    def __init__(self, cells: int, width: int, depth: int = 0) -> None:
        room = (MOST_BINS // max(cells, 1)).bit_length() - 1
        self.bits = min(max(min(room, _MOST_BITS), _LEAST_BITS), width - depth)
        self.depth = depth + self.bits
        self.table = np.zeros((cells, 1 << self.bits), np.int64)
        self._shift = width - self.depth

    def add(self, keys: Array, cells: Array | int) -> None:
        digits = keys >> keys.dtype.type(self._shift)
        count_into(self.table, cells, digits & digits.dtype.type((1 << self.bits) - 1))

    def within(self, row: int, cell: _Cell) -> dict[int, _Cell]:
        """Return the cells that a cell falls into, those where a rank lies, by prefix."""
        found: dict[int, _Cell] = {}
        ends = np.cumsum(self.table[row])
        digits = np.searchsorted(ends, [place for _, place in cell.ranks], side="right")
        sizes, befores = self.table[row, digits].tolist(), (ends[digits] - self.table[row, digits]).tolist()
        for (rank, place), digit, size, before in zip(cell.ranks, digits.tolist(), sizes, befores, strict=True):
            prefix = cell.prefix << self.bits | digit
            part = found.setdefault(prefix, _Cell(cell.group, prefix, size, []))
            part.ranks.append((rank, place - before))
        return found


class _Held:
    """Holds the keys of each cell."""

    def __init__(self) -> None:
        self._keys: list[Array] = []
        self._cells: list[Array] = []

    def add(self, keys: Array, cells: Array | int) -> None:
        self._keys.append(keys.copy())
        self._cells.append(np.full(len(keys), cells, np.int32) if isinstance(cells, int) else cells.astype(np.int32))

    def of_cells(self, count: int) -> list[Array]:
        """Return the keys of each cell, and forget them."""
        if not self._keys:
            return [np.empty(0, np.uint8)] * count
        cells, self._cells = np.concatenate(self._cells), []
        keys, self._keys = np.concatenate(self._keys), []
        if count == 1:
            return [keys]
        ends = np.cumsum(np.bincount(cells, minlength=count))
        keys = keys[np.argsort(cells, kind="stable")]
        return np.split(keys, ends[:-1])


class _Places:
    """Finds the cell of a key."""

    def __init__(self, cells: Sequence[_Cell], width: int, depth: int) -> None:
        unsigned = np.dtype(f"u{width // 8}")
        self._shift = unsigned.type(width - depth)
        prefixes = np.array([cell.prefix for cell in cells], unsigned)
        self._prefixes, places = np.unique(prefixes, return_inverse=True)
        codes = np.array([cell.group for cell in cells]) * len(self._prefixes) + places
        self._order = np.argsort(codes)
        self._codes = codes[self._order]
        top = min(depth, _MOST_BITS)
        self._top = unsigned.type(width - top)
        self._may = np.zeros(1 << top, bool)
        self._may[self._prefixes >> unsigned.type(depth - top)] = True

    def find(self, keys: Array, groups: Array | int) -> tuple[Array, Array]:
        """Return the keys that are in a cell, and the number of that cell."""
        may = self._may[keys >> self._top]
        keys, groups = keys[may], groups if isinstance(groups, int) else groups[may]
        prefixes = keys >> self._shift
        places = np.searchsorted(self._prefixes, prefixes)
        places[places == len(self._prefixes)] = 0
        codes = np.asarray(groups, np.int64) * len(self._prefixes) + places
        rows = np.searchsorted(self._codes, codes)
        rows[rows == len(self._codes)] = 0
        hit = (self._prefixes[places] == prefixes) & (self._codes[rows] == codes)
        return keys[hit], self._order[rows[hit]]


class Selector:
    """Finds values by their rank within groups.

    The first pass is the caller's: it hands each block to :meth:`add`. What has to be read again is asked for by
    :meth:`select`.

    Parameters
    ----------
    groups : int
    dtype : numpy.dtype
        Of the values: integers or floats.
    most : int
        Values that there are at most, over all groups.
    """

    def __init__(self, groups: int, dtype: np.dtype[Any], most: int) -> None:
        self._groups, self._dtype, self._width = groups, dtype, 8 * dtype.itemsize
        self._first: _Counted | _Held = _Held() if self._fits(most) else _Counted(groups, self._width)

    def _fits(self, count: int) -> bool:
        return count * (self._dtype.itemsize + 4) <= _MOST_HELD

    def add(self, values: Array, groups: Array | int) -> None:
        """Take a block of the first pass in: finite values, and their group or the group of all."""
        self._first.add(to_keys(values), groups)

    def select(
        self, wanted: Sequence[Sequence[int]], again: Callable[[Callable[[Array, Any], None]], None]
    ) -> list[dict[int, Any]]:
        """Return the values at ranks.

        Parameters
        ----------
        wanted : sequence of sequences of int
            Per group the ranks, 0 for the smallest value; all below the number of values that were added.
        again : callable
            Makes one more pass: hands the blocks of the first pass to its argument, as they went to :meth:`add`.

        Returns
        -------
        list of dict
            Per group rank -> value.
        """
        found: list[dict[int, Any]] = [{} for _ in wanted]
        cells = [_Cell(group, 0, 0, [(rank, rank) for rank in ranks]) for group, ranks in enumerate(wanted)]
        sink, self._first = self._first, _Held()
        while isinstance(sink, _Counted):
            parts = (part for row, cell in enumerate(cells) if cell.ranks for part in sink.within(row, cell).values())
            cells = list(parts)
            if sink.depth == self._width:
                for cell in cells:
                    self._note(found, cell, [cell.prefix] * len(cell.ranks))
                return found
            if not cells:
                return found
            places = _Places(cells, self._width, sink.depth)
            fits = self._fits(sum(cell.size for cell in cells))
            sink = _Held() if fits else _Counted(len(cells), self._width, sink.depth)
            again(self._located(places, sink))
        for cell, keys in zip(cells, sink.of_cells(len(cells)), strict=True):
            if cell.ranks:
                ranks = [place for _, place in cell.ranks]
                self._note(found, cell, np.partition(keys, sorted(set(ranks)))[ranks].tolist())
        return found

    def _located(self, places: _Places, sink: _Counted | _Held) -> Callable[[Array, Any], None]:
        def add(values: Array, groups: Array | int) -> None:
            sink.add(*places.find(to_keys(values), groups))

        return add

    def _note(self, found: list[dict[int, Any]], cell: _Cell, keys: Sequence[int]) -> None:
        values = from_keys(np.array(keys, f"u{self._width // 8}"), self._dtype)
        found[cell.group].update(zip((rank for rank, _ in cell.ranks), values.tolist(), strict=True))

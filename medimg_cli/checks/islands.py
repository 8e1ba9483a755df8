"""Where each value of a label map is, and how many pieces it lies in: found in one pass, from runs of equal voxels.

Runs along one axis are joined with those of neighbouring lines that touch them and hold the same value; then a run
takes over the smallest number among those that it is joined with, until nothing changes. Memory goes with the number of
runs, not of voxels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import scale
from medimg_cli.checks.numbers import plain

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.checks.subject import Subject
    from medimg_cli.storage.stored import Region

__all__ = ["IslandFacts", "Islands", "Pieces"]

#: Runs that are held at most: some 20 MB, and some 200 MB while they are joined.
_MOST_RUNS = 1 << 20
#: Different values that are told of at most.
_MOST_VALUES = 1 << 14

Array = Any
Place = tuple[int, int, int, int]


class Pieces(NamedTuple):
    """What is known of one value of a label map.

    Parameters
    ----------
    first : (c, i, j, k)
        A voxel that holds it.
    islands : int
        How many pieces there are besides its largest that are smaller than the limit; 0 of background.
    voxels : int
        Of all islands together.
    island : (c, i, j, k) or None
        A voxel of one of them.
    """

    first: Place
    islands: int = 0
    voxels: int = 0
    island: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IslandFacts:
    """What is known of the values of a label map.

    Parameters
    ----------
    pieces : mapping of number to Pieces
        By value, 0 and NaN left out. Empty where the image is too ragged: it has more than a million runs of equal
        voxels, or more than 16,384 values.
    """

    pieces: Mapping[Any, Pieces] = field(default_factory=dict)


class Islands:
    """Gathers runs of equal voxels of a label map, and what hangs together in each channel.

    Voxels that touch by a face, an edge or a corner hang together (26 neighbours): an island is apart in every sense.
    """

    def __init__(self, subject: Subject) -> None:
        from medimg_cli.statistics.blocks import streaming_layout

        assert subject.backend is not None
        self._header = subject.header
        self._shape = subject.header.shape
        self._least = subject.settings.limit("island-voxels")
        strides = streaming_layout(subject.backend).strides
        thick = [axis for axis in (1, 2, 3) if self._shape[axis] > 1] or [1]
        along = min(thick, key=lambda axis: abs(strides[axis - 1]))
        self._axes = (0, *(axis for axis in (3, 2, 1) if axis != along), along)
        self._runs: list[tuple[Array, Array, Array]] = []
        self._count = 0

    @staticmethod
    def wants(subject: Subject) -> bool:
        header = subject.header
        flat = sum(size > 1 for size in header.shape[1:]) < 2  # a surface, or a line
        return subject.is_labels and not flat and not header.dtype.startswith("complex")

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        import numpy as np

        if self._count > _MOST_RUNS:
            return
        turned = box.transpose(self._axes)
        starts = np.ones(turned.shape, bool)
        np.not_equal(turned[..., 1:], turned[..., :-1], out=starts[..., 1:])
        first = np.flatnonzero(starts)
        if len(first) > 2 * _MOST_RUNS:
            self._give_up()
            return
        places = np.unravel_index(first, turned.shape)
        lengths = np.diff(first, append=starts.size)
        with np.errstate(all="ignore"):
            values = scale(turned[places], self._header)
        kept = (values != 0) & (values == values)
        self._count += int(np.count_nonzero(kept))
        if self._count > _MOST_RUNS:
            self._give_up()
            return
        spans = [np.asarray(region[axis]) for axis in self._axes]
        whole = tuple(span[place[kept]] for span, place in zip(spans, places, strict=True))
        sizes = tuple(self._shape[axis] for axis in self._axes)
        self._runs.append((np.ravel_multi_index(whole, sizes), lengths[kept], values[kept]))

    def _give_up(self) -> None:
        self._runs.clear()
        self._count = _MOST_RUNS + 1

    def result(self) -> IslandFacts:
        import numpy as np

        if not any(len(places) for places, _, _ in self._runs):
            return IslandFacts()
        places, lengths, values = map(np.concatenate, zip(*self._runs, strict=True))
        self._runs.clear()
        order = np.argsort(places, kind="stable")
        places, lengths = places[order], lengths[order]
        known, which, firsts = _numbered(values[order])
        if len(known) > _MOST_VALUES:
            return IslandFacts()
        groups = which
        if self._shape[0] > 1:
            channels = places // (self._shape[1] * self._shape[2] * self._shape[3])
            groups = _numbered(which * self._shape[0] + channels)[1]
        tiny = lengths < self._least
        roots = _merged(tiny, groups)
        pairs = _touching(places, lengths, which, np.flatnonzero(tiny), [self._shape[axis] for axis in self._axes])
        roots = _joined(roots, pairs)
        sizes = np.bincount(roots, lengths)
        pieces = np.flatnonzero(sizes)
        odd = pieces[_apart_from_largest(sizes[pieces], groups[pieces], self._least)]
        count, voxels = (np.bincount(which[odd], weights, len(known)) for weights in (None, sizes[odd]))
        islands = dict(zip(which[odd][::-1].tolist(), odd[::-1].tolist(), strict=True))  # the first of each value
        return IslandFacts(
            pieces={
                plain(value): Pieces(
                    self._at(places[firsts[n]]),
                    *(int(count[n]), int(voxels[n])),
                    self._at(places[islands[n]]) if n in islands else None,
                )
                for n, value in enumerate(known.tolist())
            }
        )

    def _at(self, place: Any) -> Place:
        """Return (c, i, j, k) of a place in the order of lines."""
        import numpy as np

        found = np.unravel_index(int(place), [self._shape[axis] for axis in self._axes])
        c, i, j, k = (int(found[self._axes.index(axis)]) for axis in range(4))
        return c, i, j, k


def _numbered(values: Array) -> tuple[Array, Array, Array]:
    """Return the different values, ascending, which of them each is, and where each occurs first."""
    import numpy as np

    known, firsts, which = np.unique(values, return_index=True, return_inverse=True)
    return known, which.reshape(-1), firsts


def _merged(tiny: Array, groups: Array) -> Array:
    """Return a number for each run: its own where it is tiny, else that of the first run of its group that is not.

    No run that is too long for an island is a part of one, so that nobody needs to know which of them hang together.
    """
    import numpy as np

    roots = np.arange(len(tiny))
    large = np.flatnonzero(~tiny)
    first = np.zeros(int(groups.max()) + 1, np.intp)
    first[groups[large][::-1]] = large[::-1]
    roots[large] = first[groups[large]]
    return roots


def _touching(places: Array, lengths: Array, which: Array, asked: Array, sizes: list[int]) -> tuple[Array, Array]:
    """Return pairs of runs of the same value that touch.

    Parameters
    ----------
    places, lengths, which : 1-D integer arrays
        Where runs start in (C, A, B, line), ascending; their lengths and values.
    asked : 1-D integer array
        Runs of which one is in each pair.
    sizes : list of int
        Of C, A, B and a line.
    """
    import numpy as np

    *_, many, rows, width = sizes
    lines, starts = np.divmod(places, width)
    first = lines * (width + 2) + 1 + starts
    last = first + lengths - 1
    at_row, at_slice = lines[asked] % rows, lines[asked] // rows % many
    within = np.flatnonzero((lines[1:] == lines[:-1]) & (first[1:] == last[:-1] + 1))  # a line in two boxes
    within = within[which[within] == which[within + 1]]
    ones, others = [within], [within + 1]
    for slices, step in ((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b):
        row, slice_ = at_row + step, at_slice + slices
        inside = asked[(slice_ >= 0) & (slice_ < many) & (row >= 0) & (row < rows)]
        moved = (slices * rows + step) * (width + 2)
        low = np.searchsorted(last, first[inside] + (moved - 1))
        high = np.searchsorted(first, last[inside] + (moved + 1), side="right")
        counts = np.maximum(high - low, 0)
        one = np.repeat(inside, counts)
        other = np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(len(one))
        same = which[one] == which[other]
        ones.append(one[same])
        others.append(other[same])
    return np.concatenate(ones), np.concatenate(others)


def _joined(roots: Array, pairs: tuple[Array, Array]) -> Array:
    """Return for each run the first number among all that it hangs together with, through any number of pairs."""
    import numpy as np

    one, other = (roots[each] for each in pairs)
    while True:
        apart = one != other
        one, other = one[apart], other[apart]
        if not len(one):
            return roots
        least = np.minimum(one, other)
        np.minimum.at(roots, one, least)
        np.minimum.at(roots, other, least)
        while True:
            further = roots[roots]
            if np.array_equal(further, roots):
                break
            roots = further
        one, other = roots[one], roots[other]


def _apart_from_largest(sizes: Array, groups: Array, least: float) -> Array:
    """Tell which pieces are smaller than a limit and not the largest (the first of these) of their group."""
    import numpy as np

    order = np.lexsort((np.arange(len(sizes)), -sizes, groups))
    largest = np.zeros(len(sizes), bool)
    largest[order[np.r_[True, groups[order][1:] != groups[order][:-1]]]] = True
    found: Array = (sizes < least) & ~largest
    return found

"""Which slices and volumes of an image hold one value only, and which are copies of the one before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.checks.tails import Tail, Tails

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.checks.subject import Subject
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Region

__all__ = ["SliceFacts", "Slices", "Spot"]

#: Slices of all volumes and axes that are told apart at most, of 50 bytes each.
_MOST_SLICES = 1 << 20
#: Kinds of channel axes that are parts of one voxel, not volumes.
_PARTS = ("rgb", "vector")

Array = Any


class Spot(NamedTuple):
    """Slices across one axis.

    Parameters
    ----------
    axis : int
        0, 1 or 2, for I, J or K.
    total : int
        How many there are.
    volume, first : int
        Which is the first.
    """

    axis: int
    total: int
    volume: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFacts:
    """What is known of slices and volumes.

    Parameters
    ----------
    volumes : int
        How many volumes there are: channels, colours and vectors apart.
    blank : tuple of Spot
        Slices that hold one value only, with others on both sides that are full of content. One an axis at most.
    copies : Spot or None
        Slices that are copies of the one before, bit for bit, and hold more than one value; across the axis that the
        file steps through last.
    blank_volumes, copied_volumes : tuple of int
        Volumes of one value, where others hold more; volumes that are copies of the one before, of more than one value.
    tail : Tail or None
        Where the scan ends in the middle of a slice, and only zeros follow.
    """

    volumes: int = 1
    blank: tuple[Spot, ...] = ()
    copies: Spot | None = None
    blank_volumes: tuple[int, ...] = ()
    copied_volumes: tuple[int, ...] = ()
    tail: Tail | None = None


class Slices:
    """Gathers the range of each slice across each axis, and digests of those across the slowest.

    A slice has content as far as lines of voxels in it hold more than one value. NaN counts as 0.
    """

    def __init__(self, subject: Subject) -> None:
        import numpy as np

        from medimg_cli.statistics.blocks import streamed_axes, streaming_layout

        assert subject.backend is not None
        header = subject.header
        self._shape = header.shape
        self._volumes = _volumes(header)
        self._share = subject.settings.limit("content-share")
        layout = streaming_layout(subject.backend)
        axes = streamed_axes(layout)
        self._order = [axis for axis in axes if header.shape[axis] > 1] or [1]  # fastest first
        by_volume = self._volumes == header.channels
        self._tails = Tails(header.shape, axes, by_volume=by_volume) if Tails.fit(header.shape, axes) else None
        channel = min((abs(stride) for _, stride in layout.merged_channels()), default=0)
        self._apart = self._volumes > 1 or channel > abs(layout.strides[self._order[-1] - 1])
        self._planes = [_Planes(self._volumes) for _ in range(3)]
        self._digests = np.zeros((header.channels if self._apart else 1, header.shape[self._order[-1]]), np.uint32)

    @staticmethod
    def wants(subject: Subject) -> bool:
        header = subject.header
        few = header.channels * sum(header.shape[1:]) <= _MOST_SLICES
        return few and not subject.is_labels and (min(header.shape[1:]) > 1 or header.channels > 1)

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        import numpy as np

        self._digest(region, box)
        is_complex = box.dtype.kind == "c"
        box = _real(box)
        fast, slow = self._order[0], self._order[-1]
        across = max((axis for axis in (1, 2, 3) if axis != fast), key=lambda axis: (box.shape[axis], axis == slow))
        rows = np.concatenate([np.asarray(region[0]) + part * self._shape[0] for part in range(1 + is_complex)])
        for line, axes in ((fast, [axis for axis in (1, 2, 3) if axis != fast]), (across, [fast])):
            low = stored_low = box.min(axis=line, keepdims=True)
            if low.dtype.kind == "f" and np.isnan(low).any():
                box = np.where(np.isnan(box), box.dtype.type(0), box)
                low = box.min(axis=line, keepdims=True)
            high = box.max(axis=line, keepdims=True)
            if line == fast and self._tails is not None:
                self._tails.add(region, stored_low, high)
            for axis in axes:
                shape = ((1 + is_complex) * self._shape[0], self._shape[axis])
                self._planes[axis - 1].add(shape, np.ix_(rows, np.asarray(region[axis])), low, high, axis)

    def _digest(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        """Take bytes into the digests of the slices that they belong to."""
        from zlib import crc32

        import numpy as np

        slow = self._order[-1]
        rest = sorted((axis for axis in range(4) if axis != slow), key=lambda axis: -abs(box.strides[axis]))
        if self._apart:
            rest.remove(0)
            turned = box.transpose(0, slow, *rest)
        else:
            turned = box.transpose(slow, *rest)[None]
        for row, planes in zip(region[0] if self._apart else (0,), turned, strict=True):
            for n, plane in zip(region[slow], planes, strict=True):
                self._digests[row, n] = crc32(np.ascontiguousarray(plane).view("u1").data, int(self._digests[row, n]))

    def result(self) -> SliceFacts:
        import numpy as np

        slow = self._order[-1] - 1
        flat = [planes.flat() for planes in self._planes]  # (volumes, slices) each
        digests = self._digests.reshape(-1, self._volumes if self._apart else 1, self._digests.shape[1])
        same_slices = (digests[:, :, 1:] == digests[:, :, :-1]).all(axis=0)
        same_slices &= ~flat[slow][: len(same_slices), 1:]
        same_volumes = (digests[:, 1:] == digests[:, :-1]).all(axis=(0, 2))
        uniform = self._planes[slow].uniform()
        solid = min(self._shape[1:]) > 1
        spots = (_first(axis, self._planes[axis].gaps(self._share)) for axis in range(3)) if solid else ()
        return SliceFacts(
            volumes=self._volumes,
            blank=tuple(spot for spot in spots if spot is not None),
            copies=_first(slow, np.pad(same_slices, ((0, 0), (1, 0)))) if solid else None,
            blank_volumes=() if uniform.all() else tuple(np.flatnonzero(uniform).tolist()),
            copied_volumes=tuple((np.flatnonzero(same_volumes & ~uniform[1:]) + 1).tolist()),
            tail=None if self._tails is None else self._tails.result(),
        )


def _volumes(header: Header) -> int:
    return prod(size for kind, size in header.channel_axes() if kind not in _PARTS)


class _Planes:
    """Range of each slice across one axis, and how many of its lines hold more than one value; a row a channel."""

    def __init__(self, volumes: int) -> None:
        self._volumes = volumes
        self._low: Array = None
        self._high: Array = None
        self._varied: Array = None
        self._lines: Array = None

    def add(self, shape: tuple[int, int], place: Any, low: Array, high: Array, axis: int) -> None:
        """Take in the range of lines: (rows, I, J, K), of which one axis has size 1."""
        import numpy as np

        if self._low is None:
            least, most = _ends(low.dtype)
            self._low, self._high = np.full(shape, most, low.dtype), np.full(shape, least, low.dtype)
            self._varied, self._lines = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        others = tuple(other for other in (1, 2, 3) if other != axis)
        self._low[place] = np.minimum(self._low[place], low.min(axis=others))
        self._high[place] = np.maximum(self._high[place], high.max(axis=others))
        self._varied[place] += np.count_nonzero(low != high, axis=others)
        self._lines[place] += prod(low.shape[other] for other in others)

    def flat(self) -> Array:
        """Tell which slices hold one value only, in each part of a voxel: (volumes, slices)."""
        return self._of_volumes(self._low == self._high).all(axis=0)

    def uniform(self) -> Array:
        """Tell which volumes hold one value only."""
        return self._of_volumes(self._low.min(axis=1) == self._high.max(axis=1)).all(axis=0)

    def _of_volumes(self, rows: Array) -> Array:
        """Return facts of rows as (parts, volumes, ...)."""
        return rows.reshape(-1, self._volumes, *rows.shape[1:])

    def gaps(self, share: float) -> Array:
        """Tell which slices hold one value only, between slices of which a share of the lines holds more."""
        import numpy as np

        flat = self.flat()
        full = self._of_volumes(self._varied >= share * self._lines).any(axis=0)
        found = np.zeros_like(flat)
        for volume in np.flatnonzero((flat.sum(axis=1) > 0) & ~flat.all(axis=1)):
            there = np.flatnonzero(~flat[volume])
            for before, behind in pairwise(there.tolist()):
                if behind > before + 1 and full[volume, before] and full[volume, behind]:
                    found[volume, before + 1 : behind] = True
        return found


def _first(axis: int, hits: Array) -> Spot | None:
    """Return how many slices are meant and which is the first, given (volumes, slices) booleans."""
    import numpy as np

    places = np.argwhere(hits)
    return Spot(axis, len(places), *map(int, places[0])) if len(places) else None


def _real(box: Array) -> Array:
    """Return numbers that have an order: of complex ones both parts, one behind the other along C."""
    import numpy as np

    if box.dtype.kind == "c":
        return np.concatenate((box.real, box.imag))
    return box.view("u1") if box.dtype.kind == "b" else box


def _ends(dtype: Any) -> tuple[Any, Any]:
    """Return the smallest and the largest number of a type."""
    import numpy as np

    return (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)

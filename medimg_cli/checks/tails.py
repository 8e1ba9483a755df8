"""Whether a scan ends in the middle of a slice: what remains of a file that was cut off and filled up with zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.storage.stored import Region

__all__ = ["Tail", "Tails"]

#: Slices, and lines of a slice, that there must be.
_LEAST_SLICES, _LEAST_LINES = 8, 16
#: Share of all slices behind the last one with content, and of lines that a slice full of content has.
_BLANK, _FULL = 0.03, 0.25
#: Share of lines that slices next to each other may differ in, and of those that the last one must lack.
_ALIKE, _LACKING = 0.05, 0.1


class Tail(NamedTuple):
    """Where a scan ends.

    Parameters
    ----------
    axis : int
        0, 1 or 2, for I, J or K: the axis that the file steps through last.
    volume, slice : int
        The slice that is cut off.
    blank : int
        How many slices behind it hold zeros only.
    """

    axis: int
    volume: int
    slice: int
    blank: int


class Tails:
    """Which lines of stored numbers along the fastest axis hold anything but 0.

    Parameters
    ----------
    shape : (C, I, J, K)
    axes : three int
        1 to 3 for I, J, K, as the file steps through them, fastest first.
    by_volume : bool
        Whether channels are volumes behind one another, not parts of a voxel.
    """

    def __init__(self, shape: Sequence[int], axes: Sequence[int], *, by_volume: bool) -> None:
        import numpy as np

        self._fast, self._mid, self._slow = axes
        self._volumes = shape[0] if by_volume else 1
        self._lines = np.zeros((self._volumes, shape[self._slow], shape[self._mid]), bool)

    @staticmethod
    def fit(shape: Sequence[int], axes: Sequence[int]) -> bool:
        """Tell whether there are slices and lines enough to tell."""
        return min(shape[1:]) > 1 and shape[axes[1]] >= _LEAST_LINES and shape[axes[2]] >= _LEAST_SLICES

    def add(self, region: Region, low: np.ndarray[Any, Any], high: np.ndarray[Any, Any]) -> None:
        """Take in the range of each line of a region: (C, I, J, K), of size 1 along the fastest axis.

        Of complex numbers both parts come, one behind the other along C. NaN is something, too.
        """
        held = ((low != 0) | (high != 0)).squeeze(self._fast)
        held = held.reshape(-1, len(region[0]), *held.shape[1:]).any(axis=0)
        lines = held if self._slow < self._mid else held.transpose(0, 2, 1)
        places = [slice(min(span), max(span) + 1) for span in (region[self._slow], region[self._mid])]
        channels = slice(region[0].start, region[0].stop) if self._volumes > 1 else slice(0, 1)
        self._lines[(channels, *places)] |= lines if self._volumes > 1 else lines.any(axis=0, keepdims=True)

    def result(self) -> Tail | None:
        """Return where a scan ends that was cut off; None where nothing looks like it."""
        import numpy as np

        slices = self._lines.reshape(-1, self._lines.shape[2])
        filled = np.flatnonzero(slices.any(axis=1))
        last = int(filled[-1]) if len(filled) else 0
        blank = len(slices) - 1 - last
        if last < 2 or blank < max(2, _BLANK * len(slices)) or not slices[0].any():
            return None
        if not _is_cut(*slices[last - 2 : last + 1]):
            return None
        return Tail(self._slow - 1, *divmod(last, self._lines.shape[1]), blank)


def _is_cut(before: Any, full: Any, last: Any) -> bool:
    """Tell whether a slice is as the one before up to a line, and nothing behind it; the two before it are alike.

    Anatomy grows smaller from both sides of a slice, and the border of a tilted grid from slice to slice.
    """
    size = len(full)
    if full.mean() < _FULL or abs(int(before.sum()) - int(full.sum())) > _ALIKE * size:
        return False
    end = int(last.nonzero()[0][-1]) + 1
    if full[end:].sum() < max(2, _LACKING * size) or before[end:].sum() < max(2, _LACKING * size):
        return False
    return bool(last[:end].sum() >= (1 - _ALIKE) * full[:end].sum())

"""Where voxels lie in a sequence of bytes: :class:`Layout`, and :class:`StoredArray` with the source behind it.

Plain integers throughout: views (slices, flips, permutations) are arithmetic on offsets and strides, as NumPy does
it, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, TruncatedError
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource

__all__ = ["Layout", "Region", "StoredArray", "whole"]

#: Four non-empty ranges on (C, I, J, K).
Region = tuple[range, range, range, range]


def whole(shape: Sequence[int]) -> Region:
    """Return the region that covers ``shape`` (C, I, J, K)."""
    c, i, j, k = shape
    return range(c), range(i), range(j), range(k)


class Layout(NamedTuple):
    """How an array (C, I, J, K) lies in consecutive bytes.

    Parameters
    ----------
    shape : (C, I, J, K)
    dtype : str
        NumPy's name without byte order.
    byte_order : str
        "little" or "big".
    strides : (int, int, int)
        Bytes from one voxel to the next along I, J, K; negative where the axis is stored backwards.
    channels : tuple of (size, stride)
        The axes that C is made of, first fastest in C, with their strides in bytes; empty where C is 1.
    """

    shape: tuple[int, int, int, int]
    dtype: str
    byte_order: str
    strides: tuple[int, int, int]
    channels: tuple[tuple[int, int], ...] = ()

    @classmethod
    def packed(
        cls,
        shape: Sequence[int],
        dtype: str,
        *,
        byte_order: str = "little",
        order: Sequence[int] = (0, 1, 2),
        channels: Sequence[int] = (),
    ) -> Layout:
        """Return the layout without gaps for an order of axes.

        Parameters
        ----------
        shape : (C, I, J, K)
        dtype, byte_order : str
        order : sequence of int
            Axes, fastest first: 0, 1, 2 are I, J, K; 3 + n is the n-th of ``channels``. Axes left out come last, in
            their own order; a channel axis that is not there is ignored.
        channels : sequence of int
            Sizes of the axes that C is made of; ``(C,)`` where empty.

        Examples
        --------
        >>> Layout.packed((3, 4, 5, 6), "uint8", order=(3, 0, 1, 2)).strides
        (3, 12, 60)
        """
        sizes = list(channels) if channels or shape[0] == 1 else [shape[0]]
        extents = [*shape[1:], *sizes]
        strides, step = [0] * len(extents), ITEMSIZE[dtype]
        named = [axis for axis in order if axis < len(extents)]
        for axis in [*named, *(a for a in range(len(extents)) if a not in named)]:
            strides[axis] = step
            step *= extents[axis]
        i, j, k = strides[:3]
        pairs = tuple(zip(sizes, strides[3:], strict=True))
        return cls(tuple(shape), dtype, byte_order, (i, j, k), pairs)  # type: ignore[arg-type]

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return ITEMSIZE[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return prod(self.shape) * ITEMSIZE[self.dtype]

    def merged_channels(self) -> tuple[tuple[int, int], ...]:
        """Return ``channels`` with axes of one step left out and axes that follow each other without a gap joined."""
        merged: list[tuple[int, int]] = []
        for size, stride in self.channels:
            if size == 1:
                continue
            if merged and merged[-1][0] * merged[-1][1] == stride:
                merged[-1] = (merged[-1][0] * size, merged[-1][1])
            else:
                merged.append((size, stride))
        return tuple(merged)

    def same_order(self, other: Layout) -> bool:
        """Tell whether the bytes of both are the same but for byte order and dtype."""
        return (
            self.shape == other.shape
            and self.itemsize == other.itemsize
            and self.merged_channels() == other.merged_channels()
            and all(a == b or n == 1 for a, b, n in zip(self.strides, other.strides, self.shape[1:], strict=True))
        )

    def is_forward(self, other: Layout) -> bool:
        """Tell whether slabs along the slowest axis of ``other`` follow each other in these bytes, too."""
        mine, theirs = self._slowest(), other._slowest()
        return mine is None or theirs is None or (mine[1] == theirs[1] and mine[0] > 0)

    def slowest(self) -> int:
        """Return the axis (C, I, J, K) with the largest steps; -1 where that is one of several that C is made of.

        >>> Layout.packed((3, 4, 5, 6), "uint8").slowest(), Layout.packed((3, 4, 5, 6), "uint8", order=(3, 0)).slowest()
        (0, 3)
        """
        merged = self.merged_channels()
        axes = [(stride, axis) for axis, stride in enumerate(self.strides, 1) if self.shape[axis] > 1]
        axes += [(stride, 0 if len(merged) == 1 else -1) for _, stride in merged]
        return max(axes, default=(0, -1))[1]

    def part(self, axis: int, size: int) -> Layout:
        """Return the layout of some steps of the slowest axis.

        Parameters
        ----------
        axis : int
            What `slowest` returns: 0 to 3.
        size : int
            Steps that are left.
        """
        i, j, k = (size if axis == each else self.shape[each] for each in (1, 2, 3))
        channels = self.channels if axis else ((size, self.merged_channels()[0][1]),)
        return self._replace(shape=(self.shape[0] if axis else size, i, j, k), channels=channels)

    def _slowest(self) -> Any:
        axes = [
            *((stride, f"axis {n}") for n, stride in enumerate(self.strides) if self.shape[n + 1] > 1),
            *((stride, f"channel {n}") for n, (_, stride) in enumerate(self.merged_channels())),
        ]
        return max(axes, key=lambda axis: abs(axis[0]), default=None)

    def is_packed(self) -> bool:
        """Tell whether the values fill consecutive bytes without gaps, from the first value on."""
        axes = [(n, s) for n, s in (*zip(self.shape[1:], self.strides, strict=True), *self.merged_channels()) if n > 1]
        step = self.itemsize
        for size, stride in sorted(axes, key=lambda axis: axis[1]):
            if stride != step:
                return False
            step *= size
        return True


class StoredArray(NamedTuple):
    """Voxels in a source of bytes.

    Parameters
    ----------
    source : ByteSource
        Decoded bytes.
    offset : int
        Where value (0, 0, 0, 0) lies.
    layout : Layout
        Where the others lie.
    """

    source: ByteSource
    offset: int
    layout: Layout

    def span(self) -> tuple[int, int]:
        """Return the first byte that any value occupies, and the one behind the last."""
        low = high = self.offset
        axes = (*zip(self.layout.shape[1:], self.layout.strides, strict=True), *self.layout.channels)
        for size, stride in axes:
            reach = (size - 1) * stride
            low, high = low + min(reach, 0), high + max(reach, 0)
        return low, high + self.layout.itemsize

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there, or None if nothing speaks against it.

        Reads nothing: a plain file must be long enough, a compressed one long enough for the best that its codec can
        do.
        """
        low, high = self.span()
        if low < 0:
            return "the header places voxels before the start of the file"
        if self.source.size is not None:
            return f"truncated: {self.source.size} bytes, the header needs {high}" if high > self.source.size else None
        if high > self.source.most:
            packed = self.source.encoded_bytes if isinstance(self.source, EncodedSource) else self.source.most
            return f"truncated: {packed} compressed bytes cannot hold the {high} bytes that the header needs"
        return None

    def check(self) -> None:
        """Raise where the voxels cannot all be there.

        Raises
        ------
        TruncatedError
            If the source is too short.
        FormatError
            If voxels would lie before its start.
        """
        problem = self.shortage()
        if problem is not None:
            kind = TruncatedError if problem.startswith("truncated") else FormatError
            raise kind(problem, path=self.source.name, hint="get the file again")

    def view(self, channels: range, axes: Sequence[tuple[int, range]]) -> StoredArray | None:
        """Return a part of the array, its spatial axes sliced and permuted.

        Parameters
        ----------
        channels : range
            Channels to keep.
        axes : sequence of (old axis, range)
            Per new spatial axis: the old axis (0, 1, 2) that it runs along, and the voxels on that axis.

        Returns
        -------
        StoredArray or None
            None where C is made of axes that do not follow each other and only some channels are asked for.
        """
        old = self.layout
        merged = old.merged_channels()
        offset = self.offset
        if channels != range(old.shape[0]):
            if len(merged) > 1:
                return None
            step = merged[0][1] if merged else 0
            offset += channels.start * step
            merged = ((len(channels), channels.step * step),)
        strides, shape = [], [len(channels)]
        for axis, span in axes:
            offset += span.start * old.strides[axis]
            strides.append(old.strides[axis] * span.step)
            shape.append(len(span))
        layout = old._replace(shape=tuple(shape), strides=tuple(strides), channels=merged)  # type: ignore[arg-type]
        return self._replace(offset=offset, layout=layout)

"""Layouts and stored arrays: the arithmetic of offsets and strides, against NumPy's."""

from __future__ import annotations

import tracemalloc
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, TruncatedError
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import MemorySource
from medimg_cli.storage.stored import Layout, StoredArray, whole
from tests.helpers import laid_out, layouts, make, read, voxels

Array = np.ndarray[Any, Any]
Axes = list[tuple[int, range]]


def backend_of(stored: StoredArray) -> StoredBackend:
    """Return a backend with a bare header."""
    layout = stored.layout
    return StoredBackend(stored, Header(shape=layout.shape, dtype=layout.dtype, affine=AffineMatrix()))


def stored_as(values: Array, layout: Layout, offset: int = 0) -> StoredArray:
    """Return an array laid out in memory, behind ``offset`` bytes of something else."""
    return StoredArray(MemorySource(b"\xee" * offset + laid_out(values, layout)), offset, layout)


def as_numpy(values: Array, channels: range, axes: Axes) -> Array:
    """Do with NumPy what ``view`` does."""
    index: list[Any] = [list(channels), slice(None), slice(None), slice(None)]
    values = values[index[0]]
    for axis, span in axes:
        values = np.take(values, list(span), axis=axis + 1)
    return values.transpose(0, *(axis + 1 for axis, _ in axes))


@st.composite
def shapes_and_channels(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], list[int]]:
    sizes = draw(st.lists(st.integers(1, 4), max_size=3))
    i, j, k = draw(st.tuples(*[st.integers(1, 5)] * 3))
    return (prod(sizes), i, j, k), sizes


@st.composite
def any_layout(draw: st.DrawFn) -> Layout:
    shape, sizes = draw(shapes_and_channels())
    order = draw(st.permutations(range(3 + len(sizes))))
    dtype = draw(st.sampled_from(["uint8", "int16", "float64"]))
    return Layout.packed(shape, dtype, byte_order=draw(st.sampled_from(["little", "big"])), order=order, channels=sizes)


def spans(draw: Any, size: int) -> range:
    first, last, step = (
        draw(st.integers(0, size - 1)),
        draw(st.integers(0, size - 1)),
        draw(st.integers(1, 3)),
    )
    return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)


# layouts


@given(layout=any_layout())
def test_packed_layouts_have_no_gaps(layout: Layout) -> None:
    assert layout.is_packed()
    assert StoredArray(MemorySource(b""), 10, layout).span() == (10, 10 + layout.nbytes)
    assert layout.nbytes == prod(layout.shape) * ITEMSIZE[layout.dtype]
    assert prod(size for size, _ in layout.channels) == layout.shape[0]


def test_packed_strides_are_those_of_numpy() -> None:
    first = Layout.packed((1, 4, 5, 6), "int32")
    assert first.strides == np.empty((4, 5, 6), "int32", order="F").strides
    last = Layout.packed((1, 4, 5, 6), "int32", order=(2, 1, 0))
    assert last.strides == np.empty((4, 5, 6), "int32").strides
    interleaved = Layout.packed((6, 4, 5, 7), "uint8", order=(4, 0, 1, 2), channels=(2, 3))
    assert (interleaved.strides, interleaved.channels) == ((3, 12, 60), ((2, 420), (3, 1)))


def test_an_order_may_name_axes_that_are_not_there() -> None:
    """Codecs name a component axis whether or not there is one."""
    assert Layout.packed((1, 4, 5, 6), "uint8", order=(3, 0, 1, 2)) == Layout.packed((1, 4, 5, 6), "uint8")
    assert Layout.packed((2, 4, 5, 6), "uint8").channels == ((2, 120),)


@given(layout=any_layout())
def test_merging_channels_keeps_their_places(layout: Layout) -> None:
    def places(pairs: tuple[tuple[int, int], ...]) -> list[int]:
        found = [0]
        for size, step in pairs:
            found = [place + n * step for n in range(size) for place in found]
        return found

    assert places(layout.merged_channels()) == places(layout.channels)
    assert all(size > 1 for size, _ in layout.merged_channels())


@settings(max_examples=80, deadline=None)
@given(layout=any_layout(), data=st.data())
def test_same_order_means_same_bytes(layout: Layout, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(3 + len(layout.channels))))
    other = Layout.packed(
        layout.shape,
        layout.dtype,
        byte_order=layout.byte_order,
        order=order,
        channels=[n for n, _ in layout.channels],
    )
    values = np.arange(prod(layout.shape)).astype(layout.dtype).reshape(layout.shape)
    same_bytes = laid_out(values, layout) == laid_out(values, other)
    assert layout.same_order(other) == other.same_order(layout)
    assert same_bytes or not layout.same_order(other)
    if layout.itemsize > 1 or values.size < 256:  # the numbers tell all places apart
        assert layout.same_order(other) == same_bytes


def test_gaps_are_not_packed() -> None:
    assert not Layout((1, 2, 2, 2), "int16", "little", (2, 4, 16)).is_packed()
    assert not Layout((1, 2, 2, 2), "int16", "little", (4, 8, 16)).is_packed()
    assert not Layout((1, 2, 2, 2), "int16", "little", (-2, 4, 8)).is_packed()
    assert Layout((1, 2, 2, 1), "int16", "little", (2, 4, 999)).is_packed()


# reading


@settings(max_examples=60, deadline=None)
@given(layout=any_layout(), offset=st.integers(0, 9))
def test_every_layout_reads_back(layout: Layout, offset: int) -> None:
    values = voxels(layout.shape, layout.dtype)
    np.testing.assert_array_equal(read(backend_of(stored_as(values, layout, offset))), values)


@settings(max_examples=150, deadline=None)
@given(layout=any_layout(), data=st.data())
def test_chains_of_views_are_those_of_numpy(layout: Layout, data: st.DataObject) -> None:
    """Slices with steps of any sign and permutations, one upon another, cost nothing and end at the right voxels."""
    values = voxels(layout.shape, layout.dtype)
    stored = stored_as(values, layout, 6)
    for _ in range(data.draw(st.integers(1, 4))):
        shape = stored.layout.shape
        order = data.draw(st.permutations(range(3)))
        axes = [(axis, spans(data.draw, shape[axis + 1])) for axis in order]
        channels = range(shape[0]) if data.draw(st.booleans()) else spans(data.draw, shape[0])
        viewed = stored.view(channels, axes)
        if viewed is None:
            assert len(stored.layout.merged_channels()) > 1
            return
        stored, values = viewed, as_numpy(values, channels, axes)
        assert stored.layout.shape == values.shape
    np.testing.assert_array_equal(read(backend_of(stored)), values)
    low, high = stored.span()
    assert 6 <= low < high <= 6 + layout.nbytes
    stored.check()


@settings(max_examples=60, deadline=None)
@given(layout=any_layout(), data=st.data())
def test_span_is_exact(layout: Layout, data: st.DataObject) -> None:
    """Not a byte more or less than the voxels of a view occupy."""
    stored = StoredArray(MemorySource(b""), 100, layout)
    axes = [(axis, spans(data.draw, layout.shape[axis + 1])) for axis in data.draw(st.permutations(range(3)))]
    viewed = stored.view(range(layout.shape[0]), axes)
    assert viewed is not None
    numbers = np.arange(prod(layout.shape)).reshape(layout.shape)
    memory = np.frombuffer(
        laid_out(
            numbers,
            layout._replace(
                dtype="int64",
                strides=_times8(layout),
                channels=tuple((n, s * 8 // layout.itemsize) for n, s in layout.channels),
            ),
        ),
        f"{'<' if layout.byte_order == 'little' else '>'}i8",
    )
    where = np.empty(memory.size, int)
    where[memory] = np.arange(memory.size)
    taken = where[as_numpy(numbers, range(layout.shape[0]), axes)]
    size = layout.itemsize
    assert viewed.span() == (100 + int(taken.min()) * size, 100 + (int(taken.max()) + 1) * size)


def _times8(layout: Layout) -> tuple[int, int, int]:
    i, j, k = (step * 8 // layout.itemsize for step in layout.strides)
    return i, j, k


# what cannot be there


def test_missing_bytes_are_refused_and_counted() -> None:
    layout = Layout.packed((1, 4, 5, 6), "int16")
    values = voxels(layout.shape, "int16")
    full = laid_out(values, layout)
    for length in (0, 1, 100, len(full) - 1):
        stored = StoredArray(MemorySource(full[:length], "x.nii"), 0, layout)
        assert stored.shortage() == f"truncated: {length} bytes, the header needs 240"
        with pytest.raises(TruncatedError, match=rf"x\.nii: truncated: {length} bytes.*get the file again"):
            stored.check()
        with pytest.raises(TruncatedError):
            backend_of(stored).read((range(1), range(1), range(1), range(1)))
        with pytest.raises(TruncatedError):
            list(backend_of(stored).blocks(layout))
    assert StoredArray(MemorySource(full), 0, layout).shortage() is None


def test_voxels_before_the_start_are_refused() -> None:
    layout = Layout((1, 4, 1, 1), "int16", "little", (-2, 2, 2))
    stored = StoredArray(MemorySource(bytes(8)), 0, layout)
    with pytest.raises(FormatError, match="before the start"):
        stored.check()


def test_a_bomb_is_refused_before_anything_is_allocated() -> None:
    """A compressed file that cannot possibly inflate to what its header declares is refused at once."""
    import gzip

    packed = gzip.compress(bytes(1000))
    layout = Layout.packed((1, 30_000, 30_000, 30_000), "float64")
    stored = StoredArray(EncodedSource(MemorySource(packed, "x.nii.gz"), "gzip"), 352, layout)
    tracemalloc.start()
    try:
        for call in (stored.check, lambda: backend_of(stored).read(whole(layout.shape)),
                     lambda: next(backend_of(stored).blocks(layout))):  # fmt: skip
            with pytest.raises(TruncatedError, match=f"{len(packed)} compressed bytes cannot hold"):
                call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_stream_that_ends_early_is_refused_in_the_end() -> None:
    """The ratio alone does not tell: the voxels might all be there, but are not."""
    import gzip

    layout = Layout.packed((1, 10, 10, 10), "int16")
    stored = StoredArray(EncodedSource(MemorySource(gzip.compress(bytes(1999)), "x.nii.gz"), "gzip"), 0, layout)
    assert stored.shortage() is None
    with pytest.raises(TruncatedError):
        read(backend_of(stored))
    with pytest.raises(TruncatedError):
        list(backend_of(stored).blocks(layout))
    assert backend_of(stored).read((range(1), range(10), range(10), range(9))).shape == (1, 10, 10, 9)


def test_layouts_of_every_order_hold_an_image() -> None:
    image = make("time-rgb")
    for layout in layouts(image.header):
        stored = stored_as(image.array, layout, 3)
        np.testing.assert_array_equal(read(backend_of(stored)), image.array)

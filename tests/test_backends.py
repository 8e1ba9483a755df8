"""The contract of a backend, for each of the four that everything is made of, against NumPy."""

from __future__ import annotations

import gzip
import pickle
import threading
import tracemalloc
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import (
    ArrayBackend,
    Backend,
    FramesBackend,
    StoredBackend,
    ViewBackend,
    compose,
    numpy_dtype,
    scale,
    view,
)
from medimg_cli.dtypes import is_complex, is_float
from medimg_cli.errors import FormatError, GeometryError, StorageError, TruncatedError
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import MemorySource, PathSource
from medimg_cli.storage.stored import Layout, StoredArray, whole
from tests.helpers import DTYPES, KINDS, laid_out, layouts, make, part, read, regions, unlike, voxels

Array = np.ndarray[Any, Any]


def stored(
    image: ArrayBackend, layout: Layout, folder: Path | None = None, *, pack: bool = False, offset: int = 7
) -> StoredBackend:
    """Store an image in memory, in a file, or in a compressed file."""
    content = b"\xee" * offset + laid_out(image.array, layout) + b"behind"
    name = "x.raw.gz" if pack else "x.raw"
    content = gzip.compress(content, 1) if pack else content
    source: Any = MemorySource(content, name)
    if folder is not None:
        (folder / name).write_bytes(content)
        source = PathSource(str(folder / name))
    source = EncodedSource(source, "gzip") if pack else source
    return StoredBackend(StoredArray(source, offset, layout), image.header)


def frames(image: ArrayBackend, axis: int) -> FramesBackend:
    """Take an image apart along an axis, into frames of one and two."""
    size = image.header.shape[axis]
    starts = [*range(0, size, 2), size] if size > 2 else range(size + 1)
    parts = []
    for low, high in zip(starts, starts[1:], strict=False):
        index = [slice(None)] * 4
        index[axis] = slice(low, high)
        piece = image.array[tuple(index)]
        parts.append(ArrayBackend(piece, image.header.replace(shape=piece.shape, axes=())))
    return FramesBackend(parts, image.header, axis=axis)


def viewed(image: ArrayBackend) -> ViewBackend:
    """Make an image out of a turned round and permuted copy, as a view."""
    c, i, j, k = image.header.shape
    other = ArrayBackend(image.array[:, ::-1].transpose(0, 3, 1, 2), image.header.replace(shape=(c, k, i, j)))
    return ViewBackend(other, range(c), ((1, range(i - 1, -1, -1)), (2, range(j)), (0, range(k))), image.header)


def packed(image: ArrayBackend, folder: Path, order: tuple[int, ...] = (), byte_order: str = "little") -> Layout:
    sizes = [size for _, size in image.header.channel_axes()]
    return Layout.packed(image.header.shape, image.header.dtype, byte_order=byte_order, order=order, channels=sizes)


MAKERS: dict[str, Callable[[ArrayBackend, Path], Backend]] = {
    "array": lambda image, folder: image,
    "array, F order": lambda image, folder: ArrayBackend(np.asfortranarray(image.array), image.header),
    "stored": lambda image, folder: stored(image, packed(image, folder), folder),
    "stored, K fastest": lambda image, folder: stored(image, packed(image, folder, (2, 1, 0), "big"), folder),
    "stored, channels fastest": lambda image, folder: stored(image, packed(image, folder, (4, 3, 0, 1, 2)), folder),
    "stored, channels between": lambda image, folder: stored(image, packed(image, folder, (0, 3, 1, 2), "big"), folder),
    "stored in memory": lambda image, folder: stored(image, packed(image, folder)),
    "compressed": lambda image, folder: stored(image, packed(image, folder), folder, pack=True),
    "compressed, big": lambda image, folder: stored(image, packed(image, folder, (3, 0, 1, 2), "big"), folder, pack=True),
    "frames of channels": lambda image, folder: frames(image, 0),
    "frames of slices": lambda image, folder: frames(image, 3),
    "view": lambda image, folder: viewed(image),
    "view of stored": lambda image, folder: ViewBackend(
        stored(image, packed(image, folder), folder), range(image.header.shape[0]),
        tuple((axis, range(n)) for axis, n in enumerate(image.header.shape[1:])), image.header),
}  # fmt: skip


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[ArrayBackend], Backend]:
    return lambda image: MAKERS[request.param](image, tmp_path)


SOME_KINDS = ("plain", "time-rgb", "scaled", "scaled-time", "channels")


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_a_region_is_a_slice_of_the_whole(maker: Callable[[ArrayBackend], Backend], kind: str) -> None:
    image = make(kind)
    backend = maker(image)
    assert isinstance(backend, Backend)
    values = scale(image.array.copy(), image.header)
    for raw, full in ((True, image.array), (False, values)):
        for number, region in enumerate(regions(image.header.shape, 60)):
            found = backend.read(region, raw=raw)
            expected = part(full, region)
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype and found.dtype.isnative
            assert found.flags.writeable
            assert unlike(found, expected) is None, region
            found[...] = 1
            if number % 10 == 0:
                assert unlike(backend.read(region, raw=raw), expected) is None, "the result is not fresh"


@pytest.mark.parametrize("kind", ["plain", "time-rgb", "scaled-time"])
def test_blocks_are_the_image_in_any_layout(maker: Callable[[ArrayBackend], Backend], kind: str) -> None:
    image = make(kind)
    backend = maker(image)
    values = scale(image.array.copy(), image.header)
    for raw, full, dtype in (
        (True, image.array, image.header.dtype),
        (False, values, image.header.value_dtype),
    ):
        for number, layout in enumerate(layouts(image.header, dtype)):
            for most in (1 << 24, (1, 50, 300)[number % 3]):
                pieces = [bytes(piece) for piece in backend.blocks(layout, raw=raw, max_bytes=most)]
                assert b"".join(pieces) == laid_out(full, layout), (layout, most)


@pytest.mark.parametrize("most", [1, 2, 7, 64, 1000, 1 << 24])
def test_blocks_are_as_small_as_asked(most: int, tmp_path: Path) -> None:
    image = make("time", "int32")
    backend = stored(image, packed(image, tmp_path), tmp_path)
    for order in ((2, 1, 0, 3), (3, 2, 0, 1), (1, 0, 2, 3)):
        layout = packed(image, tmp_path, order, "big")
        pieces = [bytes(piece) for piece in backend.blocks(layout, max_bytes=most)]
        assert b"".join(pieces) == laid_out(image.array, layout)
        assert max(map(len, pieces)) <= max(most, 4)


def test_blocks_may_be_kept(maker: Callable[[ArrayBackend], Backend]) -> None:
    """Each block is a buffer of its own: a queue of them is not overwritten by the next."""
    image = make("time", "uint16")
    for layout in layouts(image.header):
        kept = list(maker(image).blocks(layout, max_bytes=40))
        assert b"".join(map(bytes, kept)) == laid_out(image.array, layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_in_both_byte_orders(dtype: str, tmp_path: Path) -> None:
    image = make("channels", dtype)
    for theirs in ("little", "big"):
        backend = stored(image, packed(image, tmp_path, (), theirs), tmp_path)
        assert unlike(read(backend), image.array) is None
        for region in regions(image.header.shape, 20):
            assert unlike(backend.read(region), part(image.array, region)) is None
        for ours in ("little", "big"):
            for order in ((), (3, 2, 0, 1)):
                layout = packed(image, tmp_path, order, ours)
                assert b"".join(map(bytes, backend.blocks(layout))) == laid_out(image.array, layout)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "int32", "int64", "float64", "complex64"])
def test_blocks_convert_to_a_wider_type(dtype: str, tmp_path: Path) -> None:
    """Targets that lack a type get a wider one."""
    image = make("plain", dtype)
    wide = "complex128" if is_complex(dtype) else "float64"
    if dtype == "int64":
        image.array //= 1 << 20
    layout = Layout.packed(image.header.shape, wide, byte_order="big", order=(1, 0, 2))
    for backend in (image, stored(image, packed(image, tmp_path), tmp_path)):
        assert b"".join(map(bytes, backend.blocks(layout))) == laid_out(image.array.astype(wide), layout)


# values


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_are_stored_times_slope_plus_inter(dtype: str, tmp_path: Path) -> None:
    if dtype == "bool":
        pytest.skip("booleans have no slope")
    image = make("scaled", dtype)
    backend = stored(image, packed(image, tmp_path), tmp_path)
    found = read(backend)
    assert found.dtype == numpy_dtype(image.header.value_dtype)
    wide = (
        "complex256"
        if is_complex(dtype) and "complex256" in DTYPES
        else "complex128"
        if is_complex(dtype)
        else "float64"
    )
    with np.errstate(all="ignore"):
        expected = image.array.astype(numpy_dtype(wide)) * 0.25 - 12.5
        rtol = 1e-6 if found.dtype == np.float32 else 1e-14
        np.testing.assert_allclose(
            found.astype(expected.dtype), expected, rtol=rtol, atol=1e-4 if rtol > 1e-10 else 1e-9
        )


@pytest.mark.parametrize(("slope", "inter", "scaled"), [
    (None, None, False), (1.0, 0.0, False), (1.0, None, False), (2.0, None, True), (1.0, 3.0, True), (-1.0, 0.0, True),
])  # fmt: skip
def test_what_counts_as_scaled(slope: float | None, inter: float | None, scaled: bool) -> None:
    image = make("plain")
    backend = ArrayBackend(image.array, image.header.replace(slope=slope, inter=inter))
    assert backend.header.scaled == scaled
    found = read(backend)
    assert found.dtype == ("float32" if scaled else "int16")
    np.testing.assert_array_equal(found, image.array * np.float32(slope or 1) + np.float32(inter or 0))


# what is no region


@pytest.mark.parametrize("region", [
    (range(0), range(5), range(4), range(3)), (range(1), range(6), range(4), range(3)),
    (range(1), range(-1, 4), range(4), range(3)), (range(1, 2), range(5), range(4), range(3)),
    (range(1), range(5), range(3, -2, -1), range(3)), (range(1), range(5), range(4, 0, -1), range(3)),
])  # fmt: skip
def test_regions_outside_are_refused(maker: Callable[[ArrayBackend], Backend], region: Any) -> None:
    with pytest.raises(GeometryError, match="empty or leaves the image"):
        maker(make("plain")).read(region)


# pickles, threads


def test_backends_pickle_as_their_source(maker: Callable[[ArrayBackend], Backend]) -> None:
    image = make("scaled-time")
    backend = maker(image)
    again = pickle.loads(pickle.dumps(backend))
    assert again.header == backend.header
    for region in regions(image.header.shape, 10):
        assert unlike(again.read(region), backend.read(region)) is None


def test_a_pickle_holds_no_voxels(tmp_path: Path) -> None:
    image = ArrayBackend(
        np.zeros((1, 50, 40, 30)), Header(shape=(1, 50, 40, 30), dtype="float64", affine=AffineMatrix())
    )
    for pack in (False, True):
        backend = stored(image, packed(image, tmp_path), tmp_path, pack=pack)
        backend.read((range(1), range(3), range(3), range(3)))
        backend.read((range(1), range(3), range(3), range(3)))  # spooled now
        assert len(pickle.dumps(backend)) < 4000


def test_a_pickle_notices_that_the_file_changed(tmp_path: Path) -> None:
    image = make("plain")
    content = pickle.dumps(stored(image, packed(image, tmp_path), tmp_path))
    path = tmp_path / "x.raw"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(StorageError, match="changed since it was opened"):
        read(pickle.loads(content))


def test_many_threads_read_at_once(maker: Callable[[ArrayBackend], Backend]) -> None:
    image = make("scaled-time")
    backend = maker(image)
    full = scale(image.array.copy(), image.header)
    wrong: list[Any] = []

    def work(seed: int) -> None:
        for region in regions(image.header.shape, 15, seed):
            problem = unlike(backend.read(region), part(full, region))
            if problem:
                wrong.append((region, problem))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# streams


def test_a_bad_checksum_is_raised_before_the_last_block(tmp_path: Path) -> None:
    """Whoever writes what comes out of ``blocks`` never completes a damaged image."""
    image = make("time", "int32")
    for place in (-8, -1):  # CRC and length
        backend = stored(image, packed(image, tmp_path), tmp_path, pack=True)
        path = tmp_path / "x.raw.gz"
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        source = EncodedSource(PathSource(str(path)), "gzip")
        backend = StoredBackend(backend.stored._replace(source=source), image.header)
        for layout in layouts(image.header):
            for most in (100, 1 << 24):
                got = 0
                with pytest.raises(FormatError):
                    for piece in backend.blocks(layout, max_bytes=most):
                        got += len(piece)
                assert got < layout.nbytes
        with pytest.raises(FormatError):
            read(backend)


def test_a_file_that_shrinks_meanwhile_is_truncated(tmp_path: Path) -> None:
    image = make("plain")
    backend = stored(image, packed(image, tmp_path), tmp_path)
    stream = backend.blocks(packed(image, tmp_path, (2, 1, 0)), max_bytes=10)
    next(stream)
    (tmp_path / "x.raw").write_bytes(b"")
    with pytest.raises((TruncatedError, StorageError)):
        list(stream)


def test_streaming_takes_no_memory(tmp_path: Path) -> None:
    """A pass over 32 MB holds a few blocks, in the file's layout and in others."""
    shape = (1, 256, 256, 256)
    with (tmp_path / "x.raw").open("wb") as file:
        file.truncate(2 * prod(shape))
    header = Header(shape=shape, dtype="int16", affine=AffineMatrix())
    backend = StoredBackend(StoredArray(PathSource(str(tmp_path / "x.raw")), 0, Layout.packed(shape, "int16")), header)
    for layout in (Layout.packed(shape, "int16"), Layout.packed(shape, "int16", byte_order="big"),
                   Layout.packed(shape, "int16", order=(1, 0, 2))):  # fmt: skip
        tracemalloc.start()
        try:
            assert sum(len(piece) for piece in backend.blocks(layout, max_bytes=1 << 20)) == 2 * prod(shape)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 << 20


def test_a_region_reads_its_bytes_and_little_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One slice of a large file is one slice of reading; scattered voxels are read in pages, not as one span."""
    from medimg_cli.storage.source import _FdCursor

    taken = [0]
    readinto = _FdCursor.readinto

    def counted(self: _FdCursor, offset: int, target: memoryview) -> int:
        got = readinto(self, offset, target)
        taken[0] += got
        return got

    monkeypatch.setattr(_FdCursor, "readinto", counted)
    shape = (3, 100, 90, 80)
    path = tmp_path / "x.raw"
    with path.open("wb") as file:
        file.truncate(2 * prod(shape))
    header = Header(shape=shape, dtype="int16", affine=AffineMatrix())
    backend = StoredBackend(StoredArray(PathSource(str(path)), 0, Layout.packed(shape, "int16")), header)
    slice_bytes = 100 * 90 * 2
    for region, most in (
        ((range(1), range(100), range(90), range(40, 41)), slice_bytes),
        ((range(2, 3), range(99, -1, -1), range(89, -1, -1), range(40, 39, -1)), slice_bytes),
        ((range(3), range(50, 51), range(45, 46), range(40, 41)), 6),
        ((range(1), range(0, 100, 2), range(45, 46), range(80)), 80 * 200),
        ((range(1), range(100), range(90), range(0, 80, 8)), 10 * slice_bytes),
    ):
        taken[0] = 0
        assert backend.read(region).shape == tuple(map(len, region))
        assert taken[0] <= most


# views


spans = st.integers(0, 4).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, 4), st.integers(1, 3)))


def _range(size: int, drawn: tuple[int, int, int]) -> range:
    first, last, step = drawn[0] % size, drawn[1] % size, drawn[2]
    return range(first, last + 1, step) if first <= last else range(first, last - 1, -step)


@settings(max_examples=60, deadline=None)
@given(
    chain=st.lists(st.tuples(spans, st.permutations(range(3)), st.tuples(spans, spans, spans)), min_size=1, max_size=4),
    form=st.sampled_from(["array", "stored", "interleaved", "frames", "plain view"]),
    kind=st.sampled_from(["plain", "time-rgb", "scaled-time"]),
)
def test_chains_of_views_are_those_of_numpy(chain: list[Any], form: str, kind: str) -> None:
    image = make(kind)
    folder = Path()
    forms: dict[str, Callable[[], Backend]] = {
        "array": lambda: image,
        "stored": lambda: stored(image, packed(image, folder)),
        "interleaved": lambda: stored(image, packed(image, folder, (4, 3, 0, 1, 2))),
        "frames": lambda: frames(image, 3),
        "plain view": lambda: viewed(image),
    }
    backend = forms[form]()
    values = image.array
    for channels, order, cuts in chain:
        shape = backend.header.shape
        kept = _range(shape[0], channels)
        axes = [(axis, _range(shape[axis + 1], cut)) for axis, cut in zip(order, cuts, strict=True)]
        values = part(values, (kept, range(shape[1]), range(shape[2]), range(shape[3])))
        for axis, span in axes:
            values = np.take(values, list(span), axis=axis + 1)
        values = values.transpose(0, *(axis + 1 for axis, _ in axes))
        header = backend.header.with_channels(kept).replace(shape=values.shape)
        backend = view(backend, kept, axes, header)
    assert unlike(read(backend, raw=True), values) is None
    for region in regions(values.shape, 5):
        assert unlike(backend.read(region, raw=True), part(values, region)) is None
    for layout in list(layouts(backend.header))[:4]:
        assert b"".join(map(bytes, backend.blocks(layout))) == laid_out(values, layout)


def test_views_of_stored_arrays_are_stored_arrays(tmp_path: Path) -> None:
    """They stay arithmetic on strides, however long the chain."""
    image = make("time")
    backend: Backend = stored(image, packed(image, tmp_path), tmp_path)
    for _ in range(5):
        c, i, j, k = backend.header.shape
        header = backend.header.replace(shape=(c, k, i, j))
        backend = view(backend, range(c), ((2, range(k - 1, -1, -1)), (0, range(i)), (1, range(j))), header)
        assert isinstance(backend, StoredBackend)


@given(start=st.integers(0, 20), count=st.integers(1, 20), step=st.sampled_from([-3, -1, 1, 2]), inner=spans)
def test_compose_is_indexing_twice(start: int, count: int, step: int, inner: tuple[int, int, int]) -> None:
    outer = range(start + 60, start + 60 + count * step, step)
    chosen = _range(len(outer), inner)
    assert list(compose(outer, chosen)) == [list(outer)[n] for n in chosen]


# frames


def test_frames_with_slopes_of_their_own() -> None:
    """Where frames scale differently, their values are the stored numbers of the whole."""
    one, two = make("scaled"), make("plain")
    one.header = one.header.replace(slope=2.0, inter=1.0)
    header = two.header.replace(shape=(2, *two.header.shape[1:]), dtype="float32", axes=(("time", 2),))
    whole_image = FramesBackend([one, ArrayBackend(two.array, two.header)], header, scaled=True)
    expected = np.concatenate([one.array * np.float32(2) + np.float32(1), two.array]).astype("float32")
    for raw in (False, True):
        assert unlike(read(whole_image, raw=raw), expected) is None
    for region in regions(header.shape, 30):
        assert unlike(whole_image.read(region), part(expected, region)) is None


def test_frames_are_read_only_where_a_region_needs_them() -> None:
    image = make("time")
    asked: list[int] = []

    class Watched(ArrayBackend):
        def read(self, region: Any, *, raw: bool = False) -> Array:
            asked.append(id(self))
            return super().read(region, raw=raw)

    pieces = [Watched(image.array[n : n + 1], image.header.with_channels(range(n, n + 1))) for n in range(4)]
    backend = FramesBackend(pieces, image.header)
    backend.read((range(2, 3), range(5), range(4), range(3)))
    assert asked == [id(pieces[2])]


@pytest.mark.parametrize("kind", [kind for kind, dtype in KINDS.items() if not is_float(dtype)])
def test_kinds_are_what_they_say(kind: str) -> None:
    """The images of this suite are consistent."""
    image = make(kind)
    assert image.array.shape == image.header.shape
    assert image.array.dtype == image.header.dtype
    assert image.header.channels == prod(size for _, size in image.header.axes)
    assert whole(image.header.shape) == next(regions(image.header.shape, 0))
    assert unlike(image.array, voxels((1,), "uint8")) is not None

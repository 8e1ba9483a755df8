"""Sources of bytes: paths, memory, file objects, pipes, and decoded views that never inflate more than is read."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medimg_cli.errors import (
    FormatError,
    MedImgError,
    MissingExtraError,
    NotFoundError,
    StorageError,
    TruncatedError,
    UsageError,
)
from medimg_cli.storage import encoded
from medimg_cli.storage import source as storage
from medimg_cli.storage.codecs import open_decoder, zstd_module
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import (
    CHUNK,
    ByteSource,
    FileObjectSource,
    MemorySource,
    PathSource,
    open_source,
)


def noise(size: int) -> bytes:
    """Return bytes that no codec makes smaller, the same each time."""
    import random

    return random.Random(size).randbytes(size)


DATA = noise(10_000)


def read(source: ByteSource, offset: int = 0, count: int = 1 << 20) -> bytes:
    """Read through a cursor into a buffer; short at the end."""
    view = bytearray(min(count, source.most))
    with source.cursor() as cursor:
        return bytes(view[: cursor.readinto(offset, memoryview(view))])


def streamed(source: ByteSource, offset: int = 0, count: int = 1 << 30) -> bytes:
    """Read all in chunks and verify the end."""
    with source.cursor() as cursor:
        data = b"".join(cursor.chunks(offset, count))
        cursor.verify()
    return data


class Unseekable(io.RawIOBase):
    """A stream that comes once."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return self._inner.readinto(view)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.bin"
    path.write_bytes(DATA)
    return path


@pytest.fixture(params=["path", "pathlib", "bytes", "bytearray", "memoryview", "file", "BytesIO", "stream", "source"])
def anything(request: pytest.FixtureRequest, plain: Path) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "path": lambda: str(plain), "pathlib": lambda: plain, "bytes": lambda: DATA, "bytearray": lambda: bytearray(DATA),
        "memoryview": lambda: memoryview(DATA), "file": lambda: plain.open("rb"), "BytesIO": lambda: io.BytesIO(DATA),
        "stream": lambda: Unseekable(DATA), "source": lambda: MemorySource(DATA),
    }  # fmt: skip
    made = makers[request.param]()
    yield made
    if hasattr(made, "close"):
        made.close()


def test_every_source_reads_the_same(anything: Any) -> None:
    source = open_source(anything)
    assert isinstance(source, ByteSource)
    assert (source.size, source.most) == (len(DATA), len(DATA))
    assert [source.head(n) for n in (0, 1, 4096, 5000, 20_000)] == [DATA[:n] for n in (0, 1, 4096, 5000, 20_000)]
    assert read(source) == streamed(source) == DATA
    assert read(source, 7000, 5000) == streamed(source, 7000, 5000) == DATA[7000:]
    assert read(source, 123, 456) == streamed(source, 123, 456) == DATA[123:579]
    assert read(source, 20_000, 5) == streamed(source, 20_000, 5) == b""


def test_two_threads_read_every_source_at_once(anything: Any) -> None:
    source = open_source(anything)
    wrong = []

    def work(offset: int) -> None:
        for _ in range(20):
            if read(source, offset, 300) != DATA[offset : offset + 300]:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(n * 900,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("thing", [None, 3, ["a.nii"]])
def test_other_things_are_no_source(thing: object) -> None:
    with pytest.raises(UsageError, match="cannot read an image from"):
        open_source(thing)


def test_a_text_file_is_no_source(plain: Path) -> None:
    with plain.open() as file, pytest.raises(UsageError, match="binary"):
        open_source(file)
    with pytest.raises(UsageError, match="binary"):
        open_source(io.StringIO("text"))


# paths


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nothing.nii: no such file"):
        open_source(tmp_path / "nothing.nii")
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path / "no-folder" / "nothing.nii")
    with pytest.raises(StorageError, match="folder"):
        open_source(tmp_path)
    with pytest.raises(StorageError, match="no regular file"):
        open_source("/dev/zero")
    with pytest.raises(StorageError, match="null character") as error:
        open_source(str(tmp_path / "a\0b.nii"))
    assert "\0" not in str(error.value)
    with pytest.raises(StorageError):
        open_source(tmp_path / ("x" * 300))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError):
        open_source(tmp_path / "loop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(plain: Path) -> None:
    plain.chmod(0)
    with pytest.raises(StorageError, match="permission denied"):
        open_source(plain)


def test_errors_of_the_system_are_ours(tmp_path: Path) -> None:
    for name in ("nothing", "a/b", "\0"):
        with pytest.raises(MedImgError) as error:
            open_source(tmp_path / name)
        assert len(str(error.value).splitlines()) == 1


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files on this platform")
def test_path_sources_hold_nothing_open(plain: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    source = PathSource(str(plain))
    with source.cursor() as cursor:
        cursor.readinto(0, memoryview(bytearray(10)))
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "replaced"])
def test_a_file_that_changed_since_is_an_error(plain: Path, change: str) -> None:
    source = PathSource(str(plain))
    travelled = pickle.loads(pickle.dumps(source))
    assert read(travelled) == DATA
    if change == "longer":
        plain.write_bytes(DATA + b"x")
    elif change == "shorter":
        os.truncate(plain, 100)
    elif change == "touched":
        plain.write_bytes(DATA[::-1])
        os.utime(plain, ns=(1, 1))
    else:
        info = plain.stat()
        other = plain.with_name("other")
        other.write_bytes(DATA)
        os.utime(other, ns=(info.st_atime_ns, info.st_mtime_ns))
        other.rename(plain)
    for each in (source, travelled):
        with pytest.raises(StorageError, match="changed since it was opened"):
            each.cursor()


def test_a_file_that_shrinks_while_it_is_read_ends_short(plain: Path) -> None:
    source = PathSource(str(plain))
    with source.cursor() as cursor:
        os.truncate(plain, 100)
        assert cursor.readinto(50, memoryview(bytearray(100))) == 50
        assert b"".join(cursor.chunks(0, 5000)) == DATA[:100]


def test_a_file_that_vanished_is_named(plain: Path) -> None:
    source = PathSource(str(plain))
    plain.unlink()
    with pytest.raises(NotFoundError):
        source.cursor()


def test_named_pipes_are_read_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "pipe.nii"
    os.mkfifo(path)
    writer = threading.Thread(target=lambda: path.write_bytes(DATA))
    writer.start()
    source = open_source(path)
    writer.join()
    assert source.name == str(path)
    assert read(source) == DATA
    assert read(source, 5000, 10) == DATA[5000:5010]
    assert read(pickle.loads(pickle.dumps(source))) == DATA


def test_a_fast_writer_of_a_named_pipe_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is opened once: what was written before a second opening would be gone, and the reader wait for ever."""
    path = tmp_path / "pipe.nii"
    os.mkfifo(path)
    monkeypatch.setattr(PathSource, "_open", lambda self: pytest.fail("a pipe was opened as a file"))
    writer = threading.Thread(target=lambda: path.write_bytes(DATA))
    writer.start()
    assert read(open_source(path)) == DATA
    writer.join()


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(plain: Path, codec: str | None) -> None:
    if codec:
        plain.write_bytes(gzip.compress(DATA))
    source: ByteSource = PathSource(str(plain))
    if codec:
        source = EncodedSource(source, codec)
    with source.cursor() as cursor:
        assert b"".join(cursor.chunks(0, 100)) == DATA[:100]
        os.utime(plain, ns=(0, 0))
        with pytest.raises(StorageError, match="changed while it was read"):
            cursor.verify()


# detached files


@pytest.mark.parametrize(
    "name",
    ["../up.raw", "/etc/passwd", "sub/../../up.raw", "..", "..\\up.raw", "\\\\server\\share", "C:\\up.raw", "C:/up.raw",
     "file:///etc/passwd", "http://host/x.raw", "s3://bucket/x", "", "a\0b", "sub/..", "\\etc\\passwd"],
)  # fmt: skip
def test_detached_data_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    """Mistake 11 of other tools: a header that names ``../../etc/passwd`` gets its bytes back as voxels."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "up.raw").write_bytes(b"secret")
    (folder / "head.nhdr").write_bytes(b"head")
    with pytest.raises(FormatError, match="outside its own folder") as error:
        PathSource(str(folder / "head.nhdr")).sibling(name)
    assert "\0" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["data.raw", "./data.raw", "sub/data.raw", "sub\\data.raw", "..data.raw", "12:30:00.raw"]
)
def test_detached_data_in_the_folder_or_below(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "head.nhdr").write_bytes(b"head")
    path = tmp_path / name.replace("\\", "/")
    path.write_bytes(DATA)
    assert read(PathSource(str(tmp_path / "head.nhdr")).sibling(name)) == DATA


def test_detached_data_of_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "head.nhdr").write_bytes(b"head")
    (tmp_path / "data.raw").write_bytes(DATA)
    assert read(PathSource("head.nhdr").sibling("data.raw")) == DATA


def test_missing_detached_data_are_named_with_their_header(tmp_path: Path) -> None:
    (tmp_path / "head.nhdr").write_bytes(b"head")
    with pytest.raises(NotFoundError, match=r"head\.nhdr: its data file 'data\.raw' does not exist"):
        PathSource(str(tmp_path / "head.nhdr")).sibling("data.raw")


def test_detached_data_are_regular_files(tmp_path: Path) -> None:
    (tmp_path / "head.nhdr").write_bytes(b"head")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/zero")
    source = PathSource(str(tmp_path / "head.nhdr"))
    for name in ("folder", "pipe", "null", "folder/"):
        with pytest.raises((StorageError, FormatError)):
            source.sibling(name)


@pytest.mark.parametrize(
    "source",
    [MemorySource(DATA), FileObjectSource(io.BytesIO(DATA), "x"), EncodedSource(MemorySource(DATA), "gzip")],
)
def test_bytes_have_no_folder(source: ByteSource) -> None:
    with pytest.raises(FormatError, match="folder"):
        source.sibling("data.raw")


# file objects


def test_file_objects_stay_where_they_were() -> None:
    file = io.BytesIO(b"before" + DATA)
    file.seek(6)
    source = open_source(file, name="x.nii")
    assert source.name == "x.nii"
    assert read(source, 6) == DATA
    assert file.tell() == 6


def test_file_objects_refuse_to_pickle_and_say_what_to_do() -> None:
    with pytest.raises(StorageError, match=r"load\(\)"):
        pickle.dumps(open_source(io.BytesIO(DATA)))


def test_a_closed_file_object_is_named() -> None:
    file = io.BytesIO(DATA)
    source = open_source(file, name="x.nii")
    file.close()
    with pytest.raises(StorageError, match=r"x\.nii: the file object fails"):
        source.head(10)


def test_a_file_object_that_fails_is_named() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(StorageError, match="input/output error"):
        open_source(Failing(DATA), name="x.nii").head(10)
    stream: Any = Failing(DATA)
    stream.seekable = lambda: False
    with pytest.raises(StorageError, match="input/output error"):
        open_source(stream, name="x.nii")


def test_streams_larger_than_memory_allows_go_to_an_unlinked_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(storage, "SPOOL_MEMORY", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = open_source(Unseekable(DATA), name="stream")
    assert list(tmp_path.iterdir()) == []
    assert read(source) == streamed(source) == DATA
    with pytest.raises(StorageError, match=r"load\(\)"):
        pickle.dumps(source)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="cannot keep"):
        open_source(Unseekable(DATA), name="stream")


# decoded views


def zstd(data: bytes) -> bytes:
    try:
        module = zstd_module()
        packed: bytes = module.compress(data, options={module.CompressionParameter.checksum_flag: 1})
    except MissingExtraError as error:
        pytest.skip(f"extra [zst] is not installed: {error}")
    return packed


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "zlib": zlib.compress, "bzip2": bz2.compress, "zstd": zstd,
}  # fmt: skip
MEMBERS = ["gzip", "bzip2", "zstd"]


class CountingSource(MemorySource):
    """Counts the bytes that cursors read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.taken = 0

    def cursor(self) -> Any:
        inner = super().cursor()
        readinto = inner.readinto

        def counted(offset: int, view: memoryview) -> int:
            got = readinto(offset, view)
            self.taken += got
            return got

        inner.readinto = counted  # type: ignore[method-assign]
        return inner


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all pieces that decoders give from here on."""
    sizes: list[int] = []

    class Counting:
        def __init__(self, decoder: Any) -> None:
            self._decoder = decoder

        def __getattr__(self, name: str) -> Any:
            return getattr(self._decoder, name)

        def decompress(self, data: bytes, most: int = -1) -> bytes:
            piece: bytes = self._decoder.decompress(data, most)
            sizes.append(len(piece))
            return piece

    monkeypatch.setattr(encoded, "open_decoder", lambda name: Counting(open_decoder(name)))
    return sizes


LARGE = noise(6 << 20)


@pytest.fixture(scope="module")
def packed() -> dict[str, bytes]:
    """LARGE, encoded by every codec that is installed."""
    found = {}
    for codec, encode in ENCODERS.items():
        try:
            found[codec] = encode(LARGE)
        except pytest.skip.Exception:
            continue
    return found


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_first_read_inflates_no_more_than_it_needs(codec: str, packed: dict[str, bytes], inflated: list[int]) -> None:
    if codec not in packed:
        zstd(b"")
    base = CountingSource(packed[codec])
    source = EncodedSource(base, codec)
    assert source.head(348) == LARGE[:348]
    assert sum(inflated) <= (storage.HEAD if codec in ("gzip", "zlib") else CHUNK)  # the others have large blocks
    inflated.clear()
    base.taken = 0
    with source.random_cursor() as cursor:
        view = bytearray(1000)
        assert cursor.readinto(3 << 20, memoryview(view)) == 1000
    assert bytes(view) == LARGE[3 << 20 :][:1000]
    assert sum(inflated) <= (3 << 20) + 1000 + CHUNK
    assert base.taken <= len(packed[codec]) * 0.55 + (1 << 19)


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_second_read_inflates_the_whole_once(codec: str, packed: dict[str, bytes], inflated: list[int]) -> None:
    """However many regions are asked for, the stream is decoded twice at most: never quadratically."""
    if codec not in packed:
        zstd(b"")
    source = EncodedSource(MemorySource(packed[codec]), codec)
    for number in range(6):
        with source.random_cursor() as cursor:
            view = bytearray(50)
            offset = (5 - number) * 1_000_000
            assert cursor.readinto(offset, memoryview(view)) == 50
            assert bytes(view) == LARGE[offset : offset + 50]
        if number == 1:
            inflated.clear()
    assert sum(inflated) == 0
    assert source.size == len(LARGE)
    assert streamed(source) == LARGE
    assert sum(inflated) == 0


def test_a_step_back_within_one_read_goes_through_the_spool(packed: dict[str, bytes], inflated: list[int]) -> None:
    source = EncodedSource(MemorySource(packed["gzip"]), "gzip")
    with source.cursor() as cursor:
        for offset in (5 << 20, 100, 4 << 20, 7, 3 << 20):
            view = bytearray(64)
            assert cursor.readinto(offset, memoryview(view)) == 64
            assert bytes(view) == LARGE[offset : offset + 64]
        cursor.verify()
    assert sum(inflated) <= 2 * len(LARGE)


def test_many_threads_inflate_one_stream_once(packed: dict[str, bytes], inflated: list[int]) -> None:
    source = EncodedSource(MemorySource(packed["gzip"]), "gzip")
    wrong = []

    def work(offset: int) -> None:
        with source.random_cursor() as cursor:
            view = bytearray(100)
            cursor.readinto(offset, memoryview(view))
            if bytes(view) != LARGE[offset : offset + 100]:
                wrong.append(offset)

    threads = [threading.Thread(target=work, args=(n * 800_000,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sum(inflated) <= 2 * len(LARGE)


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_pass_over_a_stream_never_spools(codec: str, packed: dict[str, bytes], inflated: list[int]) -> None:
    if codec not in packed:
        zstd(b"")
    source = EncodedSource(MemorySource(packed[codec]), codec)
    tracemalloc.start()
    try:
        total = 0
        with source.cursor() as cursor:
            for piece in cursor.chunks(1000, len(LARGE) - 1000):
                total += len(piece)
            cursor.verify()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (total, source.size) == (len(LARGE) - 1000, None)
    assert sum(inflated) == len(LARGE)
    assert peak < 6 * CHUNK


def test_decoded_views_of_a_part(tmp_path: Path) -> None:
    """NRRD and MetaImage: a plain header, then the compressed voxels; MetaImage states how many bytes they are."""
    path = tmp_path / "x.mha"
    path.write_bytes(b"head" + zlib.compress(DATA) + b"behind")
    size = path.stat().st_size
    for length in (None, size - 10):
        source = EncodedSource(PathSource(str(path)), "zlib", 4, length)
        assert source.head(10) == DATA[:10]
        assert read(source) == streamed(source) == DATA
        assert pickle.loads(pickle.dumps(source)).head(5000) == DATA[:5000]
    assert source.encoded_bytes == size - 10
    short = EncodedSource(PathSource(str(path)), "zlib", 4, 2000)
    with pytest.raises(TruncatedError):
        streamed(short)


def test_text_and_hex_and_bits_are_views_too() -> None:
    assert streamed(EncodedSource(MemorySource(b"head" + DATA.hex().encode()), "hex", 4)) == DATA
    assert streamed(EncodedSource(MemorySource(b" ".join(b"%d" % n for n in DATA)), "ascii:uint8")) == DATA
    assert streamed(EncodedSource(MemorySource(b"\xa0"), "bits")) == bytes((1, 0, 1, 0, 0, 0, 0, 0))


# damage


def damaged(codec: str, content: bytes) -> EncodedSource:
    return EncodedSource(MemorySource(content, "x.bin"), codec)


@pytest.mark.parametrize("codec", ENCODERS)
def test_truncated_streams_are_refused(codec: str) -> None:
    """Cut anywhere: all that is there may come, but the end is never taken for good."""
    content = ENCODERS[codec](DATA)
    for length in [
        0,
        1,
        5,
        9,
        17,
        *range(20, len(content), 509),
        len(content) - 9,
        len(content) - 4,
        len(content) - 1,
    ]:
        with pytest.raises(FormatError, match=r"x\.bin: its"):
            streamed(damaged(codec, content[:length]))
        got = b""
        try:
            got = read(damaged(codec, content[:length]))
        except FormatError:
            pass
        assert DATA.startswith(got)


@pytest.mark.parametrize("codec", ENCODERS)
def test_corrupt_streams_are_refused(codec: str) -> None:
    """A flipped bit is found: by the decoder or by the checksum, before the pass ends."""
    content = ENCODERS[codec](DATA)
    found = 0
    places = [*range(30), *range(30, len(content), 331), *range(len(content) - 8, len(content))]
    for place in places:
        broken = bytearray(content)
        broken[place] ^= 1 << place % 8
        try:
            assert streamed(damaged(codec, bytes(broken))) == DATA  # a byte that nothing depends on: time, system
        except FormatError as error:
            assert len(str(error).splitlines()) == 1
            found += 1
    harmless = {"gzip": 8, "zlib": 1, "bzip2": 1, "zstd": 12}[codec]
    assert found >= len(places) - harmless


@pytest.mark.parametrize("codec", MEMBERS)
def test_members_follow_one_another(codec: str) -> None:
    encode = ENCODERS[codec]
    for sizes in ([3000, 7000], [0, 10_000], [10_000, 0], [1, 1, 9998], [5000, 0, 0, 5000]):
        content, at = b"", 0
        for size in sizes:
            content += encode(DATA[at : at + size])
            at += size
        assert streamed(damaged(codec, content)) == DATA
        assert read(damaged(codec, content), 9000, 500) == DATA[9000:9500]


@pytest.mark.parametrize("codec", MEMBERS)
def test_a_damaged_second_member_is_refused(codec: str) -> None:
    encode = ENCODERS[codec]
    for second in (encode(DATA)[:-3], encode(DATA)[:20], encode(DATA)[:12] + b"garbage garbage garbage"):
        with pytest.raises(FormatError):
            streamed(damaged(codec, encode(DATA) + second))


@pytest.mark.parametrize("codec", ENCODERS)
@pytest.mark.parametrize("garbage", [b"\0" * 600, b"garbage", b"\0", b"\x1f", noise(100_000)])
def test_bytes_behind_the_end_are_ignored(codec: str, garbage: bytes) -> None:
    assert streamed(damaged(codec, ENCODERS[codec](DATA) + garbage)) == DATA


@pytest.mark.parametrize("codec", MEMBERS)
def test_thousands_of_empty_members_are_refused_in_no_time(codec: str) -> None:
    """Half a million gzip streams of 20 bytes took minutes: each copied what follows it."""
    encode = ENCODERS[codec]
    source = damaged(codec, encode(DATA) + encode(b"") * 30_000)
    begun = time.monotonic()
    with pytest.raises(FormatError, match="more than 10000 streams"):
        streamed(source)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("codec", MEMBERS)
def test_a_stream_that_goes_on_and_on_behind_the_voxels_is_refused(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoded, "_TRAILING", 1 << 20)
    source = damaged(codec, ENCODERS[codec](DATA) + ENCODERS[codec](bytes(1 << 20)) * 30)
    with source.cursor() as cursor:
        assert cursor.readinto(0, memoryview(bytearray(len(DATA)))) == len(DATA)
        with pytest.raises(FormatError, match="go on for more than"):
            cursor.verify()
    with pytest.raises(FormatError, match="go on for more than"):
        source.spooled(len(DATA))
    with source.cursor() as cursor:
        cursor.readinto(0, memoryview(bytearray(20 << 20)))
        cursor.verify()  # less than as much again: a header may state too few


def test_zlib_has_one_stream() -> None:
    assert streamed(damaged("zlib", zlib.compress(DATA) + zlib.compress(b"more"))) == DATA


@pytest.mark.parametrize("codec", ENCODERS)
def test_what_is_no_stream_is_refused(codec: str) -> None:
    ENCODERS[codec](b"")  # skips where the codec is not installed
    for content in (b"no stream at all, but text", b"\0" * 100, noise(3000)):
        source = damaged(codec, content)
        with pytest.raises(FormatError):
            streamed(source)
        with pytest.raises(FormatError):
            source.head(100)


@pytest.mark.parametrize("codec", [*ENCODERS, "hex", "bits", "ascii:float64"])
def test_most_bounds_what_a_stream_can_hold(codec: str) -> None:
    encode = ENCODERS.get(codec)
    content = encode(bytes(1_000_000)) if encode else b"00" * 100
    source = damaged(codec, content)
    assert len(streamed(source)) <= source.most <= len(content) * 1.6e6 + 100


def test_head_is_never_more_than_there_is() -> None:
    source = damaged("gzip", gzip.compress(b"few"))
    assert source.head(1 << 40) == b"few"


def test_a_link_out_of_the_folder_is_not_followed_but_one_into_a_store_is(tmp_path: Path) -> None:
    folder, store = tmp_path / "here", tmp_path / ".git" / "annex" / "objects"
    for place in (folder, store):
        place.mkdir(parents=True)
    (tmp_path / "secret.raw").write_bytes(b"secret")
    (store / "key").write_bytes(b"voxels")
    (folder / "own.raw").write_bytes(b"own")
    (folder / "x.nhdr").write_bytes(b"header")
    for name, goal in (
        ("out.raw", "../secret.raw"),
        ("kept.raw", "../.git/annex/objects/key"),
        ("in.raw", "own.raw"),
    ):
        (folder / name).symlink_to(goal)
    source = PathSource(str(folder / "x.nhdr"))
    with pytest.raises(FormatError, match="link out of its own folder"):
        source.sibling("out.raw")
    assert source.sibling("kept.raw").head(9) == b"voxels"
    assert source.sibling("in.raw").head(9) == b"own"

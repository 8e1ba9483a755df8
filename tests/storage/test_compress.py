"""Compressed output: the bytes depend on data and level alone, and other programs read them."""

from __future__ import annotations

import bz2
import gzip
import random
import subprocess
import sys
import threading
import zlib
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import MissingExtraError, UsageError
from medimg_cli.storage import compress
from medimg_cli.storage.codecs import zstd_module
from medimg_cli.storage.compress import BLOCK, open_sink
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import MemorySource

LEVELS = {"gzip": range(10), "zlib": range(10), "bzip2": range(1, 10), "zstd": range(1, 23)}


def voxels(size: int) -> bytes:
    """Return bytes like those of a scan: smooth, with noise in the low bits."""
    ramp = np.cumsum(np.random.default_rng(size).integers(-3, 4, size // 2 + 1)).astype("<i2")
    return ramp.tobytes()[:size]


LARGE = voxels(3 * BLOCK + 12_345)


def packed(
    data: bytes,
    compression: str | None,
    level: int | None = None,
    threads: int | None = None,
    pieces: list[int] | None = None,
) -> bytes:
    """Push data through a sink, in pieces of the given sizes over and over."""
    out: list[bytes] = []
    try:
        sink = open_sink(lambda piece: out.append(bytes(piece)), compression, level, threads)
    except MissingExtraError as error:
        pytest.skip(f"extra [zst] is not installed: {error}")
    at, turn = 0, 0
    while at < len(data):
        size = pieces[turn % len(pieces)] if pieces else len(data)
        sink.write(data[at : at + size])
        at, turn = at + size, turn + 1
    sink.finish()
    return b"".join(out)


def unpacked(data: bytes, compression: str) -> bytes:
    """Decompress with the reference implementation, which checks the checksum."""
    if compression == "gzip":
        return gzip.decompress(data)
    if compression == "zlib":
        return zlib.decompress(data)
    if compression == "bzip2":
        return bz2.decompress(data)
    result: bytes = zstd_module().decompress(data)
    return result


def test_plain_output_is_the_input() -> None:
    assert packed(LARGE, None, pieces=[1000, 7]) == LARGE


@pytest.mark.parametrize(
    ("compression", "level"), [(name, level) for name, levels in LEVELS.items() for level in levels]
)
def test_every_level_is_read_by_the_reference(compression: str, level: int) -> None:
    data = LARGE if level < 7 and compression in ("gzip", "zlib") else LARGE[: BLOCK + 99 if level < 10 else 99_999]
    assert unpacked(packed(data, compression, level), compression) == data


@pytest.mark.parametrize("compression", LEVELS)
def test_every_size_is_read_by_the_reference(compression: str) -> None:
    for size in (0, 1, 2, 100, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK):
        data = LARGE[:size]
        assert unpacked(packed(data, compression), compression) == data


@pytest.mark.parametrize("compression", ["gzip", "zlib"])
@pytest.mark.parametrize("level", [1, 2, 4, 6])
def test_bytes_do_not_depend_on_threads_or_chunking(compression: str, level: int) -> None:
    once = packed(LARGE, compression, level, threads=1)
    for threads in (2, 3, 8, None):
        assert packed(LARGE, compression, level, threads) == once
    chance = random.Random(level)
    for pieces in (
        [1 << 20],
        [777],
        [BLOCK],
        [BLOCK - 1, 1],
        [chance.randrange(1, 200_000) for _ in range(30)],
    ):
        assert packed(LARGE, compression, level, threads=2, pieces=pieces) == once


@pytest.mark.parametrize("compression", LEVELS)
def test_bytes_are_the_same_each_time(compression: str) -> None:
    assert packed(LARGE[:70_000], compression) == packed(LARGE[:70_000], compression, pieces=[999])


def test_gzip_holds_no_time_and_no_name() -> None:
    head = packed(b"voxels", "gzip")[:10]
    assert head == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: no flags, no time, unknown system


def test_default_levels_are_fast_and_close() -> None:
    """The default is not much larger than gzip -6."""
    assert len(packed(LARGE, "gzip")) <= 1.25 * len(gzip.compress(LARGE, 6))


@pytest.mark.parametrize(
    ("compression", "level"),
    [("gzip", 10), ("gzip", -1), ("zlib", 10), ("bzip2", 10), ("zstd", 23), ("zstd", -5)],
)
def test_levels_out_of_range_are_named(compression: str, level: int) -> None:
    with pytest.raises(UsageError, match=f"level {level} is not between"):
        open_sink(lambda _: None, compression, level)


@pytest.mark.parametrize("data", [bytearray(b"voxels"), memoryview(b"voxels"), np.frombuffer(b"voxels", np.uint8),
                                  np.arange(300, dtype="<i2").reshape(3, 100).data])  # fmt: skip
@pytest.mark.parametrize("compression", [None, *LEVELS])
def test_any_buffer_may_be_written(compression: str | None, data: Any) -> None:
    out: list[bytes] = []
    try:
        sink = open_sink(lambda piece: out.append(bytes(piece)), compression)
    except MissingExtraError as error:
        pytest.skip(f"extra [zst] is not installed: {error}")
    sink.write(data)
    sink.finish()
    written = b"".join(out)
    assert (unpacked(written, compression) if compression else written) == bytes(data)


def test_a_buffer_may_be_reused_after_it_was_written() -> None:
    """A writer may fill one buffer again and again."""
    out: list[bytes] = []
    sink = open_sink(lambda piece: out.append(bytes(piece)), "gzip", threads=2)
    buffer = bytearray(100_000)
    for number in range(30):
        buffer[:] = bytes([number]) * len(buffer)
        sink.write(buffer)
    sink.finish()
    assert gzip.decompress(b"".join(out)) == b"".join(bytes([n]) * 100_000 for n in range(30))


def _workers() -> int:
    return sum(thread.daemon for thread in threading.enumerate())


def _wait_for(count: int) -> None:
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(timeout=0.5)
        if _workers() <= count:
            return


def test_no_thread_is_left() -> None:
    before = _workers()
    packed(LARGE, "gzip", threads=4)
    _wait_for(before)
    assert _workers() == before


def test_an_abort_leaves_no_thread() -> None:
    before = _workers()
    sink = open_sink(lambda _: None, "gzip", threads=4)
    sink.write(LARGE)
    sink.abort()
    _wait_for(before)
    assert _workers() == before


def test_an_error_of_the_target_reaches_the_caller() -> None:
    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    before = _workers()
    with pytest.raises(OSError, match="No space"):
        open_sink(full, "gzip").write(LARGE)
    count = [0]

    def full_later(_: object) -> None:
        count[0] += 1
        if count[0] > 2:
            raise OSError(28, "No space left on device")

    sink = open_sink(full_later, "gzip", threads=2)
    with pytest.raises(OSError, match="No space"):
        for _ in range(20):
            sink.write(LARGE)
    sink.abort()
    _wait_for(before)
    assert _workers() == before


def test_an_error_of_a_thread_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        DEFLATED, Z_SYNC_FLUSH = 8, 2
        crc32 = staticmethod(zlib.crc32)

        @staticmethod
        def compressobj(*_: object, **__: object) -> Any:
            raise MemoryError

    monkeypatch.setattr(compress, "_deflate_module", lambda level: Broken)
    sink = open_sink(lambda _: None, "gzip", threads=2)
    with pytest.raises(MemoryError):
        for _ in range(20):
            sink.write(LARGE)
    sink.abort()


@pytest.mark.parametrize("level", [1, 6])
def test_zlib_stands_in_where_the_fast_ones_are_not_built(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert compress._deflate_module(level) is zlib
    assert gzip.decompress(packed(LARGE, "gzip", level)) == LARGE


def test_our_own_reader_reads_it() -> None:
    for compression in LEVELS:
        data = LARGE[: 2 * BLOCK + 5]
        source = EncodedSource(MemorySource(packed(data, compression)), compression)
        with source.cursor() as cursor:
            assert b"".join(cursor.chunks(0, 1 << 30)) == data
            cursor.verify()


def test_zstd_output_has_a_checksum() -> None:
    """A flipped bit in the voxels must not go unnoticed."""
    written = packed(b"voxels of no pattern", "zstd")
    assert written[4] & 4  # RFC 8878: Frame_Header_Descriptor, Content_Checksum_flag


def test_the_gzip_program_reads_it(tmp_path: Any) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(packed(LARGE, "gzip"))
    try:
        done = subprocess.run(["gzip", "-t", str(path)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no gzip program here")
    assert (done.returncode, done.stderr) == (0, b"")

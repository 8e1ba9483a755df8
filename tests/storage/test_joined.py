"""Pieces of several sources read as one."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import MemorySource, PathSource

DATA = bytes(range(256)) * 4


def joined(sizes: tuple[int, ...] = (100, 0, 1, 400, 523)) -> JoinedSource:
    pieces, at = [], 0
    for n, size in enumerate(sizes):
        pieces.append((MemorySource(bytes(n) + DATA[at : at + size] + b"behind", f"{n}"), n, size))
        at += size
    return JoinedSource(pieces, "whole")


def test_any_part_is_that_of_the_whole() -> None:
    source = joined()
    assert source.size == source.most == 1024 and source.head(300) == DATA[:300]
    chance = random.Random(1)
    with source.cursor() as cursor:
        for _ in range(200):
            start, count = chance.randrange(1100), chance.randrange(1, 500)
            view = bytearray(count)
            got = cursor.readinto(start, memoryview(view))
            assert bytes(view[:got]) == DATA[start : start + count]
        assert b"".join(cursor.chunks(50, 5000)) == DATA[50:]
        cursor.verify()


@pytest.mark.parametrize(("short", "size"), [(0, 40), (3, 101 + 40), (4, 501 + 40)])
def test_a_short_piece_ends_the_whole(short: int, size: int) -> None:
    pieces = list(joined().pieces)
    _, start, length = pieces[short]
    pieces[short] = MemorySource(bytes(start + 40), "short"), start, length
    source = JoinedSource(pieces, "whole")
    assert source.size == size
    with source.cursor() as cursor:
        assert cursor.readinto(size - 10, memoryview(bytearray(500))) == 10


def test_files_pickle_and_name_their_neighbours(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(name.encode() * 10)
    source = JoinedSource([(PathSource(str(tmp_path / name)), 2, 5) for name in ("a", "b")], "whole")
    again = pickle.loads(pickle.dumps(source))
    assert again.head(10) == b"aaaaabbbbb" and again.path == str(tmp_path / "a")
    assert again.sibling("c").head(1) == b"c"


def test_pieces_of_a_compressed_stream_are_one_stream() -> None:
    import gzip

    packed = gzip.compress(DATA, mtime=0)
    pieces = [(MemorySource(packed[n : n + 7]), 0, len(packed[n : n + 7])) for n in range(0, len(packed), 7)]
    source = EncodedSource(JoinedSource(pieces, "whole"), "gzip")
    with source.cursor() as cursor:
        assert b"".join(bytes(piece) for piece in cursor.chunks(0, 5000)) == DATA
        cursor.verify()

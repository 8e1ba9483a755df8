"""Pieces of several sources behind one another, read as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource, Cursor, CursorBase

__all__ = ["JoinedSource", "Piece"]

#: A source, the first byte taken from it, and how many.
Piece = tuple[ByteSource, int, int]


class JoinedSource:
    """Bytes that lie in several files, or in several parts of one.

    Parameters
    ----------
    pieces : sequence of (source, start, length)
        In order. A piece that lacks bytes ends the whole: what follows it would be in the wrong place.
    name : str
        What messages call it.
    """

    def __init__(self, pieces: Sequence[Piece], name: str) -> None:
        self.pieces, self.name = tuple(pieces), name
        self.starts = [0, *accumulate(length for _, _, length in self.pieces)]

    @property
    def path(self) -> str | None:
        return self.pieces[0][0].path

    @property
    def size(self) -> int | None:
        for (source, start, length), before in zip(self.pieces, self.starts, strict=False):
            if source.size is None:
                return None
            if source.size < start + length:
                return before + max(source.size - start, 0)
        return self.starts[-1]

    @property
    def most(self) -> int:
        size = self.size
        if size is not None:
            return size
        return sum(min(length, max(source.most - start, 0)) for source, start, length in self.pieces)

    def head(self, count: int) -> bytes:
        view = bytearray(min(count, self.most))
        with self.cursor() as cursor:
            return bytes(view[: cursor.readinto(0, memoryview(view))])

    def cursor(self) -> Cursor:
        return _JoinedCursor(self)

    def sibling(self, name: str) -> ByteSource:
        return self.pieces[0][0].sibling(name)


class _JoinedCursor(CursorBase):
    """Reads piece after piece; one of them is open at a time, and verified where it was read to its end."""

    def __init__(self, joined: JoinedSource) -> None:
        self._joined = joined
        self._open: tuple[int, Cursor] | None = None
        self._complete = False

    def readinto(self, offset: int, view: memoryview) -> int:
        done = 0
        while done < len(view) and offset + done < self._joined.starts[-1]:
            number = bisect_right(self._joined.starts, offset + done) - 1
            inside = offset + done - self._joined.starts[number]
            _, start, length = self._joined.pieces[number]
            wanted = view[done : done + length - inside]
            got = self._cursor(number, inside).readinto(start + inside, wanted)
            self._complete = inside + got == length
            done += got
            if got < len(wanted):
                break
        return done

    def _cursor(self, number: int, inside: int) -> Cursor:
        if self._open is None or self._open[0] != number:
            self.verify()
            self.close()
            source = self._joined.pieces[number][0]
            at_once = source.random_cursor() if isinstance(source, EncodedSource) and inside else source.cursor()
            self._open = number, at_once
        return self._open[1]

    def verify(self) -> None:
        if self._open is not None and self._complete:
            self._open[1].verify()

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

"""Decoded views of compressed or encoded bytes, with random access where somebody needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from medimg_cli.errors import DamagedError, MedImgError, OversizeError, TruncatedError
from medimg_cli.storage.codecs import CODECS, Decoder, max_ratio, open_decoder
from medimg_cli.storage.source import CHUNK, HEAD, ByteSource, Cursor, CursorBase, SpooledSource, spool, system_error

__all__ = ["EncodedSource", "End"]

#: Encoded bytes that a decoder gets at a time; few at the start of a further member, which may be short.
_MEAL, _FIRST_MEAL = 1 << 18, 1 << 12
#: Members of a stream that may be as small as they like, and what more of them decode to on average at least.
_FREE_MEMBERS, _LEAST_MEMBER = 10_000, 1 << 10
#: Decoded bytes that may follow the voxels; beyond, a stream must not be more than twice as long as they are.
_TRAILING = 1 << 30


class End(NamedTuple):
    """What is known of a stream once it was read to its end.

    Parameters
    ----------
    decoded : int
        Bytes that it decodes to.
    ignored : int
        Encoded bytes behind the end of its last member, which nobody decodes.
    """

    decoded: int
    ignored: int


class EncodedSource:
    """The decoded bytes of a compressed or encoded part of another source.

    The first read that is not at the start decodes up to where it ends; a later one decodes the whole once, into memory
    or an unlinked temporary file, and all reads after it are plain. Passes from start to end never need that.

    Parameters
    ----------
    base : ByteSource
        Where the encoded bytes lie.
    codec : str
        A name that :func:`medimg_cli.storage.codecs.open_decoder` knows.
    start : int
        Offset of the first encoded byte.
    length : int, optional
        Number of encoded bytes; to the end of ``base`` if None.
    """

    def __init__(self, base: ByteSource, codec: str, start: int = 0, length: int | None = None) -> None:
        self.base, self.codec, self.start, self.length = base, codec, start, length
        self.name = base.name
        self._lock = threading.Lock()
        self._spool: SpooledSource | None = None
        self._prefix = b""
        self._reads = 0
        self.end: End | None = None  # once somebody has read up to it

    @property
    def ignored(self) -> int:
        """Encoded bytes of a file behind the stream, as far as somebody has read up to there; 0 of a part of a file."""
        return 0 if self.end is None or self.length is not None else self.end.ignored

    def __getstate__(self) -> tuple[ByteSource, str, int, int | None]:
        return self.base, self.codec, self.start, self.length

    def __setstate__(self, state: tuple[ByteSource, str, int, int | None]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def path(self) -> str | None:
        return self.base.path

    @property
    def size(self) -> int | None:
        if self.codec == "bits" and self.base.size is not None:
            return 8 * self.encoded_bytes
        return self._spool.size if self._spool else None

    @property
    def encoded_bytes(self) -> int:
        """Number of encoded bytes that the file holds."""
        there = max(self.base.most - self.start, 0)
        return there if self.length is None else min(self.length, there)

    @property
    def most(self) -> int:
        return int(self.encoded_bytes * max_ratio(self.codec)) + 64

    def head(self, count: int) -> bytes:
        if len(self._prefix) < count:
            if not self.start:  # most headers decode from the bytes that the base holds in memory anyway
                self._prefix = self._decode_head(self.base.head(HEAD), count)
            if len(self._prefix) < count:
                with _DecodingCursor(self) as cursor:
                    self._prefix = b"".join(cursor.chunks(0, count))
        return self._prefix[:count]

    def _decode_head(self, data: bytes, count: int) -> bytes:
        try:
            return open_decoder(self.codec).decompress(data, max(count, HEAD))
        except MedImgError:
            raise
        except Exception as error:
            raise _damaged(self, error) from None

    def cursor(self) -> Cursor:
        with self._lock:
            if self._spool is not None:
                return self._spool.cursor()
        return _DecodingCursor(self)

    def random_cursor(self, needed: int | None = None) -> Cursor:
        """Open for a read somewhere in the middle: the second such read decodes the whole for all that follow."""
        with self._lock:
            self._reads += 1
            if self._reads == 1 and self._spool is None:
                return _DecodingCursor(self)
        return self.spooled(needed).cursor()

    def spooled(self, needed: int | None = None) -> SpooledSource:
        """Return all decoded bytes, decoded and verified once.

        Parameters
        ----------
        needed : int, optional
            Bytes from the start that somebody wants: a stream that goes on much further is refused.
        """
        with self._lock:
            if self._spool is None:
                with _DecodingCursor(self, may_spool=False) as cursor:
                    self._spool = SpooledSource(spool(cursor.everything(needed), self.name), self.name)
            return self._spool

    def sibling(self, name: str) -> ByteSource:
        return self.base.sibling(name)


def _damaged(source: EncodedSource, error: Exception) -> DamagedError:
    kind = source.codec.partition(":")[0]
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DamagedError(f"its {kind} data are damaged ({detail})", path=source.name, hint="get the file again")


class _DecodingCursor(CursorBase):
    """Decodes forwards; a step back goes through the spool."""

    def __init__(self, source: EncodedSource, *, may_spool: bool = True) -> None:
        self._source = source
        self._may_spool = may_spool
        self._decoder: Decoder = open_decoder(source.codec)
        self._base = source.base.cursor()
        self._at = source.start
        self._left = source.encoded_bytes
        self._position = 0
        self._pending = memoryview(b"")
        self._spooled: Cursor | None = None
        self._ended = False
        self._buffer, self._taken, self._meal = b"", 0, _MEAL
        self._decoded, self._members = 0, 1

    def close(self) -> None:
        self._base.close()
        if self._spooled is not None:
            self._spooled.close()

    def _input(self) -> bytes:
        if self._taken == len(self._buffer):
            self._buffer, self._taken = self._read(), 0
        piece = self._buffer[self._taken : self._taken + self._meal]
        self._taken += len(piece)
        self._meal = min(8 * self._meal, _MEAL)
        return piece

    def _read(self) -> bytes:
        count = min(1 << 15 if self._at == self._source.start else _MEAL, self._left)
        if count <= 0:
            return b""
        piece = bytearray(count)
        got = self._base.readinto(self._at, memoryview(piece))
        self._at += got
        self._left = self._left - got if got else 0
        return bytes(piece[:got])

    def _next(self) -> bytes:
        """Decode one more piece; empty at the end of the stream or of the input."""
        try:
            while not self._ended:
                data = b""
                if self._decoder.eof and not self._next_member():
                    break
                if self._decoder.needs_input:
                    data = self._input()
                    if not data:
                        return self._flush()
                piece = self._decoder.decompress(data, CHUNK)
                if piece:
                    self._decoded += len(piece)
                    return piece
        except MedImgError as error:
            raise error.at(self._source.name) from None
        except OSError as error:
            raise (system_error(error, self._source.name) if error.errno else _damaged(self._source, error)) from None
        except Exception as error:
            raise _damaged(self._source, error) from None
        return b""

    def _flush(self) -> bytes:
        """Return what the end of an unframed encoding completes."""
        self._ended = True
        flush = getattr(self._decoder, "flush", None)
        rest: bytes = flush() if flush is not None else b""
        return rest

    def _next_member(self) -> bool:
        """Go on with a further stream of the same kind behind the first, if there is one; other bytes are ignored."""
        unused = self._decoder.unused_data
        start = self._taken - len(unused)
        if start < 0 or self._buffer[start : self._taken] != unused:
            self._buffer, start = unused + self._buffer[self._taken :], 0
        self._taken, self._meal = start, _FIRST_MEAL
        while len(self._buffer) - self._taken < 18 and (more := self._read()):
            self._buffer, self._taken = self._buffer[self._taken :] + more, 0
        row = CODECS[self._source.codec]
        if not row.members or not self._buffer.startswith(row.magic, self._taken):
            self._ended = True
            return False
        self._members += 1
        if self._members > _FREE_MEMBERS and self._decoded < _LEAST_MEMBER * self._members:
            raise OversizeError(
                f"its {row.name} data are more than {_FREE_MEMBERS} streams with next to nothing in them"
            )
        self._decoder = open_decoder(self._source.codec)
        return True

    def _fill(self) -> bool:
        if not self._pending:
            self._pending = memoryview(self._next())
        return bool(self._pending)

    def _seek(self, offset: int) -> Cursor | None:
        """Skip forwards to ``offset``, or return the spool's cursor for a step back."""
        if self._spooled is None and offset < self._position and self._may_spool:
            self._spooled = self._source.spooled().cursor()
        if self._spooled is not None:
            return self._spooled
        while self._position < offset and self._fill():
            step = min(len(self._pending), offset - self._position)
            self._pending = self._pending[step:]
            self._position += step
        return None

    def readinto(self, offset: int, view: memoryview) -> int:
        spooled = self._seek(offset)
        if spooled is not None:
            return spooled.readinto(offset, view)
        done = 0
        while done < len(view) and self._fill():
            step = min(len(self._pending), len(view) - done)
            view[done : done + step] = self._pending[:step]
            self._pending = self._pending[step:]
            done += step
        self._position += done
        return done

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        spooled = self._seek(offset)
        if spooled is not None:
            yield from spooled.chunks(offset, count)
            return
        while count > 0 and self._fill():
            piece = self._pending[:count]
            self._pending = self._pending[len(piece) :]
            self._position += len(piece)
            count -= len(piece)
            yield piece  # type: ignore[misc]

    def everything(self, needed: int | None = None) -> Iterator[bytes]:
        """Yield all decoded bytes and verify the end; refuse far more than are needed."""
        while piece := self._next():
            if needed is not None:
                self._limit(needed)
            yield piece
        self.verify()

    def _limit(self, wanted: int) -> None:
        """Refuse a stream that goes on and on behind the bytes that are wanted."""
        if self._decoded > max(2 * wanted, wanted + _TRAILING):
            raise OversizeError(
                f"its data go on for more than {_TRAILING >> 30} GiB behind the voxels", path=self._source.name
            )

    def verify(self) -> None:
        if self._spooled is not None:
            return
        wanted = self._decoded - len(self._pending)
        while self._next():
            self._limit(wanted)
        self._base.verify()
        row = CODECS.get(self._source.codec)
        if row is not None and row.framed and not self._decoder.eof:
            raise TruncatedError(
                f"its {row.name} stream ends before its own end mark: the file is cut off",
                path=self._source.name,
                hint="get the file again",
            )
        self._source.end = End(self._decoded, len(self._buffer) - self._taken + self._left)

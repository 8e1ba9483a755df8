"""Where bytes come from: files, memory, file objects, and decoded views of any of them.

A :class:`ByteSource` is a value: it holds no open file, pickles, and may be read by several threads at once. Reading
goes through a :class:`Cursor`, which lives as long as one read or one pass over the data.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from typing import IO, Any, Protocol, runtime_checkable

from medimg_cli.errors import FormatError, MedImgError, NotFoundError, StorageError, TruncatedError, UsageError
from medimg_cli.storage.codecs import CODECS, Decoder, max_ratio, open_decoder

__all__ = [
    "ByteSource",
    "Cursor",
    "EncodedSource",
    "FileObjectSource",
    "MemorySource",
    "PathSource",
    "open_source",
]

#: Bytes of one read of a stream.
CHUNK = 1 << 20
#: Bytes at the start of a file that are kept for header parsers.
HEAD = 1 << 12
#: Decoded bytes that a spool keeps in memory; more go to an unlinked temporary file.
SPOOL_MEMORY = 1 << 24


@runtime_checkable
class Cursor(Protocol):
    """Reads one source, forwards at best; used by one thread and closed after."""

    def readinto(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset``; return how many bytes there were, less than asked only at the end."""
        ...

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        """Yield ``count`` bytes from ``offset`` in fresh pieces; fewer only at the end."""
        ...

    def scratch(self, count: int) -> memoryview:
        """Return ``count`` bytes of memory to read into; the same each time."""
        ...

    def verify(self) -> None:
        """Read what is left and check length and checksum, where the stream has them."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Cursor: ...
    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class ByteSource(Protocol):
    """A sequence of bytes that can be read at any place."""

    #: What messages call it: the path, where there is one.
    name: str

    @property
    def path(self) -> str | None:
        """Path of the file behind it, if any."""
        ...

    @property
    def size(self) -> int | None:
        """Number of bytes, None where only decoding would tell."""
        ...

    @property
    def most(self) -> int:
        """Number of bytes that there can be at most."""
        ...

    def head(self, count: int) -> bytes:
        """Return the first ``count`` bytes, fewer where the source is shorter."""
        ...

    def cursor(self) -> Cursor:
        """Open the source for one read or one pass."""
        ...

    def sibling(self, name: str) -> ByteSource:
        """Open a detached file that this file names; it must lie in the same folder or below."""
        ...


def open_source(source: object, *, name: str | None = None) -> ByteSource:
    """Return the bytes of a path, of ``bytes`` or of a binary file object.

    Parameters
    ----------
    source : str, path-like, bytes, bytearray, memoryview, binary file object or ByteSource
    name : str, optional
        What messages call bytes and file objects; its suffix may break ties between formats.

    Raises
    ------
    NotFoundError
        If the path does not exist.
    StorageError
        If it is a folder, a device, or cannot be read.
    UsageError
        If ``source`` is something else.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(os.fspath(source))
        try:
            return PathSource(path)
        except _PipeError:
            with open(path, "rb") as pipe:
                return file_object_source(pipe, path)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return MemorySource(bytes(source), name or "<bytes>")
    if isinstance(source, ByteSource):
        return source
    if hasattr(source, "read"):
        return file_object_source(source, name)
    raise UsageError(f"cannot read an image from {type(source).__name__}")


class _PipeError(StorageError):
    """A path that can be read only once."""


def file_object_source(file: Any, name: str | None = None) -> ByteSource:
    """Return the bytes of a binary file object: in place where it can seek, spooled where it cannot."""
    if isinstance(file, io.TextIOBase):
        raise UsageError("cannot read an image from a text file", hint="open it in binary mode")
    name = name or getattr(file, "name", None)
    label = name if isinstance(name, str) else "<file object>"
    try:
        seekable = file.seekable()
    except AttributeError:
        seekable = hasattr(file, "seek")
    return FileObjectSource(file, label) if seekable else _SpooledSource(_spool_file(file, label), label)


def _system_error(error: OSError, path: str) -> MedImgError:
    if isinstance(error, MedImgError):
        return error
    if isinstance(error, FileNotFoundError):
        return NotFoundError("no such file", path=path)
    return StorageError((error.strerror or str(error)).lower(), path=path)


class _CursorBase:
    """What all cursors share: a scratch buffer, chunks by readinto, nothing to verify, a context manager."""

    _scratch = bytearray()

    def scratch(self, count: int) -> memoryview:
        """Return ``count`` bytes to read into; the same memory each time."""
        if len(self._scratch) < count:
            self._scratch = bytearray(count)
        return memoryview(self._scratch)[:count]

    def readinto(self, offset: int, view: memoryview) -> int:
        raise NotImplementedError

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        while count > 0:
            piece = bytearray(min(CHUNK, count))
            got = self.readinto(offset, memoryview(piece))
            if got:
                yield bytes(piece) if got == len(piece) else bytes(piece[:got])
            if got < len(piece):
                return
            offset, count = offset + got, count - got

    def verify(self) -> None:
        """Plain bytes have no checksum."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _FdCursor(_CursorBase):
    """Positional reads of a file descriptor."""

    def __init__(self, fd: int, name: str, *, owned: bool) -> None:
        self._fd, self._name, self._owned = fd, name, owned

    def readinto(self, offset: int, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._fd, [view[done:]], offset + done)
                if got == 0:
                    break
                done += got
        except OSError as error:
            raise _system_error(error, self._name) from error
        return done

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        try:
            while count > 0:
                piece = os.pread(self._fd, min(CHUNK, count), offset)
                if not piece:
                    return
                yield piece
                offset, count = offset + len(piece), count - len(piece)
        except OSError as error:
            raise _system_error(error, self._name) from error

    def close(self) -> None:
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class PathSource:
    """A regular file, opened anew for every read.

    Size and modification time are taken when the source is made; a file that changed since is an error, never a mixture
    of old and new bytes.

    Parameters
    ----------
    path : str
        Path of the file.
    name : str, optional
        What messages and suffix rules call it; the path itself where None.
    """

    __slots__ = ("_head", "_path", "_signature", "name")

    def __init__(self, path: str, *, name: str | None = None) -> None:
        self._path, self.name = path, path if name is None else name
        fd = self._open()
        try:
            info = os.fstat(fd)
            if stat.S_ISDIR(info.st_mode):
                raise StorageError("is a folder", path=path)
            if stat.S_ISFIFO(info.st_mode):
                raise _PipeError("is a pipe", path=path)
            if not stat.S_ISREG(info.st_mode):
                raise StorageError("is no regular file", path=path, hint="pipe it to '-' instead")
            self._signature = (info.st_size, info.st_mtime_ns, info.st_ino)
            self._head = os.pread(fd, HEAD, 0)
        except OSError as error:
            raise _system_error(error, path) from error
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise _system_error(error, self.name) from error
        except ValueError:
            raise StorageError("the path holds a null character", path=self.name.replace("\0", "\\0")) from None

    def __getstate__(self) -> tuple[str, str, tuple[int, int, int]]:
        return self._path, self.name, self._signature

    def __setstate__(self, state: tuple[str, str, tuple[int, int, int]]) -> None:
        self._path, self.name, self._signature = state
        self._head = b""

    @property
    def path(self) -> str | None:
        return self._path

    @property
    def size(self) -> int:
        return self._signature[0]

    @property
    def most(self) -> int:
        return self._signature[0]

    def head(self, count: int) -> bytes:
        if count <= len(self._head) or len(self._head) == self.size:
            return self._head[:count]
        with self.cursor() as cursor:
            view = bytearray(min(count, self.size))
            return bytes(view[: cursor.readinto(0, memoryview(view))])

    def cursor(self) -> _FdCursor:
        fd = self._open()
        info = os.fstat(fd)
        if (info.st_size, info.st_mtime_ns, info.st_ino) != self._signature:
            os.close(fd)
            raise StorageError("the file changed since it was opened", path=self.name, hint="open it again")
        return _FdCursor(fd, self.name, owned=True)

    def sibling(self, name: str) -> PathSource:
        parts = name.replace("\\", "/").split("/")
        if (
            not name
            or "\0" in name
            or name.startswith(("/", "\\"))
            or ".." in parts
            or "://" in name
            or ":" in parts[0]
        ):
            raise FormatError(
                f"names a data file outside its own folder: {name!r}", path=self.name, hint="refused for safety"
            )
        try:
            return PathSource(os.path.join(os.path.dirname(self._path), *parts))
        except NotFoundError:
            raise NotFoundError(f"its data file {name!r} does not exist", path=self.name) from None


class MemorySource:
    """Bytes in memory.

    Parameters
    ----------
    data : bytes
    name : str
        What messages call it.
    """

    def __init__(self, data: bytes, name: str = "<bytes>") -> None:
        self._data, self.name = data, name

    path = None

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def most(self) -> int:
        return len(self._data)

    def head(self, count: int) -> bytes:
        return self._data[:count]

    def cursor(self) -> _MemoryCursor:
        return _MemoryCursor(self._data)

    def sibling(self, name: str) -> ByteSource:
        raise FormatError("its voxels are in another file, and bytes have no folder", path=self.name)


class _MemoryCursor(_CursorBase):
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def readinto(self, offset: int, view: memoryview) -> int:
        piece = self._data[offset : offset + len(view)]
        view[: len(piece)] = piece
        return len(piece)


class FileObjectSource:
    """A seekable binary file object; reads are serialised and leave its position where it was.

    It does not pickle: an image that shall travel must be loaded first.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self.name = file, name
        self._lock = threading.Lock()
        with self._lock:
            position = file.tell()
            self._size = file.seek(0, os.SEEK_END)
            file.seek(position)

    path = None

    def __reduce__(self) -> Any:
        raise StorageError("an open file does not pickle", path=self.name, hint="call load() on the image first")

    @property
    def size(self) -> int:
        return self._size

    @property
    def most(self) -> int:
        return self._size

    def read_at(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes from ``offset``, fewer at the end."""
        with self._lock:
            try:
                position = self._file.tell()
                self._file.seek(offset)
                data = self._file.read(count)
                self._file.seek(position)
            except OSError as error:
                raise _system_error(error, self.name) from error
            except ValueError as error:
                raise StorageError(f"the file object fails: {error}", path=self.name) from None
        return data

    def head(self, count: int) -> bytes:
        return self.read_at(0, count)

    def cursor(self) -> _FileObjectCursor:
        return _FileObjectCursor(self)

    def sibling(self, name: str) -> ByteSource:
        raise FormatError("its voxels are in another file, and a file object has no folder", path=self.name)


class _FileObjectCursor(_CursorBase):
    def __init__(self, source: FileObjectSource) -> None:
        self._source = source

    def readinto(self, offset: int, view: memoryview) -> int:
        done = 0
        while done < len(view):
            piece = self._source.read_at(offset + done, len(view) - done)
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done


class _SpooledSource:
    """Bytes that came once, from a pipe or a decoder, kept for reading at any place."""

    def __init__(self, store: bytes | IO[bytes], name: str) -> None:
        self._store, self.name = store, name
        self._size = len(store) if isinstance(store, bytes) else os.fstat(store.fileno()).st_size

    path = None

    def __reduce__(self) -> Any:
        if isinstance(self._store, bytes):
            return MemorySource, (self._store, self.name)
        raise StorageError("a spooled stream does not pickle", path=self.name, hint="call load() on the image first")

    @property
    def size(self) -> int:
        return self._size

    @property
    def most(self) -> int:
        return self._size

    def head(self, count: int) -> bytes:
        view = bytearray(min(count, self._size))
        return bytes(view[: self.cursor().readinto(0, memoryview(view))])

    def cursor(self) -> _MemoryCursor | _FdCursor:
        if isinstance(self._store, bytes):
            return _MemoryCursor(self._store)
        return _FdCursor(self._store.fileno(), self.name, owned=False)

    def sibling(self, name: str) -> ByteSource:
        raise FormatError("its voxels are in another file, and a stream has no folder", path=self.name)


def _spool_file(file: Any, name: str) -> bytes | IO[bytes]:
    """Read a stream to its end, into memory or, past ``SPOOL_MEMORY`` bytes, into an unlinked file."""

    def pieces() -> Iterator[bytes]:
        try:
            while piece := file.read(CHUNK):
                yield piece
        except OSError as error:
            raise _system_error(error, name) from error

    return _spool(pieces(), name)


def _spool(pieces: Iterator[bytes], name: str) -> bytes | IO[bytes]:
    kept: list[bytes] = []
    held = 0
    for piece in pieces:
        kept.append(piece)
        held += len(piece)
        if held > SPOOL_MEMORY:
            break
    else:
        return b"".join(kept)
    import tempfile

    try:
        file = tempfile.TemporaryFile(prefix="medimg-")  # noqa: SIM115  (kept open as long as the source lives)
        for piece in kept:
            file.write(piece)
        kept.clear()
        for piece in pieces:
            file.write(piece)
        file.flush()
    except OSError as error:
        if isinstance(error, MedImgError):
            raise
        raise StorageError(f"cannot keep its decoded bytes: {error.strerror}", path=name) from error
    return file


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
        self._spool: _SpooledSource | None = None
        self._prefix = b""
        self._reads = 0

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
                    view = bytearray(min(count, self.most))
                    self._prefix = bytes(view[: cursor.readinto(0, memoryview(view))])
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

    def random_cursor(self) -> Cursor:
        """Open for a read somewhere in the middle: the second such read decodes the whole for all that follow."""
        with self._lock:
            self._reads += 1
            if self._reads == 1 and self._spool is None:
                return _DecodingCursor(self)
        return self.spooled().cursor()

    def spooled(self) -> _SpooledSource:
        """Return all decoded bytes, decoded and verified once."""
        with self._lock:
            if self._spool is None:
                with _DecodingCursor(self, may_spool=False) as cursor:
                    self._spool = _SpooledSource(_spool(cursor.everything(), self.name), self.name)
            return self._spool

    def sibling(self, name: str) -> ByteSource:
        return self.base.sibling(name)


def _damaged(source: EncodedSource, error: Exception) -> FormatError:
    kind = source.codec.partition(":")[0]
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return FormatError(f"its {kind} data are damaged ({detail})", path=source.name, hint="get the file again")


class _DecodingCursor(_CursorBase):
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

    def close(self) -> None:
        self._base.close()
        if self._spooled is not None:
            self._spooled.close()

    def _input(self) -> bytes:
        count = min(1 << 16 if self._at == self._source.start else 1 << 18, self._left)
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
                if self._decoder.eof:
                    if not self._next_member():
                        break
                    data = self._carry
                elif self._decoder.needs_input:
                    data = self._input()
                    if not data:
                        return self._flush()
                piece = self._decoder.decompress(data, CHUNK)
                if piece:
                    return piece
        except MedImgError as error:
            raise error.at(self._source.name) from None
        except OSError as error:
            raise (_system_error(error, self._source.name) if error.errno else _damaged(self._source, error)) from None
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
        self._carry = self._decoder.unused_data
        row = CODECS[self._source.codec]
        while len(self._carry) < 18 and (more := self._input()):
            self._carry += more
        if not row.members or not self._carry.startswith(row.magic):
            self._ended = True
            return False
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

    def everything(self) -> Iterator[bytes]:
        """Yield all decoded bytes and verify the end."""
        while piece := self._next():
            yield piece
        self.verify()

    def verify(self) -> None:
        if self._spooled is not None:
            return
        while self._next():
            pass
        row = CODECS.get(self._source.codec)
        if row is not None and row.framed and not self._decoder.eof:
            raise TruncatedError(
                f"its {row.name} stream ends before its own end mark: the file is cut off",
                path=self._source.name,
                hint="get the file again",
            )

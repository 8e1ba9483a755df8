"""Where bytes come from: files, memory, file objects.

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

from medimg_cli.errors import (
    MedImgError,
    MissingPartError,
    NotFoundError,
    OutsideError,
    StorageError,
    UsageError,
)
from medimg_cli.storage.urls import is_located, is_url, localized

__all__ = [
    "ByteSource",
    "Cursor",
    "CursorBase",
    "FileObjectSource",
    "MemorySource",
    "PathSource",
    "SpooledSource",
    "open_source",
    "parts_of_sibling",
    "spool",
    "system_error",
]

#: Bytes of one read of a stream.
CHUNK = 1 << 20
#: Bytes at the start of a file that are kept for header parsers.
HEAD = 1 << 12
#: Part of the path of contents that git-annex (DataLad) puts behind symbolic links.
_STORE = "/.git/annex/objects/"
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
    """Return the bytes of a path, a URL, of ``bytes`` or of a binary file object.

    Parameters
    ----------
    source : str, path-like, bytes, bytearray, memoryview, binary file object or ByteSource
        A URL, an ``OpenFile`` of fsspec and a path of universal_pathlib are read by fsspec, as far as needed.
    name : str, optional
        What messages call bytes and file objects; its suffix may break ties between formats.

    Raises
    ------
    NotFoundError
        If the path does not exist.
    StorageError
        If it is a folder, a device, or cannot be read.
    MissingExtraError
        If it is a URL and fsspec is not installed.
    UsageError
        If ``source`` is something else.
    """
    source = localized(source)
    if is_url(source) or is_located(source):
        from medimg_cli.storage.remote import RemoteSource, place_of

        return RemoteSource(place_of(source))
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(os.fspath(source))
        if _is_pipe(path):  # opening it twice would lose what a fast writer writes in between
            with open(path, "rb") as pipe:
                return file_object_source(pipe, path)
        return PathSource(path)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return MemorySource(bytes(source), name or "<bytes>")
    if isinstance(source, ByteSource):
        return source
    if hasattr(source, "read"):
        return file_object_source(source, name)
    raise UsageError(f"cannot read an image from {type(source).__name__}")


def _is_pipe(path: str) -> bool:
    """Tell whether a path can be read only once."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


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
    return FileObjectSource(file, label) if seekable else SpooledSource(_spool_file(file, label), label)


def system_error(error: OSError, path: str) -> MedImgError:
    """Return an error of the operating system as one of ours, naming the file."""
    if isinstance(error, MedImgError):
        return error
    if isinstance(error, FileNotFoundError):
        return _not_found(path)
    return StorageError((error.strerror or str(error)).lower(), path=path)


def _not_found(path: str) -> NotFoundError:
    """Return what to raise for a file that is not there; git-annex leaves links to contents that are elsewhere."""
    try:
        target = os.readlink(path)
    except (OSError, ValueError):
        return NotFoundError("no such file", path=path)
    if _STORE in os.path.abspath(os.path.join(os.path.dirname(path), target)):
        return NotFoundError("its content has not been fetched", path=path, hint="run: git annex get, or datalad get")
    return NotFoundError("is a link to a file that does not exist", path=path)


class CursorBase:
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


class _FdCursor(CursorBase):
    """Positional reads of a file descriptor."""

    def __init__(self, fd: int, name: str, *, owned: bool, signature: tuple[int, int, int] | None = None) -> None:
        self._fd, self._name, self._owned, self._signature = fd, name, owned, signature

    def readinto(self, offset: int, view: memoryview) -> int:
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._fd, [view[done:]], offset + done)
                if got == 0:
                    break
                done += got
        except OSError as error:
            raise system_error(error, self._name) from error
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
            raise system_error(error, self._name) from error

    def verify(self) -> None:
        """Refuse a file that somebody wrote to while it was read."""
        if self._signature is not None and _signature(os.fstat(self._fd)) != self._signature:
            raise StorageError("the file changed while it was read", path=self._name, hint="try again")

    def close(self) -> None:
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _signature(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ino


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
            if not stat.S_ISREG(info.st_mode):
                raise StorageError("is no regular file", path=path, hint="pipe it to '-' instead")
            self._signature = _signature(info)
            self._head = os.pread(fd, HEAD, 0)
        except OSError as error:
            raise system_error(error, path) from error
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise system_error(error, self.name) from error
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
        if _signature(info) != self._signature:
            os.close(fd)
            raise StorageError("the file changed since it was opened", path=self.name, hint="open it again")
        return _FdCursor(fd, self.name, owned=True, signature=self._signature)

    def sibling(self, name: str) -> PathSource:
        parts = parts_of_sibling(name, self.name)
        folder = os.path.dirname(self._path)
        path = os.path.join(folder, *parts)
        real = os.path.realpath(path)
        # A link may lead to a store of the same data set (git-annex keeps contents there), nowhere else outside.
        if not real.startswith(os.path.join(os.path.realpath(folder or "."), "")) and _STORE not in real:
            raise OutsideError(
                f"its data file {name!r} is a link out of its own folder", path=self.name, hint="refused for safety"
            )
        try:
            return PathSource(path)
        except NotFoundError:
            raise NotFoundError(f"its data file {name!r} does not exist", path=self.name) from None


def parts_of_sibling(name: str, owner: str) -> list[str]:
    """Split the name that a header gives to its data file.

    Raises
    ------
    FormatError
        If it leads out of the folder of ``owner``.
    """
    parts = name.replace("\\", "/").split("/")
    if (
        not name
        or "\0" in name
        or name.startswith(("/", "\\"))
        or ".." in parts
        or "://" in name
        or (":" in parts[0] and (len(parts) > 1 or os.name == "nt"))
    ):
        raise OutsideError(
            f"names a data file outside its own folder: {name[:80]!r}", path=owner, hint="refused for safety"
        )
    return parts


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
        raise MissingPartError("its voxels are in another file, and bytes have no folder", path=self.name)


class _MemoryCursor(CursorBase):
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
                raise system_error(error, self.name) from error
            except ValueError as error:
                raise StorageError(f"the file object fails: {error}", path=self.name) from None
        return data

    def head(self, count: int) -> bytes:
        return self.read_at(0, count)

    def cursor(self) -> _FileObjectCursor:
        return _FileObjectCursor(self)

    def sibling(self, name: str) -> ByteSource:
        raise MissingPartError("its voxels are in another file, and a file object has no folder", path=self.name)


class _FileObjectCursor(CursorBase):
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


class SpooledSource:
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
        raise MissingPartError("its voxels are in another file, and a stream has no folder", path=self.name)


def _spool_file(file: Any, name: str) -> bytes | IO[bytes]:
    """Read a stream to its end, into memory or, past ``SPOOL_MEMORY`` bytes, into an unlinked file."""

    def pieces() -> Iterator[bytes]:
        try:
            while piece := file.read(CHUNK):
                yield piece
        except OSError as error:
            raise system_error(error, name) from error

    return spool(pieces(), name)


def spool(pieces: Iterator[bytes], name: str) -> bytes | IO[bytes]:
    """Keep bytes that come once: in memory or, past ``SPOOL_MEMORY`` of them, in an unlinked file."""
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

"""Files that lie elsewhere: URLs, and files on file systems of fsspec.

The first bytes come when a source is made, the others when somebody reads them: by ranges that grow while a reader goes
forwards, never by one request a row of voxels. A server that knows no ranges is read once, whole, into a spool.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from medimg_cli.errors import MedImgError, MissingExtraError, NotFoundError, StorageError, UnsupportedError, UsageError
from medimg_cli.storage.source import CHUNK, Cursor, CursorBase, SpooledSource, parts_of_sibling, spool
from medimg_cli.storage.urls import is_located, public_name, url_text
from medimg_cli.storage.web import Answer, fetch, stream, web_error

__all__ = ["Place", "RemoteFolderError", "RemoteSource", "place_of"]

#: Bytes that are fetched when a source is made: the headers of most formats, compressed or not.
FIRST = 1 << 13
#: Bytes of the first request of a cursor, and of one that has gone forwards for a while.
LEAST, MOST = 1 << 15, 1 << 22
#: Requests of a reader that hops forwards, leaving gaps, after which the gaps are fetched as well.
_PATIENCE = 8
#: Bytes that a cursor keeps of what it has fetched, for readers that hop to and fro.
_KEPT = 2 * MOST
#: What is said of the size of a file whose size nobody knows.
_ENDLESS = 1 << 62
#: Facts of fsspec's ``info`` that tell versions of a file apart.
_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "generation", "md5Hash", "created")


class RemoteFolderError(StorageError):
    """What was taken for a remote file is a folder."""


class Place(NamedTuple):
    """Where a remote file is; a value that pickles and survives a fork.

    Parameters
    ----------
    kind : type
        File system of fsspec; instances are cached there.
    args, options : tuple, dict
        What it is made with, credentials included.
    path : str
        On that file system.
    name : str
        What messages call it: no secrets.
    """

    kind: Any
    args: tuple[Any, ...]
    options: dict[str, Any]
    path: str
    name: str

    @property
    def on_web(self) -> bool:
        """Whether it is read over HTTP."""
        return hasattr(self.kind, "set_session") and "https" in self.kind.protocol

    def filesystem(self) -> Any:
        """Return the file system of this process."""
        return self.kind(*self.args, **self.options)

    def beside(self, parts: list[str]) -> Place:
        """Return a file in the same folder or below."""
        if self.on_web:
            url = urlsplit(self.path)
            path = "/".join([url.path.rpartition("/")[0], *map(quote, parts)])
            return self._replace(path=urlunsplit(url._replace(path=path)), name=self._named(parts))
        return self._replace(path="/".join([self.path.rpartition("/")[0], *parts]), name=self._named(parts))

    def _named(self, parts: list[str]) -> str:
        return "/".join([self.name.rpartition("/")[0], *parts])


def place_of(source: Any) -> Place:
    """Return where a URL, an ``OpenFile`` of fsspec or a path of universal_pathlib leads.

    Raises
    ------
    MissingExtraError
        If fsspec, or the library that it needs for the protocol, is not installed.
    UsageError
        If the protocol is unknown, or a file is opened for writing.
    """
    text = url_text(source)
    name = public_name(text)
    with told(name, text):
        if is_located(source):
            if not str(getattr(source, "mode", "rb")).startswith("r"):
                raise UsageError(f"is opened for writing (mode {source.mode!r})", path=name)
            fs, path = source.fs, str(source.path)
        else:
            from fsspec.core import url_to_fs

            fs, path = url_to_fs(text, **_settings(text))
    options = {key: value for key, value in fs.storage_options.items() if key not in ("asynchronous", "loop")}
    return Place(type(fs), tuple(fs.storage_args), options, path, name)


def _settings(url: str) -> dict[str, Any]:
    """Return what the file system of a URL is made with, beside what the user configured: the proxies of the shell."""
    from fsspec.config import conf

    protocol = url.partition("://")[0].lower()
    if protocol not in ("http", "https"):
        return {}
    return {"client_kwargs": {"trust_env": True, **conf.get(protocol, {}).get("client_kwargs", {})}}


@contextmanager
def told(name: str, url: str = "") -> Iterator[None]:
    """Turn whatever file systems raise into an error of ours of one line that tells no secrets."""
    try:
        yield
    except MedImgError as error:
        raise error.at(name) from None
    except Exception as error:  # clouds have their own: of botocore, google.api_core, azure.core
        raise _translated(error, name, url).at(name) from error


def _translated(error: Exception, name: str, url: str) -> MedImgError:
    if isinstance(error, ImportError):
        return _missing(error, name)
    if isinstance(error, FileNotFoundError):
        return NotFoundError("no such file")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return RemoteFolderError("is a folder")
    if isinstance(error, PermissionError):
        return StorageError("access denied", hint="check the address and your credentials")
    if isinstance(error, TimeoutError):
        return StorageError("the server does not answer in time", hint="try again")
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        protocol = name.partition("://")[0].rpartition("::")[2]
        return UnsupportedError(f"nobody here knows the protocol {protocol!r}", hint="is it misspelt?")
    if isinstance(error, ValueError) and name.lower().startswith("http"):
        return UsageError("is no valid URL")
    libraries = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    known = web_error(error) if "aiohttp" in libraries else None
    return known or StorageError(f"cannot be read: {_harmless(error, url)}")


def _missing(error: ImportError, name: str) -> MissingExtraError:
    """Say what to install; fsspec itself says it of the file systems that are not part of it."""
    protocol = name.partition("://")[0]
    wanted = re.match(r"(?:please )?install ([\w.-]+) ", str(error), re.IGNORECASE)
    if wanted is not None and not protocol.startswith("http"):
        return MissingExtraError(f"{protocol}:// needs {wanted[1]}", hint=f"pip install {wanted[1]}")
    return MissingExtraError(f"{protocol}:// needs fsspec and aiohttp", hint="pip install 'medimg-cli[cloud]'")


def _harmless(error: Exception, url: str) -> str:
    """Return the text of an error on one short line, without what `public_name` leaves out of a URL."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = text.replace(url, public_name(url)) if url else text
    text = re.sub(r"(?<=://)[^/\s]*@", "", re.sub(r"\?\S+=\S+", "", text))
    return text if len(text) <= 160 else text[:157] + "..."


class RemoteSource:
    """A file that lies elsewhere; each read asks for the bytes that it needs.

    Size and version (ETag, time of the last change) are those of the moment when the source is made; a file that
    changed since is an error, never a mixture of old and new bytes.

    Parameters
    ----------
    place : Place

    Raises
    ------
    NotFoundError
        If there is no such file.
    RemoteFolderError
        If it is a folder.
    StorageError
        If it cannot be read.
    """

    path = None

    def __init__(self, place: Place) -> None:
        self._place, self.name = place, place.name
        self._lock = threading.Lock()
        self._spool: SpooledSource | None = None
        self._size: int | None = None
        self._mark: tuple[str, ...] | None = None
        self._head: bytes | None = None
        answer = self._first()
        self._head, self._mark, self.ranged = answer.data, answer.mark, answer.ranged
        is_all = len(answer.data) < FIRST and not answer.ranged
        self._size = len(answer.data) if is_all else answer.size

    def __getstate__(self) -> tuple[Any, ...]:
        return self._place, self._size, self._mark, self.ranged

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._place, self._size, self._mark, self.ranged = state
        self.name, self._head, self._spool, self._lock = self._place.name, None, None, threading.Lock()

    @property
    def size(self) -> int | None:
        return self._spool.size if self._spool is not None else self._size

    @property
    def most(self) -> int:
        return _ENDLESS if self.size is None else self.size

    def head(self, count: int) -> bytes:
        if self._head is None:
            self._head = self._first().data
        if count <= len(self._head) or len(self._head) == self.size:
            return self._head[:count]
        view = bytearray(min(count, self.most))
        with self.cursor() as cursor:
            return bytes(view[: cursor.readinto(0, memoryview(view))])

    def cursor(self) -> Cursor:
        return _RemoteCursor(self) if self.ranged and self._spool is None else self.spooled().cursor()

    def spooled(self) -> SpooledSource:
        """Return all bytes, fetched once."""
        with self._lock:
            if self._spool is None:
                self._spool = SpooledSource(spool(self._everything(), self.name), self.name)
            return self._spool

    def sibling(self, name: str) -> RemoteSource:
        try:
            return RemoteSource(self._place.beside(parts_of_sibling(name, self.name)))
        except NotFoundError:
            raise NotFoundError(f"its data file {name!r} does not exist", path=self.name) from None

    # -- what is asked of the other side

    def part(self, start: int, count: int) -> Answer:
        """Ask for bytes of the file that was opened."""
        fs, path = self._place.filesystem(), self._place.path
        with told(self.name, path):
            if self._place.on_web:
                answer = fetch(fs, path, start, count)
            else:
                answer = Answer(fs.cat_file(path, start=start, end=start + count), self._size)
            self._compare(answer)
        return answer

    def check(self) -> None:
        """Refuse a file that changed since it was opened, where answers do not say it themselves."""
        if not self._place.on_web:
            with told(self.name, self._place.path):
                self._compare(self._info())

    def _first(self) -> Answer:
        """Ask for the first bytes, the size and the version."""
        if self._place.on_web:
            return self.part(0, FIRST)
        with told(self.name, self._place.path):
            answer = self._info()
            self._compare(answer)
            if answer.size is not None:
                return answer._replace(data=self.part(0, min(FIRST, answer.size)).data if answer.size else b"")
            with self._place.filesystem().open(self._place.path, "rb") as file:
                return answer._replace(data=file.read(FIRST), ranged=False)

    def _info(self) -> Answer:
        """Ask a file system that is no web server for size and version."""
        fs, path = self._place.filesystem(), self._place.path
        fs.invalidate_cache(fs._parent(path))
        info = fs.info(path)
        if info.get("type") == "directory":
            raise RemoteFolderError("is a folder")
        size = info.get("size")
        mark = tuple(f"{key}: {info[key]}" for key in _MARKS if info.get(key) is not None)
        return Answer(b"", None if size is None else int(size), mark)

    def _compare(self, answer: Answer) -> None:
        sizes = {size for size in (self._size, answer.size) if size is not None}
        marks = {mark for mark in (self._mark, answer.mark) if mark is not None}
        if len(sizes) > 1 or len(marks) > 1:
            raise StorageError("the file changed since it was opened", hint="open it again")

    def _everything(self) -> Iterator[bytes]:
        """Yield the whole file as it comes."""
        fs, path = self._place.filesystem(), self._place.path
        with told(self.name, path):
            if self._place.on_web:
                yield from stream(fs, path, self._compare)
                return
            self._compare(self._info())
            with fs.open(path, "rb") as file:
                while piece := file.read(CHUNK):
                    yield piece


class _RemoteCursor(CursorBase):
    """Reads ranges, larger ones while it goes forwards, and keeps the last of them."""

    def __init__(self, source: RemoteSource) -> None:
        self._source = source
        self._kept: list[tuple[int, memoryview]] = []
        self._ahead, self._end, self._hops = LEAST, -1, 0
        self._whole: Cursor | None = None
        self._asked = False

    def readinto(self, offset: int, view: memoryview) -> int:
        done = 0
        while done < len(view):
            piece = self._piece(offset + done, len(view) - done)
            if not piece:
                break
            view[done : done + len(piece)] = piece
            done += len(piece)
        return done

    def chunks(self, offset: int, count: int) -> Iterator[bytes]:
        self._ahead = max(self._ahead, min(count, MOST))
        yield from super().chunks(offset, count)

    def _piece(self, offset: int, wanted: int) -> memoryview | bytes:
        """Return bytes that begin at ``offset``, ``wanted`` of them at most; none at the end."""
        for start, window in reversed(self._kept):
            if 0 <= offset - start < len(window):
                return window[offset - start : offset - start + wanted]
        size = self._source.size
        if size is not None and offset >= size:
            return b""
        if self._whole is None:
            data = self._fetched(offset, wanted, size)
            if self._whole is None:
                return data[:wanted]
        piece = bytearray(min(wanted, CHUNK))
        return memoryview(piece)[: self._whole.readinto(offset, memoryview(piece))]

    def _fetched(self, offset: int, wanted: int, size: int | None) -> memoryview:
        """Fetch a range that begins at ``offset`` and keep it."""
        if not self._asked:
            self._source.check()
        elif self._goes_on(offset - self._end):
            self._ahead = min(4 * self._ahead, MOST)
        self._asked = True
        count = min(max(wanted, self._ahead), MOST, *(() if size is None else (size - offset,)))
        answer = self._source.part(offset, count)
        if not answer.ranged:  # it did when the file was opened
            self._whole = self._source.spooled().cursor()
            return memoryview(b"")
        if not answer.data and size is not None:
            raise StorageError(
                f"ends after {offset} bytes, the server promised {size}", path=self._source.name, hint="try again"
            )
        data = memoryview(answer.data)
        self._end = offset + len(data)
        self._kept.append((offset, data))
        while len(self._kept) > 8 or sum(len(window) for _, window in self._kept[:-1]) > _KEPT - MOST:
            del self._kept[0]
        return data

    def _goes_on(self, gap: int) -> bool:
        """Tell whether a reader that leaves ``gap`` bytes out goes forwards, so that more should be fetched at once."""
        self._hops = self._hops + 1 if 0 <= gap <= MOST // 4 else 0
        if not self._hops:
            self._ahead = LEAST
        return bool(self._hops) and (gap <= self._ahead // 4 or self._hops > _PATIENCE)

    def verify(self) -> None:
        """Refuse a file that changed while it was read."""
        if self._asked:
            self._source.check()

    def close(self) -> None:
        self._kept.clear()
        if self._whole is not None:
            self._whole.close()

"""Where the keys of a Zarr store lie: a local folder, a URL, or a store object of the zarr library.

All have ``get(key, start, count)`` and hold nothing open. A key never leads out of its store: no parent folders, no
symbolic links to elsewhere, no devices. Nothing here imports the zarr library; who brings a store object has done so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Any, Protocol

from medimg_cli.errors import FormatError, NotFoundError, OutsideError, StorageError, TruncatedError, UsageError
from medimg_cli.storage.source import parts_of_sibling, system_error
from medimg_cli.storage.urls import is_located, is_url, localized

__all__ = ["LocalStore", "ObjectStore", "RemoteStore", "Store", "Within", "open_store"]

#: Bytes of one piece of metadata at most.
MOST_METADATA = 1 << 24
#: Files of a local store that are looked at to tell its size.
MOST_FILES = 10_000


class Store(Protocol):
    """What a Zarr store can be asked; pickles, reads again at every call."""

    name: str

    def get(self, key: str, start: int = 0, count: int | None = None) -> bytes | None:
        """Return bytes of a key, None where the store has no such key.

        ``start`` below 0 counts from the end; ``count`` bytes at most, all that follow where None.
        """
        ...

    def mark(self, key: str) -> Any:
        """Return what tells this version of a key from others, None where nobody can."""
        ...

    def files(self, prefix: str) -> list[tuple[str, int]] | None:
        """Return key and size of everything below ``prefix``; None where that is not cheap to tell."""
        ...


def open_store(source: Any) -> Store:
    """Return the store that a path, a URL, a group or array of the zarr library, or one of its stores is.

    Raises
    ------
    NotFoundError
        If a path leads nowhere.
    UsageError
        If it is something else.
    """
    source = getattr(source, "store_path", source)  # of a group, or an array
    if hasattr(source, "get_partial_values"):
        return ObjectStore(source)
    if hasattr(source, "store") and hasattr(source, "path"):  # a path in a store
        whole = ObjectStore(source.store)
        return Within(whole, source.path) if source.path else whole
    source = localized(source)
    if is_url(source) or is_located(source):
        return RemoteStore(source)
    if isinstance(source, (str, os.PathLike)):
        return LocalStore(os.fsdecode(os.fspath(source)))
    raise UsageError(f"a Zarr store cannot be made from {type(source).__name__}", hint="give a path, a URL or a store")


class LocalStore:
    """A folder.

    Parameters
    ----------
    path : str

    Raises
    ------
    NotFoundError
        If it is not there.
    """

    def __init__(self, path: str) -> None:
        self.name = path.rstrip("/") or path
        self.path = os.path.abspath(path)
        if not os.path.isdir(self.path):
            raise NotFoundError("no such folder", path=path)

    def _place(self, key: str) -> str | None:
        """Return the file of a key, None where there is none."""
        path = os.path.join(self.path, *parts_of_sibling(key, self.name))
        root, real = os.path.realpath(self.path), os.path.realpath(path)
        if not os.path.lexists(path):
            return None
        if os.path.commonpath([root, real]) != root:
            raise OutsideError(f"{key!r} leads out of the store", path=self.name, hint="refused for safety")
        return real

    def get(self, key: str, start: int = 0, count: int | None = None) -> bytes | None:
        path = self._place(key)
        if path is None:
            return None
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
            with os.fdopen(fd, "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    return None if stat.S_ISDIR(found.st_mode) else self._special(key)
                file.seek(max(0, found.st_size + start) if start < 0 else start)
                return file.read() if count is None else file.read(count)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise system_error(error, self.name) from error

    def _special(self, key: str) -> bytes:
        raise StorageError(f"{key!r} is no regular file", path=self.name)

    def mark(self, key: str) -> tuple[int, int] | None:
        path = self._place(key)
        try:
            found = os.stat(path) if path is not None else None
        except OSError:
            return None
        return None if found is None else (found.st_size, found.st_mtime_ns)

    def files(self, prefix: str) -> list[tuple[str, int]] | None:
        top = os.path.join(self.path, *parts_of_sibling(prefix, self.name)) if prefix else self.path
        found: list[tuple[str, int]] = []
        for entry in _walk(top):
            found.append((os.path.relpath(entry.path, self.path), entry.stat(follow_symlinks=False).st_size))
            if len(found) > MOST_FILES:
                return None
        return found


def _walk(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield the files below a folder; a link to a folder counts as one."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                else:
                    yield entry
    except OSError:
        return


class RemoteStore:
    """A folder behind a URL, or on a file system of fsspec.

    Parameters
    ----------
    source : str, OpenFile or UPath

    Raises
    ------
    MissingExtraError
        If fsspec, or what it needs for the protocol, is not installed.
    """

    def __init__(self, source: Any) -> None:
        from medimg_cli.storage.remote import place_of

        place = place_of(source)
        self.name = place.name.rstrip("/")
        head, mark, rest = place.path.partition("?") if place.on_web else (place.path, "", "")
        self._root = place._replace(path=head.rstrip("/") + "/" + mark + rest, name=self.name + "/")

    def get(self, key: str, start: int = 0, count: int | None = None) -> bytes | None:
        from medimg_cli.storage.remote import RemoteFolderError, told

        place = self._root.beside(parts_of_sibling(key, self.name))
        fs = place.filesystem()
        try:
            with told(self.name, place.path):
                if start == 0 and count is None:
                    whole: bytes = fs.cat_file(place.path)
                    return whole
                return _web_part(fs, place.path, start, count) if place.on_web else _part(fs, place.path, start, count)
        except (NotFoundError, RemoteFolderError):
            return None

    def mark(self, key: str) -> Any:
        return None

    def files(self, prefix: str) -> None:
        return None


def _part(fs: Any, path: str, start: int, count: int | None) -> bytes:
    end = None if count is None or start < 0 else start + count
    data: bytes = fs.cat_file(path, start=start, end=end)
    return data if count is None else data[:count]


def _web_part(fs: Any, url: str, start: int, count: int | None) -> bytes:
    """Return a part of a file on the web; a server that knows no ranges sends it all."""
    from medimg_cli.storage.web import fetch

    if start >= 0 and count is not None:
        answer = fetch(fs, url, start, count)
        if answer.ranged or start == 0:
            return answer.data
    elif start < 0:
        size = fetch(fs, url, 0, 1).size
        if size is not None:
            return _web_part(fs, url, max(0, size + start), count if count is not None else -start)
    whole: bytes = fs.cat_file(url)
    whole = whole[start:]
    return whole if count is None else whole[:count]


class ObjectStore:
    """A store of the zarr library (``zarr.abc.store.Store``).

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        root = str(getattr(store, "root", ""))
        self.name = root or f"<{type(store).__name__}>"

    def get(self, key: str, start: int = 0, count: int | None = None) -> bytes | None:
        from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        parts_of_sibling(key, self.name)
        asked: Any = None
        if start < 0:
            asked = SuffixByteRequest(-start)
        elif count is not None:
            asked = RangeByteRequest(start, start + count)
        elif start:
            asked = OffsetByteRequest(start)
        try:
            found = sync(self.store.get(key, default_buffer_prototype(), byte_range=asked))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise system_error(error, self.name) from error
        data: bytes | None = None if found is None else found.to_bytes()
        return data if data is None or count is None else data[:count]

    def mark(self, key: str) -> Any:
        return None

    def files(self, prefix: str) -> None:
        return None


class Within:
    """A group or array inside a store.

    Parameters
    ----------
    base : Store
    prefix : str
        Path of the node, without slashes around it.
    """

    def __init__(self, base: Store, prefix: str) -> None:
        self.base, self.prefix = base, prefix
        self.name = f"{base.name}/{prefix}"

    def get(self, key: str, start: int = 0, count: int | None = None) -> bytes | None:
        parts_of_sibling(key, self.name)
        return self.base.get(f"{self.prefix}/{key}", start, count)

    def mark(self, key: str) -> Any:
        return self.base.mark(f"{self.prefix}/{key}")

    def files(self, prefix: str) -> list[tuple[str, int]] | None:
        inside = self.base.files(f"{self.prefix}/{prefix}" if prefix else self.prefix)
        cut = len(self.prefix) + 1
        return None if inside is None else [(key[cut:], size) for key, size in inside]


def metadata(store: Store, key: str) -> dict[str, Any] | None:
    """Return a JSON object of a store, None where there is none.

    Raises
    ------
    FormatError
        If it is no JSON object, or absurdly large.
    """
    content = store.get(key, 0, MOST_METADATA + 1)
    if content is None:
        return None
    import json

    if len(content) > MOST_METADATA:
        raise FormatError(f"{key} is larger than metadata ever are", path=store.name)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        if not content.strip():
            raise TruncatedError(f"{key} is empty", path=store.name) from None
        what = str(error).splitlines()[0][:80]
        raise FormatError(f"{key} is no JSON: {what}", path=store.name) from None
    if not isinstance(found, dict):
        raise FormatError(f"{key} is no JSON object", path=store.name)
    return found

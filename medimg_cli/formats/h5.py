"""HDF5 files: opened safely, read by region; for the formats that are built on HDF5.

h5py reads and writes, not SimpleITK: only so external files can be refused (a dataset may name any file of the
machine as the place of its bytes), regions be read alone, and two runs give the same bytes (ITK's own files carry
time stamps).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import (
    FormatError,
    MissingExtraError,
    OutsideError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
)
from medimg_cli.formats.foreign import ForeignBackend, SourceFile, foreign_errors, source_size
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, Region, StoredArray

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.storage.atomic import StagedFile

__all__ = ["H5Backend", "TargetFile", "dataset", "dtype_of", "h5py_module", "opened", "undisturbed", "voxels"]

MAGIC = b"\x89HDF\r\n\x1a\n"
#: Bytes that deflate can make of one; bytes of a chunk at most.
_RATIO, _MOST_CHUNK = 1032, 1 << 31


def h5py_module(title: str) -> Any:
    """Return h5py.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError(f"{title} needs h5py", hint="pip install 'medimg-cli[minc]'") from None
    return h5py


@contextmanager
def opened(source: ByteSource, title: str) -> Iterator[Any]:
    """Yield an ``h5py.File`` of a source; what goes wrong becomes one line.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    TruncatedError
        If the file is shorter than it says.
    """
    h5py = h5py_module(title)
    _check_length(source)
    with foreign_errors(source.name, title), SourceFile(source) as file, h5py.File(file, "r") as tree:
        yield tree


def _check_length(source: ByteSource) -> None:
    """Compare the end that the superblock states with the size of the file (HDF5 file format, II.A)."""
    head = source.head(64)
    if not head.startswith(MAGIC):
        raise UnknownFormatError("has no HDF5 magic", path=source.name)
    if len(head) < 48:
        raise TruncatedError("ends within its superblock", path=source.name)
    at = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8])
    if at is None or head[13 if head[8] < 2 else 9] != 8:
        return
    end, size = int.from_bytes(head[at : at + 8], "little"), source_size(source)
    if end > size:
        raise TruncatedError(f"truncated: {size} bytes, the file should have {end}", path=source.name)


def dataset(tree: Any, path: str, name: str) -> Any:
    """Return a dataset or group of a file; nothing on the way may lie in another file.

    Raises
    ------
    FormatError
        If it is not there, lies outside the file, or cannot hold what it declares.
    """
    import h5py

    node, shown = tree, path if path.isprintable() else repr(path)
    for part in path.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            raise FormatError(f"has no {shown}", path=name)
        if not isinstance(link, h5py.HardLink):
            raise OutsideError(f"{shown} lies elsewhere", path=name, hint="refused for safety")
        node = node[part]
    if isinstance(node, h5py.Dataset):
        _check_dataset(node, shown, name)
    return node


def _check_dataset(data: Any, path: str, name: str) -> None:
    if data.external or data.is_virtual:
        raise OutsideError(f"the bytes of {path} lie in another file", path=name, hint="refused for safety")
    chunk = prod(data.chunks or (1,)) * data.dtype.itemsize
    there = data.id.get_storage_size()
    if chunk > _MOST_CHUNK or data.nbytes > there * (_RATIO if data.chunks else 1) + 64:
        raise TruncatedError(f"{there} bytes cannot hold the {data.nbytes} bytes of {path}", path=name)


def voxels(source: ByteSource, data: Any, path: str, title: str, header: Header, order: Sequence[int]) -> Backend:
    """Return the voxels of a dataset: in place where they lie in one piece, else through h5py.

    Parameters
    ----------
    source : ByteSource
    data : h5py.Dataset
        Open; only looked at here.
    path, title : str
        Its path in the file, and the name of the format.
    header : Header
    order : sequence of int
        Axes of the dataset, fastest first, as :meth:`Layout.packed` takes them.
    """
    offset = data.id.get_offset()
    if offset is not None and data.chunks is None:
        sizes = [size for _, size in header.axes]
        layout = Layout.packed(header.shape, header.dtype, byte_order=header.byte_order, order=order, channels=sizes)
        return StoredBackend(StoredArray(source, offset, layout), header)
    return H5Backend(source, path, title, header, order)


def dtype_of(data: Any, name: str) -> tuple[str, str]:
    """Return our name of a dataset's type, and its byte order."""
    if data.dtype.name not in ITEMSIZE or data.dtype.kind == "b":
        raise UnsupportedError(f"voxels of HDF5 type {str(data.dtype)[:40]} are not supported", path=name)
    return data.dtype.name, "big" if data.dtype.byteorder == ">" else "little"


class H5Backend(ForeignBackend):
    """Voxels in a dataset in chunks; the file is opened anew for every read."""

    def __init__(self, source: ByteSource, path: str, title: str, header: Header, order: Sequence[int]) -> None:
        super().__init__(header)
        self.source, self.path, self.title, self.order = source, path, title, tuple(order)

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        axes = self.order[::-1]
        channel_axes = sorted((axis for axis in axes if axis >= 3), reverse=True)
        spans = {axis: region[axis + 1] for axis in range(3)}
        if len(channel_axes) == 1:
            spans[channel_axes[0]] = region[0]
        index = tuple(slice(s.start, s.stop, s.step) if (s := spans.get(axis)) else slice(None) for axis in axes)
        with opened(self.source, self.title) as tree:
            part = dataset(tree, self.path, self.source.name)[index]
        part = part.transpose([axes.index(axis) for axis in (*channel_axes, 0, 1, 2)])
        part = part.reshape(-1, *part.shape[-3:])
        if len(channel_axes) > 1:
            part = part[region[0].start : region[0].stop : region[0].step]
        picked: np.ndarray[Any, Any] = part
        return picked


@contextmanager
def undisturbed(target: TargetFile) -> Iterator[None]:
    """Let signals wait while HDF5 writes: an exception in what it calls back is a crash.

    Parameters
    ----------
    target : TargetFile
        Its ``problem`` tells that there was a signal.
    """
    import signal

    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        target.problem = target.problem or InterruptedError(f"signal {number}")

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(signal.getsignal(number)):
                before[number] = signal.signal(number, note)
    except ValueError:
        pass  # not the main thread: no signal comes here
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


class TargetFile(io.RawIOBase):
    """A file under construction as a random-access file for h5py.

    No exception gets out into HDF5, which would write it all again when it closes, and crash: where the file cannot be
    written, or somebody interrupts, ``problem`` says so, and everything written after is dropped.
    """

    def __init__(self, staged: StagedFile) -> None:
        super().__init__()
        self._staged, self._position = staged, 0
        self.problem: BaseException | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        end = os.fstat(self._staged.fileno()).st_size
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: end}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        try:
            got = os.preadv(self._staged.fileno(), [buffer], self._position)
        except BaseException as error:
            self.problem, got = self.problem or error, 0
        self._position += got
        return got

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.problem is None:
            try:
                self._staged.patch(self._position, bytes(view))
            except BaseException as error:
                self.problem = error
        self._position += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        size = self._position if size is None else size
        try:
            os.ftruncate(self._staged.fileno(), size)
        except BaseException as error:
            self.problem = self.problem or error
        return size

"""Readers that users bring along: functions that read a whole file, and objects that make a lazy backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, Backend, ViewBackend, blocks_by_region, check_region, numpy_dtype
from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.formats.plugins import ReadRequest
from medimg_cli.header import Header
from medimg_cli.operations.cast import dtype_name
from medimg_cli.sources.arrays import array_backend, from_dims, plain_array
from medimg_cli.sources.placing import Promise
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Buffer
    from medimg_cli.storage.stored import Layout, Region

    Array = np.ndarray[Any, Any]

__all__ = ["ForeignBackend", "Options", "ReadRequest", "ReaderBackend", "adapted", "backend_of_reader", "settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a source is to be read.

    Parameters
    ----------
    reader : callable or object with ``create_backend``, optional
        Reads paths instead of the formats that medimg knows.
    reader_kwargs : mapping
        Passed on to the reader.
    channels_last : bool
        Whether arrays are (I, J, K, C).
    suffix : str, optional
        What the name of bytes or of a file object would end in.
    """

    reader: Any = None
    reader_kwargs: Mapping[str, Any] = field(default_factory=dict)
    channels_last: bool = False
    suffix: str | None = None


class ReaderBackend:
    """What a reader that can only read the whole returns, read when somebody first asks, once.

    Parameters
    ----------
    path : Path, or str where it is a URL
    options : Options
        Whose reader is called as ``reader(path, **reader_kwargs)`` and returns (array, affine or None). The
        array is (C, I, J, K), or (I, J, K) or (I, J) with one channel.
    """

    def __init__(self, path: Path | str, options: Options) -> None:
        self.path, self.options = path, options
        self.promise: Promise | None = Promise()
        self._made: Backend | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Path | str, Options, Promise | None, Backend | None]:
        return self.path, self.options, self.promise, self._made

    def __setstate__(self, state: tuple[Path | str, Options, Promise | None, Backend | None]) -> None:
        self.path, self.options, self.promise, self._made = state
        self._lock = threading.Lock()

    @property
    def header(self) -> Header:
        """The header of what the reader returns; asking for it reads the whole."""
        return self.whole().header

    def whole(self) -> Backend:
        """Return what the reader returns."""
        with self._lock:
            if self._made is None:
                returned = self.options.reader(self.path, **self.options.reader_kwargs)
                made = _of_pair(returned, channels_last=self.options.channels_last)
                assert self.promise is not None
                self._made, self.promise = self.promise.kept(made), None
            return self._made

    def again(self, header: Header) -> ReaderBackend:
        """Return a reader that reads anew, and will place and label what it reads as ``header`` says."""
        fresh = ReaderBackend(self.path, self.options)
        assert fresh.promise is not None
        fresh.promise.placement, fresh.promise.metadata = {"affine": header.affine}, dict(header.metadata)
        return fresh

    def read(self, region: Region, *, raw: bool = False) -> Array:
        return self.whole().read(region, raw=raw)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from self.whole().blocks(layout, raw=raw, max_bytes=max_bytes)


def _of_pair(returned: Any, *, channels_last: bool = False) -> Backend:
    """Return the backend of what a reader returns: an array and its affine, or None for that."""
    try:
        array, affine = returned
    except (TypeError, ValueError):
        raise TypeError(f"a reader returns (array, affine or None), this one a {type(returned).__name__}") from None
    if array.ndim in (2, 3):
        array, _ = from_dims(array, "ijk"[: array.ndim])
    made = array_backend(array, channels_last=channels_last)
    if affine is not None:
        made.header = made.header.replace(affine=AffineMatrix(affine))
    return made


def adapted(made: Any) -> Backend:
    """Return the backend of what a reader or a registered factory makes.

    Parameters
    ----------
    made : object
        A `Backend`; an object as TorchIO knows backends (see `ForeignBackend`); or (array, affine or None).

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(made, tuple | list):
        return _of_pair(made)
    if all(hasattr(type(made), name) for name in ("read", "blocks")) and hasattr(made, "header"):
        header: Header = made.header
        held = getattr(type(made), "header", None)
        if not isinstance(held, property) or held.fset is not None:
            found: Backend = made
            return found
        channels, *space = whole(header.shape)
        return ViewBackend(made, channels, list(enumerate(space)), header)  # a header that can be replaced
    if all(hasattr(made, name) for name in ("shape", "affine", "dtype", "__getitem__")):
        return ForeignBackend(made)
    raise TypeError(f"a {type(made).__name__} is no backend: it needs header, read and blocks")


def backend_of_reader(path: Path | str, options: Options) -> Backend:
    """Return the backend of a file that a reader of the user's reads, lazily where it can."""
    create = getattr(options.reader, "create_backend", None)
    if create is None:
        return ReaderBackend(path, options)
    request = ReadRequest(
        path=path if isinstance(path, Path) else None,
        url=path if isinstance(path, str) else None,
        reader_kwargs=dict(options.reader_kwargs),
        reader=options.reader,
    )
    return adapted(create(request))


def settled(backend: Backend) -> Backend:
    """Return a backend whose header can be changed: a reader that reads the whole has read it then."""
    return backend.whole() if isinstance(backend, ReaderBackend) else backend


class ForeignBackend:
    """A backend as TorchIO knows them: ``shape``, ``affine``, ``dtype`` and indexing with slices.

    Parameters
    ----------
    foreign : object
        Its ``shape`` is (C, I, J, K); indexing with four slices returns a 4-D array or tensor.
    """

    def __init__(self, foreign: Any) -> None:
        self.foreign = foreign
        c, i, j, k = (int(size) for size in foreign.shape)
        affine = AffineMatrix(foreign.affine)
        self.header = Header(shape=(c, i, j, k), dtype=dtype_name(foreign.dtype), affine=affine)

    def read(self, region: Region, *, raw: bool = False) -> Array:
        check_region(region, self.header.shape)
        index = tuple(slice(min(s[0], s[-1]), max(s[0], s[-1]) + 1, abs(s.step)) for s in region)
        turns = tuple(slice(None, None, -1 if span.step < 0 else 1) for span in region)
        part = plain_array(self.foreign[index])
        if part.shape != tuple(map(len, region)):
            kind = type(self.foreign).__name__
            raise FormatError(f"the {kind} returned {part.shape} voxels, expected {tuple(map(len, region))}")
        return self._of_dtype(part)[turns].copy()

    def _of_dtype(self, part: Array) -> Array:
        """Return voxels in the type that the backend says they have, where it holds them."""
        import numpy as np

        if part.dtype.name == self.header.dtype:
            return part
        with np.errstate(all="ignore"):
            cast = part.astype(numpy_dtype(self.header.dtype))
        if not np.array_equal(cast, part, equal_nan=part.dtype.kind in "fc"):
            kind = type(self.foreign).__name__
            raise UnsupportedError(
                f"the {kind} says that its voxels are {self.header.dtype}, and returned {part.dtype} that do not fit",
                hint="let its dtype be that of what it returns",
            )
        return cast

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

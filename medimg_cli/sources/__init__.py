"""What an image can be made from: each kind of source becomes a backend in one function.

One row each in `SOURCES`, asked in order. Nobody above this room knows what a source was.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import Backend
from medimg_cli.sources.arrays import array_backend, data_backend, is_tensor
from medimg_cli.sources.labelled import from_labelled, from_monai, from_torchio, is_labelled
from medimg_cli.sources.placing import EmptyBackend
from medimg_cli.sources.readers import Options, backend_of_reader
from medimg_cli.sources.several import joined
from medimg_cli.storage.urls import is_located, is_url, localized, public_name, url_text

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.formats.reading import Reading

    Array = np.ndarray[Any, Any]

__all__ = ["SOURCES", "Options", "Source", "open_any", "paths_of"]


class Source(NamedTuple):
    """One kind of source.

    Parameters
    ----------
    name : str
        For messages.
    accepts : callable
        Object -> whether it is one.
    opens : callable
        (object, options) -> backend.
    """

    name: str
    accepts: Callable[[Any], bool]
    opens: Callable[[Any, Options], Backend]


_SERIES = "medimg_cli.formats.dicom.series"
"""Where `list_series` has its records from."""

Where = Path | str
"""Where a source lies: a path, or the text of a URL."""


def open_any(source: Any, options: Options) -> tuple[Backend, Where | list[Where] | None]:
    """Return the backend for a source, and the paths and URLs that it was made from.

    Parameters
    ----------
    source : object
        Anything that a row of `SOURCES` accepts.
    options : Options

    Raises
    ------
    TypeError
        If nobody accepts it.
    MedImgError
        If it cannot be read.
    """
    for row in SOURCES:
        if row.accepts(source):
            if options.reader_kwargs and options.reader is None and row.opens not in (_from_path, _from_paths):
                raise TypeError(f"reader_kwargs are given without a reader, for {row.name}")
            return row.opens(source, options), paths_of(source)
    raise TypeError(f"an image cannot be made from {type(source).__name__}; see the table of sources of Image")


def paths_of(source: Any) -> Where | list[Where] | None:
    """Return where a source lies that is a path, a URL or several of them, else None."""
    if _is_path(source):
        return _path(source)
    return [_path(each) for each in source] if _are_paths(source) else None


def _path(source: Any) -> Where:
    found = localized(source)
    return url_text(found) if is_url(found) or is_located(found) else Path(found).expanduser()


def _is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) or is_located(source)


def _are_paths(source: Any) -> bool:
    return isinstance(source, Sequence) and bool(source) and all(_is_path(each) for each in source)


def _comes_from(library: str) -> Callable[[Any], bool]:
    """Return a test for objects of a library that need not be imported for it."""

    def accepts(source: Any) -> bool:
        return any(kind.__module__.partition(".")[0] == library for kind in type(source).__mro__)

    return accepts


def _is_backend(source: Any) -> bool:
    return all(hasattr(type(source), name) for name in ("read", "blocks"))


def _is_buffer(source: Any) -> bool:
    return hasattr(source, "getvalue") and not isinstance(source, io.TextIOBase)


def _is_array(source: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(source, numpy.ndarray)


# -- one function for each kind of source


def _from_nothing(source: None, options: Options) -> Backend:
    return EmptyBackend()


def _from_backend(source: Backend, options: Options) -> Backend:
    return source


def _from_path(source: Any, options: Options) -> Backend:
    from medimg_cli.formats import open_backend

    path = _path(source)
    if options.reader is not None:
        return backend_of_reader(path, options)
    reading = _reading(options)
    backend = open_backend(source if is_located(source) else path, reading=reading)
    if reading is None or not reading.untilt:
        return backend
    from medimg_cli.operations.straightening import straightened

    return straightened(backend)


def _reading(options: Options) -> Reading | None:
    """Return how DICOM is to be read, where somebody says so.

    Raises
    ------
    TypeError
        If it is told what it does not know.
    """
    if not options.reader_kwargs:
        return None
    from medimg_cli.formats.reading import Reading

    unknown = sorted(set(options.reader_kwargs) - {"series", "gaps", "tolerance", "untilt"})
    if unknown:
        raise TypeError(f"reader_kwargs without a reader are series, gaps, tolerance, untilt (DICOM), not {unknown[0]}")
    chosen = options.reader_kwargs.get("series")
    return Reading(**{**options.reader_kwargs, "series": None if chosen is None else str(chosen)})


def _from_series(source: Any, options: Options) -> Backend:
    from medimg_cli.formats.dicom.opening import image_of

    return image_of(source)


def _from_paths(source: Sequence[Any], options: Options) -> Backend:
    backends = [_from_path(each, options) for each in source]
    return joined(backends, [public_name(str(_path(each))) for each in source])


def _from_zarr(source: Any, options: Options) -> Backend:
    from medimg_cli.formats import codec_module, find_format

    backend: Backend = codec_module(find_format("zarr")).open_folder(source)
    return backend


def _from_bytes(source: Any, options: Options) -> Backend:
    from medimg_cli.formats import open_backend

    content = source.getvalue() if hasattr(source, "getvalue") else source
    return open_backend(bytes(content), name=f"<bytes>{options.suffix or ''}")


def _from_file(source: Any, options: Options) -> Backend:
    from medimg_cli.formats import open_backend

    name = getattr(source, "name", None)
    name = name if isinstance(name, str) else "<file object>"
    return open_backend(source, name=name + (options.suffix or ""))


def _from_array(source: Array, options: Options) -> Backend:
    return array_backend(source, channels_last=options.channels_last)


def _from_tensor(source: Any, options: Options) -> Backend:
    return data_backend(source.movedim(-1, 0) if options.channels_last and source.ndim == 4 else source, None)


def _from_nibabel(source: Any, options: Options) -> Backend:
    from medimg_cli.interop import from_nibabel

    backend: Backend = from_nibabel(source)
    return backend


def _from_sitk(source: Any, options: Options) -> Backend:
    from medimg_cli.interop import from_sitk

    backend: Backend = from_sitk(source)
    return backend


def _from_xarray(source: Any, options: Options) -> Backend:
    from medimg_cli.interop import from_xarray

    backend: Backend = from_xarray(source)
    return backend


SOURCES: tuple[Source, ...] = (
    Source("nothing", lambda source: source is None, _from_nothing),
    Source("path", _is_path, _from_path),
    Source("DICOM series", lambda source: type(source).__module__ == _SERIES, _from_series),
    Source("Zarr store", _comes_from("zarr"), _from_zarr),
    Source("array of xarray", _comes_from("xarray"), _from_xarray),
    Source("MONAI tensor", _comes_from("monai"), lambda source, options: from_monai(source)),
    Source("TorchIO image", _comes_from("torchio"), lambda source, options: from_torchio(source)),
    Source("array with geometry", is_labelled, lambda source, options: from_labelled(source)),
    Source("array", _is_array, _from_array),
    Source("tensor", is_tensor, _from_tensor),
    Source("backend", _is_backend, _from_backend),
    Source("nibabel image", _comes_from("nibabel"), _from_nibabel),
    Source("SimpleITK image", _comes_from("SimpleITK"), _from_sitk),
    Source("bytes", lambda source: isinstance(source, bytes | bytearray | memoryview), _from_bytes),
    Source("bytes in memory", _is_buffer, _from_bytes),
    Source("file object", lambda source: hasattr(source, "read"), _from_file),
    Source("paths", _are_paths, _from_paths),
)
"""All kinds of sources; to add one, write its function and give it a row."""

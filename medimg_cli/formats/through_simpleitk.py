"""Voxels that SimpleITK decodes: TIFF files that are compressed, tiled or coloured in a way of their own, and odd PNG
files.

SimpleITK is never asked about a file that has not been validated before: it fills truncated files with zeros, and
reports what is wrong in several lines on stderr. It sees a path and an explicit reader, never a name that it could
guess from.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import DamagedError, UnsupportedError
from medimg_cli.formats.foreign import (
    WholeBackend,
    component_axes,
    foreign_errors,
    lps_affine,
    sane_origin,
    sane_spacing,
)
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource

if TYPE_CHECKING:
    import numpy as np

__all__ = ["ItkBackend", "open_itk", "quietly"]

#: Held while stderr is turned away: two threads that did so at once would not turn it back.
_TURNED_AWAY = threading.Lock()


def open_itk(source: ByteSource, reader: str, title: str, *, suffix: str) -> ItkBackend:
    """Open a validated file through one of ITK's readers; header only.

    Parameters
    ----------
    source : ByteSource
    reader : str
        ITK's name of the reader, such as "TIFFImageIO".
    title : str
        Name of the format, for messages.
    suffix : str
        What the name of a temporary copy ends with.

    Raises
    ------
    FormatError
        If ITK refuses it.
    """
    with _reading(source, reader, title, suffix) as file:
        file.ReadImageInformation()
        size, spacing, origin = file.GetSize(), file.GetSpacing(), file.GetOrigin()
        components, pixel = file.GetNumberOfComponents(), file.GetPixelIDValue()
        dtype = _dtype(pixel, title)
    if len(size) not in (2, 3):
        raise UnsupportedError(f"{title} with {len(size)} axes is not supported", path=source.name)
    notes: list[str] = []
    i, j, k = (*size, 1)[:3]
    header = Header(
        shape=(components, i, j, k),
        dtype=dtype,
        affine=lps_affine(sane_spacing((*spacing, 1.0)[:3], notes), sane_origin((*origin, 0.0)[:3], notes)),
        axes=component_axes(components, dtype),
        ndim=len(size),
        affine_source="itk",
        warnings=tuple(notes),
    )
    return ItkBackend(source, reader, title, suffix, header)


class ItkBackend(WholeBackend):
    """An image that one of ITK's readers decodes."""

    def __init__(self, source: ByteSource, reader: str, title: str, suffix: str, header: Header) -> None:
        super().__init__(source, header)
        self.reader, self.title, self.suffix = reader, title, suffix

    def decode(self) -> np.ndarray[Any, Any]:
        import SimpleITK as sitk

        with _reading(self.source, self.reader, self.title, self.suffix) as file:
            image = file.Execute()
        with self.source.cursor():
            pass  # refuses a file that changed while ITK read it
        array = sitk.GetArrayFromImage(image)
        if array.ndim == image.GetDimension():
            array = array[..., None]
        array = array.reshape(-1, *array.shape[-3:])
        return array.transpose(3, 2, 1, 0)


def _dtype(pixel: int, title: str) -> str:
    import SimpleITK as sitk

    names = {
        "8-bit unsigned integer": "uint8", "8-bit signed integer": "int8", "16-bit unsigned integer": "uint16",
        "16-bit signed integer": "int16", "32-bit unsigned integer": "uint32", "32-bit signed integer": "int32",
        "64-bit unsigned integer": "uint64", "64-bit signed integer": "int64", "32-bit float": "float32",
        "64-bit float": "float64",
    }  # fmt: skip
    text = sitk.GetPixelIDValueAsString(pixel).removeprefix("vector of ")
    if text not in names:
        raise UnsupportedError(f"{title} with voxels of type {text} is not supported")
    return names[text]


@contextmanager
def _reading(source: ByteSource, reader: str, title: str, suffix: str) -> Iterator[Any]:
    """Yield an ITK file reader for a source; errors become one line, and so does damage that ITK only mutters of."""
    with foreign_errors(source.name, title):
        import SimpleITK as sitk

        with _path_of(source, suffix) as path, quietly(sitk) as messages:
            file = sitk.ImageFileReader()
            file.SetImageIO(reader)
            file.SetFileName(path)
            yield file
        problem = next((line for line in messages if line.strip() and "warning" not in line.lower()), None)
        if problem is not None:
            raise DamagedError(f"its voxels are damaged ({problem.strip()[:120]})", path=source.name)


@contextmanager
def _path_of(source: ByteSource, suffix: str) -> Iterator[str]:
    """Yield a path under which ITK finds the bytes: the file itself where its name is harmless, else a private copy."""
    with source.cursor() as cursor:  # refuses a file that changed
        path = source.path
        if path is not None and not isinstance(source, EncodedSource) and path.isprintable() and "%" not in path:
            yield path
            return
        import tempfile

        with tempfile.NamedTemporaryFile(prefix="medimg-", suffix=suffix) as copy:
            for piece in cursor.chunks(0, source.most):
                copy.write(piece)
            copy.flush()
            yield copy.name


@contextmanager
def quietly(sitk: Any) -> Iterator[list[str]]:
    """Catch what ITK and the libraries below it write to stderr: they tell damage in no other way.

    Yields
    ------
    list of str
        Filled when the block ends.
    """
    import tempfile

    found: list[str] = []
    with _TURNED_AWAY, tempfile.TemporaryFile(prefix="medimg-") as caught:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        kept = -1
        try:
            try:
                kept = os.dup(2)
                os.dup2(caught.fileno(), 2)
            except OSError:  # there is no stderr, or no descriptor left
                pass
            yield found
        finally:
            if kept >= 0:
                os.dup2(kept, 2)
                os.close(kept)
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        caught.seek(0)
        found += caught.read(1 << 16).decode(errors="replace").splitlines()

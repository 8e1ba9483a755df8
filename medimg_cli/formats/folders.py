"""Folders that are one image: stores of chunks, and series of slices.

One row each in `FOLDERS`, asked in order. Its module has ``open_folder(path) -> Backend``, which reads headers and
no voxels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from medimg_cli.errors import MedImgError, MissingExtraError, UnsupportedError
from medimg_cli.formats.reading import refuse_choice
from medimg_cli.storage.source import PathSource

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.reading import Reading

__all__ = ["FOLDERS", "FolderKind", "holds_dicom", "kind_of_folder", "open_folder"]


class FolderKind(NamedTuple):
    """One kind of folder.

    Parameters
    ----------
    name : str
        Of its row in ``FORMATS``.
    accepts : callable
        (path, names of what is inside) -> whether the folder is one.
    module : str
        Imported when such a folder is met.
    extra : str
        The extra to install for it; "" where the core has all.
    holds_series : bool
        Whether it may hold several images; ``open_folder`` then takes a `Reading`, too.
    """

    name: str
    accepts: Callable[[str, Sequence[str]], bool]
    module: str
    extra: str = ""
    holds_series: bool = False


#: Files of a folder, and of a tree of them, that are looked into before it is said to hold no series.
_LOOKED_AT, _MOST_LOOKED_AT = 20, 400


def _is_zarr(path: str, names: Sequence[str]) -> bool:
    marked = {"zarr.json", ".zgroup", ".zattrs", ".zarray"}.intersection(names)
    return bool(marked) or path.rstrip("/").lower().endswith(".zarr")


def _is_dicom(path: str, names: Sequence[str]) -> bool:
    """Tell whether there is a DICOM file in a folder, or in one below it; a tree of something else is soon left."""

    left = _MOST_LOOKED_AT
    for place, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        left -= len(files[:_LOOKED_AT])
        if holds_dicom(place, files):
            return True
        if left < 0:
            return False
    return False


def holds_dicom(folder: str, names: Sequence[str]) -> bool:
    """Tell whether one of the first files of a folder is DICOM.

    Parameters
    ----------
    folder : str
    names : sequence of str
        Its files.
    """
    from medimg_cli.formats.dicom.reading import is_dicom

    files = (os.path.join(folder, name) for name in sorted(names)[:_LOOKED_AT] if name.upper() != "DICOMDIR")
    return any(is_dicom(_head(file)) for file in files if os.path.isfile(file))


def _head(path: str) -> bytes:
    """Return the first bytes of a file; none of one that cannot be read."""
    try:
        return PathSource(path).head(132)
    except MedImgError:
        return b""


FOLDERS: tuple[FolderKind, ...] = (
    FolderKind("zarr", _is_zarr, "medimg_cli.formats.zarr", "zarr"),
    FolderKind("dicom", _is_dicom, "medimg_cli.formats.dicom.opening", holds_series=True),
)
"""All kinds of folders; to add one, write its module and give it a row."""


def kind_of_folder(path: str) -> FolderKind | None:
    """Return what kind of image a folder is, None where it is none."""
    names = sorted(os.listdir(path))
    return next((kind for kind in FOLDERS if kind.accepts(path, names)), None)


def open_folder(path: str, reading: Reading | None = None) -> Backend:
    """Open a folder that is one image: read its headers, none of its voxels.

    Raises
    ------
    UnsupportedError
        If it is a folder of something else.
    MissingExtraError
        If a library that its kind needs is not installed.
    """
    kind = kind_of_folder(path)
    if kind is None:
        hint = "name its files; info and hash search it with --recursive"
        raise UnsupportedError("is a folder, not an image", path=path, hint=hint)
    try:
        module = import_module(kind.module)
    except ImportError as error:
        extra = f"[{kind.extra}]" if kind.extra else ""
        needs = f"a {kind.name} folder needs {error.name or 'a library'}"
        raise MissingExtraError(needs, path=path, hint=f"pip install 'medimg-cli{extra}'") from None
    if not kind.holds_series:
        refuse_choice(reading)
    backend: Backend = module.open_folder(path, reading) if kind.holds_series else module.open_folder(path)
    return backend

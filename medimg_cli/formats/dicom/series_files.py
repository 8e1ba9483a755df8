"""The folder of a series that is written: names of its files, and all of them at once or none."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from string import Formatter
from typing import Any

from medimg_cli.errors import UsageError
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.atomic_folder import StagedFolder
from medimg_cli.storage.source import PathSource

__all__ = ["PATTERN", "file_names", "write_files"]

#: Names of files where nobody gives a pattern.
PATTERN = "{number:05d}.dcm"
_LONGEST = 200


def file_names(pattern: str, count: int) -> list[str]:
    """Return the names of the files of a series.

    Parameters
    ----------
    pattern : str
        With one field for InstanceNumber: ``{}`` or ``{number}``, which may say how many digits: ``{:04d}``.
    count : int

    Raises
    ------
    UsageError
        If the pattern has no such field, has another one, or makes no plain names.

    Examples
    --------
    >>> file_names("IM{:04d}.dcm", 2), file_names("{number}", 2)
    (['IM0001.dcm', 'IM0002.dcm'], ['1', '2'])
    """
    hint = "give a name with one number, such as 'IM{:04d}.dcm'"
    try:
        parts = [part for part in Formatter().parse(pattern) if part[1] is not None]
    except ValueError:
        parts = []
    if len(parts) != 1 or not _is_number(*parts[0][1:]):
        raise UsageError(f"--pattern {pattern!r} has not one field for the number", hint=hint)
    names = [pattern.format(number, number=number) for number in range(1, count + 1)]
    plain = all(name.isprintable() and not set(name) & set("/\\:") and not name.startswith(".") for name in names)
    if not plain or max(len(os.fsencode(name)) for name in names) > _LONGEST or "DICOMDIR" in map(str.upper, names):
        raise UsageError(f"--pattern {pattern!r} makes no plain names of files", hint=hint)
    return names


def _is_number(field: str | None, spec: str | None, conversion: str | None) -> bool:
    """Tell whether a field is the number, with as many digits as it says."""
    return field in ("", "0", "number") and conversion is None and bool(re.fullmatch(r"0?[1-9]?[0-9]?d?", spec or ""))


def write_files(slices: Iterator[tuple[str, Any]], folder: str, force: bool) -> list[str]:
    """Write slices into a folder that appears when all of them are there.

    Parameters
    ----------
    slices : iterator of (name, Dataset)
    folder : str
    force : bool
        Replace a folder that holds DICOM files and nothing else.

    Returns
    -------
    list of str
        The files.

    Raises
    ------
    StorageError
        If the folder exists and ``force`` is not given, or holds something else; nothing has changed then.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    from medimg_cli.formats.dicom.reading import EXPLICIT

    names = []
    with AtomicGroup(force=force) as group:
        empty = os.path.isdir(folder) and not os.listdir(folder)  # takes a series in, whoever made it
        replaceable = _is_series if force else _is_nothing
        staged = group.add(StagedFolder(folder, force=force or empty, replaceable=replaceable))
        for name, made in slices:
            made.file_meta = FileMetaDataset()
            made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
            memory = io.BytesIO()
            made.save_as(memory, enforce_file_format=True)
            staged.write(name, memory.getvalue())
            names.append(name)
    return [os.path.join(folder, name) for name in names]


def _is_nothing(folder: str) -> bool:
    return False


def _is_series(folder: str) -> bool:
    """Tell whether a folder holds DICOM files and nothing else."""
    from medimg_cli.formats.dicom.reading import is_dicom

    inside = [os.path.join(folder, name) for name in os.listdir(folder)]
    return all(os.path.isfile(path) and is_dicom(PathSource(path).head(132)) for path in inside)

"""The folder of a series that is written: names of its files, and all of them at once or none."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from string import Formatter
from typing import Any

from medimg_cli.errors import StorageError, UsageError
from medimg_cli.formats.dicom.reading import EXPLICIT, is_dicom
from medimg_cli.storage.source import PathSource, system_error

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
    """Write slices into a new folder beside the target, which then takes its name.

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

    target = os.path.abspath(folder)
    _check_target(target, force)
    parent, name = os.path.split(target)
    names = []
    try:
        around = tempfile.mkdtemp(prefix=f".{name}.medimg-", dir=parent)
        staged = os.path.join(around, name)  # a folder in the other one, for that is nobody else's to read
        try:
            os.mkdir(staged)
            for file, made in slices:
                made.file_meta = FileMetaDataset()
                made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
                names.append(file)
                made.save_as(os.path.join(staged, names[-1]), enforce_file_format=True)
            _take_name(staged, target, f"{around}-old")
        finally:
            shutil.rmtree(around, ignore_errors=True)
    except OSError as error:
        raise system_error(error, folder) from error
    return [os.path.join(folder, name) for name in names]


def _check_target(target: str, force: bool) -> None:
    """Refuse a target that holds something, unless it may be replaced and is a series."""
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target) or os.path.islink(target):
        raise StorageError("exists and is no folder", path=target)
    inside = [os.path.join(target, name) for name in os.listdir(target)]
    if inside and not force:
        raise StorageError("exists already", path=target, hint="force=True replaces it")
    if not all(os.path.isfile(path) and is_dicom(PathSource(path).head(132)) for path in inside):
        raise StorageError("holds something else than DICOM files and is not replaced", path=target)


def _take_name(staged: str, target: str, old: str) -> None:
    """Rename a folder to its target; what stood there is moved away, and comes back where that fails."""
    if not os.path.lexists(target):
        os.rename(staged, target)
        return
    os.rename(target, old)
    try:
        os.rename(staged, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)

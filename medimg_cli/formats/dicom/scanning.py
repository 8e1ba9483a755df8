"""Which DICOM files there are: one pass over a folder tree, a DICOMDIR or an archive, headers only.

- What is no DICOM file is ignored and counted, and so are DICOM objects that are no images beside some that are.
  Hidden files and folders are not looked into.
  A link to a folder is not followed, and counted; a folder that cannot be opened counts as a file that cannot be read.
- A DICOMDIR in a folder is left out: the tree tells the same. Given itself, it is a list of files: those that lie
  beside or below it are read, a reference that leaves its folder is refused (CVE-2026-32711 is of that kind).
- A file that says that it is DICOM and cannot be read may be a slice of any series of its folder: those are refused
  with its name, others are read with a warning. So is an empty file with the suffix of a slice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from medimg_cli.errors import MedImgError, OutsideError, TruncatedError, UnsupportedError
from medimg_cli.formats.dicom.reading import DicomFile, is_dicom, is_directory, no_image, read_object
from medimg_cli.formats.dicom.walker import UNDEFINED
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.source import ByteSource, PathSource, system_error

__all__ = ["Broken", "Scan", "gather", "is_named", "scan", "scan_directory"]

_INDEX = "DICOMDIR"
#: What each DICOM file starts with; one that is called a slice and is shorter is cut off.
_PREAMBLE = 132
#: What ends a sequence of unknown length (PS3.5, 7.5), and bytes of the end of a file in which it is looked for.
_LIST_END, _TAIL = b"\xfe\xff\xdd\xe0\0\0\0\0", 1 << 12


class Broken(NamedTuple):
    """A DICOM file that cannot be read, and why."""

    name: str
    error: MedImgError


class Scan(NamedTuple):
    """What a folder, a DICOMDIR or an archive holds.

    Parameters
    ----------
    files : tuple of DicomFile
        Images, in order of their paths.
    objects : tuple of DicomFile
        DICOM objects that are no images.
    broken : tuple of Broken
        DICOM files that cannot be read.
    others : int
        How many files are no DICOM files.
    missing : tuple of str
        Files that a DICOMDIR names and nobody finds.
    """

    files: tuple[DicomFile, ...] = ()
    objects: tuple[DicomFile, ...] = ()
    broken: tuple[Broken, ...] = ()
    others: int = 0
    missing: tuple[str, ...] = ()

    def notes(self, chosen: Sequence[DicomFile] = ()) -> tuple[str, ...]:
        """Say what was ignored for the files of one series; one sentence each.

        Raises
        ------
        MedImgError
            If a file beside those that are chosen cannot be read: it may be one of them.
        """
        broken = self.beside(chosen)
        if broken is not None:
            raise broken.error
        found = []
        if self.others:
            found.append(_counted(self.others, "is no DICOM file and is", "are no DICOM files and are"))
        if self.objects:
            found.append(_counted(len(self.objects), "is no image and is", "are no images and are"))
        if self.broken:
            found.append(_counted(len(self.broken), "cannot be read and is", "cannot be read and are"))
        if self.missing:
            found.append(f"{len(self.missing)} of the files that the DICOMDIR names are missing")
        return tuple(found)

    def beside(self, chosen: Sequence[DicomFile]) -> Broken | None:
        """Return a file in the folders of those that are chosen that cannot be read, None where there is none."""
        folders = {os.path.dirname(file.source.name) for file in chosen}
        return next((broken for broken in self.broken if os.path.dirname(broken.name) in folders), None)

    def images(self, path: str) -> tuple[DicomFile, ...]:
        """Return the images.

        Raises
        ------
        MedImgError
            If there is none; the line says what else there is.
        """
        if self.files:
            return self.files
        if self.broken:
            raise self.broken[0].error
        if self.objects:
            raise no_image(self.objects[0])
        raise UnsupportedError("holds no DICOM file", path=path)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} of its files {one if count == 1 else many} ignored"


def scan(path: str, reading: Reading) -> Scan:
    """Read the headers of the DICOM files of a folder and of all folders in it.

    Parameters
    ----------
    path : str
    reading : Reading
        Its ``files`` may name the only ones that are read.
    """
    closed: list[OSError] = []
    found = gather(_source(place) for place in (_places(path, reading.files) if reading.files else _walk(path, closed)))
    shut = tuple(Broken(str(error.filename), system_error(error, str(error.filename))) for error in closed)
    return found._replace(broken=(*found.broken, *shut))


def _places(folder: str, names: Iterable[str]) -> Iterator[str]:
    return (os.path.join(folder, name) for name in names)


def _walk(folder: str, closed: list[OSError]) -> Iterator[str]:
    """Yield the files of a tree, in sorted order, and links to folders; gather errors of folders that do not open."""
    for place, folders, files in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted([*files, *(name for name in folders if os.path.islink(os.path.join(place, name)))]):
            if not name.startswith(".") and name.upper() != _INDEX:
                yield os.path.join(place, name)


def _source(path: str) -> ByteSource | Broken | None:
    """Return a file, None where it is none to read."""
    if not os.path.isfile(path):
        return None
    try:
        return PathSource(path)
    except MedImgError as error:
        return Broken(path, error)


def is_named(name: str) -> bool:
    """Tell whether a file is called as slices often are."""
    from medimg_cli.formats import find_format

    return name.lower().endswith(find_format("dicom").suffixes)


def gather(sources: Iterable[ByteSource | Broken | None]) -> Scan:
    """Read the headers of those of some files that are DICOM."""
    files: list[DicomFile] = []
    objects: list[DicomFile] = []
    broken: list[Broken] = []
    others = 0
    for source in sources:
        if isinstance(source, Broken):
            broken.append(source)
        elif source is None:
            others += 1
        elif not is_dicom(source.head(_PREAMBLE)):
            if source.size is not None and source.size < _PREAMBLE and is_named(source.name):
                said = f"is a DICOM file by its name, and has {source.size} bytes: cut off"
                broken.append(Broken(source.name, TruncatedError(said, path=source.name)))
            else:
                others += 1
        elif not is_directory(source):
            try:
                found = read_object(source)
            except MedImgError as error:
                broken.append(Broken(source.name, error.at(source.name)))
            else:
                (files if found.is_image else objects).append(found)
    return Scan(tuple(files), tuple(objects), tuple(broken), others)


def scan_directory(source: ByteSource) -> Scan:
    """Read the headers of the files that a DICOMDIR names (PS3.10, 8; PS3.3, F).

    Raises
    ------
    FormatError
        If it names a file that lies elsewhere than beside or below it.
    UnsupportedError
        If it is no file in a folder.
    """
    if source.path is None:
        raise UnsupportedError("is a DICOMDIR, a list of files, without a folder", path=source.name)
    folder = os.path.dirname(source.path)
    paths = [os.path.join(folder, *parts) for parts in _referenced(source)]
    root = os.path.realpath(folder)
    for path in paths:
        if os.path.commonpath((root, os.path.realpath(path))) != root:
            raise OutsideError("names a file outside of its folder, which is not read", path=source.name)
    missing = tuple(path for path in paths if not os.path.lexists(path))
    return gather(_source(path) for path in paths if os.path.lexists(path))._replace(missing=missing)


def _referenced(source: ByteSource) -> list[tuple[str, ...]]:
    """Return the parts of the path of each file that a DICOMDIR names."""
    import io

    from pydicom import dcmread

    from medimg_cli.formats.foreign import SourceFile

    with io.BufferedReader(SourceFile(source)) as file:
        dataset = dcmread(file, specific_tags=["DirectoryRecordSequence"])
    records = dataset.get("DirectoryRecordSequence") or ()
    if records:
        _check_whole(source, dataset["DirectoryRecordSequence"].file_tell)
    found = []
    for record in records:
        named = record.get("ReferencedFileID")
        if named is None or named == "":
            continue
        parts = (named,) if isinstance(named, str) else tuple(map(str, named))
        if any(part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part for part in parts):
            raise OutsideError("names a file outside of its folder, which is not read", path=source.name)
        found.append(parts)
    return list(dict.fromkeys(found))


def _check_whole(source: ByteSource, at: int) -> None:
    """Refuse a list that is cut off, given where the value of its sequence lies; pydicom takes what is there.

    Raises
    ------
    TruncatedError
        If it is.
    """
    size = source.size or 0
    head, tail = bytearray(4), bytearray(min(_TAIL, size - at))
    with source.cursor() as cursor:
        cursor.readinto(at - len(head), memoryview(head))
        cursor.readinto(size - len(tail), memoryview(tail))
    length = int.from_bytes(head, "little")
    if length > size - at and not (length == UNDEFINED and _LIST_END in tail):
        raise TruncatedError("the list of files of the DICOMDIR is cut off", path=source.name)

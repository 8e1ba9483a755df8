"""Which DICOM files there are: one pass over a folder, headers only.

What is no DICOM file is ignored and counted, as are DICOMDIR and DICOM objects that are no images beside some that are.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.dicom.reading import DicomFile, is_dicom, read_object
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.source import ByteSource, PathSource

__all__ = ["Scan", "scan"]


class Scan(NamedTuple):
    """What a folder holds.

    Parameters
    ----------
    files : tuple of DicomFile
        Images, in order of their paths.
    objects : tuple of DicomFile
        DICOM objects that are no images.
    others : int
        How many files are no DICOM files.
    """

    files: tuple[DicomFile, ...]
    objects: tuple[DicomFile, ...] = ()
    others: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was ignored; one sentence each."""
        found = []
        if self.others:
            found.append(_counted(self.others, "is no DICOM file and is", "are no DICOM files and are"))
        if self.objects:
            found.append(_counted(len(self.objects), "is no image and is", "are no images and are"))
        return tuple(found)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} of what is in the folder {one if count == 1 else many} ignored"


def scan(path: str, reading: Reading) -> Scan:
    """Read the headers of the DICOM files of a folder.

    Parameters
    ----------
    path : str
    reading : Reading
        Its ``files`` may name the only ones that are read.

    Raises
    ------
    UnsupportedError
        If there is no image among them.
    FormatError
        If one of them contradicts itself.
    """
    files: list[DicomFile] = []
    objects: list[DicomFile] = []
    others = 0
    for name in reading.files or sorted(os.listdir(path)):
        source = _source(os.path.join(path, name))
        if source is None:
            others += 1
            continue
        found = read_object(source)
        (files if found.is_image else objects).append(found)
    if not files:
        if objects:
            raise UnsupportedError(f"is a DICOM {objects[0].title}, not an image", path=objects[0].source.name)
        raise UnsupportedError("holds no DICOM file", path=path)
    return Scan(tuple(files), tuple(objects), others)


def _source(path: str) -> ByteSource | None:
    """Return a file of a folder, None where it is no DICOM file."""
    if os.path.basename(path).upper().startswith("DICOMDIR") or not os.path.isfile(path):
        return None
    source = PathSource(path)
    return source if is_dicom(source.head(132)) else None

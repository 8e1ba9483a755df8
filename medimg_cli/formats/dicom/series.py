"""The images that DICOM files make: all of them, in a list, and the one that somebody chooses.

Files are of one series where SeriesInstanceUID and SeriesNumber are the same: some scanners and tools use one UID for
several series, and dcm2niix keeps those apart as well. StudyInstanceUID and Modality must be the same too, of which a
series has one (PS3.3, A.1.2.3 and C.7.3.1): slices of two patients are never one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from math import inf
from typing import Any, NamedTuple

from medimg_cli.errors import MedImgError, UnsupportedError, UsageError
from medimg_cli.formats.dicom.frames import Frame, frames_of
from medimg_cli.formats.dicom.placing import Stack, place
from medimg_cli.formats.dicom.reading import DicomFile
from medimg_cli.formats.dicom.stacks import split
from medimg_cli.formats.dicom.tags import TAGS
from medimg_cli.formats.reading import Reading

__all__ = ["Series", "choose", "list_series"]

_SERIES = tuple(TAGS[key][0] for key in ("SeriesNumber", "SeriesInstanceUID", "StudyInstanceUID", "Modality"))
#: Entries of a list in a message.
_LISTED = 5


class Series(NamedTuple):
    """One image of a source: a series, or a part of one.

    Parameters
    ----------
    rank : int
        Its place in the list, from 1.
    files : tuple of DicomFile
        Where its frames come from.
    label : str
        What tells it from other images of the same series; "" where it is the only one.
    stack : Stack or None
        Its frames in place; None where something is wrong with them, and for a segmentation.
    error : MedImgError or None
        What is wrong.
    """

    rank: int
    files: tuple[DicomFile, ...]
    label: str = ""
    stack: Stack | None = None
    error: MedImgError | None = None

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.files[0].series

    @property
    def number(self) -> int | None:
        """SeriesNumber."""
        found = self.files[0].elements.number("SeriesNumber")
        return None if found is None else int(found)

    @property
    def description(self) -> str:
        """SeriesDescription, else ProtocolName."""
        elements = self.files[0].elements
        return elements.text("SeriesDescription") or elements.text("ProtocolName")

    @property
    def modality(self) -> str:
        """Modality."""
        return self.files[0].elements.text("Modality")

    def __str__(self) -> str:
        number = "" if self.number is None else str(self.number)
        count = f"({len(self.files)} file{'s' if len(self.files) > 1 else ''})"
        words = [f"@{self.rank}", number, self.description[:60], self.label, count]
        return " ".join(word for word in words if word)


def list_series(files: Iterable[DicomFile], reading: Reading) -> list[Series]:
    """Return all images that files make, ordered by SeriesNumber, SeriesInstanceUID and label.

    Parameters
    ----------
    files : iterable of DicomFile
    reading : Reading
        What to do with gaps; its choice is left to `choose`.
    """
    found: list[Series] = []
    for members in _by_series(files):
        found += _of_one(members, reading, len(found))
    return found


def _by_series(files: Iterable[DicomFile]) -> list[list[DicomFile]]:
    """Return files by number, series, study and modality, in this order; those without a number come last.

    Elements are decoded once for all files that hold the same bytes.
    """
    alike: dict[tuple[Any, ...], list[DicomFile]] = {}
    for file in files:
        alike.setdefault(tuple(map(file.elements.raw.get, _SERIES)), []).append(file)
    series: dict[tuple[Any, ...], list[DicomFile]] = {}
    for members in alike.values():
        elements = members[0].elements
        number = elements.number("SeriesNumber")
        said = (elements.text(keyword) for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "Modality"))
        series.setdefault((inf if number is None else number, *said), []).extend(members)
    return [series[key] for key in sorted(series)]


def _of_one(files: Sequence[DicomFile], reading: Reading, before: int) -> list[Series]:
    """Return the images of one series; a segmentation is one for itself."""
    masks = [file for file in files if file.is_segmentation]
    labels = [""] if len(files) == 1 else [f"seg{n}" for n in range(1, len(masks) + 1)]
    found = [Series(before + n, (file,), label) for n, (file, label) in enumerate(zip(masks, labels, strict=False), 1)]
    rest = [file for file in files if not file.is_segmentation] if masks else files
    return found + (_of_frames(rest, reading, before + len(found)) if rest else [])


def _of_frames(files: Sequence[DicomFile], reading: Reading, before: int) -> list[Series]:
    """Return the images that the frames of files make."""
    frames: list[Frame] = []
    for file in files:
        try:
            frames += frames_of(file)
        except MedImgError as error:
            return [Series(before + 1, tuple(files), error=error.at(file.source.name))]
    found = []
    for n, part in enumerate(split(frames)):
        sources = tuple({id(frame.file): frame.file for frame in part.frames}.values())
        one = Series(before + n + 1, sources, part.label)
        try:
            found.append(one._replace(stack=place(part.frames, reading)))
        except MedImgError as error:
            found.append(one._replace(error=error))
    return found


def choose(series: Sequence[Series], reading: Reading) -> Series:
    """Return the image that is asked for.

    Parameters
    ----------
    series : sequence of Series
        At least one.
    reading : Reading
        Its ``series`` is a UID, a SeriesNumber, a pattern of the description (upper and lower case are the same; a word
        that matches no whole description is looked for in all of them), or @N.

    Raises
    ------
    UnsupportedError
        If there are several and none is chosen; the line lists them.
    UsageError
        If none matches, or several do.
    """
    word = reading.series
    if word is None:
        if len(series) == 1:
            return series[0]
        raise UnsupportedError(f"holds {len(series)} series: {_listed(series)}", hint="choose one with --series")
    found = _matching(series, word.strip())
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"has no series {word!r}: it holds {_listed(series)}", hint="choose one of them")
    raise UsageError(f"{word!r} fits {len(found)} series: {_listed(found)}", hint="choose one by @N")


def _matching(series: Sequence[Series], word: str) -> list[Series]:
    if word.startswith("@"):
        return [one for one in series if word[1:] == str(one.rank)]
    told = [one for one in series if word == one.uid or word == str(one.number)]
    if told:
        return told
    pattern = word.casefold()
    names = [one.description.casefold() for one in series]
    whole = [one for one, name in zip(series, names, strict=True) if fnmatchcase(name, pattern)]
    return whole or [one for one, name in zip(series, names, strict=True) if pattern in name]


def _listed(series: Sequence[Series]) -> str:
    rest = f" and {len(series) - _LISTED} more (medimg dicom lists them)" if len(series) > _LISTED else ""
    return ", ".join(map(str, series[:_LISTED])) + rest

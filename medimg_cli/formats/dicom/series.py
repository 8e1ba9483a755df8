"""The images that DICOM files make: all of them, in a list, and the one that somebody chooses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from medimg_cli.errors import MedImgError, UnsupportedError, UsageError
from medimg_cli.formats.dicom.frames import Frame, frames_of
from medimg_cli.formats.dicom.placing import Stack, place
from medimg_cli.formats.dicom.reading import DicomFile
from medimg_cli.formats.dicom.stacks import split
from medimg_cli.formats.reading import Reading

__all__ = ["Series", "choose", "list_series"]

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
    """Return all images that files make, ordered by SeriesNumber, then SeriesInstanceUID.

    Parameters
    ----------
    files : iterable of DicomFile
    reading : Reading
        What to do with gaps; its choice is left to `choose`.
    """
    by_uid: dict[str, list[DicomFile]] = {}
    for file in files:
        by_uid.setdefault(file.series, []).append(file)
    ordered = sorted(by_uid.items(), key=lambda item: (item[1][0].elements.number("SeriesNumber") or 0.0, item[0]))
    found: list[Series] = []
    for _, members in ordered:
        found += _of_one(members, reading, len(found))
    return found


def _of_one(files: Sequence[DicomFile], reading: Reading, before: int) -> list[Series]:
    """Return the images of one series; a segmentation is one for itself."""
    masks = [file for file in files if file.is_segmentation]
    found = [Series(before + n + 1, (file,)) for n, file in enumerate(masks)]
    rest = [file for file in files if not file.is_segmentation]
    return found + (_of_frames(rest, reading, before + len(found)) if rest else [])


def _of_frames(files: Sequence[DicomFile], reading: Reading, before: int) -> list[Series]:
    """Return the images that the frames of files make."""
    frames: list[Frame] = []
    try:
        for file in files:
            try:
                frames += frames_of(file)
            except MedImgError as error:
                raise error.at(file.source.name) from None
    except MedImgError as error:
        return [Series(before + 1, tuple(files), error=error)]
    found = []
    for n, part in enumerate(split(frames)):
        sources = tuple(dict.fromkeys(frame.file for frame in part.frames))
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
        Its ``series`` is a UID, a SeriesNumber, a pattern of the description, or @N.

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
    raise UsageError(f"{len(found)} series are {word!r}: {_listed(found)}", hint="choose one by @N")


def _matching(series: Sequence[Series], word: str) -> list[Series]:
    if word.startswith("@"):
        return [one for one in series if word[1:] == str(one.rank)]
    exact = [one for one in series if word == one.uid or word == str(one.number)]
    return exact or [one for one in series if fnmatchcase(one.description.lower(), word.lower())]


def _listed(series: Sequence[Series]) -> str:
    rest = f" and {len(series) - _LISTED} more" if len(series) > _LISTED else ""
    return ", ".join(map(str, series[:_LISTED])) + rest

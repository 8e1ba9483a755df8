"""Rules about DICOM series: whether slices make a volume, and what else a folder or an archive holds.

What is said of a folder, not of one of its series, is said once, with the first of them. Where slices are at fault an
image cannot be opened, unless ``--gaps`` says what to do: then rules here say why, and those of `integrity` keep quiet.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from medimg_cli.checks.phrases import listed
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject
from medimg_cli.errors import (
    DuplicateSliceError,
    MedImgError,
    MissingSliceError,
    SliceError,
    UnevenSliceError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from medimg_cli.formats.dicom.scanning import Scan

__all__ = ["RULES", "explains"]

_SLICES: tuple[tuple[type[SliceError], str], ...] = (
    (MissingSliceError, "D001"),
    (DuplicateSliceError, "D002"),
    (UnevenSliceError, "D003"),
    (SliceError, "D004"),
)
"""Class of an error -> code of the rule that speaks of it, the first that fits."""

#: Files and series that a message names.
_NAMED = 3


def explains(subject: Subject, problem: MedImgError) -> bool:
    """Tell whether one of the rules here speaks of what keeps an image from being read."""
    if isinstance(problem, SliceError) or _is_beside(subject, problem):
        return True
    return isinstance(problem, UnsupportedError) and _undecodable(subject) is not None


def _is_beside(subject: Subject, problem: MedImgError) -> bool:
    """Tell whether an image is refused for another file of its folder, which may be one of its slices."""
    found = subject.entry.found
    return found is not None and any(broken.error is problem for broken in found.broken)


def _undecodable(subject: Subject) -> str | None:
    """Return the transfer syntax of a file of the series that medimg has no decoder for, None where there is none."""
    if subject.entry.series is None:
        return None
    from medimg_cli.formats.dicom.elements import printable
    from medimg_cli.formats.dicom.planes import is_encoded

    known = _decoders()
    for file in subject.entry.series.files:
        if file.syntax not in known and is_encoded(file):
            from pydicom.uid import UID

            return printable(UID(file.syntax).name)[:80]
    return None


def _decoders() -> frozenset[str]:
    from medimg_cli.formats.dicom.decoding import DECODERS

    return frozenset(DECODERS)


# -- slices ---------------------------------------------------------------------------------------------------------


def _slices(code: str, subject: Subject) -> Iterator[Found]:
    problem = subject.error
    if isinstance(problem, SliceError) and next(row for kind, row in _SLICES if isinstance(problem, kind)) == code:
        yield Found(problem.message)


def _tilted(subject: Subject) -> Iterator[Found]:
    if subject.entry.series is None or subject.header.affine_source != "dicom" or subject.header.spatial_shape[2] < 2:
        return
    angle = subject.header.affine.shear_deg
    if angle > subject.settings.limit("tilt-degrees"):
        yield Found(f"slices are shifted against each other, as with a gantry tilted by {angle:.3g} degrees")


def _incomplete(subject: Subject) -> Iterator[Found]:
    """Pass on what the reader says of NumberOfSlices and NumberOfTemporalPositions: `formats.dicom.placing`."""
    if subject.entry.series is not None:
        yield from (Found(sentence) for sentence in subject.header.warnings if sentence.startswith("NumberOf"))


# -- what a folder holds --------------------------------------------------------------------------------------------


def _scan(subject: Subject) -> Scan | None:
    """Return what the path of an image holds besides; None where that was told with another image, or is no DICOM."""
    return subject.entry.found if subject.is_first else None


def _of_path(subject: Subject, message: str) -> Found:
    return Found(message, path=subject.path)


def _unreadable_files(subject: Subject) -> Iterator[Found]:
    found = _scan(subject)
    alike: dict[str, list[str]] = {}
    for name, error in found.broken if found is not None else ():
        alike.setdefault(error.message, []).append(_inside(name, subject.path))
    for message, names in alike.items():
        yield _of_path(subject, f"{listed(names, _NAMED)} cannot be read: {message}")


def _inside(name: str, path: str) -> str:
    """Return the name of a file below a path."""
    return os.path.relpath(name, path) if name.startswith(os.path.join(path, "")) else os.path.basename(name)


def _missing_files(subject: Subject) -> Iterator[Found]:
    found = _scan(subject)
    if found is not None and found.missing:
        names = listed([os.path.basename(name) for name in found.missing], _NAMED)
        count = len(found.missing)
        said = f"{count} files that the DICOMDIR names are" if count > 1 else "1 file that the DICOMDIR names is"
        yield _of_path(subject, f"{said} not there: {names}")


def _objects(subject: Subject) -> Iterator[Found]:
    found = _scan(subject)
    if found is not None and found.objects:
        titles = Counter(file.title for file in found.objects)
        said = ", ".join(f"{count} {title}" for title, count in titles.most_common(_NAMED))
        count = len(found.objects)
        what = f"{count} DICOM objects are no images and are" if count > 1 else "1 DICOM object is no image and is"
        yield _of_path(subject, f"{what} not read: {said}")


def _no_decoder(subject: Subject) -> Iterator[Found]:
    syntax = _undecodable(subject)
    if syntax is not None:
        yield Found(f"there is no decoder for transfer syntax {syntax}")


def _mixed(subject: Subject) -> Iterator[Found]:
    found = _scan(subject)
    if found is None or not os.path.isdir(subject.path):
        return
    held: dict[str, Counter[tuple[str, float | None]]] = {}
    for file in found.files:
        name = file.series, file.elements.number("SeriesNumber")
        held.setdefault(os.path.dirname(file.source.name), Counter())[name] += 1
    for folder, series in held.items():
        if len(series) > 1:
            counts = listed([f"{count} of series {number or 0:g}" for (_, number), count in series.items()], _NAMED)
            where = "the folder" if len(held) == 1 else os.path.relpath(folder, subject.path)
            yield _of_path(subject, f"{where} holds files of {len(series)} series: {counts}")


def _split(subject: Subject) -> Iterator[Found]:
    series = subject.entry.series
    if series is not None and series.label and series.stack is not None:
        yield Found(f"its series makes several images, this is '{series.label}'")


RULES: tuple[Rule, ...] = (
    Rule(
        "D001",
        "missing-slices",
        "error",
        partial(_slices, "D001"),
        "No slice of a series is missing.",
        why="A reader that stacks what is there moves everything behind the gap by a slice or more, and the volume is "
        "shorter than the patient.",
        example="IM0012 and IM0014 are 5 mm apart, other slices 2.5 mm: IM0013 was not copied.",
        remedy="Fetch the series again. `--gaps resample` interpolates between slices, `--gaps ignore` takes them for "
        "evenly spaced.",
        unread=True,
    ),
    Rule(
        "D002",
        "duplicate-slices",
        "error",
        partial(_slices, "D002"),
        "No two slices of a volume lie at the same place.",
        why="Copies make a volume longer than the patient, and which of two different slices is right nobody knows.",
        example="A series that was sent twice into one folder; a slice that was acquired again.",
        remedy="Remove the copies. `--gaps ignore` takes the first at each place.",
        unread=True,
    ),
    Rule(
        "D003",
        "uneven-steps",
        "error",
        partial(_slices, "D003"),
        "The steps between slices are the same.",
        why="An image has one distance between slices: with several, whatever lies behind the first odd step is in the "
        "wrong place.",
        example="CT of a head: 2.5 mm at the base of the skull, 5 mm above.",
        remedy="`--gaps resample` interpolates to the finer step; `--tolerance` allows for small differences.",
        unread=True,
    ),
    Rule(
        "D004",
        "irregular-slices",
        "error",
        partial(_slices, "D004"),
        "Slices make one regular stack.",
        why="Slices that lie beside each other, or off the line of the others, are of several stacks, or were moved.",
        example="A series of which one slice lies 3 mm off the line from the first to the last.",
        remedy="`medimg dicom` shows what the series holds; leave out the files that do not belong to it.",
        unread=True,
    ),
    Rule(
        "D005",
        "tilted-gantry",
        "warning",
        _tilted,
        "Slices lie straight above each other.",
        why="With a tilted gantry each slice is shifted against the one before: the axes of the volume are not at "
        "right angles. Programs that assume that they are shear the head.",
        example="CT of a head with the gantry at -15 degrees.",
        remedy="`medimg convert --untilt` resamples the slices to a grid of right angles. NIfTI and NRRD can hold the "
        "tilt as it is.",
    ),
    Rule(
        "D006",
        "unreadable-slices",
        "error",
        _unreadable_files,
        "All DICOM files of a folder can be read.",
        why="A file that cannot be read may be a slice of any series beside it, so these series are not read.",
        example="The last file of a transfer that broke off: it is cut off within its header.",
        remedy="Fetch the file again, or remove it if it belongs to none of the series.",
        unread=True,
    ),
    Rule(
        "D007",
        "no-decoder",
        "error",
        _no_decoder,
        "The pixels of a series can be decoded.",
        why="The transfer syntax is private, or nobody has written a decoder: medimg cannot look at the pixels.",
        example="Pixels in a transfer syntax of one maker.",
        remedy="Let the archive or the maker's software export the series as Explicit VR Little Endian.",
        unread=True,
    ),
    Rule(
        "D008",
        "missing-files",
        "warning",
        _missing_files,
        "All files that a DICOMDIR names are there.",
        why="The medium was copied in part, and whole series may be missing.",
        example="A CD of which one folder could not be read.",
        remedy="Copy the medium again; `medimg dicom` lists the series that are there.",
        unread=True,
    ),
    Rule(
        "D009",
        "other-objects",
        "info",
        _objects,
        "A folder of DICOM holds images only.",
        why="Reports, plans and states of presentation are no images: conversion leaves them behind.",
        example="A study with an RT Structure Set beside the CT that it was drawn on.",
        remedy="Keep the DICOM files if you need these objects; `medimg dicom` lists them.",
        unread=True,
    ),
    Rule(
        "D010",
        "mixed-series",
        "info",
        _mixed,
        "A folder holds one series.",
        why="Programs that read a folder as one image stack the slices of several series.",
        example="A localiser and the scan that was planned on it, in one folder.",
        remedy="`medimg convert DIR --output-dir OUT --suffix .nii.gz` writes an image for each series; `--series` "
        "chooses one.",
        unread=True,
    ),
    Rule(
        "D011",
        "several-images",
        "info",
        _split,
        "A series makes one image.",
        why="Echoes, magnitude and phase, or stacks of several directions share a series: medimg keeps them apart, "
        "other programs may not.",
        example="A gradient echo field map: two echoes in one series.",
        remedy="`medimg dicom` shows what tells them apart.",
        on=False,
    ),
    Rule(
        "D012",
        "incomplete-series",
        "warning",
        _incomplete,
        "A series has as many slices and time steps as it says.",
        why="Slices that are missing at an end leave no gap: the image is regular, and part of the body is not on it.",
        example="A PET whose NumberOfSlices is 109, and a folder with 80 of them.",
        remedy="Fetch the series again from where it came.",
    ),
)

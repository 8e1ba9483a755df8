"""Rules about files: whether what a file holds is what it says, and whether all of it is there.

Whatever keeps an image from being opened or read to its end breaks exactly one of the rules in `_FAILURES`, chosen by
the class of its error; where slices of DICOM are at fault, rules of `series` say it instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

from medimg_cli.checks.rule import Found, Mend, Rule
from medimg_cli.checks.series import explains
from medimg_cli.checks.subject import Subject
from medimg_cli.errors import (
    DamagedError,
    EmptyFileError,
    FormatError,
    GeometryError,
    MedImgError,
    MissingPartError,
    NotFoundError,
    OutsideError,
    OversizeError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
)
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.text import counted

__all__ = ["RULES", "code_of"]

_FAILURES: tuple[tuple[type[MedImgError], str], ...] = (
    (TruncatedError, "F002"),
    (DamagedError, "F003"),
    (EmptyFileError, "F004"),
    (UnknownFormatError, "F005"),
    (MissingPartError, "F006"),
    (NotFoundError, "F006"),
    (OversizeError, "F008"),
    (OutsideError, "F009"),
    (UnsupportedError, "F010"),
    (FormatError, "F007"),
    (GeometryError, "F007"),
    (MedImgError, "F001"),
)
"""Class of an error -> code of the rule that speaks of it, the first that fits."""

#: Formats in which voxels are the last of a file; of others, sections that medimg does not read may follow.
_VOXELS_LAST = frozenset(("nifti1", "nifti2", "analyze", "mgh", "nrrd", "metaimage", "mif", "gipl", "afni", "npy"))


def code_of(problem: MedImgError) -> str:
    """Return the code of the rule that speaks of what keeps an image from being read."""
    return next(code for kind, code in _FAILURES if isinstance(problem, kind))


def _fails(code: str, subject: Subject) -> Iterator[Found]:
    problem = subject.failure
    if problem is not None and code_of(problem) == code and not explains(subject, problem):
        yield Found(_told(problem, subject.path))


def _told(problem: MedImgError, path: str) -> str:
    """Return what is wrong, and in which file where it is one below the path."""
    inside = problem.path is not None and str(problem.path).startswith(os.path.join(path, ""))
    return f"{os.path.relpath(str(problem.path), path)}: {problem.message}" if inside else problem.message


# -- what follows the voxels ----------------------------------------------------------------------------------------


def _trailing(subject: Subject) -> Iterator[Found]:
    stored = subject.stored
    if stored is None or subject.header.format not in _VOXELS_LAST:
        return
    source = stored.source
    encoded = source if isinstance(source, EncodedSource) else None
    end = None if encoded is None else encoded.end
    if encoded is not None and (end is None or encoded.codec == "bits"):
        return  # nobody has read it, or its last byte is filled up
    if subject.failure is not None or (source.path != subject.path and stored.offset):
        return  # one of several images in a file of numbers
    needed = subject.backend.ends_at or stored.span()[1]  # type: ignore[union-attr]
    size = source.size if end is None else end.decoded
    if size is not None and size > needed:
        follow = "follows" if size - needed == 1 else "follow"
        yield Found(f"{counted(size - needed, 'byte')} {follow} the {needed:,} bytes that the header asks for")
    if encoded is not None and encoded.ignored:
        yield Found(f"{encoded.ignored} bytes that nobody decodes follow the compressed data")


# -- text -----------------------------------------------------------------------------------------------------------

#: The start of a sequence that a terminal obeys (ECMA-48: CSI, OSC, DCS and their like); ISO 2022 has others.
_CONTROL = re.compile(r"\x1b[\[\]PX^_]")
_CLIMBS = re.compile(r"\.\.[\\/]")


def _hostile_text(subject: Subject) -> Iterator[Found]:
    header = subject.header
    texts = (header.description, header.intent_name, *header.metadata.values())
    if any(_CONTROL.search(text) for text in texts if isinstance(text, str)):
        yield Found("text of the header holds sequences that control a terminal")
    series = subject.entry.series
    if series is None:
        return
    from medimg_cli.formats.dicom.identity import identity

    for keyword, text in {"SeriesDescription": series.description, **identity(series.files[0])}.items():
        if _CLIMBS.search(text):
            yield Found(f"{keyword} is a path that leads out of its folder")


# -- names ----------------------------------------------------------------------------------------------------------


def _wrong_suffix(subject: Subject) -> Iterator[Found]:
    from medimg_cli.formats import find_format, knows_suffix, split_suffix

    suffix = split_suffix(subject.path)[1]
    if not suffix or subject.entry.series is not None:
        return
    row = find_format(subject.header.format)
    if suffix not in row.suffixes and knows_suffix(suffix):
        yield Found(f"the content is {row.title}, the suffix {suffix} says otherwise")


def _wrong_compression(subject: Subject) -> Iterator[Found]:
    from medimg_cli.formats import split_suffix

    _, suffix, promised = split_suffix(subject.path)
    promised = "gzip" if suffix == ".mgz" else promised
    if promised == subject.header.compression or subject.entry.series is not None or not os.path.isfile(subject.path):
        return
    from medimg_cli.storage.codecs import codec_of_magic
    from medimg_cli.storage.source import PathSource

    actual = codec_of_magic(PathSource(subject.path).head(6))  # a header names compression inside a file, too
    if actual != promised:
        names = (f"compressed with {name}" if name else "not compressed" for name in (actual, promised))
        yield Found("the content is {}, by its name it would be {}".format(*names))


def _failure(code: str, name: str, says: str, *, why: str, example: str, remedy: str) -> Rule:
    """Return the row of a rule about what keeps an image from being read."""
    check = partial(_fails, code)
    return Rule(code, name, "error", check, says, why=why, example=example, remedy=remedy, deeper=True, unread=True)


RULES = (
    _failure(
        "F001",
        "unreadable",
        "A file can be opened and read to its end.",
        why="Nobody can tell what an image holds that cannot be read. This code stands for what no other rule names: "
        "the operating system reports an error, or the file changes while it is read.",
        example="A disk with bad sectors, or a scan that is still being copied.",
        remedy="Wait until the copy is done, or get the file again. `medimg stats --debug` reads it to the end and "
        "shows where it fails.",
    ),
    _failure(
        "F002",
        "truncated",
        "All bytes of a file are there.",
        why="Most readers fill what is missing with zeros and report success, so half a brain becomes background. A "
        "download, a copy or a disk quota that broke off leaves such files.",
        example="A `.nii.gz` that lacks its last kilobyte: a gzip stream without an end, slices without voxels.",
        remedy="Get the file again. `medimg hash --manifest` where the data come from, and `--verify` where they "
        "arrive, finds it next time.",
    ),
    _failure(
        "F003",
        "damaged",
        "Compressed and encoded data decode, and their checksums are right.",
        why="One flipped bit changes all that follows. Readers that stop at the last voxel never look at the checksum.",
        example="A `.nii.gz` whose CRC-32 is not that of its content; a JPEG 2000 slice that does not decode.",
        remedy="Get the file again: no tool can tell which voxels are right.",
    ),
    _failure(
        "F004",
        "empty-file",
        "A file has content.",
        why="A file of 0 bytes stands where an image should be: a program was stopped, or the disk is full.",
        example="`sub-01_T1w.nii.gz` with 0 bytes, left by a job that was killed.",
        remedy="Make or fetch the file again, or remove it.",
    ),
    _failure(
        "F005",
        "not-an-image",
        "The content of a file is an image.",
        why="The name promises an image, the bytes are something else. Programs that go by the name read noise.",
        example="A web page about an expired link, saved as `scan.nii.gz`; a pointer of Git LFS; an image that was "
        "compressed twice.",
        remedy="Look at it with `head -c 200`, then fetch the right one; `git lfs pull` does so for a pointer of Git "
        "LFS. `medimg formats` lists what is read.",
    ),
    _failure(
        "F006",
        "part-missing",
        "Header and voxels that lie in two files are both there.",
        why="One of the two files means nothing without the other, and only one of them was copied or renamed.",
        example="`brain.hdr` without `brain.img`; `ElementDataFile = t1.raw` in a folder without `t1.raw`.",
        remedy="Copy the other file beside it, under the name that the header gives. `medimg convert` to `.nii.gz`, "
        "`.nrrd` or `.mha` makes one file of the two.",
    ),
    _failure(
        "F007",
        "contradictory-header",
        "A header describes one image, without contradiction.",
        why="Sizes, types, offsets or fields contradict each other or the standard, so that no two readers agree what "
        "the voxels are.",
        example="A NIfTI header with dim[0] = 0 or datatype 999; a NRRD of dimension 3 with four sizes.",
        remedy="Write the file again with the program that made it; where the voxels are plain bytes, "
        "`medimg_cli.Image.from_array` reads them with a header that is right.",
    ),
    _failure(
        "F008",
        "oversized",
        "A file declares no more than it can hold, and decodes to no more than that.",
        why="A header of a few bytes can ask a reader for terabytes of memory: by accident, or to bring it down.",
        example="MetaImage with DimSize = 100000 100000 100000; a deflated DICOM header that goes on for gigabytes.",
        remedy="Do not open it with other programs. Fetch it again from where you trust.",
    ),
    _failure(
        "F009",
        "outside-folder",
        "A file points to no bytes outside its own folder.",
        why="A header that names its data file can name any file of yours: who converts it and passes the result on "
        "passes your file on. It may also be an innocent absolute path that works on one machine only.",
        example="`ElementDataFile = ../../secret.key`, or `data file: /home/ada/t1.raw`.",
        remedy="Put the data file beside the header, and its plain name into the header.",
    ),
    _failure(
        "F010",
        "unsupported",
        "medimg can read a file.",
        why="The file may be sound; nobody has looked at it. Silence would pass it as checked.",
        example="A NIfTI of one bit a voxel; a DICOM structured report; a Zarr store with a codec of its own.",
        remedy="Convert it with a program that reads it, or leave it out: `--ignore F010`, or a path in `medimg.toml`.",
    ),
    Rule(
        "F011",
        "trailing-bytes",
        "warning",
        _trailing,
        "Nothing follows the voxels.",
        why="The header states too few voxels, or something was appended. Most readers ignore it, some refuse the "
        "file, and whoever writes the image again loses it.",
        example="A 4-D NIfTI whose header was overwritten with that of one volume; text behind a gzip stream.",
        remedy="Compare the shape in `medimg info` with what you expect. If it is right, `medimg convert` writes the "
        "image without what follows.",
        deeper=True,
    ),
    Rule(
        "F012",
        "wrong-suffix",
        "warning",
        _wrong_suffix,
        "The suffix is that of the format.",
        why="medimg goes by the content, most programs go by the name: they refuse the file, or misread it.",
        example="A NRRD called `t1.nii`.",
        remedy="Rename it, or `medimg convert` it to what its name says.",
    ),
    Rule(
        "F013",
        "wrong-compression",
        "warning",
        _wrong_compression,
        "The name says how a file is compressed.",
        why="Programs that go by the name hand plain bytes to a decompressor, or compressed ones to a parser.",
        example="`t1.nii.gz` that is not compressed; `t1.nii` that is.",
        remedy="Rename it: `.nii` for plain, `.nii.gz` for compressed; or `medimg check --fix` makes it what its name "
        "says.",
        mend=lambda subject: Mend(recode=True),
    ),
    Rule(
        "F014",
        "hostile-text",
        "error",
        _hostile_text,
        "Text in a header is text: it neither controls a terminal nor climbs out of a folder.",
        why="A program that prints it lets the file take over the terminal; one that names its output after a series "
        "or a patient writes where the file wants. No scanner writes such text.",
        example="A NIfTI description that clears the screen; a SeriesDescription of `../../home`.",
        remedy="Find out who made the file. `medimg edit --description` replaces the text; medimg itself never prints "
        "or follows it.",
    ),
)

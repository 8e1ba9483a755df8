"""Where in an image, and beside it, something may stand that tells who the patient is.

Looked at are: text of the header (NIfTI's ``descrip``, ``aux_file``, ``db_name``, ``data_type`` and ``intent_name``,
with what follows their null characters; description and key-values of all other formats), extensions of NIfTI (DICOM,
AFNI, comments, JSON and other text), elements of DICOM (of the first and the last file of a series), the JSON file
beside the image, and names: of the file, and of its folders below the working folder, of others the last three.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.checks.identity_words import is_placeholder, kind_of_field, kinds_in_name, kinds_in_text
from medimg_cli.errors import MedImgError
from medimg_cli.storage.urls import is_local
from medimg_cli.text import escape

if TYPE_CHECKING:
    from medimg_cli.checks.subject import Subject

__all__ = ["Clue", "clues_of"]

#: Fields of NIfTI that hold text of people; each is the name of a field of `nifti_fields`.
_TEXTS = ("descrip", "aux_file", "db_name", "data_type", "intent_name")
#: Bytes of a PAR file that hold its general lines.
_HEAD = 1 << 13
#: Bytes of an extension that are read, entries of key-values, and how deep they nest.
_MOST, _ENTRIES, _DEEPEST = 1 << 20, 5000, 6
#: Codes of extensions of NIfTI (nifti1_io.h): DICOM; AFNI, whose history names users and hosts; and those that are
#: lists of numbers, or CIFTI's.
_DICOM, _AFNI, _SILENT = 2, 4, frozenset((20, 22, 24, 26, 28, 32))
#: Parts of names of fields that tell of programs: dates there are theirs.
_PROGRAMS = ("history", "software", "version", "timestamp", "consistency", "build")
#: Characters of a name of a field that a message shows.
_LONGEST = 40


class Clue(NamedTuple):
    """One thing that was found, never the text itself.

    Parameters
    ----------
    kind : str
        One of the kinds of `identity_words`.
    place : str
        What holds it: "descrip", "key 'Operator'".
    size : int
        Characters of the text there.
    path : str or None
        Of the sidecar; None: of the image.
    """

    kind: str
    place: str
    size: int
    path: str | None = None


def clues_of(subject: Subject) -> tuple[Clue, ...]:
    """Return what an image that was opened, its name and its sidecar hold that may tell who somebody is."""
    found: list[Clue] = [*_in_header(subject), *_in_dicom(subject), *_in_sidecar(subject), *_in_names(subject.path)]
    return tuple(dict.fromkeys(found))


def _in_header(subject: Subject) -> Iterator[Clue]:
    header, fields = subject.header, subject.nifti
    if fields is not None:
        for name in _TEXTS:
            raw = fields.get(name, b"")
            if raw.strip(b"\0 "):
                yield from _in_text(name, raw.decode("latin-1"))
    elif header.description:
        yield from _in_text("description", header.description)
    if subject.entry.series is None and header.metadata:
        yield from _in_entries("key", header.metadata, None)
    if header.format == "parrec":
        yield from _in_entries("line", _lines(subject.path), None)
    for code, content in header.extensions:
        if code not in _SILENT:
            yield from _in_extension(code, content[:_MOST])


def _lines(path: str) -> dict[str, str]:
    """Return the general lines of a PAR file (Philips): ``.    Patient name   :   Doe, John``."""
    from medimg_cli.storage.source import open_source

    try:
        head = open_source(path).head(_HEAD).decode("latin-1")
    except MedImgError:
        return {}
    pairs = (line[1:].partition(":") for line in head.splitlines() if line.startswith("."))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _in_text(place: str, text: str, *, of_program: bool = False, path: str | None = None) -> Iterator[Clue]:
    for kind in kinds_in_text(text, of_program=of_program):
        yield Clue(kind, place, len(text.strip("\0 ")), path)


def _in_entries(what: str, entries: Mapping[str, Any], path: str | None) -> Iterator[Clue]:
    """Look at names and texts of key-values."""
    for name, text in _texts(entries, _DEEPEST):
        if name.startswith("nifti_"):
            continue  # raw fields
        kind = kind_of_field(name)
        shown = escape(name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "...")
        place = f"{what} {shown}"
        if kind is not None:
            if not is_placeholder(text):
                yield Clue(kind, place, len(text), path)
        elif len(text) >= 5 and not name.lower().endswith("uid"):
            described = "description" in name.lower() or "protocol" in name.lower()
            text = text.replace("^", " ") if described else text  # Siemens: Head^General
            of_program = any(word in name.lower() for word in _PROGRAMS)
            yield from _in_text(place, text, of_program=of_program, path=path)


def _texts(entries: Mapping[str, Any], depth: int) -> Iterator[tuple[str, str]]:
    """Yield names and texts of key-values, of nested ones too; numbers only where they may be an identifier."""
    for name, value in list(entries.items())[:_ENTRIES]:
        if isinstance(value, str):
            yield str(name), value
        elif isinstance(value, bool) or value is None:
            continue
        elif isinstance(value, int) and abs(value) > 9999:
            yield str(name), str(value)
        elif isinstance(value, Mapping) and depth:
            yield from _texts(value, depth - 1)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
            yield str(name), "\n".join(each for each in value[:_ENTRIES] if isinstance(each, str))
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping) and depth:
            for each in value[:_ENTRIES]:
                if isinstance(each, Mapping):
                    yield from _texts(each, depth - 1)


def _in_extension(code: int, content: bytes) -> Iterator[Clue]:
    place = f"extension {code}"
    if code == _DICOM:
        yield from _in_elements(content, place)
        return
    text = content.decode("utf-8", "replace").strip("\0 \r\n\t")
    entries = _json(text) if text.startswith("{") else None
    if entries is not None:
        yield from _in_entries(f"{place} key", entries, None)
    elif text.count("�") <= len(text) // 20:  # else it is no text
        yield from _in_text(place, text, of_program=code == _AFNI)


def _in_elements(content: bytes, place: str) -> Iterator[Clue]:
    """Look at a data set of DICOM that stands in an extension."""
    from medimg_cli.formats.dicom.identity import identity_of

    try:
        elements = identity_of(content)
    except MedImgError:
        return
    yield from _in_entries(f"{place} element", elements, None)


def _in_dicom(subject: Subject) -> Iterator[Clue]:
    """Look at elements of the first and the last file of a series: of all of them would cost as much as reading it."""
    series = subject.entry.series
    if series is None:
        return
    from medimg_cli.formats.dicom.identity import identity

    for file in dict.fromkeys((0, len(series.files) - 1)):
        try:
            elements = identity(series.files[file])
        except MedImgError:
            continue
        yield from _in_entries("element", elements, None)


def _in_sidecar(subject: Subject) -> Iterator[Clue]:
    """Look at the JSON file beside an image."""
    if subject.sidecar:
        yield from _in_entries("JSON key", subject.sidecar, subject.beside["json"])


def _json(text: str) -> Mapping[str, Any] | None:
    import json

    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entries if isinstance(entries, dict) else None


def _in_names(path: str) -> Iterator[Clue]:
    if not is_local(path):
        return
    names = [name for name in path.split(os.sep) if name not in ("", ".", "..")]
    if os.path.isabs(path):
        here = _working_folder()
        names = names[len(here) :] if names[: len(here)] == here else names[-4:]
    for n, name in enumerate(names):
        for kind in kinds_in_name(name):
            above = len(names) - 1 - n
            near = ("its name", "the name of its folder")
            yield Clue(kind, near[above] if above < 2 else f"the name of the folder {above} levels up", 0)


def _working_folder() -> list[str]:
    """Return the names of the working folder and those above it; none where somebody has removed it."""
    try:
        return [name for name in os.getcwd().split(os.sep) if name]
    except OSError:
        return []

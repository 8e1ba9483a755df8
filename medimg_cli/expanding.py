"""Which images a path stands for: a folder, an archive or a file of DICOM may hold several series.

Everything else is one image. Names for the outputs of several series are made here too: from a template, of letters,
digits and little else, so that what a file says about itself never decides where something is written.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.formats.reading import Reading

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.dicom.scanning import Scan
    from medimg_cli.formats.dicom.series import Series

__all__ = [
    "FIELDS",
    "TEMPLATE",
    "Entry",
    "check_template",
    "expand",
    "may_hold_series",
    "open_named",
    "series_facts",
    "series_names",
]

TEMPLATE = "{number:03d}_{description}"
"""How outputs of several series are called, where nobody says."""

FIELDS = ("number", "description", "modality", "label", "index", "uid", "folder")
"""What a template may name."""

#: Bytes of a name, and of one field of it.
_LONGEST, _LONGEST_FIELD = 120, 80


class Entry(NamedTuple):
    """One image that a path stands for.

    Parameters
    ----------
    path : str
        As the user named it; ``-`` is standard input.
    reading : Reading or None
        What chooses this image, and no other, of the path.
    series : Series or None
        None where the path is one image that is no DICOM.
    found : Scan or None
        What else the path holds.
    """

    path: str
    reading: Reading | None = None
    series: Series | None = None
    found: Scan | None = None

    def open(self) -> Backend:
        """Open the image, straightened where that is asked for: read its header, none of its voxels.

        Raises
        ------
        MedImgError
            If it cannot be read.
        """
        if self.series is None:
            return open_named(self.path, self.reading)
        from medimg_cli.formats.dicom.opening import image_of
        from medimg_cli.formats.foreign import foreign_errors

        notes = self.found.notes(self.series.files) if self.found is not None else ()
        try:
            with foreign_errors(self.path, "DICOM"):
                return _as_asked(image_of(self.series, notes), self.reading)
        except MedImgError as error:
            raise error.at(self.path) from None

    def remarks(self) -> tuple[str, ...]:
        """Say what the path holds beside the images that it stands for; one sentence each."""
        return () if self.found is None else self.found.notes()

    def facts(self) -> dict[str, Any] | None:
        """Return what tells the series from others, None where there is none."""
        return None if self.series is None else series_facts(self.series)


def open_named(path: str, reading: Reading | None = None) -> Backend:
    """Open the image of a path, straightened where that is asked for; ``-`` is standard input.

    Parameters
    ----------
    path : str
    reading : Reading, optional
        Which image of a source that holds several.

    Raises
    ------
    MedImgError
        If it cannot be read.
    """
    import sys

    from medimg_cli.formats import open_backend

    source, name = (path, None) if path != "-" else (sys.stdin.buffer, "<stdin>")
    return _as_asked(open_backend(source, name=name, reading=reading), reading)


def _as_asked(backend: Backend, reading: Reading | None) -> Backend:
    if reading is None or not reading.untilt:
        return backend
    from medimg_cli.operations.straightening import straightened

    return straightened(backend)


def series_facts(series: Series) -> dict[str, Any]:
    """Return what tells a series from others, under the names that records have."""
    return {
        "index": series.rank,
        "number": series.number,
        "uid": series.uid or None,
        "description": series.description or None,
        "modality": series.modality or None,
        "label": series.label or None,
    }


def expand(path: str, reading: Reading | None = None) -> list[Entry]:
    """Return the images that a path stands for: all series of DICOM, or the one that is chosen; else one image.

    Headers of DICOM files are read, once; nothing of other files.

    Parameters
    ----------
    path : str
    reading : Reading, optional

    Raises
    ------
    MedImgError
        If it is DICOM and holds no image, or not the one that is chosen.
    """
    reading = reading or Reading()
    if not may_hold_series(path):
        return [Entry(path, reading)]
    from medimg_cli.formats.dicom.catalogue import catalogue
    from medimg_cli.formats.dicom.series import choose

    try:
        series, found = catalogue(path, reading)
        if not series:
            found.images(path)  # says why
        if len(series) == 1 and reading.series is None:
            return [Entry(path, reading, series[0], found)]
        chosen = series if reading.series is None else [choose(series, reading)]
    except MedImgError as error:
        raise error.at(path) from None
    mates = _by_series(path, series)
    return [Entry(path, _only(path, one, mates[one.uid, one.number], reading, found), one, found) for one in chosen]


def may_hold_series(path: str) -> bool:
    """Tell whether a path may stand for several images: a folder, archive or file of DICOM; only local ones may."""
    from medimg_cli.formats import FORMATS, knows_suffix, split_suffix
    from medimg_cli.storage.urls import is_url

    if path == "-" or is_url(path):
        return False
    suffix = split_suffix(path)[1]
    ours = any(suffix in row.suffixes for row in FORMATS if row.holds_series)
    if not os.path.isdir(path) and knows_suffix(suffix) and not ours:
        return False
    from medimg_cli.formats.dicom.catalogue import is_source

    return is_source(path)


class _Mates(NamedTuple):
    """The images of one series, by their place in the list, and the files of all of them below the folder."""

    ranks: list[int]
    files: tuple[str, ...]


def _by_series(path: str, series: Iterable[Series]) -> dict[tuple[str, int | None], _Mates]:
    alike: dict[tuple[str, int | None], list[Series]] = {}
    for one in series:
        alike.setdefault((one.uid, one.number), []).append(one)
    folder = os.path.join(path, "")
    return {
        key: _Mates(
            sorted(one.rank for one in each),
            tuple(dict.fromkeys(file.source.name.removeprefix(folder) for one in each for file in one.files)),
        )
        for key, each in alike.items()
    }


def _only(path: str, one: Series, mates: _Mates, reading: Reading, found: Scan) -> Reading:
    """Return what chooses one of several series; of a folder only its own files are then read.

    Where a file beside them cannot be read, all are: it may belong to the series.
    """
    if not os.path.isdir(path) or found.beside(one.files) is not None:
        return replace(reading, series=f"@{one.rank}")
    return replace(reading, series=f"@{1 + bisect_left(mates.ranks, one.rank)}", files=mates.files)


# -- names ----------------------------------------------------------------------------------------------------------


def check_template(template: str) -> None:
    """Refuse a template of names that makes no sense, or leaves the folder.

    Raises
    ------
    UsageError
        If it does.
    """
    hint = f"fields are {', '.join(f'{{{name}}}' for name in FIELDS)}"
    try:
        named = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        unknown = next((name for name in named if name not in FIELDS), None)
        if unknown is not None:
            raise ValueError(f"there is no field {unknown!r}")
        template.format(**{**dict.fromkeys(FIELDS, "a"), "number": 1, "index": 1})
    except (ValueError, TypeError) as error:
        raise UsageError(f"--name {template!r}: {error}", hint=hint) from None
    parts = template.split("/")
    if not all(part.strip("._- ") for part in parts) or "\\" in template:
        raise UsageError(f"--name {template!r} is no name below the folder", hint=hint)


def series_names(entries: Iterable[Entry], template: str = TEMPLATE) -> list[str]:
    """Return a name for the output of each series, without suffix; no two are the same.

    Parameters
    ----------
    entries : iterable of Entry
        All of one path.
    template : str
        With fields of `FIELDS`; a slash makes a folder.
    """
    names: list[str] = []
    taken: dict[str, int] = {}
    for entry in entries:
        name = plain = _name(entry, template)
        while name.lower() in taken:
            taken[plain.lower()] += 1
            name = f"{plain}_{taken[plain.lower()]}"
        taken[name.lower()] = 1
        names.append(name)
    return names


def _name(entry: Entry, template: str) -> str:
    facts = entry.facts() or {}
    folder = os.path.basename(os.path.abspath(entry.path))
    texts = {name: fit(str(facts.get(name) or "")) for name in FIELDS}
    numbers = {"number": facts.get("number") or 0, "index": facts.get("index") or 0}
    name = template.format(**{**texts, "folder": fit(folder), **numbers})
    if texts["label"] and "{label" not in template:
        name += f"_{texts['label']}"
    return "/".join(fit(part, _LONGEST) or f"series_{numbers['index']}" for part in name.split("/"))


def fit(text: str, longest: int = _LONGEST_FIELD) -> str:
    """Return text as a part of a file name: letters, digits, - and +, all else an underscore.

    >>> fit("../../T1 MPRAGE (sag)"), fit("b=1000, +C")
    ('T1_MPRAGE_sag', 'b_1000_+C')
    """
    kept = "".join(c if c.isalnum() or c in "-+" else " " for c in text)
    words = (word.strip("-") for word in kept.split())
    return "_".join(filter(None, words)).encode()[:longest].decode(errors="ignore").strip("-_")

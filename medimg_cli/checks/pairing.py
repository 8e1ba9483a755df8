"""Which label map belongs to which image: ``--pair 'images/*.nii.gz' 'labels/{name}'``.

A pattern of images is compared with the end of a path, name by name: ``images/*.nii.gz`` matches ``images/a.nii.gz``
and ``/data/train/images/a.nii.gz``; one that starts with a slash is compared with the whole path. ``*`` and ``?`` stand
for characters of a name, ``[ab]`` for one of some, ``**`` for any number of folders.

Where the label map is, says the second: fields in braces are filled in, and the folder in front of what the pattern
matched (``/data/train/``) comes before it, unless it starts with a slash or ``{dir}``. Fields: ``{name}``, the name of
the image; ``{stem}``, the name without the suffix of its format; ``{1}``, ``{2}`` ..., what each star of the pattern
matched; ``{dir}``, the folder of the image. So nnU-Net is ``'imagesTr/*_0000.nii.gz' 'labelsTr/{1}.nii.gz'``, and BIDS
``'anat/*_T1w.nii.gz' '{dir}/{1}_dseg.nii.gz'``.

The partner of a path that was given is looked for on disk where it was not given itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import cache
from glob import escape, iglob
from typing import TYPE_CHECKING, NamedTuple

from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.storage.urls import is_local

if TYPE_CHECKING:
    from medimg_cli.checks.dataset import DataSet
    from medimg_cli.checks.subject import Profile
    from medimg_cli.header import Header

__all__ = ["PairPattern", "Paired", "Side", "paired", "parse_pair", "unmatched"]

_FIELD = re.compile(r"\{([^{}]*)\}")


class Side(NamedTuple):
    """One of the two images of a pair.

    Parameters
    ----------
    path : str
        As the user named it, or as the patterns say.
    header : Header or None
        None where it cannot be opened, or does not exist.
    exists : bool
    given : bool
        Whether it is one of the paths of the run.
    """

    path: str
    header: Header | None
    exists: bool
    given: bool


class Paired(NamedTuple):
    """An image and its label map; None where no image has a label map of that name."""

    image: Side | None
    label: Side


class PairPattern(NamedTuple):
    """A pattern of images, and where the label map of each is.

    Parameters
    ----------
    images, labels : str
        As they were written.
    image : re.Pattern
        Of a path of an image; its group "base" is the folder in front of the pattern.
    label : re.Pattern
        Of a path of a label map, whatever its image; it has that group too.
    """

    images: str
    labels: str
    image: re.Pattern[str]
    label: re.Pattern[str]

    def label_of(self, path: str) -> str | None:
        """Return where the label map of an image is; None of a path that the pattern does not match.

        >>> parse_pair("images/*_0000.nii.gz", "labels/{1}.nii.gz").label_of("data/images/a_0000.nii.gz")
        'data/labels/a.nii.gz'
        """
        found = self.image.fullmatch(_plain(path))
        if found is None:
            return None
        from medimg_cli.formats import split_suffix

        folder, _, name = found[0].rpartition("/")
        fields = {"name": name, "stem": split_suffix(name)[0], "dir": folder or "."}
        stars = [star or "" for star in found.groups()[1:]]
        told = _FIELD.sub(
            lambda field: fields[field[1]] if field[1] in fields else stars[int(field[1]) - 1], self.labels
        )
        return _plain(told if self.labels.startswith("{dir}") else found["base"] + told)

    def images_near(self, label: str) -> str | None:
        """Return the pattern of `glob` for all images of the data set of a label map; None of any other path.

        >>> parse_pair("images/*_0000.nii.gz", "labels/{1}.nii.gz").images_near("data/labels/a.nii.gz")
        'data/images/*_0000.nii.gz'
        """
        found = self.label.fullmatch(_plain(label))
        if found is None:
            return None
        if self.labels.startswith("{dir}"):
            return os.path.join(escape(found["dir"]), self.images.rpartition("/")[2])
        return os.path.join(escape(found["base"]), self.images)


@cache
def parse_pair(images: str, labels: str) -> PairPattern:
    """Read the two patterns of a pair.

    Parameters
    ----------
    images, labels : str
        See the text of the module.

    Raises
    ------
    UsageError
        If a pattern is empty, a field unknown, or there are fewer stars than a field says.
    """
    if not images.strip("/") or not labels.strip("/"):
        raise UsageError("a pattern of --pair is empty", hint="write: --pair 'images/*.nii.gz' 'labels/{name}'")
    body = "".join(_translated(images.removeprefix("./")))
    base = "" if images.startswith("/") else "(?:.*/)?"
    image = re.compile(f"(?P<base>{base}){body}", re.DOTALL)
    for name in _FIELD.findall(labels):
        known = name in ("name", "stem", "dir") or (name.isdecimal() and 1 <= int(name) < image.groups)
        if not known or (name == "dir" and not labels.startswith("{dir}/")):
            hint = "fields are {name}, {stem}, {dir}/ at the start, and {1}, {2} ... for the stars of the other pattern"
            raise UsageError(f"--pair: {labels!r} names {{{name}}}", hint=hint)
    base = "" if labels.startswith(("/", "{dir}")) else "(?:.*/)?"
    pieces = _FIELD.split(labels.removeprefix("./"))
    parts = [re.escape(piece) if n % 2 == 0 else _any_of(piece) for n, piece in enumerate(pieces)]
    return PairPattern(images, labels, image, re.compile(f"(?P<base>{base}){''.join(parts)}", re.DOTALL))


def _translated(pattern: str) -> Iterator[str]:
    """Yield the parts of a regular expression for a pattern; each star is a group."""
    for part in re.split(r"(\*\*/|\*+|\?|\[[^\]/]+\])", pattern):
        if part == "**/":
            yield "(?:(.*)/)?"
        elif part.startswith("**"):
            yield "(.*)"
        elif part in ("*", "?"):
            yield "([^/]*)" if part == "*" else "[^/]"
        elif part.startswith("[") and part.endswith("]"):
            yield "[^" + re.escape(part[2:-1]) + "]" if part[1] == "!" else "[" + part[1:-1].replace("\\", r"\\") + "]"
        else:
            yield re.escape(part)


def _any_of(field: str) -> str:
    """Return what matches whatever is filled in for a field."""
    if field == "dir":
        return "(?P<dir>.*)"
    return "[^/]+" if field in ("name", "stem") else ".*"


def _plain(path: str) -> str:
    return os.path.normpath(path).replace(os.sep, "/")


def paired(data: DataSet) -> tuple[Paired, ...]:
    """Return all pairs of a run: of each image that a pattern matches, and each label map without its image.

    Parameters
    ----------
    data : DataSet

    Raises
    ------
    UsageError
        If a pattern makes no sense.
    """
    profiles: dict[str, list[Profile]] = {}
    for profile in data.profiles:
        profiles.setdefault(_plain(profile.path), []).append(profile)
    given = {_plain(path): path for path in data.paths if is_local(path)}
    found: list[Paired] = []
    for images, labels in data.config.pairs:
        found += _pairs_of(parse_pair(images, labels), given, profiles)
    by_paths = {tuple(side and side.path for side in pair): pair for pair in reversed(found)}
    return tuple(reversed(by_paths.values()))


def unmatched(pairs: Iterable[tuple[str, str]], paths: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of images that no path matches.

    >>> unmatched([("images/*.nii", "labels/{name}"), ("image/*.nii", "labels/{name}")], ["train/images/a.nii"])
    ('image/*.nii',)
    """
    paths = list(paths)
    return tuple(one for one, two in pairs if all(parse_pair(one, two).label_of(path) is None for path in paths))


def _pairs_of(pair: PairPattern, given: dict[str, str], profiles: dict[str, list[Profile]]) -> Iterator[Paired]:
    label_of = _labels_by_image(pair, given)
    for image, label in label_of.items():
        yield Paired(_side(image, given, profiles), _side(label, given, profiles))
    taken = set(label_of.values())
    near: dict[str, dict[str, str]] = {}
    for path in given:
        pattern = None if path in taken or path in label_of else pair.images_near(path)
        if pattern is None:
            continue
        if pattern not in near:
            found = _labels_by_image(pair, map(_plain, iglob(pattern, recursive=True)))
            near[pattern] = {label: image for image, label in found.items()}
        of = near[pattern].get(path)
        yield Paired(None if of is None else _side(of, given, profiles), _side(path, given, profiles))


def _labels_by_image(pair: PairPattern, paths: Iterable[str]) -> dict[str, str]:
    """Return image -> label map of all paths that are images: what is the label map of another path is none."""
    label_of = {path: label for path in paths if (label := pair.label_of(path)) is not None and label != path}
    labels = {label for path, label in label_of.items() if label in label_of}
    return {path: label for path, label in label_of.items() if path not in labels}


def _side(path: str, given: dict[str, str], profiles: dict[str, list[Profile]]) -> Side:
    name = given.get(path, path)
    if path in given:
        known = profiles.get(path, [])
        return Side(name, known[0].header if len(known) == 1 else None, True, True)
    if not os.path.lexists(path):
        return Side(name, None, False, False)
    from medimg_cli.expanding import open_named

    try:
        return Side(name, open_named(path).header, True, False)
    except MedImgError:
        return Side(name, None, True, False)

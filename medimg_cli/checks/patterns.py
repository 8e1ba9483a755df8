"""Patterns of paths, as ``.gitignore`` has them: ``raw/**``, ``*_seg.nii.gz``, ``sub-*/anat``.

Paths count from one folder, that of the configuration file. A pattern matches a path, or a folder that it lies in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import NamedTuple

from medimg_cli.errors import UsageError
from medimg_cli.storage.urls import is_url, localized

__all__ = ["Patterns", "Place", "place_of"]

#: Names of a pattern, more than any path has that is no mischief.
_DEEPEST = 200


class Place(NamedTuple):
    """Where a path is, as the names of its folders and its own.

    Parameters
    ----------
    below : tuple of str or None
        From the folder that patterns count from; None where the path is not below it.
    whole : tuple of str
        From the root of the file system; of a URL, from its host.
    """

    below: tuple[str, ...] | None
    whole: tuple[str, ...]


def place_of(path: str, root: str, folder: str) -> Place:
    """Return where a path is; nothing is read, and links are not followed.

    Parameters
    ----------
    path : str
        As the user named it, or a URL.
    root : str
        The folder that patterns count from; absolute.
    folder : str
        What relative paths start from: the working folder.

    Examples
    --------
    >>> place_of("raw/a.nii", "/data", "/data/study")
    Place(below=('study', 'raw', 'a.nii'), whole=('data', 'study', 'raw', 'a.nii'))
    >>> place_of("https://host/raw/a.nii?key", "/data", "/data").whole
    ('host', 'raw', 'a.nii')
    """
    path = localized(path)
    if is_url(path):
        return Place(None, _names(re.split(r"[?#]", path.rpartition("://")[2], maxsplit=1)[0]))
    whole = _names(os.path.normpath(os.path.join(folder, path)))
    above = _names(root)
    return Place(whole[len(above) :] if whole[: len(above)] == above else None, whole)


def _names(path: str) -> tuple[str, ...]:
    return tuple(name for name in path.replace(os.sep, "/").split("/") if name)


class Patterns:
    """Patterns of paths, of which the last that matches decides.

    ``*`` stands for any part of a name, ``?`` for one character, ``[ab]`` and ``[!ab]`` for one of some, ``**`` for any
    number of folders. A pattern without a slash (but at its end) matches at any depth, one with a slash counts from the
    folder of the configuration, one that starts with a slash from the root of the file system. What lies below a
    matching folder matches too. ``!`` in front takes back what patterns before it matched.

    Parameters
    ----------
    texts : sequence of str

    Raises
    ------
    UsageError
        If a pattern is empty, leaves the folder (``..``), or there is nothing that ``!`` could take back.

    Examples
    --------
    >>> patterns = Patterns(["raw/**", "*_bad.nii", "!raw/good"])
    >>> for path in ("raw/a.nii", "raw/good/a.nii", "sub/a_bad.nii", "sub/raw/a.nii"):
    ...     print(path, patterns.match(place_of(path, "/data", "/data")))
    raw/a.nii True
    raw/good/a.nii False
    sub/a_bad.nii True
    sub/raw/a.nii False
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts = tuple(texts)
        if self.texts and self.texts[0].startswith("!"):
            raise UsageError(f"{texts[0]!r} takes back what patterns in front of it match: there are none")
        self._patterns = [_Pattern(text) for text in self.texts]

    def __bool__(self) -> bool:
        return bool(self.texts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Patterns) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return Patterns, (self.texts,)

    def match(self, place: Place) -> bool:
        """Tell whether a path matches."""
        found = False
        for pattern in self._patterns:
            if pattern.takes_back == found and pattern.match(place):
                found = not found
        return found


class _Pattern:
    """One pattern: a part a name, None for ``**``."""

    def __init__(self, text: str) -> None:
        self.takes_back = text.startswith("!")
        text = text.removeprefix("!")
        parts = _names(re.sub(r"(^|/)\./", r"\1", text))
        if not parts or "\0" in text or len(parts) > _DEEPEST:
            raise UsageError(f"{text!r} is no pattern of paths")
        if ".." in parts:
            raise UsageError(f"the pattern {text!r} leaves its folder", hint="give an absolute one")
        self.absolute = text.startswith("/")
        floating = "/" not in text.rstrip("/")
        if parts[-1] == "**" and len(parts) > 1:
            parts = (*parts[:-1], "*")  # what lies in the folder, but not the folder
        self.anywhere = floating or parts[0] == "**"
        self._parts = [None if part == "**" else _part(part) for part in (("**", *parts) if floating else parts)]

    def match(self, place: Place) -> bool:
        if self.absolute or (self.anywhere and place.below is None):
            return self._found(place.whole)
        return place.below is not None and self._found(place.below)

    def _found(self, names: tuple[str, ...]) -> bool:
        """Tell whether the pattern matches the first of some names; of several ``**``, only the last is tried again."""
        parts, at, name = self._parts, 0, 0
        again: tuple[int, int] | None = None
        while at < len(parts):
            part = parts[at]
            if part is None:
                at += 1
                again = at, name
            elif name < len(names) and part(names[name]):
                at, name = at + 1, name + 1
            elif again is not None and again[1] < len(names):
                again = again[0], again[1] + 1
                at, name = again
            else:
                return False
        return True


def _part(text: str) -> Callable[[str], object]:
    """Return what tells whether a name matches a part of a pattern."""
    if not set(text) & set("*?["):
        return text.__eq__
    return re.compile(translate(text)).match

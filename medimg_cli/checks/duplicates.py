"""Images that hold the same values under two names."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING

from medimg_cli.checks.numbers import NumberFacts, Numbers
from medimg_cli.checks.rule import Found
from medimg_cli.errors import MedImgError
from medimg_cli.text import escape

if TYPE_CHECKING:
    from medimg_cli.checks.dataset import DataSet
    from medimg_cli.checks.subject import Profile

__all__ = ["doubles"]


def doubles(data: DataSet) -> Iterator[Found]:
    """Find images that hold the same values as one before them.

    Candidates are those that agree in shape, range and count of non-zero values, whatever their type and order, and in
    how often each value occurs, where that was counted; their hashes decide. Images of one value only are none, and
    neither are two names of one file.
    """
    alike: dict[Hashable, list[Profile]] = {}
    for profile in data.profiles:
        facts = profile.gathered.get(Numbers)
        if isinstance(facts, NumberFacts) and facts.low is not None and facts.low != facts.high:
            alike.setdefault(_key(profile, facts), []).append(profile)
    for group in alike.values():
        for part in _parted(group):
            if len(part) > 1:
                yield from _doubles_of(part)


def _parted(group: list[Profile]) -> Iterable[list[Profile]]:
    """Split candidates by how often each value occurs, if that was counted in all of them."""
    parts: dict[int, list[Profile]] = {}
    for profile in group:
        census = profile.gathered[Numbers].census
        if census is None:
            return [group]
        parts.setdefault(census, []).append(profile)
    return parts.values()


def _key(profile: Profile, facts: NumberFacts) -> Hashable:
    """Return what two images of the same values agree in; values to five digits, as float32 and float64 may differ."""
    header = profile.header
    extremes = f"{facts.low:.5g}", f"{facts.high:.5g}"
    dicom = header.format == "dicom"  # what was converted from a series is no copy of it
    return dicom, header.channels, tuple(sorted(header.spatial_shape)), *extremes, facts.nonzero, facts.nans


def _doubles_of(group: list[Profile]) -> Iterator[Found]:
    first: dict[str, Profile] = {}
    files: set[tuple[Hashable, int | None]] = set()
    for profile in group:
        file = _file(profile.path), profile.series
        digest = None if file in files else _digest(profile)
        files.add(file)
        if digest is None:
            continue
        if digest in first:
            other = first[digest]
            name = other.path if other.series is None else f"{other.path} @{other.series}"
            yield Found(f"holds the same values as {escape(name)}", path=profile.path, series=profile.series)
        else:
            first[digest] = profile


def _file(path: str) -> Hashable:
    """Return what is the same for two names of one file."""
    try:
        status = os.stat(path)
    except OSError:
        return path
    return status.st_dev, status.st_ino


def _digest(profile: Profile) -> str | None:
    """Return the hash of an image's values, in the order of RAS+; None where it cannot be read again."""
    from medimg_cli.expanding import expand
    from medimg_cli.hashing import hash_backend

    try:
        for entry in expand(profile.path):
            if profile.series is None or (entry.series is not None and entry.series.rank == profile.series):
                return hash_backend(entry.open(), canonical=True, geometry=False)
    except MedImgError:
        pass
    return None

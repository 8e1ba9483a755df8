"""One image under all rules that hold for it: its header is read, and if a rule asks for them, its voxels once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from medimg_cli.checks.config import Settings
from medimg_cli.checks.fixing import mend_of
from medimg_cli.checks.rule import Finding, Found, Gatherer, Rule
from medimg_cli.checks.rules import RULES
from medimg_cli.checks.subject import Profile, Subject
from medimg_cli.errors import MedImgError, MissingExtraError, StorageError, UsageError
from medimg_cli.expanding import Entry, expand
from medimg_cli.formats.reading import Reading

__all__ = ["Plan", "examine", "finding", "plan_for", "profile_of", "subjects_of"]


class Plan(NamedTuple):
    """What is to be done with an image, given which rules hold.

    Parameters
    ----------
    rules : tuple of Rule
        Over one image.
    gathers : tuple of types
        All `Gatherer` classes that rules ask for, also those over sets.
    kept : tuple of types
        Those whose results rules over sets ask for.
    reads_voxels : bool
    """

    rules: tuple[Rule, ...]
    gathers: tuple[type[Gatherer], ...]
    kept: tuple[type[Gatherer], ...]
    reads_voxels: bool


@cache
def plan_for(codes: tuple[str, ...], header_only: bool = False) -> Plan:
    """Return what is to be done where the rules of some codes hold, and perhaps voxels are left alone."""
    rules = [RULES[code] for code in codes]
    gathers = tuple(dict.fromkeys(kind for rule in rules for kind in rule.gathers))
    kept = tuple(dict.fromkeys(kind for rule in rules if rule.over == "set" for kind in rule.gathers))
    over_image = tuple(rule for rule in rules if rule.over == "image")
    reads_voxels = not header_only and any(rule.reads_voxels or rule.deeper for rule in rules)
    return Plan(over_image, gathers, kept, reads_voxels)


def subjects_of(path: str, settings: Settings, reading: Reading) -> Iterator[Subject]:
    """Open all images that a path stands for: read their headers. What is wrong with one becomes a part of the subject.

    Raises
    ------
    MissingExtraError
        If a library is missing.
    StorageError
        If the operating system does not let anybody read the path.
    UsageError
        If what was asked for is at fault, not a file: a series that there is not.
    """
    try:
        entries = expand(path, reading)
    except MedImgError as error:
        entries = []
        yield Subject(Entry(path, reading), settings, error=_about_file(error, path))
    for number, entry in enumerate(entries):
        try:
            subject = Subject(entry, settings, entry.open())
        except MedImgError as error:
            subject = Subject(entry, settings, error=_about_file(error, path))
        subject.is_first = number == 0
        yield subject


def _about_file(error: MedImgError, path: str) -> MedImgError:
    """Return an error that says something of what a file holds; raise one that only says that nobody could look."""
    hidden = isinstance(error, StorageError) and path != "-" and not os.access(path, os.R_OK)
    if isinstance(error, (MissingExtraError, UsageError)) or hidden:
        raise error
    return error


def examine(subject: Subject) -> list[Finding]:
    """Put one image under all rules over images that hold for it; its voxels are read once, if a rule asks for them.

    Returns
    -------
    list of Finding
        By code.

    Raises
    ------
    MissingExtraError
        If a library is missing.
    """
    plan = plan_for(subject.settings.codes, subject.settings.header_only)
    if subject.backend is not None and plan.reads_voxels:
        _gather(subject, plan.gathers)
    rules: Iterable[Rule] = plan.rules
    if subject.backend is None:
        rules = (rule for rule in rules if rule.unread)
    elif subject.unreadable is not None:
        rules = (rule for rule in rules if rule.unread or not rule.reads_voxels)
    findings = [finding(rule, found, subject) for rule in rules for found in rule.check(subject)]
    return sorted(findings, key=lambda each: each.code)


def _gather(subject: Subject, kinds: Sequence[type[Gatherer]]) -> None:
    """Read all voxels once, and hand them to everybody who wants them."""
    from medimg_cli.statistics.blocks import value_boxes

    assert subject.backend is not None
    gatherers = [kind(subject) for kind in kinds if kind.wants(subject)]
    try:
        for region, box in value_boxes(subject.backend, raw=True):
            for gatherer in gatherers:
                gatherer.add(region, box)
    except MissingExtraError:
        raise
    except MedImgError as error:
        subject.unreadable = error
        return
    subject.gathered = {type(gatherer): gatherer.result() for gatherer in gatherers}


def finding(rule: Rule, found: Found, subject: Subject | Profile) -> Finding:
    """Return what a rule has found as a finding about an image."""
    series = _series_of(subject) if isinstance(subject, Subject) else subject.series
    return Finding(
        *(rule.code, rule.name, subject.settings.severity(rule), found.path or subject.path, found.message),
        series=found.series if found.path is not None else series,
        voxel=found.voxel,
        world=found.world,
        fixable=isinstance(subject, Subject) and rule.mend is not None and mend_of(subject, rule) is not None,
    )


def profile_of(subject: Subject) -> Profile:
    """Return what rules over sets need to know of an image that was opened."""
    kept = plan_for(subject.settings.codes).kept
    gathered = {kind: subject.gathered[kind] for kind in kept if kind in subject.gathered}
    return Profile(subject.path, _series_of(subject), subject.header, subject.settings, subject.is_labels, gathered)


def _series_of(subject: Subject) -> int | None:
    """Return which series of its path an image is, None where the path is one image."""
    entry = subject.entry
    if entry.series is None or entry.reading is None or entry.reading.series is None:
        return None
    return entry.series.rank

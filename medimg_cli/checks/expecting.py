"""Rules that a data set has made for itself: expectations such as "spacing <= 1.0"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from medimg_cli.checks.expectations import Expectation, parse
from medimg_cli.checks.measures import MEASURES, found_in_header, found_in_values
from medimg_cli.checks.numbers import Numbers
from medimg_cli.checks.phrases import listed, number
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject

__all__ = ["RULES"]

#: Values that a message names at most.
_MOST = 5


def _of_header(subject: Subject) -> Iterator[Found]:
    yield from _broken(subject, found_in_header(subject), of_values=False)


def _of_values(subject: Subject) -> Iterator[Found]:
    yield from _broken(subject, found_in_values(subject.gathered[Numbers]), of_values=True)


def _broken(subject: Subject, look_up: Callable[[str], Any], *, of_values: bool) -> Iterator[Found]:
    for text in subject.settings.expect:
        expectation = parse(text)
        if MEASURES[expectation.measure].of_values == of_values:
            found = look_up(expectation.measure)
            if not expectation.keeps(found):
                yield Found(_said(expectation, found))


def _said(expectation: Expectation, found: Any) -> str:
    """Say what was found and what was expected."""
    measure = MEASURES[expectation.measure]
    if measure.kind != "set":
        return f"{measure.name} is {measure.shown(found)}, expected {expectation.wanted}"
    if found is None:
        return f"there are too many different values for labels, expected labels {expectation.wanted}"
    odd = tuple(each for each in found if not expectation.keeps((each,)))
    if not odd or expectation.operator == "=":
        odd = found
    return f"there are labels {listed([number(each) for each in odd], _MOST)}, expected labels {expectation.wanted}"


RULES: tuple[Rule, ...] = (
    Rule(
        "E001",
        "unexpected-header",
        "error",
        _of_header,
        "Headers are as somebody expects them to be.",
        why="A data set has rules of its own: one spacing, one orientation, one type. Programs that were written for "
        "them go wrong quietly where an image breaks them. Nothing is expected where nobody says so.",
        example="`expect = ['spacing <= 1.0']` in `medimg.toml`, and a scan with slices of 5 mm.",
        remedy="`medimg resample --spacing`, `reorient --to` or `convert --dtype` makes an image what it "
        "is to be. If this image may be otherwise, say so in `[[check.overrides]]` for its path.",
        needs="of_header",
    ),
    Rule(
        "E002",
        "unexpected-values",
        "error",
        _of_values,
        "Values are as somebody expects them to be.",
        why="A label that no program knows, or a CT below -1024, changes results without an error. Nothing is expected "
        "where nobody says so, and no voxel is read for it then.",
        example="`expect = ['labels in [0, 1, 2]']` in `medimg.toml`, and a label map in which 3 occurs.",
        remedy="`medimg labels --remap` or `--keep` changes labels, `medimg convert --dtype --clip` ranges. If the "
        "values may be so here, say it in `[[check.overrides]]` for the path.",
        gathers=(Numbers,),
        needs="of_values",
    ),
)

"""All rules: the tables of the groups as one."""

from __future__ import annotations

from typing import NamedTuple

from medimg_cli.checks import expecting, headers, integrity, labels, privacy, series, sets, values
from medimg_cli.checks.rule import Rule

__all__ = ["GROUPS", "RULES", "Group"]


class Group(NamedTuple):
    """One row: a letter, what its rules look at, and their table."""

    letter: str
    title: str
    rules: tuple[Rule, ...]


GROUPS: tuple[Group, ...] = (
    Group("F", "Files", integrity.RULES),
    Group("H", "Headers", headers.RULES),
    Group("V", "Values", values.RULES),
    Group("L", "Label maps", labels.RULES),
    Group("S", "Pairs and sets", sets.RULES),
    Group("D", "DICOM series", series.RULES),
    Group("P", "Privacy", privacy.RULES),
    Group("E", "Expectations", expecting.RULES),
)

RULES: dict[str, Rule] = {rule.code: rule for group in GROUPS for rule in group.rules}
"""Code -> rule, group by group."""

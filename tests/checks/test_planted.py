"""Every rule finds what is planted for it, and leaves alone what only looks like it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from medimg_cli.checks.rules import GROUPS, RULES
from tests.checks.planting import Case, Planted, found

MODULES = ("integrity", "headers", "values", "labels", "sets", "series", "privacy", "expecting")
HERE = Path(__file__).parent

PLANTED: dict[str, Planted] = {}
for name in MODULES:
    if (HERE / f"planted_{name}.py").exists():
        PLANTED.update(importlib.import_module(f"tests.checks.planted_{name}").PLANTED)

FAULTS = [pytest.param(code, case, id=f"{code}-{case.name}") for code, row in PLANTED.items() for case in row.faults]
NEAR = [pytest.param(code, case, id=f"{code}-{case.name}") for code, row in PLANTED.items() for case in row.near]


MESSAGES: dict[int, list[str]] = {}
"""What was found in each case, by its id, that has been looked at in this process."""


def messages_of(code: str, case: Case, folder: Path) -> list[str]:
    """Return the messages of a rule about a case, looking at it once."""
    if id(case) not in MESSAGES:
        MESSAGES[id(case)] = found(case, code, folder)
    return MESSAGES[id(case)]


@pytest.mark.parametrize(("code", "case"), FAULTS)
def test_what_is_planted_is_found(code: str, case: Case, tmp_path: Path) -> None:
    messages = messages_of(code, case, tmp_path)
    assert messages
    assert any(case.says in message for message in messages), messages


@pytest.mark.parametrize(("code", "case"), NEAR)
def test_what_only_looks_like_it_is_left_alone(code: str, case: Case, tmp_path: Path) -> None:
    assert messages_of(code, case, tmp_path) == []


def test_recall_and_false_alarms_by_group(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the table of all groups: all faults are found, and nothing else is."""
    rows = []
    for group in GROUPS:
        codes = [rule.code for rule in group.rules]
        faults = [(code, case) for code in codes for case in PLANTED[code].faults]
        near = [(code, case) for code in codes for case in PLANTED[code].near]
        hits = sum(bool(messages_of(*each, tmp_path_factory.mktemp("case"))) for each in faults)
        alarms = sum(bool(messages_of(*each, tmp_path_factory.mktemp("case"))) for each in near)
        rows.append((group.title, len(codes), len(faults), hits, len(near), alarms))
    rows.append(("all", *(sum(row[n] for row in rows) for n in range(1, 6))))
    print("\n| group | rules | faults | found | recall | near misses | false alarms |\n|" + "---|" * 7)
    for title, rules, faults, hits, near, alarms in rows:
        print(f"| {title} | {rules} | {faults} | {hits} | {hits / faults:.0%} | {near} | {alarms} |")
    assert all(row[2] == row[3] and row[5] == 0 for row in rows)


def test_every_rule_has_faults_and_near_misses() -> None:
    assert set(PLANTED) == set(RULES)
    thin = [code for code, row in PLANTED.items() if len(row.faults) < 2 or len(row.near) < 2]
    assert not thin


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.letter)
def test_rules_explain_themselves(group: object) -> None:
    for rule in group.rules:  # type: ignore[attr-defined]
        assert rule.code[0] == group.letter  # type: ignore[attr-defined]
        assert rule.says.endswith(".")
        assert rule.why and rule.example and rule.remedy, rule.code
    codes = [rule.code for rule in group.rules]  # type: ignore[attr-defined]
    assert codes == sorted(set(codes))

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


@pytest.mark.parametrize(("code", "case"), FAULTS)
def test_what_is_planted_is_found(code: str, case: Case, tmp_path: Path) -> None:
    messages = found(case, code, tmp_path)
    assert messages
    assert any(case.says in message for message in messages), messages


@pytest.mark.parametrize(("code", "case"), NEAR)
def test_what_only_looks_like_it_is_left_alone(code: str, case: Case, tmp_path: Path) -> None:
    assert found(case, code, tmp_path) == []


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

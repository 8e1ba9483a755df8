"""Findings in the forms that machines read."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from medimg_cli.checks.checking import Checked
from medimg_cli.checks.forms import FORMS, line
from medimg_cli.checks.rule import Finding
from medimg_cli.checks.rules import RULES

SCHEMA = json.loads((Path(__file__).parents[2] / "medimg_cli" / "schemas" / "check-1.json").read_text(encoding="utf-8"))
EVIL = 'a,b:c%\x1b[2J\n"<&>\u202e\udc80'
FOUND = [
    Checked("good.nii.gz"),
    Checked(
        EVIL,
        (
            Finding("F002", RULES["F002"].name, "error", EVIL, f"3 bytes are missing {EVIL}"),
            Finding("V001", "nan", "warning", EVIL, "2 values are NaN", voxel=(1, 2, 3), world=(-0.5, 2.0, 1e-9)),
            Finding("H001", "forms-disagree", "info", EVIL, "5 mm", series=2, fixable=True),
            Finding("H001", "forms-disagree", "error", EVIL, "mended", fixable=True, fixed=True),
        ),
    ),
    Checked("gone.nii", message="gone.nii: no such file"),
    Checked("", (Finding("V001", "nan", "error", "good.nii.gz", "said by a rule over the set"),)),
]


def written(form: str, checked: list[Checked] = FOUND, error_on: str = "error") -> str:
    return "".join(FORMS[form].write(checked, error_on))  # type: ignore[arg-type]


@pytest.mark.parametrize("checked", [FOUND, [], FOUND[:1]], ids=["some", "nothing", "clean"])
def test_json_keeps_to_its_schema(checked: list[Checked]) -> None:
    records = json.loads(written("json", checked))
    jsonschema.validate(records, SCHEMA)
    assert records == [json.loads(each) for each in written("jsonl", checked).splitlines()]
    assert len(records) == sum(len(each.findings) + bool(each.message) for each in checked)


def test_the_schema_is_not_satisfied_by_anything() -> None:
    for record in ({"schema": "medimg.check/1", "path": "a"}, {"path": "a", "error": "x"}, {"code": "F001"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([record], SCHEMA)


def test_junit_fails_a_path_by_what_makes_the_exit_code_1() -> None:
    suite = ElementTree.fromstring(written("junit")).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "2",
        "errors": "1",
    }
    good, evil, gone = suite.findall("testcase")
    assert good.find("failure").get("message") == "V001 error: said by a rule over the set"  # type: ignore[union-attr]
    failure = evil.find("failure")
    assert failure is not None and failure.get("type") == "F002" and "V001" not in str(failure.text)
    rest = "".join(suite.itertext())
    assert "V001 warning" in rest and "H001 info" in rest
    assert gone.find("error") is not None
    strict = ElementTree.fromstring(written("junit", error_on="warning")).find("testsuite")
    assert "V001" in str(strict.findall("testcase")[1].findtext("failure"))  # type: ignore[union-attr]


def test_github_gets_one_line_a_finding_the_worst_first() -> None:
    lines = written("github").splitlines()
    assert [each.split(" ")[0] for each in lines] == ["::error", "::error", "::error", "::warning", "::notice"]
    head, _, data = lines[1].removeprefix("::error ").partition("::")
    assert head.startswith("file=a%2Cb%3Ac%25\\x1b[2J\\n") and head.count(",") == 1  # nothing of a name ends a part
    assert data.endswith(r"\u202e\udc80") and "\x1b" not in data


def test_sarif_points_from_each_result_to_its_rule() -> None:
    log = json.loads(written("sarif"))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["F002", "H001", "V001"]
    assert all(rules[each["ruleIndex"]]["id"] == each["ruleId"] for each in run["results"])
    assert [each["level"] for each in run["results"]] == ["error", "warning", "note", "error"]  # the mended one is gone
    assert run["results"][1]["properties"] == {"voxel": [1, 2, 3], "world_mm": [-0.5, 2.0, 1e-9]}
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.isascii() and " " not in uri and uri.endswith("%E2%80%AE%80")


def test_a_line_says_where() -> None:
    finding = Finding("V001", "nan", "warning", "a.nii", "2 values are NaN", voxel=(1, 2, 3), world=(-0.5, 2.0, 0.0))
    assert line(finding) == "a.nii: V001 warning: 2 values are NaN at voxel (1, 2, 3), -0.5, 2, 0 mm"
    assert line(finding._replace(fixed=True)).endswith("(mended)")
    assert line(finding._replace(path="https://user:secret@host/a.nii")).startswith("https://host/a.nii")

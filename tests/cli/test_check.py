"""``medimg check``: what it prints, where, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.checks.rules import RULES
from tests.helpers import AFFINES

from .conftest import ROOT, Run

SCHEMA = json.loads((ROOT / "medimg_cli" / "schemas" / "check-1.json").read_text(encoding="utf-8"))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a sound image, one with NaN (a warning) and one that is cut off (an error)."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(3)
    array = chance.normal(100, 9, (1, 9, 8, 7)).astype("float32")
    mi.ScalarImage(array, affine=AFFINES["left-handed"]).save("good.nii.gz")
    array[0, 3, 2, 1] = np.nan
    mi.ScalarImage(array, affine=AFFINES["left-handed"]).save("nan.nii.gz")
    Path("cut.nii.gz").write_bytes(Path("good.nii.gz").read_bytes()[:-40])
    return tmp_path


def test_exit_codes(medimg: Run, images: Path) -> None:
    assert medimg("check", "good.nii.gz").code == 0
    assert medimg("check", "nan.nii.gz").code == 0
    assert medimg("check", "--error-on", "warning", "nan.nii.gz").code == 1
    assert medimg("check", "cut.nii.gz").code == 1
    both = medimg("check", "cut.nii.gz", "gone.nii")
    assert both.code == 2 and "F" in both.out and "gone.nii: no such file" in both.err


def test_a_line_a_finding_on_stdout_and_a_summary_on_stderr(medimg: Run, images: Path) -> None:
    done = medimg("check", ".")
    assert [each.split(": ")[0] for each in done.out.splitlines() if " error: " in each] == ["./cut.nii.gz"]
    assert "3 images: 1 error" in done.err
    quiet = medimg("check", "--quiet", ".")
    assert quiet.out == done.out and quiet.err == ""
    clean = medimg("check", "--select", "F", "good.nii.gz")
    assert clean.out == "" and "1 image: nothing found" in clean.err


def test_json_keeps_to_its_schema(medimg: Run, images: Path) -> None:
    done = medimg("check", "--json", ".", "gone.nii")
    records = json.loads(done.out)
    jsonschema.validate(records, SCHEMA)
    assert any("error" in each for each in records) and any(each.get("severity") == "error" for each in records)


def test_findings_are_saved_beside_what_is_printed(medimg: Run, images: Path) -> None:
    first = medimg("check", "--format", "github", "--save", "a.sarif", "--save", "a.xml", "--save", "a.txt", ".")
    assert first.code == 1 and first.out.startswith("::error ")
    assert json.loads(Path("a.sarif").read_text())["runs"][0]["results"]
    assert "<failure" in Path("a.xml").read_text() and "cut.nii.gz: F" in Path("a.txt").read_text()
    assert medimg("check", "--save", "a.sarif", "good.nii.gz").code == 0  # its own kind may be replaced
    assert json.loads(Path("a.sarif").read_text())["runs"][0]["results"] == []
    for name in ("a.sarif", "a.xml", "a.txt", "a.json", "a.jsonl"):
        assert [medimg("check", "--save", name, where).code for where in (".", ".", "good.nii.gz", ".")] == [1, 1, 0, 1]


def test_nothing_else_is_replaced_by_findings(medimg: Run, images: Path) -> None:
    Path("sidecar.json").write_text('{"RepetitionTime": 2}')
    done = medimg("check", "--save", "sidecar.json", ".")
    assert done.code == 2 and "something else" in done.err and done.out == ""
    assert Path("sidecar.json").read_text() == '{"RepetitionTime": 2}'
    for name, text in {
        "facts.json": medimg("info", "--json", "good.nii.gz").out,
        "known.json": '{\n  "schema": "medimg.baseline/1",\n  "findings": []\n}\n',
        "other.xml": "<project><name>medimg</name></project>",
        "other.sarif": '{"version": "2.1.0", "about": "medimg"}',
        "notes.txt": "what medimg check said",
    }.items():
        Path(name).write_text(text)
        assert medimg("check", "--save", name, "good.nii.gz").code == 2
        assert Path(name).read_text() == text
    assert medimg("check", "--save", "a.pdf", ".").code == 2
    unwritable = medimg("check", "--save", "no/such/folder/a.json", ".")
    assert unwritable.code == 2 and unwritable.err.count("\n") == 1 and unwritable.out == "", "before anything is read"


def test_statistics_count_by_rule(medimg: Run, images: Path) -> None:
    done = medimg("check", "--statistics", "--select", "F,V001", ".")
    head, *rows = done.out.splitlines()
    assert head.split() == ["FINDINGS", "FILES", "CODE", "SEVERITY", "RULE"]
    assert sorted(row.split()[2] for row in rows)[-1] == "V001" and len(rows) == 2
    counted = json.loads(medimg("check", "--statistics", "--json", "--select", "V001", ".").out)
    assert counted == [{"code": "V001", "severity": "warning", "rule": "nan", "findings": 1, "files": 1}]
    assert medimg("check", "--statistics", "--format", "sarif", ".").code == 2


def test_a_pattern_that_matches_no_image_is_told(medimg: Run, images: Path) -> None:
    done = medimg("check", "--pair", "image/*.nii.gz", "labels/{name}", ".")
    assert "no image matches 'image/*.nii.gz'" in done.err
    assert "no image matches" not in medimg("check", "--pair", "*.nii.gz", "labels/{name}", ".").err
    assert "no image matches" not in medimg("check", "--pair", "image/*.nii.gz", "labels/{name}", "good.nii.gz").err


def test_a_rule_is_explained(medimg: Run) -> None:
    done = medimg("check", "--explain", "H001")
    assert done.code == 0 and done.out.startswith("H001 forms-disagree (") and "Remedy" in done.out
    assert medimg("check", "--explain", "forms-disagree").out == done.out
    assert len(medimg("check", "--explain", "all").out.splitlines()) == len(RULES) + 1
    assert [each["code"] for each in json.loads(medimg("check", "--explain", "H001", "--json").out)] == ["H001"]
    wrong = medimg("check", "--explain", "H9999")
    assert wrong.code == 2 and wrong.err.count("\n") == 1


def test_more_paths_come_from_a_file(medimg: Run, images: Path) -> None:
    Path("list.txt").write_text("cut.nii.gz\ngood.nii.gz\n")
    done = medimg("check", "--files-from", "list.txt")
    assert done.code == 1 and "2 images" in done.err


def test_an_image_from_standard_input(images: Path, program: Run) -> None:
    done = program("check", "-", stdin=Path("cut.nii.gz").read_bytes())
    assert done.code == 1 and done.out.startswith("-: F")


@pytest.mark.parametrize(
    "words", [(), ("--jobs", "-1", "."), ("--select", "nonsense", "."), ("--pair", "a", "."), ("--format", "xml", ".")]
)
def test_wrong_usage_is_one_line(medimg: Run, images: Path, words: tuple[str, ...]) -> None:
    done = medimg("check", *words)
    assert done.code == 2 and done.out == "" and done.err.count("\n") == 1, done.err


def test_a_baseline_hides_what_it_knows(medimg: Run, images: Path) -> None:
    made = medimg("check", "--baseline", "known.json", "--update-baseline", ".")
    assert made.code == 0 and Path("known.json").exists()
    again = medimg("check", "--baseline", "known.json", ".")
    assert again.code == 0 and again.out == "" and "nothing new; " in again.err and " known" in again.err
    Path("new.nii.gz").write_bytes(Path("cut.nii.gz").read_bytes())
    worse = medimg("check", "--baseline", "known.json", ".")
    assert worse.code == 1 and {line.split(":")[0] for line in worse.out.splitlines()} <= {"./new.nii.gz", "new.nii.gz"}


def test_headers_are_mended(medimg: Run, images: Path) -> None:
    mi.ScalarImage(np.ones((1, 4, 3, 2), "int16") * 5, affine=AFFINES["left-handed"]).save("odd.nii")
    content = bytearray(Path("odd.nii").read_bytes())
    content[72:74] = (32).to_bytes(2, "little")  # bitpix of a 16-bit type
    Path("odd.nii").write_bytes(content)
    found = medimg("check", "--select", "H", "--baseline", "known.json", "--update-baseline", "odd.nii")
    assert found.out == "" and "--fix" not in found.err
    found = medimg("check", "--select", "H", "odd.nii")
    assert "--fix" in found.err
    done = medimg("check", "--select", "H", "--baseline", "known.json", "--fix", "odd.nii")  # told, though it is known
    assert "(mended)" in done.out and "1 mended" in done.err
    content[72:74] = (16).to_bytes(2, "little")
    assert Path("odd.nii").read_bytes() == content
    assert "(mended)" not in medimg("check", "--select", "H", "--fix", "odd.nii").out

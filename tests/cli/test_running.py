"""What a command that writes says about its batch, and the code it ends with."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Run


def _write(**content: str) -> None:
    for name, text in content.items():
        Path(name).write_text(text)


def test_a_good_task_is_silent(toy: Run) -> None:
    _write(a="good")
    result = toy("copy", "a", "b")
    assert (result.code, result.out, result.err) == (0, "", "")
    assert Path("b").read_text() == "good"


def test_an_existing_output_is_refused_and_kept(toy: Run) -> None:
    _write(a="new", b="old")
    result = toy("copy", "a", "b")
    assert (result.code, result.err) == (2, "medimg: b: exists; use --force to replace it\n")
    assert Path("b").read_text() == "old"
    assert toy("copy", "a", "b", "--force").code == 0
    assert Path("b").read_text() == "new"


def test_failures_have_a_line_each_and_the_count_comes_last(toy: Run) -> None:
    _write(a="good", b="bad", c="bug", d="lossy")
    result = toy("copy", "a", "b", "c", "d", "--output-dir", "out")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        "medimg: b: is bad; mend it",
        "medimg: c: a bug in medimg: ZeroDivisionError: division by zero; run with --debug and report it",
        "medimg: d: looks odd",
        "medimg: out/d: not kept: description",
        "medimg: 2 done, 2 failed",
    ]
    assert toy("copy", "a", "d", "--output-dir", "out", "-f", "--quiet").err == ""


def test_verbose_tells_of_success_and_notes(toy: Run) -> None:
    _write(a="lossy")
    err = toy("copy", "a", "b", "--verbose").err
    assert "medimg: b: a detail" in err and "medimg: a -> b (0.0" in err


def test_debug_shows_the_traceback_of_a_task(toy: Run) -> None:
    _write(a="bug")
    for jobs in ("1", "2"):
        result = toy("copy", "a", "a", "b", "--debug", "--jobs", jobs)
        assert result.code == 2
    assert "ZeroDivisionError" in toy("copy", "a", "b", "--debug").err
    assert "Traceback" not in toy("copy", "a", "b").err


def test_dry_run_prints_the_plan_and_writes_nothing(toy: Run) -> None:
    _write(a="good", b="good")
    result = toy("copy", "a", "b", "--output-dir", "out", "--suffix", ".nii", "--dry-run")
    assert (result.code, result.out) == (0, "a -> out/a.nii\nb -> out/b.nii\n")
    missing = toy("copy", "a", "z", "--output-dir", "out", "--dry-run")
    assert (missing.code, missing.out) == (2, "a -> out/a\n") and "medimg: z: no such file\n" in missing.err
    assert not Path("out").exists()


def test_report_lists_every_task(toy: Run) -> None:
    _write(a="good", b="bad", c="lossy")
    result = toy("copy", "a", "b", "c", "--output-dir", "out", "--report", "log.jsonl")
    lines = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert result.code == 2
    assert [(line["input"], line["status"]) for line in lines] == [("a", "done"), ("b", "failed"), ("c", "done")]
    assert lines[2]["losses"] == [{"field": "description", "note": "description: x -> none"}]
    again = toy("copy", "a", "c", "--output-dir", "out", "--skip-existing", "--report", "-")
    assert [json.loads(line)["status"] for line in again.out.splitlines()] == ["skipped", "skipped"]


def test_jobs_do_the_same(toy: Run) -> None:
    _write(a="good", b="bad", c="lossy", d="good")
    result = toy("copy", "a", "b", "c", "d", "--output-dir", "out", "--jobs", "2")
    assert result.code == 2
    assert result.err.endswith("medimg: 3 done, 1 failed\n")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a", "c", "d"]


def test_a_name_from_a_file_is_never_echoed_raw(toy: Run) -> None:
    name = "a\x1b[31m\nb"
    Path(name).write_text("bad")
    result = toy("copy", name, "out")
    assert result.err == "medimg: a\\x1b[31m\\nb: is bad; mend it\n"
    assert toy("copy", name, "out", "--dry-run").out == "a\\x1b[31m\\nb -> out\n"

"""Which input becomes which output, and running that so that one bad input never stops the others."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medimg_cli.batch import (
    BatchOptions,
    Outcome,
    Report,
    ReportFile,
    Task,
    Work,
    describe,
    run_tasks,
    split_paths,
)
from medimg_cli.errors import FormatError, StorageError, UsageError
from medimg_cli.planning import plan_outputs

WORKERS = """
import os
import signal
import time

from medimg_cli.batch import Report
from medimg_cli.errors import FormatError


def behave(task, parameters, *, threads):
    with open(task.input + ".tries", "a") as tries:
        tries.write(f"{os.getpid()}\\n")
    if "bad" in task.input:
        raise FormatError("is bad")
    if "bug" in task.input:
        return {}["key"]
    if "kill" in task.input:
        os.kill(os.getpid(), signal.SIGKILL)
    if "first" in task.input and parameters and not os.path.exists(parameters):
        open(parameters, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    with open(task.output, "w") as file:
        file.write(str(threads))
    return Report(warnings=("odd",))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def work(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Work that does what the name of its input asks for; workers can import it."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "worker_for_tests.py").write_text(WORKERS)
    monkeypatch.syspath_prepend(str(code))
    return Work("worker_for_tests:behave")


def _touch(*names: str, time: float | None = None) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        if time is not None:
            os.utime(path, (time, time))


def _outputs(inputs: list[str], **options: Any) -> list[str]:
    return [task.output for task in plan_outputs(inputs, None, BatchOptions(output_dir="out", **options))]


# -- splitting a command line ---------------------------------------------------------------------------------------


def test_last_path_is_the_output_unless_there_is_a_folder_for_outputs() -> None:
    assert split_paths(["a", "b"], BatchOptions()) == (["a"], "b")
    assert split_paths(["a", "b"], BatchOptions(output_dir="out")) == (["a", "b"], None)


@pytest.mark.parametrize(
    ("paths", "options", "said"),
    [
        ([], {}, "no input and no output"),
        (["a"], {}, "missing beside a"),
        (["a", "b", "c"], {}, r"2 inputs \(a, b\) for one output c; give --output-dir DIR"),
        ([], {"output_dir": "out"}, "no inputs"),
    ],
)
def test_what_is_missing_is_said(paths: list[str], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        split_paths(paths, BatchOptions(**options))


@pytest.mark.parametrize("content", [b"b.nii\nsp ace.nii\n\nd\xff.nii", b"b.nii\0sp ace.nii\0d\xff.nii\0"])
def test_more_inputs_come_from_a_file_or_stdin(here: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    expected = ["a.nii", "b.nii", "sp ace.nii", os.fsdecode(b"d\xff.nii")]
    (here / "list").write_bytes(content)
    assert split_paths(["a.nii"], BatchOptions(output_dir="out", files_from="list"))[0] == expected
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert split_paths(["a.nii"], BatchOptions(output_dir="out", files_from="-"))[0] == expected


def test_one_listed_input_may_have_one_output(here: Path) -> None:
    (here / "list").write_text("in.nii\n")
    assert split_paths(["out.nii"], BatchOptions(files_from="list")) == (["in.nii"], "out.nii")


# -- pairing --------------------------------------------------------------------------------------------------------


def test_one_input_has_the_output_that_was_named(here: Path) -> None:
    assert plan_outputs(["a.nii"], "b.mha", BatchOptions()) == [Task("a.nii", "b.mha")]
    assert plan_outputs(["-"], "-", BatchOptions(suffix=".nrrd")) == [Task("-", "-", suffix=".nrrd")]


def test_tree_below_the_common_root_is_kept(here: Path) -> None:
    assert _outputs(["a/x.nii"]) == ["out/x.nii"]
    assert _outputs(["a/x.nii", "a/y.nii"]) == ["out/x.nii", "out/y.nii"]
    assert _outputs(["s/1/t1.nii", "s/2/t1.nii"]) == ["out/1/t1.nii", "out/2/t1.nii"]
    assert _outputs(["s/1/t1.nii", "./s/t2.nii"]) == ["out/1/t1.nii", "out/t2.nii"]
    assert _outputs([str(here / "s/1/t1.nii"), "s/2/../2/t1.nii"]) == ["out/1/t1.nii", "out/2/t1.nii"]
    assert _outputs(["../x.nii", "s/t.nii"]) == ["out/x.nii", "out/here/s/t.nii"]
    assert _outputs(["https://host/a/x.nii"]) == ["out/x.nii"]


def test_suffix_takes_the_place_of_an_images_suffix(here: Path) -> None:
    names = ["a.nii.gz", "b.v2.NII", "c.mgz", "d.seg.nrrd", "IM0001", "series.1/", "e.xyz"]
    assert _outputs(names, suffix=".mha") == [
        *("out/a.mha", "out/b.v2.mha", "out/c.mha", "out/d.seg.mha", "out/IM0001.mha", "out/series.1.mha"),
        "out/e.xyz.mha",
    ]
    assert _outputs(["a.nii"], suffix="_ras.nii.gz") == ["out/a_ras.nii.gz"]


def test_two_inputs_for_one_output_are_refused(here: Path) -> None:
    with pytest.raises(UsageError, match=r"out/a\.mha: a\.nii and a\.nrrd would both be written"):
        _outputs(["a.nii", "a.nrrd"], suffix=".mha")
    with pytest.raises(UsageError, match="would both"):
        _outputs(["x/a.nii", "x/../x/a.nii"])


def test_an_output_that_is_another_tasks_input_is_refused(here: Path) -> None:
    with pytest.raises(UsageError, match=r"output of x/a\.nii is an input as well"):
        plan_outputs(["x/a.nii", "x/a_r.nii"], None, BatchOptions(output_dir="x", suffix="_r.nii", force=True))


def test_an_output_may_be_its_own_input_with_force(here: Path) -> None:
    _touch("x/a.nii")
    (task,) = plan_outputs(["x/a.nii"], None, BatchOptions(output_dir="x"))
    assert task.refusal == "exists; use --force to replace it"
    (task,) = plan_outputs(["x/a.nii"], None, BatchOptions(output_dir="x", force=True))
    assert task.refusal is None and task.force


@pytest.mark.parametrize(
    ("inputs", "output", "options", "said"),
    [
        (["-"], None, {"output_dir": "out"}, "standard input cannot go to --output-dir"),
        (["a"], "b.nii", {"suffix": ".nrrd"}, "--suffix is for --output-dir"),
        (["a", "b"], "c", {}, "2 inputs and no output"),
    ],
)
def test_plans_that_make_no_sense_are_refused(inputs: Any, output: Any, options: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_outputs(inputs, output, BatchOptions(**options))


def test_existing_outputs_are_refused_replaced_or_left(here: Path) -> None:
    _touch("in.nii", time=1000)
    _touch("out.nii", time=2000)
    _touch("old.nii", time=500)
    (here / "folder").mkdir()

    def task(output: str, **options: Any) -> Task:
        return plan_outputs(["in.nii"], output, BatchOptions(**options))[0]

    assert task("out.nii").refusal == "exists; use --force to replace it"
    assert task("out.nii", force=True).force
    assert task("out.nii", skip_existing=True).skip == "exists"
    assert task("new.nii", skip_existing=True).skip is None
    assert task("out.nii", if_newer=True).skip == "up to date"
    assert task("old.nii", if_newer=True).skip is None and task("old.nii", if_newer=True).force
    assert task("new.nii", if_newer=True).skip is None
    assert "is a folder" in str(task("folder", force=True).refusal)
    os.symlink("nowhere", "dangling.nii")
    assert task("dangling.nii").refusal is not None


def test_newest_file_of_a_folder_counts(here: Path) -> None:
    _touch("dicom/1", "dicom/2", time=1000)
    os.utime("dicom", (1000, 1000))
    _touch("out.nii", time=2000)
    assert plan_outputs(["dicom"], "out.nii", BatchOptions(if_newer=True))[0].skip == "up to date"
    os.utime("dicom/2", (3000, 3000))
    assert plan_outputs(["dicom"], "out.nii", BatchOptions(if_newer=True))[0].skip is None


# -- running --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bad_input_never_stops_the_others(work: Work, jobs: int) -> None:
    names = ["a", "bad", "b", "bug", "c"]
    _touch(*names)
    options = BatchOptions(output_dir="out/deep", jobs=jobs)
    outcomes = {o.task.input: o for o in run_tasks(plan_outputs(names, None, options), work, options)}
    assert {name: o.status for name, o in outcomes.items()} == {
        "a": "done", "bad": "failed", "b": "done", "bug": "failed", "c": "done",
    }  # fmt: skip
    assert outcomes["bad"].error == "bad: is bad"
    assert outcomes["bug"].error == "bug: a bug in medimg: KeyError: 'key'; run with --debug and report it"
    assert "KeyError" in outcomes["bug"].trace
    assert outcomes["a"].report.warnings == ("odd",) and outcomes["a"].seconds > 0
    assert sorted(os.listdir("out/deep")) == ["a", "b", "c"]


def test_cores_are_shared_among_jobs(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medimg_cli.batch.cores", lambda: 8)
    _touch("a", "b", "c")
    for jobs, threads in ((1, "8"), (2, "4"), (3, "2"), (0, "2")):
        options = BatchOptions(output_dir=f"out{jobs}", jobs=jobs)
        list(run_tasks(plan_outputs(["a", "b", "c"], None, options), work, options))
        assert Path(f"out{jobs}/a").read_text() == threads


def test_one_task_stays_in_this_process(work: Work) -> None:
    _touch("a")
    options = BatchOptions(output_dir="out", jobs=4)
    list(run_tasks(plan_outputs(["a"], None, options), work, options))
    assert Path("a.tries").read_text() == f"{os.getpid()}\n"


def test_a_killed_worker_loses_its_task_only(work: Work) -> None:
    names = ["a", "kill", "b", "c", "d", "e"]
    _touch(*names)
    options = BatchOptions(output_dir="out", jobs=2)
    outcomes = {o.task.input: o for o in run_tasks(plan_outputs(names, None, options), work, options)}
    assert [name for name, o in outcomes.items() if o.status == "failed"] == ["kill"]
    assert "was killed" in str(outcomes["kill"].error)
    assert len(Path("kill.tries").read_text().splitlines()) == 2, "it was tried again, alone"
    assert sorted(os.listdir("out")) == ["a", "b", "c", "d", "e"]


def test_a_worker_killed_once_costs_nothing(work: Work, here: Path) -> None:
    names = ["first", "b", "c"]
    _touch(*names)
    options = BatchOptions(output_dir="out", jobs=2)
    again = Work(work.function, str(here / "was-killed"))
    assert {o.status for o in run_tasks(plan_outputs(names, None, options), again, options)} == {"done"}


def test_skips_refusals_and_plans_do_no_work(work: Work) -> None:
    _touch("a", "b", "out/a")
    plan = plan_outputs(["a", "b"], None, BatchOptions(output_dir="out"))
    statuses = [o.status for o in run_tasks(plan, work, BatchOptions(dry_run=True))]
    assert statuses == ["failed", "planned"]
    plan = plan_outputs(["a"], None, BatchOptions(output_dir="out", skip_existing=True))
    assert [o.status for o in run_tasks(plan, work, BatchOptions())] == ["skipped"]
    assert not Path("a.tries").exists() and not Path("b.tries").exists()


def test_tasks_and_work_pickle() -> None:
    for value in (Task("a", "b"), Work("module:function", 3), Outcome(Task("a", "b"), "done"), BatchOptions(jobs=2)):
        assert pickle.loads(pickle.dumps(value)) == value


# -- telling --------------------------------------------------------------------------------------------------------


def test_report_has_one_json_line_per_outcome(here: Path) -> None:
    tasks = [Task("a", "b")]
    loss = SimpleNamespace(field="intent", note="intent: label -> none")
    outcome = Outcome(tasks[0], "done", 0.12345678, report=Report(losses=(loss,), warnings=("odd",)))  # type: ignore[arg-type]
    with ReportFile("log.jsonl", tasks) as report:
        report.add(outcome)
        assert len(Path("log.jsonl").read_text().splitlines()) == 1, "written as it comes"
        report.add(Outcome(tasks[0], "failed", error="a: is bad"))
    first, second = map(json.loads, Path("log.jsonl").read_text().splitlines())
    assert first == {
        "input": "a", "inputs": ["a"], "output": "b", "outputs": ["b"], "status": "done", "seconds": 0.1235, "error": None, "skipped": None,
        "losses": [{"field": "intent", "note": "intent: label -> none"}], "warnings": ["odd"], "remarks": [],
    }  # fmt: skip
    assert second["error"] == "a: is bad"


def test_a_report_never_takes_the_name_of_an_image(here: Path) -> None:
    with pytest.raises(UsageError, match="would replace an image"):
        ReportFile("x.jsonl", [Task("a", "./x.jsonl")])
    os.symlink("scan.nii", "y.jsonl")
    with pytest.raises(UsageError, match="would replace an image"):
        ReportFile("y.jsonl", [Task("scan.nii", "b")])
    with pytest.raises(UsageError, match="standard output"):
        ReportFile("-", [Task("a", "-")])


@pytest.mark.parametrize(
    ("error", "message", "bug"),
    [
        (FormatError("is odd"), "a.nii: is odd", False),
        (FormatError("is odd", path="b.nii", hint="mend it"), "b.nii: is odd; mend it", False),
        (StorageError("is full"), "a.nii: is full", False),
        (OSError(errno.ENOSPC, "No space left on device", "c.nii"), "c.nii: no space left on device", False),
        (OSError(errno.ENOSPC, "No space left on device"), "a.nii: no space left on device", False),
        (OSError("odd"), "a.nii: odd", False),
        (MemoryError(), "a.nii: not enough memory; use a smaller region, or fewer --jobs", False),
        (KeyError("x"), "a.nii: a bug in medimg: KeyError: 'x'; run with --debug and report it", True),
        (AssertionError(), "a.nii: a bug in medimg: AssertionError; run with --debug and report it", True),
    ],
)
def test_every_exception_becomes_one_line(error: Exception, message: str, bug: bool) -> None:
    assert describe(error, "a.nii") == (message, bug)

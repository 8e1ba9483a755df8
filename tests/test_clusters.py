"""``--scheduler``: the same tasks on a Dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medimg_cli.batch import ClusterOptions, Task, Work, run_tasks
from medimg_cli.errors import UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.pipeline import Pipeline
from tests.cli.conftest import Run, medimg  # noqa: F401 - a fixture
from tests.helpers import make, read, unlike

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

COPY = Work("medimg_cli.pipeline:process", Pipeline())


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Run a cluster of two processes and return the address of its scheduler."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address


def test_tasks_run_elsewhere(scheduler: str, tmp_path: Path, medimg: Run) -> None:  # noqa: F811
    for n in range(5):
        save_backend(make("scaled", seed=n), str(tmp_path / f"{n}.nii.gz"))
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    inputs = [str(path) for path in sorted(tmp_path.glob("*.nii.gz"))]
    words = ["--output-dir", str(tmp_path / "out"), "--suffix", ".nrrd", "--report", str(tmp_path / "r.jsonl")]
    done = medimg("convert", *inputs, *words, "--scheduler", scheduler)
    assert done.code == 2 and "bad.nii.gz: " in done.err and "5 done, 1 failed" in done.err
    for n in range(5):
        found = read(open_backend(tmp_path / "out" / f"{n}.nrrd"))
        assert unlike(found, read(make("scaled", seed=n))) is None
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert sorted(line["input"] for line in lines) == inputs


def test_relative_paths(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the workers are elsewhere
    save_backend(make(), "a.nii")
    (outcome,) = run_tasks([Task("a.nii", "b.nii")], COPY, ClusterOptions(scheduler=scheduler))
    assert outcome.status == "done" and outcome.task.output == "b.nii" and Path("b.nii").exists()


def test_who_stops_listening_cancels_the_rest(scheduler: str, tmp_path: Path) -> None:
    save_backend(make(), str(tmp_path / "a.nii"))
    tasks = [Task(str(tmp_path / "a.nii"), str(tmp_path / f"o{n}.nii")) for n in range(300)]
    running = run_tasks(tasks, COPY, ClusterOptions(scheduler=scheduler))
    assert next(running).status == "done"
    running.close()
    assert len(list(tmp_path.glob("o*.nii"))) < 300


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medimg_cli.batch._PATIENCE", 0.5)
    options: Any = ClusterOptions(scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"^--scheduler tcp://127\.0\.0\.1:1 does not answer .*; is it running\?$"):
        list(run_tasks([Task("a.nii", "b.nii")], COPY, options))
    with pytest.raises(UsageError, match="do not reach a cluster"):
        list(run_tasks([Task("-", "b.nii")], COPY, options))

"""How tests run the command line: in this process, or as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from medimg_cli.cli import app

ROOT = Path(__file__).resolve().parents[2]

TOY = '''
"""A command that copies files, and misbehaves as their content asks."""

import os
import signal
import time

from medimg_cli.batch import BatchOptions, Report, Work
from medimg_cli.cli.options import InOut, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.errors import FormatError
from medimg_cli.header import Difference


@with_options
def copy(paths: InOut = None, *, batch: BatchOptions, console: Console) -> int:
    """Copy files."""
    return run_batch(paths, Work("toy:copy_one", "parameter"), batch=batch, console=console)


def copy_one(task, parameters, *, threads):
    assert parameters == "parameter" and threads >= 1
    with open(task.input, "rb") as file:
        content = file.read()
    if content == b"bad":
        raise FormatError("is bad", path=task.input, hint="mend it")
    if content == b"bug":
        raise ZeroDivisionError("division by zero")
    if content == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if content == b"sleep":
        try:
            open(task.input + ".started", "w").close()
            time.sleep(60)
        finally:
            open(task.input + ".cleaned", "w").close()
    if content == b"pipe":
        raise BrokenPipeError
    with open(task.output, "wb" if task.force else "xb") as file:
        file.write(content)
    if content == b"lossy":
        loss = Difference("description", "x", "", "description: x -> none")
        return Report(losses=(loss,), warnings=("looks odd",), notes=("a detail",))
    return None


def flood(*, lines: int = 100_000):
    """Print many lines."""
    for number in range(lines):
        print(number)
'''

RUNNER = """
import sys
from medimg_cli.cli import app
app.COMMANDS += (app.Command("copy", "toy:copy", "Copy."), app.Command("flood", "toy:flood", "Flood."))
if __name__ == "__main__":
    sys.exit(app.main())
"""


@dataclass(frozen=True)
class Result:
    """How a run of the command line ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def medimg(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = app.main([str(word) for word in words])
        return Result(code, *capsys.readouterr())

    return run


def environment(**changes: str) -> dict[str, str]:
    """Return an environment without colour in which this checkout is what runs."""
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "NO_COLOR", "PYTHONUNBUFFERED")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


@pytest.fixture
def program() -> Run:
    """Run ``python -m medimg_cli`` as a program of its own."""

    def run(*words: object, stdin: bytes = b"", **changes: str) -> Result:
        command = [sys.executable, "-m", "medimg_cli", *map(str, words)]
        settings = {"input": stdin, "capture_output": True, "env": environment(**changes), "timeout": 120}
        done = subprocess.run(command, check=False, **settings)  # type: ignore[call-overload]
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> Run:
    """Run the command line with one command more: ``copy``, in an empty folder that becomes the current one."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "toy.py").write_text(TOY)
    (code / "runner.py").write_text(RUNNER)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setattr(app, "COMMANDS", (*app.COMMANDS, app.Command("copy", "toy:copy", "Copy.")))
    return medimg


@pytest.fixture
def toy_process(toy: Run, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the command line with the toy command as a program of its own."""

    def start(*words: str, **options: object) -> subprocess.Popen[bytes]:
        search = os.pathsep.join([str(ROOT), str(tmp_path / "code")])
        command = [sys.executable, str(tmp_path / "code" / "runner.py"), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings = {**pipes, "env": environment(PYTHONPATH=search), **options}
        return subprocess.Popen(command, **settings)  # type: ignore[call-overload,no-any-return]

    return start

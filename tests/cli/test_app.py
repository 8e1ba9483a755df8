"""The frame: table of commands, help, global options, the error boundary, signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import medimg_cli
from medimg_cli.cli import app
from medimg_cli.errors import FormatError

from .conftest import ROOT, Run, environment

Start = Callable[..., "subprocess.Popen[bytes]"]


def test_version_is_the_packages(medimg: Run) -> None:
    assert medimg("--version").out == f"medimg {medimg_cli.__version__}\n"


def test_help_lists_every_command_with_its_line(medimg: Run) -> None:
    result = medimg("--help")
    assert result.code == 0
    for row in app.COMMANDS:
        assert f"  {row.name} " in result.out
    assert medimg("-h").out == result.out


def test_without_words_help_goes_to_stderr(medimg: Run) -> None:
    result = medimg()
    assert (result.code, result.out) == (2, "")
    assert "Commands:" in result.err


@pytest.mark.parametrize("row", app.COMMANDS, ids=lambda row: row.name)
def test_each_command_has_help_with_examples_and_general_options(medimg: Run, row: app.Command) -> None:
    result = medimg(row.name, "--help")
    assert result.code == 0
    assert re.search(rf"^      medimg .*{row.name}", result.out, re.MULTILINE), "an example on a line of its own"
    for option in ("--verbose", "--quiet", "--debug", "--color"):
        assert option in result.out
    assert row.help.endswith(".") and len(row.help) < 80
    assert max(map(len, result.out.splitlines())) <= 80


def test_help_imports_no_command_module(program: Run) -> None:
    code = (
        "import sys; from medimg_cli.cli.app import main; main(['--help']);"
        "print([m for m in sys.modules if m.startswith('medimg_cli.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment(), text=True, check=True)
    modules = done.stderr
    assert "medimg_cli.cli.app" in modules
    for row in app.COMMANDS:
        assert row.target.partition(":")[0] not in modules


def test_python_m_is_the_same_program(program: Run) -> None:
    result = program("--version")
    assert (result.code, result.out, result.err) == (0, f"medimg {medimg_cli.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exmple"], "no such command 'exmple'; did you mean 'example'?"),
        (["zzz"], "no such command 'zzz'; see 'medimg --help'"),
        (["--nonsense"], "no such option"),
        (["example", "--nonsense"], "example: no such option --nonsense; see 'medimg example --help'"),
        (["convert", "--forse"], "convert: no such option --forse; did you mean --force?; see"),
        (["info", "--csv", "x"], "info: no such option --csv; see"),
        (["example", "more"], "example: got unexpected extra argument"),
        (["info"], "info: missing argument 'PATH...'; see 'medimg info --help'"),
        (["info", "--format", "xml", "a.nii"], "'xml' is not one of 'table', 'json', 'jsonl', 'csv'"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(medimg: Run, words: list[str], said: str) -> None:
    result = medimg(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("medimg: ") and said in result.err
    assert result.err.count("\n") == 1


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(words: list[str]) -> int:
        raise error

    monkeypatch.setattr(app, "_run", fail)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (FormatError("is odd", path="a.nii", hint="mend it"), 2, "medimg: a.nii: is odd; mend it\n"),
        (PermissionError(13, "Permission denied", "a.nii"), 2, "medimg: a.nii: permission denied\n"),
        (MemoryError(), 2, "medimg: not enough memory; use a smaller region, or fewer --jobs\n"),
        (FormatError("says \x1b[31m\nhello", path="a\x07.nii"), 2, "medimg: a\\x07.nii: says \\x1b[31m\\nhello\n"),
        (KeyError("x"), 2, "medimg: a bug in medimg: KeyError: 'x'; run with --debug and report it\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(143), 143, ""),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_every_error_has_one_line_and_its_code(
    medimg: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    _raising(monkeypatch, error)
    result = medimg("info")
    assert (result.code, result.out, result.err) == (code, "", said)


def test_debug_shows_the_traceback_before_the_line(medimg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raising(monkeypatch, KeyError("x"))
    result = medimg("info", "--debug")
    assert result.err.startswith("Traceback (most recent call last):")
    assert result.err.splitlines()[-1].startswith("medimg: a bug in medimg")


def test_colour_of_messages_follows_options_and_environment(program: Run) -> None:
    red = "\x1b[1;31mmedimg:\x1b[0m"
    assert program("zzz").err.startswith("medimg:")
    assert program("zzz", FORCE_COLOR="1").err.startswith(red)
    assert program("zzz", FORCE_COLOR="1", NO_COLOR="1").err.startswith("medimg:")
    assert program("--color", "always", "zzz", NO_COLOR="1").err.startswith(red)
    assert program("info", "/nonexistent.nii", "--color=always").err.startswith(red)
    assert program("--color", "never", "zzz", FORCE_COLOR="1").err.startswith("medimg:")


def test_global_options_work_before_and_after_the_command(toy: Run) -> None:
    Path("a").write_text("lossy")
    assert toy("copy", "a", "b").err == "medimg: a: looks odd\nmedimg: b: not kept: description: x -> none\n"
    assert toy("--quiet", "copy", "-f", "a", "b").err == ""
    assert toy("copy", "-f", "a", "b", "--quiet").err == ""
    for words in (["-v", "copy", "-f", "a", "b"], ["copy", "-f", "a", "b", "-v"]):
        assert "a -> b" in toy(*words).err


def test_a_closed_pipe_ends_quietly(toy_process: Start) -> None:
    process = toy_process("flood")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0


def test_a_closed_pipe_at_the_very_end_is_quiet_too(toy_process: Start) -> None:
    process = toy_process("flood", "--lines", "10")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(30) == 0


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("formats >&-", 2, "medimg: bad file descriptor\n"),
        ("info - <&-", 2, "medimg: <stdin>: the file is empty\n"),
        ("info nope.nii 2>&-", 2, ""),
        ("info nope.nii 2>/dev/full", 2, ""),
    ],
)
def test_streams_that_the_caller_closed(command: str, code: int, said: str) -> None:
    line = f"exec {sys.executable} -m medimg_cli {command}"
    done = subprocess.run(
        ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, env=environment(), text=True
    )
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("lines", ["10", "100000"])
def test_a_full_disk_behind_stdout_is_an_error(toy_process: Start, lines: str) -> None:
    with open("/dev/full", "wb") as full:
        process = toy_process("flood", "--lines", lines, stdout=full)
    assert process.stderr is not None
    assert process.stderr.read() == b"medimg: no space left on device\n"
    assert process.wait(30) == 2


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_signals_clean_up_and_leave_their_code(toy_process: Start, sent: signal.Signals, code: int, jobs: str) -> None:
    for name in ("a", "b", "c", "d"):
        Path(name).write_text("sleep")
    process = toy_process("copy", "a", "b", "c", "d", "--output-dir", "out", "--jobs", jobs, start_new_session=True)
    _wait_for(lambda: len(list(Path().glob("*.started"))) == int(jobs))
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal does: to the workers as well
    else:
        process.send_signal(sent)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, b"", b"")
    started = {path.stem for path in Path().glob("*.started")}
    assert {path.stem for path in Path().glob("*.cleaned")} == started, "every task that began cleaned up"
    assert len(started) == int(jobs)


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "took too long"
        time.sleep(0.02)


def test_main_leaves_signal_handlers_as_they_were(medimg: Run) -> None:
    before = signal.getsignal(signal.SIGTERM)
    medimg("--version")
    assert signal.getsignal(signal.SIGTERM) is before


def test_nothing_is_imported_from_click() -> None:
    for path in (ROOT / "medimg_cli").rglob("*.py"):
        assert "import click" not in path.read_text() and "from click" not in path.read_text(), path

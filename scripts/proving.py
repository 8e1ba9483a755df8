"""Run programs the way users do, and measure what they cost.

A program is run in its own session with a time limit; what comes back is its exit code, both streams, the
seconds it took and the largest resident memory of it and its children. Nothing here knows about images.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEDIMG = (sys.executable, "-m", "medimg_cli")
GIB = 1 << 30

# ru_maxrss of a forked child starts at the resident size of the process it was forked from. A bare
# interpreter in between keeps the caller's arrays out of the figure; it writes "status maxrss seconds" to the
# descriptor it is told.
_LAUNCHER = """
import os, resource, sys, time
memory, report = int(sys.argv[1]), int(sys.argv[2])
start = time.perf_counter()
pid = os.fork()
if pid == 0:
    os.set_inheritable(report, False)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        os.execvp(sys.argv[3], sys.argv[3:])
    except OSError as error:
        os.write(2, (str(error) + "\\n").encode())
        os._exit(127)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - start
os.write(report, f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss} {seconds}".encode())
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Say how one run of a program ended.

    Attributes
    ----------
    code : int
        Exit code; negative for the signal that ended it.
    out, err : bytes
        All of standard output and of standard error.
    seconds : float
        Wall time of the whole process.
    peak : int
        Largest resident memory in bytes; 0 where it was not measured.
    timed_out : bool
        Whether it was stopped by the time limit.
    """

    code: int
    out: bytes
    err: bytes
    seconds: float
    peak: int = 0
    timed_out: bool = False

    @property
    def err_lines(self) -> list[str]:
        """Non-empty lines of standard error."""
        return [line for line in self.err.decode("utf-8", "replace").splitlines() if line.strip()]

    @property
    def traceback(self) -> bool:
        """Whether a Python traceback reached the user."""
        return b"Traceback (most recent call last)" in self.err + self.out


def data_folder() -> Path | None:
    """Find the folder of real files: ``MEDIMG_TEST_DATA``, else ``../shared/data`` beside the repository.

    Returns
    -------
    Path or None
        The folder, or None where it holds no manifest.
    """
    named = os.environ.get("MEDIMG_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    return folder if (folder / "MANIFEST.csv").is_file() else None


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment in which ``python -m medimg_cli`` is this checkout and says nothing in colour."""
    settings = dict(os.environ)
    known = [part for part in settings.get("PYTHONPATH", "").split(os.pathsep) if part]
    settings["PYTHONPATH"] = os.pathsep.join([str(ROOT), *(part for part in known if part != str(ROOT))])
    settings.pop("FORCE_COLOR", None)
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    settings.update(extra or {})
    return settings


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    timeout: float = 60,
    memory: int = 0,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> Outcome:
    """Run a program to its end and measure time and memory.

    Parameters
    ----------
    command : sequence of str
        Program and arguments; no shell.
    timeout : float
        Seconds after which the whole session of the program is killed.
    memory : int
        Limit of the address space in bytes; 0 for none.
    cwd, env
        Folder to start in, and additions to the environment.
    stdin : bytes
        What the program finds on standard input.

    Returns
    -------
    Outcome
    """
    reading, writing = os.pipe()
    launcher = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        _LAUNCHER,
        str(memory),
        str(writing),
        *map(os.fspath, command),
    ]
    start = time.perf_counter()
    with subprocess.Popen(
        launcher,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(env),
        pass_fds=(writing,),
        start_new_session=True,
    ) as process:
        os.close(writing)
        try:
            out, err = process.communicate(stdin, timeout=timeout)
            timed_out = False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            timed_out = True
    with os.fdopen(reading, "rb") as report:
        said = report.read().split()
    if len(said) != 3:
        return Outcome(-signal.SIGKILL, out, err, time.perf_counter() - start, 0, timed_out)
    scale = 1 if sys.platform == "darwin" else 1024
    return Outcome(int(said[0]), out, err, float(said[2]), int(said[1]) * scale, timed_out)


def medimg(*arguments: str | os.PathLike[str], **options: object) -> Outcome:
    """Run ``medimg`` of this checkout with `arguments`; the options are those of :func:`run`."""
    return run([*MEDIMG, *arguments], **options)  # type: ignore[arg-type]


def stopwatch(command: Sequence[str | os.PathLike[str]], **options: object) -> float:
    """Return the seconds of one run, output in a pipe; a failure is an error."""
    start = time.perf_counter()
    done = subprocess.run(
        [os.fspath(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        check=False,
        **options,  # type: ignore[call-overload]
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise RuntimeError(f"{os.fspath(command[0])} exited with {done.returncode}: {' '.join(tail)}")
    return seconds


def control_bytes(text: bytes) -> bytes:
    """Return what a terminal would obey in `text`: C0 (but tab and newline), DEL and C1."""
    found = bytes(sorted({byte for byte in text if (byte < 32 and byte not in (9, 10)) or byte == 127}))
    decoded = text.decode("utf-8", "replace")
    return found + "".join(sorted({c for c in decoded if 0x80 <= ord(c) <= 0x9F})).encode()


def one_line(outcome: Outcome) -> str | None:
    """Check that a refusal is a refusal: exit code 2 and one line on standard error.

    Returns
    -------
    str or None
        What is wrong, or None when it is in order.
    """
    if outcome.timed_out:
        return f"no end within {outcome.seconds:.0f} s"
    if outcome.code < 0:
        return f"killed by {signal.Signals(-outcome.code).name}"
    if outcome.traceback:
        return "a traceback: " + outcome.err_lines[-1][:120]
    if outcome.code != 2:
        return f"exit code {outcome.code}, not 2"
    if len(outcome.err_lines) != 1:
        return f"{len(outcome.err_lines)} lines on standard error, not 1"
    line = outcome.err_lines[0]
    if not line.startswith("medimg: "):
        return "the line does not start with 'medimg: '"
    if "a bug in medimg" in line:
        return "an error that medimg did not foresee: " + line.partition("a bug in medimg")[2][:120]
    return None


def wait_until(check: Callable[[], bool], *, seconds: float = 10, step: float = 0.002) -> bool:
    """Poll `check` until it holds; False when `seconds` pass first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        time.sleep(step)
    return False

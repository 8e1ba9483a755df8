"""Man pages, completions and the README's table: fresh, and working where they are used."""

from __future__ import annotations

import importlib.util
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from medimg_cli.cli.app import COMMANDS

from .conftest import ROOT

pytest.importorskip("shtab")
pytest.importorskip("argparse_manpage")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Import the script that makes the documents."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "scripts" / "generate_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_documents_are_fresh(generate: ModuleType) -> None:
    stale = generate.stale(dict(generate.documents()))
    assert not stale, "run: make docs"


def test_check_says_what_is_stale(generate: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wanted = {ROOT / "man" / "medimg.1": "other", **dict.fromkeys((ROOT / "man").glob("medimg-*.1"), "")}
    assert ROOT / "man" / "medimg.1" in generate.stale(wanted)
    assert any(path.parent.name == "completions" for path in generate.stale({})), "a file that should not be is stale"


@pytest.mark.skipif(shutil.which("man") is None, reason="needs man")
@pytest.mark.parametrize("name", ["medimg", *(f"medimg-{row.name}" for row in COMMANDS)])
def test_man_pages_have_their_sections_and_no_complaints(name: str) -> None:
    page = ROOT / "man" / f"{name}.1"
    environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(
        ["man", "--warnings", "-l", str(page)], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stderr == ""
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{title}\n" in done.stdout
    assert f" {name} - " in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not re.search(r"(?<!\d)%", done.stdout), "a placeholder, where no number stands before it"


# -- completions, typed into real shells ----------------------------------------------------------------------------

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "medimg.bash"),
    "zsh": (["zsh", "-f", "-i"], "_medimg"),
    "fish": (["fish", "--no-config", "-i"], "medimg.fish"),
}


class _Terminal:
    """A shell on a terminal of its own, to type into."""

    def __init__(self, command: list[str], folder: Path) -> None:
        import pty

        self._process, self._fd = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            settings = {"TERM": "xterm", "PS1": "$ ", "HOME": str(folder), "COLUMNS": "200", "PATH": os.environ["PATH"]}
            os.execvpe(command[0], command, settings)
        self.screen = b""

    def type(self, text: str) -> None:
        """Press keys."""
        self.screen = b""
        os.write(self._fd, text.encode())

    def wait_for(self, expected: str, seconds: float = 20) -> bool:
        """Watch the screen until something shows up on it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and expected.encode() not in self.screen:
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                new = os.read(self._fd, 65536)
            except OSError:
                break
            if b"\x1b[c" in new or b"\x1b[0c" in new:  # fish asks the terminal what it is
                os.write(self._fd, b"\x1b[?62;c")
            self.screen += new
        return expected.encode() in self.screen

    def close(self) -> None:
        """Hang up."""
        os.close(self._fd)
        os.waitpid(self._process, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
@pytest.mark.parametrize("shell", SHELLS)
def test_completions_work_when_sourced(shell: str, tmp_path: Path) -> None:
    command, script = SHELLS[shell]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "sub dir").mkdir()
    terminal = _Terminal(command, tmp_path)
    try:
        answer = "(math 1+1)" if shell == "fish" else "$((1+1))"
        terminal.type(f"source '{ROOT / 'completions' / script}'; echo ready-{answer}\r")
        assert terminal.wait_for("ready-2"), terminal.screen
        for typed, expected in (
            ("medimg inf\t", "info"),
            ("medimg info --form\t", "--format"),
            ("medimg info --format jsonl sc\t", "scan.nii.gz"),
            ("medimg info scan.nii.gz su\t", "sub\\ dir"),
            ("medimg info --color alw\t", "always"),
            ("medimg --color nev\t", "never"),
            ("medimg --verbose info sc\t", "scan.nii.gz"),
            ("medimg formats --format tab\t", "table"),
        ):
            time.sleep(0.2)
            terminal.type(typed)
            assert terminal.wait_for(expected), (typed, terminal.screen)
            terminal.type("\x15")
    finally:
        terminal.close()


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_every_option_value_of_fish_is_offered() -> None:
    script = ROOT / "completions" / "medimg.fish"
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C 'medimg info --format '"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["table", "json", "jsonl", "csv"]


@pytest.mark.parametrize("script", ["medimg.bash", "_medimg", "medimg.fish"])
def test_scripts_name_every_command(script: str) -> None:
    text = (ROOT / "completions" / script).read_text(encoding="utf-8")
    assert all(row.name in text for row in COMMANDS)

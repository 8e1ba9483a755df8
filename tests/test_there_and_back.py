"""The page "a segmentation there and back again" does what it says: its commands run in a shell, in an empty folder."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "there-and-back.md"
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = re.compile(r"\d[\d.]* kB")
"""How small a file gets is up to the library that compresses it."""


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command of a block behind its prompt, and what the page says that it prints."""
    for part in text.split("$ ")[1:] if text.startswith("$ ") else []:
        command, _, output = part.partition("\n")
        yield command, output


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a shell in which ``medimg`` is this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "medimg"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medimg_cli "$@"\n')
    program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    return {**kept, "PATH": f"{folder}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.mark.skipif(os.name != "posix", reason="the page is written for a POSIX shell")
def test_the_page_does_what_it_says(tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command prints, on both streams, is what stands below it; Python runs from block to block."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    text, session, ran = PAGE.read_text(encoding="utf-8"), {"__name__": "session"}, []
    checker = doctest.OutputChecker()
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        if kind == "python":
            exec(compile("\n" * text[: block.start(2)].count("\n") + content, str(PAGE), "exec"), session)
            continue
        for command, said in commands(content):
            done = subprocess.run(["sh", "-c", f"{{ {command}\n}} 2>&1"], capture_output=True, text=True, env=shell)
            wanted, found = SIZE.sub("* kB", said), SIZE.sub("* kB", done.stdout)
            assert checker.check_output(wanted, found, doctest.ELLIPSIS), f"$ {command}\n{done.stdout}"
            ran.append(command)
    assert len(ran) > 12 and sum(" undo " in command for command in ran) > 4

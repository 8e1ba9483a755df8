"""Derived files that are invalid, bombs, hostile, or strange but valid: each in a process of its own, with limits."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MEDIMG_TEST_DATA", ROOT.parent / "shared" / "data")) / "_generated"
#: Not what its name says: the number stands in the first pixels, not in the length.
MISMADE = {"bad/dcm_pixeldata_vl_4GB.dcm"}

#: Forks for each path that it reads, and checks it under the rules of files and series; prints what is found.
CODE = """
import json, os, resource, signal, sys
import numpy, pydicom
from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config

wanted = Checking(config=load_config(Wishes(isolated=True, select=("F", "D"))))

def examine(path):
    signal.alarm(30)
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    found, refusal = [], ""
    for checked in check_paths([path], wanted):
        found += [[each.code, each.severity, each.message] for each in checked.findings]
        refusal = refusal or checked.message
    print(json.dumps([path, found, refusal]), flush=True)

for line in sys.stdin:
    path = line.strip()
    child = os.fork()
    if not child:
        code = 1
        try:
            examine(path)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        print(json.dumps([path, None, f"ended with status {status}"]), flush=True)
"""

Result = tuple[list[list[str]], str]


def rows(*kinds: str) -> list[str]:
    """Return the files of some classes."""
    if not (DATA / "odd_manifest.csv").exists():
        return []
    with open(DATA / "odd_manifest.csv", newline="", encoding="utf-8") as file:
        found = [row["path"] for row in csv.DictReader(file) if row["class"] in kinds]
    return [path for path in found if path not in MISMADE and (DATA / path).exists()]


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Check all files; return what is found and the line of a refusal by path."""
    paths = rows("invalid", "bomb", "hostile", "valid")
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input="".join(f"{DATA / path}\n" for path in paths),
        capture_output=True, text=True, timeout=900, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {os.path.relpath(path, DATA): (found, refusal) for path, found, refusal in lines}


pytestmark = [
    pytest.mark.skipif(not rows("valid"), reason="no derived files: set MEDIMG_TEST_DATA"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs fork, and limits of memory that hold"),
]


def look(results: dict[str, Any], path: str) -> Result:
    """Return what is said of a file: one line each, printable."""
    findings, refusal = results[path]
    assert findings is not None, refusal
    assert "\n" not in refusal and "bug in medimg" not in refusal
    assert all(message.isprintable() for _, _, message in findings)
    return findings, refusal


@pytest.mark.parametrize("path", rows("invalid", "bomb", "hostile") or [""])
def test_a_bad_file_is_an_error_or_refused(path: str, results: dict[str, Any]) -> None:
    findings, refusal = look(results, path)
    assert refusal or [code for code, severity, _ in findings if severity == "error"]
    assert len([code for code, _, _ in findings if "F001" <= code <= "F010"]) <= 1


@pytest.mark.parametrize("path", rows("valid") or [""])
def test_a_strange_but_valid_file_is_no_error(path: str, results: dict[str, Any]) -> None:
    findings, refusal = look(results, path)
    assert not refusal
    assert [code for code, severity, _ in findings if severity == "error"] == []

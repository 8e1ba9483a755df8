"""What starting up costs, counted in modules: an import that creeps in is found here, not by users."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medimg_cli.cli.example import example_path

from .conftest import environment

HEAVY = {"numpy", "torch", "nibabel", "SimpleITK", "pydicom", "PIL", "pydantic", "rich", "isal", "zlib_ng"}
HEAVY |= {"fsspec", "aiohttp"}
LATER = {"multiprocessing", "concurrent", "json", "csv", "asyncio", "tempfile", "importlib.metadata", "xml", "email"}


def _imported(*words: str) -> set[str]:
    """Return the modules that a run of the command line imports, with their packages."""
    code = (
        "import sys; from medimg_cli.__main__ import run; code = run();"
        "print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    names = {line for line in done.stderr.splitlines() if line.isprintable()}
    return names | {name.partition(".")[0] for name in names}


def _typer_alone() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, typer; print(*sys.modules, sep='\\n')"],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["example"], ["info", "--help"], ["formats"]])
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    imported = _imported(*words)
    assert not imported & HEAVY
    if words != ["formats"]:  # lists what other packages bring along as well
        assert not (imported & LATER) - _typer_alone()


def test_info_of_a_file_in_a_pipe_imports_nothing_heavy() -> None:
    imported = _imported("info", example_path())
    assert not imported & (HEAVY - {"isal"})
    assert not (imported & LATER) - _typer_alone()
    assert "medimg_cli.batch" not in imported


def test_importing_the_package_imports_no_room() -> None:
    code = "import sys, medimg_cli; print(*(m for m in sys.modules if m.startswith('medimg_cli')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60, check=True
    )
    assert done.stdout == "medimg_cli\n"


def test_example_is_a_real_image_and_nibabel_stays_out() -> None:
    path = Path(example_path())
    assert path.name == "example4d.nii.gz" and path.stat().st_size > 100_000
    assert "nibabel" not in _imported("example")

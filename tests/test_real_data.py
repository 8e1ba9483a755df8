"""Real files of public repositories, one test a file: the checks of ``make conformance`` under pytest.

The files are not part of the repository: the folder is named by ``MEDIMG_TEST_DATA``, default
``../shared/data`` beside the repository. Without it everything here is skipped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import conformance_checks as checks
import conformance_zarr
import proving

DATA = proving.data_folder()
if DATA is None:
    pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv", allow_module_level=True)

LARGE = 12_000_000  # voxels; larger images are left to slow runs and to make conformance


def _rows(agreed: bool) -> list[object]:
    """Return the manifest's rows as parameters, large images marked slow."""
    found = []
    for row in checks.manifest(DATA):
        if row["verdict"].startswith("AGREE") != agreed:
            continue
        size = 1
        for number in json.loads(row["shape"] or "[1]"):
            size *= number
        marks = [pytest.mark.slow] if size > LARGE else []
        found.append(pytest.param(row, id=row["path"], marks=marks))
    return found


def _generated(part: str, *kinds: str) -> list[object]:
    """Return derived files of some classes as parameters."""
    return [
        pytest.param(name, kind, what, id=name)
        for name, kind, what in checks.generated(DATA)
        if name.startswith(part) and (not kinds or kind in kinds) and (DATA / "_generated" / name).exists()
    ]


def hold(result: checks.Result) -> None:
    """Fail with what is wrong, what was expected and what medimg says."""
    if result.status == "fail":
        pytest.fail(f"{result.note} (expected {result.expected}; medimg: {result.got})", pytrace=False)


@pytest.mark.parametrize("row", _rows(agreed=True))
def test_file_on_which_readers_agree(row: dict[str, str]) -> None:
    """Shape, dtype, affine to 1e-3 mm and voxel hash are those of the independent readers."""
    hold(checks.check_agree(DATA, row))


@pytest.mark.parametrize("row", _rows(agreed=False))
def test_file_on_which_readers_differ(row: dict[str, str]) -> None:
    """The decision taken for the file holds; what nobody opens is refused or read, never a crash."""
    hold(checks.check_other(DATA, row))


@pytest.mark.parametrize(("name", "kind", "what"), _generated("formats/"))
def test_container(name: str, kind: str, what: str) -> None:
    """One image in every container: all equal the reference."""
    hold(checks.check_format(DATA, name.removeprefix("formats/")))


@pytest.mark.parametrize(("name", "kind", "what"), _generated("odd/", "valid"))
def test_strange_but_valid(name: str, kind: str, what: str) -> None:
    """Odd files are read as an independent reader reads them."""
    hold(checks.check_valid(DATA, name))


@pytest.mark.parametrize(("name", "kind", "what"), _generated("odd/", "degenerate"))
def test_degenerate(name: str, kind: str, what: str) -> None:
    """Degenerate files are read or refused, never a foreign exception."""
    hold(checks.check_listed(DATA, name, what))


@pytest.mark.parametrize(("name", "kind", "what"), _generated("bad/") + _generated("odd/", "hostile"))
def test_bad(name: str, kind: str, what: str) -> None:
    """Invalid files and bombs are refused in one line, attacks come to nothing."""
    if name.endswith(".zarr") and kind == "valid":
        pytest.skip("held to the zarr library below")
    elif kind == "valid":
        hold(checks.check_valid(DATA, name))
    else:
        hold(checks.check_bad(DATA, name, kind, what))


@pytest.mark.parametrize("name", conformance_zarr.stores(DATA))
def test_zarr_store(name: str) -> None:
    """Stores are read as the zarr library reads them; what holds no image is refused in one line."""
    pytest.importorskip("zarr")
    hold(conformance_zarr.check_zarr(DATA, name))

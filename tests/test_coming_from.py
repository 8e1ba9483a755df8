"""The page for those who come from other tools: each of its lines runs and gives what it says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from.md"
THEIRS = {"nibabel": ("nibabel", "nib"), "SimpleITK": ("SimpleITK", "sitk")}


class Line(NamedTuple):
    """Their call, ours, and what ours gives."""

    theirs: str
    ours: str
    gives: str


def sections() -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    title = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            title = line[3:]
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `"):
            gives = cells[2].strip("| `") if len(cells) == 3 else ""
            found.setdefault(title, []).append(
                Line(cells[0], cells[1].rstrip("| `") if len(cells) == 2 else cells[1], gives)
            )
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scan, labels and a series, as the page says."""
    monkeypatch.chdir(tmp_path)
    affine = AffineMatrix.from_spacing((1, 2, 3))
    scan = np.arange(120, dtype="int16").reshape(1, 6, 5, 4)
    labels = np.repeat([0, 1, 2], [60, 40, 20]).astype("uint8").reshape(1, 6, 5, 4)
    forms = {"affine": affine, "sform": affine, "sform_code": 2, "qform": affine, "qform_code": 2}
    series = Header(shape=(3, 6, 5, 4), dtype="int16", axes=(("time", 3),), time_spacing=2.5, **forms)
    save_backend(ArrayBackend(scan, Header(shape=scan.shape, dtype="int16", **forms)), "t1.nii.gz")
    save_backend(
        ArrayBackend(labels, Header(shape=scan.shape, dtype="uint8", intent="label", **forms)), "labels.nii.gz"
    )
    save_backend(ArrayBackend(np.repeat(scan, 3, axis=0), series), "bold.nii.gz")
    return tmp_path


def run(code: str, names: dict[str, Any]) -> Any:
    """Run a line; an expression gives its value."""
    try:
        return eval(compile(code, "page", "eval"), names)
    except SyntaxError:
        exec(compile(code, "page", "exec"), names)
        return None


def test_the_page_has_them_all() -> None:
    assert list(sections()) == ["TorchIO", "medio", "MITK", "nibabel", "SimpleITK"]
    assert all(len(lines) >= 10 for lines in sections().values())


@pytest.mark.parametrize("title", list(sections()))
def test_our_lines_give_what_the_page_says(title: str, folder: Path) -> None:
    names: dict[str, Any] = {"mi": mi, "np": np}
    for line in sections()[title]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", mi.LossWarning)
            value = run(line.ours, names)
        if line.gives:
            assert value == eval(line.gives), line.ours


@pytest.mark.parametrize("title", list(THEIRS))
def test_their_lines_run_and_give_the_same_numbers(title: str, folder: Path) -> None:
    module, short = THEIRS[title]
    names: dict[str, Any] = {short: pytest.importorskip(module), "np": np}
    mine: dict[str, Any] = {"mi": mi, "np": np}
    compared = 0
    for line in sections()[title]:
        theirs, ours = run(line.theirs, names), run(line.ours, mine)
        if isinstance(theirs, (tuple, int, float, np.number)) and np.shape(theirs) == np.shape(ours):
            compared += 1
            equal = theirs == ours if isinstance(theirs, tuple) and isinstance(theirs[0], str) else None
            assert np.allclose(theirs, ours) if equal is None else equal, line
    assert compared >= 4


def test_nibabel_and_we_agree(folder: Path) -> None:
    nib = pytest.importorskip("nibabel")
    theirs, ours = nib.load("t1.nii.gz"), mi.Image("t1.nii.gz")
    assert np.array_equal(theirs.get_fdata(), ours.numpy()[0])
    assert np.allclose(theirs.affine, ours.affine.numpy())
    assert nib.aff2axcodes(theirs.affine) == ours.orientation


def test_simpleitk_and_we_agree(folder: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    theirs, ours = sitk.ReadImage("t1.nii.gz"), mi.Image("t1.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(theirs), ours.numpy()[0].transpose(2, 1, 0))
    lps = ours.affine.to_lps()
    assert np.allclose(theirs.TransformIndexToPhysicalPoint((1, 2, 3)), lps.apply((1, 2, 3)))
    assert np.allclose(theirs.GetDirection(), np.ravel(lps.direction))

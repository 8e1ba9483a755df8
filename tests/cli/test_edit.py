"""``medimg edit``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medimg_cli import ScalarImage
from tests.cli.conftest import Run

AFFINE = np.array([[-1.9, 0.3, 0, 30], [0.2, 1.4, 0.4, -20], [0, -0.5, 2.4, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(5)
    bold = nib.Nifti1Image(random.integers(-900, 900, (6, 5, 4, 3), dtype=np.int16), AFFINE)
    bold.header.set_slope_inter(0.5, 10)
    bold.header["pixdim"][4] = 2.5
    bold.header.set_xyzt_units("mm", "sec")
    nib.save(bold, "bold.nii.gz")
    nib.save(nib.Nifti1Image(random.integers(0, 9, (6, 5, 4), dtype=np.uint8), np.diag([1.0, 1, 2, 1])), "seg.nii.gz")
    return tmp_path


def load(name: str) -> Any:
    return nib.load(name)


def test_every_field_is_told_old_and_new(medimg: Run) -> None:
    done = medimg("edit", "--spacing", "1", "--tr", "2", "bold.nii.gz", "out.nii.gz")
    assert done.code == 0 and done.out == ""
    assert "out.nii.gz: spacing: 1.9105, 1.51658, 2.43311 -> 1, 1, 1 mm" in done.err
    assert "out.nii.gz: time spacing: 2.5 -> 2 s" in done.err
    assert "affine: the image moves by up to " in done.err and "sform: moves by up to " in done.err
    found = load("out.nii.gz")
    assert np.allclose(found.header.get_zooms(), (1, 1, 1, 2), atol=1e-5)
    assert (found.dataobj.slope, found.dataobj.inter) == (0.5, 10)
    assert np.array_equal(found.dataobj.get_unscaled(), load("bold.nii.gz").dataobj.get_unscaled())


def test_in_place(medimg: Run, here: Path) -> None:
    refused = medimg("edit", "--tr", "2", "bold.nii.gz", "bold.nii.gz")
    assert refused.code == 2 and "--force" in refused.err
    before = load("bold.nii.gz").dataobj.get_unscaled().copy()
    done = medimg("edit", "--tr", "2", "--force", "bold.nii.gz", "bold.nii.gz")
    assert done.code == 0
    after = load("bold.nii.gz")
    assert after.header.get_zooms()[3] == 2 and np.array_equal(after.dataobj.get_unscaled(), before)
    assert np.array_equal(after.affine, nib.Nifti1Image(before, AFFINE).affine.astype("float32"))
    assert sorted(path.name for path in here.iterdir()) == ["bold.nii.gz", "seg.nii.gz"]


def test_the_centre_of_many_images(medimg: Run) -> None:
    words = ("--output-dir", "out", "--report", "log.jsonl", "--jobs", "2")
    assert medimg("edit", "--center", "0,0,0", "bold.nii.gz", "seg.nii.gz", *words).code == 0
    for name in ("bold.nii.gz", "seg.nii.gz"):
        assert np.allclose(ScalarImage(f"out/{name}").get_center(), 0, atol=1e-5)
    records = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert all(any(remark.startswith("origin: ") for remark in record["remarks"]) for record in records)


def test_copy_geometry_says_how_far_the_image_moves(medimg: Run) -> None:
    done = medimg("edit", "--copy-geometry", "bold.nii.gz", "seg.nii.gz", "out.nii.gz")
    ends = [(i, j, k) for i in (0, 5) for j in (0, 4) for k in (0, 3)]
    corners = (apply_affine(load(name).affine, ends) for name in ("seg.nii.gz", "bold.nii.gz"))
    shift = np.linalg.norm(np.subtract(*corners), axis=1).max()
    assert done.code == 0 and f"{shift:.4g} mm" in done.err
    assert np.array_equal(load("out.nii.gz").affine, load("bold.nii.gz").affine)
    assert medimg("slice", "--index", "[:, 1:]", "bold.nii.gz", "part.nii.gz").code == 0
    other = medimg("edit", "--copy-geometry", "part.nii.gz", "seg.nii.gz", "no.nii.gz")
    assert other.code == 2 and len(other.err.strip().splitlines()) == 1 and "6 x 5 x 4" in other.err


def test_a_negative_number_is_a_value(medimg: Run) -> None:
    assert medimg("edit", "--origin", "-1,-2,3", "seg.nii.gz", "out.nii.gz").code == 0
    assert np.allclose(load("out.nii.gz").affine[:3, 3], (-1, -2, 3))


@pytest.mark.parametrize(
    "words",
    [
        (), ("--lps",), ("--form", "sform"), ("--spacing", "0"), ("--origin", "0,0,0", "--center", "0,0,0"),
        ("--affine", "1,0,0,0,0,1,0,0,0,0,1,0", "--spacing", "1"), ("--orientation", "RRS"), ("--intent", "lable"),
        ("--set", "x"), ("--units", "inch"), ("--affine", "missing.txt"),
    ],
    ids=lambda words: " ".join(words) or "nothing",
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(medimg: Run, words: tuple[str, ...]) -> None:
    done = medimg("edit", *words, "seg.nii.gz", "out.nii.gz")
    assert done.code == 2 and len(done.err.strip().splitlines()) == 1 and not Path("out.nii.gz").exists()


def test_a_mask_becomes_a_label_map(medimg: Run) -> None:
    words = ("--intent", "label", "--set", "rater=3", "--set", "site=north", "--description", "by hand")
    assert medimg("edit", *words, "seg.nii.gz", "out.nii.gz").code == 0
    done = medimg("resample", "--spacing", "3", "out.nii.gz", "coarse.nii.gz")
    assert "label map" in done.err
    said = ScalarImage("out.nii.gz").metadata
    assert said["rater"] == 3 and said["site"] == "north"


def test_what_a_format_cannot_hold(medimg: Run) -> None:
    done = medimg("edit", "--tr", "2", "bold.nii.gz", "out.mgz")
    assert done.code == 0 and load("out.mgz").header["tr"] == pytest.approx(2000)
    lost = medimg("edit", "--description", "by hand", "seg.nii.gz", "out.mgz", "--force")
    assert lost.code == 0 and "not kept: description" in lost.err
    strict = medimg("edit", "--strict", "--description", "by hand", "seg.nii.gz", "no.mgz")
    assert strict.code == 2 and not Path("no.mgz").exists()


def test_nothing_changes_and_quiet_says_nothing(medimg: Run) -> None:
    same = medimg("edit", "--tr", "2.5", "bold.nii.gz", "same.nii.gz")
    assert same.code == 0 and "nothing is changed" in same.err
    done = medimg("edit", "-q", "--center", "0,0,0", "bold.nii.gz", "out.nii.gz")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_undo_after_a_change_of_geometry_is_refused(medimg: Run) -> None:
    assert medimg("reorient", "--to", "PIR", "seg.nii.gz", "turned.nii.gz").code == 0
    done = medimg("edit", "--origin", "0,0,0", "turned.nii.gz", "moved.nii.gz")
    assert done.code == 0 and "undo" in done.err
    back = medimg("undo", "moved.nii.gz", "back.nii.gz")
    assert back.code == 2 and not Path("back.nii.gz").exists()

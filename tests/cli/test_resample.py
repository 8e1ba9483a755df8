"""``medimg resample``."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg_cli import LabelMap, ScalarImage
from tests.cli.conftest import Run

AFFINE = np.array([[-1.9, 0.3, 0, 30], [0.2, 1.4, 0.4, -20], [0, -0.5, 2.4, 11], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(5)
    scan = nib.Nifti1Image(random.integers(-900, 900, (12, 10, 9, 3), dtype=np.int16), AFFINE)
    scan.header.set_slope_inter(0.5, 10)
    scan.header["pixdim"][4] = 2.5
    scan.header.set_xyzt_units("mm", "sec")
    nib.save(scan, "scan.nii.gz")
    labels = np.zeros((12, 10, 9), "uint8")
    labels[2:7, 3:8, 1:6] = 4
    labels[5:9, 2:6, 4:8] = 9
    nib.save(nib.Nifti1Image(labels, AFFINE), "seg.nii.gz")
    return tmp_path


def test_to_a_spacing(medimg: Run) -> None:
    done = medimg("resample", "--spacing", "1.5", "scan.nii.gz", "out.nii.gz")
    assert done.code == 0 and done.out == ""
    assert "at 1.91 x 1.517 x 2.433 mm -> " in done.err and "linear interpolation" in done.err
    found: nib.Nifti1Image = nib.load("out.nii.gz")
    assert np.allclose(found.header.get_zooms(), (1.5, 1.5, 1.5, 2.5), atol=1e-5)
    assert found.get_data_dtype() == np.int16 and (found.dataobj.slope, found.dataobj.inter) == (0.5, 10)
    source: nib.Nifti1Image = nib.load("scan.nii.gz")
    middle = [(np.array(image.shape[:3]) - 1) / 2 for image in (found, source)]
    centres = [nib.affines.apply_affine(image.affine, at) for image, at in zip((found, source), middle, strict=True)]
    assert np.allclose(*centres, atol=1e-4)


def test_like_another_image_matches_it_voxel_by_voxel(medimg: Run) -> None:
    assert medimg("reorient", "--to", "PIR", "scan.nii.gz", "turned.nii.gz").code == 0
    assert medimg("resample", "--like", "turned.nii.gz", "seg.nii.gz", "out.nii.gz").code == 0
    like, found = ScalarImage("turned.nii.gz"), ScalarImage("out.nii.gz")
    assert found.grid.same_as(like.grid, 1e-4)
    assert np.array_equal(
        found.reorient(ScalarImage("seg.nii.gz").orientation).numpy(), ScalarImage("seg.nii.gz").numpy()
    )


def test_label_maps_keep_their_values_and_it_says_so(medimg: Run) -> None:
    done = medimg("resample", "--spacing", "1", "seg.nii.gz", "out.nii.gz")
    assert done.code == 0 and "taken for a label map" in done.err
    assert set(LabelMap("out.nii.gz").count()) == {0, 4, 9}
    voted = medimg("resample", "--spacing", "1", "--interpolation", "label", "seg.nii.gz", "voted.nii.gz")
    assert voted.code == 0 and "label with most weight" in voted.err
    assert set(LabelMap("voted.nii.gz").count()) == {0, 4, 9}
    mixed = medimg("resample", "--spacing", "1", "--interpolation", "linear", "seg.nii.gz", "mixed.nii.gz")
    assert mixed.code == 0 and len(LabelMap("mixed.nii.gz").count()) > 3


def test_quiet_says_nothing(medimg: Run) -> None:
    done = medimg("resample", "-q", "--isotropic", "scan.nii.gz", "out.nii.gz")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert np.allclose(ScalarImage("out.nii.gz").spacing, 1.517, atol=1e-3)


def test_what_was_decided_is_in_the_report(medimg: Run) -> None:
    words = ("--output-dir", "out", "--report", "log.jsonl", "--jobs", "2")
    assert medimg("resample", "--size", "6,5,4", "scan.nii.gz", "seg.nii.gz", *words).code == 0
    records = {r["input"]: r for r in map(json.loads, Path("log.jsonl").read_text().splitlines())}
    assert "linear" in records["scan.nii.gz"]["remarks"][0] and "label map" in records["seg.nii.gz"]["remarks"][0]
    assert ScalarImage("out/scan.nii.gz").shape == (3, 6, 5, 4)


def test_the_same_grid_is_a_copy(medimg: Run) -> None:
    done = medimg("resample", "--like", "scan.nii.gz", "scan.nii.gz", "out.nii.gz")
    assert done.code == 0 and "already lies on that grid" in done.err
    assert np.array_equal(ScalarImage("out.nii.gz").numpy(), ScalarImage("scan.nii.gz").numpy())
    assert ScalarImage("out.nii.gz").applied_transforms == []


def test_voxels_beyond_the_image_are_filled(medimg: Run) -> None:
    image = ScalarImage(np.full((1, 4, 4, 4), 5, "int16"), origin=(2, 0, 0))
    image.save("small.nii")
    ScalarImage(np.zeros((1, 8, 4, 4), "int16")).save("large.nii")
    assert medimg("resample", "--like", "large.nii", "--fill", "-1000", "small.nii", "out.nii").code == 0
    assert np.unique(ScalarImage("out.nii").numpy()[0, :, 0, 0]).tolist() == [-1000, 5]
    assert medimg("resample", "--like", "large.nii", "--fill", "0.5", "small.nii", "odd.nii").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one of --spacing, --size, --like and --isotropic"),
        (("--spacing", "1", "--size", "2"), "give one of"),
        (("--spacing", "-1"), "--spacing -1 is not one or three positive numbers"),
        (("--size", "1.5"), "--size 1.5 is not one or three positive numbers"),
        (("--like", "nowhere.nii"), "nowhere.nii: no such file"),
        (("--spacing", "1", "--interpolation", "sinc"), "see 'medimg resample --help'"),
        (("--spacing", "1e-9"), "TB; spacing is in mm"),
        (("--size", "99999"), "it would have 99999 x 99999 x 99999 voxels"),
    ],
)
def test_what_makes_no_sense_is_one_line(medimg: Run, words: tuple[str, ...], message: str) -> None:
    done = medimg("resample", *words, "scan.nii.gz", "out.nii.gz")
    assert done.code == 2 and message in done.err and len(done.err.splitlines()) == 1
    assert not Path("out.nii.gz").exists()


def test_a_grid_elsewhere_is_refused(medimg: Run) -> None:
    ScalarImage(np.zeros((1, 4, 4, 4), "int16"), origin=(500, 0, 0)).save("far.nii")
    done = medimg("resample", "--like", "far.nii", "scan.nii.gz", "out.nii.gz")
    assert done.code == 2 and "nothing of it lies on the grid of far.nii" in done.err


def test_what_was_resampled_can_be_undone(medimg: Run) -> None:
    assert medimg("resample", "--spacing", "1", "seg.nii.gz", "fine.nii.gz").code == 0
    back = LabelMap("fine.nii.gz").apply_inverse_transform()
    assert back.grid.same_as(LabelMap("seg.nii.gz").grid, 1e-6)
    assert np.array_equal(back.numpy(), LabelMap("seg.nii.gz").numpy())


def test_onto_a_sheared_grid_from_a_qform_alone(medimg: Run) -> None:
    """A quaternion holds no shear: the sform takes it, and the history stays true."""
    turn = nib.quaternions.quat2mat([0.9, 0.1, 0.2, 0.3])
    image = nib.Nifti1Image(np.ones((9, 9, 9), "float32"), None)
    image.set_qform(np.vstack([np.c_[turn * [2, 2, 3], [5, 6, 7]], [0, 0, 0, 1]]), 1)
    nib.save(image, "qonly.nii")
    sheared = np.array([[1.5, 0.4, 0, 5], [0, 1.5, 0.2, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 8), "uint8"), sheared), "like.nii")
    assert medimg("resample", "--like", "like.nii", "qonly.nii", "out.nii").code == 0
    found = nib.load("out.nii")
    assert np.allclose(found.affine, sheared, atol=1e-5)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 0)
    assert medimg("undo", "out.nii", "back.nii").code == 0
    back = nib.load("back.nii")
    assert np.allclose(back.affine, nib.load("qonly.nii").affine, atol=1e-5)
    assert (int(back.header["sform_code"]), int(back.header["qform_code"])) == (0, 1)


def test_standard_output_has_its_own_name_in_errors(medimg: Run) -> None:
    done = medimg("resample", "--spacing", "3", "scan.nii.gz", "-", "--suffix", ".foo")
    assert done.code == 2 and "medimg-" not in done.err and len(done.err.splitlines()) == 1

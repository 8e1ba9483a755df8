"""``medimg convert`` to DICOM: folders for series, Segmentations and single files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import medimg_cli as mi

from .conftest import Run

pydicom = pytest.importorskip("pydicom")

AFFINE = mi.AffineMatrix.from_spacing(
    (0.9, 1.1, 3.5), origin=(-12, -15, 4), direction=((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
)
ARRAY = np.random.default_rng(5).integers(-90, 4000, (5, 6, 4)).astype("int16")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    mi.ScalarImage(ARRAY[None], affine=AFFINE).save("x.nii.gz")
    mi.LabelMap((ARRAY[None] > 1000).astype("uint8"), affine=AFFINE).save("labels.nii.gz")
    return tmp_path


def test_a_slash_asks_for_a_series(medimg: Run, here: Path) -> None:
    result = medimg("convert", "x.nii.gz", "out/")
    assert result.code == 0, result.err
    assert sorted(os.listdir("out")) == [f"0000{n}.dcm" for n in range(1, 5)]
    assert medimg("convert", "out", "back.nii.gz").code == 0
    back = mi.ScalarImage("back.nii.gz")
    np.testing.assert_array_equal(back.numpy()[0], ARRAY)
    np.testing.assert_allclose(back.affine, AFFINE.rows, atol=1e-4)
    assert not Path("out.json").exists()


def test_options_of_a_series(medimg: Run, here: Path) -> None:
    assert medimg("convert", "--tag", "PatientID=42", "--tag", "StudyInstanceUID=1.2.3", "x.nii.gz", "first/").code == 0
    words = ("--template", "first", "--modality", "CT", "--pattern", "IM{:03d}.dcm", "--tag", "SeriesNumber=9")
    assert medimg("convert", *words, "x.nii.gz", "second/").code == 0
    found = pydicom.dcmread("second/IM002.dcm")
    assert (found.PatientID, found.StudyInstanceUID, found.SeriesNumber, found.Modality) == ("42", "1.2.3", 9, "CT")


def test_what_comes_back_is_no_loss(medimg: Run, here: Path) -> None:
    """Modality and steps are said by what is written, not taken from the key-values: they are no loss if they agree."""
    medimg("convert", "--tag", "SeriesNumber=7", "x.nii.gz", "first/")
    told = medimg("convert", "first", "second/").err
    assert not any(name in told for name in ("Modality", "SliceThickness", "SpacingBetweenSlices"))
    assert "Modality" in medimg("convert", "--modality", "CT", "first", "third/").err


def test_a_segmentation_is_no_folder(medimg: Run, here: Path) -> None:
    result = medimg("convert", "--modality", "SEG", "labels.nii.gz", "out/")
    assert (result.code, result.err) == (2, "medimg: out/: a Segmentation is one file; name it out.dcm\n")


def test_what_makes_no_sense_writes_nothing(medimg: Run, here: Path) -> None:
    for words in (
        ("--tag", "PatientID", "x.nii.gz", "out/"),
        ("--tag", "NoSuch=1", "x.nii.gz", "out/"),
        ("--pattern", "../{}", "x.nii.gz", "out/"),
        ("--modality", "CT", "x.nii.gz", "out.nrrd"),
        ("--template", "nowhere", "x.nii.gz", "out/"),
        ("x.nii.gz", "out.dcm"),
    ):
        result = medimg("convert", *words)
        assert (result.code, len(result.err.splitlines())) == (2, 1), (words, result.err)
        assert sorted(os.listdir()) == ["labels.nii.gz", "x.nii.gz"]


def test_existing_folders(medimg: Run, here: Path) -> None:
    assert medimg("convert", "--dry-run", "x.nii.gz", "out/").code == 0
    assert not Path("out").exists()
    assert medimg("convert", "x.nii.gz", "out/").code == 0
    assert medimg("convert", "x.nii.gz", "out/").code == 2
    assert medimg("convert", "--skip-existing", "x.nii.gz", "out/").code == 0
    assert medimg("convert", "--if-newer", "x.nii.gz", "out/").code == 0
    assert medimg("convert", "--force", "x.nii.gz", "out/").code == 0
    Path("out/notes.txt").write_text("mine")
    assert medimg("convert", "--force", "x.nii.gz", "out/").code == 2
    assert Path("out/notes.txt").read_text() == "mine"


def test_strict_refuses_before_anything_appears(medimg: Run, here: Path) -> None:
    mi.ScalarImage(ARRAY[None].astype("float32"), affine=AFFINE).save("f.nii.gz")
    result = medimg("convert", "--strict", "f.nii.gz", "out/")
    assert result.code == 2 and "dtype" in result.err and not Path("out").exists()
    assert medimg("convert", "f.nii.gz", "out/").code == 0


def test_one_folder_each(medimg: Run, here: Path) -> None:
    mi.ScalarImage(ARRAY[None] + 1, affine=AFFINE).save("y.nii.gz")
    result = medimg("convert", "x.nii.gz", "y.nii.gz", "--output-dir", "all", "--suffix", "/")
    assert result.code == 0, result.err
    assert sorted(os.listdir("all")) == ["x", "y"] and len(os.listdir("all/y")) == 4


def test_labels_become_a_segmentation(medimg: Run, here: Path) -> None:
    mi.LabelMap((ARRAY[None] > 1000).astype("uint8"), affine=AFFINE).save("labels.nrrd")
    result = medimg("convert", "labels.nrrd", "seg.dcm")
    assert result.code == 0, result.err
    assert pydicom.dcmread("seg.dcm").Modality == "SEG"


def test_one_slice_is_one_file(medimg: Run, here: Path) -> None:
    mi.ScalarImage(ARRAY[None, :, :, :1], affine=AFFINE).save("one.nii.gz")
    result = medimg("convert", "one.nii.gz", "one.dcm")
    assert result.code == 0, result.err
    assert pydicom.dcmread("one.dcm").Rows == 6


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3)])
def test_a_picture_is_given_no_place(shape: tuple[int, ...], medimg: Run, here: Path) -> None:
    """Nobody knows where in a patient a photograph lies: a Secondary Capture need not say it."""
    pictures = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(3).integers(0, 256, shape).astype("uint8")
    pictures.fromarray(pixels).save("x.png")
    assert medimg("convert", "x.png", "x.dcm").code == 0
    found = pydicom.dcmread("x.dcm")
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert not {"ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing"} & set(
        found.dir()
    )
    assert not mi.Image("x.dcm").header.orientation_known
    assert medimg("convert", "x.dcm", "back.png").code == 0
    np.testing.assert_array_equal(np.asarray(pictures.open("back.png")), pixels)


def test_a_volume_of_unknown_orientation_gets_one_and_says_so(medimg: Run, here: Path) -> None:
    np.save("x.npy", ARRAY)
    result = medimg("convert", "x.npy", "out/")
    assert result.code == 0
    assert "orientation: it was unknown, DICOM states one" in result.err
    assert medimg("convert", "--strict", "x.npy", "strict/").code == 2
    assert not Path("strict").exists()


def test_tags_of_numbers_that_are_no_text(medimg: Run, here: Path) -> None:
    mi.ScalarImage(ARRAY[None, :, :, :1], affine=AFFINE).save("one.nii.gz")
    assert medimg("convert", "--tag", "DiffusionBValue=800", "one.nii.gz", "one.dcm").code == 0
    assert pydicom.dcmread("one.dcm").DiffusionBValue == 800.0
    result = medimg("convert", "--tag", "DiffusionBValue=much", "one.nii.gz", "two.dcm")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert not Path("two.dcm").exists()

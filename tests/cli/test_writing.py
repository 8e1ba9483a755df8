"""``medimg convert``, ``reorient`` and ``slice`` on real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.cli.conftest import Run


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An oblique, left-handed int16 image with slope, two forms and a sidecar, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    data = rng.integers(-900, 900, (5, 6, 7), dtype=np.int16)
    sform = np.array([[-1.9, 0.3, 0, 30], [0.2, 1.4, 0.4, -20], [0, -0.5, 2.4, 11], [0, 0, 0, 1]])
    image = nib.Nifti1Image(data, sform)
    image.set_sform(sform, 2)
    image.set_qform(np.diag([-2, 1.5, 2.5, 1]), 1)
    image.header["descrip"] = b"made for a test"
    image.header.set_slope_inter(0.5, 10)
    image.header["cal_max"] = 77
    nib.save(image, "scan.nii.gz")
    (tmp_path / "scan.json").write_text('{"PhaseEncodingDirection": "j-", "EchoTime": 0.03}')
    return nib.load("scan.nii.gz")


def values(path: str) -> np.ndarray:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj)


def test_a_copy_keeps_every_byte_of_the_header(medimg: Run, scan: Any) -> None:
    assert medimg("convert", "scan.nii.gz", "copy.nii").code == 0
    copy: Any = nib.load("copy.nii")
    assert copy.header.binaryblock == scan.header.binaryblock or copy.header == scan.header
    assert np.array_equal(copy.dataobj.get_unscaled(), scan.dataobj.get_unscaled())
    assert (copy.dataobj.slope, copy.dataobj.inter) == (0.5, 10)
    assert json.loads(Path("copy.json").read_text())["PhaseEncodingDirection"] == "j-"


@pytest.mark.parametrize("suffix", [".nrrd", ".mif", ".mif.gz", ".npz", ".nhdr"])
def test_through_another_format_and_back(medimg: Run, scan: Any, suffix: str) -> None:
    assert medimg("convert", "scan.nii.gz", f"there{suffix}").code == 0
    assert medimg("convert", f"there{suffix}", "back.nii").code == 0
    back: Any = nib.load("back.nii")
    assert np.allclose(values("back.nii"), np.asarray(scan.dataobj), rtol=1e-6)
    assert np.allclose(back.affine, scan.affine, atol=1e-4)


def test_losses_are_said_and_strict_refuses_before_a_file_appears(medimg: Run, scan: Any) -> None:
    loose = medimg("convert", "scan.nii.gz", "x.mgz")
    assert loose.code == 0 and "not kept" in loose.err and "description" in loose.err
    strict = medimg("convert", "--strict", "scan.nii.gz", "y.mgz")
    assert strict.code == 2 and "cannot hold" in strict.err and not Path("y.mgz").exists()


def test_a_form_can_be_chosen(medimg: Run, scan: Any) -> None:
    assert medimg("convert", "--affine", "qform", "scan.nii.gz", "q.nii").code == 0
    chosen: Any = nib.load("q.nii")
    assert np.allclose(chosen.affine, scan.get_qform(), atol=1e-5)
    assert int(chosen.header["sform_code"]) == 0
    missing = medimg("convert", "--affine", "sform", "q.nii", "s.nii")
    assert missing.code == 2 and "no sform" in missing.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dtype", "int17"], "'int17' is no dtype of voxels; one of: bool, int8"),
        (["--dtype", "float"], "--dtype float has another size in every program; write float32 or float64"),
        (["--rescale", "5:5"], "--rescale 5:5 is no range; write MIN:MAX, the smaller one first"),
    ],
)
def test_a_wrong_cast_is_wrong_usage_whatever_the_inputs(medimg: Run, words: list[str], message: str) -> None:
    result = medimg("convert", *words, "missing.nii", "out.nii")
    assert result.code == 2 and result.err.startswith(f"medimg: {message}")


def test_an_image_never_goes_to_a_terminal(medimg: Run, scan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    result = medimg("convert", "scan.nii.gz", "-")
    assert (result.code, result.out) == (2, "") and "redirect it" in result.err


def test_a_cast_that_would_lose_is_refused_and_says_how(medimg: Run, scan: Any) -> None:
    refused = medimg("convert", "--dtype", "uint8", "scan.nii.gz", "small.nii")
    assert refused.code == 2 and "--clip" in refused.err and not Path("small.nii").exists()
    assert medimg("convert", "--dtype", "uint8", "--clip", "--round", "scan.nii.gz", "small.nii").code == 0
    expected = np.clip(np.rint(np.asarray(scan.dataobj)), 0, 255)
    assert np.array_equal(values("small.nii"), expected)
    assert medimg("convert", "--dtype", "int16", "--rescale", "scan.nii.gz", "full.nii").code == 0
    assert np.allclose(values("full.nii"), np.asarray(scan.dataobj), atol=0.02)


def test_reorienting_moves_forms_sidecar_and_voxels_together(medimg: Run, scan: Any) -> None:
    assert medimg("reorient", "--to", "SAR", "scan.nii.gz", "sar.nii").code == 0
    turned: Any = nib.load("sar.nii")
    assert nib.aff2axcodes(turned.affine) == ("S", "A", "R")
    ornt = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(nib.aff2axcodes(scan.affine)), nib.orientations.axcodes2ornt(("S", "A", "R"))
    )
    expected = scan.as_reoriented(ornt)
    assert np.array_equal(np.asarray(turned.dataobj), np.asarray(expected.dataobj))
    assert np.allclose(turned.affine, expected.affine, atol=1e-5)
    move = np.linalg.inv(scan.affine) @ turned.affine
    assert np.allclose(turned.get_qform(), scan.get_qform() @ move, atol=1e-4)
    assert (int(turned.header["sform_code"]), int(turned.header["qform_code"])) == (2, 1)
    assert json.loads(Path("sar.json").read_text()) == {"PhaseEncodingDirection": "j-", "EchoTime": 0.03}
    assert medimg("reorient", "--to", "LAS", "sar.nii", "back.nii").code == 0
    assert np.array_equal(values("back.nii"), np.asarray(scan.dataobj))


def test_a_slice_stays_where_it_was(medimg: Run, scan: Any) -> None:
    assert medimg("slice", "--index", "[0, 1:5:2, :, ::-1]", "scan.nii.gz", "part.nii.gz").code == 0
    part: Any = nib.load("part.nii.gz")
    assert np.array_equal(np.asarray(part.dataobj), np.asarray(scan.dataobj)[1:5:2, :, ::-1])
    assert np.allclose(part.affine @ [1, 2, 3, 1], scan.affine @ [3, 2, 3, 1], atol=1e-4)
    assert part.header.get_zooms()[0] == pytest.approx(2 * scan.header.get_zooms()[0], rel=0.3)
    assert medimg("slice", "--axis", "S", "--at", "50%", "scan.nii.gz", "middle.nii.gz").code == 0
    assert np.array_equal(values("middle.nii.gz")[..., 0], np.asarray(scan.dataobj)[:, :, 3])


@pytest.mark.parametrize(
    "words",
    [
        ("slice", "scan.nii.gz", "x.nii"),
        ("slice", "--index", "[0]", "--axis", "S", "scan.nii.gz", "x.nii"),
        ("slice", "--index", "[7]", "scan.nii.gz", "x.nii"),
        ("slice", "--axis", "S", "--at", "900mm", "scan.nii.gz", "x.nii"),
        ("reorient", "--to", "RRS", "scan.nii.gz", "x.nii"),
        ("convert", "--dtype", "int15", "scan.nii.gz", "x.nii"),
        ("convert", "--compression-level", "77", "scan.nii.gz", "x.nii.gz"),
        ("convert", "scan.nii.gz", "x.unknown"),
        ("convert", "scan.nii.gz", "missing/x.nii"),
        ("convert", "missing.nii", "x.nii"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(medimg: Run, scan: Any, words: tuple[str, ...]) -> None:
    done = medimg(*words)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1 and done.err.startswith("medimg: ")
    assert not list(Path().glob("x.*"))


def test_streams_and_pipes(program: Run, scan: Any) -> None:
    content = Path("scan.nii.gz").read_bytes()
    done = program("convert", "-", "out.nii", stdin=content)
    assert done.code == 0 and done.err.count("\n") == 1 and "38.5 mm apart" in done.err
    assert np.array_equal(values("out.nii"), np.asarray(scan.dataobj))


def test_in_place(medimg: Run, scan: Any) -> None:
    before = np.asarray(scan.dataobj).copy()
    assert medimg("reorient", "--to", "RAS", "scan.nii.gz", "scan.nii.gz").code == 2
    assert medimg("reorient", "-f", "--to", "RAS", "scan.nii.gz", "scan.nii.gz").code == 0
    now: Any = nib.load("scan.nii.gz")
    assert nib.aff2axcodes(now.affine) == ("R", "A", "S")
    assert np.array_equal(np.asarray(now.dataobj)[::-1], before)
    assert json.loads(Path("scan.json").read_text())["PhaseEncodingDirection"] == "j-"


def test_whole_numbers_are_not_squeezed_into_a_range_unasked(medimg: Run, scan: Any) -> None:
    refused = medimg("convert", "--rescale", "0:1", "scan.nii.gz", "x.nii")
    assert refused.code == 2 and "--dtype float32" in refused.err and not Path("x.nii").exists()
    assert medimg("convert", "--rescale", "0:1", "--dtype", "float32", "scan.nii.gz", "x.nii").code == 0
    assert (values("x.nii").min(), values("x.nii").max()) == (0, 1)


def test_a_full_rescale_to_a_format_without_slope_says_that_values_change(medimg: Run, scan: Any) -> None:
    done = medimg("convert", "--dtype", "uint8", "--rescale", "scan.nii.gz", "x.mgz")
    assert done.code == 0 and "themselves become 0:255" in done.err
    out: Any = nib.load("x.mgz")
    assert (out.get_data_dtype(), out.dataobj[...].min(), out.dataobj[...].max()) == (np.uint8, 0, 255)


def test_the_history_of_the_command_itself_is_no_loss(medimg: Run, scan: Any) -> None:
    assert medimg("convert", "--dtype", "float32", "scan.nii.gz", "plain.mgz").code == 0
    done = medimg("reorient", "--strict", "--to", "RAS", "plain.mgz", "turned.mgz")
    assert (done.code, done.err) == (0, "")


def test_an_unknown_orientation_stays_unknown_or_is_said(medimg: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
    image.header["qform_code"] = image.header["sform_code"] = 0
    image.header["pixdim"][1:4] = 1, 2, 3
    nib.save(image, "plain.nii")
    assert medimg("convert", "--strict", "plain.nii", "copy.nii.gz").code == 0
    copy: Any = nib.load("copy.nii.gz")
    assert (int(copy.header["sform_code"]), int(copy.header["qform_code"])) == (0, 0)
    turned = medimg("reorient", "--to", "LPS", "plain.nii", "turned.nii")
    assert turned.code == 0 and "it was unknown" in turned.err
    out: Any = nib.load("turned.nii")
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (2, 0)
    assert medimg("reorient", "--strict", "--to", "LPS", "plain.nii", "strict.nii").code == 2


def test_history_of_a_grid_that_others_moved_is_left_out(medimg: Run, scan: Any) -> None:
    assert medimg("slice", "--index", "[:, 1:]", "scan.nii.gz", "part.nii").code == 0
    part: Any = nib.load("part.nii")
    nib.save(part.slicer[:, 1:], "moved.nii")
    assert "left out" in medimg("info", "moved.nii").out

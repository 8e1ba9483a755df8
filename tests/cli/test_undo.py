"""``medimg undo``: after every other command, through files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg_cli import LabelMap, ScalarImage
from tests.cli.conftest import Run
from tests.helpers import AFFINES

AFFINE = AFFINES["left-handed"].numpy()
TURNED = np.array([[0, 0, 2.5, -40], [-2, 0, 0, 17], [0, -1.5, 0, 9], [0, 0, 0, 1]])
SIDECAR = {
    "PhaseEncodingDirection": "j-",
    "SliceTiming": [0.0, 0.5, 0.1, 0.6, 0.2, 0.7, 0.3, 0.8, 0.4],
    "EchoTime": 0.03,
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a scan whose forms differ, with gradients and a sidecar beside it, and a label map on its grid."""
    monkeypatch.chdir(tmp_path)
    scan = nib.Nifti1Image(np.arange(1, 3241, dtype="int16").reshape(12, 10, 9, 3), None)
    scan.header.set_zooms((2, 1.5, 2.5, 3.5))
    scan.header.set_xyzt_units("mm", "sec")
    scan.set_qform(TURNED, 1)
    scan.set_sform(AFFINE, 2)
    nib.save(scan, "scan.nii.gz")
    Path("scan.json").write_text(json.dumps(SIDECAR))
    Path("scan.bval").write_text("0 1000 1000\n")
    Path("scan.bvec").write_text("0 1 0\n0 0 0.6\n0 0 0.8\n")
    labels = np.zeros((12, 10, 9), "uint8")
    labels[2:7, 3:8, 1:6] = 4
    labels[5:9, 2:6, 4:8] = 9
    nib.save(nib.Nifti1Image(labels, AFFINE), "seg.nii.gz")
    return tmp_path


GEOMETRY = ("dim", "pixdim", "srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "qoffset_x", "xyzt_units")
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
LOSSLESS = (
    ("reorient", "--to", "PIR"),
    ("pad", "--by", "1:2,0,3:1"),
    ("pad", "--to-multiple", "8"),
    ("slice", "--index", "[:, ::-1, :, ::-1]"),
)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mif", ".nii.zarr"])
@pytest.mark.parametrize("words", LOSSLESS, ids=" ".join)
def test_a_lossless_command_is_undone_to_the_bit(medimg: Run, words: tuple[str, ...], suffix: str) -> None:
    """The whole raw header, the voxels and all files that travel with them."""
    assert medimg(*words, "scan.nii.gz", f"there{suffix}").code == 0
    done = medimg("undo", f"there{suffix}", "back.nii.gz")
    assert done.code == 0 and done.out == ""
    assert "back.nii.gz: undone, the last first: " in done.err and "cut off" not in done.err
    one, two = nib.load("scan.nii.gz"), nib.load("back.nii.gz")
    fields = GEOMETRY if suffix == ".mif" else set(one.header) - {"vox_offset", *QUATERNION}  # room for extensions
    for name in fields:
        assert one.header[name].tobytes() == two.header[name].tobytes(), name
    assert all(np.allclose(one.header[name], two.header[name], atol=3e-7) for name in QUATERNION)
    assert np.array_equal(np.asarray(one.dataobj), np.asarray(two.dataobj))
    assert ScalarImage("back.nii.gz").applied_transforms == []
    found, first = (ScalarImage(name).header.gradients for name in ("back.nii.gz", "scan.nii.gz"))
    assert found is not None and first is not None and found.bvals == first.bvals
    assert np.allclose(found.bvecs, first.bvecs, rtol=0, atol=1e-15 if suffix == ".mif" else 0)  # in the world, there
    if Path("there.json").exists():
        sidecar = json.loads(Path("back.json").read_text())
        kept = dict(SIDECAR) if words[0] != "pad" else {k: v for k, v in SIDECAR.items() if k != "SliceTiming"}
        assert {name: sidecar.get(name) for name in kept} == kept


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_what_was_cut_off_is_zero_and_it_says_how_much(medimg: Run, suffix: str) -> None:
    assert medimg("crop", "--by", "2,1,0:3", "scan.nii.gz", f"there{suffix}").code == 0
    done = medimg("undo", f"there{suffix}", "back.nii.gz")
    assert done.code == 0 and "696 of 1,080 voxels had been cut off and are filled with 0" in done.err
    one, two = np.asarray(nib.load("scan.nii.gz").dataobj), np.asarray(nib.load("back.nii.gz").dataobj)
    expected = np.zeros_like(one)
    expected[2:-2, 1:-1, :-3] = one[2:-2, 1:-1, :-3]
    assert np.array_equal(two, expected)
    assert np.array_equal(nib.load("back.nii.gz").affine, nib.load("scan.nii.gz").affine)


def test_a_segmentation_returns_by_its_own_history(medimg: Run) -> None:
    for words in (
        ("reorient", "--to", "RAS", "seg.nii.gz", "a.nii.gz"),
        ("resample", "--spacing", "1", "a.nii.gz", "b.nrrd"),
        ("crop", "--to-nonzero", "--margin", "3mm", "b.nrrd", "c.mha"),
        ("pad", "--to-multiple", "16", "c.mha", "d.nii.gz"),
    ):
        assert medimg(*words).code == 0
    done = medimg("undo", "d.nii.gz", "back.nii.gz")
    assert done.code == 0 and "undone, the last first: " in done.err and "taken for a label map" in done.err
    assert np.array_equal(np.asarray(nib.load("back.nii.gz").dataobj), np.asarray(nib.load("seg.nii.gz").dataobj))
    assert nib.load("back.nii.gz").header["sform_code"] == nib.load("seg.nii.gz").header["sform_code"]


def test_steps(medimg: Run) -> None:
    assert medimg("reorient", "--to", "RAS", "seg.nii.gz", "a.nii.gz").code == 0
    assert medimg("crop", "--by", "1", "a.nii.gz", "b.nii.gz").code == 0
    assert medimg("undo", "--steps", "1", "b.nii.gz", "c.nii.gz").code == 0
    a, c = ScalarImage("a.nii.gz"), ScalarImage("c.nii.gz")
    assert c.grid == a.grid and [step["name"] for step in c.applied_transforms] == ["reorient"]
    assert medimg("undo", "c.nii.gz", "d.nii.gz").code == 0
    assert np.array_equal(nib.load("d.nii.gz").affine, nib.load("seg.nii.gz").affine)


def test_many_segmentations_borrow_one_history(medimg: Run) -> None:
    assert medimg("slice", "--index", "[0]", "scan.nii.gz", "one.nii.gz").code == 0
    assert medimg("reorient", "--to", "RAS", "one.nii.gz", "a.nii.gz").code == 0
    assert medimg("resample", "--spacing", "2", "a.nii.gz", "ready.nii.gz").code == 0
    ready = nib.load("ready.nii.gz")
    for number in (1, 2):
        labels = (ready.get_fdata() > 400 * number).astype("uint8")
        nib.save(nib.Nifti1Image(labels, ready.affine), f"seg{number}.nii.gz")
    words = ("--history", "ready.nii.gz", "--output-dir", "native", "--jobs", "2", "--report", "log.jsonl")
    done = medimg("undo", "seg1.nii.gz", "seg2.nii.gz", *words)
    assert done.code == 0 and "2 done" in done.err
    for number in (1, 2):
        back = LabelMap(f"native/seg{number}.nii.gz")
        assert back.grid == ScalarImage("scan.nii.gz").grid and set(back.count()) == {0, 1}
        truth = int((ScalarImage("scan.nii.gz").numpy()[0] > 400 * number).sum())
        assert back.count()[1] == pytest.approx(truth, rel=0.1)
    record = json.loads(Path("log.jsonl").read_text().splitlines()[0])
    assert record["remarks"][0] == "undone, the last first: resample, reorient, slice"


def test_like_an_original(medimg: Run) -> None:
    """A cropped, turned segmentation that lost its history: voxels are moved, sidecars with them."""
    assert medimg("reorient", "--to", "IPR", "seg.nii.gz", "a.nii.gz").code == 0
    assert medimg("crop", "--to-nonzero", "a.nii.gz", "b.nii.gz").code == 0
    bare = nib.load("b.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(bare.dataobj), bare.affine), "bare.nii.gz")
    Path("bare.json").write_text('{"PhaseEncodingDirection": "i"}')
    done = medimg("undo", "--like", "scan.nii.gz", "bare.nii.gz", "back.nii.gz")
    assert done.code == 0 and "moved by whole voxels to the grid of scan.nii.gz" in done.err
    found, scan = nib.load("back.nii.gz"), nib.load("scan.nii.gz")
    assert np.array_equal(np.asarray(found.dataobj), np.asarray(nib.load("seg.nii.gz").dataobj))
    for form in ("sform", "qform"):
        (one, code), (two, other) = (getattr(each, f"get_{form}")(coded=True) for each in (found, scan))
        assert code == other and np.allclose(one, two, atol=1e-4)
    assert json.loads(Path("back.json").read_text())["PhaseEncodingDirection"] == "k-"


def test_streams_and_quiet(program: Run) -> None:
    program("crop", "--by", "1", "seg.nii.gz", "part.nii.gz")
    done = program("undo", "-q", "-", "back.nii.gz", stdin=Path("part.nii.gz").read_bytes())
    assert (done.code, done.out, done.err) == (0, "", "")
    assert ScalarImage("back.nii.gz").grid == ScalarImage("seg.nii.gz").grid


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("seg.nii.gz",), "seg.nii.gz: carries no history; give --like ORIGINAL, or --history FILE"),
        (("--history", "seg.nii.gz", "part.nii.gz"), "seg.nii.gz: carries no history"),
        (("--history", "part.nii.gz", "seg.nii.gz"), "seg.nii.gz: its grid is not that of part.nii.gz: 12 x 10 x 9 voxels"),
        (("--like", "nowhere.nii", "part.nii.gz"), "nowhere.nii: no such file"),
        (("--like", "seg.nii.gz", "--history", "seg.nii.gz", "part.nii.gz"), "exclude each other"),
        (("--steps", "0", "part.nii.gz"), "--steps 0"),
        (("--steps", "3", "part.nii.gz"), "its history has 1 step;"),
        (("moved.nii.gz",), "its history belongs to another grid and is left out: it was edited since; give --like"),
        (("later.nii.gz",), "operation 'crop' was recorded by a later version of medimg"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(medimg: Run, words: tuple[str, ...], message: str) -> None:
    assert medimg("crop", "--by", "1", "seg.nii.gz", "part.nii.gz").code == 0
    part = nib.load("part.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(part.dataobj), part.affine + np.eye(4, k=3) * 5, part.header), "moved.nii.gz")
    image = ScalarImage("part.nii.gz")
    image._replace_header(image.header.replace(history=({**image.applied_transforms[0], "version": 9},)))
    image.save("later.nii.gz")
    done = medimg("undo", *words, "out.nii.gz")
    assert done.code == 2 and message in done.err and len(done.err.splitlines()) == 1
    assert not Path("out.nii.gz").exists()


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_segmentations_of_any_type_stay_segmentations(medimg: Run, dtype: str) -> None:
    """Networks save floats; what is whole numbers only is never mixed."""
    assert medimg("resample", "--spacing", "1.3", "seg.nii.gz", "net.nii.gz").code == 0
    net = nib.load("net.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(net.dataobj).astype(dtype), net.affine), "found.nii.gz")
    done = medimg("undo", "--history", "net.nii.gz", "found.nii.gz", "back.nii.gz")
    assert done.code == 0 and "taken for a label map" in done.err
    assert set(LabelMap("back.nii.gz").count()) == {0, 4, 9}
    several = np.stack([np.asarray(net.dataobj)] * 2, -1)
    nib.save(nib.Nifti1Image(several, net.affine), "two.nii.gz")
    assert medimg("undo", "--like", "seg.nii.gz", "two.nii.gz", "both.nii.gz").code == 0
    assert set(LabelMap("both.nii.gz").count()) == {0, 4, 9}


def test_what_fills_where_0_cannot_be_stored(medimg: Run) -> None:
    image = nib.Nifti1Image(np.full((6, 6, 6), 5, "uint8"), AFFINE)
    image.header.set_slope_inter(1, 10)
    nib.save(image, "off.nii")
    assert medimg("crop", "--by", "1", "off.nii", "part.nii").code == 0
    done = medimg("undo", "part.nii", "back.nii")
    assert done.code == 0 and "152 of 216 voxels had been cut off and are filled with 10, because it cannot" in done.err
    done = medimg("resample", "--like", "scan.nii.gz", "off.nii", "there.nii")
    assert done.code == 0 and "beyond the image it is filled with 10" in done.err

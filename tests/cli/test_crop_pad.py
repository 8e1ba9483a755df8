"""``medimg crop`` and ``medimg pad`` on real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.backends import with_header
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.labels import LabelTable
from tests.cli.conftest import Run

AFFINE = np.array([[-1.9, 0.3, 0, 30], [0.2, 1.4, 0.4, -20], [0, -0.5, 2.4, 11], [0, 0, 0, 1]])  # L, A, S


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sheared, left-handed series of four volumes with slope, gradients and a sidecar; a label map on its grid."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(5)
    scan = nib.Nifti1Image(random.integers(1, 900, (12, 10, 9, 4), dtype=np.int16), AFFINE)
    scan.header.set_slope_inter(0.5, 10)
    scan.header["pixdim"][4] = 2.5
    scan.header.set_xyzt_units("mm", "sec")
    nib.save(scan, "scan.nii.gz")
    Path("scan.bval").write_text("0 1000 1000 2000\n")
    Path("scan.bvec").write_text("0 1 0 0\n0 0 1 0.6\n0 0 0 0.8\n")
    times = [round(0.1 * n * n, 3) for n in range(9)]
    Path("scan.json").write_text(json.dumps({"SliceTiming": times, "PhaseEncodingDirection": "j-"}))
    labels = np.zeros((12, 10, 9), "uint8")
    labels[2:7, 3:8, 1:6] = 4
    labels[5:9, 2:6, 4:8] = 9
    nib.save(nib.Nifti1Image(labels, AFFINE), "seg.nii.gz")


def loaded(path: str) -> Any:
    return nib.load(path)


def part(path: str, *spans: slice) -> None:
    """Check that a file holds a part of the scan, in its place in the world, scaled and timed alike."""
    scan, found = loaded("scan.nii.gz"), loaded(path)
    assert np.array_equal(found.dataobj.get_unscaled(), scan.dataobj.get_unscaled()[spans])
    start = [span.indices(n)[0] for span, n in zip(spans, scan.shape, strict=False)]
    assert np.allclose(found.affine[:, :3], scan.affine[:, :3], atol=1e-6)
    assert np.allclose(found.affine[:3, 3], apply_affine(scan.affine, start), atol=1e-5)
    assert (found.dataobj.slope, found.dataobj.inter) == (0.5, 10) and found.header["pixdim"][4] == 2.5
    assert found.get_data_dtype() == np.int16


ALL = slice(None)


@pytest.mark.parametrize(
    ("words", "spans"),
    [
        ("--by 1", (slice(1, -1),) * 3),
        ("--by 1:2,0,0:3", (slice(1, -2), ALL, slice(0, -3))),
        ("--by 25%,10%:0,0", (slice(3, -3), slice(1, None), ALL)),
        ("--axis S --by 5mm", (ALL, ALL, slice(0, -2))),
        ("--axis R --by 2 --axis I --by 3", (slice(2, None), ALL, slice(3, None))),
        ("--axis S --keep 3:-1", (ALL, ALL, slice(3, 8))),
        ("--axis A --keep -12mm:-9mm", (ALL, slice(4, 7), ALL)),
        ("--to-mask seg.nii.gz", (slice(2, 9), slice(2, 8), slice(1, 8))),
        ("--to-mask seg.nii.gz --label 9 --margin 1", (slice(4, 10), slice(1, 7), slice(3, 9))),
        ("--to-multiple 4", (ALL, slice(1, 9), slice(1, 9))),
        ("--to-shape 6", (slice(3, 9), slice(2, 8), slice(2, 8))),
        ("--to-nonzero", (ALL, ALL, ALL)),
    ],
)
def test_a_crop_is_a_part_in_its_place(medimg: Run, words: str, spans: tuple[slice, ...]) -> None:
    done = medimg("crop", *words.split(), "scan.nii.gz", "out.nii.gz")
    assert done.code == 0 and done.out == "", done.err
    assert done.err.startswith("medimg: out.nii.gz: ")
    part("out.nii.gz", *spans)


def test_what_is_kept_is_said_and_may_be_sliced(medimg: Run) -> None:
    done = medimg("crop", "--to-mask", "seg.nii.gz", "scan.nii.gz", "out.nii.gz")
    assert done.err == "medimg: out.nii.gz: keeps 7 x 6 x 7 of 12 x 10 x 9 voxels, [:, 2:9, 2:8, 1:8]\n"
    assert medimg("slice", "--index", "[:, 2:9, 2:8, 1:8]", "scan.nii.gz", "slice.nii.gz").code == 0
    assert ScalarImage("slice.nii.gz").grid.same_as(ScalarImage("out.nii.gz").grid, 1e-5)
    quiet = medimg("crop", "-q", "--by", "1", "scan.nii.gz", "quiet.nii.gz")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_sidecars_and_gradients_follow(medimg: Run) -> None:
    assert medimg("crop", "--axis", "I", "--by", "3", "--axis", "S", "--by", "2", "scan.nii.gz", "out.nii.gz").code == 0
    facts = json.loads(Path("out.json").read_text())
    assert facts == {"SliceTiming": [0.9, 1.6, 2.5, 3.6], "PhaseEncodingDirection": "j-"}
    assert np.loadtxt("out.bval").tolist() == [0, 1000, 1000, 2000]
    assert np.allclose(np.loadtxt("out.bvec"), np.loadtxt("scan.bvec"))
    assert medimg("pad", "--by", "0,0,1", "scan.nii.gz", "more.nii.gz").code == 0
    assert "SliceTiming" not in json.loads(Path("more.json").read_text())


def test_a_mask_on_another_grid(medimg: Run) -> None:
    assert medimg("reorient", "--to", "PIR", "seg.nii.gz", "turned.nii.gz").code == 0
    assert medimg("crop", "--by", "1", "turned.nii.gz", "turned_small.nrrd").code == 0
    assert medimg("crop", "--to-mask", "turned_small.nrrd", "scan.nii.gz", "out.nii.gz").code == 0
    part("out.nii.gz", slice(2, 9), slice(2, 8), slice(1, 8))


def test_names_of_labels_in_a_segmentation(medimg: Run) -> None:
    labels = LabelTable({4: "left thing", 9: "tumour"})
    seg = open_backend("seg.nii.gz")
    save_backend(with_header(seg, seg.header.replace(labels=labels, intent="label")), "seg.seg.nrrd")
    words = ("--to-mask", "seg.seg.nrrd", "--label", "Tumour")
    assert medimg("crop", *words, "scan.nii.gz", "out.nii.gz").code == 0
    part("out.nii.gz", slice(5, 9), slice(2, 6), slice(4, 8))


def test_the_history_in_the_file_leads_back(medimg: Run) -> None:
    assert medimg("crop", "--to-mask", "seg.nii.gz", "scan.nii.gz", "one.nii.gz").code == 0
    assert medimg("pad", "--to-multiple", "8", "one.nii.gz", "two.nii.gz").code == 0
    found = ScalarImage("two.nii.gz")
    assert [step["name"] for step in found.applied_transforms] == ["crop", "crop_or_pad"]
    assert found.spatial_shape == (8, 8, 8)
    back = found.apply_inverse_transform()
    scan = ScalarImage("scan.nii.gz")
    assert back.grid.same_as(scan.grid, 1e-4)
    assert np.array_equal(back.numpy()[:, 2:9, 2:8, 1:8], scan.numpy()[:, 2:9, 2:8, 1:8])


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap", "constant"])
def test_a_pad_is_numpy_s_and_in_its_place(medimg: Run, mode: Any) -> None:
    done = medimg("pad", "--by", "2,0:3,1", "--mode", mode, "scan.nii.gz", "out.nii.gz")
    assert (
        done.code == 0 and "12 x 10 x 9 voxels become 16 x 13 x 11, 2:2 along i, 0:3 along j, 1:1 along k" in done.err
    )
    scan, found = loaded("scan.nii.gz"), loaded("out.nii.gz")
    width = ((2, 2), (0, 3), (1, 1), (0, 0))
    filled: Any = {"constant_values": -20} if mode == "constant" else {}  # -20 is stored for 0
    assert np.array_equal(found.dataobj.get_unscaled(), np.pad(scan.dataobj.get_unscaled(), width, mode=mode, **filled))
    assert np.allclose(found.affine[:3, 3], apply_affine(scan.affine, (-2, 0, -1)), atol=1e-5)


def test_pads_by_anatomy_and_to_shapes(medimg: Run) -> None:
    fill = ("--fill", "-1000")
    assert medimg("pad", "--axis", "S", "--by", "10mm", *fill, "scan.nii.gz", "out.nii.gz").code == 0
    values = np.asarray(loaded("out.nii.gz").dataobj)
    assert values.shape[:3] == (12, 10, 14) and (values[:, :, 9:] == -1000).all()
    assert np.allclose(loaded("out.nii.gz").affine, AFFINE, atol=1e-5)
    assert medimg("pad", "--to-cube", "scan.nii.gz", "cube.nii.gz").code == 0
    assert ScalarImage("cube.nii.gz").spatial_shape == (12, 12, 12)
    refused = medimg("pad", "--to-shape", "10,12,12", "scan.nii.gz", "no.nii.gz")
    assert refused.code == 2 and not Path("no.nii.gz").exists()
    assert refused.err == "medimg: scan.nii.gz: --to-shape 10,12,12: it has 12 voxels along i; add --or-crop\n"
    assert medimg("pad", "--to-shape", "10,12,12", "--or-crop", "scan.nii.gz", "yes.nii.gz").code == 0
    assert medimg("crop", "--to-shape", "10,12,12", "--or-pad", "scan.nii.gz", "too.nii.gz").code == 0
    assert ScalarImage("yes.nii.gz").grid == ScalarImage("too.nii.gz").grid


def test_many_images_one_mask_and_a_report(medimg: Run) -> None:
    assert medimg("crop", "--by", "0,0,2", "seg.nii.gz", "small.nii.gz").code == 0
    words = ("--to-mask", "seg.nii.gz", "--output-dir", "out", "--report", "log.jsonl", "--jobs", "2")
    assert medimg("crop", *words, "scan.nii.gz", "seg.nii.gz", "small.nii.gz").code == 0
    records = {record["input"]: record for record in map(json.loads, Path("log.jsonl").read_text().splitlines())}
    assert records["scan.nii.gz"]["remarks"] == ["keeps 7 x 6 x 7 of 12 x 10 x 9 voxels, [:, 2:9, 2:8, 1:8]"]
    kept, beyond = records["small.nii.gz"]["remarks"]
    assert "keeps 7 x 6 x 5 of 12 x 10 x 5 voxels" in kept and "the mask reaches 2.433 mm beyond the image" in beyond
    whole, part = LabelMap("seg.nii.gz").count(), LabelMap("out/seg.nii.gz").count()
    assert (part[4], part[9]) == (whole[4], whole[9]) and part[0] == 7 * 6 * 7 - part[4] - part[9]


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("crop", "", "give one of --by, --keep, --to-mask, --to-nonzero, --to-multiple and --to-shape; as in --by 10mm"),
        ("crop", "--by -3", "--by -3: this is no amount; write 10 (whole voxels), 10mm or 5%, none of them negative"),
        ("crop", "--axis S --keep -900mm:-800mm", "scan.nii.gz: --keep -900mm:-800mm holds nothing of the image; along S"),
        ("crop", "--axis S --by 1 --by 2", "--axis is given 1 and --by 2 times; give them in pairs, as in --axis S --by 30mm"),
        ("crop", "--axis X --by 1", "axis 'X' is none of R, L, A, P, S, I"),
        ("crop", "--to-mask seg.nii.gz --label 7", "seg.nii.gz: the mask holds no voxel of label 7"),
        ("crop", "--to-mask seg.nii.gz --label liver", "seg.nii.gz: no label is called 'liver': there is no label table"),
        ("crop", "--to-mask none.nii.gz", "none.nii.gz: no such file"),
        ("crop", "--to-multiple 16", "scan.nii.gz: --to-multiple 16: it has only 12 voxels along i; use 'medimg pad'"),
        ("crop", "--by 40mm", "scan.nii.gz: nothing is left"),
        ("pad", "--by 3 --mode edge --fill 0", "a value to fill with makes no sense with mode 'edge'"),
        ("pad", "--by 3 --fill 0.3", "scan.nii.gz: padding with 0.3 is impossible"),
        ("pad", "", "give one of --by, --to-multiple, --to-shape and --to-cube"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_no_file(medimg: Run, command: str, words: str, message: str) -> None:
    result = medimg(command, *words.split(), "scan.nii.gz", "out.nii.gz")
    assert result.code == 2 and result.out == "" and not Path("out.nii.gz").exists()
    assert result.err.startswith(f"medimg: {message}") and result.err.count("\n") == 1, result.err


def test_colours_stay_colours(medimg: Run) -> None:
    rgb = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    array = np.random.default_rng(1).integers(0, 255, (6, 5, 4, 3), dtype="u1").view(rgb)[..., 0]
    nib.save(nib.Nifti1Image(array, AFFINE), "rgb.nii")
    assert medimg("crop", "--by", "1,0,0:2", "rgb.nii", "part.nii").code == 0
    found = loaded("part.nii")
    assert found.get_data_dtype() == rgb and np.array_equal(np.asarray(found.dataobj), array[1:-1, :, :-2])
    assert medimg("pad", "--by", "1,0,0:2", "part.nii", "back.nii").code == 0
    assert np.array_equal(np.asarray(loaded("back.nii").dataobj)[1:-1, :, :-2], array[1:-1, :, :-2])

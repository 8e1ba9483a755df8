"""``medimg merge`` and ``medimg split`` on files, beside mrcat, mrconvert and nibabel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.funcs import concat_images, four_to_three

from medimg_cli.backends import Backend
from medimg_cli.formats import open_backend
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from tests.cli.conftest import Run
from tests.helpers import contents, read, unlike

AFFINE = np.array([[-1.9, 0.3, 0, 30], [0.2, 1.4, 0.4, -20], [0, -0.5, 2.4, 11], [0, 0, 0, 1]])  # L, A, S
STRAIGHT = np.array([[0, 0, 3.0, -40], [-0.9, 0, 0, 12.5], [0, -1.25, 0, 7], [0, 0, 0, 1]])  # P, I, R


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with a sheared, left-handed diffusion series with slope, gradients and a sidecar."""
    monkeypatch.chdir(tmp_path)
    dwi = nib.Nifti1Image(np.random.default_rng(5).integers(1, 900, (7, 6, 5, 4), dtype=np.int16), AFFINE)
    dwi.header.set_slope_inter(0.5, 10)
    dwi.header["pixdim"][4] = 2.5
    dwi.header.set_xyzt_units("mm", "sec")
    nib.save(dwi, "dwi.nii.gz")
    Path("dwi.bval").write_text("0 1000 1000 2000\n")
    Path("dwi.bvec").write_text("0 1 0 0\n0 0 1 0.6\n0 0 0 0.8\n")
    Path("dwi.json").write_text(json.dumps({"SliceTiming": [0, 1, 2, 3, 4], "EchoTime": 0.08}))


def save(
    name: str, shape: tuple[int, ...] = (7, 6, 5), dtype: str = "int16", affine: Any = STRAIGHT, seed: int = 0
) -> Any:
    array = np.random.default_rng(seed).integers(0, 99, shape).astype(dtype)
    kind = nib.MGHImage if name.endswith(".mgz") else nib.Nifti1Image
    nib.save(kind(array, affine), name)
    return array


def tool(*words: str) -> None:
    if which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    subprocess.run([*words, "-quiet"], check=True, capture_output=True)


def upright(name: str) -> Backend:
    """Open an image, its axes as they run to R, A and S: MRtrix stores them as it likes."""
    return apply(Reorient("RAS"), open_backend(name))


def same(a: str, b: str) -> None:
    """Check that two files hold the same values in the same place."""
    one, two = upright(a), upright(b)
    assert unlike(read(one), read(two)) is None
    assert one.header.grid.same_as(two.header.grid)


# -- there and back again


@pytest.mark.parametrize("words", ["", "--every 3", "--axis S --every 2", "--axis R"])
def test_there_and_back(medimg: Run, words: str) -> None:
    done = medimg("split", *words.split(), "dwi.nii.gz", "parts/p{}.nii.gz")
    assert done.code == 2 and "No such file" not in done.err  # the folder is not there
    done = medimg("split", *words.split(), "dwi.nii.gz", "p{}.nii.gz")
    assert done.code == 0 and "parts, p000.nii.gz to p" in done.err
    files = sorted(map(str, Path().glob("p*.nii.gz")), reverse="axis" in words)
    axis = words.split()[:2] if "axis" in words else []
    assert medimg("merge", *axis, *files, "again.nii.gz").code == 0
    before, after = nib.load("dwi.nii.gz"), nib.load("again.nii.gz")
    assert np.array_equal(before.dataobj.get_unscaled(), after.dataobj.get_unscaled())
    assert np.array_equal(before.affine, after.affine)
    assert (after.dataobj.slope, after.dataobj.inter) == (0.5, 10)
    assert after.header["pixdim"][4] == 2.5 and after.get_data_dtype() == np.int16
    assert np.allclose(np.loadtxt("again.bval"), np.loadtxt("dwi.bval"))
    assert np.allclose(np.loadtxt("again.bvec"), np.loadtxt("dwi.bvec"))


def test_what_travels_with_parts(medimg: Run) -> None:
    assert medimg("split", "--every", "2", "dwi.nii.gz", "part.nii.gz").code == 0
    assert Path("part_001.bval").read_text() == "1000 2000\n"
    assert json.loads(Path("part_000.json").read_text())["SliceTiming"] == [0, 1, 2, 3, 4]
    assert medimg("split", "--axis", "S", "--every", "3", "dwi.nii.gz", "slab.nii.gz").code == 0
    assert json.loads(Path("slab_001.json").read_text())["SliceTiming"] == [3, 4]
    assert nib.load("slab_001.nii.gz").header["pixdim"][4] == 2.5
    assert np.allclose(nib.load("slab_001.nii.gz").affine @ [0, 0, 0, 1], AFFINE @ [0, 0, 3, 1], atol=1e-5)


def test_the_sidecar_of_the_first_travels(medimg: Run) -> None:
    assert medimg("split", "--every", "2", "dwi.nii.gz", "p.nii.gz").code == 0
    Path("p_001.json").write_text(json.dumps({"SliceTiming": [0, 1, 2, 3, 4], "EchoTime": 0.09}))
    done = medimg("merge", "p_000.nii.gz", "p_001.nii.gz", "out.nii.gz")
    assert "that of p_000.nii.gz; those of inputs differ in EchoTime\n" in done.err
    assert json.loads(Path("out.json").read_text()) == json.loads(Path("dwi.json").read_text())
    assert medimg("split", "--axis", "S", "dwi.nii.gz", "s.nii.gz").code == 0
    slabs = [f"s_00{n}.nii.gz" for n in range(5)]
    assert medimg("merge", "--axis", "S", *slabs, "stack.nii.gz").code == 0
    assert json.loads(Path("stack.json").read_text()) == {"EchoTime": 0.08}  # times of one slice are not those of five


# -- other programs


def test_nibabel_agrees(medimg: Run) -> None:
    nib.save(concat_images(["dwi.nii.gz", "dwi.nii.gz"], axis=3), "twice.nii")
    assert medimg("merge", "dwi.nii.gz", "dwi.nii.gz", "ours.nii").code == 0
    ours, theirs = nib.load("ours.nii"), nib.load("twice.nii")
    assert np.allclose(ours.get_fdata(), theirs.get_fdata(), atol=0.01)  # nibabel chooses another slope
    assert np.allclose(ours.affine, theirs.affine) and ours.shape == theirs.shape
    assert medimg("split", "dwi.nii.gz", "v.nii").code == 0
    for n, volume in enumerate(four_to_three(nib.load("dwi.nii.gz"))):
        assert np.array_equal(volume.get_fdata(), nib.load(f"v_00{n}.nii").get_fdata().reshape(volume.shape))


@pytest.mark.parametrize(("axis", "theirs"), [("time", "3"), ("R", "0"), ("A", "1"), ("S", "2")])
def test_mrcat_agrees(medimg: Run, axis: str, theirs: str) -> None:
    where = np.diag([2.0, 3, 4, 1])
    move = np.zeros((4, 4))
    if axis != "time":
        move[int(theirs), 3] = where.diagonal()[int(theirs)] * (7, 6, 5)[int(theirs)]
    save("a.nii.gz", affine=where, seed=1)
    save("b.nii.gz", affine=where + move, seed=2)
    tool("mrcat", "a.nii.gz", "b.nii.gz", "-axis", theirs, "theirs.nii")
    assert medimg("merge", "--axis", axis, "a.nii.gz", "b.nii.gz", "ours.nii").code == 0
    same("ours.nii", "theirs.nii")
    if axis != "time":  # order does not matter to us
        assert medimg("merge", "--axis", axis, "b.nii.gz", "a.nii.gz", "other.nii").code == 0
        same("other.nii", "theirs.nii")


def test_mrconvert_agrees(medimg: Run) -> None:
    image = nib.load("dwi.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), STRAIGHT), "dwi.nii.gz")  # without shear
    assert medimg("split", "--every", "2", "dwi.nii.gz", "v.mif").code == 0
    tool("mrconvert", "dwi.nii.gz", "-fslgrad", "dwi.bvec", "dwi.bval", "-coord", "3", "2:3", "theirs.mif")
    same("v_001.mif", "theirs.mif")
    ours, theirs = (upright(name).header.gradients for name in ("v_001.mif", "theirs.mif"))
    assert ours is not None and theirs is not None
    assert np.allclose(ours.bvals, theirs.bvals) and np.allclose(ours.bvecs, theirs.bvecs, atol=1e-5)


# -- what fits together


def test_formats_mix(medimg: Run) -> None:
    one, two = save("a.nii.gz", seed=1), save("b.mgz", dtype="uint8", seed=2)
    done = medimg("merge", "a.nii.gz", "b.mgz", "out.nrrd")
    assert done.code == 0, done.err
    assert np.array_equal(read(open_backend("out.nrrd")), np.stack([one, two]))
    assert open_backend("out.nrrd").header.dtype == "int16"


def test_colours(medimg: Run) -> None:
    kind = np.dtype([(c, "u1") for c in "RGB"])
    for n in range(2):
        array = np.random.default_rng(n).integers(0, 255, (5, 4, 3, 3), dtype="u1").view(kind)[..., 0]
        nib.save(nib.Nifti1Image(array, STRAIGHT), f"{n}.nii.gz")
    assert medimg("merge", "--axis", "time", "--tr", "2", "0.nii.gz", "1.nii.gz", "out.nii.gz").code == 0
    found = nib.load("out.nii.gz")
    assert found.shape == (5, 4, 3, 2) and found.header["pixdim"][4] == 2
    for n in range(2):
        assert np.array_equal(np.asarray(found.dataobj)[..., n], np.asarray(nib.load(f"{n}.nii.gz").dataobj))


def test_grids_that_differ_are_refused_in_one_line(medimg: Run) -> None:
    save("a.nii.gz")
    moved = STRAIGHT.copy()
    moved[2, 3] += 0.5
    save("b.nii.gz", affine=moved)
    done = medimg("merge", "a.nii.gz", "b.nii.gz", "out.nii.gz")
    assert done.code == 2 and done.err.count("\n") == 1 and not Path("out.nii.gz").exists()
    assert "medimg: b.nii.gz: its grid lies 0.5 mm from that of a.nii.gz; resample it first" in done.err
    assert medimg("merge", "--tolerance", "0.6", "a.nii.gz", "b.nii.gz", "out.nii.gz").code == 0
    assert medimg("reorient", "--to", "RAS", "a.nii.gz", "r.nii.gz").code == 0
    done = medimg("merge", "a.nii.gz", "r.nii.gz", "no.nii.gz")
    assert done.code == 2 and "medimg reorient --to PIR" in done.err


def test_a_gap_is_refused_in_one_line(medimg: Run) -> None:
    assert medimg("split", "--axis", "S", "--every", "2", "dwi.nii.gz", "s.nii.gz").code == 0
    done = medimg("merge", "--axis", "S", "s_002.nii.gz", "s_000.nii.gz", "out.nii.gz")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "s_002.nii.gz: a gap of 4.866 mm between it and s_000.nii.gz" in done.err


# -- outputs


def test_one_output(medimg: Run) -> None:
    save("a.nii"), save("b.nii", seed=1)
    assert medimg("merge", "a.nii", "b.nii", "out.nii").code == 0
    done = medimg("merge", "a.nii", "b.nii", "out.nii")
    assert done.code == 2 and "out.nii: exists; use --force" in done.err
    assert medimg("merge", "--skip-existing", "a.nii", "b.nii", "out.nii").code == 0
    os.utime("out.nii", (10**9, 10**9))
    os.utime("a.nii", (10**8, 10**8))
    os.utime("b.nii", (10**8, 10**8))
    assert medimg("merge", "--if-newer", "a.nii", "b.nii", "out.nii").code == 0
    assert os.stat("out.nii").st_mtime == 10**9
    os.utime("b.nii", (10**9 + 1, 10**9 + 1))  # any of the inputs counts
    assert medimg("merge", "--if-newer", "a.nii", "b.nii", "out.nii").code == 0
    assert os.stat("out.nii").st_mtime != 10**9
    assert medimg("merge", "--force", "a.nii", "out.nii", "out.nii").code == 0
    assert nib.load("out.nii").shape[3] == 3
    assert medimg("merge", "--jobs", "2", "a.nii", "b.nii", "x.nii").code == 2  # no option of one output


def test_lists_reports_and_dry_runs(medimg: Run) -> None:
    save("a.nii"), save("b.nii", seed=1)
    Path("list.txt").write_text("b.nii\na.nii\n")
    done = medimg("merge", "--files-from", "list.txt", "--dry-run", "dwi.nii.gz", "out.nii")
    assert done.code == 0 and done.out == "dwi.nii.gz, b.nii, a.nii -> out.nii\n" and not Path("out.nii").exists()
    done = medimg("merge", "--dry-run", "a.nii", "gone.nii", "out.nii")
    assert done.code == 2 and "gone.nii: no such file" in done.err
    assert medimg("merge", "--files-from", "list.txt", "--report", "r.jsonl", "out.nii").code == 0
    line = json.loads(Path("r.jsonl").read_text())
    assert (line["inputs"], line["output"], line["status"]) == (["b.nii", "a.nii"], "out.nii", "done")
    assert medimg("split", "--report", "r.jsonl", "out.nii", "p.nii").code == 0
    assert json.loads(Path("r.jsonl").read_text())["outputs"] == ["p_000.nii", "p_001.nii"]


def test_parts_exist_or_not(medimg: Run) -> None:
    assert medimg("split", "dwi.nii.gz", "v.nii").code == 0
    before = contents(Path())
    for words, code in ((["--skip-existing"], 0), (["--if-newer"], 0), ([], 2), (["--dry-run"], 2)):
        assert medimg("split", *words, "dwi.nii.gz", "v.nii").code == code
        assert contents(Path()) == before
    Path("v_000.nii").unlink()
    done = medimg("split", "dwi.nii.gz", "v.nii")
    assert done.code == 2 and "v_001.nii: exists; use --force" in done.err and not Path("v_000.nii").exists()
    assert medimg("split", "--force", "dwi.nii.gz", "v.nii").code == 0
    assert contents(Path()) == before


def test_folders_of_parts(medimg: Run) -> None:
    Path("in").mkdir()
    save("in/a.nii", (3, 4, 5, 2)), save("in/b.nii", (3, 4, 5, 2))
    done = medimg("split", "in/a.nii", "in/b.nii", "--output-dir", "out", "--suffix", ".nrrd")
    assert done.code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [f"{x}_00{n}.nrrd" for x in "ab" for n in range(2)]
    assert medimg("split", "in/a.nii", "run_{}/a.nii").code == 0 and Path("run_001/a.nii").exists()
    assert medimg("split", "in/a.nii", "-").code == 2


def test_losses_are_refused_before_a_file_appears(medimg: Run) -> None:
    for words in (("merge", "dwi.nii.gz", "dwi.nii.gz", "out.mgz"), ("split", "dwi.nii.gz", "out.mgz")):
        before = contents(Path())
        done = medimg(words[0], "--strict", *words[1:])
        assert done.code == 2 and "cannot hold" in done.err and contents(Path()) == before
        done = medimg(*words)
        assert done.code == 0 and "not kept: " in done.err


def test_levels_of_compression(medimg: Run) -> None:
    save("a.nii", (40, 40, 30, 2))
    sizes = []
    for level in "19":
        assert medimg("split", "--compression-level", level, "a.nii", f"{level}.nii.gz").code == 0
        assert medimg("merge", "--compression-level", level, "a.nii", "a.nii", f"m{level}.nii.gz").code == 0
        sizes.append((Path(f"{level}_000.nii.gz").stat().st_size, Path(f"m{level}.nii.gz").stat().st_size))
    assert sizes[1][0] < sizes[0][0] and sizes[1][1] < sizes[0][1]


def test_nothing_to_split(medimg: Run) -> None:
    save("a.nii")
    done = medimg("split", "a.nii", "p.nii")
    assert done.code == 2 and "a.nii: has one channel and no time; give --axis S" in done.err


def test_streams() -> None:
    one = save("a.nii")
    words = [sys.executable, "-m", "medimg_cli", "merge", "-", "a.nii", "-"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(words, input=Path("a.nii").read_bytes(), capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    Path("out.nii").write_bytes(done.stdout)
    assert np.array_equal(read(open_backend("out.nii")), np.stack([one, one]))


def test_standard_input_is_one_image(medimg: Run) -> None:
    done = medimg("merge", "-", "-", "out.nii")
    assert done.code == 2 and "standard input is one image; give - once" in done.err


@pytest.mark.parametrize("words", ["--axis X", "--axis S --tr 2", "--tolerance -1"])
def test_wrong_usage(medimg: Run, words: str) -> None:
    done = medimg("merge", *words.split(), "dwi.nii.gz", "dwi.nii.gz", "out.nii")
    assert done.code == 2 and done.err.startswith("medimg: --") and done.err.count("\n") == 1
    assert medimg("split", "--every", "0", "dwi.nii.gz", "p.nii").code == 2


def test_types_that_hardly_anybody_reads_are_not_made(medimg: Run) -> None:
    nib.save(nib.Nifti1Image(np.full((7, 6, 5), 3), STRAIGHT, dtype="int64"), "a.nii")
    save("b.nii", dtype="float32")
    done = medimg("merge", "a.nii", "b.nii", "out.nii")
    assert done.code == 2 and "no usual type holds all values" in done.err and not Path("out.nii").exists()
    assert medimg("convert", "--dtype", "float64", "a.nii", "c.nii").code == 0
    assert medimg("merge", "c.nii", "b.nii", "out.nii").code == 0
    assert nib.load("out.nii").get_data_dtype() == np.float64


def test_axes_that_are_not_named_are_not_flattened(medimg: Run) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2, 3), "uint8"), STRAIGHT), "many.nii")
    assert [kind for kind, _ in open_backend("many.nii").header.axes] == ["channel", "channel"]
    for words in (
        ("merge", "--axis", "time", "many.nii", "many.nii", "out.nii"),
        ("split", "--axis", "time", "many.nii", "out.nii"),
    ):
        done = medimg(*words)
        assert done.code == 2 and "none of which is time" in done.err


def test_a_failed_split_leaves_no_folder(medimg: Run) -> None:
    Path("out").mkdir()
    assert medimg("split", "dwi.nii.gz", "out/{}/x.foo").code == 2
    assert list(Path("out").iterdir()) == []

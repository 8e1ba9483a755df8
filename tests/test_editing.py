"""Edits of headers: other facts, the same voxels."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.batch import Report, Task
from medimg_cli.editing import Editing, EditRequest, edited, process, told
from medimg_cli.errors import GeometryError, MedImgError, StorageError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header
from medimg_cli.storage.stored import whole
from tests.helpers import AFFINES, voxels
from tests.strategies import affines, codes, shapes

SUFFIXES = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha", ".mif")
KINDS = ("oblique", "left-handed", "permuted")
SHAPE = (3, 5, 4, 7)


def header(kind: str = "oblique", **changes: Any) -> Header:
    return Header(shape=SHAPE, dtype="int16", affine=AFFINES[kind], axes=(("time", 3),), time_spacing=2.5).replace(
        **changes
    )


def write(path: Path, said: Header | None = None) -> str:
    """Write a 4-D image of every stored number; return its name."""
    said = said or header()
    save_backend(ArrayBackend(voxels(said.shape, said.dtype), said), str(path))
    return str(path)


def stored(path: str | Path) -> np.ndarray[Any, Any]:
    backend = open_backend(str(path))
    return backend.read(whole(backend.header.shape), raw=True)


def edit(source: str | Path, target: str | Path, **wishes: Any) -> Report:
    task = Task(str(source), str(target), force=str(source) == str(target))
    return process(task, Editing(EditRequest(**wishes)), threads=1)


def place(affine: Any) -> str:
    return " ".join(repr(float(value)) for row in np.asarray(AffineMatrix(affine).rows)[:3] for value in row)


# -- what is asked for is what comes back


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_affine_in_every_format(tmp_path: Path, suffix: str, kind: str) -> None:
    source = write(tmp_path / f"in{suffix}", header(kind))
    before = open_backend(source).header
    edit(source, tmp_path / f"out{suffix}", spacing="0.5,2,1.25", center="10,-20,30")
    after = open_backend(str(tmp_path / f"out{suffix}")).header
    assert np.allclose(after.spacing, (0.5, 2, 1.25), atol=1e-5) and np.allclose(
        after.grid.center, (10, -20, 30), atol=1e-4
    )
    assert np.allclose(after.affine.direction, before.affine.direction, atol=1e-5)
    assert after.orientation == before.orientation
    assert np.array_equal(stored(source), stored(tmp_path / f"out{suffix}"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_time_and_stored_numbers_in_every_format(tmp_path: Path, suffix: str) -> None:
    said = header() if suffix in (".mgz", ".mha") else header(slope=0.25, inter=-3.0)
    source, target = write(tmp_path / f"in{suffix}", said), tmp_path / f"out{suffix}"
    report = edit(source, target, tr=1.25, origin="1,2,3")
    before, after = open_backend(source).header, open_backend(str(target)).header
    assert after.time_spacing == pytest.approx(1.25) and np.allclose(after.origin, (1, 2, 3), atol=1e-5)
    assert (after.dtype, after.slope, after.inter) == (before.dtype, before.slope, before.inter)
    assert np.array_equal(stored(source), stored(target))
    assert any("2.5 -> 1.25 s" in remark for remark in report.remarks)
    assert not report.losses


@pytest.mark.parametrize("version", [1, 2])
def test_nibabel_simpleitk_and_mrtrix_read_what_was_asked_for(tmp_path: Path, version: int) -> None:
    wanted = np.array(AFFINES["left-handed"].rows)
    kind: Any = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(voxels((5, 4, 7), "int16"), np.array(AFFINES["oblique"].rows))
    image.set_qform(image.affine, 1)
    nib.save(image, tmp_path / "in.nii")
    edit(tmp_path / "in.nii", tmp_path / "out.nii", affine=place(wanted))
    found: Any = nib.load(tmp_path / "out.nii")
    assert isinstance(found, kind)
    assert np.allclose(found.get_sform(), wanted, atol=1e-5) and np.allclose(found.get_qform(), wanted, atol=1e-4)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (2, 1)
    if version == 1:  # ITK reads no NIfTI-2
        read = sitk.ReadImage(str(tmp_path / "out.nii"))
        assert np.allclose(read.GetOrigin(), wanted[:3, 3] * (-1, -1, 1), atol=1e-4)
        assert np.allclose(read.GetSpacing(), np.linalg.norm(wanted[:3, :3], axis=0), atol=1e-5)
    if shutil.which("mrinfo") is None:
        pytest.skip("mrinfo is not installed; nibabel and SimpleITK agree")
    done = subprocess.run(
        ["mrinfo", "-transform", "-config", "RealignTransform", "false", str(tmp_path / "out.nii")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = np.array([[float(word) for word in line.split()] for line in done.stdout.splitlines() if line.strip()])
    assert np.allclose(rows[:3, 3], wanted[:3, 3], atol=1e-3)
    assert np.allclose(rows[:3, :3], wanted[:3, :3] / np.linalg.norm(wanted[:3, :3], axis=0), atol=1e-4)


def test_itk_numbers(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nrrd")
    (tmp_path / "m.txt").write_text("# from ITK\n1 0 0 -5\n0 1 0 7\n0 0 2 9\n0 0 0 1\n")
    edit(source, tmp_path / "out.nrrd", affine=str(tmp_path / "m.txt"), lps=True)
    read = sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert np.allclose(read.GetOrigin()[:3], (-5, 7, 9)) and np.allclose(read.GetSpacing()[:3], (1, 1, 2))
    edit(source, tmp_path / "b.nrrd", origin="-5,7,9", direction="1,0,0,0,1,0,0,0,1", lps=True)
    read = sitk.ReadImage(str(tmp_path / "b.nrrd"))
    assert np.allclose(read.GetOrigin()[:3], (-5, 7, 9)) and np.allclose(
        np.array(read.GetDirection()).reshape(-1)[:3], (1, 0, 0)[:3]
    )


# -- forms


def two_forms(path: Path, sform_code: int = 4, qform_code: int = 1) -> Path:
    image = nib.Nifti1Image(voxels((5, 4, 7), "int16"), None)
    image.set_sform(np.array(AFFINES["oblique"].rows), sform_code)
    image.set_qform(np.array(AFFINES["left-handed"].rows), qform_code)
    nib.save(image, path)
    return path


def test_a_change_goes_into_both_forms_or_into_one(tmp_path: Path) -> None:
    source = two_forms(tmp_path / "in.nii")
    before: Any = nib.load(source)
    for form, moved in (("both", "sq"), ("sform", "s"), ("qform", "q")):
        report = edit(source, tmp_path / f"{form}.nii", origin="1,2,3", form=form)
        after: Any = nib.load(tmp_path / f"{form}.nii")
        for letter in "sq":
            old, new = (getattr(each, f"get_{letter}form")() for each in (before, after))
            assert np.allclose(new[:3, 3], (1, 2, 3) if letter in moved else old[:3, 3], atol=1e-4), form
        assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (4, 1)
        assert any(remark.startswith("qform: ") for remark in report.remarks) == ("q" in moved)


def test_codes(tmp_path: Path) -> None:
    source = two_forms(tmp_path / "in.nii")
    report = edit(source, tmp_path / "q.nii", sform_code=0)
    after: Any = nib.load(tmp_path / "q.nii")
    assert int(after.header["sform_code"]) == 0 and np.allclose(after.affine, nib.load(source).get_qform(), atol=1e-4)
    assert "sform code: 4 -> 0" in report.remarks
    assert any("moves" in remark and "affine" in remark for remark in report.remarks)
    edit(source, tmp_path / "c.nii", sform_code=1, qform_code=2)
    after = nib.load(tmp_path / "c.nii")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (1, 2)
    assert np.array_equal(after.affine, nib.load(source).affine)


def test_a_sheared_affine_has_no_qform(tmp_path: Path) -> None:
    source = two_forms(tmp_path / "in.nii")
    edit(source, tmp_path / "out.nii", affine=place(AFFINES["sheared"]))
    after: Any = nib.load(tmp_path / "out.nii")
    assert np.allclose(after.affine, AFFINES["sheared"].rows, atol=1e-5) and int(after.header["qform_code"]) == 0
    with pytest.raises(GeometryError, match="shear"):
        edit(source, tmp_path / "no.nii", affine=place(AFFINES["sheared"]), form="qform")
    assert not (tmp_path / "no.nii").exists()


def test_a_voxel_size_does_not_say_how_voxels_are_turned(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels((5, 4, 7), "int16"), None), tmp_path / "in.nii")
    edit(tmp_path / "in.nii", tmp_path / "out.nii", spacing="2,3,4")
    after: Any = nib.load(tmp_path / "out.nii")
    assert (int(after.header["sform_code"]), int(after.header["qform_code"])) == (0, 0)
    assert np.allclose(after.header.get_zooms(), (2, 3, 4))
    edit(tmp_path / "in.nii", tmp_path / "placed.nii", origin="1,2,3")
    assert int(nib.load(tmp_path / "placed.nii").header["sform_code"]) == 2


# -- orientation


@settings(max_examples=60, deadline=None)
@given(affines, shapes, codes)
def test_other_letters_keep_centre_spacing_and_angles(
    affine: AffineMatrix, shape: Any, letters: tuple[str, ...]
) -> None:
    before = Header(shape=(1, *shape), dtype="uint8", affine=affine)
    after = edited(before, EditRequest(orientation="".join(letters)))
    assert after.orientation == letters and after.shape == before.shape
    size = 1 + max(map(abs, before.grid.center))
    assert np.allclose(after.grid.center, before.grid.center, atol=1e-9 * size)
    assert np.allclose(after.spacing, before.spacing, rtol=1e-9)
    old, new = (np.array(each.rows)[:3, :3] for each in (before.affine, after.affine))
    assert np.allclose(new.T @ new, old.T @ old, rtol=1e-9, atol=1e-9)
    assert np.allclose(np.sort(np.abs(new), axis=0), np.sort(np.abs(old), axis=0))  # the world turned by whole axes


@pytest.mark.parametrize(("letters", "word"), [("LAS", "mirror"), ("LPS", "turn")])
def test_other_letters_are_told_of_loudly(letters: str, word: str) -> None:
    before = header("straight")
    request = EditRequest(orientation=letters)
    sentences = " ".join(told(before, edited(before, request)))
    assert f"orientation: RAS -> {letters}" in sentences and "reorient" in sentences and word in sentences.lower()


# -- gradients


TABLE = Gradients((0.0, 1000.0, 700.0), ((0.0, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, 1.0, 0.0)))


def test_gradients_stay_along_the_voxel_axes() -> None:
    before = header("straight", gradients=TABLE)
    after = edited(before, EditRequest(orientation="LAS"))
    assert after.gradients is not None and after.gradients.bvecs[1] == (-0.6, 0.0, 0.8)
    assert any("gradients" in sentence and "sign" in sentence for sentence in told(before, after))
    turned = edited(before, EditRequest(orientation="LPS"))
    assert turned.gradients == TABLE


def test_gradients_are_attached_as_they_are(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii.gz")
    (tmp_path / "a.bval").write_text("0 1000 700\n")
    (tmp_path / "a.bvec").write_text("0 0.6 0\n0 0 1\n0 0.8 0\n")
    files = {"bvals": str(tmp_path / "a.bval"), "bvecs": str(tmp_path / "a.bvec")}
    edit(source, tmp_path / "out.nii.gz", **files)
    assert open_backend(str(tmp_path / "out.nii.gz")).header.gradients == TABLE
    assert np.allclose(np.loadtxt(tmp_path / "out.bvec"), np.loadtxt(tmp_path / "a.bvec"))
    edit(source, tmp_path / "out.mif", **files)
    found = open_backend(str(tmp_path / "out.mif")).header.gradients
    assert found is not None and np.allclose(found.bvecs, TABLE.bvecs, atol=1e-6)
    (tmp_path / "a.bvec").write_text("north south\n")
    with pytest.raises(MedImgError, match="no table of gradients"):
        edit(source, tmp_path / "no.nii.gz", **files)
    (tmp_path / "a.bval").write_text("0 1000\n")
    (tmp_path / "a.bvec").write_text("0 1\n0 0\n0 0\n")
    with pytest.raises(MedImgError, match="2 gradients.*3 channels"):
        edit(source, tmp_path / "no.nii.gz", **files)


# -- geometry of another image


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_geometry_of_another_image(tmp_path: Path, suffix: str, kind: str) -> None:
    source = write(tmp_path / f"in{suffix}", header("straight"))
    like = write(tmp_path / "like.nii.gz", header(kind, shape=(1, *SHAPE[1:]), axes=(), time_spacing=None))
    report = edit(source, tmp_path / f"out{suffix}", copy_geometry=like)
    one, two = open_backend(str(tmp_path / f"out{suffix}")).header, open_backend(like).header
    assert one.grid.same_as(two.grid, 1e-4) and one.orientation == two.orientation
    assert np.array_equal(stored(source), stored(tmp_path / f"out{suffix}"))
    shift = open_backend(source).header.grid.mm_shift(two.grid)
    assert any(f"{shift:.4g} mm" in remark for remark in report.remarks)


@settings(max_examples=25, deadline=None)
@given(affines, affines, shapes)
def test_the_grid_becomes_that_of_the_other_image(first: AffineMatrix, second: AffineMatrix, shape: Any) -> None:
    ours = Header(shape=(1, *shape), dtype="uint8", affine=first, sform=first, sform_code=1, qform=None, qform_code=0)
    with TemporaryDirectory() as folder:
        like = write(Path(folder) / "like.nii", ours.replace(affine=second, sform=second, format="nifti2"))
        theirs = open_backend(like).header
        found = edited(ours, EditRequest(copy_geometry=like))
    assert found.grid == theirs.grid and (found.sform, found.sform_code) == (theirs.sform, theirs.sform_code)


def test_both_forms_of_another_image(tmp_path: Path) -> None:
    source, like = two_forms(tmp_path / "in.nii", 1, 0), two_forms(tmp_path / "like.nii", 4, 3)
    edit(source, tmp_path / "out.nii", copy_geometry=str(like))
    one, two = (nib.load(tmp_path / name) for name in ("out.nii", "like.nii"))
    for name in ("srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "pixdim"):
        assert np.allclose(one.header[name], two.header[name], atol=1e-6), name
    assert np.allclose(one.get_qform(), two.get_qform(), atol=1e-5)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii")
    like = write(tmp_path / "like.nii", header(shape=(1, 5, 4, 6), axes=(), time_spacing=None))
    with pytest.raises(GeometryError, match="5 x 4 x 7 .* 5 x 4 x 6"):
        edit(source, tmp_path / "out.nii", copy_geometry=like)


# -- units, meaning, key-values


def test_units_change_what_numbers_mean(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels((5, 4, 7), "int16"), np.diag([1.0, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "in.nii")
    edit(tmp_path / "in.nii", tmp_path / "out.nii", units="um")
    found: Any = nib.load(tmp_path / "out.nii")
    assert found.header.get_xyzt_units()[0] == "micron"
    assert np.allclose(found.header["pixdim"][1:4], (1, 2, 3)) and np.allclose(found.affine, image.affine)
    assert open_backend(str(tmp_path / "out.nii")).header.spacing == pytest.approx((0.001, 0.002, 0.003))
    edit(tmp_path / "out.nii", tmp_path / "out.mgz", units="m")
    assert nib.load(tmp_path / "out.mgz").header.get_zooms() == pytest.approx((1000, 2000, 3000))


def test_units_that_a_file_states_itself(tmp_path: Path) -> None:
    source = tmp_path / "in.nrrd"
    source.write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
        b'space directions: (1,0,0) (0,1,0) (0,0,2)\nspace units: "cm" "cm" "cm"\nencoding: raw\n\n' + bytes(8)
    )
    assert open_backend(str(source)).header.spacing == (10, 10, 20)
    edit(source, tmp_path / "out.nrrd", units="mm")
    assert open_backend(str(tmp_path / "out.nrrd")).header.spacing == pytest.approx((1, 1, 2))


def test_meaning(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii", header(shape=(1, *SHAPE[1:]), axes=(), time_spacing=None))
    edit(source, tmp_path / "out.nii", intent="label", description="by hand")
    found: Any = nib.load(tmp_path / "out.nii")
    assert found.header.get_intent()[0] == "label" and found.header["descrip"].item() == b"by hand"
    report = edit(tmp_path / "out.nii", tmp_path / "none.nii", intent="none", description="")
    assert nib.load(tmp_path / "none.nii").header.get_intent()[0] == "none"
    assert "intent: label -> none" in report.remarks and "description: by hand -> none" in report.remarks


def test_vectors_become_channels(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii", header(axes=(("vector", 3),), intent="vector", time_spacing=None))
    assert ("vector", 3) in open_backend(source).header.axes
    edit(source, tmp_path / "out.nii", intent="none")
    after = open_backend(str(tmp_path / "out.nii")).header
    assert after.intent is None and not any(kind == "vector" for kind, _ in after.axes)
    assert np.array_equal(stored(source), stored(tmp_path / "out.nii"))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".mif"])
def test_key_values(tmp_path: Path, suffix: str) -> None:
    source = write(tmp_path / f"in{suffix}", header(metadata={"Site": "north", "Rater": "3"}))
    target = tmp_path / f"out{suffix}"
    report = edit(source, target, assign=("Site=south", "Dose=2.5", 'Names=["a", 1]'), remove=("Rater",))
    said = open_backend(str(target)).header.metadata
    assert said["Site"] == "south" and float(said["Dose"]) == 2.5 and "Rater" not in said
    assert any("Site" in remark and "north -> south" in remark for remark in report.remarks)
    with pytest.raises(UsageError, match="Nobody"):
        edit(source, tmp_path / f"no{suffix}", remove=("Nobody",))


def test_channels_become_time(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(voxels((5, 4, 7, 3), "int16"), np.eye(4)), tmp_path / "in.nii")
    assert open_backend(str(tmp_path / "in.nii")).header.axes == (("channel", 3),)
    for seconds in (1.0, 0.72):
        edit(tmp_path / "in.nii", tmp_path / f"{seconds}.nii", tr=seconds)
        after: Any = nib.load(tmp_path / f"{seconds}.nii")
        assert after.header.get_zooms()[3] == pytest.approx(seconds) and after.header.get_xyzt_units()[1] == "sec"


# -- history


def history_of(path: Path) -> Path:
    from medimg_cli import ScalarImage

    ScalarImage(voxels(SHAPE, "int16"), affine=AFFINES["oblique"]).reorient("LPS").crop(1).save(str(path))
    return path


def test_geometry_ends_the_history_and_other_edits_keep_it(tmp_path: Path) -> None:
    source = history_of(tmp_path / "in.nii")
    assert len(open_backend(str(source)).header.history) == 2
    report = edit(source, tmp_path / "moved.nii", origin="0,0,0")
    assert not open_backend(str(tmp_path / "moved.nii")).header.history
    assert any("history: 2 steps" in remark for remark in report.remarks)
    edit(source, tmp_path / "same.nii", description="x")
    assert len(open_backend(str(tmp_path / "same.nii")).header.history) == 2
    edit(source, tmp_path / "cleared.nii", clear_history=True)
    assert not open_backend(str(tmp_path / "cleared.nii")).header.history


def test_sidecars_of_an_image_with_a_history_stay_true(tmp_path: Path) -> None:
    source = history_of(tmp_path / "in.nii")
    text = '{"PhaseEncodingDirection": "j-", "SliceTiming": [0, 1, 2, 3, 4]}'
    (tmp_path / "in.json").write_text(text)
    edit(source, tmp_path / "out.nii", orientation="SAR")
    assert (tmp_path / "out.json").read_text() == text


def test_a_contradicting_sidecar_is_told_of(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii")
    (tmp_path / "in.json").write_text('{"RepetitionTime": 2.5}')
    report = edit(source, tmp_path / "out.nii", tr=2)
    assert any("RepetitionTime" in warning and "2.5" in warning for warning in report.warnings)
    assert not edit(source, tmp_path / "same.nii", tr=2.5).warnings


# -- what is refused


@pytest.mark.parametrize(
    "wishes",
    [
        {}, {"lps": True}, {"form": "sform"}, {"spacing": "0"}, {"spacing": "1,2"}, {"spacing": "-1,1,1"},
        {"spacing": "nan"}, {"origin": "1,2"}, {"origin": "inf,0,0"}, {"origin": "1,2,3", "center": "1,2,3"},
        {"affine": "1 0 0 0 0 1 0 0 0 0 0 0"}, {"affine": "1 2 3"}, {"affine": "nan 0 0 0 0 1 0 0 0 0 1 0"},
        {"affine": "1 0 0 0 0 1 0 0 0 0 1 0", "spacing": "1"}, {"orientation": "RAR"}, {"tr": -1.0},
        {"orientation": "RAS", "direction": "1,0,0,0,1,0,0,0,1"}, {"direction": "2,0,0,0,1,0,0,0,1"},
        {"direction": "1,0,0,1,0,0,0,0,1"}, {"units": "inch"}, {"intent": "lable"}, {"sform_code": -1},
        {"assign": ("x",)}, {"bvals": "a"}, {"copy_geometry": "missing.nii"}, {"affine": "missing.txt"},
        {"copy_geometry": "in.nii", "spacing": "1"}, {"copy_geometry": "in.nii", "form": "sform"},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wishes: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.nii")
    with pytest.raises(MedImgError) as caught:
        edit("in.nii", "out.nii", **wishes)
    assert "\n" not in str(caught.value) and not (tmp_path / "out.nii").exists()


def test_an_affine_without_a_direction_is_replaced_as_a_whole_only(tmp_path: Path) -> None:
    flat = header(affine=AffineMatrix([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    for wishes in ({"orientation": "LPS"}, {"origin": "1,2,3"}, {"spacing": "1"}):
        with pytest.raises(GeometryError):
            edited(flat, EditRequest(**wishes))
    assert edited(flat, EditRequest(affine=place(AFFINES["oblique"]))).affine == AFFINES["oblique"]


def test_nothing_changes_and_it_says_so(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii")
    before = open_backend(source).header
    report = edit(source, tmp_path / "out.nii", spacing=",".join(map(repr, before.spacing)), tr=2.5)
    assert len(report.remarks) == 1 and "nothing" in report.remarks[0]
    assert (tmp_path / "out.nii").read_bytes() == (tmp_path / "in.nii").read_bytes()


def test_what_a_format_cannot_hold_is_a_loss(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii")
    report = edit(source, tmp_path / "out.mgz", description="kept nowhere")
    assert any(loss.field == "description" for loss in report.losses)
    with pytest.raises(MedImgError):
        process(Task(source, str(tmp_path / "no.mgz")), Editing(EditRequest(description="x"), strict=True), threads=1)


def test_in_place_is_atomic(tmp_path: Path) -> None:
    source = write(tmp_path / "in.nii.gz")
    numbers = stored(source).copy()
    edit(source, source, tr=2)
    assert open_backend(source).header.time_spacing == 2 and np.array_equal(stored(source), numbers)
    assert [path.name for path in tmp_path.iterdir()] == ["in.nii.gz"]
    content = Path(source).read_bytes()
    with pytest.raises(StorageError):
        process(Task(source, source), Editing(EditRequest(tr=3)), threads=1)
    assert Path(source).read_bytes() == content

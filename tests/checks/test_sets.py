"""Rules over sets: which images are compared with which, on real heads too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Settings, Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.file_names import kind_of, subject_of
from medimg_cli.checks.mirrored import Thumbnails
from medimg_cli.checks.rule import Finding
from medimg_cli.checks.subject import Subject
from medimg_cli.expanding import expand
from medimg_cli.statistics.blocks import value_boxes
from tests.checks.planted_sets import OBLIQUE, copies, head, ramp, save, subject, turned

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
HEADS = DATA / "neurolabusc+dcm_qa/Ref"
FREESURFER = DATA / "niivue+niivue/packages/niivue/demos/images/fs"
needs_data = pytest.mark.skipif(
    not (DATA / "MANIFEST.csv").exists(), reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv"
)


def findings(*paths: object, code: str, jobs: int = 1) -> list[Finding]:
    config = load_config(Wishes(isolated=True, select=(code,)))
    wanted = Checking(config=config, jobs=jobs)
    return [each for checked in check_paths(map(str, paths), wanted) for each in checked.findings]


@pytest.mark.parametrize(
    ("one", "two", "alike"),
    [
        ("sub-1/anat/sub-1_T1w.nii", "sub-2/anat/sub-2_T1w.nii.gz", True),
        ("sub-1/ses-1/sub-1_ses-1_run-2_bold.nii", "sub-2/func/sub-2_bold.nii", True),
        ("sub-1_T1w.nii", "sub-1_T2w.nii", False),
        ("sub-1_task-rest_bold.nii", "sub-1_task-motor_bold.nii", False),
        ("sub-1_space-MNI_T1w.nii", "sub-1_T1w.nii", False),
        ("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", True),
        ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", False),
        ("imagesTr/a_0000.nii.gz", "imagesTs/b_0000.nii.gz", False),
        ("brats/1/1_t1ce.nii.gz", "brats/2/2_t1ce.nii.gz", True),
        ("x/1.nii", "x/2.nii", True),
        ("x/1.nii", "y/1.nii", False),
    ],
)
def test_which_images_are_of_one_kind(one: str, two: str, alike: bool) -> None:
    assert (kind_of(one) == kind_of(two)) == alike


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("d/sub-1/anat/sub-1_T1w.nii", "d/sub-1/func/sub-1_bold.nii.gz", True),
        ("sub-1_ses-1_T1w.nii", "sub-1_ses-2_T1w.nii", False),
        ("sub-1_T1w.nii", "sub-10_T1w.nii", False),
        ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", True),
        ("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", False),
        ("ixi/IXI012-Guys-T1.nii", "ixi/IXI012-Guys-T2.nii", True),
        ("ixi/IXI012-Guys-T1.nii", "ixi/IXI013-Guys-T2.nii", False),
        ("case 1/first.nii", "case 1/second.nii", True),
        ("case 1/first.nii", "case 2/first.nii", False),
    ],
)
def test_which_images_are_of_one_subject(one: str, two: str, same: bool) -> None:
    assert (subject_of(one)[0] == subject_of(two)[0]) == same


def thumbnail(path: Path) -> object:
    (entry,) = expand(str(path))
    about = Subject(entry, Settings(), entry.open())
    assert Thumbnails.wants(about)
    gatherer = Thumbnails(about)
    for region, box in value_boxes(about.backend, raw=True):  # type: ignore[arg-type]
        gatherer.add(region, box)
    return gatherer.result()


@pytest.mark.parametrize("codes", ["RAS", "PIR", "LSA"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.mgz"])
def test_a_thumbnail_is_every_nth_voxel_whatever_the_blocks(tmp_path: Path, codes: str, name: str) -> None:
    tissue, affine = head((2.0, 1.5, 3.0))
    image = turned(tissue.astype("int16"), affine, codes)
    kind = nib.Nifti1Image if name.endswith(".nii.gz") else nib.MGHImage
    nib.save(kind(np.asarray(image.dataobj), image.affine), tmp_path / name)
    view = thumbnail(tmp_path / name)
    assert view.values.size <= 50_000  # type: ignore[attr-defined]
    voxels = np.linalg.inv(image.affine) @ view.grid.affine.numpy()  # type: ignore[attr-defined]
    places = np.moveaxis(np.indices(view.values.shape), 0, -1) @ voxels[:3, :3].T + voxels[:3, 3]  # type: ignore[attr-defined]
    i, j, k = np.moveaxis(np.rint(places).astype(int), -1, 0)
    assert np.abs(places - np.rint(places)).max() < 1e-4
    assert (np.asarray(image.dataobj)[i, j, k] == np.rint(view.values / 255 * 4)).all()  # type: ignore[attr-defined]


@pytest.mark.parametrize("array", [np.zeros((70, 70, 70), "int16"), np.full((70, 70, 70), np.nan, "float32")])
def test_what_shows_nothing_leaves_no_thumbnail(tmp_path: Path, array: np.ndarray) -> None:
    assert thumbnail(save(tmp_path / "a.nii.gz", array)) is None


def test_what_is_no_picture_of_a_body_is_not_looked_at(tmp_path: Path) -> None:
    colours = np.zeros((80, 80, 80), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    small, flat = ramp((9, 9, 9)), ramp((200, 200, 3))
    for array in (colours, small, flat, np.zeros((80, 80, 80), "complex64")):
        (entry,) = expand(str(save(tmp_path / "a.nii.gz", array)))
        assert not Thumbnails.wants(Subject(entry, Settings(), entry.open()))


def test_the_one_that_most_contradict_is_suspected(tmp_path: Path) -> None:
    subject(flip="T2w")(tmp_path)
    (found,) = findings(tmp_path, code="S107")
    assert Path(found.path).name == "sub-1_T2w.nii.gz" and "sub-1_T1w.nii.gz" in found.message
    assert found.severity == "warning"
    shutil.rmtree(tmp_path / "sub-1")
    subject(flip="T1w")(tmp_path)  # the largest, with which the others are compared
    (found,) = findings(tmp_path, code="S107", jobs=2)
    assert Path(found.path).name == "sub-1_T1w.nii.gz"


def real_head(path: Path, target: Path, *, flip: bool) -> None:
    """Copy a real image; flip its voxels from left to right, and not its affine."""
    image = nib.load(path)
    array = np.asarray(image.dataobj)
    if flip:
        array = np.flip(array, next(n for n, code in enumerate(nib.aff2axcodes(image.affine)) if code in "LR"))
    target.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, image.affine), target)


@needs_data
@pytest.mark.parametrize("flip", ["", "ax", "cor", "sag", "MB"])
def test_real_heads_in_three_planes(tmp_path: Path, flip: str) -> None:
    for name in ("ax_asc_35sl_6", "cor_asc_35sl_16", "sag_asc_35sl_22", "fMRI_MB_asc_25"):
        target = tmp_path / f"sub-1/func/sub-1_task-{name.replace('_', '')}_bold.nii.gz"
        real_head(HEADS / f"{name}.nii", target, flip=bool(flip) and flip in name)
    found = findings(tmp_path, code="S107")
    assert [flip in Path(each.path).name for each in found] == ([True] if flip else [])


@needs_data
@pytest.mark.parametrize("flip", [False, True])
def test_a_real_head_and_its_white_matter(tmp_path: Path, flip: bool) -> None:
    real_head(FREESURFER / "brainmask.mgz", tmp_path / "sub-1/sub-1_T1w.nii.gz", flip=False)
    real_head(FREESURFER / "wm.mgz", tmp_path / "sub-1/sub-1_desc-white_T1w.nii.gz", flip=flip)
    assert len(findings(tmp_path, code="S107")) == flip


def test_copies_are_found_among_several_series_and_jobs(tmp_path: Path) -> None:
    copies(lambda array: array)(tmp_path)
    for jobs in (1, 2):
        (found,) = findings(tmp_path, code="S106", jobs=jobs)
        assert (
            found.path == str(tmp_path / "b.nii")
            and found.message == f"holds the same values as {tmp_path / 'a.nii.gz'}"
        )
    assert findings(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz", code="S106") == []


def test_a_copy_that_is_gone_meanwhile_is_no_copy(tmp_path: Path) -> None:
    from medimg_cli.checks.dataset import DataSet
    from medimg_cli.checks.duplicates import doubles

    copies(lambda array: array)(tmp_path)
    wanted = Checking(config=load_config(Wishes(isolated=True, select=("S106",))))
    profiles = [profile for checked in check_paths([str(tmp_path)], wanted) for profile in checked.profiles]
    data = DataSet(profiles, wanted.config, [profile.path for profile in profiles])
    assert len(list(doubles(data))) == 1
    (tmp_path / "b.nii").unlink()
    assert list(doubles(data)) == []


def test_odd_images_of_unknown_orientation(tmp_path: Path) -> None:
    for n in range(11):
        np.save(tmp_path / f"{n}.npy", ramp((7, 6, 5), seed=n))
    np.save(tmp_path / "odd.npy", ramp((7, 6, 1)))
    save(tmp_path / "b.nii", ramp(), OBLIQUE)
    assert [Path(each.path).name for each in findings(tmp_path, code="S103")] == []
    assert {each.code for each in findings(tmp_path, code="S")} <= {"S101", "S102"}


def test_how_often_values_occur_tells_images_apart_before_anything_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(1, 61, dtype="int16").reshape(3, 4, 5)
    other = array.copy()
    other[1, 2, 3] = 2  # the same range and as many values that are not 0
    for name, values in (("a.nii", array), ("b.nii", other), ("c.nii.gz", array[::-1].astype("uint8"))):
        nib.save(nib.Nifti1Image(values, np.diag([1, 2, 3, 1])), tmp_path / name)
    read = []
    monkeypatch.setattr("medimg_cli.checks.duplicates._digest", lambda profile: read.append(Path(profile.path).name))
    findings(tmp_path, code="S106")
    assert read == ["a.nii", "c.nii.gz"]

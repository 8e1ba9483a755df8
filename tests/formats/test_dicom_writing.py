"""Series that medimg writes: read back by medimg, by pydicom and by GDCM."""

from __future__ import annotations

import shutil
import subprocess
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import (
    CastError,
    GeometryError,
    LossWarning,
    MedImgError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.writing import save_dicom
from medimg_cli.header import Gradients, Header
from medimg_cli.storage.stored import whole
from tests.formats.dicom_files import same_world
from tests.helpers import AFFINES, make, voxels

pydicom = pytest.importorskip("pydicom")

SHAPE = (1, 5, 4, 6)


def image(dtype: str = "int16", kind: str = "oblique", shape: tuple[int, ...] = SHAPE, **fields: Any) -> ArrayBackend:
    return ArrayBackend(voxels(shape, dtype), Header(shape=shape, dtype=dtype, affine=AFFINES[kind], **fields))


def stored(backend: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = backend.read(whole(backend.header.shape), raw=True)
    return found


@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed", "permuted"])
@pytest.mark.parametrize("modality", ["MR", "CT", "OT"])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8"])
def test_round_trip(kind: str, modality: str, dtype: str, tmp_path: Path) -> None:
    source = image(dtype, kind)
    files = save_dicom(source, str(tmp_path / "out"), modality=modality)
    assert [Path(file).name for file in files] == [f"{n:05d}.dcm" for n in range(1, 7)]
    backend = open_backend(tmp_path / "out")
    assert not backend.header.warnings
    assert backend.header.dtype == ("uint16" if dtype == "uint8" and modality != "OT" else dtype)
    assert same_world(stored(backend), backend.header.affine, source.array, source.header.affine) is None
    if kind != "left-handed":
        assert backend.header.affine.allclose(source.header.affine, 1e-6)
    numbers = [pydicom.dcmread(file).InstanceNumber for file in files]
    assert numbers == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kind", ["oblique", "left-handed"])
def test_gdcm_reads_the_same(kind: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    source = image("int16", kind)
    save_dicom(source, str(tmp_path / "out"))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out")))
    found = reader.Execute()
    direction = np.array(found.GetDirection()).reshape(3, 3) * found.GetSpacing()
    lps = np.vstack([np.column_stack([direction, found.GetOrigin()]), [0, 0, 0, 1]])
    array = np.ascontiguousarray(sitk.GetArrayFromImage(found).T)[None]
    where = AffineMatrix.from_lps(lps.tolist())
    assert same_world(array, where, source.array, source.header.affine) is None


def test_slope_stays(tmp_path: Path) -> None:
    source = image(slope=0.25, inter=-12.5)
    save_dicom(source, str(tmp_path / "out"), modality="CT")
    header = open_backend(tmp_path / "out").header
    assert (header.dtype, header.slope, header.inter) == ("int16", 0.25, -12.5)


def test_time(tmp_path: Path) -> None:
    source = image(shape=(3, 5, 4, 2), axes=(("time", 3),), time_spacing=2.25)
    save_dicom(source, str(tmp_path / "out"))
    backend = open_backend(tmp_path / "out")
    assert (backend.header.axes, backend.header.time_spacing) == ((("time", 3),), 2.25)
    assert same_world(stored(backend), backend.header.affine, source.array, source.header.affine) is None


def test_colours(tmp_path: Path) -> None:
    source = image("uint8", shape=(3, 5, 4, 2), axes=(("rgb", 3),))
    with pytest.raises(UnsupportedError, match="modality='OT'"):
        save_dicom(source, str(tmp_path / "out"))
    save_dicom(source, str(tmp_path / "out"), modality="OT")
    backend = open_backend(tmp_path / "out")
    assert same_world(stored(backend), backend.header.affine, source.array, source.header.affine) is None


def test_whole_numbers_are_exact(tmp_path: Path) -> None:
    values = np.arange(-60, 60).reshape(SHAPE)
    for dtype in ("float32", "int64", "int32"):
        source = ArrayBackend(values.astype(dtype), image(dtype).header)
        save_dicom(source, str(tmp_path / dtype))
        backend = open_backend(tmp_path / dtype)
        assert backend.header.dtype == "int16"
        assert same_world(stored(backend), backend.header.affine, values, AFFINES["oblique"]) is None


def test_fractions_need_rescale(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=SHAPE).astype("float32")
    source = ArrayBackend(values, image("float32").header)
    with pytest.raises(CastError, match="rescale=True"):
        save_dicom(source, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    save_dicom(source, str(tmp_path / "out"), rescale=True)
    backend = open_backend(tmp_path / "out")
    found = backend.read(whole(SHAPE))
    assert np.abs(found - values).max() <= 0.5001 * (values.max() - values.min()) / 65535 + 1e-6
    flat = ArrayBackend(np.full(SHAPE, 0.3, "float32"), image("float32").header)
    save_dicom(flat, str(tmp_path / "flat"), rescale=True)
    assert np.allclose(open_backend(tmp_path / "flat").read(whole(SHAPE)), 0.3)
    values[0, 0, 0, 0] = np.nan
    with pytest.raises(CastError, match="finite"):
        save_dicom(source, str(tmp_path / "nan"), rescale=True)


def test_same_image_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_dicom(image(), str(tmp_path / name))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    other = image()
    other.array[0, 0, 0, 0] += 1
    save_dicom(other, str(tmp_path / "c"))
    uids = {pydicom.dcmread(tmp_path / name / "00002.dcm").SOPInstanceUID for name in "abc"}
    assert len(uids) == 2
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_metadata(tmp_path: Path) -> None:
    source = image(metadata={"RepetitionTime": 2.3, "ManufacturersModelName": "Magnet 3"}, description="T1 \\ of it")
    given = {"PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3", "SeriesNumber": 7, "SeriesDescription": "mine"}
    save_dicom(source, str(tmp_path / "out"), metadata=given)
    found = pydicom.dcmread(tmp_path / "out" / "00001.dcm")
    assert (found.PatientName, found.StudyInstanceUID, found.SeriesNumber) == ("Doe^Jane", "1.2.3", 7)
    assert (found.SeriesDescription, found.RepetitionTime) == ("mine", 2300)
    assert found.ManufacturerModelName == "Magnet 3"
    header = open_backend(tmp_path / "out").header
    assert header.metadata["RepetitionTime"] == 2.3
    for keyword in ("PatientsName", "Rows", "ImagePositionPatient"):
        with pytest.raises(UsageError, match=keyword):
            save_dicom(source, str(tmp_path / "x"), metadata={keyword: 1})


@pytest.mark.parametrize("kind", ["channels", "vector", "time-vector", "rgba", "time-rgb"])
def test_what_a_series_does_not_hold(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError):
        save_dicom(make(kind), str(tmp_path / "x"), modality="OT")
    with pytest.raises(UnsupportedError, match="complex"):
        save_dicom(image("complex64"), str(tmp_path / "x"))
    with pytest.raises(GeometryError, match="right angle"):
        save_dicom(image(kind="sheared"), str(tmp_path / "x"))
    with pytest.raises(UsageError, match="XA"):
        save_dicom(image(), str(tmp_path / "x"), modality="XA")
    assert not list(tmp_path.iterdir())


def test_a_tilted_image_stays_tilted(tmp_path: Path) -> None:
    tilted = AffineMatrix([[0.9, 0, 0, -37.5], [0, 1.25, 0.7, 12.25], [0, 0, 3.0, 81.0], [0, 0, 0, 1]])
    source = ArrayBackend(voxels(SHAPE, "int16"), image().header.replace(affine=tilted))
    save_dicom(source, str(tmp_path / "out"))
    assert open_backend(tmp_path / "out").header.affine.allclose(tilted, 1e-6)


def test_folders_are_not_overwritten(tmp_path: Path) -> None:
    save_dicom(image(), str(tmp_path / "out"))
    with pytest.raises(StorageError, match="already exists"):
        save_dicom(image(), str(tmp_path / "out"))
    save_dicom(image(shape=(1, 5, 4, 2)), str(tmp_path / "out"), force=True)
    assert len(list((tmp_path / "out").iterdir())) == 2
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="something else"):
        save_dicom(image(), str(tmp_path / "out"), force=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file"):
        save_dicom(image(), str(tmp_path / "file"), force=True)
    with pytest.raises(MedImgError, match="does not exist"):
        save_dicom(image(), str(tmp_path / "no" / "out"))
    (tmp_path / "empty").mkdir()
    save_dicom(image(), str(tmp_path / "empty"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "out"]


def test_a_killed_run_leaves_nothing_for_long(tmp_path: Path) -> None:
    (tmp_path / ".out.medimg-0123456789ab").mkdir()  # what such a run leaves
    save_dicom(image(), str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real")
    save_dicom(image(), str(tmp_path / "out"))
    assert (tmp_path / "out").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == SHAPE[3]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "a\x1b[31mb"),
        ("PatientName", "Doe^Jane\nroot"),
        ("PatientComments", "a\x07"),
        ("PatientID", "a\\b"),
        ("PatientID", "\udcff"),
        ("SpecificCharacterSet", "ISO_IR 6"),
        ("PerFrameFunctionalGroupsSequence", []),
        ("MediaStorageSOPClassUID", "1.2"),
        ("AffectedSOPClassUID", "1.2"),
        ("SmallestImagePixelValue", "3"),
        ("SeriesNumber", "99999999999"),
        ("DiffusionBValue", "100"),
    ],
)
def test_hostile_metadata(keyword: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=keyword) as caught:
        save_dicom(image(), str(tmp_path / "out"), metadata={keyword: value})
    assert str(caught.value).isprintable() and "nema.org" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_nasty_values_of_a_template_stay_behind(tmp_path: Path) -> None:
    save_dicom(image(), str(tmp_path / "old"), metadata={"PatientName": "Doe^Jane"})
    for path in (tmp_path / "old").iterdir():
        found = pydicom.dcmread(path)
        found.PatientID = "4\x1b[2J2"
        found.save_as(path)
    with pytest.warns(LossWarning, match="PatientID cannot be taken over"):
        save_dicom(image(), str(tmp_path / "out"), template=str(tmp_path / "old"))
    found = pydicom.dcmread(tmp_path / "out" / "00001.dcm")
    assert (found.PatientName, found.PatientID) == ("Doe^Jane", "")


def test_lines_of_a_comment_are_kept(tmp_path: Path) -> None:
    save_dicom(image(), str(tmp_path / "out"), metadata={"PatientComments": "one\r\ntwo"})
    assert pydicom.dcmread(tmp_path / "out" / "00001.dcm").PatientComments == "one\r\ntwo"


def test_nothing_is_left_where_writing_fails(tmp_path: Path) -> None:
    """A value that pydicom refuses comes up in the middle of the work."""
    with pytest.raises(MedImgError):
        save_dicom(image(), str(tmp_path / "out"), metadata={"SeriesNumber": "seven"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("grid", ["isotropic", "oblique"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "uint16", "int32"])
def test_every_orientation_comes_back(grid: str, dtype: str, tmp_path: Path) -> None:
    """All 48 orders and directions of axes: the same voxels at the same places, to 1e-4 mm."""
    base = np.eye(4) if grid == "isotropic" else np.array(AFFINES["oblique"].rows)
    for n, (order, signs) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        turn = np.eye(4)
        turn[:3, :3] = np.eye(3)[:, order] * signs
        affine = AffineMatrix((base @ turn).tolist())
        source = ArrayBackend(voxels(SHAPE, dtype) % 251, Header(shape=SHAPE, dtype=dtype, affine=affine))
        mi.ScalarImage(source.array, affine=affine).save(tmp_path / "in.nii")
        save_dicom(open_backend(tmp_path / "in.nii"), str(tmp_path / f"{n}"))
        mi.ScalarImage(tmp_path / f"{n}").save(tmp_path / "out.nii")
        found = open_backend(tmp_path / "out.nii")
        array, where = stored(found), np.array(found.header.affine.rows)
        if affine.determinant < 0:  # numbered backwards: K runs the other way
            array = array[..., ::-1]
            where = where @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SHAPE[3] - 1], [0, 0, 0, 1.0]])
        np.testing.assert_array_equal(array, source.array)
        corners = np.array([[i, j, k, 1] for i in (0, 4) for j in (0, 3) for k in (0, 5)]).T
        assert np.abs((where - affine.rows) @ corners).max() < 1e-4


def test_many_slices_stay_in_step(tmp_path: Path) -> None:
    shape = (1, 3, 2, 400)
    affine = AffineMatrix((np.array(AFFINES["oblique"].rows) @ np.diag([1, 1, 1 / 3, 1])).tolist())
    save_dicom(
        ArrayBackend(voxels(shape, "int16"), Header(shape=shape, dtype="int16", affine=affine)), str(tmp_path / "o")
    )
    found = open_backend(tmp_path / "o").header.affine
    for corner in ((0, 0, 0), (2, 1, 399), (0, 1, 399)):
        np.testing.assert_allclose(found.apply(corner), affine.apply(corner), atol=1e-4, rtol=0)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    said = {"PatientName": "Doe^Jane", "PatientID": "42", "StudyInstanceUID": "1.2.3", "SeriesNumber": 7,
            "FrameOfReferenceUID": "1.2.4", "Manufacturer": "ACME", "FlipAngle": 12, "WindowWidth": 80}  # fmt: skip
    save_dicom(image(), str(tmp_path / "template"), metadata=said)
    return tmp_path / "template"


def test_a_template_hands_on_patient_and_study(template: Path, tmp_path: Path) -> None:
    source = image("uint16", "oblique")
    save_dicom(source, str(tmp_path / "out"), template=str(template), description="derived")
    first, old = (pydicom.dcmread(folder / "00002.dcm") for folder in (tmp_path / "out", template))
    assert (first.PatientName, first.PatientID, first.StudyInstanceUID) == ("Doe^Jane", "42", "1.2.3")
    assert (first.FrameOfReferenceUID, first.Manufacturer, first.FlipAngle) == ("1.2.4", "ACME", 12)
    assert (first.SeriesNumber, first.SeriesDescription, first.ImageType[0]) == (1007, "derived", "DERIVED")
    assert "WindowWidth" not in first
    assert first.SeriesInstanceUID != old.SeriesInstanceUID and first.SOPInstanceUID != old.SOPInstanceUID
    (reference,) = first.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == old.SOPInstanceUID
    save_dicom(image(kind="straight"), str(tmp_path / "other"), template=str(template), series_number=3, modality="CT")
    other = pydicom.dcmread(tmp_path / "other" / "00001.dcm")
    assert (other.StudyInstanceUID, other.SeriesNumber) == ("1.2.3", 3)
    assert other.FrameOfReferenceUID != "1.2.4" and "SourceImageSequence" not in other and "FlipAngle" not in other


def test_names_of_files(tmp_path: Path) -> None:
    files = save_dicom(image(), str(tmp_path / "out"), pattern="IM{:04d}.dcm")
    assert [Path(file).name for file in files][:2] == ["IM0001.dcm", "IM0002.dcm"]
    for pattern in ("x.dcm", "{}/{}", "../{}", "a/{}", "{number.real}", "{:99999d}", "{other}", "{", "{!r}", ".{}"):
        with pytest.raises(UsageError, match="--pattern"):
            save_dicom(image(), str(tmp_path / "no"), pattern=pattern)
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("kind", ["oblique", "left-handed"])
def test_diffusion(kind: str, tmp_path: Path) -> None:
    shape = (3, 5, 4, 2)
    table = Gradients((0.0, 1000.0, 700.0), ((0.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.6, -0.8)))
    source = image(kind=kind, shape=shape, axes=(("time", 3),), gradients=table)
    save_dicom(source, str(tmp_path / "out"))
    header = open_backend(tmp_path / "out").header
    assert header.gradients.bvals == table.bvals
    found = world(header)
    np.testing.assert_allclose(found, world(source.header), atol=1e-6)


def world(header: Header) -> np.ndarray[Any, Any]:
    """Return the directions of gradients in RAS."""
    vectors = np.array(header.gradients.bvecs)
    vectors[:, 0] *= -1 if header.affine.determinant > 0 else 1
    return vectors @ np.array(header.affine.direction).T


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("with_template", [False, True])
@pytest.mark.parametrize("modality", ["MR", "CT", "PT", "OT"])
def test_dciodvfy_finds_no_error(
    modality: str, with_template: bool, times: int, template: Path, tmp_path: Path
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    axes = {"axes": (("time", times),), "time_spacing": 2.0} if times > 1 else {}
    source = image(shape=(times, 5, 4, 6), **axes)
    folder = str(tmp_path / "out")
    files = save_dicom(source, folder, modality=modality, template=str(template) if with_template else None)
    for file in (files[0], files[-1]):
        told = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        assert [line for line in told.stderr.splitlines() if line.startswith("Error")] == []


@pytest.mark.parametrize("kind", ["oblique", "left-handed"])
@pytest.mark.parametrize("tool", ["dcm2niix", "mrconvert"])
def test_other_readers_find_the_same(tool: str, kind: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    source = image("int16", kind, shape=(1, 12, 10, 6))
    if tool == "mrconvert":  # it takes int16 for uint16 and swaps the two numbers of PixelSpacing: neither may matter
        even = AffineMatrix((np.array(AFFINES[kind].rows) @ np.diag([1.25 / 0.9, 1, 1, 1])).tolist())
        source = ArrayBackend(source.array & 0x7FFF, source.header.replace(affine=even))
    save_dicom(source, str(tmp_path / "out"))
    words = {"dcm2niix": ["-z", "n", "-b", "n", "-f", "x", "-o", str(tmp_path), str(tmp_path / "out")],
             "mrconvert": ["-quiet", str(tmp_path / "out"), str(tmp_path / "x.nii")]}[tool]  # fmt: skip
    subprocess.run([tool, *words], check=True, capture_output=True)
    found = open_backend(tmp_path / "x.nii")
    assert same_world(stored(found), found.header.affine, source.array, source.header.affine) is None


def test_the_thickness_of_slices_is_kept(tmp_path: Path) -> None:
    """Slices of 3 mm with gaps between them are 3 mm thick, whatever the step."""
    thin = image(metadata={"SliceThickness": 3})
    for name, source, size in (("thin", thin, 3), ("unknown", image(), thin.header.spacing[2])):
        (first, *_) = save_dicom(source, str(tmp_path / name))
        made = pydicom.dcmread(first)
        assert float(made.SliceThickness) == pytest.approx(size)
        assert float(made.SpacingBetweenSlices) == pytest.approx(thin.header.spacing[2])

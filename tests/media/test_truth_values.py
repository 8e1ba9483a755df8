"""What people see is true, part two: values of all kinds, windows, and where nobody knows how a patient lies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats import open_backend
from medimg_cli.header import Header
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.media.scenes import open_scene
from tests.formats import dicom_files
from tests.helpers import affine
from tests.media import phantoms
from tests.media.phantoms import Array
from tests.media.reading import EDGES, drawn, grey, letter_at
from tests.media.test_truth import NAMES, scene_of

SHAPE = (7, 9, 5)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])


def written(array: Array, folder: Path, affine: Any = AFFINE) -> str:
    """Write an array whose axes run to the left, front and head."""
    return phantoms.save(nibabel.Nifti1Image(array, affine, dtype=array.dtype), folder / "image.nii")


def axial(scene: Scene, number: int = 0, **how: Any) -> Array:
    """Return an axial slice, rows of pixels, counted from the feet; a voxel is a pixel."""
    plane = scene.planes["axial"]
    return np.asarray(scene.picture(plane, scene.shape[2] - 1 - number, **how))


def rows_of(array: Array, number: int = 0) -> Array:
    """Return a slice of an array along L, P, S as rows and columns: the front above, the patient's left on the right."""
    return array[:, ::-1, number].swapaxes(0, 1)


def ramp(dtype: str) -> Array:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


# -- values


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", "int64"])
def test_brightness_is_a_straight_line(dtype: str, tmp_path: Path) -> None:
    array = ramp(dtype) if dtype != "uint8" else (ramp("int32") % 251).astype("uint8")
    scene = scene_of(written(array, tmp_path), window="30:200", plain=True)
    expected = np.rint(np.clip((rows_of(array, 3).astype(float) - 30) / 170, 0, 1) * 255)
    assert np.array_equal(axial(scene, 3), expected)


def test_scaled_values_are_what_counts(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(ramp("int16"), AFFINE)
    image.header.set_slope_inter(0.5, -20)
    scene = scene_of(phantoms.save(image, tmp_path / "scaled.nii"), window="0:100", plain=True)
    values = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    assert np.ptp(values) > 100
    assert np.array_equal(axial(scene, 2), np.rint(np.clip(rows_of(values, 2) / 100, 0, 1) * 255))


def test_what_is_not_finite(tmp_path: Path) -> None:
    array = ramp("float32")
    array[0, 0], array[1, 1], array[2, 2] = np.nan, np.inf, -np.inf
    scene = scene_of(written(array, tmp_path), plain=True)
    low, high = scene.limits()
    assert 0 <= low < high <= array[np.isfinite(array)].max()
    pixels, values = axial(scene, 1), rows_of(array, 1)
    assert (pixels[np.isnan(values)] == 0).all() and np.isnan(values).any()
    assert (pixels[values == np.inf] == 255).all() and (pixels[values == -np.inf] == 0).all()
    real = np.isfinite(values)
    expected = np.rint(np.clip((values[real] - low) / (high - low), 0, 1) * 255)
    assert np.abs(pixels[real].astype(float) - expected).max() <= 1
    nothing = scene_of(written(np.full(SHAPE, np.nan, "float32"), tmp_path), plain=True)
    assert axial(nothing).max() == 0


@pytest.mark.parametrize("value", [0, 7, -3])
def test_a_constant_image_has_one_shade(value: int, tmp_path: Path) -> None:
    scene = scene_of(written(np.full(SHAPE, value, "int16"), tmp_path), plain=True)
    low, high = scene.limits()
    assert low <= value <= high and low < high
    assert len(np.unique(axial(scene))) == 1


def test_a_constant_image_is_no_label_map(tmp_path: Path) -> None:
    for value in (0, 7):
        opened = open_scene(open_backend(str(written(np.full(SHAPE, value, "int16"), tmp_path))), Look(plain=True))
        assert np.asarray(opened.scene.picture(opened.scene.planes["axial"], 1)).max() == 0
        assert opened.scene.labels == (value == 0)  # an empty mask is one


def test_numbers_of_a_palette_are_no_labels() -> None:
    said = {"PhotometricInterpretation": "PALETTE COLOR"}
    header = Header(shape=(1, 6, 5, 4), dtype="uint8", affine=AffineMatrix(AFFINE), metadata=said)
    few = np.random.default_rng(0).integers(0, 3, (1, 6, 5, 4)).astype("uint8")
    assert not open_scene(ArrayBackend(few, header), Look()).scene.labels
    assert open_scene(ArrayBackend(few, header.replace(metadata={})), Look()).scene.labels


def test_booleans_are_black_and_white() -> None:
    from medimg_cli import ScalarImage

    array = ramp("int32") % 3 == 0
    scene = Scene(ScalarImage(array[None], affine=AFFINE).dataobj)
    assert np.array_equal(axial(scene, 1), rows_of(array, 1) * 255)


def test_complex_numbers_are_shown_by_their_magnitude(tmp_path: Path) -> None:
    array = (3 * ramp("float32") * np.exp(1j * ramp("float32"))).astype("complex64")
    scene = scene_of(written(array, tmp_path), window="0:900", plain=True)
    expected = np.clip(3 * rows_of(ramp("float64"), 2) / 900, 0, 1) * 255
    assert np.abs(axial(scene, 2) - expected).max() <= 0.51


# -- colours


def coloured(letters: str) -> tuple[Array, Any]:
    """Return colours (I, J, K, 3 or 4), all different, and NIfTI's records of them."""
    count = len(letters)
    array = np.random.default_rng(3).integers(0, 256, (*SHAPE, count), dtype=np.uint8)
    return array, array.view(np.dtype([(letter, "u1") for letter in letters]))[..., 0]


@pytest.mark.parametrize("letters", ["RGB", "RGBA"])
@pytest.mark.parametrize("look", [{}, {"window": "0:10"}, {"colormap": "viridis"}], ids=["plain", "window", "colormap"])
def test_colours_are_left_alone(letters: str, look: dict[str, Any], tmp_path: Path) -> None:
    array, records = coloured(letters)
    scene = scene_of(written(records, tmp_path), plain=True, **look)
    assert np.array_equal(axial(scene, 2), rows_of(array, 2)[..., :3])
    assert not any("window" in word for word in scene.remarks())


def test_colours_of_16_bits_keep_the_upper_8(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    pixels = np.random.default_rng(6).integers(0, 1 << 16, (8, 11, 3), dtype=np.uint16)
    path = dicom_files.save(dicom_files.dataset(pixels, SOPClassUID=dicom_files.CAPTURE), tmp_path / "a.dcm")
    for window in (None, "0:10"):
        assert np.array_equal(axial(scene_of(str(path), plain=True, window=window)), pixels >> 8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_a_picture_stays_the_picture(mode: str, tmp_path: Path) -> None:
    """What comes out of a PNG is what went in: nothing turned, mirrored or cut."""
    size = (13, 9, len(mode)) if len(mode) > 1 else (13, 9)
    pixels = np.random.default_rng(4).integers(0, 256, size, dtype=np.uint8)
    if mode == "RGBA":
        pixels[..., 3] = 255
    Pillow.fromarray(pixels).save(tmp_path / "p.png")
    scene = scene_of(str(tmp_path / "p.png"), window="0:255", plain=True)
    (name,) = (name for name, plane in scene.planes.items() if scene.shape[plane.across] == 1)
    assert name == "axial"
    assert np.array_equal(axial(scene), pixels[..., :3] if mode == "RGBA" else pixels)


# -- DICOM


def test_monochrome1_shows_low_values_bright(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    pixels = np.arange(12 * 9, dtype=np.uint16).reshape(12, 9) * 5
    shown = {}
    for meaning in ("MONOCHROME1", "MONOCHROME2"):
        found = dicom_files.dataset(pixels, PhotometricInterpretation=meaning, PixelSpacing=[1, 1])
        found.ImagePositionPatient, found.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        path = dicom_files.save(found, tmp_path / meaning / "a.dcm")
        shown[meaning] = axial(scene_of(str(path), window="20:500", plain=True)).astype(int)
    assert np.array_equal(shown["MONOCHROME2"], np.rint(np.clip((pixels - 20.0) / 480, 0, 1) * 255))
    assert np.abs(shown["MONOCHROME1"] + shown["MONOCHROME2"] - 255).max() <= 1  # halves are rounded


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("meaning", ["MONOCHROME1", "MONOCHROME2"])
def test_beyond_the_voxels_it_is_black_under_any_window(meaning: str, dtype: str) -> None:
    """Also where black is the largest value, no whole number, and the window is narrow."""
    header = Header(
        shape=(2, 20, 18, 22), dtype=dtype, affine=affine((0, 0, 30)), metadata={"PhotometricInterpretation": meaning}
    )
    values = np.random.default_rng(8).normal(50, 4, header.shape).astype(dtype)
    values[1] -= 70
    scene = Scene(ArrayBackend(values, header), Look(planes="straight", plain=True))
    for seen in (scene, scene.under(channel=1), scene.under(limits=(-30, 20.4)), scene.under(limits=(50.6, 60.6))):
        picture = np.asarray(seen.picture(scene.planes["axial"], 9))
        assert picture[:3, :3].max() == 0, seen.limits()
    assert np.asarray(scene.picture(scene.planes["axial"], 9)).max() > 150


def windowed_by_the_standard(found: Any) -> Array:
    """Return pixels as PS3.3, C.11.2.1.2.1 says, with the first window of a data set."""
    values = found.pixel_array * float(found.get("RescaleSlope", 1)) + float(found.get("RescaleIntercept", 0))
    center, width = (float(np.atleast_1d(found[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_bigendian.dcm", "examples_overlay.dcm", "693_J2KI.dcm"])
def test_windows_that_dicom_files_state(name: str) -> None:
    """pydicom's own files: of two windows the first one counts."""
    pydicom = pytest.importorskip("pydicom")
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    if not path.exists():
        pytest.skip(f"pydicom ships without {name}")
    found = pydicom.dcmread(path)
    assert [float(n) for n in found.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    try:
        expected = windowed_by_the_standard(found)
        picture = axial(scene_of(str(path), plain=True), scale=1 / float(found.PixelSpacing[0]))
    except (RuntimeError, NotImplementedError, ValueError) as error:
        pytest.skip(f"nothing here decodes {name}: {error}")
    assert np.abs(picture - expected).max() <= 0.51
    assert len(np.unique(picture)) > 50


# -- several volumes


def test_steps_of_a_series_share_a_window(tmp_path: Path) -> None:
    """A signal that rises is seen to rise."""
    array = np.stack([ramp("int16") + 40 * n for n in range(6)], axis=-1)
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    path = phantoms.save(image, tmp_path / "bold.nii")
    scene = scene_of(path, plain=True)
    assert {scene.under(channel=n).limits() for n in range(6)} == {scene.limits()}
    assert {scene_of(path, channel=n).limits() for n in (0, 5, -1)} == {scene.limits()}
    means = [axial(scene.under(channel=n), 2).mean() for n in range(6)]
    assert all(later > earlier for earlier, later in zip(means, means[1:], strict=False))
    assert np.array_equal(axial(scene_of(path, channel=-1, plain=True)), axial(scene.under(channel=5)))


def test_diffusion_volumes_have_windows_of_their_own(tmp_path: Path) -> None:
    """Volumes with strong gradients are dark; each is shown as bright as it can be."""
    array = np.stack([ramp("float32") * factor for factor in (9, 1, 0.5, 1)], axis=-1)
    path = written(array, tmp_path)
    (tmp_path / "image.bval").write_text("0 1000 2000 1000\n")
    (tmp_path / "image.bvec").write_text("0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    scene = scene_of(path, plain=True)
    ends = [scene.under(channel=n).limits()[1] for n in range(4)]
    assert ends[0] == pytest.approx(9 * ends[1]) and ends[1] == pytest.approx(2 * ends[2])
    shades = [axial(scene.under(channel=n), 2).astype(int) for n in range(4)]
    assert all(np.abs(each - shades[0]).max() <= 1 for each in shades)


# -- where nobody knows


def no_forms(folder: Path) -> str:
    image = nibabel.Nifti1Image(ramp("int16"), None)
    image.header.set_zooms((2, 2, 2))
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nibabel.save(image, folder / "neither.nii")
    return str(folder / "neither.nii")


def analyze(folder: Path) -> str:
    nibabel.save(nibabel.AnalyzeImage(ramp("int16"), np.diag([2, 2, 2, 1.0])), folder / "old.img")
    return str(folder / "old.img")


def picture(folder: Path) -> str:
    Pillow.fromarray((ramp("int32")[..., 0] * 3 % 256).astype(np.uint8)).save(folder / "p.png")
    return str(folder / "p.png")


def _nrrd(folder: Path, more: str) -> str:
    sizes = " ".join(map(str, SHAPE))
    text = f"NRRD0004\ntype: int16\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n{more}\n"
    (folder / "a.nrrd").write_bytes(text.encode() + ramp("<i2").tobytes(order="F"))
    return str(folder / "a.nrrd")


def nrrd_spacings(folder: Path) -> str:
    return _nrrd(folder, "spacings: 2 2 2\n")


def nrrd_unnamed(folder: Path) -> str:
    return _nrrd(folder, "space dimension: 3\nspace directions: (2,0,0) (0,2,0) (0,0,2)\n")


def metaimage(folder: Path) -> str:
    sizes = " ".join(map(str, SHAPE))
    text = f"NDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\nElementSpacing = 2 2 2\nElementDataFile = LOCAL\n"
    (folder / "a.mha").write_bytes(text.encode() + ramp("<i2").tobytes(order="F"))
    return str(folder / "a.mha")


def vtk(folder: Path) -> str:
    sizes = " ".join(map(str, SHAPE))
    head = "# vtk DataFile Version 3.0\nx\nBINARY\nDATASET STRUCTURED_POINTS\n"
    text = f"{head}DIMENSIONS {sizes}\nSPACING 2 2 2\nORIGIN 0 0 0\nPOINT_DATA {np.prod(SHAPE)}\nSCALARS s short\n"
    (folder / "a.vtk").write_bytes(text.encode() + b"LOOKUP_TABLE default\n" + ramp(">i2").tobytes(order="F"))
    return str(folder / "a.vtk")


def zarr_plain(folder: Path) -> str:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=ramp("int16"))
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [2, 2, 2]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    return str(folder / "a.zarr")


def npy(folder: Path) -> str:
    np.save(folder / "a.npy", ramp("int16"))
    return str(folder / "a.npy")


def mgh(folder: Path) -> str:
    image = nibabel.MGHImage(ramp("int16"), np.eye(4))
    image.header["goodRASFlag"] = 0
    nibabel.save(image, folder / "a.mgz")
    return str(folder / "a.mgz")


UNKNOWN = (no_forms, analyze, picture, nrrd_spacings, nrrd_unnamed, metaimage, vtk, zarr_plain, npy, mgh)


@pytest.mark.parametrize("make", UNKNOWN, ids=lambda make: make.__name__)
def test_where_nobody_knows_there_are_no_letters(make: Callable[[Path], str], tmp_path: Path) -> None:
    path = make(tmp_path)
    assert not open_backend(path).header.orientation_known
    for neurological in (False, True):
        plain, scene = (
            scene_of(path, plain=plain, window="0:99999", neurological=neurological) for plain in (True, False)
        )
        assert scene.remarks()[0] == "orientation unknown"
        assert not any(word in scene.remarks() for word in ("radiological", "neurological"))
        for plane in scene.planes.values():
            assert plane.letters == "" and scene.convention(plane) == "orientation unknown"
        scale = 450 / min(n * mm for n, mm in zip(scene.shape[:2], scene.spacing[:2], strict=True))
        ink = drawn(*(each.picture(each.planes["axial"], 0, scale=scale) for each in (plain, scene)))
        assert ink.max() > 100, "the caption"
        assert {edge: letter_at(ink, edge) for edge in EDGES} == dict.fromkeys(EDGES, "")


def test_where_it_is_known_there_are_letters(tmp_path: Path) -> None:
    path = written(ramp("int16"), tmp_path)
    plain, scene = (scene_of(path, plain=plain, window="0:99999") for plain in (True, False))
    for name in NAMES:
        pictures = [each.picture(each.planes[name], 1, scale=20) for each in (plain, scene)]
        ink = drawn(*pictures)
        assert "".join(letter_at(ink, edge) for edge in EDGES) == phantoms.view(name).letters
    assert scene.remarks()[0] == "radiological" and scene.known


DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_letters_and_warnings_agree_on_real_files() -> None:
    """Whatever warns that orientation is unknown has no letters."""
    if not (DATA / "MANIFEST.csv").exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    import csv

    from medimg_cli import read_header
    from medimg_cli.errors import MedImgError

    known = unknown = 0
    with open(DATA / "MANIFEST.csv", newline="") as file:
        for row in csv.DictReader(file):
            try:
                header = read_header(str(DATA / row["path"]))
            except MedImgError:
                continue
            words = ("orientation is unknown", "where it lies in the patient is unknown")
            warned = any(word in warning for warning in header.warnings for word in words)
            assert not (warned and header.orientation_known), (row["path"], header.affine_source)
            if header.format in ("nifti1", "nifti2", "analyze") and not header.affine.is_singular:
                assert warned != header.orientation_known, row["path"]
            known, unknown = known + header.orientation_known, unknown + (not header.orientation_known)
    assert known > 100 and unknown > 20


def test_a_label_map_is_recognised_and_said(tmp_path: Path) -> None:
    array, affine = phantoms.sampled(phantoms.regions, (2, 2, 2))
    path = phantoms.save(nibabel.Nifti1Image(array, affine), tmp_path / "seg.nii")
    from medimg_cli.media.look import Look

    opened = open_scene(open_backend(path), Look())
    assert opened.scene.labels and any("label map" in remark for remark in opened.remarks)
    colours = opened.scene.picture(opened.scene.planes["axial"], 12).convert("RGB").getcolors(1 << 16)
    assert len([1 for count, colour in colours if max(colour) - min(colour) > 40 and count > 20]) >= 2
    told = open_scene(open_backend(path), Look(kind="intensities", plain=True))
    assert not told.scene.labels and grey(told.scene.picture(told.scene.planes["axial"], 12)).max() > 0

"""DICOM: single files and series that are made here, read by medimg and by GDCM."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    MedImgError,
    TruncatedError,
    UnsupportedError,
)
from medimg_cli.formats import open_backend
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.stored import Layout, whole
from tests.formats.dicom_files import (
    BIG,
    CAPTURE,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    RLE,
    dataset,
    geometry,
    same_world,
    save,
    write_series,
    write_times,
)
from tests.helpers import AFFINES, affine, laid_out, layouts, read, unlike, voxels

pytest.importorskip("pydicom")

SHAPE = (5, 4, 6)
OBLIQUE = AFFINES["oblique"]


def numbers(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return voxels(shape, dtype)


# where slices are


@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed", "permuted"])
@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint8", "int8", "int32", "uint32"])
def test_series(kind: str, dtype: str, tmp_path: Path) -> None:
    array, place = numbers(dtype), AFFINES[kind]
    write_series(tmp_path, array, place)
    backend = open_backend(tmp_path)
    assert backend.header.shape == (1, *SHAPE)
    assert backend.header.dtype == dtype
    assert not backend.header.warnings
    assert same_world(read(backend), backend.header.affine, array[None], place) is None
    assert backend.header.affine.determinant > 0, "K runs along row x column"


@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed", "permuted"])
def test_series_as_gdcm_reads_it(kind: str, tmp_path: Path) -> None:
    """Non-square pixels on oblique axes: rows and columns are not swapped, LPS becomes RAS."""
    sitk = pytest.importorskip("SimpleITK")
    write_series(tmp_path, numbers(), AFFINES[kind])
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    direction = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps = np.vstack([np.column_stack([direction, image.GetOrigin()]), [0, 0, 0, 1]])
    backend = open_backend(tmp_path)
    found, where = read(backend), backend.header.affine
    expected = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)[None]
    assert same_world(found, where, expected, AffineMatrix.from_lps(lps.tolist())) is None
    assert where.allclose(AffineMatrix.from_lps(lps.tolist()), 1e-5)


def test_one_file_is_a_slice_in_space(tmp_path: Path) -> None:
    array = numbers()
    files = write_series(tmp_path, array, OBLIQUE)
    backend = open_backend(files[2])
    assert backend.header.shape == (1, 5, 4, 1)
    assert backend.header.affine.allclose(OBLIQUE @ AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2]]), 1e-6)
    assert unlike(read(backend), array[None, :, :, 2:3]) is None
    assert (backend.header.format, backend.header.affine_source) == ("dicom", "dicom")


def test_spacing_between_slices_outranks_thickness(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE, SpacingBetweenSlices=3.75)[0]
    assert open_backend(path).header.spacing[2] == pytest.approx(3.75)


def test_a_tilted_gantry_is_kept_as_shear(tmp_path: Path) -> None:
    tilted = AffineMatrix([[0.9, 0, 0, -37.5], [0, 1.25, 0.7, 12.25], [0, 0, 3.0, 81.0], [0, 0, 0, 1]])
    array = numbers()
    write_series(tmp_path, array, tilted)
    backend = open_backend(tmp_path)
    assert any("tilt" in warning and "13.1 degrees" in warning for warning in backend.header.warnings)
    assert backend.header.affine.shear_deg > 10
    assert same_world(read(backend), backend.header.affine, array[None], tilted) is None


def _moved(offsets: dict[int, float]) -> Any:
    def change(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x, y, z + offsets.get(k, 0)]

    return change


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, numbers(), affine((0, 0, 0)))
    files[3].unlink()
    with pytest.raises(GeometryError, match=r"6 mm apart, other slices 3 mm: 1 slice is missing") as error:
        open_backend(tmp_path)
    assert files[2].name in str(error.value)
    assert files[4].name in str(error.value)


def test_uneven_slices_are_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, numbers(), affine((0, 0, 0)), _moved({5: 0.4}))
    with pytest.raises(GeometryError, match=r"3\.4 mm apart, other slices 3 mm: the slices are not evenly") as error:
        open_backend(tmp_path)
    assert files[4].name in str(error.value)
    assert files[5].name in str(error.value)


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), affine((0, 0, 0)), _moved({2: 0.01, 3: -0.01}))
    assert open_backend(tmp_path).header.spacing[2] == pytest.approx(3.0)


@pytest.mark.parametrize(("angle", "off"), [(0.0, None), (2e-5, None), (9e-4, "0.277 mm off")])
def test_a_slice_that_is_turned_a_little_is_named(angle: float, off: str | None, tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        if k == 3:
            made.ImageOrientationPatient = [np.cos(angle), np.sin(angle), 0, -np.sin(angle), np.cos(angle), 0]

    array = np.zeros((201, 121, 6), np.uint8)
    files = write_series(tmp_path, array, AffineMatrix.from_spacing((1.2, 1.6, 3)).to_lps(), change)
    said = open_backend(tmp_path).header.warnings
    assert [files[3].name in warning and str(off) in warning for warning in said] == [True] * (off is not None)


@pytest.mark.parametrize("keyword", ["NumberOfSlices", "NumberOfTemporalPositions"])
def test_a_series_that_lacks_its_end_says_so(keyword: str, tmp_path: Path) -> None:
    here = SHAPE[2] if keyword == "NumberOfSlices" else 1
    for count in (here, here + 1):
        write_series(tmp_path, numbers(), OBLIQUE, **{keyword: count})
        said = [f"{keyword} is {count}, and {here} of them are here"] * (count > here)
        assert list(open_backend(tmp_path).header.warnings) == said


@pytest.mark.parametrize(
    ("keyword", "value"), [("ImagePositionPatient", ["0", "0", "1e300"]), ("PixelSpacing", ["1e-300", "1"])]
)
def test_absurd_numbers_are_refused_in_few_words(keyword: str, value: list[str], tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        if k == SHAPE[2] - 1 or keyword == "PixelSpacing":
            setattr(made, keyword, value)

    write_series(tmp_path, numbers(), affine((0, 0, 0)), change)
    with pytest.raises(GeometryError) as error:
        open_backend(tmp_path)
    assert len(error.value.message) < 120


def test_a_slice_off_the_line_is_named(tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x + (0.5 if k == 2 else 0), y, z]

    files = write_series(tmp_path, numbers(), affine((0, 0, 0)), change)
    with pytest.raises(GeometryError, match=r"0\.5 mm off the line") as error:
        open_backend(tmp_path)
    assert files[2].name in str(error.value)


def test_a_double_slice_is_named(tmp_path: Path) -> None:
    array = numbers()
    write_series(tmp_path, array, OBLIQUE)
    save(dataset(array[..., 2].T + 1, **geometry(OBLIQUE, 2)), tmp_path / "again")
    with pytest.raises(GeometryError, match="again lie at the same position|again and .* lie at the same position"):
        open_backend(tmp_path)


def test_copies_of_all_slices_are_refused(tmp_path: Path) -> None:
    for number, path in enumerate(write_series(tmp_path, numbers(), OBLIQUE)):
        (tmp_path / f"copy{number}").write_bytes(path.read_bytes())
    with pytest.raises(GeometryError, match="copies of one image"):
        open_backend(tmp_path)


@pytest.mark.parametrize(
    "orientation", [[0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 2, 0], [1, 0, 0, 0.5, 0.8, 0]]
)
def test_axes_that_are_none_are_refused(orientation: list[float], tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE, ImageOrientationPatient=orientation)[0]
    with pytest.raises(GeometryError, match="ImageOrientationPatient"):
        open_backend(path)


def test_a_slice_without_position_is_refused_in_a_series(tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        if k == 1:
            del made.ImagePositionPatient

    files = write_series(tmp_path, numbers(), OBLIQUE, change)
    with pytest.raises(GeometryError, match=f"{files[1].name} has no ImagePositionPatient"):
        open_backend(tmp_path)


def test_a_capture_is_a_picture(tmp_path: Path) -> None:
    pixels = numbers("uint8", (7, 9))
    plain = {"SOPClassUID": CAPTURE, "Modality": "OT"}
    path = save(dataset(pixels, ImagerPixelSpacing=[0.5, 0.25], **plain), tmp_path / "a.dcm")
    header = open_backend(path).header
    assert header.shape == (1, 9, 7, 1)
    assert (header.ndim, header.affine_source) == (2, "picture")
    assert header.spacing == pytest.approx((0.25, 0.5, 1))
    assert "ImagePositionPatient" in header.warnings[0]
    bare = open_backend(save(dataset(pixels, **plain), tmp_path / "b.dcm"))
    assert bare.header.spacing == (1, 1, 1)
    assert unlike(read(bare), pixels.T[None, :, :, None]) is None


# what belongs together


def test_other_things_in_the_folder_are_counted(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), OBLIQUE)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(100))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    report = dataset(numbers("uint8", (2, 2)), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    save(report, tmp_path / "report")
    header = open_backend(tmp_path).header
    assert header.shape == (1, *SHAPE)
    assert any("2 of its files are no DICOM files" in warning for warning in header.warnings)
    assert any("1 of its files is no image" in warning for warning in header.warnings)
    assert header.file_bytes == sum(path.stat().st_size for path in tmp_path.glob("IM*"))


def test_several_series_are_listed(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), OBLIQUE)
    write_series(tmp_path / "x", numbers(shape=(5, 4, 2)), OBLIQUE, SeriesInstanceUID="1.2.3", SeriesNumber=12,
                 SeriesDescription="T2")  # fmt: skip
    for path in (tmp_path / "x").iterdir():
        path.rename(tmp_path / f"x-{path.name}")
    (tmp_path / "x").rmdir()
    with pytest.raises(
        UnsupportedError, match=r"2 series: @1 3 T1 of a phantom \(6 files\), @2 12 T2 \(2 files\); choose"
    ):
        open_backend(tmp_path)


def test_a_localizer_in_the_series_is_listed(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), OBLIQUE)
    other = save(dataset(numbers(shape=(4, 5)), **geometry(AFFINES["permuted"], 0)), tmp_path / "scout")
    with pytest.raises(UnsupportedError, match=r"2 series: @1 .* ax \(6 files\), @2 .* sag \(1 file\)"):
        open_backend(tmp_path)
    other.unlink()
    save(dataset(numbers(shape=(8, 5)), **geometry(OBLIQUE, 6)), tmp_path / "large")
    with pytest.raises(UnsupportedError, match=r"2 series: @1 .* 5x4 \(6 files\), @2 .* 5x8 \(1 file\)"):
        open_backend(tmp_path)
    assert open_backend(tmp_path, reading=Reading(series="@1")).header.spatial_shape == SHAPE


def _told(**formulas: Any) -> Any:
    def change(made: Any, t: int, k: int) -> None:
        for keyword, formula in formulas.items():
            setattr(made, keyword, formula(t, k))

    return change


TIMES = (3, 5, 4, 4)
_EPI = {"ScanningSequence": lambda t, k: "EP", "RepetitionTime": lambda t, k: 2500}


@pytest.mark.parametrize(
    "told",
    [
        {"TemporalPositionIdentifier": lambda t, k: t + 1, "InstanceNumber": lambda t, k: 1},
        {"AcquisitionNumber": lambda t, k: 2 * t + 1},
        {"InstanceNumber": lambda t, k: 10 + 4 * t + k},
        {"InstanceNumber": lambda t, k: 3 * k + t},
        {"InstanceNumber": lambda t, k: 4 * t + (0, 2, 1, 3)[k]},
    ],
    ids=["temporal position", "acquisition", "volume by volume", "slice by slice", "interleaved"],
)
def test_time(told: dict[str, Any], tmp_path: Path) -> None:
    array = numbers(shape=TIMES)
    write_times(tmp_path, array, OBLIQUE, _told(**told, **_EPI))
    backend = open_backend(tmp_path)
    assert backend.header.axes == (("time", 3),)
    assert backend.header.time_spacing == 2.5
    assert same_world(read(backend), backend.header.affine, array, OBLIQUE) is None


def test_times_in_no_order_are_refused(tmp_path: Path) -> None:
    write_times(tmp_path, numbers(shape=TIMES), OBLIQUE, _told(InstanceNumber=lambda t, k: (5 * t + 7 * k + t * k) % 3))
    with pytest.raises(UnsupportedError, match="nothing says which belong to one volume"):
        open_backend(tmp_path)


def test_an_incomplete_volume_is_refused(tmp_path: Path) -> None:
    write_times(tmp_path, numbers(shape=TIMES), OBLIQUE, _told(TemporalPositionIdentifier=lambda t, k: t))
    next(tmp_path.glob("*-2-1.dcm")).unlink()
    with pytest.raises(GeometryError, match="volume 3 of 3 has 3 of 4 slices, none at the position of .*-1.dcm"):
        open_backend(tmp_path)


# numbers


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE])
@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_transfer_syntaxes(syntax: str, dtype: str, tmp_path: Path) -> None:
    array = numbers(dtype)
    write_series(tmp_path, array, OBLIQUE, syntax=syntax)
    backend = open_backend(tmp_path)
    assert backend.header.byte_order == ("big" if syntax == BIG and dtype == "int16" else "little")
    assert same_world(read(backend), backend.header.affine, array[None], OBLIQUE) is None
    back = range(3, -1, -2)
    region = (range(1), range(1, 5, 2), back, range(5, 1, -1))
    expected = array[None, 1:5:2, 3::-2, 5:1:-1]
    assert unlike(backend.read(region, raw=True), expected) is None
    again = pickle.loads(pickle.dumps(backend))
    assert unlike(read(again), read(backend)) is None
    layout = Layout.packed((1, *SHAPE), dtype, byte_order="big", order=(2, 0, 1))
    data = b"".join(bytes(block) for block in backend.blocks(layout, max_bytes=64))
    assert data == np.ascontiguousarray(array.transpose(1, 0, 2)).astype(array.dtype.newbyteorder(">")).tobytes()


def test_no_preamble(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE, syntax=IMPLICIT)[0]
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    for name, content in (("x.dcm", whole[132:]), ("y.IMA", whole[start:]), ("z", whole[132:]), ("w", whole[start:])):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / name).write_bytes(content)
        backend = open_backend(tmp_path / "bare" / name)
        assert unlike(read(backend), read(open_backend(path))) is None
        assert not backend.header.warnings


def test_one_slope_stays_a_slope(tmp_path: Path) -> None:
    array = numbers()
    write_series(tmp_path, array, OBLIQUE, RescaleSlope="0.25", RescaleIntercept="-12.5")
    backend = open_backend(tmp_path)
    assert (backend.header.slope, backend.header.inter, backend.header.dtype) == (0.25, -12.5, "int16")
    assert (
        same_world(backend.read(whole(backend.header.shape), raw=True), backend.header.affine, array[None], OBLIQUE)
        is None
    )


def test_slopes_of_their_own_make_values(tmp_path: Path) -> None:
    array = numbers()

    def change(made: Any, k: int) -> None:
        made.RescaleSlope, made.RescaleIntercept = 0.5 * (k + 1), -k

    write_series(tmp_path, array, OBLIQUE, change)
    backend = open_backend(tmp_path)
    assert (backend.header.slope, backend.header.dtype) == (None, "float32")
    assert any("slopes of their own" in warning for warning in backend.header.warnings)
    places = np.arange(SHAPE[2])
    values = (array * (0.5 * (places + 1)) - places).astype("float32")
    assert same_world(read(backend), backend.header.affine, values[None], OBLIQUE) is None


def test_slope_0_is_none(tmp_path: Path) -> None:
    header = open_backend(write_series(tmp_path, numbers(), OBLIQUE, RescaleSlope=0)[0]).header
    assert header.slope is None
    assert "RescaleSlope is 0" in header.warnings[0]


def test_the_sign_is_the_highest_bit_that_counts(tmp_path: Path) -> None:
    values = np.array([[-2048, -1, 0], [1, 5, 2047]], "int16")
    stored = (values & 0xFFF).astype("int16")
    for name, pixels in (("cut", stored), ("extended", values)):
        path = save(dataset(pixels, BitsStored=12, HighBit=11, **geometry(OBLIQUE, 0)), tmp_path / name)
        assert unlike(read(open_backend(path)), values.T[None, :, :, None]) is None


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_bits_that_do_not_count_are_no_part_of_a_sample(dtype: str, tmp_path: Path) -> None:
    low, high = (0, 4096) if dtype == "uint16" else (-2048, 2048)
    values = np.random.default_rng(5).integers(low, high, SHAPE).astype(dtype)
    garbage = np.random.default_rng(6).integers(0, 16, SHAPE).astype("uint16") << 12
    stored = ((values.view("uint16") & 0xFFF) | garbage).view(dtype)

    def bits(made: Any, k: int) -> None:
        made.BitsStored, made.HighBit = 12, 11

    write_series(tmp_path, stored, OBLIQUE, change=bits)
    backend = open_backend(tmp_path)
    assert unlike(read(backend, raw=True), values[None]) is None
    for layout in layouts(backend.header):
        content = b"".join(bytes(block) for block in backend.blocks(layout))
        assert content == laid_out(values[None], layout)


def test_colours(tmp_path: Path) -> None:
    array = numbers("uint8", (3, 5, 4, 6))

    def planes(made: Any, k: int) -> None:
        made.PlanarConfiguration = 1
        made.PixelData = np.ascontiguousarray(array[..., k].transpose(0, 2, 1)).tobytes()

    for name, change in (("pixels", None), ("planes", planes)):
        write_series(tmp_path / name, array, OBLIQUE, change)
        backend = open_backend(tmp_path / name)
        assert backend.header.axes == (("rgb", 3),)
        assert same_world(read(backend), backend.header.affine, array, OBLIQUE) is None
    write_series(tmp_path / "rle", array, OBLIQUE, syntax=RLE)
    backend = open_backend(tmp_path / "rle")
    assert same_world(read(backend), backend.header.affine, array, OBLIQUE) is None


def test_monochrome1_is_kept_as_stored(tmp_path: Path) -> None:
    array = numbers()
    backend = open_backend(write_series(tmp_path, array, OBLIQUE, PhotometricInterpretation="MONOCHROME1")[0])
    assert unlike(read(backend), array[None, :, :, :1]) is None
    assert "MONOCHROME1" in backend.header.warnings[0]
    assert backend.header.metadata["PhotometricInterpretation"] == "MONOCHROME1"


def test_metadata_have_the_units_of_bids_and_no_names(tmp_path: Path) -> None:
    values = {"RepetitionTime": 2300, "EchoTime": "2.98", "FlipAngle": 9, "Manufacturer": "ACME", "EchoNumbers": 1}
    write_series(tmp_path, numbers(), OBLIQUE, ManufacturerModelName="Magnet 3", PatientComments="Jane", **values)
    header = open_backend(tmp_path).header
    expected = {"RepetitionTime": 2.3, "EchoTime": 0.00298, "FlipAngle": 9, "Manufacturer": "ACME", "EchoNumber": 1,
                "ManufacturersModelName": "Magnet 3", "Modality": "MR"}  # fmt: skip
    assert {name: header.metadata[name] for name in expected} == pytest.approx(expected)
    assert header.description == "T1 of a phantom"
    said = repr(header) + json.dumps(dict(header.metadata))
    for secret in ("Doe", "Jane", "4711", "19700131", "House", "Princeton"):
        assert secret not in said


# what is no plain image


def _without_pixels(uid: str) -> Any:
    made = dataset(numbers("uint8", (2, 2)), SOPClassUID=uid)
    for keyword in ("Rows", "Columns", "PixelData", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(made, keyword)
    return made


REFUSED = {
    "report": (lambda: _without_pixels("1.2.840.10008.5.1.4.1.1.88.11"), "a DICOM Basic Text SR, not an image"),
    "structures": (lambda: _without_pixels("1.2.840.10008.5.1.4.1.1.481.3"), "RT Structure Set, not an image"),
    "pdf": (lambda: _without_pixels("1.2.840.10008.5.1.4.1.1.104.1"), "Encapsulated PDF, not an image"),
    "waveform": (lambda: _without_pixels("1.2.840.10008.5.1.4.1.1.9.1.1"), "ECG Waveform, not an image"),
    "overlay": (lambda: dataset(numbers("uint16", (4, 4)), BitsStored=12, HighBit=15), "lowest bit"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("folder", [False, True])
def test_what_is_no_plain_image_is_named(kind: str, folder: bool, tmp_path: Path) -> None:
    make, sentence = REFUSED[kind]
    path = save(make(), tmp_path / "x.dcm")
    with pytest.raises(UnsupportedError, match=sentence) as error:
        open_backend(tmp_path if folder else path)
    assert "\n" not in str(error.value)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    save(_without_pixels("1.2.840.10008.5.1.4.1.1.88.11"), tmp_path / "x")
    with pytest.raises(UnsupportedError, match="Basic Text SR, not an image"):
        open_backend(tmp_path)


# hostile and broken files


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"Rows": 0}, "no pixels"),
        ({"BitsAllocated": 7}, "7 bits"),
        ({"BitsStored": 32}, "BitsStored is 32"),
        ({"SamplesPerPixel": 4}, "SamplesPerPixel is 4"),
        ({"NumberOfFrames": -1}, "NumberOfFrames is -1"),
        ({"NumberOfFrames": 10**9}, "1000000000 frames"),
        ({"PixelSpacing": [0, 0]}, "no area"),
        ({"PixelSpacing": [1, 2, 3]}, "PixelSpacing does not hold 2 numbers"),
    ],
)
def test_headers_that_contradict_themselves(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE, **values)[0]
    with pytest.raises(MedImgError, match=sentence):
        open_backend(path)


def _voxels_are_refused(path: Path, kind: type[Exception], sentence: str) -> None:
    backend = open_backend(path)
    assert any(sentence in warning for warning in backend.header.warnings)
    with pytest.raises(kind, match=sentence):
        read(backend)
    with pytest.raises(kind, match=sentence):
        list(backend.blocks(Layout.packed(backend.header.shape, backend.header.dtype)))


@pytest.mark.parametrize("missing", [1, 7, 39])
@pytest.mark.parametrize("folder", [False, True])
def test_truncated_pixels(missing: int, folder: bool, tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE)[3]
    path.write_bytes(path.read_bytes()[:-missing])
    _voxels_are_refused(tmp_path if folder else path, TruncatedError, "truncated")
    if folder:
        with pytest.raises(TruncatedError, match=path.name):
            read(open_backend(tmp_path))


def test_more_rows_than_pixels(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE, Rows=65535, Columns=65535)[0]
    _voxels_are_refused(path, TruncatedError, "truncated")
    path = write_series(tmp_path / "rle", numbers(), OBLIQUE, lambda made, k: None, syntax=RLE)[0]
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x10\x00US\x02\x00")
    path.write_bytes(data[: at + 8] + b"\xff\xff" + data[at + 10 : at + 18] + b"\xff\xff" + data[at + 20 :])
    _voxels_are_refused(path, TruncatedError, "truncated")


def _pixel_length(path: Path, length: int) -> None:
    data = path.read_bytes()
    at = data.rindex(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(data[: at + 8] + length.to_bytes(4, "little") + data[at + 12 :])


def test_lengths_that_lie(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE)[0]
    _pixel_length(path, 0xFFFFFFF0)
    _voxels_are_refused(path, TruncatedError, "truncated")
    _pixel_length(path, 2)
    _voxels_are_refused(path, TruncatedError, "truncated")
    _pixel_length(path, 0xFFFFFFFF)
    _voxels_are_refused(path, FormatError, "encapsulated")


def test_far_too_many_pixels(tmp_path: Path) -> None:
    path = save(dataset(numbers(shape=(4, 5)), PixelData=bytes(5000), **geometry(OBLIQUE, 0)), tmp_path / "x")
    _voxels_are_refused(path, FormatError, "one of them is wrong")


def test_a_bomb_of_deflated_tags(tmp_path: Path) -> None:
    """fo-dicom #2165: 80 MB of a text in front of everything."""
    import zlib

    path = write_series(tmp_path, numbers(), OBLIQUE, syntax=DEFLATED)[0]
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = b"\x10\x00\x10\x00UT\0\0" + (80_000_000).to_bytes(4, "little") + b"A" * 80_000_000
    (tmp_path / "bomb.dcm").write_bytes(whole[:start] + packer.compress(text) + packer.flush())
    with pytest.raises(FormatError, match="bomb"):
        open_backend(tmp_path / "bomb.dcm")


def test_nested_sequences(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE)[0]
    whole = path.read_bytes()
    at = whole.index(b"\x10\x00\x10\x00PN")
    nest = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 5000
    path.write_bytes(whole[:at] + nest + whole[at:])
    with pytest.raises(FormatError, match="sequences lie more than 32 deep"):
        open_backend(path)


def test_a_transfer_syntax_that_nobody_knows(tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        made.file_meta.TransferSyntaxUID = "1.2.3.4.5.6.7"

    made = dataset(numbers(shape=(4, 5)), **geometry(OBLIQUE, 0))
    path = save(made, tmp_path / "x.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0"))
    backend = open_backend(path)
    assert "no decoder for transfer syntax" in backend.header.warnings[0]
    with pytest.raises(UnsupportedError, match="no decoder"):
        read(backend)


def test_a_program_in_the_preamble(tmp_path: Path) -> None:
    """CVE-2019-11687."""
    path = write_series(tmp_path, numbers(), OBLIQUE)[0]
    path.write_bytes(b"\x7fELF" + path.read_bytes()[4:])
    assert "never run" in open_backend(path).header.warnings[0]


def test_a_damaged_file_of_a_series_is_named(tmp_path: Path) -> None:
    path = write_series(tmp_path, numbers(), OBLIQUE)[3]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FormatError, match=path.name):
        open_backend(tmp_path)


def test_damaged_bytes_never_crash(tmp_path: Path) -> None:
    """Mutations of a header: an error of ours, or an image; warnings of pydicom stay inside."""
    path = write_series(tmp_path, numbers(shape=(5, 4, 1)), OBLIQUE, SOPClassUID=CT)[0]
    whole = path.read_bytes()
    chance = np.random.default_rng(7)
    for _ in range(150):
        content = bytearray(whole)
        for at in chance.integers(132, len(whole), 3):
            content[at] = chance.integers(256)
        try:
            read(open_backend(bytes(content), name="x.dcm"))
        except MedImgError as error:
            assert "\n" not in str(error)


# the command line


def _medimg(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medimg_cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=False)


def test_info_and_convert(tmp_path: Path) -> None:
    array = numbers()
    write_series(tmp_path / "in", array, OBLIQUE, RescaleSlope=2, RescaleIntercept=-3)
    one, other = (
        _medimg("info", "--json", tmp_path / "in"),
        _medimg("info", tmp_path / "in", tmp_path / "in" / "IM0001"),
    )
    facts = json.loads(one.stdout)[0]
    assert (facts["format"], facts["spatial_shape"], facts["slope"]) == ("dicom", list(SHAPE), 2)
    assert len(other.stdout.splitlines()) == 3
    assert (one.stderr, other.stderr, one.returncode) == ("", "", 0)
    done = _medimg("convert", tmp_path / "in", tmp_path / "out.nii.gz")
    assert done.returncode == 0, done.stderr
    backend = open_backend(tmp_path / "out.nii.gz")
    assert (backend.header.slope, backend.header.inter, backend.header.dtype) == (2, -3, "int16")
    assert (
        same_world(backend.read(whole(backend.header.shape), raw=True), backend.header.affine, array[None], OBLIQUE)
        is None
    )


def test_recursive_info_has_a_row_a_series(tmp_path: Path) -> None:
    write_series(tmp_path / "a", numbers(), OBLIQUE)
    write_series(tmp_path / "b" / "c", numbers(shape=(5, 4, 2)), OBLIQUE)
    for number, path in enumerate(sorted((tmp_path / "b" / "c").iterdir())):
        path.rename(path.with_name(f"x{number}.dcm"))
    done = _medimg("info", "--recursive", "--field", "path", "--field", "spatial_shape", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(tmp_path / "a"), str(tmp_path / "b" / "c")]


def test_image_is_lazy_on_a_folder(tmp_path: Path) -> None:
    """A region opens only the files that it lies in."""
    import medimg_cli as mi

    array = numbers()
    files = write_series(tmp_path, array, OBLIQUE)
    image = mi.Image(tmp_path)
    assert (image.shape, image.is_loaded) == ((1, *SHAPE), False)
    files[0].unlink()
    part = image[:, ::2, 1:3, 4:1:-1]
    assert unlike(part.numpy(), array[None, ::2, 1:3, 4:1:-1]) is None
    assert part.spacing == pytest.approx((1.8, 1.25, 3.0))
    with pytest.raises(OSError, match=files[0].name):
        image.numpy()

"""DICOM: series of several stacks, several volumes, missing and uneven slices, tilted gantries."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, decode
from medimg_cli.errors import GeometryError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.catalogue import catalogue
from medimg_cli.formats.dicom.opening import image_of
from medimg_cli.formats.dicom.series import Series, choose
from medimg_cli.formats.reading import Reading
from medimg_cli.grid import Grid
from medimg_cli.header import Header
from medimg_cli.operations.straightening import straight_grid, straightened
from medimg_cli.storage.stored import whole
from tests.formats.dicom_files import CAPTURE, CT, RLE, dataset, geometry, same_world, save, write_series, write_times
from tests.helpers import AFFINES, affine, read, unlike, voxels

pytest.importorskip("pydicom")

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

SHAPE = (5, 4, 6)
TIMES = (3, 5, 4, 4)
OBLIQUE = AFFINES["oblique"]
STRAIGHT = affine((0, 0, 0))
IGNORE, RESAMPLE = Reading(gaps="ignore"), Reading(gaps="resample")


def numbers(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return voxels(shape, dtype)


def listed(folder: Path) -> tuple[Series, ...]:
    return catalogue(str(folder)).series


def told(**formulas: Any) -> Callable[[Any, int, int], None]:
    """Return a change that sets elements: constants, or formulas of (t, k)."""

    def change(made: Any, t: int, k: int) -> None:
        for keyword, formula in formulas.items():
            setattr(made, keyword, formula(t, k) if callable(formula) else formula)

    return change


# several stacks in one series


def _ge(kind: int) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        made.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", kind)

    return change


def _each(keyword: str, *values: Any) -> list[Callable[[Any], None]]:
    return [lambda made, value=value: setattr(made, keyword, value) for value in values]  # type: ignore[misc]


def _types(*words: str) -> list[Callable[[Any], None]]:
    return _each("ImageType", *(["ORIGINAL", "PRIMARY", *word.split("/")] for word in words))


def _told(**values: Any) -> Callable[[Any], None]:
    def change(made: Any) -> None:
        for keyword, value in values.items():
            setattr(made, keyword, value)

    return change


SPLIT: dict[str, tuple[list[Callable[[Any], None]], list[str]]] = {
    "echo numbers": ([_told(EchoNumbers=n, EchoTime=4.92 * n) for n in (1, 2, 3)], ["e1", "e2", "e3"]),
    "echo times": (_each("EchoTime", 12.5, 4.1), ["e2", "e1"]),
    "phase by type": (_types("M/ND", "P/ND"), ["", "ph"]),
    "philips": (_types("M_FFE/M/FFE", "PHASE MAP/P/FFE", "R_FFE/R/FFE", "I_FFE/I/FFE"),
                ["", "ph", "real", "imaginary"]),
    "component": (_each("ComplexImageComponent", "MAGNITUDE", "PHASE", "REAL", "IMAGINARY"),
                  ["", "ph", "real", "imaginary"]),
    "ge": ([_ge(kind) for kind in range(4)], ["", "ph", "real", "imaginary"]),
    "echoes and phase": ([lambda made, n=n, t=t: (setattr(made, "EchoNumbers", n), setattr(made, "ImageType",
                          ["ORIGINAL", "PRIMARY", t]))[0] for n in (1, 2) for t in "MP"],  # type: ignore[misc]
                         ["e1", "e1_ph", "e2", "e2_ph"]),
    "field map": ([_told(ImageType=["ORIGINAL", "PRIMARY", "T1", word], ComplexImageComponent=part)
                   for word, part in (("M", "MAGNITUDE"), ("FIELD_MAP", "REAL"))], ["", "field-map"]),
    "maps": (_types("DIFFUSION", "ADC"), ["diffusion", "adc"]),
    "water": (_types("M/WATER", "M/FAT", "M/IN_PHASE"), ["water", "fat", "in-phase"]),
    "scout": (_types("AXIAL", "LOCALIZER"), ["axial", "localizer"]),
    "inversion": (_each("InversionTime", 900, 2500.5), ["ti900", "ti2500.5"]),
    "flip": (_each("FlipAngle", 3, 15), ["fa3", "fa15"]),
    "kernel": (_each("ConvolutionKernel", "B70f", "I30f/2"), ["b70f", "i30f-2"]),
    "voltage": (_each("KVP", 80, 140), ["kv80", "kv140"]),
    "stacks": (_each("StackID", "1", "2"), ["s1", "s2"]),
    "frames of reference": (_each("FrameOfReferenceUID", "1.2.3", "1.2.4"), ["f1", "f2"]),
    "spacing": (_each("PixelSpacing", [1.25, 0.9], [2.5, 0.9]), ["0.9x1.25", "0.9x2.5"]),
    "type": (_each("PixelRepresentation", 0, 1), ["uint16", "int16"]),
    "many": (_each("EchoTime", *range(1, 13)), [f"e{n}" for n in range(1, 13)]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPLIT)
def test_parts_of_a_series(kind: str, tmp_path: Path) -> None:
    changes, labels = SPLIT[kind]
    arrays = voxels((len(changes), *SHAPE), "int16")
    for n, (change, array) in enumerate(zip(changes, arrays, strict=True)):
        write_series(tmp_path / f"{n:02d}", array, OBLIQUE, lambda made, k, change=change: change(made))  # type: ignore[misc]
    found = listed(tmp_path)
    assert [one.rank for one in found] == list(range(1, len(changes) + 1))
    by_label = {one.label: one for one in found}
    assert list(by_label) == sorted(labels, key=lambda label: list(by_label).index(label)), "labels are unique"
    if kind in ("echo numbers", "many"):
        assert list(by_label) == labels, "e10 comes after e9"
    for label, array in zip(labels, arrays, strict=True):
        backend = image_of(by_label[label])
        image = read(backend).astype("int16")
        if kind != "spacing":
            assert same_world(image, backend.header.affine, array[None], OBLIQUE) is None, label


def test_what_changes_from_slice_to_slice_is_one_stack(tmp_path: Path) -> None:
    """Interleaved stacks with flip angles of their own, and a DERIVED slice among ORIGINAL ones."""

    def change(made: Any, k: int) -> None:
        made.FlipAngle, made.InversionTime = 20 + k % 2, 100 + k
        made.ImageType = ["DERIVED" if k == 2 else "ORIGINAL", "PRIMARY", "M"]

    write_series(tmp_path, numbers(), OBLIQUE, change)
    (one,) = listed(tmp_path)
    assert one.label == ""
    assert image_of(one).header.spatial_shape == SHAPE


def test_directions_that_differ_by_rounding_are_one_stack(tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        made.ImageOrientationPatient = [x + 4e-4 * (k % 3 - 1) * (n == 1) for n, x in enumerate((1, 0, 0, 0, 1, 0))]

    write_series(tmp_path, numbers(), STRAIGHT, change)
    assert len(listed(tmp_path)) == 1


def test_projections_that_turn_are_images_of_their_own(tmp_path: Path) -> None:
    """As MR700 of pydicom's files: each slice has a direction of its own."""
    for n in range(40):
        turned = affine((3.0 * n, 0, 0))
        save(dataset(numbers(shape=(4, 5)) + n, **geometry(turned, 0), InstanceNumber=n + 1), tmp_path / f"{n}")
    assert [one.label for one in listed(tmp_path)] == [f"o{n}" for n in range(1, 41)]


def test_a_scout_at_a_right_angle_is_another_image(tmp_path: Path) -> None:
    """As CT2N of pydicom's files, which dcm2niix makes one image of, tilted by 45 degrees."""
    for n, orientation in enumerate(([0, -1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        values = {**geometry(STRAIGHT, 0), "ImageOrientationPatient": orientation, "InstanceNumber": n + 1}
        save(dataset(numbers(shape=(4, 5)) + n, **values), tmp_path / f"{n}")
    assert [one.label for one in listed(tmp_path)] == ["cor", "sag"]


def test_one_uid_with_several_numbers_is_several_series(tmp_path: Path) -> None:
    """As dcm_qa_ts of dcm2niix."""
    for number in (10, 9, 0):
        write_series(tmp_path / str(number), numbers(), OBLIQUE, SeriesNumber=number)
    write_series(tmp_path / "none", numbers(), OBLIQUE, SeriesNumber=None)
    assert [one.number for one in listed(tmp_path)] == [0, 9, 10, None]


def test_pictures_without_a_place_are_images_of_their_own(tmp_path: Path) -> None:
    for n in (1, 2, 11):
        made = dataset(numbers("uint8", (7, 9)) // 2 + n, SOPClassUID=CAPTURE, InstanceNumber=n)
        save(made, tmp_path / f"{n}")
    found = listed(tmp_path)
    assert [one.label for one in found] == ["i1", "i2", "i11"]
    assert [image_of(one).header.affine_source for one in found] == ["picture"] * 3


def test_acquisitions_that_overlap_are_no_time(tmp_path: Path) -> None:
    """Two passes of a CT that share some positions; passes that follow each other are one stack."""
    array = numbers(shape=(5, 4, 10))
    for name, number, slices in (("a", 1, range(6)), ("b", 2, range(4, 10))):
        for k in slices:
            made = dataset(np.ascontiguousarray(array[..., k].T), **geometry(OBLIQUE, k), AcquisitionNumber=number)
            made.SOPInstanceUID = f"1.2.{number}.{k}"
            save(made, tmp_path / f"{name}{k}")
    found = listed(tmp_path)
    assert [one.label for one in found] == ["a1", "a2"]
    backend = image_of(found[1])
    move = AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]])
    assert same_world(read(backend), backend.header.affine, array[None, ..., 4:], OBLIQUE @ move) is None
    for k in (0, 1, 2, 3, 4, 5):
        (tmp_path / f"b{k}").unlink(missing_ok=True)
    assert len(listed(tmp_path)) == 1


def test_hundreds_of_stacks(tmp_path: Path) -> None:
    """Splitting compares each frame with few others, whatever the number of stacks."""
    from medimg_cli.formats.dicom.elements import Elements
    from medimg_cli.formats.dicom.frames import frames_of
    from medimg_cli.formats.dicom.reading import read_file
    from medimg_cli.formats.dicom.stacks import split
    from medimg_cli.storage.source import PathSource

    file = read_file(PathSource(str(write_series(tmp_path, numbers(), OBLIQUE, EchoTime=5)[0])))
    frames = []
    for n in range(3000):
        raw = {**file.elements.raw, 0x00180081: ("DS", f"{n % 600:4d}".encode(), False)}
        (frame,) = frames_of(file._replace(elements=Elements(raw, file.source)))
        frames.append(frame)
    parts = split(frames)
    assert [len(part.frames) for part in parts] == [5] * 600
    assert len({part.label for part in parts}) == 600


# several volumes


@pytest.mark.parametrize(
    "change",
    [
        told(TriggerTime=lambda t, k: 40 * t + k),
        told(AcquisitionTime=lambda t, k: f"1015{10 + 2 * t:02d}.{k}"),
        told(AcquisitionTime=lambda t, k: ("235958", "235959", "000002")[t]),
        told(ContentTime=lambda t, k: f"1015{10 + 5 * t:02d}"),
        told(InstanceNumber=lambda t, k: 100 + 4 * t + (3 - k)),
        told(InstanceNumber=lambda t, k: 3 * (3 - k) + t),
        told(TemporalPositionIdentifier=lambda t, k: t, AcquisitionNumber=lambda t, k: 3 - t),
    ],
    ids=[
        "trigger",
        "acquisition time",
        "midnight",
        "content time",
        "volumes from above",
        "slices from above",
        "position first",
    ],
)
def test_time_points(change: Any, tmp_path: Path) -> None:
    array = numbers(shape=TIMES)
    write_times(tmp_path, array, OBLIQUE, change)
    backend = open_backend(tmp_path)
    assert backend.header.axes == (("time", 3),)
    assert same_world(read(backend), backend.header.affine, array, OBLIQUE) is None


WEIGHTS: list[tuple[float, list[float] | None]] = [
    (0.0, None), (1000.0, [1.0, 0, 0]), (1000.0, [0, 0.6, 0.8]), (0.0, None), (2000.0, [0, 0.6, 0.8]),
]  # fmt: skip


def _weighted(**formulas: Any) -> Callable[[Any, int, int], None]:
    def change(made: Any, t: int, k: int) -> None:
        b, direction = WEIGHTS[t]
        made.DiffusionBValue = b
        if direction:
            made.DiffusionGradientOrientation = direction
        told(**formulas)(made, t, k)

    return change


@pytest.mark.parametrize(
    "numbering",
    [
        {"InstanceNumber": lambda t, k: 4 * t + k},
        {"InstanceNumber": lambda t, k: 5 * k + t},
        {"InstanceNumber": lambda t, k: 7 * t + 3 * k, "AcquisitionNumber": 1},
        {"InstanceNumber": lambda t, k: 4 * t + k, "TemporalPositionIdentifier": lambda t, k: 1},
    ],
    ids=["volume by volume", "slice by slice", "no order but weights", "one time"],
)
def test_diffusion_is_one_image(numbering: dict[str, Any], tmp_path: Path) -> None:
    """Two volumes of b = 0 are repetitions; volumes come in the order of acquisition."""
    array = numbers(shape=(5, 5, 4, 4))
    write_times(tmp_path, array, OBLIQUE, _weighted(**numbering))
    (one,) = listed(tmp_path)
    assert one.stack is not None
    backend = image_of(one)
    assert same_world(read(backend), backend.header.affine, array, OBLIQUE) is None
    found = [frame.number("DiffusionBValue") for frame in (volume[0] for volume in one.stack.volumes)]
    assert found == [b for b, _ in WEIGHTS]


def test_an_interrupted_scan_loses_its_last_volume_only_if_asked(tmp_path: Path) -> None:
    array = numbers(shape=TIMES)
    write_times(tmp_path, array, OBLIQUE, told(InstanceNumber=lambda t, k: 4 * t + k + 1))
    for k in (2, 3):
        next(tmp_path.glob(f"*-2-{k}.dcm")).unlink()
    for reading in (Reading(), RESAMPLE):
        with pytest.raises(GeometryError, match=r"volume 3 of 3 has 2 of 4 slices, none at .*--gaps ignore"):
            open_backend(tmp_path, reading=reading)
    backend = open_backend(tmp_path, reading=IGNORE)
    assert any("volume 3 of 3 has 2 of 4 slices: it is left out" in each for each in backend.header.warnings)
    assert same_world(read(backend), backend.header.affine, array[:2], OBLIQUE) is None


def test_a_slice_that_moved_in_one_volume_is_found(tmp_path: Path) -> None:
    array = numbers(shape=(8, 5, 4, 4))

    def change(made: Any, t: int, k: int) -> None:
        made.AcquisitionNumber = t
        x, y, z = made.ImagePositionPatient
        if (t, k) == (6, 2):
            made.ImagePositionPatient = [x, y + 0.3, z]

    write_times(tmp_path, array, STRAIGHT, change)
    with pytest.raises(GeometryError, match=r"-6-2\.dcm lies 0\.3 mm off .*-2\.dcm.*--tolerance"):
        open_backend(tmp_path)
    backend = open_backend(tmp_path, reading=Reading(tolerance=0.5))
    assert same_world(read(backend), backend.header.affine, array, STRAIGHT) is None


# gaps


def _moved(offsets: dict[int, float]) -> Any:
    def change(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x, y, z + offsets.get(k, 0)]

    return change


def test_the_refusal_names_files_and_millimetres(tmp_path: Path) -> None:
    files = write_series(tmp_path, numbers(), OBLIQUE)
    files[3].unlink()
    names = f"{files[2].name} and {files[4].name}|{files[4].name} and {files[2].name}"
    with pytest.raises(
        GeometryError, match=rf"({names}) are 6 mm apart, other slices 3 mm: 1 slice is missing"
    ) as error:
        open_backend(tmp_path)
    assert "\n" not in str(error.value)
    assert "--gaps resample" in str(error.value)


def test_ignored_gaps_keep_the_first_and_the_last_slice(tmp_path: Path) -> None:
    array = numbers()
    write_series(tmp_path, array, STRAIGHT)[3].unlink()
    backend = open_backend(tmp_path, reading=IGNORE)
    assert backend.header.spacing == pytest.approx((0.9, 1.25, 15 / 4))
    assert any("taken for evenly spaced, 3.75 mm apart" in each for each in backend.header.warnings)
    there = np.delete(array, 3, axis=2)
    wide = STRAIGHT @ AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1.25, 0]])
    assert same_world(read(backend), backend.header.affine, there[None], wide) is None


def test_tolerance_replaces_the_default(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), STRAIGHT, _moved({2: 0.02}))
    assert open_backend(tmp_path).header.spatial_shape == SHAPE
    with pytest.raises(GeometryError, match="not evenly spaced"):
        open_backend(tmp_path, reading=Reading(tolerance=0.01))
    shutil.rmtree(tmp_path)
    write_series(tmp_path, numbers(), STRAIGHT, _moved({2: 0.2}))
    with pytest.raises(GeometryError):
        open_backend(tmp_path)
    assert open_backend(tmp_path, reading=Reading(tolerance=0.3)).header.spatial_shape == SHAPE


def test_a_tolerance_never_merges_neighbours(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), STRAIGHT)
    assert open_backend(tmp_path, reading=Reading(tolerance=2.9)).header.spatial_shape == SHAPE


def test_double_slices_and_copies_are_left_out_if_asked(tmp_path: Path) -> None:
    array = numbers()
    files = write_series(tmp_path, array, OBLIQUE)
    (tmp_path / "copy").mkdir()
    shutil.copy(files[1], tmp_path / "copy" / files[1].name)
    with pytest.raises(GeometryError, match=rf"copy/{files[1].name} and .*/{files[1].name} are copies|are copies"):
        open_backend(tmp_path)
    backend = open_backend(tmp_path, reading=IGNORE)
    assert any("1 copy is left out, such as" in each for each in backend.header.warnings)
    assert same_world(read(backend), backend.header.affine, array[None], OBLIQUE) is None
    shutil.rmtree(tmp_path / "copy")
    save(dataset(array[..., 2].T + 1, **geometry(OBLIQUE, 2), InstanceNumber=99), tmp_path / "again")
    with pytest.raises(GeometryError, match="0 mm apart"):
        open_backend(tmp_path)
    backend = open_backend(tmp_path, reading=IGNORE)
    assert any("1 second slice at a position is left out, such as again" in each for each in backend.header.warnings)
    assert same_world(read(backend), backend.header.affine, array[None], OBLIQUE) is None


def _interpolated(array: np.ndarray[Any, Any], at: list[float], places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what lies at places among slices at ``at``, along the last axis; halves away from 0."""
    flat = array.reshape(-1, array.shape[-1]).astype(float)
    found = np.stack([np.interp(places, at, row) for row in flat]).reshape(*array.shape[:-1], len(places))
    return np.sign(found) * np.floor(np.abs(found) + 0.5) if array.dtype.kind in "iu" else found


@pytest.mark.parametrize("dtype", ["int16", "uint8", "int8", "uint16"])
@pytest.mark.parametrize(
    ("at", "count"),
    [([0, 1, 2, 4, 5], 6), ([0, 1, 5, 6, 7], 8), ([0, 1, 2, 3.4, 4.4], 5), ([0, 1, 2, 4, 6], 7), ([0, 0.5, 2, 4], 9)],
)
def test_resampled_gaps(at: list[float], count: int, dtype: str, tmp_path: Path) -> None:
    array = numbers(dtype, (5, 4, len(at)))
    for k, place in enumerate(at):
        save(dataset(np.ascontiguousarray(array[..., k].T), **geometry(STRAIGHT, place)), tmp_path / f"{k}")  # type: ignore[arg-type]
    backend = open_backend(tmp_path, reading=RESAMPLE)
    assert (backend.header.spatial_shape, backend.header.dtype) == ((5, 4, count), dtype)
    step = at[-1] / (count - 1)
    wide = STRAIGHT @ AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, step, 0]])
    assert backend.header.affine.allclose(wide, 1e-5)
    exact = _interpolated(array.astype(float), at, np.arange(count) * step)
    assert np.abs(read(backend)[0] - exact).max() <= 0.5 + 1e-6, "rounded to the nearest"
    part = (range(1), range(4, 0, -2), range(1, 3), range(count - 1, 0, -2))
    assert unlike(backend.read(part), read(backend)[:, 4:0:-2, 1:3, count - 1 : 0 : -2]) is None


def test_a_region_between_slices_reads_only_its_slices(tmp_path: Path) -> None:
    files = write_series(tmp_path, numbers(), OBLIQUE)
    files[2].unlink()
    backend = open_backend(tmp_path, reading=RESAMPLE)
    lost = files[0] if backend.header.affine.apply((0, 0, 0)) == pytest.approx(OBLIQUE.origin, abs=1e-3) else files[5]
    expected = backend.read((range(1), range(5), range(4), range(2, 4)))
    lost.unlink()
    assert unlike(backend.read((range(1), range(5), range(4), range(2, 4))), expected) is None
    with pytest.raises(OSError, match=lost.name):
        read(backend)


def test_compressed_slices_are_decoded_once_for_many_reads(tmp_path: Path) -> None:
    """Whoever asks an interpolated image to decode, such as a resampling, reaches the frames below it."""
    files = write_series(tmp_path / "s", numbers(shape=(5, 4, 40)), OBLIQUE, syntax=RLE)
    files[2].unlink()
    backend: Any = open_backend(str(tmp_path / "s"), reading=RESAMPLE)
    before = read(backend)
    decode(backend)
    for file in files:
        file.unlink(missing_ok=True)
    assert np.array_equal(read(backend), before)


def test_resampled_gaps_keep_scaling_colours_and_time(tmp_path: Path) -> None:
    array = numbers()
    write_series(tmp_path / "ct", array, STRAIGHT, RescaleSlope=2, RescaleIntercept=-1024)[3].unlink()
    header = open_backend(tmp_path / "ct", reading=RESAMPLE).header
    assert (header.slope, header.inter, header.dtype, header.spatial_shape) == (2, -1024, "int16", SHAPE)
    colours = numbers("uint8", (3, *SHAPE))
    write_series(tmp_path / "rgb", colours, STRAIGHT)[3].unlink()
    backend = open_backend(tmp_path / "rgb", reading=RESAMPLE)
    at = [0.0, 1, 2, 4, 5]
    there = np.delete(colours, 3, axis=3)
    wanted = _interpolated(there, at, np.arange(6.0)).astype("uint8")
    assert same_world(read(backend), backend.header.affine, wanted, STRAIGHT) is None

    def pet(made: Any, k: int) -> None:
        made.RescaleSlope, made.RescaleIntercept = 0.5 * (k + 1), 0

    write_series(tmp_path / "pet", array, STRAIGHT, pet)[3].unlink()
    backend = open_backend(tmp_path / "pet", reading=RESAMPLE)
    values = np.delete(array * (0.5 * np.arange(1, 7)), 3, axis=2)
    found = read(backend)
    assert found.dtype == np.float32
    wanted = _interpolated(values, at, np.arange(6.0))
    turned = found[0] if np.allclose(found[0, ..., 0], wanted[..., 0], rtol=1e-5) else found[0, ::-1, ::-1]
    assert np.allclose(turned, wanted, rtol=1e-5)
    series = numbers(shape=TIMES)
    write_times(tmp_path / "time", series, STRAIGHT, told(AcquisitionNumber=lambda t, k: t))
    for path in (tmp_path / "time").glob("*-2.dcm"):
        path.unlink()
    backend = open_backend(tmp_path / "time", reading=RESAMPLE)
    wanted = _interpolated(np.delete(series, 2, axis=3), [0, 1, 3], np.arange(4.0)).astype("int16")
    assert same_world(read(backend), backend.header.affine, wanted, STRAIGHT) is None


def test_slices_side_by_side_are_refused(tmp_path: Path) -> None:
    def change(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x + 30 * (k % 2), y, z - 3 * (k // 2)]

    write_series(tmp_path, numbers(), STRAIGHT, change)
    for reading in (Reading(), IGNORE, RESAMPLE):
        with pytest.raises(GeometryError, match="lie side by side, "):
            open_backend(tmp_path, reading=reading)


def test_slices_of_a_microscope_keep_apart(tmp_path: Path) -> None:
    tiny = AffineMatrix([[0.004, 0, 0, 1], [0, 0.004, 0, 2], [0, 0, 0.006, 3], [0, 0, 0, 1]])
    array = numbers()
    write_series(tmp_path, array, tiny)
    backend = open_backend(tmp_path)
    assert backend.header.spacing == pytest.approx((0.004, 0.004, 0.006))
    assert same_world(read(backend), backend.header.affine, array[None], tiny) is None


def test_gaps_that_would_fill_the_disk_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, numbers(), STRAIGHT, _moved({5: 1e7}))
    with pytest.raises(GeometryError, match="too many slices"):
        open_backend(tmp_path, reading=RESAMPLE)


def test_resampling_as_dcm2niix_does(tmp_path: Path) -> None:
    """Its file ``_Eq`` lacks the last slice."""
    nib = pytest.importorskip("nibabel")
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    array = np.random.default_rng(3).integers(-900, 900, (16, 12, 6)).astype("int16")
    for k, place in enumerate((0, 1, 2, 4, 5, 6)):
        made = dataset(np.ascontiguousarray(array[..., k].T), **geometry(STRAIGHT, place), SOPClassUID=CT)
        made.InstanceNumber, made.StudyInstanceUID = k + 1, "1.2.3"
        save(made, tmp_path / "in" / f"{k}.dcm")
    (tmp_path / "out").mkdir()
    subprocess.run(["dcm2niix", "-f", "x", "-o", tmp_path / "out", tmp_path / "in"], capture_output=True, check=True)
    paths = list((tmp_path / "out").glob("*_Eq*.nii"))
    if not paths:
        pytest.skip("this dcm2niix resamples nothing")
    theirs = nib.as_closest_canonical(nib.load(paths[0]))
    backend = open_backend(tmp_path / "in", reading=RESAMPLE)
    mine = nib.as_closest_canonical(nib.Nifti1Image(read(backend)[0], backend.header.affine.numpy()))
    assert np.allclose(theirs.affine, mine.affine, atol=1e-4)
    assert np.array_equal(np.asarray(theirs.dataobj), np.asarray(mine.dataobj)[..., : theirs.shape[2]])


# tilt


TILTED = AffineMatrix([[0.9, 0, 0, -37.5], [0, 1.25, 0.7, 12.25], [0, 0, 3.0, 81.0], [0, 0, 0, 1]])


def _ramp(shape: tuple[int, int, int], place: AffineMatrix) -> np.ndarray[Any, Any]:
    """Return values that are linear in the world."""
    i, j, k = np.indices(shape)
    x, y, z = (
        sum(place.rows[row][n] * axis for n, axis in enumerate((i, j, k))) + place.rows[row][3] for row in range(3)
    )
    return np.asarray(10 * x - 7 * y + 3 * z, np.float64)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("turn", [(0, 0, 0), (20, -35, 50)])
def test_straightened_volumes_lie_where_they_were(sign: int, turn: tuple[int, int, int]) -> None:
    shear = AffineMatrix(
        [[0.9, 0, sign * 0.4, -37.5], [0, 1.25, -sign * 0.7, 12.25], [0, 0, 3.0 * sign, 81.0], [0, 0, 0, 1]]
    )
    place = affine(turn) @ AffineMatrix.from_spacing((0.9, 1.25, 3.0)).inverse() @ shear
    shape = (9, 8, 7)
    values = _ramp(shape, place)
    header = Header(shape=(1, *shape), dtype="float64", affine=place)
    backend = straightened(ArrayBackend(values[None].copy(), header))
    after = backend.header
    assert after.affine.shear_deg < 1e-4
    assert after.spacing == pytest.approx((0.9, 1.25, 3.0), rel=1e-6)
    for axis in range(2):
        old, new = (np.array([row[axis] for row in each.rows]) for each in (place, after.affine))
        assert np.allclose(old, new, atol=1e-6), "rows and columns stay"
    corners = [place.apply((i, j, k)) for i in (0, 8) for j in (0, 7) for k in (0, 6)]
    inside = np.array([after.affine.inverse().apply(corner) for corner in corners])
    assert inside.min() > -1e-3
    assert (inside.max(axis=0) < np.array(after.spatial_shape) - 1 + 1e-3).all()
    found, wanted = read(backend)[0], _ramp(after.spatial_shape, after.affine)
    lowest = values.min()
    same = np.isclose(found, wanted, atol=1e-3)
    assert same.sum() >= 0.8 * values.size
    assert np.isclose(found[~same], lowest).mean() > 0.6, "beyond the slices, but for half a voxel at their edges"
    assert found.min() == pytest.approx(lowest)


def test_straight_volumes_are_left_alone() -> None:
    backend = ArrayBackend(numbers()[None], Header(shape=(1, *SHAPE), dtype="int16", affine=OBLIQUE))
    assert straightened(backend) is backend


def test_label_maps_are_straightened_without_new_values() -> None:
    array = np.random.default_rng(5).choice(np.array([0, 3, 200], "uint8"), (1, 9, 8, 7))
    backend = straightened(ArrayBackend(array, Header(shape=array.shape, dtype="uint8", affine=TILTED, intent="label")))
    assert set(np.unique(read(backend))) == {0, 3, 200}


def test_absurd_tilts_are_refused() -> None:
    flat = AffineMatrix([[1, 0, 900, 0], [0, 1, 900, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(GeometryError, match="too far apart"):
        straight_grid(Grid((8, 8, 500), flat))


def _medimg(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medimg_cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[2], check=False)


def test_untilt_on_the_command_line(tmp_path: Path) -> None:
    array = np.full((9, 8, 7), -1000, "int16")
    array[2:7, 2:6] = 300
    write_series(tmp_path / "in", array, TILTED, SOPClassUID=CT)
    refused = _medimg("convert", tmp_path / "in", tmp_path / "out.mha")
    assert refused.returncode == 2
    assert "13.1 degrees" in refused.stderr
    assert "--untilt" in refused.stderr
    assert not (tmp_path / "out.mha").exists()
    done = _medimg("convert", "--untilt", tmp_path / "in", tmp_path / "out.mha")
    assert done.returncode == 0, done.stderr
    backend = open_backend(tmp_path / "out.mha")
    assert backend.header.spatial_shape == (9, 12, 7)
    values = backend.read(whole(backend.header.shape))
    assert values.min() == -1000, "padded with the smallest value, not with 0"
    assert abs(int((values == 300).sum()) - int((array == 300).sum())) < 0.3 * (array == 300).sum()


# choosing


def _several(folder: Path) -> tuple[Series, ...]:
    rows = ((3, "T1 MPRAGE"), (4, "T1 MPRAGE post"), (7, "ep2d\x1b[31m_bold" + "x" * 90), (12, "localizer"))
    for number, description in rows:
        uid = f"1.2.3.{number}"
        write_series(folder / uid, numbers(shape=(5, 4, 2)), OBLIQUE, SeriesNumber=number, SeriesInstanceUID=uid,
                     SeriesDescription=description[:64])  # fmt: skip
    for echo in (1, 2):
        write_series(folder / f"e{echo}", numbers(shape=(5, 4, 2)), OBLIQUE, SeriesNumber=20, SeriesInstanceUID="1.2.9",
                     SeriesDescription="fieldmap", EchoNumbers=echo)  # fmt: skip
    return listed(folder)


@pytest.mark.parametrize(
    ("word", "rank"),
    [("3", 1), ("@2", 2), ("t1 mprage", 1), ("POST", 2), ("*mprage*post", 2), ("1.2.3.12", 4), ("loc*", 4), ("bold", 3),
     ("@6", 6)],
)  # fmt: skip
def test_choices(word: str, rank: int, tmp_path: Path) -> None:
    assert choose(_several(tmp_path), Reading(series=word)).rank == rank


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        (
            None,
            UnsupportedError,
            "holds 6 series: @1 3 T1 MPRAGE .* and 1 more .medimg dicom lists them.; choose one with --series",
        ),
        ("20", UsageError, "'20' fits 2 series: @5 20 fieldmap e1 .*, @6 20 fieldmap e2 .*; choose one by @N"),
        ("t1*", UsageError, "'t1\\*' fits 2 series: @1 .*, @2 "),
        ("t2", UsageError, "has no series 't2': it holds @1"),
        ("@7", UsageError, "has no series '@7'"),
    ],
)
def test_choices_that_are_none(word: str | None, kind: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said) as error:
        choose(_several(tmp_path), Reading(series=word))
    assert str(error.value).isprintable(), "text of files is printable"
    assert "x" * 61 not in str(error.value)


# real data

_TESTS = "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests"


def test_real_folders_are_split_as_dcm2niix_splits_them() -> None:
    if not (DATA / "MANIFEST.csv").exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    shapes = {
        f"{_TESTS}/98892003/MR1": [(16, 16, 1)] * 3,
        f"{_TESTS}/98892003/MR2": [(16, 16, 1)] * 7,
        f"{_TESTS}/98892003/MR700": [(16, 16, 1)] * 7,
        f"{_TESTS}/98892001/CT2N": [(16, 16, 1)] * 2,
        "neurolabusc+dcm_qa_nih/In/20180918GE/mr_0004": [(64, 64, 15)],
    }
    for name, expected in shapes.items():
        assert [image_of(one).header.spatial_shape for one in listed(DATA / name)] == expected, name
    with pytest.raises(GeometryError, match=r"17106 and 17136 are 202\.5 mm apart, other slices 1\.25 mm: 161 slices"):
        open_backend(DATA / _TESTS / "77654033" / "CT2")

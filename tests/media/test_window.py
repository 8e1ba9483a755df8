"""Windows: what users write, what files say, and the greys and colours that come of it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.image import ScalarImage
from medimg_cli.labels import Label, LabelTable
from medimg_cli.media.colormaps import COLORMAPS
from medimg_cli.media.window import (
    PERCENTILES,
    PRESETS,
    LabelColours,
    Shades,
    WindowRule,
    describe_window,
    inverted,
    parse_window,
    stored_window,
    window_of,
)
from tests.helpers import DTYPES, voxels


def header(**metadata: Any) -> Header:
    return Header(shape=(1, 5, 4, 3), dtype="int16", affine=AffineMatrix(), metadata=metadata)


def never() -> Any:
    raise AssertionError("the answer does not depend on the voxels")


# what users write


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("brain", (0, 80)), (" Lung ", (-1350, 150)), ("bone", (-500, 1300)), ("soft", (-160, 240)),
        ("40,80", (0, 80)), ("-600,1500", (-1350, 150)), (" 40 , 80 ", (0, 80)), ("0.5,1", (0, 1)),
        ("0:1200", (0, 1200)), ("-1e3:-2.5", (-1000, -2.5)),
    ],
)  # fmt: skip
def test_windows_in_numbers_and_names(text: str, limits: tuple[float, float]) -> None:
    assert parse_window(text).limits(header(nifti_cal_max=7.0), never) == limits


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_is_its_centre_and_width(name: str) -> None:
    center, width = PRESETS[name]
    assert parse_window(name) == parse_window(f"{center},{width}") and width > 0


@pytest.mark.parametrize(("text", "limits"), [("1%:99%", (10, 990)), ("full", (0, 1000)), ("0%:50%", (0, 500))])
def test_windows_that_ask_the_voxels(text: str, limits: tuple[float, float]) -> None:
    values = np.arange(1001).reshape(7, 11, 13)
    assert parse_window(text).limits(header(nifti_cal_max=300.0), lambda: values) == limits


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("brian", "did you mean brain?"), ("ful", "did you mean full?"), ("", "CENTER,WIDTH"), ("40", "CENTER,WIDTH"),
        ("40,80,1", "no window"), ("40:80:1", "no window"), ("nan:1", "no window"), ("0,inf", "no window"),
        ("40,0", "width of 0"), ("40,-80", "width of -80"), ("80:0", "ends where it starts"), ("5:5", "ends where"),
        ("1%:99", "no window"), ("1%,99%", "no window"), ("-1%:99%", "outside 0% to 100%"), ("1%:101%", "outside"),
        ("a:b", "LOW:HIGH"), ("1:2,3", "no window"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_when_it_is_read(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_window(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_rules_are_values() -> None:
    rules = [parse_window(text) for text in (None, "auto", "AUTO", "full", "40,80", "brain")]
    assert len(set(rules)) == 3 and rules[0] == rules[2]
    assert pickle.loads(pickle.dumps(rules[0])) == rules[0] == WindowRule(0.5, 99.5, percent=True, stored=True)


# what files say


def test_auto_takes_what_the_file_says_and_else_percentiles() -> None:
    values, auto = np.arange(1001.0), parse_window(None)
    assert auto.limits(header(), lambda: values) == (5, 995)
    assert auto.limits(header(nifti_cal_min=100.0, nifti_cal_max=300.0), lambda: values) == (100, 300)
    assert auto.limits(header(WindowCenter=300, WindowWidth=401), lambda: values) == (99.5, 499.5)


@pytest.mark.parametrize(
    "window",
    [(0.0, 1.0), (1001.0, 2000.0), (-50.0, -2.0), (0.0, 1e5), (-3e38, 3e38)],
    ids=["narrow", "above", "below", "wide", "all-floats"],
)
def test_a_window_that_would_show_nothing_is_not_believed(window: tuple[float, float]) -> None:
    said = header(nifti_cal_min=window[0], nifti_cal_max=window[1])
    assert stored_window(said) == window
    assert parse_window("auto").limits(said, lambda: np.arange(1001)) == (5, 995)


def test_what_was_decided_is_said() -> None:
    auto, said = parse_window(None), header(nifti_cal_min=3.0, nifti_cal_max=25500.0)
    found = auto.limits(said, lambda: np.linspace(-9, 18, 1000))
    assert auto.remark(said, found) == "the file's own window 3 to 25500 would show nothing, percentiles are taken"
    assert auto.remark(said, (3, 25500)) is None and auto.remark(header(), (5, 995)) is None
    assert parse_window("1%:99%").remark(said, found) is None
    for text, modality, words in [("bone", "MR", "bone is a window for CT"), ("bone", "CT", ""), ("40,80", "MR", "")]:
        remark = parse_window(text).remark(header(Modality=modality), (0, 1))
        assert (remark or "").startswith(words) and bool(remark) == bool(words)
    assert parse_window("bone").remark(header(), (0, 1)) is None


@pytest.mark.parametrize(
    ("facts", "window"),
    [
        ({}, None), ({"WindowCenter": 40}, None), ({"WindowCenter": 40, "WindowWidth": 0}, None),
        ({"WindowCenter": 40, "WindowWidth": -5}, None), ({"WindowCenter": "x", "WindowWidth": 80}, None),
        ({"WindowCenter": [], "WindowWidth": []}, None), ({"WindowCenter": None, "WindowWidth": {}}, None),
        ({"WindowCenter": float("nan"), "WindowWidth": 80}, None),
        ({"WindowCenter": 40, "WindowWidth": 80}, (0, 79)),
        ({"WindowCenter": [50, -600], "WindowWidth": [351, 1500]}, (-125.5, 224.5)),
        ({"WindowCenter": "40\\450", "WindowWidth": "81\\1500"}, (-0.5, 79.5)),
        ({"WindowCenter": 0.5, "WindowWidth": 1}, (0, 1)),
        ({"WindowCenter": 0.02, "WindowWidth": 0.04}, (0, 0.04)),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "LINEAR_EXACT"}, (0, 80)),
        ({"WindowCenter": 40, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"}, (0, 80)),
        ({"nifti_cal_max": 255.0}, (0, 255)), ({"nifti_cal_min": -7.0}, (-7, 0)),
        ({"nifti_cal_min": 5.0, "nifti_cal_max": 5.0}, None), ({"nifti_cal_min": 9.0, "nifti_cal_max": 5.0}, None),
        ({"nifti_cal_max": float("inf")}, None), ({"nifti_cal_max": "255"}, (0, 255)),
        ({"nifti_cal_max": 9.0, "WindowCenter": 40, "WindowWidth": 80}, (0, 9)),
    ],
)  # fmt: skip
def test_the_window_of_a_header(facts: dict[str, Any], window: tuple[float, float] | None) -> None:
    found = stored_window(header(**facts))
    assert found == (window and pytest.approx(window))


def test_a_window_of_other_values_does_not_count() -> None:
    image = ScalarImage(np.arange(60, dtype="int16").reshape(1, 5, 4, 3) * 10, WindowCenter=300, WindowWidth=200)
    assert stored_window(image.reorient("LPS").crop(1).header) == stored_window(image.header) == (200, 399)
    assert stored_window(image.cast("uint8", rescale=True).header) == (200, 399)  # a slope keeps the values
    assert stored_window(image.rescale(0, 1).header) is None
    assert stored_window(image.cast("uint8", rescale=(0, 100)).header) is None


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_windows_travel_to_other_formats(suffix: str, tmp_path: Path) -> None:
    facts = {"WindowCenter": [300, 20], "WindowWidth": [200, 30], "PhotometricInterpretation": "MONOCHROME1"}
    array = np.arange(60, dtype="int16").reshape(1, 5, 4, 3)
    ScalarImage(array, **facts).save(tmp_path / f"a{suffix}")
    found = open_backend(str(tmp_path / f"a{suffix}")).header
    assert stored_window(found) == (200, 399) and inverted(found)


def test_nifti_states_its_window_for_scaled_values(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.arange(60, dtype="int16").reshape(5, 4, 3), np.diag([-2.0, 1, 3, 1]))
    image.header["cal_min"], image.header["cal_max"] = 2, 25
    image.header.set_slope_inter(0.5, 1)
    nibabel.save(image, tmp_path / "a.nii")
    backend = open_backend(str(tmp_path / "a.nii"))
    values = backend.read(tuple(map(range, backend.header.shape)))  # type: ignore[arg-type]
    assert values.max() == nibabel.load(tmp_path / "a.nii").get_fdata().max() == 30.5
    assert parse_window(None).limits(backend.header, lambda: values) == (2, 25)
    save_backend(backend, str(tmp_path / "b.nrrd"))
    assert stored_window(open_backend(str(tmp_path / "b.nrrd")).header) == (2, 25)


def test_monochrome1_is_inverted() -> None:
    assert inverted(header(PhotometricInterpretation="MONOCHROME1"))
    assert not inverted(header()) and not inverted(header(PhotometricInterpretation="PALETTE COLOR"))


def dicom_files() -> list[Path]:
    """Return the files in pydicom's package that carry a window for pixels which it decodes by itself."""
    import pydicom

    found = []
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        data = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        if "WindowWidth" in data and "MONOCHROME" in data.get("PhotometricInterpretation", ""):
            found.append(path)
    return found


@pytest.mark.parametrize("path", dicom_files(), ids=lambda path: path.stem)
def test_greys_are_those_of_pydicom(path: Path) -> None:
    import pydicom
    from pydicom.pixels import apply_rescale, apply_windowing

    try:
        backend = open_backend(str(path))
        values = backend.read(tuple(map(range, backend.header.shape)))[0, ..., 0].T  # type: ignore[arg-type]
        data = pydicom.dcmread(path)
        theirs = apply_windowing(apply_rescale(data.pixel_array, data), data)
    except (MedImgError, AttributeError, RuntimeError, NotImplementedError) as error:
        pytest.skip(f"not decoded here: {error}")
    window = stored_window(backend.header)
    assert window is not None
    # PS3.3, C.11.2.1.2: their result spans what the stored bits can hold after rescaling
    bits, signed = int(data.BitsStored), int(data.PixelRepresentation)
    slope, inter = float(data.get("RescaleSlope", 1)), float(data.get("RescaleIntercept", 0))
    ends = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    low, high = (end * slope + inter for end in ends)
    exact = 255 * (theirs - low) / (high - low)
    assert np.abs(Shades(window)(values) - exact).max() <= 0.5 + 1e-6
    assert np.unique(exact).size > 16


# greys


def plainly(values: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    """Return the exact greys, not rounded, one value after the other."""
    shown = []
    for value in values.ravel().tolist():
        value = abs(value) if isinstance(value, complex) else float(value)
        part = 0.0 if value != value else min(max((value - low) / (high - low), 0.0), 1.0)
        shown.append(255 * part)
    return np.reshape(shown, values.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [(-100.0, 900.0), (0.25, 0.75), (-3e4, 3e5)], ids=str)
def test_any_type_becomes_grey(dtype: str, window: tuple[float, float]) -> None:
    values = voxels((7, 6, 5), dtype)
    with np.errstate(all="ignore"):
        exact = plainly(values.astype("complex128" if values.dtype.kind == "c" else values.dtype), *window)
    for turned, wanted in ((values, exact), (values.T, exact.T), (values[::-1, ::2], exact[::-1, ::2])):
        shown = Shades(window)(turned)
        assert shown.dtype == np.uint8 and shown.shape == turned.shape
        assert np.abs(shown - wanted).max() <= 0.5 + 1e-4
        swapped = turned.astype(turned.dtype.newbyteorder())
        assert (Shades(window)(swapped) == shown).all()


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.lists(st.integers(-32768, 32767), min_size=1))
def test_the_table_says_what_the_formula_says(low: float, width: float, numbers: list[int]) -> None:
    values, window = np.array(numbers, "int16"), (low, low + width)
    assert (Shades(window)(values) == Shades(window)(values.astype("float64"))).all()
    mirrored = Shades(window, inverted=True)(values).astype(int) + Shades(window)(values)
    assert set(mirrored.tolist()) <= {254, 255, 256}


def test_what_is_not_finite_is_black_or_white() -> None:
    values = np.array([np.nan, -np.inf, np.inf, 0, 1])
    for dtype in ("float16", "float32", "float64", "longdouble"):
        assert Shades((0, 1))(values.astype(dtype)).tolist() == [0, 0, 255, 0, 255]
        assert Shades((0, 1), inverted=True)(values.astype(dtype)).tolist() == [0, 255, 0, 255, 0]
    assert Shades((0, 10))(np.array([3 + 4j, complex(np.nan, 0)])).tolist() == [128, 0]
    assert Shades((0, 1))(np.array([True, False])).tolist() == [255, 0]
    assert (
        Shades((0, 1))(np.zeros((0, 3), "int16")).shape == Shades((0, 1))(np.zeros((0, 3), "float32")).shape == (0, 3)
    )


def test_tiny_and_huge_windows_of_floats() -> None:
    small = np.array([0, 1e-40, 2e-40, 3e-40], "float64")
    assert Shades((0, 3e-40))(small).tolist() == [0, 85, 170, 255]
    assert Shades((0, 3e-40))(small.astype("float32")).tolist() == [0, 85, 170, 255]
    far = np.array([2**40, 2**40 + 1, 2**40 + 2], "int64")
    assert Shades((2**40, 2**40 + 2))(far).tolist() == [0, 128, 255]


def test_the_voxels_are_left_as_they_are() -> None:
    for values in (np.array([0.0, np.nan, 2], "float32"), np.array([0, 1, 2], "int16")):
        before = values.copy()
        Shades((0, 1))(values)
        np.testing.assert_array_equal(values, before)


def test_windows_in_words() -> None:
    assert describe_window(0, 1200) == "window 0 to 1200"
    assert describe_window(-160.0, 239.0) == "window -160 to 239"
    assert describe_window(-0.001, 1234.5678) == "window 0 to 1235"
    assert describe_window(0.00123456, 0.00223456) == "window 0.00123 to 0.00223"
    assert describe_window(0, 25_000_000) == "window 0 to 25000000"
    assert describe_window(5, 5) == "window 5 to 5"


def test_extremes_stand_in_where_percentiles_fall_together() -> None:
    mostly = np.zeros(10000)
    mostly[:3] = 8
    assert window_of(mostly, PERCENTILES) == (0, 8)
    assert window_of(np.array([5.0, 5.0]), PERCENTILES) == (5, 6)
    assert window_of(np.array([np.nan]), PERCENTILES) == window_of(np.array([]), PERCENTILES) == (0, 1)


# colours of labels

TABLE = LabelTable([Label(0, "air", (9, 9, 9, 0)), Label(10, "a", (1, 2, 3, 4)), Label(2**40, "far", (4, 5, 6, 255))])


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int32", "int64", "uint64", "float32", "float64"]
)
def test_labels_of_any_type_have_one_colour(dtype: str) -> None:
    numbers = np.array([[0, 1, 1], [10, 13, 100]]).astype(dtype)
    shown = LabelColours(TABLE)(numbers)
    assert shown.shape == (2, 3, 3) and shown.dtype == np.uint8
    for number, colour in zip(numbers.ravel().tolist(), shown.reshape(-1, 3).tolist(), strict=True):
        assert tuple(colour) == LabelColours(TABLE).of(number)
    assert shown[0, 0].tolist() == [9, 9, 9]
    assert dtype == "bool" or shown[1, 0].tolist() == [1, 2, 3]


def test_labels_beyond_the_table_of_colours() -> None:
    shown = LabelColours(TABLE)
    assert shown(np.array([-3, 2**40, 2**62])).tolist() == [list(shown.of(n)) for n in (-3, 2**40, 2**62)]
    assert shown(np.array([2**64 - 1, 2**40], "uint64")).tolist() == [list(shown.of(2**64 - 1)), [4, 5, 6]]
    assert shown(np.array([2**16 - 1, 2**16])).tolist() == [list(shown.of(2**16 - 1)), list(shown.of(2**16))]
    assert len({LabelColours().of(number) for number in range(13)}) == 13


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_label_is_black(dtype: str) -> None:
    values = np.array([10, np.nan, np.inf, -np.inf, 9.5, 10], dtype)
    assert LabelColours(TABLE)(values).tolist() == [[1, 2, 3], *[[0, 0, 0]] * 4, [1, 2, 3]]
    assert LabelColours()(np.array([0.5, 0], dtype)).tolist() == [[0, 0, 0]] * 2


def test_colours_do_not_depend_on_the_slice() -> None:
    volume = np.random.default_rng(3).integers(-2, 70000, (6, 5, 4))
    shown = LabelColours(TABLE)
    whole = shown(volume)
    for k in range(4):
        assert (shown(volume[..., k]) == whole[..., k, :]).all()
    assert shown(np.zeros((0, 3), "uint8")).shape == shown(np.zeros((0, 3))).shape == (0, 3, 3)


def test_the_page_about_windows_tells_what_the_code_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "windows.md").read_text(encoding="utf-8")
    for name, (center, width) in PRESETS.items():
        low, high = center - width / 2, center + width / 2
        assert f"| `{name}` | {center} | {width} | {low:g} | {high:g} |" in page
    assert all(f"`{name}`" in page for name in COLORMAPS)

"""``medimg view``: what goes into a page, and what a real browser shows of it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.cli.example import example_path
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from tests.chromium import Tab, browser, needs_chromium, needs_viewer
from tests.cli.conftest import Run
from tests.helpers import DTYPES, make, read, turned

pytestmark = needs_viewer

ANATOMICAL = Path(example_path()).with_name("anatomical.nii")


class Shown(NamedTuple):
    """What lies in a page: what its script is told, its volumes as files, and those as nibabel reads them."""

    text: str
    page: dict[str, Any]
    contents: list[bytes]
    images: list[Any]

    def values(self, number: int = 0) -> np.ndarray[Any, Any]:
        return np.asanyarray(self.images[number].dataobj)


def opened(path: Path) -> Shown:
    """Return what lies in a page."""
    text = path.read_text(encoding="utf-8")
    packed = re.findall(r'<script type="text/plain" id="volume\d+">([^<]*)</script>', text)
    contents = [gzip.decompress(base64.b64decode(each)) for each in packed]
    images = [nibabel.Nifti1Image.from_stream(BytesIO(content)) for content in contents]
    (page,) = re.findall(r'<script type="application/json" id="page">([^<]*)</script>', text)
    return Shown(text, json.loads(page), contents, images)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(array: Any, name: str, matrix: AffineMatrix | None = None, **facts: Any) -> Path:
    """Write an image, (C, I, J, K)."""
    matrix = matrix or AffineMatrix.from_spacing((1.5, 1.0, 2.0), origin=(-20, 10, 5))
    header = Header(shape=array.shape, dtype=array.dtype.name, affine=matrix, **facts)
    save_backend(ArrayBackend(array, header), name)
    return Path(name)


# what goes into a page


@pytest.mark.parametrize("dtype", [d for d in DTYPES if "128" not in d and d not in ("float16", "complex256")])
def test_values_survive(here: Path, medimg: Run, dtype: str) -> None:
    image = make("plain", dtype)
    save_backend(image, "in.nii" if dtype != "bool" else "in.nrrd")
    name = next(here.glob("in.*")).name
    assert medimg("view", "--kind", "intensities", name, "out.html").code == 0
    page = opened(here / "out.html")
    stored = apply(Reorient("LPI"), open_backend(name))
    expected = read(stored)[0]
    assert page.images[0].get_data_dtype().name in ("uint8", "int16", "uint16", "float32")
    factor = page.page["layers"][0]["factor"]
    with np.errstate(over="ignore"):
        wanted = (np.abs(expected) if np.iscomplexobj(expected) else expected).astype("float32")
    np.testing.assert_allclose(page.values() / factor, wanted, rtol=1e-6)
    np.testing.assert_allclose(page.images[0].affine, stored.header.affine.rows, atol=1e-4)


@pytest.mark.parametrize("kind", ["scaled", "sheared", "left-handed", "time", "time-vector", "flat", "diffusion"])
def test_every_kind_keeps_its_values_and_its_place(here: Path, medimg: Run, kind: str) -> None:
    save_backend(make(kind), "in.nii.gz")
    assert medimg("view", "--kind", "intensities", "--planes", "stored", "in.nii.gz", "out.html").code == 0
    page = opened(here / "out.html")
    stored = apply(Reorient("LPI"), open_backend("in.nii.gz"))
    values = page.values() if page.values().ndim == 4 else page.values()[..., None]
    np.testing.assert_allclose(np.moveaxis(values, -1, 0), read(stored), rtol=1e-6)
    np.testing.assert_allclose(page.images[0].affine, stored.header.affine.rows, atol=1e-4)


@pytest.mark.parametrize("kind", ["rgb", "rgba", "flat-rgb", "time-rgb"])
def test_colours_stay_colours(here: Path, medimg: Run, kind: str) -> None:
    save_backend(make(kind), "in.nii.gz")
    said = medimg("view", "--planes", "stored", "in.nii.gz", "out.html")
    page = opened(here / "out.html")
    assert said.code == 0 and page.page["layers"][0]["kind"] == "colours"
    expected = read(apply(Reorient("LPI"), open_backend("in.nii.gz")))[:: 2 if kind == "time-rgb" else 1][:3]
    found = np.ascontiguousarray(page.values()).view(np.uint8).reshape(*page.values().shape, 3)
    np.testing.assert_array_equal(np.moveaxis(found, -1, 0), expected)
    assert ("opacity, the fourth" in said.err) == (kind == "rgba")
    assert ("of the 2 steps only number 0" in said.err) == (kind == "time-rgb")


def test_narrow_windows_reach_the_viewer_widened(here: Path, medimg: Run) -> None:
    array = np.linspace(0, 3e-9, 7 * 6 * 5, dtype="float32").reshape(1, 7, 6, 5)
    save(array, "in.nii")
    medimg("view", "in.nii", "out.html")
    page = opened(here / "out.html")
    layer = page.page["layers"][0]
    assert layer["window"][1] < 1e-8 and 1 <= layer["factor"] * layer["window"][1] < 10
    np.testing.assert_allclose(page.values() / layer["factor"], array[0, ::-1, ::-1, ::-1], rtol=1e-6)


def test_what_tells_of_the_patient_stays_behind(here: Path, medimg: Run) -> None:
    more = {"description": "MUELLER^ANNA", "metadata": {"PatientName": "MUELLER^ANNA"}, "intent_name": "MUELLER"}
    save(np.arange(60, dtype="int16").reshape(1, 5, 4, 3), "in.nii", extensions=((6, b"MUELLER".ljust(24)),), **more)
    assert b"MUELLER" in Path("in.nii").read_bytes()
    assert medimg("view", "in.nii", "out.html").code == 0
    page = opened(here / "out.html")
    assert "MUELLER" not in page.text and b"MUELLER" not in page.contents[0]
    assert len(page.contents[0]) == 352 + 5 * 4 * 3 * 2


def test_what_is_too_large_is_reduced_and_both_are_told(here: Path, medimg: Run) -> None:
    save(np.random.default_rng(1).normal(size=(1, 60, 90, 20)).astype("float32"), "in.nii.gz")
    said = medimg("view", "--max-size", "0.1", "in.nii.gz", "out.html")
    page = opened(here / "out.html")
    image = page.images[0]
    assert "reduced from 60 x 90 x 20 to " in said.err and "(--max-size)" in said.err
    assert '<p class="note">reduced from 60 x 90 x 20 to' in page.text and "--max-size" not in page.text
    assert 40_000 < image.shape[0] * image.shape[1] * image.shape[2] * 4 <= 100_000
    middles = [nibabel.affines.apply_affine(m, (np.array(s) - 1) / 2) for m, s in (
        (image.affine, image.shape), (nibabel.load("in.nii.gz").affine, (60, 90, 20)))]  # fmt: skip
    np.testing.assert_allclose(*middles, atol=1e-3)  # the field of view keeps its centre
    assert "60 x 90 x 20, 1.5 x 1 x 2 mm, float32" in page.text  # facts are those of the file


def test_a_reduced_label_map_has_no_new_labels(here: Path, medimg: Run) -> None:
    labels = np.kron(np.random.default_rng(2).choice([0, 5, 900], (6, 9, 4)), np.ones((8, 8, 8))).astype("int16")[None]
    save(labels, "in.nii.gz", intent="label")
    medimg("view", "--max-size", "0.01", "in.nii.gz", "out.html")
    page = opened(here / "out.html")
    assert [row[0] for row in page.page["layers"][0]["labels"]] == [0, 5, 900]
    assert page.values().size <= 10_000 and set(np.unique(page.values())) == {0, 1, 2}


def test_long_series_keep_their_first_steps(here: Path, medimg: Run) -> None:
    save(np.arange(20 * 60, dtype="int16").reshape(20, 5, 4, 3), "in.nii", axes=(("time", 20),), time_spacing=2.5)
    said = medimg("view", "--max-size", "0.0012", "--channel", "-1", "in.nii", "out.html")
    page = opened(here / "out.html")
    assert page.images[0].shape == (5, 4, 3, 10) and page.page["first"] == 9
    assert "of its 20 steps the first 10 are in the page (--max-size)" in said.err
    assert (page.page["layers"][0]["step"], page.page["layers"][0]["seconds"]) == ("time step", 2.5)


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        ((("time", 6),), "time step"),
        ((("channel", 6),), "channel"),
        ((("time", 2), ("vector", 3)), "channel"),
        ((), "channel"),
    ],
    ids=["time", "channel", "time-vector", "nothing"],
)
def test_steps_are_called_what_they_are(here: Path, medimg: Run, axes: tuple[tuple[str, int], ...], name: str) -> None:
    save(np.arange(6 * 60, dtype="int16").reshape(6, 5, 4, 3), "in.nrrd", axes=axes)
    assert medimg("view", "in.nrrd", "out.html").code == 0
    assert opened(here / "out.html").page["layers"][0]["step"] == name


def test_labels_bring_names_and_colours_whatever_their_numbers(here: Path, medimg: Run) -> None:
    numbers = np.array([0, 2, 14175, 70000], "int32")
    array = np.random.default_rng(3).choice(numbers, (1, 7, 6, 5))
    save(np.full((1, 7, 6, 5), 100, "int16") + np.arange(5, dtype="int16"), "t1.nii.gz")
    table = LabelTable([(2, "White </script> matter", (245, 245, 245, 255)), (70000, "x", (1, 2, 3, 255))])
    save(array, "labels.nii.gz", labels=table, intent="label")
    assert medimg("view", "--overlay", "labels.nii.gz", "--opacity", "0.7", "t1.nii.gz", "out.html").code == 0
    page = opened(here / "out.html")
    layer = page.page["layers"][1]
    assert [row[:2] for row in layer["labels"]] == [[0, ""], [2, "White </script> matter"], [14175, ""], [70000, "x"]]
    assert layer["labels"][1][2] == [245, 245, 245, 255] and layer["labels"][0][2] == [0, 0, 0, 0]
    assert (layer["opacity"], layer["kind"]) == (0.7, "labels")
    inner = page.values(1)[1:-1, 1:-1, 1:-1]  # background around it, for the viewer goes on with what is outermost
    np.testing.assert_array_equal(numbers[inner], array[0, ::-1, ::-1, ::-1])
    assert page.values(1).sum() == inner.sum()
    assert page.images[1].header["intent_code"] == 1002


def test_overlays_lie_on_any_grid_but_not_elsewhere(here: Path, medimg: Run) -> None:
    medimg("resample", ANATOMICAL, "--spacing", "5", "coarse.nii")
    said = medimg("view", "--overlay", "coarse.nii", "--overlay", ANATOMICAL, ANATOMICAL, "out.html")
    page = opened(here / "out.html")
    assert said.code == 0 and len(page.images) == 3 and "coarse.nii: no label map: values from" in said.err
    np.testing.assert_allclose(np.abs(page.images[1].affine[:3, :3]).max(0), 5, atol=1e-5)
    medimg("edit", "coarse.nii", "far.nii", "--origin", "1000,0,0")
    said = medimg("view", "--overlay", "far.nii", ANATOMICAL, "again.html")
    assert said.code == 2 and "far.nii: " in said.err and "mm apart" in said.err
    assert not (here / "again.html").exists()


def test_what_is_odd_about_an_overlay_is_said_and_stays_out_of_the_page(here: Path, medimg: Run) -> None:
    np.save("labels.npy", np.ones((20, 20, 20), "uint8"))
    said = medimg("view", "--overlay", here / "labels.npy", ANATOMICAL, "out.html")
    assert said.code == 0 and f"{here}/labels.npy does not say how it lies in the body" in said.err
    assert str(here) not in opened(here / "out.html").text


def test_opacity_is_that_of_overlays(here: Path, medimg: Run) -> None:
    said = medimg("view", "--overlay", ANATOMICAL, "--opacity", "0.3", ANATOMICAL, "out.html")
    assert said.code == 0 and "there is none" not in said.err
    assert opened(here / "out.html").page["layers"][1]["opacity"] == 0.3
    assert "of an overlay, and there is none" in medimg("view", "--opacity", "0.3", ANATOMICAL, "bare.html").err


def test_signed_values_over_an_image_are_shown_from_a_threshold_on_both_sides(here: Path, medimg: Run) -> None:
    save(np.random.default_rng(0).normal(size=(1, 9, 8, 7)).astype("float32"), "t.nii")
    said = medimg("view", "--overlay", "t.nii", "t.nii", "out.html")
    layer = opened(here / "out.html").page["layers"][1]
    assert layer["signed"] and layer["window"][0] == pytest.approx(0.3 * layer["window"][1]) and "in blue" in said.err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("in.nii", "out.png"), "out.png: expected a name that ends in .html or .htm"),
        (("in.nii", "there.html"), "there.html: exists; use --force to replace it"),
        (("in.nii", "-", "--suffix", ".nii"), "expected a name that ends in .html or .htm"),
        (("in.nii", "out.html", "--max-size", "0"), "--max-size 0.0; give megabytes, more than 0"),
        (("in.nii", "out.html", "--overlay", "none.nii"), "none.nii: no such file"),
        (("in.nii", "out.html", "--channel", "3"), "channel 3: the image has 1"),
        (("in.nii", "out.html", "--colormap", "virids"), "virids"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_refusals_take_one_line_and_write_nothing(
    here: Path, medimg: Run, words: tuple[str, ...], complaint: str
) -> None:
    save(np.arange(60, dtype="int16").reshape(1, 5, 4, 3), "in.nii")
    Path("there.html").write_text("mine")
    before = {path: path.read_bytes() for path in here.iterdir()}
    said = medimg("view", *words)
    assert said.code == 2 and complaint in said.err and len(said.err.splitlines()) == 1
    assert {path: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


def test_many_pages_and_standard_output(here: Path, program: Run) -> None:
    for name in ("a.nii", "b.nii"):
        save(np.arange(60, dtype="int16").reshape(1, 5, 4, 3), name)
    assert program("view", "a.nii", "b.nii", "--output-dir", "pages", "--jobs", "2").code == 0
    assert sorted(path.name for path in (here / "pages").iterdir()) == ["a.html", "b.html"]
    said = program("view", "a.nii", "-")
    assert said.code == 0 and said.out == (here / "pages" / "a.html").read_text()  # and the same bytes each time
    said = program("view", "-", "out.html", stdin=Path("a.nii").read_bytes())
    assert said.code == 0 and "<title>&lt;stdin&gt;</title>" in Path("out.html").read_text()


# what a browser shows


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as running:
        yield running


def sound(tab: Tab, path: Path, **size: int) -> dict[str, str]:
    """Open a page; it loads, complains of nothing and asks for nothing."""
    data = tab.open(path, **size)
    assert data["state"] == "loaded" and tab.complaints() == [] and "violation" not in data
    assert tab.requests() == [path.resolve().as_uri()]
    return data


def place(tab: Tab) -> str:
    found: str = tab.js("document.getElementById('place').textContent")
    return found


def cross_at(tab: Tab, mm: tuple[float, float, float]) -> None:
    tab.js(
        f"viewer.scene.crosshairPos = viewer.mm2frac({list(mm)}), viewer.createOnLocationChange(), viewer.drawScene()"
    )


def choose(tab: Tab, name: str, value: str) -> None:
    tab.js(f"document.querySelector('input[name={name}][value={value}]').click()")


@needs_chromium
def test_a_page_loads_and_shows_the_image(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    data = sound(tab, here / "t1.html")
    assert (data["dims"], data["volumes"], data["view"]) == ("33x41x25", "1", "all")
    assert len(np.unique(tab.picture("canvas")[..., 0])) > 100
    assert tab.js("document.title") == "anatomical.nii"


@needs_chromium
def test_the_page_cannot_reach_anybody(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    sound(tab, here / "t1.html")
    assert tab.js("fetch('https://example.invalid/').then(() => 'sent', () => 'refused')") == "refused"
    assert tab.js("new Promise(done => {const p = new Image(); p.onerror = () => done('refused'); p.onload = () => "
                  "done('sent'); p.src = 'https://example.invalid/x.png'})") == "refused"  # fmt: skip
    assert tab.js("document.documentElement.dataset.violation") == "img-src"


@needs_chromium
def test_an_old_browser_is_told_so(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    script = tab("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.DecompressionStream")
    try:
        assert tab.open(here / "t1.html")["state"] == "failed"
    finally:
        tab("Page.removeScriptToEvaluateOnNewDocument", **script)
    assert "DecompressionStream" in tab.js("document.getElementById('message').textContent")


def phantom(order: str) -> ArrayBackend:
    """Return a head-like body with a long bar at the patient's left, a short one in front and a knob on top.

    Stored in any orientation; it is the same body.
    """
    shape, spacing = (36, 44, 30), (2.0, 1.5, 2.5)
    body = np.full(shape, 40, "int16") + np.arange(30, dtype="int16")[None, None]
    body[6:9, 6:36, 12:26] = 200  # towards -x, the patient's left
    body[6:24, 33:36, 4:26] = 140  # in front
    body[20:26, 20:28, 24:29] = 240  # on top, at the right
    header = Header(shape=(1, *shape), dtype="int16", affine=AffineMatrix.from_spacing(spacing, origin=(-35, -30, -40)))
    found = apply(Reorient(order), ArrayBackend(body[None], header.replace(affine_source="sform")))
    return ArrayBackend(read(found), found.header.replace(history=()))


@needs_chromium
@pytest.mark.parametrize("neurological", [False, True], ids=["radiological", "neurological"])
@pytest.mark.parametrize("order", ["RAS", "LPI", "PIR", "SLA"])
def test_the_browser_shows_what_plot_draws(here: Path, medimg: Run, tab: Tab, order: str, neurological: bool) -> None:
    """Left and right, front and back, up and down, and proportions: as `Scene` has them, whose truth is tested apart."""
    save_backend(phantom(order), "in.nii.gz")
    options = ["--neurological"] if neurological else []
    assert medimg("view", "--window", "0:255", "--kind", "intensities", *options, "in.nii.gz", "out.html").code == 0
    data = sound(tab, here / "out.html", width=900, height=560)
    assert data["convention"] == ("neurological" if neurological else "radiological")
    cross_at(tab, (5.0, 6.0, 20.0))
    scene = Scene(open_backend("in.nii.gz"), Look(window="0:255", neurological=neurological, plain=True))
    middle = [round(v) for v in scene.grid.voxel((5.0, 6.0, 20.0))]
    pictures = {}
    for name, plane in scene.planes.items():
        choose(tab, "view", name)
        tab.js("viewer.opts.isOrientationTextVisible = false, viewer.setCrosshairWidth(0)")
        shown = tab.picture("canvas")[..., 0].astype(float)
        height, width = shown.shape
        extent = [scene.shape[axis] * scene.spacing[axis] for axis in (plane.down, plane.right)]
        scale = min(height / extent[0], width / extent[1])
        rows, columns = (round(length * scale) for length in extent)
        top, left = (height - rows) // 2, (width - columns) // 2
        found = shown[top : top + rows, left : left + columns]
        drawn = scene.picture(plane, middle[plane.across])
        expected = np.asarray(drawn.resize((columns, rows), Pillow.Resampling.BILINEAR), float)
        pictures[name] = found
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98, name
        for turned_ in (expected[:, ::-1], expected[::-1]):  # a mirrored picture is not alike
            assert np.corrcoef(found.ravel(), turned_.ravel())[0, 1] < 0.9, name
        assert np.abs(found - expected).mean() < 4, name
    bright = np.argwhere(pictures["axial"] > 185)[:, 1].mean() / pictures["axial"].shape[1]
    assert bright < 0.4 if neurological else bright > 0.6  # the long bar is at the patient's left


@needs_chromium
def test_the_place_under_the_cross_has_its_value(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    sound(tab, here / "t1.html")
    image = nibabel.load(ANATOMICAL)
    for voxel in ((3, 5, 7), (30, 20, 11), (16, 39, 24)):
        mm = nibabel.affines.apply_affine(image.affine, voxel)
        cross_at(tab, tuple(mm.tolist()))
        words = place(tab).split()
        sides = [f"{'RAS'[n] if mm[n] >= 0 else 'LPI'[n]}" for n in range(3)]
        assert words[0:6:2] == sides and [float(word) for word in words[1:6:2]] == pytest.approx(np.abs(mm), abs=0.06)
        assert float(words[-1]) == pytest.approx(float(np.asanyarray(image.dataobj)[voxel]), rel=1e-4)


@needs_chromium
def test_keys_move_the_cross_as_the_picture_lies(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    sound(tab, here / "t1.html")
    choose(tab, "view", "axial")
    tab.js("document.getElementById('canvas').focus()")

    def press(key: str) -> list[float]:
        before = tab.js("[...viewer.frac2mm(viewer.scene.crosshairPos)]")
        for kind in ("keyDown", "keyUp"):
            tab("Input.dispatchKeyEvent", type=kind, key=key, code=key)
        after = tab.js("[...viewer.frac2mm(viewer.scene.crosshairPos)]")
        return [round(a - b, 3) for a, b in zip(after, before, strict=True)][:3]

    assert press("ArrowLeft") == [2, 0, 0]  # towards the patient's right, which is on the left
    assert press("ArrowUp") == [0, 2, 0] and press("ArrowDown") == [0, -2, 0] and press("PageUp") == [0, 0, 2]
    choose(tab, "side", "left")
    assert press("ArrowLeft") == [-2, 0, 0]
    choose(tab, "view", "sagittal")
    assert press("ArrowLeft") == [0, 2, 0] and press("PageDown") == [-2, 0, 0]


@needs_chromium
def test_labels_are_named_under_the_cross_and_can_be_hidden(here: Path, medimg: Run, tab: Tab) -> None:
    labels = np.zeros((1, 20, 18, 16), "uint8")
    labels[0, 2:18, 2:16, 2:14] = 17
    save(np.full((1, 20, 18, 16), 50, "int16") + np.arange(16, dtype="int16"), "t1.nii.gz")
    save(labels, "seg.nii.gz", labels=LabelTable([(17, "<b>left hippocampus", (220, 30, 20, 255))]), intent="label")
    medimg("view", "--overlay", "seg.nii.gz", "t1.nii.gz", "out.html", "--window", "0:255", "--opacity", "1")
    sound(tab, here / "out.html")
    choose(tab, "view", "axial")
    assert "17 <b>left hippocampus" in place(tab)
    assert "17 <b>left hippocampus" in tab.js("document.querySelector('#overlays li').textContent")
    red = [tab.picture("canvas")]
    tab.js("document.querySelector('#overlays input[type=checkbox]').click()")
    red.append(tab.picture("canvas"))
    counts = [int(((each[..., 0] > 200) & (each[..., 1] < 60)).sum()) for each in red]
    assert counts[0] > 20_000 and counts[1] == 0


@needs_chromium
@pytest.mark.parametrize("outline", [False, True], ids=["filled", "outlined"])
def test_labels_end_where_their_grid_ends(here: Path, medimg: Run, tab: Tab, outline: bool) -> None:
    save(np.full((1, 40, 30, 20), 50, "int16") + np.arange(20, dtype="int16"), "t1.nii.gz", AffineMatrix())
    matrix = AffineMatrix.from_spacing(1.0, origin=(10, 10, 5))
    table = LabelTable([(3, "x", (230, 20, 20, 255))])
    save(np.full((1, 20, 10, 8), 3, "uint8"), "seg.nii.gz", matrix, labels=table, intent="label")
    more = ["--outline"] if outline else ["--opacity", "1"]
    medimg("view", "--overlay", "seg.nii.gz", "t1.nii.gz", "out.html", "--window", "0:255", *more)
    sound(tab, here / "out.html")
    cross_at(tab, (20.0, 15.0, 9.0))
    choose(tab, "view", "axial")
    shown = tab.picture("canvas")
    red = (shown[..., 0] > 140) & (shown[..., 1] < 60)
    rows, columns = (np.flatnonzero(red.any(axis)) for axis in (1, 0))
    scale = min(shown.shape[0] / 30, shown.shape[1] / 40)  # pixels per mm
    assert np.ptp(columns) == pytest.approx(20 * scale, abs=1.5 * scale)
    assert np.ptp(rows) == pytest.approx(10 * scale, abs=1.5 * scale)
    assert red.mean() * shown[..., 0].size < (0.75 if outline else 1.2) * 200 * scale**2


@needs_chromium
def test_labels_are_never_mixed(here: Path, medimg: Run, tab: Tab) -> None:
    """The cross opens in the voxel that plot shows, and between two labels lies no third colour."""
    table = LabelTable([(1, "a", (230, 0, 0, 255)), (2, "b", (0, 0, 230, 255)), (3, "c", (0, 230, 0, 255))])
    blocks = np.zeros((1, 8, 10, 6), "uint8")
    blocks[:, 1:-1, 1:-1, 1:-1] = np.random.default_rng(5).integers(1, 4, (1, 6, 8, 4))
    save(blocks, "seg.nii.gz", AffineMatrix(), labels=table, intent="label")
    save(np.full((1, 8, 10, 6), 60, "int16") + np.arange(6, dtype="int16"), "t1.nii.gz", AffineMatrix())
    over = ["--overlay", "seg.nii.gz", "--opacity", "1", "--kind", "intensities", "t1.nii.gz"]
    for words in (["seg.nii.gz"], over):
        assert medimg("view", "--force", *words, "out.html").code == 0
        sound(tab, here / "out.html")
        assert tab.js("[...viewer.scene.crosshairPos]") == pytest.approx([4.5 / 8, 5.5 / 10, 3.5 / 6], abs=1e-6)
        choose(tab, "view", "axial")
        tab.js("viewer.opts.isOrientationTextVisible = false, viewer.setCrosshairWidth(0)")
        shown = tab.picture("canvas").reshape(-1, 3).astype(int)
        low, middle, high = np.sort(shown, axis=1).T
        assert (middle - low < 14).mean() > 0.985, words  # red, green or blue over the grey of the image
        assert (high > 200).mean() > 0.2


@needs_chromium
def test_steps_windows_and_the_cut_answer(here: Path, medimg: Run, tab: Tab) -> None:
    steps = np.stack([np.full((12, 11, 10), value, "int16") for value in (-1000, 40, 900)])
    save(steps + np.arange(10, dtype="int16"), "ct.nii.gz", axes=(("time", 3),), time_spacing=2.0)
    medimg("view", "ct.nii.gz", "out.html", "--kind", "intensities", "--window", "brain")
    data = sound(tab, here / "out.html")
    assert (data["steps"], data["window"]) == ("3", "0 80")
    tab.js("{const step = document.getElementById('step'); step.value = 2; step.dispatchEvent(new Event('input'))}")
    assert float(place(tab).split()[-1]) >= 900
    assert tab.js("document.getElementById('stepname').textContent") == "Time step 3 of 3, 4 s"
    names = tab.js("[...document.querySelectorAll('#preset option')].map((option) => option.textContent)")
    assert {"brain", "lung", "bone"} <= set(names)  # values like those of CT
    tab.js("{const each = document.getElementById('preset'); each.selectedIndex = "
           f"{names.index('lung')}; each.dispatchEvent(new Event('change'))}}")  # fmt: skip
    assert tab.js("document.documentElement.dataset.window") == "-1350 150"
    tab.js("document.getElementById('cut').click()")
    assert tab.js("viewer.scene.clipPlane[3]") == pytest.approx(0.1)
    assert tab.complaints() == []


@needs_chromium
def test_a_telephone_shows_it_too(here: Path, medimg: Run, tab: Tab) -> None:
    medimg("view", ANATOMICAL, "t1.html")
    sound(tab, here / "t1.html", width=360, height=740)
    assert tab.js("document.documentElement.scrollWidth") <= 360
    width, height = tab.js("[viewer.canvas.clientWidth, viewer.canvas.clientHeight]")
    assert width == 360 and height > 300
    assert tab.js("[...document.querySelectorAll('input, select, summary')].every((each) => each.tabIndex >= 0)")


@needs_chromium
@pytest.mark.parametrize("angles", [(0, 0, 30)], ids=["turned"])
def test_oblique_volumes_are_turned_to_the_planes_of_the_body(
    here: Path, medimg: Run, tab: Tab, angles: tuple[float, float, float]
) -> None:
    direction = turned(*angles)
    matrix = AffineMatrix.from_spacing((2, 2, 2), origin=(-20, -30, -20), direction=direction)
    array = np.random.default_rng(5).integers(0, 50, (1, 24, 26, 22)).astype("int16")
    save(array, "in.nii.gz", matrix)
    said = medimg("view", "in.nii.gz", "out.html")
    assert "turned by 30 degrees to the planes of the body" in said.err
    sound(tab, here / "out.html")
    straight = opened(here / "out.html").images[0].affine[:3, :3]
    np.testing.assert_allclose(straight, np.diag(np.diag(straight)), atol=1e-5)
    medimg("view", "--planes", "stored", "in.nii.gz", "stored.html")
    assert sorted(opened(here / "stored.html").values().ravel()) == sorted(array.ravel())

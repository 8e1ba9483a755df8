"""``medimg plot``: pixels beside NumPy on the voxels, places in the world, sheets that say what they show."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.backends import with_header
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.labels import LabelTable
from tests.cli.conftest import Run, environment
from tests.helpers import affine, contents

Array = np.ndarray[Any, Any]

#: Pixels between tiles and around them, on sheets of the usual size.
GAP = 12
SHAPE = (14, 18, 22)
SPACING = (2.0, 1.5, 1.0)
#: Volumes of few values would be taken for label maps.
GREY = ("--kind", "intensities")
STRAIGHT = np.diag([*SPACING, 1.0])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(name: str, array: Array, matrix: Any = STRAIGHT, **fields: Any) -> None:
    image = nib.Nifti1Image(array, np.array(matrix))
    image.set_sform(np.array(matrix), 1)
    for key, value in fields.items():
        image.header[key] = value
    nib.save(image, name)


def black(shape: tuple[int, ...] = SHAPE, dtype: str = "int16") -> Array:
    return np.zeros(shape, dtype)


def pixels(name: str = "out.png") -> Array:
    with Pillow.open(name) as picture:
        return np.asarray(picture.convert("RGB"), int)


def views(page: Array, shape: tuple[int, ...] = SHAPE, spacing: Any = SPACING, side: int = 420) -> list[Array]:
    """Return the three views of a plain plot of a volume whose axes lie nearest to R, A and S, in that order."""
    extent = np.multiply(shape, spacing)
    right, front, up = (round(length * side / extent.max()) for length in extent)
    sizes = [(front, up), (right, up), (right, front)]
    high = max(height for _, height in sizes)
    assert page.shape == (high + 2 * GAP, sum(width for width, _ in sizes) + 4 * GAP, 3)
    x, found = GAP, []
    for width, height in sizes:
        top = GAP + (high - height) // 2
        found.append(page[top : top + height, x : x + width, 0])
        x += width + GAP
    return found


# -- the point


@pytest.mark.parametrize(
    ("at", "voxel"),
    [
        ("3,14,8", (3, 14, 8)),
        ("-1,0,-22", (13, 0, 0)),
        ("6mm,21mm,8mm", (3, 14, 8)),
        ("6.9mm,20.3mm,8.4mm", (3, 14, 8)),
        ("0%,50%,100%", (0, 9, 21)),
    ],
)
def test_the_cross_is_where_the_point_is(at: str, voxel: tuple[int, int, int], medimg: Run) -> None:
    save("a.nii", black())
    assert medimg("plot", "--plain", f"--at={at}", "a.nii", "out.png").code == 0
    # to the right run: back, left, left; downwards: feet, feet, back
    across = [(n + 0.5) / size for n, size in zip(voxel, SHAPE, strict=True)]
    places = [(1 - across[1], 1 - across[2]), (1 - across[0], 1 - across[2]), (1 - across[0], 1 - across[1])]
    for view, (right, down) in zip(views(pixels()), places, strict=True):
        rows = np.flatnonzero((view > 100).mean(axis=1) > 0.8)
        columns = np.flatnonzero((view > 100).mean(axis=0) > 0.8)
        assert rows.tolist() == [pytest.approx(down * view.shape[0], abs=1)]
        assert columns.tolist() == [pytest.approx(right * view.shape[1], abs=1)]


def test_the_cross_can_be_left_out_or_asked_for(medimg: Run) -> None:
    save("a.nii", black())
    for words, lines in (
        (["--at", "3,4,5"], True),
        (["--at", "3,4,5", "--no-cross"], False),
        ([], False),
        (["--cross"], True),
    ):
        assert medimg("plot", "--force", "--plain", *words, "a.nii", "out.png").code == 0
        assert pixels().any() == lines


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1)], ids=["right-handed", "left-handed"])
@pytest.mark.parametrize("planes", ["stored", "auto"])
def test_a_world_point_of_an_oblique_image(flips: tuple[int, int, int], planes: str, medimg: Run) -> None:
    matrix = np.array(affine((14, -9, 21), (1.0, 1.2, 1.5), flips).rows)
    array = black((19, 23, 17))
    array[5, 16, 11] = 900
    save("a.nii", array, matrix)
    point = ",".join(f"{number:.4f}mm" for number in (matrix @ [5, 16, 11, 1])[:3])
    words = ["--plain", "--no-cross", "--planes", planes, "--window", "0:300", "--kind=intensities", f"--at={point}"]
    done = medimg("plot", *words, "a.nii", "out.png")
    assert done.code == 0, done.err
    page = pixels()[..., 0]
    middle = [part for part in np.array_split(page, 3, axis=1) if (part > 120).any()]
    assert len(middle) == 3  # the one bright voxel is seen in all three views
    assert medimg("plot", "--force", *words[:-1], "a.nii", "out.png").code == 0
    assert not (pixels() > 120).any()  # and not from the middle


def test_views_show_the_voxels(medimg: Run) -> None:
    array = np.random.default_rng(4).integers(0, 1000, SHAPE).astype("int16")
    save("a.nii", array)
    words = ["--plain", "--no-cross", "--window", "0:1000", "--at", "3,14,8"]
    assert medimg("plot", *words, "a.nii", "out.png").code == 0
    flipped = array[::-1, ::-1, ::-1]
    slices = [flipped[SHAPE[0] - 1 - 3].T, flipped[:, SHAPE[1] - 1 - 14].T, flipped[:, :, SHAPE[2] - 1 - 8].T]
    for view, values in zip(views(pixels()), slices, strict=True):
        grey = Pillow.fromarray(np.rint(values / 1000 * 255).astype("uint8"))
        expected = np.asarray(grey.resize(view.shape[::-1], Pillow.Resampling.BILINEAR), int)
        assert np.abs(view - expected).max() <= 1


# -- mosaics


def stairs(empty: int = 0) -> Array:
    """Return slices towards the head that are brighter and brighter, the ends empty."""
    array = black((8, 9, 24))
    array[:, :, empty : 24 - empty] = np.arange(empty, 24 - empty) * 10 + 10
    return array


def tiles(page: Array, rows: int, columns: int) -> list[float]:
    """Return the mean brightness of tiles, row by row."""
    height, width = ((page.shape[axis] - GAP) // count for axis, count in ((0, rows), (1, columns)))
    parts = [(GAP + n * height, GAP + m * width) for n in range(rows) for m in range(columns)]
    return [float(page[y : y + height - GAP, x : x + width - GAP].mean()) for y, x in parts]


@pytest.mark.parametrize(("axis", "rises"), [("S", True), ("I", False), ("s", True)])
def test_mosaics_go_towards_their_letter(axis: str, rises: bool, medimg: Run) -> None:
    save("a.nii", stairs(), np.diag([-1.5, 1.5, 1.5, 1]))
    done = medimg(
        "plot",
        "--plain",
        "--all-slices",
        "--mosaic",
        "2x3",
        "--axis",
        axis,
        *GREY,
        "--window",
        "0:255",
        "a.nii",
        "out.png",
    )
    assert done.code == 0 and done.err == ""
    shown = [(n + 1) * 10 for n in (2, 6, 10, 14, 18, 22)]  # the middle of each sixth
    shown = shown if rises else [260 - value - 10 for value in shown]
    assert tiles(pixels(), 2, 3) == pytest.approx(shown, abs=1)


def test_mosaics_leave_out_empty_ends(medimg: Run) -> None:
    save("a.nii", stairs(empty=6))
    words = ["--plain", *GREY, "--mosaic", "1x4", "--window", "0:255", "a.nii", "out.png"]
    done = medimg("plot", *words)
    assert "12 empty slices at the ends are left out" in done.err
    assert tiles(pixels(), 1, 4) == pytest.approx([80 + 30 * n + 0 for n in range(4)], abs=1)
    done = medimg("plot", "--force", "--all-slices", *words)
    assert done.err == "" and tiles(pixels(), 1, 4)[0] == 0
    save("b.nii", black())
    assert medimg("plot", "--plain", "--mosaic", "2x2", "b.nii", "b.png").err.count("empty") == 0


def test_mosaics_keep_slices_that_show_little(medimg: Run) -> None:
    array = black((20, 20, 12))
    array[:, :, 4:8] = 200
    array[:4, :3, 3], array[0, :2, 2] = 200, 200  # 3 % and half a percent
    save("a.nii", array, np.eye(4))
    done = medimg("plot", "--plain", *GREY, "--mosaic", "1x5", "--window", "0:200", "a.nii", "out.png")
    assert "7 empty slices at the ends are left out" in done.err
    assert tiles(pixels(), 1, 5) == pytest.approx([0.03 * 255, 255, 255, 255, 255], abs=1)


def test_mosaics_of_few_slices_have_few_tiles(medimg: Run) -> None:
    save("a.nii", np.ones((8, 9, 3), "int16") * np.array([50, 100, 150], "int16"))
    words = ["--plain", *GREY, "--window", "0:255", "--mosaic", "4x5", "a.nii", "out.png"]
    assert medimg("plot", *words).code == 0
    assert tiles(pixels(), 1, 3) == pytest.approx([50, 100, 150], abs=1)


def test_tiles_have_true_proportions(medimg: Run) -> None:
    save("a.nii", np.full((8, 9, 4), 7, "int16"), np.diag([1.0, 3.0, 2.0, 1]))
    words = ["--plain", *GREY, "--window", "0:7", "--mosaic", "1x2", "--size", "81", "a.nii", "out.png"]
    assert medimg("plot", *words).code == 0
    page = pixels()[..., 0]
    assert page.shape == (81 + 2 * GAP, 2 * 24 + 3 * GAP)  # 8 x 27 mm
    assert (page == 255).sum() == 2 * 24 * 81


# -- what stands around


def test_plots_say_what_they_are(medimg: Run) -> None:
    save("a.nii", np.random.default_rng(2).integers(0, 900, SHAPE).astype("int16"))
    sizes = {}
    for name, words in {
        "plain": ["--plain"],
        "bare": ["--title", ""],
        "full": [],
        "titled": ["--title", "x\x1b[2J" * 90],
    }.items():
        assert medimg("plot", *words, "a.nii", f"{name}.png").code == 0
        sizes[name] = pixels(f"{name}.png").shape
    assert sizes["plain"][0] < sizes["bare"][0] < sizes["full"][0] == sizes["titled"][0]
    assert len({size[1] for size in sizes.values()}) == 1


def test_letters_are_at_the_edges(medimg: Run) -> None:
    save("a.nii", black())
    assert medimg("plot", "--title", "", "a.nii", "out.png").code == 0
    width = pixels().shape[1]
    extent = np.multiply(SHAPE, SPACING)
    right, front, up = (round(length * 420 / extent.max()) for length in extent)
    x = GAP
    for wide, high in ((front, up), (right, up), (right, front)):
        view = pixels()[GAP + (max(up, front) - high) // 2 :][:high, x : x + wide, 0] > 200
        half = slice(high // 2 - 12, high // 2 + 12)
        assert view[half, :20].any() and view[half, -20:].any()
        assert view[:25, wide // 2 - 12 : wide // 2 + 12].any() and view[-25:, wide // 2 - 12 : wide // 2 + 12].any()
        assert not view[40 : high // 2 - 20, 30:-30].any()
        x += wide + GAP
    assert x == width


def test_radiologists_and_neurologists(medimg: Run) -> None:
    array = black()
    array[:7] = 100  # the patient's left is bright
    save("a.nii", array)
    for words, bright in (([], -1), (["--neurological"], 0)):
        assert medimg("plot", "--force", "--plain", *GREY, "--window", "0:100", *words, "a.nii", "out.png").code == 0
        axial = views(pixels())[2]
        assert axial[:, bright].min() == 255 and axial[:, -1 - bright].max() == 0


def test_label_maps_and_overlays_have_a_legend(medimg: Run) -> None:
    array = black(dtype="uint8")
    array[4:9, 4:12, 4:15] = 1
    array[6:9, 4:12, 4:15] = 17
    save("seg.nii", array)
    table = LabelTable(
        [(1, "cortex", (10, 200, 30, 255)), (17, "hippocampus", (220, 20, 130, 255)), (99, "unseen", (1, 2, 250, 255))]
    )
    seg = open_backend("seg.nii")
    save_backend(with_header(seg, seg.header.replace(labels=table)), "named.nii")
    done = medimg("plot", "named.nii", "out.png")
    assert done.code == 0, done.err
    seen = {tuple(colour) for colour in pixels().reshape(-1, 3)}
    assert {(10, 200, 30), (220, 20, 130)} <= seen and (1, 2, 250) not in seen
    save("t1.nii", np.full(SHAPE, 50, "int16"), intent_code=0)
    assert medimg("plot", "--overlay", "named.nii", "--kind", "intensities", "t1.nii", "over.png").code == 0
    assert medimg("plot", "--overlay", "seg.nii", "--kind", "intensities", "t1.nii", "numbers.png").code == 0
    assert pixels("over.png").shape[0] == pixels("numbers.png").shape[0]  # few labels need no table
    save("many.nii", stripes())
    assert medimg("plot", "--overlay", "many.nii", "--kind", "intensities", "t1.nii", "bare.png").code == 0
    assert pixels("over.png").shape[0] > pixels("bare.png").shape[0]


def stripes() -> Array:
    """Return 20 labels in slabs."""
    labels = black(dtype="int16")
    labels[:] = (np.arange(SHAPE[2]) % 20 + 1)[None, None]
    return labels


def test_views_of_labels_go_where_the_labels_are(medimg: Run) -> None:
    array = black(dtype="uint8")
    array[1:3, 14:17, 18:20] = 2
    save("seg.nii", array)
    done = medimg("plot", "--plain", "seg.nii", "out.png")
    assert done.code == 0 and "slices with most labels" in done.err
    middle = medimg("plot", "--at", "50%,50%,50%", "--no-cross", "--plain", "seg.nii", "middle.png")
    assert "most labels" not in middle.err

    def coloured(name: str) -> int:
        page = pixels(name).astype(int)
        return int((page.max(2) - page.min(2) > 60).sum())

    assert coloured("out.png") > coloured("middle.png") == 0


def test_the_middle_is_the_same_in_both_conventions(medimg: Run) -> None:
    save("a.nii", np.random.default_rng(4).integers(0, 1000, SHAPE).astype("int16"))
    words = ["--plain", "--window", "0:1000", "a.nii"]
    assert medimg("plot", *words, "left.png").code == 0
    assert medimg("plot", "--neurological", *words, "right.png").code == 0
    pairs = zip(views(pixels("left.png")), views(pixels("right.png")), (False, True, True), strict=True)
    for left, right, turned in pairs:
        assert np.array_equal(left[:, ::-1] if turned else left, right)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full(SHAPE, np.nan, "float32"), []),
        (np.full(SHAPE, 7, "int16"), []),
        (np.zeros((1, 1, 1), "float32"), ["--at", "0,0,0"]),
        (np.zeros((1, 1, 1), "float32"), ["--mosaic", "3x3"]),
        (np.zeros((9, 1, 1), "int16"), []),
        (np.zeros((9, 8, 1), "int16"), []),
        (np.arange(14 * 18 * 22 * 5).reshape(*SHAPE, 5).astype("int32"), ["--channel", "-1"]),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), ["--mosaic", "2x2"]),
        (np.zeros(SHAPE, "complex64"), ["--colormap", "viridis"]),
    ],
    ids=["NaN", "constant", "one-voxel", "one-voxel-mosaic", "line", "slice", "4-D", "rgb", "complex"],
)
def test_any_image_is_drawn(array: Array, words: list[str], medimg: Run) -> None:
    save("a.nii.gz", array)
    done = medimg("plot", *words, "a.nii.gz", "out.png")
    assert done.code == 0 and "bug" not in done.err
    assert min(pixels().shape[:2]) > 2 * GAP


def test_a_flat_picture_has_one_view(medimg: Run) -> None:
    Pillow.fromarray(np.full((30, 50, 3), (9, 120, 200), "uint8")).save("in.png")
    assert medimg("plot", "--plain", "in.png", "out.png").code == 0
    page = pixels()
    assert page.shape[:2] == (252 + 2 * GAP, 420 + 2 * GAP)
    assert ((page == (9, 120, 200)).all(axis=-1)).sum() == 252 * 420


# -- outputs


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".pdf", ".PNG"])
def test_formats(suffix: str, medimg: Run) -> None:
    save("a.nii", black())
    assert medimg("plot", "a.nii", f"out{suffix}").code == 0
    again = Path(f"out{suffix}").read_bytes()
    assert medimg("plot", "--force", "a.nii", f"out{suffix}").code == 0
    assert Path(f"out{suffix}").read_bytes() == again
    if suffix != ".pdf":
        assert pixels(f"out{suffix}").shape[2] == 3


def test_many_inputs(medimg: Run) -> None:
    for name in "abc":
        save(f"{name}.nii.gz", black())
    done = medimg("plot", "a.nii.gz", "b.nii.gz", "c.nii.gz", "gone.nii", "--output-dir", "out", "-j", "2")
    assert done.code == 2 and "gone.nii: no such file" in done.err and "3 done, 1 failed" in done.err
    assert sorted(os.listdir("out")) == ["a.png", "b.png", "c.png"]
    assert medimg("plot", "a.nii.gz", "--output-dir", "out", "--suffix", ".jpg").code == 0
    assert sorted(os.listdir("out")) == ["a.jpg", "a.png", "b.png", "c.png"]


def test_a_pipe(program: Run) -> None:
    save("a.nii", black())
    command = [sys.executable, "-m", "medimg_cli", "plot", *GREY, "-", "-"]
    done = subprocess.run(
        command, input=Path("a.nii").read_bytes(), capture_output=True, env=environment(), timeout=60, check=False
    )
    assert done.returncode == 0 and done.stderr == b""
    with Pillow.open(io.BytesIO(done.stdout)) as picture:
        assert picture.format == "PNG"


def test_nothing_slow_is_imported() -> None:
    save("a.nii", black())
    code = (
        "import sys; from medimg_cli.__main__ import run; code = run();"
        "print(*sys.modules, sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "plot", "a.nii", "out.png"],
        capture_output=True, text=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    assert not {"torch", "SimpleITK", "nibabel", "matplotlib", "rich", "ffmpeg"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.nii", "out.nii.gz"], "no picture is written to files with .gz; use .png"),
        (["a.nii", "out"], "no picture is written to files with no suffix; use .png"),
        (["gone.nii", "out.gif"], "no picture is written to files with .gif"),  # before anything is read
        (["gone.nii", "out.png"], "gone.nii: no such file"),
        (["broken.nii", "out.png"], "broken.nii: "),
        (["a.nii", "there.png"], "there.png: exists; use --force"),
        (["a.nii", "nowhere/out.png"], "nowhere/out.png: cannot be written: its folder does not exist"),
        (["--at", "1,2", "a.nii", "out.png"], "--at 1,2 is no point; write 88,120,60 or"),
        (["--at", "1,2,3,4", "a.nii", "out.png"], "is no point"),
        (["--at", "1,2mm,3", "a.nii", "out.png"], "is no point"),
        (["--at", "1,2,x", "a.nii", "out.png"], "is no place"),
        (
            ["--at", "1,2,30", "a.nii", "out.png"],
            "the point 1, 2, 30 lies outside the image; it has voxels 0, 0, 0 to 13",
        ),
        (["--at=-9mm,2mm,3mm", "a.nii", "out.png"], "the point -9mm, 2mm, 3mm lies outside"),
        (["--at", "1%,2%,101%", "a.nii", "out.png"], "101% lies outside"),
        (["--mosaic", "4", "a.nii", "out.png"], "--mosaic 4 is no number of rows and columns; write 4x6"),
        (["--mosaic", "0x4", "a.nii", "out.png"], "a mosaic of 0 x 4"),
        (["--mosaic", "999x999", "a.nii", "out.png"], "at most 1024 tiles"),
        (["--mosaic", "2x2", "--axis", "X", "a.nii", "out.png"], "'X', expected one of R, L, A, P, S, I"),
        (
            ["--mosaic", "2x2", "--at", "1,2,3", "a.nii", "out.png"],
            "a mosaic passes through no point; leave out the point, or",
        ),
        (["--axis", "S", "a.nii", "out.png"], "axis is 'S': that is for a mosaic; it goes with mosaic"),
        (["--size", "2", "a.nii", "out.png"], "size is 2; expected 16 to 8192 pixels"),
        (["--channel", "1", "a.nii", "out.png"], "channel 1: the image has 1"),
        (["--window", "brian", "a.nii", "out.png"], "did you mean brain?"),
        (["--overlay", "gone.nii", "a.nii", "out.png"], "gone.nii"),
        (["a.nii", "a.nii", "out.png"], "2 inputs (a.nii, a.nii) for one output"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, medimg: Run) -> None:
    save("a.nii", black())
    Path("broken.nii").write_bytes(Path("a.nii").read_bytes()[:-500])
    Path("there.png").write_bytes(b"precious")
    before = contents(Path())
    done = medimg("plot", *words)
    assert done.code == 2 and done.out == "" and len(done.err.splitlines()) == 1
    assert done.err.startswith("medimg: ") and said in done.err and "bug" not in done.err
    assert contents(Path()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(medimg: Run) -> None:
    save("a.nii", black())
    Path("locked").mkdir()
    Path("locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = medimg("plot", "a.nii", "locked/out.png")
    assert done.code == 2 and "locked/out.png: cannot be written: permission denied" in done.err


def test_a_folder_that_is_a_file(medimg: Run) -> None:
    save("a.nii", black())
    Path("file").write_text("precious")
    done = medimg("plot", "a.nii", "file/out.png")
    assert done.code == 2 and len(done.err.splitlines()) == 1 and Path("file").read_text() == "precious"

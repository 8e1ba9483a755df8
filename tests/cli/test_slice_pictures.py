"""``medimg slice`` to a picture: pixels beside NumPy on the voxels, sets, stored values, every refusal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.formats import open_backend
from tests.cli.conftest import Run, environment
from tests.helpers import affine, contents

Array = np.ndarray[Any, Any]

SHAPE = (7, 9, 11)
GREY = ("--kind", "intensities")
#: Axes run to P, I, R; 1 mm each.
TURNED = np.array([[0, 0, 1.0, -4], [-1, 0, 0, 12.5], [0, -1, 0, 7], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def noise(shape: tuple[int, ...] = SHAPE, dtype: str = "int16", high: int = 1000) -> Array:
    return np.random.default_rng(6).integers(0, high, shape).astype(dtype)


def save(name: str, array: Array, matrix: Any = TURNED) -> Array:
    """Write an image, and return it along L, P, I: the order of pixels in pictures."""
    image = nib.Nifti1Image(array, np.array(matrix))
    image.set_sform(np.array(matrix), 1)
    nib.save(image, name)
    canonical = nib.as_closest_canonical(image)
    flipped: Array = np.asanyarray(canonical.dataobj)[::-1, ::-1, ::-1]
    return flipped


def pixels(name: str = "out.png") -> Array:
    with Pillow.open(name) as picture:
        return np.asarray(picture)


def grey(values: Array, low: float = 0, high: float = 1000) -> Array:
    """Return what a window makes of values, in rows."""
    shown: Array = np.rint(np.clip((values.T - low) / (high - low), 0, 1) * 255)
    return shown


WINDOW = ("--plain", "--window", "0:1000")

# -- one slice


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--axis", "S"], np.s_[:, :, 4]),
        (["--axis", "S", "--at", "0%"], np.s_[:, :, -1]),
        (["--axis", "I", "--at", "0%"], np.s_[:, :, 0]),
        (["--axis", "S", "--at", "2"], np.s_[:, :, -3]),
        (["--axis", "I", "--at=-1"], np.s_[:, :, -1]),
        (["--axis", "s", "--at", "1.2mm"], np.s_[:, :, 6]),
        (["--axis", "R", "--at", "100%"], np.s_[0]),
        (["--axis", "A", "--at", "12.5mm"], np.s_[:, 0]),
        (["--index", "[0, :, 2]"], np.s_[:, :, 2]),
        (["--index", "[..., 3]"], np.s_[-4]),
        (["--index", "[:, 6, ::-1, :]"], np.s_[:, 6]),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_pixels_are_those_of_the_voxels(words: list[str], part: Any, medimg: Run) -> None:
    canonical = save("a.nii", noise())
    done = medimg("slice", *words, *WINDOW, "a.nii", "out.png")
    assert done.code == 0 and done.err == ""
    assert np.abs(pixels() - grey(canonical[part])).max() <= 1  # a half is rounded either way


@pytest.mark.parametrize(
    ("words", "size"), [([], (9, 12)), (["--scale", "2.5"], (22, 30)), (["--size", "60"], (45, 60))]
)
def test_proportions_are_those_of_the_world(words: list[str], size: tuple[int, int], medimg: Run) -> None:
    save("a.nii", noise(), np.diag([1.25, 1.25, 3.0, 1]))  # 8.75 x 11.25 x 33 mm
    assert medimg("slice", "--axis", "A", *words, "a.nii", "out.png").code == 0
    height = {(9, 12): 26, (22, 30): 66, (45, 60): 60}[size]
    width = {(9, 12): 7, (22, 30): 18, (45, 60): 16}[size]
    assert pixels().shape[:2] == (height, width)


def test_the_picture_knows_the_size_of_its_pixels(medimg: Run) -> None:
    save("a.nii", noise(), np.diag([0.5, 0.5, 3.0, 1]))
    assert medimg("slice", "--axis", "S", "--scale", "2", "a.nii", "out.png").code == 0
    assert open_backend("out.png").header.spacing[:2] == (0.25, 0.25)


def test_the_same_slice_by_place_and_by_index_looks_the_same(medimg: Run) -> None:
    array = noise(dtype="float32")
    array[:, 2] *= 7  # so that the window of the slice alone would be another
    save("a.nii.gz", array)
    assert medimg("slice", "--axis", "I", "--at", "2", "a.nii.gz", "a.png").code == 0
    assert medimg("slice", "--index", "[:, :, 2]", "a.nii.gz", "b.png").code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    save("labels.nii.gz", (noise((4, 5, 6)) // 500).astype("uint8"), TURNED @ np.diag([2, 2, 2, 1]))
    words = ["--overlay", "labels.nii.gz", "--window", "5%:80%", "a.nii.gz"]
    assert medimg("slice", "--axis", "I", "--at", "4", *words, "c.png").code == 0
    assert medimg("slice", "--index", "[:, :, 4]", *words, "d.png").code == 0
    assert Path("c.png").read_bytes() == Path("d.png").read_bytes() and np.ptp(pixels("c.png"), axis=-1).any()


def test_marks_only_where_there_is_room(medimg: Run) -> None:
    save("a.nii", noise())
    for scale, same in (("1", True), ("10", False)):
        for name, words in (("marked.png", []), ("plain.png", ["--plain"])):
            assert medimg("slice", "-f", "--axis", "S", "--scale", scale, *words, "a.nii", name).code == 0
        assert np.array_equal(pixels("marked.png"), pixels("plain.png")) == same
    marked = pixels("marked.png") != pixels("plain.png")
    height, width = marked.shape
    assert marked[height // 2 - 9 : height // 2 + 9, :20].any() and marked[:20, width // 2 - 9 : width // 2 + 9].any()
    assert not marked[25 : height // 2 - 12, 25:-25].any()


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1)], ids=["right-handed", "left-handed"])
def test_oblique_images_are_cut_along_their_voxels(flips: tuple[int, int, int], medimg: Run) -> None:
    matrix = np.array(affine((14, -9, 21), (1, 1, 1), flips).rows)
    canonical = save("a.nii", noise((19, 18, 17)), matrix)
    words = ["slice", "--axis", "S", "--at", "30%", *WINDOW]
    assert medimg(*words, "a.nii", "out.png").code == 0
    assert np.abs(pixels() - grey(canonical[:, :, 17 - 1 - 5])).max() <= 1
    assert medimg(*words, "--planes", "straight", "a.nii", "straight.png").code == 0
    assert pixels("straight.png").shape > pixels().shape


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".pdf"])
def test_formats(suffix: str, medimg: Run) -> None:
    canonical = save("a.nii", noise())
    assert medimg("slice", "--axis", "S", *WINDOW, "a.nii", f"out{suffix}").code == 0
    if suffix == ".pdf":
        return
    with Pillow.open(f"out{suffix}") as picture:
        apart = np.asarray(picture.convert("L"), int) - grey(canonical[:, :, 4])
    assert np.abs(apart).max() <= (12 if suffix == ".jpg" else 1)


def test_colours_and_flat_pictures(medimg: Run) -> None:
    array = np.random.default_rng(1).integers(0, 255, (13, 20, 3), dtype=np.uint8)
    Pillow.fromarray(array).save("in.png")
    assert medimg("slice", "--axis", "S", "in.png", "out.png").code == 0
    assert np.array_equal(pixels(), array)
    assert medimg("slice", "--index", "[:, 4:11]", "in.png", "part.png").code == 0
    assert np.array_equal(pixels("part.png"), array[:, 4:11])
    volume = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    volume["G"] = np.arange(6) * 20
    save("rgb.nii", volume, np.eye(4))
    assert medimg("slice", "--axis", "S", "--at", "3", "rgb.nii", "rgb.png").code == 0
    assert (pixels("rgb.png") == (0, 60, 0)).all() and pixels("rgb.png").shape == (5, 4, 3)


def test_labels_are_shown_in_colours_and_said_so(medimg: Run) -> None:
    array = np.zeros(SHAPE, "uint8")
    array[2:5] = 3
    save("a.nii", array)
    done = medimg("slice", "--axis", "S", "a.nii", "out.png")
    assert "taken for a label map" in done.err
    assert len(np.unique(pixels().reshape(-1, 3), axis=0)) == 2
    assert medimg("slice", "--axis", "S", "--kind", "intensities", "a.nii", "grey.png").code == 0
    assert pixels("grey.png").ndim == 2
    words = ["--axis", "S", "--overlay", "a.nii", "--opacity", "1", "--plain"]
    canonical = save("b.nii", noise())
    assert medimg("slice", *words, "b.nii", "over.png").code == 0
    labelled = save("a.nii", array)[:, :, 4].T == 3
    assert (pixels("over.png")[labelled] == (85, 130, 230)).all()  # the third of the colours
    assert np.ptp(pixels("over.png")[~labelled], axis=-1).max() == 0 and canonical.shape[0] == 11


def test_channels(medimg: Run) -> None:
    array = noise((*SHAPE, 3))
    canonical = save("a.nii", array)
    done = medimg("slice", "--axis", "S", *WINDOW, "a.nii", "0.png")
    assert done.code == 0 and "channel 0 (0 to 2); --channel picks another" in done.err
    assert np.abs(pixels("0.png") - grey(canonical[:, :, 4, 0])).max() <= 1
    done = medimg("slice", "--axis", "S", *WINDOW, "--channel", "-1", "a.nii", "2.png")
    assert done.code == 0 and done.err == ""
    assert np.abs(pixels("2.png") - grey(canonical[:, :, 4, 2])).max() <= 1
    done = medimg("slice", "--index", "[1, :, 4]", *WINDOW, "a.nii", "1.png")
    assert done.err == "" and np.abs(pixels("1.png") - grey(canonical[:, :, 4, 1])).max() <= 1


@pytest.mark.parametrize(
    "array",
    [np.full(SHAPE, np.nan), np.full(SHAPE, 7, "int16"), np.zeros((1, 1, 1)), np.zeros((9, 1, 1), "uint8")],
    ids=["NaN", "constant", "one-voxel", "line"],
)
@pytest.mark.parametrize("words", [["--axis", "R"], ["--index", "[0, 0]"], ["--axis", "R", "--every", "3"]])
def test_any_image_is_drawn(array: Array, words: list[str], medimg: Run) -> None:
    save("a.nii", array)
    done = medimg("slice", *words, "a.nii", "out.png")
    assert done.code == 0, done.err


# -- sets


def test_every_so_manieth_slice(medimg: Run) -> None:
    canonical = save("a.nii.gz", noise())
    done = medimg("slice", "--axis", "R", "--every", "4", *WINDOW, "a.nii.gz", "out.png")
    assert done.code == 0 and done.err == "medimg: out.png: 3 pictures, out_000.png (L 4 mm) to out_002.png (R 4 mm)\n"
    assert sorted(os.listdir()) == ["a.nii.gz", "out_000.png", "out_001.png", "out_002.png"]
    for n in range(3):
        assert np.abs(pixels(f"out_00{n}.png") - grey(canonical[10 - 4 * n])).max() <= 1
    done = medimg("slice", "--axis", "L", "--every", "6", *WINDOW, "a.nii.gz", "s{}.png")
    assert done.code == 0 and np.abs(pixels("s001.png") - grey(canonical[6])).max() <= 1


def test_sets_with_a_folder_each(medimg: Run) -> None:
    save("a.nii", noise(dtype="uint8", high=200))
    assert medimg("slice", "--axis", "S", "--every", "5", "a.nii", "s{}/out.png").code == 0
    assert medimg("slice", "--axis", "S", "--every", "5", "--raw", "a.nii", "r{}/out.png").code == 0
    assert sorted(map(str, Path().glob("*/*.png"))) == [f"{name}00{n}/out.png" for name in "rs" for n in (0, 1)]


def test_sets_and_what_is_there_already(medimg: Run) -> None:
    save("a.nii", noise())
    words = ["slice", "--axis", "S", "--every", "4", "a.nii", "out.png"]
    Path("out_001.png").write_bytes(b"precious")
    done = medimg(*words)
    assert done.code == 2 and done.err == "medimg: out_001.png: already exists; use --force to replace it\n"
    assert sorted(os.listdir()) == ["a.nii", "out_001.png"]
    assert medimg(*words, "--force").code == 0 and pixels("out_001.png").shape == (7, 11)
    done = medimg(*words, "--skip-existing", "--verbose")
    assert done.code == 0 and "left out: exists" in done.err


def test_sets_of_many_inputs(medimg: Run) -> None:
    for name in "ab":
        save(f"{name}.nii", noise())
    words = ["--axis", "S", "--every", "5", "--output-dir", "out", "--suffix", ".jpg"]
    assert medimg("slice", *words, "a.nii", "b.nii").code == 0
    assert sorted(os.listdir("out")) == ["a_000.jpg", "a_001.jpg", "b_000.jpg", "b_001.jpg"]


# -- stored values


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_raw_pictures_hold_the_stored_values(dtype: str, suffix: str, medimg: Run) -> None:
    array = noise(dtype=dtype, high=60000 if dtype == "uint16" else 250)
    save("a.nii", array, np.diag([1.0, 1.0, 4.0, 1]))
    assert medimg("slice", "--raw", "--axis", "S", "--at", "3", "a.nii", f"out{suffix}").code == 0
    found = pixels(f"out{suffix}")
    assert found.dtype == dtype and np.array_equal(found, array[:, :, 3].T)
    assert medimg("slice", "--raw", "--axis", "A", "--at", "3", "a.nii", f"b{suffix}").code == 0
    assert np.array_equal(pixels(f"b{suffix}"), array[:, 3].T)  # one pixel a voxel, 1 x 4 mm


def test_raw_values_of_a_window(medimg: Run) -> None:
    array = noise(dtype="float32") - 400
    array[3, 3, 3] = np.nan
    save("a.nii", array, np.eye(4))
    done = medimg("slice", "--raw", "--window", "0:80", "--axis", "S", "--at", "3", "a.nii", "out.png")
    assert done.code == 0 and "values from 0 to 80 are spread over 0 to 65535" in done.err
    found = pixels()
    expected = np.rint(np.nan_to_num(np.clip(array[:, :, 3].T.astype(float) / 80, 0, 1)) * 65535)
    assert found.dtype == np.uint16 and np.array_equal(found, expected)
    assert medimg("slice", "--raw", "--window", "brain", "--index", "[..., 3]", "a.nii", "b.png").code == 0
    assert np.array_equal(pixels("b.png"), found)


def test_raw_sets(medimg: Run) -> None:
    array = noise(dtype="uint16")
    save("a.nii.gz", array, np.eye(4))
    done = medimg("slice", "--raw", "--axis", "S", "--every", "5", "a.nii.gz", "out.png")
    assert "3 pictures, out_000.png (S 0 mm) to out_002.png (S 10 mm)" in done.err
    for n in range(3):
        assert np.array_equal(pixels(f"out_00{n}.png"), array[:, :, 5 * n].T)


def test_raw_channels(medimg: Run) -> None:
    array = noise((*SHAPE, 3), "uint16")
    save("a.nii", array, np.eye(4))
    done = medimg("slice", "--raw", "--axis", "S", "--at", "2", "--channel", "1", "a.nii", "out.png")
    assert done.code == 0 and "channel" not in done.err
    assert np.array_equal(pixels(), array[:, :, 2, 1].T)
    assert medimg("slice", "--raw", "--index", "[2, :, :, 2]", "a.nii", "b.png").code == 0
    assert np.array_equal(pixels("b.png"), array[:, :, 2, 2].T)


# -- what is not a picture, and what makes no sense


def test_other_outputs_are_as_before(medimg: Run) -> None:
    array = noise()
    save("a.nii", array)
    done = medimg("slice", "--axis", "I", "--at", "2", "a.nii", "out.nii")
    assert done.code == 0 and done.err == ""
    assert np.array_equal(nib.load("out.nii").get_fdata(), array[:, 2:3])


def test_a_picture_in_a_pipe() -> None:
    canonical = save("a.nii", noise())
    words = ["slice", "--axis", "S", *WINDOW, "--suffix", ".png", "-", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "medimg_cli", *words],
        input=Path("a.nii").read_bytes(), capture_output=True, env=environment(), timeout=60, check=True,
    )  # fmt: skip
    with Pillow.open(io.BytesIO(done.stdout)) as picture:
        assert np.abs(np.asarray(picture) - grey(canonical[:, :, 4])).max() <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--axis S --window brain a.nii out.nii", "out.nii: --window: the output is no picture; name a picture"),
        ("--axis S --plain --size 90 a.nii out.mha", "--plain, --size: the output is no picture"),
        ("--axis S --every 2 a.nii out.nii", "or see: medimg split"),
        ("--axis S --every 2 --suffix .png a.nii -", "standard output is one stream, a set is several files"),
        ("--axis S --strict a.nii out.png", "add --raw to keep them"),
        ("--index [0,2:5] a.nii out.png", "leaves 3 x 9 x 11 voxels, a picture shows one slice"),
        ("--index [0,2:5] --raw a.nii out.png", "leaves 3 x 9 x 11 voxels, a picture shows one slice"),
        ("--index [0,2] --planes straight a.nii out.png", "--planes straight: an index counts the voxels"),
        ("--index [0,2] --at 3 a.nii out.png", "--at 3: that is a place on --axis"),
        ("--index [0,2] --every 3 a.nii out.png", "--every 3: that counts slices along --axis"),
        ("--axis S --at 3 --every 3 a.nii out.png", "--every 3: that counts slices along --axis"),
        ("--axis S --every 0 a.nii out.png", "--every 0"),
        ("--axis S --index [0] a.nii out.png", "give one of --index and --axis"),
        ("--axis S --scale 2 --size 90 a.nii out.png", "--scale and --size exclude each other"),
        ("--axis S --scale 0 a.nii out.png", "--scale 0"),
        ("--axis S --scale 1e6 a.nii out.png", "pictures have at most 8192; give --size"),
        ("--axis S --size 9000 a.nii out.png", "size is 9000; expected 16 to 8192 pixels"),
        ("--axis S --at 99 a.nii out.png", "along S it has voxels 0 to 8"),
        ("--axis X a.nii out.png", "'X' is none of R, L, A, P, S, I"),
        ("--axis S --channel 2 a.nii out.png", "channel 2: the image has 1"),
        ("--axis S --channel 2 --raw a.nii out.png", "channel 2: the image has 1"),
        ("--axis S --raw a.nii out.png", "leave out --raw to draw it, write .tif, or spread a window over 16 bits"),
        ("--axis S --raw a.nii out.bmp", "leave out --raw to draw it, write .tif"),
        ("--axis S --raw a.nii out.webp", "--raw: .webp holds no stored values; use .png, .tif"),
        ("--axis S --raw --colormap magma a.nii out.png", "--colormap: --raw draws nothing; leave out --raw"),
        ("--axis S --raw --scale 2 a.nii out.png", "--scale: --raw draws nothing"),
        ("--axis S --raw --window brain a.nii out.tif", "--raw --window is for PNG with 16 bits"),
        ("--axis S gone.nii out.png", "gone.nii: no such file"),
        ("--axis S broken.nii out.png", "broken.nii: "),
        ("--axis S a.nii there.png", "there.png: exists; use --force"),
        ("--axis S a.nii nowhere/out.png", "its folder does not exist"),
    ],
)
def test_mistakes_are_one_line(words: str, said: str, medimg: Run) -> None:
    save("a.nii", noise())
    Path("broken.nii").write_bytes(Path("a.nii").read_bytes()[:-500])
    Path("there.png").write_bytes(b"precious")
    before = contents(Path())
    done = medimg("slice", *words.split())
    assert done.code == 2 and done.out == "" and len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("medimg: ") and said in done.err and "bug" not in done.err
    assert contents(Path()) == before


def test_a_set_is_there_when_its_first_picture_is(medimg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tells --skip-existing and --if-newer that nothing is to be done is written last."""
    from medimg_cli.picturing import stills

    save("a.nii", np.random.default_rng(4).integers(0, 900, SHAPE).astype("int16"))
    written: list[str] = []
    real = stills._write

    def counted(task: Any, *words: Any, **options: Any) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(task.output)
        real(task, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stills, "_write", counted)
        assert medimg("slice", "--axis", "S", "--every", "3", *GREY, "a.nii", "x.png").code == 130
    assert not os.path.exists("x_000.png") and len(written) == 2
    done = medimg("slice", "--axis", "S", "--every", "3", "--skip-existing", "--force", *GREY, "a.nii", "x.png")
    assert done.code == 2  # these two exclude each other
    assert medimg("slice", "--axis", "S", "--every", "3", "--if-newer", *GREY, "a.nii", "x.png").code == 0
    assert os.path.exists("x_000.png")


def test_pictures_of_an_earlier_set_are_told(medimg: Run) -> None:
    save("a.nii", np.random.default_rng(4).integers(0, 900, SHAPE).astype("int16"))
    first = medimg("slice", "--axis", "S", "--every", "2", *GREY, "a.nii", "x.png")
    assert first.code == 0 and "stay" not in first.err
    again = medimg("slice", "--force", "--axis", "S", "--every", "9", *GREY, "a.nii", "x.png")
    left = len(range(0, SHAPE[1], 2)) - len(range(0, SHAPE[1], 9))  # of the axis that runs to the feet
    assert f"{left} older files with numbers stay beside them, x_" in again.err


def test_small_pictures_say_what_they_have_no_room_for(medimg: Run) -> None:
    save("a.nii", np.random.default_rng(4).integers(0, 900, SHAPE).astype("int16"))
    told = medimg("slice", "--axis", "S", *GREY, "a.nii", "x.png")
    assert told.code == 0 and "no room for letters" in told.err
    for more in (["--size", "256"], ["--plain"]):
        assert "no room" not in medimg("slice", "--force", "--axis", "S", *more, *GREY, "a.nii", "x.png").err


def test_raw_pictures_say_how_they_lie(medimg: Run) -> None:
    save("a.nii", np.random.default_rng(4).integers(0, 200, SHAPE).astype("uint8"))
    told = medimg("slice", "--axis", "S", "--raw", "a.nii", "x.png")
    assert told.code == 0 and "columns run to P, rows to R, as they are stored" in told.err

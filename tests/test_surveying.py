"""Many images at a glance: the walk, the facts, the values and the views, and which images are unlike the others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.batch import Task
from medimg_cli.errors import UsageError
from medimg_cli.facts import find_images, inspect_images
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.media.facets import FACETS, oddities, twins
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.picturing.surveying import Surveying, find, look_at, names_below, report, survey, tasks_of
from tests.helpers import AFFINES, KINDS, make, one_line, read

SHAPE = (9, 14, 11)
TABLE = LabelTable([(3, "liver", (10, 200, 30)), (7, "spleen", (250, 20, 90))])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, array: np.ndarray[Any, Any], **fields: Any) -> str:
    """Write an image, (I, J, K) or (C, I, J, K)."""
    array = array if array.ndim == 4 else array[None]
    fields = {"affine": AFFINES["left-handed"], **fields}
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_backend(ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields)), name)
    return name


def noise(seed: int = 0, dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-500, 3000, shape).astype(dtype)


def seen(path: str, **look: Any) -> dict[str, Any]:
    """Return the record of an image."""
    return dict(look_at(Task(path, "-"), Surveying(look=Look(**look)), threads=1).record)


def pixels(view: dict[str, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(Pillow.open(io.BytesIO(view["data"])).convert("RGB"))


# the walk


def test_folders_are_searched_as_info_does() -> None:
    for name in ("b/two.nii.gz", "a/one.nrrd", "a/deep/three.mha", ".hidden/four.nii"):
        save(name, noise())
    Path("a/notes.txt").write_text("no image")
    images, failures = find(["."])
    assert images == list(find_images(["."], recursive=True)) and not failures
    assert [Path(image).name for image in images] == ["one.nrrd", "three.mha", "two.nii.gz"]


def test_an_image_that_is_named_twice_is_one() -> None:
    save("a/one.nii", noise())
    assert find(["a", "a/one.nii", "a"])[0] == ["a/one.nii"]


def test_a_folder_without_images_fails_beside_others_and_alone_is_an_error() -> None:
    Path("empty").mkdir()
    save("full/one.nii", noise())
    images, failures = find(["empty", "full"])
    assert images == ["full/one.nii"]
    assert [(each.record["path"], each.record["error"][:9]) for each in failures] == [("empty", "no images")]
    with pytest.raises(UsageError, match="no images in this folder"):
        find(["empty"])
    with pytest.raises(UsageError, match="standard input"):
        find(["-"])


@pytest.mark.parametrize(
    ("paths", "images", "root", "names"),
    [
        (["/d/study"], ["/d/study/a/x.nii", "/d/study/y.nii"], "/d/study", ["a/x.nii", "y.nii"]),
        (["/d/study/"], ["/d/study/a/x.nii"], "/d/study", ["a/x.nii"]),
        (["/d/study/a", "/d/study/b"], ["/d/study/a/x.nii", "/d/study/b/y.nii"], "/d/study", ["a/x.nii", "b/y.nii"]),
        (["/d/a/x.nii"], ["/d/a/x.nii"], "/d/a", ["x.nii"]),
        (["/d/a/x.nii", "/d/b"], ["/d/a/x.nii", "/d/b/y.nii"], "/d", ["a/x.nii", "b/y.nii"]),
        (["/d/series"], ["/d/series"], "/d", ["series"]),
        (["https://me:secret@h/x.nii?token=1"], ["https://me:secret@h/x.nii?token=1"], "", ["https://h/x.nii"]),
        (["/d/a", "https://h/x.nii"], ["/d/a/y.nii", "https://h/x.nii"], "/d/a", ["y.nii", "https://h/x.nii"]),
    ],
)
def test_names_lie_below_the_common_folder(paths: list[str], images: list[str], root: str, names: list[str]) -> None:
    found, below = names_below(paths, images)
    assert (found, [below[image] for image in images]) == (root, names)


# facts and values


@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_are_those_of_info(kind: str) -> None:
    save_backend(make(kind), "in.nii.gz" if "bool" not in kind else "in.nrrd")
    (inspection,) = inspect_images(["in.nii.gz"])
    record = seen("in.nii.gz")
    assert "error" not in record, record
    assert {key: record[key] for key in inspection.facts} == inspection.facts
    assert record["findings"] == []


@pytest.mark.parametrize("kind", ["scaled", "channels", "time", "rgb"])
def test_values_are_those_of_all_channels(kind: str) -> None:
    image = make(kind)
    if kind == "channels":
        image = ArrayBackend(np.random.default_rng(2).normal(1e5, 3, image.array.shape), image.header)
    save_backend(image, "in.nrrd")
    values = read(open_backend("in.nrrd")).astype("float64")
    found = seen("in.nrrd")["values"]
    assert (found["min"], found["max"]) == (values.min(), values.max())
    np.testing.assert_allclose([found["mean"], found["std"]], [values.mean(), values.std()], rtol=1e-9)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    array = noise(dtype="float32")
    array[0, 0, :3], array[1, 1, :2], array[2, 2, 2] = np.nan, np.inf, -np.inf
    found = seen(save("in.nii", array))["values"]
    finite = array[np.isfinite(array)].astype("float64")
    assert (found["nan"], found["infinite"], found["min"], found["max"]) == (3, 3, finite.min(), finite.max())
    np.testing.assert_allclose(found["mean"], finite.mean(), rtol=1e-9)
    nothing = seen(save("nothing.nii", np.full(SHAPE, np.nan, "float32")), kind="intensities")
    assert nothing["values"]["min"] is None and nothing["values"]["nan"] == np.prod(SHAPE) and "error" not in nothing


def test_complex_numbers_have_no_range() -> None:
    record = seen(save("in.nii", noise(1) + 1j * noise(2)))
    assert record["values"] is None and len(record["views"]) == 3 and "error" not in record


def test_labels_have_names_colours_and_counts() -> None:
    array = np.zeros(SHAPE, "uint8")
    array[1:4, 2:5, 3], array[6, 7, 8:10] = 3, 9
    record = seen(save("in.nii.gz", array, labels=TABLE))
    assert record["kind"] == "labels"
    first, second = record["labels"]
    assert first == {"value": 3, "name": "liver", "color": "#0ac81e", "voxels": 9}
    assert (second["value"], second["name"], second["voxels"]) == (9, "", 2)
    guess = "taken for a label map"
    assert not any(remark.startswith(guess) for remark in record["remarks"]), "the table says that they are labels"
    assert any(remark.startswith(guess) for remark in seen(save("bare.nii.gz", array))["remarks"])
    assert "labels" not in seen("bare.nii.gz", kind="intensities")


# views


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.4, 2.2, 1.3), (3, 0.9, 0.9)])
def test_views_have_true_proportions_and_one_scale(spacing: tuple[float, float, float]) -> None:
    affine = AffineMatrix.from_spacing(spacing, origin=(4, 5, 6))
    views = {view["name"]: view for view in seen(save("in.nii", noise(), affine=affine))["views"]}
    assert list(views) == ["sagittal", "coronal", "axial"]
    x, y, z = (n * step for n, step in zip(SHAPE, spacing, strict=True))
    scale = 192 / max(x, y, z)
    for name, (width, height) in {"sagittal": (y, z), "coronal": (x, z), "axial": (x, y)}.items():
        view = views[name]
        assert (view["width"], view["height"]) == pytest.approx((width * scale, height * scale), abs=0.51)
        assert pixels(view).shape == (view["height"], view["width"], 3)
        assert view["type"] == "image/webp"
    assert [views[name]["letters"] for name in views] == ["APSI", "RLSI", "RLAP"]


def test_views_are_what_frames_draw() -> None:
    path = save("in.nii", noise())
    views = seen(path)["views"]
    scene = Scene(open_backend(path), Look(plain=True))
    shown = scene.views(side=192)
    for view, picture in zip(views, shown, strict=True):
        expected = np.asarray(picture.convert("RGB")).astype(int)
        assert np.abs(pixels(view).astype(int) - expected).mean() < 6, "as far as it is compressed"


def test_labels_keep_their_colours_and_the_views_go_where_the_labels_are() -> None:
    array = np.zeros((20, 24, 28), "uint8")
    array[2:5, 20:23, 3:6] = 3
    array[3, 21, 20] = 7
    record = seen(save("in.nii.gz", array, labels=TABLE, affine=AffineMatrix.from_spacing((1, 1.5, 2))))
    for view in record["views"]:
        colours = {tuple(pixel) for pixel in pixels(view).reshape(-1, 3).tolist()}
        assert (10, 200, 30) in colours, view["name"]
        assert colours <= {(0, 0, 0), (10, 200, 30), (250, 20, 90)}, view["name"]


def test_an_empty_label_map_has_views_and_no_labels() -> None:
    record = seen(save("in.nii.gz", np.zeros(SHAPE, "uint8")))
    assert record["kind"] == "labels" and record["labels"] == [] and len(record["views"]) == 3


def test_a_flat_image_has_the_one_view_that_shows_it() -> None:
    assert [view["name"] for view in seen(save("axial.nii", noise(shape=(12, 9, 1))))["views"]] == ["axial"]
    sagittal = AffineMatrix.from_spacing((5, 1, 1))
    (view,) = seen(save("sagittal.nii", noise(shape=(1, 12, 9)), affine=sagittal))["views"]
    assert (view["name"], view["width"], view["height"]) == ("sagittal", 192, 144)
    assert len(seen(save("line.nii", noise(shape=(12, 1, 1))))["views"]) == 3, "where none shows more, all do"


def test_nobody_knows_the_letters_of_a_photograph() -> None:
    Pillow.fromarray(noise(shape=(10, 20)).astype("uint8")).save("photo.png")
    record = seen("photo.png", kind="intensities")
    assert record["orientation_known"] is False
    assert [(view["letters"], view["width"], view["height"]) for view in record["views"]] == [("", 192, 96)]


def test_large_images_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    path = save("in.nii.gz", noise())
    whole = seen(path)
    monkeypatch.setattr("medimg_cli.picturing.surveying._MEMORY", 100)
    assert seen(path) == whole


# what fails


def test_what_was_found_before_it_failed_is_kept() -> None:
    path = save("in.nii.gz", noise())
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    found = look_at(Task(path, "-"), Surveying(), threads=1)
    (failure,) = found.failures
    message = failure.error or ""
    assert (failure.status, failure.task.input) == ("failed", path)
    assert "in.nii.gz" in message and len(message.splitlines()) == 1
    assert found.record["error"] in message and "in.nii.gz" not in found.record["error"]
    assert found.record["spatial_shape"] == list(SHAPE) and "views" not in found.record
    assert "Traceback" in failure.trace


def test_a_channel_that_is_not_there_costs_the_views_alone() -> None:
    record = seen(save("in.nii", noise()), channel=3)
    assert "channel 3" in record["error"] and record["dtype"] == "int16"


def test_several_at_a_time_give_the_same() -> None:
    for number in range(5):
        save(f"set/{number}.nii.gz", noise(number))
    Path("set/3.nii.gz").write_bytes(b"nothing")
    images, _ = find(["set"])
    one, two = (
        {each.record["path"]: each for each in survey(tasks_of(images), Surveying(jobs=jobs))} for jobs in (1, 2)
    )
    assert list(one) == images and {path: two[path].record for path in images} == {
        path: found.record for path, found in one.items()
    }
    for found in (one, two):
        assert [[failure.error for failure in found[path].failures] for path in images] == [
            *([], [], []),
            [f"set/3.nii.gz: {one['set/3.nii.gz'].record['error']}"],
            [],
        ]


def test_the_page_is_a_task_that_tells_how_far_it_is_and_what_failed() -> None:
    for number in range(3):
        save(f"set/{number}.nii.gz", noise(number))
    Path("set/1.nii.gz").write_bytes(b"nothing")
    Path("empty").mkdir()
    steps: list[tuple[int, int]] = []
    task = Task("empty", "out.html", others=("set",))
    said = report(task, Surveying(), threads=1, advance=lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [failure.task.input for failure in said.failures] == ["empty", "set/1.nii.gz"]
    size = len(Path("out.html").read_bytes())
    assert said.remarks == (f"4 images, 2 failed, {size / 1000:.3g} kB",)
    alone = report(Task("set/0.nii.gz", "one.html"), Surveying(), threads=1)
    assert alone.remarks[0].startswith("1 image, ") and not alone.failures


def test_an_image_that_takes_its_process_along_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def starve(task: Task, wanted: Surveying, *, threads: int) -> None:
        raise MemoryError

    monkeypatch.setattr("medimg_cli.picturing.surveying.look_at", starve)
    (found,) = survey(tasks_of(["set/a.nii"]), Surveying())
    (failure,) = found.failures
    message = failure.error or ""
    assert message.startswith("set/a.nii: not enough memory") and "Traceback" in failure.trace
    assert found.record == {"path": "set/a.nii", "error": message.removeprefix("set/a.nii: ")}


# which are unlike the others


def test_odd_images_are_named_with_what_most_have() -> None:
    records = [seen(save(f"{n}.nii", noise(n))) for n in range(6)]
    records += [
        seen(save("shape.nii", noise(7, shape=(9, 14, 12)))),
        seen(save("type.nii", noise(8, "float32"))),
        seen(save("axes.nii", noise(9), affine=AFFINES["straight"])),
        seen(save("labels.nii", np.zeros(SHAPE, "uint8"))),
    ]
    found = oddities(records)
    assert found[:6] == [{}] * 6
    assert found[6] == {"shape": "8 of 9 images have 9 \u00d7 14 \u00d7 11"}
    assert found[7] == {"dtype": "8 of 9 images have int16"}
    assert list(found[8]) == ["orientation"]
    assert found[9] == {}, "one label map has nobody to be compared with"


def test_where_images_do_not_agree_none_is_odd() -> None:
    records = [{"kind": "labels", "orientation": word} for word in ("RAS", "LPS", "RAS", "LPS", "RAS")]
    assert oddities(records) == [{}] * 5
    assert oddities(records[:1] + records[2:3]) == [{}] * 2
    assert oddities([]) == []


def test_a_time_series_is_not_the_shape_of_a_volume() -> None:
    text = next(facet for facet in FACETS if facet.key == "shape").text
    save_backend(make("time"), "in.nii")
    assert text(seen("in.nii")) == "5 \u00d7 4 \u00d7 3, 4 time steps"


def test_images_with_the_same_voxels_are_found_in_whatever_file() -> None:
    array = noise(1, "float32") + 0.25
    turned = np.ascontiguousarray(array.transpose(2, 0, 1)[::-1])
    names = [
        save("a.nii.gz", array),
        save("b.nrrd", turned, affine=AFFINES["permuted"]),
        save("c.nii", noise(2)),
        save("zero.nii", np.zeros(SHAPE, "int16")),
        save("zeros.nii", np.zeros(SHAPE, "int16")),
    ]
    assert twins([seen(name) for name in names]) == [[1], [0], [], [], []]


def test_label_maps_that_count_the_same_are_not_the_same() -> None:
    one, other = np.zeros((2, *SHAPE), "uint8")
    one[2:4, 3:6, 2:5], other[5:7, 8:11, 6:9] = 1, 1
    names = [save("one.nii", one), save("other.nii", other), save("copy.nii.gz", one)]
    assert twins([seen(name) for name in names]) == [[2], [], [0]]


def test_messages_are_one_line() -> None:
    Path("in.nii").write_text("no image")
    with pytest.raises(Exception) as error:
        open_backend("in.nii")
    assert one_line(error.value)
    assert seen("in.nii")["error"]

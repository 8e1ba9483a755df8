"""Frames: proportions in mm, the same anatomy the same picture, left where radiologists expect it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid
from medimg_cli.header import Header
from medimg_cli.image import ScalarImage
from medimg_cli.labels import Label, LabelTable
from medimg_cli.media.film import Film
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.media.plots import Plot, Point, _views
from medimg_cli.media.scenes import open_scene
from tests.helpers import affine


def head(dtype: str = "int16", **fields: Any) -> ArrayBackend:
    """Return a volume in RAS with one bright side each: right 10, front 20 and top 40 more than their opposites."""
    array = np.zeros((1, 8, 10, 6))
    array[:, 4:] += 10  # i runs to R
    array[:, :, 5:] += 20
    array[:, :, :, 3:] += 40
    affine = AffineMatrix.from_spacing((2.0, 1.0, 3.0), origin=(-7, -4.5, -7.5))
    return ArrayBackend(array.astype(dtype), Header(shape=array.shape, dtype=dtype, affine=affine, **fields))


LOOK = Look(window="0:70", plain=True)
NAMES = ("sagittal", "coronal", "axial")


def test_proportions_are_those_of_the_world() -> None:
    scene = Scene(head())  # 16 x 10 x 18 mm
    planes = scene.planes
    assert scene.picture(planes["axial"], 0).size == (16, 10)
    assert scene.picture(planes["coronal"], 0).size == (8, 9)
    assert scene.picture(planes["sagittal"], 0).size == (10, 18)
    assert [each.size for each in scene.views(side=180)] == [(100, 180), (160, 180), (160, 100)]


def test_the_largest_pictures_keep_their_proportions() -> None:
    scene = Scene(head(), LOOK)  # 16 x 10 mm
    assert scene.picture(scene.planes["axial"], 0, scale=1e6).size == (8192, 5120)


def test_sweeps_go_towards_their_letter() -> None:
    scene = Scene(head(), LOOK)
    for letter, rises in {"R": True, "L": False, "A": True, "P": False, "S": True, "I": False}.items():
        plane, places = scene.sweep(letter)
        frames = list(scene.pictures(plane, places))
        means = [np.asarray(frame, float).mean() for frame in frames]
        assert (means[-1] > means[0]) == rises, letter
        back = [frame.tobytes() for frame in scene.pictures(plane, places[::-1])]
        assert back == [frame.tobytes() for frame in frames][::-1]
        assert back == [scene.picture(plane, place).tobytes() for place in places[::-1]]
    assert len(scene.sweep("A")[1]) == 10
    for bad in ("X", "", None):
        with pytest.raises(UsageError, match="direction"):
            scene.sweep(bad)  # type: ignore[arg-type]


def test_colours_are_shown_as_they_are() -> None:
    array = np.zeros((3, 4, 5, 3), "uint8")
    array[0, 2:] = 200
    header = Header(shape=array.shape, dtype="uint8", affine=AffineMatrix(), axes=(("rgb", 3),))
    scene = Scene(ArrayBackend(array, header))
    picture = scene.picture(scene.planes["axial"], 0)
    assert picture.mode == "RGB"
    assert picture.getpixel((0, 0)) == (200, 0, 0) and picture.getpixel((3, 0)) == (0, 0, 0)


def test_labels_have_their_colours() -> None:
    table = LabelTable([Label(10, "a", (1, 2, 3, 255))])
    scene = Scene(head("uint8", labels=table), labels=True)
    picture = scene.picture(scene.planes["axial"], 5)
    shown = {colour for _, colour in picture.getcolors()}
    assert (1, 2, 3) in shown and (0, 0, 0) in shown and len(shown) == 4  # 0, 10, 20, 30: nothing in between


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "complex64", "int64"])
def test_any_type_is_shown(dtype: str) -> None:
    scene = Scene(head(dtype))
    picture = scene.picture(scene.planes["axial"], 0)
    assert picture.mode == "L" and picture.size == (16, 10)


def test_what_is_nowhere_finite_is_black() -> None:
    array = head("float32").array
    array[:] = np.nan
    scene = Scene(ArrayBackend(array, head("float32").header))
    assert np.asarray(scene.picture(scene.planes["axial"], 0)).max() == 0


def test_only_the_slice_that_is_shown_is_read() -> None:
    class Counting(ArrayBackend):
        asked = 0

        def read(self, region: Any, *, raw: bool = False) -> Any:
            Counting.asked += int(np.prod([len(span) for span in region]))
            return super().read(region, raw=raw)

        viewed = None  # type: ignore[assignment]

    scene = Scene(Counting(head().array, head().header), LOOK)
    scene.picture(scene.planes["axial"], 0)
    assert Counting.asked == 80


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="channel 1"):
        Scene(head(), Look(channel=1))
    scene = Scene(head())
    with pytest.raises(GeometryError, match="slice 6"):
        scene.picture(scene.planes["axial"], 6)


def test_voxels_without_extent_are_refused() -> None:
    source = head()
    flat = ArrayBackend(
        source.array, source.header.replace(affine=AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]))
    )
    with pytest.raises(GeometryError, match="proportions are unknown"):
        Scene(flat)


def test_oblique_volumes_use_the_nearest_axes() -> None:
    tilted = AffineMatrix([[1.9, 0.3, 0, 0], [-0.3, 0.95, 0.2, 0], [0.1, -0.1, 2.9, 0]])
    source = head()
    scene = Scene(ArrayBackend(source.array, source.header.replace(affine=tilted)), Look(planes="stored"))
    assert scene.shape == Grid((8, 10, 6), tilted).reoriented("LPI").shape


def test_one_volume_seen_otherwise_is_the_same_as_another_scene() -> None:
    array = np.concatenate([head().array, 90 - 3 * head().array])
    source = ArrayBackend(array, head().header.replace(shape=array.shape, axes=(("channel", 2),)))
    labels = ArrayBackend((head().array > 40).astype("uint8"), head("uint8").header)
    scene = Scene(source, Look(colormap="magma"), overlay=labels)
    for seen, look, over in (
        (scene.under(), Look(colormap="magma"), labels),
        (scene.under(overlay=False), Look(colormap="magma"), None),
        (scene.under(colormap="gray", overlay=False), Look(), None),
        (scene.under(colormap="viridis"), Look(colormap="viridis"), labels),
        (scene.under(limits=(-5, 99)), Look(colormap="magma", window="-5:99"), labels),
        (scene.under(limits=(-5, 99)).under(channel=1), Look(colormap="magma", window="-5:99", channel=1), labels),
        (scene.under(channel=-1), Look(colormap="magma", channel=1), labels),
    ):
        other = Scene(source, look, overlay=over)
        assert seen.limits() == other.limits() and seen.channel == other.channel and seen.remarks() == other.remarks()
        for name, plane in other.planes.items():
            assert seen.picture(plane, 3).tobytes() == other.picture(plane, 3).tobytes(), name
        assert seen.overlay in (None, scene.overlay)  # nothing is opened again
    with pytest.raises(UsageError, match="channel 2"):
        scene.under(channel=2)
    with pytest.raises(UsageError, match="magmb"):
        scene.under(colormap="magmb")


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((4, 5, 3), "sagittal coronal axial"),
        ((1, 5, 3), "sagittal"),
        ((4, 5, 1), "axial"),
        ((4, 1, 1), "sagittal coronal axial"),
        ((1, 1, 1), "sagittal coronal axial"),
    ],
    ids=str,
)
def test_views_that_are_worth_seeing(shape: tuple[int, ...], names: str) -> None:
    header = Header(shape=(1, *shape), dtype="int16", affine=AffineMatrix.from_spacing((2.0, 1.0, 3.0)))
    scene = Scene(ArrayBackend(np.zeros(header.shape, "int16"), header), LOOK)
    assert " ".join(plane.name for plane in scene.worth_seeing) == names
    assert scene.extent(scene.planes["coronal"]) == (shape[0] * 2, shape[2] * 3)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ((("time", 15),), "time step 3 (0 to 14)"),
        ((("time", 5), ("channel", 3)), "channel 3 (0 to 14)"),
        ((("channel", 15),), "channel 3 (0 to 14)"),
        ((("time", 5), ("rgb", 3)), "time step 3 (0 to 4)"),
    ],
    ids=str,
)
def test_steps_have_a_name(axes: tuple[tuple[str, int], ...], words: str) -> None:
    header = Header(shape=(15, 4, 5, 3), dtype="uint8", affine=AffineMatrix(), axes=axes)
    scene = Scene(ArrayBackend(np.zeros(header.shape, "uint8"), header), Look(channel=3))
    assert scene.channel_shown == words and words.startswith(scene.step_name)


def test_places_on_tilted_slices_are_those_of_a_point() -> None:
    tilted = affine((18, -9, 21), (1.0, 1.0, 1.0))
    source = head()
    scene = Scene(ArrayBackend(source.array, source.header.replace(affine=tilted)), Look(planes="stored"))
    voxel = (1, 8, 5)
    for plane, letters, at in zip(scene.planes.values(), ("RL", "AP", "SI"), scene.grid.world(voxel), strict=True):
        words = f"{letters[at < 0]} {abs(round(float(at), 1)):g} mm"
        assert scene.place_of(plane, voxel[plane.across], through=voxel) == words
        assert scene.place_of(plane, voxel[plane.across]) != words


def test_captions_of_a_plot_tell_the_point_that_was_asked_for() -> None:
    tilted = affine((18, -9, 21), (1.0, 1.0, 1.0))
    source = head()
    backend = ArrayBackend(source.array, source.header.replace(affine=tilted))
    place = tuple(round(float(n), 1) for n in backend.header.grid.world((2, 9, 0)))
    opened = open_scene(backend, Look(planes="stored", kind="intensities"))
    names = [f"{name} {letters[at < 0]} " for name, letters, at in zip(NAMES, ("RL", "AP", "SI"), place, strict=True)]
    for point, same in ((Point(place, "mm"), True), (Point((2, 9, 0)), True), (None, False)):
        ((tiles,), _, _) = _views(opened, Plot(point=point))
        captions = [f"{name}{abs(at):g} mm" for name, at in zip(names, place, strict=True)]
        assert ([tile.caption for tile in tiles] == captions) == same


@pytest.mark.parametrize("make", [lambda size: Film(size=size), lambda size: Plot(size=size)], ids=["film", "plot"])
def test_sizes_are_refused_in_one_sentence(make: Any) -> None:
    for size in (15, 8193, 99.5):
        with pytest.raises(UsageError, match=f"^size is {size}; expected 16 to 8192 pixels"):
            make(size)
    assert make(16).size == 16 and make(8192).size == 8192


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda image: image.to_gif("a.gif", at="40%"), "at is '40%'"),
        (lambda image: image.to_gif("a.gif", time=True), "leave out time"),
        (lambda image: image.plot(mosaic=(2, 2), indices=(1, 1, 1)), "a mosaic passes through no point"),
        (lambda image: image.plot(axis="S"), "axis is 'S'"),
        (lambda image: image.plot(size=9), "size is 9"),
    ],
    ids=["at", "time", "point", "axis", "size"],
)
def test_images_do_not_speak_of_options(call: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as found:
        call(ScalarImage(np.zeros((1, 4, 5, 3), "int16")))
    assert said in str(found.value) and "--" not in str(found.value)

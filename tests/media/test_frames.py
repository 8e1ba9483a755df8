"""Frames: proportions in mm, the same anatomy the same picture, left where radiologists expect it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid
from medimg_cli.header import Header
from medimg_cli.labels import Label, LabelTable
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.media.window import grey, palette, window_of
from medimg_cli.operations import apply
from medimg_cli.operations.reorient import Reorient
from tests.strategies import codes


def head(dtype: str = "int16", **fields: Any) -> ArrayBackend:
    """Return a volume in RAS with one bright side each: right 10, front 20 and top 40 more than their opposites."""
    array = np.zeros((1, 8, 10, 6))
    array[:, 4:] += 10  # i runs to R
    array[:, :, 5:] += 20
    array[:, :, :, 3:] += 40
    affine = AffineMatrix.from_spacing((2.0, 1.0, 3.0), origin=(-7, -4.5, -7.5))
    return ArrayBackend(array.astype(dtype), Header(shape=array.shape, dtype=dtype, affine=affine, **fields))


def ends(picture: Any) -> tuple[float, float, float, float]:
    """Return the mean brightness of the left, right, upper and lower half."""
    pixels = np.asarray(picture, float)
    middle, centre = pixels.shape[1] // 2, pixels.shape[0] // 2
    return pixels[:, :middle].mean(), pixels[:, middle:].mean(), pixels[:centre].mean(), pixels[centre:].mean()


LOOK = Look(window="0:70", plain=True)


def test_left_and_right_are_where_radiologists_look_for_them() -> None:
    scene = Scene(head(), LOOK)
    left, right, top, bottom = ends(scene.picture(scene.planes["axial"], 1))
    assert left > right  # the patient's right, bright, is on the left
    assert top > bottom  # front is up
    left, right, top, bottom = ends(scene.picture(scene.planes["coronal"], 2))
    assert left > right and top > bottom  # head up
    left, right, top, bottom = ends(scene.picture(scene.planes["sagittal"], 2))
    assert left > right and top > bottom  # the face looks to the left


def test_neurologists_look_from_the_other_side() -> None:
    scene = Scene(head(), Look(window="0:70", plain=True, neurological=True))
    for name in ("axial", "coronal"):
        left, right, top, bottom = ends(scene.picture(scene.planes[name], 1))
        assert left < right and top > bottom
        assert scene.planes[name].letters.startswith("LR")
    assert scene.convention() == "neurological"


@settings(deadline=None, max_examples=48)
@given(letters=codes)
def test_storage_does_not_show(letters: tuple[str, str, str]) -> None:
    first, second = Scene(head()), Scene(apply(Reorient(letters), head()))
    for name, plane in first.planes.items():
        pictures = [each.picture(each.planes[name], 2, scale=10) for each in (first, second)]
        assert pictures[0].tobytes() == pictures[1].tobytes()
        assert pictures[0].tobytes() != Scene(head(), LOOK).picture(plane, 2, scale=10).tobytes()  # letters


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


def test_journeys_go_towards_their_letter() -> None:
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
    assert palette(np.array([0, 3, 3]), None)[0] == (0, 0, 0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32", "complex64", "int64"])
def test_any_type_is_shown(dtype: str) -> None:
    scene = Scene(head(dtype))
    picture = scene.picture(scene.planes["axial"], 0)
    assert picture.mode == "L" and picture.size == (16, 10)


def test_what_is_not_finite_is_black_or_white() -> None:
    array = head("float32").array
    array[:] = np.nan
    scene = Scene(ArrayBackend(array, head("float32").header))
    assert np.asarray(scene.picture(scene.planes["axial"], 0)).max() == 0
    assert window_of(np.array([5.0, 5.0])) == (5.0, 6.0)
    assert window_of(np.array([])) == (0.0, 1.0)
    mostly = np.zeros(10000)
    mostly[:3] = 8
    assert window_of(mostly) == (0.0, 8.0)
    assert grey(np.array([np.inf, -np.inf]), (0, 1)).tolist() == [255, 0]


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
    scene = Scene(ArrayBackend(source.array, source.header.replace(affine=tilted)))
    assert scene.shape == Grid((8, 10, 6), tilted).reoriented("LPI").shape

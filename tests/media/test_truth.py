"""What people see is true: proven from the world's coordinates, without the code that draws.

Files are made with NumPy and nibabel, what a picture must show is computed in `tests.media.phantoms`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from PIL import Image as Pillow
from PIL import ImageDraw

from medimg_cli.errors import GeometryError
from medimg_cli.formats import open_backend
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.media.scenes import open_scene
from tests.helpers import turned
from tests.media import phantoms
from tests.media.phantoms import ARMS, CORNER, EXTENT, LOW, ORIENTATIONS, SPACINGS, Array
from tests.media.reading import alike, check_mark, cropped, drawn, grey, letter_at

NAMES = ("sagittal", "coronal", "axial")
SIDES = pytest.mark.parametrize("neurological", [False, True], ids=["radiological", "neurological"])
GRIDS = pytest.mark.parametrize("spacing", SPACINGS, ids=lambda each: "x".join(map(str, each)))


def scene_of(path: str, **look: Any) -> Scene:
    return open_scene(open_backend(path), Look(**{"kind": "intensities", **look})).scene


# -- one head, 48 ways to store it


@cache
def anatomical() -> Any:
    """Return a part of a real head along R, A, S."""
    path = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


def heads(spacing: tuple[float, ...]) -> Iterator[tuple[str, Array, Array]]:
    """Yield volumes along R, A, S, with their affines."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(anatomical().shape) * spacing / 2 + (3, -2, 1)
    yield "real", anatomical(), affine
    yield "made", *phantoms.sampled(phantoms.head, np.multiply(spacing, 2), LOW, EXTENT)


def small_regions(folder: Path) -> str:
    """Return labels on a grid of their own, coarser than the heads and stored the other way round."""
    array, affine = phantoms.sampled(phantoms.regions, (2.2, 1.9, 3.1))
    return phantoms.save(phantoms.stored(array, affine, "PIL"), folder / "labels.nii")


def portfolio(path: str, labels: str, spacing: tuple[float, ...]) -> list[tuple[str, tuple[int, int], bytes]]:
    """Return pictures of a file in every view, convention and dress: which one, its size, and its pixels."""
    found = []
    looks: tuple[tuple[dict[str, Any], float | None], ...] = (
        ({}, 160 / max(spacing)),
        ({"colormap": "viridis", "overlay": labels, "opacity": 0.4}, 3.0),
        ({"window": "1%:99%", "overlay": labels, "outline": True, "plain": True}, None),
    )
    for neurological in (False, True):
        for number, (look, scale) in enumerate(looks):
            scene = scene_of(path, neurological=neurological, **look)
            for plane in scene.planes.values():
                for place in (scene.shape[plane.across] // 3, scene.shape[plane.across] * 3 // 5):
                    picture = scene.picture(plane, place, scale=scale and min(scale, 6.0))
                    assert picture.mode == ("L" if number == 0 else "RGB")
                    found.append((f"{plane.name} {place} {look}", picture.size, picture.tobytes()))
    return found


@GRIDS
def test_one_head_in_48_orientations_gives_the_same_pixels(spacing: tuple[float, ...], tmp_path: Path) -> None:
    labels = small_regions(tmp_path)
    for name, array, affine in heads(spacing):
        expected = None
        for letters in ORIENTATIONS:
            path = phantoms.save(phantoms.stored(array, affine, letters), tmp_path / "head.nii")
            assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == letters
            found = portfolio(path, labels, spacing)
            expected = expected or found
            for one, other in zip(found, expected, strict=True):
                assert one == other, f"{name} head stored as {letters} looks different: {one[0]}"
        assert len({pixels for _, _, pixels in expected or ()}) == len(expected or ()) == 36


@GRIDS
@SIDES
def test_those_pixels_are_the_voxels(spacing: tuple[float, ...], neurological: bool, tmp_path: Path) -> None:
    """They are what NumPy's slice becomes through one formula and Pillow's resize."""
    for _, array, affine in heads(spacing):
        path = phantoms.save(phantoms.stored(array, affine, "SLP"), tmp_path / "head.nii")
        low, high = 100, 0.8 * float(array.max())
        scene = scene_of(path, neurological=neurological, window=f"{low}:{high}", plain=True)
        mm = np.abs(np.diag(affine)[:3])
        for name in NAMES:
            view, plane = phantoms.view(name, neurological=neurological), scene.planes[name]
            for number in (0, array.shape[view.across] // 3, array.shape[view.across] - 1):
                voxels = phantoms.slice_of(array, view, number).astype(float)
                pixels = np.rint(np.clip((voxels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
                natural = 1 / min(mm[view.right], mm[view.down])
                size = tuple(round(array.shape[axis] * mm[axis] * natural) for axis in (view.right, view.down))
                expected = Pillow.fromarray(pixels)
                if expected.size != size:
                    expected = expected.resize(size, Pillow.Resampling.BILINEAR)
                found = scene.picture(plane, number)
                assert found.mode == "L" and found.size == expected.size
                assert found.tobytes() == expected.tobytes(), (name, number)


def leaning(shape: tuple[int, ...], spacing: tuple[float, ...], *angles: float, shear: float = 0.0) -> Array:
    """Return the affine of a grid turned and sheared around the middle of the box of the phantoms."""
    affine = np.eye(4)
    lean = np.eye(3)
    lean[0, 1] = shear
    affine[:3, :3] = np.array(turned(*angles)) @ lean @ np.diag(spacing)
    affine[:3, 3] = LOW + EXTENT / 2 - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return affine


@pytest.mark.parametrize("angles", [(0, 0, 0), (9, -14, 21)], ids=["straight", "turned"])
def test_conventions_are_mirror_images(angles: tuple[float, ...], tmp_path: Path) -> None:
    """Also where the window is found from the values, planes are computed, and labels lie between voxels."""
    shape, spacing = (93, 63, 57), (0.8, 1.1, 1.3)  # of which not all slices are looked at
    affine = leaning(shape, spacing, *angles)
    array = phantoms.on_grid(phantoms.head, shape, affine)
    path = phantoms.save(nibabel.Nifti1Image(array, affine), tmp_path / "head.nii")
    labels = phantoms.on_grid(phantoms.regions, shape, affine)[::2, ::2, ::2]
    halved = affine @ np.diag([2, 2, 2, 1])
    over = phantoms.save(nibabel.Nifti1Image(labels, halved), tmp_path / "labels.nii")
    for look in ({}, {"overlay": over}):
        one, other = (scene_of(path, neurological=side, plain=True, **look) for side in (False, True))
        assert one.limits() == other.limits()
        last = one.shape[0] - 1
        for name, numbers in {"axial": (30, 30), "coronal": (33, 33), "sagittal": (41, last - 41)}.items():
            scenes = ((one, numbers[0]), (other, numbers[1]))
            left, right = (np.asarray(scene.picture(scene.planes[name], number)) for scene, number in scenes)
            left = left if name == "sagittal" else left[:, ::-1]
            assert np.abs(left.astype(int) - right).max() <= 1, name


@pytest.mark.parametrize("step", [2, 3], ids=["half", "third"])
def test_storage_of_the_overlay_does_not_matter(step: int, tmp_path: Path) -> None:
    """Not even where image voxels lie exactly between two of the overlay's."""
    array, affine = phantoms.sampled(phantoms.head, (2, 2, 2))
    image = phantoms.save(nibabel.Nifti1Image(array, affine), tmp_path / "head.nii")
    fine = phantoms.on_grid(phantoms.regions, array.shape, affine)
    coarse, thinned = fine[::step, ::step, ::step], affine @ np.diag([step, step, step, 1])
    expected = None
    for letters in ORIENTATIONS:
        labels = phantoms.save(phantoms.stored(coarse, thinned, letters), tmp_path / "labels.nii")
        scene = scene_of(image, overlay=labels)
        found = [scene.picture(scene.planes["axial"], place).tobytes() for place in (7, 12, 16)]
        expected = expected or found
        assert found == expected, letters


# -- left and right, front and back, up and down


@GRIDS
@SIDES
def test_a_mark_lies_where_the_world_says(spacing: tuple[float, ...], neurological: bool, tmp_path: Path) -> None:
    array, affine = phantoms.sampled(phantoms.mark, spacing)
    for letters in ORIENTATIONS:
        path = phantoms.save(phantoms.stored(array, affine, letters), tmp_path / "mark.nii")
        scene = scene_of(path, neurological=neurological, window="0:255", plain=True)
        for name in NAMES:
            plane = scene.planes[name]
            number = phantoms.place(phantoms.view(name, neurological=neurological), CORNER, spacing)
            for scale in (None, 3.3):
                picture = scene.picture(plane, number, scale=scale)
                check_mark(name, picture, neurological=neurological, spacing=spacing)


STORAGES = ("RAS", "LPI", "PSR", "ILA")


# -- letters


@SIDES
@pytest.mark.parametrize("letters", STORAGES)
@pytest.mark.parametrize("coloured", [False, True], ids=["grey", "coloured"])
def test_letters_say_where_the_arms_point(letters: str, neurological: bool, coloured: bool, tmp_path: Path) -> None:
    """The letter at an edge is that of the arm that points there; the other edges have the opposite letters."""
    array, affine = phantoms.sampled(phantoms.mark, SPACINGS[1])
    path = phantoms.save(phantoms.stored(array, affine, letters), tmp_path / "mark.nii")
    look: dict[str, Any] = {"neurological": neurological, "window": "0:2000"}  # the mark nearly black, not to be read
    if coloured:
        look["overlay"] = phantoms.save(
            phantoms.stored((array > 600).astype("uint8"), affine, "RAS"), tmp_path / "nothing.nii"
        )
    plain, scene = scene_of(path, plain=True, **look), scene_of(path, **look)
    for name in NAMES:
        view = phantoms.view(name, neurological=neurological)
        number = phantoms.place(view, CORNER, SPACINGS[1])
        pictures = [each.picture(each.planes[name], number, scale=3) for each in (plain, scene)]
        ink = drawn(*pictures)
        height, width = ink.shape
        told = {edge: letter_at(ink, edge) for edge in ("left", "right", "top", "bottom")}
        bright = scene_of(path, neurological=neurological, window="0:255", plain=True)
        values = grey(bright.picture(bright.planes[name], number, scale=3))
        for axis, (letter, (_, brightness)) in enumerate(ARMS.items()):
            if axis == view.across:
                continue
            rows, columns = np.nonzero(np.abs(values - brightness) < 3)
            x, y = phantoms.pixel(view, (width, height), CORNER)
            right, down = columns.mean() - x, rows.mean() - y
            edge = ("right" if right > 0 else "left") if abs(right) > abs(down) else ("bottom" if down > 0 else "top")
            assert told[edge] == letter
            against = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[edge]
            assert told[against] == dict(zip("RAS", "LPI", strict=True))[letter]
        assert "".join(told.values()) == view.letters == scene.planes[name].letters


# -- tilted grids

LEANING: dict[str, tuple[tuple[int, int, int], tuple[float, ...], dict[str, Any], str]] = {
    "slightly": ((50, 70, 34), (1.5, 1.2, 1.7), {"angles": (3, -2, 4)}, "RAS"),
    "much": ((50, 70, 34), (1.5, 1.2, 1.7), {"angles": (21, 14, -32)}, "PIR"),
    "sheared": ((50, 70, 34), (1.5, 1.2, 1.7), {"angles": (8, 0, 5), "shear": 0.2}, "LPS"),
    "left-handed": ((50, 70, 34), (1.5, 1.2, 1.7), {"angles": (-12, 17, 9)}, "LAS"),
    "thick": ((60, 76, 18), (1.2, 1.2, 3.2), {"angles": (18, 0, 0)}, "ILP"),
}


@pytest.mark.parametrize("name", LEANING)
@SIDES
def test_straight_planes_show_the_world_however_the_grid_leans(name: str, neurological: bool, tmp_path: Path) -> None:
    """Each pixel has the brightness of its place in the world; what the voxels do not reach is black."""
    shape, spacing, how, letters = LEANING[name]
    affine = leaning(shape, spacing, *how["angles"], shear=how.get("shear", 0.0))
    image = phantoms.stored(phantoms.on_grid(phantoms.smooth, shape, affine), affine, letters)
    path = phantoms.save(image, tmp_path / "tilted.nii")
    scene = scene_of(path, planes="straight", window="0:255", plain=True, neurological=neurological)
    assert any(word.startswith("straightened from") for word in scene.remarks())
    reach = np.abs(affine[:3, :3]) @ shape
    covered = np.multiply(scene.shape, scene.spacing)
    assert (np.abs(covered - reach) <= np.array(scene.spacing) / 2 + 1e-6).all(), "the picture holds all voxels"
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2 + affine[:3, 3]
    low, back = middle - covered / 2, np.linalg.inv(affine)
    seen = 0
    for view_name in NAMES:
        view = phantoms.view(view_name, neurological=neurological)
        for part in (0.4, 0.5, 0.6):
            number = int(part * scene.shape[view.across])
            values = grey(scene.picture(scene.planes[view_name], number, scale=1.3))
            world = np.empty((*values.shape, 3))
            depth = (number + 0.5) / scene.shape[view.across]
            columns, rows = ((np.arange(n) + 0.5) / n for n in values.shape[::-1])
            for axis, sign, along in zip(
                (view.right, view.down, view.across), view.signs, (columns[None], rows[:, None], depth), strict=True
            ):
                world[..., axis] = low[axis] + covered[axis] * (along if sign > 0 else 1 - along)
            voxels = world @ back[:3, :3].T + back[:3, 3]
            beyond = np.maximum(-0.5 - voxels, voxels - np.array(shape) + 0.5).max(-1)
            expected = phantoms.smooth(world)
            assert np.abs(values - expected)[beyond < -1.5].max() <= 5, view_name  # lines for curves, voxels of 3 mm
            assert (beyond > 1.5).any() and values[beyond > 1.5].max() == 0
            seen = max(seen, expected[beyond < -1].max())
    assert seen > 150


def remarks_of(angle: float, shape: tuple[int, ...], spacing: tuple[float, ...], planes: str, path: Path) -> str:
    affine = leaning(shape, spacing, angle, 0, 0)
    image = nibabel.Nifti1Image(phantoms.on_grid(phantoms.smooth, shape, affine).astype("float32"), affine)
    return "; ".join(scene_of(phantoms.save(image, path / "tilted.nii"), planes=planes).remarks())


@pytest.mark.parametrize(
    ("angle", "shape", "spacing", "straight"),
    [
        (9.8, (20, 21, 22), (1, 1, 1), False),
        (10.2, (20, 21, 22), (1, 1, 1), True),
        (10.2, (20, 21, 22), (1, 1.2, 1.95), True),
        (10.2, (20, 21, 22), (1, 1.2, 2.05), False),
        (10.2, (20, 21, 16), (1, 1, 1), True),
        (10.2, (20, 21, 15), (1, 1, 1), False),
        (40.0, (64, 64, 1), (1, 1, 5), False),
    ],
)
def test_planes_are_straightened_where_letters_would_mislead(
    angle: float, shape: tuple[int, ...], spacing: tuple[float, ...], straight: bool, tmp_path: Path
) -> None:
    """On both sides of each of the three limits, and the caption says what was done."""
    words = remarks_of(angle, shape, spacing, "auto", tmp_path)
    assert (f"straightened from {angle:.3g}\N{DEGREE SIGN}" in words) == straight
    assert (f"oblique by {angle:.3g}\N{DEGREE SIGN}" in words) != straight
    assert f"oblique by {angle:.3g}\N{DEGREE SIGN}" in remarks_of(angle, shape, spacing, "stored", tmp_path)
    assert f"straightened from {angle:.3g}\N{DEGREE SIGN}" in remarks_of(angle, shape, spacing, "straight", tmp_path)


def test_a_straight_grid_has_nothing_to_say(tmp_path: Path) -> None:
    for planes in ("auto", "stored", "straight"):
        words = remarks_of(0, (20, 21, 22), (1, 1, 2), planes, tmp_path)
        assert "oblique" not in words and "straightened" not in words


@pytest.mark.parametrize("letters", ["RAS", "PIR", "LSA"])
def test_stored_planes_are_the_voxels(letters: str, tmp_path: Path) -> None:
    """What is shown are the file's own numbers, turned and flipped, nothing in between."""
    shape, spacing = (30, 40, 20), (1.0, 1.0, 1.0)
    affine = leaning(shape, spacing, 20, -9, 15)
    array = phantoms.on_grid(phantoms.smooth, shape, affine).astype(np.uint8)
    path = phantoms.save(phantoms.stored(array, affine, letters), tmp_path / "tilted.nii")
    scene = scene_of(path, planes="stored", window="0:255", plain=True)
    for name in NAMES:
        found = np.asarray(scene.picture(scene.planes[name], 7))
        assert np.array_equal(found, phantoms.slice_of(array, phantoms.view(name), 7)), name


def test_straight_label_maps_have_no_new_labels(tmp_path: Path) -> None:
    shape, spacing = (40, 50, 30), (1.5, 1.5, 1.5)
    affine = leaning(shape, spacing, 20, -15, 30)
    array = phantoms.on_grid(phantoms.regions, shape, affine)
    scene = scene_of(phantoms.save(nibabel.Nifti1Image(array, affine), tmp_path / "l.nii"), kind="labels", plain=True)
    assert any("straightened" in word for word in scene.remarks())
    shown = {colour for name in NAMES for _, colour in scene.picture(scene.planes[name], 25, scale=2.3).getcolors()}
    assert 2 < len(shown) <= 4


# -- true proportions


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 1.1, 2.7), (2.4, 0.6, 1.3), (1, 2.75, 0.5)])
@pytest.mark.parametrize("scale", [None, 3.7])
def test_a_ball_is_round(spacing: tuple[float, ...], scale: float | None, tmp_path: Path) -> None:
    array, affine = phantoms.sampled(phantoms.ball, spacing)
    path = phantoms.save(phantoms.stored(array, affine, "SRP"), tmp_path / "ball.nii")
    scene = scene_of(path, window="0:200", plain=True)
    for name in NAMES:
        view, plane = phantoms.view(name), scene.planes[name]
        picture = scene.picture(plane, phantoms.place(view, phantoms.BALL, spacing), scale=scale)
        rows, columns = np.nonzero(grey(picture) > 127.5)
        across, down = (4 * np.sqrt(np.var(along) + 1 / 12) for along in (columns, rows))
        mm = picture.size[0] / (array.shape[view.right] * spacing[view.right])
        assert abs(across - down) <= 1, name
        assert abs(across - 20 * mm) <= 1 and abs(down - 20 * mm) <= 1, name
        if scale is not None:
            assert mm == pytest.approx(scale, rel=0.01)
        x, y = phantoms.pixel(view, picture.size, phantoms.BALL, LOW, np.multiply(array.shape, spacing))
        assert columns.mean() + 0.5 == pytest.approx(x, abs=0.5) and rows.mean() + 0.5 == pytest.approx(y, abs=0.5)


@pytest.mark.parametrize("scale", [2.2, 3.0, 5.0, 8.0, 11.0])
def test_the_scale_bar_is_as_long_as_it_says(scale: float, tmp_path: Path) -> None:
    array, affine = phantoms.sampled(phantoms.mark, SPACINGS[1])
    path = phantoms.save(nibabel.Nifti1Image(array, affine), tmp_path / "mark.nii")
    plain, scene = (scene_of(path, window="0:9999", plain=plain) for plain in (True, False))
    pictures = [each.picture(each.planes["axial"], 3, scale=scale) for each in (plain, scene)]
    ink = drawn(*pictures)
    height, width = ink.shape
    corner = ink[height // 2 :, width // 2 + 25 :]
    row = int(np.argmax((corner > 200).sum(1)))
    bar = np.flatnonzero(corner[row] > 200)
    assert bar[-1] - bar[0] + 1 == len(bar) > 12, "one line"
    above = corner[max(row - 60, 0) : row - 2, max(bar[-1] - 200, 0) :]
    scores: dict[int, float] = {}
    for mm in (1, 2, 5, 10, 20, 50, 100):
        for size in range(8, 48):
            canvas = Pillow.new("L", (400, 100))
            ImageDraw.Draw(canvas).text((10, 20), f"{mm} mm", fill=255, font_size=size)
            scores[mm] = max(scores.get(mm, 0), alike(above, cropped(np.asarray(canvas, float))))
    told = max(scores, key=lambda mm: scores[mm])
    assert scores[told] > 0.85, scores
    assert len(bar) == pytest.approx(told * scale, abs=1.5)


@SIDES
def test_the_cross_hair_goes_through_its_place(neurological: bool, tmp_path: Path) -> None:
    spacing = SPACINGS[1]
    array, affine = phantoms.sampled(phantoms.smooth, spacing)
    path = phantoms.save(phantoms.stored(array, affine, "ILA"), tmp_path / "smooth.nii")
    scene = scene_of(path, neurological=neurological, plain=True, window="0:255")
    for world in ((12, 3, -2), (-9, 14, 6), (30, -30, 20)):
        views = {name: phantoms.view(name, neurological=neurological) for name in NAMES}
        voxel = [phantoms.place(views[name], world, spacing) for name in NAMES]
        pairs = zip(scene.views(voxel, side=300), scene.views(voxel, side=300, cross=True), strict=True)
        for name, (without, crossed) in zip(NAMES, pairs, strict=True):
            rows, columns = np.nonzero(
                (np.asarray(without) != np.asarray(crossed)).reshape(*without.size[::-1], -1).any(-1)
            )
            x, y = phantoms.pixel(views[name], crossed.size, world)
            voxel_size = 300 / 88 * max(spacing)
            line_y, line_x = np.bincount(rows).argmax(), np.bincount(columns).argmax()
            assert set(zip(rows, columns, strict=True)) <= {
                (row, column) for row, column in zip(rows, columns, strict=True) if row == line_y or column == line_x
            }, "two lines and nothing else"
            assert abs(line_x + 0.5 - x) <= voxel_size / 2 + 1 and abs(line_y + 0.5 - y) <= voxel_size / 2 + 1


# -- labels over a picture

TABLE = {1: ("nucleus", (250, 40, 90)), 2: ("knot", (30, 200, 60)), 9: ("cyst", (60, 90, 255))}

OTHER_GRIDS: dict[str, tuple[tuple[int, int, int], tuple[float, ...], tuple[float, float, float], str]] = {
    "coarser": ((26, 34, 18), (2.8, 2.6, 3.0), (0, 0, 0), "RAS"),
    "turned": ((36, 46, 34), (2.1, 1.9, 1.6), (0, 0, 0), "PIL"),
    "tilted": ((40, 50, 40), (1.9, 1.9, 1.7), (14, -8, 22), "RAS"),
    "left-handed": ((40, 50, 40), (1.9, 1.9, 1.7), (-10, 5, 12), "LSP"),
}


def labels_on(grid: str, folder: Path) -> tuple[str, dict[int, Array]]:
    """Write labels on a grid of their own with a table beside them; return where, and each centroid in mm."""
    shape, spacing, angles, letters = OTHER_GRIDS[grid]
    affine = leaning(shape, spacing, *angles)
    array = phantoms.on_grid(phantoms.regions, shape, affine)
    path = phantoms.save(phantoms.stored(array, affine, letters), folder / "labels.nii")
    rows = [f"{value}\t{name}\t#{bytes(colour).hex()}\n" for value, (name, colour) in TABLE.items()]
    (folder / "labels.tsv").write_text("index\tname\tcolor\n" + "".join(rows))
    centres = {value: affine[:3, :3] @ np.argwhere(array == value).mean(0) + affine[:3, 3] for value in TABLE}
    return path, centres


@pytest.mark.parametrize("grid", OTHER_GRIDS)
@SIDES
def test_labels_lie_where_the_world_says(grid: str, neurological: bool, tmp_path: Path) -> None:
    labels, centres = labels_on(grid, tmp_path)
    spacing = SPACINGS[1]
    array, affine = phantoms.sampled(phantoms.smooth, spacing)
    path = phantoms.save(phantoms.stored(array, affine, "SLA"), tmp_path / "image.nii")
    look = {"overlay": labels, "opacity": 1.0, "plain": True, "neurological": neurological}
    scene = scene_of(path, **look)
    for name in NAMES:
        view, plane = phantoms.view(name, neurological=neurological), scene.planes[name]
        found: dict[int, list[Array]] = {value: [] for value in TABLE}
        for number in range(scene.shape[plane.across]):
            picture = np.asarray(scene.picture(plane, number))
            for value, (_, colour) in TABLE.items():
                rows, columns = np.nonzero((picture == colour).all(-1))
                if len(rows):
                    height, width = picture.shape[:2]
                    world = np.empty((len(rows), 3))
                    along = ((columns + 0.5) / width, (rows + 0.5) / height, (number + 0.5) / scene.shape[plane.across])
                    for axis, sign, part in zip((view.right, view.down, view.across), view.signs, along, strict=True):
                        world[:, axis] = LOW[axis] + EXTENT[axis] * (part if sign > 0 else 1 - part)
                    found[value].append(world)
        for value, pieces in found.items():
            away = np.abs(np.concatenate(pieces).mean(0) - centres[value])
            assert (away <= np.array(spacing) / 2).all(), (name, value, away)


def overlaid(folder: Path, **look: Any) -> Array:
    """Return an axial picture of grey 0 to 255 with labels on another grid over it."""
    labels, _ = labels_on("tilted", folder)
    array, affine = phantoms.sampled(phantoms.smooth, (1, 1, 1))
    path = phantoms.save(nibabel.Nifti1Image(array.astype("uint8"), affine), folder / "image.nii")
    scene = scene_of(
        path, overlay=labels if look.pop("with_labels", True) else None, window="0:255", plain=True, **look
    )
    return np.asarray(scene.picture(scene.planes["axial"], 27, scale=2).convert("RGB")).astype(float)


def test_colours_are_the_tables_and_opacity_mixes_them(tmp_path: Path) -> None:
    bare, full = overlaid(tmp_path, with_labels=False), overlaid(tmp_path, opacity=1.0)
    where = (bare != full).any(-1)
    colours = {tuple(colour) for colour in full[where].astype(int).tolist()}
    assert colours == {colour for _, colour in TABLE.values()}
    for part in (0.0, 0.3, 0.5, 0.9):
        mixed = overlaid(tmp_path, opacity=part)
        assert np.abs(mixed - (bare * (1 - part) + full * part)).max() <= 0.5 + 1e-6
    assert np.array_equal(overlaid(tmp_path), overlaid(tmp_path, opacity=0.5))
    assert np.array_equal(overlaid(tmp_path, outline=True), overlaid(tmp_path, outline=True, opacity=1.0))


def test_an_outline_is_the_edge_of_what_is_filled(tmp_path: Path) -> None:
    bare, filled, lined = (
        overlaid(tmp_path, **look) for look in ({"with_labels": False}, {"opacity": 1.0}, {"outline": True})
    )
    inside, line = ((picture != bare).any(-1) for picture in (filled, lined))
    assert line.sum() > 100 and not line[~inside].any()
    edge = np.zeros(inside.shape, bool)
    values = np.where(inside[..., None], filled, 0)
    for axis in (0, 1):
        differ = (np.diff(values, axis=axis) != 0).any(-1)
        before, after = (
            tuple(slice(*ends) if n == axis else slice(None) for n in (0, 1)) for ends in ((0, -1), (1, None))
        )
        edge[before] |= differ
        edge[after] |= differ
    assert np.array_equal(line, edge & inside)
    assert np.array_equal(lined[line], filled[line])


def test_labels_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    array, affine = phantoms.sampled(phantoms.smooth, (2, 2, 2))
    path = phantoms.save(nibabel.Nifti1Image(array.astype("uint8"), affine), tmp_path / "image.nii")
    affine[0, 3] += 500
    labels = phantoms.save(
        nibabel.Nifti1Image(phantoms.on_grid(phantoms.regions, array.shape, affine), affine), tmp_path / "labels.nii"
    )
    with pytest.raises(GeometryError):
        scene_of(path, overlay=labels)

"""From a path and a look to a scene: what is taken for labels, and what is said about that and about an overlay."""

from __future__ import annotations

from math import cos, radians, sin, tan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.media.look import Look
from medimg_cli.media.saving import encoded
from medimg_cli.media.scenes import open_scene

SHAPE = (20, 22, 18)


def turned(degrees: float) -> AffineMatrix:
    """Return an affine turned about the axis from feet to head."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return AffineMatrix([[c, -s, 0, 3], [s, c, 0, 4], [0, 0, 1.5, 5]])


def image(affine: AffineMatrix, array: Any = None, **fields: Any) -> Backend:
    values = np.random.default_rng(0).integers(0, 900, SHAPE) if array is None else array
    values = np.asarray(values)[None]
    values = values if values.dtype.kind == "f" else values.astype("int16")
    return ArrayBackend(values, Header(shape=values.shape, dtype=values.dtype.name, affine=affine, **fields))


def blob(where: slice = slice(5, 9)) -> Any:
    labels = np.zeros(SHAPE)
    labels[where, where, where] = 3
    return labels.astype("int16")


def test_an_overlay_that_does_not_say_where_it_lies_is_a_guess(tmp_path: Path) -> None:
    known = image(AffineMatrix([[-1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0]]))
    np.save(tmp_path / "lesion.npy", blob())
    opened = open_scene(known, Look(overlay=str(tmp_path / "lesion.npy")), "scan.nii")
    assert [text for text in opened.remarks if "is a guess" in text and "lesion.npy does not say" in text]
    save_backend(image(known.header.affine, blob()), str(tmp_path / "lesion.nii"))
    assert open_scene(known, Look(overlay=str(tmp_path / "lesion.nii"))).remarks == ()


def test_an_overlay_elsewhere_is_told_by_its_name(tmp_path: Path) -> None:
    far = str(tmp_path / "far.nii")
    save_backend(image(AffineMatrix.from_spacing(1, origin=(500, 0, 0)), blob()), far)
    with pytest.raises(GeometryError, match="grid of scan.nii") as told:
        open_scene(image(AffineMatrix()), Look(overlay=far), "scan.nii")
    assert told.value.path == far


def test_an_overlay_of_fractions_is_none(tmp_path: Path) -> None:
    path = str(tmp_path / "map.nii")
    save_backend(image(AffineMatrix(), (blob() * 0.5).astype("float32")), path)
    with pytest.raises(UsageError, match="no whole numbers"):
        open_scene(image(AffineMatrix()), Look(overlay=path))
    assert "there is none" in open_scene(image(AffineMatrix()), Look(outline=True)).remarks[0]


def test_planes_that_letters_do_not_tell_are_told() -> None:
    steep = image(turned(20))
    assert open_scene(steep, Look()).remarks == ()
    (told,) = open_scene(steep, Look(planes="stored")).remarks
    assert "turned by 20 degrees" in told and "--planes straight" in told
    assert open_scene(image(turned(9)), Look(planes="stored")).remarks == ()


def test_rounding_of_geometry_decides_nothing() -> None:
    c, s = cos(radians(20)), sin(radians(20))
    rows = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 2 * (1 + 1e-8), 0]])
    assert open_scene(image(AffineMatrix(rows.tolist())), Look()).scene.volume.header.spatial_shape != SHAPE


def test_gantry_tilt_is_undone() -> None:
    """A ball in a volume whose slices are shifted stays a ball; planes of the voxels would make it an egg."""
    lean = tan(radians(20))
    affine = AffineMatrix([[1, 0, 0, -30], [0, 1, 4 * lean, -30 - 2 * 15 * lean], [0, 0, 4, -30]])
    i, j, k = np.indices((60, 60, 15))
    x, y, z = (
        affine.rows[a][0] * i + affine.rows[a][1] * j + affine.rows[a][2] * k + affine.rows[a][3] for a in range(3)
    )
    ball = (x**2 + y**2 + z**2 < 20**2) * 900.0
    source = image(affine, ball.astype("float32") + np.random.default_rng(0).random(ball.shape).astype("float32"))
    for planes, spread in (("auto", 0.06), ("stored", None)):
        opened = open_scene(source, Look(planes=planes, plain=True, kind="intensities"))
        plane = opened.scene.planes["sagittal"]
        pixels = np.asarray(opened.scene.picture(plane, opened.scene.shape[0] // 2), float)
        down, right = np.nonzero(pixels > 120)
        slant = abs(np.corrcoef(down, right)[0, 1])
        assert slant < spread if spread else slant > 0.1, planes
        assert bool(opened.remarks) == (planes == "stored")
    assert any("shear of 20" in word for word in open_scene(source, Look()).scene.remarks())
    assert "shapes are not true" in open_scene(source, Look(planes="stored")).remarks[0]


@pytest.mark.parametrize(("name", "edge"), [("a.webp", 16384), ("a.jpg", 65501)])
def test_formats_that_cannot_count_so_far_say_so(name: str, edge: int) -> None:
    with pytest.raises(UsageError, match=rf"1 x {edge} pixels are more than"):
        encoded(Pillow.new("L", (1, edge)), name)
    assert encoded(Pillow.new("L", (1, 99)), name)


def test_small_bright_things_are_in_the_window() -> None:
    sparse = np.zeros((64, 60, 50))
    sparse[31, 30, 26] = 13.5  # between the slices that are looked at
    source = image(AffineMatrix(), sparse.astype("float32"))
    assert open_scene(source, Look(window="full")).scene.limits() == (0, 13.5)
    assert open_scene(source, Look()).scene.limits() == (0, 13.5)
    several = ArrayBackend(
        np.stack([sparse, sparse * 2]).astype("float32"),
        Header(shape=(2, 64, 60, 50), dtype="float32", affine=AffineMatrix()),
    )
    assert open_scene(several, Look(channel=1)).scene.limits() == (0, 27)


def test_windows_in_which_nothing_is_seen_are_told() -> None:
    part = np.random.default_rng(0).random(SHAPE).astype("float32")
    assert open_scene(image(AffineMatrix(), part), Look(window="bone")).remarks[0].endswith("as one shade")
    assert open_scene(image(AffineMatrix(), part * 2000 - 1000), Look(window="bone")).remarks == ()
    assert "no value is finite" in open_scene(image(AffineMatrix(), part * np.nan), Look()).remarks[0]


def test_messages_repeat_no_secrets_of_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    known = image(AffineMatrix([[-1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 1, 0]]))
    unknown = image(AffineMatrix(), blob(), affine_source="default")
    monkeypatch.setattr("medimg_cli.media.scenes.open_backend", lambda path: unknown)
    url = "https://me:secret@host/lesion.nii?token=secret"
    told = open_scene(known, Look(overlay=url), "https://me:secret@host/scan.nii").remarks
    assert any("https://host/lesion.nii" in text for text in told) and "secret" not in " ".join(told)

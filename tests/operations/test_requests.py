"""Words of a command line that become operations."""

from __future__ import annotations

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import UsageError
from medimg_cli.header import Header
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.requests import CastRequest, IndexRequest, PlaceRequest
from medimg_cli.storage.stored import whole

SHAPE = (2, 5, 6, 7)
VALUES = np.arange(420, dtype=np.int16).reshape(SHAPE)


def image(affine: AffineMatrix) -> ArrayBackend:
    return ArrayBackend(VALUES, Header(shape=SHAPE, dtype="int16", affine=affine))


LPS = AffineMatrix([[-2, 0, 0, 10], [0, -1, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])
TURNED = AffineMatrix([[0, 0, -2, 4], [3, 0, 0, 5], [0, -1, 0, 6], [0, 0, 0, 1]])  # A, I, L


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[0, 1:4, :, ::2]", VALUES[0:1, 1:4, :, ::2]),
        ("1", VALUES[1:2]),
        ("[..., -1]", VALUES[..., -1:]),
        (":, ::-1", VALUES[:, ::-1]),
        ("[:, -3:-1,]", VALUES[:, -3:-1]),
    ],
)
def test_an_index_selects_what_numpy_selects(text: str, expected: np.ndarray) -> None:
    part = apply(IndexRequest(text), image(LPS))
    assert np.array_equal(part.read(whole(part.header.shape)), expected)


@pytest.mark.parametrize("text", ["", "[a]", "1.5", "::0", "[1:2:3:4]", "[0;1]", "__import__('os')", "[[0]]"])
def test_a_wrong_index_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no index"):
        IndexRequest(text)


@pytest.mark.parametrize("text", ["[5]", "[0, 9:12]", "[0,0,0,0,0]", "[..., ...]"])
def test_an_index_outside_is_refused(text: str) -> None:
    with pytest.raises(IndexError):
        apply(IndexRequest(text), image(LPS))


@pytest.mark.parametrize(
    ("affine", "letter", "place", "axis", "voxel"),
    [
        (LPS, "S", "0", 3, 0),
        (LPS, "I", "0", 3, 6),
        (LPS, "L", "1", 1, 1),
        (LPS, "R", "1", 1, 3),
        (LPS, "R", "0%", 1, 4),
        (LPS, "R", "100%", 1, 0),
        (LPS, "S", "50%", 3, 3),
        (LPS, "R", "10mm", 1, 0),
        (LPS, "L", "10mm", 1, 0),
        (LPS, "R", "2.2mm", 1, 4),
        (LPS, "S", "-27mm", 3, 1),
        (LPS, "s", "-1", 3, 6),
        (TURNED, "A", "50%", 1, 2),
        (TURNED, "S", "0%", 2, 5),
        (TURNED, "R", "4mm", 3, 0),
        (TURNED, "P", "5mm", 1, 0),
    ],
)
def test_a_place_is_found_by_anatomy(affine: AffineMatrix, letter: str, place: str, axis: int, voxel: int) -> None:
    source = image(affine)
    part = apply(PlaceRequest(letter, place), source)
    assert np.array_equal(part.read(whole(part.header.shape)), np.take(VALUES, [voxel], axis))
    index = [0, 0, 0]
    index[axis - 1] = voxel
    assert part.header.grid.world((0, 0, 0)) == pytest.approx(source.header.grid.world(tuple(index)))


def test_millimetres_on_an_oblique_grid_are_those_of_the_field_of_views_centre() -> None:
    tilted = AffineMatrix([[1, 0, 0, 0], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, 0], [0, 0, 0, 1]])
    part = apply(PlaceRequest("S", "3.9mm"), image(tilted))
    middle = part.header.grid.center
    assert abs(middle[2] - 3.9) <= 0.4


@pytest.mark.parametrize(
    ("letter", "place"), [("X", "0"), ("", "0"), ("S", "half"), ("S", "1.5"), ("S", "nanmm"), ("S", ""), ("RA", "0")]
)
def test_a_wrong_place_is_refused(letter: str, place: str) -> None:
    with pytest.raises(UsageError):
        PlaceRequest(letter, place)


@pytest.mark.parametrize("place", ["7", "-8", "101%", "-1%", "1000mm"])
def test_a_place_outside_says_what_is_inside(place: str) -> None:
    with pytest.raises(UsageError, match=r"voxels 0 to 6, -30 to -12 mm"):
        apply(PlaceRequest("S", place), image(LPS))


def test_a_rescale_without_a_range_fills_the_type_and_keeps_values() -> None:
    out = apply(CastRequest("uint8", "full"), image(LPS))
    stored = out.read(whole(SHAPE), raw=True)
    assert (stored.min(), stored.max(), stored.dtype) == (0, 255, np.uint8)
    assert np.abs(out.read(whole(SHAPE)) - VALUES).max() <= 419 / 255 / 2 + 1e-4


def test_a_rescale_to_a_range_sets_the_values() -> None:
    out = apply(CastRequest("uint8", "0:100"), image(LPS))
    values = out.read(whole(SHAPE))
    assert (values.min(), values.max(), out.header.slope) == (0, 100, None)


@pytest.mark.parametrize("text", ["1", "a:b", "1:2:3", ":"])
def test_a_wrong_range_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no range"):
        CastRequest(None, text)


def test_a_place_in_mm_along_an_axis_without_length_is_refused() -> None:
    flat = AffineMatrix([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
    with pytest.raises(UsageError, match="runs towards A"):
        apply(PlaceRequest("A", "3mm"), image(flat))

"""Points and boxes: where they lie in the world, along any axes, and that no operation on a grid moves them."""

from __future__ import annotations

import copy
import itertools
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations import (
    BoundingBoxes,
    BoundingBoxFormat,
    Points,
    Representation,
    as_boxes,
    as_points,
    follow,
    moved_to,
)
from medimg_cli.errors import GeometryError, MedImgError, MissingExtraError, UsageError
from medimg_cli.grid import Grid
from tests import strategies
from tests.helpers import AFFINES, one_line

#: Left-handed (determinant -24), turned by 3-4-5 triangles: every product below can be done by hand.
OBLIQUE = AffineMatrix([[-1.2, 2.4, 0, 10], [1.6, 1.8, 0, -20], [0, 0, 4, 5]])

VOXEL = ["".join(order) for order in itertools.permutations("IJK")]
PATIENT = [
    "".join(letters) for order in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*order)
]
any_axes = st.sampled_from(VOXEL + PATIENT)
rows = st.lists(strategies.points, min_size=1, max_size=4)
corners = st.lists(
    st.tuples(strategies.points, strategies.points).map(lambda two: (*two[0], *two[1])), min_size=1, max_size=3
)


def boxes_of(data: Any, axes: str = "IJK", representation: str = "corners", **more: Any) -> BoundingBoxes:
    return BoundingBoxes(data, BoundingBoxFormat(axes, representation), **more)


def hull(box: Any, matrix: Any) -> list[float]:
    """Return the hull of all eight corners of one box, one corner at a time."""
    found = [apply_affine(matrix, corner) for corner in itertools.product(*zip(box[:3], box[3:], strict=True))]
    return [*np.min(found, axis=0), *np.max(found, axis=0)]


# -- construction


def test_points_hold_what_they_are_given() -> None:
    points = Points([[1, 2, 3], [4.5, 5, 6]], affine=OBLIQUE, metadata={"names": ["a", "b"]})
    assert (points.num_points, len(points), points.axes, points.affine) == (2, 2, "IJK", OBLIQUE)
    assert points.numpy().dtype == np.float64
    assert points.numpy().tolist() == [[1, 2, 3], [4.5, 5, 6]] == np.asarray(points).tolist()
    assert points.metadata == {"names": ["a", "b"]} and points.has_affine
    assert repr(points) == "Points(num_points=2, axes='IJK')"
    assert Points(np.zeros((0, 3))).num_points == 0


def test_without_an_affine_it_is_the_identity() -> None:
    points = Points([[1.0, 2.0, 3.0]])
    assert points.affine == AffineMatrix() and not points.has_affine
    assert points.to_axes("LPS").numpy().tolist() == [[-1, -2, 3]]


def test_numbers_are_copied_and_do_not_change() -> None:
    array = np.ones((2, 3), np.float32)
    points = Points(array)
    array[:] = 7
    points.numpy()[:] = 8
    np.asarray(points)[:] = 9
    assert points.numpy().tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(ValueError, match="copy"):
        points.__array__(copy=False)


@pytest.mark.parametrize(
    "data",
    [[1.0, 2.0, 3.0], [[1.0, 2.0]], np.zeros((1, 2, 3)), [[1, 2, 3], [4]], [["a", "b", "c"]], [[1j, 0, 0]],
     [[np.inf, 0, 0]], [[1e101, 0, 0]], None],
    ids=str,
)  # fmt: skip
def test_what_are_no_points(data: Any) -> None:
    with pytest.raises(GeometryError) as caught:
        Points(data)
    assert one_line(caught.value)


@pytest.mark.parametrize("axes", ["XYZ", "IJ", "IJKK", "RAL", "RASI", "", "III", "RJK", "I\nK", 3, None])
def test_what_are_no_axes(axes: Any) -> None:
    with pytest.raises(ValueError, match="Invalid axes .*permutation of IJK, or one letter of each pair") as caught:
        Points([[1.0, 2.0, 3.0]], axes=axes)
    assert one_line(caught.value)
    with pytest.raises(ValueError, match="Invalid"):
        BoundingBoxFormat(axes)
    with pytest.raises(ValueError, match="Invalid"):
        Points([[1.0, 2.0, 3.0]]).to_axes(axes)


def test_axes_in_small_letters_and_as_a_tuple() -> None:
    assert Points([[1.0, 2.0, 3.0]], "lps").axes == "LPS"
    assert BoundingBoxFormat("kji").axes == "KJI"
    assert Points([[1.0, 2.0, 3.0]]).to_axes(AffineMatrix().orientation).axes == "RAS"  # type: ignore[arg-type]


def test_formats_of_boxes() -> None:
    assert BoundingBoxFormat("RAS", "center_size").representation is Representation.CENTER_SIZE
    assert BoundingBoxFormat("IJK", Representation.CORNERS) == BoundingBoxFormat.IJKIJK
    assert BoundingBoxFormat("IJK", "center_size") == BoundingBoxFormat.IJKWHD
    assert len({BoundingBoxFormat("IJK"), BoundingBoxFormat.IJKIJK, BoundingBoxFormat("KJI")}) == 2
    assert repr(BoundingBoxFormat.IJKWHD) == "BoundingBoxFormat(axes='IJK', representation='center_size')"
    assert pickle.loads(pickle.dumps(BoundingBoxFormat.IJKWHD)) == BoundingBoxFormat.IJKWHD
    with pytest.raises(UsageError, match="corners or center_size"):
        BoundingBoxFormat("IJK", "xyxy")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        BoundingBoxFormat.IJKIJK.axes = "KJI"  # type: ignore[misc]
    with pytest.raises(TypeError, match="BoundingBoxFormat"):
        BoundingBoxes(np.zeros((1, 6)), "IJK")  # type: ignore[arg-type]


def test_boxes_hold_what_they_are_given() -> None:
    boxes = BoundingBoxes(np.arange(12).reshape(2, 6), labels=[3, 1], affine=OBLIQUE, metadata={"a": 1})
    assert (boxes.num_boxes, len(boxes), boxes.format) == (2, 2, BoundingBoxFormat.IJKIJK)
    assert np.asarray(boxes.labels).tolist() == [3, 1]
    assert repr(boxes) == "BoundingBoxes(num_boxes=2, axes='IJK', representation='corners')"
    assert boxes_of(np.zeros((0, 6))).num_boxes == 0 and boxes_of(np.zeros((0, 6)), labels=[]).labels is not None
    assert boxes_of(np.zeros((1, 6))).labels is None


@pytest.mark.parametrize("labels", [[1, 2], [], [[1]], [1.5], ["a"], 4])
def test_what_are_no_labels(labels: Any) -> None:
    with pytest.raises(GeometryError, match="labels") as caught:
        BoundingBoxes(np.zeros((1, 6)), labels=labels)
    assert one_line(caught.value)


@pytest.mark.parametrize("data", [np.zeros(6), np.zeros((1, 3)), [[1, 2, 3]]])
def test_what_are_no_boxes(data: Any) -> None:
    with pytest.raises(ValueError, match=r"N, 6"):
        BoundingBoxes(data)


# -- points in the world


def test_oblique_left_handed_anisotropic_by_hand() -> None:
    points = Points([[5, 10, 2], [0, 0, 0.5]], affine=OBLIQUE)
    # x = -1.2*5 + 2.4*10 + 10, y = 1.6*5 + 1.8*10 - 20, z = 4*2 + 5
    expected = [[28.0, 6.0, 13.0], [10.0, -20.0, 7.0]]
    assert np.allclose(points.numpy("RAS"), expected, atol=1e-12)
    assert np.allclose(np.asarray(points.to_world()), expected, atol=1e-12)
    assert np.allclose(points.numpy("SLA"), [[13, -28, 6], [7, -10, -20]], atol=1e-12)
    assert np.allclose(Points(expected, "RAS", affine=OBLIQUE).numpy("KIJ"), [[2, 5, 10], [0.5, 0, 0]], atol=1e-12)


def test_letters_mean_the_patient_whatever_way_the_image_is_stored() -> None:
    """TorchIO's `Points.to_axes` gives (-2, -3, 4) here: it takes world coordinates for coordinates along L, P, S."""
    stored_lps = AffineMatrix([[-2, 0, 0, 0], [0, -3, 0, 0], [0, 0, 4, 0]])
    points = Points([[1.0, 1.0, 1.0]], affine=stored_lps)
    assert points.numpy("LPS").tolist() == [[2, 3, 4]] and points.numpy("RAS").tolist() == [[-2, -3, 4]]
    boxes = BoundingBoxes([[0, 0, 0, 1, 1, 1]], affine=stored_lps)
    assert boxes.numpy(BoundingBoxFormat("RAS")).tolist() == [[-2, -3, 0, 0, 0, 4]]


@pytest.mark.parametrize("kind", AFFINES)
def test_points_agree_with_nibabel(kind: str) -> None:
    data = np.random.default_rng(5).normal(scale=40, size=(20, 3))
    found = Points(data, affine=AFFINES[kind])
    world = apply_affine(AFFINES[kind].numpy(), data)
    assert np.allclose(found.numpy("RAS"), world, atol=1e-9)
    assert np.allclose(found.numpy("LPS"), world * [-1, -1, 1], atol=1e-9)
    assert np.allclose(Points(world, "RAS", affine=AFFINES[kind]).numpy("IJK"), data, atol=1e-9)


@settings(deadline=None)
@given(rows, any_axes, any_axes, any_axes, strategies.affines)
def test_axes_there_and_back(data: Any, first: str, second: str, third: str, affine: AffineMatrix) -> None:
    points = Points(data, first, affine=affine)
    there = points.to_axes(second).to_axes(third)
    assert there.axes == third and np.allclose(there.numpy("RAS"), points.numpy("RAS"), rtol=0, atol=1e-8)
    assert there.to_axes(first) == points  # digits and all


@settings(deadline=None)
@given(rows, st.sampled_from(PATIENT), st.sampled_from(PATIENT))
def test_between_the_axes_of_the_patient_nothing_is_rounded(data: Any, first: str, second: str) -> None:
    there = Points(Points(data, first).numpy(second), second)
    assert sorted(map(abs, there.numpy()[0])) == sorted(map(abs, data[0]))
    assert np.array_equal(there.numpy(first), np.array(data))


def test_a_place_that_is_not_known_stays_unknown() -> None:
    points = Points([[np.nan] * 3, [1, 2, 3]], affine=OBLIQUE).to_axes("LPS")
    assert np.isnan(points.numpy()[0]).all() and np.isfinite(points.numpy()[1]).all()
    assert points == copy.copy(points)
    assert points.inside(Grid((100, 100, 100), OBLIQUE)).tolist() == [False, True]


def test_an_affine_without_inverse_is_an_error_where_it_is_needed() -> None:
    flat = AffineMatrix([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
    assert Points([[1.0, 2, 3]], affine=flat).numpy("RAS").tolist() == [[1, 0, 3]]
    with pytest.raises(GeometryError, match="no inverse"):
        Points([[1.0, 2, 3]], "RAS", affine=flat).to_axes("IJK")


# -- boxes in the world


def test_corners_and_center_size() -> None:
    boxes = boxes_of([[10, 20, 30, 50, 65, 70]])
    assert boxes.numpy(BoundingBoxFormat.IJKWHD).tolist() == [[30, 42.5, 50, 40, 45, 40]]
    assert boxes_of([[30, 42.5, 50, 40, 45, 40]], "IJK", "center_size").numpy(BoundingBoxFormat.IJKIJK).tolist() == [
        [10, 20, 30, 50, 65, 70]
    ]
    # opposite corners in another order are the same box
    assert boxes_of([[50, 20, 30, 10, 65, 70]]).numpy(BoundingBoxFormat.IJKWHD).tolist() == [[30, 42.5, 50, 40, 45, 40]]


def test_boxes_along_other_axes() -> None:
    boxes = boxes_of([[10, 20, 30, 50, 60, 70]], "RAS")
    assert boxes.numpy(BoundingBoxFormat("LPI")).tolist() == [[-50, -60, -70, -10, -20, -30]]
    assert boxes.numpy(BoundingBoxFormat("ASR")).tolist() == [[20, 30, 10, 60, 70, 50]]
    sized = boxes_of([[30, 40, 50, 4, 6, 8]], "RAS", "center_size")
    assert sized.numpy(BoundingBoxFormat("ILP", "center_size")).tolist() == [[-50, -30, -40, 8, 4, 6]]
    voxel = boxes_of([[10, 20, 30, 50, 60, 70]], affine=OBLIQUE)
    assert voxel.numpy(BoundingBoxFormat("KJI")).tolist() == [[30, 20, 10, 70, 60, 50]]


def test_hull_of_a_turned_box_by_hand() -> None:
    # x = -1.2 i + 2.4 j + 10 over i in 0..10, j in 0..5: from -12 + 10 to 12 + 10
    # y = 1.6 i + 1.8 j - 20: from -20 to 16 + 9 - 20;  z = 4 k + 5 over k in 1..2
    boxes = boxes_of([[0, 0, 1, 10, 5, 2]], affine=OBLIQUE)
    world = boxes.to_format(BoundingBoxFormat("RAS"))
    assert np.allclose(world.numpy(), [[-2, -20, 9, 22, 5, 13]], atol=1e-12)
    sized = boxes.to_format(BoundingBoxFormat("RAS", "center_size"))
    assert np.allclose(sized.numpy(), [[10, -7.5, 11, 24, 25, 4]], atol=1e-12)
    # TorchIO maps two corners only: from (10, -20) to (10, 5), a box of no width
    assert world.numpy()[0, 3] - world.numpy()[0, 0] > 20


@settings(max_examples=60, deadline=None)
@given(corners, strategies.affines, any_axes, any_axes)
def test_hulls_agree_with_all_eight_corners(data: Any, affine: AffineMatrix, first: str, second: str) -> None:
    boxes = boxes_of(data, first, affine=affine)
    unit = Points(np.vstack([np.zeros(3), np.eye(3)]), first, affine=affine).numpy(second)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (unit[1:] - unit[0]).T, unit[0]
    expected = [hull(box, matrix) for box in data]
    room = 1e-6 * max(1.0, float(np.abs(expected).max()))
    found = boxes.to_format(BoundingBoxFormat(second))
    first_and_last = found.numpy().reshape(-1, 2, 3)  # as they were given where the axes are the same
    assert np.allclose(np.hstack([first_and_last.min(1), first_and_last.max(1)]), expected, rtol=0, atol=room)
    sized = boxes.to_format(BoundingBoxFormat(second, "center_size")).numpy()
    assert np.allclose(
        np.hstack([sized[:, :3] - sized[:, 3:] / 2, sized[:, :3] + sized[:, 3:] / 2]), expected, rtol=0, atol=room
    )
    assert np.array_equal(found.numpy(boxes.format), boxes.numpy())  # the way back loses nothing


def test_a_box_does_not_grow_on_a_long_way() -> None:
    boxes = boxes_of([[0.1, 0.2, 1, 10.3, 5.7, 2]], affine=OBLIQUE, labels=[4])
    there = boxes.to_format(BoundingBoxFormat("RAS")).moved_to(AFFINES["oblique"])
    for axes in ("IJK", "LPS", "KJI"):
        there = there.to_format(BoundingBoxFormat(axes, "center_size"))
    back = there.moved_to(OBLIQUE).to_format(BoundingBoxFormat.IJKIJK)
    assert back == boxes
    assert back[0] == boxes[0] and pickle.loads(pickle.dumps(there)).moved_to(OBLIQUE).to_format(boxes.format) == boxes
    # but numbers that somebody changes are a new box
    new = there.new_like(there.numpy())
    assert not np.allclose(new.moved_to(OBLIQUE).numpy(BoundingBoxFormat.IJKIJK), boxes.numpy())


def test_whole_voxel_coordinates_are_centres() -> None:
    grid = Grid((10, 20, 30), OBLIQUE)
    whole = boxes_of([[-0.5, -0.5, -0.5, 9.5, 19.5, 29.5]], affine=grid.affine)
    low, high = np.array(grid.box).T
    assert np.allclose(whole.numpy(BoundingBoxFormat("RAS")), [[*low, *high]])
    assert whole.inside(grid).tolist() == [True]
    assert boxes_of([[-0.5, 0, 0, 9.6, 19, 29]], affine=grid.affine).inside(grid).tolist() == [False]


# -- following an image


@st.composite
def chains(draw: st.DrawFn) -> tuple[Grid, Grid]:
    """A grid, and one that operations made of it."""
    before = draw(strategies.grids)
    after = before
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("reorient", "flip", "permute", "crop", "pad", "slice", "spacing", "size")))
        if kind == "reorient":
            after = after.reoriented(draw(strategies.codes))
        elif kind == "flip":
            after = after.flipped(draw(st.integers(0, 2)))
        elif kind == "permute":
            after = after.permuted(draw(st.permutations(range(3))))
        elif kind == "crop":
            after = after.cropped([(draw(st.integers(0, (n - 1) // 2)), 0) for n in after.shape])
        elif kind == "pad":
            after = after.padded([(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(3)])
        elif kind == "slice":
            after = after[draw(strategies.indices(after.shape))]
        elif kind == "spacing":
            after = after.resampled(spacing=draw(st.floats(0.5, 5)))
        else:
            after = after.resampled(size=[draw(st.integers(1, 9)) for _ in range(3)])
    return before, after


@settings(deadline=None)
@given(chains(), rows, any_axes)
def test_no_operation_moves_a_point(grids: tuple[Grid, Grid], data: Any, axes: str) -> None:
    before, after = grids
    points = Points(data, axes, affine=before.affine)
    moved = moved_to(points, after.affine)
    assert (moved.axes, moved.affine, len(moved)) == (points.axes, after.affine, len(points))
    world = points.numpy("RAS")
    assert np.allclose(moved.numpy("RAS"), world, rtol=0, atol=1e-6)
    fresh = Points(moved.numpy(), axes, affine=after.affine)  # not from memory, but by its own numbers
    assert np.allclose(fresh.numpy("RAS"), world, rtol=0, atol=1e-6)
    assert moved.moved_to(before.affine) == points


@settings(deadline=None)
@given(chains(), corners)
def test_no_operation_moves_a_box(grids: tuple[Grid, Grid], data: Any) -> None:
    before, after = grids
    boxes = boxes_of(data, affine=before.affine)
    moved = moved_to(boxes, after.affine)
    ras = BoundingBoxFormat("RAS")
    assert np.allclose(moved.numpy(ras), boxes.numpy(ras), rtol=0, atol=1e-6)
    fresh = boxes_of(moved.numpy(), affine=after.affine)  # grids that are not turned keep a box as it is
    assert np.allclose(fresh.numpy(ras), boxes.numpy(ras), rtol=0, atol=1e-6)
    assert np.array_equal(moved.moved_to(before.affine).numpy(), boxes.numpy())


def test_whole_numbers_stay_whole() -> None:
    grid = Grid((50, 60, 70), AFFINES["left-handed"])
    after = grid[10:, ::-1, :].cropped(3).padded(1)
    points = Points([[20, 30, 40]], affine=grid.affine).moved_to(after.affine)
    assert points.numpy().tolist() == [[8, 27, 38]]
    boxes = boxes_of([[20, 30, 40, 21, 32, 43]], affine=grid.affine).moved_to(after.affine)
    assert boxes.numpy().tolist() == [[8, 25, 38, 9, 27, 41]]


def test_nothing_is_dropped_and_a_mask_tells_what_is_inside() -> None:
    grid = Grid((10, 20, 30), OBLIQUE)
    points = Points([[1, 2, 3], [9.5, 19.5, -0.5], [9.6, 0, 0], [-3, 5, 5]], affine=OBLIQUE)
    assert points.inside(grid).tolist() == [True, True, False, False]
    part = grid.cropped(2)
    assert points.moved_to(part.affine).num_points == 4
    assert points.inside(part).tolist() == [False, False, False, False]
    assert points[points.inside(grid)].num_points == 2


# -- what an image holds


def test_what_an_image_accepts() -> None:
    points, boxes = Points([[1.0, 2, 3]]), BoundingBoxes([[0, 0, 0, 1, 1, 1]])
    assert as_points(None, OBLIQUE) == as_boxes(None, OBLIQUE) == {}
    held = as_points({"a": points, "b": points}, OBLIQUE)
    assert list(held) == ["a", "b"] and held["a"].affine == OBLIQUE and held["a"].numpy().tolist() == [[1, 2, 3]]
    assert not points.has_affine  # the caller's own is not touched
    assert as_points({"a": held["a"]}, OBLIQUE)["a"] is held["a"]
    assert as_points(points, AffineMatrix()) == {"points": points}
    assert list(as_boxes(boxes, OBLIQUE)) == ["bounding_boxes"]
    assert as_boxes({"t": boxes}, OBLIQUE)["t"].affine == OBLIQUE


@pytest.mark.parametrize(
    "value", [np.zeros((5, 3)), {"landmarks": np.zeros((5, 3))}, {3: Points([[1.0, 2, 3]])}, "a", 4]
)
def test_what_an_image_refuses(value: Any) -> None:
    with pytest.raises(TypeError, match="Points"):
        as_points(value, OBLIQUE)
    with pytest.raises(TypeError, match="BoundingBoxes"):
        as_boxes(value, OBLIQUE)


def test_points_of_another_grid_keep_their_place() -> None:
    other = AFFINES["sheared"]
    held = as_points({"a": Points([[1.0, 2, 3]], affine=other), "b": Points([[1.0, 2, 3]], "LPS")}, OBLIQUE)
    assert held["a"].affine == held["b"].affine == OBLIQUE
    assert np.allclose(held["a"].numpy("RAS"), [other.apply((1, 2, 3))])
    assert held["b"].numpy("RAS").tolist() == [[-1, -2, 3]]
    later = follow(held, other)
    assert later["a"].numpy().tolist() == [[1, 2, 3]] and list(later) == ["a", "b"]


def test_points_that_were_turned_before_an_image_took_them_in() -> None:
    held = as_points({"a": Points([[1.0, 2, 3]]).to_axes("KJI")}, OBLIQUE)["a"]
    assert held.numpy("IJK").tolist() == [[1, 2, 3]]
    assert np.allclose(held.numpy("RAS"), [OBLIQUE.apply((1, 2, 3))])


# -- values


@pytest.mark.parametrize(
    "item",
    [
        Points([[1, 2, 3], [4, 5, 6]], "LPS", affine=OBLIQUE, metadata={"names": ["a", "b"], "scores": np.arange(2)}),
        BoundingBoxes(np.arange(12).reshape(2, 6), labels=[1, 2], affine=OBLIQUE, metadata={"x": {"y": [1]}}),
    ],
    ids=["points", "boxes"],
)
def test_copies_are_equal_and_apart(item: Any) -> None:
    for twin in (copy.copy(item), copy.deepcopy(item), pickle.loads(pickle.dumps(item)), item[:]):
        assert twin == item and twin is not item and twin.metadata is not item.metadata
        twin.metadata["x"] = 2
        assert twin != item
    assert item != item.moved_to(AffineMatrix()) and item != 3
    assert item != item.new_like(item.numpy() + 1)
    with pytest.raises(TypeError):
        hash(item)


def test_rows_are_picked_with_their_names_and_labels() -> None:
    points = Points(np.arange(9).reshape(3, 3), metadata={"names": ["a", "b", "c"], "name": "all"})
    assert points[1].numpy().tolist() == [[3, 4, 5]] and points[1].metadata == {"names": ["b"], "name": "all"}
    assert points[::-1].metadata["names"] == ["c", "b", "a"] and points[[0, 2]].metadata["names"] == ["a", "c"]
    assert points[np.array([True, False, True])].num_points == 2
    assert [one.metadata["names"] for one in points] == [["a"], ["b"], ["c"]]
    with pytest.raises(IndexError):
        points[3]
    boxes = BoundingBoxes(np.arange(18).reshape(3, 6), labels=[7, 8, 9])
    assert np.asarray(boxes[1:].labels).tolist() == [8, 9]


def test_new_like() -> None:
    points = Points([[1, 2, 3]], "RAS", affine=OBLIQUE, metadata={"a": 1})
    new = points.new_like(data=np.zeros((4, 3)))
    assert (new.axes, new.affine, new.metadata, new.num_points) == ("RAS", OBLIQUE, {"a": 1}, 4)
    assert points.new_like(data=np.zeros((4, 3)), affine=np.diag([3, 3, 3, 1])).affine.spacing == (3, 3, 3)
    assert not Points([[1, 2, 3]]).new_like(data=[[4, 5, 6]]).has_affine
    boxes = boxes_of(np.zeros((1, 6)), "LPS", "center_size", labels=[1])
    assert boxes.new_like(data=np.zeros((2, 6))).labels is None
    assert np.asarray(boxes.new_like(data=np.zeros((2, 6)), labels=[5, 6]).labels).tolist() == [5, 6]
    assert boxes.new_like(data=np.zeros((2, 6))).format == boxes.format


def test_a_class_made_from_points_stays_one() -> None:
    class Landmarks(Points):
        pass

    points = Landmarks([[1.0, 2, 3]])
    kinds = {
        type(each)
        for each in (points.to_axes("RAS"), points.moved_to(OBLIQUE), points[:], points.new_like([[1, 2, 3]]))
    }
    assert kinds == {Landmarks} and points != Points([[1.0, 2, 3]])


# -- torch


def test_tensors_in_and_out() -> None:
    torch = pytest.importorskip("torch")
    points = Points(torch.tensor([[1.0, 2.0, 3.0]]), affine=OBLIQUE)
    assert points.data.dtype == torch.float32 and points.device == torch.device("cpu")
    assert torch.equal(points.data, torch.tensor([[1.0, 2.0, 3.0]]))
    assert isinstance(points.to_world(), torch.Tensor) and points.to_world().dtype == torch.float32
    torch.testing.assert_close(points.to_axes("KJI").data, torch.tensor([[3.0, 2.0, 1.0]]))
    assert Points(np.ones((1, 3))).data.dtype == torch.float64
    assert Points(torch.ones(1, 3, dtype=torch.bfloat16)).data.dtype == torch.bfloat16
    whole = Points(torch.tensor([[1, 2, 3]]), affine=AffineMatrix.from_spacing(0.5))
    assert whole.data.dtype == torch.int64 and whole.to_world().tolist() == [[0.5, 1, 1.5]]
    points.data[0, 0] = 9
    assert points.numpy()[0, 0] == 1


def test_to_changes_what_is_handed_out() -> None:
    torch = pytest.importorskip("torch")
    points = Points([[0.1, 2, 3]])
    assert points.to(torch.float16) is points and points.data.dtype == torch.float16
    assert points.numpy()[0, 0] == 0.1
    assert points.to("meta").device.type == "meta" and copy.copy(points).data.device.type == "meta"
    boxes = BoundingBoxes(torch.zeros(2, 6), labels=torch.tensor([1, 2])).to(dtype=torch.float64)
    assert boxes.data.dtype == torch.float64 and boxes.labels.dtype == torch.int64


def test_boxes_of_tensors() -> None:
    torch = pytest.importorskip("torch")
    boxes = BoundingBoxes(
        torch.tensor([[10, 20, 30, 50, 60, 70]]), format=BoundingBoxFormat.IJKIJK, labels=torch.tensor([5])
    )
    sized = boxes.to_format(BoundingBoxFormat.IJKWHD)
    assert torch.equal(sized.data, torch.tensor([[30.0, 40, 50, 40, 40, 40]], dtype=torch.float64))
    assert torch.equal(sized.labels, torch.tensor([5]))


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    points = Points([[1.0, 2, 3]], affine=OBLIQUE)
    boxes = BoundingBoxes([[1, 2, 3, 4, 5, 6]], labels=[2])
    for found in (points.data, points.to_world(), boxes.data, boxes.labels):
        assert isinstance(found, np.ndarray)
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[torch\]"):
        points.to("cpu")


def test_errors_are_ours() -> None:
    with pytest.raises(MedImgError):
        Points([[1.0, 2, 3]], affine=np.eye(3))

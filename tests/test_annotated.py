"""Annotations on images: they stay where they are in the world, whatever is done to the voxels."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli import BoundingBoxes, BoundingBoxFormat, LabelMap, Points, ScalarImage
from medimg_cli.affine import AffineMatrix
from tests.operations.helpers import OBLIQUE
from tests.strategies import affines, codes, indices

SEEDS = [[1.0, 2.0, 3.0], [4.5, 0.0, 2.25]]


def scan(affine: AffineMatrix = OBLIQUE, shape: tuple[int, ...] = (1, 7, 6, 5), **options: Any) -> ScalarImage:
    values = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    return ScalarImage(values, affine=affine, **options)


def world(affine: AffineMatrix, voxels: Any) -> np.ndarray[Any, Any]:
    rows = np.asarray(voxels, float)
    return rows @ affine.numpy()[:3, :3].T + affine.numpy()[:3, 3]


@settings(deadline=None, max_examples=60)
@given(data=st.data(), affine=affines)
def test_places_stay_in_the_world(data: st.DataObject, affine: AffineMatrix) -> None:
    image: Any = scan(affine, points={"seeds": Points(SEEDS)})
    before = world(affine, SEEDS)
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["reorient", "flip", "crop", "pad", "crop_or_pad", "slice"]))
        if kind == "reorient":
            image = image.reorient(data.draw(codes))
        elif kind == "flip":
            image = image.flip(data.draw(st.lists(st.integers(0, 2), max_size=3)))
        elif kind == "crop":
            image = image.crop(tuple((data.draw(st.integers(0, (n - 1) // 2)), 0) for n in image.spatial_shape))
        elif kind == "pad":
            image = image.pad(data.draw(st.integers(0, 3)))
        elif kind == "crop_or_pad":
            image = image.crop_or_pad(data.draw(st.tuples(*[st.integers(1, 9)] * 3)))
        else:
            image = image[data.draw(indices(image.shape))]
    seeds = image.points["seeds"]
    assert seeds.affine == image.affine and seeds.axes == "IJK"
    assert np.allclose(world(image.affine, seeds.numpy()), before, atol=1e-6)


def test_resampling_moves_no_place() -> None:
    image = scan(AffineMatrix.from_spacing((1, 2, 3)), points={"seeds": Points(SEEDS)}).resample(0.5)
    assert np.allclose(world(image.affine, image.points["seeds"].numpy()), [[1, 4, 9], [4.5, 0, 6.75]])


def test_a_voxel_keeps_its_value_under_its_point() -> None:
    """The voxel that a point names holds the same number after any turn."""
    image = scan(points={"seed": Points([[2.0, 3.0, 1.0]])})
    value = image.numpy()[0, 2, 3, 1]
    for turned in (image.reorient("SPL"), image.flip((0, 2)), image[:, 1:, ::-1], image.pad(2), image.crop(1)):
        i, j, k = np.rint(turned.points["seed"].numpy()[0]).astype(int)
        assert turned.numpy()[0, i, j, k] == value


def test_boxes_follow_and_come_back_exactly() -> None:
    boxes = BoundingBoxes([[1, 1, 1, 3, 4, 2]], BoundingBoxFormat.IJKIJK, labels=[5])
    image = scan(bounding_boxes={"lesion": boxes})
    turned = image.reorient("SPL").pad(1)
    corners = turned.bounding_boxes["lesion"].numpy().reshape(2, 3)
    expected = world(image.affine, [[1, 1, 1], [3, 4, 2]])
    found = world(turned.affine, corners)
    assert np.allclose(np.sort(found, axis=0), np.sort(expected, axis=0))
    back = turned.apply_inverse_transform()
    assert np.array_equal(back.bounding_boxes["lesion"].numpy(), boxes.numpy())


def test_points_in_the_world_stay_as_they_are() -> None:
    image = scan(points={"mm": Points([[10.0, -4.0, 3.0]], axes="RAS")})
    assert np.array_equal(image.flip(0).points["mm"].numpy(), [[10, -4, 3]])
    image.spacing = (1, 1, 1)
    assert np.array_equal(image.points["mm"].numpy(), [[10, -4, 3]])


def test_correcting_the_affine_carries_voxel_coordinates_along() -> None:
    image = scan(points={"seeds": Points(SEEDS)})
    image.affine = AffineMatrix.from_spacing((2, 2, 2))
    assert np.allclose(image.points["seeds"].numpy(), SEEDS)
    assert np.allclose(image.points["seeds"].numpy("RAS"), np.array(SEEDS) * 2)


def test_the_mapping_is_live() -> None:
    image = scan()
    assert dict(image.points) == {} == dict(image.bounding_boxes)
    image.points["seeds"] = Points(SEEDS)
    image.points["other"] = Points(SEEDS, axes="RAS")
    assert list(image.points) == ["seeds", "other"]
    flipped = image.flip(0)
    del image.points["seeds"]
    assert list(image.points) == ["other"] and list(flipped.points) == ["seeds", "other"]
    image.points = Points(SEEDS)
    assert list(image.points) == ["points"]
    image.points = None
    assert len(image.points) == 0
    with pytest.raises(KeyError):
        del image.points["nothing"]
    with pytest.raises(TypeError, match="Expected Points"):
        image.points["bad"] = [[1, 2, 3]]  # type: ignore[assignment]
    with pytest.raises(TypeError, match="bounding_boxes"):
        scan(bounding_boxes=5)


@pytest.mark.parametrize("maker", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
def test_copies_have_their_own(maker: Any) -> None:
    image = scan(points={"seeds": Points(SEEDS)})
    twin = maker(image)
    twin.points["more"] = Points(SEEDS)
    assert list(image.points) == ["seeds"] and list(twin.points) == ["seeds", "more"]
    assert np.array_equal(twin.points["seeds"].numpy(), SEEDS)


def test_images_made_from_an_image_keep_them() -> None:
    image = scan(points={"seeds": Points(SEEDS)}).flip(0)
    for made in (LabelMap(image), image.new_like(data=image.numpy()), image[0]):
        assert np.allclose(made.points["seeds"].numpy("RAS"), world(OBLIQUE, SEEDS))
    assert scan(points=image.points).points["seeds"].num_points == 2


def test_an_empty_image_takes_annotations_later() -> None:
    image = ScalarImage()
    assert image._points == {}
    image.set_data(np.zeros((1, 2, 3, 4)))
    image.points["seeds"] = Points(SEEDS)
    assert image.points["seeds"].num_points == 2

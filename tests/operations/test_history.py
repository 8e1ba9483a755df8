"""The way back: chains of operations are undone, in this process or in another one, on the image or on labels for it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli import Image, LabelMap, ScalarImage, read_header
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, GeometryError, IrreversibleWarning, UnsupportedError, UsageError
from medimg_cli.operations.cast import Cast
from medimg_cli.operations.history import Undo, way_back
from tests.strategies import affines, codes, indices, shapes

OBLIQUE = AffineMatrix(
    [[-1.9, 0.31, 0.1, 40.5], [0.35, 1.42, -0.4, -17.25], [-0.2, 0.3, 2.3, 8.125], [0, 0, 0, 1]]
)  # left-handed, anisotropic, sheared


def scan(shape: tuple[int, ...] = (1, 9, 8, 7), affine: AffineMatrix = OBLIQUE) -> ScalarImage:
    values = np.arange(1, np.prod(shape) + 1, dtype="int16").reshape(shape)
    return ScalarImage(values, affine=affine)


def straight() -> ScalarImage:
    return scan(
        affine=AffineMatrix.from_spacing(
            (2.0, 1.5, 3.25), origin=(30, -12, 4.5), direction=((-1, 0, 0), (0, 1, 0), (0, 0, 1))
        )
    )


# -- laws


@st.composite
def lossless(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[str, tuple[Any, ...]]:
    """A member of Image, with arguments, that no voxel is lost by."""
    few = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3)
    kind = draw(st.sampled_from(["reorient", "flip", "pad", "crop_or_pad"]))
    if kind == "reorient":
        return kind, (draw(codes),)
    if kind == "flip":
        return kind, (draw(st.lists(st.integers(0, 2), max_size=3)),)
    if kind == "pad":
        return kind, (draw(few),)
    return kind, (tuple(n + draw(st.integers(0, 3)) for n in shape[1:]),)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), affine=affines)
def test_what_loses_no_voxel_is_undone_exactly(data: st.DataObject, affine: AffineMatrix) -> None:
    first = scan((2, 5, 4, 6), affine)
    image: Any = first
    for _ in range(data.draw(st.integers(1, 6))):
        name, arguments = data.draw(lossless(image.shape))
        image = getattr(image, name)(*arguments)
    back = image.apply_inverse_transform()
    assert back.grid == first.grid  # verbatim, not nearly
    assert np.array_equal(back.numpy(), first.numpy())
    assert back.dtype == first.dtype
    assert back.applied_transforms == []


@st.composite
def lossy(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """A change of an image that may cut off, step over or interpolate."""
    kind = draw(st.sampled_from(["crop", "crop_or_pad", "slice", "resample", "reorient", "pad"]))
    if kind == "crop":
        ends = [draw(st.integers(0, (n - 1) // 2)) for n in shape[1:]]
        return lambda image: image.crop(tuple((end, 0) for end in ends))
    if kind == "crop_or_pad":
        target = draw(shapes)
        return lambda image: image.crop_or_pad(target)
    if kind == "slice":
        index = draw(indices(shape))
        return lambda image: image[(slice(None), *index[1:])]
    if kind == "resample":
        spacing = draw(st.sampled_from([1.0, 2.5, (0.8, 1.7, 3.0)]))
        small = draw(st.tuples(*[st.integers(1, 9)] * 3))
        by_size = draw(st.booleans())
        return lambda image: image.resample(size=small) if by_size else image.resample(size=small).resample(spacing)
    if kind == "reorient":
        letters = draw(codes)
        return lambda image: image.reorient(letters)
    return lambda image: image.pad(1)


@settings(deadline=None, max_examples=40)
@given(data=st.data(), affine=affines)
def test_whatever_was_done_the_grid_comes_back_exactly(data: st.DataObject, affine: AffineMatrix) -> None:
    first = scan((1, 6, 5, 4), AffineMatrix.from_spacing((1.5, 2.0, 1.25), origin=affine.origin))
    image: Any = first
    for _ in range(data.draw(st.integers(1, 4))):
        image = data.draw(lossy(image.shape))(image)
        if max(image.spatial_shape) > 60:
            return
    back = image.apply_inverse_transform()
    assert back.grid == first.grid
    kept = back.numpy() != 0
    names = {step["name"] for step in image.applied_transforms}
    if not names & {"resample", "slice"}:
        assert np.array_equal(back.numpy()[kept], first.numpy()[kept])


def test_the_history_is_plain_and_versioned() -> None:
    image = scan()[:, 1:, ::-2].reorient("SLA").pad(2).clamp(3, 90)
    steps = image.applied_transforms
    assert [step["name"] for step in steps] == ["slice", "reorient", "pad", "clamp"]
    assert all(isinstance(step["version"], int) for step in steps)
    assert json.loads(json.dumps(steps, allow_nan=False)) == steps


# -- another process, another image


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".mif", ".nii.zarr"])
def test_the_way_back_outlives_the_process(tmp_path: Path, suffix: str) -> None:
    """A scan is preprocessed and saved; another program predicts on the file; the labels return to the scan's grid."""
    if suffix == ".nii.zarr":
        pytest.importorskip("zarr")
    first = straight()
    first.save(tmp_path / "scan.nii.gz")
    first = ScalarImage(tmp_path / "scan.nii.gz")
    ready = first.reorient("LSP").crop(((1, 0), (0, 2), (1, 1))).pad(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ready.save(tmp_path / f"ready{suffix}")

    again = ScalarImage(tmp_path / f"ready{suffix}")
    predicted = again.new_like(data=(again.numpy() > 250).astype("uint8"))
    LabelMap(predicted).save(tmp_path / f"seg{suffix}")

    back = LabelMap(tmp_path / f"seg{suffix}").apply_inverse_transform()
    assert back.grid.same_as(first.grid, 1e-4) and back.shape == first.shape
    kept = ready.apply_inverse_transform().numpy() != 0
    assert kept.sum() > 100
    assert np.array_equal(back.numpy()[kept], (first.numpy() > 250)[kept].astype("uint8"))
    back.save(tmp_path / "native.nii.gz")
    assert read_header(tmp_path / "native.nii.gz").affine == read_header(tmp_path / "scan.nii.gz").affine


def test_a_segmentation_without_history_goes_the_same_way() -> None:
    first = straight()
    ready = first.reorient("RAS").resample(2.0, interpolation="linear").rescale(0, 1).crop(1)
    labels = LabelMap((ready.numpy() > 0.5).astype("uint8"), affine=ready.affine)
    back = ready.get_inverse_transform()(labels)
    assert type(back) is LabelMap and back.grid == first.grid
    assert set(np.unique(back.numpy())) <= {0, 1} and back.dtype == np.uint8
    truth = first.numpy() > np.median(first.numpy()[ready.apply_inverse_transform().numpy() != 0])
    inside = back.numpy()[:, 2:-2, 2:-2, 2:-2] == truth[:, 2:-2, 2:-2, 2:-2]
    assert inside.mean() > 0.8


def test_volumes_survive_there_and_back() -> None:
    """In mm3, a ball segmented on a finer grid has its volume on the scan's grid."""
    grid = np.stack(np.meshgrid(*[np.arange(n) - n / 2 for n in (30, 26, 22)], indexing="ij"))
    ball = ScalarImage((np.linalg.norm(grid, axis=0) < 8).astype("float32")[None], spacing=(1.0, 1.1, 1.2))
    fine = ball.reorient("PSR").resample(0.5)
    labels = LabelMap((fine.numpy() > 0.5).astype("uint8"), affine=fine.affine)
    back = fine.get_inverse_transform(warn=False)(labels)
    assert back.grid == ball.grid
    assert back.volumes()[1] == pytest.approx(labels.volumes()[1], rel=0.02)


def test_casts_with_a_scale_leave_labels_alone() -> None:
    ready = straight().cast("uint8", rescale=(0, 255)).cast("float32")
    labels = LabelMap((ready.numpy() > 99).astype("uint8") * 3, affine=ready.affine)
    back = ready.get_inverse_transform()(labels)
    assert set(back.count()) == {0, 3}


# -- what cannot be undone


def test_no_inverse_is_a_warning_or_nothing() -> None:
    image = straight().clamp(10, 90).flip(0)
    with pytest.warns(IrreversibleWarning, match="no inverse, left out: clamp"):
        back = image.apply_inverse_transform()
    assert back.grid == straight().grid
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(image.get_inverse_transform(warn=False)) == 1
        assert len(image.get_inverse_transform(ignore_intensity=True)) == 1


def test_intensities_lead_back_where_they_can() -> None:
    image = straight().rescale(-1, 1).flip("S")
    back = image.apply_inverse_transform()
    assert np.allclose(back.numpy(), straight().numpy(), atol=504e-6)  # float32 of a range of 504
    kept = image.apply_inverse_transform(ignore_intensity=True)
    assert kept.numpy().min() == -1 and kept.numpy().max() == 1 and kept.grid == straight().grid


def test_clearing_keeps_everything_else() -> None:
    image = straight().reorient("SPL")
    affine, values = image.affine, image.numpy().copy()
    image.clear_history()
    assert image.applied_transforms == [] and len(image.get_inverse_transform()) == 0
    assert image.affine == affine and np.array_equal(image.numpy(), values)


def test_an_inverse_for_another_place_is_refused() -> None:
    image = straight().reorient("SPL")
    moved = image.new_like(data=image.numpy())
    moved.origin = (500, 0, 0)
    with pytest.raises(GeometryError, match="belongs to an image that lies"):
        image.get_inverse_transform()(moved)


def test_histories_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="levitate"):
        way_back([{"name": "levitate", "version": 1, "parameters": {}}])
    with pytest.raises(FormatError):
        way_back([{"name": "flip", "version": 1, "parameters": {"axes": [0]}}])


def test_labels_are_never_interpolated() -> None:
    labels = LabelMap((straight().numpy() % 5).astype("uint8"), affine=straight().affine)
    assert set(np.unique(labels.resample(0.7).numpy())) <= set(range(5))
    with pytest.raises(UsageError, match="would invent labels"):
        labels.resample(0.7, interpolation="cubic")


def test_the_way_back_is_a_value() -> None:
    undo = straight().crop(1).get_inverse_transform()
    assert isinstance(undo, Undo) and [each.name for each in undo] == ["pad"]
    assert undo == straight().crop(1).get_inverse_transform()
    assert isinstance(Image(straight()).apply(Undo(())), Image)
    assert isinstance(straight().apply(Cast("float32")).get_inverse_transform().operations[0], Cast)

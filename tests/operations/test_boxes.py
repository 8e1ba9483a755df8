"""Slicing, cropping, padding, placing: the affine follows, inverses are exact, numpy agrees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import CastError, GeometryError, UsageError
from medimg_cli.grid import RegionError
from medimg_cli.operations import apply
from medimg_cli.operations.crop import Crop, CropOrPad, Place
from medimg_cli.operations.pad import MODES, Pad
from medimg_cli.operations.slicing import Slice
from tests.helpers import make, read
from tests.operations.helpers import made, numbered, places, undone
from tests.strategies import affines, indices, shapes

pairs = st.tuples(*[st.tuples(st.integers(0, 6), st.integers(0, 6))] * 3)


def kept(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index whose ints keep their axis."""
    found: list[Any] = []
    for each in index:
        if isinstance(each, int):
            found.append(slice(each, each + 1 or None))
        elif isinstance(each, range):
            found.append(slice(each.start, each.stop if each.stop >= 0 else None, each.step))
        else:
            found.append(each)
    return tuple(found)


@settings(deadline=None)
@given(data=st.data(), affine=affines)
def test_slicing_is_numpy_s_and_moves_nothing(data: st.DataObject, affine: AffineMatrix) -> None:
    image = numbered((3, 5, 4, 6), affine)
    index = data.draw(indices((3, 5, 4, 6)))
    part = apply(Slice.of(index, image.header.shape), image)
    assert np.array_equal(read(part), read(image)[kept(index)])
    assert places(part, image) < 1e-6
    assert part.header.grid == image.header.grid[index[1:]]


@settings(deadline=None)
@given(data=st.data(), affine=affines)
def test_a_slice_is_undone_on_the_very_grid(data: st.DataObject, affine: AffineMatrix) -> None:
    """Voxels that were kept are back in their places, exactly; the others are a neighbour's or 0."""
    image = numbered((1, 5, 4, 6), affine)
    index = data.draw(indices((1, 5, 4, 6)))
    part = apply(Slice.of(index, image.header.shape), image)
    back = undone(part, len(part.header.history))
    assert back.header.grid == image.header.grid
    chosen = kept(index)
    assert np.array_equal(read(back)[chosen], read(image)[chosen])
    assert set(np.unique(read(back))) <= {0, *np.unique(read(part))}


def test_a_step_gives_gaps_the_nearest_voxel() -> None:
    image = numbered((1, 7, 1, 1))
    part = apply(Slice.of((0, slice(1, None, 3)), image.header.shape), image)  # voxels 1 and 4
    assert read(part).ravel().tolist() == [2, 5]
    assert read(undone(part, 1)).ravel().tolist() == [2, 2, 2, 5, 5, 5, 0]


@settings(deadline=None)
@given(amounts=pairs, shape=shapes, affine=affines)
def test_cropping_and_padding_undo_each_other(amounts: Any, shape: Any, affine: AffineMatrix) -> None:
    image = numbered((2, *shape), affine)
    larger = apply(Pad(amounts), image)
    assert places(larger, image) < 1e-6
    assert np.array_equal(read(larger), np.pad(read(image), ((0, 0), *amounts)))
    back = undone(larger, len(larger.header.history))
    assert back.header.grid == image.header.grid
    assert np.array_equal(read(back), read(image))
    again = apply(Crop(amounts), larger)
    assert np.array_equal(read(again), read(image))
    assert again.header.grid.same_as(image.header.grid, 1e-6)
    regrown = undone(again, 1 if len(again.header.history) > len(larger.header.history) else 0)
    assert regrown.header.grid == larger.header.grid


@settings(deadline=None)
@given(amounts=pairs, shape=shapes, mode=st.sampled_from(MODES))
def test_every_mode_is_numpy_s(amounts: Any, shape: Any, mode: str) -> None:
    image = numbered((2, *shape))
    assert np.array_equal(
        read(apply(Pad(amounts, mode=mode), image)), np.pad(read(image), ((0, 0), *amounts), mode=mode)
    )


@settings(deadline=None)
@given(shape=shapes, wanted=shapes, affine=affines)
def test_crop_or_pad_keeps_the_centre(shape: Any, wanted: Any, affine: AffineMatrix) -> None:
    image = numbered((1, *shape), affine)
    fitted = apply(CropOrPad(wanted), image)
    assert fitted.header.spatial_shape == wanted
    assert places(fitted, image) < 1e-6
    shift = np.subtract(fitted.header.grid.voxel(image.header.grid.center), [(n - 1) / 2 for n in wanted])
    assert np.all(np.abs(shift) <= 0.5 + 1e-6)
    back = undone(fitted, len(fitted.header.history))
    assert back.header.grid == image.header.grid
    inside = read(back) > 0
    assert np.array_equal(read(back)[inside], read(image)[inside])
    assert inside.sum() == np.prod(np.minimum(shape, wanted))


def test_crop_or_pad_gives_the_odd_voxel_to_the_low_end() -> None:
    image = numbered((1, 5, 4, 4))
    assert read(apply(CropOrPad((8, 4, 4)), image))[0, :, 0, 0].tolist() == [0, 0, 1, 17, 33, 49, 65, 0]
    assert read(apply(CropOrPad((2, 4, 4)), image))[0, :, 0, 0].tolist() == [33, 49]


@pytest.mark.parametrize("kind", ["plain", "time-vector", "rgb", "scaled-time", "picture"])
@pytest.mark.parametrize(
    "operation",
    [
        Crop(((1, 0), (0, 2), (0, 0))),
        Pad(((1, 2), (0, 3), (2, 0))),
        Pad(2, mode="reflect"),
        Pad(2, mode="wrap"),
        CropOrPad((3, 7, 3), mode="edge"),
        Place((-1, 2, 1), (4, 9, 5), steps=(1, -1, 2)),
    ],
    ids=str,
)
def test_the_result_is_a_backend(kind: str, operation: Any) -> None:
    image = make(kind)
    result = made(operation, image)
    assert (result.header.dtype, result.header.slope) == (image.header.dtype, image.header.slope)


def test_slices_of_channels_take_axes_and_gradients_along() -> None:
    image = make("diffusion")
    part = made(Slice.of((slice(1, None, 2),), image.header.shape), image)
    assert part.header.gradients is not None
    assert part.header.gradients.bvals == (700.0, 2800.0)
    times = make("time")
    assert apply(Slice.of((slice(None, None, 2),), times.header.shape), times).header.time_spacing == 5.0


class Counting:
    """A backend that remembers what was read."""

    def __init__(self, base: Any) -> None:
        self.base, self.header, self.regions = base, base.header, []

    def read(self, region: Any, *, raw: bool = False) -> Any:
        self.regions.append(region)
        return self.base.read(region, raw=raw)

    def blocks(self, layout: Any, *, raw: bool = True, max_bytes: int = 0) -> Any:
        raise AssertionError("nobody streams here")


def test_padding_reads_only_what_a_region_needs() -> None:
    base = Counting(numbered((1, 50, 40, 30)))
    padded = apply(Pad(10), base)
    padded.read((range(1), range(9), range(5), range(5)))
    assert base.regions == []
    padded.read((range(1), range(15, 5, -2), range(12, 15), range(48, 50)))
    assert base.regions == []
    padded.read((range(1), range(15, 5, -2), range(12, 15), range(20, 39, 9)))
    assert base.regions == [(range(1), range(1, 6, 2), range(2, 5), range(10, 29, 9))]


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "value", "stored"),
    [
        ("uint8", None, None, None, 0),
        ("uint8", None, None, 255, 255),
        ("int16", 1.0, -1024.0, -1024, 0),
        ("uint16", 1.0, -1024.0, None, 1024),
        ("uint8", 2.0, 3.0, 0.0, CastError),
        ("uint8", 2.0, 3.0, None, 0),
        ("uint8", 2.0, -3.0, None, 2),
        ("int16", 0.1, 0.0, 0.5, 5),
        ("uint8", None, None, -1, CastError),
        ("uint8", None, None, 1.5, CastError),
        ("uint8", None, None, float("nan"), CastError),
        ("bool", None, None, 1, True),
        ("bool", None, None, 2, CastError),
        ("float32", None, None, float("nan"), float("nan")),
        ("float32", None, None, 0.1, np.float32(0.1)),
        ("float32", None, None, 1e300, CastError),
        ("float32", None, None, float("-inf"), float("-inf")),
        ("complex64", None, None, 2.5, 2.5),
    ],
)
def test_the_fill_is_a_value_that_the_image_can_hold(
    dtype: str, slope: Any, inter: Any, value: Any, stored: Any
) -> None:
    image = numbered((1, 2, 2, 2), dtype=dtype, slope=slope, inter=inter)
    if stored is CastError:
        with pytest.raises(CastError, match="padding with"):
            apply(Pad(1, value=value), image)
        return
    padded = apply(Pad(1, value=value), image)
    found = padded.read((range(1),) * 4, raw=True)[0, 0, 0, 0]
    assert found == stored or (found != found and stored != stored)


@pytest.mark.parametrize(
    "amounts", [-1, ((1, 1), (1, 1)), ((-1, 0), (0, 0), (0, 0)), "x", None, 1.5, ((1,), (1,), (1,))]
)
def test_amounts_that_make_no_sense_are_refused(amounts: Any) -> None:
    for operation in (Crop, Pad):
        with pytest.raises(GeometryError, match=r"expected an integer or \(\(lo, hi\)"):
            operation(amounts)


def test_what_leaves_nothing_is_refused() -> None:
    image = numbered((1, 5, 4, 3))
    with pytest.raises(GeometryError, match="nothing is left"):
        apply(Crop(((3, 2), (0, 0), (0, 0))), image)
    with pytest.raises(GeometryError, match="nothing of the image is left"):
        apply(Place((9, 0, 0), (4, 4, 4)), image)
    with pytest.raises(GeometryError):
        CropOrPad((0, 1, 1))
    with pytest.raises(GeometryError):
        Place((0, 0, 0), (4, 4, 4), steps=(1, 0, 1))
    with pytest.raises(UsageError, match="no padding mode"):
        Pad(1, mode="mean")
    with pytest.raises(UsageError, match="makes no sense with mode"):
        Pad(1, mode="edge", value=3)
    with pytest.raises(RegionError):
        Slice.of((0, 7), image.header.shape)
    with pytest.raises(GeometryError):
        Slice(((0, 1, 1),) * 3)
    with pytest.raises(GeometryError, match="leaves the image"):
        apply(Slice(((0, 1, 1), (0, 9, 1), (0, 1, 1), (0, 1, 1))), image)

"""The grid: slice-then-map is map-then-slice, and the other laws."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid, RegionError, axes_map, region_map, to_ranges
from medimg_cli.orientation import transform_between
from tests.strategies import affines, codes, flat_affines, grids, indices, points, shapes, spacings

OBLIQUE = Grid(
    (4, 6, 9),
    AffineMatrix.from_spacing((2, 3, 5), origin=(-7, 11, 13), direction=[[-0.6, 0, 0.8], [0.8, 0, 0.6], [0, 1, 0]]),
)


def voxels(grid: Grid) -> np.ndarray:
    """Voxel indices of a grid, (I, J, K, 3)."""
    return np.moveaxis(np.indices(grid.shape), 0, -1)


def centres(grid: Grid) -> np.ndarray:
    """World coordinates of all voxels, (I, J, K, 3)."""
    return np.asarray(grid.affine.apply(voxels(grid)))


def keep_axes(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same index for NumPy: ints and ranges as lists, so that no axis is dropped."""
    return tuple([each] if isinstance(each, int) else each for each in index)


def pick(array: np.ndarray, index: tuple[Any, ...]) -> np.ndarray:
    for axis, each in enumerate(keep_axes(index)):
        array = array[(slice(None),) * axis + (list(each) if isinstance(each, range) else each,)]
    return array


def close(left: object, right: object, atol: float = 1e-8) -> bool:
    return np.allclose(np.asarray(left), np.asarray(right), rtol=1e-9, atol=atol)


# -- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1, 2), (1, 2, 3, 4), (0, 1, 1), (1, -1, 1), (1.5, 2, 3), "123", 5, None])
def test_wrong_shapes(shape: object) -> None:
    with pytest.raises(GeometryError, match="spatial shape"):
        Grid(shape)  # type: ignore[arg-type]


@given(grids)
def test_a_value(grid: Grid) -> None:
    twin = Grid(np.array(grid.shape), grid.affine.numpy())
    assert twin == grid and hash(twin) == hash(grid) and pickle.loads(pickle.dumps(grid)) == grid
    assert {type(size) for size in twin.shape} == {int}
    assert grid != "grid"
    with pytest.raises(AttributeError, match="frozen"):
        grid.shape = (1, 1, 1)  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del grid._shape
    with pytest.raises(TypeError):
        iter(grid)  # type: ignore[call-overload]
    assert repr(grid).startswith(f"Grid(shape={grid.shape}, affine=AffineMatrix(")


# -- where ---------------------------------------------------------------------------------------------------


@given(grids)
def test_center_bounds_extent_box(grid: Grid) -> None:
    where = centres(grid)
    assert close(grid.center, where.mean(axis=(0, 1, 2)))
    assert close(grid.bounds, (where[0, 0, 0], where[-1, -1, -1]))
    assert close(grid.extent, np.multiply(grid.shape, grid.spacing))
    corners = np.array(
        [[(s - 0.5 if bit else -0.5) for s, bit in zip(grid.shape, bits, strict=True)] for bits in np.ndindex(2, 2, 2)]
    )
    world = grid.world(corners)
    assert close(grid.box, np.stack([world.min(axis=0), world.max(axis=0)], axis=1))
    assert grid.origin == grid.affine.origin and grid.orientation == grid.affine.orientation


@given(grids, st.lists(points, min_size=1, max_size=4))
def test_world_and_voxel_are_inverse(grid: Grid, many: list[tuple[float, ...]]) -> None:
    assert close(grid.voxel(grid.world(many)), many, 1e-6)
    assert close(grid.world(grid.voxel(many[0])), many[0], 1e-7)
    assert grid.voxel(np.array(many)).shape == (len(many), 3)


@given(grids, st.lists(st.tuples(*[st.floats(-3, 14)] * 3), max_size=6))
def test_contains(grid: Grid, many: list[tuple[float, ...]]) -> None:
    def outside_by(voxel: tuple[float, ...]) -> float:
        return max(max(-0.5 - at, at - size + 0.5) for at, size in zip(voxel, grid.shape, strict=True))

    assume(all(abs(outside_by(voxel)) > 1e-4 for voxel in many))
    world = grid.world(many)
    expected = tuple(outside_by(voxel) < 0 for voxel in many)
    assert grid.contains(world) == expected
    assert tuple(grid.contains(np.array(world).reshape(-1, 3))) == expected
    assert all(grid.contains(point) is inside for point, inside in zip(world, expected, strict=True))
    assert grid.contains(grid.center) and all(grid.contains(grid.bounds))


def test_contains_tensors() -> None:
    torch = pytest.importorskip("torch")
    inside = OBLIQUE.contains(torch.tensor([OBLIQUE.center, (1e3, 0, 0)]))
    assert inside.tolist() == [True, False]


def test_a_flat_grid_has_no_voxel_coordinates() -> None:
    flat = Grid((2, 3, 4), [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])
    assert flat.extent == (2, 0, 4)
    for call in (flat.voxel, flat.contains):
        with pytest.raises(GeometryError, match="no inverse"):
            call((0, 0, 0))


# -- slicing -------------------------------------------------------------------------------------------------


@given(grids.flatmap(lambda grid: st.tuples(st.just(grid), indices(grid.shape))))
def test_slice_then_map_is_map_then_slice(drawn: tuple[Grid, tuple[object, ...]]) -> None:
    grid, index = drawn
    part = grid[index]
    assert part.shape == pick(centres(grid), index).shape[:3]
    assert close(centres(part), pick(centres(grid), index), 1e-9)
    mapped = region_map(to_ranges(index, grid.shape)).apply(voxels(part))
    assert np.array_equal(mapped, pick(voxels(grid), index))


@given(grids.flatmap(lambda grid: st.tuples(st.just(grid), indices(grid.shape))), st.data())
def test_slices_of_slices(drawn: tuple[Grid, tuple[object, ...]], data: st.DataObject) -> None:
    grid, index = drawn
    part = grid[index]
    again = data.draw(indices(part.shape))
    assert close(centres(part[again]), pick(pick(centres(grid), index), again), 1e-9)


def test_a_step_doubles_the_spacing_and_a_negative_step_turns_the_axis() -> None:
    part = OBLIQUE[:, ::2, ::-1]
    assert part.spacing == (2, 6, 5)
    assert part.origin == OBLIQUE.world((0, 0, 8))
    assert part.orientation[2] != OBLIQUE.orientation[2]
    assert part[:, :, ::-1] == OBLIQUE[:, ::2]


@given(grids)
def test_taking_everything_changes_nothing(grid: Grid) -> None:
    for index in (
        ...,
        (),
        slice(None),
        (slice(None), ...),
        (..., slice(0, None)),
        tuple(map(range, grid.shape)),
    ):
        assert grid[index] == grid
    assert grid[::-1, ::-1, ::-1][::-1, ::-1, ::-1].same_as(grid, 1e-9)


def test_numpy_integers_and_ellipsis() -> None:
    assert OBLIQUE[np.int64(-1)] == OBLIQUE[3] == OBLIQUE[3:4] == OBLIQUE[range(3, 4), ...]
    assert OBLIQUE[..., 2] == OBLIQUE[:, :, 2] and OBLIQUE[1, ..., 2] == OBLIQUE[1, :, 2]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (4, "index 4 lies outside axis 0 with size 4"),
        ((0, -7), "index -7 lies outside axis 1 with size 6"),
        (slice(3, 3), "^3:3 selects nothing of axis 0"),
        (slice(None, 3, -1), "^:3:-1 selects nothing of axis 0"),
        (slice(10, None), "selects nothing"),
        (range(0), "selects nothing"),
        (range(2, 5), "lies outside axis 0"),
        (range(2, -2, -1), "lies outside axis 0"),
        ((0, 0, 0, 0), "4 indices for 3 axes"),
        ((..., 0, ...), "only one"),
        (True, "a bool"),
        (None, "a NoneType"),
        (1.0, "a float"),
        ("RAS", "a str"),
        ([0, 1], "a list"),
        (np.ones(4, dtype=bool), "a ndarray"),
        (slice(None, None, 0), "zero"),
        (slice("a", None), "indices must be integers"),
    ],
)
def test_wrong_indices(index: object, message: str) -> None:
    with pytest.raises(RegionError, match=message) as caught:
        OBLIQUE[index]
    assert isinstance(caught.value, IndexError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_any_number_of_axes() -> None:
    assert to_ranges((..., 0), (2, 3, 4, 5)) == (range(2), range(3), range(4), range(1))
    assert to_ranges(slice(None, None, -1), (3,)) == (range(2, -1, -1),)


# -- flips, permutations, reorientation ----------------------------------------------------------------------


@given(grids, st.integers(-3, 2))
def test_flipped(grid: Grid, axis: int) -> None:
    turned = grid.flipped(axis)
    assert close(centres(turned), np.flip(centres(grid), axis % 3))
    assert turned.flipped(axis).same_as(grid, 1e-9)
    assert turned.affine.determinant * grid.affine.determinant < 0
    assert grid.flipped(np.int64(axis)) == turned == grid.flipped([axis, axis])


@given(grids, st.permutations(range(3)))
def test_permuted(grid: Grid, order: list[int]) -> None:
    turned = grid.permuted(order)
    assert close(centres(turned), np.transpose(centres(grid), (*order, 3)))
    assert turned.permuted([order.index(axis) for axis in range(3)]) == grid


@given(grids, codes)
def test_reoriented_moves_no_voxel(grid: Grid, letters: tuple[str, str, str]) -> None:
    turned = grid.reoriented(letters)
    axes = transform_between(grid.orientation, letters)
    there = np.transpose(centres(grid), (*(old for old, _ in axes), 3))
    for axis, (_, sign) in enumerate(axes):
        there = np.flip(there, axis) if sign < 0 else there
    assert close(centres(turned), there)
    assert turned.affine == grid.affine @ axes_map(axes, grid.shape)
    assert turned.reoriented(turned.orientation) == turned


@given(shapes, codes, codes)
def test_reorienting_there_and_back_is_exact(
    shape: tuple[int, ...], old: tuple[str, ...], new: tuple[str, ...]
) -> None:
    grid = Grid(shape, AffineMatrix.from_spacing((1, 2.5, 3), origin=(-4, 5.5, 6))).reoriented(old)
    assert grid.orientation == old
    assert grid.reoriented(new).orientation == new
    assert grid.reoriented(new).reoriented(old) == grid


@pytest.mark.parametrize("wrong", [3, -4, "x", None, 1.0, [0, 5]])
def test_wrong_axes(wrong: object) -> None:
    with pytest.raises(GeometryError, match="axis is"):
        OBLIQUE.flipped(wrong)  # type: ignore[arg-type]


def test_wrong_orders_and_codes() -> None:
    for order in ((0, 1), (0, 0, 1), (0, 1, 2, 2)):
        with pytest.raises(GeometryError, match="no permutation"):
            OBLIQUE.permuted(order)
    with pytest.raises(UsageError):
        OBLIQUE.reoriented("RAR")


# -- crop, pad -----------------------------------------------------------------------------------------------

amounts = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 3)


@given(grids, amounts)
def test_crop_undoes_pad(grid: Grid, many: tuple[tuple[int, int], ...]) -> None:
    larger = grid.padded(many)
    assert larger.cropped(many).same_as(grid, 1e-9)
    assert larger[tuple(slice(lo, lo + size) for (lo, _), size in zip(many, grid.shape, strict=True))].same_as(
        grid, 1e-9
    )
    assert close(larger.voxel(grid.origin), [lo for lo, _ in many], 1e-6)


@given(grids, amounts)
def test_crop_is_a_slice(grid: Grid, many: tuple[tuple[int, int], ...]) -> None:
    empty = any(lo + hi >= size for (lo, hi), size in zip(many, grid.shape, strict=True))
    if empty:
        with pytest.raises(GeometryError, match="nothing is left"):
            grid.cropped(many)
    else:
        assert (
            grid.cropped(many)
            == grid[tuple(slice(lo, size - hi) for (lo, hi), size in zip(many, grid.shape, strict=True))]
        )


def test_amounts_as_one_number() -> None:
    assert OBLIQUE.padded(2) == OBLIQUE.padded(((2, 2),) * 3) and OBLIQUE.cropped(np.int64(1)).shape == (
        2,
        4,
        7,
    )


@pytest.mark.parametrize(
    "wrong", [-1, (1, 2, 3), ((1, 2), (3, 4)), ((1, 2), (3, -4), (5, 6)), ((1, 2, 3),) * 3, "no", None, 1.5]
)
def test_wrong_amounts(wrong: object) -> None:
    for call in (OBLIQUE.padded, OBLIQUE.cropped):
        with pytest.raises(GeometryError, match="expected"):
            call(wrong)  # type: ignore[arg-type]


# -- resample ------------------------------------------------------------------------------------------------


@given(grids, shapes)
def test_resampled_to_a_size_keeps_the_box(grid: Grid, size: tuple[int, int, int]) -> None:
    found = grid.resampled(size=size)
    assert found.shape == size
    assert (
        close(found.box, grid.box, 1e-7) and close(found.extent, grid.extent) and close(found.center, grid.center, 1e-7)
    )
    assert found.resampled(size=grid.shape).same_as(grid, 1e-6)


@given(grids, spacings)
def test_resampled_to_a_spacing_keeps_the_centre(grid: Grid, spacing: tuple[float, ...]) -> None:
    found = grid.resampled(spacing=spacing)
    assert close(found.spacing, spacing, 1e-12) and close(found.center, grid.center, 1e-6)
    change = np.abs(np.subtract(found.extent, grid.extent)) / spacing
    assert all(part <= 0.5002 or size == 1 for part, size in zip(change, found.shape, strict=True))


@given(grids, spacings, st.integers(0, 2))
def test_resampling_commutes_with_flips(grid: Grid, spacing: tuple[float, ...], axis: int) -> None:
    assert grid.resampled(spacing=spacing).flipped(axis).same_as(grid.flipped(axis).resampled(spacing=spacing), 1e-6)


@given(grids)
def test_resampling_to_what_it_is_changes_nothing(grid: Grid) -> None:
    assert grid.resampled(spacing=grid.spacing) == grid == grid.resampled(size=grid.shape)


def test_half_a_voxel_shift() -> None:
    grid = Grid((10, 20, 30), AffineMatrix.from_spacing((1, 1, 2), origin=(5, 6, 7)))
    fine = grid.resampled(spacing=0.5)
    assert fine.shape == (20, 40, 120) and fine.origin == (4.75, 5.75, 6.25) and fine.box == grid.box
    odd = grid.resampled(spacing=(4, 1, 2))  # 2.5 voxels: a half rounds down, one millimetre is lost at each end
    assert odd.shape == (2, 20, 30) and odd.box[0] == (5.5, 13.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"spacing": 1, "size": (1, 2, 3)},
        {"spacing": 0},
        {"spacing": (1, -1, 1)},
        {"spacing": 1e-300},
        {"size": (1, 2)},
        {"size": (1, 0, 2)},
        {"size": 5},
    ],
)
def test_wrong_resampling(wrong: dict[str, object]) -> None:
    with pytest.raises(GeometryError):
        OBLIQUE.resampled(**wrong)  # type: ignore[arg-type]


@given(flat_affines)
def test_a_flat_grid_is_not_resampled(affine: AffineMatrix) -> None:
    with pytest.raises(GeometryError):
        Grid((3, 4, 5), affine).resampled(spacing=2)


# -- same grid? ----------------------------------------------------------------------------------------------


@given(grids, st.floats(0.001, 10))
def test_same_as(grid: Grid, shift: float) -> None:
    moved = Grid(grid.shape, grid.affine.with_origin((grid.origin[0] + shift, *grid.origin[1:])))
    assert abs(grid.mm_shift(moved) - shift) < 1e-9
    assert grid.same_as(moved, shift * 1.001 + 1e-9) and not grid.same_as(moved, shift * 0.99 - 1e-9)
    assert grid.same_as(grid, 0)
    assert not grid.same_as(grid.padded(((0, 1), (0, 0), (0, 0))), 1e9)


@given(shapes, affines)
def test_same_as_looks_at_the_corners(shape: tuple[int, int, int], affine: AffineMatrix) -> None:
    scaled = Grid(shape, affine.with_spacing([value * (1 + 1e-5) for value in affine.spacing]))
    worst = np.linalg.norm(centres(scaled) - centres(Grid(shape, affine)), axis=-1).max()
    assert abs(scaled.mm_shift(Grid(shape, affine)) - worst) < 1e-9


@given(shapes, affines, affines)
def test_voxel_shift_counts_voxels_of_the_first_grid(
    shape: tuple[int, int, int], affine: AffineMatrix, other: AffineMatrix
) -> None:
    one, two = Grid(shape, affine), Grid([size + 1 for size in shape], other)
    corners = [np.stack(np.meshgrid(*[(0, size - 1) for size in grid.shape]), -1).reshape(-1, 3) for grid in (one, two)]
    back = np.linalg.inv(np.array(one.affine.rows)) @ np.array(two.affine.rows)
    apart = corners[1] @ back[:3, :3].T + back[:3, 3] - corners[0]
    worst = np.linalg.norm(apart, axis=-1).max()
    assert one.voxel_shift(two) == pytest.approx(worst, rel=1e-6)


@given(shapes, flat_affines)
def test_a_grid_without_volume_shifts_by_no_voxels(shape: tuple[int, int, int], affine: AffineMatrix) -> None:
    with pytest.raises(GeometryError):
        Grid(shape, affine).voxel_shift(Grid(shape))

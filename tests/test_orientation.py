"""Orientation gives nibabel's answers, in pure Python."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from nibabel import orientations as referee

from medimg_cli import orientation
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import UsageError
from medimg_cli.grid import Grid
from tests.strategies import affines, codes, degenerate_blocks, flat_affines, grids

ALL_CODES = ["".join(letters) for order in permutations(("RL", "AP", "SI")) for letters in product(*order)]


def referee_axes(matrix: object) -> list[tuple[int, int] | None]:
    found = referee.io_orientation(np.asarray(matrix))
    return [None if np.isnan(axis) else (int(axis), int(sign)) for axis, sign in found]


def polar(block: np.ndarray) -> np.ndarray:
    """The orthogonal factor that io_orientation looks at."""
    sizes = np.sqrt((block**2).sum(axis=0))
    sizes[sizes == 0] = 1
    p, s, q = np.linalg.svd(block / sizes)
    keep = s > s.max() * 3 * np.finfo(float).eps
    return p[:, keep] @ q[keep]


def decided_by_rounding(block: np.ndarray) -> bool:
    """Whether two components compete that are as good as equal, so that the last bit of an SVD decides."""
    factor = np.abs(polar(block))
    strongest = factor.max(axis=0)
    tied = [(abs(a - b) < 1e-9 and min(a, b) > 1e-9) for a, b in combinations(strongest, 2)]
    if any(tied) and len(set(factor.argmax(axis=0))) < 3:
        return True
    lines = [*factor, *factor.T]
    return any(abs(a - b) < 1e-9 and min(a, b) > 1e-9 for line in lines for a, b in combinations(line, 2))


@pytest.mark.parametrize("letters", ALL_CODES)
def test_every_axis_aligned_orientation(letters: str) -> None:
    grid = Grid((3, 4, 5), AffineMatrix.from_spacing((2, 3, 5))).reoriented(letters)
    assert "".join(orientation.axis_codes(grid.affine.rows)) == letters
    assert referee.aff2axcodes(grid.affine.numpy()) == tuple(letters)


@given(affines)
@settings(max_examples=400)
def test_answers_of_nibabel_on_straight_oblique_and_sheared_affines(affine: AffineMatrix) -> None:
    block = affine.numpy()[:3, :3]
    assume(not decided_by_rounding(block))
    assert list(orientation.axes_of(affine.rows)) == referee_axes(affine)
    assert orientation.axis_codes(affine.rows) == referee.aff2axcodes(affine.numpy())


@given(st.one_of(flat_affines.map(lambda affine: affine.rows), degenerate_blocks()))
@settings(max_examples=400)
@example(((0.0, 0.0, 0.0),) * 3)
def test_answers_of_nibabel_on_degenerate_affines(rows: tuple[tuple[float, ...], ...]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = [row[:3] for row in rows[:3]]
    assume(not decided_by_rounding(matrix[:3, :3]))
    found = orientation.axes_of(rows)
    wanted = referee_axes(matrix)
    assert [axis if want else None for axis, want in zip(found, wanted, strict=True)] == wanted
    left = sorted({0, 1, 2} - {want[0] for want in wanted if want})
    assert [axis for axis, want in zip(found, wanted, strict=True) if not want] == [(axis, 1) for axis in left]


@given(affines)
def test_decomposition_and_short_cut_agree(affine: AffineMatrix) -> None:
    columns = orientation._unit_columns(affine.rows)
    short = orientation._clear_axes(columns)
    assume(short is not None)
    assert short == orientation._strongest_axes(orientation._without_shear(columns))


@given(affines)
def test_polar_factor(affine: AffineMatrix) -> None:
    found = np.array(orientation._without_shear(orientation._unit_columns(affine.rows))).T
    np.testing.assert_allclose(found, polar(affine.numpy()[:3, :3]), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_scale_does_not_matter(scale: float) -> None:
    block = [[0, -0.8 * scale, 0.1 * scale], [scale, 0, 0], [0, 0.6 * scale, scale]]
    assert orientation.axes_of(block) == ((1, 1), (0, -1), (2, 1))


def test_values_near_the_end_of_the_float_range() -> None:
    huge = 1.7e308
    assert orientation.axis_codes([[huge, 0, 0], [0, 0, -huge], [0, huge, huge]]) == ("R", "S", "P")


@given(codes, codes)
def test_transform_between_is_nibabels(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    theirs = referee.ornt_transform(referee.axcodes2ornt(old), referee.axcodes2ornt(new))
    ours = orientation.transform_between(old, new)
    for new_axis, (old_axis, sign) in enumerate(ours):
        assert tuple(theirs[old_axis]) == (new_axis, sign)
        assert old[old_axis] == new[new_axis] if sign > 0 else old[old_axis] != new[new_axis]


@given(grids, codes)
def test_reoriented_grid_is_nibabels(grid: Grid, letters: tuple[str, str, str]) -> None:
    theirs = referee.ornt_transform(referee.axcodes2ornt(grid.orientation), referee.axcodes2ornt(letters))
    expected = grid.affine.numpy() @ referee.inv_ornt_aff(theirs, grid.shape)
    found = grid.reoriented(letters)
    assert found.orientation == letters or decided_by_rounding(grid.affine.numpy()[:3, :3])
    np.testing.assert_allclose(found.affine.numpy(), expected, atol=1e-9)
    voxels = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    assert found.shape == referee.apply_orientation(voxels, theirs).shape


@given(affines, st.sampled_from("RLAPSI"))
def test_nearest_axis(affine: AffineMatrix, letter: str) -> None:
    axis, sign = affine.nearest_axis(letter.lower())
    assert (affine.orientation[axis] == letter) == (sign > 0)


@pytest.mark.parametrize("wrong", ["", "RA", "RAR", "RAX", "RASL", "R A S", 3, ["R", "A"], ("RA", "S", "I"), None])
def test_wrong_codes_are_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="one letter of each pair"):
        orientation.parse_codes(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("right", ["las", "LAS+", " LAS ", ["l", "a", "s"], ("L", "A", "S")])
def test_codes_in_any_writing(right: str) -> None:
    assert orientation.parse_codes(right) == ("L", "A", "S")


@pytest.mark.parametrize("wrong", ["", "X", "RA", None, 0])
def test_wrong_letter_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match="none of R, L, A, P, S, I"):
        orientation.nearest_axis([[1, 0, 0], [0, 1, 0], [0, 0, 1]], wrong)  # type: ignore[arg-type]

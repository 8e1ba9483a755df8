"""The affine: laws, exactness, refusals, and TorchIO's names."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys
from pathlib import Path

import nibabel.affines
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import medimg_cli
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, MissingExtraError, UsageError
from tests.strategies import (
    affines,
    codes,
    flat_affines,
    oblique_affines,
    points,
    shapes,
    spacings,
    straight_affines,
)

LEFT_HANDED = AffineMatrix([[-2, 0, 0, 90], [0, 0, 3, -126], [0, -2.5, 0, -72]])


def close(left: object, right: object, atol: float = 1e-8) -> bool:
    return np.allclose(np.asarray(left), np.asarray(right), rtol=1e-9, atol=atol)


def signs(affine: AffineMatrix) -> set[float]:
    return {math.copysign(1, value) for row in affine.rows for value in row if value == 0}


# -- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tuple", "list", "three rows", "numpy", "float32", "int", "rows of arrays", "itself"])
def test_what_the_constructor_takes(kind: str) -> None:
    rows = LEFT_HANDED.rows
    given_as = {
        "tuple": rows,
        "list": [list(row) for row in rows],
        "three rows": rows[:3],
        "numpy": np.array(rows),
        "float32": np.array(rows, dtype=np.float32),
        "int": np.array(LEFT_HANDED.with_spacing((2, 2, 3)).rows).astype(int),
        "rows of arrays": [np.array(row) for row in rows],
        "itself": LEFT_HANDED,
    }[kind]
    expected = LEFT_HANDED.with_spacing((2, 2, 3)) if kind == "int" else LEFT_HANDED
    assert AffineMatrix(given_as) == expected
    assert {type(value) for row in AffineMatrix(given_as).rows for value in row} == {float}


def test_torch_tensor_in_and_out() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float64, torch.float32):
        assert AffineMatrix(torch.tensor(LEFT_HANDED.rows, dtype=dtype)) == LEFT_HANDED
    assert LEFT_HANDED.data.dtype == torch.float64
    assert LEFT_HANDED.data.tolist() == [list(row) for row in LEFT_HANDED.rows]
    assert LEFT_HANDED.device == torch.device("cpu")
    assert AffineMatrix.from_spacing(torch.tensor([2.0, 3.0, 4.0]), direction=torch.eye(3)).spacing == (
        2,
        3,
        4,
    )
    found = LEFT_HANDED.apply(torch.tensor([[1, 0, 2], [0, 0, 0]]))
    assert found.dtype == torch.float64
    assert found.tolist() == [[88, -120, -72], [90, -126, -72]]


def test_without_torch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[torch\]"):
        _ = AffineMatrix().data
    assert AffineMatrix().apply((1, 2, 3)) == (1, 2, 3)


def test_the_input_is_copied() -> None:
    array = np.eye(4)
    affine = AffineMatrix(array)
    array[0, 0] = 999
    affine.numpy()[1, 1] = 999
    assert affine == AffineMatrix()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.eye(3), "shape 3x3, expected 4x4"),
        (np.ones((4, 4, 4)), "4x4x4, expected 4x4"),
        ([[1, 2], [3]], "expected 4x4"),
        (5, "expected 4x4"),
        ("abcd", "expected 4x4"),
        (["1234"] * 4, "'1'"),
        ([[1, 0, 0, "x"], [0, 1, 0, 0], [0, 0, 1, 0]], "'x'"),
        ([[1j, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "1j"),
        ([[None, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "None"),
        ([[math.nan, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "nan"),
        ([[1, 0, 0, 0], [0, math.inf, 0, 0], [0, 0, 1, 0]], "inf"),
        ([[1, 0, 0, 1e101], [0, 1, 0, 0], [0, 0, 1, 0]], r"1e\+101"),
        ([[10**400, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "expected a real number"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 2]], r"last row .*expected \(0, 0, 0, 1\)"),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0.1, 0, 1]], "last row"),
    ],
)
def test_refusals(wrong: object, message: str) -> None:
    with pytest.raises(GeometryError, match=message) as caught:
        AffineMatrix(wrong)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_rounding_noise_in_the_last_row_is_taken_off() -> None:
    matrix = np.eye(4)
    matrix[3] = [1e-17, -1e-12, 0, 1 + 1e-15]
    assert AffineMatrix(matrix) == AffineMatrix()


def test_frozen() -> None:
    affine = AffineMatrix()
    with pytest.raises(AttributeError, match="frozen"):
        affine.spacing = (2, 2, 2)  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        affine.whatever = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="frozen"):
        del affine._rows
    with pytest.raises(TypeError):
        affine[0, 0] = 5  # type: ignore[index]


@given(affines)
def test_copies_pickles_and_hashes(affine: AffineMatrix) -> None:
    twin = AffineMatrix(affine.numpy())
    assert twin == affine and hash(twin) == hash(affine) and len({twin, affine}) == 1
    for same in (
        pickle.loads(pickle.dumps(affine)),
        copy.copy(affine),
        copy.deepcopy(affine),
        affine.clone(),
        affine.to("cuda"),
    ):
        assert same == affine
    assert affine != affine.with_origin((1000, 0, 0))
    assert affine != "affine" and affine != affine.rows


# -- members -------------------------------------------------------------------------------------------------


def test_torchio_names() -> None:
    affine = AffineMatrix.from_spacing((2, 3, 4), origin=(10, 20, 30))
    assert affine.shape == (4, 4) == np.asarray(affine).shape
    assert affine[1, 3] == affine[-3, -1] == 20 and affine[0] == (2, 0, 0, 10)
    assert affine[:3, 3] == (10, 20, 30) and affine[:2, :2] == ((2, 0), (0, 3))
    assert list(affine) == list(affine.rows) and len(affine) == 4
    with pytest.raises(IndexError):
        affine[4, 0]
    assert repr(affine) == "AffineMatrix(spacing=(2.00, 3.00, 4.00), origin=(10.00, 20.00, 30.00), orientation=RAS+)"
    assert np.array(affine, dtype=np.float32).dtype == np.float32
    assert np.array_equal(np.asarray(affine) @ [1, 1, 1, 1], [12, 23, 34, 1])
    assert np.array_equal(np.eye(4) @ affine, affine.numpy()) and np.array_equal(affine @ np.eye(4), affine.numpy())
    assert affine.numpy().flags.writeable
    with pytest.raises(ValueError, match="copy"):
        np.array(affine, copy=False)
    with pytest.raises(TypeError):
        affine @ "not an affine"  # type: ignore[operator]


@given(affines)
def test_spacing_direction_origin_make_the_affine(affine: AffineMatrix) -> None:
    again = AffineMatrix.from_spacing(affine.spacing, origin=affine.origin, direction=affine.direction)
    assert close(again, affine)
    np.testing.assert_allclose(affine.spacing, nibabel.affines.voxel_sizes(affine.numpy()), rtol=1e-14)
    assert affine.with_spacing(affine.spacing) == affine
    assert affine.with_direction(affine.direction) == affine
    assert affine.with_origin(affine.origin) == affine


@given(affines, spacings, points)
def test_with_spacing_and_origin(affine: AffineMatrix, spacing: tuple[float, ...], origin: tuple[float, ...]) -> None:
    changed = affine.with_spacing(spacing).with_origin(origin)
    np.testing.assert_allclose(changed.spacing, spacing, rtol=1e-13)
    assert changed.origin == origin
    assert close(changed.direction, affine.direction, 1e-12)
    assert affine.with_spacing((affine.spacing[0], *spacing[1:])).rows[0][0] == affine.rows[0][0]


def test_spacing_may_be_one_number() -> None:
    assert AffineMatrix.from_spacing(2).spacing == (2, 2, 2) == AffineMatrix().with_spacing(np.float64(2)).spacing


@pytest.mark.parametrize("spacing", [0, -1, (1, 0, 1), (1, -2, 1), (1, 2), (1, 2, 3, 4), math.nan, "123", None])
def test_wrong_spacing(spacing: object) -> None:
    for call in (AffineMatrix.from_spacing, AffineMatrix().with_spacing):
        with pytest.raises(GeometryError, match="spacing"):
            call(spacing)  # type: ignore[arg-type]


def test_wrong_origin_and_direction() -> None:
    for origin in ((1, 2), 5, (1, 2, math.inf), "xyz"):
        with pytest.raises(GeometryError, match="origin"):
            AffineMatrix().with_origin(origin)  # type: ignore[arg-type]
    for direction in (np.eye(4), 5, [[1, 0], [0, 1]], [1, 2, 3], "abc"):
        with pytest.raises(GeometryError, match="direction"):
            AffineMatrix().with_direction(direction)


@given(flat_affines, spacings)
def test_singular_affines_exist_but_have_no_inverse(affine: AffineMatrix, spacing: tuple[float, ...]) -> None:
    assert affine.is_singular and affine.determinant == 0 and 0 in affine.spacing
    assert affine.is_finite
    with pytest.raises(GeometryError, match="no inverse"):
        affine.inverse()
    with pytest.raises(GeometryError, match="no direction"):
        affine.with_spacing(spacing)


@given(affines)
def test_determinant(affine: AffineMatrix) -> None:
    np.testing.assert_allclose(affine.determinant, np.linalg.det(affine.numpy()), rtol=1e-9)


def rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix[one, one], matrix[one, two], matrix[two, one], matrix[two, two] = c, -s, s, c
    return matrix


@given(oblique_affines)
def test_euler_angles_turn_the_world_axes_into_the_voxel_axes(affine: AffineMatrix) -> None:
    assume(affine.determinant > 0)
    x, y, z = affine.euler_angles
    found = rotation(2, z) @ rotation(1, y) @ rotation(0, x)
    np.testing.assert_allclose(found, affine.direction, atol=3e-6)


@pytest.mark.parametrize("angles", [(10, 20, 30), (0, 0, 90), (-170, 5, 3), (30, 90, 0), (-45, -90, 0), (90, 0, 0)])
def test_euler_angles(angles: tuple[float, float, float]) -> None:
    x, y, z = angles
    block = rotation(2, z) @ rotation(1, y) @ rotation(0, x)
    np.testing.assert_allclose(AffineMatrix.from_spacing((2, 3, 4), direction=block).euler_angles, angles, atol=1e-6)


@given(affines)
def test_obliquity_is_that_of_nibabel(affine: AffineMatrix) -> None:
    best = np.abs(affine.numpy()[:3, :3] / affine.spacing).max(axis=0)
    np.testing.assert_allclose(affine.obliquity_deg, np.degrees(np.arccos(np.minimum(best, 1))).max(), atol=2e-6)
    if affine.shear_deg < 1e-9 and affine.obliquity_deg < 40:
        theirs = np.degrees(np.nan_to_num(nibabel.affines.obliquity(affine.numpy()))).max()
        np.testing.assert_allclose(affine.obliquity_deg, theirs, atol=2e-6)


@given(straight_affines)
def test_straight_affines_are_neither_oblique_nor_sheared(affine: AffineMatrix) -> None:
    assert affine.obliquity_deg == 0 and affine.shear_deg == 0


@given(oblique_affines, st.floats(0.001, 60))
def test_shear_is_measured(affine: AffineMatrix, angle: float) -> None:
    assert affine.shear_deg < 1e-7
    lean = AffineMatrix([[1, math.tan(math.radians(angle)), 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    turned = AffineMatrix.from_spacing(1, direction=affine.direction) @ lean
    np.testing.assert_allclose(turned.shear_deg, angle, atol=1e-7)


# -- laws ----------------------------------------------------------------------------------------------------


@given(affines, points)
def test_inverse(affine: AffineMatrix, point: tuple[float, ...]) -> None:
    inverse = affine.inverse()
    assert close(inverse.apply(affine.apply(point)), point, 1e-6)
    assert close(affine @ inverse, AffineMatrix(), 1e-8) and close(inverse @ affine, AffineMatrix(), 1e-6)
    assert close(inverse.inverse(), affine, 1e-7)
    np.testing.assert_allclose(inverse.numpy(), np.linalg.inv(affine.numpy()), rtol=1e-6, atol=1e-6)


@given(affines, affines, points)
def test_composition_is_application_in_turn(left: AffineMatrix, right: AffineMatrix, point: tuple[float, ...]) -> None:
    assert close((left @ right).apply(point), left.apply(right.apply(point)), 1e-5)
    assert left @ right == left.compose(right)
    np.testing.assert_allclose((left @ right).numpy(), left.numpy() @ right.numpy(), rtol=1e-9, atol=1e-6)
    assert left @ AffineMatrix() == left == AffineMatrix() @ left


@given(codes, codes, codes)
def test_right_angles_compose_exactly(one: tuple[str, ...], two: tuple[str, ...], three: tuple[str, ...]) -> None:
    assert AffineMatrix.between(two, three) @ AffineMatrix.between(one, two) == AffineMatrix.between(one, three)
    assert AffineMatrix.between(one, two).inverse() == AffineMatrix.between(two, one)


@given(affines)
def test_ras_lps_ras_is_exact(affine: AffineMatrix) -> None:
    assert AffineMatrix.from_lps(affine.to_lps()) == affine
    assert affine.to_lps() == AffineMatrix.between("RAS", "LPS") @ affine
    np.testing.assert_array_equal(affine.to_lps().numpy(), np.diag([-1, -1, 1, 1]) @ affine.numpy())
    assert affine.to_lps().spacing == affine.spacing


@given(points, codes)
def test_between_spaces(point: tuple[float, ...], space: tuple[str, ...]) -> None:
    there = AffineMatrix.between("RAS", space)
    assert AffineMatrix.between(space, "RAS").apply(there.apply(point)) == point
    assert there.inverse().orientation == AffineMatrix.between(space, "RAS").orientation


def test_between_refuses_other_letters() -> None:
    with pytest.raises(UsageError):
        AffineMatrix.between("RAS", "XYZ")


@given(straight_affines, codes)
def test_no_negative_zero(affine: AffineMatrix, space: tuple[str, ...]) -> None:
    made = (
        affine.inverse(),
        affine.to_lps(),
        affine @ AffineMatrix.between("RAS", space),
        AffineMatrix([[-0.0] * 4] * 3),
        affine.with_origin((-0.0, -0.0, 0.0)),
    )
    for each in made:
        assert signs(each) == {1.0}
    assert all(math.copysign(1, value) == 1 for value in affine.euler_angles if value == 0)


def test_simpleitk_agrees_about_lps() -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.Image(4, 5, 6, sitk.sitkUInt8)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((7, -8, 9))
    image.SetDirection((0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, -1))
    lps = AffineMatrix.from_spacing(image.GetSpacing(), origin=image.GetOrigin(), direction=image.GetDirection())
    ras = AffineMatrix.from_lps(lps)
    x, y, z = ras.apply((1, 2, 3))
    assert close((-x, -y, z), image.TransformIndexToPhysicalPoint((1, 2, 3)))
    assert close(np.ravel(ras.to_lps().direction), image.GetDirection())


# -- points --------------------------------------------------------------------------------------------------


@given(affines, st.lists(points, max_size=5))
def test_points_of_every_kind(affine: AffineMatrix, many: list[tuple[float, ...]]) -> None:
    found = affine.apply(many)
    assert found == tuple(affine.apply(point) for point in many)
    array = affine.apply(np.array(many).reshape(-1, 3))
    assert array.shape == (len(many), 3) and array.dtype == np.float64
    if many:
        np.testing.assert_allclose(array, found, atol=1e-9)
        np.testing.assert_allclose(array, nibabel.affines.apply_affine(affine.numpy(), many), atol=1e-9)
        assert close(affine.apply(np.array(many[0], dtype=int)), affine.apply([int(value) for value in many[0]]))


@pytest.mark.parametrize(
    "wrong", [(1, 2), (1, 2, 3, 4), [(1, 2)], [(1, 2, 3), (1, 2)], ("a", "b", "c"), [(1, 2, 3), 4]]
)
def test_wrong_points(wrong: object) -> None:
    with pytest.raises(GeometryError, match="not three numbers"):
        AffineMatrix().apply(wrong)
    for array in (np.zeros(2), np.zeros((3, 4)), np.zeros(())):
        with pytest.raises(GeometryError, match=r"expected \(3,\) or \(N, 3\)"):
            AffineMatrix().apply(array)


# -- comparison ----------------------------------------------------------------------------------------------


@given(affines, shapes, st.floats(0, 5), st.integers(0, 2))
def test_mm_shift_of_a_translation(affine: AffineMatrix, shape: tuple[int, ...], shift: float, axis: int) -> None:
    moved = affine.with_origin(value + shift * (axis == k) for k, value in enumerate(affine.origin))
    assert abs(affine.mm_shift(moved, shape) - shift) < 1e-9
    assert affine.mm_shift(affine, shape) == 0


@given(affines, affines, shapes)
def test_mm_shift_is_the_worst_of_all_voxels(one: AffineMatrix, two: AffineMatrix, shape: tuple[int, ...]) -> None:
    voxels = np.indices(shape).reshape(3, -1).T
    worst = np.linalg.norm(one.apply(voxels) - two.apply(voxels), axis=1).max()
    np.testing.assert_allclose(one.mm_shift(two, shape), worst, rtol=1e-9, atol=1e-9)


def test_allclose() -> None:
    near = LEFT_HANDED.with_origin((90, -126, -72.0000005))
    assert LEFT_HANDED.allclose(near) and not LEFT_HANDED.allclose(near, atol=1e-8)
    assert LEFT_HANDED.allclose(near.numpy())
    assert near != LEFT_HANDED


def test_overflow_is_an_error() -> None:
    large = AffineMatrix.from_spacing(1e99)
    with pytest.raises(GeometryError, match="below 1e"):
        _ = large @ large


def test_no_array_library_is_imported() -> None:
    code = (
        "import sys; from medimg_cli.grid import Grid; from medimg_cli.labels import LabelTable as T;"
        "a = Grid((2, 3, 4), [[0, -2, .1, 3], [3, 0, 0, 4], [0, .2, 1, 5]])[::-1, 1].affine;"
        "a.spacing, a.orientation, a.shear_deg, a.obliquity_deg, a.inverse(), T({1: 'a'}).to_text('slicer');"
        "print(sorted({'numpy', 'torch', 'dataclasses', 'inspect', 'json', 'tempfile'} & set(sys.modules)))"
    )
    root = Path(medimg_cli.__file__).parents[1]
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"

"""Resampling: values are where the world says, on any grid; labels are never mixed; the way back is exact."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import CastError, GeometryError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.grid import Grid
from medimg_cli.header import Gradients, Header
from medimg_cli.operations import apply
from medimg_cli.operations.resample import INTERPOLATIONS, Resample
from medimg_cli.storage.stored import whole
from tests.helpers import read
from tests.operations.helpers import OBLIQUE, numbered
from tests.strategies import affines, sheared_affines

SLOPES = np.array([0.7, -0.4, 1.3])


def of_the_world(grid: Grid, dtype: str = "float64") -> Any:
    """Return an image whose values are a linear function of where they lie."""
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    matrix = grid.affine.numpy()
    values = (voxels @ matrix[:3, :3].T + matrix[:3, 3]) @ SLOPES + 10
    header = Header(shape=(1, *grid.shape), dtype=dtype, affine=grid.affine)
    return ArrayBackend(values[None].astype(dtype), header)


def well_inside(backend: Any, source: Grid, margin: float) -> np.ndarray[Any, Any]:
    """Tell which voxels lie among the source's voxel centres, some voxels away from its border."""
    grid = backend.header.grid
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    move = (source.affine.inverse() @ grid.affine).numpy()
    places = voxels @ move[:3, :3].T + move[:3, 3]
    return np.all((places >= margin) & (places <= np.array(source.shape) - 1 - margin), axis=-1)


# -- where values lie


@settings(deadline=None, max_examples=40)
@given(source=affines, target=st.one_of(affines, sheared_affines()))
def test_a_function_of_the_world_is_itself_on_any_grid(source: AffineMatrix, target: AffineMatrix) -> None:
    """Oblique, sheared, left-handed: linear interpolation of a linear function is exact."""
    grid = Grid((9, 8, 7), source)
    centre = target.with_origin(c - r for c, r in zip(grid.center, target.with_origin((0, 0, 0)).apply((2, 2, 2))))
    found = apply(Resample(Grid((5, 6, 4), centre), antialias=False), of_the_world(grid))
    inside = well_inside(found, grid, 0.0)
    wanted = read(of_the_world(found.header.grid))
    assert np.allclose(read(found)[0][inside], wanted[0][inside], atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
def test_smooth_values_survive_every_interpolation(interpolation: str) -> None:
    grid = Grid((40, 38, 36), OBLIQUE)
    found = apply(Resample((0.6, 0.9, 0.7), interpolation=interpolation), of_the_world(grid))
    inside = well_inside(found, grid, 8)
    assert inside.any()
    wanted = read(of_the_world(found.header.grid))
    assert np.allclose(read(found)[0][inside], wanted[0][inside], rtol=0.02)


@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic"])
def test_the_same_as_simpleitk_on_its_own_images(interpolation: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    random = np.random.default_rng(5)
    affine = AffineMatrix.from_spacing((1.5, 2, 1.2), origin=(3, -8, 2))
    source = ScalarImage(random.normal(size=(1, 14, 12, 10)).astype("float32"), affine=affine)
    target = Grid((11, 9, 13), AffineMatrix.from_spacing((1.1, 1.7, 0.9), origin=(4.2, -6.1, 3.3)))
    ours = source.resample(target, interpolation=interpolation, antialias=False)
    like = ScalarImage(np.zeros((1, *target.shape), "float32"), affine=target.affine).as_sitk()
    kinds = {"nearest": sitk.sitkNearestNeighbor, "linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline3}
    theirs = sitk.Resample(source.as_sitk(), like, sitk.Transform(), kinds[interpolation], 0.0)
    expected = sitk.GetArrayFromImage(theirs).transpose(2, 1, 0)
    assert np.allclose(ours.numpy()[0], expected, atol=1e-4)


def test_the_same_as_mrgrid(tmp_path: Path) -> None:
    mrgrid = shutil.which("mrgrid")
    if mrgrid is None:
        pytest.skip("mrgrid (MRtrix3) is not installed")
    grid = Grid((24, 20, 18), AffineMatrix.from_spacing((2, 2.5, 3), origin=(-20, 10, 5)))
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    smooth = 100 + 50 * np.sin(voxels[..., 0] / 5) * np.cos(voxels[..., 1] / 6) + voxels[..., 2]
    image = ScalarImage(smooth[None].astype("float32"), affine=grid.affine)
    image.save(tmp_path / "in.nii")
    command = [
        mrgrid,
        tmp_path / "in.nii",
        "regrid",
        tmp_path / "out.nii",
        "-voxel",
        "1.7",
        "-interp",
        "linear",
        "-quiet",
    ]
    subprocess.run(command, check=True)
    theirs, ours = ScalarImage(tmp_path / "out.nii"), image.resample(1.7)
    assert ours.grid.same_as(theirs.grid, 1e-3)
    inner = (slice(None), *[slice(2, -2)] * 3)
    assert np.allclose(ours.numpy()[inner], theirs.numpy()[inner], atol=0.5)


def test_half_a_voxel_beyond_the_outermost_centres_is_still_the_image() -> None:
    line = ArrayBackend(
        np.array([10, 20], "int16").reshape(1, 2, 1, 1),
        Header(shape=(1, 2, 1, 1), dtype="int16", affine=AffineMatrix()),
    )
    target = Grid((7, 1, 1), AffineMatrix.from_spacing((0.5, 1, 1), origin=(-0.8, 0, 0)))
    assert read(apply(Resample(target, fill=-5), line)).ravel().tolist() == [-5, 10, 12, 17, 20, -5, -5]
    nearest = apply(Resample(target, interpolation="nearest", fill=-5), line)
    assert read(nearest).ravel().tolist() == [-5, 10, 10, 20, 20, -5, -5]


def test_an_image_elsewhere_is_all_fill() -> None:
    found = apply(Resample(Grid((3, 2, 4), AffineMatrix.from_spacing(1, origin=(900, 0, 0))), fill=7), numbered())
    assert np.unique(read(found)).tolist() == [7]
    with pytest.raises(CastError):
        read(apply(Resample(2.0, fill=0.5), numbered(dtype="int16")))


# -- types and slopes


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float64", "bool"]
)
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "cubic", "lanczos"])
def test_the_stored_type_stays(dtype: str, interpolation: str) -> None:
    random = np.random.default_rng(3)
    high = {"bool": 2, "uint8": 256}.get(dtype, 100)
    array = random.integers(0, high, (1, 6, 7, 5)).astype(dtype)
    backend = ArrayBackend(array, Header(shape=array.shape, dtype=dtype, affine=OBLIQUE))
    found = read(apply(Resample((0.7, 0.9, 1.1), interpolation=interpolation), backend))
    assert found.dtype == dtype and found.any()
    if dtype != "bool":
        assert found.astype(float).max() < (255.5 if dtype == "uint8" else 200)


def test_large_integers_stay_exact_where_nothing_is_mixed() -> None:
    array = (np.arange(60, dtype="uint64").reshape(1, 5, 4, 3) + 2**63 + 1).astype("uint64")
    backend = ArrayBackend(array, Header(shape=array.shape, dtype="uint64", affine=OBLIQUE))
    turned = Grid((5, 4, 3), OBLIQUE @ AffineMatrix([[0.99, 0.01, 0, 0], [0, 1, 0.01, 0], [0, 0, 1, 0]]))
    for target in (backend.header.grid.resampled(spacing=0.5), turned):
        found = read(apply(Resample(target, interpolation="nearest"), backend))
        assert set(found.ravel().tolist()) <= {*array.ravel().tolist(), 0}


def test_complex_values_are_interpolated_by_parts() -> None:
    real = of_the_world(Grid((6, 5, 4), OBLIQUE))
    array = real.array + 2j * real.array
    backend = ArrayBackend(array, real.header.replace(dtype="complex128"))
    found, wanted = read(apply(Resample(1.0), backend)), read(apply(Resample(1.0), real))
    assert np.allclose(found, wanted + 2j * wanted)
    with pytest.raises(UnsupportedError):
        read(apply(Resample(1.0, interpolation="label"), backend))


def test_a_slope_is_kept_and_the_fill_is_a_value() -> None:
    array = np.arange(60, dtype="int16").reshape(1, 5, 4, 3) * 10
    header = Header(shape=array.shape, dtype="int16", affine=AffineMatrix(), slope=0.5, inter=-3.0)
    found = apply(
        Resample(Grid((7, 4, 3), AffineMatrix.from_spacing(1, origin=(-2, 0, 0)))), ArrayBackend(array, header)
    )
    assert (found.header.dtype, found.header.slope, found.header.inter) == ("int16", 0.5, -3.0)
    values = read(found)
    assert values.dtype == "float32" and values[0, 0, 0, 0] == 0.0
    assert np.array_equal(values[0, 2:], array[0] * np.float32(0.5) - 3)


def test_nan_stays_with_its_neighbours() -> None:
    array = np.ones((1, 9, 9, 9), "float32")
    array[0, 4, 4, 4] = np.nan
    found = ScalarImage(array).resample(0.5).numpy()
    assert 0 < np.isnan(found).sum() <= 64
    assert np.nanmax(found) == 1


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_stays_so_and_stays_there(interpolation: str, value: float) -> None:
    array = np.ones((1, 30, 30, 30), "float32")
    array[0, 15, 15, 15] = value
    base = ArrayBackend(array, Header(shape=array.shape, dtype="float32", affine=AffineMatrix()))
    moved = AffineMatrix.from_spacing(1, origin=(1, 0, 0))
    found = read(apply(Resample(Grid((28, 30, 30), moved), interpolation=interpolation), base))
    assert np.array_equal(found[0, 14, 15, 15], np.float32(value), equal_nan=True)
    assert (~np.isfinite(found)).sum() == 1
    fine = apply(Resample(0.5, interpolation=interpolation), base)
    everything = read(fine)
    assert 0 < (~np.isfinite(everything)).sum() <= 64
    part = fine.read((range(1), range(10), range(10), range(10)))
    assert np.array_equal(part, everything[:, :10, :10, :10])


def test_infinities_of_both_signs_are_nan_between_them() -> None:
    array = np.zeros((1, 9, 3, 3), "float64")
    array[0, 3], array[0, 4] = np.inf, -np.inf
    found = ScalarImage(array).resample((0.5, 1, 1)).numpy()
    assert np.isnan(found).any() and np.isposinf(found).any() and np.isneginf(found).any()


def test_fills_of_any_kind() -> None:
    real = of_the_world(Grid((6, 5, 4), AffineMatrix()))
    around = Grid((12, 5, 4), AffineMatrix.from_spacing(1, origin=(-3.25, 0, 0)))
    for fill in (np.inf, np.nan, 7.0):
        found = read(apply(Resample(around, fill=fill), real))
        assert np.array_equal(found[0, 0], np.full((5, 4), fill), equal_nan=True)
        assert np.isfinite(found[0, 4:8]).all() and not (found[0, 4:8] == 7).any()
    backend = ArrayBackend(real.array + 2j * real.array, real.header.replace(dtype="complex128"))
    assert read(apply(Resample(around, fill=7.0), backend))[0, 0, 0, 0] == 7


def test_numbers_that_arithmetic_does_not_hold_are_refused() -> None:
    array = np.full((1, 4, 4, 4), 2**63 - 1, "int64")
    backend = ArrayBackend(array, Header(shape=array.shape, dtype="int64", affine=AffineMatrix()))
    with pytest.raises(UnsupportedError, match="not interpolated exactly"):
        read(apply(Resample(0.7), backend))
    assert np.unique(read(apply(Resample(0.5, interpolation="nearest"), backend))).tolist() == [2**63 - 1]


# -- labels


@settings(deadline=None, max_examples=30)
@given(source=affines, spacing=st.floats(0.4, 4), seed=st.integers(0, 99))
def test_no_label_is_invented(source: AffineMatrix, spacing: float, seed: int) -> None:
    array = np.random.default_rng(seed).choice([0, 3, 7, 200], (1, 6, 5, 4)).astype("uint8")
    labels = LabelMap(array, affine=AffineMatrix.from_spacing((1.5, 2, 1), origin=source.origin))
    for found in (labels.resample(spacing), labels.resample(spacing, interpolation="label"), labels.resample(size=7)):
        assert set(np.unique(found.numpy())) <= {0, 3, 7, 200}


def test_headers_know_labels_too() -> None:
    image = numbered((1, 5, 4, 3), dtype="uint8", intent="label")
    assert Resample(0.7).prepare(image).interpolation == "nearest"
    assert Resample(0.7).prepare(numbered()).interpolation == "linear"
    with pytest.raises(UsageError, match="invent labels"):
        LabelMap(image).apply(Resample(0.7, interpolation="linear"))


# -- shrinking


def test_shrinking_is_free_of_aliases() -> None:
    """A pattern of single voxels averages out when four voxels become one, and would not without smoothing."""
    board = (np.indices((32, 32, 32)).sum(0) % 2).astype("float32")[None] * 100
    smooth = ScalarImage(board).resample(4).numpy()[0, 2:-2, 2:-2, 2:-2]
    assert np.abs(smooth - 50).max() < 5
    rough = ScalarImage(board).resample(Grid((8, 8, 8), AffineMatrix.from_spacing(4)), antialias=False)
    assert rough.numpy().max() == 0
    constant = ScalarImage(np.full((1, 20, 20, 20), 7, "int16")).resample(3)
    assert np.unique(constant.numpy()).tolist() == [7]


def test_growing_smooths_nothing() -> None:
    source = numbered((1, 6, 5, 4), dtype="float32")
    fine = Resample(source.header.grid.resampled(size=(12, 10, 8)))
    assert np.array_equal(read(apply(fine, source)), read(apply(Resample(fine.target, antialias=False), source)))


# -- regions, streams, memory


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_regions_are_parts_of_the_whole(interpolation: str) -> None:
    array = np.random.default_rng(1).integers(0, 200, (3, 30, 28, 26)).astype("int16")
    source = ArrayBackend(array, Header(shape=array.shape, dtype="int16", affine=OBLIQUE))
    tilted = AffineMatrix([[2.1, 0.3, 0.1, 4], [-0.2, 1.9, 0.2, -3], [0.1, 0, 3.2, 2]])
    for target in ((0.8, 1.1, 0.9), Grid((20, 25, 15), tilted), (5.0, 4.0, 6.0)):
        found = apply(Resample(target, interpolation=interpolation), source)
        everything = found.read(whole(found.header.shape), raw=True)
        _, i, j, k = found.header.shape
        region = range(2, 0, -1), range(1, i - 1, 2), range(j - 1, 0, -3), range(0, k, 2)
        part = found.read(region, raw=True)
        assert np.array_equal(part, everything[np.ix_(*region)])


def test_only_the_support_of_a_region_is_read() -> None:
    class Counting(ArrayBackend):
        asked = 0

        def read(self, region: Any, *, raw: bool = False) -> Any:
            Counting.asked += int(np.prod([len(span) for span in region]))
            return super().read(region, raw=raw)

    base = numbered((1, 60, 60, 60))
    found = apply(Resample(0.5), Counting(base.array, base.header.replace(affine=AffineMatrix())))
    found.read((range(1), range(50, 60), range(50, 60), range(50, 60)))
    assert Counting.asked <= 9**3


def test_streams_are_whole_reads(tmp_path: Path) -> None:
    source = str(tmp_path / "in.nii.gz")
    save_backend(numbered((2, 30, 20, 25), dtype="int16"), source)
    found = apply(Resample((0.6, 0.8, 0.7)), open_backend(source))
    save_backend(found, str(tmp_path / "out.nii"))
    again = open_backend(str(tmp_path / "out.nii"))
    assert np.array_equal(read(again, raw=True), read(found, raw=True))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory that Linux reports")
def test_memory_is_bounded(tmp_path: Path) -> None:
    """350 MB of output are streamed in a fraction of them, beyond what importing takes."""
    header = Header(shape=(1, 120, 110, 100), dtype="int16", affine=AffineMatrix())
    save_backend(ArrayBackend(np.ones(header.shape, "int16"), header), str(tmp_path / "in.nii"))
    code = (
        "import resource, SimpleITK, numpy\n"
        "from medimg_cli.formats import open_backend\n"
        "from medimg_cli.operations import apply\n"
        "from medimg_cli.operations.resample import Resample\n"
        "from medimg_cli.storage.stored import Layout\n"
        f"found = apply(Resample(0.2), open_backend({str(tmp_path / 'in.nii')!r}))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert found.header.data_bytes > 300e6\n"
        "for block in found.blocks(Layout.packed(found.header.shape, 'int16')): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert int(done.stdout) < 150_000  # KiB


# -- headers and the way back


@settings(deadline=None, max_examples=30)
@given(affine=affines, spacing=st.tuples(*[st.floats(0.5, 5)] * 3))
def test_the_way_back_restores_the_grid_verbatim(affine: AffineMatrix, spacing: tuple[float, float, float]) -> None:
    image = ScalarImage(of_the_world(Grid((5, 4, 6), AffineMatrix.from_spacing((2, 1.5, 3), origin=affine.origin))))
    back = image.resample(spacing).apply_inverse_transform()
    assert back.grid == image.grid


def test_headers_follow() -> None:
    gradients = Gradients((0.0, 1000.0), ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)))
    affine = AffineMatrix([[-2, 0, 0, 5], [0, 2, 0, 1], [0, 0, 2, 0]])
    source: Any = numbered(
        (2, 6, 5, 4), affine, sform=affine, sform_code=1, gradients=gradients, axes=(("channel", 2),)
    )
    quarter = AffineMatrix([[0, 1, 0, -5], [1, 0, 0, 1], [0, 0, 1, 0]])  # i runs along y, j along x
    found = apply(Resample(Grid((8, 8, 8), quarter)), source)
    assert found.header.sform == found.header.affine == quarter
    assert found.header.gradients is not None
    sign = -1 if quarter.determinant > 0 else 1
    x, y, z = found.header.gradients.bvecs[1]
    turned = quarter.numpy()[:3, :3] @ np.array([sign * x, y, z])
    assert np.allclose(turned, [-1, 0, 0])  # voxel axis i of the source runs to the left
    assert found.header.history[-1]["name"] == "resample"


def test_the_same_grid_changes_nothing() -> None:
    source = numbered()
    assert apply(Resample(source.header.grid), source) is source
    assert apply(Resample(ScalarImage(source)), source) is source


@pytest.mark.parametrize(
    "make",
    [
        lambda: Resample(),
        lambda: Resample(1, size=3),
        lambda: Resample(0),
        lambda: Resample(-1),
        lambda: Resample(float("nan")),
        lambda: Resample((1, 2)),
        lambda: Resample("big"),
        lambda: Resample(size=0),
        lambda: Resample(size=(1, 2)),
        lambda: Resample(1, interpolation="magic"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises((UsageError, GeometryError)) as caught:
        make()
    assert "\n" not in str(caught.value)

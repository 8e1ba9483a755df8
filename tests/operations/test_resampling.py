"""What ``resample`` is asked for; label votes; real images against other programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import GeometryError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.grid import Grid
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.operations import apply
from medimg_cli.operations.amounts import three
from medimg_cli.operations.pad import Pad
from medimg_cli.operations.resample import Resample
from medimg_cli.operations.resampling import ResampleRequest, misses
from medimg_cli.operations.sampling import Sampler
from medimg_cli.operations.separable import weights_of
from medimg_cli.statistics import why_labels
from tests.helpers import read
from tests.operations.helpers import OBLIQUE
from tests.strategies import affines, sheared_affines

EXAMPLE = Path(nib.__file__).parent / "tests" / "data" / "anatomical.nii"


def image(array: Any, affine: AffineMatrix = OBLIQUE, **fields: Any) -> ArrayBackend:
    array = np.asarray(array)
    return ArrayBackend(array[None], Header(shape=(1, *array.shape), dtype=array.dtype.name, affine=affine, **fields))


def blobs(shape: tuple[int, int, int], seed: int, labels: int = 3) -> np.ndarray[Any, Any]:
    """Return a label map of balls, the later in front of the earlier."""
    random = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    found = np.zeros(shape, "uint8")
    for label in range(1, labels + 1):
        centre = [random.uniform(0.25, 0.75) * size for size in shape]
        radius = random.uniform(0.15, 0.3) * min(shape)
        found[((places - centre) ** 2).sum(-1) < radius**2] = label
    return found


# -- words


def test_words_become_numbers() -> None:
    assert three("1.5", "--spacing") == (1.5, 1.5, 1.5)
    assert three("1,2,3", "--size", int) == (1, 2, 3) == three("1x2x3", "--size", int)


@pytest.mark.parametrize("text", ["", "a", "1,2", "0", "-1", "1,1,nan", "inf", "1,2,3,4", "1e400"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not one or three positive numbers"):
        three(text, "--spacing")


@pytest.mark.parametrize("words", [{}, {"spacing": "1", "size": "2"}, {"isotropic": True, "like": "x.nii"}])
def test_one_grid_is_asked_for(words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="give one of"):
        ResampleRequest(**words)


def test_isotropic_is_the_smallest_spacing() -> None:
    source = image(np.ones((6, 5, 4), "float32"), AffineMatrix.from_spacing((2, 1.25, 3)))
    assert apply(ResampleRequest(isotropic=True), source).header.spacing == (1.25, 1.25, 1.25)


def test_what_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    near = ScalarImage(np.ones((1, 4, 4, 4), "float32"))
    far = ScalarImage(np.ones((1, 4, 4, 4), "float32"), origin=(0, 0, -40))
    far.save(tmp_path / "far.nii")
    with pytest.raises(GeometryError, match="nothing of it lies on the grid of .*far.nii: the two are 37 mm apart"):
        near.apply(ResampleRequest(like=str(tmp_path / "far.nii")))


@settings(deadline=None, max_examples=60)
@given(source=affines, target=st.one_of(affines, sheared_affines()), shift=st.floats(-30, 30))
def test_what_misses_is_all_fill(source: AffineMatrix, target: AffineMatrix, shift: float) -> None:
    grid = Grid((5, 4, 6), source)
    other = Grid((4, 5, 3), target.with_origin(c + shift for c in grid.center))
    if misses(grid, other) is not None:
        found = apply(Resample(other, interpolation="nearest", fill=7), image(np.ones(grid.shape, "uint8"), source))
        assert np.unique(read(found)).tolist() == [7]


# -- what is a label map


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (blobs((20, 18, 16), 1), "only 4 different integers"),
        (blobs((20, 18, 16), 1, 12) * 3, "in patches"),
        (np.random.default_rng(0).integers(0, 2, (9, 8, 7)).astype("int16"), "only 2 different integers"),
        (np.zeros((3, 4, 5), "int32"), "only zeros"),
        (np.full((3, 4, 5), 7, "int16"), "only one value"),
        (np.kron(np.arange(256).reshape(16, 16, 1), np.ones((4, 4, 4))).astype("uint8"), None),
        (np.kron(np.arange(200).reshape(10, 20, 1), np.ones((4, 4, 4))).astype("uint8"), "in patches"),
        (blobs((20, 18, 16), 1).astype(bool), "mask of bool"),
        (blobs((20, 18, 16), 1).astype("float32"), "only 4 different whole numbers"),
        (blobs((20, 18, 16), 1) * 0.5, None),
        (np.where(blobs((20, 18, 16), 1), np.nan, 1.0), None),
        (np.random.default_rng(0).integers(0, 256, (20, 18, 16)).astype("uint8"), None),
        (np.random.default_rng(0).integers(0, 9, (20, 18, 16)).astype("uint8"), None),
        (np.arange(20 * 18 * 16, dtype="int16").reshape(20, 18, 16), None),
    ],
    ids=[
        "few",
        "patches",
        "mask",
        "empty",
        "constant",
        "photograph",
        "blocks",
        "bool",
        "floats",
        "halves",
        "nan",
        "noise",
        "coarse noise",
        "many",
    ],
)
def test_label_maps_are_recognised(array: Any, reason: str | None) -> None:
    found = why_labels(image(array))
    assert found is None if reason is None else reason in str(found)


def test_headers_decide_before_voxels() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, 8, 7)).astype("uint8")
    assert why_labels(image(noise, intent="label")) == "its header says so"
    assert why_labels(image(noise, labels=LabelTable({1: "one"}))) == "it has a label table"
    assert why_labels(image(blobs((9, 8, 7), 1), slope=0.5, inter=0.0)) is None
    series = np.stack([blobs((9, 8, 7), 1)] * 3)
    header = Header(shape=series.shape, dtype="uint8", affine=OBLIQUE)
    assert "only 4 different integers" in str(why_labels(ArrayBackend(series, header)))
    assert why_labels(ArrayBackend(series, header.replace(axes=(("rgb", 3),)))) is None


def test_the_image_that_comes_with_medimg_is_no_label_map() -> None:
    assert why_labels(open_backend(str(EXAMPLE))) is None


def test_labels_asked_to_be_mixed_are_refused() -> None:
    declared = image(blobs((9, 8, 7), 1), intent="label")
    with pytest.raises(UsageError, match="would invent labels"):
        apply(ResampleRequest("1", interpolation="linear"), declared)
    guessed = image(blobs((9, 8, 7), 1))
    assert ResampleRequest("1", interpolation="cubic").prepare(guessed).interpolation == "cubic"


# -- votes


def test_votes_are_those_of_simpleitk_where_nothing_is_smoothed() -> None:
    sitk = pytest.importorskip("SimpleITK")
    array = blobs((16, 14, 12), 3, 5)
    source = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    target = Grid((15, 17, 19), AffineMatrix([[0.8, 0.1, 0, 1], [-0.1, 0.7, 0.1, 2], [0, 0.1, 0.6, 1]]))
    like = sitk.Image([int(n) for n in target.shape], sitk.sitkUInt8)
    move = sitk.AffineTransform(3)
    move.SetMatrix(target.affine.numpy()[:3, :3].ravel().tolist())
    move.SetTranslation(target.affine.origin)
    theirs = sitk.GetArrayFromImage(sitk.Resample(source, like, move, sitk.sitkLabelLinear, 0.0)).transpose(2, 1, 0)
    ours = read(apply(Resample(target, interpolation="label", antialias=False), image(array, AffineMatrix())))[0]
    assert (ours != theirs).mean() < 0.002  # of labels with the same weight each takes another one
    assert len(np.unique(ours)) == 6


def test_votes_are_counted_over_what_a_large_voxel_covers() -> None:
    """Planes of one voxel of label 1 every third voxel: a voxel of six is mostly background, wherever it lies."""
    array = np.zeros((36, 36, 36), "uint8")
    array[::3] = 1
    source = image(array, AffineMatrix())
    voted = read(apply(Resample(6, interpolation="label"), source))[0]
    assert not voted[1:-1].any()
    nearest = Grid((6, 6, 6), AffineMatrix.from_spacing(6))
    assert read(apply(Resample(nearest, interpolation="nearest"), source)).all()


@pytest.mark.parametrize("dtype", ["bool", "int64", "float32"])
def test_any_whole_numbers_can_vote(dtype: str) -> None:
    array = (blobs((12, 11, 10), 4).astype("int64") * 2**60).astype(dtype)
    found = np.unique(read(apply(Resample(0.7, interpolation="label"), image(array, AffineMatrix()))))
    assert set(found.tolist()) <= set(np.unique(array).tolist()) and len(found) > 1


@pytest.mark.parametrize("array", [np.full((5, 4, 3), 0.5), np.arange(20 * 20 * 20.0).reshape(20, 20, 20)])
def test_other_numbers_cannot(array: Any) -> None:
    with pytest.raises(UnsupportedError, match="vote on|voted on"):
        read(apply(Resample(0.7, interpolation="label"), image(array, AffineMatrix())))


def test_an_oblique_grid_in_parts_is_the_whole() -> None:
    """Ties fall the same way in every part."""
    array = np.random.default_rng(0).integers(0, 1000, (40, 30, 20)).astype("int16")
    grid = Grid((20, 20, 20), AffineMatrix([[1, 0.5, 0, 2], [0.5, 1, 0, 1], [0, 0, 0.5, 0.25]]))
    found = apply(Resample(grid, interpolation="nearest"), image(array, AffineMatrix()))
    everything = read(found)
    for part in (
        (range(1), range(3, 17, 2), range(19, 4, -1), range(7, 13)),
        (range(1), range(20), range(20), range(9)),
    ):
        assert np.array_equal(found.read(part), everything[np.ix_(*part)])


def test_lanczos_keeps_a_constant_on_any_grid() -> None:
    source = image(np.full((20, 20, 20), 1000.0, "float32"), AffineMatrix())
    grid = Grid((9, 9, 9), AffineMatrix([[1, 0.3, 0, 4], [-0.3, 1, 0, 7], [0, 0.2, 1.1, 3]]))
    assert np.allclose(read(apply(Resample(grid, interpolation="lanczos"), source)), 1000, rtol=1e-5)


def test_all_interpolations_see_the_same_border() -> None:
    ramp = (100.0 * np.arange(40)[:, None, None] * np.ones((1, 20, 20))).astype("float32")
    source = image(ramp, AffineMatrix())
    first = [
        read(apply(Resample(2.5, interpolation=each), source))[0, 0, 4, 4] for each in ("linear", "cubic", "lanczos")
    ]
    assert max(first) - min(first) < 5


def test_the_spacing_that_is_there_changes_nothing() -> None:
    turn = AffineMatrix([[0.96, -0.28, 0, 1.1], [0.28, 0.96, 0, 2.2], [0, 0, 2, 3.3]])
    source = image(np.random.default_rng(0).normal(size=(7, 6, 5)), turn)
    assert apply(ResampleRequest("1,1,2"), source) is source
    barely = Resample(1.01, interpolation="linear").prepare(source)
    assert not barely.smooths(barely.plan(image(np.ones((7, 6, 5)), AffineMatrix()).header).voxel_map)


@pytest.mark.parametrize("fill", ["abc", (1, 2), True, {}])
def test_fills_are_numbers(fill: Any) -> None:
    for make in (lambda: Resample(1, fill=fill), lambda: Pad(1, value=fill)):
        with pytest.raises(UsageError, match="expected a number"):
            make()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    source=affines,
    target=st.one_of(affines, sheared_affines()),
    interpolation=st.sampled_from(["nearest", "label"]),
    antialias=st.booleans(),
)
def test_no_value_appears_that_was_not_there(
    seed: int, source: AffineMatrix, target: AffineMatrix, interpolation: str, antialias: bool
) -> None:
    array = (blobs((9, 10, 8), seed, 4) * 17).astype("int16") - 5
    grid = Grid(array.shape, source)
    other = Grid((7, 6, 8), target.with_origin(grid.center))
    wanted = Resample(other, interpolation=interpolation, antialias=antialias, fill=-5)
    assert set(np.unique(read(apply(wanted, image(array, source))))) <= set(np.unique(array))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 999),
    spacing=st.tuples(*[st.floats(0.8, 2.5)] * 3),
    interpolation=st.sampled_from(["nearest", "label"]),
)
def test_volumes_change_by_less_than_the_boundary_allows(
    seed: int, spacing: tuple[float, float, float], interpolation: str
) -> None:
    """Only voxels within one voxel, old or new, of another label may change sides."""
    array = blobs((24, 22, 20), seed)
    labels = LabelMap(array[None], spacing=(1.0, 1.2, 1.5))
    found = labels.resample(spacing, interpolation=interpolation)
    before, after = labels.volumes(), found.volumes()
    reach = [max(a, b) for a, b in zip(labels.spacing, spacing, strict=True)]
    near = np.array([int(np.ceil(r / s)) + 1 for r, s in zip(reach, labels.spacing, strict=True)])
    for label in range(1, 4):
        inside = array == label
        grown, shrunk = inside.copy(), inside.copy()
        for axis, steps in enumerate(near):
            for step in range(1, steps + 1):
                for sign in (1, -1):
                    moved = np.roll(inside, sign * step, axis)
                    grown |= moved
                    shrunk &= moved
        allowed = (grown.sum() - shrunk.sum()) * abs(labels.affine.determinant)
        assert abs(after.get(label, 0) - before.get(label, 0)) <= allowed


# -- real images, other programs


def by_mrgrid(source: Path, target: Path, *words: str) -> ScalarImage:
    mrgrid = shutil.which("mrgrid")
    if mrgrid is None:
        pytest.skip("mrgrid (MRtrix3) is not installed")
    subprocess.run([mrgrid, source, "regrid", target, *words, "-quiet"], check=True)
    return ScalarImage(target)


def error(ours: ScalarImage, theirs: ScalarImage, margin: int = 2) -> float:
    """Return the root of the mean squared difference, in standard deviations of the image."""
    inner = (slice(None), *[slice(margin, -margin)] * 3)
    a, b = ours.numpy()[inner].astype("float64"), theirs.numpy()[inner].astype("float64")
    return float(np.sqrt(((a - b) ** 2).mean()) / a.std())


@pytest.mark.parametrize(
    ("spacing", "interpolation", "most"),
    [("1.3", "linear", 0.01), ("2", "cubic", 0.06), ("5.5", "linear", 0.2), ("0.87", "nearest", 0.0)],
)
def test_a_real_image_is_that_of_mrgrid(tmp_path: Path, spacing: str, interpolation: str, most: float) -> None:
    """Where resolution is lost, mrgrid averages points inside the new voxel, which is another filter than a Gaussian."""
    theirs = by_mrgrid(EXAMPLE, tmp_path / "theirs.nii", "-voxel", spacing, "-interp", interpolation)
    ours = ScalarImage(EXAMPLE).apply(ResampleRequest(spacing, interpolation=interpolation))
    assert ours.grid.same_as(theirs.grid, 1e-3)
    assert error(ours, theirs) <= most


def test_a_real_image_on_a_tilted_grid_is_that_of_simpleitk(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    source = ScalarImage(EXAMPLE)
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    tilted = AffineMatrix(np.c_[turn @ np.diag([-2.1, 1.8, 2.4]), np.zeros(3)])
    grid = Grid((30, 40, 28), tilted)
    grid = Grid(grid.shape, tilted.with_origin(c - m for c, m in zip(source.get_center(), grid.center, strict=True)))
    ScalarImage(np.zeros((1, *grid.shape), "uint8"), affine=grid.affine).save(tmp_path / "like.nii")
    theirs = sitk.Resample(
        sitk.ReadImage(str(EXAMPLE)), sitk.ReadImage(str(tmp_path / "like.nii")), sitk.Transform(), sitk.sitkLinear, 0.0
    )
    ours = source.apply(ResampleRequest(like=str(tmp_path / "like.nii"), antialias=False))
    assert error(ours, ScalarImage(theirs), 1) < 0.002


def test_a_large_real_head_is_that_of_mrgrid(tmp_path: Path) -> None:
    folder = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    head = folder / "datalad+example-dicom-structural" / "t1_struct_dcm2niix.nii.gz"
    if not head.exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to the folder that holds them")
    theirs = by_mrgrid(head, tmp_path / "theirs.nii", "-voxel", "1", "-interp", "linear")
    ours = ScalarImage(head).apply(ResampleRequest("1"))
    assert ours.grid.same_as(theirs.grid, 1e-2)
    assert error(ours, theirs) < 0.12


# -- axis by axis


@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
@pytest.mark.parametrize("factor", [0.6, 1.7, 3.2])
def test_axis_by_axis_is_what_simpleitk_computes(interpolation: str, factor: float) -> None:
    """Permuted, flipped, anisotropic; ITK's sinc does not add up to 1, and beyond the border each has its own image."""
    i, j, k = np.meshgrid(*map(np.arange, (26, 24, 22)), indexing="ij")
    part = (100 + 20 * np.cos(i / 3) * np.cos(j / 4 + 1) + 10 * np.sin(k / 3)).astype("float32")
    rows = [[0, -factor, 0, 23.3], [1.3 * factor, 0, 0, 0.4], [0, 0, 0.9 * factor, 0.2]]
    spans = [range(int(n / f)) for n, f in zip((24, 26, 22), (1.3 * factor, factor, 0.9 * factor), strict=True)]
    sampler = Sampler(AffineMatrix(rows), spans, part.shape, interpolation, 0.0, True)
    support = sampler.support()
    assert support is not None
    box = part[tuple(slice(span.start, span.stop) for span in support)]
    order = sampler._aligned()
    assert order == [1, 0, 2]
    ours = sampler._by_axis(box, order, interpolation, 0.0)
    theirs = sampler._by_itk(box, interpolation, 0.0)
    places = [sampler._places(new, axis) for new, axis in enumerate(order)]
    sizes = [part.shape[axis] for axis in order]
    deep = [np.flatnonzero((p > 6) & (p < n - 7)) for p, n in zip(places, sizes, strict=True)]
    assert min(map(len, deep)) > 1
    inner = np.ix_(*deep)
    assert np.abs(ours[inner] - theirs[inner]).max() < (0.6 if interpolation == "lanczos" else 0.02)
    assert np.abs(ours - theirs).max() < 0.4 * theirs.std()


def test_weights_add_up_to_one() -> None:
    for interpolation in ("linear", "cubic", "lanczos"):
        for sigma in (0.0, 0.5, 3.0):
            found = weights_of(np.linspace(-0.5, 8.5, 31), 9, interpolation, sigma)
            assert np.allclose(found.taps.sum(0), 1) and found.source(0).min() >= 0
            assert max(int(found.source(tap).max()) for tap in range(len(found.taps))) <= 8

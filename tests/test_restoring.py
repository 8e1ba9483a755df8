"""The way back for files: whatever was done, the grid and the header come back verbatim, and so do voxels."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend, with_header
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header
from medimg_cli.operations import apply
from medimg_cli.operations.cast import Cast, Clamp, Rescale
from medimg_cli.operations.crop import Crop, CropOrPad
from medimg_cli.operations.flip import Flip
from medimg_cli.operations.pad import Pad
from medimg_cli.operations.reorient import Reorient
from medimg_cli.operations.resample import Resample
from medimg_cli.operations.slicing import Slice
from medimg_cli.restoring import Restoring, restored
from tests.helpers import AFFINES, read
from tests.strategies import codes, floats, rotations, spacings

CARRIERS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mif", ".nii.zarr")
ALL = Restoring()
SHAPE = (7, 6, 5)
OBLIQUE, LEFT = AFFINES["oblique"], AFFINES["left-handed"]


def image(shape: tuple[int, ...] = (1, *SHAPE), affine: AffineMatrix = LEFT, dtype: str = "int16") -> ArrayBackend:
    """Return an image whose voxels all differ, none of them 0."""
    c, i, j, k = shape
    values = np.arange(1, np.prod(shape) + 1).reshape(shape).astype(dtype)
    return ArrayBackend(values, Header(shape=(c, i, j, k), dtype=dtype, affine=affine))


def chained(backend: Backend, *operations: Any) -> Backend:
    for operation in operations:
        backend = apply(operation, backend)
    return backend


def through(backend: Backend, path: Path) -> Backend:
    """Write an image and open it again."""
    save_backend(backend, str(path), force=True)
    return open_backend(str(path))


# -- laws


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Affines of scanners as nibabel takes them, oblique, half of them left-handed; far from half a turn, where a
    quaternion in float32 is no more than that (nifti1.h)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(draw(rotations(0.6))) * draw(st.sampled_from(([1, 1, 1], [1, 1, -1])))
    matrix[:3, :3] *= np.clip(draw(spacings), 0.3, 5)
    matrix[:3, 3] = draw(st.tuples(*[floats(-200, 200)] * 3))
    return matrix


def write_scan(path: Path, sform: np.ndarray[Any, Any], qform: np.ndarray[Any, Any], pair: tuple[int, int]) -> None:
    """Write a NIfTI file, by nibabel, whose two forms differ and which says something in every field of geometry."""
    scan = nib.Nifti1Image(np.arange(1, 421, dtype="int16").reshape((*SHAPE, 2)), None)
    scan.header.set_xyzt_units("mm", "sec")
    scan.header.set_slope_inter(0.5, 0)
    scan.header.set_dim_info(slice=2, phase=1, freq=0)
    scan.header["slice_code"], scan.header["slice_end"] = 3, SHAPE[2] - 1
    scan.header.set_zooms((*np.linalg.norm(sform[:3, :3], axis=0), 2.25))
    scan.set_qform(qform if pair[1] else None, pair[1])
    scan.set_sform(sform if pair[0] else None, pair[0])
    nib.save(scan, path)


FIELDS = ("dim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "qoffset_x", "qoffset_y", "qoffset_z")
MEANING = ("xyzt_units", "dim_info", "slice_code", "slice_start", "slice_end")


@st.composite
def lossless(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An operation that moves voxels, cuts some off, or adds some; it interpolates nothing."""
    ends = tuple((draw(st.integers(0, (n - 1) // 2)), draw(st.integers(0, (n - 1) // 2))) for n in shape[1:])
    return draw(
        st.sampled_from(
            (
                Reorient(draw(codes)),
                Flip(draw(st.integers(0, 2))),
                Crop(ends),
                Pad(ends, value=0.0),
                CropOrPad(tuple(draw(st.integers(2, 9)) for _ in range(3))),
                Slice(((0, shape[0], 1), *((n - 1, lo - 1, -1) for n, (lo, _) in zip(shape[1:], ends, strict=True)))),
            )
        )
    )


@pytest.mark.parametrize("suffix", CARRIERS)
@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_a_lossless_chain_comes_back_bit_for_bit(suffix: str, data: st.DataObject) -> None:
    """Voxels that were kept, and every field of geometry of the raw header, as nibabel reads them."""
    with tempfile.TemporaryDirectory() as folder:
        first, there, back = Path(folder, "scan.nii"), Path(folder, f"there{suffix}"), Path(folder, "back.nii")
        write_scan(first, data.draw(poses()), data.draw(poses()), data.draw(st.sampled_from(((2, 1), (1, 0), (0, 3)))))
        moved = open_backend(str(first))
        for _ in range(data.draw(st.integers(1, 4))):
            moved = apply(data.draw(lossless(moved.header.shape)), moved)
        history = moved.header.history
        opened = through(moved, there)
        if not history:
            with pytest.raises(UsageError):
                restored(opened, ALL)
            return
        found = restored(opened, ALL)
        assert through(found.backend, back).header.history == ()
        one, two = nib.load(first), nib.load(back)
        for name in FIELDS + MEANING:
            assert np.array_equal(one.header[name], two.header[name]), name
        for name in ("quatern_b", "quatern_c", "quatern_d"):  # computed from the matrix: not a bit, but float32
            assert np.allclose(one.header[name], two.header[name], rtol=0, atol=3e-7), name
        assert np.allclose(one.header["pixdim"], two.header["pixdim"], rtol=2e-7, atol=0)  # one unit in the last place
        a, b = one.get_fdata(), two.get_fdata()
        kept = b != 0
        assert np.array_equal(a[kept], b[kept])
        lost = int((~kept).sum()) // 2
        said = [remark for remark in found.remarks if "cut off" in remark]
        assert said == ([f"{lost} of 210 voxels had been cut off and are filled with 0"] if lost else [])


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_number_of_voxels_cut_off_is_true(data: st.DataObject) -> None:
    """With steps, and with interpolation along the axes, too: what is said is what is 0."""
    before = image(dtype="int32")
    moved: Backend = before
    for coarse in sorted(data.draw(st.lists(st.booleans(), min_size=1, max_size=4)), reverse=True):
        shape = moved.header.shape
        by_steps = tuple((0, n, data.draw(st.integers(1, 3))) for n in shape[1:])
        smaller = Resample(size=tuple(max(n - 2, 1) for n in shape[1:]), interpolation="nearest")
        coarser = st.sampled_from((Slice(((0, 1, 1), *by_steps)), smaller))
        moved = apply(data.draw(coarser if coarse else lossless(shape)), moved)
    if not moved.header.history:
        return
    found = restored(moved, ALL)
    zeros = int((read(found.backend) == 0).sum())
    assert found.backend.header.grid == before.header.grid
    said = [remark for remark in found.remarks if "cut off" in remark]
    assert said == ([f"{zeros} of 210 voxels had been cut off and are filled with 0"] if zeros else [])


# -- by the image's own history


def test_the_last_steps_alone() -> None:
    moved = chained(image(), Reorient("SPL"), Crop(1), Pad(2))
    found = restored(moved, Restoring(steps=2))
    turned = apply(Reorient("SPL"), image())
    assert found.backend.header.grid == turned.header.grid
    assert [step["name"] for step in found.backend.header.history] == ["reorient"]
    assert restored(found.backend, ALL).backend.header.grid == image().header.grid
    assert found.remarks[0] == "undone, the last first: pad, crop"
    with pytest.raises(UsageError, match="its history has 3 steps"):
        restored(moved, Restoring(steps=4))


def test_gradients_come_back() -> None:
    directions = ((0.0, 0.0, 0.0), (0.6, 0.8, 0.0))
    scan = image((2, *SHAPE))
    scan.header = scan.header.replace(gradients=Gradients((0.0, 1000.0), directions), axes=(("time", 2),))
    moved = chained(scan, Reorient("SPL"), Flip(1), Crop(1))
    assert moved.header.gradients != scan.header.gradients
    assert restored(moved, ALL).backend.header.gradients == scan.header.gradients


def test_intensities_come_back_where_they_can() -> None:
    moved = chained(image(), Rescale(0, 1), Reorient("RAS"), Clamp(0, 1))
    found = restored(moved, ALL)
    assert found.warnings == ("no inverse, left as it is: clamp",)
    assert found.remarks == ("undone, the last first: reorient, rescale",)
    assert np.allclose(read(found.backend), read(image()), atol=1e-3)


def test_a_type_that_no_longer_holds_the_values_is_not_gone_back_to() -> None:
    moved = chained(image(), Cast("float32"), Crop(1))
    assert restored(moved, ALL).backend.header.dtype == "int16"
    changed = ArrayBackend(read(moved) + np.float32(0.25), moved.header)
    found = restored(changed, ALL)
    assert found.backend.header.dtype == "float32" and found.backend.header.grid == image().header.grid
    assert len(found.warnings) == 1 and found.warnings[0].startswith("stays float32: ")


def test_channels_that_were_taken_out_are_missed() -> None:
    scan = image((4, *SHAPE))
    part = chained(scan, Slice.of((slice(0, 1), slice(1, None)), scan.header.shape))
    found = restored(part, ALL)
    assert found.backend.header.shape == (1, *SHAPE)
    assert found.warnings == ("channels that were taken out do not come back: 1 of 4 are left",)
    whole = chained(scan, Slice.of((slice(None), slice(1, None)), scan.header.shape))
    assert restored(whole, ALL).warnings == ()


def test_voxels_that_were_placed_apart_come_together() -> None:
    """A way back that was itself written down has steps without an inverse, but a grid to return to."""
    moved = chained(image(), Slice.of((0, slice(0, 6, 2), slice(None, None, -2)), (1, *SHAPE)))
    spread = ScalarImage(read(moved), affine=moved.header.affine)
    forward = ScalarImage(read(image()), affine=LEFT)[0, :6:2, ::-2]
    back = forward.get_inverse_transform()(spread)
    again = back.apply_inverse_transform()
    assert again.grid == spread.grid and np.array_equal(again.numpy(), spread.numpy())


def test_the_library_gives_both_forms_back_as_well(tmp_path: Path) -> None:
    write_scan(tmp_path / "scan.nii", OBLIQUE.numpy(), LEFT.numpy(), (2, 1))
    scan = ScalarImage(tmp_path / "scan.nii")
    back = scan.reorient("SPL").crop(1).apply_inverse_transform()
    names = ("sform", "sform_code", "qform", "qform_code", "affine_source", "metadata", "affine")
    assert [getattr(back.header, name) for name in names] == [getattr(scan.header, name) for name in names]


# -- label maps


def labels(affine: AffineMatrix = LEFT) -> ArrayBackend:
    """Return a label map with two blocks."""
    values = np.zeros((1, 12, 11, 10), "uint8")
    values[0, 2:8, 3:8, 2:7] = 3
    values[0, 5:10, 4:9, 5:9] = 41
    return ArrayBackend(values, Header(shape=(1, 12, 11, 10), dtype="uint8", affine=affine))


@pytest.mark.parametrize("interpolation", [None, "nearest", "label"])
def test_labels_are_recognised_and_never_mixed(interpolation: str | None) -> None:
    moved = chained(labels(), Reorient("RAS"), Resample(0.7, interpolation="nearest"), Crop(1))
    found = restored(moved, Restoring(interpolation=interpolation))
    assert found.backend.header.grid == labels().header.grid
    values = read(found.backend)
    assert set(np.unique(values)) == {0, 3, 41}
    assert (values == read(labels())).mean() > 0.98
    how = "the label with most weight" if interpolation == "label" else "the nearest voxel's value"
    assert any("taken for a label map" in remark and how in remark for remark in found.remarks)


def test_labels_leave_steps_of_intensities_alone() -> None:
    ready = chained(labels(), Cast("float32"), Rescale(0, 1), Flip(0))
    predicted = ArrayBackend((read(ready) > 0.5).astype("uint8"), ready.header.replace(dtype="uint8", intent="label"))
    found = restored(predicted, ALL)
    assert np.array_equal(read(found.backend), (read(labels()) > 20).astype("uint8"))
    assert found.backend.header.dtype == "uint8" and found.warnings == ()
    assert found.remarks == (
        "undone, the last first: flip",
        "left as it is, because these are labels (its header says so): cast, rescale",
    )


def test_labels_that_would_be_mixed_are_refused() -> None:
    declared = labels()
    declared.header = declared.header.replace(intent="label")
    moved = chained(declared, Resample(0.7, interpolation="nearest"))
    with pytest.raises(UsageError, match="would invent labels"):
        restored(moved, Restoring(interpolation="linear"))


# -- by the history of another file


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Preprocess a scan as for a network, and save that."""
    scan = chained(image(dtype="int32"), Reorient("RAS"), Resample(1.1), CropOrPad((9, 8, 7)), Rescale(0, 1))
    save_backend(scan, str(tmp_path / "ready.nii.gz"))
    return tmp_path / "ready.nii.gz"


def test_a_segmentation_that_lost_its_history_borrows_it(ready: Path, tmp_path: Path) -> None:
    given = nib.load(ready)
    bare = nib.Nifti1Image((given.get_fdata() > 0.4).astype("uint8"), given.affine)
    nib.save(bare, tmp_path / "seg.nii.gz")
    seg = open_backend(str(tmp_path / "seg.nii.gz"))
    with pytest.raises(UsageError, match="carries no history; give --like ORIGINAL, or --history FILE"):
        restored(seg, ALL)
    found = restored(seg, Restoring(history=str(ready)))
    assert found.backend.header.grid.same_as(image().header.grid, 1e-9)
    assert found.backend.header.history == () and found.backend.header.dtype == "uint8"
    assert set(np.unique(read(found.backend))) == {0, 1}
    own = restored(ArrayBackend(read(seg), open_backend(str(ready)).header.replace(dtype="uint8", intent="label")), ALL)
    assert np.array_equal(read(found.backend), read(own.backend))


def test_values_that_are_not_those_of_the_history_are_left_alone(ready: Path, tmp_path: Path) -> None:
    """Probabilities are no intensities: they are not scaled back."""
    given = nib.load(ready)
    nib.save(nib.Nifti1Image(given.get_fdata().astype("float32") / 2, given.affine), tmp_path / "chance.nii.gz")
    found = restored(open_backend(str(tmp_path / "chance.nii.gz")), Restoring(history=str(ready)))
    assert 0.3 < read(found.backend).max() <= 0.5
    assert any(f"the values are not those of {ready}: rescale" in remark for remark in found.remarks)


def test_a_grid_that_is_not_that_of_the_history_is_refused(ready: Path) -> None:
    given = open_backend(str(ready)).header
    near = given.affine.with_origin(x + d for x, d in zip(given.affine.origin, (3, 0, 4), strict=True))
    with pytest.raises(GeometryError, match="its grid is not that of .*: corners up to 5 mm apart"):
        restored(
            ArrayBackend(np.zeros(given.shape, "uint8"), given.replace(dtype="uint8", affine=near)),
            Restoring(history=str(ready)),
        )
    with pytest.raises(GeometryError, match="7 x 6 x 5 voxels, not 9 x 8 x 7"):
        restored(image(), Restoring(history=str(ready)))


# -- by another grid


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_whole_voxels_are_moved_exactly(data: st.DataObject) -> None:
    """Onto a grid that was turned, cropped or padded nothing is interpolated: numpy says what must come."""
    scan = image(dtype="float64")
    moved: Backend = scan
    for _ in range(data.draw(st.integers(1, 3))):
        moved = apply(data.draw(lossless(moved.header.shape)), moved)
    with tempfile.TemporaryDirectory() as folder:
        save_backend(scan, f"{folder}/scan.nii")  # float32 in the header: the grids agree to rounding only
        bare = ArrayBackend(read(moved), moved.header.replace(history=()))
        found = restored(bare, Restoring(like=f"{folder}/scan.nii"))
        assert found.backend.header.grid == open_backend(f"{folder}/scan.nii").header.grid
        ones = ArrayBackend(np.ones_like(read(moved)), bare.header)
        lost = int((read(restored(ones, Restoring(like=f"{folder}/scan.nii")).backend) == 0).sum())
    values = read(found.backend)
    kept = values != 0
    assert np.array_equal(values[kept], read(scan)[kept])
    assert kept.sum() == np.count_nonzero(read(moved))
    said = [f"{lost} of 210 voxels had been cut off and are filled with 0"] if lost else []
    assert found.remarks == (f"moved by whole voxels to the grid of {folder}/scan.nii, nothing is interpolated", *said)


def test_half_voxels_are_resampled_and_it_says_so(tmp_path: Path) -> None:
    like = image((1, 6, 6, 6), OBLIQUE.with_spacing((2, 2, 2)))
    save_backend(like, str(tmp_path / "like.nii.gz"))
    found = restored(image(dtype="float32", affine=OBLIQUE), Restoring(like=str(tmp_path / "like.nii.gz")))
    assert "is resampled" in found.remarks[0] or "linear interpolation" in found.remarks[0]
    expected = ScalarImage(read(image(dtype="float32")), affine=OBLIQUE).resample(
        open_backend(str(tmp_path / "like.nii.gz")).header.grid, interpolation="linear", antialias=False
    )
    assert np.array_equal(read(found.backend), expected.numpy())
    seg = restored(labels(OBLIQUE), Restoring(like=str(tmp_path / "like.nii.gz")))
    assert set(np.unique(read(seg.backend))) <= {0, 3, 41} and "taken for a label map" in seg.remarks[0]


def test_the_forms_of_the_original_are_taken_over(tmp_path: Path) -> None:
    """What is laid over the original lies over it in programs that look at the other form, too."""
    write_scan(tmp_path / "scan.nii", OBLIQUE.numpy(), LEFT.numpy(), (1, 3))
    like = open_backend(str(tmp_path / "scan.nii")).header
    seg = image(affine=like.affine)
    header = restored(apply(Crop(1), seg), Restoring(like=str(tmp_path / "scan.nii"))).backend.header
    names = ("affine", "sform", "sform_code", "qform", "qform_code")
    assert [getattr(header, name) for name in names] == [getattr(like, name) for name in names]


def test_an_original_elsewhere_is_refused(tmp_path: Path) -> None:
    save_backend(image(affine=LEFT.with_origin((900, 0, 0))), str(tmp_path / "far.nii"))
    with pytest.raises(GeometryError, match="nothing of it lies on the grid of"):
        restored(image(), Restoring(like=str(tmp_path / "far.nii")))


# -- histories that make no sense


def with_history(change: Any) -> Backend:
    moved = chained(image(), Reorient("SPL"), Crop(1))
    steps = json.loads(json.dumps(moved.header.history))
    change(steps)
    return ArrayBackend(read(moved), moved.header.replace(history=tuple(steps)))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda steps: steps[1].update(version=99), UnsupportedError, "'crop' was recorded by a later version"),
        (lambda steps: steps[1].update(name="levitate"), UnsupportedError, "no operation 'levitate'"),
        (lambda steps: steps[0].pop("grid_after"), FormatError, "a step that cannot be read"),
        (lambda steps: steps[0].update(parameters={"codes": "XYZ"}), FormatError, "XYZ"),
        (lambda steps: steps.pop(), FormatError, "'reorient' ends elsewhere than the image begins: 5 x 6 x 7 voxels"),
        (lambda steps: steps.reverse(), FormatError, "'crop' ends elsewhere than the next step begins"),
    ],
    ids=["later version", "unknown", "no grid", "no codes", "too short", "out of order"],
)
def test_a_broken_history_is_one_line(change: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        restored(with_history(change), ALL)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "told",
    [7, {"sform": "no"}, {"sform_code": 70000, "affine_source": "pixdim"}, {"sform": None, "affine_source": "sform"}],
    ids=["no mapping", "no matrix", "large code", "another place"],
)
def test_what_a_history_says_of_a_header_is_believed_only_where_it_makes_sense(told: Any) -> None:
    found = restored(with_history(lambda steps: steps[0].update(header_before=told)), ALL).backend.header
    assert found.grid == image().header.grid
    assert (found.sform, found.sform_code, found.warnings) == (None, None, ())


@pytest.mark.parametrize(
    "options", [{"like": "a", "history": "b"}, {"like": "a", "steps": 1}, {"steps": 0}], ids=lambda each: "+".join(each)
)
def test_options_that_exclude_each_other(options: Any) -> None:
    with pytest.raises(UsageError):
        Restoring(**options)


def test_volumes_of_labels_come_back(tmp_path: Path) -> None:
    save_backend(labels(), str(tmp_path / "seg.mha"))
    moved = chained(labels(), Reorient("RAS"), Resample(0.6, interpolation="nearest"), CropOrPad(60))
    save_backend(restored(moved, ALL).backend, str(tmp_path / "back.mha"))
    truth, found = (LabelMap(tmp_path / name).volumes() for name in ("seg.mha", "back.mha"))
    assert found.keys() == truth.keys()
    assert all(found[label] == pytest.approx(truth[label], rel=0.03) for label in truth)


def test_a_forged_history_does_not_fill_the_disk() -> None:
    image = ScalarImage(np.ones((1, 4, 5, 6), "int16")).crop(1)
    (step,) = image.header.history
    step = {**step, "grid_before": {**step["grid_before"], "shape": [10**6, 10**5, 10**4]}}
    backend = with_header(ArrayBackend(image.numpy(), image.header), image.header.replace(history=(step,)))
    with pytest.raises(UsageError, match="TB; its history makes no sense"):
        restored(backend, Restoring())

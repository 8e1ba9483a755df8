"""Comparing images: figures against NumPy on whole arrays, and what is no difference across formats and orientations."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli import Image, compare_images
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, with_header
from medimg_cli.compare import Comparing, compare
from medimg_cli.errors import MedImgError, TruncatedError, UsageError
from medimg_cli.formats import FORMATS, open_backend
from medimg_cli.formats.writing import losses, save_backend, what_comes_back
from medimg_cli.header import Gradients, Header, differences
from medimg_cli.labels import LabelTable
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient, Turn

from .helpers import AFFINES, KINDS, make, read

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
Array = np.ndarray[Any, Any]
SHAPE = (2, 7, 6, 5)


def backend(array: Array, **fields: Any) -> ArrayBackend:
    fields = {"affine": AFFINES["left-handed"], **fields}
    return ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields))


def changed(image: ArrayBackend, array: Array | None = None, **fields: Any) -> ArrayBackend:
    return ArrayBackend(image.array if array is None else array, image.header.replace(**fields))


def reoriented(image: ArrayBackend, operation: Any) -> Any:
    """Return an image stored in another order that does not tell of it."""
    turned = apply(operation, image)
    return with_header(turned, turned.header.replace(history=image.header.history))


def names(found: Any) -> list[str]:
    return [each.field if each.key is None else f"{each.field}.{each.key}" for each in found]


# voxels, against NumPy on whole arrays


def noisy(dtype: str, seed: int = 0) -> tuple[Array, Array]:
    """Return two arrays that differ in about a third of their values."""
    chance = np.random.default_rng(seed)
    a = (chance.normal(50, 400, SHAPE)).astype(dtype)
    b = a.copy()
    where = chance.random(SHAPE) < 0.3
    b[where] += (chance.normal(0, 9, SHAPE)).astype(dtype)[where]
    return a, b


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize(("rtol", "atol"), [(0.0, 0.0), (0.01, 2.0)])
def test_figures_are_those_of_numpy(dtype: str, rtol: float, atol: float) -> None:
    a, b = noisy(dtype)
    found = compare(backend(a), backend(b), Comparing(rtol=rtol, atol=atol)).voxels
    assert found is not None and found.largest is not None and found.relative is not None
    x, y = a.astype(float), b.astype(float)
    gap, size = np.abs(x - y), np.maximum(np.abs(x), np.abs(y))
    with np.errstate(invalid="ignore"):
        relative = np.nan_to_num(gap / size)
    assert (found.count, found.differing) == (a.size, int((a != b).sum()))
    assert found.beyond == int((gap > atol + rtol * size).sum())
    for spot, wanted in ((found.largest, gap), (found.relative, relative)):
        assert spot.difference == pytest.approx(wanted.max(), rel=1e-12)
        place = (spot.channel, *spot.voxel)
        assert (spot.a, spot.b) == (a[place], b[place])
        assert wanted[place] == wanted.max()
        assert spot.world == pytest.approx((AFFINES["left-handed"].numpy() @ [*spot.voxel, 1])[:3])
    assert found.mean == pytest.approx((y - x).mean(), rel=1e-9, abs=1e-12)
    assert found.rmse == pytest.approx(np.sqrt(((y - x) ** 2).mean()), rel=1e-12)
    assert found.correlation == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1], rel=1e-12)


def test_a_large_offset_costs_no_digits_of_the_correlation() -> None:
    chance = np.random.default_rng(3)
    a = 1e8 + chance.normal(size=(1, 64, 60, 90))
    b = a.copy()
    b[:, :, 50:] += chance.normal(size=(1, 64, 10, 90))
    found = compare(backend(a), backend(b)).voxels
    assert found is not None
    assert found.correlation == pytest.approx(np.corrcoef(a.ravel() - 1e8, b.ravel() - 1e8)[0, 1], rel=1e-9)


def test_equal_blocks_in_front_of_the_first_difference_count_in_the_correlation() -> None:
    a = np.random.default_rng(1).normal(size=(1, 100, 90, 70))  # several pieces
    b = a.copy()
    b[0, 99, 89, 69] = 40
    found = compare(backend(a), backend(b)).voxels
    assert found is not None and found.differing == 1
    assert found.largest is not None and found.largest.voxel == (99, 89, 69)
    assert found.correlation == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], rel=1e-12)
    assert found.rmse == pytest.approx(np.sqrt(((a - b) ** 2).mean()), rel=1e-12)


def test_one_nan_does_not_disable_the_tolerance_as_in_nib_diff() -> None:
    """nib-diff reports ``abs: nan`` and a difference as soon as one voxel of both is NaN."""
    a = np.random.default_rng(2).normal(size=SHAPE)
    a[0, 1, 2, 3] = np.nan
    b = a.copy()
    assert compare(backend(a), backend(b)).same
    b[1, 2, 3, 4] += 1
    found = compare(backend(a), backend(b), Comparing(atol=2))
    assert found.same and found.voxels is not None
    assert (found.voxels.differing, found.voxels.beyond, found.voxels.nan) == (1, 0, 0)
    assert found.voxels.largest is not None and found.voxels.largest.difference == pytest.approx(1)
    assert not compare(backend(a), backend(b), Comparing(atol=0.5)).same


def test_nan_and_infinities() -> None:
    a = np.zeros((1, 4, 3, 2), "float32")
    b = a.copy()
    a[0, 0], b[0, 0] = np.inf, np.inf  # equal: 6 of them
    a[0, 1, 0, 0], b[0, 1, 0, 0] = np.inf, -np.inf
    a[0, 1, 1, 0] = np.nan
    b[0, 2, 0, 1] = np.inf
    b[0, 3, 0, 0] = -0.0  # equals 0
    b[0, 3, 2, 1] = 2
    found = compare(backend(a), backend(b), Comparing(atol=100, rtol=1)).voxels
    assert found is not None
    assert (found.differing, found.beyond, found.nan, found.infinite) == (4, 3, 1, 2)
    assert found.largest is not None and (found.largest.difference, found.largest.voxel) == (2, (3, 2, 1))
    assert found.odd is not None and found.odd.difference is None
    good = np.isfinite(a) & np.isfinite(b)
    assert found.mean == pytest.approx((b[good] - a[good]).mean())
    assert found.rmse == pytest.approx(np.sqrt(((b[good] - a[good]) ** 2).mean()))
    assert json.dumps(found.facts(), allow_nan=False)


@pytest.mark.parametrize("other", ["int64", "uint64", "float64"])
def test_integers_beyond_2_53_are_exact(other: str) -> None:
    a = np.full((1, 3, 4, 5), 2**53, "int64")
    b = a.astype(other)
    a[0, 1, 2, 3] += 1
    found = compare(backend(a), backend(b), Comparing(ignore=("dtype",))).voxels
    if other == "float64" and np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("this platform has no wider float")
    assert found is not None and found.largest is not None
    assert (found.differing, found.largest.difference, found.largest.voxel) == (1, 1, (1, 2, 3))


def test_the_extremes_of_64_bits() -> None:
    a = np.full((1, 3, 4, 5), np.iinfo("int64").min)
    b = np.full((1, 3, 4, 5), np.iinfo("int64").max)
    found = compare(backend(a), backend(b)).voxels
    assert found is not None and found.largest is not None
    assert found.largest.difference == 2**64 - 1
    assert found.correlation is None  # neither varies


def test_complex_values() -> None:
    a = np.zeros((1, 3, 4, 5), "complex64")
    b = a.copy()
    b[0, 1, 2, 3] = 3 - 4j
    found = compare(backend(a), backend(b)).voxels
    assert found is not None and found.largest is not None
    assert (found.largest.difference, found.mean, found.correlation) == (5, None, None)
    assert found.facts()["max_absolute"]["b"] == [3.0, -4.0]


def test_scaled_numbers_are_compared_as_values() -> None:
    a = make("scaled")
    values = read(a)
    float_image = changed(a, values, dtype=values.dtype.name, slope=None, inter=None)
    assert compare(a, float_image, Comparing(ignore=("dtype",))).same
    array = a.array.copy()
    array[0, 1, 2, 1] += 8
    found = compare(a, changed(a, array)).voxels
    assert found is not None and found.largest is not None
    assert (found.largest.difference, found.largest.voxel) == (8 * 0.25, (1, 2, 1))
    other = compare(a, changed(a, slope=0.5))
    assert names(other.differences) == ["slope"] and "voxels" in other.sections


# label maps


def test_dice_is_that_of_its_formula() -> None:
    chance = np.random.default_rng(5)
    a = chance.choice(np.array([0, 1, 2, 30000], "int32"), (1, 9, 8, 7))
    b = np.where(chance.random(a.shape) < 0.2, chance.choice(np.array([0, 2, 5], "int32"), a.shape), a)
    table = LabelTable({1: "one", 30000: "many"})
    found = compare(backend(a, labels=table, intent="label"), backend(b, labels=table, intent="label")).voxels
    assert found is not None and found.labels is not None
    assert [each.value for each in found.labels] == [1, 2, 5, 30000]
    for each in found.labels:
        x, y = a == each.value, b == each.value
        assert (each.a, each.b, each.both) == (x.sum(), y.sum(), (x & y).sum())
        assert each.dice == pytest.approx(2 * (x & y).sum() / (x.sum() + y.sum()))
    assert found.labels[0].name == "one" and found.labels[1].name is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "uint64"])
def test_label_maps_are_recognised_in_any_type(dtype: str) -> None:
    a = np.zeros((1, 9, 8, 7), dtype)
    a[0, 2:5, 2:6, 1:4] = 3
    b = np.roll(a, 1, 1)
    found = compare(backend(a), backend(b)).voxels
    assert found is not None and found.labels is not None
    assert [(each.value, each.a, each.b, each.dice) for each in found.labels] == [(3, 36, 36, pytest.approx(2 / 3))]
    assert compare(backend(a), backend(a)).voxels.labels[0].dice == 1  # type: ignore[union-attr,index]


def test_intensities_get_no_dice() -> None:
    a, b = noisy("int16")
    assert compare(backend(a), backend(b)).voxels.labels is None  # type: ignore[union-attr]
    half = np.where(a > 0, 0.5, 0.0)
    assert compare(backend(half, intent="label"), backend(half)).voxels.labels is None  # type: ignore[union-attr]


def test_label_tables_value_by_value() -> None:
    a = make("labels")
    table = LabelTable([(1, "left thing", (255, 0, 9, 255)), (2, "other", (0, 200, 90, 255)), (5, "new")])
    found = compare(a, changed(a, labels=table))
    notes = {each.key: each.note for each in found.differences}
    assert notes == {
        "1": "label 1: recoloured",
        "2": "label 2: renamed",
        "17": "label 17: removed",
        "5": "label 5: added",
    }
    assert found.sections == ("labels",)
    assert compare(
        a, changed(a, labels=table), Comparing(ignore=("labels.1", "labels.2", "labels.17", "labels.5"))
    ).same


# geometry


def test_the_shift_is_that_of_the_worst_corner() -> None:
    a = make("plain")
    affine = a.header.affine @ AffineMatrix.from_spacing((1, 1, 1.5), origin=(0, 2, 0))
    found = compare(a, changed(a, affine=affine))
    corners = np.array([[i, j, k, 1] for i in (0, 4) for j in (0, 3) for k in (0, 2)])
    apart = (corners @ affine.numpy().T - corners @ a.header.affine.numpy().T)[:, :3]
    assert found.geometry["shift_mm"] == pytest.approx(np.linalg.norm(apart, axis=1).max())
    assert found.geometry["shift_voxels"] == pytest.approx(np.hypot(2, 1))
    assert names(found.differences) == ["affine.spacing", "affine.origin"]
    assert found.voxels is not None and not found.voxels.differing  # by index


@pytest.mark.parametrize("tolerance", [0.0, 0.4, 0.6])
def test_the_tolerance_is_in_mm(tolerance: float) -> None:
    a = make("plain")
    x, y, z = a.header.origin
    moved = changed(a, affine=a.header.affine.with_origin((x + 0.3, y, z + 0.4)))
    assert compare(a, moved, Comparing(geometry_tolerance=tolerance)).same is (tolerance > 0.5)
    assert compare(a, moved, Comparing(ignore=("origin",))).same
    assert not compare(a, moved, Comparing(ignore=("spacing", "direction"))).same


@pytest.mark.parametrize("codes", ["LAS", "SPR", "AIL"])
def test_the_same_places_in_another_order_are_compared_place_by_place(codes: str) -> None:
    a = make("channels")
    b = reoriented(a, Reorient(codes))
    found = compare(a, b)
    assert found.sections == ("geometry",) and names(found.differences) == ["orientation"]
    assert found.voxels is not None and not found.voxels.differing
    assert found.geometry["same_places"] and found.geometry["turned_to"] == "RAS"
    assert found.geometry["orientation"] == {"a": "RAS", "b": codes}
    assert compare(a, b, Comparing(canonical=True)).same
    assert compare(a, b, Comparing(ignore=("orientation",))).same
    array = a.array.copy()
    array[2, 3, 1, 2] += 1
    worst = compare(changed(a, array), b).voxels.largest  # type: ignore[union-attr]
    assert worst is not None and (worst.channel, worst.voxel) == (2, (3, 1, 2))


def test_headers_that_round_are_turned_all_the_same() -> None:
    a = make("plain")
    x, y, z = a.header.origin
    b = reoriented(changed(a, affine=a.header.affine.with_origin((x + 0.02, y, z))), Reorient("LPI"))
    found = compare(a, b)
    assert names(found.differences) == ["orientation", "affine.origin"]
    assert found.geometry["shift_mm"] == pytest.approx(0.02) and not found.geometry["same_places"]
    assert found.voxels is not None and not found.voxels.differing


def test_canonical_compares_images_that_lie_elsewhere_in_one_order() -> None:
    a = make("plain")
    x, y, z = a.header.origin
    moved = reoriented(changed(a, affine=a.header.affine.with_origin((x + 3, y, z - 4))), Reorient("LPI"))
    assert compare(a, moved).voxels.differing  # type: ignore[union-attr]
    found = compare(a, moved, Comparing(canonical=True))
    assert names(found.differences) == ["affine.origin"] and found.geometry["shift_mm"] == pytest.approx(5)
    assert found.voxels is not None and not found.voxels.differing


def test_a_flipped_affine_is_a_difference_of_geometry_and_not_of_voxels() -> None:
    a = make("plain")
    flipped = a.header.affine @ AffineMatrix([[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    found = compare(a, changed(a, affine=flipped))
    assert found.sections == ("geometry",) and "affine.direction" in names(found.differences)


def test_gradients_turn_with_the_image() -> None:
    a = make("diffusion")
    assert compare(a, apply(Turn(((1, -1), (0, 1), (2, -1))), a), Comparing(canonical=True)).same


def test_other_shapes_are_not_compared_voxel_by_voxel() -> None:
    a = make("plain")
    b = backend(a.array[:, :, :, :2], affine=a.header.affine)
    found = compare(a, b)
    assert names(found.differences) == ["shape"] and found.voxels is None and not found.same
    assert found.not_compared == "the images have 5 x 4 x 3 and 5 x 4 x 2 voxels"
    assert found.sections == ("geometry", "voxels")
    assert not compare(a, b, Comparing(ignore=("geometry",))).same
    channels = compare(
        make("channels"), changed(make("channels"), make("channels").array[:2], shape=(2, 5, 4, 3), axes=())
    )
    assert channels.not_compared == "the images have 3 and 2 channels"


def test_both_forms_and_their_codes() -> None:
    a = make("forms")
    found = compare(a, changed(a, qform=AFFINES["oblique"], qform_code=2, sform_code=1))
    assert names(found.differences) == ["sform_code", "qform", "qform_code"]
    assert found.geometry["qform_code"] == {"a": 1, "b": 2}


# metadata, and what is left out


def test_metadata_key_by_key_and_identity_hidden() -> None:
    a = make("described")
    metadata = {**a.header.metadata, "EchoTime": 0.04, "PatientName": "Ada"}
    found = compare(a, changed(a, metadata=metadata, description="x"))
    assert names(found.differences) == ["description", "metadata.EchoTime", "metadata.PatientName"]
    text = json.dumps(found.facts())
    assert "0.0345" in text and "Ada" not in text
    assert compare(a, changed(a, metadata=metadata), Comparing(ignore=("metadata",))).same
    keys = ("metadata.EchoTime", "metadata.PatientName")
    assert compare(a, changed(a, metadata=metadata), Comparing(ignore=keys)).same


@pytest.mark.parametrize(("name", "hint"), [("geomtry", "geometry"), ("orign", "origin"), ("zzz", "give one of")])
def test_unknown_names_are_refused_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=hint):
        Comparing(ignore=(name,))


@pytest.mark.parametrize("name", ["rtol", "atol", "geometry_tolerance"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_tolerances_are_numbers_from_0_on(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        Comparing(**{name: value})  # type: ignore[arg-type]


# conversions


def targets() -> list[tuple[str, str]]:
    """Return (format, name) of all that volumes are written to without loss of values."""
    rows = [row for row in FORMATS if row.writes and row.name not in ("nifti2", "png", "jpeg", "bmp")]
    names = [(row.name, f"out{suffix}") for row in rows for suffix in row.suffixes]
    names += [(row.name, f"out{row.suffixes[0]}.gz") for row in rows if row.compressed and row.name != "mgh"]
    return [*names, ("dicom", "out/"), ("dicom", "out.dcm")]


def sources() -> dict[str, ArrayBackend]:
    """Return images of many kinds, by name."""
    found = {kind: make(kind) for kind in KINDS}
    scaled = make("forms").header.replace(slope=0.25, inter=-12.5)
    found["scaled-forms"] = ArrayBackend(make("forms").array, scaled)
    wide = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, (1, 5, 4, 3))
    found["int64"] = backend(wide)
    found["float64"], found["bool"], found["complex"] = (
        make("plain", "float64"),
        make("plain", "bool"),
        make("plain", "complex64"),
    )
    found["five"] = make("time-vector")
    bvecs = tuple((0.6, 0.0, 0.8) for _ in range(3))
    found["left-handed gradients"] = backend(
        np.arange(180, dtype="int16").reshape(3, 5, 4, 3),
        axes=(("channel", 3),),
        gradients=Gradients((5.0, 9.0, 1e3), bvecs),
    )
    return found


@pytest.mark.parametrize(("format", "name"), targets(), ids=lambda each: each)
def test_a_conversion_is_no_difference_and_all_is_the_loss_report(format: str, name: str, tmp_path: Path) -> None:
    compared = 0
    for kind, image in sources().items():
        source = str(tmp_path / f"{kind}.nii")
        try:
            save_backend(image, source)
        except MedImgError:
            source = str(tmp_path / f"{kind}.npz")
            save_backend(image, source)
        a, folder = open_backend(source), tmp_path / kind.replace(" ", "_")
        folder.mkdir()
        target = os.path.join(folder, name)
        try:
            lost = save_backend(a, target)
        except MedImgError:
            continue  # the format cannot hold such an image, and says so
        b = open_backend(target.rstrip("/"))
        compared += 1
        for one, two, files in ((a, b, (source, target)), (b, a, (target, source))):
            found = compare(one, two, names=files)
            assert found.same, (kind, [each.note for each in found.differences], found.voxels)
        every = compare(a, b, Comparing(every=True), names=(source, target))
        assert {each.field for each in every.differences} == {each.field for each in lost}, kind
        assert {each.field for each in lost} == {each.field for each in losses(a.header, target)}, kind
    assert compared > 3


def test_a_change_is_found_across_formats(tmp_path: Path) -> None:
    a = make("forms")
    array = a.array.copy()
    array[0, 4, 3, 2] ^= 1
    for _, name in targets():
        target = str(tmp_path / name.replace(".", "-").replace("/", "-")) + "/" + name
        os.makedirs(os.path.dirname(target))
        try:
            save_backend(changed(a, array), target)
        except MedImgError:
            continue
        found = compare(a, open_backend(target.rstrip("/")), names=("a.nii", target))
        assert found.sections == ("voxels",) and found.voxels is not None, (name, found.differences)
        assert found.voxels.differing == 1 and found.voxels.largest.voxel == (4, 3, 2)  # type: ignore[union-attr]


def changes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return kinds of images with one change of the header each, by name."""
    described, table = (
        make("described").header.metadata,
        LabelTable([(1, "other", (255, 0, 3, 255)), (2, "two"), (17, "x")]),
    )
    bvecs = make("diffusion").header.gradients
    assert bvecs is not None
    return {
        "description": ("described", {"description": "T2"}),
        "metadata": ("described", {"metadata": {**described, "EchoTime": 0.05}}),
        "intent": ("plain", {"intent": "zscore"}),
        "time_spacing": ("time", {"time_spacing": 3.0}),
        "slope": ("scaled", {"slope": 0.5}),
        "labels": ("labels", {"labels": table}),
        "gradients": ("diffusion", {"gradients": Gradients((0.0, 700.0, 1000.0, 3000.0), bvecs.bvecs)}),
        "origin": ("plain", {"affine": AFFINES["oblique"].with_origin((1, 2, 3))}),
        "spacing": ("plain", {"affine": AFFINES["oblique"].with_spacing((0.9, 1.25, 3.5))}),
        "direction": ("plain", {"affine": AFFINES["left-handed"]}),
        "qform": ("forms", {"qform": AFFINES["straight"]}),
    }


@pytest.mark.parametrize("change", changes())
def test_a_change_is_found_in_every_format_that_holds_it(change: str, tmp_path: Path) -> None:
    kind, fields = changes()[change]
    image = make(kind)
    other = changed(image, **fields)
    save_backend(image, str(tmp_path / "a.nii"))
    a = open_backend(str(tmp_path / "a.nii"))
    held = 0
    for format, name in targets():
        target = f"{tmp_path}/{format}-{name.replace('.', '-').replace('/', '-')}/{name}"
        os.makedirs(os.path.dirname(target))
        try:
            one, two = (what_comes_back(each.header, target) for each in (image, other))
            save_backend(other, target)
        except MedImgError:
            continue
        b = open_backend(target.rstrip("/"))
        files = (str(tmp_path / "a.nii"), target)
        found = compare(a, b, Comparing(header_only=True), names=files)
        told = {each.field for each in found.differences}
        assert bool(told) is bool(differences(one, two)), (name, told, differences(one, two))
        turned = compare(b, a, Comparing(header_only=True), names=files[::-1])
        assert {each.field for each in turned.differences} == told, name
        held += bool(told)
    assert held


def test_what_both_formats_hold_must_agree(tmp_path: Path) -> None:
    a = make("time")
    save_backend(a, str(tmp_path / "a.nii"))
    save_backend(changed(a, time_spacing=3.0), str(tmp_path / "b.mgz"))
    found = compare_images(tmp_path / "a.nii", tmp_path / "b.mgz")
    assert names(found.differences) == ["time_spacing"] and found.sections == ("metadata",)


def test_two_conversions_of_one_image_are_the_same(tmp_path: Path) -> None:
    a = make("described")
    paths = [str(tmp_path / name) for name in ("a.nrrd", "b.mgz", "c.mha", "d.nii", "e.vtk", "f.mif")]
    for path in paths:
        save_backend(a, path)
    for one in paths:
        for two in paths:
            assert compare_images(one, two).same, (one, two)


def test_axes_of_size_1_are_no_difference_across_formats(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.vtk"):
        save_backend(make("flat-rgb", "float32"), str(tmp_path / name))
    headers = [open_backend(str(tmp_path / name)).header for name in ("a.nii.gz", "a.vtk")]
    assert headers[0].axes != headers[1].axes
    assert compare_images(tmp_path / "a.nii.gz", tmp_path / "a.vtk").same
    assert compare_images(tmp_path / "a.vtk", tmp_path / "a.nii.gz").same


def test_a_series_says_some_things_in_its_own_way(tmp_path: Path) -> None:
    """Directions of length 1, text without blanks at its end."""
    a = make("diffusion")
    rounded = ((0.0, 0.0, 0.0), (-0.3347, 0.933, 0.1322), (-0.6643, -0.2155, 0.7158), (0.2446, -0.8902, 0.3843))
    gradients = Gradients((0.0, 700.0, 1000.0, 2800.0), rounded)
    image = changed(a, gradients=gradients, description="blanks  ")
    save_backend(image, f"{tmp_path}/series/")
    for one, two in ((image, open_backend(f"{tmp_path}/series")), (open_backend(f"{tmp_path}/series"), image)):
        assert compare(one, two).same
    turned = changed(image, gradients=gradients._replace(bvecs=(*rounded[:3], (0.25, -0.89, 0.38))))
    assert names(compare(turned, open_backend(f"{tmp_path}/series")).differences) == ["gradients"]


def test_a_table_that_was_left_behind_is_no_difference(tmp_path: Path) -> None:
    a = make("labels")
    save_backend(a, str(tmp_path / "a.nii.gz"))
    save_backend(a, str(tmp_path / "b.mha"))
    (tmp_path / "b.tsv").unlink(missing_ok=True)
    assert compare_images(tmp_path / "a.nii.gz", tmp_path / "b.mha").same


# the doors


def test_images_and_paths_are_compared_alike(tmp_path: Path) -> None:
    a, b = noisy("int16")
    save_backend(backend(a), str(tmp_path / "a.nii.gz"))
    image = Image(b, affine=AFFINES["left-handed"].numpy())
    found = compare_images(str(tmp_path / "a.nii.gz"), image, ignore=("sform_code", "qform_code"))
    assert found.sections == ("voxels",) and found.a == str(tmp_path / "a.nii.gz") and found.b is None
    assert compare_images(image, Image(b, affine=AFFINES["left-handed"].numpy())).same
    with pytest.raises(TypeError):
        compare_images(image, image, tolerance=3)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_changes_in_memory_count(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    save_backend(make("left-handed", "float32"), str(path))
    image = Image(path)
    image.numpy()[0, 1, 2, 1] += 5
    found = compare_images(image, path)
    assert found.sections == ("voxels",) and found.voxels is not None and found.voxels.differing == 1
    assert found.voxels.largest is not None and found.voxels.largest.voxel == (1, 2, 1)


def test_images_of_other_libraries_are_compared(tmp_path: Path) -> None:
    import nibabel

    path = tmp_path / "a.nii"
    save_backend(make("left-handed", "float32"), str(path))
    other = nibabel.load(path)
    assert compare_images(other, path).same and compare_images(path, other).same
    array = np.asarray(other.dataobj)[None].copy()
    array[0, 1, 2, 1] += 5
    assert compare_images(path, array, ignore=["geometry", "metadata", "dtype"]).sections == ("voxels",)


def test_noise_between_two_orientations_turns_nothing(tmp_path: Path) -> None:
    """Of axes half-way between two directions, the last digit decides which letter they get."""
    c, s = np.cos(np.pi / 4 + 2.5e-8), np.sin(np.pi / 4 + 2.5e-8)
    affine = AffineMatrix([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    image = backend(noisy("float32")[0][:1], affine=affine)
    save_backend(image, str(tmp_path / "a.mgz"))
    other = open_backend(str(tmp_path / "a.mgz"))
    assert other.header.orientation != image.header.orientation
    assert compare(image, other, Comparing(canonical=True)).same


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_voxels_are_refused(tmp_path: Path, suffix: str) -> None:
    a, b = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_backend(make("time"), str(a))
    b.write_bytes(a.read_bytes()[:-9])
    with pytest.raises(MedImgError):
        compare_images(a, b)
    if suffix == ".nii":
        with pytest.raises(TruncatedError):
            compare_images(b, a)
    assert compare_images(a, b, header_only=True).same


def test_orders_of_storage_in_files(tmp_path: Path) -> None:
    """Channels first, last, reversed axes, big endian, compressed: values are the same wherever they lie."""
    image = make("channels")
    for name in ("a.nii", "a.nii.gz", "b.nrrd", "c.mif", "d.npy", "e.mha", "f.nii.zarr"):
        save_backend(image, str(tmp_path / name))
        back = open_backend(str(tmp_path / name))
        turned = apply(Turn(((2, -1), (0, 1), (1, -1))), back)
        found = compare(image, turned, names=("a.nii", name), wanted=Comparing(canonical=True, ignore=("metadata",)))
        assert found.voxels is not None and not found.voxels.differing, name


REAL = (
    "nipy+nibabel/nibabel/tests/data/functional.nii",
    "niivue+niivue/packages/niivue/demos/images/hippo.nii.gz",
    "nipy+nibabel/nibabel/tests/data/standard.nii.gz",
)


@pytest.mark.parametrize("name", REAL)
def test_real_files_equal_their_conversions(name: str, tmp_path: Path) -> None:
    if not (DATA / name).exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    path = str(DATA / name)
    a = open_backend(path)
    for suffix in (".nii.gz", ".nrrd", ".mha", ".mgz", ".nii.zarr"):
        target = str(tmp_path / f"image{suffix}")
        lost = save_backend(a, target)
        found = compare_images(path, target, every=True, header_only=True)
        assert {each.field for each in found.differences} == {each.field for each in lost}
        assert compare_images(path, target).same and compare_images(target, path).same


def test_nibabel_and_numpy_find_the_same(tmp_path: Path) -> None:
    """A file of nibabel against one of ours: what its arrays say is what is told."""
    nibabel = pytest.importorskip("nibabel")
    chance = np.random.default_rng(11)
    array = chance.normal(100, 30, (7, 6, 5, 4)).astype("float32")
    other = array + (chance.random(array.shape) < 0.1) * chance.normal(size=array.shape).astype("float32")
    paths = []
    for number, values in enumerate((array, other)):
        image = nibabel.Nifti1Image(values, AFFINES["left-handed"].numpy())
        paths.append(str(tmp_path / f"{number}.nii.gz"))
        nibabel.save(image, paths[-1])
    found = compare_images(*paths, rtol=1e-3).voxels
    assert found is not None and found.largest is not None
    a, b = (np.asarray(nibabel.load(path).dataobj) for path in paths)
    gap = np.abs(a.astype(float) - b)
    place = np.unravel_index(gap.argmax(), gap.shape)
    assert (*found.largest.voxel, found.largest.channel) == place
    assert (found.largest.a, found.largest.b) == (a[place], b[place])
    assert (
        found.beyond
        == (
            ~np.isclose(a.astype(float), b, rtol=1e-3, atol=0) & ~np.isclose(b.astype(float), a, rtol=1e-3, atol=0)
        ).sum()
    )

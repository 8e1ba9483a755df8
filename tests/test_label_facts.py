"""Facts of labels, held against SimpleITK and plain NumPy; other numbers for labels, held to what they promise."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.errors import CastError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import Label, LabelTable
from medimg_cli.operations import apply, from_json, inverse_of
from medimg_cli.operations.relabel import Remap
from medimg_cli.operations.relabelling import (
    Embed,
    ExtractRequest,
    KeepRequest,
    MergeRequest,
    RemapRequest,
    label_requests,
)
from medimg_cli.statistics.labelled import LabelFacts, count_components, label_facts
from tests.helpers import AFFINES, one_line, read

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SHAPES = ((9, 7, 5), (1, 8, 11), (12, 1, 1), (1, 1, 1), (30, 3, 2))
TABLE = LabelTable(
    [
        (1, "liver", (221, 130, 101)),
        (2, "Spleen"),
        (3, "left kidney", (185, 102, 83, 128)),
        (4, "right kidney"),
        (9, "x"),
    ]
)


def blobs(
    shape: tuple[int, int, int], seed: int = 0, values: Iterable[int] = (0, 1, 2, 5, 200)
) -> np.ndarray[Any, Any]:
    """Return a few blocks of labels, some of them in pieces, and single voxels."""
    chance = np.random.default_rng([seed, *shape])
    found = np.zeros(shape, "uint8")
    for _ in range(12):
        low = [int(chance.integers(0, n)) for n in shape]
        high = [int(chance.integers(a, n)) + 1 for a, n in zip(low, shape, strict=True)]
        found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = chance.choice(list(values))
    return found


def image(array: Any, place: str = "oblique", **fields: Any) -> ArrayBackend:
    """Return an image in memory: three axes are (I, J, K), four (C, I, J, K)."""
    array = np.asarray(array)
    array = array[None] if array.ndim == 3 else array
    return ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, affine=AFFINES[place], **fields))


def as_sitk(array: np.ndarray[Any, Any], place: str) -> Any:
    """Return one channel as SimpleITK's image in RAS+ (its world is then ours)."""
    found, affine = sitk.GetImageFromArray(array.T), AFFINES[place]
    found.SetSpacing(affine.spacing)
    found.SetOrigin(affine.origin)
    found.SetDirection(np.array(affine.direction).ravel().tolist())
    return found


@pytest.mark.parametrize("place", ["straight", "oblique", "left-handed", "permuted"])
@pytest.mark.parametrize("shape", SHAPES)
def test_facts_are_those_of_simpleitk(shape: tuple[int, int, int], place: str) -> None:
    array = blobs(shape)
    expected = sitk.LabelShapeStatisticsImageFilter()
    expected.SetBackgroundValue(255)
    expected.Execute(as_sitk(array, place))
    facts = label_facts(image(array, place))
    assert [each.value for each in facts] == sorted(expected.GetLabels())
    for each in facts:
        assert each.voxels == expected.GetNumberOfPixels(each.value)
        assert each.volume == pytest.approx(expected.GetPhysicalSize(each.value), rel=1e-9)
        assert each.centroid == pytest.approx(expected.GetCentroid(each.value), abs=1e-6)
        box = expected.GetBoundingBox(each.value)
        assert each.box == tuple((box[n], box[n] + box[n + 3]) for n in range(3))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int64", "uint64", "float32", "float64", "bool"])
@pytest.mark.parametrize("place", ["sheared", "left-handed"])
def test_facts_are_numpy_s(place: str, dtype: str, order: Any) -> None:
    """All channels, all types, and a sheared grid, of which SimpleITK knows nothing."""
    array = np.stack([blobs((6, 5, 4), seed) for seed in range(3)]) % 101
    array = np.array(array.astype(dtype) - (array.astype(dtype) * 2 if dtype.startswith("int") else 0), order=order)
    source = image(array, place)
    found = {(each.channel, each.value): each for each in label_facts(source)}
    assert set(found) == {(c, int(v)) for c in range(3) for v in np.unique(array[c])}
    assert list(found) == sorted(found)
    for (channel, value), each in found.items():
        check(each, np.argwhere(array[channel] == value), source)


def check(each: LabelFacts, voxels: np.ndarray[Any, Any], source: Backend) -> None:
    affine = np.array(source.header.affine.rows)
    assert each.voxels == len(voxels)
    assert each.volume == pytest.approx(len(voxels) * abs(np.linalg.det(affine)))
    assert np.allclose(each.centroid, (voxels @ affine[:3, :3].T + affine[:3, 3]).mean(0), atol=1e-9)
    assert each.box == tuple(zip(voxels.min(0).tolist(), (voxels.max(0) + 1).tolist(), strict=True))
    ends = [(low - 0.5, high - 0.5) for low, high in each.box]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    assert np.allclose(each.bounds, np.transpose([corners.min(0), corners.max(0)]), atol=1e-9)


def test_an_image_of_many_blocks_is_added_up_exactly(tmp_path: Path) -> None:
    """Larger than a block of the stream, from a compressed file."""
    array = np.zeros((160, 150, 140), "int16")
    array[3:150, 5:140, 2:138] = 3
    array[50:60, 60:80, 100:101] = -7
    save_backend(image(array, "left-handed"), str(tmp_path / "a.nii.gz"), level=1)
    source = open_backend(str(tmp_path / "a.nii.gz"))
    for each in label_facts(source):
        check(each, np.argwhere(array == each.value), source)


@pytest.mark.parametrize("neighbours", [6, 26])
@pytest.mark.parametrize("shape", SHAPES)
def test_components_are_those_of_the_whole_volume(shape: tuple[int, int, int], neighbours: Any) -> None:
    chance = np.random.default_rng(7)
    for array in (blobs(shape), chance.integers(0, 3, shape).astype("uint8")):
        source = image(array)
        for each in label_facts(source, components=True, neighbours=neighbours):
            whole = sitk.ConnectedComponentImageFilter()
            whole.SetFullyConnected(neighbours == 26)
            whole.Execute(sitk.GetImageFromArray((array == each.value).astype("uint8").T))
            assert each.components == whole.GetObjectCount()


def test_diagonal_neighbours_are_one_piece_or_two() -> None:
    array = np.zeros((1, 4, 4, 4), "float32")
    array[0, 0, 0, 0] = array[0, 1, 1, 1] = array[0, 3, 3, 3] = 2
    (_, facts) = label_facts(image(array), components=True)
    assert facts.components == 2 and count_components(image(array), facts, 6) == 3
    assert label_facts(image(array))[1].components is None


@pytest.mark.parametrize("value", [1.5, float("nan"), float("inf"), -2.25])
def test_what_is_no_whole_number_is_refused(value: float) -> None:
    with pytest.raises(UnsupportedError, match="labels are whole numbers") as caught:
        label_facts(image(np.array([[[0.0, value, 3.0]]])))
    assert one_line(caught.value)


def test_images_of_other_things_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="complex"):
        label_facts(image(np.ones((2, 2, 2), "complex64")))
    with pytest.raises(UnsupportedError, match="more than a million"):
        label_facts(image(np.arange(1_100_000, dtype="int32").reshape(100, 100, 110)))


def test_scaled_labels_are_their_values() -> None:
    source = image(np.array([[[0, 1, 2]]], "int16"), slope=2.0, inter=1.0)
    assert [each.value for each in label_facts(source)] == [1, 3, 5]


REAL = (
    "AIM-Harvard+pyradiomics/data/brain1_label.nrrd",
    "niivue+niivue/packages/niivue/demos/images/aparc.a2009s+aseg.mgz",
    "niivue+niivue/packages/niivue/demos/images/torsoLabel.nii.gz",
)


@pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")
@pytest.mark.parametrize("name", REAL, ids=lambda name: Path(name).name)
def test_real_label_maps(name: str) -> None:
    """Against an independent reader: nibabel, or SimpleITK for what nibabel cannot read."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not among the real files")
    if path.suffix == ".nrrd":
        foreign = sitk.ReadImage(str(path))
        array, flip = sitk.GetArrayFromImage(foreign).T, np.diag([-1, -1, 1])
        turn = flip @ np.reshape(foreign.GetDirection(), (3, 3)) * foreign.GetSpacing()
        origin = flip @ foreign.GetOrigin()
    else:
        other: Any = nib.load(path)
        array, turn, origin = np.asarray(other.dataobj), other.affine[:3, :3], other.affine[:3, 3]
    facts = label_facts(open_backend(str(path)))
    counts = dict(zip(*(each.tolist() for each in np.unique(array, return_counts=True)), strict=True))
    assert {each.value: each.voxels for each in facts} == counts
    for each in sorted(facts, key=lambda each: each.voxels)[:20]:
        voxels = np.argwhere(array == each.value)
        assert each.volume == pytest.approx(len(voxels) * abs(np.linalg.det(turn)), rel=1e-5)
        assert np.allclose(each.centroid, turn @ voxels.mean(0) + origin, atol=1e-3)
        assert each.box == tuple(zip(voxels.min(0), voxels.max(0) + 1, strict=True))


# remap, keep, merge, extract

maps = st.builds(
    lambda seed, shape, dtype: np.random.default_rng(seed).integers(0, 6, shape).astype(dtype),
    st.integers(0, 10_000),
    st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 5)),
    st.sampled_from(["uint8", "int16", "int32", "float32"]),
)
labels = st.integers(0, 7)


@given(maps, st.dictionaries(labels, st.integers(0, 100), min_size=1), st.none() | st.integers(0, 9))
def test_no_remap_invents_a_value(array: np.ndarray[Any, Any], mapping: dict[int, int], default: int | None) -> None:
    """Every new number was asked for, and volumes add up, label by label."""
    source = image(array, labels=TABLE)
    result = apply(Remap(mapping, default), source)
    before = {each.value: each.voxels for each in label_facts(source)}
    after = {each.value: each.voxels for each in label_facts(result)}
    assert set(after) <= set(mapping.values()) | set(before) | ({default} - {None})
    expected: dict[int, int] = {}
    for value, voxels in before.items():
        new = mapping.get(value, value if default is None else default)
        expected[new] = expected.get(new, 0) + voxels
    assert after == expected
    assert result.header.dtype == source.header.dtype and result.header.grid == source.header.grid
    assert result.header.labels is not None and len(set(result.header.labels.values)) == len(result.header.labels)


@given(maps, st.sets(labels, min_size=1), st.integers(0, 7))
def test_requests_never_invent_a_value(array: np.ndarray[Any, Any], chosen: set[int], new: int) -> None:
    table = LabelTable([(value, f"name {value}") for value in range(8)])
    source = image(array, labels=table)
    words = ",".join(map(str, sorted(chosen)))
    present = set(np.unique(array).tolist())
    volume = {each.value: each.volume for each in label_facts(source)}
    kept = apply(KeepRequest(words), source)
    assert set(np.unique(read(kept))) <= (chosen & present) | {0}
    for each in label_facts(kept):
        assert not each.value or each.volume == pytest.approx(volume[each.value])
    merged = apply(MergeRequest((f"{words}={new}",)), source)
    assert set(np.unique(read(merged))) <= (present - chosen) | {new}
    mask = apply(ExtractRequest(words), source)
    assert np.array_equal(read(mask)[0], np.isin(array, list(chosen))) and mask.header.dtype == "uint8"
    total = sum(volume.values())
    for result in (kept, merged, mask):
        assert sum(each.volume for each in label_facts(result)) == pytest.approx(total)


@given(st.permutations(range(6)), maps)
def test_permutations_are_undone_and_nothing_else_claims_to_be(order: list[int], array: np.ndarray[Any, Any]) -> None:
    source = image(array, labels=TABLE)
    result = apply(Remap(dict(enumerate(order))), source)
    if result is not source:
        (step,) = result.header.history
        back = inverse_of(step)
        assert back is not None and np.array_equal(read(apply(back, result)), read(source))
        assert set(apply(back, result).header.labels or ()) == set(TABLE)
    for other in (Remap({1: 2}), Remap({1: 2, 2: 1}, default=0), Remap({1: 2, 2: 1}, names={1: "a"})):
        assert inverse_of(apply(other, source).header.history[-1]) is None


def test_large_blocks_are_looked_up_and_give_the_same() -> None:
    array = np.random.default_rng(3).integers(-300, 300, (90, 80, 70)).astype("int16")
    small, large = Remap({-5: 5, 7: -9, 1: 0}, default=3), Remap({4: 2, -300: 299})
    for remap in (small, large):
        assert np.array_equal(remap.kernel(array), remap._mapped(array))
    mask = Remap({4: 1}, default=0, dtype="uint8")
    assert mask.kernel(array).dtype == "uint8" and np.array_equal(mask.kernel(array), array == 4)


def test_tables_follow() -> None:
    source = image(blobs((5, 4, 3), values=(0, 1, 2, 3, 4)), labels=TABLE)

    def names(request: Any) -> dict[int, str]:
        table = apply(request, source).header.labels
        return {} if table is None else {label.value: label.name for label in table}

    assert names(RemapRequest("liver=7,3=1")) == {7: "liver", 2: "Spleen", 1: "left kidney", 4: "right kidney", 9: "x"}
    assert names(KeepRequest("1,spleen")) == {1: "liver", 2: "Spleen"}
    assert names(MergeRequest(("3,right kidney=3",))) == {1: "liver", 2: "Spleen", 3: "left kidney", 9: "x"}
    assert names(MergeRequest(("4,3=1",)))[1] == "liver"  # it was there before
    merged = names(MergeRequest(("3,4=8:kidneys: both", "1,2=1:upper")))
    assert merged == {1: "upper", 8: "kidneys: both", 9: "x"}
    assert names(ExtractRequest("left kidney,4")) == {1: "left kidney + right kidney"}
    merged_table = apply(MergeRequest(("3,4=8:kidneys",)), source).header.labels
    assert merged_table is not None and merged_table.get(8) == Label(8, "kidneys", (185, 102, 83, 128))
    assert apply(KeepRequest("1"), image(blobs((5, 4, 3)))).header.labels is None
    assert apply(MergeRequest(("1,2=1:organs",)), image(np.array([[[1, 2]]], "uint8"))).header.labels == LabelTable(
        [(1, "organs")]
    )


def test_types_that_cannot_hold_the_labels() -> None:
    source = image(np.array([[[1, 300]]], "int16"))
    with pytest.raises(CastError, match="may not fit into uint8"):
        apply(Remap({300: 3}, dtype="uint8"), source)
    assert np.array_equal(read(apply(Remap({300: 3}, dtype="int32"), source)).ravel(), [1, 3])
    with pytest.raises(UsageError, match="no type 'unit8'"):
        Remap({300: 3}, dtype="unit8")


def test_histories_hold_the_whole_operation() -> None:
    source = image(blobs((5, 4, 3), values=(0, 1, 2, 3, 4)), labels=TABLE)
    for request in (MergeRequest(("3,4=8:kidneys",)), ExtractRequest("liver"), KeepRequest("1,2")):
        result = apply(request, source)
        (step,) = result.header.history
        again = apply(from_json(step), source)
        assert step["name"] == "remap" and np.array_equal(read(again), read(result))
        assert again.header.labels == result.header.labels


def test_names_of_another_table() -> None:
    source = image(blobs((9, 7, 5), values=(0, 1, 2)), labels=TABLE)
    other = LabelTable([(2, "Leber")])
    embedded = source
    for request in label_requests(remap="Leber=4", table=other):
        embedded = apply(request, embedded)  # type: ignore[assignment]
    assert embedded.header.labels == LabelTable([(4, "Leber")])
    assert apply(Embed(TABLE), source) is source


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RemapRequest("3"), "no pair"),
        (lambda: RemapRequest("=3"), "no pair"),
        (lambda: RemapRequest("3=1.5"), "no pair"),
        (lambda: RemapRequest("3=1,"), "no pair"),
        (lambda: KeepRequest("1,,2"), "no list of labels"),
        (lambda: ExtractRequest(""), "no list of labels"),
        (lambda: MergeRequest(("1,2",)), "says not what becomes what"),
        (lambda: MergeRequest(("1,2=lungs",)), "says not what becomes what"),
        (lambda: label_requests(keep="1", extract="2"), "exclude each other"),
        (lambda: label_requests(embed=True), "needs a table"),
    ],
)
def test_words_that_make_no_sense(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        make()
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("77", "no voxel is 77"),
        ("livr", "did you mean 'liver'"),
        ("zzz", "no label is called 'zzz'"),
        ("kidney", "2 labels are called 'kidney'"),
        ("5", None),  # a voxel has it
        ("9", None),  # the table has it
        ("LIVER", None),
    ],
)
def test_labels_that_are_not_there(word: str, says: str | None) -> None:
    table = LabelTable([(1, "liver"), (2, "Kidney"), (3, "kidneY"), (9, "x")])
    source = image(np.arange(6, dtype="uint8").reshape(1, 2, 3), labels=table)
    if says is None:
        assert KeepRequest(word).prepare(source).default == 0
        return
    with pytest.raises(UsageError, match=says) as caught:
        KeepRequest(word).prepare(source)
    assert one_line(caught.value)
    with pytest.raises(UsageError, match="there is no label table"):
        KeepRequest("liver").prepare(image(np.ones((1, 2, 3), "uint8")))

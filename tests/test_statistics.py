"""Statistics of values: NumPy says what they are, block seams and memory must not show."""

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
from hypothesis.extra.numpy import arrays

from medimg_cli.backends import ArrayBackend, Backend, scale
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError, UsageError
from medimg_cli.formats import find_format, open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.statistics import blocks, ranks, selection
from medimg_cli.statistics import describe as describe_module
from medimg_cli.statistics.describe import Description, describe
from medimg_cli.statistics.ranks import Selector, from_keys, to_keys

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import proving

from .helpers import AFFINES, DTYPES, KINDS, SHAPE, Array, make, voxels, write

REAL = [name for name in DTYPES if not is_complex(name) and name != "float128"]
PERCENTS = (0.0, 2.5, 10.0, 33.3, 50.0, 75.0, 99.9, 100.0)


@pytest.fixture(params=["whole", "pieces"])
def seams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work once as ever, and once in tiny blocks with next to no memory, so that all seams are crossed."""
    if request.param == "pieces":
        tiny(monkeypatch)


def tiny(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(blocks, "_BLOCK", 64)
    patch.setattr(selection, "_PIECE", 7)
    patch.setattr(ranks, "_MOST_HELD", 32)
    patch.setattr(ranks, "MOST_BINS", 64)
    patch.setattr(describe_module, "MOST_BINS", 64)
    patch.setattr(describe_module, "_MOST_GROUPS", 2)


def image(array: Array, **fields: Any) -> ArrayBackend:
    array = array if array.ndim == 4 else array.reshape(1, -1, 1, 1)
    fields = {"affine": AFFINES["oblique"], **fields}
    return ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields))


def hold(found: Description, values: Array, percents: tuple[float, ...] = PERCENTS, above: float | None = None) -> None:
    """Compare a description with what NumPy says of all values at once."""
    values = values.reshape(-1)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    good = values[np.isfinite(values)]
    assert found.count == values.size and found.finite == good.size
    odd = (np.isnan(values).sum(), np.isposinf(values).sum(), np.isneginf(values).sum())
    assert (found.nan, found.positive_infinity, found.negative_infinity) == odd
    if not good.size:
        nothing = (found.min, found.max, found.sum, found.mean, found.std, found.std_sample, found.median)
        assert nothing == (None,) * 7 and all(value is None for _, value in found.percentiles)
        return
    assert (found.min, found.max) == (good.min(), good.max())
    if above is not None:
        assert found.above_count == (good > above).sum()
    if good.dtype.kind in "iu":
        assert found.sum == sum(good.tolist())
    wide = good.astype(np.float64)
    with np.errstate(all="ignore"):
        reference = (wide.sum(), wide.mean(), wide.std(), np.median(wide))
        sample = wide.std(ddof=1) if good.size > 1 else None
        expected = np.percentile(wide, percents)
    size = float(np.abs(wide).max())
    if size < 1e100:  # NumPy's own sums overflow beyond
        for ours, theirs in zip((found.sum, found.mean, found.std, found.median), reference, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12 * size * good.size)
        assert found.std_sample == (None if sample is None else pytest.approx(sample, rel=1e-9, abs=1e-12 * size))
    assert [percent for percent, _ in found.percentiles] == list(percents)
    for (_, ours), theirs in zip(found.percentiles, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-14) or (abs(theirs) > 1e300)


# -- whole images ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("kind", ["plain", "channels", "time-vector", "flat"])
@pytest.mark.usefixtures("seams")
def test_every_type_as_numpy(kind: str, dtype: str) -> None:
    one = make(kind, dtype)
    found = describe(one, percentiles=PERCENTS, above=1)
    channels = one.header.channels
    assert [each.channel for each in found] == [*range(channels), *([None] if channels > 1 else [])]
    for each in found:
        hold(each, one.array if each.channel is None else one.array[each.channel], above=1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_as_numpy(kind: str) -> None:
    one = make(kind)
    values = scale(one.array, one.header)
    (overall,) = describe(one, percentiles=PERCENTS, each=False)
    assert overall.channel is None
    hold(overall, values)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".mif", ".npy"])
@pytest.mark.usefixtures("seams")
def test_files_in_every_order(tmp_path: Path, suffix: str) -> None:
    """Channels lie first, last and between in these; some are big-endian."""
    row = find_format(
        {".nii": "nifti1", ".nii.gz": "nifti1", ".mha": "metaimage", ".mgz": "mgh"}.get(suffix, suffix[1:])
    )
    for kind in ("channels", "vector", "time", "scaled", "permuted", "labels"):
        path = write(tmp_path / kind, row, suffix, kind)
        if path is None:
            continue
        backend = open_backend(path)
        values = backend.read(tuple(map(range, backend.header.shape)))  # type: ignore[arg-type]
        for each in describe(backend, percentiles=PERCENTS):
            hold(each, values if each.channel is None else values[each.channel])


@pytest.mark.parametrize(("slope", "inter"), [(0.25, -12.5), (-3.0, 7.0), (1e-3, 0.0)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
@pytest.mark.usefixtures("seams")
def test_scaled_values_count(dtype: str, slope: float, inter: float) -> None:
    numbers = voxels((1, *SHAPE), "int16").clip(-100, 100).astype(dtype)
    one = image(numbers, slope=slope, inter=inter)
    (found,) = describe(one, percentiles=PERCENTS, above=0)
    hold(found, scale(numbers, one.header), above=0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.usefixtures("seams")
def test_nothing_finite_and_single_voxels(dtype: str) -> None:
    for values in ([np.nan] * 5, [np.inf, np.nan, -np.inf], [3.5], [-0.0], [np.nan, 2, np.inf]):
        array = np.array(values, dtype)
        (found,) = describe(image(array), percentiles=PERCENTS, above=1)
        hold(found, array, above=1)
    assert str(describe(image(np.array([-0.0], dtype)))[0].min) == "0.0"


@pytest.mark.usefixtures("seams")
def test_large_offsets_cost_no_digits() -> None:
    noise = np.random.default_rng(3).normal(size=5000)
    (found,) = describe(image(noise + 1e8))
    assert found.std == pytest.approx((noise + 1e8 - 1e8).std(), rel=1e-8)
    (found,) = describe(image((noise * 1000).astype("int32") + 2_000_000_000))
    assert found.std == pytest.approx((noise * 1000).astype("int32").std(), rel=1e-9)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
@pytest.mark.usefixtures("seams")
def test_64_bits_are_exact(dtype: str) -> None:
    base = 2**62 + 1
    array = np.array([base + 2 * n for n in range(301)], dtype)
    (found,) = describe(image(array), percentiles=[0, 50, 100], above=float(2**62))
    assert (found.min, found.median, found.max) == (base, base + 300, base + 600)
    assert found.sum == sum(array.tolist()) and found.above_count == 301
    assert dict(found.percentiles) == {0: base, 50: base + 300, 100: base + 600}


def test_volumes_are_those_of_the_affine() -> None:
    for name, affine in AFFINES.items():
        one = image(voxels((2, *SHAPE), "uint8"), affine=affine)
        voxel = abs(np.linalg.det(affine.numpy()[:3, :3]))
        first, _, overall = describe(one, above=100)
        assert first.volume_mm3 == pytest.approx(60 * voxel), name
        assert first.above_mm3 == pytest.approx((one.array[0] > 100).sum() * voxel)
        assert overall.volume_mm3 is None and overall.above_mm3 is None
    (alone,) = describe(image(voxels((1, *SHAPE), "uint8")), each=False)
    assert alone.volume_mm3 is not None


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_array_in_any_pieces(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["int8", "uint16", "int32", "uint64", "float16", "float32", "float64"]))
    elements = {"allow_subnormal": False, "min_value": -30000, "max_value": 30000} if "float" in dtype else {}
    array = data.draw(arrays(dtype, st.integers(1, 200), elements=elements))
    percents = tuple(data.draw(st.lists(st.floats(0, 100), min_size=1, max_size=4)))
    with pytest.MonkeyPatch.context() as patch:
        tiny(patch)
        (found,) = describe(image(array), percentiles=percents, above=1.5)
    hold(found, array, percents, above=1.5)


# -- order statistics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64", "float16", "float32", "float64"]
)
def test_keys_keep_order_and_return(dtype: str) -> None:
    values = voxels((500,), dtype)
    values = values[np.isfinite(values)]
    keys = to_keys(values)
    assert keys.dtype.kind == "u"
    order = np.argsort(keys, kind="stable")
    assert (np.diff(values[order].astype(object)) >= 0).all()
    assert (from_keys(keys, values.dtype) == values).all()


@pytest.mark.parametrize("held", [0, 400, 1 << 20])
@pytest.mark.parametrize("dtype", ["int32", "float32", "float64"])
def test_ranks_of_many_groups(monkeypatch: pytest.MonkeyPatch, dtype: str, held: int) -> None:
    monkeypatch.setattr(ranks, "_MOST_HELD", held)
    monkeypatch.setattr(ranks, "MOST_BINS", 256)
    chance = np.random.default_rng(5)
    values = (chance.normal(size=3000) * 10.0 ** chance.integers(0, 6, 3000)).astype(dtype)
    groups = chance.integers(0, 9, 3000)
    groups[groups == 4] = 5  # a group without values
    passes = []

    def again(take: Any) -> None:
        passes.append(1)
        for start in range(0, 3000, 100):
            take(values[start : start + 100], groups[start : start + 100])

    selector = Selector(9, values.dtype, 3000)
    for start in range(0, 3000, 100):
        selector.add(values[start : start + 100], groups[start : start + 100])
    parts = [np.sort(values[groups == number]) for number in range(9)]
    wanted = [list(range(0, len(part), 17)) for part in parts]
    found = selector.select(wanted, again)
    assert found == [{rank: part[rank] for rank in each} for part, each in zip(parts, wanted, strict=True)]
    assert bool(passes) == (held < 3000 * 8)


# -- masks and label maps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
@pytest.mark.parametrize("labelled", ["uint8", "int16", "int32", "uint64", "float32"])
@pytest.mark.usefixtures("seams")
def test_labels_and_mask_combine(dtype: str, labelled: str) -> None:
    one = make("channels", dtype)
    chance = np.random.default_rng(1)
    regions = chance.choice([0, 1, 2, 17, 100], (1, *SHAPE)).astype(labelled)
    inside = chance.choice([0, 0.5, -2, np.nan], (1, *SHAPE)).astype("float32")
    mask, labels = image(inside), image(regions, labels=LabelTable([(1, "one"), (2, "two"), (40, "none")]))
    found = describe(one, mask=mask, labels=labels, percentiles=PERCENTS)
    assert [(each.channel, each.label) for each in found] == [
        (channel, label) for channel in (0, 1, 2, None) for label in (1, 2, 17, 100)
    ]
    assert [each.name for each in found[:4]] == ["one", "two", None, None]
    chosen = (inside != 0) & ~np.isnan(inside)
    for each in found:
        where = np.broadcast_to((regions == each.label) & chosen, one.array.shape)
        part = slice(None) if each.channel is None else slice(each.channel, each.channel + 1)
        hold(each, one.array[part][where[part]])


@pytest.mark.usefixtures("seams")
def test_masks_and_labels_of_every_channel() -> None:
    one = make("channels", "float32")
    mask = image(voxels((3, *SHAPE), "bool"))
    regions = np.random.default_rng(2).choice(np.array([-3, 0, 70000], "int32"), (3, *SHAPE))
    for each in describe(one, mask=mask, percentiles=PERCENTS):
        hold(each, one.array[mask.array] if each.channel is None else one.array[each.channel][mask.array[each.channel]])
    for each in describe(one, labels=image(regions), percentiles=PERCENTS, each=False):
        hold(each, one.array[regions == each.label])


def test_a_mask_that_selects_nothing() -> None:
    (found,) = describe(make(), mask=image(np.zeros((1, *SHAPE), "uint8")), above=3)
    assert (found.count, found.finite, found.volume_mm3, found.above_count) == (0, 0, 0, 0)
    assert found.min is found.mean is found.std is found.median is None


def test_a_label_outside_of_the_mask_has_a_row() -> None:
    regions = np.repeat(np.array([1, 2], "uint8"), 30).reshape(1, *SHAPE)
    found = describe(image(regions.astype("float64")), mask=image((regions == 1).view("uint8")), labels=image(regions))
    assert [(each.label, each.count, each.max) for each in found] == [(1, 30, 1), (2, 0, None)]


def test_labels_may_be_chosen_and_named() -> None:
    labels = make("labels")
    found = describe(labels, labels=labels, known=[17, 1], table=LabelTable({17: "seventeen"}))
    assert [(each.label, each.name, each.min) for each in found] == [(1, None, 1), (17, "seventeen", 17)]
    assert describe(labels, labels=image(np.zeros((1, *SHAPE), "uint8"), affine=labels.header.affine)) == []


def test_a_mask_of_another_grid_is_refused() -> None:
    one = make()
    moved = one.header.affine.with_origin((-37.5, 12.25, 84.0))
    for mask, words in (
        (image(np.ones((1, *SHAPE), "uint8"), affine=moved), "lies 3 mm from"),
        (image(np.ones((1, 4, 5, 3), "uint8"), affine=one.header.affine), "has 4 x 5 x 3 voxels, the image 5 x 4 x 3"),
        (image(np.ones((2, *SHAPE), "uint8"), affine=one.header.affine), "2 channels"),
    ):
        with pytest.raises(GeometryError, match=words):
            describe(one, mask=mask)
        with pytest.raises(GeometryError, match=f"label map .*{words}"):
            describe(one, labels=mask)


def test_what_makes_no_sense_is_refused() -> None:
    one = make()
    for percent in (-1, 100.5, float("nan")):
        with pytest.raises(UsageError, match="percentile"):
            describe(one, percentiles=[percent])
    with pytest.raises(UsageError, match="threshold"):
        describe(one, above=float("inf"))
    with pytest.raises(UnsupportedError, match="complex"):
        describe(make("plain", "complex64"))
    for odd in (0.5, np.nan, np.inf):
        with pytest.raises(FormatError, match="whole numbers"):
            describe(one, labels=image(np.full((1, *SHAPE), odd, "float32"), affine=one.header.affine))


@pytest.mark.skipif("float128" not in DTYPES, reason="this platform has no float128")
def test_128_bits_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="float128"):
        describe(make("plain", "float128"))


def test_facts_are_flat() -> None:
    (found,) = describe(make(), percentiles=[2.5, 50])
    record = found.facts()
    assert list(record)[-4:] == ["median", "p2.5", "p50", "volume_mm3"] and "above" not in record
    assert {"above", "above_count", "above_mm3"} <= set(describe(make(), above=1)[0].facts())


# -- memory ---------------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys
from medimg_cli.cli.app import main
code = main(sys.argv[1:])
status = open("/proc/self/status").read()
print(code, int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) * 1024, file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is asked for as on Linux")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, dtype: str) -> None:
    """The file alone takes more than the whole process may, NumPy included."""
    nibabel = pytest.importorskip("nibabel")
    itemsize = np.dtype(dtype).itemsize
    depth = 240 // itemsize
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape((1024, 1024, depth))
    header["magic"], header["vox_offset"] = b"n+1", 352
    path = tmp_path / "large.nii"
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        file.truncate(352 + 1024 * 1024 * depth * itemsize)
        file.seek(352)
        file.write(np.random.default_rng(0).normal(50, 20, 1 << 20).astype(dtype).tobytes())
    command = [sys.executable, "-c", MEASURE, "stats", "--field", "count", "--field", "max", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert done.stdout.split()[0] == str(1024 * 1024 * depth)
    code, peak = map(int, done.stderr.splitlines()[-1].split())
    assert code == 0 and peak < 150e6


# -- other programs -------------------------------------------------------------------------------------------------


def packaged() -> list[str]:
    """Return images that nibabel's package carries."""
    nibabel = pytest.importorskip("nibabel")
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    names = (
        "example4d.nii.gz",
        "anatomical.nii",
        "functional.nii",
        "test.mgz",
        "minc1_1_scale.mnc",
        "phantom_varscale.PAR",
    )
    return [str(folder / name) for name in names if (folder / name).exists()]


def test_packaged_images_as_nibabel() -> None:
    import nibabel

    for path in packaged():
        values = np.asanyarray(nibabel.load(path).dataobj)
        (found,) = describe(open_backend(path), percentiles=PERCENTS, each=False)
        wide = values.astype(np.float64)
        assert found.count == values.size, path
        assert (found.mean, found.std) == pytest.approx((wide.mean(), wide.std()), rel=1e-5), path
        ours: Any = [value for _, value in found.percentiles]
        np.testing.assert_allclose(ours, np.percentile(wide, PERCENTS), rtol=1e-5, err_msg=path)


def mrstats(path: Path, *words: str) -> list[list[float]]:
    program = shutil.which("mrstats")
    if program is None:
        pytest.skip("mrstats of MRtrix is not installed")
    names = ("mean", "median", "std", "min", "max", "count")
    command = [program, "-quiet", str(path), *(word for name in names for word in ("-output", name)), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def as_mrstats(found: Description) -> list[Any]:
    return [found.mean, found.median, found.std_sample, found.min, found.max, found.finite]


@pytest.mark.parametrize("kind", ["plain", "scaled", "channels", "labels"])
def test_mrstats_says_the_same(tmp_path: Path, kind: str) -> None:
    """mrstats reads values as float32 and leaves NaN and infinities out, too."""
    path = write(tmp_path, find_format("nifti1"), ".nii", kind, "float32" if kind == "channels" else None)
    assert path is not None
    backend = open_backend(str(path))
    inside = image(np.random.default_rng(4).integers(0, 2, (1, *SHAPE), "uint8"), affine=backend.header.affine)
    if kind == "channels":
        values = voxels((3, *SHAPE), "int16").astype("float32")
        values[0, 0, 0, 0], values[1, 1, 1, 1] = np.nan, np.inf
        save_backend(image(values, axes=(("channel", 3),)), str(path), force=True)
        backend = open_backend(str(path))
    save_backend(inside, str(tmp_path / "mask.nii"))
    channels = backend.header.channels
    np.testing.assert_allclose([as_mrstats(each) for each in describe(backend)][:channels], mrstats(path), rtol=1e-4)
    (overall,) = describe(backend, mask=inside, each=False)
    masked = mrstats(path, "-mask", str(tmp_path / "mask.nii"), "-allvolumes")
    np.testing.assert_allclose([as_mrstats(overall)], masked, rtol=1e-4)


def test_a_real_head_as_numpy_and_mrstats() -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = proving.data_folder()
    if folder is None:
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    path = folder / "datalad+example-dicom-structural" / "t1_struct_dcm2niix.nii.gz"
    (found,) = describe(open_backend(str(path)), percentiles=PERCENTS)
    hold(found, np.asanyarray(nibabel.load(path).dataobj))
    np.testing.assert_allclose([as_mrstats(found)], mrstats(path), rtol=1e-5)


def test_backends_of_any_kind(tmp_path: Path) -> None:
    """Views, and images of several files, stream as well."""
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.reorient import Reorient

    path = write(tmp_path, find_format("nifti1"), ".nii.gz", "channels")
    assert path is not None
    backend: Backend = open_backend(path)
    turned = apply(Reorient("PSR"), backend)
    ours, theirs = describe(backend), describe(turned)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.count, one.min, one.median, one.percentiles) == (
            other.count,
            other.min,
            other.median,
            other.percentiles,
        )

"""What gatherers say of numbers and slices, against NumPy; and what rules about values say of real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Settings, Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.numbers import NumberFacts, Numbers
from medimg_cli.checks.slices import SliceFacts, Slices
from tests.checks.gathering import ORDERS, SIZES, gathered, stored, subject_of
from tests.checks.planted_values import fractions, noise, repeated, saved, with_some, without
from tests.helpers import DTYPES, voxels

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
KNOWN = Settings(labels=True)
SCALES = ((None, None), (0.5, -3.0), (-2.0, 0.0))


def number_facts(array: Any, patch: pytest.MonkeyPatch, size: int = 1 << 22, **fields: Any) -> NumberFacts:
    facts = gathered(Numbers, subject_of(array, settings=KNOWN, **fields), patch, size)
    assert isinstance(facts, NumberFacts)
    return facts


def slice_facts(array: Any, patch: pytest.MonkeyPatch, size: int = 1 << 22, **fields: Any) -> SliceFacts:
    facts = gathered(Slices, subject_of(array, **fields), patch, size)
    assert isinstance(facts, SliceFacts)
    return facts


@pytest.mark.parametrize("scaling", SCALES, ids=lambda pair: f"slope-{pair[0]}")
@pytest.mark.parametrize("shape", [(2, 7, 6, 5), (1, 1, 1, 1), (1, 40, 30, 20)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_are_those_of_numpy(
    dtype: str, shape: tuple[int, ...], scaling: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    array = voxels(shape, dtype)
    subject = subject_of(array, settings=KNOWN, slope=scaling[0], inter=scaling[1])
    assert subject.backend is not None
    with np.errstate(all="ignore"):
        values = subject.backend.read(tuple(map(range, shape)))  # type: ignore[arg-type]
        facts = gathered(Numbers, subject, monkeypatch, 300)
        missing, finite = np.isnan(values), values[np.isfinite(values)]
        assert facts.count == values.size
        assert facts.nans == missing.sum()
        assert facts.infinities == values.size - missing.sum() - finite.size
        assert facts.nonzero == ((values != 0) & ~missing).sum()
        if values.dtype.kind == "c":
            assert (facts.low, facts.high, facts.whole, facts.distinct) == (None, None, False, None)
        elif finite.size:
            kind = float if finite.dtype.kind == "f" else int
            assert (facts.low, facts.high) == (kind(finite.min()), kind(finite.max()))
            assert facts.whole == bool((finite == np.floor(finite)).all())
    for place, hits in ((facts.nan_at, missing), (facts.infinity_at, np.isinf(values) & ~missing)):
        assert hits[place] if place else not hits.any()
    if dtype not in ("float128",) and values.dtype.kind != "c":
        found, counts = np.unique(finite, return_counts=True)
        assert facts.distinct == dict(zip(found.tolist(), counts.tolist(), strict=True))
        assert list(facts.distinct) == sorted(facts.distinct)


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["int16", "float32", "int64", "bool"])
def test_order_of_storage_and_size_of_boxes_do_not_matter(
    dtype: str, size: int, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    array = stored((noise((3, 8, 7, 5)) % 9).astype(dtype), order)
    facts = number_facts(array, monkeypatch, size)
    assert facts == number_facts(np.ascontiguousarray(array), monkeypatch)
    assert facts.distinct == {value: int((array == value).sum()) for value in np.unique(array).tolist()}


def test_numbers_at_limits_and_near_them_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        array = voxels((2, 9, 8, 7), dtype)
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        near = (high - low + 1) // 16
        numbers = [int(each) for each in array.flat]
        facts = number_facts(array, monkeypatch, 64)
        assert facts.bottom == (numbers.count(low), sum(low < each < low + near for each in numbers))
        assert facts.top == (numbers.count(high), sum(high - near < each < high for each in numbers))


def test_many_different_values_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(300, dtype="float32").reshape(1, 10, 6, 5)
    for dtype in ("float32", "uint16", "int64"):
        other = gathered(Numbers, subject_of(array.astype(dtype)), monkeypatch, 64)
        assert other.distinct is None
        assert (other.low, other.high, other.nonzero) == (0, 299, 299)
        assert len(number_facts(array.astype(dtype), monkeypatch, 64).distinct or ()) == 300


def test_floats_that_fit_into_32_bits_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    array = fractions((1, 9, 8, 7)).astype("float64")
    assert number_facts(with_some(array, np.nan, (0, 1, 1, 1)), monkeypatch).single
    assert not number_facts(with_some(array, 1 / 3, (0, 8, 7, 6)), monkeypatch).single


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_blank_slices_are_found_along_each_axis(
    size: int, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for dtype in ("int16", "float64", "complex64", "uint8"):
        array = noise((2, 9, 8, 7), dtype)
        array[1, 4] = 0
        array[1, :, 2:4] = 0
        array[0, :, :, 5] = 3
        array[0, :, :, 0] = 0
        facts = slice_facts(stored(array, order), monkeypatch, size)
        assert facts.volumes == 2
        assert [tuple(spot) for spot in facts.blank] == [(0, 1, 1, 4), (1, 2, 1, 2), (2, 1, 0, 5)]
        assert facts.blank_volumes == ()


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_copies_are_found_across_the_slowest_axis(
    size: int, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = next(axis for axis in order if axis) - 1
    array = noise((3, 9, 8, 7))
    volume = repeated(repeated(array[1], slow, 2), slow, 4)
    facts = slice_facts(stored(np.stack([array[0], volume, volume]), order), monkeypatch, size)
    assert facts.copies == (slow, 4, 1, 3)
    assert facts.copied_volumes == (2,)
    volume = with_some(volume, 0, (8, 7, 6))
    facts = slice_facts(stored(np.stack([array[0], array[1], volume]), order), monkeypatch, size)
    assert facts.copied_volumes == ()


def test_parts_of_voxels_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.stack([noise(seed=1), without(noise(seed=2), 2, 4), repeated(noise(seed=3), 2, 2)])
    for order in ORDERS:
        facts = slice_facts(stored(array, order), monkeypatch, axes=(("vector", 3),))
        assert facts == SliceFacts(volumes=1)
        facts = slice_facts(stored(array[[0, 0, 0]], order), monkeypatch, axes=(("rgb", 3),))
        assert facts == SliceFacts(volumes=1)
    coloured = np.stack([noise(seed=1), noise(seed=2), noise(seed=3)])
    coloured[:, :, :, 4] = np.array([7, 0, 9])[:, None, None]
    assert slice_facts(coloured, monkeypatch, axes=(("rgb", 3),)).blank == ((2, 1, 0, 4),)
    mixed = np.concatenate([array, array])  # time is faster than the parts
    facts = slice_facts(mixed, monkeypatch, axes=(("time", 2), ("vector", 3)))
    assert facts.volumes == 2
    assert facts.copied_volumes == ()


def test_slices_of_more_channels_than_anybody_has_are_left_alone() -> None:
    class Huge:
        shape = (1 << 30, 4, 4, 4)
        header = property(lambda self: self)
        channels = 1 << 30

    subject = subject_of(noise((1, 4, 4, 4)))
    assert Slices.wants(subject)
    subject.header = Huge()  # type: ignore[assignment]
    subject.is_labels = False
    assert not Slices.wants(subject)


def messages(path: Path | str, *codes: str) -> list[tuple[str, str]]:
    config = load_config(Wishes(isolated=True, select=codes or ("V",)))
    checked = list(check_paths([str(path)], Checking(config=config)))
    assert not [each.message for each in checked if each.message]
    return [(each.code, each.message) for one in checked for each in one.findings]


def test_a_finding_says_where(tmp_path: Path) -> None:
    path = saved(with_some(fractions(), np.nan, (3, 2, 5)))(tmp_path)
    (checked,) = check_paths([str(path)], Checking(config=load_config(Wishes(isolated=True, select=("V001",)))))
    (finding,) = checked.findings
    assert finding.voxel == (3, 2, 5)
    assert finding.world is not None
    from medimg_cli import read_header

    assert np.allclose(finding.world, read_header(str(path)).affine.apply((3, 2, 5)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_types_are_looked_at(dtype: str, tmp_path: Path) -> None:
    from medimg_cli.backends import ArrayBackend
    from medimg_cli.formats.writing import save_backend

    for shape in ((1, 1, 1, 1), (1, 5, 4, 1), (6, 5, 4, 3), (2, 1, 1, 9)):
        backend = subject_of(voxels(shape, dtype)).backend
        assert isinstance(backend, ArrayBackend)
        path = tmp_path / f"{shape[0]}-{shape[1]}-{shape[3]}.npy"
        save_backend(backend, str(path))
        messages(path, "V", "L")


def test_real_images_are_left_alone_but_for_what_is_known() -> None:
    if not DATA.exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    folder = DATA / "niivue+niivue"
    found = {(Path(each.path).name, each.code) for each in _findings(folder) if each.severity != "info"}
    assert found == {
        ("AIL.nii.gz", "V008"),
        ("minimal.nii.gz", "V006"),
        ("ras.hdr", "V008"),
    }


def _findings(folder: Path) -> list[Any]:
    config = load_config(Wishes(isolated=True, select=("V", "L")))
    return [each for one in check_paths([str(folder)], Checking(config=config)) for each in one.findings]

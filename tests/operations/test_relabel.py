"""Label maps: counting, renumbering, one channel for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import CastError, GeometryError, UnsupportedError, UsageError
from medimg_cli.header import Header
from medimg_cli.operations import apply
from medimg_cli.operations.relabel import OneHot, Remap
from medimg_cli.statistics import count_nans, count_values, value_range
from tests.helpers import DTYPES, make, read
from tests.operations.helpers import OBLIQUE, made, undone


def image(values: Any, dtype: str, **fields: Any) -> ArrayBackend:
    array = np.array(values, dtype).reshape(1, -1, 1, 1)
    return ArrayBackend(array, Header(shape=array.shape, dtype=dtype, affine=OBLIQUE, **fields))


@pytest.mark.parametrize("dtype", [name for name in DTYPES if not name.startswith("complex")])
@pytest.mark.parametrize("kind", ["plain", "scaled-time", "rgb", "time-vector"])
def test_counting_is_numpy_s(kind: str, dtype: str) -> None:
    source = make(kind, dtype)
    values = read(source)
    finite = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    expected = dict(zip(*[each.tolist() for each in np.unique(finite, return_counts=True)], strict=True))
    found = count_values(source)
    nans = sum(count for value, count in found.items() if value != value)
    assert {value: count for value, count in found.items() if value == value} == expected
    assert nans == count_nans(source) if values.dtype.kind == "f" else nans == 0
    span = value_range(source)
    good = finite[np.isfinite(finite)]
    assert (span.low, span.high) == (good.min(), good.max())
    assert span.nans + span.infinities == values.size - good.size


def test_values_that_are_no_labels() -> None:
    assert list(count_values(image([2.0, 1.5, 2.0], "float32")).items()) == [(1.5, 1), (2, 2)]
    with pytest.raises(UnsupportedError):
        count_values(image([1j], "complex64"))
    empty = value_range(image([float("nan")], "float32"))
    assert (empty.low, empty.high, empty.nans) == (None, None, 1)


def test_remapping_replaces_all_at_once_and_renames() -> None:
    source = make("labels")
    result = made(Remap({1: 2, 2: 1, 17: 1}), source)
    before = read(source)
    assert np.array_equal(read(result), np.choose(before % 5, (0, 2, 1)))
    assert result.header.dtype == source.header.dtype
    labels = result.header.labels
    assert labels is not None
    assert [(each.value, each.name) for each in labels] == [(2, "left thing"), (1, "rechts: \u00df")]
    assert set(count_values(apply(Remap({1: 7}, default=0), source))) == {0, 7}


def test_a_swap_is_undone() -> None:
    source = make("labels")
    assert np.array_equal(read(undone(apply(Remap({1: 2, 2: 1}), source), 1)), read(source))
    assert Remap({1: 2}).inverse(Remap({1: 2}).plan(source.header)) is None


def test_numbers_must_fit() -> None:
    with pytest.raises(CastError, match="label 300 does not fit into uint8"):
        apply(Remap({1: 300}), image([1], "uint8"))
    for bad in ({1: 1.5}, {"a": 1}, [(1, 2), (1, 3)], 5):
        with pytest.raises(UsageError):
            Remap(bad)
    assert apply(Remap({1: 1}), image([1], "uint8")).header.history == ()


def test_one_hot() -> None:
    source = make("labels")
    result = made(OneHot(), source)
    assert result.header.shape[0] == 4
    assert result.header.dtype == "uint8"
    for channel, value in zip(read(result), (0, 1, 2, 17), strict=True):
        assert np.array_equal(channel, read(source)[0] == value)
    assert np.array_equal(read(apply(OneHot((17, 5)), source))[1], np.zeros(source.header.spatial_shape))
    with pytest.raises(GeometryError, match="one channel"):
        apply(OneHot(), make("rgb"))
    for bad in ((), (1, 1)):
        with pytest.raises(UsageError):
            OneHot(bad)
    with pytest.raises(UnsupportedError):
        OneHot(range(5000))

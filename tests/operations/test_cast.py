"""Casts lose nothing in silence; rescale and clamp do what they say, lazily."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medimg_cli.backends import ArrayBackend, numpy_dtype
from medimg_cli.dtypes import can_hold
from medimg_cli.errors import CastError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.operations import apply
from medimg_cli.operations.cast import Cast, Clamp, Rescale, dtype_name
from medimg_cli.operations.casting import stored_again
from medimg_cli.storage import encoded
from tests.helpers import DTYPES, make, read, unlike
from tests.operations.helpers import OBLIQUE, made, undone

INTS = [name for name in DTYPES if name.startswith(("int", "uint"))]
FLOATS = [name for name in DTYPES if name.startswith("float")]
nan, inf = float("nan"), float("inf")


def image(values: Any, dtype: str, **fields: Any) -> ArrayBackend:
    """Return an image of a few values, as (1, n, 1, 1)."""
    with np.errstate(over="ignore"):
        array = np.array(values, numpy_dtype(dtype)).reshape(1, -1, 1, 1)
    return ArrayBackend(array, Header(shape=array.shape, dtype=dtype, affine=OBLIQUE, **fields))


def cast(
    values: Any, source: str, target: str, *, slope: float | None = None, inter: float | None = None, **options: Any
) -> list[Any]:
    """Return the values of an image after a cast."""
    result = apply(Cast(target, **options), image(values, source, slope=slope, inter=inter))
    assert result.header.dtype == target
    return list(read(result).ravel().tolist())


def exactly(value: Any, dtype: str) -> bool:
    """Tell whether a type holds a number exactly, by Python's own exact numbers."""
    if value != value or abs(value) == inf:
        return dtype in FLOATS
    exact = Fraction(value) if isinstance(value, int | float) else Fraction(*value.as_integer_ratio())
    if dtype in INTS:
        limits = np.iinfo(dtype)
        return exact.denominator == 1 and int(limits.min) <= exact <= int(limits.max)
    with np.errstate(over="ignore"):
        nearest = np.array([value if isinstance(value, np.floating) else float(value)]).astype(numpy_dtype(dtype))[0]
        if isinstance(value, int) and dtype == "float128":
            return True
    return bool(np.isfinite(nearest)) and Fraction(*nearest.as_integer_ratio()) == exact


@pytest.mark.parametrize("target", [*INTS, *FLOATS])
@pytest.mark.parametrize("source", [*INTS, *FLOATS])
def test_a_cast_is_refused_exactly_where_a_value_would_change(source: str, target: str) -> None:
    """Each interesting value by itself, against Python's exact integers and rationals."""
    edges = {0, 1, -1, 127, 128, -128, -129, 255, 256, 2**11, 2**11 + 1, 65504, 65505, 2**24, 2**24 + 1, -(2**24) - 1}
    edges |= {2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, -(2**63), 2**63, 2**64 - 1}
    floats = [0.5, -2.5, 1e-5, 1 / 3, 65519.0, 1e30, 1e300, nan, inf, -inf, -0.0, 2.0**63, 2.0**64]
    for value in edges if source in INTS else [*edges, *floats]:
        if source in INTS and not exactly(value, source):
            continue
        given_image = image([float(value)] if source in FLOATS else [value], source)
        kept = given_image.array.ravel()[0]
        expected = exactly(int(kept) if source in INTS else kept, target)
        try:
            result = apply(Cast(target), given_image)
        except CastError:
            assert not expected, (value, source, target)
        else:
            assert expected or can_hold(target, source), (value, source, target)
            assert unlike(read(result), given_image.array) is None


@pytest.mark.parametrize(
    ("values", "target", "options", "expected"),
    [
        ([0.5, 1.5, 2.5, -0.5], "int16", {"round": True}, [0, 2, 2, 0]),
        ([-3.0, 300.0, 7.0], "uint8", {"clip": True}, [0, 255, 7]),
        ([-inf, inf, nan], "int16", {"clip": True}, [-32768, 32767, 0]),
        ([-3.7, 300.2, nan], "uint8", {"clip": True, "round": True}, [0, 255, 0]),
        ([0.2, 0.7, 3.0], "bool", {"clip": True, "round": True}, [False, True, True]),
        ([1e300, -1e300], "int64", {"clip": True}, [9223372036854774784, -(2**63)]),
        ([1e300, 0.1], "float32", {"clip": True, "round": True}, [float(np.finfo("f4").max), float(np.float32(0.1))]),
        ([0.0, 5.0, 10.0], "uint8", {"rescale": (0, 255)}, [0, 128, 255]),
        ([0.0, 5.0, 10.0], "float32", {"rescale": (-1, 1)}, [-1.0, 0.0, 1.0]),
        ([4.0, 4.0], "uint8", {"rescale": (10, 20)}, [10, 10]),
        ([0.0, 10.0, nan], "uint8", {"rescale": (10, 20), "clip": True}, [10, 20, 0]),
    ],
)
def test_options_say_how(values: list[float], target: str, options: Any, expected: list[Any]) -> None:
    assert cast(values, "float64", target, **options) == expected


@pytest.mark.parametrize(
    ("values", "source", "target", "options", "words"),
    [
        ([0.5, 1.0, 0.25], "float32", "uint8", {}, ["2 rounded (such as 0.5)", "--round", "--rescale"]),
        ([300.0], "float32", "uint8", {"round": True}, ["1 clipped (such as 300)", "allow it with clip (--clip)"]),
        ([nan, 1.0], "float32", "uint8", {}, ["1 NaN dropped", "--clip"]),
        ([nan, 1.0], "float32", "uint8", {"rescale": True}, ["1 NaN dropped"]),
        ([inf, 1.0], "float32", "uint8", {"rescale": True}, ["1 clipped (such as inf)"]),
        ([0.1], "float64", "float32", {}, ["1 rounded (such as 0.1)", "--round"]),
        ([2**53 + 1], "int64", "float64", {}, ["1 rounded (such as 9007199254740993)"]),
        ([2**24 + 1], "int32", "float32", {}, ["1 rounded"]),
        ([1 + 2j, 1], "complex64", "float32", {"round": True, "clip": True}, ["1 with an imaginary part"]),
        ([3], "uint8", "bool", {"round": True}, ["1 clipped (such as 3)"]),
    ],
)
def test_a_refusal_counts_shows_and_names_the_option(
    values: Any, source: str, target: str, options: Any, words: list[str]
) -> None:
    with pytest.raises(CastError) as caught:
        cast(values, source, target, **options)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text
    if target.startswith("float"):
        assert "--rescale" not in text


def test_a_cast_refers_to_values() -> None:
    assert cast([0, 24, 2000], "uint16", "int16", slope=1.0, inter=-1024.0) == [-1024, -1000, 976]
    assert cast([1, 2], "int16", "float32", slope=0.5) == [0.5, 1.0]
    with pytest.raises(CastError, match="1 rounded"):
        cast([1, 2], "int16", "int32", slope=0.5)
    assert cast([1 + 0j, 2], "complex128", "int8") == [1, 2]


def test_a_cast_to_the_stored_type_keeps_the_slope() -> None:
    scaled = image([1, 2], "int16", slope=0.5, inter=3.0)
    assert apply(Cast("int16"), scaled) is scaled
    assert apply(Cast(np.int16), scaled) is scaled


@settings(deadline=None)
@given(
    values=arrays.arrays("f8", st.integers(1, 30), elements=st.floats(-1e9, 1e9)),
    target=st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "uint32"]),
)
def test_rescaling_to_the_full_range_keeps_values(values: Any, target: str) -> None:
    assume(values.max() == values.min() or values.max() - values.min() > 1e-25)
    result = apply(Cast(target, rescale=True), image(values, "float64"))
    stored, header = read(result, raw=True).ravel(), result.header
    assert header.slope is not None
    precision = 1e-6 if header.value_dtype == "float32" else 1e-9
    room = abs(header.slope) * 0.5 + precision * np.abs(values).max() + precision * abs(header.slope)
    assert np.all(np.abs(read(result).ravel() - values) <= room)
    if values.max() > values.min():
        assert (stored.min(), stored.max()) == (np.iinfo(target).min, np.iinfo(target).max)


def test_a_rescaled_range_must_fit() -> None:
    with pytest.raises(CastError, match="does not fit into uint8"):
        Cast("uint8", rescale=(0, 300))
    with pytest.raises(UsageError, match="full range of float32"):
        Cast("float32", rescale=True)
    for bad in ((1, 0), (0, inf), (0, nan), "x", (1, 2, 3)):
        with pytest.raises(UsageError, match="rescale is"):
            Cast("int16", rescale=bad)
    with pytest.raises(UsageError, match="no dtype of voxels"):
        Cast("int17")
    with pytest.raises(UsageError, match="prepare"):
        Cast("int16", rescale=True).plan(image([1], "int32").header)


@pytest.mark.parametrize("values", [[0.0, 1e-200], [0.0, 1e60], [-1e300, 1e300]])
def test_a_slope_that_floats_cannot_hold_is_refused(values: list[float]) -> None:
    with pytest.raises(CastError, match="too small or large for a slope on uint8"):
        cast(values, "float64", "uint8", rescale=True)


def test_names_of_dtypes() -> None:
    torch = pytest.importorskip("torch")
    assert [dtype_name(each) for each in (torch.uint8, ">i2", np.float64, bool, "f4")] == [
        "uint8", "int16", "float64", "bool", "float32"
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "rgb", "time-vector", "scaled-time", "labels"])
def test_the_result_is_a_backend(kind: str) -> None:
    source = make(kind)
    for operation in (
        Cast("float64"),
        Cast("int8", clip=True, round=True),
        Cast("int32", rescale=(-5, 7), clip=True),
        Cast("int32", rescale=True, clip=True),
        Rescale(-1, 1),
        Clamp(0, 17.3),
    ):
        result = made(operation, source)
        assert result.header.grid == source.header.grid
        assert [step["name"] for step in result.header.history] == [operation.name]


def test_views_of_a_cast_are_casts_of_views() -> None:
    from medimg_cli.operations.pointwise import MapBackend
    from medimg_cli.operations.reorient import Reorient
    from medimg_cli.operations.slicing import Slice

    source = make("scaled-time")
    result = apply(Cast("float64"), source)
    part = made(Slice.of((slice(None, None, -1), slice(1, 4)), result.header.shape), result)
    assert isinstance(part, MapBackend)
    assert np.array_equal(read(part), read(result)[::-1, 1:4])
    made(Reorient("SPL"), result)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nii"])
def test_a_compressed_source_is_inflated_once_for_the_check_and_once_for_the_values(
    suffix: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-9, 9, (3, 60, 50, 40)).astype("int16")
    first = ArrayBackend(array, Header(shape=array.shape, dtype="int16", affine=OBLIQUE, axes=(("time", 3),)))
    save_backend(first, str(tmp_path / f"in{suffix}"))
    opened = []
    made_before = encoded._DecodingCursor.__init__

    def counted(self: Any, *arguments: Any, **options: Any) -> None:
        opened.append(1)
        made_before(self, *arguments, **options)

    monkeypatch.setattr(encoded._DecodingCursor, "__init__", counted)
    monkeypatch.setattr(encoded.EncodedSource, "spooled", lambda self: pytest.fail("spooled"))
    backend = open_backend(tmp_path / f"in{suffix}")
    opened.clear()
    result = apply(Cast("int8"), backend)
    save_backend(result, str(tmp_path / f"out{suffix}"))
    assert len(opened) <= 2 + (suffix != ".nii")  # and one to read the written header back
    assert np.array_equal(read(open_backend(tmp_path / f"out{suffix}")), array)


def test_casts_are_undone_where_values_allow() -> None:
    wide = apply(Cast("float64"), image([1, 2, 3], "int16", slope=None))
    back = undone(wide, 1)
    assert (back.header.dtype, read(back).ravel().tolist()) == ("int16", [1, 2, 3])
    scaled = image([1, 2, 3], "int16", slope=0.1, inter=7.0)
    back = undone(apply(Cast("float32"), scaled), 1)
    assert (back.header.dtype, back.header.slope, back.header.inter) == ("int16", 0.1, 7.0)
    assert read(back, raw=True).ravel().tolist() == [1, 2, 3]
    small = undone(apply(Cast("uint8", rescale=(0, 255)), image([0.0, 51.0, 1020.0], "float32")), 1)
    assert (small.header.dtype, read(small).ravel().tolist()) == ("float32", [0.0, 52.0, 1020.0])
    full = undone(apply(Cast("uint8", rescale=True), image([0, 51, 1020], "int16")), 1)
    assert (full.header.dtype, full.header.slope, read(full).ravel().tolist()) == ("int16", None, [0, 52, 1020])


def test_stored_again_only_where_every_value_fits() -> None:
    scaled = image([1, 2, -300], "int16", slope=0.1, inter=7.0)
    values = image(read(scaled), "float32")
    again = stored_again(values, "int16", 0.1, 7.0)
    assert (again.header.dtype, again.header.slope, again.header.history) == ("int16", 0.1, ())
    assert np.array_equal(read(again, raw=True), scaled.array)
    values.array[0, 1] += 1e-3
    assert stored_again(values, "int16", 0.1, 7.0) is values


@settings(deadline=None, max_examples=50)
@given(
    stored=arrays.arrays("i2", 20),
    slope=st.floats(1e-4, 1e4) | st.floats(-1e4, -1e-4),
    inter=st.floats(-1e4, 1e4),
)
def test_what_a_slope_made_goes_back_to_it(stored: Any, slope: float, inter: float) -> None:
    """Where two stored numbers have one value, another number may come back, never another value."""
    scaled = image(stored, "int16", slope=slope, inter=inter)
    values = image(read(scaled), scaled.header.value_dtype)
    again = stored_again(values, "int16", slope, inter)
    assert np.array_equal(read(again), read(values))


def test_rescale_maps_ends_exactly() -> None:
    result = apply(Rescale(-1, 3), image([-7, 0, 13, 2], "int16"))
    found = read(result).ravel()
    assert (result.header.dtype, found.min(), found.max()) == ("float32", -1.0, 3.0)
    back = undone(result, 1)
    assert np.allclose(read(back).ravel(), [-7, 0, 13, 2], atol=1e-5)
    some = read(apply(Rescale(0, 1, source=(0, 10)), image([-10.0, 5.0, nan, inf], "float64"))).ravel()
    assert np.array_equal(some, [-1.0, 0.5, nan, inf], equal_nan=True)
    assert read(apply(Rescale(), image([5, 5], "uint8"))).ravel().tolist() == [0.0, 0.0]
    assert apply(Rescale(), image([1, 5], "int32")).header.dtype == "float64"
    with pytest.raises(UsageError):
        Rescale(1, 1)
    with pytest.raises(UnsupportedError):
        apply(Rescale(), image([1j], "complex64"))


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "low", "high", "stored"),
    [
        ("int16", None, None, -4.5, 4.5, (-4, 4)),
        ("int16", None, None, None, 4, (-100, 4)),
        ("uint8", None, None, -3, 7, (0, 7)),
        ("int16", 0.5, 1.0, 0.0, 3.3, (-2, 4)),
        ("int16", -0.5, 1.0, 0.0, 3.3, (-4, 2)),
        ("float32", None, None, 0.1, inf, (np.float32(0.1), 100)),
        ("int64", None, None, -(2**62) - 1, 2**62 + 1, (-100, 100)),
        ("uint8", None, None, 256, None, CastError),
        ("uint8", None, None, 0.2, 0.8, CastError),
        ("int16", 2.0, 0.0, 0.5, 1.5, CastError),
    ],
)
def test_clamp_keeps_the_type(dtype: str, slope: Any, inter: Any, low: Any, high: Any, stored: Any) -> None:
    values = [v for v in range(-100, 101) if v >= 0 or dtype != "uint8"]
    source = image(values, dtype, slope=slope, inter=inter)
    if stored is CastError:
        with pytest.raises(CastError, match="holds no value"):
            apply(Clamp(low, high), source)
        return
    result = apply(Clamp(low, high), source)
    raw = read(result, raw=True)
    assert (result.header.dtype, result.header.slope) == (dtype, slope)
    assert (raw.min(), raw.max()) == stored
    limits = (-inf if low is None else low, inf if high is None else high)
    assert np.all(read(result) >= np.float32(limits[0]) if dtype == "float32" else read(result) >= limits[0])
    assert np.all(read(result) <= limits[1])


def test_clamp_needs_limits_in_order() -> None:
    for low, high in ((None, None), (2, 1), (nan, None)):
        with pytest.raises(UsageError, match="clamp"):
            Clamp(low, high)

"""Expectations: what their grammar takes, what it refuses and where, and when they are kept."""

from __future__ import annotations

import math
import operator
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.examining import plan_for
from medimg_cli.checks.expectations import Expectation, Span, parse
from medimg_cli.checks.measures import MEASURES
from medimg_cli.errors import UsageError
from medimg_cli.facts import KEYS
from tests.checks.planted_expecting import write

TAKEN = {
    "spacing <= 1.0": ("spacing", "<=", (1.0,), None),
    "spacing<=1": ("spacing", "<=", (1,), None),
    "SPACING_MM <= 1.0 mm": ("spacing", "<=", (1.0,), None),
    "spacing = 1 x 1 x 3 +- 0.01": ("spacing", "=", ((1, 1, 3),), 0.01),
    "spacing==1x1x3±.01mm": ("spacing", "=", ((1, 1, 3),), 0.01),
    "spacing = [1, *, 3e0]": ("spacing", "=", ((1, None, 3.0),), None),
    "spacing in [1, 0.5 .. 0.8, 1 x 1 x *]": ("spacing", "in", (1, Span(0.5, 0.8), (1, 1, None)), None),
    "origin > -1.5e2": ("origin", ">", (-150.0,), None),
    "orientation = RAS": ("orientation", "=", ("RAS",), None),
    "dtype in [int16, uint8]": ("dtype", "in", ("int16", "uint8"), None),
    "dtype not in ['float64']": ("dtype", "not in", ("float64",), None),
    "shape = 256 x 256 x *": ("shape", "=", ((256, 256, None),), None),
    "shape = 1x256x256x*": ("shape", "=", ((1, 256, 256, None),), None),
    "channels=1": ("channels", "=", (1,), None),
    "labels in [0, 1, 10..35]": ("labels", "in", (0, 1, Span(10, 35)), None),
    "labels = [0, 1]": ("labels", "=", ((0, 1),), None),
    "labels != 255": ("labels", "!=", (255,), None),
    "min >= -1024": ("min", ">=", (-1024,), None),
    "nan = 0": ("nan", "=", (0,), None),
    "time-spacing = 2.0 s +- 5e-3 s": ("time-spacing", "=", (2.0,), 0.005),
    "tr = none": ("time-spacing", "=", (None,), None),
    "intent in [none, label]": ("intent", "in", (None, "label"), None),
    "units.space = mm": ("units", "=", ("mm",), None),
    "compression != none": ("compression", "!=", (None,), None),
    "description matches *FSL [0-9]*": ("description", "matches", ("*FSL [0-9]*",), None),
    'affine-source matches "s*"': ("affine-source", "matches", ("s*",), None),
    "file_bytes < 100000000 bytes": ("file-bytes", "<", (100000000,), None),
}


@pytest.mark.parametrize("text", TAKEN)
def test_what_the_grammar_takes(text: str) -> None:
    assert parse(text)[:4] == TAKEN[text]
    assert pickle.loads(pickle.dumps(parse(text))) == parse(text)


REFUSED = {
    "": (1, "a fact such as spacing expected"),
    "= 1": (1, "found '='"),
    "spacng <= 1": (1, "did you mean spacing?"),
    "spacing": (8, "an operator"),
    "spacing 1": (9, "an operator"),
    "spacing <== 1": (11, "found '='"),
    "spacing =< 1": (10, "found '<'"),
    "spacing not 1": (13, "'in' expected"),
    "spacing <=": (11, "a number"),
    "spacing <= RAS": (12, "found 'RAS'"),
    "spacing <= none": (12, "a number"),
    "spacing <= 1 2": (14, "nothing more expected, found '2'"),
    "spacing <= 1 cm": (14, "found 'cm'"),
    "spacing = 1 x 2": (11, "3 numbers expected for spacing, not 2"),
    "spacing = 1 x 2 x": (18, "a number or *"),
    "spacing = [1, 2": (16, "',' or ']' expected"),
    "spacing = 1 .. 2": (11, "a range stands in brackets"),
    "spacing in 1": (12, "'[' expected"),
    "spacing in []": (13, "a number or * expected, found ']'"),
    "spacing in [2..1]": (13, "the range ends before it begins"),
    "spacing < 1 +- 0.1": (13, "no tolerance"),
    "spacing = 1 +- -0.1": (13, "at least 0"),
    "spacing = 1e999": (11, "finite"),
    "shape = *": (9, "3 or 4 numbers"),
    "channels = 1 x 2": (14, "nothing more expected"),
    "channels = [1, 2]": (12, "a number expected"),
    "labels = none": (10, "a number"),
    "dtype = int17": (9, "did you mean int16?"),
    "dtype >= int16": (7, "is text"),
    "dtype = int16 +- 1": (15, "no tolerance"),
    "dtype = 'int16": (9, "found"),
    "orientation = RRR": (15, "is no orientation"),
    "format = nifty": (10, "did you mean nifti"),
    "min matches 3": (5, "is no text"),
    "intent matches": (15, "a pattern"),
    "path = a.nii": (1, "a fact"),
    "__import__('os')": (1, "a fact"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_it_refuses_and_where(text: str) -> None:
    place, says = REFUSED[text]
    with pytest.raises(UsageError) as caught:
        parse(text)
    said = str(caught.value)
    assert said.startswith(f"{text!r}, character {place}: ")
    assert says in said


@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert str(error).isprintable()


PIECES = st.sampled_from(
    [*MEASURES, "=", "<=", "!=", "in", "not in", "matches", "[", "]", ",", "x", "*", "..", "+-", "none"]
)


@given(st.lists(PIECES | st.floats().map(str) | st.integers().map(str), max_size=12).map(" ".join))
def test_any_sentence_is_taken_or_refused(text: str) -> None:
    try:
        expectation = parse(text)
    except UsageError:
        return
    measure = MEASURES[expectation.measure]
    founds: dict[str, list[Any]] = {
        "number": [None, 0, 1.5, math.nan, math.inf, -(2**63)],
        "text": [None, "", "RAS"],
        "axes": [(1.0, 2.0, math.nan), (1, 2, 3, 4)],
        "set": [None, (), (0, 1, 2**64 - 1), (0.5, math.nan, math.inf)],
    }
    for found in founds[measure.kind]:
        assert expectation.keeps(found) in (True, False)
        assert measure.shown(found)


def test_an_endless_expectation_is_refused() -> None:
    with pytest.raises(UsageError, match="at most"):
        parse("labels in [" + "1," * 5000 + "1]")


# -- when they are kept

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


@given(st.tuples(NUMBERS, NUMBERS, NUMBERS), NUMBERS, st.sampled_from(sorted(ORDERS)))
def test_every_axis_must_be_in_order(found: tuple[float, ...], value: float, name: str) -> None:
    expectation = parse(f"origin {name} {value!r}")
    near = [abs(each - value) <= 1e-5 * abs(value) and not (each.is_integer() and value.is_integer()) for each in found]
    plain = [ORDERS[name](each, value) for each in found]
    assert expectation.keeps(found) == all((name[1:] == "=") if n else p for n, p in zip(near, plain, strict=True))


@given(st.lists(st.integers(0, 20), max_size=8), st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_labels_are_sets(found: list[int], listed: list[int]) -> None:
    there = tuple(sorted(set(found)))
    assert parse(f"labels in {listed}").keeps(there) == (set(found) <= set(listed))
    assert parse(f"labels not in {listed}").keeps(there) == (not set(found) & set(listed))
    assert parse(f"labels = {listed}").keeps(there) == (set(found) == set(listed))
    assert parse(f"labels != {listed}").keeps(there) == (set(found) != set(listed))
    spans = ", ".join(f"{each} .. {each}" for each in listed)
    assert parse(f"labels in [{spans}]").keeps(there) == (set(found) <= set(listed))


@given(NUMBERS, NUMBERS, st.floats(0, 100).map(lambda value: round(value, 2)))
def test_a_tolerance_is_a_distance(found: float, value: float, tolerance: float) -> None:
    if abs(abs(found - value) - tolerance) > 1e-6:
        assert parse(f"slope = {value!r} +- {tolerance!r}").keeps(found) == (abs(found - value) <= tolerance)
        assert parse(f"slope != {value!r} +- {tolerance!r}").keeps(found) != (abs(found - value) <= tolerance)


KEPT = [
    ("spacing = 1", (1.0, 0.999999, 1.000001)),
    ("spacing = 1 x * x 3", (1.0, 7.0, 3.0)),
    ("spacing != 1 x 1 x 1", (1.0, 1.0, 3.0)),
    ("spacing != 2", (1.0, 1.0, 3.0)),
    ("spacing in [1, 3]", (1.0, 1.0, 3.0)),
    ("spacing in [0.9 .. 1.1, 3]", (1.0, 1.1, 3.0)),
    ("spacing in [2 x 2 x 2, 1 x 1 x 3]", (1.0, 1.0, 3.0)),
    ("spacing <= 1 x 1 x 3", (1.0, 0.5, 3.0)),
    ("shape = 5 x 4 x 3", (2, 5, 4, 3)),
    ("shape = * x 5 x 4 x 3", (2, 5, 4, 3)),
    ("orientation != LPS", "RAS"),
    ("orientation matches r*", "RAS"),
    ("intent = none", None),
    ("intent != label", None),
    ("intent not in [label]", None),
    ("time-spacing != none", 2.0),
    ("max < 4294967295", 4294967294),
    ("max in [1 .. 2] +- 0.1", 2.05),
]
BROKEN = [
    ("spacing = 1", (1.0, 1.0, 1.0001)),
    ("spacing = 3 x * x 1", (1.0, 7.0, 3.0)),
    ("spacing != 1 x 1 x 3", (1.0, 1.0, 3.0)),
    ("spacing != 3", (1.0, 1.0, 3.0)),
    ("spacing not in [2, 3]", (1.0, 1.0, 3.0)),
    ("spacing in [1 x 1 x 1, 3 x 1 x 1]", (1.0, 1.0, 3.0)),
    ("spacing <= 1 x 1 x 3", (1.0, 1.1, 3.0)),
    ("spacing < 3", (1.0, 1.0, 3.0)),
    ("spacing > 0", (1.0, 1.0, math.nan)),
    ("shape = 2 x 5 x 4", (2, 5, 4, 3)),
    ("intent = label", None),
    ("time-spacing <= 3", None),
    ("max = 4294967295", 4294967294),
    ("max <= 3071", 3071.1),
    ("labels in [0 .. 2]", (0, 1.5)),
    ("labels in [0, 1]", None),
]


@pytest.mark.parametrize(("text", "found"), KEPT)
def test_kept(text: str, found: Any) -> None:
    assert parse(text).keeps(found)


@pytest.mark.parametrize(("text", "found"), BROKEN)
def test_broken(text: str, found: Any) -> None:
    assert not parse(text).keeps(found)


# -- what they cost, and what they say


def test_every_plain_fact_of_info_can_be_expected() -> None:
    keys = {measure.key.partition(".")[0] for measure in MEASURES.values()} - {""}
    assert keys <= set(KEYS)
    assert set(KEYS) - keys == {"schema", "path", "axes", "affine", "sform", "qform", "warnings"}
    names = [name for measure in MEASURES.values() for name in (measure.name, *measure.others)]
    assert len(names) == len(set(names))


def test_voxels_are_read_only_where_something_is_expected_of_them() -> None:
    def codes(*expect: str, select: str = "E", **more: Any) -> tuple[str, ...]:
        wishes = Wishes(isolated=True, select=(select,), expect=expect, **more)
        return load_config(wishes).settings_for("a.nii").codes

    assert codes() == ()
    assert codes("spacing <= 1") == ("E001",)
    assert codes("max <= 1") == ("E002",)
    assert codes("max <= 1", "spacing <= 1") == ("E001", "E002")
    assert codes("max <= 1", "spacing <= 1", header_only=True) == ("E001",)
    assert codes("max <= 1", select="E001") == ()
    assert not plan_for(codes("spacing <= 1")).reads_voxels
    assert plan_for(codes("max <= 1")).reads_voxels


def test_a_truncated_file_does_not_break_expectations_of_headers(tmp_path: Path) -> None:
    path = write("a.nii")(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    wishes = Wishes(isolated=True, select=("E",), expect=("spacing <= 1", "max <= 3"))
    (checked,) = check_paths([str(path)], Checking(config=load_config(wishes)))
    assert [finding.code for finding in checked.findings] == ["E001"]


def test_free_text_is_not_printed(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.zeros((5, 4, 3), "int16"), np.diag([1, 2, 3, 1]))
    image.header["descrip"] = b"Doe^John 1970"
    nibabel.save(image, tmp_path / "a.nii")
    wishes = Wishes(isolated=True, select=("E",), expect=("description = none",))
    (checked,) = check_paths([str(tmp_path / "a.nii")], Checking(config=load_config(wishes)))
    (finding,) = checked.findings
    assert finding.message == "description is something else, expected = none"


def test_a_record_of_an_expectation() -> None:
    assert parse("spacing   <=  1.0") == Expectation("spacing", "<=", (1.0,), None, "<= 1.0")

"""Facts of a header as JSON: all come back, and what makes no sense is left out with a warning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.formats.neutral import FACTS, from_facts, to_facts
from medimg_cli.header import Header, differences
from tests.helpers import KINDS, make


@pytest.mark.parametrize("kind", KINDS)
def test_facts_come_back_through_json(kind: str) -> None:
    header = make(kind).header
    plain = Header(shape=header.shape, dtype=header.dtype, affine=header.affine, slope=header.slope, inter=header.inter)
    text = json.dumps(to_facts(header, FACTS))
    found = from_facts(plain, json.loads(text))
    assert not differences(header, found) and found.warnings == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("axes", [["time", 3]]),
        ("axes", [["time", -2], ["time", -1]]),
        ("axes", [[1, 2]]),
        ("axes", [["time", True], ["x", 2]]),
        ("axes", 5),
        ("sform", [[1, 2], [3, 4]]),
        ("sform", [[float("nan")] * 4] * 3),
        ("sform", "x"),
        ("sform_code", 1.5),
        ("sform_code", 1 << 40),
        ("qform_code", True),
        ("time_spacing", float("inf")),
        ("time_spacing", 10**400),
        ("time_spacing", "1"),
        ("intent", ["x"]),
        ("intent_params", "abc"),
        ("intent_params", [None]),
        ("gradients", {"bvals": [0.0, 1.0], "bvecs": [[0, 0, float("inf")], [0, 0, 1]]}),
        ("gradients", {"bvals": [0.0, float("nan")], "bvecs": [[0, 0, 1], [0, 0, 1]]}),
        ("description", 5),
        ("gradients", {"bvals": [1.0, 2.0]}),
        ("gradients", {"bvals": [1.0], "bvecs": [[1, 0, 0]]}),
        ("gradients", {"bvals": [1.0, 2.0], "bvecs": [[1, 0], [0, 1]]}),
        ("gradients", [1]),
        ("labels", [{"value": -1}]),
        ("labels", "x"),
        ("metadata", [1]),
        ("history", {}),
        ("history", ["x"]),
        ("extensions", [[1, "not base64!"]]),
        ("extensions", [["x", "aaaa"]]),
        ("extensions", 7),
    ],
)
def test_a_fact_that_makes_no_sense_is_left_out(name: str, value: Any) -> None:
    header = Header(shape=(2, 3, 4, 5), dtype="int16", affine=AffineMatrix(), intent="label")
    found = from_facts(header, {name: value, "unknown": 1})
    assert getattr(found, name) == getattr(header, name)
    assert any(name in note for note in found.warnings)

"""The protocol: steps survive JSON, histories lead back, chains are what numpy makes of them."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.grid import Grid
from medimg_cli.operations import OPERATIONS, Step, apply, from_json, inverse_of, operation_class
from medimg_cli.operations.cast import Cast, Clamp, Rescale
from medimg_cli.operations.crop import Crop, CropOrPad, Place
from medimg_cli.operations.flip import Flip
from medimg_cli.operations.pad import Pad
from medimg_cli.operations.relabel import OneHot, Remap
from medimg_cli.operations.reorient import Reorient, Turn
from medimg_cli.operations.resample import Resample
from medimg_cli.operations.slicing import Slice
from tests.helpers import make, read
from tests.operations.helpers import numbered, places, undone
from tests.strategies import affines, codes, indices, shapes

SAMPLES: list[Any] = [
    Reorient("SPL"),
    Turn(((2, -1), (0, 1), (1, 1))),
    Flip(("L", 2)),
    Slice(((0, 1, 1), (4, -1, -2), (1, 3, 1), (0, 3, 1))),
    Crop(((1, 0), (0, 2), (0, 0))),
    Pad(2, value=-7.0),
    Pad(1, mode="wrap"),
    CropOrPad((3, 7, 3)),
    Place((-1, 2, 1), (4, 9, 5), steps=(1, -1, 2)),
    Resample((0.9, 2.5, 1.1)),
    Resample(size=4, interpolation="cubic", fill=-3.0),
    Resample(Grid((3, 4, 2), [[0, 2, 0.1, 5], [-1.5, 0.2, 0, 1], [0, 0.1, 3, -2]]), antialias=False),
    Cast("float64"),
    Cast("uint8", rescale=True),
    Rescale(0, 10),
    Clamp(3, float("inf")),
    Remap({1: 2}),
    OneHot((1, 2)),
]


def test_the_table_is_complete() -> None:
    for row in OPERATIONS:
        found = operation_class(row.name)
        assert found.name == row.name
    assert {type(sample) for sample in SAMPLES} == {operation_class(row.name) for row in OPERATIONS}


@pytest.mark.parametrize("operation", SAMPLES, ids=str)
def test_a_step_survives_json(operation: Any) -> None:
    """Read back from text, a step gives the same operation, the same step and the same voxels."""
    image = numbered((1, 5, 4, 3))
    result = apply(operation, image)
    text = json.dumps(result.header.history[-1], allow_nan=False)
    step = Step.from_json(json.loads(text))
    again = from_json(json.loads(text))
    assert step.to_json() == result.header.history[-1]
    assert (step.grid_before, step.grid_after) == (image.header.grid, result.header.grid)
    replayed = apply(again, image)
    assert replayed.header == result.header
    assert np.array_equal(read(replayed), read(result))
    assert pickle.loads(pickle.dumps(again)) == again
    assert again.plan(image.header).to_json() == step.to_json()


@pytest.mark.parametrize("operation", SAMPLES, ids=str)
def test_results_travel(operation: Any) -> None:
    result = apply(operation, numbered((1, 5, 4, 3)))
    assert np.array_equal(read(pickle.loads(pickle.dumps(result))), read(result))


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"name": "levitate", "version": 1, "parameters": {}}, UnsupportedError),
        ({"name": "flip", "version": 99, "parameters": {"axes": [0]}}, UnsupportedError),
        ({"name": "flip", "version": 1, "parameters": {"axis": [0]}}, FormatError),
        ({"name": "crop", "version": 1, "parameters": {"amounts": "all"}}, FormatError),
        ({"name": "flip", "version": 1, "parameters": {"axes": [0]}, "grid_before": 5}, FormatError),
        ({"name": "flip", "version": "x", "parameters": {"axes": [0]}}, FormatError),
        ({"name": "flip", "version": 1, "parameters": 7}, FormatError),
        (5, FormatError),
    ],
)
def test_a_history_that_makes_no_sense_is_refused(step: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        inverse_of(step)
    assert "\n" not in str(caught.value)


@st.composite
def operations(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An index operation for an image of a shape."""
    few = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3)
    kind = draw(st.sampled_from(["reorient", "flip", "slice", "crop", "pad", "crop_or_pad"]))
    if kind == "reorient":
        return Reorient(draw(codes))
    if kind == "flip":
        return Flip(draw(st.lists(st.integers(0, 2), max_size=3)))
    if kind == "slice":
        return Slice.of(draw(indices(shape)), shape)
    if kind == "crop":
        room = [(n - 1) // 2 for n in shape[1:]]
        return Crop(tuple((min(a, r), min(b, r)) for (a, b), r in zip(draw(few), room, strict=True)))
    if kind == "pad":
        return Pad(draw(few))
    return CropOrPad(draw(shapes))


@settings(deadline=None)
@given(data=st.data(), affine=affines)
def test_chains_keep_voxels_in_place_and_lead_back(data: st.DataObject, affine: AffineMatrix) -> None:
    """Any chain of index operations: each voxel stays where it was; undone, the grid is the first one, bit for bit."""
    image: Any = numbered((2, 5, 4, 6), affine, sform=affine, sform_code=1, qform=affine, qform_code=1)
    first = image
    for _ in range(data.draw(st.integers(1, 5))):
        image = apply(data.draw(operations(image.header.shape)), image)
    assert image.header.sform == image.header.qform == image.header.affine
    steps = image.header.history
    if not any(step["name"] == "slice" for step in steps):  # a step spreads voxels to their neighbours
        assert places(image, first) < 1e-5
    back = undone(image, len(steps))
    assert back.header.grid == first.header.grid
    assert back.header.sform == first.header.affine
    if back.header.channels == first.header.channels and not any(step["name"] == "slice" for step in steps):
        left = read(back) > 0
        assert np.array_equal(read(back)[left], read(first)[left])


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_a_lazy_chain_is_an_eager_one(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A chain over a compressed file gives what the same chain gives step by step in memory."""
    path = str(tmp_path_factory.mktemp("chain") / "a.nii.gz")
    save_backend(make("scaled-time"), path)
    lazy: Any = open_backend(path)
    eager: Any = make("scaled-time")
    eager.header = lazy.header
    for _ in range(data.draw(st.integers(1, 4))):
        operation = data.draw(operations(lazy.header.shape))
        lazy, eager = apply(operation, lazy), apply(operation, eager)
        eager = type(make("plain"))(read(eager, raw=True), eager.header)
    assert lazy.header == eager.header
    assert np.array_equal(read(lazy, raw=True), read(eager, raw=True))
    assert np.array_equal(read(lazy), read(eager))

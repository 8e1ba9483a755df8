"""`Header`: a value that pickles, follows operations, and says in which facts it differs from another."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError
from medimg_cli.grid import Grid
from medimg_cli.header import Gradients, Header, Native, differences
from medimg_cli.labels import LabelTable
from tests.helpers import AFFINES, KINDS, LABELS, make
from tests.strategies import affines, codes

SHAPE = (1, 5, 4, 3)


def header(**changes: Any) -> Header:
    """Return a header with some fields set."""
    return Header(**{"shape": SHAPE, "dtype": "int16", "affine": AFFINES["oblique"], **changes})


@dataclass(frozen=True)
class Step:
    """An operation as far as a header cares."""

    voxel_map: AffineMatrix
    grid_after: Grid

    def to_json(self) -> dict[str, Any]:
        return {"name": "turn", "version": 1}


def reoriented(before: Header, to: tuple[str, str, str]) -> Header:
    after = before.grid.reoriented(to)
    return before.follow(Step(before.affine.inverse() @ after.affine, after))


# the value


def test_fields_go_by_name() -> None:
    with pytest.raises(TypeError):
        Header(SHAPE, "int16", AffineMatrix())  # type: ignore[misc, call-arg]
    with pytest.raises(TypeError):
        header(colour="red")


def test_a_header_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        header().dtype = "float32"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        header().note = "x"  # type: ignore[attr-defined]


def test_each_header_has_its_own_metadata() -> None:
    assert header().metadata == {}
    assert header().metadata is not header().metadata


@pytest.mark.parametrize("shape", [(1, 0, 2, 3), (0, 1, 1, 1), (1, 2, 3), (1, 2, 3, -1), ()])
def test_a_shape_has_voxels(shape: Any) -> None:
    with pytest.raises(GeometryError):
        header(shape=shape)
    with pytest.raises(GeometryError):
        header().replace(shape=shape)


def test_facts_that_follow_from_fields() -> None:
    h = make("scaled-time", "uint8").header
    assert (h.spatial_shape, h.channels, h.itemsize) == (h.shape[1:], 2, 1)
    assert (h.data_bytes, h.value_bytes, h.value_dtype) == (120, 480, "float32")
    assert h.grid == Grid(h.shape[1:], h.affine)
    assert (h.spacing, h.origin, h.orientation) == (h.affine.spacing, h.affine.origin, h.affine.orientation)
    assert header(dtype="int32", slope=2.0).value_dtype == "float64"
    assert not header(slope=1.0, inter=0.0).scaled
    assert not header().scaled


@pytest.mark.parametrize("kind", KINDS)
def test_headers_pickle(kind: str) -> None:
    before = make(kind).header.replace(native=Native("nifti", (1, "little", b"raw")), warnings=("a", "b"))
    again = pickle.loads(pickle.dumps(before))
    assert again == before
    assert type(again) is Header


def test_warnings_are_told_once() -> None:
    h = header().warn("one", "two").warn("two")
    assert h.warnings == ("one", "two")
    assert h.warn("one") is h


# channels


def test_channel_axes() -> None:
    assert header().channel_axes() == ()
    assert header(shape=(3, 5, 4, 3)).channel_axes() == (("channel", 3),)
    assert make("time-rgb").header.channel_axes() == (("time", 2), ("rgb", 3))


def test_some_channels_keep_what_belongs_to_them() -> None:
    time = make("time").header
    assert time.with_channels(range(4)) is time
    half = time.with_channels(range(1, 4, 2))
    assert (half.shape[0], half.axes, half.time_spacing) == (2, (("time", 2),), 5.0)
    back = time.with_channels(range(3, -1, -1))
    assert (back.axes, back.time_spacing) == ((("time", 4),), 2.5)
    dwi = make("diffusion").header
    assert dwi.gradients is not None
    picked = dwi.with_channels(range(3, 0, -2)).gradients
    assert picked is not None
    assert picked.bvals == (2800.0, 700.0)
    assert picked.bvecs == (dwi.gradients.bvecs[3], dwi.gradients.bvecs[1])
    assert make("rgb").header.with_channels(range(1, 2)).axes == ()
    assert make("rgb").header.with_channels(range(2)).axes == (("channel", 2),)


@pytest.mark.parametrize(("channels", "axes", "spacing"), [
    (range(4), (("time", 4),), 2.5),  # one colour of all times
    (range(4, 8, 2), (("time", 2),), 5.0),
    (range(11, 7, -1), (("time", 4),), 2.5),
    (range(1, 12, 4), (("time", 1), ("rgb", 3)), 2.5),  # all colours of one time
    (range(5, 6), (("time", 1),), 2.5),
    (range(0, 1, 5), (("time", 1),), 2.5),  # a step over the end is no step
    (range(11, -1, -1), (("time", 4), ("channel", 3)), 2.5),  # blue first: colours no more
    (range(2, 6), (("channel", 4),), None),  # no box, no time
])  # fmt: skip
def test_channels_of_two_axes_keep_the_axes_that_they_are_a_box_in(channels: range, axes: Any, spacing: Any) -> None:
    whole = header(shape=(12, 5, 4, 3), axes=(("time", 4), ("rgb", 3)), time_spacing=2.5)
    part = whole.with_channels(channels)
    assert (part.shape, part.axes, part.time_spacing) == ((len(channels), 5, 4, 3), axes, spacing)


def test_one_volume_keeps_its_time_whatever_the_step() -> None:
    """A step of 10 over 4 volumes picks one; it is not 10 times as long."""
    time = make("time").header
    assert time.with_channels(range(4)[::10]).time_spacing == time.time_spacing == 2.5


def test_single_components_are_no_vectors() -> None:
    """A file with the intent of vectors would have its time axis read as components."""
    field = header(shape=(12, 5, 4, 3), axes=(("time", 4), ("vector", 3)), intent="vector", time_spacing=2.0)
    assert field.with_channels(range(4)).intent is None
    assert field.with_channels(range(0, 12, 4)).intent == "vector"


# following an operation


@settings(max_examples=60, deadline=None)
@given(affine=affines, other=affines, to=codes)
def test_all_three_geometries_move_together(
    affine: AffineMatrix, other: AffineMatrix, to: tuple[str, str, str]
) -> None:
    """The world coordinates of each voxel stay, by the affine and by both NIfTI forms."""
    before = header(affine=affine, sform=affine, sform_code=2, qform=other, qform_code=1)
    step = Step(affine.inverse() @ before.grid.reoriented(to).affine, before.grid.reoriented(to))
    after = before.follow(step)
    assert after.orientation == to
    assert (after.sform_code, after.qform_code) == (2, 1)
    for voxel in ((0, 0, 0), (1, 0, 2), tuple(n - 1 for n in after.shape[1:])):
        old = step.voxel_map.apply(voxel)
        for form in ("affine", "sform", "qform"):
            a, b = getattr(after, form).apply(voxel), getattr(before, form).apply(old)
            np.testing.assert_allclose(a, b, atol=1e-6 * max(1.0, *map(abs, b)))
    (step_taken,) = after.history
    told = step_taken.pop("header_before")
    assert step_taken == {"name": "turn", "version": 1}
    assert (told["sform_code"], told["qform_code"]) == (2, 1)
    assert (told["sform"], told["qform"]) == tuple([list(row) for row in form.rows[:3]] for form in (affine, other))


def test_gradients_keep_their_direction_in_the_world() -> None:
    """FSL's convention: along the voxel axes, the first component negated where the determinant is positive."""

    def world(h: Header) -> np.ndarray[Any, Any]:
        assert h.gradients is not None
        flip = -1.0 if h.affine.determinant > 0 else 1.0
        vectors = np.array([(flip * x, y, z) for x, y, z in h.gradients.bvecs])
        direction: np.ndarray[Any, Any] = np.array(h.affine.direction)
        return vectors @ direction.T

    for affine in ("oblique", "left-handed", "permuted"):
        before = make("diffusion").header.replace(affine=AFFINES[affine])
        for to in ("RAS", "LPS", "PIR", "SLA", "AIL"):
            after = reoriented(before, (to[0], to[1], to[2]))
            np.testing.assert_allclose(world(after), world(before), atol=1e-12)
            assert after.gradients is not None and before.gradients is not None
            assert after.gradients.bvals == before.gradients.bvals


def test_gradients_of_exact_axes_stay_exact() -> None:
    """Flips and permutations change signs and places, never digits."""
    before = make("diffusion").header.replace(affine=AFFINES["permuted"])
    after = reoriented(before, ("R", "A", "S"))
    assert before.gradients is not None and after.gradients is not None
    for a, b in zip(before.gradients.bvecs, after.gradients.bvecs, strict=True):
        assert sorted(map(abs, a)) == sorted(map(abs, b))
    there_and_back = reoriented(after, before.orientation)
    assert there_and_back.gradients == before.gradients


def info(frequency: int, phase: int, slices: int) -> int:
    return frequency | phase << 2 | slices << 4


@pytest.mark.parametrize(
    ("to", "dims", "code", "start", "end"),
    [
        (("R", "A", "S"), info(1, 2, 3), 3, 0, 1),
        (("R", "A", "I"), info(1, 2, 3), 4, 1, 2),  # slices run the other way: increasing becomes decreasing
        (("A", "R", "S"), info(2, 1, 3), 3, 0, 1),
        (("S", "A", "R"), info(3, 2, 1), 3, 0, 1),
        (("I", "L", "P"), info(2, 3, 1), 4, 1, 2),
    ],
)
def test_slice_timing_follows_the_slice_axis(to: Any, dims: int, code: int, start: int, end: int) -> None:
    """``dim_info``, ``slice_code``, ``slice_start`` and ``slice_end`` speak of axes (nifti1.h); axes move."""
    straight = AffineMatrix.from_spacing((1, 2, 3))
    hints = {"nifti_dim_info": info(1, 2, 3), "nifti_slice_code": 3, "nifti_slice_end": 1, "other": "stays"}
    after = reoriented(header(affine=straight, metadata=hints), to).metadata
    expected = {"nifti_dim_info": dims, "nifti_slice_code": code, "other": "stays"}
    if start:
        expected["nifti_slice_start"] = start
    if end:
        expected["nifti_slice_end"] = end
    assert dict(after) == expected


def test_slice_timing_without_an_end_is_of_all_slices() -> None:
    """slice_end 0 is what dcm2niix and nibabel leave where nobody said it; a flip must not make it the last slice."""
    straight = AffineMatrix.from_spacing((1, 2, 3))
    before = header(shape=(1, 5, 4, 6), affine=straight, metadata={"nifti_dim_info": 48, "nifti_slice_code": 1})
    after = reoriented(before, ("R", "A", "I")).metadata
    assert dict(after) == {"nifti_dim_info": 48, "nifti_slice_code": 2, "nifti_slice_end": 5}


def test_slice_timing_goes_where_slices_go() -> None:
    """Half of the slices have no order of their own any more."""
    straight = AffineMatrix.from_spacing((1, 2, 3))
    hints = {"nifti_dim_info": info(1, 2, 3), "nifti_slice_code": 3, "nifti_slice_end": 2}
    before = header(affine=straight, metadata=hints)
    for cut in ((slice(None), slice(None), slice(None, None, 2)), (slice(None), slice(None), slice(1, 3))):
        grid = before.grid[cut]
        after = before.follow(Step(straight.inverse() @ grid.affine, grid))
        assert dict(after.metadata) == {"nifti_dim_info": info(1, 2, 3)}
    grid = before.grid[(slice(1, 3), slice(None), slice(None))]
    after = before.follow(Step(straight.inverse() @ grid.affine, grid))
    assert dict(after.metadata) == hints
    moved = AffineMatrix.from_spacing(1, origin=(0, 0, 1))  # as many slices, but others
    after = before.follow(Step(moved, Grid(before.spatial_shape, straight @ moved)))
    assert dict(after.metadata) == {"nifti_dim_info": info(1, 2, 3)}


def test_following_does_not_change_the_header_before() -> None:
    before = make("described").header.replace(metadata={"nifti_dim_info": 57, "nifti_slice_code": 1})
    copy = pickle.loads(pickle.dumps(before))
    reoriented(before, ("P", "I", "L"))
    assert before == copy


# differences


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_does_not_differ_from_itself(kind: str) -> None:
    h = make(kind).header
    assert differences(h, h) == ()
    assert differences(h, pickle.loads(pickle.dumps(h))) == ()


CHANGES: dict[str, Any] = {
    "shape": (1, 5, 4, 2), "dtype": "int32", "affine": AFFINES["straight"], "axes": (("time", 4),), "slope": 2.0,
    "inter": 1.0, "sform": AFFINES["straight"], "qform": AFFINES["sheared"], "sform_code": 3, "qform_code": 0,
    "time_spacing": 1.5, "intent": "label", "intent_params": (1.0,), "intent_name": "x", "description": "x",
    "gradients": Gradients((0.0,) * 4, ((0.0, 0.0, 1.0),) * 4), "labels": LabelTable([(1, "x")]), "metadata": {"x": 1},
    "history": ({"name": "crop"},), "extensions": ((4, b"x"),),
}  # fmt: skip


def rich() -> Header:
    """Return a header in which every field says something."""
    described, forms = make("described").header, make("forms").header
    return make("diffusion").header.replace(
        **{k: getattr(described, k) for k in ("description", "metadata", "history", "intent", "intent_name", "extensions")},
        **{k: getattr(forms, k) for k in ("sform", "sform_code", "qform", "qform_code")},
        intent_params=(2.0, 3.0), slope=0.5, inter=-1.0, time_spacing=2.0, labels=LABELS,
    )  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_fact_is_compared(name: str) -> None:
    before = rich()
    after = before.replace(**{name: CHANGES[name]})
    found = differences(before, after)
    assert name in [d.field for d in found]
    difference = next(d for d in found if d.field == name)
    assert (difference.before, difference.after) == (getattr(before, name), getattr(after, name))
    assert str(difference) and len(str(difference).splitlines()) == 1
    back = differences(after, before)
    assert name in [d.field for d in back]


@pytest.mark.parametrize("name", ["gradients", "labels", "metadata", "history", "extensions", "description", "intent",
                                  "time_spacing", "qform", "slope"])  # fmt: skip
def test_every_fact_may_be_absent(name: str) -> None:
    before = rich()
    empty: Any = {"metadata": {}, "history": (), "extensions": (), "description": ""}.get(name)
    for a, b in ((before, before.replace(**{name: empty})), (before.replace(**{name: empty}), before)):
        assert name in [d.field for d in differences(a, b)]
        assert all(len(str(d).splitlines()) == 1 for d in differences(a, b))


def test_a_form_that_is_the_affine_says_nothing_beside_it() -> None:
    before = rich()
    assert before.sform == before.affine
    assert not differences(before, before.replace(sform=None))
    assert "sform code: 4 -> none" in map(str, differences(before, before.replace(sform=None, sform_code=None)))


@pytest.mark.parametrize("change", [
    {"format": "nrrd"}, {"compression": "gzip"}, {"byte_order": "big"}, {"warnings": ("x",)}, {"file_bytes": 9},
    {"native": Native("mgh", b"")}, {"affine_source": "sform"}, {"space_units": "mm"}, {"ndim": 2},
])  # fmt: skip
def test_facts_of_a_container_are_no_difference(change: dict[str, Any]) -> None:
    assert differences(rich(), rich().replace(**change)) == ()


@pytest.mark.parametrize(("a", "b"), [
    ({"slope": None, "inter": None}, {"slope": 1.0, "inter": 0.0}),
    ({"sform_code": None}, {"sform_code": 0}),
    ({"shape": (4, 5, 4, 3)}, {"shape": (4, 5, 4, 3), "axes": (("channel", 4),)}),
    ({"axes": (("time", 1),)}, {"axes": ()}),
    ({"slope": 1 / 3, "inter": 0.1}, {"slope": float(np.float32(1 / 3)), "inter": float(np.float32(0.1))}),
    ({"time_spacing": 2.2}, {"time_spacing": 2.2 * (1 + 1e-8)}),
])  # fmt: skip
def test_two_ways_to_say_one_thing_are_no_difference(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert differences(header(**a), header(**b)) == differences(header(**b), header(**a)) == ()


def test_geometry_is_compared_in_millimetres_at_the_corners() -> None:
    before = header(shape=(1, 100, 100, 100))
    near = AffineMatrix([[*row[:3], row[3] + 4e-4] for row in before.affine.rows[:3]])
    far = AffineMatrix([[*row[:3], row[3] + 2e-3] for row in before.affine.rows[:3]])
    assert differences(before, before.replace(affine=near)) == ()
    (difference,) = differences(before, before.replace(affine=far))
    assert difference.field == "affine" and "moves by 0.003464 mm" in difference.note
    assert differences(before, before.replace(affine=far), tolerance=0.01) == ()
    turned = AffineMatrix([[row[0] * (1 + 1e-4), *row[1:]] for row in before.affine.rows[:3]])  # small at the origin
    assert differences(before, before.replace(affine=turned)) != ()
    assert differences(before.replace(shape=(1, 2, 2, 2)), before.replace(shape=(1, 2, 2, 2), affine=turned)) == ()


def test_gradients_of_other_number_differ() -> None:
    a, b = Gradients((0.0, 1.0), ((0, 0, 1),) * 2), Gradients((0.0,), ((0, 0, 1),))
    assert differences(header(gradients=a), header(gradients=b)) != ()


def test_numbers_that_are_none_or_infinite_are_the_same_as_themselves() -> None:
    """A NIfTI file with NaN in intent_p1 could not be written: its header "did not read back"."""
    nan, inf = float("nan"), float("inf")
    before = header(intent_params=(nan, inf, 0.0))
    assert not differences(before, before.replace(intent_params=(float("nan"), inf, 0.0)))
    for other in ((nan, -inf, 0.0), (nan, 1.0, 0.0), (1.0, inf, 0.0), (nan, inf, nan)):
        assert differences(before, before.replace(intent_params=other))

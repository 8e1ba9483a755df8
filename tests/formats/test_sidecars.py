"""Files that travel with an image: gradients of FSL, JSON of BIDS, and what turning an image does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, StorageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.sidecars import (
    Moved,
    copy_sidecar,
    gradient_files,
    moved_axes,
    parse_gradients,
    read_gradients,
    sidecar_paths,
    turned,
    write_sidecars,
)
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header
from medimg_cli.orientation import transform_between
from medimg_cli.storage.source import MemorySource, open_source
from tests.helpers import contents, make, one_line

SHAPE = (5, 4, 3)


def moved(axes: tuple[tuple[int, int], ...] = ((0, 1), (1, 1), (2, 1)), shape: tuple[int, int, int] = SHAPE) -> Moved:
    """Return a move that keeps all voxels."""
    spans = [range(shape[old]) if sign > 0 else range(shape[old] - 1, -1, -1) for old, sign in axes]
    return Moved(axes, tuple(spans), shape)


def step_map(axes: tuple[tuple[int, int], ...], shape: tuple[int, int, int] = SHAPE) -> AffineMatrix:
    """Return the map from new voxels to old ones of such a move."""
    rows = [[0.0] * 4 for _ in range(3)]
    for new, (old, sign) in enumerate(axes):
        rows[old][new], rows[old][3] = float(sign), 0.0 if sign > 0 else shape[old] - 1.0
    return AffineMatrix(rows)


# gradients


def test_names_beside_an_image() -> None:
    assert sidecar_paths("a/b.c.nii.gz") == {"bval": "a/b.c.bval", "bvec": "a/b.c.bvec", "json": "a/b.c.json"}
    assert sidecar_paths("x.mgz")["json"] == "x.json"


@pytest.mark.parametrize(
    ("bvals", "bvecs"),
    [
        ("0 1000 2000 5", "0 1 0 0\n0 0 1 0\n0 0 0 1\n"),
        ("0\n1000\n2000\n5\n", "0 0 0\n1 0 0\n0 1 0\n0 0 1"),
        ("0,1e3, 2000 ,5", "nan 1 0 0\n\nnan 0 1 0\nnan 0 0 1\n\n"),
    ],
)
def test_tables_by_row_and_by_column(bvals: str, bvecs: str) -> None:
    expected = Gradients((0, 1000, 2000, 5), ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert parse_gradients(bvals, bvecs, "x") == expected


def test_three_by_three_is_read_as_fsl_does() -> None:
    assert parse_gradients("1 2 3", "1 2 3\n4 5 6\n7 8 9", "x").bvecs == ((1, 4, 7), (2, 5, 8), (3, 6, 9))


@pytest.mark.parametrize(
    ("bvals", "bvecs"),
    [
        ("0 1", "0 1\n0 0"),
        ("0 1", "0 1 2\n0 0 0\n0 0 0"),
        ("0 x", "0 1\n0 0\n0 0"),
        ("inf 1", "0 1\n0 0\n0 0"),
        ("0 1", ""),
        ("", "0 1\n0 0\n0 0"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(bvals: str, bvecs: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_gradients(bvals, bvecs, "x")
    assert one_line(caught.value)


def test_nothing_beside_an_image_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    assert read_gradients(open_source(tmp_path / "a.nii")) is None
    assert read_gradients(MemorySource(b"x", "a.nii")) is None
    (tmp_path / "a.bval").write_text("0")
    with pytest.raises(FormatError, match=r"no a\.bvec"):
        read_gradients(open_source(tmp_path / "a.nii"))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img"])
@pytest.mark.parametrize("source", [".nii.gz", ".mif", ".npz"])
def test_gradients_travel_to_nifti_from_any_format(tmp_path: Path, source: str, suffix: str) -> None:
    image = make("diffusion")
    first, second = str(tmp_path / f"a{source}"), str(tmp_path / f"b{suffix}")
    save_backend(image, first)
    assert save_backend(open_backend(first), second) == ()
    found = open_backend(second).header.gradients
    assert found is not None and image.header.gradients is not None
    np.testing.assert_allclose(found.bvecs, image.header.gradients.bvecs, atol=1e-12)
    assert (tmp_path / "b.bval").read_text() == "0 700 1000 2800\n"


def test_formats_that_hold_gradients_get_no_files(tmp_path: Path) -> None:
    save_backend(make("diffusion"), str(tmp_path / "a.mif"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.mif"]
    assert gradient_files(make("diffusion").header, "x.mif") == ()
    assert gradient_files(make("plain").header, "x.nii") == ()


def test_existing_gradient_files_are_not_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "a.bval").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        save_backend(make("diffusion"), str(tmp_path / "a.nii"))
    assert contents(tmp_path) == {"a.bval": b"mine"}
    save_backend(make("diffusion"), str(tmp_path / "a.nii"), force=True)
    assert open_backend(str(tmp_path / "a.nii")).header.gradients is not None


def test_one_volume_of_a_diffusion_image_has_no_table_in_nifti(tmp_path: Path) -> None:
    header = make("diffusion").header.with_channels(range(1, 2))
    image = make("plain")
    image.header = image.header.replace(gradients=header.gradients)
    lost = save_backend(image, str(tmp_path / "a.nii"))
    assert [d.field for d in lost] == ["gradients"]


@given(st.lists(st.tuples(*[st.floats(-1, 1, allow_subnormal=False)] * 3), min_size=4, max_size=6), st.data())
def test_printed_tables_come_back_exactly(vectors: list[tuple[float, float, float]], data: st.DataObject) -> None:
    bvals = tuple(data.draw(st.floats(0, 1e5, allow_subnormal=False)) for _ in vectors)
    gradients = Gradients(bvals, tuple(vectors))
    header = make("diffusion").header.replace(gradients=gradients)
    texts = [content.decode() for _, content in gradient_files(header, "x.nii")]
    assert parse_gradients(texts[0], texts[1], "x") == gradients


# axes


@pytest.mark.parametrize("to", ["RAS", "LPI", "SRP", "AIL", "PSR"])
def test_moves_are_found_from_the_map(to: str) -> None:
    axes = transform_between("RAS", to)
    after = [SHAPE[old] for old, _ in axes]
    found = moved_axes(step_map(axes), SHAPE, after)
    assert found == moved(axes) and found.idle == (to == "RAS")


def test_crops_steps_pads_and_resampling_are_found() -> None:
    crop = moved_axes(AffineMatrix([[2, 0, 0, 1], [0, 1, 0, 0], [0, 0, -1, 2]]), SHAPE, (2, 4, 2))
    assert crop.positions == (range(1, 5, 2), range(4), range(2, 0, -1))
    assert moved_axes(AffineMatrix([[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0]]), SHAPE, (6, 4, 3)).positions[0] is None
    assert moved_axes(AffineMatrix([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]), SHAPE, SHAPE).positions[2] is None
    fine = moved_axes(AffineMatrix.from_spacing((1, 1, 0.5)), SHAPE, (5, 4, 6))
    assert fine.positions[2] is None and fine.axes == moved().axes
    assert moved_axes(AffineMatrix.from_spacing((1, 1, 1), origin=(0, 0, 0.4)), SHAPE, SHAPE).positions[2] is None


@pytest.mark.parametrize(
    ("axes", "before", "after"),
    [
        (((0, 1), (1, 1), (2, 1)), "j-", "j-"),
        (((0, 1), (1, -1), (2, 1)), "j-", "j"),
        (((0, 1), (1, -1), (2, 1)), "j", "j-"),
        (((1, 1), (0, 1), (2, 1)), "j", "i"),
        (((2, -1), (0, 1), (1, -1)), "i", "j"),
        (((2, -1), (0, 1), (1, -1)), "j-", "k"),
        (((2, -1), (0, 1), (1, -1)), "k", "i-"),
        (((0, 1), (1, -1), (2, 1)), "j+", "j-"),
    ],
)
def test_letters_follow_their_axis(axes: Any, before: str, after: str) -> None:
    facts = turned({"PhaseEncodingDirection": before, "SliceEncodingDirection": before}, moved(axes))
    assert facts == {"PhaseEncodingDirection": after, "SliceEncodingDirection": after}


def test_axes_without_direction_stay_without() -> None:
    assert turned({"PhaseEncodingAxis": "j"}, moved(((1, -1), (0, 1), (2, 1)))) == {"PhaseEncodingAxis": "i"}


@pytest.mark.parametrize("value", ["ROW", "", None, 3, "k--", "x"])
def test_what_is_no_axis_is_left_alone(value: Any) -> None:
    assert turned({"PhaseEncodingDirection": value}, moved(((1, -1), (0, 1), (2, 1)))) == {
        "PhaseEncodingDirection": value
    }


TIMES = [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("axes", "facts", "expected"),
    [
        (((0, -1), (1, 1), (2, 1)), {}, {"SliceTiming": TIMES}),
        (((0, 1), (1, 1), (2, -1)), {}, {"SliceTiming": TIMES[::-1]}),
        (((2, 1), (1, 1), (0, 1)), {}, {"SliceTiming": TIMES, "SliceEncodingDirection": "i"}),
        (((2, -1), (1, 1), (0, 1)), {}, {"SliceTiming": TIMES[::-1], "SliceEncodingDirection": "i"}),
    ],
)
def test_slice_times_are_in_the_order_of_slices(axes: Any, facts: Any, expected: Any) -> None:
    assert turned({"SliceTiming": TIMES, **facts}, moved(axes)) == expected


@pytest.mark.parametrize("direction", [None, "k", "k-", "i-", "j"])
@pytest.mark.parametrize("to", ["RAS", "RAI", "SRP", "IAL", "PLI"])
def test_every_slice_keeps_its_time(to: str, direction: str | None) -> None:
    """Whatever the words, the plane acquired at a time is the same plane after the turn."""

    def time_of(facts: dict[str, Any], shape: tuple[int, ...]) -> dict[tuple[int, int], float]:
        letter = facts.get("SliceEncodingDirection", "k")
        axis = "ijk".index(letter[0])
        times = facts["SliceTiming"][::-1] if letter.endswith("-") else facts["SliceTiming"]
        assert len(times) == shape[axis]
        return {(axis, n): time for n, time in enumerate(times)}

    axis = "ijk".index((direction or "k")[0])
    facts: dict[str, Any] = {"SliceTiming": [0.25 * n * n for n in range(SHAPE[axis])]}
    if direction:
        facts["SliceEncodingDirection"] = direction
    move = moved(transform_between("RAS", to))
    before = time_of(facts, SHAPE)
    after = time_of(turned(facts, move), tuple(SHAPE[old] for old, _ in move.axes))
    for (new, n), time in after.items():
        span = move.positions[new]
        assert span is not None and before[move.axes[new][0], span[n]] == time


def test_cropped_slices_pick_their_times() -> None:
    crop = Moved(((0, 1), (1, 1), (2, 1)), (range(5), range(4), range(1, 3)), SHAPE)
    assert turned({"SliceTiming": TIMES}, crop) == {"SliceTiming": [0.5, 1.0]}
    down = {"SliceTiming": TIMES, "SliceEncodingDirection": "k-"}
    assert turned(down, crop) == {"SliceTiming": [0.0, 0.5], "SliceEncodingDirection": "k-"}


def test_times_of_slices_that_were_never_acquired_are_dropped() -> None:
    pad = Moved(((0, 1), (1, 1), (2, 1)), (range(5), range(4), None), SHAPE)
    assert turned({"SliceTiming": TIMES, "a": 1}, pad) == {"a": 1}
    assert turned({"SliceTiming": TIMES[:2]}, moved(((0, 1), (1, 1), (2, -1)))) == {}
    assert turned({"SliceTiming": TIMES[:2]}, moved(((0, -1), (1, 1), (2, 1)))) == {"SliceTiming": TIMES[:2]}


# files

TEXT = (
    '{\n\t"EchoTime": 0.0300,\n\t"PhaseEncodingDirection": "j-",\n'
    '\t"SliceTiming": [0, 0.5, 1],\n\t"Name": "M\u00fcller"\n}\n'
)


def written(tmp_path: Path, name: str = "a.nii", text: str = TEXT) -> Header:
    """Write an image and a sidecar; return the header."""
    image = make("plain")
    save_backend(image, str(tmp_path / name))
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    return open_backend(str(tmp_path / name)).header


def flipped(header: Header, axes: Any = ((0, 1), (1, -1), (2, -1))) -> Header:
    step = {"name": "flip", "voxel_map": [list(row) for row in step_map(axes).rows]}
    return header.replace(history=(*header.history, step))


def test_a_sidecar_is_copied_as_it_is_where_nothing_moved(tmp_path: Path) -> None:
    header = written(tmp_path)
    assert copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nrrd"), header) == str(tmp_path / "b.json")
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == TEXT


def test_a_sidecar_turns_with_the_image_and_keeps_its_style(tmp_path: Path) -> None:
    header = flipped(written(tmp_path))
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii.gz"), header)
    text = (tmp_path / "b.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "EchoTime": 0.03, "PhaseEncodingDirection": "j", "SliceTiming": [1, 0.5, 0], "Name": "M\u00fcller"
    }  # fmt: skip
    assert text.startswith('{\n\t"EchoTime"') and text.endswith("}\n") and "M\u00fcller" in text
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == TEXT


def test_only_new_steps_of_the_history_count(tmp_path: Path) -> None:
    image = make("plain")
    image.header = flipped(image.header)
    save_backend(image, str(tmp_path / "a.nii"))
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), image.header)
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == TEXT
    twice = flipped(flipped(image.header), ((0, 1), (1, -1), (2, 1)))
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "c.nii"), twice)
    facts = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert facts["PhaseEncodingDirection"] == "j-" and facts["SliceTiming"] == [1, 0.5, 0]


def test_an_undone_history_falls_back_on_the_affines(tmp_path: Path) -> None:
    image = make("plain")
    image.header = flipped(image.header)
    save_backend(image, str(tmp_path / "a.nii"))
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    back = image.header.replace(history=(), affine=image.header.affine @ step_map(((0, 1), (1, -1), (2, -1))))
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), back)
    facts = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert facts["PhaseEncodingDirection"] == "j" and facts["SliceTiming"] == [1, 0.5, 0]


def test_without_a_sidecar_nothing_is_written(tmp_path: Path) -> None:
    save_backend(make("plain"), str(tmp_path / "a.nii"))
    header = open_backend(str(tmp_path / "a.nii")).header
    assert copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), header) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_an_existing_sidecar_is_not_replaced_without_force(tmp_path: Path) -> None:
    header = written(tmp_path)
    (tmp_path / "b.json").write_text("mine")
    with pytest.raises(StorageError, match="already exists"):
        copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), header)
    assert (tmp_path / "b.json").read_text() == "mine"
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), header, force=True)
    assert (tmp_path / "b.json").read_text(encoding="utf-8") == TEXT


def test_a_sidecar_shared_with_the_source_stays_the_sources(tmp_path: Path) -> None:
    header = flipped(written(tmp_path))
    assert copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "a.mgz"), header, force=True) is None
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == TEXT
    assert copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "a.nii"), header, force=True)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["PhaseEncodingDirection"] == "j"


def test_a_sidecar_turns_with_an_image_that_was_overwritten(tmp_path: Path) -> None:
    path = str(tmp_path / "a.nii")
    before = written(tmp_path)
    after = flipped(before)
    image = make("plain")
    image.header = after.replace(native=None)
    save_backend(image, path, force=True)
    assert copy_sidecar(path, path, after, before=before, force=True)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["SliceTiming"] == [1, 0.5, 0]


@pytest.mark.parametrize("text", ["[1, 2]", "{", "", "[" * 100_000])
def test_a_sidecar_that_is_no_object_is_copied_or_left_behind(tmp_path: Path, text: str) -> None:
    header = written(tmp_path, text=text)
    assert copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), flipped(header)) is None
    copy_sidecar(str(tmp_path / "a.nii"), str(tmp_path / "b.nii"), header)
    assert (tmp_path / "b.json").read_text() == text


def test_all_files_at_once(tmp_path: Path) -> None:
    save_backend(make("diffusion"), str(tmp_path / "a.mif"))
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    header = open_backend(str(tmp_path / "a.mif")).header
    move = moved(((0, 1), (1, -1), (2, 1)))
    names = write_sidecars(str(tmp_path / "a.mif"), str(tmp_path / "b.nii.gz"), header, move)
    assert [Path(name).name for name in names] == ["b.bval", "b.bvec", "b.json"]
    assert json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["PhaseEncodingDirection"] == "j"

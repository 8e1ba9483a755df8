"""Requests to crop and pad: words, rounding, anatomy, masks on other grids, and that no voxel moves in the world."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine

from medimg_cli import LabelMap, Points, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.batch import Task
from medimg_cli.errors import GeometryError, MedImgError, UsageError
from medimg_cli.formats.writing import save_backend
from medimg_cli.grid import Grid
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.operations import apply
from medimg_cli.operations.amounts import Amount
from medimg_cli.operations.cropping import CropRequest, PadRequest
from medimg_cli.operations.resample import Resample
from medimg_cli.pipeline import Pipeline, process
from medimg_cli.statistics.boxes import bounding_box, is_something, reach
from tests.helpers import AFFINES, make, read
from tests.operations.helpers import numbered, places, undone
from tests.strategies import affines, grids, shapes

EXAMPLE = Path(nib.__file__).parent / "tests" / "data" / "anatomical.nii"
LETTERS = "RLAPSI"
PLAIN = AffineMatrix.from_spacing((1, 2, 2.5), origin=(-5, 3, 40))
FLIPPED = AffineMatrix([[0, 0, -3.0, 40], [0.9, 0, 0, -12.5], [0, -1.25, 0, 7], [0, 0, 0, 1]])  # A, I, L


def image(array: Any, affine: AffineMatrix = PLAIN, **fields: Any) -> ArrayBackend:
    array = np.asarray(array)
    array = array[None] if array.ndim == 3 else array
    return ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, affine=affine, **fields))


def remarks(request: Any, backend: Any) -> tuple[str, ...]:
    return tuple(request.remarks(backend.header, request.prepare(backend)))


def ends(request: Any, backend: Any) -> Any:
    return request.prepare(backend).amounts


# -- words


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", (10, "")), (" 10 mm", (10, "mm")), ("2.5MM", (2.5, "mm")), ("5%", (5, "%")), ("1e1", (10, ""))],
)
def test_amounts_are_read(text: str, expected: tuple[float, str]) -> None:
    assert Amount.parse(text, "--by") == expected


@pytest.mark.parametrize(
    "text", ["", "mm", "%", "a", "-1", "-1mm", "1.5", "nan", "inf", "1e12mm", "3cm", "1:2:3", "1,2", "1,2,3,4", ","]
)
def test_other_amounts_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"--by .*(is no amount|amounts)") as caught:
        CropRequest(by=(text,))
    assert "\n" not in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("text", ["5", "a:b", "1:2:3", "-1%:50%", "0%:101%", "1.5:3", "nanmm:3mm"])
def test_other_ranges_are_refused_in_a_line(text: str) -> None:
    with pytest.raises(UsageError, match="--keep"):
        CropRequest(axis=("S",), keep=(text,))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "give one of --by, --keep, --to-mask, --to-nonzero, --to-multiple and --to-shape"),
        ({"by": ("1",), "to_nonzero": True}, "--by and --to-nonzero do not go together"),
        ({"by": ("1", "2")}, "--by is given twice"),
        ({"by": ("1", "2"), "axis": ("S",)}, "--axis is given 1 and --by 2 times"),
        ({"by": ("1", "2"), "axis": ("S", "s")}, "names one end twice"),
        ({"by": ("1:2",), "axis": ("S",)}, "--by 1:2: this is more than one amount"),
        ({"by": ("1",), "axis": ("Q",)}, "axis 'Q' is none of R, L, A, P, S, I"),
        ({"keep": ("1:2",)}, "--axis is given 0 and --keep 1 times"),
        ({"keep": ("1:2", "3:4"), "axis": ("S", "I")}, "names one axis twice"),
        ({"axis": ("S",)}, "give one of"),
        ({"to_nonzero": True, "label": "3"}, "--label says nothing with --to-nonzero"),
        ({"by": ("1",), "margin": "3"}, "--margin says nothing with --by"),
        ({"to_nonzero": True, "margin": "-3"}, "--margin -3: this is no amount"),
        ({"to_multiple": "16", "or_pad": True}, "--or-pad says nothing with --to-multiple"),
        ({"to_multiple": "0"}, "--to-multiple 0 is not one or three positive numbers"),
        ({"to_shape": "1,2"}, "--to-shape 1,2 is not one or three positive numbers"),
    ],
)  # fmt: skip
def test_wrong_crops_are_wrong_usage_before_an_image_is_opened(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        CropRequest(**words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "give one of --by, --to-multiple, --to-shape and --to-cube"),
        ({"to_shape": "9", "to_cube": True}, "--to-shape and --to-cube do not go together"),
        ({"by": ("1",), "or_crop": True}, "--or-crop says nothing with --by"),
        ({"by": ("1",), "mode": "edge", "fill": 3.0}, "makes no sense with mode 'edge'"),
        ({"by": ("1",), "mode": "mirror"}, "there is no padding mode 'mirror'"),
        ({"to_cube": True, "axis": ("S",)}, "--axis says nothing with --to-cube"),
    ],
)
def test_wrong_pads_are_wrong_usage_before_an_image_is_opened(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        PadRequest(**words)
    assert message in str(caught.value)


# -- rounding


@pytest.mark.parametrize(
    ("by", "cropped", "padded"),
    [
        ("2", ((2, 2), (2, 2), (2, 2)), ((2, 2), (2, 2), (2, 2))),
        ("5mm", ((5, 5), (2, 2), (2, 2)), ((5, 5), (3, 3), (2, 2))),
        ("10%", ((2, 2), (1, 1), (1, 1)), ((2, 2), (2, 2), (1, 1))),
        ("1:3mm,0,50%:0", ((1, 3), (0, 0), (5, 0)), ((1, 3), (0, 0), (5, 0))),
    ],
)
def test_a_crop_takes_no_more_and_a_pad_adds_no_less_than_asked(by: str, cropped: Any, padded: Any) -> None:
    source = image(np.ones((20, 15, 10), "uint8"))
    assert ends(CropRequest(by=(by,)), source) == cropped
    assert ends(PadRequest(by=(by,)), source) == padded


def test_spacings_of_float32_files_make_no_voxel_more_or_less() -> None:
    source = image(np.ones((40, 40, 40), "uint8"), AffineMatrix.from_spacing(float(np.float32(0.9))))
    assert ends(CropRequest(by=("9mm",)), source) == ((10, 10),) * 3
    source = image(np.ones((40, 40, 40), "uint8"), AffineMatrix.from_spacing(float(np.float32(0.7))))
    assert ends(PadRequest(by=("7mm",)), source) == ((10, 10),) * 3


def test_what_was_decided_is_said() -> None:
    source = image(np.ones((20, 15, 10), "uint8"))
    assert remarks(CropRequest(by=("5mm",)), source) == (
        "keeps 10 x 11 x 6 of 20 x 15 x 10 voxels, [:, 5:15, 2:13, 2:8]",
        "in whole voxels 5mm along j is 2 (4 mm)",
    )
    assert remarks(PadRequest(axis=("A",), by=("5mm",)), source) == (
        "20 x 15 x 10 voxels become 20 x 18 x 10, 0:3 along j added",
        "in whole voxels 5mm along j is 3 (6 mm)",
    )
    assert remarks(CropRequest(by=("0",)), source) == ("has that shape already, nothing is changed",)
    (both,) = remarks(CropRequest(to_shape="12", or_pad=True), source)
    assert both == (
        "keeps 12 x 12 x 10 of 20 x 15 x 10 voxels, [:, 4:16, 2:14, 0:10]; "
        "these become 12 x 12 x 12, 1:1 along k added"
    )  # fmt: skip


def test_a_fill_that_is_not_0_is_said() -> None:
    source = image(np.ones((4, 5, 6), "uint8"), slope=2.0, inter=-1001.0)
    assert remarks(PadRequest(by=("1",)), source)[1:] == ("filled with -491, because it cannot hold 0",)
    assert len(remarks(PadRequest(by=("1",), fill=-1001.0), source)) == 1


# -- anatomy


@pytest.mark.parametrize("affine", [PLAIN, FLIPPED, *AFFINES.values()])
@pytest.mark.parametrize("letter", LETTERS)
def test_the_end_at_a_letter_is_the_one_that_goes(affine: AffineMatrix, letter: str) -> None:
    """Two voxels come off where the world coordinate along the letter is largest, by nibabel's reckoning of axes."""
    source = numbered((1, 7, 6, 5), affine)
    amounts = ends(CropRequest(axis=(letter,), by=("2",)), source)
    codes: Any = nib.aff2axcodes(np.array(affine.rows))
    opposite = dict(zip(LETTERS, "LRPAIS", strict=True))[letter]
    axis = codes.index(letter) if letter in codes else codes.index(opposite)
    expected = [[0, 0], [0, 0], [0, 0]]
    expected[axis][letter in codes] = 2
    assert [list(pair) for pair in amounts] == expected
    assert [list(p) for p in ends(PadRequest(axis=(letter,), by=("2",)), source)] == expected


def test_ends_of_several_axes() -> None:
    source = image(np.ones((20, 15, 10), "uint8"), FLIPPED)  # i to A, j to I, k to L
    request = CropRequest(axis=("i", "A", "S"), by=("2.5mm", "10%", "1"))
    assert ends(request, source) == ((0, 2), (1, 2), (0, 0))


@pytest.mark.parametrize(
    ("letter", "text", "expected"),
    [
        ("S", "20%:80%", (2, 8)), ("S", "25%:75%", (2, 8)), ("S", "2:-3", (2, 7)), ("S", ":4", (0, 4)), ("S", "4:", (4, 10)),
        ("I", "2:-3", (3, 8)), ("I", "0%:20%", (8, 10)), ("S", "45mm:55mm", (2, 7)), ("S", "55mm:45mm", (2, 7)),
        ("I", "45mm:55mm", (2, 7)), ("S", "46.3mm:54mm", (3, 7)), ("S", "46.24mm:54mm", (2, 7)), ("S", "50mm:50mm", (4, 5)),
        ("S", "-900mm:45mm", (0, 3)), ("S", "50mm:900mm", (4, 10)), ("S", "50mm:80%", (4, 8)), ("S", "-2:", (8, 10)),
    ],
)  # fmt: skip
def test_a_range_keeps_every_voxel_that_it_touches(letter: str, text: str, expected: tuple[int, int]) -> None:
    """Ten voxels of 2.5 mm, centres from 40 to 62.5 mm."""
    source = image(np.ones((5, 6, 10), "uint8"))
    amounts = ends(CropRequest(axis=(letter,), keep=(text,)), source)
    assert amounts == ((0, 0), (0, 0), (expected[0], 10 - expected[1]))


def test_ranges_along_several_axes() -> None:
    source = image(np.ones((20, 15, 10), "uint8"))
    request = CropRequest(axis=("L", "S", "A"), keep=("0%:50%", "1:3", "20mm:23mm"))
    assert ends(request, source) == ((10, 0), (9, 4), (1, 7))


@pytest.mark.parametrize("text", ["11:", ":-11", "5:5", "7:3", "900mm:901mm", "50%:50%", "5:20%"])
def test_a_range_that_holds_nothing_is_refused(text: str) -> None:
    with pytest.raises(GeometryError, match="lies outside|holds nothing") as caught:
        CropRequest(axis=("S",), keep=(text,)).prepare(image(np.ones((5, 6, 10), "uint8")))
    assert caught.value.hint == "along S it has 10 voxels, 38.75 to 63.75 mm"


def test_a_range_beyond_the_image_is_said() -> None:
    source = image(np.ones((5, 6, 10), "uint8"))
    _, beyond = remarks(CropRequest(axis=("I",), keep=("50mm:73.75mm",)), source)
    assert beyond == "--keep 50mm:73.75mm reaches 10 mm beyond the image, which is not padded"


@settings(deadline=None, max_examples=60)
@given(grid=grids, letter=st.sampled_from(LETTERS), span=st.tuples(st.integers(0, 10), st.integers(0, 10)))
def test_voxels_of_a_range_are_those_of_a_slice(grid: Grid, letter: str, span: tuple[int, int]) -> None:
    """As ``slice --at`` counts them, one by one."""
    from medimg_cli.operations.requests import PlaceRequest

    source = numbered((1, *grid.shape), grid.affine)
    try:
        amounts = ends(CropRequest(axis=(letter,), keep=(f"{span[0]}:{span[1]}",)), source)
    except GeometryError:
        return
    kept = [range(lo, n - hi) for (lo, hi), n in zip(amounts, grid.shape, strict=True)]
    slices = [PlaceRequest(letter, str(at)).prepare(source).region[1:] for at in range(*span)]
    found = [{start for region in slices for start in range(*region[axis])} for axis in range(3)]
    assert [set(span) for span in kept] == found


# -- multiples, shapes, cubes


@pytest.mark.parametrize("numbers", ["4", "8,5,1", "3,15,10"])
def test_multiples_fit_and_hold(numbers: str) -> None:
    source = numbered((1, 20, 15, 10))
    wanted = [int(n) for n in (numbers.split(",") * 3)[:3]]
    smaller, larger = (apply(kind(to_multiple=numbers), source) for kind in (CropRequest, PadRequest))
    assert smaller.header.spatial_shape == tuple(n // m * m for n, m in zip((20, 15, 10), wanted, strict=True))
    assert larger.header.spatial_shape == tuple(-(-n // m) * m for n, m in zip((20, 15, 10), wanted, strict=True))
    for found in (smaller, larger):
        assert places(found, source) < 1e-9
        off = np.abs(np.array(found.header.grid.center) - source.header.grid.center)
        assert (off <= np.abs(np.array(source.header.affine.rows)[:3, :3]).sum(1) / 2 + 1e-9).all(), "centred"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (CropRequest(to_multiple="16"), "--to-multiple 16: it has only 15 voxels along j; use 'medimg pad', or give 1"),
        (CropRequest(to_shape="10,20,10"), "--to-shape 10,20,10: it has only 15 voxels along j; add --or-pad"),
        (PadRequest(to_shape="20,10,10"), "--to-shape 20,10,10: it has 15 voxels along j; add --or-crop"),
        (CropRequest(by=("50%",)), "nothing is left"),
        (CropRequest(axis=("R", "L"), by=("60%", "60%")), "nothing is left"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(request_: Any, message: str) -> None:
    with pytest.raises(MedImgError) as caught:
        apply(request_, numbered((1, 20, 15, 10)))
    assert message in f"{caught.value}; {caught.value.hint}" or message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shapes_and_cubes() -> None:
    source = numbered((2, 20, 15, 10))
    both = apply(PadRequest(to_shape="16,16,16", or_crop=True, fill=-1.0), source)
    assert both.header.shape == (2, 16, 16, 16) and int((read(both) == -1).sum()) == 2 * 16 * (16 * 16 - 15 * 10)
    assert apply(CropRequest(to_shape="16", or_pad=True), source).header.grid == both.header.grid
    assert apply(PadRequest(to_cube=True), source).header.shape == (2, 20, 20, 20)
    assert apply(PadRequest(to_shape="20,15,10"), source) is source


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "wrap"])
def test_modes_are_numpy_s(mode: Any) -> None:
    source = numbered((1, 5, 4, 6))
    found = apply(PadRequest(by=("1:2,0,4",), mode=mode), source)
    assert np.array_equal(read(found), np.pad(source.array, ((0, 0), (1, 2), (0, 0), (4, 4)), mode=mode))


# -- boxes


def brute(array: Any) -> Any:
    hits = np.argwhere(array)
    return tuple(range(lo, hi + 1) for lo, hi in zip(hits.min(0), hits.max(0), strict=True)) if len(hits) else None


@settings(deadline=None, max_examples=60)
@given(data=st.data(), shape=shapes, dtype=st.sampled_from(["uint8", "int16", "float32", "complex64", "bool"]))
def test_a_bounding_box_is_that_of_numpy(data: st.DataObject, shape: Any, dtype: str) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    array = (random.random((2, *shape)) < data.draw(st.sampled_from([0.0, 0.02, 0.3]))).astype(dtype)
    order = data.draw(st.permutations((1, 2, 3)))
    backend = image(np.ascontiguousarray(array.transpose(0, *order)).transpose(0, *(1 + np.argsort(order))))
    assert bounding_box(backend) == brute(array.any(0))
    assert bounding_box(backend, lambda values: values == 0) == brute((array == 0).any(0))


def test_nothing_is_something_else_than_nan() -> None:
    array = np.zeros((5, 4, 3), "float32")
    array[0, 0, 0] = np.nan
    assert bounding_box(image(array)) is None
    array[2, 3, 1] = -np.inf
    assert bounding_box(image(array)) == (range(2, 3), range(3, 4), range(1, 2))
    values = np.array([0, complex(np.nan, 1), 1j])
    assert is_something(values).tolist() == [False, False, True]


def test_a_box_is_of_values_and_not_of_stored_numbers() -> None:
    array = np.full((5, 4, 3), 50, "int16")
    array[1:3, 2, 1] = 0
    backend = image(array, slope=0.5, inter=-25.0)
    assert bounding_box(backend) == (range(1, 3), range(2, 3), range(1, 2))


def test_a_box_is_found_in_little_memory(tmp_path: Path) -> None:
    """64 MB of voxels, a tenth of that in memory at a time, whatever the axes."""
    import tracemalloc

    array = np.zeros((1, 160, 200, 500), "int32")
    array[0, 7:80, 3:9, 400] = 1
    ScalarImage(array).save(tmp_path / "x.nii")
    backend = ScalarImage(tmp_path / "x.nii").dataobj
    del array
    tracemalloc.start()
    assert bounding_box(backend) == (range(7, 80), range(3, 9), range(400, 401))
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


@settings(deadline=None, max_examples=60)
@given(affine=affines, shape=shapes, seed=st.integers(0, 999))
def test_reach_is_exact_in_any_direction(affine: AffineMatrix, shape: Any, seed: int) -> None:
    array = (np.random.default_rng(seed).random(shape) < 0.2).astype("uint8")
    hits = np.argwhere(array)
    found = reach(image(array), affine.rows[:3])
    if found is None or not len(hits):
        assert found is None and not len(hits)
        return
    world = hits @ np.array(affine.rows)[:3, :3].T + np.array(affine.rows)[:3, 3]
    assert np.allclose(found, np.stack([world.min(0), world.max(0)], 1), atol=1e-9)


# -- masks


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    array = np.zeros((20, 15, 10), "uint8")
    array[4:9, 6:8, 2:7] = 1
    array[6:12, 7:11, 3:4] = 5
    labels = LabelTable({1: "liver", 5: "Left kidney", 6: "spleen"})
    save_backend(image(array, FLIPPED, intent="label", labels=labels), str(tmp_path / "mask.nii"))
    save_backend(image(np.zeros_like(array), FLIPPED), str(tmp_path / "empty.nii"))
    far = FLIPPED.with_origin(at + 500 for at in FLIPPED.origin)
    save_backend(image(array, far), str(tmp_path / "far.nii"))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ({}, ((4, 12), (6, 11), (2, 7))),
        ({"label": "1"}, ((4, 9), (6, 8), (2, 7))),
        ({"label": "liver"}, ((4, 9), (6, 8), (2, 7))),
        ({"label": "left KIDNEY"}, ((6, 12), (7, 11), (3, 4))),
        ({"label": "5.0", "margin": "1"}, ((5, 13), (6, 12), (2, 5))),
        ({"margin": "2mm"}, ((1, 15), (4, 13), (1, 8))),
        ({"margin": "100mm"}, ((0, 20), (0, 15), (0, 10))),
        ({"margin": "0:1,0,10%"}, ((4, 13), (6, 11), (1, 8))),
    ],
)
def test_the_box_of_a_mask_on_the_same_grid(masks: Path, words: dict[str, Any], kept: Any) -> None:
    source = numbered((2, 20, 15, 10), FLIPPED)
    found = apply(CropRequest(to_mask=str(masks / "mask.nii"), **words), source)
    index = tuple(slice(*span) for span in kept)
    assert np.array_equal(read(found), source.array[(slice(None), *index)])
    assert places(found, source) < 1e-9


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("empty.nii", {}, "the mask holds nothing but 0"),
        ("mask.nii", {"label": "9"}, "the mask holds no voxel of label 9"),
        ("mask.nii", {"label": "spleen"}, "the mask holds no voxel of label spleen"),
        ("mask.nii", {"label": "kidney"}, "no label is called 'kidney'; did you mean 'left kidney'"),
        ("empty.nii", {"label": "kidney"}, "there is no label table; give its number"),
        ("far.nii", {}, "the mask lies outside the image, 485.6 mm beyond it along i"),
        ("none.nii", {}, "no such file"),
    ],
)
def test_masks_that_are_of_no_use_are_refused_in_a_line(
    masks: Path, name: str, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(MedImgError) as caught:
        apply(CropRequest(to_mask=str(masks / name), **words), numbered((1, 20, 15, 10), FLIPPED))
    shown = f"{caught.value}; {caught.value.hint}"
    assert message in shown.lower() or message in shown
    assert name in shown and "\n" not in str(caught.value)


def test_a_mask_that_reaches_beyond_the_image_is_said(masks: Path) -> None:
    source = numbered((1, 20, 15, 10), FLIPPED)
    part = apply(CropRequest(by=("5:0,0,0",)), source)
    request = CropRequest(to_mask=str(masks / "mask.nii"))
    first, second = remarks(request, part)
    assert first == "keeps 7 x 5 x 5 of 15 x 15 x 10 voxels, [:, 0:7, 6:11, 2:7]"
    assert second == "the mask reaches 0.9 mm beyond the image, which is not padded"
    assert len(remarks(request, source)) == 1
    assert pickle.loads(pickle.dumps(request)) == request


@settings(deadline=None, max_examples=60)
@given(data=st.data(), here=affines, there=affines, seed=st.integers(0, 99))
def test_the_box_of_a_mask_on_any_grid_is_the_smallest_that_holds_it(
    data: st.DataObject, here: AffineMatrix, there: AffineMatrix, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By brute force: all corners of all voxels of the mask, in voxels of the image, lie in the box; none less does."""
    grid = Grid((9, 7, 8), here)
    mask = Grid((5, 6, 4), there.with_origin((0, 0, 0)))
    mask = Grid(mask.shape, mask.affine.with_origin(c - m for c, m in zip(grid.center, mask.center, strict=True)))
    array = (np.random.default_rng(seed).random(mask.shape) < 0.15).astype("uint8")
    array[2, 3, 1] = 1
    path = tmp_path_factory.mktemp("mask") / "mask.npz"
    save_backend(image(array, mask.affine), str(path))
    move = np.linalg.inv(np.array(here.rows)) @ np.array(mask.affine.rows)
    corners = np.argwhere(array)[:, None] + np.array(list(product((-0.5, 0.5), repeat=3)))
    voxels = corners.reshape(-1, 3) @ move[:3, :3].T + move[:3, 3] + 0.5
    low, high = voxels.min(0), voxels.max(0)
    try:
        amounts = ends(CropRequest(to_mask=str(path)), numbered((1, *grid.shape), here))
    except GeometryError:
        assert (high < 0.01).any() or (low > np.array(grid.shape) - 0.01).any()
        return
    kept = [(lo, n - hi) for (lo, hi), n in zip(amounts, grid.shape, strict=True)]
    for (start, stop), least, most, size in zip(kept, low, high, grid.shape, strict=True):
        assert start <= max(0, least) + 0.01 and stop >= min(size, most) - 0.01, "holds the mask"
        assert start >= max(0, least) - 1.01 and stop <= min(size, most) + 1.01, "no voxel too many"


def test_a_mask_of_another_resolution_and_orientation(tmp_path: Path) -> None:
    scan = ScalarImage(np.random.default_rng(0).normal(size=(1, 24, 20, 16)).astype("float32"), affine=PLAIN)
    seg = np.zeros((1, 24, 20, 16), "uint8")
    seg[0, 8:16, 4:12, 4:8] = 1
    same = LabelMap(seg, affine=PLAIN)
    same.reorient("PIR").resample((4, 5, 2)).save(tmp_path / "coarse.nii.gz")
    found = scan.apply(CropRequest(to_mask=str(tmp_path / "coarse.nii.gz")))
    assert found.grid.same_as(scan[:, 8:16, 4:12, 4:8].grid, 1e-6)


def test_the_box_that_is_not_nothing() -> None:
    array = np.zeros((2, 9, 8, 7), "float32")
    array[0] = np.nan
    array[1, 2:5, 3:4, 5:7] = 3
    source = image(array)
    assert ends(CropRequest(to_nonzero=True), source) == ((2, 4), (3, 4), (5, 0))
    assert ends(CropRequest(to_nonzero=True, margin="2,0,5mm"), source) == ((0, 2), (3, 4), (3, 0))
    with pytest.raises(GeometryError, match="holds nothing but 0"):
        CropRequest(to_nonzero=True).prepare(image(np.zeros((3, 4, 5), "int8")))


# -- the affine stays true


@st.composite
def crops(draw: st.DrawFn) -> Any:
    """Requests of every kind that need no file."""
    amount = st.one_of(
        st.integers(0, 2).map(str), st.integers(0, 9).map("{}mm".format), st.integers(0, 30).map("{}%".format)
    )
    letters = draw(st.lists(st.sampled_from(LETTERS), min_size=1, max_size=3, unique=True))
    keep = st.sampled_from(["10%:90%", "1:", ":-1", "-20mm:40mm", "50%:", "0:2"])
    single = draw(st.sampled_from(LETTERS))
    size = st.integers(1, 6)
    shape = draw(st.tuples(size, size, size).map(lambda each: ",".join(map(str, each))))
    return draw(
        st.sampled_from(
            [
                CropRequest(by=(draw(amount),)),
                CropRequest(by=(f"{draw(amount)}:{draw(amount)},{draw(amount)},0",)),
                CropRequest(by=tuple(draw(amount) for _ in letters), axis=tuple(letters)),
                CropRequest(axis=(single,), keep=(draw(keep),)),
                CropRequest(to_shape=shape, or_pad=True),
                CropRequest(to_multiple=shape),
                PadRequest(by=tuple(draw(amount) for _ in letters), axis=tuple(letters)),
                PadRequest(by=(f"{draw(amount)}:{draw(amount)},{draw(amount)},0",)),
                PadRequest(to_shape=shape, or_crop=True),
                PadRequest(to_multiple=shape),
                PadRequest(to_cube=True),
            ]
        )
    )  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(grid=grids, chain=st.lists(crops(), min_size=1, max_size=3))
def test_no_voxel_moves_and_the_way_back_is_exact(grid: Grid, chain: list[Any]) -> None:
    source = numbered((2, *grid.shape), grid.affine)
    found: Any = source
    for request in chain:
        try:
            found = apply(request, found)
        except MedImgError:
            continue
    assert places(found, source) < 1e-4
    assert all(step["name"] in ("crop", "pad", "crop_or_pad") for step in found.header.history)
    back = undone(found, len(found.header.history))
    assert back.header.grid == source.header.grid
    numbers = read(back)
    assert np.array_equal(numbers[numbers > 0], source.array[numbers > 0])
    assert set(np.unique(read(found))) - {0} <= set(np.unique(numbers))


@settings(deadline=None, max_examples=40)
@given(grid=grids, request_=crops(), marked=st.tuples(*[st.floats(0, 0.999)] * 3))
def test_a_marked_voxel_stays_in_the_file_as_nibabel_reads_it(
    grid: Grid, request_: Any, marked: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tuple(int(at * size) for at, size in zip(marked, grid.shape, strict=True))
    array = np.zeros(grid.shape, "int16")
    array[place] = 77
    folder = tmp_path_factory.mktemp("marked")
    save_backend(image(array, grid.affine), str(folder / "in.nii"))
    try:
        process(Task(str(folder / "in.nii"), str(folder / "out.nii")), Pipeline(operations=(request_,)), threads=1)
    except MedImgError:
        return
    before, after = nib.load(folder / "in.nii"), nib.load(folder / "out.nii")
    found = np.argwhere(np.asarray(after.dataobj) == 77)
    if len(found):
        assert len(found) == 1
        then, now = (apply_affine(im.affine, at) for im, at in ((before, place), (after, found[0])))
        assert np.abs(then - now).max() < 1e-4


STEPS: tuple[Any, ...] = (
    lambda im: im.crop(((1, 0), (0, 1), (1, 1))),
    lambda im: im.pad(((2, 0), (0, 1), (3, 1))),
    lambda im: im.crop_or_pad((6, 5, 7)),
    lambda im: im.resample((1.5, 2.5, 2)),
    lambda im: im.reorient("PIR"),
    lambda im: im.reorient("LAS"),
    lambda im: im.flip((0, 2)),
    lambda im: im[:, ::2, 1:, ::-1],
    lambda im: im.apply(PadRequest(axis=("S", "L"), by=("5mm", "2"))),
    lambda im: im.apply(CropRequest(axis=("A",), keep=("10%:",))),
)


@settings(deadline=None, max_examples=60)
@given(affine=affines, chain=st.lists(st.sampled_from(STEPS), min_size=1, max_size=5))
def test_points_keep_their_place_in_the_world_through_any_chain(affine: AffineMatrix, chain: list[Any]) -> None:
    voxels = [[1.0, 2.0, 3.0], [4.5, 0.0, 6.25], [-3.0, 20.0, 5.0]]
    found = ScalarImage(np.ones((1, 9, 8, 10), "uint8"), affine=affine, points={"seeds": Points(voxels)})
    world = np.asarray(affine.apply(voxels))
    for step in chain:
        if step is STEPS[3]:  # spacings that suit the image
            found = found.resample(tuple(each * 1.3 for each in found.spacing))
        elif min(found.spatial_shape) > 3:
            found = step(found)
    seeds = found.points["seeds"]
    now = np.asarray(found.affine.apply(seeds.numpy("IJK").tolist()))
    assert np.abs(now - world).max() < 1e-4
    assert np.abs(seeds.numpy("RAS") - world).max() < 1e-4


def test_resampling_keeps_a_marked_place(tmp_path: Path) -> None:
    """A ball's centre of mass stays through resampling, cropping and padding, to a fraction of a voxel."""
    places_ = np.stack(np.meshgrid(*map(np.arange, (40, 36, 32)), indexing="ij"), -1)
    ball = np.exp(-((places_ - (21.3, 15.8, 14.1)) ** 2).sum(-1) / 18).astype("float32")
    affine = AFFINES["left-handed"]
    target = Grid((50, 44, 40), AFFINES["oblique"])
    center = affine.apply((21.3, 15.8, 14.1))
    target = Grid(target.shape, target.affine.with_origin(
        o + c - m for o, c, m in zip(target.affine.origin, center, target.center, strict=True)))  # fmt: skip
    found = apply(Resample(target), apply(CropRequest(by=("5%",)), image(ball, affine)))
    values = read(found)[0].astype(float)
    index = np.stack(np.meshgrid(*map(np.arange, values.shape), indexing="ij"), -1)
    middle = (values[..., None] * index).sum((0, 1, 2)) / values.sum()
    assert np.abs(np.array(found.header.affine.apply(middle.tolist())) - center).max() < 0.05


# -- what travels along


def test_channels_gradients_colours_and_scales_travel() -> None:
    for kind in ("diffusion", "rgb", "scaled-time", "time-vector", "forms"):
        source = make(kind)
        found = apply(CropRequest(by=("1,0:1,1:0",)), source)
        assert found.header.axes == source.header.axes and found.header.gradients == source.header.gradients
        assert np.array_equal(
            read(found, raw=True), source.array[:, 1:-1, :-1, 1:], equal_nan=source.array.dtype.kind == "f"
        )
        assert (found.header.slope, found.header.inter) == (source.header.slope, source.header.inter)
        assert found.header.time_spacing == source.header.time_spacing
        if kind == "forms":
            before, after = source.header.qform, found.header.qform
            assert before is not None and after is not None
            assert np.allclose(after.rows, (before @ AffineMatrix.from_spacing(1.0, origin=(1, 0, 1))).rows)


# -- cost


def test_a_crop_costs_what_it_holds_and_not_what_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes read from a file of 33 MB: the rows that the box of 32 voxels a side cuts, and the header."""
    array = np.arange(256 * 256 * 256, dtype="uint16").reshape(1, 256, 256, 256)
    ScalarImage(array, affine=PLAIN).save(tmp_path / "in.nii")
    counts, pread, preadv = [0], os.pread, os.preadv

    def counted(descriptor: int, count: int, offset: int) -> bytes:
        data = pread(descriptor, count, offset)
        counts[0] += len(data)
        return data

    def counted_vector(descriptor: int, views: Any, offset: int) -> int:
        got = preadv(descriptor, views, offset)
        counts[0] += got
        return got

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(os, "preadv", counted_vector)
    task = Task(str(tmp_path / "in.nii"), str(tmp_path / "out.nii"))
    process(task, Pipeline(operations=(CropRequest(to_shape="32"),)), threads=1)
    rows = 32 * 32 * 256 * 2
    assert 32**3 * 2 <= counts[0] < rows + 300_000
    assert (tmp_path / "in.nii").stat().st_size > 50 * counts[0]
    found = np.asarray(nib.load(tmp_path / "out.nii").dataobj)
    assert np.array_equal(found, array[0, 112:144, 112:144, 112:144])


# -- against another program


def by_mrgrid(source: Path, operation: str, target: Path, *words: object) -> Any:
    mrgrid = shutil.which("mrgrid")
    if mrgrid is None:
        pytest.skip("mrgrid (MRtrix3) is not installed")
    subprocess.run([mrgrid, source, operation, target, *map(str, words), "-quiet"], check=True)
    return nib.as_closest_canonical(nib.load(target))


def by_medimg(source: Path, target: Path, request: Any) -> Any:
    process(Task(str(source), str(target)), Pipeline(operations=(request,)), threads=1)
    return nib.as_closest_canonical(nib.load(target))


@pytest.mark.parametrize(
    ("operation", "words", "request_"),
    [
        ("crop", "-axis 2 5,7 -axis 0 1,0", CropRequest(axis=("I", "S", "L"), by=("5", "7", "1"))),
        ("crop", "-axis 1 10:20", CropRequest(axis=("A",), keep=("10:21",))),
        ("crop", "-uniform 3", CropRequest(by=("3",))),
        ("pad", "-uniform 4 -fill 7", PadRequest(by=("4",), fill=7.0)),
        ("pad", "-axis 1 0,6 -axis 2 3,0", PadRequest(axis=("A", "I"), by=("6", "3"))),
    ],
    ids=["ends", "range", "uniform", "filled", "pad-ends"],
)
def test_a_real_image_is_that_of_mrgrid(tmp_path: Path, operation: str, words: str, request_: Any) -> None:
    """mrgrid numbers axes as they lie nearest to R, A, S."""
    theirs = by_mrgrid(EXAMPLE, operation, tmp_path / "theirs.nii", *words.split())
    ours = by_medimg(EXAMPLE, tmp_path / "ours.nii", request_)
    assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    assert np.allclose(ours.affine, theirs.affine, atol=1e-4)


def test_the_box_of_a_real_mask_is_that_of_mrgrid(tmp_path: Path) -> None:
    """mrgrid leaves a voxel around the mask unless it is told not to."""
    scan: Any = nib.load(EXAMPLE)
    data = np.asarray(scan.dataobj)
    mask = (data > np.percentile(data, 97)) & (np.indices(data.shape)[0] > 8) & (np.indices(data.shape)[2] < 18)
    nib.save(nib.Nifti1Image(mask.astype("uint8"), scan.affine), tmp_path / "mask.nii")
    for words, margin in (((), "1"), (("-uniform", 0), None)):
        theirs = by_mrgrid(EXAMPLE, "crop", tmp_path / f"t{margin}.nii", "-mask", tmp_path / "mask.nii", *words)
        request = CropRequest(to_mask=str(tmp_path / "mask.nii"), margin=margin)
        ours = by_medimg(EXAMPLE, tmp_path / f"o{margin}.nii", request)
        assert ours.shape == theirs.shape and ours.shape != data.shape
        assert np.array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
        assert np.allclose(ours.affine, theirs.affine, atol=1e-4)

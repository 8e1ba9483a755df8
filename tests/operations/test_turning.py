"""Reorienting, flipping, turning: nothing moves in the world, and nibabel agrees."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import StoredBackend
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.operations import apply
from medimg_cli.operations.flip import Flip
from medimg_cli.operations.reorient import Reorient, Turn
from tests.helpers import make, read
from tests.operations.helpers import OBLIQUE, made, numbered, places, undone
from tests.strategies import affines, codes, flat_affines


@settings(deadline=None)
@given(affine=st.one_of(affines, flat_affines), wanted=codes)
def test_reorienting_keeps_every_voxel_in_place_and_comes_back(affine: AffineMatrix, wanted: tuple[str, ...]) -> None:
    image = numbered(affine=affine)
    turned = apply(Reorient("".join(wanted)), image)
    assert places(turned, image) < 1e-6
    assert turned.header.grid == image.header.grid.reoriented(wanted)
    back = undone(turned, len(turned.header.history))
    assert back.header.grid == image.header.grid
    assert np.array_equal(read(back), read(image))


@settings(deadline=None)
@given(affine=affines, wanted=codes)
def test_reorienting_is_nibabel_s(affine: AffineMatrix, wanted: tuple[str, str, str]) -> None:
    assume(nib.aff2axcodes(affine.numpy()) == affine.orientation)  # ties are decided by the last bit
    image = numbered((1, 5, 4, 3), affine)
    theirs = nib.Nifti1Image(read(image)[0], affine.numpy(), dtype="int32")
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine.numpy()), nib.orientations.axcodes2ornt(wanted))
    theirs = theirs.as_reoriented(turn)
    ours = apply(Reorient(wanted), image)
    assert np.array_equal(read(ours)[0], np.asanyarray(theirs.dataobj))
    assert np.allclose(ours.header.affine.numpy(), theirs.affine, atol=1e-9)


@settings(deadline=None)
@given(axes=st.lists(st.integers(-3, 2), min_size=1, max_size=3), affine=affines)
def test_flipping_moves_nothing_and_comes_back(axes: list[int], affine: AffineMatrix) -> None:
    image = numbered(affine=affine)
    flipped = apply(Flip(axes), image)
    assert np.array_equal(read(flipped), np.flip(read(image), [n % 3 + 1 for n in {n % 3 for n in axes}]))
    assert places(flipped, image) < 1e-6
    back = undone(flipped, 1)
    assert back.header.grid == image.header.grid
    assert np.array_equal(read(back), read(image))


@pytest.mark.parametrize(("word", "axis"), [("L", 1), ("right", 1), ("Anterior", 0), ("p", 0), ("S", 2)])
def test_an_axis_can_be_named_by_its_direction(word: str, axis: int) -> None:
    image = numbered()
    assert read(apply(Flip(word), image)).tolist() == np.flip(read(image), axis + 1).tolist()


@pytest.mark.parametrize("kind", ["plain", "time-vector", "rgb", "scaled-time", "picture", "labels"])
@pytest.mark.parametrize("operation", [Reorient("SLA"), Flip((0, 2)), Turn(((1, 1), (0, -1), (2, -1)))])
def test_the_result_is_a_backend(kind: str, operation: object) -> None:
    image = make(kind)
    turned = made(operation, image)  # type: ignore[arg-type]
    assert turned.header.dtype == image.header.dtype
    assert turned.header.slope == image.header.slope


def test_what_changes_nothing_is_not_recorded() -> None:
    image = numbered()
    assert apply(Reorient(image.header.orientation), image) is image
    assert apply(Flip(()), image) is image


def test_a_file_stays_a_view_of_its_bytes(tmp_path: Path) -> None:
    save_backend(make("plain"), str(tmp_path / "a.nii"))
    turned = apply(Reorient("SPL"), open_backend(tmp_path / "a.nii"))
    assert isinstance(turned, StoredBackend)


def test_both_forms_and_gradients_follow() -> None:
    image = make("forms")
    turned = apply(Reorient("SPL"), image).header
    step = turned.history[-1]
    move = AffineMatrix(step["voxel_map"])
    assert turned.qform is not None
    assert turned.qform.allclose(image.header.qform @ move, 1e-12)
    assert turned.sform == turned.affine
    weighted = make("diffusion")
    back = undone(apply(Reorient("SPL"), weighted), 1).header
    assert back.gradients == weighted.header.gradients


def test_an_inverse_refuses_another_image() -> None:
    turned = apply(Flip(0), numbered())
    stranger = numbered((2, 5, 4, 3), OBLIQUE.with_origin((0, 0, 0)), history=turned.header.history)
    with pytest.raises(GeometryError, match="belongs to an image that lies"):
        undone(stranger, 1)


@pytest.mark.parametrize("axes", [3, -4, "x", "", 1.5, None, [0.5]])
def test_what_is_no_axis_is_refused(axes: object) -> None:
    with pytest.raises(GeometryError, match="axis to flip"):
        Flip(axes)


def test_what_is_no_orientation_is_refused() -> None:
    with pytest.raises(UsageError):
        Reorient("RAX")
    for order in (((0, 1), (0, 1), (2, 1)), ((0, 2), (1, 1), (2, 1)), 5):
        with pytest.raises(GeometryError):
            Turn(order)  # type: ignore[arg-type]

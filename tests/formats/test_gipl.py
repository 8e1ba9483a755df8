"""GIPL: against bytes written by hand and against SimpleITK."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, TruncatedError, UnsupportedError
from medimg_cli.formats import gipl, open_backend
from medimg_cli.formats.writing import losses, save_backend
from tests.helpers import make, read, unlike, voxels


def raw(
    sizes: tuple[int, ...] = (3, 4, 5, 1),
    code: int = 15,
    steps: tuple[float, ...] = (0.5, 1.5, 2.5, 0.0),
    origin: tuple[float, ...] = (7.0, -8.0, 9.0),
    magic: int = 0xEFFFE9B0,
    text: bytes = b"someone",
) -> bytearray:
    """Return a header of 256 bytes."""
    head = bytearray(256)
    struct.pack_into(">5H", head, 0, *sizes, code)
    struct.pack_into(">4f", head, 10, *steps)
    head[26 : 26 + len(text)] = text
    struct.pack_into(">3d", head, 204, *origin)
    struct.pack_into(">I", head, 252, magic)
    return head


@pytest.mark.parametrize("magic", [0xEFFFE9B0, 0x2AE389B8])
def test_bytes_by_hand(magic: int) -> None:
    array = voxels((1, 3, 4, 5), "int16")
    backend = open_backend(bytes(raw(magic=magic)) + array[0].astype(">i2").tobytes(order="F"), name="x.gipl")
    assert unlike(read(backend), array) is None
    header = backend.header
    assert (header.format, header.byte_order, header.description) == ("gipl", "big", "someone")
    assert header.affine.to_lps().rows[:3] == ((0.5, 0, 0, 7), (0, 1.5, 0, -8), (0, 0, 2.5, 9))


def test_axes_that_are_not_there_have_size_0() -> None:
    backend = open_backend(bytes(raw((3, 4, 0, 0), 8)) + bytes(12), name="x.gipl")
    assert backend.header.shape == (1, 3, 4, 1)


@pytest.mark.parametrize(("step", "kind"), [(0.0, "channel"), (1.0, "channel"), (2.0, "time")])
def test_the_fourth_axis(step: float, kind: str) -> None:
    header = open_backend(bytes(raw((3, 4, 5, 2), 8, (1, 1, 1, step))) + bytes(120), name="x.gipl").header
    assert header.axes == ((kind, 2),)
    assert header.time_spacing == (2.0 if kind == "time" else None)


def test_degenerate_geometry_is_replaced_and_said() -> None:
    content = raw(steps=(0.0, -2.0, float("nan"), 0.0), origin=(float("inf"), 1.0, 2.0))
    header = open_backend(bytes(content) + bytes(120), name="x.gipl").header
    assert header.spacing == (1.0, 2.0, 1.0)
    assert header.affine.to_lps().origin == (0.0, 1.0, 2.0)
    assert len(header.warnings) == 2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (bytes(raw())[:255], TruncatedError),
        (bytes(raw(magic=1)), FormatError),
        (bytes(raw(code=1)), UnsupportedError),
        (bytes(raw((0, 4, 5, 1))), FormatError),
    ],
)
def test_what_cannot_be_is_refused(content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        open_backend(content, format="gipl")


def test_voxels_cut_off() -> None:
    backend = open_backend(bytes(raw()) + bytes(119), name="x.gipl")
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


def test_what_gipl_cannot_hold_is_reported(tmp_path: Path) -> None:
    path = str(tmp_path / "x.gipl")
    assert losses(make("straight").header, path)[0].field == "affine", "RAS axes turn round"
    fields = {loss.field for loss in losses(make("scaled").header, path)}
    assert {"slope", "affine"} <= fields
    assert save_backend(make("scaled"), path)
    assert unlike(read(open_backend(path)), read(make("scaled"))) is None, "the values, not the stored numbers"
    with pytest.raises(UnsupportedError, match="no type that holds every int64 value"):
        gipl.fit(make("plain", "int64").header, path)


DTYPES = ["int8", "uint8", "int16", "uint16", "float32", "float64"]  # SimpleITK cannot read its own 32-bit integers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", [".gipl", ".gipl.gz"])
def test_simpleitk_and_medimg_read_each_other(dtype: str, suffix: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image = make("plain", dtype)
    ours, theirs = str(tmp_path / f"a{suffix}"), str(tmp_path / f"b{suffix}")
    save_backend(image, ours)
    seen = sitk.ReadImage(ours)
    assert unlike(sitk.GetArrayFromImage(seen).T[None], read(image)) is None
    header = open_backend(ours).header
    assert np.allclose(seen.GetSpacing(), header.spacing)
    assert seen.GetOrigin() == header.affine.to_lps().origin
    sitk.WriteImage(seen, theirs)
    again = open_backend(theirs)
    assert unlike(read(again), read(image)) is None
    assert again.header.affine == header.affine

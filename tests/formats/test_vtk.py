"""VTK legacy files: against text written by hand and against SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import open_backend, vtk
from medimg_cli.formats.writing import save_backend
from tests.helpers import make, one_line, read, unlike, voxels

START = "# vtk DataFile Version 3.0\na title\n{}\nDATASET STRUCTURED_POINTS\n"
GRID = "DIMENSIONS 3 4 2\nSPACING 0.5 1.5 2.5\nORIGIN 7 -8 9\n"


def text(array: str, coding: str = "BINARY", grid: str = GRID, points: str = "POINT_DATA 24\n") -> bytes:
    """Return a header up to the voxels."""
    return (START.format(coding) + grid + points + array).encode("latin-1")


def interleaved(array: np.ndarray[Any, Any], code: str) -> bytes:
    """Return (C, I, J, K) with its components fastest."""
    return array.transpose(3, 2, 1, 0).astype(code).tobytes()


def test_bytes_by_hand() -> None:
    array = voxels((1, 3, 4, 2), "int16")
    backend = open_backend(text("SCALARS s short\nLOOKUP_TABLE default\n") + interleaved(array, ">i2"), name="x.vtk")
    assert unlike(read(backend), array) is None
    assert backend.header.description == "a title"
    assert backend.header.affine.to_lps().rows[:3] == ((0.5, 0, 0, 7), (0, 1.5, 0, -8), (0, 0, 2.5, 9))


@pytest.mark.parametrize(
    ("declaration", "code", "channels", "kind"),
    [
        ("SCALARS s float 2\nLOOKUP_TABLE default\n", ">f4", 2, "channel"),
        ("scalars s unsigned_char 1\n", ">u1", 1, ""),
        ("COLOR_SCALARS c 3\n", ">u1", 3, "rgb"),
        ("VECTORS v double\n", ">f8", 3, "vector"),
        ("TENSORS t float\n", ">f4", 9, "vector"),
        ("FIELD FieldData 1\nname 2 24 int\n", ">i4", 2, "channel"),
        ("SCALARS s long 1\nLOOKUP_TABLE default\n", ">i8", 1, ""),
        ("SCALARS s vtktypeuint64 1\nLOOKUP_TABLE default\n", ">u8", 1, ""),
    ],
)
def test_arrays_of_every_kind(declaration: str, code: str, channels: int, kind: str) -> None:
    array = voxels((channels, 3, 4, 2), np.dtype(code).name)
    backend = open_backend(text(declaration) + interleaved(array, code), name="x.vtk")
    assert unlike(read(backend), array) is None
    assert backend.header.axes == (((kind, channels),) if kind else ())


def test_a_long_of_windows_has_4_bytes() -> None:
    array = voxels((1, 3, 4, 2), "int32")
    backend = open_backend(text("SCALARS s long\nLOOKUP_TABLE default\n") + interleaved(array, ">i4"), name="x.vtk")
    assert backend.header.dtype == "int32"
    assert unlike(read(backend), array) is None


def test_bits() -> None:
    array = voxels((1, 3, 4, 2), "bool")
    packed = np.packbits(array.ravel(order="F")).tobytes()
    content = text("SCALARS s bit\nLOOKUP_TABLE default\n") + packed
    assert unlike(read(open_backend(content, name="x.vtk")), array) is None


@pytest.mark.parametrize("tail", ["", "\nMETADATA\nINFORMATION 0\n\n"])
def test_numbers_as_text(tail: str) -> None:
    array = np.arange(24, dtype="f4").reshape(1, 2, 4, 3).transpose(0, 3, 2, 1) / 8 - 1
    numbers = " ".join(map(str, array.ravel(order="F")))
    content = text("SCALARS s float 1\nLOOKUP_TABLE default\n", "ASCII") + (numbers + "\n" + tail).encode()
    assert unlike(read(open_backend(content, name="x.vtk")), array.astype("f4")) is None


def test_what_stands_before_the_image_is_skipped() -> None:
    array = voxels((1, 3, 4, 2), "uint8")
    grid = "METADATA\nINFORMATION 0\n\nFIELD FieldData 2\na 1 2 double\n{}\nb 1 3 char\nabc\n" + GRID
    content = text("SCALARS s unsigned_char\nLOOKUP_TABLE default\n", grid=grid.format("\x00" * 16))
    assert unlike(read(open_backend(content + interleaved(array, "u1"), name="x.vtk")), array) is None


def test_aspect_ratio_is_the_old_name_of_spacing() -> None:
    content = text("SCALARS s char\n", grid="DIMENSIONS 3 4 2\nASPECT_RATIO 1 2 3\n") + bytes(24)
    assert open_backend(content, name="x.vtk").header.spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (START.format("BINARY").replace("STRUCTURED_POINTS", "POLYDATA").encode() + b"POINTS 3\n", UnsupportedError),
        (START.format("HEX").encode(), FormatError),
        (text("SCALARS s short\n", points="POINT_DATA 23\n"), FormatError),
        (text("SCALARS s short\n", points="CELL_DATA 24\n"), UnsupportedError),
        (text("SCALARS s complex\n"), UnsupportedError),
        (text("SCALARS s short 0\n"), FormatError),
        (text("SCALARS s short\n", grid="SPACING 1 1 1\n"), FormatError),
        (text("SCALARS s short\n", grid="DIMENSIONS 3 -4 2\n"), FormatError),
        (text("SCALARS s short\n", grid=f"DIMENSIONS {'9' * 30} 1 1\n", points="POINT_DATA 99\n"), FormatError),
        (text("SCALARS s short 999999999999999999\n"), FormatError),
        (text("")[:90], TruncatedError),
        (text("NORMALS\n"), UnsupportedError),
    ],
)
def test_what_cannot_be_is_refused(content: bytes, error: type[MedImgError]) -> None:
    with pytest.raises(error) as caught:
        open_backend(content, name="x.vtk")
    assert one_line(caught.value)


def test_voxels_cut_off() -> None:
    backend = open_backend(text("SCALARS s short\nLOOKUP_TABLE default\n") + bytes(47), name="x.vtk")
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        backend.read((range(1), range(3), range(4), range(1, 2)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32"])
def test_simpleitk_and_medimg_read_each_other(dtype: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image = make("plain", dtype)
    ours, theirs = str(tmp_path / "a.vtk"), str(tmp_path / "b.vtk")
    save_backend(image, ours)
    seen = sitk.ReadImage(ours)
    assert unlike(sitk.GetArrayFromImage(seen).T[None], read(image)) is None
    header = open_backend(ours).header
    assert np.allclose(seen.GetSpacing(), header.spacing)
    assert np.allclose(seen.GetOrigin(), header.affine.to_lps().origin)
    sitk.WriteImage(seen, theirs)
    assert unlike(read(open_backend(theirs)), read(image)) is None


@pytest.mark.parametrize("kind", ["rgb", "rgba", "vector", "channels", "time"])
def test_simpleitk_sees_components(kind: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image, path = make(kind), str(tmp_path / "x.vtk")
    save_backend(image, path)
    assert unlike(sitk.GetArrayFromImage(sitk.ReadImage(path)).transpose(3, 2, 1, 0), read(image)) is None


def test_a_title_of_a_writer_is_no_description() -> None:
    header = make("plain").header.replace(description="vtk output of mine")
    assert vtk.fit(header, "x.vtk").description == ""
    assert vtk.fit(header.replace(description="a\nb\x1b[31m"), "x.vtk").description == "a b[31m"

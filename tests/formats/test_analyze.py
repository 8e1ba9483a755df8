"""Analyze 7.5, read only: what nibabel writes is read; no orientation is made up."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend, read_header
from medimg_cli.formats.writing import save_backend
from tests.helpers import SHAPE, make, read, unlike, voxels

nibabel = pytest.importorskip("nibabel")

Array = np.ndarray[Any, Any]
DTYPES = ("uint8", "int16", "int32", "float32", "float64", "complex64")


def analyze(array: Array, path: Path, *, big: bool = False, **fields: Any) -> Path:
    """Write a pair with nibabel; fields are set in its header as they are."""
    header = nibabel.analyze.AnalyzeHeader(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    image = nibabel.analyze.AnalyzeImage(array, None, header)
    image.header["pixdim"][1:4] = 0.9, 1.25, 3.0
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, code: str, *values: Any) -> Path:
    """Change bytes of a header file."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + code, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("name", ["x.hdr", "x.img"])
def test_every_datatype_in_both_byte_orders(dtype: str, big: bool, name: str, tmp_path: Path) -> None:
    array = voxels((*SHAPE, 2), dtype)
    analyze(array, tmp_path / "x.img", big=big)
    backend = open_backend(tmp_path / name)
    header = backend.header
    assert (header.format, header.dtype, header.byte_order) == ("analyze", dtype, "big" if big else "little")
    assert header.shape == (2, *SHAPE)
    assert unlike(read(backend), array.transpose(3, 0, 1, 2)) is None
    assert header.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_no_orientation_is_made_up(tmp_path: Path) -> None:
    """nifti1.h (method 1): voxel sizes alone, origin 0; and it is said that orientation is unknown."""
    analyze(voxels(SHAPE, "int16"), tmp_path / "x.img")
    header = read_header(tmp_path / "x.hdr")
    assert header.affine.spacing == pytest.approx((0.9, 1.25, 3.0))
    assert header.affine.origin == (0.0, 0.0, 0.0)
    assert header.orientation == ("R", "A", "S")
    assert (header.affine_source, header.sform, header.qform) == ("pixdim", None, None)
    assert any("orientation is unknown" in warning for warning in header.warnings)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_two_and_more_axes(rank: int, tmp_path: Path) -> None:
    shape = (4, 3, 2, 3, 2)[:rank]
    array = voxels(shape, "int16")
    analyze(array, tmp_path / "x.img")
    backend = open_backend(tmp_path / "x.hdr")
    assert backend.header.ndim == min(rank, 3)
    full = array.reshape(*(*shape, 1)[:3], -1, order="F") if rank > 3 else array.reshape(*(*shape, 1)[:3], 1)
    assert unlike(read(backend), full.transpose(3, 0, 1, 2)) is None


@pytest.mark.parametrize(("step", "kind"), [(0.0, "channel"), (1.0, "channel"), (2.5, "time"), (-2.0, "channel")])
def test_the_fourth_axis_is_time_where_it_has_a_step(step: float, kind: str, tmp_path: Path) -> None:
    analyze(voxels((*SHAPE, 4), "int16"), tmp_path / "x.img")
    header = read_header(patched(tmp_path / "x.hdr", 76 + 16, "f", step))
    assert header.axes == ((kind, 4),)
    assert header.time_spacing == (step if kind == "time" else None)


def test_colours(tmp_path: Path) -> None:
    """DT_RGB: three bytes a voxel."""
    array = voxels((*SHAPE, 3), "uint8")
    analyze(voxels(SHAPE, "uint8"), tmp_path / "x.img")
    patched(tmp_path / "x.hdr", 70, "2h", 128, 24)
    (tmp_path / "x.img").write_bytes(np.ascontiguousarray(array.transpose(2, 1, 0, 3)).tobytes())
    backend = open_backend(tmp_path / "x.hdr")
    assert backend.header.axes == (("rgb", 3),)
    assert unlike(read(backend), array.transpose(3, 0, 1, 2)) is None


@pytest.mark.parametrize("offset", [0.0, 100.0, -100.0])
def test_voxels_lie_where_vox_offset_says(offset: float, tmp_path: Path) -> None:
    """A negative offset holds for every volume in some programs; for one volume it is the same."""
    array = voxels(SHAPE, "int16")
    analyze(array, tmp_path / "x.img")
    patched(tmp_path / "x.hdr", 108, "f", offset)
    content = (tmp_path / "x.img").read_bytes()
    (tmp_path / "x.img").write_bytes(bytes(int(abs(offset))) + content)
    assert unlike(read(open_backend(tmp_path / "x.img"))[0], array) is None


def test_compressed_pairs(tmp_path: Path) -> None:
    array = voxels(SHAPE, "int16")
    analyze(array, tmp_path / "x.img")
    for name in ("x.img", "x.hdr"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    for name in ("x.img.gz", "x.hdr.gz"):
        assert unlike(read(open_backend(tmp_path / name))[0], array) is None


@pytest.mark.parametrize("offset_and_value", [
    (40, "8h", 0, 5, 4, 3, 1, 1, 1, 1), (40, "8h", 8, 5, 4, 3, 1, 1, 1, 1), (40, "8h", 3, 5, -4, 3, 1, 1, 1, 1),
    (40, "8h", 3, 0, 4, 3, 1, 1, 1, 1), (70, "h", 1), (70, "h", 256), (70, "h", -1), (108, "f", float("nan")), (108, "f", 1e30),
])  # fmt: skip
def test_impossible_headers_are_refused(offset_and_value: Any, tmp_path: Path) -> None:
    offset, code, *values = offset_and_value
    analyze(voxels(SHAPE, "int16"), tmp_path / "x.img")
    patched(tmp_path / "x.hdr", offset, code, *values)
    with pytest.raises((FormatError, UnsupportedError)) as error:
        open_backend(tmp_path / "x.hdr")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("sizes", [(0.0, 1.0, 1.0), (-2.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_voxel_sizes_that_are_none(sizes: tuple[float, ...], tmp_path: Path) -> None:
    analyze(voxels(SHAPE, "int16"), tmp_path / "x.img")
    header = read_header(patched(tmp_path / "x.hdr", 80, "3f", *sizes))
    assert all(size > 0 for size in header.affine.spacing)
    assert any("voxel size" in warning for warning in header.warnings)


def test_short_headers_are_refused(tmp_path: Path) -> None:
    analyze(voxels(SHAPE, "int16"), tmp_path / "x.img")
    content = (tmp_path / "x.hdr").read_bytes()
    for length in (*range(0, 348, 11), 347):
        (tmp_path / "x.hdr").write_bytes(content[:length])
        with pytest.raises(FormatError):
            open_backend(tmp_path / "x.hdr")


def test_missing_and_short_voxels(tmp_path: Path) -> None:
    analyze(voxels(SHAPE, "int16"), tmp_path / "x.img")
    content = (tmp_path / "x.img").read_bytes()
    (tmp_path / "x.img").write_bytes(content[:-1])
    backend = open_backend(tmp_path / "x.hdr")
    assert any("truncated" in warning for warning in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)
    (tmp_path / "x.img").unlink()
    backend = open_backend(tmp_path / "x.hdr")
    assert any("x.img" in warning for warning in backend.header.warnings)
    with pytest.raises(FormatError):
        read(backend)


def test_voxels_without_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(bytes(120))
    with pytest.raises(MedImgError, match="x.hdr"):
        open_backend(tmp_path / "x.img")


def test_a_nifti_header_is_no_analyze_header(tmp_path: Path) -> None:
    """They share sizeof_hdr; the magic tells them apart."""
    nibabel.save(nibabel.Nifti1Pair(voxels(SHAPE, "int16"), np.eye(4)), tmp_path / "x.img")
    assert read_header(tmp_path / "x.hdr").format == "nifti1"
    assert read_header(tmp_path / "x.hdr", format="analyze").format == "nifti1"


def test_it_is_not_written(tmp_path: Path) -> None:
    """A pair is written as NIfTI, which keeps orientation; whoever asks for Analyze by name hears why not."""
    save_backend(make("plain"), str(tmp_path / "x.hdr"))
    assert read_header(tmp_path / "x.hdr").format == "nifti1"
    with pytest.raises(UsageError):
        save_backend(make("plain"), str(tmp_path / "x.analyze"))


def test_a_copy_as_nifti_says_what_it_knows(tmp_path: Path) -> None:
    """Orientation stays unknown: no form is invented."""
    array = voxels((*SHAPE, 2), "int16")
    analyze(array, tmp_path / "x.img", descrip=b"a scan")
    backend = open_backend(tmp_path / "x.hdr")
    assert backend.header.description == "a scan"
    save_backend(backend, str(tmp_path / "y.nii"))
    theirs = nibabel.load(tmp_path / "y.nii")
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), array)
    assert theirs.header.get_zooms()[:3] == pytest.approx((0.9, 1.25, 3.0))
    assert read_header(tmp_path / "y.nii").affine.allclose(backend.header.affine)


def test_the_header_that_nibabel_ships() -> None:
    source = Path(nibabel.__file__).parent / "tests" / "data" / "analyze.hdr"
    if not source.exists():
        pytest.skip("nibabel has no analyze.hdr here")
    header = read_header(source)
    assert header.format == "analyze"
    assert header.warnings

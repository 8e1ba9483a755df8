"""What is this file? Content decides, the suffix breaks ties, a mismatch is a warning."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from medimg_cli.errors import (
    FormatError,
    MedImgError,
    MissingExtraError,
    NotFoundError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats import (
    FORMATS,
    Format,
    codec_module,
    find_format,
    format_for_output,
    open_backend,
    read_header,
    split_suffix,
)
from medimg_cli.formats.writing import output_compression, save_backend
from tests.helpers import make, read, unlike

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path, name: str) -> Path:
    try:
        save_backend(make("plain"), str(folder / name))
    except MissingExtraError as error:
        pytest.skip(str(error))
    return folder / name


# the table


def test_names_and_suffixes_are_well_formed() -> None:
    names = [row.name for row in FORMATS]
    assert len(set(names)) == len(names)
    for row in FORMATS:
        assert row.name == row.name.lower() and row.title and row.suffixes
        assert all(s.startswith(".") and s == s.lower() for s in row.suffixes)
        assert bool(row.module) != bool(row.planned)
        assert not (row.planned and (row.reads or row.writes))
        assert row.reads or row.planned
        assert find_format(row.name) is row


@pytest.mark.parametrize("row", [row for row in FORMATS if row.module], ids=lambda row: row.name)
def test_modules_have_what_their_row_promises(row: Format) -> None:
    assert find_spec(row.module) is not None
    try:
        module = codec_module(row)
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert callable(module.open)
    if row.writes:
        assert callable(module.fit)
        assert any(callable(getattr(module, name, None)) for name in ("encode", "write_file", "write_folder"))


@pytest.mark.parametrize("row", [row for row in FORMATS if row.planned], ids=lambda row: row.name)
def test_what_cannot_be_read_yet_says_so(row: Format, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        codec_module(row)
    assert str(error.value) == row.planned
    path = tmp_path / f"x{row.suffixes[0]}"
    path.write_bytes(b"anything at all " * 20)
    with pytest.raises(MedImgError):
        open_backend(path)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UsageError, match="no format 'nifty'"):
        find_format("nifty")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Format("x", "X files", (".x",), "medimg_cli.formats.no_such_module", extra="minc")
    with pytest.raises(MissingExtraError, match=r"X files needs .*pip install 'medimg-cli\[minc\]'"):
        codec_module(row)


# names


@pytest.mark.parametrize(("name", "parts"), [
    ("x.nii", ("x", ".nii", None)), ("x.nii.gz", ("x", ".nii", "gzip")), ("a.b/x.y.NII.BZ2", ("a.b/x.y", ".nii", "bzip2")),
    ("x.nii.zst", ("x", ".nii", "zstd")), ("x", ("x", "", None)), ("a.b/x", ("a.b/x", "", None)), ("x.gz", ("x", "", "gzip")),
    (".nii", ("", ".nii", None)), ("x.", ("x", ".", None)), ("/", ("/", "", None)), ("x.mgz", ("x", ".mgz", None)),
    ("x.tar.gz.nrrd", ("x.tar.gz", ".nrrd", None)),
])  # fmt: skip
def test_names_are_split(name: str, parts: tuple[str, str, str | None]) -> None:
    assert split_suffix(name) == parts


@pytest.mark.parametrize("row", [row for row in FORMATS if row.writes], ids=lambda row: row.name)
def test_each_suffix_has_a_writer(row: Format) -> None:
    for suffix in row.suffixes:
        for name in (f"x{suffix}", f"a.b/x.y{suffix.upper()}"):
            found = format_for_output(name)
            assert found.writes and suffix in found.suffixes
        if row.compressed:
            assert suffix in format_for_output(f"x{suffix}.gz").suffixes


@pytest.mark.parametrize(("name", "message"), [
    ("x.xyz", "no format is written to files with .xyz"), ("x", "no suffix"), ("x.nrrd.gz", "compressed"), ("x.mnc", "read only"),
    ("x.dcm", "read only"), ("x.zarr.gz", "compressed"), ("x.gz", "no suffix"), ("x.npy.bz2", "compressed"), ("", "no suffix"),
])  # fmt: skip
def test_names_that_nobody_writes(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        format_for_output(name)


@pytest.mark.parametrize(("name", "compression"), [
    ("x.nii", None), ("x.nii.gz", "gzip"), ("x.mgz", "gzip"), ("x.mgh", None), ("x.nii.bz2", "bzip2"), ("x.mif.gz", "gzip"),
])  # fmt: skip
def test_the_name_asks_for_compression(name: str, compression: str | None) -> None:
    assert output_compression(name) == compression


# content decides


STRONG = [
    "x.nii",
    "x.nii.gz",
    "x.nrrd",
    "x.mha",
    "x.mif",
    "x.npy",
    "x.npz",
    "x.gipl",
    "x.vtk",
    "x.tif",
    "x.hdf5",
]


@pytest.mark.parametrize("name", STRONG)
def test_content_wins_over_no_suffix_and_a_wrong_one(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    expected = read_header(path)
    for other in ("x", "x.png", "x.dat", "x.mnc"):
        moved = path.rename(tmp_path / other)
        header = read_header(moved)
        assert (header.format, header.shape, header.dtype) == (
            expected.format,
            expected.shape,
            expected.dtype,
        )
        told = [w for w in header.warnings if "says otherwise" in w]
        assert bool(told) == ("." in other)
        moved.rename(path)


@pytest.mark.parametrize("name", STRONG)
def test_bytes_need_no_name(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, name)
    backend = open_backend(path.read_bytes())
    assert unlike(read(backend), read(open_backend(path))) is None


def test_a_named_format_decides(tmp_path: Path) -> None:
    path = written(tmp_path, "x.nii")
    assert read_header(path, format="nifti1").format == "nifti1"
    with pytest.raises(FormatError):
        read_header(path, format="nrrd")
    with pytest.raises(UsageError, match="no format"):
        read_header(path, format="nothing")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compression_is_seen_in_the_content(pack: object, tmp_path: Path) -> None:
    """Whatever the name says; and the name is told where it is wrong."""
    plain = written(tmp_path, "x.nii").read_bytes()
    assert callable(pack)
    path = tmp_path / "y.nii"
    path.write_bytes(pack(plain))
    header = read_header(path)
    assert header.compression == ("gzip" if pack is gzip.compress else "bzip2")
    assert any("compressed" in warning for warning in header.warnings)
    path = tmp_path / "y.nii.gz"
    path.write_bytes(plain)
    header = read_header(path)
    assert header.compression is None
    assert any("the name says gzip" in warning for warning in header.warnings)


def test_compressed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(gzip.compress(written(tmp_path, "x.nii").read_bytes())))
    with pytest.raises(FormatError, match="compressed twice"):
        open_backend(path)


@pytest.mark.parametrize("content", [
    b"", b"\0", b"x", b"<html><body>404 Not Found</body></html>", bytes(1000), b"\xff" * 1000, "text \u00fc\n".encode() * 100,
    b"\x7fELF" + bytes(400), b"%PDF-1.7\n" + bytes(400), b"\x80\x04\x95", b"MZ" + bytes(300),
])  # fmt: skip
@pytest.mark.parametrize(
    "suffix", ["", ".nii", ".nii.gz", ".dat", *dict.fromkeys(s for row in FORMATS for s in row.suffixes)]
)
def test_what_is_no_image_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(MedImgError) as error:
        read(open_backend(path))
    assert len(str(error.value).splitlines()) == 1
    assert str(path) in str(error.value) or isinstance(error.value, MissingExtraError)


@pytest.mark.parametrize("content", [b"", b"text, not gzip", b"\x1f\x8b", b"\x1f\x8b\x08\0garbage garbage garbage"])
def test_what_is_no_gzip_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.nii\.gz"):
        open_backend(path)


def test_gzip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip.compress(b"some text " * 100))
    with pytest.raises(FormatError):
        open_backend(path)


# sources


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Mistake 9 of other tools: a missing file exits 0."""
    for name in ("x.nii", "no/x.nii.gz"):
        with pytest.raises(NotFoundError, match="no such file"):
            open_backend(tmp_path / name)


def test_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="folder"):
        open_backend(tmp_path)
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(FormatError, match="no Zarr store"):
        open_backend(tmp_path / "x.zarr")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".zattrs").write_bytes(b"{}")
    with pytest.raises(FormatError, match="no Zarr store"):
        open_backend(tmp_path / "store")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "a").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(FormatError, match="DICOM"):
        open_backend(tmp_path / "series")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "pipe")
    with pytest.raises(UnsupportedError):
        open_backend(tmp_path / "pipes")


def test_devices_are_refused() -> None:
    for name in ("/dev/null", "/dev/zero"):
        with pytest.raises(StorageError):
            open_backend(name)


def test_a_dicom_file_is_recognised(tmp_path: Path) -> None:
    for name in ("x.dcm", "x", "x.nii"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(100))
        with pytest.raises(FormatError, match="DICOM"):
            open_backend(tmp_path / name)


def test_pipes_are_images(tmp_path: Path) -> None:
    content = written(tmp_path, "x.nii.gz").read_bytes()
    os.mkfifo(tmp_path / "pipe.nii.gz")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.nii.gz").write_bytes(content))
    writer.start()
    backend = open_backend(tmp_path / "pipe.nii.gz")
    writer.join()
    assert unlike(read(backend), make("plain").array) is None


def test_messages_name_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"n" * 400)
    with pytest.raises(FormatError) as error:
        open_backend(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).count(str(path)) == 1


# start-up


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr", "x.nrrd", "x.nhdr", "x.mha", "x.mhd", "x.mgz", "x.mif"])
def test_a_header_needs_no_slow_library(name: str, tmp_path: Path) -> None:
    """Import cost is a design rule: `info` on the everyday formats is instant."""
    path = written(tmp_path, name)
    code = (
        "import sys; from medimg_cli.formats import read_header; read_header(sys.argv[1]); "
        "slow = {'numpy', 'torch', 'nibabel', 'SimpleITK', 'pydicom', 'PIL', 'rich', 'asyncio', 'importlib.metadata'}; "
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"

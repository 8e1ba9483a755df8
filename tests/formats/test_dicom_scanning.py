"""Where DICOM files are found: folders of folders, a DICOMDIR, zip and tar."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.errors import (
    FormatError,
    MedImgError,
    StorageError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.archives import scan_archive
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.source import PathSource
from medimg_cli.storage.stored import whole
from tests.formats.dicom_files import dataset, save, write_series
from tests.formats.test_dicom import OBLIQUE, SHAPE, numbers

PACKED = ("x.zip", "stored.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.bz2", "x.tar.xz", "x.txz")


def tree(folder: Path) -> np.ndarray:
    """Write one series over three folders, names in no order, without suffixes; something else beside it."""
    write_series(folder / "flat", numbers(), OBLIQUE)
    for n, file in enumerate(sorted((folder / "flat").iterdir())):
        place = folder / "study" / f"S{n % 3}"
        place.mkdir(parents=True, exist_ok=True)
        file.rename(place / f"{97 * n % 7}")
    (folder / "flat").rmdir()
    (folder / "study" / "notes.txt").write_text("no image")
    (folder / "study" / ".hidden").write_bytes(bytes(300))
    return numbers()


def pack(folder: Path, target: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if target.suffix == ".zip":
        method = zipfile.ZIP_STORED if target.stem == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(target, "w", method) as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
        return target
    kind = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz", ".txz": "xz"}.get(target.suffix, "")
    with tarfile.open(target, f"w:{kind}") as archive:
        for file in files:
            archive.add(file, str(file.relative_to(folder)))
    return target


def test_a_tree_is_one_source(tmp_path: Path) -> None:
    expected = tree(tmp_path)
    backend = open_backend(tmp_path / "study")
    assert np.array_equal(backend.read(whole(backend.header.shape), raw=True)[0], expected)
    assert any("1 of its files is no DICOM file" in warning for warning in backend.header.warnings)


@pytest.mark.parametrize("name", PACKED)
def test_an_archive_is_a_folder(name: str, tmp_path: Path) -> None:
    expected = tree(tmp_path)
    folder = open_backend(tmp_path / "study")
    packed = open_backend(pack(tmp_path / "study", tmp_path / name))
    assert packed.header.affine == folder.header.affine
    assert packed.header.metadata == folder.header.metadata
    assert not [warning for warning in packed.header.warnings if "suffix" in warning or "compress" in warning]
    assert np.array_equal(packed.read(whole(packed.header.shape), raw=True)[0], expected)
    part = packed.read((range(1), range(1, 3), range(2, 0, -1), range(3, 5)), raw=True)
    assert np.array_equal(part[0], expected[1:3, 2:0:-1, 3:5])


@pytest.mark.parametrize("name", PACKED)
def test_a_damaged_archive_is_refused(name: str, tmp_path: Path) -> None:
    tree(tmp_path)
    target = pack(tmp_path / "study", tmp_path / name)
    target.write_bytes(target.read_bytes()[: target.stat().st_size * 2 // 3])
    with pytest.raises(MedImgError):
        backend = open_backend(target)
        backend.read(whole(backend.header.shape))


@pytest.mark.parametrize("damage", ["cut", "cut in a header", "changed"])
def test_a_tar_that_ends_too_early(damage: str, tmp_path: Path) -> None:
    write_series(tmp_path / "x", numbers(), OBLIQUE)
    target = pack(tmp_path / "x", tmp_path / "x.tar")
    with tarfile.open(target) as archive:
        last = archive.getmembers()[-1].offset
    content = bytearray(target.read_bytes())
    content[last] ^= 1
    target.write_bytes(content if damage == "changed" else content[: last + 100 * (damage != "cut")])
    with pytest.raises(FormatError, match=f"(cut off|damaged) behind {SHAPE[2] - 1} members"):
        open_backend(target)


@pytest.mark.parametrize("packed", ["", "x.tar", "x.zip"])
@pytest.mark.parametrize("part", [0, 100, 400])
def test_a_slice_that_is_cut_off_in_its_header(part: int, packed: str, tmp_path: Path) -> None:
    files = write_series(tmp_path / "x", numbers(), OBLIQUE)
    files[-1].write_bytes(files[-1].read_bytes()[:part])
    files[-1].rename(files[-1].with_suffix(".DCM"))
    with pytest.raises(FormatError, match=f"{files[-1].name}.*cut off"):
        open_backend(pack(tmp_path / "x", tmp_path / packed) if packed else tmp_path / "x")


def test_a_slice_without_rows(tmp_path: Path) -> None:
    files = write_series(tmp_path / "x", numbers(), OBLIQUE)
    content = files[-1].read_bytes()
    files[-1].write_bytes(content[: content.index(b"\x28\0\x10\0US")])
    with pytest.raises(FormatError, match=f"{files[-1].name}: is a DICOM MR Image without Rows .*cut off"):
        open_backend(tmp_path / "x")


def test_a_slice_with_a_damaged_header(tmp_path: Path) -> None:
    files = write_series(tmp_path / "x", numbers(), OBLIQUE)
    content = bytearray(files[-1].read_bytes())
    content[content.index(b"UI", content.index(b"\x08\0\x16\0"))] = 0
    files[-1].write_bytes(content)
    with pytest.raises(FormatError, match=files[-1].name):
        open_backend(tmp_path / "x")


def test_an_archive_without_images(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("no image")
    with pytest.raises(UnsupportedError, match="holds no DICOM file"):
        open_backend(pack(tmp_path / "x", tmp_path / "x.zip"))


def test_a_bomb_of_a_tar(tmp_path: Path) -> None:
    """16 MiB of zeros are one deflate block of some kB; the same one many times over is a stream of many GB."""
    member = tarfile.TarInfo("zeros")
    member.size = 5 << 28
    packer = zlib.compressobj(9, wbits=-15)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    head = zlib.compressobj(9, wbits=-15)
    with (tmp_path / "x.tar.gz").open("wb") as file:
        file.write(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
        file.write(head.compress(member.tobuf()) + head.flush(zlib.Z_FULL_FLUSH))
        file.write(zeros * (5 << 4))
        file.write(head.flush())
    with pytest.raises(FormatError, match="could be a bomb"):
        open_backend(tmp_path / "x.tar.gz")


def test_members_are_never_unpacked_by_name(tmp_path: Path) -> None:
    content = io.BytesIO()
    dataset(numbers("int16", (5, 4))).save_as(content, enforce_file_format=True)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("../../outside.dcm", content.getvalue())
    assert len(scan_archive(PathSource(str(tmp_path / "x.zip"))).files) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]
    assert not (tmp_path.parent.parent / "outside.dcm").exists()


# a DICOMDIR


def directory(folder: Path, *names: str) -> Path:
    """Write a DICOMDIR with one record for each file."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    made.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name.split("/")
        records.append(record)
    made.DirectoryRecordSequence = Sequence(records)
    made.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_directory_names_its_files(tmp_path: Path) -> None:
    expected = tree(tmp_path)
    study = tmp_path / "study"
    write_series(study / "other", numbers(shape=(4, 3, 2)), OBLIQUE, SeriesInstanceUID="1.2.3")
    names = sorted(str(path.relative_to(study)) for path in study.glob("S*/*"))
    found = open_backend(directory(study, *names, "S0/GONE"))
    assert found.header.shape == (1, *SHAPE)
    assert np.array_equal(found.read(whole(found.header.shape), raw=True)[0], expected)
    assert any("1 of the files that the DICOMDIR names are missing" in warning for warning in found.header.warnings)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("name", ["../secret.dcm", "a/../../secret.dcm", "/etc/passwd", "link/secret.dcm"])
def test_a_directory_names_nothing_outside(name: str, tmp_path: Path) -> None:
    save(dataset(numbers("int16", (5, 4))), tmp_path / "secret.dcm")
    (tmp_path / "disc").mkdir()
    (tmp_path / "disc" / "link").symlink_to(tmp_path)
    with pytest.raises(FormatError, match="outside of its folder"):
        open_backend(directory(tmp_path / "disc", name))


@pytest.mark.parametrize("open_end", [False, True])
def test_a_directory_that_is_cut_off(open_end: bool, tmp_path: Path) -> None:
    from pydicom import dcmread

    study = tmp_path / "study"
    files = write_series(study, numbers(), OBLIQUE)
    path = directory(study, *(file.name for file in files))
    made = dcmread(path)
    made["DirectoryRecordSequence"].is_undefined_length = open_end
    made.save_as(path, enforce_file_format=True)
    assert open_backend(path).header.shape == (1, *SHAPE)
    content = path.read_bytes()
    for lost in (9, 60, 150):
        path.write_bytes(content[:-lost])
        with pytest.raises(FormatError, match="DICOMDIR is cut off|No tag to read"):
            open_backend(path)


# what is not looked into


def test_a_link_to_a_folder_is_said(tmp_path: Path) -> None:
    write_series(tmp_path / "elsewhere", numbers(), OBLIQUE, SeriesInstanceUID="1.2.3")
    write_series(tmp_path / "x", numbers(), OBLIQUE)
    (tmp_path / "x" / "loop").symlink_to(tmp_path / "x")
    (tmp_path / "x" / "link").symlink_to(tmp_path / "elsewhere")
    header = open_backend(tmp_path / "x").header
    assert header.shape == (1, *SHAPE)
    assert any("2 of its files are no DICOM files" in warning for warning in header.warnings)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser opens every folder")
def test_a_folder_that_does_not_open(tmp_path: Path) -> None:
    write_series(tmp_path / "x", numbers(), OBLIQUE)
    (tmp_path / "x" / "closed").mkdir(mode=0)
    with pytest.raises(StorageError, match="closed: permission denied"):
        open_backend(tmp_path / "x")


# what is broken


@pytest.mark.parametrize("beside", [True, False])
def test_a_broken_file_may_be_a_slice_of_its_neighbours(beside: bool, tmp_path: Path) -> None:
    write_series(tmp_path / "a", numbers(), OBLIQUE)
    place = tmp_path / ("a" if beside else "b") / "broken.dcm"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(bytes(128) + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff")
    if beside:
        with pytest.raises(MedImgError, match=r"broken\.dcm"):
            open_backend(tmp_path)
    else:
        assert any("1 of its files cannot be read" in text for text in open_backend(tmp_path).header.warnings)


def choose(word: str) -> Callable[[Path], tuple[int, ...]]:
    return lambda path: open_backend(path, reading=Reading(series=word)).header.shape


@pytest.mark.parametrize("packed", [False, True])
def test_a_series_is_chosen(packed: bool, tmp_path: Path) -> None:
    write_series(tmp_path / "x" / "a", numbers(), OBLIQUE)
    write_series(tmp_path / "x" / "b", numbers(shape=(4, 3, 2)), OBLIQUE, SeriesInstanceUID="1.2.3",
                 SeriesNumber=12, SeriesDescription="T2 star")  # fmt: skip
    path = pack(tmp_path / "x", tmp_path / "x.zip") if packed else tmp_path / "x"
    for word in ("12", "@2", "1.2.3", "T2*", "t2 star"):
        assert choose(word)(path) == (1, 4, 3, 2), word
    assert choose("3")(path) == (1, *SHAPE)
    with pytest.raises(UnsupportedError, match=r"2 series: @1 3 .*@2 12 T2 star"):
        open_backend(path)
    with pytest.raises(UsageError, match="no series '7'"):
        choose("7")(path)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "Modality"])
@pytest.mark.parametrize("step", [0, SHAPE[2]])
def test_one_uid_in_two_studies(keyword: str, step: int, tmp_path: Path) -> None:
    values = {"StudyInstanceUID": ("1.2.3", "1.2.4"), "Modality": ("CT", "MR")}[keyword]
    moved = OBLIQUE.with_origin(OBLIQUE.apply((0, 0, step)))
    for number, value in enumerate(values):
        where = moved if number else OBLIQUE
        write_series(tmp_path / value, numbers() + number, where, AcquisitionNumber=number, **{keyword: value})
    shapes = [one.stack and len(one.stack.volumes) * len(one.stack.volumes[0]) for one in mi.list_series(tmp_path)]
    assert shapes == [SHAPE[2], SHAPE[2]]
    with pytest.raises(UnsupportedError, match="2 series"):
        open_backend(tmp_path)


# from Python


def test_images_of_a_list(tmp_path: Path) -> None:
    write_series(tmp_path / "x" / "a", numbers(), OBLIQUE)
    write_series(tmp_path / "x" / "b", numbers(shape=(4, 3, 2)), OBLIQUE, SeriesInstanceUID="1.2.3",
                 SeriesNumber=12, SeriesDescription="T2 star")  # fmt: skip
    for path in (tmp_path / "x", pack(tmp_path / "x", tmp_path / "x.tgz")):
        listed = mi.list_series(path)
        assert [(one.rank, one.number, one.description) for one in listed] == [
            (1, 3, "T1 of a phantom"),
            (2, 12, "T2 star"),
        ]
        images = [mi.Image(one) for one in listed]
        assert [image.shape for image in images] == [(1, *SHAPE), (1, 4, 3, 2)]
        assert np.array_equal(images[0].numpy()[0], numbers())
        chosen = mi.ScalarImage(path, reader_kwargs={"series": 12})
        assert chosen.affine == images[1].affine
    with pytest.raises(TypeError, match="not colour"):
        mi.Image(tmp_path / "x", reader_kwargs={"colour": 1})
    with pytest.raises(TypeError, match="without a reader, for array"):
        mi.Image(np.zeros((1, 2, 3, 4)), reader_kwargs={"series": 1})

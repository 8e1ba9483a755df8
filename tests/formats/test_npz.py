"""NumPy archives: all facts come back, NumPy reads them, foreign ones are understood, bombs stay small."""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, MedImgError, UnsupportedError
from medimg_cli.formats import npz, open_backend
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.formats.zipped import ZipWriter, list_members
from medimg_cli.header import Header, differences
from medimg_cli.storage.source import MemorySource
from tests.helpers import DTYPES, KINDS, affine, make, one_line, part, read, regions, torture, unlike, voxels

Saver = Any


def archive(saver: Saver = np.savez, **arrays: Any) -> bytes:
    file = BytesIO()
    saver(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("level", [None, 0, 1, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_everything_neutral_comes_back(tmp_path: Path, kind: str, level: int | None) -> None:
    image = make(kind)
    path = str(tmp_path / "a.npz")
    save_backend(image, path, level=level)
    found = open_backend(path)
    assert not differences(npz.fit(image.header, path), found.header)
    assert {d.field for d in losses(image.header, path)} <= {"dtype", "slope", "inter"}
    assert found.header.affine == image.header.affine
    assert unlike(read(found), read(image)) is None
    assert found.header.compression == ("zlib" if level else None)
    for region in regions(image.header.shape, 4):
        assert unlike(found.read(region), part(read(image), region)) is None


@pytest.mark.parametrize("level", [None, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_and_zipfile_read_what_is_written(tmp_path: Path, dtype: str, level: int | None) -> None:
    image = make("time", dtype)
    path = tmp_path / "a.npz"
    save_backend(image, str(path), level=level)
    with np.load(path, allow_pickle=False) as found:
        assert set(found) == {"affine", "header", "data"}
        assert unlike(found["data"], read(image)) is None
        np.testing.assert_array_equal(found["affine"], image.header.affine.numpy())
        facts = json.loads(found["header"].tobytes())
    assert facts["medimg"] == 1 and facts["axes"] == [["time", 4]] and facts["time_spacing"] == 2.5
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        assert {info.date_time for info in zipped.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_same_image_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_backend(make("labels"), str(tmp_path / name), level=2)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_sizes_beyond_32_bits_have_records_of_64(tmp_path: Path) -> None:
    """Members are declared large without being so: what counts is that others understand the records."""

    class File:
        def __init__(self) -> None:
            self.data = bytearray()

        @property
        def written(self) -> int:
            return len(self.data)

        def write(self, data: Any) -> None:
            self.data += bytes(data)

        def patch(self, offset: int, data: bytes) -> None:
            self.data[offset : offset + len(data)] = data

    file = File()
    writer = ZipWriter(file)
    writer.add("small.npy", [b"abc"], 3)
    writer.add("large.npy", [b"abcdef"], 1 << 31)
    writer._members[1] = (writer._members[1][0]._replace(size=6), True)
    local = file.data.rindex(b"PK\x03\x04")
    start = local + 30 + len("large.npy")
    file.data[start + 4 : start + 12] = struct.pack("<Q", 6)
    writer.finish()
    with zipfile.ZipFile(BytesIO(bytes(file.data))) as zipped:
        assert zipped.read("large.npy") == b"abcdef" and zipped.testzip() is None
    assert [m.size for m in list_members(MemorySource(bytes(file.data)))] == [3, 6]


# foreign archives


@pytest.mark.parametrize("saver", [np.savez, np.savez_compressed])
def test_an_archive_of_one_array_is_an_image(saver: Saver) -> None:
    array = voxels((3, 4, 5), "float32")
    backend = open_backend(archive(saver, volume=array), name="x.npz")
    assert unlike(read(backend)[0], array) is None
    assert any("no geometry" in note for note in backend.header.warnings)
    for region in regions((1, 3, 4, 5), 5):
        assert unlike(backend.read(region), part(array[np.newaxis], region)) is None


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_affine_beside_it_is_used(dtype: str, order: Any) -> None:
    matrix = np.array([[0, -2, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], dtype, order=order)
    header = open_backend(archive(img=voxels((3, 4, 5), "int16"), affine=matrix), name="x.npz").header
    np.testing.assert_array_equal(header.affine.numpy(), matrix)
    assert header.warnings == ()


@pytest.mark.parametrize(
    "matrix",
    [
        np.full((4, 4), np.nan),
        np.eye(3),
        np.zeros((4, 4)),
        np.array("x"),
        np.eye(4, dtype=complex),
        np.ones((4, 4, 4)),
    ],
)
def test_an_affine_that_is_none_is_a_warning(matrix: Any) -> None:
    header = open_backend(archive(img=voxels((3, 4, 5), "int16"), affine=matrix), name="x.npz").header
    assert header.spacing == (1, 1, 1) and any("affine is not usable" in note for note in header.warnings)


def test_small_arrays_beside_the_image_are_ignored_and_told() -> None:
    content = archive(img=voxels((3, 4, 5), "int16"), spacing=np.ones(3), rotation=np.eye(3), name=np.array("x"))
    header = open_backend(content, name="x.npz").header
    assert header.shape == (1, 3, 4, 5)
    assert any("name, rotation, spacing" in note for note in header.warnings)


def test_several_images_are_refused_by_name() -> None:
    with pytest.raises(FormatError, match="2 arrays that could be the image: image, label") as caught:
        open_backend(archive(image=voxels((3, 4, 5), "int16"), label=voxels((3, 4, 5), "uint8")), name="x.npz")
    assert one_line(caught.value)
    named = open_backend(archive(data=voxels((3, 4, 5), "int16"), label=voxels((3, 4, 5), "uint8")), name="x.npz")
    assert named.header.dtype == "int16" and any("label" in note for note in named.header.warnings)


def test_pickles_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    content = archive(data=np.array([Bomb()], object))
    other = archive(x=np.array([Bomb()], object))
    for each in (content, other):
        with pytest.raises(UnsupportedError, match="would run code"):
            open_backend(each, name="x.npz")
    assert not (tmp_path / "ran").exists()


def test_other_archives_are_no_images() -> None:
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("word/document.xml", "<xml/>")
    with pytest.raises(FormatError, match="no NumPy arrays"):
        open_backend(file.getvalue(), name="x.npz")
    with pytest.raises(FormatError, match="no NumPy arrays"):
        open_backend(archive(), name="x.npz")


# damage and bombs


def small(level: int, shape: tuple[int, ...] = (8, 9, 10)) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED) as zipped:
        array = BytesIO()
        np.save(array, voxels(shape, "int16"))
        zipped.writestr("data.npy", array.getvalue())
    return file.getvalue()


@pytest.mark.parametrize("level", [0, 1])
def test_a_wrong_checksum_is_noticed_when_all_is_read(tmp_path: Path, level: int) -> None:
    content = bytearray(small(level, (80, 90, 10)))
    content[20_000] ^= 0x10
    backend = open_backend(bytes(content), name="x.npz")
    assert backend.header.shape == (1, 80, 90, 10)
    with pytest.raises(FormatError, match="damaged"):
        read(backend)
    with pytest.raises(FormatError, match="damaged"):
        save_backend(backend, str(tmp_path / "a.npy"))
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_refused_before_it_is_inflated() -> None:
    """A kilobyte that claims to be 64 GB, and a megabyte that really is 1 GB of zeros."""
    content = bytearray(small(1))
    entry = content.index(b"PK\x01\x02")
    array = (
        b"\x93NUMPY\x01\x00\x76\x00"
        + b"{'descr': '<i2', 'fortran_order': False, 'shape': (4000, 4000, 2000), }".ljust(117)
        + b"\n"
    )
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("data.npy", array + bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="needs 64000000000 bytes"):
        open_backend(file.getvalue(), name="x.npz")
    content = bytearray(file.getvalue())
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = struct.pack("<2I", struct.unpack_from("<I", content, entry + 20)[0], 0xFFFFFFF0)
    with pytest.raises(FormatError):
        read(open_backend(bytes(content), name="x.npz"))
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_header_that_claims_to_be_large_is_not_inflated() -> None:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, array in (("data", voxels((3, 4, 5), "uint8")), ("header", np.zeros(1 << 26, np.uint8))):
            inner = BytesIO()
            np.save(inner, array)
            zipped.writestr(f"{name}.npy", inner.getvalue())
    tracemalloc.start()
    assert open_backend(file.getvalue(), name="x.npz").header.shape == (1, 3, 4, 5)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(18)])
def test_no_directory_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        open_backend(content, name="x.npz", format="npz")
    assert one_line(caught.value)


def test_encrypted_and_oddly_compressed_members_are_refused() -> None:
    for flag in ({"offset": 8, "value": 1}, {"offset": 10, "value": 12}):
        content = bytearray(small(1))
        entry = content.index(b"PK\x01\x02")
        content[entry + flag["offset"]] = flag["value"]
        with pytest.raises(UnsupportedError):
            open_backend(bytes(content), name="x.npz")


def test_a_member_that_is_cut_off_is_refused() -> None:
    content = small(0)
    for length in (900, len(content) - 30):
        with pytest.raises(FormatError):
            open_backend(content[:length], name="x.npz")
    directory = content.index(b"PK\x01\x02")
    moved = content[:600] + content[900:directory] + bytes(300) + content[directory:]
    with pytest.raises(FormatError, match="damaged"):
        read(open_backend(moved, name="x.npz"))


def test_mutated_archives_raise_only_our_errors() -> None:
    chance = random.Random(5)
    for level in (0, 1):
        file = small(level)
        front, back = range(60), range(file.index(b"PK\x01\x02"), len(file))
        for _ in range(400):
            content = bytearray(file)
            for _ in range(chance.randint(1, 3)):
                content[chance.choice(chance.choice((front, back)))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 8, 12))
            try:
                backend = open_backend(bytes(content), name="x.npz", format="npz")
                if backend.header.data_bytes < 1 << 20:
                    read(backend)
            except MedImgError as error:
                assert one_line(error)


@pytest.mark.parametrize("level", [None, 4])
def test_cut_and_changed_files(tmp_path: Path, level: int | None) -> None:
    save_backend(make("described"), str(tmp_path / "a.npz"), level=level)
    assert torture(str(tmp_path / "a.npz"), 60) == []


def test_our_header_of_another_kind_is_ignored() -> None:
    array = voxels((3, 4, 5), "uint8")
    for text in (
        b'{"medimg": 1, "labels": 5}',
        b'{"medimg": 1',
        b"{}",
        b"\xff\xfe",
        b'{"medimg": 1, "axes": [["time", 3]]}',
    ):
        content = archive(data=array, affine=np.eye(4), header=np.frombuffer(text, np.uint8))
        header = open_backend(content, name="x.npz").header
        assert header.shape == (1, 3, 4, 5) and header.labels is None and header.axes == ()


def test_history_and_types_of_metadata_survive(tmp_path: Path) -> None:
    metadata = {"a": 1, "b": [1, "x", None], "c": {"d": 1.5}, "e": True, "f": "\u4e2d\n"}
    header = Header(shape=(1, 2, 3, 4), dtype="uint8", affine=affine(), metadata=metadata, history=({"name": "x"},))
    save_backend(ArrayBackend(voxels((1, 2, 3, 4), "uint8"), header), str(tmp_path / "a.npz"))
    found = open_backend(str(tmp_path / "a.npz")).header
    assert dict(found.metadata) == metadata and found.history == header.history

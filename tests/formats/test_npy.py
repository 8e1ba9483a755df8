"""NumPy arrays: against NumPy itself, in every order, and never a pickle."""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import npy, open_backend
from medimg_cli.formats.writing import losses, save_backend, what_comes_back
from medimg_cli.header import Header, differences
from tests.helpers import DTYPES, KINDS, affine, make, one_line, part, read, regions, torture, unlike, voxels

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def array_file(text: str, data: bytes = bytes(64), version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a file with a header of any text."""
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + size + text.encode() + data


def described(descr: str = "'<i2'", order: str = "False", shape: str = "(2, 3, 4)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (3, 4, 5), (2, 3, 4, 5), (1, 3, 4, 5)])
def test_what_numpy_writes_is_read(tmp_path: Path, dtype: str, order: Any, swap: bool, shape: tuple[int, ...]) -> None:
    array = voxels(shape, dtype)
    path = tmp_path / "a.npy"
    np.save(path, np.asarray(array.astype(array.dtype.newbyteorder("S")) if swap else array, order=order))
    backend = open_backend(str(path))
    four = array if array.ndim == 4 else array.reshape(1, *shape, *(1,) * (3 - array.ndim))
    assert backend.header.shape == four.shape and backend.header.dtype == dtype
    assert backend.header.ndim == min(len(shape), 3)
    assert unlike(read(backend), four) is None
    for region in regions(four.shape, 4):
        assert unlike(backend.read(region), part(four, region)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_reads_what_is_written(tmp_path: Path, kind: str) -> None:
    image = make(kind)
    path = str(tmp_path / "a.npy")
    save_backend(image, path)
    fitted = what_comes_back(image.header, path)
    found = open_backend(path)
    assert not differences(fitted, found.header) and not differences(fitted, what_comes_back(fitted, path))
    assert unlike(read(found), read(image)) is None
    array = np.load(path, allow_pickle=False)
    values = read(image)
    assert unlike(array if array.ndim == 4 else array.reshape(values.shape), values) is None
    assert array.ndim == (4 if image.header.axes else image.header.ndim)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 4, 3), (2, 5, 4, 3)])
def test_files_are_those_of_numpy(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = voxels(shape, dtype)
    four = array if array.ndim == 4 else array[np.newaxis]
    image = ArrayBackend(four, Header(shape=four.shape, dtype=dtype, affine=affine()))
    save_backend(image, str(tmp_path / "mine.npy"))
    np.save(tmp_path / "numpy.npy", np.asfortranarray(array))
    assert (tmp_path / "mine.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(6,), (3, 4), (3, 4, 5), (2, 3, 4, 5)])
def test_a_copy_is_the_same_file(tmp_path: Path, order: Any, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.asarray(voxels(shape, "int16"), order=order))
    save_backend(open_backend(str(tmp_path / "a.npy")), str(tmp_path / "b.npy"))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_there_is_no_geometry_and_a_warning_says_so() -> None:
    header = open_backend(array_file(described()), name="x.npy").header
    assert header.spacing == (1, 1, 1) and header.origin == (0, 0, 0) and header.affine_source == "default"
    assert any("no geometry" in note for note in header.warnings)


def test_what_is_lost_is_told() -> None:
    assert {d.field for d in losses(make("described").header, "x.npy")} >= {
        "affine",
        "metadata",
        "history",
        "description",
    }
    scaled = {d.field: d for d in losses(make("scaled").header, "x.npy")}
    assert "stored as float32" in str(scaled["slope"]) and scaled["slope"].after is None


def test_scaled_values_are_written_as_values(tmp_path: Path) -> None:
    image = make("scaled-time")
    save_backend(image, str(tmp_path / "a.npy"))
    assert unlike(np.load(tmp_path / "a.npy"), read(image)) is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_are_read(version: tuple[int, int]) -> None:
    backend = open_backend(array_file(described(), version=version), name="x.npy")
    assert read(backend).shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "text",
    [
        described('"<i2"', shape="(2L, 3L, 4L)"),
        "{'shape': (2, 3, 4), 'fortran_order': False, 'descr': '<i2'}",
        "  { 'descr':'<i2','fortran_order':False,'shape':(2,3,4,) }  \n",
    ],
)
def test_headers_of_other_writers_are_read(text: str) -> None:
    assert open_backend(array_file(text), name="x.npy").header.shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (described("'|O'"), UnsupportedError),
        (described("[('a', '<i2'), ('b', '|O')]"), UnsupportedError),
        (described("[('a', '<i2')]"), UnsupportedError),
        (described("'<U5'"), UnsupportedError),
        (described("'|S3'"), UnsupportedError),
        (described("'<M8[ns]'"), UnsupportedError),
        (described("'|V8'"), UnsupportedError),
        (described("'<i3'"), UnsupportedError),
        (described("'<f1'"), UnsupportedError),
        (described(shape="()"), UnsupportedError),
        (described(shape="(1, 2, 3, 4, 5)"), UnsupportedError),
        (described(shape="(2, 0, 4)"), FormatError),
        (described(shape="(2, -3, 4)"), FormatError),
        (described(shape="(999999999999999999, 999999999999999999, 4)"), FormatError),
        (described(shape="(" + "9" * 300 + ",)"), FormatError),
        (described(shape="[2, 3]"), FormatError),
        (described(shape="(2 3 4)"), FormatError),
        (described(order="1"), FormatError),
        (described("__import__('os')"), FormatError),
        ("", FormatError),
        ("{}", FormatError),
        ("{" * 9000, FormatError),
        ("{'descr': '<i2', 'shape': (2, 3, 4), }", FormatError),
        (described()[:-3] + ", 'more': 'x'}", FormatError),
    ],
)
def test_headers_that_make_no_sense_are_refused_in_one_line(text: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        open_backend(array_file(text), name="x.npy")
    assert one_line(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x10",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\x00abc",
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100),
    ],
)
def test_cut_or_strange_beginnings_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        open_backend(content, name="x.npy")
    assert one_line(caught.value)


def test_huge_arrays_open_with_a_warning_and_are_refused_when_read() -> None:
    backend = open_backend(array_file(described(shape="(100000, 100000, 100000)")), name="x.npy")
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    np.save(tmp_path / "a.npy", np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(UnsupportedError, match="would run code"):
        open_backend(str(tmp_path / "a.npy"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")
def test_the_hostile_file_is_refused_and_not_run() -> None:
    with pytest.raises(UnsupportedError):
        open_backend(str(DATA / "_generated/bad/pickle.npy"))
    assert not (Path(tempfile.gettempdir()) / "PWNED_BY_PICKLE").exists()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_only_our_errors_escape(data: st.DataObject) -> None:
    content = bytearray(array_file(described()))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(6, 80))
        word = data.draw(st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"99999", b"(", b"'", b"-"])))
        content[place : place + len(word)] = word
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(1, len(content))))]
    try:
        backend = open_backend(bytes(content), name="x.npy", format="npy")
        if backend.header.data_bytes < 1 << 20:
            read(backend)
        npy.fit(backend.header, "y.npy")
    except MedImgError as error:
        assert one_line(error)


def test_cut_and_changed_files(tmp_path: Path) -> None:
    save_backend(make("channels"), str(tmp_path / "a.npy"))
    assert torture(str(tmp_path / "a.npy"), 80) == []

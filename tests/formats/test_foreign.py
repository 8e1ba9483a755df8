"""What codecs share that go through other libraries."""

from __future__ import annotations

import gzip
import io
import warnings

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, GeometryError, StorageError, UnsupportedError
from medimg_cli.formats.foreign import (
    ForeignBackend,
    ScaledBackend,
    SourceFile,
    foreign_errors,
    refuse_shear,
    sane_origin,
    sane_spacing,
    single_line,
    widened,
)
from medimg_cli.formats.foreign import one_line as shortened
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import MemorySource, open_source
from tests.helpers import AFFINES, make, one_line, part, read, regions, unlike

CONTENT = bytes(range(256)) * 40


def test_a_source_is_a_file() -> None:
    plain = MemorySource(CONTENT, "x")
    for source in (plain, EncodedSource(MemorySource(gzip.compress(CONTENT), "x.gz"), "gzip")):
        with SourceFile(source) as file:
            assert file.read(3) == CONTENT[:3]
            assert file.seek(-5, io.SEEK_END) == len(CONTENT) - 5
            assert file.read() == CONTENT[-5:]
            assert file.read(10) == b""
            assert (file.seek(100), file.seek(7, io.SEEK_CUR), file.tell()) == (100, 107, 107)
            assert file.read(1 << 62) == CONTENT[107:]
            assert file.readable()
            assert not file.writable()


def test_a_file_that_changed_is_refused(tmp_path: object) -> None:
    path = f"{tmp_path}/x"
    with open(path, "wb") as file:
        file.write(CONTENT)
    source = open_source(path)
    with open(path, "ab") as file:
        file.write(b"more")
    with pytest.raises(StorageError):
        SourceFile(source)


def test_errors_of_libraries_become_one_line() -> None:
    for problem in (ValueError("a\nb\x1b[31m\n\n"), RuntimeError("sitk::ERROR: x\nFooIO(0x55ad): bad " + "y" * 400)):
        with pytest.raises(FormatError) as error, foreign_errors("x.tif", "TIFF"):
            raise problem
        assert one_line(error.value)
        assert len(str(error.value)) < 220
        assert "0x" not in str(error.value)
        assert "\x1b" not in str(error.value)
    with pytest.raises(FormatError, match="more memory"), foreign_errors("x", "TIFF"):
        raise MemoryError
    with pytest.raises(UnsupportedError, match=r"^x: mine"), foreign_errors("x", "TIFF"):
        raise UnsupportedError("mine")
    assert shortened(KeyError()) == "KeyError"


def test_warnings_of_libraries_are_collected() -> None:
    with foreign_errors("x", "PAR") as notes:
        warnings.warn("first\nsecond", stacklevel=1)
        warnings.warn("first\nsecond", stacklevel=1)
    assert notes == ["second"]


def test_types_are_widened_only_where_every_value_fits() -> None:
    header = Header(shape=(1, 1, 1, 1), dtype="uint16", affine=AffineMatrix())
    assert widened(header, ("uint8", "int16", "int32", "float32"), "X") == "int32"
    assert widened(header.replace(slope=0.5, inter=0.0), ("int32", "float32"), "X") == "float32"
    assert widened(header.replace(dtype="bool"), ("uint8",), "X") == "uint8"
    for dtype, allowed in (("int64", ("float64",)), ("complex64", ("float64",)), ("float32", ("complex64",))):
        with pytest.raises(UnsupportedError, match="X has no type"):
            widened(header.replace(dtype=dtype), allowed, "X")


def test_degenerate_numbers() -> None:
    notes: list[str] = []
    assert sane_spacing((0.0, -2.0, float("nan")), notes) == (1.0, 2.0, 1.0)
    assert sane_origin((float("inf"), 1.0, float("nan")), notes) == (0.0, 1.0, 0.0)
    assert len(notes) == 2
    assert sane_spacing((1.0, 2.0, 3.0), notes) == (1.0, 2.0, 3.0)
    assert len(notes) == 2
    assert single_line(" a\n\tb\x1bc\u4e2d ", 9) == "a bc"


def test_shear_and_flat_axes_are_refused() -> None:
    refuse_shear(AFFINES["left-handed"], "X")
    with pytest.raises(GeometryError, match=r"X cannot hold sheared axes \(\d"):
        refuse_shear(AFFINES["sheared"], "X")
    with pytest.raises(GeometryError, match="one plane"):
        refuse_shear(AffineMatrix([[1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0]]), "X")


def test_a_backend_that_reads_too_little_is_refused() -> None:
    class Short(ForeignBackend):
        def fetch(self, region: object) -> object:  # type: ignore[override]
            return np.zeros((1, 1, 1, 1), "i2")

    with pytest.raises(FormatError, match="instead of"):
        read(Short(make("plain").header))  # type: ignore[arg-type]


def test_scaled_values_are_exact_to_float64() -> None:
    image = make("plain")
    header = image.header.replace(dtype="float64")
    backend = ScaledBackend(ArrayBackend(image.array, image.header), 0.1, -3.0, header)
    expected = image.array * 0.1 - 3.0
    for region in regions(image.array.shape, 20):
        assert unlike(backend.read(region), part(expected, region)) is None

"""What SimpleITK decodes: it sees harmless names only, is kept quiet, and never holds anything open."""

from __future__ import annotations

import io
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, StorageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.through_simpleitk import ItkBackend, open_itk
from medimg_cli.storage.source import MemorySource, open_source
from tests.helpers import laid_out, layouts, one_line, read, unlike, voxels

pytest.importorskip("SimpleITK")
pillow: Any = pytest.importorskip("PIL.Image")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a compressed TIFF of one page."""
    pillow.fromarray(voxels((20, 30), "uint8")).save(tmp_path / "x.tif", compression="tiff_lzw")
    return tmp_path / "x.tif"


@pytest.mark.parametrize("name", ["a%sb.tif", "new\nline.tif", "y.nii.gz", "caf\u00e9 \u4e2d.tif", "-x.tif", "x"])
def test_names_that_break_other_programs(name: str, path: Path) -> None:
    other = path.rename(path.with_name(name))
    backend = open_backend(str(other), format="tiff")
    assert isinstance(backend, ItkBackend)
    assert unlike(read(backend)[0, :, :, 0].T, voxels((20, 30), "uint8")) is None


def test_bytes_file_objects_and_gzip(path: Path) -> None:
    import gzip

    content = path.read_bytes()
    wanted = read(open_backend(str(path)))
    before = set(os.listdir("/tmp")) if os.path.isdir("/tmp") else set()
    for source in (content, io.BytesIO(content)):
        assert unlike(read(open_backend(source, name="x.tif")), wanted) is None
    assert unlike(read(open_backend(gzip.compress(content), name="x.tif.gz")), wanted) is None
    left = {name for name in set(os.listdir("/tmp")) - before if name.startswith("medimg-")} if before else set()
    assert not left


def test_pickles_and_streams(path: Path) -> None:
    backend = open_backend(str(path))
    wanted = read(backend)
    assert unlike(read(pickle.loads(pickle.dumps(backend))), wanted) is None
    for layout in layouts(backend.header):
        assert b"".join(map(bytes, backend.blocks(layout, max_bytes=100))) == laid_out(wanted, layout)


def test_a_file_that_changed_is_refused(path: Path) -> None:
    backend = open_backend(str(path))
    pillow.fromarray(voxels((21, 31), "uint8")).save(path, compression="tiff_lzw")
    with pytest.raises(StorageError, match="changed since"):
        read(backend)


def test_stderr_comes_back_after_many_threads(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted = read(open_backend(str(path)))
    found: list[Any] = []

    def work() -> None:
        for _ in range(5):
            found.append(unlike(read(open_backend(str(path))), wanted))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * 40
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_nothing_stays_open(path: Path) -> None:
    backend = open_backend(str(path))
    read(backend)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        read(open_backend(str(path)))
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before


@pytest.mark.parametrize("content", [b"", b"no tiff at all" * 20, b"II*\0" + bytes(300)])
def test_what_simpleitk_refuses_is_one_line(content: bytes) -> None:
    with pytest.raises(FormatError) as error:
        open_itk(MemorySource(content, "x.tif"), "TIFFImageIO", "TIFF", suffix=".tif")
    assert one_line(error.value)
    assert "0x" not in str(error.value)


def test_the_header_reads_no_voxels(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[20:40] = bytes(20)
    backend = open_itk(open_source(bytes(content)), "TIFFImageIO", "TIFF", suffix=".tif")
    assert backend.header.shape == (1, 30, 20, 1)
    assert np.prod(backend.header.shape) == 600

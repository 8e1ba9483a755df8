"""Many threads ask one lazy image at once: its file is read once, and all get the same memory."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats.writing import save_backend
from tests.helpers import AFFINES

THREADS = 32
SHAPE = (2, 61, 47, 33)


@pytest.fixture(scope="module")
def values() -> np.ndarray[Any, Any]:
    """Noise: a compressed file of it is as long as the voxels, and takes many reads."""
    return np.random.default_rng(7).integers(-32768, 32767, SHAPE, dtype="int16", endpoint=True)


@pytest.fixture(scope="module", params=[".nii.gz", ".nii", ".nrrd", ".mgz"])
def path(request: pytest.FixtureRequest, values: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("threads") / f"scan{request.param}"
    backend = mi.Image(values, affine=AFFINES["left-handed"])._backend
    assert isinstance(backend, ArrayBackend)
    save_backend(backend, str(found))
    return found


class CountedFile(io.FileIO):
    """A file that counts the bytes that are read from it, and who reads."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.count, self.readers = 0, set[int]()

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        self.count += len(data)
        self.readers.add(threading.get_ident())
        return data


def at_once(ask: Callable[[int], Any]) -> list[Any]:
    """Call a function from all threads at the same moment."""
    start = threading.Barrier(THREADS)

    def one(number: int) -> Any:
        start.wait(timeout=30)
        return ask(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, range(THREADS)))


def address(found: Any) -> int:
    where: int = found.ctypes.data if isinstance(found, np.ndarray) else found.data_ptr()
    return where


def test_a_file_object_is_read_once(path: Path, values: Any) -> None:
    with CountedFile(path) as file:
        image = mi.ScalarImage(file)
        assert not image.is_loaded
        file.count, file.readers = 0, set()
        found = at_once(lambda number: image.numpy())
        size = path.stat().st_size
        assert values.nbytes - 8192 < file.count <= size, "every byte of the voxels, and none of them twice"
        assert len(file.readers) == 1, "one thread reads, the others wait"
    assert len({address(each) for each in found}) == 1
    assert len({id(each) for each in found}) == 1
    assert np.array_equal(found[0], values)


def test_a_path_is_read_once(path: Path, values: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = mi.ScalarImage(path)
    real, counts, openings, really_open = os.pread, [0], [0], os.open

    def pread(descriptor: int, count: int, offset: int) -> bytes:
        data = real(descriptor, count, offset)
        counts[0] += len(data)
        return data

    def preadv(descriptor: int, views: Any, offset: int) -> int:
        got = real_vector(descriptor, views, offset)
        counts[0] += got
        return got

    def opened(name: Any, *arguments: Any, **options: Any) -> int:
        openings[0] += str(name) == str(path)
        return really_open(name, *arguments, **options)

    real_vector = os.preadv
    monkeypatch.setattr(os, "pread", pread)
    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "open", opened)
    found = at_once(lambda number: image.numpy() if number % 2 else np.asarray(image))
    assert values.nbytes - 8192 < counts[0] <= path.stat().st_size
    assert openings[0] == 1
    assert len({address(each) for each in found}) == 1
    assert all(np.array_equal(each, values) for each in found[:2])


def test_tensors_and_arrays_are_one_memory(path: Path, values: Any) -> None:
    torch = pytest.importorskip("torch")
    with CountedFile(path) as file:
        image = mi.ScalarImage(file)
        file.count = 0
        ways: list[Callable[[], Any]] = [
            lambda: image.data,
            lambda: image.numpy(),
            lambda: image.tensor,
            lambda: torch.from_dlpack(image),
            lambda: np.from_dlpack(image),
        ]
        found = at_once(lambda number: ways[number % len(ways)]())
        assert file.count <= path.stat().st_size
    assert len({address(each) for each in found}) == 1
    assert len({id(each) for each in found if isinstance(each, torch.Tensor)}) <= 1 + THREADS // len(ways) + 1
    assert image.data is image.data
    image.data[0, 0, 0, 0] = 77
    assert all(int(each[0, 0, 0, 0]) == 77 for each in found)


def test_parts_that_many_threads_read_are_right(path: Path, values: Any) -> None:
    image = mi.ScalarImage(path)

    def ask(number: int) -> bool:
        span = slice(number, None, 1 + number % 3) if number % 2 else slice(None, number or None, -1)
        part = image[number % 2, span, ..., ::-2]
        picked = values[number % 2 : number % 2 + 1, span, ..., ::-2]
        return np.array_equal(part.numpy(), picked) and not image.is_loaded

    assert all(at_once(ask))


def test_a_failure_reaches_everybody_and_leaves_the_image_lazy(tmp_path: Path, values: Any) -> None:
    path = tmp_path / "scan.nii.gz"
    mi.Image(values).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    image = mi.ScalarImage(path)

    def ask(number: int) -> str:
        try:
            image.numpy()
        except mi.MedImgError as error:
            return str(error)
        return ""

    assert all(at_once(ask))
    assert not image.is_loaded

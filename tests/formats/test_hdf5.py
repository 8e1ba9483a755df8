"""HDF5 files of ITK: against SimpleITK, and files that reach for other files."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, GeometryError, MedImgError, MissingExtraError, StorageError, TruncatedError
from medimg_cli.formats import hdf5, open_backend
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.storage.atomic import StagedFile
from tests.helpers import make, one_line, part, read, regions, unlike, voxels

h5py: Any = pytest.importorskip("h5py")
VOXELS = "ITKImage/0/VoxelData"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return an image in a file."""
    save_backend(make("plain"), str(tmp_path / "image.h5"))
    return tmp_path / "image.h5"


KINDS = ["plain", "left-handed", "time", "channels", "vector", "rgb", "rgba", "flat"]


@pytest.mark.parametrize("kind", KINDS)
def test_simpleitk_and_medimg_read_each_other(kind: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image, ours, theirs = make(kind), str(tmp_path / "a.h5"), str(tmp_path / "b.h5")
    assert not losses(image.header, ours)
    save_backend(image, ours)
    seen = sitk.ReadImage(ours)
    array = sitk.GetArrayFromImage(seen)
    array = array[..., None] if array.ndim == 3 else array
    array = array.transpose(0, 3, 2, 1) if seen.GetDimension() == 4 else array.transpose(3, 2, 1, 0)
    assert unlike(array, read(image)) is None
    lps = image.header.affine.to_lps()
    assert np.allclose(seen.GetSpacing()[:3], lps.spacing)
    assert np.allclose(seen.GetOrigin()[:3], lps.origin)
    rank = seen.GetDimension()
    assert np.allclose(np.reshape(seen.GetDirection(), (rank, rank))[:3, :3], lps.direction)
    sitk.WriteImage(seen, theirs)
    again = open_backend(theirs)
    assert unlike(read(again), read(image)) is None
    assert again.header.affine.allclose(image.header.affine, 1e-9)


def test_regions_of_chunks(tmp_path: Path) -> None:
    path = str(tmp_path / "x.h5")
    save_backend(make("time-vector"), path)
    backend = open_backend(path)
    full = read(backend)
    for region in regions(full.shape, 60):
        assert unlike(backend.read(region), part(full, region)) is None


def test_key_values_travel(tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image, path = make("described"), str(tmp_path / "x.h5")
    assert not losses(image.header, path)
    save_backend(image, path)
    header = open_backend(path).header
    assert header.metadata == image.header.metadata
    assert header.history == image.header.history
    assert sitk.ReadImage(path).GetMetaData("Modality") == "MR"


def test_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    contents = []
    for name in ("a.h5", "b.h5"):
        save_backend(make("described"), str(tmp_path / name))
        contents.append((tmp_path / name).read_bytes())
        time.sleep(1.1)
    assert contents[0] == contents[1]


def test_shear_is_refused_with_its_angle() -> None:
    with pytest.raises(GeometryError, match=r"sheared axes \(\d+\.\d+ degrees\)"):
        hdf5.fit(make("sheared").header, "x.h5")


def test_voxels_in_another_file_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"root:x:0:0" * 100)
    with h5py.File(path, "r+") as tree:
        old = tree[VOXELS]
        shape, dtype = old.shape, old.dtype
        del tree[VOXELS]
        tree.create_dataset(VOXELS, shape, dtype, external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(FormatError, match="refused for safety"):
        open_backend(str(path))


@pytest.mark.parametrize("target", ["ITKImage", VOXELS, "ITKImage/0/Spacing"])
def test_links_to_other_files_are_refused(target: str, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as tree:
        del tree[target]
        tree[target] = h5py.ExternalLink(str(other), target)
    with pytest.raises(FormatError, match="refused for safety"):
        open_backend(str(path))


def test_a_virtual_dataset_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "r+") as tree:
        shape, dtype = tree[VOXELS].shape, tree[VOXELS].dtype
        del tree[VOXELS]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(other), VOXELS, shape)
        tree.create_virtual_dataset(VOXELS, layout)
    with pytest.raises(FormatError, match="refused for safety"):
        open_backend(str(path))


def test_voxels_that_were_never_written_are_refused(path: Path) -> None:
    with h5py.File(path, "r+") as tree:
        del tree[VOXELS]
        tree["ITKImage/0/Dimension"][...] = (30000, 30000, 30000)
        tree.create_dataset(VOXELS, (30000, 30000, 30000), "i2", chunks=(1, 100, 100))
    with pytest.raises(FormatError, match="cannot hold"):
        open_backend(str(path))


@pytest.mark.parametrize("key", ["Dimension", "Spacing", "Origin", "Directions", "VoxelData"])
def test_what_is_missing_is_named(key: str, path: Path) -> None:
    with h5py.File(path, "r+") as tree:
        del tree[f"ITKImage/0/{key}"]
    with pytest.raises(FormatError, match=key):
        open_backend(str(path))


def test_degenerate_geometry_is_replaced_and_said(path: Path) -> None:
    with h5py.File(path, "r+") as tree:
        tree["ITKImage/0/Spacing"][...] = (0.0, -2.0, np.nan)
        tree["ITKImage/0/Directions"][0, 0] = np.inf
    header = open_backend(str(path)).header
    assert header.spacing == (1.0, 2.0, 1.0)
    assert len(header.warnings) == 2


def test_contiguous_voxels_are_read_in_place(path: Path) -> None:
    array = voxels((3, 4, 5), "int16")
    with h5py.File(path, "r+") as tree:
        del tree[VOXELS]
        tree[VOXELS] = array
    backend = open_backend(str(path))
    assert type(backend).__name__ == "StoredBackend"
    assert unlike(read(backend), array.T[None]) is None


def test_a_truncated_file_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(TruncatedError):
        open_backend(str(path))


def test_other_hdf5_files_are_no_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as tree:
        tree["data"] = np.arange(8)
    with pytest.raises(FormatError, match="has no ITKImage/0/VoxelData") as error:
        open_backend(str(tmp_path / "x.h5"))
    assert one_line(error.value)


def test_bytes_and_compressed_files(path: Path) -> None:
    import gzip

    content = path.read_bytes()
    assert unlike(read(open_backend(content, name="x.h5")), read(make("plain"))) is None
    assert unlike(read(open_backend(gzip.compress(content), name="x.h5.gz")), read(make("plain"))) is None


def test_without_h5py_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for work in (lambda: open_backend(str(path)), lambda: save_backend(make("plain"), str(path), force=True)):
        with pytest.raises(MissingExtraError, match=r"needs h5py; pip install 'medimg-cli\[minc\]'"):
            work()


def test_a_full_disk_is_one_line_and_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    before = path.read_bytes()

    def full(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match="no space left") as error:
        save_backend(make("time"), str(path), force=True)
    assert isinstance(error.value, MedImgError)
    assert one_line(error.value)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["image.h5"]


class _Stop(BaseException):
    """What a signal raises."""


@pytest.mark.parametrize("kind", [StorageError, _Stop])
def test_a_write_that_fails_or_is_interrupted_is_an_error_and_no_crash(
    kind: type[BaseException], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 writes again what could not be written when it closes; a second exception there was a segmentation fault."""
    before, patch, left = path.read_bytes(), StagedFile.patch, [4000]

    def full(self: StagedFile, offset: int, data: bytes) -> None:
        left[0] -= len(data)
        if left[0] < 0:
            raise kind("no space left")
        patch(self, offset, data)

    monkeypatch.setattr(StagedFile, "patch", full)
    with pytest.raises(kind):
        save_backend(make("time"), str(path), force=True)
    assert path.read_bytes() == before

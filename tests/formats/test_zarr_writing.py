"""Folders that appear whole or not at all, and what the command line makes of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.cli.app import main
from medimg_cli.errors import StorageError, UnsupportedError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.formats.zarr import is_store
from medimg_cli.header import Header
from medimg_cli.image import ScalarImage
from medimg_cli.storage import atomic_folder
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.atomic_folder import StagedFolder
from tests.helpers import fingerprint, read

ROOT = Path(__file__).resolve().parents[2]


def scan(value: int = 0, shape: tuple[int, int, int, int] = (1, 5, 4, 3)) -> ArrayBackend:
    array = (np.arange(np.prod(shape)).reshape(shape) + value).astype("int16")
    affine = AffineMatrix([[-2.0, 0.1, 0.0, 5.0], [0.0, 1.5, 0.0, -7.0], [0.0, 0.0, 3.0, 1.0]])
    return ArrayBackend(array, Header(shape=shape, dtype="int16", affine=affine))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchanged", "renamed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Both ways to replace a folder: in one step, and in two where the system cannot."""
    if request.param == "renamed":
        monkeypatch.setattr(atomic_folder, "_exchanged", lambda first, second: False)
    return request.param


def test_an_existing_store_is_replaced_as_a_whole(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.nii.zarr"
    save_backend(scan(shape=(1, 5, 4, 70)), str(path))
    before = fingerprint(path)
    with pytest.raises(StorageError, match="already exists"):
        save_backend(scan(9), str(path))
    assert fingerprint(path) == before and left(tmp_path) == ["x.nii.zarr"]
    save_backend(scan(9), str(path), force=True)
    assert left(tmp_path) == ["x.nii.zarr"] and not (path / "0" / "1").exists()
    assert np.array_equal(read(open_backend(str(path))), scan(9).array)


def test_output_may_be_the_input(tmp_path: Path, way: str) -> None:
    path = str(tmp_path / "x.nii.zarr")
    save_backend(scan(3), path)
    save_backend(open_backend(path), path, force=True)
    assert np.array_equal(read(open_backend(path)), scan(3).array)


def test_no_other_folder_is_ever_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine.zarr"
    mine.mkdir()
    (mine / "thesis.txt").write_text("four years")
    store = tmp_path / "store.zarr"
    save_backend(scan(), str(store))
    (store / "notes.txt").write_text("between chunks")
    for path in (mine, store):
        before = fingerprint(path)
        with pytest.raises(StorageError, match="something else"):
            save_backend(scan(), str(path), force=True)
        assert fingerprint(path) == before
    (tmp_path / "file.zarr").write_text("a file")
    with pytest.raises(StorageError, match="is a file"):
        save_backend(scan(), str(tmp_path / "file.zarr"), force=True)
    (tmp_path / "empty.zarr").mkdir()
    save_backend(scan(), str(tmp_path / "empty.zarr"), force=True)
    assert left(tmp_path) == ["empty.zarr", "file.zarr", "mine.zarr", "store.zarr"]


def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    with pytest.raises(StorageError, match="already exists"), AtomicGroup() as group:
        group.add(StagedFolder(str(path), force=False, replaceable=is_store)).write("a/b", b"ours")
        path.mkdir()
        (path / "theirs").write_text("first")
    assert left(tmp_path) == ["x.zarr"] and left(path) == ["theirs"]


def test_a_link_stays_a_link(tmp_path: Path, way: str) -> None:
    save_backend(scan(), str(tmp_path / "real.zarr"))
    (tmp_path / "link.zarr").symlink_to("real.zarr")
    save_backend(scan(5), str(tmp_path / "link.zarr"), force=True)
    assert (tmp_path / "link.zarr").is_symlink()
    assert np.array_equal(read(open_backend(str(tmp_path / "real.zarr"))), scan(5).array)


class Broken(ArrayBackend):
    """Fails in the middle of its voxels."""

    def blocks(self, *args: Any, **options: Any) -> Any:
        pieces = list(super().blocks(*args, **options))
        yield bytes(pieces[0])[:10]
        raise OSError(28, "No space left on device")


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.nii.zarr"
    image = scan()
    for force in (False, True):
        if force:
            save_backend(scan(), str(path))
        before = fingerprint(tmp_path)
        with pytest.raises(OSError, match="No space"):
            save_backend(Broken(image.array, image.header), str(path), force=force)
        assert fingerprint(tmp_path) == before
    with pytest.raises(StorageError, match="make it first"):
        save_backend(scan(), str(tmp_path / "no" / "x.zarr"))


def test_a_kill_leaves_a_hidden_folder_that_the_next_run_removes(tmp_path: Path) -> None:
    code = (
        "import os, sys; from medimg_cli.storage.atomic_folder import StagedFolder;"
        "StagedFolder(sys.argv[1], force=False, replaceable=bool).write('0/0', b'half'); os._exit(9)"
    )
    path = tmp_path / "x.nii.zarr"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    (hidden,) = left(tmp_path)
    assert hidden.startswith(".x.nii.zarr.medimg-")
    save_backend(scan(), str(path))
    assert left(tmp_path) == ["x.nii.zarr"]


def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "x.nii.zarr")
    other = StagedFolder(path, force=True, replaceable=is_store)
    other.write("0/0", b"mine")
    save_backend(scan(), path)
    assert os.path.exists(os.path.join(other.readable_path, "0", "0"))
    other.discard()
    assert left(tmp_path) == ["x.nii.zarr"]


def test_a_kill_between_two_names_is_undone_by_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.nii.zarr"
    save_backend(scan(4), str(path))
    path.rename(tmp_path / ".x.nii.zarr.medimg-old")
    with pytest.raises(StorageError, match="already exists"):
        save_backend(scan(), str(path))
    assert np.array_equal(read(open_backend(str(path))), scan(4).array) and left(tmp_path) == ["x.nii.zarr"]
    shutil.copytree(path, tmp_path / ".x.nii.zarr.medimg-old")  # and one that nobody took away
    monkeypatch.setattr(atomic_folder, "_exchanged", lambda first, second: False)
    save_backend(scan(5), str(path), force=True)
    assert np.array_equal(read(open_backend(str(path))), scan(5).array) and left(tmp_path) == ["x.nii.zarr"]


# the command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_backend(scan(), "a.nii.gz")
    (tmp_path / "a.json").write_text('{"EchoTime": 0.03}')
    return tmp_path


def run(*words: str) -> int:
    return int(main(list(words)))


def test_convert_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "--strict", "a.nii.gz", "a2.nii.zarr") == 0
    assert json.loads((folder / "a2.json").read_text()) == {"EchoTime": 0.03}  # the sidecar, by its BIDS name
    assert run("convert", "a.nii.gz", "a2.nii.zarr") == 2
    assert "--force" in capsys.readouterr().err
    assert run("convert", "--force", "a.nii.gz", "a2.nii.zarr/") == 0
    assert run("convert", "a2.nii.zarr/", "back.nii.gz") == 0
    assert Path("back.nii.gz").read_bytes() == Path("a.nii.gz").read_bytes()
    assert run("reorient", "a2.nii.zarr", "ras.ome.zarr", "--to", "RAS") == 0
    assert "".join(open_backend("ras.ome.zarr").header.orientation) == "RAS"
    assert run("slice", "a2.nii.zarr", "part.zarr", "--index", "[0, 1:4, ::2]") == 0
    assert open_backend("part.zarr").header.shape == (1, 3, 2, 3)


def test_many_outputs(folder: Path) -> None:
    words = ("convert", "a.nii.gz", "--output-dir", "out", "--suffix", ".nii.zarr")
    assert run(*words) == 0 and run(*words) == 2
    before = fingerprint(folder / "out" / "a.nii.zarr")
    assert run(*words, "--skip-existing") == 0 and run(*words, "--if-newer") == 0
    assert fingerprint(folder / "out" / "a.nii.zarr") == before
    later = time.time() + 5
    os.utime("a.nii.gz", (later, later))
    assert run(*words, "--if-newer") == 0
    assert fingerprint(folder / "out" / "a.nii.zarr") != before
    words = ("convert", "out/a.nii.zarr", "--output-dir", "again", "--suffix", ".nii.gz")
    assert run(*words) == 0 and left(folder / "again") == ["a.json", "a.nii.gz"]
    os.utime("out/a.nii.zarr/0/0/0/0", (later + 9, later + 9))  # a chunk that somebody wrote since
    os.utime("again/a.nii.gz", (later + 5, later + 5))
    assert run(*words, "--if-newer") == 0 and os.stat("again/a.nii.gz").st_mtime < later + 5


def test_a_store_is_one_image_of_a_walk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "a.nii.gz", "a.nii.zarr") == 0
    capsys.readouterr()
    assert run("info", "--recursive", ".", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["path"] for each in found] == ["./a.nii.gz", "./a.nii.zarr"]
    for key in ("shape", "affine", "sform_code", "qform_code", "dtype", "spacing_mm"):
        assert found[0][key] == found[1][key], key
    assert found[1]["format"] == "zarr" and found[1]["compression"] == "zlib"
    assert found[1]["file_bytes"] == sum(f.stat().st_size for f in (folder / "a.nii.zarr").rglob("*") if f.is_file())
    assert run("info", "--all", "a.nii.zarr") == 0
    assert "srow_x" in capsys.readouterr().out


def test_a_stream_is_no_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "a.nii.gz", "-", "--suffix", ".nii.zarr") == 2
    assert "folder" in capsys.readouterr().err


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnsupportedError, match="folder"):
        open_backend(str(tmp_path))


def test_a_live_folder_is_never_taken_for_a_dead_one(tmp_path: Path) -> None:
    """Writers of one store at a time: each has its own folder, the last one that is complete stands."""
    first = StagedFolder(str(tmp_path / "a.nii.zarr"), force=True, replaceable=lambda path: True)
    second = StagedFolder(str(tmp_path / "a.nii.zarr"), force=True, replaceable=lambda path: True)
    assert first.readable_path != second.readable_path
    for staged, content in ((first, b"1"), (second, b"2")):
        staged.write(".zgroup", b"{}")
        staged.write("0/0", content)
    first.publish()
    second.publish()
    assert (tmp_path / "a.nii.zarr" / "0" / "0").read_bytes() == b"2"
    assert [each.name for each in tmp_path.iterdir()] == ["a.nii.zarr"]


def test_what_was_removed_meanwhile_is_not_published(tmp_path: Path) -> None:
    staged = StagedFolder(str(tmp_path / "a.nii.zarr"), force=False, replaceable=lambda path: True)
    shutil.rmtree(staged.readable_path)
    Path(staged.readable_path).mkdir()
    with pytest.raises(StorageError, match="somebody removed"):
        staged.publish()
    assert not (tmp_path / "a.nii.zarr").exists()


@pytest.mark.parametrize("inside", ["notes/thesis.txt", "labels/.zgroup", "y.nii.zarr/.zgroup", "0/notes.md"])
def test_files_of_somebody_else_are_never_deleted(inside: str, tmp_path: Path) -> None:
    image = ScalarImage(np.zeros((1, 3, 4, 5), "int16"))
    image.save(tmp_path / "a.nii.zarr")
    image.save(tmp_path / "a.nii.zarr")
    kept = tmp_path / "a.nii.zarr" / inside
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(StorageError, match="something else"):
        image.save(tmp_path / "a.nii.zarr")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "float32", "bool"])
def test_the_zarr_library_opens_every_type(dtype: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    values = np.arange(60).reshape(1, 3, 4, 5).astype(dtype)
    ScalarImage(values).save(tmp_path / "a.nii.zarr")
    theirs = zarr.open(str(tmp_path / "a.nii.zarr"), mode="r")["0"]
    assert np.array_equal(np.squeeze(np.asarray(theirs)), values[0].transpose(2, 1, 0))

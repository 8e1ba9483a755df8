"""Files appear whole or not at all; what stood at their name before stays until then."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medimg_cli.errors import MedImgError, StorageError
from medimg_cli.storage.atomic import AtomicGroup, StagedFile
from tests.helpers import contents

ROOT = Path(__file__).resolve().parents[2]
_OPEN = os.open
_NAMELESS = getattr(os, "O_TMPFILE", 0)


def _without_nameless(path: Any, flags: int, *rest: Any, **more: Any) -> int:
    """``os.open`` of a file system that knows no O_TMPFILE."""
    if _NAMELESS and flags & _NAMELESS == _NAMELESS:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")
    return _OPEN(path, flags, *rest, **more)


@pytest.fixture(params=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of keeping a file that is not complete."""
    if request.param == "hidden":
        monkeypatch.setattr(os, "open", _without_nameless)
    elif not _NAMELESS:
        pytest.skip("no O_TMPFILE on this platform")
    way: str = request.param
    return way


def put(path: Path | str, data: bytes, *, force: bool = False) -> None:
    """Write a file in two pieces."""
    with AtomicGroup(force=force) as group:
        file = group.create(str(path))
        file.write(data[:3])
        file.write(memoryview(data)[3:])


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    if not os.path.isdir("/proc/self/fd"):
        yield
        return
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_appears_when_it_is_complete(tmp_path: Path, way: str) -> None:
    with AtomicGroup() as group:
        file = group.create(str(tmp_path / "x.nii"))
        file.write(b"first")
        assert not (tmp_path / "x.nii").exists()
        assert (way == "hidden") == bool(list(tmp_path.iterdir()))
        assert Path(file.readable_path).read_bytes() == b"first"
        file.write(b"second")
        file.patch(1, b"___")
        assert file.written == 11
    assert contents(tmp_path) == {"x.nii": b"f___tsecond"}


def test_nothing_appears_after_an_error(tmp_path: Path, way: str) -> None:
    with pytest.raises(KeyboardInterrupt), AtomicGroup() as group:
        group.create(str(tmp_path / "x.img")).write(b"half")
        group.create(str(tmp_path / "x.hdr")).write(b"half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {}


def test_the_old_file_stays_after_an_error(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.nii", b"old file")
    with pytest.raises(ZeroDivisionError), AtomicGroup(force=True) as group:
        group.create(str(tmp_path / "x.nii")).write(b"new")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"x.nii": b"old file"}


def test_an_existing_file_is_not_replaced_unasked(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.nii", b"old file")
    with pytest.raises(StorageError, match=r"x\.nii: already exists; use --force"):
        put(tmp_path / "x.nii", b"new file")
    assert contents(tmp_path) == {"x.nii": b"old file"}
    put(tmp_path / "x.nii", b"new file", force=True)
    assert contents(tmp_path) == {"x.nii": b"new file"}


def test_output_may_be_the_input(tmp_path: Path, way: str) -> None:
    """A reader of the old file keeps reading old bytes."""
    put(tmp_path / "x.nii", b"old file")
    with (tmp_path / "x.nii").open("rb") as old:
        put(tmp_path / "x.nii", b"new file", force=True)
        assert old.read() == b"old file"
    assert contents(tmp_path) == {"x.nii": b"new file"}


def test_an_empty_file(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.nii", b"")
    assert contents(tmp_path) == {"x.nii": b""}


def test_names_without_folder(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put("x.nii", b"voxels")
    put("x.nii", b"other", force=True)
    assert contents(tmp_path) == {"x.nii": b"other"}


def test_long_and_odd_names(tmp_path: Path, way: str) -> None:
    for name in ("y" * 240 + ".nii", " a b\n.nii", "\u00fc\u4e2d.nii", ".hidden", "-x.nii"):
        put(tmp_path / name, b"one")
        put(tmp_path / name, b"two", force=True)
        assert (tmp_path / name).read_bytes() == b"two"
    assert len(contents(tmp_path)) == 5


# modes and links


def test_names_as_long_as_they_can_be_count_in_bytes(tmp_path: Path, way: str) -> None:
    path = tmp_path / ("\u00e9" * 125 + ".nii")
    put(path, b"old")
    put(path, b"new", force=True)
    assert path.read_bytes() == b"new"


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, for example: neither nameless files nor links."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "O_TMPFILE", 0, raising=False)
    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.nii"
    put(path, b"old")
    with pytest.raises(StorageError, match="already exists"):
        put(path, b"other")
    put(path, b"new", force=True)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.nii"]


def test_permissions_stay(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.nii", b"old file")
    for mode in (0o600, 0o640, 0o664, 0o755):
        (tmp_path / "x.nii").chmod(mode)
        put(tmp_path / "x.nii", b"new file", force=True)
        assert (tmp_path / "x.nii").stat().st_mode & 0o7777 == mode


def test_new_files_follow_the_umask(tmp_path: Path, way: str) -> None:
    old = os.umask(0o027)
    try:
        put(tmp_path / "x.nii", b"voxels")
    finally:
        os.umask(old)
    assert (tmp_path / "x.nii").stat().st_mode & 0o7777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_and_group_stay(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    path.chmod(0o2640)
    with AtomicGroup(force=True) as group:
        group.create(str(path)).write(b"new")
    about = path.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (1234, 2345, 0o2640)


def test_a_symbolic_link_stays_one(tmp_path: Path, way: str) -> None:
    (tmp_path / "store").mkdir()
    put(tmp_path / "store" / "real.nii", b"old file")
    (tmp_path / "x.nii").symlink_to(Path("store") / "real.nii")
    put(tmp_path / "x.nii", b"new file", force=True)
    assert (tmp_path / "x.nii").is_symlink()
    assert contents(tmp_path / "store") == {"real.nii": b"new file"}


def test_a_symbolic_link_to_nothing_makes_its_target(tmp_path: Path, way: str) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "x.nii").symlink_to(Path("store") / "real.nii")
    put(tmp_path / "x.nii", b"new file")
    assert (tmp_path / "x.nii").is_symlink()
    assert contents(tmp_path / "store") == {"real.nii": b"new file"}


# what cannot be written


def test_what_cannot_be_written_is_named(tmp_path: Path, way: str) -> None:
    cases: dict[str, str] = {"folder": "it is a folder", "missing/x.nii": "its folder does not exist"}
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    cases["pipe"] = "no regular file"
    (tmp_path / "file").write_bytes(b"")
    cases["file/x.nii"] = "not a directory"
    cases["z" * 300] = "too long"
    (tmp_path / "loop").symlink_to("loop")
    cases["loop"] = "loop|symbolic"
    for name, message in cases.items():
        for force in (False, True):
            with pytest.raises(StorageError, match=message) as error:
                put(tmp_path / name, b"voxels", force=force)
            assert len(str(error.value).splitlines()) == 1
            assert not isinstance(error.value, FileNotFoundError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_write_protection_is_honoured(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.nii", b"old file")
    (tmp_path / "x.nii").chmod(0o444)
    with pytest.raises(StorageError, match="write-protected"):
        put(tmp_path / "x.nii", b"new file", force=True)
    tmp_path.chmod(0o555)
    with pytest.raises(StorageError, match="permission denied"):
        put(tmp_path / "y.nii", b"new file")


def test_null_characters_in_names_are_ours_to_name(tmp_path: Path, way: str) -> None:
    with pytest.raises(MedImgError):
        put(f"{tmp_path}/a\0b.nii", b"voxels")


# leftovers


def test_leftovers_of_a_killed_writer_go(tmp_path: Path, way: str) -> None:
    for number in (0, 1, 4):  # numbers 2 and 3 were done in time
        (tmp_path / f".x.nii.medimg-{number}").write_bytes(b"half")
    (tmp_path / ".y.nii.medimg-0").write_bytes(b"half of another")
    put(tmp_path / "x.nii", b"voxels")
    assert contents(tmp_path) == {"x.nii": b"voxels", ".y.nii.medimg-0": b"half of another"}


def test_leftovers_are_found_behind_those_of_living_writers(tmp_path: Path, way: str) -> None:
    """A living writer holds a lock; its file stays, dead ones behind it go."""
    alive = tmp_path / ".x.nii.medimg-0"
    alive.write_bytes(b"being written")
    (tmp_path / ".x.nii.medimg-1").write_bytes(b"half")
    with alive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        put(tmp_path / "x.nii", b"voxels")
    assert contents(tmp_path) == {"x.nii": b"voxels", alive.name: b"being written"}


def test_leftovers_that_are_links_are_not_followed(tmp_path: Path, way: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".x.nii.medimg-0").symlink_to("precious")
    put(tmp_path / "x.nii", b"voxels")
    put(tmp_path / "x.nii", b"voxels", force=True)
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "x.nii").read_bytes() == b"voxels"


# races


def race(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run a function in threads that start together; return what they raised."""
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_of_two_writers_one_wins_and_one_is_told(tmp_path: Path, way: str) -> None:
    """Without force a name is taken once, however close two writers come."""
    for turn in range(20):
        path = tmp_path / f"{turn}.nii"
        errors = race(2, lambda n, path=path: put(path, b"%d" % n * 100_000))  # type: ignore[misc]
        assert [type(error) for error in errors] == [StorageError]
        assert "already exists" in str(errors[0])
        assert path.read_bytes() in (b"0" * 100_000, b"1" * 100_000)
    assert len(contents(tmp_path)) == 20


def test_a_name_taken_meanwhile_is_not_replaced(tmp_path: Path, way: str) -> None:
    with pytest.raises(StorageError, match="already exists"), AtomicGroup() as group:
        group.create(str(tmp_path / "x.nii")).write(b"mine")
        (tmp_path / "x.nii").write_bytes(b"theirs")
    assert contents(tmp_path) == {"x.nii": b"theirs"}


def test_writers_with_force_leave_one_whole_file(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.nii"
    for _ in range(40):
        assert race(4, lambda n: put(path, b"%d" % n * 50_000, force=True)) == []
        data = path.read_bytes()
        assert data == data[:1] * 50_000
    assert list(contents(tmp_path)) == ["x.nii"]


# groups


def test_groups_appear_in_the_order_of_creation(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data first, header last: whoever sees the header sees its data."""
    seen = []
    publish = StagedFile.publish

    def watched(self: StagedFile) -> None:
        publish(self)
        seen.append(sorted(name for name in contents(tmp_path) if not name.startswith(".")))

    monkeypatch.setattr(StagedFile, "publish", watched)
    with AtomicGroup() as group:
        for name in ("x.img", "x.hdr"):
            group.create(str(tmp_path / name)).write(b"voxels")
    assert seen == [["x.img"], ["x.hdr", "x.img"]]


def test_a_group_refuses_before_it_writes(tmp_path: Path, way: str) -> None:
    put(tmp_path / "x.hdr", b"old file")
    with pytest.raises(StorageError, match=r"x\.hdr: already exists"), AtomicGroup() as group:
        group.create(str(tmp_path / "x.img"))
        group.create(str(tmp_path / "x.hdr"))
    assert contents(tmp_path) == {"x.hdr": b"old file"}


@pytest.mark.parametrize("force", [False, True])
def test_a_group_that_cannot_be_published_leaves_nothing_new_half(
    tmp_path: Path, way: str, force: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the header of a pair fails at the last moment, no old file is lost and no temporary stays."""
    if force:
        put(tmp_path / "x.hdr", b"old header")

    def fail(self: StagedFile) -> None:
        raise StorageError("cannot be written: injected", path=self.path)

    with pytest.raises(StorageError, match="injected"), AtomicGroup(force=force) as group:
        for name in ("x.img", "x.hdr"):
            group.create(str(tmp_path / name)).write(b"new " + name.encode())
        monkeypatch.setattr(group.files[1], "publish", lambda: fail(group.files[1]), raising=False)
    left = contents(tmp_path)
    assert left.get("x.hdr") == (b"old header" if force else None)
    assert not [name for name in left if name.startswith(".")]


def test_files_are_synced_where_others_are_replaced(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    put(tmp_path / "x.nii", b"new")
    assert synced == []
    put(tmp_path / "x.nii", b"newer", force=True)
    assert len(synced) == 1


# full disks and kills, in processes of their own


def run_writer(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that writes with AtomicGroup."""
    prelude = "import os, resource, signal, sys, errno\nfrom medimg_cli.storage.atomic import AtomicGroup\n"
    nameless = (
        "_open, nameless = os.open, getattr(os, 'O_TMPFILE', 0)\n"
        "def without(path, flags, *rest, **more):\n"
        "    if nameless and flags & nameless == nameless: raise OSError(errno.EOPNOTSUPP, 'no')\n"
        "    return _open(path, flags, *rest, **more)\n"
        "if sys.argv[2] == 'hidden': os.open = without\n"
    )
    return subprocess.run(
        [sys.executable, "-c", prelude + nameless + textwrap.dedent(code), *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip


FULL = """
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        with AtomicGroup(force=True) as group:
            file = group.create(sys.argv[1])
            for _ in range(100):
                file.write(bytes(5000))
    except OSError as error:
        print(error)
        sys.exit(2)
"""


@pytest.mark.parametrize("old", [None, b"old file"])
def test_a_full_disk_keeps_the_old_file(tmp_path: Path, way: str, old: bytes | None) -> None:
    """Mistake 10 of other tools. The disk is full at 100 kB, by RLIMIT_FSIZE."""
    path = tmp_path / "x.nii"
    if old is not None:
        path.write_bytes(old)
    done = run_writer(FULL, str(path), way)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.strip() == f"{path}: cannot be written: the file grows beyond the allowed size"
    assert contents(tmp_path) == ({} if old is None else {"x.nii": old})


def test_no_space_left_is_said_so(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with AtomicGroup() as group, pytest.raises(StorageError, match="no space left on the disk"):
        file = group.create(str(tmp_path / "x.nii"))
        monkeypatch.setattr(os, "write", full)
        file.write(b"voxels")


KILLED = """
    with AtomicGroup(force=True) as group:
        file = group.create(sys.argv[1])
        file.write(bytes(100_000))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_at_most_what_the_next_run_removes(tmp_path: Path, way: str) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"old file")
    done = run_writer(KILLED, str(path), way)
    assert done.returncode == -signal.SIGKILL
    left = contents(tmp_path)
    assert left.pop("x.nii") == b"old file"
    assert len(left) == (way == "hidden")
    put(path, b"new file", force=True)
    assert contents(tmp_path) == {"x.nii": b"new file"}

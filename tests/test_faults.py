"""Full disks, kills and races: the old output is intact or the new one complete, whatever happens in between.

Every test runs the real command line in processes of its own. The source of the killed runs is compressed
with bzip2, which is slow to inflate, so that any output takes about a second to write; a run is disturbed
only after it has opened a file in the output's folder for writing.
"""

from __future__ import annotations

import bz2
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import proving

nibabel = pytest.importorskip("nibabel")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")

TARGETS = ("out.nii", "out.nii.gz", "out.nrrd", "out.mha", "out.hdr", "out.mhd", "out.nhdr")
PAIRS = ("out.hdr", "out.mhd", "out.nhdr")
KILLS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}
SECONDS = 60.0
State = dict[str, str]  # file name -> size and digest


class Source:
    """An input, and what each target holds after an undisturbed conversion of it (done when first asked for).

    Parameters
    ----------
    path : Path
        The input, ``.nii.bz2``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = {}

    def folder(self, target: str) -> Path:
        """Return a folder with nothing but the files that a conversion to `target` gives."""
        whole = self.path.with_name(f"{self.path.name}.{target}")
        if target not in self.seconds:
            whole.mkdir(exist_ok=True)
            begun = time.monotonic()
            good("convert", self.path, whole / target)
            self.seconds[target] = time.monotonic() - begun
        return whole

    def output(self, target: str) -> State:
        """Return the state of that folder."""
        return state(self.folder(target))


def state(folder: Path) -> State:
    """Return every file of a folder, hidden ones too, with size and digest of its bytes."""
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_file():
            content = entry.read_bytes()
            found[entry.name] = f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()[:16]}"
    return found


def start(*arguments: str | Path, before: Callable[[], object] | None = None, **settings: str) -> subprocess.Popen:
    """Start ``medimg`` in a session of its own; `settings` are added to the environment."""
    return subprocess.Popen(
        [*proving.MEDIMG, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=proving.environment(settings),
        preexec_fn=before,
        start_new_session=True,
    )


def end(process: subprocess.Popen) -> proving.Outcome:
    """Wait for the end of a program; one that never ends is killed and is a failure."""
    begun = time.monotonic()
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"no end within {SECONDS:.0f} s: {process.args}")
    return proving.Outcome(process.returncode, out, err, time.monotonic() - begun)


def good(*arguments: str | Path) -> None:
    """Run ``medimg``; anything but success is a failure of the test's own set-up."""
    outcome = end(start(*arguments))
    assert outcome.code == 0, outcome.err.decode("utf-8", "replace")


def volume(seed: int, shape: tuple[int, int, int]) -> nibabel.Nifti1Image:
    """Return noise (incompressible) on an oblique, anisotropic, left-handed grid."""
    voxels = np.random.default_rng(seed).integers(-32768, 32767, shape, dtype=np.int16)
    affine = np.array([[-0.8, -0.6, 0, 12.0], [-0.6, 0.8, 0, -30.5], [0, 0, 1, 7.25], [0, 0, 0, 1]])
    affine[:3, :3] *= (0.9, 0.75, 2.0)
    return nibabel.Nifti1Image(voxels, affine)


def make_source(folder: Path, name: str, seed: int, shape: tuple[int, int, int]) -> Source:
    """Write noise as ``.nii.bz2``."""
    path = folder / name
    path.write_bytes(bz2.compress(volume(seed, shape).to_bytes(), 1))
    return Source(path)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A source that takes about a second to convert (9 MB)."""
    return make_source(tmp_path_factory.mktemp("slow"), "slow.nii.bz2", 1, (160, 165, 170))


@pytest.fixture(scope="module")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Source, Source]:
    """Two sources of different shape (about 2.5 MB), for races."""
    folder = tmp_path_factory.mktemp("rivals")
    one = make_source(folder, "one.nii.bz2", 2, (110, 107, 101))
    other = make_source(folder, "other.nii.bz2", 3, (101, 113, 109))
    return one, other


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A source that converts at once, for the outputs that stand there before."""
    return make_source(tmp_path_factory.mktemp("small"), "small.nii.bz2", 4, (12, 10, 7))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for outputs."""
    made = tmp_path / "outputs"
    made.mkdir()
    return made


def put_old(folder: Path, target: str, small: Source) -> State:
    """Let an earlier output stand at the target's name; returns the folder's state."""
    for entry in small.folder(target).iterdir():
        (folder / entry.name).write_bytes(entry.read_bytes())
    return state(folder)


def limited(size: int) -> Callable[[], None]:
    """Return what limits the size of files in a process about to start; SIGXFSZ keeps its deadly default."""

    def apply() -> None:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return apply


def assert_refused(outcome: proving.Outcome) -> None:
    """Hold a failed run to exit code 2 and one line."""
    assert proving.one_line(outcome) is None, (proving.one_line(outcome), outcome.err)


def writes_into(pid: int, folder: Path) -> bool:
    """Say whether a process holds a file of `folder` open for writing; nameless temporary files count."""
    try:
        entries = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for entry in entries:
        try:
            if not os.readlink(f"/proc/{pid}/fd/{entry}").startswith(f"{folder}/"):
                continue
            flags = Path(f"/proc/{pid}/fdinfo/{entry}").read_text().split("flags:")[1].split()[0]
        except (OSError, IndexError):
            continue
        if int(flags, 8) & os.O_ACCMODE:
            return True
    return False


def wait_for_writing(process: subprocess.Popen, folder: Path) -> None:
    """Return once the process writes into `folder`, or has ended."""
    if Path("/proc/self/fd").is_dir():
        proving.wait_until(lambda: process.poll() is not None or writes_into(process.pid, folder), seconds=20)
    else:
        time.sleep(0.3)


def disturb(slow: Source, folder: Path, target: str, kill: signal.Signals, moment: float) -> proving.Outcome:
    """Convert, and send a signal when a share of the writing time has passed."""
    slow.output(target)
    process = start("convert", slow.path, folder / target, "--force")
    wait_for_writing(process, folder)
    time.sleep(moment * slow.seconds[target])
    process.send_signal(kill)
    return end(process)


def check_after_kill(outcome: proving.Outcome, kill: signal.Signals, now: State, old: State, new: State) -> None:
    """Hold what a kill left: old or new, whole; the exit code; nothing else but after SIGKILL."""
    names = set(old) | set(new)
    kept = {name: content for name, content in now.items() if name in names}
    assert kept in (old, new), f"neither old {old} nor new {new}: {kept}"
    assert not outcome.traceback, outcome.err
    if outcome.code == 0:
        assert kept == new
    else:
        assert outcome.code == KILLS[kill], outcome
        assert len(outcome.err_lines) <= 1, outcome.err
    if kill != signal.SIGKILL:
        assert set(now) == set(kept), f"left behind: {set(now) - set(kept)}"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_killed_while_writing(kill: signal.Signals, target: str, slow: Source, small: Source, folder: Path) -> None:
    """A signal in mid-write leaves the old output whole; the next run removes what SIGKILL left."""
    old = put_old(folder, target, small)
    moment = random.Random(f"{kill.name} {target}").uniform(0.0, 0.6)
    outcome = disturb(slow, folder, target, kill, moment)
    check_after_kill(outcome, kill, state(folder), old, slow.output(target))
    good("convert", small.path, folder / target, "--force")
    assert state(folder) == small.output(target)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kill", KILLS, ids=lambda kill: kill.name)
def test_killed_at_many_moments(kill: signal.Signals, target: str, slow: Source, small: Source, folder: Path) -> None:
    """As above, at a dozen moments from the first byte to past the end."""
    chance = random.Random(f"soak {kill.name} {target}")
    for turn in range(12):
        old = put_old(folder, target, small)
        outcome = disturb(slow, folder, target, kill, turn / 10 + chance.uniform(0, 0.1))
        check_after_kill(outcome, kill, state(folder), old, slow.output(target))
        good("convert", small.path, folder / target, "--force")
        assert state(folder) == small.output(target)


@pytest.mark.parametrize("target", ["out.nii.gz", "out.hdr"])
def test_killed_first_write_leaves_nothing(target: str, slow: Source, folder: Path) -> None:
    """SIGTERM where no output stood before leaves an empty folder."""
    outcome = disturb(slow, folder, target, signal.SIGTERM, 0.2)
    check_after_kill(outcome, signal.SIGTERM, state(folder), {}, slow.output(target))


@pytest.mark.parametrize("target", [*TARGETS, "out.h5"])  # h5py crashed on an error in what it calls back
def test_file_size_limit(target: str, slow: Source, small: Source, folder: Path) -> None:
    """``RLIMIT_FSIZE`` in mid-write: exit code 2, one line, the old output byte for byte, nothing else."""
    old = put_old(folder, target, small)
    process = start("convert", slow.path, folder / target, "--force", before=limited(1 << 20))
    assert_refused(end(process))
    assert state(folder) == old


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
def test_file_size_limit_in_place(suffix: str, folder: Path, tmp_path: Path) -> None:
    """Output = input and no room: the input is as it was."""
    path = folder / f"image{suffix}"
    nibabel.save(volume(5, (64, 65, 66)), tmp_path / "image.nii")
    good("convert", tmp_path / "image.nii", path)
    before = state(folder)
    assert_refused(end(start("reorient", path, path, "--to", "LPS", "--force", before=limited(1 << 16))))
    assert state(folder) == before


def mounted(folder: Path, options: str) -> bool:
    """Mount a small file system of memory; False where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    made = tmp_path / "disk"
    made.mkdir()
    if not mounted(made, "size=4m"):
        pytest.skip("no leave to mount a small file system here; RLIMIT_FSIZE is tested instead")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", made], check=False)


@pytest.mark.parametrize("target", TARGETS)
def test_full_disk(target: str, slow: Source, small: Source, tiny_disk: Path) -> None:
    """A disk that fills up in mid-write: exit code 2, one line, the old output as it was."""
    old = put_old(tiny_disk, target, small)
    assert_refused(end(start("convert", slow.path, tiny_disk / target, "--force")))
    assert state(tiny_disk) == old
    used = os.statvfs(tiny_disk)
    assert used.f_bavail * used.f_frsize > 3 << 20, "the space was not given back"


def test_full_disk_for_temporary_files(slow: Source, folder: Path, tiny_disk: Path) -> None:
    """No room for a temporary file: the command does without one, or refuses in one line; nothing is left."""
    target = folder / "out.nii"
    outcome = end(start("reorient", slow.path, target, "--to", "PSR", TMPDIR=str(tiny_disk)))
    if outcome.code != 0:
        assert_refused(outcome)
        assert not list(folder.iterdir())
    assert not list(tiny_disk.iterdir())


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL], ids=lambda kill: kill.name)
def test_killed_with_temporary_files(kill: signal.Signals, slow: Source, folder: Path, tmp_path: Path) -> None:
    """A command that had to spool its input leaves nothing in the folder for temporary files."""
    spool = tmp_path / "spool"
    spool.mkdir()
    process = start("reorient", slow.path, folder / "out.nii", "--to", "PSR", TMPDIR=str(spool))
    proving.wait_until(lambda: process.poll() is not None or writes_into(process.pid, spool), seconds=3)
    process.send_signal(kill)
    outcome = end(process)
    assert outcome.code in (0, KILLS[kill]), outcome
    assert not list(spool.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_standard_output(small: Source) -> None:
    """``medimg convert in - > /dev/full`` fails, in one line."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*proving.MEDIMG, "convert", str(small.path), "-"], stdout=full, stderr=subprocess.PIPE,
            env=proving.environment(), check=False,
        )  # fmt: skip
    assert_refused(proving.Outcome(done.returncode, b"", done.stderr, 0.0))


def test_closed_pipe_ends_quietly(slow: Source) -> None:
    """``medimg convert in - | head -c 100`` says nothing."""
    process = start("convert", slow.path, "-")
    assert process.stdout is not None and process.stderr is not None
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait(SECONDS) in (0, -signal.SIGPIPE, 128 + signal.SIGPIPE)
    assert err == b""


@pytest.mark.parametrize("target", TARGETS)
def test_two_processes_one_output(target: str, rivals: tuple[Source, Source], small: Source, folder: Path) -> None:
    """Two runs at once on one name: the last is whole, pairs are never mixed, nothing else is left."""
    put_old(folder, target, small)
    running = [start("convert", rival.path, folder / target, "--force") for rival in rivals]
    outcomes = [end(process) for process in running]
    for outcome in outcomes:
        assert outcome.code == 0 or proving.one_line(outcome) is None, outcome
    assert any(outcome.code == 0 for outcome in outcomes)
    assert state(folder) in [rival.output(target) for rival in rivals]


@pytest.mark.slow
@pytest.mark.parametrize("target", PAIRS)
def test_two_processes_one_pair_many_times(target: str, folder: Path, tmp_path: Path) -> None:
    """Small pairs, written by two at once, again and again: header and data belong together."""
    sources = [
        make_source(tmp_path, f"{name}.nii.bz2", seed, shape)
        for name, seed, shape in (("one", 6, (20, 21, 22)), ("other", 7, (22, 20, 23)))
    ]
    for _ in range(25):
        for process in [start("convert", one.path, folder / target, "--force") for one in sources]:
            end(process)
        assert state(folder) in [one.output(target) for one in sources]


@pytest.mark.parametrize("target", ["out.nii.gz", "out.mhd"])
def test_two_processes_without_force(target: str, rivals: tuple[Source, Source], folder: Path) -> None:
    """Without ``--force`` one of two wins and the other is refused, or the name already stood."""
    running = [start("convert", rival.path, folder / target) for rival in rivals]
    outcomes = [end(process) for process in running]
    assert sorted(outcome.code for outcome in outcomes) == [0, 2], [outcome.err for outcome in outcomes]
    winner = rivals[[outcome.code for outcome in outcomes].index(0)]
    assert state(folder) == winner.output(target)


@pytest.mark.parametrize("target", TARGETS)
def test_refuses_to_overwrite(target: str, small: Source, folder: Path) -> None:
    """Without ``--force`` an existing output is refused and stays."""
    put_old(folder, target, small)
    (folder / target).write_bytes(b"somebody's file")
    before = state(folder)
    assert_refused(end(start("convert", small.path, folder / target)))
    assert state(folder) == before


def test_data_file_of_a_pair_is_not_overwritten(small: Source, folder: Path) -> None:
    """A data file that stands alone at the pair's name is somebody's data: refused without ``--force``."""
    (data,) = set(small.output("out.mhd")) - {"out.mhd"}
    (folder / data).write_bytes(b"somebody's data")
    assert_refused(end(start("convert", small.path, folder / "out.mhd")))
    assert sorted(state(folder)) == [data]
    assert (folder / data).read_bytes() == b"somebody's data"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".hdr", ".mhd", ".nhdr"])
def test_output_is_input(suffix: str, folder: Path, tmp_path: Path) -> None:
    """In place: the result is what a run to another name gives."""
    nibabel.save(volume(8, (40, 31, 22)), tmp_path / "image.nii")
    path, other = folder / f"image{suffix}", tmp_path / "other" / f"image{suffix}"
    other.parent.mkdir()
    good("convert", tmp_path / "image.nii", path)
    good("reorient", path, other, "--to", "PSR")
    good("reorient", path, path, "--to", "PSR", "--force")
    assert state(folder) == state(other.parent)


def test_output_is_input_is_refused_without_force(small: Source, folder: Path) -> None:
    """In place needs ``--force`` like any other existing output."""
    old = put_old(folder, "out.nii", small)
    assert_refused(end(start("convert", folder / "out.nii", folder / "out.nii")))
    assert state(folder) == old


@pytest.mark.parametrize("target", ["out.nii", "out.nii.gz", "out.mha", "out.hdr"])
def test_symlink_stays_a_symlink(target: str, small: Source, folder: Path, tmp_path: Path) -> None:
    """An output that is a symbolic link stays one; the file it points to is replaced."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in small.output(target):
        (elsewhere / name).write_bytes(b"old")
        (folder / name).symlink_to(elsewhere / name)
    good("convert", small.path, folder / target, "--force")
    assert all((folder / name).is_symlink() for name in small.output(target))
    assert state(elsewhere) == small.output(target)
    assert set(os.listdir(folder)) == set(small.output(target))


def test_dangling_symlink_is_filled(small: Source, folder: Path, tmp_path: Path) -> None:
    """A link to a file that doesn't exist yet: the file appears where the link points, the link stays."""
    goal = tmp_path / "goal.nii.gz"
    (folder / "out.nii.gz").symlink_to(goal)
    good("convert", small.path, folder / "out.nii.gz", "--force")
    assert (folder / "out.nii.gz").is_symlink()
    assert goal.read_bytes() == (small.folder("out.nii.gz") / "out.nii.gz").read_bytes()


@pytest.mark.parametrize("target", ["out.nii.gz", "out.hdr"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permission_bits_stay(mode: int, target: str, small: Source, folder: Path) -> None:
    """A replaced output keeps its permission bits."""
    for name in put_old(folder, target, small):
        (folder / name).chmod(mode)
    good("convert", small.path, folder / target, "--force")
    assert {entry.stat().st_mode & 0o777 for entry in folder.iterdir()} == {mode}


@pytest.mark.parametrize("target", ["out.nii.gz", "out.hdr"])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_new_output_follows_the_umask(mask: int, target: str, small: Source, folder: Path) -> None:
    """A new output has the bits that any program would give it, not those of a private temporary file."""
    process = start("convert", small.path, folder / target, before=lambda: os.umask(mask) and None)
    assert end(process).code == 0
    assert {entry.stat().st_mode & 0o777 for entry in folder.iterdir()} == {0o666 & ~mask}


@pytest.fixture
def locked_folder(small: Source, tmp_path: Path) -> Iterator[Path]:
    """A folder that can be read and not written, with an old output in it; for root, a read-only disk."""
    made = tmp_path / "locked"
    made.mkdir()
    if os.geteuid() != 0:
        put_old(made, "out.nii.gz", small)
        made.chmod(0o555)
        yield made
        made.chmod(0o755)
        return
    if not mounted(made, "size=4m"):
        pytest.skip("root writes everywhere, and no read-only file system can be mounted here")
    try:
        put_old(made, "out.nii.gz", small)
        assert mounted(made, "remount,ro")
        yield made
    finally:
        subprocess.run(["umount", "-l", made], check=False)


@pytest.mark.parametrize("target", ["out.nii.gz", "new.nii", "new.hdr"])
def test_unwritable_folder(target: str, small: Source, locked_folder: Path) -> None:
    """No leave to write: exit code 2, one line, nothing changes."""
    before = state(locked_folder)
    assert_refused(end(start("convert", small.path, locked_folder / target, "--force")))
    assert state(locked_folder) == before


def test_missing_folder(small: Source, folder: Path) -> None:
    """An output in a folder that isn't there is refused, and no folder is made."""
    assert_refused(end(start("convert", small.path, folder / "not there" / "out.nii")))
    assert not list(folder.iterdir())


def test_folder_in_the_way(small: Source, folder: Path) -> None:
    """An output whose name is a folder's is refused, even with ``--force``; the folder stays."""
    (folder / "out.nii").mkdir()
    (folder / "out.nii" / "precious").write_text("data")
    assert_refused(end(start("convert", small.path, folder / "out.nii", "--force")))
    assert (folder / "out.nii" / "precious").read_text() == "data"


def test_one_bad_input_never_stops_the_others(small: Source, folder: Path, tmp_path: Path) -> None:
    """In a batch the bad input is named on its line and sets the code; the others are converted."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for name in ("a", "c"):
        (inputs / f"{name}.nii.bz2").write_bytes(small.path.read_bytes())
    (inputs / "b.nii").write_bytes(b"not an image")
    outcome = end(start("convert", *sorted(inputs.iterdir()), "--output-dir", folder, "--suffix", ".nrrd"))
    assert outcome.code == 2
    assert not outcome.traceback
    assert len([line for line in outcome.err_lines if "b.nii: " in line]) == 1, outcome.err
    assert sorted(state(folder)) == ["a.nrrd", "c.nrrd"]


def session_is_over(session: int) -> bool:
    """Say whether no process of a session is alive; zombies don't count."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return False
    return True


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM], ids=lambda kill: kill.name)
def test_batch_with_workers_is_interrupted(kill: signal.Signals, slow: Source, folder: Path, tmp_path: Path) -> None:
    """A batch of worker processes ends at once: only whole outputs, no temporary files, no orphans."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    inputs = []
    for number in range(4):
        inputs.append(tmp_path / f"{number}.nii.bz2")
        os.link(slow.path, inputs[-1])
    arguments = ("convert", *inputs, "--output-dir", folder, "--suffix", ".nii", "--jobs", "2")
    process = start(*arguments)
    proving.wait_until(lambda: process.poll() is not None or busy(process.pid, folder), seconds=20)
    if kill == signal.SIGINT:
        os.killpg(process.pid, kill)  # a terminal sends it to all
    else:
        process.send_signal(kill)
    outcome = end(process)
    assert outcome.code == KILLS[kill], outcome
    assert not outcome.traceback, outcome.err
    assert proving.wait_until(lambda: session_is_over(process.pid), seconds=5), "a worker lives on"
    whole = slow.output("out.nii")["out.nii"]
    assert set(state(folder).values()) <= {whole}, state(folder)


def busy(session: int, folder: Path) -> bool:
    """Say whether any process of a session writes into `folder`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and writes_into(int(entry.name), folder):
            return True
    return False


# Faults at the very moment when finished files take their names

HOOKED = """
import errno, os, runpy, signal, sys, time

number, act, names = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
seen = 0

def hooked(name):
    real = getattr(os, name)

    def call(source, target, *rest, **options):
        global seen
        seen += os.path.basename(target) in names
        due = os.path.basename(target) in names and seen == number
        if due and act == "error":
            raise OSError(errno.EIO, os.strerror(errno.EIO), target)
        if due and act.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, act))
            time.sleep(0.2)
        result = real(source, target, *rest, **options)
        if due and act == "pause":
            time.sleep(2.0)
        return result

    setattr(os, name, call)

for name in ("rename", "replace", "link"):
    hooked(name)
sys.argv[:] = ["medimg", *sys.argv[4:]]
runpy.run_module("medimg_cli", run_name="__main__", alter_sys=True)
"""


def start_hooked(number: int, act: str, names: State, *arguments: str | Path) -> subprocess.Popen:
    """Start ``medimg`` so that something happens when the `number`-th file takes one of `names`."""
    words = [str(number), act, ",".join(names), *map(str, arguments)]
    return subprocess.Popen(
        [sys.executable, "-c", HOOKED, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=proving.environment(),
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("act", ["error", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("target", ["out.nii.gz", "out.nrrd", *PAIRS])
def test_fault_when_the_name_is_taken(
    target: str, act: str, rivals: tuple[Source, Source], small: Source, folder: Path
) -> None:
    """The output is complete but has no name yet: old or new is there, whole, and the next run cleans up."""
    old, rival = put_old(folder, target, small), rivals[0]
    arguments = ("convert", rival.path, folder / target, "--force")
    outcome = end(start_hooked(1, act, rival.output(target), *arguments))
    if act == "error":
        assert_refused(outcome)
        assert state(folder) == old
    else:
        check_after_kill(outcome, signal.Signals[act], state(folder), old, rival.output(target))
    good("convert", small.path, folder / target, "--force")
    assert state(folder) == small.output(target)


@pytest.mark.parametrize("act", ["error", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("target", PAIRS)
def test_pair_is_not_torn_between_its_files(
    target: str, act: str, rivals: tuple[Source, Source], small: Source, folder: Path
) -> None:
    """Data has its name, the header not yet: after a fault there the pair is all old or all new."""
    old, rival = put_old(folder, target, small), rivals[0]
    arguments = ("convert", rival.path, folder / target, "--force")
    outcome = end(start_hooked(2, act, rival.output(target), *arguments))
    if act == "error":
        assert_refused(outcome)
        assert state(folder) == old
    else:
        check_after_kill(outcome, signal.Signals[act], state(folder), old, rival.output(target))


@pytest.mark.parametrize("target", PAIRS)
def test_two_writers_of_a_pair_never_mix(
    target: str, rivals: tuple[Source, Source], small: Source, folder: Path
) -> None:
    """A second run begins and ends while the first is between data and header: the files still match."""
    put_old(folder, target, small)
    one, other = rivals
    data = next(name for name in one.output(target) if name != target)
    first = start_hooked(1, "pause", one.output(target), "convert", one.path, folder / target, "--force")
    size = (one.folder(target) / data).stat().st_size
    proving.wait_until(lambda: (folder / data).stat().st_size == size, seconds=20)
    second = start("convert", other.path, folder / target, "--force")
    outcomes = [end(first), end(second)]
    assert any(outcome.code == 0 for outcome in outcomes)
    assert all(outcome.code == 0 or proving.one_line(outcome) is None for outcome in outcomes), outcomes
    assert state(folder) in [rival.output(target) for rival in rivals]


def test_workers_end_when_their_parent_was_killed(slow: Source, folder: Path) -> None:
    """SIGKILL of the parent alone: the workers, which hold its standard error, do not wait for ever."""
    inputs = []
    for number in range(4):
        inputs.append(folder.parent / f"input{number}.nii.bz2")
        inputs[-1].symlink_to(slow.path)
    process = start("convert", *inputs, "--output-dir", folder, "--suffix", ".nii", "--jobs", "2")
    time.sleep(2)
    process.kill()
    assert end(process).seconds < 30
    assert all(name.endswith(".nii") for name in state(folder))


@pytest.mark.parametrize("delay", [0.12, 0.15, 0.18, 0.22, 0.26])
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM], ids=lambda kill: kill.name)
def test_workers_that_have_just_been_asked_for_end_without_a_word(
    tmp_path: Path, kill: signal.Signals, delay: float
) -> None:
    for name in "abc":
        nibabel.save(nibabel.Nifti1Image(np.ones((40, 40, 40), "int16"), np.eye(4)), tmp_path / f"{name}.nii")
    words = [
        "crop",
        "--by",
        "1",
        *(str(tmp_path / f"{name}.nii") for name in "abc"),
        "--output-dir",
        str(tmp_path / "o"),
    ]
    process = subprocess.Popen(
        [*proving.MEDIMG, *words, "--jobs", "2"],
        stderr=subprocess.PIPE,
        env=proving.environment(),
        start_new_session=True,
    )
    time.sleep(delay)
    process.send_signal(kill)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode in (0, KILLS[kill], -kill), err  # -kill: before Python was there
    assert b"semaphore" not in err.lower() and b"forkserver" not in err and b"FileNotFoundError" not in err

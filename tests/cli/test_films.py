"""``medimg gif`` and ``medimg video``."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.batch import BatchOptions, Task, Work, run_tasks
from tests.cli.conftest import Run, environment

AFFINE = np.array([[-2.0, 0, 0, 30], [0, 2.5, 0, -20], [0, 0, 4, 11], [0, 0, 0, 1]])

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    i, j, k = np.ogrid[:8, :9, :6]
    nib.save(nib.Nifti1Image((10 * i + 7 * j + 20 * k).astype("int16"), AFFINE), "scan.nii.gz")
    labels = np.zeros((8, 9, 6), "uint8")
    labels[2:7, 3:8, 1:5], labels[5:7, 2:6, 2:5] = 4, 9
    nib.save(nib.Nifti1Image(labels, AFFINE), "seg.nii.gz")
    series = nib.Nifti1Image(np.random.default_rng(2).normal(100, 20, (8, 9, 6, 5)), AFFINE)
    series.header.set_xyzt_units("mm", "sec")
    series.header["pixdim"][4] = 2
    nib.save(series, "bold.nii.gz")
    return tmp_path


def gif(name: str) -> tuple[int, int, tuple[int, int]]:
    """Return how many frames there are, how long all last in ms, and their size."""
    lasts = []
    with Pillow.open(name) as film:
        for frame in range(getattr(film, "n_frames", 1)):
            film.seek(frame)
            film.load()
            lasts.append(int(film.info.get("duration", 0)))
        return len(lasts), sum(lasts), film.size


def streams(name: str) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", name]
    (found,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    return dict(found)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_film_through_slices(medimg: Run, suffix: str) -> None:
    done = medimg("gif", "--seconds", "2", "--axis", "A", "--bounce", "scan.nii.gz", f"a{suffix}")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert gif(f"a{suffix}") == (16, 2000, (176, 264))  # 16 x 24 mm at 2 mm, 22 times


def test_what_was_chosen_is_said_where_asked_for(medimg: Run) -> None:
    done = medimg("gif", "-v", "--fps", "3", "--window", "0:80", "--size", "90", "scan.nii.gz", "a.gif")
    assert "6 frames, 2 s, 3 frames a second" in done.err and "radiological, window 0 to 80" in done.err
    assert gif("a.gif") == (6, 2000, (64, 90))


def test_thinned_films_say_so(medimg: Run) -> None:
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 200), "uint8"), np.eye(4)), "long.nii")
    done = medimg("gif", "--kind", "intensities", "--seconds", "2", "long.nii", "a.gif")
    assert "shows 100 of 200 slices, for viewers show 50 frames a second at most" in done.err
    assert gif("a.gif")[:2] == (100, 2000)
    assert "shows 10 of 200 slices\n" in medimg("gif", "--seconds", "2", "--fps", "5", "long.nii", "b.gif").err


def test_one_slice_is_no_sweep_and_it_says_so(medimg: Run) -> None:
    nib.save(nib.Nifti1Image(np.arange(30, dtype="float32").reshape(5, 6, 1), np.eye(4)), "flat.nii")
    done = medimg("gif", "flat.nii", "a.gif")
    assert done.code == 0 and "one slice towards I: nothing moves" in done.err and gif("a.gif")[0] == 1


def test_films_through_time(medimg: Run) -> None:
    done = medimg("gif", "--time", "--axis", "S", "--at", "19mm", "--fps", "5", "bold.nii.gz", "a.gif")
    assert (done.code, done.err) == (0, "") and gif("a.gif")[:2] == (5, 1000)
    done = medimg("gif", "bold.nii.gz", "b.gif")
    assert done.code == 0 and "shows the first of 5 time steps (" in done.err and gif("b.gif")[0] == 6
    assert medimg("gif", "--channel", "-1", "bold.nii.gz", "c.gif").err == ""
    assert medimg("gif", "--time", "--channel", "2", "bold.nii.gz", "d.gif").code == 2
    done = medimg("gif", "--time", "scan.nii.gz", "d.gif")
    assert done.code == 2 and "scan.nii.gz: there is no second time step or channel" in done.err
    done = medimg("gif", "--time", "--axis", "S", "--at", "900mm", "bold.nii.gz", "d.gif")
    assert done.code == 2 and "lies outside" in done.err and not os.path.exists("d.gif")


def test_labels_and_overlays(medimg: Run) -> None:
    done = medimg("gif", "seg.nii.gz", "seg.gif")
    assert done.code == 0 and "taken for a label map" in done.err
    assert medimg("gif", "--overlay", "seg.nii.gz", "--plain", "scan.nii.gz", "a.gif").code == 0
    with Pillow.open("a.gif") as film:
        film.seek(3)
        shown = np.asarray(film.convert("RGB")).astype(int)
    assert (np.ptp(shown, axis=-1) > 20).mean() > 0.2
    assert medimg("gif", "--overlay", "bold.nii.gz", "scan.nii.gz", "b.gif").code == 2


@pytest.mark.parametrize(
    ("command", "name", "hint"),
    [
        ("gif", "a.mp4", "medimg video writes .mp4"),
        ("gif", "a.png", ".gif or .webp"),
        ("gif", "a", ".gif or .webp"),
        ("video", "a.gif", "medimg gif writes .gif"),
        ("video", "a.avi", ".mp4 or .webm"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_read(medimg: Run, command: str, name: str, hint: str) -> None:
    Path("bad.nii").write_bytes(b"no image")
    done = medimg(command, "bad.nii", name)
    assert done.code == 2 and done.out == "" and len(done.err.splitlines()) == 1
    assert name in done.err and hint in done.err


@pytest.mark.parametrize(
    "words",
    [("--axis", "X"), ("--seconds", "0"), ("--fps", "60"), ("--size", "1"), ("--loop", "-2"), ("--at", "here")],
    ids=" ".join,
)
def test_wrong_options(medimg: Run, words: tuple[str, str]) -> None:
    done = medimg("gif", *words, "scan.nii.gz", "a.gif")
    assert done.code == 2 and len(done.err.splitlines()) == 1 and not os.path.exists("a.gif")


def test_existing_outputs_stay_without_force(medimg: Run) -> None:
    Path("a.gif").write_bytes(b"old")
    done = medimg("gif", "scan.nii.gz", "a.gif")
    assert done.code == 2 and "exists" in done.err and Path("a.gif").read_bytes() == b"old"
    assert medimg("gif", "--force", "scan.nii.gz", "a.gif").code == 0 and gif("a.gif")[0] == 6


def test_many_inputs_and_standard_streams(medimg: Run, program: Run) -> None:
    done = medimg("gif", "scan.nii.gz", "bold.nii.gz", "--output-dir", "films", "--jobs", "2")
    assert done.code == 0 and sorted(os.listdir("films")) == ["bold.gif", "scan.gif"]
    done = medimg("gif", "scan.nii.gz", "--output-dir", "films", "--suffix", ".webp")
    assert done.code == 0 and gif("films/scan.webp")[0] == 6
    command = [sys.executable, "-m", "medimg_cli", "gif", "-", "-"]
    with open("scan.nii.gz", "rb") as scan:
        piped = subprocess.run(command, stdin=scan, capture_output=True, check=True, env=environment())
    assert piped.stdout[:3] == b"GIF" and piped.stdout[-1:] == b";"


def test_commands_that_make_films_do_without_torch_and_simpleitk(program: Run) -> None:
    seen = (
        "import sys; from medimg_cli.cli.app import main; code = main(sys.argv[1:]); "
        "print(code, *({'torch', 'SimpleITK', 'nibabel', 'rich', 'ffmpeg'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", seen, "gif", "scan.nii.gz", "a.gif"]
    done = subprocess.run(command, capture_output=True, check=True, env=environment())
    assert done.stdout.split() == [b"0"]


# video


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_videos(medimg: Run, suffix: str, codec: str) -> None:
    done = medimg("video", "--axis", "R", "--seconds", "2", "scan.nii.gz", f"a{suffix}")
    assert (done.code, done.out, done.err) == (0, "", "")
    facts = streams(f"a{suffix}")
    assert (facts["codec_name"], facts["pix_fmt"], facts["nb_read_frames"]) == (codec, "yuv420p", "8")
    assert (facts["width"], facts["height"]) == (244, 260)  # 22.5 x 24 mm at 2.5 mm, 27 times: 243 x 259


@needs_ffmpeg
def test_videos_of_many_inputs(medimg: Run) -> None:
    done = medimg("video", "scan.nii.gz", "seg.nii.gz", "--output-dir", "films", "--report", "report.jsonl")
    assert done.code == 0 and sorted(os.listdir("films")) == ["scan.mp4", "seg.mp4"]
    rows = [json.loads(line) for line in Path("report.jsonl").read_text().splitlines()]
    assert [row["status"] for row in rows] == ["done", "done"]
    assert any("label map" in remark for row in rows for remark in row["remarks"])


def test_no_ffmpeg_is_one_line_and_nothing_is_read(medimg: Run, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("PATH", str(here / "nothing"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    done = medimg("video", "missing.nii", "a.mp4")
    assert done.code == 2 and len(done.err.splitlines()) == 1
    assert "video needs ffmpeg; install ffmpeg, or pip install 'medimg-cli[ffmpeg]'" in done.err


LIMITED = """
import resource, sys
from medimg_cli.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("name", ["a.gif", "a.webp", pytest.param("a.mp4", marks=needs_ffmpeg)])
def test_a_film_that_finds_no_room_leaves_nothing(here: Path, name: str) -> None:
    command = [sys.executable, "-c", LIMITED, "video" if name == "a.mp4" else "gif", "scan.nii.gz", name]
    done = subprocess.run(command, capture_output=True, check=False, env=environment())
    told = done.stderr.decode()
    assert done.returncode == 2 and len(told.splitlines()) == 1 and name in told
    assert ("beyond the allowed size" in told) or ("ffmpeg failed" in told)
    assert not list(here.glob("*a.*"))


# progress


def test_frames_are_counted_where_a_person_looks() -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "medimg_cli", "gif", "--size", "500", "--bounce", "scan.nii.gz", "a.gif"]
    with subprocess.Popen(command, stderr=child, env=environment(TERM="xterm", COLUMNS="80")) as process:
        os.close(child)
        seen = b""
        while True:
            try:
                piece = os.read(parent, 1 << 16)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            seen += piece
    os.close(parent)
    assert process.returncode == 0 and b"/10" in seen


def count(task: Task, parameters: object, *, threads: int, advance: Any = None) -> None:
    for step in range(3):
        advance(step + 1, 3)


def test_steps_are_told_by_work_that_has_some(here: Path) -> None:
    told: list[tuple[int, int]] = []
    work = Work(count, steps=True)
    (outcome,) = run_tasks([Task("a", "b")], work, BatchOptions(), lambda done, total: told.append((done, total)))
    assert outcome.status == "done" and told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "words", ["av_interleaved_write_frame(): No space left on device", "Error writing trailer of x"]
)
def test_an_ffmpeg_that_gives_up_and_says_so_has_failed(
    medimg: Run, monkeypatch: pytest.MonkeyPatch, here: Path, words: str
) -> None:
    """Version 5 ends with 0 where the disk is full."""
    (here / "bin").mkdir()
    program = here / "bin" / "ffmpeg"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{words}' >&2\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    done = medimg("video", "--kind", "intensities", "scan.nii.gz", "out.mp4")
    assert done.code == 2 and len(done.err.splitlines()) == 1 and "ffmpeg failed" in done.err
    assert not (here / "out.mp4").exists()

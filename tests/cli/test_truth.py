"""What commands show is true: a phantom lies in every picture where the world says.

The file is made with NumPy and nibabel; what must be seen is computed in `tests.media.phantoms`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel")

from PIL import Image as Pillow

import medimg_cli as mi
from tests.cli.conftest import Run
from tests.media import phantoms
from tests.media.phantoms import CORNER, EXTENT, LOW, SPACINGS, Array
from tests.media.reading import check_mark, check_sheet

SIDES = pytest.mark.parametrize("neurological", [False, True], ids=["radiological", "neurological"])
STORAGES = ("RAS", "LPI", "PSR", "ILA")


@pytest.fixture(params=STORAGES)
def marked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a file with the mark, stored one way or another; the folder is the current one."""
    monkeypatch.chdir(tmp_path)
    array, affine = phantoms.sampled(phantoms.mark, SPACINGS[0])
    return phantoms.save(phantoms.stored(array.astype(np.uint8), affine, request.param), tmp_path / "mark.nii")


def voxel_of(path: str, world: Array) -> list[int]:
    """Return the voxel of a file at a point of the world."""
    return [round(n) for n in (np.linalg.inv(nibabel.load(path).affine) @ [*world, 1])[:3].tolist()]


LOOK = ("--window", "0:255", "--kind", "intensities", "--plain")


@SIDES
def test_plot_shows_the_mark(marked: str, neurological: bool, medimg: Run) -> None:
    """The same from Python and from the shell, whether the point is given in mm or as a voxel."""
    image = mi.ScalarImage(marked)
    how: dict[str, Any] = {"window": "0:255", "plain": True, "cross": False, "neurological": neurological}
    voxel = voxel_of(marked, CORNER)
    for sheet in (image.plot(coordinates=CORNER.tolist(), **how), image.plot(indices=voxel, **how)):
        check_sheet(sheet, neurological=neurological)
    side = ["--neurological"] if neurological else []
    for place in (",".join(f"{mm:g}mm" for mm in CORNER), ",".join(map(str, voxel))):
        done = medimg("plot", marked, "sheet.png", "--at", place, "--no-cross", "--force", *LOOK, *side)
        assert done.code == 0, done.err
        check_sheet(Pillow.open("sheet.png"), neurological=neurological)


@SIDES
def test_slice_shows_the_mark(marked: str, neurological: bool, medimg: Run) -> None:
    side = ["--neurological"] if neurological else []
    for name, letters in {"sagittal": "RL", "coronal": "AP", "axial": "SI"}.items():
        mm = CORNER[phantoms.view(name).across]
        for letter in letters:
            for more in ([], ["--scale", "3"]):
                words = ["--axis", letter, "--at", f"{mm:g}mm", "--force", *LOOK, *side, *more]
                done = medimg("slice", marked, "slice.png", *words)
                assert done.code == 0, done.err
                check_mark(name, Pillow.open("slice.png"), neurological=neurological)


def frame_through(letter: str, world: Array) -> int:
    """Return which slice of a journey of 1 mm steps towards a letter goes through a point of the world."""
    axis = next(n for n, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
    away = world[axis] - LOW[axis]
    return int(away if letter in "RAS" else EXTENT[axis] - away)


JOURNEYS = {"R": "sagittal", "P": "coronal", "S": "axial", "I": "axial"}


@SIDES
@pytest.mark.parametrize("letter", JOURNEYS)
def test_gif_shows_the_mark(marked: str, letter: str, neurological: bool, medimg: Run) -> None:
    """At the time that the journey passes its corner; before it starts, and at its end, there is nothing."""
    side = ["--neurological"] if neurological else []
    done = medimg("gif", marked, "film.gif", "--axis", letter, "--fps", 10, *LOOK, *side)
    assert done.code == 0, done.err
    frames, elapsed = {}, 0.0
    with Pillow.open("film.gif") as film:
        for n in range(getattr(film, "n_frames", 1)):
            film.seek(n)
            frames[elapsed] = film.convert("L")
            elapsed += film.info["duration"] / 1000
    count = EXTENT[phantoms.view(JOURNEYS[letter]).across]
    assert elapsed == pytest.approx(count / 10)
    moment = (frame_through(letter, CORNER) + 0.5) / 10
    passing = max(start for start in frames if start <= moment)
    check_mark(JOURNEYS[letter], frames[passing], neurological=neurological)
    assert np.asarray(frames[0.0]).max() <= 3 and np.asarray(frames[max(frames)]).max() <= 3


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@SIDES
def test_video_shows_the_mark(marked: str, neurological: bool, medimg: Run) -> None:
    side = ["--neurological"] if neurological else []
    done = medimg("video", marked, "film.mp4", "--axis", "I", "--fps", 10, "--size", 352, *LOOK, *side)
    assert done.code == 0, done.err
    number = frame_through("I", CORNER)
    only = ["-vf", f"select=eq(n\\,{number})", "-frames:v", "1", "-f", "image2", "frame.png"]
    subprocess.run(["ffmpeg", "-v", "error", "-i", "film.mp4", *only], check=True)
    check_mark("axial", Pillow.open("frame.png"), neurological=neurological, exact=14)


@pytest.mark.parametrize(("shape", "name"), [((5, 3), "channel"), ((15,), "time step")], ids=["5 x 3", "15"])
def test_all_commands_call_steps_the_same(
    shape: tuple[int, ...], name: str, medimg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = nibabel.Nifti1Image(np.random.default_rng(1).normal(100, 20, (8, 9, 6, *shape)), np.diag([2, 2, 3, 1]))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = 2.0
    nibabel.save(image, "series.nii")
    assert f"{name} 0 (0 to 14); --channel" in medimg("slice", "--axis", "S", "series.nii", "a.png").err
    assert f"{name} 0 (0 to 14); --channel" in medimg("slice", "--axis", "S", "--raw", "series.nii", "a.tif").err
    assert f"{name} 0 of 0-14" in medimg("show", "series.nii").out
    assert f"the first of 15 {name}s (" in medimg("gif", "series.nii", "a.gif").err
    assert f"5 of 15 {name}s, for" in medimg("gif", "--time", "--seconds", "0.1", "series.nii", "b.gif").err

"""Images as pictures: in files, in notebooks, in other programs."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import MissingExtraError, StorageError, UsageError

AFFINE = AffineMatrix.from_spacing((2.0, 2.5, 4.0), origin=(-8, 3, 1))


def scan(shape: tuple[int, ...] = (1, 8, 9, 6), dtype: str = "int16", **options: Any) -> ScalarImage:
    values = np.arange(np.prod(shape)).reshape(shape) % 100
    return ScalarImage(values.astype(dtype), affine=AFFINE, **options)


# -- films


def test_gifs_have_true_proportions_and_last_as_long_as_asked(tmp_path: Path) -> None:
    assert scan().to_gif(tmp_path / "a.gif", seconds=1.5, direction="S") is None
    with Pillow.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 6
        assert film.size == (184, 259)  # 16 x 22.5 mm at 2 mm, enlarged 23 times
        assert film.info["loop"] == 0
        lasts = []
        for frame in range(film.n_frames):
            film.seek(frame)
            lasts.append(film.info["duration"])
    assert sum(lasts) == 1500


def test_gifs_can_be_turned_around_and_end(tmp_path: Path) -> None:
    scan().to_gif(tmp_path / "a.gif", direction="S", loop=3)
    scan().to_gif(tmp_path / "b.gif", direction="S", reverse=True)
    with Pillow.open(tmp_path / "a.gif") as ahead, Pillow.open(tmp_path / "b.gif") as back:
        assert ahead.info["loop"] == 3
        back.seek(back.n_frames - 1)
        assert np.array_equal(np.asarray(ahead.convert("L")), np.asarray(back.convert("L")))


def test_long_journeys_are_thinned(tmp_path: Path) -> None:
    scan((1, 4, 4, 120)).to_gif(tmp_path / "a.gif", seconds=1)
    with Pillow.open(tmp_path / "a.gif") as film:
        assert film.n_frames <= 50


def test_values_can_be_shown_as_they_are(tmp_path: Path) -> None:
    ScalarImage(np.full((1, 4, 4, 3), 77.0)).to_gif(tmp_path / "a.gif", rescale=False, plain=True)
    with Pillow.open(tmp_path / "a.gif") as film:
        assert set(np.asarray(film.convert("L")).ravel()) == {77}


@pytest.mark.parametrize(
    "image",
    [
        scan((3, 5, 4, 3)),
        scan((1, 5, 4, 1)),
        scan(dtype="float32"),
        scan(dtype="bool"),
        LabelMap(np.arange(60, dtype="uint8").reshape(1, 3, 4, 5) % 4),
        ScalarImage(np.full((1, 3, 4, 5), np.nan)),
    ],
    ids=["4-D", "one slice", "float", "bool", "labels", "nan"],
)
def test_any_image_can_be_shown(image: Any, tmp_path: Path) -> None:
    image.to_gif(tmp_path / "a.gif")
    assert image.plot().size[0] > 100
    assert "<img" in image._repr_html_()


def test_films_that_make_no_sense(tmp_path: Path) -> None:
    image = scan()
    with pytest.raises(ValueError, match="no path is given"):
        image.to_gif()
    with pytest.raises(ValueError, match="no path is given"):
        image.to_video()
    with pytest.raises(UsageError, match="direction"):
        image.to_gif(tmp_path / "a.gif", direction="X")
    for seconds in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="seconds"):
            image.to_gif(tmp_path / "a.gif", seconds=seconds)
    with pytest.raises(UsageError, match=r"ends in \.gif"):
        image.to_gif(tmp_path / "a.png")
    with pytest.raises(OSError):
        image.to_gif(tmp_path / "nowhere" / "a.gif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed")
def test_videos_play_in_browsers(tmp_path: Path) -> None:
    scan((1, 9, 7, 6)).to_video(tmp_path / "a.mp4", seconds=2, direction="A")
    asked = "stream=codec_name,pix_fmt,width,height,nb_frames,duration"
    command = ["ffprobe", "-v", "error", "-show_entries", asked, "-of", "json", str(tmp_path / "a.mp4")]
    (stream,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    assert (stream["codec_name"], stream["pix_fmt"], stream["nb_frames"]) == ("h264", "yuv420p", "7")
    assert (stream["width"] % 2, stream["height"] % 2) == (0, 0)
    assert (stream["width"], stream["height"]) == (198, 264)  # 18 x 24 mm at 2 mm, enlarged 22 times
    assert float(stream["duration"]) == pytest.approx(2, abs=0.1)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_a_talkative_encoder_does_not_stop(tmp_path: Path) -> None:
    """What ffmpeg says at this level is more than a pipe holds."""
    program = (
        "import sys, numpy as np; from medimg_cli import ScalarImage;"
        "image = ScalarImage(np.arange(40 * 30 * 400, dtype='int32').reshape(1, 40, 30, 400));"
        "image.to_video(sys.argv[1], seconds=10, verbosity='trace')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.mp4")], check=True, timeout=120)
    assert (tmp_path / "a.mp4").stat().st_size > 0


def test_no_ffmpeg_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[ffmpeg\]"):
        scan().to_video(tmp_path / "a.mp4")


# -- plots


def test_plots_pass_through_the_place_that_is_asked_for(tmp_path: Path) -> None:
    values = np.zeros((1, 20, 20, 20), "uint8")
    values[0, 3, 15, 8] = 255
    image = ScalarImage(values, affine=AffineMatrix.from_spacing(2, origin=(5, 5, 5)))
    there = image.plot(indices=(3, 15, 8), percentiles=(0, 100), plain=True, output_path=tmp_path / "a.png")
    same = image.plot(coordinates=(11, 35, 21), percentiles=(0, 100), plain=True)
    ends = image.plot(indices=(3, -5, 8), window="full", plain=True)
    assert there.tobytes() == same.tobytes() == ends.tobytes()
    with Pillow.open(tmp_path / "a.png") as saved:
        assert saved.convert("RGB").tobytes() == there.tobytes()
    bright = np.asarray(there.convert("L")) > 250
    assert bright[:, : there.width // 3].any() and bright[:, -there.width // 3 :].any()
    turned = image.reorient("SPL")
    assert turned.plot(coordinates=(11, 35, 21), window="full", plain=True).tobytes() == there.tobytes()


def test_plots_say_what_they_show() -> None:
    image = scan()
    assert image.plot(plain=True).height < image.plot(title="").height < image.plot(title="x").height
    assert image.plot(cross=True).tobytes() != image.plot().tobytes() == image.plot(cross=False).tobytes()
    assert image.plot(neurological=True).tobytes() != image.plot().tobytes()
    assert image.plot(mosaic=(2, 3), axis="A").size != image.plot(mosaic=(1, 3), axis="A").size
    assert image.plot(size=100, plain=True).width < image.plot(plain=True).width


def test_plots_with_an_overlay(tmp_path: Path) -> None:
    image = ScalarImage(np.zeros((1, 8, 9, 6), "int16"), affine=AFFINE)
    labels = np.zeros((1, 8, 9, 6), "uint8")
    labels[0, 4:] = 1
    drawn = LabelMap(labels, affine=AFFINE)
    drawn.save(tmp_path / "labels.nii")
    by_path = image.plot(overlay=tmp_path / "labels.nii", opacity=1, plain=True)
    assert by_path.tobytes() == image.plot(overlay=drawn, opacity=1, plain=True).tobytes()
    colours = {colour for _, colour in by_path.getcolors()}
    assert colours == {(0, 0, 0), (230, 75, 60)}


def test_plots_that_make_no_sense(tmp_path: Path) -> None:
    image = scan()
    with pytest.raises(UsageError, match="given twice"):
        image.plot(indices=(1, 1, 1), coordinates=(0, 0, 0))
    with pytest.raises(UsageError, match="given twice"):
        image.plot(window="full", percentiles=(1, 99))
    with pytest.raises(UsageError, match="three numbers"):
        image.plot(indices=(1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="outside the image"):
        image.plot(indices=(1, 1, 99))
    with pytest.raises(UsageError, match="no point"):
        image.plot(indices=(1, 1, 1), mosaic=(2, 2))
    with pytest.raises(UsageError, match="for a mosaic"):
        image.plot(axis="S")
    with pytest.raises(UsageError, match="no picture"):
        image.plot(output_path=tmp_path / "a.xyz")
    with pytest.raises(TypeError, match="nothing"):
        image.plot(nothing=1)


# -- notebooks


def test_the_html_is_complete_and_safe(tmp_path: Path) -> None:
    path = tmp_path / "<script>alert(1)<"
    path.mkdir()
    scan().save(path / "a.nii.gz")
    page = ScalarImage(path / "a.nii.gz")._repr_html_()
    assert page.count('src="data:image/png;base64,') == 3
    assert "(1, 8, 9, 6)" in page and "2 x 2.5 x 4 mm" in page and "RAS+" in page
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "http" not in page
    assert len(page) < 60_000


def test_the_html_of_what_cannot_be_shown(tmp_path: Path) -> None:
    assert "empty" in ScalarImage()._repr_html_()
    scan((1, 30, 30, 30)).save(tmp_path / "a.nii")
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:-900])
    page = ScalarImage(tmp_path / "a.nii")._repr_html_()
    assert "truncated" in page and "<img" not in page


def test_thumbnails_of_a_file_load_nothing(tmp_path: Path) -> None:
    scan((1, 40, 40, 40)).save(tmp_path / "a.nii")
    image = ScalarImage(tmp_path / "a.nii")
    assert "<img" in image._repr_html_() and not image.is_loaded


def test_the_interactive_viewer() -> None:
    pytest.importorskip("ipyniivue")
    viewer = scan().plot_interactive(height=200)
    assert viewer.height == 200 and viewer.opts.is_radiological_convention
    assert len(viewer.volumes) == 1


def test_the_interactive_viewer_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[notebook\]"):
        scan().plot_interactive()


# -- other programs


@pytest.fixture
def viewer(tmp_path: Path) -> Path:
    """A program that writes down what it was given, and that it was there."""
    program, told = tmp_path / "my viewer", tmp_path / "told"
    program.write_text(
        f'#!/bin/sh\nfor word in "$@"; do echo "$word" >> "{told}.part"; test -s "$word" && echo there >> "{told}.part"; done\nmv "{told}.part" "{told}"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def told_by(viewer: Path) -> list[str]:
    told = viewer.parent / "told"
    for _ in range(100):
        if told.exists():
            return told.read_text().splitlines()
        time.sleep(0.05)
    raise AssertionError("the viewer was not started")


def test_a_viewer_that_is_given(viewer: Path) -> None:
    scan().show(viewer)
    path, there = told_by(viewer)
    assert path.endswith(".nii.gz") and there == "there"
    assert np.array_equal(ScalarImage(path).numpy(), scan().numpy())


def test_what_is_shown_outlives_the_program(viewer: Path) -> None:
    program = (
        "import sys, numpy as np; from medimg_cli import ScalarImage;"
        "ScalarImage(np.ones((1, 3, 4, 5), 'uint8')).show(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, str(viewer)], check=True, timeout=60)
    path = Path(told_by(viewer)[0])
    assert path.stat().st_size > 0
    shutil.rmtree(path.parent)


def test_the_viewer_of_the_environment(viewer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITK_SHOW_COMMAND", f"'{viewer}' -x '%f;touch {viewer.parent}/pwned'")
    scan().show()
    words = told_by(viewer)
    assert words[0] == "-x" and words[1].endswith(f".nii.gz;touch {viewer.parent}/pwned")
    assert not (viewer.parent / "pwned").exists()


def test_a_viewer_on_the_search_path(viewer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITK_SHOW_COMMAND", raising=False)
    viewer.rename(viewer.parent / "itksnap")
    monkeypatch.setenv("PATH", f"{viewer.parent}{os.pathsep}{os.environ['PATH']}")
    scan().show()
    assert told_by(viewer)[-1] == "there"


def test_no_viewer_is_a_runtime_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITK_SHOW_COMMAND", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("medimg_cli.media.viewer._PLACES", ())
    with pytest.raises(RuntimeError, match="no viewer"):
        scan().show()
    with pytest.raises(StorageError, match="no program"):
        scan().show(tmp_path / "nothing")


def test_the_words_of_torchio_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = scan()
    plain = image.plot(colormap="magma", cross=True).tobytes()
    assert image.plot(cmap="magma", intersections=True, show=False).tobytes() == plain
    assert image.plot(cmap=None, show=True).tobytes() == image.plot().tobytes()
    with pytest.raises(TypeError, match="for matplotlib; use size"):
        image.plot(figsize=(4, 3))
    with pytest.raises(TypeError, match="'sepia'; how pictures look is told by window, colormap"):
        image.to_gif(tmp_path / "x.gif", sepia=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    image.plot(output_path="~/x.png")
    assert (tmp_path / "x.png").exists()

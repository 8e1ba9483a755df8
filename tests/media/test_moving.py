"""Films: which frames they have, and what is found in the files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from medimg_cli import LabelMap, ScalarImage
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import MissingExtraError, StorageError, UsageError
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.media.film import FASTEST, Film, Roll, timetable
from medimg_cli.media.frames import Scene
from medimg_cli.media.look import Look
from medimg_cli.media.moving import write_animation
from medimg_cli.media.palettes import Palette
from medimg_cli.media.video import write_video
from tests.cli.conftest import environment

Array = np.ndarray[Any, Any]

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffmpeg is not installed")

AFFINE = AffineMatrix.from_spacing((2.0, 2.5, 4.0), origin=(-8, 3, 1))
SHAPE = (1, 8, 9, 6)


def scene(values: Array | None = None, affine: AffineMatrix = AFFINE, *, labels: bool = False, **look: Any) -> Scene:
    """Return the scene of an array (C, I, J, K); a smooth one where none is given."""
    if values is None:
        i, j, k = np.ogrid[: SHAPE[1], : SHAPE[2], : SHAPE[3]]
        values = (10 * i + 7 * j + 20 * k).astype("int16")[None]
    axes = (("channels", len(values)),) if len(values) > 1 else ()
    header = Header(shape=values.shape, dtype=values.dtype.name, affine=affine, axes=axes)
    return Scene(ArrayBackend(values, header), Look(**look), labels=labels)


def roll(*, film: Film | None = None, **options: Any) -> Roll:
    return Roll(scene(**options), film or Film())


def frames_of(path: Path) -> tuple[list[Array], list[int]]:
    """Return the frames of an animated picture as colours, and how many milliseconds each lasts."""
    shown, lasts = [], []
    with Pillow.open(path) as film:
        for frame in range(getattr(film, "n_frames", 1)):
            film.seek(frame)
            film.load()
            shown.append(np.asarray(film.convert("RGB")))
            lasts.append(int(film.info.get("duration", 0)))
    return shown, lasts


def colours_of(film: Roll) -> list[Array]:
    return [np.asarray(frame.convert("RGB")) for frame in film]


# which frames there are


films = st.builds(
    Film,
    seconds=st.none() | st.floats(0.02, 100),
    fps=st.none() | st.floats(0.1, FASTEST),
    reverse=st.booleans(),
    bounce=st.booleans(),
)


@given(st.integers(1, 700), films)
def test_timetables(count: int, film: Film) -> None:
    table = timetable(count, film)
    shown = table.places
    assert shown and set(shown) <= set(range(count))
    assert len(shown) <= FASTEST * table.seconds * (1 + 1e-6) or len(shown) == 1
    assert table.left_out == count - len(set(shown))
    if film.seconds is not None:
        assert table.seconds == film.seconds
    elif film.fps is None:
        frames = 2 * count - 2 if film.bounce else count
        assert table.seconds == (frames / FASTEST if 5 * FASTEST <= frames <= 8 * FASTEST else 5)
        assert not table.left_out or frames > 8 * FASTEST
    else:
        assert table.seconds == pytest.approx(len(shown) / film.fps)
    if film.fps is not None and film.seconds is None:
        assert table.left_out == 0
    if film.fps is not None and film.seconds is not None:
        assert abs(len(shown) - film.seconds * film.fps) <= 1
    for unit in (100, 1000):
        lasts = table.lasts(unit)
        assert sum(lasts) == round(unit * table.seconds) and max(lasts) - min(lasts) <= 1
    assert float(table.rate) == pytest.approx(len(shown) / table.seconds, rel=1e-3)


@given(st.integers(1, 700), st.floats(0.02, 30), st.booleans())
def test_thinned_films_move_evenly_and_as_many_slices_as_fit_are_shown(
    count: int, seconds: float, reverse: bool
) -> None:
    shown = timetable(count, Film(seconds=seconds, reverse=reverse)).places
    steps = {b - a for a, b in pairwise(shown)}
    assert len(steps) <= 1
    step = abs(steps.pop()) if steps else count
    assert step == 1 or -(-count // (step - 1)) > FASTEST * seconds
    assert (shown[-1] if reverse else shown[0]) == 0


@given(st.integers(1, 200), st.booleans())
def test_there_and_back_shows_no_end_twice(count: int, reverse: bool) -> None:
    shown = timetable(count, Film(seconds=60, bounce=True, reverse=reverse)).places
    assert len(shown) == max(1, 2 * count - 2) or (count == 2 and len(shown) == 2)
    around = (*shown, shown[0])
    assert count == 1 or all(abs(b - a) == 1 for a, b in pairwise(around))
    assert shown[0] == (count - 1 if reverse else 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"axis": "X"},
        {"axis": "RA"},
        {"at": "middle"},
        *({"seconds": value} for value in (0, -1, 0.001, 3600, float("nan"), float("inf"))),
        *({"fps": value} for value in (0, -5, 51, float("nan"))),
        *({"loop": value} for value in (-1, 65535)),
        *({"size": value} for value in (0, 15, 9000)),
    ],
    ids=str,
)
def test_films_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Film(**wrong)


@pytest.mark.parametrize("film", [Film(), Film(reverse=True), Film(bounce=True), Film(seconds=3, fps=1), Film(fps=4)])
def test_frames_are_the_slices_of_the_timetable(film: Film) -> None:
    """Frames come in the order of the timetable, also where it repeats, skips and turns."""
    it = scene()
    plane, path = it.sweep("I")
    shown = Roll(it, film)
    alone = [it.picture(plane, path[place], scale=it.scale(plane, least=256)) for place in shown.table.places]
    assert [frame.tobytes() for frame in shown] == [frame.tobytes() for frame in alone]
    assert len(shown) == len(alone)


def test_places_that_are_not_evenly_spaced() -> None:
    values = np.arange(30, dtype="uint8").reshape(1, 1, 1, 30).repeat(4, 1).repeat(3, 2)
    film = Film(axis="S", seconds=1, fps=7, bounce=True)
    shown = Roll(scene(values, window="0:255", plain=True), film)
    assert [np.asarray(frame).max() for frame in shown] == [0, 8, 16, 24, 25, 17, 9]


# GIF and WebP


def test_greys_are_exact_in_a_gif(tmp_path: Path) -> None:
    film = roll(film=Film(seconds=1.53, loop=3, bounce=True))
    write_animation(film, str(tmp_path / "a.gif"), loop=3)
    shown, lasts = frames_of(tmp_path / "a.gif")
    assert len(shown) == len(film) == 10 and sum(lasts) == 1530
    assert all(np.array_equal(found, drawn) for found, drawn in zip(shown, colours_of(film), strict=True))
    with Pillow.open(tmp_path / "a.gif") as picture:
        assert picture.info["loop"] == 3


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_colour_maps_are_exact(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(3).integers(0, 4000, (1, 30, 20, 7), dtype="int16")
    film = roll(values=values, colormap="viridis", plain=True)
    write_animation(film, str(tmp_path / f"a{suffix}"))
    shown, lasts = frames_of(tmp_path / f"a{suffix}")
    assert all(np.array_equal(found, drawn) for found, drawn in zip(shown, colours_of(film), strict=True))
    assert sum(lasts) == 5000


def test_labels_keep_their_colours(tmp_path: Path) -> None:
    values = np.arange(1 * 20 * 10 * 5).reshape(1, 20, 10, 5) % 150
    film = roll(values=values.astype("uint8"), labels=True)
    write_animation(film, str(tmp_path / "a.gif"))
    shown, _ = frames_of(tmp_path / "a.gif")
    plain = colours_of(roll(values=values.astype("uint8"), labels=True, plain=True))
    for found, drawn, bare in zip(shown, colours_of(film), plain, strict=True):
        bare_pixels = (drawn == bare).all(-1)
        assert bare_pixels.mean() > 0.9
        assert np.array_equal(found[bare_pixels], drawn[bare_pixels])


def test_frames_that_are_the_same_keep_their_time(tmp_path: Path) -> None:
    film = roll(values=np.full((1, 4, 5, 6), 7, "uint8"), film=Film(seconds=3))
    write_animation(film, str(tmp_path / "a.gif"))
    shown, lasts = frames_of(tmp_path / "a.gif")
    assert len(shown) == 6 and sum(lasts) == 3000
    assert (tmp_path / "a.gif").stat().st_size < 6000


def test_webp_is_lossless_and_repeats_as_often(tmp_path: Path) -> None:
    """GIF says how often a film is repeated, WebP how often it is played."""
    film = roll(film=Film(seconds=2, loop=2))
    write_animation(film, str(tmp_path / "a.webp"), loop=2)
    shown, lasts = frames_of(tmp_path / "a.webp")
    assert all(np.array_equal(found, drawn) for found, drawn in zip(shown, colours_of(film), strict=True))
    assert sum(lasts) == 2000
    with Pillow.open(tmp_path / "a.webp") as picture:
        assert picture.info["loop"] == 3


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 7, 1), (1, 300, 2, 1), (2, 3, 1, 2)], ids=str)
def test_tiny_images(tmp_path: Path, shape: tuple[int, ...], suffix: str) -> None:
    film = roll(values=np.arange(np.prod(shape), dtype="float32").reshape(shape))
    write_animation(film, str(tmp_path / f"a{suffix}"))
    shown, _ = frames_of(tmp_path / f"a{suffix}")
    assert len(shown) == shape[3] and max(shown[0].shape) >= 256


@pytest.mark.parametrize("kind", ["grey", "colours", "labels"])
def test_files_are_no_larger_than_those_of_pillow(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(1).normal(100, 30, (1, 60, 50, 20)).astype("int16")
    values[:, :, :20] = 0
    film = roll(
        values=values // 50 if kind == "labels" else values,
        labels=kind == "labels",
        colormap="magma" if kind == "colours" else "gray",
    )
    write_animation(film, str(tmp_path / "a.gif"))
    memory = BytesIO()
    first, *others = film
    first.save(memory, "GIF", save_all=True, append_images=others, duration=100, loop=0)
    assert (tmp_path / "a.gif").stat().st_size <= 1.05 * len(memory.getvalue())


def test_the_part_that_does_not_change_is_left_out_where_wanted(tmp_path: Path) -> None:
    values = np.zeros((1, 40, 30, 8), "uint8")
    for k in range(8):
        values[0, 5 : 8 + k, 5, k] = 200
    film = roll(values=values, window="0:255")
    write_animation(film, str(tmp_path / "a.gif"))
    write_animation(film, str(tmp_path / "b.gif"), optimize=False)
    assert (tmp_path / "a.gif").stat().st_size < 0.5 * (tmp_path / "b.gif").stat().st_size
    for found, same in zip(frames_of(tmp_path / "a.gif")[0], frames_of(tmp_path / "b.gif")[0], strict=True):
        assert np.array_equal(found, same)


def test_a_frame_that_lasts_too_long(tmp_path: Path) -> None:
    film = roll(values=np.zeros((1, 4, 4, 2), "uint8"), film=Film(seconds=1400))
    with pytest.raises(UsageError, match="700 s"):
        write_animation(film, str(tmp_path / "a.gif"))
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"old")
    with pytest.raises(StorageError, match="exists"):
        write_animation(roll(), str(tmp_path / "a.gif"))
    assert (tmp_path / "a.gif").read_bytes() == b"old"
    write_animation(roll(), str(tmp_path / "a.gif"), force=True)
    assert (tmp_path / "a.gif").read_bytes()[:3] == b"GIF"


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_the_same_film_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in "ab":
        write_animation(roll(colormap="inferno"), str(tmp_path / f"{name}{suffix}"))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


# palettes


def test_palettes_find_the_nearest_colour() -> None:
    chance = np.random.default_rng(5)
    own = chance.integers(0, 256, (256, 3))
    other = chance.integers(0, 256, (40, 50, 3), dtype="uint8")
    palette = Palette(own)
    found = np.asarray(palette.numbers(Pillow.fromarray(other))).ravel()
    distances = ((other.reshape(-1, 1, 3).astype(int) - own[None]) ** 2).sum(-1)
    assert np.array_equal(distances[np.arange(len(found)), found], distances.min(1))
    assert np.array_equal(
        palette.colours[np.asarray(palette.numbers(Pillow.fromarray(own[None].astype("uint8"))))[0]], own
    )


# video


def probe(path: Path) -> dict[str, Any]:
    asked = (
        "stream=codec_name,pix_fmt,width,height,nb_read_frames,duration,r_frame_rate,sample_aspect_ratio,"
        "color_range,color_space,color_transfer,color_primaries:format=duration"
    )
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", asked, "-of", "json", str(path)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {**found["streams"][0], "seconds": float(found["format"]["duration"])}


def decoded(path: Path) -> Array:
    """Return the frames of a video as greys, as a screen shows them."""
    facts = probe(path)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=in_range=tv:out_range=pc", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "gray", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, facts["height"], facts["width"]).astype(int)


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_videos_show_the_slices(tmp_path: Path, suffix: str, codec: str) -> None:
    film = roll(film=Film(axis="A", seconds=3), window="0:200")
    write_video(film, str(tmp_path / f"a{suffix}"))
    facts = probe(tmp_path / f"a{suffix}")
    assert (facts["codec_name"], facts["pix_fmt"], facts["nb_read_frames"]) == (codec, "yuv420p", "9")
    assert facts["seconds"] == pytest.approx(3, abs=0.05)
    assert facts["r_frame_rate"] == "3/1" and facts.get("sample_aspect_ratio", "1:1") in ("1:1", "N/A")
    assert {facts[f"color_{name}"] for name in ("space", "transfer", "primaries")} == {"bt709"}
    assert facts["color_range"] == "tv"
    drawn = np.stack([np.asarray(frame) for frame in film]).astype(int)
    found = decoded(tmp_path / f"a{suffix}")
    assert found.shape == drawn.shape
    assert np.abs(found - drawn).mean() < 2
    assert abs(found[drawn == 0].mean()) < 2 and abs(found[drawn == 255].mean() - 255) < 3


@needs_ffmpeg
def test_the_index_stands_in_front(tmp_path: Path) -> None:
    write_video(roll(), str(tmp_path / "a.mp4"))
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@needs_ffmpeg
@pytest.mark.parametrize("shape", [(1, 257, 301, 3), (1, 256, 301, 3), (1, 1, 1, 1), (1, 2, 900, 2)], ids=str)
def test_odd_sizes_are_padded_with_black(tmp_path: Path, shape: tuple[int, ...]) -> None:
    film = roll(values=np.full(shape, 50, "uint8"), affine=AffineMatrix(), window="0:50", plain=True)
    write_video(film, str(tmp_path / "a.mp4"))
    width, height = next(iter(film)).size
    found = decoded(tmp_path / "a.mp4")
    assert found.shape == (shape[3], height + height % 2, width + width % 2)
    assert found[:, :height, :width].min() > 200
    assert found[:, height:].size == 0 or found[:, height:].max() < 40
    assert found[:, :, width:].size == 0 or found[:, :, width:].max() < 40


@needs_ffmpeg
def test_colours_come_out_right(tmp_path: Path) -> None:
    values = np.zeros((1, 64, 48, 2), "uint8")
    for n in range(4):
        values[0, 16 * n : 16 * n + 16] = n
    table = LabelTable([(1, "a", (230, 20, 20)), (2, "b", (20, 180, 40)), (3, "c", (40, 60, 220))])
    header = Header(shape=values.shape, dtype="uint8", affine=AffineMatrix(), labels=table)
    film = Roll(Scene(ArrayBackend(values, header), Look(plain=True), labels=True), Film())
    write_video(film, str(tmp_path / "a.mp4"))
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mp4"), "-f", "rawvideo", "-vf"]
    command += ["scale=in_color_matrix=bt709:in_range=tv", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    drawn = colours_of(film)[0].astype(int)
    found = np.frombuffer(raw, np.uint8).reshape(-1, *drawn.shape)[0].astype(int)
    assert np.abs(found - drawn).mean() < 4


@needs_ffmpeg
def test_time_films_of_a_real_series(tmp_path: Path) -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    image = ScalarImage(folder / "example4d.nii.gz")
    image.to_gif(tmp_path / "a.gif", time=True, direction="S", at="40%", seconds=1)
    image.to_video(tmp_path / "a.mp4", time=True, fps=2, seconds=None)
    shown, lasts = frames_of(tmp_path / "a.gif")
    assert len(shown) == 2 and sum(lasts) == 1000
    assert 0 < np.abs(shown[0].astype(int) - shown[1]).mean() < 20
    facts = probe(tmp_path / "a.mp4")
    assert facts["nb_read_frames"] == "2" and facts["seconds"] == pytest.approx(1, abs=0.05)
    other = ScalarImage(image.numpy()[1:], affine=image.affine)
    other.to_gif(tmp_path / "b.gif", time=False, direction="S")
    with pytest.raises(UsageError, match="no second time step"):
        other.to_gif(tmp_path / "c.gif", time=True)


# encoders


#: Says of every encoder that it does not know it.
LACKING = """
for word; do case $last in -vcodec) name=$word;; esac; last=$word; done
echo "Unknown encoder '$name'" >&2; exit 1
"""


def fake_ffmpeg(folder: Path, script: str) -> str:
    """Put a program named ffmpeg into a folder, which finds the real one as $REAL."""
    folder.mkdir()
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\nREAL={shutil.which('ffmpeg')}\n{script}\n")
    program.chmod(0o755)
    return str(folder)


@needs_ffmpeg
def test_another_encoder_is_taken_where_one_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$*" in *libvpx-vp9*) echo "Unknown encoder \'libvpx-vp9\'" >&2; exit 1;; esac\nexec $REAL "$@"'
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", script), prepend=os.pathsep)
    write_video(roll(), str(tmp_path / "a.webm"))
    assert probe(tmp_path / "a.webm")["codec_name"] == "vp8"


@needs_ffmpeg
def test_no_encoder_at_all_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", LACKING), prepend=os.pathsep)
    with pytest.raises(MissingExtraError, match=r"no encoder for \.mp4 .*libx264.*install"):
        write_video(roll(), str(tmp_path / "a.mp4"))
    assert not (tmp_path / "a.mp4").exists()


@needs_ffmpeg
def test_what_the_encoder_says_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", "echo out of ink >&2; exit 3"), prepend=os.pathsep)
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(StorageError, match="ffmpeg failed: out of ink"):
        write_video(roll(), str(tmp_path / "a.mp4"), force=True)
    assert (tmp_path / "a.mp4").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "bin"]


@needs_ffmpeg
def test_an_ffmpeg_from_a_wheel_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which("ffmpeg")
    module = tmp_path / "imageio_ffmpeg.py"
    module.write_text(f"def get_ffmpeg_exe():\n    return {real!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    write_video(roll(), str(tmp_path / "a.mp4"))
    monkeypatch.setenv("PATH", fake_ffmpeg(tmp_path / "bin", LACKING))
    write_video(roll(), str(tmp_path / "b.mp4"))
    monkeypatch.undo()
    assert probe(tmp_path / "a.mp4")["codec_name"] == probe(tmp_path / "b.mp4")["codec_name"] == "h264"


PROGRAM = """
import signal, sys
from medimg_cli.cli.app import main
from medimg_cli.media.film import Roll

def told(roll):
    for number, frame in enumerate(drawn(roll)):
        if number == 5:
            print("five frames", flush=True)
        yield frame

signal.signal(signal.SIGINT, signal.default_int_handler)
drawn, Roll.__iter__ = Roll.__iter__, told
sys.exit(main(sys.argv[1:]))
"""


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4", ".webm"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_nothing_is_left_of_a_film_that_was_interrupted(tmp_path: Path, suffix: str, number: int) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"old")
    source = tmp_path / "scan.nii"
    ScalarImage(np.zeros((1, 64, 64, 400), "uint8")).save(source)
    command = [sys.executable, "-c", PROGRAM, "video" if suffix in (".mp4", ".webm") else "gif", "--size", "900", "-f"]
    command += ["--seconds", "100", str(source), str(tmp_path / f"a{suffix}")]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), start_new_session=True, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == b"five frames\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}.get(signal.Signals(number), -number)
    assert told == b""
    assert (tmp_path / f"a{suffix}").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [f"a{suffix}", "scan.nii"]


# members of images


def test_looks_and_films_are_keywords_of_images(tmp_path: Path) -> None:
    image = ScalarImage(np.arange(8 * 9 * 6, dtype="int16").reshape(1, 8, 9, 6), affine=AFFINE)
    marks = LabelMap((image.numpy() > 300).astype("uint8"), affine=AFFINE)
    image.to_gif(tmp_path / "a.gif", colormap="magma", overlay=marks, size=100, bounce=True, plain=True)
    shown, _ = frames_of(tmp_path / "a.gif")
    assert len(shown) == 10 and max(shown[0].shape) == 100
    assert (np.ptp(shown[0].astype(int), axis=-1) > 0).any()
    for write in (image.to_gif, image.to_video):
        with pytest.raises(TypeError, match="sepia"):
            write(tmp_path / ("b.gif" if write == image.to_gif else "b.mp4"), sepia=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]

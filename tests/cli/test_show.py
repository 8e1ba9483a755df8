"""``medimg show``: what a pipe gets, and a person at a terminal: keys, sizes, and the terminal as it was afterwards."""

from __future__ import annotations

import base64
import codecs
import errno
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.cli.browsing import keys_of
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from tests.media.test_terminal import pixels_of

from .conftest import Run, environment

Array = np.ndarray[Any, Any]

_INK = " .:-=+*#%@"


def save(name: str, array: Array, spacing: tuple[float, ...] = (2.0, 1.0, 3.0), **fields: Any) -> None:
    """Save a volume whose axes run to R, A, S, its first voxel centre at -20, -10, -6 mm."""
    affine = AffineMatrix.from_spacing(spacing, origin=(-20.0, -10.0, -6.0))
    fields = {"affine": affine, **fields}
    save_backend(ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields)), name)


def volume() -> Array:
    """Return a volume with bright corners: right 100, front 50, and 10 more with each slice towards the head."""
    array = np.zeros((1, 10, 16, 7), "float32")
    array[:, 5:] += 100
    array[:, :, 8:] += 50
    return array + (np.arange(7) * 10).astype("float32") + 0.5


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a volume, the same over time, a picture, a label map, and what is none of these."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)
    save("head.nii.gz", volume())
    bold = np.concatenate([volume(), 210 - volume(), volume() // 2])
    save("bold.nii", bold, axes=(("time", 3),), time_spacing=2.0, time_units="s")
    labels = np.zeros((1, 10, 16, 7), "uint8")
    labels[:, :5, :8] = 1
    save("labels.nii", labels, intent="label")
    save("flat.nii", volume()[..., :1])
    Path("bad.nii").write_text("this is no image at all")
    return tmp_path


# -- in a pipe ------------------------------------------------------------------------------------------------------


def test_a_pipe_gets_ascii_with_letters_and_a_caption(medimg: Run, images: Path) -> None:
    result = medimg("show", "head.nii.gz")
    assert (result.code, result.err) == (0, "")
    assert result.out.isascii() and "\x1b" not in result.out
    *picture, caption = result.out.splitlines()
    assert max(map(len, picture)) <= 80 and all(line == line.rstrip() for line in picture)
    # 10 x 2 = 20 mm from left to right, 16 from front to back, 7 x 3 = 21 high, and three views of one scale
    assert sorted("".join(re.findall("[A-Z]", "".join(picture)))) == sorted("APSI" + "RLSI" + "RLAP")
    assert caption.startswith("head.nii.gz  L 10 mm, P 2 mm, S 3 mm  radiological, window ")


def test_one_slice_where_it_is_asked_for(medimg: Run, images: Path) -> None:
    result = medimg("show", "--axis", "S", "--at", "0", "--window", "0:160", "--columns", "42", "head.nii.gz")
    lines = [line.ljust(42) for line in result.out.splitlines()]
    assert lines[0].strip() == "A" and lines[-2].strip() == "P"
    assert lines[-1].strip() == "head.nii.gz  axial 0 of 0-6  I 6 mm  radiological, window 0 to 160"
    body = lines[1:-2]
    assert len(body) == 16  # 40 columns for 20 mm, so 2 a mm, one line for each of the 16 mm
    middle = body[len(body) // 2]
    assert middle[0] == "R" and middle[41] == "L"
    ink = np.array([[_INK.index(each) for each in line[1:41]] for line in body])
    # the patient's right is bright, and on the left; so is the front, which is above
    assert ink[2, 5] > ink[13, 5] > ink[13, 35] and ink[2, 35] > ink[13, 35]
    assert [ink[2, 5], ink[13, 5], ink[2, 35], ink[13, 35]] == [9, 6, 3, 0]


def test_places_are_those_of_slice(medimg: Run, images: Path) -> None:
    def where(*words: str) -> str:
        result = medimg("show", *words, "head.nii.gz")
        assert result.code == 0, result.err
        return result.out.splitlines()[-1]

    assert "axial 6 of 0-6  S 12 mm" in where("--axis", "S", "--at", "100%")
    assert "axial 6 of 0-6  S 12 mm" in where("--axis", "i", "--at", "0")
    assert "axial 2 of 0-6  S 0 mm" in where("--axis", "S", "--at", "0mm")
    assert "sagittal 9 of 0-9  L 2 mm" in where("--axis", "R", "--at", "9")
    assert "sagittal 0 of 0-9  L 20 mm" in where("--axis", "L", "--at", "9")
    assert "coronal 15 of 0-15  A 5 mm" in where("--axis", "A", "--at", "5mm")
    assert "outside" in medimg("show", "--axis", "A", "--at", "500mm", "head.nii.gz").err
    assert medimg("show", "--axis", "X", "head.nii.gz").code == 2
    assert "no axis" in medimg("show", "--at", "3", "head.nii.gz").err


def test_narrow_outputs_and_flat_images_get_one_view(medimg: Run, images: Path) -> None:
    assert "axial 3 of 0-6" in medimg("show", "--columns", "59", "head.nii.gz").out
    assert "L 10 mm, P 2 mm" in medimg("show", "--columns", "60", "head.nii.gz").out
    assert medimg("show", "flat.nii").out.splitlines()[-1].startswith("flat.nii  axial  I 6 mm  radiological")


def test_plain_leaves_letters_and_caption_out(medimg: Run, images: Path) -> None:
    out = medimg("show", "--plain", "--axis", "S", "--columns", "40", "head.nii.gz").out
    assert len(out.splitlines()) == 16 and not re.search("[A-Za-z]", out)


def test_colour_in_a_pipe_is_half_blocks(medimg: Run, images: Path) -> None:
    out = medimg(
        "--color", "always", "show", "--axis", "S", "--at", "0", "--plain", "--window", "0:150", "head.nii.gz"
    ).out
    shown = np.array(pixels_of(out.rstrip("\n")), int)
    assert shown.shape == (64, 80, 3)  # 20 x 16 mm
    assert shown[10, 10, 0] == 255 and shown[10, 70, 0] < shown[50, 10, 0] < 255
    assert np.array_equal(shown[..., 0], shown[..., 1])


def test_labels_are_shown_in_their_colours(medimg: Run, images: Path) -> None:
    result = medimg("--color", "always", "show", "--axis", "S", "--plain", "labels.nii")
    shown = np.array(pixels_of(result.out.rstrip("\n")), int)
    assert {tuple(pixel) for pixel in shown.reshape(-1, 3).tolist()} == {(0, 0, 0), (230, 75, 60)}
    assert shown[50, 70].tolist() == [230, 75, 60]  # left and behind


def test_an_overlay_is_drawn(medimg: Run, images: Path) -> None:
    words = ("--color", "always", "show", "--axis", "S", "--plain", "--overlay", "labels.nii", "head.nii.gz")
    shown = np.array(pixels_of(medimg(*words).out.rstrip("\n")), int)
    assert len(set(shown[50, 70].tolist())) > 1 and len(set(shown[10, 10].tolist())) == 1


def test_no_color_and_dumb_terminals(program: Run, images: Path) -> None:
    assert "\x1b" not in program("show", "head.nii.gz", NO_COLOR="1").out
    forced = program("show", "head.nii.gz", FORCE_COLOR="1").out
    assert "\x1b[38;2;" in forced
    assert program("--color", "always", "show", "head.nii.gz", PYTHONIOENCODING="ascii").out.isascii()


def test_protocols_by_name(medimg: Run, images: Path) -> None:
    assert "\u2580" in medimg("show", "--protocol", "blocks", "head.nii.gz").out
    out = medimg("show", "--protocol", "kitty", "--columns", "70", "head.nii.gz").out
    data = base64.b64decode("".join(re.findall(r"\x1b_G[^;]*;([^\x1b]*)\x1b\\", out)))
    picture = Image.open(io.BytesIO(data))
    assert 660 < picture.width <= 710 and f",c={min(70, round(picture.width / 10))}," in out
    assert out.splitlines()[-1].startswith("head.nii.gz")


def test_one_bad_input_never_stops_the_others(medimg: Run, images: Path) -> None:
    result = medimg("show", "bad.nii", "gone.nii", "head.nii.gz")
    assert result.code == 2
    first, second = result.err.splitlines()
    assert first.startswith("medimg: bad.nii: ") and second.startswith("medimg: gone.nii: ")
    assert result.out.splitlines()[-1].startswith("head.nii.gz")


def test_several_images_one_after_the_other(medimg: Run, images: Path) -> None:
    lines = medimg("show", "bold.nii", "head.nii.gz", "--channel", "0").out.splitlines()
    assert [line.split()[0] for line in lines if ".nii" in line] == ["bold.nii", "head.nii.gz"]
    assert "time step 0 of 0-2" in next(line for line in lines if line.startswith("bold"))


def test_standard_input(program: Run, images: Path) -> None:
    result = program("show", "-", "--axis", "S", stdin=Path("bold.nii").read_bytes())
    assert result.code == 0 and result.out.splitlines()[-1].startswith("<stdin>  axial 3 of 0-6")


def test_names_cannot_steer_the_terminal(medimg: Run, images: Path) -> None:
    os.rename("head.nii.gz", "h\x1b[2Jx.nii.gz")
    out = medimg("show", "h\x1b[2Jx.nii.gz").out
    assert "\x1b" not in out and "h\\x1b[2Jx.nii.gz" in out


def test_nothing_slow_is_imported(images: Path) -> None:
    code = "import sys; from medimg_cli.__main__ import run; run(); print(*sys.modules, file=sys.stderr)"
    words = [sys.executable, "-c", code, "show", str(images / "head.nii.gz")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=60, check=True)
    assert not {"torch", "SimpleITK", "nibabel", "rich"} & set(done.stderr.split())


# -- on a terminal --------------------------------------------------------------------------------------------------


def test_keys_of() -> None:
    assert keys_of("jk") == ["j", "k"]
    assert keys_of("\x1b[A\x1b[B\x1b[C\x1b[D") == ["up", "down", "right", "left"]
    assert keys_of("\x1bOA\x1bOH\x1bOF") == ["up", "home", "end"]
    assert keys_of("\x1b[H\x1b[1~\x1b[7~\x1b[F\x1b[4~\x1b[8~") == ["home"] * 3 + ["end"] * 3
    assert keys_of("\x1b[5~\x1b[6~\x1b[5;2~") == ["page up", "page down", "page up"]
    assert keys_of("\x1b[1;5A") == ["up"]
    assert keys_of("\x1b") == ["escape"]
    assert keys_of("q\x1b[200~") == ["q", "\x1b[200~"]
    assert keys_of("\x1bqj") == ["\x1bq", "j"]  # Alt and q is not q


MAIN = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from medimg_cli.__main__ import run
sys.exit(run())
"""
_FRAME = "\x1b[?2026l"
_ESCAPES = re.compile(r"\x1b\[\??[\d;]*[A-Za-z]|\x1b_G[^\x1b]*\x1b\\")


class Person:
    """A person at a terminal in which the command line runs: presses keys and sees what it draws.

    Parameters
    ----------
    words : str
        The command line.
    size : (rows, columns)
    kitty : bool, optional
        What the terminal answers when it is asked whether it knows kitty's graphics.
    """

    def __init__(self, *words: str, size: tuple[int, int] = (24, 80), kitty: bool = False, **changes: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.seen, self.taken, self.kitty = "", 0, kitty
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        changes = {"TERM": "xterm-256color", **changes}
        kept = environment(**changes)
        for name in ("COLUMNS", "LINES", "TMUX", "STY", "ZELLIJ", "TERM_PROGRAM", "KITTY_WINDOW_ID", "WEZTERM_PANE"):
            kept.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=subprocess.PIPE,
            env=kept,
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal; its cells have 8 x 16 pixels."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, columns * 8, rows * 16))

    def _listen(self, end: float) -> bool:
        """Take what comes, and answer questions; False where nothing comes any more."""
        while not select.select([self.master], [], [], 0.5)[0]:
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read().decode()
            assert monotonic() < end, f"nothing more came than {self.seen[-300:]!r}"
        try:
            data = os.read(self.master, 1 << 16)
        except OSError as error:
            assert error.errno == errno.EIO
            return False
        self.seen += self.decoder.decode(data)
        if b"\x1b[c" in data:
            os.write(self.master, (b"\x1b_Gi=31;OK\x1b\\" if self.kitty else b"") + b"\x1b[?62;c")
        return bool(data)

    def frame(self, count: int = 1) -> str:
        """Wait for pictures, and return the last one: what has been drawn since the one before."""
        end = monotonic() + 15
        for _ in range(count):
            while _FRAME not in self.seen[self.taken :]:
                assert self._listen(end), self.seen[-300:]
            start = self.taken
            self.taken = self.seen.index(_FRAME, start) + len(_FRAME)
        return self.seen[start : self.taken]

    def press(self, keys: str) -> str:
        """Press keys that one read hears, and return the picture that follows."""
        os.write(self.master, keys.encode())
        return self.frame()

    def status(self, keys: str = "") -> str:
        """Return the last line of the screen, after these keys."""
        frame = self.press(keys) if keys else self.frame()
        return re.findall(r"\x1b\[7m(.*?)\x1b\[0m", frame)[-1]

    def leave(self, keys: str = "") -> int:
        """Press the last keys, and return the exit code."""
        if keys:
            os.write(self.master, keys.encode())
        end = monotonic() + 30
        while self.process.poll() is None:
            assert monotonic() < end, self.seen[-300:]
            if select.select([self.master], [], [], 0.02)[0]:
                self._listen(end)
        self.errors = self.process.stderr.read().decode() if self.process.stderr else ""
        return self.process.returncode

    @property
    def rest(self) -> str:
        """What was drawn after the last picture."""
        while select.select([self.master], [], [], 0)[0] and self._listen(monotonic() + 1):
            pass
        return self.seen[self.taken :]

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was before: settings, screen, cursor, wrapping."""
        rest = self.rest
        return termios.tcgetattr(self.slave) == self.before and all(
            rest.rindex(code) >= 0 for code in ("\x1b[?7h", "\x1b[?25h", "\x1b[?1049l")
        )


@contextmanager
def person(*words: str, **settings: Any) -> Iterator[Person]:
    """Run the command line in a terminal."""
    somebody = Person(*words, **settings)
    try:
        yield somebody
    finally:
        somebody.process.kill()
        somebody.process.wait()
        if somebody.process.stderr is not None:
            somebody.process.stderr.close()
        os.close(somebody.master)
        os.close(somebody.slave)


def picture_of(frame: str) -> Array:
    """Return the pixels of half blocks in a frame, without the letters and blanks around them."""
    rows = []
    for line in re.sub(r"\x1b\[\?2026[hl]|\x1b\[[HK]", "", frame).split("\r\n"):
        drawn = re.sub(r"^[^\x1b]*|[^m]*$", "", line)
        if "48;2" in drawn or "38;2" in drawn:
            rows.append(drawn)
    pixels = np.array([[p or (0, 0, 0) for p in row] for row in pixels_of("\n".join(rows))], int)
    return pixels[..., 0]


def test_keys_move_through_slices(images: Path) -> None:
    with person("show", "--window", "0:300", "head.nii.gz") as somebody:
        first = somebody.frame()
        assert "\x1b[?1049h" in somebody.seen and "\x1b[?25l" in somebody.seen
        before = picture_of(first)
        assert "head.nii.gz  axial 3 of 0-6  S 3 mm  radiological, window 0 to 300" in first
        after = picture_of(somebody.press("\x1b[A"))
        assert after.shape == before.shape
        # a slice towards the head is brighter by 10 of 300 everywhere; the patient's right, bright, is on the left
        assert set((after - before)[:-1].ravel().tolist()) <= {8, 9}
        assert (before[5, 2], before[5, -3]) == (round(180 / 300 * 255), round(80 / 300 * 255))
        assert "axial 3 of 0-6" in somebody.status("j")
        assert "axial 2 of 0-6  S 0 mm" in somebody.status("\x1b[B")
        assert "axial 6 of 0-6  S 12 mm" in somebody.status("\x1b[5~")
        assert "axial 0 of 0-6  I 6 mm" in somebody.status("\x1b[6~")
        assert "axial 6 of 0-6" in somebody.status("\x1b[H")
        assert "axial 0 of 0-6" in somebody.status("\x1b[F")
        assert "axial 2 of 0-6" in somebody.status("kk")
        assert "sagittal 5 of 0-9  L 10 mm" in somebody.status("s")
        assert "sagittal 6 of 0-9  L 8 mm" in somebody.status("k")
        assert "coronal 8 of 0-15  P 2 mm" in somebody.status("2")
        assert "axial 2 of 0-6" in somebody.status("a")
        assert somebody.leave("q") == 0
        assert somebody.restored and somebody.errors == ""


def test_a_key_that_comes_in_two_parts(images: Path) -> None:
    with person("show", "head.nii.gz") as somebody:
        somebody.frame()
        os.write(somebody.master, b"\x1b[")
        assert "axial 4" in somebody.status("A")
        assert somebody.leave("q") == 0


def test_channels_window_and_overlay(images: Path) -> None:
    with person("show", "--window", "0:200", "--overlay", "labels.nii", "bold.nii", size=(24, 120)) as somebody:
        assert "time step 0 of 0-2" in somebody.status()
        assert "time step 1 of 0-2" in somebody.status("l")
        assert "time step 2 of 0-2" in somebody.status("\x1b[C")
        assert "time step 0 of 0-2" in somebody.status("\x1b[C")
        assert "time step 2 of 0-2" in somebody.status("\x1b[D")
        assert "window 20 to 180" in somebody.status("+")
        assert "window 0 to 200" in somebody.status("-")
        assert "window 20 to 220" in somebody.status("<")
        assert "window 0 to 200" in somebody.status(">")
        assert "window 0 to 200" in somebody.status("++r")
        assert "time step 0 of 0-2" in somebody.status("r")
        coloured = r"[34]8;2;(\d+);(?!\1;\1\D)"
        assert re.search(coloured, somebody.press("k"))
        assert not re.search(coloured, somebody.press("o"))
        assert re.search(coloured, somebody.press("o"))
        assert somebody.leave("\x1b") == 0 and somebody.restored


def test_each_channel_has_its_window(images: Path) -> None:
    save("echoes.nii", np.concatenate([volume(), volume() * 10]), axes=(("channel", 2),))
    with person("show", "echoes.nii", size=(24, 120)) as somebody:
        assert "channel 0 of 0-1  radiological, window 0 to 210  " in somebody.status()
        assert "channel 1 of 0-1  radiological, window 5 to 2105" in somebody.status("l")
        assert somebody.leave("q") == 0


def test_keys_are_listed(images: Path) -> None:
    with person("show", "head.nii.gz", TERM="xterm-kitty") as somebody:
        assert pngs_of(somebody.frame())
        listed = somebody.press("?")
        assert "\x1b_Ga=d,d=I" in listed and "page up, page down" in listed and not pngs_of(listed)
        assert "page up" not in somebody.press("?")
        assert "axial 4" in somebody.press("?k")
        assert somebody.leave("q") == 0


def test_files_are_stepped_through_and_a_bad_one_is_told(images: Path) -> None:
    with person("show", "head.nii.gz", "bad.nii", "bold.nii") as somebody:
        assert somebody.status().startswith("1/3 (n p)  head.nii.gz  axial 3")
        assert "axial 4" in somebody.status("k")
        assert somebody.status("n").startswith("2/3 (n p)  bad.nii: ")
        assert somebody.status("kj+oslr").startswith("2/3")
        assert somebody.status("n").startswith("3/3 (n p)  bold.nii")
        assert somebody.status("n").startswith("1/3 (n p)  head.nii.gz  axial 4")
        assert somebody.status("p").startswith("3/3")
        assert somebody.leave("q") == 2 and somebody.restored
        assert somebody.errors.startswith("medimg: bad.nii: ") and somebody.errors.count("\n") == 1


def test_ctrl_c_and_sigterm(images: Path) -> None:
    with person("show", "head.nii.gz") as somebody:
        somebody.frame()
        assert somebody.leave("\x03") == 130 and somebody.restored and somebody.errors == ""
    with person("show", "head.nii.gz") as somebody:
        somebody.frame()
        somebody.process.terminate()
        assert somebody.leave() == 143 and somebody.restored and somebody.errors == ""


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="a stopped process cannot be waited for here")
def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(images: Path) -> None:
    with person("show", "head.nii.gz") as somebody:
        somebody.frame()
        os.write(somebody.master, b"\x1a")
        os.waitid(os.P_PID, somebody.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert somebody.restored
        somebody.taken = len(somebody.seen)
        somebody.process.send_signal(signal.SIGCONT)
        assert "axial 3 of 0-6" in somebody.frame() and "\x1b[?1049h" in somebody.seen[-6000:]
        assert somebody.leave("q") == 0 and somebody.restored


def test_an_exception_leaves_the_terminal_as_it_was(images: Path) -> None:
    code = MAIN.replace(
        "from medimg_cli.__main__ import run",
        "from medimg_cli.__main__ import run\nimport medimg_cli.cli.browsing as b\nb._bar = lambda *a: 1 / 0",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "MAIN", code)
        with person("show", "head.nii.gz") as somebody:
            assert somebody.leave() == 2 and somebody.restored
            assert "ZeroDivisionError" in somebody.errors


def test_a_new_size_is_followed(images: Path) -> None:
    with person("show", "--axis", "S", "head.nii.gz", size=(24, 80)) as somebody:
        before = picture_of(somebody.frame())
        somebody.resize(12, 40)
        after = picture_of(somebody.frame())
        # one line is for words, two are for letters: 21 lines are 42 pixels, 9 lines are 18
        assert before.shape[0] <= 42 and after.shape[0] <= 18 and after.shape[1] <= 38
        assert before.shape[1] / before.shape[0] == pytest.approx(20 / 16, rel=0.05)
        assert after.shape[1] / after.shape[0] == pytest.approx(20 / 16, rel=0.1)
        somebody.resize(3, 12)
        somebody.frame()
        assert somebody.leave("q") == 0


def pngs_of(text: str) -> list[Image.Image]:
    """Return the pictures that were sent to a terminal that knows kitty's graphics."""
    found: list[Image.Image] = []
    data = ""
    for keys, part in re.findall(r"\x1b_G([^;\x1b]*);([^\x1b]+)\x1b\\", text):
        if "a=q" in keys:
            continue
        data += part
        if "m=0" in keys:
            found.append(Image.open(io.BytesIO(base64.b64decode(data))))
            data = ""
    return found


@pytest.mark.parametrize("asked", [False, True], ids=["says so", "answers so"])
def test_kitty(images: Path, asked: bool) -> None:
    settings: dict[str, Any] = {"kitty": True} if asked else {"TERM": "xterm-kitty"}
    with person("show", "--window", "0:300", "--plain", "head.nii.gz", size=(30, 100), **settings) as somebody:
        (first,) = pngs_of(somebody.frame())
        (second,) = pngs_of(somebody.press("k"))
        assert ("\x1b[c" in somebody.seen) == asked
        # 29 lines of 16 pixels are free, the picture has 20 x 16 mm
        assert first.size == second.size and first.height <= 29 * 16 < first.height + 32
        assert first.width / first.height == pytest.approx(20 / 16, rel=0.02)
        centre = first.width // 4, first.height // 4
        assert (first.getpixel(centre), second.getpixel(centre)) == (round(180 / 300 * 255), round(190 / 300 * 255))
        assert somebody.leave("q") == 0 and somebody.restored
        assert "\x1b_Ga=d,d=I" in somebody.rest


def test_a_terminal_may_have_no_colour_or_no_cursor(images: Path) -> None:
    with person("show", "head.nii.gz", NO_COLOR="1") as somebody:
        frame = somebody.frame()
        assert not re.search(r"\x1b\[[34]8;", frame) and "axial 3 of 0-6" in frame
        assert "axial 4" in somebody.press("k")
        assert somebody.leave("q") == 0
    for words, changes in ((("--once",), {}), ((), {"TERM": "dumb"})):
        with person("show", *words, "head.nii.gz", **changes) as somebody:
            assert somebody.leave() == 0
            text = somebody.rest
            assert "radiological" in text and "\x1b[?1049h" not in text
            assert ("\u2580" in text) == (words == ("--once",))
            assert len(text.rstrip("\r\n").split("\n")) <= 23


def test_names_cannot_steer_the_status_line(images: Path) -> None:
    os.rename("head.nii.gz", "h\x1b[31mx\n.nii.gz")
    with person("show", "h\x1b[31mx\n.nii.gz") as somebody:
        assert "h\\x1b[31mx\\n.nii.gz" in somebody.status()
        assert somebody.leave("q") == 0

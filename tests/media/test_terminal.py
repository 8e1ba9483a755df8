"""Pictures as text: what the escape codes say is decoded into pixels again and compared with the picture."""

from __future__ import annotations

import base64
import io
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medimg_cli.media import terminal
from medimg_cli.media.terminal import (
    beside,
    blocks,
    characters,
    choose,
    columns_within,
    forget_kitty,
    framed,
    kitty,
    may_answer_kitty,
    shows_all_colours,
)

Array = np.ndarray[Any, Any]
Colour = tuple[int, int, int] | None

_PARTS = re.compile(r"\x1b\[([\d;]*)m|(.)", re.DOTALL)
_APC = re.compile(r"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\", re.DOTALL)


def levels_of_256(number: int) -> tuple[int, int, int]:
    """Return what xterm shows for one of its 256 colours, from 16 on."""
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return steps[number // 36], steps[number // 6 % 6], steps[number % 6]


def set_colours(codes: str, ink: Colour, paper: Colour) -> tuple[Colour, Colour]:
    """Return foreground and background after a sequence that sets them."""
    numbers = [int(code) for code in codes.split(";")]
    while numbers:
        what = numbers.pop(0)
        if what == 0:
            ink = paper = None
            continue
        assert what in (38, 48)
        depth = numbers.pop(0)
        if depth == 5:
            colour = levels_of_256(numbers.pop(0))
        else:
            assert depth == 2
            colour = (numbers.pop(0), numbers.pop(0), numbers.pop(0))
        ink, paper = (colour, paper) if what == 38 else (ink, colour)
    return ink, paper


def cells(line: str) -> Iterator[tuple[str, Colour, Colour]]:
    """Yield character, foreground and background of each cell of a line; colours end with the line."""
    ink: Colour = None
    paper: Colour = None
    for codes, character in _PARTS.findall(line):
        if character:
            assert character != "\x1b", "a sequence that is not understood"
            yield character, ink, paper
        else:
            ink, paper = set_colours(codes, ink, paper)
    assert ink is None and paper is None, "colours are not reset at the end of the line"


def pixels_of(text: str) -> list[list[Colour]]:
    """Return the rows of pixels that half blocks show; None where the screen is left as it was."""
    rows: list[list[Colour]] = []
    for line in text.split("\n"):
        shown = list(cells(line))
        assert {character for character, _, _ in shown} <= {"\u2580", " "}
        rows.append([ink if character == "\u2580" else paper for character, ink, paper in shown])
        rows.append([paper for _, _, paper in shown])
    return rows


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_blocks_show_every_pixel(mode: str) -> None:
    picture = noise(17, 12, mode)
    text = blocks(picture, 17)
    assert len(text.split("\n")) == 6
    assert np.array_equal(np.array(pixels_of(text), np.uint8), np.asarray(picture.convert("RGB")))


def test_an_odd_row_leaves_the_lower_half_alone() -> None:
    picture = noise(9, 5)
    rows = pixels_of(blocks(picture, 9))
    assert len(rows) == 6 and rows[5] == [None] * 9
    assert np.array_equal(np.array(rows[:5], np.uint8), np.asarray(picture))


def test_runs_of_one_colour_are_written_once() -> None:
    picture = Image.new("RGB", (40, 4), (1, 2, 3))
    picture.paste((9, 9, 9), (20, 0, 40, 4))
    line = "\x1b[48;2;1;2;3m" + " " * 20 + "\x1b[48;2;9;9;9m" + " " * 20 + "\x1b[0m"
    assert blocks(picture, 40) == f"{line}\n{line}"
    halves = Image.new("L", (30, 2), 200)
    halves.paste(10, (0, 1, 30, 2))
    assert blocks(halves, 30) == "\x1b[38;2;200;200;200;48;2;10;10;10m" + "\u2580" * 30 + "\x1b[0m"


@pytest.mark.parametrize(
    ("size", "columns", "lines"),
    [((100, 100), 40, 20), ((200, 100), 40, 10), ((50, 100), 10, 10), ((3, 300), 1, 50), ((300, 3), 30, 1)],
)
def test_proportions_of_text(size: tuple[int, int], columns: int, lines: int) -> None:
    picture = Image.new("L", size, 99)
    for text in (blocks(picture, columns), characters(picture, columns)):
        assert len(text.split("\n")) == lines
    assert all(len(list(cells(line))) == columns for line in blocks(picture, columns).split("\n"))
    assert all(len(line) == columns for line in characters(picture, columns).split("\n"))


def test_cells_of_other_proportions() -> None:
    picture = Image.new("L", (60, 60), 99)
    assert len(characters(picture, 60, cell=3.0).split("\n")) == 20
    assert len(blocks(picture, 60, cell=1.0).split("\n")) == 60


def test_reduced_pictures_keep_what_is_where() -> None:
    picture = Image.new("RGB", (400, 400), (0, 0, 0))
    picture.paste((250, 0, 0), (0, 0, 200, 200))
    picture.paste((0, 0, 250), (200, 200, 400, 400))
    shown = np.array(pixels_of(blocks(picture, 20)), int)
    assert shown.shape == (20, 20, 3)
    assert shown[4, 4].tolist() == [250, 0, 0] and shown[15, 15].tolist() == [0, 0, 250]
    assert not shown[4, 15].any() and not shown[15, 4].any()


def test_256_colours_are_near_the_24_bits() -> None:
    picture = noise(24, 24)
    grey = noise(24, 24, "L")
    text = blocks(picture, 24, all_colours=False)
    assert ";2;" not in text
    off = np.abs(np.array(pixels_of(text), int) - np.asarray(picture, int))
    assert off.max() <= 48
    shades = np.abs(np.array(pixels_of(blocks(grey, 24, all_colours=False)), int)[..., 0] - np.asarray(grey, int))
    assert shades.max() <= 13


def test_characters_are_ascii_and_grow_with_brightness() -> None:
    picture = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (20, 1)))
    lines = characters(picture, 256).split("\n")
    assert len(lines) == 10 and len(set(lines)) == 1
    text = lines[0]
    assert text.isascii() and text.isprintable() and "\x1b" not in text
    steps = [terminal._INK.index(each) for each in text]
    assert steps == sorted(steps) and set(steps) == set(range(len(terminal._INK)))
    assert text[0] == " " and text[-1] == "@"


def sent(text: str) -> tuple[dict[str, str], bytes]:
    """Return the keys of a picture in kitty's protocol and its data, as the terminal puts them together."""
    parts = _APC.findall(text)
    assert _APC.sub("", text) == "", "something is sent beside the picture"
    keys = [dict(pair.split("=") for pair in part[0].split(",")) for part in parts]
    assert all(len(part[1]) <= 4096 for part in parts)
    assert all(len(part[1]) % 4 == 0 for part in parts[:-1])
    assert [key["m"] for key in keys] == ["1"] * (len(parts) - 1) + ["0"]
    assert all(set(key) <= {"m", "q"} for key in keys[1:]), "only the first part says what it is"
    return keys[0], base64.b64decode("".join(part[1] for part in parts), validate=True)


@pytest.mark.parametrize(("size", "several"), [((4, 3), False), ((120, 90), True)])
def test_kitty_sends_the_picture_itself(size: tuple[int, int], several: bool) -> None:
    picture = noise(*size)
    text = kitty(picture, 40)
    assert (text.count("\x1b_G") > 1) == several
    keys, data = sent(text)
    assert keys == {"a": "T", "f": "100", "c": "40", "q": "2", "m": keys["m"]}
    found = Image.open(io.BytesIO(data))
    assert found.format == "PNG" and found.size == size and found.tobytes() == picture.tobytes()


def test_kitty_in_place() -> None:
    keys, _ = sent(kitty(noise(4, 4, "L"), 7, number=12))
    assert (keys["i"], keys["p"], keys["C"], keys["c"]) == ("12", "1", "1", "7")
    ((forgotten, _),) = _APC.findall(forget_kitty(12))
    assert dict(pair.split("=") for pair in forgotten.split(",")) == {"a": "d", "d": "I", "i": "12", "q": "2"}


def test_columns_within() -> None:
    assert columns_within(10, 10, columns=30, rows=100) == 30
    assert columns_within(10, 10, columns=300, rows=20) == 40
    assert columns_within(1, 1000, columns=300, rows=20) == 1
    assert columns_within(10, 10, columns=300, rows=20, cell=2.5) == 50
    for width, height in ((181, 217), (3, 7), (512, 10)):
        columns = columns_within(width, height, columns=100, rows=30)
        lines = characters(Image.new("L", (width * 3, height * 3)), columns).split("\n")
        assert len(lines) <= 30 and columns <= 100


def test_letters_stand_at_the_edges() -> None:
    lines = framed("abc\ndef\nghi\njkl", 3, "RLSI").split("\n")
    assert lines == ["  S  ", " abc ", " def ", "RghiL", " jkl ", "  I  "]


def test_pictures_beside_each_other() -> None:
    text = beside(["ab\ncd\nef", "xyz"], [2, 3], gap=1)
    assert text.split("\n") == ["ab    ", "cd xyz", "ef    "]


TERMINALS: list[tuple[dict[str, str], str]] = [
    ({"TERM": "xterm-kitty"}, "kitty"),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
    ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "kitty"),
    ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
    ({"TERM": "xterm-256color", "GHOSTTY_RESOURCES_DIR": "/usr/share/ghostty"}, "kitty"),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230800"}, "kitty"),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "210400"}, "blocks"),
    ({"TERM": "xterm-256color", "KONSOLE_VERSION": "new"}, "blocks"),
    ({"TERM": "xterm-256color"}, "blocks"),
    ({}, "blocks"),
    ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/tmux,1,0"}, "blocks"),
    ({"TERM": "screen", "KITTY_WINDOW_ID": "1"}, "blocks"),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "STY": "1.x"}, "blocks"),
    ({"TERM": "xterm-256color", "WEZTERM_PANE": "0", "ZELLIJ": "0"}, "blocks"),
    ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "TERM_PROGRAM": "vscode"}, "blocks"),
    ({"TERM": "xterm-kitty", "TERM_PROGRAM": "vscode"}, "kitty"),
]


@pytest.mark.parametrize(("environ", "expected"), TERMINALS, ids=[str(n) for n in range(len(TERMINALS))])
def test_choose(environ: dict[str, str], expected: str) -> None:
    assert choose(environ, terminal=True, colour=True) == expected
    assert choose(environ, terminal=False, colour=True) == "blocks"  # --color always in a pipe
    assert choose(environ, terminal=True, colour=False) == "characters"  # NO_COLOR, a dumb terminal
    assert choose(environ, terminal=False, colour=False) == "characters"


def test_who_is_asked_and_who_has_which_colours() -> None:
    assert may_answer_kitty({"TERM": "xterm-256color"})
    assert not any(
        map(may_answer_kitty, ({"TERM": "dumb"}, {"TERM": "linux"}, {"TMUX": "x"}, {"TERM": "screen.xterm"}))
    )
    assert shows_all_colours({}) and shows_all_colours({"TERM_PROGRAM": "Apple_Terminal", "COLORTERM": "truecolor"})
    assert not shows_all_colours({"TERM_PROGRAM": "Apple_Terminal"}) and not shows_all_colours({"STY": "1.x"})


ASKING = """
import fcntl, sys, termios
from medimg_cli.media.terminal import answers_kitty
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # settings of a terminal are safe to change for those whose session it is
before = termios.tcgetattr(0)
found = answers_kitty(0, 0, patience=float(sys.argv[1]))
sys.exit(found + 2 * (termios.tcgetattr(0) == before))
"""


def asked(answer: bytes) -> tuple[bool, bytes, bool]:
    """Let a terminal be asked that answers so; return what came of it, what it heard, and whether it is as before."""
    master, slave = pty.openpty()
    heard = bytearray()

    def answering() -> None:
        while not heard.endswith(b"\x1b[c"):
            heard.extend(os.read(master, 1024))
        os.write(master, answer)

    listener = threading.Thread(target=answering, daemon=True)
    listener.start()
    words = [sys.executable, "-c", ASKING, str(0.2 if not answer else 20)]
    search = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(words, stdin=slave, start_new_session=True, env=search, timeout=60, check=False)
    listener.join(20)
    os.close(master)
    os.close(slave)
    code = done.returncode
    assert code in (0, 2, 3)
    return bool(code & 1), bytes(heard), bool(code & 2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", True),
        (b"\x1b[?62;4;22c", False),
        (b"\x1b_Gi=31;ENOTSUPPORTED:no\x1b\\\x1b[?1;2c", False),
        (b"", False),
    ],
    ids=["yes", "no", "refused", "silent"],
)
def test_a_terminal_is_asked(answer: bytes, expected: bool) -> None:
    found, heard, restored = asked(answer)
    assert found == expected and restored
    assert heard == b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"

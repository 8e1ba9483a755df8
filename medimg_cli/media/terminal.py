"""Pictures in a terminal: as text that somebody else prints.

A cell of a terminal is about twice as high as wide. Half blocks make two pixels of it, one character one pixel; the
kitty graphics protocol sends the picture itself. Functions here take a Pillow image ("L" or "RGB") and return text;
what surrounds them, the environment and the terminal, is handed in.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any, Literal

__all__ = [
    "CELL",
    "Protocol",
    "answers_kitty",
    "beside",
    "blocks",
    "characters",
    "choose",
    "columns_within",
    "forget_kitty",
    "framed",
    "kitty",
    "may_answer_kitty",
    "shows_all_colours",
]

Protocol = Literal["kitty", "blocks", "characters"]
"""How a picture becomes text."""

CELL = 2.0
"""Height of a cell over its width, where the terminal does not tell."""

#: From dark to bright on a dark terminal: the more ink, the brighter.
_INK = " .:-=+*#%@"
_RESET, _UPPER = "\x1b[0m", "\u2580"
_CHUNK = 4096

#: Terminals that know the kitty graphics protocol, by TERM and by TERM_PROGRAM, and variables that others set.
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_KITTY_PROGRAMS = ("kitty", "wezterm", "ghostty")
_KITTY_VARIABLES = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "WEZTERM_PANE")
#: First version of Konsole that knows it: 22.04.
_KONSOLE = 220400
#: Programs between us and the terminal, which do not pass pictures on reliably.
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")

#: "Would you take this pixel?", then "what are you?", which every terminal answers.
_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
_YES, _DONE = b"\x1b_Gi=31;OK", re.compile(rb"\x1b\[\?[\d;]*c")


# -- pictures as text -----------------------------------------------------------------------------------------------


def blocks(picture: Any, columns: int, *, cell: float = CELL, all_colours: bool = True) -> str:
    """Return a picture as half blocks, two pixels a cell, in colour.

    Parameters
    ----------
    picture : Pillow image
        "L" or "RGB".
    columns : int
        Width in cells; the height follows from the proportions.
    cell : float
        Height of a cell over its width.
    all_colours : bool
        Whether the terminal knows 24-bit colours; else the nearest of xterm's 256 are taken.

    Returns
    -------
    str
        Lines without an end of line after the last. A colour is told when it changes, and reset at the end of each
        line. Where the number of rows of pixels is odd, the lower half of the last line is left as it was.

    Examples
    --------
    >>> from PIL import Image
    >>> blocks(Image.new("L", (4, 2), 7), 4)
    '\\x1b[48;2;7;7;7m    \\x1b[0m'
    """
    rows = _rows(picture, "RGB", columns, 2 / cell)
    lines = [_blocks_line(upper, lower, all_colours) for upper, lower in zip(rows[::2], rows[1::2], strict=False)]
    if len(rows) % 2:
        lines.append(_blocks_line(rows[-1], [None] * columns, all_colours))
    return "\n".join(lines)


def _blocks_line(upper: Sequence[Any], lower: Sequence[Any], all_colours: bool) -> str:
    """Return one line of cells; foreground is the upper pixel, background the lower one."""
    parts: list[str] = []
    ink = paper = None
    for top, bottom in zip(upper, lower, strict=True):
        codes = []
        if top != bottom and top != ink:
            ink = top
            codes.append(_colour_code(38, top, all_colours))
        if bottom != paper:
            paper = bottom
            codes.append(_colour_code(48, bottom, all_colours))
        if codes:
            parts.append(f"\x1b[{';'.join(codes)}m")
        parts.append(" " if top == bottom else _UPPER)
    return "".join(parts) + _RESET


def _colour_code(layer: int, colour: tuple[int, int, int], all_colours: bool) -> str:
    """Return what follows ESC [ to set the foreground, 38, or background, 48 (ITU-T T.416; xterm's 256 colours)."""
    if all_colours:
        return f"{layer};2;{colour[0]};{colour[1]};{colour[2]}"
    if len(set(colour)) == 1:
        step = round((colour[0] - 8) / 10)
        return f"{layer};5;{16 if step < 0 else 231 if step > 23 else 232 + step}"
    red, green, blue = (0 if part < 48 else 1 if part < 115 else (part - 35) // 40 for part in colour)
    return f"{layer};5;{16 + 36 * red + 6 * green + blue}"


def characters(picture: Any, columns: int, *, cell: float = CELL) -> str:
    """Return a picture in ten shades of ASCII characters, for dumb terminals and files; bright is dense.

    Parameters
    ----------
    picture : Pillow image
        "L" or "RGB".
    columns : int
        Width in cells; every line has that many characters.
    cell : float
        Height of a cell over its width.

    Examples
    --------
    >>> from PIL import Image
    >>> characters(Image.new("L", (4, 4), 255), 4)
    '@@@@\\n@@@@'
    """
    shades = [_INK[(level * len(_INK)) // 256] for level in range(256)]
    rows = _rows(picture, "L", columns, 1 / cell)
    return "\n".join("".join(shades[level] for level in row) for row in rows)


def _rows(picture: Any, mode: str, columns: int, high: float) -> list[list[Any]]:
    """Return the pixels, row by row, of a picture ``columns`` wide whose pixels are 1 / ``high`` times as high."""
    from PIL.Image import Resampling

    size = columns, max(1, round(columns * picture.height / picture.width * high))
    shown = picture.convert(mode)
    data = (shown if shown.size == size else shown.resize(size, Resampling.HAMMING)).tobytes()
    pixels = list(data) if mode == "L" else list(zip(data[::3], data[1::3], data[2::3], strict=True))
    return [pixels[start:end] for start, end in pairwise(range(0, len(pixels) + 1, columns))]


def kitty(picture: Any, columns: int, *, number: int | None = None) -> str:
    """Return a picture in the kitty graphics protocol, as PNG in chunks of base64.

    Parameters
    ----------
    picture : Pillow image
        "L" or "RGB".
    columns : int
        Width in cells; the terminal finds the height from the proportions.
    number : int, optional
        Under which the terminal keeps it: the next one of that number takes its place, and the cursor stays. Left out,
        it stands in the text as any other line would.
    """
    memory = BytesIO()
    picture.save(memory, "PNG", compress_level=4)
    data = b64encode(memory.getvalue()).decode("ascii")
    keys = f"a=T,f=100,c={columns}" + ("" if number is None else f",i={number},p=1,C=1")
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    last = len(parts) - 1
    return "".join(
        f"\x1b_G{keys + ',' if n == 0 else ''}q=2,m={int(n < last)};{part}\x1b\\" for n, part in enumerate(parts)
    )


def forget_kitty(number: int) -> str:
    """Return what takes a picture with a number off the screen and out of the terminal's memory."""
    return f"\x1b_Ga=d,d=I,i={number},q=2\x1b\\"


# -- places ---------------------------------------------------------------------------------------------------------


def columns_within(width: float, height: float, *, columns: int, rows: int, cell: float = CELL) -> int:
    """Return how many columns a picture may be wide so that it fits.

    Parameters
    ----------
    width, height : float
        Of the picture, in any unit.
    columns, rows : int
        What there is room for.
    cell : float
        Height of a cell over its width.

    Examples
    --------
    >>> columns_within(100, 100, columns=80, rows=24), columns_within(100, 10, columns=80, rows=24)
    (48, 80)
    """
    return max(1, min(columns, int(rows * cell * width / height + 1e-9)))


def framed(text: str, columns: int, letters: str) -> str:
    """Return a picture made of text with a letter at each edge; two columns wider, two lines higher.

    Parameters
    ----------
    text : str
        Lines that are seen as ``columns`` cells.
    columns : int
    letters : str
        At the left, right, upper and lower edge.

    Examples
    --------
    >>> print(framed("###\\n###\\n###", 3, "RLSI").replace(" ", "_"))
    __S__
    _###_
    R###L
    _###_
    __I__
    """
    left, right, top, bottom = tuple(letters)
    lines = text.split("\n")
    sides = [(left, right) if n == len(lines) // 2 else (" ", " ") for n in range(len(lines))]
    body = [first + line + last for (first, last), line in zip(sides, lines, strict=True)]
    return "\n".join([top.center(columns + 2), *body, bottom.center(columns + 2)])


def beside(texts: Sequence[str], widths: Sequence[int], *, gap: int = 2) -> str:
    """Return pictures made of text side by side, each in the middle of the height.

    Parameters
    ----------
    texts : sequence of str
    widths : sequence of int
        How many cells wide the lines of each are seen.
    gap : int
        Blank columns between them.

    Examples
    --------
    >>> print(beside(["#\\n#\\n#", "--"], [1, 2]).replace(" ", "_"))
    #____
    #__--
    #____
    """
    pictures = [text.split("\n") for text in texts]
    height = max(map(len, pictures))
    padded = []
    for lines, width in zip(pictures, widths, strict=True):
        above = (height - len(lines)) // 2
        blank = " " * width
        padded.append([blank] * above + lines + [blank] * (height - len(lines) - above))
    return "\n".join((" " * gap).join(row) for row in zip(*padded, strict=True))


# -- what a terminal can do -----------------------------------------------------------------------------------------


def choose(environ: Mapping[str, str], *, terminal: bool, colour: bool) -> Protocol:
    """Return how pictures are best shown.

    Parameters
    ----------
    environ : mapping
        Environment variables.
    terminal : bool
        Whether the output is a terminal.
    colour : bool
        Whether the output may get colour.

    Examples
    --------
    >>> choose({"TERM": "xterm-kitty"}, terminal=True, colour=True)
    'kitty'
    >>> choose({"TERM": "xterm-kitty", "TMUX": "/run/tmux"}, terminal=True, colour=True)
    'blocks'
    >>> choose({"TERM": "dumb"}, terminal=True, colour=False)
    'characters'
    """
    if not colour:
        return "characters"
    return "kitty" if terminal and _says_kitty(environ) else "blocks"


def _says_kitty(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names a terminal that knows the kitty graphics protocol.

    TERM travels over SSH; TERM_PROGRAM beats the other variables, which a terminal started from another one inherits.
    """
    if not may_answer_kitty(environ):
        return False
    if environ.get("TERM") in _KITTY_TERMS:
        return True
    if program := environ.get("TERM_PROGRAM", ""):
        return program.lower() in _KITTY_PROGRAMS
    konsole = environ.get("KONSOLE_VERSION", "")
    return any(map(environ.get, _KITTY_VARIABLES)) or (konsole.isdecimal() and int(konsole) >= _KONSOLE)


def may_answer_kitty(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment leaves open that `answers_kitty` is true: no multiplexer, no simple terminal."""
    kind = environ.get("TERM", "")
    return not any(map(environ.get, _MULTIPLEXERS)) and not kind.startswith(("dumb", "linux", "tmux", "screen"))


def shows_all_colours(environ: Mapping[str, str]) -> bool:
    """Tell whether a terminal knows 24-bit colours: all do but macOS' own of old, and GNU screen."""
    if environ.get("COLORTERM") in ("truecolor", "24bit"):
        return True
    return environ.get("TERM_PROGRAM") != "Apple_Terminal" and not environ.get("STY")


def answers_kitty(source: int, sink: int, *, patience: float = 0.25) -> bool:
    """Ask a terminal whether it knows the kitty graphics protocol.

    The question that the protocol has for this is sent, and behind it one that all terminals answer, so that those
    that do not know it are heard soon. Settings of the terminal are as before afterwards.

    Parameters
    ----------
    source, sink : int
        File descriptors of the terminal, for reading and writing.
    patience : float
        Seconds to wait for a terminal that says nothing.
    """
    import select
    import termios
    import tty
    from time import monotonic

    if _in_background(source):
        return False
    before, end, heard = termios.tcgetattr(source), monotonic() + patience, b""
    try:
        tty.setcbreak(source, termios.TCSANOW)
        os.write(sink, _QUESTION)
        while not _DONE.search(heard) and select.select([source], [], [], max(0.0, end - monotonic()))[0]:
            found = os.read(source, 1024)
            if not found:
                break
            heard += found
    finally:
        termios.tcsetattr(source, termios.TCSANOW, before)
    return _YES in heard


def _in_background(terminal: int) -> bool:
    """Tell whether this process is one that is stopped when it changes the settings of its terminal."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # it is not the terminal of our session: nobody stops us
        return False

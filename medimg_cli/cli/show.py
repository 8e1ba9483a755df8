"""``medimg show``: pictures in the terminal."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medimg_cli.batch import STREAM
from medimg_cli.cli.options import Paths, with_options
from medimg_cli.cli.render import Console, escape
from medimg_cli.cli.running import Tally
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medimg_cli.media.terminal import Protocol
    from medimg_cli.picturing.showing import Screen, Wanted

__all__ = ["show"]


@with_options
def show(
    paths: Paths,
    axis: Annotated[
        str | None,
        typer.Option(metavar="LETTER", help="Show one slice across this axis: R, L, A, P, S or I."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE",
            help="Where on --axis: 50% of the extent, 12mm (world), or a voxel such as 88. Default: 50%.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and wait for no keys.")] = False,
    protocol: Annotated[
        Literal["auto", "kitty", "blocks", "characters"],
        typer.Option(help="How to draw: kitty's graphics, coloured half blocks, or ASCII characters."),
    ] = "auto",
    columns: Annotated[
        int | None,
        typer.Option(metavar="N", min=10, max=1000, help="Width in columns. Default: that of the terminal, or 80."),
    ] = None,
    *,
    reading: Reading,
    look: Look,
    console: Console,
) -> int:
    """Show images in the terminal, in true proportions, with letters for the sides of the body.

    On a terminal, keys move through the image: up and down (or k and j) by a slice, page up and page down by ten, home
    and end; left and right (h and l) through channels or time steps; s, c and a (or 1, 2, 3) choose the sagittal,
    coronal or axial view; + and - narrow and widen the window, < and > make the picture darker and brighter; o puts
    the overlay on and off; r resets; n and p go to the next and previous file; ? lists the keys; q leaves. The line
    below says which slice it is, counted as --at counts, and where it lies in mm.

    In a pipe, or with --once, three views through the middle are printed (one where there are fewer than 60 columns),
    or the slice of --axis: in ASCII characters, or with --color always in half blocks of 24-bit colour.

    Terminals that know kitty's graphics protocol (kitty, Ghostty, WezTerm, Konsole) show the picture itself; others
    show half blocks, and a dumb terminal, or one without colour, shows characters. Inside tmux and screen it is half
    blocks. An image that fails does not stop the others; the exit code is then 2.

    Examples:

        medimg show scan.nii.gz
        medimg show --window brain ct.nii.gz
        medimg show --overlay aseg.nii.gz --outline t1.nii.gz
        medimg show --axis S --at 12mm --once scan.nii.gz
        medimg show --color always scan.nii.gz | less -R
    """
    from medimg_cli.picturing.showing import Wanted

    wanted = Wanted(look=look, axis=axis, at=at, reading=reading)
    if not once and _is_watched(paths, console):
        return _browse(paths, wanted, protocol, columns, console)
    return _print(paths, wanted, _screen(_protocol(protocol, console), columns, console), console)


def _is_watched(paths: Sequence[str], console: Console) -> bool:
    """Tell whether somebody sits at a terminal that pictures can be drawn on in place, and whose keys we get."""
    if STREAM in paths or os.environ.get("TERM") == "dumb" or os.name != "posix":
        return False
    return console.watched(sys.stdin) and console.watched(sys.stdout)


def _browse(
    paths: Sequence[str],
    wanted: Wanted,
    protocol: Literal["auto", "kitty", "blocks", "characters"],
    columns: int | None,
    console: Console,
) -> int:
    from medimg_cli.cli.browsing import browse

    chosen = _protocol(protocol, console)
    return browse(paths, wanted, lambda: _screen(chosen, columns, console), console)


def _print(paths: Sequence[str], wanted: Wanted, screen: Screen, console: Console) -> int:
    """Print a picture of each image, and return the exit code."""
    from medimg_cli.picturing.showing import show_images

    tally = Tally(show_images(paths, wanted, screen), console)
    for record in tally:
        if "text" in record:
            console.out(record["text"])
            if record["caption"]:
                console.out(escape(record["caption"]))
    return 2 if tally.failed else 0


def _protocol(asked: Literal["auto", "kitty", "blocks", "characters"], console: Console) -> Protocol:
    """Return how pictures are drawn: as asked, or as environment and terminal say."""
    from medimg_cli.media.terminal import answers_kitty, choose, may_answer_kitty

    if asked != "auto":
        return asked
    terminal = console.watched(sys.stdout)
    colour = console.styled(sys.stdout) and _has_blocks()
    found = choose(os.environ, terminal=terminal, colour=colour)
    asks = found == "blocks" and terminal and console.watched(sys.stdin) and os.name == "posix"
    if asks and may_answer_kitty(os.environ) and answers_kitty(sys.stdin.fileno(), sys.stdout.fileno()):
        return "kitty"
    return found


def _has_blocks() -> bool:
    """Tell whether the encoding of stdout has half blocks."""
    try:
        "\u2580".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _screen(protocol: Protocol, columns: int | None, console: Console) -> Screen:
    """Return what pictures are shown on, as large as it is now."""
    from medimg_cli.media.terminal import shows_all_colours
    from medimg_cli.picturing.showing import Screen

    size = shutil.get_terminal_size()
    all_colours = shows_all_colours(os.environ)
    if not console.watched(sys.stdout):
        return Screen(protocol=protocol, columns=columns or size.columns, all_colours=all_colours)
    width, height = _cell()
    return Screen(
        protocol=protocol,
        columns=min(columns or size.columns, size.columns),
        rows=size.lines,
        cell=height / width,
        pixels=width,
        all_colours=all_colours,
    )


def _cell() -> tuple[int, int]:
    """Return width and height of a cell in pixels, as the terminal tells them; 10 and 20 where it does not."""
    if os.name != "posix":
        return 10, 20
    import fcntl
    import struct
    import termios

    try:
        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return 10, 20
    rows, columns, width, height = struct.unpack("HHHH", answer)
    if not (rows and columns and width >= columns and height >= rows):
        return 10, 20
    cell = width // columns, height // rows
    return cell if 1 <= cell[1] / cell[0] <= 4 else (10, 20)

"""Looking through images on a terminal: keys in, pictures out, and the terminal as it was before when it ends.

What keys do to what is looked at is the table `KEYS` of `picturing.showing`; here is how they are heard.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medimg_cli.batch import describe
from medimg_cli.cli.render import Console, escape, write
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.picturing.showing import Exhibit, Screen, Stance, Wanted

__all__ = ["browse", "keys_of"]

#: The other screen, no cursor, no wrapping of long lines; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
#: What lies between these appears at once, in terminals that know it.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_HINT = "? keys  q leave"
_HELP = """\
up, down, k, j       the next slice, the one before
page up, page down   ten slices
home, end            the last slice, the first
right, left, l, h    the next channel or time step, the one before
s, c, a              sagittal, coronal, axial view (also 1, 2, 3)
+, -                 more contrast, less
<, >                 darker, brighter
o                    overlay on and off
r                    back to how it was
n, p                 the next file, the one before
q                    leave"""
#: Under which kitty keeps the picture.
_NUMBER = 4177
#: Seconds after which an escape that nothing follows was the key of that name.
_ALONE = 0.05

_SEQUENCE = re.compile(r"\x1b[\[O][\d;?]*[ -/]*[@-~]|\x1b[^\x1b]|.", re.DOTALL)
_UNFINISHED = re.compile(rb"\x1b([\[O][\d;]*)?$")
_NAMES = {
    "A": "up", "B": "down", "C": "right", "D": "left", "H": "home", "F": "end",
    "1~": "home", "7~": "home", "4~": "end", "8~": "end", "5~": "page up", "6~": "page down",
}  # fmt: skip
_QUIT = ("q", "escape")


def keys_of(text: str) -> list[str]:
    r"""Return the names of the keys that a terminal tells.

    Parameters
    ----------
    text : str
        Characters and control sequences (ECMA-48, and those of xterm for keys), with modifiers or without.

    Examples
    --------
    >>> keys_of("j\x1b[A\x1bOB\x1b[5~\x1b[1;2C\x1b")
    ['j', 'up', 'down', 'page up', 'right', 'escape']
    """
    return [_key(sequence) for sequence in _SEQUENCE.findall(text)]


def _key(sequence: str) -> str:
    if len(sequence) < 3:  # two: with Alt
        return "escape" if sequence == "\x1b" else sequence
    numbers, last = sequence[2:-1].split(";")[0], sequence[-1]
    return _NAMES.get(numbers + last if last == "~" else last, sequence)


def browse(paths: Sequence[str], wanted: Wanted, screen: Callable[[], Screen], console: Console) -> int:
    """Show images on this process's terminal and let keys change what is seen, until one leaves.

    Parameters
    ----------
    paths : sequence of str
    wanted : Wanted
    screen : callable
        Returns the screen as it is now.
    console : Console

    Returns
    -------
    int
        0, or 2 if an image that was looked at failed.
    """
    browser = _Browser(paths, wanted, screen)
    try:
        with _Terminal() as terminal:
            browser.run(terminal)
    finally:
        browser.tell(console)
    return 2 if browser.failures else 0


class _Terminal:
    """The terminal of this process: keys without echo, the other screen, and news of its size.

    It is given back as it was, however the body ends; while the program is stopped (Ctrl-Z) as well.
    """

    def __init__(self) -> None:
        self._source = sys.stdin.fileno()
        self._signals: dict[int, Any] = {}
        self.kitty = False  # whether pictures were sent in kitty's protocol

    def __enter__(self) -> _Terminal:
        import termios

        self._before = termios.tcgetattr(self._source)
        self._news, bell = os.pipe()
        os.set_blocking(bell, False)
        self._pipe = self._news, bell
        self._rung = signal.set_wakeup_fd(bell, warn_on_full_buffer=False)  # signals wake `keys`, which acts on them
        try:
            for number in (signal.SIGWINCH, signal.SIGTSTP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as where nobody could make us go on
                    self._signals[number] = signal.signal(number, lambda *_: None)
            self._take()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._give_back()
        finally:
            for number, handler in self._signals.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(self._rung)
            for end in self._pipe:
                os.close(end)

    def _take(self) -> None:
        import termios
        import tty

        tty.setcbreak(self._source, termios.TCSADRAIN)
        self.show(_ENTER)

    def _give_back(self) -> None:
        import termios

        from medimg_cli.media.terminal import forget_kitty

        try:
            self.show((forget_kitty(_NUMBER) if self.kitty else "") + _LEAVE)
        finally:
            termios.tcsetattr(self._source, termios.TCSADRAIN, self._before)

    def _stop(self) -> None:
        """Give the terminal back, stop as Ctrl-Z wants, and take it again."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def show(self, text: str) -> None:
        """Send text to the screen."""
        write(sys.stdout, text)
        sys.stdout.flush()

    def keys(self) -> list[str] | None:
        """Wait, and return the keys that were pressed: none where the size has changed, None where nobody is there."""
        from select import select

        ready = select([self._source, self._news], [], [])[0]
        if self._news in ready:
            if signal.SIGTSTP in os.read(self._news, 1024):
                self._stop()
            return []
        try:
            heard = os.read(self._source, 4096)
            while _UNFINISHED.search(heard) and select([self._source], [], [], _ALONE)[0]:
                heard += os.read(self._source, 4096)
        except OSError:
            return None
        return keys_of(heard.decode("utf-8", "replace")) if heard else None


class _Browser:
    """Which image is looked at, and how.

    Parameters
    ----------
    paths, wanted, screen
        As for `browse`.
    """

    def __init__(self, paths: Sequence[str], wanted: Wanted, screen: Callable[[], Screen]) -> None:
        self._paths, self._wanted, self._screen = paths, wanted, screen
        self._number, self._helps = 0, False
        self._stances: dict[str, Stance] = {}
        self._exhibit: Exhibit | None = None
        self._stance: Stance | None = None
        self._warnings: dict[str, None] = {}
        self.failures: dict[str, Exception] = {}

    @property
    def _path(self) -> str:
        return self._paths[self._number]

    def run(self, terminal: _Terminal) -> None:
        """Show pictures until somebody leaves."""
        self._open(terminal)
        keys: list[str] | None = []
        while keys is not None:
            terminal.show(self._frame(self._screen(), terminal))
            keys = terminal.keys()
            for key in keys or ():
                if key in _QUIT:
                    return
                self._press(key, terminal)

    def _press(self, key: str, terminal: _Terminal) -> None:
        from medimg_cli.picturing.showing import KEYS

        self._helps = key == "?" and not self._helps
        if key in ("n", "p") and len(self._paths) > 1:
            self._number = (self._number + (1 if key == "n" else -1)) % len(self._paths)
            self._open(terminal)
        elif key in KEYS and self._exhibit is not None and self._stance is not None:
            self._stance = KEYS[key](self._stance, self._exhibit)
            self._stances[self._path] = self._stance

    def _open(self, terminal: _Terminal) -> None:
        """Open the image whose turn it is, which may take a while; one that fails is no end."""
        from medimg_cli.picturing.showing import Exhibit

        self._exhibit, screen = None, self._screen()
        terminal.show("\x1b[H\x1b[J" + _bar(f"{public_name(self._path)} ...", screen))
        with self._caught():
            self._exhibit = Exhibit(self._path, self._wanted, screen)
            self._stance = self._stances.get(self._path, self._exhibit.start)
            self._warnings |= dict.fromkeys(f"{public_name(self._path)}: {text}" for text in self._exhibit.warnings)

    @contextmanager
    def _caught(self) -> Iterator[None]:
        """Keep what goes wrong with the image that is looked at."""
        try:
            yield
        except Exception as error:
            self._exhibit = None
            self.failures[self._path] = error

    def _frame(self, screen: Screen, terminal: _Terminal) -> str:
        """Return what draws the whole screen: the picture, and a line that says what it is."""
        from medimg_cli.media.terminal import forget_kitty

        room = replace(screen, rows=max(1, (screen.rows or 24) - 1))
        picture, width, status = "", 0, ""
        if self._exhibit is not None and self._stance is not None:
            exhibit, stance = self._exhibit, self._stance
            with self._caught():
                picture, width = exhibit.one(stance, room, number=_NUMBER)
                name = _shortened(exhibit.name, screen.columns // 3)
                status = "  ".join(filter(None, (name, exhibit.where(stance), exhibit.manner(stance))))
                terminal.kitty = terminal.kitty or not screen.is_text
        if self._exhibit is None:
            picture, status = "", self._message(self._path)
        if self._helps:
            picture, width = _HELP, max(map(len, _HELP.split("\n")))
            room = replace(room, protocol="characters")
        if len(self._paths) > 1:
            status = f"{self._number + 1}/{len(self._paths)} (n p)  {status}"
        gone = forget_kitty(_NUMBER) if terminal.kitty and room.is_text else ""
        return _BEGIN + gone + _placed(picture, width, room) + _bar(status, screen) + _END

    def _message(self, path: str) -> str:
        return describe(self.failures[path], path).message

    def tell(self, console: Console) -> None:
        """Say what there was to say of the images that were looked at."""
        for warning in self._warnings:
            console.warning(warning)
        for path, error in self.failures.items():
            console.trace(error)
            console.error(self._message(path))


def _shortened(name: str, room: int) -> str:
    """Return a name with its middle left out where it is too long.

    >>> _shortened("a_very_long_name.nii.gz", 16)
    'a_very...nii.gz'
    """
    half = max(room - 3, 2) // 2
    return name if len(name) <= room else f"{name[:half]}...{name[-half:]}"


def _placed(picture: str, width: int, room: Screen) -> str:
    """Return what draws a picture in the middle of a screen that is empty otherwise."""
    left = max(0, (room.columns - width) // 2)
    if not room.is_text:
        return f"\x1b[H\x1b[J\x1b[1;{left + 1}H{picture}"
    lines = picture.split("\n")
    above = ((room.rows or 0) - len(lines)) // 2
    blank = " " * left
    rows = [""] * above + [blank + line for line in lines]
    return "\x1b[H" + "".join(f"{row}\x1b[K\r\n" for row in rows) + "\x1b[J"


def _bar(status: str, screen: Screen) -> str:
    """Return what draws the last line of the screen."""
    text = escape(status)
    room = screen.columns - len(text) - 2
    line = f"{text}  {_HINT:>{room}}" if room >= len(_HINT) else text[: screen.columns].ljust(screen.columns)
    return f"\x1b[{screen.rows};1H\x1b[7m{line}\x1b[0m"

"""Films as files: animated GIF and WebP, through Pillow. A file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from io import BytesIO
from itertools import chain
from typing import Any

from PIL import Image as Pillow
from PIL import ImageChops
from PIL.GifImagePlugin import getdata, getheader

from medimg_cli.errors import UsageError
from medimg_cli.media.film import Advance, Roll
from medimg_cli.media.palettes import Palette
from medimg_cli.storage.atomic import AtomicGroup

__all__ = ["ANIMATIONS", "check_suffix", "write_animation"]

#: Hundredths of a second that a frame of a GIF can last at most.
_LONGEST = 65535
#: Frames that are looked at to find a palette for all, and pixels, unless two frames have more.
_FRAMES, _PIXELS = 16, 1 << 22


def check_suffix(path: str, suffixes: Collection[str]) -> str:
    """Return the suffix of an output, in small letters.

    Raises
    ------
    UsageError
        If it is none of those given.

    Examples
    --------
    >>> check_suffix("a/b.GIF", (".gif", ".webp"))
    '.gif'
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in suffixes:
        from medimg_cli.media.video import VIDEOS

        others = "".join(
            f"; medimg {command} writes {suffix}"
            for command, known in (("gif", set(ANIMATIONS)), ("video", set(VIDEOS)))
            if suffix in known
        )
        raise UsageError(f"expected a name that ends in {' or '.join(suffixes)}{others}", path=path)
    return suffix


def write_animation(
    roll: Roll, path: str, *, loop: int = 0, optimize: bool = True, force: bool = False, advance: Advance | None = None
) -> None:
    """Write a film as an animated GIF, or as WebP.

    Frames are drawn and packed one after the other. A frame holds only the part that has changed. GIF has one palette
    for all frames: greys and colour maps keep their 256 levels exactly, other colours share 256, without dithering.
    WebP is lossless: of a noisy head it takes 0.85 times the bytes of the GIF (a lossy one 0.3 times, but its greys are
    wrong by 1 on average), and all colours are kept.

    Parameters
    ----------
    roll : Roll
    path : str
        ``.gif`` or ``.webp``.
    loop : int
        How often it is repeated; 0: for ever.
    optimize : bool
        Whether to leave out of a GIF what does not change from frame to frame.
    force : bool
        Whether an existing file is replaced.
    advance : callable, optional
        Is told how many frames are done.

    Raises
    ------
    UsageError
        If the name ends otherwise, or a frame lasts longer than GIF can say.
    StorageError
        If the file exists and may not be replaced, or cannot be written.
    """
    writer = ANIMATIONS[check_suffix(path, ANIMATIONS)]
    with AtomicGroup(force=force) as group:
        file = group.create(path)
        for piece in writer(_told(roll, advance), roll, loop, optimize):
            file.write(piece)


def _told(roll: Roll, advance: Advance | None) -> Iterator[Any]:
    """Yield the frames of a film, and tell when each is done with."""
    for done, frame in enumerate(roll, 1):
        yield frame
        if advance is not None:
            advance(done, len(roll))


def _gif(frames: Iterator[Any], roll: Roll, loop: int, optimize: bool) -> Iterator[bytes]:
    """Yield the bytes of a GIF (version 89a: a global palette, NETSCAPE2.0 for loops, a delay for each frame)."""
    lasts = roll.table.lasts(100)
    if max(lasts) > _LONGEST:
        raise UsageError(f"each frame would last {lasts[0] / 100:g} s", hint="GIF knows 655 s at most; use .webp")
    first = next(frames)
    palette = None if first.mode == "L" else _palette(roll, first.width * first.height)
    greys = bytes(level for level in range(256) for _ in range(3))
    blank = Pillow.new("P", first.size)
    blank.putpalette(greys if palette is None else palette.colours.tobytes())
    yield from getheader(blank, info={"loop": loop, "duration": 1})[0]
    before = None
    for frame, last in zip(chain([first], frames), lasts, strict=True):
        shown = frame if palette is None else palette.numbers(frame)
        box = (0, 0, *shown.size)
        if optimize and before is not None:
            box = ImageChops.difference(shown, before).getbbox() or (0, 0, 1, 1)
        yield b"".join(getdata(shown.crop(box), box[:2], duration=10 * last, disposal=1))
        before = shown
    yield b";"


def _palette(roll: Roll, pixels: int) -> Palette:
    """Return the colours of a film: those of its colour map, or what some of its frames need."""
    scene = roll.scene
    if scene.look.colormap == "gray" or scene.labels or scene.colour or scene.overlay is not None:
        return Palette.of(roll.some(min(_FRAMES, max(2, _PIXELS // pixels))))
    from medimg_cli.media.colormaps import colormap

    return Palette(colormap(scene.look.colormap))


def _webp(frames: Iterator[Any], roll: Roll, loop: int, optimize: bool) -> Iterator[bytes]:
    """Yield the bytes of an animated WebP; it counts how often it is played, GIF how often it is repeated."""
    memory = BytesIO()
    reel = _Reel(frames, len(roll))
    plays = loop + 1 if loop else 0
    reel.save(memory, "WEBP", save_all=True, duration=roll.table.lasts(1000), loop=plays, lossless=True, quality=0)
    yield memory.getvalue()


class _Reel(Pillow.Image):
    """Frames as Pillow's writers see those of a file: it asks for one after the other, so that none has to wait."""

    def __init__(self, frames: Iterator[Any], count: int) -> None:
        super().__init__()
        self._frames, self._number, self.n_frames = frames, -1, count
        self.seek(0)

    def tell(self) -> int:
        return self._number

    def seek(self, frame: int) -> None:
        while self._number < frame:
            picture = next(self._frames)
            self.im, self._mode, self._size = picture.im, picture.mode, picture.size
            self._number += 1


ANIMATIONS = {".gif": _gif, ".webp": _webp}
"""Suffix -> what yields the bytes of such a file."""

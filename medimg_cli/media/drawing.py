"""What is written over pictures: letters of the body's sides, the convention, a scale bar, a cross."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw

__all__ = ["ROOM", "draw_cross", "draw_marks", "text_size"]

#: Lengths of scale bars, mm.
_LENGTHS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)
#: Colours of marks and of the cross on pictures in colour; on grey ones marks are white and the cross light.
_INK, _CROSS = (255, 214, 90), (110, 230, 140)
#: Pixels of the shorter edge from which on there is room for letters, and for captions and bars.
ROOM, _MUCH_ROOM = 40, 150
#: Captions for pictures with less room.
_SHORT = {"radiological": "rad.", "neurological": "neu."}


def text_size(size: tuple[int, int]) -> int:
    """Return how large the letters of a picture are: pixels of the type, for its width and height."""
    return max(9, min(*size, 2000) // 20 + 3)


def draw_marks(
    picture: Any,
    letters: str,
    *,
    caption: str = "",
    scale: float | None = None,
    beside: tuple[int, int] | None = None,
) -> None:
    """Write letters at the edges of a picture, a caption and a scale bar in its lower corners, as far as they fit.

    Parameters
    ----------
    picture : Pillow image
        "L" or "RGB"; changed in place.
    letters : str
        Of the left, right, upper and lower edge; "" for none.
    caption : str
        A few words; small pictures get it shortened.
    scale : float, optional
        Pixels per mm; left out: no bar.
    beside : (width, height), optional
        Pixels of the largest picture that it stands beside: letters and bar are as large as there.
    """
    ink, mask = _layer(picture.size, letters, caption, scale, beside or picture.size)
    if picture.mode == "RGB":
        ink = Pillow.merge("RGB", [ink.point([value * part // 255 for value in range(256)]) for part in _INK])
    picture.paste(ink, (0, 0), mask)


@lru_cache(maxsize=16)
def _layer(
    size: tuple[int, int], letters: str, caption: str, scale: float | None, largest: tuple[int, int]
) -> tuple[Any, Any]:
    """Return the marks as grey levels, and where they cover the picture; the same for all frames of a film."""
    layer = Pillow.new("LA", size)
    draw = ImageDraw.Draw(layer)
    width, height = size
    shorter = min(size)
    text = text_size(largest)
    small = max(9, text * 2 // 3)
    places = ((3, height / 2, "lm"), (width - 3, height / 2, "rm"), (width / 2, 2, "mt"), (width / 2, height - 2, "mb"))
    if shorter >= ROOM:
        for letter, (x, y, anchor) in zip(letters, places, strict=False):
            _write(draw, (x, y), letter, anchor, text)
    if shorter >= ROOM:
        roomy = width >= _MUCH_ROOM and height >= ROOM
        _write(draw, (4, height - 3), caption if roomy else _SHORT.get(caption, ""), "lb", small if roomy else 9)
    if scale is not None and min(largest) >= _MUCH_ROOM:
        _bar(draw, size, scale, small, largest[0])
    return layer.getchannel(0), layer.getchannel(1)


def _bar(draw: Any, size: tuple[int, int], scale: float, text: int, across: int) -> None:
    """Draw a bar of a round length at the lower right, a tenth to a quarter of the largest picture wide."""
    width, height = size
    length = next((each for each in _LENGTHS if each * scale >= across / 10), None)
    if length is None or length * scale > min(across * 0.3, width * 0.4) or height < 3 * text:
        return
    x, y = width - 5, height - 5
    for fill, thickness in (((0, 255), 4), ((255, 255), 2)):
        draw.line([(x - length * scale, y), (x, y)], fill=fill, width=thickness)
    _write(draw, (x, y - 3), f"{length:g} mm", "rb", text)


def _write(draw: Any, place: tuple[float, float], text: str, anchor: str, size: int) -> None:
    if text:
        draw.text(place, text, fill=(255, 255), font_size=size, anchor=anchor, stroke_width=1, stroke_fill=(0, 255))


def draw_cross(picture: Any, x: float, y: float, *, margin: int = 0) -> None:
    """Draw a cross-hair through a pixel, open in its middle.

    Parameters
    ----------
    picture : Pillow image
        "L" or "RGB"; changed in place.
    x, y : float
        Pixels from the left and from above.
    margin : int
        Pixels at the edges that are left free, for letters.
    """
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    gap = max(3, min(width, height) // 40)
    fill: Any = 215 if picture.mode == "L" else _CROSS
    left, top, right, bottom = margin, margin, width - margin, height - margin
    for line in ((left, y, x - gap, y), (x + gap, y, right, y), (x, top, x, y - gap), (x, y + gap, x, bottom)):
        if line[0] <= line[2] and line[1] <= line[3]:
            draw.line(line, fill=fill)

"""Sheets of pictures: rows of tiles on black, captions below them, a title, facts and a legend around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from unicodedata import combining, normalize

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

__all__ = ["Tile", "printable", "sheet", "shortened"]

#: Colours of the title, of captions and of facts.
_BRIGHT, _PLAIN, _QUIET = (238, 238, 238), (190, 190, 190), (150, 150, 150)
#: Text is so many times as small as a sheet is wide, and has so many pixels at least and at most.
_PART, _LEAST, _MOST = 100, 12, 48
#: Letters that fit on the narrowest sheet that says something; lines of facts and of the legend.
_LETTERS, _LINES = 40, 3
_BETWEEN, _DOTS = "  \N{MIDDLE DOT}  ", "\N{HORIZONTAL ELLIPSIS}"
#: Characters beyond ASCII that the font has, and what others are drawn as.
_DRAWN = _DOTS + "\N{MIDDLE DOT}\N{DEGREE SIGN}"
_LIKE = str.maketrans(
    {"\N{MICRO SIGN}": "u", "\N{MULTIPLICATION SIGN}": "x", "\N{EN DASH}": "-", "\N{EM DASH}": "-"}
    | {"\N{LATIN SMALL LETTER SHARP S}": "ss", "\N{LATIN SMALL LETTER O WITH STROKE}": "o"}
)

Colour = tuple[int, int, int]


class Tile(NamedTuple):
    """A picture and what stands below it.

    Parameters
    ----------
    picture : Pillow image
    caption : str
    """

    picture: Any
    caption: str = ""


def printable(text: str) -> str:
    r"""Return text of which each character can be drawn; Pillow's own font has ASCII and little more.

    Letters lose their accents; what has no letter like it, and what is no character to be seen, becomes a question
    mark.

    Examples
    --------
    >>> printable("a\x1b[31m\n"), printable("Gef\u00e4\u00df 2 \u00d7 2")
    ('a?[31m?', 'Gefass 2 x 2')
    """
    if text.isascii() and text.isprintable():
        return text
    parts = normalize("NFKD", text.translate(_LIKE))
    return "".join(each if _is_drawn(each) else "?" for each in parts if not combining(each))


def _is_drawn(character: str) -> bool:
    return (character.isascii() and character.isprintable()) or character in _DRAWN


def shortened(text: str, width: float, size: int) -> str:
    """Return text that is at most so wide; what is too long loses its middle.

    Parameters
    ----------
    text : str
    width : float
        Pixels.
    size : int
        Pixels of the type.
    """
    kept = len(text)
    shown = text
    while (length := _length(shown, size)) > width and kept > 0:
        kept = min(kept - 1, int(kept * width / length))
        shown = text[: kept - kept // 2] + _DOTS + text[len(text) - kept // 2 :]
    return shown


def _length(text: str, size: int) -> float:
    length: float = ImageFont.load_default(size).getlength(text)  # type: ignore[union-attr]
    return length


def sheet(
    rows: Sequence[Sequence[Tile]],
    *,
    title: str = "",
    facts: Sequence[str] = (),
    legend: Sequence[tuple[str, Colour]] = (),
) -> Any:
    """Return tiles in rows and columns on one black picture; no text touches a tile.

    Parameters
    ----------
    rows : sequence of rows of Tile
        The first row is the longest. Tiles are centred in their place.
    title : str
        Above them; shortened where it is too long.
    facts : sequence of str
        Below them, in as many lines as it takes, up to three.
    legend : sequence of (name, colour)
        Below the facts, likewise; what finds no room is counted.

    Returns
    -------
    Pillow image
        "RGB".
    """
    pictures = [[tile.picture for tile in row] for row in rows]
    bare = sum(picture.width for picture in pictures[0])
    small = min(max(bare // _PART, _LEAST), _MOST)
    gap, large = small, small * 4 // 3
    widths = _widths(rows, small)
    across = sum(widths) + gap * (len(widths) - 1)
    speaks = bool(title or facts or legend)
    inner = max(across, _LETTERS * small // 2 if speaks else 0)
    head = large * 2 if title else 0
    heights = [max(picture.height for picture in row) for row in pictures]
    below = [small * 3 // 2 if any(tile.caption for tile in row) else 0 for row in rows]
    tall = sum(heights) + sum(below) + gap * (len(rows) - 1)
    lines = list(_wrapped(facts, inner, small))
    entries = list(_rows_of(legend, inner, small))
    foot = (len(lines) + len(entries)) * small * 3 // 2 + (gap if lines or entries else 0)
    page = Pillow.new("RGB", (inner + 2 * gap, head + tall + foot + 2 * gap))
    draw = ImageDraw.Draw(page)
    draw.text((gap, gap + large // 2), shortened(printable(title), inner, large), _BRIGHT, font_size=large, anchor="lm")
    y = gap + head
    for row, height, strip in zip(rows, heights, below, strict=True):
        x = gap + (inner - across) // 2
        for tile, width in zip(row, widths, strict=False):
            picture, top = tile.picture, y + (height - tile.picture.height) // 2
            page.paste(picture, (x + (width - picture.width) // 2, top))
            middle = (x + width / 2, top + picture.height + strip * 0.6)
            draw.text(middle, printable(tile.caption), _PLAIN, font_size=small, anchor="mm")
            x += width + gap
        y += height + strip + gap
    _write_foot(draw, gap, y, lines, entries, small)
    return page


def _widths(rows: Sequence[Sequence[Tile]], small: int) -> list[int]:
    """Return the width of each column: that of its widest picture or caption."""
    widths = [0] * len(rows[0])
    for row in rows:
        for n, tile in enumerate(row):
            widths[n] = max(widths[n], tile.picture.width, round(_length(printable(tile.caption), small) + 0.5))
    return widths


def _wrapped(facts: Iterable[str], width: int, size: int) -> Iterator[str]:
    """Yield lines of facts with dots between them."""
    line, count = "", 0
    for fact in facts:
        more = line + _BETWEEN * bool(line) + printable(fact)
        if line and _length(more, size) > width:
            yield shortened(line, width, size)
            more, count = printable(fact), count + 1
            if count == _LINES:
                return
        line = more
    if line:
        yield shortened(line, width, size)


def _rows_of(legend: Sequence[tuple[str, Colour]], width: int, size: int) -> Iterator[list[tuple[int, str, Any]]]:
    """Yield lines of a legend: (pixels from the left, name, colour of its swatch or None)."""
    row: list[tuple[int, str, Any]] = []
    x, count, last = 0, 1, f"and {len(legend)} more"
    room = _length(last, size) + size
    for n, (name, colour) in enumerate(legend):
        word = shortened(printable(name), width * 0.6, size)
        wide = round(_length(word, size) + 0.5) + size * 3
        full = width - (room if count == _LINES and n < len(legend) - 1 else 0)
        if row and x + wide - size > full:
            if count == _LINES:
                row.append((x, f"and {len(legend) - n} more", None))
                break
            yield row
            row, x, count = [], 0, count + 1
        row.append((x, word, colour))
        x += wide
    if row:
        yield row


def _write_foot(
    draw: Any, left: int, y: int, lines: Sequence[str], entries: Sequence[Sequence[tuple[int, str, Any]]], small: int
) -> None:
    """Write facts and legend from a height downwards."""
    step = small * 3 // 2
    for line in lines:
        draw.text((left, y + step / 2), line, _QUIET, font_size=small, anchor="lm")
        y += step
    for row in entries:
        for x, name, colour in row:
            start = left + x
            if colour is not None:
                top = y + (step - small) // 2
                draw.rectangle((start, top, start + small - 1, top + small - 1), fill=colour, outline=_QUIET)
                start += small + small // 2
            draw.text((start, y + step / 2), name, _PLAIN, font_size=small, anchor="lm")
        y += step

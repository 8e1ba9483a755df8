"""The HTML that a notebook shows for an image: thumbnails and a few facts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Any

__all__ = ["card", "escaped", "png"]


def png(picture: Any) -> bytes:
    """Return a Pillow image as a PNG file."""
    memory = BytesIO()
    picture.save(memory, "PNG", optimize=True)
    return memory.getvalue()


def card(title: str, facts: Sequence[tuple[str, str]], pictures: Sequence[tuple[str, Any]] = ()) -> str:
    """Return a title, pictures with their names and a table of facts as HTML that needs nothing else.

    Parameters
    ----------
    title : str
    facts : sequence of (name, text)
        All text is escaped; control characters are shown as such.
    pictures : sequence of (name, Pillow image)

    Examples
    --------
    >>> "<script>" in card("x", [("path", "<script>alert(1)</script>")])
    False
    """
    shown = "".join(
        f'<img alt="{escaped(name)}" title="{escaped(name)}" style="margin:0 4px 4px 0;background:#000" '
        f'src="data:image/png;base64,{b64encode(png(picture)).decode()}">'
        for name, picture in pictures
    )
    rows = "".join(
        f'<tr><th style="text-align:left;padding:0 12px 0 0">{escaped(name)}</th>'
        f'<td style="text-align:left">{escaped(text)}</td></tr>'
        for name, text in facts
    )
    return f"<div><strong>{escaped(title)}</strong><br>{shown}<table>{rows}</table></div>"


def escaped(text: str) -> str:
    r"""Return text as HTML, between tags and in quotes; what cannot be printed is written as Python does.

    >>> escaped("<a b='1'>\n")
    '&lt;a b=&#x27;1&#x27;&gt;\\n'
    """
    return escape("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))

"""The HTML that a notebook shows for an image: thumbnails and a few facts."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import Any

from medimg_cli.errors import UsageError
from medimg_cli.storage.atomic import AtomicGroup

__all__ = ["card", "png", "save_picture"]


def png(picture: Any) -> bytes:
    """Return a Pillow image as a PNG file."""
    memory = BytesIO()
    picture.save(memory, "PNG", optimize=True)
    return memory.getvalue()


def save_picture(picture: Any, path: str) -> None:
    """Write a Pillow image to a file, which appears whole or not at all; its suffix names the format.

    Raises
    ------
    UsageError
        If Pillow writes no files of that name.
    StorageError
        If the file cannot be written.
    """
    from PIL import Image

    suffix = os.path.splitext(path)[1].lower()
    kind = Image.registered_extensions().get(suffix)
    if kind is None or kind not in Image.SAVE:
        raise UsageError(f"no picture is written to files with {suffix or 'no suffix'}", path=path, hint="use .png")
    memory = BytesIO()
    picture.save(memory, kind)
    with AtomicGroup(force=True) as group:
        group.create(path).write(memory.getvalue())


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
        f'<img alt="{_text(name)}" title="{_text(name)}" style="margin:0 4px 4px 0;background:#000" '
        f'src="data:image/png;base64,{b64encode(png(picture)).decode()}">'
        for name, picture in pictures
    )
    rows = "".join(
        f'<tr><th style="text-align:left;padding:0 12px 0 0">{_text(name)}</th>'
        f'<td style="text-align:left">{_text(text)}</td></tr>'
        for name, text in facts
    )
    return f"<div><strong>{_text(title)}</strong><br>{shown}<table>{rows}</table></div>"


def _text(text: str) -> str:
    return escape("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))

"""What pages of HTML are made of: text, pictures and scripts that lie in them, and the policy that allows no more.

And the smallest page of all, what a notebook shows for an image.
"""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from medimg_cli.text import escape

__all__ = ["asset", "card", "data_url", "escaped", "png", "policy"]

_ASSETS = Path(__file__).with_name("assets")


def asset(name: str) -> bytes:
    """Return a file that pages are made of.

    Raises
    ------
    FileNotFoundError
        If it is not here.
    """
    return (_ASSETS / name).read_bytes()


def policy(scripts: Iterable[str], styles: Iterable[str] = ()) -> str:
    """Return what a page may load: these texts of its own, pictures from ``data:`` URLs, and nothing else.

    Content Security Policy Level 3, with hash sources.

    Parameters
    ----------
    scripts : iterable of str
        Texts of script elements.
    styles : iterable of str
        Texts of style elements. Left out: all in the page, also attributes, which have no hashes.

    Examples
    --------
    >>> policy(["go()"])[:58]
    "default-src 'none'; img-src data:; script-src 'sha256-5KYv"
    """
    inline = "'unsafe-inline'"
    rules = (
        "default-src 'none'",
        "img-src data:",
        f"script-src {_sources(scripts)}",
        f"style-src {_sources(styles) or inline}",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(rules)


def _sources(texts: Iterable[str]) -> str:
    return " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)


def data_url(content: bytes, kind: str) -> str:
    """Return the URL of something that lies in the URL itself (RFC 2397).

    >>> data_url(b"GIF89a", "image/gif")
    'data:image/gif;base64,R0lGODlh'
    """
    return f"data:{kind};base64,{b64encode(content).decode()}"


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
        f'src="{data_url(png(picture), "image/png")}">'
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
    return html.escape(escape(text))

"""Text as people read it: what comes from files without control characters, sizes in bytes."""

from __future__ import annotations

__all__ = ["escape", "size_text"]


def escape(text: str) -> str:
    r"""Replace every character that a terminal might act upon by its backslash escape.

    Control characters, bidirectional marks, line separators and undecodable bytes all count.

    >>> print(escape("scan\x1b[2J\n.nii"))
    scan\x1b[2J\n.nii
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def size_text(count: float, smallest: str = "B") -> str:
    """Write a number of bytes as people say it.

    Parameters
    ----------
    count : float
        Bytes.
    smallest : str
        How bytes are called where they are few.

    Examples
    --------
    >>> size_text(999), size_text(999, "bytes"), size_text(80_800_000)
    ('999 B', '999 bytes', '80.8 MB')
    """
    for unit in (smallest, "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"

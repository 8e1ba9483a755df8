"""Text as people read it: what comes from files without control characters, counts, sizes in bytes, what was meant."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["counted", "did_you_mean", "escape", "size_text"]


def escape(text: str) -> str:
    r"""Replace every character that a terminal might act upon by its backslash escape.

    Control characters, bidirectional marks, line separators and undecodable bytes all count.

    >>> print(escape("scan\x1b[2J\n.nii"))
    scan\x1b[2J\n.nii
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(count: int, word: str) -> str:
    """Return a count and what is counted.

    >>> counted(1, "value"), counted(12000, "voxel")
    ('1 value', '12,000 voxels')
    """
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


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


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return a hint for a word that nobody knows: the nearest known one.

    Parameters
    ----------
    word : str
        Capital letters do not matter, and ``_`` is as good as ``-``.
    known : iterable of str
        Words of which it may be one.
    otherwise : str
        The hint where none is near.

    Examples
    --------
    >>> did_you_mean("Spacing_mm", ["spacing-mm", "origin"], "see the page"), did_you_mean("x", ["spacing"], "give one")
    ('did you mean spacing-mm?', 'give one')
    """
    from difflib import get_close_matches

    spelled = {each.lower().replace("_", "-"): each for each in known}
    near = get_close_matches(word.lower().replace("_", "-"), spelled, 1)
    return f"did you mean {spelled[near[0]]}?" if near else otherwise

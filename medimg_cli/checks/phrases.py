"""Words that messages of several rules have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medimg_cli.checks.subject import Subject

__all__ = ["among", "listed", "number", "place", "placed"]


def number(value: Any) -> str:
    """Return a number, short.

    >>> number(3), number(0.5), number(-1024.0), number(1 / 3)
    ('3', '0.5', '-1024', '0.333333')
    """
    return f"{value:g}" if isinstance(value, float) else str(value)


def listed(words: Sequence[str], most: int) -> str:
    """Return some words, the first of them where there are many.

    >>> listed(["a", "b"], 2), listed(["a", "b", "c", "d"], 2)
    ('a, b', 'a, b and 2 more')
    """
    return ", ".join(words[:most]) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def among(count: int, total: int) -> str:
    """Return a count among all values, with its share.

    >>> among(5, 200), among(1, 10**9)
    ('5 of 200 values (2.5 %)', '1 of 1,000,000,000 values')
    """
    share = 100 * count / total
    return f"{count:,} of {total:,} values" + (f" ({share:.2g} %)" if 0.001 <= share < 100 else "")


def place(subject: Subject, at: tuple[int, ...] | None) -> dict[str, Any]:
    """Return where a (c, i, j, k) is, as fields of `Found`."""
    if at is None:
        return {}
    voxel = (at[1], at[2], at[3])
    return {"voxel": voxel, "world": tuple(subject.header.affine.apply(voxel))}


def placed(subject: Subject, at: tuple[int, ...] | None) -> str:
    """Return the channel of a (c, i, j, k), to stand behind what is there; a finding tells the voxel itself."""
    return "" if at is None or subject.header.channels == 1 else f", one of them in channel {at[0]}"

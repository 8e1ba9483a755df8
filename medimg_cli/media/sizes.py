"""How many pixels a picture may have along its longer edge."""

from __future__ import annotations

from medimg_cli.errors import UsageError

__all__ = ["LARGEST", "check_size"]

LARGEST = 8192
"""Pixels of the longer edge at most."""

#: Where fewer are asked for, nobody would see anything.
_SMALLEST = 16


def check_size(size: int | None) -> None:
    """Refuse a size that no picture has; None is any.

    Raises
    ------
    UsageError
        If it is not a whole number from 16 to 8192.
    """
    if size is not None and size not in range(_SMALLEST, LARGEST + 1):
        raise UsageError(f"size is {size}", hint=f"expected {_SMALLEST} to {LARGEST} pixels")

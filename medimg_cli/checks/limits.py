"""The numbers that rules compare with; ``[check.limits]`` of a configuration changes them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One row: a number that a rule compares with.

    Parameters
    ----------
    name : str
        As in a configuration.
    value : float
        Where nobody says otherwise.
    says : str
        What it is, with its unit; one sentence.
    """

    name: str
    value: float
    says: str


LIMITS: tuple[Limit, ...] = (
    Limit("grid-mm", 0.01, "Distance in mm up to which two grids are the same."),
    Limit("forms-mm", 0.1, "Distance in mm up to which sform and qform agree."),
)
"""All limits by group of rules; to add one, give it a row."""

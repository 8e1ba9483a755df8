"""Rules about headers: whether what they say makes sense, and agrees with itself. No voxel is read for them."""

from __future__ import annotations

from medimg_cli.checks import header_fields, header_geometry, header_meaning, header_time
from medimg_cli.checks.rule import Rule

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (*header_geometry.RULES, *header_time.RULES, *header_fields.RULES, *header_meaning.RULES),
        key=lambda rule: rule.code,
    )
)
"""All of them by code; to add one, give it a row in the table of its topic."""

"""Rules that a data set has made for itself: expectations such as "spacing <= 1.0"."""

from __future__ import annotations

from medimg_cli.checks.rule import Rule

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = ()

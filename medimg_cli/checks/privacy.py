"""Rules about what tells who a patient is."""

from __future__ import annotations

from medimg_cli.checks.rule import Rule

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = ()

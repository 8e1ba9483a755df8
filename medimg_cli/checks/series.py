"""Rules about DICOM series."""

from __future__ import annotations

from medimg_cli.checks.rule import Rule

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = ()

"""From a configuration file and a command line to a `Config`."""

from __future__ import annotations

from medimg_cli.checks.config import Config, Wishes
from medimg_cli.checks.rules import RULES

__all__ = ["load_config"]


def load_config(wishes: Wishes) -> Config:
    """Return what holds for all paths of a run.

    Parameters
    ----------
    wishes : Wishes

    Raises
    ------
    UsageError
        If a file or a wish makes no sense: the message names the file and the key.
    """
    codes = [code for code, rule in RULES.items() if rule.on and not (wishes.header_only and rule.reads_voxels)]
    return Config(codes=tuple(codes), pairs=(wishes.pair,) if wishes.pair else (), error_on=wishes.error_on or "error")

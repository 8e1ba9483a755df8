"""Which rules hold for which path, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medimg_cli.checks.limits import LIMITS
from medimg_cli.checks.rule import Rule, Severity

__all__ = ["Config", "Settings", "Wishes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for one path.

    Parameters
    ----------
    codes : tuple of str
        Of the rules that hold.
    severities : mapping of str to str
        Code -> severity, where it is not the one of the rule.
    limits : mapping of str to float
        Those of `LIMITS` that are not as there.
    expect : tuple of str
        Expectations, as they were written: "spacing <= 1.0".
    labels : bool or None
        Whether the path is a label map; None where nobody says so.
    known : tuple of int or None
        The values that a label map here may hold; None: nobody says.
    """

    codes: tuple[str, ...] = ()
    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    expect: tuple[str, ...] = ()
    labels: bool | None = None
    known: tuple[int, ...] | None = None

    def limit(self, name: str) -> float:
        """Return a number that a rule compares with."""
        return self.limits[name] if name in self.limits else _DEFAULTS[name]

    def severity(self, rule: Rule) -> Severity:
        """Return how bad it is to break a rule here."""
        return self.severities.get(rule.code, rule.severity)


_DEFAULTS = {limit.name: limit.value for limit in LIMITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What holds for all paths of a run.

    Parameters
    ----------
    root : str
        Folder that the patterns of paths start from.
    codes : tuple of str
        Of the rules that hold where nothing else is said of a path.
    pairs : tuple of (str, str)
        Pattern of images, and where the label map of each is.
    error_on : str
        Severity from which a finding makes the exit code 1.
    """

    root: str = ""
    codes: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    error_on: Severity = "error"

    def settings_for(self, path: str) -> Settings:
        """Return what holds for one path."""
        return Settings(codes=self.codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a command line says of rules; each goes before what a configuration file says.

    Parameters
    ----------
    config : str or None
        Configuration file; None: the nearest one above the working folder.
    isolated : bool
        Whether no file is looked for.
    select, extend_select, ignore : tuple of str
        Codes, the first letters of codes, names, or "all".
    expect : tuple of str
        Expectations for all paths.
    pair : (str, str) or None
        As one of ``Config.pairs``.
    error_on : str or None
    baseline : str or None
        File that knows findings of which nothing is to be said.
    header_only : bool
        Whether rules that read voxels are left out.
    """

    config: str | None = None
    isolated: bool = False
    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    expect: tuple[str, ...] | None = None
    pair: tuple[str, str] | None = None
    error_on: Severity | None = None
    baseline: str | None = None
    header_only: bool = False

"""Planted faults: for each rule files that break it, and files that nearly do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medimg_cli.checks.checking import Checked, Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config

NONE: Mapping[str, Any] = {}


class Case(NamedTuple):
    """Files with or without one fault.

    ``make`` writes them below a folder that it is given, and returns the paths to check (None: the folder). ``wishes``
    are options as in `Wishes`. ``says`` is a part of the message that a fault must get.
    """

    name: str
    make: Callable[[Path], Any]
    says: str = ""
    wishes: Mapping[str, Any] = NONE


class Planted(NamedTuple):
    """Of one rule: at least two cases with the fault, and two near misses without it."""

    faults: tuple[Case, ...]
    near: tuple[Case, ...]


def look(case: Case, code: str, folder: Path) -> list[Checked]:
    """Check the files of a case with the usual rules and the one in question."""
    made = case.make(folder)
    paths = [folder] if made is None else [made] if isinstance(made, (str, Path)) else list(made)
    wishes = Wishes(**{"isolated": True, "extend_select": (code,), **case.wishes})
    return list(check_paths(map(str, paths), Checking(config=load_config(wishes))))


def found(case: Case, code: str, folder: Path) -> list[str]:
    """Return the messages of a rule about the files of a case."""
    return [each.message for checked in look(case, code, folder) for each in checked.findings if each.code == code]

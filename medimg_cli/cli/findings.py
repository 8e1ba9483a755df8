"""What ``medimg check`` prints: findings in a form, a summary, statistics, the explanation of a rule."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medimg_cli.cli.render import Console, write

if TYPE_CHECKING:
    from medimg_cli.checks.checking import Checked
    from medimg_cli.checks.config import Wishes
    from medimg_cli.formats.reading import Reading

__all__ = ["run_check"]


def run_check(
    paths: Sequence[str] | None,
    wishes: Wishes,
    *,
    form: str,
    reading: Reading,
    jobs: int,
    fix: bool,
    console: Console,
) -> int:
    """Check paths and print what was found; return the exit code."""
    from medimg_cli.checks.checking import Checking, check_paths
    from medimg_cli.checks.configuring import load_config
    from medimg_cli.checks.forms import FORMS
    from medimg_cli.checks.rule import SEVERITIES

    config = load_config(wishes)
    wanted = Checking(config=config, reading=reading, jobs=jobs, fix=fix)
    worst = SEVERITIES.index(config.error_on)
    failed = broken = 0

    def told() -> Iterator[Checked]:
        nonlocal failed, broken
        for checked in check_paths(paths or (), wanted):
            if checked.message:
                failed += 1
                console.trace(checked.cause)
                console.error(checked.message)
            broken += sum(SEVERITIES.index(each.severity) <= worst for each in checked.findings if not each.fixed)
            yield checked

    for piece in FORMS[form](told()):
        write(sys.stdout, piece)
    return 2 if failed else 1 if broken else 0

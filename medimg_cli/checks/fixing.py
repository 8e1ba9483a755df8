"""What ``medimg check --fix`` does: rewrite a file so that rules are kept, with every voxel in its place."""

from __future__ import annotations

from collections.abc import Iterable

from medimg_cli.checks.rule import Rule
from medimg_cli.checks.subject import Subject

__all__ = ["fix"]


def fix(subject: Subject, rules: Iterable[Rule]) -> tuple[str, ...]:
    """Mend what rules have found in a file, in one atomic rewrite.

    Parameters
    ----------
    subject : Subject
    rules : iterable of Rule
        Broken ones, with ``mend``.

    Returns
    -------
    tuple of str
        Codes of the rules that were mended.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    return ()

"""Rules about files: whether what a file holds is what it says, and whether all of it is there."""

from __future__ import annotations

from collections.abc import Iterator

from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject
from medimg_cli.errors import TruncatedError

__all__ = ["RULES"]


def _unreadable(subject: Subject) -> Iterator[Found]:
    problem = subject.error or subject.unreadable
    if problem is not None and not isinstance(problem, TruncatedError):
        yield Found(problem.message)


def _truncated(subject: Subject) -> Iterator[Found]:
    problem = subject.error or subject.unreadable
    if isinstance(problem, TruncatedError):
        yield Found(problem.message)


RULES = (
    Rule("F001", "unreadable", "error", _unreadable, "A file can be read to its end.", voxels=True, unread=True),
    Rule("F002", "truncated", "error", _truncated, "All bytes of a file are there.", voxels=True, unread=True),
)

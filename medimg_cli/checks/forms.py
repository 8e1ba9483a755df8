"""Findings as text, JSON, JUnit, annotations of GitHub and SARIF: strings, which somebody else prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from medimg_cli.checks.checking import Checked

__all__ = ["FORMS"]


def text(checked: Iterable[Checked]) -> Iterator[str]:
    """Yield a line a finding."""
    for each in checked:
        for finding in each.findings:
            yield f"{finding.path}: {finding.code} {finding.severity}: {finding.message}\n"


FORMS: Mapping[str, Callable[[Iterable[Checked]], Iterator[str]]] = {"text": text}
"""Output forms by name: each takes what came of paths and yields pieces of text; to add one, give it a row."""

"""What ``medimg check`` prints: findings in a form, how many there are, and what a rule is about."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medimg_cli.cli.render import Column, Console, emit, progress, write
from medimg_cli.errors import StorageError, UsageError
from medimg_cli.text import counted

if TYPE_CHECKING:
    from medimg_cli.checks.checking import Checked, Checking
    from medimg_cli.checks.rule import Finding

__all__ = ["Printing", "print_rules", "report_findings"]

_COLORS = {"error": "31", "warning": "33", "info": "36"}
_RECORD = re.compile(rb'\[?\s*\{"schema": "medimg\.check/')
#: Suffix -> how a file of findings begins.
_BEGINS = {
    ".txt": re.compile(rb"[^\n]+: [A-Z]\d{3} (?:error|warning|info): "),
    ".json": _RECORD,
    ".jsonl": _RECORD,
    ".xml": re.compile(rb'<\?xml [^>]*>\s*<testsuites>\s*<testsuite name="medimg check"'),
    ".sarif": re.compile(rb'\{.*"driver": \{\s*"name": "medimg"', re.DOTALL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Printing:
    """How findings are told.

    Parameters
    ----------
    form : str
        "text", or a name of `checks.forms.FORMS`.
    save : sequence of str
        Files that get all findings, too, in the form that their suffix says.
    statistics : bool
        Whether findings are counted by rule in place of being told one by one.
    update_baseline : bool
        Whether all findings go into the baseline.
    """

    form: str = "text"
    save: Sequence[str] = ()
    statistics: bool = False
    update_baseline: bool = False


def report_findings(paths: Iterable[str], wanted: Checking, printing: Printing, console: Console) -> int:
    """Check paths, print what was found as it comes, and return the exit code.

    Raises
    ------
    UsageError
        If a file cannot hold findings.
    StorageError
        If one cannot be written, or is something else than findings.
    """
    from medimg_cli.checks.checking import check_found, find
    from medimg_cli.checks.forms import FORMS
    from medimg_cli.checks.pairing import unmatched

    paths = list(paths)
    if not paths:
        raise UsageError("no path", hint="give images or folders: medimg check PATH...")
    for name in printing.save:
        _check_target(name)
    known = _Known(wanted, printing.update_baseline)
    images = find(paths, wanted)
    tally = _Tally(wanted, console)
    kept: list[Checked] = []
    with progress(console, len(images), "check") as bar:

        def told() -> Iterator[Checked]:
            for checked in tally.of(known.left_out(check_found(images, wanted))):
                if checked.path:  # else it is about the set
                    bar.advance()
                kept.append(checked)
                yield checked

        if printing.statistics:
            _print_statistics(told(), printing.form, console)
        else:
            pieces = (
                _text(told(), console)
                if printing.form == "text"
                else FORMS[printing.form].write(told(), wanted.config.error_on)
            )
            for piece in pieces:
                write(sys.stdout, piece)
    for name in printing.save:
        _save(name, kept, wanted)
    known.settle(console)
    if any(os.path.isdir(path) for path in paths):  # some files need not be a whole data set
        for pattern in unmatched(wanted.config.pairs, (image for image in images if isinstance(image, str))):
            console.warning(f"no image matches '{pattern}', the pattern of images of a pair")
    tally.sum_up(sum(isinstance(image, str) for image in images), known.count)
    return tally.code


class _Known:
    """Leaves out of what was found what the baseline knows, or makes the baseline know all of it; counts that."""

    def __init__(self, wanted: Checking, update: bool) -> None:
        from medimg_cli.checks.baseline import Baseline

        self._config, self._update = wanted.config, update
        path = self._config.baseline
        if update and path is None:
            raise UsageError("--update-baseline without a baseline", hint="name it: --baseline FILE")
        self._baseline = None if path is None else Baseline.read(path, may_be_missing=update)
        self.count = 0
        self._found: list[Finding] = []
        self._looked_at: list[str] = []

    def left_out(self, checked: Iterable[Checked]) -> Iterator[Checked]:
        """Yield what came of each path, without the findings that are known, or will be; what was mended is told."""
        if self._baseline is None:
            yield from checked
            return
        for each in checked:
            if not each.message and not each.excluded:
                self._looked_at.append(each.path)
            self._found += [finding for finding in each.findings if not finding.fixed]
            told = [
                finding
                for finding in each.findings
                if finding.fixed or not (self._update or self._baseline.knows(finding))
            ]
            self.count += len(each.findings) - len(told)
            yield replace(each, findings=tuple(told))

    def settle(self, console: Console) -> None:
        """Say which entries are outdated, or write the baseline."""
        if self._baseline is None:
            return
        looked_at = [*self._looked_at, ""]
        if self._update:
            self._baseline.updated(self._found, looked_at, self._config).write()
            console.message(f"{self._baseline.path}: knows {counted(len(self._found), 'finding')} of this run now")
        elif outdated := self._baseline.outdated(looked_at, self._config):
            console.message(f"{self._baseline.path}: {counted(len(outdated), 'finding')} of it occur no more")


class _Tally:
    """Counts findings on their way, and says what could not be looked at."""

    def __init__(self, wanted: Checking, console: Console) -> None:
        self._wanted, self._console = wanted, console
        self._counts: Counter[str] = Counter()
        self._failed = self._bad = self._fixable = self._fixed = self._excluded = 0

    def of(self, checked: Iterable[Checked]) -> Iterator[Checked]:
        """Yield what came of each path, without what only rules over sets need."""
        from medimg_cli.checks.rule import fails

        for each in checked:
            if each.message:
                self._failed += 1
                self._console.trace(each.cause)
                self._console.error(each.message)
            self._excluded += each.excluded
            for finding in each.findings:
                self._fixed += finding.fixed
                self._counts[finding.severity] += not finding.fixed
                self._fixable += finding.fixable and not finding.fixed
                self._bad += fails(finding, self._wanted.config.error_on)
            yield replace(each, profiles=())

    @property
    def code(self) -> int:
        """The exit code."""
        return 2 if self._failed else 1 if self._bad else 0

    def sum_up(self, images: int, known: int) -> None:
        """Say how many findings of which kind there are, and how many the baseline knows."""
        words = [
            counted(count, "note" if name == "info" else name) for name in _COLORS if (count := self._counts[name])
        ]
        more = [f"{self._fixed} mended"] * bool(self._fixed)
        more += [f"{self._fixable} can be mended with --fix"] * bool(self._fixable and not self._wanted.fix)
        more += [f"{self._excluded} excluded"] * bool(self._excluded)
        more += [f"{counted(self._failed, 'path')} could not be looked at"] * bool(self._failed)
        more += [f"{known} known"] * bool(known)
        found = ", ".join(words) or ("nothing new" if known else "nothing found")
        self._console.message("; ".join([f"{counted(images, 'image')}: {found}", *more]))


def _text(checked: Iterable[Checked], console: Console) -> Iterator[str]:
    """Yield a line a finding."""
    from medimg_cli.checks.forms import line

    styled = console.styled(sys.stdout)
    for each in checked:
        for finding in each.findings:
            text = line(finding)
            if styled:
                head = f"{finding.code} {finding.severity}:"
                text = text.replace(head, f"\x1b[1;{_COLORS[finding.severity]}m{head}\x1b[0m", 1)
            yield f"{text}\n"


# -- files ----------------------------------------------------------------------------------------------------------


def _suffixes() -> Mapping[str, str]:
    """Return the suffixes of files that hold findings, and the form of each."""
    from medimg_cli.checks.forms import FORMS

    return {form.suffix: name for name, form in FORMS.items() if form.suffix} | {".txt": "text"}


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _check_target(name: str) -> None:
    """Refuse to save findings where no form has the suffix, or something else would be replaced."""
    known = _suffixes()
    if not name.endswith(tuple(known)):
        raise UsageError(f"--save {name}: no form has this suffix", hint=f"give one of {', '.join(known)}")
    try:
        with open(name, "rb") as file:
            head = file.read(1 << 10)
    except FileNotFoundError:
        if not os.path.isdir(os.path.dirname(name) or "."):
            raise StorageError("its folder does not exist; make it first", path=name) from None
        return
    if head.strip() not in (b"", b"[]") and not _BEGINS[_suffix(name)].match(head):
        raise StorageError("exists and holds something else than findings", path=name, hint="give another name")


def _save(name: str, checked: Sequence[Checked], wanted: Checking) -> None:
    from medimg_cli.checks.forms import FORMS, line
    from medimg_cli.storage.atomic import AtomicGroup

    form = _suffixes()[_suffix(name)]
    if form == "text":
        pieces: Iterable[str] = (f"{line(finding)}\n" for each in checked for finding in each.findings)
    else:
        pieces = FORMS[form].write(checked, wanted.config.error_on)
    with AtomicGroup(force=True) as group:
        file = group.create(name)
        for piece in pieces:
            file.write(piece.encode())


# -- tables ---------------------------------------------------------------------------------------------------------


def _print_statistics(checked: Iterable[Checked], form: str, console: Console) -> None:
    """Print how often each rule is broken, the most frequent first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    files: dict[str, set[str]] = {}
    for finding in (finding for each in checked for finding in each.findings):
        counts[finding.code, finding.severity, finding.rule] += 1
        files.setdefault(finding.code, set()).add(finding.path)
    keys = ("code", "severity", "rule")
    rows = [
        {**dict(zip(keys, key, strict=True)), "findings": count, "files": len(files[key[0]])}
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    columns = [_column(name, right=True) for name in ("findings", "files")] + [_column(name) for name in keys]
    _print(rows, columns, form, console)


def _column(name: str, *, right: bool = False) -> Column:
    return Column(name.upper(), lambda row: str(row[name]), right)


def _print(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], form: str, console: Console) -> None:
    if form == "text" and not rows:
        return
    if form not in ("text", "json", "jsonl"):
        raise UsageError(f"--format {form} holds findings only", hint="give text, json or jsonl")
    emit("table" if form == "text" else form, rows, columns=columns, console=console)


def print_rules(word: str, form: str, console: Console) -> int:
    """Print what a rule is about; of several a line each.

    Parameters
    ----------
    word : str
        A code, a name, the start of codes, or "all".
    form : str
        "text", "json" or "jsonl".
    console : Console

    Returns
    -------
    int
        The exit code.
    """
    from medimg_cli.checks.rules import RULES
    from medimg_cli.checks.selecting import meant_by_all

    rules = [RULES[code] for code in meant_by_all([word])]
    rows = [
        {
            **{key: getattr(rule, key) for key in ("code", "name", "severity", "says", "why", "example", "remedy")},
            "reads": rule.reads,
            "default": rule.on,
        }
        for rule in rules
    ]
    if form == "text" and len(rows) == 1:
        for piece in _explained(rows[0]):
            console.out(piece)
    else:
        names = ("code", "severity", "name", "says")
        _print(rows, [_column(name) for name in names], form, console)
    return 0


def _explained(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a page about a rule."""
    from textwrap import wrap

    yield f"{row['code']} {row['name']} ({row['severity']})"
    rest = f"The rule reads {row['reads']}." + ("" if row["default"] else " It is off until it is selected.")
    for title, text in (
        ("", row["says"]),
        ("Why", row["why"]),
        ("Example", row["example"]),
        ("Remedy", row["remedy"]),
        ("", rest),
    ):
        yield ""
        yield from wrap(f"{title}: {text}" if title else text, 88)

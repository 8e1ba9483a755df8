"""Everything that the command line prints, and the one place that decides how.

stdout holds data only: tables, JSON, JSON lines, CSV, bare values. Messages, warnings and progress go to stderr.
A table is the same aligned text in a pipe and on a terminal, where it has colour: no cell is ever cut or folded, the
terminal wraps what is too long. rich draws the progress bar and is imported for nothing else. Text that may come from a
file passes through :func:`escape` before it is printed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TextIO

from medimg_cli.errors import UsageError
from medimg_cli.text import escape

__all__ = ["FORMS", "Column", "Console", "Progress", "emit", "emit_fields", "escape", "number", "value_text"]

Record = Mapping[str, Any]

#: How a terminal is told to change colour.
_STYLE = re.compile("\x1b\\[[0-9;]*m")


def number(value: float) -> str:
    """Write a number with the fewest digits that give it back.

    >>> number(1.0), number(0.1), number(-0.0), number(float("nan"))
    ('1', '0.1', '0', 'nan')
    """
    if value == 0:
        return "0"
    text = repr(value)
    return text[:-2] if text.endswith(".0") else text


def value_text(value: object) -> str:
    """Write one fact as bare text for scripts: one line, lists separated by spaces, nothing for None.

    >>> value_text([[1.0, 0.0], [0.0, 2.5]]), value_text(None), value_text(True)
    ('1 0 0 2.5', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, Mapping):
        return _json(value)
    if isinstance(value, Iterable):
        items = list(value)
        separator = "; " if any(isinstance(item, str) and " " in item for item in items) else " "
        return separator.join(value_text(item) for item in items)
    return escape(str(value))


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by None, at any depth: JSON has no word for them."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _json(value: object) -> str:
    import json

    return json.dumps(_finite(value), allow_nan=False, default=str)


@dataclass(frozen=True, slots=True)
class Console:
    """How this run of the command line talks: what to say on stderr, and whether in colour.

    Parameters
    ----------
    verbose, quiet, debug : bool
        Say more; say errors only; show tracebacks.
    color : str
        "auto" (a terminal, unless ``NO_COLOR``; or ``FORCE_COLOR``), "always" or "never".
    """

    verbose: bool = False
    quiet: bool = False
    debug: bool = False
    color: str = "auto"

    def styled(self, stream: TextIO) -> bool:
        """Tell whether ``stream`` may get colour."""
        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return self.watched(stream) and os.environ.get("TERM") != "dumb"

    @staticmethod
    def watched(stream: TextIO) -> bool:
        """Tell whether a person looks at ``stream``: it is a terminal."""
        return stream is not None and stream.isatty()

    def out(self, text: str) -> None:
        """Write one line of data to stdout."""
        write(sys.stdout, text + "\n")

    def detail(self, text: str) -> None:
        """Say on stderr what only ``--verbose`` asks for."""
        if self.verbose and not self.quiet:
            self._say(text, "2")

    def message(self, text: str) -> None:
        """Say on stderr what happened, unless ``--quiet``."""
        if not self.quiet:
            self._say(text, "")

    def warning(self, text: str) -> None:
        """Say on stderr what a careful user should know, unless ``--quiet``."""
        if not self.quiet:
            self._say(text, "33")

    def error(self, text: str) -> None:
        """Say on stderr, in one line and always, what failed."""
        self._say(text, "31")

    def trace(self, cause: BaseException | str | None) -> None:
        """Print a traceback on stderr where ``--debug`` asks for it."""
        if not self.debug or not cause:
            return
        if isinstance(cause, BaseException):
            import traceback

            cause = "".join(traceback.format_exception(cause))
        write(sys.stderr, "\n".join(escape(line) for line in cause.splitlines()) + "\n")

    def _say(self, text: str, style: str) -> None:
        prefix = f"\x1b[1;{style}mmedimg:\x1b[0m" if style and self.styled(sys.stderr) else "medimg:"
        try:
            write(sys.stderr, f"{prefix} {escape(text)}\n")
        except OSError:
            pass  # nobody can be told; the exit code says it


def write(stream: TextIO, text: str) -> None:
    """Write text to a stream whose encoding may not know all of its characters."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


# -- output forms ---------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """One column of a table: how a record becomes its cell.

    Parameters
    ----------
    title : str
        Heading.
    cell : callable
        Record -> text, or a list of lines of text.
    right : bool
        Align to the right.
    swatch : callable, optional
        Record -> red, green, blue, 0 to 255, or None: where there is colour, a block of it stands in front of the cell.
    """

    title: str
    cell: Callable[[Record], str | Sequence[str]]
    right: bool = False
    swatch: Callable[[Record], tuple[int, int, int] | None] | None = None

    def lines(self, record: Record, *, styled: bool) -> list[str]:
        """Return the cell of a record, line by line, safe to print."""
        found = self.cell(record)
        lines = [escape(line) for line in ([found] if isinstance(found, str) else found)]
        color = self.swatch(record) if self.swatch is not None and styled else None
        return lines if color is None else [_block(*color) + " " + lines[0], *lines[1:]]


def emit(form: str, records: Iterable[Record], *, columns: Sequence[Column], console: Console) -> None:
    """Print records in one of :data:`FORMS`.

    Parameters
    ----------
    form : str
        A key of :data:`FORMS`.
    records : iterable of mappings
        JSON-able facts; printed as they come by the forms that can.
    columns : sequence of Column
        What a table shows; the other forms show every fact.
    console : Console
        Decides on colour.

    Raises
    ------
    UsageError
        There is no form of that name.
    """
    if form not in FORMS:
        raise UsageError(f"no output form {form!r}", hint=f"choose from {', '.join(FORMS)}")
    FORMS[form](records, columns, console)


def _table(records: Iterable[Record], columns: Sequence[Column], console: Console) -> None:
    styled = console.styled(sys.stdout)
    rows = [[column.lines(record, styled=styled) for column in columns] for record in records]
    if not rows:
        return
    titles = [column.title for column in columns]
    head = [[[title] for title in titles]] if any(titles) else []
    lines = aligned(head + rows, [column.right for column in columns])
    if not styled:
        for line in lines:
            console.out(line)
    elif head:
        console.out(f"\x1b[1m{next(lines)}\x1b[0m")
        for line in lines:
            console.out(line)
    else:
        names = max(len(name) for row in rows for name in row[0])
        for line in lines:
            console.out(f"\x1b[1;36m{line[:names]}\x1b[0m{line[names:]}" if line[:1].strip() else line)


def _block(red: int, green: int, blue: int) -> str:
    """Return a block of a colour, two characters wide, for terminals of 24 bits."""
    return f"\x1b[48;2;{red};{green};{blue}m  \x1b[0m"


def _width(line: str) -> int:
    """Return how many characters of a line are seen; cells hold no escape sequences but ours."""
    return len(_STYLE.sub("", line)) if "\x1b" in line else len(line)


def aligned(rows: Sequence[Sequence[Sequence[str]]], right: Sequence[bool]) -> Iterator[str]:
    """Lay rows of cells of lines out in columns two spaces apart; the last column takes what room it needs.

    >>> print("\\n".join(aligned([[["a"], ["1", "3"]], [["long"], ["22"]]], [False, True])))
    a      1
           3
    long  22
    """
    widths = [max(_width(line) for row in rows for line in row[i]) for i in range(len(right))]
    for row in rows:
        for k in range(max(len(cell) for cell in row)):
            cells = [cell[k] if k < len(cell) else "" for cell in row]
            blanks = [" " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)]
            yield "  ".join(b + c if r else c + b for c, b, r in zip(cells, blanks, right, strict=True)).rstrip()


def _json_array(records: Iterable[Record], columns: Sequence[Column], console: Console) -> None:
    separator = "[\n"
    for record in records:
        facts = ",\n".join(f"    {_json(key)}: {_json(value)}" for key, value in record.items())
        write(sys.stdout, f"{separator}  {{\n{facts}\n  }}")
        separator = ",\n"
    console.out("[]" if separator == "[\n" else "\n]")


def _json_lines(records: Iterable[Record], columns: Sequence[Column], console: Console) -> None:
    for record in records:
        console.out(_json(record))


def _csv(records: Iterable[Record], columns: Sequence[Column], console: Console) -> None:
    import csv
    import io

    rows = list(records)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([value_text(row.get(key)) for key in keys] for row in rows)
    write(sys.stdout, text.getvalue())


FORMS: Mapping[str, Callable[[Iterable[Record], Sequence[Column], Console], None]] = {
    "table": _table,
    "json": _json_array,
    "jsonl": _json_lines,
    "csv": _csv,
}
"""Output forms by name; to add one, write its function above and give it a row."""


def emit_fields(records: Iterable[Record], names: Sequence[str], *, console: Console) -> None:
    """Print bare values, one line a record, several fields separated by tabs.

    Parameters
    ----------
    records : iterable of mappings
        Facts; one with an ``error`` gives no line.
    names : sequence of str
        Keys; a dot reaches into a nested mapping.

    Raises
    ------
    UsageError
        A record has no such key.
    """
    for record in records:
        if record.get("error") is None:
            console.out("\t".join(value_text(_field(record, name)) for name in names))


def _field(record: Record, name: str) -> object:
    value: Any = record
    for key in [name] if name in record else name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            from difflib import get_close_matches

            near = get_close_matches(name, list(record), 1)
            hint = f"did you mean {near[0]}?" if near else f"fields: {', '.join(map(str, record))}"
            raise UsageError(f"no field {name!r}", hint=hint)
        value = value[key]
    return value


# -- progress -------------------------------------------------------------------------------------------------------


class Progress:
    """A bar on stderr; this base class draws nothing, for pipes, ``--quiet`` and single tasks."""

    def advance(self) -> None:
        """One more task has ended."""

    def show(self, done: int, total: int) -> None:
        """So many steps of the one task are done."""


class _Bar(Progress):
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def advance(self) -> None:
        self._bar.advance(self._task)

    def show(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def progress(console: Console, total: int | None, title: str = "") -> Iterator[Progress]:
    """Show a progress bar on stderr while the body runs, where a person looks and more than one task is to do.

    No total stands for one task whose steps will be told.
    """
    if (total is not None and total < 2) or console.quiet or not console.watched(sys.stderr):
        yield Progress()
        return
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    styled = console.styled(sys.stderr)
    stderr = RichConsole(
        stderr=True,
        force_terminal=styled or None,
        color_system="auto" if styled else None,
        highlight=False,
        soft_wrap=True,  # lines that are printed above the bar stay whole
    )
    above = console.watched(sys.stdout)  # else results go past the terminal, into their file
    with RichProgress(*columns, console=stderr, transient=True, redirect_stdout=above) as bar:
        yield _Bar(bar, bar.add_task(title, total=total))

"""``medimg formats``: what can be read and written here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from medimg_cli.cli.options import Form, with_options
from medimg_cli.cli.render import Column, Console, Record, emit
from medimg_cli.formats import Format, all_formats

__all__ = ["formats"]


@with_options
def formats(form: Form = "table", *, console: Console) -> None:
    """List the formats that can be read and written here.

    THROUGH names the library that does the work; where it is missing, pip install 'medimg-cli[EXTRA]' with the extra in
    brackets brings it. "+ .gz" stands for .gz, .bz2 and .zst.

    Examples:

        medimg formats
        medimg formats --format json
    """
    emit(form, map(_facts, all_formats()), columns=_COLUMNS, console=console)


def _facts(row: Format) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "suffixes": list(row.suffixes),
        "read": row.reads,
        "write": row.writes or bool(row.written_as),
        "written_as": row.written_as or None,
        "compressed": row.compressed,
        "through": row.through,
        "extra": row.extra or None,
        "installed": _installed(row),
        "note": row.planned or None,
    }


def _installed(row: Format) -> bool:
    from importlib.util import find_spec

    name = {"medimg": "medimg_cli", "Pillow": "PIL", "": "medimg_cli"}.get(row.through, row.through)
    return find_spec(name.partition(".")[0]) is not None


def _yes(way: str) -> Callable[[Record], str]:
    return lambda facts: "yes" if facts[way] and facts["installed"] else "-"


def _through(facts: Record) -> str:
    extra = f" [{facts['extra']}]" if facts["extra"] else ""
    return facts["through"] + extra + ("" if facts["installed"] or not facts["read"] else ", missing")


_COLUMNS = (
    Column("FORMAT", lambda facts: facts["title"]),
    Column("READ", _yes("read")),
    Column("WRITE", lambda facts: facts["written_as"] or _yes("write")(facts)),
    Column("THROUGH", _through),
    Column("SUFFIXES", lambda facts: " ".join(facts["suffixes"]) + (" + .gz" if facts["compressed"] else "")),
)

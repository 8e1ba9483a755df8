"""``medimg formats``: what can be read and written here."""

from __future__ import annotations

from typing import Any

from medimg_cli.cli.options import Form, with_options
from medimg_cli.cli.render import Column, Console, emit
from medimg_cli.formats import FORMATS, Format

__all__ = ["formats"]


@with_options
def formats(form: Form = "table", *, console: Console) -> None:
    """List the formats that can be read and written here.

    THROUGH names the library that does the work, and in brackets the extra to install for it. "+ .gz" stands for .gz,
    .bz2 and .zst.

    Examples:

        medimg formats
        medimg formats --format json
    """
    emit(form, map(_facts, FORMATS), columns=_COLUMNS, console=console)


def _facts(row: Format) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title,
        "suffixes": list(row.suffixes),
        "read": row.reads,
        "write": row.writes,
        "compressed": row.compressed,
        "through": row.through,
        "extra": row.extra or None,
        "note": row.planned or None,
    }


def _yes(wanted: bool) -> str:
    return "yes" if wanted else "-"


_COLUMNS = (
    Column("FORMAT", lambda facts: facts["title"]),
    Column("READ", lambda facts: _yes(facts["read"])),
    Column("WRITE", lambda facts: _yes(facts["write"])),
    Column("THROUGH", lambda facts: facts["through"] + (f" [{facts['extra']}]" if facts["extra"] else "")),
    Column("SUFFIXES", lambda facts: " ".join(facts["suffixes"]) + (" + .gz" if facts["compressed"] else "")),
)

"""Formats from elsewhere: rows that installed packages bring along, and backends that a program registers.

A package names a :class:`~medimg_cli.formats.Format`, or a tuple of them, as an entry point::

    [project.entry-points."medimg.formats"]
    scanner = "my_package.medimg:FORMATS"

Such rows work in every process. They are looked at when no format of ours recognises a file, and when formats are
listed. A plugin that does not work is left out, and a warning says so. What a program registers is known to its own
process only: see :func:`medimg_cli.sources.registry.register_backend`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import with_header
from medimg_cli.formats import FORMATS, USERS, Format

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from medimg_cli.backends import Backend
    from medimg_cli.storage.source import ByteSource

__all__ = ["GROUP", "PluginWarning", "ReadRequest", "Registered", "add", "plugin_for", "plugin_rows", "remove"]

GROUP = "medimg.formats"
"""Name of the group of entry points."""

_CHANGING = threading.Lock()


class PluginWarning(UserWarning):
    """A plugin does not work and is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """What a matcher, a factory or a reader's ``create_backend`` is asked about.

    Parameters
    ----------
    path : Path or None
        The file or folder, where it is one of this machine.
    url : str or None
        The URL, where it is none.
    source : ByteSource or None
        The bytes, for a look at the first of them: ``request.source.head(4)``. None for folders and readers.
    reader_kwargs : mapping
        What the user gave for the reader.
    reader : object
        The reader that the user gave, if any.
    affine : None
        The caller's affine is laid over what comes back, nobody else needs to know it.
    """

    path: Path | None = None
    url: str | None = None
    source: ByteSource | None = None
    reader_kwargs: Mapping[str, Any] = field(default_factory=dict)
    reader: Any = None
    affine: None = None


class Registered(NamedTuple):
    """One row of the user table.

    Parameters
    ----------
    name : str
    matches : callable
        ReadRequest -> whether the backend is for it.
    opens : callable
        ReadRequest -> Backend.
    first : bool
        Whether it is asked before the formats of ours.
    """

    name: str
    matches: Callable[[ReadRequest], bool]
    opens: Callable[[ReadRequest], Backend]
    first: bool = False

    @property
    def row(self) -> Format:
        """A row of its own, for those who ask for the title of a format."""
        return Format(self.name, self.name, (), "", through="")


def add(entry: Registered) -> None:
    """Put an entry in front of the user table; one of the same name goes."""
    with _CHANGING:
        USERS[:] = [entry, *(other for other in USERS if other.name != entry.name)]


def remove(name: str) -> None:
    """Take an entry out of the user table, if it is there."""
    with _CHANGING:
        USERS[:] = [other for other in USERS if other.name != name]


def users_backend(request: ReadRequest, *, first: bool) -> Backend | None:
    """Open what an entry of the user table is for; None where none is."""
    for entry in tuple(USERS):
        if entry.first is first and entry.matches(request):
            backend = entry.opens(request)
            header = backend.header
            return backend if header.format else with_header(backend, header.replace(format=entry.name))
    return None


@cache
def plugin_rows() -> tuple[Format, ...]:
    """Return the rows that installed packages bring along."""
    from importlib.metadata import entry_points

    rows: list[Format] = []
    for point in entry_points(group=GROUP):
        try:
            for row in _loaded(point):
                if row.name in {other.name for other in (*FORMATS, *rows)}:
                    raise ValueError(f"there is a format '{row.name}' already")
                rows.append(row)
        except (Exception, SystemExit) as error:
            _left_out(point.name, error)
    return tuple(rows)


def _loaded(point: EntryPoint) -> Iterator[Format]:
    found = point.load()
    for row in (found,) if isinstance(found, Format) else tuple(found):
        if not isinstance(row, Format):
            raise TypeError(f"it names a {type(row).__name__}, expected rows of medimg_cli.formats.Format")
        yield row


def plugin_for(head: bytes, suffix: str) -> Format | None:
    """Return the row of a plugin for the first bytes and the suffix of a file; its codec is imported then.

    Its magic decides where it has one, else its suffix.
    """
    for row in plugin_rows():
        matches = any(head.startswith(magic, offset) for offset, magic in row.magic)
        if row.reads and not row.planned and (matches or (suffix in row.suffixes and not row.magic)):
            try:
                import_module(row.module)
            except (Exception, SystemExit) as error:
                _left_out(row.name, error)
            else:
                return row
    return None


def _left_out(name: str, error: BaseException) -> None:
    lines = str(error).splitlines()
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    warnings.warn(f"the plugin '{name}' does not work and is left out: {said}", PluginWarning, stacklevel=2)

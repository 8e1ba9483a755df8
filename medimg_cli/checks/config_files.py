"""Where configuration files are, and what their TOML holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from medimg_cli.errors import UsageError

__all__ = ["Source", "find_source", "read_source", "working_folder"]

#: Bytes of a configuration file, and dots in one of its lines: what has more is none. The time that dotted keys take to
#: read grows with the square of their parts.
_MOST, _MOST_DOTS = 1 << 18, 500


class Source(NamedTuple):
    """The part of a configuration file that is medimg's.

    Parameters
    ----------
    path : str
        As people call it: from the working folder.
    prefix : str
        What stands before the names of its tables: "", or "tool.medimg.".
    values : mapping
    """

    path: str
    prefix: str
    values: Mapping[str, Any]


def working_folder() -> str:
    """Return the working folder; the root of the file system where somebody has removed it."""
    try:
        return os.getcwd()
    except OSError:
        return os.path.abspath(os.sep)


def find_source() -> Source | None:
    """Return the nearest configuration above the working folder; medimg.toml goes before pyproject.toml.

    Raises
    ------
    UsageError
        If a file that may be it cannot be read, or is no TOML.
    """
    folder = working_folder()
    while True:
        for name in ("medimg.toml", "pyproject.toml"):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                source = _source(path, _read(path, only_ours=name == "pyproject.toml"))
                if source is not None:
                    return source
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def read_source(path: str) -> Source:
    """Return the configuration that a file holds, whatever its name.

    Raises
    ------
    UsageError
        If it cannot be read, is no TOML, or a pyproject.toml without ``[tool.medimg]``.
    """
    if not os.path.isfile(path):
        raise UsageError("is no file" if os.path.exists(path) else "does not exist", path=path, hint="see --config")
    source = _source(path, _read(path))
    if source is None:
        raise UsageError("holds no [tool.medimg]", path=path)
    return source


def _source(path: str, values: Mapping[str, Any]) -> Source | None:
    """Return what is medimg's in a file; None of a pyproject.toml in which nothing is."""
    shown = os.path.relpath(path)
    tool = values.get("tool")
    ours = tool.get("medimg") if isinstance(tool, dict) else None
    if ours is not None:
        if not isinstance(ours, dict):
            raise UsageError("tool.medimg is no table", path=shown)
        return Source(shown, "tool.medimg.", ours)
    return None if os.path.basename(path) == "pyproject.toml" else Source(shown, "", values)


def _read(path: str, *, only_ours: bool = False) -> Mapping[str, Any]:
    """Read TOML; where only what is ours matters, nothing of a file that does not name us."""
    shown = os.path.relpath(path)
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {(error.strerror or str(error)).lower()}", path=shown) from None
    if only_ours and b"medimg" not in content:
        return {}
    if len(content) > _MOST or any(line.count(b".") > _MOST_DOTS for line in content.splitlines()):
        raise UsageError("is too large or too deep for a configuration", path=shown)
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UsageError("is no TOML: it is not UTF-8", path=shown) from None
    except RecursionError:
        raise UsageError("is no TOML that makes sense: it is nested too deeply", path=shown) from None
    except ValueError as error:  # of TOML, and numbers of too many digits
        raise UsageError(f"is no TOML: {' '.join(str(error).split())}", path=shown) from None

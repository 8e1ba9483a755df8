"""What commands that only look have to say of each path: records for the output, sentences for the user."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.batch import STREAM, describe
from medimg_cli.formats import open_backend
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["Listing", "failed", "open_named"]


class Listing(NamedTuple):
    """What was found out about one path.

    Parameters
    ----------
    path : str
        As the user named it.
    records : tuple of mapping
        JSON-able facts; where the path failed, one with ``error``.
    warnings : tuple of str
        What a careful user should know of the image; one sentence each.
    message : str
        One line for the user, where the path failed.
    cause : Exception or None
        What was raised.
    """

    path: str
    records: tuple[Mapping[str, Any], ...]
    warnings: tuple[str, ...] = ()
    message: str = ""
    cause: Exception | None = None


def failed(schema: str, path: str, error: Exception) -> Listing:
    """Return what is to be said of a path that failed."""
    message = describe(error, path).message
    named = getattr(error, "path", None) or public_name(path)
    record = {"schema": schema, "path": path, "error": message.removeprefix(f"{named}: ")}
    return Listing(path, (record,), message=message, cause=error)


def open_named(path: str) -> Backend:
    """Open the image of a path; ``-`` is standard input.

    Raises
    ------
    MedImgError
        If it cannot be read.
    """
    return open_backend(sys.stdin.buffer, name="<stdin>") if path == STREAM else open_backend(path)

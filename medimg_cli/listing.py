"""What commands that only look have to say of each path: records for the output, sentences for the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from medimg_cli.batch import describe
from medimg_cli.storage.urls import public_name

__all__ = ["Listing", "failed"]


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

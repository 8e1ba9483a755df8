"""Backends that a program registers for files that medimg does not know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from medimg_cli.errors import UsageError
from medimg_cli.formats import FORMATS
from medimg_cli.formats.plugins import ReadRequest, Registered, add, remove
from medimg_cli.sources.readers import adapted

__all__ = ["register_backend", "unregister_backend"]


class Registration:
    """What `register_backend` returns: used as a context manager, the backend goes when the block ends."""

    def __init__(self, name: str) -> None:
        self.name = name

    def remove(self) -> None:
        """Take the backend away again."""
        remove(self.name)

    def __enter__(self) -> Registration:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_backend(
    name: str,
    matcher: str | Sequence[str] | Callable[[ReadRequest], bool],
    factory: Callable[[ReadRequest], Any],
    *,
    prepend: bool = False,
) -> Registration:
    """Let every image of this process be read by a backend of your own where it is for it.

    Everything that opens images then knows such files: `Image`, `read_header`, `read_array`. Other processes do
    not, worker processes among them: a package does it by an entry point, see `medimg_cli.formats.plugins`.

    Parameters
    ----------
    name : str
        Of the backend; one of the same name is replaced. It becomes ``header.format``.
    matcher : str, sequence of str, or callable
        Which files it is for: a suffix such as ``".xyz"``, several, or ``matcher(request) -> bool`` with
        ``request.path`` (None where it is no file of this machine), ``request.url`` and ``request.source``, whose
        ``head(count)`` returns the first bytes.
    factory : callable
        ``factory(request)`` returns a `Backend`, an object with ``shape`` (C, I, J, K), ``affine``, ``dtype`` and
        indexing by four slices, or (array, affine or None). It should read no voxels before somebody asks.
    prepend : bool
        Whether it is asked before the formats of medimg; else only for files that none of them recognises.

    Returns
    -------
    Registration
        ``.remove()`` takes the backend away; so does the end of a ``with`` block.

    Raises
    ------
    UsageError
        If the name is that of a format of medimg, or the matcher is no suffix and no callable.

    Examples
    --------
    >>> import numpy as np
    >>> with register_backend("flat", ".flat", lambda request: (np.fromfile(request.path)[None, :, None, None], None)):
    ...     pass

    Notes
    -----
    TorchIO has a function of this name, and its backends work here. There, ``prepend`` is true where it is left out.
    """
    if not name or name in {row.name for row in FORMATS}:
        raise UsageError(f"{name!r} is no name for a backend: it is empty, or that of a format of medimg")
    if not callable(factory):
        raise UsageError(f"the factory of '{name}' is no function")
    add(Registered(name, _matching(name, matcher), lambda request: adapted(factory(request)), prepend))
    return Registration(name)


def _matching(name: str, matcher: Any) -> Callable[[ReadRequest], bool]:
    """Return the function that tells whether a backend is for a file."""
    if callable(matcher):
        found: Callable[[ReadRequest], bool] = matcher
        return found
    suffixes = (matcher,) if isinstance(matcher, str) else tuple(matcher)
    if not suffixes or not all(isinstance(each, str) and each.startswith(".") for each in suffixes):
        raise UsageError(f"the matcher of '{name}' is {matcher!r}, expected suffixes like '.xyz' or a function")
    endings = tuple(each.lower() for each in suffixes)
    return lambda request: _named(request).endswith(endings)


def _named(request: ReadRequest) -> str:
    if request.source is not None:
        return request.source.name.lower()
    return str(request.path or "").lower().rstrip("/")


def unregister_backend(name: str) -> None:
    """Take a registered backend away again; nothing happens where there is none of that name."""
    remove(name)

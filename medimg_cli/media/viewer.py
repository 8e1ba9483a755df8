"""Programs that show images: found, and started without a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator

from medimg_cli.errors import StateError, StorageError

__all__ = ["start", "viewer_command"]

#: Names of ITK-SNAP and 3D Slicer on the search path, and where their installers put them.
_NAMES = ("itksnap", "ITK-SNAP", "itk-snap", "Slicer", "slicer")
_PLACES = (
    "/Applications/ITK-SNAP.app/Contents/MacOS/ITK-SNAP",
    "/Applications/Slicer.app/Contents/MacOS/Slicer",
    "~/Slicer/Slicer",
    "/opt/Slicer/Slicer",
    "C:/Program Files/ITK-SNAP 4.2/bin/ITK-SNAP.exe",
    "C:/Program Files/ITK-SNAP 4.0/bin/ITK-SNAP.exe",
)


def viewer_command(viewer: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the command of a viewer: the one given, that of ``SITK_SHOW_COMMAND``, or ITK-SNAP or 3D Slicer.

    Parameters
    ----------
    viewer : path-like, optional
        A program; taken as one word, whatever spaces it holds.

    Raises
    ------
    StateError
        If there is none.
    StorageError
        If the one that is named does not exist.
    """
    if viewer is not None:
        name = os.path.expanduser(os.fspath(viewer))
        found = shutil.which(name)
        if found is None:
            raise StorageError("is no program that can be started", path=name)
        return [found]
    told = shlex.split(os.environ.get("SITK_SHOW_COMMAND", ""))
    if told:
        return told
    for candidate in _candidates():
        return [candidate]
    hint = "install ITK-SNAP or 3D Slicer, set SITK_SHOW_COMMAND, or give viewer_path"
    raise StateError("no viewer of images was found", hint=hint)


def _candidates() -> Iterator[str]:
    for name in (*_NAMES, *map(os.path.expanduser, _PLACES)):
        found = shutil.which(name)
        if found is not None:
            yield found


def start(command: list[str], path: str) -> subprocess.Popen[bytes]:
    """Start a viewer with a file, and do not wait for it.

    ``%f`` and ``%a`` in a command of ``SITK_SHOW_COMMAND`` stand for the file and for the program, as in SimpleITK.

    Raises
    ------
    StorageError
        If it cannot be started.
    """
    words = [word.replace("%f", path) for word in command if word != "%a"]
    words = words if any("%f" in word for word in command) else [*words, path]
    try:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise StorageError(f"cannot be started: {error.strerror}", path=command[0]) from None

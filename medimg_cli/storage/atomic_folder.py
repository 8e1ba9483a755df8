"""A folder that appears whole or not at all: a store of chunks.

It grows as a hidden folder beside the target and takes the target's name when all of it is there; what stood at that
name stays until then. Where the system can exchange two names (Linux), the target's name is never without a folder.
A kill leaves a hidden folder, which the next run that writes the same target removes, or puts back where it is the old
one and nothing else is left.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial

from medimg_cli.errors import StorageError
from medimg_cli.storage.atomic import is_named, lock, locked_by_nobody, write_failed

__all__ = ["StagedFolder"]


class StagedFolder:
    """A folder under construction; a member of :class:`medimg_cli.storage.atomic.AtomicGroup` like a file.

    Parameters
    ----------
    path : str
        Its name once it is complete. A symbolic link stays one: the folder that it points to is replaced.
    force : bool
        Whether an existing folder may be replaced.
    replaceable : callable
        Path of a folder -> whether it is of the kind that is written here; no other folder is ever replaced, but an
        empty one.

    Raises
    ------
    StorageError
        If the target exists and may not be replaced, or its parent is missing or not writable.
    """

    def __init__(self, path: str, *, force: bool, replaceable: Callable[[str], bool]) -> None:
        self.path, self.force = path, force
        target = path.rstrip("/") or path
        self.target = os.path.realpath(target) if os.path.islink(target) else target
        self.folder = os.path.dirname(self.target) or "."
        self._replaceable = replaceable
        self._lock = -1
        self._temporary: str | None = None
        self._made: set[str] = set()
        self._old = os.path.join(self.folder, f".{self._short()}.medimg-old")
        self._recover()
        self._check()
        self._temporary = self._open()

    def _short(self) -> str:
        name = os.path.basename(self.target)
        while len(os.fsencode(name)) > 200:
            name = name[:-1]
        return name

    def _check(self) -> None:
        """Refuse what may not be replaced."""
        if not os.path.lexists(self.target):
            return
        if not os.path.isdir(self.target):
            raise StorageError("cannot be written: it is a file, a folder would be", path=self.path)
        if not self.force:
            raise StorageError("already exists", path=self.path, hint="use --force to replace it")
        try:
            mine = not os.listdir(self.target) or self._replaceable(self.target)
        except OSError as error:
            raise write_failed(error, self.path) from error
        if not mine:
            hint = "it is never replaced; remove it yourself, or name another output"
            raise StorageError("is a folder of something else than this format alone", path=self.path, hint=hint)
        if not os.access(self.target, os.W_OK):
            raise StorageError("is write-protected", path=self.path)

    def _recover(self) -> None:
        """Put back what a run was about to replace when it was killed, and remove what killed runs left."""
        if os.path.isdir(self._old) and os.path.lexists(self.target):
            shutil.rmtree(self._old, ignore_errors=True)
        elif os.path.isdir(self._old):
            os.rename(self._old, self.target)
        start = f".{self._short()}.medimg-"
        try:
            left = [name for name in os.listdir(self.folder) if name.startswith(start)]
        except OSError:
            return  # whoever opens says what is wrong with the parent
        for name in map(partial(os.path.join, self.folder), left):
            if name == self._old:
                continue
            try:
                fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if locked_by_nobody(fd) and is_named(fd, name):
                    shutil.rmtree(name, ignore_errors=True)
            finally:
                os.close(fd)

    def _open(self) -> str:
        """Make a folder of a name that nobody used before, and lock it.

        Between the two somebody may take it for one that a killed run left; then the next name is tried.
        """
        for _ in range(100):
            name = os.path.join(self.folder, f".{self._short()}.medimg-{os.urandom(6).hex()}")
            try:
                os.mkdir(name)
                self._lock = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                if os.path.isdir(self.folder):
                    continue
                raise write_failed(error, self.path) from error
            except OSError as error:
                raise write_failed(error, self.path) from error
            if lock(self._lock) and is_named(self._lock, name):
                return name
            os.close(self._lock)
            self._lock = -1
        raise StorageError("other writers take its place again and again", path=self.path)

    @property
    def readable_path(self) -> str:
        """A path under which the files written so far can be read."""
        assert self._temporary is not None
        return self._temporary

    def write(self, key: str, data: bytes) -> None:
        """Write one file.

        Parameters
        ----------
        key : str
            Its path in the folder, with slashes; ours, never one from a file.
        data : bytes

        Raises
        ------
        StorageError
            If the disk is full, or writing fails otherwise.
        """
        path = os.path.join(self.readable_path, *key.split("/"))
        parent = os.path.dirname(path)
        try:
            if parent not in self._made:
                os.makedirs(parent, exist_ok=True)
                self._made.add(parent)
            with open(path, "xb") as file:
                file.write(data)
                if self.force and os.path.lexists(self.target):
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise write_failed(error, self.path) from error

    def sync(self) -> None:
        """Do nothing: every file is made durable as it is written, where a folder is about to be replaced."""

    def publish(self) -> None:
        """Give the complete folder its name.

        Raises
        ------
        StorageError
            If somebody else made something of that name meanwhile.
        """
        try:
            self._check()
            if not is_named(self._lock, self.readable_path):
                raise StorageError("somebody removed what was written so far", path=self.path, hint="try again")
            if not os.path.lexists(self.target):
                os.rename(self.readable_path, self.target)
                self._temporary = None
            elif _exchanged(self.readable_path, self.target):
                shutil.rmtree(self.readable_path, ignore_errors=True)  # the old one
                self._temporary = None
            else:
                os.rename(self.target, self._old)
                os.rename(self.readable_path, self.target)
                self._temporary = None
                shutil.rmtree(self._old, ignore_errors=True)
        except OSError as error:
            raise write_failed(error, self.path) from error
        finally:
            self.discard()

    def keep_old(self) -> None:
        """Keep nothing: a folder comes last in a group, nothing that could fail follows it."""

    def discard(self) -> None:
        """Remove what is left of a folder that was not published, or was replaced."""
        if self._temporary is not None and is_named(self._lock, self._temporary):
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _exchanged(first: str, second: str) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    at_here, exchange = -100, 2
    done: int = call(at_here, os.fsencode(first), at_here, os.fsencode(second), exchange)
    return done == 0

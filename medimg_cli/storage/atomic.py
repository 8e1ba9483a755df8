"""Files that appear whole or not at all.

Bytes go to a nameless file (``O_TMPFILE``) where the file system offers one, else to a hidden file beside the target,
and take the target's name when all of them are there. Whatever happens before, the file that stood at that name
stays. A kill at the worst moment leaves one hidden file, which the next run that writes the same target removes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from medimg_cli.errors import MedImgError, StorageError

__all__ = ["AtomicGroup", "StagedFile"]


class StagedFile:
    """A file under construction.

    Parameters
    ----------
    path : str
        Its name once it is complete. A symbolic link stays one: the file that it points to is replaced.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    StorageError
        If the target exists and ``force`` is False, is no regular file, or its folder is missing or not writable.
    """

    def __init__(self, path: str, *, force: bool) -> None:
        self.path, self.force = path, force
        self.target = os.path.realpath(path) if os.path.islink(path) else path
        self.folder = os.path.dirname(self.target) or "."
        self._temporary: str | None = None
        self.written = 0
        self._mode = self._existing_mode()
        self._fd = self._open()
        if self._mode is not None:
            self._take_over(self._mode)

    def _take_over(self, mode: int) -> None:
        """Take over owner, group and permissions of the file that will be replaced, as far as we may."""
        with suppress(OSError):  # who is not root gives nothing away
            was = os.stat(self.target)
            os.fchown(self._fd, was.st_uid, was.st_gid)
        with suppress(OSError):  # a file system without permission bits
            os.fchmod(self._fd, mode)

    def _existing_mode(self) -> int | None:
        try:
            mode = os.stat(self.target).st_mode
        except FileNotFoundError:
            return None
        except OSError as error:
            raise write_failed(error, self.path) from error
        except ValueError:
            path = self.path.replace("\0", "\\0")
            raise StorageError("cannot be written: the path holds a null character", path=path) from None
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise StorageError(f"cannot be written: it is {kind}", path=self.path)
        if not self.force:
            raise StorageError("already exists", path=self.path, hint="use --force to replace it")
        if not os.access(self.target, os.W_OK):
            raise StorageError("is write-protected", path=self.path)
        return stat.S_IMODE(mode)

    def _hidden(self, number: int) -> str:
        name = os.path.basename(self.target)
        while len(os.fsencode(name)) > 200:
            name = name[:-1]
        return os.path.join(self.folder, f".{name}.medimg-{number}")

    def _open(self) -> int:
        self._remove_stale()
        nameless = getattr(os, "O_TMPFILE", 0)
        if nameless:
            try:
                fd = os.open(self.folder, nameless | os.O_RDWR | os.O_CLOEXEC, 0o666)
                lock(fd)
                return fd
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                    raise write_failed(error, self.path) from error
        return self._open_named()

    def _open_named(self) -> int:
        for number in range(1000):
            name = self._hidden(number)
            try:
                fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                continue
            except OSError as error:
                raise write_failed(error, self.path) from error
            if lock(fd) and is_named(fd, name):
                self._temporary = name
                return fd
            os.close(fd)  # a run that looks for leftovers took it for one before it was locked
        raise StorageError("a thousand other writers are at it", path=self.path)

    def _remove_stale(self) -> None:
        """Remove hidden files that writers of this target left when they were killed: nobody holds their lock."""
        last = 8  # numbers in use may have gaps: a writer in the middle was done before the others were killed
        for number in range(1000):
            if number > last:
                return
            name = self._hidden(number)
            try:
                fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            last = number + 8
            try:
                if locked_by_nobody(fd) and is_named(fd, name):
                    os.unlink(name)
            except OSError:
                pass
            finally:
                os.close(fd)

    def fileno(self) -> int:
        """Return the descriptor of the file under construction."""
        return self._fd

    @property
    def readable_path(self) -> str:
        """A path under which the bytes written so far can be read."""
        return self._temporary or f"/proc/self/fd/{self._fd}"

    def write(self, data: Any) -> None:
        """Append bytes.

        Raises
        ------
        StorageError
            If the disk is full, or writing fails otherwise.
        """
        view = memoryview(data).cast("B")
        try:
            while view:
                done = os.write(self._fd, view)
                self.written += done
                view = view[done:]
        except OSError as error:
            raise write_failed(error, self.path) from error

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite bytes written before."""
        try:
            os.pwrite(self._fd, data, offset)
        except OSError as error:
            raise write_failed(error, self.path) from error

    def sync(self) -> None:
        """Make the bytes durable where an existing file is about to be replaced."""
        if self._mode is not None:
            try:
                os.fsync(self._fd)
            except OSError as error:
                raise write_failed(error, self.path) from error

    def publish(self) -> None:
        """Give the complete file its name.

        Raises
        ------
        StorageError
            If another process made a file of that name meanwhile and ``force`` is False.
        """
        try:
            if not self.force:
                self._link(self.target)
            else:
                if self._temporary is None:
                    self._name()
                assert self._temporary is not None
                os.rename(self._temporary, self.target)
                self._temporary = None
        except FileExistsError:
            raise StorageError("already exists", path=self.path, hint="use --force to replace it") from None
        except OSError as error:
            raise write_failed(error, self.path) from error
        finally:
            self.discard()

    def _link(self, name: str) -> None:
        if self._temporary is not None:
            try:
                os.link(self._temporary, name)
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or os.path.lexists(name):
                    raise
                os.rename(self._temporary, name)  # a file system without hard links, such as exFAT
                self._temporary = None
            return
        descriptors = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.link(str(self._fd), name, src_dir_fd=descriptors, follow_symlinks=True)
        finally:
            os.close(descriptors)

    def _name(self) -> None:
        for number in range(1000):
            try:
                self._link(self._hidden(number))
            except FileExistsError:
                continue
            self._temporary = self._hidden(number)
            return

    def keep_old(self) -> str | None:
        """Give the file that is about to be replaced a second, hidden name, and return it."""
        if not self.force or not os.path.lexists(self.target):
            return None
        for number in range(1000):
            try:
                os.link(self.target, self._hidden(number))
            except FileExistsError:
                continue
            except OSError:  # a file system without hard links
                return None
            return self._hidden(number)
        return None

    def discard(self) -> None:
        """Remove what is left of a file that was not published, and close it."""
        if self._temporary is not None:
            try:
                os.unlink(self._temporary)
            except OSError:
                pass
            self._temporary = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_failed(error: OSError, path: str) -> MedImgError:
    """Return what an error of the operating system says of an output, as one of ours."""
    if isinstance(error, MedImgError):
        return error
    reason = {
        errno.ENOSPC: "no space left on the disk",
        errno.EFBIG: "the file grows beyond the allowed size",
        errno.ENOENT: "its folder does not exist; make it first",
    }.get(error.errno or 0, (error.strerror or str(error)).lower())
    return StorageError(f"cannot be written: {reason}", path=path)


def lock(fd: int) -> bool:
    """Hold an advisory lock as long as the file is open: it tells a living writer from a dead one.

    False where somebody else holds it; a file system without locks counts as locked.
    """
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True


def is_named(fd: int, name: str) -> bool:
    """Tell whether an open file still has its name: under lock nobody else takes it away."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(name))
    except OSError:
        return False


def locked_by_nobody(fd: int) -> bool:
    """Take the lock of a file that a killed writer left; False where a living one holds it, or nobody can tell."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


class AtomicGroup:
    """Files that appear together: a header and its data, or one file alone.

    They take their names in the order of creation when the block ends well, so create the data before the header.

    Parameters
    ----------
    force : bool
        Whether existing files may be replaced.
    """

    def __init__(self, *, force: bool = False) -> None:
        self.force = force
        self.files: list[Any] = []

    def create(self, path: str) -> StagedFile:
        """Start a file."""
        file: StagedFile = self.add(StagedFile(path, force=self.force))
        return file

    def add(self, staged: Any) -> Any:
        """Take in a file, or a folder (:class:`medimg_cli.storage.atomic_folder.StagedFolder`), and return it."""
        self.files.append(staged)
        return staged

    def __enter__(self) -> AtomicGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                for file in self.files:
                    file.sync()
                if len(self.files) > 1:
                    self._publish_together()
                else:
                    for file in self.files:
                        file.publish()
        finally:
            for file in self.files:
                file.discard()

    def _publish_together(self) -> None:
        """Give all files their names, or none: other writers wait, signals wait, and an error undoes what was done."""
        with _folders_locked({file.folder for file in self.files}), _signals_held():
            kept: list[tuple[Any, str | None]] = []
            done: list[Any] = []
            try:
                for file in self.files:
                    kept.append((file, file.keep_old()))
                    file.publish()
                    done.append(file)
            except BaseException:
                for file, old in reversed(kept):
                    _restore(file.target, old, published=file in done)
                raise
            for _, old in kept:
                _forget(old)


def _restore(target: str, old: str | None, *, published: bool) -> None:
    """Put back what stood at a name."""
    try:
        if old is not None:
            os.rename(old, target)
        elif published:
            os.unlink(target)
    except OSError:
        pass
    _forget(old)  # a rename onto another name of the same file leaves both


def _forget(old: str | None) -> None:
    if old is not None:
        try:
            os.unlink(old)
        except OSError:
            pass


@contextmanager
def _folders_locked(folders: set[str]) -> Iterator[None]:
    """Hold the folders of a group against other groups while files take their names."""
    locks = []
    try:
        for folder in sorted(map(os.path.realpath, folders)):
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            locks.append(fd)
            try:
                import fcntl

                fcntl.flock(fd, fcntl.LOCK_EX)
            except (ImportError, OSError):  # a file system without locks
                pass
        yield
    finally:
        for fd in locks:
            os.close(fd)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let orders to stop wait until files that belong together have their names."""
    import signal

    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    except AttributeError:  # Windows
        yield
        return
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

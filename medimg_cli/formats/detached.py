"""Voxels that lie in other files than their header: safe names, numbered names, several files read as one.

Shared by NRRD ("data file") and MetaImage ("ElementDataFile"). A name never leaves the header's folder
(`ByteSource.sibling` sees to that), a pattern is filled in here and never handed to ``printf``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from medimg_cli.errors import FormatError, MissingPartError, NotFoundError, TruncatedError, UnsupportedError
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource, Cursor, CursorBase, MemorySource

__all__ = ["TailSource", "data_name", "from_end", "missing", "numbered", "numbers", "open_files", "skip_lines"]

#: Files that one header may name.
MOST_FILES = 100_000
_CONVERSION = re.compile(r"(%%|%0?[0-9]{0,2}[diu])")


def numbers(first: int, last: int, step: int, name: str) -> range:
    """Return the numbers from ``first`` to ``last``, both included.

    Raises
    ------
    FormatError
        If the step is 0, leads away from ``last``, or there are more than 100,000 of them.

    Examples
    --------
    >>> list(numbers(9, 1, -4, "a.nhdr"))
    [9, 5, 1]
    """
    if step == 0 or (last - first) * step < 0:
        raise FormatError(f"numbers its data files from {first} to {last} by {step}: that never ends", path=name)
    found = range(first, last + (1 if step > 0 else -1), step)
    if (last - first) // step >= MOST_FILES:
        raise FormatError(f"names more than {MOST_FILES} data files", path=name)
    return found


def numbered(template: str, values: Sequence[int], name: str) -> list[str]:
    """Return the names that a pattern stands for.

    Parameters
    ----------
    template : str
        Text with one conversion ``%d``, ``%i`` or ``%u``, perhaps with a width (``%03d``); ``%%`` is a percent sign.
    values : sequence of int
        Numbers to put in its place.
    name : str
        The header, for messages.

    Raises
    ------
    FormatError
        If there is another conversion, none, or more than one.

    Examples
    --------
    >>> numbered("s%03d.raw", [1, 20], "a.mhd")
    ['s001.raw', 's020.raw']
    """
    parts = _CONVERSION.split(template)
    places = [n for n, part in enumerate(parts) if n % 2 and part != "%%"]
    if len(places) != 1 or any("%" in part for part in parts[::2]):
        raise FormatError(f"names its data files {template[:80]!r}: one number like %03d is allowed", path=name)
    (place,) = places
    width = parts[place][1:-1]
    parts = ["%" if part == "%%" else part for part in parts]
    before, behind = "".join(parts[:place]), "".join(parts[place + 1 :])
    return [f"{before}{format(value, width + 'd')}{behind}" for value in values]


def data_name(stem: str, ending: str) -> str:
    """Return the name of the data file that belongs to a header.

    What a reader of the header would take for something else than a name becomes an underscore: control characters,
    percent and quotation marks, colons, slashes, the word LIST in front, blanks at either end.

    Examples
    --------
    >>> data_name("out/T1 %d", ".raw.gz"), data_name("LISTEN", ".raw")
    ('T1 _d.raw.gz', '_LISTEN.raw')
    """
    base = stem.rpartition("/")[2]
    base = "".join("_" if each in '%:"\\/' or not each.isprintable() else each for each in base)
    if base != base.strip() or base.upper().startswith(("LIST", "SKIPLIST", "LOCAL", "-", "#")) or not base:
        base = "_" + base.strip()
    return base + ending


def missing(name: str) -> ByteSource:
    """Return a source without bytes, in place of voxels that are not there."""
    return MemorySource(b"", name)


def open_files(source: ByteSource, names: Sequence[str]) -> tuple[list[ByteSource], MissingPartError | None]:
    """Open files beside a header.

    Returns
    -------
    list of ByteSource
        Empty where one is missing.
    MissingPartError or None
        What is wrong then: the header can be read all the same, its voxels cannot.

    Raises
    ------
    FormatError
        If a name leads out of the header's folder.
    """
    try:
        return [source.sibling(name) for name in names], None
    except NotFoundError as error:
        return [], MissingPartError(f"its voxels are missing: {error.message}", path=source.name)


class TailSource:
    """The last bytes of a compressed stream, whose length only decoding tells (NRRD: "byte skip: -1").

    Nothing is decoded before voxels are read; the first read decodes the stream once to measure it.

    Parameters
    ----------
    base : EncodedSource
    length : int
        Number of bytes at its end.
    """

    size = None

    def __init__(self, base: EncodedSource, length: int) -> None:
        self.base, self.length, self.name = base, length, base.name
        self._start: int | None = None

    @property
    def path(self) -> str | None:
        return self.base.path

    @property
    def most(self) -> int:
        return self.base.most

    def _measured(self) -> int:
        if self._start is None:
            with self.base.cursor() as cursor:
                total = sum(len(piece) for piece in cursor.chunks(0, 1 << 62))
                cursor.verify()
            if total < self.length:
                raise TruncatedError(
                    f"truncated: {total} decoded bytes, the header needs {self.length}", path=self.name
                )
            self._start = total - self.length
        return self._start

    def head(self, count: int) -> bytes:
        view = bytearray(min(count, self.length))
        with self.cursor() as cursor:
            return bytes(view[: cursor.readinto(0, memoryview(view))])

    def cursor(self) -> Cursor:
        start = self._measured()
        return _ShiftedCursor(self.base.random_cursor(), start)

    def sibling(self, name: str) -> ByteSource:
        return self.base.sibling(name)


class _ShiftedCursor(CursorBase):
    """A cursor that counts from some byte on."""

    def __init__(self, base: Cursor, start: int) -> None:
        self._base, self._start = base, start

    def readinto(self, offset: int, view: memoryview) -> int:
        return self._base.readinto(self._start + offset, view)

    def verify(self) -> None:
        self._base.verify()

    def close(self) -> None:
        self._base.close()


def skip_lines(source: ByteSource, start: int, count: int) -> int:
    """Return the offset behind ``count`` further lines.

    Raises
    ------
    FormatError
        If there are not so many lines in the next 64 MiB.
    """
    if count == 0:
        return start
    wanted, at = count, start
    with source.cursor() as cursor:
        for piece in cursor.chunks(start, 1 << 26):
            lines = piece.count(b"\n")
            if lines >= count:
                inside = -1
                for _ in range(count):
                    inside = piece.index(b"\n", inside + 1)
                return at + inside + 1
            count -= lines
            at += len(piece)
    raise FormatError(f"it wants to skip {wanted} lines of its data, which are not there", path=source.name)


def from_end(source: ByteSource, length: int) -> int:
    """Return the offset of the last ``length`` bytes of a source; below 0 where it is shorter."""
    if source.size is None:
        raise UnsupportedError("data at the end of a file that is compressed as a whole", path=source.name)
    return source.size - length

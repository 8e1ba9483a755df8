"""DICOM files in an archive: zip, and tar, compressed or not. Nothing is unpacked to disk by name.

A member of a zip file and of a plain tar is read where it lies. A compressed tar is decompressed once, to memory or an
unlinked temporary file, and refused where it grows like no archive of images does. A tar that is cut off or damaged
between two members is refused too: ``tarfile`` takes that for its end, and a series would lose its last slices.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

from medimg_cli.backends import Backend
from medimg_cli.errors import DamagedError, MedImgError, OversizeError, TruncatedError
from medimg_cli.formats.dicom.opening import image_of_scan
from medimg_cli.formats.dicom.scanning import Broken, Scan, gather, is_named
from medimg_cli.formats.foreign import SourceFile, foreign_errors
from medimg_cli.formats.reading import Reading
from medimg_cli.formats.zipped import Member, list_members, open_member
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import ByteSource, Cursor

__all__ = ["open", "scan_archive"]

#: Files in an archive.
_MOST_MEMBERS = 1 << 20
#: Decompressed bytes that one byte of a tar stands for at most, on average.
_MOST_RATIO = 200


def open(source: ByteSource, compression: str | None, reading: Reading | None = None) -> Backend:
    """Open one series of the DICOM files in an archive; of its members only the headers are read.

    Raises
    ------
    UnsupportedError
        If it holds no image, or several and none is chosen; the line lists them.
    FormatError
        If the archive is damaged, or could be a bomb.
    """
    with foreign_errors(source.name, "an archive"):
        backend: Any = image_of_scan(scan_archive(source), source.name, reading or Reading())
    backend.header = backend.header.replace(file_bytes=None)  # that of the archive
    found: Backend = backend
    return found


def scan_archive(source: ByteSource) -> Scan:
    """Read the headers of the DICOM files in an archive.

    Raises
    ------
    FormatError
        If the archive is damaged, or could be a bomb.
    """
    members = _zipped(source) if source.head(4) == b"PK\x03\x04" else _tarred(source)
    return gather(member for member in members)


def _zipped(source: ByteSource) -> Iterator[ByteSource | Broken]:
    for member in list_members(source, most=_MOST_MEMBERS):
        if member.size or is_named(member.name):
            try:
                yield _ZipMember(source, member)
            except MedImgError as error:
                yield Broken(f"{source.name}/{member.name}", error)


class _ZipMember:
    """A member of a zip file, whose size its directory states.

    Parameters
    ----------
    archive : ByteSource
    member : Member
    """

    def __init__(self, archive: ByteSource, member: Member) -> None:
        self._archive, self._member = archive, member
        self._opened = open_member(archive, member)
        self.name = f"{archive.name}/{member.name}"

    @property
    def path(self) -> str | None:
        return self._archive.path

    @property
    def size(self) -> int:
        return min(self._member.size, self._opened.most)

    @property
    def most(self) -> int:
        return self.size

    def head(self, count: int) -> bytes:
        return self._opened.head(count)

    def cursor(self) -> Cursor:
        return self._opened.cursor()

    def sibling(self, name: str) -> ByteSource:
        return self._archive.sibling(name)


def _tarred(source: ByteSource) -> Iterator[ByteSource]:
    if isinstance(source, EncodedSource):
        try:
            source.spooled(_MOST_RATIO // 2 * source.encoded_bytes)
        except OversizeError:
            raise OversizeError("decompresses to far more than it could hold: it could be a bomb") from None
    with SourceFile(source) as file, tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[arg-type]
        count = 0
        for count, member in enumerate(archive, 1):
            if count > _MOST_MEMBERS:
                raise OversizeError(f"has more than {_MOST_MEMBERS} members")
            if member.isreg() and not member.issparse() and (member.size or is_named(member.name)):
                name = f"{source.name}/{member.name}"
                yield JoinedSource([(source, member.offset_data, member.size)], name)
        _check_end(source, archive.offset, count)


def _check_end(source: ByteSource, at: int, count: int) -> None:
    """Refuse a tar that does not end with a block of zeros (POSIX.1, pax): what follows its last member is lost."""
    held = bytearray(tarfile.BLOCKSIZE)
    with source.cursor() as cursor:
        got = cursor.readinto(at, memoryview(held))
    if got < len(held):
        raise TruncatedError(f"the archive is cut off behind {count} members")
    if any(held):
        raise DamagedError(f"the archive is damaged behind {count} members")

"""ZIP archives as far as NumPy needs them: members as sources of bytes, and writing a few members.

Nothing is unpacked to look at it: a stored member is a part of the file, a deflated one is read like a gzip
stream (the same deflate data, with the checksum and length of the archive's directory behind them), so that
lazy reads, limits and checks are those of all other files. The layout is that of PKWARE's APPNOTE 6.3.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

from medimg_cli.errors import DamagedError, FormatError, OversizeError, TruncatedError, UnsupportedError
from medimg_cli.storage.compress import open_sink
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import ByteSource, Cursor, CursorBase, MemorySource

__all__ = ["Member", "ZipWriter", "list_members", "member_bytes", "open_member"]

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_ENTRY, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_MOST_MEMBERS = 4096
_MOST_DIRECTORY = 1 << 24
_MOST_SMALL = 1 << 25
_STORED, _DEFLATED = 0, 8
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
#: gzip header (RFC 1952) in front of deflate data.
_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
#: 1 January 1980, the first day that a ZIP archive knows.
_DATE = 0x0021


class Member(NamedTuple):
    """One file in an archive, as the directory describes it."""

    name: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def _read(source: ByteSource, offset: int, count: int) -> bytes:
    view = bytearray(count)
    with source.cursor() as cursor:
        return bytes(view[: cursor.readinto(offset, memoryview(view))])


def list_members(source: ByteSource, *, most: int = _MOST_MEMBERS) -> tuple[Member, ...]:
    """Read the directory of an archive.

    Parameters
    ----------
    source : ByteSource
    most : int
        Members that it may have.

    Raises
    ------
    FormatError
        If there is no directory, or it makes no sense.
    UnsupportedError
        If it lists more members.
    """
    if source.size is None:
        raise UnsupportedError("an archive inside a compressed file is not supported", path=source.name)
    count, size, offset = _directory(source, source.size)
    if count > most or size > max(_MOST_DIRECTORY, most << 8):
        raise UnsupportedError(f"the archive has {count} members, at most {most} are read", path=source.name)
    if offset + size > source.size:
        raise FormatError("the archive's directory lies outside the file", path=source.name)
    data, at, members = _read(source, offset, size), 0, []
    for _ in range(count):
        if len(data) < at + _ENTRY.size or data[at : at + 4] != b"PK\x01\x02":
            raise DamagedError("the archive's directory is damaged", path=source.name)
        row = _ENTRY.unpack_from(data, at)
        name_end = at + _ENTRY.size + row[10]
        extra = data[name_end : name_end + row[11]]
        if row[3] & 1:
            raise UnsupportedError("the archive is encrypted", path=source.name)
        name = data[at + _ENTRY.size : name_end].decode("utf-8" if row[3] & 0x800 else "cp437", "replace")
        full, packed, place = _sizes64(row[9], row[8], row[16], extra, source.name)
        members.append(Member(name, row[4], row[7], packed, full, place))
        at = name_end + row[11] + row[12]
    return tuple(members)


def _directory(source: ByteSource, size: int) -> tuple[int, int, int]:
    """Return how many members there are, the directory's size and offset."""
    start = max(size - 22 - _MAX16, 0)
    tail = _read(source, start, size - start)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise TruncatedError("truncated: the archive has no directory at its end", path=source.name)
    count, length, offset = struct.unpack_from("<H2I", tail, at + 10)
    if count != _MAX16 and _MAX32 not in (length, offset):
        return count, length, offset
    locator = tail[at - 20 : at] if at >= 20 else b""
    if not locator.startswith(_LOCATOR64):
        return count, length, offset
    record = _read(source, struct.unpack_from("<Q", locator, 8)[0] & (1 << 62) - 1, 56)
    if len(record) < 56 or not record.startswith(_END64):
        raise DamagedError("the archive's directory is damaged", path=source.name)
    long_count, long_length, long_offset = struct.unpack_from("<3Q", record, 32)
    return long_count, long_length, long_offset


def _sizes64(full: int, packed: int, place: int, extra: bytes, name: str) -> tuple[int, int, int]:
    """Return sizes and offset, from the extra field where the directory has no room for them (ZIP64)."""
    values = [full, packed, place]
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            content = extra[at + 4 : at + 4 + length]
            for n, value in enumerate(values):
                if value == _MAX32:
                    if len(content) < 8:
                        raise DamagedError("the archive's directory is damaged", path=name)
                    values[n], content = int.from_bytes(content[:8], "little"), content[8:]
        at += 4 + length
    if max(values) >= 1 << 62:
        raise DamagedError("the archive's directory is damaged", path=name)
    return values[0], values[1], values[2]


def open_member(source: ByteSource, member: Member) -> ByteSource:
    """Return the bytes of a member, lazily.

    Raises
    ------
    TruncatedError
        If the file ends before it does.
    FormatError
        If the directory and the member disagree.
    UnsupportedError
        If it is compressed in another way than by deflate.
    """
    local = _read(source, member.offset, _LOCAL.size)
    if len(local) < _LOCAL.size or not local.startswith(b"PK\x03\x04"):
        raise DamagedError(f"member {member.name!r} is not where the archive says", path=source.name)
    start = member.offset + _LOCAL.size + sum(_LOCAL.unpack(local)[9:11])
    if start + member.packed > (source.size or 0):
        raise TruncatedError(f"truncated: member {member.name!r} is cut off", path=source.name)
    if member.method == _STORED and member.packed == member.size:
        return _StoredMember(source, start, member)
    if member.method != _DEFLATED:
        raise UnsupportedError(f"member {member.name!r} is neither stored nor deflated", path=source.name)
    trailer = struct.pack("<2I", member.crc, member.size & _MAX32)
    pieces = (
        (MemorySource(_GZIP), 0, len(_GZIP)),
        (source, start, member.packed),
        (MemorySource(trailer), 0, len(trailer)),
    )
    return EncodedSource(JoinedSource(pieces, source.name), "gzip")


def member_bytes(source: ByteSource, member: Member) -> bytes:
    """Return a small member as a whole, its checksum verified.

    Raises
    ------
    UnsupportedError
        If it has more than 32 MiB.
    """
    if member.size > _MOST_SMALL:
        raise UnsupportedError(f"member {member.name!r} has more than {_MOST_SMALL >> 20} MiB", path=source.name)
    opened = open_member(source, member)
    if member.size > opened.most:
        raise OversizeError(f"member {member.name!r} cannot have the size that it states", path=source.name)
    view = bytearray(member.size)
    with opened.cursor() as cursor:
        got = cursor.readinto(0, memoryview(view))
        cursor.verify()
    if got < member.size:
        raise TruncatedError(f"truncated: member {member.name!r} is cut off", path=source.name)
    return bytes(view)


class _StoredMember(JoinedSource):
    """A member that is not compressed: a part of the archive with a checksum."""

    def __init__(self, source: ByteSource, start: int, member: Member) -> None:
        super().__init__([(source, start, member.size)], source.name)
        self.crc = member.crc

    def cursor(self) -> Cursor:
        return _StoredCursor(self)


class _StoredCursor(CursorBase):
    """Reads a stored member; verifying reads all of it."""

    def __init__(self, member: _StoredMember) -> None:
        self._member = member
        self._base = JoinedSource(member.pieces, member.name).cursor()

    def readinto(self, offset: int, view: memoryview) -> int:
        return self._base.readinto(offset, view)

    def verify(self) -> None:
        crc, size = 0, self._member.starts[-1]
        for piece in self.chunks(0, size):
            crc = zlib.crc32(piece, crc)
        if crc != self._member.crc:
            raise DamagedError("its data are damaged (checksum)", path=self._member.name, hint="get the file again")

    def close(self) -> None:
        self._base.close()


class ZipWriter:
    """Writes members one after another; the same members make the same bytes.

    Parameters
    ----------
    file : object
        With ``write``, ``patch(offset, data)`` and ``written``: a staged file.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._members: list[tuple[Member, bool]] = []

    def add(self, name: str, blocks: Any, size: int, level: int | None = None) -> None:
        """Write a member.

        Parameters
        ----------
        name : str
            In ASCII.
        blocks : iterable of buffers
        size : int
            Bytes of all blocks together.
        level : int, optional
            Compression level; stored as it is where None or 0.
        """
        offset, long = self._file.written, size >= 1 << 31
        method = _DEFLATED if level else _STORED
        self._file.write(_local(Member(name, method, 0, 0, 0, offset), long))
        start = self._file.written
        bare = _BareDeflate(self._file) if level else None
        sink = open_sink(bare.write, "gzip", level) if bare else open_sink(self._file.write, None)
        crc = 0
        try:
            for block in blocks:
                crc = zlib.crc32(block, crc)
                sink.write(block)
            sink.finish()
        except BaseException:
            sink.abort()
            raise
        member = Member(name, method, crc, self._file.written - start, size, offset)
        self._file.patch(offset, _local(member, long))
        self._members.append((member, long))

    def finish(self) -> None:
        """Write the directory."""
        start = self._file.written
        for member, long in self._members:
            self._file.write(_entry(member, long or member.offset >= _MAX32))
        size, count = self._file.written - start, len(self._members)
        if start >= _MAX32:
            record = self._file.written
            self._file.write(struct.pack("<4sQ2H2I4Q", _END64, 44, 45, 45, 0, 0, count, count, size, start))
            self._file.write(struct.pack("<4sIQI", _LOCATOR64, 0, record, 1))
        self._file.write(struct.pack("<4s4H2IH", _END, 0, 0, count, count, size, min(start, _MAX32), 0))


def _local(member: Member, long: bool) -> bytes:
    """Return what stands in front of a member; of the same length before its size is known and after."""
    name = member.name.encode("ascii")
    sizes = (_MAX32, _MAX32) if long else (member.packed, member.size)
    extra = struct.pack("<2H2Q", 1, 16, member.size, member.packed) if long else b""
    fixed = (b"PK\x03\x04", 45 if long else 20, 0, member.method, 0, _DATE, member.crc)
    return _LOCAL.pack(*fixed, *sizes, len(name), len(extra)) + name + extra


def _entry(member: Member, long: bool) -> bytes:
    """Return the line of a member in the directory."""
    name = member.name.encode("ascii")
    numbers = (member.packed, member.size)
    extra = struct.pack("<2H3Q", 1, 24, member.size, member.packed, member.offset) if long else b""
    sizes, place = ((_MAX32, _MAX32), _MAX32) if long else (numbers, member.offset)
    version = 45 if long else 20
    fixed = (b"PK\x01\x02", version, version, 0, member.method, 0, _DATE, member.crc)
    return _ENTRY.pack(*fixed, *sizes, len(name), len(extra), 0, 0, 0, 0, place) + name + extra


class _BareDeflate:
    """Passes on the deflate data of a gzip stream, without its header and trailer."""

    def __init__(self, file: Any) -> None:
        self._file, self._skip, self._held = file, len(_GZIP), b""

    def write(self, data: Any) -> None:
        """Write all but the first ten and the last eight bytes of the stream."""
        piece = bytes(data)
        skipped = min(self._skip, len(piece))
        self._skip -= skipped
        whole = self._held + piece[skipped:]
        self._file.write(whole[:-8])
        self._held = whole[-8:]

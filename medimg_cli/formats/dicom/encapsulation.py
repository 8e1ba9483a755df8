"""Where the encoded frames of a file lie (PS3.5, A.4): each in one fragment or several, one item behind the other.

Decisions:

- Fragments are found by their lengths, never by looking for the delimiter: encoded bytes may look like one.
- As many fragments as frames are one frame each, whatever the tables of offsets say; an extended table of offsets
  demands that in any case (PS3.3, C.7.6.3.1.8). Else the basic table tells, and where it is empty or wrong, the marker
  that ends a codestream.
"""

from __future__ import annotations

from itertools import pairwise
from struct import unpack

from medimg_cli.errors import DamagedError, FormatError, TruncatedError
from medimg_cli.formats.dicom.reading import DicomFile
from medimg_cli.formats.dicom.walker import UNDEFINED
from medimg_cli.storage.source import Cursor

__all__ = ["Fragments", "encoded_frames", "joined"]

#: Place and length of each fragment of a frame.
Fragments = tuple[tuple[int, int], ...]

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
#: EOI of JPEG and JPEG-LS, EOC of JPEG 2000 (the same two bytes), at most so far from the end.
_LAST, _TAIL = b"\xff\xd9", 10


def encoded_frames(file: DicomFile) -> tuple[Fragments, ...]:
    """Return where the encoded frames of a file lie.

    Raises
    ------
    FormatError
        If its fragments do not make its frames.
    TruncatedError
        If a fragment ends behind the file.
    """
    with file.stored.cursor() as cursor:
        table, fragments = _items(file, cursor)
        if not fragments:
            raise FormatError("its pixel data are empty", path=file.source.name)
        count = file.frames
        if count == 1:
            return (tuple(fragments),)
        if len(fragments) == count:
            return tuple((fragment,) for fragment in fragments)
        found = _by_table(fragments, table) if len(table) == count else ()
        found = found or _by_marker(fragments, cursor)
    if len(found) != count:
        raise FormatError(
            f"its pixel data hold {len(found)} frames in {len(fragments)} fragments, its header says {count}",
            path=file.source.name,
        )
    return found


def joined(file: DicomFile, fragments: Fragments) -> bytes:
    """Return the bytes of one frame."""
    held = bytearray(sum(length for _, length in fragments))
    view, done = memoryview(held), 0
    with file.stored.cursor() as cursor:
        for start, length in fragments:
            if cursor.readinto(start, view[done : done + length]) != length:
                raise _cut(file)
            done += length
    return bytes(held)


def _items(file: DicomFile, cursor: Cursor) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """Return the basic table of offsets, and place and length of all fragments."""
    size = file.stored.size
    end = file.stored.most if size is None else size
    if file.length != UNDEFINED:
        end = min(end, file.offset + file.length)
    head, at = bytearray(8), file.offset
    items: list[tuple[int, int]] = []
    while at + 8 <= end:
        if cursor.readinto(at, memoryview(head)) < 8:
            raise _cut(file)
        tag, length = head[:4], int.from_bytes(head[4:], "little")
        if tag == _END:
            break
        if tag != _ITEM or length == UNDEFINED:
            raise DamagedError(f"its pixel data do not consist of items: damaged at byte {at}", path=file.source.name)
        if at + 8 + length > end:
            raise _cut(file)
        items.append((at + 8, length))
        at += 8 + length
    if not items:
        raise DamagedError("its pixel data do not start with a table of offsets", path=file.source.name)
    start, length = items[0]
    table = bytearray(length - length % 4)
    cursor.readinto(start, memoryview(table))
    return unpack(f"<{len(table) // 4}I", table), items[1:]


def _cut(file: DicomFile) -> TruncatedError:
    said = "truncated: a fragment of its pixel data ends behind the file"
    return TruncatedError(said, path=file.source.name, hint="get the file again")


def _by_table(fragments: list[tuple[int, int]], table: tuple[int, ...]) -> tuple[Fragments, ...]:
    """Return the frames that a table of offsets makes; none where it names a place at which no fragment starts."""
    first = fragments[0][0]
    starts = {start - first: n for n, (start, _) in enumerate(fragments)}
    cuts = [starts.get(offset, -1) for offset in table]
    if cuts[0] != 0 or any(a >= b for a, b in pairwise(cuts)):
        return ()
    return tuple(tuple(fragments[a:b]) for a, b in zip(cuts, [*cuts[1:], len(fragments)], strict=True))


def _by_marker(fragments: list[tuple[int, int]], cursor: Cursor) -> tuple[Fragments, ...]:
    """Return the frames that end with the marker of a codestream's end."""
    found: list[Fragments] = []
    first = 0
    for n, (start, length) in enumerate(fragments):
        tail = bytearray(min(length, _TAIL))
        cursor.readinto(start + length - len(tail), memoryview(tail))
        if _LAST in tail:
            found.append(tuple(fragments[first : n + 1]))
            first = n + 1
    return tuple(found)

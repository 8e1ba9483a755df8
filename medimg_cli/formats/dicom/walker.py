"""The header of a plain DICOM file, element by element, for the elements that medimg reads.

Of a folder of thousands of files each is opened once and a few kilobytes of it are read; pydicom, which knows every
kind of file, takes several times as long. So what this module is not sure of it leaves to pydicom: big-endian and
deflated files, files without preamble or of unknown encoding, sequences of unknown length in unknown VR, elements
that run past the end of the file.

Files in explicit and implicit VR little endian are read (PS3.5, 7.1, and A.1, A.2), compressed ones (A.4) too: their
data set is explicit. Values of sequences are stepped over.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from medimg_cli.errors import OversizeError
from medimg_cli.formats.dicom.elements import Raw
from medimg_cli.formats.dicom.tags import PRIVATE, TAGS
from medimg_cli.storage.source import HEAD, ByteSource

__all__ = ["ITEM", "ITEM_END", "LONG", "SEQUENCE_END", "UNDEFINED", "Walked", "walk"]

#: Length of an element that goes on to a delimiter.
UNDEFINED = 0xFFFFFFFF
_IMPLICIT = b"1.2.840.10008.1.2"
#: Big-endian and deflated files, which are left to pydicom.
_LEFT = frozenset((b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1.98", b""))
#: VRs whose length has 32 bits (PS3.5, table 7.1-1).
LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
#: The first of the elements that hold pixels.
_PIXELS = 0x7FE00008
#: Marks of items and of the end of a sequence (PS3.5, 7.5).
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
#: Values that are longer are read when somebody asks for them.
_KEPT = 1 << 10
_CHUNK = 1 << 14
#: How deep sequences may lie in one another.
_DEEPEST = 32

_WANTED = dict(TAGS.values())
_GROUPS = frozenset(group for group, _ in PRIVATE)
_SHORT = Struct("<HH2sH").unpack_from
_TAG = Struct("<HHI").unpack_from
_LENGTH = Struct("<I").unpack_from


class Walked(NamedTuple):
    """What was found.

    Parameters
    ----------
    raw : dict of int to Raw
        The elements, by tag.
    syntax : str
        UID of the transfer syntax.
    tag, offset, length : int
        Element of the pixels, where its value lies, and how long it says that it is; 0, -1, 0 where there is none.
    """

    raw: dict[int, Raw]
    syntax: str
    tag: int
    offset: int
    length: int


class _Unsure(Exception):
    """Something that pydicom should look at."""


def walk(source: ByteSource) -> Walked | None:
    """Read the elements of a file; None where pydicom should do it.

    Raises
    ------
    FormatError
        If sequences lie deeper in one another than any object needs.
    """
    size = source.size
    if size is None:
        return None
    try:
        return _Walk(source, size).run()
    except _Unsure:
        return None


class _Walk:
    """One pass over the header of one file: a window of bytes that moves on."""

    def __init__(self, source: ByteSource, size: int) -> None:
        self.source, self.size = source, size
        self.data, self.base = source.head(HEAD), 0

    def run(self) -> Walked:
        syntax, at = self._meta()
        if syntax in _LEFT:
            raise _Unsure
        raw: dict[int, Raw] = {}
        tag, offset, length = self._elements(raw, at, explicit=syntax != _IMPLICIT)
        return Walked(raw, syntax.decode("ascii", "replace"), tag, offset, length)

    def _window(self, at: int, count: int) -> int:
        """Make sure of so many bytes from a place of the file; return where in the window they start."""
        place = at - self.base
        if place >= 0 and place + count <= len(self.data):
            return place
        if at + count > self.size:
            raise _Unsure
        held = bytearray(min(max(count, _CHUNK), self.size - at))
        with self.source.cursor() as cursor:
            got = cursor.readinto(at, memoryview(held))
        if got < count:
            raise _Unsure
        self.data, self.base = bytes(held[:got]), at
        return 0

    def _meta(self) -> tuple[bytes, int]:
        """Return the transfer syntax and where the data set starts (PS3.10, 7.1)."""
        if self.data[128:132] != b"DICM":
            raise _Unsure
        at, syntax = 132, b""
        while True:
            place = self._window(at, 12)
            group, element, vr, length = _SHORT(self.data, place)
            if group != 2:
                return syntax, at
            if not vr.isalpha():
                raise _Unsure
            front = 8
            if vr in LONG:
                front, length = 12, _LENGTH(self.data, place + 8)[0]
            if element == 0x10:
                start = self._window(at, front + length) + front
                syntax = self.data[start : start + length].rstrip(b" \0")
            at += front + length

    def _elements(self, raw: dict[int, Raw], at: int, *, explicit: bool) -> tuple[int, int, int]:
        """Gather the elements from a place up to the pixels; return where those are."""
        data, base, end = self.data, self.base, len(self.data)
        size, wanted, groups = self.size, _WANTED, _GROUPS
        while at < size:
            place = at - base
            if place < 0 or place + 12 > end:
                self._window(at, min(12, size - at))
                data, base, end = self.data, self.base, len(self.data)
                place = at - base
                if place + 8 > end:
                    raise _Unsure
            if explicit:
                group, element, code, length = _SHORT(data, place)
                if code in LONG:
                    if place + 12 > end:
                        raise _Unsure
                    front, length = 12, _LENGTH(data, place + 8)[0]
                elif code.isalpha() and code.isupper():
                    front = 8
                else:
                    raise _Unsure
            else:
                group, element, length = _TAG(data, place)
                code, front = b"", 8
            tag = group << 16 | element
            if tag >= _PIXELS:
                return (tag, at + front, length) if tag <= 0x7FE00010 else (0, -1, 0)
            at += front
            if length == UNDEFINED:
                if code == b"UN":  # its content is in implicit VR (PS3.5, 6.2.2)
                    raise _Unsure
                if tag in wanted:
                    raw[tag] = "SQ", b"", False
                at = self._sequence_end(at, explicit)
                data, base, end = self.data, self.base, len(self.data)
                continue
            if tag in wanted or (group & 1 and group in groups):
                self._keep(raw, tag, code, at, length)
                data, base, end = self.data, self.base, len(self.data)
            at += length
        if at > size:
            raise _Unsure
        return 0, -1, 0

    def _keep(self, raw: dict[int, Raw], tag: int, code: bytes, at: int, length: int) -> None:
        """Keep the value of an element, or where it lies."""
        known = _WANTED.get(tag)
        if known is None:
            creator = tag & 0xFFFF < 0x100
            row = PRIVATE.get((tag >> 16, tag & 0xFF))
            if row is None and not creator:
                return
            known = "LO" if creator else row[1] if row else ""
        vr = known if code in (b"", b"UN") else code.decode("ascii")
        if vr == "SQ":
            raw[tag] = vr, b"", False
        elif length > _KEPT:
            raw[tag] = vr, (at, length), False
        elif at + length > self.size:
            raise _Unsure
        else:
            place = self._window(at, length)
            raw[tag] = vr, self.data[place : place + length], False

    def _sequence_end(self, at: int, explicit: bool) -> int:
        """Return where a sequence of undefined length ends (PS3.5, 7.5)."""
        inside = ["sequence"]
        while inside:
            place = self._window(at, 8)
            group, element, length = _TAG(self.data, place)
            tag = group << 16 | element
            if tag in (ITEM, ITEM_END, SEQUENCE_END):
                at = self._step(inside, tag, at + 8, length)
                continue
            if inside[-1] != "item":
                raise _Unsure
            front = 8
            if explicit:
                _, _, code, length = _SHORT(self.data, place)
                if code in LONG:
                    place = self._window(at, 12)
                    front, length = 12, _LENGTH(self.data, place + 8)[0]
                elif not code.isalpha():
                    raise _Unsure
                if length == UNDEFINED and code == b"UN":
                    raise _Unsure
            at += front
            if length == UNDEFINED:
                inside.append("sequence")
                if len(inside) > 2 * _DEEPEST:
                    what = f"sequences lie more than {_DEEPEST} deep in one another: it could be a bomb"
                    raise OversizeError(what, path=self.source.name)
            else:
                at += length
        return at

    def _step(self, inside: list[str], tag: int, at: int, length: int) -> int:
        """Step over the start or the end of an item, or the end of a sequence."""
        if tag == ITEM and inside[-1] == "sequence":
            if length != UNDEFINED:
                return at + length
            inside.append("item")
        elif inside.pop() != ("item" if tag == ITEM_END else "sequence") or tag == ITEM:
            raise _Unsure
        return at

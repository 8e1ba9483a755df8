"""The functional groups of an enhanced multi-frame object (PS3.3, C.7.6.16): what is said of all frames, and of each.

An object of 10,000 frames says this in 20 MB of sequences in sequences, of which pydicom makes a million objects; here
one pass steps over them and keeps the few elements that `tags` knows. Sequences that nobody asks for are stepped over,
however deep they are, without recursion; those that somebody asks for lie three deep, and deeper ones are refused.

Elements of the standard's macros are kept apart from the data sets of makers: Philips' (2005,140E) and (2005,140F),
Siemens' (0021,xxFE) of XA, and the attributes that a converter found no macro for. These hold elements
of classic objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error
from typing import NamedTuple

from medimg_cli.errors import FormatError, TruncatedError, UnsupportedError
from medimg_cli.formats.dicom.elements import Elements, Raw
from medimg_cli.formats.dicom.reading import DicomFile
from medimg_cli.formats.dicom.tags import PRIVATE, TAGS, vr_of_private
from medimg_cli.formats.dicom.walker import ITEM, ITEM_END, LONG, SEQUENCE_END, UNDEFINED

__all__ = ["Group", "nested", "per_frame", "shared"]

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
#: Macros whose elements are kept, and the sequences in them (PS3.3, C.7.6.16.2, C.8.13.5, C.8.15.3, C.8.20.3,
#: C.8.22.5).
_MACROS = frozenset((
    0x00189006, 0x00189042, 0x00189049, 0x00189076, 0x00189112, 0x00189114, 0x00189115, 0x00189117, 0x00189118,
    0x00189119, 0x00189125, 0x00189197, 0x00189226, 0x00189239, 0x00189301, 0x00189304, 0x00189308, 0x00189314,
    0x00189321, 0x00189325, 0x00189329, 0x00189504, 0x00189732, 0x00189736, 0x00189749, 0x00189751, 0x00209111,
    0x00209113, 0x00209116, 0x00209253, 0x00209310, 0x00289110, 0x00289132, 0x00289145, 0x00289443, 0x00409092,
    0x0062000A,
))  # fmt: skip
#: Sequences of classic elements: those of converters, and of makers: group and last digits -> creator as it starts.
_CONVERTED = frozenset((0x00209170, 0x00209171))
_MAKERS = {
    (0x0021, 0xFE): "SIEMENS MR SD", (0x2005, 0x0E): "Philips MR Imaging DD 005",
    (0x2005, 0x0F): "Philips MR Imaging DD 005",
}  # fmt: skip
_KNOWN = dict(TAGS.values())
_GROUPS = frozenset(group for group, _ in PRIVATE)
#: How deep sequences may lie in one another where they are read; bytes of a value that is kept, and of a header.
_DEEPEST, _KEPT, _MOST = 8, 1 << 10, 1 << 28


class Group(NamedTuple):
    """What functional groups say of one frame, or of all.

    Parameters
    ----------
    elements : Elements
        Of the standard's macros.
    own : list of Elements
        Classic data sets of makers and converters.
    """

    elements: Elements
    own: list[Elements]


def shared(file: DicomFile) -> Group:
    """Return what is said of all frames; empty where there is nothing.

    Raises
    ------
    FormatError
        If the sequences are cut off or damaged.
    """
    return next(_groups(file, _SHARED), Group(Elements({}, file.source), []))


def per_frame(file: DicomFile) -> Iterator[Group]:
    """Yield what is said of each frame, in the order in which frames are stored.

    Raises
    ------
    FormatError
        If the sequences are cut off or damaged.
    """
    return _groups(file, _PER_FRAME)


def nested(file: DicomFile, tag: int) -> Elements | None:
    """Return the first item of a sequence of the data set itself; None where there is none.

    Raises
    ------
    FormatError
        If the sequences are cut off or damaged.
    """
    reader = _Reader(file)
    with _Damage(file):
        for _ in reader.items(tag):
            raw: dict[int, Raw] = {}
            reader.item(raw, [], plain=True)
            return Elements(raw, file.source)
    return None


def _groups(file: DicomFile, tag: int) -> Iterator[Group]:
    reader = _Reader(file)
    with _Damage(file):
        for _ in reader.items(tag):
            raw: dict[int, Raw] = {}
            own: list[dict[int, Raw]] = []
            reader.item(raw, own)
            yield Group(Elements(raw, file.source), [Elements(each, file.source) for each in own])


class _Damage:
    """Turn what happens at the end of bytes that are cut off into an error with the name of the file."""

    def __init__(self, file: DicomFile) -> None:
        self.name = file.source.name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and issubclass(kind, (error, IndexError)):
            raise TruncatedError("its functional groups are cut off or damaged", path=self.name) from None


class _Reader:
    """One pass over the bytes before the pixels of a file.

    Parameters
    ----------
    file : DicomFile
    """

    def __init__(self, file: DicomFile) -> None:
        self.data, self.at, self.big, self.depth = _header(file), 0, file.big, 0
        order = ">" if file.big else "<"
        self._short = Struct(f"{order}HH2sH").unpack_from
        self._tag = Struct(f"{order}HHI").unpack_from
        self._long = Struct(f"{order}I").unpack_from
        self._start()
        code = bytes(self.data[self.at + 4 : self.at + 6])
        self.explicit = code.isalpha() and code.isupper()

    def _start(self) -> None:
        """Go to the data set, behind the preamble and the elements of group 2 (PS3.10, 7.1)."""
        data, at = self.data, 132 if self.data[128:132] == b"DICM" else 0
        while data[at : at + 2] == b"\2\0":
            wide = data[at + 4 : at + 6] in LONG
            size = data[at + 8 : at + 12] if wide else data[at + 6 : at + 8]
            at += (12 if wide else 8) + int.from_bytes(size, "little")
        self.at = at

    def _next(self) -> tuple[int, bytes, int]:
        """Step over the head of an element; return its tag, VR (b"" where it is implicit) and length."""
        group, element, length = self._tag(self.data, self.at)
        if group == 0xFFFE or not self.explicit:
            self.at += 8
            return group << 16 | element, b"", length
        _, _, code, length = self._short(self.data, self.at)
        if code in LONG:
            length = self._long(self.data, self.at + 8)[0]
            self.at += 12
        elif code.isalpha():
            self.at += 8
        else:
            raise IndexError
        return group << 16 | element, code, length

    def items(self, wanted: int) -> Iterator[None]:
        """Stop in front of each item of a sequence of the data set."""
        end = len(self.data)
        while self.at + 8 <= end:
            tag, code, length = self._next()
            if tag == wanted:
                yield from self._sequence(code, length)
                return
            if tag > wanted:
                return
            self._over(code, length)

    def _sequence(self, code: bytes, length: int) -> Iterator[None]:
        """Stop in front of each item of a sequence; whoever stops there reads it with `item`, or breaks off.

        A sequence of VR UN is in implicit VR (PS3.5, 6.2.2).
        """
        before, self.explicit = self.explicit, self.explicit and code != b"UN"
        end = len(self.data) if length == UNDEFINED else self.at + length
        if end > len(self.data):
            raise IndexError
        self.depth += 1
        if self.depth > _DEEPEST:
            raise FormatError(f"its sequences lie more than {_DEEPEST} deep in one another")
        while self.at < end:
            group, element, _ = self._tag(self.data, self.at)
            if group << 16 | element != ITEM:
                if group << 16 | element != SEQUENCE_END:
                    raise IndexError
                self.at += 8
                break
            yield
        self.explicit, self.depth = before, self.depth - 1

    def item(self, raw: dict[int, Raw], own: list[dict[int, Raw]], *, plain: bool = False) -> None:
        """Read the item that starts here: elements of macros, and data sets of makers; a plain one has no macros."""
        _, _, length = self._next()
        end = len(self.data) if length == UNDEFINED else self.at + length
        if end > len(self.data):
            raise IndexError
        while self.at < end:
            tag, code, size = self._next()
            if tag == ITEM_END:
                return
            group, low = tag >> 16, tag & 0xFF
            if not plain and tag in _MACROS:
                self._first(code, size, raw, own, plain=False)
            elif not plain and (tag in _CONVERTED or ((group, low) in _MAKERS and self._made(raw, tag))):
                own.append({})
                self._first(code, size, own[-1], [], plain=True)
            elif size != UNDEFINED and (tag in _KNOWN or (group in _GROUPS and (plain or tag & 0xFFFF < 0x100))):
                self._keep(raw, tag, code, size)
            else:
                self._over(code, size)

    def _first(self, code: bytes, length: int, raw: dict[int, Raw], own: list[dict[int, Raw]], *, plain: bool) -> None:
        """Read the first item of a sequence and step over the others."""
        first = True
        for _ in self._sequence(code, length):
            if first:
                self.item(raw, own, plain=plain)
            else:
                _, _, size = self._next()
                self._over(b"item", size)
            first = False

    def _made(self, raw: dict[int, Raw], tag: int) -> bool:
        """Tell whether a private sequence is of the maker that is known for it."""
        creator = raw.get(tag >> 16 << 16 | (tag & 0xFFFF) >> 8)
        return creator is not None and creator[1].decode("latin-1").startswith(_MAKERS[tag >> 16, tag & 0xFF])  # type: ignore[union-attr]

    def _keep(self, raw: dict[int, Raw], tag: int, code: bytes, length: int) -> None:
        """Keep the value of an element that somebody knows."""
        if length <= _KEPT:
            vr = code.decode("ascii") if code not in (b"", b"UN") else _KNOWN.get(tag) or _vr(tag)
            if vr and vr != "SQ":
                raw[tag] = vr, bytes(self.data[self.at : self.at + length]), self.big
        self._over(code, length)

    def _over(self, code: bytes, length: int) -> None:
        """Step over a value; over a sequence of unknown length to where it ends (PS3.5, 7.5)."""
        if length != UNDEFINED:
            self.at += length
            if self.at > len(self.data):
                raise IndexError
            return
        kept, inside = self.explicit, [(code == b"item", self.explicit)]
        self.explicit = self.explicit and code != b"UN"
        while inside:
            tag, vr, size = self._next()
            if tag in (ITEM_END, SEQUENCE_END):
                self.explicit = inside.pop()[1]
            elif size == UNDEFINED:
                inside.append((tag == ITEM, self.explicit))
                self.explicit = self.explicit and vr != b"UN"
            else:
                self.at += size
        self.explicit = kept


def _vr(tag: int) -> str:
    """Return the VR of a private element; "" where nobody knows it."""
    return "LO" if tag & 0xFFFF < 0x100 else vr_of_private(tag)


def _header(file: DicomFile) -> bytes:
    """Return the bytes of a file up to its pixels."""
    size = min(file.offset, file.stored.size or file.offset) if file.offset >= 0 else file.stored.size or 0
    if size > _MOST:
        raise UnsupportedError(f"its header has {size >> 20} MiB, more than {_MOST >> 20} MiB are not read")
    held = bytearray(size)
    with file.stored.cursor() as cursor:
        return bytes(memoryview(held)[: cursor.readinto(0, memoryview(held))])

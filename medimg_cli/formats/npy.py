"""NumPy arrays: ``.npy``, without pickles.

The file states dtype, order and shape, nothing else (NEP 1). Axes are (I, J, K) or (C, I, J, K), the fourth
in front as everywhere in medimg; one and two axes are (I) and (I, J). There is no geometry: spacing 1 mm,
origin 0, with a warning. Arrays of objects would need unpickling, which runs whatever the file says: they are
refused. Written are arrays in Fortran order (i fastest, the order of nearly all image files, so that any size
streams); an array that came from C order stays in it.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, OversizeError, TruncatedError, UnknownFormatError, UnsupportedError
from medimg_cli.header import Header, Native
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = [
    "ArrayFacts",
    "array_header",
    "array_shape",
    "encode",
    "fit",
    "native_fields",
    "open",
    "read_facts",
    "show_facts",
]

MAGIC = b"\x93NUMPY"
NO_GEOMETRY = "a NumPy file has no geometry: spacing 1 mm and origin 0 are assumed"
_KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex"}
_LETTERS = {kind: letter for letter, kind in _KINDS.items()}
_MOST_HEADER = 1 << 14
_MOST_BYTES = 1 << 62
_ITEM = re.compile(
    r"""\s*['"](?P<key>\w+)['"]\s*:\s*(?P<value>True|False|'[^']*'|"[^"]*"|\([\s\dL,]*\)|\[.*\])\s*,?""",
    re.DOTALL,
)


class ArrayFacts(NamedTuple):
    """What the header of one array says.

    Parameters
    ----------
    shape : tuple of int
        As NumPy counts: the last axis is the fastest unless ``fortran``.
    dtype, byte_order : str
    fortran : bool
        Whether the first axis is the fastest.
    offset : int
        Where the numbers begin.
    """

    shape: tuple[int, ...]
    dtype: str
    byte_order: str
    fortran: bool
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return prod(self.shape) * ITEMSIZE[self.dtype]


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an array of one to four axes.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If it makes no sense, or an axis is empty.
    UnsupportedError
        If the array holds objects, text, dates or records, or has more than four axes.
    """
    facts = read_facts(source)
    header = array_header(facts, source.name).warn(NO_GEOMETRY)
    return StoredBackend(StoredArray(source, facts.offset, array_layout(facts)), header)


def read_facts(source: ByteSource) -> ArrayFacts:
    """Read the header of an array."""
    head = source.head(12)
    if not head.startswith(MAGIC):
        cut = MAGIC.startswith(head)
        said = "is no NumPy array: it does not begin with \\x93NUMPY"
        raise (TruncatedError if cut else UnknownFormatError)(said, path=source.name)
    if len(head) < 12:
        raise TruncatedError("truncated: the header of the array is cut off", path=source.name)
    major, minor = head[6:8]
    if major not in (1, 2, 3) or minor:
        raise FormatError(f"version {major}.{minor} of the NumPy format is unknown", path=source.name)
    start = 10 if major == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > _MOST_HEADER:
        raise FormatError(
            f"the header of the array has {length} bytes, at most {_MOST_HEADER} make sense", path=source.name
        )
    text = source.head(start + length)[start:]
    if len(text) < length:
        raise TruncatedError("truncated: the header of the array is cut off", path=source.name)
    return _parse(text.decode("latin-1" if major < 3 else "utf-8", "replace"), start + length, source.name)


def _parse(text: str, offset: int, name: str) -> ArrayFacts:
    """Parse the text of a header, a Python dictionary of three items; nothing of it is evaluated."""
    body = text.strip().removeprefix("{").removesuffix("}").strip()
    items: dict[str, str] = {}
    at = 0
    while at < len(body):
        found = _ITEM.match(body, at)
        if found is None:
            raise FormatError(f"the header of the array makes no sense: {text.strip()[:80]!r}", path=name)
        items[found["key"]] = found["value"]
        at = found.end()
    if set(items) != {"descr", "fortran_order", "shape"} or items["fortran_order"] not in ("True", "False"):
        raise FormatError(f"the header of the array makes no sense: {text.strip()[:80]!r}", path=name)
    dtype, byte_order = _dtype(items["descr"], name)
    sizes = [word.strip().removesuffix("L") for word in items["shape"].strip("()").split(",")]
    if not all(word.isdecimal() and len(word) < 19 for word in sizes if word):
        raise FormatError(f"the shape of the array is {items['shape'][:80]}", path=name)
    shape = tuple(int(word) for word in sizes if word)
    facts = ArrayFacts(shape, dtype, byte_order, items["fortran_order"] == "True", offset)
    if facts.nbytes > _MOST_BYTES:
        raise OversizeError(f"the shape of the array is {shape}: no file can hold that", path=name)
    return facts


def _dtype(descr: str, name: str) -> tuple[str, str]:
    """Return dtype and byte order of a type string such as ``'<i2'``."""
    if descr.startswith("["):
        raise UnsupportedError("holds records, not numbers", path=name)
    word = descr.strip("'\"")
    if "O" in word:
        raise UnsupportedError(
            "holds Python objects; loading them would run code from the file",
            path=name,
            hint="refused for safety",
        )
    found = re.fullmatch(r"([<>|=]?)([a-zA-Z])(\d{1,3})", word)
    dtype = f"{_KINDS.get(found[2], '')}{8 * int(found[3])}" if found else ""
    if found and found[2] == "b" and found[3] == "1":
        dtype = "bool"
    if not found or found[2] not in _KINDS or dtype not in ITEMSIZE:
        raise UnsupportedError(f"holds values of type {word[:40]!r}, which are no numbers of an image", path=name)
    return dtype, "big" if found[1] == ">" else "little"


def array_shape(facts: ArrayFacts, name: str) -> tuple[int, int, int, int]:
    """Return (C, I, J, K) of an array.

    Raises
    ------
    UnsupportedError
        If it has no axis, or more than four.
    FormatError
        If an axis is empty.
    """
    if not 1 <= len(facts.shape) <= 4:
        raise UnsupportedError(f"the array has {len(facts.shape)} axes, an image (I, J, K) or (C, I, J, K)", path=name)
    if min(facts.shape) < 1:
        raise FormatError(f"the shape of the array is {facts.shape}: an axis is empty", path=name)
    spatial = facts.shape[-3:]
    channels = facts.shape[0] if len(facts.shape) == 4 else 1
    return (channels, *(*spatial, 1, 1)[:3])  # type: ignore[return-value]


def array_layout(facts: ArrayFacts) -> Layout:
    """Return where the voxels lie."""
    shape = array_shape(facts, "")
    order = (3, 0, 1, 2) if facts.fortran else (2, 1, 0, 3)
    return Layout.packed(shape, facts.dtype, byte_order=facts.byte_order, order=order, channels=(shape[0],))


def array_header(facts: ArrayFacts, name: str) -> Header:
    """Return a neutral header without geometry."""
    shape = array_shape(facts, name)
    return Header(
        shape=shape,
        dtype=facts.dtype,
        affine=AffineMatrix(),
        axes=(("channel", shape[0]),) if len(facts.shape) == 4 else (),
        ndim=min(len(facts.shape), 3),
        byte_order=facts.byte_order,
        affine_source="default",
        native=Native("npy", facts),
    )


def facts_for(header: Header) -> ArrayFacts:
    """Return what the header of the array says that holds the values of an image."""
    native = header.native.data if header.native is not None and header.native.family == "npy" else None
    spatial: tuple[int, ...] = header.shape[1:]
    while len(spatial) > header.ndim and spatial[-1] == 1:
        spatial = spatial[:-1]
    shape = spatial if header.channels == 1 and header.axes == () else header.shape
    facts = ArrayFacts(shape, header.value_dtype, "little", native is None or native.fortran, 0)
    return facts._replace(offset=len(show_facts(facts)))


def show_facts(facts: ArrayFacts) -> bytes:
    """Return the header of an array, as ``numpy.save`` would write it."""
    letter = _LETTERS[facts.dtype.rstrip("0123456789")]
    size = ITEMSIZE[facts.dtype]
    descr = f"{'|' if size == 1 else '<'}{letter}{size}"
    text = f"{{'descr': '{descr}', 'fortran_order': {facts.fortran}, 'shape': {facts.shape}, }}"
    padding = -(len(MAGIC) + 4 + len(text) + 1) % 64
    text += " " * padding + "\n"
    return MAGIC + b"\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def fit(header: Header, name: str) -> Header:
    """Return what would come back from an array file: the voxels, as values, and nothing else."""
    return array_header(facts_for(header), name)


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file of that name."""
    from medimg_cli.formats.writing import Encoded, output_compression

    assert header.native is not None
    facts: ArrayFacts = header.native.data
    return Encoded(layout=array_layout(facts), head=show_facts(facts), compression=output_compression(name))


def native_fields(data: ArrayFacts) -> dict[str, Any]:
    """Return what the header of the array says."""
    order = {"little": "<", "big": ">"}[data.byte_order]
    return {"descr": f"{order} {data.dtype}", "fortran_order": data.fortran, "shape": list(data.shape)}

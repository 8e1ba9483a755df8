"""The header of netCDF classic files (CDF-1 and CDF-2), parsed within bounds.

Source: "The NetCDF Classic Format Specification" (Unidata). MINC 1 files are such files.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError
from medimg_cli.storage.source import ByteSource

__all__ = ["Variable", "read_netcdf"]

_MOST_HEADER, _MOST_ITEMS = 1 << 24, 1 << 16
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
#: External type -> (struct code, bytes).
_TYPES = {1: ("b", 1), 2: ("s", 1), 3: ("h", 2), 4: ("i", 4), 5: ("f", 4), 6: ("d", 8)}

Attributes = dict[str, Any]


class Variable(NamedTuple):
    """One variable: its dimensions, attributes and place.

    ``code`` is the struct code of its type; ``stride`` the bytes from one record to the next where its first
    dimension is the unlimited one, else 0.
    """

    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    attributes: Attributes
    code: str
    offset: int
    stride: int

    def values(self, source: ByteSource) -> list[Any]:
        """Read all numbers of a small variable without records, in order."""
        count = prod(self.shape)
        size = struct.calcsize(self.code) * count
        if self.stride or self.code == "s" or count > _MOST_ITEMS * 64:
            raise FormatError("a variable of scale factors is no plain array of numbers", path=source.name)
        view = bytearray(size)
        with source.cursor() as cursor:
            if cursor.readinto(self.offset, memoryview(view)) < size:
                raise TruncatedError("truncated: its scale factors are missing", path=source.name)
        return list(struct.unpack(f">{count}{self.code}", view))


class _Bytes:
    """Reads the header in order; more of it is fetched as it is needed."""

    def __init__(self, source: ByteSource) -> None:
        self.source, self.at = source, 4
        self.data = source.head(1 << 12)

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            if end > _MOST_HEADER:
                raise FormatError(f"its netCDF header is longer than {_MOST_HEADER} bytes", path=self.source.name)
            self.data = self.source.head(max(2 * len(self.data), end))
            if end > len(self.data):
                raise TruncatedError("ends within its netCDF header", path=self.source.name)
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def whole(self, width: int = 4) -> int:
        return int.from_bytes(self.take(width), "big")

    def count(self, tag: int) -> int:
        """Read the start of a list: its tag, or 0 where it is absent, and how many elements follow."""
        found, count = self.whole(), self.whole()
        if found not in (0, tag) or (found == 0 and count) or count > _MOST_ITEMS:
            raise FormatError("its netCDF header makes no sense", path=self.source.name)
        return count

    def rank(self) -> int:
        """Read how many dimensions a variable has."""
        rank = self.whole()
        if rank > 64:
            raise FormatError(f"a variable of {rank} dimensions cannot be", path=self.source.name)
        return rank

    def name(self) -> str:
        size = self.whole()
        return self.take(-(-size // 4) * 4)[:size].decode("utf-8", "replace")

    def attributes(self) -> Attributes:
        found: Attributes = {}
        for _ in range(self.count(_ATTRIBUTES)):
            name, kind, count = self.name(), self.whole(), self.whole()
            code, width = self.type_of(kind)
            raw = self.take(-(-count * width // 4) * 4)[: count * width]
            if code == "s":
                found[name] = raw.partition(b"\0")[0].decode("utf-8", "replace")
            else:
                values = struct.unpack(f">{count}{code}", raw)
                found[name] = values[0] if count == 1 else values
        return found

    def type_of(self, kind: int) -> tuple[str, int]:
        if kind not in _TYPES:
            raise FormatError(f"netCDF type {kind} is unknown", path=self.source.name)
        return _TYPES[kind]


def read_netcdf(source: ByteSource) -> tuple[dict[str, Variable], Attributes]:
    """Return the variables and the attributes of a file.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If it makes no sense.
    """
    head = source.head(4)
    if head[:3] != b"CDF" or head[3:] not in (b"\1", b"\2"):
        raise UnknownFormatError("has no netCDF magic", path=source.name)
    reader = _Bytes(source)
    records = reader.whole()
    dimensions = [(reader.name(), reader.whole()) for _ in range(reader.count(_DIMENSIONS))]
    attributes = reader.attributes()
    found = []
    for _ in range(reader.count(_VARIABLES)):
        name = reader.name()
        indices = [reader.whole() for _ in range(reader.rank())]
        if any(index >= len(dimensions) for index in indices):
            raise FormatError(f"variable {name[:40]!r} has a dimension that is not there", path=source.name)
        own = reader.attributes()
        code, width = reader.type_of(reader.whole())
        reader.whole()  # vsize: redundant, and wrong for large variables
        offset = reader.whole(8 if head[3] == 2 else 4)
        found.append((name, [dimensions[index] for index in indices], own, code, width, offset))
    return _placed(found, records), attributes


def _placed(found: list[tuple[Any, ...]], records: int) -> dict[str, Variable]:
    """Work out shapes; variables along the unlimited dimension lie record by record."""
    in_records = [sizes for _, sizes, *_ in found if sizes and sizes[0][1] == 0]
    step = 0
    for _, sizes, _, _, width, _ in found:
        if sizes and sizes[0][1] == 0:
            one = prod(size for _, size in sizes[1:]) * width
            step += one if len(in_records) == 1 else -(-one // 4) * 4
    variables = {}
    for name, sizes, attributes, code, _, offset in found:
        recorded = bool(sizes) and sizes[0][1] == 0
        shape = tuple(size for _, size in sizes)
        variables[name] = Variable(
            tuple(label for label, _ in sizes),
            (records, *shape[1:]) if recorded else shape,
            attributes,
            code,
            offset,
            step if recorded else 0,
        )
    return variables

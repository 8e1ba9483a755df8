"""How the bytes of a Zarr chunk are packed: the codecs that are allowed, and decoding that never inflates further.

Only what stands in `_ALLOWED` is decoded; numcodecs is imported for Blosc, LZ4 and Zstandard, never by a name from a
file. A chunk must decode to exactly the bytes that its array declares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from medimg_cli.errors import DamagedError, FormatError, MissingExtraError, TruncatedError, UnsupportedError
from medimg_cli.storage.codecs import CODECS, open_decoder

__all__ = ["Packing", "Sharding", "decoded", "packing_of"]

_ABSENT = (1 << 64) - 1


class Sharding(NamedTuple):
    """Several chunks in one object, with an index of where each lies (codec ``sharding_indexed``).

    Parameters
    ----------
    chunks : tuple of int
        Shape of the inner chunks.
    inner : Packing
        Of an inner chunk.
    checked : bool
        Whether the index ends in a CRC32C.
    at_start : bool
        Whether the index stands in front.
    byte_order : str
        Of the numbers in the index.
    """

    chunks: tuple[int, ...]
    inner: Any
    checked: bool
    at_start: bool
    byte_order: str


class Packing(NamedTuple):
    """How a chunk became bytes.

    Parameters
    ----------
    steps : tuple of str
        Bytes to bytes, in the order of encoding: names of `_ALLOWED`.
    order : tuple of int
        Axes of the chunk, slowest first in its bytes; empty for the array's own order.
    byte_order : str
    sharding : Sharding or None
    """

    steps: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    byte_order: str = "little"
    sharding: Sharding | None = None


def packing_of(steps: Sequence[Mapping[str, Any]], version: int, chunks: tuple[int, ...] = ()) -> Packing:
    """Return how chunks are packed; refuse what is not on the list before anybody looks for it.

    Parameters
    ----------
    steps : sequence of mapping
        Filters and codecs in the order of encoding, each with its ``name``.
    version : int
        Of Zarr.
    chunks : tuple of int
        Shape of a chunk (version 3).

    Raises
    ------
    UnsupportedError
        If one of them is not on the list.
    """
    found = Packing()
    for step in steps:
        name = str(step["name"]).removeprefix("numcodecs.")
        if version == 3 and name == "bytes":
            found = found._replace(byte_order=_endian(step))
        elif version == 3 and name == "transpose":
            found = found._replace(order=_transposed(step["order"], found.order or tuple(range(len(chunks)))))
        elif version == 3 and name == "sharding_indexed":
            found = found._replace(sharding=_sharding(step, chunks))
            found = found._replace(byte_order=found.sharding.inner.byte_order)  # type: ignore[union-attr]
        elif name in _ALLOWED and (version == 3 or name != "crc32c"):
            found = found._replace(steps=(*found.steps, name))
        else:
            hint = "it could run code" if "pickle" in name else "store it with blosc, zstd, gzip or zlib"
            raise UnsupportedError(f"codec {name[:40]!r} is not among those that are decoded here", hint=hint)
    if found.sharding is not None and (found.steps or found.order):
        raise UnsupportedError("codecs around shards are not supported")
    return found


def _endian(step: Mapping[str, Any]) -> str:
    endian = step.get("endian", "little")
    if endian not in ("little", "big"):
        raise FormatError(f"endian {str(endian)[:40]!r} is neither little nor big")
    return str(endian)


def _transposed(order: Any, before: tuple[int, ...]) -> tuple[int, ...]:
    if order in ("C", "F"):
        order = list(range(len(before)))[:: 1 if order == "C" else -1]
    if not isinstance(order, list) or sorted(order) != list(range(len(before))):
        raise FormatError(f"transpose order {str(order)[:40]} is no permutation")
    return tuple(before[axis] for axis in order)


def _sharding(step: Mapping[str, Any], chunks: tuple[int, ...]) -> Sharding:
    inner = tuple(step["chunk_shape"])
    fits = len(inner) == len(chunks) and all(type(a) is int and a > 0 and b % a == 0 for a, b in zip(inner, chunks))
    if not fits:
        raise FormatError(f"inner chunks {inner} do not divide shards {chunks}")

    def named(part: Any) -> dict[str, Any]:
        return {"name": part} if isinstance(part, str) else {**(part.get("configuration") or {}), "name": part["name"]}

    packing = packing_of([named(part) for part in step["codecs"]], 3, inner)
    if packing.sharding is not None:
        raise UnsupportedError("shards inside shards are not supported")
    index = packing_of([named(part) for part in step.get("index_codecs", ["bytes", "crc32c"])], 3)
    if index.steps not in ((), ("crc32c",)):
        raise UnsupportedError("a compressed index of shards is not supported")
    at_start = step.get("index_location", "end") == "start"
    return Sharding(inner, packing, bool(index.steps), at_start, index.byte_order)


def decoded(data: bytes, packing: Packing, size: int) -> bytes:
    """Return the bytes of a chunk.

    Parameters
    ----------
    data : bytes
    packing : Packing
    size : int
        Bytes that it must decode to.

    Raises
    ------
    TruncatedError
        If there are fewer.
    FormatError
        If there are more, or the data are damaged.
    MissingExtraError
        If what its codec needs is not installed.
    """
    for number, step in reversed(list(enumerate(packing.steps))):
        # what is behind a step is the chunk itself, a little more where checksums are added or other codecs follow
        most = size if number == 0 else size + size // 64 + (1 << 16)
        data = _ALLOWED[step](data, most, number == 0)
    if len(data) < size:
        raise TruncatedError(f"{len(data)} bytes, {size} expected", hint="get the file again")
    if len(data) > size:
        raise FormatError(f"{len(data)} bytes, {size} expected")
    return data


def _inflated(name: str) -> Callable[[bytes, int, bool], bytes]:
    """Return a decoder of a stream, bounded by the size that is expected."""

    def decode(data: bytes, most: int, exact: bool) -> bytes:
        if exact and most > CODECS[name].max_ratio * len(data) + 64:
            raise TruncatedError(f"{len(data)} compressed bytes cannot hold {most}", hint="get the file again")
        decoder = open_decoder(name)
        try:
            pieces, left, fed = [], most + 1, data
            while left and not decoder.eof:
                piece = decoder.decompress(fed, left)
                if not piece and decoder.needs_input:
                    break
                pieces.append(piece)
                left, fed = left - len(piece), b""
        except (OSError, EOFError, ValueError) as error:
            raise DamagedError(f"damaged {name} data: {str(error)[:60]}") from None
        except Exception as error:  # each library has errors of its own
            if isinstance(error, (MissingExtraError, MemoryError)):
                raise
            raise DamagedError(f"damaged {name} data: {str(error)[:60]}") from None
        if left and not decoder.eof:
            raise TruncatedError(f"{name} data end too early", hint="get the file again")
        return b"".join(pieces)

    return decode


def _numcodecs(name: str) -> Any:
    """Return a module of numcodecs; its name is ours."""
    from importlib import import_module

    try:
        return import_module(f"numcodecs.{name}")
    except ImportError:
        raise MissingExtraError(
            f"chunks compressed with {name} need numcodecs", hint="pip install 'medimg-cli[zarr]'"
        ) from None


def _checked(name: str, data: bytes, stated: int, most: int, exact: bool) -> bytes:
    """Decode with a module of numcodecs what states its own size."""
    if stated > most or (exact and stated != most):
        kind = TruncatedError if stated < most else FormatError
        raise kind(f"{name} data of {stated} bytes, {most} expected")
    module = _numcodecs(name)
    try:
        found = module.decompress(data)
    except Exception as error:
        raise DamagedError(f"damaged {name} data: {str(error)[:60]}") from None
    return bytes(found)


def _blosc(data: bytes, most: int, exact: bool) -> bytes:
    """Decode Blosc 1; its header of 16 bytes states both sizes (c-blosc, README_CHUNK_FORMAT)."""
    if len(data) < 16:
        raise TruncatedError("Blosc data end within their header", hint="get the file again")
    stated, block, packed = (int.from_bytes(data[at : at + 4], "little") for at in (4, 8, 12))
    if packed > len(data):
        raise TruncatedError(f"{len(data)} bytes of Blosc data, {packed} stated", hint="get the file again")
    if packed < 16 or block > max(stated, 1 << 20) or data[0] not in (1, 2):
        raise DamagedError("damaged Blosc data: the header makes no sense")
    return _checked("blosc", data[:packed], stated, most, exact)


def _lz4(data: bytes, most: int, exact: bool) -> bytes:
    """Decode LZ4 as numcodecs writes it: the size, then one block."""
    if len(data) < 4:
        raise TruncatedError("LZ4 data end within their header", hint="get the file again")
    return _checked("lz4", data, int.from_bytes(data[:4], "little"), most, exact)


def _zstd(data: bytes, most: int, exact: bool) -> bytes:
    """Decode Zstandard; frames that do not state their size (RFC 8878, 3.1.1.1) by the bounded decoder."""
    stated = _zstd_size(data)
    if stated is None:
        return _inflated("zstd")(data, most, exact)
    return _checked("zstd", data, stated, most, exact)


def _zstd_size(data: bytes) -> int | None:
    """Return the content size that a single frame states.

    >>> _zstd_size(bytes.fromhex("28b52ffd 20 05")), _zstd_size(bytes.fromhex("28b52ffd 00 58"))
    (5, None)
    """
    if data[:4] != CODECS["zstd"].magic or len(data) < 6:
        return None
    flag, single, dictionary = data[4] >> 6, data[4] >> 5 & 1, (0, 1, 2, 4)[data[4] & 3]
    width = (single, 2, 4, 8)[flag]
    at = 5 + (1 - single) + dictionary
    return int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0) if width else None


def _crc32c(data: bytes, most: int, exact: bool) -> bytes:
    content, stated = data[:-4], int.from_bytes(data[-4:], "little")
    if len(data) < 4 or crc32c(content) != stated:
        raise DamagedError("the checksum (CRC32C) is another one")
    return content


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720, appendix B.4.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    try:
        from google_crc32c import value  # what zarr itself uses
    except ImportError:
        return _slow_crc32c(data)
    return int(value(data))


def _slow_crc32c(data: bytes) -> int:
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    total = 0xFFFFFFFF
    for byte in data:
        total = total >> 8 ^ table[(total ^ byte) & 255]
    return total ^ 0xFFFFFFFF


_ALLOWED: dict[str, Callable[[bytes, int, bool], bytes]] = {
    "blosc": _blosc,
    "zstd": _zstd,
    "gzip": _inflated("gzip"),
    "zlib": _inflated("zlib"),
    "bz2": _inflated("bzip2"),
    "lz4": _lz4,
    "crc32c": _crc32c,
}
"""Name of a codec -> decoder (data, most bytes, whether exactly that many)."""


def shard_index(data: bytes, sharding: Sharding, shards: Sequence[int]) -> list[tuple[int, int] | None]:
    """Return offset and size of every inner chunk of a shard, None where it is not there.

    Parameters
    ----------
    data : bytes
        The index as stored.
    sharding : Sharding
    shards : sequence of int
        Shape of the shard.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    count = inner_count(sharding, shards)
    content = _crc32c(data, 0, False) if sharding.checked else data
    if len(content) != 16 * count:
        raise TruncatedError("the index of a shard is cut off", hint="get the file again")
    order = "big" if sharding.byte_order == "big" else "little"
    numbers = [int.from_bytes(content[at : at + 8], order) for at in range(0, len(content), 8)]  # type: ignore[arg-type]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    return [None if offset == size == _ABSENT else (offset, size) for offset, size in pairs]


def inner_count(sharding: Sharding, shards: Sequence[int]) -> int:
    """Return the number of inner chunks of a shard."""
    return prod(whole // part for whole, part in zip(shards, sharding.chunks, strict=True))

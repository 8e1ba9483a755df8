"""Compressed and encoded byte streams, one row each.

Decoders have one interface, that of :class:`bz2.BZ2Decompressor`: ``decompress(data, max_length) -> bytes``,
``needs_input``, ``eof``, ``unused_data``. All of them are bounded by ``max_length``, so that no input inflates
further than somebody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from medimg_cli.dtypes import ITEMSIZE, is_float
from medimg_cli.errors import DamagedError, MissingExtraError, UnsupportedError

__all__ = ["CODECS", "Codec", "Decoder", "codec_of_magic", "open_decoder", "pack_bits"]


class Decoder(Protocol):
    """An incremental decoder of one stream."""

    needs_input: bool
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Codec(NamedTuple):
    """One way of encoding bytes.

    ``max_ratio`` is the largest number of decoded bytes that one encoded byte can stand for: a file that would need
    more is refused before anything is decoded. ``members`` tells whether several streams may follow one another,
    ``framed`` whether a stream marks its own end.
    """

    name: str
    suffix: str
    magic: bytes
    max_ratio: float
    members: bool
    framed: bool
    decoder: Callable[[], Any]


def _igzip(flag_name: str, wbits: int) -> Any:
    try:
        from isal import igzip_lib
    except ImportError:  # a platform without ISA-L
        return _ZlibDecoder(wbits)
    return igzip_lib.IgzipDecompressor(flag=getattr(igzip_lib, flag_name))


def _bzip2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Any:
    import lzma

    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _zstd() -> Any:
    return zstd_module().ZstdDecompressor()


def zstd_module() -> Any:
    """Return the module of Zstandard: Python's own from 3.14, its backport before.

    Raises
    ------
    MissingExtraError
        If the backport is not installed.
    """
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError:
            raise MissingExtraError("Zstandard is not installed", hint="pip install 'medimg-cli[zst]'") from None
    return zstd


#: Memory that a dictionary of xz may take; the largest preset of its tools needs 65 MiB.
_XZ_MEMORY = 1 << 27
#: An xz chunk of at least 6 bytes stands for at most 2 MiB (LZMA2).
#: Deflate spends at least one bit on 129 bytes (RFC 1951: a match is at most 258 bytes long, two codes of one bit).
#: A bzip2 block of 900 kB may stand for 255/5 times as much and takes at least 32 bytes. A zstd block of 4 bytes may
#: stand for 128 KiB (RFC 8878, RLE_Block).
CODECS: dict[str, Codec] = {
    row.name: row
    for row in (
        Codec("gzip", ".gz", b"\x1f\x8b", 1032.0, True, True, lambda: _igzip("DECOMP_GZIP", 31)),
        Codec("zlib", "", b"", 1032.0, False, True, lambda: _igzip("DECOMP_ZLIB", 15)),
        Codec("deflate", "", b"", 1032.0, False, True, lambda: _igzip("DECOMP_DEFLATE", -15)),
        Codec("bzip2", ".bz2", b"BZh", 1.5e6, True, True, _bzip2),
        Codec("xz", ".xz", b"\xfd7zXZ\0", 3.5e5, True, True, _xz),
        Codec("zstd", ".zst", b"\x28\xb5\x2f\xfd", 45_000.0, True, True, _zstd),
        Codec("hex", "", b"", 0.5, False, False, lambda: _HexDecoder()),
        Codec("bits", "", b"", 8.0, False, False, lambda: _BitDecoder()),
    )
}


def open_decoder(name: str) -> Decoder:
    """Return a new decoder.

    Parameters
    ----------
    name : str
        A key of ``CODECS``, or "ascii:DTYPE" for numbers as text.

    Raises
    ------
    UnsupportedError
        If there is no such codec.
    """
    if name.startswith("ascii:"):
        return _TextDecoder(name[6:])
    row = CODECS.get(name)
    if row is None:
        raise UnsupportedError(f"encoding '{name}' is unknown")
    decoder: Decoder = row.decoder()
    return decoder


def max_ratio(name: str) -> float:
    """Return how many decoded bytes one encoded byte can stand for.

    >>> max_ratio("ascii:float64")
    4.0
    """
    if name.startswith("ascii:"):
        return ITEMSIZE[name[6:]] / 2
    return CODECS[name].max_ratio


def codec_of_magic(head: bytes) -> str | None:
    """Return the compression that the first bytes of a file tell, or None.

    >>> codec_of_magic(bytes([0x1F, 0x8B, 8, 0]))
    'gzip'
    """
    for row in CODECS.values():
        if row.magic and head.startswith(row.magic):
            return row.name
    return None


class _ZlibDecoder:
    """zlib behind the interface of :class:`bz2.BZ2Decompressor`."""

    def __init__(self, wbits: int) -> None:
        import zlib

        self._stream = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._stream.decompress(self._stream.unconsumed_tail + data, max(max_length, 0))
        self.needs_input = not self._stream.unconsumed_tail and len(out) != max_length
        return out


class _Pieces:
    """Base of decoders that turn each piece of input into a bounded piece of output."""

    eof = False
    needs_input = True
    unused_data = b""

    def __init__(self) -> None:
        self._rest = b""
        self._ready = b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        ready = self._ready + self._decode(data) if data or not self._ready else self._ready
        if max_length < 0:
            max_length = len(ready)
        self._ready = ready[max_length:]
        self.needs_input = not self._ready
        return ready[:max_length]

    def _decode(self, data: bytes) -> bytes:
        raise NotImplementedError

    def flush(self) -> bytes:
        """Return what the end of the input completes."""
        return b""


class _HexDecoder(_Pieces):
    """Two hexadecimal digits a byte, white space between them ignored (NRRD, encoding "hex")."""

    def _decode(self, data: bytes) -> bytes:
        digits = self._rest + b"".join(data.split())
        even = len(digits) & ~1
        self._rest = digits[even:]
        try:
            return bytes.fromhex(digits[:even].decode("ascii"))
        except ValueError:
            raise DamagedError("hexadecimal data hold something else than digits") from None


class _TextDecoder(_Pieces):
    """Numbers as text, separated by white space or commas (NRRD, encoding "ascii"; MetaImage, BinaryData = False)."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        import array

        codes = {"float32": "f", "float64": "d"}
        for code in "bBhHiIqQ":
            name = ("int" if code.islower() else "uint") + str(8 * array.array(code).itemsize)
            codes.setdefault(name, code)
        if dtype not in codes:
            raise UnsupportedError(f"numbers of type {dtype} as text are not supported")
        self._code, self._array = codes[dtype], array.array
        self._number: Callable[[bytes], Any] = float if is_float(dtype) else int

    def _decode(self, data: bytes) -> bytes:
        text = self._rest + data.replace(b",", b" ")
        cut = max(text.rfind(b" "), text.rfind(b"\n"), text.rfind(b"\t"), text.rfind(b"\r")) + 1
        self._rest = text[cut:]
        if len(self._rest) > 400:
            raise DamagedError("text data hold a word of more than 400 characters where a number belongs")
        return self._numbers(text[:cut])

    def _numbers(self, text: bytes) -> bytes:
        try:
            return self._array(self._code, [self._number(word) for word in text.split()]).tobytes()
        except (ValueError, OverflowError):
            raise DamagedError("text data hold something that is no number of the declared type") from None

    def flush(self) -> bytes:
        rest, self._rest = self._rest, b""
        return self._numbers(rest)


class _BitDecoder(_Pieces):
    """Eight voxels a byte, most significant bit first (MRtrix, datatype Bit), to one byte a voxel."""

    def __init__(self) -> None:
        super().__init__()
        self._planes = [bytes(value >> bit & 1 for value in range(256)) for bit in range(7, -1, -1)]

    def _decode(self, data: bytes) -> bytes:
        out = bytearray(8 * len(data))
        for position, plane in enumerate(self._planes):
            out[position::8] = data.translate(plane)
        return bytes(out)


def pack_bits(blocks: Iterable[Any]) -> Iterator[bytes]:
    """Yield eight values in each byte, the first in the highest bit; the last byte is filled with zeros.

    >>> b"".join(pack_bits([b"\\1\\0\\1", b"\\1" * 7])).hex()
    'bfc0'
    """
    import numpy as np

    carry = np.empty(0, np.uint8)
    for block in blocks:
        values = np.concatenate([carry, np.frombuffer(memoryview(block).cast("B"), np.uint8)])
        whole = len(values) & ~7
        carry = values[whole:]
        if whole:
            yield np.packbits(values[:whole]).tobytes()
    if len(carry):
        yield np.packbits(carry).tobytes()

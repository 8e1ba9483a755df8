"""Decoders: each against a straightforward reference, in any chunking, and never further than somebody reads."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.errors import FormatError, MissingExtraError, UnsupportedError
from medimg_cli.storage.codecs import (
    CODECS,
    _ZlibDecoder,
    codec_of_magic,
    max_ratio,
    open_decoder,
    zstd_module,
)

TEXT_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def encode(codec: str, data: bytes, level: int = 9) -> bytes:
    """Compress with the reference implementation of a codec."""
    if codec == "gzip":
        return gzip.compress(data, level)
    if codec == "zlib":
        return zlib.compress(data, level)
    if codec == "deflate":
        return zlib.compress(data, level)[2:-4]
    if codec == "bzip2":
        return bz2.compress(data, level)
    if codec == "xz":
        return lzma.compress(data, preset=level)
    packed: bytes = zstd().compress(data, level)
    return packed


def zstd() -> Any:
    try:
        return zstd_module()
    except MissingExtraError as error:
        pytest.skip(f"extra [zst] is not installed: {error}")


STREAMS = [row.name for row in CODECS.values() if row.framed]


def payload(size: int, seed: int = 0) -> bytes:
    """Return bytes that compress a little: runs, noise and text."""
    chance = random.Random(seed)
    parts: list[bytes] = []
    while sum(map(len, parts)) < size:
        parts.append(chance.choice((bytes(chance.randrange(400)), chance.randbytes(200), b"medimg " * 30)))
    return b"".join(parts)[:size]


def decoded(decoder: Any, data: bytes, pieces: int, most: int) -> bytes:
    """Push data through a decoder in pieces, taking at most ``most`` bytes at a time."""
    out = []
    at = 0
    while not decoder.eof:
        piece = b""
        if decoder.needs_input:
            if at >= len(data):
                break
            piece, at = data[at : at + pieces], at + pieces
        got = decoder.decompress(piece, most)
        assert len(got) <= most
        out.append(got)
    flush = getattr(decoder, "flush", None)
    return b"".join(out) + (flush() if flush else b"")


@pytest.mark.parametrize("codec", STREAMS)
@pytest.mark.parametrize(("pieces", "most"), [(1, 1000), (7, 3), (100_000, 1), (64, 64), (100_000, 100_000)])
def test_streams_decode_in_any_chunking(codec: str, pieces: int, most: int) -> None:
    data = payload(3000)
    packed = encode(codec, data)
    assert decoded(open_decoder(codec), packed, pieces, most) == data


@pytest.mark.parametrize("codec", STREAMS)
def test_streams_end_where_they_say(codec: str) -> None:
    """What follows the end mark is handed back, all of it."""
    data = payload(2000)
    packed = encode(codec, data)
    decoder = open_decoder(codec)
    out = decoder.decompress(packed + b"what follows", 1 << 20)
    while not decoder.eof:
        out += decoder.decompress(b"", 1 << 20)
    assert (out, decoder.unused_data) == (data, b"what follows")


@pytest.mark.parametrize("codec", STREAMS)
def test_output_is_bounded(codec: str) -> None:
    """One call never gives more than asked for, however well the data are compressed."""
    packed = encode(codec, bytes(10_000_000))
    decoder = open_decoder(codec)
    total = decoder.decompress(packed, 4096)
    for _ in range(5):
        piece = decoder.decompress(b"", 4096)
        assert len(piece) <= 4096
        total += piece
    assert total == bytes(len(total))
    assert len(total) > 4096


@pytest.mark.parametrize("codec", STREAMS)
def test_no_encoder_beats_the_stated_ratio(codec: str) -> None:
    """The ratio that bombs are measured by is above what the best encoder does to zeros."""
    size = 60_000_000
    packed = encode(codec, bytes(size))
    assert size <= len(packed) * max_ratio(codec)


@pytest.mark.parametrize("codec", [row.name for row in CODECS.values() if row.magic])
def test_magic_tells_the_codec(codec: str) -> None:
    assert codec_of_magic(encode(codec, b"voxels")) == codec
    assert codec_of_magic(CODECS[codec].magic[:-1]) is None


def test_plain_bytes_have_no_codec() -> None:
    assert codec_of_magic(b"") is None
    assert codec_of_magic(b"\x5c\x01\0\0") is None


@pytest.mark.parametrize("name", ["lzma", "", "ascii:float16", "ascii:complex64", "ascii:nonsense"])
def test_unknown_encodings_are_named(name: str) -> None:
    with pytest.raises(UnsupportedError, match="not supported|unknown"):
        open_decoder(name)


@pytest.mark.parametrize("wbits", [15, 31])
def test_zlib_stands_in_for_isal(wbits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ISA-L, zlib decodes behind the same interface."""
    codec = "gzip" if wbits == 31 else "zlib"
    data = payload(5000)
    packed = encode(codec, data)
    for pieces, most in ((1, 50), (100_000, 11), (33, 100_000)):
        assert decoded(_ZlibDecoder(wbits), packed, pieces, most) == data
    monkeypatch.setitem(sys.modules, "isal", None)
    decoder = open_decoder(codec)
    assert isinstance(decoder, _ZlibDecoder)
    assert decoded(decoder, packed + b"rest", 100_000, 1 << 20) == data
    assert decoder.unused_data == b"rest"


def test_zstd_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("compression", "compression.zstd", "backports.zstd", "backports"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[zst\]"):
        open_decoder("zstd")


# hex


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60), gaps=st.lists(st.sampled_from(["", " ", "\n", "\r\n", "\t"]), min_size=1, max_size=9),
       pieces=st.integers(1, 40), most=st.integers(1, 40))  # fmt: skip
def test_hex_is_bytes_fromhex(data: bytes, gaps: list[str], pieces: int, most: int) -> None:
    """White space may stand anywhere, between the digits of one byte, too."""
    text = "".join(digit + gaps[n % len(gaps)] for n, digit in enumerate(data.hex()))
    assert decoded(open_decoder("hex"), text.encode(), pieces, most) == data
    assert decoded(open_decoder("hex"), text.upper().encode(), pieces, most) == data


@pytest.mark.parametrize("text", [b"0g", b"00-1", b"\xff\xff", b"0x12"])
def test_hex_refuses_what_is_no_digit(text: bytes) -> None:
    with pytest.raises(FormatError, match="hexadecimal"):
        decoded(open_decoder("hex"), text, 100, 100)


# numbers as text


def _numbers(dtype: str) -> st.SearchStrategy[Any]:
    if dtype.startswith("float"):
        return st.floats(width=int(dtype[5:]), allow_nan=False)  # type: ignore[arg-type]
    return st.integers(int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


@pytest.mark.parametrize("dtype", TEXT_DTYPES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_text_is_what_numpy_makes_of_it(dtype: str, data: st.DataObject) -> None:
    numbers = data.draw(st.lists(_numbers(dtype), max_size=20))
    separator = data.draw(st.sampled_from([" ", "\n", ", ", "\r\n", "\t \n"]))
    end = data.draw(st.sampled_from(["", "\n"]))
    text = (separator.join(map(repr, numbers)) + end).encode()
    expected = np.array([type(each)(repr(each)) for each in numbers], dtype).tobytes()  # text has one NaN
    pieces, most = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50))
    assert decoded(open_decoder(f"ascii:{dtype}"), text, pieces, most) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_text_holds_nan_and_infinities(dtype: str) -> None:
    found = np.frombuffer(decoded(open_decoder(f"ascii:{dtype}"), b"nan NaN inf -Infinity -0.0", 4, 5), dtype)
    np.testing.assert_array_equal(found, np.array([np.nan, np.nan, np.inf, -np.inf, -0.0], dtype))
    assert np.signbit(found[-1])


@pytest.mark.parametrize(
    ("dtype", "text"),
    [("uint8", b"256"), ("uint8", b"-1"), ("int16", b"1.5"), ("int32", b"one"), ("float32", b"1,2 x"), ("int64", b"9" * 20),
     ("uint16", b"nan"), ("float64", b"\xff"), ("int8", b"1" * 5000)],
)  # fmt: skip
def test_text_refuses_what_is_no_number_of_the_type(dtype: str, text: bytes) -> None:
    with pytest.raises(FormatError, match="text data"):
        decoded(open_decoder(f"ascii:{dtype}"), text, 64, 100)


def test_text_without_white_space_is_not_collected_for_ever() -> None:
    decoder: Any = open_decoder("ascii:uint8")
    with pytest.raises(FormatError, match="400"):
        for _ in range(10):
            decoder.decompress(b"1" * 100, 100)


# bits


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=40), pieces=st.integers(1, 20), most=st.integers(1, 90))
def test_bits_are_numpy_s_unpackbits(data: bytes, pieces: int, most: int) -> None:
    expected = np.unpackbits(np.frombuffer(data, np.uint8)).tobytes()
    assert decoded(open_decoder("bits"), data, pieces, most) == expected

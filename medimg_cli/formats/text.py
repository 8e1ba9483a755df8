"""What formats with text in their headers share: bytes to text and back, numbers, and what text cannot say."""

from __future__ import annotations

from medimg_cli.errors import UnsupportedError
from medimg_cli.header import Header

__all__ = ["clipped", "decoded", "is_plane", "number_text", "storable"]

#: dtypes that text formats lack -> the narrowest that holds all their values.
_WIDER = {"bool": "uint8", "float16": "float32"}


def decoded(raw: bytes) -> str:
    """Decode text of unknown encoding: UTF-8, else Latin-1, which every byte is.

    >>> decoded(b"m\\xc3\\xbcde"), decoded(b"m\\xfcde")
    ('müde', 'müde')
    """
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def clipped(text: str, most: int) -> str:
    """Return text of at most ``most`` bytes of UTF-8, cut between characters.

    >>> clipped("müde", 2)
    'm'
    """
    return text.encode()[:most].decode(errors="ignore")


def number_text(value: float) -> str:
    """Write a number with all digits.

    >>> number_text(2.0), number_text(1e-7), number_text(0.1)
    ('2', '1e-07', '0.1')
    """
    return repr(value + 0.0).removesuffix(".0")


def is_plane(header: Header) -> bool:
    """Tell whether an image of two dimensions needs no third to say where it lies: ITK reads it at 0, along S."""
    (_, _, c, _), (_, _, f, _), (g, h, i, z), _ = header.affine.to_lps().rows
    return header.ndim < 3 and header.shape[3] == 1 and (c, f, g, h, i, z) == (0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def storable(header: Header, title: str) -> Header:
    """Return a header whose type has a name in text formats: scaled values as floats, bool and float16 widened.

    Parameters
    ----------
    header : Header
    title : str
        Name of the format.

    Raises
    ------
    UnsupportedError
        If the values are float128 or complex256, for which no wider type is left.
    """
    dtype = header.value_dtype
    if dtype in ("float128", "complex256"):
        raise UnsupportedError(f"{title} has no type for {dtype}", hint="ask for float64 or complex128")
    return header.replace(dtype=_WIDER.get(dtype, dtype), slope=None, inter=None)

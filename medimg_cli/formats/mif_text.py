"""The text of an MRtrix header: lines of ``key: value``, to entries and back.

A key may be repeated, its lines belong together. ``#`` starts a comment, white space around keys and values
means nothing, and an empty value is no entry (MRtrix 3.0, ``key_value.cpp``): what would not survive that is
not written as an entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError
from medimg_cli.formats.text import decoded
from medimg_cli.storage.source import ByteSource

__all__ = [
    "FACTS_KEY",
    "Entries",
    "numbers",
    "read_entries",
    "to_text",
    "typed",
    "value_lines",
    "whole_numbers",
]

#: Key -> its lines, in the order of the file.
Entries = dict[str, tuple[str, ...]]

MAGIC = b"mrtrix image"
#: Keys whose case does not matter, and that say something about the array.
ARRAY_KEYS = ("dim", "vox", "layout", "datatype", "transform", "scaling", "file")
#: The key that carries, as JSON, what no other key says.
FACTS_KEY = "medimg_header"
RESERVED = frozenset({*ARRAY_KEYS, "dw_scheme", FACTS_KEY, "end"})
_MOST_TEXT = 1 << 24
_END = re.compile(rb"\n[ \t]*END[ \t\r]*(?:#[^\n]*)?\n")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f]")


def read_entries(source: ByteSource) -> tuple[Entries, int | None]:
    """Read the text in front of the voxels.

    Returns
    -------
    entries : dict
    end : int or None
        Offset of the first byte behind the END line; None where there is no such line.

    Raises
    ------
    FormatError
        If this is no MRtrix image, or its text does not end within 16 MiB.
    """
    size = 1 << 12
    head = source.head(size)
    if not head.startswith(MAGIC):
        cut = MAGIC.startswith(head)
        raise (TruncatedError if cut else UnknownFormatError)("does not begin with 'mrtrix image'", path=source.name)
    while True:
        found = _END.search(head if len(head) == size else head + b"\n")
        if found or len(head) < size:
            break
        if size >= _MOST_TEXT:
            raise FormatError(f"its header has no END within {_MOST_TEXT >> 20} MiB", path=source.name)
        size *= 8
        head = source.head(size)
    text = head[: found.start()] if found else head
    entries: dict[str, list[str]] = {}
    for line in decoded(text).split("\n")[1:]:
        key, colon, value = line.partition("#")[0].partition(":")
        key, value = key.strip(), value.strip()
        if not colon or not key or not value:
            continue
        entries.setdefault(key.lower() if key.lower() in ARRAY_KEYS else key, []).append(value)
    return {key: tuple(lines) for key, lines in entries.items()}, found.end() if found else None


def to_text(entries: Mapping[str, tuple[str, ...]]) -> str:
    """Return the lines of entries, without magic, ``file`` and END."""
    return "".join(f"{key}: {line}\n" for key, lines in entries.items() for line in lines)


def numbers(text: str, key: str, name: str) -> list[float]:
    """Return the numbers of a value, separated by commas or white space.

    Raises
    ------
    FormatError
        If there is something else.
    """
    try:
        if "_" in text:  # Python would read 1_0 as 10
            raise ValueError
        return [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        raise FormatError(f"{key} holds something that is no number: {text[:60]!r}", path=name) from None


def whole_numbers(text: str, key: str, name: str) -> list[int]:
    """Return the whole numbers of a value, separated by commas.

    Raises
    ------
    FormatError
        If there is something else, or a number of more than 18 digits.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in words):
        raise FormatError(f"{key} is {text[:60]!r}, expected whole numbers", path=name)
    return [int(word) for word in words]


def value_lines(key: str, value: Any) -> tuple[str, ...] | None:
    """Return the lines that say a key-value, None where lines cannot.

    >>> value_lines("EchoTime", 0.03), value_lines("comments", ["a", "b"]), value_lines("a:b", 1)
    (('0.03',), ('a', 'b'), None)
    """
    if key.lower() in RESERVED or key != key.strip() or not key or re.search("[:#\x00-\x1f\x7f]", key):
        return None
    lines: list[str] = []
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, str):
            lines += each.split("\n")
        elif isinstance(each, bool):
            lines.append(str(each).lower())
        elif isinstance(each, (int, float)):
            lines.append(repr(each))
        else:
            return None
    lines = [line.strip() for line in lines]
    if not lines or not all(lines) or any("#" in line or _CONTROL.search(line) for line in lines):
        return None
    if any("\ud800" <= letter <= "\udfff" for letter in key + "".join(lines)):
        return None
    return tuple(lines)


def typed(entries: Mapping[str, tuple[str, ...]], typed_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key-values of a file: text, or the typed value where the text still says the same.

    Parameters
    ----------
    entries : dict
        Of the whole file.
    typed_values : dict
        What the writer stored as JSON, because text alone would not come back the same.
    """
    found: dict[str, Any] = {}
    for key, lines in entries.items():
        if key.lower() in RESERVED:
            continue
        if key in typed_values and value_lines(key, typed_values[key]) == lines:
            found[key] = typed_values[key]
        else:
            found[key] = lines[0] if len(lines) == 1 else list(lines)
    for key, value in typed_values.items():
        if key not in found and value_lines(key, value) is None:
            found[key] = value
    return found

"""The text of a NRRD header: lines, fields, numbers, vectors, quoted strings, and the words that fields may hold.

Everything here follows the "Definition of NRRD File Format" (teem.sourceforge.net/nrrd/format.html) and, where it is
silent, teem's own reader. Words are compared without regard to case, as teem does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from medimg_cli.errors import FormatError, UnknownFormatError, UnsupportedError
from medimg_cli.formats.text import decoded, number_text

__all__ = [
    "DTYPES",
    "FIELDS",
    "KINDS",
    "SPACES",
    "TYPES",
    "Line",
    "Parsed",
    "Space",
    "classify",
    "escape",
    "integer",
    "parse",
    "quoted",
    "reals",
    "role_of",
    "space_of",
    "vectors",
]

#: Every spelling of every type (section 5, "type:") -> dtype.
TYPES: dict[str, str] = {
    spelling: dtype
    for dtype, spellings in {
        "int8": "signed char,int8,int8_t",
        "uint8": "uchar,unsigned char,uint8,uint8_t",
        "int16": "short,short int,signed short,signed short int,int16,int16_t",
        "uint16": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
        "int32": "int,signed int,int32,int32_t",
        "uint32": "uint,unsigned int,uint32,uint32_t",
        "int64": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
        "uint64": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
        "float32": "float",
        "float64": "double",
    }.items()
    for spelling in spellings.split(",")
}
#: dtype -> how it is written.
DTYPES: dict[str, str] = {
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long int",
    "uint64": "unsigned long long int",
    "float32": "float",
    "float64": "double",
}
#: Encodings -> the codec of storage that decodes them; "raw" needs none, "ascii" the type of the numbers.
ENCODINGS: dict[str, str] = {
    "raw": "raw", "txt": "ascii", "text": "ascii", "ascii": "ascii", "hex": "hex", "gz": "gzip", "gzip": "gzip",
    "bz2": "bzip2", "bzip2": "bzip2",
}  # fmt: skip

_NAMES = (
    "content", "number", "type", "block size", "dimension", "space", "space dimension", "sizes", "spacings",
    "thicknesses", "axis mins", "axis maxs", "space directions", "centers", "kinds", "labels", "units", "min", "max",
    "old min", "old max", "endian", "encoding", "line skip", "byte skip", "sample units", "space units",
    "space origin", "measurement frame", "data file",
)  # fmt: skip
#: Fields, with and without the blank in their name -> their name.
FIELDS: dict[str, str] = {name.replace(" ", ""): name for name in _NAMES} | {"centerings": "centers"}


class Space(NamedTuple):
    """What a name of a space says: the letters its axes grow towards, None where it names no anatomy; its dimension."""

    letters: str | None
    dimension: int


_PATIENT = {"rightanteriorsuperior": "RAS", "leftanteriorsuperior": "LAS", "leftposteriorsuperior": "LPS"}
#: Names of spaces without blanks and hyphens (section 4, "space:").
SPACES: dict[str, Space] = {
    **{name: Space(letters, 3) for name, letters in _PATIENT.items()},
    **{letters.lower(): Space(letters, 3) for letters in _PATIENT.values()},
    **{name + "time": Space(letters, 4) for name, letters in _PATIENT.items()},
    **{letters.lower() + "t": Space(letters, 4) for letters in _PATIENT.values()},
    **{name: Space(None, 3) for name in ("scannerxyz", "3drighthanded", "3dlefthanded")},
    **{name + "time": Space(None, 4) for name in ("scannerxyz", "3drighthanded", "3dlefthanded")},
    "scannerxyzt": Space(None, 4),
    "rightup": Space(None, 2),
    "rightdown": Space(None, 2),
}
_SHEETS = ("2d", "3d")
_VECTOR = re.compile(r"\s*(?:\(([^()]*)\)|([^\s()]+))")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')
_MOST_QUOTED = 8192  # characters of all quoted strings of a field
#: Kinds of axes (section 6, "kinds:") -> what such an axis is to us.
KINDS: dict[str, str] = {
    **dict.fromkeys(("domain", "space"), "space"),
    "time": "time",
    **dict.fromkeys(("list", "stub", "scalar"), "channel"),
    **dict.fromkeys(("rgb-color", "rgbcolor", "rgb", "3-color"), "rgb"),
    **dict.fromkeys(("rgba-color", "rgbacolor", "rgba", "4-color"), "rgb"),
    "complex": "complex",
    **dict.fromkeys(
        (
            "point", "vector", "contravariant-vector", "covariant-vector", "normal", "2-vector", "3-vector",
            "3-gradient", "3-normal", "4-vector", "quaternion", "hsv-color", "hsvcolor", "hsv", "xyz-color",
        ),
        "vector",
    ),
    **{
        f"{sheet}-{masked}{form}{word}": "vector"
        for sheet in _SHEETS
        for masked in ("", "masked-")
        for form in ("", "symmetric-", "sym-")
        for word in ("matrix", "tensor")
    },
}  # fmt: skip


class Line(NamedTuple):
    """One line of a header: "comment", "field" (``name`` as in ``FIELDS``), "unknown" field, or "key"."""

    kind: str
    name: str = ""
    text: str = ""


class Parsed(NamedTuple):
    """A header taken apart.

    Parameters
    ----------
    lines : tuple of bytes
        As they stand in the file, without line ends; the magic is the first.
    fields, unknown, values : dict
        Fields by name, fields that the definition does not know, key-value pairs.
    files : tuple of str
        Names that follow "data file: LIST".
    name : str
        The file, for messages.
    """

    lines: tuple[bytes, ...]
    fields: dict[str, str]
    unknown: dict[str, str]
    values: dict[str, str]
    files: tuple[str, ...]
    name: str

    def error(self, message: str) -> FormatError:
        """Return an error about this header."""
        return FormatError(message, path=self.name)


def classify(line: bytes) -> Line | None:
    """Say what a line is, None where it is nothing that a header may hold.

    A line with ": " is a field where the word before it is one, else a key where it has ":=" (section 1.2).
    """
    text = decoded(line)
    if text.startswith("#"):
        return Line("comment")
    colon, assigned = text.find(": "), text.find(":=")
    if assigned >= 0 and not 0 <= colon < assigned:
        return Line("key", _unescaped(text[:assigned]), _unescaped(text[assigned + 2 :]))
    for separator in (": ", ":"):
        head, found, tail = text.partition(separator)
        name = FIELDS.get("".join(head.split()).lower())
        if found and name and not tail.startswith("="):
            return Line("field", name, tail.strip())
        if separator == ": " and ":=" in text:
            key, _, value = text.partition(":=")
            return Line("key", _unescaped(key), _unescaped(value))
    head, found, tail = text.partition(":")
    if found and 0 < len(head) <= 80 and head.isprintable() and head.isascii() and tail.isprintable():
        return Line("unknown", head.strip(), tail.strip())
    return None


def _unescaped(text: str) -> str:
    """Undo the two escapes of key-value pairs: a line end and a backslash."""
    if "\\" not in text:
        return text
    return re.sub(r"\\([n\\])", lambda found: "\n" if found[1] == "n" else "\\", text)


def escape(text: str) -> str:
    r"""Write a key or a value as a header may hold it.

    >>> escape("a\nb\\c")
    'a\\nb\\\\c'
    """
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def parse(text: bytes, name: str) -> Parsed:
    """Take the text of a header apart, up to and without the blank line.

    Raises
    ------
    UnsupportedError
        If the format is newer than NRRD0005.
    FormatError
        If the magic is missing, a line is neither field nor key, or a field occurs twice.
    """
    lines = tuple(line.removesuffix(b"\r") for line in text.split(b"\n"))
    _check_magic(lines[0], name)
    parsed = Parsed(lines, {}, {}, {}, (), name)
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        found = classify(line)
        if found is None:
            raise parsed.error(f"line {number} of the header is neither a field nor a key: {ascii(line[:40])[1:]}")
        if found.kind == "field":
            if found.name in parsed.fields:
                raise parsed.error(f"field '{found.name}' occurs twice")
            parsed.fields[found.name] = found.text
            if found.name == "data file" and re.match(r"LIST(\s|$)", found.text):
                names = tuple(decoded(each).strip() for each in lines[number:] if each.strip())
                return parsed._replace(lines=lines[:number], files=names)
        elif found.kind == "key":
            parsed.values[found.name] = found.text
        elif found.kind == "unknown":
            parsed.unknown[found.name] = found.text
    while parsed.lines and not parsed.lines[-1]:
        parsed = parsed._replace(lines=parsed.lines[:-1])
    return parsed


def _check_magic(line: bytes, name: str) -> None:
    if re.fullmatch(rb"NRRD(000[1-5]|00\.01)\s*", line):
        return
    if re.fullmatch(rb"NRRD[0-9]{4}\s*", line):
        raise UnsupportedError(f"is {line.decode().strip()}; NRRD0001 to NRRD0005 are known", path=name)
    raise UnknownFormatError("does not start with the magic of NRRD", path=name)


def integer(parsed: Parsed, field: str, text: str) -> int:
    """Read one whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise parsed.error(f"{field}: {text[:40]!r} is not a whole number")
    return int(text)


def real(text: str) -> float | None:
    """Read one number (section 2: also "nan", "inf"), None where the text is none."""
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None


def reals(parsed: Parsed, field: str, count: int) -> list[float] | None:
    """Read one number for each axis, None where the header lacks the field."""
    text = parsed.fields.get(field)
    if text is None:
        return None
    found = [real(word) for word in text.split()]
    if len(found) != count or None in found:
        raise parsed.error(f"{field}: {text[:80]!r} is not {count} numbers")
    return [value for value in found if value is not None]


def vectors(parsed: Parsed, field: str, count: int, dimension: int | None) -> list[tuple[float, ...] | None]:
    """Read vectors in parentheses; "none", or a vector of NaN alone, is None (section 4, "space directions:").

    Raises
    ------
    FormatError
        If there are not ``count`` vectors of ``dimension`` numbers.
    """
    text = parsed.fields[field]
    found: list[tuple[float, ...] | None] = []
    at = 0
    while (token := _VECTOR.match(text, at)) and len(found) <= count:
        at = token.end()
        inside, word = token.groups()
        if inside is None:
            if word.lower() != "none":
                raise parsed.error(f"{field}: {word[:40]!r} is neither a vector nor 'none'")
            found.append(None)
            continue
        numbers = [real(part.strip()) for part in inside.split(",", 16)]
        vector = tuple(value for value in numbers if value is not None)
        if len(vector) != len(numbers) or (dimension is not None and len(vector) != dimension):
            raise parsed.error(f"{field}: ({inside[:60]}) is not a vector of {dimension or 'some'} numbers")
        found.append(None if all(value != value for value in vector) else vector)
    if len(found) != count or text[at:].strip():
        raise parsed.error(f"{field}: {text[:80]!r} is not {count} vectors")
    return found


def quoted(parsed: Parsed, field: str, count: int) -> list[str]:
    """Read quoted strings, one for each axis; empty ones where the field is missing or has another number of them."""
    text = parsed.fields.get(field, "")
    if len(text) > _MOST_QUOTED:
        return [""] * count
    found = [quote.replace('\\"', '"') if quote else word for quote, word in _QUOTED.findall(text)]
    return found if len(found) == count else [""] * count


def words(parsed: Parsed, field: str, count: int) -> list[str]:
    """Read one word for each axis; empty strings where the field is missing, or says "???" or "none"."""
    text = parsed.fields.get(field)
    if text is None:
        return [""] * count
    found = text.split()
    if len(found) != count:
        raise parsed.error(f"{field}: {text[:80]!r} is not {count} words")
    return ["" if word in ("???", "none") else word for word in found]


def role_of(kind: str, size: int) -> str:
    """Return what an axis of a kind and size is: "space", "time", "channel", "vector", "rgb", "complex" or ""."""
    role = KINDS.get(kind.lower(), "")
    if (role == "rgb" and size not in (3, 4)) or (role == "complex" and size != 2):
        return "vector"
    return role


def space_of(parsed: Parsed) -> Space | None:
    """Return the space, None where neither a name that is known nor "space dimension:" says anything."""
    text, dimension = parsed.fields.get("space", ""), parsed.fields.get("space dimension")
    found = SPACES.get(re.sub(r"[\s-]", "", text.lower()))
    if dimension is None:
        return found
    size = integer(parsed, "space dimension", dimension)
    if not 1 <= size <= 8:
        raise parsed.error(f"space dimension is {size}, expected 1 to 8")
    if found is not None and size != found.dimension:
        raise parsed.error(f"space {text!r} has {found.dimension} dimensions, space dimension says {size}")
    return found or Space(None, size)


def vector_text(vector: Sequence[float] | None) -> str:
    """Write a vector with all digits, "none" for None.

    >>> vector_text((1.0, -0.0, 0.1)), vector_text(None)
    ('(1,0,0.1)', 'none')
    """
    return "none" if vector is None else "(" + ",".join(number_text(value) for value in vector) + ")"

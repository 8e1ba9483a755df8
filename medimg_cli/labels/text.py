"""The text files that hold label tables, one row of a table for each kind.

FreeSurfer lookup tables, ITK-SNAP label descriptions, 3D Slicer colour tables, BIDS ``dseg.tsv``, MRtrix lookup tables
and JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from medimg_cli.errors import FormatError, UsageError
from medimg_cli.labels.label import MOST_VALUE, Color, Label, from_rows, hex_color, shown, to_rows

__all__ = ["FORMATS", "SUFFIXES", "SUFFIX_HINT", "once", "sniff", "text_format"]

_RULER = "#" * 48
_ASCII_SPACE = "\t\n\v\f\r "

Row = tuple[int, Label]  # a label and the line that it stands in


def _whole(text: str, what: str, line: int, most: int = MOST_VALUE) -> int:
    if len(text) > 20 or not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise FormatError(f"line {line}: {what} {shown(text)} is not a whole number from 0 to {most}")
    return int(text)


def _share(text: str, what: str, line: int, most: float) -> int:
    """Read a number from 0 to `most`, perhaps with decimals, as 0 to 255."""
    try:
        number = float(text) if len(text) <= 40 and text.isascii() else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise FormatError(f"line {line}: {what} {shown(text)} is not a number from 0 to {most:g}")
    return round(number * 255 / most)


def _default_color(value: int) -> Color:
    """Return a colour for a label that has none: always the same, 0 is transparent."""
    if value == 0:
        return 0, 0, 0, 0
    hue = value * 0.618033988749895 % 1 * 6  # the golden ratio keeps successive hues apart
    places = ((start + hue) % 6 for start in (5, 3, 1))
    red, green, blue = (round(255 * (1 - max(0.0, min(place, 4 - place, 1.0)))) for place in places)
    return red, green, blue, 255


def _rows(text: str) -> Iterator[tuple[int, str]]:
    """Yield line numbers and lines that are neither empty nor comments."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip(_ASCII_SPACE)
        if line and not line.startswith("#"):
            yield number, line


def _words(line: str) -> list[str]:
    """Split at ASCII blanks, as C's ``scanf`` does."""
    return [word.decode() for word in line.encode().split()]


def _quoted_words(line: str) -> list[str]:
    """Split at ASCII blanks, but keep a part in quotation marks whole (MRtrix)."""
    words: list[str] = []
    for position, part in enumerate(line.replace("'", '"').split('"')):
        words += [part] if position % 2 else _words(part)
    return words


def _replaced(text: str, bad: str, by: str) -> str:
    return text.translate(dict.fromkeys(map(ord, bad), by)) if text else text


def _word_name(label: Label, bad: str = _ASCII_SPACE) -> str:
    """Return the name as one word that a line of columns can hold."""
    return _replaced(label.name, bad + "\0", "_") or f"label-{label.value}"


def once(labels: Iterable[Row]) -> Iterator[Label]:
    """Drop repeated rows; rows that contradict each other are an error."""
    seen: dict[int, Label] = {}
    for line, label in labels:
        known = seen.setdefault(label.value, label)
        if known is label:
            yield label
        elif known != label:
            raise FormatError(f"line {line}: label {label.value} occurs again, with another name or color")


def _parse_freesurfer(text: str) -> Iterator[Row]:
    for line, row in _rows(text):
        words = _words(row)
        if len(words) < 6:
            raise FormatError(f"line {line}: {len(words)} columns, expected value, name, R, G, B, A")
        red, green, blue, clear = (_whole(word, "color", line, 255) for word in words[2:6])
        value = _whole(words[0], "label value", line)
        yield line, Label(value, words[1], (red, green, blue, 255 - clear))


def _print_freesurfer(table: Sequence[Label]) -> list[str]:
    lines = ["#No.    Label Name:                                     R   G   B   A"]
    for value, name, color, _ in table:
        red, green, blue, opacity = color or _default_color(value)
        lines.append(f"{value:<7} {name:<46} {red:>3} {green:>3} {blue:>3} {255 - opacity:>3}")
    return lines


def _fit_words(labels: list[Label]) -> list[Label]:
    return [Label(each.value, _word_name(each), each.color or _default_color(each.value)) for each in labels]


def _parse_itksnap(text: str) -> Iterator[Row]:
    for line, row in _rows(text):
        numbers, quote, rest = row.partition('"')
        words = numbers.split(None, 7)
        if len(words) < 7:
            raise FormatError(f"line {line}: {len(words)} columns, expected IDX R G B A VIS MSH LABEL")
        red, green, blue = (_whole(word, "color", line, 255) for word in words[1:4])
        name = rest.partition('"')[0] if quote else "".join(words[7:])
        opacity = _share(words[4], "transparency", line, 1)
        yield line, Label(_whole(words[0], "label value", line), name, (red, green, blue, opacity))


def _print_itksnap(table: Sequence[Label]) -> list[str]:
    lines = [
        _RULER,
        "# ITK-SnAP Label Description File",
        "# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL",
        _RULER,
    ]
    for value, name, color, _ in table:
        red, green, blue, opacity = color or _default_color(value)
        seen = int(value > 0)
        numbers = f"{value:>5} {red:>5} {green:>4} {blue:>4} {opacity / 255:>9.4g} {seen:>2} {seen:>2}"
        lines.append(f'{numbers}    "{name}"')
    return lines


def _fit_itksnap(labels: list[Label]) -> list[Label]:
    names = (_replaced(_replaced(each.name, "\r\n\0", " "), '"', "'") for each in labels)
    return [each._replace(name=name) for each, name in zip(_fit_words(labels), names, strict=True)]


def _parse_slicer(text: str) -> Iterator[Row]:
    for line, row in _rows(text):
        words = _words(row)
        if len(words) not in (5, 6):
            raise FormatError(f"line {line}: {len(words)} columns, expected value, name, R, G, B, A")
        red, green, blue, opacity = (_share(word, "color", line, 255) for word in (*words[2:], "255")[:4])
        yield line, Label(_whole(words[0], "label value", line), words[1], (red, green, blue, opacity))


def _print_slicer(table: Sequence[Label]) -> list[str]:
    lines = ["# Color table file", f"# {len(table)} values"]
    for value, name, color, _ in table:
        lines.append(" ".join(map(str, (value, name, *(color or _default_color(value))))))
    return lines


def _parse_bids(text: str) -> Iterator[Row]:
    lines = enumerate(text.removeprefix("\ufeff").split("\n"), 1)
    rows = [(number, line.removesuffix("\r").split("\t")) for number, line in lines if line.strip(_ASCII_SPACE)]
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    if "index" not in header or "name" not in header:
        raise FormatError("label table has no columns 'index' and 'name' in its first line")

    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise FormatError(f"line {line}: {len(cells)} columns, the first line has {len(header)}")
        row = {key: "" if cell == "n/a" else cell for key, cell in zip(header, cells, strict=True)}
        color = hex_color(row["color"], f"line {line}") if row.get("color") else None
        value = _whole(row["index"].strip(), "index", line)
        yield line, Label(value, row["name"], color, row.get("abbreviation", ""))


def _print_bids(table: Sequence[Label]) -> list[str]:
    columns = ["index", "name"]
    columns += ["abbreviation"] if any(label.abbreviation for label in table) else []
    columns += ["color"] if any(label.color for label in table) else []
    lines = ["\t".join(columns)]
    for value, name, color, abbreviation in table:
        shown = "#{:02x}{:02x}{:02x}".format(*color) if color else ""
        cells = {"index": str(value), "name": name, "abbreviation": abbreviation, "color": shown}
        lines.append("\t".join(cells[column] or "n/a" for column in columns))
    return lines


def _fit_bids(labels: list[Label]) -> list[Label]:
    def cell(text: str) -> str:
        plain = _replaced(text, "\t\r\n\0", " ")
        return "" if plain == "n/a" else plain

    return [
        Label(each.value, cell(each.name), each.color and (*each.color[:3], 255), cell(each.abbreviation))
        for each in labels
    ]


def _parse_mrtrix(text: str) -> Iterator[Row]:
    for line, row in _rows(text):
        words = _quoted_words(row)
        value = _whole(words[0], "label value", line)
        if len(words) == 2:
            yield line, Label(value, words[1])
        elif len(words) == 7:
            red, green, blue, opacity = (_whole(word, "color", line, 255) for word in words[3:])
            short = "" if words[1] == "?" else words[1]
            yield line, Label(value, words[2], (red, green, blue, opacity), short)
        else:
            raise FormatError(f"line {line}: {len(words)} columns, expected 2 (basic) or 7 (default)")


def _print_mrtrix(table: Sequence[Label]) -> list[str]:
    lines = ["# MRtrix lookup table"]
    full = any(label.color or label.abbreviation for label in table)
    for value, name, color, abbreviation in table:
        more = (abbreviation or "?", name, *(color or _default_color(value))) if full else (name,)
        lines.append("\t".join(map(str, (value, *more))))
    return lines


def _fit_mrtrix(labels: list[Label]) -> list[Label]:
    full = any(label.color or label.abbreviation for label in labels)
    bad = _ASCII_SPACE + "\0'\""
    found = []
    for each in labels:
        short = "" if each.abbreviation == "?" else _replaced(each.abbreviation, bad, "_")
        color = (each.color or _default_color(each.value)) if full else None
        found.append(Label(each.value, _word_name(each, bad), color, short))
    return found


def _parse_json(text: str) -> Iterator[Row]:
    import json

    try:
        rows = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"label table is not valid JSON: {shown(str(error))}") from None
    if isinstance(rows, dict) and "labels" in rows:
        rows = rows["labels"]
    return enumerate(from_rows(rows), 1)


def _print_json(table: Sequence[Label]) -> list[str]:
    import json

    rows = ",\n".join(f" {json.dumps(row, ensure_ascii=True)}" for row in to_rows(table))
    return ["[", rows, "]"] if rows else ["[]"]


class _Format(NamedTuple):
    """One text format: what it is called, how large a value may be, how to read, print and foresee it."""

    title: str
    most: int
    parse: Callable[[str], Iterator[Row]]
    print: Callable[[Sequence[Label]], list[str]]
    fit: Callable[[list[Label]], list[Label]]


_TABLE = {
    "freesurfer": _Format("FreeSurfer table", 2**31 - 1, _parse_freesurfer, _print_freesurfer, _fit_words),
    "itksnap": _Format("ITK-SNAP label description", 2**16 - 1, _parse_itksnap, _print_itksnap, _fit_itksnap),
    "slicer": _Format("3D Slicer color table", 2**31 - 1, _parse_slicer, _print_slicer, _fit_words),
    "bids": _Format("BIDS dseg.tsv", MOST_VALUE, _parse_bids, _print_bids, _fit_bids),
    "mrtrix": _Format("MRtrix lookup table", 2**32 - 1, _parse_mrtrix, _print_mrtrix, _fit_mrtrix),
    "json": _Format("JSON list of labels", MOST_VALUE, _parse_json, _print_json, lambda labels: labels),
}
SUFFIXES = {".ctbl": "slicer", ".json": "json", ".label": "itksnap", ".tsv": "bids"}
SUFFIXES |= {".lut": "freesurfer", ".txt": "freesurfer"}
_CHOICES = f"formats are {', '.join(_TABLE)}"
SUFFIX_HINT = f"use {', '.join(SUFFIXES)}; {_CHOICES}"
FORMATS: dict[str, str] = {name: row.title for name, row in _TABLE.items()}
"""Names of the formats, with a title each."""


def text_format(name: str) -> _Format:
    """Return the row of a format; an unknown name is a UsageError."""
    if name not in _TABLE:
        raise UsageError(f"label table format {shown(name)} is unknown", hint=_CHOICES)
    return _TABLE[name]


_SIGNS = (
    ("# color table file", "slicer"),
    ("# itk-snap label description file", "itksnap"),
    ("# mrtrix", "mrtrix"),
    ("#no.", "freesurfer"),
)


def sniff(text: str) -> str:
    """Find the format from the comments at the top, else from the columns of the first row."""
    start = text.removeprefix("\ufeff").lstrip(_ASCII_SPACE)
    if start[:1] in ("[", "{"):
        return "json"
    first = start.partition("\n")[0].rstrip("\r")
    if {"index", "name"} <= {cell.strip().lower() for cell in first.split("\t")}:
        return "bids"
    for line in start.split("\n"):
        plain = line.strip(_ASCII_SPACE).lower()
        if plain and not plain.startswith("#"):
            break
        for sign, name in _SIGNS:
            if plain.startswith(sign):
                return name
    words = _quoted_words(next(_rows(text), (0, ""))[1])
    if len(words) == 2 or (len(words) == 7 and not words[2].isdecimal()):
        return "mrtrix"
    if len(words) >= 8 and all(word.isdecimal() for word in words[1:4]):
        return "itksnap"
    if len(words) >= 6:
        return "freesurfer"
    raise FormatError("not a label table of a known format", hint=_CHOICES)

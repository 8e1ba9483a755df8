"""`LabelTable`: what the numbers of a label map stand for, and the text files that say so.

Read and written are FreeSurfer lookup tables, ITK-SNAP label descriptions, 3D Slicer colour tables, BIDS
``dseg.tsv``, MRtrix lookup tables and JSON. What a format can't hold is known beforehand: `LabelTable.fit`
returns the table that would come back. A name is kept as it was read, control characters included;
`Label.display` is safe to print.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError, StorageError, UnsupportedError, UsageError

__all__ = ["FORMATS", "Color", "Label", "LabelTable"]

Color = tuple[int, int, int, int]

_MOST_BYTES = 16 * 2**20  # of a table file: the largest in use have some 100 kB
_MOST_NAME = 4096  # characters
_MOST_VALUE = 2**64 - 1
_RULER = "#" * 48
_ASCII_SPACE = "\t\n\v\f\r "


class Label(NamedTuple):
    """One row of a `LabelTable`.

    Parameters
    ----------
    value : int
        The number in the voxels, 0 to 2**64 - 1.
    name : str
        What it stands for.
    color : (int, int, int, int), optional
        Red, green, blue and opacity, 0 to 255.
    abbreviation : str
        Short name (BIDS, MRtrix).
    """

    value: int
    name: str = ""
    color: Color | None = None
    abbreviation: str = ""

    @property
    def display(self) -> str:
        r"""The name with everything that a terminal might obey written as an escape.

        Examples
        --------
        >>> Label(1, "red\x1b[31m").display
        'red\\x1b[31m'
        """
        return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in self.name)

    @property
    def hex(self) -> str | None:
        """The colour as CSS writes it, opacity only where it is not full; None where there is none.

        Examples
        --------
        >>> Label(1, color=(221, 130, 101, 255)).hex, Label(2, color=(221, 130, 101, 128)).hex
        ('#dd8265', '#dd826580')
        """
        if self.color is None:
            return None
        return "#" + bytes(self.color[: 3 if self.color[3] == 255 else 4]).hex()


Row = tuple[int, Label]  # a label and the line that it stands in


class LabelTable(Sequence[Label]):
    """An immutable sequence of labels, each value once.

    Parameters
    ----------
    labels : iterable of Label, or of tuples (value, name, color, abbreviation), or mapping of value to name
        Colours may have three numbers; they are opaque then.

    Raises
    ------
    FormatError
        If a value is no integer from 0 to 2**64 - 1 or occurs twice, a name is no text or longer than 4096
        characters, or a colour is not 3 or 4 integers from 0 to 255.

    Examples
    --------
    >>> table = LabelTable([(1, "liver", (221, 130, 101)), (5, "left kidney")])
    >>> table[0]
    Label(value=1, name='liver', color=(221, 130, 101, 255), abbreviation='')
    >>> table.name_of(5), table.get(2), 5 in table
    ('left kidney', None, True)
    """

    __slots__ = ("_by_value", "_labels")

    _labels: tuple[Label, ...]
    _by_value: dict[int, Label]

    def __init__(self, labels: Iterable[Sequence[Any]] | Mapping[int, str] = ()) -> None:
        by_value: dict[int, Label] = {}
        for each in labels.items() if isinstance(labels, Mapping) else labels:
            label = _checked(*each)
            if label.value in by_value:
                raise FormatError(f"label {label.value} occurs twice")
            by_value[label.value] = label
        object.__setattr__(self, "_by_value", by_value)
        object.__setattr__(self, "_labels", tuple(by_value.values()))

    @property
    def values(self) -> tuple[int, ...]:
        """The values in the order of the table."""
        return tuple(self._by_value)

    def get(self, value: int, default: Label | None = None) -> Label | None:
        """Return the label of a value, or `default` where the table has none."""
        return self._by_value.get(value, default)

    def name_of(self, value: int, default: str = "") -> str:
        """Return the name of a value, or `default` where the table has none."""
        label = self._by_value.get(value)
        return default if label is None else label.name

    @classmethod
    def read(cls, path: str | os.PathLike[str], format: str | None = None) -> LabelTable:
        """Read a table from a text file.

        Parameters
        ----------
        path : path-like
            At most 16 MiB, UTF-8.
        format : str, optional
            A key of `FORMATS`; found from the content where omitted.

        Raises
        ------
        StorageError
            If the file can't be read.
        FormatError
            If the content is no label table or breaks its format's rules.
        UsageError
            If `format` is unknown.
        """
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise StorageError(error.strerror or str(error), path=path) from None
        if len(content) > _MOST_BYTES:
            raise FormatError(f"more than {_MOST_BYTES >> 20} MiB, too large for a label table", path=path)
        try:
            return cls.from_text(content.decode("utf-8-sig"), format)
        except UnicodeDecodeError:
            raise FormatError("label table is not UTF-8 text", path=path, hint="save it as UTF-8") from None
        except FormatError as error:
            raise error.at(path) from None

    def write(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the table to a text file; a file of that name is replaced at once or not at all.

        Parameters
        ----------
        path : path-like
            ``.ctbl`` is 3D Slicer, ``.tsv`` BIDS, ``.json`` JSON, ``.label`` ITK-SNAP, ``.txt`` and ``.lut``
            FreeSurfer.
        format : str, optional
            A key of `FORMATS`, to override the suffix.

        Raises
        ------
        UsageError
            If `format` is unknown, or omitted and the suffix says nothing.
        UnsupportedError
            If a value is larger than the format holds.
        StorageError
            If the file can't be written.
        """
        content = self.to_text(format or self.format_of(path)).encode()
        try:
            _replace_file(os.path.realpath(path), content)
        except OSError as error:
            raise StorageError(error.strerror or str(error), path=path) from None

    @staticmethod
    def format_of(path: str | os.PathLike[str]) -> str:
        """Return the key of `FORMATS` that the suffix of a file to be written stands for.

        Raises
        ------
        UsageError
            If it stands for none.
        """
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in _SUFFIXES:
            raise UsageError(f"no label table format has the suffix {suffix!r}", path=path, hint=_SUFFIX_HINT)
        return _SUFFIXES[suffix]

    @classmethod
    def from_text(cls, text: str, format: str | None = None) -> LabelTable:
        """Read a table from text.

        Parameters
        ----------
        text : str
            Content of a file.
        format : str, optional
            A key of `FORMATS`; found from the content where omitted.

        Raises
        ------
        FormatError
            If the text is no label table or breaks its format's rules; the message names the line.
        UsageError
            If `format` is unknown.

        Examples
        --------
        >>> LabelTable.from_text("#No. Label Name: R G B A\\n17  Left-Hippocampus  220 216 20 0")[0]
        Label(value=17, name='Left-Hippocampus', color=(220, 216, 20, 255), abbreviation='')
        """
        if "\0" in text:
            raise FormatError("label table holds NUL characters, it is not text")
        return cls(_once(_format(format or _sniff(text)).parse(text)))

    def to_text(self, format: str) -> str:
        """Return the content of a file in the given format.

        Parameters
        ----------
        format : str
            A key of `FORMATS`.

        Raises
        ------
        UsageError
            If `format` is unknown.
        UnsupportedError
            If a value is larger than the format holds.

        Examples
        --------
        >>> print(LabelTable([(3, "left kidney", (185, 102, 83))]).to_text("slicer"), end="")
        # Color table file
        # 1 values
        3 left_kidney 185 102 83 255
        """
        return "\n".join(_format(format).print(self.fit(format))) + "\n"

    def fit(self, format: str) -> LabelTable:
        """Return the table that would come back from a file of the given format.

        Where a format asks for a colour or a name and a label has none, it gets one; characters that the
        format can't hold become underscores (spaces in ITK-SNAP and BIDS files). The table loses nothing
        where the result equals it.

        Raises
        ------
        UsageError
            If `format` is unknown.
        UnsupportedError
            If a value is larger than the format holds.

        Examples
        --------
        >>> LabelTable([(3, "left kidney", (185, 102, 83, 128), "LK")]).fit("bids")[0]
        Label(value=3, name='left kidney', color=(185, 102, 83, 255), abbreviation='LK')
        """
        row = _format(format)
        for label in self:
            if label.value > row.most:
                raise UnsupportedError(f"label {label.value} is beyond {row.most}, the largest of {row.title}")
        return LabelTable(row.fit(list(self)))

    @classmethod
    def from_json(cls, rows: Any) -> LabelTable:
        """Build a table from a list of mappings with ``value``, ``name``, ``color``, ``abbreviation``.

        Only ``value`` must be there; other keys are ignored. A colour is 3 or 4 numbers, or ``"#rrggbb"``.

        Raises
        ------
        FormatError
            If `rows` is something else.
        """
        if not isinstance(rows, list | tuple):
            raise FormatError(f"label table is a JSON {type(rows).__name__}, expected a list")
        return cls(_from_mapping(row, number) for number, row in enumerate(rows, 1))

    def to_json(self) -> list[dict[str, Any]]:
        """Return a list of plain mappings; what a label lacks is left out.

        Examples
        --------
        >>> LabelTable([(1, "liver", (221, 130, 101))]).to_json()
        [{'value': 1, 'name': 'liver', 'color': [221, 130, 101, 255]}]
        """
        rows = []
        for label in self._labels:
            row: dict[str, Any] = {"value": label.value, "name": label.name}
            if label.color is not None:
                row["color"] = list(label.color)
            if label.abbreviation:
                row["abbreviation"] = label.abbreviation
            rows.append(row)
        return rows

    def __getitem__(self, index: Any) -> Any:
        found = self._labels[index]
        return LabelTable(found) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels)

    def __contains__(self, item: object) -> bool:
        """Return whether a value, or a whole label, is in the table."""
        return self._by_value.get(item.value) == item if isinstance(item, Label) else item in self._by_value

    def __eq__(self, other: object) -> bool:
        return self._labels == other._labels if isinstance(other, LabelTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._labels)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"LabelTable is frozen: can't set {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return LabelTable, (self._labels,)

    def __repr__(self) -> str:
        return f"LabelTable({list(self._labels)!r})"


def _checked(value: Any, name: Any = "", color: Any = None, abbreviation: Any = "") -> Label:
    """Return a label whose parts are what they should be, else raise `FormatError`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= int(value) <= _MOST_VALUE:
        raise FormatError(f"label value {_shown(value)} is not a whole number from 0 to {_MOST_VALUE}")
    for text in (name, abbreviation):
        if not isinstance(text, str) or len(text) > _MOST_NAME:
            raise FormatError(f"name of label {value} is not a text of at most {_MOST_NAME} characters")
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            raise FormatError(f"name of label {value} is not valid Unicode")
    if color is not None:
        parts = list(color) if isinstance(color, Iterable) and not isinstance(color, str) else []
        if len(parts) not in (3, 4) or not all(hasattr(part, "__index__") and 0 <= part <= 255 for part in parts):
            raise FormatError(f"color of label {value} is {_shown(color)}, expected 3 or 4 numbers from 0 to 255")
        red, green, blue, opacity = (*map(int, parts), 255)[:4]
        color = red, green, blue, opacity
    return Label(int(value), name, color, abbreviation)


def _shown(item: object) -> str:
    text = ascii(item)
    return text if len(text) <= 60 else text[:57] + "..."


def _whole(text: str, what: str, line: int, most: int = _MOST_VALUE) -> int:
    if len(text) > 20 or not (text.isascii() and text.isdecimal()) or int(text) > most:
        raise FormatError(f"line {line}: {what} {_shown(text)} is not a whole number from 0 to {most}")
    return int(text)


def _share(text: str, what: str, line: int, most: float) -> int:
    """Read a number from 0 to `most`, perhaps with decimals, as 0 to 255."""
    try:
        number = float(text) if len(text) <= 40 and text.isascii() else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= most:
        raise FormatError(f"line {line}: {what} {_shown(text)} is not a number from 0 to {most:g}")
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


def _once(labels: Iterable[Row]) -> Iterator[Label]:
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


def _print_freesurfer(table: LabelTable) -> list[str]:
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


def _print_itksnap(table: LabelTable) -> list[str]:
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


def _print_slicer(table: LabelTable) -> list[str]:
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
        color = _hex_color(row["color"], f"line {line}") if row.get("color") else None
        value = _whole(row["index"].strip(), "index", line)
        yield line, Label(value, row["name"], color, row.get("abbreviation", ""))


def _hex_color(text: str, where: str) -> Color:
    digits = text.strip().removeprefix("#")
    try:
        if len(digits) not in (6, 8) or not digits.isalnum():
            raise ValueError
        red, green, blue, opacity = bytes.fromhex(digits + "ff")[:4]
    except ValueError:
        raise FormatError(f"{where}: color {_shown(text)} is not written like #dd8265") from None
    return red, green, blue, opacity


def _print_bids(table: LabelTable) -> list[str]:
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


def _print_mrtrix(table: LabelTable) -> list[str]:
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
        raise FormatError(f"label table is not valid JSON: {_shown(str(error))}") from None
    if isinstance(rows, dict) and "labels" in rows:
        rows = rows["labels"]
    return enumerate(LabelTable.from_json(rows), 1)


def _from_mapping(row: Any, number: int) -> Label:
    if not isinstance(row, dict) or "value" not in row:
        raise FormatError(f"entry {number} of the label table is {_shown(row)}, it has no value")
    color = row.get("color")
    if isinstance(color, str):
        color = _hex_color(color, f"entry {number}")
    return _checked(row["value"], row.get("name", ""), color, row.get("abbreviation", ""))


def _print_json(table: LabelTable) -> list[str]:
    import json

    rows = ",\n".join(f" {json.dumps(row, ensure_ascii=True)}" for row in table.to_json())
    return ["[", rows, "]"] if rows else ["[]"]


def _replace_file(target: str, content: bytes) -> None:
    """Write beside the target, then rename: the old file stays until the new one is complete."""
    temporary = f"{target}.{os.getpid()}.tmp"
    with open(temporary, "xb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.path.exists(target):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise


class _Format(NamedTuple):
    """One text format: what it is called, how large a value may be, how to read, print and foresee it."""

    title: str
    most: int
    parse: Callable[[str], Iterator[Row]]
    print: Callable[[LabelTable], list[str]]
    fit: Callable[[list[Label]], list[Label]]


_TABLE = {
    "freesurfer": _Format("FreeSurfer table", 2**31 - 1, _parse_freesurfer, _print_freesurfer, _fit_words),
    "itksnap": _Format("ITK-SNAP label description", 2**16 - 1, _parse_itksnap, _print_itksnap, _fit_itksnap),
    "slicer": _Format("3D Slicer color table", 2**31 - 1, _parse_slicer, _print_slicer, _fit_words),
    "bids": _Format("BIDS dseg.tsv", _MOST_VALUE, _parse_bids, _print_bids, _fit_bids),
    "mrtrix": _Format("MRtrix lookup table", 2**32 - 1, _parse_mrtrix, _print_mrtrix, _fit_mrtrix),
    "json": _Format("JSON list of labels", _MOST_VALUE, _parse_json, _print_json, lambda labels: labels),
}
_SUFFIXES = {".ctbl": "slicer", ".json": "json", ".label": "itksnap", ".tsv": "bids"}
_SUFFIXES |= {".lut": "freesurfer", ".txt": "freesurfer"}
_CHOICES = f"formats are {', '.join(_TABLE)}"
_SUFFIX_HINT = f"use {', '.join(_SUFFIXES)}; {_CHOICES}"
FORMATS: dict[str, str] = {name: row.title for name, row in _TABLE.items()}
"""Names of the formats, with a title each."""


def _format(name: str) -> _Format:
    if name not in _TABLE:
        raise UsageError(f"label table format {_shown(name)} is unknown", hint=_CHOICES)
    return _TABLE[name]


_SIGNS = (
    ("# color table file", "slicer"),
    ("# itk-snap label description file", "itksnap"),
    ("# mrtrix", "mrtrix"),
    ("#no.", "freesurfer"),
)


def _sniff(text: str) -> str:
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

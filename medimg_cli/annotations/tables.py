"""Tables of points and boxes with one header row, comma- or tab-separated; :mod:`medimg_cli.annotations.files`."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import is_voxel, parse_axes
from medimg_cli.annotations.boxes import BoundingBoxes, BoundingBoxFormat, Representation
from medimg_cli.annotations.points import Points
from medimg_cli.errors import FormatError, UsageError

__all__ = ["Table", "cell_text", "number", "number_text", "parse_table", "point_rows", "print_boxes", "print_points"]
__all__ += ["read_boxes", "read_points"]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan", re.ASCII | re.IGNORECASE)
_AXES_KEYS = ("coordinatesystem", "coordinate_system", "coordinate system", "axes")
_CODES = {"0": "RAS", "1": "LPS"}


class Table(NamedTuple):
    """Cells of a table: its columns in lower case, rows with their line numbers, and what lines with # said."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, Sequence[str]], ...]
    comments: Mapping[str, str]

    def texts(self, column: str) -> list[str]:
        """Return the cells of a column; empty ones where it is missing."""
        if column not in self.columns:
            return [""] * len(self.rows)
        at = self.columns.index(column)
        return [row[at] for _, row in self.rows]

    def floats(self, columns: Sequence[str]) -> list[list[float]]:
        """Return the numbers of some columns, row by row."""
        places = [self.columns.index(column) for column in columns]
        return [[number(row[at], self.columns[at], line) for at in places] for line, row in self.rows]

    @property
    def axes(self) -> str | None:
        """The axes that a line at the top names."""
        said = next((self.comments[key] for key in _AXES_KEYS if key in self.comments), None)
        return None if said is None else _said(said)

    @property
    def affine(self) -> AffineMatrix | None:
        """The affine that a line at the top names."""
        said = self.comments.get("affine")
        if said is None:
            return None
        values = [number(word, "the affine", 1) for word in said.split()]
        if len(values) != 12:
            raise FormatError(f"the affine has {len(values)} numbers, expected 12")
        return AffineMatrix([values[:4], values[4:8], values[8:]])


def read_points(
    kind: type[Points], text: str, path: str, *, axes: str | None = None, affine: Any = None, **_: Any
) -> Points:
    """Read a table of points."""
    table = parse_table(text, _delimiter(path))
    letters = [column for column in table.columns if len(column) == 1 and column in "rlapsixyzjk"]
    if sorted(letters) != ["x", "y", "z"]:
        said = _letters(letters)
    elif table.axes or axes:
        said, letters = table.axes or parse_axes(axes), ["x", "y", "z"]
    else:
        raise UsageError("columns x, y, z do not say which axes they are", hint="say it: axes='RAS' or axes='LPS'")
    if axes is not None and parse_axes(axes) != said:
        raise UsageError(f"it is written along {said}, not along {parse_axes(axes)}", hint="leave out axes")
    return point_rows(kind, table, letters, said, affine, description="description")


def point_rows(
    kind: type[Points], table: Table, columns: Sequence[str], axes: str, affine: Any, *, description: str
) -> Points:
    """Return the points of a table.

    Parameters
    ----------
    kind : type
        Points, or a class made from it.
    table : Table
    columns : 3 str
        Columns of the coordinates.
    axes : str
        What they are.
    affine : AffineMatrix or what it takes, optional
    description : str
        Column of the descriptions.
    """
    rows = table.floats(columns)
    for row, defined in zip(rows, table.texts("defined"), strict=True):
        if defined.strip() == "0":
            row[:] = [math.nan] * 3
    metadata = _metadata(names=table.texts("label"), descriptions=table.texts(description))
    place = table.affine if table.affine is not None else affine
    return kind(_shaped(rows, 3), axes, affine=place, metadata=metadata)


def print_points(points: Points, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a table of points, and the metadata that it holds."""
    rows = points.numpy().tolist()
    undefined = [any(map(math.isnan, row)) for row in rows]
    columns: list[tuple[str, Sequence[str]]] = [("label", points.metadata.get("names", [""] * len(points)))]
    for at, letter in enumerate(points.axes.lower()):
        columns.append(
            (letter, ["" if bad else number_text(row[at]) for row, bad in zip(rows, undefined, strict=True)])
        )
    if any(undefined):
        columns.append(("defined", ["0" if bad else "1" for bad in undefined]))
    if "descriptions" in points.metadata:
        columns.append(("description", points.metadata["descriptions"]))
    return _printed(columns, points, path), ("names", "descriptions")


def read_boxes(kind: type[BoundingBoxes], text: str, path: str, *, affine: Any = None, **_: Any) -> BoundingBoxes:
    """Read a table of boxes."""
    table = parse_table(text, _delimiter(path))
    format, columns = _box_columns(table.columns)
    labels = None
    if "label" in table.columns:
        labels = [_integer(cell, line) for cell, (line, _) in zip(table.texts("label"), table.rows, strict=True)]
    metadata = _metadata(names=table.texts("name"), descriptions=table.texts("description"))
    rows = table.floats(columns)
    if any(math.isnan(value) for row in rows for value in row):
        raise FormatError("a box has no place: nan among its numbers")
    if table.affine is None or affine is None:
        place = affine if table.affine is None else table.affine
        return kind(_shaped(rows, 6), format, labels=labels, affine=place, metadata=metadata)
    return kind(_shaped(rows, 6), format, labels=labels, affine=table.affine, metadata=metadata).moved_to(affine)


def print_boxes(boxes: BoundingBoxes, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a table of boxes, and the metadata that it holds."""
    rows = boxes.numpy().tolist()
    if any(math.isnan(value) for row in rows for value in row):
        raise UsageError("a box has no place: nan among its numbers")
    columns: list[tuple[str, Sequence[str]]] = []
    if "names" in boxes.metadata:
        columns.append(("name", boxes.metadata["names"]))
    if boxes._labels is not None:
        columns.append(("label", [str(label) for label in boxes._labels.tolist()]))
    for at, column in enumerate(_column_names(boxes.format)):
        columns.append((column, [number_text(row[at]) for row in rows]))
    if "descriptions" in boxes.metadata:
        columns.append(("description", boxes.metadata["descriptions"]))
    return _printed(columns, boxes, path), ("names", "descriptions")


def parse_table(
    text: str, delimiter: str, columns: Callable[[Mapping[str, str]], Sequence[str]] | None = None
) -> Table:
    """Cut a text into cells.

    Parameters
    ----------
    text : str
    delimiter : str
    columns : callable, optional
        Returns the columns from what the lines with # said, for a table without a header row; its rows may be
        longer or shorter.

    Raises
    ------
    FormatError
        If it is no table; the message names the line.
    """
    comments: dict[str, str] = {}
    lines = 0
    while text.startswith("#"):
        line, _, text = text.partition("\n")
        key, sign, value = line[1:].strip().rstrip(delimiter).partition("=")
        if sign:
            comments[key.strip().lower()] = value.strip()
        lines += 1
    rows = [row for row in _cells(text, delimiter, lines) if any(cell.strip() for cell in row[1])]
    if columns is None:
        if not rows:
            raise FormatError("it is empty, expected a row of column names")
        names = tuple(cell.strip().lower() for cell in rows.pop(0)[1])
        for line_number, cells in rows:
            if len(cells) != len(names):
                raise FormatError(f"line {line_number}: {len(cells)} cells, expected {len(names)}")
    else:
        names = tuple(columns(comments))
        rows = [(line_number, [*cells, *[""] * (len(names) - len(cells))]) for line_number, cells in rows]
    if len(set(names)) != len(names):
        raise FormatError("two columns have the same name")
    return Table(names, tuple(rows), comments)


def number(text: str, column: str, line: int) -> float:
    """Read a number as people write them; no more than Python's float takes: no 1_000, no infinity.

    Raises
    ------
    FormatError
        If it is none.
    """
    stripped = text.strip()
    if not stripped:
        return math.nan
    value = float(stripped) if len(stripped) <= 400 and _NUMBER.fullmatch(stripped) else math.inf
    if math.isinf(value):
        raise FormatError(f"line {line}: {column} is {ascii(stripped)[:40]}, expected a number")
    return value


def number_text(value: float) -> str:
    """Write a number with all digits."""
    return repr(value + 0.0).removesuffix(".0")


def cell_text(text: str, delimiter: str) -> str:
    """Write a cell, in quotes where it holds what would end it (RFC 4180)."""
    bare = text and not set(text) & {delimiter, '"', "\n", "\r"} and text == text.strip() and text[0] != "#"
    return text if bare or not text else '"' + text.replace('"', '""') + '"'


def _cells(text: str, delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            yield reader.line_num + before, row
    except csv.Error as error:
        raise FormatError(f"line {reader.line_num + before}: {error}") from None


def _printed(columns: Sequence[tuple[str, Sequence[str]]], annotation: Points | BoundingBoxes, path: str) -> str:
    delimiter = _delimiter(path)
    lines = []
    if is_voxel(annotation.axes) and annotation.has_affine:
        values = [number_text(value) for row in annotation.affine.rows[:3] for value in row]
        lines.append(f"# affine = {' '.join(values)}")
    lines.append(delimiter.join(column for column, _ in columns))
    for cells in zip(*(cells for _, cells in columns), strict=True):
        lines.append(delimiter.join(cell_text(cell, delimiter) for cell in cells))
    return "\n".join(lines) + "\n"


def _delimiter(path: str) -> str:
    return "\t" if path.lower().endswith(".tsv") else ","


def _said(text: str) -> str:
    try:
        return parse_axes(_CODES.get(text, text))
    except UsageError:
        raise FormatError(f"its coordinate system is {ascii(text)[:40]}, expected axes such as RAS or LPS") from None


def _letters(letters: Sequence[str]) -> str:
    try:
        return parse_axes("".join(letters))
    except UsageError:
        found = ", ".join(letters) or "none"
        raise FormatError(f"columns of coordinates: {found}; expected r,a,s or l,p,s or i,j,k or x,y,z") from None


def _column_names(format: BoundingBoxFormat) -> list[str]:
    """Return the six columns of a table of boxes.

    >>> _column_names(BoundingBoxFormat("LPS")), _column_names(BoundingBoxFormat.IJKWHD)
    (['l1', 'p1', 's1', 'l2', 'p2', 's2'], ['i', 'j', 'k', 'i_size', 'j_size', 'k_size'])
    """
    first, second = ("1", "2") if format.representation is Representation.CORNERS else ("", "_size")
    return [letter + end for end in (first, second) for letter in format.axes.lower()]


def _box_columns(columns: Sequence[str]) -> tuple[BoundingBoxFormat, list[str]]:
    for representation, end in ((Representation.CORNERS, "2"), (Representation.CENTER_SIZE, "_size")):
        letters = [c[0] for c in columns if len(c) == 1 + len(end) and c.endswith(end) and c[0] in "rlapsijk"]
        if letters:
            format = BoundingBoxFormat(_letters(letters), representation)
            names = _column_names(format)
            if not set(names) <= set(columns):
                raise FormatError(f"it has no column {', '.join(n for n in names if n not in columns)}")
            return format, names
    raise FormatError("it has no columns of boxes, such as r1,a1,s1,r2,a2,s2 or r,a,s,r_size,a_size,s_size")


def _integer(text: str, line: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,19}", text.strip(), re.ASCII) or abs(int(text)) >= 2**63:
        raise FormatError(f"line {line}: label is {ascii(text.strip())[:40]}, expected an integer")
    return int(text)


def _shaped(rows: list[list[float]], columns: int) -> Any:
    import numpy as np

    return np.array(rows, dtype=np.float64).reshape(-1, columns)


def _metadata(**texts: list[str]) -> dict[str, Any]:
    return {key: found for key, found in texts.items() if any(found)}

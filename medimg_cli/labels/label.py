"""`Label`: one row of a label table, and what makes one of values that come from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError
from medimg_cli.text import escape

__all__ = ["MOST_VALUE", "Color", "Label", "checked", "from_rows", "hex_color", "shown", "some", "to_rows"]

Color = tuple[int, int, int, int]

MOST_VALUE = 2**64 - 1
_MOST_NAME = 4096  # characters
_MOST_NAMED = 6  # labels that a sentence names one by one


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
        return escape(self.name)

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


def checked(value: Any, name: Any = "", color: Any = None, abbreviation: Any = "") -> Label:
    """Return a label whose parts are what they should be, else raise `FormatError`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= int(value) <= MOST_VALUE:
        raise FormatError(f"label value {shown(value)} is not a whole number from 0 to {MOST_VALUE}")
    for text in (name, abbreviation):
        if not isinstance(text, str) or len(text) > _MOST_NAME:
            raise FormatError(f"name of label {value} is not a text of at most {_MOST_NAME} characters")
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            raise FormatError(f"name of label {value} is not valid Unicode")
    if color is not None:
        parts = list(color) if isinstance(color, Iterable) and not isinstance(color, str) else []
        if len(parts) not in (3, 4) or not all(hasattr(part, "__index__") and 0 <= part <= 255 for part in parts):
            raise FormatError(f"color of label {value} is {shown(color)}, expected 3 or 4 numbers from 0 to 255")
        red, green, blue, opacity = (*map(int, parts), 255)[:4]
        color = red, green, blue, opacity
    return Label(int(value), name, color, abbreviation)


def some(words: Iterable[str]) -> str:
    """Name some things one by one, and count the rest.

    >>> some("abcdefgh"), some("ab")
    ('a, b, c, d, e, f and 2 more', 'a, b')
    """
    found = list(words)
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(found[:_MOST_NAMED]) + more


def shown(item: object) -> str:
    """Return a value of unknown kind as an error message may show it: ASCII, and not long."""
    text = ascii(item)
    return text if len(text) <= 60 else text[:57] + "..."


def hex_color(text: str, where: str) -> Color:
    """Read a colour written as in CSS; ``where`` is what an error names."""
    digits = text.strip().removeprefix("#")
    try:
        if len(digits) not in (6, 8) or not digits.isalnum():
            raise ValueError
        red, green, blue, opacity = bytes.fromhex(digits + "ff")[:4]
    except ValueError:
        raise FormatError(f"{where}: color {shown(text)} is not written like #dd8265") from None
    return red, green, blue, opacity


def from_rows(rows: Any) -> list[Label]:
    """Read labels from a list of mappings, as `LabelTable.from_json` says."""
    if not isinstance(rows, list | tuple):
        raise FormatError(f"label table is a JSON {type(rows).__name__}, expected a list")
    return [_from_mapping(row, number) for number, row in enumerate(rows, 1)]


def _from_mapping(row: Any, number: int) -> Label:
    if not isinstance(row, dict) or "value" not in row:
        raise FormatError(f"entry {number} of the label table is {shown(row)}, it has no value")
    color = row.get("color")
    if isinstance(color, str):
        color = hex_color(color, f"entry {number}")
    return checked(row["value"], row.get("name", ""), color, row.get("abbreviation", ""))


def to_rows(labels: Iterable[Label]) -> list[dict[str, Any]]:
    """Return labels as plain mappings; what a label lacks is left out."""
    rows = []
    for label in labels:
        row: dict[str, Any] = {"value": label.value, "name": label.name}
        if label.color is not None:
            row["color"] = list(label.color)
        if label.abbreviation:
            row["abbreviation"] = label.abbreviation
        rows.append(row)
    return rows

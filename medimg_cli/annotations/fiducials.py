"""3D Slicer's old list of fiducials (``.fcsv``): comma-separated text without a header row, for points only.

Lines with # at the top say version, coordinate system and columns; see Slicer's developer guide, "Markups fiducial
point list file format". Where the coordinate system is missing it is RAS, as in Slicer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medimg_cli.annotations.points import Points
from medimg_cli.annotations.tables import cell_text, number_text, parse_table, point_rows
from medimg_cli.errors import FormatError, UnsupportedError, UsageError

__all__ = ["print_points", "read_points"]

_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatednodeid")
_VERSION = "markups fiducial file version"


def read_points(
    kind: type[Points], text: str, path: str, *, axes: str | None = None, affine: Any = None, **_: Any
) -> Points:
    """Read a list of fiducials."""
    table = parse_table(text, ",", _columns)
    said = table.axes or "RAS"
    if said not in ("RAS", "LPS"):
        raise FormatError(f"its coordinate system is {said}, expected RAS or LPS")
    if axes is not None and axes != said:
        raise UsageError(f"it is written along {said}, not along {axes}", hint="leave out axes")
    return point_rows(kind, table, ("x", "y", "z"), said, affine, description="desc")


def print_points(points: Points, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a list of fiducials, and the metadata that it holds."""
    lines = [f"# {_VERSION.capitalize()} = 4.11", f"# CoordinateSystem = {points.axes}"]
    lines.append(f"# columns = {','.join(_COLUMNS[:-1])},associatedNodeID")
    nothing = [""] * len(points)
    names, descriptions = (points.metadata.get(key, nothing) for key in ("names", "descriptions"))
    for at, (row, label, text) in enumerate(zip(points.numpy().tolist(), names, descriptions, strict=True), 1):
        if any(map(math.isnan, row)):
            raise UnsupportedError(f"point {at} has no place, which this format cannot say", hint="write .mrk.json")
        if "\n" in label + text or "\r" in label + text:
            raise UnsupportedError(f"a text of point {at} has several lines", hint="write .mrk.json")
        where = ",".join(number_text(value) for value in row)
        lines.append(f"{at},{where},0,0,0,1,1,1,0,{cell_text(label, ',')},{cell_text(text, ',')},")
    return "\n".join(lines) + "\n", ("names", "descriptions")


def _columns(comments: Mapping[str, str]) -> Sequence[str]:
    if "columns" in comments:
        columns = tuple(column.strip().lower() for column in comments["columns"].split(","))
    elif _VERSION in comments:
        columns = _COLUMNS
    else:
        raise FormatError("no line '# columns =' says what its columns are")
    if not {"x", "y", "z"} <= set(columns):
        raise FormatError("it has no columns x, y, z")
    return columns

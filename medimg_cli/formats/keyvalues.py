"""What formats with key-value pairs carry in them beyond their own fields (NRRD, MetaImage).

Three things: plain key-values as text; label tables as 3D Slicer writes them into ``.seg.nrrd`` (``Segment0_Name``,
``Segment0_LabelValue``, ``Segment0_Color`` ...); and, under the one key ``medimg``, as JSON whatever neither a field
nor such a key can say. Facts about voxel axes (gradients, forms, history) come with the grid that they speak of, and
are ignored, with a warning, where other software has copied the key to another grid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, GeometryError
from medimg_cli.formats.neutral import FACTS, OF_GRID, from_facts
from medimg_cli.header import Header

if TYPE_CHECKING:
    from medimg_cli.labels import LabelTable

__all__ = ["KEY", "facts_text", "segments_from", "segments_to", "still_true", "text_of", "with_facts"]

#: The key that holds facts as JSON.
KEY = "medimg"
#: Facts that travel as JSON where no field holds them. Units are those of the file that is written.
_CARRIED = tuple(name for name in FACTS if name not in ("space_units", "time_units", "metadata"))
_MOST_SEGMENTS = 100_000
_EXTENT = re.compile(r"Segment[0-9]+_Extent|Segmentation_ReferenceImageExtentOffset")
_SEGMENT = re.compile(r"Segment[0-9]+_")

#: Returns the text that a codec writes for a key and its value, None where it cannot write them.
Plain = Callable[[str, Any], str | None]


def text_of(value: Any) -> str:
    """Write a value of the metadata as people would.

    >>> text_of("a"), text_of(2.5), text_of(True), text_of([1, "b"])
    ('a', '2.5', 'true', '[1, "b"]')
    """
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value, default=str)


def segments_from(values: Mapping[str, str]) -> tuple[LabelTable | None, set[str]]:
    """Read the label table of a segmentation of 3D Slicer.

    Returns
    -------
    LabelTable or None
        None where there is none, or where segments lie in several layers and one voxel may have several labels.
    set of str
        Keys that the table says all about.
    """
    if "Segment0_LabelValue" not in values:
        return None, set()
    from medimg_cli.labels import LabelTable

    rows: list[tuple[int, str, tuple[int, ...] | None]] = []
    used: set[str] = set()
    for number in range(_MOST_SEGMENTS):
        keys = {part: f"Segment{number}_{part}" for part in ("ID", "Name", "LabelValue", "Layer", "Color")}
        if not any(key in values for key in keys.values()):
            break
        value = values.get(keys["LabelValue"], "").strip()
        if not (value.isascii() and value.isdecimal() and len(value) < 20):
            return None, set()
        if values.get(keys["Layer"], "0").strip() != "0":
            return None, set()
        color = _color(values.get(keys["Color"]))
        rows.append((int(value), values.get(keys["Name"], ""), color))
        used |= {keys["Name"], keys["LabelValue"], keys["Layer"]} | ({keys["Color"]} if color else set())
        used |= {keys["ID"]} if values.get(keys["ID"]) == f"Segment_{int(value)}" else set()
    try:
        return LabelTable(rows), used & set(values)
    except FormatError:
        return None, set()


def _color(text: str | None) -> tuple[int, ...] | None:
    """Read three shares of 1 as numbers from 0 to 255."""
    try:
        shares = [float(word) for word in (text or "").split(None, 3)]
    except ValueError:
        return None
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares):
        return None
    return tuple(round(share * 255) for share in shares)


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text).strip()


def _as_segments(labels: LabelTable) -> list[tuple[int, str, tuple[int, ...] | None]]:
    """Return what segments can say of a table: no background, no opacity, no abbreviations."""
    return [
        (value, _one_line(name), (*color[:3], 255) if color else None) for value, name, color, _ in labels if value > 0
    ]


def segments_to(labels: LabelTable, metadata: Mapping[str, Any]) -> dict[str, str]:
    """Write a label table as 3D Slicer does; identifiers that ``metadata`` holds stay."""
    found: dict[str, str] = {}
    for number, (value, name, color) in enumerate(_as_segments(labels)):
        prefix = f"Segment{number}_"
        if prefix + "ID" not in metadata:
            found[prefix + "ID"] = f"Segment_{value}"
        found[prefix + "Name"] = name
        found[prefix + "LabelValue"] = str(value)
        found[prefix + "Layer"] = "0"
        if color is not None:
            found[prefix + "Color"] = " ".join(repr(part / 255) for part in color[:3])
    return found


def still_true(header: Header, old: Header | None, same_grid: bool) -> Mapping[str, Any]:
    """Return the key-values without those that a change of grid or labels has made wrong.

    Parameters
    ----------
    header : Header
        What is to be written.
    old : Header, optional
        What the file said that it came from, where that was of the same format.
    same_grid : bool
        Whether all that ``old`` says of geometry still holds.
    """
    if old is None:
        return header.metadata
    found = dict(header.metadata)
    if not same_grid:
        found = {key: value for key, value in found.items() if not _EXTENT.fullmatch(key)}
    now, then = (tuple(table.values) if table else () for table in (header.labels, old.labels))
    if now != then:
        found = {key: value for key, value in found.items() if not _SEGMENT.match(key)}
    return found


def facts_text(header: Header, base: Header, *, most: int | None = None) -> str:
    """Return as JSON what ``header`` says and ``base``, read from a file without it, does not; "" for nothing.

    Parameters
    ----------
    header : Header
        What shall be kept.
    base : Header
        What the file says by its own means.
    most : int, optional
        Characters at most; facts are left out where there would be more.
    """
    facts: dict[str, Any] = {}
    for name in _CARRIED:
        wanted, there = getattr(header, name), getattr(base, name)
        if wanted == there or (not wanted and not there) or (name == "labels" and wanted is None):
            continue
        if name == "axes" and tuple(n for _, n in wanted) != tuple(n for _, n in there):
            continue
        facts[name] = FACTS[name].show(wanted)
    missing = object()
    rest = {
        key: value
        for key, value in header.metadata.items()
        if (found := base.metadata.get(key, missing)) != value or type(found) is not type(value)
    }
    if rest:
        facts["metadata"] = dict(sorted(rest.items()))
    if any(name in facts for name in OF_GRID):
        facts["grid"] = [list(base.shape[1:]), [list(row) for row in base.affine.rows[:3]]]
    return _shortened(facts, most) if facts else ""


def _shortened(facts: dict[str, Any], most: int | None) -> str:
    """Return facts as JSON, the longest left out, one by one, where the text would be too long."""
    import json

    def dumped(value: Any) -> str:
        return json.dumps(value, default=str, separators=(",", ":"))

    text = dumped(facts)
    while most is not None and len(text) > most:
        longest = max((name for name in facts if name != "grid"), key=lambda name: len(dumped(facts[name])))
        excess = len(text) - most
        entries = facts[longest] if longest == "metadata" else {}
        sizes = {key: len(dumped([key, value])) for key, value in entries.items()}
        for key in sorted(sizes, key=lambda key: -sizes[key]):
            if excess > 0:
                excess -= sizes[key]
                del facts[longest][key]
        if not sizes or not facts[longest]:
            del facts[longest]
        if not OF_GRID & facts.keys():
            facts.pop("grid", None)
        if not facts:
            return ""
        text = dumped(facts)
    return text


def with_facts(header: Header, text: str, plain: Plain) -> Header:
    """Return a header with what a JSON text adds; one that makes no sense stays a key-value.

    Parameters
    ----------
    header : Header
        What the file says by its own means.
    text : str
        Value of the key ``medimg``.
    plain : callable
        Text that the codec writes for a key and its value: a value that no longer agrees with it has been changed by
        other software, which is believed.
    """
    import json

    try:
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise TypeError
        metadata = dict(facts.pop("metadata", {}))
        grid = facts.pop("grid", None)
    except (ValueError, TypeError, RecursionError):
        note = "the key 'medimg' of the header cannot be read and is kept as it is"
        return header.replace(metadata={**header.metadata, KEY: text}).warn(note)
    merged = dict(header.metadata)
    for key, value in metadata.items():
        written = plain(key, value)
        if written is None or merged.get(key) == written:
            merged[key] = value
    header = header.replace(metadata=merged)
    if OF_GRID & facts.keys() and not _same_grid(header, grid):
        facts = {name: value for name, value in facts.items() if name not in OF_GRID}
        header = header.warn("the key 'medimg' speaks of another grid: its history and gradients are ignored")
    if "axes" in facts and not _same_sizes(facts["axes"], header):
        del facts["axes"]
    read = from_facts(header, {name: value for name, value in facts.items() if name in _CARRIED})
    if header.labels is not None and read.labels is not None:
        stated, here = _as_segments(read.labels), _as_segments(header.labels)
        if stated != here:  # somebody has edited the segments since
            read = read.replace(labels=header.labels)
    return read


def _same_grid(header: Header, grid: Any) -> bool:
    try:
        shape, rows = grid
        return tuple(shape) == header.shape[1:] and AffineMatrix(rows).mm_shift(header.affine, header.shape[1:]) < 1e-3
    except (TypeError, ValueError, GeometryError):
        return False


def _same_sizes(axes: Any, header: Header) -> bool:
    try:
        return [size for _, size in axes] == [size for _, size in header.axes]
    except (TypeError, ValueError):
        return False

"""The writing half of the MetaImage codec: a neutral header to lines of text, patching native ones."""

from __future__ import annotations

from collections.abc import Mapping

from medimg_cli.dtypes import is_complex
from medimg_cli.formats import keyvalues, split_suffix
from medimg_cli.formats.detached import data_name
from medimg_cli.formats.metaimage import COMPLEX, STRUCTURE, Parsed, neutral, parse, plain, split_line
from medimg_cli.formats.text import clipped, is_plane, number_text, storable
from medimg_cli.formats.writing import Encoded
from medimg_cli.header import Header
from medimg_cli.storage.stored import Layout

__all__ = ["build", "encoded"]

DTYPES = {
    "int8": "MET_CHAR", "uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "int32": "MET_INT",
    "uint32": "MET_UINT", "int64": "MET_LONG_LONG", "uint64": "MET_ULONG_LONG", "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE", "complex64": "MET_FLOAT", "complex128": "MET_DOUBLE",
}  # fmt: skip
_ORDER = (
    "ObjectType", "NDims", "Comment", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "TransformMatrix",
    "Offset", "CenterOfRotation", "AnatomicalOrientation", "ElementSpacing", "DimSize", "ElementNumberOfChannels",
    "ElementType", COMPLEX,
)  # fmt: skip
#: Other words for the same geometry.
_OTHER_GEOMETRY = (
    "Rotation", "Orientation", "Position", "Origin", "ImagePosition", "ElementOrigin", "ElementDirection",
    "ElementSize", "FileFormatVersion", "DistanceUnits",
)  # fmt: skip
#: Characters of the key "medimg" at most: MetaIO reads lines into 32,768 bytes. Comments: into 255.
_MOST_FACTS, _MOST_COMMENT = 30_000, 250
#: Width of CompressedDataSize, filled in when the size is known.
_WIDTH = 20
_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))

Fields = dict[str, str | None]


def build(header: Header) -> list[bytes]:
    """Return the lines of a header that says all that MetaImage can say of ``header``."""
    header = storable(header, "MetaImage")
    native: Parsed | None = None
    old: Header | None = None
    if header.native is not None and header.native.family == "metaimage":
        native = parse(b"\n".join(header.native.data) + b"\n", b"", "")
        old = neutral(native)[0]
    dimensions = _dimensions(header)
    unchanged = old is not None and _same(old, header)
    header = header.replace(metadata=keyvalues.still_true(header, old, unchanged))
    fields: Fields = dict.fromkeys(("ElementByteOrderMSB", "CompressedDataSize", "HeaderSize", COMPLEX))
    fields["BinaryData"], fields["BinaryDataByteOrderMSB"], fields["CompressedData"] = "True", "False", "True"
    fields["ElementType"] = DTYPES[header.dtype]
    if is_complex(header.dtype):
        fields[COMPLEX] = "True"
    if old is None or old.description != header.description:
        comment = "".join(each if each.isprintable() else " " for each in header.description).strip(" =:")
        fields["Comment"] = clipped(comment, _MOST_COMMENT).strip() or None
    if not unchanged:
        fields.update(_axis_fields(header, dimensions))
    values = _values(header, old, native, dimensions)
    lines = _compose(native, fields, values)
    base = neutral(parse(b"\n".join(lines) + b"\n", b"", ""))[0]
    facts = keyvalues.facts_text(header, base, most=_MOST_FACTS)
    if facts:
        lines.insert(len(lines) - 1, f"{keyvalues.KEY} = {facts}".encode())
    return lines


def _same(old: Header, header: Header) -> bool:
    """Tell whether all that the fields of geometry say still holds."""
    return (
        (old.shape, old.axes, is_complex(old.dtype), old.affine, old.time_spacing) ==
        (header.shape, header.axes, is_complex(header.dtype), header.affine, header.time_spacing)
    )  # fmt: skip


def _dimensions(header: Header) -> int:
    """Return how many dimensions the file has: a plane stays one where two say all of where it lies."""
    others = [axis for axis in header.channel_axes() if axis[0] not in ("vector", "rgb")]
    return 2 if not others and is_plane(header) else 3 + len(others)


def _axis_fields(header: Header, count: int) -> Fields:
    """Return all fields that speak of axes, written anew."""
    axes = header.channel_axes()
    others = [axis for axis in axes if axis[0] not in ("vector", "rgb")]
    components = header.channels * (2 if is_complex(header.dtype) else 1)
    for _, size in others:
        components //= size
    lps = header.affine.to_lps()
    spacing, direction = lps.spacing, lps.direction
    spatial = min(count, 3)
    steps = [header.time_spacing if kind == "time" and header.time_spacing else 1.0 for kind, _ in others]
    matrix = [
        direction[column][row] if row < 3 and column < 3 else float(row == column)
        for row in range(count)
        for column in range(count)
    ]
    fields: Fields = dict.fromkeys(_OTHER_GEOMETRY)
    fields["NDims"] = str(count)
    fields["TransformMatrix"] = _numbers(matrix)
    fields["Offset"] = _numbers([*lps.origin[:spatial], *(0.0 for _ in others)])
    fields["CenterOfRotation"] = _numbers([0.0] * count)
    letters = "".join(_OPPOSITE[letter] for letter in header.orientation)  # MetaIO names where an axis comes from
    fields["AnatomicalOrientation"] = letters if count == 3 else None
    fields["ElementSpacing"] = _numbers([*(size or 1.0 for size in spacing[:spatial]), *steps])
    fields["DimSize"] = " ".join(map(str, [*header.shape[1 : spatial + 1], *(size for _, size in others)]))
    fields["ElementNumberOfChannels"] = str(components) if components > 1 else None
    return fields


def _numbers(values: list[float]) -> str:
    return " ".join(map(number_text, values))


def _values(header: Header, old: Header | None, native: Parsed | None, dimensions: int) -> dict[str, str]:
    """Return the key-values to write: as they stood where they have not changed, else those that MetaIO can read."""
    before = native.fields if native is not None else {}
    found: dict[str, str] = {}
    for key, value in header.metadata.items():
        text = value if before.get(key) == value else plain(key, value)
        if key == "SequenceID" and before.get("NDims") != str(dimensions):
            text = None
        if text is not None:
            found[key] = text
    if header.labels is not None and header.channels == 1:
        if old is not None and old.labels == header.labels:
            found.update({key: before[key] for key in keyvalues.segments_from(before)[1]})
        else:
            segments = keyvalues.segments_to(header.labels, header.metadata)
            found.update({key: text for key, text in segments.items() if plain(key, text) is not None})
    return found


def _compose(native: Parsed | None, fields: Mapping[str, str | None], values: Mapping[str, str]) -> list[bytes]:
    """Return the lines of a header, ElementDataFile last."""
    new_fields = {"ObjectType": "Image", **{name: text for name, text in fields.items() if text is not None}}
    new_values = dict(values)
    lines: list[bytes] = []
    for line in native.lines[:-1] if native is not None else ():
        name, text = split_line(line) or ("", "")
        if name in fields or name == "ObjectType":
            if name in new_fields:
                lines.append(f"{name} = {new_fields.pop(name)}".encode())
        elif name in new_values:
            new = new_values.pop(name)
            lines.append(line if new == text else f"{name} = {new}".encode())
        elif name in STRUCTURE:
            lines.append(line)
    lines += [f"{name} = {new_fields[name]}".encode() for name in _ORDER if name in new_fields]
    lines += [f"{key} = {text}".encode() for key, text in new_values.items()]
    return [*lines, b"ElementDataFile = LOCAL"]


def encoded(header: Header, layout: Layout, name: str, level: int | None) -> Encoded:
    """Lay out a fitted header for a file of that name."""
    assert header.native is not None
    stem, suffix, _ = split_suffix(name)
    compression = None if level == 0 else "zlib"
    beside = data_name(stem, ".zraw" if compression else ".raw") if suffix == ".mhd" else None
    head = b""
    size_at = None
    for line in header.native.data[:-1]:
        if (split_line(line) or ("",))[0] == "CompressedData":
            head += b"CompressedData = " + (b"True" if compression else b"False") + b"\n"
            if compression and not beside:
                head += b"CompressedDataSize = "
                size_at = len(head), _WIDTH
                head += b" " * _WIDTH + b"\n"
        else:
            head += line + b"\n"
    head += f"ElementDataFile = {beside or 'LOCAL'}\n".encode()
    if beside:
        return Encoded(layout=layout, compression=compression, data_name=beside, header=head)
    return Encoded(layout=layout, head=head, head_plain=True, compression=compression, size_at=size_at)

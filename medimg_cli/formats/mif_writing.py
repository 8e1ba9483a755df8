"""The writing half of the MRtrix codec: a neutral header to entries, starting from those of its file."""

from __future__ import annotations

import re

from medimg_cli.errors import FormatError, UnsupportedError, UsageError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.detached import data_name
from medimg_cli.formats.mif import neutral, world_scheme
from medimg_cli.formats.mif_text import FACTS_KEY, MAGIC, Entries, to_text, typed, value_lines
from medimg_cli.formats.neutral import FACTS, OF_GRID, to_facts
from medimg_cli.formats.writing import Encoded
from medimg_cli.header import Header, differences

__all__ = ["build", "encoded"]

_NAMES = {
    "bool": "Bit",
    "int8": "Int8",
    "uint8": "UInt8",
    "int16": "Int16LE",
    "uint16": "UInt16LE",
    "int32": "Int32LE",
    "uint32": "UInt32LE",
    "int64": "Int64LE",
    "uint64": "UInt64LE",
    "float32": "Float32LE",
    "float64": "Float64LE",
    "complex64": "CFloat32LE",
    "complex128": "CFloat64LE",
}
#: MRtrix 3.0 has no half precision.
_WIDER = {"float16": "float32"}
#: Voxels begin at a multiple of this.
_ALIGNMENT = 64
_MOST_FACTS = 1 << 23
#: Facts that travel as JSON; units are those of the file that is written.
_CARRIED = tuple(name for name in FACTS if name not in ("space_units", "time_units", "metadata"))


def build(header: Header, name: str) -> Entries:
    """Return the entries of a file, without the place of its voxels.

    A header that came from an MRtrix file starts from its own entries, and only those change whose neutral
    value changed; the order of storage becomes i fastest, then j, k and the other axes.
    """
    _check_name(name)
    native = header.native.data if header.native is not None and header.native.family == "mif" else None
    old = neutral(native, name)[0] if native else None
    entries: Entries = {key: lines for key, lines in (native or {}).items() if key not in ("file", FACTS_KEY)}
    _set_array(entries, header, old, name)
    _set_gradients(entries, header, old)
    _set_metadata(entries, header, old)
    facts = _facts(header, neutral(entries, name)[0], entries)
    if facts:
        entries[FACTS_KEY] = (facts,)
    return entries


def _check_name(name: str) -> None:
    _, suffix, compression = split_suffix(name)
    if suffix == ".mih" and compression is not None:
        raise UsageError("a .mih header is not compressed", path=name, hint="write .mif.gz instead")


def _set_array(entries: Entries, header: Header, old: Header | None, name: str) -> None:
    """Set the entries that say how the voxels lie and where."""
    dtype = _WIDER.get(header.dtype, header.dtype)
    if dtype not in _NAMES:
        hint = "choose one of " + ", ".join(_NAMES)
        raise UnsupportedError(f"MRtrix has no datatype that holds {dtype}", path=name, hint=hint)
    axes = header.channel_axes()
    if len(axes) > 13:
        axes = (("channel", header.channels),)
    sizes = (*header.shape[1:], *(size for _, size in axes))
    same_grid = old is not None and old.affine == header.affine and old.shape == header.shape
    same_axes = same_grid and old is not None and old.axes == header.axes
    if not same_axes or entries["dim"][-1].count(",") + 1 != len(sizes):
        entries["dim"] = (",".join(map(str, sizes)),)
        same_axes = False
    if not same_axes or old is None or old.time_spacing != header.time_spacing:
        steps = [float("nan")] * len(axes)
        if axes and axes[0][0] == "time" and header.time_spacing is not None:
            steps[0] = header.time_spacing
        spacing = [size or 1.0 for size in header.spacing]  # a column of zeros stays one in the transform
        entries["vox"] = (",".join(repr(size) for size in (*spacing, *steps)),)
    entries["layout"] = (",".join(f"+{n}" for n in range(len(sizes))),)
    entries["datatype"] = (_NAMES[dtype],)
    if old is None or old.affine != header.affine:
        rows = zip(header.affine.direction, header.origin, strict=True)
        entries["transform"] = tuple(",".join(map(repr, (*row, at))) for row, at in rows)
    if not header.scaled:
        entries.pop("scaling", None)
    elif old is None or (old.slope, old.inter) != (header.slope, header.inter):
        entries["scaling"] = (f"{header.inter or 0.0!r},{header.slope!r}",)


def _set_gradients(entries: Entries, header: Header, old: Header | None) -> None:
    if header.gradients is None:
        if old is None or old.gradients is not None or old.channels != header.channels:
            entries.pop("dw_scheme", None)
        return
    if old is not None and old.gradients == header.gradients and old.affine == header.affine:
        return
    entries.pop("dw_scheme", None)
    if len(header.channel_axes()) <= 1 and not header.affine.is_singular:
        entries["dw_scheme"] = world_scheme(header.gradients, header.affine)


def _set_metadata(entries: Entries, header: Header, old: Header | None) -> None:
    before = dict(old.metadata) if old is not None else {}
    for key in before:
        if key not in header.metadata:
            entries.pop(key, None)
    for key, value in header.metadata.items():
        if key in before and before[key] == value and type(before[key]) is type(value):
            continue
        lines = value_lines(key, value)
        if lines is not None:
            entries[key] = lines
        elif key in before:
            entries.pop(key, None)


def _unsaid(name: str, header: Header, plain: Header) -> bool:
    """Tell whether a field says something that the entries do not."""
    if name == "axes":
        return header.channel_axes() != plain.channel_axes()
    if name == "gradients":  # turned forth and back they differ in the last digits
        return any(d.field == name for d in differences(header, plain))
    wanted, there = getattr(header, name), getattr(plain, name)
    return bool(wanted != there and (wanted or there))


def _facts(header: Header, plain: Header, entries: Entries) -> str:
    """Return as JSON what the entries do not say; empty where they say all."""
    import json

    facts = to_facts(header, [name for name in _CARRIED if _unsaid(name, header, plain)])
    said = typed(entries, {})
    unsaid = {key: value for key, value in header.metadata.items() if key not in said or said[key] != value}
    if unsaid:
        facts["metadata"] = unsaid
    if OF_GRID.intersection(facts):
        rows = [list(row) for row in plain.affine.rows[:3]]
        facts["grid"] = {"shape": list(plain.shape[1:]), "affine": rows}
    for without in ((), ("extensions",), tuple(facts)):
        kept = {key: value for key, value in facts.items() if key not in without}
        text = json.dumps(kept, separators=(",", ":"), default=str).replace("#", "\\u0023")
        if len(text) < _MOST_FACTS:
            return text if kept else ""
    return ""


def encoded(header: Header, name: str) -> Encoded:
    """Lay out a fitted header for a file of that name."""
    assert header.native is not None
    entries: Entries = header.native.data
    stem, suffix, compression = split_suffix(name)
    layout = neutral(entries, name)[1].layout()
    text = MAGIC.decode() + "\n" + to_text(entries)
    bits = header.dtype == "bool"
    if suffix == ".mih":
        file = re.sub(r"[#\s]", "_", data_name(stem, ".dat"))  # neither can be said in a "file" entry
        head = (text + f"file: {file} 0\nEND\n").encode()
        return Encoded(layout=layout, data_name=file, header=head, bits=bits)
    size = len(text.encode()) + len("file: . \nEND\n") + 18
    offset = -(-size // _ALIGNMENT) * _ALIGNMENT
    if offset > 1 << 24:
        raise FormatError("its key-values are longer than 16 MiB", path=name)
    head = (text + f"file: . {offset}\nEND\n").encode().ljust(offset, b"\0")
    return Encoded(layout=layout, head=head, compression=compression, bits=bits)

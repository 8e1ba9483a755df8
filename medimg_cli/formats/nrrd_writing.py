"""The writing half of the NRRD codec: a neutral header to lines of text, patching native ones where there are some.

Lines of a NRRD file stay verbatim and in their order as long as what they say has not changed: comments, unknown
fields, spellings of numbers, the name of the space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medimg_cli.affine import AffineMatrix
from medimg_cli.dtypes import is_complex
from medimg_cli.formats import keyvalues, nrrd_gradients, split_suffix
from medimg_cli.formats.detached import data_name
from medimg_cli.formats.nrrd import CARRIED, CARRIED_OF_AXES, neutral, plain
from medimg_cli.formats.nrrd_axes import Axes
from medimg_cli.formats.nrrd_fields import DTYPES, Parsed, classify, escape, parse, vector_text, words
from medimg_cli.formats.text import is_plane, storable
from medimg_cli.formats.writing import Encoded
from medimg_cli.header import Header
from medimg_cli.storage.stored import Layout

__all__ = ["build", "encoded"]

_SPACES = {"RAS": "right-anterior-superior", "LAS": "left-anterior-superior", "LPS": "left-posterior-superior"}
_ORDER = (
    "content", "type", "dimension", "space", "space dimension", "sizes", "space directions", "kinds", "endian",
    "encoding", "space units", "space origin", "measurement frame",
)  # fmt: skip
#: Fields that only say where the data lie, or that the sizes say anyway.
_DROPPED = ("number", "block size", "line skip", "byte skip", "data file")
#: Fields of single axes that a changed grid makes wrong.
_OF_AXES = ("spacings", "thicknesses", "axis mins", "axis maxs", "centers", "labels", "units")
_START = (
    b"NRRD0004",
    b"# Complete NRRD file format specification at:",
    b"# http://teem.sourceforge.net/nrrd/format.html",
)
#: Characters of the key "medimg" at most.
_MOST_FACTS = 1 << 20

Fields = dict[str, str | None]


def build(header: Header) -> list[bytes]:
    """Return the lines of a header that says all that NRRD can say of ``header``."""
    header = storable(header, "NRRD")
    native: Parsed | None = None
    old: Header | None = None
    axes: Axes | None = None
    if header.native is not None and header.native.family == "nrrd":
        native = parse(b"\n".join(header.native.data), "")
        old, axes = neutral(native)
    unchanged = old is not None and _same_axes(old, header) and _same_place(old, header)
    header = header.replace(metadata=keyvalues.still_true(header, old, unchanged))
    fields: Fields = dict.fromkeys(_DROPPED)
    fields["type"] = DTYPES[{"complex64": "float32", "complex128": "float64"}.get(header.dtype, header.dtype)]
    fields["encoding"] = "gzip"
    fields["endian"] = "little" if header.itemsize > 1 else None
    if old is None or old.description != header.description:
        fields["content"] = "".join(each if each.isprintable() else " " for each in header.description).strip() or None
    values: dict[str, str] = {}
    if not unchanged:
        fields.update(_axis_fields(header, old, axes, native))
    _add_gradients(header, old, native, unchanged, fields, values)
    if native is not None and old is not None:
        fields.update(_outdated(header, old, native))
    base = neutral(parse(b"\n".join(_compose(native, fields, {}, header.metadata)), ""))[0]
    _add_metadata(header, base, old, native, values)
    lines = _compose(native, fields, values, header.metadata)
    facts = keyvalues.facts_text(header, neutral(parse(b"\n".join(lines), ""))[0], most=_MOST_FACTS)
    if facts:
        lines.append(f"{keyvalues.KEY}:={escape(facts)}".encode())
    return lines


def _same_axes(old: Header, header: Header) -> bool:
    return (old.shape, old.axes, is_complex(old.dtype)) == (header.shape, header.axes, is_complex(header.dtype))


def _same_place(old: Header, header: Header) -> bool:
    return old.affine == header.affine and old.time_spacing == header.time_spacing


def _file_axes(header: Header, old: Header | None, axes: Axes | None, spatial: int) -> list[int]:
    """Return the axes in the order of the file: 0, 1, 2 for I, J, K, 3 + n for the n-th other axis, -1 for complex."""
    kinds = [kind for kind, _ in header.axes]
    if old is not None and axes is not None and kinds == [kind for kind, _ in old.axes]:
        order = [axis for axis in axes.order if axis >= spatial or axis < 3]
        order = [axis for axis in order if axis >= 3 or axis < spatial]
        place = max((n for n, axis in enumerate(order) if axis < 3), default=-1) + 1
        order[place:place] = [axis for axis in range(spatial) if axis not in order]
    else:
        parts = [3 + n for n, kind in enumerate(kinds) if kind in ("vector", "rgb")]
        order = [*parts, *range(spatial), *(3 + n for n in range(len(kinds)) if 3 + n not in parts)]
    return [-1, *order] if is_complex(header.dtype) else order


def _axis_fields(header: Header, old: Header | None, axes: Axes | None, native: Parsed | None) -> Fields:
    """Return all fields that speak of axes, written anew."""
    named = _channel_axes(header)
    timed = any(kind == "time" for kind, _ in named)
    spatial = 2 if not timed and is_plane(header) else 3
    letters = (axes.space.letters if axes is not None and axes.space is not None else None) or "LPS"
    affine = AffineMatrix.between("RAS", letters) @ header.affine if letters != "LPS" else header.affine.to_lps()
    if spatial == 2:
        affine = header.affine.to_lps()
    order = _file_axes(header.replace(axes=named), old, axes, spatial)
    dimension = spatial + timed
    sizes, directions, kinds = [], [], []
    for axis in order:
        vector: list[float] | None = None
        if axis == -1:
            sizes.append(2)
            kinds.append("complex")
        elif axis < 3:
            sizes.append(header.shape[axis + 1])
            kinds.append("domain")
            vector = [affine[row, axis] for row in range(spatial)] + [0.0] * timed
        else:
            kind, size = named[axis - 3]
            sizes.append(size)
            kinds.append(_kind(kind, size, axis - 3, axes, native))
            if kind == "time" and header.time_spacing:
                vector = [0.0, 0.0, 0.0, header.time_spacing]
        directions.append(vector_text(vector))
    origin = [affine[row, 3] for row in range(spatial)] + [0.0] * timed
    name = _SPACES[letters] + ("-time" if timed else "")
    fields: Fields = dict.fromkeys(_OF_AXES)
    fields["dimension"] = str(len(order))
    fields["space"] = name if spatial == 3 else None
    fields["space dimension"] = None if spatial == 3 else "2"
    fields["sizes"] = " ".join(map(str, sizes))
    fields["space directions"] = " ".join(directions)
    fields["kinds"] = " ".join(kinds)
    fields["space units"] = '"mm" "mm" "mm" "s"' if timed else None
    fields["space origin"] = vector_text(origin)
    frame = native.fields.get("measurement frame") if native is not None else None
    if frame is not None and frame.count("(") != dimension:
        fields["measurement frame"] = None
    return fields


def _channel_axes(header: Header) -> tuple[tuple[str, int], ...]:
    """Return the non-spatial axes to write: the axis of diffusion weighting is a list, as NA-MIC's convention asks."""
    axes = header.channel_axes()
    if _weighted(header):
        return (("channel", axes[0][1]),)
    return axes


def _weighted(header: Header) -> bool:
    gradients, axes = header.gradients, header.channel_axes()
    if gradients is None or len(axes) != 1 or header.affine.is_singular:
        return False
    return axes[0][1] == len(gradients.bvals)


def _kind(kind: str, size: int, number: int, axes: Axes | None, native: Parsed | None) -> str:
    """Return the kind of a non-spatial axis, that of the native header where it still means the same."""
    if axes is not None and native is not None and number < len(axes.others):
        where, role = axes.others[number]
        before = words(native, "kinds", len(axes.sizes))[where]
        if before and role == kind and axes.sizes[where] == size:
            return before
    if kind == "rgb":
        return {3: "RGB-color", 4: "RGBA-color"}.get(size, "vector")
    return {"channel": "list", "vector": "vector"}.get(kind, kind)


def _add_gradients(
    header: Header, old: Header | None, native: Parsed | None, unchanged: bool, fields: Fields, values: dict[str, str]
) -> None:
    """Set the key-values and the measurement frame of diffusion gradients."""
    had_them = old is not None and old.gradients is not None
    if had_them and native is not None and old is not None and unchanged and old.gradients == header.gradients:
        keys = nrrd_gradients.gradient_keys(native.values)
        values.update({key: value for key, value in native.values.items() if key in keys})
    elif header.gradients is not None and _weighted(header):
        letters = next((short for short, name in _SPACES.items() if name == fields.get("space")), None)
        if letters is None and native is not None and old is not None:
            axes = neutral(native)[1]
            letters = axes.space.letters if axes.space is not None else None
        values.update(
            nrrd_gradients.to_values(header.gradients, header.affine, AffineMatrix.between("RAS", letters or "LPS"))
        )
        fields["measurement frame"] = "(1,0,0) (0,1,0) (0,0,1)"
    elif had_them:
        fields["measurement frame"] = None


def _outdated(header: Header, old: Header, native: Parsed) -> Fields:
    """Return the fields that are carried as key-values and are no longer, or no longer the same, among them."""
    return {
        field: None
        for field in CARRIED + CARRIED_OF_AXES
        if field in native.fields
        and f"NRRD_{field}" in old.metadata
        and header.metadata.get(f"NRRD_{field}") != old.metadata[f"NRRD_{field}"]
    }


def _add_metadata(
    header: Header, base: Header, old: Header | None, native: Parsed | None, values: dict[str, str]
) -> None:
    """Add the key-values of metadata and labels to those that are there already."""
    before = native.values if native is not None else {}
    for key, value in header.metadata.items():
        if base.metadata.get(key) == value:
            continue  # a field says it
        if old is not None and key.startswith("NRRD_") and key not in before and old.metadata.get(key) == value:
            continue  # a field said it, of axes that are gone
        text = value if before.get(key) == value else plain(key, value)
        if text is not None:
            values[key] = text
    if header.labels is not None and header.channels == 1:
        if old is not None and old.labels == header.labels:
            used = keyvalues.segments_from(before)[1]
            values.update({key: before[key] for key in used})
        else:
            values.update(keyvalues.segments_to(header.labels, header.metadata))


def _compose(
    native: Parsed | None, fields: Mapping[str, str | None], values: Mapping[str, str], metadata: Mapping[str, object]
) -> list[bytes]:
    """Return the lines of a header: native ones as they are, where nothing changed."""
    new_fields = {name: text for name, text in fields.items() if text is not None}
    new_values = dict(values)
    lines: list[bytes] = []
    place, keys = 0, 0
    for line in native.lines[1:] if native is not None else _START[1:]:
        found = classify(line) if line else None
        if found is None:
            continue
        if found.kind == "field":
            if found.name not in fields:
                lines.append(line)
            elif found.name in new_fields:
                lines.append(f"{found.name}: {new_fields.pop(found.name)}".encode())
            place = len(lines)
        elif found.kind == "comment" or (found.kind == "unknown" and metadata.get(found.name) == found.text):
            lines.append(line)
            place = place if keys else len(lines)
        elif found.kind == "key" and found.name in new_values:
            keys += 1
            text = new_values.pop(found.name)
            lines.append(line if text == found.text else f"{escape(found.name)}:={escape(text)}".encode())
    ordered = [name for name in _ORDER if name in new_fields] + [name for name in new_fields if name not in _ORDER]
    lines[place:place] = [f"{name}: {new_fields[name]}".encode() for name in ordered]
    lines += [f"{escape(key)}:={escape(text)}".encode() for key, text in new_values.items()]
    return [_magic(native, lines), *lines]


def _magic(native: Parsed | None, lines: Sequence[bytes]) -> bytes:
    """Return the oldest magic that allows all the fields (section 1.1), but none older than before."""
    needed = 5 if any(line.startswith(b"measurement") for line in lines) else 4
    before = native.lines[0].strip()[-1:] if native is not None else b"4"
    return b"NRRD000%d" % max(needed, int(before))


def encoded(header: Header, layout: Layout, name: str, level: int | None) -> Encoded:
    """Lay out a fitted header for a file of that name."""
    assert header.native is not None
    stem, suffix, _ = split_suffix(name)
    compression = None if level == 0 else "gzip"
    lines: list[bytes] = []
    beside = data_name(stem, ".raw.gz" if compression else ".raw") if suffix == ".nhdr" else None
    for line in header.native.data:
        found = classify(line)
        if found is not None and found.kind == "field" and found.name == "encoding":
            line = b"encoding: " + (b"gzip" if compression else b"raw")
            lines += [line, f"data file: {beside}".encode()] if beside else [line]
        else:
            lines.append(line)
    text = b"\n".join(lines) + b"\n\n"
    if beside:
        return Encoded(layout=layout, compression=compression, data_name=beside, header=text)
    return Encoded(layout=layout, head=text, head_plain=True, compression=compression)

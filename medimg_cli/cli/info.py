"""``medimg info``: what headers say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medimg_cli.cli.options import Form, Paths, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields, escape, value_text
from medimg_cli.facts import inspect_images
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.urls import public_name
from medimg_cli.text import size_text

if TYPE_CHECKING:
    from medimg_cli.facts import Inspection
    from medimg_cli.header import Header

__all__ = ["info"]


@with_options
def info(
    paths: Paths,
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Print the bare value of this fact, one line per image; may be repeated."),
    ] = None,
    all_fields: Annotated[
        bool, typer.Option("--all", "-a", help="Also show every field of the file's own header.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look for images in folders.")] = False,
    phi: Annotated[bool, typer.Option("--phi", help="Show fields that tell who the patient is.")] = False,
    *,
    reading: Reading,
    console: Console,
) -> int:
    """Show what image files say about themselves: shape, spacing, orientation, type, and what is odd about them.

    Only headers are read, so this is instant for images of any size. One image gives all its facts, several give a
    line each, where * marks a type whose stored numbers are scaled. An image that cannot be read does not stop the
    others; the exit code is then 2. A Zarr store is one image, and so is each series of a folder or archive of DICOM
    files; 'medimg dicom' says more of those. Of a URL, only the first bytes are fetched.

    Axes are (C, I, J, K), channels or time first. World is RAS+ in mm. The letters of an orientation say where each
    voxel axis runs to.

    Examples:

        medimg info scan.nii.gz
        medimg info --recursive study/
        medimg info --series '*T1*' dicom/
        medimg info https://example.org/scan.nii.gz
        medimg info --field shape --field spacing_mm *.nii.gz
        medimg info --json scan.nii.gz | jq '.[].affine'
    """
    tally = _Tally(inspect_images(paths, recursive=recursive, native=all_fields, phi=phi, reading=reading), console)
    if field:
        emit_fields(tally.facts(), field, console=console)
    elif json or form != "table":
        emit("json" if json else form, tally.facts(), columns=(), console=console)
    else:
        _show(list(tally), console)
    return 2 if tally.failed else 0


class _Tally:
    """Pass records on, say on stderr which failed, and count those."""

    def __init__(self, inspected: Iterable[Inspection], console: Console) -> None:
        self._inspected, self._console, self.failed = inspected, console, 0

    def __iter__(self) -> Iterator[Inspection]:
        for one in self._inspected:
            if one.header is None:
                self.failed += 1
                self._console.trace(one.cause)
                self._console.error(one.message)
            yield one

    def facts(self) -> Iterator[dict[str, Any]]:
        return (one.facts for one in self)


def _show(inspected: Sequence[Inspection], console: Console) -> None:
    """Print one image, or each with all fields, as a page; several as a line each."""
    read = [(one.facts, one.header) for one in inspected if one.header is not None]
    if len(inspected) == 1 or any("native" in facts for facts, _ in read):
        for number, (facts, header) in enumerate(read):
            if number:
                console.out("")
            rows = [{"name": name, "text": _fitted(name, text)} for name, text in page(facts, header)]
            emit("table", rows, columns=_PAGE, console=console)
        return
    records = [one.facts for one in inspected]
    emit("table", records, columns=_columns(records), console=console)
    several = _several(records)
    for text in dict.fromkeys(text for one in inspected for text in _warnings(one, several)):
        console.warning(text)


def _warnings(one: Inspection, several: Collection[str]) -> Iterator[str]:
    """Yield what is odd about an image, or about the path of several."""
    name = whole = public_name(one.facts["path"])
    if one.facts["path"] in several:
        name += f" @{one.facts['series']['index']}"
    for warning in one.facts.get("warnings", ()):
        yield f"{whole if warning in one.shared else name}: {warning}"


def _several(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the paths that hold several series."""
    counts = Counter(record["path"] for record in records if record.get("series"))
    return {path for path, count in counts.items() if count > 1}


_PAGE = (Column("", lambda row: row["name"]), Column("", lambda row: row["text"]))


def _cell(name: str) -> Column:
    title, text = _CELLS[name]
    return Column(title, lambda facts: "-" if "error" in facts else text(facts))


_LONG = {"time": "time steps", "channel": "channels", "vector": "vector components", "rgb": "colour components"}
_SHORT = {"channel": ""}

_CELLS: Mapping[str, tuple[str, Any]] = {
    "shape": ("SHAPE", lambda facts: "x".join(map(str, facts["spatial_shape"]))),
    "axes": ("CHANNELS", lambda facts: " x ".join(_axes(facts, _SHORT)) or "1"),
    "spacing": ("SPACING mm", lambda facts: "x".join(f"{step:.4g}" for step in facts["spacing_mm"])),
    "orientation": ("ORIENT", lambda facts: facts["orientation"]),
    "dtype": ("TYPE", lambda facts: facts["dtype"] + ("*" if _scaled(facts) else "")),
}

_PATH = Column("PATH", lambda facts: public_name(facts["path"]) + (" (failed)" if "error" in facts else ""))


def _columns(records: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the columns of a table: those of series where there are any, and what chooses one of several."""
    first = [_RANK] if _several(records) else []
    series = [record["series"] for record in records if record.get("series")]
    names = [
        _series_cell(title, key) for title, key in _SERIES.items() if any(each[key] is not None for each in series)
    ]
    return [*first, *names, *map(_cell, _CELLS), _PATH]


_RANK = Column("@", lambda facts: f"@{facts['series']['index']}" if facts.get("series") else "")
_SERIES = {"NUMBER": "number", "DESCRIPTION": "description", "LABEL": "label"}


def _series_cell(title: str, key: str) -> Column:
    def cell(facts: Mapping[str, Any]) -> str:
        value = (facts.get("series") or {}).get(key)
        return "" if value is None else str(value)

    return Column(title, cell, right=key == "number")


def _fitted(name: str, text: str | Sequence[str]) -> list[str]:
    """Break lines of prose so that the page has 80 columns; a path stays whole."""
    from textwrap import wrap

    lines = [text] if isinstance(text, str) else text
    return [
        part
        for line in lines
        for part in ([line] if name in ("path", "affine") else wrap(escape(line), 66, break_on_hyphens=False))
    ]


def page(facts: Mapping[str, Any], header: Header) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what to show of one image, as (name, text or lines); absent facts are left out.

    Parameters
    ----------
    facts : mapping
        The record of ``header``.
    header : Header
    """
    shown = (
        ("path", public_name(facts["path"])),
        ("format", _format(facts)),
        ("shape", " x ".join(map(str, facts["spatial_shape"])) + "".join(f", {axis}" for axis in _axes(facts, _LONG))),
        ("spacing", _spacing(facts)),
        ("extent", f"{_numbers(facts['extent_mm'])} mm"),
        ("orientation", _orientation(facts)),
        ("origin", f"{_numbers(facts['origin_mm'], ', ')} mm (RAS+)"),
        ("affine", _matrix(facts["affine"])),
        ("affine from", _source(facts, header)),
        ("type", _type(facts)),
        ("memory", size_text(facts["memory_bytes"], "bytes")),
        ("intent", facts["intent"]),
        ("description", facts["description"]),
        ("series", _series(facts["series"])),
        ("carries", _carried(header)),
        ("warning", facts["warnings"]),
    )
    yield from ((name, text) for name, text in shown if text)
    if "patient" in facts:
        yield "", ""
        yield from facts["patient"].items()
    if "native" in facts:
        yield "", ""
        yield from ((name, value_text(value)) for name, value in facts["native"].items())


def _series(series: Mapping[str, Any] | None) -> str:
    """Say which series an image is."""
    words = ("number", "modality", "label")
    return ", ".join(str(series[word]) for word in words if series[word] is not None) if series else ""


def _axes(facts: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    """Name the axes beside space that have more than one step."""
    axes = facts["axes"] or [{"kind": "channel", "size": facts["channels"]}]
    shown = [(axis["size"], words.get(axis["kind"], axis["kind"])) for axis in axes if axis["size"] > 1]
    return [f"{size} {word}".rstrip() for size, word in shown]


def _scaled(facts: Mapping[str, Any]) -> bool:
    return facts["slope"] is not None and (facts["slope"], facts["inter"] or 0.0) != (1.0, 0.0)


def _numbers(values: Iterable[float], joint: str = " x ") -> str:
    return joint.join(f"{value + 0.0:.6g}" for value in values)


def _format(facts: Mapping[str, Any]) -> str:
    from medimg_cli.formats import find_format

    words = [find_format(facts["format"]).title if facts["format"] else "", facts["compression"]]
    if facts["file_bytes"] is not None:
        words.append(size_text(facts["file_bytes"], "bytes"))
    return ", ".join(word for word in words if word)


def _spacing(facts: Mapping[str, Any]) -> str:
    step = facts["time_spacing_s"]
    return f"{_numbers(facts['spacing_mm'])} mm" + (f", {step:.6g} s" if step is not None else "")


_TOWARDS = {"R": "right", "L": "left", "A": "anterior", "P": "posterior", "S": "superior", "I": "inferior"}


def _orientation(facts: Mapping[str, Any]) -> list[str]:
    words = ", ".join(_TOWARDS[letter] for letter in facts["orientation"])
    angles = (("oblique", facts["obliquity_deg"]), ("sheared", facts["shear_deg"]))
    return [
        f"{facts['orientation']} (axes run to {words})",
        *(f"{what} by {angle:.3g} degrees" for what, angle in angles if angle > 0.01),
    ]


def _matrix(rows: Sequence[Sequence[float]]) -> list[str]:
    """Write the upper three rows in columns; what the rounding of float32 left of a zero is a zero."""
    noise = 1e-7 * max(abs(value) for row in rows for value in row[:3])
    cells = [[f"{value:.6g}" if abs(value) > noise else "0" for value in row] for row in rows[:3]]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    return ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]


def _source(facts: Mapping[str, Any], header: Header) -> list[str]:
    source = str(facts["affine_source"])
    codes = [f"{name} code {facts[f'{name}_code']}" for name in ("sform", "qform") if facts[f"{name}_code"] is not None]
    lines = [f"{source} ({', '.join(codes)})" if codes else source]
    if header.sform_code and header.qform_code and header.sform is not None and header.qform is not None:
        apart = header.sform.mm_shift(header.qform, header.spatial_shape)
        lines.append(f"sform and qform are {apart:.3g} mm apart" if apart > 1e-3 else "sform and qform agree")
    return lines


def _type(facts: Mapping[str, Any]) -> str:
    times = f" * {facts['slope']:.6g}" if _scaled(facts) and facts["slope"] != 1 else ""
    scale = f", value = stored{times}{_added(facts['inter'])}" if _scaled(facts) else ""
    return f"{facts['dtype']}, {facts['byte_order']} endian{scale}"


def _added(inter: float | None) -> str:
    return f" {'-' if inter < 0 else '+'} {abs(inter):.6g}" if inter else ""


def _carried(header: Header) -> str:
    """Name what the file holds beside its image."""
    gradients, labels = header.gradients, header.labels
    counts = (
        (len(gradients.bvals) if gradients is not None else 0, "gradient directions", "gradient direction"),
        (len(labels) if labels is not None else 0, "labels", "label"),
        (len(header.metadata), "key-values", "key-value"),
        (len(header.history), "steps of history", "step of history"),
        (len(header.extensions), "extensions", "extension"),
    )
    return ", ".join(f"{count} {one if count == 1 else many}" for count, many, one in counts if count)

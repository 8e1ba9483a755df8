"""``medimg dicom``: what DICOM folders and archives hold, series by series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from medimg_cli.cataloguing import list_dicom
from medimg_cli.cli.options import Form, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields, escape
from medimg_cli.cli.running import Tally
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.urls import public_name

__all__ = ["dicom"]


@with_options
def dicom(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Folders, DICOMDIRs, zip and tar archives, files.", show_default=False),
    ],
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Print the bare value of this key of --json, one line per series that can be read; may be repeated.",
        ),
    ] = None,
    phi: Annotated[bool, typer.Option("--phi", help="Show who the patient is, and when and where that was.")] = False,
    *,
    reading: Reading,
    console: Console,
) -> int:
    """List the DICOM series of folders and archives: what each is, whether it can be read, and what is wrong with it.

    A folder is searched with all folders in it, by content: files need no suffix. The first column is what --series
    takes in every command. SLICES counts positions times steps of time, SYNTAX is how pixels are stored (LE is
    little endian), and marked with ! where nothing that is installed decodes it.

    PROBLEMS says of missing, double and uneven slices which files they lie between and how many mm are missing; of a
    tilted gantry the angle; and which objects are not supported. Only headers are read. With --series one series is
    shown in full.

    A series with a problem is listed like others: the exit code is 2 only where a path holds no DICOM at all, or
    cannot be read. Who the patient is, is neither read nor shown unless --phi asks for it.

    Examples:

        medimg dicom study/
        medimg dicom --series @2 study/
        medimg dicom --json export.zip | jq '.[] | select(.error)'
        medimg dicom --field index --field description study/
    """
    tally = Tally(list_dicom(paths, reading=reading, phi=phi), console)
    if field:
        emit_fields(tally, field, console=console)
    elif json or form != "table":
        emit("json" if json else form, tally, columns=(), console=console)
    else:
        _show([record for record in tally if "files" in record], len(paths), reading, console)
    return 2 if tally.failed else 0


def _show(records: Sequence[Mapping[str, Any]], paths: int, reading: Reading, console: Console) -> None:
    """Print all series as a row each, or those that were chosen as a page each."""
    if reading.series is None and not any("patient" in record for record in records):
        emit("table", records, columns=_columns(records, paths), console=console)
        return
    for number, record in enumerate(records):
        if number:
            console.out("")
        rows = [{"name": name, "text": _fitted(name, text)} for name, text in _page(record) if text]
        emit("table", rows, columns=_PAGE, console=console)


_PAGE = (Column("", lambda row: row["name"]), Column("", lambda row: row["text"]))


def _columns(records: Sequence[Mapping[str, Any]], paths: int) -> list[Column]:
    """Return the columns that say something about these series."""
    shown = {
        "LABEL": any(record["label"] for record in records),
        "PROBLEMS": any(any(_short_problems(record)) for record in records),
        "PATH": paths > 1,
    }
    return [column for column in _COLUMNS if shown.get(column.title, True)]


def _text(key: str) -> Any:
    return lambda record: "" if record[key] is None else str(record[key])


def _known(values: Sequence[float | None] | None, pattern: str) -> str:
    return "" if values is None else "x".join(format(value, pattern) for value in values if value is not None)


def _slices(record: Mapping[str, Any]) -> str:
    if record["slices"] is None:
        return ""
    return f"{record['slices']}" if record["times"] == 1 else f"{record['slices']} x {record['times']}"


def _syntax(record: Mapping[str, Any]) -> list[str]:
    return [row["name"] + ("" if row["decodable"] else " !") for row in record["syntaxes"]] or [""]


def _short_syntax(record: Mapping[str, Any]) -> list[str]:
    return [name.replace(" VR Little Endian", " LE").replace(" VR Big Endian", " BE") for name in _syntax(record)]


def _short_problems(record: Mapping[str, Any]) -> list[str]:
    """Return what is wrong; that a series is several images, the table shows."""
    return [problem["message"] for problem in record["problems"] if problem["code"] != "mixed"] or [""]


_COLUMNS = (
    Column("@", lambda record: "" if record["index"] is None else f"@{record['index']}"),
    Column("NUMBER", _text("number"), right=True),
    Column("DESCRIPTION", _text("description")),
    Column("LABEL", _text("label")),
    Column("MODALITY", _text("modality")),
    Column("SIZE", lambda record: _known((record["spatial_shape"] or ())[:2], "d")),
    Column("SPACING mm", lambda record: _known(record["spacing_mm"], ".4g")),
    Column("SLICES", _slices, right=True),
    Column("ORIENT", _text("orientation")),
    Column("FILES", _text("files"), right=True),
    Column("SYNTAX", _short_syntax),
    Column("PATH", lambda record: public_name(record["path"])),
    Column("PROBLEMS", _short_problems),
)


def _page(record: Mapping[str, Any]) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what to show of one series, as (name, text or lines); what is absent has no text."""
    yield "path", public_name(record["path"])
    yield "series", ", ".join(filter(None, (f"@{record['index']}" if record["index"] else "", _text("number")(record))))
    yield from ((key, _text(key)(record)) for key in ("description", "label", "modality", "kind", "uid"))
    yield "files", f"{record['files']}, {record['file_bytes']} bytes; the first is {record['first_file']}"
    yield "size", _known(record["spatial_shape"], "d")
    yield "slices", _slices(record)
    yield "spacing", f"{_known(record['spacing_mm'], '.6g')} mm" if record["spacing_mm"] else ""
    yield "time step", f"{record['time_spacing_s']:.6g} s" if record["time_spacing_s"] else ""
    yield "orientation", _text("orientation")(record)
    yield "oblique", f"{record['obliquity_deg']:.3g} degrees" if (record["obliquity_deg"] or 0) > 0.01 else ""
    yield "tilt", f"{record['tilt_deg']:.3g} degrees" if record["tilt_deg"] else ""
    yield "affine", [" ".join(f"{value:11.6g}" for value in row) for row in (record["affine"] or ())[:3]]
    yield "type", _text("dtype")(record)
    yield "syntax", _syntax(record)
    yield "problem", [problem["message"] for problem in record["problems"]]
    yield "warning", record["warnings"]
    yield from record.get("patient", {}).items()


def _fitted(name: str, text: str | Sequence[str]) -> list[str]:
    """Break lines of prose so that the page has 80 columns; paths and numbers stay whole."""
    from textwrap import wrap

    lines = [text] if isinstance(text, str) else text
    whole = name in ("path", "affine", "uid", "files")
    return [part for line in lines for part in ([line] if whole else wrap(escape(line), 60, break_on_hyphens=False))]

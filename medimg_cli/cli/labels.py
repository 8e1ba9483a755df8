"""``medimg labels``: what label maps hold, and other labels for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import Form, Level, Strict, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields
from medimg_cli.cli.running import Tally, run_batch
from medimg_cli.errors import UsageError
from medimg_cli.formats.reading import Reading
from medimg_cli.labelling import list_labels, save_table
from medimg_cli.labels import LabelTable
from medimg_cli.listing import Listing
from medimg_cli.operations.relabelling import label_requests
from medimg_cli.pipeline import Pipeline
from medimg_cli.storage.urls import public_name

__all__ = ["labels"]

Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH... [OUT]",
        help="Label maps; with an option that changes labels, the last path is the output. - is standard input or "
        "output.",
        show_default=False,
    ),
]
Table = Annotated[
    str | None, typer.Option(metavar="LUT", help="Take names and colours from this file, not from the image.")
]
Neighbours = Annotated[
    Literal["6", "26"],
    typer.Option(help="What is connected: voxels that share a face (6), or a corner as well.", metavar="6|26"),
]
Field = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Print the bare value of this key of --json, one line per label; may be repeated."
    ),
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save-table",
        metavar="FILE",
        help="Write the table of the image to this file, and list nothing: .ctbl, .tsv, .json, .label, .txt, .lut.",
    ),
]


def _change(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, rich_help_panel="Changes", show_default=False)


@with_options
def labels(
    paths: Images = None,
    table: Table = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also list 0, the background, and labels of the table without voxels.")
    ] = False,
    components: Annotated[bool, typer.Option("--components", help="Count the connected pieces of each label.")] = False,
    neighbours: Neighbours = "26",
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Field = None,
    remap: Annotated[str | None, _change("OLD=NEW,...", "Give labels other numbers, all at once: 3=1,liver=2.")] = None,
    keep: Annotated[str | None, _change("LABELS", "Keep these labels, 1,2,liver; others become 0.")] = None,
    merge: Annotated[
        list[str] | None, _change("LABELS=NEW[:NAME]", "Make several labels one: 10,11=1:lungs; may be repeated.")
    ] = None,
    extract: Annotated[str | None, _change("LABELS", "Make a mask: 1 where one of these is, 0 elsewhere.")] = None,
    embed: Annotated[
        bool,
        typer.Option("--embed", help="Store the table of --table in the output.", rich_help_panel="Changes"),
    ] = False,
    save: Save = None,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """List the labels of label maps: how large each is, where it lies, what it is called; or change them.

    Names and colours come from the image itself (.seg.nrrd, MGZ, and all that medimg wrote), or from the table X.tsv
    beside it (BIDS). --table overrides both: FreeSurfer, ITK-SNAP, 3D Slicer, BIDS, MRtrix or JSON. Where a label is
    asked for, its name will do.

    Volumes are voxels times the volume of a voxel. The centroid is in world coordinates (RAS+). The box counts voxels
    from 0, its high ends excluded, as Python does. An image of any size is read once, in blocks.

    With --remap, --keep, --merge, --extract or --embed the last path is the output, as in medimg reorient. Names and
    colours follow.
    A format without room for them gets a table beside the output: OUT.tsv.

    Examples:

        medimg labels seg.nii.gz
        medimg labels --table FreeSurferColorLUT.txt --components aseg.mgz
        medimg labels --field name --field volume_mm3 seg.seg.nrrd
        medimg labels --keep liver,spleen seg.nii.gz organs.nii.gz
        medimg labels --merge 10,11,12=1:lungs seg.nii.gz lungs.nii.gz
        medimg labels --extract 17,53 aseg.mgz hippocampi.nii.gz
        medimg labels --save-table seg.ctbl seg.nii.gz
    """
    names = None if table is None else LabelTable.read(table)
    requests = label_requests(remap=remap, keep=keep, merge=merge or (), extract=extract, table=names, embed=embed)
    table_only = {"--field": field, "--components": components, "--all": every}
    listing = {"--json": json, "--format": form != "table", **table_only}
    if requests and save is None:
        _refuse(listing)
        pipeline = Pipeline(operations=requests, level=compression_level, strict=strict)
        return run_batch(
            paths, Work("medimg_cli.pipeline:process", pipeline), batch=batch, reading=reading, console=console
        )
    images = _inputs(paths, batch, changes=bool(requests), saves=save is not None)
    if save is not None:
        return _save(images[0], save, names, batch, reading, console)
    number: Literal[6, 26] = 6 if neighbours == "6" else 26
    found = list_labels(images, table=names, every=every, components=components, neighbours=number, reading=reading)
    return _list(found, "json" if json else form, field, console)


def _refuse(listing: Mapping[str, object]) -> None:
    """Refuse options for a list where an image is written."""
    given = [option for option, value in listing.items() if value]
    if given:
        raise UsageError(f"{given[0]} is for listing labels, and an image is written", hint="list them afterwards")


def _inputs(paths: Sequence[str] | None, batch: BatchOptions, *, changes: bool, saves: bool) -> list[str]:
    """Return the images to be looked at; what only an output could be told makes no sense for them."""
    if changes:
        raise UsageError("--save-table changes no image", hint="write the image first, then save its table")
    if batch != BatchOptions(force=batch.force and saves):
        hint = "give one of --remap, --keep, --merge, --extract and --embed"
        raise UsageError("no image is written, so options for outputs and batches mean nothing", hint=hint)
    if not paths:
        raise UsageError("no image", hint="give PATH..., see 'medimg labels --help'")
    if saves and len(paths) > 1:
        raise UsageError(f"{len(paths)} images for one table", hint="give --save-table one image")
    return list(paths)


def _save(
    image: str, target: str, table: LabelTable | None, batch: BatchOptions, reading: Reading, console: Console
) -> int:
    """Write the table of one image, and return the exit code."""
    for sentence in save_table(image, target, table=table, force=batch.force, reading=reading):
        console.warning(f"{target}: {sentence}")
    return 0


def _list(found: Iterator[Listing], form: str, fields: Sequence[str] | None, console: Console) -> int:
    """Print labels, and return the exit code."""
    tally = Tally(found, console)
    if fields:
        emit_fields(tally, fields, console=console)
    elif form != "table":
        emit(form, tally, columns=(), console=console)
    else:
        records = [record for record in tally if "error" not in record]
        emit("table", records, columns=_columns(records), console=console)
    return 2 if tally.failed else 0


def _columns(records: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Return the columns that say something about these labels."""
    several = {
        "COLOR": any(record["color"] for record in records),
        "NAME": any(record["name"] for record in records),
        "CHANNEL": any(record["channel"] is not None for record in records),
        "COMPONENTS": any(record["components"] is not None for record in records),
        "PATH": len({record["path"] for record in records}) > 1,
    }
    return [column for column in _COLUMNS if several.get(column.title, True)]


def _box(record: Mapping[str, Any]) -> str:
    return " ".join(f"{low}:{high}" for low, high in record["box"] or ())


def _point(record: Mapping[str, Any]) -> str:
    return " ".join(f"{value + 0.0:.1f}" for value in record["centroid_mm"] or ())


def _rgb(record: Mapping[str, Any]) -> tuple[int, int, int] | None:
    text = record["color"]
    return None if text is None else (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16))


def _count(key: str) -> Any:
    return lambda record: "" if record[key] is None else str(record[key])


_COLUMNS = (
    Column("VALUE", _count("value"), right=True),
    Column("COLOR", lambda record: record["color"] or "", swatch=_rgb),
    Column("NAME", lambda record: record["name"] or ""),
    Column("CHANNEL", _count("channel"), right=True),
    Column("VOXELS", _count("voxels"), right=True),
    Column("MM3", lambda record: f"{record['volume_mm3']:.1f}", right=True),
    Column("COMPONENTS", _count("components"), right=True),
    Column("CENTROID mm", _point, right=True),
    Column("BOX", _box),
    Column("PATH", lambda record: public_name(record["path"])),
)

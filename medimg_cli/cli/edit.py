"""``medimg edit``: other facts for the same voxels."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading

__all__ = ["edit"]

_GEOMETRY, _FACTS = "Geometry", "Facts"
Text = str | None

Spacing = Annotated[Text, typer.Option(metavar="MM", help="Voxel size: 1, or 1,1,2.5.", rich_help_panel=_GEOMETRY)]
Origin = Annotated[
    Text,
    typer.Option(metavar="X,Y,Z", help="Where voxel 0,0,0 lies, RAS+ mm.", rich_help_panel=_GEOMETRY),
]
Center = Annotated[
    Text,
    typer.Option(metavar="X,Y,Z", help="Where the centre of the image lies, RAS+ mm.", rich_help_panel=_GEOMETRY),
]
Orientation = Annotated[
    Text,
    typer.Option(metavar="CODES", help="Where the voxel axes run to: RAS, LPS ...", rich_help_panel=_GEOMETRY),
]
Direction = Annotated[
    Text,
    typer.Option(metavar="NUMBERS", help="Unit vectors of the axes in columns, 9 numbers.", rich_help_panel=_GEOMETRY),
]
Affine = Annotated[
    Text,
    typer.Option(
        metavar="FILE",
        help="Voxel to RAS+ mm: a text file of 4 x 4 numbers, or 12 or 16 numbers.",
        rich_help_panel=_GEOMETRY,
    ),
]
Lps = Annotated[
    bool,
    typer.Option(
        "--lps",
        help="--origin, --center, --direction and --affine are in LPS+, as in ITK and DICOM.",
        rich_help_panel=_GEOMETRY,
    ),
]
CopyGeometry = Annotated[
    Text,
    typer.Option(
        metavar="FILE", help="Take affine, both NIfTI forms and codes of this image.", rich_help_panel=_GEOMETRY
    ),
]
Form = Annotated[
    Literal["both", "sform", "qform"],
    typer.Option(help="Which NIfTI form gets the new geometry.", rich_help_panel=_GEOMETRY),
]
SformCode = Annotated[int | None, typer.Option(metavar="N", help="0: not used; 1 to 5.", rich_help_panel=_GEOMETRY)]
QformCode = Annotated[int | None, typer.Option(metavar="N", help="0: not used; 1 to 5.", rich_help_panel=_GEOMETRY)]
Units = Annotated[
    Text,
    typer.Option(
        metavar="UNITS",
        help="Units that the numbers of the file are in: um, mm, m; s, ms, us; um,ms.",
        rich_help_panel=_GEOMETRY,
    ),
]
Tr = Annotated[
    float | None,
    typer.Option("--tr", metavar="SECONDS", help="Time from step to step; 0: none.", rich_help_panel=_FACTS),
]
Intent = Annotated[
    Text,
    typer.Option(metavar="NAME", help="What values are: label, estimate, zscore ..., none.", rich_help_panel=_FACTS),
]
Description = Annotated[Text, typer.Option(metavar="TEXT", help="Free text.", rich_help_panel=_FACTS)]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key-value; may be repeated.", rich_help_panel=_FACTS),
]
Remove = Annotated[
    list[str] | None,
    typer.Option("--unset", metavar="KEY", help="Drop a key-value; may be repeated.", rich_help_panel=_FACTS),
]
Bvals = Annotated[Text, typer.Option(metavar="FILE", help="Attach b-values, with --bvecs.", rich_help_panel=_FACTS)]
Bvecs = Annotated[Text, typer.Option(metavar="FILE", help="Directions in FSL's convention.", rich_help_panel=_FACTS)]
ClearHistory = Annotated[
    bool, typer.Option("--clear-history", help="Forget the steps of earlier operations.", rich_help_panel=_FACTS)
]


@with_options
def edit(
    paths: InOut = None,
    spacing: Spacing = None,
    origin: Origin = None,
    center: Center = None,
    orientation: Orientation = None,
    direction: Direction = None,
    affine: Affine = None,
    lps: Lps = False,
    copy_geometry: CopyGeometry = None,
    form: Form = "both",
    sform_code: SformCode = None,
    qform_code: QformCode = None,
    units: Units = None,
    tr: Tr = None,
    intent: Intent = None,
    description: Description = None,
    assign: Assign = None,
    remove: Remove = None,
    bvals: Bvals = None,
    bvecs: Bvecs = None,
    clear_history: ClearHistory = False,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Change what a header says. Voxels stay as they are, bit for bit, and so does all that is not asked for.

    Standard error tells each field that changes, old and new, and how far the image moves in mm. To edit a file in
    place, name it twice and say --force: it is replaced at once or not at all.

    --spacing leaves voxel 0,0,0 where it is. --orientation is for headers that are wrong: no voxel moves, so the
    anatomy turns, and the centre stays; medimg reorient is what turns voxels and keeps the anatomy. --units changes
    what the numbers mean: 1 that was meant in um and read as mm becomes 0.001 mm.

    A new geometry goes into both NIfTI forms, which keep their codes, unless --form picks one. It ends the recorded
    history, because the grids in it are no longer true.

    Examples:

        medimg edit --tr 2 bold.nii.gz fixed.nii.gz
        medimg edit --copy-geometry t1.nii.gz mask.nii.gz mask_on_t1.nii.gz
        medimg edit --center 0,0,0 --force scan.nii.gz scan.nii.gz
        medimg edit --intent label --description 'by hand' seg.nii.gz out.nii.gz
    """
    from medimg_cli.editing import Editing, EditRequest

    wanted = EditRequest(
        spacing=spacing, origin=origin, center=center, orientation=orientation, direction=direction, affine=affine,
        lps=lps, copy_geometry=copy_geometry, form=form, sform_code=sform_code, qform_code=qform_code, units=units,
        tr=tr, intent=intent, description=description, assign=tuple(assign or ()), remove=tuple(remove or ()),
        bvals=bvals, bvecs=bvecs, clear_history=clear_history,
    )  # fmt: skip
    work = Work("medimg_cli.editing:process", Editing(wanted, level=compression_level, strict=strict))
    return run_batch(paths, work, batch=batch, reading=reading, console=console)

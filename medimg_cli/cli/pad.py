"""``medimg pad``: voxels around an image."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.pipeline import Pipeline

__all__ = ["pad"]


@with_options
def pad(
    paths: InOut = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="AMOUNT", help="Add this at all ends: 10 (voxels), 10mm, 5%; or I,J,K; or LO:HI."),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(metavar="LETTER", help="The end for the --by of this place: R, L, A, P, S or I."),
    ] = None,
    to_multiple: Annotated[
        str | None, typer.Option(metavar="N", help="Grow to the next multiple about the centre: 16, or 16,16,8.")
    ] = None,
    to_shape: Annotated[
        str | None, typer.Option(metavar="N", help="Grow to that many voxels about the centre: 128, or 128,128,64.")
    ] = None,
    to_cube: Annotated[
        bool, typer.Option("--to-cube", help="Give all axes as many voxels as the longest has.")
    ] = False,
    or_crop: Annotated[
        bool, typer.Option("--or-crop", help="With --to-shape, crop where the image is larger.")
    ] = False,
    mode: Annotated[
        Literal["constant", "edge", "reflect", "symmetric", "wrap"],
        typer.Option(help="What the new voxels hold: a value, or the image continued, as numpy.pad does."),
    ] = "constant",
    fill: Annotated[
        float | None, typer.Option(metavar="VALUE", help="Value for --mode constant. Default: 0.", show_default=False)
    ] = None,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Add voxels around an image, its own as they are; the image stays where it was in the world.

    One of --by, --to-multiple, --to-shape and --to-cube says how many; standard error says what that is in voxels.
    'medimg undo' takes them off again.

    Amounts are voxels, or millimetres (10mm) and percent of the extent (5%) along the voxel axis, added at all ends.
    Three with commas between them are for i, j and k, LO:HI for the low and the high end: 10:20,0,5mm:0. With --axis
    they are added at the end that lies nearest to the letter; --axis and --by can be repeated. What is not a whole
    number of voxels is rounded up.

    The modes are those of numpy.pad: constant (--fill), edge (the outermost voxel), reflect and symmetric (mirrored,
    without and with the outermost voxel), wrap (the image again).

    Examples:

        medimg pad --to-multiple 16 t1.nii.gz t1_for_network.nii.gz
        medimg pad --to-shape 256 --or-crop --fill -1000 ct.nii.gz ct_256.nii.gz
        medimg pad --axis S --by 30mm --mode edge part.nii.gz longer.nii.gz
        medimg pad --by 2,2,0 study/*.nii.gz --output-dir padded
    """
    from medimg_cli.operations.cropping import PadRequest

    ends, letters = tuple(by or ()), tuple(axis or ())
    wanted = PadRequest(ends, letters, to_multiple, to_shape, to_cube, or_crop, mode, fill)
    work = Work("medimg_cli.pipeline:process", Pipeline(operations=(wanted,), level=compression_level, strict=strict))
    return run_batch(paths, work, batch=batch, reading=reading, console=console)

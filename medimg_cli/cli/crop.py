"""``medimg crop``: a smaller box of an image."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.pipeline import Pipeline

__all__ = ["crop"]


@with_options
def crop(
    paths: InOut = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="AMOUNT", help="Take this off all ends: 10 (voxels), 10mm, 5%; or I,J,K; or LO:HI."),
    ] = None,
    axis: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LETTER",
            help="R, L, A, P, S or I: the end that --by takes off, or the axis of --keep; one for each.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM:TO", help="Keep a range towards --axis: 20%:80%, -30mm:50mm (world), 10:90."),
    ] = None,
    to_mask: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep the box that holds this mask, on whatever grid it is.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Of the mask only this label, a number or a name.")
    ] = None,
    to_nonzero: Annotated[
        bool, typer.Option("--to-nonzero", help="Keep the box of voxels that are neither 0 nor NaN.")
    ] = False,
    margin: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Leave this around the box of --to-mask and --to-nonzero.")
    ] = None,
    to_multiple: Annotated[
        str | None, typer.Option(metavar="N", help="Keep the largest multiple about the centre: 16, or 16,16,8.")
    ] = None,
    to_shape: Annotated[
        str | None, typer.Option(metavar="N", help="Keep that many voxels about the centre: 128, or 128,128,64.")
    ] = None,
    or_pad: Annotated[
        bool, typer.Option("--or-pad", help="With --to-shape, pad with 0 where the image is smaller.")
    ] = False,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Keep a box of an image, its voxels as they are; what is kept stays where it was in the world.

    One of --by, --keep, --to-mask, --to-nonzero, --to-multiple and --to-shape says which box; standard error says what
    that is in voxels. From an uncompressed file only the bytes of the box are read. 'medimg undo' puts it back.

    Amounts are voxels, or millimetres (10mm) and percent of the extent (5%) along the voxel axis, taken off all ends.
    Three with commas between them are for i, j and k, LO:HI for the low and the high end: 10:20,0,5mm:0. With --axis
    they are taken off the end that lies nearest to the letter; --axis and --by can be repeated.

    Ranges of --keep grow towards the letter of --axis. Voxels count as in --index of medimg slice (the last one is
    left out, negative ones count from the end), millimetres are world coordinates, positive towards R, A and S.

    A mask may have another resolution and orientation than the image. What is not a whole number of voxels is rounded
    so that more is kept.

    Examples:

        medimg crop --to-mask brain.nii.gz --margin 5mm t1.nii.gz t1_brain.nii.gz
        medimg crop --to-mask seg.nii.gz --label 17 t1.nii.gz hippocampus.nii.gz
        medimg crop --axis I --by 60mm --axis S --by 5 head.nii.gz part.nii.gz
        medimg crop --axis S --keep -30mm:50mm ct.nii.gz ct_part.nii.gz
        medimg crop --to-multiple 16 study/*.nii.gz --output-dir cropped
    """
    from medimg_cli.operations.cropping import CropRequest

    ends, letters, ranges = tuple(by or ()), tuple(axis or ()), tuple(keep or ())
    wanted = CropRequest(ends, letters, ranges, to_mask, label, to_nonzero, margin, to_multiple, to_shape, or_pad)
    work = Work("medimg_cli.pipeline:process", Pipeline(operations=(wanted,), level=compression_level, strict=strict))
    return run_batch(paths, work, batch=batch, reading=reading, console=console)

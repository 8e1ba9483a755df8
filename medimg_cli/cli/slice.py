"""``medimg slice``: a part of an image, by index or by anatomy."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.pipeline import Pipeline, selection_requests

__all__ = ["slice_"]


@with_options
def slice_(
    paths: InOut = None,
    index: Annotated[
        str | None,
        typer.Option(metavar="INDEX", help="NumPy syntax on (C, I, J, K), such as '[0, 10:50, :, ::2]'."),
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(metavar="LETTER", help="Take one slice across this axis: R, L, A, P, S or I."),
    ] = None,
    at: Annotated[
        str,
        typer.Option(metavar="PLACE", help="Where on --axis: 50% of the extent, 12mm (world), or a voxel such as 88."),
    ] = "50%",
    compression_level: Level = None,
    strict: Strict = False,
    *,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Cut a part out of an image; the affine moves with it, so the part stays where it was in the world.

    A step doubles the spacing and a negative step turns the axis round, as they must. Only the bytes of the part are
    read. Percentages and voxels grow towards the letter of --axis; millimetres are world coordinates, positive towards
    R, A and S. On oblique images the storage axis nearest to the letter is taken.

    Examples:

        medimg slice --index '[0, 10:200:2, :, ::-1]' scan.nii.gz part.nii.gz
        medimg slice --axis S --at 50% scan.nii.gz middle.nii.gz
        medimg slice --index '[:10]' bold.nii.gz first_ten.nii.gz
    """
    pipeline = Pipeline(operations=selection_requests(index, axis, at), level=compression_level, strict=strict)
    return run_batch(paths, Work("medimg_cli.pipeline:process", pipeline), batch=batch, console=console)

"""``medimg merge``: several images into one."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import GatheredReading, OneOutput, Work
from medimg_cli.cli.options import Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch

__all__ = ["merge"]


@with_options
def merge(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN... OUT",
            help="Inputs, and last the output; - is standard input or output.",
            show_default=False,
        ),
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS",
            help="channel, time, or R, L, A, P, S, I. Default: time for time series, else channel.",
            show_default=False,
        ),
    ] = None,
    tr: Annotated[float | None, typer.Option(metavar="SECONDS", help="Time between two steps of --axis time.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(metavar="MM", help="Largest distance between grids that count as the same.", show_default=True),
    ] = 0.01,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: GatheredReading,
    batch: OneOutput,
    console: Console,
) -> int:
    """Put several images into one: as channels, as steps of time, or slab upon slab along an axis of the body.

    As channels and in time the images must lie on the same grid. Series are put behind one another; the time between
    their steps and their gradients go along. Where only some inputs have gradients there are none, and a warning.

    With a letter, slabs are stacked along the storage axis nearest to it, in the order in which they lie in the world,
    whatever the order on the command line. Gaps and overlaps are refused, with their size in mm.

    Stored numbers are kept where all inputs have the same type and scaling; else their values, in the narrowest type
    that holds all of them. Everything else is that of the first input, and standard error says what differs. The label
    tables of label maps become one, unless they contradict each other.

    Examples:

        medimg merge t1.nii.gz t2.nii.gz flair.nii.gz all.nii.gz
        medimg merge --axis time --tr 2.5 vol_*.nii.gz bold.nii.gz
        medimg merge --axis S neck.nii.gz chest.nii.gz whole.nrrd
    """
    from medimg_cli.assembling import Merging

    wanted = Merging(axis=axis, tr=tr, tolerance=tolerance, level=compression_level, strict=strict)
    return run_batch(paths, Work("medimg_cli.assembling:merge", wanted), batch=batch, reading=reading, console=console)

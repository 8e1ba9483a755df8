"""``medimg split``: one image into several."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading

__all__ = ["split"]


@with_options
def split(
    paths: InOut = None,
    axis: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS",
            help="channel, time, or R, L, A, P, S, I. Default: channel or time, whichever there is.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        int, typer.Option(metavar="N", help="Channels, time points or slices in each part.", show_default=True)
    ] = 1,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Write the channels, the steps of time or the slabs of an image as images of their own.

    In the name of the output, {} stands for the number of the part, which has three digits and counts from 0; without
    {} the number goes before the suffix: vol.nii.gz gives vol_000.nii.gz, vol_001.nii.gz and so on. With --output-dir
    the parts are named after their input.

    With a letter, slabs are numbered towards it; each stays where it was in the world. The time between steps,
    gradients and sidecars follow. No part is written where one exists, unless --force is given. 'medimg merge' makes
    the same image of the parts again.

    Examples:

        medimg split bold.nii.gz vol.nii.gz
        medimg split --every 10 bold.nii.gz 'run_{}/bold.nii.gz'
        medimg split --axis S --every 32 ct.nrrd slab.nii.gz
        medimg split dwi/*.nii.gz --output-dir volumes --suffix .mif
    """
    from medimg_cli.assembling import Splitting, first_part

    work = Work(
        "medimg_cli.assembling:split", Splitting(axis=axis, every=every, level=compression_level, strict=strict)
    )
    return run_batch(paths, work, batch=batch, reading=reading, console=console, stands_for=first_part)

"""``medimg slice``: a part of an image, by index or by anatomy; one slice of it as a picture."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import Look

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
        str | None,
        typer.Option(metavar="PLACE", help="On --axis: 50% of the extent, 12mm (world), or voxel 88. Default: 50%."),
    ] = None,
    every: Annotated[
        int | None, typer.Option(metavar="N", help="Every Nth slice along --axis instead, as numbered pictures.")
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Stored values in a picture, one pixel a voxel, nothing drawn.")
    ] = False,
    scale: Annotated[
        float | None,
        typer.Option(metavar="TIMES", help="Enlarge a picture. Native: a pixel is the smaller voxel edge."),
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="PX", help="Pixels of a picture's longer edge.")] = None,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    look: Look,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Cut a part out of an image; the affine moves with it, so the part stays where it was in the world.

    A step doubles the spacing and a negative step turns the axis round, as they must. Only the bytes of the part are
    read. Percentages and voxels grow towards the letter of --axis; millimetres are world coordinates, positive towards
    R, A and S. On oblique images the storage axis nearest to the letter is taken; pictures with --planes straight are
    computed across the axis of the body instead.

    Where the output is .png, .jpg, .webp, .tif, .bmp or .pdf, one slice becomes a picture: its values are shown through
    a window, proportions are true, and the patient's left is on the right. With --raw it holds the stored values
    instead; --raw --window spreads a window over the 16 bits of a PNG. With --every, {} in the output's name stands for
    the number, which has three digits and counts from 0 towards the letter; without {} it goes before the suffix.

    Examples:

        medimg slice --index '[0, 10:200:2, :, ::-1]' scan.nii.gz part.nii.gz
        medimg slice --axis S --at 50% scan.nii.gz middle.nii.gz
        medimg slice --index '[:10]' bold.nii.gz first_ten.nii.gz
        medimg slice --axis S --at 12mm --window brain ct.nii.gz brain.png
        medimg slice --axis A --every 5 t1.nii.gz coronal.png
        medimg slice --axis S --raw labels.nii.gz labels.png
    """
    from medimg_cli.picturing.stills import Cutting

    wanted = Cutting(
        index=index,
        axis=axis,
        at=at,
        every=every,
        raw=raw,
        scale=scale,
        size=size,
        look=look,
        level=compression_level,
        strict=strict,
    )
    work = Work("medimg_cli.picturing.stills:cut", wanted)
    return run_batch(paths, work, batch=batch, reading=reading, console=console, stands_for=wanted.stands_for)

"""``medimg plot``: three views of an image, or a mosaic of slices, in one picture."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import PictureOptions, Work
from medimg_cli.cli.options import InOut, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import Look

__all__ = ["plot"]


@with_options
def plot(
    paths: InOut = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="X,Y,Z", help="Point of the views: 88,120,60 (voxel), 12mm,-4mm,30mm or 50%,40%,50%."),
    ] = None,
    cross: Annotated[
        bool | None,
        typer.Option("--cross/--no-cross", help="Draw a cross-hair. Default: where --at is given.", show_default=False),
    ] = None,
    mosaic: Annotated[
        str | None, typer.Option(metavar="ROWSxCOLUMNS", help="Show evenly spread slices, as in 4x6.")
    ] = None,
    axis: Annotated[
        str | None, typer.Option(metavar="LETTER", help="Where a mosaic goes: R, L, A, P, S or I. Default: S.")
    ] = None,
    all_slices: Annotated[
        bool, typer.Option("--all-slices", help="Let a mosaic go through empty slices at the ends, too.")
    ] = False,
    title: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Title; '' for none. Default: the name of the file.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PX", help="Pixels of the volume's longest edge, or of a tile's.")
    ] = None,
    *,
    reading: Reading,
    look: Look,
    batch: PictureOptions,
    console: Console,
) -> int:
    """Draw three orthogonal views of an image through one point, or a mosaic of its slices, in true proportions.

    The patient's left is on the right of axial and coronal views, as radiologists look at them, and the picture says
    so. Below the views it says where they lie, what the image is and which values are black and white. Label maps are
    recognised and shown in the colours of their table, with a legend.

    Voxels of --at count i, j, k as they are stored; millimetres are world coordinates, positive towards R, A and S;
    percentages grow towards R, A and S. A mosaic leaves out empty slices at both ends.

    Formats are .png, .jpg, .webp, .tif, .bmp and .pdf; - is PNG on standard output.

    Examples:

        medimg plot t1.nii.gz t1.png
        medimg plot --window brain --at 12mm,-4mm,30mm ct.nii.gz ct.png
        medimg plot --overlay lesions.nii.gz --outline t1.nii.gz lesions.png
        medimg plot --mosaic 4x6 --axis A t1.nii.gz coronal.jpg
        medimg plot study/*.nii.gz --output-dir pictures --suffix .png
    """
    from medimg_cli.media.plots import Plot, parse_mosaic, parse_point
    from medimg_cli.picturing.stills import Plotting

    wanted = Plot(
        point=parse_point(at) if at is not None else None,
        mosaic=parse_mosaic(mosaic) if mosaic is not None else None,
        axis=axis,
        all_slices=all_slices,
        cross=cross,
        title=title,
        size=size,
    )
    work = Work("medimg_cli.picturing.stills:plot", Plotting(look=look, plot=wanted))
    return run_batch(paths, work, batch=batch, reading=reading, console=console, suffix=".png")

"""``medimg resample``: an image on another grid."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import ClusterOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.pipeline import Pipeline

__all__ = ["resample"]


@with_options
def resample(
    paths: InOut = None,
    spacing: Annotated[
        str | None, typer.Option(metavar="MM", help="Voxel size: 1 for all axes, or 1,1,2.5 for i, j and k.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="N", help="Number of voxels over the same field of view: 128, or 128,128,64.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="FILE", help="Take the grid of this image: its shape, place and orientation.")
    ] = None,
    isotropic: Annotated[bool, typer.Option("--isotropic", help="Give all axes the smallest spacing.")] = False,
    interpolation: Annotated[
        Literal["nearest", "linear", "cubic", "lanczos", "label"] | None,
        typer.Option(help="How values between voxels are found. Default: linear; nearest for label maps."),
    ] = None,
    fill: Annotated[
        float | None, typer.Option(metavar="VALUE", help="Value of voxels beyond the image. Default: 0.")
    ] = None,
    antialias: Annotated[
        bool, typer.Option("--antialias/--no-antialias", help="Smooth first where resolution is lost.")
    ] = True,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: ClusterOptions,
    console: Console,
) -> int:
    """Compute an image on another grid, in world space: anatomy stays where it was, to a fraction of a voxel.

    With --spacing and --size the field of view keeps its centre and orientation, as in mrgrid. With --like two images
    match voxel by voxel afterwards, however they are oriented, sheared or mirrored. Where resolution is lost, a
    Gaussian of the width that the new voxels have is applied first, so that fine patterns do not turn into false ones.

    Label maps keep their values: an image that says so in its header, has a label table, or holds a few different
    whole numbers in patches is taken for one, and standard error says so. nearest takes the nearest voxel; label lets
    the labels around vote, which gives smoother borders.

    The type of the voxels stays: whole numbers are rounded, and where cubic and lanczos overshoot the range of the
    type they are limited to it. Time points and channels are computed one by one, in slabs: memory stays below some
    400 MB, unless a few slices alone take more.

    Examples:

        medimg resample --spacing 1 scan.nii.gz scan_1mm.nii.gz
        medimg resample --like t1.nii.gz flair.nii.gz flair_on_t1.nii.gz
        medimg resample --like t1.nii.gz --interpolation label a.nii.gz b.nii.gz
        medimg resample --isotropic study/*.nii.gz --output-dir isotropic
    """
    from medimg_cli.operations.resampling import ResampleRequest

    wanted = ResampleRequest(spacing, size, like, isotropic, interpolation, fill, antialias)
    work = Work("medimg_cli.pipeline:process", Pipeline(operations=(wanted,), level=compression_level, strict=strict))
    return run_batch(paths, work, batch=batch, reading=reading, console=console)

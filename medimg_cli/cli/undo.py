"""``medimg undo``: back to the grid that an image had before operations."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import BatchOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading

__all__ = ["undo"]


@with_options
def undo(
    paths: InOut = None,
    like: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go to the grid of this image, whatever the history says.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Undo the history of this image, which lies on the same grid."),
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Undo only the last N steps.")] = None,
    interpolation: Annotated[
        Literal["nearest", "linear", "cubic", "lanczos", "label"] | None,
        typer.Option(help="How values between voxels are found. Default: as was done; nearest for label maps."),
    ] = None,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: BatchOptions,
    console: Console,
) -> int:
    """Return to the grid before reorient, slice, crop, pad and resample: what a network found, on the scanner's grid.

    Every step that medimg takes is written down in the image, and NIfTI, NRRD, MetaImage, MIF and NIfTI-Zarr files keep
    that history. Undone, the grid is what it was to the last bit: the affine, both NIfTI forms and their codes. Voxels
    are, too, where nothing was interpolated; those that had been cut off are 0. Gradients and sidecars follow.

    A segmentation that came without a history takes that of the image the network was given (--history), or goes to
    the grid of the original (--like): by whole voxels where that is enough, else by the nearest voxel for label maps
    and by linear interpolation for intensities, without smoothing.

    Label maps are recognised, standard error says so, and no value is ever invented in them. Changes of intensities
    (rescale, a cast) are undone in images that carry them in their own history, and left alone in label maps and with
    --history. What has no inverse (clamp) is left as it is, with a warning.

    Examples:

        medimg undo seg_in_network_space.nii.gz seg_native.nii.gz
        medimg undo --history network_input.nii.gz seg.nii.gz seg_native.nii.gz
        medimg undo --like t1.nii.gz seg.nii.gz seg_on_t1.nii.gz
        medimg undo --steps 1 cropped.nrrd before_the_crop.nrrd
    """
    from medimg_cli.restoring import Restoring

    wanted = Restoring(
        like=like,
        history=history,
        steps=steps,
        interpolation=interpolation,
        level=compression_level,
        strict=strict,
    )
    return run_batch(paths, Work("medimg_cli.restoring:undo", wanted), batch=batch, reading=reading, console=console)

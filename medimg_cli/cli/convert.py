"""``medimg convert``: any readable image to any writable one."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import ClusterOptions, Work
from medimg_cli.cli.options import RANGE, InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.pipeline import Pipeline, cast_requests

__all__ = ["convert"]


@with_options
def convert(
    paths: InOut = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Stored type of the output, such as int16; without it, it never changes."),
    ] = None,
    rescale: Annotated[
        str | None,
        typer.Option(
            metavar=RANGE,
            help="Map the values to MIN:MAX; without it to all of --dtype, with slope and inter so that values "
            "survive.",
        ),
    ] = None,
    clip: Annotated[bool, typer.Option("--clip", help="Allow --dtype to clip values beyond its range.")] = False,
    rounded: Annotated[bool, typer.Option("--round", help="Allow --dtype to round fractions.")] = False,
    affine: Annotated[
        Literal["sform", "qform"] | None,
        typer.Option(help="Which NIfTI form is the affine, whatever the codes say; the other is dropped."),
    ] = None,
    compression_level: Level = None,
    strict: Strict = False,
    *,
    batch: ClusterOptions,
    console: Console,
) -> int:
    """Convert images from any format to any other, losing nothing in silence.

    Type, stored values, slope, affines, time step, intent, description, labels and key-values are kept wherever the
    target can hold them; what it cannot hold is said on standard error, and --strict makes it an error before any file
    appears. The type never changes unless --dtype asks for it, and a cast that would clip, round or drop NaN is an
    error unless --clip, --round or --rescale says how. A folder with a DICOM series, a Zarr store and a URL are inputs
    as files are; an output that ends in .nii.zarr is a Zarr store.

    Examples:

        medimg convert scan.nii.gz scan.nrrd
        medimg convert --strict scan.mha scan.nii.gz
        medimg convert dicom/ scan.nii.gz
        medimg convert --dtype uint8 --rescale 0:255 scan.nii.gz preview.nii.gz
        medimg convert study/*.mgz --output-dir nifti --suffix .nii.gz --jobs 2
    """
    casts = cast_requests(dtype, rescale, clip=clip, rounded=rounded)
    pipeline = Pipeline(operations=casts, form=affine, level=compression_level, strict=strict)
    return run_batch(paths, Work("medimg_cli.pipeline:process", pipeline), batch=batch, console=console)

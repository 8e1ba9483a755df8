"""``medimg reorient``: turn and flip the storage of an image, never its anatomy."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import ClusterOptions, Work
from medimg_cli.cli.options import InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.pipeline import Pipeline

__all__ = ["reorient"]


@with_options
def reorient(
    paths: InOut = None,
    to: Annotated[
        str,
        typer.Option(metavar="CODES", help="Where the voxel axes shall run to: RAS, LPS, PIR ...", show_default=True),
    ] = "RAS",
    compression_level: Level = None,
    strict: Strict = False,
    *,
    reading: Reading,
    batch: ClusterOptions,
    console: Console,
) -> int:
    """Reorder and flip the voxel axes so that they run to the letters of --to. Lossless: no voxel is interpolated.

    The affine changes along with the voxels, so every voxel keeps its place in the world. Both NIfTI forms, gradient
    directions and sidecars follow. An oblique image stays oblique: its axes get as close to the letters as they can.
    Letters say where an axis runs TO, as in nibabel and FreeSurfer (ITK-SNAP and AFNI name where it comes from).

    Examples:

        medimg reorient scan.nii.gz scan_ras.nii.gz
        medimg reorient --to LPS scan.nii.gz scan_lps.nrrd
        medimg reorient --to RAS raw/*.nii.gz --output-dir ras
    """
    from medimg_cli.operations.reorient import Reorient
    from medimg_cli.orientation import parse_codes

    pipeline = Pipeline(operations=(Reorient("".join(parse_codes(to))),), level=compression_level, strict=strict)
    return run_batch(
        paths, Work("medimg_cli.pipeline:process", pipeline), batch=batch, reading=reading, console=console
    )

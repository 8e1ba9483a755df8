"""``medimg convert``: any readable image to any writable one."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import ClusterOptions, Work
from medimg_cli.cli.options import RANGE, InOut, Level, Strict, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.dicom.series_files import PATTERN
from medimg_cli.formats.dicom.targets import DicomSaving
from medimg_cli.formats.reading import Reading
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
    template: Annotated[
        str | None,
        typer.Option(
            metavar="DICOM", help="To DICOM: series whose patient, study, equipment and acquisition are taken over."
        ),
    ] = None,
    modality: Annotated[
        Literal["MR", "CT", "PT", "OT", "SEG"] | None,
        typer.Option(help="To DICOM: modality; without it that of the input, else MR; SEG for labels."),
    ] = None,
    pattern: Annotated[
        str, typer.Option(metavar="NAME", help="To DICOM: names of files, with one field for the number.")
    ] = PATTERN,
    tag: Annotated[
        list[str] | None,
        typer.Option(metavar="KEYWORD=VALUE", help="To DICOM: value of an element; may be given several times."),
    ] = None,
    *,
    reading: Reading,
    batch: ClusterOptions,
    console: Console,
) -> int:
    """Convert images from any format to any other, losing nothing in silence.

    Type, stored values, slope, affines, time step, intent, description, labels and key-values are kept wherever the
    target can hold them; what it cannot hold is said on standard error, and --strict makes it an error before any file
    appears. The type never changes unless --dtype asks for it, and a cast that would clip, round or drop NaN is an
    error unless --clip, --round or --rescale says how. A Zarr store and a URL are inputs as files are, and so is a
    folder or archive of DICOM files: of several series --series chooses one, and --output-dir takes all. An output that
    ends in .nii.zarr is a Zarr store.

    An output that ends in a slash is a folder for a DICOM series, one file a slice; with --output-dir, --suffix / makes
    such a folder for each input. An output that ends in .dcm is one file: of a label map a DICOM Segmentation, else an
    image of one slice. DICOM holds 16 bits: other values need --dtype.

    Examples:

        medimg convert scan.nii.gz scan.nrrd
        medimg convert --strict scan.mha scan.nii.gz
        medimg convert dicom/ scan.nii.gz
        medimg convert --series '*T1*' dicom/ t1.nii.gz
        medimg convert dicom/ --output-dir nifti --suffix .nii.gz
        medimg convert --template dicom/ --tag SeriesNumber=12 new.nii.gz series/
        medimg convert --template dicom/ labels.nii.gz seg.dcm
        medimg convert --dtype uint8 --rescale 0:255 scan.nii.gz preview.nii.gz
        medimg convert study/*.mgz --output-dir nifti --suffix .nii.gz --jobs 2
    """
    casts = cast_requests(dtype, rescale, clip=clip, rounded=rounded)
    dicom = DicomSaving(template=template, modality=modality, pattern=pattern, tags=tuple(tag or ()))
    pipeline = Pipeline(operations=casts, form=affine, level=compression_level, strict=strict, dicom=dicom)
    return run_batch(
        paths, Work("medimg_cli.pipeline:process", pipeline), batch=batch, reading=reading, console=console
    )

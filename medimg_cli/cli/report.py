"""``medimg report``: a page of thumbnails and facts of a data set."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import OnePage, Work
from medimg_cli.cli.options import with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import SurveyLook

__all__ = ["report"]


@with_options
def report(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DIR... OUT.html",
            help="Folders and files to look at, and last the page; - writes it to standard output.",
            show_default=False,
        ),
    ] = None,
    *,
    reading: Reading,
    look: SurveyLook,
    batch: OnePage,
    console: Console,
) -> int:
    """Write one page of thumbnails and facts of a data set: what one looks at before training on a thousand scans.

    Folders are searched for images as info --recursive does; each series of DICOM files is one image. Each image has a
    row with its sagittal, coronal and axial view in true proportions, shape, spacing, orientation, type, range of
    values or labels, and warnings. Above the table the page counts how often each shape, spacing, orientation and type
    occurs, and it marks the images that are unlike most of their kind, that look the same as another, and that could
    not be read. A click on a count shows those images alone; columns sort; the list of what is shown can be saved.

    The page is one file that any browser opens, asks no server for anything, and is a plain table where there is no
    JavaScript. It shows paths below the folder that holds all images, and facts of geometry and values; descriptions,
    key-values and names of patients stay behind.

    All voxels are read, so that an image that is damaged at its end is found as well. An image that fails does not stop
    the others: the page says why, and the exit code is then 2.

    Examples:

        medimg report study/ study.html
        medimg report --jobs 0 --window brain ct/ ct.html
        medimg report --force train/ validation/ sets.html
        medimg report --planes straight --files-from scans.txt scans.html
    """
    from medimg_cli.picturing.surveying import Surveying

    work = Work("medimg_cli.picturing.surveying:report", Surveying(look=look, jobs=batch.jobs), steps=True)
    return run_batch(paths, work, batch=batch, reading=reading, console=console, suffix=".html")

"""``medimg view``: an image as a page with a viewer in it."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import PictureOptions, Work
from medimg_cli.cli.options import InOut, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import PageLook
from medimg_cli.picturing.viewing import MOST, Viewing

__all__ = ["view"]


@with_options
def view(
    paths: InOut = None,
    max_size: Annotated[
        float, typer.Option(metavar="MB", help="Reduce volumes with more megabytes of voxels than this.")
    ] = MOST,
    overlay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Show this image over it, on whatever grid it lies: labels in their colours; may be repeated.",
            rich_help_panel="Picture",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    *,
    reading: Reading,
    look: PageLook,
    batch: PictureOptions,
    console: Console,
) -> int:
    """Write an image into one HTML page, with a viewer that any browser opens: slices, 3-D view, window, overlays.

    The page holds all that it needs. It asks no server for anything, and its policy forbids that it could: it may be
    sent, archived, or opened from a disk without a network. The viewer is NiiVue. Of the header only shape, spacing,
    orientation and type go into the page, and the file's name as its title; descriptions, key-values and names of
    patients stay behind.

    --overlay may be repeated. Overlays lie where their headers say, on whatever grid: label maps are recognised and
    shown in the colours and with the names of their table, other images in the colours of their values.

    An image that is larger than --max-size gets larger voxels, by smoothing and interpolation, label maps by taking the
    nearest label; of a time series that is still too long the first steps are kept. Standard error and the page say so.

    Examples:

        medimg view t1.nii.gz t1.html
        medimg view --open --window brain ct_folder ct.html
        medimg view --overlay aseg.mgz --overlay lesions.nii.gz t1.nii.gz t1.html
        medimg view --max-size 16 study/*.nii.gz --output-dir pages
    """
    wanted = Viewing(look=look, overlays=tuple(overlay or ()), max_size=max_size, browser=browser)
    work = Work("medimg_cli.picturing.viewing:view", wanted)
    return run_batch(paths, work, batch=batch, reading=reading, console=console, suffix=".html")

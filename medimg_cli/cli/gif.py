"""``medimg gif``: a sweep through an image as an animated picture."""

from __future__ import annotations

from typing import Annotated

import typer

from medimg_cli.batch import PictureOptions, Work
from medimg_cli.cli.options import InOut, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import Look

__all__ = ["At", "Axis", "Bounce", "Fps", "Reverse", "Seconds", "Size", "Time", "gif"]

Axis = Annotated[
    str, typer.Option(metavar="LETTER", help="Slices follow each other towards this letter: R, L, A, P, S or I.")
]
Time = Annotated[bool, typer.Option("--time", help="Go through the time steps or channels of one slice across --axis.")]
At = Annotated[
    str | None,
    typer.Option(metavar="PLACE", help="Which slice, with --time: 50% (the default), 12mm (world), or a voxel: 88."),
]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="S", help="How long one round takes. Default: 5, or up to 8 to show all slices."),
]
Fps = Annotated[
    float | None, typer.Option(metavar="N", help="Frames a second, at most 50. Alone: each slice is one frame.")
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Play it backwards.")]
Bounce = Annotated[bool, typer.Option("--bounce", help="Go there and back; --seconds is the time for both.")]
Size = Annotated[
    int | None,
    typer.Option(metavar="PX", help="Pixels of a frame's longer edge. Default: those of the voxels, enlarged to 256."),
]


@with_options
def gif(
    paths: InOut = None,
    axis: Axis = "I",
    time: Time = False,
    at: At = None,
    seconds: Seconds = None,
    fps: Fps = None,
    loop: Annotated[int, typer.Option(metavar="N", help="How often it is repeated; 0 is for ever.")] = 0,
    reverse: Reverse = False,
    bounce: Bounce = False,
    size: Size = None,
    *,
    reading: Reading,
    look: Look,
    batch: PictureOptions,
    console: Console,
) -> int:
    """Write an image as an animated GIF or WebP: a sweep through its slices, or through time.

    Proportions are true, whatever the voxels are; letters say where left and right are. All slices are shown in
    --seconds. Where this were more than 50 frames a second, which no viewer shows, every second or third slice is,
    and standard error says so. With --fps alone each slice is one frame, and the film as long as that takes; with
    both, slices are left out or repeated so that both hold.

    The suffix of the output chooses the format. GIF has 256 colours: greys, colour maps and up to 190 labels are
    exact, other colours the nearest of 256. WebP is lossless, smaller, and slower to write.

    Examples:

        medimg gif t1.nii.gz t1.gif
        medimg gif --axis A --seconds 8 --bounce t1.nii.gz t1.webp
        medimg gif --window brain --overlay bleeding.nii.gz ct.nii.gz ct.gif
        medimg gif --time --at 60% --fps 10 bold.nii.gz bold.gif
        medimg gif study/*.nii.gz --output-dir films
    """
    from medimg_cli.media.film import Film
    from medimg_cli.picturing.films import Filming

    film = Film(
        axis=axis,
        time=time,
        at=at,
        seconds=seconds,
        fps=fps,
        loop=loop,
        reverse=reverse,
        bounce=bounce,
        size=size,
    )
    work = Work("medimg_cli.picturing.films:gif", Filming(film=film, look=look), steps=True)
    return run_batch(paths, work, batch=batch, reading=reading, console=console, suffix=".gif")

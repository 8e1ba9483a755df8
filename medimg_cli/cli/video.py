"""``medimg video``: a sweep through an image as video."""

from __future__ import annotations

from medimg_cli.batch import PictureOptions, Work
from medimg_cli.cli.gif import At, Axis, Bounce, Fps, Reverse, Seconds, Size, Time
from medimg_cli.cli.options import InOut, with_options
from medimg_cli.cli.render import Console
from medimg_cli.cli.running import run_batch
from medimg_cli.formats.reading import Reading
from medimg_cli.media.look import Look

__all__ = ["video"]


@with_options
def video(
    paths: InOut = None,
    axis: Axis = "I",
    time: Time = False,
    at: At = None,
    seconds: Seconds = None,
    fps: Fps = None,
    reverse: Reverse = False,
    bounce: Bounce = False,
    size: Size = None,
    *,
    reading: Reading,
    look: Look,
    batch: PictureOptions,
    console: Console,
) -> int:
    """Write an image as video: a sweep through its slices, or through time.

    MP4 holds H.264 that plays in every browser and slide show, its index in front; WebM holds VP9. Proportions are
    true, whatever the voxels are; an edge of an odd number of pixels gets one more, black. Greys come out as they are
    seen in a still picture: black is black.

    --seconds and --fps mean what they mean for medimg gif: all slices in 5 to 8 seconds, but not more than 50 a second.

    Video needs ffmpeg. It is found on the PATH, or comes with pip install 'medimg-cli[ffmpeg]'.

    Examples:

        medimg video t1.nii.gz t1.mp4
        medimg video --axis R --fps 25 --size 720 t1.nii.gz t1.webm
        medimg video --overlay aseg.nii.gz --outline t1.nii.gz t1.mp4
        medimg video --time --axis S --at 12mm bold.nii.gz bold.mp4
        medimg video study/*.nii.gz --output-dir films --jobs 2
    """
    from medimg_cli.media.film import Film
    from medimg_cli.picturing.films import Filming

    film = Film(axis=axis, time=time, at=at, seconds=seconds, fps=fps, reverse=reverse, bounce=bounce, size=size)
    work = Work("medimg_cli.picturing.films:video", Filming(film=film, look=look), steps=True)
    return run_batch(paths, work, batch=batch, reading=reading, console=console, suffix=".mp4")

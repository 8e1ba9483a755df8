"""Files that move: GIF through Pillow, video through ffmpeg. A file appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from medimg_cli.errors import MissingExtraError, StorageError, UsageError
from medimg_cli.storage.atomic import AtomicGroup

__all__ = ["FASTEST", "check_film", "ffmpeg_binary", "write_gif", "write_video"]

#: Frames a second that viewers of GIF still show: they count in hundredths of a second, and not below two.
FASTEST = 50


def check_film(seconds: float, path: str, suffix: str) -> None:
    """Refuse a film before its frames are drawn.

    Raises
    ------
    UsageError
        If the duration makes no sense, or the name does not end in the suffix.
    """
    if not 0 < seconds < 3600:
        raise UsageError(f"a duration of {seconds} seconds", hint="more than 0, less than 3600")
    if not path.lower().endswith(suffix):
        raise UsageError(f"expected a name that ends in {suffix}", path=path)


def write_gif(frames: Sequence[Any], path: str, *, seconds: float, loop: int = 0, optimize: bool = True) -> None:
    """Write pictures as an animated GIF.

    Parameters
    ----------
    frames : sequence of Pillow images
        Grey ones keep their 256 levels, others share one palette.
    path : str
        A file of that name is replaced.
    seconds : float
        How long one round takes.
    loop : int
        How often it is repeated; 0: for ever.
    optimize : bool
        Whether to leave unused colours out of the palette.

    Raises
    ------
    UsageError
        If there is no frame, the duration makes no sense, or the name does not end in ``.gif``.
    StorageError
        If the file cannot be written.
    """
    from io import BytesIO

    check_film(seconds, path, ".gif")
    if not frames:
        raise UsageError("a GIF without frames", path=path)
    shown = list(frames)
    if shown[0].mode != "L":
        common = shown[len(shown) // 2].convert("RGB").quantize(256)
        shown = [frame.convert("RGB").quantize(palette=common, dither=0) for frame in shown]
    memory = BytesIO()
    ends = [round(100 * seconds * n / len(shown)) for n in range(len(shown) + 1)]  # GIF counts in hundredths
    shown[0].save(
        memory,
        "GIF",
        save_all=True,
        append_images=shown[1:],
        duration=[max(end - start, 100 // FASTEST) * 10 for start, end in pairwise(ends)],
        optimize=optimize,
        disposal=1,
        loop=loop,
    )
    with AtomicGroup(force=True) as group:
        group.create(path).write(memory.getvalue())


def ffmpeg_binary() -> str:
    """Return the ffmpeg of this machine, or the one that the wheel of imageio-ffmpeg brings.

    Raises
    ------
    MissingExtraError
        If there is neither.
    """
    import shutil

    found = shutil.which("ffmpeg")
    if found is None:
        try:
            import imageio_ffmpeg

            found = str(imageio_ffmpeg.get_ffmpeg_exe())
        except (ImportError, RuntimeError):
            hint = "install ffmpeg, or pip install 'medimg-cli[ffmpeg]'"
            raise MissingExtraError("video needs ffmpeg", hint=hint) from None
    return found


def write_video(frames: Iterator[Any], path: str, *, seconds: float, count: int, verbosity: str = "error") -> None:
    """Write pictures as H.264 video that browsers play (yuv420p, even sizes by padding, index in front).

    Parameters
    ----------
    frames : iterator of Pillow images
        All of one size; each is encoded as it comes.
    path : str
        ``.mp4``; a file of that name is replaced.
    seconds : float
        How long it takes.
    count : int
        How many frames come.
    verbosity : str
        Log level of ffmpeg.

    Raises
    ------
    UsageError
        If the duration makes no sense, or the name does not end in ``.mp4``.
    MissingExtraError
        If there is no ffmpeg.
    StorageError
        If ffmpeg fails.
    """
    import tempfile

    check_film(seconds, path, ".mp4")
    binary = ffmpeg_binary()
    with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        made = os.path.join(folder, "video.mp4")
        _encode(frames, made, count / seconds, binary, verbosity, path)
        with AtomicGroup(force=True) as group, open(made, "rb") as file:
            staged = group.create(path)
            while chunk := file.read(1 << 20):
                staged.write(chunk)


def _encode(frames: Iterator[Any], made: str, rate: float, binary: str, verbosity: str, path: str) -> None:
    import subprocess
    import tempfile

    import ffmpeg

    first = next(frames).convert("RGB")
    width, height = first.size
    stream = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="rgb24", s=f"{width}x{height}", r=f"{rate:.6f}")
    stream = stream.filter("pad", "ceil(iw/2)*2", "ceil(ih/2)*2")
    options = {"vcodec": "libx264", "pix_fmt": "yuv420p", "movflags": "+faststart", "loglevel": verbosity}
    command = ffmpeg.output(stream, made, **options).overwrite_output().compile(cmd=binary)
    with tempfile.TemporaryFile() as told:  # not a pipe: nobody reads while frames are written, and a full one stops
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=told)
        assert process.stdin is not None
        try:
            process.stdin.write(first.tobytes())
            for frame in frames:
                process.stdin.write(frame.convert("RGB").tobytes())
        except BrokenPipeError:
            pass  # what ffmpeg has to say comes below
        except BaseException:
            process.kill()
            process.communicate()
            raise
        process.communicate()
        if process.returncode:
            told.seek(0)
            last = told.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise StorageError(f"ffmpeg failed: {last[0][:200]}", path=path)

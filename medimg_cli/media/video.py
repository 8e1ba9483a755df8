"""Films as video, through the ffmpeg of this machine. A file appears whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from threading import Thread
from typing import IO, Any, NamedTuple

from medimg_cli.errors import MissingExtraError, StorageError
from medimg_cli.media.film import Advance, Roll
from medimg_cli.media.moving import check_suffix
from medimg_cli.storage.atomic import AtomicGroup, StagedFile

__all__ = ["VIDEOS", "Encoder", "Video", "require_ffmpeg", "write_video"]

_INSTALL = "install ffmpeg, or pip install 'medimg-cli[ffmpeg]'"


class Encoder(NamedTuple):
    """One of ffmpeg's encoders.

    Parameters
    ----------
    name : str
    options : mapping
        As ffmpeg's command line has them; ``{bits}`` is a generous rate for encoders that have no scale of quality.
    """

    name: str
    options: dict[str, Any]


class Video(NamedTuple):
    """A kind of file.

    Parameters
    ----------
    format : str
        What ffmpeg calls it.
    options : mapping
        Of the format, as those of `Encoder`.
    encoders : tuple of Encoder
        The best first.
    """

    format: str
    options: dict[str, Any]
    encoders: tuple[Encoder, ...]


_GENEROUS = {"b:v": "{bits}"}
VIDEOS = {
    ".mp4": Video(
        "mp4",
        {"movflags": "+faststart"},
        (
            Encoder("libx264", {"preset": "superfast", "crf": 16, "tune": "psnr"}),
            Encoder("libopenh264", _GENEROUS),
            Encoder("h264_videotoolbox", _GENEROUS),
            Encoder("h264_mf", _GENEROUS),
        ),
    ),
    ".webm": Video(
        "webm",
        {},
        (
            Encoder("libvpx-vp9", {"crf": 24, "b:v": 0, "deadline": "realtime", "cpu-used": 6, "row-mt": 1}),
            Encoder("libvpx", {"crf": 10, "deadline": "realtime", "cpu-used": 6, **_GENEROUS}),
        ),
    ),
}
"""Suffix -> how it is written: with H.264, or with VP9 or VP8.

Measured on 384 frames of a noisy head, 288 x 384, two cores (seconds, MB, PSNR of the decoded luma): libx264 superfast
16, tuned for PSNR 0.99, 3.5, 38.8; superfast 18 0.75, 2.9, 37.2; veryfast 18 1.34, 3.1, 38.0; ultrafast 18 0.56, 4.1,
38.1; medium 18 without tuning 1.88, 2.3, 36.6. The tuning forgoes adaptive quantisation and all that pleases the eye by
inventing grain. libvpx-vp9 realtime 1.24, 3.7, 39.7; its deadline "good" takes nine times as long for the same.
"""

#: Colours as browsers understand them: BT.709, of which black is 16 and white 235.
_COLOURS = {
    "pix_fmt": "yuv420p",
    "color_range": "tv",
    "colorspace": "bt709",
    "color_primaries": "bt709",
    "color_trc": "bt709",
}
#: Bits for each pixel of a frame, for encoders without a scale of quality.
_BITS = 0.5
#: Lines of ffmpeg's messages that are kept, and the levels at which nobody else reads them.
_LINES, _SILENT = 5, ("quiet", "panic", "fatal", "error")
#: What ffmpeg 5 and earlier say of a file that they could not finish, and end with 0.
_CUT_OFF = ("No space left", "Error writing trailer", "Error closing")
#: Bytes that the pipe to ffmpeg holds: frames are drawn while others are encoded, which saves a sixth of the time.
_PIPE = 1 << 20


def ffmpeg_binaries() -> Iterator[str]:
    """Yield the ffmpeg of this machine, then the one that the wheel of imageio-ffmpeg brings.

    Raises
    ------
    MissingExtraError
        If there is neither.
    """
    import shutil

    found = shutil.which("ffmpeg")
    if found is not None:
        yield found
    try:
        import imageio_ffmpeg

        yield str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        if found is None:
            raise MissingExtraError("video needs ffmpeg", hint=_INSTALL) from None


def require_ffmpeg() -> None:
    """Refuse, before anything is read, what cannot be done without ffmpeg.

    Raises
    ------
    MissingExtraError
        If there is none.
    """
    next(ffmpeg_binaries())


def write_video(
    roll: Roll, path: str, *, verbosity: str = "error", force: bool = False, advance: Advance | None = None
) -> None:
    """Write a film as video that browsers play: H.264 in ``.mp4``, its index in front, or VP9 in ``.webm``.

    Frames are drawn and encoded one after the other. Edges of an odd number of pixels get one more, black, at the right
    and below: no frame is cropped or stretched.

    Parameters
    ----------
    roll : Roll
    path : str
        ``.mp4`` or ``.webm``.
    verbosity : str
        Log level of ffmpeg; what it says goes to standard error where it is more than "error".
    force : bool
        Whether an existing file is replaced.
    advance : callable, optional
        Is told how many frames are done.

    Raises
    ------
    UsageError
        If the name ends otherwise.
    MissingExtraError
        If there is no ffmpeg, or it has no encoder.
    StorageError
        If the file exists and may not be replaced, or ffmpeg fails.
    """
    suffix = check_suffix(path, VIDEOS)
    encoders = VIDEOS[suffix].encoders
    with AtomicGroup(force=force) as group:
        file = group.create(path)
        for binary, encoder in ((binary, encoder) for binary in ffmpeg_binaries() for encoder in encoders):
            code, told = _encode(roll, file, _Way(binary, encoder, VIDEOS[suffix], verbosity), advance)
            if f"Unknown encoder '{encoder.name}'" not in told:
                break
        else:
            names = ", ".join(encoder.name for encoder in encoders)
            raise MissingExtraError(f"ffmpeg has no encoder for {suffix} ({names})", hint=_INSTALL)
        if code or any(word in told for word in _CUT_OFF):
            raise StorageError(f"ffmpeg failed: {_reason(code, told)}", path=path)


class _Way(NamedTuple):
    """How ffmpeg is called."""

    binary: str
    encoder: Encoder
    video: Video
    verbosity: str

    def command(self, roll: Roll, first: Any, target: str) -> list[str]:
        """Return the command line; greys are piped as such, with a third of the bytes of colours."""
        import ffmpeg

        width, height = first.size
        rate = roll.table.rate
        bits = round(width * height * float(rate) * _BITS)
        options = {key: str(value).format(bits=bits) for key, value in self.encoder.options.items()}
        stream = ffmpeg.input(
            "pipe:",
            format="rawvideo",
            pix_fmt="gray" if first.mode == "L" else "rgb24",
            s=f"{width}x{height}",
            framerate=f"{rate.numerator}/{rate.denominator}",
        ).filter("scale", out_color_matrix="bt709", out_range="tv")
        level = "error" if self.verbosity in _SILENT else self.verbosity  # we need to hear what fails
        words = {"format": self.video.format, "vcodec": self.encoder.name, "g": max(1, round(rate)), "loglevel": level}
        words["flush_packets"] = 1  # so that ffmpeg meets a full disk when it writes
        output = ffmpeg.output(stream, f"file:{target}", **words, **options, **self.video.options, **_COLOURS)
        return list(output.overwrite_output().compile(cmd=self.binary))


def _encode(roll: Roll, file: StagedFile, way: _Way, advance: Advance | None) -> tuple[int, str]:
    """Let ffmpeg write into an open file; return its exit code and what it said last."""
    frames = _evened(roll)
    first = next(frames)
    process = subprocess.Popen(
        way.command(roll, first, file.readable_path),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[file.fileno()] if file.readable_path.startswith("/proc/") else [],
        start_new_session=True,  # Ctrl-C comes to us alone, and we end ffmpeg
    )
    assert process.stdin is not None and process.stderr is not None
    _widen(process.stdin)
    told: deque[str] = deque(maxlen=_LINES)
    listener = Thread(target=_listen, args=(process.stderr, told, way.verbosity not in _SILENT), daemon=True)
    listener.start()
    try:
        with suppress(BrokenPipeError), process.stdin as pipe:  # what ffmpeg has to say is read below
            for done, frame in enumerate(chain([first], frames), 1):
                pipe.write(frame.tobytes())
                if advance is not None:
                    advance(done, len(roll))
        code = process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        listener.join()
    return code, "\n".join(told)


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold several frames; systems have limits of their own, or no such thing."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _evened(roll: Roll) -> Iterator[Any]:
    """Yield frames whose edges have an even number of pixels, as video with half as many colours needs them."""
    for frame in roll:
        width, height = (size + size % 2 for size in frame.size)
        if frame.size != (width, height):
            frame = frame.crop((0, 0, width, height))  # what lies beyond is black
        yield frame


def _listen(pipe: IO[bytes], told: deque[str], aloud: bool) -> None:
    """Keep the last lines of what ffmpeg says, and pass them on where somebody wants to read them."""
    with pipe:
        for line in pipe:
            text = line.decode(errors="replace").rstrip()
            told.append(text)
            if aloud:
                sys.stderr.write(text + "\n")


def _reason(code: int, told: str) -> str:
    """Return what ffmpeg complained of, as one line."""
    if "No space left" in told:
        return "no space left on the disk"
    lines = [line.strip() for line in told.splitlines() if line.strip() and line.strip() != "Conversion failed!"]
    return lines[-1][:200] if lines else f"it ended with code {code}, without a word"

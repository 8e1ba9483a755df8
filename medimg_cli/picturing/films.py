"""Films of one image: what ``medimg gif`` and ``medimg video`` do with each of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medimg_cli.batch import Report, Task
from medimg_cli.errors import UsageError
from medimg_cli.media.film import FASTEST, Advance, Film
from medimg_cli.media.look import Look
from medimg_cli.media.moving import ANIMATIONS, check_suffix, write_animation
from medimg_cli.pipeline import open_input, output_path, target_name

if TYPE_CHECKING:
    from medimg_cli.media.film import Roll
    from medimg_cli.media.scenes import Opened

__all__ = ["Filming", "gif", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filming:
    """What is to be seen, and how it moves.

    Parameters
    ----------
    film : Film
    look : Look

    Raises
    ------
    UsageError
        If the film goes through all channels and the look names one.
    """

    film: Film = field(default_factory=Film)
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        if self.film.time and self.look.channel:
            raise UsageError("--time goes through all time steps or channels", hint="leave out --channel")


def gif(task: Task, wanted: Filming, *, threads: int, advance: Advance | None = None) -> Report:
    """Write an image as an animated GIF or WebP.

    Parameters
    ----------
    task : Task
        The output ends in ``.gif`` or ``.webp``.
    wanted : Filming
    threads : int
        Not used: one frame follows the other.
    advance : callable, optional
        Is told how many frames are done, and of how many.

    Raises
    ------
    UsageError
        If the output has another name, or what is wanted does not exist in the image.
    MedImgError
        If the image cannot be read, or the film cannot be written.
    """

    def write(roll: Roll, path: str) -> None:
        write_animation(roll, path, loop=wanted.film.loop, force=task.force, advance=advance)

    check_suffix(target_name(task), ANIMATIONS)
    return _film(task, wanted, write)


def video(task: Task, wanted: Filming, *, threads: int, advance: Advance | None = None) -> Report:
    """Write an image as video.

    Parameters
    ----------
    task : Task
        The output ends in ``.mp4`` or ``.webm``.
    wanted, threads, advance
        As for `gif`; ffmpeg decides about threads.

    Raises
    ------
    UsageError
        If the output has another name, or what is wanted does not exist in the image.
    MissingExtraError
        If there is no ffmpeg.
    MedImgError
        If the image cannot be read, or the film cannot be written.
    """
    from medimg_cli.media.video import VIDEOS, require_ffmpeg, write_video

    def write(roll: Roll, path: str) -> None:
        write_video(roll, path, force=task.force, advance=advance)

    check_suffix(target_name(task), VIDEOS)
    require_ffmpeg()
    return _film(task, wanted, write)


def _film(task: Task, wanted: Filming, write: Callable[[Roll, str], None]) -> Report:
    from medimg_cli.media.film import Roll
    from medimg_cli.media.scenes import open_scene

    backend = open_input(task)
    opened = open_scene(backend, wanted.look, task.input)
    roll = Roll(opened.scene, wanted.film)
    with output_path(task) as path:
        write(roll, path)
    remarks = (*opened.remarks, *_remarks(opened, roll, wanted))
    return Report(warnings=backend.header.warnings, remarks=remarks, notes=tuple(_notes(opened, roll)))


def _remarks(opened: Opened, roll: Roll, wanted: Filming) -> Iterator[str]:
    """Yield what was decided for the user."""
    scene, film, table = opened.scene, wanted.film, roll.table
    if scene.steps > 1 and not film.time and wanted.look.channel == 0:
        what = f"{scene.steps} {scene.step_name}s"
        yield f"shows the first of {what} (--channel picks another, --time goes through them)"
    if len(set(table.places)) == 1 and not table.left_out:
        yield f"there is one slice towards {film.axis.upper()}: nothing moves (--axis goes another way)"
    if table.left_out:
        shown = f"shows {len(set(table.places))} of {len(set(table.places)) + table.left_out}"
        what = f"{scene.step_name}s" if film.time else "slices"
        why = "" if film.fps is not None else f", for viewers show {FASTEST} frames a second at most"
        yield f"{shown} {what}{why}"


def _notes(opened: Opened, roll: Roll) -> Iterator[str]:
    """Yield what somebody may want to know of a film."""
    rate: Any = float(roll.table.rate)
    yield f"{len(roll)} frames, {roll.table.seconds:g} s, {rate:.3g} frames a second"
    yield ", ".join(filter(None, opened.scene.remarks()))

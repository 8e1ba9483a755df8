"""Many images at a glance: the facts, the values and three small views of each, and of what fails, why."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medimg_cli.backends import ArrayBackend, decode
from medimg_cli.batch import STREAM, BatchOptions, Report, Task, Work, run_tasks
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import UsageError
from medimg_cli.facts import find_images, image_facts
from medimg_cli.formats import open_backend
from medimg_cli.listing import failed
from medimg_cli.media.look import Look
from medimg_cli.media.scenes import Opened, open_scene
from medimg_cli.media.window import LabelColours, describe_window
from medimg_cli.statistics.blocks import value_blocks, value_boxes
from medimg_cli.statistics.boxes import is_something
from medimg_cli.statistics.counts import count_values
from medimg_cli.statistics.moments import Moments
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.stored import whole
from medimg_cli.storage.urls import is_url, public_name

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.media.frames import Plane, Scene

__all__ = [
    "SIDE",
    "Seen",
    "Surveyed",
    "Surveying",
    "find",
    "look_at",
    "names_below",
    "page",
    "page_file",
    "survey",
    "views",
]

SIDE = 192
"""Pixels of the longest edge of the views of an image."""

#: Stored bytes up to which an image is read once into memory, where everything is then found.
_MEMORY = 1 << 28
#: Quality of WebP for pictures of intensities: half the size of JPEG that looks the same.
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveying:
    """How images are looked at.

    Parameters
    ----------
    look : Look
        How values become pictures. Letters are not drawn: the page writes them.
    side : int
        Pixels of the longest edge of the views of an image, which have one scale.
    """

    look: Look = field(default_factory=Look)
    side: int = SIDE


@dataclass(frozen=True, slots=True)
class Surveyed(Report):
    """What was seen of one image.

    Parameters
    ----------
    record : mapping
        Facts as `facts.image_facts`, and beside them ``orientation_known``, ``kind`` ("intensities", "labels",
        "colours"), ``values`` (min, max, mean, std, nan, infinite; None for complex numbers), ``labels`` (value, name,
        color, voxels of each), ``window``, ``views`` (name, letters, width, height, type, data) and ``findings``
        (code, severity, message of each). Where something failed, ``error``, beside what was found before.
    message : str
        One line for the user, where it failed.
    trace : str
        The traceback of that.
    """

    record: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    trace: str = ""


class Seen(NamedTuple):
    """What was seen of one image, and its place among all.

    Parameters
    ----------
    number : int
        Counted from 0.
    record : mapping
        As in `Surveyed`.
    message, trace : str
        As in `Surveyed`.
    """

    number: int
    record: Mapping[str, Any]
    message: str = ""
    trace: str = ""


# -- many ---------------------------------------------------------------------------------------------------------


def find(paths: Iterable[str]) -> tuple[list[str], list[Seen]]:
    """Find the images of files and folders, as ``medimg info --recursive`` does.

    Parameters
    ----------
    paths : iterable of str

    Returns
    -------
    images : list of str
        Each once.
    failures : list of Seen
        Folders that hold no image or cannot be read.

    Raises
    ------
    UsageError
        If one is standard input.
    MedImgError
        If there is no image at all.
    """
    images: dict[str, None] = {}
    failures, causes = [], []
    for path in paths:
        if path == STREAM:
            raise UsageError("standard input is no folder", path=path, hint="name files and folders")
        try:
            images.update(dict.fromkeys(find_images([path], recursive=True)))
        except Exception as error:
            listing = failed("", path, error)
            causes.append(error)
            failures.append(Seen(-1, {"path": path, "error": listing.records[0]["error"]}, listing.message))
    if not images and causes:
        raise causes[0]
    return list(images), failures


def survey(images: Sequence[str], wanted: Surveying, *, jobs: int = 1) -> Iterator[Seen]:
    """Look at images, several at a time; one that fails never stops the others.

    Parameters
    ----------
    images : sequence of str
        Each once.
    wanted : Surveying
    jobs : int
        Images looked at at a time, each in a process of its own; 0 is one per core.

    Yields
    ------
    Seen
        One an image, in the order in which they end.
    """
    places = {path: number for number, path in enumerate(images)}
    tasks = [Task(path, STREAM) for path in images]
    work = Work(f"{__name__}:look_at", wanted)
    for outcome in run_tasks(tasks, work, BatchOptions(jobs=jobs)):
        path, found = outcome.task.input, outcome.report
        if isinstance(found, Surveyed):
            yield Seen(places[path], found.record, found.message, found.trace)
        else:  # the process was killed
            message = outcome.error or "failed"
            record = {"path": path, "error": message.removeprefix(f"{public_name(path)}: ")}
            yield Seen(places[path], record, message, outcome.trace)


def names_below(paths: Iterable[str], images: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return what a page calls a data set and its images: paths relative to the folder that holds them all.

    Parameters
    ----------
    paths : iterable of str
        Files and folders, as the user named them.
    images : sequence of str
        What was found in them.

    Returns
    -------
    root : str
        That folder; "" where there is none.
    names : dict
        Image -> its name.

    Examples
    --------
    >>> names_below(["/data/study"], ["/data/study/a/t1.nii.gz", "/data/study/b.nrrd"])
    ('/data/study', {'/data/study/a/t1.nii.gz': 'a/t1.nii.gz', '/data/study/b.nrrd': 'b.nrrd'})
    """
    places = {image: os.path.abspath(image) for image in images if not is_url(image)}
    tops = [os.path.abspath(path) for path in paths if not is_url(path)]
    root = os.path.commonpath([os.path.dirname(top) if top in places.values() else top for top in tops]) if tops else ""
    names = {image: os.path.relpath(places[image], root) if image in places else public_name(image) for image in images}
    return root, names


def _without(record: Mapping[str, Any], root: str) -> dict[str, Any]:
    """Return a record whose sentences do not say where on this machine the data set lies."""
    said = {"error": record["error"].replace(root, "")} if "error" in record else {}
    return {**record, **said, "warnings": [text.replace(root, "") for text in record.get("warnings", ())]}


def page(paths: Sequence[str], seen: Iterable[Seen], wanted: Surveying) -> Iterator[bytes]:
    """Return the page that shows images, piece by piece; in what order they were seen does not matter.

    Parameters
    ----------
    paths : sequence of str
        Files and folders, as the user named them.
    seen : iterable of Seen
    wanted : Surveying
    """
    from medimg_cli import __version__
    from medimg_cli.media.report import report_page

    records = [each.record for each in sorted(seen, key=lambda each: each.number)]
    root, names = names_below(paths, [record["path"] for record in records])
    title = os.path.basename(root)
    return report_page(
        [_without(record, f"{root}{os.sep}") if title else record for record in records],
        [names[record["path"]] for record in records],
        title=title or "images",
        side=wanted.side,
        letters=not wanted.look.plain,
        notes=tuple(_notes(wanted.look)),
        generator=f"medimg {__version__}",
    )


@contextmanager
def page_file(task: Task) -> Iterator[Callable[[bytes], Any]]:
    """Open the page of a task before anything is looked at, and yield what writes it: whole or not at all.

    Raises
    ------
    UsageError
        If it is not named as a page.
    StorageError
        If it cannot be written.
    """
    if task.output == STREAM:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    if not task.output.lower().endswith((".html", ".htm")):
        raise UsageError("is no name of a page", path=task.output, hint="inputs first, the page last: OUT.html")
    with AtomicGroup(force=task.force) as group:
        yield group.create(task.output).write


def _notes(look: Look) -> Iterator[str]:
    """Yield how to read a page, one sentence each."""
    side, word = ("left", "neurological") if look.neurological else ("right", "radiological")
    yield (
        f"Views are {word}: the patient's left is on the {side} of axial and coronal ones. All views of an image have "
        "one scale."
    )
    yield (
        "They go through the middle, in label maps through the slices with most voxels; of several channels or time "
        f"steps, number {look.channel} is shown. Values are those of all channels."
    )
    yield "A fact is marked where two thirds or more of the images of a kind agree on another one."


# -- one ----------------------------------------------------------------------------------------------------------


def look_at(task: Task, wanted: Surveying, *, threads: int) -> Surveyed:
    """Find out what a page says about one image; what fails is said beside what was found.

    Parameters
    ----------
    task : Task
        Its input; nothing is written.
    wanted : Surveying
    threads : int
        Not used.
    """
    path = task.input
    record: dict[str, Any] = {"path": path, "findings": []}
    try:
        source = open_backend(path)
        header = source.header
        record.update(image_facts(header, path), orientation_known=header.orientation_known)
        backend = _at_hand(source)
        opened = open_scene(backend, replace(wanted.look, plain=True), path)
        record.update(_content(backend, opened))
        record["views"] = views(opened.scene, wanted.side, _middle(backend, opened.scene))
    except Exception as error:
        import traceback

        listing = failed("", path, error)
        record["error"] = listing.records[0]["error"]
        return Surveyed(record=record, message=listing.message, trace="".join(traceback.format_exception(error)))
    return Surveyed(record=record)


def _at_hand(backend: Backend) -> Backend:
    """Return an image in memory, or a large one so that it is decoded once only."""
    header = backend.header
    if header.data_bytes <= _MEMORY:
        return ArrayBackend(backend.read(whole(header.shape), raw=True), header)
    decode(backend)
    return backend


def _content(backend: Backend, opened: Opened) -> dict[str, Any]:
    """Return what kind of values there are, and which."""
    scene, header = opened.scene, backend.header
    kind = "colours" if scene.colour else "labels" if scene.labels else "intensities"
    found: dict[str, Any] = {"kind": kind, "values": _values(backend), "remarks": list(opened.remarks)}
    if kind == "labels":
        colours = LabelColours(header.labels)
        names = header.labels
        found["labels"] = [
            {
                "value": value,
                "name": names.name_of(int(value)) if names is not None else "",
                "color": "#{:02x}{:02x}{:02x}".format(*colours.of(value)),
                "voxels": count,
            }
            for value, count in count_values(backend).items()
            if value != 0 and value == value
        ]
    if kind == "intensities":
        found["window"] = describe_window(*scene.limits())
    return found


def _values(backend: Backend) -> dict[str, Any] | None:
    """Measure all values, of all channels together; None where they have no order."""
    name = backend.header.value_dtype
    if is_complex(name) or name == "float128":
        return None
    moments = Moments(1, 1, np.dtype("u1" if name == "bool" else name), None)
    with np.errstate(all="ignore"):
        for block in value_blocks(backend):
            moments.add(block.view("u1") if block.dtype.kind == "b" else block, None, (0,))
    tally = moments.tally(0, 0)
    nan, *infinite = tally.odd
    some = tally.finite > 0
    return {
        "min": tally.low + 0 if some else None,
        "max": tally.high + 0 if some else None,
        "mean": tally.mean if some else None,
        "std": sqrt(tally.squares / tally.finite) if some else None,
        "nan": nan,
        "infinite": sum(infinite),
    }


def _middle(backend: Backend, scene: Scene) -> Sequence[int]:
    """Return the place that the views go through: the middle, or in label maps the fullest slices.

    Voxels of the volume as it is shown.
    """
    shape = scene.shape
    if not scene.labels:
        return [n // 2 for n in shape]
    counts = [np.zeros(n, np.int64) for n in backend.header.spatial_shape]
    for region, values in value_boxes(backend):
        hits = is_something(values).any(axis=0)
        for axis in range(3):
            others = tuple(each for each in range(3) if each != axis)
            counts[axis][region[axis + 1].start : region[axis + 1].stop] += hits.sum(axis=others)
    fullest = [_peak(count) for count in counts]
    place = scene.grid.voxel(backend.header.grid.world(fullest))
    return [min(max(round(float(at)), 0), n - 1) for at, n in zip(place, shape, strict=True)]


def _peak(counts: np.ndarray[Any, Any]) -> int:
    """Return the place of the largest number, of several the middle one; the middle of all where all are 0."""
    places = np.flatnonzero(counts == counts.max())
    return int(places[len(places) // 2])


def views(scene: Scene, side: int, place: Sequence[int]) -> list[dict[str, Any]]:
    """Return the orthogonal views through one place as small pictures, all at one scale.

    Of an image that is one voxel thick, the views that would show its edge are left out.

    Parameters
    ----------
    scene : Scene
    side : int
        Pixels of the longest edge.
    place : 3 ints
        Voxel of the volume as shown.

    Returns
    -------
    list of dict
        ``name``, ``letters`` (left, right, top, bottom), ``width``, ``height``, ``type``, ``data``.
    """
    planes = [plane for plane in scene.planes.values() if min(scene.shape[plane.right], scene.shape[plane.down]) > 1]
    planes = planes or [scene.planes["axial"]]
    scale = side / max(
        scene.shape[axis] * scene.spacing[axis] for plane in planes for axis in (plane.right, plane.down)
    )
    return [_view(scene, plane, place[plane.across], scale) for plane in planes]


def _view(scene: Scene, plane: Plane, place: int, scale: float) -> dict[str, Any]:
    picture = scene.picture(plane, place, scale=scale)
    memory = BytesIO()
    picture.save(memory, "WEBP", lossless=scene.labels, quality=_QUALITY, method=4)
    width, height = picture.size
    return {
        "name": plane.name,
        "letters": plane.letters,
        "width": width,
        "height": height,
        "type": "image/webp",
        "data": memory.getvalue(),
    }

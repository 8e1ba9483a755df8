"""Many images at a glance: the facts, the values and three small views of each, and of what fails, why."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg_cli.backends import ArrayBackend
from medimg_cli.batch import STREAM, BatchOptions, Outcome, Report, Task, Work, run_tasks
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.expanding import Entry, expand, fit, open_named
from medimg_cli.facts import find_images, image_facts
from medimg_cli.listing import failed
from medimg_cli.media.look import Look, SurveyLook
from medimg_cli.media.report import report_page
from medimg_cli.media.scenes import Opened, open_scene
from medimg_cli.media.window import LabelColours, describe_window
from medimg_cli.picturing.pages import page_file
from medimg_cli.statistics.blocks import value_blocks
from medimg_cli.statistics.counts import count_values
from medimg_cli.statistics.moments import Moments
from medimg_cli.storage.stored import whole
from medimg_cli.storage.urls import is_url, public_name
from medimg_cli.text import size_text

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.reading import Reading
    from medimg_cli.media.film import Advance
    from medimg_cli.media.frames import Plane, Scene

__all__ = [
    "SIDE",
    "Surveyed",
    "Surveying",
    "find",
    "look_at",
    "names_below",
    "page",
    "report",
    "survey",
    "tasks_of",
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
    jobs : int
        Images looked at at a time, each in a process of its own; 0 is one per core.
    """

    look: Look = field(default_factory=SurveyLook)
    side: int = SIDE
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Surveyed(Report):
    """What was seen of one image.

    Parameters
    ----------
    record : mapping
        Facts as `facts.image_facts`, and beside them ``orientation_known``, ``kind`` ("intensities", "labels",
        "colours"), ``values`` (min, max, mean, std, nan, infinite; None for complex numbers), ``labels`` (value, name,
        color, voxels of each), ``window``, ``views`` (name, letters, width, height, type, data) and ``findings``
        (code, severity, message of each). Where something failed, ``error``, beside what was found before, and the
        one of the ``failures``.
    """

    record: Mapping[str, Any] = field(default_factory=dict)


# -- many ---------------------------------------------------------------------------------------------------------


def report(task: Task, wanted: Surveying, *, threads: int, advance: Advance | None = None) -> Report:
    """Write the page of a data set.

    Parameters
    ----------
    task : Task
        Its inputs are files and folders; the output ends in ``.html`` or ``.htm``.
    wanted : Surveying
    threads : int
        Not used: ``wanted`` says how many images are looked at at a time.
    advance : callable, optional
        Is told how many images have been looked at, and of how many.

    Returns
    -------
    Report
        Its failures are the images that could not be read, which the page says too.

    Raises
    ------
    UsageError
        If the output has another name, or an input is standard input.
    MedImgError
        If there is no image at all, or the page cannot be written.
    """
    with page_file(task) as file:
        images, seen = find(task.inputs)
        tasks = tasks_of(images, task.reading)
        found: dict[str, Surveyed] = {}
        for one in survey(tasks, wanted):
            found[one.record["path"]] = one
            if advance is not None:
                advance(len(found), len(tasks))
        seen += [found[name] for name in tasks.values()]
        written = 0
        for piece in page(task.inputs, [one.record for one in seen], wanted):
            file.write(piece)
            written += len(piece)
    failures = [failure for one in seen for failure in one.failures]
    counts = f"{len(seen)} {'image' if len(seen) == 1 else 'images'}"
    lost = f", {len(failures)} failed" if failures else ""
    return Report(remarks=(f"{counts}{lost}, {size_text(written)}",), failures=failures)


def find(paths: Iterable[str]) -> tuple[list[str], list[Surveyed]]:
    """Find the images of files and folders, as ``medimg info --recursive`` does.

    Parameters
    ----------
    paths : iterable of str

    Returns
    -------
    images : list of str
        Each once.
    failures : list of Surveyed
        Folders that hold no image or cannot be read.

    Raises
    ------
    UsageError
        If one is standard input.
    MedImgError
        If there is no image at all.
    """
    images: dict[str, None] = {}
    failures: list[Surveyed] = []
    causes: list[Exception] = []
    for path in paths:
        if path == STREAM:
            raise UsageError("standard input is no folder", path=path, hint="name files and folders")
        try:
            images.update(dict.fromkeys(find_images([path], recursive=True)))
        except Exception as error:
            causes.append(error)
            failures.append(_failed({"path": path}, error))
    if not images and causes:
        raise causes[0]
    return list(images), failures


def tasks_of(images: Iterable[str], reading: Reading | None = None) -> dict[Task, str]:
    """Return the tasks of looking at images, and what each image is called: its path, and which series it is.

    Parameters
    ----------
    images : iterable of str
        Each once.
    reading : Reading, optional
        Which series of those that a path holds; left out: all.

    Examples
    --------
    >>> list(tasks_of(["a.nii", "b.nii"]).values())
    ['a.nii', 'b.nii']
    """
    tasks: dict[Task, str] = {}
    for path in images:
        try:
            entries = expand(path, reading)
        except (MedImgError, OSError):
            entries = [Entry(path, reading)]  # whoever looks at it will say why
        for entry in entries:
            tasks[Task(path, STREAM, reading=entry.reading)] = _named(entry) if len(entries) > 1 else path
    return tasks


def _named(entry: Entry) -> str:
    """Return what one of the series of a path is called."""
    facts = entry.facts() or {}
    words = (fit(str(facts.get(key) or "")) for key in ("description", "label"))
    return " ".join(filter(None, (entry.path, f"@{facts.get('index')}", *words)))


def survey(tasks: Mapping[Task, str], wanted: Surveying) -> Iterator[Surveyed]:
    """Look at images, several at a time; one that fails never stops the others.

    Parameters
    ----------
    tasks : mapping of Task to str
        What to look at, and what each is called.
    wanted : Surveying

    Yields
    ------
    Surveyed
        One an image, in the order in which they end.
    """
    work = Work(f"{__name__}:look_at", wanted)
    for outcome in run_tasks(list(tasks), work, BatchOptions(jobs=wanted.jobs)):
        name = tasks[outcome.task]
        if isinstance(outcome.report, Surveyed):
            yield replace(outcome.report, record={**outcome.report.record, "path": name})
        else:  # the process was killed
            message = outcome.error or "failed"
            record = {"path": name, "error": message.removeprefix(f"{public_name(outcome.task.input)}: ")}
            yield Surveyed(record=record, failures=(outcome,))


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


def page(paths: Sequence[str], records: Sequence[Mapping[str, Any]], wanted: Surveying) -> Iterator[bytes]:
    """Return the page that shows images, piece by piece.

    Parameters
    ----------
    paths : sequence of str
        Files and folders, as the user named them.
    records : sequence of mapping
        As in `Surveyed`, in the order of the page.
    wanted : Surveying
    """
    from medimg_cli import __version__

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
        source = open_named(path, task.reading)
        header = source.header
        record.update(image_facts(header, path), orientation_known=header.orientation_known)
        backend = _at_hand(source)
        opened = open_scene(backend, replace(wanted.look, plain=True), path)
        record.update(_content(backend, opened))
        scene = opened.scene
        record["views"] = views(scene, wanted.side, scene.fullest() if scene.labels else scene.middle)
    except Exception as error:
        return _failed(record, error)
    return Surveyed(record=record)


def _failed(record: Mapping[str, Any], error: Exception) -> Surveyed:
    """Return what was found out about a path before it failed, and why it did."""
    import traceback

    listing = failed("", record["path"], error)
    trace = "".join(traceback.format_exception(error))
    failure = Outcome(Task(listing.path, STREAM), "failed", error=listing.message, trace=trace)
    return Surveyed(record={**record, "error": listing.records[0]["error"]}, failures=(failure,))


def _at_hand(backend: Backend) -> Backend:
    """Return an image in memory, and a large one as it is."""
    header = backend.header
    if header.data_bytes <= _MEMORY:
        return ArrayBackend(backend.read(whole(header.shape), raw=True), header)
    return backend


def _content(backend: Backend, opened: Opened) -> dict[str, Any]:
    """Return what kind of values there are, and which."""
    scene, header = opened.scene, backend.header
    kind = scene.kind
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


def views(scene: Scene, side: int, place: Sequence[int]) -> list[dict[str, Any]]:
    """Return the orthogonal views through one place as small pictures, all at one scale.

    Of an image that is one voxel thick, the views that would show its edge are left out, see `Scene.worth_seeing`.

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
    planes = scene.worth_seeing
    scale = side / max(length for plane in planes for length in scene.extent(plane))
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

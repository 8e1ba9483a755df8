"""The hashes of images, as plain facts: the record behind ``medimg hash``, its JSON and its manifests.

A record is a JSON-able mapping with the keys of :data:`KEYS`, one an image, so one a series of DICOM. Keys may be
added, none changes its meaning: :data:`SCHEMA` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medimg_cli.batch import STREAM, BatchOptions, Outcome, Report, Task, Work, in_chunks, run_tasks
from medimg_cli.expanding import expand
from medimg_cli.facts import find_images
from medimg_cli.listing import Listing, failed
from medimg_cli.storage.threads import cores
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.expanding import Entry
    from medimg_cli.formats.reading import Reading

__all__ = ["KEYS", "SCHEMA", "Hashing", "hash_images", "hash_paths"]

SCHEMA = "medimg.hash/1"

KEYS = (
    *("schema", "path", "hash", "voxels_hash", "geometry", "canonical"),
    *("shape", "spacing_mm", "orientation", "dtype", "format", "series"),
)
"""Keys of a record, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashing:
    """How images are hashed.

    Parameters
    ----------
    canonical : bool
        Turned to the closest RAS+; shape, spacing and orientation of a record are then those of the turned image.
    voxels : bool
        Whether ``hash`` is that of shape and values only.
    reading : Reading, optional
        Which series of DICOM, and what to do where slices are missing.
    jobs : int
        Images worked on at a time, each in a process of its own; 0 is one per core.

    Raises
    ------
    UsageError
        If ``jobs`` is negative.
    """

    canonical: bool = False
    voxels: bool = False
    reading: Reading | None = None
    jobs: int = 1

    def __post_init__(self) -> None:
        BatchOptions(jobs=self.jobs)


@dataclass(frozen=True, slots=True)
class Hashed(Report):
    """What a task says of its paths."""

    found: Mapping[str, tuple[Listing, ...]] = field(default_factory=dict)


def hash_images(paths: Iterable[str], wanted: Hashing, *, recursive: bool = False) -> Iterator[Listing]:
    """Hash all images; a path that fails never stops the others.

    Parameters
    ----------
    paths : iterable of str
        ``-`` is standard input.
    wanted : Hashing
    recursive : bool
        Whether to look for images in folders.

    Yields
    ------
    Listing
        One an image, in the order of the paths whatever the number of jobs.
    """
    jobs = wanted.jobs or cores()
    if jobs == 1:
        for path in paths:
            for image in _found(path, recursive):
                yield from (_listings(image, wanted) if isinstance(image, str) else (image,))
    else:
        yield from _in_pool([image for path in paths for image in _found(path, recursive)], wanted, jobs)


def _found(path: str, recursive: bool) -> Iterator[str | Listing]:
    """Yield the images that a path stands for, or what is wrong with it."""
    try:
        yield from find_images([path], recursive=recursive)
    except Exception as error:
        yield failed(SCHEMA, path, error)


def _in_pool(images: Sequence[str | Listing], wanted: Hashing, jobs: int) -> Iterator[Listing]:
    """Hash images in a pool, a few at a time."""
    names = list(dict.fromkeys(image for image in images if isinstance(image, str) and image != STREAM))
    tasks = in_chunks(names, jobs)
    done: dict[str, tuple[Listing, ...]] = {}
    with closing(run_tasks(tasks, Work(f"{__name__}:hash_paths", wanted), BatchOptions(jobs=jobs))) as outcomes:
        for image in images:
            if isinstance(image, Listing):
                yield image
                continue
            while image not in done:
                done.update({image: _listings(image, wanted)} if image == STREAM else _told(next(outcomes)))
            yield from done[image]
        for _ in outcomes:  # none is left: the workers end as they should, and nobody ends them
            pass


def _told(outcome: Outcome) -> Mapping[str, tuple[Listing, ...]]:
    if isinstance(outcome.report, Hashed):
        return outcome.report.found
    error = outcome.error or "failed"  # its process was killed
    return {
        path: (Listing(path, ({"schema": SCHEMA, "path": path, "error": error},), message=error),)
        for path in outcome.task.inputs
    }


def hash_paths(task: Task, wanted: Hashing, *, threads: int) -> Report:
    """Hash the images of the inputs of a task, one after the other.

    Parameters
    ----------
    task : Task
        It has no output.
    wanted : Hashing
    threads : int
        Not used: one reads and one hashes.
    """
    return Hashed(found={path: tuple(map(_portable, _listings(path, wanted))) for path in task.inputs})


def _portable(listing: Listing) -> Listing:
    """Leave out what may not pickle."""
    return listing._replace(cause=None)


def _listings(path: str, wanted: Hashing) -> tuple[Listing, ...]:
    """Hash all images that a path stands for."""
    try:
        entries = expand(path, wanted.reading)
    except Exception as error:
        return (failed(SCHEMA, path, error),)
    said: set[str] = set()
    listings = []
    for entry in entries:
        listing = _listing(entry, wanted, several=len(entries) > 1)
        listings.append(listing._replace(warnings=tuple(text for text in listing.warnings if text not in said)))
        said.update(listing.warnings)
    return tuple(listings)


def _listing(entry: Entry, wanted: Hashing, *, several: bool) -> Listing:
    series = entry.facts()
    try:
        return _hashed(entry, series, wanted)
    except Exception as error:
        listing = failed(SCHEMA, entry.path, error)
        if not several or series is None:
            return listing
        name = public_name(entry.path)
        message = f"{name} @{series['index']}: {listing.message.removeprefix(f'{name}: ')}"
        return listing._replace(records=({**listing.records[0], "series": series},), message=message)


def _hashed(entry: Entry, series: Mapping[str, Any] | None, wanted: Hashing) -> Listing:
    from medimg_cli.hashing import canonical_backend, hashes_of

    backend = entry.open()
    warnings = tuple(dict.fromkeys((*backend.header.warnings, *entry.remarks())))
    found = hashes_of(backend, canonical=wanted.canonical)
    header = canonical_backend(backend).header if wanted.canonical else backend.header
    facts = (
        *(SCHEMA, entry.path, found.values if wanted.voxels else found.image, found.values, list(found.geometry)),
        *(wanted.canonical, list(header.shape), [float(f"{size:.6g}") for size in header.spacing]),
        *("".join(header.orientation), header.dtype, header.format, series),
    )
    return Listing(entry.path, (dict(zip(KEYS, facts, strict=True)),), warnings)

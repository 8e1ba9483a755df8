"""Which input becomes which output, and what is to be done where outputs exist."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from medimg_cli.batch import STREAM, BatchOptions, Task
from medimg_cli.errors import MedImgError, UsageError
from medimg_cli.expanding import TEMPLATE, Entry, expand, series_names
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.formats.reading import Reading

__all__ = ["plan_outputs"]


def plan_outputs(
    inputs: Sequence[str],
    output: str | None,
    options: BatchOptions,
    *,
    stands_for: Callable[[str], str] = str,
    reading: Reading | None = None,
) -> list[Task]:
    """Pair every input with its output, and decide what is to be done.

    Parameters
    ----------
    inputs : sequence of str
        Paths, in order.
    output : str or None
        The one output, or None with ``options.output_dir``.
    options : BatchOptions
        Where outputs go, and what happens to existing ones.
    stands_for : callable, optional
        Output -> the file that tells whether it is there, for outputs that are patterns of several names.
    reading : Reading, optional
        Which image of an input that holds several. With ``options.output_dir`` all of them, where nobody chooses.

    Returns
    -------
    list of Task
        One per image, in order; one for all of them where the options gather.

    Raises
    ------
    UsageError
        Two inputs for one output; an output that is another task's input; streams in a batch; a suffix or a template
        nobody needs; several series and no suffix.
    """
    if options.output_dir is None:
        if output is None or not inputs or (len(inputs) > 1 and not options.gathers):
            raise UsageError(f"{len(inputs)} inputs and no output", hint="give IN OUT, or --output-dir DIR")
        if options.suffix is not None and output != STREAM:
            raise UsageError("--suffix is for --output-dir and for an output that is -", hint="put it into the name")
        if options.name != TEMPLATE:
            raise UsageError("--name is for the series of an input in --output-dir", hint="name the output itself")
        return [_task(inputs, output, options, stands_for, reading)]
    if STREAM in inputs:
        raise UsageError("standard input cannot go to --output-dir", hint="name the output instead")
    images: list[tuple[Entry, str]] = []
    for path, target in zip(inputs, _below(inputs, options.output_dir, options.suffix), strict=True):
        images += _expanded(path, target, options, reading)
    _refuse_collisions([entry.path for entry, _ in images], [stands_for(target) for _, target in images])
    tasks, seen = [], set()
    for entry, target in images:
        task = _task([entry.path], target, options, stands_for, entry.reading)
        tasks.append(task if entry.path in seen else replace(task, remarks=entry.remarks()))
        seen.add(entry.path)
    return tasks


def _expanded(path: str, target: str, options: BatchOptions, reading: Reading | None) -> list[tuple[Entry, str]]:
    """Return the images of an input and where each goes: several series into a folder named after the input."""
    try:
        entries = expand(path, reading)
    except (MedImgError, OSError):
        entries = [Entry(path)]  # whoever does the task will say why
    if len(entries) == 1 and (entries[0].series is None or options.name == TEMPLATE):
        return [(Entry(path, reading), target)]
    if options.suffix is None:
        raise UsageError(f"holds {len(entries)} series", path=path, hint="say in which format: --suffix .nii.gz")
    folder = target.removesuffix(options.suffix)
    names = series_names(entries, options.name)
    return [(entry, os.path.join(folder, name + options.suffix)) for entry, name in zip(entries, names, strict=True)]


def _below(inputs: Sequence[str], folder: str, suffix: str | None) -> list[str]:
    """Return the path below ``folder`` for each input, in the tree below their common root."""
    places = [None if "://" in path else os.path.abspath(path) for path in inputs]
    parents = [os.path.dirname(place) for place in places if place is not None]
    root = os.path.commonpath(parents) if parents else ""
    outputs = []
    for path, place in zip(inputs, places, strict=True):
        name = os.path.relpath(place, root) if place is not None else public_name(path).rstrip("/").rpartition("/")[2]
        outputs.append(os.path.join(folder, name if suffix is None else _stem(name) + suffix))
    return outputs


def _stem(path: str) -> str:
    """Take an image suffix, also one of two parts, off a path; other dots belong to the name."""
    from medimg_cli.formats import knows_suffix, split_suffix

    stem, suffix, _ = split_suffix(path)
    return stem if knows_suffix(suffix) else path


def _refuse_collisions(inputs: Sequence[str], outputs: Sequence[str]) -> None:
    taken: dict[str, str] = {}
    for source, target in zip(inputs, outputs, strict=True):
        other = taken.setdefault(os.path.abspath(target), source)
        if other is not source:
            raise UsageError(f"{other} and {source} would both be written", path=target, hint="give one of them")
    for source in inputs:
        other = taken.get(os.path.abspath(source), source)
        if other is not source:
            raise UsageError(f"output of {other} is an input as well", path=source, hint="give another --output-dir")


def _task(
    sources: Sequence[str],
    target: str,
    options: BatchOptions,
    stands_for: Callable[[str], str],
    reading: Reading | None,
) -> Task:
    source, others = sources[0], tuple(sources[1:])
    if target == STREAM:
        return Task(source, target, suffix=options.suffix, others=others, reading=reading)
    force, make_dirs = options.force or options.if_newer, options.output_dir is not None
    task = Task(source, target, force=force, make_dirs=make_dirs, others=others, reading=reading)
    there = stands_for(target)
    if not os.path.lexists(there):
        return task
    if options.skip_existing:
        return replace(task, skip="exists")
    if options.if_newer:
        newer = max(map(_modified, sources)) > _modified(there)
        return task if newer else replace(task, skip="up to date")
    if os.path.isdir(there) and not os.listdir(there) and there.endswith("/"):
        return task
    if os.path.isdir(there) and not there.endswith("/") and not os.path.splitext(there)[1]:
        return replace(task, refusal="is a folder; name a file in it, or give --output-dir")
    return task if options.force else replace(task, refusal="exists; use --force to replace it")


def _modified(path: str) -> float:
    """Return when a file, or the newest file of a folder, was last written; a file that is not there is newest."""
    try:
        times = [os.stat(path).st_mtime_ns]
        if os.path.isdir(path):
            files = (os.path.join(place, name) for place, _, names in os.walk(path) for name in names)
            times += [os.stat(file).st_mtime_ns for file in files]
    except OSError:
        return float("inf")
    return max(times)

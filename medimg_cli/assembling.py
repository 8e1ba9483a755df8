"""Several images into one, and one into several: along channels, time, or an axis of the body."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import decode, view, with_header
from medimg_cli.batch import STREAM, Report, Task
from medimg_cli.errors import GeometryError, StorageError, UsageError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.sidecars import read_facts
from medimg_cli.grid import Grid
from medimg_cli.header import HINTS, Gradients, Header
from medimg_cli.pipeline import Change, Saving, open_input, rewrite, write_change
from medimg_cli.sources.several import check_grids, joined_gradients, stacked

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.labels import LabelTable

__all__ = [
    "Merging",
    "Splitting",
    "first_part",
    "merge",
    "merged",
    "older_parts",
    "part_folder",
    "part_names",
    "parts",
    "split",
]

#: Axes that are no axes of the body.
_KINDS = ("channel", "time")
#: Axes that are components of one value, and stay together.
_COMPONENTS = ("vector", "rgb")
#: Facts that are the first image's where several differ.
_FACTS = ("intent", "intent_params", "intent_name", "description", "extensions", "space_units")
#: Facts about where voxels lie.
_PLACE = ("affine", "affine_source", "sform", "sform_code", "qform", "qform_code")


def _axis(word: str) -> str:
    """Return the name of an axis as this room writes it.

    Raises
    ------
    UsageError
        If it is none.
    """
    if word.lower().rstrip("s") in _KINDS:
        return word.lower().rstrip("s")
    if len(word) != 1 or word.upper() not in "RLAPSI":
        raise UsageError(f"--axis {word}", hint="give channel, time, or one of R, L, A, P, S, I")
    return word.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging(Saving):
    """How images become one.

    Parameters
    ----------
    axis : str, optional
        "channel", "time", or a letter of R, L, A, P, S, I: the storage axis nearest to it. Default: time where all
        images are time series, else channel.
    tr : float, optional
        Seconds between two steps of time.
    tolerance : float
        Millimetres by which a grid may lie beside where it should.
    level, strict
        As `Saving`.

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    axis: str | None = None
    tr: float | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.axis is not None:
            object.__setattr__(self, "axis", _axis(self.axis))
        if self.tr is not None and (self.axis not in (None, "time") or not 0 < self.tr < float("inf")):
            raise UsageError(f"--tr {self.tr:g}", hint="it is the seconds between two steps of --axis time")
        if not isfinite(self.tolerance) or self.tolerance < 0:
            raise UsageError(f"--tolerance {self.tolerance:g}", hint="give millimetres, 0 or more")


def merge(task: Task, wanted: Merging, *, threads: int) -> Report:
    """Read the images of a task and write them as one.

    Parameters
    ----------
    task : Task
    wanted : Merging
    threads : int
        Threads for compression.

    Raises
    ------
    MedImgError
        If the images do not fit together, or as `pipeline.rewrite`.
    """
    if task.inputs.count(STREAM) > 1:
        raise UsageError("standard input is one image", path=STREAM, hint="give - once")
    names = ["<stdin>" if path == STREAM else path for path in task.inputs]

    def changed(first: Backend) -> Change:
        others = [open_input(replace(task, input=path)) for path in task.others]
        found = merged([first, *others], names, wanted)
        return found._replace(remarks=(*found.remarks, *_about_sidecars(task)))

    return rewrite(task, changed, wanted, threads=threads)


def merged(backends: Sequence[Backend], names: Sequence[str], wanted: Merging) -> Change:
    """Return several images as one, lazily.

    Stored numbers stay where all have the same type and scaling; else values, in the narrowest type that holds all.
    What is neither voxels nor geometry is that of the first image.

    Parameters
    ----------
    backends : sequence of Backend
    names : sequence of str
        What messages call them.
    wanted : Merging

    Raises
    ------
    GeometryError
        If the images do not lie on one grid; with a letter, if they do not continue each other.
    UsageError
        If they have other axes beside the one to merge along, or label tables that contradict each other.
    UnsupportedError
        If no type holds the values of all.
    """
    headers = [backend.header for backend in backends]
    axis = wanted.axis
    if axis is None:
        series = wanted.tr is not None or all("time" in dict(header.axes) for header in headers)
        axis = "time" if series else "channel"
    found = (_along_channels if axis in _KINDS else _along_body)(backends, names, axis, wanted)
    before, after = headers[0], found.backend.header
    labels = _one_table(headers, names)
    remarks = list(found.remarks)
    kinds = {h.dtype + (f" scaled by {h.slope:g}" if h.scaled else "") for h in headers}
    if len(kinds) > 1 and (after.dtype, after.scaled) != (before.dtype, before.scaled):
        remarks.append(f"stored as {after.dtype}, which holds all values of {' and '.join(sorted(kinds))}")
    elif len({(h.dtype, h.slope, h.inter) for h in headers if h.scaled}) > 1:
        remarks.append(f"stored as {after.dtype} values, the inputs are scaled differently")
    differing = _differing(headers)
    if differing:
        remarks.append(f"as in {names[0]} where inputs differ: {', '.join(differing)}")
    said = [f"in {name}: {text}" for h, name in zip(headers[1:], names[1:], strict=True) for text in h.warnings]
    header = after.replace(labels=labels, file_bytes=None)
    return Change(with_header(found.backend, header), (*found.warnings, *said), tuple(remarks))


# -- along channels and time


class _Axes(NamedTuple):
    """The axes that C is made of, seen from one of them.

    Parameters
    ----------
    inner, outer : tuple of (kind, size)
        The faster ones, and the slower ones.
    size : int
        Steps of the axis itself.
    """

    inner: tuple[tuple[str, int], ...]
    size: int
    outer: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, header: Header, kind: str) -> _Axes:
        """Find the axis of a kind; plain channels and time stand in for each other where only one is there.

        >>> affine = AffineMatrix()
        >>> header = Header(shape=(6, 4, 4, 4), dtype="uint8", affine=affine, axes=(("time", 2), ("rgb", 3)))
        >>> _Axes.of(header, "channel")
        _Axes(inner=(), size=2, outer=(('rgb', 3),))
        """
        axes = header.channel_axes()
        place = next((n for n, each in enumerate(axes) if each[0] == kind), None)
        if place is not None:
            return cls(axes[:place], axes[place][1], axes[place + 1 :])
        own = tuple(each for each in axes if each[0] not in _COMPONENTS)
        if len(own) > 1:
            raise UsageError(f"has {_written(axes)}, none of which is {kind}", hint="name one of them with --axis")
        return cls((), prod(size for _, size in own), axes[len(own) :])


def _along_channels(backends: Sequence[Backend], names: Sequence[str], kind: str, wanted: Merging) -> Change:
    headers = [backend.header for backend in backends]
    first = headers[0]
    check_grids(headers, names, wanted.tolerance)
    views = [_Axes.of(header, kind) for header in headers]
    for each, name in zip(views[1:], names[1:], strict=True):
        if (each.inner, each.outer) != (views[0].inner, views[0].outer):
            mine, theirs = (_written((*v.inner, *v.outer)) for v in (each, views[0]))
            raise UsageError(f"has {mine} beside {kind}, {names[0]} has {theirs}", path=name, hint="split it first")
    inner, outer = views[0].inner, views[0].outer
    size = sum(each.size for each in views)
    own = ((kind, size),) if kind == "time" or size > 1 or inner else ()
    axes = (*inner, *own, *outer)
    timed = "time" in dict(axes)
    spacing, warnings = _spacing(headers, names, wanted) if timed else (None, ())
    gradients, more = _gradients(headers, names) if not inner and not outer else (None, ())
    history = first.history if all(header.history == first.history for header in headers) else ()
    remarks = ["the inputs have not all the same history, so it has none"] if history != first.history else []
    if not timed and first.time_spacing is not None:
        remarks.append(f"channels have no time between them: {first.time_spacing:g} s is left out")
    if spacing is None and kind == "time" and size > 1:
        remarks.append("the time between its steps is not known; --tr SECONDS gives it")
    whole = first.replace(
        shape=(size * prod(n for _, n in (*inner, *outer)), *first.spatial_shape),
        axes=axes,
        time_spacing=spacing,
        time_units=(first.time_units or "s") if timed else None,
        gradients=gradients,
        history=history,
    )
    backend = stacked(list(_interleaved(backends, views)), whole)
    return Change(backend, (*warnings, *more), tuple(remarks))


def _interleaved(backends: Sequence[Backend], views: Sequence[_Axes]) -> Iterator[Backend]:
    """Yield images in parts that follow each other on C: step by step of the axes slower than theirs."""
    turns = prod(n for _, n in views[0].outer)
    if turns == 1:
        yield from backends
        return
    for backend in backends:
        decode(backend)
    for turn in range(turns):
        for backend in backends:
            count = backend.header.channels // turns
            yield _channels(backend, range(turn * count, (turn + 1) * count))


def _channels(backend: Backend, channels: range, header: Header | None = None) -> Backend:
    """Return some channels of an image."""
    header = header or backend.header.with_channels(channels)
    spatial = [(axis, range(size)) for axis, size in enumerate(header.spatial_shape)]
    return view(backend, channels, spatial, header)


def _spacing(headers: Sequence[Header], names: Sequence[str], wanted: Merging) -> tuple[float | None, tuple[str, ...]]:
    """Return the time between steps, and what is to be said about it."""
    if wanted.tr is not None:
        return wanted.tr, ()
    known = [(h.time_spacing, name) for h, name in zip(headers, names, strict=True) if h.time_spacing]
    if not known:
        return None, ()
    spacing, owner = known[0]
    other = next(((each, name) for each, name in known if abs(each - spacing) > 1e-6 * spacing), None)
    if other is None:
        return spacing, ()
    said = f"{spacing:g} s between steps as in {owner}, {other[1]} has {other[0]:g} s; --tr SECONDS decides"
    return spacing, (said,)


def _gradients(headers: Sequence[Header], names: Sequence[str]) -> tuple[Gradients | None, tuple[str, ...]]:
    """Return the gradients of all, and what is to be said where some have none."""
    found = joined_gradients(headers)
    missing = [name for h, name in zip(headers, names, strict=True) if h.gradients is None]
    if found is not None or len(missing) == len(headers):
        return found, ()
    return None, (f"the gradients are left out, for there are none of {', '.join(missing)}",)


# -- along an axis of the body


def _along_body(backends: Sequence[Backend], names: Sequence[str], letter: str, wanted: Merging) -> Change:
    headers = [backend.header for backend in backends]
    first = headers[0]
    if first.affine.is_singular:
        raise GeometryError("its voxel axes lie in one plane", path=names[0], hint="give it a true affine first")
    axis, _ = first.affine.nearest_axis(letter)
    starts = _starts(headers, names, axis, wanted)
    order = sorted(range(len(headers)), key=starts.__getitem__)
    _check_gaps(headers, names, axis, [(n, starts[n]) for n in order], wanted.tolerance)
    lowest = headers[order[0]]
    shape = list(first.shape)
    shape[axis + 1] = sum(header.shape[axis + 1] for header in headers)
    same = all(header.gradients == first.gradients for header in headers)
    whole = first.replace(
        shape=tuple(shape),
        ndim=max(first.ndim, axis + 1),
        gradients=first.gradients if same else None,
        metadata={key: value for key, value in first.metadata.items() if key not in HINTS[1:]},
        history=(),
        **{name: getattr(lowest, name) for name in _PLACE},
    )
    remarks = []
    if order != list(range(len(headers))):
        remarks.append(f"in order of their positions: {', '.join(names[n] for n in order)}")
    warnings = () if same else ("the gradients are left out, for they are not the same in all inputs",)
    return Change(stacked([backends[n] for n in order], whole, axis + 1), warnings, tuple(remarks))


def _starts(headers: Sequence[Header], names: Sequence[str], axis: int, wanted: Merging) -> list[float]:
    """Return at which voxel of the first image's axis each image begins.

    Raises
    ------
    GeometryError
        If slices differ in size, or lie beside or across those of the first.
    UsageError
        If channels differ.
    """
    first, starts = headers[0], []
    for header, name in zip(headers, names, strict=True):
        start = first.affine.inverse().apply(header.origin)[axis]
        move = [0.0, 0.0, 0.0]
        move[axis] = start
        column = first.affine @ AffineMatrix.from_spacing(1, origin=move)
        sizes, wished = list(header.spatial_shape), list(first.spatial_shape)
        wished[axis] = sizes[axis]
        codes = "".join(first.orientation)
        alike = header.orientation == first.orientation
        hint = "resample it first" if alike else f"store it alike first: medimg reorient --to {codes}"
        if sizes != wished:
            shown = [" x ".join(str(n) for a, n in enumerate(each) if a != axis) for each in (sizes, wished)]
            raise GeometryError(
                f"its slices have {shown[0]} voxels, those of {names[0]} {shown[1]}", path=name, hint=hint
            )
        off = header.grid.mm_shift(Grid(sizes, column))
        if off > wanted.tolerance:
            raise GeometryError(f"lies {off:.4g} mm beside where it would continue {names[0]}", path=name, hint=hint)
        if header.channel_axes() != first.channel_axes():
            mine, theirs = _written(header.channel_axes()), _written(first.channel_axes())
            raise UsageError(f"has {mine}, {names[0]} has {theirs}", path=name, hint="split it first")
        starts.append(start)
    return starts


def _check_gaps(
    headers: Sequence[Header], names: Sequence[str], axis: int, placed: Sequence[tuple[int, float]], tolerance: float
) -> None:
    """Refuse images between which something is missing or which overlap.

    Raises
    ------
    GeometryError
        Names the first two neighbours, and how far apart they are.
    """
    spacing = headers[0].spacing[axis]
    begin, size, before = placed[0][1], 0, placed[0][0]
    for n, start in placed:
        off = (start - begin - size) * spacing
        if abs(off) > tolerance:
            what = f"a gap of {off:.4g} mm" if off > 0 else f"an overlap of {-off:.4g} mm"
            hint = "a missing slab? --tolerance allows small gaps" if off > 0 else "crop one of them first"
            raise GeometryError(f"{what} between it and {names[before]}", path=names[n], hint=hint)
        size, before = size + headers[n].shape[axis + 1], n


# -- what several images say


def _one_table(headers: Sequence[Header], names: Sequence[str]) -> LabelTable | None:
    """Return the labels of all tables.

    Raises
    ------
    UsageError
        If two tables have other names for one value.
    """
    from medimg_cli.labels import LabelTable

    rows: dict[int, Any] = {}
    for header, name in zip(headers, names, strict=True):
        for label in header.labels or ():
            known = rows.setdefault(label.value, label)
            if known.name != label.name:
                said = f"label {label.value} is {label.display!r}, in another input it is {known.display!r}"
                raise UsageError(said, path=name, hint="renumber one of them: medimg labels --remap")
    if headers[0].labels is not None and len(headers[0].labels) == len(rows):
        return headers[0].labels
    return LabelTable(rows.values()) if rows else None


def _differing(headers: Sequence[Header]) -> list[str]:
    """Return the names of facts and key-values in which images differ."""
    first = headers[0]
    facts = [
        name.replace("_", " ") for name in _FACTS if any(getattr(h, name) != getattr(first, name) for h in headers)
    ]
    keys = sorted({key for header in headers for key in header.metadata})
    return facts + [key for key in keys if any(h.metadata.get(key) != first.metadata.get(key) for h in headers)]


def _about_sidecars(task: Task) -> list[str]:
    """Say where the JSON sidecars of inputs differ; that of the first travels."""
    facts = [read_facts(path) for path in task.inputs]
    keys = sorted({key for each in facts for key in each})
    found = [key for key in keys if any(each.get(key) != facts[0].get(key) for each in facts)]
    if not facts[0] or not found or task.output == STREAM:
        return []
    return [f"the JSON sidecar is that of {task.input}; those of inputs differ in {', '.join(found)}"]


def _written(axes: Sequence[tuple[str, int]]) -> str:
    return " x ".join(f"{kind} {size}" for kind, size in axes) or "one channel"


# -- one into several


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitting(Saving):
    """How an image becomes several.

    Parameters
    ----------
    axis : str, optional
        "channel", "time", or a letter of R, L, A, P, S, I: the storage axis nearest to it, from its far end towards
        the letter. Default: the one that the image has beside the axes of the body.
    every : int
        Steps in each part; the last may have fewer.
    level, strict
        As `Saving`.

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    axis: str | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.axis is not None:
            object.__setattr__(self, "axis", _axis(self.axis))
        if self.every < 1:
            raise UsageError(f"--every {self.every}", hint="give the steps of one part, 1 or more")


def split(task: Task, wanted: Splitting, *, threads: int) -> Report:
    """Read one image and write its parts; none where one of them may not be written.

    Parameters
    ----------
    task : Task
        Its output is a pattern of names; see `part_names`.
    wanted : Splitting
    threads : int
        Threads for compression.

    Raises
    ------
    StorageError
        If a part exists and may not be replaced.
    MedImgError
        As `pipeline.write_change`.
    """
    if task.output == STREAM:
        raise UsageError(
            "standard output is one stream, parts are several files", hint="name the parts: part_{}.nii.gz"
        )
    backend = open_input(task)
    found = parts(backend, wanted)
    names = part_names(task.output, len(found))
    for name in names if not task.force else ():
        if os.path.lexists(name):
            raise StorageError("exists", path=name, hint="use --force to replace it")
    if len(found) > 1:
        decode(backend)
    reports = {}
    backwards = range(len(found) - 1, -1, -1)  # the first part tells that all are there, see `first_part`
    for n in sorted(backwards, key=lambda n: os.path.realpath(names[n]) == os.path.realpath(task.input)):
        one, change = replace(task, output=names[n]), Change(found[n])
        with part_folder(names[n], task.output):
            reports[n] = write_change(one, backend.header, change, wanted, threads=threads)
    losses = {loss.note: loss for report in reports.values() for loss in report.losses}
    return Report(
        losses=tuple(losses.values()),
        warnings=tuple(dict.fromkeys(text for report in reports.values() for text in report.warnings)),
        remarks=(f"{len(names)} parts, {names[0]} to {names[-1]}" if len(names) > 1 else f"one part, {names[0]}",),
        outputs=tuple(names),
    )


@contextmanager
def part_folder(name: str, pattern: str) -> Iterator[None]:
    """Make the folder of a part where each has one of its own; a folder that was made for nothing goes again.

    Parameters
    ----------
    name, pattern : str
        Of the part, and of all of them; see `part_names`.
    """
    path = os.path.dirname(name) if "{}" in os.path.dirname(pattern) else ""
    made = bool(path) and not os.path.isdir(path)
    if made:
        os.makedirs(path, exist_ok=True)
    try:
        yield
    except BaseException:
        if made and not os.listdir(path):
            os.rmdir(path)
        raise


def part_names(pattern: str, count: int) -> list[str]:
    """Return the names of parts, numbered from 0.

    Parameters
    ----------
    pattern : str
        ``{}`` stands for the number; without it the number goes before the suffix.
    count : int

    Examples
    --------
    >>> part_names("vol.nii.gz", 2), part_names("s{}/vol.mgz", 1)
    (['vol_000.nii.gz', 'vol_001.nii.gz'], ['s000/vol.mgz'])
    """
    pattern = _numbered(pattern)
    width = max(3, len(str(count - 1)))
    return [pattern.replace("{}", str(n).zfill(width)) for n in range(count)]


def _numbered(pattern: str) -> str:
    """Return a pattern in which ``{}`` stands for the number."""
    stem = split_suffix(pattern)[0]
    return pattern if "{}" in pattern else stem + "_{}" + pattern[len(stem) :]


def older_parts(pattern: str, names: Sequence[str]) -> list[str]:
    """Return files beside some parts that are named as parts are, and none of these: those of an earlier, larger set.

    Parameters
    ----------
    pattern : str
        As `part_names` has it; parts in folders of their own have no such neighbours.
    names : sequence of str
        Of the parts.
    """
    folder, base = os.path.split(_numbered(pattern))
    front, _, back = base.partition("{}")
    if "{}" in folder or "{}" in back:
        return []
    middles = {name: name[len(front) : len(name) - len(back)] for name in os.listdir(folder or ".")}
    numbered = [name for name, n in middles.items() if n.isdecimal() and len(n) > 2 and name == front + n + back]
    return sorted(set(numbered) - {os.path.basename(name) for name in names})


def first_part(pattern: str) -> str:
    """Return the name of the first part: the one that is there, else the one with three digits."""
    names = [part_names(pattern, count)[0] for count in (1, 1001, 10001)] if pattern != STREAM else [pattern]
    return next((name for name in names if os.path.lexists(name)), names[0])


def parts(backend: Backend, wanted: Splitting) -> list[Backend]:
    """Return the parts of an image, lazily.

    Parameters
    ----------
    backend : Backend
    wanted : Splitting

    Raises
    ------
    UsageError
        If the image has no axis to split along, or several.
    """
    header = backend.header
    kind = wanted.axis or _only_axis(header)
    if kind not in _KINDS:
        return list(_slabs(backend, kind, wanted.every))
    axes = _Axes.of(header, kind)
    if axes.size == 1 and kind == "channel" and header.channels > 1:
        backend = with_header(backend, _apart(header))
        axes = _Axes((), header.channels, ())
    spans = [range(start, min(start + wanted.every, axes.size)) for start in range(0, axes.size, wanted.every)]
    return [_steps(backend, axes, kind, span) for span in spans]


def _apart(header: Header) -> Header:
    """Return the header of an image whose colours or components are channels like any other."""
    facts: dict[str, Any] = {"axes": (("channel", header.channels),)}
    if "vector" in dict(header.axes):
        facts |= {"intent": None, "intent_params": (), "intent_name": ""}
    return header.replace(**facts)


def _only_axis(header: Header) -> str:
    """Return the axis that an image has beside those of the body.

    Raises
    ------
    UsageError
        If there is none, or more than one.
    """
    kinds = [kind for kind, size in header.channel_axes() if kind not in _COMPONENTS and size > 1]
    if len(kinds) == 1:
        return kinds[0] if kinds[0] in _KINDS else "channel"
    if kinds:
        raise UsageError(f"has {_written(header.channel_axes())}", hint="give --axis time or --axis channel")
    if header.channels > 1:
        return "channel"
    raise UsageError("has one channel and no time", hint="give --axis S, or another letter")


def _steps(backend: Backend, axes: _Axes, kind: str, span: range) -> Backend:
    """Return some steps of an axis that C is made of."""
    header = backend.header
    inner, turns = prod(n for _, n in axes.inner), prod(n for _, n in axes.outer)
    if turns == 1:
        return _channels(backend, range(span.start * inner, span.stop * inner))
    if inner == len(span) == 1:
        return _channels(backend, range(span.start, header.channels, axes.size))
    block = inner * axes.size
    picked = [range(turn * block + span.start * inner, turn * block + span.stop * inner) for turn in range(turns)]
    whole = header.replace(
        shape=(len(span) * inner * turns, *header.spatial_shape),
        axes=(*axes.inner, (kind, len(span)), *axes.outer),
        gradients=None,
    )
    return stacked([_channels(backend, channels) for channels in picked], whole)


def _slabs(backend: Backend, letter: str, every: int) -> Iterator[Backend]:
    """Yield slabs of an image from the far end of an axis towards its letter."""
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.slicing import Slice

    shape = backend.header.shape
    axis, sign = backend.header.affine.nearest_axis(letter)
    size = shape[axis + 1]
    for start in range(0, size, every):
        stop = min(start + every, size)
        span = slice(start, stop) if sign > 0 else slice(size - stop, size - start)
        index = [slice(None)] * 4
        index[axis + 1] = span
        yield apply(Slice.of(tuple(index), shape), backend)

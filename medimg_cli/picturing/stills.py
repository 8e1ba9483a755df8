"""Pictures that stand still: plots, and slices as pictures, one or a numbered set; for one input at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medimg_cli.assembling import first_part, older_parts, part_folder, part_names
from medimg_cli.backends import ArrayBackend, decode
from medimg_cli.batch import STREAM, Report, Task
from medimg_cli.errors import StorageError, UnsupportedError, UsageError
from medimg_cli.formats import knows_suffix, split_suffix
from medimg_cli.media.drawing import ROOM
from medimg_cli.media.frames import Plane, Scene
from medimg_cli.media.look import Look
from medimg_cli.media.plots import Plot, draw_plot
from medimg_cli.media.saving import is_picture, picture_kind, save_picture
from medimg_cli.media.scenes import open_scene
from medimg_cli.media.sizes import LARGEST, check_size
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from medimg_cli.operations.requests import IndexRequest, PlaceRequest
from medimg_cli.operations.slicing import Slice
from medimg_cli.pipeline import (
    Change,
    Pipeline,
    Saving,
    image_name,
    open_input,
    output_path,
    process,
    selection_requests,
    target_name,
    write_change,
)
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["Cutting", "Plotting", "cut", "plot"]

#: White in PNG's 16 bits.
_WHITE = 65535


# -- plots ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plotting:
    """How an image becomes a plot.

    Parameters
    ----------
    look : Look
    plot : Plot
    """

    look: Look = field(default_factory=Look)
    plot: Plot = field(default_factory=Plot)


def plot(task: Task, wanted: Plotting, *, threads: int) -> Report:
    """Read one image and write its plot.

    Parameters
    ----------
    task : Task
        ``-`` is standard input or output.
    wanted : Plotting
    threads : int
        Not used.

    Raises
    ------
    UsageError
        If no picture is written to files of the output's name; nothing has been read then.
    MedImgError
        As `draw_plot`, or where the output cannot be written.
    """
    picture_kind(target_name(task))
    backend = open_input(task)
    drawn = draw_plot(backend, wanted.look, wanted.plot, name=image_name(task.input, backend.header))
    _write(task, drawn.picture)
    return Report(warnings=backend.header.warnings, remarks=drawn.remarks)


def _write(task: Task, picture: Any, *, level: int | None = None, pixel: float | None = None) -> None:
    with output_path(task) as path:
        save_picture(picture, path, force=task.force, level=level, pixel=pixel)


# -- slices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting(Saving):
    """How a part is cut out of an image, and drawn where the output is a picture.

    Parameters
    ----------
    index : str, optional
        A selection in NumPy's syntax.
    axis : str, optional
        A letter: one slice across this axis.
    at : str, optional
        Where on it, as `PlaceRequest` reads it; left out: the middle.
    every : int, optional
        Every so manieth slice along the axis instead, in numbered files.
    raw : bool
        Whether a picture gets the stored values, one pixel a voxel.
    scale : float, optional
        Times native size.
    size : int, optional
        Pixels of the longer edge.
    look : Look
    level, strict
        As `Saving`.

    Raises
    ------
    UsageError
        If two of them exclude each other, or one makes no sense.
    """

    index: str | None = None
    axis: str | None = None
    at: str | None = None
    every: int | None = None
    raw: bool = False
    scale: float | None = None
    size: int | None = None
    look: Look = field(default_factory=Look)

    def __post_init__(self) -> None:
        selection_requests(self.index, self.axis, self.at or "50%")
        if self.at is not None and self.axis is None:
            raise UsageError(f"--at {self.at}: that is a place on --axis", hint="give --axis S, or another letter")
        if self.every is not None and (self.every < 1 or self.axis is None or self.at is not None):
            hint = "give --axis S --every 5, without --at"
            raise UsageError(f"--every {self.every}: that counts slices along --axis", hint=hint)
        if self.scale is not None and self.size is not None:
            raise UsageError("--scale and --size exclude each other", hint="give one of them")
        if self.scale is not None and not (isfinite(self.scale) and self.scale > 0):
            raise UsageError(f"--scale {self.scale}", hint="give a number above 0, such as 2")
        check_size(self.size)

    @property
    def stands_for(self) -> Callable[[str], str]:
        """Which file of an output tells whether it is there."""
        return str if self.every is None else first_part

    @property
    def drawing(self) -> list[str]:
        """Options that say how a picture is drawn."""
        plain = Look()
        given = [row.name for row in fields(Look) if getattr(self.look, row.name) != getattr(plain, row.name)]
        given += [name for name in ("scale", "size") if getattr(self, name) is not None]
        return [f"--{name}" for name in given]

    def pixels_per_mm(self, scene: Scene, plane: Plane) -> float:
        """Return the scale of a picture.

        Raises
        ------
        UsageError
            If it would be larger than pictures may be.
        """
        scale = scene.scale(plane, size=self.size) * (self.scale or 1)
        edge = max(scene.extent(plane)) * scale
        if edge > LARGEST + 0.5:
            hint = f"pictures have at most {LARGEST}; give --size"
            raise UsageError(f"the picture would have an edge of {edge:.0f} pixels", hint=hint)
        return scale


def cut(task: Task, wanted: Cutting, *, threads: int) -> Report:
    """Read one image and write a part of it: as an image, or as a picture where the output's name is that of one.

    Parameters
    ----------
    task : Task
        ``-`` is standard input or output.
    wanted : Cutting
    threads : int
        Threads for compression.

    Raises
    ------
    UsageError
        If options do not go with the output.
    StorageError
        If a picture of a set exists and may not be replaced.
    MedImgError
        Where the input cannot be read or the output cannot be written.
    """
    name = target_name(task)
    if wanted.every is not None and task.output == STREAM:
        raise UsageError("standard output is one stream, a set is several files", hint="name them: slice_{}.png")
    if wanted.raw and is_picture(name):
        return _cut_raw(task, wanted, threads)
    if is_picture(name):
        return _cut_picture(task, wanted)
    given = [*wanted.drawing, *(["--every"] if wanted.every is not None else [])]
    if given:
        hint = "name a picture, such as out.png" + (", or see: medimg split" if given == ["--every"] else "")
        raise UsageError(f"{', '.join(given)}: the output is no picture", path=name, hint=hint)
    requests = selection_requests(wanted.index, wanted.axis, wanted.at or "50%")
    return process(task, Pipeline(operations=requests, level=wanted.level, strict=wanted.strict), threads=threads)


class _Cut(NamedTuple):
    """Slices that are drawn: of which scene, across which plane, and where."""

    scene: Scene
    plane: Plane
    places: range


def _cut_picture(task: Task, wanted: Cutting) -> Report:
    """Draw one slice or a set of them."""
    if wanted.strict:
        raise UsageError("--strict: a picture shows values, it keeps none", hint="add --raw to keep them")
    backend = open_input(task)
    opened = open_scene(backend, _stored_planes(wanted), task.input)
    found = _indexed(backend, opened.scene, wanted) if wanted.index is not None else _across(opened.scene, wanted)
    scene, plane, places = found
    scale = wanted.pixels_per_mm(scene, plane)
    names = _names(task, wanted, len(places))
    backwards = scene.pictures(plane, places[::-1], scale=scale)  # the first one tells that all are there
    for name, picture in zip(names[::-1], backwards, strict=True):
        with part_folder(name, task.output):
            _write(replace(task, output=name), picture, level=wanted.level, pixel=1 / scale)
    remarks = [*opened.remarks]
    if scene.steps > 1 and not wanted.look.channel:
        remarks.append(f"{scene.channel_shown}; --channel picks another")
    where = [scene.place_of(plane, place) for place in places]
    if wanted.every is not None:
        remarks += _about(task.output, names, where)
    if not wanted.look.plain and scene.known and min(picture.size) < ROOM:
        remarks.append("has no room for letters of the sides (--size 256 makes it)")
    notes = (", ".join([*where, *scene.remarks()]),) if wanted.every is None else ()
    return Report(
        warnings=backend.header.warnings,
        remarks=tuple(remarks),
        notes=notes,
        outputs=tuple(names) if wanted.every is not None else (),
    )


def _stored_planes(wanted: Cutting) -> Look:
    """Return the look of a slice: planes of the voxels, unless planes of the body are asked for."""
    if wanted.look.planes != "straight":
        return replace(wanted.look, planes="stored")
    if wanted.index is not None:
        raise UsageError(
            "--planes straight: an index counts the voxels as they are stored", hint="give --axis and --at"
        )
    return wanted.look


def _across(scene: Scene, wanted: Cutting) -> _Cut:
    """Return the slices that an axis and a place, or every so manieth, pick."""
    letter = str(wanted.axis)
    if wanted.every is not None:
        plane, places = scene.sweep(letter)
        return _Cut(scene, plane, places[:: wanted.every])
    plane, place = scene.place_at(letter, wanted.at or "50%")
    return _Cut(scene, plane, range(place, place + 1))


def _indexed(backend: Backend, whole_scene: Scene, wanted: Cutting) -> _Cut:
    """Return the slice that an index leaves, under the window of the whole image.

    Raises
    ------
    UsageError
        If the index leaves several slices.
    """
    step = IndexRequest(str(wanted.index)).prepare(backend)
    part = apply(step, backend)
    _refuse_several(part, str(wanted.index))
    over = whole_scene.overlay.volume if whole_scene.overlay is not None else None
    scene = Scene(part, whole_scene.look, labels=whole_scene.labels, overlay=over)
    if not whole_scene.labels and not whole_scene.colour:
        scene = scene.under(limits=whole_scene.under(channel=step.spans[0][scene.channel]).limits())
    plane = max(reversed(scene.worth_seeing), key=lambda each: scene.shape[each.right] * scene.shape[each.down])
    return _Cut(scene, plane, range(1))


def _refuse_several(part: Backend, index: str) -> None:
    shape = part.header.spatial_shape
    if 1 not in shape:
        shown = " x ".join(map(str, shape))
        raise UsageError(
            f"--index {index} leaves {shown} voxels, a picture shows one slice", hint="name one: '[..., 40]'"
        )


def _names(task: Task, wanted: Cutting, count: int) -> list[str]:
    """Return the names of the pictures of a set, or the one name.

    Raises
    ------
    StorageError
        If one of a set exists and may not be replaced.
    """
    if wanted.every is None:
        return [task.output]
    names = part_names(task.output, count)
    taken = next((name for name in names if not task.force and os.path.lexists(name)), None)
    if taken is not None:
        raise StorageError("already exists", path=taken, hint="use --force to replace it")
    return names


def _about(pattern: str, names: Sequence[str], where: Sequence[str]) -> Iterator[str]:
    """Yield which pictures a set has, and which of an earlier one stay beside them."""
    if len(names) == 1:
        yield f"one picture, {names[0]} ({where[0]})"
    else:
        yield f"{len(names)} pictures, {names[0]} ({where[0]}) to {names[-1]} ({where[-1]})"
    older = older_parts(pattern, names)
    if older:
        yield f"{len(older)} older files with numbers stay beside them, {older[0]} the first"


# -- stored values ----------------------------------------------------------------------------------------------------


def _cut_raw(task: Task, wanted: Cutting, threads: int) -> Report:
    """Write the stored values of one slice or a set of them, one pixel a voxel."""
    name = target_name(task)
    suffix = split_suffix(name)[1]
    _refuse_drawing(wanted, name)
    backend = open_input(task)
    source, remarks = (backend, []) if wanted.index is not None else _one_channel(backend, wanted.look.channel)
    steps = list(_steps(source, wanted))
    if suffix not in (".tif", ".tiff") and wanted.index is not None:
        _refuse_several(apply(steps[0], source), wanted.index)
    limits = _window(source, wanted.look) if wanted.look.window is not None else None
    names = _names(task, wanted, len(steps))
    if len(steps) > 1:
        decode(backend)
    reports = []
    for step, each in zip(steps[::-1], names[::-1], strict=True):
        part = apply(step, source)
        part = _on_a_page(part) if suffix in (".tif", ".tiff") else part
        change = Change(part if limits is None else _spread(part, limits))
        with _raw_hint(suffix), part_folder(each, task.output):
            reports.append(write_change(replace(task, output=each), backend.header, change, wanted, threads=threads))
    if limits is not None:
        low, high = limits
        remarks.append(f"values from {low:.6g} to {high:.6g} are spread over 0 to {_WHITE}")
    if wanted.every is not None:
        scene = Scene(source, Look(planes="stored"))
        plane, places = scene.sweep(str(wanted.axis))
        remarks += _about(task.output, names, [scene.place_of(plane, place) for place in places[:: wanted.every]])
    if source.header.orientation_known:
        sides = [each for each, n in zip(part.header.orientation, part.header.spatial_shape) if n > 1]
        remarks += [f"columns run to {sides[0]}, rows to {sides[1]}, as they are stored"] if len(sides) == 2 else []
    losses = {loss.field: loss for report in reversed(reports) for loss in report.losses}
    return Report(
        losses=tuple(losses.values()),
        warnings=tuple(dict.fromkeys(text for report in reports for text in report.warnings)),
        remarks=tuple(remarks),
        outputs=tuple(names) if wanted.every is not None else (),
    )


def _refuse_drawing(wanted: Cutting, name: str) -> None:
    """Refuse what has no meaning for stored values.

    Raises
    ------
    UsageError
        If a drawing option is given, or the format holds no stored values.
    """
    suffix = split_suffix(name)[1]
    given = [option for option in wanted.drawing if option not in ("--window", "--channel")]
    if wanted.index is not None and "--channel" in wanted.drawing:
        given.append("--channel")
    if given:
        raise UsageError(f"{', '.join(given)}: --raw draws nothing", path=name, hint="leave out --raw")
    if not knows_suffix(suffix):
        raise UsageError(f"--raw: {suffix} holds no stored values", path=name, hint="use .png, .tif, .bmp or .jpg")
    if wanted.look.window is not None and suffix != ".png":
        raise UsageError("--raw --window is for PNG with 16 bits", path=name, hint="use .png, or leave out --window")


def _one_channel(backend: Backend, channel: int) -> tuple[Backend, list[str]]:
    """Return one channel or time step of an image, colours whole, and what is to be said about it."""
    header = backend.header
    count = 1 if "rgb" in dict(header.axes) else header.channels
    if not -count <= channel < count:
        raise UsageError(f"channel {channel}: the image has {count}")
    if count == 1:
        return backend, []
    remarks = []
    if channel == 0:
        remarks.append(f"{Scene(backend, Look(planes='stored')).channel_shown}; --channel picks another")
    return apply(Slice.of((channel % count,), header.shape), backend), remarks


def _steps(source: Backend, wanted: Cutting) -> Iterator[Slice]:
    """Yield the operations that cut the slices."""
    if wanted.index is not None:
        yield IndexRequest(wanted.index).prepare(source)
        return
    letter = str(wanted.axis)
    if wanted.every is None:
        yield PlaceRequest(letter, wanted.at or "50%").prepare(source)
        return
    axis, _ = source.header.affine.nearest_axis(letter)
    for place in range(0, source.header.spatial_shape[axis], wanted.every):
        yield PlaceRequest(letter, str(place)).prepare(source)


def _on_a_page(part: Backend) -> Backend:
    """Return an image with the axis of one voxel as its last: a page of TIFF holds the other two."""
    shape, letters = part.header.spatial_shape, part.header.orientation
    if 1 not in shape:
        return part
    flat = 2 - shape[::-1].index(1)
    order = [letter for axis, letter in enumerate(letters) if axis != flat]
    return apply(Reorient((*order, letters[flat])), part)


def _window(source: Backend, look: Look) -> tuple[float, float]:
    """Return the values that become 0 and the largest number of 16 bits.

    Raises
    ------
    UsageError
        If they are colours.
    """
    scene = Scene(source, replace(look, planes="stored", channel=0))
    if scene.colour:
        raise UsageError("--raw --window: colours have no window", hint="leave out --window")
    return scene.limits()


def _spread(part: Backend, limits: tuple[float, float]) -> Backend:
    """Return values of a window as 16 bits, those beyond it at its ends; NaN is 0."""
    header = part.header
    values = part.read(whole(header.shape))
    values = np.abs(values) if np.iscomplexobj(values) else values
    low, high = limits
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    pixels = np.rint(np.nan_to_num(share) * _WHITE).astype(np.uint16)
    return ArrayBackend(pixels, header.replace(dtype="uint16", slope=None, inter=None))


@contextmanager
def _raw_hint(suffix: str) -> Iterator[None]:
    """Say what helps this command where a picture cannot hold stored values."""
    try:
        yield
    except UnsupportedError as error:
        spread = ", or spread a window over 16 bits: --window 0:1200" if suffix == ".png" else ""
        error.hint = f"leave out --raw to draw it, write .tif{spread}"
        raise

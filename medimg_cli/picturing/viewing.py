"""An image as a page of HTML with a viewer in it: what fits, what is said about it, and the page itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, log10, prod
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.batch import STREAM, Report, Task
from medimg_cli.dtypes import ITEMSIZE, integer_range, is_complex, is_integer
from medimg_cli.errors import UnsupportedError, UsageError
from medimg_cli.media.look import Look, PageLook
from medimg_cli.picturing.pages import page_file
from medimg_cli.pipeline import image_name, open_input, shown_name
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header
    from medimg_cli.media.frames import Scene
    from medimg_cli.media.niivue import Layer, Page
    from medimg_cli.media.scenes import Opened

__all__ = ["MOST", "Viewing", "open_page", "view"]

MOST = 64.0
"""Megabytes of voxels of one volume in a page, unless the user says otherwise."""

#: Voxels along an axis of textures that graphics cards in use hold (the standard, WebGL 2, asks for 256).
_LONGEST = 2048
#: Labels that the viewer's table of colours holds at most.
_LABELS = 2048
#: So many steps of a series fit at least: their voxels become larger where it takes that.
_STEPS = 8
#: Types that the viewer reads as they are; of those of 32 bits it leaves out the last voxel (NiiVue 0.69).
_READ = frozenset({"uint8", "int16", "uint16", "float32"})
#: Of the range of an overlay's values, where those that are shown start.
_START = 0.3
#: Narrower windows come near to what the viewer can tell apart, 0.00001: their values are multiplied.
_NARROW = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """How images become pages.

    Parameters
    ----------
    look : PageLook
    overlays : sequence of str
        Paths or URLs of images that are shown over it, on whatever grids.
    max_size : float
        Megabytes of voxels of each volume; what is larger is reduced.
    browser : bool
        Whether to open the page in a browser.

    Raises
    ------
    UsageError
        If the size is not positive.
    """

    look: PageLook
    overlays: Sequence[str] = ()
    max_size: float = MOST
    browser: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_size < float("inf"):
            raise UsageError(f"--max-size {self.max_size}", hint="give megabytes, more than 0")


def view(task: Task, wanted: Viewing, *, threads: int) -> Report:
    """Write the page of one image.

    Parameters
    ----------
    task : Task
        The output ends in ``.html`` or ``.htm``.
    wanted : Viewing
    threads : int
        Threads for compression.

    Raises
    ------
    UsageError
        If the output has another name, or there is no such channel.
    MissingExtraError
        If medimg was built without the viewer.
    MedImgError
        If an image cannot be read, an overlay lies elsewhere, or the page cannot be written.
    """
    from medimg_cli.media.niivue import page_html, viewer_script

    with page_file(task) as file:
        viewer_script()  # refuse before the voxels are read
        backend = open_input(task)
        page, remarks = _page(backend, task.input, wanted, threads)
        for piece in page_html(page):
            file.write(piece)
    warnings = backend.header.warnings
    if wanted.browser and not open_page(task.output):
        warnings = (*warnings, "no browser was found to open the page in")
    return Report(warnings=warnings, remarks=remarks)


def open_page(path: str) -> bool:
    """Open a page in the user's browser; False where there is none, or the page went to standard output."""
    import webbrowser
    from pathlib import Path

    return path != STREAM and webbrowser.open(Path(path).resolve().as_uri())


def _page(backend: Backend, path: str, wanted: Viewing, threads: int) -> tuple[Page, tuple[str, ...]]:
    """Return the page of an image, and what to say of it on standard error."""
    from medimg_cli import __version__
    from medimg_cli.media.niivue import Page
    from medimg_cli.media.scenes import open_scene
    from medimg_cli.media.window import PRESETS, inverted

    look, header = wanted.look, backend.header
    alone = replace(look, outline=False, opacity=None) if wanted.overlays else look
    opened = open_scene(backend, alone, path)
    scene, notes = opened.scene, list(_straightened(header, opened.scene))
    made = [_made(scene, shown_name(path), wanted, threads)]
    made += [_overlay(each, opened, path, wanted, threads) for each in wanted.overlays]
    facts = dict(_facts(header))
    notes += [note for each in made for note in each.notes]
    page = Page(
        title=image_name(path, header),
        summary=", ".join(facts[name] for name in ("shape", "spacing", "type")),
        facts=tuple(facts.items()),
        notes=[note.partition(" (--")[0] for note in notes],
        layers=[each.layer for each in made],
        view=next((view for size, view in zip(scene.shape, _VIEWS, strict=True) if size == 1), "all"),
        neurological=look.neurological,
        letters=scene.known,
        outline=(1.0 if look.opacity is None else look.opacity) if look.outline else 0.0,
        inverted=inverted(header),
        first=min(scene.channel, made[0].steps - 1),
        presets={name: (center - width / 2, center + width / 2) for name, (center, width) in PRESETS.items()},
        generator=f"medimg {__version__}",
    )
    doubts = (doubt for each in made for doubt in each.doubts)
    return page, (*opened.remarks, *doubts, *notes)


_VIEWS = "sagittal", "coronal", "axial"


def _straightened(header: Header, scene: Scene) -> Iterator[str]:
    tilt = header.affine.obliquity_deg
    if tilt - scene.grid.affine.obliquity_deg > 0.01:
        yield f"turned by {tilt:.3g} degrees to the planes of the body (--planes stored shows its own)"


# -- facts ----------------------------------------------------------------------------------------------------------


def _facts(header: Header) -> Iterator[tuple[str, str]]:
    """Yield facts of an image that tell nothing of the patient, (name, text)."""
    words = {"time": "time steps", "channel": "channels", "vector": "vector components", "rgb": "colour components"}
    axes = [f", {size} {words.get(kind, kind)}" for kind, size in header.axes if size > 1]
    yield "shape", " x ".join(map(str, header.spatial_shape)) + "".join(axes)
    step = header.time_spacing
    yield "spacing", _lengths(header.spacing) + (f", {step:.6g} s" if step is not None else "")
    yield "extent", _lengths([n * step for n, step in zip(header.spatial_shape, header.spacing, strict=True)])
    tilt = header.affine.obliquity_deg
    known = "".join(header.orientation) + (f", oblique by {tilt:.3g} degrees" if tilt > 0.01 else "")
    yield "orientation", known if header.orientation_known else "unknown"
    added = f" + {header.inter:.6g}" if header.inter else ""
    scaled = f", value = stored * {header.slope:.6g}{added}" if header.scaled else ""
    yield "type", header.dtype + scaled


def _lengths(values: Any) -> str:
    return " x ".join(f"{value:.4g}" for value in values) + " mm"


# -- volumes --------------------------------------------------------------------------------------------------------


class _Made(NamedTuple):
    """A volume of the page, the steps that it has there, what was done to it, and what is odd about it."""

    layer: Layer
    steps: int
    notes: tuple[str, ...]
    doubts: tuple[str, ...] = ()


def _made(
    scene: Scene,
    name: str,
    wanted: Viewing,
    threads: int,
    *,
    opacity: float = 1.0,
    window: tuple[float, float] | None = None,
    signed: bool = False,
    over: bool = False,
) -> _Made:
    """Return the volume that a scene shows, as the viewer can read it and the page can hold it."""
    from medimg_cli.media.niivue import Layer
    from medimg_cli.operations.pad import Pad
    from medimg_cli.operations.protocol import apply

    notes: list[str] = []
    kind = scene.kind
    volume = _colours(scene, notes) if scene.colour else scene.volume
    volume = _readable(volume, notes) if kind == "intensities" else volume
    volume, labels = _indexed(volume, name) if kind == "labels" else (volume, ())
    volume = _reduced(volume, int(wanted.max_size * 1e6), kind, notes)
    if over and kind == "labels":
        volume = apply(Pad(1), volume)  # the viewer goes on with the outermost labels as far as the image reaches
    window = (0.0, 1.0) if kind != "intensities" else window or scene.limits()
    factor = _factor(window)
    header = volume.header
    layer = Layer(
        name=name,
        content=_nifti(volume, kind, factor, threads),
        kind=kind,
        window=window,
        signed=signed,
        factor=factor,
        colormap=wanted.look.colormap,
        labels=labels,
        opacity=opacity,
        step=scene.step_name,
        seconds=header.time_spacing,
    )
    return _Made(layer, 1 if scene.colour else header.channels, tuple(notes))


def _overlay(path: str, opened: Opened, image: str, wanted: Viewing, threads: int) -> _Made:
    """Return an image that is shown over another one: labels in their colours, other values from a threshold on."""
    from medimg_cli.formats import open_backend
    from medimg_cli.media.frames import Scene
    from medimg_cli.media.scenes import doubts_of_overlay
    from medimg_cli.statistics.recognition import why_labels

    backend = open_backend(path)
    doubts = doubts_of_overlay(public_name(path), backend.header, opened.header, public_name(image))
    look = Look(neurological=wanted.look.neurological, planes="stored")  # the viewer puts voxels where they lie
    over = Scene(backend, look, labels=why_labels(backend) is not None)
    opacity = wanted.look.opacity if wanted.look.opacity is not None else 0.5
    opacity = 0.0 if over.labels and wanted.look.outline else opacity  # of what outlines go round
    window, signed, notes = None, False, []
    if not (over.labels or over.colour):
        low, high = over.limits()
        signed, top = low < 0 < high, max(-low, high)
        window = (_START * top, top) if signed else (low + _START * (high - low), high)
        blue = f", from {-window[0]:.4g} to {-window[1]:.4g} in blue" if signed else ""
        notes.append(f"no label map: values from {window[0]:.4g} to {window[1]:.4g} are shown in red to yellow{blue}")
    made = _made(over, shown_name(path), wanted, threads, opacity=opacity, window=window, signed=signed, over=True)
    said = tuple(f"{shown_name(path)}: {note}" for note in (*notes, *made.notes))
    return made._replace(notes=said, doubts=tuple(doubts))


def _colours(scene: Scene, notes: list[str]) -> Backend:
    """Return red, green and blue of the step that is shown."""
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.slicing import Slice

    first, steps = scene.channel, scene.steps
    if steps > 1:
        notes.append(f"of the {steps} steps only number {first} (from 0) is in the page (--channel)")
    if scene.volume.header.channels > 3 * steps:
        notes.append("opacity, the fourth component of its colours, was left out")
    channels = slice(first, first + 2 * steps + 1, steps)
    return apply(Slice.of((channels, ...), scene.volume.header.shape), scene.volume)


@dataclass(frozen=True)
class _Stored:
    """Values in another type; of complex numbers the magnitude, beyond its range infinities."""

    dtype: str

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        with np.errstate(over="ignore"):
            return (np.abs(values) if np.iscomplexobj(values) else values).astype(self.dtype)


def _readable(volume: Backend, notes: list[str]) -> Backend:
    """Return the same values in a type that the viewer reads."""
    from medimg_cli.operations.pointwise import MapBackend
    from medimg_cli.statistics.counts import value_range

    header = volume.header
    if header.dtype in _READ:
        return volume
    dtype = "float32"
    if is_complex(header.value_dtype):
        notes.append("of its complex values the magnitude is in the page")
    elif header.dtype in ("bool", "int8"):
        dtype = "uint8" if header.dtype == "bool" else "int16"
    elif is_integer(header.value_dtype):
        found = value_range(volume)
        low, high = found.low or 0, found.high or 0
        dtype = next((name for name in ("int16", "uint16") if _within(low, high, integer_range(name))), "float32")
        if max(-low, high) > 2**24:
            notes.append("its whole numbers above 16777216 are rounded to 7 digits in the page")
    elif ITEMSIZE[header.value_dtype] > 4:
        notes.append(f"its values, {header.value_dtype}, are rounded to float32 in the page")
    return MapBackend(volume, header.replace(dtype=dtype, slope=None, inter=None), _Stored(dtype))


def _within(low: float, high: float, limits: tuple[int, int]) -> bool:
    return limits[0] <= low and high <= limits[1]


def _reduced(volume: Backend, most: int, kind: str, notes: list[str]) -> Backend:
    """Return a volume of at most so many bytes: larger voxels, fewer steps."""
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.resample import Resample
    from medimg_cli.operations.slicing import Slice

    header = volume.header
    steps = 1 if kind == "colours" else header.channels
    size = ITEMSIZE[header.dtype] * (3 if kind == "colours" else 1)
    grid = _coarser(header.grid, most // (size * min(steps, _STEPS)))
    if grid != header.grid:
        how = "nearest" if kind == "labels" else "linear"
        volume = apply(Resample(grid, interpolation=how), volume)
        before, after = (" x ".join(map(str, each.shape)) for each in (header.grid, grid))
        notes.append(f"reduced from {before} to {after} voxels of {_lengths(grid.spacing)} (--max-size)")
    fits = max(1, most // (size * prod(grid.shape)))
    if fits < steps:
        volume = apply(Slice.of((slice(0, fits), ...), volume.header.shape), volume)
        notes.append(f"of its {steps} steps the first {fits} are in the page (--max-size)")
    return volume


def _coarser(grid: Grid, most: int) -> Grid:
    """Return the finest grid of at most so many voxels over the same field of view; fine axes become coarse first.

    >>> from medimg_cli.grid import Grid
    >>> _coarser(Grid((100, 100, 40), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]), 10**5).spacing
    (2.0, 2.0, 3.0)
    """
    found, step = grid, min(grid.spacing)
    least = [each * max(1.0, n / _LONGEST) for each, n in zip(grid.spacing, grid.shape, strict=True)]
    while prod(found.shape) > max(most, 1) or max(found.shape) > _LONGEST:
        step *= 1.02
        rounded = float(f"{step:.2g}")
        found = grid.resampled(spacing=[max(each, rounded) for each in least])
    return found


def _indexed(volume: Backend, name: str) -> tuple[Backend, tuple[tuple[int, str, tuple[int, int, int, int]], ...]]:
    """Return a label map whose labels are numbered from 0, the background, and what the numbers stand for.

    Raises
    ------
    UnsupportedError
        If there are too many labels.
    """
    from medimg_cli.media.window import LabelColours
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.relabel import Remap
    from medimg_cli.statistics.counts import count_values

    table = volume.header.labels
    values = [0, *(value for value in count_values(volume) if value and isinstance(value, int))]
    if len(values) > _LABELS:
        hint = f"the viewer knows {_LABELS} at most; --kind intensities shows its values"
        raise UnsupportedError(f"{len(values)} different labels", path=name, hint=hint)
    numbers = {value: number for number, value in enumerate(values)}
    colours = LabelColours(table)
    rows = [
        (value, table.name_of(value) if table else "", (*colours.of(value), 255 if value else 0)) for value in values
    ]
    dtype = "uint8" if len(values) <= 256 else "uint16"
    return apply(Remap(numbers, default=0, dtype=dtype), volume), tuple(rows)


def _factor(window: tuple[float, float]) -> float:
    """Return the power of ten that makes a window wide enough for the viewer.

    >>> _factor((0, 1200)), _factor((0, 3e-9))
    (1.0, 1000000000.0)
    """
    width = window[1] - window[0]
    return 1.0 if width >= _NARROW or not width > 0 else 10.0 ** -floor(log10(width))


def _nifti(volume: Backend, kind: str, factor: float, threads: int) -> bytes:
    """Return a volume as a compressed NIfTI file that says nothing but where its voxels lie."""
    import tempfile
    from pathlib import Path

    from medimg_cli.backends import with_header
    from medimg_cli.formats.writing import save_backend
    from medimg_cli.header import Header

    header = volume.header
    slope, inter = (header.slope or 1.0, header.inter or 0.0) if header.scaled else (1.0, 0.0)
    scaled: Mapping[str, float] = {"slope": slope * factor, "inter": inter * factor}
    axis = "rgb" if kind == "colours" else "time"
    bare = Header(
        shape=header.shape,
        dtype=header.dtype,
        affine=header.affine,
        axes=((axis, header.channels),) if header.channels > 1 else (),
        intent="label" if kind == "labels" else None,
        **(scaled if header.scaled or factor != 1 else {}),
    )
    with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        path = os.path.join(folder, "volume.nii.gz")
        save_backend(with_header(volume, bare), path, threads=threads)
        return Path(path).read_bytes()

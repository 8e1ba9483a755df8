"""Plots of a volume: three views through a point, or a mosaic of slices, with the facts that belong to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.media.drawing import draw_marks
from medimg_cli.media.scenes import Opened, open_scene
from medimg_cli.media.sheets import Colour, Tile, sheet
from medimg_cli.media.sizes import check_size
from medimg_cli.media.window import LabelColours
from medimg_cli.operations.requests import PlaceRequest

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header
    from medimg_cli.media.frames import Plane, Scene
    from medimg_cli.media.look import Look

__all__ = ["Drawn", "Plot", "Point", "draw_plot", "parse_mosaic", "parse_point"]

#: Pixels of the longest edge of the volume in three views; of a mosaic as a whole, and of its tiles at most and least.
_SIDE, _SCREEN, _TILES = 420, 1320, (48, 320)
#: Tiles that a mosaic may have.
_MANY = 1024
#: So many labels without names are listed.
_FEW = 12
#: A slice holds something where at least this share of its pixels is brighter than that.
_SHARE, _BRIGHTER = 0.01, 25


@dataclass(frozen=True, slots=True)
class Point:
    """A point of an image.

    Parameters
    ----------
    place : 3 numbers or None
        None is the middle.
    unit : str
        "" for voxels (i, j, k) of the image as it is stored, negative ones from the end; "mm" for RAS+ world
        coordinates; "%" of the extent towards R, A and S.

    Raises
    ------
    UsageError
        If these are not three numbers.
    """

    place: tuple[float | None, ...]
    unit: Literal["", "mm", "%"] = ""

    def __post_init__(self) -> None:
        if len(self.place) != 3:
            raise UsageError(f"a place is {self.place}, expected three numbers")

    def in_scene(self, scene: Scene, stored: Grid) -> tuple[int, int, int]:
        """Return the voxel of the volume as it is shown.

        Raises
        ------
        UsageError
            If a percentage is none.
        GeometryError
            If the point lies outside.
        """
        found = self._by_percent(scene) if self.unit == "%" else self._by_world(scene, stored)
        if any(not 0 <= n < size for n, size in zip(found, scene.shape, strict=True)):
            lows, highs = zip(*stored.box, strict=True)
            ends = (", ".join(f"{end:.4g}" for end in each) for each in (lows, highs))
            last = ", ".join(str(n - 1) for n in stored.shape)
            shown = ", ".join("middle" if n is None else f"{n:g}{self.unit}" for n in self.place)
            hint = f"it has voxels 0, 0, 0 to {last}, from {' to '.join(ends)} mm"
            raise GeometryError(f"the point {shown} lies outside the image", hint=hint)
        return found

    def _by_percent(self, scene: Scene) -> tuple[int, int, int]:
        places = [50.0 if each is None else each for each in self.place]
        regions = [PlaceRequest(letter, f"{n:.12g}%").prepare(scene.volume) for letter, n in zip("RAS", places)]
        i, j, k = (each.spans[axis + 1].start for axis, each in enumerate(regions))
        return i, j, k

    def _by_world(self, scene: Scene, stored: Grid) -> tuple[int, int, int]:
        middle = stored.center if self.unit == "mm" else [n // 2 for n in stored.shape]
        place: Any = [m if each is None else each for m, each in zip(middle, self.place, strict=True)]
        if not self.unit:
            place = stored.world([n + v if v < 0 else v for n, v in zip(stored.shape, place, strict=True)])
        i, j, k = (round(float(each)) for each in scene.grid.voxel(place))
        return i, j, k


def parse_point(text: str) -> Point:
    """Read a point as users write it.

    Raises
    ------
    UsageError
        If it is not three numbers of one kind.

    Examples
    --------
    >>> parse_point("88,120,60")
    Point(place=(88.0, 120.0, 60.0), unit='')
    >>> parse_point("12mm,-4mm,30mm").unit, parse_point("50%,40%,50%").unit
    ('mm', '%')
    """
    parts = [PlaceRequest(letter, word).parts for letter, word in zip("RAS", text.split(","))]
    units = {unit for _, unit in parts}
    if len(parts) != 3 or text.count(",") != 2 or len(units) != 1:
        raise UsageError(f"--at {text} is no point", hint="write 88,120,60 or 12mm,-4mm,30mm or 50%,40%,50%")
    return Point(tuple(number for number, _ in parts), units.pop())


def parse_mosaic(text: str) -> tuple[int, int]:
    """Read rows and columns.

    Raises
    ------
    UsageError
        If these are not two whole numbers.

    Examples
    --------
    >>> parse_mosaic("4x6")
    (4, 6)
    """
    words = text.lower().split("x")
    if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--mosaic {text} is no number of rows and columns", hint="write 4x6")
    return int(words[0]), int(words[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """What a plot shows.

    Parameters
    ----------
    point : Point, optional
        Where three views meet; left out: the middle.
    mosaic : (rows, columns), optional
        A mosaic instead of three views.
    axis : str, optional
        R, L, A, P, S or I: where a mosaic goes; "S" where left out.
    all_slices : bool
        Whether a mosaic goes through empty slices at the ends, too.
    cross : bool, optional
        Whether a cross-hair marks the point; left out: where a point is given.
    title : str, optional
        Left out: the name of the image.
    size : int, optional
        Pixels of the longest edge of the volume, or of a tile; left out: what suits a screen.

    Raises
    ------
    UsageError
        If two of them exclude each other, or one makes no sense.
    """

    point: Point | None = None
    mosaic: tuple[int, int] | None = None
    axis: str | None = None
    all_slices: bool = False
    cross: bool | None = None
    title: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.mosaic is None:
            given = f"axis is {self.axis!r}" if self.axis is not None else "all slices" if self.all_slices else ""
            if given:
                raise UsageError(f"{given}: that is for a mosaic", hint="it goes with mosaic, rows and columns")
            return
        if len(self.mosaic) != 2 or min(self.mosaic) < 1 or self.mosaic[0] * self.mosaic[1] > _MANY:
            shown = " x ".join(map(str, self.mosaic))
            raise UsageError(f"a mosaic of {shown}", hint=f"give rows and columns, at most {_MANY} tiles")
        if self.point is not None or self.cross:
            raise UsageError("a mosaic passes through no point", hint="leave out the point, or the mosaic")


class Drawn(NamedTuple):
    """A picture, and what was decided for the user; one sentence each."""

    picture: Any
    remarks: tuple[str, ...]


def draw_plot(backend: Backend, look: Look, plot: Plot, *, name: str = "", overlay: Backend | None = None) -> Drawn:
    """Draw a volume as `medimg plot` and `Image.plot` show it.

    Parameters
    ----------
    backend : Backend
        Only the slices that are shown are read, some to find the window, and for a mosaic those at the ends.
    look : Look
    plot : Plot
    name : str
        Title unless the plot has one, and name of the image in messages.
    overlay : Backend, optional
        A label map to draw over it; left out: that which the look names.

    Raises
    ------
    UsageError
        If the look makes no sense for this image.
    GeometryError
        If the point lies outside.
    """
    mosaic = plot.mosaic is not None
    opened = open_scene(backend, replace(look, plain=True) if mosaic else look, name or "the image", overlay=overlay)
    scene = opened.scene
    rows, shown, remarks = _mosaic(opened, plot, marks=not look.plain) if mosaic else _views(opened, plot)
    if look.plain:
        rows = [[tile._replace(caption="") for tile in row] for row in rows]
    title = plot.title if plot.title is not None else "" if look.plain else name
    facts = [] if look.plain else [*_facts(opened), *scene.remarks()]
    legend = [] if look.plain else list(_legend(opened, shown))
    return Drawn(sheet(rows, title=title, facts=facts, legend=legend), (*opened.remarks, *remarks))


_Made = tuple[list[list[Tile]], list[tuple["Plane", int]], tuple[str, ...]]


def _views(opened: Opened, plot: Plot) -> _Made:
    """Return one row of views; those that would be a line of pixels are left out."""
    scene, point = opened.scene, plot.point
    labelled = point is None and (scene.labels or scene.overlay is not None)
    place = scene.fullest() if labelled else scene.middle
    if point is not None:
        place = point.in_scene(scene, opened.header.grid)
    remarks = ("goes through the slices with most labels (--at 50%,50%,50% through the middle)",) * labelled
    cross = plot.cross if plot.cross is not None else point is not None
    pictures = scene.views(place, side=plot.size or _SIDE, cross=cross)
    through = place if point is not None else None
    row, shown = [], []
    for plane, picture in zip(scene.planes.values(), pictures, strict=True):
        if plane in scene.worth_seeing:
            at = place[plane.across]
            where = scene.place_of(plane, at, through=through)
            row.append(Tile(picture, f"{plane.name} {where}" if scene.known else ""))
            shown.append((plane, at))
    return [row], shown, remarks if place != scene.middle else ()


def _mosaic(opened: Opened, plot: Plot, *, marks: bool) -> _Made:
    """Return rows of slices, evenly spread; letters stand in the first tile, those of its sides in all."""
    scene = opened.scene
    plane, places = scene.sweep(plot.axis or "S")
    rows, columns = plot.mosaic or (1, 1)
    kept = places if plot.all_slices else _filled(opened, plane, places)
    count = min(rows * columns, len(kept))
    chosen = [kept[(2 * n + 1) * len(kept) // (2 * count)] for n in range(count)]
    least, most = _TILES
    side = plot.size or min(max((_SCREEN - 12 * columns) // columns, least), most)
    scale = scene.scale(plane, size=side)
    tiles = []
    for n, place in enumerate(chosen):
        picture = scene.picture(plane, place, scale=scale)
        if marks:
            draw_marks(picture, plane.letters[: 2 if n else 4])
        tiles.append(Tile(picture, scene.place_of(plane, place)))
    left_out = len(places) - len(kept)
    remark = f"{left_out} empty slices at the ends are left out (--all-slices shows them)"
    shown = [(plane, place) for place in chosen]
    return [tiles[n : n + columns] for n in range(0, count, columns)], shown, (remark,) * bool(left_out)


def _filled(opened: Opened, plane: Plane, places: range) -> range:
    """Return the slices without empty ones at the ends; all of them where all are empty."""
    bare = opened.scene.under(overlay=False, colormap="gray")

    def holds(place: int) -> bool:
        pixels = np.asarray(bare.picture(plane, place))
        return bool(pixels.any() if bare.labels else (pixels > _BRIGHTER).mean() >= _SHARE)

    first = next((n for n, place in enumerate(places) if holds(place)), None)
    if first is None:
        return places
    last = next(n for n in range(len(places) - 1, -1, -1) if n == first or holds(places[n]))
    return places[first : last + 1]


# -- words ------------------------------------------------------------------------------------------------------------


def _facts(opened: Opened) -> Iterator[str]:
    """Yield what a sheet says of the image as it is stored."""
    header, scene = opened.header, opened.scene
    yield _times(map(str, header.spatial_shape))
    yield _times(f"{size:.3g}" for size in header.spacing) + " mm"
    if scene.known:
        yield "".join(header.orientation) + "+"
    yield header.dtype
    if scene.labels or scene.colour:
        yield "labels" if scene.labels else "colours"
    if scene.steps > 1:
        yield scene.channel_shown


def _times(words: Any) -> str:
    return " x ".join(words)


def _legend(opened: Opened, shown: Sequence[tuple[Plane, int]]) -> Iterator[tuple[str, Colour]]:
    """Yield name and colour of each label on the slices that are shown, the largest first; few need no table."""
    scene = opened.scene
    layers = [(scene.volume, opened.header, scene.channel)] if scene.labels else []
    if scene.overlay is not None:
        layers.append((scene.overlay.volume, scene.overlay.volume.header, 0))
    for volume, header, channel in layers:
        yield from _named(volume, header, channel, shown)


def _named(
    volume: Backend, header: Header, channel: int, shown: Sequence[tuple[Plane, int]]
) -> Iterator[tuple[str, Colour]]:
    found: Counter[int] = Counter()
    for plane, place in shown:
        i, j, k = (
            range(place, place + 1) if axis == plane.across else range(size)
            for axis, size in enumerate(volume.header.spatial_shape)
        )
        values, counts = np.unique(volume.read((range(channel, channel + 1), i, j, k)), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist()):
            if value and isfinite(value) and value == int(value):
                found[int(value)] += count
    names, colours = {label.value: label.name for label in header.labels or ()}, LabelColours(header.labels)
    if names or len(found) <= _FEW:
        for value, _ in sorted(found.items(), key=lambda each: (-each[1], each[0])):
            yield names.get(value) or str(value), colours.of(value)

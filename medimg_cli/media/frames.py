"""Slices of a volume as pictures: the same anatomy gives the same picture, however the voxels are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.dtypes import integer_range, is_integer
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.grid import Grid
from medimg_cli.media.drawing import draw_cross, draw_marks, text_size
from medimg_cli.media.greys import Greys
from medimg_cli.media.look import Look
from medimg_cli.media.overlay import Overlay
from medimg_cli.media.sizes import LARGEST
from medimg_cli.media.window import LabelColours, describe_window, parse_window
from medimg_cli.operations.pointwise import MapBackend
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from medimg_cli.operations.requests import PlaceRequest
from medimg_cli.operations.resample import Resample

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["OPPOSITE", "Plane", "Scene"]

OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))
"""Letter -> the letter of the other side."""
_NAMES = ("sagittal", "coronal", "axial")

#: Bytes of voxels that are read at a time for a film.
_SLAB = 1 << 24
#: Letters of planes that are tilted by more degrees would mislead; planes of the body are then computed, unless voxels
#: are longer than they are wide by more than this factor, or the volume is thinner than so many voxels. Where voxels
#: are sheared by more degrees they are always computed: proportions of slices would be wrong.
_TILT, _ELONGATED, _THIN, _SHEAR = 10.0, 2.0, 16, 1.0
#: Rounding of geometry that formats store in 32 bits.
_ROUNDED = 1e-3
#: Types of which not all values can be interpolated.
_NOT_INTERPOLATED = frozenset({"int64", "uint64", "float128", "complex256"})


class Plane(NamedTuple):
    """How a picture lies in a volume whose axes run right, down and away as pictures need them.

    Parameters
    ----------
    name : str
        "sagittal", "coronal" or "axial".
    across : int
        The axis that the picture is a slice across.
    right, down : int
        The axes that run to the right and down.
    letters : str
        Where left, right, top and bottom of the picture are; "" where nobody knows.
    """

    name: str
    across: int
    right: int
    down: int
    letters: str


class Scene:
    """A volume that pictures are taken of; each reads the slices that it shows and no more.

    Axes of the volume as it is shown run towards the patient's left (right, in the neurological convention), back and
    feet, so that axial and coronal pictures are seen from the feet and from the front (from the head and from behind),
    and sagittal ones from the left. Where the voxels lie at an angle to the body, planes of the voxels are shown;
    where the angle is above 10 degrees, voxels are at most twice as long as wide and no side has fewer than 16, planes
    of the body are computed by linear interpolation, for the letters at the edges would mislead; and so they are where
    voxels are sheared by more than a degree (gantry tilt), for shapes would not be true.

    Parameters
    ----------
    backend : Backend
    look : Look
    labels : bool
        Whether values are labels, shown in their colours.
    overlay : Backend, optional
        A label map that is drawn over it.
    name : str
        Of the image, for messages.

    Raises
    ------
    UsageError
        If there is no such channel.
    GeometryError
        If nothing of the overlay lies on the image, or a voxel has no extent.
    """

    def __init__(
        self,
        backend: Backend,
        look: Look | None = None,
        *,
        labels: bool = False,
        overlay: Backend | None = None,
        name: str = "the image",
    ) -> None:
        self.look, self.labels = look or Look(), labels
        self._order = "RPI" if self.look.neurological else "LPI"
        self.stored = self.volume = apply(Reorient(self._order), _on_screen(backend))
        header = self.volume.header
        kind, size = header.axes[-1] if header.axes else ("", 1)
        self.colour = kind == "rgb" and size in (3, 4) and header.dtype == "uint8"
        self.steps = header.channels // size if self.colour else header.channels
        self.channel = self._number(self.look.channel)
        self._greys = Greys(self.stored, parse_window(self.look.window))
        self.known = header.orientation_known
        if self._straightens():
            self.volume = apply(self._straight(), self.volume)
        grid = self.grid = self.volume.header.grid
        self.shape, self.spacing = grid.shape, grid.spacing
        if not min(self.spacing):
            hint = "set the voxel size first: medimg edit --spacing"
            raise GeometryError("voxels have an edge of 0 mm, so that proportions are unknown", hint=hint)
        self._colours = LabelColours(header.labels)
        self.overlay = None
        if overlay is not None:
            look = self.look
            self.overlay = Overlay(overlay, grid, outline=look.outline, opacity=look.opacity, name=name)

    def under(
        self,
        *,
        limits: tuple[float, float] | None = None,
        overlay: bool = True,
        colormap: str | None = None,
        channel: int | None = None,
    ) -> Scene:
        """Return the same volume seen otherwise; what is left out stays as it is, and nothing is opened again.

        Parameters
        ----------
        limits : (low, high), optional
            Values that become black and white, in all channels.
        overlay : bool
            Whether the overlay is drawn, if there is one.
        colormap : str, optional
        channel : int, optional

        Raises
        ------
        UsageError
            If there is no such channel or colour map.
        """
        other = copy(self)
        other.look = replace(self.look, colormap=colormap or self.look.colormap)
        other.channel = self.channel if channel is None else self._number(channel)
        other.overlay = self.overlay if overlay else None
        if limits is not None:
            other._greys = self._greys.fixed(limits)
        if self.is_straightened and other._black() != self._black():
            other.volume = apply(other._straight(), self.stored)
        return other

    def _number(self, channel: int) -> int:
        """Return the number of a channel, counted from the first one."""
        if not -self.steps <= channel < self.steps:
            raise UsageError(f"channel {channel}: the image has {self.steps}")
        return channel % self.steps

    # -- geometry -----------------------------------------------------------------------------------------------------

    @cached_property
    def planes(self) -> dict[str, Plane]:
        """The three orthogonal views, by name."""
        to = self._order if self.known else ""
        rows = []
        for across, right, down in ((0, 1, 2), (1, 0, 2), (2, 0, 1)):
            letters = f"{OPPOSITE[to[right]]}{to[right]}{OPPOSITE[to[down]]}{to[down]}" if to else ""
            rows.append(Plane(_NAMES[across], across, right, down, letters))
        return {row.name: row for row in rows}

    @property
    def worth_seeing(self) -> list[Plane]:
        """The views that are more than a line of voxels; all three where none is."""
        planes = list(self.planes.values())
        return [each for each in planes if self.shape[each.right] > 1 < self.shape[each.down]] or planes

    @property
    def middle(self) -> tuple[int, int, int]:
        """The voxel at 50% of each axis of the body: the same one in both conventions."""
        i, j, k = (n // 2 if to in "RAS" else n - 1 - n // 2 for n, to in zip(self.shape, self._order))
        return i, j, k

    def fullest(self) -> tuple[int, int, int]:
        """Return where the slices with most labels meet, of the overlay if there is one; the middle without any."""
        counts = [np.zeros(n, np.intp) for n in self.shape]
        many = max(1, _SLAB // (8 * self.shape[0] * self.shape[1]))
        for start in range(0, self.shape[2], many):
            spans = [range(self.shape[0]), range(self.shape[1]), range(start, min(start + many, self.shape[2]))]
            if self.overlay is not None:
                labels = self.overlay.read(spans)
            else:
                labels = self.volume.read((range(self.channel, self.channel + 1), spans[0], spans[1], spans[2]))[0]
            where = np.nan_to_num(labels) != 0
            counts[0] += where.sum((1, 2))
            counts[1] += where.sum((0, 2))
            counts[2][start : start + many] = where.sum((0, 1))
        i, j, k = (_peak(count) for count in counts) if counts[0].any() else self.middle
        return i, j, k

    def extent(self, plane: Plane) -> tuple[float, float]:
        """Return width and height of a view in mm."""
        width, height = (self.shape[axis] * self.spacing[axis] for axis in (plane.right, plane.down))
        return width, height

    def plane(self, letter: str) -> Plane:
        """Return the plane across an axis of the body.

        Raises
        ------
        UsageError
            If the letter is none of R, L, A, P, S, I.
        """
        word = letter.upper() if isinstance(letter, str) else ""
        if word not in tuple("RLAPSI"):
            raise UsageError(f"direction is {letter!r}, expected one of R, L, A, P, S, I")
        return self.planes[_NAMES["RLAPSI".index(word) // 2]]

    def sweep(self, letter: str) -> tuple[Plane, range]:
        """Return the plane and its slices in the order in which they follow each other towards a letter.

        Raises
        ------
        UsageError
            If it is none of R, L, A, P, S, I.

        Examples
        --------
        >>> from medimg_cli.backends import ArrayBackend
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(1, 4, 5, 3), dtype="int16", affine=AffineMatrix())
        >>> Scene(ArrayBackend(np.zeros((1, 4, 5, 3), "int16"), header)).sweep("S")[1]
        range(2, -1, -1)
        """
        plane = self.plane(letter)
        places = range(self.shape[plane.across])
        return plane, places if letter.upper() in self._order else places[::-1]

    def place_at(self, letter: str, place: str) -> tuple[Plane, int]:
        """Return the plane and the slice that an axis of the body and a place on it name, as `medimg slice` has them.

        Parameters
        ----------
        letter : str
            R, L, A, P, S or I: the voxel axis nearest to it.
        place : str
            "50%", "12mm" or "88", see `PlaceRequest`.

        Raises
        ------
        UsageError
            If either makes no sense, or the place lies outside.
        """
        step = PlaceRequest(letter, place).prepare(self.volume)
        axis, _ = self.grid.affine.nearest_axis(letter)
        return self.planes[_NAMES[axis]], step.spans[axis + 1].start

    def place_of(self, plane: Plane, place: int, *, through: Sequence[float] | None = None) -> str:
        """Say where a slice lies in the world: a letter and mm from the origin.

        Parameters
        ----------
        plane : Plane
        place : int
            Voxel along the axis across.
        through : 3 floats, optional
            Voxel of the slice that is meant, where slices are tilted; left out: the middle of the slice.

        Examples
        --------
        >>> from medimg_cli.backends import ArrayBackend
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(1, 4, 5, 3), dtype="int16", affine=AffineMatrix())
        >>> scene = Scene(ArrayBackend(np.zeros((1, 4, 5, 3), "int16"), header))
        >>> scene.place_of(scene.planes["axial"], 0)
        'S 2 mm'
        """
        voxel = [(n - 1) / 2 for n in self.shape] if through is None else list(through)
        voxel[plane.across] = place
        where = float(self.grid.world(voxel)[plane.across])
        letters = "RL", "AP", "SI"
        return f"{letters[plane.across][where < 0]} {abs(round(where, 1)):g} mm" if self.known else f"slice {place}"

    def scale(self, plane: Plane, *, size: int | None = None, least: int = 0) -> float:
        """Return pixels per mm of a picture.

        Parameters
        ----------
        plane : Plane
        size : int, optional
            Pixels of its longer edge. Left out: one pixel for the smaller of the two voxel sizes.
        least : int
            Where its longer edge then has fewer pixels, it becomes a whole number of times as large.
        """
        longer = max(self.extent(plane))
        if size is not None:
            return size / longer
        natural = min(1 / min(self.spacing[plane.right], self.spacing[plane.down]), LARGEST / longer)
        return natural * max(1, ceil(least / (longer * natural) - 1e-6))

    def _pixels(self, plane: Plane, scale: float) -> tuple[int, int]:
        extent = self.extent(plane)
        scale = min(scale, LARGEST / max(extent))
        width, height = (max(1, round(length * scale)) for length in extent)
        return width, height

    def _straightens(self) -> bool:
        """Tell whether planes of the body are computed."""
        grid, planes = self.volume.header.grid, self.look.planes
        tilt = 0.0 if grid.affine.is_singular else grid.affine.obliquity_deg
        if planes != "auto" or not self.known:
            return planes == "straight" and tilt > 0
        if not self.labels and self.volume.header.dtype in _NOT_INTERPOLATED:
            return False
        if not grid.affine.is_singular and grid.affine.shear_deg > _SHEAR:
            return min(grid.shape) > 1
        compact = max(grid.spacing) <= _ELONGATED * min(grid.spacing) * (1 + _ROUNDED)
        return tilt > _TILT + _ROUNDED and compact and min(grid.shape) >= _THIN

    @property
    def is_straightened(self) -> bool:
        """Whether planes of the body are computed, not those of the voxels shown."""
        return self.volume is not self.stored

    @property
    def kind(self) -> Literal["colours", "labels", "intensities"]:
        """What the values are shown as."""
        return "colours" if self.colour else "labels" if self.labels else "intensities"

    @property
    def misled(self) -> str | None:
        """What letters and proportions do not tell, where planes of the voxels are shown nevertheless; else None."""
        affine = self.stored.header.affine
        if self.is_straightened or not self.known:
            return None
        if affine.shear_deg > _SHEAR:
            return f"its voxels are sheared by {affine.shear_deg:.3g} degrees: shapes are not true"
        if affine.obliquity_deg > _TILT + _ROUNDED:
            turned = f"{affine.obliquity_deg:.3g} degrees"
            return f"planes of its voxels are shown, turned by {turned} to those of the body: letters are the nearest"
        return None

    def _straight(self) -> Resample:
        """Return the resampling to a grid along the axes of the body around all voxels; black beyond them."""
        header = self.volume.header
        signs = [1.0 if letter in "RAS" else -1.0 for letter in self._order]
        spacing = header.spacing
        shape = [max(1, round((high - low) / step)) for (low, high), step in zip(header.grid.box, spacing)]
        rows = [[0.0] * 4 for _ in range(3)]
        for axis, (middle, step, sign) in enumerate(zip(header.grid.center, spacing, signs)):
            rows[axis][axis], rows[axis][3] = sign * step, middle - sign * step * (shape[axis] - 1) / 2
        kind = "nearest" if self.labels else "linear"
        return Resample(Grid(shape, AffineMatrix(rows)), interpolation=kind, fill=self._black(), antialias=False)

    def _black(self) -> float:
        """Return a value that is shown black and that the image can hold."""
        if self.labels or self.colour:
            return 0.0
        value = self.limits()[1 if self._greys.inverted else 0]
        header = self.stored.header
        slope, inter = (header.slope or 1.0, header.inter or 0.0) if header.scaled else (1.0, 0.0)
        if not is_integer(header.dtype):
            return value
        low, high = integer_range(header.dtype)
        number = min(max(floor((value - inter) / slope) + self._greys.inverted, low), high)
        return number * slope + inter

    # -- values -------------------------------------------------------------------------------------------------------

    def limits(self) -> tuple[float, float]:
        """Return the values that become black and white, see `Greys`."""
        return self._greys.of(self.channel).window

    @property
    def sample(self) -> np.ndarray[Any, Any]:
        """Some of the values that are shown."""
        return self._greys.sample(self.channel)

    @property
    def _components(self) -> range:
        """The channels of the backend that make the one shown."""
        return range(self.channel, self.channel + (self.steps * 2 if self.colour else 0) + 1, self.steps)

    # -- pictures -----------------------------------------------------------------------------------------------------

    def picture(
        self,
        plane: Plane,
        place: int,
        *,
        scale: float | None = None,
        cross: Sequence[float] | None = None,
        beside: tuple[int, int] | None = None,
    ) -> Any:
        """Return one slice as a Pillow image, in true proportions.

        Parameters
        ----------
        plane : Plane
        place : int
            Voxel along the axis across.
        scale : float, optional
            Pixels per mm; left out: as `scale`.
        cross : (right, down), optional
            Voxel through which a cross-hair is drawn, along these axes.
        beside : (width, height), optional
            Pixels of the largest picture that it stands beside: letters and scale bar are as large as there.

        Returns
        -------
        PIL.Image.Image
            "L" where nothing on it has a colour, else "RGB".

        Raises
        ------
        GeometryError
            If the slice lies outside.
        """
        if not 0 <= place < self.shape[plane.across]:
            raise GeometryError(f"slice {place}: there are {self.shape[plane.across]} across this plane")
        scale = self.scale(plane) if scale is None else scale
        (found,) = self._bare(plane, range(place, place + 1), scale)
        if cross is not None:
            width, height = found.size
            right, down = ((cross[n] + 0.5) / self.shape[axis] for n, axis in enumerate((plane.right, plane.down)))
            lettered = plane.letters and not self.look.plain
            draw_cross(found, right * width, down * height, margin=text_size(beside or found.size) if lettered else 0)
        self._mark(found, plane, scale, beside)
        return found

    def pictures(self, plane: Plane, places: range, *, scale: float | None = None) -> Iterator[Any]:
        """Yield several slices as pictures; some are read at a time, never all.

        Parameters
        ----------
        plane : Plane
        places : range
            Voxels along the axis across, in any order and with any step.
        scale : float, optional
            Pixels per mm; left out: as `scale`.
        """
        scale = self.scale(plane) if scale is None else scale
        for shown in self._bare(plane, places, scale):
            self._mark(shown, plane, scale)
            yield shown

    def _bare(self, plane: Plane, places: range, scale: float) -> Iterator[Any]:
        """Yield pictures on which nothing is written."""
        components = self._components
        one = self.volume.header.itemsize * len(components) * self.shape[plane.right] * self.shape[plane.down]
        many = max(1, _SLAB // one)
        for start in range(0, len(places), many):
            spans = [range(size) for size in self.shape]
            spans[plane.across] = places[start : start + many]
            slab = self.volume.read((components, spans[0], spans[1], spans[2]))
            slab = np.moveaxis(slab, plane.across + 1, 0).swapaxes(2, 3)  # (slices, components, down, right)
            labels = self.overlay.read(spans) if self.overlay is not None else None
            if labels is not None:
                labels = np.moveaxis(labels, plane.across, 0).swapaxes(1, 2)
            for n, values in enumerate(slab):
                yield self._drawn(values, plane, scale, labels[n] if labels is not None else None)

    def _drawn(
        self, values: np.ndarray[Any, Any], plane: Plane, scale: float, labels: np.ndarray[Any, Any] | None
    ) -> Any:
        """Return the picture of one slice: (components, down, right) values, and (down, right) labels over it."""
        size = self._pixels(plane, scale)
        if self.colour:
            pixels = np.moveaxis(values[:3], 0, -1).astype(np.uint8)
        elif self.labels:
            pixels = self._colours(values[0])
        else:
            pixels = self._greys.of(self.channel)(values[0])
        shown = Pillow.fromarray(np.ascontiguousarray(pixels))
        if shown.size != size:
            shown = shown.resize(size, Pillow.Resampling.NEAREST if self.labels else Pillow.Resampling.BILINEAR)
        if shown.mode == "L" and self.look.colormap != "gray":
            from medimg_cli.media.colormaps import colormap

            shown.putpalette(colormap(self.look.colormap).tobytes())
            shown = shown.convert("RGB")
        if labels is not None and self.overlay is not None:
            shown = self.overlay.paint(shown, labels)
        return shown

    def _mark(self, shown: Any, plane: Plane, scale: float, beside: tuple[int, int] | None = None) -> None:
        if not self.look.plain:
            draw_marks(shown, plane.letters, caption=self.convention(plane), scale=scale, beside=beside)

    def views(
        self, places: Sequence[float | None] = (None,) * 3, *, side: int | None = None, cross: bool = False
    ) -> list[Any]:
        """Return the three orthogonal views through one place, all at one scale.

        Parameters
        ----------
        places : 3 floats or None
            Voxel of the volume as shown; None is the middle.
        side : int, optional
            Pixels of the longest edge of the volume; left out: one for the smallest voxel size.
        cross : bool
            Whether a cross-hair marks the place.

        Raises
        ------
        GeometryError
            If the place lies outside.
        """
        longest = max(n * step for n, step in zip(self.shape, self.spacing, strict=True))
        scale = side / longest if side is not None else 1 / min(self.spacing)
        place = [middle if at is None else at for middle, at in zip(self.middle, places, strict=True)]
        found = []
        sizes = [self._pixels(plane, scale) for plane in self.planes.values()]
        beside = max(width for width, _ in sizes), max(height for _, height in sizes)
        for plane in self.planes.values():
            at = (place[plane.right], place[plane.down]) if cross else None
            found.append(self.picture(plane, round(place[plane.across]), scale=scale, cross=at, beside=beside))
        return found

    # -- words --------------------------------------------------------------------------------------------------------

    @property
    def step_name(self) -> str:
        """What steps of the image are called: "time step" where time is all that they differ in, else "channel"."""
        return "time step" if dict(self.stored.header.axes).get("time") == self.steps else "channel"

    @property
    def channel_shown(self) -> str:
        """Which channel or time step is shown, in words.

        Examples
        --------
        >>> from medimg_cli.backends import ArrayBackend
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(9, 4, 5, 3), dtype="uint8", affine=AffineMatrix(), axes=(("time", 9),))
        >>> Scene(ArrayBackend(np.zeros((9, 4, 5, 3), "uint8"), header), Look(channel=-1)).channel_shown
        'time step 8 (0 to 8)'
        """
        return f"{self.step_name} {self.channel} (0 to {self.steps - 1})"

    def convention(self, plane: Plane | None = None) -> str:
        """Return what must be said about left and right of a picture; "" where none of the two is seen."""
        if not self.known:
            return "orientation unknown"
        if plane is not None and not set(plane.letters) & {"L", "R"}:
            return ""
        return "neurological" if self.look.neurological else "radiological"

    def remarks(self) -> list[str]:
        """Return what a caption says of how it is shown: convention, window, planes."""
        found = [self.convention()]
        if not self.colour and not self.labels:
            found.append(describe_window(*self.limits()))
        affine = self.stored.header.affine
        tilt, shear = (f"{angle:.3g}\N{DEGREE SIGN}" for angle in (affine.obliquity_deg, affine.shear_deg))
        sheared = affine.shear_deg > _SHEAR
        if self.is_straightened:
            found.append(f"straightened from {tilt}" + (f", shear of {shear} undone" if sheared else ""))
        elif self.known:
            found += [f"oblique by {tilt}"] * (affine.obliquity_deg >= 0.5) + [f"sheared by {shear}"] * sheared
        return found


def _peak(counts: np.ndarray[Any, Any]) -> int:
    """Return the place of the largest number, of several the middle one."""
    places = np.flatnonzero(counts == counts.max())
    return int(places[len(places) // 2])


class _UpperByte:
    """What a screen shows of 16 bits."""

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return (values >> 8).astype(np.uint8)


def _on_screen(backend: Backend) -> Backend:
    """Return colours of 16 bits as colours of 8 bits, and all else as it is."""
    header = backend.header
    deep = header.dtype == "uint16" and "rgb" in dict(header.axes) and not header.scaled
    return MapBackend(backend, header.replace(dtype="uint8"), _UpperByte(), raw=True) if deep else backend

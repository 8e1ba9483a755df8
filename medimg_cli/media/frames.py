"""Slices of a volume as pictures: the same anatomy gives the same picture, however the voxels are stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.media.window import PERCENTILES, colours, grey, window_of
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["PLANES", "Plane", "Scene", "side_by_side"]

#: Axes of the turned volume: towards the patient's left, back and feet, as pictures run right and down.
_ORDER = "LPI"
#: Slices that are looked at to find a window for all.
_SAMPLES = 16


class Plane(NamedTuple):
    """How a picture lies in a volume whose axes run to L, P, I.

    Parameters
    ----------
    across : int
        The axis that the picture is a slice across.
    right, down : int
        The axes that run to the right and down.
    letters : str
        Where left, right, top and bottom of the picture are.
    """

    across: int
    right: int
    down: int
    letters: str


PLANES = {
    "sagittal": Plane(0, 1, 2, "APSI"),
    "coronal": Plane(1, 0, 2, "RLSI"),
    "axial": Plane(2, 0, 1, "RLAP"),
}
"""The three orthogonal views in the radiological convention."""


class Scene:
    """A volume that pictures are taken of; each reads the slice that it shows and nothing else.

    Parameters
    ----------
    backend : Backend
    labels : bool
        Whether values are labels, shown in their colours.
    channel : int
        Which channel is shown, unless the channels are colours.
    percentiles : (low, high)
        Of the values that become black and white.
    window : (low, high), optional
        These values themselves.

    Raises
    ------
    UsageError
        If there is no such channel.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        labels: bool = False,
        channel: int = 0,
        percentiles: Sequence[float] = PERCENTILES,
        window: tuple[float, float] | None = None,
    ) -> None:
        self.volume = apply(Reorient(_ORDER), backend)
        header = self.volume.header
        self.shape, self.spacing, self.labels = header.spatial_shape, header.spacing, labels
        kind, size = header.axes[-1] if header.axes else ("", 1)
        self.colour = kind == "rgb" and size in (3, 4) and header.dtype == "uint8"
        if not -header.channels <= channel < header.channels:
            raise UsageError(f"channel {channel}: the image has {header.channels}")
        step = header.channels // size if self.colour else 1
        first = 0 if self.colour else channel % header.channels
        self.channels = range(first, first + step * 3, step) if self.colour else range(first, first + 1)
        self.percentiles, self._window = percentiles, window

    @property
    def window(self) -> tuple[float, float]:
        """The values that become black and white: percentiles of some slices across the longest axis."""
        if self._window is None:
            axis = max(range(3), key=lambda a: self.shape[a])
            count = self.shape[axis]
            places = sorted({round((n + 0.5) * count / _SAMPLES - 0.5) for n in range(_SAMPLES)} & set(range(count)))
            parts = [self._read(axis, place or 0).ravel() for place in places or [count // 2]]
            self._window = window_of(np.concatenate(parts), self.percentiles)
        return self._window

    def _read(self, axis: int, place: int) -> np.ndarray[Any, Any]:
        """Return one slice, (channels, and the two other axes in their order)."""
        spans = [range(size) for size in self.shape]
        spans[axis] = range(place, place + 1)
        found: np.ndarray[Any, Any] = self.volume.read((self.channels, spans[0], spans[1], spans[2])).squeeze(axis + 1)
        return found

    def picture(self, plane: Plane, place: int, *, scale: float | None = None, letters: bool = False) -> Any:
        """Return one slice as a Pillow image, in true proportions.

        Parameters
        ----------
        plane : Plane
        place : int
            Voxel along the axis across, counted towards L, P or I.
        scale : float, optional
            Pixels per mm; left out, one pixel for the smaller of the two voxel sizes.
        letters : bool
            Whether letters at the edges say where the patient's left, back and so on are.

        Raises
        ------
        GeometryError
            If the slice lies outside.
        """
        if not 0 <= place < self.shape[plane.across]:
            raise GeometryError(f"slice {place}: there are {self.shape[plane.across]} across this plane")
        values = self._read(plane.across, place)
        if plane.right > plane.down:
            values = values.swapaxes(1, 2)
        values = values.swapaxes(1, 2)  # (channels, down, right)
        if self.colour:
            pixels = np.moveaxis(values, 0, -1).astype(np.uint8)
        elif self.labels:
            pixels = colours(values[0], self.volume.header.labels)
        else:
            pixels = grey(values[0], self.window)
        size = self._pixels(plane, scale)
        how = Pillow.Resampling.NEAREST if self.labels else Pillow.Resampling.BILINEAR
        shown = Pillow.fromarray(np.ascontiguousarray(pixels))
        shown = shown if shown.size == size else shown.resize(size, how)
        return _lettered(shown, plane.letters) if letters else shown

    def _pixels(self, plane: Plane, scale: float | None) -> tuple[int, int]:
        extent = [self.shape[axis] * self.spacing[axis] for axis in (plane.right, plane.down)]
        scale = scale or 1 / min(self.spacing[plane.right], self.spacing[plane.down])
        width, height = (max(1, round(min(length * scale, 8192))) for length in extent)
        return width, height

    def views(self, places: Sequence[int | None] = (None,) * 3, *, side: int, letters: bool = False) -> list[Any]:
        """Return the three orthogonal views, the longest edge of the volume ``side`` pixels long.

        Parameters
        ----------
        places : 3 ints or None
            Voxels towards L, P, I; None is the middle.
        side : int
        letters : bool
        """
        longest = max(n * step for n, step in zip(self.shape, self.spacing, strict=True))
        found = []
        for plane in PLANES.values():
            place = places[plane.across]
            middle = self.shape[plane.across] // 2
            found.append(self.picture(plane, middle if place is None else place, scale=side / longest, letters=letters))
        return found

    def sweep(self, direction: str) -> tuple[Plane, range]:
        """Return the plane and the slices of a journey towards a letter.

        Raises
        ------
        UsageError
            If it is none of R, L, A, P, S, I.

        Examples
        --------
        >>> from medimg_cli.backends import ArrayBackend
        >>> from medimg_cli.affine import AffineMatrix
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(1, 4, 5, 3), dtype="int16", affine=AffineMatrix())
        >>> Scene(ArrayBackend(np.zeros((1, 4, 5, 3), "int16"), header)).sweep("S")[1]
        range(2, -1, -1)
        """
        letter = direction[:1].upper() if isinstance(direction, str) else ""
        if letter not in tuple("RLAPSI"):
            raise UsageError(f"direction is {direction!r}, expected one of R, L, A, P, S, I")
        plane = next(plane for plane in PLANES.values() if plane.across == "RLAPSI".index(letter) // 2)
        places = range(self.shape[plane.across])
        return plane, places if letter in _ORDER else places[::-1]

    def frames(self, direction: str, *, most: int | None = None, reverse: bool = False) -> Iterator[Any]:
        """Yield the pictures of a journey towards a letter, at most so many, evenly spread."""
        plane, places = self.sweep(direction)
        if most is not None and len(places) > most:
            places = places[:: -(-len(places) // most)]
        for place in reversed(places) if reverse else places:
            yield self.picture(plane, place)


def _lettered(picture: Any, letters: str) -> Any:
    """Return a picture with letters at its left, right, top and bottom edge."""
    shown = picture.convert("RGB")
    draw = ImageDraw.Draw(shown)
    width, height = shown.size
    size = max(9, min(width, height, 200) // 11)
    places = ((3, height / 2, "lm"), (width - 3, height / 2, "rm"), (width / 2, 2, "mt"), (width / 2, height - 2, "mb"))
    for letter, (x, y, anchor) in zip(letters, places, strict=True):
        font = {"font_size": size, "anchor": anchor, "stroke_width": 1, "stroke_fill": (0, 0, 0)}
        draw.text((x, y), letter, fill=(255, 214, 90), **font)
    return shown


def side_by_side(pictures: Sequence[Any], *, gap: int = 4, title: str = "") -> Any:
    """Return pictures in a row, centred, on black, a title above them."""
    height = max(picture.height for picture in pictures)
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    head = 22 if title else 0
    sheet = Pillow.new("RGB", (width, height + head))
    at = 0
    for picture in pictures:
        sheet.paste(picture, (at, head + (height - picture.height) // 2))
        at += picture.width + gap
    if title:
        line = "".join(each if each.isprintable() else "?" for each in title)
        ImageDraw.Draw(sheet).text((width / 2, head / 2), line, fill=(235, 235, 235), font_size=14, anchor="mm")
    return sheet

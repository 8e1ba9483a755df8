"""Labels drawn over a picture: filled or outlined, in the colours of their table, wherever their grid lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Pillow

from medimg_cli.media.window import LabelColours
from medimg_cli.operations.protocol import apply
from medimg_cli.operations.reorient import Reorient
from medimg_cli.operations.resample import Resample
from medimg_cli.operations.resampling import refuse_apart

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.grid import Grid

__all__ = ["Overlay"]

#: Pixels of a picture's longer edge for which outlines are one pixel wide.
_FINE = 700


class Overlay:
    """A label map on the grid of an image that is shown; where their grids differ, each voxel takes the nearest label.

    Parameters
    ----------
    backend : Backend
        The first channel is shown.
    grid : Grid
        That of the image as it is shown.
    outline : bool
    opacity : float, optional
        0 to 1; left out: 0.5, and 1 for outlines.
    name : str
        Of the image, for messages.

    Raises
    ------
    GeometryError
        If nothing of it lies on that grid.
    """

    def __init__(
        self, backend: Backend, grid: Grid, *, outline: bool, opacity: float | None, name: str = "the image"
    ) -> None:
        header = backend.header
        refuse_apart(header.grid, grid, name)
        turned = apply(Reorient("RAS"), backend)  # voxels between two labels take the same one however they are stored
        self.volume = apply(Resample(grid, interpolation="nearest", fill=0), turned)
        self.outline = outline
        self.opacity = opacity if opacity is not None else 1.0 if outline else 0.5
        self._colours = LabelColours(header.labels)

    def read(self, spans: Sequence[range]) -> np.ndarray[Any, Any]:
        """Return the labels of a region, three ranges on the grid of the image."""
        i, j, k = spans
        found: np.ndarray[Any, Any] = self.volume.read((range(1), i, j, k))[0]
        return found

    def paint(self, picture: Any, labels: np.ndarray[Any, Any]) -> Any:
        """Return a picture with labels drawn over it.

        Parameters
        ----------
        picture : Pillow image
            "L" or "RGB".
        labels : array, (rows, columns)
            On the whole picture, whatever its size in pixels.
        """
        width, height = picture.size
        rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
        columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
        shown = np.nan_to_num(labels[rows][:, columns])
        where = shown != 0
        if self.outline:
            where &= _borders(shown, 1 + max(width, height) // _FINE)
        pixels = np.array(picture.convert("RGB"))
        part = self.opacity
        pixels[where] = np.rint(pixels[where] * (1 - part) + self._colours(shown[where]) * part).astype(np.uint8)
        return Pillow.fromarray(pixels)


def _borders(labels: np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """Return which pixels lie so near to one of another label; the edge of the picture is no border."""
    found = np.zeros(labels.shape, bool)
    for step in range(1, width + 1):
        differ = labels[step:] != labels[:-step]
        found[step:] |= differ
        found[:-step] |= differ
        differ = labels[:, step:] != labels[:, :-step]
        found[:, step:] |= differ
        found[:, :-step] |= differ
    return found

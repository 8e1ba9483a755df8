"""Slices between slices: an image on an even grid, where those that were scanned lie unevenly or are missing.

Values are interpolated linearly between the two nearest slices, as dcm2niix does for its files ``_Eq``. Stored integers
are rounded to the nearest, halves away from 0, so that type and scaling stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import TYPE_CHECKING, Any

from medimg_cli.formats.foreign import DerivedBackend

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.storage.stored import Region

__all__ = ["GapsBackend"]


class GapsBackend(DerivedBackend):
    """An image with slices interpolated along K, computed where they are read.

    Parameters
    ----------
    base : Backend
        Its affine is already that of the result.
    places : sequence of float
        For each new slice its place among the old ones, ascending, from 0 to one less than there are.
    """

    def __init__(self, base: Backend, places: Sequence[float]) -> None:
        header = base.header
        super().__init__(base, header.replace(shape=(*header.shape[:3], len(places))))
        self.places = tuple(places)

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        c, i, j, k = region
        out = np.empty((len(c), len(i), len(j), len(k)), self.header.dtype, order="F")
        held: dict[int, np.ndarray[Any, Any]] = {}
        for n, index in enumerate(k):
            below = floor(self.places[index])
            weight = self.places[index] - below
            wanted = (below, below + 1) if weight else (below,)
            held = {
                slice_: held[slice_]
                if slice_ in held
                else self.base.read((c, i, j, range(slice_, slice_ + 1)), raw=True)[..., 0]
                for slice_ in wanted
            }
            out[..., n] = _between(held[below], held[below + 1], weight) if weight else held[below]
        return out


def _between(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], weight: float) -> np.ndarray[Any, Any]:
    """Return numbers between those of two slices, in their type."""
    import numpy as np

    if a.dtype.kind in "iub":
        values = a * (1.0 - weight) + b * weight
        return np.trunc(values + np.copysign(0.5, values)).astype(a.dtype)
    found: np.ndarray[Any, Any] = a * a.dtype.type(1.0 - weight) + b * b.dtype.type(weight)
    return found

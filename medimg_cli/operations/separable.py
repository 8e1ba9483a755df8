"""Interpolation along one axis after the other, for grids whose axes run along those of the image.

A new voxel is a weighted sum of some old ones along each axis; smoothing and interpolation are one set of weights.
Every new voxel is the same sum in the same order whatever region it is computed in, so regions agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, pi
from typing import Any

import numpy as np

__all__ = ["CUT", "Weights", "lanczos", "resampled", "weights_of"]

Array = np.ndarray[Any, Any]

#: Standard deviations after which a Gaussian is cut off.
CUT = 4.0
#: Pole of the cubic B-spline, and how far its cardinal function is followed: 0.27 to the 12th power is 1e-7.
_POLE, _FAR = 3**0.5 - 2, 12
#: Bytes that are worked on at a time: what a core keeps near itself.
_CHUNK = 1 << 20


class Weights:
    """What new voxels along one axis are made of.

    Parameters
    ----------
    first : (N,) int array
        For each new voxel the lowest old one.
    taps : (T, N) array
        Weights of the T old voxels from there on.
    size : int
        Old voxels on the axis.
    mirrored : bool
        Whether the axis goes on as its mirror image, centred on the outermost voxels; else as these voxels.
    """

    def __init__(self, first: Array, taps: Array, size: int, mirrored: bool) -> None:
        self.first, self.taps, self.size, self.mirrored = first, taps, size, mirrored

    def source(self, tap: int) -> Array:
        """Return the old voxel that each new one takes for a tap."""
        place = self.first + tap
        if self.mirrored and self.size > 1:
            place = np.abs(place) % (2 * (self.size - 1))
            place = np.where(place < self.size, place, 2 * (self.size - 1) - place)
        return place.clip(0, self.size - 1)


def weights_of(places: Array, size: int, interpolation: str, sigma: float) -> Weights:
    """Return the weights of interpolation, after smoothing where that is asked for.

    Parameters
    ----------
    places : (N,) array
        Where the new voxels lie among the old ones of the axis.
    size : int
        Old voxels on the axis.
    interpolation : str
        "linear"; "cubic" (cardinal B-spline of third order; Unser, Splines: a perfect fit, 1999); "lanczos" (sinc,
        windowed by the middle lobe of another, radius 5).
    sigma : float
        Standard deviation of the Gaussian in old voxels; 0 for none.

    Examples
    --------
    >>> found = weights_of(np.array([1.25]), 4, "linear", 0.0)
    >>> found.first.tolist(), found.taps.ravel().tolist()
    ([1], [0.75, 0.25])
    """
    places = places.clip(0, size - 1) if interpolation == "linear" else places
    lowest, reach, function = _KERNELS[interpolation]
    first = np.floor(places).astype(np.int64) + lowest
    taps = function(places - (first + np.arange(reach)[:, None]))
    taps /= taps.sum(0)
    if sigma:
        kernel = gaussian(sigma)
        radius = len(kernel) // 2
        smooth = np.zeros((reach + 2 * radius, len(first)))
        for n, weight in enumerate(kernel):
            smooth[n : n + reach] += weight * taps
        first, taps = first - radius, smooth
    return Weights(first, taps, size, interpolation == "cubic" and not sigma)


def gaussian(sigma: float) -> Array:
    """Return the weights of a discrete Gaussian, whose variance is exact but for the cut (Lindeberg, 1990).

    >>> kernel = gaussian(0.8)
    >>> len(kernel), round(float(kernel @ np.arange(-4, 5) ** 2), 2)
    (9, 0.64)
    """
    radius = ceil(CUT * sigma)
    count = 4 * radius + 64
    spectrum = np.exp(sigma * sigma * (np.cos(2 * pi * np.arange(count // 2 + 1) / count) - 1))
    half = np.fft.irfft(spectrum, count)[: radius + 1]
    kernel = np.concatenate([half[:0:-1], half])
    found: Array = kernel / kernel.sum()
    return found


def _linear(distance: Array) -> Array:
    return np.maximum(1 - np.abs(distance), 0)


def _cubic(distance: Array) -> Array:
    """Return the cardinal function of the cubic B-spline: 1 at 0, and 0 at all other whole numbers."""
    found = np.zeros_like(distance)
    for k in range(-_FAR, _FAR + 1):
        found += -6 * _POLE / (1 - _POLE**2) * _POLE ** abs(k) * _bspline(np.abs(distance - k))
    return found


def _bspline(x: Array) -> Array:
    return np.where(x < 1, 2 / 3 - x * x + x**3 / 2, np.maximum(2 - x, 0) ** 3 / 6)


def lanczos(distance: Array) -> Array:
    """Return the weight of a voxel at a distance: a sinc, windowed by the middle lobe of another, radius 5."""
    return np.where(np.abs(distance) < 5, np.sinc(distance) * np.sinc(distance / 5), 0.0)


#: Of each interpolation: how far below a place its first old voxel lies, how many there are, and their weights.
_KERNELS = {
    "linear": (0, 2, _linear),
    "cubic": (1 - _FAR, 2 * _FAR, _cubic),
    "lanczos": (-4, 10, lanczos),
}


def resampled(part: Array, weights: Sequence[Weights], starts: Sequence[int], steps: Sequence[float]) -> Array:
    """Return the new voxels of a box.

    Parameters
    ----------
    part : (I, J, K) float array
        Old voxels, the axes in the order of the new ones.
    weights : 3 Weights
    starts : 3 ints
        Where ``part`` begins on the old axes.
    steps : 3 floats
        Old voxels from one new voxel to the next.
    """
    found = np.ascontiguousarray(part.T)
    for axis in sorted(range(3), key=lambda axis: -abs(steps[axis])):  # what shrinks most first: less is left then
        sources = np.stack([weights[axis].source(tap) for tap in range(len(weights[axis].taps))]) - starts[axis]
        found = _along(found, 2 - axis, sources, weights[axis].taps.astype(part.dtype))
    return found.T


def _along(part: Array, axis: int, sources: Array, taps: Array) -> Array:
    """Return weighted sums along an axis of a C-contiguous array; sources and taps are (T, N)."""
    shape = (*part.shape[:axis], taps.shape[1], *part.shape[axis + 1 :])
    out = np.empty(shape, part.dtype)
    if axis < 2:
        for n in range(taps.shape[1]):
            new = out[(slice(None),) * axis + (n,)]
            new[...] = 0
            for source, tap in zip(sources[:, n], taps[:, n], strict=True):
                if tap:
                    new += part[(slice(None),) * axis + (source,)] * tap
        return out
    rows, sums = part.reshape(-1, part.shape[2]), out.reshape(-1, taps.shape[1])
    count = max(_CHUNK // (part.itemsize * taps.shape[1]), 1)
    for first in range(0, len(rows), count):
        piece, new = rows[first : first + count], sums[first : first + count]
        np.multiply(piece.take(sources[0], 1), taps[0], out=new)
        for source, tap in zip(sources[1:], taps[1:], strict=True):
            new += piece.take(source, 1) * tap
    return out

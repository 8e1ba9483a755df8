"""Voxel values between voxels, from index to index.

Geometry does not come in here: a new voxel index times an affine is a place among the old voxels, so grids that are
sheared or left-handed are sampled as any others. SimpleITK interpolates, given arrays of unit spacing; where the new
axes run along the old ones, as for every change of spacing, `separable` does, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import ceil, floor, log, sqrt
from typing import Any

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import numpy_dtype
from medimg_cli.dtypes import integer_range, is_complex, is_integer
from medimg_cli.errors import UnsupportedError
from medimg_cli.operations.separable import CUT, lanczos, resampled, weights_of
from medimg_cli.statistics.counts import not_whole

__all__ = ["Sampler", "smoothing"]

Array = np.ndarray[Any, Any]
Box = tuple[slice, ...]

#: Voxels around a place that its value depends on. A B-spline depends on all, by 0.27 to the power of the distance.
_REACH = {"nearest": 1, "linear": 1, "label": 1, "cubic": 20, "lanczos": 6}
#: Labels in a block: each is smoothed and interpolated on its own.
_MOST_LABELS = 4096
#: Weight below which a voxel that is not finite leaves the interpolated one as it is.
_WEIGHT = 1e-6
#: Voxels: a Gaussian narrower than this changes nothing that one could see.
_LEAST = 0.1


def smoothing(voxel_map: AffineMatrix) -> tuple[float, float, float]:
    """Return the standard deviations, in old voxels, of the smoothing that keeps a coarser grid free of aliases.

    Parameters
    ----------
    voxel_map : AffineMatrix
        New voxel -> old voxel.

    Examples
    --------
    >>> [round(each, 3) for each in smoothing(AffineMatrix.from_spacing((1, 2, 0.5)))]
    [0.0, 0.736, 0.0]
    """
    steps = [sqrt(sum(voxel_map[axis, n] ** 2 for n in range(3))) for axis in range(3)]
    found = (sqrt(max(step * step - 1, 0.0) / (8 * log(2))) for step in steps)
    i, j, k = (sigma if sigma > _LEAST else 0.0 for sigma in found)
    return i, j, k


class Sampler:
    """What it takes to compute one box of new voxels.

    Parameters
    ----------
    voxel_map : AffineMatrix
        New voxel -> old voxel.
    spans : 3 ranges
        The new voxels along i, j, k; steps are positive.
    shape : (I, J, K)
        Of the old image.
    interpolation : str
        "nearest", "linear", "cubic", "lanczos" or "label".
    fill : scalar
        Stored number beyond the image.
    antialias : bool
    """

    def __init__(
        self,
        voxel_map: AffineMatrix,
        spans: Sequence[range],
        shape: Sequence[int],
        interpolation: str,
        fill: Any,
        antialias: bool,
    ) -> None:
        self.map, self.spans, self.shape = voxel_map.numpy(), tuple(spans), tuple(shape)
        self.interpolation, self.fill = interpolation, fill
        self.sigma = smoothing(voxel_map) if antialias else (0.0, 0.0, 0.0)

    def support(self) -> tuple[range, range, range] | None:
        """Return the old voxels that the box depends on, None where it lies outside the image altogether."""
        ends = [(span[0], span[-1]) for span in self.spans]
        corners = np.array([[a, b, c] for a in ends[0] for b in ends[1] for c in ends[2]], float)
        places = corners @ self.map[:3, :3].T + self.map[:3, 3]
        self.part = []
        for axis, size in enumerate(self.shape):
            reach = _REACH[self.interpolation] + (ceil(CUT * self.sigma[axis]) + 1 if self.sigma[axis] else 0)
            low, high = floor(places[:, axis].min()) - reach, ceil(places[:, axis].max()) + reach
            if high < 0 or low >= size:
                return None
            self.part.append(range(max(low, 0), min(high, size - 1) + 1))
        i, j, k = self.part
        return i, j, k

    def sample(self, part: Array | None, dtype: str) -> Array:
        """Return the new voxels of one channel.

        Parameters
        ----------
        part : (I, J, K) array or None
            Stored numbers of the old voxels that `support` names.
        dtype : str
            Stored type of the result.

        Raises
        ------
        UnsupportedError
            If SimpleITK cannot interpolate the type.
        """
        wanted = numpy_dtype(dtype)
        if part is None:
            return np.full([len(span) for span in self.spans], self.fill, wanted)
        if self.interpolation == "nearest":
            return self._nearest(part)
        if self.interpolation == "label":
            return self._labels(part)
        self._check(part)
        if is_complex(dtype):
            ends = complex(self.fill)
            real, imaginary = self._values(part.real, ends.real), self._values(part.imag, ends.imag)
            return np.asarray(real + 1j * imaginary).astype(wanted)
        return self._stored(self._values(part, float(self.fill)), dtype)

    @staticmethod
    def _check(part: Array) -> None:
        """Refuse numbers that float64, in which the arithmetic is done, does not hold."""
        if part.dtype.name in ("float128", "longdouble", "complex256", "clongdouble"):
            raise UnsupportedError(f"{part.dtype} values are not interpolated", hint="cast to float64, or use nearest")
        if part.dtype.kind in "iu" and part.dtype.itemsize == 8 and part.size:
            largest = max(abs(int(part.min())), abs(int(part.max())))
            if largest > 1 << 53:
                hint = "use nearest, or cast to float64"
                raise UnsupportedError(f"integers as large as {largest} are not interpolated exactly", hint=hint)

    def _stored(self, values: Array, dtype: str) -> Array:
        """Return interpolated numbers in the stored type: rounded, and limited to its range."""
        wanted = numpy_dtype(dtype)
        if is_integer(dtype) or dtype == "bool":
            low, high = integer_range(dtype) if dtype != "bool" else (0, 1)
            with np.errstate(invalid="ignore"):
                rounded = np.rint(np.nan_to_num(values))
                inside = np.clip(rounded, low, np.nextafter(float(high), 0) if float(high) > high else high)
                found: Array = inside.astype(wanted)
            return found
        with np.errstate(over="ignore"):
            return values.astype(wanted)

    def _values(self, part: Array, fill: float) -> Array:
        """Return interpolated numbers of a part, in float32 where that holds every stored number, else float64.

        What is not finite is counted as 0, and then put where linear interpolation would meet it: ITK turns
        infinities into the largest number, and splines would carry NaN everywhere.
        """
        small = part.dtype.itemsize <= 2 or part.dtype == np.float32
        part = part.astype(np.float32 if small else np.float64, copy=False)
        finite = np.isfinite(part)
        everything = bool(finite.all())
        known = part if everything else np.where(finite, part, part.dtype.type(0))
        found = self._smoothly(known, self.interpolation, fill)
        if not everything:
            self._mark(found, part)
        return found

    def _smoothly(self, part: Array, interpolation: str, fill: float) -> Array:
        """Return a part smoothed where resolution is lost, and sampled."""
        order = self._aligned()
        return (
            self._by_itk(part, interpolation, fill)
            if order is None
            else self._by_axis(part, order, interpolation, fill)
        )

    def _by_axis(self, part: Array, order: Sequence[int], interpolation: str, fill: float) -> Array:
        """Return what `_smoothly` does, axis by axis, where the new axes run along the old ones."""
        out = np.full([len(span) for span in self.spans][::-1], fill, part.dtype).T
        inside, weights = [], []
        for new, axis in enumerate(order):
            span, places, _ = self._met(new, axis)
            if not len(places):
                return out
            inside.append(span)
            weights.append(weights_of(places, self.shape[axis], interpolation, self.sigma[axis]))
        starts, steps = zip(
            *((self.part[axis].start, self.map[axis, new]) for new, axis in enumerate(order)), strict=True
        )
        out[tuple(inside)] = resampled(part.transpose(order), weights, starts, steps)
        return out

    def _by_itk(self, part: Array, interpolation: str, fill: float) -> Array:
        """Return what `_smoothly` does, on any grid."""
        import SimpleITK as sitk

        kind = {"linear": sitk.sitkLinear, "cubic": sitk.sitkBSpline3, "lanczos": sitk.sitkLanczosWindowedSinc}
        image = self._image(part)
        if any(self.sigma):
            variance = [sigma * sigma for sigma in self.sigma]
            image = sitk.DiscreteGaussian(image, variance, 2 * ceil(CUT * max(self.sigma)) + 1, 1e-4, False)
        beyond = fill if np.isfinite(fill) else 0.0
        found = self._resampled(image, kind[interpolation], beyond)
        if interpolation == "lanczos":
            found = np.where(self._inside(), found / self._sinc_weights(), found).astype(found.dtype)
        if beyond != fill:
            found[~self._inside()] = fill
        return found

    def _mark(self, found: Array, part: Array) -> None:
        """Put NaN and infinities among interpolated numbers, wherever they have some weight."""
        for value in (np.inf, -np.inf, np.nan):
            there = np.isnan(part) if np.isnan(value) else part == value
            if there.any():
                touched = self._smoothly(there.astype(part.dtype), "linear", 0.0) > _WEIGHT
                clash = touched & np.isinf(found)
                found[touched] = value
                found[clash] = np.nan

    def _labels(self, part: Array) -> Array:
        """Return the labels with most weight: each, as 0 and 1, smoothed and interpolated linearly."""
        if part.dtype.kind not in "iubf" or not_whole(part) is not None:
            raise UnsupportedError("only whole numbers can be voted on", hint="use nearest")
        labels = np.unique(part)
        if len(labels) > _MOST_LABELS:
            raise UnsupportedError(f"{len(labels)} different values are too many to vote on", hint="use nearest")
        shape = [len(span) for span in self.spans]
        found, most = np.full(shape, self.fill, part.dtype), np.zeros(shape, np.float32)
        for label in labels:
            there = part == label
            near = self._around(there)
            if near is None:
                continue
            near_part, near_spans, sampler = near
            weight = sampler._smoothly(there[near_part].astype(np.float32), "linear", 0.0)
            wins = weight > most[near_spans]
            found[near_spans][wins], most[near_spans][wins] = label, weight[wins]
        return found

    def _around(self, there: Array) -> tuple[Box, Box, Sampler] | None:
        """Return where a label matters: which part of the old voxels, which new ones, and a sampler between the two."""
        near, part, ends = [], [], []
        for axis, span in enumerate(self.part):
            found = np.flatnonzero(there.any(axis=tuple(n for n in range(3) if n != axis)))
            smooth = ceil(CUT * self.sigma[axis])
            low, high = max(int(found[0]) - 2 * smooth - 3, 0), min(int(found[-1]) + 2 * smooth + 4, len(span))
            near.append(slice(low, high))
            part.append(span[low:high])
            ends.append((span[found[0]] - smooth - 1.0, span[found[-1]] + smooth + 1.0))
        corners = np.array([[a, b, c] for a in ends[0] for b in ends[1] for c in ends[2]])
        back = np.linalg.inv(self.map)
        places = corners @ back[:3, :3].T + back[:3, 3]
        spans, new = [], []
        for axis, span in enumerate(self.spans):
            first = max(ceil((places[:, axis].min() - span.start) / span.step), 0)
            last = min(floor((places[:, axis].max() - span.start) / span.step), len(span) - 1)
            if last < first:
                return None
            new.append(slice(first, last + 1))
            spans.append(span[first : last + 1])
        twin = copy(self)
        twin.part, twin.spans = part, tuple(spans)
        return tuple(near), tuple(new), twin

    def _nearest(self, part: Array) -> Array:
        """Return the nearest voxels; axis by axis where the grids are aligned, so any type stays exact."""
        order = self._aligned()
        if order is not None:
            return self._picked(part, order)
        flat: Any = 0
        inside: Any = True
        for axis, size in enumerate(self.shape):
            place = np.floor(self._along(axis) + (0.5 + 1e-9)).astype(np.int64)
            inside = inside & (place >= 0) & (place < size)
            flat = flat * len(self.part[axis]) + (place - self.part[axis].start)
        found = np.full(inside.shape, self.fill, part.dtype)
        found[inside] = np.ascontiguousarray(part).reshape(-1)[flat[inside]]
        return found

    def _along(self, axis: int) -> Array:
        """Return where all new voxels lie on an old axis."""
        i, j, k = (self.map[axis, n] * np.arange(s.start, s.stop, s.step) for n, s in enumerate(self.spans))
        found: Array = i[:, None, None] + j[:, None] + (k + self.map[axis, 3])
        return found

    def _inside(self) -> Array:
        """Tell which new voxels lie in the old image, half a voxel around its outermost centres."""
        found = np.ones([len(span) for span in self.spans], bool)
        for axis, size in enumerate(self.shape):
            place = self._along(axis)
            found &= (place >= -0.5) & (place < size - 0.5)
        return found

    def _sinc_weights(self) -> Array:
        """Return what the weights of ITK's windowed sinc add up to, which is not quite 1."""
        found: Array = np.ones([len(span) for span in self.spans])
        for axis in range(3):
            place = self._along(axis)
            found *= sum(lanczos(place - np.floor(place) - n) for n in range(-4, 6))
        return found

    def _aligned(self) -> list[int] | None:
        """Return the old axis along each new one where each runs along one, else None."""
        rows = [[abs(x) > 1e-9 for x in row] for row in self.map[:3, :3]]
        if any(sum(row) != 1 for row in rows) or any(sum(column) != 1 for column in zip(*rows, strict=True)):
            return None
        return [next(axis for axis in range(3) if rows[axis][new]) for new in range(3)]

    def _places(self, new: int, axis: int) -> Array:
        """Return where the new voxels along an axis lie on the old one that it runs along."""
        span = self.spans[new]
        found: Array = self.map[axis, new] * np.arange(span.start, span.stop, span.step) + self.map[axis, 3]
        return found

    def _met(self, new: int, axis: int) -> tuple[slice, Array, Array]:
        """Return which new voxels along an axis lie in the image, their places, and the old voxels nearest to them."""
        places = self._places(new, axis)
        nearest = np.floor(places + 0.5 + 1e-9).astype(np.int64)
        there = np.flatnonzero((nearest >= 0) & (nearest < self.shape[axis]))
        span = slice(there[0], there[-1] + 1) if len(there) else slice(0)
        return span, places[span], nearest[span]

    def _picked(self, part: Array, order: Sequence[int]) -> Array:
        out = np.full([len(span) for span in self.spans], self.fill, part.dtype)
        turned, inside = part.transpose(order), []
        for new, axis in enumerate(order):
            span, _, nearest = self._met(new, axis)
            if not len(nearest):
                return out
            inside.append(span)
            turned = turned.take(nearest - self.part[axis].start, axis=new)
        out[tuple(inside)] = turned
        return out

    def _image(self, part: Array) -> Any:
        """Return a part as an ITK image whose points are indices of the whole; ITK's order is that of the array."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(np.ascontiguousarray(part.transpose(2, 1, 0)))
        image.SetOrigin([float(span.start) for span in self.part])
        return image

    def _resampled(self, image: Any, interpolator: int, fill: float) -> Array:
        import SimpleITK as sitk

        move = sitk.AffineTransform(3)
        move.SetMatrix(self.map[:3, :3].ravel().tolist())
        move.SetTranslation(self.map[:3, 3].tolist())
        result = sitk.Resample(
            image,
            [len(span) for span in self.spans],
            move,
            interpolator,
            [float(span.start) for span in self.spans],
            [float(span.step) for span in self.spans],
            [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            fill,
            image.GetPixelID(),
        )
        found: Array = sitk.GetArrayFromImage(result).transpose(2, 1, 0)
        return found

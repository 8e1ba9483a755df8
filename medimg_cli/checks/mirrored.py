"""Images of one subject that do not agree which side is left.

Each image leaves a thumbnail: every n-th voxel of its first channel, 4 mm apart or more. Two thumbnails of one subject
are laid over each other in the world, as they are, and with the second one mirrored about its own middle, which is what
flipping voxels and not the affine does; both may move a little, as patients do. How well they fit say normalised mutual
information of their values (Studholme et al., Pattern Recognition 32, 1999), which does not ask for one contrast, and
the correlation of their edges (lengths of gradients). Only where both fit clearly better mirrored, and fit well, one of
the images is suspected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.checks.file_names import subject_of
from medimg_cli.checks.rule import Found
from medimg_cli.dtypes import is_complex
from medimg_cli.grid import Grid
from medimg_cli.text import escape

if TYPE_CHECKING:
    from medimg_cli.checks.dataset import DataSet
    from medimg_cli.checks.subject import Profile, Subject
    from medimg_cli.storage.stored import Region

__all__ = ["Thumbnail", "Thumbnails", "mirrored"]

#: Voxels of a thumbnail are no closer than this (mm), and there are at most so many.
_STEP, _MOST = 4.0, 40_000
#: Percentiles between which its shades lie.
_RANGE = (0.5, 99.5)
#: Voxels along an axis, and length in mm, that an image has at least; the length that it has at most.
_LEAST, _SHORTEST, _LONGEST = 10, 60.0, 3000.0
#: Common grid: its spacing in mm at least, voxels in all at most, voxels along an axis and in all at least.
_COMMON, _COMMON_MOST, _COMMON_SIDE, _COMMON_LEAST = 5.0, 150_000, 6, 1000
#: Bins of intensity.
_BINS = 24
#: Steps of the common grid that two images may be moved against each other, along x, y and z.
_MOVES = (4, 1, 1)
#: Images in a folder that says nothing of subjects: no more are taken for those of one subject.
_ONE_SUBJECT = 8
#: Mutual information and correlation of edges from which two images show the same, and by how much edges fit better.
_GOOD, _EDGES = (0.1, 0.3), 0.025
#: How many times as much better they must fit: different heads fit up to 12 % better mirrored.
_DOUBT = 4

Array = Any


class Thumbnail(NamedTuple):
    """A coarse image.

    Parameters
    ----------
    values : (I, J, K) array of uint8
        0 is dark, 255 bright.
    grid : Grid
    """

    values: Array
    grid: Grid


class Thumbnails:
    """Gathers a thumbnail; its result is a `Thumbnail`, or None where it shows nothing."""

    def __init__(self, subject: Subject) -> None:
        import numpy as np

        grid = subject.header.grid
        step = max(_STEP, (prod(grid.extent) / _MOST) ** (1 / 3))
        steps = [max(1, int(step / size + 0.5)) for size in grid.spacing]
        sizes = zip(grid.shape, steps, strict=True)
        self._wanted = tuple(range((size - 1) % each // 2, size, each) for size, each in sizes)
        self._grid = grid[self._wanted]
        self._values = np.zeros(self._grid.shape)

    @staticmethod
    def wants(subject: Subject) -> bool:
        header = subject.header
        if not header.orientation_known or subject.is_labels or "rgb" in dict(header.axes) or is_complex(header.dtype):
            return False
        extent = header.grid.extent
        return min(header.spatial_shape) >= _LEAST and min(extent) >= _SHORTEST and max(extent) <= _LONGEST

    def add(self, region: Region, box: Array) -> None:
        import numpy as np

        if 0 not in region[0]:
            return
        here, there = [], []
        for wanted, span in zip(self._wanted, region[1:], strict=True):
            common = _common(wanted, span)
            if not common:
                return
            here.append(slice(wanted.index(common[0]), wanted.index(common[-1]) + 1))
            there.append(slice(span.index(common[0]), span.index(common[-1]) + 1, wanted.step // span.step))
        with np.errstate(over="ignore"):
            self._values[tuple(here)] = box[region[0].index(0)][tuple(there)]

    def result(self) -> Thumbnail | None:
        import numpy as np

        values = np.nan_to_num(self._values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = np.percentile(values, _RANGE)
        if low == high:
            low, high = values.min(), values.max()
        if low == high:
            return None
        shades = np.clip((values - low) / (high - low), 0, 1) * 255
        return Thumbnail(np.rint(shades).astype(np.uint8), self._grid)


def _common(wanted: range, span: range) -> range:
    """Return the part of a range that lies in another one, which runs upwards and divides its steps."""
    first = wanted.start + max(0, -(-(span.start - wanted.start) // wanted.step)) * wanted.step
    return range(first, min(wanted.stop, span.stop), wanted.step)


def mirrored(data: DataSet) -> Iterator[Found]:
    """Find images that fit others of their subject clearly better when they are mirrored.

    Each image is compared with the one of its subject that shows most; where most of the others contradict that one, it
    is the suspect.
    """
    for group, sure in _subjects(data):
        views = [each.gathered[Thumbnails] for each in group]
        reference = max(range(len(group)), key=lambda n: (prod(views[n].grid.extent), -n))
        gain = group[reference].settings.limit("mirror-gain") * (1 if sure else _DOUBT)
        told = [n for n in range(len(group)) if n != reference]
        fits = {n: _fits_mirrored(views[reference], views[n], gain) for n in told}
        odd = [n for n in told if fits[n] is not None]
        agree = [n for n in told if fits[n] is None]
        if len(odd) > max(1, len(agree)):
            odd, fits[reference] = [reference], fits[odd[0]]
            told = agree or told
        for n in odd:
            other = group[told[0]] if n == reference else group[reference]
            message = (
                f"left and right seem flipped in it or in {escape(os.path.basename(other.path))} of the same subject: "
                f"mirrored, they fit {100 * (fits[n] or 0):.0f} % better"
            )
            yield Found(message, path=group[n].path, series=group[n].series)


def _subjects(data: DataSet) -> Iterator[tuple[list[Profile], bool]]:
    """Yield the images of each subject that have thumbnails, where there are several; and whether names say so."""
    groups: dict[tuple[str, bool], list[Profile]] = {}
    for each in data.profiles:
        if isinstance(each.gathered.get(Thumbnails), Thumbnail):
            groups.setdefault(subject_of(each.path), []).append(each)
    for (_, sure), group in groups.items():
        if len(group) > 1 and (sure or len(group) <= _ONE_SUBJECT):
            yield group, sure


# -- how well two images fit ----------------------------------------------------------------------------------------


def _fits_mirrored(one: Thumbnail, two: Thumbnail, gain: float) -> float | None:
    """Return by how much a thumbnail fits another one better when it is mirrored; None where that is not clear."""
    axis, _ = two.grid.affine.nearest_axis("R")
    plain, turned = _fit(one, two), _fit(one, Thumbnail(_flipped(two.values, axis), two.grid))
    if plain is None or turned is None:
        return None
    information, edges = turned[0] / max(plain[0], 1e-6), turned[1] / max(plain[1], 1e-6)
    clear = information >= 1 + gain and edges >= 1 + _EDGES
    return information - 1 if clear and turned[0] >= _GOOD[0] and turned[1] >= _GOOD[1] else None


def _flipped(values: Array, axis: int) -> Array:
    import numpy as np

    return np.flip(values, axis)


def _fit(one: Thumbnail, two: Thumbnail) -> tuple[float, float] | None:
    """Return how well two thumbnails fit where they fit best: mutual information, and correlation of edges.

    Returns
    -------
    two floats, or None
        None where they hardly overlap.
    """
    import numpy as np

    low = [max(a[0], b[0]) for a, b in zip(one.grid.box, two.grid.box, strict=True)]
    sides = [min(a[1], b[1]) - at for a, b, at in zip(one.grid.box, two.grid.box, low, strict=True)]
    step = max(_COMMON, (prod(max(side, 0) for side in sides) / _COMMON_MOST) ** (1 / 3))
    counts = [int(max(side, 0) / step + 0.5) for side in sides]
    if min(counts) < _COMMON_SIDE:
        return None
    points = AffineMatrix.from_spacing(step, origin=[at + step / 2 for at in low]).numpy()
    both = [_sampled(each, points, counts) for each in (one, two)]
    inside = both[0][1] & both[1][1]
    if int(inside.sum()) < _COMMON_LEAST:
        return None
    smooth = [_smooth(values) for values, _ in both]
    bins = [_binned(values, inside) for values in smooth]
    edges = [np.sqrt(sum(slope * slope for slope in np.gradient(values))) for values in smooth]

    def measured(move: tuple[int, ...]) -> tuple[float, float]:
        here, there = _overlap(counts, move)
        shown = both[0][1][here] & both[1][1][there]
        if int(shown.sum()) < _COMMON_LEAST:
            return 0.0, 0.0
        information = _information(bins[0][here][shown], bins[1][there][shown])
        return information, _correlation(edges[0][here][shown], edges[1][there][shown])

    return _best(measured)


def _best(measured: Callable[[tuple[int, ...]], tuple[float, float]]) -> tuple[float, float]:
    """Return the best of two measures over small moves: axis after axis, each from the best of information so far."""
    at: tuple[int, ...] = (0, 0, 0)
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    for axis, most in enumerate(_MOVES):
        for step in range(-most, most + 1):
            move = tuple(step if n == axis else value for n, value in enumerate(at))
            if move not in found:
                found[move] = measured(move)
        at = max(found, key=lambda move: (found[move][0], -sum(map(abs, move))))
    return max(value for value, _ in found.values()), max(value for _, value in found.values())


def _overlap(counts: list[int], move: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return which parts of two arrays lie over each other when the second one is moved."""
    pairs = list(zip(counts, move, strict=True))
    here = tuple(slice(max(0, step), size + min(0, step)) for size, step in pairs)
    return here, tuple(slice(max(0, -step), size + min(0, -step)) for size, step in pairs)


def _sampled(view: Thumbnail, points: Array, counts: list[int]) -> tuple[Array, Array]:
    """Interpolate a thumbnail on a grid; also tell which points lie in it.

    Parameters
    ----------
    points : (4, 4) array
        Affine of the grid.
    counts : 3 ints
        Its shape.
    """
    import numpy as np

    affine = np.linalg.inv(view.grid.affine.numpy()) @ points
    steps = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1)
    places = steps @ affine[:3, :3].T + affine[:3, 3]
    last = np.array(view.values.shape) - 1
    inside = ((places >= -0.5) & (places <= last + 0.5)).all(-1)
    places = np.clip(places, 0, last)
    first = np.minimum(places.astype(int), np.maximum(last - 1, 0))
    share = (places - first).astype(np.float32)
    values = np.zeros(tuple(counts), np.float32)
    for corner in product((0, 1), repeat=3):
        weight = np.where(corner, share, 1 - share).prod(-1)
        at = np.minimum(first + corner, last)
        values += weight * view.values[at[..., 0], at[..., 1], at[..., 2]]
    return values, inside


def _smooth(values: Array) -> Array:
    """Return the mean of each voxel with its neighbours, weights 1, 2 and 1 along each axis."""
    import numpy as np

    for axis in range(3):
        around = np.pad(values, [(1, 1) if n == axis else (0, 0) for n in range(3)], mode="edge")
        size = values.shape[axis]
        low, middle, high = (np.take(around, range(n, n + size), axis) for n in range(3))
        values = (low + 2 * middle + high) / 4
    return values


def _binned(values: Array, inside: Array) -> Array:
    """Return the bin of each value: equal ones from the first to the last percentile."""
    import numpy as np

    low, high = np.percentile(values[inside], [1, 99])
    scaled = (values - low) * (_BINS / max(float(high - low), 1e-30))
    return np.clip(scaled, 0, _BINS - 1).astype(np.intp)


def _information(one: Array, two: Array) -> float:
    """Return the normalised mutual information of bins, less 1: 0 of independent ones, 1 of equal ones."""
    import numpy as np

    table = np.bincount(one * _BINS + two, minlength=_BINS * _BINS).reshape(_BINS, _BINS) / one.size

    def entropy(shares: Array) -> float:
        shares = shares[shares > 0]
        return float(-(shares * np.log(shares)).sum())

    joint = entropy(table)
    return (entropy(table.sum(0)) + entropy(table.sum(1))) / joint - 1 if joint > 0 else 0.0


def _correlation(one: Array, two: Array) -> float:
    one, two = one - one.mean(), two - two.mean()
    size = float((one @ one) * (two @ two))
    return float(one @ two) / size**0.5 if size > 0 else 0.0

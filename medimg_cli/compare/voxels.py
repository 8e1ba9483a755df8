"""Two images read side by side, block by block in one order: memory does not grow with them.

Where blocks are the same byte by byte, nothing is computed from them; what a correlation needs of the equal blocks in
front of the first difference is read once more, only if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg_cli.backends import scale
from medimg_cli.compare.pairs import Correlation, Differing, Extreme, Overlap, common
from medimg_cli.dtypes import is_complex
from medimg_cli.header import differences
from medimg_cli.operations.protocol import plain
from medimg_cli.statistics.blocks import streaming_layout, value_blocks
from medimg_cli.statistics.recognition import declared_labels, why_labels
from medimg_cli.storage.encoded import EncodedSource

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Layout

__all__ = ["LabelOverlap", "Spot", "VoxelFacts", "compare_voxels"]

#: Values that are looked at together: what is computed from them stays in the cache of the processor.
_PIECE = 1 << 17
#: Labels beyond which images are no label maps: where a header says that they are, and where nothing does.
_MOST_DECLARED, _MOST_LABELS = 1 << 14, 512
_KIND, _PALETTE = "PhotometricInterpretation", "PALETTE COLOR"

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A voxel in which two images differ.

    Parameters
    ----------
    difference : int or float, or None
        How much; None where one value is NaN or infinite.
    channel : int
    voxel : (i, j, k)
        In the first image.
    world : (x, y, z)
        RAS+ mm, as the first image says.
    a, b : number
        The two values.
    """

    difference: Any
    channel: int
    voxel: tuple[int, int, int]
    world: tuple[float, float, float]
    a: Any
    b: Any

    def facts(self) -> dict[str, Any]:
        """Return the voxel as JSON holds it: complex values as [real, imaginary]."""
        values = {name: _plain(getattr(self, name)) for name in ("difference", "a", "b")}
        where = {"channel": self.channel, "voxel": list(self.voxel), "world_mm": list(self.world)}
        return {"difference": values.pop("difference"), **where, **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOverlap:
    """How a label lies in two images.

    Parameters
    ----------
    value : int
    name : str or None
    a, b, both : int
        Voxels that have it in the first image, the second, and both.
    """

    value: int
    name: str | None
    a: int
    b: int
    both: int

    @property
    def dice(self) -> float:
        """Twice the voxels in both over the sum of those in each (Dice 1945)."""
        return 2 * self.both / (self.a + self.b)

    def facts(self) -> dict[str, Any]:
        """Return the label as JSON holds it."""
        return {
            "value": self.value, "name": self.name, "count_a": self.a, "count_b": self.b, "dice": self.dice,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelFacts:
    """In how many voxels two images differ, and how much. A voxel of C channels counts C times.

    Parameters
    ----------
    count : int
        Pairs of values.
    differing : int
        Pairs that are not equal; NaN equals NaN.
    beyond : int
        Pairs further apart than the tolerance; NaN or an infinity against something else always is.
    nan, infinite : int
        Pairs of NaN and a number; pairs of an infinity and another number. All that follows leaves them out.
    largest, relative : Spot or None
        The largest difference, and the largest in relation to the larger value of the pair; None: there is none.
    odd : Spot or None
        The first pair of NaN or an infinity and something else.
    mean, rmse : float or None
        Mean of b - a, and root of the mean of its square; None for complex values and where no pair is finite.
    correlation : float or None
        Pearson's coefficient, 1 where no pair differs; None for complex and for constant values.
    labels : tuple of LabelOverlap, or None
        For label maps.
    """

    count: int
    differing: int = 0
    beyond: int = 0
    nan: int = 0
    infinite: int = 0
    largest: Spot | None = None
    relative: Spot | None = None
    odd: Spot | None = None
    mean: float | None = 0.0
    rmse: float | None = 0.0
    correlation: float | None = 1.0
    labels: tuple[LabelOverlap, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """Return the facts as JSON holds them."""
        spots = {"max_absolute": self.largest, "max_relative": self.relative, "first_not_finite": self.odd}
        return {
            "count": self.count,
            "differing": self.differing,
            "beyond_tolerance": self.beyond,
            "nan_against_number": self.nan,
            "infinite_against_other": self.infinite,
            **{name: None if spot is None else spot.facts() for name, spot in spots.items()},
            "mean_difference": self.mean,
            "rmse": self.rmse,
            "correlation": self.correlation,
            "labels": None if self.labels is None else [each.facts() for each in self.labels],
        }


def compare_voxels(a: Backend, b: Backend, *, rtol: float = 0.0, atol: float = 0.0) -> VoxelFacts:
    """Compare the values of two images of the same shape, index by index.

    Stored numbers are compared where both images scale them in the same way, values elsewhere.

    Parameters
    ----------
    a, b : Backend
        Of any size.
    rtol, atol : float
        Values are the same where ``|a - b| <= atol + rtol * max(|a|, |b|)``.

    Raises
    ------
    MedImgError
        If one of them cannot be read to its end.
    """
    overlap = _overlap(a, b)
    raw = _scale_alike(a.header, b.header) and not (overlap is not None and a.header.scaled)
    first, second = _layouts(a, b, raw)
    gathered = _Gathered(a.header if raw else None, overlap, Differing(rtol, atol))
    with np.errstate(all="ignore"):
        for x, y in _pairs(value_blocks(a, first, raw=raw), value_blocks(b, second, raw=raw)):
            gathered.add(x, y)
        if gathered.differing.count:
            for x in _first(value_blocks(a, first, raw=raw), gathered.equal_at_first):
                gathered.correlation.add(x, x)
    return _facts(gathered, a.header, b.header, first)


def _overlap(a: Backend, b: Backend) -> Overlap | None:
    """Return what counts labels, None where there can be none.

    What nothing says to be labels is recognised by the rules of `why_labels`, which is asked only where values are more
    than few; scaled values are none.
    """
    headers = (a.header, b.header)
    if any(is_complex(header.value_dtype) for header in headers):
        return None
    if any(declared_labels(header) is not None for header in headers):
        return Overlap(_MOST_DECLARED)
    if any(header.scaled or "rgb" in dict(header.axes) or header.metadata.get(_KIND) == _PALETTE for header in headers):
        return None
    return Overlap(_MOST_LABELS, lambda: all(why_labels(each) is not None for each in (a, b)))


def _scale_alike(a: Header, b: Header) -> bool:
    """Tell whether the same stored numbers mean the same values: slopes of formats have 24 bits or more."""
    return a.dtype == b.dtype and not {each.field for each in differences(a, b)} & {"slope", "inter"}


def _layouts(a: Backend, b: Backend, raw: bool) -> tuple[Layout, Layout]:
    """Return the order in which both are read: that of the first, unless only the second cannot go back."""
    leader = b if _is_encoded(b) and not _is_encoded(a) else a
    names = [each.header.dtype if raw else each.header.value_dtype for each in (a, b)]
    return streaming_layout(leader, names[0]), streaming_layout(leader, names[1])


def _is_encoded(backend: Backend) -> bool:
    stored = getattr(backend, "stored", None)
    return stored is not None and isinstance(stored.source, EncodedSource)


def _pairs(first: Iterator[Array], second: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield values of two streams side by side, in pieces; both are read to the end."""
    x = y = np.empty(0)
    while True:
        x = x if len(x) else next(first, x)
        y = y if len(y) else next(second, y)
        count = min(len(x), len(y), _PIECE)
        if not count:
            break
        yield x[:count], y[:count]
        x, y = x[count:], y[count:]
    for _ in (*first, *second):  # a last look at length and checksum
        pass


def _first(blocks: Iterator[Array], count: int) -> Iterator[Array]:
    """Yield the first values of a stream, in pieces."""
    while count:
        block = next(blocks)[:count]
        count -= len(block)
        for start in range(0, len(block), _PIECE):
            yield block[start : start + _PIECE]


class _Gathered:
    """What is known of the pairs so far.

    Parameters
    ----------
    header : Header or None
        How stored numbers become values; None where the pairs are values.
    overlap : Overlap or None
        For label maps.
    differing : Differing
    """

    def __init__(self, header: Header | None, overlap: Overlap | None, differing: Differing) -> None:
        self._header, self.overlap, self.differing = header, overlap, differing
        self.correlation = Correlation()
        self.count = self.equal_at_first = 0

    def add(self, a: Array, b: Array) -> None:
        """Take a piece of both streams in."""
        start, self.count = self.count, self.count + len(a)
        if a.dtype == b.dtype and np.array_equal(a.view(np.uint8), b.view(np.uint8)):
            b = a
        else:
            kind = common(a.dtype, b.dtype)
            a, b = a.astype(kind, copy=False), b.astype(kind, copy=False)
            apart = a != b
            if kind.kind in "fc":
                apart &= (a == a) | (b == b)
            places = np.flatnonzero(apart)
            if len(places):
                self._differ(start + places, a[places], b[places])
        if self.overlap is not None:
            self.overlap.add(a, b)
        if self.differing.count:
            self.correlation.add(a, b)
        else:
            self.equal_at_first = self.count

    def _differ(self, places: Array, a: Array, b: Array) -> None:
        if self._header is not None:
            a, b = scale(a, self._header), scale(b, self._header)
        self.differing.add(places, a, b)


def _facts(gathered: _Gathered, a: Header, b: Header, layout: Layout) -> VoxelFacts:
    """Put what is known into facts."""
    differing, found = gathered.differing, gathered.correlation
    labels = _labels(gathered.overlap, a, b)
    if not differing.count:
        return VoxelFacts(count=gathered.count, labels=labels)
    numbers = found.count and not np.iscomplexobj(differing.total)
    return VoxelFacts(
        count=gathered.count,
        differing=differing.count,
        beyond=differing.beyond,
        nan=differing.nans,
        infinite=differing.infinities,
        largest=_spot(differing.largest, a, layout),
        relative=_spot(differing.relative, a, layout),
        odd=_spot(differing.odd, a, layout),
        mean=float(differing.total) / found.count if numbers else None,
        rmse=sqrt(differing.squares / found.count) if found.count else None,
        correlation=found.coefficient(),
        labels=labels,
    )


def _labels(overlap: Overlap | None, a: Header, b: Header) -> tuple[LabelOverlap, ...] | None:
    if overlap is None or not overlap.convinced:
        return None

    def name(value: int) -> str | None:
        tables = (header.labels for header in (a, b) if header.labels is not None)
        return next((found for table in tables if (found := table.name_of(value))), None)

    return tuple(
        LabelOverlap(value=value, name=name(value), a=one, b=two, both=both)
        for value, one, two, both in overlap.labels()
    )


def _spot(extreme: Extreme | None, header: Header, layout: Layout) -> Spot | None:
    """Turn a place in the stream into a voxel."""
    if extreme is None:
        return None
    offset = extreme.place * layout.itemsize
    i, j, k = (offset // step % size for step, size in zip(layout.strides, layout.shape[1:], strict=True))
    sizes = [size for size, _ in layout.channels]
    channel = sum(offset // step % size * prod(sizes[:n]) for n, (size, step) in enumerate(layout.channels))
    return Spot(
        difference=extreme.difference,
        channel=channel,
        voxel=(i, j, k),
        world=header.affine.apply((i, j, k)),
        a=extreme.a,
        b=extreme.b,
    )


def _plain(value: Any) -> Any:
    """Return a number as JSON holds it: NaN and infinities in words."""
    if value is None or isinstance(value, int):
        return value
    if np.iscomplexobj(value):
        return [_plain(value.real), _plain(value.imag)]
    return plain(float(value))

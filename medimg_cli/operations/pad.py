"""Padding: voxels added at the ends of the axes, read from the image only where a region needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from numbers import Number
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, blocks_by_region, check_region, numpy_dtype, scale, view
from medimg_cli.dtypes import integer_range, is_integer
from medimg_cli.errors import CastError, GeometryError, UsageError
from medimg_cli.grid import parse_amounts
from medimg_cli.operations.protocol import Recipe, Rows, Step, landed

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend, Buffer
    from medimg_cli.header import Header
    from medimg_cli.operations.crop import Crop
    from medimg_cli.storage.stored import Layout, Region

__all__ = ["MODES", "Pad", "PadBackend", "check_fill", "fill_number", "filled_with", "placed"]

#: What padding fills with: one value, the voxel at the edge, the image mirrored with or without its edge
#: voxel, or the image again. The names are those of ``numpy.pad``.
MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@dataclass(frozen=True, slots=True)
class Pad(Recipe):
    """Add voxels at the ends of the axes.

    Parameters
    ----------
    amounts : int or ((lo, hi), (lo, hi), (lo, hi))
        Voxels to add at the low and high end of i, j, k.
    mode : str
        One of "constant", "edge", "reflect", "symmetric", "wrap".
    value : float, optional
        What "constant" fills with, a value and not a stored number. Left out: 0, or where the image cannot
        hold 0 the value nearest to it.

    Raises
    ------
    GeometryError
        If an amount is negative.
    UsageError
        If there is no such mode, or a value is given with another mode than "constant".
    CastError
        When applied, if the image cannot hold the value.
    """

    amounts: Any
    mode: str = "constant"
    value: float | None = None
    affine: Rows | None = None

    name: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        object.__setattr__(self, "amounts", parse_amounts(self.amounts, "pad"))
        check_mode(self.mode)
        check_fill(self.value)
        if self.value is not None and self.mode != "constant":
            raise UsageError(f"a value to fill with makes no sense with mode '{self.mode}'")

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        before = header.grid
        move = AffineMatrix.from_spacing(1.0, origin=[-lo for lo, _ in self.amounts])
        after = landed(before.padded(self.amounts), self.affine)
        return self.step(before, after, move, idle=before == after)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image on the larger grid."""
        starts = [lo for lo, _ in self.amounts]
        return placed(backend, backend.header.follow(step), starts, mode=self.mode, value=self.value)

    def inverse(self, step: Step) -> Crop:
        """Return the crop that leads back, exactly."""
        from medimg_cli.operations.crop import Crop

        return Crop(self.amounts, affine=step.grid_before.affine.rows)


def check_mode(mode: str) -> None:
    """Refuse a padding mode that does not exist."""
    if mode not in MODES:
        raise UsageError(f"there is no padding mode {mode!r}", hint="one of: " + ", ".join(MODES))


def check_fill(value: Any) -> None:
    """Refuse what is no number to fill with.

    Raises
    ------
    UsageError
        If it is neither a number nor None.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Number)):
        raise UsageError(f"the value to fill with is {str(value)[:40]!r}, expected a number")


def filled_with(header: Header) -> str | None:
    """Say what fills an image where nobody said with what, None where that is 0."""
    import numpy as np

    filled = scale(np.atleast_1d(fill_number(header, None)), header)[0]
    return f"filled with {filled:g}, because it cannot hold 0" if filled else None


def fill_number(header: Header, value: float | None) -> Any:
    """Return the stored number that stands for a value.

    Parameters
    ----------
    header : Header
        Of the image: its dtype, slope and inter.
    value : float, optional
        None: 0, or where the image cannot hold 0 the value nearest to it.

    Raises
    ------
    CastError
        If ``value`` is given and no stored number stands for it.
    """
    import numpy as np

    dtype = numpy_dtype(header.dtype)
    wanted = 0.0 if value is None else value
    number: Any = wanted
    if header.scaled:
        assert header.slope is not None
        number = (wanted - (header.inter or 0.0)) / header.slope
    if dtype.kind in "iub":
        low, high = integer_range(header.dtype)
        whole = round(number) if number == number and abs(number) != float("inf") else None
        number = min(max(whole, low), high) if whole is not None else low
    with np.errstate(over="ignore"):
        filled = np.full(1, number, dtype)
    found = scale(filled, header)[0]
    if value is not None and not _same(found, value, header):
        raise CastError(
            f"padding with {value} is impossible: the image is {header.dtype}"
            + (f" with slope {header.slope:g} and inter {header.inter or 0.0:g}" if header.scaled else ""),
            hint="pad with a value that it can hold, or cast it first",
        )
    return filled[0]


def _same(found: Any, value: Any, header: Header) -> bool:
    """Tell whether a number of the image is the value, as closely as its floats can say it."""
    import numpy as np

    if value != value:
        return bool(found != found)
    if is_integer(header.value_dtype) or header.value_dtype == "bool":
        return bool(int(found) == value)
    if abs(value) == float("inf"):
        return bool(found == value)
    with np.errstate(over="ignore"):
        return bool(found == np.full(1, value, found.dtype)[0]) and bool(np.isfinite(found))


def placed(
    backend: Backend,
    header: Header,
    starts: Sequence[int],
    *,
    steps: Sequence[int] = (1, 1, 1),
    mode: str = "constant",
    value: float | None = None,
) -> Backend:
    """Return an image on a grid of another shape, what lies outside cut off, what is missing filled.

    Parameters
    ----------
    backend : Backend
    header : Header
        Of the result: its shape says how far the new grid reaches.
    starts, steps : 3 ints
        Voxel n comes to lie on ``start + n * step``.
    mode, value
        See `Pad`.

    Raises
    ------
    GeometryError
        If nothing of the image is left.
    """
    kept, moved = [], []
    for start, step, size, room in zip(starts, steps, backend.header.spatial_shape, header.spatial_shape, strict=True):
        low, high = (max(0, -start), min(size, room - start)) if step == 1 else (0, size)
        if high <= low:
            raise GeometryError(f"nothing of the image is left on a grid of shape {header.spatial_shape}")
        kept.append(range(low, high))
        moved.append(start + low if step == 1 else start)
    inner = backend
    shape = tuple(len(span) for span in kept)
    if shape == header.spatial_shape and tuple(steps) == (1, 1, 1):
        return view(backend, range(header.channels), list(enumerate(kept)), header)
    if shape != backend.header.spatial_shape:
        part = backend.header.replace(shape=(header.channels, *shape))
        inner = view(backend, range(header.channels), list(enumerate(kept)), part)
    fill = fill_number(backend.header, value) if mode == "constant" else None
    return PadBackend(inner, header, moved, steps=steps, mode=mode, fill=fill)


class PadBackend:
    """An image with voxels around it, or between its own.

    Parameters
    ----------
    base : Backend
    header : Header
        Of the result: its stored type and scaling are those of ``base``.
    starts, steps : 3 ints
        Voxel n of ``base`` lies on ``start + n * step``.
    mode : str
        One of `MODES`.
    fill : scalar, optional
        Stored number for mode "constant".
    """

    def __init__(
        self,
        base: Backend,
        header: Header,
        starts: Sequence[int],
        *,
        steps: Sequence[int] = (1, 1, 1),
        mode: str = "constant",
        fill: Any = None,
    ) -> None:
        self.base, self.header, self.mode, self.fill = base, header, mode, fill
        self.starts, self.steps = tuple(starts), tuple(steps)

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        check_region(region, self.header.shape)
        places = [self._sources(axis, region[axis + 1]) for axis in range(3)]
        there = [np.flatnonzero(place >= 0) for place in places]
        c, i, j, k = (len(span) for span in region)
        out = np.empty((c, k, j, i), numpy_dtype(self.header.dtype)).transpose(0, 3, 2, 1)
        complete = all(len(found) == len(place) for found, place in zip(there, places, strict=True))
        if not complete:
            out[...] = self.fill
        if all(len(found) for found in there):
            wanted = [place[found] for place, found in zip(places, there, strict=True)]
            spans = [_covering(each) for each in wanted]
            part = self.base.read((region[0], spans[0], spans[1], spans[2]), raw=True)
            for axis, (each, span) in enumerate(zip(wanted, spans, strict=True)):
                local = (each - span.start) // span.step
                if not np.array_equal(local, np.arange(part.shape[axis + 1])):
                    part = part.take(local, axis=axis + 1)
            inside = tuple(slice(found[0], found[-1] + 1) for found in there)
            out[(slice(None), *inside)] = part
        return out if raw else scale(out, self.header)

    def _sources(self, axis: int, span: range) -> np.ndarray[Any, Any]:
        """Return the voxel of the base for each voxel of a range on an axis, -1 where there is none."""
        import numpy as np

        size, step = self.base.header.spatial_shape[axis], self.steps[axis]
        ahead = np.arange(span.start, span.stop, span.step, dtype=np.int64) - self.starts[axis]
        place = (2 * ahead + step) // (2 * step) if step != 1 else ahead  # the nearest voxel of the base
        if self.mode == "constant":
            return np.where((place >= 0) & (place < size), place, -1)
        if self.mode == "edge":
            return place.clip(0, size - 1)
        if self.mode == "wrap":
            return place % size
        period = 2 * size if self.mode == "symmetric" else max(2 * (size - 1), 1)
        place = place % period
        mirror = period - place - (1 if self.mode == "symmetric" else 0)
        return np.where(place < size, place, mirror)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)


def _covering(places: np.ndarray[Any, Any]) -> range:
    """Return the sparsest ascending range that holds all places."""
    import numpy as np

    found = [int(place) for place in np.unique(places)]
    step = gcd(*(place - found[0] for place in found)) or 1
    return range(found[0], found[-1] + 1, step)

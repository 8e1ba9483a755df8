"""How large each label of a label map is, where it lies, and in how many pieces: gathered in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medimg_cli.dtypes import is_complex
from medimg_cli.errors import UnsupportedError
from medimg_cli.statistics.blocks import value_boxes
from medimg_cli.statistics.counts import check_variety, not_whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.affine import AffineMatrix
    from medimg_cli.backends import Backend

__all__ = ["LabelFacts", "count_components", "label_facts"]

Span = tuple[int, int]
Point = tuple[float, float, float]

#: Voxels worked on at a time: where every voxel is another label, each takes 200 bytes.
_PIECE = 1 << 19


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFacts:
    """Size and place of one label in one channel.

    Parameters
    ----------
    value : int
    channel : int
        Counted from 0.
    voxels : int
        How many voxels hold the value.
    volume : float
        Of all these voxels, mm3.
    centroid : (x, y, z)
        Mean of their centres, world mm (RAS+).
    box : three (low, high)
        Smallest box of voxels around them on I, J, K; the high ends do not belong to it.
    bounds : three (low, high)
        What that box occupies, to the outer faces of its voxels, along the world axes in mm.
    components : int or None
        How many connected pieces they form; None where nobody asked.
    """

    value: int
    channel: int
    voxels: int
    volume: float
    centroid: Point
    box: tuple[Span, Span, Span]
    bounds: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    components: int | None = None


class _Totals(NamedTuple):
    """What is known of the labels of one channel so far, in whole numbers."""

    labels: np.ndarray[Any, Any]  # (L,), ascending
    voxels: np.ndarray[Any, Any]  # (L,)
    sums: np.ndarray[Any, Any]  # (3, L), of positions
    low: np.ndarray[Any, Any]  # (3, L), smallest position
    high: np.ndarray[Any, Any]  # (3, L), largest position


def label_facts(
    backend: Backend, *, components: bool = False, neighbours: Literal[6, 26] = 26
) -> tuple[LabelFacts, ...]:
    """Measure every label of a label map, in one pass over an image of any size.

    Positions are summed up in whole numbers, so the centroid is exact to the last bit of its division.

    Parameters
    ----------
    backend : Backend
        Whole numbers, also where they are stored as floats.
    components : bool
        Whether to count connected pieces, which reads the box of each label once more.
    neighbours : 6 or 26
        Of a voxel, that belong to the same piece: those that share a face, or a corner as well.

    Returns
    -------
    tuple of LabelFacts
        Channel by channel, values ascending, background included.

    Raises
    ------
    UnsupportedError
        If a value is no whole number, or there are more than a million different ones.

    Examples
    --------
    >>> import numpy as np
    >>> from medimg_cli import LabelMap
    >>> mask = np.zeros((1, 4, 4, 4), "uint8")
    >>> mask[0, 1:3, 2, 3] = 1
    >>> found = label_facts(LabelMap(mask, spacing=(2, 1, 1)).dataobj)[1]
    >>> found.voxels, found.volume, found.centroid, found.box
    (2, 4.0, (3.0, 2.0, 3.0), ((1, 3), (2, 3), (3, 4)))
    """
    if is_complex(backend.header.value_dtype):
        raise UnsupportedError("complex values are no labels")
    totals: dict[int, _Totals] = {}
    for region, values in value_boxes(backend):
        for n, channel in enumerate(region[0]):
            for piece in _pieces(values[n], [span.start for span in region[1:]]):
                totals[channel] = _joined(totals[channel], piece) if channel in totals else piece
        check_variety(sum(len(each.labels) for each in totals.values()))
    found = [each for channel in sorted(totals) for each in _facts(channel, totals[channel], backend.header.affine)]
    if components:
        found = [replace(each, components=count_components(backend, each, neighbours)) for each in found]
    return tuple(found)


def _pieces(values: np.ndarray[Any, Any], corner: Sequence[int]) -> Iterator[_Totals]:
    """Yield the totals of the pieces of a box of one channel, whose first voxel is ``corner``.

    Neighbours in memory that hold one value are counted as one run: label maps have few of them. Sums stay below 2**63,
    whatever the image: no axis has more than 2**20 voxels and no image more than 2**43.
    """
    import numpy as np

    order = sorted(range(3), key=lambda axis: (values.shape[axis] > 1, -abs(values.strides[axis])))
    turned = values.transpose(order)
    plane = turned.shape[1] * turned.shape[2]
    step = max(1, _PIECE // plane)
    for first in range(0, turned.shape[0], step):
        block = np.ascontiguousarray(turned[first : first + step])
        flat = block.reshape(-1)
        breaks = flat[1:] != flat[:-1]
        breaks[block.shape[2] - 1 :: block.shape[2]] = True
        begins = np.concatenate(([0], np.flatnonzero(breaks) + 1))
        lengths = np.diff(begins, append=flat.size)
        low = np.empty((3, len(begins)), np.int64)
        for axis, places, offset in zip(order, np.unravel_index(begins, block.shape), (first, 0, 0), strict=True):
            low[axis] = places + (offset + corner[axis])
        high, sums = low.copy(), low * lengths
        high[order[2]] += lengths - 1
        sums[order[2]] += lengths * (lengths - 1) // 2
        yield _checked(_grouped(_Totals(flat[begins], lengths, sums, low, high)))


def _grouped(parts: _Totals) -> _Totals:
    """Add up what belongs to the same label."""
    import numpy as np

    order = np.argsort(parts.labels, kind="stable")
    labels = parts.labels[order]
    firsts = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
    return _Totals(
        labels[firsts],
        np.add.reduceat(parts.voxels[order], firsts),
        np.add.reduceat(parts.sums[:, order], firsts, axis=1),
        np.minimum.reduceat(parts.low[:, order], firsts, axis=1),
        np.maximum.reduceat(parts.high[:, order], firsts, axis=1),
    )


def _joined(one: _Totals, other: _Totals) -> _Totals:
    import numpy as np

    return _grouped(_Totals(*(np.concatenate(pair, axis=-1) for pair in zip(one, other, strict=True))))


def _checked(totals: _Totals) -> _Totals:
    """Refuse what is no label."""
    odd = not_whole(totals.labels)
    if odd is not None:
        raise UnsupportedError(f"holds {odd:g}, labels are whole numbers: this is no label map")
    return totals


def _facts(channel: int, totals: _Totals, affine: AffineMatrix) -> Iterator[LabelFacts]:
    volume = abs(affine.determinant)
    each_label = zip(totals.labels.tolist(), totals.voxels.tolist(), *_columns(totals), strict=True)
    for value, voxels, sums, low, high in each_label:
        x, y, z = affine.apply([total / voxels for total in sums])
        i, j, k = ((first, last + 1) for first, last in zip(low, high, strict=True))
        yield LabelFacts(
            value=int(value),
            channel=channel,
            voxels=voxels,
            volume=voxels * volume,
            centroid=(x + 0.0, y + 0.0, z + 0.0),
            box=(i, j, k),
            bounds=_bounds(affine, (i, j, k)),
        )


def _columns(totals: _Totals) -> Iterator[list[list[int]]]:
    return (each.T.tolist() for each in (totals.sums, totals.low, totals.high))


def _bounds(affine: AffineMatrix, box: tuple[Span, Span, Span]) -> Any:
    """Return what a box of voxels occupies along each world axis, mm."""
    middle = affine.apply([(low + high - 1) / 2 for low, high in box])
    reach = [
        sum(abs(step) * (high - low) / 2 for step, (low, high) in zip(row, box, strict=False))
        for row in affine.rows[:3]
    ]
    return tuple((at - half, at + half) for at, half in zip(middle, reach, strict=True))


def count_components(backend: Backend, facts: LabelFacts, neighbours: Literal[6, 26] = 26) -> int:
    """Count the connected pieces of one label; no more than its box is read.

    Parameters
    ----------
    backend : Backend
    facts : LabelFacts
        Of the label in this image.
    neighbours : 6 or 26
        See `label_facts`.
    """
    import numpy as np
    import SimpleITK as sitk

    i, j, k = (range(low, high) for low, high in facts.box)
    values = backend.read((range(facts.channel, facts.channel + 1), i, j, k))[0]
    mask = sitk.GetImageFromArray(np.asarray(values == facts.value, "uint8").T)
    search = sitk.ConnectedComponentImageFilter()
    search.SetFullyConnected(neighbours == 26)
    search.Execute(mask)
    return int(search.GetObjectCount())

"""Which voxels count, and for which label: a mask and a label map that lie on the grid of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg_cli.backends import numpy_dtype
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError
from medimg_cli.grid import way_to
from medimg_cli.statistics.blocks import value_blocks, value_boxes
from medimg_cli.statistics.counts import check_variety, distinct, not_whole

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Region

__all__ = ["Selection", "check_match", "found_labels", "selected"]

#: Values that are worked on at a time: what is computed from them takes many times as much.
_PIECE = 1 << 18

Array = np.ndarray[Any, Any]


def check_match(header: Header, other: Header, what: str = "mask", how: str = "IMAGE MASK RESULT") -> None:
    """Refuse a mask or a label map that does not belong to an image voxel by voxel.

    Parameters
    ----------
    header : Header
        Of the image.
    other : Header
        Of the mask or label map.
    what : str
        What messages call it.
    how : str
        The three names that follow ``medimg resample --like`` in the hint.

    Raises
    ------
    GeometryError
        If the grids differ in shape or by more than 0.001 mm, or it has several channels and not as many as the image.
    """
    if not header.grid.same_as(other.grid):
        hint = way_to(other.grid, header.grid, how)
        if other.spatial_shape != header.spatial_shape:
            theirs, ours = (" x ".join(map(str, each.spatial_shape)) for each in (other, header))
            raise GeometryError(f"the {what} has {theirs} voxels, the image {ours}", hint=hint)
        raise GeometryError(f"the {what} lies {header.grid.mm_shift(other.grid):.3g} mm from the image", hint=hint)
    if other.channels not in (1, header.channels):
        channels = f"the {what} has {other.channels} channels, the image {header.channels}"
        raise GeometryError(channels, hint=f"give a {what} of one channel, or of as many as the image has")


def found_labels(labels: Backend) -> tuple[int, ...]:
    """Return the labels that a label map holds, in ascending order, without the background 0.

    Raises
    ------
    FormatError
        If a value is no whole number.
    UnsupportedError
        If there are more than a million different values, or they are complex.
    """
    if labels.header.value_dtype.startswith("complex"):
        raise UnsupportedError("complex values are no labels")
    found: set[int] = set()
    for block in value_blocks(labels):
        for start in range(0, len(block), _PIECE):
            piece = block[start : start + _PIECE]
            odd = not_whole(piece)
            if odd is not None:
                raise FormatError(f"the label map holds {odd:g}, labels are whole numbers", hint="did you mean --mask?")
            runs = piece[np.flatnonzero(np.append(True, piece[1:] != piece[:-1]))]
            found.update(map(int, distinct(runs)[0]))
        check_variety(len(found))
    return tuple(sorted(found - {0}))


class Selection:
    """The voxels that count, read region by region beside the image.

    Parameters
    ----------
    mask : Backend, optional
        Voxels count where it is not 0, and not NaN.
    labels : Backend, optional
        Voxels count where it holds one of ``known``.
    known : sequence of int
        Labels, ascending. Group n is the n-th; without labels all voxels are group 0.
    """

    def __init__(self, mask: Backend | None = None, labels: Backend | None = None, known: Sequence[int] = ()) -> None:
        self.mask, self.labels = mask, labels
        self.groups = len(known) if labels is not None else 1
        self.by_channel = any(each is not None and each.header.channels > 1 for each in (mask, labels))
        if labels is not None:
            self._known = np.array(known, numpy_dtype(labels.header.value_dtype))
            self._table = _numbered(self._known) if self._known.itemsize <= 2 else None

    def within(self, region: Region) -> Array | None:
        """Return the group of each voxel of a region of one channel, -1 where it does not count; None: all are group 0.

        Parameters
        ----------
        region : four ranges on (C, I, J, K)
            Of the image.

        Returns
        -------
        int32 array (I, J, K), or None
        """
        groups = None
        if self.labels is not None:
            groups = self._grouped(_beside(self.labels, region))
        if self.mask is not None:
            mask = _beside(self.mask, region)
            outside = (mask == 0) | (mask != mask)
            groups = np.zeros(mask.shape, np.int32) if groups is None else groups
            groups[outside] = -1
        return groups

    def _grouped(self, values: Array) -> Array:
        if self._table is not None:
            found: Array = self._table[values.view(f"u{values.itemsize}")]
            return found
        if not len(self._known):
            return np.full(values.shape, -1, np.int32)
        places = np.searchsorted(self._known, values).astype(np.int32)
        places[places == len(self._known)] = 0
        places[self._known[places] != values] = -1
        return places


def _numbered(known: Array) -> Array:
    """Return the group of each number of at most 16 bits, by its bits."""
    table = np.full(1 << 8 * known.itemsize, -1, np.int32)
    table[known.view(f"u{known.itemsize}")] = np.arange(len(known))
    return table


def _beside(backend: Backend, region: Region) -> Array:
    """Read what lies beside a region of one channel of an image, as (I, J, K)."""
    channel = region[0] if backend.header.channels > 1 else range(1)
    values: Array = backend.read((channel, *region[1:]))[0]
    return values


def selected(backend: Backend, selection: Selection, *, raw: bool = False) -> Iterator[tuple[int, Array, Array | None]]:
    """Yield the voxels that count once, in the order that costs least.

    Parameters
    ----------
    backend : Backend
    selection : Selection
    raw : bool
        Whether stored numbers, not values, are wanted.

    Yields
    ------
    channel : int
    values : 1-D array
        Valid until the next ones are asked for.
    groups : 1-D array of intp, or None
        Of each value; None: all are group 0.
    """
    everything = selection.mask is None and selection.labels is None
    for region, box in value_boxes(backend, raw=raw):
        order = sorted(range(3), key=lambda axis: -abs(box.strides[axis + 1]))
        groups: Array | None = None
        for number, channel in enumerate(region[0]):
            values = box[number].transpose(order).reshape(-1)
            values = values.view(values.dtype.type)  # NumPy's fast ufunc.at knows its own dtype object only
            if not everything and (groups is None or selection.by_channel):
                beside = selection.within((range(channel, channel + 1), *region[1:]))
                groups = None if beside is None else beside.transpose(order).reshape(-1)
            for start in range(0, len(values), _PIECE):
                piece = slice(start, start + _PIECE)
                if groups is None:
                    yield channel, values[piece], None
                else:
                    counts = groups[piece] >= 0
                    kept = groups[piece][counts].astype(np.intp) if selection.labels is not None else None
                    yield channel, values[piece][counts], kept

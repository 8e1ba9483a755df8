"""Ranges and counts of values, gathered in one pass over an image of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import UnsupportedError
from medimg_cli.statistics.blocks import value_blocks

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend

__all__ = ["ValueRange", "check_variety", "count_nans", "count_values", "distinct", "not_whole", "value_range"]

#: Different values that are counted at most; an image with more holds no labels.
_MOST_VALUES = 1 << 20


class ValueRange(NamedTuple):
    """Smallest and largest finite value (None: there is none), and how many are NaN or infinite."""

    low: float | None
    high: float | None
    nans: int
    infinities: int


def value_range(backend: Backend) -> ValueRange:
    """Find the range of the finite values, and count the others.

    Raises
    ------
    UnsupportedError
        If the values are complex: they have no order.
    """
    import numpy as np

    if backend.header.value_dtype.startswith("complex"):
        raise UnsupportedError("complex values have no smallest and largest")
    low = high = None
    nans = infinities = 0
    for block in value_blocks(backend):
        finite = block
        if block.dtype.kind == "f":
            good = np.isfinite(block)
            if not good.all():
                missing = int(np.isnan(block).sum())
                nans, infinities = nans + missing, infinities + int((~good).sum()) - missing
                finite = block[good]
        if finite.size:
            least, most = finite.min().item(), finite.max().item()
            low = least if low is None else min(low, least)
            high = most if high is None else max(high, most)
    return ValueRange(low, high, nans, infinities)


def count_nans(backend: Backend) -> int:
    """Count the values that are NaN."""
    import numpy as np

    return sum(int(np.isnan(block).sum()) for block in value_blocks(backend))


def count_values(backend: Backend) -> dict[int | float, int]:
    """Count how many voxels hold each value.

    Returns
    -------
    dict
        Value -> voxels, in ascending order; whole numbers are int, also where they are stored as floats. NaN
        comes last.

    Raises
    ------
    UnsupportedError
        If there are more than a million different values, or they are complex.
    """
    import numpy as np

    if backend.header.value_dtype.startswith("complex"):
        raise UnsupportedError("complex values cannot be counted as labels")
    counts: dict[Any, int] = {}
    nans = 0
    for block in value_blocks(backend):
        if block.dtype.kind == "f":
            missing = np.isnan(block)
            if missing.any():
                nans += int(missing.sum())
                block = block[~missing]
        for value, count in zip(*distinct(block), strict=True):
            counts[value] = counts.get(value, 0) + count
        check_variety(len(counts))
    found: dict[int | float, int] = {_label(value): counts[value] for value in sorted(counts)}
    if nans:
        found[float("nan")] = nans
    return found


def check_variety(count: int) -> None:
    """Refuse more different values than labels have.

    Raises
    ------
    UnsupportedError
        If there are more than a million.
    """
    if count > _MOST_VALUES:
        raise UnsupportedError("more than a million different values: this is no label map")


def not_whole(values: np.ndarray[Any, Any]) -> float | None:
    """Return the first value that is no whole number, and so no label; None where all are."""
    import numpy as np

    if values.dtype.kind != "f":
        return None
    odd = values[~(np.isfinite(values) & (values == np.floor(values)))]
    return float(odd.flat[0]) if odd.size else None


def distinct(block: np.ndarray[Any, Any]) -> tuple[list[Any], list[int]]:
    """Return the different values of a block without NaN, in ascending order, and how often each occurs."""
    import numpy as np

    if block.dtype.itemsize <= 2 and block.dtype.kind in "iub":
        low = np.iinfo(block.dtype).min if block.dtype.kind != "b" else 0
        totals = np.bincount(block.astype(np.int32) - low)
        places = np.flatnonzero(totals)
        return (places + low).tolist(), totals[places].tolist()
    values, totals = np.unique(block, return_counts=True)
    return values.tolist(), totals.tolist()


def _label(value: Any) -> int | float:
    """Return a value as int where it is whole and below 2**64, else as it is."""
    whole = isinstance(value, int) or (abs(value) < 2**64 and value.is_integer())
    found: int | float = int(value) if whole else value
    return found

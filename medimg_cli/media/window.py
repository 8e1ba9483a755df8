"""From values to what a screen shows: 8 bits of grey, or the colours of labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from medimg_cli.labels import LabelTable

__all__ = ["PERCENTILES", "colours", "grey", "palette", "window_of"]

Array = np.ndarray[Any, Any]

#: Percentiles of the values that become black and white.
PERCENTILES = (0.5, 99.5)

#: Distinct colours for labels that have none of their own, in the order of their values; 0 is black.
_COLOURS = (
    *((230, 75, 60), (70, 170, 90), (85, 130, 230), (240, 190, 60), (175, 95, 200), (75, 200, 205)),
    *((240, 140, 60), (150, 195, 80), (225, 120, 175), (130, 150, 175), (190, 140, 100), (250, 235, 150)),
)


def window_of(values: Array, percentiles: Sequence[float] = PERCENTILES) -> tuple[float, float]:
    """Return the values that become black and white.

    Parameters
    ----------
    values : array
        NaN and infinities do not count; of complex numbers their magnitude.
    percentiles : (low, high)
        In percent. Where both fall on one value, as in an image that is nearly all background, the extremes are taken.

    Returns
    -------
    low, high : float
        Low is the smaller one, also where all values are the same.

    Examples
    --------
    >>> window_of(np.array([0.0, 1, 2, 3, 4, np.nan]), (0, 100))
    (0.0, 4.0)
    """
    finite = _real(values)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(finite, percentiles))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return (low, high) if low < high else (low, low + 1.0)


def grey(values: Array, window: tuple[float, float]) -> Array:
    """Return values as 8 bits of grey, linearly between the ends of a window; NaN is black.

    Examples
    --------
    >>> grey(np.array([-5.0, 0, 50, 100, np.inf, np.nan]), (0, 100)).tolist()
    [0, 0, 128, 255, 255, 0]
    """
    low, high = window
    with np.errstate(all="ignore"):
        part = (_real(values) - low) / (high - low)
    shown: Array = np.rint(np.nan_to_num(part, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)
    return shown


def _real(values: Array) -> Array:
    return np.abs(values) if np.iscomplexobj(values) else values.astype(np.float64)


def palette(values: Array, table: LabelTable | None) -> dict[int, tuple[int, int, int]]:
    """Return a colour for each label: that of the table, or one of twelve in turn; 0 is black where it has none."""
    found: dict[int, tuple[int, int, int]] = {}
    own = {label.value: label.color[:3] for label in table or () if label.color is not None}
    for value in np.unique(values[np.isfinite(values)]).tolist():
        number = int(value)
        found[number] = own.get(number, (0, 0, 0) if number == 0 else _COLOURS[(number - 1) % len(_COLOURS)])
    return found


def colours(values: Array, table: LabelTable | None) -> Array:
    """Return labels as colours, with a last axis of red, green and blue."""
    shown = np.zeros((*values.shape, 3), np.uint8)
    for number, colour in palette(values, table).items():
        shown[values == number] = colour
    return shown

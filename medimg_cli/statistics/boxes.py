"""How far certain voxels reach, found in one pass over an image of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.statistics.blocks import value_boxes

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend

__all__ = ["Test", "bounding_box", "is_something", "reach"]

Test = Callable[[Any], Any]
"""Values of any shape -> booleans of that shape: which of them are meant."""

_AXES = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0))


def is_something(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell which values are neither 0 nor NaN.

    Examples
    --------
    >>> import numpy as np
    >>> is_something(np.array([0.0, -2.5, np.nan, np.inf])).tolist()
    [False, True, False, True]
    """
    found: np.ndarray[Any, Any] = values != 0
    return found & (values == values) if values.dtype.kind in "fc" else found


def bounding_box(backend: Backend, test: Test = is_something) -> tuple[range, range, range] | None:
    """Find the smallest box that holds all voxels of a kind.

    Parameters
    ----------
    backend : Backend
    test : callable, optional
        Says of values which of them are meant. A voxel is, if it is in any channel. Left out: neither 0 nor NaN.

    Returns
    -------
    three ranges on (I, J, K), or None
        None where there is no such voxel.

    Examples
    --------
    >>> import numpy as np
    >>> from medimg_cli import Image
    >>> array = np.zeros((1, 5, 4, 3))
    >>> array[0, 1:3, 2, 0] = 7
    >>> bounding_box(Image(array).dataobj)
    (range(1, 3), range(2, 3), range(0, 1))
    """
    found = reach(backend, _AXES, test)
    if found is None:
        return None
    i, j, k = (range(round(low), round(high) + 1) for low, high in found)
    return i, j, k


def reach(
    backend: Backend, directions: Sequence[Sequence[float]], test: Test = is_something
) -> tuple[tuple[float, float], ...] | None:
    """Find how far voxels of a kind reach in some directions, to the centres of the voxels.

    This is exact whatever the directions, so that it says which part of an oblique grid holds a mask.

    Parameters
    ----------
    backend : Backend
    directions : sequence of (a, b, c, d)
        Each stands for the number ``a * i + b * j + c * k + d``: a row of an affine.
    test : callable, optional
        As `bounding_box`.

    Returns
    -------
    one (lowest, highest) per direction, or None
        None where there is no such voxel.
    """
    import numpy as np

    rows = np.asarray(directions, dtype=float)
    found: tuple[Any, Any] | None = None
    for region, values in value_boxes(backend):
        ends = _line_ends(test(values).any(axis=0))
        if not len(ends):
            continue
        places = ends + [span.start for span in region[1:]]
        numbers = places @ rows[:, :3].T + rows[:, 3]
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        found = (low, high) if found is None else (np.minimum(found[0], low), np.maximum(found[1], high))
    return None if found is None else tuple(zip(found[0].tolist(), found[1].tolist(), strict=True))


def _line_ends(hits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the places (N, 3) of the first and the last hit on each line along i: nothing else can be extreme."""
    import numpy as np

    lines = np.argwhere(hits.any(axis=0))
    along = hits[:, lines[:, 0], lines[:, 1]]
    first = along.argmax(axis=0)
    last = len(hits) - 1 - along[::-1].argmax(axis=0)
    return np.concatenate([np.column_stack([first, lines]), np.column_stack([last, lines])])

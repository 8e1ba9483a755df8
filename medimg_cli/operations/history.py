"""The way back: from the steps that an image's history tells of, the operations that undo them.

A history is a plain value: a tuple of mappings that JSON can hold, oldest first, each with the name and the
version of its operation, its parameters, and the grids before and after. NIfTI (an extension), NRRD, MetaImage,
MIF and NIfTI-Zarr carry it, so the way back outlives the process: a segmentation made on a preprocessed image
returns to the grid that the scanner gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medimg_cli.errors import UsageError
from medimg_cli.operations import Operation, from_json, inverse_of

__all__ = ["Undo", "on_labels", "way_back"]


@dataclass(frozen=True, slots=True)
class Undo:
    """Operations that are applied one after another; calling it with an image applies them to the image.

    Parameters
    ----------
    operations : tuple of Operation
        In the order in which they are applied: the inverse of the newest step first.

    Examples
    --------
    >>> import numpy as np
    >>> from medimg_cli import LabelMap, ScalarImage
    >>> scan = ScalarImage(np.ones((1, 4, 5, 6), "int16"), spacing=(2, 1, 1))
    >>> ready = scan.reorient("SPL").crop(1)
    >>> segmentation = LabelMap(np.ones(ready.shape, "uint8"), affine=ready.affine)
    >>> back = ready.get_inverse_transform()(segmentation)
    >>> back.grid == scan.grid, back.count()
    (True, {0: 96, 1: 24})
    """

    operations: tuple[Operation, ...]

    def __call__(self, image: Any) -> Any:
        """Return the image that the operations make of one, as ``image.apply`` does."""
        return image.apply(self)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)


def way_back(
    history: Sequence[Mapping[str, Any]], *, ignore_intensity: bool = False
) -> tuple[Undo, tuple[Mapping[str, Any], ...]]:
    """Return the operations that undo a history, and the steps that have no inverse.

    Geometry leads back exactly: to the very affine that stood in the header before. Voxels do where nothing was
    interpolated or cut off; what was cut off is 0.

    Parameters
    ----------
    history : sequence of mappings
        Steps as `Step.to_json` returns them, oldest first.
    ignore_intensity : bool
        Whether steps that change only values, or how they are stored, are left as they are.

    Raises
    ------
    UnsupportedError, FormatError
        If a step is of a later version, or makes no sense.
    """
    found, lost = [], []
    for step in reversed(history):
        if ignore_intensity and _of_values(from_json(step)):
            continue
        inverse = inverse_of(step)
        if inverse is None:
            lost.append(step)
        else:
            found.append(inverse)
    return Undo(tuple(found)), tuple(lost)


def _of_values(operation: Operation) -> bool:
    """Tell whether an operation changes values of intensities, or how they are stored."""
    return operation.intensity or operation.name == "cast"


def on_labels(operation: Any, *, undoing: bool = False) -> Any:
    """Return what an operation does to labels: None where it takes them for intensities, never new labels.

    Parameters
    ----------
    operation : Operation
    undoing : bool
        Whether it comes from the history of another image: scales are left out then, and interpolation goes to the
        nearest label.

    Raises
    ------
    UsageError
        If somebody asked for labels to be interpolated.
    """
    if getattr(operation, "intensity", False):
        return None
    if undoing and (getattr(operation, "rescale", None) is not None or getattr(operation, "slope", None) is not None):
        return None
    if not hasattr(operation, "for_labels"):
        return operation
    safe = operation.for_labels()
    if operation.interpolation not in (None, safe.interpolation) and not undoing:
        raise UsageError(
            f"{operation.interpolation} interpolation would invent labels", hint="leave it out, or use ScalarImage"
        )
    return safe

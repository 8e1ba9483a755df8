"""The way back: from the steps that an image's history tells of, the operations that undo them.

A history is a plain value: a tuple of mappings that JSON can hold, oldest first, each with the name and the
version of its operation, its parameters, and the grids before and after. NIfTI (an extension), NRRD, MetaImage,
MIF and NIfTI-Zarr carry it, so the way back outlives the process: a segmentation made on a preprocessed image
returns to the grid that the scanner gave.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import UsageError
from medimg_cli.formats.neutral import from_facts
from medimg_cli.header import HINTS
from medimg_cli.operations import Operation, Step, from_json, inverse_of

if TYPE_CHECKING:
    from medimg_cli.header import Header

__all__ = ["Undo", "as_before", "of_values", "on_labels", "way_back"]

#: Both NIfTI forms, and the largest code that a field of theirs holds.
_FORMS = ("sform", "sform_code", "qform", "qform_code")
_MOST = 32767


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
        if ignore_intensity and of_values(step):
            continue
        inverse = inverse_of(step) or _nearest_back(Step.from_json(step))
        if inverse is None:
            lost.append(step)
        else:
            found.append(inverse)
    return Undo(tuple(found)), tuple(lost)


def _nearest_back(step: Step) -> Operation | None:
    """Return what leads back to the grid before a step without an inverse; None where it moved nothing."""
    if step.grid_before == step.grid_after:
        return None
    from medimg_cli.operations.resample import Resample

    return Resample(step.grid_before, interpolation="nearest")


def of_values(step: Mapping[str, Any]) -> bool:
    """Tell whether a step changed only values of intensities, or how they are stored.

    Raises
    ------
    UnsupportedError, FormatError
        If the step is of a later version, or makes no sense.
    """
    operation = from_json(step)
    return operation.intensity or operation.name == "cast"


def as_before(header: Header, step: Mapping[str, Any], *, hints: bool = True) -> Header:
    """Return a header that says of its grid what the header said in which a step was taken.

    An affine has one place in a history, but several in a file: both NIfTI forms with their codes, the axes of
    slices and phase encoding. What the step remembers of them comes back verbatim.

    Parameters
    ----------
    header : Header
        Of an image that has returned to the grid before the step.
    step : mapping
        As it stands in the history.
    hints : bool
        Whether what was said of slices and encoding belongs to this image, too.
    """
    told = step.get("header_before")
    if not isinstance(told, Mapping):
        return header
    if hints:
        said = told.get("metadata")
        kept = {name: value for name, value in header.metadata.items() if name not in HINTS}
        kept |= {name: value for name, value in (said if isinstance(said, Mapping) else {}).items() if name in HINTS}
        ndim = told.get("ndim", 3)
        flat = ndim in (1, 2) and max(header.spatial_shape[ndim:]) == 1
        header = header.replace(metadata=kept, ndim=ndim if flat else 3)
    found = from_facts(header, {name: told[name] for name in _FORMS if name in told})
    used = told.get("affine_source")
    form = getattr(found, used) if used in ("sform", "qform") else header.affine
    codes = (found.sform_code or 0, found.qform_code or 0)
    if form != header.affine or not all(0 <= code <= _MOST for code in codes) or found.warnings != header.warnings:
        return header
    return found.replace(affine_source=used) if isinstance(used, str) else found


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

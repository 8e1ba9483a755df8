"""Whether numbers are labels: what a header says, or what the voxels look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medimg_cli.dtypes import is_integer
from medimg_cli.statistics.blocks import value_boxes

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["declared_labels", "why_labels"]

#: Different values that a label map has at most: FreeSurfer's largest parcellations have some 200.
_MOST_LABELS = 512
#: Share of neighbours, one of them not background, that have the same label. Of real label maps more than half do,
#: of intensities with as few values a few in a hundred.
_ALIKE = 0.5


def declared_labels(header: Header) -> str | None:
    """Tell what in a header says that values are labels, None where nothing does.

    Sources: NIfTI intent codes 1002 (label) and others that formats map to the intent "label", a label table
    (``.seg.nrrd``, FreeSurfer, medimg's NIfTI extension), and the type bool.
    """
    if header.intent == "label":
        return "its header says so"
    if header.labels is not None:
        return "it has a label table"
    return "it is a mask of bool" if header.dtype == "bool" else None


def why_labels(backend: Backend) -> str | None:
    """Tell why an image is taken for a label map, None where it is not.

    A header that says so decides. Else labels are unscaled integers, at most 512 different ones, that lie in patches:
    of all pairs of neighbours along the voxel axes in which not both are the commonest value, more than half are
    equal. The voxels are read once, and no further than to the first block that speaks against it.

    Parameters
    ----------
    backend : Backend

    Returns
    -------
    str or None
        A reason to be shown after "taken for a label map, as".
    """
    import numpy as np

    declared = declared_labels(backend.header)
    if declared is not None:
        return declared
    if backend.header.scaled or not is_integer(backend.header.dtype) or backend.header.channels > 1:
        return None
    values: set[int] = set()
    alike = apart = 0
    for _, box in value_boxes(backend, raw=True):
        values.update(np.unique(box).tolist())
        if len(values) > _MOST_LABELS:
            return None
        block = box[0]
        common = 0 if 0 in values else min(values)
        for axis in range(3):
            first, second = (
                block.take(range(*span), axis=axis) for span in ((0, block.shape[axis] - 1), (1, block.shape[axis]))
            )
            same = first == second
            alike += int((same & (first != common)).sum())
            apart += int((~same).sum())
    if alike <= _ALIKE * (alike + apart):
        return None
    return f"it holds only {len(values)} different integers, in patches"

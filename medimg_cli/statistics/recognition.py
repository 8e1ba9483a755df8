"""Whether numbers are labels: what a header says, or what the voxels look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medimg_cli.dtypes import is_complex
from medimg_cli.statistics.blocks import value_boxes
from medimg_cli.statistics.counts import distinct, not_whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["FEW", "ONE_VALUE", "declared_labels", "why_labels"]

ONE_VALUE = "it holds only one value"
"""Why an image is taken for a label map that holds one value other than 0: it could be anything."""

FEW = 8
"""Whole numbers of which there are so few are labels, however they lie: masks of small lesions."""

#: Different values that a label map has at most: FreeSurfer's largest parcellations have some 200.
_MOST = 512
#: Of 8 bits, more are nearly all that there are: photographs and test patterns with flat areas.
_MOST_IN_BYTES = 200
#: Share of neighbours, one of them not background, that have the same label: of real label maps more than half, of
#: real intensities in 8 bits up to 0.43.
_ALIKE = 0.5
#: Pairs after which a share far below that is taken for the whole.
_ENOUGH = 1 << 18


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

    A header that says so decides. Else its values are whole numbers, in whatever type they are stored: at most 8
    different ones, or at most 512 (of 8 bits: 200) that lie in patches, which means that of all pairs of neighbours
    along the voxel axes in which not both are background (0, or the lowest number), more than half are equal. Colours
    are no labels, nor are numbers of colours in a palette (DICOM's PALETTE COLOR). The voxels are read no further than
    it takes.

    Parameters
    ----------
    backend : Backend

    Returns
    -------
    str or None
        A reason, to stand behind "taken for a label map:".
    """
    declared = declared_labels(backend.header)
    if declared is not None:
        return declared
    header = backend.header
    palette = header.metadata.get("PhotometricInterpretation") == "PALETTE COLOR"
    if palette or is_complex(header.value_dtype) or "rgb" in dict(header.axes):
        return None
    values: set[float] = set()
    alike = apart = 0
    for _, box in value_boxes(backend):
        if not_whole(box) is not None:
            return None
        values.update(distinct(box.reshape(-1, order="A"))[0])
        same, different = _neighbours(box, 0 if 0 in values else min(values))
        alike, apart = alike + same, apart + different
        in_patches = alike > _ALIKE * (alike + apart)
        far_from_it = alike + apart > _ENOUGH and alike < _ALIKE / 2 * (alike + apart)
        most = _MOST_IN_BYTES if header.value_dtype in ("uint8", "int8") else _MOST
        if len(values) > most or (len(values) > FEW and far_from_it):
            return None
    what = "whole numbers" if header.value_dtype.startswith("float") else "integers"
    if len(values) <= FEW:
        if len(values) == 1:
            return "it holds only zeros" if 0 in values else ONE_VALUE
        return f"it holds only {len(values)} different {what}"
    return f"it holds only {len(values)} different {what}, in patches" if in_patches else None


def _neighbours(box: np.ndarray[Any, Any], background: float) -> tuple[int, int]:
    """Count pairs of neighbours in space that are equal, but not background, and those that differ."""
    alike = apart = 0
    for axis in range(1, 4):
        lower = box[tuple(slice(None, -1) if n == axis else slice(None) for n in range(4))]
        upper = box[tuple(slice(1, None) if n == axis else slice(None) for n in range(4))]
        same = lower == upper
        apart += same.size - int(same.sum())
        alike += int((same & (lower != background)).sum())
    return alike, apart

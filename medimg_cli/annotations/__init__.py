"""Points and boxes in physical space: landmarks, seeds, detections, and the files that hold them.

An annotation is a list of rows of numbers together with the axes that they count along, and the affine that ties
voxel axes to the world. Where it lies in the world never changes unless somebody gives it new numbers, so no
operation on images has code for annotations: `follow` re-expresses them in the voxel frame of the image's new grid.

Names are those of TorchIO 2. Two things are different, because there they are not true in the world: anatomical
letters always mean the patient's axes (TorchIO reads world coordinates as if they ran along the letters of the
affine's own orientation, so that points of an LPS image come out mirrored), and a box seen from turned axes is the
hull of all its eight corners, not of two.
"""

from __future__ import annotations

from medimg_cli.annotations.attached import as_boxes, as_points, carried, follow, moved_to
from medimg_cli.annotations.boxes import BoundingBoxes, BoundingBoxFormat, Representation
from medimg_cli.annotations.points import Points

__all__ = [
    "BoundingBoxFormat",
    "BoundingBoxes",
    "Points",
    "Representation",
    "as_boxes",
    "as_points",
    "carried",
    "follow",
    "moved_to",
]

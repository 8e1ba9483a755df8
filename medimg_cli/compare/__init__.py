"""What differs between two images: headers across formats, voxels as a stream.

- :mod:`~medimg_cli.compare.asking`: what is to be compared, and how strictly.
- :mod:`~medimg_cli.compare.headers`: fields that differ, and which of them the other format cannot hold.
- :mod:`~medimg_cli.compare.placing`: where two grids lie, and the second image in the order of the first.
- :mod:`~medimg_cli.compare.pairs`: numbers gathered from pairs of values, block by block.
- :mod:`~medimg_cli.compare.voxels`: two images read side by side in one order.
- :mod:`~medimg_cli.compare.comparing`: all of it, as a :class:`Comparison`.
"""

from __future__ import annotations

from medimg_cli.compare.asking import Comparing
from medimg_cli.compare.comparing import SCHEMA, Comparison, compare, compare_images, compare_paths
from medimg_cli.compare.headers import Apart

__all__ = ["SCHEMA", "Apart", "Comparing", "Comparison", "compare", "compare_images", "compare_paths"]

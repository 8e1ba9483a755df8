"""Facts about voxels, gathered from a stream of blocks: nothing here holds a whole image."""

from __future__ import annotations

from medimg_cli.statistics.blocks import streaming_layout, value_blocks, value_boxes
from medimg_cli.statistics.counts import ValueRange, count_nans, count_values, value_range
from medimg_cli.statistics.recognition import declared_labels, why_labels

__all__ = [
    "ValueRange",
    "count_nans",
    "count_values",
    "declared_labels",
    "streaming_layout",
    "value_blocks",
    "value_boxes",
    "value_range",
    "why_labels",
]

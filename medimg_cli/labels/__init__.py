"""`LabelTable`: what the numbers of a label map stand for, and the text files that say so.

Read and written are FreeSurfer lookup tables, ITK-SNAP label descriptions, 3D Slicer colour tables, BIDS
``dseg.tsv``, MRtrix lookup tables and JSON. What a format can't hold is known beforehand: `LabelTable.fit`
returns the table that would come back. A name is kept as it was read, control characters included;
`Label.display` is safe to print.
"""

from __future__ import annotations

from medimg_cli.labels.label import Color, Label, some
from medimg_cli.labels.table import LabelTable
from medimg_cli.labels.text import FORMATS

__all__ = ["FORMATS", "Color", "Label", "LabelTable", "some"]

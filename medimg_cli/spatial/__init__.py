"""Whether an object is a proper image in physical space: a conformance check that other libraries can use.

>>> import numpy as np
>>> class Scan:
...     origin, spacing, shape = (0.0, 0.0, 0.0), (1.0, 1.0, 2.5), (1, 4, 5, 6)
...     direction, affine = np.eye(3), np.diag([1.0, 1.0, 3.0, 1.0])
>>> for finding in check_spatial(Scan()):
...     print(finding)
SP401 error: spacing is (1, 1, 2.5), the affine says (1, 1, 3)
"""

from __future__ import annotations

from medimg_cli.spatial.rules import RULES, Finding
from medimg_cli.spatial.suite import check_spatial

__all__ = ["RULES", "Finding", "check_spatial"]

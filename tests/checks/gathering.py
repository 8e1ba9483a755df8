"""Feeds gatherers of facts with arrays, in boxes of any size and from any order of storage."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.checks.config import Settings
from medimg_cli.checks.subject import Subject
from medimg_cli.expanding import Entry
from medimg_cli.header import Header
from medimg_cli.statistics import blocks

#: Orders of (C, I, J, K) in memory, slowest first: NIfTI, NRRD with channels first, C order, and one of its own.
ORDERS = ((0, 3, 2, 1), (3, 2, 1, 0), (0, 1, 2, 3), (2, 0, 1, 3))
#: Bytes of a box.
SIZES = (300, 2000, 1 << 22)


def subject_of(array: Any, *, path: str = "scan.nii", settings: Settings | None = None, **fields: Any) -> Subject:
    """Return an image (C, I, J, K) in memory under examination."""
    name = {"longdouble": "float128", "clongdouble": "complex256"}.get(array.dtype.name, array.dtype.name)
    header = Header(shape=array.shape, dtype=name, affine=AffineMatrix(), **fields)
    return Subject(Entry(path), settings or Settings(), ArrayBackend(array, header))


def stored(array: Any, order: tuple[int, ...]) -> Any:
    """Return the same array, laid out in memory in another order."""
    back = np.argsort(order)
    return np.ascontiguousarray(array.transpose(order)).transpose(back)


def gathered(kind: Any, subject: Subject, monkeypatch: pytest.MonkeyPatch, size: int = 1 << 22) -> Any:
    """Return what a gatherer found, as it comes back from another process."""
    assert subject.backend is not None
    monkeypatch.setattr(blocks, "_BLOCK", size)
    gatherer = kind(subject)
    for region, box in blocks.value_boxes(subject.backend, raw=True):
        before = box.copy()
        gatherer.add(region, box)
        assert before.tobytes() == box.tobytes(), "a box belongs to others, too"
    return pickle.loads(pickle.dumps(gatherer.result()))

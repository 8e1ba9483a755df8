"""Rules about values: what voxels hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.storage.stored import Region

__all__ = ["RULES"]


class _NotFinite:
    """How many values are NaN, and how many infinite."""

    def __init__(self, subject: Subject) -> None:
        self._nans = 0

    @staticmethod
    def wants(subject: Subject) -> bool:
        return subject.header.dtype.startswith(("float", "complex"))

    def add(self, region: Region, box: np.ndarray[Any, Any]) -> None:
        import numpy as np

        self._nans += int(np.isnan(box).sum())

    def result(self) -> int:
        return self._nans


def _nan(subject: Subject) -> Iterator[Found]:
    count = subject.gathered.get(_NotFinite)
    if count:
        yield Found(f"{count} values are NaN")


RULES = (Rule("V001", "nan", "warning", _nan, "No value is NaN.", gathers=(_NotFinite,)),)

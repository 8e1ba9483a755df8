"""How an image is read from a source that holds several of them, or one with something amiss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medimg_cli.errors import UsageError

__all__ = ["Reading", "refuse_choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a reader of DICOM is told about its source; picklable.

    Parameters
    ----------
    series : str, optional
        Which image of the source: SeriesInstanceUID, SeriesNumber, a pattern of the description (``*T1*``), or
        ``@N``, the N-th of the list that ``medimg dicom`` prints, from 1.
    gaps : str
        What to do where slices are missing, double or not evenly spaced: "refuse"; "ignore", which takes them for
        evenly spaced; "resample", which interpolates between slices.
    tolerance : float, optional
        How far a slice may lie off its place, in mm; left out: 1 % of the step between slices, at least 0.01 mm.
    untilt : bool
        Resample slices of a tilted gantry to a grid of right angles.
    files : tuple of str
        Only these files of the folder; empty: all.

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    series: str | None = None
    gaps: Literal["refuse", "ignore", "resample"] = "refuse"
    tolerance: float | None = None
    untilt: bool = False
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.gaps not in ("refuse", "ignore", "resample"):
            raise UsageError(f"--gaps {self.gaps}", hint="give refuse, ignore or resample")
        if self.tolerance is not None and not 0 <= self.tolerance < 1e6:
            raise UsageError(f"--tolerance {self.tolerance:g}", hint="give millimetres, such as 0.1")
        if self.series is not None and not self.series.strip():
            raise UsageError("--series is empty", hint="give a UID, a number, a pattern or @N; see: medimg dicom DIR")


def refuse_choice(reading: Reading | None) -> None:
    """Refuse a choice among the series of a source that is one image.

    Raises
    ------
    UsageError
        If there is one.
    """
    if reading is not None and reading.series is not None:
        raise UsageError("has no series to choose from", hint="it is no DICOM: leave out --series")

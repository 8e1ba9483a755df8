"""Which frames belong together: frames of many files, split into stacks that are one image each.

A series (one SeriesInstanceUID) is one image or several: it is split where frames differ in what no image can hold
side by side: size and type of pixels, orientation, spacing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medimg_cli.formats.dicom.frames import Frame, Vector

__all__ = ["Part", "close", "kind_of", "split"]

#: Difference of direction cosines below which two slices are parallel.
_PARALLEL = 1e-3


class Part(NamedTuple):
    """The frames of one image, in no order.

    Parameters
    ----------
    frames : tuple of Frame
    label : str
        What tells it from other parts of its series, short and fit for a file name ("e2", "phase"); "" where it is
        the only one.
    """

    frames: tuple[Frame, ...]
    label: str = ""


def split(frames: Iterable[Frame]) -> list[Part]:
    """Split the frames of one series into parts that are one image each, in the order of their first frames."""
    groups: list[list[Frame]] = []
    for frame in frames:
        mine = next((group for group in groups if _alike(group[0], frame)), None)
        if mine is None:
            groups.append(mine := [])
        mine.append(frame)
    return [Part(tuple(group), kind_of(group) if len(groups) > 1 else "") for group in groups]


def _alike(a: Frame, b: Frame) -> bool:
    """Tell whether two frames can be slices of one image."""
    p, q = a.file.pixels, b.file.pixels
    return (
        a.size == b.size
        and (p.samples, p.dtype, p.stored, p.photometric) == (q.samples, q.dtype, q.stored, q.photometric)
        and close(a.orientation, b.orientation, _PARALLEL)
        and close(a.spacing, b.spacing, 1e-4)
    )


def close(a: Vector | None, b: Vector | None, tolerance: float) -> bool:
    """Tell whether numbers are the same within a tolerance, or neither are there."""
    if a is None or b is None:
        return a is b
    return all(abs(x - y) <= tolerance for x, y in zip(a, b, strict=True))


def kind_of(frames: Sequence[Frame]) -> str:
    """Name the kind of a part in a list of them."""
    frame = frames[0]
    rows, columns = frame.size
    words = [f"{columns} x {rows} pixels of {frame.file.pixels.dtype}"]
    if frame.spacing:
        words.append(f"{frame.spacing[1]:g} x {frame.spacing[0]:g} mm")
    if frame.orientation:
        words.append("direction " + "\\".join(f"{cosine:.3g}" for cosine in frame.orientation))
    return ", ".join(words)

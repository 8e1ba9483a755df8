"""The two-dimensional frames that a file holds, and where each of them lies.

A classic file is one frame. A multi-frame file says of each of its frames where it lies
(:mod:`~medimg_cli.formats.dicom.multiframe`); a mosaic of Siemens or UIH is one frame whose tiles are slices
(:mod:`~medimg_cli.formats.dicom.mosaics`). Whoever looks at frames from here on need not know which it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from medimg_cli.formats.dicom.elements import numbers_in
from medimg_cli.formats.dicom.reading import DicomFile
from medimg_cli.formats.dicom.vectors import Vector

__all__ = ["Frame", "Tile", "frames_of", "single_frame"]


class Tile(NamedTuple):
    """A part of a frame that is a slice of its own: its first row and column, and how many there are of each."""

    row: int
    column: int
    rows: int
    columns: int


class Frame(NamedTuple):
    """One slice.

    Parameters
    ----------
    file : DicomFile
    at : int
        Which frame of the file, from 0.
    position, orientation : tuple of float, or None
        ImagePositionPatient (3) and ImageOrientationPatient (6), LPS in mm.
    spacing : (float, float) or None
        PixelSpacing: between rows, between columns, in mm.
    scaling : (float, float)
        Slope and intercept to values; (1, 0) where nothing scales.
    facts : mapping
        What is said of this frame and not of all of its file: keyword of `tags` -> number, tuple of numbers or text.
    tile : Tile, optional
        The part of the stored frame that it is; None: all of it.
    """

    file: DicomFile
    at: int
    position: Vector | None
    orientation: Vector | None
    spacing: Vector | None
    scaling: tuple[float, float]
    facts: Mapping[str, Any] = {}
    tile: Tile | None = None

    @property
    def name(self) -> str:
        """How messages call it: its file, and which frame of it where there are several."""
        if self.tile is not None or self.file.frames > 1:
            return f"{self.file.name} (frame {self.at + 1})"
        return self.file.name

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        tile = self.tile or self.file.pixels
        return tile.rows, tile.columns

    def number(self, keyword: str) -> float | None:
        """Return a number, the first of several; None where it is absent, empty or no finite number."""
        found = self.numbers(keyword)
        return found[0] if found else None

    def numbers(self, keyword: str) -> Vector | None:
        """Return all numbers of an element; None where it is absent, empty or holds something else."""
        if keyword not in self.facts:
            return self.file.elements.numbers(keyword)
        value = self.facts[keyword]
        if isinstance(value, str) or value is None:
            return numbers_in(value or "")
        return tuple(map(float, value)) if isinstance(value, tuple) else (float(value),)

    def text(self, keyword: str) -> str:
        """Return an element on one line, several values with a backslash between; "" where it is absent."""
        if keyword not in self.facts:
            return self.file.elements.text(keyword)
        value = self.facts[keyword]
        parts = value if isinstance(value, tuple) else (value,)
        return "\\".join(part if isinstance(part, str) else f"{part:.15g}" for part in parts if part is not None)

    @property
    def kind(self) -> tuple[str, ...]:
        """ImageType, in upper case."""
        return tuple(part.strip().upper() for part in self.text("ImageType").split("\\") if part.strip())


def frames_of(file: DicomFile) -> list[Frame]:
    """Return the frames of a file, in the order in which they are stored.

    Raises
    ------
    UnsupportedError
        If they are no slices of a patient, or too many.
    FormatError
        If its header contradicts itself.
    GeometryError
        If nothing says where the slices of a mosaic or the planes of a dose lie.
    """
    if file.enhanced or file.frames > 1:
        from medimg_cli.formats.dicom.multiframe import frames

        return frames(file)
    if file.mosaic:
        from medimg_cli.formats.dicom.mosaics import tiles

        return tiles(file)
    return [single_frame(file)]


def single_frame(file: DicomFile) -> Frame:
    """Return the frame of a classic file."""
    position, orientation = file.vector("ImagePositionPatient", 3), file.vector("ImageOrientationPatient", 6)
    return Frame(file, 0, position, orientation, file.vector("PixelSpacing", 2), file.scaling)

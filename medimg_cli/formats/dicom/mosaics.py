"""Mosaics: one stored frame whose tiles are the slices of a volume (Siemens, UIH)."""

from __future__ import annotations

from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.reading import DicomFile

__all__ = ["tiles"]


def tiles(file: DicomFile) -> list[Frame]:
    """Return the slices of a mosaic.

    Raises
    ------
    UnsupportedError
        Always, in this version.
    """
    raise UnsupportedError(f"is a mosaic of slices ({file.title}), which this version does not read")

"""DICOM Segmentations as label maps (PS3.3, A.51)."""

from __future__ import annotations

from medimg_cli.backends import Backend
from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.dicom.reading import DicomFile

__all__ = ["open_segmentation"]


def open_segmentation(file: DicomFile) -> Backend:
    """Return the label map of a segmentation.

    Raises
    ------
    UnsupportedError
        Always, in this version.
    """
    raise UnsupportedError("is a DICOM Segmentation, which this version does not read", path=file.source.name)

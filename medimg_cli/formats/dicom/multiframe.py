"""Multi-frame objects: where each of their frames lies, and what is said of it alone."""

from __future__ import annotations

from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.reading import DicomFile

__all__ = ["frames"]


def frames(file: DicomFile) -> list[Frame]:
    """Return the frames of a multi-frame object, in the order in which they are stored.

    Raises
    ------
    UnsupportedError
        Always, in this version.
    """
    if file.is_segmentation:
        raise UnsupportedError("is a DICOM Segmentation, which this version does not read")
    if file.frames > 1:
        raise UnsupportedError(
            f"is a multi-frame {file.title} of {file.frames} frames, which this version does not read"
        )
    raise UnsupportedError(f"is an enhanced (multi-frame) {file.title}, which this version does not read")

"""Who the patient is, and who and what was there: read only where somebody asks for it (``--phi``).

These elements are not among `tags.TAGS`, so nothing else in medimg ever sees them. They are read from one file, at the
moment of asking, and go nowhere but to the screen.
"""

from __future__ import annotations

import io
from typing import Any

from medimg_cli.formats.dicom.elements import printable
from medimg_cli.formats.dicom.reading import DicomFile, full_dataset
from medimg_cli.formats.dicom.tags import IDENTIFYING
from medimg_cli.formats.foreign import foreign_errors

__all__ = ["identity", "identity_of"]


def identity(file: DicomFile) -> dict[str, str]:
    """Return what a file says of its patient and study, by keyword, each on one line of printable characters.

    Raises
    ------
    FormatError
        If the file can no longer be read.
    """
    with foreign_errors(file.source.name, "DICOM"):
        return _told(full_dataset(file, *IDENTIFYING))


def identity_of(content: bytes) -> dict[str, str]:
    """Return what a data set in memory says of its patient and study, as `identity` does.

    Parameters
    ----------
    content : bytes
        As of a file, or without preamble: an extension of NIfTI.

    Raises
    ------
    FormatError
        If it is no data set.
    """
    with foreign_errors("<bytes>", "DICOM"):
        from pydicom import dcmread

        tags: list[Any] = list(IDENTIFYING)
        return _told(dcmread(io.BytesIO(content), stop_before_pixels=True, force=True, specific_tags=tags))


def _told(dataset: Any) -> dict[str, str]:
    texts = {keyword: dataset.get(keyword) for keyword in IDENTIFYING}
    return {keyword: printable(_text(value)) for keyword, value in texts.items() if value is not None}


def _text(value: object) -> str:
    several = not isinstance(value, str) and hasattr(value, "__len__") and hasattr(value, "__getitem__")
    return "\\".join(map(str, value)) if several else str(value)  # type: ignore[call-overload]

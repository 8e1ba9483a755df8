"""One image under examination, and what is kept of it for its data set."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.checks.config import Settings
    from medimg_cli.errors import MedImgError
    from medimg_cli.expanding import Entry
    from medimg_cli.header import Header

__all__ = ["Profile", "Subject"]


class Subject:
    """One image under examination: what rules over images look at.

    Parameters
    ----------
    entry : Entry
        Path, and the series of DICOM where it is one.
    settings : Settings
        What holds for the path.
    backend : Backend or None
        None where it cannot be opened.
    error : MedImgError or None
        Why it cannot be opened; in ``backend``'s absence only.

    Attributes
    ----------
    gathered : dict
        Gatherer class -> its result; only classes that wanted the image, after voxels were read to their end.
    unreadable : MedImgError or None
        Why voxels could not be read to their end.
    """

    def __init__(
        self, entry: Entry, settings: Settings, backend: Backend | None = None, error: MedImgError | None = None
    ) -> None:
        self.entry, self.settings, self.backend, self.error = entry, settings, backend, error
        self.path = entry.path
        self.gathered: dict[type, Any] = {}
        self.unreadable: MedImgError | None = None

    @cached_property
    def header(self) -> Header:
        """What the file says; only of an image that was opened."""
        assert self.backend is not None
        return self.backend.header

    @cached_property
    def nifti(self) -> Mapping[str, Any] | None:
        """The raw fields of a NIfTI header, under the names of `nifti_fields`; None of other formats."""
        header = self.backend and self.backend.header
        if not header or header.native is None or header.native.family != "nifti":
            return None
        from medimg_cli.formats.nifti_fields import unpack

        version, byte_order, raw = header.native.data
        return unpack(raw, version, byte_order)

    @cached_property
    def is_labels(self) -> bool:
        """Whether the image is a label map: somebody says so, its header does, or its name."""
        from medimg_cli.statistics.recognition import declared_labels

        if self.settings.labels is not None:
            return self.settings.labels
        return declared_labels(self.header) is not None


class Profile(NamedTuple):
    """What is kept of an image for rules over a set.

    Parameters
    ----------
    path : str
    series : int or None
        As ``@N``, of a path that holds several.
    header : Header
    settings : Settings
    is_labels : bool
    gathered : mapping
        Gatherer class -> its result, of classes that a rule over sets asks for.
    """

    path: str
    series: int | None
    header: Header
    settings: Settings
    is_labels: bool
    gathered: Mapping[type, Any]

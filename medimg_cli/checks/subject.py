"""One image under examination, and what is kept of it for its data set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.checks.clues import Clue
    from medimg_cli.checks.config import Settings
    from medimg_cli.errors import MedImgError
    from medimg_cli.expanding import Entry
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import StoredArray

__all__ = ["Profile", "Subject"]

_NIFTI = frozenset({"nifti1", "nifti2"})
#: Formats beside which BIDS and FSL keep sidecars.
_WITH_SIDECARS = _NIFTI | {"analyze"}


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
    is_first : bool
        Whether it is the first image of its path: what is said of the path is said of this one.
    """

    def __init__(
        self, entry: Entry, settings: Settings, backend: Backend | None = None, error: MedImgError | None = None
    ) -> None:
        self.entry, self.settings, self.backend, self.error = entry, settings, backend, error
        self.path = entry.path
        self.gathered: dict[type, Any] = {}
        self.unreadable: MedImgError | None = None
        self.is_first = True

    @cached_property
    def header(self) -> Header:
        """What the file says; only of an image that was opened."""
        assert self.backend is not None
        return self.backend.header

    @cached_property
    def failure(self) -> MedImgError | None:
        """Why it cannot be opened or read to its end, as far as anybody looked: from sizes alone, or from voxels."""
        if self.error is not None or self.unreadable is not None:
            return self.error or self.unreadable
        from medimg_cli.backends import check
        from medimg_cli.errors import MedImgError, MissingExtraError

        assert self.backend is not None
        try:
            check(self.backend)
        except MissingExtraError:  # says nothing of the file
            return None
        except MedImgError as error:
            return error
        return None

    @cached_property
    def stored(self) -> StoredArray | None:
        """Where voxels lie as plain numbers in a file; None where they do not, or the image cannot be opened."""
        return getattr(self.backend, "stored", None)

    @cached_property
    def nifti(self) -> Mapping[str, Any] | None:
        """The raw fields of a NIfTI header, under the names of `nifti_fields`; None of other formats."""
        header = self.backend and self.backend.header
        if not header or header.native is None or header.native.family != "nifti":
            return None
        from medimg_cli.formats.nifti_fields import unpack

        version, byte_order, raw = header.native.data
        return unpack(raw, version, byte_order)

    @property
    def in_nifti(self) -> bool:
        """Whether the image is a NIfTI file, not NIfTI in a store of chunks, or another file that kept its fields."""
        return self.backend is not None and self.backend.header.format in _NIFTI

    @cached_property
    def is_pair(self) -> bool:
        """Whether header and voxels of a NIfTI image lie in two files."""
        fields = self.nifti
        if fields is None or not fields["magic"].startswith(b"ni"):
            return False
        from medimg_cli.formats import split_suffix

        return split_suffix(self.path)[1] != ".nii"

    @cached_property
    def is_cifti(self) -> bool:
        """Whether the image is CIFTI-2, whose axes are no space: an intent from 3000 to 3099."""
        intent = self.header.intent
        return intent is not None and re.fullmatch(r"intent-30\d\d", intent) is not None

    @cached_property
    def beside(self) -> Mapping[str, str]:
        """Which sidecars lie beside the image: "bval", "bvec" or "json" -> path; none of formats that have no such."""
        from medimg_cli.storage.urls import is_local

        header = self.backend and self.backend.header
        if not header or header.format not in _WITH_SIDECARS or not is_local(self.path):
            return {}
        import os

        from medimg_cli.formats.sidecars import sidecar_paths

        return {kind: path for kind, path in sidecar_paths(self.path).items() if os.path.isfile(path)}

    @cached_property
    def sidecar(self) -> Mapping[str, Any]:
        """What the JSON sidecar of the image says; nothing where there is none, or it is no JSON object."""
        if "json" not in self.beside:
            return {}
        from medimg_cli.formats.sidecars import read_facts

        return read_facts(self.path)

    @cached_property
    def is_labels(self) -> bool:
        """Whether the image is a label map: somebody says so, its header does, or its name (`named_labels`).

        Complex numbers, colours and vectors are none, whatever the file is called.
        """
        from medimg_cli.checks.file_names import named_labels
        from medimg_cli.statistics.recognition import declared_labels

        if self.settings.labels is not None:
            return self.settings.labels
        header = self.header
        if declared_labels(header) is not None:
            return True
        other = header.dtype.startswith("complex") or not {"rgb", "vector"}.isdisjoint(dict(header.axes))
        return not other and named_labels(self.path)

    @cached_property
    def clues(self) -> tuple[Clue, ...]:
        """What header, name and sidecar hold that may tell who the patient is; only of an image that was opened."""
        from medimg_cli.checks.clues import clues_of

        return clues_of(self)


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

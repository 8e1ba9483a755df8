"""DICOM as the target of a command: which names ask for it, and what would come back.

Decisions:

- A name that ends in a slash is a folder for a series. An existing folder without the slash is none, so that nobody
  fills a folder who meant to name a file in it.
- ``X.dcm`` is one file: a label map becomes a Segmentation, an image of one slice is itself, and others are refused.
- The modality is that of colours and pictures (OT), else that of the image's metadata, else MR.
- ``fit`` says what comes back apart from the order along K, which a right-handed series may turn round.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import UsageError
from medimg_cli.formats import find_format
from medimg_cli.formats.dicom.series_files import PATTERN, file_names

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["DicomSaving", "fit", "is_target", "save"]

#: Types of elements that are no text -> what makes a number of one.
_BINARY: Mapping[str, type] = {**dict.fromkeys(("US", "SS", "UL", "SL", "UV", "SV"), int), "FL": float, "FD": float}


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomSaving:
    """How an image becomes DICOM; picklable.

    Parameters
    ----------
    template : str, optional
        DICOM folder or file whose patient, study, equipment and acquisition are taken over.
    modality : str, optional
        "MR", "CT", "PT", "OT", or "SEG" for one file of labels; left out: what the image says.
    pattern : str
        Name of each file of a series, with one field for the number.
    tags : tuple of str
        ``KEYWORD=VALUE``.
    rescale : bool
        Spread values that 16 bits do not hold over 16 bits.

    Raises
    ------
    UsageError
        If the pattern or a tag makes no sense.
    """

    template: str | None = None
    modality: str | None = None
    pattern: str = PATTERN
    tags: tuple[str, ...] = ()
    rescale: bool = False

    def __post_init__(self) -> None:
        file_names(self.pattern, 1)
        for tag in self.tags:
            if not tag.partition("=")[1] or not tag.partition("=")[0].strip():
                raise UsageError(f"--tag {tag!r}", hint="write it KEYWORD=VALUE, such as PatientID=42")

    @property
    def asked(self) -> bool:
        """Whether anything was asked for."""
        return self != DicomSaving()

    def metadata(self) -> dict[str, Any]:
        """Return tags: keyword -> value."""
        pairs = [(tag.partition("=")[0].strip(), tag.partition("=")[2]) for tag in self.tags]
        return {keyword: _value(keyword, text) for keyword, text in pairs}

    def modality_of(self, header: Header) -> str:
        """Return the modality that an image is written as."""
        from medimg_cli.formats.dicom.writing import MODALITIES

        stated = header.metadata.get("Modality")
        if self.modality is not None:
            return self.modality
        if ("rgb", 3) in header.channel_axes() or (header.affine_source == "picture" and header.shape[3] == 1):
            return "OT"
        return str(stated) if stated in MODALITIES else "MR"


def _value(keyword: str, text: str) -> Any:
    """Return numbers for an element that holds binary ones; the text itself where it is none, or holds none."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    kind = dictionary_VR(keyword) if tag_for_keyword(keyword) is not None else ""
    if not text or kind not in _BINARY:
        return text
    try:
        numbers = [_BINARY[kind](part) for part in text.split("\\")]
    except ValueError:
        return text  # whoever writes it says what is wrong
    return numbers if len(numbers) > 1 else numbers[0]


def is_target(path: str) -> bool:
    """Tell whether a name asks for DICOM.

    >>> is_target("series/"), is_target("seg.dcm"), is_target("series"), is_target("a.zarr/")
    (True, True, False, False)
    """
    return path.lower().endswith(find_format("dicom").suffixes) or _is_folder(path)


def _is_folder(path: str) -> bool:
    return path.endswith("/") and not path.rstrip("/").lower().endswith(".zarr")


def _is_segmentation(header: Header, path: str, saving: DicomSaving) -> bool:
    """Tell whether an image becomes a Segmentation: one that says that it is a label map, or is said to be one."""
    if _is_folder(path) or saving.modality not in (None, "SEG"):
        return False
    return saving.modality == "SEG" or header.intent == "label" or header.labels is not None


def fit(header: Header, path: str, saving: DicomSaving) -> Header:
    """Return what would come back of a header, apart from the order along K.

    Raises
    ------
    UsageError
        If a file is to hold several slices.
    UnsupportedError, GeometryError
        If DICOM cannot hold the image.
    """
    from medimg_cli.formats.dicom import segmenting, writing

    if _is_segmentation(header, path, saving):
        return segmenting.fit(header)
    if saving.modality == "SEG":
        raise UsageError("a Segmentation is one file", path=path, hint=f"name it {path.rstrip('/')}.dcm")
    slices = header.shape[3] * (1 if ("rgb", 3) in header.channel_axes() else header.channels)
    if not _is_folder(path) and slices > 1:
        raise UsageError(f"one DICOM file does not hold {slices} slices", path=path, hint=f"name a folder: {path}/")
    modality = saving.modality_of(header)
    writing.refuse(header, modality)
    wide = writing.WIDE.get(header.dtype, "int16")
    described: Mapping[str, Any] = writing.described(header)
    same = _said_anew(header, modality)
    kept = {
        name: value for name, value in header.metadata.items() if writing.keyword_of(name) in described or name in same
    }
    return header.replace(
        dtype="uint8" if header.dtype == "uint8" and modality == "OT" else wide,
        format="dicom", compression=None,
        affine_source="picture" if writing.is_picture(header, modality) else "dicom",
        labels=None, history=(), extensions=(),
        description=described.get("SeriesDescription", ""), metadata=kept, intent=None, intent_params=(),
        intent_name="", sform=None, qform=None, sform_code=None, qform_code=None, native=None, warnings=(),
    )  # fmt: skip


def _said_anew(header: Header, modality: str) -> set[str]:
    """Return the key-values that come back although the image itself, and not they, says them."""
    from medimg_cli.formats.dicom.writing import thickness

    said, written = header.metadata, {"SliceThickness": thickness(header), "SpacingBetweenSlices": header.spacing[2]}
    sizes = {name: (said[name], size) for name, size in written.items() if name in said}
    same = {n for n, (a, b) in sizes.items() if isinstance(a, (int, float)) and isclose(a, b, rel_tol=1e-5)}
    return same | ({"Modality"} if said.get("Modality") == modality else set())


def save(backend: Backend, path: str, saving: DicomSaving, *, force: bool) -> None:
    """Write an image as a series, a Segmentation or a file.

    Raises
    ------
    MedImgError
        As `writing.save_dicom` and `segmenting.save_segmentation`; nothing has been written then.
    """
    from medimg_cli.formats.dicom.segmenting import save_segmentation
    from medimg_cli.formats.dicom.writing import save_dicom
    from medimg_cli.storage.atomic import AtomicGroup

    if _is_segmentation(backend.header, path, saving):
        save_segmentation(backend, path, template=saving.template, metadata=saving.metadata(), force=force)
        return
    words: dict[str, Any] = {
        "modality": saving.modality_of(backend.header), "metadata": saving.metadata(), "template": saving.template,
        "rescale": saving.rescale,
    }  # fmt: skip
    if _is_folder(path):
        save_dicom(backend, path.rstrip("/"), pattern=saving.pattern, force=force, **words)
        return
    with AtomicGroup(force=force) as group, tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        staged = group.create(path)
        (file,) = save_dicom(backend, os.path.join(folder, "one"), **words)
        with open(file, "rb") as made:
            staged.write(made.read())

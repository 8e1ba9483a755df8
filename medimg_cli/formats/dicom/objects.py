"""What objects that are written have in common: items, codes and numbers, geometry, references, UIDs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from math import hypot
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import GeometryError
from medimg_cli.formats.dicom.vectors import Vector, dot
from medimg_cli.formats.foreign import MOST_SHEAR, one_line
from medimg_cli.header import Header

if TYPE_CHECKING:
    from medimg_cli.formats.dicom.frames import Frame

__all__ = ["check_geometry", "code", "columns", "decimal", "derived_uid", "item", "misfit", "reference"]

_PURPOSE = ("121322", "DCM", "Source image for image processing operation")


def item(**values: Any) -> Any:
    """Return a data set of elements by keyword."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> list[Any]:
    """Return the one item of a sequence of codes (PS3.3, 8.8)."""
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def reference(frame: Frame) -> Any:
    """Return an item that names the image from which something was made."""
    elements = frame.file.elements
    return item(
        ReferencedSOPClassUID=elements.text("SOPClassUID"),
        ReferencedSOPInstanceUID=elements.text("SOPInstanceUID"),
        PurposeOfReferenceCodeSequence=code(*_PURPOSE),
    )


def decimal(value: float) -> str:
    """Write a number in the 16 characters that DICOM has for it (PS3.5, 6.2, DS)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def derived_uid(seed: bytes, what: str) -> str:
    """Return a UID for one thing (PS3.5, B.2): the bits of a UUID of version 8 under 2.25."""
    value = int.from_bytes(sha256(seed + what.encode()).digest()[:16], "big")
    value = value & ~(0xF << 76) | (8 << 76)
    value = value & ~(0x3 << 62) | (2 << 62)
    return f"2.25.{value}"


def misfit(keyword: str, value: Any) -> str:
    """Say why an element cannot have a value; "" where it can."""
    import warnings

    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VM, dictionary_VR
    from pydicom.dataelem import DataElement
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    kind = dictionary_VR(keyword)
    if " or " in kind:
        return f"its type ({kind}) depends on the pixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            element = DataElement(keyword, kind, value, validation_mode=RAISE)
            memory = DicomBytesIO()
            memory.is_little_endian, memory.is_implicit_VR = True, False
            write_data_element(memory, element, ["utf8"])
    except Exception as error:  # pydicom raises what it likes
        return one_line(error).partition(" Please see")[0].partition(" Set 'config")[0]
    if dictionary_VM(keyword) == "1" and element.VM > 1:
        return f"it holds one value, these are {element.VM}"
    return _control_characters(kind, element.value if element.VM > 1 else [element.value])


def _control_characters(kind: str, texts: Sequence[Any]) -> str:
    """Say that texts hold control characters that their type has no room for (PS3.5, 6.1.3)."""
    allowed = "\t\n\f\r" if kind in ("ST", "LT", "UT") else ""
    text = "" if kind == "SQ" else "".join(map(str, texts))
    bad = any(unicodedata.category(each) in ("Cc", "Cs") and each not in allowed for each in text)
    return "it holds control characters" if bad else ""


def columns(header: Header) -> Sequence[Vector]:
    """Return the steps along I, J, K in LPS."""
    return list(zip(*header.affine.to_lps().rows[:3], strict=True))[:3]


def check_geometry(header: Header) -> None:
    """Refuse what rows, columns and positions cannot say.

    Raises
    ------
    GeometryError
        If voxel axes lie in one plane, or rows and columns are not at a right angle.
    """
    i, j, k = columns(header)
    if header.affine.is_singular or hypot(*k) == 0:
        raise GeometryError("DICOM cannot hold voxel axes that lie in one plane")
    cosine = dot(i, j) / (hypot(*i) * hypot(*j))
    if abs(cosine) > MOST_SHEAR / 57.3:
        raise GeometryError("DICOM cannot hold rows and columns that are not at a right angle", hint="resample first")

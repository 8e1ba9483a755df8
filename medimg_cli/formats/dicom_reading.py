"""One DICOM file: pydicom reads its header, up to the pixel data and none of it, and only tags that name nobody.

Decisions:

- Patient, physicians, institution, dates and private tags are never asked for, so that they cannot leak.
- A file without preamble is read as DICOM PS3.10 would be, its encoding told by its first element.
- A deflated data set (PS3.5, A.5) is inflated up to its pixel data, at most 16 MiB: pydicom would inflate all of it.
- What is no single image (segmentations, structures, reports, enhanced and multi-frame objects, mosaics of Siemens
  and UIH) is refused by the name of its SOP class, never guessed at.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from math import isfinite
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.formats.foreign import SourceFile, foreign_errors
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource

__all__ = [
    *("BVALUES", "DESCRIBING", "DicomFile", "Pixels"),
    *("fields", "is_dicom", "number", "numbers", "plain", "read_file", "text"),
]

#: Transfer syntaxes whose pixels lie in the file as they are (PS3.5, A.1 to A.3 and A.5).
IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
NATIVE = frozenset((IMPLICIT, EXPLICIT, BIG, DEFLATED))
#: Length of an element that goes on to a delimiter.
UNDEFINED = 0xFFFFFFFF
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_DIRECTORY = "1.2.840.10008.1.3.10"
#: Bytes of a deflated data set in which its pixel data must start.
_MOST_INFLATED = 1 << 24
_BUFFER = 1 << 13

#: What the image is and where.
_PLACING = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "ImageType", "NumberOfFrames", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
    *("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "DoseGridScaling"),
    *("ModalityLUTSequence", "SharedFunctionalGroupsSequence", "InstanceNumber", "TemporalPositionIdentifier"),
    "TemporalResolution",
)
#: What describes how the image was made, and nobody in it.
DESCRIBING = (
    *("Modality", "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "MagneticFieldStrength"),
    *("SeriesDescription", "ProtocolName", "SeriesNumber", "AcquisitionNumber", "BodyPartExamined"),
    *("PatientPosition", "ScanningSequence", "SequenceVariant", "ScanOptions", "SequenceName"),
    *("MRAcquisitionType", "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "EchoNumbers"),
    *("EchoTrainLength", "PixelBandwidth", "ImagingFrequency", "NumberOfAverages"),
    *("NumberOfPhaseEncodingSteps", "PercentSampling", "PercentPhaseFieldOfView", "ReceiveCoilName"),
    *("InPlanePhaseEncodingDirection", "SAR", "SliceThickness", "SpacingBetweenSlices", "GantryDetectorTilt"),
    *("KVP", "XRayTubeCurrent", "Exposure", "ExposureTime", "ConvolutionKernel", "SpiralPitchFactor"),
    *("ReconstructionDiameter", "Units", "DecayCorrection", "ReconstructionMethod", "Radiopharmaceutical"),
    *("RescaleType", "WindowCenter", "WindowWidth", "ContrastBolusAgent"),
)
#: Diffusion weighting: the standard's, Siemens', Philips' and GE's.
BVALUES = ("DiffusionBValue", 0x0019100C, 0x20011003, 0x00431039)
_OVERLAY_BITS = tuple(0x60000102 + (n << 17) for n in range(16))


class Pixels(NamedTuple):
    """What one frame of a file is made of.

    Parameters
    ----------
    rows, columns, samples : int
    allocated, stored : int
        Bits of a sample in the file, and bits of it that count.
    signed : bool
    planar : bool
        Whether colours follow each other as planes.
    photometric : str
        PhotometricInterpretation.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    planar: bool
    photometric: str

    @property
    def dtype(self) -> str:
        """Stored type."""
        return f"{'' if self.signed else 'u'}int{self.allocated}"

    @property
    def nbytes(self) -> int:
        """Bytes of a frame that is not compressed."""
        return self.rows * self.columns * self.samples * self.allocated // 8


class DicomFile(NamedTuple):
    """The header of one file.

    Parameters
    ----------
    source : ByteSource
        The file.
    stored : ByteSource
        The bytes in which ``offset`` counts: the file, or its inflated data set.
    dataset : pydicom.Dataset
        The tags that were asked for.
    pixels : Pixels
    syntax : str
        UID of the transfer syntax.
    big : bool
        Whether numbers are big-endian.
    offset, length : int
        Where the value of PixelData lies, and how long it says that it is; -1 where there is none.
    position, orientation : tuple of float, or None
        ImagePositionPatient (3) and ImageOrientationPatient (6), LPS in mm.
    spacing : (float, float) or None
        PixelSpacing: between rows, between columns, in mm.
    """

    source: ByteSource
    stored: ByteSource
    dataset: Any
    pixels: Pixels
    syntax: str
    big: bool
    offset: int
    length: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """Name of the file without its folder."""
        return self.source.name.rpartition("/")[2]

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return text(self.dataset, "SeriesInstanceUID")

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept to values; (1, 0) where nothing scales."""
        dose = number(self.dataset, "DoseGridScaling")
        slope = number(self.dataset, "RescaleSlope") if dose is None else dose
        return (1.0 if slope is None else slope), number(self.dataset, "RescaleIntercept") or 0.0


def is_dicom(head: bytes) -> bool:
    """Tell whether the first bytes of a file are DICOM's: DICM behind the preamble, or a first element without one.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"\\x08\\0\\x05\\0CS\\x0a\\0ISO_IR 100"), is_dicom(bytes(200))
    (True, True, False)
    """
    if head[128:132] == b"DICM":
        return True
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[at : at + 2], order) for at in (0, 2))  # type: ignore[arg-type]
        if (group == 2 and element <= 2) or (group == 8 and element <= 0x18):
            explicit = head[4:6].isalpha() and head[4:6].isupper()
            return len(head) >= 16 and (explicit or 0 < int.from_bytes(head[4:8], "little") <= 256)
    return False


def number(dataset: Any, keyword: str) -> float | None:
    """Return a number, the first of several; None where it is absent, empty or no finite number."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def numbers(dataset: Any, keyword: str) -> tuple[float, ...] | None:
    """Return all numbers of an element; None where it is absent, empty or holds something else."""
    try:
        value = dataset.get(keyword)
        items = [value] if isinstance(value, (str, int, float)) else list(value or ())
        found = tuple(float(item) for item in items)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found and all(map(isfinite, found)) else None


def text(dataset: Any, keyword: str | int) -> str:
    """Return an element, named by keyword or number, on one line, printable characters only; "" where it is absent."""
    try:
        value = dataset.get(keyword)
    except (TypeError, ValueError):
        return ""
    if isinstance(keyword, int):
        value = getattr(value, "value", None)
    return "" if value is None else _printable(str(value))


def _printable(words: str) -> str:
    line = " ".join(words.split())
    return line if line.isprintable() else "".join(c for c in line if c.isprintable())


def plain(dataset: Any, keyword: str) -> Any:
    """Return the value of an element as JSON knows it; None where it is absent or empty."""
    found = numbers(dataset, keyword)
    if found is not None:
        values: list[Any] = [int(n) if n.is_integer() and abs(n) < 1 << 53 else n for n in found]
    else:
        try:
            value = dataset.get(keyword)
        except (TypeError, ValueError):
            return None
        parts = [value] if isinstance(value, str) or not isinstance(value, Sequence) else list(value)
        values = [kept for part in parts if part is not None and (kept := _printable(str(part)))]
    return None if not values else values[0] if len(values) == 1 else values


def fields(dataset: Any) -> dict[str, Any]:
    """Return every element that was asked for, by keyword, as JSON knows it; no sequences, no UIDs of instances."""
    kept = (keyword for keyword in (*_PLACING, *DESCRIBING) if not keyword.endswith(("Sequence", "InstanceUID")))
    found = {keyword: plain(dataset, keyword) for keyword in sorted(kept)}
    return {keyword: value for keyword, value in found.items() if value is not None}


def read_file(source: ByteSource) -> DicomFile:
    """Read the header of a file.

    Raises
    ------
    UnsupportedError
        If it is no single image, or one of a kind that this version does not read; the line names the kind.
    FormatError
        If its header contradicts itself.
    """
    with foreign_errors(source.name, "DICOM"):
        if not is_dicom(source.head(132)):
            raise FormatError("is no DICOM file")
        dataset, syntax, stored, at = _parsed(source)
        _refuse_objects(dataset)
        pixels = _pixels(dataset)
        big = dataset.original_encoding[1] is False
        offset, length = _pixel_data(stored, at, big)
        return DicomFile(
            source, stored, dataset, pixels, syntax, big, offset, length,
            _vector(dataset, "ImagePositionPatient", 3),
            _vector(dataset, "ImageOrientationPatient", 6),
            _vector(dataset, "PixelSpacing", 2),
        )  # fmt: skip


def _parsed(source: ByteSource) -> tuple[Any, str, ByteSource, int]:
    """Return tags, transfer syntax, the bytes that hold the pixel data, and where its element starts in them."""
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    tags: Any = _tags()
    start = _deflated_at(source.head(1 << 12))
    if start is None:
        with io.BufferedReader(SourceFile(source), _BUFFER) as file:
            dataset = dcmread(file, stop_before_pixels=True, force=True, specific_tags=tags)
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")).strip()
            if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
                raise UnsupportedError("is a DICOMDIR, a list of files, not an image")
            implicit, little = dataset.original_encoding
            return dataset, syntax or (IMPLICIT if implicit else EXPLICIT if little else BIG), source, file.tell()
    inflated = EncodedSource(source, "deflate", start)
    memory = io.BytesIO(inflated.head(_MOST_INFLATED))
    dataset = read_dataset(memory, False, True, stop_when=_at_pixels, specific_tags=tags)
    if memory.tell() >= _MOST_INFLATED:
        raise FormatError(f"its deflated header goes on for more than {_MOST_INFLATED >> 20} MiB: it could be a bomb")
    return dataset, DEFLATED, inflated, memory.tell()


@cache
def _tags() -> list[Any]:
    """Return all tags that are asked for, as pydicom has them."""
    from pydicom.tag import Tag

    return [Tag(tag) for tag in (*_PLACING, *DESCRIBING, *BVALUES, *_OVERLAY_BITS)]


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return tag in (0x7FE00008, 0x7FE00009, 0x7FE00010)


def _deflated_at(head: bytes) -> int | None:
    """Return where a deflated data set starts, None where a file has none.

    PS3.10, 7.1: the first element behind the preamble is the length of those of group 2 that follow it.
    """
    if head[132:140] != b"\x02\0\0\0UL\x04\0":
        return None
    start = 144 + int.from_bytes(head[140:144], "little")
    return start if b"\x02\0\x10\0UI\x16\0" + DEFLATED.encode() in head[144:start] else None


def _title(dataset: Any) -> str:
    """Return the name of the SOP class."""
    from pydicom.uid import UID

    uid = text(dataset, "SOPClassUID")
    name = UID(uid).name if uid else ""
    return name.removesuffix(" Storage") if name and name != uid else f"object of unknown class {uid[:64]}".rstrip()


def _refuse_objects(dataset: Any) -> None:
    """Refuse what is no single image, by name."""
    if "Rows" not in dataset and "Columns" not in dataset:
        if not len(dataset):
            raise FormatError("nothing in its DICOM header says what it is: cut off, damaged or not an image")
        title = _title(dataset)
        if title.endswith("Image"):
            raise FormatError(f"is a DICOM {title} without Rows and Columns")
        raise UnsupportedError(f"is a DICOM {title}, not an image")
    kind = [str(part).upper() for part in dataset.get("ImageType") or ()]
    if "MOSAIC" in kind or "VFRAME" in kind:
        raise UnsupportedError(f"is a mosaic of slices ({_title(dataset)}), which this version does not read")
    if text(dataset, "SOPClassUID") == _SEGMENTATION:
        raise UnsupportedError("is a DICOM Segmentation, which this version does not read")
    count = _integer(dataset, "NumberOfFrames", 1)
    if count < 1:
        raise FormatError(f"NumberOfFrames is {count}")
    if count > 1:
        raise UnsupportedError(
            f"is a multi-frame {_title(dataset)} of {count} frames, which this version does not read"
        )
    if "SharedFunctionalGroupsSequence" in dataset:
        raise UnsupportedError(f"is an enhanced (multi-frame) {_title(dataset)}, which this version does not read")


def _integer(dataset: Any, keyword: str, missing: int | None = None) -> int:
    value = number(dataset, keyword)
    if value is None and not text(dataset, keyword):
        if missing is not None:
            return missing
        raise FormatError(f"its header has no {keyword}")
    if value is None or not value.is_integer():
        raise FormatError(f"{keyword} is no whole number")
    return int(value)


def _pixels(dataset: Any) -> Pixels:
    """Return what the pixels are, after checking that they can be that."""
    rows, columns = _integer(dataset, "Rows"), _integer(dataset, "Columns")
    samples, allocated = _integer(dataset, "SamplesPerPixel", 1), _integer(dataset, "BitsAllocated")
    stored = _integer(dataset, "BitsStored", allocated)
    if min(rows, columns) < 1:
        raise FormatError(f"an image of {columns} x {rows} pixels has no pixels")
    if samples not in (1, 3):
        raise FormatError(f"SamplesPerPixel is {samples}, expected 1 or 3")
    if allocated not in (8, 16, 32):
        raise UnsupportedError(f"{allocated} bits per sample are not read, only 8, 16 and 32")
    if not 0 < stored <= allocated:
        raise FormatError(f"BitsStored is {stored}, with {allocated} bits allocated")
    if _integer(dataset, "HighBit", stored - 1) != stored - 1:
        raise UnsupportedError("samples that do not start at the lowest bit are not read")
    if any(dataset[tag].value for tag in set(_OVERLAY_BITS).intersection(dataset.keys())):
        raise UnsupportedError("an overlay lies in the unused bits of its pixels, which is not read")
    return Pixels(
        rows, columns, samples, allocated, stored,
        _integer(dataset, "PixelRepresentation", 0) == 1,
        samples > 1 and _integer(dataset, "PlanarConfiguration", 0) == 1,
        text(dataset, "PhotometricInterpretation"),
    )  # fmt: skip


def _vector(dataset: Any, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return so many numbers, None where the element is absent or empty."""
    found = numbers(dataset, keyword)
    if found is None and not text(dataset, keyword):
        return None
    if found is None or len(found) != count:
        raise FormatError(f"{keyword} does not hold {count} numbers")
    return found


def _pixel_data(source: ByteSource, at: int, big: bool) -> tuple[int, int]:
    """Return where the value of PixelData starts and its length; (-1, 0) where the element is not there.

    The bytes tell whether its VR is spelled out: read as a length, OB, OW and UN would be odd, and no length is.
    """
    element = bytearray(12)
    with source.cursor() as cursor:
        got = cursor.readinto(at, memoryview(element))
    order: Any = "big" if big else "little"
    if [int.from_bytes(element[n : n + 2], order) for n in (0, 2)] != [0x7FE0, 0x0010]:
        return -1, 0
    if bytes(element[4:6]) in (b"OB", b"OW", b"UN") and got == 12:
        return at + 12, int.from_bytes(element[8:12], order)
    if got < 8:
        return -1, 0
    return at + 8, int.from_bytes(element[4:8], order)

"""The header of one DICOM file: what it is, what its pixels are, and where they lie.

Decisions:

- Only elements of :mod:`~medimg_cli.formats.dicom.tags` are read: who the patient is, is not among them, and cannot
  leak.
- Plain files are read by :mod:`~medimg_cli.formats.dicom.walker`, all others by pydicom. A file without preamble is
  read as DICOM PS3.10 would be, its encoding told by its first element.
- A deflated data set (PS3.5, A.5) is inflated up to its pixel data, at most 16 MiB: pydicom would inflate all of it.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError, OversizeError, UnknownFormatError, UnsupportedError
from medimg_cli.formats.dicom.elements import Elements, Raw
from medimg_cli.formats.dicom.tags import DESCRIBING, PIXELS, PLACING, PRIVATE, TAGS, vr_of_private
from medimg_cli.formats.dicom.walker import Walked, walk
from medimg_cli.formats.foreign import SourceFile, foreign_errors
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource

__all__ = [
    *("BIG", "DEFLATED", "EXPLICIT", "IMPLICIT", "LABEL_MAP", "NATIVE", "SEGMENTATION", "DicomFile", "Pixels"),
    *("fields", "full_dataset", "is_dicom", "is_directory", "no_image", "read_file", "read_object"),
]

#: Transfer syntaxes whose pixels lie in the file as they are (PS3.5, A.1 to A.3 and A.5).
IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
NATIVE = frozenset((IMPLICIT, EXPLICIT, BIG, DEFLATED))
SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
_DIRECTORY = "1.2.840.10008.1.3.10"
_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
#: Bytes of a deflated data set in which its pixel data must start.
_MOST_INFLATED = 1 << 24
_BUFFER = 1 << 13
#: Elements that hold pixels: floats of 32 and 64 bits, integers (PS3.3, C.7.6.24, C.7.6.25, C.7.6.3).
_PIXELS = {0x7FE00008: 32, 0x7FE00009: 64, 0x7FE00010: 0}
#: What `fields` leaves out beside sequences: instances, and when somebody was there.
_SILENT = frozenset((
    "SOPInstanceUID", "AcquisitionTime", "ContentTime", "FrameAcquisitionDateTime", "SpecificCharacterSet",
))  # fmt: skip


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
    floats : bool
        Whether samples are floating-point numbers.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    planar: bool
    photometric: str
    floats: bool = False

    @property
    def dtype(self) -> str:
        """Stored type; a single bit is a uint8 of 0 and 1."""
        if self.floats:
            return f"float{self.allocated}"
        return f"{'' if self.signed else 'u'}int{max(self.allocated, 8)}"

    @property
    def nbytes(self) -> int:
        """Bytes of a frame that is not compressed; with single bits those that it touches."""
        return (self.rows * self.columns * self.samples * self.allocated + 7) // 8


class DicomFile(NamedTuple):
    """The header of one file.

    Parameters
    ----------
    source : ByteSource
        The file.
    stored : ByteSource
        The bytes in which ``offset`` counts: the file, or its inflated data set.
    elements : Elements
        What was read of it.
    pixels : Pixels
        Of 0 rows where it is no image.
    syntax : str
        UID of the transfer syntax.
    big : bool
        Whether numbers are big-endian.
    offset, length : int
        Where the value of the pixels lies, and how long it says that it is; -1 and 0 where there is none.
    """

    source: ByteSource
    stored: ByteSource
    elements: Elements
    pixels: Pixels
    syntax: str
    big: bool
    offset: int
    length: int

    @property
    def name(self) -> str:
        """Name of the file without its folder."""
        return self.source.name.rpartition("/")[2]

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return self.elements.text("SeriesInstanceUID")

    @property
    def frames(self) -> int:
        """NumberOfFrames; 1 where the file does not say, as many as there are pixels for where it says no number."""
        count = self.elements.number("NumberOfFrames")
        if count is not None:
            return int(count)
        lost = self.syntax in NATIVE and self.length < 1 << 31 and self.elements.text("NumberOfFrames")
        return max(1, self.length // max(self.pixels.nbytes, 1)) if lost else 1

    @property
    def kind(self) -> tuple[str, ...]:
        """ImageType, in upper case."""
        return tuple(part.upper() for part in self.elements.parts("ImageType"))

    @property
    def enhanced(self) -> bool:
        """Whether functional groups say of each frame where it lies (PS3.3, C.7.6.16)."""
        groups = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
        return any(group in self.elements for group in groups)

    @property
    def mosaic(self) -> bool:
        """Whether its one frame holds the slices of a volume as tiles (Siemens, UIH)."""
        kind = self.kind
        return ("MOSAIC" in kind or "VFRAME" in kind) and not self.enhanced and self.frames == 1

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a DICOM Segmentation, of masks or of labels (PS3.3, A.51)."""
        return self.elements.text("SOPClassUID") in (SEGMENTATION, LABEL_MAP)

    @property
    def is_image(self) -> bool:
        """Whether it has rows and columns."""
        return self.pixels.rows > 0

    @property
    def title(self) -> str:
        """Name of its SOP class."""
        return _title(self.elements)

    @property
    def scaling(self) -> tuple[float, float]:
        """Slope and intercept to values; (1, 0) where nothing scales."""
        dose = self.elements.number("DoseGridScaling")
        slope = self.elements.number("RescaleSlope") if dose is None else dose
        return (1.0 if slope is None else slope), self.elements.number("RescaleIntercept") or 0.0

    def vector(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Return so many numbers, None where the element is absent or empty.

        Raises
        ------
        FormatError
            If it holds something else.
        """
        found = self.elements.numbers(keyword)
        if found is None and not self.elements.text(keyword):
            return None
        if found is None or len(found) != count:
            raise FormatError(f"{keyword} does not hold {count} numbers", path=self.source.name)
        return found


def is_dicom(head: bytes) -> bool:
    """Tell whether the first bytes of a file are DICOM's: DICM behind the preamble, or a first element without one.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"\\x08\\0\\x05\\0CS\\x0a\\0ISO_IR 100"), is_dicom(bytes(200))
    (True, True, False)
    """
    if head[128:132] == b"DICM":
        return True
    for order in ("little", "big"):
        group, element = (int.from_bytes(head[at : at + 2], order) for at in (0, 2))  # type: ignore[arg-type]
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        if (group == 2 and element <= (0x10 if explicit else 2)) or (group == 8 and element <= 0x18):
            return len(head) >= 16 and (explicit or 0 < int.from_bytes(head[4:8], "little") <= 256)
    return False


def is_directory(source: ByteSource) -> bool:
    """Tell whether a DICOM file is a DICOMDIR, a list of others (PS3.10, 8)."""
    head = source.head(400)
    return b"\x02\0\x02\0UI" in head and _DIRECTORY.encode() in head


def fields(elements: Elements) -> dict[str, Any]:
    """Return the elements that describe a file, by keyword, as JSON knows them."""
    kept = (keyword for keyword in (*PIXELS, *PLACING, *DESCRIBING) if keyword not in _SILENT)
    found = {keyword: elements.plain(keyword) for keyword in sorted(kept) if not keyword.endswith("Sequence")}
    return {keyword: value for keyword, value in found.items() if value is not None}


def read_file(source: ByteSource) -> DicomFile:
    """Read the header of an image.

    Raises
    ------
    UnsupportedError
        If it is no image; the line names what it is.
    FormatError
        If its header contradicts itself.
    """
    found = read_object(source)
    if not found.is_image:
        raise no_image(found)
    return found


def no_image(file: DicomFile) -> UnsupportedError:
    """Return what to say of an object that is no image; of contours, also what to do."""
    contours = file.elements.text("SOPClassUID") == _STRUCTURES
    hint = "its contours are not read: make a label map of them first, as 3D Slicer or plastimatch can"
    return UnsupportedError(
        f"is a DICOM {file.title}, not an image", path=file.source.name, hint=hint if contours else None
    )


def read_object(source: ByteSource) -> DicomFile:
    """Read the header of any DICOM object; one that is no image has pixels of 0 rows.

    Raises
    ------
    FormatError
        If it is no DICOM file, or its header contradicts itself.
    UnsupportedError
        If it is a DICOMDIR, or its pixels are of a kind that is not read.
    """
    walked = walk(source)
    if walked is not None:
        elements = Elements(walked.raw, source)
        pixels = _pixels(elements, walked.tag, source.name)
        return DicomFile(source, source, elements, pixels, walked.syntax, False, walked.offset, walked.length)
    with foreign_errors(source.name, "DICOM"):
        if not is_dicom(source.head(132)):
            raise UnknownFormatError("is no DICOM file")
        walked, stored, big = _parsed(source)
        elements = Elements(walked.raw, source)
        pixels = _pixels(elements, walked.tag, source.name)
        return DicomFile(source, stored, elements, pixels, walked.syntax, big, walked.offset, walked.length)


def full_dataset(file: DicomFile, *tags: str) -> Any:
    """Return a file as pydicom has it, up to its pixels: for sequences, which `Elements` does not hold.

    Parameters
    ----------
    file : DicomFile
    *tags : str
        Keywords of what is needed.

    Returns
    -------
    pydicom.Dataset
    """
    from pydicom import dcmread
    from pydicom.filereader import read_dataset

    if file.stored is not file.source:
        memory = io.BytesIO(file.stored.head(_MOST_INFLATED))
        return read_dataset(memory, False, True, stop_when=_at_pixels, specific_tags=[_tag(tag) for tag in tags])
    with io.BufferedReader(SourceFile(file.source), _BUFFER) as opened:
        return dcmread(opened, stop_before_pixels=True, force=True, specific_tags=list(tags))


def _tag(keyword: str) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


def _parsed(source: ByteSource) -> tuple[Walked, ByteSource, bool]:
    """Return what pydicom finds, the bytes that hold the pixel data, and whether numbers are big-endian."""
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
            syntax = syntax or (IMPLICIT if implicit else EXPLICIT if little else BIG)
            return Walked(_raw(dataset), syntax, *_pixel_data(source, file.tell(), not little)), source, not little
    inflated = EncodedSource(source, "deflate", start)
    memory = io.BytesIO(inflated.head(_MOST_INFLATED))
    dataset = read_dataset(memory, False, True, stop_when=_at_pixels, specific_tags=tags)
    if memory.tell() >= _MOST_INFLATED:
        raise OversizeError(f"its deflated header goes on for more than {_MOST_INFLATED >> 20} MiB: it could be a bomb")
    return Walked(_raw(dataset), DEFLATED, *_pixel_data(inflated, memory.tell(), False)), inflated, False


def _raw(dataset: Any) -> dict[int, Raw]:
    """Return the elements of pydicom's data set as they are stored."""
    known = dict(TAGS.values())
    found: dict[int, Raw] = {}
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        vr = getattr(element, "VR", None)
        value = getattr(element, "value", None)
        if vr == "SQ":
            value = b""
        elif not isinstance(value, bytes):
            several: Any = value if not isinstance(value, str) and hasattr(value, "__iter__") else [value]
            value = b"" if value is None else "\\".join(map(str, several)).encode("latin-1", "replace")
        if vr is None or vr == "UN":
            vr = known.get(int(tag)) or ("LO" if tag & 0xFFFF < 0x100 else vr_of_private(int(tag)))
        found[int(tag)] = vr, value, not getattr(element, "is_little_endian", True)
    return found


@cache
def _tags() -> list[Any]:
    """Return all tags that are asked for, as pydicom has them."""
    from pydicom.tag import Tag

    blocks = range(0x10, 0x14)
    creators = {group << 16 | block for group, _ in PRIVATE for block in blocks}
    private = {group << 16 | block << 8 | low for group, low in PRIVATE for block in blocks}
    return [Tag(tag) for tag in (*(tag for tag, _ in TAGS.values()), *creators, *private)]


def _at_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return tag in _PIXELS


def _deflated_at(head: bytes) -> int | None:
    """Return where a deflated data set starts, None where a file has none.

    PS3.10, 7.1: the first element behind the preamble is the length of those of group 2 that follow it.
    """
    if head[132:140] != b"\x02\0\0\0UL\x04\0":
        return None
    start = 144 + int.from_bytes(head[140:144], "little")
    return start if b"\x02\0\x10\0UI\x16\0" + DEFLATED.encode() in head[144:start] else None


def _title(elements: Elements) -> str:
    from pydicom.uid import UID

    uid = elements.text("SOPClassUID")
    name = UID(uid).name if uid else ""
    return name.removesuffix(" Storage") if name and name != uid else f"object of unknown class {uid[:64]}".rstrip()


def _integer(elements: Elements, keyword: str, missing: int | None = None) -> int:
    value = elements.number(keyword)
    if value is None and not elements.text(keyword):
        if missing is not None:
            return missing
        raise FormatError(f"its header has no {keyword}")
    if value is None or not value.is_integer():
        raise FormatError(f"{keyword} is no whole number")
    return int(value)


def _pixels(elements: Elements, tag: int, name: str) -> Pixels:
    """Return what the pixels are, after checking that they can be that."""
    try:
        return _checked(elements, tag)
    except (FormatError, UnsupportedError) as error:
        raise error.at(name) from None


def _checked(elements: Elements, tag: int) -> Pixels:
    if "Rows" not in elements and "Columns" not in elements:
        if not elements.text("SOPClassUID").replace(".", "").isdecimal():
            raise UnknownFormatError("nothing in its DICOM header says what it is: cut off, damaged or not an image")
        if (title := _title(elements)).endswith("Image"):
            raise FormatError(f"is a DICOM {title} without Rows and Columns: cut off or damaged")
        return Pixels(0, 0, 0, 8, 8, False, False, "")
    rows, columns = _integer(elements, "Rows"), _integer(elements, "Columns")
    floats = _PIXELS.get(tag, 0)
    samples, allocated = _integer(elements, "SamplesPerPixel", 1), _integer(elements, "BitsAllocated", floats or None)
    stored = allocated if floats else _integer(elements, "BitsStored", allocated)
    if min(rows, columns) < 1:
        raise FormatError(f"an image of {columns} x {rows} pixels has no pixels")
    if samples not in (1, 3):
        raise FormatError(f"SamplesPerPixel is {samples}, expected 1 or 3")
    if allocated not in (1, 8, 16, 32) and allocated != floats:
        raise UnsupportedError(f"{allocated} bits per sample are not read, only 1, 8, 16 and 32")
    if not 0 < stored <= allocated:
        raise FormatError(f"BitsStored is {stored}, with {allocated} bits allocated")
    if not floats and _integer(elements, "HighBit", stored - 1) != stored - 1:
        raise UnsupportedError("samples that do not start at the lowest bit are not read")
    if any(elements.number(f"OverlayBitPosition{n}") for n in range(16)):
        raise UnsupportedError("an overlay lies in the unused bits of its pixels, which is not read")
    count = elements.number("NumberOfFrames")  # one that is no number is 1, and the length of the pixels tells
    if count is not None and (count < 1 or not count.is_integer()):
        raise FormatError(f"NumberOfFrames is {count:.15g}")
    return Pixels(
        rows, columns, samples, allocated, stored,
        _integer(elements, "PixelRepresentation", 0) == 1,
        samples > 1 and _integer(elements, "PlanarConfiguration", 0) == 1,
        elements.text("PhotometricInterpretation"),
        bool(floats),
    )  # fmt: skip


def _pixel_data(source: ByteSource, at: int, big: bool) -> tuple[int, int, int]:
    """Return element, place and length of the pixels; (0, -1, 0) where they are not there.

    The bytes tell whether its VR is spelled out: read as a length, OB, OW, OF, OD and UN would be odd, and none is.
    """
    element = bytearray(12)
    with source.cursor() as cursor:
        got = cursor.readinto(at, memoryview(element))
    order: Any = "big" if big else "little"
    tag = int.from_bytes(element[:2], order) << 16 | int.from_bytes(element[2:4], order)
    if tag not in _PIXELS or got < 8:
        return 0, -1, 0
    if bytes(element[4:6]) in (b"OB", b"OW", b"OF", b"OD", b"UN") and got == 12:
        return tag, at + 12, int.from_bytes(element[8:12], order)
    return tag, at + 8, int.from_bytes(element[4:8], order)

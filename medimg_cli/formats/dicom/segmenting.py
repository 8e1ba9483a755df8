"""Write a label map as a DICOM Segmentation (PS3.3, A.51): one file, with all labels.

Decisions:

- SegmentationType is BINARY, which every reader knows: one bit a pixel, frames by segment and then along the normal.
  Only slices that hold a segment get a frame, and the first and last of the image in any case, so that its grid can be
  told from the file.
- SegmentNumber counts 1, 2, 3 ... in order of the labels (PS3.3, C.8.20.2.4). Where a label is another number, a
  private element of its segment keeps it.
- Names, colours and numbers of a table are kept; opacity, abbreviations and the row of 0, the background, are not.
- A segment is "Tissue" in SNOMED CT: a table says no more. Nothing is known of how it was made, either.
- Patient, study and frame of reference are those of the template, or empty. The label map may lie in another order of
  axes than the template, as it does when it was drawn on a NIfTI copy; it is turned without a change of values.
- UIDs are derived from the content (PS3.5, B.2) and nothing tells the time of writing: same image, same bytes. Dates
  that may not be empty are those of the template, else 1 January 1900.
- pydicom writes, not highdicom: that asks for the source images, which a label map need not have, and writes the time.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from hashlib import sha256
from math import hypot
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import Backend, view
from medimg_cli.errors import CastError, GeometryError, UnsupportedError, UsageError
from medimg_cli.formats.dicom.cielab import lab_of
from medimg_cli.formats.dicom.elements import printable
from medimg_cli.formats.dicom.objects import (
    check_geometry,
    code,
    columns,
    decimal,
    derived_uid,
    item,
    misfit,
    reference,
)
from medimg_cli.formats.dicom.reading import EXPLICIT, SEGMENTATION
from medimg_cli.formats.dicom.segmentations import LABEL_BLOCK
from medimg_cli.formats.dicom.templates import fitting, images_in, values
from medimg_cli.header import Header
from medimg_cli.labels import Label, LabelTable, some
from medimg_cli.orientation import transform_between
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.formats.dicom.frames import Frame
    from medimg_cli.grid import Grid

__all__ = ["fit", "save_segmentation"]

#: What a template hands on, and what metadata may say.
_INHERITED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyInstanceUID", "StudyDate"),
    *("StudyTime", "StudyID", "StudyDescription", "ReferringPhysicianName", "AccessionNumber", "FrameOfReferenceUID"),
    "PositionReferenceIndicator",
)
_GIVEN = frozenset((
    *_INHERITED, *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime"),
    *("BodyPartExamined", "ContentLabel", "ContentDescription", "ContentCreatorName", "ContentDate", "ContentTime"),
    *("Manufacturer", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions", "InstanceNumber"),
))  # fmt: skip
#: Type 2 attributes: there, and empty where nobody knows.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "PositionReferenceIndicator"),
    *("ContentDescription", "ContentCreatorName"),
)
_TISSUE = ("85756007", "SCT", "Tissue")
_DERIVATION = ("113076", "DCM", "Segmentation")
#: Segments, largest label, and bytes of pixels at most.
_MOST_SEGMENTS, _MOST_LABEL, _MOST_BYTES = (1 << 16) - 1, (1 << 32) - 1, (1 << 32) - 2


class _Template(NamedTuple):
    """The images that a label map was drawn on: their grid, their frames by K, and patient and study."""

    grid: Grid
    frames: tuple[Frame, ...]
    inherited: dict[str, Any]


class _Masks(NamedTuple):
    """Labels, and which of them is in which slice: (place in labels, K), in order of writing."""

    voxels: np.ndarray[Any, Any]
    labels: tuple[Label, ...]
    frames: tuple[tuple[int, int], ...]
    overlap: bool


def save_segmentation(
    backend: Backend,
    path: str,
    *,
    template: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    force: bool = False,
) -> str:
    """Write a label map as one DICOM Segmentation.

    Parameters
    ----------
    backend : Backend
        Whole numbers, 0 where nothing is; several channels may overlap if no label is in two of them.
    path : str
        The file; its folder exists.
    template : str, optional
        DICOM folder or file of the images that it belongs to: patient, study and frame of reference are taken from
        them, and they are referred to. Of several series, the one that lies on the same grid.
    metadata : mapping, optional
        Keyword of DICOM -> value, for patient, study, series, equipment and content.
    force : bool
        Replace a file.

    Returns
    -------
    str
        The file.

    Raises
    ------
    CastError
        If values are no whole numbers from 0 to 4294967295.
    GeometryError
        If the grids of label map and template differ, with the distance in mm; or if rows and columns are not at a
        right angle.
    UnsupportedError
        If there are time points or colours, or a label is in two channels.
    UsageError
        If metadata hold something else, or no single series of the template lies on the grid.
    StorageError
        If the file exists and ``force`` is not given.
    """
    given = _checked(metadata or {})
    _refuse(backend.header)
    source = None if template is None else _template(template, backend.header.grid)
    if source is not None:
        backend = _turned(backend, source.grid)
    check_geometry(backend.header)
    masks = _masks(backend)
    made = _dataset(masks, backend.header, source, given)
    _add_frames(made, masks, backend.header, source)
    with AtomicGroup(force=force) as group:
        group.create(path).write(_encoded(made))
    return path


def fit(header: Header) -> Header:
    """Return what would come back of a header, apart from the type that labels need and the order along K.

    Raises
    ------
    GeometryError
        If rows and columns are not at a right angle.
    UnsupportedError
        If there are time points or colours.
    """
    _refuse(header)
    check_geometry(header)
    rows = [(each.value, _name(each), each.color and each.color[:3]) for each in header.labels or () if each.value]
    return Header(
        shape=header.shape, dtype=header.dtype, affine=header.affine, format="dicom", axes=header.axes,
        affine_source="dicom", intent="label", labels=LabelTable(rows) if rows else None,
        description=_description(header),
    )  # fmt: skip


def _checked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata that can be written."""
    for keyword, value in metadata.items():
        if keyword not in _GIVEN:
            raise UsageError(f"{printable(str(keyword))[:64]} cannot be set in a segmentation")
        problem = misfit(keyword, value)
        if problem:
            raise UsageError(f"{keyword} cannot be {printable(str(value))[:80]!r}: {problem}")
    return dict(metadata)


def _refuse(header: Header) -> None:
    kinds = [kind for kind, size in header.channel_axes() if size > 1]
    if any(kind != "channel" for kind in kinds):
        raise UnsupportedError(f"a DICOM Segmentation holds no axis {' x '.join(kinds)}", hint="pick one channel")


# the template


def _template(path: str, grid: Grid) -> _Template:
    """Return the series of a source that lies on a grid, its axes in any order."""
    found = images_in(path)
    same = fitting(found, grid)
    if not same:
        off, own = min(((grid.reoriented(own.orientation).mm_shift(own), own) for _, own in found), key=itemgetter(0))
        shapes = f"{' x '.join(map(str, grid.shape))} voxels, its own {' x '.join(map(str, own.shape))}"
        raise GeometryError(
            f"the label map ({shapes}) lies {off:.4g} mm off it", path=path, hint="resample it like the template"
        )
    if len(same) > 1:
        words = some(str(series) for series, _ in same)
        raise UsageError(f"{len(same)} series lie on the grid of the label map: {words}", hint="give one file")
    series, own = same[0]
    assert series.stack is not None
    return _Template(own, series.stack.volumes[0], values(series, _INHERITED))


def _turned(backend: Backend, grid: Grid) -> Backend:
    """Return a label map with its axes in the order of a grid, on that very grid."""
    header = backend.header
    way = transform_between(header.orientation, grid.orientation)
    spans = [(old, range(size) if sign > 0 else range(size - 1, -1, -1))
             for (old, sign), size in zip(way, grid.shape, strict=True)]  # fmt: skip
    turned = header.replace(shape=(header.channels, *grid.shape), affine=grid.affine)
    return view(backend, range(header.channels), spans, turned)


# the voxels


def _masks(backend: Backend) -> _Masks:
    """Return which labels are where."""
    header = backend.header
    voxels = _whole_numbers(backend.read(whole(header.shape)))
    present = [[_present(channel[..., k]) for k in range(voxels.shape[3])] for channel in voxels]
    used = [set().union(*slices) for slices in present]
    everywhere = set().union(*used)
    if sum(map(len, used)) > len(everywhere):
        raise UnsupportedError("a label is in several channels, of which a segmentation can say nothing")
    table = {label.value: label for label in header.labels or ()}
    values = sorted((everywhere | set(table)) - {0}) or [1]
    if len(values) > _MOST_SEGMENTS or values[-1] > _MOST_LABEL:
        raise UnsupportedError(f"{len(values)} labels up to {values[-1]} are more than a segmentation counts")
    labels = tuple(table.get(value, Label(value)) for value in values)
    rank = {value: n for n, value in enumerate(values)}
    frames = {(rank[value], k) for slices in present for k, inside in enumerate(slices) for value in inside}
    ends = {0, voxels.shape[3] - 1} - {k for _, k in frames}
    frames |= {(0, k) for k in ends}
    order = 1 if header.affine.determinant > 0 else -1
    overlap = len(voxels) > 1 and bool(((voxels != 0).sum(axis=0) > 1).any())
    return _Masks(voxels, labels, tuple(sorted(frames, key=lambda frame: (frame[0], order * frame[1]))), overlap)


def _present(plane: np.ndarray[Any, Any]) -> set[int]:
    """Return the labels in a slice."""
    import numpy as np

    counted = plane.max() < 1 << 16
    found = np.flatnonzero(np.bincount(plane.reshape(-1))) if counted else np.unique(plane)
    return set(found.tolist()) - {0}


def _whole_numbers(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return values as whole numbers from 0 on, refuse all others."""
    import numpy as np

    if values.dtype.kind == "c":
        raise CastError("complex numbers are no labels")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and bool((values == np.rint(values)).all())):
        raise CastError("some values are no whole numbers: this is no label map", hint="round them first")
    if values.min() < 0 or values.max() > _MOST_LABEL:
        raise CastError(f"labels from {values.min()} to {values.max()} cannot be segments, only 1 to {_MOST_LABEL}")
    return values.astype("uint32") if values.dtype.kind == "f" or values.dtype == bool else values


def _packed(masks: _Masks) -> bytes:
    """Return all frames as bits without padding between them, the first pixel lowest."""
    import numpy as np

    size = masks.voxels.shape[1] * masks.voxels.shape[2]
    if len(masks.frames) * size // 8 > _MOST_BYTES:
        raise UnsupportedError(f"{len(masks.frames)} frames of {size} bits are more than one DICOM file holds")
    content, rest = bytearray(), np.zeros(0, bool)
    for rank, k in masks.frames:
        inside = (masks.voxels[..., k] == masks.labels[rank].value).any(axis=0).T.reshape(-1)
        bits = np.concatenate((rest, inside)) if rest.size else inside
        full = bits.size // 8 * 8
        content += np.packbits(bits[:full], bitorder="little").tobytes()
        rest = bits[full:]
    content += np.packbits(rest, bitorder="little").tobytes()
    return bytes(content) + b"\0" * (len(content) % 2)


# the object


def _dataset(masks: _Masks, header: Header, source: _Template | None, given: Mapping[str, Any]) -> Any:
    """Return the object with its pixels, without functional groups."""
    from medimg_cli import __version__

    pixels = _packed(masks)
    inherited = source.inherited if source is not None else {}
    said = {
        **dict.fromkeys(_EMPTY, ""),
        "SeriesDescription": _description(header) or "Segmentation",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "Manufacturer": "medimg",
        "ManufacturerModelName": "medimg-cli",
        "DeviceSerialNumber": "0",
        "SoftwareVersions": __version__,
        "ContentLabel": "SEGMENTATION",
        "ContentDate": inherited.get("StudyDate", "19000101"),
        "ContentTime": inherited.get("StudyTime", "000000"),
        **inherited,
        **given,
    }
    seed = (said, masks.labels, masks.frames, masks.voxels.shape, header.affine.rows, _references(source))
    digest = sha256(repr(seed).encode() + pixels).digest()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        said.setdefault(keyword, derived_uid(digest, keyword))
    made = item(
        **said, SOPClassUID=SEGMENTATION, SOPInstanceUID=derived_uid(digest, "SOPInstanceUID"),
        SpecificCharacterSet="ISO_IR 192", Modality="SEG", ImageType=["DERIVED", "PRIMARY"],
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0,
        Rows=header.shape[2], Columns=header.shape[1], BitsAllocated=1, BitsStored=1, HighBit=0,
        LossyImageCompression="00", SegmentationType="BINARY", SegmentsOverlap="YES" if masks.overlap else "NO",
        NumberOfFrames=len(masks.frames), PixelData=pixels,
        SegmentSequence=[_segment(n, label) for n, label in enumerate(masks.labels, 1)],
    )  # fmt: skip
    made["PixelData"].VR = "OB"
    _add_dimensions(made, derived_uid(digest, "DimensionOrganizationUID"))
    if source is not None:
        series = source.frames[0].file.series
        instances = [item(ReferencedSOPClassUID=kind, ReferencedSOPInstanceUID=uid)
                     for kind, uid in dict.fromkeys(_references(source))]  # fmt: skip
        made.ReferencedSeriesSequence = [item(SeriesInstanceUID=series, ReferencedInstanceSequence=instances)]
    return made


def _references(source: _Template | None) -> list[tuple[str, str]]:
    """Return class and instance of the image of each slice."""
    frames = source.frames if source is not None else ()
    return [(frame.file.elements.text("SOPClassUID"), frame.file.elements.text("SOPInstanceUID")) for frame in frames]


def _description(header: Header) -> str:
    """Return a description in the 64 characters that DICOM has for it."""
    return printable(header.description).replace("\\", "/")[:64].strip()


def _name(label: Label) -> str:
    """Return a name as DICOM can hold it; a label without one is called by its number."""
    return printable(label.name).replace("\\", "/")[:1024].strip() or f"Label {label.value}"


def _segment(number: int, label: Label) -> Any:
    name = _name(label)
    made = item(
        SegmentNumber=number, SegmentLabel=name[:64], SegmentAlgorithmType="SEMIAUTOMATIC",
        SegmentAlgorithmName="unknown", SegmentedPropertyCategoryCodeSequence=code(*_TISSUE),
        SegmentedPropertyTypeCodeSequence=code(*_TISSUE),
    )  # fmt: skip
    if len(name) > 64:
        made.SegmentDescription = name
    if label.color is not None:
        made.RecommendedDisplayCIELabValue = list(lab_of(label.color))
    if label.value != number:
        group, creator, element = LABEL_BLOCK
        made.private_block(group, creator, create=True).add_new(element, "UL", label.value)
    return made


def _add_dimensions(made: Any, uid: str) -> None:
    """Say that frames count by segment, then by position (PS3.3, C.7.6.17)."""
    from pydicom.datadict import tag_for_keyword

    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=uid)]
    made.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=uid, DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=tag_for_keyword(group), DimensionDescriptionLabel=keyword,
        )
        for keyword, group in (
            ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
            ("ImagePositionPatient", "PlanePositionSequence"),
        )
    ]  # fmt: skip


def _add_frames(made: Any, masks: _Masks, header: Header, source: _Template | None) -> None:
    """Say of each frame where it lies and which segment it is."""
    i, j, _ = columns(header)
    sizes = [hypot(*i), hypot(*j)]
    thickness = abs(header.affine.determinant) / (sizes[0] * sizes[1])
    cosines = [decimal(part / size) for step, size in zip((i, j), sizes, strict=True) for part in step]
    measures = item(
        SliceThickness=decimal(thickness), SpacingBetweenSlices=decimal(thickness),
        PixelSpacing=[decimal(sizes[1]), decimal(sizes[0])],
    )  # fmt: skip
    made.SharedFunctionalGroupsSequence = [
        item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[item(ImageOrientationPatient=cosines)])
    ]
    made.PerFrameFunctionalGroupsSequence = list(_groups(masks, header, source))


def _groups(masks: _Masks, header: Header, source: _Template | None) -> Iterator[Any]:
    lps, last = header.affine.to_lps(), header.shape[3] - 1
    for rank, k in masks.frames:
        place = k if header.affine.determinant > 0 else last - k
        position = [decimal(part) for part in lps.apply((0, 0, k))]
        group = item(
            FrameContentSequence=[item(DimensionIndexValues=[rank + 1, place + 1])],
            PlanePositionSequence=[item(ImagePositionPatient=position)],
            SegmentIdentificationSequence=[item(ReferencedSegmentNumber=rank + 1)],
        )
        if source is not None:
            group.DerivationImageSequence = [_derivation(source.frames[k])]
        yield group


def _derivation(frame: Frame) -> Any:
    """Return which image a frame was drawn on."""
    image = reference(frame)
    image.SpatialLocationsPreserved = "YES"
    if frame.file.frames > 1:
        image.ReferencedFrameNumber = frame.at + 1
    return item(SourceImageSequence=[image], DerivationCodeSequence=code(*_DERIVATION))


def _encoded(made: Any) -> bytes:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    memory = io.BytesIO()
    made.save_as(memory, enforce_file_format=True)
    return memory.getvalue()

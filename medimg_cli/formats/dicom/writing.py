"""Write an image as a series of DICOM files, one a slice.

Decisions:

- Classic single-frame objects: MR, CT or PET Image, or Secondary Capture for everything else; explicit VR little
  endian.
- Slices are numbered along row x column (PS3.3, C.7.6.2.1.1): of an image with left-handed axes the last one along K
  comes first. Nothing is resampled and no row is turned round, so that the voxels come back where they were.
- Stored numbers and their slope are kept: 8 and 16 bits as they are (MR, CT and PET have 16), wider integers and floats
  where all of them are whole numbers that 16 bits hold. Others need ``rescale``, which spreads the values over 16 bits
  and stores slope and intercept.
- UIDs are derived from the content (PS3.5, B.2: 2.25 and a UUID), dates stay empty: same image, same bytes.
- Patient and study are empty unless ``metadata`` name them or a template has them; a folder appears whole or not
  at all.
- Values of ``metadata`` go before those of the template, and those before what the header of the image says.
- A series with a template gets its SeriesNumber + 1000.
- A Manufacturer that nobody knows is "Unknown", which is read as none: MRtrix 3 crashes where it is empty.
- PET has slope and intercept 0, and times that may not be empty: 1 January 1900, midnight, where nobody knows them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import hypot
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import Backend, numpy_dtype
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import CastError, UnsupportedError, UsageError
from medimg_cli.formats.dicom.objects import check_geometry, columns, decimal, derived_uid, item, misfit, reference
from medimg_cli.formats.dicom.series_files import PATTERN, file_names, write_files
from medimg_cli.formats.dicom.tags import DESCRIBING, NOBODY
from medimg_cli.formats.dicom.vectors import cross, times
from medimg_cli.header import Header
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.formats.dicom.frames import Frame
    from medimg_cli.formats.dicom.templates import Template

__all__ = ["MODALITIES", "WIDE", "described", "is_picture", "keyword_of", "refuse", "save_dicom", "thickness"]

#: Modality -> SOP class, ImageType, and what its objects must say beside.
MODALITIES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "MR": ("1.2.840.10008.5.1.4.1.1.4", ("DERIVED", "SECONDARY", "OTHER"), {
        "ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "",
        "EchoTime": None, "EchoTrainLength": None, "RepetitionTime": None,
    }),
    "CT": ("1.2.840.10008.5.1.4.1.1.2", ("DERIVED", "SECONDARY", "AXIAL"), {
        "KVP": None, "AcquisitionNumber": None, "RescaleType": "HU",
    }),
    "PT": ("1.2.840.10008.5.1.4.1.1.128", ("DERIVED", "PRIMARY"), {
        "SeriesDate": "19000101", "SeriesTime": "000000", "AcquisitionDate": "19000101", "AcquisitionTime": "000000",
        "Units": "NONE", "CountsSource": "EMISSION", "DecayCorrection": "NONE", "CorrectedImage": "",
        "CollimatorType": "NONE", "FrameReferenceTime": 0, "ActualFrameDuration": 0,
        "RadiopharmaceuticalInformationSequence": [], "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
    }),
    "OT": ("1.2.840.10008.5.1.4.1.1.7", ("DERIVED", "SECONDARY"), {"ConversionType": "WSD", "PatientOrientation": ""}),
}  # fmt: skip
#: Type 2 attributes of patient, study, series and equipment: there, and empty where nobody knows.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "PositionReferenceIndicator"),
    *("Laterality", "PatientPosition"),
)
#: What the image itself says, and no metadata may contradict.
_OWN = frozenset((
    *("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelData"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"),
    *("SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "Modality", "TransferSyntaxUID"),
    *("SpecificCharacterSet", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("ImageType", "SourceImageSequence", "ImageIndex", "NumberOfSlices", "NumberOfTimeSlices", "SeriesType"),
))  # fmt: skip
_BIDS = {"ManufacturersModelName": "ManufacturerModelName", "EchoNumber": "EchoNumbers"}
_SECONDS = frozenset(("RepetitionTime", "EchoTime", "InversionTime", "ExposureTime"))
#: dtype -> what 16 bits make of it.
WIDE = {"bool": "uint16", "uint8": "uint16", "int8": "int16", "uint16": "uint16", "int16": "int16"}


def save_dicom(
    backend: Backend,
    folder: str,
    *,
    modality: str = "MR",
    metadata: Mapping[str, Any] | None = None,
    template: str | None = None,
    pattern: str = PATTERN,
    series_number: int | None = None,
    description: str | None = None,
    rescale: bool = False,
    force: bool = False,
) -> list[str]:
    """Write an image as one series of DICOM files.

    Parameters
    ----------
    backend : Backend
        The image: one channel, time points, or three colours of uint8.
    folder : str
        Made for the series; its parent folder exists.
    modality : str
        "MR", "CT", "PT" or "OT" (Secondary Capture).
    metadata : mapping, optional
        Keyword of DICOM -> value, for patient, study, series and equipment; UIDs of study, series and frame of
        reference may be given, too.
    template : str, optional
        DICOM folder or file whose patient, study, equipment and acquisition the series takes over; the frame of
        reference, too, where both lie on one grid.
    pattern : str
        Name of each file, with one field for InstanceNumber: ``IM{:04d}.dcm``.
    series_number : int, optional
        Left out: that of the template + 1000, or none.
    description : str, optional
        SeriesDescription; left out: that of the image.
    rescale : bool
        Spread values that 16 bits do not hold over 16 bits, with slope and intercept.
    force : bool
        Replace a folder that holds DICOM files and nothing else.

    Returns
    -------
    list of str
        The files, in order of InstanceNumber.

    Raises
    ------
    UsageError
        If there is no such modality or keyword, or metadata contradict the image.
    GeometryError
        If rows and columns are not at a right angle.
    CastError
        If 16 bits do not hold the values and ``rescale`` is not given, or some are no finite numbers.
    StorageError
        If the folder exists and ``force`` is not given.
    """
    given = _checked(metadata or {})
    header = backend.header
    colours = refuse(header, modality)
    extra = {"SeriesNumber": series_number, "SeriesDescription": description}
    given.update(_checked({keyword: value for keyword, value in extra.items() if value is not None}))
    names = file_names(pattern, header.shape[3] * (1 if colours else header.channels))
    source = _template(template, header, modality)
    stored, slope, inter = _stored(backend, modality, rescale)
    known = {**described(header), **(source.inherited if source else {})}
    if source is not None and source.number is not None:
        known["SeriesNumber"] = source.number + 1000
    shared = {**_common(header, modality, known), **known, **_scaling(slope, inter, modality), **given}
    if modality == "PT":
        shared.pop("PatientPosition", None)  # its code sequences stand for it
    shared.update(_uids(stored, header, shared))
    slices = _slices(stored, header, shared, colours, source.frames if source else ())
    return write_files(zip(names, slices, strict=True), folder, force)


def refuse(header: Header, modality: str) -> bool:
    """Refuse images that are no series; tell whether channels are colours.

    Raises
    ------
    UsageError, UnsupportedError, GeometryError
        As `save_dicom`.
    """
    if modality not in MODALITIES:
        raise UsageError(f"modality {modality!r} cannot be written", hint=f"use one of {', '.join(MODALITIES)}")
    colours = _channels(header, modality)
    check_geometry(header)
    if is_complex(header.dtype):
        raise UnsupportedError("DICOM holds no complex numbers", hint="save magnitude and phase")
    return colours


def _template(path: str | None, header: Header, modality: str) -> Template | None:
    if path is None:
        return None
    from medimg_cli.formats.dicom.templates import read_template

    return read_template(path, header.grid, modality)


def _checked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata whose keywords exist and belong to nobody else."""
    from pydicom.datadict import tag_for_keyword

    for keyword, value in metadata.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise UsageError(f"DICOM has no keyword {keyword!r}")
        if keyword in _OWN or tag >> 16 < 8:  # groups below 8 are of messages, files and media (PS3.5, 7.1)
            raise UsageError(f"{keyword} is what the image itself says", hint="leave it out of metadata")
        problem = misfit(keyword, value)
        if problem:
            raise UsageError(f"{keyword} cannot be {str(value)[:80]!r}: {problem}")
    return dict(metadata)


def _channels(header: Header, modality: str) -> bool:
    """Tell whether channels are colours; refuse those that are neither colours nor time."""
    kinds = tuple(kind for kind, size in header.channel_axes() if size > 1)
    if kinds == ("rgb",) and header.channels == 3 and header.dtype == "uint8":
        if modality == "OT":
            return True
        raise UnsupportedError(f"DICOM {modality} holds no colours", hint="use modality='OT' (--modality OT)")
    if kinds not in ((), ("time",)) and not (header.gradients and len(kinds) == 1):
        raise UnsupportedError(f"a DICOM series holds no axis {' x '.join(kinds)}", hint="pick one channel")
    return False


# numbers


def _stored(backend: Backend, modality: str, rescale: bool) -> tuple[np.ndarray[Any, Any], float, float]:
    """Return numbers of 8 or 16 bits with their slope and intercept."""
    header = backend.header
    raw = backend.read(whole(header.shape), raw=True)
    slope, inter = (header.slope or 1.0, header.inter or 0.0) if header.scaled else (1.0, 0.0)
    if header.dtype == "uint8" and modality == "OT":
        return raw, slope, inter
    if header.dtype in WIDE:
        return raw.astype(WIDE[header.dtype], copy=False), slope, inter
    return _narrowed(raw, rescale, slope, inter)


def _narrowed(
    raw: np.ndarray[Any, Any], rescale: bool, slope: float, inter: float
) -> tuple[np.ndarray[Any, Any], float, float]:
    """Return numbers of 16 bits for wider ones."""
    import numpy as np

    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise CastError("some values are no finite numbers, which DICOM cannot hold", hint="replace them first")
    low, high = raw.min(), raw.max()
    for dtype in ("int16", "uint16"):
        limits = np.iinfo(dtype)
        if limits.min <= low and high <= limits.max and (raw.dtype.kind != "f" or bool((raw == np.rint(raw)).all())):
            return raw.astype(dtype), slope, inter
    if not rescale:
        what = "are no whole numbers" if raw.dtype.kind == "f" else f"reach from {low} to {high}"
        raise CastError(f"its values {what}, DICOM holds 16 bits", hint="add rescale=True, or cast it first (--dtype)")
    first = float(decimal(float(low)))
    step = float(decimal((float(high) - first) / 65535)) or 1.0
    numbers = np.rint((raw.astype("float64") - first) / step)
    return np.clip(numbers, 0, 65535).astype("uint16"), slope * step, inter + slope * first


def _scaling(slope: float, inter: float, modality: str) -> dict[str, Any]:
    if modality == "PT" and inter:
        raise UnsupportedError(f"DICOM PT holds no intercept ({inter:g})", hint="use another modality")
    if (slope, inter) == (1.0, 0.0) and modality not in ("CT", "PT"):
        return {}
    found = {"RescaleSlope": decimal(slope), "RescaleIntercept": decimal(inter)}
    return found if modality in ("CT", "PT") else {**found, "RescaleType": "US"}


# words


def described(header: Header) -> dict[str, Any]:
    """Return what the header says of the acquisition, in the units of DICOM, as far as DICOM has room for it."""
    found: dict[str, Any] = {}
    for name, value in header.metadata.items():
        keyword = keyword_of(name)
        if keyword in DESCRIBING and keyword not in _OWN:
            found[keyword] = value * 1000 if keyword in _SECONDS and isinstance(value, (int, float)) else value
    found = {keyword: value for keyword, value in found.items() if not misfit(keyword, value)}
    if header.description:
        found["SeriesDescription"] = "".join(c for c in header.description if c.isprintable() and c != "\\")[:64]
    return found


def keyword_of(name: str) -> str:
    """Return the keyword of DICOM for a name of BIDS."""
    return _BIDS.get(name, name)


def thickness(header: Header) -> float:
    """Return SliceThickness in mm: what the image says of it, else the step between its slices."""
    said = header.metadata.get("SliceThickness")
    plausible = isinstance(said, (int, float)) and 0 < said < 1e6
    return float(said) if plausible and said is not None else header.affine.spacing[2]


def _common(header: Header, modality: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all slices say alike."""
    uid, kind, needed = MODALITIES[modality]
    steps = columns(header)
    sizes = [hypot(*step) for step in steps]
    return {
        **({"SeriesType": ["STATIC", "IMAGE"], "NumberOfSlices": header.shape[3]} if modality == "PT" else {}),
        **{keyword: None for keyword in _EMPTY if keyword not in known},
        **{keyword: value for keyword, value in needed.items() if keyword not in known},
        "SOPClassUID": uid,
        "Modality": modality,
        "ImageType": list(kind),
        "SpecificCharacterSet": "ISO_IR 192",
        "Manufacturer": NOBODY,
        **(_sized(sizes) if is_picture(header, modality) else _placed(header, steps, sizes)),
    }


def is_picture(header: Header, modality: str) -> bool:
    """Tell whether an image is written without a place: a picture that says nothing of where it lies."""
    return modality == "OT" and header.affine_source == "picture" and header.shape[3] == 1


def _sized(sizes: Sequence[float]) -> dict[str, Any]:
    """Return the pixel size of a picture (PS3.3, C.8.6.1); nothing where it is the one that stands for none."""
    known = tuple(sizes[:2]) != (1.0, 1.0)
    return {"NominalScannedPixelSpacing": [decimal(sizes[1]), decimal(sizes[0])]} if known else {}


def _placed(header: Header, steps: Sequence[Sequence[float]], sizes: Sequence[float]) -> dict[str, Any]:
    """Return what all slices say of where they lie (PS3.3, C.7.6.2)."""
    return {
        "PixelSpacing": [decimal(sizes[1]), decimal(sizes[0])],
        "ImageOrientationPatient": [
            decimal(x / size) for step, size in zip(steps[:2], sizes, strict=False) for x in step
        ],
        "SliceThickness": decimal(thickness(header)),
        "SpacingBetweenSlices": decimal(sizes[2]),
    }


def _uids(stored: np.ndarray[Any, Any], header: Header, shared: Mapping[str, Any]) -> dict[str, str]:
    """Return the UIDs of study, series and frame of reference, derived from all that is written."""
    said = (stored.shape, stored.dtype.str, header.affine.rows, sorted(shared.items(), key=str))
    digest = sha256(repr(said).encode())
    for channel in stored:
        digest.update(channel.tobytes(order="K"))
    seed = digest.digest()
    frame = ("FrameOfReferenceUID",) if "ImageOrientationPatient" in shared else ()
    names = ("StudyInstanceUID", "SeriesInstanceUID", *frame)
    return {name: str(shared.get(name) or derived_uid(seed, name)) for name in names}


# slices


def _slices(
    stored: np.ndarray[Any, Any],
    header: Header,
    shared: Mapping[str, Any],
    colours: bool,
    sources: Sequence[Sequence[Frame]],
) -> Iterator[Any]:
    """Yield the data set of each slice, volume by volume along the normal."""
    count, volumes = stored.shape[3], 1 if colours else stored.shape[0]
    order = range(count) if header.affine.determinant > 0 else range(count - 1, -1, -1)
    lps = header.affine.to_lps()
    weights = _weights(header)
    for t in range(volumes):
        for n, k in enumerate(order):
            made = item(**shared)
            number = t * count + n + 1
            made.InstanceNumber = number
            made.SOPInstanceUID = derived_uid(shared["SeriesInstanceUID"].encode(), f"instance {number}")
            if "ImageOrientationPatient" in shared:
                made.ImagePositionPatient = [decimal(x) for x in lps.apply((0, 0, k))]
            if shared["Modality"] == "PT":
                made.ImageIndex = number
                if volumes > 1:
                    made.SeriesType, made.NumberOfTimeSlices = ["DYNAMIC", "IMAGE"], volumes
                    made.FrameReferenceTime = decimal(1000 * t * (header.time_spacing or 0))
            if volumes > 1:
                _set_time(made, t, volumes, header.time_spacing)
            if weights:
                _set_weight(made, *weights[t])
            if sources:
                made.SourceImageSequence = _references(sources[k], t)
            _set_pixels(made, stored[:, :, :, k] if colours else stored[t : t + 1, :, :, k])
            yield made


def _set_time(made: Any, t: int, volumes: int, step: float | None) -> None:
    made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = t + 1, volumes
    made.AcquisitionNumber = t + 1
    if step:
        made.TemporalResolution = decimal(step * 1000)


def _weights(header: Header) -> list[tuple[float, list[float] | None]]:
    """Return b-value and direction (LPS) of each channel (PS3.3, C.8.13.5.9); none where there are none."""
    if header.gradients is None:
        return []
    handed = 1.0 if header.affine.determinant > 0 else -1.0
    i, j, _ = (tuple(x / hypot(*step) for x in step) for step in columns(header))
    k = times(cross(i, j), handed)
    found: list[tuple[float, list[float] | None]] = []
    for value, (x, y, z) in zip(*header.gradients, strict=True):
        direction = [-handed * x * a + y * b + z * c + 0.0 for a, b, c in zip(i, j, k, strict=True)]
        length = hypot(*direction)
        found.append((value, [part / length for part in direction] if value > 0 and length > 1e-6 else None))
    return found


def _set_weight(made: Any, value: float, direction: list[float] | None) -> None:
    made.DiffusionBValue = value
    made.DiffusionDirectionality = "DIRECTIONAL" if direction else "ISOTROPIC" if value else "NONE"
    if direction:
        made.DiffusionGradientOrientation = direction


def _references(frames: Sequence[Frame], t: int) -> list[Any]:
    """Return items for the slices of the template that a slice stands for: that of its time, or all."""
    chosen = (frames[t],) if len(frames) > 1 and t < len(frames) else frames
    items = [reference(frame) for frame in chosen]
    return [each for each in items if each.ReferencedSOPClassUID and each.ReferencedSOPInstanceUID]


def _set_pixels(made: Any, pixels: np.ndarray[Any, Any]) -> None:
    """Set the pixel module of a slice (samples, I, J)."""
    samples, columns, rows = pixels.shape
    made.SamplesPerPixel, made.Rows, made.Columns = samples, rows, columns
    made.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples == 3:
        made.PlanarConfiguration = 0
    bits = 8 * pixels.dtype.itemsize
    made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    data = pixels.transpose(2, 1, 0).astype(numpy_dtype(pixels.dtype.name, "little")).tobytes()
    made.PixelData = data + b"\0" * (len(data) % 2)
    made["PixelData"].VR = "OW" if bits > 8 else "OB"

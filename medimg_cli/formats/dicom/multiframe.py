"""Multi-frame objects: where each of their frames lies, and what is said of it alone.

Enhanced objects say it in functional groups (PS3.3, C.7.6.16): a macro of the frame, else that of all frames.
`Frame.facts` has what they say under the keyword and in the unit of the classic element:

- EchoTime in ms (EffectiveEchoTime), RepetitionTime, InversionTime, FlipAngle, PixelBandwidth, ImagingFrequency ...;
- ImageType (FrameType), ComplexImageComponent, DiffusionBValue, DiffusionDirectionality, DiffusionGradientOrientation;
- StackID, InStackPositionNumber, DimensionIndexValues, TemporalPositionIdentifier (TemporalPositionIndex),
  AcquisitionNumber (FrameAcquisitionNumber), TriggerTime in ms, AcquisitionTime (of FrameAcquisitionDateTime, whose
  day is left out), FrameReferenceTime in ms;
- SliceThickness, SpacingBetweenSlices, WindowCenter, WindowWidth, RescaleSlope, RescaleIntercept, RescaleType;
- what else of `tags` the classic data sets of Philips (2005,140F), Siemens XA (0021,xxFE) and converters hold:
  InstanceNumber, EchoNumbers, PhilipsImageKind, PhilipsPhaseNumber ...

Decisions:

- Where the macros of the standard and the data set of a maker differ, the standard counts. Philips' own position is
  half a pixel off, its own ImageType is another.
- Values are stored numbers times RescaleSlope plus RescaleIntercept of PixelValueTransformationSequence, which may
  differ from frame to frame; Philips' own ones count where there is no such sequence. dcm2niix divides the values of
  Philips by RescaleSlope and PhilipsScaleSlope ("precise" values, its option ``-p y``); with ``-p n`` it agrees.
  RealWorldValueMappingSequence is not applied.
- Functional groups for more or fewer frames than there are contradict the file: nothing says which frame is which.

Other multi-frame objects:

- RT Dose: GridFrameOffsetVector starts with 0 and holds distances along the normal (row x column) from
  ImagePositionPatient, or starts with z of ImagePositionPatient and holds the z of each plane of axial images
  (C.8.8.3.2). dcm2niix 1.0.20220720 does not read it and takes 1 mm.
- Reconstructed NM: position and orientation of the detector, slices SpacingBetweenSlices apart along the normal,
  against it where that is negative (C.8.4.15), in the order of SliceVector; TimeSlotVector numbers the phases.
- All others (ultrasound, secondary captures, XA): frames are time points; FrameTimeVector, FrameTime, CineRate or
  RecommendedDisplayFrameRate say when (TriggerTime, ms after the first). A position is that of all frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import isfinite
from typing import Any

from medimg_cli.errors import FormatError, GeometryError, OversizeError, UnsupportedError
from medimg_cli.formats.dicom.elements import Elements
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.groups import Group, nested, per_frame, shared
from medimg_cli.formats.dicom.reading import NATIVE, DicomFile
from medimg_cli.formats.dicom.tags import PRIVATE, TAGS
from medimg_cli.formats.dicom.vectors import Vector, moved, normal_of
from medimg_cli.formats.dicom.walker import UNDEFINED

__all__ = ["frames"]

#: Frames of a file at most, and how many of those that it announces may be missing; bytes of an encoded one at least.
_MOST, _MOST_MISSING, _LEAST_BYTES = 1 << 18, 1 << 16, 8
#: SOP classes whose frames are no slices of a patient, and what they are.
_OTHER = {
    "1.2.840.10008.5.1.4.1.1.77.1.6": "are tiles, not slices",
    "1.2.840.10008.5.1.4.1.1.6.2": "lie in a volume of their own, not in the patient",
}
_DETECTORS = 0x00540022
#: How far the start of GridFrameOffsetVector may be off a position, in mm, and a normal off an axis.
_NEAR, _STRAIGHT = 0.01, 1e-3
#: Elements of functional groups -> classic ones that say the same, and by what to multiply their numbers.
_CLASSIC = {
    "EffectiveEchoTime": ("EchoTime", 1.0), "InversionTimes": ("InversionTime", 1.0),
    "TransmitterFrequency": ("ImagingFrequency", 1.0), "SpecificAbsorptionRateValue": ("SAR", 1.0),
    "MRAcquisitionPhaseEncodingStepsInPlane": ("NumberOfPhaseEncodingSteps", 1.0),
    "TemporalPositionIndex": ("TemporalPositionIdentifier", 1.0), "FrameAcquisitionNumber": ("AcquisitionNumber", 1.0),
    "NominalCardiacTriggerDelayTime": ("TriggerTime", 1.0), "TemporalPositionTimeOffset": ("FrameReferenceTime", 1e3),
    "ExposureTimeInms": ("ExposureTime", 1.0), "XRayTubeCurrentInmA": ("XRayTubeCurrent", 1.0),
    "ExposureInmAs": ("Exposure", 1.0), "FrameType": ("ImageType", 1.0),
}  # fmt: skip
_GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
#: What classic data sets in functional groups do not decide: geometry, pixels and identity are those of the file.
_NOT_OWN = frozenset((
    *_GEOMETRY, "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber",
    "FrameOfReferenceUID", "SpecificCharacterSet", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames",
    "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
))  # fmt: skip
_KEYWORDS = {tag: keyword for keyword, (tag, _) in TAGS.items()}
_NUMERIC = frozenset(("DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"))


def frames(file: DicomFile) -> list[Frame]:
    """Return the frames of a multi-frame object, in the order in which they are stored.

    Parameters
    ----------
    file : DicomFile
        With functional groups, or of several frames.

    Raises
    ------
    UnsupportedError
        If its frames are no slices of a patient: segments, tiles of a slide, planes of an ultrasound volume; or if
        they are too many.
    FormatError
        If it has not the frames that it announces, or its functional groups are damaged or of other frames.
    GeometryError
        If nothing says where the planes of a dose lie.
    """
    if file.is_segmentation:
        raise UnsupportedError("is a DICOM Segmentation: its frames are segments, not slices")
    other = _OTHER.get(file.elements.text("SOPClassUID"))
    if other is not None:
        raise UnsupportedError(f"is a {file.title}: its frames {other}")
    _check_count(file)
    if file.enhanced:
        return _enhanced(file)
    if "GridFrameOffsetVector" in file.elements:
        return _dose(file)
    if file.elements.text("Modality") == "NM" and any(word.startswith("RECON") for word in file.kind):
        return _nuclear(file)
    return _film(file)


def _check_count(file: DicomFile) -> None:
    """Check that a file can hold the frames that it announces, before there is an object for each."""
    count, pixels = file.frames, file.pixels
    held = max((file.stored.size or 0) - file.offset, 0)
    if file.syntax in NATIVE and file.length != UNDEFINED:
        subsampled = pixels.photometric.endswith("_422")
        bits = pixels.rows * pixels.columns * pixels.allocated * (2 if subsampled else pixels.samples)
        room = (min(held, file.length) if file.stored.size else file.length) * 8 // max(bits, 1)
    else:
        room = held // _LEAST_BYTES
    if count > max(room, _MOST_MISSING):
        raise OversizeError(f"announces {count} frames, and has pixel data for {room} at most", path=file.source.name)
    if count > _MOST:
        raise UnsupportedError(f"has {count} frames, more than {_MOST} are not read", path=file.source.name)


# enhanced objects


def _enhanced(file: DicomFile) -> list[Frame]:
    """Return the frames that functional groups describe."""
    group = shared(file)
    common, common_own = _facts(group), _own_facts(group)
    if "PerFrameFunctionalGroupsSequence" not in file.elements:
        return [_frame(file, at, {**common_own, **common}) for at in range(file.frames)]
    found: list[Frame] = []
    count = file.frames
    for each in per_frame(file):
        if len(found) == count:
            raise FormatError(f"NumberOfFrames is {count}, it says of more where they lie", path=file.source.name)
        found.append(_frame(file, len(found), {**common_own, **_own_facts(each), **common, **_facts(each)}))
    if len(found) < count:
        raise FormatError(f"NumberOfFrames is {count}, it says of {len(found)} where they lie", path=file.source.name)
    return found


def _frame(file: DicomFile, at: int, facts: dict[str, Any]) -> Frame:
    """Return a frame of whatever functional groups say of it."""
    _complete(facts)
    position, orientation, spacing = (
        _vector(file, keyword, count, facts.pop(keyword, None))
        for keyword, count in zip(_GEOMETRY, (3, 6, 2), strict=True)
    )
    slope, inter = file.scaling
    if "RescaleSlope" in facts:
        slope, inter = _first(facts["RescaleSlope"], slope), _first(facts.get("RescaleIntercept"), 0.0)
    return Frame(file, at, position, orientation, spacing, (slope, inter), facts)


def _vector(file: DicomFile, keyword: str, count: int, value: Any) -> Vector | None:
    """Return so many numbers of a fact, of the file where there is none."""
    if value is None:
        return file.vector(keyword, count)
    if not isinstance(value, tuple) or len(value) != count:
        raise FormatError(f"{keyword} does not hold {count} numbers", path=file.source.name)
    return value


def _first(value: Any, otherwise: float) -> float:
    value = value[0] if isinstance(value, tuple) else value
    return value if isinstance(value, float) else otherwise


def _facts(group: Group) -> dict[str, Any]:
    """Return what the macros of the standard say, by classic keyword."""
    found: dict[str, Any] = {}
    for tag in group.elements.raw:
        keyword = _KEYWORDS.get(tag)
        value = None if keyword is None else _value(group.elements, keyword)
        if keyword is None or value is None:
            continue
        name, factor = _CLASSIC.get(keyword, (keyword, 1.0))
        found[name] = value * factor if factor != 1 and isinstance(value, float) else value
    moment = found.pop("FrameAcquisitionDateTime", None)
    if moment and len(str(moment)) >= 14:
        found["AcquisitionTime"] = str(moment)[8:].partition("+")[0].partition("-")[0]
    if found.get("InPlanePhaseEncodingDirection") == "COLUMN":
        found["InPlanePhaseEncodingDirection"] = "COL"
    if found.get("DiffusionDirectionality") == "NONE":
        found.setdefault("DiffusionBValue", 0.0)
    return found


def _value(elements: Elements, keyword: str) -> Any:
    """Return a number, several as a tuple, or text; None where an element is empty or no number."""
    row = TAGS.get(keyword)
    vr = row[1] if row else _VRS[keyword]
    if vr not in _NUMERIC:
        return elements.text(keyword) or None
    numbers = elements.numbers(keyword)
    return None if not numbers else numbers[0] if len(numbers) == 1 else numbers


_VRS = {keyword: vr for keyword, vr, _ in PRIVATE.values()}


def _own_facts(group: Group) -> dict[str, Any]:
    """Return what classic data sets of makers and converters say."""
    found: dict[str, Any] = {}
    for elements in group.own:
        for tag in elements.raw:
            keyword = _KEYWORDS.get(tag)
            if keyword is None and tag >> 16 & 1 and tag & 0xFFFF >= 0x1000:
                keyword = PRIVATE.get((tag >> 16, tag & 0xFF), (None,))[0]
            value = None if keyword is None or keyword in _NOT_OWN else _value(elements, keyword)
            if keyword is not None and value is not None:
                found[keyword] = value
    if not found.get("InversionTime", 1):
        del found["InversionTime"]
    return found


def _complete(facts: dict[str, Any]) -> None:
    """Add the diffusion weighting of Philips where the standard's macro is missing."""
    value = facts.get("PhilipsBValue")
    if "DiffusionBValue" in facts or not isinstance(value, float) or not 0 < value < 1e5:
        return
    direction = tuple(facts.get(f"PhilipsGradient{axis}") for axis in "XYZ")
    facts["DiffusionBValue"] = value
    if facts.get("PhilipsDiffusionKind") != "I" and all(isinstance(part, float) for part in direction):
        facts["DiffusionGradientOrientation"] = direction


# other objects


def _dose(file: DicomFile) -> list[Frame]:
    """Return the planes of a dose."""
    offsets = file.elements.numbers("GridFrameOffsetVector")
    position, orientation = file.vector("ImagePositionPatient", 3), file.vector("ImageOrientationPatient", 6)
    if offsets is None or len(offsets) != file.frames:
        said = "no numbers" if offsets is None else f"{len(offsets)} numbers"
        raise FormatError(f"has {file.frames} frames, and GridFrameOffsetVector {said}", path=file.source.name)
    if position is None or orientation is None:
        return _film(file)
    normal = normal_of(orientation)
    if abs(offsets[0]) > _NEAR:
        if abs(offsets[0] - position[2]) > _NEAR or abs(normal[2]) < 1 - _STRAIGHT:
            raise GeometryError(
                f"GridFrameOffsetVector starts with {offsets[0]:g}: neither 0 nor the z of axial planes",
                path=file.source.name,
            )
        places = [(*position[:2], offset) for offset in offsets]
    else:
        places = [moved(position, normal, offset) for offset in offsets]
    spacing = file.vector("PixelSpacing", 2)
    return [Frame(file, at, place, orientation, spacing, file.scaling) for at, place in enumerate(places)]


def _nuclear(file: DicomFile) -> list[Frame]:
    """Return the slices of a reconstructed nuclear medicine image."""
    detector = nested(file, _DETECTORS)
    said = {} if detector is None else {keyword: detector.numbers(keyword) for keyword in _GEOMETRY[:2]}
    position = _vector(file, _GEOMETRY[0], 3, said.get(_GEOMETRY[0]))
    orientation = _vector(file, _GEOMETRY[1], 6, said.get(_GEOMETRY[1]))
    step = file.elements.number("SpacingBetweenSlices") or file.elements.number("SliceThickness")
    if position is None or orientation is None or not step:
        return _film(file)
    normal, spacing = normal_of(orientation), file.vector("PixelSpacing", 2)
    slices = _numbering(file, "SliceVector") or [float(at + 1) for at in range(file.frames)]
    slots = _numbering(file, "TimeSlotVector")
    return [
        Frame(
            file, at, moved(position, normal, (number - 1) * step), orientation, spacing, file.scaling,
            {"TemporalPositionIdentifier": slots[at]} if slots else {},
        )
        for at, number in enumerate(slices)
    ]  # fmt: skip


def _numbering(file: DicomFile, keyword: str) -> Sequence[float] | None:
    """Return a number for each frame, None where there are others or none."""
    numbers = file.elements.numbers(keyword)
    return numbers if numbers is not None and len(numbers) == file.frames else None


def _film(file: DicomFile) -> list[Frame]:
    """Return frames that are time points."""
    position, orientation = file.vector("ImagePositionPatient", 3), file.vector("ImageOrientationPatient", 6)
    spacing, times = file.vector("PixelSpacing", 2), _times(file)
    found = []
    for at in range(file.frames):
        facts: dict[str, Any] = {"TemporalPositionIdentifier": at + 1.0}
        if times is not None:
            facts["TriggerTime"] = times[at]
        found.append(Frame(file, at, position, orientation, spacing, file.scaling, facts))
    return found


def _times(file: DicomFile) -> list[float] | None:
    """Return when each frame was taken, in ms after the first; None where nothing says it (PS3.3, C.7.6.5)."""
    elements, count = file.elements, file.frames
    steps = _numbering(file, "FrameTimeVector")
    if steps is not None:
        times = list(accumulate(steps[1:], initial=0.0))
        return times if isfinite(times[-1]) else None
    step = elements.number("FrameTime")
    if not step:
        rate = elements.number("CineRate") or elements.number("RecommendedDisplayFrameRate")
        step = 1000 / rate if rate and rate > 0 else None
    if step is None or not 0 < step < 1e9:
        return None
    return [at * step for at in range(count)]

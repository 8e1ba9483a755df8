"""What files say of how an image was made, under the names and in the units of BIDS, and what is odd about it.

What is said here holds whatever is done to the axes of an image: it goes into headers. What names an axis (direction
of phase encoding, times of slices) is left to :mod:`~medimg_cli.formats.dicom.bids`.

Names that tell who the patient is, who and what was there, and when, are not among what is read.

Decisions:

- Several values of one element are one text with backslashes between, as in DICOM; ImageType is a list (BIDS).
- Seconds between volumes are, in this order: the mean step of AcquisitionTime from volume to volume where it is even;
  TemporalResolution; RepetitionTime of echo-planar images; FrameTime of films; the step of TriggerTime. Where a volume
  takes many excitations the RepetitionTime says nothing about volumes, and none of it is said (dcm2niix says it).
- AcquisitionTime within 50 ms of the RepetitionTime of echo-planar images is rounded by the scanner's clock:
  RepetitionTime is exact (dcm2niix decides likewise).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from medimg_cli.formats.dicom.elements import Elements, plain, printable
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.mosaics import doubt
from medimg_cli.formats.dicom.reading import DicomFile, full_dataset
from medimg_cli.formats.dicom.tags import DESCRIBING, NOBODY
from medimg_cli.formats.dicom.vectors import Vector

__all__ = ["DAY", "Told", "acquisition", "clock", "doubts", "metadata", "time_spacing"]

#: Name in BIDS -> keywords that hold it, the first that is there counts; text, numbers, and times in seconds (from ms).
_TEXTS = {
    "Modality": ("Modality",), "Manufacturer": ("Manufacturer",), "ManufacturersModelName": ("ManufacturerModelName",),
    "BodyPartExamined": ("BodyPartExamined",), "PatientPosition": ("PatientPosition",),
    "SoftwareVersions": ("SoftwareVersions",), "MRAcquisitionType": ("MRAcquisitionType",),
    "SeriesDescription": ("SeriesDescription",), "ProtocolName": ("ProtocolName",),
    "ScanningSequence": ("ScanningSequence", "SiemensScanningSequence"),
    "SequenceVariant": ("SequenceVariant", "SiemensSequenceVariant"),
    "ScanOptions": ("ScanOptions", "SiemensScanOptions"), "SequenceName": ("SequenceName",),
    "PulseSequenceName": ("PulseSequenceName", "GEPulseSequenceName"),
    "InternalPulseSequenceName": ("GEInternalPulseSequenceName",), "ReceiveCoilName": ("ReceiveCoilName",),
    "ImagedNucleus": ("ImagedNucleus", "ResonantNucleus"), "PartialFourierDirection": ("PartialFourierDirection",),
    "ParallelAcquisitionTechnique": ("ParallelAcquisitionTechnique",), "ConvolutionKernel": ("ConvolutionKernel",),
    "FilterType": ("FilterType",), "Units": ("Units",), "DecayCorrection": ("DecayCorrection",),
    "AttenuationCorrectionMethod": ("AttenuationCorrectionMethod",), "SeriesType": ("SeriesType",),
    "ScatterCorrectionMethod": ("ScatterCorrectionMethod",), "ReconstructionMethod": ("ReconstructionMethod",),
    "RandomsCorrectionMethod": ("RandomsCorrectionMethod",), "CorrectedImage": ("CorrectedImage",),
}  # fmt: skip
_NUMBERS = {
    "MagneticFieldStrength": ("MagneticFieldStrength",), "SeriesNumber": ("SeriesNumber",),
    "ImagingFrequency": ("ImagingFrequency", "TransmitterFrequency"), "AcquisitionNumber": ("AcquisitionNumber",),
    "SliceThickness": ("SliceThickness",), "SpacingBetweenSlices": ("SpacingBetweenSlices",),
    "SAR": ("SAR", "SpecificAbsorptionRateValue"), "NumberOfAverages": ("NumberOfAverages",),
    "EchoNumber": ("EchoNumbers",), "FlipAngle": ("FlipAngle",), "EchoTrainLength": ("EchoTrainLength",),
    "PercentPhaseFOV": ("PercentPhaseFieldOfView",), "PercentSampling": ("PercentSampling",),
    "PixelBandwidth": ("PixelBandwidth",), "WaterFatShift": ("PhilipsWaterFatShift",),
    "ParallelReductionFactorInPlane": ("ParallelReductionFactorInPlane",),
    "ParallelReductionFactorOutOfPlane": ("ParallelReductionFactorOutOfPlane",),
    "AcquisitionDuration": ("AcquisitionDuration",), "KVP": ("KVP",), "XRayTubeCurrent": ("XRayTubeCurrent",),
    "XRayExposure": ("Exposure",), "GantryDetectorTilt": ("GantryDetectorTilt",),
    "SpiralPitchFactor": ("SpiralPitchFactor",), "DoseCalibrationFactor": ("DoseCalibrationFactor",),
    "ScatterFraction": ("ScatterFractionFactor",), "PhilipsScaleSlope": ("PhilipsScaleSlope",),
}  # fmt: skip
_SECONDS = {
    "EchoTime": ("EchoTime", "EffectiveEchoTime"), "RepetitionTime": ("RepetitionTime",),
    "InversionTime": ("InversionTime", "InversionTimes"), "ExposureTime": ("ExposureTime",),
    "ActualFrameDuration": ("ActualFrameDuration",), "FrameReferenceTime": ("FrameReferenceTime",),
}  # fmt: skip
#: What says nothing where it is 0, and what says nothing where it is 1 or less.
_POSITIVE = frozenset((
    "EchoTime", "RepetitionTime", "InversionTime", "SliceThickness", "SpacingBetweenSlices", "ImagingFrequency", "SAR",
    "MagneticFieldStrength", "PixelBandwidth", "WaterFatShift", "AcquisitionDuration", "ExposureTime", "EchoNumber",
    "XRayTubeCurrent", "XRayExposure", "PhilipsScaleSlope",
))  # fmt: skip
_ABOVE_ONE = frozenset((
    "NumberOfAverages", "EchoTrainLength", "ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane",
))  # fmt: skip
#: Elements of `DESCRIBING` that follow an axis of the image, or that `acquisition` reads in its own way.
_ASIDE = frozenset((
    "InPlanePhaseEncodingDirection", "AcquisitionMatrix", "RectilinearPhaseEncodeReordering", "Spoiling",
    "MagnetizationTransfer", "NumberOfPhaseEncodingSteps", "MRAcquisitionPhaseEncodingStepsInPlane", "PartialFourier",
    "RadiopharmaceuticalInformationSequence", "Radiopharmaceutical", "EchoPlanarPulseSequence", "ReceiveCoilName",
))  # fmt: skip
_READ = frozenset(keyword for rows in (_TEXTS, _NUMBERS, _SECONDS) for names in rows.values() for keyword in names)
_SPOILING = {"RF": "RF", "GRADIENT": "GRADIENT", "RF_AND_GRADIENT": "COMBINED"}
#: How a manufacturer's name starts, in upper case -> how dcm2niix calls it.
_MAKERS = {
    "SIEMENS": "Siemens", "GE ": "GE", "PHILIPS": "Philips", "TOSHIBA": "Toshiba", "CANON": "Canon", "UIH": "UIH",
    "HITACHI": "Hitachi", "BRUKER": "Bruker", "MEDISO": "Mediso", "MR SOLUTIONS": "MRSolutions",
}  # fmt: skip
#: Name in BIDS -> keyword of an item of RadiopharmaceuticalInformationSequence.
_INJECTION = {
    "RadionuclidePositronFraction": "RadionuclidePositronFraction", "RadionuclideTotalDose": "RadionuclideTotalDose",
    "RadionuclideHalfLife": "RadionuclideHalfLife", "InjectedVolume": "RadiopharmaceuticalVolume",
}  # fmt: skip
_EXECUTABLES = {b"MZ": "Windows", b"\x7fELF": "Linux", b"\xca\xfe\xba\xbe": "macOS", b"\xcf\xfa\xed\xfe": "macOS"}
#: Seconds.
DAY = 86400.0
#: Seconds by which times of acquisition may be off, and more than any two volumes are apart.
_CLOCK, _LONGEST = 0.05, 1e7


class Told:
    """What is said of one frame, wherever: of the frame alone, of its file, in its functional groups.

    Parameters
    ----------
    frame : Frame
    groups : sequence of Elements
        Items of functional groups that hold for the frame.
    """

    __slots__ = ("elements", "frame")

    def __init__(self, frame: Frame, groups: Sequence[Elements] = ()) -> None:
        self.frame = frame
        self.elements = (frame.file.elements, *groups)

    def numbers(self, *keywords: str) -> Vector | None:
        """Return the numbers of the first element that has some."""
        for keyword in keywords:
            if self.frame.facts.get(keyword) is not None:
                return self.frame.numbers(keyword)
            for elements in self.elements:
                found = elements.numbers(keyword)
                if found is not None:
                    return found
        return None

    def number(self, *keywords: str) -> float | None:
        """Return the first number of the first element that has one."""
        found = self.numbers(*keywords)
        return found[0] if found else None

    def text(self, *keywords: str) -> str:
        """Return the first element that is no empty text, on one line."""
        for keyword in keywords:
            if self.frame.facts.get(keyword) is not None:
                return self.frame.text(keyword).strip()
            for elements in self.elements:
                found = "\\".join(elements.parts(keyword))
                if found:
                    return found
        return ""

    def holder(self, keyword: str) -> Elements:
        """Return the elements that hold a keyword; those of the file where none do."""
        return next((each for each in self.elements if keyword in each), self.elements[0])

    @property
    def maker(self) -> str:
        """The manufacturer as dcm2niix calls it; one that it does not know as the file does."""
        words = self.text("Manufacturer")
        return next((name for start, name in _MAKERS.items() if f"{words.upper()} ".startswith(start)), words)

    @property
    def is_planar(self) -> bool:
        """Whether it is an echo-planar image: one excitation fills a slice."""
        return "EP" in self.text("ScanningSequence", "SiemensScanningSequence").split("\\") or (
            self.text("EchoPlanarPulseSequence").upper() == "YES"
        )


def acquisition(told: Told) -> dict[str, Any]:
    """Return how an image was made, under the names and in the units of BIDS: nothing that follows an axis.

    Lengths in mm, times in s, frequencies in MHz, bandwidth in Hz per pixel, angles in degrees, tube current in mA,
    exposure in mAs, doses in MBq.
    """
    found: dict[str, Any] = {name: told.text(*keywords) for name, keywords in _TEXTS.items()}
    found = {name: value for name, value in found.items() if value}
    if found.get("Manufacturer") == NOBODY:
        del found["Manufacturer"]
    for rows, unit in ((_NUMBERS, 1.0), (_SECONDS, 1000.0)):
        for name, keywords in rows.items():
            value = told.number(*keywords)
            if value is None or (name in _POSITIVE and value <= 0) or (name in _ABOVE_ONE and value <= 1):
                continue
            found[name] = plain(value / unit)
    kind = told.text("ImageType")
    if kind:
        found["ImageType"] = kind.split("\\")
    transfer = told.text("MagnetizationTransfer").upper()
    if transfer:
        found["MTState"] = transfer != "NONE"
    spoiling = told.text("Spoiling").upper()
    if spoiling in _SPOILING:
        found["SpoilingType"] = _SPOILING[spoiling]
    if spoiling in _SPOILING or (not spoiling and "SP" in str(found.get("SequenceVariant", "")).split("\\")):
        found["SpoilingState"] = True
    if "PhilipsScaleSlope" in found:
        found["PhilipsRescaleSlope"] = plain(told.frame.scaling[0])
    if told.text("Modality") == "PT":
        found.update(_tracer(told))
    return found


def metadata(frame: Frame) -> dict[str, Any]:
    """Return what describes the acquisition, under the names and in the units of BIDS."""
    told = Told(frame)
    found = acquisition(told)
    for keyword in DESCRIBING:
        if keyword not in _READ and keyword not in _ASIDE and not keyword.endswith("Sequence"):
            value = frame.file.elements.plain(keyword)
            if value is not None:
                found[keyword] = value
    if frame.file.pixels.photometric != "MONOCHROME2":
        found["PhotometricInterpretation"] = frame.file.pixels.photometric
    return found


# positron emission


def _tracer(told: Told) -> dict[str, Any]:
    """Return what was injected (PS3.3, C.8.9.2): dose in Bq and in MBq, half life and times in s, volume in ml."""
    item = _injection(told.frame.file)
    found: dict[str, Any] = {}
    name = item.get("Radiopharmaceutical") or told.text("Radiopharmaceutical")
    for key, words in (("Radiopharmaceutical", name), ("TracerRadionuclide", item.get("CodeMeaning"))):
        if words:
            found[key] = words
    for key, keyword in _INJECTION.items():
        value = _positive(item.get(keyword, ""))
        if value is not None:
            found[key] = value
    if "RadionuclideTotalDose" in found:
        found |= {"InjectedRadioactivity": found["RadionuclideTotalDose"] / 1e6, "InjectedRadioactivityUnits": "MBq"}
    started, scanned = clock(item.get("RadiopharmaceuticalStartTime", "")), clock(told.text("AcquisitionTime"))
    if started is not None and scanned is not None:
        since = started - scanned
        found |= {"ScanStart": 0, "InjectionStart": plain(round(since - DAY if since > DAY / 2 else since, 6))}
    return found


def _injection(file: DicomFile) -> dict[str, str]:
    """Return the first item of RadiopharmaceuticalInformationSequence as text; nothing where it is damaged."""
    keyword = "RadiopharmaceuticalInformationSequence"
    if keyword not in file.elements:
        return {}
    try:
        item: Any = full_dataset(file, keyword)[keyword].value[0]
        keywords = ("Radiopharmaceutical", "RadiopharmaceuticalStartTime", *_INJECTION.values())
        found = {keyword: printable(str(item.get(keyword, ""))) for keyword in keywords}
        codes = item.get("RadionuclideCodeSequence")
        return {**found, "CodeMeaning": printable(str(codes[0].get("CodeMeaning", "")))} if codes else found
    except Exception:  # whatever pydicom makes of a damaged sequence: the image is none the worse for it
        return {}


def _positive(words: str) -> float | int | None:
    try:
        number = float(words)
    except ValueError:
        return None
    return plain(number) if 0 < number < float("inf") else None


# time


def clock(words: str) -> float | None:
    """Return the seconds since midnight of a TM or DT (PS3.5, 6.2); None where it is none.

    >>> clock("142501.25"), clock("20181022083634.135000"), clock("1425"), clock("noon")
    (51901.25, 30994.135, 51900.0, None)
    """
    digits = words.strip().partition("+")[0].partition("-")[0].replace(":", "")
    whole = digits.partition(".")[0]
    if len(whole) >= 12:
        digits, whole = digits[8:], whole[8:]
    if len(whole) not in (4, 6) or not digits.replace(".", "", 1).isdecimal():
        return None
    hours, minutes, seconds = int(whole[:2]), int(whole[2:4]), float(digits[4:] or 0)
    return hours * 3600 + minutes * 60 + seconds if hours < 24 and minutes < 60 and seconds < 61 else None


def time_spacing(volumes: Sequence[Sequence[Frame]]) -> float | None:
    """Return seconds between volumes; None where nothing says it, or they are not evenly spaced.

    Parameters
    ----------
    volumes : sequence of sequence of Frame
        Frames by time and K.
    """
    firsts = [Told(volume[0]) for volume in volumes]
    first, steps = firsts[0], [_step(firsts, 1.0, "AcquisitionTime"), _step(firsts, 1e-3, "FrameReferenceTime")]
    if first.text("Modality") == "PT":
        return steps[0] or steps[1]
    excitation = (first.number("RepetitionTime") or 0.0) / 1000
    if first.is_planar and 0 < excitation < _LONGEST and (steps[0] is None or abs(steps[0] - excitation) <= _CLOCK):
        return excitation
    resolution, film = first.number("TemporalResolution") or 0.0, first.number("FrameTime") or 0.0
    found = steps[0] or resolution / 1000 or film / 1000 or _step(firsts, 1e-3, "TriggerTime")
    return found if found and 0 < found < _LONGEST else None


def _step(firsts: Sequence[Told], unit: float, keyword: str) -> float | None:
    """Return the mean step of an element from volume to volume, in s; None where it does not rise evenly."""
    times = [
        clock(told.text(keyword)) if keyword == "AcquisitionTime" else told.number(keyword) for told in firsts
    ]  # fmt: skip
    if len(times) < 2 or None in times:
        return None
    known = [time * unit for time in times if time is not None]
    steps = [(b - a) % DAY if keyword == "AcquisitionTime" else b - a for a, b in pairwise(known)]
    mean = sum(steps) / len(steps)
    return mean if min(steps) > 0 and mean < _LONGEST and max(steps) - min(steps) <= max(_CLOCK, 0.01 * mean) else None


# what is odd


def doubts(frame: Frame, scaled: bool) -> list[str]:
    """Say what a careful reader should know of a file."""
    found = []
    head = frame.file.source.head(128)
    for magic, system in _EXECUTABLES.items():
        if head.startswith(magic):
            found.append(f"its preamble starts like a program for {system}: never run this file")
    if scaled:
        found.append("its slices have rescale slopes of their own: the numbers are values, not what is stored")
    elif frame.scaling[0] == 0:
        found.append("RescaleSlope is 0: the stored numbers are the values")
    if frame.file.mosaic and (assumed := doubt(frame)):
        found.append(assumed)
    if "ModalityLUTSequence" in frame.file.elements:
        found.append("its modality look-up table is not applied: the numbers are what is stored")
    if frame.file.pixels.photometric == "MONOCHROME1":
        found.append("MONOCHROME1: low values are meant to be shown bright; they are kept as stored")
    if frame.file.pixels.photometric == "PALETTE COLOR":
        found.append("PALETTE COLOR: the numbers are places in a table of colours; pictures show its colours")
    return found

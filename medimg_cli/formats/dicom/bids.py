"""The sidecar of an image from DICOM: a JSON object as BIDS and the users of dcm2niix know it.

Names, units and order are those of dcm2niix. What differs, and why:

- Who and what was there is never said: InstitutionName, InstitutionAddress, InstitutionalDepartmentName, StationName,
  DeviceSerialNumber, and free text of the staff: ImageComments, ProcedureStepDescription. Nor is when: AcquisitionTime.
  dcm2niix leaves only patient and dates out.
- "j" of dcm2niix is "j-" here and the other way round: rows are not turned around
  (:mod:`~medimg_cli.formats.dicom.readout`). SliceTiming follows the slices of the image as they are written.
- Manufacturer is shortened as dcm2niix does (Siemens, GE, Philips ...); one unknown to it is as the file has it.
- ReceiveCoilName (0018,1250) is called so, as in BIDS, of whatever maker; dcm2niix calls it CoilString.
- ProtocolName is that of the file: where it has none, dcm2niix repeats SeriesDescription.
- SpoilingType is that of the file: dcm2niix 1.0.20220720 takes RF for COMBINED. SAR of enhanced files is said, too.
- ImageType is that of the file: dcm2niix adds PHASE, REAL and the like, and takes names at underscores apart.
- Numbers have all their digits; dcm2niix prints six.
- What differs from frame to frame (EchoTime, ScanningSequence of Philips) is that of the first frame of the image.
- Runs of blanks in text are one blank.
- Voxels of Philips are what RescaleSlope makes of them; PhilipsRescaleSlope and PhilipsScaleSlope say how to get to
  what dcm2niix writes instead: value / (PhilipsRescaleSlope * PhilipsScaleSlope). PhilipsRWVSlope and the like are not
  said, nor are PrescanReuseString, ConsistencyInfo and RawImage, which tell nothing of an image.
- PartialFourier of syngo XA comes from its protocol, where it has one; dcm2niix guesses it from counts of lines.
- Of PET, ScanStart and InjectionStart are counted from the first frame. Clock times (TimeZero) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medimg_cli.formats.dicom.describing import DAY, Told, acquisition, clock
from medimg_cli.formats.dicom.elements import Elements, plain
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.placing import Stack
from medimg_cli.formats.dicom.protocols import csa_fields, siemens_facts
from medimg_cli.formats.dicom.reading import full_dataset
from medimg_cli.formats.dicom.readout import multiband, phase_encoding, readout, slice_times

__all__ = ["Fields", "sidecar"]

_ORDER = """
    Modality MagneticFieldStrength ImagingFrequency ImagedNucleus Manufacturer InternalPulseSequenceName
    ManufacturersModelName BodyPartExamined PatientPosition SoftwareVersions MRAcquisitionType SeriesDescription
    ProtocolName ScanningSequence SequenceVariant ScanOptions SequenceName PulseSequenceName ImageType ImageTypeText
    NonlinearGradientCorrection SeriesNumber AcquisitionNumber TracerRadionuclide Radiopharmaceutical
    RadionuclidePositronFraction RadionuclideTotalDose InjectedRadioactivity InjectedRadioactivityUnits InjectedVolume
    RadionuclideHalfLife ScanStart InjectionStart DoseCalibrationFactor ConvolutionKernel FilterType Units SeriesType
    DecayCorrection AttenuationCorrectionMethod ScatterCorrectionMethod RandomsCorrectionMethod CorrectedImage
    ReconstructionMethod ScatterFraction DecayFactor FrameTimesStart FrameDuration FrameReferenceTime KVP ExposureTime
    XRayTubeCurrent XRayExposure GantryDetectorTilt SpiralPitchFactor SliceThickness SpacingBetweenSlices SAR
    NumberOfAverages EchoNumber EchoTime RepetitionTime MTState SpoilingState SpoilingType InversionTime FlipAngle
    PhaseEncodingPolarityGE PartialFourier BaseResolution ShimSetting DiffusionScheme DelayTime TxRefAmp PhaseResolution
    PhaseOversampling VendorReportedEchoSpacing ReceiveCoilName ReceiveCoilActiveElements CoilString
    PulseSequenceDetails RefLinesPE CoilCombinationMethod MatrixCoilMode MultibandAccelerationFactor PercentPhaseFOV
    PercentSampling EchoTrainLength PartialFourierDirection PhaseEncodingSteps AcquisitionMatrixPE ReconMatrixPE
    BandwidthPerPixelPhaseEncode ParallelReductionFactorInPlane ParallelReductionFactorOutOfPlane
    ParallelAcquisitionTechnique WaterFatShift EstimatedEffectiveEchoSpacing EstimatedTotalReadoutTime
    EffectiveEchoSpacing DerivedVendorReportedEchoSpacing AcquisitionDuration TotalReadoutTime PixelBandwidth DwellTime
    PhilipsRescaleSlope PhilipsScaleSlope
    PhaseEncodingDirection PhaseEncodingAxis SliceTiming ImageOrientationPatientDICOM ImageOrientationText
    InPlanePhaseEncodingDirectionDICOM
"""
_RANK = {name: n for n, name in enumerate(_ORDER.split())}
#: Creator of the elements of syngo XA that hold for all frames.
_XA = "SIEMENS MR SDS 01"


class Fields(Mapping[str, Any]):
    """The elements of a series by keyword, with its sidecar, which is made when somebody asks for it.

    Parameters
    ----------
    fields : mapping of str to object
        What ``medimg info --all`` shows.
    stack : Stack, optional
        What the sidecar is made of.
    made : dict, optional
        The sidecar, where it has been made already.
    """

    __slots__ = ("_fields", "_made", "_stack")

    def __init__(
        self, fields: Mapping[str, Any], stack: Stack | None = None, made: dict[str, Any] | None = None
    ) -> None:
        self._fields, self._stack, self._made = dict(fields), stack, made

    def __getitem__(self, keyword: str) -> Any:
        return self._fields[keyword]

    def __iter__(self) -> Any:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Fields({self._fields!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Fields, (self._fields, None, self.sidecar)

    @property
    def sidecar(self) -> dict[str, Any]:
        """The content of the JSON sidecar; empty where nothing is known."""
        stack = self._stack  # before what was made is looked at: another thread may be making it
        if self._made is None:
            self._made = {} if stack is None else sidecar(stack)
            self._stack = None
        return self._made


def sidecar(stack: Stack) -> dict[str, Any]:
    """Return the content of the JSON sidecar of an image, its axes those of the image as it is opened.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    dict
        JSON-able; names, units and order of dcm2niix.
    """
    from medimg_cli import __version__

    first = min(stack.volumes[0], key=lambda frame: frame.number("InstanceNumber") or 0.0)
    told = Told(first, _protocol(first))
    found = acquisition(told)
    if "Manufacturer" in found:
        found["Manufacturer"] = told.maker
    if found.get("Modality") == "PT":
        found.pop("ActualFrameDuration", None)
        found |= _frame_times(stack.volumes)
    if found.get("Modality") == "MR":
        found |= _resonance(told, stack, found)
    if first.orientation is not None:
        found["ImageOrientationPatientDICOM"] = [plain(float(cosine)) for cosine in first.orientation]
    found = dict(sorted(found.items(), key=lambda item: _RANK.get(item[0], len(_RANK))))
    return {**found, "ConversionSoftware": "medimg", "ConversionSoftwareVersion": __version__}


def _resonance(told: Told, stack: Stack, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of magnetic resonance only."""
    found: dict[str, Any] = {}
    if told.maker == "Siemens":
        found |= _of_siemens(told)
    if told.maker == "GE":
        factor = told.number("GEAssetFactors")
        if factor and 0 < factor < 1:
            found["ParallelReductionFactorInPlane"] = plain(round(1 / factor, 6))
        shims = [told.number(f"GEShim{axis}") for axis in "XYZ"]
        if None not in shims:
            found["ShimSetting"] = [plain(shim or 0.0) for shim in shims]
    field = told.maker == "Philips" and "FIELD_MAP" in told.text("ImageType").upper().split("\\")
    if field or told.text("RescaleType").upper() == "HZ":
        found["Units"] = "Hz"
    found |= readout(told, {**said, **found})
    found |= phase_encoding(told)
    times = slice_times(told, stack.volumes) if stack.places is None else None
    if times is not None:
        found["SliceTiming"] = [plain(time) for time in times]
    bands = multiband(times) if told.maker != "GE" else _bands_of_ge(told)
    if bands > 1:
        found["MultibandAccelerationFactor"] = bands
    return found


def _bands_of_ge(told: Told) -> int:
    words = told.text("GEHyperband").split("\\")[0]
    return int(words) if words.isdecimal() and len(words) < 4 else 1


def _of_siemens(told: Told) -> dict[str, Any]:
    """Return what Siemens says beside the standard."""
    found = siemens_facts(told)
    kind = told.text("SiemensImageTypeText")
    if kind:
        found["ImageTypeText"] = kind.split("\\")
    kinds = (kind or told.text("ImageType")).upper().split("\\")
    found["NonlinearGradientCorrection"] = any(part.startswith("DIS") for part in kinds)
    parallel = told.text("SiemensParallelText").removeprefix("p").split(" ")[0]
    if "ParallelReductionFactorInPlane" not in found and parallel.isdecimal() and 1 < int(parallel) < 100:
        found["ParallelReductionFactorInPlane"] = int(parallel)
    strings = csa_fields(told).get("ImaCoilString", ())
    coils = told.text("SiemensCoilString") or (strings[0] if strings else "")
    for name, words in (
        ("ReceiveCoilActiveElements", told.text("SiemensCoilElements")),
        (
            "CoilString",
            coils if coils not in (found.get("ReceiveCoilName"), found.get("ReceiveCoilActiveElements")) else "",
        ),
        ("ImageOrientationText", told.text("SiemensOrientationText")),
    ):
        if words:
            found[name] = words
    return found


def _frame_times(volumes: Sequence[Sequence[Frame]]) -> dict[str, Any]:
    """Return the times of the frames of PET in s, and what corrects their decay."""
    firsts = [Told(volume[0]) for volume in volumes]
    found: dict[str, Any] = {}
    for name, keyword, unit in (
        ("DecayFactor", "DecayFactor", 1.0),
        ("FrameDuration", "ActualFrameDuration", 1e3),
        ("FrameReferenceTime", "FrameReferenceTime", 1e3),
    ):
        values = [told.number(keyword) for told in firsts]
        known = [plain(value / unit) for value in values if value is not None]
        if len(known) == len(firsts):
            found[name] = known
    starts = [clock(told.text("AcquisitionTime")) for told in firsts]
    begun = [start for start in starts if start is not None]
    if len(begun) == len(firsts):
        found["FrameTimesStart"] = [plain(round((start - begun[0]) % DAY, 6)) for start in begun]
    return found


def _protocol(frame: Frame) -> tuple[Elements, ...]:
    """Return the element of functional groups in which syngo XA keeps its protocol: facts hold short values only."""
    if not frame.file.enhanced or Told(frame).maker != "Siemens":
        return ()
    try:
        shared: Any = full_dataset(frame.file, "SharedFunctionalGroupsSequence").SharedFunctionalGroupsSequence[0]
        own = shared.private_block(0x0021, _XA)[0xFE].value[0]
        content = bytes(own.private_block(0x0021, _XA)[0x19].value)
    except Exception:  # whatever pydicom makes of damaged groups
        return ()
    raw = {0x00210010: ("LO", _XA.encode(), False), 0x00211019: ("OB", content, False)}
    return (Elements(raw, frame.file.source),)

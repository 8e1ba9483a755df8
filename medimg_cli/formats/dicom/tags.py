"""The elements of DICOM that medimg reads: keyword, tag and value representation (PS3.6), by what they are for.

Nobody's name is among them: what tells who the patient is stands in `IDENTIFYING`, and is read only where somebody
asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DESCRIBING", "IDENTIFYING", "PIXELS", "PLACING", "PRIVATE", "TAGS", "vr_of_private"]

#: What a file is, and how its pixels are stored.
_PIXELS: Mapping[str, tuple[int, str]] = {
    "SpecificCharacterSet": (0x00080005, "CS"),
    "ImageType": (0x00080008, "CS"),
    "SOPClassUID": (0x00080016, "UI"),
    "SOPInstanceUID": (0x00080018, "UI"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "US"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "RescaleType": (0x00281054, "LO"),
    "ModalityLUTSequence": (0x00283000, "SQ"),
    "DoseGridScaling": (0x3004000E, "DS"),
    **{f"OverlayBitPosition{n}": (0x60000102 + (n << 17), "US") for n in range(16)},
}
#: What belongs together, and where it lies.
_PLACING: Mapping[str, tuple[int, str]] = {
    "ContentTime": (0x00080033, "TM"),
    "AcquisitionTime": (0x00080032, "TM"),
    "StudyInstanceUID": (0x0020000D, "UI"),
    "SeriesInstanceUID": (0x0020000E, "UI"),
    "SeriesNumber": (0x00200011, "IS"),
    "AcquisitionNumber": (0x00200012, "IS"),
    "InstanceNumber": (0x00200013, "IS"),
    "ImagePositionPatient": (0x00200032, "DS"),
    "ImageOrientationPatient": (0x00200037, "DS"),
    "FrameOfReferenceUID": (0x00200052, "UI"),
    "TemporalPositionIdentifier": (0x00200100, "IS"),
    "NumberOfTemporalPositions": (0x00200105, "IS"),
    "TemporalResolution": (0x00200110, "DS"),
    "SliceLocation": (0x00201041, "DS"),
    "StackID": (0x00209056, "SH"),
    "PixelSpacing": (0x00280030, "DS"),
    "ImagerPixelSpacing": (0x00181164, "DS"),
    "NominalScannedPixelSpacing": (0x00182010, "DS"),
    "PixelAspectRatio": (0x00280034, "IS"),
    "SliceThickness": (0x00180050, "DS"),
    "SpacingBetweenSlices": (0x00180088, "DS"),
    "GantryDetectorTilt": (0x00181120, "DS"),
    "GridFrameOffsetVector": (0x3004000C, "DS"),
    "FrameTime": (0x00181063, "DS"),
    "FrameTimeVector": (0x00181065, "DS"),
    "CineRate": (0x00180040, "IS"),
    "TriggerTime": (0x00181060, "DS"),
    "ComplexImageComponent": (0x00089208, "CS"),
    "DiffusionBValue": (0x00189087, "FD"),
    "DiffusionGradientOrientation": (0x00189089, "FD"),
    "SharedFunctionalGroupsSequence": (0x52009229, "SQ"),
    "PerFrameFunctionalGroupsSequence": (0x52009230, "SQ"),
}
#: What describes how the image was made, and nobody in it.
_DESCRIBING: Mapping[str, tuple[int, str]] = {
    "Modality": (0x00080060, "CS"),
    "ConversionType": (0x00080064, "CS"),
    "Manufacturer": (0x00080070, "LO"),
    "SeriesDescription": (0x0008103E, "LO"),
    "ManufacturerModelName": (0x00081090, "LO"),
    "BodyPartExamined": (0x00180015, "CS"),
    "ContrastBolusAgent": (0x00180010, "LO"),
    "ScanningSequence": (0x00180020, "CS"),
    "SequenceVariant": (0x00180021, "CS"),
    "ScanOptions": (0x00180022, "CS"),
    "MRAcquisitionType": (0x00180023, "CS"),
    "SequenceName": (0x00180024, "SH"),
    "Radiopharmaceutical": (0x00180031, "LO"),
    "KVP": (0x00180060, "DS"),
    "RepetitionTime": (0x00180080, "DS"),
    "EchoTime": (0x00180081, "DS"),
    "InversionTime": (0x00180082, "DS"),
    "NumberOfAverages": (0x00180083, "DS"),
    "ImagingFrequency": (0x00180084, "DS"),
    "ImagedNucleus": (0x00180085, "SH"),
    "EchoNumbers": (0x00180086, "IS"),
    "MagneticFieldStrength": (0x00180087, "DS"),
    "NumberOfPhaseEncodingSteps": (0x00180089, "IS"),
    "EchoTrainLength": (0x00180091, "IS"),
    "PercentSampling": (0x00180093, "DS"),
    "PercentPhaseFieldOfView": (0x00180094, "DS"),
    "PixelBandwidth": (0x00180095, "DS"),
    "SoftwareVersions": (0x00181020, "LO"),
    "ProtocolName": (0x00181030, "LO"),
    "SpatialResolution": (0x00181050, "DS"),
    "ReconstructionDiameter": (0x00181100, "DS"),
    "ExposureTime": (0x00181150, "IS"),
    "XRayTubeCurrent": (0x00181151, "IS"),
    "Exposure": (0x00181152, "IS"),
    "ActualFrameDuration": (0x00181242, "IS"),
    "ReceiveCoilName": (0x00181250, "SH"),
    "TransmitCoilName": (0x00181251, "SH"),
    "AcquisitionMatrix": (0x00181310, "US"),
    "InPlanePhaseEncodingDirection": (0x00181312, "CS"),
    "FlipAngle": (0x00181314, "DS"),
    "SAR": (0x00181316, "DS"),
    "ConvolutionKernel": (0x00181210, "SH"),
    "PatientPosition": (0x00185100, "CS"),
    "SpiralPitchFactor": (0x00189311, "FD"),
    "WindowCenter": (0x00281050, "DS"),
    "WindowWidth": (0x00281051, "DS"),
    "Units": (0x00541001, "CS"),
    "DecayCorrection": (0x00541102, "CS"),
    "ReconstructionMethod": (0x00541103, "LO"),
    "FrameReferenceTime": (0x00541300, "DS"),
    "DecayFactor": (0x00541321, "DS"),
    "AttenuationCorrectionMethod": (0x00541101, "LO"),
    "ScatterCorrectionMethod": (0x00541105, "LO"),
}
#: Private elements: group and the last two digits of the element -> keyword of ours, VR, creator as it starts.
PRIVATE: Mapping[tuple[int, int], tuple[str, str, str]] = {
    (0x0019, 0x0A): ("SiemensMosaicImages", "US", "SIEMENS MR HEADER"),
    (0x0019, 0x0C): ("SiemensBValue", "IS", "SIEMENS MR HEADER"),
    (0x0019, 0x0E): ("SiemensGradientDirection", "FD", "SIEMENS MR HEADER"),
    (0x0019, 0x27): ("SiemensBMatrix", "FD", "SIEMENS MR HEADER"),
    (0x0019, 0x28): ("SiemensBandwidthPerPixelPhaseEncode", "FD", "SIEMENS MR HEADER"),
    (0x0019, 0x29): ("SiemensMosaicRefAcqTimes", "FD", "SIEMENS MR HEADER"),
    (0x0019, 0xBB): ("GEGradientX", "DS", "GEMS_ACQU_01"),
    (0x0019, 0xBC): ("GEGradientY", "DS", "GEMS_ACQU_01"),
    (0x0019, 0xBD): ("GEGradientZ", "DS", "GEMS_ACQU_01"),
    (0x0029, 0x10): ("SiemensImageHeader", "OB", "SIEMENS CSA HEADER"),
    (0x0029, 0x20): ("SiemensSeriesHeader", "OB", "SIEMENS CSA HEADER"),
    (0x0043, 0x39): ("GEBValue", "IS", "GEMS_PARM_01"),
    (0x0043, 0x2F): ("GEImageKind", "SS", "GEMS_PARM_01"),
    (0x0065, 0x09): ("UIHBValue", "FD", "Image Private Header"),
    (0x0065, 0x37): ("UIHGradientDirection", "FD", "Image Private Header"),
    (0x0065, 0x50): ("UIHMosaicImages", "DS", "Image Private Header"),
    (0x0065, 0x51): ("UIHMosaicFrames", "SQ", "Image Private Header"),
    (0x2001, 0x03): ("PhilipsBValue", "FL", "Philips Imaging DD 001"),
    (0x2001, 0x04): ("PhilipsDiffusionKind", "CS", "Philips Imaging DD 001"),
    (0x2001, 0x08): ("PhilipsPhaseNumber", "IS", "Philips Imaging DD 001"),
    (0x2005, 0xB0): ("PhilipsGradientX", "FL", "Philips MR Imaging DD 001"),
    (0x2005, 0xB1): ("PhilipsGradientY", "FL", "Philips MR Imaging DD 001"),
    (0x2005, 0xB2): ("PhilipsGradientZ", "FL", "Philips MR Imaging DD 001"),
    (0x2005, 0x11): ("PhilipsImageKind", "CS", "Philips MR Imaging DD 001"),
}
#: Who the patient is, and who and what was there: read only for ``--phi``.
IDENTIFYING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight", "PatientSize"),
    *("StudyDate", "StudyTime", "SeriesDate", "AcquisitionDate", "StudyID", "AccessionNumber", "StudyDescription"),
    *("InstitutionName", "InstitutionAddress", "StationName", "ReferringPhysicianName", "PerformingPhysicianName"),
    *("OperatorsName", "OtherPatientIDs", "PatientComments", "DeviceSerialNumber"),
)
PIXELS, PLACING, DESCRIBING = tuple(_PIXELS), tuple(_PLACING), tuple(_DESCRIBING)
TAGS: Mapping[str, tuple[int, str]] = {**_PIXELS, **_PLACING, **_DESCRIBING}
"""All elements that are read of every file: keyword -> tag, VR."""


def vr_of_private(tag: int) -> str:
    """Return the VR that a private element has where a file does not say it; "" where nobody knows."""
    row = PRIVATE.get((tag >> 16, tag & 0xFF))
    return row[1] if row else ""

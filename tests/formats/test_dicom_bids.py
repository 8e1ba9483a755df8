"""The JSON sidecar of images from DICOM: files made here, and dcm2niix's opinion of real ones, compared in the world."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.cli import app
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.describing import clock
from medimg_cli.formats.sidecars import sidecar_paths
from tests.formats.dicom_files import EXPLICIT, dataset, geometry, save, write_series, write_times
from tests.formats.test_dicom_mosaics import csa, made
from tests.helpers import affine

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import proving

DATA = proving.data_folder()
OBLIQUE = affine()
VOXELS = np.random.default_rng(6).integers(0, 900, (6, 5, 4), dtype=np.uint16)
referee = pytest.mark.skipif(
    DATA is None or shutil.which("dcm2niix") is None, reason="no dcm2niix, or MEDIMG_TEST_DATA is not set"
)
#: What is left out, or said otherwise on purpose (see the docstring of `bids`).
LEFT_OUT = frozenset((
    "InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber",
    "ImageComments", "ProcedureStepDescription", "AcquisitionTime", "ConversionSoftware", "ConversionSoftwareVersion",
    "PhilipsRescaleIntercept", "PhilipsRWVSlope", "PhilipsRWVIntercept",
    "UsePhilipsFloatNotDisplayScaling", "RawImage", "PrescanReuseString", "ConsistencyInfo", "CoilString", "ImageType",
    "SpoilingType", "EstimatedEffectiveEchoSpacing", "EstimatedTotalReadoutTime", "ProtocolName",
))  # fmt: skip


def sidecar(path: Path) -> dict[str, Any]:
    """Return the sidecar of an image as JSON has it."""
    native = open_backend(path).header.native
    assert native is not None
    found: dict[str, Any] = json.loads(json.dumps(native.data.sidecar))
    return found


def run(*words: object) -> int:
    return app.main([str(word) for word in words])


def siemens(slices: int = 5, **values: Any) -> Any:
    """Return a mosaic of an echo-planar image: times in its CSA header, the protocol in the other one."""
    array = np.random.default_rng(slices).integers(0, 900, (6, 5, slices), dtype=np.uint16)
    plain = {"MRAcquisitionType": "2D", "ScanningSequence": "EP", "RepetitionTime": 2000, "EchoTime": 30}
    found = made(array, OBLIQUE, **{**plain, "InPlanePhaseEncodingDirection": "COL", **values})
    normal = np.cross(*np.reshape(found.ImageOrientationPatient, (2, 3)).astype(float))
    fields = {
        "EchoLinePosition": ["3"], "NumberOfImagesInMosaic": [str(slices)], "PhaseEncodingDirectionPositive": ["1"],
        "SliceNormalVector": [f"{x:.8f}" for x in normal], "BandwidthPerPixelPhaseEncode": ["25.0"],
        "MosaicRefAcqTimes": [f"{400 * (3 * n % slices)}" for n in range(slices)], "RealDwellTime": ["2900"],
    }  # fmt: skip
    protocol = "\n".join((
        "### ASCCONV BEGIN ###", "sKSpace.ucPhasePartialFourier = 0x8", "sPat.lAccelFactPE = 2", "sPat.ucPATMode = 0x2",
        'tSequenceFileName = "%SiemensSeq%\\ep2d_bold"', "lDelayTimeInTR = 500000", "ucCoilCombineMode = 0x1",
        "### ASCCONV END ###",
    )).encode()  # fmt: skip
    block = found.private_block(0x29, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa(fields))
    block.add_new(0x20, "OB", csa({"UsedPatientWeight": ["80"]}) + protocol + b"\0" * (len(protocol) % 2))
    return found


# what is said


def test_units_names_and_order(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "RepetitionTime": 2300, "EchoTime": "2.98", "InversionTime": 900, "FlipAngle": 9, "EchoNumbers": 2,
        "Manufacturer": "GE MEDICAL SYSTEMS", "MagneticFieldStrength": 3, "ImagingFrequency": "127.7", "SAR": "0.07",
        "ScanningSequence": ["EP", "GR"], "SequenceVariant": ["SK", "SP"], "PixelBandwidth": 200, "NumberOfAverages": 1,
        "PercentPhaseFieldOfView": 80, "SoftwareVersions": "27", "ReceiveCoilName": "Head", "PatientPosition": "HFS",
    }  # fmt: skip
    write_series(tmp_path, VOXELS, OBLIQUE, ImageType=["ORIGINAL", "PRIMARY"], **values)
    found = sidecar(tmp_path)
    expected = {
        "Modality": "MR", "MagneticFieldStrength": 3, "ImagingFrequency": 127.7, "Manufacturer": "GE",
        "PatientPosition": "HFS", "SoftwareVersions": "27", "SeriesDescription": "T1 of a phantom",
        "ScanningSequence": "EP\\GR", "SequenceVariant": "SK\\SP", "ImageType": ["ORIGINAL", "PRIMARY"],
        "SeriesNumber": 3, "SliceThickness": 3, "SAR": 0.07, "EchoNumber": 2, "EchoTime": 0.00298,
        "RepetitionTime": 2.3, "SpoilingState": True, "InversionTime": 0.9, "FlipAngle": 9, "ReceiveCoilName": "Head",
        "PercentPhaseFOV": 80, "PixelBandwidth": 200,
    }  # fmt: skip
    kept = {name: value for name, value in found.items() if name in expected}
    assert kept == expected
    assert list(kept) == list(expected)
    assert list(found)[-2:] == ["ConversionSoftware", "ConversionSoftwareVersion"]
    assert found["ImageOrientationPatientDICOM"] == geometry(OBLIQUE, 0)["ImageOrientationPatient"]
    assert "NumberOfAverages" not in found


def test_nobody_is_named(tmp_path: Path) -> None:
    who: dict[str, Any] = {"PatientComments": "Jane", "OperatorsName": "Wilson", "StationName": "MRC35131", "DeviceSerialNumber": "7001",
           "ImageComments": "her knee", "AcquisitionTime": "101112", "AcquisitionDate": "20200304"}  # fmt: skip
    write_series(tmp_path, VOXELS, OBLIQUE, **who)
    header = open_backend(tmp_path).header
    said = json.dumps(sidecar(tmp_path)) + json.dumps(dict(header.metadata)) + repr(header)
    for secret in ("Doe", "Jane", "Wilson", "4711", "1970", "House", "Princeton", "35131", "7001", "knee", "1011",
                   "20200304"):  # fmt: skip
        assert secret not in said


def test_axes_are_not_in_the_header(tmp_path: Path) -> None:
    save(siemens(), tmp_path / "a.dcm")
    metadata = open_backend(tmp_path / "a.dcm").header.metadata
    assert not {"PhaseEncodingDirection", "SliceTiming", "InPlanePhaseEncodingDirection"} & set(metadata)
    assert metadata["RepetitionTime"] == 2


def test_computed_tomography(tmp_path: Path) -> None:
    values: dict[str, Any] = {"KVP": 120, "ExposureTime": 1600, "XRayTubeCurrent": 170, "Exposure": 272, "ConvolutionKernel": "B30f",
              "GantryDetectorTilt": -12.5, "SpiralPitchFactor": 0.9, "Modality": "CT"}  # fmt: skip
    write_series(tmp_path, VOXELS, OBLIQUE, **values)
    found = sidecar(tmp_path)
    expected = {"KVP": 120, "ExposureTime": 1.6, "XRayTubeCurrent": 170, "XRayExposure": 272,
                "ConvolutionKernel": "B30f", "GantryDetectorTilt": -12.5, "SpiralPitchFactor": 0.9}  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_positron_emission(tmp_path: Path) -> None:
    dose = pydicom.dataset.Dataset()
    dose.Radiopharmaceutical, dose.RadiopharmaceuticalStartTime = "Fluorodeoxyglucose", "235500"
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = "370000000", "6586.2"
    values: dict[str, Any] = {"Modality": "PT", "Units": "BQML", "DecayCorrection": "START", "ActualFrameDuration": 60000,
              "RadiopharmaceuticalInformationSequence": [dose]}  # fmt: skip

    def frame(made: Any, t: int, k: int) -> None:
        made.InstanceNumber, made.AcquisitionTime = 1 + k + 4 * t, f"00{5 + t:02d}00.5"
        made.FrameReferenceTime, made.TemporalPositionIdentifier = 30000 + 60000 * t, t + 1
        for keyword, value in values.items():
            setattr(made, keyword, value)

    write_times(tmp_path, np.stack([VOXELS, VOXELS + 1]), OBLIQUE, frame)
    found = sidecar(tmp_path)
    expected = {
        "Radiopharmaceutical": "Fluorodeoxyglucose", "RadionuclideTotalDose": 370000000, "InjectedRadioactivity": 370,
        "InjectedRadioactivityUnits": "MBq", "RadionuclideHalfLife": 6586.2, "InjectionStart": -600.5, "ScanStart": 0,
        "FrameDuration": [60, 60], "FrameTimesStart": [0, 60], "FrameReferenceTime": [30, 90], "Units": "BQML",
    }  # fmt: skip
    assert {name: found.get(name) for name in expected} == expected
    assert open_backend(tmp_path).header.time_spacing == 60
    assert "5500" not in json.dumps(found)


# phase encoding, echo spacing, times of slices


def test_siemens(tmp_path: Path) -> None:
    save(siemens(), tmp_path / "a.dcm")
    found = sidecar(tmp_path / "a.dcm")
    spacing = 1 / (25 * 5)
    expected = {
        "Manufacturer": "Siemens", "PhaseEncodingDirection": "j", "InPlanePhaseEncodingDirectionDICOM": "COL",
        "ReconMatrixPE": 5, "PartialFourier": 0.875, "ParallelReductionFactorInPlane": 2, "MatrixCoilMode": "GRAPPA",
        "CoilCombinationMethod": "Sum of Squares", "DelayTime": 0.5, "PulseSequenceDetails": "%SiemensSeq%\\ep2d_bold",
        "BandwidthPerPixelPhaseEncode": 25, "EffectiveEchoSpacing": spacing, "TotalReadoutTime": spacing * 4,
        "DerivedVendorReportedEchoSpacing": spacing * 2, "DwellTime": 2.9e-06,
    }  # fmt: skip
    numbers = {name: value for name, value in expected.items() if isinstance(value, float)}
    assert {name: found[name] for name in numbers} == pytest.approx(numbers)
    assert {name: found[name] for name in set(expected) - set(numbers)} == {
        name: value for name, value in expected.items() if name not in numbers
    }
    assert found["SliceTiming"] == pytest.approx([0, 1.2, 0.4, 1.6, 0.8])
    assert found["NonlinearGradientCorrection"] is False


@pytest.mark.parametrize(("positive", "along", "said"), [("1", "ROW", "i"), ("0", "ROW", "i-"), ("0", "COL", "j-")])
def test_signs_of_phase_encoding(tmp_path: Path, positive: str, along: str, said: str) -> None:
    array = siemens(InPlanePhaseEncodingDirection=along)
    fields = {"EchoLinePosition": ["3"], "NumberOfImagesInMosaic": ["5"], "PhaseEncodingDirectionPositive": [positive]}
    array.private_block(0x29, "SIEMENS CSA HEADER").add_new(0x10, "OB", csa(fields))
    save(array, tmp_path / "a.dcm")
    assert sidecar(tmp_path / "a.dcm")["PhaseEncodingDirection"] == said


def test_unknown_signs_are_axes(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "Manufacturer": "Philips Medical Systems",
        "InPlanePhaseEncodingDirection": "ROW",
        "ScanningSequence": "SE",
    }
    write_series(tmp_path / "2", VOXELS, OBLIQUE, MRAcquisitionType="2D", **values)
    write_series(tmp_path / "3", VOXELS, OBLIQUE, MRAcquisitionType="3D", **values)
    planar = sidecar(tmp_path / "2")
    assert planar["PhaseEncodingAxis"] == "i"
    assert "PhaseEncodingDirection" not in planar
    assert not {"PhaseEncodingAxis", "PhaseEncodingDirection"} & set(sidecar(tmp_path / "3"))


def test_the_scales_of_philips(tmp_path: Path) -> None:
    """What dcm2niix writes is the value / (PhilipsRescaleSlope * PhilipsScaleSlope)."""

    def scaled(made: Any, k: int) -> None:
        made.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.0078125)

    values = {"Manufacturer": "Philips Medical Systems", "RescaleSlope": 1.5, "RescaleIntercept": 0}
    write_series(tmp_path / "1", VOXELS, OBLIQUE, scaled, **values)
    write_series(tmp_path / "2", VOXELS, OBLIQUE, **values)
    said = sidecar(tmp_path / "1")
    assert (said["PhilipsRescaleSlope"], said["PhilipsScaleSlope"]) == (1.5, 0.0078125)
    assert not {"PhilipsRescaleSlope", "PhilipsScaleSlope"} & set(sidecar(tmp_path / "2"))


@pytest.mark.parametrize(("mode", "turns"), [(1, [0, 1, 2, 3]), (2, [3, 2, 1, 0]), (4, [2, 0, 3, 1])])
def test_order_of_slices_where_there_are_no_times(tmp_path: Path, mode: int, turns: list[int]) -> None:
    found = siemens(slices=4)
    block = found.private_block(0x29, "SIEMENS CSA HEADER")
    block.add_new(0x10, "OB", csa({"EchoLinePosition": ["3"], "NumberOfImagesInMosaic": ["4"]}))
    text = f"### ASCCONV BEGIN ###\nsSliceArray.ucMode = 0x{mode}\nlDelayTimeInTR = 400000\n### ASCCONV END ###\n"
    block.add_new(0x20, "OB", text.encode() + b"\0" * (len(text) % 2))
    save(found, tmp_path / "a.dcm")
    assert sidecar(tmp_path / "a.dcm")["SliceTiming"] == pytest.approx([0.4 * turn for turn in turns])


@pytest.mark.parametrize("order", ["0", "1"], ids=["sequential", "interleaved"])
def test_ge(tmp_path: Path, order: str) -> None:
    lines = f'IOPT "EPI, FMRI"\nSLICEORDER "{order}"\nVIEWORDER "1"\n'.encode()
    packed = len(lines).to_bytes(4, "little") + gzip.compress(lines)

    def scan(made: Any, t: int, k: int) -> None:
        made.InstanceNumber = 4 - k + 4 * t  # the last slice is the first one
        made.Manufacturer, made.ScanningSequence, made.MRAcquisitionType = "GE MEDICAL SYSTEMS", "EP", "2D"
        made.RepetitionTime, made.InPlanePhaseEncodingDirection, made.AcquisitionMatrix = 2000, "COL", [6, 0, 0, 5]
        made.TemporalPositionIdentifier = t + 1
        made.private_block(0x25, "GEMS_SERS_01", create=True).add_new(0x1B, "OB", packed + b"\0" * (len(packed) % 2))
        own = made.private_block(0x43, "GEMS_PARM_01", create=True)
        own.add_new(0x2C, "SS", 500)
        own.add_new(0x83, "DS", ["0.5", "1"])

    write_times(tmp_path, np.stack([VOXELS, VOXELS + 1]), OBLIQUE, scan)
    found = sidecar(tmp_path)
    times = [1.5, 1.0, 0.5, 0.0] if order == "0" else [1.5, 0.5, 1.0, 0.0]
    assert found["SliceTiming"] == pytest.approx(times)
    assert (found["PhaseEncodingPolarityGE"], found["PhaseEncodingDirection"]) == ("Flipped", "j-")
    assert found["ParallelReductionFactorInPlane"] == 2
    assert found["EffectiveEchoSpacing"] == pytest.approx(3 * 500e-6 / 4)
    assert found["TotalReadoutTime"] == pytest.approx(3 * 500e-6)


@pytest.mark.parametrize("damage", ["protocol", "csa", "block"])
def test_what_is_damaged_says_nothing(tmp_path: Path, damage: str) -> None:
    found = siemens()
    block = found.private_block(0x29, "SIEMENS CSA HEADER")
    if damage == "protocol":
        block.add_new(0x20, "OB", b"### ASCCONV BEGIN ###\nsPat.lAccelFactPE = 1e999\nsKSpace.lBaseResolution = x\0\0")
    elif damage == "csa":
        found.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 5)
        block.add_new(0x20, "OB", b"SV10" + bytes(range(64)))
    else:
        found.Manufacturer, found.ImageType = "GE MEDICAL SYSTEMS", ["ORIGINAL", "PRIMARY"]
        found.private_block(0x25, "GEMS_SERS_01", create=True).add_new(0x1B, "OB", b"\0\0\0\0\x1f\x8b" + bytes(60))
    save(found, tmp_path / "a.dcm")
    assert not {"BaseResolution", "PartialFourier", "PhaseEncodingPolarityGE"} & set(sidecar(tmp_path / "a.dcm"))


def test_a_protocol_block_that_is_a_bomb(tmp_path: Path) -> None:
    packed = b"\0\0\0\0" + gzip.compress(b'VIEWORDER "0"\n' + bytes(1 << 25))
    values: dict[str, Any] = {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ScanningSequence": "EP",
        "InPlanePhaseEncodingDirection": "ROW",
    }

    def change(made: Any, k: int) -> None:
        made.private_block(0x25, "GEMS_SERS_01", create=True).add_new(0x1B, "OB", packed + b"\0" * (len(packed) % 2))

    write_series(tmp_path, VOXELS, OBLIQUE, change, **values)
    assert sidecar(tmp_path)["PhaseEncodingDirection"] == "i"


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("what", ["text", "empty", "codes", "numbers"])
def test_damaged_injections(tmp_path: Path, what: str) -> None:
    dose = pydicom.dataset.Dataset()
    dose.RadiopharmaceuticalStartTime = "2599"
    if what == "codes":
        dose.add_new(0x00540300, "LO", "no sequence")
    if what == "numbers":
        dose.add_new(0x00181074, "LO", "1e999")
    items = [] if what == "empty" else [dose]
    values: dict[str, Any] = {"Modality": "PT", "RadiopharmaceuticalInformationSequence": items}

    def change(made: Any, k: int) -> None:
        if what == "text":
            made.add_new(0x00540016, "LO", "no sequence")

    write_series(tmp_path, VOXELS, OBLIQUE, change, **values)
    found = sidecar(tmp_path)
    assert found["Modality"] == "PT"
    assert not {"InjectedRadioactivity", "InjectionStart", "RadionuclideTotalDose"} & set(found)


# seconds between volumes


@pytest.mark.parametrize(
    ("values", "step", "expected"),
    [
        ({"ScanningSequence": "EP", "RepetitionTime": 2000}, 2.0025, 2.0),
        ({"ScanningSequence": "EP", "RepetitionTime": 2000}, 12.0, 12.0),
        ({"ScanningSequence": "GR", "RepetitionTime": 4}, 6.5, 6.5),
        ({"ScanningSequence": "GR", "RepetitionTime": 4, "TemporalResolution": 7500}, None, 7.5),
        ({"ScanningSequence": "EP", "RepetitionTime": 2000}, None, 2.0),
        ({"ScanningSequence": "GR", "RepetitionTime": 4}, None, None),
    ],
    ids=["rounded", "sparse", "dynamic", "resolution", "planar", "unknown"],
)
def test_time_spacing(tmp_path: Path, values: Mapping[str, Any], step: float | None, expected: float | None) -> None:
    def scan(made: Any, t: int, k: int) -> None:
        made.InstanceNumber, made.TemporalPositionIdentifier = 1 + k + 4 * t, t + 1
        for keyword, value in values.items():
            setattr(made, keyword, value)
        if step is not None:
            second = (86395 + step * t) % 86400  # across midnight
            hours, minutes = divmod(int(second) // 60, 60)
            made.AcquisitionTime = f"{hours:02d}{minutes:02d}{second % 60:09.6f}"

    write_times(tmp_path, np.stack([VOXELS, VOXELS + 1, VOXELS + 2]), OBLIQUE, scan)
    assert open_backend(tmp_path).header.time_spacing == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    "words", ["", "noon", "2561", "101", "10:11", "1 1 1 1", "999999", "101112.x", "1" * 40, "1\u00b21112"]
)
def test_clocks_that_are_none(words: str) -> None:
    found = clock(words)
    assert found is None or 0 <= found < 86401


# beside outputs


def test_beside_an_output(tmp_path: Path) -> None:
    write_series(tmp_path / "in", VOXELS, OBLIQUE, RepetitionTime=2300)
    assert run("convert", tmp_path / "in", tmp_path / "a.nii.gz") == 0
    assert json.loads((tmp_path / "a.json").read_text()) == sidecar(tmp_path / "in")
    assert run("convert", tmp_path / "in", tmp_path / "b.nrrd") == 0
    assert not (tmp_path / "b.json").exists()


def test_several_inputs_have_none(tmp_path: Path) -> None:
    for n in range(2):
        write_series(tmp_path / f"{n}", VOXELS, OBLIQUE, EchoTime=10 + n)
    assert run("merge", tmp_path / "0", tmp_path / "1", tmp_path / "a.nii") == 0
    assert not list(tmp_path.glob("*.json"))


def test_an_existing_one_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in", VOXELS, OBLIQUE)
    (tmp_path / "a.json").write_text("mine")
    assert run("convert", tmp_path / "in", tmp_path / "a.nii") != 0
    assert "sidecar exists" in capsys.readouterr().err
    assert not (tmp_path / "a.nii").exists()
    assert (tmp_path / "a.json").read_text() == "mine"
    assert run("convert", tmp_path / "in", tmp_path / "a.nii", "--force") == 0
    assert json.loads((tmp_path / "a.json").read_text())["ConversionSoftware"] == "medimg"


def test_axes_are_followed(tmp_path: Path) -> None:
    """Reoriented, the direction of phases and the times of slices are the same ones in the world."""
    save(siemens(), tmp_path / "in" / "a.dcm")
    before = open_backend(tmp_path / "in").header.affine
    said = sidecar(tmp_path / "in")
    for n, letters in enumerate(("RAS", "LPI", "SLA", "AIR")):
        out = tmp_path / f"{n}.nii"
        assert run("reorient", tmp_path / "in", out, "--to", letters) == 0
        found = json.loads((tmp_path / f"{n}.json").read_text())
        after = open_backend(out).header
        assert world(found["PhaseEncodingDirection"], after.affine) == pytest.approx(
            world(said["PhaseEncodingDirection"], before), abs=1e-5
        )
        axis = "ijk".index(found.get("SliceEncodingDirection", "k")[0])
        times = placed(found["SliceTiming"], after.affine, axis)
        assert times == pytest.approx(placed(said["SliceTiming"], before, 2))


def world(letter: str, matrix: AffineMatrix) -> list[float]:
    """Return the unit vector in the world of "i", "j-" ..."""
    column = np.array(matrix.rows)[:3, "ijk".index(letter[0])]
    unit: list[float] = (column / np.linalg.norm(column) * (-1 if letter.endswith("-") else 1)).tolist()
    return unit


def placed(times: list[float], matrix: AffineMatrix, axis: int) -> list[float]:
    """Return times in the order of slices along the largest component of their direction."""
    column = np.array(matrix.rows)[:3, axis]
    return times if column[np.argmax(np.abs(column))] > 0 else times[::-1]


def test_cropped_slices_keep_their_times(tmp_path: Path) -> None:
    save(siemens(), tmp_path / "in" / "a.dcm")
    said = sidecar(tmp_path / "in")["SliceTiming"]
    assert run("slice", tmp_path / "in", tmp_path / "a.nii", "--index", "[:, :, :, 1:4]") == 0
    assert json.loads((tmp_path / "a.json").read_text())["SliceTiming"] == said[1:4]


def test_headers_pickle(tmp_path: Path) -> None:
    save(siemens(), tmp_path / "a.dcm")
    header = open_backend(tmp_path / "a.dcm").header
    again = pickle.loads(pickle.dumps(header))
    assert again == header
    assert again.native is not None
    assert header.native is not None
    assert again.native.data.sidecar == header.native.data.sidecar
    assert again.native.data["RepetitionTime"] == 2000


def test_no_encoding_of_files_matters(tmp_path: Path) -> None:
    """A file in explicit VR, and without preamble."""
    made = dataset(VOXELS[..., 0].T.copy(), **geometry(OBLIQUE, 0), RepetitionTime=2300, syntax=EXPLICIT)
    save(made, tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes((tmp_path / "a.dcm").read_bytes()[132:])
    assert sidecar(tmp_path / "a.dcm") == sidecar(tmp_path / "b.dcm")


# dcm2niix


def _folders() -> list[str]:
    if DATA is None:
        return []
    with (DATA / "MANIFEST.csv").open(newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file) if row["kind"] == "DICOM folder"]
    return [path for path in rows if path.startswith("neurolabusc") and (DATA / path).is_dir()]


@referee
@pytest.mark.parametrize("folder", _folders() or [pytest.param("", marks=pytest.mark.skip(reason="no real files"))])
def test_as_dcm2niix(tmp_path: Path, folder: str) -> None:
    """Each field of each sidecar that dcm2niix writes, directions and times in the world."""
    assert DATA is not None
    command = ["dcm2niix", "-b", "y", "-z", "n", "-f", "%s_%e_%u", "-o", str(tmp_path), str(DATA / folder)]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "ours").mkdir()
    compared = 0
    for path in sorted(tmp_path.glob("*.json")):
        theirs = json.loads(path.read_text())
        if theirs["ImageType"][-1] == "FIELDMAPHZ":
            continue  # dcm2niix calls both parts of it so
        out = tmp_path / "ours" / path.name.replace(".json", ".nii")
        if run("convert", DATA / folder, out, "--series", theirs["SeriesNumber"]) != 0:
            continue
        compared += 1
        ours = json.loads(Path(sidecar_paths(str(out))["json"]).read_text())
        compare(ours, theirs, open_backend(out).header.affine, nibabel.load(path.with_suffix(".nii")).affine)
    if not compared:
        pytest.skip("its series are not told apart by number")


def compare(ours: dict[str, Any], theirs: dict[str, Any], matrix: AffineMatrix, other: Any) -> None:
    at = AffineMatrix(other)
    for name in ("PhaseEncodingDirection", "PhaseEncodingAxis"):
        if name in theirs:
            expected, found = world(theirs.pop(name), at), world(ours[name], matrix)
            if name == "PhaseEncodingAxis":
                expected, found = np.abs(expected).tolist(), np.abs(found).tolist()
            assert found == pytest.approx(expected, abs=1e-4)
    if "SliceTiming" in theirs:
        expected = placed(theirs.pop("SliceTiming"), at, 2)
        assert placed(ours["SliceTiming"], matrix, 2) == pytest.approx(expected, abs=1e-5)
    different = {
        name: (value, ours.get(name))
        for name, value in theirs.items()
        if name not in LEFT_OUT and not _same(ours.get(name), value)
    }
    assert not different


def _same(a: Any, b: Any) -> bool:
    """Tell whether two values are the same to the six digits that dcm2niix prints."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= 1e-5 * abs(b) + 1e-9
    return bool(a == b)

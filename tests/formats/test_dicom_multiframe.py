"""Multi-frame DICOM: enhanced objects that are made here, doses, nuclear medicine, films; real ones against dcm2niix."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, GeometryError, MedImgError, UnsupportedError
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.frames import Frame, frames_of
from medimg_cli.formats.dicom.reading import DicomFile, read_object
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.source import open_source
from tests.formats.dicom_files import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    dataset,
    geometry,
    same_world,
    save,
    write_series,
)
from tests.helpers import AFFINES, one_line, read, voxels

pytest.importorskip("pydicom")

SHAPE = (5, 4, 6)
OBLIQUE = AFFINES["oblique"]
ENHANCED, DOSE, NUCLEAR, ULTRASOUND, SLIDE, VOLUME, MASK = (
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4.1", "481.2", "20", "3.1", "77.1.6", "6.2", "66.4")
)
DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
real = pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")

Groups = Mapping[str, Mapping[str, Any]]


def numbers(dtype: str = "uint16", shape: Sequence[int] = SHAPE) -> np.ndarray[Any, Any]:
    return voxels(shape, dtype)


def item(values: Mapping[Any, Any]) -> Any:
    """Return a data set; what is a mapping becomes a sequence of one item, private tags are (group, element, VR)."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence as Items

    found = Dataset()
    for key, value in values.items():
        made = Items([item(value)]) if isinstance(value, Mapping) else value
        if isinstance(key, tuple):
            found.add_new(key[:2], key[2], made)
        else:
            setattr(found, key, made)
    return found


def multiframe(pixels: np.ndarray[Any, Any], **values: Any) -> Any:
    """Return a data set for pixels (frames, rows, columns), or with colours (frames, rows, columns, 3)."""
    made = dataset(pixels[0], **{"SOPClassUID": ENHANCED, **values})
    big = made.file_meta.TransferSyntaxUID == BIG
    content = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
    made.PixelData = content + b"\0" * (len(content) % 2)
    made.NumberOfFrames = len(pixels)
    return made


def enhanced(
    pixels: np.ndarray[Any, Any], groups: Sequence[Groups], shared: Groups | None = None, *, endless: bool = False,
    **values: Any,
) -> Any:  # fmt: skip
    """Return an enhanced object; ``endless`` sequences are written up to a delimiter."""
    from pydicom.sequence import Sequence as Items

    made = multiframe(pixels, **values)
    made.SharedFunctionalGroupsSequence = Items([item(shared or {})])
    made.PerFrameFunctionalGroupsSequence = Items([item(group) for group in groups])
    if endless:
        made.walk(_endless)
    return made


def _endless(_: Any, element: Any) -> None:
    if element.VR == "SQ":
        element.is_undefined_length = True
        for each in element.value:
            each.is_undefined_length_sequence_item = True


def measures(place: AffineMatrix) -> dict[str, Any]:
    tags = geometry(place, 0)
    return {
        "PlaneOrientationSequence": {"ImageOrientationPatient": tags["ImageOrientationPatient"]},
        "PixelMeasuresSequence": {"PixelSpacing": tags["PixelSpacing"], "SliceThickness": tags["SliceThickness"]},
    }


def at(place: AffineMatrix, k: int, **content: Any) -> dict[str, Any]:
    position = geometry(place, k)["ImagePositionPatient"]
    return {
        "PlanePositionSequence": {"ImagePositionPatient": position},
        "FrameContentSequence": {"StackID": "1", "InStackPositionNumber": k + 1, **content},
    }


def stored(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return (I, J, K) as frames: (K, J, I)."""
    return np.ascontiguousarray(array.T)


def shuffled(count: int) -> list[int]:
    order = list(range(count))
    random.Random(count).shuffle(order)
    return order


def opened(path: Path, word: str | None = None) -> tuple[np.ndarray[Any, Any], Any]:
    backend = open_backend(path, reading=Reading(series=word)) if word else open_backend(path)
    return read(backend), backend.header


def frames(path: Path) -> list[Frame]:
    return frames_of(file(path))


def file(path: Path) -> DicomFile:
    return read_object(open_source(path))


def made(tmp_path: Path, found: Any) -> Path:
    return save(found, tmp_path / "a.dcm")


# where frames of enhanced objects lie


@pytest.mark.parametrize("endless", [False, True], ids=["lengths", "delimiters"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED], ids=["explicit", "implicit", "big", "deflated"])
@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed", "permuted"])
def test_volume(kind: str, syntax: str, endless: bool, tmp_path: Path) -> None:
    """Frames in no order, on axes of every kind, in every encoding of sequences."""
    array, place, order = numbers(), AFFINES[kind], shuffled(SHAPE[2])
    groups = [at(place, k) for k in order]
    path = made(tmp_path, enhanced(stored(array)[order], groups, measures(place), endless=endless, syntax=syntax))
    found, header = opened(path)
    assert header.shape == (1, *SHAPE)
    assert same_world(found, header.affine, array[None], place) is None
    assert not header.warnings


def test_pydicom_is_not_needed_for_plain_files(tmp_path: Path) -> None:
    order = shuffled(SHAPE[2])
    groups = [at(OBLIQUE, k) for k in order]
    path = made(tmp_path, enhanced(stored(numbers())[order], groups, measures(OBLIQUE)))
    code = (
        "import sys; from medimg_cli.formats.dicom.frames import frames_of;"
        "from medimg_cli.formats.dicom.reading import read_object; from medimg_cli.storage.source import open_source;"
        "print(len(frames_of(read_object(open_source(sys.argv[1])))), 'pydicom' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["6", "False", "False"]


def test_one_frame(tmp_path: Path) -> None:
    """An enhanced object of one frame, its position said of all frames; without NumberOfFrames as well."""
    array = numbers(shape=(5, 4, 1))
    shared = {**measures(OBLIQUE), "PlanePositionSequence": at(OBLIQUE, 0)["PlanePositionSequence"]}
    whole = enhanced(stored(array), [{}], shared)
    path = made(tmp_path, whole)
    found, header = opened(path)
    assert same_world(found, header.affine, array[None], OBLIQUE) is None
    del whole.NumberOfFrames
    assert frames(made(tmp_path, whole)) != []


def test_groups_of_all_frames_only(tmp_path: Path) -> None:
    """Without groups for each frame all frames are what is said of all."""
    whole = enhanced(stored(numbers()), [], {**measures(OBLIQUE), "MREchoSequence": {"EffectiveEchoTime": 4.5}})
    del whole.PerFrameFunctionalGroupsSequence
    found = frames(made(tmp_path, whole))
    assert [frame.at for frame in found] == list(range(6))
    assert {frame.number("EchoTime") for frame in found} == {4.5}
    assert {frame.position for frame in found} == {None}


def test_groups_of_a_frame_count_before_those_of_all(tmp_path: Path) -> None:
    groups: list[Any] = [at(OBLIQUE, k) for k in range(6)]
    groups[2]["MREchoSequence"] = {"EffectiveEchoTime": 9.0}
    shared = {**measures(OBLIQUE), "MREchoSequence": {"EffectiveEchoTime": 4.5}}
    found = frames(made(tmp_path, enhanced(stored(numbers()), groups, shared)))
    assert [frame.number("EchoTime") for frame in found] == [4.5, 4.5, 9.0, 4.5, 4.5, 4.5]


def test_what_highdicom_converts(tmp_path: Path) -> None:
    """A classic series and what highdicom makes one object of are the same image."""
    highdicom = pytest.importorskip("highdicom")
    from highdicom.legacy import LegacyConvertedEnhancedMRImage
    from pydicom import dcmread

    array, uids = numbers(), [highdicom.UID() for _ in range(3)]
    said = {
        "StudyInstanceUID": uids[0], "FrameOfReferenceUID": uids[1], "StudyID": "1", "StudyDate": "20200102",
        "StudyTime": "103000", "AccessionNumber": "", "PatientSex": "", "PositionReferenceIndicator": "",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "NONE"], "EchoTime": 4.5, "RepetitionTime": 800, "FlipAngle": 15,
        "Manufacturer": "", "EchoTrainLength": 1, "AcquisitionDate": "20200102", "AcquisitionTime": "103000",
        "ContentDate": "20200102", "ContentTime": "103000", "SeriesDate": "20200102", "SeriesTime": "103000",
    }  # fmt: skip
    files = write_series(tmp_path / "classic", array, OBLIQUE, _named, **said)
    classic = [dcmread(path) for path in files]
    whole = LegacyConvertedEnhancedMRImage(classic, uids[2], 9, highdicom.UID(), 1)
    whole.save_as(tmp_path / "whole.dcm")
    found, header = opened(tmp_path / "whole.dcm")
    first, expected = opened(tmp_path / "classic")
    assert np.array_equal(found, first)
    assert np.allclose(header.affine.rows, expected.affine.rows, atol=1e-6)
    assert {frame.number("EchoTime") for frame in frames(tmp_path / "whole.dcm")} == {4.5}


def _named(made: Any, k: int) -> None:
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.77.{k + 1}"


# several images in one object


def test_two_stacks(tmp_path: Path) -> None:
    """Two stacks of other orientations in one file: each is an image of its own."""
    other = AFFINES["permuted"]
    array, second = numbers(), numbers(shape=(5, 4, 3))
    groups = [{**at(OBLIQUE, k), **measures(OBLIQUE)} for k in range(6)]
    groups += [{**at(other, k, StackID="2"), **measures(other)} for k in range(3)]
    order = shuffled(9)
    pixels = np.concatenate([stored(array), stored(second)])[order]
    path = made(tmp_path, enhanced(pixels, [groups[n] for n in order]))
    with pytest.raises(UnsupportedError, match="2 series"):
        open_backend(path)
    for word, expected, place in (("@1", array, OBLIQUE), ("@2", second, other)):
        found, header = opened(path, word)
        if found.shape[1:] != expected.shape:
            found, header = opened(path, "@1" if word == "@2" else "@2")
        assert same_world(found, header.affine, expected[None], place) is None


@pytest.mark.parametrize(
    ("macro", "values", "label"),
    [
        ("MREchoSequence", ({"EffectiveEchoTime": 5.0}, {"EffectiveEchoTime": 12.5}), "e2"),
        ("MRImageFrameTypeSequence", ({"ComplexImageComponent": "MAGNITUDE"}, {"ComplexImageComponent": "PHASE"}), "ph"),
    ],
)  # fmt: skip
def test_echoes_and_phases(macro: str, values: Sequence[Any], label: str, tmp_path: Path) -> None:
    """Echoes, magnitude and phase in one file are images of their own."""
    arrays = [numbers(), numbers()[::-1]]
    groups = [{**at(OBLIQUE, k), macro: value} for k in range(6) for value in values]
    pixels = np.stack([stored(array) for array in arrays], axis=1).reshape(12, 4, 5)
    path = made(tmp_path, enhanced(pixels, groups, measures(OBLIQUE)))
    labels = [parts.label for parts in _parts(path)]
    assert labels[1] == label
    for word, array in zip(("@1", "@2"), arrays, strict=True):
        found, header = opened(path, word)
        assert same_world(found, header.affine, array[None], OBLIQUE) is None


def _parts(path: Path) -> Any:
    from medimg_cli.formats.dicom.series import list_series

    return list_series([file(path)], Reading())


@pytest.mark.parametrize("named", ["TemporalPositionIndex", "FrameAcquisitionNumber", "FrameAcquisitionDateTime"])
def test_times(named: str, tmp_path: Path) -> None:
    """Time points of slices that are stored in no order."""
    times = 3
    array = numbers(shape=(times, *SHAPE))
    place, order = AFFINES["left-handed"], shuffled(times * SHAPE[2])
    groups = []
    for n in order:
        t, k = n // SHAPE[2], n % SHAPE[2]
        moment = f"202001021030{10 + 10 * t}.{k}00000"
        groups.append(at(place, k, **{named: moment if named == "FrameAcquisitionDateTime" else t + 1}))
    pixels = array.transpose(0, 3, 2, 1).reshape(-1, *SHAPE[1::-1])[order]
    found, header = opened(made(tmp_path, enhanced(pixels, groups, measures(place))))
    assert header.axes == (("time", times),)
    assert same_world(found, header.affine, array, place) is None


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed"])
def test_volume_as_dcm2niix_reads_it(kind: str, tmp_path: Path) -> None:
    place, array, order = AFFINES[kind], numbers("uint8").astype("int16"), shuffled(SHAPE[2])
    groups = [at(place, k, TemporalPositionIndex=1, DimensionIndexValues=[1, k + 1]) for k in order]
    extra = {"PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": -7, "RescaleType": "US"}}
    whole = enhanced(stored(array)[order], groups, {**measures(place), **extra}, Manufacturer="SIEMENS")
    path = made(tmp_path / "in", whole)
    subprocess.run(["dcm2niix", "-o", tmp_path, "-f", "out", path], capture_output=True, check=True)
    (written,) = tmp_path.glob("out*.nii*")
    found, header = opened(path)
    assert same_world(found, header.affine, 2.0 * array[None] - 7, place) is None
    assert _same(found, header, *opened(written))


def test_several_files_are_one_image(tmp_path: Path) -> None:
    """A file for each time point, as Siemens writes them."""
    array = numbers(shape=(3, *SHAPE))
    for t in range(3):
        groups = [at(OBLIQUE, k, TemporalPositionIndex=t + 1) for k in range(6)]
        save(enhanced(stored(array[t]), groups, measures(OBLIQUE)), tmp_path / f"{(t + 2) % 3}.dcm")
    found, header = opened(tmp_path)
    assert header.shape == (3, *SHAPE)
    assert same_world(found, header.affine, array, OBLIQUE) is None


def test_diffusion(tmp_path: Path) -> None:
    """b-values and directions reach the gradients; what is isotropic has no direction."""
    weights: list[Any] = [
        {"DiffusionDirectionality": "NONE"},
        {"DiffusionDirectionality": "DIRECTIONAL", "DiffusionBValue": 1000.0,
         "DiffusionGradientDirectionSequence": {"DiffusionGradientOrientation": [0.6, 0.0, 0.8]}},
        {"DiffusionDirectionality": "ISOTROPIC", "DiffusionBValue": 1000.0},
    ]  # fmt: skip
    array = numbers(shape=(3, *SHAPE))
    groups = [{**at(OBLIQUE, k), "MRDiffusionSequence": weight} for weight in weights for k in range(6)]
    path = made(tmp_path, enhanced(array.transpose(0, 3, 2, 1).reshape(18, 4, 5), groups, measures(OBLIQUE)))
    facts = [frame.facts for frame in frames(path)][::6]
    assert [fact["DiffusionBValue"] for fact in facts] == [0.0, 1000.0, 1000.0]
    assert [fact.get("DiffusionGradientOrientation") for fact in facts] == [None, (0.6, 0.0, 0.8), None]
    found, header = opened(path)
    assert header.gradients is not None
    assert header.gradients.bvals == (0.0, 1000.0, 1000.0)
    assert [bool(np.any(vector)) for vector in header.gradients.bvecs] == [False, True, False]
    assert same_world(found, header.affine, array, OBLIQUE) is None


# values


def test_slopes_of_frames(tmp_path: Path) -> None:
    array = numbers("uint8").astype("uint16")
    slopes = [(k + 0.5, -3.0 * k) for k in range(6)]
    groups = [
        {**at(OBLIQUE, k), "PixelValueTransformationSequence": {
            "RescaleSlope": slopes[k][0], "RescaleIntercept": slopes[k][1], "RescaleType": "US"}}
        for k in range(6)
    ]  # fmt: skip
    path = made(tmp_path, enhanced(stored(array), groups, measures(OBLIQUE)))
    assert [frame.scaling for frame in frames(path)] == slopes
    found, header = opened(path)
    values = np.stack([array[..., k] * slopes[k][0] + slopes[k][1] for k in range(6)], axis=-1)
    assert same_world(found.astype(float), header.affine, values[None], OBLIQUE) is None


PHILIPS, SIEMENS = "Philips MR Imaging DD 005", "SIEMENS MR SDI 02"


def _philips(creator: str = PHILIPS, **values: Any) -> dict[Any, Any]:
    own: dict[Any, Any] = {
        (0x2001, 0x10, "LO"): "Philips Imaging DD 001", (0x2001, 0x1003, "FL"): 800.0,
        (0x2005, 0x10, "LO"): "Philips MR Imaging DD 001", (0x2005, 0x1011, "CS"): "P",
        (0x2005, 0x10B0, "FL"): 0.0, (0x2005, 0x10B1, "FL"): 1.0, (0x2005, 0x10B2, "FL"): 0.0,
        "ImagePositionPatient": [1, 2, 3], "PatientName": "Doe^Jane", "EchoNumbers": 2, "InversionTime": 0,
        "RescaleSlope": 4.0, "RescaleIntercept": 1.0, "SOPInstanceUID": "1.2.3", "InstanceNumber": 7, **values,
    }  # fmt: skip
    return {(0x2005, 0x14, "LO"): creator, (0x2005, 0x140F, "SQ"): own}


def test_data_set_of_philips(tmp_path: Path) -> None:
    """Its elements fill in what the macros of the standard do not say; position and identity are the standard's."""
    groups = [{**at(OBLIQUE, k), **_philips()} for k in range(6)]
    frame = frames(made(tmp_path, enhanced(stored(numbers()), groups, measures(OBLIQUE))))[1]
    assert frame.scaling == (4.0, 1.0)
    assert (frame.number("EchoNumbers"), frame.number("InstanceNumber")) == (2.0, 7.0)
    assert frame.text("PhilipsImageKind") == "P"
    assert (frame.number("DiffusionBValue"), frame.numbers("DiffusionGradientOrientation")) == (800.0, (0.0, 1.0, 0.0))
    assert frame.position == tuple(geometry(OBLIQUE, 1)["ImagePositionPatient"])
    assert "InversionTime" not in frame.facts and "SOPInstanceUID" not in frame.facts
    assert "Doe" not in str(frame.facts)


def test_the_standard_counts_before_philips(tmp_path: Path) -> None:
    said = {
        "PixelValueTransformationSequence": {"RescaleSlope": 2.0, "RescaleIntercept": -5.0, "RescaleType": "US"},
        "MRDiffusionSequence": {"DiffusionDirectionality": "NONE"},
    }
    groups = [{**at(OBLIQUE, k), **said, **_philips()} for k in range(6)]
    frame = frames(made(tmp_path, enhanced(stored(numbers()), groups, measures(OBLIQUE))))[0]
    assert frame.scaling == (2.0, -5.0)
    assert frame.number("DiffusionBValue") == 0.0


def test_private_sequences_of_others_are_not_read(tmp_path: Path) -> None:
    groups = [{**at(OBLIQUE, k), **_philips("SOMEBODY ELSE")} for k in range(6)]
    frame = frames(made(tmp_path, enhanced(stored(numbers()), groups, measures(OBLIQUE))))[0]
    assert frame.scaling == (1.0, 0.0)
    assert "EchoNumbers" not in frame.facts


def test_data_sets_of_siemens_and_of_converters(tmp_path: Path) -> None:
    own: dict[Any, Any] = {(0x0021, 0x11, "LO"): SIEMENS, (0x0021, 0x111C, "IS"): 1, (0x0021, 0x1142, "IS"): 3400}
    siemens: dict[Any, Any] = {(0x0021, 0x11, "LO"): SIEMENS, (0x0021, 0x11FE, "SQ"): own}
    converted = {"UnassignedPerFrameConvertedAttributesSequence": {"EchoTime": 3.5, "TriggerTime": 40}}
    groups = [{**at(OBLIQUE, k), **siemens, **converted} for k in range(6)]
    frame = frames(made(tmp_path, enhanced(stored(numbers()), groups, measures(OBLIQUE))))[5]
    assert (frame.number("SiemensPhaseEncodingPositive"), frame.number("SiemensFrameDwellTime")) == (1.0, 3400.0)
    assert (frame.number("EchoTime"), frame.number("TriggerTime")) == (3.5, 40.0)


def test_facts_have_classic_names_and_units(tmp_path: Path) -> None:
    content = {
        "TemporalPositionIndex": 3, "DimensionIndexValues": [1, 2, 3], "FrameAcquisitionNumber": 9,
        "FrameAcquisitionDateTime": "20200102093001.25+0100",
    }  # fmt: skip
    group = {
        **at(OBLIQUE, 0, **content),
        "MRTimingAndRelatedParametersSequence": {"RepetitionTime": 2000, "FlipAngle": 77},
        "MRModifierSequence": {"InversionRecovery": "YES", "InversionTimes": [350.0, 20.0]},
        "MRFOVGeometrySequence": {"InPlanePhaseEncodingDirection": "COLUMN"},
        "MRImageFrameTypeSequence": {"FrameType": ["DERIVED", "PRIMARY", "ADC", "NONE"]},
        "FrameVOILUTSequence": {"WindowCenter": [40, 400], "WindowWidth": [80, 2000]},
        "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 125.0},
        "TemporalPositionSequence": {"TemporalPositionTimeOffset": 1.5},
        "CTExposureSequence": {"ExposureTimeInms": 500.0, "XRayTubeCurrentInmA": 120.0},
    }
    (frame,) = frames(made(tmp_path, enhanced(stored(numbers(shape=(5, 4, 1))), [group], measures(OBLIQUE))))
    assert {keyword: frame.facts[keyword] for keyword in _EXPECTED} == _EXPECTED
    assert frame.number("AcquisitionTime") == 93001.25
    assert frame.number("InversionTime") == 350.0
    assert frame.kind == ("DERIVED", "PRIMARY", "ADC", "NONE")
    assert "20200102" not in str(frame.facts), "no days"


_EXPECTED = {
    "StackID": "1", "InStackPositionNumber": 1.0, "TemporalPositionIdentifier": 3.0, "AcquisitionNumber": 9.0,
    "DimensionIndexValues": (1.0, 2.0, 3.0), "AcquisitionTime": "093001.25", "RepetitionTime": 2000.0,
    "FlipAngle": 77.0, "InversionTime": (350.0, 20.0), "InPlanePhaseEncodingDirection": "COL",
    "ImageType": "DERIVED\\PRIMARY\\ADC\\NONE", "WindowCenter": (40.0, 400.0), "WindowWidth": (80.0, 2000.0),
    "TriggerTime": 125.0, "FrameReferenceTime": 1500.0, "ExposureTime": 500.0, "XRayTubeCurrent": 120.0,
}  # fmt: skip


# damage


@pytest.mark.parametrize("count", [5, 7])
def test_groups_of_other_frames(count: int, tmp_path: Path) -> None:
    path = made(tmp_path, enhanced(stored(numbers()), [at(OBLIQUE, k) for k in range(count)], measures(OBLIQUE)))
    with pytest.raises(FormatError, match="NumberOfFrames is 6, it says of"):
        frames(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("endless", [False, True], ids=["lengths", "delimiters"])
def test_damage(syntax: str, endless: bool, tmp_path: Path) -> None:
    """Bytes of functional groups that are something else: an image or one line, and nothing else."""
    groups = [{**at(OBLIQUE, k), **_philips()} for k in range(6)]
    whole = enhanced(stored(numbers()), groups, measures(OBLIQUE), endless=endless, syntax=syntax)
    content = made(tmp_path, whole).read_bytes()
    start = content.index(b"\x00\x52\x29\x92")
    chance = random.Random(len(content))
    for n in range(300):
        place = chance.randrange(start, len(content) - whole.Rows * 60)
        new = bytes([chance.choice((0, 0xFF, chance.randrange(256)))]) * chance.choice((1, 1, 4))
        path = tmp_path / f"{n}.dcm"
        path.write_bytes(content[:place] + new + content[place + len(new) :])
        try:
            backend = open_backend(path)
            read(backend)
        except MedImgError as error:
            assert one_line(error)
        path.unlink()


def test_more_frames_than_pixels(tmp_path: Path) -> None:
    """A count that the pixels do not bear is refused before there is an object for each frame."""
    for count, offsets in ((10**9, None), (2**31 - 1, [0.0, 1.0])):
        whole = multiframe(stored(numbers()), NumberOfFrames=count)
        whole.NumberOfFrames = count
        if offsets:
            whole.GridFrameOffsetVector = offsets
        with pytest.raises(FormatError, match=f"announces {count} frames"):
            frames(made(tmp_path, whole))


def test_sequences_in_sequences(tmp_path: Path) -> None:
    """Macros in macros go a few levels down and no further."""
    group: dict[str, Any] = {}
    for _ in range(12):
        group = {"MRDiffusionSequence": group}
    path = made(tmp_path, enhanced(stored(numbers()), [group] * 6))
    with pytest.raises(FormatError, match="deep"):
        frames(path)


# doses, nuclear medicine, films


@pytest.mark.parametrize("kind", ["straight", "oblique", "left-handed"])
def test_dose(kind: str, tmp_path: Path) -> None:
    """Offsets from the first plane go along row x column, whatever the axes; values are doses."""
    place = AFFINES[kind]
    array = numbers("uint16")
    step = float(np.linalg.norm(np.array(place.rows)[:3, 2])) * (1 if place.determinant > 0 else -1)
    tags = {"SOPClassUID": DOSE, "Modality": "RTDOSE", "DoseGridScaling": 0.25, **geometry(place, 0)}
    whole = multiframe(stored(array), **tags, GridFrameOffsetVector=[round(k * step, 6) for k in range(6)])
    found, header = opened(made(tmp_path, whole))
    assert (header.slope, header.inter) == (0.25, 0.0)
    assert same_world(found, header.affine, array[None] * 0.25, place) is None


def test_dose_by_coordinates(tmp_path: Path) -> None:
    """Offsets that start with z of the first plane are the z of the planes, in the order of the frames."""
    place = AFFINES["straight"]
    array = numbers("uint16")
    tags = geometry(place, 5)
    z = [tags["ImagePositionPatient"][2] - 3.0 * k for k in range(6)]
    whole = multiframe(stored(array)[::-1], SOPClassUID=DOSE, Modality="RTDOSE", **tags, GridFrameOffsetVector=z)
    found, header = opened(made(tmp_path, whole))
    assert same_world(found, header.affine, array[None], place) is None


@pytest.mark.parametrize(
    ("kind", "offsets", "error", "said"),
    [
        ("straight", [5.0, 6.0, 7.0, 8.0, 9.0, 10.0], GeometryError, "neither 0 nor"),
        ("oblique", [81.0, 84.0, 87.0, 90.0, 93.0, 96.0], GeometryError, "neither 0 nor"),
        ("straight", [0.0, 3.0, 6.0], FormatError, "3 numbers"),
    ],
)
def test_dose_that_lies_nowhere(kind: str, offsets: Any, error: type[MedImgError], said: str, tmp_path: Path) -> None:
    tags = geometry(AFFINES[kind], 0)
    whole = multiframe(stored(numbers()), SOPClassUID=DOSE, Modality="RTDOSE", **tags, GridFrameOffsetVector=offsets)
    with pytest.raises(error, match=said):
        frames(made(tmp_path, whole))


def test_number_of_frames_that_is_no_number(tmp_path: Path) -> None:
    """The length of the pixels says how many frames there are."""
    place = AFFINES["straight"]
    tags = {"SOPClassUID": DOSE, "Modality": "RTDOSE", **geometry(place, 0)}
    whole = multiframe(stored(numbers()), **tags, GridFrameOffsetVector=[3.0 * k for k in range(6)])
    content = made(tmp_path, whole).read_bytes()
    path = tmp_path / "b.dcm"
    path.write_bytes(content.replace(b"\x28\x00\x08\x00IS\x02\x006 ", b"\x28\x00\x08\x00IS\x02\x006A"))
    assert content != path.read_bytes()
    found, header = opened(path)
    assert same_world(found, header.affine, numbers()[None], place) is None


@pytest.mark.parametrize("backwards", [False, True])
def test_nuclear_medicine(backwards: bool, tmp_path: Path) -> None:
    """The detector says where the first slice is, SpacingBetweenSlices on which side of it the others are."""
    place, array = AFFINES["left-handed" if backwards else "oblique"], numbers()
    tags = geometry(place, 0)
    detector = {key: tags[key] for key in ("ImagePositionPatient", "ImageOrientationPatient")}
    step = -tags["SliceThickness"] if backwards else tags["SliceThickness"]
    order = shuffled(6)
    whole = multiframe(
        stored(array)[order], SOPClassUID=NUCLEAR, Modality="NM", ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "X"],
        PixelSpacing=tags["PixelSpacing"], SliceThickness=tags["SliceThickness"], SpacingBetweenSlices=step,
        SliceVector=[k + 1 for k in order],
    )  # fmt: skip
    whole.DetectorInformationSequence = [item(detector)]
    found, header = opened(made(tmp_path, whole))
    assert same_world(found, header.affine, array[None], place) is None


def test_nuclear_projections_are_pictures(tmp_path: Path) -> None:
    whole = multiframe(stored(numbers()), SOPClassUID=NUCLEAR, Modality="NM", ImageType=["ORIGINAL", "PRIMARY", "TOMO"])
    _, header = opened(made(tmp_path, whole))
    assert header.ndim == 2 and header.axes == (("time", 6),)


@pytest.mark.parametrize(
    ("tags", "times"),
    [
        ({"FrameTime": 40.0}, [0.0, 40.0, 80.0]),
        ({"FrameTimeVector": [0.0, 30.0, 50.0]}, [0.0, 30.0, 80.0]),
        ({"CineRate": 20}, [0.0, 50.0, 100.0]),
        ({"RecommendedDisplayFrameRate": 10}, [0.0, 100.0, 200.0]),
        ({"FrameTime": 0}, [None, None, None]),
        ({"FrameTimeVector": [0.0, 30.0]}, [None, None, None]),
        ({}, [None, None, None]),
    ],
)
def test_films(tags: dict[str, Any], times: list[Any], tmp_path: Path) -> None:
    whole = multiframe(numbers("uint8", (3, 4, 5)), SOPClassUID=ULTRASOUND, Modality="US", **tags)
    found = frames(made(tmp_path, whole))
    assert [frame.number("TriggerTime") for frame in found] == times
    assert [frame.number("TemporalPositionIdentifier") for frame in found] == [1.0, 2.0, 3.0]


def test_film_in_colour(tmp_path: Path) -> None:
    array = numbers("uint8", (2, 4, 5, 3))
    path = made(tmp_path, multiframe(array, SOPClassUID=ULTRASOUND, Modality="US", FrameTime=40.0))
    found, header = opened(path)
    assert header.axes == (("time", 2), ("rgb", 3))
    assert np.array_equal(found.reshape(3, 2, 5, 4), array.transpose(3, 0, 2, 1))
    assert header.ndim == 2


@pytest.mark.parametrize(("uid", "said"), [(SLIDE, "tiles"), (VOLUME, "volume of their own"), (MASK, "segments")])
def test_frames_that_are_no_slices(uid: str, said: str, tmp_path: Path) -> None:
    path = made(tmp_path, multiframe(stored(numbers()), SOPClassUID=uid))
    with pytest.raises(UnsupportedError, match=said):
        frames(path)


# real files


PHILIPS_FILES, BALLS = "neurolabusc+dcm_qa_enh/In/Philips", "yarikoptic+nitest-balls1/DICOM"
FOLDERS = {
    "field map": (f"{PHILIPS_FILES}/IM_0027_fMAP.dcm", [(1, 64, 64, 32)] * 2),
    "XA10": ("neurolabusc+dcm_qa_enh/In/Siemens/XA10", [(4, 64, 64, 6)]),
    "one time of XA10": ("niivue+niivue/packages/niivue/demos/images/enh.dcm", [(1, 64, 64, 6)]),
    "T1": (f"{BALLS}/T1.dcm", [(1, 80, 80, 10)]),
    "T2": (f"{BALLS}/T2.dcm", [(1, 80, 80, 10)]),
    "interleaved": (f"{BALLS}/T2-interleaved.dcm", [(1, 80, 80, 10)]),
    "times": (f"{BALLS}/T2_.dcm", [(2, 80, 80, 10)]),
    "interleaved times": (f"{BALLS}/T2_-interleaved.dcm", [(2, 80, 80, 10)]),
    "magnitude and phase": (f"{BALLS}/fieldmap.dcm", [(1, 80, 80, 10)] * 2),
    "diffusion": (f"{BALLS}/DTI.dcm", [(8, 80, 80, 10)]),
}


@real
@pytest.mark.parametrize("name", FOLDERS)
def test_real_enhanced_files(name: str, tmp_path: Path) -> None:
    """Shapes are those of dcm2niix; where it is installed its voxels and affines too, volumes in any order.

    Its option ``-p n`` is the scaling of the standard; DTI: it puts the volume without weighting behind the others.
    """
    path = DATA / FOLDERS[name][0]
    found = [opened(path, f"@{part.rank}") for part in _listed(path)]
    assert [header.shape for _, header in found] == FOLDERS[name][1]
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed: only shapes were compared")
    arguments = ["-s", "y"] if path.is_file() else []
    subprocess.run(["dcm2niix", *arguments, "-p", "n", "-o", tmp_path, path], capture_output=True, check=True)
    written = [opened(each) for each in sorted(tmp_path.glob("*.nii*"))]
    assert all(any(_same(array, header, *other) for other in written) for array, header in found)


def _listed(path: Path) -> Any:
    from medimg_cli.formats.dicom.series import list_series

    members = sorted(path.iterdir()) if path.is_dir() else [path]
    return list_series([file(member) for member in members], Reading())


def _same(array: np.ndarray[Any, Any], header: Any, other: np.ndarray[Any, Any], place: Any) -> bool:
    """Tell whether two images have the same volumes in the world, to the rounding of float32."""
    if sorted(header.shape) != sorted(place.shape):
        return False
    move = np.array((place.affine.inverse() @ header.affine).rows)
    turn, shift = np.round(move[:3, :3]).astype(int), np.round(move[:3, 3]).astype(int)
    if np.abs(move[:3, :3] - turn).max() > 1e-3 or np.abs(move[:3, 3] - shift).max() > 1e-3:
        return False
    places = turn @ np.indices(array.shape[1:]).reshape(3, -1) + shift[:, None]
    moved = other[(slice(None), *places)].reshape(array.shape).astype(float)
    limit = 1e-6 * max(1.0, float(np.abs(array).max()))
    return all(any(np.abs(volume - each).max() <= limit for each in moved) for volume in array.astype(float))


@real
def test_real_doses() -> None:
    """By the standard the planes are 5 mm apart; in badVR.dcm the number of frames is "1A"."""
    folder = DATA / "pydicom+pydicom/src/pydicom/data/test_files"
    first = opened(folder / "rtdose.dcm")[0]
    for name in ("rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm", "badVR.dcm"):
        array, header = opened(folder / name)
        assert header.shape == (1, 10, 10, 15)
        assert np.allclose(header.affine.rows[2], (0, 0, 5, -761.87))
        assert np.array_equal(array, first)


@real
@pytest.mark.parametrize("name", ["dcm_frames_1e9", "dcm_frames_neg", "dcm_nested_sq_5000"])
def test_bad_files(name: str) -> None:
    with pytest.raises(MedImgError) as caught:
        open_backend(DATA / f"_generated/bad/{name}.dcm")
    assert one_line(caught.value)

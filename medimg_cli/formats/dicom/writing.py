"""Write an image as a series of DICOM files, one a slice.

Decisions:

- Classic single-frame objects: MR Image, CT Image, or Secondary Capture for everything else; explicit VR little endian.
- Slices are numbered along row x column (PS3.3, C.7.6.2.1.1): of an image with left-handed axes the last one along K
  comes first. Nothing is resampled and no row is turned round, so that the voxels come back where they were.
- Stored numbers and their slope are kept: 8 and 16 bits as they are (MR and CT have 16), wider integers and floats
  where all of them are whole numbers that 16 bits hold. Others need ``rescale``, which spreads the values over 16 bits
  and stores slope and intercept.
- UIDs are derived from the content (PS3.5, B.2: 2.25 and a UUID), dates stay empty: same image, same bytes.
- Patient and study are empty unless ``metadata`` name them; a folder appears whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import hypot
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import Backend, numpy_dtype
from medimg_cli.dtypes import is_complex
from medimg_cli.errors import CastError, GeometryError, StorageError, UnsupportedError, UsageError
from medimg_cli.formats.dicom.reading import EXPLICIT, is_dicom
from medimg_cli.formats.dicom.tags import DESCRIBING
from medimg_cli.formats.foreign import MOST_SHEAR, one_line
from medimg_cli.header import Header
from medimg_cli.storage.source import PathSource, system_error
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MODALITIES", "save_dicom"]

#: Modality -> SOP class, ImageType, and what its objects must say beside.
MODALITIES: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "MR": ("1.2.840.10008.5.1.4.1.1.4", ("DERIVED", "SECONDARY", "OTHER"), {
        "ScanningSequence": "RM", "SequenceVariant": "NONE", "ScanOptions": "", "MRAcquisitionType": "",
        "EchoTime": None, "EchoTrainLength": None,
    }),
    "CT": ("1.2.840.10008.5.1.4.1.1.2", ("DERIVED", "SECONDARY", "AXIAL"), {
        "KVP": None, "AcquisitionNumber": None, "RescaleType": "HU",
    }),
    "OT": ("1.2.840.10008.5.1.4.1.1.7", ("DERIVED", "SECONDARY"), {"ConversionType": "WSD"}),
}  # fmt: skip
#: Type 2 attributes of patient, study, series and equipment: there, and empty where nobody knows.
_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("ReferringPhysicianName", "AccessionNumber", "SeriesNumber", "Manufacturer", "PositionReferenceIndicator"),
    *("Laterality", "PatientPosition"),
)
#: What the image itself says, and no metadata may contradict.
_OWN = frozenset((
    *("SOPClassUID", "SOPInstanceUID", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelData"),
    *("PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"),
    *("SliceThickness", "SpacingBetweenSlices", "InstanceNumber", "Modality", "TransferSyntaxUID"),
))  # fmt: skip
_BIDS = {"ManufacturersModelName": "ManufacturerModelName", "EchoNumber": "EchoNumbers"}
_SECONDS = frozenset(("RepetitionTime", "EchoTime", "InversionTime", "ExposureTime"))
#: dtype -> what 16 bits make of it.
_WIDE = {"bool": "uint16", "uint8": "uint16", "int8": "int16", "uint16": "uint16", "int16": "int16"}


def save_dicom(
    backend: Backend,
    folder: str,
    *,
    modality: str = "MR",
    metadata: Mapping[str, Any] | None = None,
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
        "MR", "CT" or "OT" (Secondary Capture).
    metadata : mapping, optional
        Keyword of DICOM -> value, for patient, study, series and equipment; UIDs of study, series and frame of
        reference may be given, too.
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
    if modality not in MODALITIES:
        raise UsageError(f"modality {modality!r} cannot be written", hint=f"use one of {', '.join(MODALITIES)}")
    header = backend.header
    given = _checked(metadata or {})
    colours = _channels(header, modality)
    _check_geometry(header)
    stored, slope, inter = _stored(backend, modality, rescale)
    shared = {**_described(header), **_common(header, modality), **_scaling(slope, inter, modality), **given}
    shared.update(_uids(stored, header, shared))
    slices = _slices(stored, header, shared, colours)
    return _written(slices, folder, force)


def _checked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata whose keywords exist and belong to nobody else."""
    from pydicom.datadict import tag_for_keyword

    for keyword, value in metadata.items():
        if keyword in _OWN:
            raise UsageError(f"{keyword} is what the image itself says", hint="leave it out of metadata")
        if tag_for_keyword(keyword) is None:
            raise UsageError(f"DICOM has no keyword {keyword!r}")
        problem = _misfit(keyword, value)
        if problem:
            raise UsageError(f"{keyword} cannot be {str(value)[:80]!r}: {problem}")
    return dict(metadata)


def _misfit(keyword: str, value: Any) -> str:
    """Say why an element cannot have a value; "" where it can."""
    import warnings

    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement

    tag = tag_for_keyword(keyword) or 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            DataElement(tag, dictionary_VR(tag), value, validation_mode=RAISE)
    except Exception as error:  # pydicom raises what it likes
        return one_line(error)
    return ""


def _channels(header: Header, modality: str) -> bool:
    """Tell whether channels are colours; refuse those that are neither colours nor time."""
    kinds = tuple(kind for kind, size in header.channel_axes() if size > 1)
    if kinds == ("rgb",) and header.channels == 3 and header.dtype == "uint8":
        if modality == "OT":
            return True
        raise UnsupportedError(f"DICOM {modality} holds no colours", hint="use modality='OT'")
    if kinds not in ((), ("time",)):
        raise UnsupportedError(f"a DICOM series holds no axis {' x '.join(kinds)}", hint="pick one channel")
    return False


def _check_geometry(header: Header) -> None:
    """Refuse what rows, columns and positions cannot say."""
    i, j, k = _columns(header)
    if header.affine.is_singular or hypot(*k) == 0:
        raise GeometryError("DICOM cannot hold voxel axes that lie in one plane")
    cosine = sum(a * b for a, b in zip(i, j, strict=True)) / (hypot(*i) * hypot(*j))
    if abs(cosine) > MOST_SHEAR / 57.3:
        raise GeometryError("DICOM cannot hold rows and columns that are not at a right angle", hint="resample first")


def _columns(header: Header) -> Sequence[tuple[float, ...]]:
    """Return the steps along I, J, K in LPS."""
    return list(zip(*header.affine.to_lps().rows[:3], strict=True))[:3]


# numbers


def _stored(backend: Backend, modality: str, rescale: bool) -> tuple[np.ndarray[Any, Any], float, float]:
    """Return numbers of 8 or 16 bits with their slope and intercept."""
    header = backend.header
    if is_complex(header.dtype):
        raise UnsupportedError("DICOM holds no complex numbers", hint="save magnitude and phase")
    raw = backend.read(whole(header.shape), raw=True)
    slope, inter = (header.slope or 1.0, header.inter or 0.0) if header.scaled else (1.0, 0.0)
    if header.dtype == "uint8" and modality == "OT":
        return raw, slope, inter
    if header.dtype in _WIDE:
        return raw.astype(_WIDE[header.dtype], copy=False), slope, inter
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
        raise CastError(f"its values {what}, DICOM holds 16 bits", hint="add rescale=True, or cast it first")
    first = float(_decimal(float(low)))
    step = float(_decimal((float(high) - first) / 65535)) or 1.0
    numbers = np.rint((raw.astype("float64") - first) / step)
    return np.clip(numbers, 0, 65535).astype("uint16"), slope * step, inter + slope * first


def _decimal(value: float) -> str:
    """Write a number in the 16 characters that DICOM has for it (PS3.5, VR DS)."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def _scaling(slope: float, inter: float, modality: str) -> dict[str, Any]:
    if (slope, inter) == (1.0, 0.0) and modality != "CT":
        return {}
    found = {"RescaleSlope": _decimal(slope), "RescaleIntercept": _decimal(inter)}
    return found if modality == "CT" else {**found, "RescaleType": "US"}


# words


def _described(header: Header) -> dict[str, Any]:
    """Return what the header says of the acquisition, in the units of DICOM, as far as DICOM has room for it."""
    found: dict[str, Any] = {}
    for name, value in header.metadata.items():
        keyword = _BIDS.get(name, name)
        if keyword in DESCRIBING and keyword not in _OWN and keyword != "RescaleType":
            found[keyword] = value * 1000 if keyword in _SECONDS and isinstance(value, (int, float)) else value
    found = {keyword: value for keyword, value in found.items() if not _misfit(keyword, value)}
    if header.description:
        found["SeriesDescription"] = "".join(c for c in header.description if c.isprintable() and c != "\\")[:64]
    return found


def _common(header: Header, modality: str) -> dict[str, Any]:
    """Return what all slices say alike."""
    uid, kind, needed = MODALITIES[modality]
    steps = _columns(header)
    sizes = [hypot(*step) for step in steps]
    known = _described(header)
    return {
        **{keyword: None for keyword in _EMPTY if keyword not in known},
        **{keyword: value for keyword, value in needed.items() if keyword not in known},
        "SOPClassUID": uid,
        "Modality": modality,
        "ImageType": list(kind),
        "SpecificCharacterSet": "ISO_IR 192",
        "PixelSpacing": [_decimal(sizes[1]), _decimal(sizes[0])],
        "ImageOrientationPatient": [
            _decimal(x / size) for step, size in zip(steps[:2], sizes, strict=False) for x in step
        ],
        "SliceThickness": _decimal(sizes[2]),
        "SpacingBetweenSlices": _decimal(sizes[2]),
    }


def _uids(stored: np.ndarray[Any, Any], header: Header, shared: Mapping[str, Any]) -> dict[str, str]:
    """Return the UIDs of study, series and frame of reference, derived from all that is written."""
    said = (stored.shape, stored.dtype.str, header.affine.rows, sorted(shared.items(), key=str))
    digest = sha256(repr(said).encode())
    for channel in stored:
        digest.update(channel.tobytes(order="K"))
    seed = digest.digest()
    names = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    return {name: str(shared.get(name) or _uid(seed, name)) for name in names}


def _uid(seed: bytes, what: str) -> str:
    """Return a UID for one thing (PS3.5, B.2): the bits of a UUID of version 8 under 2.25."""
    value = int.from_bytes(sha256(seed + what.encode()).digest()[:16], "big")
    value = value & ~(0xF << 76) | (8 << 76)
    value = value & ~(0x3 << 62) | (2 << 62)
    return f"2.25.{value}"


# files


def _slices(
    stored: np.ndarray[Any, Any], header: Header, shared: Mapping[str, Any], colours: bool
) -> Iterator[tuple[int, Any]]:
    """Yield (InstanceNumber, data set) of each slice, volume by volume along the normal."""
    from pydicom.dataset import Dataset

    count, times = stored.shape[3], 1 if colours else stored.shape[0]
    order = range(count) if header.affine.determinant > 0 else range(count - 1, -1, -1)
    lps = header.affine.to_lps()
    step = header.time_spacing
    for t in range(times):
        for n, k in enumerate(order):
            made = Dataset()
            for keyword, value in shared.items():
                setattr(made, keyword, value)
            number = t * count + n + 1
            made.InstanceNumber = number
            made.SOPInstanceUID = _uid(shared["SeriesInstanceUID"].encode(), f"instance {number}")
            made.ImagePositionPatient = [_decimal(x) for x in lps.apply((0, 0, k))]
            if times > 1:
                made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = t + 1, times
                made.AcquisitionNumber = t + 1
                if step:
                    made.TemporalResolution = _decimal(step * 1000)
            _set_pixels(made, stored[:, :, :, k] if colours else stored[t : t + 1, :, :, k])
            yield number, made


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


def _written(slices: Iterator[tuple[int, Any]], folder: str, force: bool) -> list[str]:
    """Write slices into a new folder beside the target, which then takes its name."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    target = os.path.abspath(folder)
    _check_target(target, force)
    parent, name = os.path.split(target)
    names = []
    try:
        staged = tempfile.mkdtemp(prefix=f".{name}.medimg-", dir=parent)
        try:
            os.chmod(staged, 0o777 & ~_umask())
            for number, made in slices:
                made.file_meta = FileMetaDataset()
                made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
                names.append(f"{number:05d}.dcm")
                made.save_as(os.path.join(staged, names[-1]), enforce_file_format=True)
            _take_name(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    except OSError as error:
        raise system_error(error, folder) from error
    return [os.path.join(folder, name) for name in names]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_target(target: str, force: bool) -> None:
    """Refuse a target that holds something, unless it may be replaced and is a series."""
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target) or os.path.islink(target):
        raise StorageError("exists and is no folder", path=target)
    inside = [os.path.join(target, name) for name in os.listdir(target)]
    if inside and not force:
        raise StorageError("exists already", path=target, hint="force=True replaces it")
    if not all(os.path.isfile(path) and is_dicom(PathSource(path).head(132)) for path in inside):
        raise StorageError("holds something else than DICOM files and is not replaced", path=target)


def _take_name(staged: str, target: str) -> None:
    """Rename a folder to its target; what stood there comes back where that fails."""
    if not os.path.lexists(target):
        os.rename(staged, target)
        return
    old = staged + "-old"
    os.rename(target, old)
    try:
        os.rename(staged, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)

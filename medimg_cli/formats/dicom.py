"""DICOM, read only: one file, or a folder whose files are one series.

:mod:`~medimg_cli.formats.dicom_reading` reads headers, :mod:`~medimg_cli.formats.dicom_series` sorts slices and places
them, :mod:`~medimg_cli.formats.dicom_pixels` finds their pixels. What it all means is decided there; here it becomes a
header, and:

- In a folder everything that is no DICOM file is ignored and counted in a warning, as are DICOMDIR, folders in it, and
  DICOM objects that are no images beside some that are.
- One series is one image. A folder of several is refused with the list of them.
- Metadata take the names and units of BIDS (seconds, degrees, tesla). They hold nothing that tells who the patient is.
- RescaleSlope 0 is no scaling, with a warning.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from medimg_cli.backends import Backend
from medimg_cli.dtypes import scaled_dtype
from medimg_cli.errors import MedImgError, UnsupportedError
from medimg_cli.formats.dicom_pixels import is_stored, problem_of, voxels
from medimg_cli.formats.dicom_reading import DESCRIBING, DicomFile, fields, is_dicom, number, plain, read_file, text
from medimg_cli.formats.dicom_series import Stack, place
from medimg_cli.formats.foreign import check_shape, foreign_errors
from medimg_cli.header import Header, Native
from medimg_cli.storage.source import ByteSource, PathSource

__all__ = ["open", "open_folder"]

#: Keyword of DICOM -> name in BIDS where it differs.
_NAMES = {"ManufacturerModelName": "ManufacturersModelName", "EchoNumbers": "EchoNumber"}
#: Milliseconds of DICOM that BIDS counts in seconds.
_SECONDS = frozenset(("RepetitionTime", "EchoTime", "InversionTime", "ExposureTime"))
_EXECUTABLES = {b"MZ": "Windows", b"\x7fELF": "Linux", b"\xca\xfe\xba\xbe": "macOS", b"\xcf\xfa\xed\xfe": "macOS"}


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open one DICOM file; only its header is read.

    Raises
    ------
    UnsupportedError
        If it is no single image; the line names what it is.
    FormatError
        If its header contradicts itself.
    """
    if compression is not None:
        raise UnsupportedError(f"is a DICOM file in {compression}", path=source.name, hint="decompress it first")
    with foreign_errors(source.name, "DICOM"):
        return _image([read_file(source)])


def open_folder(path: str) -> Backend:
    """Open a folder whose DICOM files are one series; only their headers are read.

    Raises
    ------
    UnsupportedError
        If it holds no image, or several series; the line lists them.
    GeometryError
        If slices are missing, double or not evenly spaced; the line names two files.
    """
    with foreign_errors(path, "DICOM"):
        files, notes = _files(path)
        backend = _image(files, notes)
    size = sum(file.source.size or 0 for file in files)
    backend.header = backend.header.replace(format="dicom", file_bytes=size)  # type: ignore[misc]
    return backend


def _files(path: str) -> tuple[list[DicomFile], list[str]]:
    """Read the headers of the images in a folder; say what else is in it."""
    files: list[DicomFile] = []
    objects: list[MedImgError] = []
    others = 0
    for name in sorted(os.listdir(path)):
        source = _source(os.path.join(path, name))
        if source is None:
            others += 1
            continue
        try:
            files.append(read_file(source))
        except UnsupportedError as error:
            objects.append(error)
    if not files:
        if objects:
            raise objects[0]
        raise UnsupportedError("holds no DICOM file", path=path)
    image = [error for error in objects if "not an image" not in error.message]
    if image:
        raise image[0]
    notes = [_counted(others, "is no DICOM file and is", "are no DICOM files and are")] if others else []
    if objects:
        notes.append(_counted(len(objects), "is no image and is", "are no images and are"))
    return files, notes


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} of what is in the folder {one if count == 1 else many} ignored"


def _source(path: str) -> ByteSource | None:
    """Return a file of a folder, None where it is no DICOM image file."""
    if os.path.basename(path).upper().startswith("DICOMDIR") or not os.path.isfile(path):
        return None
    source = PathSource(path)
    return source if is_dicom(source.head(132)) else None


def _image(files: Sequence[DicomFile], notes: Sequence[str] = ()) -> Backend:
    """Return the image that files make."""
    stack = place(files)
    first = stack.volumes[0][0]
    scalings = {file.scaling for volume in stack.volumes for file in volume}
    scaled = len(scalings) > 1
    header = _header(stack, first, scaled)
    warnings = [*notes, *stack.warnings, *_doubts(first, scaled)]
    if len(files) > 1:
        problems = (problem_of(file) for volume in stack.volumes for file in volume)
        warnings += list(dict.fromkeys(filter(None, problems)))[:3]
    return voxels(stack.volumes, header.warn(*warnings), scaled)


def _header(stack: Stack, first: DicomFile, scaled: bool) -> Header:
    pixels, times = first.pixels, len(stack.volumes)
    if pixels.samples > 1 and times > 1:
        raise UnsupportedError("colours that change with time are not read in this version")
    slope, inter = (1.0, 0.0) if scaled else first.scaling
    plainly = scaled or slope == 0 or (slope, inter) == (1.0, 0.0)
    shape = (times * pixels.samples, pixels.columns, pixels.rows, len(stack.volumes[0]))
    check_shape(shape, pixels.dtype, first.source.name)
    return Header(
        shape=shape,
        dtype=scaled_dtype(pixels.dtype) if scaled else pixels.dtype,
        affine=stack.affine,
        axes=(("rgb", 3),) if pixels.samples > 1 else (("time", times),) if times > 1 else (),
        ndim=3 if stack.positioned else 2,
        byte_order="big" if first.big and is_stored(first) else "little",
        slope=None if plainly else slope,
        inter=None if plainly else inter,
        affine_source="dicom" if stack.positioned else "picture",
        time_spacing=_time_spacing(first) if times > 1 else None,
        description=text(first.dataset, "SeriesDescription") or text(first.dataset, "ProtocolName"),
        metadata=_metadata(first),
        native=Native("dicom", fields(first.dataset)),
    )


def _time_spacing(file: DicomFile) -> float | None:
    """Return seconds between volumes: TemporalResolution, else TR where one excitation fills a volume's slice (EPI)."""
    step = number(file.dataset, "TemporalResolution")
    if not step and "EP" in text(file.dataset, "ScanningSequence"):
        step = number(file.dataset, "RepetitionTime")
    return step / 1000 if step and step > 0 else None


def _metadata(file: DicomFile) -> dict[str, Any]:
    """Return what describes the acquisition, under the names and in the units of BIDS."""
    found: dict[str, Any] = {}
    for keyword in DESCRIBING:
        value = plain(file.dataset, keyword)
        if value is None:
            continue
        if keyword in _SECONDS and isinstance(value, (int, float)):
            value = value / 1000
        found[_NAMES.get(keyword, keyword)] = value
    kind = plain(file.dataset, "ImageType")
    if kind is not None:
        found["ImageType"] = kind
    if file.pixels.photometric != "MONOCHROME2":
        found["PhotometricInterpretation"] = file.pixels.photometric
    return found


def _doubts(file: DicomFile, scaled: bool) -> list[str]:
    """Say what a careful reader should know of a file."""
    found = []
    head = file.source.head(128)
    for magic, system in _EXECUTABLES.items():
        if head.startswith(magic):
            found.append(f"its preamble starts like a program for {system}: never run this file")
    if scaled:
        found.append("its slices have rescale slopes of their own: the numbers are values, not what is stored")
    elif file.scaling[0] == 0:
        found.append("RescaleSlope is 0: the stored numbers are the values")
    if "ModalityLUTSequence" in file.dataset:
        found.append("its modality look-up table is not applied: the numbers are what is stored")
    if file.pixels.photometric == "MONOCHROME1":
        found.append("MONOCHROME1: low values are meant to be shown bright; they are kept as stored")
    if file.pixels.photometric == "PALETTE COLOR":
        found.append("PALETTE COLOR: the numbers are places in a table of colours, which is not applied")
    return found

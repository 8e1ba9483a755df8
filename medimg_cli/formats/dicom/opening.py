"""Images of DICOM: one file, or one series of a folder.

What frames mean is decided in the other modules; here they become a header and voxels:

- RescaleSlope 0 is no scaling, with a warning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medimg_cli.backends import Backend, shortage
from medimg_cli.dtypes import scaled_dtype
from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.dicom.bids import Fields
from medimg_cli.formats.dicom.describing import doubts, metadata, time_spacing
from medimg_cli.formats.dicom.diffusion import gradients, undirected
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.pixels import voxels
from medimg_cli.formats.dicom.placing import Stack
from medimg_cli.formats.dicom.planes import is_stored, problem_of
from medimg_cli.formats.dicom.reading import fields, is_directory, read_file
from medimg_cli.formats.dicom.scanning import Scan, scan, scan_directory
from medimg_cli.formats.dicom.series import Series, choose, list_series
from medimg_cli.formats.foreign import check_shape, foreign_errors
from medimg_cli.formats.reading import Reading
from medimg_cli.header import Header, Native
from medimg_cli.storage.source import ByteSource

__all__ = ["image_of", "image_of_scan", "open", "open_folder"]


def open(source: ByteSource, compression: str | None, reading: Reading | None = None) -> Backend:
    """Open one DICOM file, or one series of those that a DICOMDIR names; only headers are read.

    Raises
    ------
    UnsupportedError
        If it holds no image, or several and none is chosen; the line names what it holds.
    FormatError
        If its header contradicts itself.
    """
    if compression is not None:
        raise UnsupportedError(f"is a DICOM file in {compression}", path=source.name, hint="decompress it first")
    reading = reading or Reading()
    with foreign_errors(source.name, "DICOM"):
        if is_directory(source):
            return image_of_scan(scan_directory(source), source.name, reading)
        return image_of(choose(list_series([read_file(source)], reading), reading))


def open_folder(path: str, reading: Reading | None = None) -> Backend:
    """Open one series of the DICOM files of a folder; only their headers are read.

    Raises
    ------
    UnsupportedError
        If it holds no image, or several and none is chosen; the line lists them.
    GeometryError
        If slices are missing, double or not evenly spaced; the line names two files.
    """
    reading = reading or Reading()
    with foreign_errors(path, "DICOM"):
        return image_of_scan(scan(path, reading), path, reading)


def image_of_scan(found: Scan, name: str, reading: Reading) -> Backend:
    """Return the one image among DICOM files that is chosen.

    Parameters
    ----------
    found : Scan
    name : str
        Of the folder or archive, for messages.
    reading : Reading

    Raises
    ------
    MedImgError
        As `open_folder`.
    """
    series = choose(list_series(found.images(name), reading), reading)
    return image_of(series, found.notes(series.files))


def image_of(series: Series, notes: Sequence[str] = ()) -> Backend:
    """Return the image of a series.

    Parameters
    ----------
    series : Series
    notes : sequence of str
        Warnings to add.

    Raises
    ------
    MedImgError
        What is wrong with the series.
    """
    if series.error is not None:
        raise series.error
    if series.stack is None:
        from medimg_cli.formats.dicom.segmentations import open_segmentation

        backend: Any = open_segmentation(series.files[0])
    else:
        backend = _image(series.stack)
    problem = shortage(backend)
    size = sum(file.source.size or 0 for file in series.files)
    header = backend.header.replace(format="dicom", file_bytes=size)
    said = [*notes, *header.warnings, *([problem] if problem else [])]
    backend.header = header.replace(warnings=tuple(dict.fromkeys(said)))
    found: Backend = backend
    return found


def _image(stack: Stack) -> Backend:
    """Return the image of frames in place."""
    first = stack.volumes[0][0]
    frames = [frame for volume in stack.volumes for frame in volume]
    scaled = len({frame.scaling for frame in frames}) > 1
    header = _header(stack, first, scaled)
    warnings = [*stack.warnings, *doubts(first, scaled), *undirected(header.gradients)]
    if len(frames) > 1:
        warnings += list(dict.fromkeys(filter(None, (problem_of(frame.file) for frame in frames))))[:3]
    backend = voxels(stack.volumes, header.warn(*warnings), scaled)
    if stack.places is None:
        return backend
    from medimg_cli.formats.dicom.gaps import GapsBackend

    return GapsBackend(backend, stack.places)


def _header(stack: Stack, first: Frame, scaled: bool) -> Header:
    pixels, times = first.file.pixels, len(stack.volumes)
    rows, columns = first.size
    slope, inter = (1.0, 0.0) if scaled else first.scaling
    plainly = scaled or slope == 0 or (slope, inter) == (1.0, 0.0)
    shape = (times * pixels.samples, columns, rows, len(stack.volumes[0]))
    check_shape(shape, pixels.dtype, first.file.source.name)
    return Header(
        shape=shape,
        dtype=scaled_dtype(pixels.dtype) if scaled else pixels.dtype,
        affine=stack.affine,
        axes=(*((("time", times),) if times > 1 else ()), *((("rgb", 3),) if pixels.samples > 1 else ())),
        ndim=3 if stack.positioned else 2,
        byte_order="big" if first.file.big and is_stored(first.file) else "little",
        slope=None if plainly else slope,
        inter=None if plainly else inter,
        affine_source="dicom" if stack.positioned else "picture",
        time_spacing=time_spacing(stack.volumes) if times > 1 else None,
        description=first.text("SeriesDescription") or first.text("ProtocolName"),
        gradients=gradients(stack),
        metadata=metadata(first),
        native=Native("dicom", Fields(fields(first.file.elements), stack)),
    )

"""What a header says, as plain facts: the record behind ``medimg info``, its JSON and its tables.

A record is a JSON-able mapping with the keys of :data:`KEYS`, in their order; floats may be NaN, printing decides what
becomes of that. Keys may be added, none changes its meaning: :data:`SCHEMA` counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import UsageError
from medimg_cli.expanding import expand
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.formats.dicom.series import Series
    from medimg_cli.formats.reading import Reading
    from medimg_cli.header import Header

__all__ = [
    *("KEYS", "SCHEMA", "Inspection", "find_images", "identifies", "image_facts", "inspect_images"),
    *("native_facts", "patient_facts"),
]

SCHEMA = "medimg.info/1"
HIDDEN = "(hidden; --phi shows it)"

KEYS = (
    *("schema", "path", "format", "compression", "shape", "spatial_shape", "channels", "axes", "dtype", "byte_order"),
    *("slope", "inter", "spacing_mm", "origin_mm", "orientation", "affine", "affine_source"),
    *("sform", "sform_code", "qform", "qform_code", "shear_deg", "obliquity_deg", "extent_mm", "units"),
    *("time_spacing_s", "intent", "description", "memory_bytes", "file_bytes", "warnings", "series"),
)
"""Keys of a record, in order."""

_IDENTITY = (
    *("patientname", "patientid", "patientsname", "patientbirth", "patientaddress", "patienttelephone"),
    *("patientmother", "patientfullname", "patientsid", "patientsbirth", "otherpatient", "birthdate"),
    *("accessionnumber", "subjectname", "subjectid", "militaryrank", "medicalrecord", "insuranceplan"),
    *("00100010", "00100020", "00100030", "00101", "dicom0x0010"),
)
"""Parts of field names that tell who somebody is, lower case without punctuation."""

_HALVES = {".img": ".hdr", ".rec": ".par", ".brik": ".head"}
"""Suffix of the voxels of a pair -> suffix of its header, which stands for both."""


def image_facts(header: Header, path: str, series: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Put a header into the record of :data:`SCHEMA`.

    Parameters
    ----------
    header : Header
    path : str
        As the user named it.
    series : mapping, optional
        What tells a series of DICOM from others of the path; see `expanding.series_facts`.

    Returns
    -------
    dict
        Keys of :data:`KEYS`; lengths in mm, times in s, angles in degrees, sizes in bytes.
    """
    affine, shape = header.affine, header.spatial_shape
    spacing = affine.spacing
    return {
        "schema": SCHEMA,
        "path": path,
        "format": header.format,
        "compression": header.compression,
        "shape": list(header.shape),
        "spatial_shape": list(shape),
        "channels": header.channels,
        "axes": [{"kind": kind, "size": size} for kind, size in header.axes],
        "dtype": header.dtype,
        "byte_order": header.byte_order,
        "slope": header.slope,
        "inter": header.inter,
        "spacing_mm": list(spacing),
        "origin_mm": list(affine.origin),
        "orientation": "".join(affine.orientation),
        "affine": _matrix(affine),
        "affine_source": header.affine_source,
        "sform": _matrix(header.sform),
        "sform_code": header.sform_code,
        "qform": _matrix(header.qform),
        "qform_code": header.qform_code,
        "shear_deg": affine.shear_deg,
        "obliquity_deg": affine.obliquity_deg,
        "extent_mm": [size * step for size, step in zip(shape, spacing, strict=True)],
        "units": {"space": header.space_units, "time": header.time_units},
        "time_spacing_s": header.time_spacing,
        "intent": header.intent,
        "description": header.description or None,
        "memory_bytes": header.value_bytes,
        "file_bytes": header.file_bytes,
        "warnings": list(header.warnings),
        "series": None if series is None else dict(series),
    }


def _matrix(affine: AffineMatrix | None) -> list[list[float]] | None:
    return None if affine is None else [[value + 0.0 for value in row] for row in affine.rows]


def native_facts(header: Header, *, phi: bool = False) -> dict[str, Any]:
    """Return every field that the file's own header has, and what else the file carries, by name.

    Parameters
    ----------
    header : Header
    phi : bool
        Also say who the patient is.
    """
    facts: dict[str, Any] = {**_raw_fields(header), **header.metadata}
    if header.intent_name or header.intent_params:
        facts["intent parameters"] = [header.intent_name, *header.intent_params]
    for code, content in header.extensions:
        facts[f"extension {code}"] = f"{len(content)} bytes"
    if header.gradients is not None:
        facts["b-values"] = list(header.gradients.bvals)
    if header.labels is not None:
        facts["labels"] = [f"{label.value} {label.name}" for label in header.labels]
    for number, step in enumerate(header.history, 1):
        facts[f"history {number}"] = str(step.get("name", step))
    return facts if phi else {name: HIDDEN if identifies(name) else value for name, value in facts.items()}


def _raw_fields(header: Header) -> Mapping[str, Any]:
    """Ask the codec for the fields of its raw header: its ``native_fields(data) -> mapping``, where it has one."""
    if header.native is None:
        return {}
    from medimg_cli.formats import codec_module, find_format

    fields = getattr(codec_module(find_format(header.format)), "native_fields", None)
    if fields is not None:
        return dict(fields(header.native.data))
    return header.native.data if isinstance(header.native.data, Mapping) else {}


def identifies(name: str) -> bool:
    """Tell whether a field of that name tells who somebody is.

    >>> identifies("Patient's Name"), identifies("EchoTime")
    (True, False)
    """
    plain = "".join(c for c in name.lower() if c.isalnum())
    return any(part in plain for part in _IDENTITY)


def find_images(paths: Iterable[str], *, recursive: bool = False) -> Iterator[str]:
    """Yield the images that paths stand for.

    Parameters
    ----------
    paths : iterable of str
        Files are images whatever their name.
    recursive : bool
        Folders are walked, in sorted order, for files whose suffix is an image's, and folders of DICOM files, which are
        one image. Hidden folders, archives and the second file of a pair are left out. A folder that may not be read
        is among them, so that whoever reads it says so.

    Raises
    ------
    UsageError
        A folder is walked and holds no image.
    """
    for path in paths:
        if not recursive or not os.path.isdir(path) or path.rstrip("/").lower().endswith(".zarr"):
            yield path
            continue
        images = list(_walk(path))
        yield from images
        if not images:
            raise UsageError("no images in this folder", path=path, hint="see: medimg formats")


def _walk(folder: str) -> Iterator[str]:
    from medimg_cli.formats import all_formats, find_format, split_suffix

    slices = find_format("dicom").suffixes
    known = {suffix for row in all_formats() if row.name != "archive" for suffix in row.suffixes}
    covered: list[str] = []  # folders whose series are read with all that lies below
    refused: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=refused.append):
        stores = [name for name in folders if name.lower().endswith(".zarr")]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in stores)
        present = {name.lower().removesuffix(".gz") for name in files}
        series = _is_series(place, files)
        if series and not any(place.startswith(other) for other in covered):
            covered.append(os.path.join(place, ""))
            yield place
        for name in sorted(files + stores):
            stem, suffix, _ = split_suffix(name)
            header = _HALVES.get(suffix)
            if series and suffix in slices:
                continue
            if suffix in known and not (header and stem.lower() + header in present) and not name.startswith("."):
                path = os.path.join(place, name)
                if not _is_special(path):
                    yield path
    yield from sorted(str(error.filename) for error in refused)


def _is_series(folder: str, files: Sequence[str]) -> bool:
    """Tell whether the files of a folder are slices of DICOM."""
    from medimg_cli.formats import find_format, split_suffix
    from medimg_cli.formats.folders import holds_dicom

    slices = find_format("dicom").suffixes
    suffixes = {split_suffix(name)[1] for name in files}
    if not any(suffix in (*slices, "") or suffix[1:].isdigit() for suffix in suffixes):
        return False
    return holds_dicom(folder, files)


def _is_special(path: str) -> bool:
    """Tell whether a path is a pipe, a socket or a device: reading it may never end."""
    from stat import S_ISDIR, S_ISREG

    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (S_ISREG(mode) or S_ISDIR(mode))


class Inspection(NamedTuple):
    """What came of reading one header.

    Parameters
    ----------
    facts : dict
        The record; where the path failed, ``error`` stands for every fact.
    header : Header or None
        What the record was made from; None where the path failed.
    message : str
        One line for the user, where the path failed.
    cause : Exception or None
        What was raised.
    shared : tuple of str
        Warnings that say something of the path, and so of every image in it.
    """

    facts: dict[str, Any]
    header: Header | None = None
    message: str = ""
    cause: Exception | None = None
    shared: tuple[str, ...] = ()


def inspect_images(
    paths: Iterable[str],
    *,
    recursive: bool = False,
    native: bool = False,
    phi: bool = False,
    reading: Reading | None = None,
) -> Iterator[Inspection]:
    """Read the header of each path, none of its voxels, and yield its record; a path that fails never stops the others.

    Parameters
    ----------
    paths : iterable of str
        ``-`` is standard input.
    recursive : bool
        Walk folders; see :func:`find_images`.
    native : bool
        Add a key ``native``: every field of the file's own header.
    phi : bool
        Also say who the patient is; for DICOM in a key ``patient``.
    reading : Reading, optional
        Which series of those that a path holds; left out: all.

    Yields
    ------
    Inspection
        One an image, so one a series of DICOM, or one a path that failed.
    """
    for path in paths:
        try:
            for image in find_images([path], recursive=recursive):
                yield from _inspect(image, reading, native=native, phi=phi)
        except Exception as error:
            yield _failed(path, error)


def _inspect(path: str, reading: Reading | None, *, native: bool, phi: bool) -> Iterator[Inspection]:
    try:
        entries = expand(path, reading)
    except Exception as error:
        yield _failed(path, error)
        return
    for entry in entries:
        try:
            header = entry.open().header
            facts = image_facts(header, path, entry.facts())
            if native:
                facts["native"] = native_facts(header, phi=phi)
            if phi and entry.series is not None:
                facts["patient"] = patient_facts(entry.series)
            yield Inspection(facts, header, shared=entry.remarks())
        except Exception as error:
            yield _failed(path, error, entry.facts(), several=len(entries) > 1)


def patient_facts(series: Series) -> dict[str, str]:
    """Return who the patient of a series is, and who and what was there, as its first file says."""
    from medimg_cli.formats.dicom.identity import identity

    return identity(series.files[0])


def _failed(
    path: str, error: Exception, series: Mapping[str, Any] | None = None, *, several: bool = False
) -> Inspection:
    from medimg_cli.batch import describe

    message = describe(error, path).message
    named = getattr(error, "path", None) or public_name(path)
    facts: dict[str, Any] = {"schema": SCHEMA, "path": path, "error": message.removeprefix(f"{named}: ")}
    if series is not None:
        facts["series"] = dict(series)
        if several:
            message = f"{public_name(path)} @{series['index']}: {message.removeprefix(f'{public_name(path)}: ')}"
    return Inspection(facts, message=message, cause=error)

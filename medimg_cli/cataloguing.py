"""The DICOM series of folders and archives in depth, as plain facts: the record behind ``medimg dicom``.

A record is a JSON-able mapping with the keys of :data:`KEYS`, one for each series: images, and objects that medimg
lists and does not read. Keys may be added, none changes its meaning: :data:`SCHEMA` counts. Headers are read, never
voxels.

Where slices are missing or uneven and ``--gaps`` refuses them, shape and orientation are those of the slices that are
there, so that people see what they have; the step between them is null, and ``error`` says why it is not read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import FormatError, GeometryError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.expanding import may_hold_series, series_facts
from medimg_cli.facts import image_facts, patient_facts
from medimg_cli.formats.reading import Reading
from medimg_cli.listing import Listing, failed
from medimg_cli.storage.source import PathSource

if TYPE_CHECKING:
    from medimg_cli.formats.dicom.catalogue import Catalogue
    from medimg_cli.formats.dicom.reading import DicomFile
    from medimg_cli.formats.dicom.series import Series
    from medimg_cli.header import Header

__all__ = ["KEYS", "SCHEMA", "list_dicom"]

SCHEMA = "medimg.dicom/1"

_PLACED = (
    *("shape", "spatial_shape", "axes", "dtype", "spacing_mm", "orientation", "affine", "obliquity_deg"),
    *("extent_mm", "time_spacing_s", "memory_bytes"),
)
KEYS = (
    *("schema", "path", "index", "number", "uid", "description", "modality", "label", "kind", *_PLACED),
    *("slices", "times", "tilt_deg", "files", "file_bytes", "first_file", "syntaxes", "problems", "warnings", "error"),
)
"""Keys of a record, in order."""

#: Class of an error -> code of the problem, the first that fits.
_CODES = (
    (GeometryError, "geometry"), (TruncatedError, "truncated"), (UnsupportedError, "unsupported"),
    (FormatError, "damaged"), (MedImgError, "unreadable"),
)  # fmt: skip

#: Names of usual SOP classes and transfer syntaxes, so that nobody has to import pydicom for them.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_KINDS = {
    f"{_STORAGE}1": "Computed Radiography Image",
    f"{_STORAGE}2": "CT Image",
    f"{_STORAGE}2.1": "Enhanced CT Image",
    f"{_STORAGE}4": "MR Image",
    f"{_STORAGE}4.1": "Enhanced MR Image",
    f"{_STORAGE}6.1": "Ultrasound Image",
    f"{_STORAGE}7": "Secondary Capture Image",
    f"{_STORAGE}20": "Nuclear Medicine Image",
    f"{_STORAGE}66.4": "Segmentation",
    f"{_STORAGE}128": "Positron Emission Tomography Image",
}
_SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
}

#: Angle below which a shear is rounding.
_STRAIGHT = 0.01


def list_dicom(paths: Iterable[str], *, reading: Reading | None = None, phi: bool = False) -> Iterator[Listing]:
    """List the DICOM series of each path; one that fails never stops the others.

    Parameters
    ----------
    paths : iterable of str
        Folders, DICOMDIRs, archives and files.
    reading : Reading, optional
        The one series to list; what to do with gaps.
    phi : bool
        Add a key ``patient``: who the patient is, and who and what was there.

    Yields
    ------
    Listing
        One a path; its warnings are what is said of no series.
    """
    for path in paths:
        try:
            yield _listing(path, reading or Reading(), phi=phi)
        except Exception as error:
            yield failed(SCHEMA, path, error)


def _listing(path: str, reading: Reading, *, phi: bool) -> Listing:
    from medimg_cli.formats.dicom.catalogue import catalogue
    from medimg_cli.formats.dicom.series import choose

    if not may_hold_series(path):
        os.stat(path)
        if not os.path.isdir(path):
            PathSource(path)  # says where it cannot be opened
        raise UnsupportedError("holds no DICOM file", path=path)
    found = catalogue(path, reading)
    series: Sequence[Series] = found.series
    if reading.series is not None:
        if not series:
            found.scan.images(path)  # says why
        series = [choose(series, reading)]
    mates = Counter((one.uid, one.number) for one in found.series)
    records = [_record(path, one, found, mates[one.uid, one.number], reading, phi=phi) for one in series]
    if reading.series is None:
        records += _objects(path, found)
    if not records:
        found.scan.images(path)
    return Listing(path, tuple(records), _remarks(found))


def _remarks(found: Catalogue) -> tuple[str, ...]:
    """Say what there is beside series; one sentence each."""
    broken = [f"{name.rpartition('/')[2]} cannot be read: {error.message}" for name, error in found.scan.broken[:5]]
    if len(found.scan.broken) > len(broken):
        broken.append(f"{len(found.scan.broken) - len(broken)} more files cannot be read")
    return (*found.scan._replace(broken=(), objects=()).notes(), *broken)


# -- one series -----------------------------------------------------------------------------------------------------


def _record(path: str, one: Series, found: Catalogue, mates: int, reading: Reading, *, phi: bool) -> dict[str, Any]:
    from medimg_cli.formats.dicom.opening import image_of

    error: MedImgError | None = None
    header: Header | None = None
    try:
        header = image_of(one).header
        found.scan.notes(one.files)  # a file that cannot be read may be one of them
    except MedImgError as raised:
        error = raised
        header = header or _as_it_lies(one, reading)
    placed = _placed(header, path) if header is not None else _unplaced(one.files[0])
    if error is not None and header is not None:
        placed |= {"spacing_mm": [*placed["spacing_mm"][:2], None], "affine": None, "extent_mm": None}
    syntaxes = _syntaxes(one.files)
    record = {
        **dict.fromkeys(KEYS),
        **_identified(path, one.files),
        **series_facts(one),
        **placed,
        "syntaxes": syntaxes,
        "problems": _problems(mates, error, placed, syntaxes, path),
        "warnings": list(header.warnings) if header is not None and error is None else [],
        "error": None if error is None else _told(error, path),
    }
    if phi:
        record["patient"] = patient_facts(one)
    return record


def _told(error: MedImgError, path: str) -> str:
    """Return what is wrong, and in which file where it is one below the path."""
    return error.message if error.path in (None, path) else f"{os.path.basename(str(error.path))}: {error.message}"


def _identified(path: str, files: Sequence[DicomFile]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "path": path,
        "kind": _KINDS.get(files[0].elements.text("SOPClassUID")) or files[0].title,
        "files": len(files),
        "file_bytes": sum(file.source.size or 0 for file in files),
        "first_file": files[0].source.name,
    }


def _as_it_lies(one: Series, reading: Reading) -> Header | None:
    """Return the header of slices that are refused for where they lie, taken for evenly spaced; None if not even so."""
    if not isinstance(one.error, GeometryError) or reading.gaps == "ignore":
        return None
    from medimg_cli.formats.dicom.opening import image_of
    from medimg_cli.formats.dicom.series import list_series

    try:
        again = list_series(one.files, replace(reading, gaps="ignore", series=None))
        mine = [other for other in again if other.label == one.label or len(again) == 1]
        return image_of(mine[0]).header if mine else None
    except MedImgError:
        return None


def _placed(header: Header, path: str) -> dict[str, Any]:
    facts = image_facts(header, path)
    times = next((size for kind, size in header.axes if kind == "time"), 1)
    tilt = facts["shear_deg"]
    return {
        **{key: facts[key] for key in _PLACED},
        "slices": header.spatial_shape[2],
        "times": times,
        "tilt_deg": tilt if tilt is not None and tilt > _STRAIGHT else 0.0,
    }


def _unplaced(file: DicomFile) -> dict[str, Any]:
    """Return what one file says, where its series has no place."""
    spacing = file.elements.numbers("PixelSpacing")
    pixels = file.pixels
    return {
        "spatial_shape": [pixels.columns, pixels.rows, None] if file.is_image else None,
        "spacing_mm": [spacing[1], spacing[0], None] if spacing is not None and len(spacing) == 2 else None,
        "dtype": pixels.dtype if file.is_image else None,
    }


def _syntaxes(files: Sequence[DicomFile]) -> list[dict[str, Any]]:
    """Return the transfer syntaxes of files, how many have each, and why one cannot be decoded."""
    from medimg_cli.formats.dicom.planes import problem_of

    counts = Counter(file.syntax for file in files)
    found = []
    for uid, count in counts.items():
        problem = problem_of(next(file for file in files if file.syntax == uid))
        decodable = problem is None or _is_cut(problem)
        row = {"uid": uid, "name": _syntax_name(uid), "files": count, "decodable": decodable, "problem": problem}
        found.append(row)
    return found


def _is_cut(problem: str) -> bool:
    """Tell whether pixels are missing, whoever could decode them."""
    return problem.startswith(("truncated", "its pixel data are missing"))


def _syntax_name(uid: str) -> str:
    if uid in _SYNTAXES:
        return _SYNTAXES[uid]
    from pydicom.uid import UID

    from medimg_cli.formats.dicom.decoding import DECODERS

    return DECODERS[uid].name if uid in DECODERS else UID(uid).name[:80]


def _problems(
    mates: int,
    error: MedImgError | None,
    placed: Mapping[str, Any],
    syntaxes: Sequence[Mapping[str, Any]],
    path: str,
) -> list[dict[str, str]]:
    """Return what stands in the way of using a series, or should be known before."""
    found = []
    if error is not None:
        found.append((next(code for kind, code in _CODES if isinstance(error, kind)), _told(error, path)))
    if mates > 1:
        found.append(("mixed", f"one of {mates} images of its series"))
    if placed.get("tilt_deg"):
        found.append(("tilt", f"tilted by {placed['tilt_deg']:.3g} degrees; --untilt makes its angles right"))
    told = [row["problem"] for row in syntaxes if row["problem"] is not None]
    found += [("truncated" if _is_cut(problem) else "undecodable", problem) for problem in told]
    if len(syntaxes) > 1:
        found.append(("syntaxes", f"files of {len(syntaxes)} transfer syntaxes"))
    return [{"code": code, "message": message} for code, message in found]


# -- what is no image -----------------------------------------------------------------------------------------------


def _objects(path: str, found: Catalogue) -> Iterator[dict[str, Any]]:
    """Yield a record for each series of objects that are no images."""
    from medimg_cli.formats.dicom.series import Series

    by_series: dict[tuple[str, str], list[DicomFile]] = {}
    for file in found.scan.objects:
        by_series.setdefault((file.series, file.title), []).append(file)
    for (_, title), files in by_series.items():
        told = "without rows and columns" if title.endswith("Image") else "which is not supported"
        message = f"is a DICOM {title}, {told}"
        yield {
            **dict.fromkeys(KEYS),
            **_identified(path, files),
            **series_facts(Series(0, tuple(files))),
            "index": None,
            "syntaxes": [],
            "problems": [{"code": "unsupported", "message": message}],
            "warnings": [],
            "error": message,
        }

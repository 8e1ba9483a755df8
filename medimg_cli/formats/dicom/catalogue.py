"""All images of a DICOM source: a folder, a DICOMDIR, an archive or one file."""

from __future__ import annotations

import os
from typing import NamedTuple

from medimg_cli.errors import MedImgError, UnsupportedError
from medimg_cli.formats.dicom.reading import is_dicom, is_directory
from medimg_cli.formats.dicom.scanning import Scan, gather, scan, scan_directory
from medimg_cli.formats.dicom.series import Series
from medimg_cli.formats.dicom.series import list_series as series_of
from medimg_cli.formats.foreign import foreign_errors
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.codecs import codec_of_magic
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import HEAD, ByteSource, PathSource

__all__ = ["Catalogue", "catalogue", "is_source", "list_series"]


class Catalogue(NamedTuple):
    """What a source holds.

    Parameters
    ----------
    series : tuple of Series
        Its images, in the order in which ``@N`` counts them.
    scan : Scan
        What else there is.
    """

    series: tuple[Series, ...]
    scan: Scan


def list_series(
    path: str | os.PathLike[str], *, gaps: str = "refuse", tolerance: float | None = None
) -> tuple[Series, ...]:
    """List the images that DICOM files make; headers are read, and no voxels.

    ``Image`` takes each of them as its source.

    Parameters
    ----------
    path : path-like
        A folder, with all folders in it, a DICOMDIR, a zip or tar archive, or one file.
    gaps : str
        What to do where slices are missing, double or not evenly spaced: "refuse", "ignore" or "resample".
    tolerance : float, optional
        How far a slice may lie off its place, in mm; left out: 1 % of the step between slices, at least 0.01 mm.

    Returns
    -------
    tuple of Series
        By SeriesNumber: ``rank``, ``uid``, ``number``, ``description``, ``modality``, ``label``, ``files``; ``error``
        says what is wrong with one that cannot be read.

    Raises
    ------
    MedImgError
        If the source cannot be read, or holds no DICOM file.
    """
    reading = Reading(gaps=gaps, tolerance=tolerance)  # type: ignore[arg-type]
    return catalogue(os.fsdecode(os.path.expanduser(os.fspath(path))), reading).series


def is_source(path: str) -> bool:
    """Tell whether a path may hold several images of DICOM: a folder of them, a DICOMDIR, an archive, a DICOM file."""
    if os.path.isdir(path):
        from medimg_cli.formats.folders import kind_of_folder

        kind = kind_of_folder(path)
        return kind is not None and kind.holds_series
    try:
        source = PathSource(path)
    except MedImgError:
        return False
    return is_dicom(source.head(132)) or _archive(source) is not None


def catalogue(path: str, reading: Reading | None = None) -> Catalogue:
    """List all images of a source; headers are read, and no voxels.

    Parameters
    ----------
    path : str
    reading : Reading, optional
        What to do with gaps; nothing is chosen.

    Raises
    ------
    MedImgError
        If the source cannot be read, or holds no DICOM file.
    """
    reading = reading or Reading()
    with foreign_errors(path, "DICOM"):
        found = scan(path, reading) if os.path.isdir(path) else _scan_file(PathSource(path))
        if not (found.files or found.objects or found.broken):
            raise UnsupportedError("holds no DICOM file", path=path)
        return Catalogue(tuple(series_of(found.files, reading)), found)


def _scan_file(source: ByteSource) -> Scan:
    """Read the headers of what one file holds or names."""
    if is_dicom(source.head(132)):
        return scan_directory(source) if is_directory(source) else gather([source])
    archive = _archive(source)
    if archive is None:
        raise UnsupportedError("holds no DICOM file", path=source.name)
    from medimg_cli.formats.dicom.archives import scan_archive

    return scan_archive(archive)


def _archive(source: ByteSource) -> ByteSource | None:
    """Return an archive, decompressed where it is compressed; None where a file is none."""
    compression = codec_of_magic(source.head(HEAD))
    plain: ByteSource = source if compression is None else EncodedSource(source, compression)
    head = plain.head(HEAD)
    return plain if head.startswith(b"PK\x03\x04") or head[257:262] == b"ustar" else None

"""The formats: one row each, and the one way in.

A codec is a module with ``open(source, compression) -> Backend``, which reads the header and no voxels. One that
writes has ``fit(header, name) -> Header``, what would come back from a file of that name, and either ``encode(header,
name, level) -> Encoded`` (see :mod:`medimg_cli.formats.writing`) or ``write_file(path, name, backend, header,
level)`` for formats that a foreign library writes, or ``write_folder`` where an image is a folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import (
    EmptyFileError,
    FormatError,
    MedImgError,
    MissingExtraError,
    OversizeError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats.reading import refuse_choice
from medimg_cli.storage.codecs import CODECS, codec_of_magic
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import HEAD, ByteSource, open_source
from medimg_cli.storage.urls import is_located, is_store_name, is_url, localized, public_name, url_text

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.plugins import Registered
    from medimg_cli.formats.reading import Reading
    from medimg_cli.header import Header

__all__ = [
    *("FORMATS", "USERS", "Format", "all_formats", "find_format", "format_for_output", "knows_suffix", "open_backend"),
    *("read_header", "split_suffix"),
]


class Format(NamedTuple):
    """One row: how a format is called, recognised, and where its codec is.

    Parameters
    ----------
    name, title : str
        Short name; the name that people know.
    suffixes : tuple of str
        Lower case; the first is the usual one.
    module : str
        Where the codec is; imported when a file of the format is met.
    magic : tuple of (offset, bytes)
        Any of them marks a file of this format. Empty: only the suffix tells.
    reads, writes : bool
    through : str
        Whose code does it: "medimg" or a library.
    compressed : bool
        Whether ``.gz``, ``.bz2`` and ``.zst`` may follow the suffix.
    extra : str
        The extra to install for it; "" where the core has all.
    planned : str
        Why files of this kind cannot be read yet; "" where they can.
    holds_series : bool
        Whether a file may hold several images; ``open`` of its codec then takes a `Reading`, too.
    written_as : str
        What is written instead of files by ``encode``: "DIR/", a folder; "" where nothing is.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    module: str
    magic: tuple[tuple[int, bytes], ...] = ()
    reads: bool = True
    writes: bool = False
    through: str = "medimg"
    compressed: bool = False
    extra: str = ""
    planned: str = ""
    holds_series: bool = False
    written_as: str = ""


_HERE = "medimg_cli.formats."

FORMATS: tuple[Format, ...] = (
    Format("nifti1", "NIfTI-1", (".nii", ".hdr", ".img"), _HERE + "nifti",
           ((344, b"n+1\0"), (344, b"ni1\0")), writes=True, compressed=True),
    Format("nifti2", "NIfTI-2", (".nii", ".hdr", ".img"), _HERE + "nifti",
           ((4, b"n+2\0"), (4, b"ni2\0")), writes=True, compressed=True),
    Format("analyze", "Analyze 7.5", (".hdr", ".img"), _HERE + "analyze",
           ((0, b"\x5c\x01\0\0"), (0, b"\0\0\x01\x5c")), compressed=True),
    Format("mgh", "FreeSurfer MGH/MGZ", (".mgz", ".mgh"), _HERE + "mgh",
           ((0, b"\0\0\0\x01"),), writes=True, compressed=True),
    Format("nrrd", "NRRD", (".nrrd", ".nhdr"), _HERE + "nrrd", ((0, b"NRRD000"),), writes=True),
    Format("metaimage", "MetaImage", (".mha", ".mhd"), _HERE + "metaimage",
           ((0, b"ObjectType"), (0, b"NDims")), writes=True),
    Format("mif", "MRtrix MIF", (".mif", ".mih"), _HERE + "mif",
           ((0, b"mrtrix image"),), writes=True, compressed=True),
    Format("npy", "NumPy array", (".npy",), _HERE + "npy", ((0, b"\x93NUMPY"),), writes=True),
    Format("npz", "NumPy archive", (".npz",), _HERE + "npz", ((0, b"PK\x03\x04"),), writes=True),
    Format("minc1", "MINC 1", (".mnc",), _HERE + "minc", ((0, b"CDF\x01"), (0, b"CDF\x02")), compressed=True),
    Format("minc2", "MINC 2", (".mnc",), _HERE + "minc", ((0, b"\x89HDF\r\n\x1a\n"),), through="h5py", extra="minc"),
    Format("parrec", "Philips PAR/REC", (".par", ".rec"), _HERE + "through_nibabel",
           ((0, b"# === DATA DESCRIPTION FILE"),), through="nibabel"),
    Format("afni", "AFNI HEAD/BRIK", (".head", ".brik"), _HERE + "afni", (), compressed=True),
    Format("gipl", "GIPL", (".gipl",), _HERE + "gipl",
           ((252, b"\xef\xff\xe9\xb0"), (252, b"\x2a\xe3\x89\xb8")), writes=True, compressed=True),
    Format("vtk", "VTK image", (".vtk",), _HERE + "vtk",
           ((0, b"# vtk DataFile"),), writes=True),
    Format("hdf5", "ITK HDF5", (".hdf5", ".h5", ".hdf"), _HERE + "hdf5",
           ((0, b"\x89HDF\r\n\x1a\n"),), writes=True, through="h5py", extra="minc"),
    Format("tiff", "TIFF", (".tif", ".tiff"), _HERE + "tiff",
           ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")), writes=True),
    Format("png", "PNG", (".png",), _HERE + "pictures", ((0, b"\x89PNG\r\n\x1a\n"),), writes=True, through="Pillow"),
    Format("jpeg", "JPEG", (".jpg", ".jpeg"), _HERE + "pictures",
           ((0, b"\xff\xd8\xff"),), writes=True, through="Pillow"),
    Format("bmp", "BMP", (".bmp",), _HERE + "pictures", ((0, b"BM"),), writes=True, through="Pillow"),
    Format("jpeg2000", "JPEG 2000", (".jp2", ".j2k", ".jpx"), _HERE + "pictures",
           ((0, b"\0\0\0\x0cjP  \r\n\x87\n"), (0, b"\xff\x4f\xff\x51")), through="Pillow"),
    Format("dicom", "DICOM", (".dcm", ".ima", ".dicom"), _HERE + "dicom.opening",
           ((128, b"DICM"),), through="pydicom", holds_series=True, written_as="DIR/"),
    Format("archive", "DICOM archive", (".zip", ".tar", ".tgz", ".tbz2", ".txz"), _HERE + "dicom.archives",
           ((0, b"PK\x03\x04"), (257, b"ustar")), holds_series=True),
    Format("zarr", "NIfTI-Zarr and OME", (".nii.zarr", ".ome.zarr", ".zarr"), _HERE + "zarr",
           writes=True, extra="zarr"),
)  # fmt: skip

USERS: list[Registered] = []
"""What this process has registered; :mod:`medimg_cli.formats.plugins` changes it, under a lock."""

_COMPRESSED = {row.suffix: row.name for row in CODECS.values() if row.suffix}


@lru_cache(256)
def split_suffix(name: str) -> tuple[str, str, str | None]:
    """Split a file name into stem, suffix of the format and compression.

    >>> split_suffix("a/T1.v2.NII.GZ")
    ('a/T1.v2', '.nii', 'gzip')
    >>> split_suffix("brain.mgz"), split_suffix("out.seg.nrrd")
    (('brain', '.mgz', None), ('out.seg', '.nrrd', None))
    >>> split_suffix("a/brain.nii.zarr/"), split_suffix("brain.v2.zarr")
    (('a/brain', '.nii.zarr', None), ('brain.v2', '.zarr', None))
    """
    folder, slash, base = (name.rstrip("/") or name).rpartition("/")
    compression = None
    for suffix, codec in _COMPRESSED.items():
        if base.lower().endswith(suffix):
            base, compression = base[: -len(suffix)], codec
            break
    stem, dot, ending = base.rpartition(".")
    if not dot:
        stem, ending = base, ""
    elif base.lower().endswith((".nii.zarr", ".ome.zarr")):
        stem, ending = base[:-9], base[-8:]
    return folder + slash + stem, (dot + ending).lower(), compression


def all_formats() -> tuple[Format, ...]:
    """Return our formats, and those that installed packages bring along."""
    from medimg_cli.formats.plugins import plugin_rows

    return (*FORMATS, *plugin_rows())


def knows_suffix(suffix: str) -> bool:
    """Tell whether files of any format have a suffix."""
    return any(suffix in row.suffixes for row in FORMATS) or (
        bool(suffix) and any(suffix in row.suffixes for row in all_formats())
    )


def find_format(name: str) -> Format:
    """Return a row by its name.

    Raises
    ------
    UsageError
        If there is none.
    """
    for row in FORMATS:
        if row.name == name:
            return row
    for row in (*(entry.row for entry in USERS), *all_formats()):
        if row.name == name:
            return row
    raise UsageError(f"there is no format '{name}'", hint="see: medimg formats")


def format_for_output(name: str) -> Format:
    """Return the row that writes files of a name.

    Raises
    ------
    UsageError
        If no format has its suffix, or the one that has it is read only; if it is a URL.
    """
    if is_url(name):
        raise UsageError("images are not written to URLs", path=public_name(name), hint="write a file and upload it")
    _, suffix, compression = split_suffix(name)
    rows = [row for row in FORMATS if suffix in row.suffixes]
    rows = rows or [row for row in all_formats() if suffix in row.suffixes]
    if not rows:
        shown = suffix or "no suffix"
        raise UsageError(f"no format is written to files with {shown}", path=name, hint="see: medimg formats")
    for row in rows:
        if row.writes and (compression is None or row.compressed):
            return row
    if rows[0].writes:
        raise UsageError(f"{rows[0].title} has no compressed files of this name", path=name, hint="see: medimg formats")
    reason = rows[0].planned.replace("readable", "writable") or f"{rows[0].title} is read only"
    raise UsageError(reason, path=name, hint="see: medimg formats")


def codec_module(row: Format) -> Any:
    """Import the codec of a row.

    Raises
    ------
    UnsupportedError
        If files of this kind cannot be read yet.
    MissingExtraError
        If a library that it needs is not installed.
    """
    if row.planned:
        raise UnsupportedError(row.planned)
    try:
        return import_module(row.module)
    except ImportError as error:
        extra = f"[{row.extra}]" if row.extra else ""
        raise MissingExtraError(
            f"{row.title} needs {error.name or 'a library'}", hint=f"pip install 'medimg-cli{extra}'"
        ) from None


def _matches(row: Format, head: bytes) -> bool:
    return any(head.startswith(magic, offset) for offset, magic in row.magic)


def _is_mgh(head: bytes) -> bool:
    """Tell whether the first six numbers (version, four sizes, type) are those of an MGH file, whose magic is weak."""
    version, *sizes, kind = (int.from_bytes(head[k : k + 4], "big", signed=True) for k in range(0, 24, 4))
    return version == 1 and min(sizes) > 0 and kind in (0, 1, 3, 4, 10)


def _recognise(head: bytes, suffix: str) -> tuple[Format | None, bool]:
    """Return the row for the first bytes and the suffix of a file, and whether the bytes vouch for it."""
    by_suffix = [row for row in FORMATS if suffix in row.suffixes]
    if not head:
        return None, False
    for row in by_suffix:
        if not row.magic or _matches(row, head):
            return row, True
    by_magic = [row for row in FORMATS if _matches(row, head)]
    strong = [row for row in by_magic if max(len(magic) for _, magic in row.magic) > 2 and row.name != "mgh"]
    if strong and not (by_suffix and strong[0].name == "analyze"):
        return strong[0], True
    if not by_suffix and _is_mgh(head):
        return find_format("mgh"), True
    if not by_suffix and head[:1] in b"\0\2\x08":  # DICOM without a preamble starts with group 2 or 8
        from medimg_cli.formats.dicom.reading import is_dicom

        return (find_format("dicom"), True) if is_dicom(head) else (None, False)
    return (by_suffix[0], False) if by_suffix else (None, False)


def open_backend(
    source: object, *, format: str | None = None, name: str | None = None, reading: Reading | None = None
) -> Backend:
    """Open an image: read its header, none of its voxels.

    Content decides what it is, the suffix breaks ties, and a mismatch becomes a warning in the header.

    Parameters
    ----------
    source : str, path-like, bytes, binary file object or ByteSource
        A URL, an ``OpenFile`` of fsspec or a path of universal_pathlib as well.
    format : str, optional
        Name of a row of ``FORMATS`` that decides instead of the content.
    name : str, optional
        Name with a suffix, for bytes and file objects.
    reading : Reading, optional
        Which image of a source that holds several, and what to do where slices are missing.

    Raises
    ------
    FormatError
        If the content is no image that medimg knows, or its header contradicts itself.
    UnsupportedError
        If it is one that this version cannot read.
    StorageError
        If it cannot be read.
    """
    source = localized(source)
    if isinstance(source, str) and not is_url(source):
        if os.path.isdir(source):
            return _open_folder(source, reading)
    elif is_url(source) or is_located(source):
        return _open_remote(source, format, name, reading)
    raw = open_source(source, name=name)
    try:
        return _open(raw, format, name or raw.name, source, reading)
    except MedImgError as error:
        raise error.at(raw.name) from None


def _open_folder(path: str, reading: Reading | None) -> Backend:
    from medimg_cli.formats.folders import kind_of_folder, open_folder

    try:
        found = _registered(path, None, first=True)
        if found is None and USERS and kind_of_folder(path) is None:
            found = _registered(path, None, first=False)
        return open_folder(path, reading) if found is None else found
    except MedImgError as error:
        raise error.at(path) from None


def _open_remote(source: Any, format: str | None, name: str | None, reading: Reading | None) -> Backend:
    """Open a URL: a file, or a store of chunks, which is a folder."""
    from medimg_cli.storage.remote import RemoteFolderError

    shown = public_name(url_text(source))
    try:
        if is_store_name(url_text(source)):
            return _open_store(source)
        try:
            raw = open_source(source)
        except RemoteFolderError:
            return _open_store(source)
        return _open(raw, format, name or raw.name, source, reading)
    except MedImgError as error:
        raise error.at(shown) from None


def _open_store(source: Any) -> Backend:
    """Open a store of chunks that lies elsewhere."""
    backend: Backend = codec_module(find_format("zarr")).open_folder(source)
    return backend


def _registered(source: Any, raw: ByteSource | None, *, first: bool) -> Backend | None:
    """Open a source with what this process has registered for it, if anything."""
    if not any(entry.first is first for entry in USERS):
        return None
    from pathlib import Path

    from medimg_cli.formats.plugins import ReadRequest, users_backend

    local = isinstance(source, str) and not is_url(source)
    remote = is_url(source) or is_located(source)
    request = ReadRequest(path=Path(source) if local else None, url=url_text(source) if remote else None, source=raw)
    return users_backend(request, first=first)


def _open(raw: ByteSource, format: str | None, name: str, origin: object, reading: Reading | None) -> Backend:
    if format is None and (found := _registered(origin, raw, first=True)) is not None:
        return found
    head = raw.head(HEAD)
    _, suffix, promised = split_suffix(name)
    compression = codec_of_magic(head)
    warnings = []
    source = raw
    if compression is not None:
        source = EncodedSource(raw, compression)
        head = source.head(HEAD)
        if codec_of_magic(head):
            raise UnknownFormatError("is compressed twice", path=raw.name, hint="decompress it once")
        if compression != promised and suffix not in ("", ".mgz", ".tgz", ".tbz2", ".txz"):
            warnings.append(f"the content is {compression}-compressed, the name says otherwise")
    elif promised is not None:
        if head and CODECS[promised].magic.startswith(head):
            raise TruncatedError(f"ends after {len(head)} bytes, within the magic of {promised}", path=raw.name)
        warnings.append(f"the name says {promised}, the content is not compressed")
    row, certain = (find_format(format), True) if format else _recognise(head, suffix)
    if not certain:
        from medimg_cli.formats.plugins import plugin_for

        if (found := _registered(origin, raw, first=False)) is not None:
            return found
        row = plugin_for(head, suffix) or row
    if not head:
        raise _nothing_in(raw, source)
    if row is None:
        raise UnknownFormatError("is no image format that medimg knows", path=raw.name, hint="see: medimg formats")
    if not row.holds_series:
        refuse_choice(reading)
    chosen = (reading,) if row.holds_series else ()
    try:
        backend: Backend = codec_module(row).open(source, compression, *chosen)
    except FormatError as error:
        raise _damage_behind(error, source) from None
    told = next((other for other in FORMATS if other.name == backend.header.format), row)  # codecs look closer
    endings = (*told.suffixes, *(row.suffixes if row.holds_series else ()))
    if certain and suffix and suffix not in endings and not format:
        warnings.append(f"the content is {told.title}, the suffix {suffix} says otherwise")
    return _finished(backend, row, raw, compression, warnings)


def _damage_behind(error: FormatError, source: ByteSource) -> MedImgError:
    """Return why a header makes no sense: what it was decompressed from may be damaged, which its checksum tells."""
    if isinstance(source, EncodedSource) and source.path is not None and not isinstance(error, TruncatedError):
        try:
            with source.cursor() as cursor:
                cursor.verify()
        except FormatError as damage:
            return error if isinstance(damage, OversizeError) else damage
    return error


def _nothing_in(raw: ByteSource, source: ByteSource) -> MedImgError:
    """Return what to raise where there is not one byte; a stream that is cut off in front of its first says so."""
    if source is raw:
        return EmptyFileError("the file is empty", path=raw.name)
    try:
        with source.cursor() as cursor:
            cursor.verify()
    except MedImgError as error:
        return error
    return EmptyFileError("it decompresses to nothing", path=raw.name)


def _finished(backend: Any, row: Format, raw: ByteSource, compression: str | None, warnings: Sequence[str]) -> Backend:
    """Add to a header what all formats have in common."""
    from medimg_cli.backends import shortage

    header: Header = backend.header
    notes = [*warnings]
    problem = shortage(backend)
    if problem and problem not in header.warnings:
        notes.append(problem)
    elif hasattr(backend, "stored") and isinstance(backend.stored.source, EncodedSource):
        notes.extend(_trailer_doubt(backend.stored.source, backend.ends_at or backend.stored.span()[1]))
    header = header.replace(
        format=header.format or row.name,
        compression=header.compression or compression,
        warnings=(*header.warnings, *notes),
        file_bytes=header.file_bytes if header.file_bytes is not None else raw.size,
    )
    backend.header = header if header.labels is not None else _with_table(header, raw)
    result: Backend = backend
    return result


def _with_table(header: Header, raw: ByteSource) -> Header:
    """Add the label table that lies beside an image without one."""
    from medimg_cli.formats.tables import with_table

    return with_table(header, raw)


def _trailer_doubt(source: EncodedSource, expected: int) -> list[str]:
    """Compare the length that the end of a gzip file states (RFC 1952, ISIZE) with what the header needs."""
    raw = source.base
    if source.codec != "gzip" or source.start or source.length is not None or raw.size is None:
        return []
    if not getattr(raw, "ranged", True):  # all of it would have to be fetched
        return []
    trailer = bytearray(4)
    if raw.size <= HEAD:
        trailer[:] = raw.head(raw.size)[-4:].ljust(4)
    else:
        with raw.cursor() as cursor:
            cursor.readinto(raw.size - 4, memoryview(trailer))
    stated = int.from_bytes(trailer, "little")
    beyond = (stated - expected) & 0xFFFFFFFF
    if beyond < 1 << 16:  # some formats have a little text behind the voxels
        return []
    return [f"the end of the gzip file states {stated} bytes, the header needs {expected}: cut off, or several members"]


def read_header(path: object, *, format: str | None = None) -> Header:
    """Read what a file says about its image, none of its voxels.

    Parameters
    ----------
    path : str, path-like, URL, bytes or binary file object
    format : str, optional
        Name of a format that decides instead of the content.

    Raises
    ------
    MedImgError
        If it cannot be read; the class says why.
    """
    return open_backend(path, format=format).header

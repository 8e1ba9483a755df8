"""MetaImage: ``.mha`` with its voxels, ``.mhd`` with voxels beside it, as MetaIO and ITK read and write them.

What decides where readers differ, by MetaIO (itk.org/Wiki/ITK/MetaIO/Documentation, "Reference: Tags"; metaImage.cxx):

- World coordinates are left-posterior-superior whatever AnatomicalOrientation says: ITK never looks at it when it reads
  and derives it when it writes. The header keeps it.
- Row n of TransformMatrix is the direction of image axis n ("[0][0],[0][1],[0][2] specify X, Y, Z direction in
  real-world of X-axis of image"); of Orientation, Rotation and TransformMatrix the last named here counts, of Offset,
  Position, Origin and ImagePosition likewise. ElementSize counts where ElementSpacing is missing. CenterOfRotation does
  not move an image.
- DistanceUnits are those of spacing and offset; ITK ignores them, here cm and um become mm.
- MET_LONG and MET_ULONG have 4 bytes (metaTypes.h). A ``_ARRAY`` type is its scalar. Channels are interleaved.
- BinaryData is True where nothing is said, bytes are little-endian, compressed data run to the end of the file where
  CompressedDataSize is missing, and may be zlib or gzip streams.
- HeaderSize counts from the start of the file that holds the voxels; -1 means that they end it.
- ElementDataFile = LIST names one file a line, each with all but the last dimension (or as many as ``LIST 2`` says);
  a pattern has a first number, a last one and a step.
- Slope and offset of ElementToIntensityFunction do not scale: MetaIO applies them only where a program asks for it.
"""

from __future__ import annotations

import re
import sys
from math import isfinite, prod
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import (
    FormatError,
    GeometryError,
    OversizeError,
    TruncatedError,
    UnknownFormatError,
    UnsupportedError,
)
from medimg_cli.formats import keyvalues
from medimg_cli.formats.detached import MOST_FILES, from_end, missing, numbered, numbers, open_files
from medimg_cli.formats.repair import LIMIT, usable_axes
from medimg_cli.formats.text import decoded
from medimg_cli.header import Header, Native
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import HEAD, ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["encode", "fit", "open"]

#: Types -> dtype; "_ARRAY" may follow.
TYPES: dict[str, str] = {
    "MET_CHAR": "int8", "MET_ASCII_CHAR": "int8", "MET_UCHAR": "uint8", "MET_SHORT": "int16", "MET_USHORT": "uint16",
    "MET_INT": "int32", "MET_UINT": "uint32", "MET_LONG": "int32", "MET_ULONG": "uint32", "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
#: Fields that the codec itself reads and writes.
STRUCTURE = frozenset({
    "ObjectType", "NDims", "BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData",
    "CompressedDataSize", "HeaderSize", "DimSize", "ElementNumberOfChannels", "ElementType", "ElementDataFile",
    "TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin", "ImagePosition", "CenterOfRotation",
    "AnatomicalOrientation", "DistanceUnits", "ElementSpacing", "ElementSize", "ElementOrigin", "ElementDirection",
    "FileFormatVersion", "Comment",
})  # fmt: skip
#: Fields of MetaIO that are key-values to us, and how many numbers each must have; 0 for text.
KNOWN = {
    "ObjectSubType": 0, "Name": 0, "AcquisitionDate": 0, "Modality": 0, "ID": 1, "ParentID": 1, "Color": 4,
    "ElementMin": 1, "ElementMax": 1, "ElementNBits": 1, "ElementToIntensityFunctionSlope": 1,
    "ElementToIntensityFunctionOffset": 1, "SequenceID": -1,
}  # fmt: skip
#: Marks pairs of channels as real and imaginary part, for which MetaImage has no word.
COMPLEX = "medimg_complex"
LENGTHS = {"um": 1e-3, "mm": 1.0, "cm": 10.0}
_MOST_HEADER = 1 << 22
_MOST_BYTES = 1 << 62
_MOST_AXES = 10
#: What headers of images begin with.
_FIRST = (b"ObjectType", b"NDims", b"Comment")
_END = re.compile(rb"(?:^|\n)[ \t]*ElementDataFile[ \t]*[=:]([^\n]*)(\n|$)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


class Parsed(NamedTuple):
    """A header taken apart.

    Parameters
    ----------
    lines : tuple of bytes
        As they stand in the file, up to ElementDataFile.
    fields : dict
        Values by name.
    files : tuple of str
        Names that follow "ElementDataFile = LIST".
    start : int
        Where local data begin.
    name : str
        The file, for messages.
    """

    lines: tuple[bytes, ...]
    fields: dict[str, str]
    files: tuple[str, ...]
    start: int
    name: str

    def error(self, message: str) -> FormatError:
        """Return an error about this header."""
        return FormatError(message, path=self.name)

    def flag(self, field: str, default: bool) -> bool:
        """Read a truth value as MetaIO does, by its first letter."""
        text = self.fields.get(field, "")
        return text[0] in "Tt1" if text else default

    def integers(self, field: str, count: int) -> list[int]:
        """Read whole numbers."""
        texts = self.fields[field].split(None, _MOST_AXES)
        if len(texts) != count or not all(re.fullmatch(r"[+-]?[0-9]{1,18}", text) for text in texts):
            raise self.error(f"{field} = {self.fields[field][:60]} is not {count} whole numbers")
        return [int(text) for text in texts]

    def reals(self, field: str, count: int) -> list[float]:
        """Read numbers, NaN and infinity included."""
        texts = self.fields[field].split(None, _MOST_AXES**2)
        if len(texts) != count or not all(_NUMBER.fullmatch(text) for text in texts):
            raise self.error(f"{field} = {self.fields[field][:60]} is not {count} numbers")
        return [float(text) for text in texts]


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a MetaImage.

    Raises
    ------
    FormatError
        If the header contradicts itself, lacks a field, or names files outside its folder.
    UnsupportedError
        If it holds another object than an image, or a type without numbers.
    """
    parsed = _read(source)
    header, sizes = neutral(parsed)
    is_text = not parsed.flag("BinaryData", True)
    big = parsed.flag("BinaryDataByteOrderMSB", parsed.flag("ElementByteOrderMSB", False))
    byte_order = sys.byteorder if is_text else "big" if big else "little"
    layout = layout_of(header, byte_order)
    data, offset, problem, size = _voxels(parsed, source, layout.nbytes, sizes)
    if not is_text and (isinstance(data, EncodedSource) or parsed.flag("CompressedData", False)):
        header = header.replace(compression=data.codec if isinstance(data, EncodedSource) else "zlib")
    if size is not None and source.size is not None:
        header = header.replace(file_bytes=source.size + size)
    return StoredBackend(StoredArray(data, offset, layout), header.replace(byte_order=byte_order), problem)


def _read(source: ByteSource) -> Parsed:
    """Read the header as far as it goes."""
    count = HEAD
    while True:
        text = source.head(count)
        found = _END.search(text)
        if found is not None and (found[2] or len(text) < count):
            value = found[1].strip()
            is_list = value.startswith(b"LIST")
            if not is_list or len(text) < count:
                return parse(text[: found.end()], text[found.end() :] if is_list else b"", source.name)
        if len(text) < count or count >= _MOST_HEADER:
            known = any(text[: len(first)] == first[: len(text)] for first in _FIRST)
            said = "the header has no ElementDataFile" if known else "is no MetaImage: there is no ElementDataFile"
            raise (TruncatedError if known else UnknownFormatError)(said, path=source.name)
        count = min(count * 16, _MOST_HEADER)


def _is_text(line: bytes) -> bool:
    """Tell whether bytes are UTF-8: names of fields must be, values need not."""
    if line.isascii():
        return True
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _name_of(line: bytes) -> bytes:
    return line.replace(b":", b"=").partition(b"=")[0]


def split_line(line: bytes) -> tuple[str, str] | None:
    """Return name and value of a line as MetaIO separates them, None where it is no field."""
    text = decoded(line)
    at, colon = text.find("="), text.find(":")
    at = colon if at < 0 or 0 <= colon < at else at
    name = text[:at].strip() if at > 0 else ""
    return (name, text[at:].lstrip("=: \t").strip()) if name else None


def parse(text: bytes, behind: bytes, name: str) -> Parsed:
    """Take a header apart.

    Parameters
    ----------
    text : bytes
        The header with its last line, ElementDataFile.
    behind : bytes
        Names of files that follow it.
    name : str
        The file, for messages.
    """
    lines = tuple(line.removesuffix(b"\r") for line in text.removesuffix(b"\n").split(b"\n") if line.strip())
    fields: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        found = split_line(line) if b"\0" not in line else None
        if found is None or not found[0].isprintable() or not (line.isascii() or _is_text(_name_of(line))):
            raise FormatError(f"line {number} of the header is no field: {ascii(line[:40])[1:]}", path=name)
        key, value = found
        if key in STRUCTURE and fields.get(key, value) != value:
            raise FormatError(f"{key} is given twice, with different values", path=name)
        fields[key] = value
    files = tuple(decoded(line).strip() for line in behind.split(b"\n") if line.strip())
    return Parsed(lines, fields, files, len(text), name)


def _shape(parsed: Parsed) -> tuple[list[int], int, str]:
    """Return sizes of all axes, channels and dtype."""
    for field in ("NDims", "DimSize", "ElementType"):
        if field not in parsed.fields:
            raise parsed.error(f"the header lacks {field}")
    if parsed.fields.get("ObjectType", "Image") != "Image":
        kind = parsed.fields["ObjectType"][:40]
        raise UnsupportedError(f"ObjectType = {kind}: only images are read", path=parsed.name)
    (count,) = parsed.integers("NDims", 1)
    if not 1 <= count <= _MOST_AXES:
        raise parsed.error(f"NDims = {count}, expected 1 to {_MOST_AXES}")
    sizes = parsed.integers("DimSize", count)
    channels = parsed.integers("ElementNumberOfChannels", 1)[0] if "ElementNumberOfChannels" in parsed.fields else 1
    if min(sizes) < 1 or channels < 1:
        raise parsed.error(f"DimSize = {sizes} with {channels} channels: an axis has no voxels")
    kind = parsed.fields["ElementType"]
    dtype = TYPES.get(kind.removesuffix("_ARRAY"))
    if dtype is None:
        if kind in ("MET_STRING", "MET_FLOAT_MATRIX", "MET_OTHER", "MET_NONE"):
            raise UnsupportedError(f"ElementType = {kind} has no voxels to read", path=parsed.name)
        raise parsed.error(f"ElementType = {kind[:40]} is unknown")
    if prod(sizes) * channels * ITEMSIZE[dtype] > _MOST_BYTES:
        raise OversizeError(f"DimSize = {sizes} with {channels} channels: no file can hold that", path=parsed.name)
    return sizes, channels, dtype


def neutral(parsed: Parsed) -> tuple[Header, list[int]]:
    """Turn a header taken apart into a neutral one; return the sizes of all axes, too."""
    sizes, channels, dtype = _shape(parsed)
    components = channels
    if parsed.fields.get(COMPLEX) == "True" and channels % 2 == 0 and dtype in ("float32", "float64"):
        components, dtype = channels // 2, {"float32": "complex64", "float64": "complex128"}[dtype]
    warnings: list[str] = []
    spacings = _spacings(parsed, len(sizes), warnings)
    affine, unit = _affine(parsed, spacings, warnings)
    axes = [("channel", size) for size in sizes[3:]]
    seconds = None
    if axes and spacings[3] != 1.0:
        axes[0], seconds = ("time", sizes[3]), spacings[3]
    if components > 1:
        axes.append(("vector", components))
    i, j, k = (sizes + [1, 1])[:3]
    shape = prod(size for _, size in axes), i, j, k
    labels, used = (None, set()) if shape[0] > 1 else keyvalues.segments_from(parsed.fields)
    used = used | STRUCTURE | {keyvalues.KEY, COMPLEX}
    header = Header(
        shape=shape,
        dtype=dtype,
        affine=affine,
        format="metaimage",
        axes=tuple(axes),
        ndim=min(len(sizes), 3),
        affine_source="TransformMatrix" if "TransformMatrix" in parsed.fields else "ElementSpacing",
        space_units=unit,
        time_spacing=seconds,
        description=parsed.fields.get("Comment", ""),
        labels=labels,
        metadata={key: value for key, value in parsed.fields.items() if key not in used},
        warnings=tuple(warnings),
        native=Native("metaimage", parsed.lines),
    )
    if keyvalues.KEY in parsed.fields:
        header = keyvalues.with_facts(header, parsed.fields[keyvalues.KEY], plain)
    return header, sizes


def plain(key: str, value: Any) -> str | None:
    """Return the text of a key-value, None where MetaIO could not read the line."""
    text = keyvalues.text_of(value)
    if key in STRUCTURE or key in (keyvalues.KEY, COMPLEX) or not re.fullmatch(r"[!-9;<>-~]{1,200}", key):
        return None
    if not text or text != text.strip() or text[0] in "=:" or not text.isprintable() or len(text) > 4000:
        return None
    count = KNOWN.get(key, 0)
    if count or key in KNOWN:
        found = text.split()
        if len(text) > 250 or (count and (len(found) != count or not all(map(_NUMBER.fullmatch, found)))):
            return None
    return text


def _spacings(parsed: Parsed, count: int, warnings: list[str]) -> list[float]:
    field = next((name for name in ("ElementSpacing", "ElementSize") if name in parsed.fields), None)
    found = parsed.reals(field, count) if field is not None else [1.0] * count
    good = [isfinite(size) and 1e-30 < abs(size) < LIMIT for size in found]
    if not all(good):
        shown = parsed.fields[field][:60] if field is not None else ""
        warnings.append(f"{field} = {shown}: a size that is 0 or not finite is taken as 1")
    return [size if fine else 1.0 for size, fine in zip(found, good, strict=True)]


def _affine(parsed: Parsed, spacings: list[float], warnings: list[str]) -> tuple[AffineMatrix, str | None]:
    """Return voxel -> RAS+ mm, and the unit that the file states."""
    count = len(spacings)
    is_new = parsed.fields.get("FileFormatVersion", "0") not in ("", "0")
    matrices = ("ElementDirection", "TransformMatrix") if is_new else ("TransformMatrix", "Rotation", "Orientation")
    offsets = ("ElementOrigin", "ImagePosition") if is_new else ("ImagePosition", "Origin", "Position")
    field = next((name for name in matrices if name in parsed.fields), None)
    matrix = parsed.reals(field, count**2) if field is not None else []
    rows = [matrix[n * count : n * count + min(count, 3)] for n in range(min(count, 3))]
    if field is None:
        rows = [[float(n == each) for each in range(min(count, 3))] for n in range(min(count, 3))]
    unit = parsed.fields.get("DistanceUnits", "")
    factor = LENGTHS.get(unit, 1.0)
    if unit and unit not in LENGTHS and unit != "?":
        warnings.append(f"DistanceUnits = {unit[:20]} is unknown, taken as mm")
    columns = [
        [value * spacing * factor for value in (*row, 0.0, 0.0)[:3]]
        for row, spacing in zip(rows, spacings, strict=False)
    ]
    columns += [[float(n == each) for each in range(3)] for n in range(len(columns), 3)]
    axes, repaired = usable_axes(columns)
    if repaired:
        warnings.append(f"{field} holds no usable matrix: axes that are missing were set to right angles")
    where = next((name for name in (*offsets, "Offset") if name in parsed.fields), None)
    origin = [value * factor for value in parsed.reals(where, count)[:3]] if where is not None else []
    origin += [0.0] * (3 - len(origin))
    if not all(isfinite(value) and abs(value) < LIMIT for value in origin):
        warnings.append(f"{where} is not finite, taken as 0")
        origin = [0.0, 0.0, 0.0]
    affine = AffineMatrix.from_lps([[axes[0][row], axes[1][row], axes[2][row], origin[row]] for row in range(3)])
    if affine.shear_deg > 0.1:
        warnings.append(f"the axes of {field} are {affine.shear_deg:.3g} degrees from right angles")
    return affine, unit if unit in LENGTHS else None


def layout_of(header: Header, byte_order: str) -> Layout:
    """Return where the values lie in the decoded data: components first, then I, J, K, then the other axes."""
    sizes = [size for _, size in header.axes]
    parts = [3 + n for n, (kind, _) in enumerate(header.axes) if kind in ("vector", "rgb")]
    return Layout.packed(header.shape, header.dtype, byte_order=byte_order, order=(*parts, 0, 1, 2), channels=sizes)


def _voxels(
    parsed: Parsed, source: ByteSource, nbytes: int, sizes: list[int]
) -> tuple[ByteSource, int, FormatError | None, int | None]:
    """Return the decoded data, where in them the voxels begin, what is wrong, and the bytes of detached files."""
    text = parsed.fields["ElementDataFile"]
    if text in ("LOCAL", "Local", "local"):
        data, offset, problem = _piece(parsed, source, parsed.start, nbytes, alone=True)
        return data, offset, problem, None
    names = _file_names(parsed, sizes)
    files, problem = open_files(source, names)
    if problem is not None and len(names) == 1:
        zipped, none_either = open_files(source, [names[0] + ".gz"])  # as MetaIO does
        if none_either is None:
            return EncodedSource(zipped[0], "gzip"), 0, None, zipped[0].size
    if problem is not None:
        return missing(parsed.name), 0, problem, None
    length = nbytes // len(names)
    pieces = [_piece(parsed, file, 0, length, alone=len(files) == 1) for file in files]
    size = sum(file.size or 0 for file in files)
    if len(pieces) == 1:
        return *pieces[0], size
    return JoinedSource([(data, offset, length) for data, offset, _ in pieces], parsed.name), 0, None, size


def _piece(
    parsed: Parsed, source: ByteSource, start: int, nbytes: int, *, alone: bool
) -> tuple[ByteSource, int, FormatError | None]:
    """Return the decoded data of one file, where the values begin, and what is wrong."""
    skip = parsed.integers("HeaderSize", 1)[0] if "HeaderSize" in parsed.fields else 0
    if skip < -1:
        raise parsed.error(f"HeaderSize = {skip}, expected -1 or more")
    start = skip if skip > 0 else start
    if not parsed.flag("BinaryData", True):
        dtype = TYPES[parsed.fields["ElementType"].removesuffix("_ARRAY")]
        return EncodedSource(source, f"ascii:{dtype}", start), 0, None
    if not parsed.flag("CompressedData", False):
        return source, from_end(source, nbytes) if skip == -1 else start, None
    if skip == -1:
        raise parsed.error("HeaderSize = -1 cannot be told of compressed data")
    stated = parsed.integers("CompressedDataSize", 1)[0] if "CompressedDataSize" in parsed.fields else 0
    if stated < 0:
        raise parsed.error(f"CompressedDataSize = {stated} is below 0")
    with source.cursor() as cursor:
        magic = bytearray(2)
        cursor.readinto(start, memoryview(magic))
    codec = "gzip" if magic == b"\x1f\x8b" else "zlib"
    data = EncodedSource(source, codec, start, stated if stated and alone else None)
    problem = None
    if alone and data.encoded_bytes < stated:
        said = f"truncated: {data.encoded_bytes} compressed bytes, CompressedDataSize says {stated}"
        problem = TruncatedError(said, path=parsed.name, hint="get the file again")
    return data, 0, problem


def _file_names(parsed: Parsed, sizes: list[int]) -> list[str]:
    """Return the names of detached files in their order."""
    text = parsed.fields["ElementDataFile"]
    if not text or len(text) > 4096:
        raise parsed.error("ElementDataFile names no file")
    if re.match(r"LIST(\s|$)", text):
        found = re.fullmatch(r"LIST(?:\s+([0-9]{1,2})D?)?", text, re.IGNORECASE)
        if found is None:
            raise parsed.error(f"ElementDataFile = {text[:60]} is not understood")
        count = int(found[1]) if found[1] else len(sizes) - 1
        count = count if 0 < count < len(sizes) else max(len(sizes) - 1, 1)
        names, expected = list(parsed.files), prod(sizes[count:])
    elif "%" in text:
        found = re.fullmatch(r"(\S.*?)((?:\s+-?[0-9]{1,9}){0,3})", text)
        numbers_ = [int(word) for word in found[2].split()] if found is not None else []
        expected = sizes[-1]
        first = numbers_[0] if numbers_ else 1
        step = numbers_[2] if len(numbers_) > 2 else 1
        if len(numbers_) == 2 and expected > 1 and (numbers_[1] - first) % (expected - 1) == 0:
            step = (numbers_[1] - first) // (expected - 1) or 1
        last = numbers_[1] if len(numbers_) > 1 else first + expected - 1
        values = numbers(first, last, step, parsed.name)[:expected]
        names = numbered(found[1] if found is not None else text, values, parsed.name)
    else:
        return [text]
    if len(names) != expected or not 0 < expected <= MOST_FILES:
        raise parsed.error(f"names {len(names)} data files, DimSize = {sizes} needs {min(expected, MOST_FILES)}")
    return names


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a MetaImage of that name.

    Scaled values become floats, bool becomes uint8, float16 float32; complex numbers become pairs of channels, marked
    as such.

    Raises
    ------
    GeometryError
        If the voxel axes are more than 0.1 degrees from right angles: TransformMatrix is a rotation.
    UnsupportedError
        If the voxels are float128 or complex256.
    """
    from medimg_cli.formats.metaimage_writing import build

    if not header.affine.is_singular and header.affine.shear_deg > 0.1:
        raise GeometryError(
            f"MetaImage holds no shear: the voxel axes are {header.affine.shear_deg:.3g} degrees from right angles",
            path=name,
            hint="write NIfTI or NRRD, or resample (DICOM: --untilt)",
        )
    return neutral(parse(b"\n".join(build(header)) + b"\n", b"", name))[0]


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file of that name, with its voxels in it or, for ``.mhd``, beside it."""
    from medimg_cli.formats.metaimage_writing import encoded

    return encoded(header, layout_of(header, "little"), name, level)

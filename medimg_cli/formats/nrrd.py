"""NRRD: attached (``.nrrd``) and detached (``.nhdr``) headers, all encodings, 3D Slicer's and NA-MIC's key-values.

What decides where readers differ, by the format's definition (teem.sourceforge.net/nrrd/format.html):

- "byte skip: -1" means that the data end the file; other negative numbers are undocumented and refused. For compressed
  data "byte skip" counts decoded bytes, "line skip" lines of the file.
- ``key:=value`` is never a field, however its key reads; keys and values are verbatim but for two escapes.
- A type of more than one byte needs "endian:" in every encoding but ascii.
- Detached data lie in the header's own folder or below it; anything else is refused.
- Axes and geometry: see :mod:`medimg_cli.formats.nrrd_axes`.
- The kind "complex" on the fastest axis of floats makes complex numbers.

Written are NRRD0004 (0005 with a measurement frame) with gzip, which ITK, 3D Slicer and pynrrd read; level 0 writes raw
data. Time is a fourth dimension of the space, as ITK expects it.
"""

from __future__ import annotations

import re
import sys
from math import prod
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError, UnsupportedError
from medimg_cli.formats import keyvalues, nrrd_gradients
from medimg_cli.formats.detached import (
    MOST_FILES,
    TailSource,
    from_end,
    missing,
    numbered,
    numbers,
    open_files,
    skip_lines,
)
from medimg_cli.formats.nrrd_axes import Axes, finite_vectors, place, read_axes
from medimg_cli.formats.nrrd_fields import ENCODINGS, KINDS, TYPES, Parsed, integer, parse, words
from medimg_cli.header import Gradients, Header, Native
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import HEAD, ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

__all__ = ["encode", "fit", "open"]

#: Bytes of a header at most, and characters of one value that is written.
_MOST_HEADER, _MOST_VALUE = 1 << 23, 1 << 16
#: Fields without a neutral counterpart, carried as key-values so that other formats can hold them; the second group
#: speaks of single axes and holds only as long as these stay.
CARRIED = ("sample units", "measurement frame", "old min", "old max", "min", "max")
CARRIED_OF_AXES = ("thicknesses", "centers", "labels")
#: Kinds that need no mention: our names of axes say the same.
_PLAIN_KINDS = {"channel": ("list",), "time": ("time",), "vector": ("vector",), "rgb": ("rgb-color", "rgba-color")}
#: "data file: name.%03d first last step [dimension]", and the characters of a name at most.
_PATTERN = re.compile(r"(\S*%0?[0-9]*d\S*)\s+(-?[0-9]{1,9})\s+(-?[0-9]{1,9})\s+(-?[0-9]{1,9})(?:\s+([0-9]{1,3}))?")
_MOST_NAME = 4096


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a NRRD file or a detached header.

    Raises
    ------
    FormatError
        If the header contradicts itself, lacks a field, or names files outside its folder.
    UnsupportedError
        If the encoding or the version is unknown, or the type is "block".
    """
    text, start = _header_text(source)
    if start is None and not re.search(rb"\ndata ?file:", text, re.IGNORECASE):
        said = "the header does not end with a blank line, and names no data file"
        raise TruncatedError(said, path=source.name, hint="get the file again")
    parsed = parse(text, source.name)
    header, axes = neutral(parsed)
    layout = layout_of(header, axes, _byte_order(parsed))
    data, offset, problem, size = _voxels(parsed, source, start, layout.nbytes, header.dtype)
    codec = ENCODINGS[parsed.fields["encoding"].lower()]
    if codec in ("gzip", "bzip2"):
        header = header.replace(compression=codec)
    if size is not None and source.size is not None:
        header = header.replace(file_bytes=source.size + size)
    return StoredBackend(StoredArray(data, offset, layout), header.replace(byte_order=layout.byte_order), problem)


def _header_text(source: ByteSource) -> tuple[bytes, int | None]:
    """Return the header, and where the data begin; None where it runs to the end of the file."""
    count = HEAD
    while True:
        text = source.head(count)
        if not text.startswith(b"NRRD"):
            cut = b"NRRD".startswith(text)
            raise (TruncatedError if cut else UnknownFormatError)(
                "does not start with the magic of NRRD", path=source.name
            )
        end = re.search(rb"\n\r?\n", text)
        if end is not None:
            return text[: end.start()], end.end()
        if len(text) < count:
            return text, None
        if count >= _MOST_HEADER:
            raise FormatError(f"its header does not end within {_MOST_HEADER >> 20} MiB", path=source.name)
        count = min(count * 16, _MOST_HEADER)


def _dtype(parsed: Parsed) -> str:
    for field in ("type", "encoding"):
        if field not in parsed.fields:
            raise parsed.error(f"the header lacks '{field}'")
    text = " ".join(parsed.fields["type"].split()).lower()
    if text == "block":
        raise UnsupportedError("type 'block' has no numbers to show", path=parsed.name)
    if text not in TYPES:
        raise parsed.error(f"type {text[:40]!r} is unknown")
    return TYPES[text]


def _byte_order(parsed: Parsed) -> str:
    """Return the byte order of the decoded data."""
    encoding = parsed.fields["encoding"].lower()
    if encoding not in ENCODINGS:
        raise UnsupportedError(f"encoding {encoding[:40]!r} is unknown", path=parsed.name)
    if ENCODINGS[encoding] == "ascii":
        return sys.byteorder
    found = parsed.fields.get("endian", "").lower()
    if found in ("little", "big"):
        return found
    if found or ITEMSIZE[_dtype(parsed)] > 1:
        reason = f"endian: {found[:40]!r} is neither little nor big" if found else "the header lacks 'endian'"
        raise parsed.error(reason)
    return "little"


def neutral(parsed: Parsed) -> tuple[Header, Axes]:
    """Turn a header taken apart into a neutral one; say what its axes are."""
    dtype = _dtype(parsed)
    axes, warnings = read_axes(parsed, dtype, ITEMSIZE[dtype])
    if axes.is_complex:
        dtype = {"float32": "complex64", "float64": "complex128"}[dtype]
    placed = place(parsed, axes)
    gradients = _gradients(parsed, axes, placed.affine)
    labels, used = (None, set()) if axes.shape[0] > 1 else keyvalues.segments_from(parsed.values)
    if gradients is not None:
        used |= nrrd_gradients.gradient_keys(parsed.values)
    values = {key: value for key, value in parsed.values.items() if key not in used and key != keyvalues.KEY}
    header = Header(
        shape=axes.shape,
        dtype=dtype,
        affine=placed.affine,
        format="nrrd",
        axes=axes.named,
        ndim=max(len(axes.spatial), 1),
        affine_source=placed.source,
        space_units=placed.space_units,
        time_units=placed.time_units,
        time_spacing=placed.time_spacing,
        description=parsed.fields.get("content", ""),
        gradients=gradients,
        labels=labels,
        metadata={**field_metadata(parsed, axes, gradients), **parsed.unknown, **values},
        warnings=(*warnings, *placed.warnings),
        native=Native("nrrd", parsed.lines),
    )
    if keyvalues.KEY in parsed.values:
        header = keyvalues.with_facts(header, parsed.values[keyvalues.KEY], plain)
    return header, axes


def plain(key: str, value: Any) -> str | None:
    """Return the text of a key-value pair, None where a reader would take the line for something else."""
    text = keyvalues.text_of(value)
    if len(text) > _MOST_VALUE or len(key) > _MOST_NAME:
        return None
    if not key or key == keyvalues.KEY or key != key.strip() or key[0] == "#" or ":" in key or not key.isprintable():
        return None
    return text if all(each == "\n" or each == "\t" or each.isprintable() for each in text) else None


def field_metadata(parsed: Parsed, axes: Axes, gradients: Gradients | None) -> dict[str, Any]:
    """Return fields that have no neutral counterpart as key-values, named as ITK names them."""
    found = {
        f"NRRD_{field}": parsed.fields[field]
        for field in CARRIED + CARRIED_OF_AXES
        if field in parsed.fields and not (field == "measurement frame" and gradients is not None)
    }
    kinds = words(parsed, "kinds", len(axes.sizes))
    special = [kinds[n] for n, role in axes.others if kinds[n] and kinds[n].lower() not in _PLAIN_KINDS[role]]
    special = [kind for kind in special if KINDS.get(kind.lower()) != "space"]
    return {**found, "NRRD_kinds": " ".join(special)} if special else found


def _gradients(parsed: Parsed, axes: Axes, affine: AffineMatrix) -> Gradients | None:
    if "modality" not in parsed.values or len(axes.others) != 1:
        return None
    letters = axes.space.letters if axes.space is not None and axes.space.letters else "LPS"
    to_ras = AffineMatrix.between(letters, "RAS")
    if "measurement frame" in parsed.fields:
        frame = finite_vectors(parsed.fields["measurement frame"], 3)
        if frame is None:
            return None
        to_ras = to_ras @ AffineMatrix([[*(column[row] for column in frame), 0.0] for row in range(3)])
    return nrrd_gradients.from_values(parsed.values, axes.shape[0], affine, to_ras)


def layout_of(header: Header, axes: Axes, byte_order: str) -> Layout:
    """Return where the values lie in the decoded data."""
    sizes = [size for _, size in header.axes]
    return Layout.packed(header.shape, header.dtype, byte_order=byte_order, order=axes.order, channels=sizes)


def _voxels(
    parsed: Parsed, source: ByteSource, start: int | None, nbytes: int, dtype: str
) -> tuple[ByteSource, int, FormatError | None, int | None]:
    """Return the decoded data, where in them the voxels begin, what is wrong, and the bytes of detached files."""
    if "data file" not in parsed.fields:
        assert start is not None  # open has seen to it
        data, offset = _piece(parsed, source, start, nbytes, dtype)
        return data, offset, None, None
    names = _file_names(parsed)
    if nbytes % len(names):
        raise parsed.error(f"{len(names)} data files cannot share {nbytes} bytes evenly")
    files, problem = open_files(source, names)
    if problem is not None:
        return missing(parsed.name), 0, problem, None
    length = nbytes // len(names)
    pieces = [_piece(parsed, file, 0, length, dtype) for file in files]
    size = sum(file.size or 0 for file in files)
    if len(pieces) == 1:
        return *pieces[0], None, size
    return JoinedSource([(data, offset, length) for data, offset in pieces], parsed.name), 0, None, size


def _piece(parsed: Parsed, source: ByteSource, start: int, nbytes: int, dtype: str) -> tuple[ByteSource, int]:
    """Return the decoded data of one file, and where the values begin."""
    lines = integer(parsed, "line skip", parsed.fields.get("line skip", "0"))
    skip = integer(parsed, "byte skip", parsed.fields.get("byte skip", "0"))
    if lines < 0 or skip < -1:
        raise parsed.error(f"line skip {lines}, byte skip {skip}: expected 0 or more, or a byte skip of -1")
    codec = ENCODINGS[parsed.fields["encoding"].lower()]
    start = skip_lines(source, start, lines)
    if codec == "raw":
        return source, start + skip if skip >= 0 else from_end(source, nbytes)
    if codec in ("ascii", "hex"):
        if skip < 0:
            raise parsed.error(f"byte skip -1 has no meaning for the encoding {codec}")
        real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
        return EncodedSource(source, f"ascii:{real}" if codec == "ascii" else codec, start + skip), 0
    data = EncodedSource(source, codec, start)
    return (data, skip) if skip >= 0 else (TailSource(data, nbytes), 0)


def _file_names(parsed: Parsed) -> list[str]:
    """Return the names of detached files in their order (section 3)."""
    text = parsed.fields["data file"]
    if len(text) > _MOST_NAME:
        raise parsed.error(f"data file: {len(text)} characters are no name")
    sizes = [int(size) for size in parsed.fields["sizes"].split()]
    if re.match(r"SKIPLIST(\s|$)", text):
        raise UnsupportedError("data file: SKIPLIST is of a newer version", path=parsed.name)
    found = re.fullmatch(r"LIST(?:\s+([0-9]{1,3}))?", text)
    pattern = _PATTERN.fullmatch(text)
    if found is not None:
        names, dimension = list(parsed.files), found[1]
    elif pattern is not None:
        low, high, step = (int(pattern[n]) for n in (2, 3, 4))
        names, dimension = numbered(pattern[1], numbers(low, high, step, parsed.name), parsed.name), pattern[5]
    elif re.search(r"%0?[0-9]*d|^LIST(\s|$)", text):
        raise parsed.error(f"data file: {text[:80]!r} is neither a list nor a pattern with first, last and step")
    else:
        return [text]
    count = len(sizes) - 1 if dimension is None else int(dimension)
    if not 1 <= count <= len(sizes) and len(sizes) > 1:
        raise parsed.error(f"data file: pieces of {count} dimensions in an array of {len(sizes)}")
    expected = prod(sizes[count:]) if count < len(sizes) else len(names)
    uneven = count == len(sizes) and names and sizes[-1] % len(names)
    if not names or uneven or len(names) != expected or len(names) > MOST_FILES:
        raise parsed.error(f"names {len(names)} data files, the sizes need {min(expected, MOST_FILES)}")
    return names


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a NRRD file of that name.

    Shear, singular axes and every neutral fact but slope and intercept fit: values of scaled images become floats,
    bool becomes uint8, float16 float32.

    Raises
    ------
    UnsupportedError
        If the voxels are float128 or complex256, which NRRD has no type for.
    """
    from medimg_cli.formats.nrrd_writing import build

    lines = build(header)
    return neutral(parse(b"\n".join(lines), name))[0]


def encode(header: Header, name: str, level: int | None) -> Any:
    """Lay out a fitted header for a file of that name, with its voxels in it or, for ``.nhdr``, beside it."""
    from medimg_cli.formats.nrrd_writing import encoded

    assert header.native is not None
    axes = neutral(parse(b"\n".join(header.native.data), name))[1]
    return encoded(header, layout_of(header, axes, "little"), name, level)

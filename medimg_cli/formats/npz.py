"""NumPy archives: ``.npz``, without pickles.

Ours hold ``data`` (the voxels, as values), ``affine`` (4 x 4, RAS+ mm) and ``header`` (JSON as bytes: dtype
apart, all that medimg knows of an image), so that ``numpy.load`` has what it expects and medimg loses
nothing. Of others the one array that can be an image is read, with ``affine`` if there is one.
"""

from __future__ import annotations

from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, StoredBackend
from medimg_cli.errors import FormatError, MedImgError, TruncatedError
from medimg_cli.formats.neutral import FACTS, from_facts, to_facts
from medimg_cli.formats.npy import (
    NO_GEOMETRY,
    ArrayFacts,
    array_header,
    array_layout,
    array_shape,
    facts_for,
    native_fields,
    read_facts,
    show_facts,
)
from medimg_cli.formats.zipped import Member, ZipWriter, list_members, member_bytes, open_member
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource, MemorySource
from medimg_cli.storage.stored import StoredArray

__all__ = ["fit", "native_fields", "open", "write_file"]

#: What the JSON begins with, so that a foreign array of the same name is not taken for it.
_MARK = b'{"medimg": 1'
_OWN = ("affine", "header")
_MOST_HEADER = 1 << 24


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open an archive that holds one image.

    Raises
    ------
    FormatError
        If it holds none, or several arrays that could be one.
    UnsupportedError
        If the array holds objects, or is compressed in an unusual way.
    """
    members = {m.name.removesuffix(".npy"): m for m in list_members(source) if m.name.endswith(".npy")}
    if not members:
        raise FormatError("the archive holds no NumPy arrays", path=source.name)
    key, ignored = _image_key(source, members)
    voxels = open_member(source, members[key])
    facts = read_facts(voxels)
    header = array_header(facts, source.name)
    if members[key].size < facts.offset + facts.nbytes:
        raise TruncatedError(f"array {key!r} needs {facts.nbytes} bytes, the archive has less of it", path=source.name)
    if isinstance(voxels, EncodedSource):
        header = header.replace(compression="zlib")
    header = _with_affine(header, source, members.get("affine"))
    header = _with_header(header, source, members.get("header"))
    if ignored:
        header = header.warn(f"other arrays in the archive are ignored: {', '.join(ignored)[:200]}")
    return StoredBackend(StoredArray(voxels, facts.offset, array_layout(facts)), header)


def _image_key(source: ByteSource, members: dict[str, Member]) -> tuple[str, list[str]]:
    """Return which array is the image, and which are ignored."""
    if "data" in members:
        return "data", sorted(set(members) - {"data", *_OWN})
    found: dict[str, ArrayFacts] = {}
    problem: MedImgError | None = None
    for key, member in list(members.items())[:256]:
        if key in _OWN:
            continue
        try:
            found[key] = read_facts(open_member(source, member))
            array_shape(found[key], source.name)
        except MedImgError as error:
            found.pop(key, None)
            problem = error
    images = [key for key, facts in found.items() if len(facts.shape) > 1 and facts.shape not in ((3, 3), (4, 4))]
    images = images or list(found)
    if len(images) == 1:
        return images[0], sorted(set(members) - {images[0], *_OWN})
    if not images and problem is not None:
        raise problem
    raise FormatError(
        f"the archive holds {len(images)} arrays that could be the image: {', '.join(sorted(images))[:200]}",
        path=source.name,
        hint="save one of them alone, or under the name 'data'",
    )


def _with_affine(header: Header, source: ByteSource, member: Member | None) -> Header:
    if member is None:
        return header.warn(NO_GEOMETRY)
    try:
        data = member_bytes(source, member)
        facts = read_facts(MemorySource(data, source.name))
        if facts.shape != (4, 4) or facts.dtype not in ("float32", "float64", "int64", "int32"):
            raise FormatError("is no 4 x 4 matrix of numbers")
        values = _values(data, facts)
        rows = [values[4 * n : 4 * n + 4] for n in range(4)]
        affine = AffineMatrix(list(zip(*rows, strict=True)) if facts.fortran else rows)
    except MedImgError as error:
        return header.warn(f"its affine is not usable ({error.message}): spacing 1 mm and origin 0 are assumed")
    return header.replace(affine=affine, affine_source="affine")


def _values(data: bytes, facts: ArrayFacts) -> tuple[float, ...]:
    import struct

    letter = {"float32": "f", "float64": "d", "int32": "i", "int64": "q"}[facts.dtype]
    order = ">" if facts.byte_order == "big" else "<"
    try:
        return struct.unpack_from(f"{order}16{letter}", data, facts.offset)
    except struct.error:
        raise FormatError("it is cut off") from None


def _with_header(header: Header, source: ByteSource, member: Member | None) -> Header:
    """Add what medimg wrote as JSON."""
    if member is None or member.size > _MOST_HEADER:
        return header
    import json

    content = member_bytes(source, member)
    try:
        text = content[read_facts(MemorySource(content, source.name)).offset :]
        if not text.startswith(_MARK):
            return header
        facts = json.loads(text)
    except (ValueError, RecursionError, MedImgError):
        return header.warn("its header is not valid JSON and is ignored")
    return from_facts(header, facts)


def fit(header: Header, name: str) -> Header:
    """Return what would come back from an archive: values, geometry and all neutral facts."""
    import json

    base = array_header(facts_for(header), name)
    return from_facts(base.replace(affine=header.affine, affine_source="affine"), json.loads(_json(header)))


def _json(header: Header) -> bytes:
    """Return all facts that say something, as JSON."""
    import json

    facts = {key: value for key, value in to_facts(header, FACTS).items() if value not in (None, "", [], {})}
    body = json.dumps(facts, ensure_ascii=True, separators=(",", ":"), default=str)
    return _MARK + (b", " if facts else b"") + body[1:].encode()


def write_file(staged: Any, name: str, backend: Backend, header: Header, level: int | None) -> None:
    """Write an archive.

    Parameters
    ----------
    staged : StagedFile
    name : str
    backend : Backend
        The image.
    header : Header
        As :func:`fit` returned it.
    level : int, optional
        Voxels are deflated where it is 1 or more; by default they are stored, so that parts can be read
        lazily.
    """
    import struct

    archive = ZipWriter(staged)
    values = [value for row in header.affine.rows for value in row]
    affine = show_facts(ArrayFacts((4, 4), "float64", "little", False, 0)) + struct.pack("<16d", *values)
    archive.add("affine.npy", [affine], len(affine))
    text = _json(header)
    facts = show_facts(ArrayFacts((len(text),), "uint8", "little", False, 0)) + text
    archive.add("header.npy", [facts], len(facts))
    assert header.native is not None
    array: ArrayFacts = header.native.data
    raw = not backend.header.scaled or header.scaled

    def blocks() -> Any:
        yield show_facts(array)
        yield from backend.blocks(array_layout(array), raw=raw)

    archive.add("data.npy", blocks(), array.offset + array.nbytes, level)
    archive.finish()

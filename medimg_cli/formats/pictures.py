"""PNG, JPEG, BMP and JPEG 2000 (read only) through Pillow, as images of one slice: I along columns, J along rows.

Decisions; where they concern pixels or geometry they are ITK's, so that both give the same:

- Axes run along LPS from origin 0; voxel size from PNG's sCAL and JPEG's JFIF density, else 1 mm. A resolution for
  printing (pHYs, BMP) is no voxel size.
- Palettes become the colours that they stand for; gray of 1, 2 or 4 bits is spread over 8 (1 bit: 0 and 255).
- Alpha is a fourth colour; gray with alpha is two channels. CMYK and YCbCr become RGB, with a warning.
- PNG with 16 bits and several samples goes through SimpleITK: Pillow would cut it to 8 bits.
- The orientation tag of EXIF is not applied, of animations the first frame is read; both with a warning.
- A picture without its end mark is truncated: the header is read, the voxels are refused.
- Written are one slice of uint8 (PNG: or uint16 with one channel), gray or colours. JPEG changes values, and says so.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import Backend
from medimg_cli.errors import FormatError, OversizeError, TruncatedError, UnsupportedError
from medimg_cli.formats import split_suffix
from medimg_cli.formats.foreign import (
    SourceFile,
    WholeBackend,
    bare,
    check_shape,
    foreign_errors,
    lps_affine,
    sane_spacing,
    source_size,
)
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.storage.atomic import StagedFile

__all__ = ["fit", "open", "with_pixel_size", "write_file"]

#: Bytes at the end of a file in which its end mark must be, and at its start in which sCAL must be.
_TAIL, _HEAD = 1 << 16, 1 << 16
#: First bytes -> Pillow's name.
_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}  # fmt: skip
_END_MARKS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
#: Bytes of a PNG up to the end of its first chunk.
_PNG_START = 33
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
#: Pillow's mode -> (mode to convert to, dtype, axes).
_RGB, _RGBA = (("rgb", 3),), (("rgb", 4),)
_MODES: dict[str, tuple[str, str, tuple[tuple[str, int], ...]]] = {
    "1": ("L", "uint8", ()), "L": ("L", "uint8", ()), "I;16": ("I;16", "uint16", ()), "I;16B": ("I;16", "uint16", ()),
    "I": ("I", "int32", ()), "F": ("F", "float32", ()), "LA": ("LA", "uint8", (("channel", 2),)),
    "P": ("RGB", "uint8", _RGB), "PA": ("RGBA", "uint8", _RGBA), "RGB": ("RGB", "uint8", _RGB),
    "RGBA": ("RGBA", "uint8", _RGBA), "CMYK": ("RGB", "uint8", _RGB), "YCbCr": ("RGB", "uint8", _RGB),
}  # fmt: skip


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a picture; only its header is read.

    Raises
    ------
    TruncatedError
        If the header is cut off.
    FormatError
        If Pillow cannot read it, or it has more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    head = source.head(64)
    kind = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if kind is None:
        raise FormatError("is no picture that medimg knows", path=source.name)
    size = source_size(source)
    problem = _shortage(source, kind, head, size)
    if kind == "PNG" and len(head) > 25 and head[24] == 16 and head[25] in (2, 4, 6):
        return _open_deep(source, head, problem)
    with foreign_errors(source.name, kind), SourceFile(source) as file:
        picture = _opened(file, kind)
        width, height = picture.size
        mode = picture.mode
        if mode not in _MODES:
            raise UnsupportedError(f"{kind} of mode {mode} is not supported", path=source.name)
        notes = _notes(picture, kind)
        target, dtype, axes = _MODES[mode]
        if mode == "P" and "transparency" in picture.info:
            target, axes = "RGBA", _RGBA
        spacing = _spacing(source, picture, kind, notes)
    channels = axes[0][1] if axes else 1
    check_shape((channels, width, height), dtype, source.name)
    header = Header(
        shape=(channels, width, height, 1),
        dtype=dtype,
        affine=lps_affine(spacing),
        axes=axes,
        ndim=2,
        affine_source="picture",
        warnings=tuple(notes),
    )
    return PictureBackend(source, kind, target, header, problem)


def _opened(file: Any, kind: str) -> Any:
    """Let Pillow read a header; refuse more pixels than Pillow deems sane, not only warn of them."""
    from PIL import Image

    picture = Image.open(file, formats=[kind])
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and picture.width * picture.height > most:
        raise OversizeError(f"{picture.width} x {picture.height} pixels are more than {most}: it could be a bomb")
    return picture


def _open_deep(source: ByteSource, head: bytes, problem: str | None) -> Backend:
    """Open a PNG of 16 bits and several samples through SimpleITK."""
    from PIL import Image

    from medimg_cli.formats.through_simpleitk import open_itk

    width, height = struct.unpack_from(">2I", head, 16)
    if problem is not None:
        raise TruncatedError(problem, path=source.name, hint="get the file again")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise OversizeError(f"{width} x {height} pixels are too many: it could be a bomb", path=source.name)
    backend = open_itk(source, "PNGImageIO", "PNG", suffix=".png")
    backend.header = backend.header.replace(affine_source="picture")
    return backend


def _shortage(source: ByteSource, kind: str, head: bytes, size: int) -> str | None:
    """Say why the pixels cannot all be there."""
    if kind == "BMP":
        needed = _bmp_bytes(head)
        return f"truncated: {size} bytes, the header needs {needed}" if needed > size else None
    mark = _END_MARKS.get(kind)
    if mark is None:
        return None
    first = max(size - _TAIL, 0)
    tail = bytearray(size - first)
    with source.cursor() as cursor:
        cursor.readinto(first, memoryview(tail))
    return None if mark in tail else f"truncated: the {kind} file ends without its end mark"


def _bmp_bytes(head: bytes) -> int:
    """Return how many bytes an uncompressed BMP needs (BITMAPFILEHEADER and BITMAPINFOHEADER); 0 where it is packed."""
    if len(head) < 54 or int.from_bytes(head[14:18], "little") < 40:
        return len(head)
    (offset,) = struct.unpack_from("<I", head, 10)
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", head, 18)
    if packing not in (0, 3):
        return 0
    return int(offset + (abs(width) * bits + 31) // 32 * 4 * abs(height))


def _notes(picture: Any, kind: str) -> list[str]:
    """Say what is not taken over."""
    notes = []
    if picture.mode in ("CMYK", "YCbCr"):
        notes.append(f"{picture.mode} colours are converted to RGB")
    if getattr(picture, "n_frames", 1) > 1:
        notes.append(f"it holds {picture.n_frames} pictures, the first one is read")
    if picture.mode in ("L", "RGB", "I;16") and "transparency" in picture.info:
        notes.append("one colour is declared transparent; that is ignored")
    try:
        turned = picture.getexif().get(0x0112, 1) if kind == "JPEG" else 1
    except Exception:  # Pillow raises what it likes on damaged EXIF, which is of no concern here
        turned = 1
    if turned != 1:
        notes.append(f"the orientation tag of EXIF ({str(turned)[:5]}) is not applied")
    return notes


def _spacing(source: ByteSource, picture: Any, kind: str, notes: list[str]) -> tuple[float, float, float]:
    if kind == "PNG":
        return sane_spacing((*_png_scale(source.head(_HEAD)), 1.0), notes)
    unit = {1: 25.4, 2: 10.0}.get(picture.info.get("jfif_unit", 0))
    density = picture.info.get("jfif_density", (0, 0))
    if kind == "JPEG" and unit and min(density) > 0:
        return sane_spacing((unit / density[0], unit / density[1], 1.0), notes)
    return 1.0, 1.0, 1.0


def _png_scale(head: bytes) -> tuple[float, float]:
    """Return the size of a pixel that the sCAL chunk states; ITK writes millimetres, whatever the unit."""
    at = 8
    while at + 12 <= len(head):
        count, name = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        if name == b"sCAL":
            width, _, height = head[at + 9 : at + 8 + count].partition(b"\0")
            try:
                return float(width), float(height)
            except ValueError:
                break
        if name == b"IDAT":
            break
        at += 12 + count
    return 1.0, 1.0


class PictureBackend(WholeBackend):
    """A picture that Pillow decodes as a whole."""

    def __init__(self, source: ByteSource, kind: str, mode: str, header: Header, problem: str | None) -> None:
        super().__init__(source, header, problem)
        self.kind, self.mode = kind, mode

    def decode(self) -> np.ndarray[Any, Any]:
        import numpy as np

        with foreign_errors(self.source.name, self.kind), SourceFile(self.source) as file:
            picture = _opened(file, self.kind)
            array = np.asarray(picture if picture.mode == self.mode else picture.convert(self.mode))
        array = array[:, :, None] if array.ndim == 2 else array
        return array.transpose(2, 1, 0)[..., None].astype(array.dtype.newbyteorder("="), copy=False)


class _Frame(NamedTuple):
    """How an image of one slice lies in a picture: the axis that is left out, and the two that are kept."""

    dropped: int
    columns: int
    rows: int


def _frame(header: Header, title: str) -> _Frame:
    """Return which axis of an image has one voxel.

    Raises
    ------
    UnsupportedError
        If none has.
    """
    for dropped in (2, 1, 0):
        if header.shape[dropped + 1] == 1:
            columns, rows = (axis for axis in range(3) if axis != dropped)
            return _Frame(dropped, columns, rows)
    shown = " x ".join(map(str, header.spatial_shape))
    raise UnsupportedError(f"{title} holds one slice, the image is {shown} voxels", hint="cut one with: medimg slice")


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a picture of that name: pixels, and their size where it can be stored.

    Raises
    ------
    UnsupportedError
        If the image has more than one slice, channels that are no colours, or values that the format does not hold.
    """
    kind = _SUFFIXES[split_suffix(name)[1]]
    frame = _frame(header, kind)
    axes = tuple(axis for axis in header.channel_axes() if axis[1] > 1)
    dtype = "uint8" if header.value_dtype == "bool" else header.value_dtype
    if dtype != "uint8" and not (kind == "PNG" and dtype == "uint16" and not axes):
        held = "uint8 and gray uint16" if kind == "PNG" else "uint8"
        hint = "add --dtype uint8 --rescale"
        raise UnsupportedError(f"{kind} holds {held}, not {header.value_dtype} values", hint=hint)
    most = (_RGB, _RGBA, (("channel", 2),)) if kind == "PNG" else (_RGB,)
    if axes and axes not in most:
        shown = " x ".join(f"{axis} {size}" for axis, size in axes)
        raise UnsupportedError(f"{kind} holds gray or colours, the image {shown}", hint="pick one with: medimg slice")
    sizes = (header.spacing[frame.columns], header.spacing[frame.rows])
    lossy = ("lossy: JPEG changes the values of voxels",) if kind == "JPEG" else ()
    return bare(
        header,
        shape=(header.channels, header.shape[frame.columns + 1], header.shape[frame.rows + 1], 1),
        dtype=dtype,
        affine=lps_affine((*_kept_sizes(sizes, kind), 1.0)),
        axes=axes,
        ndim=2,
        affine_source="picture",
        warnings=lossy,
    )


def _kept_sizes(sizes: tuple[float, float], kind: str) -> tuple[float, float]:
    """Return the size of a pixel as a format can hold it: JPEG in whole pixels an inch."""
    if kind == "PNG" or sizes == (1.0, 1.0):
        return sizes
    density = [round(25.4 / size) for size in sizes]
    if kind == "BMP" or not all(0 < dots < 65536 for dots in density):
        return 1.0, 1.0
    return 25.4 / density[0], 25.4 / density[1]


def write_file(staged: StagedFile, name: str, backend: Backend, header: Header, level: int | None) -> None:
    """Write a picture; ``level`` is that of PNG's compression."""
    from io import BytesIO

    import numpy as np
    from PIL import Image

    kind = _SUFFIXES[split_suffix(name)[1]]
    frame = _frame(backend.header, kind)
    raw = not backend.header.scaled or header.scaled
    values = backend.read(whole(backend.header.shape), raw=raw)
    pixels = np.ascontiguousarray(values.squeeze(frame.dropped + 1).transpose(2, 1, 0).astype(header.dtype))
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    memory = BytesIO()
    picture.save(memory, kind, **_options(header, kind, level))
    content = memory.getvalue()
    if kind == "PNG" and header.spacing[:2] != (1.0, 1.0):
        content = with_pixel_size(content, header.spacing[:2])
    staged.write(content)


def _options(header: Header, kind: str, level: int | None) -> dict[str, Any]:
    """Return what Pillow's writers take."""
    if kind == "PNG":
        return {"compress_level": 6 if level is None else min(level, 9)}
    if kind == "JPEG":
        sizes = header.spacing[:2]
        density = {} if sizes == (1.0, 1.0) else {"dpi": (round(25.4 / sizes[0]), round(25.4 / sizes[1]))}
        return {"quality": 95, "subsampling": 0, **density}
    return {}


def with_pixel_size(png: bytes, sizes: Sequence[float]) -> bytes:
    """Return a PNG with width and height of a pixel in mm: chunk sCAL, as ITK reads it; Pillow writes none."""
    from zlib import crc32

    content = b"sCAL\x01" + b"\0".join(repr(size).encode() for size in sizes)
    chunk = (len(content) - 4).to_bytes(4, "big") + content + crc32(content).to_bytes(4, "big")
    return png[:_PNG_START] + chunk + png[_PNG_START:]

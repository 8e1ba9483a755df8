"""TIFF and BigTIFF: a page is a slice (I along columns, J along rows, K over pages), as in ITK and ImageJ.

Pages that hold their samples as they are (uncompressed strips, gray or RGB) are read in place, page by page; all
others are decoded by SimpleITK as a whole. Decisions:

- Voxel size in the page: resolution in inches or centimetres, or in ImageJ's unit. Between pages: ImageJ's
  ``spacing``, else 1 with a warning. TIFF stores no position and no direction: as in ITK the axes run along LPS from
  origin 0.
- ImageJ's ``channels``, ``slices``, ``frames`` (a hyperstack; order x y c z t) become the axes "channel" and "time",
  ``finterval`` the time between two frames. Samples of a pixel are colours (RGB, RGBA) or channels.
- Written files are uncompressed, with ImageJ's description where there is more than one page, and BigTIFF beyond 4
  GiB.
- Thumbnails and masks are left out; so are, with a warning, pages that differ from the first in size or type.
- The Orientation tag is not applied, as in ITK; other values than 1 are warned of.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import isfinite, prod
from typing import TYPE_CHECKING

from medimg_cli.backends import Backend, FramesBackend, StoredBackend
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.formats.foreign import (
    bare,
    check_shape,
    lps_affine,
    sane_spacing,
    single_line,
    source_size,
    widened,
)
from medimg_cli.formats.tiff_pages import Page, byte_order_of, read_pages
from medimg_cli.header import Header
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, StoredArray

if TYPE_CHECKING:
    from medimg_cli.formats.writing import Encoded

__all__ = ["encode", "fit", "open"]

#: ResolutionUnit, and ImageJ's names of units, in mm.
_RESOLUTION_UNITS = {2: 25.4, 3: 10.0}
_UNITS = {
    "nm": 1e-6, "um": 1e-3, "\u00b5m": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3, "mm": 1.0, "cm": 10.0,
    "m": 1000.0, "inch": 25.4,
}  # fmt: skip
_WRITABLE = (
    "uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32", "uint64", "int64", "float64",
    "complex64", "complex128",
)  # fmt: skip
_MOST_TEXT = 4096
#: Pages of a file to be written: each has a directory of its own, and readers count them with 16 bits.
_MOST_PAGES = 65535


def open(source: ByteSource, compression: str | None) -> Backend:
    """Open a TIFF file.

    Raises
    ------
    TruncatedError
        If a directory lies beyond the end of the file.
    FormatError
        If the directories are absurd, or no reader knows the coding of the voxels.
    """
    size = source_size(source)
    first, offsets, others = _survey(source, size)
    notes = []
    if others:
        notes.append(f"{others} pages of another size or type are left out")
    if first.value(274, 1) != 1:
        notes.append(f"its orientation tag is {first.value(274, 1)}; the pixels are kept as they are stored")
    facts = _imagej(first.text(270))
    if offsets is None:
        return _decoded(source, size, first, facts, notes)
    places = _one_block(facts, offsets, first)
    header = _neutral(source, first, len(places), byte_order_of(source.head(2)) or "little", facts, notes)
    return _in_place(source, header, places)


def _survey(source: ByteSource, size: int) -> tuple[Page, Sequence[int] | None, int]:
    """Look at all pages once.

    Returns
    -------
    Page
        The first one.
    sequence of int or None
        Where the samples of all pages like it begin; None if one of them holds them otherwise than as they are.
    int
        How many pages are unlike it.
    """
    from array import array

    first: Page | None = None
    offsets: array[int] | None = array("Q")  # a stack may have a million pages
    others, extra = 0, None
    for page in read_pages(source, size):
        if page.is_extra:
            extra = extra or page
            continue
        first = first or page
        if page.kind != first.kind:
            others += 1
        elif offsets is not None:
            offset = page.plain_offset()
            if offset is None:
                offsets = None
            else:
                offsets.append(offset)
    if first is None:  # nothing but thumbnails
        assert extra is not None
        first = extra
        offset = first.plain_offset()
        offsets = None if offset is None else array("Q", [offset])
    return first, offsets, others


def _one_block(facts: dict[str, str], offsets: Sequence[int], page: Page) -> Sequence[int]:
    """Return where pages begin; ImageJ writes a large stack as one page and the others right behind it."""
    count = _whole(facts, "images")
    if page.nbytes and len(offsets) == 1 < count <= (page.size - offsets[0]) // page.nbytes:
        return range(offsets[0], offsets[0] + count * page.nbytes, page.nbytes)
    return offsets


def _neutral(
    source: ByteSource, page: Page, count: int, byte_order: str, facts: dict[str, str], notes: list[str]
) -> Header:
    """Return the header of a stack of plain pages."""
    dtype = page.dtype
    assert dtype is not None
    channels, frames = _whole(facts, "channels"), _whole(facts, "frames")
    if count % (channels * frames):
        channels = frames = 1
        notes.append("ImageJ's channels and frames do not fit the number of pages and are ignored")
    axes: list[tuple[str, int]] = [(kind, n) for kind, n in (("channel", channels), ("time", frames)) if n > 1]
    if page.samples > 1:
        colours = page.photometric == 2 and page.samples in (3, 4)
        axes.append(("rgb" if colours else "channel", page.samples))
    slices = count // (channels * frames)
    shape = (prod(size for _, size in axes), page.width, page.height, slices)
    check_shape(shape, dtype, source.name)
    text = page.text(270)
    interval = _number(facts, "finterval")
    return Header(
        shape=shape,
        dtype=dtype,
        affine=lps_affine(_spacing(page, slices, facts, notes)),
        axes=tuple(axes),
        ndim=2 if slices == 1 else 3,
        byte_order=byte_order,
        affine_source="tiff",
        time_spacing=interval if frames > 1 and interval > 0 else None,
        description="" if facts or text.startswith("<") else text[:_MOST_TEXT],
        warnings=tuple(notes),
    )


def _spacing(page: Page, slices: int, facts: dict[str, str], notes: list[str]) -> tuple[float, float, float]:
    unit = _UNITS.get(facts.get("unit", "").lower())
    inside = unit or _RESOLUTION_UNITS.get(page.value(296, 2))
    sizes = [1.0 / ratio * inside if (ratio := page.ratio(tag)) and inside else 1.0 for tag in (282, 283)]
    between = _number(facts, "spacing")
    if between > 0 and unit:
        return sane_spacing((*sizes, between * unit), notes)
    if slices > 1:
        notes.append("the distance of the pages is not stored: the spacing along K is taken as 1 mm")
    return sane_spacing((*sizes, 1.0), notes)


def _in_place(source: ByteSource, header: Header, places: Sequence[int]) -> Backend:
    """Return the voxels of plain pages where they lie."""
    colours = header.axes[-1][1] if header.axes and _has_samples(header, len(places)) else 1
    others = header.channels // colours
    page = ITEMSIZE[header.dtype] * colours * header.shape[1] * header.shape[2]
    step = places[1] - places[0] if len(places) > 1 else page
    if step > 0 and all(b - a == step for a, b in pairwise(places)):
        stored = StoredArray(source, places[0], _layout(header, colours, step))
        return StoredBackend(stored, header)
    if colours > 1 and others > 1:
        raise FormatError("a hyperstack of colours whose pages lie apart is not supported", path=source.name)
    one = header.replace(shape=(colours, *header.shape[1:3], 1), axes=header.axes[-1:] if colours > 1 else ())
    layout = _layout(one, colours, page)
    frames = [StoredBackend(StoredArray(source, place, layout), one) for place in places]
    if others == 1:
        return FramesBackend(frames, header, axis=3)
    channels, _ = _split(header)
    volume = one.replace(shape=(1, *header.shape[1:]))
    stacks = []
    for n in range(others):  # pages run over channels, K, time
        first = n % channels + n // channels * channels * header.shape[3]
        stacks.append(FramesBackend(frames[first : first + channels * header.shape[3] : channels], volume, axis=3))
    return FramesBackend(stacks, header, axis=0)


def _has_samples(header: Header, pages: int) -> bool:
    """Tell whether the last axis lies in the pixels rather than in pages."""
    return header.channels * header.shape[3] > pages


def _split(header: Header) -> tuple[int, int]:
    """Return how many channels and frames lie in pages of their own."""
    sizes = dict(header.axes[:-1] if header.axes and header.axes[-1][0] == "rgb" else header.axes)
    return sizes.get("channel", 1), sizes.get("time", 1)


def _layout(header: Header, colours: int, step: int) -> Layout:
    """Return the layout of pages ``step`` bytes apart, in the order channel, K, time."""
    item, (_, i, _, k) = ITEMSIZE[header.dtype], header.shape
    channels = []
    paged = list(header.axes[:-1] if colours > 1 else header.axes)
    inner = 1
    for kind, size in paged:
        if kind == "time":
            channels.append((size, inner * k * step))
        else:
            channels.append((size, inner * step))
            inner *= size
    if colours > 1:
        channels.append((colours, item))
    strides = (item * colours, item * colours * i, inner * step)
    return Layout(header.shape, header.dtype, header.byte_order, strides, tuple(channels))


def _decoded(source: ByteSource, size: int, first: Page, facts: dict[str, str], notes: list[str]) -> Backend:
    """Let SimpleITK read pages that are compressed, tiled, or of another photometric interpretation."""
    from medimg_cli.formats.through_simpleitk import open_itk

    count = 0
    for page in read_pages(source, size):
        if page.kind == first.kind:
            page.check(source.name)
            count += 1
    check_shape((first.samples, first.width, first.height, count), "float64", source.name)
    backend = open_itk(source, "TIFFImageIO", "TIFF", suffix=".tif")
    header = backend.header
    if header.shape[1:] != (first.width, first.height, count):
        raise FormatError("its pages are no stack of one size", path=source.name)
    if facts:
        notes.append("ImageJ's channels and frames of a compressed stack are not told apart")
    affine = lps_affine(_spacing(first, count, facts, notes))
    backend.header = header.replace(affine=affine, affine_source="tiff", warnings=(*header.warnings, *notes))
    return backend


def _imagej(text: str) -> dict[str, str]:
    """Return ImageJ's key-values from a description that it, or somebody in its name, wrote."""
    if not text.startswith("ImageJ="):
        return {}
    pairs = (line.partition("=") for line in text[:_MOST_TEXT].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _whole(facts: dict[str, str], key: str) -> int:
    word = facts.get(key, "1")
    return max(int(word), 1) if word.isdecimal() and len(word) < 10 else 1


def _number(facts: dict[str, str], key: str) -> float:
    try:
        number = float(facts.get(key, "0"))
    except ValueError:
        return 0.0
    return number if isfinite(number) else 0.0


def fit(header: Header, name: str) -> Header:
    """Return what would come back from a TIFF file: voxel size, colours, channels and time, no position and no slope.

    Raises
    ------
    UnsupportedError
        If no type of TIFF holds every value, or there are more than 65535 pages.
    """
    dtype = widened(header, _WRITABLE, "TIFF")
    axes = _file_axes(header)
    pages = header.shape[3] * prod(size for kind, size in axes if kind != "rgb")
    if pages > _MOST_PAGES:
        raise UnsupportedError(f"TIFF needs a page for each slice, and {pages} are more than {_MOST_PAGES}")
    x, y, z = (size or 1.0 for size in header.spacing)  # 0 cannot be written: a reader takes it for 1
    inside = [10.0 / float(_resolution(size)) for size in (x, y)]
    timed = any(kind == "time" for kind, _ in axes) and (header.time_spacing or 0) > 0
    fitted = bare(
        header,
        dtype=dtype,
        affine=lps_affine((*inside, float(repr(z / 10)) * 10)),
        axes=axes,
        affine_source="tiff",
        time_spacing=header.time_spacing if timed else None,
        ndim=2 if header.shape[3] == 1 else 3,
    )
    return fitted if _is_described(fitted) else fitted.replace(description=single_line(header.description, 1000))


def _file_axes(header: Header) -> tuple[tuple[str, int], ...]:
    """Return axes that a hyperstack has, in its order; others become one axis of channels."""
    axes = [axis for axis in header.channel_axes() if axis[1] > 1]
    colours = [axes.pop()] if axes and axes[-1][0] == "rgb" and axes[-1][1] in (3, 4) else []
    named = [("time" if kind == "time" else "channel", size) for kind, size in axes]
    if [kind for kind, _ in named] not in ([], ["channel"], ["time"], ["channel", "time"]):
        return (("channel", header.channels),)
    return (*named, *colours)


def _is_described(header: Header) -> bool:
    """Tell whether a file needs ImageJ's description to say all that the header does."""
    return header.shape[3] > 1 or any(kind != "rgb" for kind, _ in header.axes) or header.spacing[2] != 1.0


def _resolution(size: float) -> Fraction:
    """Return pixels in a centimetre as a fraction of two 32-bit numbers."""
    wanted = Fraction(min(10.0 / size, 0xFFFFFFFF))
    most = min(1 << 31, int((1 << 31) / max(wanted, Fraction(1))))
    return wanted.limit_denominator(max(most, 1)) or Fraction(1, 1 << 31)


def _description(header: Header, pages: int) -> str:
    if not _is_described(header):
        return header.description
    channels, frames = _split(header)
    lines = ["ImageJ=1.11a", f"images={pages}"]
    lines += [f"channels={channels}"] if channels > 1 else []
    lines += [f"slices={header.shape[3]}"]
    lines += [f"frames={frames}"] if frames > 1 else []
    lines += ["hyperstack=true"] if channels * frames > 1 else []
    lines += ["unit=cm", f"spacing={header.spacing[2] / 10!r}"]
    lines += [f"finterval={header.time_spacing!r}"] if header.time_spacing else []
    return "\n".join([*lines, "loop=false", ""])


def encode(header: Header, name: str, level: int | None) -> Encoded:
    """Lay out a fitted header: all directories first, then the pages one behind the other."""
    from medimg_cli.formats.tiff_writing import directories
    from medimg_cli.formats.writing import Encoded

    colours = header.axes[-1][1] if header.axes and header.axes[-1][0] == "rgb" else 1
    channels, frames = _split(header)
    pages = channels * frames * header.shape[3]
    steps = [_resolution(size) for size in header.spacing[:2]]
    head = directories(header, colours, pages, (steps[0], steps[1]), _description(header, pages).encode())
    return Encoded(layout=_layout(header, colours, header.data_bytes // pages), head=head)

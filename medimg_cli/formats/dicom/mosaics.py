"""Mosaics: one stored frame whose tiles are the slices of a volume (Siemens, UIH).

Decisions, as dcm2niix takes them:

- The tiles of N slices are in a grid of ceil(sqrt(N)) columns, row by row; Siemens has as many rows as columns, UIH as
  many as it needs. What is left over is empty.
- Siemens gives the position of a frame that is as large as the mosaic and has the centre of the first slice: the first
  tile lies half the difference of their sizes further in. UIH gives the position of the first slice, and in a sequence
  of its own that of each.
- Slices are SpacingBetweenSlices apart, or SliceThickness where that is missing.
- SliceNormalVector of Siemens' CSA header says on which side of the first slice the others are. Where it is missing
  (somebody took the private elements out) they are where the scanner puts them unless told otherwise: towards left,
  posterior and head, with a warning.
- What calls itself a mosaic but cannot be one is a single picture, with a warning: nothing says of how many slices, or
  its pixels are no multiple of so many tiles (somebody resized it). dcm2niix cuts such files up nevertheless.
"""

from __future__ import annotations

from math import ceil, isqrt
from typing import Any

from medimg_cli.errors import FormatError, GeometryError, MedImgError
from medimg_cli.formats.dicom.diffusion import weighting
from medimg_cli.formats.dicom.frames import Frame, Tile, single_frame
from medimg_cli.formats.dicom.reading import DicomFile, full_dataset
from medimg_cli.formats.dicom.siemens import csa_header, csa_number, csa_numbers
from medimg_cli.formats.dicom.vectors import Vector, dot, moved, normal_of, times

__all__ = ["doubt", "tiles"]

_MOST = 4096
#: Element of UIH with an item for each slice, and its creator, in the blocks where they may be.
_ITEMS = tuple(f"0065{tag}" for block in range(0x10, 0x14) for tag in (f"00{block:02x}", f"{block:02x}51"))
#: Cosine between SliceNormalVector and the normal of the slices, below which they contradict each other.
_PARALLEL = 0.9


def tiles(file: DicomFile) -> list[Frame]:
    """Return the slices of a mosaic, in the order in which they are stored.

    Parameters
    ----------
    file : DicomFile

    Returns
    -------
    list of Frame
        The file as one picture where it cannot be a mosaic; `doubt` says so.

    Raises
    ------
    FormatError
        If the header contradicts itself.
    GeometryError
        If nothing says how far the slices are apart.
    """
    whole = single_frame(file)
    uih = "VFRAME" in file.kind
    count = _count(file, uih)
    grid = _grid(file, count, uih) if count is not None else None
    if count is None or grid is None:
        return [whole]
    facts = _weights(whole)
    places = _places_of_items(file, count) if uih else None
    if places is None:
        places = _places(whole, grid[0], count, uih)
    return [whole._replace(position=place, tile=tile, facts=facts) for tile, place in zip(grid, places, strict=True)]


def doubt(frame: Frame) -> str | None:
    """Say what had to be assumed of a slice of a mosaic; None where nothing was, and for other frames."""
    file = frame.file
    if not file.mosaic:
        return None
    if frame.tile is None:
        return "calls itself a mosaic of slices, which it cannot be as it is: it is read as one picture"
    if "VFRAME" in file.kind or "SliceNormalVector" in csa_header(file.elements):
        return None
    return (
        "is a mosaic that does not say in which order its slices are: left, posterior and head are taken for the last"
    )


def _count(file: DicomFile, uih: bool) -> int | None:
    """Return how many slices there are, None where nothing says it."""
    elements = file.elements
    said: list[float | None] = [elements.number("UIHMosaicImages" if uih else "SiemensMosaicImages")]
    if not uih and said == [None]:
        fields = csa_header(elements)
        times = elements.numbers("SiemensMosaicRefAcqTimes") or csa_numbers(fields, "MosaicRefAcqTimes")
        said += [csa_number(fields, "NumberOfImagesInMosaic"), float(len(times)) if times else None]
    count = next((number for number in said if number is not None), None)
    if count is None:
        return None
    if not count.is_integer() or not 0 < count <= _MOST:
        raise FormatError(f"is a mosaic of {count:g} slices")
    return int(count)


def _grid(file: DicomFile, count: int, uih: bool) -> list[Tile] | None:
    """Return the tiles of a frame, row by row; None where they do not fit."""
    columns = isqrt(count - 1) + 1
    rows = ceil(count / columns) if uih else columns
    pixels = file.pixels
    if pixels.columns % columns or pixels.rows % rows:
        return None
    high, wide = pixels.rows // rows, pixels.columns // columns
    return [Tile(n // columns * high, n % columns * wide, high, wide) for n in range(count)]


def _weights(whole: Frame) -> dict[str, Any]:
    """Return what the frame says of diffusion, which is true of each slice, so that it is looked up once."""
    weight = weighting(whole)
    if weight is None:
        return {}
    value, direction = weight
    return {"DiffusionBValue": value, "DiffusionGradientOrientation": direction}


# where slices lie


def _places(whole: Frame, first: Tile, count: int, uih: bool) -> list[Vector | None]:
    """Return the position of each slice; None where the frame has none."""
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        return [None] * count
    row, column = whole.orientation[:3], whole.orientation[3:]
    right, down = 0.0, 0.0
    if not uih:
        pixels = whole.file.pixels
        right = (pixels.columns - first.columns) / 2 * whole.spacing[1]
        down = (pixels.rows - first.rows) / 2 * whole.spacing[0]
    step = _step(whole, whole.orientation, uih) if count > 1 else (0.0, 0.0, 0.0)
    start = moved(moved(whole.position, row, right), column, down)
    return [moved(start, step, n) for n in range(count)]


def _step(whole: Frame, orientation: Vector, uih: bool) -> Vector:
    """Return the way from a slice to the next, LPS in mm."""
    sizes = (whole.number(keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
    size = next((size for size in sizes if size is not None and 0 < abs(size) < 1e30), None)
    if size is None:
        raise GeometryError("is a mosaic of slices, and nothing says how far they are apart")
    normal = normal_of(orientation)
    side = 1.0 if uih else _side(whole, normal)
    return times(normal, side * abs(size))


def _side(whole: Frame, normal: Vector) -> float:
    """Return whether the second slice lies along the normal (1) or against it (-1)."""
    said = csa_numbers(csa_header(whole.file.elements), "SliceNormalVector")
    if said is None or len(said) != 3:
        return 1.0 if max(normal, key=abs) > 0 else -1.0
    along = dot(said, normal)
    if not abs(along) > _PARALLEL:
        shown = "\\".join(f"{cosine:g}" for cosine in said)
        raise FormatError(f"SliceNormalVector {shown} of its CSA header is not normal to its slices")
    return 1.0 if along > 0 else -1.0


def _places_of_items(file: DicomFile, count: int) -> list[Vector | None] | None:
    """Return the position of each slice as the sequence of UIH has it; None where it does not."""
    if "UIHMosaicFrames" not in file.elements:
        return None
    try:
        dataset = full_dataset(file, *_ITEMS)
        items = next((list(element.value) for element in dataset if element.VR == "SQ"), [])
        places = [tuple(map(float, item.ImagePositionPatient)) for item in items]
    except (MedImgError, AttributeError, TypeError, ValueError):
        return None
    return list(places) if len(places) == count and all(len(place) == 3 for place in places) else None

"""DICOM Segmentations as label maps (PS3.3, A.51 and C.8.20).

Decisions:

- The voxels of segment n are n, never 255. Where the object was written by medimg and its labels were not 1, 2, 3 ...
  as SegmentNumber must be, they are what they were (`LABEL_BLOCK`).
- Frames are put in place by their position, never by their number: K runs along row x column, as in a series of
  images. Slices without a frame are 0. The step along K is SpacingBetweenSlices where all positions are whole multiples
  of it apart, else the smallest distance; what lies on no even grid is refused.
- BINARY is one channel where no two segments share a voxel, else one channel for each segment. SegmentsOverlap says
  which; where it does not, the pixels of slices with several segments are compared, up to a limit behind which an
  overlap is refused when it is met.
- FRACTIONAL is one channel for each segment, of probabilities or occupancies from 0 to 1: no label map.
- LABELMAP is what its pixels say.
- Colours are RecommendedDisplayCIELabValue; of a LABELMAP in PALETTE COLOR, those of the palette, 8 bits of each.
- Not read: tiles of slides, time points, height maps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import hypot
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, ArrayBackend, Backend, Buffer
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError
from medimg_cli.formats.dicom.cielab import rgb_of
from medimg_cli.formats.dicom.describing import metadata
from medimg_cli.formats.dicom.elements import printable
from medimg_cli.formats.dicom.encapsulation import Fragments, encoded_frames
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.groups import Group, per_frame, shared
from medimg_cli.formats.dicom.planes import is_encoded, plane, problem_of, refusal
from medimg_cli.formats.dicom.reading import DicomFile, fields, full_dataset
from medimg_cli.formats.dicom.vectors import Vector, close, dot, minus, moved, normal_of, times
from medimg_cli.formats.foreign import ForeignBackend, check_shape, foreign_errors
from medimg_cli.header import Header, Native
from medimg_cli.labels import LabelTable
from medimg_cli.storage.stored import Layout, Region, whole

if TYPE_CHECKING:
    import numpy as np

__all__ = ["LABEL_BLOCK", "open_segmentation"]

#: Group, creator and element in which medimg keeps a label that is no valid SegmentNumber.
LABEL_BLOCK = (0x0063, "MEDIMG LABELS", 0x01)
_NEEDED = (
    *("SegmentationType", "SegmentsOverlap", "SegmentSequence", "MaximumFractionalValue", "ReferencedSeriesSequence"),
    *("SegmentationFractionalType", "DimensionOrganizationType"),
    *(f"{hue}PaletteColorLookupTable{part}" for hue in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
)
#: How far a frame may be off its place, of a step and in mm; how far axes may be off unit length and a right angle.
_RELATIVE, _ABSOLUTE, _SKEW = 0.01, 1e-3, 0.01
#: Slices of a grid at most; pixels that are compared to see whether segments overlap, and encoded ones.
_MOST_SLICES, _MOST_COMPARED, _MOST_DECODED = 1 << 16, 1 << 31, 1 << 26
_MOST_NAME = 4096
#: Bytes of voxels that are kept in memory where frames would be read many times.
_MOST_KEPT = 1 << 29


class _Segment(NamedTuple):
    """What a segment stands for."""

    number: int
    value: int
    name: str
    color: tuple[int, ...] | None


class _Placed(NamedTuple):
    """A frame: which it is, its segment (0 in a LABELMAP), and where it lies, LPS in mm."""

    at: int
    segment: int
    position: Vector
    orientation: Vector
    spacing: Vector
    thickness: tuple[float | None, float | None]


class _Lattice(NamedTuple):
    """The grid of all frames, and the slice that each frame is."""

    affine: AffineMatrix
    slices: tuple[int, ...]
    depth: int
    warnings: tuple[str, ...]


#: (channel, K) -> which frame, and its value; None: its pixels are the values.
_Plan = dict[tuple[int, int], list[tuple[int, int | None]]]


def open_segmentation(file: DicomFile) -> Backend:
    """Return the label map of a segmentation; its pixels are read when somebody asks for them.

    Parameters
    ----------
    file : DicomFile

    Raises
    ------
    UnsupportedError
        If it is of a kind that is not read.
    FormatError
        If it contradicts itself.
    GeometryError
        If its frames lie on no even grid; the line names two of them.
    """
    with foreign_errors(file.source.name, "a DICOM Segmentation"):
        dataset = full_dataset(file, *_NEEDED)
        kind = str(dataset.get("SegmentationType", "")).strip().upper()
        _check(file, dataset, kind)
        segments = _segments(dataset)
        frames, notes = _frames(file, kind)
        lattice = _lattice(frames)
        source = _Frames(file)
        plan, channels = _plan(kind, frames, lattice, segments, dataset, source)
        header = _header(file, dataset, kind, segments, lattice, channels).warn(*notes, *lattice.warnings)
        return _SegmentationBackend(header, source, plan)


def _check(file: DicomFile, dataset: Any, kind: str) -> None:
    """Refuse what is no segmentation of slices."""
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise UnsupportedError(
            f"is a DICOM Segmentation of type {printable(kind)[:16] or 'unknown'}, which is not read"
        )
    if "TILED" in str(dataset.get("DimensionOrganizationType", "")):
        raise UnsupportedError("is a DICOM Segmentation of a slide, whose tiles are not read")
    allowed = {"BINARY": (1, 8), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}[kind]
    pixels = file.pixels
    if pixels.samples != 1 or pixels.signed or pixels.floats or pixels.allocated not in allowed:
        raise FormatError(f"{pixels.samples} x {pixels.allocated} bits per pixel are none of a {kind} segmentation")


class _Frames:
    """The stored frames of a file, one at a time; nothing is open between two reads."""

    def __init__(self, file: DicomFile) -> None:
        self.file, self.problem = file, problem_of(file)
        self._places: tuple[Fragments, ...] | None = None

    def check(self) -> None:
        """Refuse to read where pixels are missing, or nobody can decode them."""
        if self.problem is not None:
            raise refusal(self.problem, self.file.source.name)

    def read(self, at: int) -> np.ndarray[Any, Any]:
        """Return a frame, (rows, columns)."""
        with foreign_errors(self.file.source.name, "a DICOM Segmentation"):
            if self._places is None:
                self._places = encoded_frames(self.file) if is_encoded(self.file) else ((),) * self.file.frames
            return plane(self.file, at, self._places[at])[:, :, 0]

    def bits(self, at: int) -> int:
        """Return which pixels of a frame are not 0, as bits of one number."""
        pixels = self.file.pixels
        if is_encoded(self.file) or self.file.big or pixels.allocated > 1:
            import numpy as np

            return int.from_bytes(np.packbits(self.read(at) != 0).tobytes(), "little")
        count = pixels.rows * pixels.columns
        start, skip = divmod(at * count, 8)
        held = bytearray((skip + count + 7) // 8)
        with self.file.stored.cursor() as cursor:
            cursor.readinto(self.file.offset + start, memoryview(held))
        return int.from_bytes(held, "little") >> skip & (1 << count) - 1


class _SegmentationBackend(ForeignBackend):
    """Frames of a segmentation, each painted into its slice.

    Parameters
    ----------
    header : Header
    frames : _Frames
    plan : _Plan
    """

    def __init__(self, header: Header, frames: _Frames, plan: _Plan) -> None:
        super().__init__(header)
        self.frames, self.plan = frames, plan

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there; reads nothing."""
        return self.frames.problem

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there."""
        self.frames.check()

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        self.frames.check()
        channels, columns, rows, slices = region
        out = np.zeros([len(span) for span in region], self.header.dtype)
        for c, channel in enumerate(channels):
            for k, place in enumerate(slices):
                for at, value in self.plan.get((channel, place), ()):
                    part = self.frames.read(at)[rows.start : rows.stop : rows.step]
                    self._paint(out[c, :, :, k], part[:, columns.start : columns.stop : columns.step].T, value)
        return out

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        """Yield the bytes of a layout; where its slabs cut across frames, all of them are read once, before."""
        if layout.slowest() in (0, 3) or self.header.data_bytes > _MOST_KEPT:
            yield from super().blocks(layout, raw=raw, max_bytes=max_bytes)
            return
        array = self.read(whole(self.header.shape), raw=True)
        yield from ArrayBackend(array, self.header).blocks(layout, raw=raw, max_bytes=max_bytes)

    def _paint(self, out: np.ndarray[Any, Any], part: np.ndarray[Any, Any], value: int | None) -> None:
        if value is None:
            out[...] = part
            return
        inside = part != 0
        if out[inside].any():
            raise UnsupportedError(
                f"label {value} overlaps another one, which its header does not say", path=self.frames.file.source.name
            )
        out[inside] = value


# segments


def _segments(dataset: Any) -> dict[int, _Segment]:
    """Return the segments by number."""
    found: dict[int, _Segment] = {}
    for item in dataset.get("SegmentSequence") or ():
        number = item.get("SegmentNumber")
        if not isinstance(number, int) or not 0 <= number < 1 << 16 or number in found:
            raise FormatError(f"SegmentNumber {printable(str(number))[:20]} is no number of a segment, or there twice")
        name, longer = (printable(str(item.get(key) or "")) for key in ("SegmentLabel", "SegmentDescription"))
        name = longer if len(name) == 64 and longer.startswith(name) else name
        found[number] = _Segment(number, _own_label(item, number), name[:_MOST_NAME], _color(item))
    palette = _palette(dataset)
    found = {n: one._replace(color=one.color or palette.get(n)) for n, one in found.items()} if palette else found
    values = [segment.value for segment in found.values()]
    if len(set(values)) < len(values):
        return {number: segment._replace(value=number) for number, segment in found.items()}
    return found


def _own_label(item: Any, number: int) -> int:
    """Return the label that medimg keeps in a segment, else its number."""
    group, creator, element = LABEL_BLOCK
    try:
        value = item.private_block(group, creator)[element].value
    except KeyError:
        return number
    value = int.from_bytes(value, "little") if isinstance(value, bytes) and len(value) == 4 else value
    return value if isinstance(value, int) and 0 < value < 1 << 32 else number


def _color(item: Any) -> tuple[int, ...] | None:
    stored = item.get("RecommendedDisplayCIELabValue")
    if stored is None or isinstance(stored, (int, str, bytes)) or len(stored) != 3:
        return None
    return rgb_of([float(part) for part in stored])


def _palette(dataset: Any) -> dict[int, tuple[int, ...]]:
    """Return the colours of a palette by number (PS3.3, C.7.6.3.1.5); none where there is none, or a damaged one."""
    hues: list[bytes] = []
    first = 0
    for hue in ("Red", "Green", "Blue"):
        shape = dataset.get(f"{hue}PaletteColorLookupTableDescriptor")
        data = dataset.get(f"{hue}PaletteColorLookupTableData")
        if not isinstance(data, bytes) or shape is None or isinstance(shape, (int, str)) or len(shape) != 3:
            return {}
        count, first, bits = (int(part) for part in shape)
        count = count or 1 << 16
        found = data[1::2][:count] if bits == 16 else data[:count]
        if len(found) < count:
            return {}
        hues.append(found)
    return {first + n: color for n, color in enumerate(zip(*hues, strict=False))}


# geometry


def _frames(file: DicomFile, kind: str) -> tuple[list[_Placed], list[str]]:
    """Return the frames of a file with what their functional groups say, and warnings."""
    common, count, notes = shared(file), file.frames, []
    found: list[_Placed] = []
    for at, group in enumerate(per_frame(file)):
        if at == count:
            notes = [f"describes more frames than the {count} that it holds: the first are used"]
            break
        found.append(_placed(at, group, common, kind))
    if len(found) < count:
        raise FormatError(f"it has {count} frames, and says of {len(found)} where they lie")
    first = found[0]
    for frame in found:
        if not (close(frame.orientation, first.orientation, 1e-4) and close(frame.spacing, first.spacing, 1e-4)):
            raise GeometryError(f"frame {frame.at + 1} has another orientation or pixel size than frame 1")
    return found, notes


def _placed(at: int, group: Group, common: Group, kind: str) -> _Placed:
    def numbers(keyword: str) -> Vector:
        return group.elements.numbers(keyword) or common.elements.numbers(keyword) or ()

    def vector(keyword: str, count: int) -> Vector:
        found = numbers(keyword)
        if len(found) != count:
            raise GeometryError(f"frame {at + 1} has no {keyword}: its place is unknown")
        return found

    steps = [numbers(keyword) for keyword in ("SpacingBetweenSlices", "SliceThickness")]
    between, thickness = (each[0] if each and 1e-6 < each[0] < 1e6 else None for each in steps)
    segment = (0.0,) if kind == "LABELMAP" else numbers("ReferencedSegmentNumber")
    if len(segment) != 1:
        raise FormatError(f"frame {at + 1} does not say which segment it is")
    spacing = vector("PixelSpacing", 2)
    if not all(1e-6 < size < 1e6 for size in spacing):
        raise GeometryError(f"a pixel of {spacing[1]:g} x {spacing[0]:g} mm has no area")
    position, orientation = vector("ImagePositionPatient", 3), vector("ImageOrientationPatient", 6)
    return _Placed(at, int(segment[0]), position, orientation, spacing, (between, thickness))


def _lattice(frames: Sequence[_Placed]) -> _Lattice:
    """Return the grid on which all frames lie.

    Raises
    ------
    GeometryError
        If there is none.
    """
    first = frames[0]
    row, column = first.orientation[:3], first.orientation[3:]
    if max(abs(hypot(*row) - 1), abs(hypot(*column) - 1), abs(dot(row, column))) > _SKEW:
        raise GeometryError("ImageOrientationPatient is no pair of unit vectors at a right angle")
    normal = normal_of(first.orientation)
    normal = times(normal, 1 / hypot(*normal))
    along = sorted(frames, key=lambda frame: (dot(normal, frame.position), frame.at))
    leaders = [along[0]]
    for frame in along:
        if dot(normal, minus(frame.position, leaders[-1].position)) > _ABSOLUTE:
            leaders.append(frame)
    step, places, notes = _steps(leaders, normal)
    last = max(places)
    if last >= _MOST_SLICES:
        raise GeometryError(f"its frames span {last + 1} slices, which no image has")
    if last:
        step = times(minus(leaders[-1].position, leaders[0].position), 1 / last)
    origin, size = leaders[0].position, hypot(*step)
    slices = [0] * len(frames)
    for frame in frames:
        slices[frame.at] = k = round(dot(step, minus(frame.position, origin)) / size**2)
        if hypot(*minus(frame.position, moved(origin, step, k))) > max(_RELATIVE * size, _ABSOLUTE):
            raise GeometryError(_uneven(frame, leaders[0]))
    columns = (times(row, first.spacing[1]), times(column, first.spacing[0]), step, origin)
    rows = [list(each) for each in zip(*columns, strict=True)]
    return _Lattice(AffineMatrix.from_lps([*rows, [0, 0, 0, 1]]), tuple(slices), last + 1, tuple(notes))


def _uneven(frame: _Placed, other: _Placed) -> str:
    far = hypot(*minus(frame.position, other.position))
    return f"frames {other.at + 1} and {frame.at + 1}, {far:.4g} mm apart, lie on no even grid with the others"


def _steps(leaders: Sequence[_Placed], normal: Vector) -> tuple[Vector, list[int], list[str]]:
    """Return the step along K, the slice that each position is, and warnings."""
    between, thickness = leaders[0].thickness
    if len(leaders) == 1:
        size = between or thickness
        notes = [] if size else ["says nothing about how thick its slice is; 1 mm is used"]
        return times(normal, size or 1.0), [0], notes
    gaps = [dot(normal, minus(b.position, a.position)) for a, b in pairwise(leaders)]
    for size in (between, min(gaps)):
        if size is None:
            continue
        counts = [round(gap / size) for gap in gaps]
        wrong = [n for n, gap in enumerate(gaps) if abs(gap - counts[n] * size) > max(_RELATIVE * size, _ABSOLUTE)]
        if min(counts) > 0 and not wrong:
            places = [0]
            for count in counts:
                places.append(places[-1] + count)
            said = f"SpacingBetweenSlices says {between:g} mm, its frames lie {size:g} mm apart" if between else ""
            return times(normal, size), places, [said] if said and size != between else []
    raise GeometryError(_uneven(leaders[wrong[0] + 1], leaders[wrong[0]]))


# which frame is painted where


def _plan(
    kind: str, frames: Sequence[_Placed], lattice: _Lattice, segments: Mapping[int, _Segment], dataset: Any,
    source: _Frames,
) -> tuple[_Plan, list[int]]:  # fmt: skip
    """Return which frame is painted where, and the segments that are channels (one number of 0: a label map)."""
    known: dict[tuple[int, int], int] = {}
    for frame, k in zip(frames, lattice.slices, strict=True):
        if kind != "LABELMAP" and frame.segment not in segments:
            raise FormatError(f"frame {frame.at + 1} is of segment {frame.segment}, which is not described")
        other = known.setdefault((frame.segment, k), frame.at)
        if other != frame.at:
            raise UnsupportedError(f"frames {other + 1} and {frame.at + 1} show the same segment at the same place")
    apart = kind == "FRACTIONAL" or (kind == "BINARY" and _overlap(dataset, known, source))
    channels = sorted(segments) if apart else [0]
    plan: _Plan = {}
    for (segment, k), at in sorted(known.items()):
        value = segments[segment].value if kind == "BINARY" else None
        plan.setdefault((channels.index(segment) if apart else 0, k), []).append((at, value))
    return plan, channels


def _overlap(dataset: Any, known: Mapping[tuple[int, int], int], source: _Frames) -> bool:
    """Tell whether segments share voxels; False where nobody can tell without decoding."""
    said = str(dataset.get("SegmentsOverlap") or "").strip().upper()
    if said in ("YES", "NO"):
        return said == "YES"
    by_slice: dict[int, list[int]] = {}
    for (_, k), at in known.items():
        by_slice.setdefault(k, []).append(at)
    common = [several for several in by_slice.values() if len(several) > 1]
    pixels = source.file.pixels.rows * source.file.pixels.columns * sum(map(len, common))
    if pixels > (_MOST_DECODED if is_encoded(source.file) else _MOST_COMPARED) or source.problem is not None:
        return False
    for several in common:
        union = 0
        for at in several:
            bits = source.bits(at)
            if union & bits:
                return True
            union |= bits
    return False


def _header(
    file: DicomFile, dataset: Any, kind: str, segments: Mapping[int, _Segment], lattice: _Lattice,
    channels: Sequence[int],
) -> Header:  # fmt: skip
    pixels = file.pixels
    most = max((segment.value for segment in segments.values()), default=0) if kind == "BINARY" else 0
    dtype = "uint16" if pixels.allocated == 16 else "uint8"
    if most > 255:
        dtype = "uint16" if most < 1 << 16 else "uint32"
    shape = (len(channels), pixels.columns, pixels.rows, lattice.depth)
    check_shape(shape, dtype, file.source.name)
    facts = metadata(Frame(file, 0, None, None, None, (1.0, 0.0)))
    series = [str(item.get("SeriesInstanceUID", "")) for item in dataset.get("ReferencedSeriesSequence") or ()]
    if any(series):
        facts["ReferencedSeriesInstanceUID"] = printable(next(filter(None, series)))[:64]
    labels, slope = None, None
    if kind == "FRACTIONAL":
        most = dataset.get("MaximumFractionalValue")
        slope = 1 / most if isinstance(most, int) and 0 < most < 256 else 1 / 255
        facts["SegmentLabels"] = [segments[number].name for number in channels]
        facts["SegmentationFractionalType"] = printable(str(dataset.get("SegmentationFractionalType") or ""))[:16]
    else:
        labels = LabelTable(sorted((one.value, one.name, one.color) for one in segments.values()))
    return Header(
        shape=shape,
        dtype=dtype,
        affine=lattice.affine,
        format="dicom",
        axes=(("channel", len(channels)),) if len(channels) > 1 else (),
        byte_order="little",
        slope=slope,
        inter=None if slope is None else 0.0,
        affine_source="dicom",
        intent=None if kind == "FRACTIONAL" else "label",
        labels=labels or None,
        description=file.elements.text("SeriesDescription"),
        metadata=facts,
        native=Native("dicom", fields(file.elements)),
        file_bytes=file.source.size,
    )

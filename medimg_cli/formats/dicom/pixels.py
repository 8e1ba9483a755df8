"""Voxels of frames: all of a stack, in place.

Decisions:

- Pixels that are not compressed are read in place, region by region, all frames of a stack as one array, whatever
  files they lie in.
- All others are read frame by frame (:mod:`~medimg_cli.formats.dicom.planes`), and only the frames that are asked for:
  compressed ones, tiles of a mosaic, single bits, luminance with colour differences, slices that scale differently.
  Whoever goes through all of them in another order than theirs gets them decoded once, into memory or a temporary
  file.
- Where the slices of a series scale differently, as in PET, the numbers are the values, float32 or float64.
- MONOCHROME1 and PALETTE COLOR are what is stored: no inversion, no look-up; pictures show the colours
  (:mod:`~medimg_cli.formats.dicom.palettes`).
- Bits above those that count (BitsStored) are left out, and the highest that counts is the sign of signed samples, as
  pydicom and dcm2niix have it: some writers leave garbage in the others (PS3.5, 8.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.backends import BLOCK, Backend, Buffer, StoredBackend
from medimg_cli.errors import FormatError
from medimg_cli.formats.dicom.decoding import counting
from medimg_cli.formats.dicom.encapsulation import Fragments, encoded_frames
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.palettes import PALETTE, PaletteBackend
from medimg_cli.formats.dicom.planes import (
    frame_bytes,
    is_encoded,
    is_stored,
    plane,
    problem_of,
    refusal,
)
from medimg_cli.formats.dicom.reading import DicomFile, Pixels
from medimg_cli.formats.foreign import DerivedBackend, ForeignBackend, foreign_errors
from medimg_cli.header import Header
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import ByteSource, SpooledSource, spool
from medimg_cli.storage.stored import Layout, Region, StoredArray, whole
from medimg_cli.storage.threads import cores, in_order

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PlanesBackend", "voxels"]

#: Bytes of stored frames that are kept for the next read, and how many frames at most.
_KEPT_BYTES, _KEPT = 1 << 25, 16


def voxels(volumes: Sequence[Sequence[Frame]], header: Header, scaled: bool) -> Backend:
    """Return the voxels of frames in place.

    Parameters
    ----------
    volumes : sequence of sequence of Frame
        By time and K.
    header : Header
        Of the whole.
    scaled : bool
        Whether the values of the slices, not their stored numbers, are its numbers.
    """
    frames = [frame for volume in volumes for frame in volume]
    files = list({id(frame.file): frame.file for frame in frames}.values())
    said = next((_located(file, files, problem) for file in files if (problem := problem_of(file))), None)
    in_place = not scaled and _in_place(frames, files)
    backend = _joined(frames, header, said) if in_place else PlanesBackend(frames, header, scaled, said)
    return PaletteBackend(backend, files[0]) if files[0].pixels.photometric == PALETTE else backend


def _in_place(frames: Sequence[Frame], files: Sequence[DicomFile]) -> bool:
    """Tell whether frames can be read as one strided array."""
    first = files[0]
    return (
        all(frame.tile is None for frame in frames)
        and all(is_stored(file) and file.big == first.big for file in files)
        and all(file.pixels == first.pixels for file in files)
        and (len(files) == 1 or all(file.stored is file.source for file in files))
    )


def _joined(frames: Sequence[Frame], header: Header, problem: str | None) -> Backend:
    """Return the voxels of frames that are not compressed as one array."""
    file = frames[0].file
    pixels, size = file.pixels, frame_bytes(file.pixels)
    pieces: list[tuple[ByteSource, int, int]] = []
    for frame in frames:
        source, start = frame.file.stored, max(frame.file.offset, 0) + frame.at * size
        if pieces and pieces[-1][0] is source and sum(pieces[-1][1:]) == start:
            pieces[-1] = (source, pieces[-1][1], pieces[-1][2] + size)
        else:
            pieces.append((source, start, size))
    source, offset = pieces[0][:2]
    if len(pieces) > 1:
        source, offset = JoinedSource(pieces, _name(frames)), 0
    layout = layout_of(header, pixels, "big" if file.big else "little")
    refused = None if problem is None else refusal(problem, _name(frames))
    stored = StoredBackend(StoredArray(source, offset, layout), header, refused)
    return CountingBackend(stored, pixels.stored) if pixels.stored < pixels.allocated else stored


def layout_of(header: Header, pixels: Pixels, byte_order: str) -> Layout:
    """Return the layout of frames behind one another: colours of a pixel first, or plane by plane; time is slowest."""
    shape, samples = header.shape, pixels.samples
    times = shape[0] // samples
    channels = (times, samples) if samples > 1 and times > 1 else ()
    colour = 4 if channels else 3
    order = ((0, 1, colour, 2) if pixels.planar else (colour, 0, 1, 2)) if samples > 1 else (0, 1, 2)
    return Layout.packed(shape, header.dtype, byte_order=byte_order, order=order, channels=channels)


def _name(frames: Sequence[Frame]) -> str:
    """Return what messages call frames: their file, or its folder where there are several."""
    name = frames[0].file.source.name
    alone = all(frame.file is frames[0].file for frame in frames)
    return name if alone else name.rpartition("/")[0] or "."


def _located(file: DicomFile, files: Sequence[DicomFile], said: str) -> str:
    """Say which of several files a problem is in."""
    if len(files) == 1:
        return said
    kind, colon, rest = said.partition(": ")
    return f"truncated: {file.name}: {rest}" if kind == "truncated" and colon else f"{file.name}: {said}"


class CountingBackend(DerivedBackend):
    """Stored numbers of which not all bits count; see `counting`.

    Parameters
    ----------
    base : StoredBackend
    bits : int
        BitsStored.
    """

    base: StoredBackend

    def __init__(self, base: StoredBackend, bits: int) -> None:
        super().__init__(base, base.header)
        self.bits = bits

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        return counting(self.base.read(region, raw=True), self.bits)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        if not raw and self.header.scaled:
            yield from super().blocks(layout, raw=raw, max_bytes=max_bytes)
            return
        import numpy as np

        from medimg_cli.backends import numpy_dtype

        item, carry = numpy_dtype(self.header.dtype, self.base.stored.layout.byte_order), b""
        native = layout._replace(dtype=self.header.dtype, byte_order=self.base.stored.layout.byte_order)
        for block in self.base.blocks(native, raw=True, max_bytes=max_bytes):
            content = carry + bytes(block)
            cut = len(content) - len(content) % item.itemsize
            carry = content[cut:]
            array = counting(np.frombuffer(content[:cut], item).astype(item.newbyteorder("=")), self.bits)
            yield array.astype(numpy_dtype(layout.dtype, layout.byte_order), copy=False).view("u1").data


class _Place(NamedTuple):
    """Where a part of a stored frame goes: its frame, and its place in time and along K."""

    frame: Frame
    time: int
    k: int


class PlanesBackend(ForeignBackend):
    """Frames that are read one by one, each at most a few times.

    Parameters
    ----------
    frames : sequence of Frame
        By time, then by K.
    header : Header
        Of the whole.
    scaled : bool
        Whether the values of the frames, not their stored numbers, are its numbers.
    problem : str, optional
        Why they cannot all be read.
    """

    def __init__(self, frames: Sequence[Frame], header: Header, scaled: bool, problem: str | None = None) -> None:
        super().__init__(header)
        self.frames, self.scaled, self.problem = tuple(frames), scaled, problem
        self._count = len({(id(frame.file), frame.at) for frame in self.frames})
        self._forget()

    def _forget(self) -> None:
        self._read = 0
        self._kept: tuple[tuple[DicomFile, int, Any], ...] = ()
        self._tables: dict[int, tuple[Fragments, ...]] = {}
        self._whole: StoredBackend | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _FORGOTTEN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there; reads nothing."""
        return self.problem

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there, or nobody can decode them."""
        if self.problem is not None:
            raise refusal(self.problem, _name(self.frames))

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        from medimg_cli.backends import numpy_dtype

        self.check()
        if self._whole is None and self._read > 2 * self._count and region != whole(self.header.shape):
            self._keep()
        if self._whole is not None:
            return self._whole.read(region, raw=True)
        c, i, j, k = region
        times = self.header.shape[0] // self.frames[0].file.pixels.samples
        places: dict[int, list[tuple[int, int]]] = {}  # of each time: which channel of the result, which sample
        for n, channel in enumerate(c):
            places.setdefault(channel % times, []).append((n, channel // times))
        out = np.empty((len(c), len(k), len(j), len(i)), numpy_dtype(self.header.dtype)).transpose(0, 3, 2, 1)
        wanted = [_Place(self._frame(time, each), time, n) for time in places for n, each in enumerate(k)]
        for group, found in self._planes(wanted):
            for place in group:
                part = self._values(found, place.frame, j, i)
                for n, sample in places[place.time]:
                    out[n, :, :, place.k] = part[:, :, sample].T
        return out

    def _frame(self, time: int, k: int) -> Frame:
        return self.frames[time * self.header.shape[3] + k]

    def _values(self, array: np.ndarray[Any, Any], frame: Frame, j: range, i: range) -> np.ndarray[Any, Any]:
        """Return rows and columns of a frame, or of a tile in it; its values where frames scale differently."""
        if frame.tile is not None:
            tile = frame.tile
            array = array[tile.row : tile.row + tile.rows, tile.column : tile.column + tile.columns]
        part = array[j.start : j.stop : j.step, i.start : i.stop : i.step]
        if not self.scaled:
            return part
        slope, inter = frame.scaling
        values = part.astype(self.header.dtype)
        values *= values.dtype.type(slope)
        values += values.dtype.type(inter)
        return values

    def _planes(self, places: Sequence[_Place]) -> Iterator[tuple[list[_Place], np.ndarray[Any, Any]]]:
        """Yield each stored frame that is wanted, with the places to which it, or its tiles, go."""
        groups: dict[tuple[int, int], list[_Place]] = {}
        for place in places:
            groups.setdefault((id(place.frame.file), place.frame.at), []).append(place)
        several = list(groups.values())
        jobs: list[Callable[[], Any]] = [partial(self._plane, group[0].frame) for group in several]
        yield from zip(several, in_order(jobs, min(2, cores())), strict=True)

    def _plane(self, frame: Frame) -> np.ndarray[Any, Any]:
        """Return a stored frame, (rows, columns, samples); the last ones are kept."""
        file, at = frame.file, frame.at
        for kept_file, kept_at, array in self._kept:
            if kept_file is file and kept_at == at:
                return array  # type: ignore[no-any-return]
        with foreign_errors(file.source.name, "DICOM"):
            fragments = self._table(file)[at] if is_encoded(file) else ()
            array = plane(file, at, fragments)
        if not self.scaled and array.dtype.name != self.header.dtype:
            said = f"its pixels are {array.dtype}, those of its first slice {self.header.dtype}"
            raise FormatError(said, path=file.source.name)
        self._read += is_encoded(file)
        self._kept = (*self._kept, (file, at, array))[-_fitting(array.nbytes) :]
        return array

    def _table(self, file: DicomFile) -> tuple[Fragments, ...]:
        if id(file) not in self._tables:
            self._tables[id(file)] = encoded_frames(file)
        return self._tables[id(file)]

    def decode(self) -> None:
        """Decode compressed frames once, for all reads that follow."""
        if any(is_encoded(file) for file in {id(frame.file): frame.file for frame in self.frames}.values()):
            self._keep()

    def _keep(self) -> None:
        """Read all frames once, for all reads that follow."""
        self.check()
        if self._whole is None:
            pixels = self.frames[0].file.pixels._replace(planar=False)
            layout = layout_of(self.header, pixels, "little")
            source = SpooledSource(spool(self._bytes(), _name(self.frames)), _name(self.frames))
            self._whole = StoredBackend(StoredArray(source, 0, layout), self.header)

    def _bytes(self) -> Iterator[bytes]:
        """Yield the bytes of all frames in their order."""
        from medimg_cli.backends import numpy_dtype

        item = numpy_dtype(self.header.dtype, "little")
        j, i = range(self.header.shape[2]), range(self.header.shape[1])
        many = self.header.shape[3]
        step = _fitting(frame_bytes(self.frames[0].file.pixels))
        for start in range(0, len(self.frames), step):
            frames = self.frames[start : start + step]
            places = [_Place(frame, (start + n) // many, (start + n) % many) for n, frame in enumerate(frames)]
            parts: dict[tuple[int, int], bytes] = {}
            for group, found in self._planes(places):
                for place in group:
                    part = self._values(found, place.frame, j, i)
                    parts[place.time, place.k] = part.astype(item, copy=False).tobytes()
            yield from (parts[place.time, place.k] for place in places)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        self.check()
        if not self._follows(layout):
            self._keep()
        if self._whole is not None:
            twin = StoredBackend(self._whole.stored, self.header)
            yield from twin.blocks(layout, raw=raw, max_bytes=max_bytes)
        else:
            yield from super().blocks(layout, raw=raw, max_bytes=max_bytes)

    def _follows(self, layout: Layout) -> bool:
        """Tell whether the slabs of a layout ask for one stored frame after the other."""
        samples = self.frames[0].file.pixels.samples
        times = self.header.shape[0] // samples
        if layout.slowest() == 3:
            return times == 1 or all(frame.tile is None for frame in self.frames)
        return layout.slowest() == 0 and samples == 1


def _fitting(nbytes: int) -> int:
    """Return how many frames of a size are worked on, and kept, at once."""
    return max(min(_KEPT, _KEPT_BYTES // nbytes), 1)


_FORGOTTEN = frozenset(("_read", "_kept", "_tables", "_whole"))

"""Lazy access to the voxels of one image: the contract, and the four backends that everything is made of.

The contract of a :class:`Backend`:

- ``header`` never reads voxels.
- ``read(region, raw=...)`` returns a fresh, writable array of exactly the asked shape. A region is four non-empty
  ranges on (C, I, J, K), clipped to the shape, with steps of any sign. ``raw=True`` gives stored numbers, native byte
  order, dtype ``header.dtype``; ``raw=False`` gives values, ``stored * slope + inter`` of dtype
  ``header.value_dtype``, or the stored numbers where nothing scales. Missing bytes raise; nothing is ever padded.
- ``blocks(layout, raw=..., max_bytes=...)`` yields each byte of the image once, in the order, dtype and byte order of
  ``layout``, in fresh buffers that the receiver may keep. Length and checksum of the source have been verified before
  the last one is yielded.
- A backend is reentrant, holds no open file and no lock of its own, and pickles where its source does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, product
from math import prod
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from medimg_cli.dtypes import ITEMSIZE, is_complex
from medimg_cli.errors import GeometryError, MedImgError, TruncatedError
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import Cursor
from medimg_cli.storage.stored import Layout, Region, StoredArray, whole
from medimg_cli.storage.threads import cores, in_order

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.header import Header

__all__ = [
    *("ArrayBackend", "Backend", "FramesBackend", "StoredBackend", "ViewBackend"),
    *("as_slice", "check", "compose", "decode", "shortage", "view", "with_header"),
]

#: Bytes of one block of a stream that has to be rearranged.
BLOCK = 3 << 22
#: Unwanted bytes between two wanted ones that are read along: a page is read in any case.
GAP = 1 << 12
#: Bytes that one read of scattered voxels spans at most.
SPAN = 1 << 20

Buffer = Any
#: Axes of a read, slowest first: bytes from one wanted value to the next, how many, axis of the result; of a walk also
#: whether it runs backwards.
Steps = list[tuple[int, int, int]]
Walk = list[tuple[int, int, int, bool]]


@runtime_checkable
class Backend(Protocol):
    """Lazy access to one stored image; the module's text is the contract."""

    @property
    def header(self) -> Header: ...

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]: ...

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]: ...


def numpy_dtype(name: str, byte_order: str = "native") -> np.dtype[Any]:
    """Return NumPy's dtype of one of our names in a byte order."""
    import numpy as np

    if name in ("float128", "complex256"):
        dtype = np.dtype(np.longdouble if name == "float128" else np.clongdouble)
    else:
        dtype = np.dtype(name)
    return dtype.newbyteorder({"little": "<", "big": ">", "native": "="}[byte_order])  # type: ignore[arg-type]


def scale(array: np.ndarray[Any, Any], header: Header) -> np.ndarray[Any, Any]:
    """Turn stored numbers into values: ``stored * slope + inter`` in dtype ``header.value_dtype``."""
    if not header.scaled:
        return array
    import numpy as np

    values = array.astype(numpy_dtype(header.value_dtype))
    with np.errstate(all="ignore"):  # infinities and NaN are values like others
        values *= values.dtype.type(header.slope)
        if header.inter:
            values += values.dtype.type(header.inter)
    return values


def check_region(region: Region, shape: Sequence[int]) -> None:
    """Refuse a region that is empty or leaves the image.

    Raises
    ------
    GeometryError
        If a range is empty or reaches outside ``shape``.
    """
    for span, size in zip(region, shape, strict=True):
        if not span or min(span[0], span[-1]) < 0 or max(span[0], span[-1]) >= size:
            raise GeometryError(f"region {tuple(region)} is empty or leaves the image {tuple(shape)}")


def compose(outer: range, inner: range) -> range:
    """Return the part ``inner`` of the positions ``outer``.

    >>> compose(range(10, 0, -2), range(1, 4, 2))
    range(8, 2, -4)
    """
    return outer[inner.start : None if inner.stop < 0 else inner.stop : inner.step]


class ArrayBackend:
    """An image in memory.

    Parameters
    ----------
    array : numpy.ndarray, (C, I, J, K)
        Stored numbers; not copied.
    header : Header
        Its dtype is the array's.
    """

    def __init__(self, array: np.ndarray[Any, Any], header: Header) -> None:
        self.array, self.header = array, header

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        check_region(region, self.array.shape)
        part = self.array[tuple(map(as_slice, region))]
        return part.copy(order="K") if raw or not self.header.scaled else scale(part, self.header)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

    def viewed(self, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> ArrayBackend:
        """Return a part, permuted, as a view of the same memory."""
        index: list[slice] = [as_slice(channels), *(slice(None),) * 3]
        for axis, span in axes:
            index[axis + 1] = as_slice(span)
        part = self.array[tuple(index)].transpose(0, *(axis + 1 for axis, _ in axes))
        return ArrayBackend(part, header)


def as_slice(span: range) -> slice:
    """Return the slice that picks the places of a range.

    >>> as_slice(range(4, -1, -2))
    slice(4, None, -2)
    """
    return slice(span.start, span.stop if span.stop >= 0 else None, span.step)


class StoredBackend:
    """An image whose voxels lie in a source of bytes as a strided array.

    Parameters
    ----------
    stored : StoredArray
    header : Header
    problem : MedImgError, optional
        Why the voxels cannot be read although the header can: raised by whatever needs them.
    """

    def __init__(self, stored: StoredArray, header: Header, problem: MedImgError | None = None) -> None:
        self.stored, self.header, self.problem = stored, header, problem
        self.ends_at: int | None = None  # where the decoded file ends, for codecs that know what follows the voxels

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there, or None if nothing speaks against it; reads nothing."""
        return self.stored.shortage() if self.problem is None else self.problem.message

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there.

        Raises
        ------
        FormatError
            If the source is too short or not there, or the header contradicts itself; the class says which.
        """
        if self.problem is not None:
            raise self.problem
        self.stored.check()

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        check_region(region, self.header.shape)
        self.check()
        layout = self.stored.layout
        order = sorted(range(3), key=lambda a: abs(layout.strides[a]))  # memory order of the result: that of the file
        channel_stride = layout.merged_channels()[0][1] if layout.merged_channels() else 0
        place = sum(abs(channel_stride) > abs(layout.strides[a]) for a in order) if channel_stride else 3
        axes = [a + 1 for a in order]
        axes.insert(place, 0)
        out = np.empty([len(region[a]) for a in reversed(axes)], numpy_dtype(layout.dtype))
        out = out.transpose([3 - axes.index(a) for a in range(4)])
        complete = region == whole(self.header.shape)
        with self._cursor(complete) as cursor:
            self._fill(cursor, region, out)
            if complete:
                cursor.verify()
        return out if raw else scale(out, self.header)

    def _cursor(self, complete: bool) -> Cursor:
        source = self.stored.source
        if isinstance(source, EncodedSource) and not complete:
            return source.random_cursor(self.stored.span()[1])
        return source.cursor()

    def decode(self) -> None:
        """Decode a compressed source once, for all reads that follow."""
        if isinstance(self.stored.source, EncodedSource):
            self.check()
            self.stored.source.spooled(self.stored.span()[1])

    def viewed(self, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> StoredBackend | None:
        """Return a part, permuted, or None where strides cannot say it."""
        stored = self.stored.view(channels, axes)
        return None if stored is None else StoredBackend(stored, header, self.problem)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        self.check()
        mine = self.stored.layout
        as_stored = (raw or not self.header.scaled) and mine.dtype == layout.dtype and mine.same_order(layout)
        if as_stored and mine.is_packed():
            swap = mine.byte_order != layout.byte_order and mine.itemsize > 1
            yield from _held_back(self._bytes(swap))
        else:
            scaling = not raw and self.header.scaled  # arithmetic takes several times the memory of its result
            yield from _held_back(self._slabs(layout, raw, min(max_bytes, BLOCK // 3) if scaling else max_bytes))

    def _bytes(self, swap: bool) -> Iterator[Buffer]:
        """Yield the bytes as they lie, swapped where asked."""
        wanted = self.stored.layout.nbytes
        carry = b""
        with self.stored.source.cursor() as cursor:
            for chunk in cursor.chunks(self.stored.offset, wanted):
                wanted -= len(chunk)
                if swap:
                    joined = carry + bytes(chunk)
                    whole_items = len(joined) - len(joined) % self.stored.layout.itemsize
                    carry, chunk = joined[whole_items:], _swapped(joined[:whole_items], self.stored.layout.dtype)
                if chunk:
                    yield chunk
            if wanted or carry:
                raise self._short(wanted)
            cursor.verify()

    def _short(self, missing: int) -> TruncatedError:
        return TruncatedError(
            f"truncated: {missing} bytes of voxels are missing", path=self.stored.source.name, hint="get the file again"
        )

    def _slabs(self, layout: Layout, raw: bool, max_bytes: int) -> Iterator[Buffer]:
        """Yield the bytes of another layout, slab by slab along its slowest axis.

        A source of encoded bytes that the slabs follow in its own order is decoded once, as they come. Else it is
        decoded first, and two threads fill slabs: pieces of a file are in memory or nearly so, turning them is work.
        """
        source: Any = self.stored.source
        if isinstance(source, EncodedSource):
            if self.stored.layout.is_forward(layout):
                with source.cursor() as cursor:
                    for slab in slabs(layout, max_bytes):
                        yield self._filled(slab, cursor, raw)
                    cursor.verify()
                return
            source = source.spooled(self.stored.span()[1])

        def fill(slab: Slab) -> Buffer:
            with source.cursor() as cursor:
                return self._filled(slab, cursor, raw)

        yield from in_order((partial(fill, slab) for slab in slabs(layout, max_bytes)), min(2, cores()))

    def _filled(self, slab: Slab, cursor: Cursor, raw: bool) -> Buffer:
        """Return the bytes of one slab."""
        import numpy as np

        memory, parts = slab.allocate()
        for region, target in parts:
            if raw or not self.header.scaled:
                self._fill(cursor, region, target)
            else:
                part = np.empty(target.shape, numpy_dtype(self.stored.layout.dtype))
                self._fill(cursor, region, part)
                target[...] = scale(part, self.header)
        return memory

    def _fill(self, cursor: Cursor, region: Region, out: np.ndarray[Any, Any]) -> None:
        """Read a region into ``out``, of any strides, converting to its dtype and byte order."""
        merged = self.stored.layout.merged_channels()
        if len(merged) <= 1:
            self._fill_box(cursor, self.stored.offset, merged[0][1] if merged else 0, region, out)
            return
        for n, channel in enumerate(region[0]):
            offset, rest = self.stored.offset, channel
            for size, stride in merged:
                offset, rest = offset + rest % size * stride, rest // size
            self._fill_box(cursor, offset, 0, (range(1), *region[1:]), out[n : n + 1])

    def _fill_box(
        self, cursor: Cursor, offset: int, channel_stride: int, region: Region, out: np.ndarray[Any, Any]
    ) -> None:
        """Read a strided box: runs with small gaps between them in one read, others one by one, in ascending order."""
        layout = self.stored.layout
        axes: Walk = []
        for n, (stride, span) in enumerate(zip((channel_stride, *layout.strides), region, strict=True)):
            offset += span.start * stride
            step = stride * span.step
            if step < 0:
                offset += step * (len(span) - 1)
            if len(span) > 1:
                axes.append((abs(step), len(span), n, step < 0))
        axes.sort(reverse=True)
        flipped = {axis for _, _, axis, is_backwards in axes if is_backwards}
        backwards = tuple(slice(None, None, -1) if axis in flipped else slice(None) for axis in range(4))
        outer, inner, span_bytes = _split(axes, layout.itemsize)
        first = [axis for _, _, axis, _ in outer]
        rest = [axis for axis in range(4) if axis not in first]
        turned = out[backwards].transpose(*first, *rest)
        runs = [(step, size, rest.index(axis)) for step, size, axis, _ in inner]
        fill = self._filler(cursor, runs, span_bytes, turned[(0,) * len(outer)])
        steps = [step for step, _, _, _ in outer]
        for position in product(*(range(size) for _, size, _, _ in outer)):
            fill(offset + sum(map(mul, position, steps)), turned[position])

    def _filler(
        self, cursor: Cursor, axes: Steps, span_bytes: int, sample: np.ndarray[Any, Any]
    ) -> Callable[[int, np.ndarray[Any, Any]], None]:
        """Return what reads one span of bytes and puts the wanted values of it into an array like ``sample``.

        Parameters
        ----------
        cursor : Cursor
        axes : list of (int, int, int)
            Bytes from one wanted value to the next, how many, and the axis of ``sample``, slowest first.
        span_bytes : int
        sample : numpy.ndarray
            All arrays to be filled have its shape, strides and dtype.
        """
        import numpy as np

        item = numpy_dtype(self.stored.layout.dtype, self.stored.layout.byte_order)
        if sample.dtype == item.newbyteorder("=") and _is_contiguous(sample, axes, item.itemsize):
            order = [*(axis for axis in range(sample.ndim) if sample.shape[axis] == 1), *(axis for _, _, axis in axes)]

            def straight(offset: int, out: np.ndarray[Any, Any]) -> None:
                flat = out.transpose(order).reshape(-1)
                self._exactly(cursor, offset, flat.view(np.uint8).data)
                if item != out.dtype:
                    flat.byteswap(inplace=True)

            return straight
        if span_bytes > SPAN and axes:
            return partial(self._fill_pieces, cursor, axes, span_bytes, item)
        buffer = cursor.scratch(span_bytes)
        picked = _picked(axes, sample.ndim, item, buffer)

        def gathered(offset: int, out: np.ndarray[Any, Any]) -> None:
            self._exactly(cursor, offset, buffer)
            out[...] = picked

        return gathered

    def _fill_pieces(
        self, cursor: Cursor, axes: Steps, span_bytes: int, item: np.dtype[Any], offset: int, out: np.ndarray[Any, Any]
    ) -> None:
        """Read one long span of bytes in pieces along its slowest axis, and pick the wanted values out of them."""
        step, size, axis = axes[0]
        count = -(-size // min(size, -(-span_bytes // SPAN)))
        for start in range(0, size, count):
            part = out[tuple(slice(start, start + count) if each == axis else slice(None) for each in range(out.ndim))]
            piece = [(step, part.shape[axis], axis), *axes[1:]]
            buffer = cursor.scratch(sum((n - 1) * each for each, n, _ in piece) + item.itemsize)
            self._exactly(cursor, offset + start * step, buffer)
            part[...] = _picked(piece, out.ndim, item, buffer)

    def _exactly(self, cursor: Cursor, offset: int, target: memoryview) -> None:
        got = cursor.readinto(offset, target)
        if got != len(target):
            raise self._short(len(target) - got)


def _split(axes: Walk, itemsize: int) -> tuple[Walk, Walk, int]:
    """Split axes, slowest first, into those to step through and those to read in one span; with the span's bytes."""
    reach, cut = itemsize, len(axes)
    for n in range(len(axes) - 1, -1, -1):
        step, size, _, _ = axes[n]
        if step - reach > GAP:
            break
        reach, cut = reach + step * (size - 1), n
    return axes[:cut], axes[cut:], reach


def _picked(axes: Steps, ndim: int, item: np.dtype[Any], buffer: memoryview) -> np.ndarray[Any, Any]:
    """Return the wanted values of a span of bytes, as a view of it."""
    import numpy as np

    sizes, strides = [1] * ndim, [0] * ndim
    for step, size, axis in axes:
        sizes[axis], strides[axis] = size, step
    return np.ndarray(sizes, item, buffer, 0, strides)


def _is_contiguous(out: Any, axes: Steps, itemsize: int) -> bool:
    """Tell whether ``out`` lies in memory exactly as the span of ``axes`` does in the file, without gaps."""
    step = itemsize
    for stride, size, axis in reversed(axes):
        if stride != step or out.strides[axis] != step:
            return False
        step *= size
    return True


def _swapped(data: bytes, dtype: str) -> bytes:
    """Return values of a dtype with their bytes in the other order."""
    size = ITEMSIZE[dtype] // (2 if is_complex(dtype) else 1)
    if size == 16:
        import numpy as np

        return np.frombuffer(data, "V16").view("u1").reshape(-1, 16)[:, ::-1].tobytes()
    import array

    values = array.array({2: "H", 4: "I", 8: "Q"}[size], data)
    values.byteswap()
    return values.tobytes()


def _held_back(pieces: Iterator[Buffer]) -> Iterator[Buffer]:
    """Yield each piece when the next one is there, so that an error at the end comes before the last piece."""
    last = None
    for piece in pieces:
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


class Slab(NamedTuple):
    """A box of a packed layout whose values follow each other in its bytes.

    Parameters
    ----------
    layout : Layout
    box : tuple of range
        On (I, J, K, *channel axes).
    order : tuple of int
        Axes of the box, slowest first.
    """

    layout: Layout
    box: tuple[range, ...]
    order: tuple[int, ...]

    def allocate(self) -> tuple[Buffer, list[tuple[Region, Any]]]:
        """Return a buffer for the slab's bytes, and the regions with views (C, I, J, K) of it that fill it."""
        import numpy as np

        box, layout = self.box, self.layout
        memory = np.empty([len(box[axis]) for axis in self.order], numpy_dtype(layout.dtype, layout.byte_order))
        cells = memory.transpose([self.order.index(axis) for axis in range(len(box))])
        sizes = [size for size, _ in layout.merged_channels()]
        run = box[3] if len(box) > 3 else range(1)
        parts = []
        for rest in product(*(range(len(span)) for span in box[4:])):
            first = sum(box[4 + n][p] * prod(sizes[: n + 1]) for n, p in enumerate(rest))
            index: Any = (..., *rest)
            part = cells[index] if rest else cells
            part = np.moveaxis(part, 3, 0) if part.ndim == 4 else part[np.newaxis]
            parts.append(((range(first + run.start, first + run.stop), box[0], box[1], box[2]), part))
        return memory.reshape(-1).view(np.uint8).data, parts


def slabs(layout: Layout, max_bytes: int) -> Iterator[Slab]:
    """Yield boxes that follow each other in the bytes of a packed layout.

    Parameters
    ----------
    layout : Layout
        Packed: no gaps, positive strides; channels in one axis or several.
    max_bytes : int
        Size of a slab at most, if one value fits.
    """
    merged = layout.merged_channels()
    spatial = zip(layout.strides, layout.shape[1:], range(3), strict=True)
    channels = ((stride, size, 3 + n) for n, (size, stride) in enumerate(merged))
    axes = sorted((axis for axis in (*spatial, *channels) if axis[1] > 1), reverse=True)  # slowest first
    named = [axis for _, _, axis in axes]
    order = (*(axis for axis in range(3 + len(merged)) if axis not in named), *named)
    cut = 0  # axes before it are stepped through one by one, axis `cut` in groups
    while cut < len(axes) and axes[cut][0] > max(max_bytes, layout.itemsize):
        cut += 1
    group = max(1, max_bytes // axes[cut][0]) if cut < len(axes) else 1
    steps = [1] * cut + [group] * (cut < len(axes))
    for starts in product(*(range(0, axes[n][1], step) for n, step in enumerate(steps))):
        box = [range(n) for n in (*layout.shape[1:], *(size for size, _ in merged))]
        for start, (_, size, axis), step in zip(starts, axes, steps, strict=False):
            box[axis] = range(start, min(start + step, size))
        yield Slab(layout, tuple(box), order)


def blocks_by_region(backend: Backend, layout: Layout, *, raw: bool, max_bytes: int) -> Iterator[Buffer]:
    """Yield the blocks of a layout from any backend that can read regions."""
    _check_amount(backend, layout.nbytes)
    for slab in slabs(layout, max_bytes):
        memory, parts = slab.allocate()
        for region, target in parts:
            target[...] = backend.read(region, raw=raw)
        yield memory


def _check_amount(backend: Backend, wanted: int) -> None:
    """Refuse to read so many bytes, part by part, of an image of which next to nothing is there."""
    wanted = min(wanted, backend.header.data_bytes)
    _asked(backend, "check_amount", wanted)
    parts = backend.frames if isinstance(backend, FramesBackend) else (getattr(backend, "base", None),)
    for inner in filter(None, parts):
        _check_amount(inner, wanted)


class FramesBackend:
    """Several images behind one another along channels or along K.

    Parameters
    ----------
    frames : sequence of Backend
        Same shape on all other axes, same stored dtype.
    header : Header
        Of the whole; where frames scale differently, its slope is None, its dtype that of the values.
    axis : int
        0 for channels, 3 for K.
    scaled : bool
        Whether the frames' values, not their stored numbers, are the stored numbers of the whole.
    """

    def __init__(self, frames: Sequence[Backend], header: Header, *, axis: int = 0, scaled: bool = False) -> None:
        self.frames, self.header, self.axis, self.scaled = tuple(frames), header, axis, scaled
        self._starts = [0, *accumulate(frame.header.shape[axis] for frame in self.frames)][:-1]

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there, or None if nothing speaks against it; reads nothing."""
        return next((problem for frame in self.frames if (problem := shortage(frame))), None)

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there."""
        for frame in self.frames:
            check(frame)

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        check_region(region, self.header.shape)
        out = np.empty([len(r) for r in region], numpy_dtype(self.header.dtype))
        wanted, done = region[self.axis], 0
        while done < len(wanted):
            which = bisect_right(self._starts, wanted[done]) - 1
            start = self._starts[which]
            inside = range(start, start + self.frames[which].header.shape[self.axis])
            count = next((n for n, w in enumerate(wanted[done:]) if w not in inside), len(wanted) - done)
            first = wanted[done] - start
            part, target = list(region), [slice(None)] * 4
            part[self.axis] = range(first, first + wanted.step * count, wanted.step)
            target[self.axis] = slice(done, done + count)
            out[tuple(target)] = self.frames[which].read((part[0], part[1], part[2], part[3]), raw=not self.scaled)
            done += count
        return out if raw else scale(out, self.header)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        if (raw or not self.header.scaled) and layout.slowest() == self.axis:
            for frame in self.frames:
                part = layout.part(self.axis, frame.header.shape[self.axis])
                yield from frame.blocks(part, raw=not self.scaled, max_bytes=max_bytes)
        else:
            yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

    def decode(self) -> None:
        """Decode compressed sources once, for all reads that follow."""
        for frame in self.frames:
            decode(frame)


class ViewBackend:
    """A part of another backend, its spatial axes permuted.

    Parameters
    ----------
    base : Backend
    channels : range
        Channels of ``base``.
    axes : sequence of (old axis, range)
        Per new spatial axis the axis of ``base`` (0, 1, 2) and the voxels on it.
    header : Header
        Of the part.
    """

    def __init__(self, base: Backend, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> None:
        self.base, self.channels, self.axes, self.header = base, channels, tuple(axes), header

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        check_region(region, self.header.shape)
        part = [compose(self.channels, region[0]), range(1), range(1), range(1)]
        for new, (old, span) in enumerate(self.axes):
            part[old + 1] = compose(span, region[new + 1])
        data = self.base.read((part[0], part[1], part[2], part[3]), raw=raw)
        return data.transpose(0, *(old + 1 for old, _ in self.axes))

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

    def viewed(self, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> Backend:
        """Return a part of this part, directly on the base."""
        chain = tuple((self.axes[axis][0], compose(self.axes[axis][1], span)) for axis, span in axes)
        return view(self.base, compose(self.channels, channels), chain, header)

    def decode(self) -> None:
        """Decode compressed sources once, for all reads that follow."""
        decode(self.base)


def _asked(backend: Backend, name: str, *arguments: Any) -> Any:
    """Call a method that a backend may have; return None where this one has none of that name."""
    method = getattr(backend, name, None)
    return None if method is None else method(*arguments)


def decode(backend: Backend) -> None:
    """Decode the compressed sources of an image once, where it will be streamed in several parts."""
    _asked(backend, "decode")


def shortage(backend: Backend) -> str | None:
    """Say why the voxels of an image cannot all be there; None if nothing speaks against it, or nobody can tell.

    Nothing is read.
    """
    found: str | None = _asked(backend, "shortage")
    return found


def check(backend: Backend) -> None:
    """Refuse to read an image whose voxels cannot all be there, as far as sizes tell; nothing is read.

    Raises
    ------
    MedImgError
        If they are not there, or cannot be read; the class says why.
    """
    _asked(backend, "check")


def with_header(backend: Backend, header: Header) -> Backend:
    """Return the same voxels under another header; its shape and dtype stay."""
    import copy

    twin: Any = copy.copy(backend)
    twin.header = header
    result: Backend = twin
    return result


def view(backend: Backend, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> Backend:
    """Return a part of a backend, lazily, in the cheapest form.

    Parameters
    ----------
    backend : Backend
    channels : range
        Channels to keep.
    axes : sequence of (old axis, range)
        Per new spatial axis the old axis (0, 1, 2) and the voxels on it.
    header : Header
        Of the part; the caller has moved its geometry.
    """
    found: Backend | None = _asked(backend, "viewed", channels, axes, header)
    return found if found is not None else ViewBackend(backend, channels, axes, header)

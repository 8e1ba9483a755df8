"""All values of an image once, in the order that costs least, whatever its size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import numpy_dtype, slabs
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.storage.stored import Layout

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.storage.stored import Region

__all__ = ["streamed_axes", "streaming_layout", "value_blocks", "value_boxes"]

#: Bytes of one block: what is computed from it takes several times as much.
_BLOCK = 1 << 22


def streaming_layout(backend: Backend, dtype: str | None = None) -> Layout:
    """Return a packed layout in the order in which a backend can be read without going back.

    Parameters
    ----------
    backend : Backend
    dtype : str, optional
        Of the layout; that of the stored numbers where left out.
    """
    shape, dtype = backend.header.shape, dtype or backend.header.dtype
    stored = getattr(backend, "stored", None)
    base = getattr(backend, "base", None)
    if stored is not None:
        strides = [*stored.layout.strides, *(stride for _, stride in stored.layout.channels)]
        sizes = [size for size, _ in stored.layout.channels]
        order = sorted(range(len(strides)), key=lambda axis: abs(strides[axis]))
        return Layout.packed(shape, dtype, order=order, channels=sizes)
    array = getattr(backend, "array", None)
    if array is not None:
        strides = [*array.strides[1:], array.strides[0]]
        order = sorted(range(4), key=lambda axis: abs(strides[axis]))
        return Layout.packed(shape, dtype, order=order)
    if base is not None and base.header.shape == shape and not hasattr(backend, "axes"):
        return streaming_layout(base, dtype)
    return Layout.packed(shape, dtype)


def streamed_axes(layout: Layout) -> tuple[int, int, int]:
    """Return the spatial axes of (C, I, J, K), 1 to 3, as values of a layout step through them, fastest first.

    >>> streamed_axes(Layout.packed((1, 4, 3, 2), "uint8"))
    (1, 2, 3)
    """
    fast, mid, slow = sorted((1, 2, 3), key=lambda axis: abs(layout.strides[axis - 1]))
    return fast, mid, slow


def value_blocks(
    backend: Backend, layout: Layout | None = None, *, raw: bool = False
) -> Iterator[np.ndarray[Any, Any]]:
    """Yield all values of an image once, as 1-D arrays of its value dtype.

    Parameters
    ----------
    backend : Backend
    layout : Layout, optional
        Packed, little-endian, of the value dtype: the order of the values. Left out: the order that costs least.
    raw : bool
        Whether stored numbers, not values, are wanted; the layout is of their dtype then.
    """
    import numpy as np

    name = backend.header.dtype if raw else backend.header.value_dtype
    dtype, size = numpy_dtype(name, "little"), ITEMSIZE[name]
    carry = b""
    layout = layout or streaming_layout(backend, name)
    for block in backend.blocks(layout, raw=raw, max_bytes=_BLOCK):
        data = carry + bytes(block) if carry or len(block) % size else block
        whole = len(data) - len(data) % size
        carry = bytes(data[whole:])
        yield np.frombuffer(data, dtype, whole // size)


def value_boxes(backend: Backend, *, raw: bool = False) -> Iterator[tuple[Region, np.ndarray[Any, Any]]]:
    """Yield all values of an image once, with their places, in the order that costs least.

    Parameters
    ----------
    backend : Backend
    raw : bool
        Whether stored numbers, not values, are wanted.

    Yields
    ------
    region : four ranges on (C, I, J, K)
    values : (C, I, J, K) array
        Of the region; valid until the next one is asked for.
    """
    layout = streaming_layout(backend, None if raw else backend.header.value_dtype)
    blocks, rest = backend.blocks(layout, raw=raw, max_bytes=_BLOCK), memoryview(b"")
    for slab in slabs(layout, _BLOCK):
        memory, parts = slab.allocate()
        done = 0
        while done < len(memory):
            rest = rest or memoryview(next(blocks)).cast("B")
            count = min(len(rest), len(memory) - done)
            memory[done : done + count] = rest[:count]
            done, rest = done + count, rest[count:]
        yield from parts
    for _ in blocks:  # a last look at length and checksum
        pass

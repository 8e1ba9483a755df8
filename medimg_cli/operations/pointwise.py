"""What pointwise operations share: values changed one by one, block by block, when somebody reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from medimg_cli.backends import Backend, numpy_dtype, scale, view
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.storage.stored import Layout

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Buffer
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Region

__all__ = ["Kernel", "MapBackend"]

#: Bytes of one block of the source: arithmetic in float64 takes several times as much.
_BLOCK = 1 << 22


class Kernel(Protocol):
    """A function of values that knows nothing of where they lie, and pickles."""

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a new array of the same shape with the stored numbers of the result."""
        ...


class MapBackend:
    """An image whose stored numbers are a function of another image's numbers.

    A stream of blocks reads the source once, in order: a compressed file is inflated once.

    Parameters
    ----------
    base : Backend
    header : Header
        Of the result; same shape.
    kernel : Kernel
    raw : bool
        Whether the kernel gets stored numbers of ``base`` rather than its values.
    """

    def __init__(self, base: Backend, header: Header, kernel: Kernel, *, raw: bool = False) -> None:
        self.base, self.header, self.kernel, self.raw = base, header, kernel, raw

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        found = self._stored(self.base.read(region, raw=self.raw))
        return found if raw else scale(found, self.header)

    def _stored(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return self.kernel.kernel(numbers).astype(numpy_dtype(self.header.dtype), copy=False)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = _BLOCK) -> Iterator[Buffer]:
        import numpy as np

        base = self.base.header
        source = base.dtype if self.raw else base.value_dtype
        given, wanted = numpy_dtype(source, "little"), numpy_dtype(layout.dtype, layout.byte_order)
        carry = b""
        for block in self.base.blocks(_same_order(layout, source), raw=self.raw, max_bytes=min(max_bytes, _BLOCK)):
            data = carry + bytes(block) if carry or len(block) % given.itemsize else block
            whole = len(data) - len(data) % given.itemsize
            carry = bytes(data[whole:])
            if not whole:
                continue
            numbers = self._stored(np.frombuffer(data, given, whole // given.itemsize).astype(given.newbyteorder("=")))
            if not raw:
                numbers = scale(numbers, self.header)
            yield np.ascontiguousarray(numbers.astype(wanted, copy=False)).view(np.uint8).data

    def viewed(self, channels: range, axes: Sequence[tuple[int, range]], header: Header) -> MapBackend:
        """Return a part: the same function of a part of the source."""
        base = self.base.header
        part = header.replace(dtype=base.dtype, slope=base.slope, inter=base.inter, byte_order=base.byte_order)
        return MapBackend(view(self.base, channels, axes, part), header, self.kernel, raw=self.raw)


def _same_order(layout: Layout, dtype: str) -> Layout:
    """Return a packed layout with the same order of values and another dtype, little-endian."""
    old, new = layout.itemsize, ITEMSIZE[dtype]
    i, j, k = (stride // old * new for stride in layout.strides)
    channels = tuple((size, stride // old * new) for size, stride in layout.channels)
    return Layout(layout.shape, dtype, "little", (i, j, k), channels)

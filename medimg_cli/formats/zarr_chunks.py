"""Chunks of a Zarr array, decoded one by one: only those that somebody asks for are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import DamagedError, FormatError, MedImgError, OversizeError, TruncatedError
from medimg_cli.formats.zarr_codecs import decoded, inner_count, shard_index
from medimg_cli.formats.zarr_metadata import ArrayFacts
from medimg_cli.formats.zarr_store import Store

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Chunks", "cuts"]

#: Bytes that an array may have that is read as bytes.
_MOST_BYTES = 1 << 28


class Chunks:
    """The chunks of one array; those inside shards where it has shards.

    Parameters
    ----------
    store : Store
    facts : ArrayFacts
    """

    def __init__(self, store: Store, facts: ArrayFacts) -> None:
        self.store, self.facts = store, facts
        sharding = facts.packing.sharding
        self.shape = sharding.chunks if sharding else facts.chunks
        self.packing = sharding.inner if sharding else facts.packing
        self.size = prod(self.shape) * facts.chunk_bytes // prod(facts.chunks)
        self._indexes: dict[tuple[int, ...], list[tuple[int, int] | None] | None] = {}

    def data(self, place: Sequence[int]) -> bytes | None:
        """Return the decoded bytes of a chunk, None where the store has none.

        Raises
        ------
        TruncatedError, FormatError
            If it is too short or damaged.
        """
        found = self._stored(tuple(place))
        if found is None:
            return None
        name, content = found
        try:
            return decoded(content, self.packing, self.size)
        except MedImgError as error:
            raise type(error)(f"chunk {name}: {error.message}", path=self.store.name, hint=error.hint) from None

    def _stored(self, place: tuple[int, ...]) -> tuple[str, bytes] | None:
        """Return the name and the bytes of a chunk as they are stored."""
        sharding = self.facts.packing.sharding
        if sharding is None:
            key = self._key(place)
            most = self.size + 1 if not self.packing.steps else 2 * self.size + (1 << 20)
            content = self.store.get(key, 0, most)
            if content is not None and len(content) == most and self.packing.steps:
                raise OversizeError(f"chunk {key} is far larger than {self.size} bytes can be", path=self.store.name)
            return None if content is None else (key, content)
        ratio = [whole // part for whole, part in zip(self.facts.chunks, sharding.chunks, strict=True)]
        shard = tuple(n // r for n, r in zip(place, ratio, strict=True))
        if shard not in self._indexes:
            self._indexes[shard] = self._index(shard)
        index, number = self._indexes[shard], 0
        for n, r in zip(place, ratio, strict=True):
            number = number * r + n % r
        entry = index[number] if index is not None else None
        if entry is None:
            return None
        key, (start, count) = self._key(shard), entry
        if count > 2 * self.size + (1 << 20) or start > 1 << 62:
            raise DamagedError(f"shard {key} has an index that makes no sense", path=self.store.name)
        content = self.store.get(key, start, count)
        if content is None or len(content) < count:
            raise TruncatedError(f"shard {key} is cut off", path=self.store.name, hint="get the file again")
        return f"{number} of shard {key}", content

    def _index(self, shard: tuple[int, ...]) -> list[tuple[int, int] | None] | None:
        sharding = self.facts.packing.sharding
        assert sharding is not None
        size = 16 * inner_count(sharding, self.facts.chunks) + 4 * sharding.checked
        if size > 1 << 26:
            raise FormatError(f"a shard of {size // 16} chunks makes no sense", path=self.store.name)
        key = self._key(shard)
        content = self.store.get(key, 0 if sharding.at_start else -size, size)
        try:
            return None if content is None else shard_index(content, sharding, self.facts.chunks)
        except MedImgError as error:
            raise type(error)(f"shard {key}: {error.message}", path=self.store.name, hint=error.hint) from None

    def _key(self, place: tuple[int, ...]) -> str:
        key = self.facts.key(place)
        return f"{self.facts.path}/{key}" if self.facts.path else key

    def array(self, place: Sequence[int]) -> np.ndarray[Any, Any] | None:
        """Return a chunk with the array's axes in their order, colours last; None where the store has none."""
        content = self.data(place)
        if content is None:
            return None
        import numpy as np

        from medimg_cli.backends import numpy_dtype

        order = self.packing.order or tuple(range(len(self.shape)))
        flat = np.frombuffer(content, numpy_dtype(self.facts.dtype, self.facts.byte_order))
        stored = flat.reshape([*(self.shape[axis] for axis in order), self.facts.colors])
        return stored.transpose([*(order.index(axis) for axis in range(len(order))), len(order)])

    def everything(self) -> bytes:
        """Return the bytes of a one-dimensional array of bytes; what is not there counts as 0.

        Raises
        ------
        FormatError
            If it is no such array.
        """
        facts = self.facts
        if len(facts.shape) != 1 or facts.dtype != "uint8" or facts.packing.sharding is not None:
            raise FormatError(f"{facts.path} is no array of bytes", path=self.store.name)
        total = facts.shape[0] * facts.colors
        if total > _MOST_BYTES or facts.grid[0] > 1 << 16:
            raise FormatError(f"{facts.path} has {total} bytes", path=self.store.name)
        pieces = [self.data((n,)) or bytes(min(self.size, total)) for n in range(facts.grid[0])]
        return b"".join(pieces)[:total]


def cuts(span: range, size: int) -> Iterator[tuple[int, slice, slice]]:
    """Yield, chunk by chunk, its number, what is wanted of it, and where that belongs.

    Parameters
    ----------
    span : range
        Wanted places, ascending.
    size : int
        Of a chunk.

    Examples
    --------
    >>> list(cuts(range(1, 9, 3), 4))
    [(0, slice(1, 2, 3), slice(0, 1, None)), (1, slice(0, 4, 3), slice(1, 3, None))]
    """
    done = 0
    while done < len(span):
        number = span[done] // size
        start, end = number * size, (number + 1) * size
        count = min(len(span), -(-(end - span.start) // span.step)) - done
        last = span[done + count - 1]
        yield number, slice(span[done] - start, last - start + 1, span.step), slice(done, done + count)
        done += count

"""What tests of operations share: marked images, and the plain numpy way of doing what operations do lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.header import Header
from medimg_cli.operations import apply, inverse_of
from medimg_cli.operations.protocol import Request
from tests.helpers import layouts, read, regions

Array = np.ndarray[Any, Any]

OBLIQUE = AffineMatrix([[0.1, -2.9, 0.2, 11.5], [-0.8, 0.1, 0.0, -22.25], [0.1, 0.2, 1.5, 33.0]])


def numbered(
    shape: Sequence[int] = (2, 5, 4, 3), affine: AffineMatrix = OBLIQUE, dtype: str = "int32", **fields: Any
) -> ArrayBackend:
    """Return an image whose every voxel holds another number: its place in memory, counted from 1."""
    array = np.arange(1, int(np.prod(shape)) + 1).reshape(shape).astype(dtype)
    c, i, j, k = shape
    return ArrayBackend(array, Header(shape=(c, i, j, k), dtype=dtype, affine=affine, **fields))


def places(backend: Backend, original: Backend) -> float:
    """Return how far, in mm, any voxel of a numbered image lies from where it lay in the original."""
    array, before = read(backend), original.header
    index = np.argwhere(array > 0)
    number = array[tuple(index.T)] - 1
    old = np.stack(np.unravel_index(number, before.shape), axis=1)
    now = backend.header.affine.apply(index[:, 1:].astype(float))
    then = before.affine.apply(old[:, 1:].astype(float))
    return float(np.abs(now - then).max()) if len(index) else 0.0


def undone(backend: Backend, steps: int) -> Backend:
    """Apply the inverses of the last steps of a history, the last first."""
    history = backend.header.history
    for step in reversed(history[len(history) - steps :]):
        operation = inverse_of(step)
        assert operation is not None
        backend = apply(operation, backend)
    return backend


def made(operation: Request, backend: Backend) -> Backend:
    """Apply an operation and hold the result to the contract of backends."""
    result = apply(operation, backend)
    holds_contract(result)
    return result


def holds_contract(backend: Backend, count: int = 12) -> None:
    """Check that regions are parts of the whole, fresh and writable, and that blocks give its bytes in any order."""
    from tests.helpers import laid_out, part, unlike

    header = backend.header
    for raw in (True, False):
        full = read(backend, raw=raw)
        assert full.shape == header.shape
        assert full.dtype.name == (header.dtype if raw else header.value_dtype)
        for region in regions(header.shape, count):
            found = backend.read(region, raw=raw)
            assert found.flags.writeable
            assert unlike(found, part(full, region)) is None, region
            found[...] = 0
        assert unlike(read(backend, raw=raw), full) is None
        for layout in layouts(header, None if raw else header.value_dtype):
            blocks = b"".join(bytes(block) for block in backend.blocks(layout, raw=raw, max_bytes=200))
            assert blocks == laid_out(full, layout)

"""The writing half of NIfTI-Zarr: Zarr version 2 with OME-NGFF 0.4, one level, zlib, chunks of 64 x 64 x 64 at most.

Version 2 and zlib are what the NIfTI-Zarr specification shows and every reader has; no library is needed. Bytes depend
on the image and the compression level alone. Items of a chunk lie in order "C", x fastest, as in NIfTI and in the
reference implementation (the text of the specification says "F", which no reader depends on).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from medimg_cli.dtypes import ITEMSIZE, is_complex, kind
from medimg_cli.formats import nifti
from medimg_cli.formats.nifti_fields import SIZES, unpack
from medimg_cli.header import Header
from medimg_cli.storage.compress import DEFAULT_LEVEL, open_sink
from medimg_cli.storage.threads import InOrder, cores

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.storage.atomic_folder import StagedFolder

__all__ = ["fitted", "write"]

_CHUNK = 64
#: Bytes of a slab of whole rows of chunks at most, where a plane is not larger.
_SLAB = 1 << 26
_MOST_AXES = 5
_LETTERS = {"int": "i", "uint": "u", "float": "f", "complex": "c", "bool": "b"}
_UNITS = {"mm": ("millimeter", 1.0), "um": ("micrometer", 1e-3), "m": ("meter", 1e3)}
_TIMES = {"s": ("second", 1.0), "ms": ("millisecond", 1e-3), "us": ("microsecond", 1e-6)}
_LONG = {"t": "time", "c": "channel"}


def fitted(header: Header, name: str) -> Header:
    """Return what would come back from a folder of that name."""
    as_nifti = _as_nifti(header)
    found = nifti.fit(as_nifti, "image.nii")
    if _rank(found) > _MOST_AXES:
        axes = header.channel_axes()
        colors = axes[-1:] if axes[-1][0] == "rgb" else ()
        joined = ("channel", header.channels // prod(size for _, size in colors))
        found = nifti.fit(as_nifti.replace(axes=(joined, *colors)), "image.nii")
    return found.replace(format="zarr")


def _as_nifti(header: Header) -> Header:
    """Return a header under the name of the version of NIfTI that it has or would get."""
    native = header.native
    version = native.data[0] if native is not None and native.family == "nifti" else 1
    return header.replace(format=f"nifti{2 if header.format == 'nifti2' else version}")


def _rank(header: Header) -> int:
    assert header.native is not None
    version, byte_order, raw = header.native.data
    return int(unpack(raw, version, byte_order)["dim"][0])


def write(staged: StagedFolder, backend: Backend, header: Header, level: int | None, threads: int | None) -> None:
    """Write all files of a store for a fitted header."""
    axes = [size for name, size in header.axes if name != "rgb"]
    space = "xyz" if axes else "xyz"[: max(2, header.ndim)]
    names = [*"tc"[: len(axes)], *space[::-1]]
    shape = [*axes, *(header.shape[1 + "xyz".index(axis)] for axis in space[::-1])]
    chunk = [1] * len(axes) + _chunk_of(header)[3 - len(space) :]
    staged.write(".zgroup", _json({"zarr_format": 2}))
    staged.write(".zattrs", _json(_attributes(header, names)))
    _write_header(staged, header)
    level = DEFAULT_LEVEL if level is None else level
    facts = {
        "chunks": chunk,
        "compressor": {"id": "zlib", "level": level},
        "dimension_separator": "/",
        "dtype": _dtype(header),
        "fill_value": None if _colors(header) > 1 else [0.0, 0.0] if is_complex(header.dtype) else 0,
        "filters": None,
        "order": "C",
        "shape": shape,
        "zarr_format": 2,
    }
    staged.write("0/.zarray", _json(facts))
    staged.write("0/.zattrs", _json({"_ARRAY_DIMENSIONS": [_LONG.get(name, name) for name in names]}))
    pool = InOrder(max(1, threads or min(cores(), 8)), 2 * max(1, threads or min(cores(), 8)))
    try:
        for key, piece in _chunks(backend, header, axes, len(space)):
            for done in pool.submit(partial(_packed, f"0/{key}", piece, level)):
                staged.write(*done)
        for done in pool.drain():
            staged.write(*done)
    finally:
        pool.stop()


def _json(facts: Any) -> bytes:
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def _colors(header: Header) -> int:
    return header.axes[-1][1] if header.axes and header.axes[-1][0] == "rgb" else 1


def _dtype(header: Header) -> Any:
    """Return the data type as the specification spells it (table 4.2)."""
    if _colors(header) > 1:
        return [[name, "|u1"] for name in "rgba"[: _colors(header)]]
    size = ITEMSIZE[header.dtype]
    order = "|" if size == 1 else ">" if header.byte_order == "big" else "<"
    return f"{order}{_LETTERS[kind(header.dtype)]}{size}"


def _chunk_of(header: Header) -> list[int]:
    """Return the chunk along z, y, x: thinner where a slab of whole planes would be too much to hold."""
    x, y, z = header.shape[1:]
    plane = x * y * header.itemsize * _colors(header)
    return [min(_CHUNK, z, max(1, _SLAB // plane)), min(_CHUNK, y), min(_CHUNK, x)]


def _attributes(header: Header, names: list[str]) -> dict[str, Any]:
    """Return the metadata of OME-NGFF 0.4, in the units of the NIfTI header (NIfTI-Zarr, 2.3)."""
    unit, factor = _UNITS.get(header.space_units or "mm", _UNITS["mm"])
    clock, seconds = _TIMES.get(header.time_units or "s", _TIMES["s"])
    axes: list[dict[str, str]] = []
    scale, step = [], []
    for name in names:
        if name == "t":
            axes.append({"name": "t", "type": "time", **({"unit": clock} if header.time_spacing else {})})
        elif name == "c":
            axes.append({"name": "c", "type": "channel"})
        else:
            axes.append({"name": name, "type": "space", "unit": unit})
        size = header.spacing["xyz".index(name)] / factor if name in "xyz" else 1.0
        scale.append(size)
        step.append(header.time_spacing / seconds if name == "t" and header.time_spacing else 1.0)
    image = {
        "version": "0.4",
        "axes": axes,
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
        "coordinateTransformations": [{"type": "scale", "scale": step}],
    }
    found: dict[str, Any] = {"multiscales": [image]}
    if header.gradients is not None:
        bvals, bvecs = header.gradients
        found["medimg"] = {"gradients": {"bvals": list(bvals), "bvecs": [list(vector) for vector in bvecs]}}
    return found


def _write_header(staged: StagedFolder, header: Header) -> None:
    """Write the raw NIfTI header with its extensions as one chunk of bytes (NIfTI-Zarr, 2.4)."""
    as_nifti = _as_nifti(header)
    assert header.native is not None
    content = nifti.encode(as_nifti, "image.nii", None).head
    size = SIZES[header.native.data[0]]
    content = content if content[size : size + 1] != b"\0" else content[:size]  # no extensions follow
    facts = {
        "chunks": [len(content)], "compressor": None, "dimension_separator": "/", "dtype": "|u1", "fill_value": None,
        "filters": None, "order": "C", "shape": [len(content)], "zarr_format": 2,
    }  # fmt: skip
    staged.write("nifti/.zarray", _json(facts))
    staged.write("nifti/0", content)


def _chunks(backend: Backend, header: Header, axes: list[int], rank: int) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield key and values of every chunk, as views of the slab that is in memory."""
    import numpy as np

    from medimg_cli.backends import numpy_dtype

    x, y, z = header.shape[1:]
    colors = _colors(header)
    depth, height, width = _chunk_of(header)
    raw = not backend.header.scaled or header.scaled
    stream = _Stream(backend.blocks(nifti.layout_of(header), raw=raw))
    dtype = numpy_dtype(header.dtype, header.byte_order)
    for volume in range(prod(axes)):
        front = [volume // prod(axes[:n]) % size for n, size in enumerate(axes)]
        for k in range(0, z, depth):
            count = min(depth, z - k)
            slab = np.frombuffer(stream.take(count * y * x * colors * dtype.itemsize), dtype)
            slab = slab.reshape(count, y, x, colors)
            for j, i in product(range(0, y, height), range(0, x, width)):
                place = [k // depth, j // height, i // width][3 - rank :]
                piece = np.zeros((depth, height, width, colors), dtype)
                part = slab[:, j : j + height, i : i + width]
                piece[: part.shape[0], : part.shape[1], : part.shape[2]] = part
                yield "/".join(map(str, [*front, *place])), piece


def _packed(key: str, piece: np.ndarray[Any, Any], level: int) -> tuple[str, bytes]:
    out: list[bytes] = []
    sink = open_sink(lambda data: out.append(bytes(data)), "zlib", level, 1)
    sink.write(piece.tobytes())
    sink.finish()
    return key, b"".join(out)


class _Stream:
    """Blocks of a stream, taken in other amounts."""

    def __init__(self, blocks: Iterator[Any]) -> None:
        self._blocks, self._rest = blocks, memoryview(b"")

    def take(self, count: int) -> bytearray:
        """Return the next bytes."""
        out, done = bytearray(count), 0
        while done < count:
            if not self._rest:
                self._rest = memoryview(next(self._blocks)).cast("B")
            piece = self._rest[: count - done]
            out[done : done + len(piece)] = piece
            self._rest, done = self._rest[len(piece) :], done + len(piece)
        return out

"""What the metadata of a Zarr group or array say, versions 2 and 3, without the zarr library.

Sources: Zarr storage specification version 2, and Zarr core specification version 3 with the codecs ``bytes``,
``transpose``, ``gzip``, ``blosc``, ``crc32c``, ``sharding_indexed`` and the registered extension ``zstd``. Filters and
codecs that are not on the list of :mod:`medimg_cli.formats.zarr_codecs` are refused here, by name, before anything of
theirs is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, OversizeError, UnsupportedError
from medimg_cli.formats.zarr_codecs import Packing, packing_of
from medimg_cli.formats.zarr_store import Store, metadata

__all__ = ["ArrayFacts", "GroupFacts", "read_node"]

_COLORS = ("r", "g", "b", "a")
_KINDS = {"i": "int", "u": "uint", "f": "float", "c": "complex", "b": "bool"}


class GroupFacts(NamedTuple):
    """A Zarr group.

    Parameters
    ----------
    attributes : mapping
    version : int
        2 or 3.
    keys : tuple of str
        Where its metadata lie.
    """

    attributes: Mapping[str, Any]
    version: int
    keys: tuple[str, ...]


#: Values that a chunk may have whatever the size of its array; beyond, it would only fill the memory.
_WIDEST = 1 << 27


class ArrayFacts(NamedTuple):
    """A Zarr array.

    Parameters
    ----------
    attributes : mapping
    version : int
    keys : tuple of str
        Where its metadata lie.
    path : str
        In its store; "" for the store itself.
    shape, chunks : tuple of int
        In the order of the array's axes; a chunk is one object of the store.
    dtype, byte_order : str
    colors : int
        Values of one item: 3 or 4 where items are records of r, g, b (and a), else 1.
    fill : object
        Value of chunks that are not there; JSON as it stands.
    packing : Packing
        How a chunk became bytes.
    separator : str
        Between the numbers in the key of a chunk.
    prefix : bool
        Whether keys of chunks begin with "c" (version 3, encoding "default").
    names : tuple of str
        Names of the axes where they are stated; empty else.
    """

    attributes: Mapping[str, Any]
    version: int
    keys: tuple[str, ...]
    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: str
    byte_order: str
    colors: int
    fill: Any
    packing: Packing
    separator: str
    prefix: bool
    names: tuple[str, ...]

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-size // chunk) for size, chunk in zip(self.shape, self.chunks, strict=True))

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return prod(self.chunks) * self.colors * ITEMSIZE[self.dtype]

    def key(self, place: Sequence[int]) -> str:
        """Return the key of a chunk, relative to the array."""
        numbers = [str(number) for number in place]
        if self.prefix:
            return self.separator.join(["c", *numbers])
        return self.separator.join(numbers) or "0"

    def __str__(self) -> str:
        return " x ".join(map(str, self.shape))


def read_node(store: Store, path: str = "", version: int = 0) -> GroupFacts | ArrayFacts | None:
    """Return the group that a store is, or the array at a path of it; None where there is neither.

    Parameters
    ----------
    store : Store
    path : str
        "" for the store itself.
    version : int
        2 where the store is known to be of that version: nobody asks for a file that is not there.

    Raises
    ------
    FormatError
        If its metadata contradict the specification.
    UnsupportedError
        If it needs a codec, a data type or an extension that is not read here.
    """
    front = f"{path}/" if path else ""
    shown = f"{store.name}/{path}" if path else store.name
    facts = metadata(store, front + "zarr.json") if version != 2 else None
    try:
        if facts is not None:
            return _version3(facts, path, front + "zarr.json")
        group = metadata(store, front + ".zgroup") if not path else None
        array = metadata(store, front + ".zarray") if group is None else None
        if array is None and group is None:
            return None
        attributes = metadata(store, front + ".zattrs") or {}
        if array is None:
            return GroupFacts(attributes, 2, (front + ".zgroup", front + ".zattrs"))
        return _version2(array, attributes, path, (front + ".zarray", front + ".zattrs"))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        if isinstance(error, FormatError):
            raise error.at(shown) from None
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:80]
        raise FormatError(f"the Zarr metadata make no sense: {what}", path=shown) from None
    except UnsupportedError as error:
        raise error.at(shown) from None


def _sizes(values: Any, least: int, what: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(type(size) is int and size >= least for size in values):
        raise FormatError(f"{what} {str(values)[:60]} is no list of sizes")
    if least and prod(values) > 1 << 62:
        raise OversizeError(f"{what} {str(values)[:60]} is more than any memory holds")
    return tuple(values)


def _version2(facts: Mapping[str, Any], attributes: Mapping[str, Any], path: str, keys: tuple[str, ...]) -> ArrayFacts:
    """Read ``.zarray`` (Zarr version 2, "Metadata")."""
    if facts["zarr_format"] != 2:
        raise UnsupportedError(f"Zarr version {facts['zarr_format']!r} is unknown")
    shape, chunks = _sizes(facts["shape"], 0, "shape"), _sizes(facts["chunks"], 1, "chunks")
    order = facts.get("order", "C")
    if order not in ("C", "F"):
        raise FormatError(f"order {order!r} is neither C nor F")
    steps = facts.get("filters") or []
    steps = [*steps, facts["compressor"]] if facts["compressor"] is not None else list(steps)
    packing = packing_of([{**step, "name": step["id"]} for step in steps], 2)
    dtype, byte_order, colors = _dtype2(facts["dtype"])
    names = attributes.get("_ARRAY_DIMENSIONS")
    return ArrayFacts(
        attributes=attributes, version=2, keys=keys, path=path, shape=shape, chunks=_agreed(chunks, shape), dtype=dtype,
        byte_order=byte_order, colors=colors, fill=facts.get("fill_value"), prefix=False,
        separator=_separator(facts, ".", "dimension_separator"),
        packing=packing._replace(order=tuple(range(len(shape)))[:: -1 if order == "F" else 1]),
        names=tuple(map(str, names)) if isinstance(names, list) and len(names) == len(shape) else (),
    )  # fmt: skip


def _agreed(chunks: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(chunks) != len(shape):
        raise FormatError(f"chunks have {len(chunks)} axes, the array has {len(shape)}")
    if prod(chunks) > max(_WIDEST, 64 * prod(shape)):
        raise FormatError(f"chunks of {' x '.join(map(str, chunks))} are absurd for an array of {list(shape)}")
    return chunks


def _separator(facts: Mapping[str, Any], default: str, name: str = "separator") -> str:
    found: str = facts.get(name, default)
    if found not in ("/", "."):
        raise FormatError(f"{name} {found!r} is neither a slash nor a dot")
    return found


def _dtype2(spelled: Any) -> tuple[str, str, int]:
    """Return name, byte order and number of colours of a data type of version 2, as in ``<i2``.

    >>> _dtype2("<i2"), _dtype2(">f4"), _dtype2([["r", "|u1"], ["g", "|u1"], ["b", "|u1"]])
    (('int16', 'little', 1), ('float32', 'big', 1), ('uint8', 'little', 3))
    """
    if isinstance(spelled, list):
        fields = [tuple(field) for field in spelled]
        if fields in ([(name, "|u1") for name in _COLORS[:count]] for count in (3, 4)):
            return "uint8", "little", len(fields)
    if isinstance(spelled, str) and len(spelled) > 2 and spelled[0] in "<>|" and spelled[2:].isdecimal():
        kind, size = _KINDS.get(spelled[1]), int(spelled[2:])
        name = "bool" if kind == "bool" and size == 1 else f"{kind}{8 * size}"
        if name in ITEMSIZE:
            return name, "big" if spelled[0] == ">" else "little", 1
    raise UnsupportedError(f"items of type {str(spelled)[:60]} are no voxels")


def _version3(facts: Mapping[str, Any], path: str, key: str) -> GroupFacts | ArrayFacts:
    """Read ``zarr.json`` (Zarr version 3, "Array metadata", "Group metadata")."""
    if facts["zarr_format"] != 3:
        raise UnsupportedError(f"Zarr version {facts['zarr_format']!r} is unknown")
    attributes = facts.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise FormatError("attributes are no JSON object")
    if facts["node_type"] == "group":
        return GroupFacts(attributes, 3, (key,))
    if facts.get("storage_transformers"):
        raise UnsupportedError("storage transformers are not supported")
    grid, encoding = facts["chunk_grid"], facts["chunk_key_encoding"]
    if grid["name"] != "regular":
        raise UnsupportedError(f"chunk grid {str(grid['name'])[:40]!r} is not supported")
    if encoding["name"] not in ("default", "v2"):
        raise UnsupportedError(f"chunk keys {str(encoding['name'])[:40]!r} are not supported")
    shape = _sizes(facts["shape"], 0, "shape")
    chunks = _agreed(_sizes(grid["configuration"]["chunk_shape"], 1, "chunk_shape"), shape)
    dtype, colors = _dtype3(facts["data_type"])
    packing = packing_of([_step3(step) for step in facts["codecs"]], 3, chunks)
    default = encoding["name"] == "default"
    names = facts.get("dimension_names") or ()
    return ArrayFacts(
        attributes=attributes, version=3, keys=(key,), path=path, shape=shape, chunks=chunks, dtype=dtype,
        byte_order=packing.byte_order, colors=colors, fill=facts["fill_value"], packing=packing, prefix=default,
        separator=_separator(encoding.get("configuration") or {}, "/" if default else "."),
        names=tuple(map(str, names)) if len(names) == len(shape) and all(names) else (),
    )  # fmt: skip


def _step3(step: Any) -> dict[str, Any]:
    if isinstance(step, str):
        return {"name": step}
    return {**(step.get("configuration") or {}), "name": step["name"]}


def _dtype3(spelled: Any) -> tuple[str, int]:
    if isinstance(spelled, str) and spelled in ITEMSIZE:
        return spelled, 1
    if isinstance(spelled, dict) and spelled.get("name") in ("structured", "struct"):
        fields = spelled["configuration"]["fields"]
        pairs = [(f["name"], f["data_type"]) if isinstance(f, dict) else tuple(f) for f in fields]
        if pairs in ([(name, "uint8") for name in _COLORS[:count]] for count in (3, 4)):
            return "uint8", len(pairs)
    raise UnsupportedError(f"items of type {str(spelled)[:60]} are no voxels")


def fill_value(facts: ArrayFacts) -> Any:
    """Return the value of chunks that are not there, as NumPy takes it; nothing stated counts as 0.

    Raises
    ------
    FormatError
        If it is no value of the array's type.
    """
    import numpy as np

    from medimg_cli.backends import numpy_dtype

    value, dtype = facts.fill, numpy_dtype(facts.dtype)
    if value is None or facts.colors > 1:
        return dtype.type(0)
    try:
        if isinstance(value, str) and value.lower().startswith("0x"):
            return np.frombuffer(bytes.fromhex(value[2:])[::-1], dtype.newbyteorder("<"))[0].astype(dtype)
        if isinstance(value, (list, tuple)):
            value = complex(*(float(part) for part in value))
        return np.array(float(value) if isinstance(value, str) else value).astype(dtype)[()]
    except (ValueError, TypeError, OverflowError, IndexError):
        raise FormatError(f"fill_value {str(value)[:40]} is no {facts.dtype}") from None

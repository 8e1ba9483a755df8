"""Small images made in code, and what tests of storage and formats share.

No image here is cubic, isotropic or aligned with the world unless its name says so: every swapped axis, lost sign or
stale spacing shows.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import permutations
from math import cos, radians, sin
from pathlib import Path
from typing import Any

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend, numpy_dtype
from medimg_cli.dtypes import ITEMSIZE, is_float, is_integer
from medimg_cli.errors import CastError, FormatError, GeometryError, MedImgError, UnsupportedError
from medimg_cli.formats import Format, codec_module, format_for_output, open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header
from medimg_cli.labels import LabelTable
from medimg_cli.storage.stored import Layout, Region, whole

Array = np.ndarray[Any, Any]

SHAPE = (5, 4, 3)

#: All dtypes that this platform has; float128 is another number on some.
DTYPES = tuple(
    name
    for name, size in ITEMSIZE.items()
    if size < 16 or name == "complex128" or np.dtype(np.longdouble).itemsize == 16
)


# geometry


def turned(x: float, y: float, z: float) -> list[list[float]]:
    """Return the rotation Rz(z) @ Ry(y) @ Rx(x), angles in degrees."""
    (a, b), (c, d), (e, f) = ((cos(radians(angle)), sin(radians(angle))) for angle in (x, y, z))
    rows = np.array([[e, -f, 0], [f, e, 0], [0, 0, 1]]) @ [[c, 0, d], [0, 1, 0], [-d, 0, c]]
    matrix: list[list[float]] = (rows @ [[1, 0, 0], [0, a, -b], [0, b, a]]).tolist()
    return matrix


def affine(
    angles: Sequence[float] = (11, -7, 23),
    spacing: Sequence[float] = (0.9, 1.25, 3.0),
    flips: Sequence[int] = (1, 1, 1),
) -> AffineMatrix:
    """Return an affine turned by angles in degrees; ``flips`` of -1 turn an axis round."""
    direction = np.array(turned(*angles)) * flips
    return AffineMatrix.from_spacing(spacing, origin=(-37.5, 12.25, 81.0), direction=direction.tolist())


#: One affine of every kind, by name.
AFFINES: dict[str, AffineMatrix] = {
    "straight": affine((0, 0, 0)),
    "oblique": affine(),
    "left-handed": affine((-31, 12, 44), flips=(-1, 1, 1)),
    "permuted": AffineMatrix([[0, 0, -3.0, 40], [0.9, 0, 0, -12.5], [0, -1.25, 0, 7], [0, 0, 0, 1]]),
    "sheared": AffineMatrix([[0.9, 0.2, 0.0, -37.5], [0.0, 1.25, 0.4, 12.25], [0.1, 0.0, 3.0, 81.0], [0, 0, 0, 1]]),
}


# voxels


def voxels(shape: Sequence[int], dtype: str, seed: int = 0) -> Array:
    """Return numbers over the whole range of a type: its extremes, and NaN, infinities and -0 where it has them."""
    chance = np.random.default_rng([seed, len(dtype), *shape])
    count = int(np.prod(shape))
    if dtype == "bool":
        return chance.integers(0, 2, shape).astype(bool)
    if is_integer(dtype):
        limits = np.iinfo(dtype)
        array = chance.integers(limits.min, limits.max, count, dtype=dtype, endpoint=True)
        special: list[Any] = [limits.max, limits.min, 0, 1, limits.max - 1]
    elif is_float(dtype):
        array = (chance.normal(size=count) * 10.0 ** chance.integers(-3, 4, count)).astype(numpy_dtype(dtype))
        limit = np.finfo(array.dtype)
        special = [np.nan, np.inf, -np.inf, -0.0, limit.max, limit.tiny, limit.min, 1 / 3]
    else:
        part = {"complex64": "float32", "complex128": "float64", "complex256": "float128"}[dtype]
        array = np.empty(count, numpy_dtype(dtype))
        array.real, array.imag = voxels((count,), part, seed), voxels((count,), part, seed + 1)
        return array.reshape(shape)
    for place, value in zip(chance.permutation(count), special, strict=False):
        array[place] = value
    return array.reshape(shape)


def unlike(found: Array, expected: Array) -> str | None:
    """Say where two arrays differ in value, sign of zero and NaN included; None where they agree. Dtypes may differ."""
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    if np.iscomplexobj(found) or np.iscomplexobj(expected):
        return unlike(found.real, expected.real) or unlike(found.imag, expected.imag)
    if found.dtype == expected.dtype:
        wrong = (found != expected) & ~((found != found) & (expected != expected))
        if found.dtype.kind == "f":
            wrong |= (found == 0) & (expected == 0) & (np.signbit(found) != np.signbit(expected))
    else:
        a, b = found.astype(object), expected.astype(object)
        wrong = np.array((a != b) & ~((a != a) & (b != b)), dtype=bool)
    if not wrong.any():
        return None
    place = tuple(int(n) for n in np.argwhere(wrong)[0])
    return f"{int(wrong.sum())} of {wrong.size} differ, at {place}: {found[place]!r}, expected {expected[place]!r}"


# images

#: Kinds of images that :func:`make` makes, each with the dtype that it has unless another is asked for.
KINDS = {
    "plain": "int16", "straight": "uint16", "left-handed": "float32", "permuted": "int16", "sheared": "int32",
    "flat": "uint8", "flat-rgb": "uint8", "picture": "uint8", "time": "int16", "channels": "float64", "vector": "float32",
    "time-vector": "float32", "rgb": "uint8", "rgba": "uint8", "time-rgb": "uint8", "labels": "uint8", "scaled": "int16",
    "scaled-time": "uint8", "described": "int16", "diffusion": "int16", "forms": "int16",
}  # fmt: skip

_AXES: dict[str, tuple[tuple[str, int], ...]] = {
    "time": (("time", 4),),
    "channels": (("channel", 3),),
    "vector": (("vector", 3),),
    "time-vector": (("time", 2), ("vector", 3)),
    "rgb": (("rgb", 3),),
    "rgba": (("rgb", 4),),
    "flat-rgb": (("rgb", 3),),
    "time-rgb": (("time", 2), ("rgb", 3)),
    "scaled-time": (("time", 2),),
    "diffusion": (("channel", 4),),
}

LABELS = LabelTable(
    [(1, "left thing", (255, 0, 3, 255)), (2, "rechts: \u00df", (0, 200, 90, 255)), (17, "x", (9, 8, 7, 255))]
)


def _more(kind: str) -> dict[str, Any]:
    """Return the header fields of a kind beyond shape, dtype, affine and axes."""
    if "time" in kind:
        more: dict[str, Any] = {"time_spacing": 2.5, "time_units": "s"}
    elif kind == "labels":
        more = {"intent": "label", "labels": LABELS}
    elif kind == "described":
        more = {
            "description": "T1 of a phantom, 3 T \u00b5",
            "metadata": {
                "Modality": "MR",
                "EchoTime": 0.0345,
                "Averages": 3,
                "Note": "two  words: a=b \u4e2d",
            },
            "history": ({"name": "crop", "version": 1, "parameters": {"low": [1, 0, 0]}},),
            "intent": "zscore",
            "intent_name": "my map",
            "extensions": (
                (4, b"<?xml version='1.0' ?>\n".ljust(40, b"\0")),
                (6, b"a comment".ljust(24, b"\0")),
            ),
        }
    elif kind == "diffusion":
        bvecs = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, -0.8), (-0.36, 0.48, 0.8))
        more = {"gradients": Gradients((0.0, 700.0, 1000.0, 2800.0), bvecs)}
    elif kind == "forms":
        more = {
            "sform": AFFINES["oblique"],
            "sform_code": 4,
            "qform": AFFINES["left-handed"],
            "qform_code": 1,
        }
    else:
        more = {}
    if "scaled" in kind:
        more.update(slope=0.25, inter=-12.5)
    return more


def make(kind: str = "plain", dtype: str | None = None, *, seed: int = 0) -> ArrayBackend:
    """Return an image in memory of one of ``KINDS``."""
    dtype = dtype or KINDS[kind]
    axes = _AXES.get(kind, ())
    channels = int(np.prod([size for _, size in axes])) if axes else 1
    flat = kind.startswith("flat") or kind == "picture"
    shape = (channels, *((7, 6, 1) if flat else SHAPE))
    place = AFFINES.get(kind, AFFINES["straight" if kind.startswith("flat") else "oblique"])
    if kind == "picture":
        place = AffineMatrix.from_spacing(1.0)
    if kind == "labels" and is_integer(dtype):
        array = np.random.default_rng(seed).choice(np.array([0, 1, 2, 17], dtype), shape)
    elif "scaled" in kind and not is_integer(dtype):
        array = np.round(np.random.default_rng(seed).normal(size=shape) * 100).astype(numpy_dtype(dtype))
    else:
        array = voxels(shape, dtype, seed)
    header = Header(shape=shape, dtype=dtype, affine=place, axes=axes, ndim=2 if flat else 3, **_more(kind))
    return ArrayBackend(array, header)


def fits(module: Any, header: Header, name: str) -> Header | None:
    """Return what a format makes of a header, None where it cannot hold such an image at all, and says so."""
    try:
        fitted: Header = module.fit(header, name)
    except (CastError, FormatError, GeometryError, UnsupportedError) as error:
        assert one_line(error), error
        return None
    return fitted


def read(backend: Backend, *, raw: bool = False) -> Array:
    """Return all voxels of an image."""
    return backend.read(whole(backend.header.shape), raw=raw)


# files


def output_suffixes(row: Format) -> tuple[str, ...]:
    """Return the endings of file names that a format is written to."""
    if not row.writes:
        return ()
    endings = [s + c for s in row.suffixes for c in (("", ".gz", ".bz2", ".zst") if row.compressed else ("",))]
    wanted = "nifti1" if row.name == "nifti2" else row.name
    return tuple(e for e in endings if _written_by("x" + e) == wanted)


def _written_by(name: str) -> str | None:
    try:
        return format_for_output(name).name
    except MedImgError:
        return None


def write(folder: Path, row: Format, suffix: str, kind: str, dtype: str | None = None) -> Path | None:
    """Write an image of a kind; None where the format cannot hold it."""
    image = make(kind, dtype)
    if row.name.startswith("nifti"):
        image.header = image.header.replace(format=row.name)
    path = folder / f"image{suffix}"
    if fits(codec_module(row), image.header, str(path)) is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    save_backend(image, str(path))
    return path


def fingerprint(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Return digest, size and time of every file below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            info = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = (digest, info.st_size, info.st_mtime_ns)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# regions and layouts


def regions(shape: Sequence[int], count: int, seed: int = 0) -> Iterator[Region]:
    """Yield the whole, all corners reversed, and random regions with steps of any sign."""
    c, i, j, k = shape
    yield whole(shape)
    yield range(c - 1, -1, -1), range(i - 1, -1, -1), range(j - 1, -1, -1), range(k - 1, -1, -1)
    chance = random.Random(f"{seed} {shape}")
    for _ in range(count):
        spans = []
        for size in shape:
            first, last = chance.randrange(size), chance.randrange(size)
            step = chance.randint(1, 3)
            spans.append(range(first, last + 1, step) if first <= last else range(first, last - 1, -step))
        yield spans[0], spans[1], spans[2], spans[3]


def part(full: Array, region: Region) -> Array:
    """Return a region of an array in memory."""
    picked: Array = full[np.ix_(*region)]
    return picked


def layouts(header: Header, dtype: str | None = None) -> Iterator[Layout]:
    """Yield packed layouts of an image: axes in many orders, channels first, between and last, both byte orders."""
    sizes = [size for _, size in header.channel_axes()]
    extra = tuple(range(3, 3 + len(sizes)))
    orders = [(*order, *extra) for order in permutations(range(3))]
    orders += [(*reversed(extra), 0, 1, 2), (0, *extra, 2, 1), (*extra[-1:], 2, 0, 1, *extra[:-1])]
    for number, order in enumerate(dict.fromkeys(orders)):
        byte_order = "big" if number % 2 else "little"
        yield Layout.packed(header.shape, dtype or header.dtype, byte_order=byte_order, order=order, channels=sizes)
    yield Layout.packed(header.shape, dtype or header.dtype, byte_order="big", order=orders[0], channels=sizes)


def laid_out(values: Array, layout: Layout) -> bytes:
    """Return an array (C, I, J, K) as the bytes of a packed layout; the reference for ``blocks``."""
    item = numpy_dtype(layout.dtype, layout.byte_order)
    memory = bytearray(layout.nbytes)
    pairs = layout.channels or ((1, 0),)
    sizes = [size for size, _ in reversed(pairs)] + list(layout.shape[1:])
    target: Array = np.ndarray(sizes, item, memory, 0, [step for _, step in reversed(pairs)] + list(layout.strides))
    target[...] = values.reshape(sizes)
    return bytes(memory)


# hostile input

_WORDS = (
    b"\xff",
    b"\0",
    b"\x7f\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x80",
    b"-1",
    b"9" * 19,
    b"nan",
    b"\n",
    b"1e400",
)


def one_line(error: BaseException) -> bool:
    """Tell whether an error is one of ours and says what it says on one line."""
    return isinstance(error, MedImgError) and len(str(error).splitlines()) == 1


def wrong_end(path: str, expected: Array | None) -> str | None:
    """Open and read a damaged image: it must be refused, or read as ``expected``; any voxels will do where that is None.

    Returns
    -------
    str or None
        What went wrong.
    """
    try:
        found = read(open_backend(path))
    except MedImgError as error:
        return None if one_line(error) else f"message of several lines: {error!r}"
    except Exception as error:
        return f"{type(error).__name__} escaped: {error}"
    return None if expected is None else unlike(found, expected)


def cuts(size: int) -> list[int]:
    """Return lengths of prefixes: close together in the header, further apart behind it, and the last byte missing."""
    near = range(1, min(size, 640), 37)
    return sorted({*near, *(size * n // 12 for n in range(1, 12)), size - 1, max(size - 8, 1)} - {0, size})


def _damages(content: bytes, mutations: int, seed: object) -> Iterator[tuple[str, bytes, bool]]:
    """Yield damaged forms of a file: what was done, the bytes, and whether they may only be refused or read right."""
    for length in cuts(len(content)):
        yield f"cut at {length} of {len(content)} bytes", content[:length], True
    chance = random.Random(f"{seed} {len(content)}")
    for _ in range(mutations):
        damaged = bytearray(content)
        done = []
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(min(len(content), 700))
            word = chance.choice((*_WORDS, bytes([chance.randrange(256)])))
            damaged[place : place + len(word)] = word
            done.append((place, word))
        yield f"changed at {done}", bytes(damaged), False


def torture(path: str, mutations: int) -> list[str]:
    """Cut and change every file of an image in turn; tell what went wrong, at most 20 lines. The files stay as they were.

    A cut file is refused, or reads as the whole one; but the text header of AFNI has no end that could be missed.
    """
    expected = read(open_backend(path))
    found: list[str] = []
    for file in sorted(file for file in Path(path).parent.rglob("*") if file.is_file()):
        content = file.read_bytes()
        for done, damaged, strict in _damages(content, mutations, file.name):
            file.write_bytes(damaged)
            problem = wrong_end(path, expected if strict and file.suffix != ".HEAD" else None)
            if problem:
                found.append(f"{file}: {done}: {problem}")
        file.write_bytes(content)
    return found[:20]

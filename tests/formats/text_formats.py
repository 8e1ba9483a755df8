"""What the tests of NRRD and MetaImage share: images of every kind, mutations of headers, referees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header
from medimg_cli.labels import LabelTable
from medimg_cli.storage.stored import whole

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real files are not at {DATA}")

#: Oblique, anisotropic, left-handed.
OBLIQUE = AffineMatrix([[-1.5, 0.4, 0.1, 12.5], [0.3, 2.0, -0.2, -7.25], [-0.16, 0.3, 3.0, 4.125]])
TYPES = (
    "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "complex64",
    "complex128", "bool", "float16",
)  # fmt: skip


def orthogonal(spacing: tuple[float, float, float] = (1.5, 2.0, 3.0)) -> AffineMatrix:
    """Return an oblique affine without shear, left-handed."""
    a, b = 0.3, -0.2
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    direction = (turn_z @ turn_x) @ np.diag([-1.0, 1.0, 1.0])
    return AffineMatrix.from_spacing(spacing, origin=(12.5, -7.25, 4.125), direction=direction.tolist())


def voxels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    """Return values over the whole range of a type."""
    random = np.random.default_rng(seed)
    kind = np.dtype(dtype).kind
    if kind == "b":
        return random.integers(0, 2, shape).astype(bool)
    if kind in "iu":
        info = np.iinfo(dtype)
        array = random.integers(info.min, info.max, shape, dtype, endpoint=True)
        array.flat[0], array.flat[-1] = info.min, info.max
        return array
    array = random.normal(size=shape) * 1000
    if kind == "c":
        array = array + 1j * random.normal(size=shape)
    return array.astype(dtype)


def image(shape: tuple[int, int, int, int] = (1, 5, 6, 4), dtype: str = "int16", **fields: Any) -> ArrayBackend:
    """Return an image in memory."""
    fields.setdefault("affine", orthogonal())
    return ArrayBackend(voxels(shape, dtype), Header(shape=shape, dtype=dtype, **fields))


def everything(backend: Backend) -> np.ndarray:
    """Return all stored numbers, (C, I, J, K)."""
    return backend.read(whole(backend.header.shape), raw=True)


def saved(backend: Backend, path: Path, **options: Any) -> Any:
    """Write an image and open what was written."""
    save_backend(backend, str(path), **options)
    return open_backend(path)


def from_text(text: str, data: bytes = b"", suffix: str = ".nrrd") -> Any:
    """Open a header, and what follows it, from memory."""
    return open_backend(text.encode() + data, name="x" + suffix)


_words = st.text(st.characters(min_codepoint=32, max_codepoint=0x17F), max_size=12)
_values = st.one_of(
    _words, st.text(max_size=8), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
_tables = st.dictionaries(
    st.integers(0, 300), st.tuples(_words, st.none() | st.tuples(*[st.integers(0, 255)] * 4)), max_size=4
)


@st.composite
def headers(draw: st.DrawFn, affines: st.SearchStrategy[AffineMatrix]) -> Header:
    """Headers with all that a header may hold."""
    axes = draw(
        st.sampled_from(
            ((), (("time", 3),), (("channel", 2),), (("vector", 3),), (("rgb", 3),), (("rgb", 4),), (("time", 1),),
             (("time", 2), ("channel", 3)), (("channel", 2), ("rgb", 3)), (("time", 2), ("vector", 3)),
             (("vector", 2),))
        )
    )  # fmt: skip
    channels = int(np.prod([size for _, size in axes]))
    shape = (channels, draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    rows = draw(_tables)
    gradients = None
    if draw(st.booleans()) and channels > 1:
        gradients = Gradients(
            tuple(float(draw(st.sampled_from((0, 500, 1000)))) for _ in range(channels)),
            tuple(draw(st.sampled_from(((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, 0.0)))) for _ in range(channels)),
        )
    has_form = draw(st.booleans())
    affine = draw(affines)
    slope = draw(st.sampled_from((None, None, 1.0, 2.5)))
    return Header(
        shape=shape,
        dtype=draw(st.sampled_from(TYPES)) if slope is None else "int16",
        affine=affine,
        axes=axes,
        ndim=draw(st.integers(1, 3)) if shape[3] == 1 else 3,
        slope=slope,
        inter=None if slope is None else 1.5,
        sform=affine if has_form else None,
        sform_code=2 if has_form else 0,
        time_spacing=draw(st.sampled_from((None, 1.0, 2.5))) if axes and axes[0][0] == "time" else None,
        intent=draw(st.sampled_from((None, "label", "zscore"))),
        intent_params=draw(st.sampled_from(((), (1.0, 2.0, 3.0)))),
        description=draw(st.one_of(_words, st.text(max_size=300))),
        gradients=gradients,
        labels=LabelTable([(value, *row) for value, row in rows.items()]) if rows else None,
        metadata=draw(st.dictionaries(st.one_of(_words, st.text(max_size=5)), _values, max_size=4)),
        history=({"name": "crop", "parameters": [1, 2]},) if draw(st.booleans()) else (),
        extensions=((4, b"AFNI\0"),) if draw(st.booleans()) else (),
    )


@st.composite
def mutations(draw: st.DrawFn, header: bytes) -> bytes:
    """Headers with some bytes, lines or words changed."""
    content = bytearray(header)
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(("byte", "cut", "line", "word", "swap")))
        at = draw(st.integers(0, max(len(content) - 1, 0)))
        if what == "byte" and content:
            content[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif what == "line":
            lines = bytes(content).split(b"\n")
            lines.insert(at % len(lines), draw(st.sampled_from(lines)))
            content = bytearray(b"\n".join(lines))
        elif what == "word":
            new = draw(
                st.sampled_from(
                    (b"-1", b"0", b"nan", b"1e400", b"99999999999999999999", b"none", b"(", b"LIST", b"%s%n")
                )
            )
            words = bytes(content).split(b" ")
            words[at % len(words)] = new
            content = bytearray(b" ".join(words))
        else:
            lines = bytes(content).split(b"\n")
            a, b = at % len(lines), draw(st.integers(0, len(lines) - 1))
            lines[a], lines[b] = lines[b], lines[a]
            content = bytearray(b"\n".join(lines))
    return bytes(content)

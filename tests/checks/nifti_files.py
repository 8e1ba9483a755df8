"""NIfTI files with any field at all, for tests of rules: nibabel lays the header out, and then fields are overwritten."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.helpers import AFFINES

Make = Callable[[Path], Path]

AFFINE = AFFINES["left-handed"].numpy()
MM_S = 10


def nifti_bytes(
    *,
    version: int = 1,
    order: str = "<",
    shape: tuple[int, ...] = (5, 4, 3),
    dtype: str = "int16",
    affine: Any = AFFINE,
    extender: bytes = bytes(4),
    data: bytes | None = None,
    behind: bytes = b"",
    **fields: Any,
) -> bytes:
    """Return a file with both forms of an oblique, left-handed affine, units mm and s, and some fields overwritten.

    Parameters
    ----------
    extender : bytes
        All that lies between header and voxels.
    fields
        By nibabel's names; a mapping changes single numbers of a field.
    """
    kind = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}[version]
    header = kind(endianness=order)
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_qform(affine, 1)
    header.set_sform(affine, 1)
    raw = header.structarr
    raw["xyzt_units"], raw["scl_slope"], raw["scl_inter"] = MM_S, 1, 0
    raw["vox_offset"] = raw.dtype.itemsize + len(extender)
    if version == 1:
        raw["magic"] = b"n+1"
    for name, value in fields.items():
        if isinstance(value, Mapping):
            for place, number in value.items():
                raw[name][place] = number
        else:
            raw[name] = value
    if data is None:
        count = int(np.prod(shape))
        base = np.dtype(dtype)
        numbers = np.arange(count * base.itemsize, dtype="u1") if base.names else np.arange(count).astype(base)
        data = numbers.astype(base.newbyteorder(order)).tobytes() if not base.names else numbers.tobytes()
    return raw.tobytes() + extender + data + behind


def nifti(name: str = "scan.nii", *, beside: Mapping[str, str] | None = None, **wanted: Any) -> Make:
    """Return what writes such a file below a folder, with text files beside it (suffix -> content)."""

    def make(folder: Path) -> Path:
        path = folder / name
        content = nifti_bytes(**wanted)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        for suffix, text in (beside or {}).items():
            (folder / (name.removesuffix(".gz").removesuffix(".nii") + suffix)).write_text(text)
        return path

    return make


def extension(content: bytes, *, order: str = "<", code: int = 6, fill: bool = True) -> bytes:
    """Return extender and one extension, filled up to a multiple of 16 bytes or not."""
    size = 8 + len(content)
    size += -size % 16 if fill else 0
    kind = {"<": "little", ">": "big"}[order]
    return b"\1\0\0\0" + size.to_bytes(4, kind) + code.to_bytes(4, kind) + content.ljust(size - 8, b"\0")

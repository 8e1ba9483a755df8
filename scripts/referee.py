"""Say what independent readers see in an image, in the terms of the manifest of real files.

Everything here is computed with nibabel, SimpleITK and NumPy, never with medimg. Arrays are ``(I, J, K, C)``:
space first, then all other axes as one, so that the bytes of the canonical hash are those of the manifest's
definition.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TOLERANCE_MM = 1e-3
_CHUNK = 1 << 21
_EXACT = 1 << 40  # integers below this survive "times 1000, round, divide by 1000" unchanged


@dataclass(frozen=True, slots=True)
class Facts:
    """Hold what a reader says of an image.

    Attributes
    ----------
    array : ndarray (I, J, K, C)
        Voxels in the reader's own order.
    affine : ndarray (4, 4)
        Voxel to RAS+ mm of that order.
    """

    array: np.ndarray
    affine: np.ndarray


def closest(affine: np.ndarray) -> np.ndarray:
    """Return nibabel's orientation (3, 2) of `affine`; lost axes take the directions left over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = io_orientation(affine)
    left = [axis for axis in range(3) if axis not in found[:, 0]]
    for row in found:
        if np.isnan(row[0]):
            row[:] = left.pop(0), 1
    return found


def canonical(facts: Facts) -> Facts:
    """Flip and permute the first three axes to the closest RAS; the affine follows.

    Parameters
    ----------
    facts : Facts
        Voxels (I, J, K, C) and their affine.
    """
    turn = closest(facts.affine)
    array = apply_orientation(facts.array, turn)
    return Facts(array, facts.affine @ inv_ornt_aff(turn, facts.array.shape[:3]))


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the numbers of an array in Fortran order, some at a time; for complex voxels all real parts first."""
    parts = (array.real, array.imag) if np.iscomplexobj(array) else (array,)
    for part in parts:
        flat = part.ravel(order="F")
        for start in range(0, flat.size, _CHUNK):
            yield flat[start : start + _CHUNK]


def voxel_hash(array: np.ndarray) -> str:
    """Return the manifest's voxel hash of an array that is already in canonical order.

    float64, rounded with ``numpy.round(x, 3)``, no negative zero, every NaN the default one, little-endian,
    Fortran order, SHA-256.
    """
    digest = hashlib.sha256()
    whole = array.dtype.kind in "bui"
    if whole and array.size:
        whole = int(array.min()) > -_EXACT and int(array.max()) < _EXACT
    for block in _blocks(array):
        values = block.astype("<f8")
        if not whole:
            values = np.round(values, 3) + 0.0
            if array.dtype.kind not in "bui":
                values[np.isnan(values)] = np.nan
        digest.update(values)
    return digest.hexdigest()


def canonical_hash(facts: Facts) -> str:
    """Return the voxel hash of an image in any order."""
    return voxel_hash(canonical(facts).array)


def affine_gap(one: Facts, other_affine: np.ndarray) -> float:
    """Return the largest difference of two affines of one image, both in closest-canonical order."""
    other = other_affine @ inv_ornt_aff(closest(other_affine), one.array.shape[:3])
    return float(np.max(np.abs(canonical(one).affine - other)))


def plain(array: np.ndarray) -> np.ndarray:
    """Turn an (I, J, K, ...) array, structured colours included, into (I, J, K, C), components slowest."""
    if array.dtype.names:
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
    array = array.reshape(array.shape + (1,) * (3 - array.ndim))
    return array.reshape(*array.shape[:3], -1, order="F")


def nibabel_facts(path: Path, *, scaled: bool = True) -> Facts:
    """Read an image with nibabel: values, or the stored numbers when `scaled` is False."""
    import nibabel

    image = nibabel.load(path)
    proxy = image.dataobj
    array = np.asanyarray(proxy) if scaled else np.asanyarray(proxy.get_unscaled())
    return Facts(plain(array), np.asarray(image.affine, float))


def sitk_facts(path: Path) -> Facts:
    """Read an image with SimpleITK; its geometry is turned from LPS into RAS."""
    import SimpleITK as sitk

    return from_sitk(sitk.ReadImage(str(path)))


def from_sitk(image: object) -> Facts:
    """Turn a SimpleITK image of 2 to 4 dimensions into (I, J, K, C) and an affine in RAS."""
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    size = image.GetDimension()  # type: ignore[attr-defined]
    components = image.GetNumberOfComponentsPerPixel()  # type: ignore[attr-defined]
    parts = np.moveaxis(array, -1, 0) if components > 1 else array[None]  # each (..., k, j, i)
    space = np.stack([part.T for part in parts], axis=-1)
    space = space.reshape(space.shape[:size] + (1,) * (3 - size) + space.shape[size:])
    affine = np.eye(4)
    across = min(size, 3)
    direction = np.asarray(image.GetDirection(), float).reshape(size, size)  # type: ignore[attr-defined]
    spacing = np.asarray(image.GetSpacing(), float)  # type: ignore[attr-defined]
    affine[:across, :across] = direction[:across, :across] * spacing[:across]
    affine[:across, 3] = image.GetOrigin()[:across]  # type: ignore[attr-defined]
    return Facts(plain(space), LPS @ affine)


def same_values(one: np.ndarray, other: np.ndarray, *, relative: float = 0.0) -> str | None:
    """Compare two arrays voxel by voxel, NaN equal to NaN.

    Parameters
    ----------
    relative : float
        Allowed difference as a fraction of the largest finite magnitude; 0 asks for equal values.

    Returns
    -------
    str or None
        The first difference in words, or None.
    """
    if one.shape != other.shape:
        return f"shape {one.shape}, not {other.shape}"
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    if relative > 0.0:
        finite = np.abs(other[np.isfinite(other)])
        scale = float(finite.max()) if finite.size else 0.0
        with np.errstate(all="ignore"):
            near = np.abs(one - other) <= relative * scale
        same |= near
    if bool(np.all(same)):
        return None
    where = tuple(int(i) for i in np.argwhere(~same)[0])
    return f"{int(np.sum(~same))} voxels differ, first at {where}: {one[where]!r}, not {other[where]!r}"

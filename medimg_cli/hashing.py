r"""The hash of an image: one number for voxel values, shape and geometry, whatever file they come in.

dtype, byte order, scaling, container, compression and all other header text do not enter: a ``uint8`` NIfTI and its
``float32`` NRRD with the same values have one hash. This is the definition, version 1; others can compute it.

1. *Values* are what the file means: ``stored * slope + inter``, computed in float32 where the stored type has at most
   16 bits, else in float64. Each becomes a little-endian float64; -0.0 becomes 0.0, every NaN the quiet NaN with the
   bytes ``00 00 00 00 00 00 f8 7f``. A complex value is two float64, real and imaginary part. i runs fastest, then j,
   then k, then the channels: time steps, vector and colour components, in the order C of medimg.
2. The *voxel hash* is the SHA-256 of the line ``medimg1 voxels C I J K real\n`` (or ``complex``) and the values. Where
   float64 does not hold all of them (integers beyond 2**53, float128), the SHA-256 (32 bytes) of what is missing
   follows: for each such float64, in order, its index (little-endian uint64) and value minus float64 (little-endian
   float64). So no two different images share a hash.
3. The *geometry* is 13 integers: a scale, and the world positions (RAS+ mm) of four points, each number x as
   ``floor(x * scale + 0.4142)``. The points are the centre of voxel (0, 0, 0) and the places n - 1 steps from it along
   i, j and k (one step where n is 1). The scale is 20 a mm; where 3.7 times the smallest voxel size is less than
   1 mm, it is ten times that for each power of ten that is missing. Sizes below 1e-9 mm do not count.
4. The *hash* is the SHA-256 of the line ``medimg1 image VOXELS GEOMETRY\n``: the voxel hash as 64 hexadecimal digits,
   and the 13 integers, all separated by one space.

The *canonical* hash is the hash of the image turned to the closest RAS+, by permuting and flipping axes. Hashes are
written with what they are in front: ``medimg1:``, ``medimg1-canonical:``, ``medimg1-voxels:`` and
``medimg1-canonical-voxels:``.

Why 0.4142: real coordinates are multiples of 1/2, 1/8, 0.1 and their like, and those lie on the ties of rounding, where
the float32 of one container against the float64 of another would flip the result. Where 0.4142 puts the borders, no
such number lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from math import floor, log10
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from medimg_cli.dtypes import is_complex
from medimg_cli.errors import UnsupportedError
from medimg_cli.statistics.blocks import value_blocks
from medimg_cli.storage.stored import Layout
from medimg_cli.storage.threads import in_order

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.grid import Grid

__all__ = ["NAME", "ImageHash", "canonical_backend", "geometry_numbers", "hash_backend", "hash_image", "hashes_of"]

NAME = "medimg1"
"""What a hash begins with: who defined it, and the version of the definition."""

#: Numbers a mm that tell places apart, and where between two of them the border lies.
_SCALE, _BORDER = 20, 0.4142
#: Voxel sizes in mm below this are none.
_NOTHING = 1e-9
#: Values that are converted at a time: they stay in the cache of a core.
_PIECE = 1 << 16

Array = np.ndarray[Any, Any]


class ImageHash(NamedTuple):
    """The parts that the hash of an image is made of.

    Parameters
    ----------
    voxels : str
        SHA-256 of shape and values, 64 hexadecimal digits.
    geometry : tuple of 13 int
        The scale and the places of four points; see `geometry_numbers`.
    canonical : bool
        Whether they are those of the image turned to RAS+.
    """

    voxels: str
    geometry: tuple[int, ...]
    canonical: bool = False

    @property
    def image(self) -> str:
        """The hash of values, shape and geometry, with its name in front."""
        return f"{self._name}:{_sha256(NAME, 'image', self.voxels, *self.geometry).hexdigest()}"

    @property
    def values(self) -> str:
        """The hash of values and shape, with its name in front."""
        return f"{self._name}-voxels:{self.voxels}"

    @property
    def _name(self) -> str:
        return f"{NAME}-canonical" if self.canonical else NAME


def hash_image(source: Any, *, canonical: bool = False, geometry: bool = True) -> str:
    """Return the hash of an image: of its values, shape and geometry, whatever file they come in.

    Parameters
    ----------
    source : Image, or anything that `Image` takes
        A path, a URL, a folder of DICOM files, an array, an image of nibabel or SimpleITK ...
    canonical : bool
        Of the image turned to the closest RAS+, so that it does not matter in which order axes are stored.
    geometry : bool
        Whether it matters where the voxels lie; else shape and values only.

    Returns
    -------
    str
        ``medimg1:`` and 64 hexadecimal digits; ``-canonical`` and ``-voxels`` stand before the colon where asked for.

    Raises
    ------
    UnsupportedError
        If a value of 128 bits lies beyond what two float64 hold.
    MedImgError
        If the image cannot be read, or bytes are missing.

    Examples
    --------
    >>> whole, real = np.arange(24, dtype="uint8").reshape(1, 2, 3, 4), np.arange(24.0).reshape(1, 2, 3, 4)
    >>> hash_image(whole)
    'medimg1:...'
    >>> hash_image(whole) == hash_image(real), hash_image(whole) == hash_image(real[..., ::-1].copy())
    (True, False)
    """
    from medimg_cli.image import Image
    from medimg_cli.sources.readers import settled

    image = source if isinstance(source, Image) else Image(source)
    backend = settled(image._backend)  # not dataobj: changes in memory count
    return hash_backend(backend, canonical=canonical, geometry=geometry)


def hash_backend(backend: Backend, *, canonical: bool = False, geometry: bool = True) -> str:
    """Return the hash of an image that is still in its file; see `hash_image`."""
    found = hashes_of(backend, canonical=canonical)
    return found.image if geometry else found.values


def hashes_of(backend: Backend, *, canonical: bool = False) -> ImageHash:
    """Return the parts of the hash of an image, in one pass over its voxels and in constant memory.

    Length and checksum of the file are verified.

    Parameters
    ----------
    backend : Backend
    canonical : bool
        Turn the image to the closest RAS+ first.

    Raises
    ------
    UnsupportedError
        If a value of 128 bits lies beyond what two float64 hold.
    MedImgError
        If voxels cannot be read.
    """
    if canonical:
        backend = canonical_backend(backend)
    header = backend.header
    digest = _Digest(header.shape, is_complex(header.value_dtype))
    layout = Layout.packed(header.shape, header.value_dtype)
    for _ in in_order((partial(digest.add, block) for block in value_blocks(backend, layout)), 1):
        pass  # one thread hashes while the next block is read
    return ImageHash(digest.hexdigest(), geometry_numbers(header.grid), canonical)


def canonical_backend(backend: Backend) -> Backend:
    """Return an image turned to the closest RAS+: axes permuted and flipped, no value changed."""
    from medimg_cli.operations import apply
    from medimg_cli.operations.reorient import Reorient

    return backend if "".join(backend.header.orientation) == "RAS" else apply(Reorient("RAS"), backend)


def geometry_numbers(grid: Grid) -> tuple[int, ...]:
    """Return a scale, numbers a mm, and by it rounded the world positions of four points of a grid.

    Returns
    -------
    tuple of 13 int
        Scale; x, y, z of the centre of voxel (0, 0, 0); and those n - 1 steps from it along i, along j, along k.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.grid import Grid
    >>> geometry_numbers(Grid((3, 4, 1), AffineMatrix.from_spacing((2, 2, 5), origin=(-90, 0, 0.25))))
    (20, -1800, 0, 5, -1720, 0, 5, -1800, 120, 5, -1800, 0, 105)
    """
    smallest = min((size for size in grid.spacing if size >= _NOTHING), default=1.0)
    scale = _SCALE * 10 ** max(0, -floor(log10(3.7 * smallest)))
    i, j, k = (max(size - 1, 1) for size in grid.shape)
    points = ((0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k))
    return scale, *(floor(x * scale + _BORDER) for point in points for x in grid.affine.apply(point))


def _sha256(*words: object) -> Any:
    """Return the SHA-256 of a line of words, to go on from."""
    return hashlib.sha256(f"{' '.join(map(str, words))}\n".encode())


class _Digest:
    """The voxel hash under construction.

    Parameters
    ----------
    shape : (C, I, J, K)
    is_complex : bool
    """

    def __init__(self, shape: Sequence[int], is_complex: bool) -> None:
        self._values = _sha256(NAME, "voxels", *shape, "complex" if is_complex else "real")
        self._missing: Any = None
        self._count = 0

    def add(self, values: Array) -> None:
        """Take in the values that come next, of any type."""
        if values.dtype.kind == "b":
            values = values.view("u1") != 0
        elif values.dtype.kind == "c":
            values = values.view(f"f{values.itemsize // 2}")
        with np.errstate(all="ignore"):
            for start in range(0, len(values), _PIECE):
                self._add(values[start : start + _PIECE])

    def _add(self, values: Array) -> None:
        numbers = values.astype("<f8")
        if values.dtype.kind == "f":
            numbers += 0.0  # -0.0 becomes 0.0
            nans = numbers != numbers
            if nans.any():
                numbers[nans] = np.nan
        if values.itemsize >= 8 and values.dtype != np.float64:
            self._note(_missing(values, numbers))
        self._values.update(numbers.data)
        self._count += len(numbers)

    def _note(self, missing: Array) -> None:
        """Keep what float64 does not hold."""
        places = np.flatnonzero(missing)
        if not len(places):
            return
        rows = np.empty(len(places), [("index", "<u8"), ("missing", "<f8")])
        rows["index"], rows["missing"] = places + self._count, missing[places]
        if self._missing is None:
            self._missing = hashlib.sha256()
        self._missing.update(rows.tobytes())

    def hexdigest(self) -> str:
        """Return the hash of all values that came, 64 hexadecimal digits."""
        if self._missing is None:
            return self._values.hexdigest()
        values = self._values.copy()
        values.update(self._missing.digest())
        return values.hexdigest()


def _missing(values: Array, numbers: Array) -> Array:
    """Return values minus the float64 that they became, exactly.

    Raises
    ------
    UnsupportedError
        If float64 does not hold that either.
    """
    if values.dtype.kind in "iu":
        high = (values >> values.dtype.type(32)).astype("f8") * 2.0**32  # as all that follows: no bit is rounded away
        rest: Array = (high - numbers) + (values & values.dtype.type(0xFFFFFFFF)).astype("f8")
        return rest
    missing = np.where(np.isfinite(values), values - numbers, 0)
    rest = missing.astype("f8")
    if (rest != missing).any() or not np.isfinite(rest).all():
        hint = "convert it first: medimg convert --dtype float64 --round"
        raise UnsupportedError("a value of 128 bits lies beyond what two float64 hold", hint=hint)
    return rest

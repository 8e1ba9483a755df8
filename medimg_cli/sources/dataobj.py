"""The lazy voxels of an image as users see them, and a slice as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import BLOCK, Backend, numpy_dtype
from medimg_cli.errors import StateError
from medimg_cli.grid import to_ranges
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.affine import AffineMatrix
    from medimg_cli.backends import Buffer
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Layout, Region

__all__ = ["DataObject", "picture"]


class DataObject:
    """A backend that can be indexed: the part that is asked for is read, and nothing else.

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def header(self) -> Header:
        """The header of the image."""
        return self.backend.header

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, I, J, K)."""
        return self.header.shape

    @property
    def affine(self) -> AffineMatrix:
        """Voxel -> RAS+ mm."""
        return self.header.affine

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the values."""
        return numpy_dtype(self.header.value_dtype)

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        """Read a region; see :mod:`medimg_cli.backends`."""
        return self.backend.read(region, raw=raw)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        """Stream the voxels; see :mod:`medimg_cli.backends`."""
        yield from self.backend.blocks(layout, raw=raw, max_bytes=max_bytes)

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        """Return the values of a part as a new array with four axes: an int keeps its axis with size 1."""
        c, i, j, k = to_ranges(index, self.shape)
        return self.backend.read((c, i, j, k))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("lazy voxels are no array yet: a copy is always made")
        array = self.backend.read(whole(self.shape))
        return array if dtype is None else array.astype(dtype, copy=False)

    def to_tensor(self) -> Any:
        """Read all values into a new torch tensor.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        from medimg_cli.sources.arrays import import_torch

        return import_torch().from_numpy(self.backend.read(whole(self.shape)))

    def __repr__(self) -> str:
        return f"{type(self.backend).__name__}(shape={self.shape}, dtype={self.header.dtype})"


def picture(array: np.ndarray[Any, Any], transpose: bool) -> Any:
    """Return a slice as a Pillow image.

    Parameters
    ----------
    array : (C, I, J, 1) array
        1 channel is shown in grey, 3 and 4 are colours; values are limited to 0 ... 255.
    transpose : bool
        Whether i runs to the right and j down; else the other way round.

    Raises
    ------
    StateError
        If there are other numbers of channels.
    """
    import numpy as np
    from PIL import Image as Pillow

    if len(array) not in (1, 3, 4):
        raise StateError(f"a picture has 1, 3 or 4 channels, this image has {len(array)}")
    colours = np.repeat(array, 3, axis=0) if len(array) == 1 else array
    limited = np.nan_to_num(colours[..., 0].astype(np.float64)).clip(0, 255).astype(np.uint8)
    order = (2, 1, 0) if transpose else (1, 2, 0)
    return Pillow.fromarray(np.ascontiguousarray(limited.transpose(order)))

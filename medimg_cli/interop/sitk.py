"""SimpleITK images to and from backends."""

from __future__ import annotations

from typing import Any

from medimg_cli.backends import Backend
from medimg_cli.dtypes import ITEMSIZE, is_complex
from medimg_cli.errors import CastError, UnsupportedError
from medimg_cli.formats.foreign import refuse_shear
from medimg_cli.header import Header
from medimg_cli.interop.pixels import is_picture, itk_backend, pixels
from medimg_cli.storage.stored import whole

__all__ = ["from_sitk", "to_sitk"]


def from_sitk(image: Any) -> Backend:
    """Return a copy of a SimpleITK image as a backend: (C, I, J, K), RAS+.

    Parameters
    ----------
    image : SimpleITK.Image
        2-D to 4-D. Components become colours (3 or 4 of 8 or 16 bits) or a vector; a fourth axis time where its
        spacing is neither 0 nor 1, else channels.

    Raises
    ------
    UnsupportedError
        If it has other dimensions, or is a label map of ITK's run-length kind.
    """
    import SimpleITK as sitk

    rank = image.GetDimension()
    if rank not in (2, 3, 4):
        raise UnsupportedError(f"a SimpleITK image with {rank} axes is not supported")
    if "label" in image.GetPixelIDTypeAsString():
        raise UnsupportedError("a label map of ITK is not supported", hint="use SimpleITK.LabelMapToLabel first")
    flat = image.GetDirection()
    return itk_backend(
        sitk.GetArrayFromImage(image),
        spacing=image.GetSpacing(),
        origin=image.GetOrigin(),
        direction=[flat[row * rank : (row + 1) * rank] for row in range(rank)],
        metadata={key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if not key.startswith("ITK_orig")},
        source="sitk",
    )


def to_sitk(backend: Backend) -> Any:
    """Return a backend as a SimpleITK image, LPS+; its values are read, scaled.

    Time becomes the fourth axis, other channels the components of a pixel. A picture (one slice that lies in the plane
    of the world's first two axes) becomes a 2-D image.

    Raises
    ------
    GeometryError
        If the axes are sheared or singular, with the angle.
    CastError
        If SimpleITK has no such type.
    """
    import numpy as np
    import SimpleITK as sitk

    header = backend.header
    refuse_shear(header.affine, "SimpleITK")
    values = backend.read(whole(header.shape))
    if values.dtype.name not in ITEMSIZE or ITEMSIZE[values.dtype.name] > (16 if is_complex(values.dtype.name) else 8):
        raise CastError(f"SimpleITK has no {values.dtype.name} voxels", hint="cast to float64 first")
    values = values.astype({"bool": "uint8", "float16": "float32"}.get(values.dtype.name, values.dtype), copy=False)
    cells = pixels(values, header)
    steps, components = cells.shape[0], cells.shape[-1]
    if components > 1 and is_complex(values.dtype.name):
        raise UnsupportedError("SimpleITK has no vectors of complex numbers")
    cells = cells if steps > 1 else cells[0]
    cells = cells[0] if is_picture(header) and steps == 1 else cells
    image = sitk.GetImageFromArray(np.ascontiguousarray(cells if components > 1 else cells[..., 0]), components > 1)
    _place(image, header)
    for key, value in header.metadata.items():
        if isinstance(value, (str, int, float)):
            image.SetMetaData(str(key), str(value))
    return image


def _place(image: Any, header: Header) -> None:
    """Set spacing, origin and direction of an ITK image."""
    rank, lps = image.GetDimension(), header.affine.to_lps()
    count = min(rank, 3)
    direction = [float(row == column) for row in range(rank) for column in range(rank)]
    for row in range(count):
        direction[row * rank : row * rank + count] = lps.direction[row][:count]
    image.SetSpacing((*lps.spacing[:count], header.time_spacing or 1.0)[:rank])
    image.SetOrigin((*lps.origin[:count], 0.0)[:rank])
    image.SetDirection(direction)

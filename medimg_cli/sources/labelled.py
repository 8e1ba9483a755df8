"""Arrays that carry their geometry as sources: itk images, arrays of xarray, tensors of MONAI, images of TorchIO.

What has ``origin``, ``spacing`` and ``direction`` beside its array is taken as ITK would: LPS+ mm, ``origin`` and
``spacing`` along i, j, k, the array in the order (K, J, I), unless it has ``dims`` that name its axes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import Backend, with_header
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.sources.arrays import array_backend, check_4d, data_backend, from_dims, plain_array

__all__ = ["from_labelled", "from_monai", "from_torchio", "is_labelled"]

_PARTS = ("origin", "spacing", "direction")
_GETTERS = ("GetOrigin", "GetSpacing", "GetDirection")
#: Keys of MONAI that say what an image has no key-values for.
_MONAI = (
    *("affine", "as_closest_canonical", "filename_or_obj", "original_affine", "original_channel_dim"),
    *("space", "spatial_shape"),
)


def is_labelled(source: Any) -> bool:
    """Tell whether an object is an array with origin, spacing and direction, as attributes or as ITK has them.

    A SimpleITK image, which has the methods, is no array.
    """
    if all(hasattr(source, name) for name in _GETTERS):
        return _library(source) == "itk" or (hasattr(source, "__array__") and _library(source) != "SimpleITK")
    return all(hasattr(source, name) for name in _PARTS) and (hasattr(source, "__array__") or hasattr(source, "data"))


def from_labelled(source: Any) -> Backend:
    """Return an array that has origin, spacing and direction as a backend; in the same memory where that can be.

    Parameters
    ----------
    source : object
        With ``origin``, ``spacing`` and ``direction`` (matrix, or its numbers row by row), or ``GetOrigin`` and so on
        as ``itk.Image``; LPS+. Its array, ``__array__`` or ``data``, is (K, J, I) or (K, J, I, component), with two or
        four axes likewise, or what ``dims`` says: names of its axes, x, y, z or i, j, k, and c or t. Where it has an
        ``affine`` as well, this is the same in LPS+, or in RAS+.

    Raises
    ------
    GeometryError
        If its parts have other sizes than its array, or contradict its affine.
    """
    from medimg_cli.interop.pixels import itk_affine, itk_backend

    itk = all(hasattr(source, name) for name in _GETTERS)
    spacing, origin, direction = _itk_parts(source) if itk else _parts(source)
    array = plain_array(_array(source))
    dims = None if itk else getattr(source, "dims", None)
    metadata = _key_values(source, itk)
    if dims is not None:
        backend: Backend = _by_dims(array, dims, itk_affine(spacing, origin, direction), metadata)
    else:
        backend = itk_backend(
            array, spacing=spacing, origin=origin, direction=direction, metadata=metadata, source=_library(source)
        )
    _agree(source, backend.header.affine)
    return backend


def _library(source: Any) -> str:
    return type(source).__module__.partition(".")[0]


def _array(source: Any) -> Any:
    """Return what holds the voxels; an ``itk.VectorImage`` is no array, but itk makes one of it."""
    if _library(source) != "itk":
        return source if hasattr(source, "__array__") else source.data
    try:
        return sys.modules["itk"].array_from_image(source)
    except Exception:  # of its own kinds, on hundreds of lines
        name = type(source).__name__
        raise UnsupportedError(f"itk makes no array of {name}", hint="cast it in itk first") from None


def _itk_parts(image: Any) -> tuple[list[float], list[float], Any]:
    """Return what an image of itk says of its geometry; its direction is an ``itk.Matrix``."""
    direction = image.GetDirection()
    matrix = direction.GetVnlMatrix() if hasattr(direction, "GetVnlMatrix") else direction
    rank = int(image.GetImageDimension())
    rows = [[float(matrix.get(row, column)) for column in range(rank)] for row in range(rank)]
    return [float(x) for x in image.GetSpacing()], [float(x) for x in image.GetOrigin()], rows


def _parts(source: Any) -> tuple[list[float], list[float], Any]:
    """Return spacing, origin and direction from attributes."""
    spacing, origin = (_numbers(source, name, ()) for name in ("spacing", "origin"))
    rank = len(spacing)
    direction = _numbers(source, "direction", (rank, rank))
    if len(origin) != rank:
        raise GeometryError(f"spacing has {rank} values, origin {len(origin)}")
    return spacing, origin, direction


def _numbers(source: Any, name: str, shape: tuple[int, ...]) -> Any:
    """Return an attribute as plain numbers: a list, or nested lists of a shape."""
    import numpy as np

    try:
        found = np.asarray(getattr(source, name), np.float64)
        return (found.reshape(shape) if shape else found.ravel()).tolist()
    except (TypeError, ValueError):
        wanted = " x ".join(map(str, shape)) or "a list of"
        raise GeometryError(f"{name} is {str(getattr(source, name))[:60]!r}, expected {wanted} numbers") from None


def _by_dims(array: Any, dims: Any, affine: AffineMatrix, metadata: dict[str, Any]) -> Backend:
    """Return an array whose axes have names."""
    letters = "".join(str(dim)[:1].lower() if len(str(dim)) == 1 else "?" for dim in dims)
    found, axes = from_dims(array, letters.translate(str.maketrans("xyz", "ijk")))
    backend = array_backend(found)
    return with_header(backend, backend.header.replace(axes=axes, affine=affine, metadata=metadata))


def _key_values(source: Any, itk: bool) -> dict[str, Any]:
    """Return the key-values of an object that has some."""
    pairs = _dictionary(source) if itk else None
    pairs = getattr(source, "metadata", None) if pairs is None else pairs
    return {} if not isinstance(pairs, Mapping) else _scalars(pairs, _PARTS)


def _dictionary(image: Any) -> dict[str, Any]:
    """Return the key-values of an image of itk but those that its reader made."""
    keys = image.keys() if hasattr(image, "keys") else ()
    return {key: image[key] for key in keys if not key.startswith("ITK_")}


def _scalars(pairs: Mapping[Any, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """Return the text and numbers of a mapping."""
    return {
        str(key): value
        for key, value in pairs.items()
        if isinstance(value, str | bool | int | float) and str(key) not in without
    }


def _agree(source: Any, affine: AffineMatrix) -> None:
    """Refuse an object whose affine is not what its parts say."""
    said = getattr(source, "affine", None)
    if said is None:
        return
    theirs = AffineMatrix(said)
    if not any(each.allclose(affine, 1e-3) for each in (theirs, theirs.to_lps())):
        raise GeometryError(
            "its affine is not what its origin, spacing and direction say",
            hint="give the right one as Image.from_array(array, dims=..., affine=...)",
        )


def from_torchio(image: Any) -> Backend:
    """Return an image of TorchIO as a backend: (C, I, J, K), RAS+ as here; its voxels are loaded."""
    backend = data_backend(image.data, None)
    intent = "label" if any(kind.__name__ == "LabelMap" for kind in type(image).__mro__) else None
    return with_header(backend, backend.header.replace(affine=AffineMatrix(image.affine), intent=intent))


def from_monai(tensor: Any) -> Backend:
    """Return a ``monai.data.MetaTensor`` as a backend; in the same memory where that can be.

    Parameters
    ----------
    tensor : MetaTensor
        (C, I, J, K), as all of MONAI expects it. (I, J, K) as ``LoadImage`` returns it, and a picture (C, I, J) whose
        affine is 3 x 3, are known as such. The affine is RAS+, or LPS+ where ``meta["space"]`` says so.

    Raises
    ------
    GeometryError
        If channels are not first, it is a batch, or transforms are pending.
    UnsupportedError
        If it is in another space.
    """
    if getattr(tensor, "pending_operations", None):
        raise GeometryError("a MetaTensor has pending transforms", hint="apply them first: monai.transforms.lazy")
    affine = _monai_affine(tensor.affine)
    space = str(getattr(tensor.meta.get("space"), "value", tensor.meta.get("space") or "RAS"))
    if space not in ("RAS", "LPS"):
        raise UnsupportedError(f"a MetaTensor in space {space[:20]!r} is not supported", hint="RAS and LPS are")
    backend = data_backend(_channel_first(tensor), None)
    header = backend.header.replace(
        affine=AffineMatrix.from_lps(affine) if space == "LPS" else affine,
        affine_source="monai",
        metadata=_scalars(tensor.meta, _MONAI),
    )
    return with_header(backend, header)


def _monai_affine(affine: Any) -> AffineMatrix:
    """Return the affine of a tensor of 2 or 3 spatial axes."""
    shape = tuple(affine.shape)
    if shape not in ((3, 3), (4, 4)):
        raise GeometryError(f"a MetaTensor has an affine of shape {shape}, expected (4, 4)", hint="decollate the batch")
    rows = affine.tolist()
    if len(rows) == 3:
        rows = [[*rows[0][:2], 0.0, rows[0][2]], [*rows[1][:2], 0.0, rows[1][2]], [0.0, 0.0, 1.0, 0.0]]
    return AffineMatrix(rows)


def _channel_first(tensor: Any) -> Any:
    """Return the values of a tensor as a plain one, (C, I, J, K)."""
    shape, loaded = tuple(tensor.shape), tuple(int(size) for size in tensor.meta.get("spatial_shape", ()))
    channel = tensor.meta.get("original_channel_dim")
    plain = tensor.as_tensor()
    if len(shape) == 3 and tensor.affine.shape[-1] == 3:
        return plain[..., None]
    if len(shape) == 3 and shape == loaded:
        return plain[None]
    if len(shape) == 4 and channel in (-1, 3) and shape[:3] == loaded != shape[1:]:
        raise GeometryError(
            f"a MetaTensor of shape {shape} has its channels last", hint="load it with ensure_channel_first=True"
        )
    check_4d(plain)
    return plain

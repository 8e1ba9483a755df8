"""Arrays and tensors as sources: what they hold, in which order their axes are, and where their memory is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, ArrayBackend, Backend, blocks_by_region, check_region, scale
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import GeometryError, MissingExtraError, UnsupportedError
from medimg_cli.header import Header

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Buffer
    from medimg_cli.storage.stored import Layout, Region

    Array = np.ndarray[Any, Any]

__all__ = [
    "TensorBackend",
    "array_backend",
    "check_4d",
    "data_backend",
    "from_dims",
    "import_torch",
    "is_tensor",
    "plain_array",
    "same_tensor",
]


def is_tensor(source: Any) -> bool:
    """Tell whether an object is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(source, torch.Tensor)


def plain_array(array: Any) -> Array:
    """Return an array or tensor as a numpy array in native byte order, in the same memory where that can be.

    Raises
    ------
    UnsupportedError
        If its elements are no numbers.
    """
    import numpy as np

    if is_tensor(array):
        array = array.detach()
        if str(array.dtype) == "torch.bfloat16":  # numpy has none; float32 holds every value
            array = array.float()
        array = array.resolve_conj().resolve_neg().cpu().numpy()
    found = np.asarray(array)
    if found.dtype.name not in ITEMSIZE:
        raise UnsupportedError(f"an array of {found.dtype} holds no voxels", hint="cast it to a type of numbers")
    return found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))


def check_4d(array: Any) -> None:
    """Refuse an array that is not (C, I, J, K).

    Raises
    ------
    GeometryError
        If it has not four axes; names `Image.from_array`.
    """
    if array.ndim != 4:
        shape = tuple(array.shape)
        raise GeometryError(
            f"an array of shape {shape} is {array.ndim}-D, expected 4D (C, I, J, K)",
            hint="say what its axes are: Image.from_array(array, dims=...)",
        )


def array_backend(array: Any, *, channels_last: bool = False, header: Header | None = None) -> ArrayBackend:
    """Return the backend of an array in memory, not copied where it can be helped.

    Parameters
    ----------
    array : array or CPU tensor, (C, I, J, K)
    channels_last : bool
        Whether it is (I, J, K, C).
    header : Header, optional
        Whose facts hold; its shape and dtype become the array's, its scaling goes.

    Raises
    ------
    GeometryError
        If it is not 4-D, or an axis has no voxels.
    UnsupportedError
        If its elements are no numbers.
    """
    import numpy as np

    found = plain_array(array)
    check_4d(found)
    if channels_last:
        found = np.moveaxis(found, -1, 0)
    c, i, j, k = found.shape
    if header is None:
        return ArrayBackend(found, Header(shape=(c, i, j, k), dtype=found.dtype.name, affine=AffineMatrix()))
    return ArrayBackend(found, _refitted(header, (c, i, j, k), found.dtype.name))


def _refitted(header: Header, shape: tuple[int, int, int, int], dtype: str) -> Header:
    """Return a header for other voxels; what it said of channels goes where it no longer holds."""
    changes: dict[str, Any] = {"shape": shape, "dtype": dtype, "slope": None, "inter": None}
    if shape[0] != header.channels:
        changes |= {"axes": (), "gradients": None, "time_spacing": None}
    if shape[1:] != header.spatial_shape:
        changes |= {"history": (), "ndim": 3}
    return header.replace(**changes)


def data_backend(data: Any, header: Header | None) -> Backend:
    """Return the backend of voxels that somebody hands in for an image that is there.

    Parameters
    ----------
    data : array or tensor, (C, I, J, K)
    header : Header, optional
        Of that image.

    Raises
    ------
    TypeError
        If it is neither an array nor a tensor.
    GeometryError
        If it is not 4-D.
    """
    if not is_tensor(data) and not hasattr(data, "__array__"):
        raise TypeError(f"voxels are an array or a tensor, not {type(data).__name__}")
    if not is_tensor(data) or data.device.type == "cpu":
        return array_backend(data, header=header)
    check_4d(data)
    probe = array_backend(data[:1, :1, :1, :1], header=None).header
    shape = tuple(data.shape)
    if header is None:
        return TensorBackend(data, probe.replace(shape=shape))
    return TensorBackend(data, _refitted(header, shape, probe.dtype))


def same_tensor(source: Any, backend: Backend) -> Any:
    """Return a source if it is a plain tensor whose memory a backend uses as it is, else None."""
    array = getattr(backend, "array", None)
    if array is None or not is_tensor(source) or source.requires_grad or source.device.type != "cpu":
        return None
    if hasattr(source, "affine"):  # a MetaTensor would keep its own while the image moves
        return None
    alike = tuple(source.shape) == array.shape and str(source.dtype) == f"torch.{array.dtype.name}"
    return source if alike and source.data_ptr() == array.ctypes.data else None


def import_torch() -> Any:
    """Import torch.

    Raises
    ------
    MissingExtraError
        If it is not installed; names the extra.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch is not installed", hint="pip install 'medimg-cli[torch]'") from None
    return torch


def from_dims(array: Any, dims: str) -> tuple[Array, tuple[tuple[str, int], ...]]:
    """Bring an array with named axes to (C, I, J, K).

    Parameters
    ----------
    array : array or tensor, 2-D to 4-D
    dims : str
        One letter for each of its axes: i, j, k (one of them may be left out of a picture), and c for
        channels or t for time.

    Returns
    -------
    array, axes
        A view of the same memory, and what `Header.axes` says of its channels.

    Raises
    ------
    GeometryError
        If the letters do not match the array.

    Examples
    --------
    >>> import numpy as np
    >>> from_dims(np.zeros((6, 5, 4)), "kji")[0].shape
    (1, 4, 5, 6)
    >>> found, axes = from_dims(np.zeros((4, 5, 6, 7)), "ijkt")
    >>> found.shape, axes
    ((7, 4, 5, 6), (('time', 7),))
    """
    found, letters = plain_array(array), dims.lower()
    unique = set(letters)
    if len(unique) < len(letters) or not unique <= set("ijkct") or unique >= {"c", "t"} or len(unique & set("ijk")) < 2:
        raise GeometryError(f"dims are {dims!r}, expected i, j, k and c or t once each, such as 'kji' or 'ijkc'")
    if found.ndim != len(letters):
        raise GeometryError(
            f"an array of shape {found.shape} has {found.ndim} axes, dims {dims!r} name {len(letters)}",
            hint="name each axis once, such as dims='ij' or dims='kjic'",
        )
    axes = (("time", found.shape[letters.index("t")]),) if "t" in letters else ()
    for absent in "ijkc":
        if absent not in letters and not (absent == "c" and "t" in letters):
            found, letters = found[..., None], letters + absent
    channel = "t" if "t" in letters else "c"
    return found.transpose([letters.index(letter) for letter in (channel, "i", "j", "k")]), axes


class TensorBackend:
    """An image in a torch tensor on a device other than the CPU.

    Parameters
    ----------
    tensor : torch.Tensor, (C, I, J, K)
    header : Header
        Its dtype is the one that the tensor's values have in numpy.
    """

    def __init__(self, tensor: Any, header: Header) -> None:
        self.tensor, self.header = tensor, header

    def read(self, region: Region, *, raw: bool = False) -> Array:
        check_region(region, self.header.shape)
        part = self.tensor
        for axis, span in enumerate(region):
            low, high = min(span[0], span[-1]), max(span[0], span[-1])
            part = part.narrow(axis, low, high - low + 1)
        steps = tuple(slice(None, None, span.step) for span in region)
        found = plain_array(part)[steps].copy()
        return found if raw else scale(found, self.header)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

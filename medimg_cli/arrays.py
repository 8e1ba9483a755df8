"""Plain arrays in and out, for those who want no image object: `read_array` and `save_array`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from medimg_cli.backends import with_header
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.operations import apply, inverse_of
from medimg_cli.storage.stored import whole

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.header import Difference, Header

__all__ = ["read_array", "save_array"]

#: Operations that only turn axes, which `save_array` takes back.
_TURNS = frozenset({"reorient", "turn", "flip"})


def read_array(
    path: Any,
    orientation: str | None = None,
    dtype: Any = None,
    coordinates: Literal["ras", "lps"] = "ras",
    channels_axis: int | None = 0,
    backend: str | None = None,
) -> tuple[np.ndarray[Any, Any], Header]:
    """Read the values of an image.

    Parameters
    ----------
    path : path-like, bytes or binary file object
    orientation : str, optional
        Where the axes shall run to, such as ``"RAS"``; as stored where left out.
    dtype : str or dtype, optional
        Of the array; refused where a value does not fit.
    coordinates : "ras" or "lps"
        World that the affine of the header maps to. With "lps" it is the matrix that ITK and DICOM know, and
        ``header.affine_source`` says so.
    channels_axis : int, optional
        Where the channels are among the four axes; None for an array (I, J, K) of an image with one channel.
    backend : str, optional
        Name of the format to read the file as (see ``medimg formats``), instead of what its content says.

    Returns
    -------
    array : (C, I, J, K), or as ``channels_axis`` says
    header : Header
        Shape, dtype and scaling as stored, so that `save_array` can go back to them.

    Raises
    ------
    UsageError
        If ``coordinates``, ``channels_axis``, the orientation or the format make no sense.
    GeometryError
        If ``channels_axis`` is None and the image has several channels.
    CastError
        If a value does not fit into ``dtype``.
    """
    from medimg_cli.formats import open_backend

    if coordinates not in ("ras", "lps"):
        raise UsageError(f"coordinates are {coordinates!r}, expected 'ras' or 'lps'")
    image = open_backend(path, format=backend)
    if orientation is not None:
        from medimg_cli.operations.reorient import Reorient

        image = apply(Reorient(orientation), image)
    if dtype is not None:
        from medimg_cli.operations.cast import Cast

        image = apply(Cast(dtype), image)
    header = image.header
    if channels_axis is None and header.channels > 1:
        raise GeometryError(f"the image has {header.channels} channels", hint="say channels_axis=0, or -1")
    array = image.read(whole(header.shape))
    array = array[0] if channels_axis is None else _moved(array, 0, channels_axis)
    if coordinates == "lps":
        header = header.replace(affine=header.affine.to_lps(), affine_source="lps")
    return array, header


def save_array(
    path: str | os.PathLike[str],
    array: Any,
    header: Header,
    restore_orientation: bool = True,
    make_dirs: bool = False,
) -> tuple[Difference, ...]:
    """Write values under a header that `read_array` returned, or one like it.

    They are stored in the type and with the slope of the header where every value fits exactly, else in the
    type of the array.

    Parameters
    ----------
    path : path-like
        Its suffix names the format. A file of that name is replaced.
    array : array or tensor, (C, I, J, K), (I, J, K, C) or (I, J, K)
        Its spatial shape is the header's; the number of channels may differ.
    header : Header
    restore_orientation : bool
        Whether to turn the axes back to how they were stored before `read_array` turned them.
    make_dirs : bool
        Whether to make the folder of the file.

    Returns
    -------
    tuple of Difference
        What the format could not hold.

    Raises
    ------
    GeometryError
        If the array does not fit the header.
    StorageError
        If the file cannot be written.
    """
    from medimg_cli.formats.writing import save_backend
    from medimg_cli.operations.casting import stored_again
    from medimg_cli.sources.arrays import array_backend, plain_array

    if header.affine_source == "lps":
        header = header.replace(affine=header.affine.to_lps(), affine_source="")
    image: Backend = array_backend(_channels_first(plain_array(array), header), header=header)
    image = stored_again(image, header.dtype, header.slope, header.inter)
    if restore_orientation:
        image = _turned_back(image)
    name = os.fsdecode(os.path.expanduser(os.fspath(path)))
    if make_dirs and os.path.dirname(name):
        os.makedirs(os.path.dirname(name), exist_ok=True)
    return save_backend(image, name, force=True)


def _moved(array: np.ndarray[Any, Any], old: int, new: int) -> np.ndarray[Any, Any]:
    import numpy as np

    if not -4 <= new < 4:
        raise UsageError(f"channels_axis is {new}, expected -4 to 3")
    return np.moveaxis(array, old, new)


def _channels_first(array: np.ndarray[Any, Any], header: Header) -> np.ndarray[Any, Any]:
    """Return an array as (C, I, J, K), told by the header's shape; channels first where it fits both ways."""
    if array.ndim == 3 and array.shape == header.spatial_shape:
        return array[None]
    first = array.ndim == 4 and array.shape[1:] == header.spatial_shape
    last = array.ndim == 4 and array.shape[:-1] == header.spatial_shape
    if first and not (last and array.shape[-1] == header.channels != array.shape[0]):
        return array
    if last:
        return _moved(array, -1, 0)
    raise GeometryError(f"an array of shape {array.shape} does not fit a header of shape {header.shape}")


def _turned_back(image: Backend) -> Backend:
    """Return an image without the turns at the end of its history."""
    history = image.header.history
    while history and history[-1].get("name") in _TURNS:
        operation = inverse_of(history[-1])
        assert operation is not None
        image, history = apply(operation, image), history[:-1]
    return with_header(image, image.header.replace(history=history))

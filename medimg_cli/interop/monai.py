"""Backends as tensors of MONAI that know where they lie; `medimg_cli.sources.labelled` takes them back."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from medimg_cli.backends import Backend
from medimg_cli.errors import CastError, MissingExtraError
from medimg_cli.storage.stored import whole

__all__ = ["to_monai"]


def to_monai(backend: Backend, path: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None) -> Any:
    """Return an image as a ``monai.data.MetaTensor``, (C, I, J, K), RAS+; its values are read, scaled.

    What ``monai.transforms.LoadImage(ensure_channel_first=True)`` makes of the same file, but in the dtype of the
    values. ``meta`` holds ``affine``, ``original_affine``, ``spatial_shape``, ``space``, ``original_channel_dim`` (0:
    the channels are first) and the key-values of the image under their own names.

    Parameters
    ----------
    backend : Backend
    path : path-like, or several, optional
        Becomes ``meta["filename_or_obj"]``, after which MONAI names what it saves; the first of several.

    Raises
    ------
    MissingExtraError
        If MONAI is not installed.
    CastError
        If torch has no such type.
    """
    try:
        import torch
        from monai.data import MetaTensor
        from monai.utils import SpaceKeys
    except ImportError:
        raise MissingExtraError("MONAI is not installed", hint="pip install monai") from None

    import numpy as np

    header = backend.header
    values = backend.read(whole(header.shape))
    if values.dtype.name in ("float128", "complex256"):
        raise CastError(f"torch has no {values.dtype.name}", hint="cast to float64 or complex128 first")
    if min(values.strides) < 0:
        values = values.copy()
    affine = header.affine.numpy()
    meta = {
        **{key: value for key, value in header.metadata.items() if key != "affine"},
        "original_affine": affine,
        "spatial_shape": np.array(header.spatial_shape),
        "space": SpaceKeys.RAS,
        "original_channel_dim": 0,
    }
    if path is not None:
        first = path if isinstance(path, str | PathLike) else path[0]
        meta["filename_or_obj"] = str(first)
    return MetaTensor(torch.from_numpy(values), affine=torch.from_numpy(affine.copy()), meta=meta)

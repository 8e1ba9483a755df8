"""Medical images in physical space: read, look at, convert, and never lose a bit of data in silence.

The names below are handed out lazily (PEP 562), so that ``import medimg_cli`` costs nothing: a name imports
its room, and only its room, when somebody first asks for it.

>>> import medimg_cli as mi
>>> mi.AffineMatrix.from_spacing((1, 1, 2.5)).spacing
(1.0, 1.0, 2.5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.annotations import BoundingBoxes, BoundingBoxFormat, Points, Representation
    from medimg_cli.arrays import read_array, save_array
    from medimg_cli.checks.checking import check
    from medimg_cli.compare import compare_images
    from medimg_cli.errors import (
        CastError,
        DamagedError,
        DuplicateSliceError,
        EmptyFileError,
        FormatError,
        GeometryError,
        IrreversibleWarning,
        LossError,
        LossWarning,
        MedImgError,
        MissingExtraError,
        MissingPartError,
        MissingSliceError,
        NotFoundError,
        OutsideError,
        OversizeError,
        SliceError,
        StateError,
        StorageError,
        TruncatedError,
        UnevenSliceError,
        UnknownFormatError,
        UnsupportedError,
        UsageError,
    )
    from medimg_cli.formats import read_header
    from medimg_cli.formats.dicom.catalogue import list_series
    from medimg_cli.grid import Grid
    from medimg_cli.hashing import hash_image
    from medimg_cli.header import Header
    from medimg_cli.image import Image, LabelMap, ScalarImage
    from medimg_cli.labels import Label, LabelTable
    from medimg_cli.sources.registry import register_backend, unregister_backend
    from medimg_cli.spatial import check_spatial

__version__ = "0.1.0"

__all__ = [
    "AffineMatrix",
    "BoundingBoxFormat",
    "BoundingBoxes",
    "CastError",
    "DamagedError",
    "DuplicateSliceError",
    "EmptyFileError",
    "FormatError",
    "GeometryError",
    "Grid",
    "Header",
    "Image",
    "IrreversibleWarning",
    "Label",
    "LabelMap",
    "LabelTable",
    "LossError",
    "LossWarning",
    "MedImgError",
    "MissingExtraError",
    "MissingPartError",
    "MissingSliceError",
    "NotFoundError",
    "OutsideError",
    "OversizeError",
    "Points",
    "Representation",
    "ScalarImage",
    "SliceError",
    "StateError",
    "StorageError",
    "TruncatedError",
    "UnevenSliceError",
    "UnknownFormatError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "check",
    "check_spatial",
    "compare_images",
    "hash_image",
    "list_series",
    "read_array",
    "read_header",
    "register_backend",
    "save_array",
    "unregister_backend",
]

_ROOMS = {
    "affine": ("AffineMatrix",),
    "annotations": ("BoundingBoxFormat", "BoundingBoxes", "Points", "Representation"),
    "arrays": ("read_array", "save_array"),
    "compare": ("compare_images",),
    "checks.checking": ("check",),
    "errors": tuple(name for name in __all__ if name.endswith(("Error", "Warning"))),
    "formats": ("read_header",),
    "formats.dicom.catalogue": ("list_series",),
    "grid": ("Grid",),
    "hashing": ("hash_image",),
    "header": ("Header",),
    "image": ("Image", "LabelMap", "ScalarImage"),
    "labels": ("Label", "LabelTable"),
    "sources.registry": ("register_backend", "unregister_backend"),
    "spatial": ("check_spatial",),
}
"""Which module below this package owns which public name."""


def __getattr__(name: str) -> object:
    for room, names in _ROOMS.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(f"{__name__}.{room}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

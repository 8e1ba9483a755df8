"""Pictures as files: the formats that they are written in, each file whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from typing import Any

from medimg_cli.errors import UsageError
from medimg_cli.formats.pictures import with_pixel_size
from medimg_cli.storage.atomic import AtomicGroup

__all__ = ["KINDS", "encoded", "is_picture", "picture_kind", "save_picture"]

KINDS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
    ".pdf": "PDF",
}  # fmt: skip
"""Suffix -> Pillow's name of the format."""

#: How hard PNG compresses unless somebody says: of grey levels with noise, more takes longer and is no smaller.
_LEVEL = 3
#: What Pillow's writers are told: grey levels and letters stay sharp, and no file holds the time at which it was made.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_deflate"},
    "PDF": {"quality": 95, "subsampling": 0, "resolution": 150, "creationDate": None, "modDate": None},
}
#: Pixels of an edge that formats can count.
_LONGEST = {"WEBP": 16383, "JPEG": 65500}


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def is_picture(path: str) -> bool:
    """Tell whether a file of that name is a picture.

    Examples
    --------
    >>> is_picture("a/scan.nii.PNG"), is_picture("scan.nii.gz")
    (True, False)
    """
    return _suffix(path) in KINDS


def picture_kind(path: str) -> str:
    """Return Pillow's name of the format that a file of that name has.

    Raises
    ------
    UsageError
        If no picture is written to such files.

    Examples
    --------
    >>> picture_kind("a.jpg")
    'JPEG'
    """
    if not is_picture(path):
        hint = f"use .png, or one of {', '.join(suffix for suffix in KINDS if suffix != '.png')}"
        raise UsageError(f"no picture is written to files with {_suffix(path) or 'no suffix'}", path=path, hint=hint)
    return KINDS[_suffix(path)]


def encoded(picture: Any, path: str, *, level: int | None = None, pixel: float | None = None) -> bytes:
    """Return a picture as the bytes of a file of that name.

    Parameters
    ----------
    picture : Pillow image
    path : str
        Its suffix names the format.
    level : int, optional
        0 to 9: how hard PNG compresses.
    pixel : float, optional
        Edge of a pixel in mm, which PNG can hold.

    Raises
    ------
    UsageError
        If no picture is written to such files, or the format does not hold so many pixels.
    """
    kind = picture_kind(path)
    if max(picture.size) > _LONGEST.get(kind, max(picture.size)):
        shown = " x ".join(map(str, picture.size))
        raise UsageError(f"{shown} pixels are more than {kind} holds", path=path, hint="use .png, or a smaller size")
    options = dict(_OPTIONS.get(kind, {}))
    if kind == "PNG":
        options["compress_level"] = _LEVEL if level is None else min(level, 9)
    memory = BytesIO()
    picture.save(memory, kind, **options)
    if kind != "PNG" or pixel is None:
        return memory.getvalue()
    return with_pixel_size(memory.getvalue(), (pixel, pixel))


def save_picture(
    picture: Any, path: str, *, force: bool = False, level: int | None = None, pixel: float | None = None
) -> None:
    """Write a picture to a file, which appears whole or not at all.

    Parameters
    ----------
    picture : Pillow image
    path : str
        Its suffix names the format.
    force : bool
        Whether an existing file is replaced.
    level, pixel
        As for `encoded`.

    Raises
    ------
    UsageError
        If no picture is written to such files.
    StorageError
        If the file exists and may not be replaced, or cannot be written.
    """
    content = encoded(picture, path, level=level, pixel=pixel)
    with AtomicGroup(force=force) as group:
        group.create(path).write(content)

"""Hold medimg against Zarr stores: voxels as the zarr library reads them, NIfTI-Zarr as its NIfTI file says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import conformance_checks as checks
import numpy as np
from conformance_checks import Result

#: Parts of paths of stores that hold several images, or break the specification.
REFUSED = ("/plate-", "invalid/image-01", "invalid/image-02", "invalid/image-03")


def stores(data: Path) -> list[str]:
    """Return the stores among the real files, and the valid ones among those that were made."""
    found = [path for path in data.glob("*+*/**/*.zarr") if path.is_dir()]
    made = [data / "_generated" / name for name, kind, _ in checks.generated(data) if kind == "valid"]
    found += [path for path in made if path.suffix == ".zarr" and path.is_dir()]
    return sorted(str(path.relative_to(data)) for path in found)


def check_zarr(data: Path, name: str) -> Result:
    """Read a store as a whole: right, or refused by one line where it is no image."""
    from medimg_cli.errors import MedImgError
    from medimg_cli.formats import open_backend
    from medimg_cli.storage.stored import whole

    path, no_image = data / name, any(part in name for part in REFUSED)
    expected = "refused" if no_image else "the voxels of the zarr library"
    try:
        backend = open_backend(path)
        own = backend.read(whole(backend.header.shape), raw=True)
    except MedImgError as error:
        said = str(error).replace(f"{path}", "STORE")
        wrong = "" if no_image and "\n" not in said else "refused"
        return Result("zarr", name, "fail" if wrong else "pass", expected, "refused: " + said, (), wrong)
    got = f"{backend.header.shape} {backend.header.dtype} {''.join(backend.header.orientation)}"
    problems = ["read, though it is no image"] if no_image else _problems(path, backend.header, own)
    return Result("zarr", name, "fail" if problems else "pass", expected, got, ("zarr",), "; ".join(problems))


def _problems(path: Path, header: Any, own: Any) -> list[str]:
    import zarr

    from medimg_cli.formats import open_backend
    from medimg_cli.header import differences

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = zarr.open_group(str(path), mode="r")["0"][...]
    found = [] if np.array_equal(own.squeeze().transpose(), _channels_last(theirs)) else ["other voxels than zarr"]
    twin = path.with_suffix(".gz")
    if twin.exists():
        plain = open_backend(twin)
        found += [str(each) for each in differences(plain.header, header)]
    return found


def _channels_last(array: Any) -> Any:
    """Return (t, z, y, x) as (z, y, x, t): the transpose of (C, I, J, K)."""
    return np.moveaxis(array.squeeze(), 0, -1) if array.ndim == 4 else array.squeeze()


__all__ = ["check_zarr", "stores"]

"""Planted faults of expectations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.checks.planting import Case, Planted
from tests.helpers import affine


def write(
    name: str = "a.nii.gz", array: Any = None, spacing: tuple[float, ...] = (0.9, 1.25, 3.0), **header: Any
) -> Callable[[Path], Path]:
    """Return what writes an image: oblique, left-handed, 5 x 4 x 3 voxels."""
    values = np.arange(60, dtype="int16").reshape(5, 4, 3) if array is None else array

    def make(folder: Path) -> Path:
        place = affine((-31, 12, 44), spacing, flips=(-1, 1, 1))
        image = nibabel.Nifti1Image(values, place.numpy())
        image.header.set_xyzt_units(header.get("space", "mm"), "sec")
        if "step" in header:
            image.header.set_zooms((*spacing, header["step"]))
        if "slope" in header:
            image.header.set_slope_inter(header["slope"], header.get("inter", 0.0))
        path = folder / name
        nibabel.save(image, path)
        return path

    return make


def some(*values: float, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """Return voxels of zeros, but for some values."""
    array = np.zeros((5, 4, 3), dtype)
    array.flat[7 : 7 + len(values)] = values
    return array


def case(name: str, make: Callable[[Path], Any], *expect: str, says: str = "", **wishes: Any) -> Case:
    return Case(name, make, says, {"expect": expect, **wishes})


def picture(folder: Path) -> Path:
    """Write an image of a format that has no orientation."""
    path = folder / "a.npy"
    np.save(path, np.zeros((5, 4, 3), "int16"))
    return path


SERIES = np.zeros((5, 4, 3, 2), "int16")

PLANTED: dict[str, Planted] = {
    "E001": Planted(
        faults=(
            case("spacing", write(), "spacing <= 1.0", says="spacing is 0.9 x 1.25 x 3 mm, expected <= 1.0"),
            case("spacing-just-above", write(spacing=(0.9, 1.0, 1.001)), "spacing <= 1.0", says="1.001 mm"),
            case("axes-in-another-order", write(), "spacing = 3 x 1.25 x 0.9 +- 0.01"),
            case("orientation", write(), "orientation = RAS", says="orientation is "),
            case("no-orientation", picture, "orientation in [LPS, RAS, LAS]", says="orientation is unknown"),
            case("dtype", write(), "dtype in [uint8, float32]", says="dtype is int16, expected in [uint8, float32]"),
            case("shape", write(), "shape = 5 x 3 x *", says="shape is 1 x 5 x 4 x 3"),
            case("channels", write(array=SERIES, step=2.0), "channels = 1", says="channels is 2"),
            case("no-time", write(), "time-spacing = 2.0", says="time-spacing is none, expected = 2.0"),
            case("time", write(array=SERIES, step=2.5), "tr = 2.0 +- 0.1", says="time-spacing is 2.5 s"),
            case("plain", write("a.nii"), "compression = gzip", says="compression is none"),
            case("two-of-three", write(), "dtype = int16", "format = nrrd", "units = mm", says="format is nifti"),
            case("free-text", write(), "description matches *scanner*", says="description is "),
        ),
        near=(
            case("nothing-expected", write()),
            case("spacing-of-24-bits", write(spacing=(0.9, 1.0, 1.0000004)), "spacing <= 1.0"),
            case("tolerance", write(spacing=(0.9, 1.25, 3.009)), "spacing = 0.9 x 1.25 x 3 +- 0.01"),
            case("same-orientation", write(), "orientation in [RPI, RAS, RAI, LAS, LIA, LPI, LAI, LPS, PRS, ALS, ARS]"),
            case("any-letter-case", write(), "dtype = INT16", "units = MM", "compression = GZIP"),
            case("shape", write(), "shape = 5 x 4 x *", "shape = 1 x 5 x 4 x 3", "shape <= 5"),
            case("time", write(array=SERIES, step=2.05), "tr = 2.0 +- 0.1", "channels in [2 .. 4]"),
            case("header-only", write(), "spacing >= 0.9", header_only=True),
            case("values-are-another-rule", write(), "max <= 3"),
        ),
    ),
    "E002": Planted(
        faults=(
            case(
                "labels", write(array=some(1, 2, 3, dtype="uint8")), "labels in [0, 1, 2]", says="there are labels 3, "
            ),
            case("label-missing", write(array=some(1, dtype="uint8")), "labels = [0, 1, 2]", says="labels 0, 1, "),
            case("half-label", write(array=some(1, 1.5)), "labels in [0 .. 2]", says="labels 1.5"),
            case("nan-label", write(array=some(1, np.nan)), "labels in [0, 1]", says="labels nan"),
            case(
                "min", write(array=some(-1025, dtype="int16")), "min >= -1024", says="min is -1025, expected >= -1024"
            ),
            case("max", write(array=some(3072, dtype="int16")), "max <= 3071", says="max is 3072"),
            case("scaled", write(array=some(10, dtype="int16"), slope=0.5, inter=3.0), "max <= 7", says="max is 8"),
            case("negative-slope", write(array=some(10, dtype="int16"), slope=-2.0), "min >= -19", says="min is -20"),
            case("nan", write(array=some(np.nan, 1)), "nan = 0", says="nan is 1, expected = 0"),
            case("infinite", write(array=some(-np.inf, 1)), "infinite = 0", says="infinite is 1"),
            case("nothing-finite", write(array=some() * np.nan), "max <= 3", says="max is none"),
            case("many", write(array=np.arange(60, dtype="int16").reshape(5, 4, 3)), "labels <= 50", says="and 4 more"),
        ),
        near=(
            case("nothing-expected", write(array=some(np.nan))),
            case("labels", write(array=some(1, 2, dtype="uint8")), "labels in [0, 1, 2]", "labels = [2, 1, 0]"),
            case("whole-floats", write(array=some(1, 2)), "labels in [0 .. 2]", "labels not in [3]"),
            case("edges", write(array=some(-1024, 3071, dtype="int16")), "min >= -1024", "max <= 3071"),
            case("scaled", write(array=some(10, dtype="int16"), slope=0.5, inter=3.0), "max = 8", "min = 3"),
            case("nan-is-no-range", write(array=some(np.nan, 2)), "max <= 2", "min >= 0", "nan <= 1"),
            case("headers-are-another-rule", write(), "spacing <= 1"),
            case("header-only", write(array=some(9)), "max <= 3", header_only=True),
        ),
    ),
}

"""Voxels with one fault each, and voxels that only look like it: several formats, axes and types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.checks.nifti_files import nifti
from tests.checks.planting import Case, Planted
from tests.helpers import AFFINES

Make = Callable[[Path], Path]
SHAPE = (11, 9, 8)
AFFINE = AFFINES["left-handed"].numpy()


def noise(shape: tuple[int, ...] = SHAPE, dtype: str = "int16", seed: int = 0) -> Any:
    """Return numbers without two equal slices, whole and far from the limits of a type."""
    return np.random.default_rng(seed).integers(1, 120, shape).astype(dtype)


def fractions(shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> Any:
    return np.random.default_rng(1).normal(100, 20, shape).astype(dtype)


def filled_up(array: Any, share: float) -> Any:
    """Return numbers of which only the first share of bytes is there, in the order of the file; zeros follow."""
    flat = array.copy(order="F").reshape(-1, order="F")
    flat[int(share * len(flat)) :] = 0
    return flat.reshape(array.shape, order="F")


def ball(size: int) -> Any:
    """Return a ball with zeros around it, nearer to one end: slices grow smaller until they are blank."""
    axes = np.meshgrid(*3 * [np.arange(size)], indexing="ij")
    apart = sum((axis - center) ** 2 for axis, center in zip(axes, (12, 12, 7), strict=True))
    return np.where(apart < 10**2, noise((size, size, size)), 0).astype("int16")


def tilted(shape: tuple[int, int, int]) -> Any:
    """Return a scan on a grid that leaves it through a tilted plane."""
    _, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.where(k < 20 - j / 8, noise(shape), 0).astype("int16")


def saved(array: Any, name: str = "scan.nii.gz") -> Make:
    """Return what writes numbers as NIfTI below a folder."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array, AFFINE, dtype=array.dtype), path)
        return path

    return make


def scaled(array: Any, slope: float, inter: float = 0, name: str = "scan.nii") -> Make:
    """Return what writes stored numbers with a slope and an intercept."""
    data = array.tobytes(order="F")
    return nifti(name, shape=array.shape, dtype=array.dtype.name, data=data, scl_slope=slope, scl_inter=inter)


def by_itk(array: Any, name: str, vector: bool = False) -> Make:
    """Return what writes (I, J, K) or (I, J, K, parts) with SimpleITK."""

    def make(folder: Path) -> Path:
        turned = array.transpose(2, 1, 0, *range(3, array.ndim))
        image = sitk.GetImageFromArray(np.ascontiguousarray(turned), isVector=vector)
        image.SetSpacing((0.9, 1.25, 3.0))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return make


def with_some(array: Any, value: float, *places: tuple[int, ...]) -> Any:
    changed = array.copy()
    for place in places:
        changed[place] = value
    return changed


def without(array: Any, axis: int, *slices: int, value: float = 0) -> Any:
    """Return an array with blank slices."""
    changed = array.copy()
    for n in slices:
        changed[(slice(None),) * axis + (n,)] = value
    return changed


def repeated(array: Any, axis: int, n: int) -> Any:
    """Return an array whose slice n + 1 is slice n."""
    changed = array.copy()
    before = (slice(None),) * axis
    changed[(*before, n + 1)] = changed[(*before, n)]
    return changed


def sparse() -> Any:
    """Return a map of two small clusters with blank slices between them."""
    array = np.zeros((20, 18, 16), "float32")
    array[3:6, 4:7, 2:4] = fractions((3, 3, 2))
    array[12:15, 10:12, 11:14] = fractions((3, 2, 3))
    return array


def wide(seed: int = 3) -> Any:
    """Return whole numbers of which a few in a hundred are beyond int16."""
    return np.random.default_rng(seed).normal(0, 16000, (14, 13, 12))


SERIES = noise((6, 5, 4, 7), seed=2)
NOT_CUT = np.clip(wide(), -30000, 30000).astype("int16")
PADDED = with_some(np.random.default_rng(4).integers(-1000, 2000, (14, 13, 12)).astype("int16"), -32768, np.s_[:, :3])
MASK = (noise() > 60).astype("uint8")
BYTES = np.clip(wide() / 320 + 20, 0, 255).astype("uint8")
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
WHITE = np.clip(noise((*SHAPE, 3)) * 4, 0, 255).astype("u1")
PROBABILITY = np.round(np.random.default_rng(5).random((9, 8, 7)), 1)

PLANTED = {
    "V001": Planted(
        faults=(
            Case("one", saved(with_some(fractions(), np.nan, (3, 2, 5))), "1 of 792 values (0.13 %) are NaN"),
            Case("all", by_itk(np.full(SHAPE, np.nan, "float64"), "scan.nrrd"), "792 of 792 values are NaN"),
            Case("half", saved(with_some(fractions(dtype="float64"), np.nan, np.s_[:, :3])), "264 of 792"),
            Case(
                "part-of-complex",
                saved(with_some(fractions(dtype="complex64"), complex(1, np.nan), (0, 0, 0))),
                "1 of 792",
            ),
        ),
        near=(
            Case("largest", saved(with_some(fractions(), np.finfo("float32").max, (3, 2, 5)))),
            Case("infinite", saved(with_some(fractions(), np.inf, (3, 2, 5)))),
            Case("integers", saved(noise())),
        ),
    ),
    "V002": Planted(
        faults=(
            Case("plus", saved(with_some(fractions(), np.inf, (3, 2, 5))), "1 of 792 values (0.13 %) are infinite"),
            Case(
                "minus", by_itk(with_some(fractions(dtype="float64"), -np.inf, (0, 0, 7)), "scan.mha"), "are infinite"
            ),
        ),
        near=(
            Case("nan", saved(with_some(fractions(), np.nan, (3, 2, 5)))),
            Case("largest", saved(with_some(fractions(), np.finfo("float32").max, (3, 2, 5)))),
        ),
    ),
    "V003": Planted(
        faults=(
            Case("zeros", saved(np.zeros(SHAPE, "int16")), "all 792 values are 0"),
            Case("nan", saved(np.full(SHAPE, np.nan, "float32")), "none of 792 values is finite"),
            Case("scaled", scaled(np.full(SHAPE, 3, "int16"), 0.5, -1), "all 792 values are 0.5"),
            Case("complex", saved(np.zeros(SHAPE, "complex64")), "all 792 values are 0"),
            Case("series", by_itk(np.full((*SHAPE, 3), 7, "uint8"), "scan.nrrd", vector=True), "are 7"),
        ),
        near=(
            Case("one-voxel-differs", saved(with_some(np.zeros(SHAPE, "int16"), 1, (10, 8, 7)))),
            Case("one-voxel-only", saved(np.full((1, 1, 1), 5, "int16"))),
            Case("empty-mask", saved(np.zeros(SHAPE, "uint8"), "sub-1_mask.nii.gz")),
            Case("mask-of-nan", saved(with_some(np.full(SHAPE, np.nan, "float32"), 1, np.s_[3:5]))),
            Case("complex-phase", saved(with_some(np.zeros(SHAPE, "complex64"), 1j, (1, 2, 3)))),
        ),
    ),
    "V004": Planted(
        faults=(
            Case("along-k", saved(without(noise(), 2, 4)), "slice k = 4 between slices with content holds one value"),
            Case("along-i", by_itk(without(noise(), 0, 2, 3), "scan.nrrd"), "2 of 11 slices along i"),
            Case("not-zero", saved(without(fractions(), 1, 5, value=-1024)), "slice j = 5"),
            Case("nan", saved(without(fractions(), 2, 3, value=np.nan)), "slice k = 3"),
            Case("in-a-volume", saved(without(SERIES[..., :3], 2, 2)[..., [1]].repeat(1, 3)), "slice k = 2"),
            Case("of-a-series", saved(with_some(SERIES, 0, np.s_[:, :, 1, 5])), "slice k = 1 between"),
            Case("complex", saved(without(fractions(dtype="complex64"), 2, 4)), "slice k = 4"),
        ),
        near=(
            Case("ends", saved(without(without(noise(), 2, 0, 1, 7), 0, 0, 10))),
            Case("one-voxel-differs", saved(with_some(without(noise(), 2, 4), 1, (3, 3, 4)))),
            Case("sparse-map", saved(sparse())),
            Case("mask", saved(without(MASK, 2, 4))),
            Case("label-map", saved(without(noise(), 2, 4), "labelsTr/case_001.nii.gz")),
            Case("rows-of-a-picture", saved(without(noise((30, 20, 1)), 0, 7))),
        ),
    ),
    "V005": Planted(
        faults=(
            Case("last", saved(without(SERIES, 3, 6)), "volume 6 of 7 holds one value only"),
            Case("two", saved(without(SERIES.astype("float32"), 3, 0, 3)), "2 of 7 volumes, the first of them 0, hold"),
        ),
        near=(
            Case("one-voxel-differs", saved(with_some(without(SERIES, 3, 6), 1, (3, 3, 3, 6)))),
            Case("part-of-a-vector", by_itk(without(noise((*SHAPE, 3), "float32"), 3, 1), "field.nrrd", vector=True)),
            Case("all", saved(np.zeros((6, 5, 4, 7), "int16"))),
        ),
    ),
    "V012": Planted(
        faults=(
            Case("of-a-file", saved(filled_up(noise((20, 24, 30)), 0.61)), "slice k = 18 ends in the middle, and only"),
            Case("of-a-series", saved(filled_up(noise((9, 20, 10, 4), "float32"), 0.83)), "k = 3 of volume 3"),
            Case("of-mha", by_itk(filled_up(fractions((18, 20, 16)), 0.72), "scan.mha"), "4 slices"),
        ),
        near=(
            Case("background", saved(ball(24))),
            Case("padded", saved(np.pad(noise((20, 24, 20)), ((0, 0), (0, 0), (0, 6))))),
            Case("tilted", saved(tilted((20, 40, 24)))),
            Case("few-slices", saved(filled_up(noise((20, 24, 5)), 0.5))),
        ),
    ),
    "V006": Planted(
        faults=(
            Case("one", saved(repeated(noise(), 2, 3)), "slice k = 4 is an exact copy of the one before"),
            Case("stretched", saved(noise((11, 9, 4)).repeat(2, 2)), "4 of 8 slices along k are exact copies"),
            Case("of-a-series", saved(np.stack([noise(), repeated(noise(seed=9), 2, 0)], 3)), "slice k = 1"),
            Case("floats", by_itk(repeated(fractions(), 2, 6), "scan.mha"), "slice k = 7"),
            Case("vectors", by_itk(repeated(noise((*SHAPE, 3), "float32"), 2, 2), "f.nrrd", vector=True), "k = 3"),
        ),
        near=(
            Case("one-voxel-differs", saved(with_some(repeated(noise(), 2, 3), 0, (10, 8, 4)))),
            Case("blank", saved(without(noise(), 2, 0, 1, 2))),
            Case("not-next-to-it", saved(noise()[:, :, [0, 1, 2, 3, 0, 5, 6, 7]])),
            Case("mask", saved(repeated(MASK, 2, 3))),
            Case(
                "part-of-a-vector",
                by_itk(
                    np.stack([repeated(noise(), 2, 3).astype("f4"), noise(seed=8).astype("f4")], 3),
                    "f.nrrd",
                    vector=True,
                ),
            ),
        ),
    ),
    "V007": Planted(
        faults=(
            Case("one", saved(repeated(SERIES, 3, 4)), "volume 5 of 7 is an exact copy of the one before"),
            Case("all", saved(noise((6, 5, 4, 1), "float32").repeat(3, 3)), "2 of 3 volumes, the first of them 1, are"),
        ),
        near=(
            Case("static-but-one-voxel", saved(with_some(repeated(SERIES, 3, 4), 0, (5, 4, 3, 5)))),
            Case("not-next-to-it", saved(SERIES[..., [0, 1, 2, 0, 4, 5, 6]])),
            Case("grey-colours", by_itk(noise((*SHAPE, 1), "uint8").repeat(3, 3), "grey.nrrd", vector=True)),
        ),
    ),
    "V008": Planted(
        faults=(
            Case("both-ends", saved(np.clip(wide(), -32768, 32767).astype("int16")), "the smallest number of int16"),
            Case("largest", saved(np.clip(wide() + 40000, 0, 65535).astype("uint16")), "as 65535, the largest number"),
            Case("bytes", by_itk(np.clip(wide() / 100 + 100, 0, 255).astype("uint8"), "scan.nrrd"), "as 255"),
            Case("scaled", scaled(np.clip(wide(), -32768, 32767).astype("int16"), 0.25), "as 32767"),
            Case("int32", saved(np.clip(wide() * 70000, -(2**31), 2**31 - 1).astype("int32")), "as 2147483647"),
        ),
        near=(
            Case("just-below", saved(NOT_CUT)),
            Case("padding", saved(PADDED)),
            Case("background", saved(BYTES)),
            Case("background-shifted", scaled(BYTES, 2, -30)),
            Case("background-scaled", scaled(np.clip(wide() - 20000, -32768, 32767).astype("int16"), 0.01, 327.68)),
            Case("letters", saved(with_some(with_some(BYTES % 220, 255, np.s_[4:9, 4:9]), 250, (0, 0, 0)))),
            Case("mask", saved((MASK * 255).astype("uint8"))),
            Case("label-map", saved(np.clip(wide() / 100 + 100, 0, 255).astype("uint8"), "case_seg.nii.gz")),
            Case("full-range", saved(np.arange(2**16, dtype="uint16").reshape(32, 64, 32))),
            Case("white", nifti(dtype=RGB, shape=SHAPE, data=WHITE.tobytes())),
        ),
    ),
    "V009": Planted(
        faults=(
            Case("float", saved(PROBABILITY.astype("float32")), "504 values take only 11 levels from 0 to 1"),
            Case("scaled", scaled((noise() // 12).astype("int16"), 0.3), "10 levels"),
        ),
        near=(
            Case("seventeen", scaled((noise() % 17).astype("int16"), 0.3)),
            Case("whole", saved((noise() % 5).astype("float32"))),
            Case("two", scaled((noise() % 2).astype("int16"), 0.3)),
            Case("few-voxels", saved(PROBABILITY[:3, :3, :3].astype("float32"))),
        ),
    ),
    "V010": Planted(
        faults=(
            Case("int16", scaled(noise(), 0.01), "119 of the 65,536 numbers of int16 (0.18 %)"),
            Case("uint16", scaled((noise() * 5).astype("uint16"), 0.5, -3), "numbers of uint16"),
        ),
        near=(
            Case("wide-enough", scaled((noise() * 6).astype("int16"), 0.5)),
            Case("whole-steps", scaled(noise(), 2, -1024)),
            Case("not-scaled", saved(noise())),
            Case("bytes", scaled(noise(dtype="uint8"), 0.01)),
        ),
    ),
    "V011": Planted(
        faults=(
            Case("mask-float64", saved(MASK.astype("float64")), "uint8, 8 times as small as float64"),
            Case("int32", saved((noise() * -9).astype("int32")), "int16, 2 times as small as int32"),
            Case("float64", saved(fractions().astype("float64")), "float32, 2 times as small as float64"),
            Case("label-map", by_itk(noise(dtype="int64"), "a.seg.nrrd"), "uint8, 8 times as small as int64"),
            Case("scaled", scaled(noise(dtype="int32"), 0.5), "uint8, 4 times as small as int32"),
        ),
        near=(
            Case("too-large", saved(with_some(noise(dtype="int32"), 65536, (0, 0, 0)))),
            Case("one-fraction", saved(with_some(noise(dtype="float32"), 0.5, (10, 8, 7)))),
            Case("float64", saved(with_some(fractions().astype("float64"), 1 / 3, (10, 8, 7)))),
            Case("nan", saved(with_some(noise(dtype="float32"), np.nan, (10, 8, 7)))),
            Case("int16", saved(MASK.astype("int16"))),
        ),
    ),
}

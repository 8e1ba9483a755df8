"""Label maps with one fault each, and label maps that only look like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.checks.nifti_files import nifti
from tests.checks.planted_values import AFFINE, SHAPE, by_itk, noise, saved, scaled, with_some
from tests.checks.planting import Case, Planted

Make = Callable[[Path], Path]
SEG = "sub-1_dseg.nii.gz"
LABEL_INTENT = 1002


def organs(dtype: str = "uint8") -> Any:
    """Return two touching boxes, 2 and 5, and a third, 7, apart from them."""
    array = np.zeros(SHAPE, dtype)
    array[1:5, 1:6, 1:7] = 2
    array[5:7, 1:6, 1:7] = 5
    array[9:11, 2:8, 2:7] = 7
    return array


def named(array: Any, table: dict[int, str], name: str = SEG) -> Make:
    """Return what writes a label map with its table beside it, as BIDS has it."""

    def make(folder: Path) -> Path:
        rows = "".join(f"{value}\t{label}\n" for value, label in table.items())
        (folder / f"{name.split('.')[0]}.tsv").write_text(f"index\tname\n{rows}")
        return saved(array, name)(folder)

    return make


def segments(array: Any, *values: int) -> Make:
    """Return what writes a ``.seg.nrrd`` with a segment for each of some values."""

    def make(folder: Path) -> Path:
        image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        for n, value in enumerate(values):
            image.SetMetaData(f"Segment{n}_ID", f"S{n}")
            image.SetMetaData(f"Segment{n}_Name", f"organ {value}")
            image.SetMetaData(f"Segment{n}_LabelValue", str(value))
            image.SetMetaData(f"Segment{n}_Layer", "0")
        path = folder / "a.seg.nrrd"
        sitk.WriteImage(image, str(path))
        return path

    return make


def mgz(array: Any, name: str) -> Make:
    def make(folder: Path) -> Path:
        nibabel.save(nibabel.MGHImage(array, AFFINE), folder / name)
        return folder / name

    return make


def known(name: str, make: Make, values: Sequence[Any], says: str = "") -> Case:
    """Return a case under a configuration that knows which labels there are."""
    wishes: dict[str, Any] = {"isolated": False}

    def write(folder: Path) -> Path:
        config = folder / "medimg.toml"
        config.write_text(f"[check]\nknown-labels = {list(values)!r}\n".replace("'", '"'))
        wishes["config"] = str(config)
        return make(folder)

    return Case(name, write, says, wishes)


def blurred() -> Any:
    """Return organs whose borders were interpolated."""
    array = organs("float32")
    return (array + np.roll(array, 1, 0)) / 2


ISLES = with_some(organs(), 2, (10, 0, 0), (10, 0, 1))
NAMES = {0: "background", 2: "liver", 5: "spleen", 7: "left kidney"}
DECLARED = nifti(shape=SHAPE, dtype="float32", data=blurred().tobytes(order="F"), intent_code=LABEL_INTENT)

PLANTED = {
    "L001": Planted(
        faults=(
            Case("interpolated", saved(blurred(), SEG), "of a label map are not whole: 2.5, 3.5"),
            Case("declared", DECLARED, "are not whole"),
            Case("nan", saved(with_some(organs("float32"), np.nan, (3, 2, 5)), "a_mask.nii.gz"), "are NaN or infinite"),
            Case("probabilities", saved(np.random.default_rng(0).random((48, 44, 40)), SEG), "more than 65,536"),
            Case("scaled", scaled(organs(), 1 / 255, name="a_seg.nii"), "are not whole: 0.0078"),
            Case("by-folder", by_itk(blurred(), "labels/case_1.nrrd"), "are not whole"),
        ),
        near=(
            Case("whole-floats", saved(organs("float64"), SEG)),
            Case("probabilities", saved(blurred(), "sub-1_label-GM_probseg.nii.gz")),
            Case("image", saved(blurred())),
            Case("scaled-to-whole", scaled(organs(), 2, name="a_seg.nii")),
            Case("brainmask", mgz(blurred(), "brainmask.mgz")),
        ),
    ),
    "L002": Planted(
        faults=(
            known("one", saved(organs(), SEG), [0, 2, 5], "value 7 is in a label map that may hold 0, 2, 5: 60 voxels"),
            known("mask", saved(organs(), "a_mask.nii.gz"), [0, 1], "values 2, 5, 7 are in"),
        ),
        near=(
            known("all", saved(organs(), SEG), ["0-2", 5, 7]),
            known("image", saved(noise()), [0, 1]),
            known("background", saved(organs(), SEG), [2, 5, 7]),
        ),
    ),
    "L003": Planted(
        faults=(
            Case("beside", named(organs(), {2: "liver", 5: "spleen"}), "value 7 has no name"),
            Case("segments", segments(organs(), 2), "values 5, 7 have no name in its table of labels: 120 voxels"),
        ),
        near=(
            Case("all", named(organs(), NAMES)),
            Case("no-background", segments(organs(), 2, 5, 7)),
            Case("no-table", saved(organs(), SEG)),
            Case("names-to-spare", named(organs(), {**NAMES, 8: "right kidney"})),
        ),
    ),
    "L004": Planted(
        faults=(
            Case("one", saved(with_some(organs("int16"), -1, (0, 0, 0)), SEG), "value -1 is negative: 1 voxel"),
            Case("two", by_itk(organs("int8") - 3, "a-label.nrrd"), "values -3, -1 are negative"),
        ),
        near=(
            Case("signed", saved(organs("int16"), SEG)),
            Case("unsigned", saved(with_some(organs(), 255, (0, 0, 0)), SEG)),
            Case("image", saved(with_some(organs("int16"), -1, (0, 0, 0)))),
        ),
    ),
    "L005": Planted(
        faults=(
            Case("zeros", saved(np.zeros(SHAPE, "uint8"), SEG), "nothing but background: all 792 values are 0"),
            Case("floats", mgz(np.zeros(SHAPE, "float32"), "aparc.a2009s+aseg.mgz"), "nothing but background"),
        ),
        near=(
            Case("one-voxel", saved(with_some(np.zeros(SHAPE, "uint8"), 1, (10, 8, 7)), SEG)),
            Case("no-background", saved(np.ones(SHAPE, "uint8"), SEG)),
            Case("image", saved(np.zeros(SHAPE, "uint8"))),
        ),
    ),
    "L006": Planted(
        faults=(
            Case("slope", scaled(organs(), 1 / 255, name="a_mask.nii"), "slope 0.00392157 and intercept 0"),
            Case("intercept", scaled(organs("int16"), 1, -2, name="a_dseg.nii"), "slope 1 and intercept -2"),
        ),
        near=(
            Case("one", scaled(organs(), 1, 0, name="a_mask.nii")),
            Case("zero", scaled(organs(), 0, 5, name="a_mask.nii")),
            Case("image", scaled(organs(), 1 / 255)),
        ),
    ),
    "L007": Planted(
        faults=(
            Case("uint16", saved(np.arange(4160, dtype="uint16").reshape(16, 13, 20), SEG), "4,160 different values"),
            Case("int32", saved(np.arange(70000, dtype="int32").reshape(40, 35, 50), SEG), "more than 65,536"),
            Case("floats", saved(np.arange(5000, dtype="float32").reshape(20, 25, 10), SEG), "5,000 different"),
        ),
        near=(
            Case("fewer", saved((np.arange(4160) % 4096).astype("uint16").reshape(16, 13, 20), SEG)),
            Case("image", saved(np.arange(4160, dtype="uint16").reshape(16, 13, 20))),
        ),
    ),
    "L008": Planted(
        faults=(
            Case("two-voxels", saved(ISLES, SEG), "1 island of fewer than 4 voxels (2 voxels in all) in label 2"),
            Case("floats", mgz(ISLES.astype("float32"), "aseg.mgz"), "label 2"),
            Case("named", named(ISLES, NAMES), "label 2 (liver)"),
            Case(
                "in-a-channel",
                saved(np.stack([organs(), ISLES], 3), SEG),
                "one of them in channel 1",
            ),
        ),
        near=(
            Case("by-a-corner", saved(with_some(organs(), 2, (0, 0, 0)), SEG)),
            Case("four-voxels", saved(with_some(organs(), 2, (10, 0, np.s_[0:4])), SEG)),
            Case("nothing-larger", saved(with_some(np.zeros(SHAPE, "uint8"), 3, (4, 4, 4)), SEG)),
            Case("surface", mgz(np.arange(600, dtype="int32").reshape(600, 1, 1) % 7, "lh.aseg.mgz")),
            Case("image", saved(ISLES)),
        ),
    ),
    "L009": Planted(
        faults=(
            Case(
                "beside", named(organs(), {**NAMES, 8: "right kidney"}), "1 of 5 labels in its table have no voxel: 8"
            ),
            Case("segments", segments(organs(), 2, 3, 5, 6, 7), "2 of 5 labels in its table have no voxel: 3, 6"),
        ),
        near=(
            Case("all", segments(organs(), 2, 5, 7)),
            Case("background", named(organs() + np.uint8(2), {0: "background", 2: "a", 4: "b", 7: "c", 9: "d"})),
            Case("atlas", named(organs(), {n: f"area {n}" for n in range(256)})),
        ),
    ),
}

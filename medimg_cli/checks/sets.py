"""Rules about several images together: pairs of image and label map, and data sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from medimg_cli.checks.dataset import DataSet
from medimg_cli.checks.duplicates import doubles
from medimg_cli.checks.mirrored import Thumbnails, mirrored
from medimg_cli.checks.numbers import Numbers
from medimg_cli.checks.outliers import (
    names_alike,
    odd_dtypes,
    odd_orientations,
    odd_sizes,
    odd_spacings,
)
from medimg_cli.checks.rule import Found, Rule

if TYPE_CHECKING:
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header

__all__ = ["RULES"]


# -- pairs ----------------------------------------------------------------------------------------------------------


def _headers(data: DataSet) -> Iterator[tuple[str, Header, Header]]:
    """Yield the path of each label map, and the headers of image and label map, where both can be read."""
    for image, label in data.pairs:
        if image is not None and image.header is not None and label.header is not None:
            yield label.path if label.given else image.path, image.header, label.header


def _grids_apart(data: DataSet) -> Iterator[Found]:
    for path, image, label in _headers(data):
        one, two = _alike(image, label)
        if one.shape != two.shape:
            sizes = f"{_sizes(label)} voxels, its image {_sizes(image)}"
            yield Found(f"the label map has {sizes}", path=path)
        elif _placed(image, label):
            mm, voxels = one.mm_shift(two), one.voxel_shift(two)
            if voxels > data.config.settings_for(path).limit("pair-voxels"):
                where = f"{mm:.3g} mm ({voxels:.3g} voxels) apart in the worst corner"
                yield Found(f"the grids of label map and image are {where}", path=path)


def _grids_nearly_apart(data: DataSet) -> Iterator[Found]:
    for path, image, label in _headers(data):
        one, two = _alike(image, label)
        if one.shape == two.shape and _placed(image, label):
            mm, voxels = one.mm_shift(two), one.voxel_shift(two)
            settings = data.config.settings_for(path)
            if mm > settings.limit("grid-mm") and voxels <= settings.limit("pair-voxels"):
                where = f"{mm:.3g} mm ({voxels:.2g} voxels) apart in the worst corner"
                yield Found(f"the grids of label map and image are {where}", path=path)


def _order_differs(data: DataSet) -> Iterator[Found]:
    for path, image, label in _headers(data):
        one, two = _alike(image, label)
        stored = "".join(image.orientation), "".join(label.orientation)
        if two == label.grid or not _placed(image, label) or one.shape != two.shape:
            continue
        if one.voxel_shift(two) <= data.config.settings_for(path).limit("pair-voxels"):
            message = (
                f"the label map has the same places in another order: it is stored {stored[1]}, its image {stored[0]}"
            )
            yield Found(message, path=path)


def _alike(image: Header, label: Header) -> tuple[Grid, Grid]:
    """Return the grids of both, that of the label map turned to the order of the image where that brings it nearer."""
    one, two = image.grid, label.grid
    if not _placed(image, label) or image.orientation == label.orientation:
        return one, two
    fitting = [grid for grid in (two, two.reoriented(image.orientation)) if grid.shape == one.shape]
    return one, min(fitting, key=one.mm_shift, default=two)


def _placed(image: Header, label: Header) -> bool:
    """Tell whether both say where their voxels lie."""
    return image.orientation_known and label.orientation_known


def _sizes(header: Header) -> str:
    return " x ".join(map(str, header.spatial_shape))


def _label_map_missing(data: DataSet) -> Iterator[Found]:
    for image, label in data.pairs:
        if image is not None and not label.exists:
            yield Found(f"its label map is missing: {label.path}", path=image.path)
        elif image is not None and not label.given and label.header is None:
            yield Found(f"its label map cannot be opened: {label.path}", path=image.path)


def _image_missing(data: DataSet) -> Iterator[Found]:
    for image, label in data.pairs:
        if image is None:
            yield Found("no image has this label map", path=label.path)


def _no_label_map(data: DataSet) -> Iterator[Found]:
    for path, _, label in _headers(data):
        what = None
        if "rgb" in dict(label.axes):
            what = "colours"
        elif label.value_dtype.startswith("complex"):
            what = "complex numbers"
        elif label.channels > 1:
            what = f"{label.channels} values a voxel"
        if what is not None:
            yield Found(f"the label map has {what}, one label a voxel was expected", path=path)


# -- the table ------------------------------------------------------------------------------------------------------

_PAIR_EXAMPLE = "`medimg check train --pair 'images/*.nii.gz' 'labels/{name}'`"

RULES: tuple[Rule, ...] = (
    Rule(
        "S001",
        "pair-grid",
        "error",
        _grids_apart,
        "An image and its label map have the same grid.",
        why="Voxels of a label map are compared with voxels of the image at the same index or the same place. Where "
        "the grids differ, every overlay, every score and every training step is wrong.",
        example=f"{_PAIR_EXAMPLE}, where one label map was drawn on an image that had been cropped or resampled.",
        remedy="`medimg resample --like image.nii.gz label.nii.gz out.nii.gz` puts the label map on the grid of its "
        "image, if both lie in the same places of the world.",
        over="set",
    ),
    Rule(
        "S002",
        "pair-order",
        "warning",
        _order_differs,
        "An image and its label map are stored in the same order.",
        why="Both lie in the same places, but voxel (0, 0, 0) of one is another corner than that of the other. "
        "Programs that compare arrays and look at no affine mix left and right.",
        example="An image stored LAS whose label map was exported from a viewer as LPS.",
        remedy="`medimg reorient --to` brings the label map to the orientation of its image and changes no label.",
        over="set",
    ),
    Rule(
        "S003",
        "pair-grid-nearly",
        "info",
        _grids_nearly_apart,
        "The grids of an image and its label map agree to a hundredth of a millimetre.",
        why="The label map is in place, but ITK and what builds on it refuse to compute with images whose grids differ "
        "by so much: inputs do not occupy the same physical space. ITK allows a millionth of a voxel; where that "
        "matters, set the limit grid-mm lower.",
        example="A label map whose affine went through a text file with two digits.",
        remedy="`medimg edit --copy-geometry image.nii.gz label.nii.gz out.nii.gz` makes the grids equal.",
        over="set",
    ),
    Rule(
        "S004",
        "label-map-missing",
        "error",
        _label_map_missing,
        "Every image has its label map.",
        why="Training leaves such an image out, or stops after an hour.",
        example=f"{_PAIR_EXAMPLE}, where images/case_7.nii.gz has no labels/case_7.nii.gz.",
        remedy="Add the label map, or narrow the pattern of images.",
        over="set",
    ),
    Rule(
        "S005",
        "image-missing",
        "warning",
        _image_missing,
        "Every label map has its image.",
        why="It is left over, or its name has a slip: then its image lacks a label map.",
        example=f"{_PAIR_EXAMPLE}, where labels/case_07.nii.gz stands beside images/case_7.nii.gz.",
        remedy="Rename or remove it.",
        over="set",
    ),
    Rule(
        "S006",
        "pair-labels",
        "warning",
        _no_label_map,
        "What belongs to an image as its label map has one label a voxel.",
        why="Colours, channels and complex numbers are no labels: most programs take the first channel, or fail.",
        example="A label map that was saved as RGB from a viewer, or as one channel a class.",
        remedy="Export it again as a label map: one whole number a voxel.",
        over="set",
    ),
    Rule(
        "S101",
        "odd-spacing",
        "warning",
        odd_spacings,
        "Images of one kind have voxels of about the same size.",
        why="One image among many with other voxels was often made by another protocol, resampled by mistake, or its "
        "header is wrong. A model trained on the others sees it distorted.",
        example="40 T1w images of 1 mm, and one whose slices are 5 mm thick.",
        remedy="Look at the image; `medimg resample --spacing` brings it to the voxels of the others.",
        over="set",
    ),
    Rule(
        "S102",
        "odd-size",
        "info",
        odd_sizes,
        "Images of one kind have about as many voxels and time steps as each other.",
        why="An image that is far smaller or longer than the others was often cut off while it was taken or copied.",
        example="20 runs of 300 volumes, and one of 112.",
        remedy="Look at the image, and at the protocol.",
        over="set",
    ),
    Rule(
        "S103",
        "odd-orientation",
        "info",
        odd_orientations,
        "Images of one kind are stored in the same orientation.",
        why="Where nearly all agree, programs that look at arrays only work by luck, and fail on the other one.",
        example="99 images stored LAS, and one RAS.",
        remedy="`medimg reorient` turns it; no voxel value and no place changes.",
        over="set",
    ),
    Rule(
        "S104",
        "odd-dtype",
        "info",
        odd_dtypes,
        "Images of one kind have the same type.",
        why="Where nearly all agree, one of another type went another way: rounded, rescaled, or saved elsewhere.",
        example="99 images of int16, and one of float64.",
        remedy="Compare it with its source: `medimg stats` and `medimg info` of both.",
        over="set",
    ),
    Rule(
        "S105",
        "names-alike",
        "info",
        names_alike,
        "Names in a folder differ by more than case or compression.",
        why="On file systems that ignore case one file overwrites the other, and of scan.nii and scan.nii.gz each "
        "program takes another.",
        example="sub-01_T1w.nii beside sub-01_T1w.nii.gz; Case1.nrrd beside case1.nrrd.",
        remedy="Keep one of them, or rename one.",
        over="set",
    ),
    Rule(
        "S106",
        "duplicate",
        "warning",
        doubles,
        "No two images hold the same values.",
        why="The same image under two names counts twice, and leaks from training into test. Format, type, scaling, "
        "compression and order of storage do not matter; images of one value only are left out. An image beside the "
        "DICOM series that it was converted from is no copy.",
        example="sub-07_T1w.nii.gz that is a copy of sub-06_T1w.nii.gz.",
        remedy="Find out whose image it is, and replace or remove the other.",
        over="set",
        gathers=(Numbers,),
    ),
    Rule(
        "S107",
        "left-right",
        "warning",
        mirrored,
        "Images of one subject agree which side is left.",
        why="An image whose voxels were flipped but not its affine shows the wrong side of the patient. The rule looks "
        "at thumbnails of images of one subject (BIDS sub- and ses-, names that differ in the modality only, or a "
        "folder of a few images): it speaks where one fits another clearly better when it is mirrored, by mutual "
        "information and by edges. It can tell where heads show enough contrast; symmetric templates, images that "
        "hardly overlap, and those of little contrast are left alone.",
        example="A T2w image that was flipped with a program for pictures, beside its T1w image.",
        remedy="Compare both in a viewer, find the wrong one by a known lesion or a marker, and convert it again.",
        over="set",
        gathers=(Thumbnails,),
    ),
)

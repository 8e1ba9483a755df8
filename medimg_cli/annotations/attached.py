"""Annotations of an image: what it accepts, and how they follow it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import is_voxel
from medimg_cli.annotations.base import Annotation
from medimg_cli.annotations.boxes import BoundingBoxes
from medimg_cli.annotations.points import Points

__all__ = ["as_boxes", "as_points", "carried", "follow", "moved_to"]

Kind = TypeVar("Kind", bound=Annotation)


def as_points(value: Any, affine: AffineMatrix) -> dict[str, Points]:
    """Return what an image holds as its ``points``.

    Parameters
    ----------
    value : mapping of str to Points, Points or None
        One set without a name is called ``"points"``.
    affine : AffineMatrix
        Of the image. Voxel coordinates of points without an affine of their own are indices of its voxels; other
        points keep their place in the world and are re-expressed in its voxels.

    Raises
    ------
    TypeError
        If `value` is something else. Bare arrays don't say along which axes they count.

    Examples
    --------
    >>> affine = AffineMatrix.from_spacing((2, 3, 4))
    >>> held = as_points({"landmarks": Points([[1.0, 1.0, 1.0]])}, affine)
    >>> held["landmarks"].numpy("RAS")
    array([[2., 3., 4.]])
    """
    return _held(value, affine, Points, "points")


def as_boxes(value: Any, affine: AffineMatrix) -> dict[str, BoundingBoxes]:
    """Return what an image holds as its ``bounding_boxes``; see `as_points`.

    Examples
    --------
    >>> as_boxes(BoundingBoxes([[0, 0, 0, 1, 2, 3]]), AffineMatrix())
    {'bounding_boxes': BoundingBoxes(num_boxes=1, axes='IJK', representation='corners')}
    """
    return _held(value, affine, BoundingBoxes, "bounding_boxes")


def moved_to(annotation: Kind, affine: Any) -> Kind:
    """Return an annotation as seen from the voxels of another grid; see `Points.moved_to`."""
    return annotation.moved_to(affine)


def follow(annotations: Mapping[str, Kind], affine: Any) -> dict[str, Kind]:
    """Return copies of an image's annotations as seen from the voxels of its new grid.

    Examples
    --------
    >>> held = {"seeds": Points([[4.0, 5.0, 6.0]], affine=AffineMatrix())}
    >>> follow(held, AffineMatrix.from_spacing(2))["seeds"].numpy()
    array([[2. , 2.5, 3. ]])
    """
    return {name: each.moved_to(affine) for name, each in annotations.items()}


def carried(annotation: Kind, before: AffineMatrix, after: AffineMatrix) -> Kind:
    """Return what an annotation becomes where the affine of its image is corrected and no voxel moves.

    Coordinates along voxel axes stay with their voxels, those along the patient's axes stay where they are.

    Parameters
    ----------
    annotation : Points or BoundingBoxes
    before, after : AffineMatrix
        Of the image.

    Examples
    --------
    >>> seeds = Points([[4.0, 5.0, 6.0]], affine=AffineMatrix())
    >>> carried(seeds, AffineMatrix(), AffineMatrix.from_spacing(2)).numpy("RAS")
    array([[ 8., 10., 12.]])
    """
    seen = annotation.moved_to(before)
    return seen._changed(_affine=after, _placed=True, _home=None) if is_voxel(annotation.axes) else annotation


def _held(value: Any, affine: AffineMatrix, kind: type[Kind], alone: str) -> dict[str, Kind]:
    if value is None:
        return {}
    if isinstance(value, kind):
        value = {alone: value}
    if not isinstance(value, Mapping):
        raise TypeError(f"{alone} is a {type(value).__name__}, expected {kind.__name__}, or a mapping of names to them")
    for name, each in value.items():
        if not isinstance(name, str) or not isinstance(each, kind):
            raise TypeError(f"Expected {kind.__name__} for key {name!r}, got {type(each).__name__}")
    return {name: _placed(each, affine) for name, each in value.items()}


def _placed(annotation: Kind, affine: AffineMatrix) -> Kind:
    """Return an annotation in the frame of an image; itself where it already is."""
    if annotation.affine == affine:
        return annotation
    if annotation.has_affine:
        return annotation.moved_to(affine)
    return annotation._changed(_affine=affine, _placed=True, _home=None)

"""`BoundingBoxes`: boxes along the axes of voxels or of the patient, and how their six numbers are meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import change, parse_axes
from medimg_cli.annotations.base import Annotation, Array, numbers, tensor
from medimg_cli.errors import GeometryError, UsageError

if TYPE_CHECKING:
    import os

    import torch

    from medimg_cli.grid import Grid

__all__ = ["BoundingBoxFormat", "BoundingBoxes", "Representation"]

_EDGE = 1e-6  # voxels that a box may stand out of a grid by rounding, as in `Grid.contains`


class Representation(Enum):
    """What the six numbers of a box are: two opposite corners, or its centre and its size along each axis."""

    CORNERS = "corners"
    CENTER_SIZE = "center_size"


@dataclass(frozen=True, slots=True)
class BoundingBoxFormat:
    """How the six numbers of a box are meant.

    Parameters
    ----------
    axes : str
        A permutation of ``"IJK"`` (voxel indices), or one letter of each pair R/L, A/P, S/I (mm).
    representation : Representation or str
        ``"corners"`` or ``"center_size"``.

    Raises
    ------
    UsageError
        If either is something else.

    Examples
    --------
    >>> BoundingBoxFormat("RAS", "center_size")
    BoundingBoxFormat(axes='RAS', representation='center_size')
    >>> BoundingBoxFormat("IJK") == BoundingBoxFormat.IJKIJK
    True
    """

    IJKIJK: ClassVar[BoundingBoxFormat]
    """Voxel indices of two opposite corners."""
    IJKWHD: ClassVar[BoundingBoxFormat]
    """Voxel index of the centre, and size in voxels."""

    axes: str
    representation: Representation = Representation.CORNERS

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", parse_axes(self.axes))
        try:
            object.__setattr__(self, "representation", Representation(self.representation))
        except ValueError:
            choices = " or ".join(each.value for each in Representation)
            raise UsageError(f"representation is {ascii(self.representation)[:40]}, expected {choices}") from None

    def __repr__(self) -> str:
        return f"BoundingBoxFormat(axes={self.axes!r}, representation={self.representation.value!r})"


BoundingBoxFormat.IJKIJK = BoundingBoxFormat("IJK", Representation.CORNERS)
BoundingBoxFormat.IJKWHD = BoundingBoxFormat("IJK", Representation.CENTER_SIZE)


class BoundingBoxes(Annotation):
    """A list of boxes.

    The faces of a box are where its numbers say, in continuous coordinates in which whole voxel indices are
    **centres** of voxels: the same as for points. Voxel i reaches from i - 0.5 to i + 0.5, so the box that covers
    voxels 10 to 50 wholly has corners 9.5 and 50.5 and size 41; a box with corners 10 and 50 ends in the middle of
    those voxels.

    Seen from axes that are turned against its own, a box is shown as the hull of its eight corners, which is
    larger. Going on from there leads from the box itself, not from its hull: back in the frame in which it was
    given it has the very same numbers.

    Parameters
    ----------
    data : (N, 6) tensor, array or nested sequence
        Real numbers, copied. Opposite corners may be given in any order.
    format : BoundingBoxFormat
        What the six numbers are.
    labels : (N,) integers, optional
        Class of each box.
    affine : AffineMatrix, or what its constructor takes, optional
        Of the image whose voxels ``IJK`` counts. Left out: the identity, until an image takes the boxes in.
    metadata : mapping, optional
        See `metadata`.

    Raises
    ------
    GeometryError
        If `data` are not (N, 6) real numbers, one is infinite, labels are not N integers, or the affine is none.

    Examples
    --------
    >>> affine = AffineMatrix.from_spacing((1, 1, 2), direction=(0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
    >>> boxes = BoundingBoxes([[10, 20, 30, 20, 20, 40]], affine=affine)
    >>> boxes
    BoundingBoxes(num_boxes=1, axes='IJK', representation='corners')
    >>> world = boxes.to_format(BoundingBoxFormat("RAS"))
    >>> world.numpy()
    array([[-10.,  20.,  60.,  -4.,  28.,  80.]])
    >>> world.to_format(BoundingBoxFormat.IJKIJK) == boxes
    True
    """

    _noun, _columns = "bounding boxes", 6

    def __init__(
        self,
        data: Any,
        format: BoundingBoxFormat = BoundingBoxFormat.IJKIJK,
        *,
        labels: Any = None,
        affine: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data, affine, metadata)
        self._format = _checked(format)
        self._labels = None if labels is None else _parse_labels(labels, len(self._rows))

    @property
    def axes(self) -> str:
        """The axes of the coordinates, such as ``"IJK"`` or ``"RAS"``."""
        return self._format.axes

    @property
    def format(self) -> BoundingBoxFormat:
        """What the six numbers are."""
        return self._format

    @property
    def labels(self) -> torch.Tensor | None:
        """Class of each box, a new (N,) int64 tensor (an array where torch is not installed), or None."""
        return None if self._labels is None else tensor(self._labels, "int64", self._like.device)

    @property
    def num_boxes(self) -> int:
        """Number of boxes."""
        return len(self._rows)

    def numpy(self, format: BoundingBoxFormat | None = None) -> Array:
        """Return the numbers as a new writable array, (N, 6), float64.

        Parameters
        ----------
        format : BoundingBoxFormat, optional
            Wanted format, as in `to_format`; left out: that of the boxes.
        """
        return np.array(self._rows if format is None else self.to_format(format)._rows)

    def to_format(self, format: BoundingBoxFormat) -> Self:
        """Return the boxes in another format.

        Along axes that are turned against those in which a box was given it is the hull of its eight corners.

        Parameters
        ----------
        format : BoundingBoxFormat

        Raises
        ------
        GeometryError
            If the affine has no inverse and one is needed.

        Examples
        --------
        >>> BoundingBoxes([[10, 20, 30, 50, 60, 70]]).to_format(BoundingBoxFormat.IJKWHD).numpy()
        array([[30., 40., 50., 40., 40., 40.]])
        """
        return self._at(_checked(format), self._affine)

    def moved_to(self, affine: Any) -> Self:
        """Return the same boxes in the world as seen from the voxels of another grid.

        Parameters
        ----------
        affine : AffineMatrix, or what its constructor takes
            Of the other grid. Coordinates along voxel axes become those of its voxels (of the hull, where its axes
            are turned); coordinates along the patient's axes stay. Nothing is dropped or cut.

        Raises
        ------
        GeometryError
            If the affine has no inverse and the boxes count voxels.

        Examples
        --------
        >>> from medimg_cli.grid import Grid
        >>> grid = Grid((10, 20, 30), AffineMatrix.from_spacing((2, 3, 4)))
        >>> boxes = BoundingBoxes([[2, 3, 4, 5, 6, 7]], affine=grid.affine)
        >>> boxes.moved_to(grid.flipped(1).cropped(1).affine).numpy()
        array([[ 1., 12.,  3.,  4., 15.,  6.]])
        """
        return self._at(self._format, affine if isinstance(affine, AffineMatrix) else AffineMatrix(affine), placed=True)

    def _at(self, format: BoundingBoxFormat, affine: AffineMatrix, placed: bool | None = None) -> Self:
        source = self._source
        if format == source._format and source._same_frame(format.axes, affine):
            rows = source._rows
        else:
            rows = _ordered(source._rows, source._format.representation)
            if not source._same_frame(format.axes, affine):
                matrix = change(source.axes, source._affine, format.axes, affine).numpy()
                rows = _hulls(rows, source._format.representation, matrix)
            rows = _represented(rows, source._format.representation, format.representation)
        return self._seen(rows, _format=format, _affine=affine, _placed=self._placed if placed is None else placed)

    def inside(self, grid: Grid) -> Array:
        """Tell which boxes lie wholly in what a grid's voxels occupy.

        Parameters
        ----------
        grid : Grid
            The faces of the outermost voxels belong to it.

        Returns
        -------
        (N,) array of bool

        Raises
        ------
        GeometryError
            If the affine of the grid is singular.

        Examples
        --------
        >>> from medimg_cli.grid import Grid
        >>> boxes = BoundingBoxes([[-0.5, 0, 0, 9.5, 5, 29], [5, 5, 5, 10, 10, 10]])
        >>> boxes.inside(Grid((10, 20, 30)))
        array([ True, False])
        """
        rows = self._at(BoundingBoxFormat.IJKIJK, grid.affine)._rows
        low, high = np.minimum(rows[:, :3], rows[:, 3:]), np.maximum(rows[:, :3], rows[:, 3:])
        held = (low >= -0.5 - _EDGE) & (high <= np.subtract(grid.shape, 0.5) + _EDGE)
        return np.asarray(held.all(axis=1))

    def new_like(self, data: Any, *, labels: Any = None, affine: Any = None) -> Self:
        """Return other boxes with the same format and metadata.

        Parameters
        ----------
        data : (N, 6) tensor, array or nested sequence
        labels : (N,) integers, optional
            Left out: none.
        affine : AffineMatrix, or what its constructor takes, optional
            Left out: that of these boxes.
        """
        new = type(self)(data, self._format, labels=labels, affine=affine, metadata=self._metadata)
        return new if affine is not None else new._changed(_affine=self._affine, _placed=self._placed)

    @classmethod
    def read(cls, path: str | os.PathLike[str], *, format: BoundingBoxFormat | None = None, affine: Any = None) -> Self:
        """Read boxes from a file.

        Parameters
        ----------
        path : path-like or URL
            3D Slicer's markups (``.mrk.json``, ``.json``: its ROIs), or a table (``.csv``, ``.tsv``); see
            :mod:`medimg_cli.annotations.files`.
        format : BoundingBoxFormat, optional
            Wanted format. Left out: as in the file. Must be given for ROIs that are turned against each other, which
            no one format can hold: each then becomes its hull.
        affine : AffineMatrix, or what its constructor takes, optional
            Of the image that the boxes belong to: voxel axes are those of its voxels.

        Raises
        ------
        StorageError
            If the file cannot be read.
        FormatError
            If it does not hold boxes, or breaks its format's rules.
        UnsupportedError
            If a ROI is turned inside out, or ROIs are turned against each other and `format` is left out.
        UsageError
            If no format has that suffix.
        """
        from medimg_cli.annotations.files import read

        found = read(cls, path, format=format, affine=affine)
        return found if format is None else found.to_format(format)

    def _picked(self, rows: Array) -> Self:
        picked = super()._picked(rows)
        picked._labels = None if self._labels is None else self._labels[rows]
        return picked

    def _compared(self) -> tuple[Any, ...]:
        return *super()._compared(), self._format, self._labels

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(num_boxes={self.num_boxes}, axes={self._format.axes!r},"
            f" representation={self._format.representation.value!r})"
        )


def _checked(format: Any) -> BoundingBoxFormat:
    if not isinstance(format, BoundingBoxFormat):
        raise TypeError(f"format is a {type(format).__name__}, expected a BoundingBoxFormat")
    return format


def _parse_labels(labels: Any, count: int) -> Array:
    array, _ = numbers(labels, "labels")
    if array.shape != (count,):
        raise GeometryError(f"labels have shape {array.shape}, expected ({count},): one for each box")
    if array.size and array.dtype.kind not in "iu":
        raise GeometryError(f"labels are of type {array.dtype}, expected integers")
    return array.astype(np.int64)


def _ordered(rows: Array, representation: Representation) -> Array:
    """Put the lower corner first, make sizes positive."""
    first, second = rows[:, :3], rows[:, 3:]
    if representation is Representation.CENTER_SIZE:
        return np.hstack([first, np.abs(second)])
    return np.hstack([np.minimum(first, second), np.maximum(first, second)])


def _hulls(rows: Array, representation: Representation, matrix: Array) -> Array:
    """Return the smallest boxes around what a map makes of boxes; exact where it only permutes and flips."""
    block, shift = matrix[:3, :3], matrix[:3, 3]
    first, second = rows[:, :3], rows[:, 3:]
    if representation is Representation.CENTER_SIZE:
        return np.hstack([first @ block.T + shift, second @ np.abs(block).T])
    up, down = np.maximum(block, 0.0).T, np.minimum(block, 0.0).T
    return np.hstack([first @ up + second @ down + shift, second @ up + first @ down + shift])


def _represented(rows: Array, old: Representation, new: Representation) -> Array:
    if old is new:
        return rows
    first, second = rows[:, :3], rows[:, 3:]
    if new is Representation.CENTER_SIZE:
        return np.hstack([(first + second) / 2, second - first])
    return np.hstack([first - second / 2, first + second / 2])

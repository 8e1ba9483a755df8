"""`Points`: places in the world, by coordinates along voxel axes or the patient's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import change, parse_axes
from medimg_cli.annotations.base import Annotation, Array

if TYPE_CHECKING:
    import os

    import torch

    from medimg_cli.grid import Grid

__all__ = ["Points"]


class Points(Annotation):
    """A list of points.

    Whole voxel coordinates are the centres of voxels. Coordinates along the patient's axes are in mm.

    Parameters
    ----------
    data : (N, 3) tensor, array or nested sequence
        Real numbers, copied. NaN stands for a place that is not known.
    axes : str
        A permutation of ``"IJK"`` (voxel indices, fractions allowed), or one letter of each pair R/L, A/P, S/I in
        any order: the directions that the coordinates grow towards.
    affine : AffineMatrix, or what its constructor takes, optional
        Of the image whose voxels ``IJK`` counts. Left out: the identity, until an image takes the points in.
    metadata : mapping, optional
        See `metadata`.

    Raises
    ------
    GeometryError
        If `data` are not (N, 3) real numbers, one is infinite, or the affine is none.
    UsageError
        If `axes` are neither.

    Examples
    --------
    >>> affine = AffineMatrix([[0, -2, 0, 90], [1.5, 0, 0, -60], [0, 0, 3, -72]])
    >>> points = Points([[10, 20, 30], [0, 0, 0.5]], affine=affine, metadata={"names": ["AC", "PC"]})
    >>> points
    Points(num_points=2, axes='IJK')
    >>> points.numpy("RAS")
    array([[ 50. , -45. ,  18. ],
           [ 90. , -60. , -70.5]])
    >>> points.to_axes("LPS").numpy()[0]
    array([-50.,  45.,  18.])
    """

    _noun, _columns = "points", 3

    def __init__(
        self, data: Any, axes: str = "IJK", *, affine: Any = None, metadata: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, affine, metadata)
        self._axes = parse_axes(axes)

    @property
    def axes(self) -> str:
        """The axes of the coordinates, such as ``"IJK"`` or ``"RAS"``."""
        return self._axes

    @property
    def num_points(self) -> int:
        """Number of points."""
        return len(self._rows)

    def numpy(self, axes: str | None = None) -> Array:
        """Return the coordinates as a new writable array, (N, 3), float64.

        Parameters
        ----------
        axes : str, optional
            Axes to count along, as in `to_axes`; left out: those of the points.
        """
        return np.array(self._rows if axes is None else self.to_axes(axes)._rows)

    def to_world(self) -> torch.Tensor:
        """Return the points in RAS+ mm as a new (N, 3) tensor; an array where torch is not installed.

        Examples
        --------
        >>> Points([[1.0, 2.0, 3.0]], axes="LPS").to_world().tolist()
        [[-1.0, -2.0, 3.0]]
        """
        return self.to_axes("RAS").data

    def to_axes(self, axes: str) -> Self:
        """Return the points in coordinates along other axes.

        Parameters
        ----------
        axes : str
            As in the constructor.

        Raises
        ------
        UsageError
            If `axes` are neither a permutation of IJK nor one letter of each pair.
        GeometryError
            If the affine has no inverse and one is needed.

        Examples
        --------
        >>> oblique = AffineMatrix.from_spacing((1, 1, 2), direction=(0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1))
        >>> Points([[5.0, 0.0, 1.0]], affine=oblique).to_axes("SRA").numpy()
        array([[2., 3., 4.]])
        >>> Points([[4.0, -3.0, 2.0]], axes="RAS", affine=oblique).to_axes("KJI").numpy().round(9) + 0.0
        array([[ 1., -5.,  0.]])
        """
        return self._at(parse_axes(axes), self._affine)

    def moved_to(self, affine: Any) -> Self:
        """Return the same places in the world as seen from the voxels of another grid.

        Parameters
        ----------
        affine : AffineMatrix, or what its constructor takes
            Of the other grid. Coordinates along voxel axes become indices of its voxels; coordinates along the
            patient's axes stay as they are. Nothing is dropped, wherever it comes to lie.

        Raises
        ------
        GeometryError
            If the affine has no inverse and the points count voxels.

        Examples
        --------
        >>> from medimg_cli.grid import Grid
        >>> grid = Grid((10, 20, 30), AffineMatrix.from_spacing((2, 3, 4), origin=(5, 6, 7)))
        >>> Points([[2.0, 3.0, 4.0]], affine=grid.affine).moved_to(grid[2:, ::-1, ::2].affine).numpy()
        array([[ 0., 16.,  2.]])
        """
        return self._at(self._axes, affine if isinstance(affine, AffineMatrix) else AffineMatrix(affine), placed=True)

    def _at(self, axes: str, affine: AffineMatrix, placed: bool | None = None) -> Self:
        source = self._source
        if source._same_frame(axes, affine):
            rows = source._rows
        else:
            matrix = change(source._axes, source._affine, axes, affine).numpy()
            rows = source._rows @ matrix[:3, :3].T + matrix[:3, 3]
        return self._seen(rows, _axes=axes, _affine=affine, _placed=self._placed if placed is None else placed)

    def inside(self, grid: Grid) -> Array:
        """Tell which points lie in what a grid's voxels occupy.

        Parameters
        ----------
        grid : Grid
            The faces of the outermost voxels belong to it.

        Returns
        -------
        (N,) array of bool
            False for a place that is not known.

        Raises
        ------
        GeometryError
            If the affine of the grid is singular.

        Examples
        --------
        >>> from medimg_cli.grid import Grid
        >>> Points([[0.0, 0, 0], [-0.6, 0, 0], [9.4, 19, 29.5]]).inside(Grid((10, 20, 30)))
        array([ True, False,  True])
        """
        found: Array = np.asarray(grid.contains(self.numpy("RAS")))
        return found

    def new_like(self, data: Any, *, affine: Any = None) -> Self:
        """Return other points with the same axes and metadata.

        Parameters
        ----------
        data : (N, 3) tensor, array or nested sequence
        affine : AffineMatrix, or what its constructor takes, optional
            Left out: that of these points.
        """
        new = type(self)(data, self._axes, affine=affine, metadata=self._metadata)
        return new if affine is not None else new._changed(_affine=self._affine, _placed=self._placed)

    @classmethod
    def read(
        cls, path: str | os.PathLike[str], *, axes: str | None = None, name: str | None = None, affine: Any = None
    ) -> Self:
        """Read points from a file.

        Parameters
        ----------
        path : path-like or URL
            3D Slicer's markups (``.mrk.json``, ``.json``), its old ``.fcsv``, or a table (``.csv``, ``.tsv``); see
            :mod:`medimg_cli.annotations.files`.
        axes : str, optional
            Axes of a table whose columns are named x, y, z and that does not say itself.
        name : str, optional
            Which list of a markups file that holds several.
        affine : AffineMatrix, or what its constructor takes, optional
            Of the image that the points belong to; a table's own comes first.

        Returns
        -------
        Points
            Along the axes that the file is written in.

        Raises
        ------
        StorageError
            If the file cannot be read.
        FormatError
            If it does not hold points, or breaks its format's rules.
        UsageError
            If no format has that suffix, or the file leaves a question open that a parameter answers.
        """
        from medimg_cli.annotations.files import read

        return read(cls, path, axes=axes, name=name, affine=affine)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_points={self.num_points}, axes={self._axes!r})"

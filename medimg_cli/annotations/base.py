"""What points and boxes share: rows of numbers, the affine of their voxels, metadata, tensors in and out."""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import is_voxel
from medimg_cli.errors import GeometryError, MissingExtraError

if TYPE_CHECKING:
    import os

    import torch

__all__ = ["PER_ROW", "Annotation", "Array", "numbers", "tensor"]

Array = np.ndarray[Any, Any]

PER_ROW = ("names", "descriptions")
"""Metadata that hold one text a row."""

_LIMIT = 1e100  # as in an affine


class Like(NamedTuple):
    """dtype and device of the tensors that an annotation hands out."""

    dtype: str = "float64"
    device: str = "cpu"


class Annotation:
    """Rows of coordinates with the frame that they count in; see `Points` and `BoundingBoxes`.

    The numbers are float64 and don't change; a new annotation that was computed from another one remembers that
    one, so that the way back returns its very numbers.
    """

    _noun: ClassVar[str]
    _columns: ClassVar[int]

    _rows: Array
    _home: Any

    def __init__(self, data: Any, affine: Any, metadata: Mapping[str, Any] | None) -> None:
        self._rows, self._like = _rows(data, self._noun, self._columns)
        self._placed = affine is not None
        self._affine = affine if isinstance(affine, AffineMatrix) else AffineMatrix(affine)
        self._metadata = dict(metadata or {})
        self._home = None

    @property
    def axes(self) -> str:
        """The axes of the coordinates, such as ``"IJK"`` or ``"RAS"``."""
        raise NotImplementedError

    @property
    def data(self) -> torch.Tensor:
        """The coordinates as a new tensor, of the dtype and on the device of the tensor given, else float64.

        Where torch is not installed, an array: `numpy` returns one always.
        """
        return tensor(self._rows, *self._like)

    @property
    def affine(self) -> AffineMatrix:
        """The map from voxel indices to RAS+ mm; the identity where none was given."""
        return self._affine

    @property
    def has_affine(self) -> bool:
        """Whether an affine was given: without one, voxel coordinates have no place in the world yet."""
        return self._placed

    @property
    def metadata(self) -> dict[str, Any]:
        """What else is known, a dictionary of your own keys.

        Files hold ``"names"`` and ``"descriptions"`` (lists of texts, one a row) and ``"name"`` (of the whole).
        """
        return self._metadata

    @property
    def device(self) -> torch.device:
        """The device of the tensors handed out.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        return _torch().device(self._like.device)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Set dtype and device of the tensors handed out, as ``torch.Tensor.to`` takes them; return this object.

        The numbers inside stay float64.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        torch = _torch()
        before = torch.empty(0, dtype=getattr(torch, self._like.dtype), device=self._like.device)
        self._like = _like(before.to(*args, **kwargs))
        return self

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
            If the affine has no inverse and one is needed.
        """
        raise NotImplementedError

    def write(
        self, path: str | os.PathLike[str], *, axes: Any = None, strict: bool = False, force: bool = True
    ) -> tuple[str, ...]:
        """Write a file, which appears whole or not at all.

        Parameters
        ----------
        path : path-like
            ``.mrk.json`` and ``.json`` are 3D Slicer's markups, ``.csv`` and ``.tsv`` tables, ``.fcsv`` is Slicer's
            old list of points; see :mod:`medimg_cli.annotations.files`.
        axes : str, optional
            Axes of a table's coordinates. Left out: those of the annotation; but voxel coordinates of points become
            RAS where the affine is known, because a table of points that Slicer reads cannot hold an affine.
        strict : bool
            Whether metadata that the file cannot hold are an error.
        force : bool
            Whether a file of that name may be replaced.

        Returns
        -------
        tuple of str
            What the file does not hold; a `LossWarning` says the same.

        Raises
        ------
        UsageError
            If no format has that suffix, voxel coordinates without an affine should go where millimetres belong, or
            names and descriptions are not one text a row.
        UnsupportedError, GeometryError
            If the format cannot hold such boxes.
        LossError
            If ``strict`` and something would be lost; nothing has been written then.
        StorageError
            If the file cannot be written.
        """
        from medimg_cli.annotations.files import write

        return write(self, path, axes=axes, strict=strict, force=force)

    def _changed(self, **changes: Any) -> Self:
        """Return a copy with other attributes; metadata are copied, too."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _metadata=copy.deepcopy(self._metadata))
        new.__dict__.update(changes)
        new._rows.setflags(write=False)
        return new

    def _seen(self, rows: Array, **changes: Any) -> Self:
        """Return what is computed from this annotation, or from the one that this was computed from."""
        like = self._like if "float" in self._like.dtype else self._like._replace(dtype="float64")
        return self._changed(_rows=rows, _home=self._source, _like=like, **changes)

    @property
    def _source(self) -> Any:
        return self if self._home is None else self._home

    def _same_frame(self, axes: str, affine: AffineMatrix) -> bool:
        """Tell whether coordinates along some axes, of voxels of an affine, are those of this annotation."""
        return axes == self.axes and (not is_voxel(axes) or affine == self._affine)

    def _picked(self, rows: Array) -> Self:
        metadata = dict(self._metadata)
        for key in PER_ROW:
            if isinstance(metadata.get(key), list | tuple) and len(metadata[key]) == len(self):
                metadata[key] = [metadata[key][row] for row in rows]
        home = None if self._home is None else self._home._picked(rows)
        return self._changed(_rows=self._rows[rows], _metadata=copy.deepcopy(metadata), _home=home)

    def __getitem__(self, index: Any) -> Self:
        """Return some of the rows; an int keeps its axis.

        Parameters
        ----------
        index : int, slice, list of ints or mask
            As NumPy indexes the first axis. Names, descriptions and labels follow.

        Raises
        ------
        IndexError
            If an index lies outside.
        """
        if hasattr(index, "__array__"):
            index = np.asarray(index)
        return self._picked(np.atleast_1d(np.arange(len(self))[index]))

    def __len__(self) -> int:
        return len(self._rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError(f"{self._noun} hand out no view: a copy is always made")
        return np.array(self._rows, dtype=dtype)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Annotation) or type(self) is not type(other):
            return NotImplemented
        mine, theirs = self._compared(), other._compared()
        return all(_equal(left, right) for left, right in zip(mine, theirs, strict=True))

    def _compared(self) -> tuple[Any, ...]:
        return self.axes, self._affine, self._rows, self._metadata

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        return self._changed()

    def __deepcopy__(self, memo: object) -> Self:
        return self._changed()


def tensor(array: Array, dtype: str, device: str) -> Any:
    """Return a new tensor of an array's numbers; a copy of the array where torch is not installed."""
    try:
        torch = _torch()
    except MissingExtraError:
        return array.copy()
    return torch.tensor(array, dtype=getattr(torch, dtype), device=device)


def numbers(data: Any, noun: str) -> tuple[Array, Like]:
    """Return an array of what may be a tensor, an array or nested sequences, and what tensors made of it are like.

    Raises
    ------
    GeometryError
        If it is no array of real numbers.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(data, torch.Tensor):
        like = _like(data)
        data = data.detach().cpu()
        return (data.to(torch.float64) if data.is_floating_point() else data).numpy(), like
    try:
        array = np.asarray(data)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"{noun} are no array of numbers: {str(error)[:60]}") from None
    if array.dtype.kind not in "iufb":
        raise GeometryError(f"{noun} are of type {array.dtype}, expected real numbers")
    return array, Like()


def _rows(data: Any, noun: str, columns: int) -> tuple[Array, Like]:
    array, like = numbers(data, noun)
    if array.ndim != 2 or array.shape[1] != columns:
        raise GeometryError(f"{noun} have shape {array.shape}, expected (N, {columns})")
    rows = np.array(array, dtype=np.float64)
    if not np.all((np.abs(rows) < _LIMIT) | np.isnan(rows)):
        raise GeometryError(f"{noun} hold a number that is infinite or beyond {_LIMIT:g}")
    rows.setflags(write=False)
    return rows, like


def _like(data: Any) -> Like:
    return Like(str(data.dtype).removeprefix("torch."), str(data.device))


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch is not installed", hint="pip install 'medimg-cli[torch]'") from None
    return torch


def _equal(left: Any, right: Any) -> bool:
    """Compare what may hold arrays; NaN equals NaN in them."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, AffineMatrix):
        return bool(left == right)
    if hasattr(left, "__array__") and hasattr(right, "__array__"):
        one, two = np.asarray(left), np.asarray(right)
        return np.array_equal(one, two, equal_nan=one.dtype.kind in "fc" and two.dtype.kind in "fc")
    return bool(left == right)

"""`Image`, `ScalarImage`, `LabelMap`: voxels with their place in the world, read when somebody asks for them.

An image holds one backend. Its header answers every question about geometry and metadata; voxels are read
when they are asked for, and only those. Operations return new images and leave this one as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from medimg_cli.backends import with_header
from medimg_cli.errors import LossWarning, UsageError
from medimg_cli.labels import LabelTable
from medimg_cli.members import Metadata
from medimg_cli.shown import Shown
from medimg_cli.sources import Options, open_any, paths_of
from medimg_cli.sources.arrays import same_tensor
from medimg_cli.sources.placing import placed_by, promise_of
from medimg_cli.sources.readers import settled
from medimg_cli.storage.urls import public_name
from medimg_cli.text import escape
from medimg_cli.voxels import in_memory

if TYPE_CHECKING:
    from medimg_cli.header import Difference

__all__ = ["Image", "LabelMap", "LossWarning", "ScalarImage"]


class Image(Shown):
    """A medical image: (C, I, J, K) voxels, and where they lie in RAS+ mm.

    Parameters
    ----------
    source : optional
        A path or URL of a file, of a folder of DICOM files, or of a Zarr store; an array or tensor (C, I, J, K); an
        image of nibabel, SimpleITK, xarray, MONAI or TorchIO, or any array with origin, spacing and direction (LPS+,
        as itk); bytes or a binary file object; another image; a sequence of paths, concatenated on the channel axis.
        Left out: an empty image that gets its voxels by `set_data`.
    *more : paths
        Further paths to concatenate.
    affine : AffineMatrix or 4 x 4, optional
        Voxel -> RAS+ mm, instead of what the source says.
    spacing, origin, direction : optional
        Instead of these parts of what the source says.
    reader : callable or object, optional
        Reads the path: ``reader(path, **reader_kwargs)`` returns (array, affine or None). An object with
        ``create_backend(request)`` returns a lazy backend for ``request.path``.
    reader_kwargs : mapping, optional
        For the reader. Without one, for DICOM: ``series`` (a UID, a number, a pattern of the description, or "@N"),
        ``gaps`` ("refuse", "ignore", "resample"), ``tolerance`` in mm and ``untilt``.
    channels_last : bool
        Whether an array is (I, J, K, C).
    suffix : str, optional
        Suffix of bytes and file objects that have no name, such as ``".nii.gz"``.
    check_nans : bool
        Whether to warn of NaN among the voxels once they are loaded.
    points : mapping of str to Points, optional
        Named sets of points, or one without a name; coordinates without an affine of their own are voxels of the
        image.
    bounding_boxes : mapping of str to BoundingBoxes, optional
        Named sets of boxes, likewise.
    **metadata
        Key-values, for `metadata`. ``path=`` and ``tensor=`` are other spellings of ``source``.

    Raises
    ------
    TypeError
        If the source is none, or a key of the metadata is the name of a member.
    ValueError
        If an array is not 4-D, or files to concatenate do not lie on the same grid.
    OSError
        If a file cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> image = ScalarImage(np.zeros((1, 10, 20, 30), "int16"), spacing=(1, 1, 2), origin=(-5, 0, 5), te=3.5)
    >>> part = image[:, 2:8:3, ::-1]
    >>> part.shape, part.spacing, part.orientation, part.te
    ((1, 2, 20, 30), (3.0, 1.0, 2.0), ('R', 'P', 'S'), 3.5)
    """

    def __init__(
        self,
        source: Any = None,
        *more: Any,
        affine: Any = None,
        spacing: Any = None,
        origin: Any = None,
        direction: Any = None,
        reader: Any = None,
        reader_kwargs: Mapping[str, Any] | None = None,
        channels_last: bool = False,
        suffix: str | None = None,
        check_nans: bool = False,
        points: Any = None,
        bounding_boxes: Any = None,
        **metadata: Any,
    ) -> None:
        source, path = _one_source(source, more, metadata)
        options = Options(
            reader=reader, reader_kwargs=dict(reader_kwargs or {}), channels_last=channels_last, suffix=suffix
        )
        self._points, self._boxes = {}, {}
        if isinstance(source, Image):
            self.__dict__.update(source._derived(source._backend).__dict__)
            self._path = source._path
        else:
            backend, found = open_any(source, options)
            self._take(backend, exposed=in_memory(backend))
            self._path, self._tensor = path or found, same_tensor(source, backend)
        self.check_nans = check_nans
        self._backend = placed_by(self._backend, affine=affine, spacing=spacing, origin=origin, direction=direction)
        for key, value in metadata.items():
            if key.startswith("_") or hasattr(type(self), key):
                raise TypeError(f"{key!r} is a member of {type(self).__name__}, it cannot be the name of metadata")
            self.metadata[key] = value
        if points is not None:
            self.points = points
        if bounding_boxes is not None:
            self.bounding_boxes = bounding_boxes
        self._warn_of_nans()

    # -- factories

    @classmethod
    def from_array(cls, array: Any, dims: str = "ijk", **options: Any) -> Self:
        """Make an image from an array whose axes are named; its memory is shared.

        Parameters
        ----------
        array : array or tensor, 2-D to 4-D
        dims : str
            One letter for each axis: i, j, k, and c for channels or t for time, such as "kji" or "ijkc".
        **options
            As the constructor: affine, or spacing, origin and direction; metadata.

        Raises
        ------
        GeometryError
            If the letters do not match the array.

        Examples
        --------
        >>> import numpy as np
        >>> Image.from_array(np.zeros((30, 20, 10)), "kji", spacing=2).shape
        (1, 10, 20, 30)
        """
        from medimg_cli.sources.arrays import array_backend, from_dims

        found, axes = from_dims(array, dims)
        backend = array_backend(found)
        return cls(with_header(backend, backend.header.replace(axes=axes)), **options)

    @classmethod
    def empty(cls, shape: Sequence[int], dtype: Any = "float32", **options: Any) -> Self:
        """Make an image of zeros.

        Parameters
        ----------
        shape : (I, J, K) or (C, I, J, K)
        dtype : str or dtype
        **options
            As the constructor.

        Raises
        ------
        GeometryError
            If an axis has no voxels.
        """
        import numpy as np

        from medimg_cli.backends import numpy_dtype
        from medimg_cli.operations.cast import dtype_name

        sizes = (1, *shape) if len(shape) == 3 else tuple(shape)
        return cls(np.zeros(sizes, numpy_dtype(dtype_name(dtype))), **options)

    @classmethod
    def from_sitk(cls, image: Any, **options: Any) -> Self:
        """Make an image from a SimpleITK image; ``options`` as the constructor."""
        return cls(image, **options)

    @classmethod
    def from_nibabel(cls, image: Any, **options: Any) -> Self:
        """Make an image from a nibabel image, lazily; ``options`` as the constructor."""
        return cls(image, **options)

    @classmethod
    def from_xarray(cls, array: Any, **options: Any) -> Self:
        """Make an image from an xarray `DataArray` with spatial coordinates (LPS+); ``options`` as the constructor."""
        return cls(array, **options)

    # -- what it is

    @property
    def metadata(self) -> Metadata:
        """Key-values: text, numbers, bools and lists of them; writing one changes the image's header."""

        def read() -> Mapping[str, Any]:
            promise = promise_of(self._backend)
            return self.header.metadata if promise is None else promise.metadata

        def write(metadata: dict[str, Any]) -> None:
            promise = promise_of(self._backend)
            if promise is None:
                self._replace_header(self.header.replace(metadata=metadata))
            else:
                promise.metadata = metadata

        return Metadata(read, write)

    @property
    def type(self) -> str:
        """ "label" where the header says that values are labels, else "intensity"."""
        known = promise_of(self._backend) is None
        return "label" if known and self.header.intent == "label" else "intensity"

    # -- index and attribute

    def __getitem__(self, item: Any) -> Any:
        """Return a part of the image, or the value of a key of its metadata.

        Parameters
        ----------
        item : str, int, slice, Ellipsis, or a tuple of them
            As in NumPy on (C, I, J, K), but an int keeps its axis with size 1. Start, step and sign change
            the affine.

        Raises
        ------
        KeyError
            If there is no such key.
        RegionError
            If an index lies outside, selects nothing, or is a mask or a list.
        """
        if isinstance(item, str):
            return self.metadata[item]
        from medimg_cli.operations.slicing import Slice

        return self.apply(Slice.of(item, self.shape))

    def __contains__(self, key: object) -> bool:
        return key in self.metadata

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and not hasattr(type(self), name) and "_backend" in self.__dict__:
            try:
                return self.metadata[name]
            except KeyError:
                pass
        raise AttributeError(f"{type(self).__name__} has no attribute and no metadata {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        plain = name.startswith("_") or hasattr(type(self), name) or "_backend" not in self.__dict__
        if plain or name not in self.metadata:
            super().__setattr__(name, value)
        else:
            self.metadata[name] = value

    # -- out

    def save(
        self,
        path: str | os.PathLike[str],
        squeeze: bool | None = None,
        dtype: Any = None,
        compression_level: int | None = None,
        strict: bool = False,
    ) -> tuple[Difference, ...]:
        """Write the image to a file, which appears whole or not at all; one of that name is replaced.

        The values are stored as they were in the file that the image comes from, dtype and slope, where every
        one fits exactly.

        Parameters
        ----------
        path : path-like
            Its suffix names format and compression.
        squeeze : bool, optional
            True: axes of one voxel at the end of the spatial axes are not written; False: they are. Left out:
            as the image was read.
        dtype : str or dtype, optional
            Stored type; a cast that would lose something is refused.
        compression_level : int, optional
        strict : bool
            Whether anything that the format cannot hold is an error.

        Returns
        -------
        tuple of Difference
            What the file could not hold; a `LossWarning` says the same.

        Raises
        ------
        CastError, LossError, StorageError
            Before a file appears.
        """
        from medimg_cli.formats.writing import save_backend
        from medimg_cli.operations.casting import outgoing

        name = os.fsdecode(os.path.expanduser(os.fspath(path)))
        backend = outgoing(settled(self._backend), dtype, self._storage, squeeze)
        lost = save_backend(backend, name, level=compression_level, force=True, strict=strict)
        if lost:
            import warnings

            warnings.warn(f"{name} does not hold: {'; '.join(map(str, lost))}", LossWarning, stacklevel=2)
        return lost

    def save_dicom(
        self,
        folder: str | os.PathLike[str],
        *,
        modality: str = "MR",
        metadata: Mapping[str, Any] | None = None,
        template: str | os.PathLike[str] | None = None,
        pattern: str = "{number:05d}.dcm",
        series_number: int | None = None,
        description: str | None = None,
        rescale: bool = False,
        force: bool = False,
    ) -> list[str]:
        """Write the image as a DICOM series, one file for each slice; the folder appears whole or not at all.

        A left-handed image is numbered backwards along k, because a series cannot say it otherwise: voxels keep
        their places.

        Parameters
        ----------
        folder : path-like
        modality : str
            "MR", "CT", "PT" or "OT" (Secondary Capture).
        metadata : mapping, optional
            Values of further attributes by DICOM keyword, such as ``{"PatientID": "42"}``.
        template : path-like, optional
            DICOM folder or file whose patient, study, equipment and acquisition the series takes over.
        pattern : str
            Name of each file, with one field for its number, such as ``IM{:04d}.dcm``.
        series_number : int, optional
            Left out: that of the template + 1000, or none.
        description : str, optional
            SeriesDescription; left out: that of the image.
        rescale : bool
            Whether values that 16 bits cannot hold may be rounded to a slope.
        force : bool
            Whether a folder with a series of that name may be replaced.

        Returns
        -------
        list of str
            The files.

        Raises
        ------
        CastError
            If values do not fit into 16 bits and ``rescale`` is not given.
        GeometryError
            If the axes are sheared.
        UsageError
            If a keyword or value is none of DICOM's.
        """
        from medimg_cli.formats.dicom.writing import save_dicom

        name = os.fsdecode(os.path.expanduser(os.fspath(folder)))
        inherited = None if template is None else os.fsdecode(os.path.expanduser(os.fspath(template)))
        return save_dicom(
            settled(self._backend), name, modality=modality, metadata=metadata, template=inherited, pattern=pattern,
            series_number=series_number, description=description, rescale=rescale, force=force,
        )  # fmt: skip

    def as_sitk(self) -> Any:
        """Return the image as a SimpleITK image (LPS+, as ITK counts)."""
        from medimg_cli.interop import to_sitk

        return to_sitk(settled(self._backend))

    def as_nibabel(self) -> Any:
        """Return the image as a nibabel image."""
        from medimg_cli.interop import to_nibabel

        return to_nibabel(settled(self._backend))

    def as_monai(self) -> Any:
        """Return the image as a MONAI ``MetaTensor``, (C, I, J, K), RAS+."""
        from medimg_cli.interop import to_monai

        return to_monai(settled(self._backend), self._path)

    def to_xarray(self) -> Any:
        """Return the image as an xarray ``DataArray`` ([t,] z, y, x[, c]) with coordinates in mm, LPS+ as ITK's."""
        from medimg_cli.interop import to_xarray

        return to_xarray(settled(self._backend))

    # -- Python

    def __repr__(self) -> str:
        name = type(self).__name__
        path = "" if self._path is None else f'path: "{_printable(self._path)}"'
        if promise_of(self._backend) is not None:
            return f"{name}({path}; not loaded)" if path else f"{name}(empty)"
        header = self.header
        spacing = ", ".join(f"{size:.2f}" for size in header.spacing)
        facts = [
            f"shape: {header.shape}",
            f"spacing: ({spacing})",
            f"orientation: {''.join(header.orientation)}+",
        ]
        facts.append(f"dtype: {header.value_dtype}" + (f" (stored: {header.dtype})" if header.scaled else ""))
        facts.append(f"memory: {_human(self.memory)}{'' if self.is_loaded else ', not loaded'}")
        return f"{name}({'; '.join([*facts, *([path] if path else [])])})"


class ScalarImage(Image):
    """An image of intensities."""

    @property
    def type(self) -> str:
        """ "intensity"."""
        return "intensity"


class LabelMap(Image):
    """An image of labels: no operation invents values in it, and operations on intensities leave it alone."""

    @property
    def type(self) -> str:
        """ "label"."""
        return "label"

    @property
    def labels(self) -> LabelTable:
        """Names and colours of the labels; empty where the image has none. It can be set."""
        return self.header.labels or LabelTable()

    @labels.setter
    def labels(self, labels: Any) -> None:
        table = labels if isinstance(labels, LabelTable) else LabelTable(labels)
        self._replace_header(self.header.replace(labels=table if len(table) else None))

    def save_dicom(  # type: ignore[override]
        self,
        path: str | os.PathLike[str],
        *,
        template: str | os.PathLike[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> list[str]:
        """Write the label map as one DICOM Segmentation, with the names and colours of its labels.

        Parameters
        ----------
        path : path-like
            A file, usually ``.dcm``. ``Image(labels).save_dicom(folder)`` writes a series of numbers instead.
        template : path-like, optional
            DICOM folder or file of the image that it belongs to, on the same grid: patient, study and frame of
            reference are taken over, and its files are referred to.
        metadata : mapping, optional
            Values of further attributes by DICOM keyword.
        force : bool
            Whether an existing file may be replaced.

        Returns
        -------
        list of str
            The one file.

        Raises
        ------
        GeometryError
            If the template lies on another grid; the line says how far away.
        UsageError
            If a keyword or value is none of DICOM's.
        """
        from medimg_cli.formats.dicom.segmenting import save_segmentation

        name, inherited = (
            None if each is None else os.fsdecode(os.path.expanduser(os.fspath(each))) for each in (path, template)
        )
        made = save_segmentation(settled(self._backend), str(name), template=inherited, metadata=metadata, force=force)
        return [made]

    def cast(self, dtype: Any, *, round: bool = False, clip: bool = False, rescale: Any = None) -> Self:
        """Return the label map stored in another dtype; only where every label fits.

        Raises
        ------
        CastError
            If one does not.
        UsageError
            If labels are to be rounded, clipped or rescaled.
        """
        if round or clip or rescale:
            raise UsageError("labels are never rounded, clipped or rescaled", hint="remap them, or use ScalarImage")
        return super().cast(dtype)

    def count(self) -> dict[int | float, int]:
        """Count the voxels of each label in all channels, 0 included; streamed, not loaded."""
        from medimg_cli.statistics import count_values

        return count_values(settled(self._backend))

    def volumes(self) -> dict[int | float, float]:
        """Return the volume of each label in mm3."""
        size = abs(self.affine.determinant)
        return {value: voxels * size for value, voxels in self.count().items()}

    def remap(self, mapping: Any, *, default: int | None = None) -> Self:
        """Return the label map with labels renumbered, all at once, as `operations.relabel.Remap` says."""
        from medimg_cli.operations.relabel import Remap

        return self.apply(Remap(mapping, default=default))

    def one_hot(self, values: Sequence[int] | None = None) -> Self:
        """Return one channel for each label, as `operations.relabel.OneHot` says."""
        from medimg_cli.operations.relabel import OneHot

        return self.apply(OneHot(values))


def _one_source(source: Any, more: Sequence[Any], metadata: dict[str, Any]) -> tuple[Any, Any]:
    """Return the one source that a call names, and the path that it gives besides a tensor."""
    named = {name: metadata.pop(name) for name in ("tensor", "path") if name in metadata}
    given = {name: value for name, value in named.items() if value is not None}
    if given and source is not None:
        raise TypeError(f"the source is given twice: once by position, once as {' and '.join(given)}=")
    if more:
        return [source, *more], None
    if "tensor" in given:
        return given["tensor"], paths_of(given.get("path"))
    return given.get("path", source), None


def _human(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.1f} {units[0]}" if units[0] != "B" else f"{count} B"


def _printable(path: Path | str | list[Path | str]) -> str:
    first = public_name(str(path[0] if isinstance(path, list) else path))
    text = f"{first} and {len(path) - 1} more" if isinstance(path, list) else first
    return escape(text)

"""nibabel images to and from backends: RAS+ as here, further axes last."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend, StoredBackend, as_slice
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import UnsupportedError
from medimg_cli.formats.foreign import ForeignBackend, foreign_errors
from medimg_cli.header import Header
from medimg_cli.storage.stored import Region, StoredArray

if TYPE_CHECKING:
    import numpy as np

__all__ = ["NibabelBackend", "from_nibabel", "to_nibabel"]

#: Classes of nibabel whose voxels no plain proxy describes; their files are opened instead.
_BY_FILE = ("Minc1Image", "Minc2Image", "PARRECImage", "AFNIImage")


def from_nibabel(image: Any) -> Backend:
    """Return a nibabel image as a backend; nothing is read where its voxels are still in a file.

    Parameters
    ----------
    image : nibabel.spatialimages.SpatialImage
        Its affine is used. An image without orientation (both codes of NIfTI 0) has voxel sizes alone here, as its
        file would have; nibabel shows a centre and LAS of its own making.

    Raises
    ------
    UnsupportedError
        If it is no image of voxels (CIFTI, GIFTI), or of a type without counterpart.
    """
    import nibabel as nib
    from nibabel.spatialimages import SpatialImage

    if not isinstance(image, SpatialImage):
        raise UnsupportedError(f"a {type(image).__name__} is no image of voxels")
    if type(image).__name__ in _BY_FILE:
        return _from_its_file(image)
    affine = AffineMatrix(image.affine) if image.affine is not None else None
    if isinstance(image, nib.Nifti1Pair):
        header = _nifti_header(image, nib)
        best = image.header.get_best_affine()
        if affine is not None and not affine.allclose(AffineMatrix(best)):
            header = header.replace(affine=affine, affine_source="nibabel")
    else:
        header = _plain_header(image, affine or AffineMatrix())
    return _nibabel_voxels(image.dataobj, header, nib)


def _from_its_file(image: Any) -> Backend:
    from medimg_cli.formats import open_backend

    name = image.file_map["header" if "header" in image.file_map else "image"].filename
    if name is None:
        raise UnsupportedError(f"a {type(image).__name__} without a file is not supported")
    backend: Any = open_backend(name)
    affine = AffineMatrix(image.affine)
    if not affine.allclose(backend.header.affine, 1e-4):
        backend.header = backend.header.replace(affine=affine, affine_source="nibabel")
    result: Backend = backend
    return result


def _nifti_header(image: Any, nib: Any) -> Header:
    """Let our own codec read the header of a NIfTI image, extensions included."""
    from io import BytesIO

    from medimg_cli.formats import nifti
    from medimg_cli.storage.source import MemorySource

    kind = nib.Nifti2Header if isinstance(image.header, nib.Nifti2Header) else nib.Nifti1Header
    raw = kind.from_header(image.header, check=False)
    raw.extensions = type(image.header.extensions)(image.header.extensions)
    if raw.get_data_shape() != image.shape:  # setting it forgets the size of slices of a 2-D image
        raw.set_data_shape(image.shape)
    raw.set_data_offset(0)
    slope, inter = getattr(image.dataobj, "slope", None), getattr(image.dataobj, "inter", None)
    raw.set_slope_inter(1.0 if slope is None else slope, 0.0 if inter is None else inter)
    memory = BytesIO()
    raw.write_to(memory)
    content = memory.getvalue()
    content += bytes(max(int(raw.get_data_offset()) - len(content), 0))
    return nifti.open(MemorySource(content, "image.nii"), None).header


def _plain_header(image: Any, affine: AffineMatrix) -> Header:
    """Return what any image of nibabel says: shape, affine, scaling, time."""
    sizes = [int(size) for size in image.shape] + [1] * max(0, 3 - len(image.shape))
    steps = image.header.get_zooms()
    mgh = type(image).__name__ == "MGHImage"
    step = float(steps[3]) * (1e-3 if mgh else 1.0) if len(steps) > 3 else 0.0
    timed = len(sizes) > 3 and step > 0 and (mgh or step != 1)
    axes = [("time" if timed and n == 0 else "channel", size) for n, size in enumerate(sizes[3:])]
    voxels = image.dataobj
    slope, inter = float(getattr(voxels, "slope", None) or 1.0), float(getattr(voxels, "inter", None) or 0.0)
    scaled = (slope, inter) != (1.0, 0.0)
    return Header(
        shape=(prod(size for _, size in axes), *sizes[:3]),  # type: ignore[arg-type]
        dtype="uint8",
        affine=affine,
        format="nibabel",
        axes=tuple(axes),
        ndim=min(len(image.shape), 3),
        affine_source="nibabel",
        slope=slope if scaled else None,
        inter=inter if scaled else None,
        time_spacing=step if timed else None,
    )


def _nibabel_voxels(voxels: Any, header: Header, nib: Any) -> Backend:
    """Return the voxels of a nibabel image: in memory, in the file behind a proxy, or through the proxy."""
    import numpy as np

    if not nib.is_proxy(voxels):
        array = np.asarray(voxels)
        header = _typed(header.replace(slope=None, inter=None), array.dtype)
        return ArrayBackend(_channels_first(array, header), header)
    from nibabel.arrayproxy import ArrayProxy

    if type(voxels) is ArrayProxy:
        header = _typed(header, voxels.dtype)
        if isinstance(voxels.file_like, str) and voxels.order == "F":
            return _stored(voxels, header)
        spec = (voxels.shape, voxels.dtype, voxels.offset, 1.0, 0.0)
        return NibabelBackend(ArrayProxy(voxels.file_like, spec, order=voxels.order, mmap=False), header)
    with foreign_errors("nibabel image", type(voxels).__name__):
        one = np.asarray(voxels[tuple(slice(0, 1) for _ in voxels.shape)])
    return NibabelBackend(voxels, _typed(header.replace(slope=None, inter=None), one.dtype))


def _stored(voxels: Any, header: Header) -> Backend:
    """Return the voxels of a plain proxy where they lie in its file."""
    from medimg_cli.formats.nifti import decoded, layout_of
    from medimg_cli.storage.source import open_source

    source = decoded(open_source(voxels.file_like))
    layout = layout_of(header)._replace(byte_order=_order(voxels.dtype))
    return StoredBackend(StoredArray(source, int(voxels.offset), layout), header.replace(byte_order=layout.byte_order))


def _order(dtype: Any) -> str:
    return "big" if dtype.byteorder == ">" else "little"


def _typed(header: Header, dtype: Any) -> Header:
    """Set the dtype of an array; a structured one of bytes is colours."""
    if dtype.names:
        parts = {dtype[name].name for name in dtype.names}
        colours = len(dtype.names)
        if parts != {"uint8"} or colours not in (3, 4):
            raise UnsupportedError(f"voxels of type {str(dtype)[:60]} are not supported")
        if not header.axes or header.axes[-1][0] != "rgb":
            axes = (*header.axes, ("rgb", colours))
            header = header.replace(axes=axes, shape=(header.channels * colours, *header.shape[1:]))
        return header.replace(dtype="uint8")
    if dtype.name not in ITEMSIZE and dtype.kind not in "fc":
        raise UnsupportedError(f"voxels of type {str(dtype)[:60]} are not supported")
    names = {"f": "float128", "c": "complex256"}
    return header.replace(dtype=dtype.name if dtype.name in ITEMSIZE else names[dtype.kind])


def _channels_first(array: np.ndarray[Any, Any], header: Header) -> np.ndarray[Any, Any]:
    """Return (I, J, K, ...) as (C, I, J, K), native byte order; a view where that is possible."""
    import numpy as np

    array = array.reshape(array.shape + (1,) * max(0, 3 - array.ndim))
    i, j, k = array.shape[:3]
    if array.dtype.names:
        parts = [_channels_first(array[name], header) for name in array.dtype.names]
        return np.concatenate(parts)
    flat = array.reshape((i, j, k, -1), order="F")
    return np.moveaxis(flat, 3, 0).astype(array.dtype.newbyteorder("="), copy=False)


class NibabelBackend(ForeignBackend):
    """Voxels behind an array proxy of nibabel.

    Parameters
    ----------
    voxels : nibabel array proxy
        Indexing it gives what is stored here.
    header : Header
    """

    def __init__(self, voxels: Any, header: Header) -> None:
        super().__init__(header)
        self.voxels = voxels

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        import numpy as np

        colours = self.header.axes[-1][1] if self.header.axes and self.header.axes[-1][0] == "rgb" else 1
        further = self.voxels.shape[3:]
        single = len(further) == 1 and colours == 1
        spans = [*region[1:], *((region[0],) if single else map(range, further))][: len(self.voxels.shape)]
        with foreign_errors("nibabel image", type(self.voxels).__name__):
            part = np.asarray(self.voxels[tuple(slice(s.start, s.stop, s.step) for s in spans)])
        found = _channels_first(part, self.header)
        return found if single else found[region[0].start : region[0].stop : region[0].step]


def to_nibabel(backend: Backend) -> Any:
    """Return a backend as a NIfTI image of nibabel (NIfTI-2 where sizes ask for it).

    Dtype, slope, both forms and their codes, units, time, intent, description and extensions are those that a NIfTI
    file of medimg would have; voxels are read when they are asked for.

    Raises
    ------
    FormatError
        If NIfTI has no type for the voxels.
    """
    from io import BytesIO

    import nibabel as nib

    from medimg_cli.formats import nifti

    fitted = nifti.fit(backend.header, "image.nii")
    head = nifti.encode(fitted, "image.nii", None).head
    second = head[:4] in (b"\x1c\2\0\0", b"\0\0\2\x1c")
    header = (nib.Nifti2Header if second else nib.Nifti1Header).from_fileobj(BytesIO(head), check=False)
    slope, inter = (fitted.slope or 1.0, fitted.inter or 0.0) if fitted.scaled else (1.0, 0.0)
    header.set_slope_inter(None, None)
    voxels = _Voxels(backend, tuple(header.get_data_shape()), header.get_data_dtype(), slope, inter)
    return (nib.Nifti2Image if second else nib.Nifti1Image)(voxels, header.get_best_affine(), header)


class _Voxels:
    """An array proxy, as nibabel defines it, over a backend.

    Parameters
    ----------
    backend : Backend
    shape : tuple of int
        (I, J, K, ...).
    dtype : numpy.dtype
        Of the stored numbers; structured for colours.
    slope, inter : float
    """

    is_proxy = True

    def __init__(self, backend: Backend, shape: tuple[int, ...], dtype: Any, slope: float, inter: float) -> None:
        self._backend, self.shape, self.dtype = backend, shape, dtype.newbyteorder("=")
        self.slope, self.inter = slope, inter

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def get_unscaled(self) -> np.ndarray[Any, Any]:
        """Return all stored numbers."""
        return self._read((slice(None),) * self.ndim)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        values = self[...]
        return values if dtype is None else values.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray[Any, Any]:
        import numpy as np
        from nibabel.fileslice import canonical_slicers

        raw = self._read(canonical_slicers(index, self.shape))
        if (self.slope, self.inter) == (1.0, 0.0):
            return raw
        return raw * np.float64(self.slope) + np.float64(self.inter)

    def _read(self, slicers: Sequence[Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        picks = [each for each in slicers if each is not None]
        spans = [_span(pick, size) for pick, size in zip(picks, self.shape, strict=True)]
        if not all(spans):
            return np.empty(self.shape, self.dtype)[tuple(slicers)]
        further, colours = self.shape[3:], len(self.dtype.names or ())
        single = len(further) == 1 and not colours
        i, j, k = (*spans[:3], range(1), range(1))[:3]
        channels = spans[3] if single else range(self._backend.header.channels)
        data = np.moveaxis(self._backend.read((channels, i, j, k), raw=True), 0, -1)
        if colours:
            cells = data.reshape((*data.shape[:3], -1, colours), order="F")
            data = np.ascontiguousarray(cells, "u1").view(self.dtype)[..., 0]
        data = data.reshape((*data.shape[:3], *((len(channels),) if single else further)), order="F")
        if not single:
            data = data[(slice(None),) * 3 + tuple(map(as_slice, spans[3:]))]
        if self.ndim < 3:
            data = data[(slice(None),) * self.ndim + (0,) * (3 - self.ndim)]
        data = data.astype(self.dtype, copy=False)
        return data[tuple(None if s is None else 0 if isinstance(s, int) else slice(None) for s in slicers)]


def _span(pick: Any, size: int) -> range:
    """Return the places on an axis that a slice or a number picks."""
    return range(pick, pick + 1) if isinstance(pick, int) else range(size)[pick]

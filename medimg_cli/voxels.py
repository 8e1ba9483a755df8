"""`Voxels`: what an image holds, in memory or not, and who else can see that memory.

Images are lazy views of one another. Whatever somebody writes through an array that was handed out changes
the image that handed it out, and no other: memory that another image looks at is copied first, and an image
whose memory somebody may write to hands copies to the images made from it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from medimg_cli.backends import ArrayBackend, Backend, with_header
from medimg_cli.errors import StateError
from medimg_cli.members import Located
from medimg_cli.operations.protocol import apply
from medimg_cli.sources.arrays import data_backend, import_torch, same_tensor
from medimg_cli.sources.placing import own_promise, promise_of, with_affine
from medimg_cli.sources.readers import settled
from medimg_cli.storage.stored import whole
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.header import Header
    from medimg_cli.sources.dataobj import DataObject

__all__ = ["Voxels", "in_memory"]


class Voxels(Located):
    """One backend, and how its voxels come into memory and out of it again."""

    _backend: Backend
    _lazy: Backend | None
    _path: Path | str | list[Path | str] | None
    _tensor: Any
    _exposed: bool
    _shared: bool
    _storage: tuple[str, float | None, float | None] | None
    _lock: threading.RLock

    #: Whether to warn of NaN among the voxels once they are loaded.
    check_nans: bool = False

    def _take(self, backend: Backend, *, exposed: bool = False) -> None:
        """Start anew with a backend.

        Parameters
        ----------
        backend : Backend
        exposed : bool
            Whether somebody else can write to its memory.
        """
        self._backend = own_promise(backend)
        self._lazy = None  # what `unload` goes back to
        self._path = None
        self._tensor = None  # a view of the memory of `_backend`
        self._exposed = exposed
        self._shared = False  # whether other images look at the memory of `_backend`
        self._storage = None  # dtype, slope and inter before the values were handed out to be written to
        self._lock = threading.RLock()

    def _derived(self, backend: Backend) -> Self:
        """Return an image of the same class that looks at the voxels of this one as they are now."""
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._take(backend)
        if self._storage and backend.header.dtype == self.header.dtype:
            new._storage = self._storage
        if in_memory(self._backend):
            if self._exposed:
                new._backend = _moved_to(_loaded(backend), self._backend)
            else:
                self._shared = new._shared = True
        return new

    @property
    def header(self) -> Header:
        """Everything that is known of the image but its voxels; ``header.dtype`` is what is stored."""
        return self._backend.header

    def _replace_header(self, header: Header) -> None:
        with self._lock:
            if hasattr(self._backend, "whole"):
                self.load()
            self._backend = with_header(self._backend, header)

    @property
    def path(self) -> Path | str | list[Path | str] | None:
        """The file that the image comes from, text where it is a URL (a list where there are several), or None."""
        return self._path

    # -- voxels

    @property
    def dataobj(self) -> DataObject:
        """The lazy backend where there is one, else the one in memory; indexing it gives arrays."""
        from medimg_cli.sources.dataobj import DataObject

        return DataObject(settled(self._backend if self._lazy is None else self._as_stored(self._lazy)))

    def _as_stored(self, lazy: Backend) -> Backend:
        """Return the lazy backend under the header of now."""
        stored = lazy.header
        return with_header(
            settled(lazy), self.header.replace(dtype=stored.dtype, slope=stored.slope, inter=stored.inter)
        )

    @property
    def is_loaded(self) -> bool:
        """Whether the voxels are in memory."""
        return in_memory(self._backend)

    def load(self) -> None:
        """Read the voxels into memory, as stored numbers; slope and inter stay. Once, whoever asks."""
        with self._lock:
            source, reads_whole = self._backend, hasattr(self._backend, "whole")
            if in_memory(source) and not reads_whole:
                return
            self._backend = settled(source) if reads_whole else _loaded(source)
            self._lazy, self._exposed = source, reads_whole  # a reader may keep what it returned
            self._warn_of_nans()

    def _warn_of_nans(self) -> None:
        if self.check_nans and in_memory(self._backend) and self.header.dtype.startswith(("float", "complex")):
            from medimg_cli.statistics import count_nans

            found = count_nans(settled(self._backend))
            if found:
                import warnings

                name = public_name(self._path) if isinstance(self._path, str) else self._path or "the image"
                warnings.warn(f"NaNs found in {name}: {found}", RuntimeWarning, stacklevel=4)

    def unload(self) -> None:
        """Go back to the lazy source; what was written into the voxels is dropped, the header stays.

        Raises
        ------
        StateError
            If the image is not loaded, or has no source to go back to.
        """
        with self._lock:
            if not self.is_loaded:
                raise StateError("the image cannot be unloaded: it is not loaded")
            self.load()  # what a reader has read in passing
            lazy = self._lazy
            if lazy is None:
                raise StateError("the image cannot be unloaded: it has no file to be read from again")
            again, path = getattr(lazy, "again", None), self._path
            self._take(again(self.header) if again is not None else self._as_stored(lazy))
            self._path = path

    def _writable(self) -> np.ndarray[Any, Any]:
        """Return the values as this image's own writable array, which is its data from now on."""
        self.load()
        backend = settled(self._backend)
        if not isinstance(backend, ArrayBackend):
            return backend.read(whole(self.shape))
        header, array = backend.header, backend.array
        if header.scaled:
            array = backend.read(whole(self.shape))
            self._storage = (header.dtype, header.slope, header.inter)
            header = header.replace(dtype=header.value_dtype, slope=None, inter=None)
        elif self._shared or not array.flags.writeable:
            array = array.copy(order="K")
        if array is not backend.array:
            self._backend, self._shared, self._tensor = ArrayBackend(array, header), False, None
        self._exposed = True
        return array

    def _forward(self) -> np.ndarray[Any, Any]:
        """Return the writable values with no stride below 0: torch takes none, and ends the process over DLPack."""
        array = self._writable()
        if min(array.strides) < 0:
            array = array.copy()
            self._backend = ArrayBackend(array, self.header)
        return array

    def numpy(self, writeable: bool = True, channel: int | None = None) -> np.ndarray[Any, Any]:
        """Return the values as a numpy array, loaded on first use.

        Parameters
        ----------
        writeable : bool
            Whether writing to the array changes the image; never the file. An image with a slope holds the
            values themselves from then on. False: a read-only view.
        channel : int, optional
            Only this channel, as (I, J, K).

        Returns
        -------
        numpy.ndarray, (C, I, J, K)
        """
        with self._lock:
            array = self._writable() if writeable else self._readable()
        return array if channel is None else array[channel]

    def _readable(self) -> np.ndarray[Any, Any]:
        self.load()
        backend = settled(self._backend)
        plain = isinstance(backend, ArrayBackend) and not backend.header.scaled
        array = backend.array[...] if plain else backend.read(whole(self.shape))  # type: ignore[attr-defined]
        array.flags.writeable = False
        found: np.ndarray[Any, Any] = array
        return found

    @property
    def data(self) -> Any:
        """The values as a torch tensor, loaded on first use; writing to it changes the image.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        CastError
            If torch has no type for the values (float128) and float64 does not hold them.
        """
        torch = import_torch()
        with self._lock:
            tensor = getattr(self._backend, "tensor", self._tensor)
            if tensor is None:
                if self.header.value_dtype in ("float128", "complex256"):
                    self._narrow()
                tensor = self._tensor = torch.from_numpy(self._forward())
            return tensor

    @data.setter
    def data(self, data: Any) -> None:
        self.set_data(data)

    def _narrow(self) -> None:
        """Go to the widest type that torch has, where it holds every value."""
        from medimg_cli.operations.cast import Cast
        from medimg_cli.operations.casting import cast_silently

        backend, header = settled(self._backend), self.header
        narrow = Cast("float64" if header.value_dtype == "float128" else "complex128")
        self._backend, self._storage = (
            _loaded(cast_silently(backend, narrow)),
            (header.dtype, header.slope, header.inter),
        )

    @property
    def tensor(self) -> Any:
        """The same as `data`."""
        return self.data

    def set_data(self, data: Any) -> None:
        """Give the image other voxels; they stay in the memory where they are.

        Parameters
        ----------
        data : array or tensor, (C, I, J, K)
            Of any type of numbers; the type is the image's from now on. The spatial shape may change, the
            affine stays.

        Raises
        ------
        GeometryError
            If it is not 4-D.
        TypeError
            If it is neither an array nor a tensor.
        """

        with self._lock:
            promise = promise_of(self._backend)
            backend = data_backend(data, None if promise else self.header)
            kept = promise.kept(backend) if promise else backend
            path = self._path
            self._take(kept, exposed=True)
            self._path, self._tensor = path, same_tensor(data, kept)
            self._warn_of_nans()

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's dtype of the values; ``header.dtype`` is what is stored."""
        from medimg_cli.backends import numpy_dtype

        return numpy_dtype(self.header.value_dtype)

    @property
    def itemsize(self) -> int:
        """Bytes of one value."""
        return self.memory // (self.header.data_bytes // self.header.itemsize)

    @property
    def memory(self) -> int:
        """Bytes that the values take in memory."""
        return self.header.value_bytes

    @property
    def device(self) -> Any:
        """The torch device of the voxels.

        Raises
        ------
        MissingExtraError
            If torch is not installed.
        """
        tensor = getattr(self._backend, "tensor", None)
        return import_torch().device("cpu") if tensor is None else tensor.device

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the voxels to a device or another dtype, in place, and return the image.

        Parameters
        ----------
        *args, **kwargs
            As ``torch.Tensor.to``. A change of dtype may round floats, but never clips, truncates or drops
            NaN.

        Raises
        ------
        CastError
            If values do not fit into the dtype.
        """
        from medimg_cli.operations.cast import Cast

        with self._lock:
            now = self.data.new_empty(0)
            wanted = now.to(*args, **kwargs)
            if wanted.dtype != now.dtype:
                cast = Cast(wanted.dtype, round=wanted.is_floating_point() or wanted.is_complex())
                self._backend, self._tensor = _loaded(apply(cast, settled(self._backend))), None
                self._lazy = self._storage = None  # the voxels are no longer those of the source
            if wanted.device != now.device:
                self._backend, self._tensor = data_backend(self.data.to(wanted.device), self.header), None
        return self

    def new_like(self, *, data: Any, affine: Any = None) -> Self:
        """Return an image of the same class with other voxels, the same metadata and (unless given) affine.

        Parameters
        ----------
        data : array or tensor, (C, I, J, K)
        affine : AffineMatrix or 4 x 4, optional

        Raises
        ------
        GeometryError
            If the data are not 4-D.
        """

        header = self.header
        if affine is not None:
            header = with_affine(header, type(header.affine)(affine)).replace(history=())
        backend = data_backend(data, header)
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._take(backend, exposed=True)
        return new

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        import numpy as np

        other = dtype is not None and np.dtype(dtype) != self.dtype
        if copy is False and (self.header.scaled or other):
            raise ValueError("the values of this image are no array yet: a copy is needed")
        array = self.numpy(writeable=False)
        return np.array(array, dtype) if copy else array.astype(dtype or array.dtype, copy=False)

    def __dlpack__(self, **options: Any) -> Any:
        with self._lock:
            found = getattr(self._backend, "tensor", None)
            return (self._forward() if found is None else found).__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        found = getattr(self._backend, "tensor", None)
        return (1, 0) if found is None else found.__dlpack_device__()

    # -- copies

    def __copy__(self) -> Self:
        with self._lock:
            new = type(self).__new__(type(self))
            new.__dict__.update(self.__dict__)
            new._backend, new._lock, new._tensor = own_promise(self._backend), threading.RLock(), None
            if self.is_loaded:
                new._backend = _moved_to(_loaded(self._backend), self._backend)
                new._exposed = new._shared = False
            return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        import copy

        new = self.__copy__()
        for name, value in self.__dict__.items():
            if not name.startswith("_"):
                new.__dict__[name] = copy.deepcopy(value, memo)
        return new

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_tensor")}
        if self._path is None and self.is_loaded:
            state["_lazy"] = None  # a stream or an object of another library need not travel
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock(), _tensor=None, _exposed=False, _shared=False)


def in_memory(backend: Backend) -> bool:
    """Tell whether the voxels of a backend are in memory."""
    made = hasattr(backend, "whole") and promise_of(backend) is None
    return made or isinstance(backend, ArrayBackend) or hasattr(backend, "tensor")


def _loaded(backend: Backend) -> ArrayBackend:
    """Return a copy in memory of what a backend holds, as stored numbers."""
    header = backend.header
    return ArrayBackend(backend.read(whole(header.shape), raw=True), settled(backend).header)


def _moved_to(backend: ArrayBackend, like: Backend) -> Backend:
    """Return voxels in the kind of memory where others are."""
    tensor = getattr(like, "tensor", None)
    if tensor is None:
        return backend
    return data_backend(import_torch().from_numpy(backend.array).to(tensor.device), backend.header)

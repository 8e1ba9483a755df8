"""What codecs share that go through other libraries, or whose formats hold little of an image."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import (
    BLOCK,
    ArrayBackend,
    Backend,
    Buffer,
    blocks_by_region,
    check,
    check_region,
    decode,
    numpy_dtype,
    scale,
    shortage,
)
from medimg_cli.dtypes import ITEMSIZE, can_hold, is_complex
from medimg_cli.errors import FormatError, GeometryError, MedImgError, OversizeError, TruncatedError, UnsupportedError
from medimg_cli.header import Header
from medimg_cli.storage.encoded import EncodedSource
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, Region

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "DerivedBackend",
    "ForeignBackend",
    "ScaledBackend",
    "SourceFile",
    "WholeBackend",
    "bare",
    "foreign_errors",
    "lps_affine",
    "one_line",
    "widened",
]

#: Bytes that decoded voxels take at most; no real image has more.
MOST_BYTES = 1 << 62
#: Decoded bytes that a backend keeps for the next read.
_KEPT = 1 << 26
#: Degrees that two axes may be off a right angle in a format, or library, of directions.
MOST_SHEAR = 0.05


class SourceFile(io.RawIOBase):
    """A byte source as a read-only binary file, for libraries that take file objects.

    Parameters
    ----------
    source : ByteSource
        Opened once; a file that changed since it was first seen is refused.
    """

    def __init__(self, source: ByteSource) -> None:
        super().__init__()
        self._source, self._position = source, 0
        self._cursor = source.cursor()
        self.name = source.name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, (source_size(self._source) if start is None else start) + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        got = self._cursor.readinto(self._position, memoryview(buffer).cast("B"))
        self._position += got
        return got

    def read(self, size: int = -1) -> bytes:
        """Read at most ``size`` bytes; a library that asks for more than there is costs no memory for it."""
        left = max(source_size(self._source) - self._position, 0)
        data = bytearray(left if size is None or size < 0 else min(size, left))
        return bytes(data[: self.readinto(data)])

    def close(self) -> None:
        if not self.closed:
            self._cursor.close()
        super().close()


def source_size(source: ByteSource) -> int:
    """Return the number of bytes of a source; one that is compressed is decoded once for that."""
    if source.size is not None:
        return source.size
    return source.spooled().size if isinstance(source, EncodedSource) else source.most


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, on one short line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    text = re.sub(r"sitk::ERROR: |ITK ERROR: |\w+\(0x[0-9a-f]+\): ", "", text)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 160 else text[:157] + "..."


@contextmanager
def foreign_errors(name: str, title: str) -> Iterator[list[str]]:
    """Turn what a library raises into one line, and collect what it warns of.

    Parameters
    ----------
    name : str
        The file that is read.
    title : str
        Name of the format.

    Yields
    ------
    list of str
        Filled with warnings, one line each, when the block ends.
    """
    notes: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield notes
        notes += dict.fromkeys(one_line(each.message) for each in caught if isinstance(each.message, Warning))
    except MedImgError as error:
        raise error.at(name) from None
    except ImportError:
        raise
    except MemoryError:
        raise OversizeError(f"as {title} it needs more memory than there is", path=name) from None
    except Exception as error:
        raise FormatError(f"cannot be read as {title}: {one_line(error)}", path=name) from None


class ForeignBackend:
    """Base of backends whose voxels a library reads; subclasses say how in :meth:`fetch`.

    Parameters
    ----------
    header : Header
    """

    def __init__(self, header: Header) -> None:
        self.header = header

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        """Return stored numbers (C, I, J, K) of a region whose steps are all positive."""
        raise NotImplementedError

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        check_region(region, self.header.shape)
        c, i, j, k = (span if span.step > 0 else span[::-1] for span in region)
        part = self.fetch((c, i, j, k))
        part = part[tuple(slice(None, None, -1 if span.step < 0 else 1) for span in region)]
        if part.shape != tuple(map(len, region)):
            raise FormatError(f"{part.shape} voxels were read instead of {tuple(map(len, region))}")
        own = np.array(part, dtype=numpy_dtype(self.header.dtype), order="K")
        return own if raw else scale(own, self.header)

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)


class WholeBackend(ForeignBackend):
    """Base of backends whose library decodes an image only as a whole; subclasses say how in :meth:`decode`.

    Parameters
    ----------
    source : ByteSource
        The file.
    header : Header
    problem : str, optional
        Which bytes are missing.
    """

    def __init__(self, source: ByteSource, header: Header, problem: str | None = None) -> None:
        super().__init__(header)
        self.source, self.problem = source, problem
        self._kept: np.ndarray[Any, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}

    def decode(self) -> np.ndarray[Any, Any]:
        """Return all stored numbers, (C, I, J, K)."""
        raise NotImplementedError

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there, or None if nothing speaks against it."""
        return self.problem

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there."""
        if self.problem is not None:
            raise TruncatedError(self.problem, path=self.source.name, hint="get the file again")

    def _whole(self) -> np.ndarray[Any, Any]:
        if self._kept is not None:
            return self._kept
        self.check()
        array = self.decode()
        if array.shape != self.header.shape or array.dtype.name != self.header.dtype:
            what = f"{array.shape} {array.dtype}"
            raise FormatError(f"its voxels, {what}, are not what the header promises", path=self.source.name)
        if array.nbytes <= _KEPT:
            self._kept = array
        return array

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        return self._whole()[tuple(slice(r.start, r.stop, r.step) for r in region)]

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from ArrayBackend(self._whole(), self.header).blocks(layout, raw=raw, max_bytes=max_bytes)


class DerivedBackend(ForeignBackend):
    """Base of backends whose voxels are made of those of another one; subclasses say how in :meth:`fetch`.

    Parameters
    ----------
    base : Backend
    header : Header
        Of what is made.
    """

    def __init__(self, base: Backend, header: Header) -> None:
        super().__init__(header)
        self.base = base

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there; reads nothing."""
        return shortage(self.base)

    def check(self) -> None:
        """Refuse to read where the voxels cannot all be there."""
        check(self.base)

    def decode(self) -> None:
        """Decode compressed sources once, for all reads that follow."""
        decode(self.base)


class ScaledBackend(DerivedBackend):
    """The values of an image, float64, as stored numbers of another one: for formats that scale slice by slice.

    Parameters
    ----------
    base : Backend
        Its stored numbers are read.
    slope, inter : float
        value = stored * slope + inter.
    header : Header
        Of the values.
    """

    def __init__(self, base: Backend, slope: float, inter: float, header: Header) -> None:
        super().__init__(base, header)
        self.slope, self.inter = slope, inter

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        values = self.base.read(region, raw=True).astype(self.header.dtype)
        values *= self.slope
        values += self.inter
        return values


def lps_affine(spacing: Sequence[float], origin: Sequence[float] = (0.0, 0.0, 0.0)) -> AffineMatrix:
    """Return the affine of a format that stores no direction: its axes run along those of ITK's world, LPS.

    >>> lps_affine((1, 2, 3)).orientation
    ('L', 'P', 'S')
    """
    return AffineMatrix.from_lps(AffineMatrix.from_spacing(spacing, origin=origin))


def sane_spacing(spacing: Sequence[float], notes: list[str]) -> tuple[float, float, float]:
    """Return voxel sizes above 0; what is not is replaced, with a warning."""
    good = [abs(size) if 0 < abs(size) < 1e30 else 1.0 for size in spacing]
    if list(spacing) != good:
        shown = ", ".join(f"{size:g}" for size in spacing)
        notes.append(f"spacing {shown}: a voxel size must be above 0; its absolute value, or 1, is used")
    return good[0], good[1], good[2]


def sane_origin(origin: Sequence[float], notes: list[str]) -> tuple[float, float, float]:
    """Return finite coordinates; what is not becomes 0, with a warning."""
    good = [value if abs(value) < 1e30 else 0.0 for value in origin]
    if list(origin) != good:
        notes.append("the origin holds something that is no finite number; 0 is used")
    return good[0], good[1], good[2]


def check_shape(shape: Sequence[int], dtype: str, name: str) -> None:
    """Refuse sizes that no image has, before anything is allocated."""
    total = ITEMSIZE[dtype]
    for size in shape:
        total *= size
        if size < 1 or total > MOST_BYTES:
            raise OversizeError(f"sizes {' x '.join(map(str, shape))} are no shape of an image", path=name)


def widened(header: Header, allowed: Sequence[str], title: str) -> str:
    """Return the type in which a format without slope holds the values of an image.

    Parameters
    ----------
    header : Header
    allowed : sequence of str
        The types that the format has, narrow ones first.
    title : str
        Name of the format.

    Raises
    ------
    UnsupportedError
        If none of them holds every value.
    """
    wanted = header.value_dtype
    found = wanted if wanted in allowed else next((d for d in allowed if can_hold(d, wanted)), None)
    if found is not None and is_complex(found) == is_complex(wanted):
        return found
    hint = "choose one with --dtype" if not is_complex(wanted) else "convert to NIfTI, NRRD or MIF instead"
    raise UnsupportedError(f"{title} has no type that holds every {wanted} value", hint=hint)


def bare(header: Header, *, dtype: str, affine: AffineMatrix, **kept: Any) -> Header:
    """Return what is left of an image in a format that holds shape, values and little else."""
    kept.setdefault("axes", () if header.channels == 1 else (("channel", header.channels),))
    kept.setdefault("shape", header.shape)
    return Header(dtype=dtype, affine=affine, **kept)


def component_axes(components: int, dtype: str) -> tuple[tuple[str, int], ...]:
    """Return what the components of an ITK pixel are: ITK's pictures tell colours by type and number alone."""
    if components == 1:
        return ()
    return (("rgb" if dtype in ("uint8", "uint16") and components in (3, 4) else "vector", components),)


def refuse_shear(affine: AffineMatrix, title: str) -> None:
    """Refuse axes that are not at right angles, or lie in one plane.

    Raises
    ------
    GeometryError
        Naming the angle.
    """
    if affine.is_singular:
        raise GeometryError(f"{title} cannot hold voxel axes that lie in one plane")
    if affine.shear_deg > MOST_SHEAR:
        angle = f"{affine.shear_deg:.3g}"
        raise GeometryError(
            f"{title} cannot hold sheared axes ({angle} degrees)", hint="resample (DICOM: --untilt), or use NIfTI"
        )


def single_line(text: str, most: int) -> str:
    """Return text as a header of one line can hold it: printable ASCII, cut."""
    return "".join(c for c in " ".join(text.split()) if " " <= c <= "~")[:most].rstrip()


def refuse_size(header: Header, most: int, title: str) -> None:
    """Refuse an image with more voxels along an axis than a format can count."""
    if max(header.shape) > most:
        raise UnsupportedError(f"{title} counts at most {most} voxels along an axis, the image has {max(header.shape)}")

"""Pixels of DICOM files: where they lie, or how pydicom decodes them.

Decisions:

- Pixels that are not compressed are read in place, region by region, all files of a series as one array.
- Compressed ones, luminance with colour differences (YBR) and bytes in big-endian words go through pydicom's decoders,
  which give colours as RGB.
- Where the slices of a series scale differently, as in PET, the numbers are the values, float32 or float64.
- MONOCHROME1 and PALETTE COLOR are what is stored: no inversion, no look-up.
- Signed samples with fewer bits than they take in the file get their sign from the highest bit that counts.
- A value of PixelData that is longer than the file, or more than twice as long as its rows and columns need, is
  refused: pixels may be missing, or not belong to this header.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import Backend, FramesBackend, StoredBackend
from medimg_cli.errors import FormatError, MedImgError, MissingExtraError, UnsupportedError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.reading import NATIVE, DicomFile, Pixels
from medimg_cli.formats.dicom.walker import UNDEFINED
from medimg_cli.formats.foreign import ForeignBackend, SourceFile, WholeBackend, foreign_errors, one_line
from medimg_cli.header import Header
from medimg_cli.storage.joined import JoinedSource
from medimg_cli.storage.source import ByteSource
from medimg_cli.storage.stored import Layout, Region, StoredArray

if TYPE_CHECKING:
    import numpy as np

__all__ = ["is_stored", "problem_of", "undecodable", "voxels"]

_BIG = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
#: Decoded bytes that an encoded one stands for at most (PackBits: 128 from 2), and bytes of a decoded slice.
_MOST_RATIO, _MOST_BYTES = {_RLE: 64}, 1 << 31
_HINT = "pip install 'medimg-cli[dicom]'"
#: What pydicom needs to decode a file; nothing in it names anybody.
_DECODED = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "PixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def is_stored(file: DicomFile) -> bool:
    """Tell whether the pixels of a file can be read where they lie."""
    pixels = file.pixels
    if file.syntax not in NATIVE or file.length == UNDEFINED:
        return False
    if pixels.samples == 3 and pixels.photometric != "RGB":
        return False
    return not file.big or pixels.allocated == 16


def problem_of(file: DicomFile) -> str | None:
    """Say why the voxels of a file cannot be read although its header can; None where nothing speaks against it."""
    if file.offset < 0:
        return "its pixel data are missing"
    size = file.stored.size
    if size is not None and file.length != UNDEFINED and file.offset + file.length > size:
        return f"truncated: {max(size - file.offset, 0)} bytes of pixel data, its header says {file.length}"
    if not is_stored(file):
        return None if file.syntax in NATIVE and file.length != UNDEFINED else undecodable(file)
    needed = file.pixels.nbytes
    if file.length < needed:
        return f"truncated: {file.length} bytes of pixel data, rows and columns need {needed}"
    if file.length > 2 * needed + 1024:
        return f"{file.length} bytes of pixel data, rows and columns need {needed}: one of them is wrong"
    return None


def undecodable(file: DicomFile) -> str | None:
    """Say why no decoder that is installed can decode a file; None where one may."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    uid = UID(file.syntax)
    if file.syntax in NATIVE:
        return "its pixel data are encapsulated, its transfer syntax says that they are not"
    try:
        decoder = get_decoder(uid)
    except (NotImplementedError, ValueError):
        return f"no decoder for transfer syntax {uid.name[:80]}"
    if not decoder.is_available:
        return f"no decoder for {uid.name} is installed"
    encoded = max((file.stored.size or 0) - file.offset, 0)
    needed = file.pixels.nbytes
    if needed > min(_MOST_BYTES, _MOST_RATIO.get(file.syntax, 1 << 16) * encoded):
        return f"truncated: {encoded} encoded bytes cannot hold the {needed} bytes that rows and columns need"
    return None


class DecodedBackend(WholeBackend):
    """One file whose pixels pydicom decodes.

    Parameters
    ----------
    source : ByteSource
    header : Header
    syntax : str
        UID of the transfer syntax, for files that do not say it.
    problem : str, optional
        Why they cannot be decoded.
    """

    def __init__(self, source: ByteSource, header: Header, syntax: str, problem: str | None = None) -> None:
        super().__init__(source, header, problem)
        self.syntax = syntax

    def _whole(self) -> np.ndarray[Any, Any]:
        if self.problem is not None and self.problem.startswith("no decoder"):
            kind = MissingExtraError if self.problem.endswith("installed") else UnsupportedError
            raise kind(self.problem, path=self.source.name, hint=_HINT if kind is MissingExtraError else None)
        if self.problem is not None and not self.problem.startswith("truncated"):
            raise FormatError(self.problem, path=self.source.name)
        return super()._whole()

    def decode(self) -> np.ndarray[Any, Any]:
        from pydicom import dcmread
        from pydicom.pixels import pixel_array
        from pydicom.uid import UID

        with foreign_errors(self.source.name, "DICOM"), io.BufferedReader(SourceFile(self.source)) as file:
            tags: list[Any] = [*_DECODED]
            dataset = dcmread(file, force=True, specific_tags=tags)
            dataset.file_meta.TransferSyntaxUID = UID(self.syntax)
            if not dataset.get("PixelData"):
                raise FormatError("its pixel data are missing")
            try:
                array = pixel_array(dataset)
            except RuntimeError as error:
                raise _failed(dataset, error) from None
            rows, columns = self.header.shape[2], self.header.shape[1]
            if array.shape[:2] != (rows, columns) or array.ndim > 3:
                raise FormatError(f"its pixels decode to {array.shape}, its header says {rows} x {columns}")
        array = array[:, :, None] if array.ndim == 2 else array
        return array.transpose(2, 1, 0)[..., None].astype(self.header.dtype, copy=False)


def _failed(dataset: Any, error: RuntimeError) -> MedImgError:
    """Return what to raise where no decoder got through; one that is not installed may."""
    from pydicom.pixels import get_decoder

    uid = dataset.file_meta.TransferSyntaxUID
    said = f"its pixels ({uid.name}) cannot be decoded: {one_line(error)}"
    if uid not in NATIVE and get_decoder(uid).missing_dependencies:
        return UnsupportedError(said, hint=_HINT)
    return FormatError(said, hint="get the file again")


class SignedBackend(ForeignBackend):
    """Stored numbers whose sign is their highest bit that counts, where a writer left the bits above it 0.

    PS3.5, 8.1.1: the sign bit is the high bit, and nothing is said of the bits above it.

    Parameters
    ----------
    base : Backend
    bits : int
        BitsStored.
    """

    def __init__(self, base: Backend, bits: int) -> None:
        super().__init__(base.header)
        self.base, self.bits = base, bits

    def shortage(self) -> str | None:
        """Say why the voxels cannot all be there; reads nothing."""
        problem: str | None = getattr(self.base, "shortage", lambda: None)()
        return problem

    def fetch(self, region: Region) -> np.ndarray[Any, Any]:
        array = self.base.read(region, raw=True)
        half = 1 << (self.bits - 1)
        array[(array >= half) & (array < 2 * half)] -= 2 * half
        return array


def voxels(volumes: Sequence[Sequence[Frame]], header: Header, scaled: bool) -> Backend:
    """Return the voxels of frames in place.

    Parameters
    ----------
    volumes : sequence of sequence of Frame
        By time and K.
    header : Header
        Of the whole.
    scaled : bool
        Whether the values of the slices, not their stored numbers, are its numbers.
    """
    files = [frame.file for volume in volumes for frame in volume]
    if not scaled and all(is_stored(file) and file.stored is file.source for file in files):
        return _joined(files, header)
    one = header.replace(shape=(files[0].pixels.samples, *header.shape[1:3], 1), axes=(), time_spacing=None)
    stacks: list[Backend] = []
    for volume in volumes:
        slices = [_slice(frame, one, scaled) for frame in volume]
        whole = one.replace(shape=(*one.shape[:3], len(slices)))
        stacks.append(slices[0] if len(files) == 1 else FramesBackend(slices, whole, axis=3, scaled=scaled))
    if len(volumes) == 1:
        stacks[0].header = header  # type: ignore[misc]
        return stacks[0]
    return FramesBackend(stacks, header, axis=0)


def _joined(files: Sequence[DicomFile], header: Header) -> Backend:
    """Return the voxels of files that are not compressed as one array."""
    pixels, first = files[0].pixels, files[0]
    problem = next((_located(file, files, said) for file in files if (said := problem_of(file))), None)
    source: ByteSource = first.source
    offset = max(first.offset, 0)
    if len(files) > 1:
        pieces = [(file.source, max(file.offset, 0), pixels.nbytes) for file in files]
        source, offset = JoinedSource(pieces, first.source.name.rpartition("/")[0] or "."), 0
    layout = _layout(pixels, header.shape, "big" if first.big else "little")
    return _signed(StoredBackend(StoredArray(source, offset, layout), header, problem), pixels)


def _layout(pixels: Pixels, shape: tuple[int, int, int, int], byte_order: str) -> Layout:
    """Return the layout of frames behind one another: colours of a pixel first, or plane by plane."""
    order = ((0, 1, 3, 2) if pixels.planar else (3, 0, 1, 2)) if pixels.samples == 3 else (0, 1, 2, 3)
    return Layout.packed(shape, pixels.dtype, byte_order=byte_order, order=order)


def _signed(backend: StoredBackend, pixels: Pixels) -> Backend:
    return SignedBackend(backend, pixels.stored) if pixels.signed and pixels.stored < pixels.allocated else backend


def _located(file: DicomFile, files: Sequence[DicomFile], said: str) -> str:
    """Say which of several files a problem is in."""
    if len(files) == 1:
        return said
    kind, colon, rest = said.partition(": ")
    return f"truncated: {file.name}: {rest}" if kind == "truncated" and colon else f"{file.name}: {said}"


def _slice(frame: Frame, header: Header, scaled: bool) -> Backend:
    """Return the voxels of one frame."""
    file = frame.file
    slope, inter = frame.scaling if scaled else (header.slope, header.inter)
    one = header.replace(dtype=file.pixels.dtype, slope=slope, inter=inter)
    problem = problem_of(file)
    if not is_stored(file):
        return DecodedBackend(file.source, one, file.syntax, problem)
    layout = _layout(file.pixels, one.shape, "big" if file.big else "little")
    return _signed(StoredBackend(StoredArray(file.stored, max(file.offset, 0), layout), one, problem), file.pixels)

"""One stored frame of a file as an array: where its bytes lie, and what they become.

Decisions:

- Frames of a file that is not compressed follow each other without a gap; with single bits, bit by bit, the first
  pixel in the lowest (PS3.5, 8.1.1 and D).
- In big-endian words of 16 bits (OW) samples of 8 bits, and single bits, are swapped in pairs of bytes.
- A value of PixelData that is longer than the file, shorter than its frames need, or more than twice as long, is
  refused: pixels may be missing, or not belong to this header. So is an encoded value that is too short for what it
  is said to hold: nothing is allocated for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medimg_cli.errors import FormatError, MedImgError, MissingExtraError, TruncatedError, UnsupportedError
from medimg_cli.formats.dicom.decoding import (
    DECODERS,
    HINT,
    RLE,
    as_rgb,
    counting,
    decoded,
    inflated,
    missing_decoder,
    unpacked,
)
from medimg_cli.formats.dicom.elements import printable
from medimg_cli.formats.dicom.encapsulation import Fragments, joined
from medimg_cli.formats.dicom.reading import NATIVE, DicomFile, Pixels
from medimg_cli.formats.dicom.walker import UNDEFINED

if TYPE_CHECKING:
    import numpy as np

__all__ = ["frame_bytes", "is_encoded", "is_stored", "plane", "problem_of", "refusal", "undecodable"]

#: Colours that are read where nothing is compressed, and in which decoders give them.
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
#: Those of them that are colours of a codestream only (JPEG 2000).
_CODED = ("YBR_RCT", "YBR_ICT")
#: Bytes of a decoded frame.
_MOST_BYTES = 1 << 31


def is_encoded(file: DicomFile) -> bool:
    """Tell whether the pixels of a file are compressed, frame by frame."""
    return file.syntax not in NATIVE


def is_stored(file: DicomFile) -> bool:
    """Tell whether the pixels of a file can be read where they lie."""
    pixels = file.pixels
    if is_encoded(file) or file.length == UNDEFINED or pixels.allocated == 1:
        return False
    if pixels.samples == 3 and pixels.photometric != "RGB":
        return False
    return not file.big or pixels.allocated > 8


def frame_bytes(pixels: Pixels) -> int:
    """Return the bytes of a frame that is not compressed; two pixels of YBR_FULL_422 share their colour."""
    if pixels.photometric == "YBR_FULL_422" and pixels.samples == 3:
        return pixels.nbytes // 3 * 2
    return pixels.nbytes


def problem_of(file: DicomFile) -> str | None:
    """Say why the pixels of a file cannot be read although its header can; None where nothing speaks against it."""
    pixels = file.pixels
    if file.offset < 0 or file.length == 0:
        return "its pixel data are missing"
    size = file.stored.size
    if size is not None and file.length != UNDEFINED and file.offset + file.length > size:
        return f"truncated: {max(size - file.offset, 0)} bytes of pixel data, its header says {file.length}"
    if pixels.samples == 3 and pixels.photometric not in _COLOURS:
        return f"colours as {pixels.photometric[:16] or 'nothing that is said'} are not read"
    if is_encoded(file):
        return undecodable(file)
    if file.length == UNDEFINED:
        return "its pixel data are encapsulated, its transfer syntax says that they are not"
    if pixels.samples == 3 and pixels.photometric != "RGB" and (pixels.allocated != 8 or pixels.photometric in _CODED):
        return f"colours as {pixels.photometric} of {pixels.allocated} bits are not read"
    return _mismatch(file)


def _mismatch(file: DicomFile) -> str | None:
    """Say how the length of pixels that are not compressed contradicts the header."""
    each, count = frame_bytes(file.pixels), file.frames
    needed = each * count
    if file.pixels.allocated == 1:
        needed = (file.pixels.rows * file.pixels.columns * file.pixels.samples * count + 7) // 8
    several = f"{count} frames of " if count > 1 else ""
    if file.length < needed:
        return f"truncated: {file.length} bytes of pixel data, {several}rows and columns need {needed}"
    if file.length > 2 * needed + 1024:
        return f"{file.length} bytes of pixel data, {several}rows and columns need {needed}: one of them is wrong"
    return None


def undecodable(file: DicomFile) -> str | None:
    """Say why no decoder can decode a file that is compressed; None where one may.

    Reads nothing, and imports no decoder.
    """
    syntax = DECODERS.get(file.syntax)
    if syntax is None:
        from pydicom.uid import UID

        return f"no decoder for transfer syntax {printable(UID(file.syntax).name)[:80]}"
    missing = missing_decoder(file.syntax, file.pixels)
    if missing is not None:
        return missing
    size = file.stored.size
    encoded = max((file.stored.most if size is None else size) - file.offset, 0)
    needed = file.pixels.nbytes
    if file.frames * 8 > encoded or needed * file.frames > syntax.ratio * encoded or needed > _MOST_BYTES:
        several = f"of {file.frames} frames " if file.frames > 1 else ""
        needed *= file.frames
        return f"truncated: {encoded} encoded bytes cannot hold the {needed} bytes {several}that rows and columns need"
    return None


def refusal(problem: str, name: str) -> MedImgError:
    """Return what to raise for a problem."""
    if problem.startswith("truncated"):
        return TruncatedError(problem, path=name, hint="get the file again")
    if problem.endswith("is installed"):
        return MissingExtraError(problem, path=name, hint=HINT)
    if "no decoder" in problem or problem.endswith("are not read"):
        return UnsupportedError(problem, path=name)
    return FormatError(problem, path=name)


def plane(file: DicomFile, at: int, fragments: Fragments = ()) -> np.ndarray[Any, Any]:
    """Read one stored frame.

    Parameters
    ----------
    file : DicomFile
        `problem_of` finds nothing wrong with it.
    at : int
        Which of its frames, from 0.
    fragments : sequence of (int, int)
        Where that frame lies, if it is compressed.

    Returns
    -------
    numpy.ndarray, (rows, columns, samples)
        Stored numbers, colours as RGB; native byte order.

    Raises
    ------
    MedImgError
        If its bytes are missing, or cannot be decoded.
    """
    pixels, name = file.pixels, file.source.name
    if not is_encoded(file):
        return counting(_native(file, at), pixels.stored) if pixels.stored < pixels.allocated else _native(file, at)
    data = joined(file, fragments)
    if DECODERS[file.syntax].decoders and (file.syntax != RLE or pixels.allocated > 1):
        return decoded(data, file.syntax, pixels, name)
    needed = frame_bytes(pixels)
    data = unpacked(data, needed) if file.syntax == RLE else inflated(data, needed)
    if len(data) < needed:
        said = f"truncated: a frame decodes to {len(data)} bytes, rows and columns need {needed}"
        raise TruncatedError(said, path=name, hint="get the file again")
    return _shaped(data, pixels, "little", 0)


def _native(file: DicomFile, at: int) -> np.ndarray[Any, Any]:
    """Read a frame that is not compressed."""
    pixels = file.pixels
    single = pixels.allocated == 1
    first = at * pixels.rows * pixels.columns * pixels.samples if single else 8 * at * frame_bytes(pixels)
    count = pixels.rows * pixels.columns * pixels.samples if single else 8 * frame_bytes(pixels)
    start, stop = first // 8, (first + count + 7) // 8
    swapped = file.big and pixels.allocated <= 8 and _in_words(file)
    if swapped:
        start, stop = start - start % 2, stop + stop % 2
    stop = min(stop, file.length)
    held = bytearray(stop - start)
    with file.stored.cursor() as cursor:
        if cursor.readinto(file.offset + start, memoryview(held)) < len(held):
            raise refusal("truncated: bytes of its pixel data are missing", file.source.name)
    if swapped and len(held) % 2 == 0:
        held[0::2], held[1::2] = held[1::2], held[0::2]
    skip = first - 8 * start
    return _shaped(bytes(held), pixels, "big" if file.big else "little", skip)


def _in_words(file: DicomFile) -> bool:
    """Tell whether the pixels of a big-endian file are words of 16 bits: its VR stands 8 bytes in front of them."""
    vr = bytearray(2)
    with file.stored.cursor() as cursor:
        cursor.readinto(file.offset - 8, memoryview(vr))
    return vr == b"OW"


def _shaped(data: bytes, pixels: Pixels, byte_order: str, skip: int) -> np.ndarray[Any, Any]:
    """Return the bytes of a frame as (rows, columns, samples); ``skip`` bits in front of it are not its own."""
    import numpy as np

    from medimg_cli.backends import numpy_dtype

    rows, columns, samples = pixels.rows, pixels.columns, pixels.samples
    count = rows * columns * samples
    if pixels.allocated == 1:
        bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[skip : skip + count]
        return bits.reshape(rows, columns, samples)
    array = np.frombuffer(data, numpy_dtype(pixels.dtype, byte_order), offset=skip // 8)
    if samples == 3 and pixels.photometric == "YBR_FULL_422":
        pairs = array[: 2 * rows * columns].reshape(-1, 4)
        array = np.stack([pairs[:, :2], *(np.repeat(pairs[:, n : n + 1], 2, axis=1) for n in (2, 3))], axis=-1)
        return as_rgb(array.reshape(rows, columns, 3))
    array = array[:count]
    array = (
        array.reshape(samples, rows, columns).transpose(1, 2, 0) if pixels.planar else array.reshape(rows, columns, -1)
    )
    if samples == 3 and pixels.photometric != "RGB":
        return as_rgb(array)
    return array.astype(numpy_dtype(pixels.dtype), copy=False)

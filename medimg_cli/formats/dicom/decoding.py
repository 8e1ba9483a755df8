"""Decoders of compressed frames: which one decodes which transfer syntax, and what may be handed to it.

Decisions:

- The order of decoders is ours, not pydicom's, and was measured against files whose pixels several readers agree on:
  OpenJPEG (pylibjpeg-openjpeg), then Pillow for JPEG 2000; Pillow for baseline JPEG; pydicom for RLE, where GDCM is
  wrong for colours of 16 and 32 bits.
- What is left is decoded by the GDCM inside SimpleITK: lossless JPEG, extended JPEG of 12 bits, JPEG-LS, and JPEG 2000
  that Pillow fails on where the extra ``dicom`` is not installed. It gets a file that holds one frame and nothing
  else, made here, after rows, columns and components of the codestream were found to be those of the header.
- CharLS (pyjpegls) gets only JPEG-LS of 6 and 7 bits, which GDCM refuses: cut codestreams keep it busy for ever.
- python-gdcm is not used: it is the same GDCM.
- Decoders of lossy JPEG may differ by 1 (ISO/IEC 10918-2); those of lossless syntaxes never do.
- Colours come as RGB: luminance and colour differences (YBR) are turned into it.
- Deflated frames (PS3.5, A.4.13) and RLE of single bits, which pydicom does not decode, hold the bytes of a frame as
  it would lie in a file that is not compressed.
"""

from __future__ import annotations

import zlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import DamagedError, FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats.dicom.codestreams import codestream
from medimg_cli.formats.dicom.reading import Pixels
from medimg_cli.formats.foreign import foreign_errors, one_line

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    *("DECODERS", "HINT", "RLE", "as_rgb", "counting", "decoded", "inflated", "missing_decoder", "unpacked"),
]

RLE, DEFLATED_FRAMES = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1"
HINT = "pip install 'medimg-cli[dicom]'"
_ITK, _CHARLS = "simpleitk", "jpeg_ls"
#: The marker at the end of JPEG-LS.
_END = b"\xff\xd9"
#: Bits of a sample in JPEG-LS that GDCM does not decode.
_NOT_FOR_GDCM = (6, 7)
#: What GDCM mutters while it looks for the libjpeg of the right number of bits.
_HARMLESS = ("arning", "Unsupported JPEG data precision", "Invalid SOS parameters for sequential JPEG")


class Syntax(NamedTuple):
    """How the frames of a transfer syntax are decoded.

    Parameters
    ----------
    name : str
    decoders : tuple of str
        Plugins of pydicom and "simpleitk", the best first; empty where it is decoded here.
    ratio : int
        Decoded bytes that an encoded one stands for at most, in the emptiest of frames.
    extra : str
        A package of the extra ``dicom`` that decodes more.
    """

    name: str
    decoders: tuple[str, ...]
    ratio: int = 1 << 18
    extra: str = ""


_JPEG = "1.2.840.10008.1.2.4"
#: UID -> how it is decoded.
DECODERS = {
    RLE: Syntax("RLE Lossless", ("pydicom",), 64),
    f"{_JPEG}.50": Syntax("JPEG Baseline", ("pillow",)),
    f"{_JPEG}.51": Syntax("JPEG Extended", ("pillow", _ITK)),
    f"{_JPEG}.57": Syntax("JPEG Lossless", (_ITK,), 64),
    f"{_JPEG}.70": Syntax("JPEG Lossless", (_ITK,), 64),
    f"{_JPEG}.80": Syntax("JPEG-LS Lossless", (_ITK,), extra=_CHARLS),
    f"{_JPEG}.81": Syntax("JPEG-LS Near-lossless", (_ITK,), extra=_CHARLS),
    f"{_JPEG}.90": Syntax("JPEG 2000 Lossless", ("pylibjpeg", "pillow", _ITK), extra="openjpeg"),
    f"{_JPEG}.91": Syntax("JPEG 2000", ("pylibjpeg", "pillow", _ITK), extra="openjpeg"),
    f"{_JPEG}.201": Syntax("HTJ2K Lossless", ("pylibjpeg", _ITK), extra="openjpeg"),
    f"{_JPEG}.202": Syntax("HTJ2K Lossless RPCL", ("pylibjpeg", _ITK), extra="openjpeg"),
    f"{_JPEG}.203": Syntax("HTJ2K", ("pylibjpeg", _ITK), extra="openjpeg"),
    DEFLATED_FRAMES: Syntax("Deflated Image Frame", (), 1100),
}


def _has_extra(syntax: Syntax) -> bool:
    """Tell whether the package of the extra is installed that decodes more of a syntax."""
    return bool(syntax.extra) and find_spec(syntax.extra) is not None


def missing_decoder(uid: str, pixels: Pixels) -> str | None:
    """Say what decoder of a frame is not installed; None where one may decode it. Imports none."""
    syntax = DECODERS[uid]
    if syntax.extra == _CHARLS and pixels.stored in _NOT_FOR_GDCM and not _has_extra(syntax):
        return f"no decoder for {syntax.name} of {pixels.stored} bits is installed"
    if pixels.allocated == 1 and syntax.decoders == ("pylibjpeg", _ITK) and not _has_extra(syntax):
        return f"no decoder for {syntax.name} of single bits is installed"
    return None


def decoded(data: bytes, uid: str, pixels: Pixels, name: str) -> np.ndarray[Any, Any]:
    """Decode one frame.

    Parameters
    ----------
    data : bytes
        Encoded frame.
    uid : str
        Transfer syntax, one of `DECODERS` with decoders.
    pixels : Pixels
        What the header says of it.
    name : str
        The file, for messages.

    Returns
    -------
    numpy.ndarray, (rows, columns, samples)
        Of dtype ``pixels.dtype``.

    Raises
    ------
    FormatError
        If the encoded frame is not what the header says, or damaged.
    UnsupportedError
        If what could decode it is not installed.
    """
    syntax = DECODERS[uid]
    precision = 0 if uid == RLE else _compared(data, pixels, name)
    if syntax.extra == _CHARLS and _END not in data[-16:]:
        raise TruncatedError("truncated: its encoded pixels have no end", path=name, hint="get the file again")
    said: list[str] = []
    by_charls = syntax.extra == _CHARLS and precision in _NOT_FOR_GDCM
    for decoder in ("pyjpegls",) if by_charls else syntax.decoders:
        if decoder == _ITK and (pixels.allocated == 1 or (said and _has_extra(syntax))):
            continue  # what the best decoder refused is damaged, and GDCM is not the one to be given damage
        try:
            with foreign_errors(name, syntax.name):
                array = _by_itk(data, uid, pixels) if decoder == _ITK else _by_pydicom(data, uid, pixels, decoder)
                return _checked(array, pixels)
        except MedImgError as error:
            said.append(str(error).removeprefix(f"{name}: ").removeprefix(f"cannot be read as {syntax.name}: "))
    missing = bool(syntax.extra) and not _has_extra(syntax) and (by_charls or syntax.extra != _CHARLS)
    kind = UnsupportedError if missing else FormatError
    text = one_line(ValueError(said[-1] if said else "no decoder"))
    raise kind(
        f"its pixels ({syntax.name}) cannot be decoded: {text}",
        path=name,
        hint=HINT if missing else "get the file again",
    )


def _compared(data: bytes, pixels: Pixels, name: str) -> int:
    """Return the bits of a sample in a codestream; one of another size than the header's is refused."""
    found = codestream(data)
    if found is None:
        raise DamagedError("its pixels cannot be decoded: they do not start like a codestream", path=name)
    mine = (pixels.rows, pixels.columns, pixels.samples)
    if found[:3] != mine or found.precision > max(pixels.allocated, 8):
        theirs = f"{found.rows} x {found.columns} x {found.samples} of {found.precision} bits"
        raise FormatError(
            f"its encoded pixels are {theirs}, its header says {' x '.join(map(str, mine))} of {pixels.stored} bits",
            path=name,
        )
    return found.precision


def _checked(array: np.ndarray[Any, Any], pixels: Pixels) -> np.ndarray[Any, Any]:
    """Return what a decoder found as (rows, columns, samples), after a look at its shape and type."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.shape != (pixels.rows, pixels.columns, pixels.samples) or array.dtype.kind not in "iu":
        raise FormatError(f"it decodes to {array.shape} {array.dtype}")
    if array.dtype.name == pixels.dtype:
        return array
    own = array.astype(pixels.dtype)
    if array.dtype.itemsize > own.dtype.itemsize and not (own == array).all():
        raise FormatError(f"it decodes to {array.dtype}, its header says {pixels.dtype}")
    return own


def _options(pixels: Pixels, photometric: str) -> dict[str, Any]:
    """Return what pydicom has to know of a frame."""
    return {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "samples_per_pixel": pixels.samples,
        "bits_allocated": pixels.allocated,
        "bits_stored": pixels.stored,
        "pixel_representation": int(pixels.signed),
        "photometric_interpretation": photometric,
        "planar_configuration": int(pixels.planar),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
    }


def _by_pydicom(data: bytes, uid: str, pixels: Pixels, plugin: str) -> np.ndarray[Any, Any]:
    """Decode a frame with one of pydicom's plugins."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    options = _options(pixels, pixels.photometric)
    array, _ = get_decoder(UID(uid)).as_array(encapsulate([data]), index=0, decoding_plugin=plugin, **options)
    return array


def _by_itk(data: bytes, uid: str, pixels: Pixels) -> np.ndarray[Any, Any]:
    """Decode a frame with GDCM, as ITK has it, from a file of its own."""
    import tempfile

    import SimpleITK as sitk

    from medimg_cli.formats.through_simpleitk import quietly

    with tempfile.NamedTemporaryFile(prefix="medimg-", suffix=".dcm") as file:
        _dataset(data, uid, pixels).save_as(file, enforce_file_format=True)
        file.flush()
        with quietly(sitk) as messages:
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(file.name)
            array = sitk.GetArrayFromImage(reader.Execute())[0]
    problem = next((line for line in messages if line.strip() and not any(word in line for word in _HARMLESS)), None)
    if problem is not None:
        raise FormatError(problem.strip())
    if pixels.stored < pixels.allocated:
        array = counting(_checked(array, pixels), pixels.stored)
    return as_rgb(array) if pixels.photometric in ("YBR_FULL", "YBR_FULL_422") else array


def _dataset(data: bytes, uid: str, pixels: Pixels) -> Any:
    """Return a data set that holds one encoded frame; its colours are called RGB, so that nothing is done to them."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = UID(uid)
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    found.Rows, found.Columns, found.SamplesPerPixel = pixels.rows, pixels.columns, pixels.samples
    found.BitsAllocated, found.BitsStored, found.HighBit = pixels.allocated, pixels.stored, pixels.stored - 1
    found.PixelRepresentation = int(pixels.signed)
    found.PhotometricInterpretation = "MONOCHROME2" if pixels.samples == 1 else "RGB"
    if pixels.samples > 1:
        found.PlanarConfiguration = 0
    found.PixelData = encapsulate([data])
    found["PixelData"].VR = "OB"
    found["PixelData"].is_undefined_length = True
    return found


def as_rgb(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn luminance and colour differences of 8 bits, full range, into RGB (PS3.3, C.7.6.3.1.2)."""
    from pydicom.pixels import convert_color_space

    return convert_color_space(array, "YBR_FULL", "RGB")


def counting(array: np.ndarray[Any, Any], bits: int) -> np.ndarray[Any, Any]:
    """Return integers without the bits above those that count, the highest of which is the sign of signed ones.

    PS3.5, 8.1.1: only BitsStored bits are the sample; what some writers leave in the others is no part of it.

    >>> import numpy as np
    >>> counting(np.array([5, 2048, 4095, 4096 + 7, -3], "int16"), 12)
    array([    5, -2048,    -1,     7,    -3], dtype=int16)
    >>> counting(np.array([5, 4095, 61440 + 7], "uint16"), 12)
    array([   5, 4095,    7], dtype=uint16)
    """
    rest = 8 * array.dtype.itemsize - bits
    return array if array.dtype.kind not in "iu" or rest <= 0 else array << rest >> rest


def inflated(data: bytes, needed: int) -> bytes:
    """Return the bytes of a deflated frame (PS3.5, A.4.13), at most as many as it needs.

    Raises
    ------
    FormatError
        If they are damaged.
    """
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return engine.decompress(data, needed)
    except zlib.error as error:
        raise DamagedError(f"its deflated pixels are damaged: {one_line(error)}") from None


def unpacked(data: bytes, needed: int) -> bytes:
    """Return the bytes of the first segment of a frame in RLE (PS3.5, G.3), at most as many as it needs.

    >>> unpacked((1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\\xfe\\x07\\x01ab", 5)
    b'\\x07\\x07\\x07ab'
    """
    start = int.from_bytes(data[4:8], "little")
    stop = int.from_bytes(data[8:12], "little") or len(data)
    found = bytearray()
    while start < min(stop, len(data)) - 1 and len(found) < needed:
        code = data[start]
        if code < 128:
            found += data[start + 1 : start + 2 + code]
            start += 2 + code
        elif code > 128:
            found += data[start + 1 : start + 2] * (257 - code)
            start += 2
        else:
            start += 1
    return bytes(found[:needed])

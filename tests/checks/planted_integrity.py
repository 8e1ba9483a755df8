"""Planted faults of files: what keeps an image from being read, what follows its voxels, what its name promises."""

from __future__ import annotations

import bz2
import gzip
import socket
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tests.checks.planting import Case, Planted

SHAPE = (7, 6, 5)
AFFINE = np.array([[-1.2, 0.2, 0.0, 31.0], [0.1, 2.1, -0.3, -40.0], [0.0, 0.4, 3.3, 5.0], [0.0, 0.0, 0.0, 1.0]])
NRRD = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 7 6 5\nencoding: raw\nendian: little\n"
META = "ObjectType = Image\nNDims = 3\nDimSize = 7 6 5\nElementSpacing = 1.2 2.1 3.3\nElementType = MET_SHORT\n"


def voxels() -> np.ndarray[Any, Any]:
    """Return (7, 6, 5) voxels that do not compress to nothing."""
    return np.random.default_rng(5).integers(-900, 900, SHAPE).astype("<i2")


def nifti(**fields: Any) -> bytes:
    """Return a NIfTI-1 file, oblique and left-handed; fields of its header may be changed."""
    import nibabel

    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    data = bytearray(image.to_bytes())
    header = nibabel.Nifti1Header.from_fileobj(BytesIO(bytes(data)), check=False)
    for name, value in fields.items():
        header.structarr[name] = value
    data[:348] = header.structarr.tobytes()
    return bytes(data)


def members(data: bytes, size: int = 200) -> bytes:
    """Compress as bgzip does: many members, each with an extra field."""
    packed = b""
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        body = zlib.compressobj(6, zlib.DEFLATED, -15)
        stream = body.compress(piece) + body.flush()
        front = b"\x1f\x8b\x08\x04" + bytes(4) + b"\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(stream) + 25)
        packed += front + stream + struct.pack("<II", zlib.crc32(piece), len(piece))
    return packed


def named(data: bytes) -> bytes:
    """Compress with a name, a comment and a time in the header of the stream."""
    packed = gzip.compress(data, mtime=0)
    return packed[:3] + b"\x18" + b"\x11\x22\x33\x44" + packed[8:10] + b"t1.nii\0by hand\0" + packed[10:]


def write(name: str, data: bytes, **others: bytes) -> Callable[[Path], Path]:
    """Return what writes a file, and perhaps others beside it: __ in their names is a point, ___ a slash."""

    def make(folder: Path) -> Path:
        for other, content in others.items():
            path = folder / other.replace("___", "/").replace("__", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (folder / name).write_bytes(data)
        return folder / name

    return make


def detached(line: str, header: str = NRRD) -> bytes:
    """Return a header that names a data file."""
    return (header + line + "\n").encode()


def _socket(folder: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "s.nii"))
    return folder / "s.nii"


def _pair_of_folder(folder: Path) -> Path:
    (folder / "a.img").mkdir()
    (folder / "a.hdr").write_bytes(nifti(magic=b"ni1", vox_offset=0)[:352])
    return folder / "a.hdr"


def _meta_of_folder(folder: Path) -> Path:
    (folder / "a.raw").mkdir()
    return write("a.mhd", detached("ElementDataFile = a.raw", META))(folder)


def _annexed(folder: Path) -> Path:
    store = folder / ".git" / "annex" / "objects" / "k"
    store.mkdir(parents=True)
    (store / "k").write_bytes(voxels().tobytes("F"))
    (folder / "sub").mkdir()
    (folder / "sub" / "a.raw").symlink_to("../.git/annex/objects/k/k")
    (folder / "sub" / "a.nhdr").write_bytes(detached("data file: a.raw"))
    return folder / "sub" / "a.nhdr"


def _mgh(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import nibabel

        nibabel.save(nibabel.MGHImage(voxels().astype("i2"), AFFINE), folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return make


def _npy(array: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "a.npy", array, allow_pickle=True)
        return folder / "a.npy"

    return make


def _dicom(**values: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from tests.formats.dicom_files import dataset, save

        made = dataset(voxels()[..., 0].T.copy(), **{key: value for key, value in values.items() if value is not None})
        for keyword in (key for key, value in values.items() if value is None):
            delattr(made, keyword)
        return save(made, folder / "a.dcm")

    return make


def _extended() -> bytes:
    import nibabel

    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"a remark"))
    return bytes(image.to_bytes())


def flipped(data: bytes, place: int) -> bytes:
    """Return bytes of which one is another."""
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


WHOLE = nifti()
PACKED = gzip.compress(WHOLE, mtime=0)
RAW = voxels().tobytes("F")
GOOD = (
    Case("several-members", write("a.nii.gz", gzip.compress(WHOLE[:400]) + gzip.compress(WHOLE[400:]))),
    Case("bgzip", write("a.nii.gz", members(WHOLE))),
    Case("name-and-comment", write("a.nii.gz", named(WHOLE))),
    Case("extension", write("a.nii", _extended())),
)

PLANTED: dict[str, Planted] = {
    "F001": Planted(
        (Case("voxels-are-a-folder", _pair_of_folder), Case("socket", _socket), Case("raw-is-a-folder", _meta_of_folder)),
        (
            Case("pair", write("a.hdr", nifti(magic=b"ni1", vox_offset=0)[:352], a__img=RAW)),
            Case("detached", write("a.mhd", detached("ElementDataFile = a.raw", META), a__raw=RAW)),
        ),
    ),
    "F002": Planted(
        (
            Case("plain", write("a.nii", WHOLE[:-1]), "771 bytes, the header needs 772"),
            Case("header", write("a.nii", WHOLE[:300])),
            Case("gzip", write("a.nii.gz", PACKED[:-300])),
            Case("gzip-trailer", write("a.nii.gz", PACKED[:-1])),
            Case("second-member", write("a.nii.gz", gzip.compress(WHOLE[:400]) + gzip.compress(WHOLE[400:])[:-9])),
            Case("bzip2", write("a.nii.bz2", bz2.compress(WHOLE)[:-20])),
            Case("nrrd-header", write("a.nrrd", NRRD.encode()[:50])),
            Case("detached", write("a.mhd", detached("ElementDataFile = a.raw", META), a__raw=RAW[:-1])),
            Case("header-only", write("a.nii", WHOLE[:-1]), wishes={"header_only": True}),
        ),
        GOOD,
    ),
    "F003": Planted(
        (
            Case("checksum", write("a.nii.gz", flipped(PACKED, len(PACKED) - 6)), "damaged"),
            Case("stream", write("a.nii.gz", flipped(PACKED, len(PACKED) // 2))),
            Case("length", write("a.nii.gz", flipped(PACKED, len(PACKED) - 2))),
            Case("header-in-bzip2", write("a.nii.bz2", flipped(bz2.compress(WHOLE), 60))),
            Case("text", write("a.nrrd", NRRD.replace("raw", "ascii").encode() + b"\n1 2 three" + b" 4" * 207)),
        ),
        GOOD,
    ),
    "F004": Planted(
        (
            Case("plain", write("a.nii", b"")),
            Case("other-format", write("a.mha", b"")),
            Case("compressed", write("a.nii.gz", gzip.compress(b"")), "decompresses to nothing"),
            Case("header-only", write("a.nii.gz", b""), wishes={"header_only": True}),
        ),
        (
            Case("one-byte", write("a.nii", WHOLE[:1])),
            Case("cut-before-the-first-byte", write("a.nii.gz", PACKED[:5])),
            Case("one-voxel", _npy(np.zeros((1, 1, 1)))),
        ),
    ),
    "F005": Planted(
        (
            Case("web-page", write("a.nii.gz", b"<!DOCTYPE html><title>404</title>" * 20)),
            Case("text", write("a.nii", b"there is no image here\n" * 40)),
            Case("compressed-twice", write("a.nii.gz", gzip.compress(PACKED)), "twice"),
            Case("no-format", write("a.xyz", b"\xde\xad\xbe\xef" * 200)),
        ),
        (
            Case("other-format", write("a.nii", (NRRD + "\n").encode() + RAW)),
            Case("not-compressed", write("a.nii.gz", WHOLE)),
            *GOOD[:1],
        ),
    ),
    "F006": Planted(
        (
            Case("voxels", write("a.hdr", nifti(magic=b"ni1", vox_offset=0)[:352]), "no a.img"),
            Case("header", write("a.img", RAW)),
            Case("raw-file", write("a.mhd", detached("ElementDataFile = a.raw", META)), "a.raw"),
            Case("nrrd", write("a.nhdr", detached("data file: b.raw")), wishes={"header_only": True}),
        ),
        (
            Case("compressed-half", write("a.hdr", nifti(magic=b"ni1", vox_offset=0)[:352], a__img__gz=gzip.compress(RAW))),
            Case("below", write("a.nhdr", detached("data file: sub/b.raw"), sub___b__raw=RAW)),
        ),
    ),
    "F007": Planted(
        (
            Case("rank", write("a.nii", nifti(dim=[0, 7, 6, 5, 1, 1, 1, 1])), "dim[0] is 0"),
            Case("datatype", write("a.nii", nifti(datatype=999))),
            Case("offset", write("a.nii", nifti(vox_offset=100))),
            Case("sizes", write("a.nrrd", NRRD.replace("7 6 5", "7 6").encode() + b"\n" + RAW)),
            Case("no-pixels", _dicom(Rows=0)),
        ),
        (
            Case("bits", write("a.nii", nifti(bitpix=64))),
            Case("offset-left-out", write("a.nii", nifti(vox_offset=0))),
            Case("axes-of-one", write("a.nii", nifti(dim=[5, 7, 6, 5, 1, 1, 1, 1]))),
        ),
    ),
    "F008": Planted(
        (
            Case("nrrd", write("a.nrrd", NRRD.replace("7 6 5", "4294967297 4294967297 2").encode() + b"\n" + RAW)),
            Case("metaimage", write("a.mha", META.replace("7 6 5", "999999999 999999999 99").encode()
                                    + b"ElementDataFile = LOCAL\n" + RAW)),
        ),
        (
            Case("truncated", write("a.nrrd", NRRD.replace("7 6 5", "999 999 999").encode() + b"\n" + RAW)),
            Case("zeros", write("a.nrrd", NRRD.replace("7 6 5", "70 60 50").replace("raw", "gzip").encode() + b"\n"
                                + gzip.compress(bytes(420_000)))),
        ),
    ),
    "F009": Planted(
        (
            Case("absolute", write("a.mhd", detached("ElementDataFile = /etc/hostname", META)), "/etc/hostname"),
            Case("climbing", write("a.nhdr", detached("data file: ../a.raw"))),
            Case("address", write("a.nhdr", detached("data file: http://localhost/a.raw"))),
        ),
        (
            Case("below", write("a.nhdr", detached("data file: sub/b.raw"), sub___b__raw=RAW)),
            Case("points-in-a-name", write("a.nhdr", detached("data file: ..b.raw"), **{"..b__raw": RAW})),
            Case("annexed", _annexed),
        ),
    ),
    "F010": Planted(
        (
            Case("objects", _npy(np.array([{"a": 1}], object))),
            Case("encoding", write("a.nrrd", NRRD.replace("raw", "rot13").encode() + b"\n" + RAW), "rot13"),
            Case("plan", _dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5", Rows=None, Columns=None, PixelData=None)),
        ),
        (
            Case("numbers", _npy(np.arange(60.0).reshape(3, 4, 5))),
            Case("usual-encoding", write("a.nrrd", NRRD.encode() + b"\n" + RAW)),
            Case("damaged", write("a.nrrd", NRRD.replace("raw", "gzip").encode() + b"\n" + RAW)),
        ),
    ),
    "F011": Planted(
        (
            Case("plain", write("a.nii", WHOLE + b"\0"), "1 byte follows the 772 bytes"),
            Case("padded", write("a.nii", WHOLE.ljust(1024, b"\0"))),
            Case("in-the-stream", write("a.nii.gz", gzip.compress(WHOLE + b"more")), "4 bytes follow"),
            Case("behind-the-stream", write("a.nii.gz", PACKED + b"<html>"), "6 bytes that nobody decodes"),
            Case("volume-left-out", write("a.nii", nifti(dim=[3, 7, 6, 4, 1, 1, 1, 1])), "84 bytes"),
            Case("header-only", write("a.nrrd", (NRRD + "\n").encode() + RAW + b"\n"), wishes={"header_only": True}),
        ),
        (
            *GOOD,
            Case("tail-of-freesurfer", _mgh(".mgz")),
            Case("plain-tail-of-freesurfer", _mgh(".mgh")),
            Case("one-of-several", write("a.nhdr", detached("byte skip: 20\ndata file: b.raw"), b__raw=bytes(20) + RAW * 2)),
        ),
    ),
    "F012": Planted(
        (
            Case("nrrd", write("a.nii", (NRRD + "\n").encode() + RAW), "NRRD"),
            Case("nifti", write("a.mha", WHOLE), wishes={"header_only": True}),
            Case("dicom", lambda folder: _dicom()(folder).rename(folder / "a.nii")),
        ),
        (
            Case("version", write("a.v2", WHOLE)),
            Case("upper-case", write("A.NII", WHOLE)),
            Case("either-half", write("a.img", RAW, a__hdr=nifti(magic=b"ni1", vox_offset=0)[:352])),
            Case("no-suffix", write("IM0001", WHOLE)),
        ),
    ),
    "F013": Planted(
        (
            Case("not-compressed", write("a.nii.gz", WHOLE)),
            Case("compressed", write("a.nii", PACKED), "compressed with gzip"),
            Case("otherwise", write("a.nii.gz", bz2.compress(WHOLE)), wishes={"header_only": True}),
            Case("plain-mgz", lambda folder: _mgh(".mgh")(folder).rename(folder / "a.mgz")),
        ),
        (
            *GOOD[:3],
            Case("mgz", _mgh(".mgz")),
            Case("inside", write("a.nrrd", NRRD.replace("raw", "gzip").encode() + b"\n" + gzip.compress(RAW))),
        ),
    ),
    "F014": Planted(
        (
            Case("clears-the-screen", write("a.nii", nifti(descrip=b"\x1b[2Jscan"))),
            Case("sets-the-title", write("a.nii", nifti(descrip=b"\x1b]0;owned\x07"))),
            Case("series", _dicom(SeriesDescription="../../tmp/x"), "SeriesDescription"),
            Case("patient", _dicom(PatientName="..\\..\\x"), "PatientName"),
        ),
        (
            Case("japanese", _dicom(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")),
            Case("points", write("a.nii", nifti(descrip=b"mean of 1..3, T1/T2"))),
            Case("command", write("a.nrrd", (NRRD + "command:=warp ../in.nrrd\n\n").encode() + RAW)),
        ),
    ),
}  # fmt: skip

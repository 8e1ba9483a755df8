"""Mosaics of Siemens and UIH: CSA headers written here, tiles that are not square, slices stored either way round."""

from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from math import ceil, isqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, GeometryError, MedImgError
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.elements import Elements
from medimg_cli.formats.dicom.opening import image_of
from medimg_cli.formats.dicom.reading import read_object
from medimg_cli.formats.dicom.scanning import scan
from medimg_cli.formats.dicom.series import list_series
from medimg_cli.formats.dicom.siemens import csa_header, csa_number, csa_numbers, protocol
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.source import open_source
from medimg_cli.storage.stored import whole
from tests.formats.dicom_files import dataset, geometry, same_world, save
from tests.helpers import AFFINES

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("nibabel")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import proving
import referee

DATA = proving.data_folder()
real = pytest.mark.skipif(DATA is None, reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
PLACED = {name: affine for name, affine in AFFINES.items() if name != "sheared"}

Fields = Mapping[str, Sequence[str]]


# CSA headers


def csa(fields: Fields, *, new: bool = True, items: int = 6) -> bytes:
    """Return a CSA header: each field with at least so many items, those without a value empty."""
    head = b"SV10\x04\x03\x02\x01" if new else b""
    found = head + struct.pack("<II", len(fields), 77)
    base = max(items, len(next(iter(fields.values()), ())))
    for name, values in fields.items():
        count = max(items, len(values))
        found += struct.pack("<64si4siii", name.encode(), len(values), b"FD\0\0", 4, count, 77)
        for value in [*(value.encode() + b"\0" for value in values), *[b""] * (count - len(values))]:
            first = len(value) if new else len(value) + base
            found += struct.pack("<4i", first, len(value), 77, first) + value + bytes(-len(value) % 4)
    return found


def elements(value: bytes, keyword: str = "SiemensImageHeader") -> Elements:
    """Return the elements of a file with a CSA header."""
    low = 0x10 if keyword == "SiemensImageHeader" else 0x20
    raw = {0x00290010: ("LO", b"SIEMENS CSA HEADER", False), 0x00291000 | low: ("OB", value, False)}
    return Elements(raw, open_source(b""))


FIELDS = {
    "EchoLinePosition": ["36"], "SliceNormalVector": ["0.0", "-0.5", "0.86602540"], "B_value": ["1000"],
    "Nothing": [], "PhaseEncodingDirectionPositive": ["1"], "MosaicRefAcqTimes": ["0.0", "52.5", "7.5"],
    "Odd": ["a\x1b[31mb", "\xfc"],
}  # fmt: skip


@pytest.mark.parametrize("new", [True, False], ids=["SV10", "old"])
def test_csa_fields(new: bool) -> None:
    found = csa_header(elements(csa(FIELDS, new=new)))
    assert set(found) == set(FIELDS) - {"Nothing"}
    assert csa_numbers(found, "SliceNormalVector") == (0.0, -0.5, 0.8660254)
    assert csa_number(found, "B_value") == 1000
    assert csa_numbers(found, "MosaicRefAcqTimes") == (0.0, 52.5, 7.5)
    assert found["Odd"][0] == "a[31mb"
    assert csa_number(found, "Odd") is None and csa_number(found, "Nothing") is None


def test_csa_absent_and_empty() -> None:
    assert csa_header(Elements({}, open_source(b""))) == {}
    assert csa_header(elements(b"")) == csa_header(elements(bytes(64))) == {}
    assert protocol(elements(b"", "SiemensSeriesHeader")) == {}


def test_csa_of_many_values() -> None:
    """More values than a field has items by default; an item's length is no multiple of four."""
    times = [f"{n * 2.5}" for n in range(133)]
    assert csa_header(elements(csa({"A": ["1"], "MosaicRefAcqTimes": times})))["MosaicRefAcqTimes"] == tuple(times)


@pytest.mark.parametrize("new", [True, False], ids=["SV10", "old"])
def test_csa_damaged(new: bool) -> None:
    """Cut off anywhere, or with any bytes changed: fields, or one FormatError."""
    good, chance = csa(FIELDS, new=new), random.Random(7)
    refused = 0
    for n in range(1500):
        bad = bytearray(good)
        if n % 3 == 0:
            del bad[chance.randrange(len(bad)) :]
        else:
            for _ in range(chance.randint(1, 8)):
                bad[chance.randrange(len(bad))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        try:
            assert all(isinstance(value, str) for items in csa_header(elements(bytes(bad))).values() for value in items)
        except FormatError as error:
            refused += 1
            assert "\n" not in str(error) and "SiemensImageHeader" in str(error)
    assert refused > 100


def test_csa_that_asks_for_too_much() -> None:
    """Counts of 2^31 are refused before anything is made of them."""
    for count in (0, 1025, 0x7FFFFFFF, 0xFFFFFFFF):
        with pytest.raises(FormatError, match="fields"):
            csa_header(elements(b"SV10\x04\x03\x02\x01" + struct.pack("<II", count, 77) + bytes(4096)))
    field = struct.pack("<64si4siii", b"A", 0, b"FD\0\0", 4, 0x7FFFFFFF, 77)
    with pytest.raises(FormatError, match="2147483647 items"):
        csa_header(elements(b"SV10\x04\x03\x02\x01" + struct.pack("<II", 1, 77) + field))
    with pytest.raises(FormatError, match="runs past"):
        item = struct.pack("<4i", 0x7FFFFFFF, 0x7FFFFFFF, 77, 0)
        csa_header(
            elements(b"SV10\x04\x03\x02\x01" + struct.pack("<II", 1, 77) + field[:76] + b"\1\0\0\0M\0\0\0" + item)
        )


def test_protocol() -> None:
    text = '### ASCCONV BEGIN object=x ###\nsSliceArray.lSize\t = \t35\ntName = "+a=b+"\n### ASCCONV END ###'
    found = protocol(elements(csa({"MrPhoenixProtocol": [f"<x>{text}"]}), "SiemensSeriesHeader"))
    assert found == {"sSliceArray.lSize": "35", "tName": "+a=b+"}


@real
def test_csa_as_nibabel_reads_it() -> None:
    """Every field of every real header, apart from empty items at the end."""
    csareader = pytest.importorskip("nibabel.nicom.csareader")
    assert DATA is not None
    values = {}
    for path in sorted(DATA.rglob("*")):
        if path.name.startswith("csa2_"):
            values[path.name] = (gzip.open if path.suffix == ".gz" else open)(path, "rb").read()
        elif path.is_file() and path.stat().st_size < 1 << 21 and "generated" not in str(path):
            with path.open("rb") as file:
                if file.read(132)[128:] != b"DICM":
                    continue
            try:
                found = read_object(open_source(path)).elements
            except MedImgError:
                continue
            for keyword in ("SiemensImageHeader", "SiemensSeriesHeader"):
                if found.value(keyword).strip(b"\0"):
                    values[f"{path.name} {keyword}"] = found.value(keyword)
    assert len(values) >= 30
    for name, value in values.items():
        ours = csa_header(elements(value))
        for field, tag in csareader.read(value)["tags"].items():
            theirs = list(tag["items"])
            while theirs and theirs[-1] in ("", b"", None):
                theirs.pop()
            mine = ours.get(field, ())
            assert len(mine) == len(theirs), (name, field)
            for a, b in zip(mine, theirs, strict=True):
                assert a == " ".join(b.split()) if isinstance(b, str) else float(a) == b, (name, field)


# mosaics


def made(
    volume: np.ndarray[Any, Any], affine: AffineMatrix, *, uih: bool = False, drop: Sequence[str] = (), **values: Any
) -> Any:
    """Return a data set with (I, J, K) as a mosaic; ``drop``: "count", "csa", "normal", "items", "spacing"."""
    wide, high, count = volume.shape
    columns = isqrt(count - 1) + 1
    rows = ceil(count / columns) if uih else columns
    pixels = np.zeros((rows * high, columns * wide), volume.dtype)
    for n in range(count):
        row, column = n // columns * high, n % columns * wide
        pixels[row : row + high, column : column + wide] = volume[..., n].T
    place = geometry(affine, 0)
    turned, start = np.reshape(place["ImageOrientationPatient"], (2, 3)), np.array(place["ImagePositionPatient"])
    if not uih:
        down, right = place["PixelSpacing"]
        half = ((columns - 1) * wide * right / 2, (rows - 1) * high * down / 2)
        place["ImagePositionPatient"] = [float(f"{x:.12g}") for x in start - half[0] * turned[0] - half[1] * turned[1]]
    place["SpacingBetweenSlices"] = place["SliceThickness"]
    place["SliceThickness"] = place["SliceThickness"] * 0.8
    if "spacing" in drop:
        del place["SpacingBetweenSlices"], place["SliceThickness"]
    kind = ["ORIGINAL", "PRIMARY", "M", "ND", "VFRAME" if uih else "MOSAIC"]
    maker = "UIH" if uih else "SIEMENS"
    found = dataset(pixels, **{**place, "ImageType": kind, "Manufacturer": maker, "InstanceNumber": 1, **values})
    step = np.array(affine.to_lps().rows)[:3, 2]
    (_of_uih if uih else _of_siemens)(found, count, step, start, drop)
    return found


def _of_siemens(found: Any, count: int, step: np.ndarray[Any, Any], start: Any, drop: Sequence[str]) -> None:
    if "count" not in drop:
        found.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    fields = {"EchoLinePosition": ["36"], "NumberOfImagesInMosaic": [str(count)]}
    if "normal" not in drop:
        fields["SliceNormalVector"] = [f"{x:.8f}" for x in step / np.linalg.norm(step)]
    if "csa" not in drop:
        found.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(fields))


def _of_uih(found: Any, count: int, step: np.ndarray[Any, Any], start: Any, drop: Sequence[str]) -> None:
    from pydicom.dataset import Dataset

    block = found.private_block(0x65, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(count))
    if "items" not in drop:
        items = []
        for n in range(count):
            items.append(Dataset())
            items[-1].ImagePositionPatient = [float(f"{x:.10g}") for x in start + n * step]
        block.add_new(0x51, "SQ", items)


def volume(count: int = 5, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 4096, (6, 4, count), dtype=np.uint16)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 10])
@pytest.mark.parametrize("name", PLACED)
def test_siemens_mosaic(tmp_path: Path, name: str, count: int) -> None:
    """Slices lie where they were, also where they are stored against row x column ("left-handed")."""
    array, affine = volume(count), PLACED[name]
    path = save(made(array, affine), tmp_path / "mosaic.dcm")
    backend = open_backend(path)
    assert backend.header.shape == (1, 6, 4, count) or count == 1
    if count > 1:
        assert same_world(backend.read(whole(backend.header.shape)), backend.header.affine, array[None], affine) is None
        assert not any("mosaic" in warning for warning in backend.header.warnings)


@pytest.mark.parametrize("drop", [["count"], ["csa"], ["count", "normal"]], ids=",".join)
def test_what_is_known_elsewhere(tmp_path: Path, drop: list[str]) -> None:
    """The count is in two places; without SliceNormalVector the usual order is taken, with a warning."""
    array, affine = volume(), AFFINES["oblique"]
    backend = open_backend(save(made(array, affine, drop=drop), tmp_path / "a.dcm"))
    assert same_world(backend.read(whole(backend.header.shape)), backend.header.affine, array[None], affine) is None
    assert any("order" in warning for warning in backend.header.warnings) == (drop != ["count"])


@pytest.mark.parametrize("name", PLACED)
def test_mosaics_over_time(tmp_path: Path, name: str) -> None:
    arrays, affine = np.stack([volume(seed=n) for n in range(3)]), PLACED[name]
    for n, (file, array) in enumerate(zip(("c", "a", "b"), arrays, strict=True)):
        save(made(array, affine, InstanceNumber=n + 1, AcquisitionNumber=n + 1), tmp_path / "series" / file)
    backend = open_backend(tmp_path / "series")
    assert backend.header.shape == (3, 6, 4, 5)
    assert same_world(backend.read(whole(backend.header.shape)), backend.header.affine, arrays, affine) is None


@pytest.mark.parametrize("drop", [[], ["items"]], ids=["items", "no items"])
@pytest.mark.parametrize("count", [3, 5, 7])
def test_uih_mosaic(tmp_path: Path, count: int, drop: list[str]) -> None:
    """UIH has no more rows of tiles than it needs, and gives the position of the first slice."""
    for name, affine in PLACED.items():
        if drop and name == "left-handed":
            continue
        array = volume(count)
        backend = open_backend(save(made(array, affine, uih=True, drop=drop), tmp_path / f"{name}.dcm"))
        assert same_world(backend.read(whole(backend.header.shape)), backend.header.affine, array[None], affine) is None


def test_what_cannot_be_a_mosaic_is_a_picture(tmp_path: Path) -> None:
    array, affine = volume(), AFFINES["oblique"]
    silent = open_backend(save(made(array, affine, drop=["csa", "count"]), tmp_path / "silent.dcm"))
    small = made(array, affine)
    small.Rows, small.PixelData = 11, small.PixelData[: 11 * 18 * 2]
    resized = open_backend(save(small, tmp_path / "resized.dcm"))
    for backend, rows in ((silent, 12), (resized, 11)):
        assert backend.header.shape == (1, 18, rows, 1)
        assert any("one picture" in warning for warning in backend.header.warnings)


def test_refused(tmp_path: Path) -> None:
    array, affine = volume(), AFFINES["oblique"]
    with pytest.raises(GeometryError, match="how far they are apart"):
        open_backend(save(made(array, affine, drop=["spacing"]), tmp_path / "a.dcm"))
    for count in ("0", "-4", "4097", "1e9", "2.5"):
        bad = made(array, affine, drop=["count", "csa"])
        bad.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(
            0x10, "OB", csa({"A": ["1"], "NumberOfImagesInMosaic": [count]})
        )
        with pytest.raises(FormatError, match="mosaic of"):
            open_backend(save(bad, tmp_path / f"{count}.dcm"))
    wrong = made(array, affine)
    wrong.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(
        0x10, "OB", csa({"A": ["1"], "SliceNormalVector": ["1", "0", "0"]})
    )
    with pytest.raises(FormatError, match="not normal"):
        open_backend(save(wrong, tmp_path / "wrong.dcm"))


@pytest.mark.parametrize("uih", [False, True], ids=["siemens", "uih"])
def test_damaged_mosaics(tmp_path: Path, uih: bool) -> None:
    """Whatever bytes of the header are changed: an image, or one line that says what is wrong."""
    path = save(made(volume(), AFFINES["oblique"], uih=uih), tmp_path / "good.dcm")
    good, chance = path.read_bytes(), random.Random(11)
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            bad[chance.randrange(132, len(bad) - 480)] = chance.choice((0, 1, 0x30, 0x5C, 0x7F, 0xFF))
        path.write_bytes(bad)
        try:
            backend = open_backend(path)
            backend.read(whole(backend.header.shape))
        except MedImgError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused < 300


def converted(folder: Path, out: Path) -> list[Path]:
    """Return what dcm2niix makes of a folder."""
    out.mkdir()
    subprocess.run(["dcm2niix", "-b", "y", "-z", "n", "-f", "%s", "-o", out, folder], check=True, capture_output=True)
    return sorted(out.glob("*.nii"))


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("uih", [False, True], ids=["siemens", "uih"])
def test_as_dcm2niix(tmp_path: Path, uih: bool) -> None:
    """Voxels and affine in canonical order; each file is a series of its own."""
    for n, (name, affine) in enumerate(PLACED.items()):
        if uih and name == "left-handed":
            continue
        array, folder = volume(7, seed=n), tmp_path / name
        save(made(array, affine, uih=uih, StudyInstanceUID="1.2.3", RepetitionTime="2000"), folder / "a.dcm")
        (theirs,) = converted(folder, tmp_path / f"{name}-out")
        assert_same(open_backend(folder / "a.dcm"), referee.nibabel_facts(theirs))


def facts_of(backend: Any) -> referee.Facts:
    array = backend.read(whole(backend.header.shape))
    return referee.Facts(np.moveaxis(array, 0, -1), backend.header.affine.numpy())


def assert_same(backend: Any, theirs: referee.Facts) -> None:
    ours, theirs = referee.canonical(facts_of(backend)), referee.canonical(theirs)
    assert np.abs(ours.affine - theirs.affine).max() < 1e-3
    assert np.array_equal(ours.array, theirs.array)


def _rows() -> list[tuple[str, list[dict[str, Any]]]]:
    if DATA is None:
        return []
    found = []
    with (DATA / "MANIFEST.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            path = DATA / row["path"]
            if row["kind"] == "DICOM folder" and row["dcm2niix"] and "neurolabusc" in row["path"] and path.is_dir():
                found.append((row["path"], json.loads(row["dcm2niix"])))
    return found


@real
@pytest.mark.parametrize("path", [path for path, _ in _rows()])
def test_real_mosaics_as_dcm2niix_converts_them(path: str) -> None:
    """Each volume that dcm2niix makes of a folder of mosaics is one of ours: shape, affine, voxels.

    It reads samples of 12 bits with a sign as if they had none, which gives it one volume twice.
    """
    assert DATA is not None
    files = scan(str(DATA / path), Reading()).files
    if not files or not files[0].mosaic:
        pytest.skip("no mosaics")
    ours = [facts_of(image_of(series)) for series in list_series(files, Reading())]
    hashes = [referee.canonical_hash(each) for each in ours]
    for theirs in dict(_rows())[path]:
        assert theirs["sha"] in hashes
        mine = ours[hashes.index(theirs["sha"])]
        assert [*mine.array.shape[:3], *([mine.array.shape[3]] if mine.array.shape[3] > 1 else [])] == theirs["shape"]
        reference = referee.Facts(mine.array, np.array(theirs["affine"]))
        assert np.abs(referee.canonical(mine).affine - referee.canonical(reference).affine).max() < 1e-3


@real
@pytest.mark.parametrize("name", ["12bitUnsigned", "12bitUnsigned_0x0F0F", "12bitSigned_0x0F0F"])
def test_twelve_bits(name: str) -> None:
    """What lies above the bits that count is no part of a sample: tiles of what pydicom decodes."""
    assert DATA is not None
    path = DATA / "neurolabusc+dcm_qa_12bit" / "In" / f"{name}.dcm"
    backend = open_backend(path)
    found = backend.read(whole(backend.header.shape), raw=True)
    pixels = pydicom.dcmread(path).pixel_array
    for n in range(35):
        row, column = n // 6 * 64, n % 6 * 64
        assert np.array_equal(found[0, :, :, n].T, pixels[row : row + 64, column : column + 64])

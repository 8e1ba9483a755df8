"""DICOM of real scanners: rows of the manifest, and what pydicom ships in its package."""

from __future__ import annotations

import sys
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from medimg_cli.errors import MedImgError
from medimg_cli.formats import open_backend
from medimg_cli.storage.stored import whole

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("nibabel")
pytest.importorskip("SimpleITK")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import conformance_dicom
import proving

DATA = proving.data_folder()
SHIPPED = Path(pydicom.__file__).parent / "data" / "test_files"
real = pytest.mark.skipif(DATA is None, reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")


def by_pydicom(path: Path) -> np.ndarray | None:
    """Return the pixels that pydicom finds, None where it finds or decodes none."""
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        if dataset.original_encoding[0]:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    try:
        return pydicom.pixels.pixel_array(dataset)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None


def held_to_pydicom(paths: Iterable[Path]) -> Counter[str]:
    """Count what becomes of files: each has the pixels that pydicom finds, or is refused in one line where it fails."""
    counts: Counter[str] = Counter()
    for path in paths:
        expected = by_pydicom(path)
        try:
            found = conformance_dicom.stored_pixels(path)
        except MedImgError as error:
            assert "\n" not in str(error)
            assert expected is None, path.name
            counts["refused by both"] += 1
            continue
        if expected is None:
            counts["read here only"] += 1
            continue
        assert np.array_equal(found, expected.reshape(found.shape)), path.name
        assert (found.dtype.kind, found.dtype.itemsize) == (expected.dtype.kind, expected.dtype.itemsize), path.name
        counts["same pixels"] += 1
    return counts


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="this pydicom ships no files")
def test_files_of_pydicom() -> None:
    """Each is read with the pixels that pydicom finds, or refused in one line; never an exception of others."""
    counts = held_to_pydicom(sorted(SHIPPED.rglob("*.dcm")))
    assert counts["same pixels"] > 30
    print(dict(counts))


@real
def test_files_of_the_manifest_as_pydicom_decodes_them() -> None:
    """Every transfer syntax, single bits, floating-point numbers, colours and frames."""
    rows = [row for row in conformance_dicom.rows(DATA) if row["kind"] == "DICOM file"]
    counts = held_to_pydicom(DATA / row["path"] for row in rows if (DATA / row["path"]).exists())
    assert counts["same pixels"] >= 120
    print(dict(counts))


@real
@pytest.mark.parametrize("name", ["liver", "liver_nonbyte_aligned"])
def test_single_bits_that_nobody_else_decodes(name: str) -> None:
    """RLE and deflated frames of single bits are those that the file without compression holds."""
    folder = DATA / "pydicom+pydicom-data/data_store/data"
    expected = by_pydicom(folder / f"{name}.dcm")
    for ending in ("_rle", "_deflate", "_j2k"):
        assert np.array_equal(conformance_dicom.stored_pixels(folder / f"{name}{ending}.dcm"), expected)


@real
def test_decoders_of_the_core_decode_what_those_of_the_extra_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without pylibjpeg and pyjpegls: only JPEG-LS of 7 bits is left, and says so."""
    from medimg_cli.formats.dicom import decoding

    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    for uid, row in decoding.DECODERS.items():
        kept = tuple(each for each in row.decoders if each not in ("pylibjpeg", "pyjpegls"))
        monkeypatch.setitem(decoding.DECODERS, uid, row._replace(decoders=kept))
    refused, right = [], 0
    for row in conformance_dicom.rows(DATA):
        path = DATA / row["path"]
        if row["kind"] != "DICOM file" or "TS 1.2.840.10008.1.2.4" not in row["notes"] or not row["sha256_canonical"]:
            continue
        result = conformance_dicom.check_dicom(DATA, row)
        assert result.status != "fail", result
        right += result.status == "pass"
        refused += [path.name] if result.status == "listed" else []
    assert refused == ["JLSL_08_07_0_1F.dcm"]
    assert right > 40


@real
def test_rows_of_the_manifest() -> None:
    """Those that are read are right, the others are refused with a known reason; the output counts both."""
    results = []
    for row in conformance_dicom.rows(DATA):
        if row["kind"] == "DICOM file" and (DATA / row["path"]).exists():
            results.append(conformance_dicom.check_dicom(DATA, row))
    wrong = [f"{result.path}: {result.note} ({result.got})" for result in results if result.status == "fail"]
    assert not wrong
    counts = Counter("right" if result.status == "pass" else f"refused: {result.note}" for result in results)
    print(dict(counts.most_common()))
    assert counts["right"] >= 130


@real
def test_384_slices_as_dcm2niix_converts_them(tmp_path: Path) -> None:
    """Voxels, and the affine up to the flip of rows, are those of dcm2niix."""
    import nibabel
    import referee

    folder = DATA / "datalad+example-dicom-structural"
    with tarfile.open(folder / "t1_dicom_384.tar.xz") as tar:
        tar.extractall(tmp_path, filter="data")
    backend = open_backend(tmp_path / "dicoms")
    header = backend.header
    assert (header.shape, header.dtype) == ((1, 274, 384, 384), "int16")
    theirs = nibabel.load(folder / "t1_struct_dcm2niix.nii.gz")
    ours = referee.Facts(np.moveaxis(backend.read(whole(header.shape)), 0, -1), header.affine.numpy())
    reference = referee.Facts(referee.plain(np.asanyarray(theirs.dataobj)), theirs.affine)
    assert referee.affine_gap(ours, theirs.affine) <= 1e-3
    assert np.array_equal(referee.canonical(ours).array, referee.canonical(reference).array)

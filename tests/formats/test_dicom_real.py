"""DICOM of real scanners: rows of the manifest, and what pydicom ships in its package."""

from __future__ import annotations

import sys
import tarfile
from collections import Counter
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


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="this pydicom ships no files")
def test_files_of_pydicom() -> None:
    """Each is read with the pixels that pydicom finds, or refused in one line; never an exception of others."""
    counts: Counter[str] = Counter()
    for path in sorted(SHIPPED.rglob("*.dcm")):
        try:
            backend = open_backend(path)
            found = backend.read(whole(backend.header.shape), raw=True)
        except MedImgError as error:
            assert "\n" not in str(error)
            counts["refused"] += 1
            continue
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
            if path.name == "ExplVR_BigEndNoMeta.dcm":
                dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        expected = pydicom.pixels.pixel_array(dataset)
        expected = expected[:, :, None] if expected.ndim == 2 else expected
        assert np.array_equal(found[..., 0].transpose(2, 1, 0), expected), path.name
        counts["read"] += 1
    assert counts["read"] > 30
    print(dict(counts))


@real
def test_rows_of_the_manifest() -> None:
    """Those that are read are right, the others are refused with a known reason; the output counts both."""
    results = []
    for row in conformance_dicom.rows(DATA):
        if ".tar" not in row["path"] and (DATA / row["path"]).exists():
            results.append(conformance_dicom.check_dicom(DATA, row))
    wrong = [f"{result.path}: {result.note} ({result.got})" for result in results if result.status == "fail"]
    assert not wrong
    counts = Counter("right" if result.status == "pass" else f"refused: {result.note}" for result in results)
    print(dict(counts.most_common()))
    assert counts["right"] >= 75


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

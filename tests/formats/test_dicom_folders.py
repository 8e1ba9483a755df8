"""Folders of real scanners: every image that dcm2niix makes of them, and what medimg decides otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import medimg_cli as mi

pytest.importorskip("nibabel")

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
import conformance_series
import proving

DATA = proving.data_folder()
ROWS = conformance_series.rows(DATA) if DATA is not None else []
real = pytest.mark.skipif(DATA is None, reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
GAPS = "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CT2"


@real
@pytest.mark.parametrize("row", ROWS, ids=[row["path"] for row in ROWS])
def test_folder(row: dict[str, str]) -> None:
    problems = conformance_series.check_folder(DATA, row)
    assert not problems, "\n".join(problems)


@real
def test_every_decision_is_about_a_file_that_is_there() -> None:
    for end, name in conformance_series.DECISIONS:
        assert any(row["path"].endswith(end) and name in row["dcm2niix"] for row in ROWS), name


@real
def test_uneven_slices() -> None:
    """Refused with the two files and the gap; taken for even, they are the voxels of dcm2niix."""
    with pytest.raises(mi.GeometryError, match=r"17106 and 17136 are 202\.5 mm apart, other slices 1\.25 mm"):
        mi.ScalarImage(DATA / GAPS)
    even = mi.ScalarImage(DATA / GAPS, reader_kwargs={"gaps": "ignore"})
    assert even.shape == (1, 16, 16, 4)
    assert round(float(even.numpy().mean()), 6) == 557.84668
    filled = mi.ScalarImage(DATA / GAPS, reader_kwargs={"gaps": "resample"})
    assert filled.spacing == pytest.approx((0.488281, 0.488281, 1.25))
    first, last = even.affine.apply((0, 0, 0)), even.affine.apply((0, 0, 3))
    assert np.allclose(filled.affine.apply((0, 0, 0)), first)
    assert np.allclose(filled.affine.apply((0, 0, filled.shape[3] - 1)), last, atol=1.25)

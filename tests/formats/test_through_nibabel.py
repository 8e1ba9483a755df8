"""PAR/REC: against nibabel on its own files, and with slices moved about."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError
from medimg_cli.formats import open_backend
from tests.helpers import one_line, part, read, regions, unlike

nibabel: Any = pytest.importorskip("nibabel")
DATA = Path(nibabel.__file__).parent / "tests" / "data"
EPI = "phantom_EPI_asc_CLEAR_2_1"
PAIRS = [path for path in sorted(DATA.glob("*.PAR")) if path.with_suffix(".REC").exists()]


def expected(path: Path) -> np.ndarray[Any, Any]:
    array = np.asarray(nibabel.load(path).dataobj)
    return np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Return a copy of a pair."""
    for suffix in (".PAR", ".REC"):
        shutil.copy(DATA / (EPI + suffix), tmp_path / ("x" + suffix))
    return tmp_path / "x.PAR"


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_files_of_nibabel(path: Path) -> None:
    try:
        theirs = nibabel.load(path)
    except Exception:
        with pytest.raises(FormatError) as error:
            open_backend(str(path))
        assert one_line(error.value)
        return
    backend = open_backend(str(path))
    values = read(backend)
    assert np.allclose(values, expected(path), rtol=2e-7, atol=0)
    assert np.allclose(backend.header.affine.numpy(), theirs.affine)
    for region in regions(values.shape, 20):
        assert unlike(backend.read(region), part(values, region)) is None


def test_one_scale_keeps_the_stored_numbers(pair: Path) -> None:
    backend = open_backend(str(pair))
    header = backend.header
    assert (header.dtype, header.slope, header.inter) == ("uint16", 1.29035, 0.0)
    assert (header.axes, header.time_spacing) == ((("time", 3),), 2.0)
    stored = np.fromfile(pair.with_suffix(".REC"), "<u2").reshape(3, 9, 64, 64).transpose(0, 3, 2, 1)
    assert unlike(read(backend, raw=True), stored) is None
    assert header.file_bytes == pair.stat().st_size + pair.with_suffix(".REC").stat().st_size


def test_a_scale_for_each_slice_gives_float64() -> None:
    backend = open_backend(str(DATA / "phantom_varscale.PAR"))
    assert (backend.header.dtype, backend.header.slope) == ("float64", None)
    assert unlike(read(backend), expected(DATA / "phantom_varscale.PAR")) is None


def test_slices_in_any_order(pair: Path) -> None:
    lines = pair.read_text().splitlines()
    places = [n for n, line in enumerate(lines) if re.match(r"\s*\d+\s+\d+\s+\d+\s", line)]
    moved = [lines[n] for n in places]
    moved[0], moved[5], moved[20] = moved[5], moved[20], moved[0]
    for n, line in zip(places, moved, strict=True):
        lines[n] = line
    pair.write_text("\n".join(lines))
    backend = open_backend(str(pair))
    values = read(backend)
    assert np.allclose(values, expected(pair), rtol=2e-7, atol=0)
    for region in regions(values.shape, 20):
        assert unlike(backend.read(region), part(values, region)) is None


def test_either_file_and_any_case_will_do(pair: Path) -> None:
    values = read(open_backend(str(pair)))
    assert unlike(read(open_backend(str(pair.with_suffix(".REC")))), values) is None
    pair.rename(pair.with_suffix(".par"))
    pair.with_suffix(".REC").rename(pair.with_suffix(".rec"))
    assert unlike(read(open_backend(str(pair.with_suffix(".par")))), values) is None
    assert unlike(read(open_backend(str(pair.with_suffix(".rec")))), values) is None


def test_missing_and_short_voxels(pair: Path) -> None:
    record = pair.with_suffix(".REC")
    record.write_bytes(record.read_bytes()[:-1])
    backend = open_backend(str(pair))
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)
    record.unlink()
    assert "there is no x.REC" in open_backend(str(pair)).header.warnings[-1]
    with pytest.raises(FormatError, match="voxels are missing"):
        read(open_backend(str(pair)))
    (pair.parent / "y.REC").write_bytes(bytes(100))
    with pytest.raises(FormatError, match=r"expected y.PAR"):
        open_backend(str(pair.parent / "y.REC"))


@pytest.mark.parametrize("name", ["ADC_Map", "NA"])
def test_recordings_that_nibabel_refuses(name: str) -> None:
    with pytest.raises(MedImgError) as error:
        open_backend(str(DATA / f"{name}.PAR"))
    assert one_line(error.value)


@pytest.mark.parametrize("name", ["DTI", "T2_", "fieldmap", "T1_dual_echo", "umass_anonymized"])
def test_headers_without_voxels(name: str) -> None:
    header = open_backend(str(DATA / f"{name}.PAR")).header
    assert "voxels are missing" in header.warnings[-1]
    assert not any("subject" in str(value).lower() for value in header.metadata.values())


def test_gradients_are_turned_into_the_voxel_axes() -> None:
    path = DATA / "DTI.PAR"
    header = open_backend(str(path)).header
    gradients = header.gradients
    assert gradients is not None
    with path.open() as file:
        par = nibabel.parrec.PARRECHeader.from_fileobj(file)
    bvals, bvecs = par.get_bvals_bvecs()
    assert np.allclose(gradients.bvals, bvals)
    flip = -1.0 if header.affine.determinant > 0 else 1.0
    ours = np.array(gradients.bvecs) * (flip, 1, 1)
    # nibabel turns by the slice orientation alone; the angulation of this scan is 2 degrees
    assert np.abs(ours - bvecs).max() < 0.06
    world = ours @ np.array(header.affine.direction).T
    shown = np.column_stack([par.image_defs["diffusion"][:, n] for n in range(3)])  # ap, fh, rl
    wanted = np.column_stack([-shown[:, 2], -shown[:, 0], shown[:, 1]])
    assert all(np.abs(wanted - vector).sum(axis=1).min() < 1e-5 for vector in world)

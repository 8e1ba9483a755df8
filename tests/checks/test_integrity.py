"""Files that are cut off, flipped, swapped or left out: what is found, by which code, and what is refused."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.checks.checking import Checked, Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.rules import RULES
from medimg_cli.storage.encoded import EncodedSource, End
from medimg_cli.storage.source import MemorySource

AFFINE = np.array([[-1.2, 0.0, 0.9, 31.0], [0.0, 2.1, 0.0, -40.0], [0.4, 0.0, 2.7, 5.0], [0.0, 0.0, 0.0, 1.0]])
PLACES = 50
DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def check(path: object, *select: str, **wishes: Any) -> list[Checked]:
    """Check one path under the rules of files and series."""
    config = load_config(Wishes(isolated=True, select=select or ("F", "D"), **wishes))
    return list(check_paths([str(path)], Checking(config=config)))


def codes(path: object, *select: str, **wishes: Any) -> list[str]:
    """Return the codes that are found; a refusal is an error of the test."""
    checked = check(path, *select, **wishes)
    assert not [each.message for each in checked if each.message]
    return [found.code for each in checked for found in each.findings]


def image() -> mi.ScalarImage:
    """Return an oblique, anisotropic, left-handed image that does not compress to nothing."""
    steps = np.random.default_rng(3).integers(-3, 4, (1, 19, 17, 13))
    return mi.ScalarImage.from_array(np.cumsum(steps, axis=1)[0].astype("i2"), affine=AFFINE)


def _saved(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        image().save(folder / f"whole{suffix}")
        return folder / f"whole{suffix}"

    return make


def _itk(suffix: str, packed: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import SimpleITK as sitk

        path = folder / f"whole{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(image().numpy()[0].T.copy()), str(path), packed)
        return path

    return make


def _zst(folder: Path) -> Path:
    pytest.importorskip("backports.zstd" if sys.version_info < (3, 14) else "compression.zstd")
    return _saved(".nii.zst")(folder)


PLAIN = {
    ".nii": _saved(".nii"), ".mif": _saved(".mif"), ".npy": _saved(".npy"), ".nrrd": _itk(".nrrd", False),
    ".mha": _itk(".mha", False), ".gipl": _saved(".gipl"),
}  # fmt: skip
PACKED = {
    ".nii.gz": _saved(".nii.gz"), ".mgz": _saved(".mgz"), ".mif.gz": _saved(".mif.gz"), ".nii.bz2": _saved(".nii.bz2"),
    ".nii.xz": _saved(".nii.xz"), ".nii.zst": _zst, ".nrrd gzip": _itk(".nrrd", True), ".mha zlib": _itk(".mha", True),
    ".nrrd": _saved(".nrrd"), ".gipl.gz": _saved(".gipl.gz"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::medimg_cli.errors.LossWarning")
@pytest.mark.parametrize("make", {**PLAIN, **PACKED}.values(), ids={**PLAIN, **PACKED})
def test_a_file_cut_off_anywhere_is_truncated(make: Callable[[Path], Path], tmp_path: Path) -> None:
    whole = make(tmp_path)
    data = whole.read_bytes()
    assert codes(whole) == []
    cut = tmp_path / f"cut{whole.name.removeprefix('whole')}"
    missed = {}
    for place in sorted({1, 2, len(data) - 1, *(len(data) * n // (PLACES + 1) for n in range(1, PLACES + 1))}):
        cut.write_bytes(data[:place])
        found = codes(cut)
        if found not in (["F002"], ["F002", "F013"]):
            missed[place] = found
    assert missed == {}


@pytest.mark.filterwarnings("ignore::medimg_cli.errors.LossWarning")
@pytest.mark.parametrize("make", PACKED.values(), ids=PACKED)
def test_a_flipped_bit_in_compressed_data_is_an_error(make: Callable[[Path], Path], tmp_path: Path) -> None:
    whole = make(tmp_path)
    data, voxels = whole.read_bytes(), mi.ScalarImage(whole).numpy()
    start = 300 if whole.suffix in (".nrrd", ".mha") else 10  # what lies before is text, or says nothing of the data
    flipped = tmp_path / f"flipped{whole.name.removeprefix('whole')}"
    clean, damaged = [], 0
    for place in (start + (len(data) - start) * n // PLACES for n in range(PLACES)):
        flipped.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        found = codes(flipped)
        damaged += "F003" in found
        if not any(RULES[code].severity == "error" for code in found):
            clean.append(place)
    assert damaged >= PLACES * 9 // 10
    for place in clean:  # a bit between two blocks of deflate says nothing
        flipped.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        assert np.array_equal(mi.ScalarImage(flipped).numpy(), voxels)
    assert len(clean) <= 1


@pytest.mark.parametrize("place", range(4, 10))
def test_time_and_system_in_the_header_of_gzip_do_not_count(place: int, tmp_path: Path) -> None:
    data = _saved(".nii.gz")(tmp_path).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    assert codes(tmp_path / "a.nii.gz") == []


@pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")
def test_a_real_file_cut_off_anywhere_is_truncated(tmp_path: Path) -> None:

    whole = DATA / "nipy+nibabel/nibabel/tests/data/example4d.nii.gz"
    if not whole.exists():
        pytest.skip(f"{whole} is not there")
    data = whole.read_bytes()
    assert "F002" not in codes(whole)
    for n in range(1, PLACES + 1):
        (tmp_path / "cut.nii.gz").write_bytes(data[: len(data) * n // (PLACES + 1)])
        assert codes(tmp_path / "cut.nii.gz") == ["F002"]


def test_every_failure_has_one_code(tmp_path: Path) -> None:
    from medimg_cli import errors
    from medimg_cli.checks.integrity import code_of

    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, errors.MedImgError):
            assert code_of(kind("x")) in RULES
    assert code_of(errors.TruncatedError("x")) == "F002"
    assert code_of(errors.StorageError("x")) == "F001"


@pytest.mark.parametrize("select", [("F002",), ("F",), ("truncated",)], ids=lambda select: select[0])
def test_rules_of_files_alone_read_voxels(select: tuple[str, ...], tmp_path: Path) -> None:
    whole = _saved(".nii.gz")(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-40])
    assert codes(whole, *select) == ["F002"]


def test_headers_alone_tell_what_sizes_tell(tmp_path: Path) -> None:
    whole = _saved(".nii")(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-1])
    assert codes(whole, header_only=True) == ["F002"]
    (tmp_path / "a.nii.gz").write_bytes(whole.read_bytes())
    assert codes(tmp_path / "a.nii.gz", header_only=True) == ["F002", "F013"]


def test_headers_alone_read_no_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medimg_cli.backends import StoredBackend

    whole = _saved(".nii.gz")(tmp_path)
    monkeypatch.setattr(StoredBackend, "blocks", lambda *args, **kwargs: pytest.fail("voxels were read"))
    assert codes(whole, header_only=True) == []


def test_the_end_of_a_stream_is_known_once_it_was_read() -> None:
    source = EncodedSource(MemorySource(gzip.compress(b"a" * 1000) + gzip.compress(b"b" * 50) + b"rest"), "gzip")
    assert source.end is None
    with source.cursor() as cursor:
        assert b"".join(cursor.chunks(0, 10)) == b"a" * 10
        assert source.end is None
        cursor.verify()
    assert source.end == End(1050, 4)


def test_messages_name_the_file_below_a_folder(tmp_path: Path) -> None:
    from tests.formats.dicom_files import dataset, save

    made = dataset(np.zeros((4, 5), "u2"), Rows=0)
    save(made, tmp_path / "series" / "IM1")
    (found,) = [found for each in check(tmp_path / "series") for found in each.findings]
    assert found.code == "F007" and found.message.startswith("IM1: ")


# -- what is no file ------------------------------------------------------------------------------------------------


def _refusal(path: object) -> str:
    (checked,) = check(path)
    assert not checked.findings
    return checked.message


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.nii").symlink_to("nothing.nii")
    (tmp_path / "annexed.nii.gz").symlink_to(".git/annex/objects/xx/MD5E-s1--aa")
    assert "no such file" in _refusal(tmp_path / "a.nii")
    assert "no images" in _refusal(tmp_path / "empty")
    assert "is a link to a file that does not exist" in _refusal(tmp_path / "broken.nii")
    assert "its content has not been fetched; run: git annex get" in _refusal(tmp_path / "annexed.nii.gz")


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = _saved(".nii")(tmp_path)
    path.chmod(0)
    assert "permission denied" in _refusal(path)


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no /dev/null")
def test_a_device_is_no_image() -> None:
    (checked,) = check("/dev/null")
    assert [found.code for found in checked.findings] == ["F001"]


def test_an_archive_of_several_series_is_checked_series_by_series(tmp_path: Path) -> None:
    import zipfile

    from medimg_cli.affine import AffineMatrix
    from tests.formats.dicom_files import write_series

    place = AffineMatrix.from_spacing((1.2, 2.1, 3.3))
    for name, number in (("a", 1), ("b", 2)):
        files = write_series(tmp_path / name, np.full((5, 4, 6), 9, "u2"), place, SeriesNumber=number)
        if name == "b":
            files[2].unlink()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in sorted((*(tmp_path / "a").iterdir(), *(tmp_path / "b").iterdir())):
            archive.write(path, f"{path.parent.name}/{path.name}")
    (checked,) = check(tmp_path / "s.zip")
    assert [(found.code, found.series) for found in checked.findings] == [("D001", 2)]

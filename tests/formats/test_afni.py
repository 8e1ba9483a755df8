"""AFNI: against nibabel on its own files and on files written by hand."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import open_backend
from tests.helpers import one_line, part, read, regions, unlike, voxels

nibabel: Any = pytest.importorskip("nibabel")
DATA = Path(nibabel.__file__).parent / "tests" / "data"
FACTS: dict[str, Any] = {
    "DATASET_RANK": [3, 2],
    "DATASET_DIMENSIONS": [5, 4, 3],
    "BRICK_TYPES": [1, 1],
    "BRICK_FLOAT_FACS": [0.0, 0.0],
    "BYTEORDER_STRING": "MSB_FIRST",
    "ORIENT_SPECIFIC": [0, 3, 4],
    "ORIGIN": [-10.0, 20.0, -30.0],
    "DELTA": [2.0, -3.0, 4.0],
    "BRICK_LABS": "one~two",
}


def text(facts: dict[str, Any]) -> str:
    parts = []
    for key, value in facts.items():
        if isinstance(value, str):
            parts.append(f"\ntype = string-attribute\nname = {key}\ncount = {len(value) + 1}\n'{value}~\n")
        else:
            kind = "float" if isinstance(value[0], float) else "integer"
            numbers = " ".join(map(str, value))
            parts.append(f"\ntype = {kind}-attribute\nname = {key}\ncount = {len(value)}\n {numbers}\n")
    return "".join(parts)


def write(folder: Path, array: Any, suffix: str = ".BRIK", **facts: Any) -> Path:
    """Write a pair; ``array`` is (C, I, J, K)."""
    (folder / "x+orig.HEAD").write_text(text({key: v for key, v in {**FACTS, **facts}.items() if v is not None}))
    content = array.transpose(1, 2, 3, 0).tobytes(order="F")
    (folder / f"x+orig{suffix}").write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    return folder / "x+orig.HEAD"


@pytest.mark.parametrize("name", ["example4d+orig", "scaled+tlrc"])
@pytest.mark.parametrize("other", [False, True], ids=["HEAD", "BRIK"])
def test_files_of_nibabel(name: str, other: bool) -> None:
    theirs = nibabel.load(DATA / f"{name}.HEAD")
    path = next(DATA.glob(f"{name}.BRIK*")) if other else DATA / f"{name}.HEAD"
    backend = open_backend(str(path))
    expected = np.moveaxis(np.asarray(theirs.dataobj), -1, 0)
    assert np.allclose(read(backend), expected, rtol=2e-7, atol=0)
    assert np.allclose(backend.header.affine.numpy(), theirs.affine)
    full = read(backend)
    for region in regions(full.shape, 20):
        assert unlike(backend.read(region), part(full, region)) is None


def test_facts(tmp_path: Path) -> None:
    array = voxels((2, 5, 4, 3), "int16")
    backend = open_backend(str(write(tmp_path, array.astype(">i2"))))
    header = backend.header
    assert unlike(read(backend), array) is None
    assert header.affine.to_lps().rows[:3] == ((2, 0, 0, -10), (0, -3, 0, 20), (0, 0, 4, -30))
    assert (header.axes, header.byte_order) == ((("channel", 2),), "big")
    assert header.metadata == {"brick_labels": ["one", "two"]}


@pytest.mark.parametrize(("unit", "spacing"), [(77001, 0.002), (77002, 2.0)])
def test_time(unit: int, spacing: float, tmp_path: Path) -> None:
    time = {"TAXIS_NUMS": [2, 0, unit], "TAXIS_FLOATS": [0.0, 2.0, 0.0, 0.0, 0.0]}
    header = open_backend(str(write(tmp_path, voxels((2, 5, 4, 3), "int16"), **time))).header
    assert (header.axes, header.time_spacing) == ((("time", 2),), spacing)


def test_one_factor_is_the_slope_several_give_float64(tmp_path: Path) -> None:
    array = voxels((2, 5, 4, 3), "int16")
    same = open_backend(str(write(tmp_path, array.astype(">i2"), BRICK_FLOAT_FACS=[0.5, 0.5])))
    assert (same.header.dtype, same.header.slope) == ("int16", 0.5)
    assert unlike(read(same, raw=True), array) is None
    apart = open_backend(str(write(tmp_path, array.astype(">i2"), BRICK_FLOAT_FACS=[0.1, 0.0])))
    assert (apart.header.dtype, apart.header.slope) == ("float64", None)
    expected = array * np.array([0.1, 1.0])[:, None, None, None]
    assert unlike(read(apart), expected) is None
    for region in regions(array.shape, 20):
        assert unlike(apart.read(region), part(expected, region)) is None


def test_colours(tmp_path: Path) -> None:
    array = voxels((5, 4, 3, 3), "uint8")  # colours fastest in the file
    (tmp_path / "x+orig.HEAD").write_text(text({**FACTS, "DATASET_RANK": [3, 1], "BRICK_TYPES": [6]}))
    (tmp_path / "x+orig.BRIK").write_bytes(array.transpose(2, 1, 0, 3).tobytes())
    backend = open_backend(str(tmp_path / "x+orig.HEAD"))
    assert backend.header.axes == (("rgb", 3),)
    assert unlike(read(backend), np.moveaxis(array, 3, 0)) is None


@pytest.mark.parametrize("suffix", [".BRIK", ".BRIK.gz", ".brik"])
def test_where_the_voxels_lie(suffix: str, tmp_path: Path) -> None:
    array = voxels((2, 5, 4, 3), "int16")
    backend = open_backend(str(write(tmp_path, array.astype(">i2"), suffix)))
    assert unlike(read(backend), array) is None
    assert backend.header.compression == ("gzip" if suffix.endswith("gz") else None)


def test_missing_and_short_voxels(tmp_path: Path) -> None:
    path = write(tmp_path, voxels((2, 5, 4, 2), "int16"))
    assert any(note.startswith("truncated") for note in open_backend(str(path)).header.warnings)
    with pytest.raises(TruncatedError):
        read(open_backend(str(path)))
    (tmp_path / "x+orig.BRIK").unlink()
    backend = open_backend(str(path))
    assert "there is no x+orig.BRIK" in backend.header.warnings[-1]
    with pytest.raises(FormatError, match="voxels are missing"):
        read(backend)


def test_a_brik_without_its_head(tmp_path: Path) -> None:
    shutil.copy(DATA / "scaled+tlrc.BRIK", tmp_path)
    with pytest.raises(FormatError, match=r"expected scaled\+tlrc.HEAD"):
        open_backend(str(tmp_path / "scaled+tlrc.BRIK"))


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"BRICK_TYPES": [1, 3]}, UnsupportedError),
        ({"BRICK_TYPES": [9, 9]}, UnsupportedError),
        ({"BRICK_TYPES": None}, FormatError),
        ({"DATASET_RANK": [3]}, FormatError),
        ({"DATASET_DIMENSIONS": [5, -4, 3]}, FormatError),
        ({"DATASET_DIMENSIONS": [10**9, 10**9, 10**9]}, FormatError),
        ({"ORIENT_SPECIFIC": [0, 99, 4]}, FormatError),
        ({"ORIGIN": [float("nan"), 0.0, 0.0]}, FormatError),
        ({"ORIGIN": None}, FormatError),
    ],
)
def test_what_cannot_be_is_refused(facts: dict[str, Any], error: type[MedImgError], tmp_path: Path) -> None:
    with pytest.raises(error) as caught:
        open_backend(str(write(tmp_path, voxels((2, 5, 4, 3), "int16"), **facts)))
    assert one_line(caught.value)


@pytest.mark.parametrize("name", ["bad_attribute+orig.HEAD", "bad_datatype+orig.HEAD"])
def test_bad_files_of_nibabel(name: str) -> None:
    with pytest.raises(MedImgError) as error:
        open_backend(str(DATA / name))
    assert one_line(error.value)

"""`read_array` and `save_array`: plain arrays, and a way back to the file as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.arrays import read_array, save_array
from medimg_cli.errors import CastError, GeometryError, UsageError
from medimg_cli.formats import open_backend, read_header
from medimg_cli.formats.writing import save_backend
from tests.helpers import make, read
from tests.operations.helpers import OBLIQUE, numbered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_backend(make("scaled-time"), str(tmp_path / "a.nii.gz"))
    return tmp_path / "a.nii.gz"


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_channels_go_where_they_are_wanted(axis: int, path: Path) -> None:
    array, header = read_array(path, channels_axis=axis)
    assert np.array_equal(np.moveaxis(array, axis, 0), read(make("scaled-time")))
    assert (header.dtype, header.slope) == ("uint8", 0.25)


def test_one_channel_may_have_no_axis(tmp_path: Path, path: Path) -> None:
    save_backend(numbered((1, 5, 4, 3)), str(tmp_path / "b.nii"))
    assert read_array(tmp_path / "b.nii", channels_axis=None)[0].shape == (5, 4, 3)
    with pytest.raises(GeometryError, match="2 channels"):
        read_array(path, channels_axis=None)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("coordinates", ["ras", "lps"])
@pytest.mark.parametrize("orientation", [None, "RAS", "SPL"])
def test_a_round_trip_restores_the_file(
    orientation: Any, coordinates: Any, axis: int, path: Path, tmp_path: Path
) -> None:
    array, header = read_array(path, orientation, coordinates=coordinates, channels_axis=axis)
    own = read_header(path)
    if orientation and coordinates == "ras":
        assert "".join(header.orientation) == orientation
    if orientation is None and coordinates == "lps":
        assert header.affine == own.affine.to_lps()
    target = tmp_path / "new" / "folder" / "b.nii.gz"
    assert save_array(target, array, header, make_dirs=True) == ()
    again = open_backend(target)
    assert np.array_equal(read(again, raw=True), read(make("scaled-time"), raw=True))
    for name in ("dtype", "slope", "inter", "affine", "axes", "time_spacing", "history", "sform_code", "qform_code"):
        assert getattr(again.header, name) == getattr(own, name), name
    save_array(tmp_path / "turned.nii.gz", array, header, restore_orientation=False)
    turned = read_header(tmp_path / "turned.nii.gz")
    assert "".join(turned.orientation) == (orientation or "".join(own.orientation))


def test_types(path: Path, tmp_path: Path) -> None:
    assert read_array(path, dtype="float64")[0].dtype == "float64"
    with pytest.raises(CastError):
        read_array(path, dtype="int16")
    array, header = read_array(path)
    save_array(tmp_path / "b.nii", array + np.float32(0.1), header)
    other = open_backend(tmp_path / "b.nii")
    assert (other.header.dtype, other.header.scaled) == ("float32", False)
    assert np.array_equal(read(other), array + np.float32(0.1))
    save_array(tmp_path / "c.nii", array[0] > 0, header)
    assert read_header(tmp_path / "c.nii").shape[0] == 1


def test_what_makes_no_sense(path: Path, tmp_path: Path) -> None:
    array, header = read_array(path)
    with pytest.raises(UsageError, match="coordinates"):
        read_array(path, coordinates="itk")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="channels_axis"):
        read_array(path, channels_axis=4)
    with pytest.raises(UsageError, match="no format"):
        read_array(path, backend="nope")
    with pytest.raises(GeometryError, match="does not fit"):
        save_array(tmp_path / "b.nii", array[:, 1:], header)
    with pytest.raises(OSError, match="folder"):
        save_array(tmp_path / "none" / "b.nii", array, header)
    assert OBLIQUE.orientation == ("P", "L", "S")

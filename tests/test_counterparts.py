"""The table of counterparts: no row is missing or empty, each points at what exists and at a test that exercises it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli import AffineMatrix, Image, LabelMap, ScalarImage

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "counterparts.md"

# Facts about other libraries: their public members, as released or documented, in the order of their sources.
MEMBERS: dict[str, tuple[str, ...]] = {
    "TorchIO 1": (  # 1.2.1
        *("data", "set_data", "tensor", "affine", "type", "shape", "spatial_shape", "check_is_2d", "height", "width"),
        *("orientation", "orientation_str", "direction", "spacing", "origin", "itemsize", "memory", "bounds"),
        *("num_channels", "axis_name_to_index", "flip_axis", "get_spacing_string", "get_bounds", "load", "unload"),
        *("read_and_check", "save", "is_2d", "numpy", "as_sitk", "from_sitk", "as_pil", "to_gif", "to_ras"),
        *("get_center", "set_check_nans", "plot", "show", "hist", "to_video", "count_nonzero", "count_labels"),
    ),
    "TorchIO 2": (  # 2.0.0a2
        "ImageInput",
        *("path", "is_loaded", "data", "affine", "metadata", "dataobj", "shape", "spatial_shape", "num_channels"),
        *("spacing", "origin", "memory", "dtype", "orientation", "points", "bounding_boxes", "load", "set_data"),
        *("device", "to", "numpy", "new_like", "save", "plot", "plot_interactive", "to_gif", "to_video"),
        *("applied_transforms", "get_inverse_transform", "apply_inverse_transform", "clear_history"),
    ),
    "TorchIO 2: AffineMatrix": (
        *("from_spacing", "data", "device", "spacing", "origin", "direction", "orientation", "euler_angles", "to"),
        *("clone", "inverse", "compose", "apply", "numpy"),
    ),
    "TorchIO 2: Points": (
        *("data", "axes", "affine", "metadata", "num_points", "device", "to", "to_world", "to_axes", "new_like"),
    ),
    "TorchIO 2: BoundingBoxes": (
        *("data", "format", "labels", "affine", "metadata", "num_boxes", "device", "to", "to_format", "new_like"),
        *("axes", "representation", "IJKIJK", "IJKWHD"),
    ),
    "mitk.Image": (  # its user guide and bindings of 2026
        *("Image()", "Image(path)", "Image(array)", "initialize", "from_numpy", "load", "save"),
        *("get_dimension", "ndim", "shape", "dtype", "array", "as_numpy", "__array__", "spacing", "origin"),
        *("direction", "direction_cosines"),
        *("get_spacing", "set_spacing", "get_origin", "set_origin", "get_direction", "set_direction"),
        *("get_direction_cosines", "get_geometry", "time_steps", "time_geometry", "properties", "get_property"),
        *("set_property", "property_is_owned", "remove_property", "property_keys"),
    ),
    "medio": (  # 0.7.1
        *("read_img", "read_meta", "save_img", "save_dir", "MedImg", "MedImg.from_file", "MedImg.save", "MetaData"),
        *("MetaData.convert", "MetaData.clone", "MetaData.get_ornt", "MetaData.ornt", "MetaData.spacing"),
        *("MetaData.is_right_handed_ornt", "CoordSys", "Affine", "Affine.index2coord", "Affine.clone"),
        *("Affine.origin", "Affine.spacing", "Affine.direction", "Affine.construct_affine", "Affine.affine2origin"),
        *("Affine.affine2spacing", "Affine.affine2direction", "Affine.affine2comps", "ItkIO"),
        *("InconsistentSeriesError", "MetaData.check_valid_coord_sys", "convert_affine"),
    ),
}


class Row(NamedTuple):
    """One row of the page."""

    section: str
    member: str
    here: str
    note: str
    test: str


@cache
def rows() -> tuple[Row, ...]:
    found, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:].strip()
        elif line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            assert len(cells) == 4, line
            member, here, note, test = cells
            found.append(Row(section, member.strip("`"), here.strip("`"), note, test.strip("`")))
    return tuple(found)


@cache
def functions_of(path: str) -> dict[str, str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    functions = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
    return {node.name: ast.get_source_segment(text, node) or "" for node in functions}


def test_no_member_is_missing() -> None:
    for section, members in MEMBERS.items():
        listed = [row.member for row in rows() if row.section == section]
        assert listed == list(members), section
    assert {row.section for row in rows()} == set(MEMBERS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.section}: {row.member}")
def test_no_cell_is_empty_and_all_of_them_are_true(row: Row) -> None:
    assert all(row)
    found: Any = mi
    for name in row.here.split("."):
        found = getattr(found, name, None) or getattr(Image, name)
    path, _, test = row.test.partition("::")
    source = functions_of(path)[test]
    name = {"__array__": "asarray"}.get(row.here.rpartition(".")[2], row.here.rpartition(".")[2])
    assert re.search(rf"\b{name}\b", source), f"{row.test} does not mention {name}"


def test_the_lists_are_those_of_the_libraries() -> None:
    torchio = pytest.importorskip("torchio")
    section = "TorchIO 1" if torchio.__version__.startswith("1.") else "TorchIO 2"
    own = {name for kind in (torchio.ScalarImage, torchio.LabelMap) for name in vars(kind) | vars(torchio.Image)}
    public = {name for name in own if not name.startswith("_")}
    assert public - set(MEMBERS[section]) == set()


def test_the_list_of_medio_is_that_of_medio() -> None:
    medio = pytest.importorskip("medio")
    named = {name.partition(".")[0] for name in MEMBERS["medio"]}
    assert {name for name in medio.__all__ if not name.startswith("_")} - named == set()


# what no other test says in these words


def scan(**options: Any) -> ScalarImage:
    affine = AffineMatrix.from_spacing((1, 2, 3), origin=(10, 20, 30))
    return ScalarImage(np.arange(60, dtype="int16").reshape(1, 5, 4, 3), affine=affine, **options)


def test_words_of_torchio() -> None:
    image = scan()
    assert "".join(image.orientation) == "RAS"  # orientation_str
    assert image.reorient("RAS").orientation == ("R", "A", "S")  # to_ras
    image.check_nans = True  # set_check_nans
    assert image.check_nans
    assert not image.is_2d()
    assert np.histogram(image.numpy(), bins=3)[0].tolist() == [20, 20, 20]  # hist
    assert "spacing: (1.00, 2.00, 3.00)" in repr(image) and image.spacing == (1, 2, 3)  # get_spacing_string
    labels = LabelMap(np.repeat([0, 1, 2], 20).reshape(1, 5, 4, 3))
    assert labels.count() == {0: 20, 1: 20, 2: 20}
    assert sum(n for label, n in labels.count().items() if label) == 40  # count_nonzero
    image.load()
    assert image.is_loaded
    assert mi.BoundingBoxFormat.IJKIJK.representation != mi.BoundingBoxFormat.IJKWHD.representation


def test_nans_in_a_file_are_told(tmp_path: Path) -> None:
    ScalarImage(np.full((1, 2, 3, 4), np.nan, "float32")).save(tmp_path / "nan.nii.gz")
    with pytest.warns(RuntimeWarning, match="NaNs found"):
        ScalarImage(tmp_path / "nan.nii.gz", check_nans=True).load()  # Image.load for read_and_check


def test_words_of_mitk(tmp_path: Path) -> None:
    assert Image.empty((3, 4, 5), "uint8").dtype == np.uint8  # initialize
    image = Image.from_array(np.zeros((3, 4, 5), "float32"), "kji", spacing=(1, 2, 3))  # from_numpy
    assert image.spatial_shape == (5, 4, 3) and image.ndim == 4 and image.shape == (1, 5, 4, 3)
    assert not image.numpy(writeable=False).flags.writeable
    image.numpy()[0, 0, 0, 0] = 7
    assert np.asarray(image)[0, 0, 0, 0] == 7
    image.spacing, image.origin, image.direction = (2, 2, 2), (1, 1, 1), np.diag([-1, -1, 1])
    assert (image.spacing, image.origin) == ((2, 2, 2), (1, 1, 1))
    assert sum(image.direction, ()) == (-1, 0, 0, 0, -1, 0, 0, 0, 1)  # direction_cosines
    assert image.grid.shape == (5, 4, 3)  # get_geometry
    image.time_spacing = 2.0
    assert (image.time_steps, image.time_spacing) == (1, 2.0)
    image.metadata["key"] = 42
    assert image["key"] == image.metadata["key"] == 42 and "key" in image
    image.metadata["other"] = 1
    assert {"key", "other"} <= set(image.metadata)  # property_keys
    del image.metadata["other"]  # remove_property
    assert "other" not in image
    image.save(tmp_path / "a.nrrd")
    assert Image(tmp_path / "a.nrrd").dtype == np.float32


def test_arrays_without_a_direction_are_lps_to_itk() -> None:
    """MITK and SimpleITK begin with the identity in LPS+, from_array with that in RAS+: x and y are turned."""
    sitk = pytest.importorskip("SimpleITK")
    array = np.zeros((4, 5, 6), "int16")
    theirs = Image(sitk.GetImageFromArray(array))
    assert Image.from_array(array, "kji", direction=np.diag([-1, -1, 1])).grid == theirs.grid
    assert Image.from_array(array, "kji").grid != theirs.grid


def test_words_of_medio(tmp_path: Path) -> None:
    scan().save(tmp_path / "a.nii.gz")
    array, header = mi.read_array(tmp_path / "a.nii.gz", orientation="LPS", coordinates="lps", backend="nifti1")
    assert header.spacing == mi.read_header(tmp_path / "a.nii.gz").spacing == (1, 2, 3)
    assert "".join(mi.read_header(tmp_path / "a.nii.gz").orientation) == "RAS"
    array, header = mi.read_array(tmp_path / "a.nii.gz", orientation="LPS")
    mi.save_array(tmp_path / "b.nii.gz", array, header)
    assert np.array_equal(Image(tmp_path / "b.nii.gz").numpy(), scan().numpy())
    assert header.replace(description="x").description == "x"
    array, header = mi.read_array(tmp_path / "a.nii.gz", orientation="LPI")  # desired_ornt="RAS", coord_sys="itk"
    assert np.array_equal(array, scan().numpy()[:, ::-1, ::-1, ::-1])
    affine = AffineMatrix.from_spacing((1, 2, 3), origin=(4, 5, 6))
    assert affine.apply((1, 1, 1)) == (5, 7, 9)  # index2coord
    assert affine.determinant > 0  # is_right_handed_ornt
    assert affine.to_lps().origin == (-4, -5, 6)  # convert_affine
    with pytest.raises(mi.UsageError):  # check_valid_coord_sys
        mi.read_array(tmp_path / "a.nii.gz", coordinates="itk")
    assert (affine.clone().spacing, affine.direction[0]) == ((1, 2, 3), (1, 0, 0))


def test_series_are_written_and_checked(tmp_path: Path) -> None:
    image = scan().pad(((0, 0), (0, 0), (1, 2)))
    files = image.save_dicom(tmp_path / "series")
    assert np.array_equal(Image(tmp_path / "series").numpy(), image.numpy())
    Path(files[2]).unlink()
    with pytest.raises((mi.GeometryError, mi.FormatError), match="missing"):
        Image(tmp_path / "series")

"""Arrays that carry their geometry: itk images, plain objects with origin, spacing and direction, MONAI, TorchIO."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import CastError, GeometryError, UnsupportedError
from medimg_cli.interop import to_monai, to_sitk, to_xarray
from tests.helpers import AFFINES, KINDS, make, one_line, read, unlike, voxels


class Thing:
    """An array with its geometry, as many libraries have one."""

    def __init__(self, array: Any, place: AffineMatrix = AFFINES["left-handed"], /, **more: Any) -> None:
        lps = place.to_lps()
        self.array, self.origin, self.spacing, self.direction = array, lps.origin, lps.spacing, lps.direction
        self.__dict__.update(more)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.array, dtype=dtype)


class Geometric(np.ndarray):
    """An array of a kind of its own with attributes: no plain array."""

    origin, spacing, direction = (1.0, 2.0, 3.0), (0.5, 1.5, 2.5), np.eye(3)


# plain objects


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "float32", ">f8", "complex64", "bool"])
def test_arrays_are_k_j_i_and_lps(dtype: str) -> None:
    array = voxels((3, 4, 5), np.dtype(dtype).name).astype(dtype)
    image = mi.Image(Thing(array))
    assert image.shape == (1, 5, 4, 3)
    assert unlike(image.numpy()[0], array.transpose(2, 1, 0).astype(image.dtype)) is None
    assert image.affine.allclose(AFFINES["left-handed"], 1e-9)
    assert image.dtype.isnative


@pytest.mark.parametrize(
    ("dims", "shape"),
    [("kji", (3, 4, 5)), ("ijk", (5, 4, 3)), ("zyx", (3, 4, 5)), ("xyz", (5, 4, 3)), ("zyxc", (3, 4, 5, 2)),
     ("cxyz", (2, 5, 4, 3)), ("tkji", (2, 3, 4, 5)), ("yx", (4, 5))],
)  # fmt: skip
@pytest.mark.parametrize("several", [str, tuple, list])
def test_dims_name_the_axes(dims: str, shape: tuple[int, ...], several: Any) -> None:
    array = voxels(shape, "int16")
    image = mi.Image(Thing(array, dims=several(dims)))
    assert image.spatial_shape == (5, 4, 3 if len(shape) > 2 else 1)
    letters = dims.translate(str.maketrans("xyzt", "ijkc"))
    wanted = array.transpose([letters.index(each) for each in "cijk" if each in letters])
    assert np.array_equal(image.numpy().squeeze(), wanted)
    assert image.affine.allclose(AFFINES["left-handed"], 1e-9)
    assert image.time_steps == (2 if "t" in dims else 1)


def test_components_come_last() -> None:
    array = voxels((3, 4, 5, 3), "uint8")
    image = mi.Image(Thing(array))
    assert (image.shape, image.header.axes) == ((3, 5, 4, 3), (("rgb", 3),))
    assert np.array_equal(image.numpy(), array.transpose(3, 2, 1, 0))


def test_two_axes() -> None:
    thing = Thing(voxels((4, 5), "int16"))
    thing.origin, thing.spacing, thing.direction = (1.0, 2.0), (0.5, 1.5), [[0.0, -1.0], [1.0, 0.0]]
    image = mi.Image(thing)
    assert (image.shape, image.header.ndim) == ((1, 5, 4, 1), 2)
    assert image.affine == AffineMatrix.from_lps([[0, -1.5, 0, 1], [0.5, 0, 0, 2], [0, 0, 1, 0]])


def test_directions_may_be_flat_and_data_an_attribute() -> None:
    class Holder:
        data = voxels((3, 4, 5), "int16")
        origin, spacing = np.array([1.0, 2, 3]), [0.5, 1.5, 2.5]
        direction = (0.0, -1, 0, 1, 0, 0, 0, 0, 1)
        metadata = {"te": 3.5, "array": np.zeros(3), "origin": "x"}

    image = mi.Image(Holder())
    assert image.affine.to_lps().rows[0] == (0, -1.5, 0, 1)
    assert dict(image.metadata) == {"te": 3.5}
    assert np.shares_memory(image.numpy(), Holder.data)


def test_an_array_of_a_kind_of_its_own_keeps_its_place() -> None:
    image = mi.Image(voxels((3, 4, 5), "int16").view(Geometric))
    assert (image.shape, image.spacing, image.origin) == ((1, 5, 4, 3), (0.5, 1.5, 2.5), (-1.0, -2.0, 3.0))
    assert type(image.numpy()) is np.ndarray


def test_an_affine_beside_it_must_agree() -> None:
    affine = AFFINES["oblique"]
    for same in (affine, affine.to_lps()):
        assert mi.Image(Thing(voxels((3, 4, 5), "int16"), affine, affine=same.numpy())).affine.allclose(affine, 1e-9)
    with pytest.raises(GeometryError, match="its affine is not what its origin") as error:
        mi.Image(Thing(voxels((3, 4, 5), "int16"), affine, affine=np.eye(4)))
    assert one_line(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing": (1.0, 2.0)}, "direction is"),
        ({"origin": (1.0, 2.0)}, "spacing has 3 values, origin 2"),
        ({"spacing": "abc"}, "spacing is 'abc', expected a list of numbers"),
        ({"direction": np.eye(2)}, "expected 3 x 3 numbers"),
        ({"spacing": (1.0, 0.0, 1.0)}, "above 0"),
        ({"origin": (np.nan, 0.0, 0.0)}, "finite"),
        ({"array": voxels((4, 5), "int16")}, "2 axes, its spacing 3"),
        ({"array": voxels((4, 5), "int16").astype(str)}, "holds no voxels"),
        ({"dims": ("row", "column", "slice")}, "dims are"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    thing = Thing(voxels((3, 4, 5), "int16"))
    thing.__dict__.update(change)
    with pytest.raises((GeometryError, UnsupportedError), match=message) as error:
        mi.Image(thing)
    assert one_line(error.value)


# itk


@pytest.mark.parametrize("kind", ["plain", "left-handed", "permuted", "rgb", "vector", "picture"])
def test_images_of_itk(kind: str) -> None:
    itk = pytest.importorskip("itk")
    image = make(kind)
    there = itk.image_from_xarray(to_xarray(image))
    back = mi.Image(there)
    assert unlike(back.numpy(), read(image)) is None
    assert back.affine.allclose(image.header.affine, 1e-9)
    assert (back.header.axes, back.header.ndim) == (image.header.axes, image.header.ndim)
    assert {key: value for key, value in back.metadata.items() if not key.startswith("ITK")} == {}


def test_itk_and_simpleitk_read_one_file_alike(tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    sitk = pytest.importorskip("SimpleITK")
    sitk.WriteImage(to_sitk(make("left-handed")), str(tmp_path / "a.nrrd"))
    ours = mi.Image(tmp_path / "a.nrrd")
    for theirs in (mi.Image(itk.imread(str(tmp_path / "a.nrrd"))), mi.Image(sitk.ReadImage(str(tmp_path / "a.nrrd")))):
        assert theirs.affine.allclose(ours.affine, 1e-9)
        assert unlike(theirs.numpy(), ours.numpy()) is None


def test_what_itk_makes_no_array_of() -> None:
    itk = pytest.importorskip("itk")
    with pytest.raises(UnsupportedError, match="itk makes no array of itkImageCF3") as error:
        mi.Image(itk.Image[itk.complex[itk.F], 3].New())
    assert one_line(error.value)


# MONAI


@pytest.fixture
def monai() -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("monai")


@pytest.mark.parametrize("kind", ["plain", "left-handed", "permuted", "sheared", "time", "scaled-time", "scaled"])
def test_monai_reads_the_same_file_alike(kind: str, monai: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    mi.Image(make(kind)).save(tmp_path / "a.nii.gz")
    ours = mi.Image(tmp_path / "a.nii.gz")
    loader = monai.transforms.LoadImage(image_only=True, ensure_channel_first=True, dtype=None)
    theirs = loader(tmp_path / "a.nii.gz")
    there = to_monai(ours.dataobj, ours.path)
    assert there.shape == theirs.shape
    assert np.array_equal(there.numpy().astype("float32"), theirs.numpy().astype("float32"), equal_nan=True)
    assert there.affine.dtype == theirs.affine.dtype == torch.float64
    assert np.allclose(there.affine, theirs.affine, atol=1e-6)
    assert np.allclose(there.meta["original_affine"], theirs.meta["original_affine"], atol=1e-6)
    for key in ("filename_or_obj", "space"):
        assert str(there.meta[key]) == str(theirs.meta[key])
    assert list(there.meta["spatial_shape"]) == list(theirs.meta["spatial_shape"])
    back = mi.Image(theirs)
    assert back.affine.allclose(ours.affine, 1e-6)
    assert np.array_equal(back.numpy(), ours.numpy(), equal_nan=True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "picture"])
def test_monai_there_and_back(kind: str, monai: Any) -> None:
    image = make(kind)
    there = to_monai(image, "scan.nii")
    back = mi.Image(there)
    assert unlike(back.numpy(), read(image)) is None
    assert back.affine == image.header.affine
    assert dict(back.metadata) == dict(image.header.metadata)
    assert type(back.data) is pytest.importorskip("torch").Tensor, "an affine that stays behind would lie"
    assert there.meta["filename_or_obj"] == "scan.nii"
    assert np.array_equal(pickle.loads(pickle.dumps(back)).numpy(), back.numpy(), equal_nan=True)


def test_transforms_of_monai_move_the_image(monai: Any) -> None:
    image = mi.Image(make("left-handed"))
    there = to_monai(image.dataobj)
    turned = monai.transforms.Orientation("RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(there)
    assert mi.Image(turned).affine.allclose(image.reorient("RAS").affine, 1e-9)
    assert unlike(mi.Image(turned).numpy(), image.reorient("RAS").numpy()) is None
    again = monai.transforms.EnsureChannelFirst()(there)
    assert again.shape == there.shape, "channels are first already"
    part = monai.transforms.SpatialCrop(roi_start=(1, 0, 1), roi_end=(5, 3, 3))(there)
    assert mi.Image(part).affine.allclose(image[:, 1:5, :3, 1:3].affine, 1e-9)


def test_spaces_of_monai(monai: Any) -> None:
    tensor = to_monai(make("left-handed"))
    tensor.meta["space"] = monai.utils.SpaceKeys.LPS
    assert mi.Image(tensor).affine == AFFINES["left-handed"].to_lps()
    tensor.meta["space"] = "LPS"
    assert mi.Image(tensor).affine == AFFINES["left-handed"].to_lps()
    tensor.meta["space"] = "scanner"
    with pytest.raises(UnsupportedError, match="space 'scanner'"):
        mi.Image(tensor)


def test_tensors_without_a_channel(monai: Any, tmp_path: Path) -> None:
    mi.Image(make("plain")).save(tmp_path / "a.nii")
    mi.Image(make("time")).save(tmp_path / "b.nii")
    loader = monai.transforms.LoadImage(image_only=True)
    assert np.array_equal(mi.Image(loader(tmp_path / "a.nii")).numpy(), make("plain").array)
    with pytest.raises(GeometryError, match="channels last; load it with ensure_channel_first"):
        mi.Image(loader(tmp_path / "b.nii"))
    with pytest.raises(GeometryError, match="from_array"):
        mi.Image(monai.data.MetaTensor(np.zeros((3, 4, 5))))
    flat = monai.data.MetaTensor(np.zeros((1, 4, 5)), affine=np.diag([2.0, 3.0, 1.0]))
    assert (mi.Image(flat).shape, mi.Image(flat).spacing) == ((1, 4, 5, 1), (2.0, 3.0, 1.0))


def test_batches_and_pending_transforms_are_refused(monai: Any) -> None:
    one = to_monai(make("plain"))
    batch = monai.data.list_data_collate([one, one])
    with pytest.raises(GeometryError, match="decollate") as error:
        mi.Image(batch)
    assert one_line(error.value)
    lazy = monai.transforms.Flip(0, lazy=True)(one)
    with pytest.raises(GeometryError, match="pending"):
        mi.Image(lazy)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize != 16, reason="no float128 here")
def test_types_that_torch_lacks(monai: Any) -> None:
    with pytest.raises(CastError, match="float128"):
        to_monai(make("plain", "float128"))


# TorchIO


@pytest.mark.parametrize("kind", ["left-handed", "time", "labels"])
def test_images_of_torchio(kind: str) -> None:
    torchio = pytest.importorskip("torchio")
    image = make(kind)
    cls = torchio.LabelMap if kind == "labels" else torchio.ScalarImage
    back = mi.Image(cls(tensor=image.array, affine=image.header.affine.numpy()))
    assert back.affine == image.header.affine
    assert unlike(back.numpy(), image.array.astype(back.dtype)) is None
    assert back.type == ("label" if kind == "labels" else "intensity")

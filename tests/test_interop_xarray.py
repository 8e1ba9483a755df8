"""Arrays of xarray come in and go out as ITK and spatial-image write them, and stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.interop import from_xarray, to_xarray
from tests.helpers import AFFINES, KINDS, make, one_line, read, unlike, voxels

xarray: Any = pytest.importorskip("xarray")


def array(shape: tuple[int, ...] = (3, 4, 5), dims: str = "zyx", **attrs: Any) -> Any:
    """Return an array as spatial-image makes it: even coordinates, no direction unless given."""
    steps = {"x": (0.9, -37.5), "y": (1.25, 12.25), "z": (3.0, 81.0), "t": (2.0, 0.0), "c": (1, 0)}
    sizes = dict(zip(dims, shape, strict=True))
    coords = {dim: np.arange(size) * steps[dim][0] + steps[dim][1] for dim, size in sizes.items()}
    return xarray.DataArray(voxels(shape, "int16"), dims=list(dims), coords=coords, attrs=attrs)


# round trips


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sheared"])
def test_there_and_back(kind: str) -> None:
    image = make(kind)
    there = to_xarray(image)
    back = from_xarray(there)
    assert unlike(read(back), read(image)) is None
    assert back.header.affine == image.header.affine, "exactly"
    assert back.header.axes == image.header.axes
    assert back.header.time_spacing == image.header.time_spacing
    assert back.header.ndim == (2 if kind == "picture" else 3)
    assert dict(back.header.metadata) == dict(image.header.metadata)
    assert back.header.warnings == ()


def test_conventions_are_those_of_itk() -> None:
    image = make("left-handed")
    there = to_xarray(image)
    lps = image.header.affine.to_lps()
    assert there.dims == ("z", "y", "x")
    assert there.name == "image"
    assert there.values[2, 1, 4] == image.array[0, 4, 1, 2]
    for n, dim in enumerate("xyz"):
        assert there[dim].dtype == np.float64
        assert np.allclose(there[dim], lps.origin[n] + np.arange(there.sizes[dim]) * lps.spacing[n], rtol=0, atol=1e-12)
        assert there[dim].attrs == {"units": "mm"}
    assert np.array_equal(there.attrs["direction"], np.array(lps.direction)[::-1, ::-1])


def test_time_and_components_are_axes() -> None:
    there = to_xarray(make("time-rgb"))
    assert there.dims == ("t", "z", "y", "x", "c")
    assert there.t.values.tolist() == [0.0, 2.5]
    assert (there.t.attrs, there.c.attrs, there.c.dtype) == ({"units": "s"}, {"long_name": "rgb"}, np.uint32)
    assert there.values[1, 2, 3, 4, 2] == make("time-rgb").array[2 * 2 + 1, 4, 3, 2]
    assert np.asarray(there.attrs["direction"]).shape == (4, 4)


def test_a_sheared_image_is_refused_with_its_angle() -> None:
    with pytest.raises(GeometryError, match=r"sheared axes \(\d+\.?\d* degrees\)") as error:
        to_xarray(make("sheared"))
    assert one_line(error.value)


# what was done to an array in between


CUTS: list[dict[str, slice]] = [
    {"x": slice(1, 4)},
    {"y": slice(None, None, -1)},
    {"z": slice(None, None, 2), "x": slice(None, None, -2)},
    {"x": slice(3, None, -1), "y": slice(1, 2), "z": slice(2, 3)},
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("kind", ["straight", "left-handed", "permuted", "time"])
def test_a_part_of_an_array_is_that_part_of_the_image(kind: str, cut: dict[str, slice]) -> None:
    image = mi.Image(make(kind))
    part = mi.Image(to_xarray(make(kind)).isel(cut))
    wanted = image[(slice(None), *(cut.get(dim, slice(None)) for dim in "xyz"))]
    assert part.affine.allclose(wanted.affine, 1e-9)
    assert unlike(part.numpy(), wanted.numpy()) is None


def test_a_single_slice_stays_in_its_place() -> None:
    image = mi.Image(make("left-handed"))
    for dim, place, index in (("x", 3, np.s_[:, 3]), ("y", 1, np.s_[:, :, 1]), ("z", 2, np.s_[..., 2])):
        part = mi.Image(to_xarray(make("left-handed")).isel({dim: place}))
        assert part.affine.allclose(image[index].affine, 1e-9)
        assert unlike(part.numpy(), image[index].numpy()) is None


def test_values_between_voxels_lie_between_them() -> None:
    pytest.importorskip("scipy")
    there = to_xarray(make("permuted"))
    finer = mi.Image(there.interp(x=np.linspace(float(there.x[0]), float(there.x[-1]), 9)))
    assert finer.affine.allclose(mi.Image(make("permuted")).affine @ AffineMatrix.from_spacing((0.5, 1, 1)), 1e-9)


@pytest.mark.parametrize("order", ["zyx", "xyz", "yzx", "zyxc", "cxyz", "tzyx", "ytxz", "tzyxc", "xcyzt"])
def test_dims_go_by_name(order: str) -> None:
    sizes = {"x": 5, "y": 4, "z": 3, "t": 2, "c": 3}
    data = array(tuple(sizes[dim] for dim in order), order)
    image = mi.Image(data)
    plain = data.transpose(*(dim for dim in "ctxyz" if dim in order)).values.reshape(image.shape)
    assert np.array_equal(image.numpy(), plain)
    assert image.affine.allclose([[-0.9, 0, 0, 37.5], [0, -1.25, 0, -12.25], [0, 0, 3, 81]], 1e-9)
    assert image.orientation == ("L", "P", "S")
    assert image.time_spacing == (2.0 if "t" in order else None)
    assert image.num_channels == (2 if "t" in order else 1) * (3 if "c" in order else 1)


def test_a_picture_has_two_dims() -> None:
    image = mi.Image(array((4, 5), "yx"))
    assert (image.shape, image.header.ndim, image.spacing) == ((1, 5, 4, 1), 2, pytest.approx((0.9, 1.25, 1.0)))


# geometry without our affine


def oblique() -> Any:
    """Return an oblique array as ITK writes it."""
    data = to_xarray(make("plain"))
    del data.attrs["affine"]
    return data


def test_direction_alone_is_enough() -> None:
    image = mi.Image(oblique())
    assert image.affine.allclose(AFFINES["oblique"], 1e-9)


def test_coordinates_that_fall_are_axes_turned_round() -> None:
    image = mi.Image(oblique())
    for index in (np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1, ::-1]):
        turned = mi.Image(oblique()[index])
        wanted = image[(0, *reversed((*(index if isinstance(index, tuple) else (index,)), *[slice(None)] * 3)[:3]))]
        assert turned.affine.allclose(wanted.affine, 1e-9)
        assert np.array_equal(turned.numpy(), wanted.numpy())


def test_no_direction_is_lps() -> None:
    image = mi.Image(array()[::-1])
    assert image.affine.allclose([[-0.9, 0, 0, 37.5], [0, -1.25, 0, -12.25], [0, 0, -3, 87]], 1e-9)


def test_missing_coordinates_are_steps_of_a_millimeter_and_a_warning() -> None:
    image = mi.Image(array().drop_vars("y"))
    assert image.spacing == pytest.approx((0.9, 1.0, 3.0))
    assert image.origin == pytest.approx((37.5, 0.0, 81.0))
    assert "y has no coordinates" in image.header.warnings[0]
    bare = mi.Image(xarray.DataArray(np.zeros((3, 4, 5)), dims=["z", "y", "x"]))
    assert bare.affine == AffineMatrix.from_lps(AffineMatrix())
    assert len(bare.header.warnings) == 3


def test_one_voxel_has_no_thickness() -> None:
    image = mi.Image(array()[:1])
    assert image.spacing == pytest.approx((0.9, 1.25, 1.0))
    assert "z has one voxel" in image.header.warnings[0]
    assert mi.Image(to_xarray(make("plain"))[:1]).spacing == pytest.approx(AFFINES["oblique"].spacing)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("m", 1e3), ("micrometers", 1e-3), ("cm", 10), ("metre", 1e3)])
def test_units_become_millimeters(unit: str, factor: float) -> None:
    data = array()
    data["z"].attrs["units"] = unit
    assert mi.Image(data).spacing == pytest.approx((0.9, 1.25, 3.0 * factor))
    assert mi.Image(data).origin[2] == pytest.approx(81.0 * factor)


def test_float32_coordinates_are_even() -> None:
    data = array((300, 4, 5))
    data = data.assign_coords(z=(np.arange(300) * 0.7 + 1000).astype("float32"))
    assert mi.Image(data).spacing[2] == pytest.approx(0.7, rel=1e-5)


@pytest.mark.parametrize(
    ("times", "unit", "expected"),
    [
        ([0.0, 2.5], "", 2.5),
        ([0.0, 2500.0], "ms", 2.5),
        ([0.0, 1.0], "", None),
        ([0.0, 1.0], "seconds", 1.0),
        (np.array([0, 1500], "timedelta64[ms]"), "", 1.5),
        (np.array(["2020-01-01T00:00:00", "2020-01-01T00:00:02"], "datetime64[s]"), "", 2.0),
    ],
)
def test_time(times: Any, unit: str, expected: float | None) -> None:
    data = array((2, 3, 4, 5), "tzyx").assign_coords(t=times)
    data["t"].attrs["units"] = unit
    if not unit:
        del data["t"].attrs["units"]
    image = mi.Image(data)
    assert (image.time_spacing, image.time_steps) == (expected, 2)


def test_uneven_times_are_no_spacing() -> None:
    image = mi.Image(array((3, 3, 4, 5), "tzyx").assign_coords(t=[0.0, 1.0, 3.0]))
    assert image.time_spacing is None
    assert "1 to 2 s" in image.header.warnings[0]


# what is refused


def test_uneven_coordinates_are_refused_with_axis_and_numbers() -> None:
    data = array().assign_coords(y=[0.0, 1.0, 2.0, 4.5])
    with pytest.raises(GeometryError, match=r"coordinates of y are not evenly spaced: 2\.5 from y=2 on, 1\.5") as error:
        mi.Image(data)
    assert one_line(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.rename(x="column"), r"dims are \('z', 'y', 'column'\)"),
        (lambda data: data[:, 0, 0], "two or three of x, y, z"),
        (lambda data: data.assign_coords(x=[0.0, np.nan, 2.0, 3.0, 4.0]), "not all finite"),
        (lambda data: data.assign_coords(x=[1.0] * 5), "not evenly spaced"),
        (lambda data: data.assign_attrs(direction=[[1.0, 0.0, 0.0]]), r"direction'\] has shape \(1, 3\)"),
        (lambda data: data.assign_attrs(affine=np.eye(4)), "'affine'. are 1 apart|are 2 apart"),
        (lambda data: data.astype(str), "holds no voxels"),
    ],
)
def test_what_is_no_image_is_refused(change: Any, message: str) -> None:
    data = change(array(direction=np.eye(3)))
    with pytest.raises((GeometryError, UnsupportedError), match=message) as error:
        mi.Image(data)
    assert one_line(error.value)


def test_units_that_are_no_length_are_refused() -> None:
    data = array()
    data["x"].attrs["units"] = "degrees"
    with pytest.raises(GeometryError, match="coordinates of x are in 'degrees'"):
        mi.Image(data)


def test_a_dataset_is_no_image() -> None:
    with pytest.raises(UnsupportedError, match="Dataset"):
        mi.Image(array().to_dataset(name="a"))


# others


def test_itk_reads_what_we_write_and_we_what_it_writes() -> None:
    itk = pytest.importorskip("itk")
    for kind in ("left-handed", "vector", "described", "labels"):
        image = make(kind)
        there = itk.image_from_xarray(to_xarray(image))
        lps = image.header.affine.to_lps()
        assert np.allclose(itk.origin(there), lps.origin)
        assert np.allclose(itk.spacing(there), lps.spacing)
        assert np.allclose(itk.array_from_matrix(there.GetDirection()), lps.direction)
        back = mi.Image(itk.xarray_from_image(there))
        assert back.affine.allclose(image.header.affine, 1e-9)
        assert unlike(back.numpy(), read(image)) is None
    assert itk.image_from_xarray(to_xarray(make("described")))["EchoTime"] == pytest.approx(0.0345)


def test_spatial_image() -> None:
    spatial_image = pytest.importorskip("spatial_image")
    data = spatial_image.to_spatial_image(
        voxels((3, 4, 5), "int16"),
        scale={"x": 0.9, "y": 1.25, "z": 3.0},
        translation={"x": -37.5, "y": 12.25, "z": 81.0},
    )
    image = mi.Image(data)
    assert image.affine.allclose(mi.Image(array()).affine, 1e-9)
    assert np.array_equal(image.numpy()[0], data.values.T)


def test_memory_is_shared_where_it_can_be() -> None:
    data = array(dims="zyx")
    assert np.shares_memory(mi.Image(data).numpy(), data.values)


def test_numbers_that_itk_cannot_take_go_apart() -> None:
    image = make("plain")
    image.header = image.header.replace(metadata={"big": 1 << 40, "list": [1, 2], "direction": "AP", "te": 3.5})
    there = to_xarray(image)
    assert there.attrs["metadata"] == {"big": 1 << 40, "list": [1, 2], "direction": "AP"}
    assert there.attrs["te"] == 3.5
    assert dict(from_xarray(there).header.metadata) == dict(image.header.metadata)

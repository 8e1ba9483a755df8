"""MINC 1 and 2: against nibabel on its own files and on files made here."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import open_backend
from medimg_cli.formats.netcdf import read_netcdf
from medimg_cli.storage.source import MemorySource
from tests.helpers import one_line, part, read, regions, unlike, voxels

nibabel: Any = pytest.importorskip("nibabel")
h5py: Any = pytest.importorskip("h5py")
DATA = Path(nibabel.__file__).parent / "tests" / "data"
FILES = sorted(DATA.glob("*.mnc"))
SPACE = (("zspace", 3, -72.0, 9.0), ("yspace", 4, 10.0, -2.0), ("xspace", 5, 5.0, 1.5))


def first_three(array: np.ndarray[Any, Any], names: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Return an array of nibabel, in the file's order of axes, as (C, I, J, K)."""
    spatial = [n for n, name in enumerate(names) if name.endswith("space")]
    others = [n for n in range(len(names)) if n not in spatial]
    array = array.transpose(*others, *spatial)
    return array.reshape(-1, *array.shape[-3:])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_of_nibabel(path: Path) -> None:
    backend = open_backend(str(path))
    theirs = nibabel.load(path)
    expected = first_three(np.asarray(theirs.dataobj), theirs.dataobj.minc_file._dim_names)
    values = read(backend)
    assert values.shape == expected.shape
    assert np.allclose(values, expected, rtol=2e-7, atol=0)
    assert np.allclose(backend.header.affine.numpy(), theirs.affine)
    full = read(backend, raw=True)
    for region in regions(full.shape, 30):
        assert unlike(backend.read(region, raw=True), part(full, region)) is None


_CODES = {"i1": 1, "u1": 1, "i2": 3, "i4": 4, "f4": 5, "f8": 6}


def _name(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode().ljust(-(-len(text) // 4) * 4, b"\0")


def _attributes(pairs: dict[str, Any]) -> bytes:
    out = b""
    for key, value in pairs.items():
        if isinstance(value, bytes):
            kind, count, raw = 2, len(value), value
        else:
            values = np.atleast_1d(np.array(value, ">f8"))
            kind, count, raw = 6, len(values), values.tobytes()
        out += _name(key) + struct.pack(">II", kind, count) + raw.ljust(-(-len(raw) // 4) * 4, b"\0")
    return struct.pack(">II", 12 if pairs else 0, len(pairs)) + out


def netcdf(dimensions: dict[str, int], unlimited: str, variables: dict[str, Any]) -> bytes:
    """Write a netCDF classic file; a variable is (dimensions, attributes, array)."""
    order = list(dimensions)
    lengths = {name: 0 if name == unlimited else size for name, size in dimensions.items()}
    records = dimensions.get(unlimited, 0)
    head = b"CDF\1" + struct.pack(">III", records, 10, len(order))
    head += b"".join(_name(name) + struct.pack(">I", lengths[name]) for name in order) + bytes(8)
    head += struct.pack(">II", 11, len(variables))

    def placed(begins: dict[str, int]) -> bytes:
        out = head
        for name, (along, facts, array) in variables.items():
            out += _name(name) + struct.pack(f">I{len(along)}I", len(along), *map(order.index, along))
            out += _attributes(facts)
            out += struct.pack(">III", _CODES[array.dtype.str[1:]], array.nbytes, begins.get(name, 0))
        return out

    at, begins, body = len(placed({})), {}, b""
    for last in (False, True):  # records lie behind everything else
        for name, (along, _, array) in variables.items():
            if (along[:1] == (unlimited,)) == last:
                begins[name] = at + len(body)
                body += array.astype(array.dtype.newbyteorder(">")).tobytes()
                body = body.ljust(-(-len(body) // 4) * 4, b"\0")
    return placed(begins) + body


def make1(path: Path, array: Any, dims: Any, **more: Any) -> Path:
    """Write a MINC 1 file."""
    facts = {"spacing": more.get("spacing", b"regular__"), "units": more.get("units", b"mm")}
    variables: dict[str, Any] = {
        name: ((), {**facts, "start": start, "step": step}, np.array(0.0)) for name, _, start, step in dims
    }
    names = tuple(name for name, *_ in dims)
    own = {"signtype": b"signed__" if array.dtype.kind == "i" else b"unsigned"}
    variables["image"] = (names, {**own, **({"valid_range": more["valid"]} if "valid" in more else {})}, array)
    for key in ("image-min", "image-max"):
        if key in more:
            variables[key] = (more.get("along", ()), {}, np.array(more[key], "f8"))
    sizes = {name: size for name, size, *_ in dims}
    path.write_bytes(netcdf(sizes, more.get("unlimited", ""), variables))
    return path


def make2(path: Path, array: Any, names: str, **more: Any) -> Path:
    """Write a MINC 2 file."""
    with h5py.File(path, "w") as tree:
        group = tree.create_group("minc-2.0/image/0")
        image = group.create_dataset("image", data=array, chunks=array.shape if more.get("packed") else None)
        image.attrs["dimorder"] = names
        if "valid" in more:
            image.attrs["valid_range"] = np.array(more["valid"], "f8")
        for key in ("image-min", "image-max"):
            if key in more:
                group.create_dataset(key, data=more[key]).attrs["dimorder"] = more.get("along", "")
        for n, name in enumerate(dict.fromkeys(names.split(","))):
            node = tree.create_dataset(f"minc-2.0/dimensions/{name}", data=0.0)
            node.attrs["start"], node.attrs["step"] = 10.0 * n, 1.0 + n
            for key, value in more.get("attributes", {}).items():
                node.attrs[key] = value
    return path


def test_one_scale_for_all_is_slope_and_inter(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "int16")
    limits = {"image-min": -1.0, "image-max": 3.0, "valid": (-32768, 32767)}
    backend = open_backend(str(make1(tmp_path / "x.mnc", array, SPACE, **limits)))
    header = backend.header
    assert (header.format, header.dtype, header.slope) == ("minc1", "int16", 4.0 / 65535)
    assert unlike(read(backend, raw=True), array[None]) is None
    assert np.allclose(read(backend), nibabel.load(tmp_path / "x.mnc").get_fdata()[None], atol=1e-6)
    assert header.orientation == ("S", "P", "R")


def test_a_scale_for_each_slice_gives_float64(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "int16")
    limits = {"image-min": [0.0, -1.0, 5.0], "image-max": [1.0, 1.0, 9.0], "along": ("zspace",), "valid": (0, 3000)}
    backend = open_backend(str(make1(tmp_path / "x.mnc", array, SPACE, **limits)))
    assert (backend.header.dtype, backend.header.slope) == ("float64", None)
    assert np.array_equal(read(backend), nibabel.load(tmp_path / "x.mnc").get_fdata()[None])


def test_stored_numbers_stay_within_the_valid_range(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "int16")
    limits = {"image-min": 0.0, "image-max": 1.0, "valid": (0, 1000)}
    backend = open_backend(str(make1(tmp_path / "x.mnc", array, SPACE, **limits)))
    assert np.array_equal(read(backend, raw=True), array.clip(0, 1000)[None])


def test_time_is_known_by_its_name_and_may_be_unlimited(tmp_path: Path) -> None:
    dims = (("time", 2, 0.0, 2500.0), *SPACE)
    array = voxels((2, 3, 4, 5), "float32")
    path = make1(tmp_path / "x.mnc", array, dims, unlimited="time", units=b"ms")
    backend = open_backend(str(path))
    assert backend.header.axes == (("time", 2),)
    assert backend.header.time_spacing == 2.5
    assert unlike(read(backend), array) is None
    for region in regions(array.shape, 30):
        assert unlike(backend.read(region), part(array, region)) is None


def test_records_of_slices(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "uint8")
    path = make1(tmp_path / "x.mnc", array, SPACE, unlimited="zspace")
    backend = open_backend(str(path))
    assert unlike(read(backend), array[None]) is None
    assert "states no range of real values" in backend.header.warnings[0]


@pytest.mark.parametrize("packed", [False, True])
def test_axes_in_any_order(packed: bool, tmp_path: Path) -> None:
    array = voxels((2, 5, 4, 3, 3), "float32")
    names = "time,xspace,yspace,zspace,vector_dimension"
    backend = open_backend(str(make2(tmp_path / "x.mnc", array, names, packed=packed)))
    header = backend.header
    assert (header.format, header.axes) == ("minc2", (("time", 2), ("vector", 3)))
    assert header.orientation == ("R", "A", "S")
    expected = array.transpose(4, 0, 1, 2, 3).reshape(6, 5, 4, 3)
    assert unlike(read(backend), expected) is None
    for region in regions(expected.shape, 30):
        assert unlike(backend.read(region), part(expected, region)) is None


def test_scales_over_two_dimensions(tmp_path: Path) -> None:
    array = voxels((2, 3, 4, 5), "uint8")
    low, high = np.arange(6.0).reshape(2, 3), np.arange(6.0).reshape(2, 3) * 2 + 1
    more = {"image-min": low, "image-max": high, "along": "time,zspace"}
    backend = open_backend(str(make2(tmp_path / "x.mnc", array, "time,zspace,yspace,xspace", packed=True, **more)))
    slope = ((high - low) / 255)[:, :, None, None]
    assert np.allclose(read(backend), array * slope + low[:, :, None, None], rtol=1e-14)


@pytest.mark.parametrize(
    ("attributes", "note"),
    [
        ({"direction_cosines": np.array([np.nan, 0, 0])}, "direction of zspace makes no sense"),
        ({"step": 0.0}, "step of zspace is no number other than 0"),
        ({"spacing": "zspace"}, "taken as regular"),
    ],
)
def test_degenerate_geometry_is_replaced_and_said(attributes: Any, note: str, tmp_path: Path) -> None:
    path = make2(tmp_path / "x.mnc", voxels((3, 4, 5), "float32"), "zspace,yspace,xspace", attributes=attributes)
    header = open_backend(str(path)).header
    assert note in header.warnings[0]
    assert not header.affine.is_singular


def test_irregular_slices_are_refused(tmp_path: Path) -> None:
    array = voxels((3, 4, 5), "float32")
    path = make2(tmp_path / "x.mnc", array, "zspace,yspace,xspace", attributes={"spacing": "irregular"})
    with pytest.raises(UnsupportedError, match="irregularly spaced"):
        open_backend(str(path))


@pytest.mark.parametrize("names", ["yspace,xspace", "zspace,zspace,xspace", "a\nb,yspace,xspace"])
def test_other_axes_are_refused_in_one_line(names: str, tmp_path: Path) -> None:
    path = make2(tmp_path / "x.mnc", voxels((3, 4, 5)[: names.count(",") + 1], "float32"), names)
    with pytest.raises(MedImgError) as error:
        open_backend(str(path))
    assert one_line(error.value)


def test_a_valid_range_beyond_the_type_is_refused(tmp_path: Path) -> None:
    more = {"image-min": 0.0, "image-max": 1.0, "valid": (0, 256)}
    with pytest.raises(FormatError, match="valid_range"):
        open_backend(str(make2(tmp_path / "x.mnc", voxels((3, 4, 5), "uint8"), "zspace,yspace,xspace", **more)))


def test_voxels_cut_off(tmp_path: Path) -> None:
    path = make1(tmp_path / "x.mnc", voxels((3, 4, 5), "float32"), SPACE)
    path.write_bytes(path.read_bytes()[:-40])
    backend = open_backend(str(path))
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


def test_absurd_headers_are_refused_at_once() -> None:
    start = b"CDF\1" + struct.pack(">3I", 0, 10, 0xFFFFFFF)
    for content in (start, b"CDF\1", b"CDF\1" + b"\xff" * 40, b"CDF\5" + bytes(40)):
        with pytest.raises(FormatError) as error:
            read_netcdf(MemorySource(content, "x.mnc"))
        assert one_line(error.value)


def test_content_tells_minc_from_itk_s_hdf5(tmp_path: Path) -> None:
    path = make2(tmp_path / "x.h5", voxels((3, 4, 5), "float32"), "zspace,yspace,xspace")
    assert open_backend(str(path)).header.format == "minc2"
    assert open_backend(path.read_bytes()).header.format == "minc2"

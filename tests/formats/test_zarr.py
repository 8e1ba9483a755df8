"""NIfTI-Zarr and OME-Zarr: held against the zarr library, nifti-zarr and nibabel; chunks counted; hostile stores."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, MedImgError, MissingExtraError, TruncatedError, UnsupportedError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.formats.zarr import ZarrBackend, is_store, open_folder
from medimg_cli.formats.zarr_codecs import _slow_crc32c
from medimg_cli.header import Header, differences
from medimg_cli.operations import apply
from medimg_cli.operations.cast import Cast
from medimg_cli.operations.crop import Crop
from medimg_cli.operations.pad import Pad
from medimg_cli.operations.reorient import Reorient
from medimg_cli.storage.stored import Layout
from scripts import proving
from tests.helpers import KINDS, make, one_line, read, unlike
from tests.web import Site

ROOT = Path(__file__).resolve().parents[2]
DATA = proving.data_folder()
AXES_ZYX = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]


def cubes(shape: tuple[int, ...], dtype: str = "int16") -> Any:
    return (np.arange(np.prod(shape)).reshape(shape) % 121).astype(dtype)


def image_of(shape: tuple[int, int, int, int], dtype: str = "int16") -> ArrayBackend:
    affine = AffineMatrix([[0.0, -1.25, 0.0, 7.0], [2.0, 0.0, 0.3, -5.0], [0.0, 0.0, -3.0, 11.0]])
    return ArrayBackend(cubes(shape, dtype), Header(shape=shape, dtype=dtype, affine=affine))


def ome(axes: list[dict[str, Any]], scale: list[float], translation: list[float] | None = None, **more: Any) -> Any:
    steps = [{"type": "scale", "scale": scale}]
    steps += [{"type": "translation", "translation": translation}] if translation else []
    return {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}], **more}


def stored(folder: Path, array: Any, image: Any, version: int = 2, **options: Any) -> Path:
    """Write an OME-Zarr store with the zarr library."""
    zarr = pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(str(folder), mode="w", zarr_format=version)
        options.setdefault("chunks", tuple(min(3, size) for size in array.shape))
        group.create_array("0", data=array, **options)
    group.attrs.update(
        {"multiscales": [image]} if version == 2 else {"ome": {"version": "0.5", "multiscales": [image]}}
    )
    return folder


def by_hand(folder: Path, facts: dict[str, Any], attributes: Any = None) -> Path:
    """Write the metadata of a store of version 2 with one array and none of its chunks."""
    (folder / "0").mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / ".zattrs").write_text(json.dumps(attributes or {"multiscales": [ome(AXES_ZYX, [1, 1, 1])]}))
    plain = {"zarr_format": 2, "shape": [4, 5, 6], "chunks": [2, 5, 6], "dtype": "<i2", "compressor": None}
    rest = {"fill_value": 0, "order": "C", "filters": None, "dimension_separator": "/"}
    (folder / "0" / ".zarray").write_text(json.dumps({**plain, **rest, **facts}))
    return folder


# written here, read by others


@pytest.mark.parametrize("kind", list(KINDS))
def test_other_readers_see_the_same_image(kind: str, tmp_path: Path) -> None:
    """The zarr library sees the voxels, nifti-zarr voxels and affine; it keeps colours as records."""
    zarr, niizarr = pytest.importorskip("zarr"), pytest.importorskip("niizarr")
    image, path = make(kind), str(tmp_path / "x.nii.zarr")
    save_backend(image, path)
    ours = open_backend(path)
    assert unlike(read(ours), read(image)) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = zarr.open_group(path, mode="r")["0"][...]
        theirs = niizarr.zarr2nii(path)
    if raw.dtype.names:
        raw = np.stack([raw[name] for name in raw.dtype.names])
    mine = ours.read(tuple(map(range, ours.header.shape)), raw=True)
    space = max(2, ours.header.ndim) if raw.ndim < 4 else 3
    raw = np.moveaxis(raw.transpose(), range(space), range(-space, 0))  # (..., c, t, x, y, z); colours first
    raw = np.moveaxis(raw, raw.ndim - space - 1, 0) if "rgb" in dict(ours.header.axes) else raw
    assert np.array_equal(raw.reshape(mine.shape), mine, equal_nan=mine.dtype.kind == "f")
    assert np.allclose(theirs.header.get_best_affine(), ours.header.affine.numpy(), atol=1e-3)
    sizes = [*ours.header.shape[1:], *(size for name, size in ours.header.axes if name != "rgb")]
    assert [n for n in theirs.shape if n > 1] == [n for n in sizes if n > 1]
    if not theirs.dataobj.dtype.names:
        values = np.asarray(theirs.dataobj).reshape(*ours.header.shape[1:], -1, order="F")
        assert np.array_equal(np.moveaxis(values, -1, 0), mine, equal_nan=mine.dtype.kind == "f")


def test_the_metadata_are_those_of_the_specification(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.zarr"
    save_backend(make("time"), str(path))
    image = json.loads((path / ".zattrs").read_text())["multiscales"][0]
    header = open_backend(str(path)).header
    assert [axis["name"] for axis in image["axes"]] == ["t", "z", "y", "x"]
    assert image["axes"][0] == {"name": "t", "type": "time", "unit": "second"}
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == pytest.approx([1.0, *header.spacing[::-1]])
    assert image["coordinateTransformations"][0]["scale"] == pytest.approx([header.time_spacing, 1, 1, 1])
    facts = json.loads((path / "nifti" / ".zarray").read_text())
    assert facts["shape"] == facts["chunks"] == [348] and facts["dtype"] == "|u1"
    assert len((path / "nifti" / "0").read_bytes()) == 348
    assert json.loads((path / "0" / ".zarray").read_text())["shape"] == [4, *header.shape[:0:-1]]


def test_a_header_survives_both_ways(tmp_path: Path) -> None:
    """.nii.gz -> .nii.zarr -> .nii.gz: the same bytes, all kinds of images, both versions of NIfTI."""
    for kind, version in product(KINDS, (1, 2)):
        image = make(kind)
        image.header = image.header.replace(
            format=f"nifti{version}",
            extensions=((4, b"<AFNI_atr/>"), (6, b"a comment")),
            history=({"name": "flip", "parameters": {"axes": [0]}},),
            metadata={"Who": "somebody", "nifti_cal_max": 12.5},
        )
        folder = tmp_path / f"{kind}-{version}"
        folder.mkdir()
        first, store, second = (str(folder / name) for name in ("a.nii.gz", "b.nii.zarr", "a2.nii.gz"))
        save_backend(image, first)
        assert save_backend(open_backend(first), store, strict=True) == ()
        assert differences(open_backend(first).header, open_backend(store).header) == ()
        save_backend(open_backend(store), second)
        assert Path(second).read_bytes() == Path(first).read_bytes(), (kind, version)


def test_more_axes_than_five_become_one_and_are_reported(tmp_path: Path) -> None:
    array = cubes((24, 5, 4, 3))
    axes = (("time", 2), ("channel", 3), ("channel", 4))
    image = ArrayBackend(array, Header(shape=array.shape, dtype="int16", affine=AffineMatrix(), axes=axes))
    lost = save_backend(image, str(tmp_path / "x.nii.zarr"))
    assert [each.field for each in lost] == ["axes"]
    assert np.array_equal(read(open_backend(str(tmp_path / "x.nii.zarr"))), array)


def test_chunks_of_a_large_image_and_its_edges(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    image, path = image_of((2, 70, 65, 131)), tmp_path / "x.nii.zarr"
    save_backend(image, str(path), level=1)
    assert zarr.open_group(str(path), mode="r")["0"].chunks == (1, 64, 64, 64)
    keys = {str(f.relative_to(path / "0")) for f in (path / "0").rglob("*") if f.is_file() and f.name[0] != "."}
    assert keys == {f"{t}/{z}/{y}/{x}" for t, z, y, x in product(range(2), range(3), range(2), range(2))}
    assert np.array_equal(zarr.open_group(str(path), mode="r")["0"][...].transpose(0, 3, 2, 1), image.array)
    assert np.array_equal(read(open_backend(str(path))), image.array)
    with pytest.raises(UsageError, match="level"):
        save_backend(image, str(tmp_path / "y.nii.zarr"), level=10)
    assert not list(tmp_path.glob("*y.nii*"))


def test_a_stream_holds_a_slab_of_it(tmp_path: Path) -> None:
    """Peak memory of writing and of streaming back is some rows of chunks, not the image."""
    image, path = image_of((8, 128, 128, 256), "int32"), str(tmp_path / "x.nii.zarr")
    tracemalloc.start()
    try:
        save_backend(image, path, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        save_backend(open_backend(path), str(tmp_path / "x.nii"))
        back = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < image.array.nbytes / 2, peak
    assert back < image.array.nbytes / 1.5, back


# written by others, read here


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", ["default", "none", "blosc", "gzip", "zstd", "lz4", "sharded", "big", "dots"])
def test_stores_of_the_zarr_library(version: int, name: str, tmp_path: Path) -> None:
    zarr, numcodecs = pytest.importorskip("zarr"), pytest.importorskip("numcodecs")
    array = cubes((2, 3, 5, 7, 4))
    options: dict[str, Any] = {"chunks": (1, 2, 2, 4, 3)}
    if name == "sharded":
        if version == 2:
            pytest.skip("version 2 has no shards")
        options = {"chunks": (1, 1, 2, 2, 2), "shards": (1, 3, 4, 4, 2)}
    elif name == "none":
        options["compressors"] = None
    elif name in ("blosc", "gzip", "zstd"):
        table3 = {"blosc": zarr.codecs.BloscCodec(), "gzip": zarr.codecs.GzipCodec(), "zstd": zarr.codecs.ZstdCodec()}
        table2 = {"blosc": numcodecs.Blosc("lz4"), "gzip": numcodecs.GZip(), "zstd": numcodecs.Zstd()}
        options["compressors"] = (table2 if version == 2 else table3)[name]
    elif name == "lz4":
        if version == 3:
            pytest.skip("version 3 has no LZ4")
        options["compressors"] = numcodecs.LZ4()
    elif name == "big":
        array = array.astype(">i4")
    elif name == "dots":
        options["chunk_key_encoding"] = {"name": "v2", "separator": "."}
    axes = [{"name": "t", "type": "time", "unit": "millisecond"}, {"name": "c", "type": "channel"}, *AXES_ZYX]
    path = stored(tmp_path / "x.zarr", array, ome(axes, [50, 1, 3, 2, 1.5], [0, 0, 30, 20, 10]), version, **options)
    backend = open_backend(str(path))
    header = backend.header
    assert header.shape == (6, 4, 7, 5) and header.axes == (("time", 2), ("channel", 3))
    assert header.time_spacing == pytest.approx(0.05) and header.time_units == "ms"
    expected = array.transpose(1, 0, 4, 3, 2).reshape(6, 4, 7, 5)
    assert np.array_equal(read(backend), expected)
    region = (range(5, 0, -2), range(3, -1, -1), range(1, 7, 3), range(4, 5))
    assert np.array_equal(backend.read(region), expected[5:0:-2, ::-1, 1:7:3, 4:5])
    assert header.affine.to_lps().numpy().tolist() == [[1.5, 0, 0, 10], [0, 2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]]
    assert any("orientation is unknown" in note for note in header.warnings)


@pytest.mark.parametrize("version", [2, 3])
def test_fortran_order_fill_values_and_types(version: int, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    for number, (dtype, fill) in enumerate((("float32", np.nan), ("uint8", 7), ("bool", True), ("complex64", 1 - 2j))):
        path = tmp_path / f"{number}.zarr"
        order = {"order": "F"} if version == 2 else {"filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))}
        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        array = group.create_array("0", shape=(5, 6, 7), chunks=(2, 3, 4), dtype=dtype, fill_value=fill, **order)
        array[1:3, :, 2:6] = cubes((2, 6, 4), dtype)
        image = ome(AXES_ZYX, [1, 1, 1])
        group.attrs.update({"multiscales": [image]} if version == 2 else {"ome": {"multiscales": [image]}})
        backend = open_backend(str(path))
        assert np.array_equal(read(backend)[0].transpose(), array[...], equal_nan=dtype != "bool"), dtype
        assert any("chunks are missing" in note for note in backend.header.warnings), dtype


def test_nifti_zarr_of_the_reference_implementation(tmp_path: Path) -> None:
    niizarr, nibabel = pytest.importorskip("niizarr"), pytest.importorskip("nibabel")
    array = np.random.default_rng(3).integers(-99, 99, (9, 8, 7, 3)).astype("int16")
    affine = np.array([[0, -1.5, 0, 4], [2, 0, 0.2, 5], [0, 0, 3, 6], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 700
    image.header["descrip"] = b"reference"
    nibabel.save(image, tmp_path / "a.nii")
    expected = open_backend(str(tmp_path / "a.nii"))
    for version in (2, 3):
        for options in ({}, {"chunk": 4, "chunk_time": 2}, {"nb_levels": 2, "chunk": 4}):
            path = str(tmp_path / f"{version}{len(options)}.nii.zarr")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                niizarr.nii2zarr(str(tmp_path / "a.nii"), path, zarr_version=version, **options)
            backend = open_backend(path)
            assert differences(expected.header, backend.header) == ()
            assert unlike(read(backend), read(expected)) is None
    coarse = open_folder(path, level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = pytest.importorskip("zarr").open_group(path, mode="r")["1"][...]
    assert np.array_equal(read(coarse), raw.transpose(0, 3, 2, 1))
    assert open_backend(path + "/1").header == coarse.header  # a level by the name of its folder
    sizes = np.array(expected.header.shape[1:]) / coarse.header.shape[1:]
    assert coarse.header.spacing == pytest.approx(np.array(expected.header.spacing) * sizes, rel=0.2)
    with pytest.raises(UsageError, match="no level 2"):
        open_folder(path, level=2)
    (Path(path) / "0" / "zarr.json").write_text(
        (Path(path) / "0" / "zarr.json").read_text().replace('"shape"', '"x"', 1)
    )
    with pytest.raises(FormatError):
        open_backend(path)


def test_a_nifti_header_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.zarr"
    save_backend(image_of((1, 5, 4, 3)), str(path))
    content = bytearray((path / "nifti" / "0").read_bytes())
    content[42:44] = (6).to_bytes(2, "little")
    (path / "nifti" / "0").write_bytes(content)
    with pytest.raises(FormatError, match="1 x 6 x 4 x 3 voxels, the array has 1 x 5 x 4 x 3"):
        open_backend(str(path))


@pytest.mark.parametrize(
    ("turns", "letters"),
    [
        (("inferior-to-superior", "posterior-to-anterior", "left-to-right"), "RAS"),
        (("superior-to-inferior", "left-to-right", "anterior-to-posterior"), "PRI"),
    ],
)
def test_anatomical_orientation_of_rfc_4(turns: tuple[str, ...], letters: str, tmp_path: Path) -> None:
    axes = [
        {**axis, "orientation": {"type": "anatomical", "value": t}} for axis, t in zip(AXES_ZYX, turns, strict=True)
    ]
    path = stored(tmp_path / "x.zarr", cubes((3, 4, 5)), ome(axes, [3, 2, 1], [30, 20, 10]), 3)
    header = open_backend(str(path)).header
    assert "".join(header.orientation) == letters and header.spacing == (1, 2, 3)
    assert header.affine_source == "orientation" and not header.warnings


def test_units_channels_and_labels(tmp_path: Path) -> None:
    axes = [{"name": "c", "type": "channel"}, *({**axis, "unit": "micrometer"} for axis in AXES_ZYX[1:])]
    path = stored(tmp_path / "x.zarr", cubes((2, 4, 5)), ome(axes, [1, 500, 250], name="cells"))
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="a")
    group.attrs["omero"] = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    header = open_backend(str(path)).header
    assert header.spacing == (0.25, 0.5, 1.0) and header.ndim == 2 and header.space_units == "um"
    assert header.metadata == {"channel_names": ["DAPI", "GFP"]} and header.description == "cells"
    stored(path / "labels" / "0", cubes((4, 5), "uint8"), ome(axes[1:], [500, 250]))
    labels = zarr.open_group(str(path / "labels" / "0"), mode="a")
    labels.attrs["image-label"] = {
        "colors": [{"label-value": 2, "rgba": [255, 0, 9, 255]}, {"label-value": 1}],
        "properties": [{"label-value": 2, "class": "nucleus"}],
    }
    (path / "labels" / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "labels" / ".zattrs").write_text('{"labels": ["0"]}')
    found = open_backend(str(path / "labels" / "0")).header
    assert found.intent == "label" and found.labels is not None
    assert found.labels.name_of(2) == "nucleus" and found.labels.get(2).color == (255, 0, 9, 255)  # type: ignore[union-attr]
    with pytest.raises(UnsupportedError, match="label images.*labels/0"):
        open_backend(str(path / "labels"))


@pytest.mark.parametrize(
    ("attributes", "hint"),
    [
        ({"plate": {"wells": [{"path": "A/1"}]}}, "x.zarr/A/1/0"),
        ({"ome": {"plate": {"wells": [{"path": "B/2"}]}}}, "x.zarr/B/2/0"),
        ({"well": {"images": [{"path": "3"}]}}, "x.zarr/3"),
        ({"bioformats2raw.layout": 3}, "x.zarr/0"),
    ],
)
def test_what_holds_several_images_says_how_to_name_one(attributes: Any, hint: str, tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.zarr", {}, attributes)
    with pytest.raises(UnsupportedError) as error:
        open_backend(str(path))
    assert one_line(error.value) and str(error.value).endswith(hint)


def test_a_plain_array(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    array = cubes((4, 5, 6))
    for number, names in enumerate((None, ("c", "y", "x"))):
        path = tmp_path / f"{number}.zarr"
        zarr.create_array(str(path), data=array, chunks=(2, 2, 2), dimension_names=names)
        backend = open_backend(str(path))
        assert backend.header.shape == ((4, 6, 5, 1) if names else (1, 6, 5, 4))
        expected = array.transpose(0, 2, 1)[..., None] if names else array.transpose()[None]
        assert np.array_equal(read(backend), expected)
        assert any("plain Zarr array" in note for note in backend.header.warnings)


def test_store_objects_groups_and_arrays(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "x.nii.zarr"
    image = image_of((2, 9, 8, 7))
    save_backend(image, str(path))
    memory = zarr.storage.MemoryStore()
    source = zarr.open_group(str(path), mode="r")
    copy = zarr.open_group(memory, mode="w", zarr_format=2)
    copy.attrs.update(dict(source.attrs))
    for name in ("nifti", "0"):
        copy.create_array(name, data=source[name][...], compressors=None)
    for store in (zarr.storage.LocalStore(path, read_only=True), source, source["0"], memory, copy, copy["0"]):
        backend = open_folder(store)
        assert np.array_equal(read(backend), image.array), store
        assert backend.header.affine == open_backend(str(path)).header.affine, store
    again = pickle.loads(pickle.dumps(open_folder(zarr.storage.LocalStore(path, read_only=True))))
    assert np.array_equal(read(again), image.array)
    with pytest.raises(UsageError, match="float"):
        open_folder(1.5)


# regions


def test_only_the_chunks_of_a_region_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "x.zarr", cubes((8, 8, 8)), ome(AXES_ZYX, [1, 1, 1]), chunks=(2, 4, 8))
    asked: list[str] = []
    backend: Any = open_backend(str(path))
    assert isinstance(backend, ZarrBackend)
    get = type(backend.store).get
    monkeypatch.setattr(
        type(backend.store), "get", lambda self, key, *more: (asked.append(key), get(self, key, *more))[1]
    )
    for region, keys in (
        ((range(1), range(3, 4), range(4), range(2, 4)), {"0/1/0/0"}),
        ((range(1), range(8), range(8), range(7, 8)), {"0/3/0/0", "0/3/1/0"}),
        ((range(1), range(8), range(7, 3, -1), range(0, 8, 4)), {"0/0/1/0", "0/2/1/0"}),
        ((range(1), range(8), range(8), range(8)), {f"0/{z}/{y}/0" for z, y in product(range(4), range(2))}),
    ):
        asked.clear()
        backend.read(region)
        found = [key.replace(".", "/") for key in asked]
        assert sorted(found) == sorted(keys), region


def test_a_stream_decodes_each_chunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "x.zarr", cubes((40, 64, 64)), ome(AXES_ZYX, [1, 1, 1]), chunks=(16, 32, 64))
    backend: Any = open_backend(str(path))
    asked: list[str] = []
    get = type(backend.store).get
    monkeypatch.setattr(
        type(backend.store), "get", lambda self, key, *more: (asked.append(key), get(self, key, *more))[1]
    )
    from tests.helpers import layouts

    layout = next(layouts(backend.header))
    pieces = list(backend.blocks(layout, max_bytes=3 * 64 * 64 * 2))
    assert max(map(len, pieces)) <= 3 * 64 * 64 * 2
    assert len(asked) == len(set(asked)) == 6


def test_volumes_that_share_chunks_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = cubes((7, 6, 5, 4))
    axes = [{"name": "t", "type": "time", "unit": "second"}, *AXES_ZYX]
    path = stored(tmp_path / "x.zarr", array, ome(axes, [2, 1, 1, 1]), chunks=(4, 3, 5, 4))
    backend: Any = open_backend(str(path))
    asked: list[str] = []
    get = type(backend.store).get
    monkeypatch.setattr(
        type(backend.store), "get", lambda self, key, *more: (asked.append(key), get(self, key, *more))[1]
    )
    from tests.helpers import laid_out, layouts

    layout = next(layouts(backend.header))
    found = b"".join(map(bytes, backend.blocks(layout, max_bytes=200)))
    assert found == laid_out(array.transpose(0, 3, 2, 1), layout)
    assert len(asked) == len(set(asked)) == 4


def test_header_alone_needs_no_library(tmp_path: Path) -> None:
    """Neither zarr, numcodecs nor NumPy is imported by ``info``."""
    path = tmp_path / "x.nii.zarr"
    save_backend(image_of((1, 9, 8, 7)), str(path))
    code = (
        "import sys; from medimg_cli.formats import read_header; h = read_header(sys.argv[1]);"
        "print(h.shape, sorted({'zarr', 'numcodecs', 'numpy', 'fsspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 9, 8, 7) []"


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path / "x.zarr", cubes((3, 4, 5)), ome(AXES_ZYX, [1, 1, 1]))
    monkeypatch.setitem(sys.modules, "numcodecs.zstd", None)
    monkeypatch.setitem(sys.modules, "numcodecs.blosc", None)
    backend = open_backend(str(path))
    with pytest.raises(MissingExtraError, match=r"medimg-cli\[zarr\]"):
        read(backend)


# hostile stores


@pytest.mark.parametrize(
    "facts",
    [
        {"filters": [{"id": "pickle"}]},
        {"filters": [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}], "dtype": "|O"},
        {"compressor": {"id": "os.system"}},
        {"dtype": "|O"},
        {"dtype": "<M8[ns]"},
        {"dtype": [["x", "<f4"]]},
        {"shape": [4, 5]},
        {"shape": [4, -5, 6]},
        {"shape": [0, 5, 6]},
        {"shape": "abc"},
        {"chunks": [0, 5, 6]},
        {"chunks": [1 << 40, 1 << 40, 6]},
        {"zarr_format": 4},
        {"order": "X"},
        {"dimension_separator": "../"},
        {"shape": [1 << 40, 1 << 40, 1 << 40]},
        {"compressor": 5},
    ],
)
def test_metadata_that_make_no_sense_are_refused(facts: dict[str, Any], tmp_path: Path) -> None:
    before = set(sys.modules)
    with pytest.raises((FormatError, UnsupportedError)) as error:
        open_backend(str(by_hand(tmp_path / "x.zarr", facts)))
    assert one_line(error.value)
    assert not {name for name in set(sys.modules) - before if "pickle" in name or name.startswith("numcodecs")}


def test_nothing_outside_the_store_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / ".zarray").write_text(json.dumps({"shape": [1]}))
    for place in ("../secret", "/etc", "..", "a/../../secret", "https://h/x", "..\\secret"):
        image = ome(AXES_ZYX, [1, 1, 1])
        image["datasets"][0]["path"] = place
        path = by_hand(tmp_path / f"{abs(hash(place))}.zarr", {}, {"multiscales": [image]})
        with pytest.raises(FormatError, match="refused for safety"):
            open_backend(str(path))
    path = by_hand(tmp_path / "link.zarr", {})
    (tmp_path / "data").write_bytes(bytes(range(120)))
    (path / "0" / "0" / "0").mkdir(parents=True)
    (path / "0" / "0" / "0" / "0").symlink_to(tmp_path / "data")
    with pytest.raises(FormatError, match="leads out of the store"):
        read(open_backend(str(path)))
    (path / "0" / "0" / "0" / "0").unlink()
    os.mkfifo(path / "0" / "0" / "0" / "0")
    with pytest.raises(MedImgError, match="no regular file"):
        read(open_backend(str(path)))


def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    """A shape of 10^18, a chunk that inflates to a gigabyte: refused before anything is allocated; regions are fine."""
    import gzip
    import zlib

    path = by_hand(tmp_path / "x.zarr", {"shape": [10**6] * 3, "fill_value": 3})
    tracemalloc.start()
    try:
        backend = open_backend(str(path))
        assert any("are missing" in note for note in backend.header.warnings)
        assert backend.read((range(1), range(7, 9), range(5), range(999_999, 1_000_000))).tolist() == [[[[3]] * 5] * 2]
        with pytest.raises(FormatError, match="declared"):
            read(backend)
        with pytest.raises(FormatError, match="declared"):
            from tests.helpers import layouts

            next(iter(backend.blocks(next(layouts(backend.header)))))
        for made in (Reorient("RPS"), Reorient("SLP"), Pad(1), Cast("float32")):  # read part by part
            turned = apply(made, backend)
            with pytest.raises(FormatError, match="declared"):
                next(iter(turned.blocks(Layout.packed(turned.header.shape, turned.header.dtype), max_bytes=600)))
        crop = apply(Crop(499_999), backend)
        assert set(b"".join(map(bytes, crop.blocks(Layout.packed(crop.header.shape, "int16"))))) == {3, 0}
        for codec, content in (("gzip", gzip.compress(bytes(1 << 26))), ("zlib", zlib.compress(bytes(1 << 26)))):
            store = by_hand(tmp_path / f"{codec}.zarr", {"compressor": {"id": codec, "level": 1}})
            (store / "0" / "0" / "0").mkdir(parents=True)
            (store / "0" / "0" / "0" / "0").write_bytes(content)
            tracemalloc.reset_peak()
            with pytest.raises(FormatError, match="expected"):
                read(open_backend(str(store)))
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize("codec", ["blosc", "zstd", "lz4", "gzip", "zlib", "bz2", None])
def test_damaged_chunks_are_refused(codec: str | None, tmp_path: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs")
    facts = {"compressor": numcodecs.get_codec({"id": codec}).get_config() if codec else None}
    path = by_hand(tmp_path / "x.zarr", facts)
    array = cubes((4, 5, 6))
    for z in range(2):
        chunk = path / "0" / str(z) / "0" / "0"
        chunk.parent.mkdir(parents=True)
        plain = array[2 * z : 2 * z + 2].tobytes()
        good = bytes(numcodecs.get_codec({"id": codec}).encode(plain)) if codec else plain
        chunk.write_bytes(good)
    assert np.array_equal(read(open_backend(str(path)))[0].transpose(), array)
    bad = [good[:-1], good[:3], b"", good[:20] + b"\xff" * 30]
    if codec:
        larger = numcodecs.get_codec({"id": codec})
        bad += [bytes(larger.encode(plain[:-2])), bytes(larger.encode(plain * 3)), bytes(larger.encode(bytes(1 << 24)))]
    for content in bad:
        chunk.write_bytes(content)
        with pytest.raises((FormatError, TruncatedError)) as error:
            read(open_backend(str(path)))
        assert one_line(error.value) and "0/1/0/0" in str(error.value)


def test_shards_with_a_bad_index_are_refused(tmp_path: Path) -> None:
    path = stored(
        tmp_path / "x.zarr", cubes((4, 4, 4)), ome(AXES_ZYX, [1, 1, 1]), 3, chunks=(2, 2, 2), shards=(4, 4, 4)
    )
    shard = path / "0" / "c" / "0" / "0" / "0"
    good = shard.read_bytes()
    for place in (1, 9, 40, 100):
        content = bytearray(good)
        content[-place] ^= 0x55
        shard.write_bytes(content)
        with pytest.raises(FormatError):
            read(open_backend(str(path)))
    shard.write_bytes(good[:-30])
    with pytest.raises(FormatError):
        read(open_backend(str(path)))
    assert _slow_crc32c(b"123456789") == 0xE3069283


def test_a_changed_store_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.nii.zarr"
    save_backend(image_of((1, 5, 4, 3)), str(path))
    backend = open_backend(str(path))
    (path / "0" / ".zarray").write_text((path / "0" / ".zarray").read_text() + "\n")
    with pytest.raises(MedImgError, match="changed since it was opened"):
        read(backend)


def test_scales_that_are_none(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.zarr", {}, {"multiscales": [ome(AXES_ZYX, [float("nan"), 0, -2])]})
    header = open_backend(str(path)).header
    assert header.spacing == (2.0, 1.0, 1.0)
    assert any("voxel size must be above 0" in note for note in header.warnings)


def test_a_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zarr").write_bytes(b"PK\3\4" + bytes(100))
    with pytest.raises(MedImgError) as error:
        open_backend(str(tmp_path / "x.zarr"), format="zarr")
    assert "a Zarr store is a folder" in str(error.value)


# elsewhere


def test_stores_behind_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    image, path = image_of((2, 9, 8, 7)), tmp_path / "x.nii.zarr"
    save_backend(image, str(path))
    memory = fsspec.filesystem("memory")
    files = {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    for name, content in files.items():
        memory.pipe_file(f"/zarr-test/x.nii.zarr/{name}", content)
    with Site() as site:
        for name, content in files.items():
            site.add(f"my%20data/x.nii.zarr/{name}".replace("%20", " "), content)
        for url in ("memory://zarr-test/x.nii.zarr", site.url("my%20data/x.nii.zarr"), f"file://{path}"):
            backend = open_folder(url)
            assert differences(open_backend(str(path)).header, backend.header) == ()
            assert np.array_equal(read(backend), image.array), url
            part = (range(1, 2), range(3), range(4, 0, -2), range(6, 7))
            assert np.array_equal(pickle.loads(pickle.dumps(backend)).read(part), image.array[1:2, :3, 4:0:-2, 6:7])
        site.forget()
        open_folder(site.url("my%20data/x.nii.zarr"))
        assert len(site.asked) <= 8  # one for each piece of metadata, and two to learn the version
        site.forget()
        open_folder(site.url("my%20data/x.nii.zarr")).read((range(1), range(9), range(8), range(7)))
        assert [a.path for a in site.asked if "/0/0/" in a.path] == ["/my%20data/x.nii.zarr/0/0/0/0/0"]
        with pytest.raises(FormatError, match="no Zarr store"):
            open_folder(site.url("nothing.zarr"))
    memory.rm("/zarr-test", recursive=True)


def test_shards_behind_a_url_are_read_in_parts(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    array = np.random.default_rng(5).integers(0, 1 << 15, (32, 32, 32)).astype("int16")
    path = stored(tmp_path / "x.zarr", array, ome(AXES_ZYX, [1, 1, 1]), 3, chunks=(8, 8, 8), shards=(32, 32, 32))
    with Site() as site:
        for file in path.rglob("*"):
            if file.is_file():
                site.add(f"x.zarr/{file.relative_to(path)}", file.read_bytes())
        backend = open_folder(site.url("x.zarr"))
        site.forget()
        part = backend.read((range(1), range(8), range(8, 16), range(24, 32)))
        assert np.array_equal(part[0].transpose(), array[24:32, 8:16, :8])
        assert site.sent < 4096


# real data

BIO = "BioImageTools+ome-zarr-examples/data"


@pytest.mark.parametrize("name", ["example4d", "example_nifti2"])
def test_real_nifti_zarr_is_its_nifti(name: str) -> None:
    folder = DATA / "neuroscales+nifti-zarr-py/tests/data"
    if not folder.is_dir():
        pytest.skip("no real data here: set MEDIMG_TEST_DATA")
    pytest.importorskip("numcodecs")
    store, plain = open_backend(str(folder / f"{name}.nii.zarr")), open_backend(str(folder / f"{name}.nii.gz"))
    assert [each.field for each in differences(plain.header, store.header)] == []
    assert np.array_equal(read(store), read(plain))


def test_real_ome_zarr_is_read_as_the_zarr_library_reads_it() -> None:
    zarr = pytest.importorskip("zarr")
    folder = DATA / BIO
    if not folder.is_dir():
        pytest.skip("no real data here: set MEDIMG_TEST_DATA")
    for path in sorted(folder.glob("*/*.zarr")):
        if (path.parent.name == "invalid" and path.name != "image-04.zarr") or path.name.startswith("plate"):
            with pytest.raises((FormatError, UnsupportedError)) as error:
                open_backend(str(path))
            assert one_line(error.value)
            continue
        backend = open_backend(str(path))
        expected = zarr.open_group(str(path), mode="r")["0"][...]
        assert np.array_equal(read(backend).squeeze().transpose(), expected), path
        assert backend.header.spacing[:2] == (1e-3, 1e-3)


def test_what_counts_as_a_store(tmp_path: Path) -> None:
    path = by_hand(tmp_path / "x.zarr", {})
    assert is_store(str(path))
    (path / "0.0.1").write_bytes(b"")
    assert is_store(str(path))
    (path / "notes.txt").write_text("mine")
    assert not is_store(str(path))
    assert not is_store(str(tmp_path))


def test_a_chunk_far_larger_than_its_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    facts = {"zarr_format": 2, "shape": [20, 21, 22], "chunks": [1400, 1400, 1400], "dtype": "|u1", "fill_value": 0}
    facts |= {"compressor": {"id": "zlib", "level": 1}, "filters": None, "order": "C"}
    (path / ".zarray").write_text(json.dumps(facts))
    with pytest.raises(FormatError, match="absurd"):
        open_backend(str(path))

"""MetaImage against MetaIO's documentation, SimpleITK and real files."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, GeometryError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import metaimage, open_backend
from medimg_cli.formats.metaimage import TYPES
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Gradients, differences
from medimg_cli.labels import LabelTable
from tests.formats.text_formats import (
    DATA,
    OBLIQUE,
    everything,
    headers,
    image,
    mutations,
    needs_data,
    orthogonal,
    saved,
    voxels,
)
from tests.formats.text_formats import TYPES as DTYPES
from tests.strategies import oblique_affines, straight_affines

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4).T[None]
RAW = VALUES.T.tobytes()


def head(**more: str | None) -> str:
    """Return a header; None leaves a field out."""
    fields: dict[str, str | None] = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "10 20 30",
        "ElementSpacing": "1.5 2 3",
        "DimSize": "4 3 2",
        "ElementType": "MET_SHORT",
    }
    last = more.pop("ElementDataFile", "LOCAL")
    fields.update(more)
    lines = [f"{name} = {value}\n" for name, value in fields.items() if value is not None]
    return "".join(lines) + f"ElementDataFile = {last}\n"


def opened(data: bytes = RAW, **more: str | None) -> Any:
    """Open a header, and what follows it, from memory."""
    return open_backend(head(**more).encode() + data, name="x.mha")


class TestReading:
    @pytest.mark.parametrize("spelling", sorted(TYPES))
    @pytest.mark.parametrize("suffix", ["", "_ARRAY"])
    @pytest.mark.parametrize("big", ["True", "False"])
    def test_every_type(self, spelling: str, suffix: str, big: str) -> None:
        array = voxels((1, 4, 3, 2), TYPES[spelling])
        data = array.astype(array.dtype.newbyteorder(">" if big == "True" else "<")).T.tobytes()
        backend = opened(data, ElementType=spelling + suffix, BinaryDataByteOrderMSB=big)
        assert backend.header.dtype == TYPES[spelling]
        np.testing.assert_array_equal(everything(backend), array)

    @pytest.mark.parametrize("dtype", sorted(set(TYPES.values())))
    def test_text(self, dtype: str) -> None:
        array = voxels((3, 4, 3, 2), dtype)
        spelling = {value: key for key, value in TYPES.items()}[dtype]
        stored = np.moveaxis(array, 0, 0).T  # k, j, i, c: channels fastest
        text = " ".join(repr(value) for value in stored.ravel().tolist()).encode()
        more = {"BinaryData": "False", "ElementNumberOfChannels": "3", "ElementType": spelling}
        backend = opened(text + b"\n", **more)
        np.testing.assert_array_equal(everything(backend), array)
        assert backend.header.axes == (("vector", 3),)

    @pytest.mark.parametrize(
        ("fields", "data"),
        [
            ({"BinaryData": None}, RAW),
            ({"BinaryDataByteOrderMSB": None, "ElementByteOrderMSB": "True"}, VALUES.T.astype(">i2").tobytes()),
            ({"ElementByteOrderMSB": "True"}, RAW),  # BinaryDataByteOrderMSB counts
            ({"CompressedData": "True"}, zlib.compress(RAW)),
            ({"CompressedData": "true"}, gzip.compress(RAW, mtime=0)),
            ({"CompressedData": "True", "CompressedDataSize": str(len(zlib.compress(RAW)))}, zlib.compress(RAW) + b"x"),
            ({"HeaderSize": "-1"}, b"something in between" + RAW),
            ({"ElementDataFile": "Local"}, RAW),
            ({"ElementDataFile": "local"}, RAW),
        ],
    )
    def test_how_voxels_may_lie(self, fields: dict[str, str | None], data: bytes) -> None:
        backend = opened(data, **fields)
        np.testing.assert_array_equal(everything(backend), VALUES)
        np.testing.assert_array_equal(
            backend.read((range(1), range(1, 4, 2), range(1), range(1, 2))), VALUES[:, 1::2, :1, 1:]
        )
        np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(backend))), VALUES)

    def test_channels_are_interleaved(self) -> None:
        array = voxels((3, 4, 3, 2), "uint16")
        backend = opened(array.T.tobytes(), ElementType="MET_USHORT", ElementNumberOfChannels="3")
        assert backend.header.axes == (("vector", 3),)
        np.testing.assert_array_equal(everything(backend), array)

    @pytest.mark.parametrize(("step", "kind"), [("2.5", "time"), ("1", "channel")])
    def test_four_dimensions(self, step: str, kind: str) -> None:
        array = voxels((10, 4, 3, 2), "int16").reshape(5, 2, 4, 3, 2)  # t, c, i, j, k
        data = array.transpose(0, 4, 3, 2, 1).tobytes()
        fields = {
            "NDims": "4",
            "DimSize": "4 3 2 5",
            "ElementSpacing": f"1.5 2 3 {step}",
            "Offset": "10 20 30 7",
            "TransformMatrix": "0 1 0 0 1 0 0 0 0 0 1 0 0 0 0 1",
            "ElementNumberOfChannels": "2",
        }
        backend = opened(data, **fields)
        assert backend.header.axes == ((kind, 5), ("vector", 2))
        assert backend.header.time_spacing == (2.5 if kind == "time" else None)
        np.testing.assert_array_equal(everything(backend), array.transpose(1, 0, 2, 3, 4).reshape(10, 4, 3, 2))
        np.testing.assert_array_equal(
            backend.header.affine.numpy()[:3], [[0, -2, 0, -10], [-1.5, 0, 0, -20], [0, 0, 3, 30]]
        )

    def test_rows_of_the_matrix_are_axes_of_the_image(self) -> None:
        header = opened(TransformMatrix="0 1 0 0 0 1 1 0 0", AnatomicalOrientation="LAS").header
        expected = [[0, 0, -3, -10], [-1.5, 0, 0, -20], [0, 2, 0, 30]]
        np.testing.assert_array_equal(header.affine.numpy()[:3], expected)
        assert header.orientation == ("P", "S", "L")

    @pytest.mark.parametrize(
        ("fields", "origin"),
        [
            ({"Offset": None}, (0, 0, 0)),
            ({"Offset": None, "Position": "1 2 3"}, (1, 2, 3)),
            ({"Position": "1 2 3"}, (1, 2, 3)),
            ({"Position": "1 2 3", "Origin": "4 5 6"}, (4, 5, 6)),
            ({"CenterOfRotation": "9 9 9"}, (10, 20, 30)),
            ({"DistanceUnits": "cm"}, (100, 200, 300)),
        ],
    )
    def test_words_for_the_origin(self, fields: dict[str, str | None], origin: tuple[int, ...]) -> None:
        assert opened(**fields).header.affine.to_lps().origin == origin

    @pytest.mark.parametrize(
        ("fields", "spacing"),
        [
            ({"ElementSpacing": None}, (1, 1, 1)),
            ({"ElementSpacing": None, "ElementSize": "4 5 6"}, (4, 5, 6)),
            ({"ElementSize": "4 5 6"}, (1.5, 2, 3)),
            ({"DistanceUnits": "um"}, (0.0015, 0.002, 0.003)),
            ({"TransformMatrix": None, "Rotation": "0 1 0 1 0 0 0 0 1"}, (1.5, 2, 3)),
            ({"TransformMatrix": None, "Orientation": "0 1 0 1 0 0 0 0 1"}, (1.5, 2, 3)),
        ],
    )
    def test_words_for_the_spacing(self, fields: dict[str, str | None], spacing: tuple[float, ...]) -> None:
        header = opened(**fields).header
        assert header.spacing == pytest.approx(spacing)
        turned = "Rotation" in fields or "Orientation" in fields
        assert header.orientation == (("P", "L", "S") if turned else ("L", "P", "S"))

    def test_pictures(self) -> None:
        more = {
            "NDims": "2",
            "DimSize": "4 6",
            "TransformMatrix": "0.8 0.6 -0.6 0.8",
            "Offset": "5 7",
            "ElementSpacing": "1 1",
        }
        header = opened(**more).header
        assert (header.shape, header.ndim) == ((1, 4, 6, 1), 2)
        np.testing.assert_allclose(header.affine.numpy()[:3], [[-0.8, 0.6, 0, -5], [-0.6, -0.8, 0, -7], [0, 0, 1, 0]])

    @pytest.mark.parametrize(
        ("fields", "note"),
        [
            ({"ElementSpacing": "0 2 3"}, "taken as 1"),
            ({"ElementSpacing": "nan 2 3"}, "taken as 1"),
            ({"Offset": "nan 0 0"}, "taken as 0"),
            ({"TransformMatrix": "0 0 0 0 0 0 0 0 0"}, "no usable matrix"),
            ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "no usable matrix"),
            ({"TransformMatrix": "inf 0 0 0 1 0 0 0 1"}, "no usable matrix"),
            ({"TransformMatrix": "1 .3 0 0 1 0 0 0 1"}, "16.7 degrees"),
            ({"DistanceUnits": "furlong"}, "unknown"),
        ],
    )
    def test_degenerate_geometry_is_readable(self, fields: dict[str, str | None], note: str) -> None:
        backend = opened(**fields)
        assert note in " ".join(backend.header.warnings)
        assert not backend.header.affine.is_singular
        np.testing.assert_array_equal(everything(backend), VALUES)

    @pytest.mark.parametrize(
        "fields",
        [
            {"NDims": None},
            {"NDims": "0"},
            {"NDims": "11"},
            {"NDims": "x"},
            {"NDims": "2"},
            {"NDims": "4"},
            {"DimSize": None},
            {"DimSize": "4 3"},
            {"DimSize": "4 -3 2"},
            {"DimSize": "4 0 2"},
            {"DimSize": "4 3 2.5"},
            {"DimSize": "9999999999 9999999999 99"},
            {"ElementType": None},
            {"ElementType": "MET_BOGUS"},
            {"ElementType": "MET_STRING"},
            {"ElementType": "MET_FLOAT_MATRIX"},
            {"ElementNumberOfChannels": "0"},
            {"ElementNumberOfChannels": "-2"},
            {"ObjectType": "Tube"},
            {"HeaderSize": "-2"},
            {"Offset": "1 2"},
            {"TransformMatrix": "1 0 0 0 1 0"},
            {"ElementSpacing": "1 a 3"},
            {"CompressedData": "True", "HeaderSize": "-1"},
            {"CompressedData": "True", "CompressedDataSize": "-7"},
            {"Comment": "x\nno separator here"},
            {"Comment": "x\nNDims = 4"},
            {"ElementDataFile": ""},
        ],
    )
    def test_headers_that_contradict_themselves(self, fields: dict[str, str | None]) -> None:
        with pytest.raises((FormatError, UnsupportedError)) as caught:
            opened(**fields)
        assert "\n" not in str(caught.value)

    def test_no_data_file_at_all(self) -> None:
        with pytest.raises(FormatError, match="ElementDataFile"):
            open_backend(b"ObjectType = Image\nNDims = 3\n" + bytes(99999), name="x.mha")

    def test_cut_off_voxels_leave_the_header_readable(self) -> None:
        packed = zlib.compress(RAW)
        cut = [
            ({}, RAW[:-1]),
            ({"CompressedData": "True"}, packed[:-5]),
            ({"CompressedData": "True", "CompressedDataSize": str(len(packed))}, packed[:-1]),
            ({"CompressedData": "True", "CompressedDataSize": "10"}, packed),
            ({"DimSize": "100000 100000 100000"}, RAW),
            ({"DimSize": "1000 1000 1000", "CompressedData": "True"}, packed),
            ({"ElementNumberOfChannels": "2147483647"}, RAW),
        ]
        for fields, data in cut:
            backend = opened(data, **fields)
            with pytest.raises((TruncatedError, FormatError)):
                everything(backend)

    def test_damaged_compressed_data(self) -> None:
        packed = bytearray(zlib.compress(RAW))
        packed[-1] ^= 1
        with pytest.raises(FormatError):
            everything(opened(bytes(packed), CompressedData="True"))

    def test_a_complex_image_of_itk_is_two_channels(self) -> None:
        backend = opened(bytes(192), ElementType="MET_FLOAT", ElementNumberOfChannels="2")
        assert (backend.header.dtype, backend.header.axes) == ("float32", (("vector", 2),))

    def test_fields_that_say_nothing_about_voxels_are_key_values(self) -> None:
        more = {
            "Comment": "a: b",
            "Modality": "MET_MOD_CT",
            "ElementToIntensityFunctionSlope": "2",
            "0010|0010": "x = y",
        }
        header = opened(**more).header
        assert header.description == "a: b"
        assert header.slope is None
        assert header.metadata == {
            "Modality": "MET_MOD_CT",
            "ElementToIntensityFunctionSlope": "2",
            "0010|0010": "x = y",
        }


class TestDetached:
    def write(self, folder: Path, data_file: str, files: dict[str, bytes], **fields: str | None) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "a.mhd").write_text(head(ElementDataFile=data_file, **fields))
        return folder / "a.mhd"

    @pytest.mark.parametrize(
        ("data_file", "files"),
        [
            ("a.raw", {"a.raw": RAW}),
            ("a b.raw", {"a b.raw": RAW}),
            ("sub/a.raw", {"sub/a.raw": RAW}),
            ("LIST\ny.raw\nx y.raw", {"y.raw": RAW[:24], "x y.raw": RAW[24:]}),
            ("LIST 2\ny.raw\nx.raw\n", {"y.raw": RAW[:24], "x.raw": RAW[24:]}),
            ("LIST 2D\ny.raw\nx.raw\n", {"y.raw": RAW[:24], "x.raw": RAW[24:]}),
            ("LIST 1\n" + "".join(f"{n}\n" for n in range(6)), {str(n): RAW[n * 8 : n * 8 + 8] for n in range(6)}),
            ("s%03d.raw 1 2 1", {"s001.raw": RAW[:24], "s002.raw": RAW[24:]}),
            ("s %d.raw 7 9 2", {"s 7.raw": RAW[:24], "s 9.raw": RAW[24:]}),
            ("s%d.raw", {"s1.raw": RAW[:24], "s2.raw": RAW[24:]}),
            ("s%d.raw 3", {"s3.raw": RAW[:24], "s4.raw": RAW[24:]}),
            ("s%d.raw 3 5", {"s3.raw": RAW[:24], "s5.raw": RAW[24:]}),
            ("s%d.raw 1 9 1", {"s1.raw": RAW[:24], "s2.raw": RAW[24:]}),
        ],
    )
    @pytest.mark.parametrize("how", ["plain", "zlib", "text", "skip", "end"])
    def test_names(self, data_file: str, files: dict[str, bytes], how: str, tmp_path: Path) -> None:
        def text(content: bytes) -> bytes:
            return " ".join(map(str, np.frombuffer(content, "<i2"))).encode()

        change = {
            "plain": lambda content: content,
            "zlib": zlib.compress,
            "text": text,
            "skip": lambda content: b"12345" + content + b"more",
            "end": lambda content: b"12345" + content,
        }[how]
        more = {
            "zlib": {"CompressedData": "True"},
            "text": {"BinaryData": "False"},
            "skip": {"HeaderSize": "5"},
            "end": {"HeaderSize": "-1"},
        }.get(how, {})
        files = {name: change(content) for name, content in files.items()}
        path = self.write(tmp_path, data_file, files, **more)
        backend = open_backend(path)
        np.testing.assert_array_equal(everything(backend), VALUES)
        part = backend.read((range(1), range(3, -1, -1), range(2), range(1, 2)))
        np.testing.assert_array_equal(part, VALUES[:, ::-1, :2, 1:])
        assert backend.header.file_bytes == path.stat().st_size + sum(map(len, files.values()))
        np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(backend))), VALUES)
        np.testing.assert_array_equal(everything(saved(backend, tmp_path / "copy.mha")), VALUES)

    @pytest.mark.parametrize(("count", "per_file"), [("", 24), (" 3", 24), (" 2", 12)])
    def test_lists_of_volumes_and_slices(self, count: str, per_file: int, tmp_path: Path) -> None:
        array = np.arange(48, dtype="<i2").reshape(2, 2, 3, 4).transpose(0, 3, 2, 1)  # t, i, j, k
        stream = array.transpose(0, 3, 2, 1).tobytes()
        pieces = [stream[n : n + 2 * per_file] for n in range(0, 96, 2 * per_file)]
        names = [f"{n}.raw" for n in range(len(pieces))]
        fields = {
            "NDims": "4",
            "DimSize": "4 3 2 2",
            "ElementSpacing": "1 1 1 2",
            "Offset": "0 0 0 0",
            "TransformMatrix": None,
        }
        data_file = f"LIST{count}\n" + "\n".join(names)
        path = self.write(tmp_path, data_file, dict(zip(names, pieces, strict=True)), **fields)
        backend = open_backend(path)
        assert backend.header.axes == (("time", 2),)
        np.testing.assert_array_equal(everything(backend), array)

    def test_a_compressed_file_of_that_name(self, tmp_path: Path) -> None:
        backend = open_backend(self.write(tmp_path, "a.raw", {"a.raw.gz": gzip.compress(RAW)}))
        np.testing.assert_array_equal(everything(backend), VALUES)
        assert backend.header.compression == "gzip"

    @pytest.mark.parametrize(
        "data_file",
        [
            "/etc/passwd",
            "../a.raw",
            "sub/../../a.raw",
            "http://127.0.0.1:9/x.raw",
            "LIST\n/etc/passwd\n/etc/passwd",
            "LIST\na.raw",
            "LIST\na.raw\na.raw\na.raw",
            "LISTs x",
            "LIST x",
            "%s%s%n%n.raw 1 9 1",
            "%d%d.raw 1 2 1",
            "%n.raw",
            "s%d.raw 2 1 1",
            "s%d.raw 1 1 1",
            "s%d.raw 1 2 0",
            "/s%d.raw",
            "..\\a.raw",
            "C:\\a.raw",
            "50%.raw",
        ],
    )
    def test_what_is_refused(self, data_file: str, tmp_path: Path) -> None:
        path = self.write(tmp_path, data_file, {"a.raw": RAW})
        with pytest.raises(MedImgError) as caught:
            everything(open_backend(path))
        assert "\n" not in str(caught.value)

    def test_missing_data_leave_the_header_readable(self, tmp_path: Path) -> None:
        backend = open_backend(self.write(tmp_path, "nothere.raw", {}))
        assert backend.header.shape == (1, 4, 3, 2)
        assert any("nothere.raw" in note for note in backend.header.warnings)
        with pytest.raises(FormatError, match="nothere"):
            everything(backend)

    @pytest.mark.parametrize("name", ["out.mhd", "T1 %d.mhd", "LIST.mhd", " x .mhd", "ä: ö.mhd", "LOCAL.mhd"])
    @pytest.mark.parametrize("level", [None, 0])
    def test_written_pairs(self, name: str, level: int | None, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        backend = image()
        out = saved(backend, tmp_path / name, level=level)
        np.testing.assert_array_equal(everything(out), backend.array)
        beside = (tmp_path / name).read_text().rstrip("\n").rpartition("ElementDataFile = ")[2]
        assert beside.endswith(".raw" if level == 0 else ".zraw")
        assert len(list(tmp_path.iterdir())) == 2
        again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name)))
        np.testing.assert_array_equal(again.T, backend.array[0])


class TestWriting:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("level", [None, 0, 9])
    @pytest.mark.parametrize("axes", [(), (("vector", 3),), (("time", 3),)])
    def test_every_type(self, dtype: str, level: int | None, axes: tuple[Any, ...], tmp_path: Path) -> None:
        backend = image((3 if axes else 1, 5, 6, 4), dtype, axes=axes)
        out = saved(backend, tmp_path / "a.mha", level=level)
        assert out.header.dtype == {"bool": "uint8", "float16": "float32"}.get(dtype, dtype)
        np.testing.assert_array_equal(everything(out), backend.array.astype(out.header.dtype))
        assert out.header.axes == axes
        assert out.header.compression == (None if level == 0 else "zlib")

    def test_the_compressed_size_is_stated(self, tmp_path: Path) -> None:
        saved(image(), tmp_path / "a.mha")
        content = (tmp_path / "a.mha").read_bytes()
        stated = int(content.partition(b"CompressedDataSize = ")[2].partition(b"\n")[0])
        assert content.partition(b"LOCAL\n")[2] == content[-stated:]
        assert zlib.decompress(content[-stated:]) == image().array.T.tobytes()

    @pytest.mark.parametrize("dtype", ["float128", "complex256"])
    def test_types_beyond_the_format(self, dtype: str) -> None:
        with pytest.raises(UnsupportedError, match=dtype):
            metaimage.fit(image().header.replace(dtype=dtype), "a.mha")

    def test_scaled_values_are_kept_as_values(self, tmp_path: Path) -> None:
        backend = image(slope=0.5, inter=10.0)
        assert [each.field for each in save_backend(backend, str(tmp_path / "a.mha"))] == ["slope"]
        out = open_backend(tmp_path / "a.mha")
        np.testing.assert_array_equal(everything(out), backend.array.astype("f4") * np.float32(0.5) + 10)

    def test_shear_is_refused_with_the_angle(self, tmp_path: Path) -> None:
        with pytest.raises(GeometryError, match=r"[0-9.]+ degrees"):
            save_backend(image(affine=OBLIQUE), str(tmp_path / "a.mha"))
        assert not list(tmp_path.iterdir())

    def test_a_trace_of_shear_is_rounding(self, tmp_path: Path) -> None:
        affine = AffineMatrix([[1, 0.0005, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
        assert saved(image(affine=affine), tmp_path / "a.mha").header.affine.allclose(affine, 1e-12)

    def test_words_of_metaio_survive_a_copy(self, tmp_path: Path) -> None:
        text = head(
            Comment="what",
            Position="1 2 3",
            Offset=None,
            Modality="MET_MOD_MR",
            AnatomicalOrientation="LPS",
            CenterOfRotation="1 1 1",
            Name="x",
            key="value",
            ID="3",
        )
        (tmp_path / "a.mha").write_bytes(text.encode() + RAW)
        assert save_backend(open_backend(tmp_path / "a.mha"), str(tmp_path / "b.mha"), level=0) == ()
        assert (tmp_path / "b.mha").read_bytes() == (tmp_path / "a.mha").read_bytes()

    def test_a_moved_grid_is_written_anew(self, tmp_path: Path) -> None:
        source = opened(Position="1 2 3", Offset=None, DistanceUnits="cm", AnatomicalOrientation="XYZ")
        moved = source.header.replace(affine=orthogonal())
        out = saved(ArrayBackend(VALUES, moved), tmp_path / "b.mha", level=0)
        assert out.header.affine.allclose(orthogonal(), 1e-12)
        text = (tmp_path / "b.mha").read_text("latin-1")
        assert "Position" not in text
        assert "DistanceUnits" not in text
        assert "AnatomicalOrientation = RPI" in text  # the axes come from right, posterior, inferior

    def test_typed_values_and_odd_keys(self, tmp_path: Path) -> None:
        metadata = {
            "EchoTime": 0.03,
            "Count": 3,
            "Flag": True,
            "List": [1, "a"],
            "text": "3",
            "a b": "y",
            "a=b": "z",
            "NDims": "7",
            "empty": "",
            "blank": " x ",
            "lines": "a\nb",
            "ID": "no number",
            "Color": "1 0 0 1",
            "medimg": "{}",
            "ü": "ü",
            "long": "x" * 9000,
            "=": ":",
        }
        out = saved(image(metadata=metadata), tmp_path / "a.mha")
        assert out.header.metadata == metadata
        assert [type(out.header.metadata[key]) for key in metadata] == [type(value) for value in metadata.values()]
        text = (tmp_path / "a.mha").read_bytes()
        assert b"\nEchoTime = 0.03\n" in text
        assert b"\nColor = 1 0 0 1\n" in text
        assert b"\nID = " not in text

    def test_what_is_too_long_for_metaio_is_reported(self, tmp_path: Path) -> None:
        header = image(metadata={"long": "x" * 40_000, "short": "y"}, history=({"name": "crop"},)).header
        lost = losses(header, "a.mha")
        assert [each.field for each in lost] == ["metadata"]
        assert metaimage.fit(header, "a.mha").history == header.history

    def test_labels_and_gradients(self, tmp_path: Path) -> None:
        table = LabelTable([(0, "background"), (3, "a b", (1, 2, 3, 128), "A"), (7, "", None)])
        assert saved(image(dtype="uint8", labels=table), tmp_path / "a.mha").header.labels == table
        gradients = Gradients((0.0, 1000.0), ((0.0, 0.0, 0.0), (0.6, 0.8, 0.0)))
        backend = image((2, 5, 6, 4), axes=(("time", 2),), gradients=gradients, time_spacing=1.0)
        assert saved(backend, tmp_path / "b.mha").header.gradients == gradients

    def test_history_of_another_grid_is_ignored(self, tmp_path: Path) -> None:
        saved(image(history=({"name": "crop"},)), tmp_path / "a.mha", level=0)
        content = (tmp_path / "a.mha").read_bytes()
        assert open_backend(content, name="a.mha").header.history == ({"name": "crop"},)
        header = open_backend(content.replace(b"Offset = -12.5", b"Offset = -99.5"), name="a.mha").header
        assert header.history == ()
        assert any("another grid" in note for note in header.warnings)

    @QUICK
    @given(headers(st.one_of(oblique_affines, straight_affines)))
    def test_whatever_a_header_holds_comes_back(self, header: Any) -> None:
        fitted = metaimage.fit(header, "a.mha")
        assert {each.field for each in differences(header, fitted)} <= {"dtype", "slope", "inter"}
        again = metaimage.fit(fitted, "a.mha")
        assert not differences(fitted, again)
        assert again.native == fitted.native
        encoded = metaimage.encode(fitted, "a.mha", 0)
        found = open_backend(encoded.head + bytes(encoded.layout.nbytes), name="a.mha").header
        assert not differences(fitted, found)


class TestReferees:
    @pytest.mark.parametrize("dtype", sorted(set(TYPES.values())))
    @pytest.mark.parametrize("level", [None, 0])
    @pytest.mark.parametrize(
        ("axes", "components", "dimension"),
        [
            ((), 1, 3),
            ((("vector", 3),), 3, 3),
            ((("rgb", 3),), 3, 3),
            ((("time", 3),), 1, 4),
            ((("channel", 3),), 1, 4),
        ],
    )
    def test_simpleitk_reads_what_is_written(
        self, dtype: str, level: int | None, axes: tuple[Any, ...], components: int, dimension: int, tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        seconds = 2.5 if axes and axes[0][0] == "time" else None
        more = {"metadata": {"k": "v w", "n": [1]}, "history": ({"name": "flip"},), "description": "c" * 400}
        backend = image((3 if axes else 1, 5, 6, 4), dtype, axes=axes, time_spacing=seconds, **more)
        saved(backend, tmp_path / "a.mha", level=level)
        found = sitk.ReadImage(str(tmp_path / "a.mha"))
        assert (found.GetDimension(), found.GetNumberOfComponentsPerPixel()) == (dimension, components)
        array = sitk.GetArrayFromImage(found)
        array = np.moveaxis(array, -1, 0) if components > 1 else array if dimension == 4 else array[None]
        np.testing.assert_array_equal(array.transpose(0, 3, 2, 1), backend.array)
        assert found.GetMetaData("k") == "v w"
        np.testing.assert_allclose(found.GetSpacing()[:3], backend.header.spacing)
        np.testing.assert_allclose(found.GetOrigin()[:3], backend.header.affine.to_lps().origin)
        direction = np.array(found.GetDirection()).reshape(dimension, dimension)[:3, :3]
        np.testing.assert_allclose(direction, backend.header.affine.to_lps().direction, atol=1e-12)
        if seconds:
            assert found.GetSpacing()[3] == seconds

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
    @pytest.mark.parametrize("components", [1, 3])
    @pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "uint64", "float64"])
    def test_what_simpleitk_writes(
        self, compressed: bool, name: str, components: int, dtype: str, tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        array = voxels((components, 5, 6, 4), dtype)
        last = np.moveaxis(array.transpose(0, 3, 2, 1), 0, -1).squeeze()
        made = sitk.GetImageFromArray(last, isVector=components > 1)
        lps = orthogonal().to_lps()
        made.SetSpacing(lps.spacing)
        made.SetOrigin(lps.origin)
        made.SetDirection([x for row in lps.direction for x in row])
        made.SetMetaData("key", "a value")
        sitk.WriteImage(made, str(tmp_path / name), useCompression=compressed)
        backend = open_backend(tmp_path / name)
        np.testing.assert_array_equal(everything(backend), array)
        assert backend.header.affine.allclose(orthogonal(), 1e-12)
        assert backend.header.metadata["key"] == "a value"
        assert save_backend(backend, str(tmp_path / "copy.mha")) == ()
        expected = "".join(dict(zip("RLAPSI", "LRPAIS", strict=True))[letter] for letter in orthogonal().orientation)
        assert f"AnatomicalOrientation = {expected}\n".encode() in (tmp_path / name).read_bytes()


HEADERS = (
    head(key="1", Comment="x").encode() + RAW,
    head(BinaryData="False", ElementSize="1 1 1", Position="1 2 3", DistanceUnits="um").encode() + b"1 2 3 " * 8,
    head(CompressedData="True", CompressedDataSize=str(len(zlib.compress(RAW)))).encode() + zlib.compress(RAW),
    head(
        NDims="4",
        DimSize="4 3 1 2",
        TransformMatrix=None,
        Offset=None,
        ElementSpacing="1 1 1 2",
        HeaderSize="-1",
        ElementNumberOfChannels="2",
        medimg='{"history":[{}],"grid":[[4,3,1],[]]}',
        Segment0_LabelValue="1",
    ).encode()
    + RAW * 2,
    head(ElementDataFile="s%03d.raw 1 2 1").encode(),
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(HEADERS).flatmap(mutations))
def test_damaged_headers_raise_nothing_but_our_own_errors(content: bytes) -> None:
    try:
        everything(open_backend(content, name="x.mha"))
    except MedImgError:
        pass


@needs_data
class TestRealFiles:
    @staticmethod
    def rows() -> list[dict[str, str]]:
        with (DATA / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["path"].lower().endswith((".mha", ".mhd"))]

    def test_shapes_affines_and_voxels_of_the_manifest(self) -> None:
        sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
        import referee

        for row in self.rows():
            backend = open_backend(DATA / row["path"])
            facts = referee.Facts(np.moveaxis(everything(backend), 0, -1), backend.header.affine.numpy())
            assert list(facts.array.shape[:3]) == (json.loads(row["shape"]) + [1, 1])[:3], row["path"]
            assert referee.affine_gap(facts, np.array(json.loads(row["affine_RAS"]))) < 1e-3, row["path"]
            assert referee.canonical_hash(facts) == row["sha256_canonical"], row["path"]

    def test_copies_of_real_files_say_the_same(self, tmp_path: Path) -> None:
        for number, row in enumerate(self.rows()):
            source = open_backend(DATA / row["path"])
            for suffix in (".mha", ".nrrd"):
                target = tmp_path / f"{number}{suffix}"
                assert save_backend(source, str(target)) == (), row["path"]
                np.testing.assert_array_equal(everything(open_backend(target)), everything(source))

"""NRRD against the format's definition, pynrrd, SimpleITK and real files."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import pickle
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import nrrd, open_backend
from medimg_cli.formats.nrrd_fields import KINDS, TYPES
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Gradients, differences
from medimg_cli.labels import LabelTable
from tests.formats.text_formats import (
    DATA,
    OBLIQUE,
    everything,
    from_text,
    headers,
    image,
    mutations,
    needs_data,
    orthogonal,
    saved,
    voxels,
)
from tests.formats.text_formats import (
    TYPES as DTYPES,
)
from tests.strategies import affines

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def head(type: str = "short", sizes: str = "4 3 2", encoding: str = "raw", endian: str = "little", **more: str) -> str:
    """Return a header; blanks in field names are underscores, None leaves a field out."""
    fields = {
        "type": type,
        "dimension": str(len(sizes.split())),
        "space": "left-posterior-superior",
        "sizes": sizes,
        "space directions": "(1.5,0,0) (0,2,0) (0,0,3)",
        "endian": endian,
        "encoding": encoding,
        "space origin": "(10,20,30)",
    }
    fields.update({name.replace("_", " "): value for name, value in more.items()})
    return "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None) + "\n"


NO_SPACE: dict[str, Any] = {"space": None, "space_directions": None, "space_origin": None}
VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4).T[None]
RAW = VALUES.T.tobytes()


class TestReading:
    @pytest.mark.parametrize("spelling", sorted(TYPES))
    @pytest.mark.parametrize("endian", ["little", "big"])
    def test_every_spelling_of_every_type(self, spelling: str, endian: str) -> None:
        array = voxels((1, 4, 3, 2), TYPES[spelling])
        stored = array.astype(array.dtype.newbyteorder("<" if endian == "little" else ">"))
        backend = from_text(head(spelling.upper(), endian=endian), stored.T.tobytes())
        assert backend.header.dtype == TYPES[spelling]
        np.testing.assert_array_equal(everything(backend), array)
        assert everything(backend).dtype.isnative

    @pytest.mark.parametrize("dtype", sorted(set(TYPES.values())))
    @pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2", "bz2", "ascii", "text", "txt", "ASCII", "hex"])
    def test_every_encoding_of_every_type(self, encoding: str, dtype: str) -> None:
        array = voxels((1, 4, 3, 2), dtype)
        raw = array.astype(array.dtype.newbyteorder(">")).T.tobytes()
        data = {
            "raw": raw,
            "gz": gzip.compress(raw, mtime=0),
            "bz": bz2.compress(raw),
            "he": raw.hex("\n", 3).upper().encode(),
        }.get(encoding[:2].lower() if encoding != "raw" else "raw")
        if data is None:
            data = b"\n".join(repr(value).encode() for value in array.T.ravel().tolist())
        backend = from_text(
            head(
                dtype if dtype in TYPES else {"float32": "float", "float64": "double"}[dtype],
                encoding=encoding,
                endian="big",
            ),
            data,
        )
        np.testing.assert_array_equal(everything(backend), array)
        assert backend.header.compression == {"g": "gzip", "b": "bzip2"}.get(encoding[0])

    def test_64_bit_integers_as_text_are_exact(self) -> None:
        numbers = [2**63 - 1, -(2**63), 2**53 + 1, 0]
        backend = from_text(head("int64", "4", "ascii", None, **NO_SPACE), " ".join(map(str, numbers)).encode())
        assert everything(backend).ravel().tolist() == numbers
        assert backend.header.ndim == 1
        assert backend.header.shape == (1, 4, 1, 1)

    def test_text_needs_no_byte_order_and_bytes_do(self) -> None:
        backend = from_text(head(encoding="ascii", endian=None), b"1 " * 24)
        assert backend.header.byte_order == sys.byteorder
        assert from_text(head("uchar", endian=None), bytes(24)).header.dtype == "uint8"
        with pytest.raises(FormatError, match="lacks 'endian'"):
            from_text(head(endian=None), RAW)

    @pytest.mark.parametrize(
        ("fields", "data"),
        [
            ({"byte_skip": "5"}, b"12345" + RAW),
            ({"byteskip": "-1"}, b"whatever" + RAW),
            ({"line_skip": "2"}, b"one\ntwo\n" + RAW),
            ({"lineskip": "1", "byte_skip": "3"}, b"one\n123" + RAW),
            ({"encoding": "gzip", "byte_skip": "5"}, gzip.compress(b"12345" + RAW, mtime=0)),
            ({"encoding": "gzip", "byte_skip": "-1"}, gzip.compress(b"x" * 999 + RAW, mtime=0)),
            ({"encoding": "bzip2", "byte_skip": "-1"}, bz2.compress(b"x" * 99 + RAW)),
            ({"encoding": "gzip", "line_skip": "2"}, b"one\ntwo\n" + gzip.compress(RAW, mtime=0)),
            ({"encoding": "hex", "byte_skip": "2"}, b"zz" + RAW.hex().encode()),
        ],
    )
    def test_skips(self, fields: dict[str, str], data: bytes) -> None:
        backend = from_text(head(**fields), data)
        np.testing.assert_array_equal(everything(backend), VALUES)
        np.testing.assert_array_equal(
            backend.read((range(1), range(1, 4, 2), range(1), range(1, 2))), VALUES[:, 1::2, :1, 1:]
        )
        np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(backend))), VALUES)

    @pytest.mark.parametrize(
        "fields",
        [{"byte_skip": "-5"}, {"line_skip": "-1"}, {"byte_skip": "x"}, {"encoding": "ascii", "byte_skip": "-1"}],
    )
    def test_skips_that_the_definition_does_not_know(self, fields: dict[str, str]) -> None:
        with pytest.raises(FormatError):
            from_text(head(**fields), RAW)

    def test_windows_line_ends(self) -> None:
        text = head(content="a b").replace("\n", "\r\n")
        backend = from_text(text, RAW)
        assert backend.header.description == "a b"
        np.testing.assert_array_equal(everything(backend), VALUES)

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            (head().replace("NRRD0004", "NRRD0009"), UnsupportedError),
            (head().replace("NRRD0004", "NRRDx"), FormatError),
            (head(type="block"), UnsupportedError),
            (head(type="quaternion"), FormatError),
            (head(type="char"), FormatError),
            (head(encoding="zrl"), UnsupportedError),
            (head(encoding="zstd"), UnsupportedError),
            (head(endian="middle"), FormatError),
            (head(dimension="2"), FormatError),
            (head(sizes="4 0 6"), FormatError),
            (head(sizes="4 -3 2"), FormatError),
            (head(sizes="4 x 2"), FormatError),
            (head(sizes="99999999999 99999999999 99999"), FormatError),
            (head(dimension="17"), FormatError),
            (head(space_origin="(1,2)"), FormatError),
            (head(space_directions="(1,0,0) (0,1,0)"), FormatError),
            (head(space_directions="(1,0,0) (0,1,0) (0,0,1) none"), FormatError),
            (head(space_directions="(1,0,0) (0,1,0) 1"), FormatError),
            (head(space_dimension="2"), FormatError),
            (head(kinds="domain domain"), FormatError),
            (head().replace("type:", "type: float\ntype:"), FormatError),
            (head().replace("\n\n", "\nno colon here\n\n"), FormatError),
            (head().rstrip("\n"), FormatError),
            (head().replace("sizes: 4 3 2\n", ""), FormatError),
        ],
    )
    def test_headers_that_contradict_themselves(self, text: str, error: type[Exception]) -> None:
        with pytest.raises(error) as caught:
            from_text(text, RAW)
        assert isinstance(caught.value, MedImgError)
        assert "\n" not in str(caught.value)

    def test_cut_off_voxels_leave_the_header_readable(self) -> None:
        backend = from_text(head(), RAW[:-1])
        assert any("truncated" in note for note in backend.header.warnings)
        with pytest.raises(TruncatedError):
            everything(backend)
        cut = gzip.compress(RAW)[:-9]
        with pytest.raises(TruncatedError):
            everything(from_text(head(encoding="gzip"), cut))

    def test_a_bomb_is_refused_before_memory_is_asked_for(self) -> None:
        backend = from_text(head(sizes="99999 99999 999", encoding="gzip"), gzip.compress(RAW))
        with pytest.raises(TruncatedError):
            everything(backend)

    def test_the_largest_header(self) -> None:
        with pytest.raises(FormatError, match="does not end"):
            from_text("NRRD0004\n" + "a:=b\n" * 2_000_000)


class TestSpaces:
    @pytest.mark.parametrize(
        ("name", "signs"),
        [
            ("right-anterior-superior", (1, 1)),
            ("RAS", (1, 1)),
            ("right anterior superior", (1, 1)),
            ("left-anterior-superior", (-1, 1)),
            ("LAS", (-1, 1)),
            ("left-posterior-superior", (-1, -1)),
            ("lps", (-1, -1)),
            ("scanner-xyz", (-1, -1)),
            ("3D-right-handed", (-1, -1)),
            ("sideways", (-1, -1)),
        ],
    )
    def test_names(self, name: str, signs: tuple[int, int]) -> None:
        header = from_text(head(space=name, space_directions="(1,2,0) (0,2,1) (1,0,3)"), RAW).header
        x, y = signs
        expected = [[x * 1, 0, x * 1, x * 10], [y * 2, y * 2, 0, y * 20], [0, 1, 3, 30], [0, 0, 0, 1]]
        np.testing.assert_array_equal(header.affine.numpy(), expected)
        is_anatomical = name.lower()[:2] in ("ri", "le", "ra", "la", "lp")
        assert any("orientation is unknown" in note for note in header.warnings) != is_anatomical
        assert header.affine_source == ("space directions" if is_anatomical else "unnamed space")
        assert header.orientation_known == is_anatomical

    @pytest.mark.parametrize("short", ["RAS", "LAS", "LPS"])
    def test_copies_stay_in_their_space(self, short: str, tmp_path: Path) -> None:
        backend = from_text(head(space=short, measurement_frame="(0,1,0) (1,0,0) (0,0,1)"), RAW)
        changed = backend.header.replace(affine=backend.header.affine.with_origin((1, 2, 3)))
        out = saved(ArrayBackend(VALUES, changed), tmp_path / "a.nrrd")
        text = (tmp_path / "a.nrrd").read_bytes()
        names = {"RAS": b"right-anterior", "LAS": b"left-anterior", "LPS": b"left-posterior"}
        assert b"space: " + names[short] in text
        assert b"measurement frame: (0,1,0) (1,0,0) (0,0,1)\n" in text
        assert out.header.affine == changed.affine

    def test_units_of_space(self) -> None:
        header = from_text(head(space_units='"um" "um" "mm"'), RAW).header
        assert header.affine.spacing == pytest.approx((0.0015, 0.002, 3))
        assert header.origin == pytest.approx((-0.01, -0.02, 30))
        assert header.space_units == "um"
        assert "unit of length" in from_text(head(space_units='"ell" "ell" "ell"'), RAW).header.warnings[0]

    @pytest.mark.parametrize(
        ("fields", "spacing", "origin"),
        [
            ({"spacings": "1 2 3"}, (1, 2, 3), (0, 0, 0)),
            ({"spacings": "1 2 3", "axis_mins": "10 20 30"}, (1, 2, 3), (10.5, 21, 31.5)),
            ({"spacings": "1 2 3", "axis_mins": "10 20 30", "centers": "node node node"}, (1, 2, 3), (10, 20, 30)),
            ({"axismins": "0 0 0", "axismaxs": "4 6 4", "centerings": "cell node cell"}, (1, 3, 2), (0.5, 0, 1)),
            ({"spacings": "1 2 nan", "axis_mins": "10 20 30"}, (1, 2, 1), (0, 0, 0)),
            ({"spacings": "1 0 3"}, (1, 1, 3), (0, 0, 0)),
            ({"spacings": "1 2 3", "units": '"mm" "cm" "m"'}, (1, 20, 3000), (0, 0, 0)),
        ],
    )
    def test_without_directions(self, fields: dict[str, str], spacing: tuple[float], origin: tuple[float]) -> None:
        header = from_text(head(**{**NO_SPACE, **fields}), RAW).header
        assert header.affine.spacing == pytest.approx(spacing)
        np.testing.assert_allclose(header.affine.to_lps().numpy()[:3, 3], origin)
        assert header.orientation == ("L", "P", "S")

    def test_pictures_of_itk(self) -> None:
        text = head(
            "uchar",
            "4 3",
            space=None,
            space_dimension="2",
            space_directions="(0.8,0.6) (-0.6,0.8)",
            space_origin="(5,7)",
        )
        header = from_text(text, bytes(12)).header
        assert (header.shape, header.ndim) == ((1, 4, 3, 1), 2)
        np.testing.assert_allclose(header.affine.numpy()[:3], [[-0.8, 0.6, 0, -5], [-0.6, -0.8, 0, -7], [0, 0, 1, 0]])

    @pytest.mark.parametrize(
        "bad", ["(nan,0,0) (0,2,0) (0,0,3)", "(0,0,0) (0,2,0) (0,0,3)", "(1e200,0,0) (0,2,0) (0,0,3)"]
    )
    def test_one_bad_axis_is_set_at_right_angles(self, bad: str) -> None:
        header = from_text(head(space_directions=bad), RAW).header
        np.testing.assert_array_equal(np.abs(header.affine.numpy()[:3, :3]), np.diag([1, 2, 3]))
        assert any("no usable matrix" in note for note in header.warnings)

    @pytest.mark.parametrize("bad", ["(1,0,0) (2,0,0) (0,0,3)", "(0,0,0) (0,0,0) (0,0,0)", "none none none"])
    def test_singular_axes_fall_back_on_those_of_the_world(self, bad: str) -> None:
        header = from_text(head(space_directions=bad), RAW).header
        assert header.shape == (1, 4, 3, 2)
        assert header.orientation == ("L", "P", "S")
        assert header.warnings


class TestAxes:
    @pytest.mark.parametrize(
        ("sizes", "kinds", "directions", "shape", "axes"),
        [
            ("3 4 5 6", "vector domain domain domain", "none (1,0,0) (0,1,0) (0,0,1)", (3, 4, 5, 6), (("vector", 3),)),
            ("3 4 5 6", "RGB-color domain domain domain", "none (1,0,0) (0,1,0) (0,0,1)", (3, 4, 5, 6), (("rgb", 3),)),
            ("4 4 5 6", "RGBA-color space space space", "none (1,0,0) (0,1,0) (0,0,1)", (4, 4, 5, 6), (("rgb", 4),)),
            ("2 4 5 6", "RGB-color space space space", "none (1,0,0) (0,1,0) (0,0,1)", (2, 4, 5, 6), (("vector", 2),)),
            ("4 5 6 3", "domain domain domain list", "(1,0,0) (0,1,0) (0,0,1) none", (3, 4, 5, 6), (("channel", 3),)),
            ("4 5 6 3", "domain domain domain time", "(1,0,0) (0,1,0) (0,0,1) none", (3, 4, 5, 6), (("time", 3),)),
            ("4 3 5 6", "domain list domain domain", "(1,0,0) none (0,1,0) (0,0,1)", (3, 4, 5, 6), (("channel", 3),)),
            ("4 5 6 3", None, "(1,0,0) (0,1,0) (0,0,1) none", (3, 4, 5, 6), (("channel", 3),)),
            (
                "4 5 6 3",
                "domain domain domain domain",
                "(1,0,0) (0,1,0) (0,0,1) (0,0,0)",
                (3, 4, 5, 6),
                (("channel", 3),),
            ),
            (
                "2 4 5 6 3",
                "vector domain domain domain time",
                "none (1,0,0) (0,1,0) (0,0,1) none",
                (6, 4, 5, 6),
                (("time", 3), ("vector", 2)),
            ),
            (
                "6 4 5 6",
                "3D-symmetric-matrix domain domain domain",
                "none (1,0,0) (0,1,0) (0,0,1)",
                (6, 4, 5, 6),
                (("vector", 6),),
            ),
            ("4 5 6 3", "domain domain domain list", None, (3, 4, 5, 6), (("channel", 3),)),
            ("3 4 5 6", "vector domain domain domain", None, (3, 4, 5, 6), (("vector", 3),)),
            ("3 4 5 6", "??? ??? ??? ???", None, (6, 3, 4, 5), (("channel", 6),)),
            ("3 5", "vector list", None, (15, 1, 1, 1), (("channel", 5), ("vector", 3))),
        ],
    )
    def test_what_each_axis_is(
        self, sizes: str, kinds: str | None, directions: str | None, shape: tuple[int, ...], axes: tuple[Any, ...]
    ) -> None:
        counts = [int(size) for size in sizes.split()]
        array = np.arange(np.prod(counts), dtype="<i2").reshape(counts, order="F")
        fields = {} if directions else NO_SPACE
        text = head(sizes=sizes, **{**fields, "kinds": kinds, "space_directions": directions})
        backend = from_text(text, array.tobytes(order="F"))
        assert backend.header.shape == shape
        assert backend.header.axes == axes
        # the definition of C: first axis of header.axes fastest, then I, J, K
        words = (kinds or "").split()
        spatial = [n for n, vector in enumerate((directions or "").split()) if vector not in ("none", "(0,0,0)")]
        if not directions:
            spatial = [n for n, word in enumerate(words) if word in ("domain", "space", "???")][:3]
        others = [n for n in range(len(counts)) if n not in spatial]
        others.sort(key=lambda n: KINDS.get(words[n].lower() if words else "", "") in ("vector", "rgb"))
        expected = array.transpose(*others, *spatial) if spatial else array.transpose(*others)
        expected = expected.reshape((-1, *shape[1:]), order="F")
        np.testing.assert_array_equal(everything(backend), expected)

    def test_complex_numbers(self) -> None:
        array = voxels((1, 4, 3, 2), "complex64")
        text = head(
            "float", "2 4 3 2", kinds="complex domain domain domain", space_directions="none (1,0,0) (0,1,0) (0,0,1)"
        )
        backend = from_text(text, array.T.tobytes())
        assert backend.header.dtype == "complex64"
        np.testing.assert_array_equal(everything(backend), array)
        whole_numbers = from_text(text.replace("float", "short"), bytes(96)).header
        assert (whole_numbers.dtype, whole_numbers.axes) == ("int16", (("vector", 2),))

    @pytest.mark.parametrize("unit", ["s", "ms", ""])
    def test_time(self, unit: str) -> None:
        factor = {"s": 1.0, "ms": 1e-3, "": 1.0}[unit]
        more = {"spacings": "nan nan nan 2500", "units": f'"" "" "" "{unit}"'}
        text = head(
            sizes="4 3 2 5",
            kinds="domain domain domain time",
            space_directions="(1,0,0) (0,1,0) (0,0,1) none",
            **more,
        )
        header = from_text(text, bytes(240)).header
        assert header.time_spacing == pytest.approx(2500 * factor)
        assert header.time_units == (unit or None)

    @pytest.mark.parametrize(("step", "kind"), [("2.5", "time"), ("1", "channel")])
    def test_the_fourth_dimension_of_itk(self, step: str, kind: str) -> None:
        text = head(
            sizes="4 3 2 5",
            space=None,
            space_dimension="4",
            space_origin="(1,2,3,0)",
            kinds="domain domain domain domain",
            space_directions=f"(1,0,0,0) (0,2,0,0) (0,0,3,0) (0,0,0,{step})",
        )
        header = from_text(text, bytes(240)).header
        assert header.axes == ((kind, 5),)
        assert header.affine.spacing == (1, 2, 3)
        assert header.time_spacing == (2.5 if kind == "time" else None)


class TestKeyValues:
    def test_values_are_verbatim_but_for_two_escapes(self, tmp_path: Path) -> None:
        text = head().rstrip("\n") + "\nint:= 24\na b:=one\\ntwo\\\\three\nempty:=\ntype:=x\nurl:=http://x.y/z: 1\n\n"
        header = from_text(text, RAW).header
        assert header.metadata == {
            "int": " 24",
            "a b": "one\ntwo\\three",
            "empty": "",
            "type": "x",
            "url": "http://x.y/z: 1",
        }
        out = saved(ArrayBackend(VALUES, header), tmp_path / "a.nrrd")
        assert out.header.metadata == header.metadata

    def test_a_key_that_reads_like_a_field_is_a_key(self) -> None:
        # pynrrd wrote "byte skip:= -1" once; by section 1.2 ":=" makes it a key
        backend = from_text(head().rstrip("\n") + "\nbyte skip:= -1\n\n", RAW + b"behind")
        assert backend.header.metadata == {"byte skip": " -1"}
        np.testing.assert_array_equal(everything(backend), VALUES)

    def test_comments_order_and_unknown_fields_survive_a_copy(self, tmp_path: Path) -> None:
        text = (
            "NRRD0005\n# made by hand\ntype: int16\ndimension: 3\n# a comment inside\nspace: LAS\nsizes: 4 3 2\n"
            "space directions: (1.50,0,0) (0,2.0,0) (0,0,3)\nthicknesses: nan nan 2.5\ncentering: x\nendian: little\n"
            "encoding: raw\nkey one:=1\nold min: -5\ncustom field: yes\nkey two:=2\n\n"
        )
        (tmp_path / "a.nrrd").write_bytes(text.encode() + RAW)
        source = open_backend(tmp_path / "a.nrrd")
        assert save_backend(source, str(tmp_path / "b.nrrd"), level=0) == ()
        written = (tmp_path / "b.nrrd").read_bytes()
        assert written == text.replace("int16", "short").encode() + RAW
        assert source.header.metadata["custom field"] == "yes"
        assert source.header.metadata["NRRD_old min"] == "-5"
        assert source.header.metadata["NRRD_thicknesses"] == "nan nan 2.5"

    def test_fields_of_axes_that_change_are_reported(self, tmp_path: Path) -> None:
        source = from_text(head(thicknesses="nan nan 2.5", old_min="3"), RAW)
        turned = source.header.replace(affine=source.header.affine.with_origin((0, 0, 0)))
        lost = losses(turned, "x.nrrd")
        assert [each.field for each in lost] == ["metadata"]
        assert "NRRD_thicknesses" in lost[0].note
        assert b"old min: 3" in b"\n".join(nrrd.fit(turned, "x.nrrd").native.data)

    def test_typed_values_and_odd_keys(self, tmp_path: Path) -> None:
        metadata = {
            "EchoTime": 0.03,
            "Count": 3,
            "Flag": True,
            "List": [1, "a"],
            "text": "3",
            "#odd": "x",
            "a: b": "y",
            "": "z",
            " blank ": "w",
            "cr": "a\rb",
            "medimg": "{}",
            "path": "C:\\new\\table",
        }
        out = saved(image(metadata=metadata), tmp_path / "a.nrrd")
        assert out.header.metadata == metadata
        assert [type(out.header.metadata[key]) for key in metadata] == [type(value) for value in metadata.values()]
        text = (tmp_path / "a.nrrd").read_bytes()
        assert b"\nEchoTime:=0.03\n" in text
        assert b"\nCount:=3\n" in text

    def test_what_is_too_long_is_reported(self, tmp_path: Path) -> None:
        backend = image(extensions=((44, bytes(3_000_000)),), metadata={"long": "x" * 100_000, "short": "y"})
        assert [each.field for each in save_backend(backend, str(tmp_path / "a.nrrd"))] == ["extensions"]
        assert open_backend(tmp_path / "a.nrrd").header.metadata == backend.header.metadata

    def test_other_software_that_changes_a_key_is_believed(self, tmp_path: Path) -> None:
        saved(image(metadata={"EchoTime": 0.03}), tmp_path / "a.nrrd", level=0)
        changed = (tmp_path / "a.nrrd").read_bytes().replace(b"EchoTime:=0.03", b"EchoTime:=0.04")
        assert open_backend(changed, name="a.nrrd").header.metadata["EchoTime"] == "0.04"

    def test_history_of_another_grid_is_ignored(self, tmp_path: Path) -> None:
        saved(image(history=({"name": "crop"},)), tmp_path / "a.nrrd", level=0)
        content = (tmp_path / "a.nrrd").read_bytes()
        assert open_backend(content, name="a.nrrd").header.history == ({"name": "crop"},)
        moved = content.replace(b"space origin: (-12.5", b"space origin: (-99.5")
        header = open_backend(moved, name="a.nrrd").header
        assert header.history == ()
        assert any("another grid" in note for note in header.warnings)

    @pytest.mark.parametrize("text", ["{", "[]", "3", '{"history":3,"labels":7,"axes":[1],"metadata":[]}', "[" * 9999])
    def test_a_damaged_key_of_ours_is_no_obstacle(self, text: str) -> None:
        backend = from_text(head().rstrip("\n") + f"\nmedimg:={text}\n\n", RAW)
        assert backend.header.warnings
        np.testing.assert_array_equal(everything(backend), VALUES)


SEGMENTS = """Segment0_Color:=0.5 0.682353 0.501961
Segment0_ColorAutoGenerated:=1
Segment0_Extent:=0 3 0 2 0 1
Segment0_ID:=Segment_1
Segment0_LabelValue:=1
Segment0_Layer:=0
Segment0_Name:=left lung
Segment0_Tags:=Segmentation.Status:inprogress|
Segment1_Color:=1 0 0
Segment1_ID:=tumour
Segment1_LabelValue:=5
Segment1_Layer:=0
Segment1_Name:=tumour \\\\ n
Segmentation_MasterRepresentation:=Binary labelmap
"""


class TestSegmentations:
    @staticmethod
    def segmentation(text: str = SEGMENTS) -> Any:
        return from_text(head("uchar", endian=None).rstrip("\n") + "\n" + text + "\n", bytes(24), ".seg.nrrd")

    def test_labels_of_3d_slicer(self) -> None:
        header = self.segmentation().header
        assert header.labels == LabelTable([(1, "left lung", (128, 174, 128)), (5, "tumour \\ n", (255, 0, 0))])
        assert sorted(header.metadata) == [
            "Segment0_ColorAutoGenerated",
            "Segment0_Extent",
            "Segment0_Tags",
            "Segment1_ID",
            "Segmentation_MasterRepresentation",
        ]

    def test_a_copy_keeps_every_line(self, tmp_path: Path) -> None:
        source = self.segmentation()
        assert save_backend(source, str(tmp_path / "b.seg.nrrd"), level=0) == ()
        text = (tmp_path / "b.seg.nrrd").read_text("latin-1")
        assert SEGMENTS in text
        assert "medimg" not in text

    def test_several_layers_stay_key_values(self) -> None:
        header = self.segmentation(SEGMENTS.replace("Segment1_Layer:=0", "Segment1_Layer:=1")).header
        assert header.labels is None
        assert header.metadata["Segment1_Name"] == "tumour \\ n"

    def test_changed_labels_drop_what_belonged_to_others(self, tmp_path: Path) -> None:
        source = self.segmentation()
        fewer = source.header.replace(labels=LabelTable([(5, "tumour", (1, 2, 3))]))
        out = saved(ArrayBackend(everything(source), fewer), tmp_path / "c.seg.nrrd").header
        assert out.labels == fewer.labels
        assert set(out.metadata) == {"Segmentation_MasterRepresentation"}

    def test_a_moved_grid_drops_extents(self, tmp_path: Path) -> None:
        source = self.segmentation()
        cropped = source.header.replace(shape=(1, 2, 3, 2))
        out = saved(ArrayBackend(np.zeros((1, 2, 3, 2), "u1"), cropped), tmp_path / "c.seg.nrrd").header
        assert "Segment0_Extent" not in out.metadata
        assert "Segment0_Tags" in out.metadata

    def test_tables_that_segments_cannot_say(self, tmp_path: Path) -> None:
        table = LabelTable([(0, "background"), (3, "a", (1, 2, 3, 128), "A"), (7, "line\nend", None)])
        out = saved(image(dtype="uint8", labels=table), tmp_path / "d.nrrd").header
        assert out.labels == table
        text = (tmp_path / "d.nrrd").read_bytes()
        assert b"Segment0_LabelValue:=3\n" in text
        assert b"Segment2_" not in text

    def test_edits_in_3d_slicer_win_over_our_own_key(self, tmp_path: Path) -> None:
        table = LabelTable([(0, "background"), (3, "a", (1, 2, 3))])
        saved(image(dtype="uint8", labels=table), tmp_path / "d.nrrd", level=0)
        edited = (tmp_path / "d.nrrd").read_bytes().replace(b"Segment0_Name:=a", b"Segment0_Name:=liver")
        assert open_backend(edited, name="d.nrrd").header.labels == LabelTable([(3, "liver", (1, 2, 3))])


def world_directions(header: Any) -> np.ndarray:
    """Return gradient directions in RAS: FSL's convention undone with NumPy."""
    vectors = np.array(header.gradients.bvecs)
    matrix = header.affine.numpy()[:3, :3]
    if np.linalg.det(matrix) > 0:
        vectors = vectors * [-1, 1, 1]
    return vectors @ (matrix / np.linalg.norm(matrix, axis=0)).T


class TestGradients:
    KEYS = (
        "modality:=DWMRI\nDWMRI_b-value:=1000\nDWMRI_gradient_0000:=0 0 0\nDWMRI_gradient_0001:=1 0 0\n"
        "DWMRI_gradient_0002:=0 0.70710678118654757 0\nDWMRI_gradient_0003:=0.6 0 0.8\n"
    )

    def weighted(self, keys: str, kinds: str = "domain domain domain list", **more: str) -> Any:
        fields = {"sizes": "4 3 2 4", "space_directions": "(1,0,0) (0,2,0) (0,0,3) none", **more}
        return from_text(head(kinds=kinds, **fields).rstrip("\n") + "\n" + keys + "\n", bytes(192))

    @pytest.mark.parametrize("space", ["LPS", "RAS"])
    def test_directions_and_weighting(self, space: str) -> None:
        frame = "(0,1,0) (1,0,0) (0,0,-1)"  # columns: x and y change places, z turns round
        header = self.weighted(self.KEYS, space=space, measurement_frame=frame).header
        assert header.gradients.bvals == (0, 1000, 500, 1000)
        in_space = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0.6, -0.8]])
        expected = in_space * ([-1, -1, 1] if space == "LPS" else [1, 1, 1])
        np.testing.assert_allclose(world_directions(header), expected, atol=1e-12)
        assert header.metadata == {}
        assert header.axes == (("channel", 4),)

    @pytest.mark.parametrize(
        "kinds", ["domain domain domain vector", "domain domain domain time", "domain domain domain ???"]
    )
    def test_the_axis_of_weighting_has_several_kinds(self, kinds: str) -> None:
        header = self.weighted(self.KEYS, kinds).header
        assert header.axes == (("channel", 4),)
        assert header.gradients is not None

    def test_repetitions(self) -> None:
        keys = "modality:=DWMRI\nDWMRI_b-value:=700\nDWMRI_gradient_0000:=0 0 0\nDWMRI_NEX_0000:=3\n"
        keys += "DWMRI_gradient_0003:=0 0 2\n"
        assert self.weighted(keys).header.gradients.bvals == (0, 0, 0, 700)

    @pytest.mark.parametrize(
        "change",
        [
            ("0 0.70710678118654757 0", "n/a"),
            ("_0003", "_0009"),
            ("1000", "x"),
            ("0.6 0 0.8", "0.6 0"),
            ("1 0 0", "inf 0 0"),
        ],
    )
    def test_what_is_not_understood_stays_a_key_value(self, change: tuple[str, str]) -> None:
        header = self.weighted(self.KEYS.replace(*change)).header
        assert header.gradients is None
        assert header.metadata["modality"] == "DWMRI"

    def test_a_copy_keeps_every_line(self, tmp_path: Path) -> None:
        source = self.weighted(self.KEYS, measurement_frame="(0,1,0) (1,0,0) (0,0,-1)")
        assert save_backend(source, str(tmp_path / "b.nrrd"), level=0) == ()
        text = (tmp_path / "b.nrrd").read_text("latin-1")
        assert self.KEYS in text
        assert "measurement frame: (0,1,0) (1,0,0) (0,0,-1)\n" in text

    @pytest.mark.parametrize("affine", [orthogonal(), OBLIQUE, AffineMatrix.from_spacing((1, 2, 3))])
    def test_gradients_of_fsl_come_back(self, affine: AffineMatrix, tmp_path: Path) -> None:
        bvecs = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.6, 0.8), (-0.48, 0.6, 0.64))
        gradients = Gradients((0.0, 1000.0, 2000.0, 3000.0), bvecs)
        header = image((4, 5, 6, 4), axes=(("time", 4),), gradients=gradients, time_spacing=2.0, affine=affine).header
        assert losses(header, "a.nrrd") == ()
        out = saved(ArrayBackend(voxels((4, 5, 6, 4), "int16"), header), tmp_path / "a.nrrd").header
        assert out.axes == (("time", 4),)
        np.testing.assert_allclose(out.gradients.bvals, gradients.bvals, rtol=1e-8)
        np.testing.assert_allclose(out.gradients.bvecs, bvecs, atol=1e-12)
        text = (tmp_path / "a.nrrd").read_bytes()
        assert b"\nmodality:=DWMRI\nDWMRI_b-value:=3000\n" in text
        assert b"kinds: domain domain domain list\n" in text

    def test_directions_in_the_world_stay_when_the_grid_is_turned(self, tmp_path: Path) -> None:
        source = self.weighted(self.KEYS)
        turn = AffineMatrix([[-1, 0, 0, 3], [0, 0, 1, 0], [0, 1, 0, 0]])  # new voxel -> old voxel
        before = source.header
        after = before.replace(
            affine=before.affine @ turn,
            shape=(4, 4, 2, 3),
            gradients=before.gradients.turned(before.affine, turn, before.affine @ turn),
        )
        out = saved(ArrayBackend(np.zeros((4, 4, 2, 3), "i2"), after), tmp_path / "b.nrrd").header
        np.testing.assert_allclose(world_directions(out), world_directions(before), atol=1e-9)


class TestDetached:
    def write(self, folder: Path, data_file: str, files: dict[str, bytes], **fields: str) -> Path:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        text = head(**fields).rstrip("\n") + f"\ndata file: {data_file}\n"
        (folder / "a.nhdr").write_text(text)
        return folder / "a.nhdr"

    @pytest.mark.parametrize(
        ("data_file", "files"),
        [
            ("a.raw", {"a.raw": RAW}),
            ("./a b.raw", {"a b.raw": RAW}),
            ("sub/a.raw", {"sub/a.raw": RAW}),
            ("LIST\ny.raw\nx.raw", {"y.raw": RAW[:24], "x.raw": RAW[24:]}),
            ("LIST 2\ny.raw\nx.raw\n", {"y.raw": RAW[:24], "x.raw": RAW[24:]}),
            (
                "LIST 1\n" + "".join(f"{n}.raw\n" for n in range(6)),
                {f"{n}.raw": RAW[n * 8 : n * 8 + 8] for n in range(6)},
            ),
            ("LIST 3\ny.raw\nx.raw", {"y.raw": RAW[:24], "x.raw": RAW[24:]}),
            ("s%03d.raw 1 2 1", {"s001.raw": RAW[:24], "s002.raw": RAW[24:]}),
            ("s%d.raw 9 5 -4 2", {"s9.raw": RAW[:24], "s5.raw": RAW[24:]}),
        ],
    )
    @pytest.mark.parametrize("packed", [False, True])
    def test_names(self, data_file: str, files: dict[str, bytes], packed: bool, tmp_path: Path) -> None:
        if packed:
            files = {name: gzip.compress(content) for name, content in files.items()}
        path = self.write(tmp_path, data_file, files, encoding="gzip" if packed else "raw")
        backend = open_backend(path)
        np.testing.assert_array_equal(everything(backend), VALUES)
        np.testing.assert_array_equal(
            backend.read((range(1), range(3, -1, -1), range(2), range(1, 2))), VALUES[:, ::-1, :2, 1:]
        )
        assert backend.header.file_bytes == path.stat().st_size + sum(map(len, files.values()))
        np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(backend))), VALUES)
        np.testing.assert_array_equal(everything(saved(backend, tmp_path / "copy.nrrd")), VALUES)

    def test_skips_hold_for_every_file(self, tmp_path: Path) -> None:
        files = {"y.raw": b"one\n12" + RAW[:24], "x.raw": b"other\n34" + RAW[24:]}
        path = self.write(tmp_path, "LIST\ny.raw\nx.raw", files, line_skip="1", byte_skip="2")
        np.testing.assert_array_equal(everything(open_backend(path)), VALUES)
        path = self.write(tmp_path, "LIST\ny.raw\nx.raw", files, byte_skip="-1")
        np.testing.assert_array_equal(everything(open_backend(path)), VALUES)

    @pytest.mark.parametrize(
        "data_file",
        [
            "/etc/passwd",
            "../a.raw",
            "sub/../../a.raw",
            "http://127.0.0.1:9/x.raw",
            "LIST\n/etc/passwd\n/etc/passwd",
            "LIST\na.raw",
            "LIST 9\na.raw\na.raw",
            "LIST x",
            "%d%d.raw 1 2 1",
            "%s%n%d.raw 1 2 1",
            "s%d.raw 1 2 0",
            "s%d.raw 2 1 1",
            "s%d.raw 1 999999999 1",
            "s%d.raw",
            "SKIPLIST\n0 a.raw\n0 a.raw",
            "/s%d.raw 1 2 1",
            "../s%d.raw 1 2 1",
            "C:\\a.raw",
            "..\\a.raw",
        ],
    )
    def test_what_is_refused(self, data_file: str, tmp_path: Path) -> None:
        path = self.write(tmp_path, data_file, {"a.raw": RAW})
        with pytest.raises(MedImgError) as caught:
            open_backend(path)
        assert "\n" not in str(caught.value)

    def test_missing_data_leave_the_header_readable(self, tmp_path: Path) -> None:
        backend = open_backend(self.write(tmp_path, "nothere.raw", {}))
        assert backend.header.shape == (1, 4, 3, 2)
        assert any("nothere.raw" in note for note in backend.header.warnings)
        with pytest.raises(FormatError, match="nothere"):
            everything(backend)
        with pytest.raises(MedImgError):
            save_backend(backend, str(tmp_path / "out.nrrd"))
        assert not (tmp_path / "out.nrrd").exists()

    def test_one_short_file_among_several(self, tmp_path: Path) -> None:
        path = self.write(tmp_path, "LIST\ny.raw\nx.raw", {"y.raw": RAW[:20], "x.raw": RAW[24:] + bytes(9)})
        backend = open_backend(path)
        assert any("truncated" in note for note in backend.header.warnings)
        with pytest.raises(TruncatedError):
            everything(backend)

    def test_a_damaged_file_among_several_compressed_ones(self, tmp_path: Path) -> None:
        good, bad = gzip.compress(RAW[:24]), bytearray(gzip.compress(RAW[24:]))
        bad[-5] ^= 1  # the checksum
        for files in ({"y.raw": good, "x.raw": bytes(bad)}, {"y.raw": bytes(bad), "x.raw": good}):
            backend = open_backend(self.write(tmp_path, "LIST\ny.raw\nx.raw", files, encoding="gzip"))
            with pytest.raises(FormatError):
                everything(backend)

    @pytest.mark.parametrize("name", ["out.nhdr", "T1 %d.nhdr", "LIST.nhdr", " x .nhdr", "ä: ö.nhdr", '"q".nhdr'])
    @pytest.mark.parametrize("level", [None, 0])
    def test_written_pairs(self, name: str, level: int | None, tmp_path: Path) -> None:
        backend = image()
        out = saved(backend, tmp_path / name, level=level)
        np.testing.assert_array_equal(everything(out), backend.array)
        line = next(line for line in (tmp_path / name).read_text().split("\n") if line.startswith("data file: "))
        beside = tmp_path / line.removeprefix("data file: ")
        assert beside.name.endswith(".raw" if level == 0 else ".raw.gz")
        assert beside.exists()
        assert len(list(tmp_path.iterdir())) == 2

    def test_bytes_have_no_folder(self) -> None:
        with pytest.raises(FormatError):
            from_text(head().rstrip("\n") + "\ndata file: a.raw\n")


class TestWriting:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("level", [None, 0, 9])
    def test_every_type(self, dtype: str, level: int | None, tmp_path: Path) -> None:
        backend = image(dtype=dtype)
        out = saved(backend, tmp_path / "a.nrrd", level=level)
        assert out.header.dtype == {"bool": "uint8", "float16": "float32"}.get(dtype, dtype)
        np.testing.assert_array_equal(everything(out), backend.array.astype(out.header.dtype))
        assert out.header.compression == (None if level == 0 else "gzip")
        assert out.header.affine == backend.header.affine

    @pytest.mark.parametrize("dtype", ["float128", "complex256"])
    def test_types_beyond_the_format(self, dtype: str) -> None:
        with pytest.raises(UnsupportedError, match=dtype):
            nrrd.fit(image().header.replace(dtype=dtype), "a.nrrd")

    def test_scaled_values_are_kept_as_values(self, tmp_path: Path) -> None:
        backend = image(slope=0.5, inter=10.0)
        lost = save_backend(backend, str(tmp_path / "a.nrrd"))
        assert [each.field for each in lost] == ["slope"]
        out = open_backend(tmp_path / "a.nrrd")
        np.testing.assert_array_equal(everything(out), backend.array.astype("f4") * np.float32(0.5) + 10)

    @pytest.mark.parametrize("affine", [OBLIQUE, orthogonal()])
    def test_shear_is_kept(self, affine: AffineMatrix, tmp_path: Path) -> None:
        assert saved(image(affine=affine), tmp_path / "a.nrrd").header.affine == affine

    def test_the_same_bytes_every_time(self, tmp_path: Path) -> None:
        for name in ("a.nrrd", "b.nrrd"):
            saved(image(metadata={"b": 1, "a": "x"}, history=({"name": "flip"},)), tmp_path / name)
        assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()

    def test_the_target_may_be_the_source(self, tmp_path: Path) -> None:
        saved(image(), tmp_path / "a.nrrd")
        before = everything(open_backend(tmp_path / "a.nrrd"))
        save_backend(open_backend(tmp_path / "a.nrrd"), str(tmp_path / "a.nrrd"), force=True)
        np.testing.assert_array_equal(everything(open_backend(tmp_path / "a.nrrd")), before)

    @QUICK
    @given(headers(affines))
    def test_whatever_a_header_holds_comes_back(self, header: Any) -> None:
        fitted = nrrd.fit(header, "a.nrrd")
        assert {each.field for each in differences(header, fitted)} <= {"dtype", "slope", "inter"}
        again = nrrd.fit(fitted, "a.nrrd")
        assert not differences(fitted, again)
        assert again.native == fitted.native
        encoded = nrrd.encode(fitted, "a.nrrd", 0)
        opened = open_backend(encoded.head + bytes(encoded.layout.nbytes), name="a.nrrd").header
        assert not differences(fitted, opened)

    @QUICK
    @given(
        headers(affines),
        headers(affines),
        st.sets(st.sampled_from(("affine", "labels", "metadata", "history", "description"))),
    )
    def test_a_native_header_follows_every_change(self, header: Any, other: Any, names: set[str]) -> None:
        first = nrrd.fit(header, "a.nrrd")
        changed = first.replace(**{name: getattr(other, name) for name in names})
        fitted = nrrd.fit(changed, "a.nrrd")
        assert not differences(changed, fitted)
        assert nrrd.fit(fitted, "a.nrrd").native == fitted.native

    def test_nothing_is_read_twice_or_lost_in_regions(self, tmp_path: Path) -> None:
        backend = image((6, 7, 5, 4), axes=(("time", 2), ("vector", 3)))
        out = saved(backend, tmp_path / "a.nrrd")
        generator = random.Random(4)
        for _ in range(100):
            region = []
            for size in out.header.shape:
                a, b = sorted(generator.choices(range(size), k=2))
                step = generator.choice((1, 2, -1))
                region.append(range(a, b + 1, step) if step > 0 else range(b, a - 1, step))
            index = tuple(slice(r.start, r.stop if r.stop >= 0 else None, r.step) for r in region)
            np.testing.assert_array_equal(out.read(tuple(region)), backend.array[index])


class TestReferees:
    @pytest.mark.parametrize("dtype", sorted(set(TYPES.values())))
    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
    @pytest.mark.parametrize("level", [None, 0])
    def test_pynrrd_reads_what_is_written(self, dtype: str, name: str, level: int | None, tmp_path: Path) -> None:
        reference = pytest.importorskip("nrrd")
        backend = image(dtype=dtype, metadata={"key": "value", "number": 3}, description="what it is")
        saved(backend, tmp_path / name, level=level)
        array, header = reference.read(str(tmp_path / name))
        np.testing.assert_array_equal(array, backend.array[0])
        assert (header["key"], header["number"], header["content"]) == ("value", "3", "what it is")
        columns = LPS[:3, :3] @ np.array(header["space directions"]).T
        np.testing.assert_array_equal(columns, backend.header.affine.numpy()[:3, :3])

    @pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ASCII"])
    @pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "float64"])
    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
    def test_what_pynrrd_writes(self, encoding: str, dtype: str, name: str, tmp_path: Path) -> None:
        reference = pytest.importorskip("nrrd")
        array = voxels((4, 3, 2), dtype)
        if encoding == "ASCII" and dtype == "int64":
            array = array >> 12  # pynrrd writes "%.17g"
        fields = {
            "encoding": encoding,
            "space": "RAS",
            "space directions": np.array([[1, 0.5, 0], [0, 2, 0], [0, 0.25, 3]]),
            "space origin": np.array([1.0, 2.0, 3.0]),
            "my key": "a value",
            "labels": ["x", "y y", "z"],
        }
        reference.write(str(tmp_path / name), array, fields)
        backend = open_backend(tmp_path / name)
        np.testing.assert_array_equal(everything(backend)[0], array)
        np.testing.assert_array_equal(
            backend.header.affine.numpy()[:3], [[1, 0, 0, 1], [0.5, 2, 0.25, 2], [0, 0, 3, 3]]
        )
        assert backend.header.metadata["my key"] == "a value"
        assert backend.header.metadata["NRRD_labels"] == '"x" "y y" "z"'

    @pytest.mark.parametrize("dtype", sorted(set(TYPES.values())))
    @pytest.mark.parametrize(
        ("channels", "axes", "components", "dimension"),
        [
            (1, (), 1, 3),
            (3, (("vector", 3),), 3, 3),
            (3, (("rgb", 3),), 3, 3),
            (2, (("channel", 2),), 2, 3),
            (2, (("time", 2),), 1, 4),
            (6, (("time", 2), ("vector", 3)), 3, 4),
        ],
    )
    def test_simpleitk_reads_what_is_written(
        self, dtype: str, channels: int, axes: tuple[Any, ...], components: int, dimension: int, tmp_path: Path
    ) -> None:
        sitk = pytest.importorskip("SimpleITK")
        backend = image(
            (channels, 5, 6, 4), dtype, axes=axes, time_spacing=2.5 if dimension == 4 else None, metadata={"k": "v"}
        )
        saved(backend, tmp_path / "a.nrrd")
        found = sitk.ReadImage(str(tmp_path / "a.nrrd"))
        assert (found.GetDimension(), found.GetNumberOfComponentsPerPixel()) == (dimension, components)
        array = sitk.GetArrayFromImage(found)
        array = array if components > 1 else array[..., None]
        array = array if dimension == 4 else array[None]
        times = 2 if dimension == 4 else 1
        expected = backend.array.reshape(
            (times, components, 5, 6, 4), order="F" if components > 1 and times > 1 else "C"
        )
        np.testing.assert_array_equal(array.transpose(0, 4, 3, 2, 1), expected)
        assert found.GetMetaData("k") == "v"
        np.testing.assert_allclose(found.GetSpacing()[:3], backend.header.spacing)
        np.testing.assert_allclose(found.GetOrigin()[:3], backend.header.affine.to_lps().numpy()[:3, 3])
        direction = np.array(found.GetDirection()).reshape(dimension, dimension)[:3, :3]
        np.testing.assert_allclose(direction, backend.header.affine.to_lps().direction, atol=1e-12)
        if dimension == 4:
            assert found.GetSpacing()[3] == 2.5

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
    @pytest.mark.parametrize("components", [1, 3])
    def test_what_simpleitk_writes(self, compressed: bool, name: str, components: int, tmp_path: Path) -> None:
        sitk = pytest.importorskip("SimpleITK")
        array = voxels((components, 5, 6, 4), "int16")
        made = sitk.GetImageFromArray(
            np.moveaxis(array.transpose(0, 3, 2, 1), 0, -1).squeeze(), isVector=components > 1
        )
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
        assert backend.header.axes == ((("vector", 3),) if components > 1 else ())
        assert save_backend(backend, str(tmp_path / "copy.nrrd")) == ()


HEADERS = (
    head(content="x", key="1").encode() + RAW,
    head(
        sizes="3 4 3 2",
        kinds="vector domain domain domain",
        space_directions="none (1,0,0) (0,1,0) (0,0,1)",
        encoding="gzip",
        old_min="1",
        labels='"a" "b" "c" "d"',
    ).encode()
    + gzip.compress(RAW * 3, mtime=0),
    head("uchar", **{**NO_SPACE, "spacings": "1 2 3", "axis_mins": "0 0 0", "centers": "cell node cell"}).encode()
    + RAW,
    (
        head(
            "double",
            "4 3 2 4",
            "ascii",
            None,
            space_directions="(1,0,0) (0,2,0) (0,0,3) none",
            kinds="domain domain domain list",
            measurement_frame="(1,0,0) (0,1,0) (0,0,1)",
        ).rstrip("\n")
        + "\n"
        + TestGradients.KEYS
        + SEGMENTS
        + 'medimg:={"history":[{}],"metadata":{"a":1},"grid":[[4,3,2],[]]}\n\n'
    ).encode()
    + b"1 2.5 nan " * 32,
    head(
        space="RAST",
        sizes="4 3 2 2",
        space_directions="(1,0,0,0) (0,1,0,0) (0,0,1,0) (0,0,0,2)",
        space_origin="(1,2,3,4)",
        space_units='"mm" "mm" "mm" "s"',
        encoding="hex",
        data_file="LIST 3",
    ).encode()
    + b"a.raw\n",
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(HEADERS).flatmap(mutations))
def test_damaged_headers_raise_nothing_but_our_own_errors(content: bytes) -> None:
    try:
        everything(open_backend(content, name="x.nrrd"))
    except MedImgError:
        pass


@needs_data
class TestRealFiles:
    @staticmethod
    def rows() -> list[dict[str, str]]:
        with (DATA / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["path"].lower().endswith((".nrrd", ".nhdr"))]

    def test_shapes_affines_and_voxels_of_the_manifest(self) -> None:
        sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
        import referee

        agreed = 0
        for row in self.rows():
            if not row["verdict"].startswith("AGREE"):
                continue
            backend = open_backend(DATA / row["path"])
            facts = referee.Facts(np.moveaxis(everything(backend), 0, -1), backend.header.affine.numpy())
            assert list(facts.array.shape[:3]) == (json.loads(row["shape"]) + [1, 1])[:3], row["path"]
            assert referee.affine_gap(facts, np.array(json.loads(row["affine_RAS"]))) < 1e-3, row["path"]
            assert referee.canonical_hash(facts) == row["sha256_canonical"], row["path"]
            agreed += 1
        assert agreed == 20

    def test_copies_of_real_files_say_the_same(self, tmp_path: Path) -> None:
        for number, row in enumerate(self.rows()):
            if "byteskip_minus_five" in row["path"]:
                continue
            source = open_backend(DATA / row["path"])
            assert save_backend(source, str(tmp_path / f"{number}.nrrd")) == (), row["path"]
            np.testing.assert_array_equal(everything(open_backend(tmp_path / f"{number}.nrrd")), everything(source))

    def test_a_byte_skip_that_the_definition_does_not_know(self) -> None:
        with pytest.raises(FormatError, match="byte skip -5"):
            open_backend(DATA / "mhe+pynrrd/nrrd/tests/data/BallBinary30x30x30_byteskip_minus_five.nhdr")

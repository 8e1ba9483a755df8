"""MRtrix images: against mrconvert and mrinfo where they are installed, and every trap by name."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError, UsageError
from medimg_cli.formats import mif, open_backend
from medimg_cli.formats.mif_text import value_lines
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Gradients, Header, differences
from tests.helpers import (
    AFFINES,
    DTYPES,
    KINDS,
    affine,
    contents,
    make,
    one_line,
    part,
    read,
    regions,
    torture,
    unlike,
    voxels,
)

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
MRTRIX = shutil.which("mrconvert") is not None and shutil.which("mrinfo") is not None
needs_mrtrix = pytest.mark.skipif(not MRTRIX, reason="MRtrix is not installed")
HELD = [d for d in DTYPES if d not in ("float16", "float128", "complex256")]


def run(*command: str) -> str:
    done = subprocess.run([*command, "-quiet"], check=True, capture_output=True, text=True)
    return done.stdout


def text(data: bytes = b"", *, end: bool = True, **entries: str | list[str]) -> bytes:
    """Return an image of 2 x 3 x 4 bytes, its entries changed; an empty one leaves the key out."""
    wanted: dict[str, Any] = {
        "dim": "2,3,4",
        "vox": "1,2,3",
        "layout": "+0,+1,+2",
        "datatype": "UInt8",
        "transform": ["1,0,0,-10", "0,1,0,20", "0,0,1,30"],
        **entries,
        "file": entries.get("file", ". 512"),
    }
    lines = ["mrtrix image"]
    for key, value in wanted.items():
        lines += [
            f"{key.replace('__', ' ')}: {each}" for each in ([value] if isinstance(value, str) else value) if each
        ]
    head = "\n".join(lines).encode() + (b"\nEND\n" if end else b"\n")
    return head.ljust(8192 if wanted["file"] == ". 8192" else 512, b"\0") + (data or bytes(range(24)))


def opened(**entries: Any) -> Header:
    return open_backend(text(**entries), name="x.mif").header


def saved(tmp_path: Path, image: Any, suffix: str = ".mif") -> Any:
    """Write an image, return it as it comes back; header as ``fit`` promised, voxels the same."""
    path = str(tmp_path / f"saved{suffix}")
    fitted = mif.fit(image.header, path)
    save_backend(image, path, force=True)
    found = open_backend(path)
    assert not differences(fitted, found.header)
    assert not differences(fitted, mif.fit(fitted, path))
    assert not differences(fitted, mif.fit(found.header, path))
    assert unlike(read(found), read(image)) is None
    return found


# round trips


@pytest.mark.parametrize("suffix", [".mif", ".mif.gz", ".mih"])
@pytest.mark.parametrize("dtype", HELD)
def test_every_dtype_comes_back(tmp_path: Path, dtype: str, suffix: str) -> None:
    found = saved(tmp_path, make("time", dtype), suffix)
    assert found.header.dtype == dtype and losses(make("time", dtype).header, "x.mif") == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".mif", ".mif.gz"])
def test_nothing_neutral_is_lost(tmp_path: Path, kind: str, suffix: str) -> None:
    image = make(kind)
    assert not differences(image.header, saved(tmp_path, image, suffix).header)


@pytest.mark.parametrize("place", AFFINES)
def test_geometry_is_exact(tmp_path: Path, place: str) -> None:
    image = make("plain")
    image.header = image.header.replace(affine=AFFINES[place])
    assert saved(tmp_path, image).header.affine.allclose(AFFINES[place], 1e-12)


def test_half_precision_is_widened(tmp_path: Path) -> None:
    assert saved(tmp_path, make("plain", "float16")).header.dtype == "float32"


@pytest.mark.parametrize("dtype", [d for d in ("float128", "complex256") if d in DTYPES])
def test_long_doubles_are_refused(dtype: str) -> None:
    with pytest.raises(UnsupportedError, match="choose one of"):
        mif.fit(make("plain", dtype).header, "x.mif")


def test_several_channel_axes(tmp_path: Path) -> None:
    header = Header(
        shape=(24, 3, 2, 2), dtype="int16", affine=affine(),
        axes=(("time", 2), ("channel", 3), ("vector", 4)), time_spacing=0.5,
    )  # fmt: skip
    found = saved(tmp_path, ArrayBackend(voxels(header.shape, "int16"), header))
    assert found.header.axes == header.axes and found.header.time_spacing == 0.5


def test_a_copy_keeps_keys_and_their_order(tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        "comments": ["first", "second"],
        "EchoTime": "0.030",
        "mrtrix_version": "3.0.3",
        "command_history": "mrconvert a b",
        "Zeta": "1",
        "Alpha": "2",
    }
    content = text(**keys, vox="1.0,2.00,3", dw_scheme=["0,0,0,0"])
    path = tmp_path / "a.mif"
    save_backend(open_backend(content, name="x.mif"), str(path))
    head = path.read_bytes().partition(b"\nfile:")[0].decode()
    assert head == content.partition(b"\nfile:")[0].decode()


def test_a_change_replaces_its_entry_alone(tmp_path: Path) -> None:
    backend = open_backend(text(comments=["a", "b"], EchoTime="0.030", Other="x", scaling="1,2"), name="x.mif")
    header = backend.header
    metadata = {**header.metadata, "EchoTime": "0.040", "New": "y"}
    del metadata["Other"]
    image = ArrayBackend(read(backend, raw=True), header.replace(metadata=metadata, slope=4.0, inter=0.0))
    native = saved(tmp_path, image).header.native
    assert native is not None
    keys = list(native.data)
    assert keys[5:] == ["comments", "EchoTime", "scaling", "New", "file"]
    assert native.data["EchoTime"] == ("0.040",) and native.data["scaling"] == ("0.0,4.0",)
    assert native.data["transform"] == ("1,0,0,-10", "0,1,0,20", "0,0,1,30")


def test_nothing_of_our_own_is_added(tmp_path: Path) -> None:
    saved(tmp_path, make("plain"))
    content = (tmp_path / "saved.mif").read_bytes()
    assert b"medimg" not in content and b"version" not in content and b"history" not in content


def test_the_same_image_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mif.gz", "b.mif.gz"):
        save_backend(make("described"), str(tmp_path / name))
    assert (tmp_path / "a.mif.gz").read_bytes() == (tmp_path / "b.mif.gz").read_bytes()


# layout


@pytest.mark.parametrize("signs", list(itertools.product("+-", repeat=3)))
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_strides_of_any_order_and_sign(order: tuple[int, ...], signs: tuple[str, ...]) -> None:
    array = voxels((2, 3, 4), "int16")
    ranked = sorted(range(3), key=order.__getitem__)  # axes, fastest first
    turned = array[tuple(slice(None, None, -1) if sign == "-" else slice(None) for sign in signs)]
    data = turned.transpose(ranked[::-1]).astype("<i2").tobytes()
    layout = ",".join(f"{sign}{rank}" for sign, rank in zip(signs, order, strict=True))
    backend = open_backend(text(data, layout=layout, datatype="Int16LE"), name="x.mif")
    assert unlike(read(backend)[0], array) is None
    for region in regions((1, 2, 3, 4), 5):
        assert unlike(backend.read(region), part(array[np.newaxis], region)) is None


def test_channels_may_be_the_fastest_axis() -> None:
    array = voxels((2, 3, 4, 5), "uint8")
    data = array.transpose(2, 1, 0, 3).tobytes()
    backend = open_backend(text(data, dim="2,3,4,5", vox="1,1,1,nan", layout="+1,+2,+3,+0"), name="x.mif")
    assert unlike(read(backend), np.moveaxis(array, 3, 0)) is None
    assert backend.header.axes == (("channel", 5),)


def test_negative_layout_of_a_bit_image(tmp_path: Path) -> None:
    """Bits are packed over the whole image, not row by row, and the first voxel is the highest bit."""
    array = voxels((2, 3, 5), "bool")
    data = np.packbits(array[::-1, :, ::-1].transpose(2, 1, 0).reshape(-1)).tobytes()
    assert len(data) == 4
    content = text(data, dim="2,3,5", layout="-0,+1,-2", datatype="Bit")
    backend = open_backend(content, name="x.mif")
    assert backend.header.dtype == "bool" and backend.header.warnings == ()
    assert unlike(read(backend)[0], array) is None
    for region in regions((1, 2, 3, 5), 20):
        assert unlike(backend.read(region), part(array[np.newaxis], region)) is None
    cut = open_backend(content[:-1], name="x.mif")
    assert any(note.startswith("truncated") for note in cut.header.warnings)
    with pytest.raises(TruncatedError):
        read(cut)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 640])
def test_bits_are_written_eight_a_byte(tmp_path: Path, size: int) -> None:
    array = voxels((1, size, 1, 1), "bool")
    image = ArrayBackend(array, Header(shape=(1, size, 1, 1), dtype="bool", affine=affine()))
    saved(tmp_path, image, ".mih")
    assert (tmp_path / "saved.dat").read_bytes() == np.packbits(array.reshape(-1)).tobytes()


@pytest.mark.parametrize(
    "layout",
    ["", "+0,+1", "+0,+1,+2,+3", "+0,+1,+1", "+0,+1,+3", "+0,+1,x", "+1,+2,+3", "+0,,+2", "+0 +1 +2"],
)
def test_a_layout_that_is_no_order_is_refused(layout: str) -> None:
    with pytest.raises(FormatError) as caught:
        opened(layout=layout)
    assert one_line(caught.value)


def test_axes_that_a_file_lacks_are_one_voxel_thick() -> None:
    header = opened(dim="6,4", vox="1,2", layout="+0,-1")
    assert header.shape == (1, 6, 4, 1) and header.ndim == 2 and header.spacing == (1, 2, 1)


# geometry


def test_transform_has_unit_axes_in_ras() -> None:
    header = opened(transform=["0,-1,0,5", "1,0,0,6", "0,0,1,7"], vox="2,3,4")
    assert header.affine.rows[:3] == ((0, -3, 0, 5), (2, 0, 0, 6), (0, 0, 4, 7))
    assert header.affine_source == "transform" and header.warnings == ()


def test_all_numbers_of_a_transform_may_stand_in_one_line() -> None:
    assert opened(transform="1,0,0,-10,0,1,0,20,0,0,1,30").affine == opened().affine


def test_without_a_transform_the_image_is_centred() -> None:
    header = opened(transform="")
    assert header.affine.apply((0.5, 1, 1.5)) == (0, 0, 0) and header.affine_source == "default"


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"transform": ["nan,0,0,0", "0,1,0,0", "0,0,1,0"]}, "not usable"),
        ({"transform": ["0,0,0,0", "0,1,0,0", "0,0,1,0"]}, "singular"),
        ({"transform": ["1,0,0,1e300", "0,1,0,0", "0,0,1,0"]}, "not usable"),
        ({"transform": ["2,0,0,0", "0,1,0,0", "0,0,1,0"]}, "length 1"),
        ({"transform": ["1,1,0,0", "0,0,0,0", "0,0,1,0"]}, "singular"),
        ({"vox": "nan,2,4"}, "voxel size"),
        ({"vox": "0,0,0"}, "voxel size"),
        ({"vox": "-1,2,3"}, "voxel size"),
        ({"scaling": "0,0"}, "no scaling"),
        ({"scaling": "nan,1"}, "no scaling"),
    ],
)
def test_degenerate_entries_are_replaced_with_a_warning(entries: dict[str, Any], word: str) -> None:
    header = opened(**entries)
    assert any(word in note for note in header.warnings)
    if word == "voxel size":
        assert header.spacing[0] in (3.0, 1.0, 2.5)
    if word == "not usable":
        assert header.affine == opened(transform="").affine


def test_a_singular_affine_is_kept(tmp_path: Path) -> None:
    header = make("plain").header.replace(affine=AffineMatrix([[0, 0, 0, 1], [0, 2, 0, 2], [0, 0, 3, 3]]))
    found = saved(tmp_path, ArrayBackend(voxels(header.shape, "int16"), header))
    assert found.header.affine == header.affine and any("singular" in note for note in found.header.warnings)


@needs_mrtrix
@pytest.mark.parametrize(
    "entries",
    [
        {"transform": ""},
        {"transform": ["2,0,0,0", "0,1,0,0", "0,0,1,0"]},
        {"vox": "nan,2,4"},
        {"transform": ["nan,0,0,0", "0,1,0,0", "0,0,1,0"]},
        {"vox": "1,2,3,4,5"},
        {"comments": "a # b"},
    ],
)
def test_mrtrix_takes_odd_headers_the_same_way(tmp_path: Path, entries: dict[str, Any]) -> None:
    path = tmp_path / "a.mif"
    path.write_bytes(text(**entries))
    header = open_backend(str(path)).header
    matrix = np.array([line.split() for line in run("mrinfo", "-transform", str(path)).splitlines()], float)
    spacing = np.array(run("mrinfo", "-spacing", str(path)).split(), float)[:3]
    matrix[:3, :3] *= spacing
    np.testing.assert_allclose(header.affine.numpy(), matrix, atol=1e-6)


# values


def test_scaling_is_offset_then_scale() -> None:
    backend = open_backend(text(scaling="-5,0.25"), name="x.mif")
    assert (backend.header.slope, backend.header.inter) == (0.25, -5.0)
    assert read(backend)[0, 1, 0, 0] == -5 + 0.25 * 1


@pytest.mark.parametrize(
    ("word", "dtype", "order"),
    [
        ("Int16", "int16", "little"),
        ("int16be", "int16", "big"),
        ("CFLOAT32LE", "complex64", "little"),
        ("CFloat64BE", "complex128", "big"),
        ("Float16LE", "float16", "little"),
        ("UInt64", "uint64", "little"),
        ("bit", "bool", "little"),
    ],
)
def test_names_of_datatypes(word: str, dtype: str, order: str) -> None:
    header = opened(datatype=word)
    assert (header.dtype, header.byte_order) == (dtype, order)


@pytest.mark.parametrize("word", ["", "Int24", "Int8LE", "BitLE", "undefined", "LE", "float", "object"])
def test_unknown_datatypes_are_refused(word: str) -> None:
    with pytest.raises(FormatError):
        opened(datatype=word)


# time and diffusion


@pytest.mark.parametrize(
    ("entries", "kind", "spacing"),
    [
        ({"vox": "1,1,1,2.5"}, "time", 2.5),
        ({"vox": "1,1,1,1"}, "channel", None),
        ({"vox": "1,1,1,1", "RepetitionTime": "1"}, "time", 1.0),
        ({"vox": "1,1,1,nan"}, "channel", None),
        ({"vox": "1,1,1,0"}, "channel", None),
        ({"vox": "1,1,1"}, "channel", None),
        ({"vox": "1,1,1,nan", "dw_scheme": ["0,0,0,0", "0,0,1,1000"]}, "time", None),
        ({"vox": "1,1,1,8.4", "dw_scheme": ["0,0,0,0", "0,0,1,1000"]}, "time", 8.4),
    ],
)
def test_what_the_fourth_axis_is(entries: dict[str, Any], kind: str, spacing: float | None) -> None:
    header = opened(dim="2,3,2,2", layout="+0,+1,+2,+3", **entries)
    assert header.axes == ((kind, 2),) and header.time_spacing == spacing


def test_gradients_turn_from_world_to_voxel_axes() -> None:
    """The frame is turned by 90 degrees about z, right-handed: FSL's first component is negated."""
    scheme = ["1,0,0,1000", "0,1,0,2000"]
    entries = {"dim": "2,3,2,2", "layout": "+0,+1,+2,+3", "dw_scheme": scheme}
    header = opened(**entries, transform=["0,-1,0,5", "1,0,0,6", "0,0,1,7"])
    assert header.gradients == Gradients((1000, 2000), ((0, -1, 0), (-1, 0, 0)))
    mirrored = opened(**entries, transform=["-1,0,0,5", "0,1,0,6", "0,0,1,7"])
    assert mirrored.gradients == Gradients((1000, 2000), ((-1, 0, 0), (0, 1, 0)))
    assert "dw_scheme" not in header.metadata


@pytest.mark.parametrize("scheme", [["0,0,1"] * 2, ["0,0,1,5"], ["0,0,1,5"] * 3, ["nan,0,0,5"] * 2, ["x,0,0,1"] * 2])
def test_a_gradient_table_that_is_none_is_a_warning_and_stays(tmp_path: Path, scheme: list[str]) -> None:
    content = text(dim="2,3,2,2", layout="+0,+1,+2,+3", dw_scheme=scheme)
    found = saved(tmp_path, open_backend(content, name="x.mif"))
    assert found.header.gradients is None and any("dw_scheme" in note for note in found.header.warnings)
    assert found.header.native.data["dw_scheme"] == tuple(scheme)


@needs_mrtrix
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, 1, -1)])
@pytest.mark.parametrize("angles", [(0, 0, 0), (11, -7, 23), (100, 40, -160), (-80, 170, 20)])
def test_gradients_of_oblique_grids_are_those_of_mrinfo(tmp_path: Path, angles: Any, flips: Any) -> None:
    image = make("diffusion")
    image.header = image.header.replace(affine=affine(angles, flips=flips))
    path, bvecs, bvals = (str(tmp_path / name) for name in ("a.mif", "a.bvec", "a.bval"))
    save_backend(image, path)
    run("mrinfo", path, "-export_grad_fsl", bvecs, bvals)
    gradients = image.header.gradients
    assert gradients is not None
    np.testing.assert_allclose(np.loadtxt(bvecs).T, gradients.bvecs, atol=1e-6)
    np.testing.assert_allclose(np.loadtxt(bvals), gradients.bvals)


@needs_mrtrix
@pytest.mark.parametrize("stride", ["1,2,3,4", "-1,-2,3,4", "4,3,-2,1", "2,-3,4,1"])
def test_gradients_written_by_mrconvert_are_those_of_the_nifti_file(tmp_path: Path, stride: str) -> None:
    image = make("diffusion")
    image.header = image.header.replace(affine=affine((100, 40, -160), flips=(-1, 1, 1)))
    nifti, path = str(tmp_path / "a.nii"), str(tmp_path / "a.mif")
    save_backend(image, nifti)
    run(
        "mrconvert",
        nifti,
        "-fslgrad",
        str(tmp_path / "a.bvec"),
        str(tmp_path / "a.bval"),
        path,
        "-stride",
        stride,
    )
    found = open_backend(path).header
    assert found.gradients is not None and image.header.gradients is not None
    world = [AffineMatrix.from_spacing(1, direction=h.affine.direction) for h in (found, image.header)]
    for one, other in zip(found.gradients.bvecs, image.header.gradients.bvecs, strict=True):
        turned = [
            frame.apply((vector[0] * (-1 if frame.determinant > 0 else 1), *vector[1:]))
            for frame, vector in zip(world, (one, other), strict=True)
        ]
        np.testing.assert_allclose(turned[0], turned[1], atol=1e-6)


# key-values


def test_repeated_keys_are_a_list_and_keys_keep_their_case() -> None:
    header = opened(comments=["one", "two: 2"], EchoTime="0.03", Key__With__Space="v")
    assert header.metadata == {"comments": ["one", "two: 2"], "EchoTime": "0.03", "Key With Space": "v"}


def test_comments_blank_lines_and_dos_newlines_mean_nothing() -> None:
    content = (
        text(comments="keep # not this").replace(b"\ndatatype", b"\n\n# nothing\ndatatype").replace(b"\n", b"\r\n", 4)
    )
    assert open_backend(content, name="x.mif").header.metadata == {"comments": "keep"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": 1, "b": 2.5, "c": True, "d": "text", "e": [1, 2.5, "x"], "f": ["one"]},
        {"with # hash": "v", "value": "a # b", "colon:key": "v", "": "x", "empty": "", "none": []},
        {"dim": "1,2", "Layout": "x", "END": "1", "file": "/etc/passwd", "medimg_header": "{}"},
        {
            "lines": "a\nb",
            "padded": "  a  ",
            "tab": "a\tb",
            "bell": "\x07",
            "unicode": "\u00df\u4e2d\U0001f9e0",
        },
        {"nested": {"a": [1, {"b": None}]}, "nan": "nan", "null": None, "big": 10**30, "tiny": 5e-324},
    ],
)
@pytest.mark.parametrize("suffix", [".mif", ".mif.gz"])
def test_typed_values_come_back(tmp_path: Path, metadata: dict[str, Any], suffix: str) -> None:
    image = make("plain")
    image.header = image.header.replace(metadata=metadata)
    found = saved(tmp_path, image, suffix).header.metadata
    assert dict(found) == metadata
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in metadata.items()}


def test_lines_of_values() -> None:
    assert value_lines("k", [1, True, "a\nb"]) == ("1", "true", "a", "b")
    assert value_lines("k", {"a": 1}) is None and value_lines("k", ["a#"]) is None and value_lines("k#", "a") is None


def test_what_others_changed_is_believed(tmp_path: Path) -> None:
    image = make("forms")
    image.header = image.header.replace(metadata={"EchoTime": 0.03, "Count": 3}, description="mine")
    path = tmp_path / "a.mif"
    save_backend(image, str(path))
    content = path.read_bytes()
    edited = open_backend(content.replace(b"EchoTime: 0.03\n", b"EchoTime: 0.04\n"), name="x.mif").header
    assert edited.metadata == {"EchoTime": "0.04", "Count": 3}
    moved = open_backend(content.replace(b",-37.5\n", b",-31.5\n"), name="x.mif").header
    assert moved.sform is None and moved.description == "mine" and any("another grid" in n for n in moved.warnings)
    assert open_backend(content, name="x.mif").header.sform == image.header.sform


@pytest.mark.parametrize(
    "facts",
    [
        "{", "[]", "null", "1e999", '{"axes": 5}', '{"axes": [["time", 7]]}', '{"labels": {"value": 1}}',
        '{"history": [1]}', '{"sform": [[1]], "grid": 3}', '{"sform_code": 1e400}', '{"intent": 5}',
        '{"gradients": {"bvals": [1]}}', '{"extensions": [["x", "y"]]}', '{"metadata": 3}',
        '{"time_spacing": "x"}',
        "[" * 5000, '{"intent_params": [NaN, "a"]}', '{"sform_code": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_facts_that_make_no_sense_are_a_warning(facts: str) -> None:
    header = opened(medimg_header=facts, file=". 8192")
    assert header.shape == (1, 2, 3, 4) and header.labels is None and header.history == ()


# files


@pytest.mark.parametrize("key", ["dim", "vox", "layout", "datatype", "file"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(FormatError, match=f"no '{key}' entry"):
        opened(**{key: ""})


@pytest.mark.parametrize(
    "entries",
    [
        {"dim": "0,3,4"},
        {"dim": "-2,3,4"},
        {"dim": "2,3,x"},
        {"dim": "2.0,3,4"},
        {"dim": ",".join(["1"] * 40)},
        {"dim": "999999999999999999,999999999999999999,4"},
        {"dim": "9" * 5000 + ",3,4"},
        {"vox": "1,2"},
        {"vox": "1_0,2,3"},
        {"transform": ["1,0,0"]},
        {"scaling": "1"},
        {"scaling": "a,b"},
        {"file": ". 20"},
        {"file": "."},
        {"file": [". 512", "b.dat"]},
        {"file": "/etc/passwd 0"},
        {"file": "../../etc/passwd"},
        {"file": "C:\\x 0"},
        {"file": ". " + "9" * 30},
    ],
)
def test_entries_that_make_no_sense_are_refused_in_one_line(entries: dict[str, Any]) -> None:
    with pytest.raises(MedImgError) as caught:
        opened(**entries)
    assert one_line(caught.value)


def test_a_header_without_end_is_refused_where_voxels_should_follow() -> None:
    with pytest.raises(FormatError, match="no END"):
        open_backend(text(end=False), name="x.mif")


def test_huge_sizes_open_with_a_warning_and_are_refused_when_read() -> None:
    backend = open_backend(text(dim="2000000,3000000,4000"), name="x.mif")
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


def test_text_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(FormatError, match="no END within"):
        open_backend(b"mrtrix image\n" + b"a: b\n" * (4 << 20), name="x.mif")


def test_a_long_header_is_read(tmp_path: Path) -> None:
    image = make("plain")
    image.header = image.header.replace(metadata={"comments": [f"line {n} of many" for n in range(20_000)]})
    assert saved(tmp_path, image).header.metadata == image.header.metadata


def test_a_header_without_end_may_name_another_file(tmp_path: Path) -> None:
    (tmp_path / "a.mih").write_bytes(text(end=False, file="a.dat")[:512].rstrip(b"\0"))
    (tmp_path / "a.dat").write_bytes(bytes(range(24)))
    backend = open_backend(str(tmp_path / "a.mih"))
    assert read(backend)[0, 1, 2, 3] == 23
    assert backend.header.file_bytes == sum(len(content) for content in contents(tmp_path).values())


@pytest.mark.parametrize("line", ["my data.dat 8", "my data.dat  8", "my data.dat"])
def test_names_may_hold_spaces_and_an_offset(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.mih").write_bytes(text(file=line))
    (tmp_path / "my data.dat").write_bytes(bytes(range(40)))
    assert read(open_backend(str(tmp_path / "a.mih")))[0, 0, 0, 0] == (8 if "8" in line else 0)


def test_a_missing_data_file_is_a_warning_until_voxels_are_needed(tmp_path: Path) -> None:
    (tmp_path / "a.mih").write_bytes(text(file="gone.dat"))
    backend = open_backend(str(tmp_path / "a.mih"))
    assert backend.header.shape == (1, 2, 3, 4) and any("gone.dat" in note for note in backend.header.warnings)
    with pytest.raises(MedImgError, match=r"gone\.dat"):
        read(backend)


@pytest.mark.parametrize("layout", ["+0,+1,+2", "-2,+0,-1", "+1,-2,+0"])
def test_several_files_follow_each_other(tmp_path: Path, layout: str) -> None:
    whole = open_backend(text(layout=layout), name="x.mif")
    (tmp_path / "a.mih").write_bytes(text(layout=layout, file=["a.dat 3", "b.dat", "c.dat 1"]))
    data = bytes(range(24))
    for name, start, front in (("a.dat", 0, 3), ("b.dat", 8, 0), ("c.dat", 16, 1)):
        (tmp_path / name).write_bytes(bytes(front) + data[start : start + 8])
    backend = open_backend(str(tmp_path / "a.mih"))
    assert unlike(read(backend), read(whole)) is None
    for region in regions((1, 2, 3, 4), 10):
        assert unlike(backend.read(region), part(read(whole), region)) is None
    (tmp_path / "b.dat").write_bytes(bytes(5))
    with pytest.raises(TruncatedError):
        read(open_backend(str(tmp_path / "a.mih")))


def test_detached_voxels_get_a_name_that_mrtrix_can_read(tmp_path: Path) -> None:
    image = make("plain")
    path = tmp_path / "my #1 scan.mih"
    save_backend(image, str(path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my #1 scan.mih", "my__1_scan.dat"]
    assert unlike(read(open_backend(str(path))), read(image)) is None
    with pytest.raises(UsageError, match=r"\.mif\.gz"):
        mif.fit(image.header, "x.mih.gz")


def test_a_header_is_read_without_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.mif"
    save_backend(make("described"), str(path))
    code = (
        "import sys; from medimg_cli.formats import read_header; read_header(sys.argv[1]); "
        "sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])


# MRtrix as the referee


@needs_mrtrix
@pytest.mark.parametrize("suffix", [".mif", ".mif.gz", ".mih"])
@pytest.mark.parametrize("dtype", HELD)
def test_mrconvert_reads_what_is_written(tmp_path: Path, dtype: str, suffix: str) -> None:
    image = make("channels", dtype)
    image.header = image.header.replace(metadata={"comments": ["a", "b"], "n": 1}, description="d" * 3000)
    path, out = str(tmp_path / f"a{suffix}"), str(tmp_path / "b.mif")
    save_backend(image, path)
    run("mrconvert", path, out)
    found = open_backend(out)
    assert found.header.dtype == dtype
    np.testing.assert_array_equal(read(found), read(image))  # mrconvert drops the sign of zeros
    assert found.header.affine.mm_shift(image.header.affine, image.header.shape[1:]) < 1e-6
    assert found.header.description == image.header.description
    assert found.header.metadata["comments"] == ["a", "b"] and found.header.metadata["n"] == 1


@needs_mrtrix
@pytest.mark.parametrize("stride", ["1,2,3,4", "-1,2,-3,4", "2,3,4,1", "-4,3,1,-2"])
@pytest.mark.parametrize("dtype", ["bit", "int16be", "uint32le", "float64be", "cfloat32"])
def test_what_mrconvert_writes_is_read(tmp_path: Path, dtype: str, stride: str) -> None:
    image = make("channels", "bool" if dtype == "bit" else "uint8")
    image.header = image.header.replace(affine=affine((0, 0, 0)))
    source, path = str(tmp_path / "a.mif"), str(tmp_path / "b.mif")
    save_backend(image, source)
    run("mrconvert", source, path, "-datatype", dtype, "-stride", stride)
    found = open_backend(path)
    np.testing.assert_array_equal(read(found), read(image).astype(found.header.dtype))
    assert found.header.affine.mm_shift(image.header.affine, image.header.shape[1:]) < 1e-6


# hostile input


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_only_our_errors_escape(data: st.DataObject) -> None:
    facts = json.dumps({"axes": [["time", 2]], "history": [{}], "labels": [{"value": 1}]})
    content = bytearray(
        text(dim="2,3,2,2", layout="+0,+1,+2,+3", dw_scheme=["0,0,1,5"] * 2, comments="x", medimg_header=facts)
    )
    words = st.one_of(
        st.binary(min_size=1, max_size=4),
        st.sampled_from(
            [b"-", b",", b"9" * 9, b"nan", b"inf", b"\n", b"END\n", b": ", b"1e999", b"Bit", b"#", b"[", b'"']
        ),
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, 400))
        word = data.draw(words)
        content[place : place + len(word)] = word
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(1, len(content))))]
    try:
        backend = open_backend(bytes(content), name="x.mif", format="mif")
        mif.fit(backend.header, "y.mif")
        if backend.header.data_bytes < 1 << 20:
            read(backend)
    except MedImgError as error:
        assert one_line(error)


def test_cut_and_changed_files(tmp_path: Path) -> None:
    for n, suffix in enumerate((".mif", ".mif.gz", ".mih")):
        folder = tmp_path / str(n)
        folder.mkdir()
        path = folder / f"a{suffix}"
        save_backend(make("diffusion"), str(path))
        assert torture(str(path), 60) == []


# real files


@pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")
@pytest.mark.parametrize("name", ["trix/mask_1bit.mif", "template.mif.gz"])
def test_copies_of_real_files_keep_everything(tmp_path: Path, name: str) -> None:
    source = DATA / "niivue+niivue/packages/niivue/demos/images" / name
    backend = open_backend(str(source))
    path = tmp_path / Path(name).name
    assert save_backend(backend, str(path), strict=True) == ()
    found = open_backend(str(path))
    assert unlike(read(found), read(backend)) is None
    content = path.read_bytes()
    head = (gzip.decompress(content) if name.endswith("gz") else content).partition(b"\nEND\n")[0]
    assert found.header.native is not None and backend.header.native is not None
    mine, theirs = dict(found.header.native.data), dict(backend.header.native.data)
    for entries in (mine, theirs):
        del entries["layout"], entries["file"]
    assert mine == theirs and list(mine) == list(theirs) and b"medimg" not in head

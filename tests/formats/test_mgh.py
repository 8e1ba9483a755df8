"""MGH and MGZ: against nibabel, against bytes written by hand, and what stands behind the voxels."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, view
from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import mgh, open_backend
from medimg_cli.formats.mgh_tail import parse_tail, single
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Header, differences
from medimg_cli.labels import LabelTable
from tests.helpers import AFFINES, LABELS, make, one_line, read, torture, unlike, voxels

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
DTYPES = ("uint8", "int16", "uint16", "int32", "float32")


def head(
    sizes: tuple[int, ...] = (3, 4, 5, 1),
    code: int = 0,
    flag: int = 1,
    geometry: Any = None,
    version: int = 1,
) -> bytes:
    """Return a raw header."""
    numbers = geometry or (1.0, 2.0, 3.0, -1.0, 0, 0, 0, 0, -1.0, 0, 1.0, 0, 10.0, 20.0, 30.0)
    return struct.pack(">7ih15f", version, *sizes, code, 0, flag, *numbers).ljust(284, b"\0")


def tag(number: int, content: bytes) -> bytes:
    return struct.pack(">iq", number, len(content)) + content


def colors(rows: list[tuple[int, str, tuple[int, int, int, int]]], version: int = 2) -> bytes:
    """Return a colour table tag, its fourth number transparency."""
    name = b"lut.txt\0"
    out = struct.pack(">i", 1)
    out += struct.pack(">ii", -2, 100) if version == 2 else struct.pack(">i", len(rows))
    out += struct.pack(">i", len(name)) + name
    if version == 2:
        out += struct.pack(">i", len(rows))
    for value, label, color in rows:
        text = label.encode() + b"\0"
        out += struct.pack(">i", value) if version == 2 else b""
        out += struct.pack(">i", len(text)) + text + struct.pack(">4i", *color)
    return out


def file(tail: bytes = b"", **fields: Any) -> bytes:
    raw = head(**fields)
    sizes = struct.unpack_from(">4i", raw, 4)
    size = {0: 1, 1: 4, 3: 4, 4: 2, 10: 2, 6: 4}.get(fields.get("code", 0), 1)
    return raw + bytes(range(256)) * 0 + b"\1" * (int(np.prod(sizes)) * size) + tail


def opened(content: bytes, name: str = "x.mgh") -> Header:
    return open_backend(content, name=name).header


def saved(tmp_path: Path, header: Header, suffix: str = ".mgh") -> Header:
    """Write a header with voxels of its dtype, return what comes back; nothing may differ from ``fit``."""
    path = str(tmp_path / f"saved{suffix}")
    array = voxels(header.shape, header.dtype)
    fitted = mgh.fit(header, path)
    save_backend(ArrayBackend(array, header), path, force=True)
    found = open_backend(path)
    assert not differences(fitted, found.header)
    assert not differences(fitted, mgh.fit(fitted, path))
    assert unlike(read(found), array.astype(found.header.dtype)) is None
    return found.header


# voxels and geometry against nibabel


@pytest.mark.parametrize("suffix", [".mgh", ".mgz", ".mgh.gz"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_nibabel_reads_what_is_written(tmp_path: Path, dtype: str, suffix: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = make("time", dtype)
    path = str(tmp_path / f"a{suffix}")
    save_backend(image, path)
    reader = nibabel.MGHImage.from_filename if suffix != ".mgh.gz" else None
    found = reader(path) if reader else nibabel.MGHImage.from_bytes(gzip.decompress(Path(path).read_bytes()))
    array = np.moveaxis(np.asanyarray(found.dataobj), 3, 0)
    assert unlike(array.astype(array.dtype.newbyteorder("=")), read(image)) is None
    np.testing.assert_allclose(found.affine, image.header.affine.numpy(), atol=1e-4)
    assert found.header["tr"] == 2500


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", AFFINES)
def test_what_nibabel_writes_is_read(tmp_path: Path, dtype: str, place: str) -> None:
    nibabel = pytest.importorskip("nibabel")
    array = voxels((5, 4, 3), dtype)
    path = str(tmp_path / "a.mgz")
    nibabel.MGHImage(array, AFFINES[place].numpy()).to_filename(path)
    found = open_backend(path)
    assert unlike(read(found)[0], array) is None
    assert found.header.affine.mm_shift(AFFINES[place], (5, 4, 3)) < 1e-3
    assert found.header.warnings == ()


@pytest.mark.parametrize("place", AFFINES)
def test_geometry_survives_in_single_precision(tmp_path: Path, place: str) -> None:
    image = make("plain").header.replace(affine=AFFINES[place])
    assert not differences(image, saved(tmp_path, image))


def test_centre_is_at_half_the_size_and_odd_sizes_have_halves() -> None:
    header = opened(file(sizes=(3, 4, 5, 1)))
    assert header.affine.apply((1.5, 2.0, 2.5)) == (10.0, 20.0, 30.0)
    assert header.orientation == ("L", "I", "A")


def test_shear_and_columns_of_any_length_are_kept() -> None:
    geometry = (1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 2.0, 3.0, 1.0, 3.0, 1.0, 2.0, 0, 0, 0)
    rows = opened(file(geometry=geometry)).affine.rows
    assert [row[:3] for row in rows[:3]] == [(1, 2, 3), (2, 3, 1), (3, 1, 2)]


def test_without_geometry_the_default_is_that_of_freesurfer() -> None:
    """Coronal slices: LIA, centred. nibabel and MRtrix fill the matrix in by rows and get LSP."""
    header = opened(file(flag=0))
    assert header.orientation == ("L", "I", "A") and header.spacing == (1, 1, 1)
    assert header.affine.apply((1.5, 2.0, 2.5)) == (0.0, 0.0, 0.0)
    assert header.affine_source == "default" and any("unknown" in note for note in header.warnings)


def test_geometry_that_is_not_finite_is_replaced_with_a_warning() -> None:
    geometry = (1.0, float("nan"), 3.0, -1.0, 0, 0, 0, 0, -1.0, 0, 1.0, 0, float("inf"), 20.0, 30.0)
    header = opened(file(geometry=geometry))
    assert header.affine == opened(file(flag=0)).affine
    assert any("not finite" in note for note in header.warnings)


def test_a_singular_affine_is_kept_with_a_warning(tmp_path: Path) -> None:
    """Files of surface data state voxels without volume; two trusted readers return the matrix as it is."""
    geometry = (-2.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -2.0, 0, -2.0)
    header = opened(file(geometry=geometry))
    assert header.affine.is_singular and any("singular" in note for note in header.warnings)
    assert not differences(header, saved(tmp_path, header))
    other = header.replace(native=None)
    assert not differences(header, saved(tmp_path, other))


def test_changed_geometry_of_a_file_without_one_is_written(tmp_path: Path) -> None:
    header = opened(file(flag=0)).replace(affine=AFFINES["oblique"])
    assert saved(tmp_path, header).affine.mm_shift(AFFINES["oblique"], (3, 4, 5)) < 1e-3


# types


@pytest.mark.parametrize(("dtype", "wider"), [("bool", "uint8"), ("int8", "int16"), ("float16", "float32")])
def test_narrow_types_are_widened(tmp_path: Path, dtype: str, wider: str) -> None:
    header = make("plain", dtype).header
    found = saved(tmp_path, header)
    assert found.dtype == wider
    assert [d.field for d in losses(header, "x.mgh")] == ["dtype"]


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64", "float64", "complex64"])
def test_wide_types_are_refused_and_never_rounded(dtype: str) -> None:
    with pytest.raises(UnsupportedError, match=r"choose one of float32, int16"):
        mgh.fit(make("plain", dtype).header, "x.mgh")


def test_scaled_values_are_written_as_values(tmp_path: Path) -> None:
    image = make("scaled", "int16")
    path = str(tmp_path / "a.mgz")
    save_backend(image, path)
    found = open_backend(path)
    assert found.header.dtype == "float32" and found.header.slope is None
    assert unlike(read(found), read(image)) is None


def test_a_tensor_has_nine_frames() -> None:
    raw = head(sizes=(2, 2, 2, 1), code=6) + bytes(9 * 8 * 4)
    header = opened(raw)
    assert header.shape == (9, 2, 2, 2) and header.dtype == "float32"


def test_a_tensor_that_is_written_has_a_plain_type(tmp_path: Path) -> None:
    header = opened(head(sizes=(2, 2, 2, 1), code=6) + bytes(9 * 8 * 4))
    assert saved(tmp_path, header.replace(shape=(4, 2, 2, 2), axes=(("channel", 4),))).shape == (4, 2, 2, 2)
    assert saved(tmp_path, header).shape == (9, 2, 2, 2)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"version": 9}, FormatError),
        ({"version": 0}, FormatError),
        ({"version": -255}, FormatError),
        ({"sizes": (0, 4, 5, 1)}, FormatError),
        ({"sizes": (3, -4, 5, 1)}, FormatError),
        ({"sizes": (3, 4, 5, 0)}, FormatError),
        ({"sizes": (2**31 - 1, 2**31 - 1, 2**31 - 1, 1)}, FormatError),
        ({"code": 99}, FormatError),
        ({"code": -1}, FormatError),
        ({"code": 7}, UnsupportedError),
        ({"code": 9}, UnsupportedError),
    ],
)
def test_impossible_headers_are_refused_in_one_line(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        opened(head(**fields) + bytes(60))
    assert one_line(caught.value)


def test_an_intent_above_the_version_is_accepted_and_kept(tmp_path: Path) -> None:
    content = file(version=0x201)
    header = opened(content)
    assert header.shape == (1, 3, 4, 5)
    save_backend(open_backend(content, name="x.mgh"), str(tmp_path / "a.mgh"))
    assert (tmp_path / "a.mgh").read_bytes() == content


def test_huge_sizes_open_with_a_warning_and_are_refused_when_read() -> None:
    backend = open_backend(head(sizes=(2**31 - 1, 4, 5, 1)) + bytes(60), name="x.mgh")
    assert any(note.startswith("truncated") for note in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


# the tail

TAIL = struct.pack(">5f", 2300.0, 0.157, 2.98, 900.0, 256.0)
TAGS = tag(31, b"/mri/talairach.xfm\0") + tag(41, b"UNKNOWN") + tag(43, struct.pack(">f", 3.0))
COMMANDS = tag(3, b"mri_convert a b\0") + tag(3, b"mri_normalize b c\0")


def test_sequence_of_one_frame_is_key_values() -> None:
    header = opened(file(TAIL + TAGS + COMMANDS))
    assert header.time_spacing is None and header.axes == ()
    assert header.metadata == {
        "repetition_time_ms": 2300.0,
        "flip_angle_rad": single(0.157),
        "echo_time_ms": single(2.98),
        "inversion_time_ms": 900.0,
        "field_strength_t": 3.0,
        "command_history": ["mri_convert a b", "mri_normalize b c"],
    }


def test_repetition_time_is_a_spacing_only_of_several_frames() -> None:
    header = opened(file(TAIL, sizes=(3, 4, 5, 2)))
    assert header.axes == (("time", 2),) and header.time_spacing == 2.3
    assert "repetition_time_ms" not in header.metadata
    plain = opened(file(struct.pack(">5f", 0, 0, 0, 0, 0), sizes=(3, 4, 5, 2)))
    assert plain.axes == (("channel", 2),) and plain.time_spacing is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0])
def test_a_repetition_time_that_makes_no_sense_is_none(tmp_path: Path, value: float) -> None:
    content = file(struct.pack(">5f", value, 0, 0, 0, 0), sizes=(3, 4, 5, 2))
    header = opened(content)
    assert header.axes == (("channel", 2),) and not header.metadata
    save_backend(open_backend(content, name="x.mgh"), str(tmp_path / "a.mgh"))
    assert (tmp_path / "a.mgh").read_bytes() == content


@pytest.mark.parametrize("length", range(0, 24, 3))
def test_short_tails_are_read_as_far_as_they_go_and_kept(tmp_path: Path, length: int) -> None:
    content = file(TAIL[:length])
    header = opened(content)
    assert len(header.metadata) == min(length // 4, 4)
    path = tmp_path / "a.mgh"
    save_backend(open_backend(content, name="x.mgh"), str(path))
    assert path.read_bytes()[: len(content) // 4 * 4] == content[: len(content) // 4 * 4]


def test_a_copy_keeps_every_byte_of_header_and_tail(tmp_path: Path) -> None:
    rest = struct.pack(">i", 20) + b"a tag without a length"
    table = colors([(0, "Unknown", (0, 0, 0, 0)), (17, "Left-Hippocampus", (220, 216, 20, 0))])
    content = file(TAIL + TAGS + table + COMMANDS + rest)
    path = tmp_path / "a.mgz"
    save_backend(open_backend(content, name="x.mgh"), str(path))
    assert gzip.decompress(path.read_bytes()) == content


def test_label_table_is_read_with_its_transparency(tmp_path: Path) -> None:
    table = colors([(0, "Unknown", (0, 0, 0, 0)), (17, "Left-Hippocampus", (220, 216, 20, 55))])
    header = opened(file(TAIL + table + COMMANDS))
    assert header.labels == LabelTable([(0, "Unknown", (0, 0, 0, 255)), (17, "Left-Hippocampus", (220, 216, 20, 200))])
    assert header.intent == "label"
    assert header.metadata["command_history"] == ["mri_convert a b", "mri_normalize b c"]
    old = opened(file(TAIL + colors([(0, "a", (1, 2, 3, 0)), (1, "b", (4, 5, 6, 0))], version=1) + COMMANDS))
    assert old.labels == LabelTable([(0, "a", (1, 2, 3, 255)), (1, "b", (4, 5, 6, 255))])
    assert old.metadata["command_history"]


def test_label_table_is_written_and_replaced(tmp_path: Path) -> None:
    header = make("labels").header
    assert saved(tmp_path, header, ".mgz").labels == LABELS
    content = file(TAIL + TAGS + colors([(3, "old", (1, 1, 1, 0))]) + COMMANDS)
    changed = opened(content).replace(labels=LabelTable([(5, "new thing")]))
    found = saved(tmp_path, changed)
    assert found.labels is not None and found.labels.name_of(5) == "new thing" and 3 not in found.labels
    assert found.metadata == changed.metadata
    assert saved(tmp_path, changed.replace(labels=None)).labels is None


@pytest.mark.parametrize(
    "table",
    [
        struct.pack(">iii", 1, -2, 5),
        struct.pack(">iiii", 1, -2, 5, 2**31 - 1),
        struct.pack(">iiii", 1, -2, 5, -4),
        struct.pack(">iiiii", 1, -2, 5, 0, 2**31 - 1),
        struct.pack(">iiii", 1, 2**31 - 1, 0, 0),
        struct.pack(">iii", 1, -7, 5),
        colors([(1, "a", (300, 0, 0, 0))]),
        colors([(1, "a", (0, 0, 0, 0)), (1, "b", (0, 0, 0, 0))]),
        colors([(-4, "a", (0, 0, 0, 0))]),
    ],
)
def test_a_damaged_label_table_is_a_warning_and_stays(tmp_path: Path, table: bytes) -> None:
    content = file(TAIL + TAGS + table)
    backend = open_backend(content, name="x.mgh")
    assert backend.header.labels is None
    assert any("colour table" in note for note in backend.header.warnings)
    save_backend(backend, str(tmp_path / "a.mgh"))
    assert (tmp_path / "a.mgh").read_bytes() == content


def test_what_changed_is_written_and_the_rest_of_the_tail_stays(tmp_path: Path) -> None:
    header = opened(file(TAIL + TAGS + COMMANDS))
    metadata = {**header.metadata, "echo_time_ms": 5.0, "command_history": "one"}
    del metadata["field_strength_t"]
    found = saved(tmp_path, header.replace(metadata=metadata))
    assert found.metadata == metadata
    assert found.native is not None
    numbers = [t.number for t in parse_tail(found.native.data[1]).tags]
    assert numbers == [31, 41, 3]


def test_facts_of_single_frames_go_when_frames_go(tmp_path: Path) -> None:
    content = file(TAIL + tag(42, b"f" * 100) + TAGS, sizes=(3, 4, 5, 3))
    backend = open_backend(content, name="x.mgh")
    axes = tuple((n, range(size)) for n, size in enumerate(backend.header.shape[1:]))
    part = view(backend, range(2), axes, backend.header.with_channels(range(2)))
    path = str(tmp_path / "a.mgh")
    save_backend(part, path)
    native = open_backend(path).header.native
    assert native is not None and [t.number for t in parse_tail(native.data[1]).tags] == [31, 41, 43]


@pytest.mark.parametrize("length", [-1, 2**62, 2**31])
def test_a_tag_longer_than_the_file_ends_the_list(length: int) -> None:
    header = opened(file(TAIL + struct.pack(">iq", 3, length) + b"abc"))
    assert any("longer than the file" in note for note in header.warnings)


def test_a_tail_behind_damaged_compression_is_a_warning() -> None:
    content = gzip.compress(file(TAIL + COMMANDS, sizes=(30, 40, 50, 1)))
    header = opened(content[:-5] + b"\0" + content[-4:], "x.mgz")
    assert header.shape == (1, 30, 40, 50) and not header.metadata
    assert any("behind the voxels" in note for note in header.warnings)


def test_a_long_tail_casts_no_doubt_on_the_length() -> None:
    """FreeSurfer's whole colour table is longer than what formats else keep behind the voxels."""
    content = gzip.compress(file(TAIL + tag(3, b"x" * 90_000)))
    assert opened(content, "x.mgz").warnings == ()


def test_axes_that_are_no_frames_become_channels(tmp_path: Path) -> None:
    header = make("time-rgb").header
    found = saved(tmp_path, header)
    assert found.shape == header.shape and found.axes == (("channel", 6),) and found.time_spacing is None
    assert {d.field for d in losses(header, "x.mgz")} == {"axes", "time_spacing"}


def test_too_many_voxels_for_32_bits_are_refused() -> None:
    header = Header(shape=(1, 2**31, 1, 1), dtype="uint8", affine=AffineMatrix())
    with pytest.raises(FormatError, match="32 bits"):
        mgh.fit(header, "x.mgh")


def test_the_same_image_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mgz", "b.mgz"):
        save_backend(make("labels"), str(tmp_path / name))
    assert (tmp_path / "a.mgz").read_bytes() == (tmp_path / "b.mgz").read_bytes()


def test_fields_have_the_names_of_the_format() -> None:
    header = opened(file(TAIL + COMMANDS))
    assert header.native is not None
    fields = mgh.native_fields(header.native.data)
    assert fields["width"] == 3 and fields["goodRASFlag"] == 1 and fields["tr"] == 2300 and "tag 3" in fields


def test_a_header_is_read_without_numpy(tmp_path: Path) -> None:
    path = tmp_path / "a.mgz"
    save_backend(make("labels"), str(path))
    code = (
        "import sys; from medimg_cli.formats import read_header; read_header(sys.argv[1]); "
        "sys.exit('numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])


# hostile input


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_only_our_errors_escape(data: st.DataObject) -> None:
    content = bytearray(file(TAIL + TAGS + colors([(1, "a", (1, 2, 3, 0))]) + COMMANDS))
    for _ in range(data.draw(st.integers(1, 4))):
        spots = st.one_of(st.integers(0, 100), st.integers(len(content) - 200, len(content) - 1))
        place = data.draw(spots)
        word = data.draw(st.binary(min_size=1, max_size=4))
        content[place : place + len(word)] = word
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(1, len(content))))]
    try:
        backend = open_backend(bytes(content), name="x.mgh", format="mgh")
        if backend.header.data_bytes < 1 << 20:
            read(backend)
        mgh.fit(backend.header, "y.mgh")
    except MedImgError as error:
        assert one_line(error)


def test_cut_and_changed_files(tmp_path: Path) -> None:
    for n, suffix in enumerate((".mgh", ".mgz")):
        folder = tmp_path / str(n)
        folder.mkdir()
        path = folder / f"a{suffix}"
        save_backend(make("time"), str(path))
        assert torture(str(path), 60) == []


# real files


@pytest.mark.skipif(not DATA.exists(), reason="no real files: set MEDIMG_TEST_DATA")
@pytest.mark.parametrize(
    "name", ["aparc.a2009s+aseg.mgz", "lh.Yeo2011.mgz", "wm.mgz", "fs/wm.mgz", "fs/brainmask.mgz", "test.mgz"]
)
def test_copies_of_real_files_keep_header_and_tail(tmp_path: Path, name: str) -> None:
    folders = (DATA / "niivue+niivue/packages/niivue/demos/images", DATA / "nipy+nibabel/nibabel/tests/data")
    source = next((folder / name for folder in folders if (folder / name).exists()), None)
    if source is None:
        pytest.skip(f"{name} is not there")
    backend = open_backend(str(source))
    path = tmp_path / "copy.mgz"
    assert save_backend(backend, str(path), strict=True) == ()
    assert gzip.decompress(path.read_bytes()) == gzip.decompress(source.read_bytes())

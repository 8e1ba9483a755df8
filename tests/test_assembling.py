"""Merging and splitting: the core, on images in memory and files of many formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medimg_cli.storage.encoded as encoded
from medimg_cli.affine import AffineMatrix
from medimg_cli.assembling import Merging, Splitting, first_part, merge, merged, part_names, parts, split
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.batch import Task
from medimg_cli.errors import GeometryError, StorageError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Gradients, Header, differences
from medimg_cli.labels import LabelTable
from medimg_cli.storage.stored import whole
from tests.helpers import AFFINES, KINDS, Array, laid_out, layouts, make, read, unlike, voxels

LETTERS = "RLAPSI"


def image(shape: tuple[int, int, int, int] = (1, 5, 4, 3), dtype: str = "int16", seed: int = 0, **more: Any) -> Any:
    header = Header(shape=shape, dtype=dtype, **{"affine": AFFINES["left-handed"], **more})
    return ArrayBackend(voxels(shape, dtype, seed), header)


def moved(backend: Any, *voxel: float) -> ArrayBackend:
    """Return an image that lies some voxels of its own away."""
    place = backend.header.affine @ AffineMatrix.from_spacing(1, origin=voxel)
    return ArrayBackend(backend.array, backend.header.replace(affine=place))


def names(count: int) -> list[str]:
    return [f"{chr(97 + n)}.nii" for n in range(count)]


def put(*backends: Any, **wanted: Any) -> Any:
    return merged(backends, names(len(backends)), Merging(**wanted))


# -- there and back again


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_put_together_are_the_image(kind: str, every: int) -> None:
    before = make(kind)
    axes = [a for a, _ in before.header.axes]
    for axis in (*LETTERS, *(["time"] if "time" in axes else ["channel"] if before.header.channels > 1 else [])):
        found = parts(before, Splitting(axis=axis, every=every))
        after = put(*found, axis=axis).backend
        assert unlike(read(after, raw=True), read(before, raw=True)) is None, axis
        told = {d.field: str(d) for d in differences(before.header, after.header)}
        told.pop("history", None)
        if axis == "channel" and kind in ("rgb", "rgba", "flat-rgb", "vector"):  # colours apart are channels
            told.pop("axes")
        assert not told, axis


@st.composite
def images(draw: Any) -> Any:
    c, i, j, k = (draw(st.integers(1, 6)) for _ in range(4))
    dtype = draw(st.sampled_from(["int16", "uint8", "float32", "int64", "bool", "complex64"]))
    kind = draw(st.sampled_from(["time", "channel"]))
    more: dict[str, Any] = {"affine": AFFINES[draw(st.sampled_from(sorted(AFFINES)))]}
    if kind == "time" or c > 1:
        more["axes"] = ((kind, c),)
    if kind == "time":
        more |= {"time_spacing": draw(st.sampled_from([0.5, 2.25])), "time_units": "s"}
    if dtype in ("int16", "uint8") and draw(st.booleans()):
        more |= {"slope": 0.25, "inter": draw(st.sampled_from([None, -3.0]))}
    if kind == "channel" and c > 1 and draw(st.booleans()):
        more["gradients"] = Gradients(tuple(float(n) for n in range(c)), tuple((0.0, 0.6, 0.8) for _ in range(c)))
    return image((c, i, j, k), dtype, draw(st.integers(0, 99)), **more)


@settings(max_examples=60, deadline=None)
@given(before=images(), axis=st.sampled_from([None, *LETTERS]), every=st.integers(1, 7), chance=st.randoms())
def test_any_image_comes_back_bit_for_bit(before: Any, axis: str | None, every: int, chance: Any) -> None:
    if axis is None and before.header.channels == 1:
        return
    found = parts(before, Splitting(axis=axis, every=every))
    if axis is not None:
        chance.shuffle(found)
    after = put(*found, axis=axis).backend
    assert unlike(read(after, raw=True), read(before, raw=True)) is None
    wrong = [d for d in differences(before.header, after.header, tolerance=1e-9) if d.field != "history"]
    assert not wrong
    for layout in layouts(after.header):
        blocks = b"".join(map(bytes, after.blocks(layout, max_bytes=50)))
        assert blocks == laid_out(read(before, raw=True), layout)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mgz", ".nrrd", ".nhdr", ".mha", ".mif.gz"])
@pytest.mark.parametrize(
    ("kind", "axis"), [("time", "time"), ("diffusion", "channel"), ("scaled-time", "time"), ("forms", "S")]
)
def test_files_there_and_back(suffix: str, kind: str, axis: str, tmp_path: Path) -> None:
    source, out = str(tmp_path / f"image{suffix}"), str(tmp_path / f"again{suffix}")
    save_backend(make(kind), source)
    report = split(Task(source, str(tmp_path / f"part{suffix}")), Splitting(axis=axis), threads=1)
    tr = open_backend(source).header.time_spacing
    order = report.outputs[::-1] if axis == "S" else report.outputs
    merge(Task(order[0], out, others=tuple(order[1:])), Merging(axis=axis, tr=tr), threads=1)
    a, b = open_backend(source), open_backend(out)
    assert unlike(read(b, raw=True), read(a, raw=True)) is None
    assert not [str(d) for d in differences(a.header, b.header) if d.field != "history"]


# -- along channels and time


def test_channels_follow_each_other() -> None:
    one, two = image(seed=1), image((2, 5, 4, 3), seed=2)
    found = put(one, two)
    assert found.backend.header.axes == (("channel", 3),)
    assert np.array_equal(read(found.backend), np.concatenate([one.array, two.array]))
    assert found.remarks == found.warnings == ()


def test_colours_stay_together() -> None:
    one, two = make("rgb", seed=1), make("time-rgb", seed=2)
    found = put(one, two, axis="time", tr=2).backend
    assert found.header.axes == (("time", 3), ("rgb", 3)) and found.header.time_spacing == 2
    first, second = one.array.reshape(3, 1, 5, 4, 3), two.array.reshape(3, 2, 5, 4, 3)
    assert np.array_equal(read(found).reshape(3, 3, 5, 4, 3), np.concatenate([first, second], axis=1))


def test_colours_and_numbers_do_not_mix() -> None:
    with pytest.raises(UsageError, match=r"b\.nii: has one channel beside channel, a\.nii has rgb 3"):
        put(make("rgb"), make())


def test_series_go_on() -> None:
    one, two = make("time", seed=1), make("time", seed=2)
    found = put(one, two).backend.header
    assert (found.axes, found.time_spacing) == ((("time", 8),), 2.5)


def test_volumes_become_a_series() -> None:
    found = put(image(), image(seed=1), axis="time", tr=0.7).backend.header
    assert (found.axes, found.time_spacing, found.time_units) == ((("time", 2),), 0.7, "s")
    found = put(image(), image(seed=1), axis="time")
    assert found.backend.header.time_spacing is None and "--tr" in found.remarks[0]


def test_times_that_differ_are_told() -> None:
    slow = make("time")
    slow.header = slow.header.replace(time_spacing=3.0)
    found = put(make("time"), slow)
    assert found.backend.header.time_spacing == 2.5
    assert found.warnings == ("2.5 s between steps as in a.nii, b.nii has 3 s; --tr SECONDS decides",)
    assert put(make("time"), slow, tr=3).warnings == ()


def test_a_series_as_channels() -> None:
    found = put(make("time"), make("time"), axis="channel")
    assert found.backend.header.axes == (("channel", 8),) and found.backend.header.time_spacing is None
    assert "2.5 s is left out" in found.remarks[0]


def test_gradients_follow_or_are_left_out_with_a_warning() -> None:
    dwi = make("diffusion")
    one, both = dwi.header.gradients, put(dwi, dwi).backend.header.gradients
    assert one is not None and (both.bvals, both.bvecs) == (one.bvals * 2, one.bvecs * 2)
    b0 = ArrayBackend(dwi.array[:1], dwi.header.replace(shape=(1, 5, 4, 3), axes=(), gradients=None))
    found = put(b0, dwi)
    assert found.backend.header.gradients is None
    assert found.warnings == ("the gradients are left out, for there are none of a.nii",)


@pytest.mark.parametrize(
    ("dtypes", "scales", "wanted"),
    [
        (("int16", "int16"), (None, None), "int16"),
        (("uint8", "int8"), (None, None), "int16"),
        (("int16", "uint16"), (None, None), "int32"),
        (("int32", "float32"), (None, None), "float64"),
        (("int16", "int16"), (0.5, 0.25), "float32"),
        (("int16", "int32"), (0.5, None), "float64"),
        (("int16", "int16"), (None, 1.0), "int16"),
        (("float32", "complex64"), (None, None), "complex64"),
    ],
)
def test_the_narrowest_type_holds_all(dtypes: tuple[str, str], scales: Any, wanted: str) -> None:
    inputs = [image(dtype=d, slope=s, seed=n) for n, (d, s) in enumerate(zip(dtypes, scales, strict=True))]
    found = put(*inputs)
    assert found.backend.header.dtype == wanted
    assert unlike(read(found.backend), np.concatenate([read(each).astype(wanted) for each in inputs])) is None
    told = any("stored as" in remark for remark in found.remarks)
    assert told == (wanted != dtypes[0])
    same = put(image(slope=0.5, inter=3.0), image(slope=0.5, inter=3.0)).backend.header
    assert (same.dtype, same.slope, same.inter) == ("int16", 0.5, 3.0)


def test_another_grid_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        GeometryError, match=r"b\.nii: its grid lies 1\.8 mm from that of a\.nii; .*resample --like a\.nii"
    ):
        put(image(), moved(image(), 2, 0, 0))
    with pytest.raises(GeometryError, match=r"b\.nii: has spatial shape .* a\.nii has .*resample"):
        put(image(), image((1, 5, 4, 4)))
    (turned,) = parts(image(), Splitting(axis="S", every=9))
    header = turned.header.replace(affine=turned.header.grid.reoriented("PSR").affine, shape=(1, 4, 3, 5))
    with pytest.raises(GeometryError, match=f"medimg reorient --to {''.join(image().header.orientation)}"):
        put(image(), ArrayBackend(voxels(header.shape, "int16"), header))
    put(image(), moved(image(), 0.005, 0, 0))
    with pytest.raises(GeometryError, match="mm"):
        put(image(), moved(image(), 0.005, 0, 0), tolerance=0.001)


# -- along an axis of the body


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("letter", LETTERS)
def test_slabs_are_stacked_where_they_lie(name: str, letter: str) -> None:
    before = image((2, 5, 6, 7), affine=AFFINES[name])
    found = parts(before, Splitting(axis=letter, every=2))
    _, sign = before.header.affine.nearest_axis(letter)
    heights = [part.header.grid.center["RLAPSI".index(letter) // 2] for part in found]
    rising = sorted(heights, reverse=letter in "LPI")
    assert heights == rising
    result = put(*(found[n] for n in (1, 0, *range(2, len(found)))), axis=letter)
    assert result.backend.header.affine.allclose(before.header.affine, 1e-9)
    assert np.array_equal(read(result.backend), before.array)
    assert sign < 0 or "in order of their positions: b.nii, a.nii" in result.remarks[0]


def test_gaps_and_overlaps_are_refused_with_their_size() -> None:
    one = image()
    with pytest.raises(GeometryError, match=r"^b\.nii: a gap of 6 mm between it and a\.nii"):
        put(one, moved(one, 0, 0, 5), axis="S")
    with pytest.raises(GeometryError, match=r"^a\.nii: an overlap of 3 mm between it and b\.nii"):
        put(moved(one, 0, 0, 2), one, axis="S")
    with pytest.raises(GeometryError, match=r"b\.nii: lies 0\.45 mm beside where it would continue a\.nii"):
        put(one, moved(one, 0.5, 0, 3), axis="S")
    with pytest.raises(GeometryError, match=r"b\.nii: its slices have 5 x 5 voxels, those of a\.nii 5 x 4"):
        put(one, image((1, 5, 5, 3)), axis="S")
    with pytest.raises(UsageError, match=r"b\.nii: has channel 2, a\.nii has one channel"):
        put(one, moved(image((2, 5, 4, 3)), 0, 0, 3), axis="S")
    near = moved(one, 0, 0, 3 + 0.1 / 3)
    with pytest.raises(GeometryError, match=r"a gap of 0\.1 mm"):
        put(one, near, axis="S")
    assert put(one, near, axis="S", tolerance=0.11).backend.header.shape == (1, 5, 4, 6)


def test_two_dimensional_images_become_a_volume() -> None:
    flat = image((1, 5, 4, 1), ndim=2)
    found = put(flat, moved(flat, 0, 0, 1), moved(flat, 0, 0, 2), axis="I").backend.header
    assert (found.shape, found.ndim) == ((1, 5, 4, 3), 3)
    assert put(flat, flat, axis="time", tr=1).backend.header.shape == (2, 5, 4, 1)
    with pytest.raises(GeometryError, match="an overlap of 3 mm"):
        put(flat, flat, axis="S")


# -- what images say


def test_tables_are_merged_unless_they_contradict() -> None:
    left = image(dtype="uint8", labels=LabelTable([(1, "liver"), (2, "spleen")]))
    right = image(dtype="uint8", labels=LabelTable([(2, "spleen"), (7, "kidney")]))
    assert put(left, right).backend.header.labels.values == (1, 2, 7)
    wrong = image(dtype="uint8", labels=LabelTable([(2, "heart")]))
    with pytest.raises(UsageError, match=r"b\.nii: label 2 is 'heart', in another input it is 'spleen'"):
        put(left, wrong)


def test_what_differs_is_named() -> None:
    one = image(description="x", metadata={"EchoTime": 3, "Same": 1}, history=({"name": "crop"},))
    two = image(description="y", metadata={"Same": 1})
    found = put(one, two)
    assert found.backend.header.metadata == one.header.metadata and found.backend.header.description == "x"
    assert found.backend.header.history == ()
    assert found.remarks[-1] == "as in a.nii where inputs differ: description, EchoTime"
    assert put(one, one).backend.header.history == one.header.history


def test_one_image_is_itself() -> None:
    one = make("diffusion")
    found = put(one).backend
    assert not differences(one.header, found.header) and np.array_equal(read(found), one.array)


# -- parts


def test_which_axis_is_meant() -> None:
    assert len(parts(make("time"), Splitting())) == 4
    assert len(parts(make("rgb"), Splitting())) == 3
    assert len(parts(make("time-rgb"), Splitting())) == 2
    with pytest.raises(UsageError, match="one channel and no time; give --axis"):
        parts(make(), Splitting())
    both = image((6, 5, 4, 3), axes=(("time", 3), ("channel", 2)))
    with pytest.raises(UsageError, match="time 3 x channel 2; give --axis time or"):
        parts(both, Splitting())
    for kind, count in (("time", 3), ("channel", 2)):
        found = parts(both, Splitting(axis=kind))
        assert len(found) == count
        assert np.array_equal(read(put(*found, axis=kind).backend), both.array)


def test_parts_keep_time_and_gradients() -> None:
    first, last = parts(make("time"), Splitting(every=3))
    assert (first.header.axes, first.header.time_spacing) == ((("time", 3),), 2.5)
    assert last.header.shape[0] == 1
    found = parts(make("diffusion"), Splitting(every=2))
    tables: list[Any] = [part.header.gradients for part in found]
    assert [table.bvals for table in tables] == [(0.0, 700.0), (1000.0, 2800.0)]


def test_names(tmp_path: Path) -> None:
    assert part_names("a/vol.nii.gz", 2) == ["a/vol_000.nii.gz", "a/vol_001.nii.gz"]
    assert part_names("a/{}-x.nii", 1001)[::1000] == ["a/0000-x.nii", "a/1000-x.nii"]
    pattern = str(tmp_path / "v.nii")
    assert first_part(pattern) == str(tmp_path / "v_000.nii")
    (tmp_path / "v_0000.nii").touch()
    assert first_part(pattern) == str(tmp_path / "v_0000.nii")


@pytest.mark.parametrize("words", [{"axis": "X"}, {"axis": ""}, {"tr": 0}, {"axis": "S", "tr": 2}, {"tolerance": -1}])
def test_wrong_words(words: Any) -> None:
    with pytest.raises(UsageError, match="--"):
        Merging(**words)
    with pytest.raises(UsageError, match="--every 0"):
        Splitting(every=0)


# -- cost


class _Counting:
    """Counts the bytes that decoders have given out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        opened = encoded.open_decoder

        def counted(*arguments: Any) -> Any:
            decoder, counter = opened(*arguments), self

            class Decoder:
                def __getattr__(self, name: str) -> Any:
                    return getattr(decoder, name)

                def decompress(self, *words: Any) -> Any:
                    piece = decoder.decompress(*words)
                    counter.bytes += len(piece)
                    return piece

            return Decoder()

        monkeypatch.setattr(encoded, "open_decoder", counted)


def _series(path: Path, steps: int) -> int:
    """Write a compressed series and return the bytes of its voxels."""
    random = np.random.default_rng(3)
    array = random.integers(0, 9, (steps, 32, 32, 16)).astype("int16")
    header = Header(shape=array.shape, dtype="int16", affine=AFFINES["oblique"], axes=(("time", steps),))
    save_backend(ArrayBackend(array, header.replace(time_spacing=2.0, time_units="s")), str(path))
    return array.nbytes


@pytest.mark.parametrize("axis", ["time", "S", "R"])
def test_an_image_is_decoded_once_for_all_parts(axis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "bold.nii.gz"
    size = _series(source, 40)
    counting = _Counting(monkeypatch)
    report = split(Task(str(source), str(tmp_path / "part.nii")), Splitting(axis=axis), threads=1)
    assert len(report.outputs) == {"time": 40, "S": 16, "R": 32}[axis]
    assert size <= counting.bytes < 1.2 * size + 2**18


def test_each_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"{n}.nii.gz") for n in range(4)]
    size = sum(_series(Path(path), 10) for path in paths)
    counting = _Counting(monkeypatch)
    merge(Task(paths[0], str(tmp_path / "all.nii"), others=tuple(paths[1:])), Merging(), threads=1)
    assert size <= counting.bytes < 1.2 * size + 2**20
    assert open_backend(tmp_path / "all.nii").header.shape[0] == 40


# -- files


def test_no_part_is_written_where_one_exists(tmp_path: Path) -> None:
    source = tmp_path / "bold.nii.gz"
    _series(source, 3)
    (tmp_path / "v_002.nii").write_bytes(b"mine")
    task = Task(str(source), str(tmp_path / "v.nii"))
    with pytest.raises(StorageError, match=r"v_002\.nii: exists; use --force"):
        split(task, Splitting(), threads=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bold.nii.gz", "v_002.nii"]


def test_a_part_may_take_the_name_of_the_input(tmp_path: Path) -> None:
    source = tmp_path / "v_001.nii"
    _series(source, 3)
    before: Array = read(open_backend(source))
    split(Task(str(source), str(tmp_path / "v_{}.nii"), force=True), Splitting(), threads=1)
    for n in range(3):
        assert np.array_equal(read(open_backend(tmp_path / f"v_00{n}.nii"))[0], before[n])


def test_the_result_may_take_the_name_of_an_input(tmp_path: Path) -> None:
    one, two = str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")
    _series(Path(one), 2), _series(Path(two), 3)
    before = np.concatenate([read(open_backend(one)), read(open_backend(two))])
    merge(Task(one, two, others=(two,), force=True), Merging(), threads=1)
    after: Backend = open_backend(two)
    assert np.array_equal(after.read(whole(after.header.shape)), before)

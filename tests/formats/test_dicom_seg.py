"""DICOM Segmentations: read as highdicom and pydicom read them, written so that both and dciodvfy agree."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend
from medimg_cli.errors import (
    CastError,
    FormatError,
    GeometryError,
    MedImgError,
    StorageError,
    TruncatedError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.cielab import lab_of, rgb_of
from medimg_cli.formats.dicom.opening import open_folder
from medimg_cli.formats.dicom.segmenting import fit, save_segmentation
from medimg_cli.header import Header, differences
from medimg_cli.labels import LabelTable
from tests.formats.dicom_files import DEFLATED, RLE, same_world, write_series
from tests.helpers import AFFINES, laid_out, layouts, one_line, part, read, regions, torture

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
SHAPE = (7, 5, 6)
"""I x J is no multiple of 8: every second frame starts within a byte."""
NAMED = LabelTable([(1, "liver", (221, 130, 101)), (2, "Zyste \u00df", (0, 200, 90)), (3, "vessel", (216, 101, 79))])
STRAIGHT = ["straight", "oblique", "left-handed", "permuted"]
Change = Callable[[Any], None]


def highdicom() -> Any:
    return pytest.importorskip("highdicom", reason="highdicom, the referee, is not installed")


def labels(shape: tuple[int, ...] = SHAPE, values: tuple[int, ...] = (0, 1, 2, 3), seed: int = 0) -> Any:
    return np.random.default_rng(seed).choice(np.array(values, "uint32"), shape).astype("uint16")


def image(array: Any, kind: str = "oblique", table: LabelTable | None = NAMED, **more: Any) -> ArrayBackend:
    array = array if array.ndim == 4 else array[None]
    header = Header(
        shape=array.shape, dtype=array.dtype.name, affine=AFFINES[kind], intent="label", labels=table, **more
    )  # fmt: skip
    return ArrayBackend(array, header)


def source_images(folder: Path, affine: AffineMatrix, shape: tuple[int, ...] = SHAPE) -> list[Any]:
    """Write the series that a segmentation belongs to; return its data sets by K."""
    import pydicom

    def add(made: Any, k: int) -> None:
        made.StudyInstanceUID, made.FrameOfReferenceUID = "1.2.3.4", "1.2.3.5"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.6.{k + 1}"
        made.StudyDate = made.StudyTime = made.AccessionNumber = made.StudyID = made.PatientSex = ""
        made.PositionReferenceIndicator = ""

    pixels = np.random.default_rng(5).integers(0, 900, shape, "uint16")
    return [pydicom.dcmread(path) for path in write_series(folder, pixels, affine, add)]


def referee(
    folder: Path,
    masks: Any,
    kind: str = "BINARY",
    affine: AffineMatrix = AFFINES["oblique"],
    coloured: bool = True,
    **more: Any,
) -> Path:
    """Write (I, J, K) or (segments, I, J, K) with highdicom; return the file."""
    hd = highdicom()
    images = source_images(folder / "images", affine, masks.shape[-3:])
    tissue = hd.sr.coding.CodedConcept("85756007", "SCT", "Tissue")
    count = len(masks) if masks.ndim == 4 else int(masks.max())
    described = [
        hd.seg.SegmentDescription(
            n + 1, f"segment {n + 1}", tissue, tissue, "MANUAL",
            display_color=hd.color.CIELabColor.from_rgb(40 * n % 256, (10 + n) % 256, (250 - n) % 256)
            if coloured
            else None,
        )
        for n in range(count)
    ]  # fmt: skip
    pixels = masks.transpose(3, 2, 1, 0) if masks.ndim == 4 else masks.transpose(2, 1, 0)
    made = hd.seg.Segmentation(
        images, pixels, kind, described, "1.2.3.7", 9, "1.2.3.8", 1, "maker", "model", "1", "2", **more
    )
    path = folder / "referee.dcm"
    made.save_as(path)
    return path


def written(folder: Path, backend: Backend | None = None, **more: Any) -> Path:
    path = folder / "labels.dcm"
    save_segmentation(backend or image(labels()), str(path), force=True, **more)
    return path


def changed(folder: Path, change: Change, backend: Backend | None = None) -> str:
    """Write a segmentation, change its data set, and write that."""
    import pydicom

    dataset = pydicom.dcmread(written(folder, backend))
    change(dataset)
    path = folder / "changed.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return str(path)


def data_file(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    return DATA / name


def without_patient(header: Header) -> bool:
    return not any(word in repr(header) for word in ("Doe", "4711", "1970", "House", "Princeton"))


# what highdicom writes


@pytest.mark.parametrize("kind", STRAIGHT)
def test_segments_are_their_numbers_where_highdicom_puts_them(tmp_path: Path, kind: str) -> None:
    array = labels()
    back = open_backend(str(referee(tmp_path, array, affine=AFFINES[kind])))
    assert back.header.dtype == "uint8" and back.header.intent == "label" and back.header.format == "dicom"
    assert same_world(read(back), back.header.affine, array[None], AFFINES[kind]) is None
    images = open_folder(str(tmp_path / "images"))
    assert back.header.grid.same_as(images.header.grid, 1e-4)


def test_names_colours_and_what_it_belongs_to(tmp_path: Path) -> None:
    header = open_backend(str(referee(tmp_path, labels()))).header
    assert header.labels == LabelTable(
        [(n + 1, f"segment {n + 1}", (40 * n % 256, (10 + n) % 256, (250 - n) % 256)) for n in range(3)]
    )
    assert header.metadata["ReferencedSeriesInstanceUID"] == "1.2.826.0.1.3680043.8.498.1"
    assert header.metadata["Modality"] == "SEG" and without_patient(header)


def test_slices_that_are_left_out_are_empty(tmp_path: Path) -> None:
    array = labels()
    array[..., [1, 3, 4]] = 0
    back = open_backend(str(referee(tmp_path, array)))
    assert back.header.shape == (1, *SHAPE)
    assert same_world(read(back), back.header.affine, array[None], AFFINES["oblique"]) is None


def test_an_empty_slice_at_the_end_is_no_part_of_the_grid(tmp_path: Path) -> None:
    array = labels()
    array[..., 0] = 0
    back = open_backend(str(referee(tmp_path, array)))
    assert back.header.shape == (1, 7, 5, 5)
    assert same_world(read(back), back.header.affine, array[None, ..., 1:], _shifted(1)) is None


def _shifted(k: int) -> AffineMatrix:
    return AFFINES["oblique"].with_origin(AFFINES["oblique"].apply((0, 0, k)))


def test_regions_are_those_of_the_whole(tmp_path: Path) -> None:
    back = open_backend(str(referee(tmp_path, labels())))
    full = read(back)
    for region in regions(back.header.shape, 20):
        assert np.array_equal(back.read(region), part(full, region))
    for layout in layouts(back.header):
        assert b"".join(map(bytes, back.blocks(layout))) == laid_out(full, layout)
    twin = pickle.loads(pickle.dumps(back))
    assert np.array_equal(read(twin), full)


@pytest.mark.parametrize("said", ["YES", "UNDEFINED", None])
def test_segments_that_overlap_are_channels(tmp_path: Path, said: str | None) -> None:
    import pydicom

    masks = np.random.default_rng(3).integers(0, 2, (3, *SHAPE), "uint8")
    path = referee(tmp_path, masks)
    dataset = pydicom.dcmread(path)
    if said is None:
        del dataset.SegmentsOverlap
    else:
        dataset.SegmentsOverlap = said
    dataset.save_as(path)
    back = open_backend(str(path))
    assert back.header.shape == (3, *SHAPE) and back.header.axes == (("channel", 3),)
    expected = masks * np.array([1, 2, 3], "uint8").reshape(3, 1, 1, 1)
    assert same_world(read(back), back.header.affine, expected, AFFINES["oblique"]) is None


def test_segments_that_share_slices_and_no_voxel_are_one_channel(tmp_path: Path) -> None:
    def undefined(dataset: Any) -> None:
        del dataset.SegmentsOverlap

    array = labels()
    back = open_backend(changed(tmp_path, undefined, image(array)))
    assert np.array_equal(read(back)[0], array)


def test_an_overlap_that_the_header_denies_is_refused(tmp_path: Path) -> None:
    import pydicom

    path = referee(tmp_path, np.ones((2, *SHAPE), "uint8"))
    dataset = pydicom.dcmread(path)
    dataset.SegmentsOverlap = "NO"
    dataset.save_as(path)
    back = open_backend(str(path))
    assert back.header.shape == (1, *SHAPE)
    with pytest.raises(UnsupportedError, match="overlaps"):
        read(back)


def test_fractional_segments_are_probabilities_and_no_labels(tmp_path: Path) -> None:
    masks = np.random.default_rng(4).integers(0, 201, (2, *SHAPE)) / 200
    path = referee(tmp_path, masks, "FRACTIONAL", max_fractional_value=200)
    back = open_backend(str(path))
    assert back.header.intent is None and back.header.labels is None
    assert back.header.shape == (2, *SHAPE) and back.header.dtype == "uint8" and back.header.slope == 1 / 200
    assert back.header.metadata["SegmentLabels"] == ["segment 1", "segment 2"]
    assert back.header.metadata["SegmentationFractionalType"] == "PROBABILITY"
    assert same_world(read(back, raw=True), back.header.affine, np.rint(masks * 200), AFFINES["oblique"]) is None
    assert np.abs(read(back).max() - masks.max()) < 1e-6


@pytest.mark.parametrize("name", ["native", "pydicom", "pylibjpeg"])
@pytest.mark.parametrize("top", [3, 300])
def test_label_map_objects_are_what_their_pixels_say(tmp_path: Path, name: str, top: int) -> None:
    import pydicom

    array = labels((37, 35, 3), (0, 1, 2, 3) if top == 3 else tuple(range(301)))
    path = referee(tmp_path, array, "LABELMAP")
    if name != "native":
        if name == "pylibjpeg":
            pytest.importorskip("openjpeg")
        dataset = pydicom.dcmread(path)
        syntax = RLE if name == "pydicom" else "1.2.840.10008.1.2.4.90"
        dataset.compress(syntax, encoding_plugin=name, generate_instance_uid=False)
        dataset.save_as(path)
    back = open_backend(str(path))
    assert back.header.dtype == ("uint8" if top == 3 else "uint16") and back.header.intent == "label"
    assert same_world(read(back), back.header.affine, array[None], AFFINES["oblique"]) is None
    table = back.header.labels
    assert table is not None and table.name_of(2) == "segment 2"


def test_colours_of_a_palette(tmp_path: Path) -> None:
    hd = highdicom()
    colors = np.array([[0, 0, 0], [9, 8, 7], [200, 100, 50], [1, 255, 2]], "uint8")
    described = hd.PaletteColorLUTTransformation.from_combined_lut(colors)
    path = referee(tmp_path, labels(), "LABELMAP", coloured=False, palette_color_lut_transformation=described)
    back = open_backend(str(path))
    table = back.header.labels
    assert table is not None
    assert [label.color for label in table if label.value] == [(*color, 255) for color in colors[1:].tolist()]
    assert same_world(read(back), back.header.affine, labels()[None], AFFINES["oblique"]) is None


# encodings


@pytest.mark.parametrize("name", ["big", "deflated", "implicit"])
def test_every_plain_encoding_gives_the_same(tmp_path: Path, name: str) -> None:
    import pydicom

    array = labels(values=(0, 2, 17, 300))
    names = LabelTable([(2, "liver"), (17, "Zyste \u00df", (0, 200, 90)), (300, "vessel", (216, 101, 79))])
    dataset = pydicom.dcmread(written(tmp_path, image(array, table=names)))
    path = tmp_path / "encoded.dcm"
    syntax = {"big": "1.2.840.10008.1.2.2", "deflated": DEFLATED, "implicit": "1.2.840.10008.1.2"}[name]
    plain = pydicom.Dataset.from_json(dataset.to_json())
    plain.file_meta = dataset.file_meta
    plain.file_meta.TransferSyntaxUID = syntax
    plain["PixelData"].VR = "OW" if name == "implicit" else "OB"
    pydicom.dcmwrite(
        path, plain, implicit_vr=name == "implicit", little_endian=name != "big", enforce_file_format=True
    )  # fmt: skip
    back = open_backend(str(path))
    assert np.array_equal(read(back)[0], array)
    assert back.header.labels == names


def test_a_single_frame_without_its_number(tmp_path: Path) -> None:
    def single(dataset: Any) -> None:
        del dataset.NumberOfFrames

    array = labels((7, 5, 1), (0, 1))
    back = open_backend(changed(tmp_path, single, image(array)))
    assert np.array_equal(read(back)[0], array)


@pytest.mark.parametrize(
    "name",
    [
        *("liver.dcm", "liver_deflate.dcm", "liver_expb.dcm", "liver_j2k.dcm", "liver_rle.dcm"),
        *(f"liver_nonbyte_aligned{end}.dcm" for end in ("", "_deflate", "_j2k", "_rle")),
    ],
)
def test_the_livers_of_pydicom(name: str) -> None:
    from pydicom.pixels import pixel_array

    hd = highdicom()
    folder = "pydicom+pydicom-data/data_store/data"
    plain = data_file(f"{folder}/liver{'_nonbyte_aligned' if 'aligned' in name else ''}.dcm")
    back = open_backend(str(data_file(f"{folder}/{name}")))
    volume = hd.seg.segread(plain).get_volume(combine_segments=True)
    expected = volume.array.transpose(2, 1, 0)[None]
    where = AffineMatrix.from_lps(volume.affine.tolist())
    where = AffineMatrix([[row[2], row[1], row[0], row[3]] for row in where.rows])
    assert same_world(read(back), back.header.affine, expected, where) is None
    assert np.array_equal(read(back)[0], pixel_array(plain).transpose(2, 1, 0))
    assert read(back).max() == 1
    assert back.header.labels == LabelTable([(1, "Liver", (221, 130, 101))])


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "liver_expb_1frame.dcm"])
def test_the_single_livers_of_pydicom(name: str) -> None:
    from pydicom.pixels import pixel_array

    path = data_file(f"pydicom+pydicom/src/pydicom/data/test_files/{name}")
    back = open_backend(str(path))
    assert np.array_equal(read(back)[0, ..., 0], pixel_array(path).T)
    assert "describes more frames than the 1" in back.header.warnings[0]


# what is wrong with a file


def _per_frame(at: int, sequence: str, keyword: str, value: Any) -> Change:
    def change(dataset: Any) -> None:
        setattr(getattr(dataset.PerFrameFunctionalGroupsSequence[at], sequence)[0], keyword, value)

    return change


def _shared(sequence: str, keyword: str, value: Any) -> Change:
    def change(dataset: Any) -> None:
        setattr(getattr(dataset.SharedFunctionalGroupsSequence[0], sequence)[0], keyword, value)

    return change


def _moved(dataset: Any) -> None:
    plane = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    plane.ImagePositionPatient = [float(part) + 0.4 for part in plane.ImagePositionPatient]


def _far(dataset: Any) -> None:
    plane = dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0]
    normal = np.cross(
        *np.reshape(
            dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0][0x00200037].value, (2, 3)
        ).astype(float)
    )
    plane.ImagePositionPatient = [f"{n:.10g}" for n in np.array(plane.ImagePositionPatient, float) + 3e6 * normal]


def _turned(dataset: Any) -> None:
    from pydicom.dataset import Dataset

    plane = Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = [plane]


def _set(keyword: str, value: Any) -> Change:
    return lambda dataset: setattr(dataset, keyword, value)


def _without(keyword: str) -> Change:
    return lambda dataset: delattr(dataset, keyword)


def _no_measures(dataset: Any) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


REFUSED: dict[str, tuple[Change, type[MedImgError], str]] = {
    "moved": (_moved, GeometryError, r"frames \d and \d, 3.* mm apart, lie on no even grid"),
    "turned": (_turned, GeometryError, "frame 2 has another orientation"),
    "no measures": (_no_measures, GeometryError, "frame 1 has no PixelSpacing"),
    "no positions": (_without("PerFrameFunctionalGroupsSequence"), FormatError, "says of 0 where they lie"),
    "too many frames": (_set("NumberOfFrames", 2**31 - 1), FormatError, "it has 2147483647 frames"),
    "too many slices": (_far, GeometryError, "slices, which no image has"),
    "no size": (_shared("PixelMeasuresSequence", "PixelSpacing", [0, 1]), GeometryError, "has no area"),
    "skewed": (
        _shared("PlaneOrientationSequence", "ImageOrientationPatient", [1, 0, 0, 1, 1, 0]),
        GeometryError,
        "no pair of unit vectors",
    ),
    "unknown segment": (
        _per_frame(1, "SegmentIdentificationSequence", "ReferencedSegmentNumber", 9),
        FormatError,
        "frame 2 is of segment 9, which is not described",
    ),
    "twice": (
        lambda dataset: dataset.PerFrameFunctionalGroupsSequence.__setitem__(
            1, dataset.PerFrameFunctionalGroupsSequence[0]
        ),
        UnsupportedError,
        "frames 1 and 2 show the same segment at the same place",
    ),
    "slide": (_set("DimensionOrganizationType", "TILED_FULL"), UnsupportedError, "tiles are not read"),
    "surface": (_set("SegmentationType", "HEIGHT"), UnsupportedError, "type HEIGHT, which is not read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, kind, words = REFUSED[name]
    with pytest.raises(kind, match=words) as caught:
        open_backend(changed(tmp_path, change))
    assert one_line(caught.value) and "changed.dcm" in str(caught.value)


def test_the_header_of_a_cut_file_is_read_and_its_voxels_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    back: Any = open_backend(str(path))
    assert back.header.shape == (1, *SHAPE) and "truncated" in back.shortage()
    with pytest.raises(TruncatedError, match="truncated"):
        read(back)


def test_bytes_that_unfold_to_too_much_are_not_unfolded(tmp_path: Path) -> None:
    import zlib

    from pydicom.encaps import encapsulate

    def bomb(dataset: Any) -> None:
        squeezer = zlib.compressobj(9, wbits=-15)
        content = squeezer.compress(bytes(1 << 24)) + squeezer.flush()
        dataset.PixelData = encapsulate([content] * dataset.NumberOfFrames)
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"

    path = Path(changed(tmp_path, bomb))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.8.1\0", 1))
    content = path.read_bytes()
    # one more byte in the UID: its length, and that of its group
    at = content.index(b"\x02\0\x10\0UI") + 6
    size = int.from_bytes(content[at : at + 2], "little") + 2
    group = int.from_bytes(content[140:144], "little") + 2
    path.write_bytes(
        content[:140] + group.to_bytes(4, "little") + content[144:at] + size.to_bytes(2, "little") + content[at + 2 :]
    )
    back = open_backend(str(path))
    assert not read(back).any()


def test_damaged_files_are_refused_or_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert torture(str(path), 60) == []


def test_contours_are_no_image_and_the_hint_says_what_to_do(tmp_path: Path) -> None:
    def contours(dataset: Any) -> None:
        for keyword in ("Rows", "Columns", "PixelData"):
            delattr(dataset, keyword)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"

    with pytest.raises(UnsupportedError, match="RT Structure Set, not an image; .* label map"):
        open_backend(changed(tmp_path, contours))


# writing


@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("values", [(0, 1, 2, 3), (0, 2, 17, 300), (0, 5, 70000, 2**32 - 1)])
def test_a_label_map_comes_back(tmp_path: Path, kind: str, values: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).choice(np.array(values, "uint32"), SHAPE)
    names = LabelTable([(value, f"thing {value}", (value % 256, 7, 200)) for value in values[1:]])
    path = written(tmp_path, image(array, kind, names))
    back = open_backend(str(path))
    assert same_world(read(back), back.header.affine, array[None], AFFINES[kind]) is None
    assert back.header.labels == names and back.header.affine.determinant != 0 and back.header.warnings == ()
    if kind != "left-handed" and AFFINES[kind].determinant > 0:
        assert np.array_equal(read(back)[0], array) and back.header.affine.allclose(AFFINES[kind], 1e-4)


@pytest.mark.parametrize("inside", [(), (0,), (2, 3), (5,), (1, 4)])
def test_empty_slices_keep_their_place(tmp_path: Path, inside: tuple[int, ...]) -> None:
    array = labels()
    array[..., [k for k in range(6) if k not in inside]] = 0
    back = open_backend(str(written(tmp_path, image(array))))
    assert np.array_equal(read(back)[0], array)
    assert back.header.affine.allclose(AFFINES["oblique"], 1e-4) and back.header.labels == NAMED


@pytest.mark.parametrize("kind", STRAIGHT)
def test_highdicom_and_pydicom_read_the_same(tmp_path: Path, kind: str) -> None:
    from pydicom.pixels import pixel_array

    array = labels()
    hd = highdicom()
    path = written(tmp_path, image(array, kind))
    volume = hd.seg.segread(path).get_volume(combine_segments=True, allow_missing_positions=True)
    where = AffineMatrix.from_lps(volume.affine.tolist())
    where = AffineMatrix([[row[2], row[1], row[0], row[3]] for row in where.rows])
    found = volume.array.transpose(2, 1, 0)[None]
    assert same_world(found, where, array[None], AFFINES[kind]) is None
    assert pixel_array(path).sum() == np.count_nonzero(array)


def test_layers_that_overlap_come_back(tmp_path: Path) -> None:
    masks = np.random.default_rng(2).integers(0, 2, (3, *SHAPE), "uint8")
    masks *= np.array([1, 2, 3], "uint8").reshape(3, 1, 1, 1)
    back = open_backend(str(written(tmp_path, image(masks, axes=(("channel", 3),)))))
    assert np.array_equal(read(back), masks) and back.header.labels == NAMED


def test_a_sheared_stack_comes_back(tmp_path: Path) -> None:
    tilted = AffineMatrix([[0.9, 0, 0, -37.5], [0, 1.25, 0.8, 12.25], [0, 0, 3.0, 81.0], [0, 0, 0, 1]])
    array = labels()
    one = image(array)
    one.header = one.header.replace(affine=tilted)
    back = open_backend(str(written(tmp_path, one)))
    assert np.array_equal(read(back)[0], array) and back.header.affine.allclose(tilted, 1e-4)


def test_names_that_dicom_has_no_room_for(tmp_path: Path) -> None:
    long = "superior colliculus, motor related, intermediate gray layer, sublayer a"
    table = LabelTable([(1, "a\\b\x1b[31m"), (2, long), (3, "")])
    back = open_backend(str(written(tmp_path, image(labels(), table=table))))
    assert back.header.labels == LabelTable([(1, "a/b[31m"), (2, long), (3, "Label 3")])


def test_what_would_come_back_is_known_beforehand(tmp_path: Path) -> None:
    table = LabelTable([(0, "nothing"), (1, "a\\b", (1, 2, 3, 40), "A"), (2, "", None), (3, "c", (9, 8, 7))])
    one = image(labels(), table=table, description="labels\n of a phantom")
    told, back = fit(one.header), open_backend(str(written(tmp_path, one))).header
    assert told.labels == back.labels == LabelTable([(1, "a/b", (1, 2, 3)), (2, "Label 2"), (3, "c", (9, 8, 7))])
    assert (told.shape, told.intent, told.description) == (back.shape, back.intent, back.description)
    assert {each.field for each in differences(one.header, told)} == {"labels", "description"}


def test_whole_numbers_in_floats_are_labels(tmp_path: Path) -> None:
    array = labels()
    back = open_backend(str(written(tmp_path, image(array.astype("float32")))))
    assert np.array_equal(read(back)[0], array)


BAD: dict[str, tuple[Callable[[], ArrayBackend], type[MedImgError], str]] = {
    "fractions": (lambda: image(np.full(SHAPE, 0.5, "float32")), CastError, "no whole numbers"),
    "nan": (lambda: image(np.full(SHAPE, np.nan, "float32")), CastError, "no whole numbers"),
    "negative": (lambda: image(np.full(SHAPE, -1, "int16")), CastError, "labels from -1"),
    "large": (lambda: image(np.full(SHAPE, 2**40, "int64")), CastError, "to 1099511627776"),
    "time": (lambda: image(np.ones((2, *SHAPE), "uint8"), axes=(("time", 2),)), UnsupportedError, "no axis time"),
    "two layers": (lambda: image(np.ones((2, *SHAPE), "uint8")), UnsupportedError, "in several channels"),
    "sheared": (lambda: image(labels(), "sheared"), GeometryError, "right angle"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_label_map_is_refused(tmp_path: Path, name: str) -> None:
    make, kind, words = BAD[name]
    with pytest.raises(kind, match=words):
        save_segmentation(make(), str(tmp_path / "x.dcm"))
    assert list(tmp_path.iterdir()) == []


def test_the_same_label_map_makes_the_same_bytes(tmp_path: Path) -> None:
    first = written(tmp_path).read_bytes()
    assert written(tmp_path).read_bytes() == first
    other = labels(seed=9)
    assert written(tmp_path, image(other)).read_bytes() != first


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(StorageError, match="exists"):
        save_segmentation(image(labels()), str(path))
    assert save_segmentation(image(labels()), str(path), force=True) == str(path)


def test_metadata_are_written_or_refused(tmp_path: Path) -> None:
    import pydicom

    path = written(tmp_path, metadata={"PatientID": "42", "SeriesDescription": "mine", "ContentDate": "20200131"})
    dataset = pydicom.dcmread(path)
    assert (dataset.PatientID, dataset.SeriesDescription, dataset.ContentDate) == ("42", "mine", "20200131")
    for bad in ({"Rows": 3}, {"PatientBirthDate": "yesterday"}, {"Nonsense": 1}):
        with pytest.raises(UsageError, match="cannot be"):
            written(tmp_path, metadata=bad)


# a template


@pytest.mark.parametrize("kind", STRAIGHT)
def test_a_template_hands_on_patient_study_and_references(tmp_path: Path, kind: str) -> None:
    import pydicom

    source_images(tmp_path / "images", AFFINES[kind])
    images = open_folder(str(tmp_path / "images"))
    array = labels(images.header.shape[1:])
    one = image(array)
    one.header = one.header.replace(affine=images.header.affine)
    path = written(tmp_path, one, template=str(tmp_path / "images"))
    dataset = pydicom.dcmread(path)
    assert (str(dataset.PatientName), dataset.PatientID) == ("Doe^Jane", "MRN-4711")
    assert (dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == ("1.2.3.4", "1.2.3.5")
    assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6
    by_uid = {each.SOPInstanceUID: each for each in map(pydicom.dcmread, (tmp_path / "images").iterdir())}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        mine, its = group.PlanePositionSequence[0].ImagePositionPatient, by_uid[uid].ImagePositionPatient
        assert np.abs(np.array(mine, float) - np.array(its, float)).max() < 1e-6
    back = open_backend(str(path))
    assert np.array_equal(read(back)[0], array)
    assert back.header.affine.allclose(images.header.affine, 1e-6) and without_patient(back.header)


def test_a_label_map_stored_the_other_way_is_turned(tmp_path: Path) -> None:
    from medimg_cli.operations.protocol import perform
    from medimg_cli.operations.reorient import Reorient

    source_images(tmp_path / "images", AFFINES["oblique"])
    images = open_folder(str(tmp_path / "images"))
    array = labels()
    one = image(array)
    one.header = one.header.replace(affine=images.header.affine)
    path = written(tmp_path, perform(Reorient("SAL"), one), template=str(tmp_path / "images"))
    back = open_backend(str(path))
    assert np.array_equal(read(back)[0], array) and back.header.grid.same_as(images.header.grid, 1e-4)


def test_a_template_on_another_grid_is_refused_with_the_distance(tmp_path: Path) -> None:
    source_images(tmp_path / "images", AFFINES["oblique"])
    one = image(labels())
    x, y, z = AFFINES["oblique"].origin
    one.header = one.header.replace(affine=AFFINES["oblique"].with_origin((x + 3, y, z + 4)))
    with pytest.raises(GeometryError, match="lies 5 mm off it"):
        save_segmentation(one, str(tmp_path / "x.dcm"), template=str(tmp_path / "images"))
    with pytest.raises(GeometryError, match="7 x 5 x 4 voxels, its own 7 x 5 x 6"):
        save_segmentation(image(labels((7, 5, 4))), str(tmp_path / "x.dcm"), template=str(tmp_path / "images"))


def test_two_series_may_be_equally_far_off(tmp_path: Path) -> None:
    """Of several that do not fit, the nearest is named, also where two are as near."""
    pixels = np.zeros(SHAPE, "int16")
    x, y, z = AFFINES["straight"].origin
    for n in (1, 2):
        place = AFFINES["straight"].with_origin((x + (-4, 4)[n - 1], y, z))
        write_series(tmp_path / "images" / str(n), pixels, place, SeriesInstanceUID=f"1.2.{n}", SeriesNumber=n)
    with pytest.raises(GeometryError, match="lies 4 mm off it"):
        save_segmentation(image(labels(), "straight"), str(tmp_path / "x.dcm"), template=str(tmp_path / "images"))


def test_one_of_several_series_must_lie_on_the_grid(tmp_path: Path) -> None:
    source_images(tmp_path / "images" / "a", AFFINES["oblique"])
    pixels = np.zeros(SHAPE, "int16")
    write_series(tmp_path / "images" / "b", pixels, AFFINES["straight"], SeriesInstanceUID="1.2.9", SeriesNumber=8)
    written(tmp_path, template=str(tmp_path / "images"))
    write_series(tmp_path / "images" / "c", pixels, AFFINES["oblique"], SeriesInstanceUID="1.2.10", SeriesNumber=9)
    with pytest.raises(UsageError, match="2 series lie on the grid"):
        written(tmp_path, template=str(tmp_path / "images"))


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize("kind", STRAIGHT)
@pytest.mark.parametrize("template", [False, True])
def test_dciodvfy_finds_no_error(tmp_path: Path, kind: str, template: bool) -> None:
    source_images(tmp_path / "images", AFFINES[kind])
    array = labels(values=(0, 1, 2, 17))
    array[..., 1:3] = 0
    table = LabelTable([(1, "liver", (221, 130, 101)), (17, "Zyste \u00df")])
    path = written(tmp_path, image(array, kind, table), template=str(tmp_path / "images") if template else None)
    found = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    assert "Segmentation" in found.stderr and "Error" not in found.stderr, found.stderr


# colours


def test_colours_come_back_and_are_those_of_highdicom() -> None:
    hd = highdicom()
    for color in np.random.default_rng(0).integers(0, 256, (200, 3)).tolist():
        assert rgb_of(lab_of(color)) == tuple(color)
        assert np.abs(np.array(lab_of(color)) - hd.color.CIELabColor.from_rgb(*color).value).max() < 40

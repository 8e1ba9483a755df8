"""Voxels of frames: stored, packed, compressed, coloured, tiled, in any order; and pixels that cannot be what is said."""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.errors import FormatError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.codestreams import Codestream, codestream
from medimg_cli.formats.dicom.decoding import unpacked
from medimg_cli.formats.dicom.encapsulation import encoded_frames
from medimg_cli.formats.dicom.frames import Frame, Tile
from medimg_cli.formats.dicom.pixels import PlanesBackend, voxels
from medimg_cli.formats.dicom.planes import problem_of, undecodable
from medimg_cli.formats.dicom.reading import DicomFile, read_file
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.storage.source import open_source
from tests.formats.dicom_files import BIG, DEFLATED, EXPLICIT, IMPLICIT, RLE, dataset, geometry, save, write_series
from tests.helpers import AFFINES, laid_out, layouts, part, read, regions
from tests.helpers import voxels as numbers

pydicom = pytest.importorskip("pydicom")

Array = np.ndarray[Any, Any]

BASELINE, J2K, JPEG_LS, MPEG, DEFLATED_FRAMES = (
    f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.90", "4.80", "4.100", "8.1")
)
ROWS, COLUMNS = 6, 5


def multi(frames: Array, syntax: str = EXPLICIT, *, planar: bool = False, **values: Any) -> Any:
    """Return a data set of frames (N, rows, columns) or (N, rows, columns, 3), not compressed."""
    made = dataset(frames[0], syntax=syntax, **values)
    big = syntax == BIG
    content = frames.transpose(0, 3, 1, 2) if planar else frames
    data = np.ascontiguousarray(content).astype(frames.dtype.newbyteorder(">" if big else "<")).tobytes()
    if big and frames.dtype.itemsize == 1:  # words of 16 bits
        data += b"\0" * (len(data) % 2)
        data = np.frombuffer(data, "<u2").astype(">u2").tobytes()
        made["PixelData"].VR = "OW"
    made.NumberOfFrames = len(frames)
    made.PixelData = data + b"\0" * (len(data) % 2)
    if planar:
        made.PlanarConfiguration = 1
    return made


def encapsulated(made: Any, syntax: str, pieces: Sequence[Sequence[bytes]], table: Sequence[int] | None = None) -> Any:
    """Put encoded frames, each in one fragment or several, into a data set."""
    content = b"".join(
        pydicom.encaps.itemize_fragment(piece + b"\0" * (len(piece) % 2)) for frame in pieces for piece in frame
    )
    offsets = b"".join(n.to_bytes(4, "little") for n in table or ())
    made.PixelData = b"\xfe\xff\x00\xe0" + len(offsets).to_bytes(4, "little") + offsets + content
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = syntax
    made.NumberOfFrames = len(pieces)
    return made


def opened(made: Any, path: Path) -> DicomFile:
    """Write a data set that is encoded already, and read its header."""
    unknown = made.file_meta.TransferSyntaxUID == DEFLATED_FRAMES  # to pydicom; as long as that of JPEG 2000
    if unknown:
        made.file_meta.TransferSyntaxUID = J2K
    made.save_as(path, enforce_file_format=True)
    if unknown:
        path.write_bytes(path.read_bytes().replace(J2K.encode(), DEFLATED_FRAMES.encode() + b"\0", 1))
    return read_file(open_source(str(path)))


def of_frames(volumes: Sequence[Sequence[Frame]], scaled: bool = False, dtype: str | None = None) -> Any:
    """Return the voxels of frames."""
    first = volumes[0][0]
    samples, (rows, columns) = first.file.pixels.samples, first.size
    times = len(volumes)
    axes = (*((("time", times),) if times > 1 else ()), *((("rgb", 3),) if samples > 1 else ()))
    shape = (times * samples, columns, rows, len(volumes[0]))
    header = Header(shape=shape, dtype=dtype or first.file.pixels.dtype, affine=AFFINES["oblique"], axes=axes)
    return voxels(volumes, header, scaled)


def whole_file(file: DicomFile) -> list[Frame]:
    return [Frame(file, at, None, None, None, (1.0, 0.0)) for at in range(file.frames)]


def as_image(volumes: Array) -> Array:
    """Return (T, K, rows, columns[, 3]) as (C, I, J, K), time fastest in C."""
    with_samples = volumes if volumes.ndim == 5 else volumes[..., None]
    t, k, j, i, s = with_samples.shape
    return with_samples.transpose(4, 0, 3, 2, 1).reshape(s * t, i, j, k)


def jpeg2000(frame: Array) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(frame).save(held, "JPEG2000", irreversible=False, no_jp2=True)
    return held.getvalue()


def jpeg(frame: Array) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(frame).save(held, "JPEG", quality=95)
    return held.getvalue()


def check_everything(backend: Any, expected: Array) -> None:
    """Hold regions and blocks of an image to an array."""
    for region in regions(expected.shape, 8):
        assert np.array_equal(backend.read(region, raw=True), part(expected, region))
    for layout in layouts(backend.header):
        assert b"".join(map(bytes, backend.blocks(layout))) == laid_out(expected, layout)


# frames that are stored


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32"])
def test_frames_of_a_file_in_any_order(syntax: str, dtype: str, tmp_path: Path) -> None:
    frames = numbers((6, ROWS, COLUMNS), dtype)
    file = opened(multi(frames, syntax), tmp_path / "x.dcm")
    order = [4, 5, 0, 3, 1, 2]
    some = [whole_file(file)[n] for n in order]
    check_everything(of_frames([some[:3], some[3:]]), as_image(frames[order].reshape(2, 3, ROWS, COLUMNS)))


def test_frames_of_two_files_between_each_other(tmp_path: Path) -> None:
    frames = numbers((4, ROWS, COLUMNS), "int16"), numbers((4, ROWS, COLUMNS), "int16", 1)
    a, b = (whole_file(opened(multi(each), tmp_path / f"{n}.dcm")) for n, each in enumerate(frames))
    mixed = [frame for pair in zip(a, b, strict=True) for frame in pair]
    expected = np.stack(frames, axis=1).reshape(1, 8, ROWS, COLUMNS)
    check_everything(of_frames([mixed]), as_image(expected))


def test_frames_that_follow_each_other_are_read_at_once(tmp_path: Path) -> None:
    """Quick paths: no list of pieces where the file itself is the array."""
    frames = whole_file(opened(multi(numbers((6, ROWS, COLUMNS), "int16")), tmp_path / "x.dcm"))
    assert of_frames([frames[1:5]]).stored.source is frames[0].file.source
    assert len(of_frames([frames[3:] + frames[:3]]).stored.source.pieces) == 2


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("syntax", [EXPLICIT, BIG])
@pytest.mark.parametrize("times", [1, 2])
def test_colours_of_a_volume_and_in_time(planar: bool, syntax: str, times: int, tmp_path: Path) -> None:
    frames = numbers((6, ROWS, COLUMNS, 3), "uint8")
    file = opened(multi(frames, syntax, planar=planar), tmp_path / "x.dcm")
    each = whole_file(file)
    count = 6 // times
    backend = of_frames([each[t * count : (t + 1) * count] for t in range(times)])
    check_everything(backend, as_image(frames.reshape(times, count, ROWS, COLUMNS, 3)))


def test_colours_that_change_with_time_have_both_axes(tmp_path: Path) -> None:
    """As an image: C is made of time, then of the colours."""
    array = numbers((2, ROWS, COLUMNS, 3), "uint8")
    for t, frame in enumerate(array):
        place = {**geometry(AFFINES["oblique"], 0), "TemporalPositionIdentifier": t + 1, "NumberOfTemporalPositions": 2}
        save(dataset(frame, InstanceNumber=t + 1, **place), tmp_path / f"{t}.dcm")
    backend = open_backend(tmp_path)
    assert backend.header.axes == (("time", 2), ("rgb", 3))
    assert np.array_equal(read(backend), as_image(array[:, None]))


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_floating_point_pixels(keyword: str, syntax: str, tmp_path: Path) -> None:
    dtype = "float32" if keyword.startswith("F") else "float64"
    frames = numbers((3, ROWS, COLUMNS), dtype)
    made = multi(np.zeros(frames.shape, "uint16"), syntax)
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated = 8 * frames.dtype.itemsize
    setattr(made, keyword, frames.astype(frames.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes())
    found = of_frames([whole_file(opened(made, tmp_path / "x.dcm"))])
    assert found.header.dtype == dtype
    assert np.array_equal(read(found, raw=True), as_image(frames[None]), equal_nan=True)


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, RLE, DEFLATED_FRAMES])
def test_single_bits(syntax: str, tmp_path: Path) -> None:
    """Frames of 5 x 7 bits: none but the first starts at a byte, unless each is compressed by itself."""
    frames = np.random.default_rng(3).integers(0, 2, (4, 5, 7), dtype="uint8")
    made = multi(np.zeros((4, 5, 7), "uint8"), EXPLICIT, BitsAllocated=1, BitsStored=1, HighBit=0)
    if syntax in (EXPLICIT, BIG):
        bits = np.packbits(frames.ravel(), bitorder="little").tobytes()
        bits += b"\0" * (len(bits) % 2)
        made.PixelData = np.frombuffer(bits, "<u2").astype(">u2").tobytes() if syntax == BIG else bits
        made["PixelData"].VR = "OW"
        made.file_meta.TransferSyntaxUID = syntax
    else:
        packed = [np.packbits(frame.ravel(), bitorder="little").tobytes() for frame in frames]
        if syntax == RLE:
            head = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
            encoded = [head + bytes([len(each) - 1]) + each for each in packed]
        else:
            engines = [zlib.compressobj(wbits=-15) for _ in packed]
            encoded = [engine.compress(each) + engine.flush() for engine, each in zip(engines, packed, strict=True)]
        made = encapsulated(made, syntax, [[each] for each in encoded])
    check_everything(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]), as_image(frames[None]))


@pytest.mark.parametrize(("dtype", "bits"), [("int16", 12), ("int16", 15), ("int8", 7), ("int32", 20)])
def test_signed_numbers_of_fewer_bits(dtype: str, bits: int, tmp_path: Path) -> None:
    """The bits above the sign may be 0, or its copies: -3 is -3 either way."""
    half = 1 << (bits - 1)
    values = np.random.default_rng(5).integers(-half, half, (4, ROWS, COLUMNS)).astype(dtype)
    bare = values & np.array((1 << bits) - 1, dtype)
    for n, frames in enumerate((values, bare)):
        made = multi(frames, BitsStored=bits, HighBit=bits - 1)
        check_everything(of_frames([whole_file(opened(made, tmp_path / f"{n}.dcm"))]), as_image(values[None]))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_colour_differences(photometric: str, tmp_path: Path) -> None:
    """Where nothing is compressed, each frame is what pydicom makes of it."""
    chance = np.random.default_rng(9)
    made = multi(np.zeros((3, 6, 8, 3), "uint8"), PhotometricInterpretation=photometric)
    made.PixelData = chance.integers(0, 256, 3 * 6 * 8 * (2 if photometric.endswith("422") else 3), "uint8").tobytes()
    made["PixelData"].VR = "OB"
    file = opened(made, tmp_path / "x.dcm")
    expected = pydicom.pixels.pixel_array(tmp_path / "x.dcm")
    check_everything(of_frames([whole_file(file)]), as_image(expected[None]))


def test_frames_that_scale_differently_are_values(tmp_path: Path) -> None:
    frames = numbers((4, ROWS, COLUMNS), "int16")
    file = opened(multi(frames), tmp_path / "x.dcm")
    scalings = [(0.5, 1.0), (2.0, -3.0), (1.0, 0.0), (0.25, 7.0)]
    each = [Frame(file, at, None, None, None, scaling) for at, scaling in enumerate(scalings)]
    expected = np.stack(
        [frame.astype("f4") * np.float32(m) + np.float32(b) for frame, (m, b) in zip(frames, scalings, strict=True)]
    )
    check_everything(of_frames([each], scaled=True, dtype="float32"), as_image(expected[None]))


# colours of a table


def with_palette(frames: Array, bits: int, first: int = 0, entries: int = 200) -> Any:
    """Return a data set whose numbers are places in a table that starts at ``first``."""
    made = multi(frames, PhotometricInterpretation="PALETTE COLOR", **geometry(AFFINES["oblique"], 0))
    chance = np.random.default_rng(bits)
    for colour in ("Red", "Green", "Blue"):
        data = chance.integers(0, 1 << bits, entries).astype(f"u{bits // 8}").tobytes()
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [entries, first, bits])
        setattr(made, f"{colour}PaletteColorLookupTableData", data)
    return made


@pytest.mark.parametrize(("bits", "first"), [(8, 0), (16, 0), (16, 30)])
def test_palettes_are_kept_as_stored_and_shown_in_colours(bits: int, first: int, tmp_path: Path) -> None:
    frames = numbers((2, ROWS, COLUMNS), "uint8")
    file = opened(with_palette(frames, bits, first), tmp_path / "x.dcm")
    backend = of_frames([whole_file(file)[:1], whole_file(file)[1:]])
    check_everything(backend, as_image(frames[:, None]))
    expected = pydicom.pixels.apply_color_lut(frames, pydicom.dcmread(tmp_path / "x.dcm"))
    shown = backend.coloured()
    assert (shown.header.axes, shown.header.dtype) == ((("time", 2), ("rgb", 3)), f"uint{bits}")
    check_everything(shown, as_image(expected[:, None]))


def test_pictures_have_the_colours_of_a_palette(tmp_path: Path) -> None:
    from medimg_cli.media.look import Look
    from medimg_cli.media.scenes import open_scene

    made = with_palette(numbers((1, ROWS, COLUMNS), "uint8"), 8)
    opened(made, tmp_path / "x.dcm")
    assert open_scene(open_backend(tmp_path / "x.dcm"), Look()).scene.colour
    del made.RedPaletteColorLookupTableData
    opened(made, tmp_path / "x.dcm")
    assert not open_scene(open_backend(tmp_path / "x.dcm"), Look()).scene.colour


# tiles


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG, RLE, J2K])
def test_tiles_of_mosaics(syntax: str, tmp_path: Path) -> None:
    """Three times, five slices of 4 x 3 in a mosaic of 3 x 2 tiles; each mosaic is read once."""
    volumes = numbers((3, 5, 4, 3), "uint16")
    tiles = [Tile(4 * (n // 3), 3 * (n % 3), 4, 3) for n in range(5)]
    frames = []
    for t, volume in enumerate(volumes):
        mosaic = np.zeros((8, 9), "uint16")
        for tile, image in zip(tiles, volume, strict=True):
            mosaic[tile.row : tile.row + 4, tile.column : tile.column + 3] = image
        if syntax == J2K:
            file = opened(encapsulated(dataset(mosaic), J2K, [[jpeg2000(mosaic)]]), tmp_path / f"{t}.dcm")
        else:
            file = read_file(open_source(str(save(dataset(mosaic, syntax=syntax), tmp_path / f"{t}.dcm"))))
        frames.append([Frame(file, 0, None, None, None, (1.0, 0.0), {}, tile) for tile in tiles])
    check_everything(of_frames(frames), as_image(volumes))
    backend = of_frames(frames)
    read(backend)
    assert backend._read == (0 if syntax in (EXPLICIT, BIG) else 3)


# compressed frames


def rle_frames(frames: Array, tmp_path: Path, **values: Any) -> DicomFile:
    made = multi(frames, **values)
    made.compress(RLE, generate_instance_uid=False)
    return opened(made, tmp_path / "x.dcm")


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_frames_in_rle(dtype: str, tmp_path: Path) -> None:
    frames = numbers((6, ROWS, COLUMNS), dtype)
    each = whole_file(rle_frames(frames, tmp_path))
    check_everything(of_frames([each[:3], each[3:]]), as_image(frames.reshape(2, 3, ROWS, COLUMNS)))


def test_colours_in_rle(tmp_path: Path) -> None:
    frames = numbers((4, ROWS, COLUMNS, 3), "uint16")
    each = whole_file(rle_frames(frames, tmp_path))
    check_everything(of_frames([each[:2], each[2:]]), as_image(frames.reshape(2, 2, ROWS, COLUMNS, 3)))


def test_only_the_frame_that_is_asked_for_is_decoded(tmp_path: Path) -> None:
    frames = numbers((5, ROWS, COLUMNS), "int16")
    file = rle_frames(frames, tmp_path)
    content = bytearray(Path(file.source.name).read_bytes())
    ((start, length),) = encoded_frames(file)[2]
    content[start : start + length] = b"\x77" * length
    Path(file.source.name).write_bytes(content)
    backend = of_frames([whole_file(read_file(open_source(file.source.name)))])
    for k in (0, 1, 3, 4):
        one = backend.read((range(1), range(COLUMNS), range(ROWS), range(k, k + 1)), raw=True)
        assert np.array_equal(one[0, :, :, 0], frames[k].T)
    with pytest.raises(FormatError, match=r"x\.dcm.*RLE"):
        read(backend)


def test_frames_are_decoded_once_for_readers_in_another_order(tmp_path: Path) -> None:
    """Slabs along I would decode every frame anew; reading column by column, too."""
    frames = numbers((7, ROWS, COLUMNS), "int16")
    file = rle_frames(frames, tmp_path)
    backend = of_frames([whole_file(file)])
    layout = next(each for each in layouts(backend.header) if each.slowest() == 1)
    assert b"".join(map(bytes, backend.blocks(layout, max_bytes=16))) == laid_out(as_image(frames[None]), layout)
    assert backend._read == 7
    backend = of_frames([whole_file(file)])
    for n in range(40):
        backend.read((range(1), range(n % COLUMNS, n % COLUMNS + 1), range(ROWS), range(7)))
    assert backend._read <= 3 * 7 + 1


def test_voxels_pickle_without_what_they_keep(tmp_path: Path) -> None:
    frames = numbers((5, ROWS, COLUMNS), "int16")
    backend = of_frames([whole_file(rle_frames(frames, tmp_path))])
    backend.decode()
    twin = pickle.loads(pickle.dumps(backend))
    assert np.array_equal(read(twin), read(backend))
    assert np.array_equal(read(twin), as_image(frames[None]))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_jpeg_2000_of_the_core(dtype: str, tmp_path: Path) -> None:
    frames = numbers((3, 12, 10), dtype)
    made = encapsulated(dataset(frames[0]), J2K, [[jpeg2000(frame)] for frame in frames])
    check_everything(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]), as_image(frames[None]))


def test_jpeg_of_colours(tmp_path: Path) -> None:
    """Lossy: what Pillow shows, which is what was said to be there within a few steps."""
    from PIL import Image

    ramp = np.indices((16, 24)).sum(0)
    frame = np.stack([ramp * 5, 255 - ramp * 5, ramp * 2], axis=-1).astype("uint8")
    code = jpeg(frame)
    made = encapsulated(dataset(frame, PhotometricInterpretation="YBR_FULL_422"), BASELINE, [[code]])
    found = read(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]))[..., 0].transpose(2, 1, 0)
    shown = np.asarray(Image.open(io.BytesIO(code)).convert("RGB")).astype(int)
    assert np.abs(found.astype(int) - shown).max() <= 2


@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("uint8", 7), ("uint16", 16), ("uint16", 12), ("int16", 16)])
def test_jpeg_ls(dtype: str, bits: int, tmp_path: Path) -> None:
    """What CharLS encodes is what GDCM decodes; of 7 bits, CharLS itself."""
    pytest.importorskip("jpeg_ls")
    frame = numbers((12, 10), dtype) >> np.array(8 * np.dtype(dtype).itemsize - bits, dtype)
    made = dataset(frame, SOPClassUID="1.2.840.10008.5.1.4.1.1.7", BitsStored=bits, HighBit=bits - 1)
    made.compress(JPEG_LS, generate_instance_uid=False)
    file = opened(made, tmp_path / "x.dcm")
    assert np.array_equal(read(of_frames([whole_file(file)]))[0, :, :, 0], frame.T)


def test_a_codestream_without_an_end(tmp_path: Path) -> None:
    """Decoders of JPEG-LS look for the end for ever."""
    pytest.importorskip("jpeg_ls")
    frame = numbers((64, 64), "int16")
    made = dataset(frame, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    made.compress(JPEG_LS, generate_instance_uid=False)
    code = pydicom.encaps.get_frame(made.PixelData, 0, number_of_frames=1)
    file = opened(encapsulated(made, JPEG_LS, [[code[:4000]]]), tmp_path / "x.dcm")
    with pytest.raises(TruncatedError, match="no end"):
        read(of_frames([whole_file(file)]))


def test_what_the_core_cannot_decode_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG-LS of 7 bits is nothing for GDCM."""
    from medimg_cli.formats.dicom import decoding

    monkeypatch.setattr(decoding, "find_spec", lambda name: None)
    made = encapsulated(dataset(np.zeros((4, 5), "uint8"), BitsStored=7, HighBit=6), JPEG_LS, [[bytes(64)]])
    file = opened(made, tmp_path / "x.dcm")
    assert "JPEG-LS Lossless of 7 bits" in str(undecodable(file))
    with pytest.raises(MedImgError, match=r"no decoder.*medimg-cli\[dicom\]"):
        read(open_backend(tmp_path / "x.dcm"))


# fragments


def split_in(code: bytes, count: int) -> list[bytes]:
    """Cut a codestream into fragments of even length."""
    code += b"\0" * (len(code) % 2)
    step = len(code) // count // 2 * 2
    cuts = [n * step for n in range(count)]
    return [code[a:b] for a, b in zip(cuts, [*cuts[1:], len(code)], strict=True)]


@pytest.mark.parametrize("table", ["right", "empty", "wrong"])
def test_frames_in_several_fragments(table: str, tmp_path: Path) -> None:
    """The table of offsets tells where frames start; without it, or against sense, the end of a codestream does."""
    frames = numbers((3, 12, 10), "uint8")
    pieces = [split_in(jpeg2000(frame), count) for frame, count in zip(frames, (2, 1, 3), strict=True)]
    lengths = [sum(len(piece) + 8 for piece in frame) for frame in pieces]
    offsets = {"right": [0, lengths[0], sum(lengths[:2])], "empty": [], "wrong": [0, 10, 11]}[table]
    file = opened(encapsulated(dataset(frames[0]), J2K, pieces, offsets), tmp_path / "x.dcm")
    assert [len(each) for each in encoded_frames(file)] == [2, 1, 3]
    check_everything(of_frames([whole_file(file)]), as_image(frames[None]))


def test_one_frame_in_many_fragments(tmp_path: Path) -> None:
    frame = numbers((12, 10), "uint16")
    file = opened(encapsulated(dataset(frame), J2K, [split_in(jpeg2000(frame), 5)]), tmp_path / "x.dcm")
    assert np.array_equal(read(of_frames([whole_file(file)]))[0, :, :, 0], frame.T)


def test_encoded_bytes_may_look_like_the_end(tmp_path: Path) -> None:
    """A delimiter inside of a fragment ends nothing: fragments have lengths."""
    frame = np.frombuffer(b"\xfe\xff\xdd\xe0\0\0\0\0" * 5, "uint8").reshape(5, 8)
    head = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    made = encapsulated(dataset(frame), RLE, [[head + bytes([39]) + frame.tobytes()]])
    assert np.array_equal(read(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]))[0, :, :, 0], frame.T)


def test_fragments_that_make_another_number_of_frames(tmp_path: Path) -> None:
    frames = numbers((3, 12, 10), "uint8")
    made = encapsulated(dataset(frames[0]), J2K, [[jpeg2000(frame)] for frame in frames])
    made.NumberOfFrames = 5
    with pytest.raises(FormatError, match="3 frames in 3 fragments, its header says 5"):
        read(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]))


@pytest.mark.parametrize("cut", [3, 9, 40])
def test_a_cut_fragment(cut: int, tmp_path: Path) -> None:
    frame = numbers((12, 10), "uint16")
    path = tmp_path / "x.dcm"
    opened(encapsulated(dataset(frame), J2K, [[jpeg2000(frame)]]), path)
    path.write_bytes(path.read_bytes()[: -8 - cut])
    with pytest.raises(MedImgError, match=r"x\.dcm"):
        read(of_frames([whole_file(read_file(open_source(str(path))))]))


# what cannot be


def test_the_size_of_a_codestream() -> None:
    frame = numbers((12, 10), "uint16")
    assert codestream(jpeg2000(frame)) == Codestream(12, 10, 1, 16)
    assert codestream(jpeg(np.zeros((9, 7, 3), "uint8"))) == Codestream(9, 7, 3, 8)
    for damaged in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\xff\xff", jpeg2000(frame)[:30], b"\xff\xd8" + b"\xff" * 50):
        assert codestream(damaged) is None


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_a_codestream_of_another_size_is_not_decoded(keyword: str, tmp_path: Path) -> None:
    frame = numbers((12, 10), "uint8")
    made = encapsulated(dataset(frame), J2K, [[jpeg2000(frame)]])
    setattr(made, keyword, 9)
    with pytest.raises(FormatError, match="12 x 10 x 1 of 8 bits, its header says"):
        read(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]))


def test_no_memory_is_taken_for_frames_that_cannot_be_there(tmp_path: Path) -> None:
    """What a header promises is bounded by the bytes that are there."""
    small = numbers((ROWS, COLUMNS), "int16")
    for n, (made, word) in enumerate(
        (
            (multi(small[None]), "truncated: 60 bytes of pixel data, 1000000000 frames"),
            (encapsulated(dataset(small), RLE, [[bytes(200)]]), "encoded bytes cannot hold"),
            (encapsulated(dataset(small), J2K, [[bytes(200)]]), "encoded bytes cannot hold"),
        )
    ):
        made.NumberOfFrames = 10**9
        assert word in str(problem_of(opened(made, tmp_path / f"{n}.dcm")))
    made = encapsulated(dataset(small), RLE, [[bytes(200)]])
    made.Rows = made.Columns = 65535
    assert "cannot hold the 8589672450 bytes" in str(problem_of(opened(made, tmp_path / "large.dcm")))


def test_a_value_of_4_gb_is_refused(tmp_path: Path) -> None:
    """CVE-2026-3650: a length that is longer than the file."""
    path = save(dataset(numbers((ROWS, COLUMNS), "int16"), **geometry(AFFINES["oblique"], 0)), tmp_path / "x.dcm")
    content = path.read_bytes()
    at = content.rfind(b"\xe0\x7f\x10\x00OW\0\0")
    path.write_bytes(content[: at + 8] + b"\xf0\xff\xff\xff" + content[at + 12 :])
    with pytest.raises(TruncatedError, match="60 bytes of pixel data, its header says 4294967280"):
        read(open_backend(path))


def test_deflated_frames_end_where_they_must(tmp_path: Path) -> None:
    """A frame that would inflate to 64 MiB is inflated to the bytes of its rows and columns; a short one is refused."""
    frame = np.zeros((4, 6), "uint8")
    for n, length in enumerate((1 << 26, 10)):
        engine = zlib.compressobj(9, wbits=-15)
        code = engine.compress(bytes(length)) + engine.flush()
        file = opened(encapsulated(dataset(frame), DEFLATED_FRAMES, [[code]]), tmp_path / str(n))
        if n == 0:
            assert not read(of_frames([whole_file(file)])).any()
            continue
        with pytest.raises(TruncatedError, match="decodes to 10 bytes"):
            read(of_frames([whole_file(file)]))


def test_rle_of_bits_is_bounded() -> None:
    head = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56)
    assert unpacked(head + b"\x81\x05" * 1000, 7) == b"\5" * 7
    assert unpacked(head + b"\x80\x80\x01ab\x05", 9) == b"ab"
    assert unpacked(b"", 9) == b""


def test_films_are_named_before_anything_is_written(tmp_path: Path) -> None:
    frame = numbers((ROWS, COLUMNS), "uint8")
    file = opened(encapsulated(dataset(frame), MPEG, [[bytes(64)]]), tmp_path / "x.dcm")
    assert "MPEG" in str(undecodable(file))
    backend = open_backend(tmp_path / "x.dcm")
    assert "no decoder for transfer syntax MPEG" in " ".join(backend.header.warnings)
    with pytest.raises(UnsupportedError, match="no decoder"):
        save_backend(backend, str(tmp_path / "out.nii.gz"))
    assert [path.name for path in tmp_path.iterdir()] == ["x.dcm"]


def test_one_film_among_images_is_named(tmp_path: Path) -> None:
    frames = numbers((3, 12, 10), "uint8")
    for k, (syntax, frame) in enumerate(zip((J2K, MPEG, J2K), frames, strict=True)):
        made = encapsulated(dataset(frame, **geometry(AFFINES["oblique"], k)), syntax, [[jpeg2000(frame)]])
        opened(made, tmp_path / f"{k}.dcm")
    with pytest.raises(UnsupportedError, match=r"1\.dcm: no decoder for transfer syntax MPEG"):
        read(open_backend(tmp_path))


def test_an_unknown_system_of_colours_is_named(tmp_path: Path) -> None:
    made = multi(numbers((2, ROWS, COLUMNS, 3), "uint8"), PhotometricInterpretation="YBR_PARTIAL_420")
    with pytest.raises(UnsupportedError, match="YBR_PARTIAL_420 are not read"):
        read(of_frames([whole_file(opened(made, tmp_path / "x.dcm"))]))


def test_the_file_with_the_problem_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, numbers((COLUMNS, ROWS, 4), "int16"), AFFINES["oblique"], syntax=RLE)
    file = read_file(open_source(str(paths[2])))
    content = bytearray(paths[2].read_bytes())
    content[file.offset :] = b"\x55" * (len(content) - file.offset)
    paths[2].write_bytes(content)
    with pytest.raises(MedImgError, match=paths[2].name):
        read(open_backend(tmp_path))


def test_damaged_codestreams_never_crash(tmp_path: Path) -> None:
    """Mutations behind the size: an error of ours, or numbers of the right shape."""
    frame = numbers((12, 10), "uint8")
    codes = {J2K: jpeg2000(frame), BASELINE: jpeg(frame)}
    chance = np.random.default_rng(11)
    for syntax, code in codes.items():
        for n in range(40):
            damaged = bytearray(code)
            for at in chance.integers(0, len(code), 3):
                damaged[at] = chance.integers(256)
            made = encapsulated(dataset(frame), syntax, [[bytes(damaged)]])
            backend = of_frames([whole_file(opened(made, tmp_path / f"{syntax[-2:]}-{n}.dcm"))])
            assert isinstance(backend, PlanesBackend)
            try:
                assert read(backend).shape == (1, 10, 12, 1)
            except MedImgError as error:
                assert "\n" not in str(error)

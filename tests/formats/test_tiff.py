"""TIFF: against Pillow and SimpleITK, hyperstacks of ImageJ, and directories that lead astray."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, StoredBackend
from medimg_cli.errors import FormatError, MedImgError, TruncatedError
from medimg_cli.formats import open_backend, tiff, tiff_writing
from medimg_cli.formats.through_simpleitk import ItkBackend
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Header
from tests.helpers import make, one_line, part, read, regions, unlike, voxels

Entry = tuple[int, int, int, bytes]


def page(*entries: Entry, at: int = 8, following: int = 0) -> bytes:
    """Return a little-endian file with one directory at ``at``."""
    rows = (struct.pack("<HHI", *e[:3]) + e[3].ljust(4, b"\0") for e in entries)
    body = struct.pack("<H", len(entries)) + b"".join(rows)
    return (b"II*\0" + struct.pack("<I", at)).ljust(at, b"\0") + body + struct.pack("<I", following)


def word(tag: int, value: int) -> Entry:
    return tag, 4, 1, struct.pack("<I", value)


def plain(width: int = 3, height: int = 2, *more: Entry, offset: int = 200, count: int | None = None) -> list[Entry]:
    count = width * height if count is None else count
    entries = [word(256, width), word(257, height), word(258, 8), word(259, 1), word(262, 1), word(273, offset),
               word(277, 1), word(279, count), *more]  # fmt: skip
    return sorted(entries)


def stack(shape: tuple[int, ...], axes: tuple[tuple[str, int], ...] = (), dtype: str = "uint16") -> ArrayBackend:
    affine = AffineMatrix.from_lps(AffineMatrix.from_spacing((0.7, 1.3, 2.5)))
    spacing = 2.0 if axes and axes[0][0] == "time" else None
    header = Header(shape=shape, dtype=dtype, affine=affine, axes=axes, time_spacing=spacing)  # type: ignore[arg-type]
    return ArrayBackend(voxels(shape, dtype), header)


HYPER = [
    ((1, 5, 4, 3), ()),
    ((2, 5, 4, 3), (("channel", 2),)),
    ((3, 5, 4, 2), (("time", 3),)),
    ((6, 5, 4, 3), (("channel", 2), ("time", 3))),
    ((3, 5, 4, 3), (("rgb", 3),)),
    ((8, 5, 4, 3), (("channel", 2), ("rgb", 4))),
]


@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize(("shape", "axes"), HYPER)
def test_hyperstacks_come_back(
    shape: tuple[int, ...], axes: Any, big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if big:
        style = tiff_writing._Style
        monkeypatch.setattr(tiff_writing, "_Style", lambda order, _: style(order, True))
    image, path = stack(shape, axes), str(tmp_path / "x.tif")
    assert not save_backend(image, path)
    backend = open_backend(path)
    assert isinstance(backend, StoredBackend)
    assert unlike(read(backend), read(image)) is None
    assert backend.header.axes == axes
    assert np.allclose(backend.header.spacing, (0.7, 1.3, 2.5), atol=1e-9)
    pillow: Any = pytest.importorskip("PIL.Image")
    if axes and axes[-1][0] == "rgb":
        return  # Pillow cuts 16 bits of colour to 8
    with pillow.open(path) as seen:
        assert seen.n_frames == shape[0] * shape[3]
        for number in range(seen.n_frames):
            seen.seek(number)
            channels = dict(axes).get("channel", 1)
            c, k = number % channels, number // channels % shape[3]
            t = number // channels // shape[3]
            assert np.array_equal(np.asarray(seen).T, image.array[c + channels * t, :, :, k])


def test_the_description_is_imagej_s(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    save_backend(stack((6, 5, 4, 3), (("channel", 2), ("time", 3))), str(path))
    content = path.read_bytes()
    for line in (b"ImageJ=1", b"images=18", b"channels=2", b"slices=3", b"frames=3", b"unit=cm", b"spacing=0.25"):
        assert line in content


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("\\u00B5m", 1e-3), ("cm", 10.0)])
def test_imagej_s_units(unit: str, factor: float) -> None:
    text = f"ImageJ=1.53t\nimages=4\nslices=2\nframes=2\nunit={unit}\nspacing=3.5\nfinterval=1.5\n".encode()
    entries = plain(3, 2, (270, 2, len(text), struct.pack("<I", 240)), (282, 5, 1, struct.pack("<I", 400)),
                    (283, 5, 1, struct.pack("<I", 408)), word(296, 1), offset=500)  # fmt: skip
    content = bytearray(page(*entries).ljust(524, b"\0"))
    content[240 : 240 + len(text)] = text
    content[400:416] = struct.pack("<4I", 2, 1, 4, 1)
    content[500:524] = bytes(range(24))
    backend = open_backend(bytes(content), name="x.tif")  # one directory, four images behind one another
    assert backend.header.shape == (2, 3, 2, 2)
    assert backend.header.axes == (("time", 2),)
    assert backend.header.time_spacing == 1.5
    assert np.allclose(backend.header.spacing, np.array([0.5, 0.25, 3.5]) * factor)
    assert read(backend)[1, 0, 0, 1] == 18


def test_pages_with_gaps_of_their_own(tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    array = voxels((3, 4, 5), "int16")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.75, 2.0))
    sitk.WriteImage(image, str(tmp_path / "x.tif"))
    backend = open_backend(str(tmp_path / "x.tif"))
    full = read(backend)
    assert unlike(full, array.T[None]) is None
    assert np.allclose(backend.header.spacing, (0.5, 0.75, 1.0))
    assert "spacing along K" in backend.header.warnings[0]
    for region in regions(full.shape, 50):
        assert unlike(backend.read(region), part(full, region)) is None


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32"])
def test_simpleitk_reads_what_medimg_writes(dtype: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image, path = stack((1, 5, 4, 3), dtype=dtype), str(tmp_path / "x.tif")
    save_backend(image, path)
    seen = sitk.ReadImage(path)
    assert unlike(sitk.GetArrayFromImage(seen).T[None], read(image)) is None
    assert np.allclose(seen.GetSpacing()[:2], (0.7, 1.3), atol=1e-6)


@pytest.mark.parametrize("coding", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "group4", "jpeg"])
def test_compressed_pages_go_through_simpleitk(coding: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    array = voxels((20, 30), "bool") if coding == "group4" else voxels((20, 30), "uint8")
    pillow.fromarray(array).save(tmp_path / "x.tif", compression=coding)
    backend = open_backend(str(tmp_path / "x.tif"))
    assert isinstance(backend, ItkBackend)
    full = read(backend)
    if coding in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        assert unlike(full[0, :, :, 0].T, array) is None
    if coding == "group4":
        assert np.array_equal(full[0, :, :, 0].T == 255, array)
    for region in regions(full.shape, 10):
        assert unlike(backend.read(region), part(full, region)) is None
    assert capfd.readouterr().err == ""


def test_damage_that_simpleitk_only_mutters_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    path = tmp_path / "x.tif"
    pillow.fromarray(voxels((60, 80), "bool")).save(path, compression="group4")
    content = bytearray(path.read_bytes())
    content[60:100] = bytes(40)
    with pytest.raises(FormatError) as error:
        read(open_backend(bytes(content), name="x.tif"))
    assert one_line(error.value)
    assert capfd.readouterr().err == ""


def test_other_pages_and_thumbnails(tmp_path: Path) -> None:
    pillow: Any = pytest.importorskip("PIL.Image")
    images = [pillow.fromarray(voxels(size, "uint8")) for size in ((4, 5), (4, 5), (3, 5))]
    images[0].save(tmp_path / "x.tif", save_all=True, append_images=images[1:])
    header = open_backend(str(tmp_path / "x.tif")).header
    assert header.shape == (1, 5, 4, 2)
    assert header.warnings[0] == "1 pages of another size or type are left out"
    small = page(*plain(3, 2, word(254, 1)), following=0).ljust(206, b"\0")
    assert open_backend(small, name="x.tif").header.shape == (1, 3, 2, 1)


def test_the_orientation_tag_is_said() -> None:
    header = open_backend(page(*plain(3, 2, word(274, 8))).ljust(206, b"\0"), name="x.tif").header
    assert "orientation tag is 8" in header.warnings[0]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"II*\0", FormatError),
        (b"II*\0\xff\0\0\0", TruncatedError),
        (b"II*\0\x08\0\0\0\0\0\0\0", FormatError),
        (page(*plain(), following=8).ljust(206, b"\0"), FormatError),
        (page(*plain(), following=150).ljust(150, b"\0") + page(*plain(), following=8)[8:] + bytes(60), FormatError),
        (page(word(256, 3), *plain()).ljust(206, b"\0"), FormatError),
        (page(*plain(0, 2)).ljust(206, b"\0"), FormatError),
        (page(*plain(3, 2, (270, 2, 1 << 30, b"\0\0\0\0"))).ljust(206, b"\0"), FormatError),
        (page(*plain(3, 2, word(322, 16), word(324, 9000), word(325, 256))).ljust(206, b"\0"), TruncatedError),
        (page(*[e for e in plain(60000, 60000, count=6) if e[0] != 259], word(259, 5)).ljust(206, b"\0"), FormatError),
    ],
)
def test_what_cannot_be_is_refused(content: bytes, error: type[MedImgError]) -> None:
    with pytest.raises(error) as caught:
        read(open_backend(content, name="x.tif"))
    assert one_line(caught.value)


def test_voxels_cut_off() -> None:
    backend = open_backend(page(*plain()).ljust(205, b"\0"), name="x.tif")
    assert backend.header.warnings[-1].startswith("truncated")
    with pytest.raises(TruncatedError):
        read(backend)


def test_what_tiff_cannot_hold_is_reported() -> None:
    fields = {loss.field for loss in losses(make("described").header, "x.tif")}
    assert {"affine", "metadata", "history", "intent", "description", "extensions"} <= fields
    assert tiff.fit(make("flat").header.replace(description="one page"), "x.tif").description == ""
    flat = stack((1, 5, 4, 1)).header.replace(description="one page", affine=AffineMatrix())
    assert tiff.fit(flat, "x.tif").description == "one page"


@pytest.mark.parametrize("spacing", [(0, 2, 3), (2, 0, 3), (2, 3, 0), (1e-12, 2, 3), (1e-310, 2, 3)])
def test_voxel_sizes_that_no_resolution_says(spacing: tuple[float, float, float], tmp_path: Path) -> None:
    """A size of 0 is written as a reader takes it, and the report says so; one far too small as the smallest."""
    header = stack((1, 5, 4, 3)).header.replace(affine=AffineMatrix(np.diag([*spacing, 1.0])))
    found = save_backend(ArrayBackend(np.zeros(header.shape, header.dtype), header), str(tmp_path / "x.tif"))
    back = open_backend(str(tmp_path / "x.tif")).header.spacing
    assert back == pytest.approx([size or 1 for size in spacing], abs=3e-9)
    assert "affine" in {loss.field for loss in found} or min(spacing) > 0

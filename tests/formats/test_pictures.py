"""PNG, JPEG, BMP, JPEG 2000: the pixels and voxel sizes that ITK sees, and what a picture cannot hold."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import FormatError, LossError, MedImgError, TruncatedError, UnsupportedError
from medimg_cli.formats import open_backend, pictures
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Header
from tests.helpers import make, one_line, part, read, regions, unlike, voxels

pillow: Any = pytest.importorskip("PIL.Image")
GRAY = np.arange(35, dtype="u1").reshape(5, 7) * 7


def picture(mode: str) -> Any:
    """Return a picture of 7 x 5 pixels in a mode of Pillow."""
    if mode == "1":
        return pillow.fromarray(GRAY > 100)
    if mode == "I;16":
        return pillow.fromarray(GRAY.astype("u2") * 250)
    if mode in ("P", "PA"):
        return pillow.fromarray(voxels((5, 7, 3), "uint8")).quantize(4).convert(mode)
    bands = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    array = voxels((5, 7, bands), "uint8")
    return pillow.fromarray(array[:, :, 0] if bands == 1 else array, mode)


def flat(shape: tuple[int, ...], dtype: str = "uint8", **more: Any) -> ArrayBackend:
    affine = AffineMatrix.from_spacing((0.7, 1.3, 2.5), origin=(1, 2, 3))
    return ArrayBackend(voxels(shape, dtype), Header(shape=shape, dtype=dtype, affine=affine, **more))  # type: ignore[arg-type]


CASES = [("png", mode) for mode in ("1", "L", "P", "RGB", "RGBA", "I;16")]
CASES += [("jpg", "L"), ("jpg", "RGB"), ("bmp", "RGB"), ("bmp", "P")]


@pytest.mark.parametrize(("suffix", "mode"), CASES)
def test_pixels_are_those_of_simpleitk(suffix: str, mode: str, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    path = str(tmp_path / f"x.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture(mode).save(path, dpi=(96, 48), **({"subsampling": 0} if suffix == "jpg" else {}))
    backend = open_backend(path)
    values = read(backend)
    seen = sitk.ReadImage(path)
    expected = sitk.GetArrayFromImage(seen)
    expected = expected[..., None] if expected.ndim == 2 else expected
    assert unlike(values[..., 0].transpose(2, 1, 0), expected) is None
    assert np.allclose(backend.header.spacing[:2], seen.GetSpacing())
    assert backend.header.affine.orientation == ("L", "P", "S")
    for region in regions(values.shape, 20):
        assert unlike(backend.read(region), part(values, region)) is None


def test_gray_with_alpha_and_other_colours(tmp_path: Path) -> None:
    picture("LA").save(tmp_path / "x.png")
    backend = open_backend(str(tmp_path / "x.png"))
    assert backend.header.axes == (("channel", 2),)
    assert unlike(read(backend)[..., 0].transpose(2, 1, 0), np.asarray(picture("LA"))) is None
    picture("CMYK").save(tmp_path / "x.jpg")
    header = open_backend(str(tmp_path / "x.jpg")).header
    assert header.axes == (("rgb", 3),)
    assert header.warnings == ("CMYK colours are converted to RGB",)


@pytest.mark.parametrize("components", [3, 4])
def test_sixteen_bits_of_colour_stay(components: int, tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    array = voxels((5, 7, components), "uint16")
    image = sitk.GetImageFromArray(array, isVector=True)
    image.SetSpacing((0.5, 0.75))
    sitk.WriteImage(image, str(tmp_path / "x.png"))
    backend = open_backend(str(tmp_path / "x.png"))
    assert backend.header.dtype == "uint16"
    assert backend.header.spacing == (0.5, 0.75, 1.0)
    assert unlike(read(backend)[..., 0].transpose(2, 1, 0), array) is None
    (tmp_path / "x.png").write_bytes((tmp_path / "x.png").read_bytes()[:-20])
    with pytest.raises(TruncatedError):
        open_backend(str(tmp_path / "x.png"))


def test_jpeg_2000(tmp_path: Path) -> None:
    array = voxels((40, 50), "uint16")
    pillow.fromarray(array).save(tmp_path / "x.jp2")
    assert unlike(read(open_backend(str(tmp_path / "x.jp2")))[0, :, :, 0].T, array) is None


def test_what_is_not_taken_over_is_said(tmp_path: Path) -> None:
    exif = pillow.Exif()
    exif[0x0112] = 6
    picture("RGB").save(tmp_path / "x.jpg", exif=exif)
    assert "orientation tag of EXIF (6)" in open_backend(str(tmp_path / "x.jpg")).header.warnings[0]
    picture("L").save(tmp_path / "x.png", save_all=True, append_images=[picture("L").rotate(180)])
    assert "holds 2 pictures" in open_backend(str(tmp_path / "x.png")).header.warnings[0]
    picture("L").save(tmp_path / "y.png", transparency=3)
    assert "transparent" in open_backend(str(tmp_path / "y.png")).header.warnings[0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("missing", [1, 12, 200, 3000])
def test_truncated_pictures(suffix: str, missing: int, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    pillow.fromarray(voxels((120, 90), "uint8")).save(path)
    path.write_bytes(path.read_bytes()[:-missing])
    backend = open_backend(str(path))
    assert backend.header.shape == (1, 90, 120, 1)
    assert backend.header.warnings[-1].startswith("truncated")
    with pytest.raises(TruncatedError) as error:
        read(backend)
    assert one_line(error.value)


def test_bombs_are_refused_not_warned_of(tmp_path: Path) -> None:
    picture("L").save(tmp_path / "x.png")
    content = bytearray((tmp_path / "x.png").read_bytes())
    content[16:24] = struct.pack(">2I", 60000, 60000)
    from zlib import crc32

    content[29:33] = struct.pack(">I", crc32(content[12:29]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FormatError, match="bomb") as error:
            open_backend(bytes(content), name="x.png")
    assert one_line(error.value)


DAMAGED = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"BM" + bytes(20), b"BM" + b"\xff" * 60]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_headers_are_one_line(content: bytes) -> None:
    with pytest.raises(MedImgError) as error:
        read(open_backend(content))
    assert one_line(error.value)


SLICES = [((1, 5, 4, 1), (0.7, 1.3)), ((1, 5, 1, 3), (0.7, 2.5)), ((1, 1, 4, 3), (1.3, 2.5))]


@pytest.mark.parametrize(("shape", "sizes"), SLICES)
def test_a_slice_across_any_axis(shape: tuple[int, ...], sizes: tuple[float, float], tmp_path: Path) -> None:
    sitk: Any = pytest.importorskip("SimpleITK")
    image, path = flat(shape), str(tmp_path / "x.png")
    lost = {loss.field for loss in save_backend(image, path)}
    assert "affine" in lost
    assert ("shape" in lost) == (shape[3] != 1)
    backend = open_backend(path)
    assert unlike(read(backend).squeeze(), image.array.squeeze()) is None
    assert backend.header.spacing == (*sizes, 1.0)
    seen = sitk.ReadImage(path)
    assert np.allclose(seen.GetSpacing(), sizes)
    assert unlike(sitk.GetArrayFromImage(seen).T, image.array.squeeze()) is None


@pytest.mark.parametrize(
    ("image", "suffix", "message"),
    [
        (flat((1, 5, 4, 3)), "png", "holds one slice, the image is 5 x 4 x 3 voxels; cut one with: medimg slice"),
        (flat((1, 5, 4, 1), "float32"), "png", "not float32 values; add --dtype uint8 --rescale"),
        (flat((1, 5, 4, 1), "uint16"), "jpg", "not uint16 values"),
        (flat((3, 5, 4, 1), "uint16", axes=(("rgb", 3),)), "png", "not uint16 values"),
        (flat((4, 5, 4, 1), axes=(("rgb", 4),)), "bmp", "gray or colours, the image rgb 4"),
        (flat((5, 5, 4, 1), axes=(("time", 5),)), "png", "gray or colours, the image time 5"),
        (flat((1, 5, 4, 1), slope=2.0, inter=0.0), "png", "not float32 values"),
    ],
)
def test_what_no_picture_holds(image: ArrayBackend, suffix: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError) as error:
        save_backend(image, str(tmp_path / f"x.{suffix}"))
    assert message in str(error.value)
    assert one_line(error.value)
    assert not list(tmp_path.iterdir())


def test_jpeg_says_that_it_is_lossy(tmp_path: Path) -> None:
    image = make("picture")
    assert [str(loss) for loss in losses(image.header, "x.jpg")][-1].startswith("lossy")
    assert {loss.field for loss in losses(image.header, "x.png")} == {"affine"}, "RAS axes turn round"
    with pytest.raises(LossError, match="JPEG changes the values"):
        save_backend(image, str(tmp_path / "x.jpg"), strict=True)
    save_backend(image, str(tmp_path / "x.jpg"))
    assert np.abs(read(open_backend(str(tmp_path / "x.jpg"))).astype(int) - image.array).max() < 64


def test_pictures_fit_themselves() -> None:
    for name in ("x.png", "x.jpg", "x.bmp"):
        fitted = pictures.fit(flat((3, 5, 1, 4), axes=(("rgb", 3),)).header, name)
        assert pictures.fit(fitted, name) == fitted

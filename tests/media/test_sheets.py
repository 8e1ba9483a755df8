"""Sheets: tiles keep their pixels, text keeps off them, nothing is cut and nothing hostile is drawn."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageFont

from medimg_cli.errors import StorageError, UsageError
from medimg_cli.media.saving import KINDS, encoded, picture_kind, save_picture
from medimg_cli.media.sheets import Tile, printable, sheet, shortened

RED = (200, 0, 0)


def tile(width: int, height: int, caption: str = "") -> Tile:
    return Tile(Pillow.new("RGB", (width, height), RED), caption)


def red(page: Any) -> np.ndarray[Any, Any]:
    """Return which pixels belong to a tile."""
    found: np.ndarray[Any, Any] = (np.asarray(page) == RED).all(axis=-1)
    return found


def inked(page: Any) -> np.ndarray[Any, Any]:
    """Return which pixels belong to text."""
    found: np.ndarray[Any, Any] = np.asarray(page).any(axis=-1) & ~red(page)
    return found


@pytest.mark.parametrize("sizes", [[(90, 70), (50, 120), (120, 40)], [(1, 1)], [(1500, 900), (1500, 900)], [(3, 400)]])
def test_text_never_touches_a_tile(sizes: list[tuple[int, int]]) -> None:
    rows = [[tile(*size, caption="sagittal R 12.5 mm") for size in sizes]] * 2
    legend = [(f"Left-Something-{n}", (n, 255 - n, 90)) for n in range(40)]
    page = sheet(rows, title="a long title " * 20, facts=["256 x 256 x 176"] * 9, legend=legend)
    assert page.mode == "RGB"
    assert int(red(page).sum()) == 2 * sum(width * height for width, height in sizes)  # no pixel is covered
    text = inked(page)
    assert (
        text.any() and not text[:2].any() and not text[-2:].any() and not text[:, :2].any() and not text[:, -2:].any()
    )


def test_tiles_alone_have_even_margins() -> None:
    page = sheet([[tile(40, 30), tile(20, 30)], [tile(40, 30)]])
    rows, columns = np.nonzero(red(page))
    margins = {columns.min(), rows.min(), page.width - 1 - columns.max(), page.height - 1 - rows.max()}
    assert len(margins) == 1 and not inked(page).any()
    assert int(red(page).sum()) == 40 * 30 + 20 * 30 + 40 * 30


def test_captions_stand_below_their_pictures() -> None:
    page = sheet([[tile(60, 200, "x"), tile(200, 50, "y")]])
    rows, columns = np.nonzero(inked(page))
    right = columns > 60 + 2 * 12
    assert rows[right].max() < rows[~right].min()  # that of the low one is not at the foot of the high one
    assert rows[right].min() > 12 + 75 + 50 - 1


def test_a_legend_has_swatches_and_counts_the_rest() -> None:
    colours = [(n + 1, 90, 7) for n in range(60)]
    page = sheet([[tile(300, 100)]], legend=[(f"label {n}", colour) for n, colour in enumerate(colours)])
    seen = {tuple(colour) for _, colour in page.getcolors(100000)}
    shown = [colour for colour in colours if colour in seen]
    assert shown == colours[: len(shown)] and 6 < len(shown) < 60
    few = sheet([[tile(300, 100)]], legend=[("one", (1, 2, 3))])
    assert (1, 2, 3) in {colour for _, colour in few.getcolors(100000)}
    assert few.height < page.height


def test_what_is_too_long_loses_its_middle() -> None:
    font = ImageFont.load_default(14)
    for text in ("short.nii", "sub-01_" + "x" * 4000 + "_T1w.nii.gz", "W" * 200):
        short = shortened(text, 200, 14)
        assert font.getlength(short) <= 200
        assert short[:1] == text[:1] and short[-1:] == text[-1:]
    assert shortened("short.nii", 200, 14) == "short.nii"
    assert shortened("anything", 0, 14) in ("", "\N{HORIZONTAL ELLIPSIS}")


def test_only_what_the_font_has_is_drawn() -> None:
    missing = ImageFont.load_default(20).getmask("\ufffe")
    hostile = "a\x1b[2J\n\u202e\x7f\udcff\0 \u00e9\u00b5\u00d7\u2013\u4e2d\u00b0\u00b7\u2026\u00df"
    for each in printable(hostile):
        assert each.isprintable()
        assert bytes(ImageFont.load_default(20).getmask(each)) != bytes(missing) or each == " "
    assert printable("Gr\u00f6\u00dfe 5\u00b5m") == "Grosse 5um"
    sheet([[tile(90, 90, hostile)]], title=hostile, facts=[hostile], legend=[(hostile, (1, 2, 3))])


# -- files


@pytest.mark.parametrize("suffix", KINDS)
def test_pictures_come_back(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    for picture in (Pillow.fromarray(pixels), Pillow.fromarray(pixels[..., 0].copy())):
        path = str(tmp_path / f"{picture.mode}{suffix.upper()}")
        save_picture(picture, path)
        assert Path(path).read_bytes() == encoded(picture, path)  # the same bytes, whenever it is made
        if suffix == ".pdf":
            assert Path(path).read_bytes().startswith(b"%PDF") and b"CreationDate" not in Path(path).read_bytes()
            continue
        with Pillow.open(path) as again:
            assert again.format == picture_kind(path)
            apart = np.abs(np.asarray(again.convert(picture.mode), int) - np.asarray(picture, int))
        assert apart.max() <= (60 if suffix in (".jpg", ".jpeg") else 0)
        with pytest.raises(StorageError, match="already exists"):
            save_picture(picture, path)
        save_picture(picture, path, force=True)


def test_the_size_of_a_pixel_is_kept() -> None:
    content = encoded(Pillow.new("L", (3, 4)), "a.png", pixel=0.75)
    assert b"sCAL\x010.75\x000.75" in content
    with Pillow.open(BytesIO(content)) as picture:
        assert picture.size == (3, 4)


@pytest.mark.parametrize("name", ["a.nii.gz", "a", "a.gif", ".png/a", "a.xyz"])
def test_other_files_are_no_pictures(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"use \.png"):
        save_picture(Pillow.new("L", (3, 4)), str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []

"""Colormaps: the colours of the originals, and names that are easy to get right."""

from __future__ import annotations

import numpy as np
import pytest

from medimg_cli.errors import UsageError
from medimg_cli.media.colormaps import COLORMAPS, colormap

PLACES = (0, 37, 64, 101, 128, 166, 203, 255)
#: Colours of the originals at these places, rounded to 8 bits.
ORIGINALS = {
    "viridis": "440154 46337f 3b528b 2a778e 21918c 2fb47c 77d153 fde725",
    "plasma": "0d0887 5502a4 7e03a8 b02991 cc4778 ea7457 fca537 f0f921",
    "inferno": "000004 290b55 57106e 922568 bc3754 ea632a fca309 fcffa4",
    "magma": "000004 241253 51127c 8b2981 b73779 ed5a5f fe9d6c fcfdbf",
    "cividis": "00224e 233c6e 434e6c 656870 7d7c78 a19975 c7b767 fee838",
    "turbo": "30123b 4778f0 28bceb 43f787 a4fc3c f6c33a f15d13 7a0403",
    "coolwarm": "3b4cc0 688aef 8db0fe bfd3f6 dddcdc f6bda2 ee8669 b40426",
    "gray": "000000 252525 404040 656565 808080 a6a6a6 cbcbcb ffffff",
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_colours_are_within_one_of_the_original(name: str) -> None:
    wanted = np.array([list(bytes.fromhex(each)) for each in ORIGINALS[name].split()])
    assert np.abs(colormap(name)[list(PLACES)].astype(int) - wanted).max() <= 1
    assert (colormap(name)[[0, 255]] == wanted[[0, -1]]).all()


@pytest.mark.parametrize("name", sorted(set(ORIGINALS) - {"gray"}))
def test_all_256_colours_are_within_one_of_the_original(name: str) -> None:
    cmap = pytest.importorskip("cmap", reason="the originals are in the package cmap")
    lut = cmap.Colormap("matplotlib:coolwarm" if name == "coolwarm" else name).lut(256)
    assert np.abs(colormap(name).astype(int) - np.rint(np.asarray(lut)[:, :3] * 255)).max() <= 1


@pytest.mark.parametrize("name", COLORMAPS)
def test_every_map_has_256_colours_and_goes_backwards(name: str) -> None:
    shown = colormap(name)
    assert shown.shape == (256, 3) and shown.dtype == np.uint8 and shown.flags.c_contiguous
    assert (colormap(name + "_r") == shown[::-1]).all() and colormap(name + "_r").flags.c_contiguous
    assert np.abs(np.diff(shown.astype(int), axis=0)).max() <= 12  # no jumps
    shown[:] = 0
    assert colormap(name).any()  # nobody writes into the table


@pytest.mark.parametrize("name", ["gray", "hot", "viridis", "plasma", "inferno", "magma", "cividis"])
def test_lightness_rises(name: str) -> None:
    light = colormap(name).astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (light[8:] > light[:-8]).all()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("virdis", "did you mean viridis?"),
        ("Viridis", "did you mean viridis?"),
        ("grey", "did you mean gray?"),
        ("magma_R", "did you mean magma_r?"),
        ("viridis_r_r", "did you mean viridis_r?"),
        ("", "there are gray, hot, viridis"),
        ("xyz", "there are gray, hot, viridis"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="no colormap is called") as caught:
        colormap(name)
    assert hint in str(caught.value)

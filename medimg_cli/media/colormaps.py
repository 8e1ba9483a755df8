"""Colours for intensities: small tables of maps that are known from matplotlib, without matplotlib.

`scripts/make_colormaps.py` writes the tables: entries between which linear interpolation gives all 256 colours of the
original within 1 of 255. Where they are from:

- viridis, plasma, inferno, magma: N. J. Smith, S. van der Walt, E. Firing; CC0.
- cividis: J. R. Nuñez, C. R. Anderton, R. S. Renslow, PLOS ONE 13(7), 2018, doi:10.1371/journal.pone.0199239; copyright
  2017 Battelle Memorial Institute, BSD-style licence of github.com/pnnl/cmaputil.
- turbo: A. Mikhailov; copyright 2019 Google LLC, Apache License 2.0.
- coolwarm: K. Moreland, "Diverging color maps for scientific visualization", 2009, doi:10.1007/978-3-642-10520-3_9; the
  table that matplotlib has, under its licence.
- gray, hot: straight lines between black, white, and (hot) pure red and yellow. Unlike that of matplotlib, hot starts
  at black, as background should.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from medimg_cli.errors import UsageError

__all__ = ["COLORMAPS", "colormap"]

_REVERSED = "_r"

#: name -> entries: place (0 to 255), red, green and blue, two hexadecimal digits each.
_ENTRIES = {
    "gray": "00000000 ffffffff",
    "hot": "00000000 60ff0000 c0ffff00 ffffffff",
    "viridis": (
        "00440154 14481d6f 2346307e 3a3e4c8a 5e2d718e 841f948c 931fa287 a22ab07f b344bf70 c66ccd5a dfaadc32 edd0e11c "
        "f4e2e418 fdf8e621 fffde725"
    ),
    "plasma": (
        "000d0887 08220690 1f4b03a1 346c00a8 448405a7 58a01a9c 7ac6417d a1e76e5b c1f9973f ddfec029 edfada24 fbf2f227 "
        "fef0f724 fff0f921"
    ),
    "inferno": (
        "00000004 07030210 16120a32 23260c51 2d380962 3a4d0d6c 51721a6e 69982766 80bc3754 97da4e3c acef6c23 c1fa9008 "
        "c7fb9b06 cefca80d d9fbbe23 e5f6d543 eef2e661 f6f2f482 fefafda1 fffcffa4"
    ),
    "magma": (
        "00000004 0703030f 140e0b2b 25241253 3036106b 3a471078 4b621980 68902a81 83bc3978 97db476a a8ef5d5e b6f8765c "
        "c4fc9065 d8feb67c f4fde9aa fffcfdbf"
    ),
    "cividis": (
        "0000224e 14003070 17013271 1c123570 27263d6e 3c3f4c6c 6162656f 86828079 aba69c74 ccc8b866 e5e4ce53 f6f7de3e "
        "fbfde334 fffee838"
    ),
    "turbo": (
        "0030123b 08392a73 104040a2 184456c7 1f4669e0 26477bf2 2c458afc 324099ff 3a33adf7 4225c0e7 4a1ad2d2 5218e0bd "
        "5920eaac 6238f491 7171fe5f 7b96fe44 84affa37 8dc6f034 9be5d938 a6f6c33a b0fdac34 bcfd8a26 caf26014 d5e4450a "
        "e4c82803 f3a11201 ff7a0403"
    ),
    "coolwarm": (
        "003b4cc0 165572df 2a6f92f3 3f8caffe 53a7c5fe 68c3d5f4 7bd8dce2 83e0dbd8 94efcfbf a7f7bca1 bef59c7d d3e9785d "
        "e8d44e41 f5c32e31 f8be242e ffb40426"
    ),
}  # fmt: skip

COLORMAPS = tuple(_ENTRIES)
"""Names of all maps; each also goes by its name with ``_r``, from its end to its start."""


def colormap(name: str) -> np.ndarray[Any, Any]:
    """Return the colours of a map.

    Parameters
    ----------
    name : str
        One of `COLORMAPS`; with ``_r`` at its end, reversed.

    Returns
    -------
    array of uint8, (256, 3)
        Red, green and blue, from low to high values; fresh.

    Raises
    ------
    UsageError
        If there is no such map.

    Examples
    --------
    >>> colormap("viridis")[[0, 128, 255]].tolist()
    [[68, 1, 84], [32, 144, 140], [253, 231, 37]]
    >>> colormap("hot_r")[0].tolist()
    [255, 255, 255]
    """
    plain = name.removesuffix(_REVERSED)
    if plain not in _ENTRIES:
        from difflib import get_close_matches

        near = get_close_matches(name.lower(), [each + end for each in COLORMAPS for end in ("", _REVERSED)], 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLORMAPS)}"
        raise UsageError(f"no colormap is called {name!r}", hint=hint)
    found = _table(plain)
    return found.copy() if plain == name else found[::-1].copy()


@cache
def _table(name: str) -> np.ndarray[Any, Any]:
    entries = np.array([list(bytes.fromhex(entry)) for entry in _ENTRIES[name].split()])
    channels = [np.interp(np.arange(256), entries[:, 0], channel) for channel in entries.T[1:]]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)

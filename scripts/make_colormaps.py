"""Write the tables of `medimg_cli.media.colormaps` anew, from the package cmap (pip install cmap).

A table is thinned to the fewest entries from which linear interpolation gives all 256 within 1 of 255.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import numpy as np
from cmap import Colormap

MODULE = Path(__file__).resolve().parents[1] / "medimg_cli" / "media" / "colormaps.py"
SOURCES = {
    "viridis": "bids:viridis",
    "plasma": "bids:plasma",
    "inferno": "bids:inferno",
    "magma": "bids:magma",
    "cividis": "cividis",
    "turbo": "turbo",
    "coolwarm": "matplotlib:coolwarm",
}
ERROR = 1


def table(name: str) -> np.ndarray:
    """Return the 256 colours of a map, (256, 3)."""
    return np.rint(np.asarray(Colormap(name).lut(256))[:, :3] * 255).astype(int)


def fits(colours: np.ndarray, first: int, last: int) -> bool:
    """Tell whether all colours between two places are near the line from one to the other."""
    part = np.linspace(0, 1, last - first + 1)[:, None]
    line = np.rint(colours[first] + part * (colours[last] - colours[first]))
    return bool(np.abs(line - colours[first : last + 1]).max() <= ERROR)


def anchors(colours: np.ndarray) -> list[int]:
    """Return the places that are kept: from each, as far as a line goes."""
    kept = [0]
    while kept[-1] < 255:
        kept.append(max(place for place in range(kept[-1] + 1, 256) if fits(colours, kept[-1], place)))
    return kept


def main() -> int:
    """Replace the tables in the module, and say how many entries each has."""
    text = MODULE.read_text(encoding="utf-8")
    for name, source in SOURCES.items():
        colours = table(source)
        words = [bytes([place, *colours[place]]).hex() for place in anchors(colours)]
        lines = textwrap.wrap(" ".join(words), 12 * 9 - 1)
        block = "\n".join(f'        "{line} "' for line in lines[:-1]) + f'\n        "{lines[-1]}"'
        text, count = re.subn(rf'(?<=    "{name}": \(\n).*?(?=\n    \),\n)', block, text, flags=re.S)
        assert count == 1, f"{MODULE.name} has no table {name}"
        sys.stdout.write(f"{name}: {len(words)} of 256 colours\n")
    MODULE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

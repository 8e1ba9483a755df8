#!/usr/bin/env python
"""Make the pictures of docs/pictures.md: run the commands of that page, and keep what it shows.

``python scripts/make_pictures.py`` does both, in a temporary folder with a few images that nibabel's package brings and
a label map computed from one of them; ``--inputs FOLDER`` writes just these. Fonts and decoders differ between versions
of Pillow, so nobody asks for the very same bytes: a test makes the pictures anew and compares what is seen.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from medimg_cli.cli.app import main as medimg

PAGE = ROOT / "docs" / "pictures.md"
PICTURES = ROOT / "docs" / "pictures"

#: Images as the page calls them -> files of nibabel's package.
IMAGES = {
    "t1.nii": "anatomical.nii",
    "epi.nii.gz": "example4d.nii.gz",
    "bold.nii": "functional.nii",
}
#: Name, colour and range of values of each label of the T1 image; not anatomy, but good to look at.
TISSUE = {1: ("fluid", "#4aa3ff", (0, 5200)), 2: ("white matter", "#ffb347", (9900, 1 << 20))}


def write_inputs(folder: Path) -> None:
    """Write the files that the page's commands read."""
    package = Path(nibabel.__file__).parent / "tests" / "data"
    for name, file in IMAGES.items():
        shutil.copy(package / file, folder / name)
    (folder / "study").mkdir(exist_ok=True)
    for name in ("t1.nii", "bold.nii"):
        shutil.copy(folder / name, folder / "study" / name)
    image = nibabel.load(folder / "t1.nii")
    values = np.asarray(image.dataobj)
    labels = np.zeros(values.shape, np.uint8)
    for label, (_, _, (low, high)) in TISSUE.items():
        labels[_smooth((values >= low) & (values < high))] = label
    turned = nibabel.Nifti1Image(labels, image.affine).as_reoriented([[1, 1], [2, -1], [0, 1]])  # stored another way
    nibabel.save(turned, folder / "tissue.nii.gz")
    rows = "".join(f"{label}\t{name}\t{colour}\n" for label, (name, colour, _) in TISSUE.items())
    (folder / "tissue.tsv").write_text(f"index\tname\tcolor\n{rows}", encoding="utf-8")


def _smooth(mask: Any) -> Any:
    """Return where most of the 27 voxels around one are true."""
    found = np.pad(mask.astype(int), 1, mode="edge")
    for axis in range(3):
        found = found + np.roll(found, 1, axis) + np.roll(found, -1, axis)
    return found[1:-1, 1:-1, 1:-1] > 13


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command of the page."""
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("medimg "):
                yield shlex.split(line, comments=True)[1:]


def shown(text: str) -> list[str]:
    """Return the names of the pictures that the page shows."""
    return re.findall(r"\]\(pictures/([\w.-]+)\)", text)


def make(folder: Path, names: list[str]) -> None:
    """Run those commands of the page in a folder that make pictures of these names.

    Raises
    ------
    SystemExit
        If a command fails.
    """
    write_inputs(folder)
    with contextlib.chdir(folder):
        for words in commands(PAGE.read_text(encoding="utf-8")):
            if words[-1] in names and medimg(["--quiet", *words]) != 0:
                raise SystemExit(f"failed: medimg {shlex.join(words)}")


def main(words: list[str]) -> int:
    """Make the pictures anew, and remove those that the page no longer shows; or write what its commands read."""
    if words[:1] == ["--inputs"]:
        write_inputs(Path(words[1] if len(words) > 1 else "."))
        return 0
    names = shown(PAGE.read_text(encoding="utf-8"))
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), names)
        for name in names:
            shutil.copy(Path(folder) / name, PICTURES / name)
    for path in PICTURES.iterdir():
        if path.name not in names:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

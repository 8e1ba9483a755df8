"""What a picture shows, read from its pixels: the arms of the mark, letters, ink."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from tests.media import phantoms
from tests.media.phantoms import ARMS, CORNER, LOW, SPACINGS, THICK, Array


def grey(picture: Any) -> Array:
    return np.asarray(picture.convert("L"), float)


# -- the mark


def check_mark(
    name: str,
    picture: Any,
    *,
    neurological: bool = False,
    spacing: tuple[float, ...] = SPACINGS[0],
    exact: float = 3,
) -> None:
    """Check that the arms of the mark lie where the world says, and that nothing lies on their other sides."""
    view, values = phantoms.view(name, neurological=neurological), grey(picture)

    def at(world: Array) -> float:
        x, y = phantoms.pixel(view, picture.size, world)
        return float(values[int(y), int(x)])

    for axis, (length, brightness) in enumerate(ARMS.values()):
        if axis == view.across:
            continue
        ahead = np.eye(3)[axis]
        blur = 1.5 * spacing[axis]
        for mm in np.linspace(THICK / 2 + blur, length - blur, 5):
            assert abs(at(CORNER + mm * ahead) - brightness) <= exact, (name, "RAS"[axis], mm)
            if mm < min(CORNER - LOW) - 1:
                assert at(CORNER - mm * ahead) <= exact, (name, "LPI"[axis], mm)
        assert at(CORNER + (length + blur) * ahead) <= exact, (name, "RAS"[axis], "longer than it is")


def arms_on(sheet: Any) -> dict[str, list[tuple[float, float, float, float]]]:
    """Return where arms of the mark are seen on a picture of several views: the box of each piece, left to right."""
    values, found = np.asarray(sheet.convert("L")).astype(int), {}
    for letter, (_, brightness) in ARMS.items():
        there = np.abs(values - brightness) <= 2
        columns = np.flatnonzero(there.sum(0) > 3)
        pieces = np.split(columns, np.flatnonzero(np.diff(columns) > 3) + 1)
        boxes = []
        for piece in (each for each in pieces if len(each) > 5):  # soft edges have all shades
            rows = np.flatnonzero(there[:, piece].sum(1) > 3)
            boxes.append((piece[0], piece[-1] + 1, rows[0], rows[-1] + 1))
        found[letter] = boxes
    return found


def check_sheet(sheet: Any, *, neurological: bool = False) -> None:
    """Check the mark on the sagittal, coronal and axial view side by side, in this order."""
    seen = arms_on(sheet)
    assert {letter: len(boxes) for letter, boxes in seen.items()} == {"R": 2, "A": 2, "S": 2}
    (r_coronal, r_axial), (a_sagittal, a_axial), (s_sagittal, s_coronal) = seen["R"], seen["A"], seen["S"]
    assert a_sagittal[1] < s_sagittal[0] < s_sagittal[1] < r_axial[0], "sagittal: the front is on the left"
    assert s_sagittal[3] <= a_sagittal[2] + 1 and s_coronal[3] <= r_coronal[2] + 1, "up is up"
    assert a_axial[3] <= r_axial[2] + 1, "axial: the front is above"
    for right_arm, other in ((r_coronal, s_coronal), (r_axial, a_axial)):
        if neurological:
            assert other[1] <= right_arm[0] + 1, "the patient's right is on the right"
        else:
            assert right_arm[1] <= other[0] + 1, "the patient's right is on the left"
    for letter, boxes in seen.items():
        lengths = {max(box[1] - box[0], box[3] - box[2]) for box in boxes}
        assert max(lengths) - min(lengths) <= 1, f"all views are of one scale: {letter}"
    mm = {letter: ARMS[letter][0] - THICK / 2 for letter in ARMS}
    scale = (a_axial[3] - a_axial[2]) / mm["A"]
    assert r_axial[1] - r_axial[0] == pytest.approx(scale * mm["R"], abs=scale)  # a voxel
    assert s_coronal[3] - s_coronal[2] == pytest.approx(scale * mm["S"], abs=scale)


# -- letters


def drawn(plain: Any, marked: Any) -> Array:
    """Return how much brighter one picture is than the other."""
    before, after = (grey(picture) for picture in (plain, marked))
    return np.clip(after - before, 0, None)


#: Where letters are looked for: parts of the height and of the width.
EDGES = {
    "left": (1 / 3, 2 / 3, 0, 1 / 5),
    "right": (1 / 3, 2 / 3, 4 / 5, 1),
    "top": (0, 1 / 5, 2 / 5, 3 / 5),
    "bottom": (4 / 5, 1, 2 / 5, 3 / 5),
}


def letter_at(ink: Array, edge: str) -> str:
    """Read the letter at an edge of a picture: that of the six whose glyph, as Pillow draws it, is most like the ink."""
    height, width = ink.shape
    above, below, left, right = EDGES[edge]
    part = ink[int(height * above) : int(height * below), int(width * left) : int(width * right)]
    if part.max() < 60:
        return ""
    scores = {letter: max(alike(part, glyph) for glyph in glyphs(letter)) for letter in "RLAPSI"}
    best = max(scores, key=lambda letter: scores[letter])
    assert scores[best] > 0.9 and sorted(scores.values())[-2] < scores[best] - 0.02, f"{edge} edge: {scores}"
    return best


@cache
def glyphs(letter: str) -> list[Array]:
    """Return a letter in all the sizes that pictures have, between the pixels, too."""
    found = []
    for size in range(8, 48):
        for shift in ((0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)):
            canvas = Pillow.new("L", (100, 100))
            ImageDraw.Draw(canvas).text((20 + shift[0], 20 + shift[1]), letter, fill=255, font_size=size)
            found.append(cropped(np.asarray(canvas, float)))
    return found


def cropped(ink: Array) -> Array:
    rows, columns = (np.flatnonzero((ink > 60).any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def alike(ink: Array, glyph: Array) -> float:
    """Return the correlation of all the ink with a glyph that lies where the ink does."""
    found = cropped(ink)
    rows, columns = (max(sizes) for sizes in zip(found.shape, glyph.shape, strict=True))
    if rows > found.shape[0] + 2 or columns > found.shape[1] + 2:
        return 0.0
    one, two = (np.pad(each, ((0, rows - each.shape[0]), (0, columns - each.shape[1]))) for each in (found, glyph))
    return float((one * two).sum() / np.sqrt((one**2).sum() * (two**2).sum()))

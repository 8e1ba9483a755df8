"""Bodies in the world, as functions of RAS+ mm, and files of them in every storage: made with NumPy and nibabel alone.

What a picture must show is computed from the world, too, by plain arithmetic: nothing here asks medimg.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, ornt_transform

Array = np.ndarray[Any, Any]
Vector = Sequence[float] | Array

#: All the letters that a file's axes can run towards.
ORIENTATIONS = tuple(
    "".join(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for signs in product((0, 1), repeat=3)
)
SPACINGS = ((1.0, 1.0, 1.0), (0.8, 1.1, 2.7))
"""Along R, A, S in mm."""

LOW = np.array((-30.0, -42.0, -24.0))
EXTENT = np.array((72.0, 88.0, 54.0))
"""Where the box of most phantoms starts and how long it is along R, A, S in mm; the world's origin is not its middle."""

CORNER, THICK = np.array((4.0, -8.0, -4.0)), 9.0
ARMS = {"R": (30.0, 250), "A": (40.0, 170), "S": (24.0, 90)}
"""The mark: where its arms meet, how thick they are, and length in mm and brightness of the arm towards each letter."""


BALL = np.array((2.0, -3.0, 1.0))


def sampled(
    body: Callable[[Array], Array], spacing: Vector, low: Vector = LOW, extent: Vector = EXTENT
) -> tuple[Array, Array]:
    """Return voxels and affine of a body on a straight grid whose axes run to R, A, S."""
    shape = np.rint(np.asarray(extent) / spacing).astype(int)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.asarray(low) + np.asarray(spacing) / 2
    return on_grid(body, shape, affine), affine


def on_grid(body: Callable[[Array], Array], shape: Sequence[int] | Array, affine: Array) -> Array:
    """Return the voxels of a body on any grid."""
    voxels = np.moveaxis(np.indices(tuple(shape)), 0, -1)
    return body(voxels @ affine[:3, :3].T + affine[:3, 3])


def stored(array: Array, affine: Array, letters: str) -> Any:
    """Return a volume along R, A, S as nibabel's image whose axes run towards other letters."""
    turn = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(letters))
    return nibabel.Nifti1Image(array, affine).as_reoriented(turn)


def save(image: Any, path: Path) -> str:
    """Write nibabel's image with both forms set, as scanners do, and return where."""
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nibabel.save(image, path)
    return str(path)


# -- bodies


def mark(world: Array) -> Array:
    """Return a mark of three arms that meet in a corner, 0 around it."""
    found = np.zeros(world.shape[:-1], np.int16)
    away = world - CORNER
    for axis, (length, brightness) in enumerate(ARMS.values()):
        beside = np.delete(np.abs(away), axis, -1).max(-1) < THICK / 2
        found[beside & (away[..., axis] > THICK / 2) & (away[..., axis] < length)] = brightness
    return found


def smooth(world: Array) -> Array:
    """Return three soft spots, of different size and brightness, that no mirror maps onto themselves."""
    found = np.zeros(world.shape[:-1])
    for place, width, height in (((12, 3, -2), 11, 190.0), ((-9, 14, 6), 9, 130.0), ((-4, -15, 12), 10, 90.0)):
        found += height * np.exp(-((world - place) ** 2).sum(-1) / (2 * width**2))
    return found


def ball(world: Array) -> Array:
    """Return a ball whose half brightness lies 10 mm from its centre; it fades so slowly that coarse voxels show it."""
    return 200 * np.clip((10 - np.linalg.norm(world - BALL, axis=-1)) / 8 + 0.5, 0, 1)


def head(world: Array) -> Array:
    """Return something like a head: skull, brain with folds, two ventricles, a nose and a lesion on the right."""
    r, a, s = np.moveaxis(world - (5, 0, 2), -1, 0)
    depth = np.sqrt((r / 27) ** 2 + (a / 34) ** 2 + (s / 21) ** 2)
    found = np.where(depth < 1, 900.0, 0.0)
    found[depth < 0.9] = 120
    brain = depth < 0.82
    found[brain] = (520 + 90 * np.sin(r / 2) * np.cos(a / 3) * np.sin(s / 2 + 1))[brain]
    found[np.minimum(np.hypot(r - 5, a / 3), np.hypot(r + 5, a / 3)) + np.abs(s) / 2 < 4] = 200
    found[(r - 13) ** 2 + (a + 10) ** 2 + (s - 6) ** 2 < 30] = 1100
    found[(np.abs(r) < 4) & (a > 30) & (a < 40) & (np.abs(s + 2) < 5)] = 700
    noise = np.random.default_rng(5).normal(0, 12, found.shape)
    return (found + noise).astype(np.int16)


def regions(world: Array) -> Array:
    """Return labels 1, 2 and 9: three balls of different sizes in different places."""
    found = np.zeros(world.shape[:-1], np.uint8)
    for label, place, radius in ((1, (14, 2, -3), 12), (2, (-8, 16, 4), 10), (9, (-2, -18, 9), 8)):
        found[np.linalg.norm(world - place, axis=-1) < radius] = label
    return found


# -- pictures


class View(NamedTuple):
    """How a picture of the whole box must lie: the world's axis and the sign that run right, down, and across.

    Slices are counted from the patient's right (left, in neurological convention), front and top.
    """

    right: int
    down: int
    across: int
    signs: tuple[int, int, int]
    letters: str


def view(name: str, *, neurological: bool = False) -> View:
    """Return how radiologists (or neurologists) expect a view.

    Axial and coronal pictures have the patient's left on the right (on the left), sagittal ones the front on the left.
    """
    aside = 1 if neurological else -1
    sides = "LR" if neurological else "RL"
    return {
        "axial": View(0, 1, 2, (aside, -1, -1), sides + "AP"),
        "coronal": View(0, 2, 1, (aside, -1, -1), sides + "SI"),
        "sagittal": View(1, 2, 0, (-1, -1, aside), "APSI"),
    }[name]


def pixel(
    view: View, size: tuple[int, int], world: Vector, low: Vector = LOW, extent: Vector = EXTENT
) -> tuple[float, float]:
    """Return where a point of the world lies on a picture of the whole box, in pixels from its upper left corner."""
    found = []
    for axis, sign, pixels in zip((view.right, view.down), view.signs, size, strict=False):
        part = (world[axis] - low[axis]) / extent[axis]
        found.append(pixels * (part if sign > 0 else 1 - part))
    return found[0], found[1]


def place(view: View, world: Vector, spacing: Vector, low: Vector = LOW, extent: Vector = EXTENT) -> int:
    """Return the number of the slice through a point of the world."""
    axis = view.across
    part = (world[axis] - low[axis]) / extent[axis]
    return int((part if view.signs[2] > 0 else 1 - part) * extent[axis] / spacing[axis])


def slice_of(array: Array, view: View, number: int) -> Array:
    """Return a slice of a volume along R, A, S as rows and columns of a picture."""
    turned = array[tuple(slice(None, None, -1) if sign < 0 else slice(None) for sign in ordered(view))]
    return turned.take(number, view.across) if view.right > view.down else turned.take(number, view.across).T


def ordered(view: View) -> list[int]:
    """Return the signs along R, A, S."""
    signs = dict(zip((view.right, view.down, view.across), view.signs, strict=True))
    return [signs[axis] for axis in range(3)]

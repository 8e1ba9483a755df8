"""Diffusion weighting of frames: b-values and directions, as the standard and the makers say them.

Decisions:

- What the standard's elements say (PS3.3, C.8.13.5.9) goes before what a maker says in his own; the maker fills what
  they leave out.
- A frame with b = 0 has no direction, nor has one that its maker calls isotropic (a trace, a mean of directions),
  whatever stands in the elements for it. Among directions it stays where it is, with a warning; dcm2niix writes it to
  a file of its own.
- Siemens: the nominal b-value, not that of the b-matrix. The b-matrix gives the direction where nothing else does; its
  sign is lost then.
- GE: b-values are wrapped by 1e5 and more (1000000750 is 750). Directions are (frequency, phase, slice) of the scan:
  which of them rows and columns are depends on the phase encoding, and their signs on whether slices are axial, coronal
  or sagittal, not on the order in which they were taken. The signs are those of dcm2niix, which were found by
  experiment. A vector that is shorter than 1 says that the true b-value is smaller by its squared length. Without a
  vector the frame is b = 0 where the series has directions, else a trace.
- UIH: directions are along row, column and slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from typing import TYPE_CHECKING

from medimg_cli.errors import FormatError
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.siemens import csa_header, csa_number, csa_numbers
from medimg_cli.formats.dicom.vectors import Vector, cross, dot
from medimg_cli.header import Gradients

if TYPE_CHECKING:
    from medimg_cli.formats.dicom.placing import Stack

__all__ = ["Weighting", "gradients", "undirected", "weighting"]

#: b-value in s/mm2, and the direction: a unit vector, LPS; None where there is none.
Weighting = tuple[float, Vector | None]

#: b-values of GE are told modulo this.
_WRAP = 100_000
#: Lengths of GE's vectors: below the first there is none, below the second the b-value is scaled.
_SHORT, _WHOLE = 0.03, 0.97
#: Signs of (row, column, slice) that GE's vectors get, by the axis that is most normal to the slices.
_GE_SIGNS = {0: (1, 1, -1), 1: (-1, 1, 1), 2: (-1, -1, 1)}
#: Kinds of diffusion images without a direction (PS3.3, C.8.13.5.9; Philips writes one letter).
_UNDIRECTED = frozenset(("NONE", "ISOTROPIC", "I", "N"))
#: Part of a b-matrix's trace that lies in one direction, below which it has none.
_MOSTLY = 0.75


def weighting(frame: Frame) -> Weighting | None:
    """Return how a frame is weighted.

    Parameters
    ----------
    frame : Frame

    Returns
    -------
    (float, (3,) tuple of float or None) or None
        b-value in s/mm2 and direction, a unit vector, LPS. None where nothing says it.
    """
    value, direction = frame.number("DiffusionBValue"), frame.numbers("DiffusionGradientOrientation")
    if value is None or (direction is None and value > 0):
        own = _siemens(frame) or _ge(frame) or _philips(frame) or _uih(frame)
        if own is not None:
            value, direction = own[0] if value is None else value, direction or own[1]
    return _weight(frame, value, direction)


def gradients(stack: Stack) -> Gradients | None:
    """Return the gradients of the volumes of a stack.

    Parameters
    ----------
    stack : Stack

    Returns
    -------
    Gradients or None
        One entry per volume, along the voxel axes of the stack's affine. None where some volumes do not say how they
        are weighted, where none is, and where what stands for directions cannot be placed.
    """
    firsts = [volume[0] for volume in stack.volumes]
    if not stack.positioned or firsts[0].file.pixels.samples > 1:
        return None
    found: list[Weighting] = []
    for frame in firsts:
        weight = weighting(frame)
        if weight is None or (weight[1] is None and _lost(frame)):
            return None
        found.append(weight)
    if not any(value for value, _ in found):
        return None
    i, j, _ = zip(*stack.affine.direction, strict=True)
    handed = 1.0 if stack.affine.determinant > 0 else -1.0
    k = tuple(handed * part for part in cross(i, j))
    axes = (tuple(-handed * part for part in i), j, k)
    return Gradients(tuple(value for value, _ in found), tuple(_along(axes, direction) for _, direction in found))


def undirected(found: Gradients | None) -> tuple[str, ...]:
    """Warn of weighted volumes without a direction among others that have one: no tensor fits them.

    Scanners add them to the directions of a series as its last volumes. They are kept: nothing that a file holds is
    left out in silence.

    Parameters
    ----------
    found : Gradients or None
    """
    if found is None or not any(map(any, found.bvecs)):
        return ()
    weights = zip(found.bvals, found.bvecs, strict=True)
    places = [place for place, (value, direction) in enumerate(weights) if value > 0 and not any(direction)]
    if not places:
        return ()
    shown = ", ".join(map(str, places[:5])) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
    what = "volume" if len(places) == 1 else "volumes"
    return (f"{what} {shown} (from 0): diffusion-weighted without a direction, a trace or mean: not for tensors",)


def _along(axes: Sequence[Vector], direction: Vector | None) -> tuple[float, float, float]:
    """Return a direction (LPS) along axes (RAS)."""
    if direction is None:
        return 0.0, 0.0, 0.0
    x, y, z = direction
    a, b, c = (dot(axis, (-x, -y, z)) + 0.0 for axis in axes)
    return a, b, c


def _weight(frame: Frame, value: float | None, direction: Vector | None) -> Weighting | None:
    """Return a b-value, and a direction where that means something, as a unit vector."""
    if value is None:
        return None
    length = hypot(*direction) if direction is not None else 0.0
    undirected = frame.text("DiffusionDirectionality").upper() in _UNDIRECTED
    if value <= 0 or undirected or direction is None or len(direction) != 3 or not 1e-6 < length < 1e6:
        return max(value, 0.0), None
    return value, tuple(part / length for part in direction)


# makers


def _siemens(frame: Frame) -> Weighting | None:
    value, direction = frame.number("SiemensBValue"), frame.numbers("SiemensGradientDirection")
    kind, matrix = frame.text("SiemensDiffusionKind"), frame.numbers("SiemensBMatrix")
    if value is None and "SiemensImageHeader" in frame.file.elements:
        try:
            fields = csa_header(frame.file.elements)
        except FormatError:
            return None
        value, direction = csa_number(fields, "B_value"), csa_numbers(fields, "DiffusionGradientDirection")
        kind, matrix = " ".join(fields.get("DiffusionDirectionality", ())), csa_numbers(fields, "B_matrix")
    if value is None:
        return None
    if kind.upper() in _UNDIRECTED:
        return value, None
    return value, direction or _principal(matrix)


def _principal(matrix: Vector | None) -> Vector | None:
    """Return the direction in which most of a b-matrix (xx, xy, xz, yy, yz, zz) lies; None where it has none."""
    if matrix is None or len(matrix) != 6:
        return None
    xx, xy, xz, yy, yz, zz = matrix
    rows = ((xx, xy, xz), (xy, yy, yz), (xz, yz, zz))
    trace = xx + yy + zz
    if not 0 < trace < 1e30:
        return None
    vector: Vector = max(rows, key=lambda row: hypot(*row))
    for _ in range(64):
        turned = tuple(dot(row, vector) for row in rows)
        length = hypot(*turned)
        if not length > 1e-9 * trace:
            return None
        vector = tuple(part / length for part in turned)
    strength = dot(vector, tuple(dot(row, vector) for row in rows))
    return vector if strength > _MOSTLY * trace else None


def _ge(frame: Frame) -> Weighting | None:
    value = frame.number("GEBValue")
    if value is None:
        return None
    value = value % _WRAP
    raw = [frame.number(f"GEGradient{axis}") or 0.0 for axis in "XYZ"]
    length = hypot(*raw)
    if length < _SHORT or value == 0:
        return (value if frame.number("GEDiffusionDirections") == 0 else 0.0), None
    if length < _WHOLE:
        value = max(5.0, 5.0 * ((value * length**2 + 2.5) // 5))
    axes, phase = _axes(frame), frame.text("InPlanePhaseEncodingDirection").upper()
    if axes is None or not phase.startswith(("COL", "ROW")):
        return value, None
    x, y, z = raw if phase.startswith("COL") else (raw[1], -raw[0], raw[2])
    normal = axes[2]
    main = max(range(3), key=lambda axis: (abs(normal[axis]), axis))
    a, b, c = _GE_SIGNS[main]
    return value, _composed(axes, (a * x, b * y, c * z))


def _lost(frame: Frame) -> bool:
    """Tell whether a frame of GE has a direction that cannot be placed."""
    if "GEBValue" not in frame.file.elements or frame.number("DiffusionBValue") is not None:
        return False
    long = hypot(*(frame.number(f"GEGradient{axis}") or 0.0 for axis in "XYZ")) >= _SHORT
    return long and (frame.number("GEBValue") or 0.0) % _WRAP > 0


def _philips(frame: Frame) -> Weighting | None:
    value = frame.number("PhilipsBValue")
    if value is None:
        return None
    parts = [frame.number(f"PhilipsGradient{axis}") for axis in "XYZ"]
    known = tuple(part for part in parts if part is not None)
    undirected = frame.text("PhilipsDiffusionKind").upper() in _UNDIRECTED
    return value, None if undirected or len(known) != 3 else known


def _uih(frame: Frame) -> Weighting | None:
    value, direction = frame.number("UIHBValue"), frame.numbers("UIHGradientDirection")
    if value is None:
        return None
    axes = _axes(frame)
    if direction is None or len(direction) != 3 or axes is None:
        return value, None
    return value, _composed(axes, direction)


# vectors


def _axes(frame: Frame) -> tuple[Vector, Vector, Vector] | None:
    """Return the directions of row, column and slice, LPS."""
    if frame.orientation is None:
        return None
    row, column = frame.orientation[:3], frame.orientation[3:]
    return row, column, cross(row, column)


def _composed(axes: Sequence[Vector], parts: Sequence[float]) -> Vector:
    return tuple(dot(parts, line) for line in zip(*axes, strict=True))

"""Diffusion gradients in the key-value pairs of a NRRD header (NA-MIC's convention, teem's ``tenDWMRIKeyValueParse``).

``DWMRI_gradient_0000:=x y z`` is a direction in the coordinates of the measurement frame, which takes it into the
space of the header. Its length scales the weighting: b = ``DWMRI_b-value`` * (length / longest)**2.
``DWMRI_NEX_0002:=3`` says that entry 2 holds for three volumes. B-matrices and entries that are no vector stay
key-values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, isfinite

from medimg_cli.affine import AffineMatrix
from medimg_cli.formats.nrrd_fields import real
from medimg_cli.formats.text import number_text
from medimg_cli.header import Gradients

__all__ = ["from_values", "gradient_keys", "to_values"]

_PREFIX = "DWMRI_"


def gradient_keys(values: Mapping[str, str]) -> set[str]:
    """Return the keys that speak of diffusion weighting."""
    return {key for key in values if key.startswith(_PREFIX) or key == "modality"}


def _vector(text: str) -> tuple[float, float, float] | None:
    found = [real(word) for word in text.split(None, 3)]
    if len(found) != 3 or any(value is None or not isfinite(value) for value in found):
        return None
    x, y, z = found
    return x, y, z  # type: ignore[return-value]


def _entries(values: Mapping[str, str], count: int) -> list[tuple[float, float, float]] | None:
    """Return one vector a volume, None where the keys do not give it."""
    found: list[tuple[float, float, float]] = []
    used = {"modality", "DWMRI_b-value"}
    while len(found) < count:
        number = f"{len(found):04d}"
        vector = _vector(values.get(f"DWMRI_gradient_{number}", ""))
        times = values.get(f"DWMRI_NEX_{number}", "1").strip()
        if vector is None or not (times.isascii() and times.isdecimal() and len(times) < 10 and int(times) > 0):
            return None
        used |= {f"DWMRI_gradient_{number}", f"DWMRI_NEX_{number}"}
        found += [vector] * min(int(times), count - len(found) + 1)
    return found if len(found) == count and gradient_keys(values) <= used else None


def _to_voxel(affine: AffineMatrix) -> AffineMatrix:
    """Return the map from directions in RAS to directions along the voxel axes."""
    return AffineMatrix.from_spacing(1.0, direction=affine.direction).inverse()


def from_values(values: Mapping[str, str], count: int, affine: AffineMatrix, to_ras: AffineMatrix) -> Gradients | None:
    """Read gradients, None where there are none that can be read.

    Parameters
    ----------
    values : mapping
        Key-value pairs of the header.
    count : int
        Number of volumes.
    affine : AffineMatrix
        Voxel -> RAS+ mm.
    to_ras : AffineMatrix
        Turns directions of the measurement frame into RAS.
    """
    if values.get("modality", "").strip() != "DWMRI" or count < 2 or affine.is_singular:
        return None
    largest = real(values.get("DWMRI_b-value", "").strip())
    vectors = _entries(values, count)
    if largest is None or not isfinite(largest) or largest < 0 or vectors is None:
        return None
    longest = max(hypot(*vector) for vector in vectors)
    to_voxel = _to_voxel(affine)
    flip = -1.0 if affine.determinant > 0 else 1.0
    bvals, bvecs = [], []
    for vector in vectors:
        length = hypot(*vector)
        bvals.append(float(f"{largest * (length / longest) ** 2:.9g}") if length else 0.0)
        x, y, z = to_voxel.apply(to_ras.apply(vector))
        size = hypot(x, y, z) or 1.0
        bvecs.append((flip * x / size + 0.0, y / size + 0.0, z / size + 0.0))
    return Gradients(tuple(bvals), tuple(bvecs))


def to_values(gradients: Gradients, affine: AffineMatrix, from_ras: AffineMatrix) -> dict[str, str]:
    """Write gradients as key-value pairs; what they cannot say (direction at b = 0) is lost.

    Parameters
    ----------
    gradients : Gradients
    affine : AffineMatrix
        Voxel -> RAS+ mm.
    from_ras : AffineMatrix
        Turns directions of RAS into those of the measurement frame.
    """
    largest = max(gradients.bvals)
    flip = -1.0 if affine.determinant > 0 else 1.0
    to_ras = AffineMatrix.from_spacing(1.0, direction=affine.direction)
    found = {"modality": "DWMRI", "DWMRI_b-value": number_text(largest)}
    for number, (b, (x, y, z)) in enumerate(zip(gradients.bvals, gradients.bvecs, strict=True)):
        vector: Sequence[float] = from_ras.apply(to_ras.apply((flip * x, y, z)))
        size = hypot(*vector)
        share = (b / largest) ** 0.5 / size if largest > 0 and b > 0 and size else 0.0
        found[f"DWMRI_gradient_{number:04d}"] = " ".join(number_text(part * share) for part in vector)
    return found

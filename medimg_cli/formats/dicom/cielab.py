"""Colours as DICOM stores them for segments: CIELab in 16 bits (PS3.3, C.10.7.1.1), to and from sRGB of 8 bits.

Decision: the white of both is D65, without adaptation to the D50 that ICC profiles mean. All writers that are in use
(dcmqi, 3D Slicer, highdicom, pixelmed) do so, and a colour that was chosen in sRGB comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["lab_of", "rgb_of"]

#: Linear sRGB -> XYZ (IEC 61966-2-1), and back.
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_TO_RGB = (
    (3.2404542, -1.5371385, -0.4985314), (-0.9692660, 1.8760108, 0.0415560), (0.0556434, -0.2040259, 1.0572252),
)  # fmt: skip
_WHITE = (0.95047, 1.0, 1.08883)
#: Below this ratio to white, CIELab is linear: (6 / 29) ** 3.
_DARK = (6 / 29) ** 3


def lab_of(color: Sequence[int]) -> tuple[int, int, int]:
    """Return RecommendedDisplayCIELabValue of red, green, blue from 0 to 255.

    >>> lab_of((255, 255, 255)), lab_of((0, 0, 0))
    ((65535, 32896, 32896), (0, 32896, 32896))
    """
    linear = [_linear(part / 255) for part in color[:3]]
    x, y, z = (_root(value / white) for value, white in zip(_times(_TO_XYZ, linear), _WHITE, strict=True))
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    return _stored(lightness / 100), _stored((a + 128) / 255), _stored((b + 128) / 255)


def rgb_of(lab: Sequence[float]) -> tuple[int, int, int]:
    """Return red, green, blue from 0 to 255 of RecommendedDisplayCIELabValue; what sRGB has not is cut to its range.

    >>> rgb_of((41661, 41167, 40792)), rgb_of(lab_of((12, 200, 255)))
    ((221, 130, 101), (12, 200, 255))
    """
    lightness, a, b = lab[0] / 65535 * 100, lab[1] / 65535 * 255 - 128, lab[2] / 65535 * 255 - 128
    y = (lightness + 16) / 116
    xyz = [_cube(root) * white for root, white in zip((y + a / 500, y, y - b / 200), _WHITE, strict=True)]
    red, green, blue = (round(255 * min(max(_curved(part), 0.0), 1.0)) for part in _times(_TO_RGB, xyz))
    return red, green, blue


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [sum(x * y for x, y in zip(row, vector, strict=True)) for row in matrix]


def _stored(part: float) -> int:
    return round(65535 * min(max(part, 0.0), 1.0))


def _linear(part: float) -> float:
    return float(((part + 0.055) / 1.055) ** 2.4) if part > 0.04045 else part / 12.92


def _curved(part: float) -> float:
    return float(1.055 * part ** (1 / 2.4) - 0.055) if part > 0.0031308 else 12.92 * part


def _root(ratio: float) -> float:
    return float(ratio ** (1 / 3)) if ratio > _DARK else ratio * 841 / 108 + 4 / 29


def _cube(root: float) -> float:
    return root**3 if root > 6 / 29 else (root - 4 / 29) * 108 / 841

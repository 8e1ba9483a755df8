"""What a proper image in physical space keeps to: one row a rule, with its reason."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["RULES", "Finding", "Rule"]


class Rule(NamedTuple):
    """One thing that holds for every proper image.

    Parameters
    ----------
    severity : str
        "error": the image lies, or nobody can tell where it lies; "warning": somebody will read it wrong.
    reason : str
        Why it matters, one sentence.
    """

    severity: str
    reason: str


class Finding(NamedTuple):
    """One rule that an object breaks.

    Parameters
    ----------
    code : str
        "SP" and three digits, a key of `RULES`.
    severity : str
        "error" or "warning".
    message : str
        One sentence: what was found, what was expected.
    reason : str
        Why it matters.
    """

    code: str
    severity: str
    message: str
    reason: str

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.message}"


_LIES = "voxels whose place is not known cannot be measured, overlaid or saved"
_NUMBERS = "arithmetic on it fails, or fails later and elsewhere"
_AGREE = "two programs that read different parts of one image put it in two places"
_INDEX = "a part of an image must show the same anatomy in the same place as the whole"

RULES: dict[str, Rule] = {
    "SP001": Rule("error", _LIES),
    "SP002": Rule("error", "without its shape nobody knows where an image ends"),
    "SP003": Rule("error", "left and right, front and back are swapped where LPS+ is taken for RAS+"),
    "SP101": Rule("error", _NUMBERS),
    "SP102": Rule("error", _NUMBERS),
    "SP103": Rule("error", "NaN and infinity spread to every coordinate that is computed"),
    "SP104": Rule("error", "a map from voxels to mm is a 4 x 4 matrix"),
    "SP105": Rule("error", "with another last row the map is none from voxels to mm"),
    "SP106": Rule("error", "a voxel without volume has no inverse: no point of the world can be found in the image"),
    "SP107": Rule("warning", "rows and columns of a flat direction are easily swapped"),
    "SP201": Rule("error", "a voxel has a size; the sign of an axis belongs to its direction"),
    "SP202": Rule("warning", "such sizes are mostly in m or um, and everything here counts in mm"),
    "SP203": Rule("error", "everything here counts in mm; others will take the numbers for mm"),
    "SP301": Rule("error", "the size of a voxel belongs to spacing: counted twice, the image is stretched"),
    "SP302": Rule("warning", "ITK, DICOM and NIfTI's qform cannot hold axes that are not at right angles"),
    "SP401": Rule("error", _AGREE),
    "SP402": Rule("error", _AGREE),
    "SP403": Rule("error", _AGREE),
    "SP404": Rule("error", "one of the two is a mirror image: left is taken for right"),
    "SP405": Rule(
        "error", "the parts are LPS+ and the affine is RAS+, or the other way round: one of them was not turned"
    ),
    "SP501": Rule("error", "orientation is one letter of each pair R/L, A/P, S/I for the axes i, j, k"),
    "SP502": Rule("error", "whoever trusts the letters flips the wrong axis"),
    "SP601": Rule("error", "an image has voxels along one to three spatial axes, and perhaps channels"),
    "SP602": Rule("error", "spatial axes that are not those of the array are counted wrong by whoever loops over them"),
    "SP603": Rule("error", "what is declared and what is there must be the same array"),
    "SP604": Rule("warning", "what is declared and what is there must be the same type"),
    "SP701": Rule("error", _INDEX),
    "SP702": Rule("error", _INDEX),
    "SP703": Rule("error", _INDEX),
}
"""Code -> rule: 0 presence and world, 1 types, 2 spacing, 3 direction, 4 agreement, 5 letters, 6 data, 7 slicing."""

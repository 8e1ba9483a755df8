"""Say which reader is right where trusted readers disagree, and the clause of the format that decides.

Rows are looked up by file name pattern; the first that matches counts. `follows` names the readers whose
voxel hash medimg must give (any one of them), or ``"own"`` when the clause gives an answer no reader gives,
or ``"refuse"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold one decision.

    Attributes
    ----------
    pattern : str
        Shell pattern of the path in the manifest or below ``_generated``.
    follows : tuple of str
        Of ``nib``, ``sitk``, ``mrtrix``, ``pynrrd``, ``own``, ``refuse``.
    clause : str
        What the format says.
    affine : sequence or None
        Expected affine (RAS+ mm) in the file's own voxel order, for ``own``.
    space : tuple of int or None
        For ``own``: which axes of nibabel's array are space; the one left is time.
    """

    pattern: str
    follows: tuple[str, ...]
    clause: str
    affine: Sequence[Sequence[float]] | None = None
    space: tuple[int, int, int] | None = None


def _scale(x: float, y: float, z: float) -> tuple[tuple[float, ...], ...]:
    """Return the affine of NIfTI's method 1 and of formats without orientation."""
    return (x, 0.0, 0.0, 0.0), (0.0, y, 0.0, 0.0), (0.0, 0.0, z, 0.0), (0.0, 0.0, 0.0, 1.0)


_METHOD_1 = (
    "nifti1.h, method 1 (qform_code = sform_code = 0): x = pixdim[1] * i, y = pixdim[2] * j, "
    "z = pixdim[3] * k; "
    "no flip, no shift to the centre. Reported as orientation unknown."
)
_MINC = (
    "MINC 2.0 reference, dimension variables: world = start + index * step along direction_cosines, "
    "x to the patient's right, y anterior, z superior; axes in dimorder, slowest first. "
    "SimpleITK reads the axes as LPS."
)
_MINC_TIME = (
    "MINC 2.0 reference, dimension names: the dimension called time is not space, wherever it stands in "
    "dimorder. nibabel gives it as the first array axis, under an affine for the other three."
)
_PAR = (
    "PAR/REC header: slices by the table's slice number, angulation about AP, FH, RL, values "
    "PV * rescale slope + rescale intercept of each line. MRtrix ignores the slope and swaps axes."
)
_NAN = "IEEE 754 NaN in a float image is a voxel value, not to be changed. SimpleITK makes it 0."
_PICTURE = "TIFF holds no world origin or patient axes: voxel values in the file's order are what counts."
_HEADER_ONLY = "The file that should hold the voxels is not in the header's folder: header facts only, voxels refused."

DECISIONS = (
    Decision("*/minimal.*", ("own",), _METHOD_1, _scale(3, 3, 3)),
    Decision("*/minimal2.hdr", ("own", "refuse"), _METHOD_1, _scale(3, 3, 3)),
    Decision("*/odd/no_sform_no_qform.nii", ("own",), _METHOD_1, _scale(0.664062, 0.664062, 2.1)),
    Decision("*/motor.nii.gz", ("nib", "mrtrix"), _NAN + " sform_code > 0: method 3, srow_x/y/z as they stand."),
    Decision("*/resampled_anat_moved.nii", ("nib", "mrtrix"), _NAN),
    Decision(
        "*/pval.LH.nii.gz",
        ("sitk", "mrtrix"),
        "nifti1.h, dim[1..7]: the stored shape is 27307 x 1 x 6; that it is"
        " a surface of 163,842 points is FreeSurfer's private habit, known to nibabel only.",
    ),
    Decision(
        "*/shear.nii.gz",
        ("nib", "mrtrix"),
        "nifti1.h, method 3 (sform_code > 0): a general affine from srow_x/y/z,"
        " shear included. SimpleITK needs orthonormal axes and takes the qform.",
    ),
    Decision("*/crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif", ("sitk", "refuse"), _PICTURE),
    Decision("*/vol.mnc", ("nib",), _MINC + " (this file was written by SimpleITK in LPS)"),
    Decision("*/minc?[-_]4d*.mnc", ("own",), _MINC_TIME, space=(1, 2, 3)),
    Decision("*.mnc", ("nib",), _MINC),
    Decision(
        "*/phantom_truncated.PAR",
        ("refuse",),
        "PAR/REC header: the table promises 4 dynamics, the REC holds 3.",
    ),
    Decision(
        "*/PARREC/NA.PAR",
        ("refuse",),
        "PAR/REC header: the slices lie in three orientations; no one affine holds",
    ),
    Decision("*.PAR", ("nib",), _PAR),
    Decision(
        "*/avg152T1_LR_nifti.hdr.gz",
        ("sitk", "refuse"),
        "nifti1.h, magic n+1: voxels follow in the same file from vox_offset on; else " + _HEADER_ONLY,
    ),
)


def decision_for(path: str) -> Decision | None:
    """Return the decision whose pattern matches `path`, or None."""
    return next((row for row in DECISIONS if fnmatchcase("/" + path, row.pattern)), None)

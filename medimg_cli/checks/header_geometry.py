"""Rules about geometry in headers: where voxels lie, how large they are, and which way their axes run.

Sources: ``nifti1.h`` (R. W. Cox), "3D IMAGE (VOLUME) ORIENTATION AND LOCATION IN SPACE"; what nibabel's
``nib-nifti-dx`` looks at, and what other formats leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import acos, degrees, dist, isfinite, sqrt

from medimg_cli.affine import AffineMatrix
from medimg_cli.checks.header_stated import stated_sizes, unusable
from medimg_cli.checks.rule import Found, Mend, Rule
from medimg_cli.checks.subject import Subject
from medimg_cli.formats.nifti_fields import LAST_FORM_CODE, LONGEST_QUATERNION, SPACE_UNITS
from medimg_cli.header import Header

__all__ = ["RULES"]

#: Formats that can say how voxel axes lie in the patient, so that it means something if a file does not.
_ORIENTED = frozenset({"nifti1", "nifti2", "nrrd", "metaimage", "mgh", "mif", "afni", "hdf5"})
#: Affines that hold no measure of anything: pixels of pictures, and numbers nobody spaced.
_UNMEASURED = frozenset({"picture", "default", "none", "tiff"})
#: Formats of microscopes, whose voxels may be as small as they like.
_MICROSCOPES = frozenset({"zarr", "tiff"})


def _is_volume(header: Header) -> bool:
    """Tell whether an image is more than a list of numbers: FreeSurfer stores surfaces as N x 1 x 1 voxels."""
    return sum(size > 1 for size in header.spatial_shape) > 1


# both forms


def _both_forms(header: Header) -> tuple[AffineMatrix, AffineMatrix] | None:
    sform, qform = header.sform, header.qform
    if sform is None or qform is None or not header.sform_code or not header.qform_code or sform == qform:
        return None
    return None if sform.is_singular or qform.is_singular else (sform, qform)


def _turn(sform: AffineMatrix, qform: AffineMatrix) -> float:
    """Return the largest angle between the two directions of one voxel axis, in degrees."""
    columns = zip(zip(*sform.direction, strict=True), zip(*qform.direction, strict=True), strict=True)
    return max(degrees(acos(max(-1.0, min(1.0, sum(a * b for a, b in zip(u, v, strict=True)))))) for u, v in columns)


def _mirrored(header: Header, limit: float) -> str:
    """Say how both forms contradict each other on which way axes run; "" where they do not."""
    forms = _both_forms(header)
    if forms is None:
        return ""
    sform, qform = forms
    letters = f"sform runs to {''.join(sform.orientation)}, qform to {''.join(qform.orientation)}"
    if (sform.determinant > 0) != (qform.determinant > 0):
        return f"sform and qform mirror each other: {letters}"
    turn = _turn(sform, qform)
    if header.sform_code == header.qform_code and turn > limit:
        return f"sform and qform are turned by {turn:.3g} degrees against each other: {letters}"
    return ""


def _forms_mirrored(subject: Subject) -> Iterator[Found]:
    said = _mirrored(subject.header, subject.settings.limit("forms-degrees"))
    if said:
        yield Found(said)


def _forms_apart(subject: Subject) -> Iterator[Found]:
    header = subject.header
    forms = _both_forms(header)
    if forms is None:
        return
    apart = forms[0].mm_shift(forms[1], header.spatial_shape)
    if apart > subject.settings.limit("forms-mm") and not _mirrored(header, subject.settings.limit("forms-degrees")):
        yield Found(f"sform and qform are {apart:.3g} mm apart")


def _unusable(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.sform_code is None and header.qform_code is None:
        yield from map(Found, unusable(subject))
        return
    if header.ndim < 3:  # a third column of zeros is usual there
        return
    for name, form, code in (
        ("sform", header.sform, header.sform_code or 0),
        ("qform", header.qform, header.qform_code or 0),
    ):
        if code > 0 and (form is None or form.is_singular):
            what = "numbers that are not finite" if form is None else "a matrix without volume"
            yield Found(f"the {name} has code {code} and holds {what}")


def _form_code(subject: Subject) -> Iterator[Found]:
    header = subject.header
    for name, code in (("sform", header.sform_code), ("qform", header.qform_code)):
        if code and not 0 < code <= LAST_FORM_CODE:
            yield Found(f"{name}_code is {code}, expected 0 to {LAST_FORM_CODE}")


# orientation


def _unknown(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.orientation_known or header.format not in _ORIENTED or header.ndim < 3 or subject.is_cifti:
        return
    if not _is_volume(header):
        return
    fields = subject.nifti
    if fields is None:
        yield Found("nothing says which way the voxel axes run in the patient")
    elif fields["sform_code"] > 0 or fields["qform_code"] > 0:
        yield Found("no form that is declared can be used: orientation is unknown")
    else:
        held = ", though the sform holds numbers" if any(fields["srow"]) else ""
        yield Found(f"sform_code and qform_code are 0{held}: orientation is unknown")


def _unheld(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if not header.orientation_known and not subject.is_cifti and (header.format not in _ORIENTED or header.ndim < 3):
        kind = "an image" if header.ndim > 2 else f"an image of {header.ndim} axes"
        yield Found(f"{kind} in {header.format} without orientation")


def _sheared(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.orientation_known and header.affine_source != "dicom" and not subject.is_cifti:  # D005 speaks of DICOM
        shear = header.affine.shear_deg
        if shear > subject.settings.limit("shear-degrees"):
            yield Found(f"two voxel axes are {shear:.3g} degrees off a right angle")


# the qform's own numbers


def _quaternion(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is not None and fields["qform_code"] > 0:
        square = sum(number * number for number in fields["quatern"])
        if isfinite(square) and square > LONGEST_QUATERNION:
            yield Found(f"the quaternion of the qform has length {sqrt(square):.4g}, expected at most 1")


def _mend_quaternion(subject: Subject) -> Mend | None:
    numbers = subject.nifti["quatern"] if subject.nifti else ()
    length = sqrt(sum(number * number for number in numbers))
    return Mend(fields={"quatern": tuple(number / length for number in numbers)}) if length else None


def _qfac(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is not None and fields["qform_code"] > 0 and fields["pixdim"][0] not in (1.0, -1.0):
        yield Found(
            f"pixdim[0] is {fields['pixdim'][0]:g}, expected 1 or -1: which way the third axis of the qform runs"
        )


def _mend_qfac(subject: Subject) -> Mend | None:
    if subject.nifti is None:
        return None
    first, *others = subject.nifti["pixdim"]
    return Mend(fields={"pixdim": (-1.0 if first < 0 else 1.0, *others)})


# voxel sizes


def _sizes(subject: Subject) -> Iterator[tuple[int, float]]:
    """Yield the spatial axes of more than one voxel, counted from 1, with their voxel sizes as the file has them."""
    header, fields = subject.header, subject.nifti
    if subject.is_cifti:
        return
    sizes = stated_sizes(subject) or header.spacing if fields is None else fields["pixdim"][1:4]
    for axis, (size, count) in enumerate(zip(sizes, header.spatial_shape, strict=False), 1):
        if count > 1:
            yield axis, size


def _spacing_impossible(subject: Subject) -> Iterator[Found]:
    for axis, size in _sizes(subject):
        if not size or not isfinite(size):
            if _is_volume(subject.header):
                yield Found(f"the voxel size along {'ijk'[axis - 1]} is {size:g}, expected a length above 0")
            return


def _spacing_negative(subject: Subject) -> Iterator[Found]:
    wrong = [f"{size:g}" for _, size in _sizes(subject) if size < 0 and isfinite(size)]
    if wrong:
        yield Found(f"voxel sizes are below 0: {', '.join(wrong)}")


def _mend_spacing(subject: Subject) -> Mend | None:
    """Drop the signs, where nothing depends on them: the sform places voxels, and there is no qform."""
    header, fields = subject.header, subject.nifti
    if fields is None or header.affine_source != "sform" or fields["qform_code"] > 0:
        return None
    first, *sizes = fields["pixdim"]
    return Mend(fields={"pixdim": (first, *(abs(size) if n < 3 else size for n, size in enumerate(sizes)))})


def _spacings_apart(subject: Subject) -> Iterator[Found]:
    header, fields = subject.header, subject.nifti
    if fields is None or header.affine_source != "sform" or _both_forms(header) is not None or fields["qform_code"] > 0:
        return
    factor, _ = SPACE_UNITS.get(fields["xyzt_units"] & 7, (1.0, None))
    share = subject.settings.limit("spacing-share")
    spacing = header.spacing
    sizes = [(abs(size) * factor, spacing[axis - 1]) for axis, size in _sizes(subject) if isfinite(size) and size]
    if any(abs(stated - used) > share * used for stated, used in sizes):
        stated, used = (" x ".join(f"{pair[n]:.4g}" for pair in sizes) for n in (0, 1))
        yield Found(f"pixdim says {stated} mm a voxel, the sform {used} mm")


def _mm(length: float) -> str:
    """Return a length in mm, without an exponent where it is long."""
    return f"{length:,.0f} mm" if 1e4 <= length < 1e15 else f"{length:.4g} mm"


def _spacing_absurd(subject: Subject) -> Iterator[Found]:
    header, limit = subject.header, subject.settings.limit
    if header.affine_source in _UNMEASURED or subject.is_cifti or not _is_volume(header):
        return
    sizes = [size for size, count in zip(header.spacing, header.spatial_shape, strict=True) if count > 1]
    least, most = min(sizes), max(sizes)
    if most > limit("spacing-mm-most"):
        yield Found(f"a voxel is {_mm(most)} long, expected at most {limit('spacing-mm-most'):g} mm")
    if 0 < least < limit("spacing-mm-least") and not _is_microscopic(header):
        yield Found(f"a voxel is {_mm(least)} long, expected at least {limit('spacing-mm-least'):g} mm")
    elif least > 0 and most > limit("anisotropy") * least:
        yield Found(
            f"voxels are {most / least:.4g} times as long as wide, expected at most {limit('anisotropy'):g} times"
        )


def _is_microscopic(header: Header) -> bool:
    return header.space_units == "um" or header.format in _MICROSCOPES


def _extent_absurd(subject: Subject) -> Iterator[Found]:
    header, limit = subject.header, subject.settings.limit
    if header.affine_source in _UNMEASURED or subject.is_cifti or not _is_volume(header):
        return
    extents = [size * count for size, count in zip(header.spacing, header.spatial_shape, strict=True)]
    most = max(extents)
    if most > limit("extent-mm-most"):
        yield Found(f"the image is {_mm(most)} long, expected at most {limit('extent-mm-most'):g} mm")
    elif 0 < most < limit("extent-mm-least") and max(header.spatial_shape) > 15 and not _is_microscopic(header):
        yield Found(f"the image is {_mm(most)} long, expected at least {limit('extent-mm-least'):g} mm")


def _far(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if not header.orientation_known or subject.is_cifti:
        return
    i, j, k = header.spatial_shape
    center = header.affine.apply(((i - 1) / 2, (j - 1) / 2, (k - 1) / 2))
    away = dist(center, (0.0, 0.0, 0.0))
    if away > subject.settings.limit("center-mm"):
        limit = subject.settings.limit("center-mm")
        yield Found(f"the centre of the image is {_mm(away)} from the world's origin, expected at most {limit:g} mm")


RULES = (
    Rule(
        "H001",
        "forms-disagree",
        "warning",
        _forms_apart,
        "sform and qform put voxels in the same places.",
        why="Tools differ in which of the two they use, so the image lies in two places.",
        example="A rigid registration that was written into the sform only.",
        remedy="`medimg convert --affine sform` or `--affine qform` keeps the right one.",
    ),
    Rule(
        "H002",
        "forms-mirrored",
        "error",
        _forms_mirrored,
        "sform and qform agree on which way the voxel axes run.",
        why="One of the two has left and right exchanged, or an axis turned: half of all tools show the wrong side.",
        example="A script that flipped the first row of the sform and left the qform as it was.",
        remedy="Find out which form is true, then `medimg convert --affine sform` or `--affine qform` keeps that one.",
    ),
    Rule(
        "H003",
        "orientation-unknown",
        "warning",
        _unknown,
        "A volume says how its voxel axes lie in the patient.",
        why="Where a format can say it and a file does not, each tool guesses left and right in its own way.",
        example="A NIfTI file whose sform_code and qform_code are both 0; a MetaImage without TransformMatrix.",
        remedy="`medimg edit --orientation LAS` states it, `--copy-geometry` takes it from an image on the same grid.",
    ),
    Rule(
        "H004",
        "format-without-orientation",
        "info",
        _unheld,
        "An image is stored in a format that holds orientation.",
        why="A picture or a bare array has no sides: nobody can tell left from right any more.",
        example="A PNG, a TIFF stack or an Analyze file.",
        remedy="`medimg convert` to NIfTI or NRRD, then `medimg edit --orientation` where it is known.",
    ),
    Rule(
        "H005",
        "matrix-unusable",
        "error",
        _unusable,
        "A matrix that a header states can be used.",
        why="It maps all voxels onto a plane, a line or nowhere, so each reader puts something else in its place.",
        example="sform_code 1 with an sform of zeros; a NaN in the offset of the qform; a TransformMatrix of zeros.",
        remedy="`medimg edit --affine` or `--copy-geometry` states a new one; `--sform-code 0` switches the sform off.",
    ),
    Rule(
        "H006",
        "form-code-unknown",
        "warning",
        _form_code,
        "The codes of sform and qform are ones that the standard knows.",
        why="Some tools take any code above 0 for true, others ignore what they do not know.",
        example="sform_code 999.",
        remedy="`medimg edit --sform-code 1` (scanner), 2 (aligned), 3 (Talairach), 4 (MNI) or 5 (other template).",
    ),
    Rule(
        "H007",
        "quaternion-not-unit",
        "warning",
        _quaternion,
        "The quaternion of a qform in use is no longer than 1.",
        why="Such a quaternion is no rotation: tools normalise it, clip it or take a root of a negative number.",
        example="quatern_b, quatern_c and quatern_d of 0.9 each.",
        remedy="`medimg check --fix` divides it by its length, which is how most tools read it.",
        mend=_mend_quaternion,
    ),
    Rule(
        "H008",
        "qfac",
        "warning",
        _qfac,
        "pixdim[0] is 1 or -1 where a qform is in use.",
        why="Its sign says whether the third axis is mirrored; other values are read in more than one way.",
        example="pixdim[0] of 0, left by a tool that knows Analyze only.",
        remedy="`medimg check --fix` writes 1, or -1 where it was below 0, as the standard says it is to be read.",
        mend=_mend_qfac,
    ),
    Rule(
        "H009",
        "sheared",
        "warning",
        _sheared,
        "Voxel axes stand at right angles.",
        why="SimpleITK and others refuse a sheared image or straighten it in silence, and a qform cannot hold it.",
        example="An affine registration with shear in the sform; a CT with a tilted gantry, converted to NIfTI.",
        remedy="`medimg resample --like` puts it on the straight grid of another image; `medimg convert --untilt` "
        "straightens DICOM of a tilted gantry.",
    ),
    Rule(
        "H010",
        "spacing-impossible",
        "error",
        _spacing_impossible,
        "Each voxel size is a length above 0.",
        why="A voxel of size 0 has no volume: lengths, volumes and resampling come out wrong or not at all.",
        example="pixdim of 0 or NaN along an axis of 30 slices.",
        remedy="`medimg edit --spacing 1,1,2.5` states it; `--copy-geometry` takes it from an image on the same grid.",
    ),
    Rule(
        "H011",
        "spacing-negative",
        "warning",
        _spacing_negative,
        "No voxel size is below 0.",
        why="NIfTI has voxel sizes above 0; some tools mirror the image, others take 1 mm instead.",
        example="pixdim[1] of -1, to say that x runs to the left, as SPM's Analyze files do.",
        remedy="`medimg check --fix` drops the sign where only the sform places voxels; else `medimg edit --spacing`.",
        mend=_mend_spacing,
    ),
    Rule(
        "H012",
        "spacings-disagree",
        "warning",
        _spacings_apart,
        "Voxel sizes in pixdim are those of the sform in use.",
        why="Tools that take voxel sizes from pixdim measure other lengths and volumes than those that take the sform.",
        example="An image resampled to 2 mm whose header still says 1 mm in pixdim.",
        remedy="`medimg edit --qform-code 1` writes the sizes of the sform, and a qform that agrees with it. Where "
        "pixdim is right, `medimg edit --spacing` writes its sizes into both.",
    ),
    Rule(
        "H013",
        "spacing-absurd",
        "warning",
        _spacing_absurd,
        "Voxel sizes are such as scanners make.",
        why="A size out of all measure is nearly always a wrong unit, and every length and volume is wrong with it.",
        example="Metres read as millimetres; slices that are 650 mm apart.",
        remedy="`medimg edit --units` says what unit the numbers are in, `--spacing` states them anew. "
        "Limits are spacing-mm-least, spacing-mm-most and anisotropy.",
    ),
    Rule(
        "H014",
        "extent-absurd",
        "warning",
        _extent_absurd,
        "An image is as large as a body, or a part of one.",
        why="An image of several metres, or of a fraction of a millimetre, has a wrong unit or is no volume at all.",
        example="A surface of 54,000 points that was stored as a volume.",
        remedy="`medimg edit --units` or `--spacing`. Limits are extent-mm-least and extent-mm-most.",
    ),
    Rule(
        "H015",
        "far-from-origin",
        "warning",
        _far,
        "An image lies near the origin of the world.",
        why="Registration starts far away and fails, and numbers of 32 bits lose precision there.",
        example="An origin in micrometres that was read as millimetres.",
        remedy="`medimg edit --center 0,0,0` moves it; `--origin` states where it lies. The limit is center-mm.",
    ),
)
"""Rules about where voxels lie."""

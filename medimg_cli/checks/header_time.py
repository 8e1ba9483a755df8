"""Rules about units, time, slices and gradients, in the header and in the files beside it.

Sources: ``nifti1.h`` (xyzt_units, pixdim[4], slice_code and its kin); BIDS 1.9, "Magnetic Resonance Imaging", for what
a JSON sidecar and the files bval and bvec must agree on with the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot, isfinite
from typing import TYPE_CHECKING

from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject
from medimg_cli.errors import MedImgError
from medimg_cli.header import Header

if TYPE_CHECKING:
    from medimg_cli.header import Gradients

__all__ = ["RULES"]

#: Formats that have a field for the time step, so that its absence says something.
_TIMED = frozenset({"nifti1", "nifti2", "nrrd", "mif", "mgh", "afni"})
_LAST_SLICE_CODE = 6
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def _time_steps(header: Header) -> int:
    """Return how many steps the time axis has; 1 where there is none."""
    return header.axes[0][1] if header.axes and header.axes[0][0] == "time" else 1


# units


def _space_unit(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is not None and not fields["xyzt_units"] & 7 and not subject.is_cifti:
        yield Found("the header does not say in which unit voxel sizes are; everybody reads mm")


def _unit_unknown(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is not None and not subject.is_cifti:
        space, time = fields["xyzt_units"] & 7, fields["xyzt_units"] & 56
        if space > 3:
            yield Found(f"the unit of space is {space}, expected 1 (m), 2 (mm) or 3 (um)")
        if time > 48:
            yield Found(
                f"the unit of time is {time}, expected 8 (s), 16 (ms), 24 (us), 32 (Hz), 40 (ppm) or 48 (rad/s)"
            )


def _time_unit(subject: Subject) -> Iterator[Found]:
    header, fields = subject.header, subject.nifti
    if fields is None or fields["xyzt_units"] & 56 or _time_steps(header) < 2 or header.gradients is not None:
        return
    if header.time_spacing is not None:
        yield Found(f"the header does not say in which unit the time step {fields['pixdim'][4]:g} is; medimg reads s")


# time


def _no_time_step(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.format in _TIMED and _time_steps(header) > 1 and not header.time_spacing and header.gradients is None:
        yield Found(f"{_time_steps(header)} time steps, and no time from one to the next")


def _unnamed_axis(subject: Subject) -> Iterator[Found]:
    header, fields = subject.header, subject.nifti
    if fields is None or header.gradients is not None or subject.is_cifti or header.intent is not None:
        return
    several = len(header.axes) == 1 and header.axes[0][0] == "channel" and header.axes[0][1] > 1
    if several and not fields["xyzt_units"] & 56:
        yield Found(f"{header.axes[0][1]} volumes, and nothing says whether they follow each other in time")


def _time_step_unit(subject: Subject) -> Iterator[Found]:
    header, limit = subject.header, subject.settings.limit
    step = header.time_spacing
    if step is None or _time_steps(header) < 2 or header.format not in _TIMED:
        return
    if step >= limit("time-step-most"):
        yield Found(f"the time step is {step:g} s; it may be {step / 1000:g} s, stated in ms")
    elif header.time_units in ("ms", "us") and step < limit("time-step-least"):
        stated = step / _UNITS[header.time_units]
        yield Found(f"the time step is {stated:g} {header.time_units}; it may be meant in s")


# slices


def _slices(subject: Subject) -> Iterator[Found]:
    fields = subject.nifti
    if fields is None:
        return
    code, start, end = fields["slice_code"], fields["slice_start"], fields["slice_end"]
    if not (code or start or end):
        return
    axis = fields["dim_info"] >> 4 & 3
    if code and not 0 < code <= _LAST_SLICE_CODE:
        yield Found(f"slice_code is {code}, expected 0 to {_LAST_SLICE_CODE}")
    elif code and not axis:
        yield Found(f"slice_code is {code}, and dim_info does not say along which axis slices lie")
    count = subject.header.spatial_shape[(axis or 3) - 1]
    if start < 0 or end < 0 or start > max(end, count - 1) or end >= count or (end and start > end):
        letter = "ijk"[(axis or 3) - 1]
        yield Found(f"slices run from {start} to {end}, counted from 0, the image has {count} along {letter}")


def _slice_duration(subject: Subject) -> Iterator[Found]:
    header, fields = subject.header, subject.nifti
    if fields is None or not fields["slice_duration"]:
        return
    duration = fields["slice_duration"]
    if not isfinite(duration) or duration < 0:
        yield Found(f"slice_duration is {duration:g}, expected a time above 0")
        return
    axis = (fields["dim_info"] >> 4 & 3) or 3
    step, count = fields["pixdim"][4], header.spatial_shape[axis - 1]
    if header.time_spacing and _time_steps(header) > 1 and duration > step * 1.001:
        yield Found(f"slice_duration is {duration:g}, the time step for all {count} slices is {step:g}")


# gradients


def _table(subject: Subject) -> tuple[Gradients | None, str]:
    """Return the gradient table beside an image, or what is wrong with it; neither where not both files are there."""
    if not {"bval", "bvec"} <= subject.beside.keys():
        return None, ""
    from medimg_cli.formats.sidecars import read_gradients
    from medimg_cli.storage.source import open_source

    try:
        return read_gradients(open_source(subject.path)), ""
    except MedImgError as error:
        return None, error.message


def _gradients_unreadable(subject: Subject) -> Iterator[Found]:
    said = _table(subject)[1]
    if said:
        yield Found(said)


def _gradients_count(subject: Subject) -> Iterator[Found]:
    table = _table(subject)[0]
    if table is not None and len(table.bvals) != subject.header.channels:
        yield Found(f"{len(table.bvals)} b-values beside the image, which has {subject.header.channels} volumes")


def _gradients_alone(subject: Subject) -> Iterator[Found]:
    files = subject.beside.keys() & {"bval", "bvec"}
    if len(files) == 1:
        (there,) = files
        yield Found(f"the {there} beside the image has no {'bvec' if there == 'bval' else 'bval'}")


def _directions_length(subject: Subject) -> Iterator[Found]:
    gradients, limit = subject.header.gradients, subject.settings.limit
    if gradients is None:
        return
    lengths = [
        (hypot(*vector), volume)
        for volume, (value, vector) in enumerate(zip(gradients.bvals, gradients.bvecs, strict=True))
        if value > limit("zero-b")
    ]
    wrong = [(length, volume) for length, volume in lengths if length and abs(length - 1) > limit("direction-length")]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        length, volume = wrong[0]
        yield Found(f"the gradient direction of volume {volume}{more} has length {length:.4g}, expected 1")


def _directions_missing(subject: Subject) -> Iterator[Found]:
    gradients, limit = subject.header.gradients, subject.settings.limit
    if gradients is None:
        return
    weighted = [v for b, v in zip(gradients.bvals, gradients.bvecs, strict=True) if b > limit("zero-b")]
    if len(weighted) > 1 and not any(map(any, weighted)):
        yield Found(f"{len(weighted)} diffusion-weighted volumes, and all directions are 0 0 0")


# JSON sidecars


def _sidecar_step(subject: Subject) -> Iterator[Found]:
    stated, step = subject.sidecar.get("RepetitionTime"), subject.header.time_spacing
    if _time_steps(subject.header) < 2 or not isinstance(stated, (int, float)) or step is None or not isfinite(stated):
        return
    if abs(stated - step) > subject.settings.limit("sidecar-seconds"):
        yield Found(f"RepetitionTime in the sidecar is {stated:g} s, the time step of the header {step:g} s")


def _sidecar_slices(subject: Subject) -> Iterator[Found]:
    times = subject.sidecar.get("SliceTiming")
    if not isinstance(times, list) or not times or not all(isinstance(time, (int, float)) for time in times):
        return
    header = subject.header
    if len(times) not in header.spatial_shape:
        yield Found(f"SliceTiming in the sidecar has {len(times)} times, the image {header.spatial_shape[2]} slices")
    step = header.time_spacing
    if step and max(times) > step + subject.settings.limit("sidecar-seconds"):
        yield Found(f"SliceTiming in the sidecar goes up to {max(times):g} s, the time step is {step:g} s")


RULES = (
    Rule(
        "H020",
        "space-unit-missing",
        "info",
        _space_unit,
        "A header says in which unit voxel sizes are.",
        why="Everybody reads mm, so it matters only where something else was meant.",
        example="xyzt_units 0, as nibabel and others leave it where nobody sets it.",
        remedy="`medimg edit --units mm` states it. `--fix` does not: nobody but you knows.",
    ),
    Rule(
        "H021",
        "unit-unknown",
        "warning",
        _unit_unknown,
        "Units are ones that the standard knows.",
        why="A unit that does not exist is read as mm and s by some tools, and refused by others.",
        example="xyzt_units 255.",
        remedy="`medimg edit --units mm,s`.",
    ),
    Rule(
        "H022",
        "time-unit-missing",
        "warning",
        _time_unit,
        "A header with a time step says in which unit it is.",
        why="2 may be seconds, 2000 may be milliseconds: tools that do not look closely are off by a thousand.",
        example="pixdim[4] 2.5 with xyzt_units 2 (mm, and nothing about time).",
        remedy="`medimg edit --units s` or `--units ms` says it; `--tr` is for a step that is wrong.",
    ),
    Rule(
        "H023",
        "time-step-missing",
        "warning",
        _no_time_step,
        "A time series says how long a step takes.",
        why="Filters, slice timing and models of the response all need it, and take 1 s or 0 s instead.",
        example="A run of fMRI with pixdim[4] 0.",
        remedy="`medimg edit --tr SECONDS`.",
    ),
    Rule(
        "H024",
        "volumes-unnamed",
        "info",
        _unnamed_axis,
        "A header with several volumes says what they are.",
        why="Channels, contrasts or time steps are treated differently, and this header leaves it open.",
        example="Four axes with pixdim[4] 1 and no unit of time.",
        remedy="`medimg edit --tr SECONDS` where it is time; else it is well as it is.",
    ),
    Rule(
        "H025",
        "time-step-unit",
        "warning",
        _time_step_unit,
        "A time step is such as scanners make, in the unit that the header states.",
        why="A step that is off by a thousand makes nonsense of every filter and model.",
        example="pixdim[4] 2000 with the unit s; pixdim[4] 2 with the unit ms.",
        remedy="`medimg edit --tr SECONDS`. Limits are time-step-least and time-step-most.",
    ),
    Rule(
        "H026",
        "slice-order",
        "warning",
        _slices,
        "slice_code, slice_start and slice_end fit the image.",
        why="Slice timing is corrected by them: an order that cannot be shifts every slice in time.",
        example="slice_end 35 in an image of 35 slices; slice_code 3 where no axis is named in dim_info.",
        remedy="`medimg edit --unset nifti_slice_code` and its like; or `--set nifti_slice_end=34`.",
    ),
    Rule(
        "H027",
        "slice-duration",
        "warning",
        _slice_duration,
        "A slice takes no longer than a time step.",
        why="The two contradict each other, or are in two units, and slice timing follows one of them.",
        example="slice_duration 66 (ms) beside pixdim[4] 2 (s).",
        remedy="`medimg edit --unset nifti_slice_duration`, or `--set` it in the unit of the time step.",
    ),
    Rule(
        "H060",
        "gradients-unreadable",
        "error",
        _gradients_unreadable,
        "bval and bvec beside an image are a table of numbers.",
        why="No diffusion tool can use the image, or worse, one reads half of the table.",
        example="A bvec with two rows; a decimal comma.",
        remedy="Write both files again from the original DICOM: `medimg convert` does it.",
    ),
    Rule(
        "H061",
        "gradients-count",
        "error",
        _gradients_count,
        "There are as many b-values as volumes.",
        why="Every direction behind the missing one belongs to another volume.",
        example="64 b-values beside 65 volumes, because one was removed from the table only.",
        remedy="`medimg slice` takes out volumes with their gradients; `medimg edit --bvals --bvecs` attaches others.",
    ),
    Rule(
        "H062",
        "gradients-alone",
        "warning",
        _gradients_alone,
        "bval and bvec come together.",
        why="One without the other is no gradient table, and tools take the image for one without diffusion.",
        example="sub-01_dwi.bval without sub-01_dwi.bvec.",
        remedy="Copy the other file, or `medimg edit --bvals FILE --bvecs FILE`.",
    ),
    Rule(
        "H063",
        "direction-length",
        "warning",
        _directions_length,
        "Gradient directions have length 1.",
        why="Some tools scale the b-value by the length, others normalise: the same data give other tensors.",
        example="Directions of multi-shell schemes that encode the b-value in their length.",
        remedy="Normalise the directions and state the b-values, then `medimg edit --bvals FILE --bvecs FILE`. "
        "The limit is direction-length.",
    ),
    Rule(
        "H064",
        "directions-missing",
        "warning",
        _directions_missing,
        "Diffusion-weighted volumes have directions.",
        why="No tensor can be fitted, though the b-values promise it.",
        example="A bvec of zeros, written where a converter did not find the directions.",
        remedy="Convert the original DICOM again, or `medimg edit --bvals FILE --bvecs FILE`.",
    ),
    Rule(
        "H065",
        "sidecar-time-step",
        "warning",
        _sidecar_step,
        "RepetitionTime in the JSON sidecar is the time step of the header.",
        why="BIDS demands that they agree: tools take one or the other.",
        example="RepetitionTime 2 in the sidecar, pixdim[4] 1 in the header.",
        remedy="`medimg edit --tr SECONDS` corrects the header; correct the sidecar by hand. "
        "The limit is sidecar-seconds.",
    ),
    Rule(
        "H066",
        "sidecar-slice-times",
        "warning",
        _sidecar_slices,
        "SliceTiming in the JSON sidecar fits slices and time step.",
        why="Times beyond the time step are mostly milliseconds, and times too few belong to another image.",
        example="SliceTiming up to 1950 where the time step is 2 s.",
        remedy="Correct the sidecar: seconds, one time a slice.",
    ),
)
"""Rules about units, time, slices and gradients."""

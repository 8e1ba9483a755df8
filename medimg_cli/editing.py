"""Other facts for the same voxels: what ``medimg edit`` changes in a header, and how it tells of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from typing import TYPE_CHECKING, Any, Literal

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import with_header
from medimg_cli.batch import STREAM, Report, Task
from medimg_cli.errors import FormatError, GeometryError, StorageError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.nifti_fields import INTENTS
from medimg_cli.formats.nrrd_axes import LENGTHS
from medimg_cli.formats.sidecars import parse_gradients, read_facts, sidecar_paths
from medimg_cli.header import Header
from medimg_cli.orientation import parse_codes
from medimg_cli.pipeline import Change, Saving, rewrite
from medimg_cli.sources.placing import with_affine

if TYPE_CHECKING:
    from medimg_cli.backends import Backend

__all__ = ["EditRequest", "edited", "process", "told"]

#: How many mm, or seconds, a unit is.
_SPACE = {"m": 1000.0, "mm": 1.0, "um": 0.001}
_TIME = {"s": 1.0, "ms": 0.001, "us": 0.000001}
#: Options that say the whole geometry, or a part of it.
_WHOLE, _PARTS = ("affine", "copy_geometry"), ("spacing", "origin", "center", "orientation", "direction")
_EXCLUSIVE = (("origin", "center"), ("orientation", "direction"), _WHOLE)
#: Millimetres that count as a move: less is the rounding of float32.
_MOVED = 1e-4
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class EditRequest:
    """Facts as a command line gives them; None and False leave things as they are.

    Parameters
    ----------
    spacing : str, optional
        One or three numbers, mm. Voxel (0, 0, 0) stays where it is.
    origin, center : str, optional
        Three numbers, RAS+ mm: where voxel (0, 0, 0), or the centre of the image, comes to lie.
    orientation : str, optional
        Letters that the voxel axes run to; no voxel moves in memory, the centre stays.
    direction : str, optional
        Nine numbers, row by row: unit vectors of the voxel axes in the columns.
    affine : str, optional
        12 or 16 numbers, row by row, or a text file that holds them.
    lps : bool
        Whether ``origin``, ``center``, ``direction`` and ``affine`` are in LPS+, as ITK and DICOM count.
    copy_geometry : str, optional
        An image that has the affine, both NIfTI forms and their codes.
    form : str
        Which of the two NIfTI forms is changed: "both", "sform" or "qform".
    sform_code, qform_code : int, optional
        0: the form is not used.
    units : str, optional
        Units that the numbers of the file are in (mm, um, m; s, ms, us; two with a comma): numbers stay, their
        meaning changes.
    tr : float, optional
        Seconds from one time step to the next; 0 for none.
    intent : str, optional
        Name of a NIfTI intent, such as "label"; "none".
    description : str, optional
    assign : tuple of str
        ``KEY=VALUE``: the value is JSON, or text where it is not.
    remove : tuple of str
        Key-values to drop.
    bvals, bvecs : str, optional
        Files of a gradient table in FSL's convention.
    clear_history : bool

    Raises
    ------
    UsageError
        If nothing is asked for, options contradict each other, or one makes no sense.
    """

    spacing: str | None = None
    origin: str | None = None
    center: str | None = None
    orientation: str | None = None
    direction: str | None = None
    affine: str | None = None
    lps: bool = False
    copy_geometry: str | None = None
    form: Literal["both", "sform", "qform"] = "both"
    sform_code: int | None = None
    qform_code: int | None = None
    units: str | None = None
    tr: float | None = None
    intent: str | None = None
    description: str | None = None
    assign: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    bvals: str | None = None
    bvecs: str | None = None
    clear_history: bool = False

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        given = [
            name for name, value in values.items() if not (value is None or value is False or value in ((), "both"))
        ]
        if not set(given) - {"lps", "form"}:
            raise UsageError("nothing to change", hint="give --spacing, --tr, --description ...; see --help")
        for together in (*_EXCLUSIVE, *((whole, part) for whole in _WHOLE for part in (*_PARTS, "units"))):
            if all(name in given for name in together):
                raise UsageError(" and ".join(map(_option, together)) + " exclude each other", hint="give one of them")
        if (self.bvals is None) != (self.bvecs is None):
            raise UsageError("--bvals and --bvecs go together", hint="give both files of the gradient table")
        moving = [name for name in (*_WHOLE, *_PARTS) if name in given]
        if self.form != "both" and not moving:
            raise UsageError(f"--form {self.form} says where a new geometry goes, and there is none")
        if self.lps and not {"origin", "center", "direction", "affine"} & set(given):
            raise UsageError("--lps is for --origin, --center, --direction and --affine")
        if self.form != "both" and self.copy_geometry is not None:
            raise UsageError("--copy-geometry takes both forms and their codes", hint="leave out --form")
        self._check()

    def _check(self) -> None:
        """Read everything once, so that what makes no sense is refused before an image is opened."""
        _ = self.matrix, self.keys, self.reference, self.scales
        for name in ("spacing", "origin", "center", "direction"):
            self.numbers(name)
        if self.orientation is not None:
            parse_codes(self.orientation)
        lengths = _lengths(self.numbers("direction") or (1, 0, 0, 0, 1, 0, 0, 0, 1))
        if any(abs(length - 1) > 1e-3 for length in lengths):
            shown = ", ".join(f"{length:.4g}" for length in lengths)
            hint = "unit vectors in the columns; --affine takes a matrix with voxel sizes"
            raise UsageError(f"--direction {self.direction}: its columns have lengths {shown}", hint=hint)
        if self.tr is not None and not 0 <= self.tr < 1e6:
            raise UsageError(f"--tr {self.tr:g} is no time in seconds")
        if self.intent not in (None, "none", *INTENTS.values()):
            raise UsageError(f"there is no intent {self.intent!r}", hint="label, estimate, zscore ..., or none")
        for name in ("sform_code", "qform_code"):
            code = getattr(self, name)
            if code is not None and not 0 <= code <= 32767:
                raise UsageError(f"{_option(name)} {code} is no code", hint="0 (not used) to 5, see nifti1.h")

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """Return the numbers of an option, in RAS+."""
        text = getattr(self, name)
        if text is None:
            return None
        counts = {"spacing": (1, 3), "direction": (9,)}.get(name, (3,))
        found = _floats(text)
        if found is None or len(found) not in counts:
            count = " or ".join(map(str, counts))
            raise UsageError(f"{_option(name)} {text}: expected {count} numbers with commas between them")
        if name == "spacing" and min(found) <= 0:
            raise UsageError(f"--spacing {text}: a voxel has a positive size", hint="axes are turned by --orientation")
        if not self.lps or name == "spacing":
            return found
        return tuple(-x if n // (3 if name == "direction" else 1) < 2 else x for n, x in enumerate(found))

    @cached_property
    def matrix(self) -> AffineMatrix | None:
        """The affine that is given as a whole."""
        if self.affine is None:
            return None
        found = _floats(self.affine)
        if found is None:
            found = _floats(" ".join(_lines(self.affine)))
        if found is None or len(found) not in (12, 16):
            raise UsageError(f"--affine {self.affine}: expected 12 or 16 numbers, or a text file that holds them")
        rows = [found[n : n + 4] for n in range(0, 12, 4)]
        if tuple(found[12:]) not in ((), (0, 0, 0, 1)):
            raise UsageError(f"--affine {self.affine}: the last row is not 0 0 0 1")
        try:
            affine = AffineMatrix.from_lps(rows) if self.lps else AffineMatrix(rows)
        except GeometryError as error:
            raise UsageError(f"--affine: {error.message}") from None
        if affine.is_singular:
            raise UsageError(f"--affine {self.affine}: its voxel axes lie in one plane")
        return affine

    @cached_property
    def reference(self) -> Header | None:
        """The header of the image whose geometry is wanted."""
        return None if self.copy_geometry is None else open_backend(self.copy_geometry).header

    @cached_property
    def keys(self) -> dict[str, Any]:
        """Key-values to set."""
        import json

        found = {}
        for text in self.assign:
            key, sign, value = text.partition("=")
            if not sign or not key.strip():
                raise UsageError(f"--set {text} is no key with a value", hint="write KEY=VALUE")
            try:
                found[key.strip()] = json.loads(value)
            except (ValueError, RecursionError):
                found[key.strip()] = value
        return found

    @cached_property
    def scales(self) -> tuple[str | None, str | None]:
        """Units of space and of time that are wanted."""
        words = [] if self.units is None else [word.strip() for word in self.units.split(",")]
        space, time = ([word for word in words if word in table] for table in (_SPACE, _TIME))
        if len(space) + len(time) != len(words) or len(space) > 1 or len(time) > 1:
            raise UsageError(f"--units {self.units} are none", hint="mm, um or m; s, ms or us; or one of each: um,ms")
        return next(iter(space), None), next(iter(time), None)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _floats(text: str) -> tuple[float, ...] | None:
    try:
        found = tuple(float(word) for word in text.replace(",", " ").replace("x", " ").split())
    except ValueError:
        return None
    return found if all(abs(number) < float("inf") for number in found) else None


def _lengths(direction: tuple[float, ...]) -> list[float]:
    """Return the lengths of the columns of a 3 x 3 matrix."""
    return [hypot(*direction[column::3]) for column in range(3)]


def _lines(path: str) -> list[str]:
    """Return the lines of a small text file that are no comments."""
    try:
        with open(path, encoding="latin-1") as file:
            return [line for line in file.read(_MOST_BYTES).splitlines() if not line.lstrip().startswith("#")]
    except OSError as error:
        raise StorageError((error.strerror or str(error)).lower(), path=path) from None


# -- what becomes of a header


def edited(header: Header, wanted: EditRequest) -> Header:
    """Return a header with other facts for the same voxels.

    A geometry that is changed makes the recorded history wrong, so that ends there.

    Parameters
    ----------
    header : Header
    wanted : EditRequest

    Raises
    ------
    GeometryError
        If the image has another shape than the one whose geometry is wanted, a form cannot hold the affine, or no
        form would be left.
    UsageError
        If gradients and channels do not match, or a key is not there.
    """
    after = _with_units(header, wanted)
    after = _with_geometry(after, wanted)
    after = _with_codes(after, wanted)
    if wanted.tr is not None:
        after = _with_time(after, wanted.tr)
    if wanted.intent is not None:
        after = _with_intent(after, None if wanted.intent == "none" else wanted.intent)
    if wanted.description is not None:
        after = after.replace(description=wanted.description)
    missing = [key for key in wanted.remove if key not in after.metadata]
    if missing:
        raise UsageError(f"--unset {missing[0]}: there is no such key-value", hint=_keys_hint(after))
    if wanted.keys or wanted.remove:
        kept = {key: value for key, value in after.metadata.items() if key not in wanted.remove}
        after = after.replace(metadata=kept | wanted.keys)
    if wanted.bvals is not None and wanted.bvecs is not None:
        after = _with_gradients(after, wanted.bvals, wanted.bvecs)
    return after.replace(history=()) if wanted.clear_history or _tells_otherwise(header, after) else after


def _tells_otherwise(before: Header, after: Header) -> bool:
    """Tell whether two headers differ in where voxels lie, or in the forms that say it: a history tells of both."""
    forms = ("sform", "sform_code", "qform", "qform_code")
    if any(getattr(before, name) != getattr(after, name) for name in forms):
        return True
    return not _alike(before.affine, after.affine, before)


def _alike(old: AffineMatrix | None, new: AffineMatrix, header: Header) -> bool:
    """Tell whether two affines are apart by no more than the rounding of float32; None is like any."""
    i, j, k = (max(size, 2) for size in header.spatial_shape)
    return old is None or old.mm_shift(new, (i, j, k)) <= min(_MOVED, 1e-3 * min(old.spacing))


def _with_intent(header: Header, intent: str | None) -> Header:
    """Return a header with another meaning of its values; a vector's components are channels without that intent."""
    if intent is None:
        plain = tuple(("channel" if kind == "vector" else kind, size) for kind, size in header.axes)
        header = header.replace(axes=plain, intent_name="")
    return header if intent == header.intent else header.replace(intent=intent, intent_params=())


def _keys_hint(header: Header) -> str:
    names = sorted(header.metadata)
    return f"it has {', '.join(names[:8])}" if names else "it has none"


def _with_units(header: Header, wanted: EditRequest) -> Header:
    space, time = wanted.scales
    if space is not None:
        factor = _SPACE[space] / LENGTHS.get(header.space_units or "mm", 1.0)
        scale = AffineMatrix.from_spacing(factor)
        forms = {name: scale @ form for name in ("sform", "qform") if (form := getattr(header, name)) is not None}
        header = header.replace(affine=scale @ header.affine, space_units=space, **forms)
    if time is not None:
        factor = _TIME[time] / _TIME.get(header.time_units or "s", 1.0)
        step = header.time_spacing
        header = header.replace(time_units=time, time_spacing=None if step is None else step * factor)
    return header


def _with_geometry(header: Header, wanted: EditRequest) -> Header:
    reference = wanted.reference
    if reference is not None:
        return _with_reference(header, reference, str(wanted.copy_geometry))
    if all(getattr(wanted, name) is None for name in ("affine", *_PARTS)):
        return header
    start = (getattr(header, wanted.form) if wanted.form != "both" else None) or header.affine
    affine = wanted.matrix or _with_parts(start, header, wanted)
    if affine.is_singular:
        raise GeometryError("its voxel axes would lie in one plane", hint="give --affine")
    forms = (start,) if wanted.form != "both" else (header.affine, header.sform, header.qform)
    if all(_alike(form, affine, header) for form in forms):
        return header
    given = [name for name in ("affine", *_PARTS) if getattr(wanted, name) is not None]
    if header.affine_source == "pixdim" and given == ["spacing"] and wanted.form == "both":
        return header.replace(affine=affine)  # who says how large voxels are does not say how they are turned
    if wanted.form == "both":
        return with_affine(header, affine)
    return _with_form(header, wanted.form, affine)


def _with_parts(affine: AffineMatrix, header: Header, wanted: EditRequest) -> AffineMatrix:
    """Return an affine with some of its parts replaced."""
    direction, spacing, origin, center = map(wanted.numbers, ("direction", "spacing", "origin", "center"))
    middle = header.replace(affine=affine).grid.center
    if direction is not None:
        affine = affine.with_direction([direction[n : n + 3] for n in range(0, 9, 3)])
    if wanted.orientation is not None:
        codes = parse_codes(wanted.orientation)
        turn = AffineMatrix.between(codes, "RAS") @ AffineMatrix.between(affine.orientation, "RAS").inverse()
        affine = _centred(turn @ affine, header, middle)
        if affine.orientation != codes and not affine.is_singular:
            raise GeometryError("its axes lie halfway between two letters, which tell nothing", hint="give --direction")
    if spacing is not None:
        affine = affine.with_spacing(spacing if len(spacing) == 3 else spacing[0])
    if origin is not None:
        affine = affine.with_origin(origin)
    return affine if center is None else _centred(affine, header, center)


def _centred(affine: AffineMatrix, header: Header, center: tuple[float, ...]) -> AffineMatrix:
    """Return an affine that puts the centre of an image at a place."""
    now = header.replace(affine=affine).grid.center
    return affine.with_origin(o + c - n for o, c, n in zip(affine.origin, center, now, strict=True))


def _with_reference(header: Header, reference: Header, path: str) -> Header:
    if header.spatial_shape != reference.spatial_shape:
        ours, theirs = (" x ".join(map(str, each.spatial_shape)) for each in (header, reference))
        hint = f"use 'medimg resample --like {path}' to compute it on that grid"
        raise GeometryError(f"it has {ours} voxels, {path} has {theirs}: the geometry does not fit", hint=hint)
    after = with_affine(header, reference.affine)
    if header.sform_code is None and header.qform_code is None:
        return after
    if reference.sform_code is None and reference.qform_code is None:
        return after
    return after.with_forms_of(reference)


def _with_form(header: Header, form: Literal["sform", "qform"], affine: AffineMatrix) -> Header:
    """Return a header one form of which is replaced; the sform counts where its code is above 0."""
    if getattr(header, f"{form}_code") is None:
        raise GeometryError(f"the file has no {form}: it is no NIfTI", hint="leave out --form")
    if form == "qform" and affine.is_sheared:
        raise GeometryError(f"a qform holds no shear, and this is {affine.shear_deg:.3g} degrees", hint="--form sform")
    changes: dict[str, Any] = {form: affine, f"{form}_code": getattr(header, f"{form}_code") or 2}
    return _used(header.replace(**changes))


def _with_codes(header: Header, wanted: EditRequest) -> Header:
    changes: dict[str, Any] = {}
    for form in ("sform", "qform"):
        code = getattr(wanted, f"{form}_code")
        if code is None:
            continue
        if getattr(header, f"{form}_code") is None:
            raise GeometryError(f"the file has no {form}: it is no NIfTI", hint=f"leave out --{form}-code")
        changes |= {f"{form}_code": code, form: (getattr(header, form) or header.affine) if code else None}
    return _used(header.replace(**changes)) if changes else header


def _used(header: Header) -> Header:
    """Return a header whose affine is the form that its codes say: the sform, else the qform (nifti1.h)."""
    for form in ("sform", "qform"):
        affine = getattr(header, form)
        if getattr(header, f"{form}_code") and affine is not None:
            gradients = header.gradients and header.gradients.under(header.affine, affine)
            return header.replace(affine=affine, affine_source=form, gradients=gradients)
    raise GeometryError("neither form would be in use, and orientation unknown", hint="keep one code above 0")


def _with_time(header: Header, seconds: float) -> Header:
    step = seconds or None
    timed = any(kind == "time" for kind, _ in header.axes)
    if step is not None and not timed and header.axes in ((), (("channel", header.channels),)) and header.channels > 1:
        header = header.replace(axes=(("time", header.channels),))
    return header.replace(time_spacing=step)


def _with_gradients(header: Header, bvals: str, bvecs: str) -> Header:
    texts = ["\n".join(_lines(path)) for path in (bvals, bvecs)]
    try:
        table = parse_gradients(texts[0], texts[1], bvals)
    except FormatError:
        hint = "expected N numbers, and 3 rows of N numbers or N rows of 3"
        raise FormatError(f"{bvals} and {bvecs} are no table of gradients", hint=hint) from None
    if len(table.bvals) != header.channels:
        raise UsageError(f"{bvals} has {len(table.bvals)} gradients, the image {header.channels} channels")
    return header.replace(gradients=table)


# -- how it is told


def told(before: Header, after: Header) -> Iterator[str]:
    """Yield a sentence for each fact that differs, with its old and its new value."""
    for name, unit in (("spacing", " mm"), ("origin", " mm (RAS+)"), ("orientation", "")):
        old, new = (_shown(getattr(header, name)) for header in (before, after))
        if old != new:
            yield f"{name}: {old} -> {new}{unit}"
    old, new = (_rows(header.affine) for header in (before, after))
    if old != new:
        yield f"direction: {old} -> {new}"
    if not _alike(before.affine, after.affine, before):
        shift = before.affine.mm_shift(after.affine, before.spatial_shape)
        yield f"affine: the image moves by up to {shift:.4g} mm"
    for name in ("sform", "qform"):
        old, new = getattr(before, name), getattr(after, name)
        if old is None and new is not None:
            apart = after.affine.mm_shift(new, after.spatial_shape)
            yield f"{name}: none -> {'as the affine' if new == after.affine else f'{apart:.4g} mm from the affine'}"
        elif old is not None and new is None:
            yield f"{name}: dropped"
        elif old is not None and not _alike(old, new, before):
            yield f"{name}: moves by up to {old.mm_shift(new, before.spatial_shape):.4g} mm"
    yield from _facts(before, after)
    if before.affine.determinant * after.affine.determinant < 0:
        yield (
            "the image is the mirror image of what it was, left and right may be exchanged: right only if the header "
            "was wrong; 'medimg reorient' turns axes and keeps the anatomy"
        )
    elif before.orientation != after.orientation:
        yield (
            "no voxel was moved, so the patient is turned to another side: right only if the header was wrong; "
            "'medimg reorient' turns axes and keeps the anatomy"
        )


def _rows(affine: AffineMatrix) -> str:
    """Write a direction row by row, without the dust of rounding."""
    rows = (" ".join(f"{round(number, 5) + 0.0:g}" for number in row) for row in affine.direction)
    return f"[{'; '.join(rows)}]"


def _facts(before: Header, after: Header) -> Iterator[str]:
    names = ("sform_code", "qform_code", "space_units", "time_units", "time_spacing", "axes", "intent", "intent_params")
    for name in (*names, "intent_name", "description"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new and (old or new):
            unit = " s" if name == "time_spacing" and new else ""
            yield f"{name.replace('_', ' ')}: {_shown(old)} -> {_shown(new)}{unit}"
    yield from _keys(before.metadata, after.metadata)
    if before.gradients != after.gradients:
        what = "attached" if before.gradients is None else "replaced"
        old, new = before.gradients, after.gradients
        if old is not None and new is not None and old.bvals == new.bvals:
            what = "the sign of the first component changes, so that they stay along the voxel axes (FSL)"
        yield f"gradients: {what}"
    if before.history != after.history:
        count = len(before.history)
        yield f"history: {count} step{'s' if count > 1 else ''} forgotten, 'medimg undo' no longer leads back"


def _keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield f"{key}: {_shown(before.get(key))} -> {_shown(after.get(key))}"


def _shown(value: Any) -> str:
    if value is None or value == "" or value == ():
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple) and isinstance(value[0], str):
        return "".join(value)
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        return " x ".join(f"{size} {kind}" for kind, size in value)
    if isinstance(value, tuple):
        return ", ".join(f"{number + 0.0:.6g}" for number in value)
    return str(value)


# -- running it


@dataclass(frozen=True, slots=True)
class Editing(Saving):
    """What is done to each image of a batch.

    Parameters
    ----------
    wanted : EditRequest
    level, strict
        As `Saving`.
    """

    wanted: EditRequest


def process(task: Task, editing: Editing, *, threads: int) -> Report:
    """Read one image, change what its header says, and write it.

    Raises
    ------
    MedImgError
        As `edited` and `pipeline.rewrite`.
    """

    def change(backend: Backend) -> Change:
        after = edited(backend.header, editing.wanted)
        sentences = tuple(told(backend.header, after)) or ("says that already, nothing is changed",)
        warnings = tuple(_contradictions(task, after, editing.wanted))
        # Sidecars speak of voxel axes, which stay: they follow the history, to which nothing was added.
        followed = after.replace(history=backend.header.history)
        return Change(with_header(backend, after), warnings, sentences, followed)

    return rewrite(task, change, editing, threads=threads)


def _contradictions(task: Task, header: Header, wanted: EditRequest) -> Iterator[str]:
    """Say so where the JSON file that travels along says another repetition time."""
    stated = header.metadata.get("RepetitionTime")
    if wanted.tr is not None and "RepetitionTime" not in wanted.keys and _other_time(stated, header):
        yield f"the key-value RepetitionTime is still {stated}; --set RepetitionTime={wanted.tr:g} changes it"
    if task.input == STREAM or (wanted.tr is None and wanted.scales[1] is None):
        return
    stated = read_facts(task.input).get("RepetitionTime")
    if _other_time(stated, header):
        yield f"RepetitionTime in {os.path.basename(sidecar_paths(task.input)['json'])} is still {stated} s"


def _other_time(stated: Any, header: Header) -> bool:
    """Tell whether a repetition time, in s, as a number or as text, is another one than the header's."""
    try:
        return stated is not None and abs(float(stated) - (header.time_spacing or 0)) > 1e-3
    except (TypeError, ValueError):
        return False

"""The way back for files: an image returns to the grid that it had before operations, or to that of another image.

The history that a file carries is undone step by step; an image that has lost it borrows that of another file, or
goes to the grid of the original.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import CastError, FormatError, GeometryError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.pipeline import Change, Saving, rewrite

if TYPE_CHECKING:
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.backends import Backend
    from medimg_cli.batch import Report, Task
    from medimg_cli.grid import Grid
    from medimg_cli.header import Header
    from medimg_cli.operations import Operation

__all__ = ["Restoring", "restored", "undo"]

#: Millimetres by which two grids may be apart that are the same: float32 in a file header.
_ASTRAY = 0.01
#: Part of a voxel by which a place may lie beyond an edge.
_EDGE = 1e-6
#: Voxels along an axis that are looked at one by one.
_MOST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring(Saving):
    """What ``medimg undo`` is asked for; frozen and picklable.

    Parameters
    ----------
    like : str, optional
        An image to whose grid to return, whatever the history says.
    history : str, optional
        An image whose history is undone, in place of the image's own.
    steps : int, optional
        How many steps are undone, the last first; left out: all.
    interpolation : str, optional
        How values between voxels are found, one of `operations.resample.INTERPOLATIONS`; left out: "nearest" for what
        is taken for a label map, else what the history says, and "linear" with ``like``.
    level, strict
        As `Saving`.

    Raises
    ------
    UsageError
        If options exclude each other, or ``steps`` is not positive.
    """

    like: str | None = None
    history: str | None = None
    steps: int | None = None
    interpolation: str | None = None

    def __post_init__(self) -> None:
        if self.like is not None and (self.history is not None or self.steps is not None):
            other = "--history" if self.history is not None else "--steps"
            raise UsageError(f"--like and {other} exclude each other", hint="--like goes to a grid, without a history")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps {self.steps}", hint="give 1 or more; all steps are undone without it")


def undo(task: Task, wanted: Restoring, *, threads: int) -> Report:
    """Read one image, take it back, and write it with all that travels beside it.

    Raises
    ------
    MedImgError
        As `restored` and `pipeline.rewrite`.
    """
    return rewrite(task, partial(restored, wanted=wanted), wanted, threads=threads)


def restored(backend: Backend, wanted: Restoring) -> Change:
    """Return an image on the grid that it had before, and what is to be said about that.

    Grids come back verbatim: the affine, both NIfTI forms and their codes. Voxels do where nothing was interpolated;
    what was cut off is 0. What is taken for a label map (`statistics.why_labels`) is never mixed, and steps that
    changed intensities are left alone; so they are where the history is another image's.

    Parameters
    ----------
    backend : Backend
    wanted : Restoring

    Returns
    -------
    Change
        Its backend is lazy, its history empty, or what is left of it with ``steps``.

    Raises
    ------
    UsageError
        If there is no history, or it has fewer steps; if labels would be mixed.
    GeometryError
        If the image lies elsewhere than where the history ends, or nowhere on the other grid.
    FormatError, UnsupportedError
        If the history makes no sense, or comes from a later version.
    """
    from medimg_cli.operations.resample import LABEL_SAFE
    from medimg_cli.operations.resampling import interpolation_for
    from medimg_cli.statistics.recognition import why_labels

    labels = why_labels(backend) if wanted.interpolation in (None, *LABEL_SAFE) else None
    interpolation = interpolation_for(backend, wanted.interpolation) if wanted.interpolation else None
    if labels is not None:
        interpolation = interpolation or "nearest"
    if wanted.like is not None:
        return _onto(backend, wanted.like, interpolation, labels)
    return _back(backend, wanted, interpolation, labels)


# -- by a history


def _back(backend: Backend, wanted: Restoring, interpolation: str | None, labels: str | None) -> Change:
    """Undo the last steps of a history."""
    from medimg_cli.backends import with_header
    from medimg_cli.operations import Step
    from medimg_cli.operations.history import as_before, of_values, way_back

    history = _history(backend.header, wanted.history)
    count = wanted.steps or len(history)
    if count > len(history):
        raise UsageError(f"--steps {count}: its history has {_steps(len(history))}", hint="leave out --steps for all")
    left, undone = history[: len(history) - count], history[len(history) - count :]
    borrowed = wanted.history is not None
    way, lost = way_back(undone, ignore_intensity=borrowed or labels is not None)
    kept = [step for step in undone if (borrowed or labels is not None) and of_values(step)]
    found, warnings = _applied(backend, way, interpolation, labels is not None)
    if lost:
        warnings = (*warnings, f"no inverse, left as it is: {_names(lost)}")
    told = undone[0].get("header_before")
    channels = told.get("channels", 1) if isinstance(told, Mapping) else 1
    if channels != found.header.channels and not borrowed and labels is None:
        gone = f"channels that were taken out do not come back: {found.header.channels} of {channels} are left"
        warnings = (*warnings, gone)
    header = as_before(found.header, undone[0], hints=not borrowed)
    done = [step for step in undone if step not in kept and step not in lost]
    remarks = [f"undone, the last first: {_names(done[::-1])}" if done else "nothing to undo but what is left as it is"]
    if kept:
        why = f"these are labels ({labels})" if labels is not None else f"the values are not those of {wanted.history}"
        remarks.append(f"left as it is, because {why}: {_names(kept)}")
    moved = [Step.from_json(step) for step in undone]
    remarks += _about_voxels(found.header, moved[0].grid_before, [(s.voxel_map, s.grid_after.shape) for s in moved])
    if any(each.name == "resample" for each in way):
        remarks.append(_about_values(interpolation, labels))
    return Change(with_header(found, header.replace(history=left)), warnings, tuple(remarks), found.header)


def _history(header: Header, other: str | None) -> tuple[dict[str, Any], ...]:
    """Return the history to undo, after a look at whether it leads to where the image lies."""
    from medimg_cli.operations import Step
    from medimg_cli.operations.amounts import refuse_absurd

    owner = header if other is None else open_backend(other).header
    if not owner.history:
        said = [warning for warning in owner.warnings if "history" in warning]
        hint = "give --like ORIGINAL, or --history FILE, an image on the same grid that has one"
        raise UsageError(said[0] if said else "carries no history", path=other, hint=hint)
    if other is not None and not header.grid.same_as(owner.grid, _ASTRAY):
        raise GeometryError(
            f"its grid is not that of {other}: {_apart(header.grid, owner.grid)}",
            hint="give the history of an image on the same grid, or --like ORIGINAL",
        )
    steps = [Step.from_json(step) for step in owner.history]
    for step in steps:
        refuse_absurd(header, step.grid_before, hint="its history makes no sense; give --like ORIGINAL")
    ends = [*(step.grid_before for step in steps[1:]), owner.grid]
    for step, end in zip(steps, ends, strict=True):
        if not step.grid_after.same_as(end, _ASTRAY):
            where = "the image" if end is ends[-1] else "the next step"
            gap = f"{step.name!r} ends elsewhere than {where} begins: {_apart(step.grid_after, end)}"
            raise FormatError(f"its history is broken: {gap}", path=other, hint="give --like ORIGINAL")
    return owner.history


def _applied(
    backend: Backend, way: Iterable[Operation], interpolation: str | None, labels: bool
) -> tuple[Backend, tuple[str, ...]]:
    """Apply the operations of a way back; a type that no longer holds the values is not gone back to."""
    from medimg_cli.operations.history import on_labels
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.resample import Resample

    warnings: tuple[str, ...] = ()
    for operation in way:
        fitting = on_labels(operation, undoing=True) if labels else operation
        if isinstance(fitting, Resample) and interpolation is not None:
            fitting = replace(fitting, interpolation=interpolation)
        if fitting is None:
            continue
        try:
            backend = apply(fitting, backend)
        except CastError as error:
            if operation.name != "cast":
                raise
            warnings = (*warnings, f"stays {backend.header.dtype}: {error.message}")
    return backend, warnings


# -- by another grid


def _onto(backend: Backend, path: str, interpolation: str | None, labels: str | None) -> Change:
    """Bring an image to the grid of another one: voxel by voxel where whole voxels are between them."""
    from medimg_cli.backends import with_header
    from medimg_cli.operations.protocol import apply
    from medimg_cli.operations.resample import Resample
    from medimg_cli.operations.resampling import refuse_apart

    before, like = backend.header, open_backend(path).header
    for grid, owner in ((before.grid, None), (like.grid, path)):
        if grid.affine.is_singular:
            raise GeometryError("its voxel axes lie in one plane", path=owner, hint="there is no way between the grids")
    refuse_apart(before.grid, like.grid, path)
    whole = _whole_voxels(before.grid, like.grid)
    if whole is not None:
        for operation in whole:
            backend = apply(operation, backend)
        remarks = [f"moved by whole voxels to the grid of {path}, nothing is interpolated"]
    else:
        backend = apply(Resample(like.grid, interpolation=interpolation or "linear", antialias=False), backend)
        how = _about_values(interpolation or "linear", labels)
        remarks = [f"not whole voxels away from the grid of {path}: {how}"]
    to_like = like.affine.inverse() @ before.affine
    remarks += _about_voxels(backend.header, like.grid, [(to_like, before.spatial_shape)])
    header = backend.header.replace(history=())
    if like.sform is not None or like.qform is not None:
        header = header.with_forms_of(like)
    return Change(with_header(backend, header), remarks=tuple(remarks), followed=backend.header)


def _whole_voxels(here: Grid, there: Grid) -> tuple[Operation, ...] | None:
    """Return the operations that move voxels from one grid to another, None where that takes more than moving.

    Examples
    --------
    >>> from medimg_cli.grid import Grid
    >>> grid = Grid((5, 6, 7))
    >>> [each.name for each in _whole_voxels(grid.reoriented("SPR").cropped(1), grid)]
    ['turn', 'place']
    >>> _whole_voxels(grid, grid.resampled(spacing=2)) is None
    True
    """
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.grid import axes_map
    from medimg_cli.operations.crop import Place
    from medimg_cli.operations.reorient import Turn

    exact = here.affine.inverse() @ there.affine  # there -> here
    rounded = AffineMatrix([[float(round(value)) for value in row] for row in exact.rows[:3]])
    block = [[abs(value) for value in row[:3]] for row in rounded.rows[:3]]
    if any(sorted(line) != [0, 0, 1] for line in (*block, *zip(*block, strict=True))):
        return None
    off = (here.affine @ rounded).mm_shift(there.affine, there.shape)
    if off > min(_ASTRAY, 0.1 * min(there.spacing)):
        return None
    order = tuple(
        next((old, int(rounded[old, new])) for old in range(3) if rounded[old, new]) for new in range(3)
    )  # the old axis along each new one, and its sign
    start = (rounded.inverse() @ axes_map(order, here.shape)).origin
    return Turn(order), Place(tuple(map(round, start)), there.shape, affine=there.affine.rows)


# -- what is said


def _about_values(interpolation: str | None, labels: str | None) -> str:
    """Say how values between voxels are found, and who decided that."""
    if labels is not None:
        how = "the label with most weight" if interpolation == "label" else "the nearest voxel's value"
        return f"taken for a label map ({labels}), so each voxel gets {how}"
    return f"{interpolation} interpolation" if interpolation is not None else "interpolated as before"


def _about_voxels(header: Header, target: Grid, moves: Sequence[tuple[AffineMatrix, Sequence[int]]]) -> list[str]:
    """Say how many voxels of a grid nothing is known of."""
    from medimg_cli.operations.pad import filled_with

    known, total = _known(target, moves), 1
    for size in target.shape:
        total *= size
    if known is None or known == total:
        return []
    return [f"{total - known:,} of {total:,} voxels had been cut off and are {filled_with(header) or 'filled with 0'}"]


def _known(target: Grid, moves: Sequence[tuple[AffineMatrix, Sequence[int]]]) -> int | None:
    """Return how many voxels of a grid have come through all steps; None where axes were turned obliquely.

    Parameters
    ----------
    target : Grid
        Before the steps.
    moves : sequence of (voxel map, shape)
        For each step the map from its new voxels to old ones, and the shape afterwards.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.grid import Grid
    >>> crop = AffineMatrix.from_spacing(1, origin=(1, 0, 0))
    >>> _known(Grid((5, 6, 7)), [(crop, (3, 6, 7))])
    126
    """
    if max(target.shape) > _MOST:
        return None
    old: list[list[int]] = [list(range(size)) for size in target.shape]  # where those that are known lie, by axis
    sizes: Sequence[int] = target.shape
    for move, shape in moves:
        if move.is_singular:
            return None
        new = []
        for size, row in zip(shape, move.inverse().rows, strict=False):
            axis = max(range(3), key=lambda n: abs(row[n]))
            if any(abs(row[n]) * sizes[n] > _EDGE for n in range(3) if n != axis):
                return None
            places = [floor(row[axis] * place + row[3] + 0.5 + _EDGE) for place in old[axis]]
            new.append([place for place in places if 0 <= place < size])
        old, sizes = new, shape
    i, j, k = map(len, old)
    return i * j * k


def _apart(here: Grid, there: Grid) -> str:
    """Say how far two grids are apart."""
    sizes = [" x ".join(map(str, grid.shape)) for grid in (here, there)]
    shapes = "" if here.shape == there.shape else f"{sizes[0]} voxels, not {sizes[1]}, and "
    return f"{shapes}corners up to {here.mm_shift(there):.3g} mm apart"


def _names(steps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(step.get("name")) for step in steps)


def _steps(count: int) -> str:
    return f"{count} step{'' if count == 1 else 's'}"

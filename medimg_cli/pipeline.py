"""One image in, operations, one image out: what every command that writes an image does with each of its inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medimg_cli.batch import STREAM, Report, Task
from medimg_cli.errors import GeometryError, MedImgError, UsageError
from medimg_cli.expanding import open_named
from medimg_cli.formats import split_suffix
from medimg_cli.formats.dicom.targets import DicomSaving
from medimg_cli.formats.sidecars import copy_sidecar, refuse_sidecar, stale_gradients
from medimg_cli.formats.tables import copy_table, refuse_table, stale_table
from medimg_cli.formats.writing import is_dicom_target, save_backend
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.operations.protocol import Request

__all__ = [
    "Change",
    "Pipeline",
    "Saving",
    "cast_requests",
    "choose_form",
    "image_name",
    "open_input",
    "output_path",
    "process",
    "rewrite",
    "selection_requests",
    "shown_name",
    "target_name",
    "write_change",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """How each image of a batch is written; what is done to it beforehand is up to those that inherit.

    Frozen and picklable, so that other processes can do it.

    Parameters
    ----------
    level : int, optional
        Compression level of the output.
    strict : bool
        Whether a loss is an error.
    dicom : DicomSaving
        How an image becomes DICOM, where the output is a folder (``DIR/``) or ``X.dcm``.
    """

    level: int | None = None
    strict: bool = False
    dicom: DicomSaving = field(default_factory=DicomSaving)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Saving):
    """What to do with each image of a batch.

    Parameters
    ----------
    operations : tuple of Request
        Operations, or words that become one; applied in order, lazily.
    form : str, optional
        "sform" or "qform": the affine that counts, whatever the codes say.
    level, strict, dicom
        As `Saving`.
    """

    operations: tuple[Request, ...] = ()
    form: Literal["sform", "qform"] | None = None


def cast_requests(
    dtype: str | None, rescale: str | None, *, clip: bool = False, rounded: bool = False
) -> tuple[Request, ...]:
    """Return the operations for the cast options of a command line; none where nothing is asked for.

    Raises
    ------
    UsageError
        If an option makes no sense.
    """
    if dtype is None and rescale is None:
        return ()
    from medimg_cli.operations.requests import CastRequest

    return (CastRequest(dtype, rescale, clip=clip, rounded=rounded),)


def selection_requests(index: str | None, axis: str | None, place: str) -> tuple[Request, ...]:
    """Return the operations for the selection options of a command line.

    Raises
    ------
    UsageError
        If neither an index nor an axis is given, or both are.
    """
    from medimg_cli.operations.requests import IndexRequest, PlaceRequest

    if (index is None) == (axis is None):
        raise UsageError("give one of --index and --axis", hint="as in --index '[:, 10:50]', or --axis S --at 50%")
    return (IndexRequest(index),) if index is not None else (PlaceRequest(str(axis), place),)


class Change(NamedTuple):
    """An image as it will be written, and what to say about that.

    Parameters
    ----------
    backend : Backend
    warnings : tuple of str
        What a careful user should know; one sentence each.
    remarks : tuple of str
        What was decided, or was done; one sentence each.
    followed : Header, optional
        The header with every step in its history, where ``backend`` has forgotten some: sidecars follow them.
    """

    backend: Backend
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    followed: Header | None = None


def process(task: Task, pipeline: Pipeline, *, threads: int) -> Report:
    """Read one image, apply the operations and write the result.

    Parameters
    ----------
    task : Task
        Input and output; ``-`` is standard input or output.
    pipeline : Pipeline
    threads : int
        Threads for compression.

    Raises
    ------
    MedImgError
        As `rewrite`.
    """
    from medimg_cli.operations.protocol import perform

    def changed(backend: Backend) -> Change:
        remarks: tuple[str, ...] = ()
        if pipeline.form is not None:
            backend = choose_form(backend, pipeline.form)
        for request in pipeline.operations:
            fitted = request.for_target(backend.header, target_name(task))
            operation = fitted.prepare(backend)
            remarks = (*remarks, *fitted.remarks(backend.header, operation))
            backend = perform(operation, backend)
        return Change(backend, remarks=remarks)

    return rewrite(task, changed, pipeline, threads=threads)


def rewrite(task: Task, change: Callable[[Backend], Change], saving: Saving, *, threads: int) -> Report:
    """Read one image, change it, and write it with all that travels beside it.

    Parameters
    ----------
    task : Task
        Input and output; ``-`` is standard input or output.
    change : callable
        Backend -> Change; nothing has been written when it is called.
    saving : Saving
    threads : int
        Threads for compression.

    Raises
    ------
    MedImgError
        Where the input cannot be read, an operation refuses, or the output cannot be written. Nothing then stands at
        the output's name that was not there before.
    """
    backend = open_input(task)
    return write_change(task, backend.header, change(backend), saving, threads=threads)


def write_change(task: Task, before: Header, changed: Change, saving: Saving, *, threads: int) -> Report:
    """Write a changed image with all that travels beside it.

    Parameters
    ----------
    task : Task
        Input and output; ``-`` is standard input or output.
    before : Header
        Of the input.
    changed : Change
    saving, threads
        As for `rewrite`.

    Raises
    ------
    MedImgError
        Where the output cannot be written.
    """
    header = changed.backend.header
    warnings = (*before.warnings, *changed.warnings)
    to_dicom = is_dicom_target(target_name(task))
    dicom, remarks = _as_labels(changed.backend, task, saving.dicom) if to_dicom else (saving.dicom, ())
    if saving.dicom.asked and not to_dicom:
        raise UsageError("is no DICOM: --template, --modality, --pattern and --tag are for DIR/ and X.dcm",
                         path=task.output)  # fmt: skip
    beside = not to_dicom and STREAM not in (task.input, task.output)
    alone = before.replace(native=None) if task.others else before  # of several inputs none has the sidecar of all
    if beside:
        refuse_sidecar(task.input, task.output, force=task.force, before=alone)
        refuse_table(task.input, task.output, before=before, after=header, force=task.force)
    with output_path(task) as path:
        losses = save_backend(
            changed.backend,
            path,
            level=saving.level,
            force=task.force,
            strict=saving.strict,
            threads=threads,
            carried=before,
            alone=task.output == STREAM,
            dicom=dicom,
        )
    if beside:
        copy_sidecar(task.input, task.output, changed.followed or header, before=alone, force=task.force)
        copy_table(task.input, task.output, before=before, after=header, force=task.force)
        warnings = (*warnings, *stale_gradients(task.output, header), *stale_table(task.output, header))
    return Report(losses=losses, warnings=warnings, remarks=(*changed.remarks, *remarks))


def _as_labels(backend: Backend, task: Task, dicom: DicomSaving) -> tuple[DicomSaving, tuple[str, ...]]:
    """Write what is taken for a label map as a Segmentation, where the output is one DICOM file, and say why."""
    from medimg_cli.statistics.recognition import why_labels

    if dicom.modality is not None or target_name(task).endswith("/"):
        return dicom, ()
    reason = why_labels(backend)
    if reason is None:
        return dicom, ()
    said = f"taken for a label map: {reason}; written as a Segmentation (--modality OT writes a picture)"
    return replace(dicom, modality="SEG"), (said,)


def shown_name(path: str) -> str:
    """Return the name of an input as titles and messages show it: no folders, nothing of a URL that may be secret.

    Examples
    --------
    >>> shown_name("study/t1.nii.gz"), shown_name("https://example.org/t1.nii.gz?token=1"), shown_name("-")
    ('t1.nii.gz', 't1.nii.gz', '<stdin>')
    """
    return "<stdin>" if path == STREAM else os.path.basename(public_name(path).rstrip("/"))


def image_name(path: str, header: Header) -> str:
    """Return the name of an image as titles show it: that of its input, and which series of DICOM it is."""
    name = shown_name(path)
    return f"{name}: {header.description[:60]}" if header.format == "dicom" and header.description else name


def target_name(task: Task) -> str:
    """Return the name that says in which format a task writes."""
    return task.output if task.output != STREAM else "stdout" + (task.suffix or ".nii")


def open_input(task: Task) -> Backend:
    """Open the image that a task reads, straightened where that is asked for."""
    return open_named(task.input, task.reading)


@contextmanager
def output_path(task: Task) -> Iterator[str]:
    """Yield the path to write to; what goes to standard output is complete before its first byte goes there."""
    if task.output != STREAM:
        yield task.output
        return
    import sys
    import tempfile

    name = target_name(task)
    if split_suffix(name)[1] in (".hdr", ".img", ".mhd", ".nhdr", ".mih"):
        raise UsageError(
            f"{task.suffix} is two files, standard output is one stream", hint="give --suffix .nii, .mha, .nrrd"
        )
    if split_suffix(name)[1].endswith(".zarr") or name.endswith("/"):
        raise UsageError(
            f"{task.suffix} is a folder, standard output is one stream", hint="give --suffix .nii, .mha, .nrrd"
        )
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal, an image is no text", hint="redirect it: > FILE, or | COMMAND")
    with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
        path = os.path.join(folder, name)
        try:
            yield path
        except MedImgError as error:
            if error.path == path:  # nobody knows that name
                error.path = "standard output"
            raise
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def choose_form(backend: Backend, form: Literal["sform", "qform"]) -> Backend:
    """Return an image whose affine is one of its two NIfTI forms; the other form is dropped.

    Parameters
    ----------
    backend : Backend
    form : str
        "sform" or "qform".

    Raises
    ------
    GeometryError
        If the file has no such form, or its code is 0.
    """
    from medimg_cli.backends import with_header

    header: Header = backend.header
    affine, code = getattr(header, form), getattr(header, f"{form}_code")
    if affine is None or not code or affine.is_singular:
        raise GeometryError(f"has no {form} (code {code or 0})", hint="leave out --affine")
    other = "qform" if form == "sform" else "sform"
    changes: dict[str, Any] = {other: None, f"{other}_code": 0}
    if header.gradients is not None:
        changes["gradients"] = header.gradients.under(header.affine, affine)
    return with_header(backend, header.replace(affine=affine, affine_source=form, **changes))

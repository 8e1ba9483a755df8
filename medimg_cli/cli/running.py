"""From the paths and options of a command that writes to an exit code: plan, run, tell, count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medimg_cli.batch import STREAM, BatchOptions, Outcome, ReportFile, Task, Work, run_tasks, split_paths
from medimg_cli.cli.render import Console, escape, progress
from medimg_cli.planning import plan_outputs
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.formats.reading import Reading
    from medimg_cli.listing import Listing

__all__ = ["Tally", "run_batch"]


def run_batch(
    paths: Sequence[str] | None,
    work: Work,
    *,
    batch: BatchOptions,
    console: Console,
    stands_for: Callable[[str], str] = str,
    suffix: str | None = None,
    reading: Reading | None = None,
) -> int:
    """Do ``work`` on every input, tell on stderr what came of it, and return the exit code.

    Parameters
    ----------
    paths : sequence of str
        Inputs, and last the output unless ``batch.output_dir`` is set.
    work : Work
        What to do with each input.
    batch : BatchOptions
    console : Console
    stands_for : callable, optional
        Output -> the file that tells whether it is there; see `plan_outputs`.
    suffix : str, optional
        Suffix of outputs in a folder, and of one that is ``-``, where ``batch`` has none.
    reading : Reading, optional
        Which image of an input that holds several, and what to do where slices are missing.

    Returns
    -------
    int
        0, or 2 if any input failed, or a part of one.
    """
    inputs, output = split_paths(paths or (), batch)
    if batch.suffix is None and output in (None, STREAM):
        batch = replace(batch, suffix=suffix)
    tasks = plan_outputs(inputs, output, batch, stands_for=stands_for, reading=reading)
    said = {(task.input, remark) for task in tasks for remark in task.remarks}
    counts, parts = dict.fromkeys(("done", "planned", "skipped", "failed"), 0), 0
    with ExitStack() as stack:
        report = stack.enter_context(ReportFile(batch.report, tasks)) if batch.report is not None else None
        alone = work.steps and len(tasks) == 1
        bar = stack.enter_context(progress(console, None if alone else len(tasks)))
        for outcome in stack.enter_context(closing(run_tasks(tasks, work, batch, bar.show if alone else None))):
            counts[outcome.status] += 1
            parts += len(outcome.report.failures)
            _tell(_without(outcome, said), console, brief=len(tasks) > 1)
            if batch.dry_run and batch.report != "-" and outcome.status == "planned":
                console.out(_arrow(outcome.task))
            if report is not None:
                report.add(outcome)
            bar.advance()
    if len(tasks) > 1:
        console.message(", ".join(f"{count} {status}" for status, count in counts.items() if count))
    return 2 if counts["failed"] or parts else 0


def _without(outcome: Outcome, said: Collection[tuple[str, str]]) -> Outcome:
    """Take out of the warnings of a task what is said of its input, once."""
    warnings = [sentence for sentence in outcome.report.warnings if (outcome.task.input, sentence) not in said]
    return replace(outcome, report=replace(outcome.report, warnings=warnings))


def _tell(outcome: Outcome, console: Console, *, brief: bool) -> None:
    """Say what came of one task: failures always, losses and warnings unless quiet, success when asked.

    With ``brief``, of many tasks, the losses of one are one line of names.
    """
    task = outcome.task
    one_of_many = task.make_dirs and task.reading is not None and task.reading.series is not None
    source = task.output if one_of_many else public_name(task.input)
    name = source if task.output == "-" else task.output
    for part in outcome.report.failures:
        _tell(part, console, brief=brief)
    for sentence in task.remarks if outcome.status != "skipped" else ():
        console.warning(f"{public_name(task.input)}: {sentence}")
    for sentence in outcome.report.warnings:
        console.warning(f"{source}: {sentence}")
    losses = [loss.note for loss in outcome.report.losses]
    if brief and losses:
        losses = [", ".join(loss.field.replace("_", " ") for loss in outcome.report.losses)]
    for loss in losses:
        console.warning(f"{name}: not kept: {loss}")
    for remark in outcome.report.remarks:
        console.message(f"{name}: {remark}")
    for note in outcome.report.notes:
        console.detail(f"{name}: {note}")
    if outcome.status == "failed":
        error = outcome.error or "failed"
        console.error(f"{task.output}: {error}" if one_of_many and task.refusal is None else error)
        console.trace(outcome.trace)
    elif outcome.status == "skipped":
        console.detail(f"{_arrow(task)}: left out: {task.skip}")
    elif outcome.status == "done":
        console.detail(f"{_arrow(task)} ({outcome.seconds:.2f} s)")


def _arrow(task: Task) -> str:
    return f"{', '.join(escape(public_name(path)) for path in task.inputs)} -> {escape(task.output)}"


class Tally:
    """Records of what was looked at; says on stderr what is odd and what failed, and counts the latter.

    Parameters
    ----------
    listings : iterable of Listing
    console : Console
    """

    def __init__(self, listings: Iterable[Listing], console: Console) -> None:
        self._listings, self._console, self.failed = listings, console, 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for listing in self._listings:
            if listing.message:
                self.failed += 1
                self._console.trace(listing.cause)
                self._console.error(listing.message)
            yield from listing.records
            for warning in listing.warnings:
                self._console.warning(f"{public_name(listing.path)}: {warning}")

"""Many inputs to many outputs, done so that one bad input never stops the others; `planning` says which becomes which.

A batch is a list of :class:`Task` values and one :class:`Work`, a function named by a string with frozen
parameters. Both pickle, so that the same tasks run here, in a pool of processes, or wherever a scheduler
takes them. Nothing in this room prints: an :class:`Outcome` says what came of a task.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from medimg_cli.errors import MedImgError, MissingExtraError, UsageError
from medimg_cli.expanding import TEMPLATE, check_template
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.threads import cores
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from medimg_cli.header import Difference
    from medimg_cli.media.film import Advance

__all__ = [
    "BatchOptions",
    "ClusterOptions",
    "Failure",
    "GatheredReading",
    "OneOutput",
    "OnePage",
    "Outcome",
    "PictureOptions",
    "Report",
    "ReportFile",
    "Task",
    "Work",
    "describe",
    "in_chunks",
    "paths_from",
    "run_tasks",
    "split_paths",
]

STREAM = "-"
"""How a path names standard input or output."""

_PATIENCE = 10
"""Seconds that a scheduler has to answer."""

_CHUNK = 16
"""Paths that a worker is given at a time, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What every command that writes can be told about its outputs.

    Parameters
    ----------
    force : bool
        Replace existing outputs.
    output_dir : str, optional
        One output per input goes into this folder, in the tree below the common root of the inputs.
    suffix : str, optional
        Suffix of outputs in ``output_dir``; format of an output that is ``-``.
    name : str
        Template of names in ``output_dir`` for an input that holds several series.
    jobs : int
        Images worked on at a time; 0 is one per core.
    skip_existing, if_newer : bool
        Leave out inputs whose output exists; replace only outputs older than their input.
    dry_run : bool
        Plan, and do nothing.
    files_from : str, optional
        A file with more inputs, one a line (or separated by NUL); ``-`` is standard input.
    report : str, optional
        A ``.jsonl`` file that gets one JSON line a task; ``-`` is standard output.

    Raises
    ------
    UsageError
        Options exclude each other or a value makes no sense.
    """

    force: bool = False
    output_dir: str | None = None
    suffix: str | None = None
    name: str = TEMPLATE
    jobs: int = 1
    skip_existing: bool = False
    if_newer: bool = False
    dry_run: bool = False
    files_from: str | None = None
    report: str | None = None

    #: Whether all inputs become one output.
    gathers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        chosen = [f"--{n.replace('_', '-')}" for n in ("force", "skip_existing", "if_newer") if getattr(self, n)]
        if "--skip-existing" in chosen and len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} exclude each other", hint="give one of them")
        if self.jobs < 0:
            raise UsageError(f"--jobs {self.jobs}", hint="give 1 or more, or 0 for one per core")
        if self.suffix not in (None, "/") and (
            not self.suffix.strip("._-") or "." not in self.suffix or "/" in self.suffix
        ):
            raise UsageError(f"--suffix {self.suffix!r} is no suffix", hint="write it with its dot: .nrrd, _ras.nii.gz")
        check_template(self.name)
        if self.report not in (None, STREAM) and not str(self.report).endswith(".jsonl"):
            raise UsageError(f"--report {self.report}", hint="the name of a report ends in .jsonl")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOptions(BatchOptions):
    """What a command that makes pictures, films or pages can be told about its outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOutput(BatchOptions):
    """What a command that makes one output of many inputs can be told about it."""

    gathers: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class OnePage(OneOutput):
    """What a command that looks at many inputs, several at a time, and writes one page can be told about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions(BatchOptions):
    """What a command whose tasks may run elsewhere can be told about its outputs.

    Parameters
    ----------
    scheduler : str, optional
        Address of the scheduler of a Dask cluster that does the tasks; its workers see the same files.
    """

    scheduler: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatheredReading(Reading):
    """What a command that has a tolerance of its own is told about DICOM."""


@dataclass(frozen=True, slots=True)
class Task:
    """One input and where its output goes.

    Parameters
    ----------
    input, output : str
        Paths; ``-`` is standard input or output.
    suffix : str, optional
        Format of an output that is ``-``.
    force : bool
        The output may replace an existing one.
    make_dirs : bool
        The folder of the output is made when missing.
    skip, refusal : str, optional
        Why there is nothing to do; why it cannot be done. At most one of them.
    others : tuple of str
        Further inputs, where several become one output, or are looked at one after the other.
    reading : Reading, optional
        Which image of an input that holds several, and what to do where slices are missing.
    remarks : tuple of str
        What is to be said of the input itself, and by no other task of it; one sentence each.
    """

    input: str
    output: str
    suffix: str | None = None
    force: bool = False
    make_dirs: bool = False
    skip: str | None = None
    refusal: str | None = None
    others: tuple[str, ...] = ()
    reading: Reading | None = None
    remarks: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """All inputs."""
        return (self.input, *self.others)


@dataclass(frozen=True, slots=True)
class Report:
    """What a task function has to say about a task that it has done.

    Parameters
    ----------
    losses : sequence of Difference
        What the output could not hold.
    warnings : sequence of str
        What a careful user should know; one sentence each.
    remarks : sequence of str
        What was decided or changed, for everybody who does not ask for quiet; one sentence each.
    notes : sequence of str
        What only somebody who asks for more wants to read.
    outputs : sequence of str
        The files written, where the task's output is a pattern of their names.
    failures : sequence of Outcome
        Parts of the task that failed and did not stop the others.
    """

    losses: Sequence[Difference] = ()
    warnings: Sequence[str] = ()
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    outputs: Sequence[str] = ()
    failures: Sequence[Outcome] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """The function that does one task.

    Parameters
    ----------
    function : str or callable
        "module:function", or a callable that pickles. Called as ``function(task, parameters, threads=n)``;
        returns a :class:`Report` or None; raises where the task failed.
    parameters : object
        Frozen, pickles; the same for all tasks.
    steps : bool
        Whether the function also takes ``advance``, a callable that it tells how many of how many steps are done; or
        None, where nobody listens.
    """

    function: str | Callable[..., Report | None]
    parameters: Any = None
    steps: bool = False

    def __call__(self, task: Task, threads: int, advance: Advance | None = None) -> Report | None:
        """Do one task with at most ``threads`` threads."""
        function = self.function
        if isinstance(function, str):
            from importlib import import_module

            module, _, name = function.partition(":")
            function = getattr(import_module(module), name)
        more = {"advance": advance} if self.steps else {}
        return function(task, self.parameters, threads=threads, **more)


class Failure(NamedTuple):
    """An exception, as one line.

    Parameters
    ----------
    message : str
        Path, what is wrong, what to do.
    bug : bool
        Nobody raised this on purpose.
    """

    message: str
    bug: bool


def describe(error: BaseException, path: str | None = None) -> Failure:
    """Put any exception into one line.

    Parameters
    ----------
    error : BaseException
        A :class:`MedImgError` and an error of the operating system are a user's; everything else is a bug.
    path : str, optional
        The file or URL it is about, where the exception does not know.

    Examples
    --------
    >>> describe(FileNotFoundError(2, "No such file or directory", "a.nii")).message
    'a.nii: no such file or directory'
    >>> describe(ZeroDivisionError("division by zero"), "a.nii").message
    'a.nii: a bug in medimg: ZeroDivisionError: division by zero; run with --debug and report it'
    """
    path = path if path is None else public_name(path)
    if isinstance(error, MedImgError):
        if error.path is None and path is not None:
            return Failure(f"{path}: {error}", bug=False)
        return Failure(str(error), bug=False)
    if isinstance(error, OSError):
        where = error.filename if isinstance(error.filename, (str, bytes, os.PathLike)) else path
        text = error.strerror[0].lower() + error.strerror[1:] if error.strerror else str(error)
        return Failure(text if where is None else f"{os.fsdecode(where)}: {text}", bug=False)
    front = "" if path is None else f"{path}: "
    if isinstance(error, MemoryError):
        return Failure(f"{front}not enough memory; use a smaller region, or fewer --jobs", bug=False)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Failure(f"{front}a bug in medimg: {text}; run with --debug and report it", bug=True)


# -- what a command line names -------------------------------------------------------------------------------------


def split_paths(paths: Sequence[str], options: BatchOptions) -> tuple[list[str], str | None]:
    """Split a command line's paths into inputs and the one output.

    Parameters
    ----------
    paths : sequence of str
        Inputs, and last the output unless ``options.output_dir`` is set.
    options : BatchOptions
        ``files_from`` names a list of more inputs.

    Returns
    -------
    inputs : list of str
    output : str or None
        None with ``output_dir``.

    Raises
    ------
    UsageError
        No inputs, no output, or several inputs for one output.
    """
    words = list(paths)
    hint = "give IN... OUT" if options.gathers else "give IN OUT, or inputs and --output-dir DIR"
    output = None if options.output_dir is not None or not words else words.pop()
    if options.files_from is not None:
        words += paths_from(options.files_from)
    if options.output_dir is None and output is None:
        raise UsageError("no input and no output", hint=hint)
    if not words:
        what = "no inputs" if options.output_dir is not None else f"an input or an output is missing beside {output}"
        raise UsageError(what, hint=hint)
    if options.output_dir is None and len(words) > 1 and not options.gathers:
        shown = ", ".join(words[:3]) + (", ..." if len(words) > 3 else "")
        raise UsageError(f"{len(words)} inputs ({shown}) for one output {output}", hint="give --output-dir DIR")
    return words, output


def paths_from(source: str) -> list[str]:
    """Read the paths that a file lists, one a line or separated by NUL; ``-`` is standard input.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if source == STREAM:
        import sys

        content = sys.stdin.buffer.read()
    else:
        with open(source, "rb") as file:
            content = file.read()
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    return [os.fsdecode(line) for line in lines if line]


# -- running it -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one task.

    Parameters
    ----------
    task : Task
    status : str
        "done", "skipped", "failed" or "planned".
    seconds : float
        How long it took.
    error : str, optional
        One line, where it failed.
    report : Report
        What the task function said.
    trace : str
        Traceback of a failure, for those who ask.
    """

    task: Task
    status: str
    seconds: float = 0.0
    error: str | None = None
    report: Report = Report()
    trace: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the line of a report file."""
        losses = [{"field": loss.field, "note": loss.note} for loss in self.report.losses]
        return {
            "input": self.task.input,
            "inputs": list(self.task.inputs),
            "output": self.task.output,
            "outputs": list(self.report.outputs) or [self.task.output],
            "status": self.status,
            "seconds": round(self.seconds, 4),
            "error": self.error,
            "skipped": self.task.skip,
            "losses": losses,
            "warnings": [*self.task.remarks, *self.report.warnings],
            "remarks": list(self.report.remarks),
        }


def run_tasks(
    tasks: Sequence[Task], work: Work, options: BatchOptions, advance: Advance | None = None
) -> Generator[Outcome, None, None]:
    """Do all tasks, and tell what came of each as it ends.

    A failed task never stops the others. With ``options.jobs`` of 1, or one task, everything happens in this
    process.

    Parameters
    ----------
    tasks : sequence of Task
    work : Work
        What to do with each.
    options : BatchOptions
        ``jobs``, ``dry_run``, and the scheduler that takes the tasks elsewhere.
    advance : callable, optional
        Is told how many steps of a task are done that is done in this process.

    Yields
    ------
    Outcome
        One per task, in the order in which they end.
    """
    todo = []
    for task in tasks:
        if task.skip is not None:
            yield Outcome(task, "skipped")
        elif task.refusal is not None:
            yield Outcome(task, "failed", error=f"{task.output}: {task.refusal}")
        elif options.dry_run:
            gone = next((path for path in task.inputs if _is_missing(path)), None)
            yield Outcome(task, "failed", error=f"{gone}: no such file") if gone else Outcome(task, "planned")
        else:
            todo.append(task)
    if isinstance(options, ClusterOptions) and options.scheduler is not None and todo:
        yield from _in_cluster(todo, work, options.scheduler)
        return
    jobs = min(options.jobs or cores(), len(todo))
    if jobs > 1:
        yield from _in_pool(todo, work, jobs, max(1, cores() // jobs))
        return
    for task in todo:
        yield _attempt(task, work, cores(), advance)


def in_chunks(paths: Sequence[str], jobs: int) -> list[Task]:
    """Return tasks without output, a few paths each: jobs end at nearly the same time, and processes say little."""
    size = max(1, min(_CHUNK, len(paths) // (16 * jobs)))
    chunks = (paths[start : start + size] for start in range(0, len(paths), size))
    return [Task(first, "", others=tuple(others)) for first, *others in chunks]


def _is_missing(path: str) -> bool:
    return path != STREAM and "://" not in path and not os.path.exists(path)


def _attempt(task: Task, work: Work, threads: int, advance: Advance | None = None) -> Outcome:
    """Do one task; whatever it raises, short of an interruption, is its outcome."""
    from time import perf_counter

    start = perf_counter()
    try:
        if task.make_dirs:
            os.makedirs(os.path.dirname(task.output.rstrip("/")), exist_ok=True)
        report = work(task, threads, advance) or Report()
    except Exception as error:
        if isinstance(error, BrokenPipeError) and task.output == STREAM:
            raise
        import traceback

        trace = "".join(traceback.format_exception(error))
        return Outcome(task, "failed", perf_counter() - start, describe(error, task.input).message, trace=trace)
    return Outcome(task, "done", perf_counter() - start, report=report)


def _in_pool(tasks: Sequence[Task], work: Work, jobs: int, threads: int) -> Iterator[Outcome]:
    """Do tasks in a pool; what a pool that broke has lost is done again, each task in a process of its own."""
    lost: list[Task] = []
    with _Pool(jobs, work) as pool:
        yield from pool.run(tasks, work, threads, lost)
    for task in lost:
        dead: list[Task] = []
        with _Pool(1, work) as pool:
            yield from pool.run([task], work, threads, dead)
        if dead:
            text = "the process that worked on it was killed; is there enough memory?"
            yield Outcome(task, "failed", error=f"{task.input}: {text}")


class _Pool:
    """Worker processes that a fork server starts; an interruption ends them before it goes on."""

    def __init__(self, jobs: int, work: Work) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        server = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if server else "spawn")
        if server and isinstance(work.function, str):
            context.set_forkserver_preload(["__main__", work.function.partition(":")[0]])
        self._others = set(multiprocessing.active_children())
        self._executor: Executor = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            import multiprocessing

            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def run(self, tasks: Iterable[Task], work: Work, threads: int, lost: list[Task]) -> Iterator[Outcome]:
        """Yield outcomes as they come; tasks whose worker died are added to ``lost``."""
        from concurrent.futures import as_completed
        from concurrent.futures.process import BrokenProcessPool

        futures = {}
        with _signals_held():  # a worker of which nobody knows yet could not be ended
            for task in tasks:
                try:
                    futures[self._executor.submit(_attempt_in_worker, task, work, threads)] = task
                except BrokenProcessPool:
                    lost.append(task)
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                lost.append(futures[future])


def _in_cluster(tasks: Sequence[Task], work: Work, address: str) -> Iterator[Outcome]:
    """Do tasks on a Dask cluster, in the order in which they end; whoever stops listening cancels the others.

    Raises
    ------
    MissingExtraError
        distributed is not installed.
    UsageError
        Nobody answers at ``address``; a task reads or writes a standard stream.
    """
    if any(STREAM in (*task.inputs, task.output) for task in tasks):
        raise UsageError("standard input and output do not reach a cluster", hint="leave out --scheduler")
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingExtraError("distributed is not installed", hint="pip install 'medimg-cli[distributed]'") from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"--scheduler {address} does not answer ({text})", hint="is it running?") from None
    with client:
        futures = {client.submit(_attempt, _placed(task), work, 1, pure=False): task for task in tasks}
        try:
            for future in as_completed(list(futures), loop=client.loop):
                task, problem = futures.pop(future), future.exception()
                if problem is None:
                    yield replace(future.result(), task=task)
                else:
                    yield Outcome(task, "failed", error=describe(problem, task.input).message)
        finally:
            client.cancel(list(futures))


def _placed(task: Task) -> Task:
    """Return a task whose paths hold in any folder."""
    source, target, *others = (
        path if "://" in path else os.path.abspath(path) for path in (task.input, task.output, *task.others)
    )
    return replace(task, input=source, output=target, others=tuple(others))


def _attempt_in_worker(task: Task, work: Work, threads: int) -> Outcome:
    """Do one task; an order to stop ends the worker once the task has cleaned up behind itself."""
    import signal
    import sys

    def leave(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the second order must not interrupt the cleaning up
        sys.exit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, leave)
        outcome = _attempt(task, work, threads)
        signal.signal(signal.SIGTERM, before)
    except SystemExit as stop:
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    return outcome


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until the body has ended."""
    import signal

    came: list[int] = []
    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda number, frame: came.append(number))
    except ValueError:
        pass  # not the main thread: signals do not come here
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if came:
            signal.raise_signal(came[0])


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and stop when it was killed."""
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def outlive_nobody() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=outlive_nobody, daemon=True).start()


class ReportFile:
    """A file that gets one JSON line per outcome, as it comes.

    Parameters
    ----------
    target : str
        A path, or ``-`` for standard output.
    tasks : sequence of Task
        What the batch reads and writes; a report never takes one of their names.

    Raises
    ------
    UsageError
        ``target`` is an input or output of the batch.
    """

    def __init__(self, target: str, tasks: Sequence[Task]) -> None:
        import sys

        if target != STREAM:
            names = {os.path.realpath(path) for task in tasks for path in (*task.inputs, task.output)}
            if os.path.realpath(target) in names:
                raise UsageError("the report would replace an image", path=target, hint="give it another name")
        elif any(task.output == STREAM for task in tasks):
            raise UsageError("both the image and the report would go to standard output", hint="name one of them")
        self._file = sys.stdout if target == STREAM else open(target, "w", encoding="utf-8")  # noqa: SIM115
        self._own = target != STREAM

    def __enter__(self) -> ReportFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Write the line of one outcome."""
        import json

        self._file.write(json.dumps(outcome.to_json()) + "\n")
        self._file.flush()

"""Many paths under all rules, several at a time, and then all of them together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from medimg_cli.batch import BatchOptions, Outcome, Report, Task, Work, describe, in_chunks, run_tasks
from medimg_cli.checks.config import Config
from medimg_cli.checks.dataset import DataSet
from medimg_cli.checks.examining import examine, finding, profile_of, subjects_of
from medimg_cli.checks.rule import Finding
from medimg_cli.checks.rules import RULES
from medimg_cli.checks.subject import Profile
from medimg_cli.errors import StorageError
from medimg_cli.facts import find_images
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.threads import cores

__all__ = ["Checked", "Checking", "check", "check_found", "check_paths", "examine_paths", "find"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checking:
    """How paths are checked.

    Parameters
    ----------
    config : Config
        Which rules hold where.
    reading : Reading
        Which series of DICOM, and what to do where slices are missing.
    jobs : int
        Images looked at at a time, each in a process of its own; 0 is one per core.
    fix : bool
        Whether files are mended, where that is safe.

    Raises
    ------
    UsageError
        If ``jobs`` is negative.
    """

    config: Config
    reading: Reading = field(default_factory=Reading)
    jobs: int = 1
    fix: bool = False

    def __post_init__(self) -> None:
        BatchOptions(jobs=self.jobs)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one path, or at last of all of them together.

    Parameters
    ----------
    path : str
        "" where it is about the set.
    findings : tuple of Finding
    profiles : tuple of Profile
        What rules over sets need to know, an image each.
    message : str
        One line, where the path could not be looked at.
    cause : str
        Traceback of that.
    excluded : bool
        Whether the configuration says that nobody looks at the path.
    """

    path: str
    findings: tuple[Finding, ...] = ()
    profiles: tuple[Profile, ...] = ()
    message: str = ""
    cause: str = ""
    excluded: bool = False


@dataclass(frozen=True, slots=True)
class Examined(Report):
    """What a task says of its paths."""

    checked: tuple[Checked, ...] = ()


def check(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    select: str | Sequence[str] | None = None,
    extend_select: str | Sequence[str] | None = None,
    ignore: str | Sequence[str] | None = None,
    expect: str | Sequence[str] | None = None,
    pair: tuple[str, str] | None = None,
    header_only: bool = False,
    config: str | os.PathLike[str] | None = None,
    jobs: int = 1,
) -> list[Finding]:
    """Check images for what is wrong with them, as ``medimg check`` does.

    Parameters
    ----------
    paths : path-like, or iterable of them
        Images and folders; folders are walked.
    select, extend_select, ignore : str or sequence of str, optional
        Rules in place of the usual ones, beside them, and to leave out: codes, how codes begin, names, "all".
    expect : str or sequence of str, optional
        What must hold: "spacing <= 1.0".
    pair : (str, str), optional
        Pattern of images, and where the label map of each is: ``("images/*.nii.gz", "labels/{name}")``.
    header_only : bool
        Whether rules that read voxels are left out.
    config : path-like, optional
        Configuration file; left out: none.
    jobs : int
        Images looked at at a time, each in a process of its own; 0 is one per core.

    Returns
    -------
    list of Finding
        ``code``, ``rule``, ``severity``, ``path``, ``message``, ``voxel`` and ``world`` of each, in the order of the
        paths.

    Raises
    ------
    UsageError
        If an argument or the configuration makes no sense.
    StorageError
        If a path does not exist or cannot be read; nothing is raised for what a file holds.

    Examples
    --------
    >>> from medimg_cli.cli.example import example_path
    >>> [finding.code for finding in check(example_path(), select="F")]
    []
    """
    from medimg_cli.checks.config import Wishes
    from medimg_cli.checks.configuring import load_config

    wishes = Wishes(
        config=None if config is None else os.fspath(config),
        isolated=config is None,
        select=_several(select),
        extend_select=_several(extend_select),
        ignore=_several(ignore),
        expect=_several(expect),
        pair=pair,
        header_only=header_only,
    )
    several = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    names = [os.fspath(each) for each in several]
    findings: list[Finding] = []
    for checked in check_paths(names, Checking(config=load_config(wishes), jobs=jobs)):
        if checked.message:
            raise StorageError(checked.message)
        findings += checked.findings
    return findings


def _several(words: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return None if words is None else (words,) if isinstance(words, str) else tuple(words)


def find(paths: Iterable[str], wanted: Checking) -> list[str | Checked]:
    """Find the images below paths: folders are walked.

    Returns
    -------
    list of str, and of Checked
        A name an image, in order, and each image once, however often it is named; in place of a path that holds none,
        or cannot be looked at, what is wrong with it.
    """
    images: dict[str, str | Checked] = {}
    for image in (image for path in paths for image in _found(path, wanted)):
        images.setdefault(_plain(image if isinstance(image, str) else image.path), image)
    return list(images.values())


def _plain(path: str) -> str:
    """Return a path without what means nothing in it, such as ``./``."""
    return path if ".." in path or "://" in path else os.path.normpath(path)


def check_found(images: Sequence[str | Checked], wanted: Checking) -> Iterator[Checked]:
    """Check images, and then the set of them; one that fails never stops the others.

    Parameters
    ----------
    images : sequence of str and Checked
        As `find` returns them.
    wanted : Checking

    Yields
    ------
    Checked
        One a path, in the order of the paths, whatever the number of jobs; last, one about the set, where there is
        something to say of it.
    """
    profiles: list[Profile] = []
    names: list[str] = []
    for checked in _examined(images, wanted):
        profiles += checked.profiles
        if not checked.excluded:
            names.append(checked.path)
        yield checked
    found = tuple(_over_set(DataSet(profiles, wanted.config, names)))
    if found:
        yield Checked("", found)


def check_paths(paths: Iterable[str], wanted: Checking) -> Iterator[Checked]:
    """Find the images below paths and check them, as `find` and `check_found`."""
    yield from check_found(find(paths, wanted), wanted)


def _over_set(data: DataSet) -> Iterator[Finding]:
    """Put all images under the rules over sets; of each path only the rules that hold there."""
    by_name = {(each.path, each.series): each for each in data.profiles}
    for rule in RULES.values():
        if rule.over == "set" and any(rule.code in each.settings.codes for each in data.profiles):
            for found in rule.check(data):
                about = by_name.get((found.path or "", found.series))
                if about is None:  # a path that nobody looked at: the partner that is missing
                    settings = data.config.settings_for(found.path or "")
                    severity = settings.severity(rule)
                    if rule.code in settings.codes:
                        yield Finding(rule.code, rule.name, severity, found.path or "", found.message)
                elif rule.code in about.settings.codes:
                    yield finding(rule, found, about)


def _examined(images: Sequence[str | Checked], wanted: Checking) -> Iterator[Checked]:
    """Examine images, in this process or in several."""
    jobs = wanted.jobs or cores()
    if jobs > 1:
        yield from _in_pool(images, wanted, jobs)
        return
    for image in images:
        yield _examine(image, wanted) if isinstance(image, str) else image


def _found(path: str, wanted: Checking) -> Iterator[str | Checked]:
    """Yield the images below a path; what is wrong with it where there are none."""
    try:
        for image in find_images([path], recursive=True):
            yield Checked(image, excluded=True) if wanted.config.excludes(image) else image
    except Exception as error:
        yield _failed(path, error)


def _in_pool(images: Sequence[str | Checked], wanted: Checking, jobs: int) -> Iterator[Checked]:
    """Examine images in a pool, a few at a time, and tell of them in their order."""
    names = [image for image in images if isinstance(image, str)]
    tasks = in_chunks(names, jobs)
    done: dict[str, Checked] = {}
    with closing(run_tasks(tasks, Work(f"{__name__}:examine_paths", wanted), BatchOptions(jobs=jobs))) as outcomes:
        for image in images:
            while isinstance(image, str) and image not in done:
                done.update((checked.path, checked) for checked in _checked(next(outcomes)))
            yield done.pop(image) if isinstance(image, str) else image
        for _ in outcomes:  # none is left: the workers end as they should, and nobody ends them
            pass


def _checked(outcome: Outcome) -> Sequence[Checked]:
    if isinstance(outcome.report, Examined):
        return outcome.report.checked
    return [Checked(path, message=outcome.error or "failed") for path in outcome.task.inputs]  # it was killed


def examine_paths(task: Task, wanted: Checking, *, threads: int) -> Report:
    """Examine the inputs of a task, one after the other.

    Parameters
    ----------
    task : Task
        It has no output.
    wanted : Checking
    threads : int
        Not used.
    """
    return Examined(checked=tuple(_examine(path, wanted) for path in task.inputs))


def _examine(path: str, wanted: Checking) -> Checked:
    """Examine all images that a path stands for."""
    findings: list[Finding] = []
    profiles: list[Profile] = []
    try:
        settings = wanted.config.settings_for(path)
        for subject in subjects_of(path, settings, wanted.reading):
            found = examine(subject)
            findings += found
            if subject.backend is not None:
                profiles.append(profile_of(subject))
            broken = {each.code for each in found if each.fixable}
            if wanted.fix and broken:
                from medimg_cli.checks.fixing import fix

                fixed = fix(subject, [RULES[code] for code in sorted(broken)])
                findings[-len(found) :] = [each._replace(fixed=each.code in fixed) for each in found]
    except Exception as error:
        return replace(_failed(path, error), findings=tuple(findings), profiles=tuple(profiles))
    return Checked(path, tuple(findings), tuple(profiles))


def _failed(path: str, error: Exception) -> Checked:
    import traceback

    trace = "".join(traceback.format_exception(error))
    return Checked(path, message=describe(error, path).message, cause=trace)

"""``medimg check``: what is wrong with images, before somebody trains on them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.batch import paths_from
from medimg_cli.checks.checking import Checking
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.cli.findings import Printing, print_rules, report_findings
from medimg_cli.cli.options import with_options
from medimg_cli.cli.render import Console
from medimg_cli.formats.reading import Reading

__all__ = ["check"]

Form = Literal["text", "json", "jsonl", "junit", "github", "sarif"]


@with_options
def check(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images and folders; folders are walked.", show_default=False),
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write all findings of this run into the baseline.")
    ] = False,
    form: Annotated[Form, typer.Option("--format", help="How to print findings.")] = "text",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    save: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Also write findings to FILE: .sarif, .xml (JUnit), .json, .jsonl, .txt."),
    ] = None,
    statistics: Annotated[bool, typer.Option("--statistics", help="Count findings by rule instead.")] = False,
    explain: Annotated[str | None, typer.Option(metavar="CODE", help="Explain a rule, or list all of them.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without touching a voxel.")] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="Images at a time; 0 is one per core.")] = 1,
    files_from: Annotated[
        str | None, typer.Option(metavar="FILE", help="Read more paths from FILE, one a line; - is standard input.")
    ] = None,
    *,
    wishes: Wishes,
    reading: Reading,
    console: Console,
) -> int:
    """Check images: files, headers, values, label maps, pairs, data sets, DICOM series, privacy.

    A folder is walked for images and DICOM series. Each finding has the code of a rule; --explain says what it is
    about, and what to do. Errors are data that are wrong; a warning is something that somebody will read wrong or lose;
    info is worth knowing, and counted as notes. The exit code is 1 where there is an error, or with --error-on warning
    a warning; 2 where a path could not be looked at.

    Headers are read, and voxels once, where a rule asks for them; --header-only leaves those rules out. medimg.toml, or
    [tool.medimg.check] in pyproject.toml, says which rules hold where, what a data set expects of its images, and which
    label map belongs to which image. --fix mends header fields that contradict each other, never a voxel or its place.

    Examples:

        medimg check scan.nii.gz
        medimg check --header-only --jobs 0 study/
        medimg check study/ --pair 'images/*.nii.gz' 'labels/{name}'
        medimg check study/ --expect 'spacing <= 1.0' --expect 'dtype = int16'
        medimg check --format github --save check.sarif --error-on warning data/
        medimg check --explain H001
    """
    chosen = "json" if json else form
    if explain is not None:
        return print_rules(explain, chosen, console)
    wanted = Checking(config=load_config(wishes), reading=reading, jobs=jobs, fix=fix)
    printing = Printing(form=chosen, save=save or (), statistics=statistics, update_baseline=update_baseline)
    return report_findings([*(paths or ()), *(paths_from(files_from) if files_from else ())], wanted, printing, console)

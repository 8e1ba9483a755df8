"""``medimg check``: what is wrong with images, before somebody trains on them."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from medimg_cli.checks.config import Wishes
from medimg_cli.cli.findings import run_check
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
    """Check images for what is wrong with them: files, headers, values, labels, pairs, data sets, privacy.

    Examples:

        medimg check scan.nii.gz
    """
    return run_check(paths, wishes, form="json" if json else form, reading=reading, jobs=jobs, fix=fix, console=console)

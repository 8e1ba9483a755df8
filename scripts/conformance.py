#!/usr/bin/env python
"""Hold medimg against real files and independent readers: ``make conformance``.

Reads every volume file of the manifest in the folder named by ``MEDIMG_TEST_DATA`` (default
``../shared/data`` beside the repository), its derived files (``_generated``: one image in every container,
odd files, bad files), and compares with the manifest, nibabel and SimpleITK. A Markdown report goes to
stdout, the same facts with ``--json FILE``.

Exit code 0 when every promise holds, 1 when one does not, 2 when there is no folder of real files.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]
import conformance_checks as checks
import conformance_dicom
import conformance_zarr
import proving
from conformance_checks import Result

Task = tuple[Callable[..., Result], tuple[Any, ...]]
PARTS = ("manifest", "formats", "odd", "bad")
TITLES = {
    "agree": "Real files on which the independent readers agree",
    "disagree": "Real files on which trusted readers disagree",
    "one reader only": "Real files that one independent reader opens",
    "no reader opens it": "Real files that no independent reader opens",
    "formats": "One image in every container (_generated/formats)",
    "odd": "Valid but strange (_generated)",
    "degenerate": "Degenerate files in _generated/odd: what medimg says",
    "bad: invalid": "Invalid files",
    "bad: bomb": "Bombs",
    "bad: hostile": "Hostile files",
    "bad: degenerate": "Degenerate files in _generated/bad: what happened",
    "dicom": "DICOM files and folders: read, or refused with a reason",
    "zarr": "Zarr stores: read, or refused with a reason",
}
SHOWN_IN_FULL = (
    "disagree",
    "one reader only",
    "no reader opens it",
    "degenerate",
    "bad: hostile",
    "bad: degenerate",
)


def tasks(data: Path, parts: Sequence[str]) -> tuple[list[Task], list[Task]]:
    """Return the checks that read in a process pool, and those that start programs of their own."""
    reading: list[Task] = []
    running: list[Task] = []
    if "manifest" in parts:
        rows = sorted(checks.manifest(data), key=lambda row: -int(row["bytes"] or 0))
        for row in rows:
            agreed = row["verdict"].startswith("AGREE")
            reading.append((checks.check_agree if agreed else checks.check_other, (data, row)))
        reading += [(conformance_dicom.check_dicom, (data, row)) for row in conformance_dicom.rows(data)]
        reading += [(conformance_zarr.check_zarr, (data, name)) for name in conformance_zarr.stores(data)]
    for name, kind, what in checks.generated(data):
        part, _, base = name.partition("/")
        if part not in parts:
            continue
        if part == "formats":
            names = [base, base.replace(".img", ".hdr")] if ".img" in base else [base]
            reading += [(checks.check_format, (data, one)) for one in names]
        elif kind == "valid" and name.endswith(".zarr"):
            continue  # among the stores above
        elif kind == "valid":
            reading.append((checks.check_valid, (data, name)))
        elif part == "odd" and kind == "degenerate":
            reading.append((checks.check_listed, (data, name, what)))
        elif (data / "_generated" / name).exists():
            running.append((checks.check_bad, (data, name, kind, what)))
    return reading, running


def attempt(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run one check; what it raises is a failure of the check itself and is reported as such."""
    warnings.simplefilter("ignore")
    try:
        return function(*arguments)
    except Exception as error:
        return crashed(function, arguments, f"the check failed: {type(error).__name__}: {error}")


def crashed(function: Callable[..., Result], arguments: Sequence[Any], note: str) -> Result:
    """Return the result of a check that could not end."""
    item = arguments[1] if len(arguments) > 1 else ""
    name = item["path"] if isinstance(item, dict) else str(item)
    group = {
        "check_agree": "agree",
        "check_other": "disagree",
        "check_format": "formats",
        "check_valid": "odd",
        "check_listed": "degenerate",
        "check_dicom": "dicom",
        "check_zarr": "zarr",
    }.get(function.__name__, "bad: invalid")
    return Result(group, name, "fail", note=note)


def guard() -> None:
    """Keep a reader that runs away from taking the machine's memory with it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        limit = 8 * proving.GIB
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run_reading(todo: Iterable[Task], jobs: int) -> list[Result]:
    """Run checks in worker processes that stay; a worker that dies costs only the check that killed it."""
    results: list[Result] = []
    suspects: list[Task] = []
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=guard) as pool:
        futures: list[tuple[Task, Future[Result]]] = []
        for function, arguments in todo:
            try:
                futures.append(((function, arguments), pool.submit(attempt, function, *arguments)))
            except BrokenProcessPool:
                suspects.append((function, arguments))
        for task, future in futures:
            try:
                results.append(future.result())
            except BrokenProcessPool:
                suspects.append(task)
    for function, arguments in suspects:
        try:
            with ProcessPoolExecutor(1, mp_context=context, initializer=guard) as single:
                results.append(single.submit(attempt, function, *arguments).result())
        except BrokenProcessPool:
            results.append(crashed(function, arguments, "the reading process died"))
    return results


def run_running(todo: Sequence[Task], jobs: int) -> list[Result]:
    """Run checks that start programs, a few at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda task: attempt(task[0], *task[1]), todo))


def cell(text: str, width: int = 160) -> str:
    """Make text fit into a cell of a Markdown table."""
    flat = " ".join(text.split()).replace("|", "/")
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def summary(results: Sequence[Result]) -> str:
    """Return the table of counts, a row a group."""
    rows = []
    for group, title in TITLES.items():
        counts = Counter(result.status for result in results if result.group == group)
        total = sum(counts.values())
        if total:
            needed = counts["pass"] + counts["fail"]
            share = f"{100 * counts['pass'] / needed:.1f} %" if needed else "-"
            rows.append((title, str(total), str(counts["pass"]), str(counts["fail"]), str(counts["listed"]), share))
    return table(("group", "files", "pass", "fail", "listed", "passed"), rows)


def report(results: Sequence[Result]) -> str:
    """Return the whole report as Markdown."""
    parts = ["# Conformance", summary(results)]
    failures = [result for result in results if result.status == "fail"]
    if failures:
        rows = [
            (
                result.group,
                cell(result.path, 100),
                cell(result.expected, 60),
                cell(result.got, 120),
                cell(result.note, 240),
            )
            for result in failures
        ]
        parts += ["## Failures", table(("group", "file", "expected", "medimg says", "what is wrong"), rows)]
    for group in SHOWN_IN_FULL:
        found = sorted((result for result in results if result.group == group), key=lambda result: result.path)
        if found:
            rows = [
                (
                    cell(result.path, 100),
                    result.status,
                    cell(result.got),
                    cell(", ".join(result.agrees) or "-"),
                    cell(result.note, 260),
                )
                for result in found
            ]
            parts += [
                f"## {TITLES[group]}",
                table(("file", "", "medimg says", "same voxels as", "what decides"), rows),
            ]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the command line asks for."""
    parser = argparse.ArgumentParser(prog="conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write every result there ('-' for stdout, instead of Markdown)")
    parser.add_argument("--only", action="append", choices=PARTS, help="run this part only; may be repeated")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="processes at a time")
    options = parser.parse_args(arguments)
    data = proving.data_folder()
    if data is None:
        print(
            "conformance: no real files: set MEDIMG_TEST_DATA to a folder that holds MANIFEST.csv",
            file=sys.stderr,
        )
        return 2
    start = time.monotonic()
    reading, running = tasks(data, options.only or PARTS)
    results = run_reading(reading, options.jobs) + run_running(running, options.jobs)
    failed = sum(result.status == "fail" for result in results)
    if options.json:
        text = json.dumps([asdict(result) for result in results], indent=1, ensure_ascii=True) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    if options.json != "-":
        sys.stdout.write(report(results))
    print(
        f"conformance: {len(results)} checks, {failed} failed, {time.monotonic() - start:.0f} s",
        file=sys.stderr,
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Findings for machines: JSON, JUnit, annotations of GitHub, SARIF. Strings, which somebody else prints.

- JSON, one array, and JSON lines: a record a finding, as `Finding.facts`; a path that could not be looked at is a
  record with ``error``. NaN and infinities cannot occur. The schema is ``schemas/check-1.json``.
- JUnit, as Ant's XSD has it, the strictest there is: a test case a path, failed by findings that make the exit code 1;
  a path that could not be looked at is an error, and all other findings are in ``system-out``.
- GitHub: a workflow command a finding, which becomes an annotation; at most so many are shown there, so the worst come
  first (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
- SARIF 2.1.0 (OASIS): one run, all rules that were broken, relative paths as URIs; what could not be looked at is a
  notification of the tool.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from medimg_cli.checks.checking import Checked
from medimg_cli.checks.rule import SCHEMA, SEVERITIES, Finding, Severity, fails
from medimg_cli.checks.rules import RULES
from medimg_cli.storage.urls import is_url, public_name
from medimg_cli.text import escape

__all__ = ["FORMS", "Form", "line", "records", "sentence"]

_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def records(checked: Iterable[Checked]) -> Iterator[Mapping[str, Any]]:
    """Yield a record a finding, and one a path that could not be looked at."""
    for each in checked:
        if each.message:
            yield {"schema": SCHEMA, "path": each.path, "error": each.message}
        yield from (finding.facts() for finding in each.findings)


def sentence(finding: Finding) -> str:
    """Return what was found and where in the image, in one line.

    >>> sentence(Finding("V001", "nan", "warning", "a.nii", "3 values are NaN", voxel=(1, 2, 3), world=(0.5, 2.0, 3.0)))
    '3 values are NaN at voxel (1, 2, 3), 0.5, 2, 3 mm'
    """
    text = escape(finding.message)
    if finding.voxel is not None:
        text += f" at voxel ({', '.join(map(str, finding.voxel))})"
        if finding.world is not None:
            text += f", {', '.join(f'{x + 0.0:.4g}' for x in finding.world)} mm"
    return text


def line(finding: Finding) -> str:
    """Return a finding as one line of text.

    >>> line(Finding("V001", "nan", "warning", "a.nii", "3 values are NaN", series=2))
    'a.nii @2: V001 warning: 3 values are NaN'
    """
    mended = " (mended)" if finding.fixed else ""
    return f"{_name(finding)}: {finding.code} {finding.severity}: {sentence(finding)}{mended}"


def _name(finding: Finding) -> str:
    """Return path and, of a path that holds several, the series."""
    return escape(public_name(finding.path)) + (f" @{finding.series}" if finding.series is not None else "")


def _array(checked: Iterable[Checked], error_on: Severity) -> Iterator[str]:
    separator = "[\n"
    for record in records(checked):
        yield f"{separator}  {json.dumps(record)}"
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _lines(checked: Iterable[Checked], error_on: Severity) -> Iterator[str]:
    yield from (json.dumps(record) + "\n" for record in records(checked))


# -- JUnit ----------------------------------------------------------------------------------------------------------


def _junit(checked: Iterable[Checked], error_on: Severity) -> Iterator[str]:
    from datetime import UTC, datetime
    from time import monotonic
    from xml.etree import ElementTree

    from medimg_cli import __version__

    start, now = monotonic(), datetime.now(UTC)
    suite = ElementTree.Element("testsuite", name="medimg check", package="medimg", id="0", hostname="localhost")
    properties = ElementTree.SubElement(suite, "properties")
    ElementTree.SubElement(properties, "property", name="medimg", value=__version__)
    failures = errors = 0
    rest: list[str] = []
    for path, findings, message in _by_path(checked):
        name = escape(public_name(path))
        case = ElementTree.SubElement(suite, "testcase", name=name, classname="medimg.check", time="0")
        bad = [each for each in findings if fails(each, error_on)]
        said = [f"{each.code} {each.severity}: {sentence(each)}" for each in bad]
        rest += [line(each) for each in findings if each not in bad]
        if message:
            errors += 1
            error = ElementTree.SubElement(case, "error", message=escape(message), type="error")
            error.text = "\n".join(said)
        elif bad:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", message="; ".join(said), type=bad[0].code)
            failure.text = "\n".join(said)
    tests = len(suite.findall("testcase"))
    suite.attrib |= {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    suite.attrib |= {"timestamp": now.strftime("%Y-%m-%dT%H:%M:%S"), "time": f"{monotonic() - start:.3f}"}
    ElementTree.SubElement(suite, "system-out").text = "\n".join(rest)
    ElementTree.SubElement(suite, "system-err")
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield ElementTree.tostring(suites, encoding="unicode") + "\n"


def _by_path(checked: Iterable[Checked]) -> Iterator[tuple[str, list[Finding], str]]:
    """Yield each path once, in order, with all that was found about it and why it could not be looked at."""
    found: dict[str, list[Finding]] = {}
    failed: dict[str, str] = {}
    for each in checked:
        if each.path and not each.excluded:
            found.setdefault(each.path, [])
        if each.message:
            failed[each.path] = each.message
        for finding in each.findings:
            found.setdefault(finding.path, []).append(finding)
    for path, findings in found.items():
        yield path, findings, failed.get(path, "")


# -- GitHub ---------------------------------------------------------------------------------------------------------

_COMMANDS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def _github(checked: Iterable[Checked], error_on: Severity) -> Iterator[str]:
    everything = list(checked)
    for each in everything:
        if each.message:
            yield _command("error", each.path, "medimg", each.message)
    findings = [finding for each in everything for finding in each.findings if not finding.fixed]
    for finding in sorted(findings, key=lambda each: SEVERITIES.index(each.severity)):
        title = f"{finding.code} {finding.rule}"
        yield _command(_COMMANDS[finding.severity], finding.path, title, f"{_name(finding)}: {sentence(finding)}")


def _command(command: str, path: str, title: str, message: str) -> str:
    """Write one workflow command; what would end a part of it is percent-encoded, as the runner decodes it."""
    data = escape(message).replace("%", "%25")
    parts = (escape(each).replace("%", "%25").replace(":", "%3A").replace(",", "%2C") for each in (_plain(path), title))
    file, head = parts
    return f"::{command} file={file},title={head}::{data}\n"


# -- SARIF ----------------------------------------------------------------------------------------------------------

_LEVELS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}


def _sarif(checked: Iterable[Checked], error_on: Severity) -> Iterator[str]:
    from medimg_cli import __version__

    everything = list(checked)
    findings = [finding for each in everything for finding in each.findings if not finding.fixed]
    failures = [each for each in everything if each.message]
    codes = sorted({finding.code for finding in findings})
    log = {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "medimg", "version": __version__, "rules": [_sarif_rule(c) for c in codes]}
                },
                "invocations": [_invocation(failures)],
                "results": [_result(finding, codes.index(finding.code)) for finding in findings],
                "columnKind": "unicodeCodePoints",
            }
        ],
    }
    yield json.dumps(log, indent=2) + "\n"


def _sarif_rule(code: str) -> dict[str, Any]:
    rule = RULES[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.says},
        "fullDescription": {"text": rule.why or rule.says},
        "help": {"text": rule.remedy or rule.says},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _invocation(failures: Iterable[Checked]) -> dict[str, Any]:
    notes = [
        {"level": "error", "message": {"text": escape(each.message)}, "locations": [_location(each.path)]}
        for each in failures
    ]
    return {"executionSuccessful": not notes, "toolExecutionNotifications": notes}


def _result(finding: Finding, index: int) -> dict[str, Any]:
    facts = finding.facts()
    kept = {name: facts[name] for name in ("series", "voxel", "world_mm") if facts[name] is not None}
    return {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": sentence(finding)},
        "locations": [_location(finding.path)],
        **({"properties": kept} if kept else {}),
    }


def _location(path: str) -> dict[str, Any]:
    return {"physicalLocation": {"artifactLocation": {"uri": _uri(path)}, "region": {"startLine": 1}}}


def _plain(path: str) -> str:
    """Return a path without the ``./`` of a walk, because servers know files by their place; a URL without secrets."""
    return public_name(path) if is_url(path) else os.path.normpath(path)


def _uri(path: str) -> str:
    """Return a path as a URI, relative where the path is.

    >>> _uri("a b/ü.nii"), _uri("/data/a.nii"), _uri("./a:b.nii"), _uri("https://me:secret@host/a%20b.nii?x=1")
    ('a%20b/%C3%BC.nii', 'file:///data/a.nii', 'a%3Ab.nii', 'https://host/a%20b.nii')
    """
    if is_url(path):
        return quote(_plain(path), safe="/:")
    quoted = quote(os.fsencode(_plain(path)), safe="/")
    return f"file://{quoted}" if path.startswith("/") else quoted


class Form(NamedTuple):
    """One row: how findings are written, and the suffix of files that hold them so.

    Parameters
    ----------
    write : callable
        What came of paths, and the severity from which findings count -> pieces of text.
    suffix : str
    """

    write: Callable[[Iterable[Checked], Severity], Iterator[str]]
    suffix: str


FORMS: Mapping[str, Form] = {
    "json": Form(_array, ".json"),
    "jsonl": Form(_lines, ".jsonl"),
    "junit": Form(_junit, ".xml"),
    "github": Form(_github, ""),
    "sarif": Form(_sarif, ".sarif"),
}
"""Forms for machines, by name; to add one, write its function and give it a row."""

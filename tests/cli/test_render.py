"""What is printed: tables, JSON, CSV, bare values, escapes, colour."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import pytest

from medimg_cli.cli import render
from medimg_cli.cli.render import FORMS, Column, Console, emit, emit_fields, escape, progress, value_text, write
from medimg_cli.errors import UsageError

RECORDS: list[dict[str, Any]] = [
    {"path": "a.nii", "shape": [1, 5, 6, 7], "slope": None, "nested": {"mm": 0.1}, "nan": float("nan")},
    {"path": "b\x1b[31m\n.nii", "shape": [2, 50, 60, 70], "slope": 2.0, "nested": {}, "nan": float("inf")},
]
COLUMNS = (
    Column("SHAPE", lambda record: value_text(record["shape"]), right=True),
    Column("PATH", lambda record: record["path"]),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Käse 日本", "Käse 日本"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("right-to-left \u202e", "right-to-left \\u202e"),
        ("line \u2028", "line \\u2028"),
        ("\udcff", "\\udcff"),
        ("quote' \"\\", "quote' \"\\"),
    ],
)
def test_nothing_that_a_terminal_acts_upon_is_printed(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (2.0, "2"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (-0.0, "0"),
        ("RAS", "RAS"),
        ([1.5, 2.0], "1.5 2"),
        ([[1, 0], [0, 1]], "1 0 0 1"),
        (["one sentence", "another"], "one sentence; another"),
        ({"space": "mm"}, '{"space": "mm"}'),
        ([], ""),
    ],
)
def test_bare_values(value: object, text: str) -> None:
    assert value_text(value) == text


def test_plain_table_is_aligned_and_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    emit("table", RECORDS, columns=COLUMNS, console=Console())
    assert capsys.readouterr().out == (
        "     SHAPE  PATH\n"  #
        "   1 5 6 7  a.nii\n"
        "2 50 60 70  b\\x1b[31m\\n.nii\n"
    )
    assert "rich" not in vars(render)


def test_table_without_titles_has_no_head_and_takes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("", lambda r: r["name"]), Column("", lambda r: r["text"]))
    records = [{"name": "affine", "text": ["1 0", "0 1"]}, {"name": "type", "text": "int16"}]
    emit("table", records, columns=columns, console=Console())
    assert capsys.readouterr().out == "affine  1 0\n        0 1\ntype    int16\n"


def test_empty_forms(capsys: pytest.CaptureFixture[str]) -> None:
    for form, expected in (("table", ""), ("json", "[]\n"), ("jsonl", "")):
        emit(form, [], columns=COLUMNS, console=Console())
        assert capsys.readouterr().out == expected


def test_json_is_an_array_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    emit("json", RECORDS, columns=COLUMNS, console=Console())
    text = capsys.readouterr().out
    assert "\x1b" not in text and text.endswith("\n]\n")
    first, second = json.loads(text)
    assert list(first) == list(RECORDS[0])
    assert first["nan"] is None and second["nan"] is None
    assert second["path"] == RECORDS[1]["path"]


def test_json_lines_come_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    def records() -> Any:
        yield RECORDS[0]
        assert json.loads(capsys.readouterr().out)["path"] == "a.nii"
        yield RECORDS[1]

    emit("jsonl", records(), columns=COLUMNS, console=Console())
    assert json.loads(capsys.readouterr().out)["slope"] == 2.0


def test_csv_has_all_keys_of_all_records(capsys: pytest.CaptureFixture[str]) -> None:
    emit("csv", [*RECORDS, {"path": "c", "error": "is bad, really"}], columns=COLUMNS, console=Console())
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["path", "shape", "slope", "nested", "nan", "error"]
    assert rows[0]["shape"] == "1 5 6 7" and rows[2]["error"] == "is bad, really"


def test_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="choose from table, json, jsonl, csv"):
        emit("xml", [], columns=(), console=Console())
    assert list(FORMS) == ["table", "json", "jsonl", "csv"]


def test_fields_are_bare_and_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"path": "c", "error": "is bad"}
    emit_fields([*RECORDS, failed], ["shape", "slope", "nested.mm"][:2], console=Console())
    assert capsys.readouterr().out == "1 5 6 7\t\n2 50 60 70\t2\n"
    emit_fields(RECORDS[:1], ["nested.mm"], console=Console())
    assert capsys.readouterr().out == "0.1\n"
    with pytest.raises(UsageError, match="no field 'shap'; did you mean shape"):
        emit_fields(RECORDS, ["shap"], console=Console())


@pytest.mark.parametrize("color", ["auto", "never", "always"])
def test_a_table_on_a_terminal_is_whole(monkeypatch: pytest.MonkeyPatch, color: str) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    long = {"path": "folder/" * 20 + "x.nii", "shape": [1, 2, 3, 4]}
    emit("table", [*RECORDS, long], columns=COLUMNS, console=Console(color=color))
    text = stream.getvalue()
    assert ("\x1b[" in text) == (color != "never")
    assert "\x1b[31m" not in text, "the escape in a file name is shown, not obeyed"
    assert len(text.splitlines()) == 4
    assert text.splitlines()[-1] == f"   1 2 3 4  {long['path']}", "nothing is cut or folded"


def test_names_of_a_page_have_colour(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("", lambda r: r["name"]), Column("", lambda r: r["text"]))
    records = [{"name": "affine", "text": ["1 0", "0 1"]}, {"name": "type", "text": "int16"}]
    emit("table", records, columns=columns, console=Console(color="always"))
    lines = ["\x1b[1;36maffine\x1b[0m  1 0", "        0 1", "\x1b[1;36mtype  \x1b[0m  int16"]
    assert capsys.readouterr().out.splitlines() == lines


def test_unknown_letters_do_not_stop_output(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    Console().out("Käse")
    assert raw.getvalue() == b"K\\xe4se\n"


def test_progress_is_drawn_only_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    cases = {"terminal": (True, 3, False), "pipe": (False, 3, False), "one": (True, 1, False), "quiet": (True, 3, True)}
    for name, (terminal, total, quiet) in cases.items():
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        with progress(Console(quiet=quiet), total) as bar:
            bar.advance()
            Console().error("said meanwhile")
        drawn[name] = stream.getvalue()
    assert "1/3" in drawn["terminal"] and "said meanwhile" in drawn["terminal"]
    assert drawn["pipe"] == "medimg: said meanwhile\n"
    assert "1/1" not in drawn["one"] and "1/3" not in drawn["quiet"]


def test_results_stay_out_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "a finding of many words, " * 20
    for results in (io.StringIO(), Terminal()):
        drawn = Terminal()
        monkeypatch.setattr(sys, "stderr", drawn)
        monkeypatch.setattr(sys, "stdout", results)
        with progress(Console(), 3) as bar:
            bar.advance()
            write(sys.stdout, line + "\n")
        to_file = not results.isatty()
        assert results.getvalue() == (line + "\n" if to_file else "")
        assert (line in drawn.getvalue()) != to_file, "above the bar, and whole"

"""``medimg formats`` and ``medimg example``: small commands, true words."""

from __future__ import annotations

import json

import nibabel as nib
import pytest

from medimg_cli.formats import FORMATS

from .conftest import Run


def test_every_row_is_listed_and_fits(medimg: Run) -> None:
    result = medimg("formats")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == len(FORMATS) + 1
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(row.title) for line, row in zip(lines[1:], FORMATS, strict=True))


def test_json_says_what_the_table_of_formats_says(medimg: Run) -> None:
    records = json.loads(medimg("formats", "--format", "json").out)
    assert [record["name"] for record in records] == [row.name for row in FORMATS]
    for record, row in zip(records, FORMATS, strict=True):
        writes = row.writes or bool(row.written_as)
        assert (record["read"], record["write"], record["suffixes"]) == (row.reads, writes, list(row.suffixes))
        assert record["read"] or record["note"], "what cannot be read says why"


def test_what_is_not_installed_is_not_promised(medimg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "h5py" else object())
    lines = medimg("formats").out.splitlines()
    (minc,) = (line for line in lines if line.startswith("MINC 2"))
    assert minc.split()[2:] == ["-", "-", "h5py", "[minc],", "missing", ".mnc"]
    assert max(map(len, lines)) <= 80
    records = json.loads(medimg("formats", "--format", "json").out)
    assert {record["through"] for record in records if not record["installed"]} == {"h5py"}


def test_example_is_an_image(medimg: Run) -> None:
    path = medimg("example").out.rstrip("\n")
    assert nib.load(path).shape == (128, 96, 24, 2)

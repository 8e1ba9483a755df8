"""``medimg formats`` and ``medimg example``: small commands, true words."""

from __future__ import annotations

import json

import nibabel as nib

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
        assert (record["read"], record["write"], record["suffixes"]) == (row.reads, row.writes, list(row.suffixes))
        assert record["read"] or record["note"], "what cannot be read says why"


def test_example_is_an_image(medimg: Run) -> None:
    path = medimg("example").out.rstrip("\n")
    assert nib.load(path).shape == (128, 96, 24, 2)

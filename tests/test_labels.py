"""Label tables: every format gives back what it can hold, and refuses what is no table."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.errors import FormatError, StorageError, UnsupportedError, UsageError
from medimg_cli.labels import FORMATS, Label, LabelTable

part = st.integers(0, 255)
colors = st.none() | st.tuples(part, part, part, part)
text = st.text(max_size=12) | st.text("ab _-\"'#?\t\r\n\\é\x1b\x85\u2028\xa0n/", max_size=8)
plain = st.text("abcXYZ019-_.", min_size=1, max_size=10)


def tables(names: st.SearchStrategy[str], most: int) -> st.SearchStrategy[LabelTable]:
    row = st.builds(Label, st.integers(0, 40) | st.integers(0, most), names, colors, st.just("") | names)
    return st.lists(row, max_size=6, unique_by=lambda label: label.value).map(LabelTable)


any_format = pytest.mark.parametrize("format", FORMATS)

FREESURFER = """\
#$Id: FreeSurferColorLUT.txt,v 1.70 2011/12/12 21:44:34 greve Exp $

#No. Label Name:                            R   G   B   A

0   Unknown                                 0   0   0   0
2   Left-Cerebral-White-Matter              245 245 245 0
17  Left-Hippocampus                        220 216 20  0
# 18 is not here
1002    ctx-lh-caudalanteriorcingulate      125 100 160 55
"""
FREESURFER_PLAIN = "4   Left-Lateral-Ventricle   120 18  134 0\r\n5 Left-Inf-Lat-Vent  196 58 250 0 4\r\n"
ITKSNAP = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "left lung, upper"
    6   255    0  255      0.5  1  0    "Label 6"
"""
SLICER = """\
# Color table file C:/Users/someone/Segmentation-label_ColorTable.ctbl
# 3 values
0 Background 0 0 0 0
1 artery 216 101 79 255
3 connective_tissue 111.4 184 210 127.5
"""
BIDS = "index\tname\tabbreviation\tcolor\tmapping\n100\tGray Matter\tGM\t#FF53bb\t1\n1\tn/a\tn/a\tn/a\t0\n"
MRTRIX_BASIC = '# made by hand\n1 Left-Thalamus\n2\t"Right Thalamus"\n'
MRTRIX = """\
# Lookup table for extracting the relevant grey matter parcellations
0    ???     Unknown                        0    0    0    0
1    L.BSTS  ctx-lh-bankssts               25  100   40  255
"""
JSON = '[{"value": 7, "name": "liver", "color": "#dd8265", "more": 1}, {"value": 8, "color": [1, 2, 3]}]'


@pytest.mark.parametrize(
    ("content", "format", "expected"),
    [
        (
            FREESURFER,
            "freesurfer",
            [
                (0, "Unknown", (0, 0, 0, 255)),
                (2, "Left-Cerebral-White-Matter", (245, 245, 245, 255)),
                (17, "Left-Hippocampus", (220, 216, 20, 255)),
                (1002, "ctx-lh-caudalanteriorcingulate", (125, 100, 160, 200)),
            ],
        ),
        (
            FREESURFER_PLAIN,
            "freesurfer",
            [(4, "Left-Lateral-Ventricle", (120, 18, 134)), (5, "Left-Inf-Lat-Vent", (196, 58, 250))],
        ),
        (
            ITKSNAP,
            "itksnap",
            [
                (0, "Clear Label", (0, 0, 0, 0)),
                (1, "left lung, upper", (255, 0, 0, 255)),
                (6, "Label 6", (255, 0, 255, 128)),
            ],
        ),
        ('1 230 25 75 1 1 1 "VL"', "itksnap", [(1, "VL", (230, 25, 75, 255))]),
        ("1 230 25 75 1 1 1 VL", "itksnap", [(1, "VL", (230, 25, 75, 255))]),
        (
            SLICER,
            "slicer",
            [
                (0, "Background", (0, 0, 0, 0)),
                (1, "artery", (216, 101, 79, 255)),
                (3, "connective_tissue", (111, 184, 210, 128)),
            ],
        ),
        (BIDS, "bids", [(100, "Gray Matter", (255, 83, 187), "GM"), (1, "")]),
        (MRTRIX_BASIC, "mrtrix", [(1, "Left-Thalamus"), (2, "Right Thalamus")]),
        (
            MRTRIX,
            "mrtrix",
            [(0, "Unknown", (0, 0, 0, 0), "???"), (1, "ctx-lh-bankssts", (25, 100, 40), "L.BSTS")],
        ),
        (JSON, "json", [(7, "liver", (221, 130, 101)), (8, "", (1, 2, 3))]),
        ('{"labels": [{"value": 7, "name": "liver"}]}', "json", [(7, "liver")]),
    ],
)
def test_files_as_the_programs_write_them(content: str, format: str, expected: list[tuple[object, ...]]) -> None:
    table = LabelTable(expected)
    assert LabelTable.from_text(content) == table
    assert LabelTable.from_text(content, format) == table
    assert LabelTable.from_text("\ufeff" + content.replace("\n", "\r\n")) == table


@any_format
@given(table=tables(text, 2**16 - 1))
def test_what_comes_back_is_what_fit_says(format: str, table: LabelTable) -> None:
    fitted = table.fit(format)
    content = table.to_text(format)
    assert LabelTable.from_text(content, format) == fitted
    assert LabelTable.from_text(content) == fitted
    assert fitted.fit(format) == fitted and fitted.to_text(format) == content
    assert fitted.values == table.values


@given(table=tables(text, 2**64 - 1))
def test_json_holds_everything(table: LabelTable) -> None:
    assert table.fit("json") == table == LabelTable.from_json(json.loads(json.dumps(table.to_json())))


@given(table=tables(plain, 2**16 - 1))
def test_plain_names_and_colors_come_back_whole(table: LabelTable) -> None:
    bare = LabelTable([(each.value, each.name, each.color or (1, 2, 3, 4)) for each in table])
    for format in ("freesurfer", "itksnap", "slicer", "mrtrix"):
        assert bare.fit(format) == bare
    opaque = LabelTable(
        [(each.value, each.name, each.color and (*each.color[:3], 255), each.abbreviation) for each in table]
    )
    assert opaque.fit("bids") == opaque
    named = LabelTable([(each.value, each.name) for each in table])
    assert named.fit("mrtrix") == named and named.fit("bids") == named


@any_format
def test_files(format: str, tmp_path: Path) -> None:
    table = LabelTable([(1, "liver", (221, 130, 101, 255)), (5, "kidney", (185, 102, 83, 255))])
    path = tmp_path / "größe.txt"
    table.write(path, format)
    assert LabelTable.read(path) == LabelTable.read(str(path), format) == table
    table.write(path, format)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("suffix", "sign"),
    [
        (".ctbl", "# Color table"),
        (".TSV", "index\t"),
        (".json", "["),
        (".label", "####"),
        (".txt", "#No."),
        (".lut", "#No."),
    ],
)
def test_the_suffix_chooses(suffix: str, sign: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    LabelTable([(1, "liver")]).write(path)
    assert path.read_text().startswith(sign)


def test_writing_trouble(tmp_path: Path) -> None:
    table = LabelTable([(70000, "liver")])
    old = tmp_path / "old.label"
    old.write_text("old")
    with pytest.raises(UnsupportedError, match="70000 is beyond 65535"):
        table.write(old)
    assert old.read_text() == "old"
    with pytest.raises(UsageError, match=r"suffix '.xls'.*freesurfer, itksnap"):
        table.write(tmp_path / "a.xls")
    with pytest.raises(UsageError, match="'excel' is unknown"):
        table.write(tmp_path / "a.txt", "excel")
    with pytest.raises(StorageError, match=r"nowhere.a\.txt: No such file"):
        table.write(tmp_path / "nowhere" / "a.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(StorageError):
        table.write(tmp_path / "folder.txt")
    assert sorted(os.listdir(tmp_path)) == ["folder.txt", "old.label"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and permissions")
def test_links_and_permissions_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    target.write_text("[]")
    target.chmod(0o600)
    link.symlink_to(target)
    LabelTable([(1, "liver")]).write(link)
    assert link.is_symlink() and LabelTable.read(target).values == (1,)
    assert target.stat().st_mode & 0o777 == 0o600


# -- the table itself ------------------------------------------------------------------------


@given(table=tables(text, 2**64 - 1))
def test_a_value(table: LabelTable) -> None:
    assert pickle.loads(pickle.dumps(table)) == table and hash(LabelTable(table)) == hash(table)
    assert list(table) == [table[k] for k in range(len(table))] and table[:] == table
    members: list[object] = [*table, *table.values]
    assert all(member in table for member in members)
    assert [table.get(value) for value in table.values] == list(table)
    strangers: tuple[object, ...] = (2**64, "liver", Label(2**64))
    assert not any(stranger in table for stranger in strangers)
    assert table.name_of(2**64, "none") == "none"
    assert eval(repr(table)) == table
    with pytest.raises(AttributeError, match="frozen"):
        table.values = ()  # type: ignore[misc]


def test_from_a_mapping() -> None:
    assert LabelTable({3: "liver"}) == LabelTable([Label(3, "liver")]) != LabelTable()


@given(name=text)
def test_display_is_safe(name: str) -> None:
    shown = Label(1, name).display
    assert shown.isprintable() and (shown == name or not name.isprintable())


def test_control_characters_stay_in_the_data_and_out_of_sight() -> None:
    hostile = "liver\x1b]0;owned\x07\u202e"
    for format in ("itksnap", "bids", "json", "slicer", "freesurfer", "mrtrix"):
        table = LabelTable.from_text(LabelTable([(1, hostile, (1, 2, 3))]).to_text(format))
        assert table[0].name == hostile
        assert table[0].display == "liver\\x1b]0;owned\\x07\\u202e"
        assert "\x1b" not in repr(table)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(-1, "a")], "label value -1 is not a whole number"),
        ([(2**64, "a")], "is not a whole number"),
        ([(1.0, "a")], "is not a whole number"),
        ([(True, "a")], "label value True"),
        ([("1", "a")], "label value '1'"),
        ([(1, 5)], "name of label 1"),
        ([(1, "a" * 4097)], "at most 4096"),
        ([(1, "\ud800")], "Unicode"),
        ([(1, "a", (1, 2))], "color of label 1"),
        ([(1, "a", (1, 2, 256))], "0 to 255"),
        ([(1, "a", (1, 2, -3))], "0 to 255"),
        ([(1, "a", (1, 2, 0.5))], "0 to 255"),
        ([(1, "a", "red")], "'red'"),
        ([(1, "a"), (1, "b")], "label 1 occurs twice"),
    ],
)
def test_wrong_labels(rows: list[tuple[object, ...]], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        LabelTable(rows)


# -- content that is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a label table"),
        ("# nothing but a comment\n", "not a label table"),
        ("hello", "not a label table"),
        ("1 2 3", "not a label table"),
        ("\0\0\0", "NUL"),
        ("1 a 1 2 3 0\n-1 b 1 2 3 0", r"line 2: label value '-1'"),
        ("1 a 1 2 3 0\n99999999999999999999999 b 1 2 3 0", "line 2: label value '9+'"),
        ("9" * 10000 + " a 1 2 3 0", "line 1: label value .{50,60}\\.\\.\\. is not"),
        ("1 a 1 2 300 0", "line 1: color '300'"),
        ("1 a 1 2 -3 0", "line 1: color '-3'"),
        ("1 a 1 2 3.5 0", "line 1: color '3.5'"),
        ("1 a 1 2 \uff13 0", "line 1: color"),
        ("1 a 1 2 3 0\n2 b 1", "line 2: 3 columns"),
        ("1 a 1 2 3 0\n1 b 1 2 3 0", "line 2: label 1 occurs again"),
        ("1 \x1b[31m 1 2 x\x1b 0", r"color 'x\\x1b'"),
        ("# Color table file\n1 a 1 2 nan 4", "'nan'"),
        ("# Color table file\n1 a 1 2 1e999 4", "'1e999'"),
        ("# Color table file\n1 a 1 2", "line 2: 4 columns"),
        ('# ITK-SnAP Label Description File\n1 2 3 4 1.5 1 1 "a"', "line 2: transparency '1.5'"),
        ('# ITK-SnAP Label Description File\n1 2 3 4 "a"', "line 2: 4 columns"),
        ("index\tname\n1\ta\tb", "line 2: 3 columns, the first line has 2"),
        ("index\tname\n1.5\ta", "line 2: index '1.5'"),
        ("index\tname\tcolor\n1\ta\tred", "line 2: color 'red'"),
        ("index\tname\tcolor\n1\ta\t#12 456", "line 2: color"),
        ("1 a\n2 b c", "line 2: 3 columns"),
        ("[", "not valid JSON"),
        ("[" * 100000, "not valid JSON"),
        ("{}", "JSON dict, expected a list"),
        ("[1]", "entry 1 of the label table is 1"),
        ('[{"name": "a"}]', "entry 1"),
        ('[{"value": -5}]', "label value -5"),
        ('[{"value": 1e400}]', "label value inf"),
        ('[{"value": ' + "9" * 5000 + "}]", "not valid JSON"),
        ('[{"value": 1, "name": null}]', "name of label 1"),
        ('[{"value": 1, "name": "\\ud800"}]', "Unicode"),
        ('[{"value": 1, "color": "red"}]', "entry 1: color 'red'"),
    ],
)
def test_bad_content(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        LabelTable.from_text(content)
    shown = str(caught.value)
    assert shown.isprintable() and len(shown) < 300
    path = tmp_path / "table"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(FormatError, match="table: "):
        LabelTable.read(path)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    with pytest.raises(StorageError, match=r"table\.txt: No such file"):
        LabelTable.read(path)
    with pytest.raises(StorageError):
        LabelTable.read(tmp_path)
    path.write_bytes(b"1 a\xff 1 2 3 0")
    with pytest.raises(FormatError, match="UTF-8"):
        LabelTable.read(path)
    with open(path, "wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(FormatError, match="16 MiB"):
        LabelTable.read(path)


@given(content=st.binary(max_size=60) | text.map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    shown = []
    for format in (None, *FORMATS):
        try:
            LabelTable.from_text(content.decode(errors="replace"), format)
        except FormatError as error:
            shown.append(str(error))
    assert "".join(shown).isprintable()


def test_repeated_rows_that_agree_are_one() -> None:
    assert LabelTable.from_text("1 a 1 2 3 0\n1 a 1 2 3 0").values == (1,)


def test_colors_that_are_asked_for_are_made_up_alike() -> None:
    table = LabelTable([(value, "a") for value in range(60)]).fit("slicer")
    assert len({label.color for label in table}) == 60
    assert table[0].color == (0, 0, 0, 0)

"""The baseline of checks: what it knows, what it tells of itself, and files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg_cli.checks.baseline import SCHEMA, Baseline, Entry
from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Config, Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.rule import Finding
from medimg_cli.errors import MedImgError, StorageError, UsageError
from tests.checks.planted_expecting import write


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finding(message: str = "sform and qform are 7.2 mm apart", path: str = "a.nii", **more: Any) -> Finding:
    return Finding(
        **{"code": "H001", "rule": "forms-disagree", "severity": "warning", "path": path} | more, message=message
    )


@pytest.fixture
def config() -> Config:
    return load_config(Wishes(isolated=True))


def known(*findings: Finding, path: str = "known.json") -> Baseline:
    """Return a baseline that was written and read again."""
    Baseline(path).updated(findings, {each.path for each in findings}, load_config(Wishes(isolated=True))).write()
    return Baseline.read(path)


SAME = [
    ("sform and qform are 7.2 mm apart", "sform and qform are 7.3 mm apart"),
    ("spacing is 1 x 1 x 3 mm", "spacing is 1 x 1 x 3.0001 mm"),
    ("at -12.5e-3", "at -12.4e-3"),
    ("3 labels of 10 voxels", "3 labels of 10 voxels"),
    ("dtype is int16, version 1.2.840.113", "dtype is int16, version 1.2.840.113"),
    ("holds the same values as ./a/b/c 1.nii @2", "holds the same values as /data/a/b/c 1.nii @2"),
]
NEW = [
    ("sform and qform are 7.2 mm apart", "sform and qform are 9.2 mm apart"),
    ("sform and qform are 7.2 mm apart", "sform and qform are -7.2 mm apart"),
    ("3 labels", "4 labels"),
    ("1000000 values are NaN", "1000001 values are NaN"),
    ("labels 7, 9", "labels 7, 9, 11"),
    ("dtype is int16", "dtype is int32"),
    ("series 1.2.840.113", "series 1.2.840.114"),
    ("1 mm", "1 voxels"),
    ("holds the same values as a/b.nii", "holds the same values as a/c.nii"),
    ("the unit is 1 rad/s", "the unit is 1 s"),
]


@pytest.mark.parametrize(("then", "now"), SAME)
def test_numbers_may_change_a_little(then: str, now: str) -> None:
    assert known(finding(then)).knows(finding(now))


@pytest.mark.parametrize(("then", "now"), NEW)
def test_more_makes_it_another_finding(then: str, now: str) -> None:
    assert not known(finding(then)).knows(finding(now))


@pytest.mark.parametrize("change", [{"path": "b.nii"}, {"path": "sub/a.nii"}, {"series": 1}, {"code": "H002"}])
def test_where_and_what_must_be_the_same(change: dict[str, Any]) -> None:
    assert not known(finding()).knows(finding(**change))


@pytest.mark.parametrize("change", [{"severity": "error"}, {"rule": "other"}, {"voxel": (1, 2, 3)}, {"fixable": True}])
def test_the_rest_may_change(change: dict[str, Any]) -> None:
    assert known(finding()).knows(finding(**change))


def test_each_entry_knows_as_many_as_it_counts() -> None:
    baseline = known(finding(), finding(), finding("sform and qform are 7.25 mm apart"))
    assert [entry.times for entry in baseline.entries] == [2, 1]
    asked = [baseline.knows(finding(f"sform and qform are {mm} mm apart")) for mm in (7.25, 7.2, 7.2, 7.2)]
    assert asked == [True, True, True, False]


def test_the_file_is_sorted_and_stable(folder: Path) -> None:
    findings = [
        finding(path=path, series=series, code=code) for path in "cab" for series in (2, 1) for code in ("V1", "H1")
    ]
    known(*findings)
    first = (folder / "known.json").read_bytes()
    known(*reversed(findings))
    assert (folder / "known.json").read_bytes() == first
    data = json.loads(first)
    assert data["schema"] == SCHEMA
    places = [(row["path"], row["series"], row["code"]) for row in data["findings"]]
    assert places == sorted(places)
    assert len(first.splitlines()) == len(findings) + 5
    known()
    assert json.loads((folder / "known.json").read_bytes())["findings"] == []


def test_paths_count_from_the_folder_of_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ci").mkdir()
    paths = ["data/a.nii", "./data//b.nii", str(folder / "ci" / "c.nii"), "-", "https://host/d.nii", "e\udcff\n.nii"]
    known(*(finding(path=path) for path in paths), path="ci/known.json")
    text = (folder / "ci" / "known.json").read_text(encoding="ascii")
    assert str(folder) not in text
    assert '"../data/a.nii"' in text and '"../data/b.nii"' in text and '"c.nii"' in text
    monkeypatch.chdir(folder / "ci")
    again = Baseline.read("known.json")
    names = ["../data/a.nii", str(folder / "data" / "b.nii"), "c.nii", "-", "https://host/d.nii", "../e\udcff\n.nii"]
    assert all(again.knows(finding(path=path)) for path in names)


def test_no_secret_of_a_url_is_kept(folder: Path) -> None:
    entries = known(finding(path="https://me:secret@host/a.nii?signature=1"))
    assert [entry.path for entry in entries.entries] == ["https://host/a.nii"]
    assert entries.knows(finding(path="https://host/a.nii?signature=2"))


def test_what_is_outdated(folder: Path, config: Config) -> None:
    for name in "abc":
        (folder / name).touch()
    findings = [finding(path="a"), finding("wrong", path="a"), finding(path="b"), finding(path="gone")]
    baseline = known(*findings)
    assert baseline.knows(findings[0])
    assert [entry.message for entry in baseline.outdated(["a"], config) if entry.path == "a"] == ["wrong"]
    assert {entry.path for entry in baseline.outdated(["a"], config)} == {"a", "gone"}
    assert {entry.path for entry in baseline.outdated(["a", "b", "c"], config)} == {"a", "b", "gone"}
    others = load_config(Wishes(isolated=True, ignore=("H001",)))
    assert {entry.path for entry in baseline.outdated(["a", "b"], others)} == {"gone"}


def test_a_set_is_a_place_of_its_own(config: Config) -> None:
    baseline = known(finding(path="", code="S106"))
    assert baseline.outdated(["a"], config) == ()
    assert len(baseline.outdated(["a", ""], config)) == 1


def test_an_update_keeps_what_it_did_not_look_at(folder: Path, config: Config) -> None:
    for name in "ab":
        (folder / name).touch()
    before = known(finding(path="a"), finding("old", path="a"), finding(path="b"), finding(path="gone"))
    before.updated([finding("new", path="a"), finding("mended", path="a", fixed=True)], ["a"], config).write()
    assert [(entry.path, entry.message) for entry in Baseline.read("known.json").entries] == [
        ("a", "new"),
        ("b", finding().message),
    ]
    others = load_config(Wishes(isolated=True, select=("V",)))
    again = Baseline.read("known.json").updated([], ["a", "b"], others)
    assert len(again.entries) == 2


def test_an_update_of_the_same_changes_nothing(folder: Path, config: Config) -> None:
    (folder / "a").touch()
    findings = [finding(path="a"), finding(path="a"), finding("other", path="a")]
    first = known(*findings)
    for looked in (["a"], []):
        assert first.updated(findings, looked, config).entries == first.entries


def test_a_real_run_knows_itself(folder: Path) -> None:
    write("a.nii")(folder)
    config = load_config(Wishes(isolated=True, select=("E",), expect=("spacing <= 1.0", "max <= 3")))
    found = [each for checked in check_paths(["."], Checking(config=config)) for each in checked.findings]
    assert {each.code for each in found} == {"E001", "E002"}
    baseline = known(*found)
    again = [each for checked in check_paths(["a.nii"], Checking(config=config)) for each in checked.findings]
    assert all(baseline.knows(each) for each in again)
    assert baseline.outdated(["a.nii"], config) == ()


# -- files that are none


ODD: list[dict[str, Any]] = [
    *({"path": path} for path in (3, None, "a\0")),
    *({"code": []}, {"message": {}}),
    *({"count": count} for count in (0, -1, True, 1.5, 10**100)),
    *({"series": series} for series in ("1", -1)),
]


def with_row(row: dict[str, Any]) -> bytes:
    """Return a baseline with one entry, parts of which are replaced."""
    entry = {"path": "a", "code": "H1", "message": "m"} | row
    return json.dumps({"schema": SCHEMA, "findings": [entry]}).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no JSON"),
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"9" * 10_000, "is no JSON"),
        (b"[]", "is no baseline of medimg"),
        (b"3", "is no baseline of medimg"),
        (b'{"findings": {}}', "is no baseline of medimg"),
        (b'{"findings": []}', "its schema is not"),
        (b'{"schema": "medimg.baseline/2", "findings": []}', "its schema is not"),
        *((with_row(row), "entry 1 makes no sense") for row in ODD),
        (json.dumps({"schema": SCHEMA, "findings": [3]}).encode(), "entry 1 makes no sense"),
    ],
)
def test_a_file_that_is_no_baseline(folder: Path, content: bytes, says: str) -> None:
    (folder / "known.json").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Baseline.read("known.json")
    assert str(caught.value).startswith("known.json: ")
    assert says in str(caught.value)
    assert str(caught.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "series", "code", "message", "count"]), inner)
    ),
)


@given(JSON)
def test_any_entry_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, row: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"schema": SCHEMA, "findings": [row, row]}))
    try:
        baseline = Baseline.read(str(path))
    except UsageError:
        return
    assert not baseline.knows(finding())


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, path: str, message: str, times: int) -> None:
    name = str(tmp_path_factory.getbasetemp() / "written.json")
    entry = Entry(path.replace("\0", ""), None, "H001", message.replace("\0", ""), times)
    Baseline(name, [entry]).write()
    assert Baseline.read(name).entries == (entry,)


def test_a_file_that_is_missing(folder: Path) -> None:
    with pytest.raises(UsageError, match="known.json: does not exist; --update-baseline writes it"):
        Baseline.read("known.json")
    assert Baseline.read("known.json", may_be_missing=True).entries == ()
    with pytest.raises(UsageError, match="is no file"):
        Baseline.read(str(folder), may_be_missing=True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o555)
    with pytest.raises(StorageError):
        Baseline("locked/known.json").write()


def test_a_write_that_fails_keeps_the_file(folder: Path) -> None:
    known(finding())
    before = (folder / "known.json").read_bytes()
    with pytest.raises(MedImgError):
        Baseline("missing/known.json").write()
    Baseline("known.json", [Entry("a\ud800", None, "H001", "m")]).write()
    assert Baseline.read("known.json").entries[0].path == "a\ud800"
    assert (folder / "known.json").read_bytes() != before
    assert [path.name for path in folder.iterdir()] == ["known.json"]

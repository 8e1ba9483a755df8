"""Manifests: what is written, what is believed of what is read, and what verifying finds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.digesting import Hashing, hash_images
from medimg_cli.errors import FormatError, MedImgError, NotFoundError, StorageError, UsageError
from medimg_cli.hashing import hash_image
from medimg_cli.manifests import places, read_manifest, verify_manifest, write_manifest

from .helpers import AFFINES, one_line, voxels

Record = dict[str, Any]


def save(path: Path, seed: int = 0, dtype: str = "int16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mi.Image(voxels((1, 5, 4, 3), dtype, seed), affine=AFFINES["left-handed"]).save(path)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of images, one of them a series of DICOM, another a folder of two series."""
    folder = tmp_path / "study"
    save(folder / "b.nii.gz", 1)
    save(folder / "sub" / "a.nrrd", 2, "float32")
    save(folder / "sub" / "\u00e4 b.mha", 3)
    save(folder / "a.nii", 4)
    (folder / "two").mkdir()
    for number in (1, 2):
        array = np.arange(60 * number, dtype="int16").reshape(1, 5, 4, 3 * number)
        mi.Image(array, affine=AFFINES["straight"]).save_dicom(tmp_path / "one", metadata={"SeriesNumber": number})
        for file in sorted((tmp_path / "one").iterdir()):
            file.rename(folder / "two" / f"{number}-{file.name}")
        (tmp_path / "one").rmdir()
    monkeypatch.chdir(tmp_path)
    return folder


def write(path: str, *paths: str, force: bool = False, **how: Any) -> list[Record]:
    wanted = Hashing(**how)
    listings = hash_images(places(path, paths), wanted, recursive=True)
    records = (record for listing in listings for record in listing.records)
    return [dict(each) for each in write_manifest(path, records, canonical=wanted.canonical, force=force)]


def verify(path: str, *paths: str, jobs: int = 1) -> list[Record]:
    manifest = read_manifest(path)
    wanted = Hashing(canonical=manifest.canonical, jobs=jobs)
    return [
        dict(record) for listing in verify_manifest(manifest, places(path, paths), wanted) for record in listing.records
    ]


def found(records: list[Record]) -> dict[str, Any]:
    """Return what is not the same, by path."""
    told = {}
    for record in records:
        if "error" in record:
            told[record["path"]] = "failed"
        elif record["status"] != "same":
            told[record["path"]] = " ".join([record["status"], *record["changed"]])
    return told


# -- writing --------------------------------------------------------------------------------------------------------


def test_a_manifest_is_sorted_text(study: Path) -> None:
    write("study/m.jsonl")
    lines = [json.loads(line) for line in Path("study/m.jsonl").read_text(encoding="ascii").splitlines()]
    assert lines[0] == {"schema": "medimg.manifest/1", "canonical": False}
    assert [line["path"] for line in lines[1:]] == ["a.nii", "b.nii.gz", "sub/a.nrrd", "sub/\u00e4 b.mha", "two", "two"]
    assert [line["series"]["number"] for line in lines[5:]] == [1, 2]
    line = lines[3]
    assert list(line) == [
        *("path", "hash", "voxels_hash", "geometry"),
        *("shape", "spacing_mm", "orientation", "dtype", "format"),
    ]
    assert line["hash"] == hash_image(study / "sub" / "a.nrrd")
    assert line["voxels_hash"] == hash_image(study / "sub" / "a.nrrd", geometry=False)
    assert line["shape"] == [1, 5, 4, 3] and line["spacing_mm"] == [0.9, 1.25, 3.0]
    assert (line["orientation"], line["dtype"], line["format"]) == ("LAS", "float32", "nrrd")


def test_the_same_bytes_wherever_one_stands_and_however_many_work(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("study/m.jsonl")
    content = Path("study/m.jsonl").read_bytes()
    write("study/m.jsonl", "study/two", "study/sub", "study/b.nii.gz", "study/a.nii", "study/a.nii", force=True, jobs=2)
    assert Path("study/m.jsonl").read_bytes() == content
    monkeypatch.chdir(study / "sub")
    write("../m.jsonl", force=True)
    assert Path("../m.jsonl").read_bytes() == content
    monkeypatch.chdir(study)
    write("m.jsonl", force=True)
    assert Path("m.jsonl").read_bytes() == content
    write(str(study / "m.jsonl"), str(study / "sub"), ".", force=True)
    assert Path("m.jsonl").read_bytes() == content


def test_canonical_manifests_are_of_turned_images(study: Path) -> None:
    write("study/m.jsonl", canonical=True)
    for name in ("a.nii", "sub/a.nrrd"):
        mi.Image(study / name).reorient("PSL").save(study / name)
    assert read_manifest("study/m.jsonl").canonical
    assert found(verify("study/m.jsonl")) == {}
    assert {line["orientation"] for line in read_manifest("study/m.jsonl").images.values()} == {"RAS"}


@pytest.mark.parametrize(
    ("path", "words", "error"),
    [
        ("study/m.nii", [], UsageError),
        ("study/m.json", [], UsageError),
        ("study/sub/m.jsonl", ["study/a.nii"], UsageError),
        ("study/sub/m.jsonl", ["study/sub", "study"], UsageError),
        ("study/m.jsonl", ["-"], UsageError),
        ("study/m.jsonl", ["https://example.org/a.nii"], UsageError),
        ("study/m.jsonl", ["study/../other.nii"], UsageError),
        ("study/m.jsonl", ["study/none.nii"], UsageError),
        ("none/m.jsonl", ["none"], MedImgError),
        ("study/old.jsonl", [], StorageError),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    study: Path, path: str, words: list[str], error: type[Exception]
) -> None:
    (study / "old.jsonl").write_text("precious")
    before = sorted(study.rglob("*"))
    with pytest.raises(error) as caught:
        write(path, *words)
    assert one_line(caught.value)
    assert sorted(study.rglob("*")) == before and (study / "old.jsonl").read_text() == "precious"


def test_an_old_manifest_is_not_replaced_by_an_empty_one(study: Path) -> None:
    write("study/m.jsonl")
    content = Path("study/m.jsonl").read_bytes()
    (study / "broken").mkdir()
    (study / "broken" / "a.nii").write_bytes(b"\x5c\x01")
    with pytest.raises(UsageError, match="no image could be read"):
        write("study/m.jsonl", "study/broken", force=True)
    assert Path("study/m.jsonl").read_bytes() == content
    assert len(write("study/m.jsonl", force=True)) == 6  # the others


def test_images_are_not_looked_at_before_the_manifest_can_be_written(study: Path) -> None:
    (study / "m.jsonl").write_text("old")

    def never() -> Any:
        raise AssertionError
        yield

    with pytest.raises(StorageError, match="already exists"):
        write_manifest("study/m.jsonl", never())


# -- reading --------------------------------------------------------------------------------------------------------


def _changed(name: str, value: Any) -> Callable[[Record], None]:
    return lambda line: line.__setitem__(name, value)


LINES: dict[str, tuple[Callable[[Record], Any], str]] = {
    "up": (_changed("path", "../a.nii"), "leads out"),
    "up inside": (_changed("path", "sub/../../a.nii"), "no plain relative path"),
    "only up": (_changed("path", ".."), "leads out"),
    "absolute": (_changed("path", "/etc/passwd"), "leads out"),
    "url": (_changed("path", "https://example.org/a.nii"), "no plain relative path"),
    "chain": (_changed("path", "simplecache::https://example.org/a.nii"), "no plain relative path"),
    "null": (_changed("path", "a\0b"), "no plain relative path"),
    "empty": (_changed("path", ""), "no plain relative path"),
    "dot": (_changed("path", "./a.nii"), "no plain relative path"),
    "number": (_changed("path", 5), "no plain relative path"),
    "none": (lambda line: line.pop("path"), "no plain relative path"),
    "twice": (_changed("path", "b.nii.gz"), "there twice"),
    "hash": (_changed("hash", "medimg1:" + "0" * 64), "does not fit"),
    "plain": (_changed("hash", "0" * 64), "does not fit"),
    "voxels": (_changed("voxels_hash", "medimg1-voxels:" + "0" * 64), "does not fit"),
    "voxels of nothing": (_changed("voxels_hash", None), "does not fit"),
    "letters": (_changed("voxels_hash", "medimg1-voxels:" + "g" * 64), "does not fit"),
    "geometry": (lambda line: line["geometry"].__setitem__(2, 0), "does not fit"),
    "no geometry": (lambda line: line.pop("geometry"), "13 integers"),
    "short": (lambda line: line["geometry"].pop(), "13 integers"),
    "floats": (lambda line: line["geometry"].__setitem__(2, 0.5), "13 integers"),
    "scale": (lambda line: line["geometry"].__setitem__(0, 0), "13 integers"),
    "series": (_changed("series", "uid"), "series"),
    "uid": (_changed("series", {"uid": ["x"]}), "series"),
    "shape": (_changed("shape", [[[]]]), "shape"),
    "spacing": (_changed("spacing_mm", None), "spacing_mm"),
    "dtype": (_changed("dtype", {"a": 1}), "dtype"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_is_not_believed(study: Path, name: str) -> None:
    write("study/m.jsonl")
    change, told = LINES[name]
    lines = Path("study/m.jsonl").read_text().splitlines()
    line = json.loads(lines[1])
    change(line)
    lines[1] = json.dumps(line)
    (study / "m.jsonl").write_text("\n".join(lines))
    with pytest.raises(FormatError, match=rf"m\.jsonl: line {3 if name == 'twice' else 2}: .*{told}") as caught:
        read_manifest("study/m.jsonl")
    assert one_line(caught.value)


FILES = {
    "empty": b"",
    "text": b"this is no manifest\n",
    "binary": bytes(range(256)) * 40,
    "zeros": b"\0" * 100_000,
    "one long line": b"[" * 1_000_000,
    "other json": b'{"schema": "medimg.info/1"}\n',
    "a list": b"[1, 2]\n",
    "deep": b'{"schema":' + b"[" * 50_000 + b"\n",
    "newer": b'{"schema": "medimg.manifest/2", "canonical": false}\n',
    "not said": b'{"schema": "medimg.manifest/1"}\n',
    "not bool": b'{"schema": "medimg.manifest/1", "canonical": 1}\n',
    "conflict": b'{"schema": "medimg.manifest/1", "canonical": false}\n<<<<<<< HEAD\n',
    "long": b'{"schema": "medimg.manifest/1", "canonical": false}\n' + b'{"path": "' + b"a" * 1_000_000 + b'"}\n',
    "digits": b'{"schema": "medimg.manifest/1", "canonical": false}\n{"path": ' + b"9" * 50_000 + b"}\n",
    "utf": b'{"schema": "medimg.manifest/1", "canonical": false}\n{"path": "\xff\xfe"}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_manifest_gets_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.jsonl").write_bytes(FILES[name])
    with pytest.raises(FormatError) as caught:
        read_manifest(str(tmp_path / "m.jsonl"))
    assert one_line(caught.value) and len(str(caught.value)) < 400


def test_manifests_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_manifest(str(tmp_path / "none.jsonl"))
    os.mkfifo(tmp_path / "pipe.jsonl")
    for name in ("pipe.jsonl", "."):
        with pytest.raises(StorageError, match="no regular file"):
            read_manifest(str(tmp_path / name))
    with open(tmp_path / "huge.jsonl", "wb") as file:
        file.truncate(1 << 34)
    with pytest.raises(FormatError, match="no manifest is"):
        read_manifest(str(tmp_path / "huge.jsonl"))


def test_lines_may_end_as_on_windows(study: Path) -> None:
    write("study/m.jsonl")
    content = (study / "m.jsonl").read_bytes()
    (study / "m.jsonl").write_bytes(content.replace(b"\n", b"\r\n") + b"\r\n")
    assert found(verify("study/m.jsonl")) == {}


# -- verifying ------------------------------------------------------------------------------------------------------


def test_nothing_has_changed(study: Path) -> None:
    write("study/m.jsonl")
    records = verify("study/m.jsonl")
    assert [record["status"] for record in records] == ["same"] * 6
    assert records == verify("study/m.jsonl", jobs=2)
    shutil.move("study", "elsewhere")
    assert found(verify("elsewhere/m.jsonl")) == {}


def test_what_has_changed_is_told_apart(study: Path) -> None:
    write("study/m.jsonl")
    mi.Image(study / "a.nii").cast("int32").save(study / "a.nii")
    moved = mi.Image(study / "b.nii.gz")
    x, y, z = moved.origin
    moved.load()
    moved.origin = (x, y + 0.3, z - 0.4)
    moved.save(study / "b.nii.gz")
    changed = mi.Image(study / "sub" / "a.nrrd")
    values = changed.numpy()
    values[0, 1, 1, 1] = 7.5
    changed.save(study / "sub" / "a.nrrd")
    (study / "sub" / "\u00e4 b.mha").unlink()
    save(study / "sub" / "new.nii")
    for file in (study / "two").glob("2-*"):
        file.unlink()
    records = verify("study/m.jsonl")
    assert [(record["path"].removeprefix("study/"), record["status"], record["changed"]) for record in records] == [
        ("a.nii", "changed", ["header"]),
        ("b.nii.gz", "changed", ["geometry"]),
        ("sub/a.nrrd", "changed", ["voxels"]),
        ("sub/new.nii", "new", []),
        ("sub/\u00e4 b.mha", "missing", []),
        ("two", "same", []),
        ("two", "missing", []),
    ]
    assert records[0]["differences"] == [{"fact": "dtype", "before": "int16", "after": "int32"}]
    assert records[1]["shift_mm"] == pytest.approx(0.5, abs=0.06)
    assert records[6]["series"]["number"] == 2


def test_all_that_changes_at_once_is_said(study: Path) -> None:
    write("study/m.jsonl")
    mi.Image(study / "a.nii")[:, :, ::2].cast("float32").save(study / "a.nii")
    (record,) = verify("study/m.jsonl", "study/a.nii")
    assert record["changed"] == ["voxels", "geometry"]
    assert [each["fact"] for each in record["differences"]] == ["shape", "spacing_mm", "dtype"]


def test_paths_restrict_what_is_looked_at(study: Path) -> None:
    write("study/m.jsonl")
    (study / "a.nii").unlink()
    shutil.rmtree(study / "two")
    assert found(verify("study/m.jsonl", "study/sub", "study/b.nii.gz")) == {}
    assert len(verify("study/m.jsonl", "study/sub", "study/sub/a.nrrd")) == 2
    assert found(verify("study/m.jsonl", "study/a.nii")) == {"study/a.nii": "missing"}
    assert [record["status"] for record in verify("study/m.jsonl", "study/two")] == ["missing"] * 2
    assert found(verify("study/m.jsonl", "study/none.nii")) == {"study/none.nii": "failed"}
    save(study / "new.nii")
    assert found(verify("study/m.jsonl", "study/new.nii")) == {"study/new.nii": "new"}
    with pytest.raises(UsageError, match="outside the folder"):
        verify("study/m.jsonl", "study/..")


def test_images_that_cannot_be_read_fail_and_no_other_does(study: Path) -> None:
    write("study/m.jsonl")
    content = (study / "b.nii.gz").read_bytes()
    (study / "b.nii.gz").write_bytes(content[:-9])
    (study / "a.nii").unlink()
    os.mkfifo(study / "a.nii")
    told = found(verify("study/m.jsonl"))
    assert told == {"study/b.nii.gz": "failed", "study/a.nii": "failed"}
    (study / "two" / sorted(os.listdir(study / "two"))[0]).write_bytes(b"")
    assert "study/two" in found(verify("study/m.jsonl"))


def test_a_folder_that_may_not_be_read_fails(study: Path) -> None:
    """Its images are not silently left out, and none of them is missing."""
    write("study/m.jsonl")
    os.chmod("study/sub", 0)
    try:
        if os.access("study/sub", os.R_OK):
            pytest.skip("who runs this may read every folder")
        assert found(verify("study/m.jsonl")) == dict.fromkeys(
            ["study/sub", "study/sub/a.nrrd", "study/sub/\u00e4 b.mha"], "failed"
        )
        listings = list(hash_images(["study"], Hashing(), recursive=True))
        assert [listing.path for listing in listings if listing.message] == ["study/sub"]
    finally:
        os.chmod("study/sub", 0o755)


def test_an_empty_folder_misses_everything(study: Path) -> None:
    write("study/m.jsonl")
    for path in study.iterdir():
        if path.name != "m.jsonl":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [record["status"] for record in verify("study/m.jsonl")] == ["missing"] * 6


def test_series_that_is_added_is_new(study: Path) -> None:
    for file in (study / "two").glob("2-*"):
        file.rename(study / file.name)
    write("study/m.jsonl", "study/two")
    for file in study.glob("2-*"):
        file.rename(study / "two" / file.name)
    records = verify("study/m.jsonl", "study/two")
    assert [record["status"] for record in records] == ["same", "new"]


def test_files_of_a_series_may_be_listed_one_by_one(study: Path) -> None:
    files = sorted(f"study/two/{name}" for name in os.listdir(study / "two"))
    write("study/m.jsonl", *files)
    assert found(verify("study/m.jsonl", "study/two")) == {}
    shutil.copy(files[0], "study/two/another")
    assert found(verify("study/m.jsonl", "study/two")) == {"study/two/another": "new"}


def test_a_series_beside_images_that_are_listed_is_new(study: Path) -> None:
    os.rename("study/two", "two")
    write("study/m.jsonl")
    for file in sorted(Path("two").iterdir()):
        shutil.copy(file, study)
    assert found(verify("study/m.jsonl")) == {"study": "new"}


def test_files_above_a_series_that_is_listed_are_new(study: Path) -> None:
    write("study/m.jsonl")
    first = sorted(os.listdir(study / "two"))[0]
    shutil.copy(study / "two" / first, study / "above.dcm")
    (study / ".trash").mkdir()
    shutil.copy(study / "two" / first, study / ".trash" / "hidden.dcm")
    assert found(verify("study/m.jsonl")) == {"study/above.dcm": "new"}


def test_strange_names(study: Path) -> None:
    for name in (b"caf\xe9.nii", b"- .nii", b"line\nbreak.nii", b"\xe2\x80\xae.nii", b'"quote\\.nii'):
        save(study / "plain.nii")
        os.rename(study / "plain.nii", os.path.join(os.fsencode(study), name))
    write("study/m.jsonl")
    Path("study/m.jsonl").read_bytes().decode("ascii")
    assert found(verify("study/m.jsonl")) == {}
    assert len(verify("study/m.jsonl")) == 11


def test_a_file_called_dash_is_no_stream(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    shutil.copy("a.nii", "-")
    write("m.jsonl", "./-", "a.nii")
    assert [record["status"] for record in verify("m.jsonl", "./-")] == ["same"]

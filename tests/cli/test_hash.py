"""``medimg hash``: lines as sha256sum's, records, manifests, exit codes, and what happens to what cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from tests.helpers import AFFINES, contents, voxels

from .conftest import ROOT, Run, environment

jsonschema = pytest.importorskip("jsonschema")


def _schema(name: str) -> Any:
    return json.loads((ROOT / "medimg_cli" / "schemas" / f"{name}-1.json").read_text(encoding="utf-8"))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an image in several files, one of it turned, another image, a series of DICOM, and text."""
    monkeypatch.chdir(tmp_path)
    image = mi.Image(voxels((1, 5, 4, 3), "int16"), affine=AFFINES["left-handed"])
    for name in ("a.nii.gz", "a.nrrd", "a.mgz"):
        image.save(name)
    image.reorient("SAL").save("turned.nii")
    image[:, 1:].save("other.nii")
    mi.Image(np.arange(60, dtype="int16").reshape(1, 5, 4, 3), affine=AFFINES["straight"]).save_dicom("dicom")
    Path("text.nii").write_text("this is no image at all")
    return tmp_path


def lines(result: Any) -> dict[str, str]:
    """Return hash by path."""
    return {path: digest for digest, path in (line.split("  ") for line in result.out.splitlines())}


# -- hashes ---------------------------------------------------------------------------------------------------------


def test_a_line_an_image(medimg: Run, images: Path) -> None:
    result = medimg("hash", "a.nii.gz", "a.nrrd", "a.mgz", "turned.nii", "other.nii", "dicom")
    assert result.code == 0 and result.err == ""
    found = lines(result)
    assert found["a.nii.gz"] == mi.hash_image("a.nii.gz") and found["a.nii.gz"].startswith("medimg1:")
    assert found["a.nii.gz"] == found["a.nrrd"] == found["a.mgz"]
    assert len({found[name] for name in ("a.nii.gz", "turned.nii", "other.nii", "dicom")}) == 4


@pytest.mark.parametrize(
    ("options", "prefix", "same"),
    [
        (["--canonical"], "medimg1-canonical:", {"a.nii.gz", "a.nrrd", "turned.nii"}),
        (["--voxels"], "medimg1-voxels:", {"a.nii.gz", "a.nrrd"}),
        (["--voxels", "--canonical"], "medimg1-canonical-voxels:", {"a.nii.gz", "a.nrrd", "turned.nii"}),
    ],
)
def test_what_a_hash_is_of(medimg: Run, images: Path, options: list[str], prefix: str, same: set[str]) -> None:
    found = lines(medimg("hash", *options, "a.nii.gz", "a.nrrd", "turned.nii", "other.nii"))
    assert all(digest.startswith(prefix) for digest in found.values())
    assert {name for name, digest in found.items() if digest == found["a.nii.gz"]} == same


def test_records(medimg: Run, images: Path) -> None:
    result = medimg("hash", "--json", "a.nrrd", "dicom", "text.nii")
    records = json.loads(result.out)
    jsonschema.validate(records, _schema("hash"))
    assert result.code == 2 and len(records) == 3 and result.err.count("\n") == 1
    assert records[0]["hash"] == mi.hash_image("a.nrrd") and records[0]["series"] is None
    assert records[0]["voxels_hash"] == mi.hash_image("a.nrrd", geometry=False)
    assert (records[0]["shape"], records[0]["spacing_mm"]) == ([1, 5, 4, 3], [0.9, 1.25, 3.0])
    assert (records[0]["orientation"], records[0]["dtype"], records[0]["format"]) == ("LAS", "int16", "nrrd")
    assert records[1]["series"]["index"] == 1
    assert "no NIfTI file" in records[2]["error"]
    (turned,) = json.loads(medimg("hash", "--json", "--canonical", "--voxels", "turned.nii").out)
    assert turned["hash"] == turned["voxels_hash"] and turned["canonical"] is True
    assert (turned["shape"], turned["orientation"]) == ([1, 5, 4, 3], "RAS")
    assert medimg("hash", "--field", "dtype", "--field", "voxels_hash", "a.nrrd").out.split("\t") == [
        "int16",
        f"{records[0]['voxels_hash']}\n",
    ]
    assert medimg("hash", "--format", "csv", "a.nrrd").out.startswith("schema,path,hash,voxels_hash,geometry")


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_bad_image_stops_no_other(medimg: Run, images: Path, jobs: int) -> None:
    words = ["a.nrrd", "text.nii", "none.nii", "a.nrrd", "turned.nii"]
    result = medimg("hash", "--jobs", jobs, *words)
    assert result.code == 2
    assert [line.split("  ")[1] for line in result.out.splitlines()] == ["a.nrrd", "a.nrrd", "turned.nii"]
    assert [line.split(":")[1].strip() for line in result.err.splitlines()] == ["text.nii", "none.nii"]


def test_workers_leave_nothing_behind(program: Any, images: Path) -> None:
    """Blosc takes a lock of the system in each worker; a worker that is ended cannot give it back."""
    blosc = pytest.importorskip("numcodecs.blosc")
    array = np.arange(60, dtype="int16").reshape(3, 4, 5)
    for name in ("a.zarr", "b.zarr"):
        os.mkdir(name)
        facts = {"zarr_format": 2, "shape": [3, 4, 5], "chunks": [3, 4, 5], "dtype": "<i2", "fill_value": 0}
        rest = {"compressor": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1}, "order": "C", "filters": None}
        Path(name, ".zarray").write_text(json.dumps({**facts, **rest}))
        Path(name, "0.0.0").write_bytes(blosc.compress(array.tobytes(), b"lz4", 5))
    result = program("hash", "--quiet", "--jobs", 2, "a.zarr", "b.zarr")
    assert (result.code, result.err) == (0, "")
    assert len(result.out.splitlines()) == 2


def test_folders_are_walked_where_asked(medimg: Run, images: Path) -> None:
    one, two = medimg("hash", "--recursive", "."), medimg("hash", "--recursive", "--jobs", 2, ".")
    assert one.out == two.out and one.code == two.code == 2
    assert list(lines(one)) == ["./a.mgz", "./a.nii.gz", "./a.nrrd", "./other.nii", "./turned.nii", "./dicom"]
    told = medimg("hash", ".")
    assert list(lines(told)) == ["."] and told.err.count("\n") == 1, "without it, a folder is a series"


def test_several_series_of_a_folder_are_told_apart(medimg: Run, images: Path) -> None:
    other = mi.Image(np.arange(60, 120, dtype="int16").reshape(1, 5, 4, 3), affine=AFFINES["straight"])
    other.save_dicom("second", metadata={"SeriesNumber": 7})
    for number, file in enumerate(sorted(Path("second").iterdir())):
        file.rename(f"dicom/second-{number}.dcm")
    found = lines(medimg("hash", "dicom"))
    assert list(found) == ["dicom @1", "dicom @2"] and len(set(found.values())) == 2
    assert lines(medimg("hash", "dicom", "--series", "@2")) == {"dicom": found["dicom @2"]}


def test_standard_input(program: Run, images: Path) -> None:
    content = Path("a.nii.gz").read_bytes()
    for jobs in (1, 2):
        result = program("hash", "-", "a.nrrd", "-j", jobs, stdin=content)
        assert result.code == 0 and lines(result) == dict.fromkeys(["-", "a.nrrd"], mi.hash_image("a.nrrd"))
    assert program("hash", "-", stdin=content[:-5]).code == 2


def test_names_are_never_echoed_raw(medimg: Run, images: Path) -> None:
    os.rename("a.nrrd", "a\x1b[2J\n.nrrd")
    result = medimg("hash", "a\x1b[2J\n.nrrd")
    assert result.out.endswith("  a\\x1b[2J\\n.nrrd\n") and result.out.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--recursive"],
        ["--jobs", "-1", "a.nrrd"],
        ["--force", "a.nrrd"],
        ["--manifest", "m.jsonl", "--verify", "m.jsonl"],
        ["--manifest", "m.jsonl", "--voxels"],
        ["--manifest", "m.txt"],
        ["--verify", "m.jsonl", "--voxels"],
        ["--verify", "m.jsonl", "--canonical"],
        ["--verify", "m.jsonl", "--force"],
        ["--verify", "none.jsonl"],
        ["--verify", "a.nii.gz"],
        ["--manifest", "dicom/m.jsonl", "a.nrrd"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line(medimg: Run, images: Path, words: list[str]) -> None:
    Path("text.nii").unlink()
    before = contents(images)
    result = medimg("hash", *words)
    assert (result.code, result.out) == (2, "") and result.err.count("\n") == 1 and "bug" not in result.err
    assert contents(images) == before


# -- manifests ------------------------------------------------------------------------------------------------------


def test_manifest_and_verify(medimg: Run, images: Path) -> None:
    Path("text.nii").unlink()
    result = medimg("hash", "--manifest", "m.jsonl")
    assert (result.code, result.out) == (0, "") and result.err == "medimg: m.jsonl: 6 images\n"
    assert len(Path("m.jsonl").read_text().splitlines()) == 7
    result = medimg("hash", "--verify", "m.jsonl")
    assert (result.code, result.out) == (0, "") and result.err == "medimg: 6 images: 6 same\n"

    Path("a.mgz").unlink()
    mi.Image("other.nii").cast("float32").save("other.nii")
    mi.Image("a.nrrd").save("new one.nrrd")
    result = medimg("hash", "--verify", "m.jsonl", "--jobs", 2)
    assert result.code == 1 and result.err == "medimg: 7 images: 4 same, 1 changed, 1 missing, 1 new\n"
    assert [line.split(maxsplit=1) for line in result.out.splitlines()[1:]] == [
        ["missing", "a.mgz"],
        ["new", "new one.nrrd"],
        ["changed", "other.nii     header only; dtype int16 -> float32"],
    ]
    records = json.loads(medimg("hash", "--verify", "m.jsonl", "--json").out)
    jsonschema.validate(records, _schema("verify"))
    assert [record["status"] for record in records].count("same") == 4

    Path("a.nrrd").write_bytes(Path("a.nrrd").read_bytes()[:-7])
    result = medimg("hash", "--verify", "m.jsonl")
    assert result.code == 2 and "failed   a.nrrd" in result.out
    jsonschema.validate(json.loads(medimg("hash", "--verify", "m.jsonl", "--json").out), _schema("verify"))
    assert medimg("hash", "--verify", "m.jsonl", "a.nii.gz", "dicom").code == 0


def test_manifest_is_replaced_only_by_force(medimg: Run, images: Path) -> None:
    Path("m.jsonl").write_text("old")
    result = medimg("hash", "--manifest", "m.jsonl", "a.nrrd")
    assert result.code == 2 and "--force" in result.err and Path("m.jsonl").read_text() == "old"
    assert medimg("hash", "--manifest", "m.jsonl", "a.nrrd", "--force").code == 0
    records = json.loads(medimg("hash", "--manifest", "m.jsonl", "a.nrrd", "-f", "--json").out)
    assert [record["path"] for record in records] == ["a.nrrd"]


def test_manifest_of_what_can_be_read(medimg: Run, images: Path) -> None:
    result = medimg("hash", "--manifest", "m.jsonl")
    assert result.code == 2 and "m.jsonl: 6 images, 1 left out that failed" in result.err
    assert medimg("hash", "--verify", "m.jsonl").code == 1, "text.nii is new"


def test_manifest_of_one_series(medimg: Run, images: Path) -> None:
    other = mi.Image(np.zeros((1, 5, 4, 3), "int16"), affine=AFFINES["straight"])
    other.save_dicom("other", metadata={"SeriesNumber": 7})
    for number, file in enumerate(sorted(Path("other").iterdir())):
        file.rename(f"dicom/other{number}.dcm")
    assert medimg("hash", "--manifest", "m.jsonl", "--series", "7", "dicom").code == 0
    assert medimg("hash", "--verify", "m.jsonl", "--series", "7", "dicom").code == 0
    assert medimg("hash", "--verify", "m.jsonl", "dicom").out.splitlines()[1].startswith("new")
    assert medimg("hash", "--force", "--manifest", "m.jsonl", "dicom").code == 0
    assert medimg("hash", "--verify", "m.jsonl", "--series", "7", "dicom").code == 0


def test_verify_takes_canonical_from_the_manifest(medimg: Run, images: Path) -> None:
    assert medimg("hash", "--manifest", "m.jsonl", "--canonical", "a.nrrd", "turned.nii").code == 0
    os.replace("turned.nii", "a.nii")
    mi.Image("a.nii").reorient("IPR").save("turned.nii")
    assert medimg("hash", "--verify", "m.jsonl", "turned.nii", "a.nrrd").code == 0


def test_folder_that_cannot_be_written(program: Run, images: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (images / "locked").mkdir()
    os.rename("a.nrrd", "locked/a.nrrd")
    (images / "locked").chmod(0o500)
    result = program("hash", "--manifest", "locked/m.jsonl")
    (images / "locked").chmod(0o700)
    assert result.code == 2 and result.err.count("\n") == 1 and sorted(os.listdir("locked")) == ["a.nrrd"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_and_closed_pipe(images: Path) -> None:
    command = [sys.executable, "-m", "medimg_cli", "hash", "--recursive", "."]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_half_way_the_old_manifest_stays(images: Path, stop: signal.Signals) -> None:
    """The last image is a pipe of another program that never ends; the manifest is under construction then."""
    Path("text.nii").unlink()
    Path("m.jsonl").write_text("old")
    os.mkfifo("slow.nii")
    command = [sys.executable, "-m", "medimg_cli", "hash", "--manifest", "m.jsonl", "--force", "a.nrrd", "slow.nii"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    with process, open("slow.nii", "wb"):  # which opens when the program has come that far
        time.sleep(0.1)
        process.send_signal(stop)
        code = process.wait(60)
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
    assert Path("m.jsonl").read_text() == "old"
    os.unlink("slow.nii")
    assert not [name for name in os.listdir() if "medimg-" in name]

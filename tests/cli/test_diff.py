"""``medimg diff``: what it prints, how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats.writing import save_backend
from medimg_cli.labels import LabelTable
from tests.formats.dicom_files import write_series
from tests.helpers import AFFINES, make

from .conftest import ROOT, Run, environment

SCHEMA = json.loads((ROOT / "medimg_cli" / "schemas" / "diff-1.json").read_text(encoding="utf-8"))
Array = np.ndarray[Any, Any]


def save(name: str, image: ArrayBackend, array: Array | None = None, **fields: Any) -> None:
    save_backend(ArrayBackend(image.array if array is None else array, image.header.replace(**fields)), name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a scan, one that lies elsewhere with two other values, conversions, and two label maps."""
    monkeypatch.chdir(tmp_path)
    image = make("left-handed", "int16")
    array = image.array.copy()
    array[0, 3, 1, 2], array[0, 1, 1, 1] = array[0, 3, 1, 2] // 2, array[0, 1, 1, 1] + 1
    x, y, z = image.header.origin
    save("a.nii.gz", image)
    save("moved.nii.gz", image, array, affine=image.header.affine.with_origin((x + 3, y, z - 4)), description="later")
    save("a.nrrd", image)
    save("a.npy", image)
    floats = make("left-handed")
    with_nan = floats.array.copy()
    with_nan[0, 2, 2, 2] = np.nan
    save("f.nii", floats)
    save("nan.nii", floats, with_nan)
    labels = make("labels")
    array = labels.array.copy()
    array[0, :2] = 17
    save("l.nii.gz", labels)
    table = LabelTable([(1, "left thing", (255, 0, 3)), (17, "x", (9, 8, 7))])
    save("m.nii.gz", labels, array, labels=table)
    return tmp_path


def record(medimg: Run, *words: object, code: int) -> dict[str, Any]:
    result = medimg("diff", "--json", *words)
    assert result.code == code, result.err
    found = json.loads(result.out)
    jsonschema.validate(found, SCHEMA)
    (one,) = found
    assert one["same"] is (code == 0) and (one["sections"] == []) is (code == 0)
    return dict(one)


def test_the_same_in_one_line(medimg: Run, here: Path) -> None:
    assert medimg("diff", "a.nii.gz", "a.nii.gz") == type(medimg("formats"))(0, "same: 5 x 4 x 3 voxels\n", "")
    for name in ("a.nrrd", "a.npy"):
        result = medimg("diff", "a.nii.gz", name)
        assert result.code == 0 and result.out.startswith("same: 5 x 4 x 3 voxels"), result
        assert len(result.out.splitlines()) == 1
    assert "that a format cannot hold: see --all" in result.out
    assert medimg(
        "diff", "--header-only", "a.nii.gz", "moved.nii.gz", "--ignore", "geometry", "--ignore", "metadata"
    ).out == ("same headers, 5 x 4 x 3 voxels; voxels were left out\n")
    assert medimg("diff", "--atol", "1e9", "f.nii", "f.nii").out == "same: 5 x 4 x 3 voxels\n"


def test_what_differs_is_said_in_words_then_side_by_side(medimg: Run, here: Path) -> None:
    result = medimg("diff", "a.nii.gz", "moved.nii.gz")
    assert result.code == 1 and result.err == ""
    lines = result.out.splitlines()
    assert lines[:2] == ["A         a.nii.gz", "B         moved.nii.gz"]
    assert lines[2].startswith("geometry  B lies 5 mm (") and "voxels) from A at the worst corner" in lines[2]
    assert lines[3] == "metadata  description: none -> later"
    assert lines[4].startswith("voxels    2 of 60 values (3.33 %) differ, by up to ")
    assert lines[5] == "" and lines[6].split() == ["A", "B"]
    names = [line[:12].strip() for line in lines[7:]]
    assert names == ["origin mm", "description", "worst", "overall"]
    assert "at voxel 3 1 2 (" in lines[9]


def test_a_record_says_all(medimg: Run, here: Path) -> None:
    found = record(medimg, "a.nii.gz", "moved.nii.gz", code=1)
    assert found["schema"] == "medimg.diff/1" and (found["a"], found["b"]) == ("a.nii.gz", "moved.nii.gz")
    assert found["sections"] == ["geometry", "metadata", "voxels"]
    assert found["geometry"]["shift_mm"] == pytest.approx(5, abs=1e-4)
    fields = [(each["field"], each["key"]) for each in found["differences"]]
    assert fields == [("affine", "origin"), ("sform", None), ("qform", None), ("description", None)]
    voxels = found["voxels"]
    assert (voxels["count"], voxels["differing"], voxels["max_absolute"]["voxel"]) == (60, 2, [3, 1, 2])
    a = make("left-handed", "int16").array
    assert voxels["max_absolute"]["a"] == a[0, 3, 1, 2] and voxels["max_absolute"]["b"] == a[0, 3, 1, 2] // 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("a.nii.gz", "a.nrrd"), 0), (("a.nrrd", "a.nii.gz"), 0), (("a.npy", "a.nrrd"), 0),
        (("--all", "a.nii.gz", "a.npy"), 1), (("a.nii.gz", "moved.nii.gz"), 1), (("f.nii", "nan.nii"), 1),
        (("nan.nii", "nan.nii"), 0), (("l.nii.gz", "m.nii.gz"), 1), (("a.nii.gz", "f.nii"), 1),
        (("a.nii.gz", "f.nii", "--header-only"), 1), (("a.nii.gz", "f.nii", "--header-only", "--ignore", "dtype"), 0),
        (("a.nii.gz", "moved.nii.gz", "--geometry-tolerance", "6", "--ignore", "voxels", "--ignore", "description"), 0),
        (("f.nii", "nan.nii", "--rtol", "9"), 1),
    ],
    ids=lambda words: "-".join(map(str, words)) if isinstance(words, tuple) else None,
)  # fmt: skip
def test_exit_codes_and_records(medimg: Run, here: Path, words: tuple[str, ...], code: int) -> None:
    record(medimg, *words, code=code)
    assert medimg("diff", *words).code == code


def test_quiet_says_nothing(medimg: Run, here: Path) -> None:
    for words, code in ((("a.nii.gz", "a.nrrd"), 0), (("a.nii.gz", "moved.nii.gz"), 1)):
        result = medimg("diff", "--quiet", *words)
        assert (result.code, result.out, result.err) == (code, "", "")


def test_label_maps(medimg: Run, here: Path) -> None:
    result = medimg("diff", "l.nii.gz", "m.nii.gz")
    assert "labels  label 2: removed" in result.out and "Dice 0." in result.out and "correlation" not in result.out
    found = record(medimg, "l.nii.gz", "m.nii.gz", code=1)["voxels"]["labels"]
    a = make("labels").array
    assert [each["value"] for each in found] == [1, 2, 17]
    assert [each["count_a"] for each in found] == [int((a == value).sum()) for value in (1, 2, 17)]
    assert found[2]["name"] == "x"


def test_many_labels_do_not_fill_the_screen(medimg: Run, here: Path) -> None:
    labels = make("labels")
    table = LabelTable([(value, f"part {value}", None) for value in range(1, 1400)])
    save("many.nii.gz", labels, labels=table)
    result = medimg("diff", "l.nii.gz", "many.nii.gz")
    assert result.code == 1 and len(result.out.splitlines()) < 30
    assert "and 1379 more labels" in result.out and "see --json" in result.out
    assert len(record(medimg, "l.nii.gz", "many.nii.gz", code=1)["differences"]) == 1399


def test_other_forms(medimg: Run, here: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(medimg("diff", "--format", "csv", "a.nii.gz", "moved.nii.gz").out)))
    assert [row["field"] for row in rows] == ["affine", "sform", "qform", "description", "voxels"]
    (line,) = medimg("diff", "--format", "jsonl", "a.nii.gz", "a.nrrd").out.splitlines()
    jsonschema.validate([json.loads(line)], SCHEMA)
    result = medimg("diff", "--field", "voxels.differing", "--field", "geometry.shift_mm", "a.nii.gz", "a.nii.gz")
    assert (result.code, result.out) == (0, "0\t0\n")
    assert medimg("diff", "--field", "voxels.diffring", "a.nii.gz", "a.nii.gz").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.nii.gz", "none.nii"), "none.nii"),
        (("a.nii.gz",), "missing argument"),
        (("a.nii.gz", "a.nii.gz", "a.nii.gz"), "unexpected extra argument"),
        (("-", "-"), "standard input is one image"),
        (("--ignore", "voxel", "a.nii.gz", "a.nii.gz"), "did you mean voxels?"),
        (("--rtol", "-1", "a.nii.gz", "a.nii.gz"), "--rtol -1"),
        (("--geometry-tolerance", "nan", "a.nii.gz", "a.nii.gz"), "--geometry-tolerance nan"),
        (("--series", "2", "a.nii.gz", "a.nii.gz"), "no series to choose from"),
        (("a.nii.gz", "text.nii"), "text.nii"),
        (("a.nii.gz", "empty.nii"), "empty"),
        (("a.nii.gz", "cut.nii.gz"), "cut.nii.gz"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_trouble_is_one_line_and_2(medimg: Run, here: Path, words: tuple[str, ...], said: str) -> None:
    Path("text.nii").write_text("this is no image at all")
    Path("empty.nii").touch()
    Path("cut.nii.gz").write_bytes(Path("a.nii.gz").read_bytes()[:-30])
    for form in ((), ("--json",)):
        result = medimg("diff", *form, *words)
        assert (result.code, result.out) == (2, ""), result
        assert said in result.err.splitlines()[-1].lower().replace("cut.nii.gz", "cut.nii.gz")


def test_standard_input_is_one_of_the_two(here: Path) -> None:
    for words in (("-", "a.nii.gz"), ("a.nrrd", "-")):
        with open("a.nii.gz", "rb") as file:
            done = subprocess.run(
                [sys.executable, "-m", "medimg_cli", "diff", *words], stdin=file, capture_output=True, env=environment()
            )
        assert (done.returncode, done.stdout[:5]) == (0, b"same:"), done.stderr


def test_a_closed_pipe_ends_quietly(here: Path) -> None:
    command = f"{sys.executable} -m medimg_cli diff --json a.nii.gz moved.nii.gz | head -c 1 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment())
    assert done.stderr == b""


def test_control_characters_and_identity_stay_out_of_sight(medimg: Run, here: Path) -> None:
    image = make("plain")
    save("one.nrrd", image, metadata={"PatientName": "Ada", "Note": "x"})
    save("two.nrrd", image, metadata={"PatientName": "Eve", "Note": "\x1b[2J y"}, description="\x1b[31m")
    for form in ("table", "json", "csv"):
        result = medimg("diff", "--format", form, "one.nrrd", "two.nrrd")
        assert result.code == 1 and "PatientName" in result.out
        assert "\x1b" not in result.out and "Ada" not in result.out and "Eve" not in result.out


def test_orientations(medimg: Run, here: Path) -> None:
    medimg("reorient", "a.nii.gz", "turned.nii.gz", "--to", "SPR")
    result = medimg("diff", "a.nii.gz", "turned.nii.gz")
    assert result.code == 1 and "B is stored as SPR, A as LAS: the same places in another order" in result.out
    assert "voxels  " not in result.out
    assert medimg("diff", "--canonical", "a.nii.gz", "turned.nii.gz").out == "same: 5 x 4 x 3 voxels\n"


def test_a_left_handed_image_equals_its_dicom_series(medimg: Run, here: Path) -> None:
    assert medimg("convert", "a.nii.gz", "series/").code == 0
    assert medimg("diff", "a.nii.gz", "series").code == 0
    assert medimg("diff", "series/", "a.nii.gz").code == 0
    found = record(medimg, "a.nii.gz", "series", code=0)
    assert found["geometry"]["turned_to"] == "LAS" and found["geometry"]["orientation"]["b"] == "LAI"
    assert "orientation" in [each["field"] for each in found["excused"]]


def test_a_choice_of_series_is_for_the_folder(medimg: Run, here: Path) -> None:
    array = np.random.default_rng(7).integers(0, 4000, (5, 6, 4)).astype("int16")
    affine = AffineMatrix.from_spacing((0.9, 1.1, 3.5), origin=(-12, -15, 4))
    for number in (1, 2):
        write_series(
            here / "in" / str(number), array + number, affine, SeriesInstanceUID=f"1.2.3.{number}", SeriesNumber=number
        )
    assert medimg("convert", "--series", "2", "in", "two.nii.gz").code == 0
    assert medimg("diff", "in", "two.nii.gz").code == 2  # which one?
    assert medimg("diff", "--series", "2", "in", "two.nii.gz").code == 0
    assert medimg("diff", "--series", "1", "two.nii.gz", "in").code == 1


def test_warnings_go_to_standard_error(medimg: Run, here: Path) -> None:
    image = make("forms")
    save("forms.nii", image, affine=AFFINES["oblique"])
    result = medimg("diff", "forms.nii", "forms.nii")
    assert result.code == 0 and len(result.out.splitlines()) == 1
    assert "sform and qform are" in result.err


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is asked for as on Linux")
def test_memory_does_not_grow_with_the_images(here: Path) -> None:
    """Two files of 300 MB, sparse on disk, in a process that holds some 100 MB."""
    shape = (1, 40, 30, 20)
    image = ArrayBackend(np.zeros(shape, "int16"), make("plain").header.replace(shape=shape))
    save_backend(image, "small.nii")
    content = bytearray(Path("small.nii").read_bytes()[:352])
    content[42:48] = np.array([1000, 500, 300], "<i2").tobytes()
    for name in ("one.nii", "two.nii"):
        with open(name, "wb") as file:
            file.write(content)
            file.truncate(352 + 2 * 1000 * 500 * 300)
    with open("two.nii", "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x07\0")
    code = (
        "import re, sys; from medimg_cli.cli.app import main; code = main(['diff', '--json', 'one.nii', 'two.nii']);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)[0]["voxels"]
    assert (found["count"], found["differing"], found["max_absolute"]["voxel"]) == (150_000_000, 1, [999, 499, 299])
    assert int(done.stderr.split()[-1]) < 200_000

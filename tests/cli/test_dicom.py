"""``medimg dicom``: the series of folders and archives in depth."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli import cataloguing
from medimg_cli.cataloguing import KEYS
from tests.formats.dicom_files import RLE, SERIES, dataset, geometry, save, write_series, write_times

from .conftest import ROOT, Run

SCHEMA = json.loads((ROOT / "medimg_cli" / "schemas" / "dicom-1.json").read_text(encoding="utf-8"))
OBLIQUE = mi.AffineMatrix.from_spacing(
    (0.9, 1.1, 3.5), origin=(-12, -15, 4), direction=((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
)
ARRAY = np.random.default_rng(7).integers(0, 4000, (5, 6, 4)).astype("int16")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(
    folder: Path, number: int, array: np.ndarray[Any, Any] = ARRAY, change: Any = None, **values: Any
) -> list[Path]:
    uid = f"{SERIES}.{number}"
    return write_series(folder, array, OBLIQUE, change, **{"SeriesInstanceUID": uid, "SeriesNumber": number, **values})


def _json(medimg: Run, *words: object) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(medimg("dicom", "--json", *words).out)
    jsonschema.validate(records, SCHEMA)
    return records


def test_a_record_says_all_of_a_series(medimg: Run, here: Path) -> None:
    files = _write(here / "in/one", 5)
    (record,) = _json(medimg, "in")
    assert list(record) == list(KEYS)
    image = mi.Image("in")
    expected = {
        "path": "in", "index": 1, "number": 5, "uid": f"{SERIES}.5", "description": "T1 of a phantom",
        "modality": "MR", "label": None, "kind": "MR Image", "shape": [1, 5, 6, 4], "slices": 4, "times": 1,
        "orientation": "".join(image.orientation), "dtype": "int16", "files": 4, "tilt_deg": 0.0,
        "file_bytes": sum(file.stat().st_size for file in files), "problems": [], "warnings": [], "error": None,
    }  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    np.testing.assert_allclose(record["affine"], image.affine.rows, atol=1e-6)
    np.testing.assert_allclose(record["spacing_mm"], (0.9, 1.1, 3.5), atol=1e-6)
    assert record["syntaxes"] == [
        {"uid": "1.2.840.10008.1.2.1", "name": "Explicit VR Little Endian", "files": 4, "decodable": True,
         "problem": None}
    ]  # fmt: skip


def test_the_table_has_a_row_each(medimg: Run, here: Path) -> None:
    _write(here / "in/a", 2, SeriesDescription="localizer")
    _write(here / "in/b", 5, ARRAY[:, :, :3], Modality="CT")
    result = medimg("dicom", "in")
    head, first, second = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert head.split()[:4] == ["@", "NUMBER", "DESCRIPTION", "MODALITY"] and "PROBLEMS" not in head
    assert first.split() == ["@1", "2", "localizer", "MR", "5x6", "0.9x1.1x3.5", *first.split()[6:]]
    assert second.startswith("@2") and " CT " in second and " 3 " in second and second.endswith("Explicit LE")
    assert medimg("dicom", "in", "in/b").out.splitlines()[0].rstrip().endswith("PATH")


def test_times_are_counted(medimg: Run, here: Path) -> None:
    series = np.stack([ARRAY + t for t in range(3)])

    def change(made: Any, t: int, k: int) -> None:
        made.TemporalPositionIdentifier, made.InstanceNumber = t + 1, t * 4 + k + 1
        made.SOPInstanceUID = f"{SERIES}.9.{t}.{k + 1}"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    write_times(here / "in", series, OBLIQUE, change)
    (record,) = _json(medimg, "in")
    assert (record["slices"], record["times"], record["files"]) == (4, 3, 12)
    assert "4 x 3" in medimg("dicom", "in").out


def test_gaps_name_files_and_millimetres(medimg: Run, here: Path) -> None:
    files = _write(here / "in", 5, np.concatenate([ARRAY, ARRAY], axis=2))
    files[3].unlink()
    result = medimg("dicom", "in")
    assert (result.code, result.err) == (0, "")  # it was listed
    said = f"{files[2].name} and {files[4].name} are 7 mm apart, other slices 3.5 mm"
    assert said in result.out
    (record,) = _json(medimg, "in")
    assert record["error"].startswith(said)
    assert record["problems"][0]["code"] == "geometry" and record["problems"][0]["message"].startswith(said)
    assert record["spatial_shape"][:2] == [5, 6] and record["files"] == 7
    (again,) = _json(medimg, "--gaps", "ignore", "in")
    assert again["error"] is None and again["slices"] == 7


def test_slices_at_one_place_are_told(medimg: Run, here: Path) -> None:
    files = _write(here / "in", 5)
    (here / "in/copy").write_bytes(files[1].read_bytes())
    (record,) = _json(medimg, "in")
    assert record["error"] is None or record["problems"][0]["message"] == record["error"]
    assert files[1].name in str(record) or "copy" in str(record)


def test_a_tilt_has_its_angle(medimg: Run, here: Path) -> None:
    def shift(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x + k * 3.5 * np.tan(np.radians(20)), y, z]

    straight = mi.AffineMatrix.from_spacing((0.9, 1.1, 3.5), origin=(5, 6, 7))
    write_series(here / "in", ARRAY, straight, shift)
    (record,) = _json(medimg, "in")
    assert record["tilt_deg"] == pytest.approx(20, abs=1e-3)
    assert {"code": "tilt", "message": "tilted by 20 degrees; --untilt makes its angles right"} in record["problems"]
    assert json.loads(medimg("info", "--json", "in").out)[0]["shear_deg"] == pytest.approx(20, abs=1e-3)
    assert json.loads(medimg("info", "--json", "--untilt", "in").out)[0]["shear_deg"] == pytest.approx(0, abs=1e-3)


def test_what_cannot_be_decoded_is_named(medimg: Run, here: Path) -> None:
    def unknown(made: Any, k: int) -> None:
        made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2, one film
        made.PixelData = (
            b"\xfe\xff\x00\xe0\x00\x00\x00\x00\xfe\xff\x00\xe0\x04\x00\x00\x00abcd\xfe\xff\xdd\xe0" + bytes(4)
        )
        made["PixelData"].is_undefined_length = True
        made["PixelData"].VR = "OB"

    _write(here / "in/a", 2, change=unknown)
    _write(here / "in/b", 3, syntax=RLE)
    bad, good = _json(medimg, "in")
    assert [row["decodable"] for row in bad["syntaxes"] + good["syntaxes"]] == [False, True]
    assert "undecodable" in [problem["code"] for problem in bad["problems"]]
    assert good["syntaxes"][0]["name"] == "RLE Lossless" and good["problems"] == []
    assert " !" in medimg("dicom", "in").out


def test_parts_of_a_series_have_labels(medimg: Run, here: Path) -> None:
    uid = f"{SERIES}.5"
    for echo in (1, 2):
        _write(
            here / f"in/{echo}", 5, ARRAY + echo, SeriesInstanceUID=uid, EchoNumbers=echo, EchoTime=5.0 * echo,
        )  # fmt: skip
    records = _json(medimg, "in")
    assert len(records) == 2 and len({record["label"] for record in records} - {None}) == 2
    assert all({"code": "mixed", "message": "one of 2 images of its series"} in r["problems"] for r in records)
    assert "PROBLEMS" not in medimg("dicom", "in").out
    assert "LABEL" in medimg("dicom", "in").out.splitlines()[0]


def test_what_is_no_image_is_listed(medimg: Run, here: Path) -> None:
    _write(here / "in", 5)
    made = dataset(np.zeros((2, 2), "uint8"), SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT")
    made.SeriesInstanceUID, made.SeriesNumber, made.SeriesDescription = f"{SERIES}.8", 8, "contours"
    for keyword in ("PixelData", "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"):
        delattr(made, keyword)
    save(made, here / "in/struct")
    image, contours = _json(medimg, "in")
    assert image["error"] is None
    assert contours["index"] is None and contours["number"] == 8
    assert contours["error"] == "is a DICOM RT Structure Set, which is not supported"
    result = medimg("dicom", "in")
    assert result.code == 0 and "RT Structure Set, which is not supported" in result.out


def test_one_series_in_full(medimg: Run, here: Path) -> None:
    _write(here / "in/a", 2, SeriesDescription="localizer")
    _write(here / "in/b", 5)
    result = medimg("dicom", "--series", "localizer", "in")
    names = [line.split()[0] for line in result.out.splitlines() if not line.startswith(" ")]
    assert names[:2] == ["path", "series"] and "affine" in names and "uid" in names
    assert "T1 of a phantom" not in result.out
    assert medimg("dicom", "--series", "9", "in").code == 2


def test_other_forms(medimg: Run, here: Path) -> None:
    _write(here / "in/a", 2, SeriesDescription="localizer")
    _write(here / "in/b", 5)
    assert (
        medimg("dicom", "--field", "index", "--field", "description", "in").out == "1\tlocalizer\n2\tT1 of a phantom\n"
    )
    assert [json.loads(line)["number"] for line in medimg("dicom", "--format", "jsonl", "in").out.splitlines()] == [
        2,
        5,
    ]
    rows = list(csv.DictReader(io.StringIO(medimg("dicom", "--format", "csv", "in").out)))
    assert [row["slices"] for row in rows] == ["4", "4"]


def test_paths_that_hold_no_dicom_fail_alone(medimg: Run, here: Path) -> None:
    _write(here / "in", 5)
    (here / "empty").mkdir()
    (here / "text").write_text("nothing")
    result = medimg("dicom", "empty", "in", "text", "missing")
    assert result.code == 2
    assert result.err == (
        "medimg: empty: holds no DICOM file\nmedimg: text: holds no DICOM file\n"
        "medimg: missing: no such file or directory\n"
    )
    assert len(result.out.splitlines()) == 2
    records = _json(medimg, "empty", "in")
    assert records[0] == {"schema": "medimg.dicom/1", "path": "empty", "error": "holds no DICOM file"}


def test_a_damaged_file_is_told_and_fails_its_neighbours(medimg: Run, here: Path) -> None:
    files = _write(here / "in", 5)
    files[2].write_bytes(files[2].read_bytes()[:200])
    result = medimg("dicom", "in")
    assert result.code == 0 and files[2].name in result.err + result.out
    assert _json(medimg, "in")[0]["error"] is not None


def test_nothing_of_a_file_reaches_the_terminal(medimg: Run, here: Path) -> None:
    evil = "evil\x1b[2Jname"
    files = _write(here / "in", 5, SeriesDescription="plain-description!", PatientName="x" * len(evil))
    for file in files:
        content = file.read_bytes().replace(b"plain-description!", b"\x1b]0;owned\x07\x1b[31m!!!")
        file.write_bytes(content.replace(b"x" * len(evil), evil.encode()))
    for words in (["dicom"], ["dicom", "--phi"], ["dicom", "--json", "--phi"], ["info", "--phi"], ["info", "--all"]):
        result = medimg(*words, "in")
        assert result.code == 0, result.err
        assert "\x1b" not in result.out + result.err and "\x07" not in result.out + result.err
    assert "evil" in medimg("dicom", "--phi", "in").out


def test_headers_only(medimg: Run, here: Path) -> None:
    files = _write(here / "in", 5)
    for file in files:  # pixels that are not there are told, and the series is still listed
        os.truncate(file, file.stat().st_size - 10)
    (record,) = _json(medimg, "in")
    assert record["slices"] == 4 and [problem["code"] for problem in record["problems"]] == ["truncated"]
    assert record["syntaxes"][0]["decodable"] is True and "truncated" in record["syntaxes"][0]["problem"]


def test_geometry_of_a_mirrored_stack(medimg: Run, here: Path) -> None:
    mirrored = mi.AffineMatrix([[0.9, 0, 0, 3], [0, 1.1, 0, 4], [0, 0, -3.5, 5]])
    for k in range(4):
        made = dataset(np.ascontiguousarray(ARRAY[..., k].T), **geometry(mirrored, k), InstanceNumber=k + 1)
        save(made, here / "in" / f"{k}.dcm")
    (record,) = _json(medimg, "in")
    assert record["orientation"] == "".join(mi.Image("in").orientation)


def test_names_are_those_of_the_standard() -> None:
    from pydicom.uid import UID

    assert {uid: UID(uid).name for uid in cataloguing._SYNTAXES} == cataloguing._SYNTAXES
    assert {uid: UID(uid).name.removesuffix(" Storage") for uid in cataloguing._KINDS} == cataloguing._KINDS


def test_plain_files_are_listed_without_pydicom(here: Path, program: Run) -> None:
    _write(here / "in", 5)
    (here / "pydicom.py").write_text("raise SystemExit('imported')")
    result = program("dicom", "in", PYTHONPATH=f"{here}:{ROOT}")
    assert result.code == 0 and "T1 of a phantom" in result.out, result.err

"""Series of DICOM under all rules of files and series: what is said once, what by which rule, and real folders."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.rule import Finding
from medimg_cli.formats.reading import Reading
from tests.checks.planted_series import PLACE, PLANTED, pixels, series
from tests.formats.dicom_files import write_series

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
#: Codes of what keeps slices from making an image.
SLICES = ("D001", "D002", "D003", "D004", "D006", "D007")


def found(path: Path, reading: Reading | None = None, **wishes: Any) -> list[Finding]:
    """Check a path under the rules of files and series; a refusal is an error of the test."""
    config = load_config(Wishes(isolated=True, **{"select": ("F", "D"), **wishes}))
    checked = list(check_paths([str(path)], Checking(config=config, reading=reading or Reading())))
    assert not [each.message for each in checked if each.message]
    return [finding for each in checked for finding in each.findings]


FAULTS = [
    pytest.param(code, case, id=f"{code}-{case.name}")
    for code in SLICES
    for case in PLANTED[code].faults
    if not case.wishes
]


@pytest.mark.parametrize(("code", "case"), FAULTS)
def test_a_fault_of_slices_is_said_by_one_rule(code: str, case: Any, tmp_path: Path) -> None:
    assert [each.code for each in found(case.make(tmp_path))] == [code]


def test_what_a_user_allows_is_no_fault(tmp_path: Path) -> None:
    series(without=(4,))(tmp_path)
    assert [each.code for each in found(tmp_path)] == ["D001"]
    assert found(tmp_path, Reading(gaps="resample")) == []
    assert found(tmp_path, Reading(gaps="ignore")) == []
    assert [each.code for each in found(tmp_path, Reading(tolerance=0.1))] == ["D001"]


def test_a_tilt_that_is_straightened_is_no_fault(tmp_path: Path) -> None:
    PLANTED["D005"].faults[0].make(tmp_path)
    assert [each.code for each in found(tmp_path)] == ["D005"]
    assert found(tmp_path, Reading(untilt=True), header_only=True) == []


def test_what_is_said_of_a_folder_is_said_once(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        files = write_series(tmp_path / f"x{number}", pixels(4), PLACE, SeriesNumber=number)
        (tmp_path / "s").mkdir(exist_ok=True)
        for path in files:
            path.rename(tmp_path / "s" / f"{number}-{path.name}")
        (tmp_path / f"x{number}").rmdir()
    data = (tmp_path / "s" / files[0].name).with_name(f"3-{files[0].name}").read_bytes()
    (tmp_path / "s" / "cut").write_bytes(data[:300])
    findings = found(tmp_path)
    assert sorted((each.code, each.series) for each in findings) == [("D006", None), ("D010", None)]
    assert "cut cannot be read" in findings[0].message


def test_no_patient_is_named(tmp_path: Path) -> None:
    for row in PLANTED.values():
        for number, case in enumerate(row.faults):
            folder = tmp_path / f"{id(row)}-{number}"
            folder.mkdir()
            told = found(case.make(folder), **case.wishes)
            assert told
            for finding in told:
                assert not any(
                    word in finding.message for word in ("Doe", "Jane", "4711", "1970", "House", "Princeton")
                )


def _folders() -> list[object]:
    if not (DATA / "MANIFEST.csv").exists():
        return [pytest.param("", "", marks=pytest.mark.skip(reason="no real files: set MEDIMG_TEST_DATA"))]
    with open(DATA / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "DICOM folder"]
    there = [row for row in rows if (DATA / row["path"]).is_dir()]
    return [pytest.param(row["path"], row["verdict"], id=row["path"]) for row in there]


#: Real folders with something wrong: 161 slices left out of a copy for tests, files without their pixels.
KNOWN = {
    "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests/": {"D001", "D006"},
    "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests/77654033/CT2/": {"D001"},
    "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests/TINY_ALPHA/": {"F007"},
    "pydicom+pydicom/src/pydicom/data/test_files/dicomdirtests/TINY_ALPHA/PT000000/ST000000/SE000000/": {"F007"},
}


@pytest.mark.parametrize(("path", "verdict"), _folders())
def test_a_real_folder_is_sound_unless_it_is_known_not_to_be(path: str, verdict: str) -> None:
    errors = {each.code for each in found(DATA / path) if each.severity == "error"}
    assert errors == KNOWN.get(path, set())
    assert not (errors and verdict.startswith("AGREE"))

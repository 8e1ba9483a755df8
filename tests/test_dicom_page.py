"""The page on DICOM does what it says, with a study made in code."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.cli.app import main
from tests.formats.dicom_files import SERIES, dataset, geometry, save, write_series

PAGE = Path(__file__).resolve().parents[1] / "docs" / "dicom.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CALLS = [shlex.split(line, comments=True)[1:] for block in BLOCKS for line in block.splitlines() if line.strip()]
STRAIGHT = mi.AffineMatrix.from_spacing((1.0, 1.0, 2.0), origin=(-10, -12, 5))
OBLIQUE = mi.AffineMatrix.from_spacing(
    (0.9, 0.9, 3), origin=(-12, -15, 4), direction=((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
)


def write_study(folder: Path) -> None:
    """Write the series that the page speaks of."""
    array = np.random.default_rng(5).integers(0, 1000, (20, 24, 12)).astype("int16")

    def tilt(made: Any, k: int) -> None:
        x, y, z = made.ImagePositionPatient
        made.ImagePositionPatient = [x, y + 2 * k * np.tan(np.radians(15)), z]

    def told(number: int, description: str, **values: Any) -> dict[str, Any]:
        uid = f"{SERIES}.{number}"
        return {"SeriesNumber": number, "SeriesDescription": description, "SeriesInstanceUID": uid, **values}

    write_series(folder / "t1", array, OBLIQUE, **told(3, "T1 MPRAGE"))
    for echo in (1, 2):
        times = {"EchoNumbers": echo, "EchoTime": 4.9 * echo}
        write_series(folder / f"b{echo}", array + echo, OBLIQUE, **told(4, "fieldmap", **times))
    for t in range(5):
        for k in range(12):
            made = dataset(
                np.ascontiguousarray((array + t)[..., k].T), **geometry(OBLIQUE, k), **told(5, "BOLD rest"),
                InstanceNumber=12 * t + k + 1, TemporalPositionIdentifier=t + 1, ScanningSequence="EP",
                RepetitionTime=2000, SOPInstanceUID=f"{SERIES}.5.{t + 1}.{k + 1}",
            )  # fmt: skip
            save(made, folder / "c" / f"{t}-{k}.dcm")
    write_series(folder / "d", array, STRAIGHT, tilt, **told(6, "Head", Modality="CT"))
    lost = write_series(folder / "e", array, OBLIQUE, **told(7, "T2 FLAIR"))
    lost[4].unlink()
    shutil.make_archive(str(folder), "zip", folder)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_study(tmp_path / "study")
    scan = mi.ScalarImage(tmp_path / "study", reader_kwargs={"series": 3})
    scan.save(tmp_path / "scan.nii.gz")
    mi.LabelMap((scan.numpy() > 500).astype("uint8"), affine=scan.affine).save(tmp_path / "labels.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", CALLS, ids=shlex.join)
def test_commands_do_what_they_say(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_of_them = words[:2] == ["info", "study"] or ("--output-dir" in words and "--dry-run" not in words)
    assert main(words) == (2 if all_of_them else 0), capsys.readouterr().err  # a slice is missing in one of them
    outputs = [word for word in words if word.endswith((".nii.gz", ".png")) and not word.startswith(".")]
    assert all((here / name).exists() for name in outputs)


def test_the_table_is_what_is_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.search(r"^medimg dicom study\n```\n\n```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert main(["dicom", "study"]) == 0
    assert capsys.readouterr().out.splitlines() == shown[1].splitlines()


def test_the_names_are_those_that_are_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The series with a missing slice fails, the others are there."""
    main(["convert", "study", "--output-dir", "nifti", "--suffix", ".nii.gz"])
    made = sorted(path.name for path in (here / "nifti/study").glob("*.nii.gz"))
    assert made == re.findall(r"^nifti/study/(\S+\.nii\.gz)$", TEXT, re.MULTILINE)
    assert "slice is missing" in capsys.readouterr().err


def test_what_is_said_of_gaps_and_tilts_holds(here: Path) -> None:
    assert main(["convert", "-q", "--series", "7", "--gaps", "resample", "study", "whole.nii.gz"]) == 0
    assert mi.Image("whole.nii.gz").spatial_shape == (20, 24, 12)
    assert main(["convert", "-q", "--series", "6", "--untilt", "study", "straight.nii.gz"]) == 0
    assert mi.Image("straight.nii.gz").affine.shear_deg < 1e-3
    assert main(["convert", "-q", "--series", "5", "study", "bold.nii.gz"]) == 0
    bold = mi.Image("bold.nii.gz")
    assert bold.shape == (5, 20, 24, 12) and bold.header.time_spacing == pytest.approx(2)

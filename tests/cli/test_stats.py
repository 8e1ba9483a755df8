"""``medimg stats``: records in every form, tables, masks and labels, and what happens to what cannot be read."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from tests.helpers import AFFINES

from .conftest import Run, environment

SHAPE = (5, 4, 3)
KEYS = [
    *("schema", "path", "channel", "label", "name", "count", "finite", "nan", "positive_infinity", "negative_infinity"),
    *("min", "max", "sum", "mean", "std", "std_sample", "median", "p1", "p5", "p25", "p75", "p95", "p99", "volume_mm3"),
]


def save(name: str, array: np.ndarray[Any, Any], **fields: Any) -> np.ndarray[Any, Any]:
    fields = {"affine": AFFINES["left-handed"], **fields}
    save_backend(ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields)), name)
    return array


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray[Any, Any]]:
    """Make an image, one of three time points with NaN, a mask, a label map and one of another grid."""
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    bold = chance.normal(100, 10, (3, *SHAPE)).astype("float32")
    bold[0, 1, 1, 1], bold[1, 2, 2, 2] = np.nan, np.inf
    regions = chance.choice(np.array([0, 1, 5], "uint8"), (1, *SHAPE))
    Path("text.nii").write_text("this is no image at all")
    elsewhere = AffineMatrix.from_spacing((1, 2, 3), origin=(9, 9, 9))
    return {
        "t1": save("t1.nii.gz", chance.integers(-20, 3000, (1, *SHAPE)).astype("int16")),
        "bold": save("bold.nii", bold, axes=(("time", 3),), time_spacing=2.0, time_units="s"),
        "mask": save("mask.nii.gz", chance.integers(0, 2, (1, *SHAPE)).astype("uint8")),
        "regions": save("regions.nii.gz", regions, labels=LabelTable({1: "grey matter", 5: "white"})),
        "elsewhere": save("elsewhere.nii", regions, affine=elsewhere),
    }


def records(medimg: Run, *words: str, code: int = 0) -> list[dict[str, Any]]:
    result = medimg("stats", "--json", *words)
    assert result.code == code, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def test_json_is_a_flat_record(medimg: Run, images: dict[str, Any]) -> None:
    (record,) = records(medimg, "t1.nii.gz")
    assert list(record) == KEYS
    assert record["schema"] == "medimg.stats/1" and record["path"] == "t1.nii.gz"
    values = images["t1"].astype(np.float64)
    assert (record["channel"], record["label"], record["name"]) == (0, None, None)
    assert (record["count"], record["min"], record["max"], record["sum"]) == (
        60,
        values.min(),
        values.max(),
        values.sum(),
    )
    assert record["mean"] == pytest.approx(values.mean()) and record["std"] == pytest.approx(values.std())
    assert record["p95"] == pytest.approx(np.percentile(values, 95))
    assert record["volume_mm3"] == pytest.approx(60 * 0.9 * 1.25 * 3, rel=1e-5)


def test_channels_and_all_of_them(medimg: Run, images: dict[str, Any]) -> None:
    found = records(medimg, "bold.nii")
    assert [record["channel"] for record in found] == [0, 1, 2, None]
    assert [record["nan"] for record in found] == [1, 0, 0, 1]
    assert [record["positive_infinity"] for record in found] == [0, 1, 0, 1]
    assert found[3]["volume_mm3"] is None
    (overall,) = records(medimg, "--overall", "bold.nii")
    assert overall == found[3]


def test_mask_labels_and_threshold(medimg: Run, images: dict[str, Any]) -> None:
    words = ("--mask", "mask.nii.gz", "--labels", "regions.nii.gz", "--above", "1000", "--percentile", "12.5")
    found = records(medimg, *words, "t1.nii.gz")
    assert [(record["label"], record["name"]) for record in found] == [(1, "grey matter"), (5, "white")]
    for record in found:
        values = images["t1"][(images["regions"] == record["label"]) & (images["mask"] != 0)]
        assert record["count"] == values.size and record["above_count"] == (values > 1000).sum()
        assert record["above"] == 1000 and record["above_mm3"] == pytest.approx(3.375 * record["above_count"], rel=1e-5)
        assert record["p12.5"] == pytest.approx(np.percentile(values, 12.5)) and "p5" not in record


def test_names_from_a_table(medimg: Run, images: dict[str, Any]) -> None:
    LabelTable({5: "five"}).write("names.txt")
    found = records(medimg, "--labels", "regions.nii.gz", "--table", "names.txt", "t1.nii.gz")
    assert [record["name"] for record in found] == [None, "five"]
    refused = medimg("stats", "--table", "names.txt", "t1.nii.gz")
    assert refused.code == 2 and "--labels" in refused.err


def test_fields_csv_and_lines_of_json(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg(
        "stats", "--field", "channel", "--field", "max", "--field", "p2.5", "--percentile", "2.5", "t1.nii.gz"
    )
    assert result.out.split("\t")[:2] == ["0", str(images["t1"].max())]
    assert "did you mean median?" in medimg("stats", "--field", "medain", "t1.nii.gz").err
    rows = list(csv.DictReader(io.StringIO(medimg("stats", "--format", "csv", "bold.nii", "t1.nii.gz").out)))
    assert [row["channel"] for row in rows] == ["0", "1", "2", "", "0"] and list(rows[0]) == KEYS
    lines = medimg("stats", "--format", "jsonl", "bold.nii").out.splitlines()
    assert [json.loads(line)["channel"] for line in lines] == [0, 1, 2, None]


def test_one_image_is_a_page(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("stats", "--above", "0", "t1.nii.gz")
    names = [line.split("  ")[0] for line in result.out.splitlines() if not line.startswith(" ")]
    assert names == [
        "path",
        "voxels",
        "min",
        "max",
        "mean",
        "std",
        "std, n - 1",
        "median",
        "percentiles",
        "sum",
        "above 0",
    ]
    assert result.err == "" and all(len(line) <= 80 for line in result.out.splitlines())
    assert "1 NaN, 1 +inf" in medimg("stats", "--overall", "bold.nii").out


def test_rows_of_channels_labels_and_images(medimg: Run, images: dict[str, Any]) -> None:
    def head(*words: str) -> list[str]:
        first, *rows = medimg("stats", *words).out.splitlines()
        assert rows and all(len(line) <= 100 for line in rows)
        return first.split()

    facts = ["MIN", "MAX", "MEAN", "STD", "MEDIAN"]
    assert head("bold.nii") == ["CHANNEL", "COUNT", *facts, "NAN", "INF"]
    assert head("--labels", "regions.nii.gz", "t1.nii.gz") == ["LABEL", "NAME", "COUNT", "MM3", *facts]
    assert head("t1.nii.gz", "mask.nii.gz", "--above", "0") == ["COUNT", *facts, "ABOVE", "PATH"]
    assert medimg("stats", "bold.nii").out.splitlines()[-1].split()[0] == "all"


def test_percentiles_that_are_asked_for_are_columns(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("stats", "--percentile", "2", "--percentile", "97.5", "bold.nii")
    assert {"P2", "P97.5"} <= set(result.out.splitlines()[0].split())


def test_one_bad_image_does_not_stop_the_others(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("stats", "t1.nii.gz", "text.nii", "missing.nii", "mask.nii.gz")
    assert result.code == 2
    assert len(result.err.splitlines()) == 2 and "Traceback" not in result.err
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == ["60", "-", "-", "60"]
    good, bad, missing = records(medimg, "t1.nii.gz", "text.nii", "missing.nii", code=2)
    assert "error" not in good and set(bad) == set(missing) == {"schema", "path", "error"}
    assert medimg("stats", "--field", "count", "text.nii", "t1.nii.gz").out == "60\n"
    assert medimg("stats", "text.nii").out == ""


def test_another_grid_is_told_how_to_come_here(medimg: Run, images: dict[str, Any]) -> None:
    for option, what in (("--mask", "mask"), ("--labels", "label map")):
        result = medimg("stats", option, "elsewhere.nii", "t1.nii.gz")
        assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1
        assert f"t1.nii.gz: the {what} lies" in result.err and " mm from the image; " in result.err
        assert "medimg resample --like t1.nii.gz elsewhere.nii OUT.nii.gz" in result.err


def test_nothing_selected_is_no_error(medimg: Run, images: dict[str, Any]) -> None:
    save("nothing.nii", np.zeros((1, *SHAPE), "uint8"))
    (record,) = records(medimg, "--mask", "nothing.nii", "t1.nii.gz")
    assert record["count"] == 0 and record["mean"] is None and record["p5"] is None
    assert "mean         -" in medimg("stats", "--mask", "nothing.nii", "t1.nii.gz").out
    result = medimg("stats", "--labels", "nothing.nii", "--json", "t1.nii.gz")
    assert (result.code, json.loads(result.out)) == (0, []) and "no label" in result.err


def test_numbers_that_make_no_sense_are_refused(medimg: Run, images: dict[str, Any]) -> None:
    for words in (("--percentile", "101"), ("--percentile", "nan"), ("--above", "inf"), ("--percentile", "x")):
        result = medimg("stats", *words, "t1.nii.gz")
        assert result.code == 2 and result.out == "" and len(result.err.splitlines()) == 1
    result = medimg("stats", "--labels", "bold.nii", "bold.nii")
    assert result.code == 2 and result.err.startswith("medimg: bold.nii: the label map holds")


def test_folders_and_standard_input(program: Run, medimg: Run, images: dict[str, Any], tmp_path: Path) -> None:
    Path("text.nii").unlink()
    assert len(records(medimg, "--recursive", "--overall", ".")) == 5
    result = program("stats", "--field", "max", "-", stdin=(tmp_path / "t1.nii.gz").read_bytes())
    assert result.out.strip() == str(images["t1"].max())


def test_nothing_heavy_is_imported(images: dict[str, Any]) -> None:
    code = "import sys; from medimg_cli.cli.app import main; main(['stats', 't1.nii.gz']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert not {"torch", "SimpleITK", "nibabel", "scipy", "rich"} & set(done.stdout.split())

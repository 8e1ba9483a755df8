"""``--series`` and its companions: in every command, and where a folder holds several series."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.batch import BatchOptions
from medimg_cli.cli.app import COMMANDS
from medimg_cli.errors import UsageError
from medimg_cli.expanding import Entry, check_template, expand, fit, series_names
from medimg_cli.formats.reading import Reading
from medimg_cli.planning import plan_outputs
from tests.formats.dicom_files import SERIES, same_world, write_series

from .conftest import Run

OBLIQUE = mi.AffineMatrix.from_spacing(
    (0.9, 1.1, 3.5), origin=(-12, -15, 4), direction=((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
)
HOSTILE = "../../x: evil/name"


def _array(seed: int, shape: tuple[int, int, int] = (5, 6, 4)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 4000, shape).astype("int16")


IGNORED = "1 of its files is no DICOM file and is ignored"
ARRAYS = {"T1 MPRAGE": _array(1), HOSTILE: _array(2), "T2 space": _array(3, (4, 7, 3))}


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write three series below one folder, files of two of them side by side, and a text; go to the folder above."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "study"
    for number, (description, array) in enumerate(ARRAYS.items(), 2):
        place = folder / ("mixed" if number < 4 else "deep/er")
        made = tmp_path / "made"
        for file in write_series(
            made, array, OBLIQUE, SeriesInstanceUID=f"{SERIES}.{number}", SeriesNumber=number,
            SeriesDescription=description,
        ):  # fmt: skip
            place.mkdir(parents=True, exist_ok=True)
            file.rename(place / f"{file.name}-{number}")
    (folder / "notes.txt").write_text("nothing")
    return folder


def _is(path: Path, description: str) -> bool:
    image = mi.Image(path)
    return same_world(image.numpy(), image.affine, ARRAYS[description][None], OBLIQUE) is None


# -- the options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_that_reads_images_takes_a_series(row: Any) -> None:
    module, _, name = row.target.partition(":")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    if row.name not in ("formats", "example"):
        assert {"series", "gaps", "untilt"} <= set(parameters)
        assert "tolerance" in parameters


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gaps", "guess"], "guess"),
        (["--tolerance", "-1"], "--tolerance -1"),
        (["--series", " "], "--series is empty"),
    ],
)
def test_values_that_make_no_sense_are_refused(medimg: Run, study: Path, words: list[str], said: str) -> None:
    result = medimg("info", *words, "study")
    assert (result.code, result.out) == (2, "") and said in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("chosen", "description"),
    [
        ("2", "T1 MPRAGE"),
        ("@3", "T2 space"),
        (f"{SERIES}.3", HOSTILE),
        ("*t1*", "T1 MPRAGE"),
        ("T2 space", "T2 space"),
    ],
)
def test_a_series_is_chosen(medimg: Run, study: Path, chosen: str, description: str) -> None:
    result = medimg("convert", "--series", chosen, "study", "out.nii.gz")
    assert result.code == 0, result.err
    assert _is(study.parent / "out.nii.gz", description)


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "study", "out.nii"],
        ["stats", "study"],
        ["show", "--once", "study"],
        ["plot", "study", "out.png"],
        ["labels", "study"],
        ["view", "study", "out.html"],
        ["gif", "study", "out.gif"],
        ["slice", "--index", "[0]", "study", "out.nii"],
        ["split", "--axis", "S", "study", "out.nii"],
        ["edit", "--description", "x", "study", "out.nii"],
    ],
    ids=lambda words: words[0],
)
def test_several_series_and_no_choice_are_an_error_that_lists_them(medimg: Run, study: Path, words: list[str]) -> None:
    result = medimg(*words)
    assert result.code == 2
    assert "holds 3 series: @1 2 T1 MPRAGE (4 files)" in result.err and "--series" in result.err
    assert not list(study.parent.glob("out*"))
    chosen = medimg(*words, "--series", "2", "--quiet")
    assert chosen.code == 0, chosen.err


@pytest.mark.parametrize("words", [["stats", "t1.nii"], ["convert", "t1.nii", "out.nii"], ["info", "t1.nii"]])
def test_what_is_no_dicom_has_no_series(medimg: Run, study: Path, words: list[str]) -> None:
    mi.ScalarImage(_array(4)[None]).save("t1.nii")
    result = medimg(*words, "--series", "2")
    assert result.code == 2
    assert result.err == "medimg: t1.nii: has no series to choose from; it is no DICOM: leave out --series\n"
    assert medimg(*words, "--gaps", "ignore").code == 0


def test_masks_and_overlays_are_read_as_they_are(medimg: Run, study: Path) -> None:
    medimg("convert", "--series", "2", "study", "t1.nii.gz")
    result = medimg("stats", "--series", "2", "--mask", "t1.nii.gz", "--json", "study")
    assert result.code == 0, result.err
    assert json.loads(result.out)[0]["count"] == np.count_nonzero(ARRAYS["T1 MPRAGE"])


def test_merge_has_a_tolerance_of_its_own(medimg: Run, study: Path) -> None:
    result = medimg("merge", "--series", "2", "--tolerance", "0.5", "study", "study", "out.nii.gz")
    assert result.code == 0, result.err
    assert mi.Image("out.nii.gz").shape == (2, 5, 6, 4)


# -- all series ---------------------------------------------------------------------------------------------------------


def test_all_series_are_converted_into_a_folder(medimg: Run, study: Path) -> None:
    result = medimg("convert", "study", "--output-dir", "out", "--suffix", ".nii.gz")
    assert result.code == 0, result.err
    out = study.parent / "out"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.nii.gz")) == [
        "study/002_T1_MPRAGE.nii.gz",
        "study/003_x_evil_name.nii.gz",
        "study/004_T2_space.nii.gz",
    ]
    assert _is(out / "study/002_T1_MPRAGE.nii.gz", "T1 MPRAGE")
    assert _is(out / "study/003_x_evil_name.nii.gz", HOSTILE)
    assert _is(out / "study/004_T2_space.nii.gz", "T2 space")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("words", [[], ["--dry-run"], ["--jobs", "2"]], ids=lambda words: "-".join(words) or "plain")
def test_what_else_a_folder_holds_is_said_once(medimg: Run, study: Path, words: list[str], kind: str) -> None:
    if kind == "zip":
        shutil.make_archive("study", "zip", study)
    name = {"folder": "study", "zip": "study.zip"}[kind]
    result = medimg("convert", name, "--output-dir", "out", "--suffix", ".nii", "--report", "log.jsonl", *words)
    assert result.code == 0
    assert result.err.splitlines()[:-1] == [f"medimg: {name}: {IGNORED}"]
    rows = [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]
    assert sum(IGNORED in row["warnings"] for row in rows) == (1 if kind == "folder" or "--dry-run" in words else 3)


def test_what_cannot_be_read_elsewhere_is_said_once(medimg: Run, study: Path) -> None:
    next(iter((study / "deep/er").iterdir())).write_bytes(b"\0" * 128 + b"DICM\2\0")
    for words in (["convert", "study", "--output-dir", "out", "--suffix", ".nii"], ["info", "study"]):
        told = medimg(*words).err
        assert told.count("1 of its files cannot be read and is ignored") == 1
        assert told.count(IGNORED) == 1


def test_a_dry_run_lists_them_and_writes_nothing(medimg: Run, study: Path) -> None:
    words = ["convert", "study", "--output-dir", "out", "--suffix", ".nrrd", "--name", "{modality}/{index}-{folder}"]
    result = medimg(*words, "--dry-run")
    assert result.code == 0
    assert result.out.splitlines() == [f"study -> out/study/MR/{n}-study.nrrd" for n in (1, 2, 3)]
    assert not Path("out").exists()
    assert medimg(*words).code == 0
    assert sorted(path.name for path in Path("out/study/MR").iterdir() if path.suffix == ".nrrd") == [
        f"{n}-study.nrrd" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_series_that_fails_does_not_stop_the_others(medimg: Run, study: Path, jobs: str) -> None:
    next(iter((study / "deep/er").iterdir())).unlink()  # one of three: two are left, evenly spaced or not
    middle = sorted((study / "mixed").glob("*-3"), key=lambda file: mi.Image(file).affine.origin[2])[1]
    middle.unlink()
    result = medimg("convert", "study", "--output-dir", "out", "--suffix", ".nii.gz", "--jobs", jobs)
    assert result.code == 2
    assert "out/study/003_x_evil_name.nii.gz: study: " in result.err and " mm apart" in result.err
    assert _is(study.parent / "out/study/002_T1_MPRAGE.nii.gz", "T1 MPRAGE")
    assert not Path("out/study/003_x_evil_name.nii.gz").exists()


def test_a_file_that_cannot_be_read_fails_the_series_beside_it(medimg: Run, study: Path) -> None:
    victim = next(iter((study / "mixed").glob("*-3")))
    victim.write_bytes(victim.read_bytes()[:300])
    result = medimg("convert", "study", "--output-dir", "out", "--suffix", ".nii.gz")
    assert result.code == 2
    assert [path.name for path in Path("out/study").glob("*.nii.gz")] == ["004_T2_space.nii.gz"]


def test_one_series_is_one_output(medimg: Run, study: Path) -> None:
    words = ["--output-dir", "out", "--suffix", ".nii.gz"]
    assert medimg("convert", "study/deep", *words).code == 0
    assert _is(study.parent / "out/deep.nii.gz", "T2 space")
    assert medimg("convert", "--series", "2", "study", *words).code == 0
    assert _is(study.parent / "out/study.nii.gz", "T1 MPRAGE")
    assert medimg("convert", "study/deep", "--name", "{number}_{description}", *words).code == 0
    assert _is(study.parent / "out/deep/4_T2_space.nii.gz", "T2 space")


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives_are_like_folders(medimg: Run, study: Path, kind: str) -> None:
    name = Path(shutil.make_archive("all", kind, study)).name
    assert medimg("convert", name, "--output-dir", "out", "--suffix", ".nii.gz").code == 0
    assert _is(study.parent / "out/all/004_T2_space.nii.gz", "T2 space")
    assert len(list(Path("out/all").glob("*.nii.gz"))) == 3


def test_other_commands_do_all_series_too(medimg: Run, study: Path) -> None:
    assert medimg("plot", "study", "--output-dir", "out").code == 0
    assert [path.name for path in sorted(Path("out/study").iterdir())] == [
        "002_T1_MPRAGE.png",
        "003_x_evil_name.png",
        "004_T2_space.png",
    ]


def test_pictures_say_which_series_they_show(medimg: Run, study: Path) -> None:
    shown = medimg("show", "--once", "--series", "2", "study")
    assert shown.code == 0 and "study: T1 MPRAGE  " in shown.out
    assert medimg("view", "--series", "2", "study", "page.html").code == 0
    assert "<title>study: T1 MPRAGE" in Path("page.html").read_text(encoding="utf-8")


def test_existing_outputs_are_seen_one_by_one(medimg: Run, study: Path) -> None:
    words = ["convert", "study", "--output-dir", "out", "--suffix", ".nii.gz"]

    def forget() -> None:
        for path in Path("out/study").glob("003*"):
            path.unlink()

    medimg(*words)
    forget()
    assert "1 done, 2 failed" in medimg(*words).err
    forget()
    assert "1 done, 2 skipped" in medimg(*words, "--skip-existing").err
    assert medimg(*words, "--skip-existing").err == "medimg: 3 skipped\n"


def test_several_series_need_a_suffix(medimg: Run, study: Path) -> None:
    result = medimg("convert", "study", "--output-dir", "out")
    assert (result.code, result.err) == (
        2, "medimg: study: holds 3 series; say in which format: --suffix .nii.gz\n",
    )  # fmt: skip


def test_tasks_read_their_own_files_and_travel(study: Path) -> None:
    tasks = plan_outputs(["study"], None, BatchOptions(output_dir="out", suffix=".nii"))
    for task, count in zip(tasks, (4, 4, 3), strict=True):
        assert pickle.loads(pickle.dumps(task)) == task
        assert task.reading is not None and len(task.reading.files) == count


def test_a_report_has_a_row_each(medimg: Run, study: Path) -> None:
    result = medimg("report", "study", "page.html")
    assert result.code == 0, result.err
    page = Path("page.html").read_text(encoding="utf-8")
    assert "3 images" in result.err
    assert all(f"mixed @{rank} {name}" in page for rank, name in ((1, "T1_MPRAGE"), (2, "x_evil_name")))
    assert "Doe" not in page


# -- names --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{nmber}", "there is no field 'nmber'"),
        ("{number.real}", "there is no field 'number.real'"),
        ("{}", "there is no field ''"),
        ("{number", "expected '}'"),
        ("{description:d}", "format code 'd'"),
        ("../{number}", "is no name below the folder"),
        ("/{number}", "is no name below the folder"),
        ("", "is no name below the folder"),
    ],
)
def test_templates_that_make_no_sense_are_refused(template: str, said: str) -> None:
    with pytest.raises(UsageError, match="--name") as caught:
        check_template(template)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_template_is_for_folders(medimg: Run, study: Path) -> None:
    result = medimg("convert", "--series", "2", "--name", "{uid}", "study", "out.nii")
    assert result.code == 2 and "--name is for the series of an input in --output-dir" in result.err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("T1 (sag)\0\x1b[31m", "T1_sag_31m"),
        ("a\u202eb\r\nc", "a_b_c"),
        ("...", ""),
        ("T2* -interleaved - x-y", "T2_interleaved_x-y"),
        ("x" * 300, "x" * 80),
        ("\u8133" * 300, "\u8133" * 26),
        ("T2* Kopf ä", "T2_Kopf_ä"),
    ],
)
def test_names_are_letters_and_digits(text: str, name: str) -> None:
    assert fit(text) == name


class _Series:
    """What tells a series from others."""

    def __init__(self, rank: int, description: str, label: str = "", number: int | None = 4) -> None:
        self.rank, self.description, self.label, self.number = rank, description, label, number
        self.uid, self.modality = "1.2.3", "MR"


def _names(*series: _Series, **options: str) -> list[str]:
    entries: Any = [Entry("in", None, one) for one in series]  # type: ignore[arg-type]
    return series_names(entries, **options)


def test_names_are_unique() -> None:
    assert _names(_Series(1, "fmap", "e1"), _Series(2, "fmap", "e2")) == ["004_fmap_e1", "004_fmap_e2"]
    assert _names(_Series(1, "T1"), _Series(2, "t1"), _Series(3, "T1")) == ["004_T1", "004_t1_2", "004_T1_3"]
    assert _names(_Series(1, "a", "e1"), template="{label}-{description}") == ["e1-a"]
    assert _names(_Series(1, ""), _Series(2, "", number=None)) == ["004", "000"]
    assert _names(_Series(7, "//"), template="{description}") == ["series_7"]


def test_other_files_are_one_image(tmp_path: Path) -> None:
    mi.ScalarImage(_array(4)[None]).save(tmp_path / "t1.nii")
    (entry,) = expand(str(tmp_path / "t1.nii"), Reading())
    assert entry.series is None and entry.open().header.spatial_shape == (5, 6, 4)


# -- info ---------------------------------------------------------------------------------------------------------------


def test_info_says_a_line_each(medimg: Run, study: Path) -> None:
    result = medimg("info", "study")
    lines = result.out.splitlines()
    assert result.code == 0 and len(lines) == 4
    assert lines[0].split()[:3] == ["@", "NUMBER", "DESCRIPTION"] and "LABEL" not in lines[0]
    assert lines[1].split()[:4] == ["@1", "2", "T1", "MPRAGE"] and "5x6x4" in lines[1]
    assert result.err == f"medimg: study: {IGNORED}\n"
    records = json.loads(medimg("info", "--json", "study").out)
    assert [record["series"]["index"] for record in records] == [1, 2, 3]
    assert records[2]["series"] == {
        "index": 3, "number": 4, "uid": f"{SERIES}.4", "description": "T2 space", "modality": "MR", "label": None,
    }  # fmt: skip


def test_info_of_one_series_is_a_page(medimg: Run, study: Path) -> None:
    result = medimg("info", "--series", "T1*", "study")
    assert result.code == 0 and "\nseries       2, MR\n" in result.out and "NUMBER" not in result.out


def test_info_shows_the_others_where_one_fails(medimg: Run, study: Path) -> None:
    sorted((study / "mixed").glob("*-3"), key=lambda file: mi.Image(file).affine.origin[2])[1].unlink()
    result = medimg("info", "study")
    assert result.code == 2 and "medimg: study @2: " in result.err and " mm apart" in result.err
    assert "T1 MPRAGE" in result.out and "x: evil/name" in result.out and "study (failed)" in result.out
    records = json.loads(medimg("info", "--json", "study").out)
    assert ["error" in record for record in records] == [False, True, False]
    assert records[1]["series"]["number"] == 3


def test_info_recursive_keeps_to_images(medimg: Run, study: Path) -> None:
    mi.ScalarImage(_array(4)[None]).save(study / "t1.nii")
    shutil.make_archive(str(study / "backup"), "zip", study / "deep")
    records = json.loads(medimg("info", "--json", "--recursive", ".").out)
    found = sorted((record["path"], (record["series"] or {}).get("number")) for record in records)
    assert found == [("./study/deep/er", 4), ("./study/mixed", 2), ("./study/mixed", 3), ("./study/t1.nii", None)]


def test_who_the_patient_is_is_said_on_request_only(medimg: Run, study: Path) -> None:
    for words in (["info"], ["info", "--json", "--all"], ["dicom"], ["dicom", "--json"], ["dicom", "--series", "2"]):
        plain, told = medimg(*words, "study").out, medimg(*words, "--phi", "study").out
        assert "Doe" not in plain and "4711" not in plain and "House" not in plain
        assert words == ["info"] or "Doe^Jane" in told
    assert "Doe^Jane" in medimg("info", "--series", "2", "--phi", "study").out

"""Headers as plain facts: the record's keys and values, folders, and what stays hidden."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from medimg_cli import facts
from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, UsageError
from medimg_cli.facts import KEYS, SCHEMA, find_images, image_facts, inspect_images, native_facts
from medimg_cli.header import Gradients, Header
from medimg_cli.labels import LabelTable

OBLIQUE = AffineMatrix([[-2, 0.3, 0, 90], [0.3, 2.5, 0, -126], [0, 0, 3.5, -0.0], [0, 0, 0, 1]])


def _header(**changes: Any) -> Header:
    return Header(**{"shape": (2, 5, 6, 7), "dtype": "int16", "affine": OBLIQUE, **changes})


def test_record_has_the_promised_keys_in_order() -> None:
    record = image_facts(_header(), "a.nii")
    assert tuple(record) == KEYS
    assert record["schema"] == SCHEMA == "medimg.info/1"


def test_facts_are_those_of_the_header() -> None:
    header = _header(
        format="nifti1", compression="gzip", axes=(("time", 2),), slope=2.0, inter=1.0, sform=OBLIQUE, sform_code=1,
        space_units="mm", time_units="s", time_spacing=0.72, intent="zscore", description="x", warnings=("odd",),
        file_bytes=99,
    )  # fmt: skip
    record = image_facts(header, "a.nii.gz")
    assert record["shape"] == [2, 5, 6, 7] and record["spatial_shape"] == [5, 6, 7] and record["channels"] == 2
    assert record["axes"] == [{"kind": "time", "size": 2}]
    assert record["spacing_mm"] == list(OBLIQUE.spacing)
    assert record["orientation"] == "LAS"
    assert record["affine"] == [list(row) for row in OBLIQUE.rows] == record["sform"]
    assert record["qform"] is None and record["qform_code"] is None
    assert record["extent_mm"] == pytest.approx([5 * OBLIQUE.spacing[0], 6 * OBLIQUE.spacing[1], 24.5])
    assert record["units"] == {"space": "mm", "time": "s"} and record["time_spacing_s"] == 0.72
    assert record["memory_bytes"] == 2 * 5 * 6 * 7 * 4, "scaled int16 are float32 in memory"
    assert record["warnings"] == ["odd"] and record["file_bytes"] == 99
    assert json.loads(json.dumps(record)) == record
    assert "-0.0" not in json.dumps(record)


def test_absent_facts_are_none() -> None:
    record = image_facts(_header(), "a.nii")
    for key in ("compression", "slope", "inter", "time_spacing_s", "intent", "description", "file_bytes", "sform"):
        assert record[key] is None


def test_who_the_patient_is_stays_hidden() -> None:
    names = {
        "PatientName": "Doe", "(0010,0020) Patient ID": "17", "patient.birth_date": "1970", "dicom_0010_0010:el_1": "x",
        "Patient's Name": "Doe", "modality": "MR", "patient_position": "HFS",
    }  # fmt: skip
    header = _header(metadata=names)
    shown = native_facts(header)
    hidden = {name for name, value in shown.items() if value == facts.HIDDEN}
    assert hidden == set(names) - {"modality", "patient_position"}
    assert native_facts(header, phi=True) == names


def test_all_that_a_file_carries_is_named() -> None:
    header = _header(
        gradients=Gradients((0.0, 1000.0), ((0, 0, 0), (1, 0, 0))),
        labels=LabelTable({1: "left"}), history=({"name": "flip"},),
        extensions=((6, b"Doe, John"),), intent_name="t", intent_params=(3.0,),
    )  # fmt: skip
    shown = native_facts(header)
    assert shown["b-values"] == [0.0, 1000.0]
    assert shown["labels"] == ["1 left"]
    assert shown["history 1"] == "flip"
    assert shown["extension 6"] == "9 bytes", "free text is counted, not shown"
    assert shown["intent parameters"] == ["t", 3.0]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with images, other files, pairs, stores and hidden folders."""
    for name in (
        "b/2.nii.gz", "b/1.NII", "b/notes.txt", "a.hdr", "a.img", "c.img", "s.zarr/0/0.0", ".git/x.nii", ".hidden.nii",
        "d/p.HEAD", "d/p.BRIK.gz", "d/q.par", "d/q.rec", "e/empty.txt", "g.hdr.gz", "g.img.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_walked_for_images_in_order(tree: Path) -> None:
    found = list(find_images(["."], recursive=True))
    assert found == [
        "./a.hdr",
        "./c.img",
        "./g.hdr.gz",
        "./s.zarr",
        "./b/1.NII",
        "./b/2.nii.gz",
        "./d/p.HEAD",
        "./d/q.par",
    ]
    assert list(find_images(["b", "x"])) == ["b", "x"], "not unless asked"


def test_a_folder_without_images_is_an_error(tree: Path) -> None:
    with pytest.raises(UsageError, match="e: no images in this folder"):
        list(find_images(["e"], recursive=True))


def test_one_bad_path_never_stops_the_others(tree: Path) -> None:
    inspected = list(inspect_images(["b", "missing.nii", "e", "b/1.NII"], recursive=False))
    assert [one.facts["path"] for one in inspected] == ["b", "missing.nii", "e", "b/1.NII"]
    assert all(one.header is None and one.message.startswith(one.facts["path"] + ": ") for one in inspected)
    assert all(set(one.facts) == {"schema", "path", "error"} for one in inspected)
    assert isinstance(inspected[3].cause, FormatError)


def test_pipes_in_a_folder_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "gone.nii").symlink_to("nowhere")
    assert list(find_images([str(tmp_path)], recursive=True)) == [str(tmp_path / "gone.nii")]

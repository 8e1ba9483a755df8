"""``medimg info``: what headers say, in every form, and what happens to what cannot be read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pytest

from medimg_cli.facts import KEYS

from .conftest import ROOT, Run

SCHEMA = json.loads((ROOT / "medimg_cli" / "schemas" / "info-1.json").read_text(encoding="utf-8"))
AFFINE = np.array([[-2, 0.3, 0, 90], [0.3, 2.5, 0, -126], [0, 0, 3.5, -72], [0, 0, 0, 1]])


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make an anatomical and a functional image, and a few that cannot be read."""
    monkeypatch.chdir(tmp_path)
    anatomy = nib.Nifti1Image(np.zeros((5, 6, 7), "uint8"), AFFINE)
    nib.save(anatomy, "t1.nii")
    bold = nib.Nifti1Image(np.zeros((4, 5, 6, 3), "int16"), AFFINE)
    bold.header.set_xyzt_units("mm", "sec")
    bold.header["pixdim"][4] = 0.72
    bold.header.set_slope_inter(2, 1)
    bold.header["descrip"] = b"made \x1b[31mred"
    other = AFFINE.copy()
    other[:3, 3] += 5
    bold.set_qform(other, 1)
    bold.set_sform(AFFINE, 2)
    nib.save(bold, "bold.nii.gz")
    Path("cut.nii").write_bytes(Path("t1.nii").read_bytes()[:200])
    Path("text.nii").write_text("this is no image at all")
    return {"t1": anatomy, "bold": bold}


def _json(medimg: Run, *words: str) -> Any:
    result = medimg("info", "--json", *words)
    records = json.loads(result.out)
    jsonschema.validate(records, SCHEMA)
    return records


def test_json_says_what_nibabel_says(medimg: Run, images: dict[str, Any]) -> None:
    t1, bold = _json(medimg, "t1.nii", "bold.nii.gz")
    assert list(t1) == list(KEYS)
    assert t1["shape"] == [1, 5, 6, 7] and bold["shape"] == [3, 4, 5, 6]
    np.testing.assert_allclose(t1["affine"], images["t1"].affine, atol=1e-5)
    np.testing.assert_allclose(bold["spacing_mm"], images["bold"].header.get_zooms()[:3], atol=1e-5)
    assert t1["orientation"] == "".join(nib.aff2axcodes(AFFINE))
    assert bold["axes"] == [{"kind": "time", "size": 3}] and bold["time_spacing_s"] == pytest.approx(0.72)
    assert (bold["slope"], bold["inter"]) == (2, 1)
    assert (bold["sform_code"], bold["qform_code"], bold["affine_source"]) == (2, 1, "sform")
    assert bold["compression"] == "gzip" and bold["format"] == "nifti1"
    assert bold["memory_bytes"] == 3 * 4 * 5 * 6 * 4
    assert t1["file_bytes"] == Path("t1.nii").stat().st_size


def test_one_image_is_a_page_that_fits(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("info", "bold.nii.gz")
    assert (result.code, result.err) == (0, "")
    rows = {line[:13].strip(): line[13:] for line in result.out.splitlines() if not line.startswith(" ")}
    assert rows["shape"] == "4 x 5 x 6, 3 time steps"
    assert rows["orientation"] == "LAS (axes run to left, anterior, superior)"
    assert "             oblique by 8.53 degrees\n             sheared by 1.69 degrees\n" in result.out
    assert "value = stored * 2 + 1" in rows["type"]
    assert rows["affine from"] == "sform (sform code 2, qform code 1)"
    assert "             sform and qform are 8.74 mm apart\n" in result.out
    assert rows["description"] == "made \\x1b[31mred"
    assert max(map(len, result.out.splitlines())) <= 80


def test_several_images_have_a_line_each(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("info", "t1.nii", "bold.nii.gz", "text.nii")
    assert result.code == 2
    head, *lines = result.out.splitlines()
    assert head.split() == ["SHAPE", "CHANNELS", "SPACING", "mm", "ORIENT", "TYPE", "PATH"]
    assert [line.split()[-1] for line in lines] == ["t1.nii", "bold.nii.gz", "(failed)"]
    assert " 3 time " in lines[1] and "int16*" in lines[1]
    assert len({line.rindex(name) for line, name in zip(lines, ("t1.nii", "bold", "text"), strict=True)}) == 1
    first, second = result.err.splitlines()
    assert first.startswith("medimg: text.nii: ")
    assert second == "medimg: bold.nii.gz: sform and qform are 8.74 mm apart, the sform is used"


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_errors_stand_in_place(medimg: Run, images: dict[str, Any], form: str) -> None:
    result = medimg("info", "--format", form, "text.nii", "t1.nii", "missing.nii")
    assert result.code == 2
    if form == "csv":
        records: list[Any] = list(csv.DictReader(io.StringIO(result.out)))
    else:
        records = json.loads(result.out) if form == "json" else [json.loads(line) for line in result.out.splitlines()]
    assert [record["path"] for record in records] == ["text.nii", "t1.nii", "missing.nii"]
    assert [bool(record.get("error")) for record in records] == [True, False, True]
    assert result.err.count("\n") == 2
    if form == "json":
        jsonschema.validate(records, SCHEMA)
        assert records[2] == {"schema": "medimg.info/1", "path": "missing.nii", "error": "no such file"}


def test_fields_are_bare(medimg: Run, images: dict[str, Any]) -> None:
    assert medimg("info", "--field", "shape", "t1.nii", "bold.nii.gz").out == "1 5 6 7\n3 4 5 6\n"
    assert medimg("info", "--field", "dtype", "--field", "intent", "t1.nii").out == "uint8\t\n"
    assert medimg("info", "--field", "units.space", "bold.nii.gz").out == "mm\n"
    assert medimg("info", "--field", "affine", "t1.nii").out.split()[3] == "90"
    result = medimg("info", "--field", "shap", "t1.nii")
    assert (result.code, result.out) == (2, "") and "did you mean" in result.err
    result = medimg("info", "--field", "shape", "text.nii", "t1.nii")
    assert (result.code, result.out) == (2, "1 5 6 7\n")


def test_all_shows_the_files_own_header(medimg: Run, images: dict[str, Any]) -> None:
    out = medimg("info", "--all", "t1.nii").out
    assert "sizeof_hdr" in out and "qoffset_x" in out
    (record,) = _json(medimg, "--all", "t1.nii")
    assert record["native"]["sizeof_hdr"] == 348


def test_folders_need_recursive(medimg: Run, images: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    Path("t1.nii").rename("sub/deep/t1.nii")
    Path("bold.nii.gz").rename("sub/bold.nii.gz")
    refused = medimg("info", "sub")
    assert refused.code == 2 and "--recursive" in refused.err
    result = medimg("info", "--recursive", "--field", "path", "sub")
    assert (result.code, result.out) == (0, "sub/bold.nii.gz\nsub/deep/t1.nii\n")


def test_standard_input_is_an_image_too(program: Run, images: dict[str, Any]) -> None:
    result = program("info", "--field", "shape", "-", stdin=Path("bold.nii.gz").read_bytes())
    assert (result.code, result.out) == (0, "3 4 5 6\n")


def test_freesurfer_files_are_known_without_their_name(program: Run, images: dict[str, Any]) -> None:
    stream = program("convert", "t1.nii", "t1.mgz")
    assert stream.code == 0
    result = program("info", "--field", "format", "-", stdin=Path("t1.mgz").read_bytes())
    assert (result.code, result.out) == (0, "mgh\n")


def test_noise_and_signs_are_readable(medimg: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), [[1, 4e-9, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image.header.set_slope_inter(7, -1024)
    nib.save(image, "ct.nii")
    out = medimg("info", "ct.nii").out
    assert "value = stored * 7 - 1024\n" in out and "affine       1  0  0  0\n" in out


def test_voxels_that_cannot_be_there_are_a_warning(medimg: Run, images: dict[str, Any]) -> None:
    whole = Path("t1.nii").read_bytes()
    Path("short.nii").write_bytes(whole[:400])
    (record,) = _json(medimg, "short.nii")
    assert record["warnings"] and medimg("info", "short.nii").code == 0
    assert "warning" in medimg("info", "short.nii").out
    assert "short.nii" in medimg("info", "short.nii", "t1.nii").err


def test_a_cut_header_is_one_line(medimg: Run, images: dict[str, Any]) -> None:
    result = medimg("info", "cut.nii")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)

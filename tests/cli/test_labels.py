"""``medimg labels``: what it lists, what it writes, and that the table travels everywhere."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medimg_cli.backends import ArrayBackend
from medimg_cli.cli.render import Column, Console, emit
from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labelling import KEYS
from medimg_cli.labels import LabelTable
from tests.cli.conftest import Run, environment
from tests.helpers import AFFINES

TABLE = LabelTable([(1, "liver", (221, 130, 101)), (2, "spleen", (157, 108, 162)), (17, "left kidney", (185, 102, 83))])
FREESURFER = "#No. Label Name: R G B A\n0 Unknown 0 0 0 0\n1 Leber 255 0 0 0\n2 Milz 0 255 0 0\n5 Niere 0 0 255 0\n"


def labelled(**fields: Any) -> ArrayBackend:
    """Return three labels, of which 1 is in two pieces, on an oblique grid."""
    array = np.zeros((1, 8, 9, 10), "uint8")
    array[0, 1:3, 2:5, 3:7] = 1
    array[0, 6, 7, 8] = 1
    array[0, 4:8, 0:2, 0:3] = 2
    array[0, 0, 8, 0:4] = 17
    header = Header(shape=array.shape, dtype="uint8", affine=AFFINES["oblique"], **{"labels": TABLE, **fields})
    return ArrayBackend(array, header)


@pytest.fixture
def seg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """A label map with a table in the empty current folder: ``seg.nii.gz``."""
    monkeypatch.chdir(tmp_path)
    save_backend(labelled(), "seg.nii.gz")
    return np.asarray(labelled().array[0])


def voxels(path: str) -> np.ndarray[Any, Any]:
    image: Any = nib.load(path)
    return np.asarray(image.dataobj)


def renumbered(array: np.ndarray[Any, Any], numbers: dict[int, int]) -> np.ndarray[Any, Any]:
    return np.array([numbers.get(value, value) for value in array.ravel().tolist()]).reshape(array.shape)


def names(path: str) -> dict[int, tuple[str, str | None]]:
    return {each.value: (each.name, each.hex) for each in open_backend(path).header.labels or ()}


# listing


def test_json_is_what_the_image_holds(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    result = medimg("labels", "--json", "--components", "seg.nii.gz")
    records = json.loads(result.out)
    affine = nib.load("seg.nii.gz").affine  # type: ignore[attr-defined]
    assert result.code == 0 and [record["value"] for record in records] == [1, 2, 17]
    for record, label in zip(records, TABLE, strict=True):
        places = np.argwhere(seg == label.value)
        assert tuple(record) == KEYS
        assert record["schema"] == "medimg.labels/1" and record["path"] == "seg.nii.gz"
        assert (record["name"], record["color"], record["channel"]) == (label.name, label.hex, None)
        assert record["voxels"] == len(places)
        assert record["volume_mm3"] == pytest.approx(len(places) * abs(np.linalg.det(affine)), rel=1e-6)
        assert record["centroid_mm"] == pytest.approx((places @ affine[:3, :3].T + affine[:3, 3]).mean(0), abs=1e-4)
        assert record["box"] == [[low, high + 1] for low, high in zip(places.min(0), places.max(0), strict=True)]
        whole = sitk.ConnectedComponentImageFilter()
        whole.SetFullyConnected(True)
        whole.Execute(sitk.GetImageFromArray((seg == label.value).astype("uint8").T))
        assert record["components"] == whole.GetObjectCount()
    assert json.loads(medimg("labels", "--json", "seg.nii.gz").out)[0]["components"] is None


def test_the_table_is_for_people(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    lines = medimg("labels", "seg.nii.gz").out.splitlines()
    assert lines[0].split() == ["VALUE", "COLOR", "NAME", "VOXELS", "MM3", "CENTROID", "mm", "BOX"]
    assert lines[1].split()[:4] == ["1", "#dd8265", "liver", "25"] and lines[1].endswith("1:7 2:8 3:9")
    assert len(lines) == 4 and "COMPONENTS" in medimg("labels", "--components", "seg.nii.gz").out
    assert "\x1b" not in "".join(lines)
    save_backend(labelled(labels=None), "bare.nii")
    bare = medimg("labels", "bare.nii").out
    assert "NAME" not in bare and "COLOR" not in bare
    assert medimg("labels", "bare.nii", "seg.nii.gz").out.splitlines()[0].endswith("PATH")


def test_other_forms(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    (first, *_) = csv.DictReader(io.StringIO(medimg("labels", "--format", "csv", "seg.nii.gz").out))
    assert (first["name"], first["voxels"], first["box"]) == ("liver", "25", "1 7 2 8 3 9")
    lines = medimg("labels", "--format", "jsonl", "seg.nii.gz").out.splitlines()
    assert [json.loads(line)["value"] for line in lines] == [1, 2, 17]
    assert medimg("labels", "--field", "value", "--field", "name", "seg.nii.gz").out == (
        "1\tliver\n2\tspleen\n17\tleft kidney\n"
    )


def test_background_and_absent_labels_are_listed_when_asked(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    Path("lut.txt").write_text(FREESURFER)
    plain = json.loads(medimg("labels", "--json", "--table", "lut.txt", "seg.nii.gz").out)
    assert [(each["value"], each["name"]) for each in plain] == [(1, "Leber"), (2, "Milz"), (17, None)]
    found = json.loads(medimg("labels", "--json", "--all", "--components", "--table", "lut.txt", "seg.nii.gz").out)
    assert [each["value"] for each in found] == [0, 1, 2, 17, 5]
    assert found[0]["name"] == "Unknown" and found[0]["voxels"] == int((seg == 0).sum())
    absent = {key: found[-1][key] for key in ("voxels", "volume_mm3", "centroid_mm", "box", "components", "name")}
    assert absent == {
        "voxels": 0, "volume_mm3": 0, "centroid_mm": None, "box": None, "components": 0, "name": "Niere"
    }  # fmt: skip
    assert "Niere" in medimg("labels", "--all", "--table", "lut.txt", "seg.nii.gz").out


def test_channels_are_told_apart(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    image = labelled()
    array = np.concatenate([image.array, image.array[:, ::-1]])
    save_backend(ArrayBackend(array, image.header.replace(shape=array.shape)), "two.nii")
    records = json.loads(medimg("labels", "--json", "two.nii").out)
    assert [(each["channel"], each["value"]) for each in records] == [(c, v) for c in (0, 1) for v in (1, 2, 17)]
    assert "CHANNEL" in medimg("labels", "two.nii").out


def test_one_bad_input_never_stops_the_others(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 3, 4), 0.5, "float32"), np.eye(4)), "t1.nii")
    result = medimg("labels", "--json", "nothing.nii", "t1.nii", "seg.nii.gz")
    assert result.code == 2
    assert [each.get("error", "")[:9] for each in json.loads(result.out)] == ["no such f", "holds 0.5", "", "", ""]
    assert len(result.err.splitlines()) == 2 and "labels are whole numbers" in result.err
    table = medimg("labels", "nothing.nii", "seg.nii.gz")
    assert table.code == 2 and len(table.out.splitlines()) == 4


def test_labels_in_floats_are_fine(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    nib.save(nib.Nifti1Image(seg.astype("float64"), np.eye(4)), "f.nii")
    assert medimg("labels", "--field", "value", "f.nii").out.split() == ["1", "2", "17"]


def test_standard_input(program: Run, seg: np.ndarray[Any, Any]) -> None:
    result = program("labels", "--field", "name", "-", stdin=Path("seg.nii.gz").read_bytes())
    assert result.out.splitlines() == ["liver", "spleen", "left kidney"]


def test_a_broken_table_beside_is_a_warning(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "bare.nii")
    Path("bare.tsv").write_text("index\tname\nx\ty\n")
    result = medimg("labels", "bare.nii")
    assert result.code == 0 and "bare.tsv beside it is ignored" in result.err and "1 " in result.out
    assert "bare.tsv" in medimg("info", "bare.nii").out


@pytest.mark.parametrize("neighbours", ["6", "26"])
def test_neighbours(medimg: Run, seg: np.ndarray[Any, Any], neighbours: str) -> None:
    array = np.zeros((3, 3, 3), "uint8")
    array[0, 0, 0] = array[1, 1, 1] = 1
    nib.save(nib.Nifti1Image(array, np.eye(4)), "d.nii")
    found = medimg("labels", "--components", "--neighbours", neighbours, "--field", "components", "d.nii").out
    assert found == {"6": "2\n", "26": "1\n"}[neighbours]


def test_swatches_keep_columns_aligned(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    """Alignment goes by what is seen: without its escapes, a coloured table is the plain one with room for the blocks."""
    colored = medimg("labels", "--color", "always", "seg.nii.gz").out
    assert "\x1b[48;2;221;130;101m  \x1b[0m #dd8265  liver" in colored
    seen = re.sub("\x1b\\[[0-9;]*m", "", colored).splitlines()
    plain = medimg("labels", "--color", "never", "seg.nii.gz").out.splitlines()
    assert [line.split() for line in seen] == [line.split() for line in plain]
    assert len({line.index(word) for line, word in zip(seen, ("NAME", "liver", "spleen", "left"), strict=True)}) == 1


def test_columns_without_colour_get_no_swatch(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (
        Column("A", lambda row: row["text"], swatch=lambda row: row["rgb"], right=True),
        Column("B", lambda row: ["x", "\x1b[2J"]),
    )
    records: list[dict[str, Any]] = [{"text": "one\x1b[1m", "rgb": (1, 2, 3)}, {"text": "four", "rgb": None}]
    emit("table", records, columns=columns, console=Console(color="always"))
    _, first, more, second, _ = capsys.readouterr().out.splitlines()
    assert first == "\x1b[48;2;1;2;3m  \x1b[0m one\\x1b[1m  x"
    assert more.strip() == "\\x1b[2J" and second == "four".rjust(13) + "  x"
    emit("table", records, columns=columns, console=Console(color="never"))
    assert "\x1b" not in capsys.readouterr().out


# changing


def test_remap(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    result = medimg("labels", "--remap", "1=2,2=1,left kidney=5", "seg.nii.gz", "out.nii.gz")
    assert result.code == 0 and "1 (liver) -> 2" in result.err and not result.out
    assert np.array_equal(voxels("out.nii.gz"), renumbered(seg, {1: 2, 2: 1, 17: 5}))
    assert names("out.nii.gz") == {
        2: ("liver", "#dd8265"), 1: ("spleen", "#9d6ca2"), 5: ("left kidney", "#b96653")
    }  # fmt: skip
    (step,) = open_backend("out.nii.gz").header.history
    assert step["name"] == "remap"
    assert medimg("labels", "--remap", "1=2", "seg.nii.gz", "out.nii.gz").code == 2  # exists
    assert medimg("labels", "--quiet", "--force", "--remap", "1=2", "seg.nii.gz", "out.nii.gz").err == ""


def test_keep(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    assert medimg("labels", "--keep", "spleen,17", "seg.nii.gz", "out.mgz").code == 0
    assert np.array_equal(voxels("out.mgz"), np.where(np.isin(seg, (2, 17)), seg, 0))
    assert set(names("out.mgz")) == {2, 17}


def test_merge(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    assert medimg("labels", "--merge", "1,spleen=9:organs", "--merge", "17=3", "seg.nii.gz", "out.seg.nrrd").code == 0
    found = open_backend("out.seg.nrrd").read((range(1), range(8), range(9), range(10)))[0]
    assert np.array_equal(found, renumbered(seg, {1: 9, 2: 9, 17: 3}))
    assert names("out.seg.nrrd") == {9: ("organs", "#dd8265"), 3: ("left kidney", "#b96653")}


def test_extract(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    nib.save(nib.Nifti1Image(seg.astype("int32"), np.diag([2, 2, 3, 1])), "wide.nii")
    assert medimg("labels", "--extract", "17,1", "wide.nii", "out.nii").code == 0
    assert voxels("out.nii").dtype == np.uint8
    assert np.array_equal(voxels("out.nii"), np.isin(seg, (1, 17)))
    assert medimg("labels", "--extract", "liver", "seg.nii.gz", "liver.nii").code == 0
    assert names("liver.nii") == {1: ("liver", "#dd8265")}


def test_embed(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    Path("lut.txt").write_text(FREESURFER)
    assert medimg("labels", "--table", "lut.txt", "--embed", "seg.nii.gz", "out.nii.gz").code == 0
    assert names("out.nii.gz")[2] == ("Milz", "#00ff00") and len(names("out.nii.gz")) == 4
    assert open_backend("out.nii.gz").header.history == ()
    assert medimg("labels", "--table", "lut.txt", "--embed", "--keep", "leber", "seg.nii.gz", "one.nii").code == 0
    assert {0, 1} >= set(names("one.nii")) and names("one.nii")[1][0] == "Leber"
    assert medimg("labels", "--table", "lut.txt", "--keep", "leber", "seg.nii.gz", "two.nii").code == 0
    assert names("two.nii") == names("one.nii")  # the table that is given is that of the output


def test_names_with_commas(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    Path("lut.tsv").write_text("index\tname\n1\tcortex, left\n2\tcortex, right\n3\tcortex\n")
    words = ("labels", "--table", "lut.tsv")
    assert medimg(*words, "--keep", "cortex,right , cortex", "seg.nii.gz", "a.nii.gz").code == 0
    assert set(np.unique(voxels("a.nii.gz"))) == {0, *({2, 3} & set(np.unique(seg)))}
    assert medimg(*words, "--remap", "cortex, left=7,cortex=8", "seg.nii.gz", "b.nii.gz").code == 0
    assert np.array_equal(voxels("b.nii.gz") == 7, seg == 1)


def test_batches(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(), "b.nrrd")
    result = medimg("labels", "--keep", "1", "seg.nii.gz", "b.nrrd", "nothing.nii", "--output-dir", "o", "--jobs", "2")
    assert result.code == 2 and sorted(path.name for path in Path("o").iterdir()) == ["b.nrrd", "seg.nii.gz"]
    assert np.array_equal(voxels("o/seg.nii.gz"), seg == 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--keep", "99", "seg.nii.gz", "o.nii"], "no voxel is 99, and no table names it"),
        (["--keep", "livr", "seg.nii.gz", "o.nii"], "did you mean 'liver'"),
        (["--remap", "1=300", "seg.nii.gz", "o.nii"], "label 300 does not fit into uint8"),
        (["--remap", "1=300,2", "seg.nii.gz", "o.nii"], "is no pair"),
        (["--remap", "1=2,liver=3", "seg.nii.gz", "o.nii"], "remapped twice"),
        (["--embed", "seg.nii.gz", "o.nii"], "--embed needs a table"),
        (["--keep", "1", "--extract", "2", "seg.nii.gz", "o.nii"], "exclude each other"),
        (["--keep", "1", "seg.nii.gz"], "missing"),
        (["--table", "nothing.txt", "seg.nii.gz"], "nothing.txt"),
        (["--output-dir", "x", "seg.nii.gz"], "no image is written"),
        ([], "no image"),
        (["--save-table", "x.xyz", "seg.nii.gz"], "no label table format has the suffix"),
        (["--save-table", "x.tsv", "seg.nii.gz", "seg.nii.gz"], "2 images for one table"),
        (["--save-table", "x.tsv", "--keep", "1", "seg.nii.gz"], "changes no image"),
    ],
)
def test_mistakes_are_one_line(medimg: Run, seg: np.ndarray[Any, Any], words: list[str], says: str) -> None:
    result = medimg("labels", *words)
    assert result.code == 2 and says in result.err and len(result.err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["seg.nii.gz"]


@pytest.mark.parametrize("suffix", [".ctbl", ".tsv", ".json", ".label", ".txt", ".lut"])
def test_save_table(medimg: Run, seg: np.ndarray[Any, Any], suffix: str) -> None:
    result = medimg("labels", "--save-table", f"t{suffix}", "seg.nii.gz")
    assert result.code == 0 and not result.out
    expected = TABLE.fit(LabelTable.format_of(f"t{suffix}"))
    assert LabelTable.read(f"t{suffix}") == expected and ("changed" in result.err) == (expected != TABLE)
    assert medimg("labels", "--save-table", f"t{suffix}", "seg.nii.gz").code == 2
    assert medimg("labels", "--force", "--save-table", f"t{suffix}", "seg.nii.gz").code == 0
    again = medimg("labels", "--table", f"t{suffix}", "--field", "color", "seg.nii.gz").out.split()
    assert again == [each.hex for each in TABLE]


def test_a_table_that_is_not_there_cannot_be_saved(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "bare.nii")
    result = medimg("labels", "--save-table", "t.tsv", "bare.nii")
    assert result.code == 2 and "has no label table" in result.err and not Path("t.tsv").exists()


# travelling


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd", ".mgz", ".mha", ".mif", ".mif.gz", ".npz", ".npy", ".gipl"])
def test_the_table_travels_through_every_change(medimg: Run, seg: np.ndarray[Any, Any], suffix: str) -> None:
    """Names and colours, through formats that hold them and formats with a table beside."""
    here = f"a{suffix}"
    assert medimg("convert", "seg.nii.gz", here).code == 0
    for number, words in enumerate(
        (
            ["convert"],
            ["reorient", "--to", "PIR"],
            ["slice", "--index", "[:, 0:7, ::-1, 1:]"],
            ["resample", "--spacing", "1.5"],
            ["labels", "--remap", "1=2,2=1"],
        )
    ):
        there = f"b{number}{suffix}"
        result = medimg(*words, here, there)
        assert result.code == 0 and "label table" not in result.err, result.err
        expected = {each.value: (each.name, each.hex) for each in TABLE}
        if words[0] == "labels":
            expected[1], expected[2] = expected[2], expected[1]
        assert names(there) == expected, words
        assert medimg("convert", there, f"back{number}.nii").code == 0
        assert names(f"back{number}.nii") == expected
        assert {0, 1, 2, 17} >= set(np.unique(voxels(f"back{number}.nii")).tolist())
    assert Path("b1.tsv").exists() == (suffix in (".npy", ".gipl"))


def test_a_table_beside_travels_word_by_word(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "sub-1_dseg.nii.gz")
    text = "index\tname\tmapping\n1\tliver\t8\n2\tspleen\t9\n"
    Path("sub-1_dseg.tsv").write_text(text)
    for output in ("r.nii.gz", "r2.mif", "r3.npy"):
        assert medimg("reorient", "--to", "LPS", "sub-1_dseg.nii.gz", output).code == 0
        assert names(output) == {1: ("liver", None), 2: ("spleen", None)}
    assert Path("r.tsv").read_text() == Path("r2.tsv").read_text() == text
    assert LabelTable.read("r3.tsv") == LabelTable([(1, "liver"), (2, "spleen")])
    assert medimg("labels", "--remap", "1=4", "sub-1_dseg.nii.gz", "m_dseg.nii.gz").code == 0
    assert Path("m_dseg.tsv").read_text() == "index\tname\n4\tliver\n2\tspleen\n"
    assert names("m_dseg.nii.gz") == {4: ("liver", None), 2: ("spleen", None)}


def test_a_table_beside_an_output_is_guarded(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "x.nii")
    Path("x.tsv").write_text("index\tname\n1\tliver\n")
    Path("y.tsv").write_text("mine")
    refused = medimg("convert", "x.nii", "y.nii")
    assert refused.code == 2 and "the label table exists" in refused.err
    assert not Path("y.nii").exists() and Path("y.tsv").read_text() == "mine"
    assert medimg("convert", "--force", "x.nii", "y.nii").code == 0
    assert Path("y.tsv").read_text() == Path("x.tsv").read_text()


def test_an_image_changed_in_place_changes_its_table(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "x.nii")
    Path("x.tsv").write_text("index\tname\n1\tliver\n")
    assert medimg("labels", "--force", "--remap", "1=3", "x.nii", "x.nii").code == 0
    assert Path("x.tsv").read_text() == "index\tname\n3\tliver\n"
    assert medimg("labels", "--remap", "3=1", "x.nii", "x.mha").code == 0  # it shares the name, not the table
    assert Path("x.tsv").read_text() == "index\tname\n3\tliver\n" and set(names("x.mha")) == {1}


def test_a_table_that_is_not_its_own_is_told(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(labels=None), "bare.nii")
    Path("y.tsv").write_text("index\tname\n1\tliver\n")
    result = medimg("convert", "bare.nii", "y.nii")
    assert result.code == 0 and "y.tsv beside the output was there before" in result.err


def test_a_stream_has_nothing_beside_it(seg: np.ndarray[Any, Any]) -> None:
    command = [sys.executable, "-m", "medimg_cli", "convert", "seg.nii.gz", "-", "--suffix", ".npy"]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=120, check=True)
    assert b"label table: dropped" in done.stderr and np.load(io.BytesIO(done.stdout)).shape == (8, 9, 10)


def test_options_of_lists_are_refused_where_an_image_is_written(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    for words in (["--json"], ["--components"], ["--field", "value"], ["--format", "csv"]):
        done = medimg("labels", "--keep", "1", *words, "seg.nii.gz", "o.nii")
        assert done.code == 2 and "is for listing labels" in done.err and not Path("o.nii").exists()


def test_labels_that_become_one_are_told(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    save_backend(labelled(), "named.nrrd")
    done = medimg("labels", "--remap", "1=2", "named.nrrd", "o.nrrd")
    assert done.code == 0 and "there already and cannot be told apart" in done.err
    swapped = medimg("labels", "--remap", "1=2,2=1", "named.nrrd", "p.nrrd")
    assert swapped.code == 0 and "told apart" not in swapped.err


def test_intensities_are_doubted(medimg: Run, seg: np.ndarray[Any, Any]) -> None:
    array = np.arange(6 * 10 * 12, dtype="int16").reshape(1, 6, 10, 12)
    save_backend(ArrayBackend(array, Header(shape=array.shape, dtype="int16", affine=AFFINES["oblique"])), "scan.nii")
    done = medimg("labels", "scan.nii")
    assert done.code == 0 and "it holds 720 different values, and nothing says that they are labels" in done.err

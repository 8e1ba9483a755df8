"""Label tables beside images: found by themselves, written where the format has no room, never another image's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.backends import ArrayBackend
from medimg_cli.errors import LossError, StorageError
from medimg_cli.formats import open_backend
from medimg_cli.formats.tables import table_path
from medimg_cli.formats.writing import losses, save_backend, what_comes_back
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from tests.helpers import AFFINES, LABELS, contents, make, one_line

TEXT = "index\tname\tcolor\tmapping\n0\tBackground\tn/a\t0\n1\tgrey matter\t#ff0000\t8\n2\twhite matter\t#00ff0a\t9\n"
TABLE = LabelTable([(0, "Background"), (1, "grey matter", (255, 0, 0)), (2, "white matter", (0, 255, 10))])


def bare(dtype: str = "uint8", **fields: Any) -> ArrayBackend:
    """Return a label map that knows no names."""
    image = make("labels")
    header = image.header.replace(labels=None, intent=None, dtype=dtype, **fields)
    return ArrayBackend(image.array.astype(dtype), header)


def table_of(path: Path | str) -> LabelTable | None:
    return open_backend(str(path)).header.labels


# reading


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mif", "a.mha", "a.nrrd", "a.npy", "a.mgz", "a.gipl", "a.hdr"])
def test_a_table_beside_an_image_is_found(tmp_path: Path, name: str) -> None:
    save_backend(bare(), str(tmp_path / name))
    assert table_of(tmp_path / name) is None
    (tmp_path / "a.tsv").write_text(TEXT, encoding="utf-8-sig")
    assert table_of(tmp_path / name) == TABLE
    assert table_path(f"x/{name}") == "x/a.tsv"


def test_a_table_inside_counts(tmp_path: Path) -> None:
    save_backend(make("labels"), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_text(TEXT)
    assert table_of(tmp_path / "a.nii") == LABELS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("index\tname\n1\n", "line 2: 1 columns"),
        ("index\tname\nx\ta\n", "index 'x'"),
        ("index\tname\n1\ta\n1\tb\n", "occurs again"),
        ("index\tname\tcolor\n1\ta\tred\n", "color 'red'"),
        ("index\tname\n1\t\xff\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_broken_table_is_a_warning(tmp_path: Path, text: str | bytes, says: str) -> None:
    save_backend(bare(), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
    header = open_backend(str(tmp_path / "a.nii")).header
    (warning,) = header.warnings
    assert header.labels is None and says in warning and "a.tsv" in warning and "\n" not in warning


@pytest.mark.parametrize("text", ["onset\tduration\n0\t1\n", "", "1 2 3\n", "index\tname\n", "\0\0\0\0"])
def test_tables_of_another_kind_are_let_be(tmp_path: Path, text: str) -> None:
    save_backend(bare(), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_text(text)
    header = open_backend(str(tmp_path / "a.nii")).header
    assert header.labels is None and header.warnings == ()


def test_under_a_name_that_promises_a_table_any_other_is_a_warning(tmp_path: Path) -> None:
    save_backend(bare("float32"), str(tmp_path / "a_dseg.nii"))
    (tmp_path / "a_dseg.tsv").write_text("nr\tname\n1\ta\n")
    assert "no columns 'index'" in open_backend(str(tmp_path / "a_dseg.nii")).header.warnings[-1]
    (tmp_path / "a_dseg.tsv").write_text(TEXT)
    assert table_of(tmp_path / "a_dseg.nii") == TABLE  # labels in floats, too


@pytest.mark.parametrize("kind", ["scaled", "rgb", "channels", "left-handed"])
def test_images_of_intensities_have_no_table(tmp_path: Path, kind: str) -> None:
    save_backend(make(kind), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_text(TEXT)
    assert table_of(tmp_path / "a.nii") is None


@pytest.mark.parametrize("table", ["desc-aseg_dseg.tsv", "dseg.tsv", "sub-1/desc-aseg_dseg.tsv"])
def test_tables_are_inherited_from_the_data_set(tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sub-1" / "ses-2" / "anat"
    folder.mkdir(parents=True)
    (tmp_path / table).write_text(TEXT)
    save_backend(bare(), str(folder / "sub-1_desc-aseg_dseg.nii.gz"))
    save_backend(bare(), str(folder / "sub-1_desc-other_T1w.nii.gz"))
    assert table_of(folder / "sub-1_desc-aseg_dseg.nii.gz") == TABLE
    assert table_of(folder / "sub-1_desc-other_T1w.nii.gz") is None
    monkeypatch.chdir(folder)
    assert table_of("sub-1_desc-aseg_dseg.nii.gz") == TABLE
    save_backend(open_backend("sub-1_desc-aseg_dseg.nii.gz"), "copy_dseg.npy")
    assert table_of("copy_dseg.npy") == TABLE and Path("copy_dseg.tsv").exists()


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.tsv").write_text(TEXT)
    folder = tmp_path / "here"
    folder.mkdir()
    save_backend(bare(), str(folder / "a.nii"))
    (folder / "a.tsv").symlink_to("../elsewhere.tsv")
    header = open_backend(str(folder / "a.nii")).header
    assert header.labels is None and "a link out of its own folder" in header.warnings[-1]
    (folder / "a.tsv").unlink()
    (folder / "a.tsv").symlink_to("nowhere.tsv")
    assert open_backend(str(folder / "a.nii")).header.warnings == ()


# writing


@pytest.mark.parametrize("name", ["a.npy", "a.gipl", "a.gipl.gz", "a.vtk", "a.tif"])
def test_a_table_that_has_no_room_lies_beside(tmp_path: Path, name: str) -> None:
    image = make("labels")
    assert "labels" not in {loss.field for loss in losses(image.header, str(tmp_path / name))}
    assert "labels" not in {loss.field for loss in save_backend(image, str(tmp_path / name))}
    assert sorted(contents(tmp_path)) == sorted([name, "a.tsv"])
    assert table_of(tmp_path / name) == LABELS == what_comes_back(image.header, str(tmp_path / name)).labels
    assert LabelTable.read(tmp_path / "a.tsv") == LABELS


@pytest.mark.parametrize("name", ["a.nii", "a.seg.nrrd", "a.mgz", "a.mha", "a.mif", "a.nii.zarr"])
def test_a_table_that_has_room_does_not(tmp_path: Path, name: str) -> None:
    save_backend(make("labels"), str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert table_of(tmp_path / name) == LABELS


def test_what_a_table_beside_cannot_hold_is_reported(tmp_path: Path) -> None:
    image = make("labels")
    image.header = image.header.replace(labels=LabelTable([(1, "a", (1, 2, 3, 4))]))
    (loss,) = [loss for loss in save_backend(image, str(tmp_path / "a.npy")) if loss.field == "labels"]
    assert "changed" in loss.note
    with pytest.raises(LossError, match="label table"):
        save_backend(image, str(tmp_path / "b.npy"), strict=True)
    assert sorted(contents(tmp_path)) == ["a.npy", "a.tsv"]


def test_where_nothing_can_lie_beside_the_table_is_lost(tmp_path: Path) -> None:
    lost = save_backend(make("labels"), str(tmp_path / "a.npy"), alone=True)
    assert "labels" in {loss.field for loss in lost} and sorted(contents(tmp_path)) == ["a.npy"]


def test_names_of_intensities_in_floats_are_lost_and_said(tmp_path: Path) -> None:
    image = make("labels")
    image = ArrayBackend(image.array / 2, image.header.replace(dtype="float64"))
    assert "labels" in {loss.field for loss in save_backend(image, str(tmp_path / "a.npy"))}
    assert sorted(contents(tmp_path)) == ["a.npy"]


def test_an_existing_table_is_not_replaced_without_force(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("mine")
    with pytest.raises(StorageError, match="already exists") as caught:
        save_backend(make("labels"), str(tmp_path / "a.npy"))
    assert one_line(caught.value) and contents(tmp_path) == {"a.tsv": b"mine"}
    save_backend(make("labels"), str(tmp_path / "a.npy"), force=True)
    assert table_of(tmp_path / "a.npy") == LABELS


def test_a_table_that_says_the_same_stays(tmp_path: Path) -> None:
    """Two images share it, and columns that only others know are kept."""
    save_backend(bare(), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_text(TEXT)
    save_backend(open_backend(str(tmp_path / "a.nii")), str(tmp_path / "a.npy"))
    assert (tmp_path / "a.tsv").read_text() == TEXT and table_of(tmp_path / "a.npy") == TABLE


@pytest.mark.parametrize("force", [False, True])
def test_the_table_of_another_image_is_never_replaced(tmp_path: Path, force: bool) -> None:
    save_backend(bare(), str(tmp_path / "a.nii"))
    (tmp_path / "a.tsv").write_text(TEXT)
    with pytest.raises(StorageError, match=r"belongs to a\.nii"):
        save_backend(make("labels"), str(tmp_path / "a.npy"), force=force)
    assert sorted(contents(tmp_path)) == ["a.nii", "a.tsv"] and (tmp_path / "a.tsv").read_text() == TEXT


def test_nothing_is_left_where_the_image_could_not_be_written(tmp_path: Path) -> None:
    class Broken(ArrayBackend):
        def blocks(self, *_: Any, **__: Any) -> Any:
            raise StorageError("the disk is on fire")
            yield

    header = Header(shape=(1, 2, 3, 4), dtype="uint8", affine=AFFINES["oblique"], labels=LABELS)
    with pytest.raises(StorageError, match="on fire"):
        save_backend(Broken(np.zeros((1, 2, 3, 4), "uint8"), header), str(tmp_path / "a.npy"))
    assert contents(tmp_path) == {}

"""Which label map belongs to which image, and what is said where their grids differ."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.pairing import parse_pair
from medimg_cli.checks.rule import Finding
from medimg_cli.errors import UsageError
from tests.checks.planted_sets import OBLIQUE, SHAPE, mask, moved, ramp, save


def findings(*paths: object, pair: tuple[str, str], select: tuple[str, ...] = ("S",)) -> list[Finding]:
    config = load_config(Wishes(isolated=True, select=select, pair=pair))
    return [each for checked in check_paths(map(str, paths), Checking(config=config)) for each in checked.findings]


@pytest.mark.parametrize(
    ("images", "labels", "path", "expected"),
    [
        ("images/*.nii.gz", "labels/{name}", "images/a.nii.gz", "labels/a.nii.gz"),
        ("images/*.nii.gz", "labels/{name}", "/data/train/images/a.nii.gz", "/data/train/labels/a.nii.gz"),
        ("images/*.nii.gz", "labels/{name}", "./images/a.nii.gz", "labels/a.nii.gz"),
        ("images/*.nii.gz", "labels/{name}", "images/deeper/a.nii.gz", None),
        ("images/*.nii.gz", "labels/{name}", "myimages/a.nii.gz", None),
        ("images/*.nii.gz", "labels/{name}", "images/a.nii", None),
        ("images/*", "labels/{stem}.seg.nrrd", "x/images/a.b.nii.gz", "x/labels/a.b.seg.nrrd"),
        ("imagesTr/*_0000.nii.gz", "labelsTr/{1}.nii.gz", "imagesTr/case_1_0000.nii.gz", "labelsTr/case_1.nii.gz"),
        ("imagesTr/*_0000.nii.gz", "labelsTr/{1}.nii.gz", "imagesTr/case_1_0001.nii.gz", None),
        ("*/t1.nii", "{1}/seg.nii", "set/case 7/t1.nii", "set/case 7/seg.nii"),
        ("sub-*/anat/*_T1w.nii.gz", "derived/sub-{1}/{2}_dseg.nii.gz", "d/sub-1/anat/x_T1w.nii.gz", "d/derived/sub-1/x_dseg.nii.gz"),
        ("*_T1w.nii.gz", "{dir}/{1}_dseg.nii.gz", "d/sub-1/anat/x_T1w.nii.gz", "d/sub-1/anat/x_dseg.nii.gz"),
        ("*_T1w.nii.gz", "{dir}/../seg/{1}.nii.gz", "d/anat/x_T1w.nii.gz", "d/seg/x.nii.gz"),
        ("images/**/*.nii", "labels/{1}/{2}.nii", "images/a/b/c.nii", "labels/a/b/c.nii"),
        ("images/**/*.nii", "labels/{1}/{2}.nii", "images/c.nii", "labels/c.nii"),
        ("/data/a[12].nii", "/labels/{name}", "/data/a1.nii", "/labels/a1.nii"),
        ("/data/a[12].nii", "/labels/{name}", "/x/data/a1.nii", None),
        ("a[!2]?.nii", "{stem}_l.nii", "a1+.nii", "a1+_l.nii"),
        ("a[!2]?.nii", "{stem}_l.nii", "a2+.nii", None),
        ("im.ages/*.nii", "l/{name}", "imXages/a.nii", None),
    ],
)  # fmt: skip
def test_where_the_label_map_of_an_image_is(images: str, labels: str, path: str, expected: str | None) -> None:
    assert parse_pair(images, labels).label_of(path) == expected


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("", "labels/{name}"),
        ("images/*", ""),
        ("images/*.nii", "labels/{nmae}"),
        ("images/*.nii", "labels/{2}.nii"),
        ("images/*.nii", "labels/{0}.nii"),
        ("images/*.nii", "labels/{dir}/{name}"),
        ("images/*.nii", "labels/{}.nii"),
        ("images/*.nii", "{directory}/a.nii"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(images: str, labels: str) -> None:
    with pytest.raises(UsageError, match="--pair"):
        parse_pair(images, labels)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    """Names with characters of regular expressions and of patterns are compared as they are."""
    folder = tmp_path / "a(b[c]+d{1}"
    save(folder / "images" / "x[1].nii", ramp())
    save(folder / "labels" / "x[1].nii", mask((7, 6, 4)))
    pair = ("images/*.nii", "labels/{name}")
    assert [each.code for each in findings(folder, pair=pair)] == ["S001"]
    assert [each.code for each in findings(folder / "labels", pair=pair)] == ["S001"]
    assert [each.code for each in findings(folder / "images", pair=pair)] == ["S001"]


def test_the_finding_is_about_the_label_map_or_the_path_that_was_given(tmp_path: Path) -> None:
    image, label = save(tmp_path / "images/a.nii", ramp()), save(tmp_path / "labels/a.nii", mask((7, 6, 4)))
    pair = ("images/*.nii", "labels/{name}")
    assert [each.path for each in findings(tmp_path, pair=pair)] == [str(label)]
    assert [each.path for each in findings(label, pair=pair)] == [str(label)]
    assert [each.path for each in findings(image, pair=pair)] == [str(image)]


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "images/a.nii", ramp())
    save(tmp_path / "labels/b.nii", mask())
    monkeypatch.chdir(tmp_path)
    pair = ("images/*.nii", "labels/{name}")
    expected = [("S004", "images/a.nii"), ("S005", "labels/b.nii")]
    assert [(each.code, os.path.normpath(each.path)) for each in findings(".", pair=pair)] == expected
    assert [(each.code, each.path) for each in findings("images", "labels", pair=pair)] == expected


@pytest.mark.parametrize("steps", [(0.5, 0, 0), (0, -2, 0), (0, 0, 1.25), (1, 1, 1)])
def test_the_shift_is_that_of_the_worst_corner(tmp_path: Path, steps: tuple[float, float, float]) -> None:
    save(tmp_path / "images/a.nii", ramp())
    save(tmp_path / "labels/a.nii", mask(), moved(OBLIQUE, steps))
    (found,) = findings(tmp_path, pair=("images/*.nii", "labels/{name}"))
    shift = np.linalg.norm(OBLIQUE[:3, :3] @ steps)
    assert found.message.startswith(
        f"the grids of label map and image are {shift:.3g} mm ({np.linalg.norm(steps):.3g} vo"
    )


def test_a_turned_grid_is_farther_away_at_its_corners(tmp_path: Path) -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    save(tmp_path / "images/a.nii", ramp())
    save(tmp_path / "labels/a.nii", mask(), turn @ OBLIQUE)
    (found,) = findings(tmp_path, pair=("images/*.nii", "labels/{name}"))
    corners = np.array([[i, j, k, 1] for i in (0, 6) for j in (0, 5) for k in (0, 4)]).T
    apart = np.linalg.norm((turn @ OBLIQUE @ corners - OBLIQUE @ corners)[:3], axis=0).max()
    assert f"{apart:.3g} mm" in found.message


def test_without_orientation_shapes_decide(tmp_path: Path) -> None:
    for name, array in (("images/a.npy", ramp()), ("labels/a.npy", mask()), ("images/b.npy", ramp(seed=1))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, array)
    np.save(tmp_path / "labels/b.npy", mask((6, 7, 5)))
    found = findings(tmp_path, pair=("images/*.npy", "labels/{name}"))
    assert [(each.code, Path(each.path).name) for each in found] == [("S001", "b.npy")]


def test_several_pairs_of_a_configuration_file(tmp_path: Path) -> None:
    save(tmp_path / "a/images/1.nii", ramp())
    save(tmp_path / "b/images/1_0000.nii", ramp(seed=1))
    config = tmp_path / "medimg.toml"
    config.write_text(
        '[check]\nselect = ["S"]\npair = [["a/images/*.nii", "a/labels/{name}"], ["b/images/*_0000.nii", "b/labels/{1}.nii"]]\n'
    )
    wanted = Checking(config=load_config(Wishes(config=str(config))))
    found = [each for checked in check_paths([str(tmp_path)], wanted) for each in checked.findings]
    assert [each.code for each in found] == ["S004", "S004"]
    assert found[1].message.endswith(os.path.join("b", "labels", "1.nii"))


def test_a_label_map_that_cannot_be_opened_is_no_pair(tmp_path: Path) -> None:
    """The rules of files speak of it; those of pairs are silent, and nothing fails."""
    save(tmp_path / "images/a.nii", ramp())
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.nii").write_bytes(b"")
    pair = ("images/*.nii", "labels/{name}")
    assert findings(tmp_path, pair=pair) == []
    assert "cannot be opened" in findings(tmp_path / "images", pair=pair)[0].message
    (tmp_path / "labels/a.nii").unlink()
    (tmp_path / "labels/a.nii").symlink_to(tmp_path / "nowhere")
    assert "cannot be opened" in findings(tmp_path / "images", pair=pair)[0].message


@pytest.mark.parametrize("name", ["-", "https://localhost:1/images/a.nii.gz"])
def test_streams_and_urls_have_no_partner(name: str) -> None:
    from medimg_cli.checks.dataset import DataSet

    config = load_config(Wishes(isolated=True, pair=("*.nii.gz", "{dir}/{stem}_seg.nii.gz")))
    assert DataSet([], config, [name]).pairs == ()


def test_four_dimensions_and_two(tmp_path: Path) -> None:
    flat = np.arange(42, dtype="int16").reshape(7, 6, 1)
    for folder, array in (("images", flat), ("labels", (flat > 9).astype("uint8")[..., 0])):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, OBLIQUE), tmp_path / folder / "a.nii")
    assert findings(tmp_path, pair=("images/*.nii", "labels/{name}")) == []
    assert SHAPE == (7, 6, 5)

"""Which images are label maps, where their labels are and in how many pieces; against a flood fill and SimpleITK."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.backends import ArrayBackend
from medimg_cli.checks import islands
from medimg_cli.checks.config import Settings
from medimg_cli.checks.file_names import named_labels
from medimg_cli.checks.islands import IslandFacts, Islands
from medimg_cli.labels import LabelTable
from medimg_cli.statistics.labelled import label_facts
from tests.checks.gathering import ORDERS, SIZES, gathered, stored, subject_of
from tests.checks.planted_labels import ISLES, organs
from tests.checks.planted_values import noise, saved
from tests.checks.test_values import messages
from tests.helpers import DTYPES, voxels

KNOWN = Settings(labels=True)
LIMIT = 4

LABELS = (
    "sub-01/anat/sub-01_dseg.nii.gz",
    "sub-01/anat/sub-01_space-T1w_desc-brain_mask.nii.gz",
    "sub-01_desc-aparcaseg_dseg.nii",
    "mri/aseg.mgz",
    "mri/aseg.presurf.mgz",
    "mri/aparc+aseg.mgz",
    "mri/aparc.DKTatlas+aseg.mgz",
    "mri/wmparc.mgz",
    "mri/lh.ribbon.mgz",
    "mri/lh.hippoSfLabels-T1.v10.mgz",
    "case.seg.nrrd",
    "liver-label.nrrd",
    "Segmentation.nrrd",
    "segmentation-12.nii",
    "BraTS20_Training_001_seg.nii.gz",
    "fast_pveseg.nii.gz",
    "torsoLabel.nii.gz",
    "T1KmeansSegmentation.nii.gz",
    "brain_mask.nii.gz",
    "mask.mif",
    "Dataset004/labelsTr/hippocampus_001.nii.gz",
    "https://host/set/labelsTs/la_003.nii.gz",
    "s0011/segmentations/liver.nii.gz",
    "cells.ome.zarr/labels/nuclei.zarr",
)
IMAGES = (
    "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01_label-GM_probseg.nii.gz",
    "mri/brainmask.mgz",
    "fast_pve_0.nii.gz",
    "soft_mask.nii.gz",
    "brainProbMask.nii.gz",
    "labels256.nii.gz",
    "lesion_prob_mask.nii.gz",
    "T1_roi.nii.gz",
    "masked.nii.gz",
    "mask_T1w.nii.gz",
    "Dataset004/imagesTr/hippocampus_001_0000.nii.gz",
    "labels/probabilities/case.nii.gz",
    "labelsTr/case_softmax.nii.gz",
    "segmented/t1.nii",
    "atlas.nii.gz",
    "-",
)


@pytest.mark.parametrize("name", LABELS)
def test_names_of_label_maps(name: str) -> None:
    assert named_labels(name)


@pytest.mark.parametrize("name", IMAGES)
def test_names_of_images(name: str) -> None:
    assert not named_labels(name)


def test_somebody_goes_before_the_header_and_the_header_before_the_name() -> None:
    array = organs()[None]
    assert subject_of(array, path="a_mask.nii").is_labels
    assert not subject_of(array, path="a_mask.nii", settings=Settings(labels=False)).is_labels
    assert subject_of(array, settings=KNOWN).is_labels
    assert not subject_of(array).is_labels
    assert subject_of(array, intent="label").is_labels
    assert subject_of(array, labels=LabelTable({2: "liver"})).is_labels
    assert subject_of(array > 0).is_labels
    three = np.repeat(array, 3, 0)
    assert subject_of(three, path="a_mask.nii").is_labels
    assert not subject_of(three, path="a_mask.nii", axes=(("rgb", 3),)).is_labels
    assert not subject_of(three.astype("float32"), path="a_mask.nii", axes=(("vector", 3),)).is_labels
    assert not subject_of(array.astype("complex64"), path="a_mask.nii").is_labels


def pieces_of(volume: Any, value: Any) -> list[list[tuple[int, int, int]]]:
    """Return the voxels of each piece of a value, found by a flood fill."""
    left = {(i, j, k) for i, j, k in np.argwhere(volume == value).tolist()}
    steps = [step for step in product((-1, 0, 1), repeat=3) if any(step)]
    found = []
    while left:
        edge = [left.pop()]
        piece = list(edge)
        while edge:
            i, j, k = edge.pop()
            near = {(i + a, j + b, k + c) for a, b, c in steps} & left
            left -= near
            edge += near
            piece += near
        found.append(piece)
    return found


def expected(array: Any) -> dict[Any, tuple[int, int]]:
    """Return by value how many islands there are, and how many voxels they have together."""
    found = {}
    for value in np.unique(array[(array != 0) & (array == array)]).tolist():
        islands = voxels = 0
        for volume in array:
            sizes = sorted(map(len, pieces_of(volume, value)))[:-1]
            islands += sum(size < LIMIT for size in sizes)
            voxels += sum(size for size in sizes if size < LIMIT)
        found[value] = islands, voxels
    return found


def island_facts(array: Any, patch: pytest.MonkeyPatch, size: int = 1 << 22, **fields: Any) -> IslandFacts:
    facts = gathered(Islands, subject_of(array, settings=KNOWN, **fields), patch, size)
    assert isinstance(facts, IslandFacts)
    return facts


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.15, 0.4, 0.8])
@pytest.mark.parametrize("shape", [(1, 9, 7, 5), (2, 6, 1, 8), (1, 4, 13, 11)], ids=str)
def test_islands_are_those_of_a_flood_fill(
    shape: tuple[int, ...], share: float, size: int, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = np.random.default_rng([round(100 * share), *shape])
    for dtype in ("uint8", "int16", "float32"):
        array = ((chance.random(shape) < share) * chance.integers(1, 4, shape)).astype(dtype)
        facts = island_facts(stored(array, order), monkeypatch, size)
        assert {value: each[1:3] for value, each in facts.pieces.items()} == expected(array)
        for value, each in facts.pieces.items():
            assert array[each.first] == value
            if each.island:
                (piece,) = (one for one in pieces_of(array[each.island[0]], value) if each.island[1:] in one)
                assert len(piece) < LIMIT


def test_islands_and_the_rest_are_the_components_that_simpleitk_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(8)
    array = ((chance.random((1, 30, 28, 26)) < 0.1) * chance.integers(1, 5, (1, 30, 28, 26))).astype("uint8")
    subject = subject_of(array, settings=Settings(labels=True, limits={"island-voxels": 1 << 30}))
    facts = gathered(Islands, subject, monkeypatch)
    assert isinstance(subject.backend, ArrayBackend)
    components = {each.value: each.components for each in label_facts(subject.backend, components=True) if each.value}
    assert {value: each.islands + 1 for value, each in facts.pieces.items()} == components


def test_a_long_winding_piece_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.zeros((1, 40, 41, 3), "uint8")
    array[0, ::2, :, 1] = 1
    array[0, 1::4, 40, 1] = 1
    array[0, 3::4, 0, 1] = 1
    assert island_facts(array, monkeypatch).pieces[1].islands == 0
    assert len(pieces_of(array[0], 1)) == 1


def test_values_with_a_slope_and_nan_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = island_facts(organs("int16")[None], monkeypatch, slope=0.5, inter=-1.0)
    assert list(facts.pieces) == [-1, 1.5, 2.5]
    array = organs("float32")[None]
    array[0, 0] = np.nan
    assert list(island_facts(array, monkeypatch).pieces) == [2, 5, 7]


def test_nothing_is_said_of_what_is_too_ragged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(islands, "_MOST_RUNS", 100)
    assert island_facts(noise()[None], monkeypatch, 300).pieces == {}
    assert island_facts(organs()[None], monkeypatch).pieces
    assert island_facts(np.zeros((1, 5, 4, 3), "uint8"), monkeypatch).pieces == {}
    monkeypatch.setattr(islands, "_MOST_RUNS", 1 << 20)
    many = np.arange(17 * 32 * 32, dtype="int32").reshape(1, 17, 32, 32)
    assert island_facts(many, monkeypatch).pieces == {}
    assert len(island_facts(many % 1000, monkeypatch).pieces) == 999


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_types_are_looked_at_as_labels(dtype: str, tmp_path: Path) -> None:
    from medimg_cli.formats.writing import save_backend

    for shape in ((1, 1, 1, 1), (1, 5, 4, 1), (6, 5, 4, 3)):
        backend = subject_of(voxels(shape, dtype)).backend
        assert isinstance(backend, ArrayBackend)
        path = tmp_path / f"{shape[0]}-{shape[1]}-{shape[3]}_dseg.npy"
        save_backend(backend, str(path))
        messages(path, "V", "L")


def test_a_finding_names_the_voxel_of_an_island(tmp_path: Path) -> None:
    from medimg_cli.checks.checking import Checking, check_paths
    from medimg_cli.checks.config import Wishes
    from medimg_cli.checks.configuring import load_config

    path = saved(ISLES, "a_dseg.nii.gz")(tmp_path)
    (checked,) = check_paths([str(path)], Checking(config=load_config(Wishes(isolated=True, select=("L",)))))
    (finding,) = checked.findings
    assert (finding.code, finding.voxel) == ("L008", (10, 0, 0))

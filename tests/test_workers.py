"""Images travel: to the workers of a data loader, through pickle and copies, and to other array libraries."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.errors import StorageError
from medimg_cli.header import Header
from tests.helpers import AFFINES, make, one_line, unlike

COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda image: pickle.loads(pickle.dumps(image)),
    "pickle-2": lambda image: pickle.loads(pickle.dumps(image, protocol=2)),
}


def values(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-900, 900, (2, 6, 5, 4), dtype="int16")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Four files of different formats, each with other voxels on the same oblique grid."""
    found = [tmp_path / name for name in ("a.nii.gz", "b.nrrd", "c.mgz", "d.nii")]
    for seed, path in enumerate(found):
        mi.ScalarImage(values(seed), affine=AFFINES["left-handed"]).save(path)
    return found


class Scans:
    """What a data set of torch has to be: a length and items. Workers get a pickled copy."""

    def __init__(self, images: list[mi.ScalarImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = self.images[index]
        return {"data": image.data, "affine": image.affine.data, "index": index, "name": image.name}


def tensors(torch: Any, images: list[mi.ScalarImage], context: str) -> list[dict[str, Any]]:
    """Return the batches of a loader with two workers."""
    loader = torch.utils.data.DataLoader(Scans(images), batch_size=2, num_workers=2, multiprocessing_context=context)
    return list(loader)


@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_lazy_images_load_in_the_workers(context: str, paths: list[Path]) -> None:
    torch = pytest.importorskip("torch")
    images = [mi.ScalarImage(path, name=path.stem) for path in paths]
    images[1] = images[1][:, ::-1, ..., 1:3]
    images[0] = images[0][:, :, :, 1:3]
    batches = tensors(torch, images, context)
    assert [tuple(batch["data"].shape) for batch in batches] == [(2, 2, 6, 5, 2), (2, 2, 6, 5, 4)]
    assert torch.equal(batches[0]["data"][1], torch.from_numpy(values(1)[:, ::-1, ..., 1:3].copy()))
    assert torch.equal(batches[1]["data"][1], torch.from_numpy(values(3)))
    assert torch.equal(batches[0]["affine"][1], images[1].affine.data)
    assert batches[1]["name"] == ["c", "d"]
    assert not any(image.is_loaded for image in images), "they are loaded over there"


@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_loaded_images_travel_with_their_voxels(context: str, paths: list[Path]) -> None:
    torch = pytest.importorskip("torch")
    images = [mi.ScalarImage(path, name=path.stem) for path in paths[:2]]
    for image in images:
        image.load()
        image.data[0] = 5
    (batch,) = tensors(torch, images, context)
    assert torch.equal(batch["data"][1], images[1].data), "what was written into them goes along"


def test_one_loader_runs_twice_over_the_same_images(paths: list[Path]) -> None:
    torch = pytest.importorskip("torch")
    images = [mi.ScalarImage(path, name=path.stem) for path in paths]
    loader = torch.utils.data.DataLoader(Scans(images), num_workers=2, persistent_workers=True)
    for _ in range(2):
        assert [torch.equal(batch["data"][0], torch.from_numpy(values(n))) for n, batch in enumerate(loader)] == [
            True
        ] * 4


@pytest.mark.parametrize("way", ["pickle", "pickle-2", "deepcopy"])
def test_an_open_file_does_not_travel_until_it_is_loaded(way: str, paths: list[Path]) -> None:
    with paths[0].open("rb") as file:
        image = mi.ScalarImage(file)
        if way != "deepcopy":
            with pytest.raises(StorageError, match=r"load\(\)") as error:
                COPIES[way](image)
            assert one_line(error.value)
        image.load()
        twin = COPIES[way](image)
    assert np.array_equal(twin.numpy(), values(0))


def test_bytes_in_memory_travel(paths: list[Path]) -> None:
    image = mi.ScalarImage(io.BytesIO(paths[0].read_bytes()), suffix=".nii.gz")
    assert not image.is_loaded
    twin = pickle.loads(pickle.dumps(image))
    assert not twin.is_loaded
    assert np.array_equal(twin.numpy(), values(0))


def test_a_file_that_changed_is_no_longer_that_image(paths: list[Path]) -> None:
    content = pickle.dumps(mi.ScalarImage(paths[3]))
    mi.ScalarImage(values(1)[:1]).save(paths[3])
    with pytest.raises(StorageError, match="changed"):
        pickle.loads(content).numpy()


# copies


def rich(path: Path, loaded: bool) -> mi.LabelMap:
    """Return an image with everything that an image can have."""
    points = mi.Points(np.array([[1.0, 2, 3], [4, 4, 2]]), metadata={"who": "me"})
    image = mi.LabelMap(path, te=3.5, notes=["a", 1], points={"tips": points})
    image.labels = [(1, "one", (1, 2, 3, 255))]
    image = image.flip((1,)).crop(1)
    if loaded:
        image.load()
    return image


@pytest.fixture
def label_path(tmp_path: Path) -> Path:
    array = np.random.default_rng(3).integers(0, 4, (1, 7, 6, 5), dtype="uint8")
    mi.LabelMap(array, affine=AFFINES["oblique"]).save(tmp_path / "seg.nii.gz")
    return tmp_path / "seg.nii.gz"


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("way", COPIES)
def test_copies_keep_everything(way: str, loaded: bool, label_path: Path) -> None:
    image = rich(label_path, loaded)
    twin = COPIES[way](image)
    assert type(twin) is mi.LabelMap
    assert isinstance(twin.header, Header)
    assert twin.header == image.header
    assert twin.affine == image.affine
    assert twin.header.history == image.header.history != ()
    assert (twin.te, twin.notes, list(twin.labels)) == (3.5, ["a", 1], list(image.labels))
    assert twin.is_loaded == loaded
    assert np.array_equal(twin.numpy(), image.numpy())
    assert np.array_equal(np.asarray(twin.points["tips"]), np.asarray(image.points["tips"]))
    assert twin.points["tips"].metadata == {"who": "me"}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("way", COPIES)
def test_copies_share_nothing_that_can_be_written(way: str, loaded: bool, label_path: Path) -> None:
    image = rich(label_path, loaded)
    before = image.numpy(writeable=False).copy() if loaded else rich(label_path, True).numpy()
    twin = COPIES[way](image)
    assert not np.shares_memory(twin.numpy(), image.numpy())
    twin.numpy()[:] = 9
    twin.metadata["te"] = 4.5
    twin.spacing = (3, 3, 3)
    twin.labels = [(2, "two", (0, 0, 0, 255))]
    twin.points = {}
    assert list(image.points) == ["tips"]
    assert np.array_equal(image.numpy(), before)
    assert (image.te, [label.name for label in image.labels]) == (3.5, ["one"])
    assert image.spacing != twin.spacing
    image.numpy()[:] = 8
    assert twin.numpy().max() == 9


def test_a_deep_copy_owns_what_was_attached(label_path: Path) -> None:
    image = rich(label_path, False)
    image.extra = {"list": [1]}
    deep, flat = copy.deepcopy(image), copy.copy(image)
    image.extra["list"].append(2)
    assert (deep.extra, flat.extra) == ({"list": [1]}, {"list": [1, 2]})


def test_tensors_of_copies_are_their_own(label_path: Path) -> None:
    pytest.importorskip("torch")
    image = rich(label_path, True)
    for way in COPIES.values():
        twin = way(image)
        assert twin.data.data_ptr() != image.data.data_ptr()
        twin.data.fill_(1)
    assert image.data.unique().numel() > 1


# other array libraries


def test_arrays_of_an_image() -> None:
    image = mi.ScalarImage(values(), affine=AFFINES["oblique"])
    view = np.asarray(image)
    assert np.shares_memory(view, image.numpy())
    assert not view.flags.writeable
    assert np.shares_memory(np.array(image, copy=False), image.numpy())
    own = np.array(image)
    assert own.flags.writeable
    assert not np.shares_memory(own, image.numpy())
    assert np.array(image, dtype="float32").dtype == np.float32
    assert np.array_equal(np.array(image, dtype="float32"), values().astype("float32"))
    assert np.asarray(image, dtype="int16").base is not None
    with pytest.raises(ValueError, match="copy"):
        np.array(image, dtype="float64", copy=False)
    assert np.add(image, 1)[0, 0, 0, 0] == values()[0, 0, 0, 0] + 1
    assert np.stack([image, image]).shape == (2, 2, 6, 5, 4)


def test_scaled_images_are_arrays_of_their_values() -> None:
    image = mi.ScalarImage(make("scaled"))
    wanted = make("scaled").array.astype("float32") * np.float32(0.25) + np.float32(-12.5)
    assert unlike(np.asarray(image), wanted) is None
    assert unlike(np.asarray(image), wanted) is None, "asking once more gives the same"
    with pytest.raises(ValueError, match="copy"):
        np.array(image, copy=False)
    assert image.header.dtype == "int16", "reading is no writing"


def test_dlpack_hands_over_the_memory() -> None:
    image = mi.ScalarImage(values(), affine=AFFINES["oblique"])
    taken = np.from_dlpack(image)
    assert np.shares_memory(taken, image.numpy())
    assert image.__dlpack_device__() == (1, 0)
    torch = pytest.importorskip("torch")
    tensor = torch.from_dlpack(image)
    tensor[0, 0, 0, 0] = 123
    assert int(image.numpy()[0, 0, 0, 0]) == int(taken[0, 0, 0, 0]) == 123
    for turned in (mi.ScalarImage(make("time"))[:, ::-1], mi.ScalarImage(values()[:, ::-1, ..., ::-2])):
        assert torch.equal(torch.from_dlpack(turned), torch.from_numpy(np.array(turned, order="C")))
        assert min(np.from_dlpack(turned).strides) > 0, "torch ends the process over strides below 0"

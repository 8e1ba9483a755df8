"""`Image`, `ScalarImage`, `LabelMap`: geometry, voxels, metadata, operations, and who sees whose memory."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, StoredBackend
from medimg_cli.errors import CastError, GeometryError, LossError
from medimg_cli.formats.writing import save_backend
from medimg_cli.grid import Grid, RegionError
from medimg_cli.header import Gradients, Header
from medimg_cli.image import LossWarning
from medimg_cli.sources.arrays import TensorBackend
from medimg_cli.storage import source as byte_sources
from tests.helpers import make, read, unlike
from tests.operations.helpers import OBLIQUE, numbered
from tests.strategies import affines, indices, shapes

try:
    import torch
except ImportError:  # everything that needs no tensor works without it
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")

SHAPE = (2, 5, 4, 3)


def memory(**options: Any) -> mi.ScalarImage:
    """Return an image in memory."""
    return mi.ScalarImage(numbered(SHAPE).array.copy(), affine=OBLIQUE, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An image with a slope, compressed: int16 * 0.25 - 7, 6 x 5 x 4, three time steps."""
    array = np.arange(-180, 180, dtype="int16").reshape(3, 6, 5, 4)
    header = Header(
        shape=array.shape, dtype="int16", affine=OBLIQUE, slope=0.25, inter=-7.0, axes=(("time", 3),), time_spacing=2.5
    )
    save_backend(ArrayBackend(array, header), str(tmp_path / "scaled.nii.gz"))
    return tmp_path / "scaled.nii.gz"


VALUES = np.arange(-180, 180, dtype="float32").reshape(3, 6, 5, 4) * np.float32(0.25) - np.float32(7)


# what it is


def test_facts_come_from_the_header(path: Path) -> None:
    image = mi.ScalarImage(path)
    assert (image.shape, image.ndim, image.spatial_shape, image.num_channels) == ((3, 6, 5, 4), 4, (6, 5, 4), 3)
    assert image.grid == Grid((6, 5, 4), image.affine)
    assert image.affine.allclose(OBLIQUE, 1e-5)
    assert image.spacing == image.affine.spacing
    assert image.origin == image.affine.origin
    assert image.direction == image.affine.direction
    assert image.orientation == ("P", "L", "S")
    assert (image.dtype, image.header.dtype) == (np.dtype("float32"), "int16")
    assert (image.itemsize, image.memory) == (4, 4 * 360)
    assert (image.time_steps, image.time_spacing) == (3, 2.5)
    assert (image.type, mi.LabelMap(path).type, mi.Image(path).type) == ("intensity", "label", "intensity")
    assert mi.Image(make("labels")).type == "label"
    assert not image.is_loaded


def test_header_facts_need_no_numpy(path: Path) -> None:
    code = (
        "import sys, medimg_cli as mi\n"
        f"image = mi.ScalarImage({str(path)!r})\n"
        "image.shape, image.affine, image.spacing, image.grid, image.metadata, repr(image), image.header.history\n"
        "part = image[:, 1:4, ..., ::-1].reorient('RAS').crop(((1, 0), (0, 0), (0, 0)))\n"
        "part.shape, part.affine\n"
        "loaded = {'numpy', 'torch', 'nibabel', 'SimpleITK'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_bounds_and_centre() -> None:
    image = mi.ScalarImage(np.ones((1, 3, 4, 1)), affine=AffineMatrix.from_spacing((2, 2, 5)))
    assert image.get_center() == (2.0, 3.0, 0.0)
    assert image.get_center(lps=True) == (-2.0, -3.0, 0.0)
    assert image.bounds.shape == (2, 3)
    assert image.bounds.tolist() == [[0, 0, 0], [4, 6, 0]]
    assert image.get_bounds() == ((-1.0, 5.0), (-1.0, 7.0), (-2.5, 2.5))
    assert (image.width, image.height, image.is_2d()) == (3, 4, True)
    for name in ("width", "height"):
        with pytest.raises(RuntimeError, match="not 2D"):
            getattr(memory(), name)


def test_axis_names() -> None:
    image = memory()  # i runs to P, j to L, k to S
    names = {"Left": -2, "r": -2, "anterior": -3, "P": -3, "Superior": -1, "i": -1, "top": -2, "B": -2}
    assert {name: image.axis_name_to_index(name) for name in names} == names
    assert [mi.Image.flip_axis(name) for name in ("L", "right", "A", "p", "I", "S", "T", "d")] == list("RLPASIBV")
    for bad in (123, "x", "", None):
        with pytest.raises(ValueError, match=r"axis name|Axis not understood"):
            image.axis_name_to_index(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Axis not understood"):
        mi.Image.flip_axis("X")


@settings(deadline=None)
@given(spacing=st.tuples(*[st.floats(0.1, 9)] * 3), affine=affines)
def test_geometry_can_be_set(spacing: tuple[float, float, float], affine: AffineMatrix) -> None:
    image = mi.ScalarImage(np.zeros((1, 2, 2, 2)), affine=affine)
    image.spacing = spacing
    assert image.spacing == pytest.approx(spacing)
    assert image.affine == affine.with_spacing(spacing)
    image.origin = (1, 2, 3)
    assert image.origin == (1.0, 2.0, 3.0)
    image.direction = np.eye(3)
    assert image.affine.allclose(AffineMatrix.from_spacing(spacing, origin=(1, 2, 3)), 1e-9)
    image.affine = affine.numpy()
    assert image.affine == affine
    with pytest.raises(ValueError, match="spacing"):
        image.spacing = 0


@pytest.mark.parametrize(
    ("codes", "after"),
    [((2, 1), (2, 1)), ((0, 1), (0, 1)), ((4, 0), (4, 0)), ((0, 0), (2, 0)), ((None, None), (None, None))],
)
def test_setting_the_affine_moves_both_forms(codes: Any, after: Any) -> None:
    other = AffineMatrix.from_spacing(3.0)
    forms = {} if codes[0] is None else {"sform": other, "qform": other}
    source = numbered(affine=other, sform_code=codes[0], qform_code=codes[1], **forms)
    image = mi.Image(source)
    straight = AffineMatrix.from_spacing((1, 2, 3), origin=(4, 5, 6))
    image.affine = straight
    header = image.header
    assert (header.sform_code, header.qform_code) == after
    for form, code in ((header.sform, after[0]), (header.qform, after[1])):
        assert form == (straight if code else None)
    if codes[0] is not None:
        image.affine = AffineMatrix([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
        assert (image.header.qform, image.header.qform_code) == (None, 0)
        assert image.header.sform == image.affine
        assert image.header.sform_code == (codes[0] or codes[1] or 2)


def test_gradients_stay_along_the_voxel_axes_when_the_affine_is_corrected() -> None:
    """FSL negates the first component where the determinant is positive: a mirrored affine changes its sign."""
    gradients = Gradients((0.0, 1000.0), ((0.0, 0.0, 0.0), (0.6, 0.8, 0.0)))
    image = mi.ScalarImage(numbered((2, 4, 3, 5), AffineMatrix(), gradients=gradients))
    image.spacing = (2, 2, 3)
    assert image.header.gradients == gradients
    image.direction = ((-1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert image.header.gradients == Gradients((0.0, 1000.0), ((0.0, 0.0, 0.0), (-0.6, 0.8, 0.0)))


def test_a_new_affine_survives_saving(path: Path, tmp_path: Path) -> None:
    image = mi.ScalarImage(path)
    image.spacing = (2, 3, 4)
    image.save(tmp_path / "moved.nii.gz")
    assert mi.Image(tmp_path / "moved.nii.gz").spacing == pytest.approx((2, 3, 4))


def test_time_spacing_can_be_set() -> None:
    image = memory()
    image.time_spacing = 1.5
    assert (image.time_spacing, image.time_steps, image.header.axes) == (1.5, 2, (("time", 2),))
    image.time_spacing = None
    assert image.time_spacing is None


# metadata


def test_metadata_are_items_attributes_and_part_of_the_header(tmp_path: Path) -> None:
    image = memory(te=3.5, protocol="MPRAGE", flags=(1, 2), weight=np.float32(2), where=Path("a"))
    assert (image.te, image["protocol"], image.metadata["flags"]) == (3.5, "MPRAGE", [1, 2])
    assert image.metadata == {"te": 3.5, "protocol": "MPRAGE", "flags": [1, 2], "weight": 2.0, "where": "a"}
    assert dict(image.header.metadata) == dict(image.metadata)
    assert "te" in image
    assert "tr" not in image
    image.metadata["tr"] = 2
    image.te = 4
    del image.metadata["flags"]
    assert (image.header.metadata["tr"], image.header.metadata["te"], "flags" in image) == (2, 4, False)
    assert image[:, 1:3].metadata == image.metadata
    image.save(tmp_path / "a.nrrd")
    saved = mi.Image(tmp_path / "a.nrrd")
    assert (saved.protocol, saved.te) == ("MPRAGE", 4)
    with pytest.raises(KeyError):
        image["nothing"]
    with pytest.raises(AttributeError, match="no attribute and no metadata 'nothing'"):
        _ = image.nothing
    image.something = object()
    assert "something" not in image


@pytest.mark.parametrize("key", ["shape", "numpy", "header", "save", "apply", "_backend", "check_nans", "flip"])
def test_a_member_is_no_metadata(key: str) -> None:
    if key == "check_nans":
        return
    with pytest.raises(TypeError, match=f"'{key}' is a member of ScalarImage"):
        memory(**{key: 1})


@needs_torch
def test_other_spellings_of_the_source(path: Path) -> None:
    tensor = torch.zeros(1, 2, 3, 4)
    assert mi.ScalarImage(path=path).path == path
    assert mi.ScalarImage(source=path).path == path
    image = mi.ScalarImage(tensor=tensor)
    assert image.data is tensor
    image.set_data(tensor + 1)
    assert image.data.min() == 1
    both = mi.ScalarImage(tensor=tensor, path=path)
    assert (both.shape, both.path) == ((1, 2, 3, 4), path)
    with pytest.raises(TypeError, match="given twice"):
        mi.Image(path, tensor=tensor)
    with pytest.raises(TypeError):
        memory(thing=object())


# voxels


def test_loading_keeps_stored_numbers_and_unloading_goes_back(path: Path) -> None:
    image = mi.ScalarImage(path)
    with pytest.raises(RuntimeError, match="not loaded"):
        image.unload()
    image.load()
    assert image.is_loaded
    assert (image.header.dtype, image.header.slope) == ("int16", 0.25)
    image.origin, image.metadata["te"] = (1, 2, 3), 5
    image.unload()
    assert not image.is_loaded
    assert (image.origin, image.te, image.path) == ((1.0, 2.0, 3.0), 5, path)
    assert np.array_equal(image.numpy(writeable=False), VALUES)
    loaded = memory()
    with pytest.raises(RuntimeError, match="no file"):
        loaded.unload()


def test_a_writable_view_of_a_scaled_image_is_its_data(path: Path, tmp_path: Path) -> None:
    image = mi.ScalarImage(path)
    array = image.numpy()
    assert array.dtype == "float32"
    assert np.array_equal(array, VALUES)
    assert (image.header.dtype, image.header.slope) == ("float32", None)
    array[0, 0, 0, 0] = 1000.5
    assert image.numpy()[0, 0, 0, 0] == 1000.5
    if torch is not None:
        assert image.data[0, 0, 0, 0] == 1000.5
    assert mi.Image(path).numpy()[0, 0, 0, 0] == VALUES[0, 0, 0, 0]
    image.unload()
    assert (image.header.dtype, image.header.slope) == ("int16", 0.25)


def test_read_only_views_change_nothing(path: Path) -> None:
    image = mi.ScalarImage(path)
    for view in (image.numpy(writeable=False), np.asarray(image)):
        assert np.array_equal(view, VALUES)
        with pytest.raises(ValueError, match="read-only"):
            view[0, 0, 0, 0] = 1
    assert image.header.slope == 0.25
    plain = memory()
    assert np.shares_memory(np.asarray(plain), plain.numpy())
    copied = np.array(plain)
    copied[:] = 0
    assert plain.numpy().any()
    assert np.asarray(plain, "float64").dtype == "float64"
    assert np.shares_memory(np.asarray(plain, copy=False), plain.numpy())
    with pytest.raises(ValueError, match="copy is needed"):
        np.asarray(image, copy=False)


def test_one_channel() -> None:
    image = memory()
    assert image.numpy(channel=1).shape == (5, 4, 3)
    image.numpy(channel=-1)[:] = 7
    assert image.numpy()[1].min() == 7
    assert not image.numpy(writeable=False, channel=0).flags.writeable


@needs_torch
def test_tensors_and_arrays_are_the_same_memory(path: Path) -> None:
    image = mi.ScalarImage(path)
    image.data[0] = 5
    image.numpy()[1] = 6
    assert image.data is image.tensor
    assert image.data[1].unique().tolist() == [6]
    assert image.numpy()[0].min() == 5
    assert torch.from_dlpack(image).data_ptr() == image.data.data_ptr()
    assert np.from_dlpack(image).shape == image.shape
    assert image.device == torch.device("cpu")
    turned = memory().flip((0, 1, 2))
    assert np.array_equal(turned.data.numpy(), turned.numpy())


@needs_torch
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "uint32", "uint64", "float16", "complex64"])
def test_tensors_have_the_type_of_the_values(dtype: str) -> None:
    image = mi.ScalarImage(make("plain", dtype))
    assert image.data.dtype == getattr(torch, dtype)
    assert unlike(image.data.numpy(), read(make("plain", dtype))) is None


@needs_torch
@pytest.mark.skipif(np.dtype(np.longdouble).itemsize != 16, reason="no float128 here")
def test_tensors_of_types_that_torch_lacks() -> None:
    image = mi.ScalarImage(np.ones((1, 2, 2, 2), np.longdouble) / 2)
    assert image.data.dtype == torch.float64
    with pytest.raises(CastError):
        _ = mi.ScalarImage(np.ones((1, 2, 2, 2), np.longdouble) / 3).data


def test_the_lazy_backend_is_at_hand(path: Path) -> None:
    image = mi.ScalarImage(path)
    for _ in range(2):
        lazy = image.dataobj
        assert isinstance(lazy.backend, StoredBackend)
        assert (lazy.shape, lazy.dtype, lazy.header.dtype) == ((3, 6, 5, 4), np.dtype("float32"), "int16")
        assert lazy.affine == image.affine
        assert np.array_equal(lazy[1, ::-1], VALUES[1:2, ::-1])
        assert torch is None or np.array_equal(lazy.to_tensor().numpy(), VALUES)
        assert np.array_equal(np.asarray(lazy), VALUES)
        assert lazy.read((range(1),) * 4, raw=True).dtype == "int16"
        image.numpy()
        image.origin = (1, 2, 3)
    assert isinstance(memory().dataobj.backend, ArrayBackend)


def test_new_voxels(path: Path) -> None:
    image = mi.ScalarImage(path, te=1)
    image.set_data(np.ones((1, 2, 3, 4), "uint8"))
    assert (image.shape, image.header.dtype, image.header.slope, image.te) == ((1, 2, 3, 4), "uint8", None, 1)
    assert (image.header.axes, image.time_spacing) == ((), None)
    assert image.affine.allclose(OBLIQUE, 1e-5)
    image.data = np.zeros((3, 6, 5, 4), "float32")
    assert image.dtype == np.dtype("float32")
    with pytest.raises(ValueError, match="4D"):
        image.set_data(np.zeros((2, 3, 4)))
    with pytest.raises(TypeError, match="array or a tensor"):
        image.set_data([1])
    with pytest.raises(RuntimeError, match="no file"):
        image.unload()


def test_new_like(path: Path) -> None:
    class Mine(mi.ScalarImage):
        pass

    image = Mine(path, te=1).flip(0)
    same = image.new_like(data=np.zeros((1, 6, 5, 4), "uint8"))
    assert (type(same), same.te, same.affine, same.header.dtype, same.path) == (Mine, 1, image.affine, "uint8", None)
    assert same.applied_transforms == image.applied_transforms
    other = image.new_like(data=np.zeros((1, 2, 3, 4), "float32"), affine=np.diag([3.0, 3, 3, 1]))
    assert (other.spacing, other.applied_transforms, other.te) == ((3.0, 3.0, 3.0), [], 1)
    assert image.shape == (3, 6, 5, 4)


@needs_torch
def test_to_changes_the_type_in_place_and_loses_nothing() -> None:
    image = memory()
    assert image.to(torch.float64) is image
    assert (image.dtype, image.data.dtype) == (np.dtype("float64"), torch.float64)
    image.data[0, 0, 0, 0] = 1 / 3
    assert image.to(dtype=torch.float32).dtype == np.dtype("float32")
    with pytest.raises(CastError, match="1 rounded"):
        image.to(torch.int16)
    assert image.to("cpu").dtype == np.dtype("float32")


@needs_torch
def test_images_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No accelerator here: a tensor backend stands for voxels on another device."""
    source = numbered(dtype="float32")
    image = mi.ScalarImage(TensorBackend(torch.from_numpy(source.array.copy()), source.header))
    assert image.is_loaded
    assert image.data is image.data
    part = image[:, 1:3, ::-1]
    assert np.array_equal(part.numpy(), source.array[:, 1:3, ::-1])
    image.numpy()[:] = 0
    assert image.data.any()
    assert torch.from_dlpack(image).shape == source.array.shape
    assert copy.copy(image).shape == image.shape
    assert np.array_equal(pickle.loads(pickle.dumps(image)).numpy(), source.array)


def test_nans_are_warned_of(tmp_path: Path) -> None:
    array = np.zeros((1, 2, 3, 4), "float32")
    array[0, 0, 0, :2] = np.nan
    with pytest.warns(RuntimeWarning, match="NaNs found in the image: 2"):
        mi.ScalarImage(array, check_nans=True)
    mi.ScalarImage(array).save(tmp_path / "a.nii")
    image = mi.ScalarImage(tmp_path / "a.nii", check_nans=True)
    with pytest.warns(RuntimeWarning, match=r"a\.nii: 2"):
        image.load()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mi.ScalarImage(tmp_path / "a.nii").load()


def test_thirty_two_threads_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = mi.ScalarImage(path)
    reads = []
    real = StoredBackend.read

    def counted(self: StoredBackend, *arguments: Any, **options: Any) -> Any:
        reads.append(threading.get_ident())
        return real(self, *arguments, **options)

    monkeypatch.setattr(StoredBackend, "read", counted)
    start = threading.Barrier(32)

    def ask(number: int) -> Any:
        start.wait()
        return image.data if torch is not None and number % 2 else image.numpy()

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(ask, range(32)))
    assert len(reads) == 1
    assert len({each.ctypes.data if isinstance(each, np.ndarray) else each.data_ptr() for each in found}) == 1


# index


@settings(deadline=None)
@given(data=st.data(), affine=affines, shape=shapes)
def test_indexing_keeps_place_and_class(data: st.DataObject, affine: AffineMatrix, shape: tuple[int, int, int]) -> None:
    image = mi.LabelMap(numbered((2, *shape), affine))
    index = data.draw(indices((2, *shape)))
    part = image[index]
    assert type(part) is mi.LabelMap
    assert part.grid == image.grid[index[1:]]
    ranges = [
        range(n)[i] if isinstance(i, slice) else i if isinstance(i, range) else [i]
        for i, n in zip(index, image.shape, strict=True)
    ]
    assert np.array_equal(part.numpy(), image.numpy()[np.ix_(*[list(each) for each in ranges])])
    both = (part.header.sform, image.header.sform)
    assert both == (None, None)


def test_indexing_a_file_reads_only_that_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_backend(numbered((1, 60, 50, 40)), str(tmp_path / "a.nii"))
    asked = []
    real = byte_sources._FdCursor.readinto

    def counted(self: Any, offset: int, view: memoryview) -> int:
        asked.append(len(view))
        return real(self, offset, view)

    monkeypatch.setattr(byte_sources._FdCursor, "readinto", counted)
    image = mi.Image(tmp_path / "a.nii")
    part = image[0, :, 10:20, -3:]
    assert asked == []
    assert part.numpy().shape == (1, 60, 10, 3)
    assert sum(asked) == 60 * 10 * 3 * 4
    assert not image.is_loaded


@pytest.mark.parametrize(
    "index",
    [
        9,
        -9,
        slice(5, 5),
        (0, 0, 0, 0, 0),
        (..., ...),
        1.5,
        None,
        [0, 1],
        (slice(None), [0]),
        np.array([True, False]),
        (True,),
        b"a",
    ],
    ids=str,
)
def test_indices_that_make_no_sense(index: Any) -> None:
    with pytest.raises(RegionError) as caught:
        memory()[index]
    assert isinstance(caught.value, IndexError)
    assert "\n" not in str(caught.value)


def test_numpy_integers_are_indices() -> None:
    image = memory()
    assert image[np.int64(1), np.uint8(2)].shape == (1, 1, 4, 3)
    if torch is not None:
        assert image[torch.tensor(1)].shape == (1, 5, 4, 3)
    assert [each.shape for each in image] == [(1, 5, 4, 3)] * 2


# who sees whose memory


def test_images_made_from_one_another_never_change_one_another() -> None:
    array = numbered(SHAPE).array.copy()
    whole = mi.ScalarImage(array, affine=OBLIQUE)
    part = whole[:, 1:3]
    turned = whole.flip(0)
    before = part.numpy().copy(), turned.numpy().copy()
    whole.numpy()[:] = 0
    array[:] = -1
    assert np.array_equal(part.numpy(), before[0])
    assert np.array_equal(turned.numpy(), before[1])
    again = turned.flip(0)
    again.numpy()[:] = 3
    assert np.array_equal(turned.numpy(), before[1])
    turned.numpy()[:] = 4
    assert (again.numpy() == 3).all()


@pytest.mark.parametrize("handed", [False, True])
def test_a_loaded_file_is_shared_until_somebody_writes(path: Path, handed: bool) -> None:
    image = mi.ScalarImage(path).cast("float32")
    image.load()
    if handed:
        image.numpy()
    part = image.crop(1)
    deep = part.pad(1)
    assert np.shares_memory(np.asarray(part), np.asarray(image)) is not handed
    image.numpy()[:] = 0
    assert np.array_equal(part.numpy(), VALUES[:, 1:-1, 1:-1, 1:-1])
    part.numpy()[:] = 1
    assert not image.numpy().any()
    assert np.array_equal(deep.numpy()[:, 1:-1, 1:-1, 1:-1], VALUES[:, 1:-1, 1:-1, 1:-1])


@pytest.mark.parametrize("maker", [copy.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
@pytest.mark.parametrize("loaded", [False, True])
def test_copies_are_their_own(maker: Any, loaded: bool, path: Path) -> None:
    image = mi.ScalarImage(path, te=1)
    image.extra = [1]
    if loaded:
        image.load()
    twin = maker(image)
    assert (type(twin), twin.is_loaded, twin.path, twin.te, twin.extra) == (mi.ScalarImage, loaded, path, 1, [1])
    twin.numpy()[:] = 0
    twin.metadata["te"] = 2
    twin.spacing = (1, 1, 1)
    assert (image.te, image.spacing[0] != 1) == (1, True)
    assert np.array_equal(image.numpy(), VALUES)
    twin.unload()
    assert np.array_equal(twin.numpy(), VALUES)
    assert image != twin
    assert image == image
    assert len({image, twin}) == 2


def test_copies_of_empty_images_and_readers() -> None:
    image = mi.ScalarImage(te=1)
    twin = copy.copy(image)
    twin.metadata["te"] = 2
    twin.set_data(np.zeros((1, 2, 2, 2)))
    assert (image.te, twin.te, image.is_loaded) == (1, 2, False)
    lazy = mi.ScalarImage("x", reader=lambda path: (np.zeros((1, 2, 2, 2)), None))
    other = copy.copy(lazy)
    other.spacing = 2
    assert (lazy.spacing, other.spacing) == ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))


@needs_torch
def test_images_work_in_a_data_loader(path: Path) -> None:
    from torch.utils.data import DataLoader

    class Scans(torch.utils.data.Dataset[Any]):
        def __init__(self) -> None:
            self.images = [mi.ScalarImage(path), mi.ScalarImage(path)[:, ::-1]]

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> Any:
            return self.images[index].data.clone()

    found = list(DataLoader(Scans(), num_workers=2))
    assert np.array_equal(found[0][0].numpy(), VALUES)
    assert np.array_equal(found[1][0].numpy(), VALUES[:, ::-1])


# operations


def test_operations_return_new_images_with_history(path: Path) -> None:
    image = mi.ScalarImage(path, te=1)
    result = (
        image.reorient("RAS")
        .flip("L")
        .crop(((1, 0), (0, 1), (0, 0)))
        .pad(2, mode="edge")
        .crop_or_pad(6)
        .cast("float64")
    )
    assert [step["name"] for step in result.applied_transforms] == [
        "reorient", "flip", "crop", "pad", "crop_or_pad", "cast"
    ]  # fmt: skip
    assert image.applied_transforms == []
    assert (type(result), result.te, result.shape, result.path) == (mi.ScalarImage, 1, (3, 6, 6, 6), None)
    assert not result.is_loaded
    assert not image.is_loaded
    assert result.header is result.dataobj.header
    assert image.rescale(0, 1).numpy().max() == 1
    assert image.clamp(-1, 1).numpy().max() == 1
    assert image.cast("int32", rescale=(0, 9)).numpy().max() == 9


def test_intensity_operations_leave_label_maps_alone() -> None:
    labels = mi.LabelMap(make("labels"))
    for result in (labels.rescale(), labels.clamp(0, 1)):
        assert np.array_equal(result.numpy(), labels.numpy())
        assert result.applied_transforms == []
        assert result is not labels
    with pytest.raises(ValueError, match="never rounded"):
        labels.cast("uint8", clip=True)
    with pytest.raises(CastError):
        mi.LabelMap(np.full((1, 2, 2, 2), 300)).cast("uint8")
    assert labels.cast("int64").header.dtype == "int64"


def test_label_maps_count_and_measure(path: Path) -> None:
    source = make("labels")
    labels = mi.LabelMap(source)
    expected = {value: int((source.array == value).sum()) for value in (0, 1, 2, 17)}
    assert labels.count() == expected
    voxel = abs(np.linalg.det(labels.affine.numpy()[:3, :3]))
    assert labels.volumes() == pytest.approx({value: count * voxel for value, count in expected.items()})
    assert labels.labels.name_of(1) == "left thing"
    labels.labels = {3: "new"}
    assert [each.name for each in labels.labels] == ["new"]
    assert labels.header.labels == labels.labels
    labels.labels = {}
    assert labels.header.labels is None
    assert mi.LabelMap(np.zeros((1, 2, 2, 2), "u1")).labels == mi.LabelTable()
    assert labels.remap({17: 3}).count().get(3) == expected[17]
    hot = labels.one_hot()
    assert (type(hot), hot.shape[0], hot.numpy().sum()) == (mi.LabelMap, 4, source.array.size)


def test_a_segmentation_returns_to_the_grid_of_its_scan(path: Path, tmp_path: Path) -> None:
    """The history is a value: a result on the preprocessed grid goes back to the first one, in another process too."""
    from medimg_cli.operations import inverse_of

    scan = mi.ScalarImage(path)
    ready = scan.reorient("RAS").crop(((1, 0), (1, 1), (0, 0))).pad(1)
    found = ready.new_like(data=(ready.numpy(writeable=False)[:1] > -30).astype("uint8"))
    found.save(tmp_path / "found.nii.gz")
    back: Any = mi.LabelMap(tmp_path / "found.nii.gz")
    for step in reversed(back.applied_transforms):
        back = back.apply(inverse_of(step))
    assert back.grid.same_as(scan.grid)
    inside = back.numpy()[0] > 0
    assert inside.any()
    assert (scan.numpy()[0][inside] > -30).all()


# out


def test_saving_returns_to_the_stored_type_where_every_value_fits(path: Path, tmp_path: Path) -> None:
    image = mi.ScalarImage(path)
    image.numpy()[0, 0, 0, 0] = 0.25
    assert image.save(tmp_path / "same.nii.gz") == ()
    same = mi.read_header(tmp_path / "same.nii.gz")
    assert (same.dtype, same.slope, same.inter, same.time_spacing, same.history) == ("int16", 0.25, -7.0, 2.5, ())
    image.numpy()[0, 0, 0, 0] = 0.26
    image.save(tmp_path / "other.nii.gz")
    other = mi.Image(tmp_path / "other.nii.gz")
    assert (other.header.dtype, other.header.scaled) == ("float32", False)
    assert np.array_equal(other.numpy(), image.numpy())
    with pytest.raises(CastError):
        image.save(tmp_path / "never.nii.gz", dtype="int16")
    assert not (tmp_path / "never.nii.gz").exists()
    part = mi.ScalarImage(path)
    part.numpy()
    assert part[:, 1:3].flip(0).dataobj.header.dtype == "float32"
    part[:, 1:3].flip(0).save(tmp_path / "part.nii")
    assert mi.read_header(tmp_path / "part.nii").dtype == "int16"


def test_a_type_that_was_asked_for_stays(path: Path, tmp_path: Path) -> None:
    image = mi.ScalarImage(path)
    image.numpy()
    for number, asked in enumerate((image.cast("float32"), copy.copy(image).cast("float64"))):
        asked.save(tmp_path / f"{number}.nii")
        assert mi.read_header(tmp_path / f"{number}.nii").dtype == ("float32", "float64")[number]


def test_numbers_of_numpy_are_parameters(tmp_path: Path) -> None:
    limits = np.float32(-1), np.int16(5)
    image = memory().cast("float32").pad(np.int64(1), value=np.float32(0.1)).clamp(*limits)
    image.save(tmp_path / "a.nii")
    assert mi.read_header(tmp_path / "a.nii").history == image.header.history


def test_saving_options(path: Path, tmp_path: Path) -> None:
    image = mi.ScalarImage(path)
    image.save(tmp_path / "float.nii", dtype="float64")
    assert mi.read_header(tmp_path / "float.nii").dtype == "float64"
    with pytest.warns(LossWarning, match=r"a\.nrrd does not hold: .*slope"):
        lost = image.save(str(tmp_path / "a.nrrd"))
    assert "slope: values are stored as float32" in " ".join(map(str, lost))
    assert np.array_equal(mi.Image(tmp_path / "a.nrrd").numpy(), VALUES)
    with pytest.raises(LossError):
        image.save(tmp_path / "b.nrrd", strict=True)
    assert not (tmp_path / "b.nrrd").exists()
    with pytest.raises(TypeError):
        image.save(tmp_path / "c.nii", compression=3)  # type: ignore[call-arg]
    contents = set()
    for level in (1, 9):
        image.save(tmp_path / "d.nii.gz", compression_level=level)
        contents.add((tmp_path / "d.nii.gz").read_bytes())
    assert len(contents) == 2
    flat = mi.ScalarImage(numbered((1, 6, 5, 1), dtype="int16"))
    for squeeze, ndim in ((True, 2), (False, 3), (None, 3)):
        flat.save(tmp_path / "flat.nii", squeeze=squeeze)
        assert mi.read_header(tmp_path / "flat.nii").ndim == ndim
    with pytest.raises(ValueError, match="no format"):
        image.save(tmp_path / "a.unknown")


def test_saving_onto_itself(path: Path) -> None:
    image = mi.ScalarImage(path)
    image.flip(0).save(path)
    assert np.array_equal(mi.Image(path).numpy(), VALUES[:, ::-1])
    with pytest.raises(OSError, match="changed since"):
        image.numpy()


def test_pictures() -> None:
    pytest.importorskip("PIL")
    image = mi.ScalarImage(make("picture"))
    shown = image.as_pil()
    assert shown.size == (image.width, image.height)
    assert shown.mode == "RGB"
    assert shown.getpixel((3, 2))[0] == image.numpy()[0, 3, 2, 0]
    assert image.as_pil(transpose=False).size == (image.height, image.width)
    assert mi.ScalarImage(np.full((4, 2, 3, 1), 999.0)).as_pil().getpixel((0, 0)) == (255,) * 4
    with pytest.raises(RuntimeError, match="not 2D"):
        memory().as_pil()
    with pytest.raises(RuntimeError, match="1, 3 or 4 channels"):
        mi.ScalarImage(np.zeros((2, 2, 3, 1))).as_pil()


def test_repr_is_one_line(path: Path) -> None:
    image = mi.ScalarImage(path)
    assert repr(image) == (
        "ScalarImage(shape: (3, 6, 5, 4); spacing: (0.81, 2.91, 1.51); orientation: PLS+; "
        "dtype: float32 (stored: int16); "
        f'memory: 1.4 KiB, not loaded; path: "{path}")'
    )
    image.load()
    assert "memory: 1.4 KiB;" in repr(image)
    assert "\\x1b" in repr(mi.Image("a\x1b[31m", reader=lambda path: (np.zeros((1, 1, 1, 1)), None)))


def test_torch_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    image = memory()
    assert image.numpy().any()
    for name in ("data", "tensor", "device"):
        with pytest.raises(ImportError, match=r"medimg-cli\[torch\]"):
            getattr(image, name)


def test_a_crop_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(GeometryError):
        memory().crop(9)

"""Every kind of source becomes a backend: the same voxels, the same grid, lazily where that can be."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import FramesBackend, StoredBackend
from medimg_cli.errors import FormatError, GeometryError, MedImgError, StorageError, UnsupportedError, UsageError
from medimg_cli.formats.writing import save_backend
from medimg_cli.sources.arrays import TensorBackend, from_dims
from medimg_cli.sources.readers import ForeignBackend
from tests.helpers import DTYPES, make, read, unlike, voxels
from tests.operations.helpers import OBLIQUE, holds_contract, numbered
from tests.web import Site


def written(folder: Path, name: str = "a.nii.gz", kind: str = "plain") -> Path:
    save_backend(make(kind), str(folder / name))
    return folder / name


# paths, bytes, file objects


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_lazy(kind: Any, tmp_path: Path) -> None:
    path = written(tmp_path)
    image = mi.Image(kind(path))
    assert image.path == path
    assert not image.is_loaded
    assert np.array_equal(image.numpy(), read(make("plain")))


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = written(tmp_path)
    assert mi.Image("~/a.nii.gz").path == path


def test_bytes_and_file_objects(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    expected = read(make("plain"))
    with path.open("rb") as file:
        sources: list[Any] = [content, bytearray(content), memoryview(content), io.BytesIO(content), file]
        for source in sources:
            image = mi.ScalarImage(source, suffix=".nii.gz")
            assert image.path is None
            assert np.array_equal(image.numpy(), expected)
            assert image.header.warnings == ()
    buffer = io.BytesIO(content)
    buffer.seek(0, 2)
    assert np.array_equal(pickle.loads(pickle.dumps(mi.Image(buffer, suffix=".nii.gz"))).numpy(), expected)


def test_an_open_file_travels_only_loaded(tmp_path: Path) -> None:
    with written(tmp_path).open("rb") as file:
        image = mi.Image(file)
        with pytest.raises(StorageError, match="load"):
            pickle.dumps(image)
        image.load()
        assert np.array_equal(pickle.loads(pickle.dumps(image)).numpy(), image.numpy())


class Stream(io.RawIOBase):
    """Bytes that come once, in small pieces."""

    def __init__(self, content: bytes) -> None:
        self.inner = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        return self.inner.readinto(memoryview(view)[:1000])


def test_streams_that_cannot_seek(tmp_path: Path, site: Site) -> None:
    import urllib.request

    path = written(tmp_path)
    expected = read(make("plain"))
    url = site.add("a.nii.gz", path.read_bytes())
    with urllib.request.urlopen(url) as response:
        over_http = mi.Image(response)
    for image in (
        over_http,
        mi.Image(Stream(path.read_bytes())),
        mi.Image(io.BufferedReader(Stream(path.read_bytes()))),
    ):
        assert image.path is None
        assert np.array_equal(image.numpy(), expected)
        assert np.array_equal(pickle.loads(pickle.dumps(image)).numpy(), expected)
    with pytest.raises(FormatError, match="is empty"):
        mi.Image(Stream(b""))
    with gzip.open(path) as unpacked:
        assert np.array_equal(mi.Image(unpacked, suffix=".nii").numpy(), expected)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(path, "a.nii.gz")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert np.array_equal(mi.Image(archive.extractfile("a.nii.gz")).numpy(), expected)


def test_file_objects_are_read_where_they_are(tmp_path: Path) -> None:
    """A part is read as a part, and the position of the file stays what it was."""
    save_backend(numbered((1, 40, 40, 40), dtype="int16"), str(tmp_path / "a.nii"))
    counted = Counted((tmp_path / "a.nii").read_bytes())
    counted.seek(100)
    image = mi.Image(counted, suffix=".nii")
    counted.count = 0
    assert image[..., 20].numpy()[0, 0, 0, 0] == 1 + 20
    assert counted.count < 40 * 40 * 40 * 2
    assert (image[..., 3:5].numpy().size, counted.count, counted.tell()) == (3200, counted.count, 100)
    with open(__file__) as script:
        for text in (io.StringIO("no image"), script):
            with pytest.raises(UsageError, match="text file"):
                mi.Image(text)
    closed = (tmp_path / "a.nii").open("rb")
    late = mi.Image(closed)
    closed.close()
    with pytest.raises(StorageError, match="file object fails"):
        late.load()


class Counted(io.BufferedIOBase):
    """A file object that counts what is read; its ``getvalue`` is nobody's."""

    def __init__(self, content: bytes) -> None:
        self.inner, self.count = io.BytesIO(content), 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.inner.seek(offset, whence)

    def tell(self) -> int:
        return self.inner.tell()

    def read(self, size: int | None = -1) -> bytes:
        data = self.inner.read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize(
    "name", ["a.nii.gz", "a.nrrd", "a.mha", "a.mgz", "a.mif.gz", "a.npy", "a.tif", "a.gipl", "a.vtk"]
)
def test_bytes_of_every_format(name: str, tmp_path: Path) -> None:
    content = written(tmp_path, name, "straight").read_bytes()
    expected = mi.Image(tmp_path / name)
    suffix = name.removeprefix("a")
    for image in (
        mi.Image(content),
        mi.Image(io.BytesIO(content), suffix=suffix),
        mi.Image(Stream(content), suffix=suffix),
    ):
        assert image.grid == expected.grid
        assert np.array_equal(image.numpy(), expected.numpy())


def test_bytes_have_no_neighbours(tmp_path: Path) -> None:
    content = written(tmp_path, "a.mhd").read_bytes()
    for source in (content, io.BytesIO(content), Stream(content)):
        with pytest.raises(FormatError, match="its voxels are in another file"):
            mi.Image(source).load()


def test_several_urls_and_paths(tmp_path: Path, site: Site) -> None:
    pytest.importorskip("fsspec")
    path = written(tmp_path)
    url = site.add("b.nii.gz", path.read_bytes())
    image = mi.Image(path, url, f"file://{path}")
    assert image.path == [path, url, path]
    assert np.array_equal(image.numpy(), np.concatenate([read(make("plain"))] * 3))
    assert "and 2 more" in repr(image)
    other = site.add("c.nii", written(tmp_path, "c.nii", "straight").read_bytes())
    with pytest.raises(
        ValueError, match=r"c\.nii: its grid lies .* mm from that of http://.*b\.nii\.gz; resample"
    ) as caught:
        mi.Image([url + "?token=1", other + "?token=1"])
    assert "token" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mi.ScalarImage(tmp_path / "absent.nii")


@pytest.mark.parametrize("source", [5, 1.5, {}, {"path": "a"}, [], [1, 2], object(), ["a.nii", 5]])
def test_what_is_no_source_is_a_type_error(source: Any) -> None:
    with pytest.raises(TypeError, match="cannot be made from"):
        mi.Image(source)


# arrays and tensors


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_every_type_share_their_memory(dtype: str) -> None:
    array = voxels((2, 5, 4, 3), dtype)
    image = mi.Image(array, affine=OBLIQUE)
    assert image.header.dtype == dtype
    assert image.affine == OBLIQUE
    assert image.is_loaded
    assert unlike(image.numpy(), array) is None
    assert np.shares_memory(image.numpy(), array)


def test_big_endian_arrays_become_native() -> None:
    array = np.arange(24, dtype=">i2").reshape(1, 2, 3, 4)
    image = mi.Image(array)
    assert image.numpy().dtype.isnative
    assert np.array_equal(image.numpy(), array)
    pytest.importorskip("torch")
    assert np.array_equal(image.data.numpy(), array.astype("i2"))


@pytest.mark.parametrize("name", ["bool", "uint8", "int16", "uint16", "int64", "float16", "float32", "complex64"])
def test_tensors_share_their_memory(name: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.ones(1, 2, 3, 4, dtype=getattr(torch, name))
    image = mi.Image(tensor)
    assert image.header.dtype == name
    assert image.data is image.tensor
    image.numpy()[0, 0, 0, 0] = 0
    assert not tensor[0, 0, 0, 0]
    assert image.data.data_ptr() == tensor.data_ptr()


def test_tensors_that_numpy_lacks() -> None:
    torch = pytest.importorskip("torch")
    wide = mi.Image(torch.full((1, 2, 2, 2), 0.5, dtype=torch.bfloat16))
    assert wide.header.dtype == "float32"
    assert wide.numpy().sum() == 4
    weights = torch.ones(1, 2, 2, 2, requires_grad=True)
    assert mi.Image(weights * 2).numpy().sum() == 16


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (1, 1, 2, 3, 4), ()])
def test_what_is_not_4d_names_the_way_out(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected 4D \(C, I, J, K\); .*from_array"):
        mi.Image(np.zeros(shape))
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"expected 4D \(C, I, J, K\); .*from_array"):
        mi.Image(torch.zeros(shape))


def test_arrays_without_numbers_or_voxels() -> None:
    with pytest.raises(UnsupportedError, match="holds no voxels"):
        mi.Image(np.full((1, 2, 2, 2), "a"))
    with pytest.raises(GeometryError, match="axis without voxels"):
        mi.Image(np.zeros((1, 0, 2, 2)))


def test_channels_last() -> None:
    array = np.arange(120).reshape(3, 4, 5, 2)
    assert np.array_equal(mi.Image(array, channels_last=True).numpy(), np.moveaxis(array, -1, 0))
    torch = pytest.importorskip("torch")
    assert mi.Image(torch.from_numpy(array), channels_last=True).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("dims", "shape", "order"),
    [
        ("ijk", (4, 5, 6), (0, 1, 2, 3)),
        ("kji", (6, 5, 4), (0, 3, 2, 1)),
        ("ijkc", (4, 5, 6, 3), None),
        ("cijk", (3, 4, 5, 6), None),
        ("kjic", (6, 5, 4, 3), None),
        ("tkji", (3, 6, 5, 4), None),
        ("ij", (4, 5), None),
        ("ji", (5, 4), None),
        ("jic", (5, 4, 3), None),
        ("ki", (6, 4), None),
    ],
)
def test_from_array(dims: str, shape: tuple[int, ...], order: Any) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape)
    image = mi.Image.from_array(array, dims, spacing=(1, 2, 3), origin=(4, 5, 6))
    sizes = dict(zip(dims, shape, strict=True))
    assert image.shape == (sizes.get("c", sizes.get("t", 1)), *(sizes.get(each, 1) for each in "ijk"))
    assert image.spacing == (1.0, 2.0, 3.0)
    for index in np.ndindex(shape):
        where = dict(zip(dims, index, strict=True))
        place = (where.get("c", where.get("t", 0)), *(where.get(each, 0) for each in "ijk"))
        assert image.numpy()[place] == array[index]
    assert np.shares_memory(image.numpy(), array)
    assert image.time_steps == sizes.get("t", 1)


@pytest.mark.parametrize("dims", ["ijj", "xyz", "ijkct", "i", "ct", "ijkq", ""])
def test_dims_that_make_no_sense(dims: str) -> None:
    with pytest.raises(GeometryError, match="dims are"):
        from_dims(np.zeros((2,) * len(dims)), dims)
    with pytest.raises(GeometryError, match="name 3"):
        mi.Image.from_array(np.zeros((2, 3)))


def test_empty_images() -> None:
    zeros = mi.ScalarImage.empty((4, 5, 6), "uint16", spacing=2)
    assert (zeros.shape, zeros.header.dtype, zeros.numpy().any()) == ((1, 4, 5, 6), "uint16", False)
    assert mi.Image.empty((2, 4, 5, 6), np.int8).shape == (2, 4, 5, 6)
    image = mi.ScalarImage(affine=OBLIQUE, te=3)
    assert repr(image) == "ScalarImage(empty)"
    assert (image.path, image.is_loaded, image.te, dict(image.metadata)) == (None, False, 3, {"te": 3})
    for name in ("shape", "header", "affine", "dtype", "memory"):
        with pytest.raises(RuntimeError, match="image is empty"):
            getattr(image, name)
    with pytest.raises(RuntimeError, match="image is empty"):
        image.reorient("RAS")
    image.metadata["tr"] = 2.0
    image.set_data(np.zeros((1, 2, 3, 4)))
    assert (image.affine, dict(image.metadata), image.shape) == (OBLIQUE, {"te": 3, "tr": 2.0}, (1, 2, 3, 4))
    with pytest.raises(GeometryError):
        mi.Image(spacing=(0, 1, 1))


def test_another_image_is_shared_not_aliased() -> None:
    first = mi.ScalarImage(np.zeros((1, 2, 2, 2)), affine=OBLIQUE, te=1)
    second = mi.LabelMap(first)
    second.numpy()[:] = 1
    assert not first.numpy().any()
    assert (second.affine, second.te, second.type) == (OBLIQUE, 1, "label")


# geometry given by the caller


def test_geometry_overrides_the_source(tmp_path: Path) -> None:
    path = written(tmp_path)
    own = mi.Image(path).affine
    assert mi.Image(path, affine=OBLIQUE.numpy()).affine == OBLIQUE
    assert mi.Image(path, spacing=(1, 2, 3)).affine == own.with_spacing((1, 2, 3))
    both = mi.Image(path, origin=(1, 2, 3), direction=np.eye(3))
    assert (both.origin, both.direction) == ((1.0, 2.0, 3.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    assert any("given by the caller" in sentence for sentence in both.header.warnings)
    assert mi.Image(path, affine=own).header.warnings == ()
    with pytest.raises(ValueError, match="one or the other"):
        mi.Image(path, affine=OBLIQUE, spacing=1)
    with pytest.raises(ValueError, match="4x4"):
        mi.Image(np.zeros((1, 2, 2, 2)), affine=np.eye(3))


# several paths


def test_several_paths_are_channels(tmp_path: Path) -> None:
    paths = [written(tmp_path, name, "scaled-time") for name in ("a.nii.gz", "b.nii")]
    for image in (mi.Image(paths), mi.Image(*paths), mi.Image(path=tuple(map(str, paths)))):
        assert isinstance(image.dataobj.backend, FramesBackend)
        assert image.path == paths
        assert image.shape[0] == 4
        assert (image.header.slope, image.header.dtype, image.header.axes) == (0.25, "uint8", (("time", 4),))
        assert np.array_equal(image.numpy(writeable=False), np.concatenate([read(make("scaled-time"))] * 2))
    holds_contract(mi.Image(paths).dataobj.backend)


def test_several_paths_of_different_types_take_one_that_holds_all(tmp_path: Path) -> None:
    for name, dtype, slope in (("a", "uint8", None), ("b", "int16", None), ("c", "int16", 0.5)):
        save_backend(numbered((1, 5, 4, 3), dtype=dtype, slope=slope), str(tmp_path / f"{name}.nii"))
    plain = mi.Image(tmp_path / "a.nii", tmp_path / "b.nii")
    assert plain.header.dtype == "int16"
    mixed = mi.Image(tmp_path / "b.nii", tmp_path / "c.nii")
    assert (mixed.header.dtype, mixed.header.slope) == ("float32", None)
    assert np.array_equal(mixed.numpy()[1], mixed.numpy()[0] / 2)
    holds_contract(mi.Image(tmp_path / "b.nii", tmp_path / "c.nii").dataobj.backend)


def test_gradients_of_several_paths_join(tmp_path: Path) -> None:
    first = make("diffusion")
    from medimg_cli.sources.several import joined

    whole = joined([first, first], ["a", "b"]).header
    assert whole.gradients is not None
    assert whole.gradients.bvals == first.header.gradients.bvals * 2  # type: ignore[union-attr]


def test_time_of_several_images_is_kept_only_where_they_agree() -> None:
    from medimg_cli.backends import with_header
    from medimg_cli.sources.several import joined

    time, plain = make("time"), make("plain")
    slower = with_header(time, time.header.replace(time_spacing=3.5))
    assert joined([time, time], ["a", "b"]).header.time_spacing == 2.5
    for others in ([time, slower], [time, plain]):
        assert joined(others, ["a", "b"]).header.time_spacing is None


def test_paths_on_other_grids_are_refused_by_name(tmp_path: Path) -> None:
    save_backend(numbered((1, 5, 4, 3)), str(tmp_path / "a.nii"))
    save_backend(numbered((1, 5, 4, 3), OBLIQUE.with_origin((11.5, -22.25, 35.5))), str(tmp_path / "b.nii"))
    save_backend(numbered((1, 5, 4, 4)), str(tmp_path / "c.nii"))
    with pytest.raises(ValueError, match=r"b\.nii: its grid lies 2\.5 mm from that of .*a\.nii"):
        mi.Image(tmp_path / "a.nii", tmp_path / "b.nii")
    with pytest.raises(ValueError, match=r"c\.nii: has spatial shape \(5, 4, 4\), .*a\.nii has \(5, 4, 3\)"):
        mi.Image([tmp_path / "a.nii", tmp_path / "c.nii"])
    with pytest.raises(FileNotFoundError):
        mi.Image([tmp_path / "a.nii", tmp_path / "x.nii"])


# readers


def test_a_reader_is_asked_once_and_late(tmp_path: Path) -> None:
    asked = []

    def reader(path: Path, *, scale: int = 1) -> tuple[Any, Any]:
        asked.append(path)
        return np.arange(24.0).reshape(1, 2, 3, 4) * scale, OBLIQUE.numpy()

    image = mi.ScalarImage(tmp_path / "a.xyz", reader=reader, reader_kwargs={"scale": 2}, te=3)
    assert (asked, image.is_loaded, image.te) == ([], False, 3)
    assert "not loaded" in repr(image)
    assert asked == []
    assert (image.shape, image.affine, image.te) == ((1, 2, 3, 4), OBLIQUE, 3)
    assert image.is_loaded
    assert image.numpy().max() == 46
    assert image[:, 1].numpy().min() == 24
    assert len(asked) == 1
    image.spacing = (1, 1, 1)
    image.unload()
    assert not image.is_loaded
    assert (image.numpy().max(), image.spacing, len(asked)) == (46, pytest.approx((1, 1, 1)), 2)
    placed = mi.ScalarImage(tmp_path / "a.xyz", reader=reader, affine=np.eye(4))
    assert len(asked) == 2
    assert placed.affine == AffineMatrix()


def test_readers_may_return_fewer_axes(tmp_path: Path) -> None:
    flat = mi.Image("x", reader=lambda path: (np.ones((3, 4)), None))
    assert (flat.shape, flat.affine) == ((1, 3, 4, 1), AffineMatrix())
    assert mi.Image("x", reader=lambda path: (np.ones((3, 4, 5)), None)).shape == (1, 3, 4, 5)
    last = mi.Image("x", reader=lambda path: (np.ones((3, 4, 5, 2)), None), channels_last=True)
    assert last.shape == (2, 3, 4, 5)
    with pytest.raises(TypeError, match="without a reader"):
        mi.Image("x", reader_kwargs={"a": 1})


def test_readers_may_return_tensors() -> None:
    torch = pytest.importorskip("torch")
    image = mi.Image("x", reader=lambda path: (torch.ones(3, 4), torch.eye(4)))
    assert (image.shape, image.affine) == ((1, 3, 4, 1), AffineMatrix())


@pytest.mark.parametrize("returned", [None, 5, np.ones((1, 2, 3, 4)), (1, 2, 3)])
def test_readers_that_return_something_else(returned: Any) -> None:
    with pytest.raises(TypeError, match="a reader returns"):
        mi.Image("x", reader=lambda path: returned).load()


def test_readers_of_urls_get_the_url() -> None:
    asked = []

    def reader(url: str) -> Any:
        asked.append(url)
        return np.ones((1, 2, 3, 4)), None

    image = mi.Image("scheme://h/a.xyz", reader=reader)
    assert (image.path, image.shape, asked) == ("scheme://h/a.xyz", (1, 2, 3, 4), ["scheme://h/a.xyz"])


class LazyReader:
    """A reader as TorchIO's documentation shows it."""

    def __init__(self, backend: Any) -> None:
        self.backend, self.requests = backend, []

    def create_backend(self, request: Any) -> Any:
        self.requests.append(request)
        return self.backend


class Theirs:
    """A backend as TorchIO's documentation shows it, with arrays."""

    def __init__(self, dtype: str = "float64", returned: str = "float64") -> None:
        self.array = np.arange(120.0).reshape(2, 3, 4, 5).astype(returned)
        self.shape, self.affine, self.dtype = self.array.shape, np.diag([2.0, 2, 2, 1]), np.dtype(dtype)
        self.asked: list[Any] = []

    def __getitem__(self, index: Any) -> Any:
        assert all(each.step is None or each.step > 0 for each in index)
        self.asked.append(index)
        return self.array[index]

    def to_tensor(self) -> Any:
        raise AssertionError("nobody asked for the whole")


def test_lazy_readers(tmp_path: Path) -> None:
    reader = LazyReader(make("time"))
    image = mi.Image(tmp_path / "x.y", reader=reader, reader_kwargs={"a": 1})
    request = reader.requests[0]
    assert (request.path, request.reader_kwargs, request.reader) == (tmp_path / "x.y", {"a": 1}, reader)
    assert (request.affine, request.url, request.source) == (None, None, None)
    assert image.time_steps == 4
    foreign = mi.Image("x.y", reader=LazyReader(Theirs()))
    assert isinstance(foreign.dataobj.backend, ForeignBackend)
    assert not foreign.is_loaded
    assert foreign.spacing == (2.0, 2.0, 2.0)
    assert np.array_equal(foreign[:, ::-2].numpy(), Theirs().array[:, ::-2])
    holds_contract(ForeignBackend(Theirs()))
    remote = LazyReader(make("time"))
    mi.Image("s3://b/x.y", reader=remote)
    assert (remote.requests[0].path, remote.requests[0].url) == (None, "s3://b/x.y")


def test_lazy_readers_are_asked_for_what_is_read_only() -> None:
    theirs = Theirs()
    image = mi.Image("x.y", reader=LazyReader(theirs), spacing=(1, 2, 3))
    assert (image.shape, image.dtype, image.spacing) == ((2, 3, 4, 5), np.dtype("float64"), (1.0, 2.0, 3.0))
    part = image[1, :, 1:3, ::-2].reorient("LPS")
    assert theirs.asked == []
    assert part.numpy().size == 3 * 2 * 3
    (index,) = theirs.asked
    assert [(each.start, each.stop) for each in index] == [(1, 2), (0, 3), (1, 3), (0, 5)]
    first = image[:1, :1, :1, :1].numpy()
    first[:] = -1
    assert theirs.array[0, 0, 0, 0] == 0
    image.load()
    assert image.is_loaded


def test_readers_that_say_another_type_than_they_return() -> None:
    held = mi.Image("x", reader=LazyReader(Theirs("uint16", "int32")))  # torch has no uint16 that it likes
    assert (held.numpy().dtype, held.numpy().max()) == (np.dtype("uint16"), 119)
    with pytest.raises(UnsupportedError, match="says that its voxels are uint8, and returned float64 that do not fit"):
        halves = Theirs("uint8")
        halves.array /= 2
        mi.Image("x", reader=LazyReader(halves)).load()


def test_readers_whose_backends_are_none() -> None:
    class Short(Theirs):
        def __getitem__(self, index: Any) -> Any:
            return self.array[0, 0]

    with pytest.raises(FormatError, match=r"returned \(4, 5\) voxels, expected \(2, 3, 4, 5\)"):
        mi.Image("x", reader=LazyReader(Short())).load()
    for nothing in (None, 5, "a", object()):
        with pytest.raises(TypeError, match="is no backend"):
            mi.Image("x", reader=LazyReader(nothing))


def test_backends_with_a_header_of_their_own() -> None:
    class Own:
        """A backend whose header nobody can set."""

        def __init__(self) -> None:
            self._image = make("time")

        @property
        def header(self) -> Any:
            return self._image.header

        def read(self, region: Any, *, raw: bool = False) -> Any:
            return self._image.read(region, raw=raw)

        def blocks(self, layout: Any, **options: Any) -> Any:
            return self._image.blocks(layout, **options)

    image = mi.Image("x", reader=LazyReader(Own()), spacing=2)
    assert image.spacing == pytest.approx((2, 2, 2))
    holds_contract(image.dataobj.backend)
    assert np.array_equal(image.numpy(), read(make("time")))


def test_lazy_readers_with_tensors() -> None:
    torch = pytest.importorskip("torch")

    class Tensors(Theirs):
        def __init__(self) -> None:
            super().__init__()
            self.affine = torch.diag(torch.tensor([2.0, 2, 2, 1], dtype=torch.float64))

        def __getitem__(self, index: Any) -> Any:
            return torch.from_numpy(super().__getitem__(index).copy())

    image = mi.Image("x", reader=LazyReader(Tensors()))
    assert np.array_equal(image[:, ::-2].numpy(), Theirs().array[:, ::-2])
    assert torch.equal(image.data, torch.from_numpy(Theirs().array))
    holds_contract(ForeignBackend(Tensors()))


def test_a_tensor_elsewhere_is_a_backend() -> None:
    torch = pytest.importorskip("torch")
    source = make("rgb", "float32")
    holds_contract(TensorBackend(torch.from_numpy(source.array), source.header))


# objects of other libraries


def test_nibabel_images_are_lazy(tmp_path: Path) -> None:
    pytest.importorskip("medimg_cli.interop")
    nib = pytest.importorskip("nibabel")
    array = np.arange(120, dtype="int16").reshape(4, 5, 6)
    nib.save(nib.Nifti1Image(array, OBLIQUE.numpy(), dtype="int16"), tmp_path / "a.nii")
    for image in (
        mi.Image(nib.load(tmp_path / "a.nii")),
        mi.ScalarImage.from_nibabel(nib.load(tmp_path / "a.nii"), te=1),
    ):
        assert not image.is_loaded
        assert np.allclose(image.affine.numpy(), OBLIQUE.numpy(), atol=1e-5)
        assert np.array_equal(image.numpy()[0], array)
    back = image.as_nibabel()
    assert np.array_equal(np.asanyarray(back.dataobj), array)


def test_simpleitk_images_are_turned_to_ras() -> None:
    pytest.importorskip("medimg_cli.interop")
    sitk = pytest.importorskip("SimpleITK")
    theirs = sitk.GetImageFromArray(np.arange(120, dtype="int16").reshape(6, 5, 4))
    theirs.SetOrigin((1, 2, 3))
    image = mi.LabelMap.from_sitk(theirs)
    assert isinstance(image, mi.LabelMap)
    assert (image.shape, image.origin) == ((1, 4, 5, 6), (-1.0, -2.0, 3.0))
    assert image.numpy()[0, 1, 2, 3] == theirs.GetPixel(1, 2, 3)
    assert image.as_sitk().GetOrigin() == (1, 2, 3)


def test_backends_are_sources(tmp_path: Path) -> None:
    image = mi.Image(make("scaled-time"))
    assert image.header.slope == 0.25
    assert isinstance(mi.Image(written(tmp_path)).dataobj.backend, StoredBackend)


def test_every_refusal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.nii").write_bytes(b"x" * 400)
    for source in (tmp_path, tmp_path / "bad.nii", tmp_path / "absent", b"abc", np.zeros(3), "https://x/y"):
        with pytest.raises(MedImgError) as caught:
            mi.Image(source)
        assert "\n" not in str(caught.value)

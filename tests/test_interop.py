"""Objects of nibabel and SimpleITK come in and go out with all that they say."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, StoredBackend
from medimg_cli.errors import CastError, GeometryError, MedImgError, UnsupportedError
from medimg_cli.formats import nifti, open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import differences
from medimg_cli.interop import from_nibabel, from_sitk, to_nibabel, to_sitk
from tests.helpers import AFFINES, KINDS, make, one_line, part, read, regions, unlike, voxels

nibabel: Any = pytest.importorskip("nibabel")
sitk: Any = pytest.importorskip("SimpleITK")
DATA = Path(nibabel.__file__).parent / "tests" / "data"


def stored(tmp_path: Path, kind: str, suffix: str = ".nii") -> Path:
    """Write an image of a kind."""
    path = tmp_path / f"{kind}{suffix}"
    save_backend(make(kind), str(path))
    return path


# nibabel


def raw_header(backend: Any) -> bytes:
    """Return the raw NIfTI-1 header without vox_offset: the writers pad extensions differently."""
    raw = backend.header.native.data[2]
    return bytes(raw[:108] + raw[112:])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_nifti_is_its_file(kind: str, suffix: str, tmp_path: Path) -> None:
    path = stored(tmp_path, kind, suffix)
    ours, theirs = open_backend(str(path)), from_nibabel(nibabel.load(path))
    own: dict[str, Any] = {"gradients": None}  # stand in files beside the image
    own |= {"axes": theirs.header.axes} if kind == "diffusion" else {}
    assert not differences(ours.header.replace(**own), theirs.header.replace(gradients=None))
    assert raw_header(theirs) == raw_header(ours)
    assert isinstance(theirs, StoredBackend)
    full = read(ours, raw=True)
    for region in regions(full.shape, 20):
        assert unlike(theirs.read(region, raw=True), part(full, region)) is None
    assert unlike(read(theirs), read(ours)) is None
    assert unlike(read(pickle.loads(pickle.dumps(theirs))), read(ours)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_nifti_behind_a_file_object(kind: str, tmp_path: Path) -> None:
    content = stored(tmp_path, kind).read_bytes()
    image = nibabel.Nifti1Image.from_bytes(content)
    backend = from_nibabel(image)
    wanted = open_backend(content, name="x.nii")
    for region in regions(wanted.header.shape, 20):
        assert unlike(backend.read(region, raw=True), wanted.read(region, raw=True)) is None
    assert backend.header.slope == wanted.header.slope


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i2", "int64", "float32", ">f8", "complex64"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2), (5, 4, 3, 1, 3), (5, 4), (5,)])
def test_arrays_of_nibabel(dtype: str, shape: tuple[int, ...]) -> None:
    array = voxels(shape, np.dtype(dtype).name).astype(dtype)
    image = nibabel.Nifti1Image(array, AFFINES["oblique"].numpy(), dtype="float64")
    backend = from_nibabel(image)
    values = read(backend)
    assert values.dtype == np.dtype(dtype).newbyteorder("=")
    assert values.dtype.isnative
    expected = array.reshape((*shape, 1, 1)[: max(3, len(shape))])
    expected = np.moveaxis(expected.reshape((*expected.shape[:3], -1), order="F"), 3, 0)
    assert unlike(values, expected.astype(values.dtype)) is None
    assert backend.header.affine.allclose(AFFINES["oblique"], 1e-4)


def test_an_affine_that_was_changed_counts(tmp_path: Path) -> None:
    image = nibabel.load(stored(tmp_path, "forms"))
    image.affine[:3, 3] = 1, 2, 3
    header = from_nibabel(image).header
    assert header.origin == (1.0, 2.0, 3.0)
    assert header.sform_code == 4


def test_no_orientation_stays_no_orientation() -> None:
    image = nibabel.Nifti1Image(voxels((5, 4, 3), "int16"), None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    header = from_nibabel(nibabel.Nifti1Image.from_bytes(image.to_bytes())).header
    assert header.affine == AffineMatrix.from_spacing((1, 2, 3)), "method 1 of the standard"
    assert "orientation is unknown" in header.warnings[0]


def test_colours_of_nibabel() -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    flat = voxels((5, 4, 3, 2, 3), "uint8")
    backend = from_nibabel(nibabel.Nifti1Image(np.ascontiguousarray(flat).view(kind)[..., 0], np.eye(4)))
    assert backend.header.axes[-1] == ("rgb", 3)
    assert unlike(read(backend), flat.transpose(4, 3, 0, 1, 2).reshape(6, 5, 4, 3)) is None


OTHERS = ["tiny.mnc", "minc1_4d.mnc", "example4d+orig.HEAD", "phantom_varscale.PAR", "test.mgz"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_images_of_nibabel(name: str) -> None:
    image = nibabel.load(DATA / name)
    backend = from_nibabel(image)
    wanted = open_backend(str(DATA / name))
    assert np.allclose(read(backend), read(wanted))
    assert backend.header.affine.allclose(wanted.header.affine, 1e-4)
    assert backend.header.time_spacing == wanted.header.time_spacing


def test_analyze_of_nibabel(tmp_path: Path) -> None:
    array = voxels((5, 4, 3), "int16")
    nibabel.save(nibabel.AnalyzeImage(array, AFFINES["straight"].numpy()), tmp_path / "x.img")
    backend = from_nibabel(nibabel.load(tmp_path / "x.img"))
    assert np.array_equal(read(backend)[0], array)


def test_what_is_no_volume_is_refused() -> None:
    for thing in (nibabel.gifti.GiftiImage(), object()):
        with pytest.raises(UnsupportedError) as error:
            from_nibabel(thing)
        assert one_line(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_to_nibabel_and_back(kind: str) -> None:
    image = make(kind)
    there = to_nibabel(image)
    fitted = nifti.fit(image.header, "x.nii")
    back = from_nibabel(there)
    own: dict[str, Any] = {"gradients": None}
    own |= {"axes": back.header.axes} if kind == "diffusion" else {}
    scaling = {"slope": fitted.slope, "inter": fitted.inter, "dtype": fitted.dtype}  # nibabel's objects hold values
    assert not differences(fitted.replace(**own), back.header.replace(gradients=None, **scaling))
    assert np.allclose(read(back), read(image), rtol=1e-6, equal_nan=True)
    assert there.get_data_dtype().newbyteorder("=") == there.dataobj.dtype


def test_nibabel_keeps_dtype_slope_forms_and_time() -> None:
    there = to_nibabel(make("scaled"))
    assert there.get_data_dtype() == np.int16
    assert (there.dataobj.slope, there.dataobj.inter) == (0.25, -12.5)
    assert np.array_equal(there.dataobj.get_unscaled(), make("scaled").array[0])
    assert np.allclose(there.get_fdata(), read(make("scaled"))[0])
    forms = to_nibabel(make("forms")).header
    assert (int(forms["sform_code"]), int(forms["qform_code"])) == (4, 1)
    assert np.allclose(forms.get_qform(), AFFINES["left-handed"].numpy(), atol=1e-4)
    timed = to_nibabel(make("time")).header
    assert timed.get_xyzt_units() == ("mm", "sec")
    assert timed.get_zooms()[3] == 2.5
    assert [int(e.get_code()) for e in to_nibabel(make("described")).header.extensions][:2] == [4, 6]


INDEXES: list[Any] = [
    np.s_[...], np.s_[1], np.s_[..., 1], np.s_[1:4, ::-1, 2], np.s_[:, 0, None, 1:], np.s_[-1, -1, -1],
    np.s_[::2, 1:3, ::-2], np.s_[4:1:-1],
]  # fmt: skip


@pytest.mark.parametrize("kind", ["plain", "scaled", "time", "time-vector", "rgb", "time-rgb", "picture"])
@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_the_proxy_slices_like_an_array(kind: str, index: Any) -> None:
    proxy = to_nibabel(make(kind)).dataobj
    try:
        expected = np.asarray(proxy)[index]
    except IndexError:
        return
    found = proxy[index]
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected) if found.dtype.names else unlike(found, expected) is None


def test_nibabel_saves_slices_and_reorients(tmp_path: Path) -> None:
    there = to_nibabel(make("time"))
    nibabel.save(there, tmp_path / "x.nii")
    assert unlike(read(open_backend(str(tmp_path / "x.nii"))), read(make("time"))) is None
    assert there.slicer[1:3, :, ::2, :2].shape == (2, 4, 2, 2)
    turned = nibabel.as_closest_canonical(there)
    assert nibabel.aff2axcodes(turned.affine) == ("R", "A", "S")


def test_many_voxels_along_an_axis_make_nifti_2() -> None:
    array = np.zeros((1, 40000, 1, 1), "u1")
    there = to_nibabel(ArrayBackend(array, make("plain", "uint8").header.replace(shape=array.shape)))
    assert isinstance(there, nibabel.Nifti2Image)


# SimpleITK


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sheared"])
def test_to_sitk_and_back(kind: str) -> None:
    image = make(kind)
    there = to_sitk(image)
    back = from_sitk(there)
    values = read(image)
    assert unlike(read(back), values.astype(values.dtype)) is None
    assert back.header.affine.allclose(image.header.affine, 1e-9)
    if kind not in ("channels", "diffusion"):
        assert [a for a in back.header.axes if a[1] > 1] == list(image.header.axes)
    assert back.header.time_spacing == image.header.time_spacing


def test_a_point_lies_where_it_lay() -> None:
    image = make("left-handed")
    there = to_sitk(image)
    x, y, z = there.TransformIndexToPhysicalPoint((4, 2, 1))
    assert np.allclose((-x, -y, z), image.header.affine.apply((4, 2, 1)))
    assert there[4, 2, 1] == image.array[0, 4, 2, 1]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "int64", "uint64", "float64", "complex64"])
@pytest.mark.parametrize("rank", [2, 3, 4])
def test_images_of_simpleitk(dtype: str, rank: int) -> None:
    array = voxels((2, 3, 4, 5)[4 - rank :], dtype)
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing((0.5, 1.5, 2.5, 3.5)[:rank])
    image.SetOrigin((1.0, 2.0, 3.0, 4.0)[:rank])
    image.SetMetaData("who", "me")
    backend = from_sitk(image)
    full = array.reshape((1,) * (4 - rank) + array.shape).transpose(0, 3, 2, 1)
    assert unlike(read(backend), full) is None
    header = backend.header
    assert header.affine.to_lps().rows[0] == (0.5, 0, 0, 1)
    assert (header.ndim, header.metadata) == (min(rank, 3), {"who": "me"})
    assert header.axes == ((("time", 2),) if rank == 4 else ())
    again = to_sitk(backend)
    assert again.GetDimension() == rank
    assert again.GetSpacing() == image.GetSpacing()
    assert again.GetOrigin()[:3] == image.GetOrigin()[:3]
    assert again.GetMetaData("who") == "me"
    assert unlike(sitk.GetArrayFromImage(again), array) is None


def test_the_copy_is_a_copy() -> None:
    image = sitk.GetImageFromArray(voxels((3, 4, 5), "int16"))
    backend = from_sitk(image)
    before = read(backend)
    image *= 0
    assert unlike(read(backend), before) is None


def test_what_simpleitk_cannot_hold() -> None:
    with pytest.raises(GeometryError, match=r"sheared axes \(\d+\.?\d* degrees\)"):
        to_sitk(make("sheared"))
    flat = make("plain")
    flat.header = flat.header.replace(affine=AffineMatrix([[1, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0]]))
    with pytest.raises(GeometryError, match="one plane"):
        to_sitk(flat)
    if np.dtype(np.longdouble).itemsize == 16:
        with pytest.raises(CastError, match="float128"):
            to_sitk(make("plain", "float128"))
    with pytest.raises(MedImgError, match="vectors of complex"):
        to_sitk(make("channels", "complex64"))
    assert unlike(sitk.GetArrayFromImage(to_sitk(make("plain", "bool"))), make("plain", "bool").array[0].T) is None


def test_what_is_no_image_of_ours() -> None:
    labels = sitk.LabelImageToLabelMap(sitk.GetImageFromArray(voxels((3, 4, 5), "uint8")))
    with pytest.raises(UnsupportedError, match="label map"):
        from_sitk(labels)
    with pytest.raises(UnsupportedError, match="5 axes"):
        from_sitk(sitk.Image([2, 2, 2, 2, 2], sitk.sitkUInt8))


def test_a_nibabel_image_of_bytes_is_lazy() -> None:
    class Counting(io.BytesIO):
        reads = 0

        def read(self, *args: Any) -> bytes:
            Counting.reads += 1
            return super().read(*args)

    image = nibabel.Nifti1Image(voxels((5, 4, 3), "int16"), np.eye(4))
    file = nibabel.FileHolder(fileobj=Counting(image.to_bytes()))
    loaded = nibabel.Nifti1Image.from_file_map({"header": file, "image": file})
    before = Counting.reads
    backend = from_nibabel(loaded)
    assert Counting.reads == before
    assert backend.read((range(1), range(5), range(4), range(1, 2))).shape == (1, 5, 4, 1)

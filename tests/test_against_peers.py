"""nibabel and SimpleITK as referees: they write and medimg reads, medimg writes and they read.

Images are made in code, in every dtype a format has, on grids that are oblique, anisotropic, left-handed,
axis-permuted or plain. Voxels must be equal bit for bit and affines to 1e-4 mm, in the file's own voxel
order, except where the format stores another order.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
nibabel = pytest.importorskip("nibabel")
sitk = pytest.importorskip("SimpleITK")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import referee
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import medimg_cli as mi

SHAPE = (6, 5, 4)
NIFTI = (
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "float32", "float64", "complex64", "complex128",
)  # fmt: skip
MGH = ("uint8", "int16", "int32", "float32")
ITK = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
ORIENTATIONS = ("RAS", "LPS", "LAS", "ASR", "PIR", "SLP")
QUICK = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def voxels(dtype: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return noise with both extremes of the type; floats get NaN, both infinities and a negative zero."""
    chance = np.random.default_rng(7)
    if np.dtype(dtype).kind in "ui":
        limits = np.iinfo(dtype)
        array = chance.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
        array.flat[:2] = limits.min, limits.max
        return array
    array = chance.normal(size=shape).astype(dtype)
    if np.dtype(dtype).kind == "c":
        array += 1j * chance.normal(size=shape).astype(dtype)
    array.flat[:4] = np.nan, np.inf, -np.inf, -0.0
    return array


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Return a rotation by three angles in radians about x, y and z."""
    (a, b, c), (x, y, z) = np.cos(angles), np.sin(angles)
    return (
        np.array([[c, -z, 0], [z, c, 0], [0, 0, 1]])
        @ np.array([[b, 0, y], [0, 1, 0], [-y, 0, b]])
        @ np.array([[1, 0, 0], [0, a, -x], [0, x, a]])
    )


def affine_for(
    codes: str = "LAS",
    spacing: tuple[float, float, float] = (0.75, 1.5, 3.0),
    origin: tuple[float, float, float] = (11.5, -22.25, 33.0),
    angles: tuple[float, float, float] = (0.2, 0.1, 0.3),
) -> np.ndarray:
    """Return a voxel to RAS mm matrix whose axes run near the letters of `codes`."""
    turn = np.zeros((3, 3))
    for column, letter in enumerate(codes):
        axis = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
        turn[axis, column] = 1.0 if letter in "RAS" else -1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ turn @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def check(image: mi.Image, array: np.ndarray, affine: np.ndarray) -> None:
    """Hold an image of medimg against voxels (I, J, K, ...) and an affine."""
    expected = array.reshape(*array.shape[:3], -1, order="F")
    got = np.moveaxis(image.numpy(), 0, -1)
    assert got.dtype == array.dtype
    assert referee.same_values(got, expected) is None
    assert np.array_equal(np.signbit(got.real), np.signbit(expected.real))
    assert np.allclose(image.affine.numpy(), affine, atol=1e-4)
    assert image.orientation == nibabel.aff2axcodes(affine)
    assert mi.read_header(image.path).dtype == array.dtype.name


def nibabel_image(kind: str, array: np.ndarray, affine: np.ndarray) -> nibabel.spatialimages.SpatialImage:
    """Return an image of nibabel's class for a file suffix."""
    if kind.startswith(".mg"):
        return nibabel.MGHImage(array, affine)
    if kind.startswith("2"):
        return nibabel.Nifti2Image(array, affine, dtype=array.dtype)
    if kind.startswith((".hdr", ".img")):
        return nibabel.Nifti1Pair(array, affine, dtype=array.dtype)
    return nibabel.Nifti1Image(array, affine, dtype=array.dtype)


# nibabel writes, medimg reads


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("kind", [".nii", ".nii.gz", "2.nii", "2.nii.gz", ".hdr", ".img", ".mgh", ".mgz"])
def test_reads_what_nibabel_writes(kind: str, codes: str, tmp_path: Path) -> None:
    """Every container of nibabel, every kind of orientation, in int16."""
    array, affine = voxels("int16"), affine_for(codes)
    path = tmp_path / f"image{kind.lstrip('2')}"
    nibabel.save(nibabel_image(kind, array, affine), path)
    check(mi.Image(path), array, nibabel.load(path).affine)


@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3), (6, 5, 4, 1, 3), (1, 1, 1), (6, 1, 1)], ids=str)
@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(".nii", dtype) for dtype in NIFTI]
    + [("2.nii.gz", dtype) for dtype in NIFTI]
    + [(".mgz", dtype) for dtype in MGH],
)
def test_reads_every_dtype_of_nibabel(kind: str, dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Every dtype, 3-D to 5-D, down to one voxel; special floats bit for bit."""
    if kind == ".mgz" and len(shape) > 4:
        pytest.skip("MGH has at most four axes")
    array = voxels(dtype, (*shape, 4) if np.prod(shape) < 4 else shape)
    path = tmp_path / f"image{kind.lstrip('2')}"
    nibabel.save(nibabel_image(kind, array, affine_for()), path)
    check(mi.Image(path), array, nibabel.load(path).affine)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32", "float64", "complex64", "int64"])
@pytest.mark.parametrize("version", [1, 2])
def test_reads_big_endian_nifti(version: int, dtype: str, tmp_path: Path) -> None:
    """The other byte order, header and voxels."""
    array = voxels(dtype)
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    header = kind.header_class(endianness=">")
    header.set_data_dtype(np.dtype(dtype).newbyteorder(">"))
    path = tmp_path / "image.nii"
    nibabel.save(kind(array, affine_for(), header), path)
    assert path.read_bytes()[:4] in (b"\0\0\1\x5c", b"\0\0\2\x1c")
    check(mi.Image(path), array, nibabel.load(path).affine)
    assert mi.read_header(path).byte_order == "big"


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
@pytest.mark.parametrize("times", [1, 2])
def test_reads_colour_nifti(times: int, names: str, tmp_path: Path) -> None:
    """RGB24 and RGBA32, alone and as a series: components are the slowest part of C."""
    components = voxels("uint8", (*SHAPE, times, len(names)))
    colour = np.zeros((*SHAPE, times), dtype=[(name, "u1") for name in names])
    for number, name in enumerate(names):
        colour[name] = components[..., number]
    array = colour if times > 1 else colour[..., 0]
    path = tmp_path / "image.nii"
    nibabel.save(nibabel.Nifti1Image(array, affine_for()), path)
    image = mi.Image(path)
    assert tuple(image.shape) == (times * len(names), *SHAPE)
    check(image, components, nibabel.load(path).affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
@pytest.mark.parametrize(("slope", "inter"), [(0.5, -3.0), (-2.5, 100.0), (1.0, 7.0), (118362.0, 0.0)])
def test_reads_scaled_nifti(slope: float, inter: float, suffix: str, tmp_path: Path) -> None:
    """Values are stored * slope + inter; the stored numbers and dtype are there too."""
    array = voxels("int16")
    header = nibabel.Nifti1Header()
    header.set_data_dtype("int16")
    image = nibabel_image(suffix, array * slope + inter, affine_for())
    image.header.set_data_dtype("int16")
    image.header.set_slope_inter(slope, inter)
    path = tmp_path / f"image{suffix}"
    nibabel.save(image, path)
    theirs = nibabel.load(path)
    ours, header = mi.Image(path), mi.read_header(path)
    assert (header.dtype, header.slope) == ("int16", pytest.approx(slope))
    assert header.inter == pytest.approx(inter) or (header.inter is None and inter == 0)
    assert np.allclose(ours.numpy()[0], theirs.get_fdata(), rtol=1e-6, atol=abs(slope) * 1e-2)
    raw = ours.dataobj.read(tuple(range(size) for size in ours.shape), raw=True)
    assert raw.dtype == np.int16
    assert np.array_equal(raw[0], np.asanyarray(theirs.dataobj.get_unscaled()))


def test_reads_a_qform_like_nibabel(tmp_path: Path) -> None:
    """Quaternion, qfac and offsets: the qform alone gives nibabel's affine, for every orientation."""
    for codes in ORIENTATIONS:
        image = nibabel.Nifti1Image(voxels("uint8"), None)
        image.set_qform(affine_for(codes), code=1)
        image.set_sform(None, code=0)
        nibabel.save(image, tmp_path / "image.nii")
        theirs = nibabel.load(tmp_path / "image.nii")
        header = mi.read_header(tmp_path / "image.nii")
        assert header.affine_source == "qform"
        assert np.allclose(header.affine.numpy(), theirs.get_qform(), atol=1e-5)
        assert np.allclose(header.affine.numpy(), affine_for(codes), atol=1e-4)


# SimpleITK writes, medimg reads


def sitk_image(array: np.ndarray, affine: np.ndarray, *, vector: bool = False) -> sitk.Image:
    """Return a SimpleITK image of voxels (I, J, K[, components]) on a RAS affine."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0, *range(3, array.ndim)), isVector=vector)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetOrigin(lps[:3, 3])
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    return image


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ITK)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_reads_what_simpleitk_writes(suffix: str, dtype: str, packed: bool, tmp_path: Path) -> None:
    """NRRD and MetaImage, attached and detached, compressed and not, every dtype."""
    array, affine = voxels(dtype), affine_for()
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk_image(array, affine), str(path), useCompression=packed)
    check(mi.Image(path), array, affine)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_reads_orientations_of_simpleitk(suffix: str, codes: str, tmp_path: Path) -> None:
    """LPS becomes RAS once, whatever the direction matrix is."""
    array, affine = voxels("int16"), affine_for(codes)
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk_image(array, affine), str(path))
    check(mi.Image(path), array, affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nii"])
@pytest.mark.parametrize("components", [2, 3, 4])
def test_reads_vectors_of_simpleitk(components: int, suffix: str, tmp_path: Path) -> None:
    """Components of a pixel become channels."""
    array, affine = voxels("float32", (*SHAPE, components)), affine_for()
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk_image(array, affine, vector=True), str(path))
    image = mi.Image(path)
    assert tuple(image.shape) == (components, *SHAPE)
    check(image, array, affine)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".png", ".tif"])
def test_reads_flat_images_of_simpleitk(suffix: str, tmp_path: Path) -> None:
    """2-D images are one slice: (1, I, J, 1)."""
    array = voxels("uint8", (7, 5))
    image = sitk.GetImageFromArray(array.T)
    image.SetSpacing((0.5, 2.0))
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(image, str(path))
    ours = mi.Image(path)
    assert tuple(ours.shape) == (1, 7, 5, 1)
    assert np.array_equal(ours.numpy()[0, :, :, 0], array)
    if suffix in (".nrrd", ".mha"):
        assert ours.spacing[:2] == pytest.approx((0.5, 2.0))


@pytest.mark.parametrize("suffix", [".vtk", ".gipl", ".h5", ".hdf5", ".tif"])
def test_reads_through_simpleitk(suffix: str, tmp_path: Path) -> None:
    """Formats that SimpleITK reads for medimg: same voxels, same order."""
    array = voxels("int16")
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(sitk_image(array, affine_for("LPS", angles=(0.0, 0.0, 0.0))), str(path))
    theirs = referee.sitk_facts(path)
    image = mi.Image(path)
    assert np.array_equal(image.numpy()[0], theirs.array[..., 0])
    assert np.allclose(image.affine.numpy(), theirs.affine, atol=1e-4)


# medimg writes, they read


def from_array(array: np.ndarray, affine: np.ndarray) -> mi.Image:
    """Return an image of medimg of voxels (I, J, K[, C])."""
    data = array[None] if array.ndim == 3 else np.moveaxis(array, 3, 0)
    return mi.Image(data, affine=affine)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".mgh", ".mgz"])
@pytest.mark.parametrize("dtype", NIFTI)
def test_nibabel_reads_what_medimg_writes(dtype: str, suffix: str, tmp_path: Path) -> None:
    """Every dtype a format holds, bit for bit; MGH gets a wider type for the others, or refuses."""
    array, affine = voxels(dtype), affine_for()
    path = tmp_path / f"image{suffix}"
    try:
        from_array(array, affine).save(path)
    except (ValueError, NotImplementedError):
        assert suffix.startswith(".mg")
        assert dtype not in MGH
        assert not path.exists()
        return
    theirs = nibabel.load(path)
    got = np.asanyarray(theirs.dataobj)
    assert theirs.get_data_dtype().newbyteorder("=") == dtype or (suffix.startswith(".mg") and dtype not in MGH)
    assert referee.same_values(got, array) is None
    assert np.allclose(theirs.affine, affine, atol=1e-4)


@pytest.mark.parametrize("dtype", ITK)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
def test_simpleitk_reads_what_medimg_writes(suffix: str, dtype: str, tmp_path: Path) -> None:
    """Every dtype, bit for bit, the same place in the world."""
    array, affine = voxels(dtype), affine_for()
    if suffix == ".nii.gz" and dtype.startswith("float"):
        array[~np.isfinite(array)] = 0.0  # SimpleITK makes them 0 in NIfTI
    path = tmp_path / f"image{suffix}"
    from_array(array, affine).save(path)
    theirs = referee.sitk_facts(path)
    assert theirs.array.dtype == dtype
    assert referee.same_values(theirs.array[..., 0], array) is None
    assert np.allclose(theirs.affine, affine, atol=1e-4)


@pytest.mark.parametrize("codes", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".mgz", ".hdr"])
def test_both_place_what_medimg_writes(suffix: str, codes: str, tmp_path: Path) -> None:
    """Any orientation, written by medimg: nibabel and SimpleITK put it at the same place."""
    array, affine = voxels("int16"), affine_for(codes)
    path = tmp_path / f"image{suffix}"
    from_array(array, affine).save(path)
    readers = [referee.sitk_facts] if suffix in (".nrrd", ".mha") else [referee.nibabel_facts]
    readers += [referee.sitk_facts] if suffix in (".nii", ".hdr") else []
    for reader in readers:
        facts = reader(path)
        assert np.array_equal(facts.array[..., 0], array)
        assert np.allclose(facts.affine, affine, atol=1e-4)


def test_sform_and_qform_of_a_new_file_agree(tmp_path: Path) -> None:
    """A file made from an array holds both forms, for tools that know only one."""
    from_array(voxels("int16"), affine_for("PIR")).save(tmp_path / "image.nii")
    theirs = nibabel.load(tmp_path / "image.nii")
    assert int(theirs.header["sform_code"]) > 0
    assert int(theirs.header["qform_code"]) > 0
    assert np.allclose(theirs.get_sform(), theirs.get_qform(), atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_vectors_of_medimg_are_vectors_elsewhere(suffix: str, tmp_path: Path) -> None:
    """A vector image read from SimpleITK's file and written again is a vector image for SimpleITK."""
    array, affine = voxels("float32", (*SHAPE, 3)), affine_for()
    array[~np.isfinite(array)] = 0.0
    sitk.WriteImage(sitk_image(array, affine, vector=True), str(tmp_path / "in.mha"))
    mi.Image(tmp_path / "in.mha").save(tmp_path / f"out{suffix}")
    theirs = sitk.ReadImage(str(tmp_path / f"out{suffix}"))
    assert (theirs.GetDimension(), theirs.GetNumberOfComponentsPerPixel()) == (3, 3)
    facts = referee.from_sitk(theirs)
    assert np.array_equal(facts.array, array)
    assert np.allclose(facts.affine, affine, atol=1e-4)


# objects


def test_objects_of_nibabel_come_and_go(tmp_path: Path) -> None:
    """``Image(nibabel image)`` and ``as_nibabel()`` keep voxels, affine and dtype."""
    array, affine = voxels("uint16", (*SHAPE, 3)), affine_for("PIR")
    image = mi.Image(nibabel.Nifti1Image(array, affine, dtype="uint16"))
    assert tuple(image.shape) == (3, *SHAPE)
    assert np.array_equal(np.moveaxis(image.numpy(), 0, -1), array)
    assert np.allclose(image.affine.numpy(), affine, atol=1e-4)
    if hasattr(image, "as_nibabel"):
        back = image.as_nibabel()
        assert np.array_equal(np.asanyarray(back.dataobj), array)
        assert np.allclose(back.affine, affine, atol=1e-4)


@pytest.mark.parametrize("vector", [False, True])
def test_objects_of_simpleitk_come_and_go(vector: bool) -> None:
    """``Image(SimpleITK image)`` and ``as_sitk()`` keep voxels, place and dtype."""
    array, affine = voxels("int16", (*SHAPE, 3) if vector else SHAPE), affine_for("SLP")
    image = mi.Image(sitk_image(array, affine, vector=vector))
    got = np.moveaxis(image.numpy(), 0, -1)
    assert np.array_equal(got if vector else got[..., 0], array)
    assert np.allclose(image.affine.numpy(), affine, atol=1e-4)
    if hasattr(image, "as_sitk"):
        facts = referee.from_sitk(image.as_sitk())
        assert np.array_equal(facts.array, got)
        assert np.allclose(facts.affine, affine, atol=1e-4)


# any image at all

shapes = st.tuples(*[st.integers(1, 6)] * 3)
spacings = st.tuples(*[st.floats(0.2, 5.0)] * 3)
origins = st.tuples(*[st.floats(-300.0, 300.0)] * 3)
turns = st.tuples(*[st.floats(-3.1, 3.1)] * 3)


@QUICK
@given(
    codes=st.sampled_from(ORIENTATIONS),
    shape=shapes,
    channels=st.integers(1, 4),
    spacing=spacings,
    origin=origins,
    angles=turns,
    dtype=st.sampled_from(ITK),
    suffix=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".hdr"]),
)
def test_any_image_survives_both_ways(
    codes: str, shape: tuple[int, ...], channels: int, spacing: tuple[float, float, float],
    origin: tuple[float, float, float], angles: tuple[float, float, float], dtype: str, suffix: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Random grids: medimg reads nibabel's file, writes any format, reads it again, and a referee agrees."""
    folder = tmp_path_factory.mktemp("any")
    array = voxels(dtype, (*shape, channels, 4))[..., 0]
    array = np.nan_to_num(array, nan=1.0, posinf=2.0, neginf=3.0)
    if channels == 1:
        array = array[..., 0]
    affine = affine_for(codes, spacing, origin, angles)
    source = folder / "in.nii"
    nibabel.save(nibabel.Nifti1Image(array, affine, dtype=dtype), source)
    stored = nibabel.load(source).affine
    image = mi.Image(source)
    check(image, array, stored)
    target = folder / f"out{suffix}"
    image.save(target)
    again = mi.Image(target)
    assert np.array_equal(again.numpy(), image.numpy())
    assert again.header.dtype == dtype
    assert np.allclose(again.affine.numpy(), stored, atol=1e-4)
    if channels == 1:
        reader = referee.sitk_facts if suffix in (".nrrd", ".mha", ".mhd") else referee.nibabel_facts
        facts = reader(target)
        assert np.array_equal(facts.array[..., 0], array)
        assert np.allclose(facts.affine, stored, atol=1e-3)


@QUICK
@given(codes=st.sampled_from(ORIENTATIONS), to=st.sampled_from(ORIENTATIONS), shape=shapes, angles=turns)
def test_reorienting_is_nibabel_s_reorienting(
    codes: str, to: str, shape: tuple[int, ...], angles: tuple[float, float, float]
) -> None:
    """``reorient`` gives the voxels and the affine that nibabel's orientation functions give."""
    array, affine = voxels("int16", (*shape, 2))[..., 0], affine_for(codes, angles=angles)
    image = mi.Image(array[None], affine=affine).reorient(to)
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(to))
    expected = nibabel.orientations.apply_orientation(array, turn)
    moved = affine @ nibabel.orientations.inv_ornt_aff(turn, array.shape)
    assert np.array_equal(image.numpy()[0], expected)
    assert np.allclose(image.affine.numpy(), moved, atol=1e-6)
    assert image.orientation == tuple(to)

"""NIfTI-1 and -2 against nibabel, the referee: what it writes is read, what we write it reads, copies keep every byte."""

from __future__ import annotations

import gzip
import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, view
from medimg_cli.dtypes import ITEMSIZE
from medimg_cli.errors import FormatError, MedImgError, TruncatedError
from medimg_cli.formats import open_backend, read_header
from medimg_cli.formats.nifti_fields import (
    DATATYPES,
    INTENTS,
    SIZES,
    affine_quaternion,
    quaternion_affine,
    read_extensions,
    unpack,
)
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.grid import Grid
from medimg_cli.header import Header, differences
from medimg_cli.storage.stored import Layout
from tests.helpers import AFFINES, DTYPES, LABELS, SHAPE, contents, make, read, unlike, voxels
from tests.strategies import affines, oblique_affines, rotations

nibabel = pytest.importorskip("nibabel")

Array = np.ndarray[Any, Any]
CLASSES = {1: nibabel.Nifti1Image, 2: nibabel.Nifti2Image}
PAIRS = {1: nibabel.Nifti1Pair, 2: nibabel.Nifti2Pair}
QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
OBLIQUE = np.array(AFFINES["oblique"].rows)
LEFT = np.array(AFFINES["left-handed"].rows)
SHEARED = np.array(AFFINES["sheared"].rows)


def nib(
    array: Array,
    affine: Any = OBLIQUE,
    *,
    version: int = 1,
    big: bool = False,
    pair: bool = False,
    **fields: Any,
) -> Any:
    """Make an image of nibabel; fields are set in its header as they are."""
    kind = (PAIRS if pair else CLASSES)[version]
    header = kind.header_class(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    image = kind(array, affine, header)
    for name, value in fields.items():
        image.header[name] = value
    return image


def raw_nifti(**fields: Any) -> bytearray:
    """Return a NIfTI-1 file of 5 x 4 x 3 int16, written by nibabel, with bytes of some fields replaced afterwards."""
    content = bytearray(nib(voxels(SHAPE, "int16")).to_bytes())
    places = {
        "dim": (40, "8h"), "intent_code": (68, "h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
        "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "xyzt_units": (123, "B"),
        "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "3f"), "srow": (280, "12f"),
        "magic": (344, "4s"), "sizeof_hdr": (0, "i"), "glmin": (144, "i"), "extender": (348, "4s"),
    }  # fmt: skip
    for name, value in fields.items():
        offset, code = places[name]
        struct.pack_into("<" + code, content, offset, *(value if isinstance(value, tuple) else (value,)))
    return content


def of_nibabel(image: Any) -> Array:
    """Return stored numbers of an image of nibabel as (C, I, J, K)."""
    stored = np.asanyarray(image.dataobj.get_unscaled() if hasattr(image.dataobj, "get_unscaled") else image.dataobj)
    if stored.dtype.fields:
        names = stored.dtype.names or ()
        stored = np.stack([stored[name] for name in names], axis=-1)
    shape = stored.shape
    shape = (*shape, *(1,) * (3 - len(shape)))
    return stored.reshape(*shape[:3], -1, order="F").transpose(3, 0, 1, 2)


def saved(image: Any, folder: Path, name: str = "theirs.nii") -> Path:
    path = folder / name
    nibabel.save(image, path)
    return path


def fields_of(path: Path) -> dict[str, Any]:
    """Return the raw fields of a plain file."""
    content = path.read_bytes()
    for version, size in SIZES.items():
        for order in ("little", "big"):
            if int.from_bytes(content[:4], order) == size:  # type: ignore[arg-type]
                return unpack(content[:size], version, order)
    raise AssertionError("no NIfTI header")


# reading what nibabel writes


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d not in ("bool", "float16")])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_every_datatype_in_both_byte_orders(version: int, big: bool, dtype: str, tmp_path: Path) -> None:
    array = voxels((*SHAPE, 2), dtype)
    if dtype in ("float128", "complex256"):  # nibabel refuses them where long double is no IEEE quadruple
        image = nib(np.zeros((*SHAPE, 2), "uint8"), version=version, big=big)
        content = bytearray(image.to_bytes())[: SIZES[version] + 4]
        struct.pack_into(">hh" if big else "<hh", content, 70 if version == 1 else 12, *_code_of(dtype))
        path = tmp_path / "theirs.nii"
        path.write_bytes(bytes(content) + array.astype(array.dtype.newbyteorder(">" if big else "<")).tobytes("F"))
    else:
        path = saved(nib(array, version=version, big=big), tmp_path)
    backend = open_backend(path)
    header = backend.header
    assert (header.format, header.dtype, header.byte_order) == (
        f"nifti{version}",
        dtype,
        "big" if big else "little",
    )
    assert unlike(read(backend), array.transpose(3, 0, 1, 2)) is None
    assert header.warnings == ()


def _code_of(dtype: str) -> tuple[int, int]:
    """Return datatype and bitpix of a type of one component."""
    return next(code for code, pair in DATATYPES.items() if pair == (dtype, 1)), 8 * ITEMSIZE[dtype]


@pytest.mark.parametrize("components", [3, 4])
@pytest.mark.parametrize("big", [False, True])
def test_colours_are_the_last_axis(components: int, big: bool, tmp_path: Path) -> None:
    """RGB24 and RGBA32, also in several volumes."""
    kind = np.dtype([(name, "u1") for name in "RGBA"[:components]])
    array = voxels((*SHAPE, 2, components), "uint8")
    image = nib(np.ascontiguousarray(array).view(kind)[..., 0], big=big)
    backend = open_backend(saved(image, tmp_path))
    assert backend.header.axes == (("channel", 2), ("rgb", components))
    assert backend.header.dtype == "uint8"
    found = read(backend).reshape(components, 2, *SHAPE)
    assert unlike(found, array.transpose(4, 3, 0, 1, 2)) is None
    save_backend(backend, str(tmp_path / "ours.nii"))
    assert (tmp_path / "ours.nii").read_bytes() == (tmp_path / "theirs.nii").read_bytes()


@pytest.mark.parametrize("rank", range(1, 8))
def test_one_to_seven_axes(rank: int, tmp_path: Path) -> None:
    shape = (4, 3, 2, 2, 3, 2, 2)[:rank]
    array = voxels(shape, "int16")
    path = saved(nib(array), tmp_path)
    backend = open_backend(path)
    assert backend.header.shape == (int(np.prod(shape[3:])), *(*shape, 1, 1)[:3])
    assert backend.header.ndim == min(rank, 3)
    assert [size for _, size in backend.header.axes] == list(shape[3:])
    assert unlike(read(backend), of_nibabel(nibabel.load(path))) is None
    save_backend(backend, str(tmp_path / "ours.nii"))
    assert nibabel.load(tmp_path / "ours.nii").shape == shape
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("version", [1, 2])
def test_pairs_by_the_name_of_either_file(version: int, ending: str, tmp_path: Path) -> None:
    array = voxels((*SHAPE, 2), "int16")
    path = saved(nib(array, version=version, pair=True), tmp_path, f"theirs.img{ending}")
    assert len(contents(tmp_path)) == 2
    for name in (f"theirs.img{ending}", f"theirs.hdr{ending}"):
        backend = open_backend(tmp_path / name)
        assert unlike(read(backend), array.transpose(3, 0, 1, 2)) is None
        assert backend.header.format == f"nifti{version}"
        assert backend.header.warnings == ()
    save_backend(open_backend(path), str(tmp_path / f"ours.hdr{ending}"))
    theirs = nibabel.load(tmp_path / f"ours.img{ending}")
    assert isinstance(theirs, PAIRS[version])
    np.testing.assert_array_equal(np.asanyarray(theirs.dataobj), array)


def test_a_pair_may_be_compressed_by_half(tmp_path: Path) -> None:
    array = voxels(SHAPE, "int16")
    saved(nib(array, pair=True), tmp_path, "x.img")
    (tmp_path / "x.img.gz").write_bytes(gzip.compress((tmp_path / "x.img").read_bytes()))
    (tmp_path / "x.img").unlink()
    for name in ("x.hdr", "x.img.gz"):
        assert unlike(read(open_backend(tmp_path / name))[0], array) is None


def test_a_pair_without_voxels_has_a_header(tmp_path: Path) -> None:
    saved(nib(voxels(SHAPE, "int16"), pair=True), tmp_path, "x.img")
    (tmp_path / "x.img").unlink()
    backend = open_backend(tmp_path / "x.hdr")
    assert any("x.img" in warning for warning in backend.header.warnings)
    with pytest.raises(FormatError, match="x.img"):
        read(backend)


def test_a_pair_without_header_is_refused(tmp_path: Path) -> None:
    saved(nib(voxels(SHAPE, "int16"), pair=True), tmp_path, "x.img")
    (tmp_path / "x.hdr").unlink()
    with pytest.raises(MedImgError, match="x.hdr"):
        open_backend(tmp_path / "x.img")


def test_a_pair_needs_a_folder(tmp_path: Path) -> None:
    saved(nib(voxels(SHAPE, "int16"), pair=True), tmp_path, "x.img")
    backend = open_backend((tmp_path / "x.hdr").read_bytes(), name="x.hdr")
    assert backend.header.warnings
    with pytest.raises(FormatError):
        read(backend)


# geometry


def same_affine(ours: AffineMatrix | None, theirs: Any, atol: float = 1e-5) -> None:
    assert ours is not None
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(np.array(ours.rows), theirs, atol=atol * scale)


@QUICK
@given(affine=affines, version=st.sampled_from([1, 2]))
def test_any_sform_is_nibabel_s(affine: AffineMatrix, version: int) -> None:
    image = nib(voxels(SHAPE, "uint8"), version=version)
    image.set_qform(None, 0)
    image.set_sform(np.array(affine.rows), 2)
    header = read_header(image.to_bytes())
    same_affine(header.affine, image.affine, 1e-9)
    same_affine(header.sform, image.get_sform(), 1e-9)
    assert (header.affine_source, header.sform_code, header.qform_code, header.qform) == ("sform", 2, 0, None)


@QUICK
@given(affine=oblique_affines, version=st.sampled_from([1, 2]))
def test_any_qform_is_nibabel_s(affine: AffineMatrix, version: int) -> None:
    """Left-handed ones, too; next to half a turn nifti1.h takes it for one, nibabel does not."""
    image = nib(voxels(SHAPE, "uint8"), version=version)
    image.set_sform(None, 0)
    image.set_qform(np.array(affine.rows), 1)
    header = read_header(image.to_bytes())
    rest = 1 - sum(float(image.header[f"quatern_{axis}"]) ** 2 for axis in "bcd")
    near = 1e-3 if rest < 2e-7 else 1e-5
    same_affine(header.affine, image.affine, near)
    same_affine(header.qform, image.get_qform(), near)
    assert (header.affine_source, header.sform, header.qform_code) == ("qform", None, 1)


@settings(max_examples=200, deadline=None)
@given(block=rotations(angle=50.0), spacing=st.tuples(*[st.floats(0.1, 9)] * 3), mirrored=st.booleans())
def test_quaternions_there_and_back(block: Any, spacing: tuple[float, float, float], mirrored: bool) -> None:
    """Method 2 of nifti1.h and its inverse; angle 50 of the strategy reaches half turns."""
    sign = -1 if mirrored else 1
    direction = [[*row[:2], sign * row[2]] for row in block]
    affine = AffineMatrix.from_spacing(spacing, origin=(1, 2, 3), direction=direction)
    quatern, qfac = affine_quaternion(affine)
    assert qfac == sign
    fields = {"quatern": quatern, "qoffset": (1.0, 2.0, 3.0), "pixdim": (qfac,)}
    back = quaternion_affine(fields, spacing)
    same_affine(back, np.array(affine.rows), 1e-7)
    expected = nibabel.quaternions.mat2quat(np.array(block))
    expected = expected * np.sign(expected[0] or 1)
    found = np.array([np.sqrt(max(0.0, 1 - sum(q * q for q in quatern))), *quatern])
    assert np.allclose(found, expected, atol=1e-6) or np.allclose(found, -expected, atol=1e-6) or found[0] < 1e-3


@pytest.mark.parametrize(
    "flips", [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1), (-1, -1, 1), (-1, -1, -1), (1, -1, -1)]
)
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (1, 2, 0), (2, 1, 0)])
def test_half_turns_and_right_angles_are_exact(flips: tuple[int, ...], order: tuple[int, ...], tmp_path: Path) -> None:
    """All 48 orientations as a qform alone; half turns have a quaternion without real part."""
    block = np.zeros((3, 3))
    for column, row in enumerate(order):
        block[row, column] = flips[column]
    affine = np.eye(4)
    affine[:3, :3] = block * [0.9, 1.25, 3.0]
    affine[:3, 3] = 5, -6, 7
    image = ArrayBackend(
        voxels((1, *SHAPE), "uint8"), Header(shape=(1, *SHAPE), dtype="uint8", affine=AffineMatrix(affine), qform=AffineMatrix(affine), qform_code=1, sform_code=0),
    )  # fmt: skip
    save_backend(image, str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    np.testing.assert_allclose(theirs.get_qform(), affine, atol=1e-6)
    same_affine(read_header(tmp_path / "ours.nii").affine, affine, 1e-6)


def test_sform_wins_if_its_code_says_so(tmp_path: Path) -> None:
    """Mistake 7 of other tools: both forms are kept, and which is used is said."""
    for sform_code, qform_code, chosen in (
        (1, 1, "sform"),
        (4, 1, "sform"),
        (0, 2, "qform"),
        (3, 0, "sform"),
    ):
        image = nib(voxels(SHAPE, "int16"))
        image.set_sform(OBLIQUE, sform_code)
        image.set_qform(LEFT, qform_code)
        path = saved(image, tmp_path)
        header = read_header(path)
        assert (header.affine_source, header.sform_code, header.qform_code) == (
            chosen,
            sform_code,
            qform_code,
        )
        same_affine(header.affine, OBLIQUE if chosen == "sform" else LEFT, 1e-6)
        if qform_code:
            same_affine(header.qform, LEFT, 1e-6)
        (tmp_path / "ours.nii").unlink(missing_ok=True)
        assert save_backend(open_backend(path), str(tmp_path / "ours.nii")) == ()
        assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


def test_method_1_is_voxel_sizes_alone() -> None:
    """Both codes 0: nifti1.h attaches no orientation, and origin 0; nibabel and SimpleITK guess differently."""
    header = read_header(bytes(raw_nifti(sform_code=0, qform_code=0)))
    same_affine(header.affine, np.diag([0.9, 1.25, 3.0, 1.0]), 1e-6)
    assert header.affine_source == "pixdim"
    assert (header.sform, header.qform, header.sform_code, header.qform_code) == (None, None, 0, 0)
    assert any("orientation is unknown" in warning for warning in header.warnings)


def test_unknown_orientation_stays_unknown_in_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "theirs.nii"
    path.write_bytes(raw_nifti(sform_code=0, qform_code=0))
    assert save_backend(open_backend(path), str(tmp_path / "ours.nii")) == ()
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


NAN = float("nan")


@pytest.mark.parametrize("fields", [
    {"srow": (NAN,) * 12}, {"srow": (0.0,) * 12}, {"srow": (1.0, 0, 0, 0) * 3}, {"srow": (float("inf"), *(0.0,) * 11)},
])  # fmt: skip
def test_a_form_without_a_usable_matrix_is_ignored(fields: dict[str, Any]) -> None:
    header = read_header(bytes(raw_nifti(**fields)))
    assert any("sform" in warning and "ignored" in warning for warning in header.warnings)
    assert header.affine_source == "pixdim"  # nibabel wrote qform_code 0


@pytest.mark.parametrize(("sizes", "spacing"), [
    ((0.0, 1.0, 1.0), (1.0, 1.0, 1.0)), ((-2.0, 1.0, 1.5), (2.0, 1.0, 1.5)), ((NAN, 2.0, float("inf")), (1.0, 2.0, 1.0)),
])  # fmt: skip
def test_voxel_sizes_that_are_none(sizes: tuple[float, ...], spacing: tuple[float, ...]) -> None:
    header = read_header(bytes(raw_nifti(sform_code=0, pixdim=(1.0, *sizes, 1.0, 1.0, 1.0, 1.0))))
    assert header.affine.spacing == spacing
    assert any("pixdim" in warning for warning in header.warnings)


@pytest.mark.parametrize("quatern", [(1.0, 1.0, 1.0), (2.0, 0.0, 0.0), (0.8, 0.6, 0.1)])
def test_a_quaternion_that_is_too_long_is_normalised(quatern: tuple[float, ...]) -> None:
    header = read_header(bytes(raw_nifti(sform_code=0, qform_code=1, quatern=quatern)))
    assert header.affine.shear_deg < 1e-6
    assert abs(header.affine.determinant) == pytest.approx(0.9 * 1.25 * 3.0, rel=1e-5)
    assert any("quaternion" in warning for warning in header.warnings)


def test_a_quaternion_of_nan_is_no_quaternion() -> None:
    header = read_header(bytes(raw_nifti(sform_code=0, qform_code=1, quatern=(NAN, 0.0, 0.0))))
    assert (header.affine_source, header.qform) == ("pixdim", None)


# writing for nibabel


@QUICK
@given(affine=affines, version=st.sampled_from([1, 2]))
def test_nibabel_reads_the_affine_that_we_write(affine: AffineMatrix, version: int, tmp_path: Path) -> None:
    header = Header(shape=(1, *SHAPE), dtype="uint8", affine=affine, format=f"nifti{version}")
    path = tmp_path / "ours.nii"
    save_backend(ArrayBackend(voxels((1, *SHAPE), "uint8"), header), str(path), force=True)
    theirs = nibabel.load(path)
    assert isinstance(theirs, CLASSES[version])
    same_affine(affine, theirs.affine, 1e-5)
    assert int(theirs.header["sform_code"]) > 0
    if int(theirs.header["qform_code"]):
        same_affine(affine, theirs.get_qform(), 1e-3)
    else:  # a quaternion holds no shear, and near half a turn its real part is inexact
        b, c, d = affine_quaternion(affine)[0]
        assert affine.shear_deg > 1e-3 or b * b + c * c + d * d > 0.7


@pytest.mark.parametrize("name", ["straight", "oblique", "permuted"])
def test_both_forms_are_written(name: str, tmp_path: Path) -> None:
    """For tools that know only one."""
    image = make("plain")
    image.header = image.header.replace(affine=AFFINES[name])
    save_backend(image, str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert int(theirs.header["sform_code"]) > 0
    assert int(theirs.header["qform_code"]) > 0
    same_affine(AFFINES[name], theirs.get_sform())
    same_affine(AFFINES[name], theirs.get_qform())


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (2, 3), (4, 1), (5, 5)])
def test_codes_and_both_forms_survive(codes: tuple[int, int], tmp_path: Path) -> None:
    """A header that did not come from NIfTI may have forms, too."""
    sform, qform = AFFINES["sheared"], AFFINES["left-handed"]
    header = Header(
        shape=(1, *SHAPE), dtype="int16", affine=sform if codes[0] else qform, sform=sform, sform_code=codes[0], qform=qform, qform_code=codes[1]
    )  # fmt: skip
    save_backend(ArrayBackend(voxels((1, *SHAPE), "int16"), header), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert (int(theirs.header["sform_code"]), int(theirs.header["qform_code"])) == codes
    if codes[0]:
        np.testing.assert_allclose(theirs.get_sform(), SHEARED, atol=1e-5)
    if codes[1]:
        np.testing.assert_allclose(theirs.get_qform(), LEFT, atol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "flat", "time", "channels", "vector", "time-vector", "rgb", "rgba", "time-rgb",
                                  "labels", "scaled", "described", "left-handed", "sheared"])  # fmt: skip
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz"])
def test_nibabel_reads_what_we_write(kind: str, ending: str, tmp_path: Path) -> None:
    image = make(kind)
    save_backend(image, str(tmp_path / f"ours{ending}"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theirs = nibabel.load(tmp_path / f"ours{ending}".replace(".hdr", ".img"))
    assert unlike(of_nibabel(theirs), image.array) is None
    same_affine(image.header.affine, theirs.affine)
    if image.header.scaled:
        assert (theirs.dataobj.slope, theirs.dataobj.inter) == (0.25, -12.5)
        np.testing.assert_array_equal(theirs.get_fdata()[None], read(image))
    if image.header.description:
        assert bytes(theirs.header["descrip"]).rstrip(b"\0").decode() == image.header.description


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("unit", "code", "factor"), [("s", 8, 1.0), ("ms", 16, 1e-3), ("us", 24, 1e-6)])
def test_repetition_time_in_any_unit(version: int, unit: str, code: int, factor: float, tmp_path: Path) -> None:
    """TR is in seconds inside; the file's unit stays."""
    image = nib(voxels((*SHAPE, 4), "int16"), version=version)
    image.header["xyzt_units"] = 2 | code
    image.header["pixdim"][4] = 2.2 / factor
    path = saved(image, tmp_path)
    header = read_header(path)
    assert header.axes == (("time", 4),)
    assert header.time_spacing == pytest.approx(2.2, rel=1e-6)
    assert header.time_units == unit
    new = header.replace(native=None)
    save_backend(ArrayBackend(read(open_backend(path)), new), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert theirs.header.get_zooms()[3] == pytest.approx(2.2 / factor, rel=1e-6)
    assert theirs.header.get_xyzt_units() == ("mm", {"s": "sec", "ms": "msec", "us": "usec"}[unit])


@pytest.mark.parametrize(("units", "step", "kind", "spacing"), [
    (2, 1.0, "channel", None), (2, 0.0, "channel", None), (2, 2.0, "time", 2.0), (2 | 8, 1.0, "time", 1.0),
    (2 | 8, 0.0, "time", None), (2 | 8, -2.0, "time", None), (2 | 16, 1.0, "time", 0.001), (2 | 32, 2.0, "channel", None),
    (2 | 40, 0.5, "channel", None), (2 | 48, 2.0, "channel", None), (0, 2.0, "time", 2.0),
])  # fmt: skip
def test_what_the_fourth_axis_is(units: int, step: float, kind: str, spacing: float | None, tmp_path: Path) -> None:
    """Time by its unit or a TR other than 0 and 1; else channels. Hz, ppm and rad/s are no time."""
    content = nib(voxels((*SHAPE, 4), "int16"))
    content.header["xyzt_units"] = units
    content.header["pixdim"][4] = step
    path = saved(content, tmp_path)
    header = read_header(path)
    assert header.axes == ((kind, 4),)
    assert header.time_spacing == (None if spacing is None else pytest.approx(spacing))
    assert save_backend(open_backend(path), str(tmp_path / "ours.nii")) == ()
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("code", "unit", "factor"), [(1, "m", 1000.0), (2, "mm", 1.0), (3, "um", 0.001), (0, None, 1.0)]
)
@pytest.mark.parametrize("forms", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_units_of_space(code: int, unit: str | None, factor: float, forms: tuple[int, int], tmp_path: Path) -> None:
    """World coordinates are millimetres inside, whatever the file counts in; the file's unit stays."""
    image = nib(voxels(SHAPE, "int16"))
    image.set_sform(OBLIQUE, forms[0])
    image.set_qform(OBLIQUE, forms[1])
    image.header["xyzt_units"] = code
    path = saved(image, tmp_path)
    header = read_header(path)
    in_file = OBLIQUE if any(forms) else np.diag([0.9, 1.25, 3.0, 1.0])
    expected = np.diag([factor] * 3 + [1.0]) @ in_file
    same_affine(header.affine, expected)
    assert header.space_units == unit
    save_backend(ArrayBackend(read(open_backend(path)), header.replace(native=None)), str(tmp_path / "ours.nii"))
    again = read_header(tmp_path / "ours.nii")
    same_affine(again.affine, expected)
    moved = header.replace(affine=header.affine, native=header.native, space_units="mm")
    (tmp_path / "ours.nii").unlink()
    save_backend(ArrayBackend(read(open_backend(path)), moved), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert theirs.header.get_xyzt_units()[0] == "mm"
    if any(forms):
        np.testing.assert_allclose(theirs.affine, expected, rtol=1e-5, atol=1e-4 * factor)


def test_an_unknown_unit_of_space_is_taken_as_millimetres() -> None:
    header = read_header(bytes(raw_nifti(xyzt_units=6)))
    same_affine(header.affine, OBLIQUE, 1e-6)
    assert any("unit" in warning for warning in header.warnings)


@pytest.mark.parametrize("code", [*sorted(INTENTS), 3006, 777])
def test_intents_survive(code: int, tmp_path: Path) -> None:
    array = voxels((*SHAPE, 1, 3), "float32")
    image = nib(array, intent_code=code, intent_p1=1.5, intent_p2=2.5, intent_p3=3.5, intent_name=b"my name")
    path = saved(image, tmp_path)
    header = read_header(path)
    assert header.intent == INTENTS.get(code, f"intent-{code}")
    assert (header.intent_params, header.intent_name) == ((1.5, 2.5, 3.5), "my name")
    assert save_backend(open_backend(path), str(tmp_path / "copy.nii")) == ()
    assert (tmp_path / "copy.nii").read_bytes() == path.read_bytes()
    save_backend(ArrayBackend(read(open_backend(path)), header.replace(native=None)), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii").header
    assert int(theirs["intent_code"]) == code
    assert [float(theirs[f"intent_p{n}"]) for n in (1, 2, 3)] == [1.5, 2.5, 3.5]


def test_vectors_are_on_the_fifth_axis(tmp_path: Path) -> None:
    """nifti1.h: vectors have dim[5] components; dim[4] is 1 where there is no time."""
    save_backend(make("vector"), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert theirs.shape == (*SHAPE, 1, 3)
    assert theirs.header.get_intent()[0] == "vector"
    header = read_header(tmp_path / "ours.nii")
    assert [axis for axis in header.axes if axis[1] > 1] == [("vector", 3)]


# scaling


@pytest.mark.parametrize(("slope", "inter", "expected"), [
    (0.0, 5.0, None), (NAN, NAN, None), (NAN, 1.0, None), (1.0, NAN, None), (float("inf"), 0.0, None), (-0.0, 1.0, None),
    (1.0, float("-inf"), None), (2.0, 3.0, (2.0, 3.0)), (-1.0, 0.0, (-1.0, 0.0)), (1.0, 0.0, (1.0, 0.0)), (1e-30, 0.0, (1e-30, 0.0)),
])  # fmt: skip
def test_slopes_that_are_none(slope: float, inter: float, expected: tuple[float, float] | None, tmp_path: Path) -> None:
    """A slope of 0 or without a number means unscaled (nifti1.h); so does an inter without one."""
    path = tmp_path / "theirs.nii"
    path.write_bytes(raw_nifti(scl_slope=slope, scl_inter=inter))
    backend = open_backend(path)
    stored = voxels(SHAPE, "int16")
    if expected is None:
        assert not backend.header.scaled
        assert unlike(read(backend)[0], stored) is None
    else:
        assert backend.header.slope == pytest.approx(expected[0])
        assert backend.header.inter == pytest.approx(expected[1])
        np.testing.assert_allclose(
            read(backend)[0], stored * np.float32(expected[0]) + np.float32(expected[1]), rtol=1e-6
        )
    assert save_backend(backend, str(tmp_path / "ours.nii")) == ()
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


def test_colours_are_never_scaled(tmp_path: Path) -> None:
    """nifti1.h: scl_slope does not apply to RGB."""
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    array = np.ascontiguousarray(voxels((*SHAPE, 3), "uint8"))
    content = bytearray(nib(array.view(kind)[..., 0]).to_bytes())
    struct.pack_into("<2f", content, 112, 2.0, 3.0)
    backend = open_backend(bytes(content))
    assert not backend.header.scaled
    assert unlike(read(backend), array.transpose(3, 0, 1, 2)) is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("version", [1, 2])
def test_scaled_values_are_nibabel_s(dtype: str, version: int, tmp_path: Path) -> None:
    image = make("scaled", dtype)
    header = image.header.replace(slope=0.1, inter=3.7, format=f"nifti{version}")
    save_backend(ArrayBackend(image.array, header), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    with np.errstate(all="ignore"):
        expected = np.asanyarray(theirs.dataobj)
    found = read(open_backend(tmp_path / "ours.nii"))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


# extensions


def test_millions_of_extensions_are_refused() -> None:
    """125 kB of gzip could ask for eight million of them, and minutes."""
    data = b"\1\0\0\0" + (16).to_bytes(4, "little") * 4 * 20_000
    with pytest.raises(FormatError, match="more than 10000 header extensions"):
        read_extensions(data, "little", "a.nii")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
def test_extensions_are_kept_verbatim(version: int, big: bool, tmp_path: Path) -> None:
    image = nib(voxels(SHAPE, "int16"), version=version, big=big)
    for code, content in (
        (4, b"<AFNI/>"),
        (6, b"a comment\n"),
        (44, bytes(range(256))),
        (0, b""),
        (32, b"<CIFTI/>" * 9),
    ):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    path = saved(image, tmp_path)
    header = read_header(path)
    assert [code for code, _ in header.extensions] == [4, 6, 44, 0, 32]
    assert header.extensions[2][1].startswith(bytes(range(256)))
    assert save_backend(open_backend(path), str(tmp_path / "ours.nii")) == ()
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()
    save_backend(open_backend(path), str(tmp_path / "ours.hdr"))
    pair = nibabel.load(tmp_path / "ours.img")
    assert [e.get_code() for e in pair.header.extensions] == [4, 6, 44, 0, 32]
    assert read_header(tmp_path / "ours.hdr").extensions == header.extensions


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 24, 100])
def test_extensions_of_any_length_are_padded(length: int, tmp_path: Path) -> None:
    """esize is a multiple of 16 (nifti1.h); what comes back ends with null characters, and that is no loss."""
    image = make("plain")
    content = bytes(range(1, length + 1))
    image.header = image.header.replace(extensions=((6, content),))
    assert save_backend(image, str(tmp_path / "ours.nii")) == ()
    ((code, found),) = read_header(tmp_path / "ours.nii").extensions
    assert (code, found.rstrip(b"\0")) == (6, content)
    (extension,) = nibabel.load(tmp_path / "ours.nii").header.extensions
    assert extension.get_code() == 6


@pytest.mark.parametrize("esize", [0, 7, -16, 2**31 - 1, 17, 1 << 20])
def test_extensions_of_impossible_length_are_refused(esize: int, tmp_path: Path) -> None:
    image = nib(voxels(SHAPE, "int16"))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, b"x" * 24))
    content = bytearray(image.to_bytes())
    struct.pack_into("<i", content, 352, esize)
    if esize == 17:  # odd, but inside: the rest is no extension any more
        with pytest.raises(FormatError, match="extension"):
            read_header(bytes(content))
        return
    with pytest.raises(FormatError, match="extension states"):
        read_header(bytes(content))


def test_what_no_field_holds_travels_in_an_extension_of_ours(tmp_path: Path) -> None:
    """Label table, history, key-values and a long description; nibabel sees a comment."""
    image = make("labels")
    image.header = image.header.replace(
        metadata={"Modality": "MR", "b": [1, 2.5, None], "\u00fc": {"x": True}}, history=({"name": "crop", "version": 1},),
        description="d\u00e9j\u00e0 " * 40,
    )  # fmt: skip
    assert save_backend(image, str(tmp_path / "ours.nii.gz"), strict=True) == ()
    header = read_header(tmp_path / "ours.nii.gz")
    assert header.labels == LABELS
    for name in ("metadata", "history", "description", "intent"):
        assert getattr(header, name) == getattr(image.header, name)
    assert header.extensions == ()
    theirs = nibabel.load(tmp_path / "ours.nii.gz")
    assert [e.get_code() for e in theirs.header.extensions] == [6]
    assert save_backend(open_backend(tmp_path / "ours.nii.gz"), str(tmp_path / "again.nii.gz")) == ()
    assert (tmp_path / "again.nii.gz").read_bytes() == (tmp_path / "ours.nii.gz").read_bytes()


@pytest.mark.parametrize("content", [b'{"medimg": 1,', b'{"medimg": 1,"labels":3}', b'{"medimg": 1,"history":7}', b'{"medimg": 1,"metadata":"x"}',
                                     b'{"medimg": 1,"labels":[{"value":"x"}]}', b'{"medimg": 1,"description":5}', b'{"medimg": 1,"history":[1]}',
                                     b'{"medimg": 1,"x":' + b"[" * 200_000])  # fmt: skip
def test_a_damaged_extension_of_ours_is_kept_and_named(content: bytes, tmp_path: Path) -> None:
    image = nib(voxels(SHAPE, "int16"))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(6, content))
    path = saved(image, tmp_path)
    header = read_header(path)
    assert any("medimg extension" in warning for warning in header.warnings)
    assert header.extensions[0][1].rstrip(b"\0") == content
    assert isinstance(header.description, str)
    save_backend(open_backend(path), str(tmp_path / "ours.nii"))
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


# native fields


NATIVE: dict[str, Any] = {
    "cal_max": 900.0, "cal_min": -100.0, "slice_code": 3, "slice_start": 1, "slice_end": 2, "slice_duration": 0.06,
    "toffset": 1.5, "aux_file": b"none.txt", "dim_info": 0b111001, "descrip": b"FSL4.0", "intent_name": b"name",
}  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
def test_native_fields_survive_a_copy(version: int, big: bool, tmp_path: Path) -> None:
    """Byte for byte, the fields without meaning, too."""
    fields = dict(NATIVE)
    if version == 1:
        fields |= {
            "db_name": b"db",
            "data_type": b"dt",
            "extents": 16384,
            "session_error": 7,
            "regular": b"r",
            "glmax": 12,
            "glmin": 3,
        }
    path = saved(nib(voxels((*SHAPE, 2), "int16"), version=version, big=big, **fields), tmp_path)
    assert save_backend(open_backend(path), str(tmp_path / "ours.nii"), strict=True) == ()
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("target", ["ours.nii", "ours.hdr"])
@pytest.mark.parametrize("version", [1, 2])
def test_native_fields_survive_another_version_and_neutral_form(version: int, target: str, tmp_path: Path) -> None:
    """They travel as key-values where the header is not one of NIfTI, and find their fields again."""
    path = saved(nib(voxels((*SHAPE, 2), "int16"), version=version, **NATIVE), tmp_path)
    backend = open_backend(path)
    header = backend.header.replace(native=None, format="nifti2" if version == 1 else "nifti1")
    assert save_backend(ArrayBackend(read(backend), header), str(tmp_path / target)) == ()
    found = fields_of(tmp_path / target)
    for name, value in NATIVE.items():
        if isinstance(value, bytes):
            assert found[name].rstrip(b"\0") == value
        else:
            assert found[name] == pytest.approx(value)


def test_changed_facts_change_their_fields_alone(tmp_path: Path) -> None:
    """A codec of the same family patches only what changed."""
    path = saved(nib(voxels((*SHAPE, 2), "int16"), **NATIVE), tmp_path)
    backend = open_backend(path)
    before = fields_of(path)
    for change, names in (
        ({"description": "new"}, {"descrip"}),
        ({"intent": "zscore"}, {"intent_code"}),
        ({"slope": 2.0, "inter": 1.0}, {"scl_slope", "scl_inter"}),
        (
            {"affine": AFFINES["straight"]},
            {"srow", "pixdim", "quatern", "qoffset", "sform_code", "qform_code"},
        ),
    ):
        target = tmp_path / "ours.nii"
        save_backend(ArrayBackend(read(backend), backend.header.replace(**change)), str(target), force=True)  # type: ignore[arg-type]
        after = fields_of(target)
        assert {name for name in before if before[name] != after[name]} <= names, change


def test_slice_hints_follow_a_reorientation(tmp_path: Path) -> None:
    """dim_info and slice_code speak of axes; after a turn they speak of the new ones."""
    path = saved(
        nib(
            voxels(SHAPE, "int16"),
            np.diag([1.0, 2.0, 3.0, 1.0]),
            slice_code=3,
            dim_info=0b111001,
            slice_end=2,
        ),
        tmp_path,
    )
    backend = open_backend(path)
    before = backend.header

    class Step:
        grid_after: Grid = before.grid.reoriented(("I", "L", "P"))
        voxel_map = before.affine.inverse() @ grid_after.affine

        def to_json(self) -> dict[str, Any]:
            return {"name": "reorient"}

    turned = view(
        backend,
        range(1),
        ((2, range(2, -1, -1)), (0, range(4, -1, -1)), (1, range(3, -1, -1))),
        before.follow(Step()),
    )
    save_backend(turned, str(tmp_path / "ours.nii"))
    fields = fields_of(tmp_path / "ours.nii")
    assert (fields["dim_info"], fields["slice_code"], fields["slice_start"], fields["slice_end"]) == (
        0b011110,
        4,
        0,
        2,
    )
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert nibabel.aff2axcodes(theirs.affine) == ("I", "L", "P")
    assert theirs.header.get_dim_info() == (1, 2, 0)


# copies


@pytest.mark.parametrize("ending", [".nii", ".hdr"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "complex64", "uint64"])
def test_a_copy_is_byte_identical(version: int, big: bool, dtype: str, ending: str, tmp_path: Path) -> None:
    """What nibabel wrote comes out again, bit by bit, padding of its headers included."""
    image = nib(voxels((*SHAPE, 2), dtype), version=version, big=big, pair=ending == ".hdr")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    saved(image, tmp_path / "a", "x.nii" if ending == ".nii" else "x.img")
    assert (
        save_backend(open_backend(tmp_path / "a" / f"x{ending}"), str(tmp_path / "b" / f"x{ending}"), strict=True) == ()
    )
    theirs, ours = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert theirs.keys() == ours.keys()
    for name, content in theirs.items():
        assert ours[name][:348] == content[:348]
        assert ours[name] == content or (name.endswith(".hdr") and ours[name].rstrip(b"\0") == content.rstrip(b"\0"))


@pytest.mark.parametrize("name", ["anatomical.nii", "functional.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "standard.nii.gz",
                                  "reoriented_anat_moved.nii", "resampled_anat_moved.nii"])  # fmt: skip
def test_images_that_nibabel_ships_copy_byte_by_byte(name: str, tmp_path: Path) -> None:
    source = Path(nibabel.__file__).parent / "tests" / "data" / name
    if not source.exists():
        pytest.skip(f"nibabel has no {name} here")
    backend = open_backend(source)
    theirs = nibabel.load(source)
    assert unlike(read(backend, raw=True), of_nibabel(theirs)) is None
    if int(theirs.header["sform_code"]) or int(theirs.header["qform_code"]):
        same_affine(backend.header.affine, theirs.affine, 1e-6)
    assert save_backend(backend, str(tmp_path / "copy.nii"), strict=True) == ()
    original = gzip.decompress(source.read_bytes()) if name.endswith("gz") else source.read_bytes()
    assert (tmp_path / "copy.nii").read_bytes() == original


def test_a_pair_becomes_a_single_file_and_back(tmp_path: Path) -> None:
    image = nib(voxels((*SHAPE, 2), "int16"), pair=True, **NATIVE)
    saved(image, tmp_path, "x.img")
    save_backend(open_backend(tmp_path / "x.hdr"), str(tmp_path / "single.nii"))
    assert fields_of(tmp_path / "single.nii")["magic"] == b"n+1\0"
    (tmp_path / "back").mkdir()
    save_backend(open_backend(tmp_path / "single.nii"), str(tmp_path / "back" / "x.img"))
    assert (tmp_path / "back" / "x.img").read_bytes() == (tmp_path / "x.img").read_bytes()
    assert (tmp_path / "back" / "x.hdr").read_bytes()[:348] == (tmp_path / "x.hdr").read_bytes()[:348]


# sizes


def test_large_axes_make_a_nifti2(tmp_path: Path) -> None:
    """NIfTI-1 counts to 32767."""
    header = Header(shape=(1, 40_000, 1, 2), dtype="uint8", affine=AFFINES["oblique"])
    save_backend(ArrayBackend(voxels(header.shape, "uint8"), header), str(tmp_path / "ours.nii"))
    theirs = nibabel.load(tmp_path / "ours.nii")
    assert isinstance(theirs, nibabel.Nifti2Image)
    assert theirs.shape == (40_000, 1, 2)
    many = Header(shape=(33_000, 1, 1, 1), dtype="uint8", affine=AFFINES["oblique"])
    save_backend(ArrayBackend(voxels(many.shape, "uint8"), many), str(tmp_path / "many.nii"))
    assert nibabel.load(tmp_path / "many.nii").shape == (1, 1, 1, 33_000)


def test_freesurfer_s_long_first_axis(tmp_path: Path) -> None:
    """Surfaces of more than 32767 vertices: dim[1] is -1 and glmin holds the number (FreeSurfer, MRIwriteNifti1)."""
    content = raw_nifti(dim=(4, -1, 1, 1, 2, 1, 1, 1), glmin=40_000, datatype=2, bitpix=8)[:352]
    values = voxels((2, 40_000, 1, 1), "uint8")
    path = tmp_path / "theirs.nii"
    path.write_bytes(bytes(content) + values.tobytes())
    backend = open_backend(path)
    assert backend.header.shape == (2, 40_000, 1, 1)
    assert unlike(read(backend), values) is None
    save_backend(backend, str(tmp_path / "ours.nii"))
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()
    first = ArrayBackend(values[:1], backend.header.with_channels(range(1)))
    save_backend(first, str(tmp_path / "first.nii"))  # no longer FreeSurfer's file
    theirs = nibabel.load(tmp_path / "first.nii")
    assert unlike(of_nibabel(theirs), values[:1]) is None


@pytest.mark.parametrize("dim", [
    (0, 5, 4, 3, 1, 1, 1, 1), (8, 5, 4, 3, 1, 1, 1, 1), (-1, 5, 4, 3, 1, 1, 1, 1), (255, 5, 4, 3, 1, 1, 1, 1),
    (3, 0, 4, 3, 1, 1, 1, 1), (3, -5, 4, 3, 1, 1, 1, 1), (4, 5, 4, 3, 0, 1, 1, 1), (3, -1, 1, 1, 1, 1, 1, 1),
])  # fmt: skip
def test_impossible_dimensions_are_refused(dim: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="dim"):
        read_header(bytes(raw_nifti(dim=dim)))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dimensions_behind_the_last_do_not_count(rank: int) -> None:
    """dim[0] says how many count; what stands behind is anything."""
    header = read_header(bytes(raw_nifti(dim=(rank, 5, 4, 3, -7, 0, 999, 5))))
    assert header.shape == (1, *(5, 4, 3)[:rank], *(1,) * (3 - rank))


def test_sizes_beyond_any_file_are_refused() -> None:
    image = nib(voxels(SHAPE, "int16"), version=2)
    content = bytearray(image.to_bytes())
    struct.pack_into("<8q", content, 16, 3, 1 << 40, 1 << 40, 4, 1, 1, 1, 1)
    with pytest.raises(FormatError, match="no file can hold"):
        read_header(bytes(content))
    content = raw_nifti(dim=(7, *(32767,) * 7))
    with pytest.raises(FormatError, match="no file can hold"):
        read_header(bytes(content))


@pytest.mark.parametrize("datatype", [0, 1, 3, 255, 999, -4, 32767])
def test_unknown_datatypes_are_refused(datatype: int) -> None:
    with pytest.raises(FormatError, match="datatype"):
        read_header(bytes(raw_nifti(datatype=datatype)))


def test_bitpix_is_believed_less_than_datatype() -> None:
    backend = open_backend(bytes(raw_nifti(bitpix=8)))
    assert any("bitpix" in warning for warning in backend.header.warnings)
    assert unlike(read(backend)[0], voxels(SHAPE, "int16")) is None


# vox_offset


@pytest.mark.parametrize("offset", [NAN, float("inf"), -352.0, 10.0, 347.0, 348.0, 351.0, 1e30])
def test_voxels_cannot_lie_there(offset: float) -> None:
    with pytest.raises(FormatError, match="vox_offset"):
        read_header(bytes(raw_nifti(vox_offset=offset)))


@pytest.mark.parametrize(
    ("offset", "taken"), [(0.0, 352), (352.0, 352), (352.75, 352), (360.0, 360), (416.0, 416), (353.0, 353)]
)
def test_voxels_lie_where_vox_offset_says(offset: float, taken: int) -> None:
    content = raw_nifti(vox_offset=offset)
    moved = bytes(content[:352]) + b"\xee" * (taken - 352) + bytes(content[352:])
    backend = open_backend(moved)
    assert unlike(read(backend)[0], voxels(SHAPE, "int16")) is None
    assert bool(backend.header.warnings) == (offset in (0.0, 352.75))


def test_an_offset_behind_the_end_is_truncation() -> None:
    backend = open_backend(bytes(raw_nifti(vox_offset=1e6)))
    assert any("truncated" in warning for warning in backend.header.warnings)
    with pytest.raises(TruncatedError):
        read(backend)


def test_a_copy_moves_voxels_to_the_front(tmp_path: Path) -> None:
    """A gap that no extension fills is not copied."""
    content = raw_nifti(vox_offset=1024.0)
    path = tmp_path / "theirs.nii"
    path.write_bytes(bytes(content[:352]) + bytes(672) + bytes(content[352:]))
    assert save_backend(open_backend(path), str(tmp_path / "ours.nii")) == ()
    assert unlike(read(open_backend(tmp_path / "ours.nii"))[0], voxels(SHAPE, "int16")) is None


# magic


@pytest.mark.parametrize("magic", [b"\0\0\0\0", b"n+2\0", b"ni9\0", b"N+1\0", b"n+1 ", b"n+1\r"])
def test_a_wrong_magic_is_refused(magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(raw_nifti(magic=magic))
    with pytest.raises(FormatError):
        open_backend(path)


def test_a_single_file_that_says_it_is_a_pair(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(raw_nifti(magic=b"ni1\0"))
    backend = open_backend(path)
    assert any("one file" in warning for warning in backend.header.warnings)
    assert unlike(read(backend)[0], voxels(SHAPE, "int16")) is None


@pytest.mark.parametrize("size", [0, 347, 349, -1, 1543569408 + 1])
def test_a_wrong_header_size_is_refused(size: int, tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(raw_nifti(sizeof_hdr=size))
    with pytest.raises(FormatError):
        open_backend(path)


@pytest.mark.parametrize("version", [1, 2])
def test_every_short_header_is_refused(version: int) -> None:
    content = nib(voxels(SHAPE, "int16"), version=version).to_bytes()
    for length in range(SIZES[version]):
        with pytest.raises(FormatError) as error:
            open_backend(content[:length], name="x.nii")
        assert len(str(error.value).splitlines()) == 1
    whole = open_backend(content[: SIZES[version]], name="x.nii")
    assert any("truncated" in warning for warning in whole.header.warnings)


# dtypes that NIfTI lacks


@pytest.mark.parametrize(("dtype", "wider"), [("bool", "uint8"), ("float16", "float32")])
def test_types_that_nifti_lacks_get_wider(dtype: str, wider: str, tmp_path: Path) -> None:
    image = make("plain", dtype)
    report = save_backend(image, str(tmp_path / "ours.nii"))
    assert [d.field for d in report] == ["dtype"]
    backend = open_backend(tmp_path / "ours.nii")
    assert backend.header.dtype == wider
    assert unlike(read(backend), image.array) is None


def test_the_codes_are_those_of_nibabel() -> None:
    for code, (dtype, components) in DATATYPES.items():
        theirs = nibabel.nifti1.data_type_codes.dtype[code]
        if theirs.type in (np.longdouble, np.clongdouble) or theirs == np.void:
            continue
        assert theirs.itemsize == np.dtype(dtype).itemsize * components
    for code in INTENTS:
        assert code in nibabel.nifti1.intent_codes.code or code >= 2001


# misuse of text


@pytest.mark.parametrize("text", [b"caf\xc3\xa9", b"caf\xe9", b"\x1b[31mred", b"a\0b", b"x" * 80, b"\xff\xfe"])
def test_any_text_survives_a_copy(text: bytes, tmp_path: Path) -> None:
    path = saved(nib(voxels(SHAPE, "int16"), descrip=text, aux_file=text[:24], intent_name=text[:16]), tmp_path)
    backend = open_backend(path)
    assert isinstance(backend.header.description, str)
    save_backend(backend, str(tmp_path / "ours.nii"))
    assert (tmp_path / "ours.nii").read_bytes() == path.read_bytes()


@QUICK
@given(text=st.text(max_size=120))
def test_any_description_comes_back(text: str, tmp_path: Path) -> None:
    image = make("plain")
    image.header = image.header.replace(description=text, metadata={"note": text})
    save_backend(image, str(tmp_path / "ours.nii"), force=True)
    header = read_header(tmp_path / "ours.nii")
    assert (header.description, dict(header.metadata)) == (text, {"note": text})


def test_losses_are_told_without_writing(tmp_path: Path) -> None:
    image = make("plain", "float16")
    assert [d.field for d in losses(image.header, str(tmp_path / "x.nii"))] == ["dtype"]
    assert list(tmp_path.iterdir()) == []


def test_gradients_travel_beside(tmp_path: Path) -> None:
    """FSL's X.bval and X.bvec; they appear and are read with the image."""
    image = make("diffusion")
    assert save_backend(image, str(tmp_path / "dwi.nii.gz"), strict=True) == ()
    assert sorted(contents(tmp_path)) == ["dwi.bval", "dwi.bvec", "dwi.nii.gz"]
    header = read_header(tmp_path / "dwi.nii.gz")
    assert not [d for d in differences(image.header, header) if d.field == "gradients"]
    table = np.loadtxt(tmp_path / "dwi.bvec")
    assert image.header.gradients is not None
    np.testing.assert_allclose(table.T, image.header.gradients.bvecs, atol=1e-6)


def test_file_objects_and_bytes_are_images(tmp_path: Path) -> None:
    content = nib(voxels(SHAPE, "int16")).to_bytes()
    packed = gzip.compress(content)
    for source in (content, packed, io.BytesIO(content), io.BytesIO(packed), memoryview(content)):
        assert unlike(read(open_backend(source))[0], voxels(SHAPE, "int16")) is None


def test_a_layout_is_what_the_file_has() -> None:
    """I fastest, then J, K and the other axes in their order."""
    backend: Any = open_backend(nib(voxels((5, 4, 3, 2, 3), "int32")).to_bytes())
    assert backend.stored.layout == Layout.packed((6, 5, 4, 3), "int32", channels=(2, 3))
    assert backend.stored.offset == 352

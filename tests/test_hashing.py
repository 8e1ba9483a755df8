"""The hash of an image: the definition, and that nothing but values, shape and geometry gets into it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import re
import shutil
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend, FramesBackend, ViewBackend
from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.expanding import expand
from medimg_cli.formats import FORMATS, codec_module, open_backend
from medimg_cli.grid import Grid
from medimg_cli.hashing import ImageHash, geometry_numbers, hash_backend, hash_image, hashes_of
from medimg_cli.header import Header
from medimg_cli.operations import apply
from medimg_cli.operations.reorient import Turn

from .helpers import AFFINES, DTYPES, fits, make, output_suffixes, voxels, write

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
REAL = pytest.mark.skipif(
    not (DATA / "MANIFEST.csv").exists(), reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv"
)
PAGE = Path(__file__).resolve().parents[1] / "docs" / "hash.md"
ROOMY = np.dtype(np.longdouble).itemsize == 16 and np.finfo(np.longdouble).nmant == 63


def image(array: Any, affine: AffineMatrix = AFFINES["left-handed"], **fields: Any) -> ArrayBackend:
    array = np.asarray(array)
    return ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, affine=affine, **fields))


def real_images() -> list[dict[str, str]]:
    with open(DATA / "MANIFEST.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reference() -> Any:
    """Return the function on the page, which knows nothing of medimg."""
    (source,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    session: dict[str, Any] = {}
    exec(compile(source, str(PAGE), "exec"), session)
    return session["medimg1"]


# -- the definition -------------------------------------------------------------------------------------------------


def test_definition_step_by_step() -> None:
    array = np.array([[[[1.5, -0.0], [np.nan, 3.0]]], [[[5.0, 6.0], [7.0, -np.inf]]]], "float32")  # (2, 1, 2, 2)
    affine = AffineMatrix([[0, -2.0, 0, 10], [3, 0, 0, -20.5], [0, 0, 0.5, 0.25], [0, 0, 0, 1]])
    ordered = [1.5, np.nan, 0.0, 3.0, 5.0, 7.0, 6.0, -np.inf]
    content = b"medimg1 voxels 2 1 2 2 real\n" + struct.pack("<8d", *ordered)
    assert struct.pack("<d", np.nan).hex() == "000000000000f87f"
    digest = hashlib.sha256(content).hexdigest()
    places = (20, 200, -410, 5, 200, -350, 5, 160, -410, 5, 200, -410, 15)
    found = hashes_of(image(array, affine))
    assert found == ImageHash(digest, places)
    line = f"medimg1 image {digest} {' '.join(map(str, places))}\n"
    assert found.image == "medimg1:" + hashlib.sha256(line.encode()).hexdigest()
    assert found.values == f"medimg1-voxels:{digest}"


def test_hash_of_version_1_never_changes() -> None:
    """Who changes this changes the version."""
    array = np.arange(60, dtype="int16").reshape(1, 5, 4, 3)
    affine = AffineMatrix([[-2, 0, 0, 90.5], [0, 0, 3, -126], [0, 2.5, 0, -72.1], [0, 0, 0, 1]])
    assert [
        hash_backend(image(array, affine), canonical=c, geometry=g) for g in (True, False) for c in (False, True)
    ] == [
        "medimg1:3a6b9d02342d315b97fc615a59054ed59eb93f513b10010f8e7316e73cacda24",
        "medimg1-canonical:e7cda65eae887c97ec1810db4d0a2dedf425b3e470d0c86f50cf3618b29f516b",
        "medimg1-voxels:864fccf594a13d4569afcbecf94b7c79ca0a5f94cc83de021c8ee71bfdaf9c19",
        "medimg1-canonical-voxels:4503d8a58d7924d6da32d0a5c4a4107ab24c853102c6347fde90cfcb5121bec3",
    ]


def _nifti(path: Path, array: Any, *, slope: float = 1, inter: float = 0, kind: Any = nibabel.Nifti1Image) -> str:
    options = {} if kind is nibabel.MGHImage else {"dtype": array.dtype}
    made = kind(array, AFFINES["left-handed"].numpy(), **options)
    if (slope, inter) != (1, 0):
        made.header.set_slope_inter(slope, inter)
    nibabel.save(made, path)
    return str(path)


def _files_of_others(folder: Path) -> list[str]:
    """Write files with nibabel, one of every kind of value."""
    chance = np.random.default_rng(0)
    counts = chance.integers(-3000, 3000, (5, 4, 3))
    colours = np.zeros((5, 4, 3), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    for number, name in enumerate("RGB"):
        colours[name] = counts % 251 + number
    wide = chance.integers(-(2**63), 2**63 - 1, (5, 4, 3), dtype="int64", endpoint=True)
    odd = chance.normal(size=(5, 4, 3, 2)).astype("float32")
    odd[0, 0, 0], odd[1, 2, 2], odd[3, 3, 0] = np.nan, -0.0, np.inf
    folder.mkdir(exist_ok=True)
    return [
        _nifti(folder / "int16.nii.gz", counts.astype("int16")),
        _nifti(folder / "big.nii", counts.astype(">i4")),
        _nifti(folder / "scaled16.nii", counts.astype("int16"), slope=0.3, inter=-7.7),
        _nifti(folder / "scaled32.nii.gz", counts.astype("int32"), slope=0.3, inter=-7.7),
        _nifti(folder / "odd.nii", odd),
        _nifti(folder / "complex.nii", (counts + 1j * counts[::-1]).astype("complex64")),
        _nifti(folder / "wide.nii", wide),
        _nifti(folder / "unsigned.nii", wide.view("uint64"), kind=nibabel.Nifti2Image),
        _nifti(folder / "rgb.nii", colours),
        _nifti(folder / "five.nii", chance.normal(size=(4, 3, 2, 3, 2))),
        _nifti(folder / "flat.nii", counts[:, :, 0].astype("uint8")),
        _nifti(folder / "small.mgz", counts.astype("float32"), kind=nibabel.MGHImage),
        _micro(folder / "micro.nii"),
    ]


def _micro(path: Path) -> str:
    affine = np.diag([0.0065, 0.0065, 0.025, 1.0])
    affine[:3, 3] = 0.3, -0.77, 1.1
    nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype="u1").reshape(2, 3, 4), affine), path)
    return str(path)


def test_page_computes_what_medimg_computes(reference: Any, tmp_path: Path) -> None:
    files = _files_of_others(tmp_path / "files")
    assert {path: reference(path) for path in files} == {path: hash_image(path) for path in files}
    assert len({hash_image(path) for path in files}) == len(files) - 2, "int16, big and small hold the same"


@REAL
def test_page_computes_what_medimg_computes_on_real_files(reference: Any) -> None:
    compared = 0
    for row in real_images():
        path = str(DATA / row["path"])
        if not row["verdict"].startswith("AGREE") or not path.endswith((".nii", ".nii.gz", ".mgz", ".mgh")):
            continue
        header = mi.read_header(path)
        if header.affine_source in ("pixdim", "none") or header.data_bytes > 4_000_000 or not header.orientation_known:
            continue  # nibabel makes up another orientation
        assert hash_image(path) == reference(path), path
        compared += 1
    assert compared > 50


# -- what does not count --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *[("scaled", "int16"), ("scaled", "int32"), ("scaled-time", "uint8"), ("rgb", "uint8"), ("time-rgb", "uint8")],
        *[("time-vector", "float32"), ("left-handed", "float32"), ("plain", "float64"), ("channels", "complex64")],
        *[("plain", "int64"), ("sheared", "uint64"), ("permuted", "bool"), ("flat", "uint8"), ("diffusion", "int16")],
    ],
)
def test_same_hash_from_every_container(kind: str, dtype: str, tmp_path: Path) -> None:
    expected, header, held = hashes_of(make(kind, dtype)), make(kind, dtype).header, 0
    for row in FORMATS:
        for suffix in output_suffixes(row):
            if row.name in ("jpeg", "dicom") or suffix.startswith(".mih."):
                continue  # values are rounded; a header that is not compressed
            path = write(tmp_path / f"{row.name}{suffix}", row, suffix, kind, dtype)
            fitted = fits(codec_module(row), header.replace(format=row.name), f"x{suffix}") if path else None
            if path is None or fitted is None or fitted.shape != header.shape:
                continue
            found = hashes_of(open_backend(str(path)))
            assert found.voxels == expected.voxels, path.name
            if fitted.affine.mm_shift(header.affine, header.spatial_shape) < 1e-3:
                assert found == expected, path.name
                held += 1
    assert held >= 5


@REAL
def test_one_real_image_in_every_container() -> None:
    folder = DATA / "_generated" / "formats"
    no_place = (
        "analyze75",
        "stack",
        "vol.mnc",
        "vol.mif",
        "vol.mih",
    )  # no orientation; or axes stored in another order
    data = ("vol.dat", "vol.raw", "volgz.raw.gz", "volz.zraw")
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(no_place) and path.name not in data]
    assert len(files) > 20
    assert len({hash_image(path) for path in files}) == 1
    turned = [*files, *folder.glob("vol.mi[fh]*")]
    assert len({hash_image(path, canonical=True) for path in turned}) == 1


@REAL
def test_geometry_of_real_images_survives_every_format() -> None:
    """float32 of one container against float64 of another: none of several hundred pairs lies across a border."""
    grids, moved, flipped = {}, 0, []
    for row in real_images():
        try:
            for entry in expand(str(DATA / row["path"])):
                header = entry.open().header
                if not header.affine.is_singular:
                    grids[header.grid] = header
        except mi.MedImgError:
            continue
    for header, row in product(grids.values(), [row for row in FORMATS if row.writes]):
        wanted = header.replace(format=row.name) if row.name.startswith("nifti") else header
        fitted = fits(codec_module(row), wanted, f"x{row.suffixes[0]}")
        if fitted is None or fitted.spatial_shape != header.spatial_shape or fitted.affine == header.affine:
            continue
        i, j, k = (max(size, 2) for size in header.spatial_shape)  # a single slice has a thickness, too
        if fitted.affine.mm_shift(header.affine, (i, j, k)) <= 1e-3:
            moved += 1
            if geometry_numbers(fitted.grid) != geometry_numbers(header.grid):
                flipped.append((header.shape, row.name))
    assert moved > 100 and flipped == []


def test_every_type_with_the_same_values_has_one_hash() -> None:
    array = np.random.default_rng(1).integers(0, 2, (2, 5, 4, 3))
    real = [name for name in DTYPES if not name.startswith("complex")]
    assert len({hash_backend(image(array.astype(name))) for name in real}) == 1
    assert len({hash_backend(image(array.astype(name))) for name in DTYPES if name.startswith("complex")}) == 1
    wide = np.random.default_rng(2).integers(2**53, 2**63 - 1, (1, 5, 4, 3))
    kinds = [name for name in DTYPES if name == "float128"] if ROOMY else []
    assert len({hash_backend(image(wide.astype(name))) for name in ("int64", "uint64", *kinds)}) == 1


def test_zeros_have_no_sign_and_nan_one_form() -> None:
    array = voxels((1, 5, 4, 3), "float64")
    array[0, 0, 0] = 0.0, np.nan, 1.0
    other = array.copy()
    other[0, 0, 0, 0] = -0.0
    other.view("u8")[0, 0, 0, 1] = 0xFFF0000000000001  # signalling, negative, with a payload
    assert hash_backend(image(array)) == hash_backend(image(other))
    both = [each.astype("complex128") for each in (array, other)]
    both[1].imag[array == 1.0] = -0.0
    assert hash_backend(image(both[0])) == hash_backend(image(both[1]))


def test_booleans_are_0_and_1_whatever_their_byte() -> None:
    odd = np.array([0, 1, 2, 255], "uint8").reshape(1, 2, 2, 1).view(bool)
    assert hash_backend(image(odd)) == hash_backend(image(np.array([0, 1, 1, 1]).reshape(1, 2, 2, 1)))


def test_header_text_does_not_count() -> None:
    plain = make("plain")
    text = {"description": "other", "metadata": {"a": 1}, "time_spacing": 3.0, "intent": "label", "warnings": ("odd",)}
    assert hash_backend(ArrayBackend(plain.array, plain.header.replace(**text))) == hash_backend(plain)


# -- what counts ----------------------------------------------------------------------------------------------------


def test_every_voxel_counts() -> None:
    array = make("time").array
    hashes = {hash_backend(image(array))}
    for place in product(*map(range, array.shape)):
        other = array.copy()
        other[place] ^= 1
        hashes.add(hash_backend(image(other)))
    assert len(hashes) == array.size + 1


def test_shape_and_kind_count_where_the_bytes_are_the_same() -> None:
    array = np.arange(48.0)
    shapes = [(1, 2, 4, 6), (1, 4, 2, 6), (2, 1, 4, 6), (6, 2, 2, 2), (48, 1, 1, 1), (1, 1, 1, 48)]
    found = {hash_backend(image(array.reshape(shape)), geometry=False) for shape in shapes}
    found.add(hash_backend(image(array.view("complex128").reshape(1, 2, 3, 4)), geometry=False))
    assert len(found) == len(shapes) + 1


@pytest.mark.parametrize("name", AFFINES)
def test_a_tenth_of_a_millimetre_counts(name: str) -> None:
    array, affine = make("plain").array, AFFINES[name]
    whole = hashes_of(image(array, affine))
    for axis, way in product(range(3), (-1, 1)):
        origin = [x + way * 0.1 * (n == axis) for n, x in enumerate(affine.origin)]
        moved = hashes_of(image(array, affine.with_origin(origin)))
        assert moved.voxels == whole.voxels and moved.image != whole.image
    assert hash_backend(image(array, affine.with_spacing([x + 0.1 for x in affine.spacing]))) != whole.image
    flipped = Grid(array.shape[1:], affine).flipped(0).affine
    assert hash_backend(image(array, flipped)) != whole.image


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_integers_that_float64_does_not_hold(dtype: str) -> None:
    top = np.iinfo(dtype).max
    start = [2**53, 2**53 + 1, 2**53 + 2, 2**60 + 1, top - 1, top, 0, 1]
    if dtype == "int64":
        start[6:] = [-(2**63), -(2**53) - 1]
    found = set()
    for place, change in product(range(8), (0, 1, -1)):
        numbers = [value + change * (n == place) for n, value in enumerate(start)]
        if np.iinfo(dtype).min <= min(numbers) and max(numbers) <= top:
            found.add(hash_backend(image(np.array(numbers, dtype).reshape(1, 2, 2, 2))))
    legal = 24 - 7 - sum(value + 1 > top or value - 1 < np.iinfo(dtype).min for value in start)
    assert len(found) == legal
    missing = b"".join(
        struct.pack("<Qd", n, value - int(float(value))) for n, value in enumerate(start) if value != int(float(value))
    )
    content = b"medimg1 voxels 1 8 1 1 real\n" + struct.pack("<8d", *start) + hashlib.sha256(missing).digest()
    assert hashes_of(image(np.array(start, dtype).reshape(1, 8, 1, 1))).voxels == hashlib.sha256(content).hexdigest()
    rounded = np.array(start, dtype).astype("float64").reshape(1, 8, 1, 1)
    assert hashes_of(image(rounded)).voxels != hashlib.sha256(content).hexdigest()


@pytest.mark.skipif(not ROOMY, reason="float128 is another number here")
def test_numbers_of_128_bits() -> None:
    third = np.array([1, 2, -4, 5], np.longdouble).reshape(1, 2, 2, 1) / 3
    assert hash_backend(image(third)) != hash_backend(image(third.astype("float64")))
    assert hash_backend(image(third + 1j * third)) != hash_backend(image((third + 1j * third).astype("complex128")))
    odd = np.array([np.nan, np.inf, -np.inf, -0.0], np.longdouble).reshape(1, 2, 2, 1)
    assert hash_backend(image(odd)) == hash_backend(image(odd.astype("float32")))
    for beyond in ("1e4000", "1e-4000"):
        with pytest.raises(UnsupportedError, match="beyond what two float64 hold"):
            hash_backend(image(np.full((1, 2, 2, 1), np.longdouble(beyond))))


# -- turned images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["left-handed", "sheared", "rgb", "scaled-time"])
def test_canonical_hash_is_one_for_all_48_ways_to_store(kind: str) -> None:
    whole = make(kind)
    orders = list(product(permutations(range(3)), product((1, -1), repeat=3)))
    turned = [apply(Turn(tuple(zip(order, signs, strict=True))), whole) for order, signs in orders]
    assert len({hash_backend(each) for each in turned}) == 48
    assert len({hash_backend(each, canonical=True) for each in turned}) == 1
    assert len({hash_backend(each, canonical=True, geometry=False) for each in turned}) == 1
    ras = next(each for each in turned if "".join(each.header.orientation) == "RAS")
    assert hashes_of(ras) == hashes_of(whole, canonical=True)._replace(canonical=False)


def test_canonical_is_what_nibabel_calls_closest_canonical(reference: Any, tmp_path: Path) -> None:
    for path in _files_of_others(tmp_path / "files"):
        if not path.endswith("flat.nii"):  # nibabel turns no image of two axes
            turned = tmp_path / ("turned.mgz" if path.endswith(".mgz") else "turned.nii")
            nibabel.save(nibabel.as_closest_canonical(nibabel.load(path)), turned)
            expected = reference(turned).replace("medimg1", "medimg1-canonical")
            if "scaled" not in path and "rgb" not in path:  # nibabel computes those in float64
                assert hash_image(path, canonical=True) == expected, path


# -- geometry -------------------------------------------------------------------------------------------------------


def test_no_usual_coordinate_lies_near_a_border() -> None:
    """Halves, thirds, ... twelfths, sixteenths, hundredths of a mm: noise of 0.1 um moves none across."""
    for parts in (*range(1, 13), 16, 20, 25, 32, 64, 100, 128):
        for whole in range(-3 * parts, 3 * parts):
            x = 100 + whole / parts
            numbers = {
                geometry_numbers(Grid((2, 2, 2), AffineMatrix().with_origin((x + d, 0, 0)))) for d in (-1e-4, 1e-4)
            }
            assert len(numbers) == 1, (whole, parts)


@pytest.mark.parametrize(
    ("spacing", "scale"),
    [
        *[((1, 1, 1), 20), ((0.28, 5, 5), 20), ((5, 0.25, 0.25), 200), ((0.03, 0.03, 1), 200)],
        *[((0.0065, 0.0065, 0.025), 2000), ((1e-6, 1e-6, 1e-6), 2 * 10**7)],
    ],
)
def test_small_voxels_have_a_finer_scale(spacing: Any, scale: int) -> None:
    grid = Grid((3, 4, 5), AffineMatrix.from_spacing(spacing))
    assert geometry_numbers(grid)[0] == scale
    shifted = Grid((3, 4, 5), AffineMatrix.from_spacing(spacing, origin=(0, min(spacing) / 5, 0)))
    assert geometry_numbers(shifted) != geometry_numbers(grid)


@pytest.mark.parametrize(
    "rows", [[[0, 0, 0, 1]] * 3, [[1e-40, 0, 0, 0], [0, 1e-300, 0, 0], [0, 0, 0, 5]], [[1e99] * 4] * 3]
)
def test_absurd_grids_have_numbers_too(rows: Any) -> None:
    numbers = geometry_numbers(Grid((3, 4, 5), AffineMatrix(rows)))
    assert len(numbers) == 13 and all(type(number) is int for number in numbers) and numbers[0] == 20


# -- streaming ------------------------------------------------------------------------------------------------------


def _large() -> ArrayBackend:
    array = np.random.default_rng(3).integers(-(2**62), 2**62, (3, 61, 67, 71))
    return image(array, axes=(("time", 3),))


def test_blocks_do_not_matter(tmp_path: Path) -> None:
    whole = _large()
    expected = hashes_of(whole)
    reordered = ArrayBackend(np.asfortranarray(whole.array), whole.header)
    frames = [image(whole.array[n : n + 1]) for n in range(3)]
    stacked = FramesBackend(frames, whole.header)
    viewed: list[Backend] = [reordered, stacked]
    viewed.append(
        ViewBackend(
            stacked, range(3), [(n, range(size)) for n, size in enumerate(whole.header.shape[1:])], whole.header
        )
    )
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        mi.Image(whole).save(tmp_path / f"large{suffix}")
        viewed.append(open_backend(str(tmp_path / f"large{suffix}")))
    assert [hashes_of(each) for each in viewed] == [expected] * len(viewed)
    turned = [hashes_of(each, canonical=True) for each in viewed]
    assert turned == [hashes_of(whole, canonical=True)] * len(viewed)


@pytest.mark.parametrize("canonical", [False, True])
def test_a_damaged_file_has_no_hash(canonical: bool, tmp_path: Path) -> None:
    mi.Image(_large()).save(tmp_path / "whole.nii.gz")
    content = (tmp_path / "whole.nii.gz").read_bytes()
    damaged = {
        "cut": content[: len(content) // 2],
        "last": content[:-1],
        "crc": content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
        "plain": gzip.decompress(content)[:-1],
    }
    for name, data in damaged.items():
        path = tmp_path / f"{name}.nii{'' if name == 'plain' else '.gz'}"
        path.write_bytes(data)
        with pytest.raises(FormatError):
            hash_image(path, canonical=canonical)


# -- sources --------------------------------------------------------------------------------------------------------


def test_sources_of_images_have_the_hash_of_the_image(tmp_path: Path) -> None:
    affine = AFFINES["left-handed"]
    array = voxels((1, 5, 4, 3), "float32")
    path = _nifti(tmp_path / "a.nii", array[0])
    expected = hash_image(path)
    loaded = mi.ScalarImage(path)
    loaded.load()
    sources = [
        mi.Image(array, affine=mi.read_header(path).affine),
        Path(path),
        Path(path).read_bytes(),
        loaded,
        nibabel.load(path),
    ]
    sources += [open_backend(path), loaded.as_sitk()]
    assert [hash_image(source) for source in sources] == [expected] * len(sources)
    assert hash_image(array) != expected and hash_image(array, geometry=False) == hash_image(path, geometry=False)
    assert affine.determinant < 0


def test_changed_voxels_have_another_hash(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "a.nii.gz", voxels((5, 4, 3), "int16"))
    changed = mi.ScalarImage(path)
    view = changed.numpy()
    view[0, 1, 2, 1] += 1
    assert hash_image(changed) != hash_image(path)
    assert hash_image(mi.ScalarImage(path)[:, ::2]) != hash_image(path)


@pytest.mark.parametrize("canonical", [False, True])
def test_a_store_of_next_to_nothing_is_refused_however_large_it_says_it_is(canonical: bool, tmp_path: Path) -> None:
    mi.Image(make("straight")).save(tmp_path / "a.zarr")
    shutil.rmtree(tmp_path / "a.zarr" / "nifti")  # a header that would contradict
    changed = 0
    for path in [*tmp_path.rglob("zarr.json"), *tmp_path.rglob(".zarray")]:
        text = path.read_text(encoding="utf-8")
        path.write_text(
            re.sub(r'("shape": ?\[\s*)\d+(,\s*)\d+(,\s*)\d+', r"\g<1>90000\g<2>90000\g<3>90000", text, count=1)
        )
        changed += "90000" in path.read_text(encoding="utf-8")
    assert changed
    with pytest.raises(mi.MedImgError, match="are declared"):
        hash_image(tmp_path / "a.zarr", canonical=canonical)

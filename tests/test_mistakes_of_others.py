"""Mistakes of other tools, reproduced; each has a test here that medimg does not make it.

The numbers are those of the list in the design notes. Images are made in code: non-cubic, anisotropic,
oblique and left-handed, so that a swapped axis, a lost sign or a stale spacing shows.
"""

from __future__ import annotations

import ast
import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import proving

import medimg_cli as mi

nibabel = pytest.importorskip("nibabel")

SHAPE = (7, 6, 5)
# Oblique (0.3 rad about z, 0.2 about x), spacing 0.8 x 1.5 x 3, left-handed.
TURN = np.array(
    [
        [np.cos(0.3), -np.sin(0.3) * np.cos(0.2), np.sin(0.3) * np.sin(0.2)],
        [np.sin(0.3), np.cos(0.3) * np.cos(0.2), -np.cos(0.3) * np.sin(0.2)],
        [0.0, np.sin(0.2), np.cos(0.2)],
    ]
)
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([-0.8, 1.5, 3.0])
AFFINE[:3, 3] = 11.5, -22.25, 33.0
WRITABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mif", ".hdr")


def voxels(dtype: str = "int16", shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Return noise over the whole range of an integer type, or normal deviates."""
    chance = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "ui":
        limits = np.iinfo(dtype)
        return chance.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return chance.normal(size=shape).astype(dtype)


def nifti(
    path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, *, slope: tuple[float, float] | None = None
) -> Path:
    """Write a NIfTI-1 file with nibabel, stored numbers as given."""
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    if slope is None:
        nibabel.save(image, path)
        return path
    content = bytearray(image.to_bytes())
    content[112:120] = np.array(slope, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


def stored(path: Path) -> tuple[np.ndarray, float, float]:
    """Return stored numbers, slope and inter of a NIfTI file, read with nibabel."""
    proxy = nibabel.load(path).dataobj
    return np.asanyarray(proxy.get_unscaled()), float(proxy.slope), float(proxy.inter)


def refused(*arguments: str | Path) -> str:
    """Run ``medimg``, hold it to exit code 2 and one line, and return the line."""
    outcome = proving.medimg(*arguments)
    assert proving.one_line(outcome) is None, (proving.one_line(outcome), outcome.err)
    return outcome.err_lines[0]


def done(*arguments: str | Path) -> proving.Outcome:
    """Run ``medimg`` and hold it to success."""
    outcome = proving.medimg(*arguments)
    assert outcome.code == 0, outcome.err.decode("utf-8", "replace")
    return outcome


def info(path: Path) -> dict:
    """Return the facts that ``medimg info --json`` gives of one image."""
    (facts,) = json.loads(done("info", "--json", path).out)
    return facts


def world(affine: np.ndarray, index: tuple[float, ...]) -> np.ndarray:
    """Return the world coordinates of a voxel."""
    return affine[:3, :3] @ index + affine[:3, 3]


# 1. Slicing with a step keeps the old spacing; a negative step must work.


@pytest.mark.parametrize(
    "key",
    [
        np.s_[:, ::2],
        np.s_[:, :, ::-1],
        np.s_[:, 1:6:2, ::-2, ::-1],
        np.s_[:, -1:1:-3],
        np.s_[..., 2],
        np.s_[0, 3],
        np.s_[:, 1:, :-1, 1:-1],
    ],
    ids=str,
)
def test_1_a_sliced_image_has_the_right_affine(key: object, tmp_path: Path) -> None:
    """Every voxel of ``image[...]`` lies where it lay before, and holds what it held."""
    array = voxels()
    path = nifti(tmp_path / "in.nii.gz", array)
    image = mi.Image(path)
    piece = image[key]
    full = array[None]
    where = np.indices(full.shape)
    ints_kept = tuple(slice(k, k + 1) if isinstance(k, int) and k >= 0 else k for k in np.index_exp[key])
    assert np.array_equal(piece.numpy(), full[ints_kept])
    assert tuple(piece.shape) == full[ints_kept].shape
    origins = [where[axis][ints_kept] for axis in (1, 2, 3)]
    new = piece.affine.numpy()
    for corner in np.ndindex(2, 2, 2):
        index = tuple((size - 1) * end for size, end in zip(piece.spatial_shape, corner, strict=True))
        old = tuple(float(axis[(0, *index)]) for axis in origins)
        assert np.allclose(world(new, index), world(AFFINE, old), atol=1e-4), (index, old)


def test_1_a_step_of_two_doubles_the_spacing(tmp_path: Path) -> None:
    """``image[:, ::2]`` has twice the spacing along the first axis only."""
    image = mi.Image(nifti(tmp_path / "in.nii", voxels()))
    before, after = image.spacing, image[:, ::2].spacing
    assert after == pytest.approx((2 * before[0], before[1], before[2]))
    assert image[:, ::2, ::3, ::-2].spacing == pytest.approx((2 * before[0], 3 * before[1], 2 * before[2]))


def test_1_slice_on_the_command_line_moves_the_affine(tmp_path: Path) -> None:
    """``medimg slice --index`` with a negative step writes the region with its own origin, step and sign."""
    array = voxels()
    nifti(tmp_path / "in.nii", array)
    done("slice", tmp_path / "in.nii", tmp_path / "out.nii", "--index", "[:, 1:6:2, ::-1, ::2]")
    out = nibabel.load(tmp_path / "out.nii")
    assert np.array_equal(np.asanyarray(out.dataobj), array[1:6:2, ::-1, ::2])
    step = np.array([[2.0, 0, 0, 1], [0, -1, 0, 5], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert np.allclose(out.affine, AFFINE @ step, atol=1e-4)


# 2. A SimpleITK image given as an object comes out transposed and in LPS.


@pytest.mark.parametrize("components", [1, 3])
def test_2_a_simpleitk_image_is_the_same_as_its_file(components: int, tmp_path: Path) -> None:
    """The object, and the file it is written to, give the same shape, voxels and RAS affine."""
    sitk = pytest.importorskip("SimpleITK")
    array = voxels("float32", (5, 6, 7) + ((components,) if components > 1 else ()))
    image = sitk.GetImageFromArray(array, isVector=components > 1)
    image.SetSpacing((0.8, 1.5, 3.0))
    image.SetOrigin((11.5, -22.25, 33.0))
    image.SetDirection((TURN @ np.diag([1.0, -1.0, 1.0])).ravel())
    path = tmp_path / "image.mha"
    sitk.WriteImage(image, str(path))
    from_object, from_file = mi.Image(image), mi.Image(path)
    expected = array.T[None] if components == 1 else array.transpose(3, 2, 1, 0)
    assert tuple(from_object.shape) == tuple(from_file.shape) == (components, 7, 6, 5)
    assert np.array_equal(from_object.numpy(), expected)
    assert np.array_equal(from_file.numpy(), expected)
    lps = np.eye(4)
    lps[:3, :3] = TURN @ np.diag([1.0, -1.0, 1.0]) @ np.diag([0.8, 1.5, 3.0])
    lps[:3, 3] = 11.5, -22.25, 33.0
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    assert np.allclose(from_object.affine.numpy(), ras, atol=1e-6)
    assert np.allclose(from_file.affine.numpy(), ras, atol=1e-6)


# 3. One Image class of 1,100 lines whose source is five nullable fields.


def test_3_every_source_becomes_one_backend(tmp_path: Path) -> None:
    """Whatever an image is made from, it holds a backend, and every member works."""
    array = voxels()
    path = nifti(tmp_path / "in.nii", array)
    sources = [path, str(path), array[None], path.read_bytes(), nibabel.load(path)]
    for source in sources:
        options = {"suffix": ".nii"} if isinstance(source, bytes) else {}
        options |= {"affine": AFFINE} if isinstance(source, np.ndarray) else {}
        image = mi.Image(source, **options)
        assert image.dataobj is not None
        assert tuple(image.dataobj.header.shape) == (1, *SHAPE)
        assert np.array_equal(image[:, 1:3, ::-1].numpy(), array[None, 1:3, ::-1])
        assert np.allclose(image.affine.numpy(), AFFINE, atol=1e-5)


def test_3_the_image_class_is_small() -> None:
    """No class of the package has more than 300 lines of code."""
    package = Path(mi.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                lines = {part.lineno for part in ast.walk(node) if isinstance(part, ast.stmt | ast.expr)}
                assert len(lines) <= 300, f"{path.name}: class {node.name} has {len(lines)} lines"


# 4. An affine class with cached spacing that goes stale when an element is written.


def test_4_an_affine_never_changes() -> None:
    """No element can be written, and arrays handed out are copies."""
    affine = mi.AffineMatrix(AFFINE)
    before = (affine.spacing, affine.origin, affine.orientation, hash(affine))
    with pytest.raises(TypeError):
        affine[0, 0] = 5.0  # type: ignore[index]
    for name in ("spacing", "origin", "direction", "anything"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(affine, name, (1.0, 2.0, 3.0))
    handed = affine.numpy()
    handed[:] = 0.0
    array = np.array(affine)
    array[:] = 0.0
    assert (affine.spacing, affine.origin, affine.orientation, hash(affine)) == before
    assert np.allclose(affine.numpy(), AFFINE)
    assert pickle.loads(pickle.dumps(affine)) == affine


def test_4_setting_the_spacing_of_an_image_leaves_its_twin_alone(tmp_path: Path) -> None:
    """Two images may share one affine; changing the spacing of one gives it a new one."""
    path = nifti(tmp_path / "in.nii", voxels())
    one = mi.Image(path)
    shared = one.affine
    other = mi.Image(voxels()[None], affine=shared)
    one.spacing = (2.0, 2.0, 4.0)
    assert one.spacing == pytest.approx((2.0, 2.0, 4.0))
    assert other.spacing == pytest.approx((0.8, 1.5, 3.0), rel=1e-5)
    assert shared.spacing == pytest.approx((0.8, 1.5, 3.0), rel=1e-5)
    assert np.allclose(one.affine.numpy()[:3, 0], AFFINE[:3, 0] / 0.8 * 2.0, atol=1e-4)


# 5. A handler that repeats a format branch of the library and calls a method that does not exist.


@pytest.mark.parametrize("suffix", WRITABLE)
@pytest.mark.parametrize(
    "words",
    [
        ["convert", "IN", "OUT"],
        ["reorient", "IN", "OUT", "--to", "PIR"],
        ["slice", "IN", "OUT", "--index", "[:, 1:5]"],
    ],
    ids=lambda words: words[0],
)
def test_5_every_command_writes_every_format(words: list[str], suffix: str, tmp_path: Path) -> None:
    """No pair of command and format runs into code that was never run."""
    path = nifti(tmp_path / "in.nii.gz", voxels())
    names = {"IN": str(path), "OUT": str(tmp_path / f"out{suffix}")}
    done(*(names.get(word, word) for word in words))
    assert info(tmp_path / f"out{suffix}")["channels"] == 1


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_5_info_prints_every_form(form: str, tmp_path: Path) -> None:
    """Each output form of ``info`` names the facts of each of two images."""
    paths = [nifti(tmp_path / name, voxels()) for name in ("a.nii", "b.nii.gz")]
    out = done("info", "--format", form, *paths).out.decode()
    assert "a.nii" in out
    assert "b.nii.gz" in out
    assert "int16" in out


# 6. int16 with slope copied to float64; uint16 to int32; a 4-D fMRI turned into a 5-D vector, TR lost.


def test_6_a_copy_keeps_stored_numbers_slope_and_inter(tmp_path: Path) -> None:
    """int16 * 0.25 - 7 stays int16 * 0.25 - 7, and no larger."""
    array = voxels()
    nifti(tmp_path / "in.nii", array, slope=(0.25, -7.0))
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii")
    copied, slope, inter = stored(tmp_path / "out.nii")
    assert copied.dtype == np.int16
    assert np.array_equal(copied, array)
    assert (slope, inter) == (0.25, -7.0)
    assert (tmp_path / "out.nii").stat().st_size == (tmp_path / "in.nii").stat().st_size


def test_6_the_library_keeps_them_too(tmp_path: Path) -> None:
    """``Image(path).save(path)``, loaded or not, keeps stored numbers and slope."""
    array = voxels()
    nifti(tmp_path / "in.nii", array, slope=(0.25, -7.0))
    for name in ("lazy", "loaded"):
        image = mi.Image(tmp_path / "in.nii")
        if name == "loaded":
            image.load()
        assert np.allclose(image.numpy(), array[None] * 0.25 - 7.0)
        image.save(tmp_path / f"{name}.nii.gz")
        copied, slope, inter = stored(tmp_path / f"{name}.nii.gz")
        assert copied.dtype == np.int16
        assert np.array_equal(copied, array)
        assert (slope, inter) == (0.25, -7.0)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mgz"])
def test_6_a_target_without_slope_gets_the_values(suffix: str, tmp_path: Path) -> None:
    """Scaled values are sacred: a format that can't hold the slope gets floats, and the run says so."""
    array = voxels()
    nifti(tmp_path / "in.nii", array, slope=(0.25, -7.0))
    outcome = done("convert", tmp_path / "in.nii", tmp_path / f"out{suffix}")
    assert b"slope" in outcome.err or b"scal" in outcome.err
    image = mi.Image(tmp_path / f"out{suffix}")
    assert np.allclose(image.numpy(), array[None] * 0.25 - 7.0, rtol=1e-6)
    refused("convert", tmp_path / "in.nii", tmp_path / f"strict{suffix}", "--strict")
    assert not (tmp_path / f"strict{suffix}").exists()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mif", ".hdr"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_6_a_copy_keeps_the_dtype(dtype: str, suffix: str, tmp_path: Path) -> None:
    """uint16 stays uint16, in every format that has it, bit for bit."""
    array = voxels(dtype)
    nifti(tmp_path / "in.nii", array)
    mi.Image(tmp_path / "in.nii").save(tmp_path / f"out{suffix}")
    image = mi.Image(tmp_path / f"out{suffix}")
    assert image.header.dtype == dtype
    assert np.array_equal(image.numpy(), array[None])
    assert np.allclose(image.affine.numpy(), AFFINE, atol=1e-4)


def fmri(path: Path) -> np.ndarray:
    """Write a 4-D series: TR 0.72 s, mm and s, a description, slice timing fields."""
    array = voxels("int16", (*SHAPE, 4))
    image = nibabel.Nifti1Image(array, AFFINE)
    image.header.set_zooms((0.8, 1.5, 3.0, 0.72))
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"TE=30;sec=1.5"
    image.header["slice_code"] = 3
    image.header["slice_end"] = 4
    image.header["slice_duration"] = 0.14
    image.header["cal_max"] = 1234.5
    nibabel.save(image, path)
    return array


def test_6_a_series_stays_four_dimensional_with_its_tr(tmp_path: Path) -> None:
    """4-D stays 4-D on the time axis; TR, units, description and slice timing survive."""
    array = fmri(tmp_path / "in.nii.gz")
    done("convert", tmp_path / "in.nii.gz", tmp_path / "out.nii.gz")
    out = nibabel.load(tmp_path / "out.nii.gz")
    assert out.shape == (*SHAPE, 4)
    assert np.array_equal(np.asanyarray(out.dataobj), array)
    assert out.header.get_zooms()[3] == pytest.approx(0.72)
    assert out.header.get_xyzt_units() == ("mm", "sec")
    assert bytes(out.header["descrip"]).rstrip(b"\0") == b"TE=30;sec=1.5"
    for name, value in (("slice_code", 3), ("slice_end", 4), ("slice_duration", 0.14), ("cal_max", 1234.5)):
        assert float(out.header[name]) == pytest.approx(value)
    assert int(out.header["intent_code"]) == 0
    facts = info(tmp_path / "out.nii.gz")
    assert facts["shape"] == [4, *SHAPE]
    assert facts["time_spacing_s"] == pytest.approx(0.72)


def test_6_a_reoriented_series_keeps_its_tr(tmp_path: Path) -> None:
    """Reorienting touches the three spatial axes only."""
    array = fmri(tmp_path / "in.nii.gz")
    done("reorient", tmp_path / "in.nii.gz", tmp_path / "out.nii.gz", "--to", "RAS")
    out = nibabel.load(tmp_path / "out.nii.gz")
    assert nibabel.aff2axcodes(out.affine) == ("R", "A", "S")
    assert out.header.get_zooms()[3] == pytest.approx(0.72)
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, AFFINE))
    assert np.array_equal(np.asanyarray(out.dataobj), np.asanyarray(expected.dataobj))
    assert np.allclose(out.affine, expected.affine, atol=1e-4)


# 7. sform and qform disagree by 7 mm: one tool silently moves the image. A sheared sform is replaced.


def two_forms(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write an image whose sform (code 2) lies 7 mm along x from its qform (code 1)."""
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += 7.0
    image.set_qform(AFFINE, code=1)
    image.set_sform(moved, code=2)
    nibabel.save(image, path)
    again = nibabel.load(path)
    return again.get_sform(), again.get_qform()


def test_7_both_forms_survive_a_copy(tmp_path: Path) -> None:
    """``convert`` rewrites neither form nor code; the sform is the one in use."""
    sform, qform = two_forms(tmp_path / "in.nii")
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii.gz")
    out = nibabel.load(tmp_path / "out.nii.gz")
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (2, 1)
    assert np.array_equal(out.get_sform(), sform)
    assert np.array_equal(out.get_qform(), qform)
    assert np.allclose(mi.Image(tmp_path / "out.nii.gz").affine.numpy(), sform, atol=1e-5)


def test_7_info_shows_both_forms_and_the_shift(tmp_path: Path) -> None:
    """``info`` gives both matrices with their codes, says which is used, and that they are 7 mm apart."""
    sform, qform = two_forms(tmp_path / "in.nii")
    facts = info(tmp_path / "in.nii")
    assert facts["affine_source"] == "sform"
    assert (facts["sform_code"], facts["qform_code"]) == (2, 1)
    assert np.allclose(facts["sform"], sform, atol=1e-4)
    assert np.allclose(facts["qform"], qform, atol=1e-4)
    assert np.allclose(facts["affine"], sform, atol=1e-4)
    assert b"7 mm" in done("info", tmp_path / "in.nii").out


def test_7_the_qform_can_be_asked_for(tmp_path: Path) -> None:
    """``--affine qform`` overrides the choice."""
    _, qform = two_forms(tmp_path / "in.nii")
    done("convert", tmp_path / "in.nii", tmp_path / "out.nrrd", "--affine", "qform")
    assert np.allclose(mi.Image(tmp_path / "out.nrrd").affine.numpy(), qform, atol=1e-4)


def test_7_index_operations_move_both_forms(tmp_path: Path) -> None:
    """After a crop and a turn each form still puts each voxel where it put it before."""
    sform, qform = two_forms(tmp_path / "in.nii")
    done("slice", tmp_path / "in.nii", tmp_path / "cut.nii", "--index", "[:, 2:, ::-1]")
    done("reorient", tmp_path / "cut.nii", tmp_path / "out.nii", "--to", "RAS")
    out = nibabel.load(tmp_path / "out.nii")
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (2, 1)
    before = np.asanyarray(nibabel.load(tmp_path / "in.nii").dataobj)
    after = np.asanyarray(out.dataobj)
    for form, old in ((out.get_sform(), sform), (out.get_qform(), qform)):
        for corner in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (0, 0, 4), (4, 5, 4)):
            place = np.linalg.inv(old) @ form @ (*corner, 1)
            index = tuple(round(value) for value in place[:3])
            assert np.allclose(place[:3], index, atol=1e-3)
            assert after[corner] == before[index]


def test_7_a_sheared_sform_is_kept(tmp_path: Path) -> None:
    """A copy keeps the shear, and ``info`` names its angle."""
    sheared = AFFINE @ np.array([[1, 0.25, 0, 0], [0, 1, 0.1, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_sform(sheared, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "in.nii")
    kept = nibabel.load(tmp_path / "in.nii").get_sform()
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii.gz")
    out = nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(out.get_sform(), kept)
    assert (int(out.header["sform_code"]), int(out.header["qform_code"])) == (1, 0)
    assert info(tmp_path / "in.nii")["shear_deg"] > 5.0


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITABLE if not suffix.startswith(".nii")])
def test_7_a_sheared_affine_is_kept_or_refused(suffix: str, tmp_path: Path) -> None:
    """No target gets an affine that was bent to fit: it holds the shear or refuses with the angle."""
    sheared = AFFINE @ np.array([[1, 0.25, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(voxels(), None)
    image.set_sform(sheared, code=1)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "in.nii")
    target = tmp_path / f"out{suffix}"
    outcome = proving.medimg("convert", tmp_path / "in.nii", target)
    if outcome.code == 0:
        assert np.allclose(mi.Image(target).affine.numpy(), sheared, atol=1e-4)
    else:
        assert proving.one_line(outcome) is None
        assert "shear" in outcome.err_lines[0]
        assert not target.exists()


# 8. Float [0, 1] cast to int16 becomes 0/1 in silence; NaN becomes 0 in silence.


def unit_interval(path: Path, *, nan: bool = False) -> np.ndarray:
    """Write float32 voxels in [0, 1]."""
    array = np.linspace(0, 1, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    if nan:
        array[3, 2, 1] = np.nan
    nifti(path, array)
    return array


def test_8_a_cast_that_rounds_is_refused(tmp_path: Path) -> None:
    """[0, 1] to int16 loses: exit code 2, a line that names the ways out, no file."""
    unit_interval(tmp_path / "in.nii")
    line = refused("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "int16")
    assert "--round" in line or "--rescale" in line
    assert not (tmp_path / "out.nii").exists()


def test_8_a_cast_that_drops_nan_is_refused(tmp_path: Path) -> None:
    """NaN has no integer: refused, with or without ``--round``."""
    unit_interval(tmp_path / "in.nii", nan=True)
    for words in ([], ["--round"]):
        line = refused("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "int16", *words)
        assert "nan" in line.lower()
        assert not (tmp_path / "out.nii").exists()


def test_8_a_cast_that_clips_is_refused(tmp_path: Path) -> None:
    """300 does not fit uint8: refused; ``--clip`` says how."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) * 2 - 50
    nifti(tmp_path / "in.nii", array)
    refused("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "uint8")
    assert not (tmp_path / "out.nii").exists()
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "uint8", "--clip")
    clipped, _, _ = stored(tmp_path / "out.nii")
    assert clipped.dtype == np.uint8
    assert np.array_equal(clipped, np.clip(array, 0, 255))


def test_8_a_cast_that_fits_is_done(tmp_path: Path) -> None:
    """Whole numbers in float32 fit int16 exactly: no option is needed."""
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) - 90
    nifti(tmp_path / "in.nii", array)
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "int16")
    copied, slope, inter = stored(tmp_path / "out.nii")
    assert (copied.dtype, slope, inter) == (np.int16, 1.0, 0.0)
    assert np.array_equal(copied, array)


def test_8_rescale_keeps_the_values(tmp_path: Path) -> None:
    """``--rescale`` uses the whole range of int16 and stores slope and inter, so that values survive."""
    array = unit_interval(tmp_path / "in.nii")
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "int16", "--rescale")
    copied, slope, inter = stored(tmp_path / "out.nii")
    assert copied.dtype == np.int16
    assert int(copied.max()) - int(copied.min()) > 60000
    assert np.allclose(copied * slope + inter, array, atol=1.0 / 60000)


def test_8_round_rounds(tmp_path: Path) -> None:
    """``--round`` is asked for, and rounds to nearest."""
    array = np.linspace(-40, 40, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    nifti(tmp_path / "in.nii", array)
    done("convert", tmp_path / "in.nii", tmp_path / "out.nii", "--dtype", "int16", "--round")
    copied, slope, inter = stored(tmp_path / "out.nii")
    assert (slope, inter) == (1.0, 0.0)
    assert np.max(np.abs(copied - array)) <= 0.5


def test_8_saving_floats_into_an_integer_image_is_not_silent(tmp_path: Path) -> None:
    """New float data of an image that was int16 on disk is never cut down to int16."""
    image = mi.Image(nifti(tmp_path / "in.nii", voxels()))
    values = np.linspace(0, 1, int(np.prod(SHAPE)), dtype=np.float32).reshape((1, *SHAPE))
    image.set_data(values)
    try:
        image.save(tmp_path / "out.nii")
    except ValueError:
        assert not (tmp_path / "out.nii").exists()
    else:
        assert np.array_equal(mi.Image(tmp_path / "out.nii").numpy(), values)


# 9. A truncated file is read as zeros with exit code 0; a missing file exits 0.


@pytest.mark.parametrize("suffix", WRITABLE)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.999])
def test_9_a_truncated_file_is_refused(share: float, suffix: str, tmp_path: Path) -> None:
    """Cut anywhere in the voxels: ``convert`` refuses and leaves no file; the library raises."""
    whole = tmp_path / f"whole{suffix}"
    nifti(tmp_path / "in.nii", voxels("int16", (21, 22, 23)))
    done("convert", tmp_path / "in.nii", whole)
    data = max((entry for entry in tmp_path.glob("whole*")), key=lambda entry: entry.stat().st_size)
    content = data.read_bytes()
    data.write_bytes(content[: min(int(len(content) * share), len(content) - 1)])
    refused("convert", whole, tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()
    with pytest.raises((EOFError, ValueError)):
        mi.Image(whole).numpy()


def test_9_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Each command exits 2 with one line that names the path."""
    absent, out = tmp_path / "absent.nii.gz", tmp_path / "out.nii"
    for words in (
        ["info", absent],
        ["convert", absent, out],
        ["reorient", absent, out, "--to", "RAS"],
        ["slice", absent, out, "--index", "[:, 1]"],
    ):
        assert "absent.nii.gz" in refused(*words)
    with pytest.raises(OSError):
        mi.Image(absent).numpy()


def test_9_a_missing_file_does_not_hide_the_others(tmp_path: Path) -> None:
    """``info good missing good``: exit code 2; in JSON the error stands in its place."""
    good = nifti(tmp_path / "good.nii", voxels())
    outcome = proving.medimg("info", "--json", good, tmp_path / "absent.nii", good)
    assert outcome.code == 2
    first, second, third = json.loads(outcome.out)
    assert set(second) == {"schema", "path", "error"}
    assert first == third
    assert first["shape"] == [1, *SHAPE]


# 10. Disk full or a kill in mid-write destroys the good file (test_faults.py goes on from here).


def test_10_a_failed_write_leaves_the_good_file(tmp_path: Path) -> None:
    """A limit on the file size in mid-write: the old output stands, nothing is left beside it."""
    resource = pytest.importorskip("resource")
    folder = tmp_path / "out"
    folder.mkdir()
    nifti(tmp_path / "in.nii", voxels("int16", (64, 64, 64)))
    nifti(folder / "out.nii", voxels())
    before = (folder / "out.nii").read_bytes()
    done_process = subprocess.run(
        [*proving.MEDIMG, "convert", str(tmp_path / "in.nii"), str(folder / "out.nii"), "--force"],
        capture_output=True, env=proving.environment(), check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    assert proving.one_line(proving.Outcome(done_process.returncode, b"", done_process.stderr, 0.0)) is None
    assert (folder / "out.nii").read_bytes() == before
    assert [entry.name for entry in folder.iterdir()] == ["out.nii"]


# 11. A detached header names ../../etc/passwd as its data file and gets its bytes back as voxels.

SECRET = b"root:x:0:0:secret"


def detached(kind: str, name: str) -> str:
    """Return a detached header of 2 x 2 x 2 bytes whose data file is `name`."""
    if kind == ".mhd":
        return (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = False\n"
            f"DimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
        )
    if kind == ".nhdr":
        return f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {name}\n"
    return f"mrtrix image\ndim: 2,2,2\nvox: 1,1,1\nlayout: +0,+1,+2\ndatatype: UInt8\nfile: {name} 0\nEND\n"


@pytest.mark.parametrize("kind", [".mhd", ".nhdr", ".mih"])
@pytest.mark.parametrize("way", ["up", "absolute", "through a folder"])
def test_11_data_outside_the_header_s_folder_is_refused(way: str, kind: str, tmp_path: Path) -> None:
    """A path that climbs and an absolute path are refused, and no byte of the file is shown."""
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(SECRET)
    (inside / "sub").mkdir()
    name = {
        "up": "../secret",
        "absolute": str(tmp_path / "secret"),
        "through a folder": "sub/../../secret",
    }[way]
    header = inside / f"image{kind}"
    header.write_text(detached(kind, name))
    out = tmp_path / "out.nii"
    outcome = proving.medimg("convert", header, out)
    assert proving.one_line(outcome) is None, outcome
    assert not out.exists()
    assert SECRET not in outcome.out + outcome.err
    with pytest.raises((ValueError, OSError)):
        mi.Image(header).numpy()


@pytest.mark.parametrize("kind", [".mhd", ".nhdr", ".mih"])
def test_11_data_beside_the_header_is_read(kind: str, tmp_path: Path) -> None:
    """The same header with a name in its own folder works."""
    (tmp_path / "voxels.raw").write_bytes(bytes(range(8)))
    (tmp_path / f"image{kind}").write_text(detached(kind, "voxels.raw"))
    values = mi.Image(tmp_path / f"image{kind}").numpy()
    assert np.array_equal(values.ravel(order="F"), np.arange(8))


def test_11_lists_and_patterns_stay_inside_too(tmp_path: Path) -> None:
    """``LIST`` and numbered files can't climb out either."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for number in (1, 2):
        (tmp_path / f"slice{number}.raw").write_bytes(b"\1\2\3\4")
    base = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = "
    )
    bodies = {
        "list.mhd": base + "LIST\n../slice1.raw\n../slice2.raw\n",
        "pattern.mhd": base + "../slice%d.raw 1 2 1\n",
        "list.nhdr": "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
        "data file: LIST\n../slice1.raw\n../slice2.raw\n",
        "pattern.nhdr": "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
        "data file: ../slice%d.raw 1 2 1\n",
    }
    for name, body in bodies.items():
        (inside / name).write_text(body)
        refused("convert", inside / name, tmp_path / "out.nii")
        assert not (tmp_path / "out.nii").exists()

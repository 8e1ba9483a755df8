"""Diffusion weighting: what the standard and each maker write, in every orientation, against known directions."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.formats import open_backend
from medimg_cli.formats.dicom.diffusion import gradients, weighting
from medimg_cli.formats.dicom.frames import frames_of, single_frame
from medimg_cli.formats.dicom.placing import Stack, place
from medimg_cli.formats.dicom.reading import read_object
from medimg_cli.formats.reading import Reading
from medimg_cli.header import Gradients
from medimg_cli.storage.source import open_source
from medimg_cli.storage.stored import whole
from tests.formats.dicom_files import dataset, geometry, same_world, save
from tests.formats.test_dicom_mosaics import DATA, csa, made
from tests.helpers import AFFINES, affine, turned

pytest.importorskip("pydicom")

#: b-values and directions (world, RAS), of which one is not weighted.
BVALUES = (0.0, 1000.0, 700.0, 2000.0)
DIRECTIONS = tuple(
    tuple(float(x) for x in np.array(v) / (np.linalg.norm(v) or 1))
    for v in ((0, 0, 0), (1, 0.2, -0.3), (-0.4, 0.9, 0.1), (0.5, -0.6, 0.7))
)


def orientation(name: str) -> AffineMatrix:
    """Return an affine of slices of one kind, a little oblique, with J towards the back or down as scanners have it."""
    rows = {
        "axial": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
        "coronal": [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
        "sagittal": [[0, 0, 1], [-1, 0, 0], [0, -1, 0]],
    }[name]
    direction = np.array(turned(7, -4, 9)) @ rows
    return AffineMatrix.from_spacing((1.5, 1.25, 3.0), origin=(40.0, 30.0, -20.0), direction=direction.tolist())


KINDS = {name: orientation(name) for name in ("axial", "coronal", "sagittal")}
Say = Callable[[Any, float, np.ndarray[Any, Any], AffineMatrix], None]


def standard(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    found.Manufacturer = "Nobody"
    found.DiffusionBValue = value
    found.DiffusionDirectionality = "DIRECTIONAL" if value else "NONE"
    if value:
        found.DiffusionGradientOrientation = [float(x) for x in lps]


def siemens(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    found.Manufacturer = "SIEMENS"
    block = found.private_block(0x19, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0C, "IS", int(value))
    block.add_new(0x0D, "CS", "DIRECTIONAL" if value else "NONE")
    if value:
        block.add_new(0x0E, "FD", [float(x) for x in lps])
        block.add_new(0x27, "FD", [float(x) for x in _matrix(value, lps)])


def siemens_csa(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    found.Manufacturer = "SIEMENS"
    fields = {"EchoLinePosition": ["36"], "B_value": [f"{value:g}"]}
    if value:
        fields["DiffusionGradientDirection"] = [f"{x:.9f}" for x in lps]
    found.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(fields))


def siemens_matrix(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    found.Manufacturer = "SIEMENS"
    fields = {"EchoLinePosition": ["36"], "B_value": [f"{value:g}"]}
    if value:
        fields["B_matrix"] = [f"{x:.6f}" for x in _matrix(value, lps)]
    found.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(fields))


def philips(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    found.Manufacturer = "Philips Medical Systems"
    block = found.private_block(0x2001, "Philips Imaging DD 001", create=True)
    block.add_new(0x03, "FL", value)
    block.add_new(0x04, "CS", "O" if value else "N")
    block = found.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    for low, part in zip((0xB0, 0xB1, 0xB2), lps, strict=True):
        block.add_new(low, "FL", float(part))


def uih(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
    """Directions along row, column and slice."""
    found.Manufacturer = "UIH"
    row, column = np.reshape(np.array(found.ImageOrientationPatient, float), (2, 3))
    block = found.private_block(0x65, "Image Private Header", create=True)
    block.add_new(0x09, "FD", value)
    if value:
        block.add_new(0x37, "FD", [float(lps @ row), float(lps @ column), float(lps @ np.cross(row, column))])


def _matrix(value: float, lps: np.ndarray[Any, Any]) -> Sequence[float]:
    outer = value * np.outer(lps, lps)
    return [*outer[0], *outer[1, 1:], outer[2, 2]]


MAKERS = {
    each.__name__: each for each in (standard, siemens, siemens_csa, siemens_matrix, philips, uih)
}  # fmt: skip


def write(folder: Path, where: AffineMatrix, say: Callable[..., None], *, order: int = 1, **values: Any) -> None:
    """Write four volumes of three slices; ``order`` -1 numbers slices against K."""
    world = np.array(where.to_lps().rows)
    for t, value in enumerate(BVALUES):
        for k in range(3):
            pixels = np.random.default_rng([t, k]).integers(0, 4096, (5, 6), dtype=np.uint16)
            number = 1 + 3 * t + (k if order > 0 else 2 - k)
            made = dataset(
                pixels,
                **geometry(where, k),
                ImageType=["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
                InstanceNumber=number,
                AcquisitionNumber=t + 1,
                PatientPosition="HFS",
                StudyInstanceUID="1.2.3",
                ScanningSequence="EP",
                RepetitionTime="2000",
                EchoTime="80",
                **values,
            )
            lps = np.diag([-1.0, -1.0, 1.0]) @ np.array(DIRECTIONS[t])
            say(made, value, lps, where)
            save(made, folder / f"{number:03d}.dcm")
    assert world.shape == (4, 4)


def stack_of(folder: Path) -> Stack:
    """Return the four volumes as a stack, each put in place alone."""
    frames = [single_frame(read_object(open_source(path))) for path in sorted(folder.glob("*.dcm"))]
    volumes = [place(frames[3 * t : 3 * t + 3], Reading()) for t in range(len(BVALUES))]
    return volumes[0]._replace(volumes=tuple(each.volumes[0] for each in volumes))


def world(found: Gradients, where: AffineMatrix | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return directions in the world (RAS) from FSL's convention."""
    matrix = np.array(where.rows if isinstance(where, AffineMatrix) else where)[:3, :3]
    axes = matrix / np.linalg.norm(matrix, axis=0)
    vectors = np.array(found.bvecs)
    if np.linalg.det(matrix) > 0:
        vectors = vectors * [-1, 1, 1]
    return np.asarray(vectors @ axes.T)


@pytest.mark.parametrize("kind", [*KINDS, "left-handed", "permuted"])
@pytest.mark.parametrize("maker", MAKERS)
def test_directions_of_makers(tmp_path: Path, maker: str, kind: str) -> None:
    where = KINDS.get(kind) or AFFINES[kind]
    write(tmp_path, where, MAKERS[maker])
    stack = stack_of(tmp_path)
    found = gradients(stack)
    assert found is not None
    assert found.bvals == BVALUES
    directions = world(found, stack.affine)
    if maker == "siemens_matrix":
        directions *= np.sign((directions * DIRECTIONS).sum(axis=1, keepdims=True))
    assert np.allclose(directions, DIRECTIONS, atol=1e-5)
    left = where.determinant < 0
    flipped = AffineMatrix(np.array(stack.affine.rows) @ np.diag([1, 1, -1, 1]))
    turned_round = gradients(stack._replace(affine=flipped))
    assert turned_round is not None and (flipped.determinant < 0 or left)
    if maker != "siemens_matrix":
        assert np.allclose(world(turned_round, flipped), DIRECTIONS, atol=1e-5)


def test_of_one_frame(tmp_path: Path) -> None:
    """b = 0 has no direction, nor has a trace; a direction is a unit vector, LPS."""
    write(tmp_path, KINDS["axial"], siemens)
    files = sorted(tmp_path.glob("*.dcm"))
    assert weighting(single_frame(read_object(open_source(files[0])))) == (0.0, None)
    value, direction = weighting(single_frame(read_object(open_source(files[3])))) or (0, None)
    assert value == 1000 and direction is not None
    assert np.allclose(direction, np.array(DIRECTIONS[1]) * [-1, -1, 1])


def _one(tmp_path: Path, say: Callable[[Any], None], **values: Any) -> Any:
    made = dataset(np.zeros((4, 5), np.uint16), **geometry(KINDS["axial"], 0), **values)
    say(made)
    return weighting(single_frame(read_object(open_source(save(made, tmp_path / "one.dcm")))))


def test_what_has_no_direction(tmp_path: Path) -> None:
    def trace(found: Any) -> None:
        siemens(found, 1000, np.array([0, 0, 1.0]), KINDS["axial"])
        found.private_block(0x19, "SIEMENS MR HEADER").add_new(0x0D, "CS", "ISOTROPIC")

    def isotropic(found: Any) -> None:
        philips(found, 800, np.array([0, 0, 1.0]), KINDS["axial"])
        found.private_block(0x2001, "Philips Imaging DD 001").add_new(0x04, "CS", "I")

    def said(found: Any) -> None:
        standard(found, 500, np.array([0, 0, 1.0]), KINDS["axial"])
        found.DiffusionDirectionality = "ISOTROPIC"

    def round_matrix(found: Any) -> None:
        fields = {"A": ["1"], "B_value": ["900"], "B_matrix": ["300", "0", "0", "300", "0", "300"]}
        found.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa(fields))

    assert _one(tmp_path, trace) == (1000, None)
    assert _one(tmp_path, isotropic) == (800, None)
    assert _one(tmp_path, said) == (500, None)
    assert _one(tmp_path, round_matrix) == (900, None)
    assert _one(tmp_path, lambda found: None) is None


def test_a_trace_among_directions_is_told(tmp_path: Path) -> None:
    """It stays where it is: a tensor fit has to leave it out."""

    def with_trace(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
        siemens(found, value, lps, where)
        if value == 700:
            found.private_block(0x19, "SIEMENS MR HEADER").add_new(0x0D, "CS", "ISOTROPIC")

    def traces(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
        siemens(found, value, lps, where)
        found.private_block(0x19, "SIEMENS MR HEADER").add_new(0x0D, "CS", "ISOTROPIC")

    told = []
    for number, say in enumerate((siemens, with_trace, traces)):
        write(tmp_path / f"{number}", KINDS["axial"], say)
        header = open_backend(tmp_path / f"{number}").header
        assert header.gradients is not None and header.gradients.bvals == BVALUES
        told.append([text for text in header.warnings if "without a direction" in text])
    assert told[0] == told[2] == []
    assert len(told[1]) == 1 and told[1][0].startswith("volume 2 (from 0): diffusion-weighted without")


def test_damaged_values(tmp_path: Path) -> None:
    """Numbers that are none, negative b-values, damaged headers: nothing is said, nothing is raised."""

    def damaged(found: Any) -> None:
        found.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"SV10" + b"\xff" * 60)

    def negative(found: Any) -> None:
        found.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", -5)

    def endless(found: Any) -> None:
        found.DiffusionBValue, found.DiffusionGradientOrientation = 1000.0, [float("nan"), 0.0, 1.0]

    def short(found: Any) -> None:
        found.DiffusionBValue, found.DiffusionGradientOrientation = 1000.0, [0.0, 1.0]

    assert _one(tmp_path, damaged) is None
    assert _one(tmp_path, negative) == (0.0, None)
    assert _one(tmp_path, endless) == (1000.0, None)
    assert _one(tmp_path, short) == (1000.0, None)


def test_series_without_weighting(tmp_path: Path) -> None:
    """All b = 0 is no diffusion; one volume that says nothing leaves all unsaid."""
    where = KINDS["axial"]
    write(tmp_path / "zero", where, lambda found, value, lps, where: philips(found, 0, lps * 0, where))
    assert gradients(stack_of(tmp_path / "zero")) is None
    write(tmp_path / "some", where, lambda found, value, lps, where: value and standard(found, value, lps, where))
    assert gradients(stack_of(tmp_path / "some")) is None


# GE


def ge(phase: str, *, wrap: int = 0, scale: float = 1.0, total: int = 30) -> Say:
    """Write (frequency, phase, slice) numbers, the same whatever the orientation, and a wrapped b-value."""

    def say(found: Any, value: float, lps: np.ndarray[Any, Any], where: AffineMatrix) -> None:
        found.Manufacturer, found.InPlanePhaseEncodingDirection = "GE MEDICAL SYSTEMS", phase
        block = found.private_block(0x43, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "IS", [wrap + int(value), 8, 0, 0])
        block = found.private_block(0x19, "GEMS_ACQU_01", create=True)
        for low, part in zip((0xBB, 0xBC, 0xBD), lps * scale, strict=True):
            block.add_new(low, "DS", f"{part:.6f}")
        block.add_new(0xE0, "DS", str(total))

    return say


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
@pytest.mark.parametrize("phase", ["COL", "ROW"])
@pytest.mark.parametrize("kind", KINDS)
def test_ge_signs(tmp_path: Path, kind: str, phase: str, order: int) -> None:
    """Rows are frequency or phase; signs as dcm2niix found them, however slices are numbered."""
    where = KINDS[kind]
    write(tmp_path, where, ge(phase), order=order)
    stack = stack_of(tmp_path)
    found = gradients(stack)
    assert found is not None and found.bvals == BVALUES
    axes = np.array(stack.affine.rows)[:3, :3]
    axes /= np.linalg.norm(axes, axis=0)
    along = world(found, stack.affine) @ axes  # row, column, slice
    for t in range(1, 4):
        x, y, z = np.diag([-1.0, -1.0, 1.0]) @ np.array(DIRECTIONS[t])
        if phase == "ROW":
            x, y = y, -x
        signs = {"axial": (-1, -1, 1), "coronal": (-1, 1, 1), "sagittal": (1, 1, -1)}[kind]
        expected = np.array(signs) * [x, y, z]
        assert np.allclose(along[t], expected, atol=1e-5)


def test_ge_values(tmp_path: Path) -> None:
    """b-values are wrapped; short vectors scale them; without a vector it is b = 0, or a trace."""
    lps = np.array([0.6, 0.0, 0.8])

    def written(**values: Any) -> Callable[[Any], None]:
        scale = values.pop("scale", 1.0)
        return lambda found: ge("COL", scale=scale, **values)(found, 750, lps, KINDS["axial"])

    assert _one(tmp_path, written(wrap=1_000_000_000))[0] == 750
    assert _one(tmp_path, written(wrap=1_000_000))[0] == 750
    value, direction = _one(tmp_path, written(scale=0.5))
    assert value == 190 and np.isclose(np.linalg.norm(direction), 1)
    assert _one(tmp_path, written(scale=0.0)) == (0.0, None)
    assert _one(tmp_path, written(scale=0.0, total=0)) == (750, None)


def test_ge_without_phase_encoding(tmp_path: Path) -> None:
    """Directions that cannot be placed are not guessed; the b-values still order volumes."""
    write(tmp_path, KINDS["axial"], ge("OTHER"))
    stack = stack_of(tmp_path)
    assert [weighting(volume[0]) for volume in stack.volumes] == [(value, None) for value in BVALUES]
    assert gradients(stack) is None


# against dcm2niix


def converted(folder: Path, out: Path) -> tuple[Gradients, np.ndarray[Any, Any]]:
    """Return the gradients that dcm2niix writes for a folder, and the affine of its image."""
    import nibabel

    out.mkdir()
    subprocess.run(["dcm2niix", "-b", "y", "-z", "n", "-f", "a", "-o", out, folder], check=True, capture_output=True)
    values = np.loadtxt(out / "a.bval", ndmin=1)
    vectors = np.loadtxt(out / "a.bvec").T
    return Gradients(tuple(values), tuple(map(tuple, vectors))), nibabel.load(out / "a.nii").affine


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("maker", [*MAKERS, "ge COL", "ge ROW", "ge COL down", "ge ROW down", "ge scaled"])
def test_as_dcm2niix(tmp_path: Path, maker: str) -> None:
    """Directions in the world are the same, with their signs (the b-matrix has none)."""
    pytest.importorskip("nibabel")
    if maker == "siemens_matrix":
        pytest.skip("dcm2niix does not read the b-matrix of Siemens")
    for kind, where in KINDS.items():
        words = maker.split()
        say = MAKERS.get(maker) or ge(
            words[1] if words[1] != "scaled" else "COL", scale=0.7 if "scaled" in words else 1
        )
        write(tmp_path / kind, where, say, order=-1 if "down" in words else 1)
        theirs, their_affine = converted(tmp_path / kind, tmp_path / f"{kind}-out")
        stack = stack_of(tmp_path / kind)
        ours = gradients(stack)
        assert ours is not None
        assert ours.bvals == theirs.bvals, kind
        off = 5e-3 if "scaled" in words else 2e-5  # its vectors are not quite of length 1 then
        assert np.allclose(world(ours, stack.affine), world(theirs, their_affine), atol=off), kind


# mosaics


def test_mosaics_carry_their_weighting(tmp_path: Path) -> None:
    """A series of mosaics is one image with gradients, and the tiles of each say the same."""
    where = affine((3, -8, 5), flips=(-1, -1, 1))
    for t, value in enumerate(BVALUES):
        array = np.random.default_rng(t).integers(0, 4096, (6, 4, 5), dtype=np.uint16)
        lps = np.diag([-1.0, -1.0, 1.0]) @ np.array(DIRECTIONS[t])
        found = made(array, where, InstanceNumber=t + 1, AcquisitionNumber=t + 1)
        siemens(found, value, lps, where)
        save(found, tmp_path / f"{t}.dcm")
        tiles = frames_of(read_object(open_source(tmp_path / f"{t}.dcm")))
        assert len({weighting(tile) for tile in tiles}) == 1
    header = open_backend(tmp_path).header
    assert header.shape == (4, 6, 4, 5)
    assert header.gradients is not None
    assert header.gradients.bvals == BVALUES
    assert np.allclose(world(header.gradients, header.affine), DIRECTIONS, atol=1e-5)


# real files


def shipped(name: str, tmp_path: Path) -> Path:
    """Return a file that nibabel ships with its tests, unpacked."""
    nibabel = pytest.importorskip("nibabel")
    packed = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / f"{name}.dcm.gz"
    if not packed.exists():
        pytest.skip("this nibabel ships no files")
    path = tmp_path / "series" / f"{name}.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.mark.filterwarnings("ignore")
def test_siemens_as_nibabel_reads_it(tmp_path: Path) -> None:
    """One scan of a Siemens as mosaics, b = 0 and 1000: direction and affine are nibabel's, voxels are the tiles."""
    wrappers = pytest.importorskip("nibabel.nicom.dicomwrappers")
    paths = [shipped(f"siemens_dwi_{value}", tmp_path) for value in (0, 1000)]
    backend = open_backend(tmp_path / "series")
    header = backend.header
    assert header.shape == (2, 128, 128, 48)
    assert header.gradients is not None and header.gradients.bvals == (0, 1000)
    found = backend.read(whole(header.shape))
    for t, path in enumerate(paths):
        theirs = wrappers.wrapper_from_file(path)
        assert same_world(found[t : t + 1], header.affine, theirs.get_data().swapaxes(0, 1)[None], _ras(theirs)) is None
    direction = np.diag([-1, -1, 1]) @ theirs.rotation_matrix @ theirs.b_vector  # from the b-matrix: no sign
    assert abs(abs(world(header.gradients, header.affine)[1] @ direction) - 1) < 1e-5


def _ras(theirs: Any) -> AffineMatrix:
    """Return the affine of nibabel's wrapper, whose first axis runs along columns, for the axes of an image."""
    return AffineMatrix(np.diag([-1.0, -1.0, 1.0, 1.0]) @ theirs.affine[:, [1, 0, 2, 3]])


@pytest.mark.skipif(DATA is None, reason="no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
def test_enhanced_philips_as_dcm2niix(tmp_path: Path) -> None:
    """Six directions, their b = 0, and the mean of them, which has no direction (dcm2niix leaves that out)."""
    assert DATA is not None
    header = open_backend(DATA / "yarikoptic+nitest-balls1" / "DICOM" / "DTI.dcm").header
    assert header.gradients is not None
    assert sorted(header.gradients.bvals) == [0, *[1000] * 7]
    found = {tuple(np.round(each, 3) + 0.0) for each in world(header.gradients, header.affine)}
    third, half = 1 / 3, 0.5**0.5
    expected = np.array([
        [third, 2 * third, -2 * third], [2 * third, third, 2 * third], [-2 * third, 2 * third, third],
        [half, half, 0], [0, half, half], [-half, 0, half], [0, 0, 0],
    ])  # fmt: skip
    assert found == {tuple(np.round(each, 3) + 0.0) for each in expected}

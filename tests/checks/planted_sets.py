"""Pairs and sets with and without a fault."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from tests.checks.planting import Case, Planted
from tests.helpers import AFFINES

Array = np.ndarray[Any, Any]

OBLIQUE = np.array(AFFINES["left-handed"].rows)
SHAPE = (7, 6, 5)
BIDS = {"pair": ("anat/*_T1w.nii.gz", "{dir}/{1}_dseg.nii.gz")}
PAIR = {"pair": ("images/*.nii.gz", "labels/{name}")}
NNUNET = {"pair": ("imagesTr/*_0000.nii.gz", "labelsTr/{1}.nii.gz")}


def save(path: Path, array: Array, affine: Array = OBLIQUE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def ramp(shape: Sequence[int] = SHAPE, dtype: str = "int16", seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(dtype)


def mask(shape: Sequence[int] = SHAPE, dtype: str = "uint8") -> Array:
    array = np.zeros(shape, dtype)
    array[2:4, 1:3, 1:4] = 1
    return array


def moved(affine: Array, voxels: Sequence[float]) -> Array:
    shift = np.eye(4)
    shift[:3, 3] = voxels
    return affine @ shift


def turned(array: Array, affine: Array, codes: str) -> nib.Nifti1Image:
    """Return the same image in another order of storage, as nibabel makes it."""
    image = nib.Nifti1Image(array, affine)
    way = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    return image.as_reoriented(way)


# -- pairs ----------------------------------------------------------------------------------------------------------


def pair(label: Callable[[Path], object], name: str = "a.nii.gz") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        save(folder / "images" / name, ramp())
        (folder / "labels").mkdir()
        label(folder / "labels" / name)

    return make


def labelled(array: Array | None = None, affine: Array = OBLIQUE) -> Callable[[Path], object]:
    return lambda path: save(path, mask() if array is None else array, affine)


def reoriented(codes: str) -> Callable[[Path], object]:
    return lambda path: nib.save(turned(mask(), OBLIQUE, codes), path)


def by_itk(path: Path) -> None:
    """Write the label map with SimpleITK, from the image that is there."""
    image = sitk.ReadImage(str(path.parent.parent / "images" / path.name))
    label = sitk.GetImageFromArray(mask().T.copy())
    label.CopyInformation(image)
    sitk.WriteImage(label, str(path))


def cropped_elsewhere(folder: Path) -> list[Path]:
    """Only the images are given; the label map is found on disk."""
    image = save(folder / "images" / "a.nii.gz", ramp())
    save(folder / "labels" / "a.nii.gz", mask((7, 6, 4)))
    return [image]


def no_image(folder: Path) -> list[Path]:
    image = save(folder / "images" / "a.nii.gz", ramp())
    (folder / "labels").mkdir()
    (folder / "labels" / "a.nii.gz").write_bytes(b"no image")
    return [image]


def nnunet(folder: Path, label: str = "case_1.nii.gz") -> None:
    for channel in (0, 1):
        save(folder / "imagesTr" / f"case_1_000{channel}.nii.gz", ramp(seed=channel))
    save(folder / "labelsTr" / label, mask())


def laid(*files: tuple[str, Array]) -> Callable[[Path], None]:
    """Write files, all on one grid."""

    def make(folder: Path) -> None:
        for name, array in files:
            save(folder / name, array)

    return make


def one_without(folder: Path) -> None:
    for name in "ab":
        save(folder / "images" / f"{name}.nii.gz", ramp(seed=ord(name)))
    save(folder / "labels" / "a.nii.gz", mask())


def pictures(folder: Path) -> None:
    save(folder / "images" / "a.nii.gz", ramp())
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"][2:4] = 255
    save(folder / "labels" / "a.nii.gz", colours)


def given_labels_only(folder: Path) -> list[Path]:
    save(folder / "images" / "a.nii.gz", ramp())
    return [save(folder / "labels" / "a.nii.gz", mask())]


def beside(folder: Path) -> None:
    """The pattern of images matches label maps too."""
    save(folder / "sub-1" / "scan.nii.gz", ramp())
    save(folder / "sub-1" / "scan_seg.nii.gz", mask())


# -- sets -----------------------------------------------------------------------------------------------------------


def many(
    odd: Callable[[Path], object] | None, *, count: int = 9, spacings: Sequence[float] = (1.0,), shape: Any = SHAPE
) -> Callable[[Path], None]:
    """Make a set of images, and one more that ``odd`` writes."""

    def make(folder: Path) -> None:
        for n in range(count):
            scale = np.diag([spacings[n % len(spacings)]] * 3 + [1.0])
            here = shape(n) if callable(shape) else shape
            save(folder / f"sub-{n:02}" / f"sub-{n:02}_T1w.nii.gz", ramp(here, seed=n), OBLIQUE @ scale)
        if odd is not None:
            (folder / "sub-99").mkdir()
            odd(folder / "sub-99" / "sub-99_T1w.nii.gz")

    return make


def with_spacing(*factors: float) -> Callable[[Path], object]:
    return lambda path: save(path, ramp(seed=99), OBLIQUE @ np.diag([*factors, 1.0]))


def of_shape(*shape: int) -> Callable[[Path], object]:
    return lambda path: save(path, ramp(shape, seed=99))


def of_type(dtype: str) -> Callable[[Path], object]:
    return lambda path: save(path, ramp(dtype=dtype, seed=99))


def stored(codes: str) -> Callable[[Path], object]:
    return lambda path: nib.save(turned(ramp(seed=99), OBLIQUE, codes), path)


def other_kind(path: Path) -> None:
    save(path.with_name("sub-99_bold.nii.gz"), ramp((4, 4, 3, 5)), OBLIQUE @ np.diag([3.0, 3, 3, 1]))


# -- names and copies -----------------------------------------------------------------------------------------------


def names(*files: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for n, name in enumerate(files):
            save(folder / name, ramp(seed=n))

    return make


def copies(change: Callable[[Array], Array], name: str = "b.nii", first: Array | None = None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        array = ramp() if first is None else first
        save(folder / "a.nii.gz", array)
        save(folder / name, change(array.copy()), moved(OBLIQUE, (3, 0, -2)))

    return make


def copy_by_itk(folder: Path) -> None:
    save(folder / "a.nii.gz", ramp())
    image = sitk.ReadImage(str(folder / "a.nii.gz"))
    turned = sitk.DICOMOrient(sitk.Cast(image, sitk.sitkFloat64), "PIR")
    sitk.WriteImage(turned, str(folder / "other.mha"), useCompression=True)


def scaled_copy(folder: Path) -> None:
    array = ramp()
    save(folder / "a.nii.gz", array.astype("float64") * 0.5 - 3)
    image = nib.Nifti1Image(array, OBLIQUE)
    image.header.set_slope_inter(0.5, -3)
    image.header.set_data_dtype("int16")
    raw = nib.Nifti1Image(array, OBLIQUE)
    nib.save(raw, folder / "b.nii")
    data = bytearray((folder / "b.nii").read_bytes())
    data[112:120] = np.array([0.5, -3], "<f4").tobytes()  # scl_slope, scl_inter
    (folder / "b.nii").write_bytes(data)


def two_voxels(array: Array) -> Array:
    array[1, 2, 3], array[4, 5, 0] = array[4, 5, 0], array[1, 2, 3]  # same range, same count
    return array


def blank(folder: Path) -> None:
    for name in ("a", "b"):
        save(folder / f"{name}_seg.nii.gz", np.zeros(SHAPE, "uint8"))
        save(folder / f"{name}.nii.gz", np.full(SHAPE, 7, "int16"))


def converted(folder: Path) -> None:
    import medimg_cli as mi

    save(folder / "a.nii.gz", ramp(), np.diag((-1.0, -1.0, 1.5, 1.0)))
    mi.ScalarImage(folder / "a.nii.gz").save_dicom(folder / "series")


def linked(folder: Path) -> None:
    save(folder / "a.nii.gz", ramp())
    (folder / "b.nii.gz").symlink_to(folder / "a.nii.gz")


# -- left and right -------------------------------------------------------------------------------------------------


def head(
    spacing: Sequence[float], extent: Sequence[float] = (160, 200, 150), tilt: float = 6, lopsided: bool = True
) -> Any:
    """Return tissue, intensities of which are up to a modality, and the affine: RAS, axes permuted as i = P, j = S, k = R.

    An ellipsoid with a shell, ventricles, a big lesion on the right, and a head turned to one side.
    """
    shape = [round(extent[axis] / spacing[axis]) for axis in (1, 2, 0)]
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -spacing[1], spacing[2], spacing[0], 1
    affine[:3, 3] = [-extent[0] / 2, extent[1] / 2, -extent[2] / 2]
    points = np.einsum("ab,bijk->aijk", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    angle = np.radians(tilt)
    x, y, z = points
    x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y

    def ball(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> Array:
        inside: Array = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1
        return inside

    tissue = np.zeros(shape, "uint8")
    tissue[ball(0, 0, 0, 70, 88, 66)] = 1
    tissue[ball(0, 0, 5, 62, 79, 56)] = 2
    tissue[ball(-13, 5, 12, 8, 28, 12) | ball(13, 5, 12, 8, 28, 12)] = 3
    if lopsided:
        tissue[ball(34, -30, 10, 20, 24, 18)] = 4
        tissue[ball(-40, 40, -10, 9, 14, 12)] = 3
    return tissue, affine


def contrast(tissue: Array, levels: Sequence[int], seed: int) -> Array:
    noise = np.random.default_rng(seed).normal(0, 12, tissue.shape)
    return (np.array(levels)[tissue] + noise).astype("int16")


T1, T2, EPI = (5, 300, 700, 150, 420), (5, 200, 350, 900, 760), (20, 90, 600, 800, 300)


def subject(
    *,
    flip: str = "",
    tilt: float = 6,
    lopsided: bool = True,
    layout: Mapping[str, str] | None = None,
    turn: str = "LPI",
) -> Callable[[Path], None]:
    """Make images of one head in three contrasts, spacings and orders; flip the voxels of one, not its affine."""
    layout = layout or {name: f"sub-1/anat/sub-1_{name}.nii.gz" for name in ("T1w", "T2w", "bold")}

    def make(folder: Path) -> None:
        for n, (name, levels, spacing) in enumerate(
            (("T1w", T1, (1.6, 2.0, 1.5)), ("T2w", T2, (2.5, 2.0, 4.0)), ("bold", EPI, (4.0, 3.5, 3.0)))
        ):
            tissue, affine = head(spacing, tilt=tilt, lopsided=lopsided)
            image = turned(contrast(tissue, levels, n), affine, turn if name == "T2w" else "PSR")
            array = np.asarray(image.dataobj)
            if name == flip:
                axis = next(n for n, code in enumerate(nib.aff2axcodes(image.affine)) if code in "LR")
                array = np.flip(array, axis)
            if name in layout:
                save(folder / layout[name], array, image.affine)

    return make


def two_people(folder: Path) -> None:
    """Images of two subjects, one of them mirrored, are not compared."""
    subject(layout={"T1w": "sub-1/sub-1_T1w.nii.gz", "T2w": "sub-2/sub-2_T2w.nii.gz"}, flip="T2w")(folder)


CHANNELS = {"T1w": "imagesTr/case_0000.nii.gz", "T2w": "imagesTr/case_0001.nii.gz"}
FOLDER = {"T1w": "case 7/first.nii.gz", "bold": "case 7/second.nii.gz"}


def everything_twice(folder: Path) -> None:
    save(folder / "x" / "a.nii.gz", ramp())
    shutil.copy(folder / "x" / "a.nii.gz", folder / "b.nii.gz")


PLANTED: dict[str, Planted] = {
    "S001": Planted(
        (
            Case("fewer-slices", pair(labelled(mask((7, 6, 4)))), "7 x 6 x 4 voxels, its image 7 x 6 x 5", PAIR),
            Case("half-a-voxel", pair(labelled(affine=moved(OBLIQUE, (0.5, 0, 0)))), "0.45 mm (0.5 voxels)", PAIR),
            Case("flipped-affine", pair(labelled(affine=OBLIQUE @ np.diag([-1, 1, 1, 1.0]))), "apart", PAIR),
            Case("label-on-disk-only", cropped_elsewhere, "7 x 6 x 4", PAIR),
            Case("turned-and-moved", pair(lambda path: nib.save(turned(mask(), moved(OBLIQUE, (0, 1, 0)), "PIR"), path)), "1.25 mm", PAIR),
        ),
        (
            Case("same", pair(labelled()), wishes=PAIR),
            Case("a-twentieth-of-a-voxel", pair(labelled(affine=moved(OBLIQUE, (0, 0.05, 0)))), wishes=PAIR),
            Case("other-order", pair(reoriented("PIR")), wishes=PAIR),
            Case("by-itk", pair(by_itk), wishes=PAIR),
            Case("four-dimensions", laid(("images/a.nii.gz", ramp((7, 6, 5, 3))), ("labels/a.nii.gz", mask())), wishes=PAIR),
        ),
    ),
    "S002": Planted(
        (
            Case("other-order", pair(reoriented("PIR")), "it is stored PIR", PAIR),
            Case("flipped", pair(reoriented("RPS")), "same places in another order", PAIR),
        ),
        (
            Case("same", pair(labelled()), wishes=PAIR),
            Case("flipped-affine", pair(labelled(affine=OBLIQUE @ np.diag([-1, 1, 1, 1.0]))), wishes=PAIR),
        ),
    ),
    "S003": Planted(
        (
            Case("a-twentieth-of-a-voxel", pair(labelled(affine=moved(OBLIQUE, (0, 0.05, 0)))), "0.0625 mm", PAIR),
            Case("rounded", pair(labelled(affine=np.round(OBLIQUE, 2))), "apart in the worst corner", PAIR),
        ),
        (
            Case("a-hundredth-of-a-voxel", pair(labelled(affine=moved(OBLIQUE, (0.005, 0, 0)))), wishes=PAIR),
            Case("half-a-voxel", pair(labelled(affine=moved(OBLIQUE, (0.5, 0, 0)))), wishes=PAIR),
        ),
    ),
    "S004": Planted(
        (
            Case("one-without", one_without, "its label map is missing", PAIR),
            Case("nnunet-other-name", lambda folder: nnunet(folder, "case_2.nii.gz"), "case_1.nii.gz", NNUNET),
            Case("not-an-image", no_image, "its label map cannot be opened", PAIR),
        ),
        (
            Case("nnunet", nnunet, wishes=NNUNET),
            Case("label-maps-match-the-pattern", beside, wishes={"pair": ("*.nii.gz", "{stem}_seg.nii.gz")}),
            Case("no-pattern", one_without),
            Case("bids", laid(("x/anat/sub-1_T1w.nii.gz", ramp()), ("x/anat/sub-1_dseg.nii.gz", mask())), wishes=BIDS),
        ),
    ),
    "S005": Planted(
        (
            Case("nnunet-other-name", lambda folder: nnunet(folder, "case_2.nii.gz"), "no image has this label map", NNUNET),
            Case("slip", laid(("images/a.nii.gz", ramp()), ("labels/a.nii.gz", mask()), ("labels/A1.nii.gz", mask())), "no image", PAIR),
        ),
        (
            Case("image-on-disk-only", given_labels_only, wishes=PAIR),
            Case("nnunet", nnunet, wishes=NNUNET),
        ),
    ),
    "S006": Planted(
        (
            Case("colours", pictures, "colours", PAIR),
            Case("channels", pair(labelled(np.stack([mask()] * 3, -1))), "3 values a voxel", PAIR),
            Case("complex", pair(labelled(mask(dtype="complex64"))), "complex", PAIR),
        ),
        (
            Case("floats", pair(labelled(mask(dtype="float32"))), wishes=PAIR),
            Case("fourth-axis-of-one", pair(labelled(mask()[..., np.newaxis])), wishes=PAIR),
        ),
    ),
    "S101": Planted(
        (
            Case("thick-slices", many(with_spacing(1, 1, 2)), "usual of 10 images of its kind: voxels of"),
            Case("a-fifth-more", many(with_spacing(1.2, 1, 1)), "1.08"),
        ),
        (
            Case("a-tenth-more", many(with_spacing(1.1, 1, 1))),
            Case("too-few", many(with_spacing(1, 1, 2), count=6)),
            Case("all-differ", many(with_spacing(1.5, 1.5, 1.5), spacings=(1, 1.3, 0.8, 1.6, 1.1))),
            Case("another-kind", many(other_kind)),
            Case("another-order", many(stored("SLP"))),
        ),
    ),
    "S102": Planted(
        (
            Case("cut-off", many(of_shape(7, 6, 2)), "7 x 6 x 2 voxels, usual of 10 images of its kind: 7 x 6 x 5 voxels"),
            Case("runs-cut-off", many(of_shape(7, 6, 5, 4), shape=(7, 6, 5, 12)), "in 4 channels"),
        ),
        (
            Case("one-more", many(of_shape(7, 6, 6))),
            Case("all-differ", many(of_shape(10, 9, 8), shape=lambda n: (5 + n, 4 + n, 3 + n % 5))),
            Case("too-few", many(of_shape(7, 6, 2), count=6)),
        ),
    ),
    "S103": Planted(
        (
            Case("one-turned", many(stored("RAS"), count=10), "10 of 11 images of its kind have"),
            Case("one-permuted", many(stored("PIR"), count=10), "stored PIR"),
        ),
        (
            Case("all-agree", many(None, count=10)),
            Case("too-few", many(stored("RAS"), count=6)),
        ),
    ),
    "S104": Planted(
        (
            Case("float", many(of_type("float32"), count=10), "its type is float32"),
            Case("unsigned", many(of_type("uint16"), count=10), "its type is uint16"),
        ),
        (
            Case("all-agree", many(None, count=10)),
            Case("too-few", many(of_type("float32"), count=6)),
        ),
    ),
    "S105": Planted(
        (
            Case("compression", names("a.nii", "a.nii.gz"), "compression only"),
            Case("case", names("Scan.nii.gz", "scan.nii.gz"), "case only"),
        ),
        (
            Case("other-folder", names("x/a.nii", "y/a.nii.gz")),
            Case("longer", names("a.nii", "a1.nii.gz", "a_b.nii.gz")),
        ),
    ),
    "S106": Planted(
        (
            Case("copy", everything_twice, "holds the same values as"),
            Case("itk-float-turned", copy_by_itk, "a.nii.gz"),
            Case("other-type-and-place", copies(lambda array: array.astype("float32"))),
            Case("scaled", scaled_copy),
            Case("masks", copies(lambda array: array, first=mask())),
        ),
        (
            Case("two-voxels", copies(two_voxels)),
            Case("blank", blank),
            Case("link", linked),
            Case("converted", converted),
            Case("mirrored", copies(lambda array: array[::-1])),
            Case("masks-of-one-size", copies(lambda array: np.roll(array, 1, 0), first=mask())),
        ),
    ),
    "S107": Planted(
        (
            Case("bids", subject(flip="T2w"), "mirrored, they fit"),
            Case("the-largest", subject(flip="T1w"), "mirrored, they fit"),
            Case("nnunet", subject(flip="T2w", layout=CHANNELS), "case_0000.nii.gz of the same subject"),
            Case("folder", subject(flip="bold", layout=FOLDER), "first.nii.gz"),
        ),
        (
            Case("as-they-are", subject()),
            Case("nnunet", subject(layout=CHANNELS)),
            Case("symmetric", subject(flip="T2w", tilt=0, lopsided=False)),
            Case("two-people", two_people),
            Case("turned-only", subject(turn="RIA")),
        ),
    ),
}  # fmt: skip

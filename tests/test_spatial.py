"""`check_spatial` finds every mistake that is made on purpose here, and nothing in what is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.errors import UsageError
from medimg_cli.interop import to_monai, to_nibabel, to_sitk, to_xarray
from medimg_cli.spatial import RULES, Finding, check_spatial
from tests.helpers import AFFINES, KINDS, make, turned

SHAPE = (2, 5, 4, 3)
OBLIQUE = AFFINES["left-handed"].numpy()


class Scan:
    """A proper image that has everything: what the wrong ones are made from."""

    def __init__(self, array: Any = None, affine: Any = OBLIQUE, **wrong: Any) -> None:
        array = np.zeros(SHAPE, "int16") if array is None else array
        place = mi.AffineMatrix(affine)
        self.array, self.shape, self.spatial_shape, self.dtype = array, array.shape, array.shape[-3:], array.dtype
        self.affine, self.orientation = affine, place.orientation
        self.origin, self.spacing, self.direction = place.origin, place.spacing, np.array(place.direction)
        self.__dict__.update(wrong)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.array

    def __getitem__(self, index: Any) -> Any:
        image = mi.Image(np.zeros(SHAPE), affine=self.affine)[index]
        return Scan(np.zeros(image.shape), image.affine.numpy())


def codes(thing: Any, convention: str = "ras") -> list[str]:
    return [finding.code for finding in check_spatial(thing, convention)]


def only(thing: Any, code: str, *words: str, convention: str = "ras") -> None:
    """Ask for one finding with words in its message."""
    found = check_spatial(thing, convention)
    assert [each.code for each in found] == [code], found
    (finding,) = found
    assert isinstance(finding, Finding)
    assert (finding.severity, finding.reason) == (RULES[code].severity, RULES[code].reason)
    assert finding.severity in ("error", "warning")
    assert finding.message in str(finding)
    assert "\n" not in finding.message
    for word in words:
        assert word in finding.message, finding.message


# what is right


@pytest.mark.parametrize("affine", [place for name, place in AFFINES.items() if name != "sheared"])
def test_what_is_right_is_right(affine: mi.AffineMatrix) -> None:
    assert check_spatial(Scan(affine=affine.numpy())) == []
    assert check_spatial(Scan(affine=affine)) == [], "affines of ours are matrices, too"


@pytest.mark.parametrize("parts", [("affine",), ("origin", "spacing", "direction")])
def test_one_of_two_ways_to_say_where_is_enough(parts: tuple[str, ...]) -> None:
    whole = Scan()
    names = ("shape", *parts)
    assert check_spatial(SimpleNamespace(**{name: getattr(whole, name) for name in names})) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "sheared"])
def test_images_of_ours_conform(kind: str, tmp_path: Path) -> None:
    image = mi.Image(make(kind))
    assert check_spatial(image) == []
    image.save(tmp_path / "a.nii.gz")
    lazy = mi.Image(tmp_path / "a.nii.gz")
    assert check_spatial(lazy) == []
    assert not lazy.is_loaded, "to look at an image is not to change it"


def test_every_rule_has_a_test_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [code for code in RULES if text.count(f'"{code}"') == 0] == []
    for code, rule in RULES.items():
        assert (code[:2], len(code), rule.severity in ("error", "warning")) == ("SP", 5, True)
        assert len(rule.reason) > 20
        assert not rule.reason.endswith(".")


# what is wrong, one mistake at a time


def sliced(take: Callable[[Any, Any], Any]) -> Any:
    """Return a scan whose index goes wrong."""

    class Wrong(Scan):
        def __getitem__(self, index: Any) -> Any:
            return take(self, index)

    return Wrong()


def stale_spacing(scan: Scan, index: Any) -> Any:
    """Forget the step, as TorchIO did."""
    right = Scan.__getitem__(scan, index)
    step = next((each.step for each in index if isinstance(each, slice) and (each.step or 1) > 1), None)
    return Scan(right.array, OBLIQUE) if step else right


def same_end(scan: Scan, index: Any) -> Any:
    """Turn an axis round, but not its origin, as nibabel's slicer does."""
    right = Scan.__getitem__(scan, index)
    if not any(isinstance(each, slice) and (each.step or 1) < 0 for each in index):
        return right
    affine = right.affine.copy()
    affine[:3, 3] = OBLIQUE[:3, 3]
    return Scan(right.array, affine)


def same_origin(scan: Scan, index: Any) -> Any:
    """Cut without moving the origin."""
    right = Scan.__getitem__(scan, index)
    if not any(isinstance(each, slice) and each.start for each in index):
        return right
    affine = right.affine.copy()
    affine[:3, 3] = OBLIQUE[:3, 3]
    return Scan(right.array, affine)


LENGTHENED = np.array(mi.AffineMatrix(OBLIQUE).direction) * (1, 1, 2)
SKEWED = np.array([[1, 0.3, 0], [0, np.sqrt(1 - 0.09), 0], [0, 0, 1]])
PARTS = {"shape": SHAPE, "origin": (0.0, 0, 0), "spacing": (1.0, 1, 1), "direction": np.eye(3)}


def changed(**wrong: Any) -> Scan:
    """Return a proper image that was changed afterwards."""
    scan = Scan()
    scan.__dict__.update(wrong)
    return scan


def plain(**parts: Any) -> Any:
    """Return an object with these parts and a shape."""
    return SimpleNamespace(**{"shape": SHAPE, **parts})


WRONG: list[tuple[str, Any, tuple[str, ...]]] = [
    ("SP001", plain(), ("origin and spacing and direction are missing",)),
    ("SP001", plain(origin=(0.0, 0, 0), direction=np.eye(3)), ("spacing is missing, and no affine",)),
    ("SP002", SimpleNamespace(affine=OBLIQUE), ("shape is missing",)),
    ("SP101", Scan(origin=("a", 0, 0)), ("origin is ('a', 0, 0)", "expected numbers")),
    ("SP101", Scan(spacing=(1 + 2j, 1, 1)), ("expected numbers",)),
    ("SP101", Scan(spacing=(True, True, True)), ("expected numbers",)),
    ("SP101", Scan(spacing=[1.0, None, 2.0]), ("None",)),
    ("SP101", Scan(direction=[[1, 0, 0], [0, 1], [0, 0, 1]]), ("direction",)),
    ("SP102", Scan(origin=(0.0, 0.0)), ("origin has shape (2,)", "expected (3,)")),
    ("SP102", Scan(spacing=2.0), ("spacing has shape ()",)),
    ("SP102", Scan(direction=np.eye(4)), ("direction has shape (4, 4)", "expected (3, 3)")),
    ("SP103", Scan(origin=(0.0, np.nan, 0.0)), ("nan",)),
    ("SP103", Scan(spacing=(1.0, np.inf, 0.0)), ("inf",)),
    ("SP104", plain(affine=np.eye(3)), ("affine has shape (3, 3)", "expected (4, 4)")),
    ("SP105", plain(affine=OBLIQUE.T), ("(-37.5, 12.25, 81, 1)", "expected (0, 0, 0, 1)")),
    ("SP106", plain(affine=np.diag([1.0, 1, 0, 1])), ("one plane",)),
    ("SP107", Scan(direction=np.array(mi.AffineMatrix(OBLIQUE).direction).ravel()), ("9 numbers in a row",)),
    ("SP201", plain(**{**PARTS, "spacing": (1.0, -2, 1)}), ("(1, -2, 1)", "above 0")),
    ("SP201", plain(**{**PARTS, "spacing": (1.0, 0, 1)}), ("(1, 0, 1)",)),
    ("SP202", plain(**{**PARTS, "spacing": (9e-4, 9e-4, 3e-4)}), ("0.0009", "0.001 to 100 mm")),
    ("SP202", plain(affine=np.diag([900.0, 900, 3000, 1])), ("(900, 900, 3000)",)),
    ("SP203", Scan(units="m"), ("sizes are in m, expected mm",)),
    ("SP203", Scan(space_units="um"), ("um",)),
    ("SP301", plain(**{**PARTS, "direction": LENGTHENED}), ("(1, 1, 2)", "expected 1")),
    ("SP302", plain(**{**PARTS, "direction": SKEWED}), ("17.5 degrees off a right angle",)),
    ("SP302", plain(affine=AFFINES["sheared"].numpy()), ("9.03 degrees",)),
    ("SP401", Scan(spacing=(0.9, 1.25, 1.5)), ("spacing is (0.9, 1.25, 1.5), the affine says (0.9, 1.25, 3)",)),
    ("SP402", Scan(origin=(-37.5, 12.25, 80.0)), ("the affine says (-37.5, 12.25, 81)", "1 mm apart")),
    ("SP403", Scan(direction=np.array(turned(0, 0, 5)) @ mi.AffineMatrix(OBLIQUE).direction), ("in a cosine",)),
    ("SP403", Scan(direction=np.array(mi.AffineMatrix(OBLIQUE).direction).T), ("direction and the affine differ",)),
    ("SP404", Scan(direction=np.array(mi.AffineMatrix(OBLIQUE).direction) * (-1, 1, 1)), ("+1", "-1", "mirrored")),
    ("SP405", changed(affine=mi.AffineMatrix(OBLIQUE).to_lps().numpy(), orientation=None), ("RAS+ and LPS+",)),
    ("SP501", Scan(orientation=("R", "L", "S")), ("('R', 'L', 'S')",)),
    ("SP501", Scan(orientation="RA"), ("expected one letter each",)),
    ("SP501", Scan(orientation=3), ("is 3",)),
    ("SP502", Scan(orientation=("R", "A", "S")), ("orientation is RAS, the affine says LAS",)),
    ("SP601", Scan(shape=(2, 2, 5, 4, 3), spatial_shape=None), ("(2, 2, 5, 4, 3)", "(C, I, J, K)")),
    ("SP601", Scan(shape=(2, 5, 0, 3)), ("(2, 5, 0, 3)",)),
    ("SP601", Scan(shape=(2.0, 5.0, 4.0, 3.0)), ("2.0",)),
    ("SP602", Scan(spatial_shape=(3, 4, 5)), ("spatial shape is (3, 4, 5), the shape is (2, 5, 4, 3)",)),
    ("SP603", Scan(array=np.zeros((2, 3, 4, 5)), shape=SHAPE, spatial_shape=(5, 4, 3)), ("the array has (2, 3, 4, 5)",)),
    ("SP604", Scan(dtype=np.dtype("uint8")), ("dtype is uint8, the array has int16",)),
    ("SP701", sliced(stale_spacing), ("[::2] along i", "mm from where they were")),
    ("SP702", sliced(same_end), ("[::-1] along i", "3.6 mm")),
    ("SP703", sliced(same_origin), ("[1:] along i", "0.9 mm")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "thing", "words"), WRONG, ids=[f"{row[0]}-{n}" for n, row in enumerate(WRONG)])
def test_each_mistake_is_found_alone(code: str, thing: Any, words: tuple[str, ...]) -> None:
    only(thing, code, *words)


def test_an_array_that_cannot_be_made() -> None:
    class Broken(Scan):
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
            raise RuntimeError("the disk\nis full")

    only(Broken(), "SP603", "no array can be made of it", "is full")


def test_several_mistakes_are_all_found() -> None:
    thing = Scan(spacing=(0.9, 1.25, 1.5), origin=(0.0, 0.0, 0.0), orientation="RAS", units="cm")
    assert codes(thing) == ["SP203", "SP401", "SP402", "SP502"]


@pytest.mark.parametrize("thing", [None, 3, "scan.nii", object(), np.zeros((2, 3, 4))])
def test_what_is_no_image_at_all(thing: Any) -> None:
    assert "SP001" in codes(thing)


def test_an_empty_image_lies_nowhere() -> None:
    assert codes(mi.Image()) == ["SP001", "SP002"]


def test_an_object_that_refuses_to_be_sliced_passes() -> None:
    def refuse(scan: Scan, index: Any) -> Any:
        raise NotImplementedError("steps are not supported")

    assert check_spatial(sliced(refuse)) == []
    assert check_spatial(sliced(lambda scan, index: scan.array[index])) == [], "a plain array says nothing wrong"


def test_only_two_conventions() -> None:
    with pytest.raises(UsageError, match="'sra', expected 'ras' or 'lps'"):
        check_spatial(Scan(), "sra")
    assert check_spatial(Scan(), "RAS") == []


# LPS


def lps_scan(**wrong: Any) -> Any:
    """Return an object as ITK counts: LPS+, (K, J, I)."""
    lps = mi.AffineMatrix(OBLIQUE).to_lps()
    parts = {
        "origin": lps.origin, "spacing": lps.spacing, "direction": np.array(lps.direction), "shape": (3, 4, 5),
        "affine": lps.numpy(), "orientation": mi.AffineMatrix(OBLIQUE).orientation,
    }  # fmt: skip
    return SimpleNamespace(**{**parts, **wrong})


def test_lps_objects_conform_in_lps() -> None:
    assert check_spatial(lps_scan(), "lps") == []
    assert codes(lps_scan(orientation="RPS"), "lps") == ["SP502"]
    assert codes(lps_scan(affine=OBLIQUE, orientation=None), "lps") == ["SP405"]
    assert codes(lps_scan(spatial_shape=(5, 4, 2)), "lps") == ["SP602"]


def test_dims_say_which_axis_is_which() -> None:
    class Named(Scan):
        dims = ("z", "y", "x")
        order: Any = None

        def __getitem__(self, index: Any) -> Any:
            image = mi.Image(np.zeros((1, 5, 4, 3)), affine=self.affine)[(slice(None), *reversed(index))]
            return Named(np.zeros(image.spatial_shape[::-1]), image.affine.numpy(), spatial_shape=None)

    thing = Named(np.zeros((3, 4, 5)), spatial_shape=None)
    assert check_spatial(thing) == []
    thing.dims = ("x", "y", "z")
    assert set(codes(thing)) == {"SP701", "SP702", "SP703"}


# other libraries


def test_nibabel() -> None:
    pytest.importorskip("nibabel")
    image = to_nibabel(make("left-handed"))
    only(image, "SP702", "[::-1] along i")  # its slicer turns the axis round, but not about the image
    assert "SP003" in codes(image, "lps")
    image.affine[:3, 0] *= 2
    assert "SP401" in codes(image), "the header still has the old voxel sizes"
    timed = to_nibabel(make("time"))
    timed.header.set_xyzt_units("meter", "sec")
    assert codes(timed) == ["SP203", "SP702"]


@pytest.mark.parametrize("kind", ["left-handed", "time", "rgb", "picture"])
def test_simpleitk(kind: str) -> None:
    pytest.importorskip("SimpleITK")
    image = to_sitk(make(kind))
    assert check_spatial(image, "lps") == []
    only(image, "SP003", "SimpleITK counts in LPS+ here, expected RAS+")


def test_itk() -> None:
    itk = pytest.importorskip("itk")
    image = itk.image_from_xarray(to_xarray(make("left-handed")))
    assert check_spatial(image, "lps") == []
    only(image, "SP003", "ITK")


@pytest.fixture
def xarray() -> Any:
    return pytest.importorskip("xarray")


@pytest.mark.parametrize("kind", ["left-handed", "permuted", "time-rgb", "picture"])
def test_arrays_of_xarray_conform(kind: str, xarray: Any) -> None:
    assert check_spatial(to_xarray(make(kind)), "lps") == []
    assert codes(to_xarray(make(kind))) == ["SP003"]
    if kind != "picture":
        assert check_spatial(to_xarray(make(kind)).isel(x=slice(None, None, -2)), "lps") == []


def test_an_oblique_array_without_affine_moves_when_it_is_cut(xarray: Any) -> None:
    data = to_xarray(make("left-handed"))
    del data.attrs["affine"]
    only(data, "SP703", "[1:] along i", convention="lps")  # its coordinates are not where voxels are
    data = to_xarray(make("straight"))
    del data.attrs["affine"], data.attrs["direction"]
    assert check_spatial(data, "lps") == []


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (lambda data: data.drop_vars("y"), "SP001", "y has no coordinates"),
        (lambda data: data.assign_coords(y=[0.0, 1, 2, 9]), "SP001", "not evenly spaced"),
        (lambda data: data.rename(x="column"), "SP001", "dims are"),
        (lambda data: data.assign_attrs(direction=np.eye(3) * 2), "SP301", "(2, 2, 2)"),
    ],
)
def test_arrays_of_xarray_that_are_wrong(change: Any, code: str, word: str, xarray: Any) -> None:
    data = to_xarray(make("straight"))
    del data.attrs["affine"]
    found = check_spatial(change(data), "lps")
    assert code in [each.code for each in found]
    assert any(word in each.message for each in found)


def test_monai() -> None:
    pytest.importorskip("torch")
    monai = pytest.importorskip("monai")
    tensor = to_monai(make("left-handed"))
    # an index of a MetaTensor keeps the affine, whatever it cuts
    assert codes(tensor) == ["SP701", "SP703"]
    assert codes(monai.transforms.Flip(0)(tensor)) == ["SP701", "SP703"]
    assert "SP003" in codes(tensor, "lps")
    tensor.meta["space"] = monai.utils.SpaceKeys.LPS
    assert "SP003" not in codes(tensor, "lps")
    tensor.affine = np.diag([1.0, 1.0, 0.0, 1.0])
    assert codes(tensor, "lps") == ["SP106"]


def test_torchio() -> None:
    torchio = pytest.importorskip("torchio")
    image = torchio.ScalarImage(tensor=make("left-handed").array, affine=OBLIQUE)
    assert set(codes(image)) <= {"SP107"}

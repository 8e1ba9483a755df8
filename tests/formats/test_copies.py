"""The losslessness matrix: every writable format into every other, every dtype, every kind of image.

Voxels are bit-equal, geometry is equal, and all else is equal or named in the report that ``save_backend`` returns. What is
lost is found here by comparing the two files, not by asking the code that makes the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from medimg_cli.backends import Backend
from medimg_cli.errors import LossError, MedImgError, MissingExtraError
from medimg_cli.formats import FORMATS, Format, codec_module, open_backend
from medimg_cli.formats.writing import losses, save_backend
from medimg_cli.header import Header
from tests.helpers import DTYPES, KINDS, fits, output_suffixes, read, unlike, write

WRITERS = [row for row in FORMATS if row.writes]
#: Kinds of images beside the plain one of every dtype.
OTHERS = (
    "flat-rgb",
    "left-handed",
    "sheared",
    "time",
    "vector",
    "time-rgb",
    "labels",
    "scaled",
    "described",
    "diffusion",
    "forms",
)
#: Copies for which --strict is not tried: they are refused for the same reasons as the first.
PLAIN = {f"{kind} {dtype}" for kind in ("plain", "flat") for dtype in DTYPES[1:]} - {"plain float16"}

Sources = Callable[[Format, str, str], Path | None]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Write an image of a kind and a dtype in a format once."""
    made: dict[tuple[str, str, str], Path | None] = {}
    folder = tmp_path_factory.mktemp("sources")

    def source(row: Format, kind: str, dtype: str) -> Path | None:
        key = (row.name, kind, dtype)
        if key not in made:
            made[key] = write(folder / "-".join(key), row, output_suffixes(row)[0], kind, dtype)
        return made[key]

    return source


class Original(NamedTuple):
    """An image in a file, and its values."""

    label: str
    backend: Backend
    values: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def originals(sources: Sources) -> Callable[[Format], list[Original]]:
    """Open the images that a format holds once."""
    made: dict[str, list[Original]] = {}

    def of(row: Format) -> list[Original]:
        if row.name not in made:
            made[row.name] = [Original(label, backend, read(backend)) for label, backend in opened(sources, row)]
        return made[row.name]

    return of


def opened(sources: Sources, row: Format) -> Iterator[tuple[str, Backend]]:
    """Yield the images that a format holds: a plain one of every dtype, and one of every other kind."""
    wanted = [("plain", dtype) for dtype in DTYPES] + [(kind, KINDS[kind]) for kind in OTHERS]
    wanted += [("flat", dtype) for dtype in DTYPES]
    held: set[str] = set()
    for kind, dtype in wanted:
        if kind == "flat" and dtype in held:
            continue  # a format of volumes
        path = sources(row, kind, dtype)
        if path is not None:
            held |= {dtype} if kind == "plain" else set()
            yield f"{kind} {dtype}", open_backend(str(path))


def available(row: Format, sources: Sources) -> None:
    try:
        sources(row, "plain", "int16")
    except MissingExtraError as error:
        pytest.skip(f"extra [{row.extra}] is not installed: {error}")


# what differs, told without the code under test


def _says(value: Any) -> bool:
    """Tell whether a fact says something."""
    return value not in (None, "", (), 0) and value != {}


def _axes(header: Header) -> list[tuple[str, int]]:
    axes = header.axes or (("channel", header.channels),)
    return [axis for axis in axes if axis[1] != 1]


def _form(header: Header, name: str) -> Any:
    """Return a form that is in use and is not the affine again."""
    form, code = getattr(header, name), getattr(header, f"{name}_code")
    if not code or form is None or np.allclose(form.rows, header.affine.rows, atol=1e-3):
        return None
    return np.array(form.rows)


def _differs(name: str, before: Header, after: Header) -> bool:
    a, b = getattr(before, name), getattr(after, name)
    if name == "affine":
        return not np.allclose(a.rows, b.rows, atol=1e-4)
    if name in ("sform", "qform"):
        a, b = _form(before, name), _form(after, name)
        return a is not None and (b is None or not np.allclose(a, b, atol=1e-3))
    if name == "axes":
        old, new = _axes(before), _axes(after)
        same = len(old) == len(new) and all(
            x == y or (x[0] == "channel" and x[1] == y[1]) for x, y in zip(old, new, strict=False)
        )
        return not same
    if name in ("slope", "inter"):
        neutral = 1.0 if name == "slope" else 0.0
        return bool(not np.isclose(neutral if a is None else a, neutral if b is None else b, rtol=1e-6))
    if name == "labels":
        return bool(a is not None and (b is None or a.to_json() != b.to_json()))
    if name == "gradients":
        return a is not None and (
            b is None or not np.allclose(a.bvals, b.bvals) or not np.allclose(a.bvecs, b.bvecs, atol=1e-5)
        )
    if name == "metadata":
        return any(key not in b or b[key] != value for key, value in a.items())
    if name in ("time_spacing", "intent_params"):
        return _says(a) and (not _says(b) or not np.allclose(a, b, rtol=1e-6))
    return bool(_says(a) and a != b)


FACTS = ("dtype", "affine", "axes", "slope", "inter", "sform", "qform", "time_spacing", "intent", "intent_params", "intent_name",
         "description", "gradients", "labels", "metadata", "history", "extensions")  # fmt: skip


def check_copy(label: str, before: Backend, values: Any, after: Backend, report: dict[str, Any]) -> None:
    """Hold a copy to the promise."""
    old, new = before.header, after.header
    if "values" not in report:
        assert unlike(read(after), values.reshape(new.shape) if old.shape != new.shape else values) is None, label
    if old.scaled and (new.dtype, new.slope, new.inter) == (old.dtype, old.slope, old.inter):
        assert unlike(read(after, raw=True), read(before, raw=True)) is None, label
    named = set(report)
    if "slope" in named:
        named |= {"inter", "dtype"}  # one sentence says that values are stored instead
    lost = {name for name in FACTS if _differs(name, old, new)}
    assert lost <= named, f"{label}: lost in silence: {lost - named}"
    for difference in report.values():
        assert len(str(difference).splitlines()) == 1


@pytest.mark.parametrize("target", WRITERS, ids=lambda row: f"to {row.name}")
@pytest.mark.parametrize("source", WRITERS, ids=lambda row: row.name)
def test_nothing_is_lost_in_silence(
    source: Format, target: Format, sources: Sources, originals: Callable[[Format], list[Original]], tmp_path: Path
) -> None:
    available(source, sources)
    available(target, sources)
    module = codec_module(target)
    suffix = output_suffixes(target)[0]
    copied = 0
    for number, (label, backend, values) in enumerate(originals(source)):
        path = tmp_path / f"{number}" / f"copy{suffix}"
        path.parent.mkdir()
        if target.name == "nifti2":
            backend = copy(backend)
            backend.header = backend.header.replace(format="nifti2")  # type: ignore[misc]
        fitted = fits(module, backend.header, str(path))
        if fitted is None:
            with pytest.raises(MedImgError):
                save_backend(backend, str(path))
            assert list(path.parent.iterdir()) == []
            continue
        report = {d.field: d for d in losses(backend.header, str(path))} if label not in PLAIN else {}
        if report:
            with pytest.raises(LossError):
                save_backend(backend, str(path), strict=True)
            assert list(path.parent.iterdir()) == [], f"{label}: a refused copy left a file"
        told = save_backend(backend, str(path), strict=label not in PLAIN and not report)
        assert label in PLAIN or {d.field: d for d in told} == report, label
        report = {d.field: d for d in told}
        check_copy(f"{source.name} to {target.name}, {label}", backend, values, open_backend(str(path)), report)
        copied += 1
    assert copied or target.through == "Pillow" or source.through == "Pillow"


@pytest.mark.parametrize("row", WRITERS, ids=lambda row: row.name)
def test_a_copy_within_a_format_loses_nothing(row: Format, sources: Sources, tmp_path: Path) -> None:
    """Not even what its own report could name."""
    available(row, sources)
    for number, (label, backend) in enumerate(opened(sources, row)):
        report = losses(backend.header, str(tmp_path / f"{number}{output_suffixes(row)[0]}"))
        assert [d for d in report if d.field != "values"] == [], label


@pytest.mark.parametrize("middle", [row for row in WRITERS if row.through != "Pillow"], ids=lambda row: row.name)
def test_values_survive_a_journey(middle: Format, sources: Sources, tmp_path: Path) -> None:
    """NIfTI to another format and back: scaled values stay what they were."""
    available(middle, sources)
    nifti = next(row for row in FORMATS if row.name == "nifti1")
    for kind in ("scaled", "time", "plain"):
        path = sources(nifti, kind, "int16")
        assert path is not None
        there, back = tmp_path / f"{kind}{output_suffixes(middle)[0]}", tmp_path / f"{kind}-back.nii"
        save_backend(open_backend(str(path)), str(there))
        save_backend(open_backend(str(there)), str(back))
        assert unlike(read(open_backend(str(back))), read(open_backend(str(path)))) is None


def test_the_report_is_for_people(sources: Sources, tmp_path: Path) -> None:
    nifti = next(row for row in FORMATS if row.name == "nifti1")
    path = sources(nifti, "described", "int16")
    report = save_backend(open_backend(str(path)), str(tmp_path / "x.npy"))
    text = "\n".join(map(str, report))
    for word in ("affine", "description", "Modality", "history", "extensions", "intent"):
        assert word in text
    with pytest.raises(LossError, match=r"x2\.npy: NumPy array cannot hold: .*affine.*; leave out --strict"):
        save_backend(open_backend(str(path)), str(tmp_path / "x2.npy"), strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npy"]

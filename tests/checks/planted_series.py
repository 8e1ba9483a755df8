"""Planted faults of DICOM series: slices that make no volume, and what lies beside them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from medimg_cli.affine import AffineMatrix
from tests.checks.planting import Case, Planted
from tests.formats.dicom_files import CT, RLE, SERIES, dataset, geometry, save, write_series, write_times

#: Oblique and anisotropic; rows, columns and normal are at right angles.
PLACE = AffineMatrix.from_spacing(
    (1.2, 2.1, 3.3),
    origin=(31, -40, 5),
    direction=((-0.6, 0.0, 0.8), (0.0, 1.0, 0.0), (0.8, 0.0, 0.6)),
)
Change = Callable[[Any, int], None]
STUDY = {"StudyInstanceUID": f"{SERIES}.1", "StudyID": "1", "StudyDate": "20200102", "StudyTime": "030405"}


def pixels(count: int = 9) -> np.ndarray[Any, Any]:
    """Return (6, 5, count) voxels."""
    return np.random.default_rng(7).integers(0, 900, (6, 5, count)).astype("u2")


def series(count: int = 9, change: Change | None = None, without: tuple[int, ...] = (), **values: Any) -> Any:
    """Return what writes a series; ``without`` leaves slices out."""

    def make(folder: Path) -> Path:
        files = write_series(folder / "s", pixels(count), PLACE, change, **values)
        for k in without:
            files[k].unlink()
        return folder

    return make


def moved(k: int, mm: float, along: int = 2) -> Change:
    """Return what moves slice k in mm along an axis of the image."""
    direction = [row[along] for row in PLACE.to_lps().direction]

    def change(made: Any, at: int) -> None:
        if at == k:
            place = zip(made.ImagePositionPatient, direction, strict=True)
            made.ImagePositionPatient = [f"{x + mm * step:.8g}" for x, step in place]

    return change


def stretched(made: Any, k: int) -> None:
    """Place slices as if the step became 1.5 times as long from slice 5 on."""
    moved(k, 1.65 * max(k - 5, 0))(made, k)


def tilted(degrees: float) -> Change:
    """Return what shifts each slice along J, as a tilted gantry does."""
    shift = 3.3 * float(np.tan(np.radians(degrees)))
    return lambda made, k: moved(k, k * shift, along=1)(made, k)


def _says(**values: Any) -> Change:
    """Return what sets elements of each slice."""

    def change(made: Any, _: int) -> None:
        for keyword, value in values.items():
            setattr(made, keyword, value)

    return change


def _again(folder: Path) -> Path:
    files = write_series(folder / "s", pixels(), PLACE)
    shutil.copy(files[4], folder / "s" / "copy")
    return folder


def _twice(folder: Path) -> Path:
    write_series(folder / "s", pixels(), PLACE)
    made = dataset(np.ascontiguousarray(pixels()[..., 3].T + 1), **geometry(PLACE, 3), InstanceNumber=77)
    save(made, folder / "s" / "again")
    return folder


def _times(folder: Path) -> Path:
    def change(made: Any, t: int, k: int) -> None:
        made.InstanceNumber, made.TemporalPositionIdentifier = 1 + k + 9 * t, t + 1

    write_times(folder / "s", np.stack([pixels(), pixels() + np.uint16(1)]), PLACE, change)
    return folder


def _times_without(folder: Path) -> Path:
    next((_times(folder) / "s").glob("*-1-4.dcm")).unlink()
    return folder


def _beside(name: str, data: bytes | None) -> Callable[[Path], Path]:
    """Return what writes a series and something beside its slices; None is one of them, cut off in its header."""

    def make(folder: Path) -> Path:
        files = write_series(folder / "s", pixels(), PLACE)
        (folder / "s" / name).write_bytes(files[2].read_bytes()[:300] if data is None else data)
        return folder

    return make


def _object(modality: str, uid: str) -> Any:
    made = dataset(pixels()[..., 0], SOPClassUID=uid, Modality=modality)
    made.SeriesInstanceUID = f"{SERIES}.9"
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(made, keyword)
    return made


def _with_object(modality: str, uid: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_series(folder / "s", pixels(), PLACE)
        save(_object(modality, uid), folder / "s" / "object.dcm")
        return folder

    return make


def _two(*folders: str, **second: Any) -> Callable[[Path], Path]:
    """Return what writes two series into folders."""

    def make(folder: Path) -> Path:
        write_series(folder / folders[0], pixels(), PLACE)
        for number, path in enumerate(write_series(folder / "x", pixels(5), PLACE, **second)):
            (folder / folders[1]).mkdir(exist_ok=True)
            path.rename(folder / folders[1] / f"b{number}")
        (folder / "x").rmdir()
        return folder

    return make


def _coded(*slices: int) -> Callable[[Path], Path]:
    """Return what writes a series whose pixels, or those of some slices, are in a transfer syntax that nobody knows."""

    def make(folder: Path) -> Path:
        files = write_series(folder / "s", pixels(), PLACE, syntax=RLE)
        for path in (files[k] for k in slices or range(9)):
            path.write_bytes(path.read_bytes().replace(RLE.encode(), b"1.2.826.0.1.3680043"))
        return folder

    return make


def _directory(*, without: int = 0, spare: bool = False) -> Callable[[Path], Path]:
    """Return what writes a DICOMDIR with a series, and takes files away."""

    def make(folder: Path) -> Path:
        from pydicom.fileset import FileSet

        files = FileSet()
        for path in write_series(folder / "x", pixels(), PLACE, **STUDY):
            files.add(path)
        files.write(folder / "medium")
        shutil.rmtree(folder / "x")
        there = sorted(path for path in (folder / "medium").rglob("*") if path.is_file() and path.name != "DICOMDIR")
        for path in there[len(there) - without :]:
            path.unlink()
        if spare:
            (folder / "medium" / "README").write_text("a medium")
        return folder / "medium" / "DICOMDIR"

    return make


def _stacks(folder: Path) -> Path:
    """Write two stacks of different directions under one series."""
    write_series(folder / "s", pixels(), PLACE)
    other = AffineMatrix.from_spacing((2.1, 3.3, 1.2), direction=((0, 0, 1), (1, 0, 0), (0, 1, 0)))
    for number, path in enumerate(write_series(folder / "x", pixels(5), other)):
        path.rename(folder / "s" / f"b{number}")
    (folder / "x").rmdir()
    return folder


EVEN = Case("even", series())
ROUNDED = Case("rounded", series(change=moved(4, 0.02)))

PLANTED: dict[str, Planted] = {
    "D001": Planted(
        (
            Case("one", series(without=(4,)), "6.6 mm apart, other slices 3.3 mm: 1 slice is missing"),
            Case("two", series(without=(3, 4)), "2 slices are missing"),
            Case("of-a-volume", _times_without, "8 of 9 slices"),
        ),
        (
            EVEN,
            ROUNDED,
            Case("last", series(without=(8,))),
            Case("volumes", _times),
        ),
    ),
    "D002": Planted(
        (Case("copy", _again, "copies of one image"), Case("acquired-again", _twice, "0 mm apart")),
        (EVEN, Case("volumes", _times), Case("near", series(change=moved(4, 0.02)))),
    ),
    "D003": Planted(
        (Case("two-steps", series(change=stretched), "not evenly spaced"), Case("one", series(change=moved(4, 0.5)))),
        (EVEN, ROUNDED, Case("missing", series(without=(4,)))),
    ),
    "D004": Planted(
        (
            Case("beside", series(change=moved(4, 3.0, along=0)), "mm off the line"),
            Case("a-little", series(change=moved(6, 0.2, along=1))),
        ),
        (EVEN, Case("rounded", series(change=moved(4, 0.01, along=0))), Case("tilted", series(change=tilted(12)))),
    ),
    "D005": Planted(
        (
            Case("head", series(change=tilted(-15), SOPClassUID=CT, Modality="CT"), "15 degrees"),
            Case("a-little", series(change=tilted(0.2))),
        ),
        (EVEN, Case("oblique", series(count=2)), Case("rounding", series(change=tilted(0.001)))),
    ),
    "D006": Planted(
        (
            Case("cut-in-its-header", _beside("IM9", None), "IM9 cannot be read"),
            Case("empty-slice", _beside("IM9.dcm", b""), "0 bytes"),
        ),
        (
            EVEN,
            Case("text", _beside("README.txt", b"nine slices of a phantom\n" * 20)),
            Case("hidden", _beside("._IM9", b"\0\5\x16\7" * 200)),
        ),
    ),
    "D007": Planted(
        (
            Case("private", _coded(), "1.2.826.0.1.3680043"),
            Case("one-slice", _coded(4)),
            Case("header-only", _coded(), wishes={"header_only": True}),
        ),
        (
            EVEN,
            Case("implicit", series(syntax="1.2.840.10008.1.2")),
            Case("deflated", series(syntax="1.2.840.10008.1.2.1.99")),
            Case("run-lengths", series(syntax="1.2.840.10008.1.2.5")),
        ),
    ),
    "D008": Planted(
        (
            Case("one", _directory(without=1), "1 file that the DICOMDIR names is not there"),
            Case("four", _directory(without=4), "4 files"),
        ),
        (Case("all-there", _directory()), Case("more-than-named", _directory(spare=True)), EVEN),
    ),
    "D009": Planted(
        (
            Case("plan", _with_object("RTPLAN", "1.2.840.10008.5.1.4.1.1.481.5"), "1 DICOM object is no image"),
            Case("report", _with_object("SR", "1.2.840.10008.5.1.4.1.1.88.11"), "SR"),
        ),
        (EVEN, Case("text", _beside("README.txt", b"nine slices of a phantom\n" * 20))),
    ),
    "D010": Planted(
        (
            Case("numbers", _two("s", "s", SeriesNumber=4), "files of 2 series: 9 of series 3, 5 of series 4"),
            Case("identifiers", _two("s", "s", SeriesInstanceUID=f"{SERIES}.2")),
        ),
        (EVEN, Case("folders", _two("s", "t", SeriesNumber=4)), Case("volumes", _times)),
    ),
    "D011": Planted(
        (
            Case("directions", _stacks),
            Case("one-of-them", _stacks, wishes={"header_only": True}),
        ),
        (EVEN, Case("volumes", _times), Case("series", _two("s", "t", SeriesNumber=4))),
    ),
    "D012": Planted(
        (
            Case("end", series(change=_says(NumberOfSlices=10)), "NumberOfSlices is 10, and 9 of them are here"),
            Case("times", series(change=_says(NumberOfTemporalPositions=3)), "NumberOfTemporalPositions is 3"),
        ),
        (EVEN, Case("as-many", series(change=_says(NumberOfSlices=9, NumberOfTemporalPositions=1)))),
    ),
}  # fmt: skip

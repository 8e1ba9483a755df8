"""Hold medimg against the DICOM rows of the manifest: right, or refused with a line that names the reason."""

from __future__ import annotations

import csv
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import conformance_checks as checks
import numpy as np
import referee
from conformance_checks import Result
from referee import Facts

#: What medimg may say of a file that it does not read, and the short name of the reason.
REASONS = {
    "not an image": "no image",
    "cannot be decoded": "decoder not installed",
    "no decoder": "decoder not installed",
    "a mosaic": "mosaic",
    "multi-frame": "multi-frame",
    "Segmentation": "segmentation",
    "pixel data are missing": "no pixel data",
    "without Rows": "no pixel data",
    "no image format": "no DICOM",
    "is no DICOM": "no DICOM",
    "holds no DICOM": "no DICOM",
    "nothing in its DICOM header": "damaged",
    "is no whole number": "damaged",
    "its encoded pixels are": "damaged",
    "truncated": "truncated",
    "are missing between": "missing slices",
    "series: ": "several series",
    "stacks: ": "several stacks",
}
#: Rows whose reference is another decision than that of the format's specification.
DECISIONS = {
    "OT-PAL-8-face.dcm": "PS3.3, C.7.6.3.1.2: pixels of PALETTE COLOR are places in a table; they are kept as stored",
    "badVR.dcm": "NumberOfFrames is no number; its pixels are 15 frames long, those of rtdose.dcm",
    "JPGExtended.dcm": "lossy JPEG of 12 bits: decoders may differ by 1 (ISO/IEC 10918-2); these are ITK's numbers",
}
NO_POSITION = "picture"


def rows(data: Path) -> list[dict[str, str]]:
    """Return the manifest's rows of DICOM files and folders."""
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"].startswith("DICOM")]


@contextmanager
def located(data: Path, row: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the file or folder of a row lies; one in an archive is unpacked for the time being."""
    archive, _, inside = row["path"].partition(":")
    if not inside:
        yield data / row["path"]
        return
    with tempfile.TemporaryDirectory(prefix="medimg-series-") as folder:
        with tarfile.open(data / archive) as tar:
            tar.extractall(folder, filter="data")
        yield Path(folder) / inside


def check_dicom(data: Path, row: Mapping[str, str]) -> Result:
    """Read a file or a folder, all voxels: they are the manifest's, or a refusal names why there are none."""
    with located(data, row) as path:
        return _checked(path, row)


def _checked(path: Path, row: Mapping[str, str]) -> Result:
    from medimg_cli.errors import MedImgError
    from medimg_cli.formats import open_backend
    from medimg_cli.storage.stored import whole

    if row["kind"] == "DICOM file":
        return _checked_file(path, row)
    expected = f"{row['shape']} {row['dtype']}"
    try:
        backend = open_backend(path)
        array = backend.read(whole(backend.header.shape))
    except MedImgError as error:
        got = checks.refusal(error, path)
        reason = next((reason for words, reason in REASONS.items() if words in str(error)), "")
        return Result(
            "dicom", row["path"], "listed" if reason else "fail", expected, got, (), reason or "no known reason"
        )
    except Exception as error:
        return Result("dicom", row["path"], "fail", expected, checks.refusal(error, path), (), "crash")
    header = backend.header
    facts = Facts(np.moveaxis(array, 0, -1), np.asarray(header.affine.numpy(), float))
    wrong = _series_problem(facts, header, row)
    decision = DECISIONS.get(path.name)
    got = f"{header.shape} {header.dtype} {''.join(header.orientation)}"
    status = "pass" if decision or not wrong else "fail"
    return Result("dicom", row["path"], status, expected, got, (), decision or wrong)


def _checked_file(path: Path, row: Mapping[str, str]) -> Result:
    """Open a file as an image, and compare its stored frames, whatever image they make, with the reference."""
    from medimg_cli.errors import MedImgError
    from medimg_cli.formats import open_backend
    from medimg_cli.storage.stored import whole

    expected = f"{row['shape']} {row['dtype']}"
    try:
        try:
            backend = open_backend(path)
            backend.read(whole(backend.header.shape))
        except MedImgError as error:
            if "series: " not in str(error):  # which of them does not matter to the pixels
                raise
        pixels = stored_pixels(path)
    except MedImgError as error:
        got = checks.refusal(error, path)
        reason = next((reason for words, reason in REASONS.items() if words in str(error)), "")
        status = "listed" if reason else "fail"
        return Result("dicom", row["path"], status, expected, got, (), reason or "no known reason")
    except Exception as error:
        return Result("dicom", row["path"], "fail", expected, checks.refusal(error, path), (), "crash")
    rounded = np.round(pixels.astype("<f8"), 3) + 0.0
    digest = hashlib.sha256(np.ascontiguousarray(rounded)).hexdigest()
    reference = row["sha256_canonical"] or row["sitk_sha"]
    wrong = "" if digest == reference or not reference else "pixel hash differs"
    decision = DECISIONS.get(path.name, "" if reference else "no reader to compare with")
    status = "pass" if decision or not wrong else "fail"
    return Result("dicom", row["path"], status, expected, f"{pixels.shape} {pixels.dtype}", (), decision or wrong)


def stored_pixels(path: Path) -> np.ndarray:
    """Return the stored numbers of a file as pydicom has them: ([frames,] rows, columns[, samples])."""
    from medimg_cli.affine import AffineMatrix
    from medimg_cli.formats.dicom.frames import Frame
    from medimg_cli.formats.dicom.pixels import voxels
    from medimg_cli.formats.dicom.reading import read_file
    from medimg_cli.header import Header
    from medimg_cli.storage.source import open_source
    from medimg_cli.storage.stored import whole

    file = read_file(open_source(str(path)))
    pixels = file.pixels
    frames = [Frame(file, at, None, None, None, (1.0, 0.0)) for at in range(file.frames)]
    header = Header(
        shape=(pixels.samples, pixels.columns, pixels.rows, len(frames)),
        dtype=pixels.dtype,
        affine=AffineMatrix(),
        axes=(("rgb", 3),) if pixels.samples > 1 else (),
    )
    array = voxels([frames], header, scaled=False).read(whole(header.shape), raw=True).transpose(3, 2, 1, 0)
    array = array if pixels.samples > 1 else array[..., 0]
    return array if len(frames) > 1 else array[0]


def _series_problem(facts: Facts, header: Any, row: Mapping[str, str]) -> str:
    """Compare voxels, shape and affine up to flips with what the independent readers agree on."""
    import json

    problems = []
    named = json.loads(row["shape"])
    if list(header.shape[1:]) != (named + [1, 1])[:3] or header.shape[0] != (named + [1])[3:4][0]:
        problems.append(f"shape {header.shape}, not {named}")
    elif referee.canonical_hash(facts) != row["sha256_canonical"]:
        problems.append("voxel hash differs")
    elif header.affine_source != NO_POSITION:
        gap = referee.affine_gap(facts, np.array(json.loads(row["affine_RAS"])))
        written = 5e-6 * max(header.shape[1:])  # the manifest has five decimals of each step
        problems += [] if gap <= referee.TOLERANCE_MM + written else [f"affine is {gap:.4g} away"]
    return "; ".join(problems)

"""Figures of DICOM for ``bench.py``: the series of a real head to ``.nii.gz``, and headers of thousands of files."""

from __future__ import annotations

import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import bench

SERIES = "datalad+example-dicom-structural/t1_dicom_384.tar.xz"
TILES = 13
#: What serial pydicom needs for the same table.
LOOP = """
import os, sys, pydicom
tags = ["SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "Rows", "Columns", "PixelSpacing",
        "ImagePositionPatient", "ImageOrientationPatient", "InstanceNumber"]
found = {}
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        header = pydicom.dcmread(os.path.join(folder, name), stop_before_pixels=True, specific_tags=tags)
        found.setdefault(header.SeriesInstanceUID, []).append(tuple(header.ImagePositionPatient))
print(len(found))
"""
ITK = """
import sys, SimpleITK as sitk
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))
sitk.WriteImage(reader.Execute(), sys.argv[2], True)
"""


def figures(data: Path, work: Path, runs: int) -> Iterator[bench.Row]:
    """Measure the conversion of 384 slices against three peers, and ``info`` on 5,000 files against pydicom."""
    medimg = bench.medimg_command()
    with tarfile.open(data / SERIES) as archive:
        archive.extractall(work / "series", filter="data")
    series = work / "series" / "dicoms"
    ours, theirs = work / "ours.nii.gz", work / "theirs.nii.gz"
    script, loop = work / "itk.py", work / "loop.py"
    script.write_text(ITK, encoding="utf-8")
    loop.write_text(LOOP, encoding="utf-8")
    peers = (
        ("dcm2niix -z y", 0.5, ["dcm2niix", "-z", "y", "-b", "n", "-f", "theirs", "-o", str(work), str(series)]),
        ("mrconvert", 0.3, ["mrconvert", "-quiet", str(series), str(theirs)]),
        ("SimpleITK", 0.6, [sys.executable, str(script), str(series), str(theirs)]),
    )
    words = [*medimg, "convert", "--quiet", str(series), str(ours)]
    for name, target, command in peers:
        what = "384 slices to .nii.gz"
        if shutil.which(command[0]) is None:
            yield bench.skipped(what, name, target, f"{name} is not here")
            continue
        bench.timed(words, ours)
        bench.timed(command, theirs)
        note = same_place(ours, theirs, exactly=name != "mrconvert")
        yield bench.compare(what, name, (words, command), target, runs, outputs=(ours, theirs), note=note)
    tile(series, work / "tiles")
    listing = [*medimg, "info", str(work / "tiles")]
    pair = listing, [sys.executable, str(loop), str(work / "tiles")]
    count = TILES * len(list(series.iterdir()))
    yield bench.compare(f"info, {count:,} DICOM files", "a pydicom loop", pair, 0.6, runs, note=f"{TILES} series")
    half = work / "half"
    half.mkdir()
    for folder in sorted((work / "tiles").iterdir())[: TILES // 2]:
        folder.rename(half / folder.name)
    small = [*medimg, "info", str(series)]
    one, some = bench.in_turns(small, [*medimg, "info", str(half)], runs)
    rest, _ = bench.in_turns([*medimg, "info", str(work / "tiles")], small, runs)
    each = (some - one) / (TILES // 2 - 1), (rest - one) / (TILES - TILES // 2 - 1)
    what = "info, a series among 7 against one among 6"
    yield bench.Row(what, "linear", each[1], each[0], each[1] / each[0], 1.25, runs=runs)


def tile(series: Path, target: Path) -> None:
    """Copy a series many times, each with a SeriesInstanceUID of its own."""
    import pydicom

    files = sorted(series.iterdir())
    uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID).encode()
    for number in range(TILES):
        folder = target / f"{number:02}"
        folder.mkdir(parents=True)
        for file in files:
            (folder / file.name).write_bytes(file.read_bytes().replace(uid, uid[:-2] + b"%02d" % (10 + number)))


def same_place(ours: Path, theirs: Path, *, exactly: bool) -> str:
    """Check with nibabel that two files hold the same voxels at the same places, in whatever order.

    MRtrix places the rows of this series elsewhere (its pixels are not square): there only voxels are compared.

    Raises
    ------
    RuntimeError
        When they don't.
    """
    import nibabel
    import numpy as np

    one, other = (nibabel.as_closest_canonical(nibabel.load(path)) for path in (ours, theirs))
    if not np.array_equal(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj)):
        raise RuntimeError(f"{ours.name} and {theirs.name} differ in voxels")
    apart = float(abs(one.affine - other.affine).max())
    if exactly and apart > 1e-3:
        raise RuntimeError(f"{ours.name} and {theirs.name} lie {apart:g} mm apart")
    return f"equal voxels, affines within {apart:.2g}"

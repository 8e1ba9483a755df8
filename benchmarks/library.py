"""Figures of the library, taken inside one process: regions, resampling, stores, and bytes from the web.

Run as ``make bench-library``; the real files are those of ``MEDIMG_TEST_DATA``. Each figure is a median, and a ratio
against something measured in the same run.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import proving

from medimg_cli import ScalarImage
from tests.web import Site

HEAD = "datalad+example-dicom-structural/t1_struct_dcm2niix.nii.gz"
REGION = (slice(None), slice(100, 164), slice(150, 214), slice(120, 184))


def median(action: Callable[[], object], runs: int) -> float:
    """Return the median of an action's durations in ms."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        action()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def regions(path: Path, runs: int) -> Iterator[str]:
    """Compare a 64^3 region with everything, image opened before both."""

    def whole() -> None:
        ScalarImage(path).load()

    def part() -> None:
        ScalarImage(path)[REGION].load()

    full, region = median(whole, max(3, runs // 3)), median(part, runs)
    opened = median(lambda: ScalarImage(path).shape, runs)
    apart = (full - opened) / (region - opened)
    yield (
        f"64^3 region of {path.name}: {region:.2f} ms, of which opening takes {opened:.2f}; whole {full:.1f} ms; "
        f"1/{full / region:.1f} of it, 1/{apart:.1f} without opening"
    )


def resampling(path: Path, work: Path) -> Iterator[str]:
    """Compare resampling to a file with mrgrid."""
    for spacing in (2.0, 0.7):
        ours = median(lambda s=spacing: ScalarImage(path).resample(s).save(work / "ours.nii"), 3)
        mrgrid = shutil.which("mrgrid")
        if mrgrid is None:
            yield f"resample to {spacing} mm: {ours / 1e3:.2f} s; mrgrid is not installed"
            continue
        command = [mrgrid, path, "regrid", work / "theirs.nii", "-voxel", str(spacing)]
        command += ["-interp", "linear", "-quiet", "-force"]
        theirs = median(lambda c=command: subprocess.run(c, check=True), 3)
        yield f"resample to {spacing} mm: {ours / 1e3:.2f} s; mrgrid {theirs / 1e3:.2f} s; {ours / theirs:.2f} x"


def web(path: Path) -> Iterator[str]:
    """Count the bytes that a header costs from a server on this machine."""
    with Site() as site:
        _ = ScalarImage(site.add(path.name, path.read_bytes())).header
        yield f"header of {path.name} over HTTP: {site.sent} of {path.stat().st_size} bytes"


def main() -> int:
    """Take the figures and print them as they come."""
    parser = argparse.ArgumentParser(prog="library", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=25)
    options = parser.parse_args()
    data = proving.data_folder()
    if data is None:
        print("library: no real files (MEDIMG_TEST_DATA)", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="medimg-bench-") as folder:
        work = Path(folder)
        plain = work / "head.nii"
        with gzip.open(data / HEAD) as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        store = work / "head.nii.zarr"
        ScalarImage(plain).save(store)
        for path in (plain, store):
            for line in regions(path, options.runs):
                print(line, flush=True)
        for line in (*web(data / HEAD), *resampling(plain, work)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

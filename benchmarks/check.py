"""Figures of check for ``bench.py``: headers of a thousand files, all rules on a real head, and two processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bench

FILES = 1000
MANY = 400


def figures(head: Path, work: Path, runs: int) -> Iterator[bench.Row]:
    """Measure ``check --header-only`` a file, ``check`` against ``stats`` on one file, and two jobs against one."""
    medimg = [*bench.medimg_command(), "--quiet"]
    small, large = work / "small", work / "many"
    make(small, FILES, (24, 28, 20))
    make(large, MANY, (128, 128, 64))
    only = [*medimg, "check", "--header-only", "--isolated"]
    ours, start = bench.in_turns([*only, str(small)], [*only, str(small / "000.nii.gz")], runs)
    each = (ours - start) / (FILES - 1) * 1000
    note = f"{ours:.3f} s, {start:.3f} s for one file"
    yield bench.Row("header rules, a file of 1,000", "start-up", each, 0.0, each, 0.8, unit="ms", runs=runs, note=note)
    pair = ([*medimg, "check", "--isolated", str(head)], [*medimg, "stats", str(head)])
    yield bench.compare("all rules, 81 MB head .nii.gz", "medimg stats", pair, 2.0, runs)
    all_rules = [*medimg, "check", "--isolated", str(large)]
    pair = ([*all_rules, "--jobs", "2"], [*all_rules, "--jobs", "1"])
    yield bench.compare(f"all rules, {MANY} files, two jobs", "one job", pair, 1 / 1.6, runs)


def make(folder: Path, count: int, shape: tuple[int, int, int]) -> None:
    """Write images of smooth noise, no two of them alike."""
    import nibabel
    import numpy as np

    folder.mkdir()
    chance = np.random.default_rng(0)
    for number in range(count):
        waves = [np.sin(np.linspace(0, 9, size) + phase) for size, phase in zip(shape, chance.uniform(0, 6, 3))]
        values = 900 + 300 * np.einsum("i,j,k->ijk", *waves) + chance.normal(0, 20, shape)
        image = nibabel.Nifti1Image(values.astype("int16"), np.diag([1.5, 1.5, 2.0, 1.0]))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, folder / f"{number:03d}.nii.gz")

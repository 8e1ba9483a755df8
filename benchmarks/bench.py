#!/usr/bin/env python
"""Measure medimg against its peers, whole processes, in one run: ``make bench``.

Start-up of ``medimg info`` is compared with nibabel's ``nib-ls`` (in an environment without pydicom, made
on first use) and with an empty Typer app; ``medimg convert`` and ``medimg reorient`` on a real head with
``nib-convert`` and ``mrconvert``, ``medimg resample`` and ``stats`` with ``mrgrid`` and ``mrstats``, ``medimg gif``
and ``video`` with ``torchio animate`` (in an environment that ``MEDIMG_BENCH_TORCHIO_PYTHON`` names), a DICOM
series with ``dcm2niix``, ``mrconvert``, SimpleITK and pydicom. Two programs of a pair run in turns, and medians are
compared, so that a busy machine troubles both alike. Before a copy is timed, the peers' outputs are read with
nibabel: same voxels, same geometry. Peak memory is the resident size that the kernel reports for the process.

Real files come from the folder named by ``MEDIMG_TEST_DATA`` (default ``../shared/data`` beside the
repository). A peer that is not on PATH is skipped, with a note. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]
import proving

HEAD = "datalad+example-dicom-structural/t1_struct_dcm2niix.nii.gz"
SMALL = "nipy+nibabel/nibabel/tests/data/example4d.nii.gz"
COPIED = "Enet4+nifti-rs/resources/zstat1.nii.gz"
TYPER_APP = "import typer\ntyper.run(lambda: None)\n"
PARTS = ("info", "convert", "reorient", "operations", "pictures", "dicom", "check", "memory")
MIB = 1 << 20
Command = list[str]


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one figure.

    Attributes
    ----------
    what, against : str
        What was measured, and the peer.
    ours, theirs : float
        Medians, in `unit`; `theirs` is 0 for a figure with no peer.
    value : float
        What is held against `target`: ours / theirs, or ours alone.
    target : float
        The most that `value` may be.
    runs : int
        Runs on each side.
    note : str
        Why it was skipped, or what was compared.
    """

    what: str
    against: str
    ours: float
    theirs: float
    value: float
    target: float
    unit: str = "s"
    runs: int = 0
    note: str = ""

    @property
    def verdict(self) -> str:
        """PASS, FAIL or SKIP."""
        if not self.runs:
            return "SKIP"
        return "PASS" if self.value <= self.target else "FAIL"


def medimg_command() -> Command:
    """Return the console script beside this interpreter, else ``python -m medimg_cli``."""
    script = Path(sys.executable).with_name("medimg")
    return [str(script)] if script.exists() else list(proving.MEDIMG)


def nibabel_folder(named: str | None) -> Path | None:
    """Return the folder with ``nib-ls`` of an environment that has nibabel and no pydicom.

    Parameters
    ----------
    named : str or None
        The python of such an environment; None makes one in the user's cache folder.

    Returns
    -------
    Path or None
        None where it could not be made (no network).
    """
    if named:
        return Path(named).absolute().parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medimg-bench" / "nibabel"
    found = cache / ("Scripts" if os.name == "nt" else "bin")
    if not (found / "nib-ls").exists():
        print(f"bench: making an environment for nibabel in {cache}", file=sys.stderr)
        try:
            venv.create(cache, with_pip=True)
            subprocess.run([found / "python", "-m", "pip", "install", "-q", "nibabel"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"bench: no environment for nibabel: {error}", file=sys.stderr)
            return None
    return found


def timed(command: Command, output: Path | None) -> float:
    """Time one run; the output of an earlier run is removed first, and the sidecars that travelled with it."""
    if output is not None:
        for entry in output.parent.glob(f"{output.name.partition('.')[0]}.*"):
            entry.unlink()
    return proving.stopwatch(command)


def in_turns(
    ours: Command, theirs: Command, runs: int, outputs: tuple[Path, Path] | None = None
) -> tuple[float, float]:
    """Run two programs in turns after one run each that doesn't count, and return both medians in seconds."""
    mine, other = outputs or (None, None)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(runs + 1):
        pair = timed(ours, mine), timed(theirs, other)
        if turn:
            times[0].append(pair[0])
            times[1].append(pair[1])
    return statistics.median(times[0]), statistics.median(times[1])


def compare(
    what: str, against: str, pair: tuple[Command, Command], target: float, runs: int, *,
    outputs: tuple[Path, Path] | None = None, note: str = "",
) -> Row:  # fmt: skip
    """Measure a pair of programs and hold the ratio of the medians against a target."""
    ours, theirs = in_turns(*pair, runs, outputs)
    return Row(what, against, ours, theirs, ours / theirs, target, runs=runs, note=note)


def skipped(what: str, against: str, target: float, why: str) -> Row:
    """Return the row of a figure that can't be taken here."""
    return Row(what, against, 0.0, 0.0, 0.0, target, note=why)


def same_image(ours: Path, theirs: Path) -> str:
    """Check with nibabel that two NIfTI files hold the same voxels in the same order and place.

    Raises
    ------
    RuntimeError
        When they don't.
    """
    import nibabel
    import numpy as np

    one, other = nibabel.load(ours), nibabel.load(theirs)
    if one.shape != other.shape or not np.allclose(one.affine, other.affine, atol=1e-3):
        raise RuntimeError(f"{ours.name} and {theirs.name} differ in geometry: {one.shape}, {other.shape}")
    if not np.array_equal(np.asanyarray(one.dataobj), np.asanyarray(other.dataobj)):
        raise RuntimeError(f"{ours.name} and {theirs.name} differ in voxels")
    axes = "".join(nibabel.aff2axcodes(one.affine))
    return f"{one.get_data_dtype()} {'x'.join(map(str, one.shape))} {axes}, checked equal"


def strides_for(codes: str) -> str:
    """Return the ``-strides`` argument of mrconvert that stores an image in the order of `codes`.

    MRtrix names, for each of x (R), y (A), z (S), its place among the stored axes, fastest first, negative
    where the stored axis runs the other way.

    >>> strides_for("RAS"), strides_for("LPS"), strides_for("PSR")
    ('1,2,3', '-1,-2,3', '3,-1,2')
    """
    places = {}
    for place, letter in enumerate(codes, 1):
        axis = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
        places[axis] = place if letter in "RAS" else -place
    return ",".join(str(places[axis]) for axis in range(3))


def opposite(codes: str) -> str:
    """Return the letters of the other ends of three axes."""
    return codes.translate(str.maketrans("RLAPSI", "LRPAIS"))


def bench_info(data: Path | None, work: Path, nib: Path | None, runs: int) -> Iterator[Row]:
    """Measure ``medimg info``: one file in a pipe, and a thousand in one call."""
    medimg = medimg_command()
    small = example(data)
    copied = data / COPIED if data else small
    ours = [*medimg, "info", str(small)]
    if nib is None:
        yield skipped("info, one .nii.gz", "nib-ls", 0.40, "no environment with nibabel")
    else:
        theirs = [str(nib / "nib-ls"), str(small)]
        yield compare("info, one .nii.gz", "nib-ls", (ours, theirs), 0.40, runs, note=small.name)
    app = work / "empty_app.py"
    app.write_text(TYPER_APP, encoding="utf-8")
    theirs = [sys.executable, str(app)]
    yield compare("info, one .nii.gz", "empty Typer app", (ours, theirs), 1.35, runs, note=small.name)
    folder = work / "thousand"
    folder.mkdir()
    for number in range(1000):
        shutil.copyfile(copied, folder / f"{number:04}.nii.gz")
    files = sorted(map(str, folder.iterdir()))
    many, one = in_turns([*medimg, "info", *files], [*medimg, "info", files[0]], max(3, runs // 3))
    each = (many - one) / (len(files) - 1) * 1000
    note = f"{many:.3f} s for 1,000 files, {one:.3f} s for one"
    yield Row("info, each of 1,000 files", "-", each, 0.0, each, 0.4, "ms", max(3, runs // 3), note)
    shutil.rmtree(folder)


def example(data: Path | None) -> Path:
    """Return a small real image: of the folder of real files, else the one that nibabel's package carries."""
    if data is not None:
        return data / SMALL
    import nibabel

    return Path(nibabel.__file__).parent / "tests" / "data" / "example4d.nii.gz"


def bench_convert(head: Path, work: Path, nib: Path | None, runs: int) -> Iterator[Row]:
    """Measure ``medimg convert`` of the real head: time against two peers, size against gzip -6."""
    medimg, mrconvert = medimg_command(), shutil.which("mrconvert")
    packed, plain = work / "ours.nii.gz", work / "ours.nii"
    by_nib, by_mr, mr_plain = work / "nib.nii.gz", work / "mr.nii.gz", work / "mr.nii"
    ours = [*medimg, "convert", str(head), str(packed)]
    peers = [
        ("nib-convert", 0.30, [str(nib / "nib-convert"), str(head), str(by_nib)] if nib else None, by_nib),
        ("mrconvert", 0.10, [mrconvert, "-quiet", str(head), str(by_mr)] if mrconvert else None, by_mr),
    ]
    for name, target, theirs, output in peers:
        if theirs is None:
            yield skipped("convert .nii.gz to .nii.gz", name, target, f"{name} is not here")
            continue
        timed(ours, packed)
        timed(theirs, output)
        note = same_image(packed, output)
        yield compare("convert .nii.gz to .nii.gz", name, (ours, theirs), target, runs,
                      outputs=(packed, output), note=note)  # fmt: skip
        output.unlink()
    timed(ours, packed)
    plainly = gzip.decompress(packed.read_bytes())
    standard = len(gzip.compress(plainly, 6))
    size = packed.stat().st_size
    yield Row("size of that .nii.gz", "gzip -6", size / MIB, standard / MIB, size / standard, 1.10, "MiB", 1)
    ours = [*medimg, "convert", str(head), str(plain)]
    if mrconvert is None:
        yield skipped("convert .nii.gz to .nii", "mrconvert", 0.6, "mrconvert is not here")
        return
    theirs = [mrconvert, "-quiet", str(head), str(mr_plain)]
    timed(ours, plain)
    timed(theirs, mr_plain)
    note = same_image(plain, mr_plain)
    yield compare("convert .nii.gz to .nii", "mrconvert", (ours, theirs), 0.6, runs,
                  outputs=(plain, mr_plain), note=note)  # fmt: skip
    mr_plain.unlink()


def bench_reorient(plain: Path, work: Path, runs: int) -> Iterator[Row]:
    """Measure ``medimg reorient`` of a .nii against ``mrconvert -strides``: flips, permuted axes."""
    import nibabel

    medimg, mrconvert = medimg_command(), shutil.which("mrconvert")
    codes = "".join(nibabel.aff2axcodes(nibabel.load(plain).affine))
    turned = opposite(codes)
    cases = (
        ("one axis flipped", turned[0] + codes[1:], 1.1),
        ("all axes flipped", turned, 1.1),
        ("axes permuted and flipped", turned[1] + codes[2] + turned[0], 0.5),
    )
    mine, other = work / "ours-turned.nii", work / "mr-turned.nii"
    for what, target_codes, target in cases:
        name = f"reorient .nii to .nii, {what}"
        if mrconvert is None:
            yield skipped(name, "mrconvert -strides", target, "mrconvert is not here")
            continue
        ours = [*medimg, "reorient", str(plain), str(mine), "--to", target_codes]
        theirs = [mrconvert, "-quiet", str(plain), "-strides", strides_for(target_codes), str(other)]
        timed(ours, mine)
        timed(theirs, other)
        note = f"{codes} to {target_codes}; {same_image(mine, other)}"
        pair, outputs = (ours, theirs), (mine, other)
        yield compare(name, "mrconvert -strides", pair, target, runs, outputs=outputs, note=note)
        mine.unlink()
        other.unlink()


def bench_operations(head: Path, plain: Path, work: Path, runs: int, copies: int) -> Iterator[Row]:
    """Measure resampling, statistics and cropping of the head against MRtrix, and against what they cost at least."""
    medimg, ours, theirs = medimg_command(), work / "ours.nii.gz", work / "theirs.nii.gz"
    pairs = (
        ("resample to 1 mm, linear", "mrgrid", 0.5, ["resample", "--spacing", "1", "--quiet", head, ours],
         ["regrid", theirs, "-voxel", "1", "-interp", "linear", "-quiet"], (ours, theirs)),
        ("stats, .nii.gz", "mrstats", 0.4, ["stats", head], [], None),
    )  # fmt: skip
    for what, peer, target, words, more, outputs in pairs:
        found = shutil.which(peer)
        if found is None:
            yield skipped(what, peer, target, f"{peer} is not here")
            continue
        pair = [*medimg, *map(str, words)], [found, str(head), *map(str, more)]
        yield compare(what, peer, pair, target, runs, outputs=outputs)
    small, part, same = work / "small.nii", work / "part.nii", work / "same.nii"
    proving.run([*medimg, "crop", "--to-shape", "64", str(plain), str(small)], timeout=600)
    crop = [*medimg, "crop", "--to-shape", "62", "--quiet"]
    pair = [*crop, str(plain), str(part)], [*crop, str(small), str(same)]
    note = "62 x 62 x 62 of 274 x 384 x 384, against the same of 64 x 64 x 64"
    yield compare("crop from an 81 MB .nii", "from one of 0.5 MB", pair, 1.25, runs, outputs=(part, same), note=note)
    yield peak_of_command("81 MB: resample to 1 mm", ["resample", "--spacing", "1", "-f", str(head), str(ours)], 700.0)
    large = tiled(head, work / "large.nii.gz", copies)
    for size, source in (("81 MB", head), (f"{copies} x 81 MB", large)):
        yield peak_of_command(f"{size}: stats", ["stats", str(source)], 150.0)
    large.unlink()


def bench_pictures(head: Path, work: Path, torchio: str | None, runs: int) -> Iterator[Row]:
    """Measure films of the head against TorchIO's, all slices in both, and the size of a GIF against Pillow's."""
    medimg, whole = medimg_command(), ["--seconds", "8"]
    theirs = Path(torchio).absolute().with_name("torchio") if torchio else None
    for command, suffix, target in (("gif", ".gif", 0.30), ("video", ".mp4", 0.40)):
        what = f"{command} of 384 slices"
        outputs = work / f"ours-{command}{suffix}", work / f"theirs-{command}{suffix}"
        if theirs is None:
            yield skipped(what, "torchio animate", target, "no environment with TorchIO")
        else:
            pair = (
                [*medimg, command, *whole, str(head), str(outputs[0])],
                [str(theirs), "animate", str(head), str(outputs[1]), *whole],
            )
            note = counted(*pair, outputs)
            yield compare(what, "torchio animate", pair, target, runs, outputs=outputs, note=note)
        words = [command, *whole, "-f", str(head), str(outputs[0])]
        yield peak_of_command(f"81 MB: {command}{suffix}", words, 300.0)
    mine = work / "ours-gif.gif"
    size, plain, note = mine.stat().st_size / 1e6, *pillow_gif(mine)
    yield Row("size of a GIF, 384 slices", "Pillow's plain save", size, plain, size / plain, 1.05, "MB", 1, note)


def counted(ours: Command, theirs: Command, outputs: tuple[Path, Path]) -> str:
    """Make both films once and say how many frames they have; Pillow's GIF makes one of frames that are the same."""
    from PIL import Image

    counts = []
    for command, output in zip((ours, theirs), outputs, strict=True):
        timed(command, output)
        if output.suffix == ".gif":
            with Image.open(output) as film:
                counts.append(film.n_frames)
        else:
            words = ["ffprobe", "-v", "error", "-show_entries", "stream=nb_frames", "-of", "csv=p=0", str(output)]
            counts.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    return f"{counts[0]} frames, TorchIO's has {counts[1]}"


def pillow_gif(film: Path) -> tuple[float, str]:
    """Return the MB that Pillow needs for the same frames, and what was compared."""
    from io import BytesIO

    from PIL import Image

    frames = []
    with Image.open(film) as shown:
        for number in range(shown.n_frames):
            shown.seek(number)
            frames.append(shown.convert("L"))
    memory = BytesIO()
    frames[0].save(memory, "GIF", save_all=True, append_images=frames[1:], duration=20, loop=0)
    return len(memory.getvalue()) / 1e6, f"{frames[0].width} x {frames[0].height}, the same frames"


def tiled(head: Path, target: Path, copies: int) -> Path:
    """Write the head `copies` times over as one 4-D .nii.gz of one gzip member."""
    import nibabel

    image = nibabel.load(head)
    header = image.header.copy()
    header.set_data_shape((*image.shape, copies))
    header.set_data_offset(352)
    with gzip.open(head) as source:
        source.seek(int(image.dataobj.offset))
        voxels = source.read()
    packer = gzip
    with contextlib.suppress(ImportError):
        packer = importlib.import_module("isal.igzip")
    with packer.open(target, "wb", compresslevel=1) as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        for _ in range(copies):
            file.write(voxels)
    return target


def peak_of(what: str, source: Path, target: Path, *words: str) -> Row:
    """Convert once and hold the peak resident memory against the limit."""
    return peak_of_command(what, ["convert", str(source), str(target), "--force", *words], 120.0)


def peak_of_command(what: str, words: Sequence[str], target: float) -> Row:
    """Run medimg once and hold the peak resident memory against the limit, in MB."""
    outcome = proving.run([*medimg_command(), *words], timeout=600)
    if outcome.code != 0:
        raise RuntimeError(f"medimg exited with {outcome.code}: {' '.join(outcome.err_lines[-1:])}")
    peak = outcome.peak / 1e6
    return Row(f"peak memory, {what}", "-", peak, 0.0, peak, target, "MB", 1, f"{outcome.seconds:.2f} s")


def bench_memory(head: Path, plain: Path, work: Path, copies: int) -> Iterator[Row]:
    """Measure the peak resident memory of conversions of the head and of a much larger image."""
    large = tiled(head, work / "large.nii.gz", copies)
    large_plain = work / "large.nii"
    jobs: list[tuple[str, Path, Path]] = []
    for size, source, flat in (("81 MB", head, plain), (f"{copies} x 81 MB", large, large_plain)):
        jobs += [
            (f"{size}: .nii.gz to .nii", source, flat),
            (f"{size}: .nii.gz to .nii.gz", source, work / "peak.nii.gz"),
            (f"{size}: .nii to .nii.gz", flat, work / "peak.nii.gz"),
            (f"{size}: .nii.gz to .nrrd", source, work / "peak.nrrd"),
            (f"{size}: .nii.gz to .mha", source, work / "peak.mha"),
            (f"{size}: .nii.gz to .mgz", source, work / "peak.mgz"),
        ]
    for what, source, target in jobs:
        chosen = work / "peak.nii" if target == plain else target
        yield peak_of(what, source, chosen)
        if chosen != large_plain:
            chosen.unlink()
    yield from bench_memory_scaled(large_plain, work)
    large.unlink()
    large_plain.unlink()


def bench_memory_scaled(large: Path, work: Path) -> Iterator[Row]:
    """Measure the peak where every voxel changes its type: a slope that the target can't hold, and a cast."""
    with large.open("r+b") as file:
        file.seek(112)
        file.write(struct.pack("<2f", 0.5, -3.0))  # scl_slope, scl_inter
    target = work / "peak.nrrd"
    yield peak_of("large: scaled .nii to .nrrd of floats", large, target)
    yield peak_of("large: .nii to .nrrd, --dtype float64", large, target, "--dtype", "float64")
    target.unlink()


def figures(options: argparse.Namespace, work: Path) -> Iterator[Row]:
    """Take every figure that can be taken on this machine."""
    data = proving.data_folder()
    nib = nibabel_folder(options.nib_python)
    parts = options.only or PARTS
    if "info" in parts:
        yield from bench_info(data, work, nib, options.runs)
    if data is None:
        print("bench: no real files (MEDIMG_TEST_DATA): conversions are not measured", file=sys.stderr)
        return
    head, plain = data / HEAD, work / "head.nii"
    with gzip.open(head) as source, plain.open("wb") as target:
        shutil.copyfileobj(source, target, MIB)
    slow = max(5, options.runs // 3)
    if "convert" in parts:
        yield from bench_convert(head, work, nib, slow)
    if "reorient" in parts:
        yield from bench_reorient(plain, work, slow)
    if "operations" in parts:
        yield from bench_operations(head, plain, work, slow, options.copies)
    if "pictures" in parts:
        yield from bench_pictures(head, work, options.torchio_python, slow)
    if "dicom" in parts:
        import dicom

        yield from dicom.figures(data, work, slow)
    if "check" in parts:
        import check

        yield from check.figures(head, work, slow)
    if "memory" in parts:
        yield from bench_memory(head, plain, work, options.copies)


def line(row: Row) -> str:
    """Return one row of the Markdown table."""
    precision = 1 if row.unit == "MB" else 3
    theirs = f"{row.theirs:.{precision}f} {row.unit}" if row.theirs else "-"
    value = f"{row.value:.3f} x" if row.theirs else f"{row.value:.{precision}f} {row.unit}"
    limit = f"{row.target:g} x" if row.theirs or row.verdict == "SKIP" else f"{row.target:g} {row.unit}"
    ours = f"{row.ours:.{precision}f} {row.unit}"
    cells = (row.what, row.against, ours, theirs, value, limit, row.verdict, str(row.runs), row.note)
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the figures and print them as they come."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--runs", type=int, default=15, help="runs of the fast pairs; slow ones take a third, at least 5"
    )
    parser.add_argument("--copies", type=int, default=13, help="how many heads make the large image")
    parser.add_argument("--nib-python", metavar="PYTHON", default=os.environ.get("MEDIMG_BENCH_NIB_PYTHON"),
                        help="python of an environment with nibabel and without pydicom")  # fmt: skip
    parser.add_argument("--torchio-python", metavar="PYTHON", default=os.environ.get("MEDIMG_BENCH_TORCHIO_PYTHON"),
                        help="python of an environment with TorchIO 2")  # fmt: skip
    parser.add_argument("--only", action="append", choices=PARTS)
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    print("| figure | against | medimg | peer | value | target | | runs | note |\n|" + "---|" * 9, flush=True)
    with tempfile.TemporaryDirectory(prefix="medimg-bench-") as work:
        for row in figures(options, Path(work)):
            rows.append(row)
            print(line(row), flush=True)
    if options.json:
        listed = [asdict(row) | {"verdict": row.verdict} for row in rows]
        Path(options.json).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row.verdict == "FAIL" for row in rows) else 0


if __name__ == "__main__":
    sys.modules["bench"] = sys.modules["__main__"]
    sys.exit(main())

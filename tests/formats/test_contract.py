"""The contract that every row of ``FORMATS`` is held to, by itself.

A format that writes is tested on the images of ``tests.helpers``, in every suffix and compression that it has; one that only
reads needs an entry in ``SHIPPED`` here, and a test fails until there is one.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend, Backend, StoredBackend, scale
from medimg_cli.errors import (
    FormatError,
    MedImgError,
    MissingExtraError,
    StorageError,
    TruncatedError,
    UsageError,
)
from medimg_cli.formats import FORMATS, Format, codec_module, open_backend
from medimg_cli.formats.writing import losses, save_backend, what_comes_back
from medimg_cli.header import Header, differences
from medimg_cli.storage.compress import open_sink
from medimg_cli.storage.encoded import EncodedSource
from tests.helpers import (
    DTYPES,
    KINDS,
    fingerprint,
    fits,
    laid_out,
    layouts,
    make,
    one_line,
    output_suffixes,
    part,
    read,
    regions,
    torture,
    unlike,
    voxels,
    write,
)

ROOT = Path(__file__).resolve().parents[2]
NIBABEL_DATA = "tests/data"

#: Formats whose compression changes voxels; they say so in their loss report.
LOSSY = {"jpeg"}
#: Formats and compressions that cannot be opened without their end: a table of contents, or blocks larger than our image.
NEEDS_ITS_END = {"npz", "hdf5", ".bz2", ".zst"}
#: Kinds of images for every suffix but the first of a format, which gets them all.
FEW = ("plain", "picture", "time", "rgb", "time-rgb", "scaled", "labels", "described")


def files_of(folder: Path) -> list[Path]:
    """Return all files below a folder: an image may be one file, several, or a folder of chunks."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Sample(NamedTuple):
    """An image in a file, in a folder of its own; the image that was written, where there was one."""

    row: Format
    path: Path
    image: ArrayBackend | None

    def open(self) -> Backend:
        return open_backend(str(self.path))

    def copy(self, folder: Path) -> Sample:
        """Copy its files into an empty folder."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.path.parent, folder)
        return self._replace(path=folder / self.path.name)

    @property
    def label(self) -> str:
        return f"{self.row.name} {self.path.parent.name}/{self.path.name}"


# images that others wrote, for formats that are only read


def _nibabel_files(*groups: tuple[str, ...]) -> Callable[[Path], Iterator[Path]]:
    """Return a maker of samples from files that nibabel's package carries; the first of a group is the image."""

    def make_samples(folder: Path) -> Iterator[Path]:
        nibabel = pytest.importorskip("nibabel")
        data = Path(nibabel.__file__).parent / NIBABEL_DATA
        for number, names in enumerate(groups):
            if all((data / name).exists() for name in names):
                own = folder / str(number)
                own.mkdir(parents=True)
                for name in names:
                    shutil.copy(data / name, own)
                yield own / names[0]

    return make_samples


def _analyze(folder: Path) -> Iterator[Path]:
    nibabel = pytest.importorskip("nibabel")
    for number, (dtype, shape) in enumerate((("int16", (5, 4, 3)), ("float32", (5, 4, 3, 2)), ("uint8", (7, 6)))):
        own = folder / str(number)
        own.mkdir(parents=True)
        nibabel.save(nibabel.analyze.AnalyzeImage(voxels(shape, dtype), None), own / "x.img")
        yield own / ("x.hdr" if number else "x.img")


def _jpeg2000(folder: Path) -> Iterator[Path]:
    pictures = pytest.importorskip("PIL.Image")
    for number, shape in enumerate(((40, 50), (40, 50, 3))):
        own = folder / str(number)
        own.mkdir(parents=True)
        pictures.fromarray(voxels(shape, "uint8")).save(own / "x.jp2")
        yield own / "x.jp2"


def _dicom(folder: Path) -> Iterator[Path]:
    pydicom = pytest.importorskip("pydicom")
    data = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in (
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "examples_rgb_color.dcm",
        "image_dfl.dcm",
    ):
        own = folder / name
        own.mkdir(parents=True)
        shutil.copy(data / name, own)
        yield own / name


def _archives(folder: Path) -> Iterator[Path]:
    for n, path in enumerate(_dicom(folder)):
        packed = path.parent / ("x.zip" if n % 2 else "x.tar")
        if n % 2:
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED if n > 2 else zipfile.ZIP_STORED) as archive:
                archive.write(path, path.name)
        else:
            with tarfile.open(packed, "w") as tar:
                tar.add(path, path.name)
        path.unlink()
        yield packed


SHIPPED: dict[str, Callable[[Path], Iterator[Path]]] = {
    "analyze": _analyze,
    "dicom": _dicom,
    "archive": _archives,
    "jpeg2000": _jpeg2000,
    "minc1": _nibabel_files(("tiny.mnc",), ("minc1_1_scale.mnc",), ("minc1_4d.mnc",), ("minc1-no-att.mnc",)),
    "minc2": _nibabel_files(("minc2_1_scale.mnc",), ("minc2_4d.mnc",), ("minc2-no-att.mnc",)),
    "parrec": _nibabel_files(("phantom_EPI_asc_CLEAR_2_1.PAR", "phantom_EPI_asc_CLEAR_2_1.REC"),
                             ("phantom_varscale.PAR", "phantom_varscale.REC")),
    "afni": _nibabel_files(("example4d+orig.HEAD", "example4d+orig.BRIK.gz"), ("scaled+tlrc.HEAD", "scaled+tlrc.BRIK")),
}  # fmt: skip


# the library of samples


def _suffixes(row: Format) -> list[str]:
    """Return the endings that a format is tested in: all, but rare compressions only behind its usual suffix."""
    return [s for s in output_suffixes(row) if not s.endswith((".bz2", ".zst")) or s.startswith(row.suffixes[0])]


CASES = [(row, suffix) for row in FORMATS for suffix in _suffixes(row)]
CASES += [(row, "") for row in FORMATS if row.name in SHIPPED and not output_suffixes(row)]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].name}{case[1]}")
written_case = pytest.mark.parametrize(
    "case", [case for case in CASES if case[1]], ids=lambda case: f"{case[0].name}{case[1]}"
)

_made: dict[tuple[str, str], list[Sample]] = {}


def _ours(row: Format, suffix: str, folder: Path) -> Iterator[Sample]:
    first = suffix == output_suffixes(row)[0]
    few = FEW if row.through == "medimg" else FEW[:3]
    wanted = [(kind, KINDS[kind]) for kind in (KINDS if first else few)]
    wanted += [(kind, dtype) for kind in ("plain", "flat") for dtype in DTYPES] if first else []
    for kind, dtype in dict.fromkeys(wanted):
        path = write(folder / f"{kind}-{dtype}", row, suffix, kind, dtype)
        if path is not None:
            yield Sample(row, path, make(kind, dtype))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Format, str], list[Sample]]:
    """Make the samples of a case once."""

    def samples_of(row: Format, suffix: str) -> list[Sample]:
        key = (row.name, suffix)
        if key not in _made:
            folder = tmp_path_factory.mktemp("samples") / f"{row.name}{suffix}"
            if suffix:
                _made[key] = list(_ours(row, suffix, folder))
            else:
                _made[key] = [Sample(row, path, None) for path in SHIPPED[row.name](folder)]
        return _made[key]

    _made.clear()
    return samples_of


@pytest.fixture
def samples(case: tuple[Format, str], library: Callable[[Format, str], list[Sample]]) -> Iterator[list[Sample]]:
    """The samples of a case, and that no test changes them."""
    row, suffix = case
    try:
        found = library(row, suffix)
        for sample in found[:1]:
            sample.open()
    except MissingExtraError as error:
        if not row.extra and ".zst" not in suffix:
            raise
        pytest.skip(f"extra [{row.extra or 'zst'}] is not installed: {error}")
    except UsageError as error:
        assert one_line(error)
        pytest.skip(f"no such files are written: {error.message}")
    before = [fingerprint(sample.path.parent) for sample in found]
    yield found
    for sample, then in zip(found, before, strict=True):
        assert fingerprint(sample.path.parent) == then, f"{sample.label} was changed"


def same(found: Any, expected: Any, sample: Sample, *about: Any) -> None:
    problem = unlike(found, expected)
    assert problem is None, (sample.label, problem, *about)


# what there is to test


def test_every_row_is_covered() -> None:
    """A new format is tested by itself if it writes; else it needs samples here."""
    covered = {row.name for row, _ in CASES}
    for row in FORMATS:
        assert row.planned or row.name in covered, f"{row.name} is only read: add files of it to SHIPPED"
    assert set(SHIPPED) <= {row.name for row in FORMATS}


@each_case
def test_there_are_samples(samples: list[Sample], case: tuple[Format, str]) -> None:
    assert len(samples) >= (4 if case[1] and case[0].through == "medimg" else 1)


@written_case
def test_images_come_back(samples: list[Sample], case: tuple[Format, str]) -> None:
    """Values, place, and everything else but what the report names."""
    row, suffix = case
    for sample in samples:
        assert sample.image is not None
        backend = sample.open()
        header, before = backend.header, sample.image.header
        assert header.format == row.name, sample.label
        assert not [w for w in header.warnings if "otherwise" in w or "truncated" in w], (
            sample.label,
            header.warnings,
        )
        own = [path for path in files_of(sample.path.parent) if path.suffix not in (".bval", ".bvec", ".tsv")]
        assert header.file_bytes == sum(path.stat().st_size for path in own), sample.label
        assert (header.compression is None) or suffix.endswith((".gz", ".bz2", ".zst", ".mgz")) or len(suffix) > 3
        assert header.shape == before.shape, sample.label
        report = {difference.field for difference in losses(before, str(sample.path))}
        if "affine" not in report:
            assert header.affine.mm_shift(before.affine, header.shape[1:]) < 1e-3, sample.label
        if row.name not in LOSSY:
            same(read(backend), read(sample.image), sample)
            if header.dtype == before.dtype and header.slope == before.slope:
                same(read(backend, raw=True), sample.image.array, sample)


# reading


@each_case
def test_a_region_is_a_slice_of_the_whole(samples: list[Sample]) -> None:
    """Raw and scaled, steps of any sign; fresh, writable, native, of exactly the asked shape."""
    count = max(4, 120 // len(samples)) if samples[0].row.through == "medimg" else 3
    for sample in samples:
        backend = sample.open()
        header = backend.header
        for raw in (False, True):
            full = read(backend, raw=raw)
            assert full.dtype == (header.dtype if raw else header.value_dtype), sample.label
            for number, region in enumerate(regions(header.shape, count, seed=len(sample.label))):
                found = backend.read(region, raw=raw)
                assert found.flags.writeable, sample.label
                assert found.dtype == full.dtype and found.dtype.isnative, sample.label
                same(found, part(full, region), sample, region)
                if number < 3:
                    found[...] = 1
                    same(backend.read(region, raw=raw), part(full, region), sample, "is not fresh", region)


@each_case
def test_values_are_stored_numbers_scaled(samples: list[Sample]) -> None:
    """Where raw numbers exist, one slope and inter hold for the whole image."""
    for sample in samples:
        backend = sample.open()
        same(read(backend), scale(read(backend, raw=True), backend.header), sample)


@each_case
def test_blocks_are_the_image_in_any_layout(samples: list[Sample], case: tuple[Format, str]) -> None:
    row, suffix = case
    main = (suffix,) == output_suffixes(row)[:1]
    for turn, sample in enumerate(samples[: 8 if main else 3]):
        backend = sample.open()
        header = backend.header
        if header.data_bytes > 200_000:
            continue
        quick = sample.row.through == "medimg" and sample.image is not None
        for raw, dtype in ((True, header.dtype), (False, header.value_dtype)):
            full = read(backend, raw=raw)
            for number, layout in enumerate(list(layouts(header, dtype))[: None if quick else 3]):
                most = (1 << 24, 16, 100, 1000)[(number + turn) % 4] if quick else max(1, header.data_bytes // 3)
                found = b"".join(map(bytes, backend.blocks(layout, raw=raw, max_bytes=most)))
                assert found == laid_out(full, layout), (sample.label, layout, most)


@each_case
def test_other_sources_give_the_same(samples: list[Sample]) -> None:
    """Bytes, a buffer, an open file: whatever needs no file beside it."""
    for sample in [s for s in samples if files_of(s.path.parent) == [s.path]][:8]:
        expected = sample.open()
        content = sample.path.read_bytes()
        with sample.path.open("rb") as file:
            for source in (content, io.BytesIO(content), file):
                backend = open_backend(source, name=sample.path.name)
                assert differences(backend.header, expected.header) == (), sample.label
                assert backend.header.file_bytes == len(content)
                same(read(backend), read(expected), sample, type(source))
                for region in regions(expected.header.shape, 3):
                    same(backend.read(region), expected.read(region), sample, type(source))


@each_case
def test_backends_pickle_as_their_file(samples: list[Sample], tmp_path: Path) -> None:
    for number, sample in enumerate(samples[:6]):
        backend = sample.open()
        again = pickle.loads(pickle.dumps(backend))
        assert again.header == backend.header, sample.label
        same(read(again), read(backend), sample)
        if number == 0:
            moved = sample.copy(tmp_path / "moved")
            content = pickle.dumps(moved.open())
            for path in files_of(moved.path.parent):
                path.write_bytes(path.read_bytes() + b"\n")
            with pytest.raises(StorageError, match="changed since it was opened"):
                read(pickle.loads(content))


@each_case
def test_threads_read_one_backend_at_once(samples: list[Sample]) -> None:
    for sample in samples[:3]:
        backend = sample.open()
        full = read(sample.open())
        wrong: list[Any] = []

        def work(seed: int, backend: Backend = backend, full: Any = full, wrong: list[Any] = wrong) -> None:
            try:
                for region in regions(backend.header.shape, 4, seed):
                    problem = unlike(backend.read(region), part(full, region))
                    if problem:
                        wrong.append((region, problem))
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, (sample.label, wrong)


@each_case
def test_no_file_stays_open(samples: list[Sample]) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of open files on this platform")
    kept = []
    read(samples[0].open())
    before = len(os.listdir("/proc/self/fd"))
    for sample in samples[:3]:
        backend = sample.open()
        read(backend)
        for region in regions(backend.header.shape, 3):
            backend.read(region)
        kept.append(backend)
    assert len(os.listdir("/proc/self/fd")) == before


# writing


@written_case
def test_writing_again_gives_the_same_bytes(samples: list[Sample], tmp_path: Path) -> None:
    """Read and written again a file is the same, bit by bit; nothing of it depends on time or place."""
    for number, sample in enumerate(samples):
        if sample.row.name in LOSSY:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        assert save_backend(sample.open(), str(folder / sample.path.name)) == (), sample.label
        for path in files_of(sample.path.parent):
            twin = folder / path.relative_to(sample.path.parent)
            assert twin.read_bytes() == path.read_bytes(), (sample.label, path.name)
        assert len(files_of(folder)) == len(files_of(sample.path.parent))


@written_case
def test_bytes_do_not_depend_on_threads(samples: list[Sample], tmp_path: Path) -> None:
    for sample in samples[:2]:
        assert sample.image is not None
        image = sample.image
        if sample.row.name == "nifti2":
            image = ArrayBackend(image.array, image.header.replace(format="nifti2"))
        for threads in (1, 3):
            folder = tmp_path / str(threads)
            folder.mkdir(exist_ok=True)
            save_backend(image, str(folder / sample.path.name), threads=threads, force=True)
            for path in files_of(sample.path.parent):
                assert (folder / path.relative_to(sample.path.parent)).read_bytes() == path.read_bytes(), sample.label


@written_case
def test_a_fitted_header_fits_and_comes_back(samples: list[Sample], case: tuple[Format, str]) -> None:
    """fit(fit(h)) == fit(h) and open(save(h)) == fit(h), with the label table beside it where there is one."""
    for sample in samples:
        assert sample.image is not None
        header = sample.image.header
        if case[0].name == "nifti2":
            header = header.replace(format="nifti2")
        fitted = what_comes_back(header, str(sample.path))
        again = what_comes_back(fitted, str(sample.path))
        assert differences(fitted, again) == differences(again, fitted) == (), sample.label
        back = sample.open().header
        assert differences(fitted, back) == differences(back, fitted) == (), sample.label
        assert differences(back, what_comes_back(back, str(sample.path))) == (), sample.label


@written_case
def test_an_existing_file_is_refused_before_it_is_touched(samples: list[Sample], tmp_path: Path) -> None:
    sample = samples[0].copy(tmp_path / "copy")
    before = fingerprint(sample.path.parent)
    with pytest.raises(StorageError, match="already exists"):
        save_backend(samples[-1].open(), str(sample.path))
    assert fingerprint(sample.path.parent) == before
    save_backend(sample.open(), str(sample.path), force=True)  # output = input
    same(read(sample.open()), read(samples[0].open()), sample) if sample.row.name not in LOSSY else None


# damage


def _larger(row: Format, suffix: str, folder: Path) -> Path | None:
    """Write an image whose voxels make most of the file."""
    folder.mkdir()
    for dtype, shape in (("int16", (1, 23, 22, 21)), ("uint8", (1, 23, 22, 21)), ("uint8", (1, 90, 80, 1))):
        array = np.random.default_rng(1).integers(0, 200, shape).astype(dtype)
        ndim = 2 if shape[3] == 1 else 3
        header = Header(shape=shape, dtype=dtype, affine=AffineMatrix(), format=row.name, ndim=ndim)  # type: ignore[arg-type]
        path = folder / f"x{suffix}"
        if fits(codec_module(row), header, str(path)) is not None:
            save_backend(ArrayBackend(array, header), str(path))
            return path
    return None


@written_case
def test_a_header_is_read_without_its_voxels(case: tuple[Format, str], samples: list[Sample], tmp_path: Path) -> None:
    """Mistake 9 of other tools: a truncated file is read as zeros. The header is there, and says what is missing."""
    row, suffix = case
    path = _larger(row, suffix, tmp_path / "x")
    assert path is not None
    whole = open_backend(path)
    stored = getattr(whole, "stored", None)
    plain = isinstance(whole, StoredBackend) and not isinstance(whole.stored.source, EncodedSource)
    data = Path(stored.source.path) if stored is not None and stored.source.path else path
    data = max(files_of(path), key=lambda file: file.stat().st_size) if path.is_dir() else data
    content = data.read_bytes()
    start = stored.span()[0] if plain and stored is not None else len(content) // 2
    lengths = [start, (start + len(content)) // 2, len(content) - max(10, len(content) // 50)]
    for length in lengths[data == path and not start :]:
        data.write_bytes(content[:length])
        if row.name in NEEDS_ITS_END or path.suffix in NEEDS_ITS_END:
            with pytest.raises(FormatError):
                read(open_backend(path))
            continue
        backend = open_backend(path)
        assert (backend.header.shape, backend.header.dtype) == (whole.header.shape, whole.header.dtype)
        if plain:
            assert any("truncated" in warning for warning in backend.header.warnings), length
        for attempt in (
            lambda backend=backend: read(backend),
            lambda backend=backend: backend.read(tuple(range(n - 1, n) for n in backend.header.shape)),
            lambda backend=backend: list(backend.blocks(next(layouts(backend.header)))),
        ):
            with pytest.raises((TruncatedError, FormatError)) as error:
                attempt()
            assert one_line(error.value)


@each_case
def test_damaged_files_are_refused_or_read_right(
    case: tuple[Format, str], samples: list[Sample], tmp_path: Path
) -> None:
    """Cut anywhere and changed anywhere: never a wrong voxel from a cut file, never an error that is not ours."""
    row, suffix = case
    main = not suffix or suffix == output_suffixes(row)[0]
    chosen = (
        samples
        if not suffix
        else [s for s in samples if s.path.parent.name.startswith(("plain-int16", "picture", "time-rgb"))]
    )
    paths = [str(s.copy(tmp_path / str(n)).path) for n, s in enumerate((chosen or samples)[: 2 if main else 1])]
    mutations = 40 if main else 8
    if row.through == "medimg":
        for path in paths:
            assert torture(path, mutations) == []
    if row.through == "medimg" or not main:
        return
    code = "import sys; from tests.helpers import torture; print(*(t for p in sys.argv[2:] for t in torture(p, int(sys.argv[1]))), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(mutations), *paths], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        preexec_fn=_little_memory,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.strip() == ""


def _little_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


@each_case
def test_a_bad_magic_is_refused(samples: list[Sample], case: tuple[Format, str], tmp_path: Path) -> None:
    row, _ = case
    sample = samples[0].copy(tmp_path / "x")
    if sample.path.is_dir():
        pytest.skip("a folder has no magic")
    content = bytearray(sample.path.read_bytes())
    found = [(offset, magic) for offset, magic in row.magic if content.startswith(magic, offset)]
    for offset, magic in found:
        content[offset : offset + len(magic)] = b"\xa5" * len(magic)
    sample.path.write_bytes(content)
    try:
        backend = open_backend(sample.path, format=row.name)
    except MedImgError as error:
        assert one_line(error)
    else:  # the magic of MetaImage is any of its keys, that of NPZ stands again at the end
        assert not found or row.name in ("metaimage", "npz")
        same(read(backend), read(samples[0].open()), sample)


ABSURD = [
    (1, 30_000, 30_000, 30_000),
    (1, 2_000_000_000, 3, 1),
    (300, 30_000, 30_000, 30),
    (1, 1 << 21, 1 << 21, 1 << 21),
]


@written_case
def test_absurd_sizes_are_refused_before_anything_is_allocated(
    case: tuple[Format, str], samples: list[Sample], tmp_path: Path
) -> None:
    """A few bytes that declare terabytes: the header may be told, the voxels are refused, without memory for them."""
    row, suffix = case
    module = codec_module(row)
    if not hasattr(module, "encode"):
        pytest.skip("written by a library that makes no header alone")
    tried = 0
    for number, shape in enumerate(ABSURD):
        path = tmp_path / f"{number}{suffix}"
        header = Header(shape=shape, dtype="float32", affine=AffineMatrix(), format=row.name)  # type: ignore[arg-type]
        try:
            encoded = module.encode(module.fit(header, str(path)), str(path), None)
        except MedImgError:
            continue
        if len(encoded.head) > 1 << 20:
            continue  # TIFF: a page has a header of its own
        _write_without_voxels(encoded, path)
        tried += 1
        tracemalloc.start()
        try:
            for attempt in (
                lambda path=path: read(open_backend(path)),
                lambda path=path: open_backend(path).read((range(1),) * 4),
                lambda path=path, layout=encoded.layout: next(iter(open_backend(path).blocks(layout))),
            ):
                with pytest.raises(FormatError) as error:
                    attempt()
                assert one_line(error.value)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 32 << 20
    assert tried


def _write_without_voxels(encoded: Any, path: Path) -> None:
    """Write the files of an image with a hundred bytes where the voxels belong."""

    def packed(content: bytes, compression: str | None) -> bytes:
        out: list[bytes] = []
        sink = open_sink(lambda piece: out.append(bytes(piece)), compression)
        sink.write(content)
        sink.finish()
        return b"".join(out)

    rest = bytes(100) + encoded.tail
    plain = encoded.head if encoded.head_plain else b""
    data = plain + packed(rest if plain else encoded.head + rest, encoded.compression)
    (path.parent / (encoded.data_name or path.name)).write_bytes(data)
    if encoded.header:
        (path.parent / (encoded.header_name or path.name)).write_bytes(
            packed(encoded.header, encoded.header_compression)
        )


@written_case
def test_a_bad_checksum_is_raised_before_the_last_block(
    case: tuple[Format, str], samples: list[Sample], tmp_path: Path
) -> None:
    """Whoever writes what comes out of ``blocks`` never completes a damaged image."""
    row, suffix = case
    path = _larger(row, suffix, tmp_path / "x")
    assert path is not None
    whole = open_backend(path)
    if whole.header.compression not in ("gzip", "zlib", "bzip2", "zstd") or not isinstance(whole, StoredBackend):
        return
    data = Path(whole.stored.source.path or path)
    content = bytearray(data.read_bytes())
    content[-2] ^= 0x10  # CRC, length or Adler checksum: all end a stream
    data.write_bytes(content)
    try:
        backend = open_backend(path)
    except FormatError:
        assert suffix.endswith((".bz2", ".zst"))  # one block holds it all
        return
    for layout in list(layouts(backend.header))[:3]:
        got = 0
        with pytest.raises(FormatError):
            for piece in backend.blocks(layout, max_bytes=5000):
                got += len(piece)
        assert got < layout.nbytes
    with pytest.raises(FormatError):
        read(backend)


def test_the_suite_notices_what_is_compressed() -> None:
    """The cases hold plain and compressed files of one format."""
    suffixes = {suffix for row, suffix in CASES if row.name == "nifti1"}
    assert {".nii", ".nii.gz", ".nii.bz2", ".nii.zst", ".hdr", ".hdr.gz"} <= suffixes
    assert gzip.decompress(gzip.compress(b"x")) == b"x"

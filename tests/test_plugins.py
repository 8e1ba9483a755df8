"""Formats from elsewhere: what packages bring along by entry points, and what a program registers for itself."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli import formats
from medimg_cli.errors import FormatError, MedImgError, UsageError
from medimg_cli.formats import FORMATS, USERS, all_formats, find_format, knows_suffix, open_backend, plugins
from medimg_cli.formats.plugins import PluginWarning, ReadRequest
from medimg_cli.formats.writing import save_backend
from medimg_cli.sources.registry import register_backend, unregister_backend
from tests.cli.conftest import environment
from tests.helpers import make, read
from tests.web import Site


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    """Begin and end without anything from elsewhere."""
    plugins.plugin_rows.cache_clear()
    yield
    assert USERS == []
    plugins.plugin_rows.cache_clear()


class Numbers:
    """A lazy backend as TorchIO's documentation shows it: 24 numbers of a text file, read when they are indexed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shape, self.affine, self.dtype = (1, 2, 3, 4), np.diag([2.0, 3, 4, 1]), np.dtype("int16")

    def __getitem__(self, index: Any) -> Any:
        return np.loadtxt(self.path, dtype="int16").reshape(self.shape)[index]


def numbers_file(folder: Path, name: str = "a.numbers") -> Path:
    np.savetxt(folder / name, np.arange(24), fmt="%d")
    return folder / name


# register_backend


def test_a_suffix_and_a_factory(tmp_path: Path) -> None:
    path = numbers_file(tmp_path)
    with pytest.raises(FormatError, match="is no image format that medimg knows"):
        mi.Image(path)
    with register_backend("numbers", ".numbers", lambda request: Numbers(request.path)):
        for source in (path, str(path), f"file://{path}"):
            image = mi.ScalarImage(source, te=3)
            assert (image.shape, image.spacing, image.te, image.is_loaded) == ((1, 2, 3, 4), (2.0, 3.0, 4.0), 3, False)
        assert image[..., ::2].numpy().ravel().tolist() == list(range(0, 24, 2))
        assert mi.read_header(path).format == "numbers"
        assert find_format("numbers").title == "numbers"
        assert mi.read_array(path)[0].sum() == 276
        image.save(tmp_path / "a.nii")
        assert np.array_equal(mi.Image(tmp_path / "a.nii").numpy(), image.numpy())
        with pytest.raises(FileNotFoundError):
            mi.Image(tmp_path / "absent.numbers")
        with pytest.raises(UsageError):
            image.save(tmp_path / "b.numbers")
    with pytest.raises(FormatError):
        mi.Image(path)


def test_matchers_are_functions(tmp_path: Path, site: Site) -> None:
    """As in TorchIO: a matcher and a factory, which get a request."""
    marker = tmp_path / "marker.fake"
    marker.touch()
    seen: list[ReadRequest] = []

    def matcher(request: ReadRequest) -> bool:
        seen.append(request)
        return request.path is not None and request.path.suffix == ".fake"

    register_backend("fake", matcher, lambda request: make("time"))
    try:
        assert mi.Image(marker).shape == (4, 5, 4, 3)
        assert (seen[0].path, seen[0].url, dict(seen[0].reader_kwargs)) == (marker, None, {})
        with pytest.raises(FormatError):
            mi.Image(b"nothing of ours")
        assert (seen[-1].path, seen[-1].url) == (None, None)
        assert seen[-1].source is not None
        assert seen[-1].source.head(7) == b"nothing"
        if "fsspec" in sys.modules:
            url = site.add("x.fake", b"nothing of ours")
            with pytest.raises(FormatError):
                mi.Image(url)
            assert (seen[-1].path, seen[-1].url) == (None, url)
    finally:
        unregister_backend("fake")
    unregister_backend("fake")
    with pytest.raises(FormatError, match="is empty"):
        mi.Image(marker)


def test_content_of_ours_goes_first_unless_told(tmp_path: Path) -> None:
    save_backend(make("plain"), str(tmp_path / "a.nii.gz"))
    (tmp_path / "b.nii").write_bytes(b"something else entirely")
    (tmp_path / "c.nii").write_bytes(b"")
    with register_backend("mine", (".nii.gz", ".NII"), lambda request: (np.ones((1, 2, 2, 2)), np.eye(4))):
        assert mi.Image(tmp_path / "a.nii.gz").shape == (1, 5, 4, 3)
        assert mi.Image(tmp_path / "b.nii").shape == (1, 2, 2, 2)
        assert mi.Image(tmp_path / "c.nii").shape == (1, 2, 2, 2)
    with register_backend("mine", ".nii.gz", lambda request: (np.ones((2, 2)), None), prepend=True):
        assert mi.Image(tmp_path / "a.nii.gz").shape == (1, 2, 2, 1)
        assert open_backend(str(tmp_path / "a.nii.gz"), format="nifti1").header.shape == (1, 5, 4, 3)
    assert mi.Image(tmp_path / "a.nii.gz").shape == (1, 5, 4, 3)


def test_the_last_registered_is_asked_first(tmp_path: Path) -> None:
    path = numbers_file(tmp_path)
    shapes = {"one": (1, 1, 1, 1), "two": (1, 2, 1, 1)}
    for name, shape in shapes.items():
        register_backend(name, ".numbers", lambda request, shape=shape: (np.zeros(shape), None))
    assert mi.Image(path).header.format == "two"
    register_backend("one", ".numbers", lambda request: (np.zeros((1, 3, 1, 1)), None))
    assert mi.Image(path).shape == (1, 3, 1, 1)
    unregister_backend("one")
    assert mi.Image(path).header.format == "two"
    unregister_backend("two")


def test_folders_can_be_images(tmp_path: Path) -> None:
    folder = tmp_path / "study.slices"
    folder.mkdir()
    numbers_file(folder)
    with register_backend("slices", ".slices", lambda request: Numbers(request.path / "a.numbers")):
        assert mi.Image(folder).shape == (1, 2, 3, 4)
        with pytest.raises(MedImgError, match="is a folder"):
            mi.Image(tmp_path)


def test_magic_decides(tmp_path: Path) -> None:
    (tmp_path / "noname").write_bytes(b"MAGIC" + bytes(24))

    def is_magic(request: ReadRequest) -> bool:
        return request.source is not None and request.source.head(5) == b"MAGIC"

    def opened(request: ReadRequest) -> Any:
        assert request.source is not None
        with request.source.cursor() as cursor:
            return np.frombuffer(b"".join(cursor.chunks(5, 24)), "uint8").reshape(1, 2, 3, 4), None

    with register_backend("magic", is_magic, opened):
        for source in (tmp_path / "noname", (tmp_path / "noname").read_bytes()):
            assert mi.Image(source).shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("name", "matcher", "factory"),
    [
        ("", ".x", make),
        ("nifti1", ".x", make),
        ("a", "x", make),
        ("a", (), make),
        ("a", (".x", 5), make),
        ("a", 5, make),
        ("a", ".x", None),
    ],
)
def test_registrations_that_make_no_sense(name: str, matcher: Any, factory: Any) -> None:
    with pytest.raises((UsageError, TypeError)):
        register_backend(name, matcher, factory)


def test_factories_that_fail(tmp_path: Path) -> None:
    path = numbers_file(tmp_path)
    with (
        register_backend("bad", ".numbers", lambda request: 5),
        pytest.raises(TypeError, match="an int is no|a int is no"),
    ):
        mi.Image(path)
    with register_backend("bad", ".numbers", lambda request: 1 / 0), pytest.raises(ZeroDivisionError):
        mi.Image(path)


def test_many_threads_register() -> None:
    def churn(number: int) -> None:
        for _ in range(200):
            register_backend(f"b{number}", ".numbers", make).remove()

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# entry points

PLUGIN = '''
"""A package that brings formats along."""

from medimg_cli.formats import Format

TEXT = Format("numbers", "Text of numbers", (".numbers",), "scanner_formats", compressed=True, writes=False, through="numpy")
SCAN = Format("scan", "Scanner dump", (".scan",), "scanner_formats", ((0, b"SCANNER"),), through="numpy")
BOTH = (TEXT, SCAN)
NIFTI = Format("nifti1", "Not yours", (".nii",), "scanner_formats")
GONE = Format("gone", "Gone", (".gone",), "scanner_no_such_module")
WORD = ("a word",)


def open(source, compression):
    import numpy as np

    from medimg_cli.affine import AffineMatrix
    from medimg_cli.backends import ArrayBackend
    from medimg_cli.header import Header

    with source.cursor() as cursor:
        text = b"".join(bytes(piece) for piece in cursor.chunks(0, 1 << 20)).removeprefix(b"SCANNER")
    array = np.array(text.split(), "int16").reshape(1, 2, 3, -1)
    return ArrayBackend(array, Header(shape=array.shape, dtype="int16", affine=AffineMatrix.from_spacing((2, 3, 4))))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Install a package with entry points into a folder, and return what says which."""
    place = tmp_path / "site-packages"
    (place / "scanner-1.0.dist-info").mkdir(parents=True)
    (place / "scanner_formats.py").write_text(PLUGIN)
    (place / "scanner-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: scanner\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(place))

    def offers(*objects: str) -> Path:
        lines = "".join(f"p{number} = scanner_formats:{name}\n" for number, name in enumerate(objects))
        (place / "scanner-1.0.dist-info" / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{lines}")
        plugins.plugin_rows.cache_clear()
        return place

    yield offers
    sys.modules.pop("scanner_formats", None)


def test_packages_bring_formats(package: Any, tmp_path: Path) -> None:
    package("BOTH")
    path = numbers_file(tmp_path)
    image = mi.Image(path)
    assert (image.shape, image.header.format, image.header.warnings) == ((1, 2, 3, 4), "numbers", ())
    assert mi.Image(path.read_bytes(), suffix=".numbers").spacing == (2.0, 3.0, 4.0)
    (tmp_path / "x.dat").write_bytes(b"SCANNER" + path.read_bytes())
    assert mi.read_header(tmp_path / "x.dat").format == "scan"
    assert [row.name for row in all_formats()[len(FORMATS) :]] == ["numbers", "scan"]
    assert knows_suffix(".scan")
    assert not knows_suffix(".scam")
    (tmp_path / "y.scan").write_bytes(path.read_bytes())
    with pytest.raises(FormatError, match="is no image format"):
        mi.Image(tmp_path / "y.scan")
    with pytest.raises(UsageError, match="Scanner dump is read only"):
        image.save(tmp_path / "out.scan")
    assert open_backend(str(tmp_path / "y.scan"), format="scan").header.shape == (1, 2, 3, 4)


def test_a_single_row_will_do(package: Any, tmp_path: Path) -> None:
    package("TEXT")
    assert mi.Image(numbers_file(tmp_path)).shape == (1, 2, 3, 4)


def test_broken_plugins_are_left_out(package: Any, tmp_path: Path) -> None:
    package("MISSING", "NIFTI", "WORD", "GONE", "TEXT")
    with pytest.warns(PluginWarning) as caught:
        rows = all_formats()
    assert [row.name for row in rows[len(FORMATS) :]] == ["gone", "numbers"]
    text = [str(each.message) for each in caught]
    assert len(text) == 3
    assert "there is a format 'nifti1' already" in text[1]
    assert "names a str" in text[2]
    (tmp_path / "a.gone").write_bytes(b"x")
    with (
        pytest.warns(PluginWarning, match="'gone' does not work"),
        pytest.raises(FormatError, match="is no image format"),
    ):
        mi.Image(tmp_path / "a.gone")
    assert mi.Image(numbers_file(tmp_path)).shape == (1, 2, 3, 4)


def test_plugins_are_not_looked_at_for_what_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(*args: Any, **kwargs: Any) -> tuple[EntryPoint, ...]:
        raise AssertionError("nobody needs plugins here")

    monkeypatch.setattr("importlib.metadata.entry_points", looked)
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.mgz"):
        save_backend(make("plain"), str(tmp_path / name))
        mi.Image(tmp_path / name).save(tmp_path / f"copy-{name}")
    assert formats.split_suffix("a.xyz")[1] == ".xyz"
    assert find_format("nrrd").name == "nrrd"


def test_plugins_work_on_the_command_line_and_in_workers(package: Any, tmp_path: Path) -> None:
    import json
    import os
    import subprocess

    place = package("BOTH", "MISSING")
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("a.numbers", "b.numbers", "c.numbers"):
        numbers_file(folder, name)
    root = Path(mi.__file__).parents[1]

    def medimg(*words: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120}
        search = environment(PYTHONPATH=os.pathsep.join((str(root), str(place))))
        return subprocess.run(
            [sys.executable, "-m", "medimg_cli", *map(str, words)], env=search, check=False, **settings
        )

    listed = medimg("formats", "--format", "json")
    assert {row["name"] for row in json.loads(listed.stdout)} >= {"numbers", "scan", "nifti1"}
    told = medimg("info", "--recursive", "--json", folder)
    assert (told.returncode, [row["format"] for row in json.loads(told.stdout)]) == (0, ["numbers"] * 3)
    assert "Text of numbers" in medimg("info", folder / "a.numbers").stdout
    out = tmp_path / "out"
    done = medimg("convert", *sorted(folder.iterdir()), "--output-dir", out, "--suffix", ".nii", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.nii", "b.nii", "c.nii"]
    assert np.array_equal(read(open_backend(str(out / "b.nii"))).ravel(order="C"), np.arange(24))

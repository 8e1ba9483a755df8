"""URLs and file systems of fsspec: few bytes for a header, few requests for the whole, honest about all that can fail."""

from __future__ import annotations

import gzip
import multiprocessing
import pickle
import random
import socket
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.backends import StoredBackend
from medimg_cli.errors import (
    FormatError,
    MedImgError,
    MissingExtraError,
    NotFoundError,
    StorageError,
    TruncatedError,
    UnsupportedError,
    UsageError,
)
from medimg_cli.formats import FORMATS, Format, open_backend
from medimg_cli.formats.writing import save_backend
from medimg_cli.storage.source import ByteSource, open_source
from medimg_cli.storage.urls import is_located, is_url, localized, public_name
from tests.helpers import make, read, write
from tests.web import Site

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

NOISE = random.Random(7).randbytes(200_000)


@pytest.fixture
def memory() -> Iterator[Any]:
    """Lend fsspec's file system in memory, empty before and after."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def image_file(folder: Path, name: str, kind: str = "plain") -> bytes:
    save_backend(make(kind), str(folder / name))
    return (folder / name).read_bytes()


def big_image(folder: Path, name: str) -> tuple[np.ndarray[Any, Any], bytes]:
    """Return voxels that hardly compress, 20 MB of them, and the bytes of a file with them."""
    array = np.random.default_rng(3).integers(-32768, 32767, (1, 250, 200, 200), "int16")
    mi.Image(array, spacing=(0.5, 0.75, 2)).save(folder / name)
    return array, (folder / name).read_bytes()


def everything(source: ByteSource) -> bytes:
    with source.cursor() as cursor:
        data = b"".join(bytes(piece) for piece in cursor.chunks(0, source.most))
        cursor.verify()
    return data


def refused(source: Any, kind: type[MedImgError] = StorageError) -> str:
    """Return the one line with which opening and reading a source fails."""
    with pytest.raises(kind) as caught:
        mi.Image(source).load()
    line = str(caught.value)
    assert "\n" not in line
    return line


# names


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a.nii.gz?token=1&x=a/b", "https://h/a.nii.gz"),
        ("https://me:p%40ss@h:80/a%20b.nii#top", "https://h:80/a b.nii"),
        ("https://me:p@ss@h/a.nii", "https://h/a.nii"),
        ("HTTP://t0ken@h/a@b.nii", "HTTP://h/a@b.nii"),
        ("https://h/line%0Abreak.nii", "https://h/line%0Abreak.nii"),
        ("s3://bucket/what?.nii", "s3://bucket/what?.nii"),
        ("s3://bucket/a.nii?versionId=3", "s3://bucket/a.nii"),
        ("zip://a.nii::https://u:p@h/x y.zip?sig=a b", "zip://a.nii::https://h/x y.zip"),
        ("ftp://u:p@h/a.nii", "ftp://h/a.nii"),
        ("folder/a?b=1.nii", "folder/a?b=1.nii"),
        ("-", "-"),
    ],
)
def test_secrets_are_no_part_of_a_name(text: str, shown: str) -> None:
    assert public_name(text) == shown


def test_what_a_url_is() -> None:
    for text in ("https://h/a", "S3://b/a", "simplecache::https://h/a", "a+b://c"):
        assert is_url(text)
    for other in ("a.nii", "C://a", "/x://y", "x::y", ":://", "", b"https://h", Path("a"), None):
        assert not is_url(other)
        assert not is_located(other)


def test_files_of_this_machine_need_no_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    path = tmp_path / "my scan 100%25.nii"
    path.write_bytes(image_file(tmp_path, "a.nii"))
    for url in (f"file://{path}", f"file://localhost{path}", f"local://{path}", f"FILE://{path}"):
        assert mi.Image(url).path == path
    assert localized("file://" + str(path).replace("%", "%25").replace(" ", "%20")) == str(path)
    assert np.array_equal(mi.Image(f"file://{path}").numpy(), read(make("plain")))
    with pytest.raises(NotFoundError):
        mi.Image(f"file://{tmp_path}/absent.nii")


# what is fetched


def test_a_header_takes_two_small_requests(site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, "a.nii.gz")
    url = site.add("a.nii.gz", data)
    header = mi.read_header(f"{url}?token=1")
    assert header.shape == array.shape
    assert header.spacing == (0.5, 0.75, 2.0)
    assert (header.file_bytes, header.compression, header.warnings) == (len(data), "gzip", ())
    assert len(site.asked) == 2
    assert site.sent < 1 << 14


@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.mgh", "a.mif.gz", "a.nii.gz"])
def test_headers_of_all_formats_are_cheap(name: str, site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, name)
    header = mi.read_header(site.add(name, data))
    assert (header.shape, header.dtype) == (array.shape, "int16")
    assert site.sent < 1 << 16


def test_a_header_that_does_not_compress_is_cheap(site: Site, tmp_path: Path) -> None:
    _, data = big_image(tmp_path, "a.nii")
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    stored = packer.compress(data) + packer.flush()
    assert mi.read_header(site.add("a.nii.gz", stored)).shape == (1, 250, 200, 200)
    assert site.sent < 1 << 16


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.nrrd"])
def test_a_whole_takes_few_large_requests(name: str, site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, name)
    image = mi.ScalarImage(site.add(name, data))
    assert not image.is_loaded
    assert np.array_equal(image.numpy(), array)
    assert len(site.asked) <= (24 if name == "a.mgz" else 12)  # facts of MGZ stand behind its voxels
    assert site.sent <= (2 if name == "a.mgz" else 1) * len(data) + (1 << 16)
    site.forget()
    image[:, :, :, 7].numpy()
    assert site.asked == []


def test_a_part_takes_a_part(site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, "a.nii")
    image = mi.Image(site.add("a.nii", data))
    site.forget()
    assert np.array_equal(image[:, :, :, 100].numpy(), array[..., 100:101])
    assert (len(site.asked), site.sent) == (1, 100_000)
    site.forget()
    assert np.array_equal(image[:, 10:20, 30:40, 50:53].numpy(), array[:, 10:20, 30:40, 50:53])
    assert len(site.asked) <= 3
    assert site.sent <= 3 << 15
    site.forget()
    assert np.array_equal(image[:, :, 3].numpy(), array[:, :, 3:4])  # a row of each slice
    assert len(site.asked) <= 20


def test_small_reads_share_requests(site: Site) -> None:
    source = open_source(site.add("a.bin", NOISE * 20))
    site.forget()
    view = bytearray(100)
    with source.cursor() as cursor:
        for offset in range(0, len(NOISE) * 20, 5000):
            assert cursor.readinto(offset, memoryview(view)) == 100
            assert view == (NOISE * 2)[offset % len(NOISE) :][:100]
        for offset in (3_900_000, 3_800_123, 3_700_001):
            assert cursor.readinto(offset, memoryview(view)) == 100
    assert len(site.asked) <= 5
    assert cursor.readinto(len(NOISE) * 20, memoryview(view)) == 0


def test_reads_cross_the_end(site: Site) -> None:
    source = open_source(site.add("a.bin", NOISE))
    view = bytearray(1000)
    with source.cursor() as cursor:
        assert cursor.readinto(len(NOISE) - 300, memoryview(view)) == 300
        assert cursor.readinto(len(NOISE), memoryview(view)) == 0
        assert cursor.readinto(1 << 40, memoryview(view)) == 0
        assert list(cursor.chunks(len(NOISE) - 1, 10)) == [NOISE[-1:]]
    assert source.head(50_000) == NOISE[:50_000]
    assert source.head(1 << 30) == NOISE
    assert (source.size, source.most, source.path) == (len(NOISE), len(NOISE), None)
    assert isinstance(source, ByteSource)


# servers that know no ranges, or nothing of sizes


@pytest.mark.parametrize("sized", [True, False])
def test_a_server_without_ranges_is_read_once(sized: bool, site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, "a.nii.gz")
    url = site.add("a.nii.gz", data, ranges=False, sized=sized)
    image = mi.Image(url)
    assert image.header.file_bytes == (len(data) if sized else None)
    assert site.sent < len(data)  # a few MB are in the buffers of both ends when the client hangs up
    site.forget()
    assert np.array_equal(image.numpy(), array)
    assert np.array_equal(image[:, :, 5].numpy(), array[:, :, 5:6])
    assert len(site.asked) == 1


def test_a_spool_of_a_large_file_is_no_memory(site: Site) -> None:
    import tracemalloc

    data = NOISE * 200
    source = open_source(site.add("a.bin", data, ranges=False))
    tracemalloc.start()
    with source.cursor() as cursor:
        for number, piece in enumerate(cursor.chunks(0, len(data))):
            assert piece == data[number << 20 : (number + 1) << 20]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30 << 20  # the spool keeps 16 MiB before it goes to a file


def test_a_server_that_stops_knowing_ranges(site: Site) -> None:
    source = open_source(site.add("a.bin", NOISE))
    site.pages["a.bin"].ranges = False
    assert everything(source) == NOISE


def test_small_files_and_unknown_sizes(site: Site, tmp_path: Path) -> None:
    data = image_file(tmp_path, "a.nii.gz")
    for behaviour in ({}, {"ranges": False}, {"ranges": False, "sized": False}, {"marked": False}):
        source = open_source(site.add("a.nii.gz", data, **behaviour))
        assert source.size == len(data)
        assert np.array_equal(read(open_backend(source)), read(make("plain")))


def test_a_compressing_server(site: Site, tmp_path: Path) -> None:
    data = image_file(tmp_path, "a.nii")
    url = site.add("a.nii", gzip.compress(data), headers={"Content-Encoding": "gzip"})
    assert np.array_equal(mi.Image(url).numpy(), read(make("plain")))
    url = site.add("a.nii.gz", gzip.compress(data), headers={"Content-Encoding": "gzip"})
    image = mi.Image(url)
    assert np.array_equal(image.numpy(), read(make("plain")))
    assert image.header.warnings == ()
    assert site.asked[0].headers["Accept-Encoding"] == "identity"


def test_redirects(site: Site, tmp_path: Path) -> None:
    site.add("real/a.nii.gz", image_file(tmp_path, "a.nii.gz"))
    url = site.add("moved", status=302, headers={"Location": "/real/a.nii.gz"}, marked=False)
    assert np.array_equal(mi.Image(url).numpy(), read(make("plain")))
    assert "redirects without end" in refused(site.add("loop", status=302, headers={"Location": "/loop"}))
    assert "HTTP 304" in refused(site.add("same", status=304))


def test_proxies_of_the_shell(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("study/a.nii.gz", image_file(tmp_path, "a.nii.gz"))
    monkeypatch.setenv("http_proxy", site.url(""))
    assert np.array_equal(mi.Image("http://no-such-host.invalid/study/a.nii.gz").numpy(), read(make("plain")))
    assert site.asked[0].path == "http://no-such-host.invalid/study/a.nii.gz"


# what fails


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, NotFoundError, "no such file"),
        (410, NotFoundError, "no such file"),
        (401, StorageError, "access denied (HTTP 401)"),
        (403, StorageError, "access denied (HTTP 403)"),
        (429, StorageError, "the server fails (HTTP 429)"),
        (500, StorageError, "the server fails (HTTP 500)"),
        (418, StorageError, "answers HTTP 418"),
        (204, StorageError, "answers HTTP 204"),
    ],
)
def test_what_servers_refuse(status: int, kind: type[MedImgError], words: str, site: Site) -> None:
    url = site.add("a.nii", NOISE, status=status)
    line = refused(url.replace("http://", "http://me:secret@") + "?token=secret", kind)
    assert line.startswith(f"{url}: {words}") or words in line.removeprefix(f"{url}: ")
    assert "secret" not in line


def test_no_server(site: Site) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        line = refused(f"http://127.0.0.1:{port}/a.nii")
    assert line == f"http://127.0.0.1:{port}/a.nii: cannot connect to 127.0.0.1: connection refused"
    assert "cannot connect to no-such-host.invalid" in refused("http://no-such-host.invalid/a.nii")
    for bad in ("http:///a.nii", "https://", "http://h:99999/a.nii", "http://[::1/a.nii", "https://user@/a.nii"):
        assert "is no valid URL" in refused(bad, UsageError)


#: What no web server should answer, by what is wrong about it.
ODD = {
    "nothing": b"",
    "no HTTP": b"\x00\x01\x02 hello\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    "a range of words": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/abc\r\nContent-Length: 10\r\n\r\n0123456789",
    "a part of an unknown range": b"HTTP/1.1 206 P\r\nContent-Length: 10\r\n\r\n0123456789",
    "an absurd size": b"HTTP/1.1 206 P\r\nContent-Range: bytes 9-9/99999999999999999999\r\nContent-Length: 1\r\n\r\n0",
    "no size": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/0\r\nContent-Length: 10\r\n\r\n0123456789",
    "more than asked": b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/20\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99999,
    "a page": b"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n\n<!DOCTYPE html><b>",
    "another protocol": b"HTTP/1.1 302 Found\r\nLocation: ftp://h/x\r\nContent-Length: 0\r\n\r\n",
    "nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
    "a huge header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "an escape": b"HTTP/1.1 500 a\x1b[2Jb\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", ODD.values(), ids=ODD)
def test_odd_servers(answer: bytes) -> None:
    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        line = refused(f"http://127.0.0.1:{listener.getsockname()[1]}/a.nii", MedImgError)
        assert line.isprintable()
        assert ("a web page instead of a file" in line) == (b"DOCTYPE" in answer)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_server_that_says_nothing(site: Site) -> None:
    import aiohttp

    url = site.add("a.nii", NOISE, pause=threading.Event())
    patience = {"timeout": aiohttp.ClientTimeout(sock_read=0.1)}
    assert "does not answer in time" in refused(fsspec.open(url, client_kwargs=patience))


def test_nothing_in_a_file(site: Site) -> None:
    for behaviour in ({}, {"ranges": False}, {"ranges": False, "sized": False}):
        line = refused(site.add("a.nii.gz", b"", **behaviour), FormatError)
        assert line.endswith("the file is empty")


def test_what_is_cut_off_is_never_filled(site: Site, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii"):
        data = big_image(tmp_path, name)[1][:-70_000]
        for ranges in (True, False):
            url = site.add(name, data, ranges=ranges)
            image = mi.Image(url)
            assert "truncated" in " ".join(image.header.warnings) or name != "a.nii"
            with pytest.raises(TruncatedError) as caught:
                image.load()
            assert str(caught.value).startswith(url)


def test_broken_connections(site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, "a.nii")
    url = site.add("a.nii", data)
    image = mi.Image(url)
    site.pages["a.nii"].drops = 1
    assert np.array_equal(image.numpy(), array)  # once is no failure
    image = mi.Image(url)
    site.pages["a.nii"].drops = 1000
    with pytest.raises(StorageError, match=r"a\.nii: the connection broke off; try again$"):
        image.load()
    assert "broke off" in refused(url)
    image = mi.Image(site.add("b.nii", data, ranges=False))
    site.pages["b.nii"].drops = 1000
    with pytest.raises(StorageError, match=r"b\.nii: the connection broke off"):
        image.load()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_that_promises_more_than_comes(ranges: bool, site: Site, tmp_path: Path) -> None:
    url = site.add("a.nii.gz", image_file(tmp_path, "a.nii.gz"), promised=5000, ranges=ranges)
    assert "broke off" in refused(url)


def test_a_server_that_sends_another_part(site: Site) -> None:
    source = open_source(site.add("a.bin", NOISE))
    site.add("a.bin", NOISE, status=206, headers={"Content-Range": "bytes 5-9/200000"})
    with pytest.raises(StorageError):
        everything(source)


@pytest.mark.parametrize("behaviour", [{}, {"ranges": False}, {"marked": False}])
def test_a_file_that_changed_is_an_error(behaviour: dict[str, Any], site: Site, tmp_path: Path) -> None:
    for name, kind in (("small.nii.gz", "plain"), ("pair.nii", "time")):
        image = mi.Image(site.add(name, image_file(tmp_path, name, kind), **behaviour))
        other = image_file(tmp_path, f"other-{name}", "scaled")
        site.pages[name].data = other + b"x" if "marked" in behaviour else other
        if behaviour.get("ranges", True) or name == "pair.nii":
            with pytest.raises(StorageError, match="the file changed since it was opened; open it again"):
                image.load()


def test_a_file_that_changes_while_it_is_read(site: Site) -> None:
    source = open_source(site.add("a.bin", NOISE))
    with source.cursor() as cursor, pytest.raises(StorageError, match="changed"):
        for _ in range(0, len(NOISE), 1000):
            cursor.readinto(_, memoryview(bytearray(1000)))
            site.pages["a.bin"].data = NOISE[::-1]


# travelling


def test_sources_travel_as_addresses(site: Site, tmp_path: Path) -> None:
    url = site.add("a.nii.gz", image_file(tmp_path, "a.nii.gz"))
    image = pickle.loads(pickle.dumps(mi.ScalarImage(url)))
    assert image.path == url
    assert np.array_equal(image.numpy(), read(make("plain")))
    source = pickle.loads(pickle.dumps(open_source(url)))
    site.pages["a.nii.gz"].data += b"x"
    with pytest.raises(StorageError, match="changed"):
        source.head(10)


def _sum_of(image: mi.Image) -> int:
    return int(image.numpy(writeable=False).sum())


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_other_processes_read_for_themselves(method: str, site: Site, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this platform")
    image = mi.ScalarImage(site.add("a.nii.gz", image_file(tmp_path, "a.nii.gz")))
    image[:, 0].numpy()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(_sum_of, (image,)).get(60) == read(make("plain")).sum()


def test_many_threads_read_one_image(site: Site, tmp_path: Path) -> None:
    array, data = big_image(tmp_path, "a.nii")
    image = mi.Image(site.add("a.nii", data))
    with ThreadPoolExecutor(8) as pool:
        for k, found in enumerate(pool.map(lambda k: image[..., k].numpy(), range(32))):
            assert np.array_equal(found, array[..., k : k + 1])


# other file systems, and objects that name files


def test_file_systems_in_memory(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/study/a.nii.gz", image_file(tmp_path, "a.nii.gz"))
    expected = read(make("plain"))
    sources = [
        "memory://study/a.nii.gz",
        fsspec.open("memory://study/a.nii.gz"),
        "simplecache::memory://study/a.nii.gz",
    ]
    for source in sources:
        image = mi.Image(source)
        assert isinstance(image.path, str)
        assert np.array_equal(image.numpy(), expected)
        assert "a.nii.gz" in repr(image)
    joined = mi.Image(sources)
    assert joined.shape[0] == 3
    assert joined.path[0] == "memory://study/a.nii.gz"  # type: ignore[index]
    array, header = mi.read_array("memory://study/a.nii.gz")
    assert np.array_equal(array, expected)
    assert header.format == "nifti1"
    with memory.open("/study/a.nii.gz") as file:
        assert np.array_equal(mi.Image(file).numpy(), expected)
    for bad in ("memory://study/b.nii", "simplecache::memory://b.nii"):
        assert "no such file" in refused(bad, NotFoundError)
    with pytest.raises(UsageError, match="opened for writing"):
        mi.Image(fsspec.open("memory://study/a.nii.gz", "wb"))


def test_a_file_in_memory_that_changed(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/a.nii", image_file(tmp_path, "a.nii"))
    image = mi.Image("memory://a.nii")
    memory.pipe("/a.nii", image_file(tmp_path, "b.nii", "forms"))
    with pytest.raises(StorageError, match="changed"):
        image.load()
    memory.pipe("/empty.nii", b"")
    assert "is empty" in refused("memory://empty.nii", FormatError)


def test_paths_of_universal_pathlib(memory: Any, site: Site, tmp_path: Path) -> None:
    UPath = pytest.importorskip("upath").UPath
    data = image_file(tmp_path, "a.nii.gz")
    memory.pipe("/study/a.nii.gz", data)
    url = site.add("a.nii.gz", data)
    for text in ("memory://study/a.nii.gz", url + "?x=1"):
        image = mi.Image(UPath(text))
        assert image.path == text
        assert np.array_equal(image.numpy(), read(make("plain")))
        assert mi.read_header(UPath(text)).shape == image.shape
    for local in (
        UPath(tmp_path / "a.nii.gz"),
        UPath(f"file://{tmp_path}/a.nii.gz"),
        fsspec.open(str(tmp_path / "a.nii.gz")),
    ):
        assert mi.Image(local).path == tmp_path / "a.nii.gz"
    assert len(mi.Image(UPath(url), UPath("memory://study/a.nii.gz")).path) == 2  # type: ignore[arg-type]


def test_file_systems_without_sizes(tmp_path: Path) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    class Sizeless(MemoryFileSystem):
        """A file system that does not know how long its files are."""

        protocol = "sizeless"

        def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            return {**super().info(path, **kwargs), "size": None}

    fs = Sizeless()
    fs.pipe("/sizeless.nii", image_file(tmp_path, "a.nii"))
    try:
        from fsspec.core import OpenFile

        source = open_source(OpenFile(fs, "/sizeless.nii"))
        assert source.size is not None  # it is short, so that the first bytes are all
        assert np.array_equal(mi.Image(OpenFile(fs, "/sizeless.nii")).numpy(), read(make("plain")))
        fs.pipe("/long.bin", NOISE)
        long = open_source(OpenFile(fs, "/long.bin"))
        assert (long.size, long.head(3)) == (None, NOISE[:3])
        assert long.most > len(NOISE)
        assert everything(long) == NOISE
        assert long.size == len(NOISE)
    finally:
        fs.rm("/sizeless.nii")
        fs.rm("/long.bin")


def test_errors_of_other_libraries_are_one_line(memory: Any) -> None:
    from fsspec.core import OpenFile
    from fsspec.implementations.memory import MemoryFileSystem

    class Failing(MemoryFileSystem):
        """A file system that fails as it is told."""

        protocol = "failing"
        error: Exception = RuntimeError()

        def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
            raise self.error

    for error, words in (
        (PermissionError("x"), "access denied"),
        (TimeoutError(), "does not answer in time"),
        (RuntimeError("two\nlines of https://u:p@h/x?sig=1"), "cannot be read: two lines of https://h/x"),
        (type("ClientError", (Exception,), {})("no credentials"), "cannot be read: no credentials"),
    ):
        Failing.error = error
        assert words in refused(OpenFile(Failing(), "/a.nii"))


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nobody here knows the protocol 'htps'" in refused("htps://h/a.nii", UnsupportedError)
    from fsspec.registry import known_implementations

    absent = {"class": "no_such_library.NoFileSystem", "err": "Please install nocloudfs to access it"}
    monkeypatch.setitem(known_implementations, "nocloud", absent)
    line = refused("nocloud://bucket/a.nii", MissingExtraError)
    assert line == "nocloud://bucket/a.nii: nocloud:// needs nocloudfs; pip install nocloudfs"
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.setitem(sys.modules, name, None)
    line = refused("https://u:p@h/a.nii?x=1", MissingExtraError)
    assert line == "https://h/a.nii: https:// needs fsspec and aiohttp; pip install 'medimg-cli[cloud]'"


# files beside it


@pytest.mark.parametrize("query", ["", "?sig=a%2Bb"])
def test_detached_data_are_in_the_same_folder(query: str, site: Site, memory: Any, tmp_path: Path) -> None:
    for name in ("my image.mhd", "b.nhdr", "c.hdr"):
        save_backend(make("plain"), str(tmp_path / name))
    for path in tmp_path.iterdir():
        site.add(f"study #1/{path.name}", path.read_bytes())
        memory.pipe(f"/study #1/{path.name}", path.read_bytes())
    for name in ("my image.mhd", "b.nhdr", "c.hdr", "c.img"):
        url = site.url("study%20%231/" + name.replace(" ", "%20")) + query
        image = mi.Image(url)
        assert np.array_equal(image.numpy(), read(make("plain")))
        assert site.asked[-1].path.endswith(query)
        assert np.array_equal(mi.Image(f"memory://study #1/{name}").numpy(), read(make("plain")))


def test_gradients_beside_a_file_come_along(site: Site, tmp_path: Path) -> None:
    save_backend(make("diffusion"), str(tmp_path / "dwi.nii.gz"))
    for path in tmp_path.iterdir():
        site.add(f"sub/{path.name}", path.read_bytes())
    assert mi.read_header(site.url("sub/dwi.nii.gz")).gradients == mi.read_header(tmp_path / "dwi.nii.gz").gradients
    assert mi.read_header(site.url("sub/dwi.nii.gz")).gradients is not None


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "https://h/x.raw", "a/../../b", "..\\x", "file:///x"])
def test_data_files_elsewhere_are_refused(name: str, site: Site) -> None:
    text = f"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {name}\n"
    site.add("secret.raw", b"12345678")
    url = site.add("a/b.mhd", text.encode())
    site.forget()
    assert "refused for safety" in refused(url, FormatError)
    assert {asked.path for asked in site.asked} == {"/a/b.mhd"}


def test_data_files_that_look_like_queries(site: Site) -> None:
    text = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 1\nElementType = MET_UCHAR\nElementDataFile = a?b=%%2e%%2e#%d.raw\n"
    url = site.add("d/b.mhd", text.encode())
    site.add("d/a?b=%2e%2e#1.raw", b"1234")
    assert mi.Image(url).numpy().sum() == sum(b"1234")
    assert site.asked[-1].path == "/d/a%3Fb=%252e%252e%231.raw"


# the rest of the library


def test_urls_are_not_written_to(tmp_path: Path, memory: Any) -> None:
    image = mi.Image(make("plain"))
    for target in ("https://h/a.nii?sig=1", "memory://a.nii", "file:///a.nii"):
        with pytest.raises(UsageError, match="images are not written to URLs; write a file and upload it") as caught:
            image.save(target)
        assert "sig" not in str(caught.value)
    assert memory.find("/") == []


def test_images_of_urls_can_do_what_others_can(site: Site, tmp_path: Path) -> None:
    url = site.add("a.nii.gz", image_file(tmp_path, "a.nii.gz", "forms"))
    image = mi.Image(url.replace("http://", "http://u:secret@") + "?t=secret", te=3)
    assert isinstance(image.dataobj.backend, StoredBackend)
    assert "secret" not in repr(image)
    image.reorient("RAS")[:, ::2].save(tmp_path / "out.nrrd")
    image.load()
    image.unload()
    assert image.path == url.replace("http://", "http://u:secret@") + "?t=secret"
    local = mi.Image(tmp_path / "a.nii.gz")
    assert image.header.replace(metadata={}) == local.header
    assert site.asked[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("row", [row for row in FORMATS if row.writes], ids=lambda row: row.name)
def test_every_format_is_read_over_http(row: Format, ranges: bool, site: Site, tmp_path: Path) -> None:
    for suffix in row.suffixes:
        for kind in ("straight", "picture"):
            folder = tmp_path / f"{kind}{suffix}"
            folder.mkdir()
            path = write(folder, row, suffix, kind)
            if path is not None and path.is_file():
                break
        else:
            continue
        for file in folder.iterdir():
            site.add(f"{kind}{suffix}/{file.name}", file.read_bytes(), ranges=ranges)
        image, local = mi.Image(site.url(f"{kind}{suffix}/{path.name}")), mi.Image(path)
        assert image.header == local.header
        assert np.array_equal(image.numpy(), local.numpy(), equal_nan=True)
        assert np.array_equal(image[:, ::-2, 1:3].numpy(), local.numpy()[:, ::-2, 1:3], equal_nan=True)

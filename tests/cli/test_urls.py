"""URLs on the command line: read like files, failing like files, and no secret is repeated."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medimg_cli.formats import open_backend
from medimg_cli.formats.writing import save_backend
from tests.cli.conftest import Run
from tests.helpers import make, read
from tests.web import Site

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture
def url(site: Site, tmp_path: Path) -> str:
    """Serve an image under a URL with a password and a token; both are ``secret``."""
    save_backend(make("scaled"), str(tmp_path / "served.nii.gz"))
    plain = site.add("study/my%20scan.nii.gz".replace("%20", " "), (tmp_path / "served.nii.gz").read_bytes())
    return plain.replace("http://", "http://me:secret@").replace(" ", "%20") + "?token=secret"


def test_info(url: str, site: Site, medimg: Run) -> None:
    page = medimg("info", url)
    assert (page.code, page.err) == (0, "")
    shown = site.url("study/my scan.nii.gz")
    assert page.out.splitlines()[0].split(maxsplit=1) == ["path", shown]
    assert "secret" not in page.out
    (record,) = json.loads(medimg("info", "--json", url).out)
    assert (record["path"], record["format"], record["shape"]) == (url, "nifti1", [1, 5, 4, 3])
    assert medimg("info", "--field", "shape", url).out == "1 5 4 3\n"
    table = medimg("info", url, url)
    assert table.out.count(shown) == 2
    assert "secret" not in table.out


def test_what_fails(url: str, site: Site, medimg: Run, tmp_path: Path) -> None:
    gone = url.replace("scan", "lost")
    result = medimg("info", gone, url)
    assert result.code == 2
    assert result.err == f"medimg: {site.url('study/my lost.nii.gz')}: no such file\n"
    assert "(failed)" in result.out
    assert "secret" not in result.out
    records = json.loads(medimg("info", "--json", gone, url).out)
    assert [record.get("error") for record in records] == ["no such file", None]
    failed = medimg("convert", gone, tmp_path / "out.nii")
    assert (failed.code, failed.err) == (2, f"medimg: {site.url('study/my lost.nii.gz')}: no such file\n")
    assert not (tmp_path / "out.nii").exists()
    site.pages["study/my scan.nii.gz"].status = 403
    denied = medimg("convert", url, tmp_path / "out.nii")
    assert denied.code == 2
    assert "access denied (HTTP 403)" in denied.err
    assert "secret" not in denied.err


def test_convert(url: str, medimg: Run, tmp_path: Path) -> None:
    result = medimg("--verbose", "convert", url, tmp_path / "out.nii")
    assert result.code == 0
    assert "secret" not in result.err
    assert np.array_equal(read(open_backend(str(tmp_path / "out.nii"))), read(make("scaled")))
    assert medimg("convert", url, tmp_path / "out.nii").code == 2
    assert medimg("convert", "--force", url, tmp_path / "out.nii").code == 0


def test_many_urls_go_to_a_folder(url: str, site: Site, program: Run, tmp_path: Path) -> None:
    site.pages["b.nrrd"] = site.pages["study/my scan.nii.gz"]
    (tmp_path / "list").write_text(f"{url}\n{site.url('b.nrrd')}\n{site.url('absent.nii')}\n")
    result = program(
        "convert", "--files-from", tmp_path / "list", "--output-dir", tmp_path / "out", "--suffix", ".mha",
        "--jobs", 2, "--report", tmp_path / "report.jsonl",
    )  # fmt: skip
    assert result.code == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.mha", "my scan.mha"]
    assert result.err.count("no such file") == 1
    assert "secret" not in result.err
    statuses = [json.loads(line)["status"] for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert sorted(statuses) == ["done", "done", "failed"]


def test_urls_are_not_written(url: str, medimg: Run, tmp_path: Path) -> None:
    for target in ("https://h/out.nii?sig=secret", "s3://bucket/out.nii"):
        result = medimg("convert", tmp_path / "served.nii.gz", target)
        assert result.code == 2
        assert "images are not written to URLs; write a file and upload it" in result.err
        assert "secret" not in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["served.nii.gz"]


def test_a_file_url_is_a_path(medimg: Run, tmp_path: Path, url: str) -> None:
    place = tmp_path / "with space"
    place.mkdir()
    (tmp_path / "served.nii.gz").rename(place / "a.nii.gz")
    for text in (f"file://{place}/a.nii.gz", f"file://{place}/a.nii.gz".replace(" ", "%20")):
        assert medimg("info", "--field", "shape", text).out == "1 5 4 3\n"
    failed = medimg("info", "--json", f"file://{place}/b.nii")
    assert failed.code == 2
    assert json.loads(failed.out)[0]["error"] == "no such file"

"""``medimg report``: what stands on the page, what becomes of hostile text, and what a real browser makes of it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.cli.example import example_path
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from medimg_cli.labels import LabelTable
from medimg_cli.media.report import report_page
from tests.chromium import Tab, browser, needs_chromium
from tests.helpers import AFFINES, make, turned

from .conftest import Run, environment

SHAPE = (9, 14, 11)
HOSTILE = (
    "<img src=x onerror=hacked=1>.nii",
    "\"' onmouseover=hacked=1 x='.nii",
    "new\nline\ttab\x1b[2J.nii",
    "separators\u2028\u2029\u202e.nii",
    os.fsdecode(b"latin-\xff\xe9.nii"),
    "&lt;b&gt;.nii",
)


@dataclass
class Row:
    """One image of the page."""

    facts: dict[str, str]
    cells: dict[str, str] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    pictures: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)


class Parsed(HTMLParser):
    """What a page says, read by a parser that is not ours; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[Row] = []
        self.tags: list[str] = []
        self.buttons: list[dict[str, str]] = []
        self.metas: list[dict[str, str]] = []
        self.loads: list[str] = []
        self.seen: set[str] = set()
        self.title = self._cell = self._note = ""
        self.feed(text)
        self.close()
        assert not self.tags, self.tags

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {name: value or "" for name, value in attrs}
        self.seen.add(tag)
        assert not any(name.startswith("on") for name in facts), facts
        self.loads += [facts[name] for name in ("src", "href", "action", "data") if name in facts]
        if tag == "meta":
            self.metas.append(facts)
        if tag in ("meta", "link", "img", "wbr", "input"):
            if tag == "img":
                self.rows[-1].pictures.append(facts)
            return
        self.tags.append(tag)
        if tag == "button":
            self.buttons.append(facts)
        if tag == "tr" and "tbody" in self.tags:
            self.rows.append(Row({name.removeprefix("data-"): value for name, value in facts.items()}))
        if self.rows and tag in ("td", "th"):
            self._cell, *marks = facts["class"].split()
            self.rows[-1].cells[self._cell] = ""
            self.rows[-1].odd += [self._cell] * ("odd" in marks)
        if tag == "p" and self._cell == "notes":
            self._note = facts["class"]
            self.rows[-1].notes.setdefault(self._note, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag
        if tag in ("td", "th"):
            self._cell = ""
        if tag == "p":
            self._note = ""

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["title"]:
            self.title += data
        if self._cell:
            self.rows[-1].cells[self._cell] += data
        if self._note:
            self.rows[-1].notes[self._note][-1] += data

    @property
    def by_name(self) -> dict[str, Row]:
        return {row.facts["name"]: row for row in self.rows}


def parsed(path: str | Path = "out.html") -> Parsed:
    return Parsed(Path(path).read_text(encoding="utf-8"))


def save(name: str, array: np.ndarray[Any, Any], **fields: Any) -> None:
    array = array if array.ndim == 4 else array[None]
    fields = {"affine": AFFINES["left-handed"], **fields}
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_backend(ArrayBackend(array, Header(shape=array.shape, dtype=array.dtype.name, **fields)), name)


def noise(seed: int = 0, dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-500, 3000, shape).astype(dtype)


def regions() -> np.ndarray[Any, Any]:
    array = np.zeros(SHAPE, "uint8")
    array[1:4, 2:5, 3], array[6, 7, 8:10] = 3, 7
    return array


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of images of many kinds, two of which are broken."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        save(f"study/mr/{number}.nii.gz", noise(number))
    save("study/mr/odd.nii", noise(4, shape=(7, 12, 10)), affine=AFFINES["straight"])
    save("study/mr/nan.nii", np.where(noise(5) > 2000, np.nan, noise(5)).astype("float32"))
    save("study/labels/seg.nii.gz", regions(), labels=LabelTable([(3, "liver"), (7, "spleen")]))
    for kind in ("time", "scaled", "rgb", "flat"):
        save_backend(make(kind), f"study/{kind}.nii")
    Path("study/broken.nii").write_text("this is no image at all, whatever its name may say")
    content = Path("study/mr/3.nii.gz").read_bytes()
    Path("study/short.nii.gz").write_bytes(content[:-40])
    return tmp_path


@pytest.fixture
def wide(study: Path) -> Path:
    """Make images all of whose facts are long."""
    affine = AffineMatrix.from_spacing((0.9375, 1.0625, 1.1875), origin=(1, 2, 3), direction=turned(12, 7, 20))
    save(f"wide/derivatives/{LONG}", noise(1, "float64", (120, 140, 110)) / 7e9, affine=affine)
    axes, steps = {"axes": (("time", 100),), "time_spacing": 2.125}, np.ones((100, 11, 12, 10), "uint16")
    save("wide/time.nii", steps, affine=AFFINES["oblique"], slope=0.0123, inter=-1000.5, **axes)
    for name in ("nan", "0", "1"):
        path = next(Path("study/mr").glob(f"{name}.*"))
        path.rename(Path("wide", path.name))
    Path("study/labels").rename("wide/labels")
    return study


# what stands on the page


def test_every_image_has_a_row_with_the_facts_of_info(study: Path, medimg: Run) -> None:
    assert medimg("report", "study", "out.html").code == 2
    facts = {Path(one["path"]): one for one in json.loads(medimg("info", "--json", "--recursive", "study").out)}
    page = parsed()
    assert page.title == "study" and len(page.rows) == len(facts) == 13
    assert [row.facts["name"] for row in page.rows] == [os.path.relpath(path, "study") for path in facts]
    for row, (path, one) in zip(page.rows, facts.items(), strict=True):
        if "error" in one:
            assert row.notes["error"] == [one["error"]] and not row.pictures
            continue
        assert row.cells["shape"].startswith(" \u00d7 ".join(map(str, one["spatial_shape"])))
        assert row.cells["spacing"].startswith(" \u00d7 ".join(f"{step:.4g}" for step in one["spacing_mm"]))
        assert row.cells["orientation"].startswith(one["orientation"])
        assert row.cells["dtype"].startswith(one["dtype"])
        assert row.cells["name"].startswith(os.path.relpath(path, "study"))
        assert set(one["warnings"]) <= set(row.notes.get("warning", []))


def test_values_labels_and_warnings(study: Path, medimg: Run) -> None:
    medimg("report", "study", "out.html")
    rows = parsed().by_name
    values = noise(1)
    assert rows["mr/1.nii.gz"].cells["values"].startswith(f"{values.min():.5g} to {values.max():.5g}mean")
    assert float(rows["mr/1.nii.gz"].facts["mean"]) == pytest.approx(values.mean())
    assert "2 labels3 liver7 spleen" in rows["labels/seg.nii.gz"].cells["values"]
    assert f"not finite: {(noise(5) > 2000).sum()} NaN" in rows["mr/nan.nii"].notes["warning"]
    assert rows["time.nii"].cells["shape"].endswith("4 time steps")
    assert "2.5 s" in rows["time.nii"].cells["spacing"]
    assert rows["scaled.nii"].cells["dtype"] == "int16\u00d7 0.25 - 12.5"


def test_the_odd_one_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        save(f"set/{number}.nii.gz", noise(number))
    save("set/odd.nii", noise(4, shape=(7, 12, 10)), affine=AFFINES["straight"])
    save("set/same.nii", noise(2))
    assert medimg("report", "set", "out.html").code == 0
    rows = parsed().by_name
    assert sorted(rows["odd.nii"].odd) == ["orientation", "shape"]
    assert rows["odd.nii"].facts["state"] == "odd"
    assert rows["odd.nii"].notes["odd"][0] == "Shape: 5 of 6 images have 9 \u00d7 14 \u00d7 11"
    assert rows["same.nii"].notes["twins"] == ["looks the same as 2.nii.gz"]
    assert not any(rows[f"{number}.nii.gz"].odd for number in range(4))


def test_thumbnails_are_pictures_in_true_proportions(study: Path, medimg: Run) -> None:
    medimg("report", "study", "out.html")
    rows = parsed().by_name
    counts = {name: len(row.pictures) for name, row in rows.items()}
    assert counts.pop("flat.nii") == 1
    assert counts.pop("broken.nii") == counts.pop("short.nii.gz") == 0
    assert set(counts.values()) == {3}
    for row in rows.values():
        for picture in row.pictures:
            head, _, content = picture["src"].partition(",")
            assert head == "data:image/webp;base64"
            shown = Pillow.open(io.BytesIO(base64.b64decode(content)))
            shown.load()
            assert shown.size == (int(picture["width"]), int(picture["height"]))
            assert float(picture["style"].removeprefix("--w:")) == pytest.approx(shown.width / 192, abs=1e-3)
            assert re.match(r"(sagittal|coronal|axial) view", picture["alt"])
    straight = rows["mr/odd.nii"].pictures
    extent = [n * step for n, step in zip((7, 12, 10), (0.9, 1.25, 3.0), strict=True)]
    sides = [(extent[1], extent[2]), (extent[0], extent[2]), (extent[0], extent[1])]
    scale = 192 / max(extent)
    for picture, (width, height) in zip(straight, sides, strict=True):
        assert (int(picture["width"]), int(picture["height"])) == pytest.approx(
            (width * scale, height * scale), abs=0.6
        )


def test_counts_of_each_fact(study: Path, medimg: Run) -> None:
    medimg("report", "study", "out.html")
    text = Path("out.html").read_text(encoding="utf-8")
    assert "<li><b>13</b> images</li>" in text and "<b>2</b> could not be read" in text
    found = dict(re.findall(r'data-facet="dtype" data-value="([^"]+)"[^>]*><span>[^<]*</span><b>(\d+)</b>', text))
    assert found["int16*"] == "1" and sum(map(int, found.values())) == 12, "the header of the short one is read"
    page = parsed()
    assert {button["data-facet"] for button in page.buttons if "data-facet" in button} >= {
        *("shape", "spacing", "orientation", "dtype", "kind", "format", "labels", "state")
    }  # fmt: skip


def test_findings_have_their_place(tmp_path: Path) -> None:
    finding = {"code": "G003", "severity": "error", "message": "sform and <qform> differ"}
    content = b"".join(
        report_page([{"path": "a", "findings": [finding]}, {"path": "b"}], ["a", "b"], title="t", side=9)
    )
    page = Parsed(content.decode())
    assert page.rows[0].notes["error"] == ["G003 sform and <qform> differ"]
    assert page.rows[0].facts["state"] == "findings" and "state" not in page.rows[1].facts
    assert [button["data-value"] for button in page.buttons if button.get("data-facet") == "state"] == ["findings"]


def test_nothing_of_the_patient_stands_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    secrets = {"PatientName": "DOE^JANE", "PatientID": "4711-XY"}
    save("in.nrrd", noise(), description="scan of Doe, Jane", metadata=secrets)
    dicom = pytest.importorskip("pydicom").examples.get_path("ct")
    Path("ct.dcm").write_bytes(Path(dicom).read_bytes())
    assert medimg("report", "in.nrrd", "ct.dcm", "out.html").code == 0
    text = Path("out.html").read_text(encoding="utf-8")
    for word in ("DOE", "Doe", "4711", "CompressedSamples", "1CT1", str(tmp_path.parent)):
        assert word not in text


def test_sentences_do_not_say_where_the_data_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> None:
    monkeypatch.chdir(tmp_path)
    save("set/in.nii", noise())
    Path("set/far.mhd").write_text(
        f"NDims = 2\nDimSize = 3 3\nElementType = MET_UCHAR\nElementDataFile = {tmp_path}/set/no.raw\n"
    )
    medimg("report", tmp_path / "set", "out.html")
    assert parsed().by_name["far.mhd"].notes["error"]
    assert str(tmp_path) not in Path("out.html").read_text(encoding="utf-8")


def test_the_convention_is_stated(study: Path, medimg: Run) -> None:
    medimg("report", "study", "out.html")
    text = Path("out.html").read_text(encoding="utf-8")
    assert "radiological: the patient's left is on the right" in text.replace("&#x27;", "'")
    assert 'alt="axial view, R on the left, A above"' in text and '<i class="l">R</i>' in text
    medimg("report", "--force", "--neurological", "--plain", "study", "out.html")
    text = Path("out.html").read_text(encoding="utf-8")
    assert "neurological: the patient's left is on the left" in text.replace("&#x27;", "'")
    assert 'alt="axial view, L on the left, A above"' in text and '<i class="l">' not in text


# hostile text


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make images whose names, labels and errors try to be more than text."""
    monkeypatch.chdir(tmp_path)
    folder = "<script>hacked=1<"
    for name in HOSTILE:
        try:
            save(f"{folder}/{name}", noise())
        except OSError:
            pytest.skip("the file system knows no such names")
    evil = '</script><script>hacked=1</script><img src=x onerror="hacked=1">\u2028'
    save(f"{folder}/labels.nii", regions(), labels=LabelTable([(3, evil), (7, "--><!--")]))
    Path(folder, "<b>broken</b>.nii".replace("/", "")).write_bytes(b"<script>hacked=1</script>" * 30)
    return tmp_path / folder


def test_hostile_text_is_text(hostile: Path, medimg: Run) -> None:
    assert medimg("report", hostile.name, "out.html").code == 2
    page = parsed()
    assert len(page.rows) == len(HOSTILE) + 2
    assert page.seen.isdisjoint({"iframe", "object", "embed", "base"}) and "script" in page.seen
    text = Path("out.html").read_bytes()
    assert text.count(b"<script") == 1 and text.count(b"</script") == 1
    text.decode("utf-8")
    shown = {row.facts["name"] for row in page.rows}
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[5], r"new\nline\ttab\x1b[2J.nii"} <= shown
    assert r"separators\u2028\u2029\u202e.nii" in shown and r"latin-\udcff\udce9.nii" in shown
    outside = re.sub(rb"(?s)<(style|script)>.*?</\1>", b"", text).decode()
    assert all(each.isprintable() or each == "\n" for each in outside)


def test_the_page_may_load_nothing(study: Path, medimg: Run) -> None:
    medimg("report", "study", "out.html")
    page = parsed()
    (policy,) = (meta["content"] for meta in page.metas if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[\w+/]{43}=';", policy) and "base-uri 'none'; form-action 'none'" in policy
    assert all(url.startswith("data:") for url in page.loads)
    text = Path("out.html").read_text(encoding="utf-8")
    assert "url(" not in text and "@import" not in text


# the command


def test_one_bad_image_does_not_stop_the_others(study: Path, medimg: Run) -> None:
    result = medimg("report", "study", "out.html")
    assert result.code == 2 and not result.out
    lines = result.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["study/broken.nii", "study/short.nii.gz", "out.html"]
    assert re.fullmatch(r"medimg: out.html: 13 images, 2 failed, \d+(\.\d+)? kB", lines[-1])
    assert "Traceback" in medimg("report", "--debug", "--force", "study", "out.html").err


def test_one_image_is_one_image(study: Path, medimg: Run) -> None:
    said = medimg("report", "study/rgb.nii", "out.html")
    assert re.fullmatch(r"medimg: out.html: 1 image, [\d.]+ kB\n", said.err), said.err


def test_same_bytes_whatever_the_jobs_and_the_day(study: Path, program: Run) -> None:
    assert program("report", "study", "one.html").code == 2
    for path in Path("study").rglob("*"):
        os.utime(path, (1e9, 1e9))
    assert program("report", "--jobs", "2", "study", "two.html").code == 2
    (study / "else").mkdir()
    os.rename("study", "else/study")
    assert program("report", "-j", "3", study / "else/study", "three.html").code == 2
    assert Path("one.html").read_bytes() == Path("two.html").read_bytes() == Path("three.html").read_bytes()


def test_outputs_are_minded(study: Path, medimg: Run) -> None:
    assert medimg("report", "study/mr", "out.html").code == 0
    first = Path("out.html").read_bytes()
    again = medimg("report", "study/mr", "out.html")
    assert again.code == 2 and "out.html: exists; use --force" in again.err
    assert medimg("report", "--skip-existing", "study/mr", "out.html").code == 0
    assert medimg("report", "--if-newer", "study/mr", "out.html").code == 0
    save("study/mr/more.nii", noise(9))
    os.utime("study/mr/more.nii", (4e9, 4e9))
    assert Path("out.html").read_bytes() == first
    assert medimg("report", "--if-newer", "study/mr", "out.html").code == 0
    assert len(parsed().rows) == 7
    planned = medimg("report", "--dry-run", "study/mr", "study/labels", "new.html")
    assert (planned.code, planned.out) == (0, "study/mr, study/labels -> new.html\n")
    assert not Path("new.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("study",), "missing beside study"),
        (("study", "study/mr/0.nii.gz", "--force"), "0.nii.gz: expected a name that ends in .html or .htm"),
        (("study", "nowhere/out.html"), "its folder does not exist"),
        (("nothing", "out.html"), ""),
        (("-", "out.html"), "standard input is no folder"),
        (("--colormap", "nothing", "study", "out.html"), "nothing"),
        (("--overlay", "study/labels/seg.nii.gz", "study", "out.html"), "--overlay"),
        (("--outline", "study", "out.html"), "--outline"),
        (("--jobs", "-1", "study", "out.html"), "--jobs -1"),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_one_line_and_leaves_everything(
    study: Path, medimg: Run, words: tuple[str, ...], said: str
) -> None:
    before = Path("study/mr/0.nii.gz").read_bytes()
    result = medimg("report", *words)
    assert result.code == 2 and said in result.err.splitlines()[-1] and not result.out
    assert Path("study/mr/0.nii.gz").read_bytes() == before and not Path("nowhere").exists()
    assert not any(path.name.startswith(".") for path in study.iterdir()), "nothing is left behind"


def test_a_missing_file_beside_others_is_a_row(study: Path, medimg: Run) -> None:
    result = medimg("report", "study/mr/0.nii.gz", "gone.nii", "out.html")
    assert result.code == 2 and "gone.nii: no such file" in result.err
    assert "no such file" in parsed().by_name["gone.nii"].notes["error"][0]


def test_a_folder_without_images_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = medimg("report", "empty", "out.html")
    assert result.code == 2 and "no images in this folder" in result.err and not Path("out.html").exists()


def test_the_page_goes_to_standard_output_and_inputs_come_from_a_list(study: Path, program: Run) -> None:
    Path("list.txt").write_text("study/mr/1.nii.gz\nstudy/mr/2.nii.gz\n")
    result = program("report", "--files-from", "list.txt", "-")
    assert result.code == 0 and "2 images" in result.err
    assert [row.facts["name"] for row in Parsed(result.out).rows] == ["1.nii.gz", "2.nii.gz"]


def test_a_folder_of_dicom_is_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> None:
    monkeypatch.chdir(tmp_path)
    source = pytest.importorskip("pydicom").examples.get_path("ct")
    Path("set/ct").mkdir(parents=True)
    Path("set/ct/1.dcm").write_bytes(Path(source).read_bytes())
    save("set/t1.nii", noise())
    assert medimg("report", "set", "out.html").code == 0
    rows = parsed().by_name
    assert list(rows) == ["t1.nii", "ct"] and rows["ct"].cells["dtype"].startswith("int16")


def test_looks_apply_to_all(study: Path, medimg: Run) -> None:
    medimg("report", "study/mr", "a.html")
    medimg("report", "--window", "0:100", "study/mr", "b.html")
    medimg("report", "--colormap", "magma", "study/mr", "c.html")
    shown = [
        [picture["src"] for row in parsed(name).rows for picture in row.pictures]
        for name in ("a.html", "b.html", "c.html")
    ]
    assert all(one != other for one, other in zip(shown[0], shown[1], strict=True))
    colours = Pillow.open(io.BytesIO(base64.b64decode(shown[2][0].partition(",")[2]))).convert("RGB")
    assert np.ptp(np.asarray(colours).astype(int), axis=2).max() > 50
    assert "window 0 to 100" in Path("b.html").read_text(encoding="utf-8")


def test_the_real_image_in_nibabel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run) -> None:
    monkeypatch.chdir(tmp_path)
    assert medimg("report", example_path(), "out.html").code == 0
    (row,) = parsed().rows
    assert len(row.pictures) == 3 and row.facts["shape"] == "128 \u00d7 96 \u00d7 24, 2 time steps"


def test_a_thousand_scans_make_a_page_of_moderate_size() -> None:
    record: dict[str, Any] = {"path": "x", **dict.fromkeys(("shape", "spacing"))}
    del record["shape"]
    content = b"".join(report_page([record] * 1000, ["sub-001/anat/t1.nii.gz"] * 1000, title="t", side=192))
    assert len(content) < 1000 * 1500


def test_help_needs_no_pictures(tmp_path: Path) -> None:
    code = "import sys; from medimg_cli.cli.app import main; main(['report', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout.splitlines()[-1] == "False"


# in a browser


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as found:
        yield found


WIDTH = "document.documentElement.scrollWidth"
LONG = "sub-01_ses-preoperative_acq-highres_run-02_brain1_image.nii.gz"
NAMES = "[...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden).map((row) => row.dataset.name)"


def click(tab: Tab, selector: str) -> None:
    tab.js(f"document.querySelector({selector!r}).click()")


@needs_chromium
def test_columns_sort(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    tab.open(study / "out.html")
    rows = parsed().rows
    original = [row.facts["name"] for row in rows]
    assert tab.js(NAMES) == original
    for key, kind in {
        "bytes": float,
        "voxels": float,
        "volume": float,
        "min": float,
        "mean": float,
        "max": float,
    }.items():
        known = [row for row in rows if key in row.facts]
        click(tab, f"button[data-key={key}]")
        values = {row.facts["name"]: kind(row.facts[key]) for row in known}
        found = tab.js(NAMES)
        assert [values[name] for name in found[: len(known)]] == sorted(values.values()), key
        click(tab, f"button[data-key={key}]")
        found = tab.js(NAMES)
        assert [values[name] for name in found[: len(known)]] == sorted(values.values(), reverse=True), (
            "unknown stay last"
        )
        click(tab, f"button[data-key={key}]")
        assert tab.js(NAMES) == original
    click(tab, "button[data-key=orientation]")
    assert tab.js("document.querySelector('thead th[aria-sort]').getAttribute('aria-sort')") == "ascending"
    assert len(set(tab.js(NAMES))) == len(original)
    assert not tab.complaints() and tab.requests() == [(study / "out.html").as_uri()]


@needs_chromium
def test_numbers_in_names_sort_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, medimg: Run, tab: Tab
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 10):
        save(f"set/sub-{number}.nii", noise(number))
    medimg("report", "set", "out.html")
    tab.open(tmp_path / "out.html")
    click(tab, "button[data-key=name]")
    assert tab.js(NAMES) == ["sub-1.nii", "sub-2.nii", "sub-10.nii"]


@needs_chromium
def test_filters(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    tab.open(study / "out.html")
    everything = tab.js(NAMES)

    def typed(text: str) -> list[str]:
        tab.js(
            f"(q => {{ q.value = {text!r}; q.dispatchEvent(new Event('input')) }})(document.querySelector('#query'))"
        )
        found: list[str] = tab.js(NAMES)
        return found

    assert typed("MR/ nii.gz") == [f"mr/{n}.nii.gz" for n in range(4)]
    assert tab.js("document.querySelector('#shown').value") == "4 of 13 shown"
    assert typed("spleen") == ["labels/seg.nii.gz"]
    assert typed("nothing has this") == []
    click(tab, "#all")
    assert tab.js(NAMES) == everything and tab.js("document.querySelector('#all').hidden")
    click(tab, "[data-facet=state][data-value=failed]")
    assert tab.js(NAMES) == ["broken.nii", "short.nii.gz"]
    assert tab.js("document.querySelector('[data-value=failed]').getAttribute('aria-pressed')") == "true"
    click(tab, "[data-facet=state][data-value=failed]")
    click(tab, "[data-facet=dtype][data-value=float32]")
    click(tab, "[data-facet=dtype][data-value=uint8]")
    assert set(tab.js(NAMES)) == {
        row.facts["name"] for row in parsed().rows if row.facts.get("dtype") in ("float32", "uint8")
    }
    click(tab, "[data-facet=kind][data-value='label map']")
    assert tab.js(NAMES) == ["labels/seg.nii.gz"]
    assert not tab.complaints()


@needs_chromium
def test_the_list_of_what_is_shown_can_be_saved(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    tab.open(study / "out.html")
    tab.js("URL.createObjectURL = (blob) => { window.saved = blob.text(); return 'data:,' }")
    tab.js("HTMLAnchorElement.prototype.click = function () { window.name = this.download }")
    click(tab, "[data-facet=state][data-value=failed]")
    click(tab, "#save")
    assert tab.js("window.saved") == "broken.nii\nshort.nii.gz\n" and tab.js("window.name") == "images.txt"
    assert not tab.complaints()


@needs_chromium
def test_thumbnails_are_seen_in_true_proportions_at_every_size(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study/mr", "out.html")
    tab.open(study / "out.html")
    measure = "[...document.images].map((i) => [i.complete, i.naturalWidth, i.naturalHeight, i.width, i.height])"
    for size in (48, 104, 192):
        tab.js(f"(s => {{ s.value = {size}; s.dispatchEvent(new Event('input')) }})(document.querySelector('#side'))")
        tab.js("Promise.all([...document.images].map((image) => image.decode()))")
        for complete, natural, tall, width, height in tab.js(measure):
            assert complete and (width, height) == pytest.approx((natural * size / 192, tall * size / 192), abs=1)
    tab.js("document.querySelector('#side').value = 104")
    shown = tab.picture(".view")
    assert shown.std() > 20, "there is something in it"


@needs_chromium
@pytest.mark.parametrize("width", [360, 700, 1200, 1201, 1300, 1600])
def test_nothing_is_wider_than_the_window(wide: Path, medimg: Run, tab: Tab, width: int) -> None:
    medimg("report", "wide", "out.html")
    tab.open(wide / "out.html", width=width)
    assert tab.js("document.body.classList.contains('tiles')") == (width <= 1200)
    assert tab.js(WIDTH) <= width
    click(tab, "#tiles")
    assert tab.js(WIDTH) <= width or width <= 1200


@needs_chromium
def test_long_names_break_between_their_words(wide: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "wide", "out.html")
    tab.open(wide / "out.html", width=1300)
    lines = tab.js("""(() => {
        const text = document.querySelector("tr[data-name^=derivatives] .name b"), range = document.createRange(), found = new Map();
        for (const node of text.childNodes) for (let n = 0; n < node.textContent.length; n++) {
            range.setStart(node, n); range.setEnd(node, n + 1);
            const top = Math.round(range.getBoundingClientRect().top);
            found.set(top, (found.get(top) || "") + node.textContent[n]);
        }
        return [...found.values()];
    })()""")
    assert "".join(lines) == LONG and len(lines) > 1
    assert all(line[-1] in "-_." for line in lines[:-1])


@needs_chromium
def test_keys_reach_everything(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    tab.open(study / "out.html")
    tab("Input.dispatchKeyEvent", type="keyDown", key="/", text="/")
    assert tab.js("document.activeElement.id") == "query"
    for letter in "odd":
        tab("Input.dispatchKeyEvent", type="char", text=letter)
    assert "mr/odd.nii" in tab.js(NAMES)
    tab("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert len(tab.js(NAMES)) == 13
    unreachable = "[...document.querySelectorAll('button, input, summary')].filter((e) => e.tabIndex < 0).length"
    assert tab.js(unreachable) == 0


@needs_chromium
def test_light_dark_and_paper(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    tab.open(study / "out.html")
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = []
    for scheme in ("light", "dark"):
        tab("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        seen.append(tab.js(ground))
    assert seen == ["rgb(255, 255, 255)", "rgb(13, 16, 20)"]
    tab("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert tab.js(ground) == "rgb(255, 255, 255)"
    assert tab.js("getComputedStyle(document.querySelector('.tools')).display") == "none"
    tab("Emulation.setEmulatedMedia", media="", features=[])


@needs_chromium
@pytest.mark.parametrize("width", [718, 760])  # A4 and its margins, 96 pixels an inch
def test_paper_holds_the_table(wide: Path, medimg: Run, tab: Tab, width: int) -> None:
    medimg("report", "wide", "out.html")
    tab.open(wide / "out.html", width=1300)
    tab("Emulation.setEmulatedMedia", media="print")
    tab.resize(width, 1000)
    try:
        assert tab.js(WIDTH) <= width
        assert not tab.js("document.body.classList.contains('tiles')")
        assert tab.js("document.querySelector('.view').offsetWidth") == 56
    finally:
        tab("Emulation.setEmulatedMedia", media="")


@needs_chromium
def test_without_scripts_it_is_a_plain_table(study: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", "study", "out.html")
    text = Path("out.html").read_text(encoding="utf-8")
    bare = re.sub(r"(?s)<script>.*?</script>", "<script>document.title = 1</script>", text)
    Path("bare.html").write_text(bare.replace("<html ", '<html class="bare" '), encoding="utf-8")
    tab("Page.navigate", url=(study / "bare.html").as_uri())
    tab.js("new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))")
    assert tab.js("document.title") == "study", "the policy allows one script, and that is not this one"
    assert len(tab.js(NAMES)) == 13 and tab.js("document.querySelector('tbody tr').offsetHeight") > 0
    assert tab.js("getComputedStyle(document.querySelector('.tools')).display") == "none"


@needs_chromium
def test_hostile_text_does_nothing_in_a_browser(hostile: Path, medimg: Run, tab: Tab) -> None:
    medimg("report", hostile.name, "out.html")
    page = hostile.parent / "out.html"
    tab.open(page)
    for selector in ("button[data-key=name]", "[data-facet=labels]", "#all", "#tiles"):
        click(tab, selector)
    tab.js("document.querySelectorAll('*').forEach((e) => e.dispatchEvent(new MouseEvent('mouseover')))")
    assert tab.js("typeof hacked") == "undefined"
    assert set(tab.js(NAMES)) == set(parsed().by_name)
    assert (
        tab.js("document.querySelectorAll('script').length") == 1
        and tab.js("document.querySelectorAll('b i').length") == 0
    )
    assert not tab.complaints() and tab.requests() == [page.as_uri()]

"""Pages with a viewer: what lies in them, what they allow, and how the viewer comes into a build."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from medimg_cli.errors import MissingExtraError
from medimg_cli.media import page as pages
from medimg_cli.media.niivue import Layer, Page, page_html
from tests.chromium import needs_viewer

ROOT = Path(__file__).resolve().parents[2]
NASTY = "a\"b'<script>alert(1)</script>&amp;\u2028\x1b[31m</title>.nii"


class Parts(HTMLParser):
    """The elements of a page: (tag, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[list[str]] = [[]]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))
        if tag not in ("meta", "link", "input"):
            self._open.append(self.found[-1][2])

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].append(data)

    def texts(self, tag: str, **attributes: str) -> list[str]:
        return ["".join(text) for name, has, text in self.found if name == tag and attributes.items() <= has.items()]


def a_page(**changes: Any) -> Page:
    layers = (
        Layer(name=NASTY, content=gzip.compress(b"image"), kind="intensities", window=(-1.5, 3.0), seconds=2.0),
        Layer(name="b", content=gzip.compress(b"labels"), kind="labels", labels=((0, "", (0, 0, 0, 0)), (7, NASTY, (1, 2, 3, 255)))),
    )  # fmt: skip
    facts: dict[str, Any] = {
        "title": NASTY,
        "summary": "5 x 4 x 3",
        "facts": (("shape", "5 x 4 x 3"), ("type", NASTY)),
        "notes": (f"reduced {NASTY}",),
        "layers": layers,
        "presets": {"brain": (0.0, 80.0)},
    }
    return Page(**{**facts, **changes})


@pytest.fixture
def parts() -> Parts:
    return Parts(b"".join(page_html(a_page())).decode())


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


@needs_viewer
def test_all_text_of_files_is_text(parts: Parts) -> None:
    shown = NASTY.replace("\u2028", "\\u2028").replace("\x1b", "\\x1b")
    assert parts.texts("title") == [shown] and parts.texts("h1") == [shown]
    assert shown in parts.texts("td") and parts.texts("p", **{"class": "note"})[-1] == f"reduced {shown}"
    (raw,) = parts.texts("script", id="page")
    assert raw.isascii() and "<" not in raw
    page = json.loads(raw)
    assert page["layers"][0]["name"] == NASTY and page["layers"][1]["labels"][1][1] == NASTY
    assert all(len(table) == 256 * 6 for table in page["colormaps"].values())


@needs_viewer
def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else(parts: Parts) -> None:
    (content,) = [has["content"] for tag, has, _ in parts.found if has.get("http-equiv") == "Content-Security-Policy"]
    policy = {rule.split()[0]: rule.split()[1:] for rule in str(content).split(";")}
    (script,), (style,) = ([t for t, has in each if has == {}] for each in (
        [("".join(text), has) for tag, has, text in parts.found if tag == name] for name in ("script", "style")
    ))  # fmt: skip
    (viewer,) = parts.texts("script", id="viewer")
    assert policy["default-src"] == ["'none'"] and policy["img-src"] == ["data:"]
    assert policy["script-src"] == [digest(script), digest(gzip.decompress(base64.b64decode(viewer)).decode())]
    assert policy["style-src"] == [digest(style)]
    assert set(policy) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


@needs_viewer
def test_nothing_is_referred_to(parts: Parts) -> None:
    for tag, has, _ in parts.found:
        assert not {"src", "srcset", "action", "style", "background"} & set(has), tag
        assert not any(name.startswith("on") for name in has), tag
        assert has.get("href", "data:,") == "data:,"


@needs_viewer
def test_the_volumes_and_the_licences_lie_in_the_page(parts: Parts) -> None:
    contents = [gzip.decompress(base64.b64decode("".join(parts.texts("script", id=f"volume{n}")))) for n in range(2)]
    assert contents == [b"image", b"labels"]
    (licences,) = parts.texts("pre")
    assert "BSD 2-Clause" in licences and "fflate" in licences and "gl-matrix" in licences


@needs_viewer
def test_low_values_that_shine_turn_the_colours_round() -> None:
    tables = []
    for inverted in (False, True):
        parts = Parts(b"".join(page_html(a_page(inverted=inverted))).decode())
        tables.append(json.loads(parts.texts("script", id="page")[0])["colormaps"]["gray"])
    assert tables[0].startswith("000000") and tables[1].startswith("ffffff")


def test_without_the_viewer_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_ASSETS", tmp_path)
    with pytest.raises(MissingExtraError, match="NiiVue; install npm, then medimg again; in a checkout: make viewer"):
        next(page_html(a_page()))


# the build

NPM = """#!/bin/sh
[ "$1" = ci ] || exit 9
mkdir -p node_modules/@niivue/niivue/dist node_modules/fflate
printf 'the viewer' > node_modules/@niivue/niivue/dist/niivue.umd.js
printf 'MIT' > node_modules/fflate/LICENSE
echo called >> "$CALLS"
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without the viewer, and a folder for programs that is all of PATH."""
    root, programs = tmp_path / "checkout", tmp_path / "bin"
    assets = root / hatch_build.ASSETS
    assets.mkdir(parents=True)
    programs.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / name, root)
    shutil.copy(ROOT / hatch_build.ASSETS / "niivue.LICENSE.txt", assets)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return root


def npm(root: Path, text: str) -> None:
    path = root.parent / "bin" / "npm"
    path.write_text(text.replace("mkdir ", f"{shutil.which('mkdir', path=os.defpath)} "))
    path.chmod(0o755)


def test_without_npm_the_build_goes_on(checkout: Path) -> None:
    assert hatch_build.fetch_viewer(checkout) == "npm is not installed"


@pytest.mark.parametrize(
    "end", ["echo 'npm error network'  >&2; echo more >&2; exit 1", "exit 0"], ids=["fails", "lies"]
)
def test_whatever_npm_does_the_build_goes_on(checkout: Path, end: str) -> None:
    npm(checkout, f"#!/bin/sh\n{end}\n")
    said = hatch_build.fetch_viewer(checkout)
    assert said is not None and len(said.splitlines()) == 1
    assert [path.name for path in (checkout / hatch_build.ASSETS).iterdir()] == ["niivue.LICENSE.txt"]


def test_the_viewer_is_fetched_once_and_gives_the_same_bytes(checkout: Path) -> None:
    npm(checkout, NPM)
    assert hatch_build.fetch_viewer(checkout) is None
    script, licences = (checkout / hatch_build.ASSETS / name for name in ("niivue.umd.js.gz", "niivue.LICENSES.txt"))
    first = script.read_bytes()
    assert gzip.decompress(first) == b"the viewer" and first[4:8] == bytes(4)  # no time stamp
    assert all(word in licences.read_text() for word in ("BSD 2-Clause", "fflate", "MIT", "Roboto"))
    assert hatch_build.fetch_viewer(checkout) is None
    calls = checkout.parent / "calls"
    assert calls.read_text().split() == ["called"]
    package = checkout / "package.json"
    package.write_text(package.read_text().replace("0.69.0", "0.70.0"))
    assert hatch_build.fetch_viewer(checkout) is None and calls.read_text().split() == ["called"] * 2
    assert script.read_bytes() == first and licences.read_text().startswith("NiiVue 0.70.0\n")
    assert not (checkout / "node_modules").exists()


def test_the_lock_names_no_host_and_pins_all_that_is_fetched() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert not any("resolved" in facts for facts in packages.values())
    assert all(facts["integrity"].startswith("sha512-") for name, facts in packages.items() if name)
    version = json.loads((ROOT / "package.json").read_text())["dependencies"][hatch_build.PACKAGE]
    assert packages[f"node_modules/{hatch_build.PACKAGE}"]["version"] == version

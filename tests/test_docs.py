"""The pages in docs/: their examples do what they say, they build without a warning, and they leave no name out."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.operations import OPERATIONS
from medimg_cli.spatial import RULES

DOCS = Path(__file__).resolve().parents[1] / "docs"
ELSEWHERE = ("counterparts.md", "coming-from.md", "there-and-back.md")  # with a test of their own
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.name not in ELSEWHERE and "_build" not in page.parts)
FENCE = re.compile(
    r"(?:^% needs (?P<library>\w+)\n)?^```(?P<kind>python|pycon)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)

STRAIGHT = mi.AffineMatrix([[-2, 0, 0, 24], [0, 2, 0, -30], [0, 0, 2.5, -20]])
TURNED = mi.AffineMatrix.from_spacing(
    (0.9, 0.9, 3), origin=(-12, -15, 4), direction=((1, 0, 0), (0, 0.8, -0.6), (0, 0.6, 0.8))
)


def ball(shape: tuple[int, ...], radius: float = 0.35) -> np.ndarray[Any, Any]:
    """Return a bright ball in the dark, (I, J, K): 0 outside, up to 1000 in the middle."""
    axes = np.meshgrid(*((np.arange(n) - (n - 1) / 2) / n for n in shape), indexing="ij")
    return (1000 * np.clip(1 - np.linalg.norm(axes, axis=0) / radius, 0, 1)).astype("int16")


def write_files(folder: Path) -> None:
    """Write the files that the pages open, from small images of no special shape."""
    t1 = mi.ScalarImage(ball((25, 28, 18))[None], affine=STRAIGHT)
    t1.save(folder / "t1.nii.gz")
    t1.cast("float32").save(folder / "t2.nii.gz")
    mi.LabelMap((t1.numpy() > 300).astype("uint8"), affine=STRAIGHT).save(folder / "seg.nii.gz")
    oblique = mi.ScalarImage(ball((12, 14, 6))[None], affine=TURNED)
    oblique.save(folder / "oblique.nii.gz")
    oblique.save_dicom(folder / "series")
    two_forms(folder / "two-forms.nii.gz")


def two_forms(path: Path) -> None:
    """Write an image whose sform is a template's and whose qform is the scanner's."""
    import nibabel

    image = nibabel.Nifti1Image(ball((6, 7, 8)), STRAIGHT.numpy())
    image.set_qform(STRAIGHT.numpy(), 1)
    image.set_sform(STRAIGHT.with_origin((22, -28, -20)).numpy(), 4)
    nibabel.save(image, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_files(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_examples_do_what_they_say(page: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``pycon`` block is a doctest, a ``python`` block runs; a page is one session, from top to bottom.

    The comment ``% needs torch`` above a block says that it is for those who have torch.
    """
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"^>>>", FENCE.sub("", text), re.MULTILINE), "a doctest outside a ```pycon block is not run"
    for each in files.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {"__name__": "session"}
    for block in FENCE.finditer(text):
        if block["library"] and not find_spec(block["library"]):
            continue
        line = text[: block.start("text")].count("\n")
        if block["kind"] == "pycon":
            said = _doctest(block["text"], session, page, line)
            assert not said, said
        else:
            exec(compile("\n" * line + block["text"], str(page), "exec"), session)


def _doctest(source: str, session: dict[str, Any], page: Path, line: int) -> str:
    """Run a doctest in a session, which it may change; return what fails."""
    example = doctest.DocTestParser().get_doctest(source, session, page.name, str(page), line)
    example.globs = session
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        example, out=said.append, clear_globs=False
    )
    return "".join(said)


# -- the built pages


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the pages as ``make html`` does; a warning is an error."""
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    folder = tmp_path_factory.mktemp("built")
    sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "trees")]
    done = subprocess.run([*sphinx, str(DOCS), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, f"the pages do not build: {done.stderr}"
    return folder


def described(built: Path) -> set[str]:
    """Return the full names of everything that has an entry on a page of the reference."""
    content = (built / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(content).decode().splitlines()
    return {line.split()[0] for line in lines if " py:" in line}


def test_every_public_name_is_described(built: Path) -> None:
    names = {f"medimg_cli.{name}" for name in mi.__all__}
    names |= {row.target.replace(":", ".") for row in OPERATIONS}
    assert names - described(built) == set()


def test_every_member_of_an_image_is_described(built: Path) -> None:
    own = set(dir(mi.LabelMap)) - set(dir(mi.Image)) | {"cast"}
    members = {f"medimg_cli.Image.{name}" for name in dir(mi.Image)}
    members |= {f"medimg_cli.LabelMap.{name}" for name in own}
    assert {name for name in members if "._" not in name} - described(built) == {"medimg_cli.Image.check_nans"}


def test_the_table_of_rules_is_fresh() -> None:
    """The table in check-spatial.md is the table in the code."""
    page = (DOCS / "check-spatial.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (SP\d+) \| (\w+) \| .*? \| (.*?) \|$", page, re.MULTILINE)
    assert rows == [(code, rule.severity, rule.reason) for code, rule in RULES.items()]


def test_pages_link_to_what_is_there() -> None:
    """Sphinx sees to links between pages; the README's are ours."""
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((docs/[^)#]+)", readme)
    assert links
    assert [link for link in links if not (DOCS.parent / link).exists()] == []

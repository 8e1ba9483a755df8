"""The page "Pictures" does what it says, and shows what its commands make."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nibabel")

from PIL import Image as Pillow

from medimg_cli.cli.app import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import make_pictures

TEXT = make_pictures.PAGE.read_text(encoding="utf-8")
CALLS = list(make_pictures.commands(TEXT))
SHOWN = make_pictures.shown(TEXT)


@pytest.mark.parametrize("words", CALLS, ids=shlex.join)
def test_commands_do_what_they_say(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "video" and shutil.which("ffmpeg") is None and not find_spec("imageio_ffmpeg"):
        pytest.skip("needs ffmpeg")
    if words[0] == "view" and not (ROOT / "medimg_cli" / "media" / "assets" / "niivue.umd.js.gz").exists():
        pytest.skip("needs the viewer: make viewer")
    make_pictures.write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    made = sorted(path.name for path in set(tmp_path.iterdir()) - before)
    if words[0] == "show":
        assert len(said.splitlines()) > 10 and not made
    elif "--every" in words:
        assert made[0] == "coronal_000.png" and len(made) == 6
    else:
        assert made == [words[-1], *(["labels.tsv"] if "--raw" in words and words[-1] == "labels.png" else [])]


def test_the_page_shows_every_command_that_draws() -> None:
    named = {words[0] for words in CALLS}
    assert named == {"slice", "plot", "show", "gif", "video", "view", "report"} & {row.name for row in COMMANDS}
    assert set(SHOWN) <= {words[-1] for words in CALLS}


def test_pictures_are_small_and_all_of_them_are_shown() -> None:
    kept = {path.name: path.stat().st_size for path in make_pictures.PICTURES.iterdir()}
    assert sorted(kept) == sorted(SHOWN) and len(kept) == 8
    assert max(kept.values()) < 60_000


def test_pictures_are_fresh(tmp_path: Path) -> None:
    """What the commands make looks the same; fonts and rounding may differ a little between versions of Pillow."""
    make_pictures.make(tmp_path, SHOWN)
    for name in SHOWN:
        with Pillow.open(make_pictures.PICTURES / name) as old, Pillow.open(tmp_path / name) as new:
            assert old.size == new.size, f"{name} is stale: make docs"
            frames = getattr(old, "n_frames", 1)
            assert frames == getattr(new, "n_frames", 1)
            for n in range(frames):
                old.seek(n)
                new.seek(n)
                apart = np.asarray(old.convert("RGB"), float) - np.asarray(new.convert("RGB"), float)
                assert np.abs(apart).mean() < 3, f"{name} is stale: make docs"

"""Fetch the viewer of ``medimg view`` when medimg is built: NiiVue, from its npm package.

`package.json` names the version and `package-lock.json` holds the checksums of everything that npm fetches. Where npm
or the network is missing the build goes on, with one warning: ``medimg view`` then says how to add the viewer.
``python hatch_build.py`` does the same for a checkout.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program, where nothing is built
    BuildHookInterface = object

PACKAGE = "@niivue/niivue"
#: Of the files that the package brings, the one that works inside a page.
SCRIPT = f"node_modules/{PACKAGE}/dist/niivue.umd.js"
ASSETS = "medimg_cli/media/assets"
SECONDS = 180


class ViewerHook(BuildHookInterface):  # type: ignore[misc,valid-type]
    """What hatchling calls before it builds a wheel, an editable install or a source distribution."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        problem = fetch_viewer(Path(self.root))
        if problem is not None:
            self.app.display_warning(f"built without the viewer of 'medimg view': {problem}")


def fetch_viewer(root: Path) -> str | None:
    """Put the viewer and the licences of what it holds among the assets, unless this version is there.

    Parameters
    ----------
    root : Path
        Of the checkout or source distribution.

    Returns
    -------
    str or None
        Why it could not be done.
    """
    assets = root / ASSETS
    script, licences = assets / "niivue.umd.js.gz", assets / "niivue.LICENSES.txt"
    try:
        title = f"NiiVue {json.loads((root / 'package.json').read_text())['dependencies'][PACKAGE]}"
        if script.exists() and licences.exists() and licences.read_text(encoding="utf-8").startswith(f"{title}\n"):
            return None
        npm = shutil.which("npm")
        if npm is None:
            return "npm is not installed"
        with tempfile.TemporaryDirectory(prefix="medimg-") as folder:
            there = Path(folder)
            _install(npm, root, there)
            text = "\n".join([title, "", *_licences(assets, there / "node_modules")])
            _replace(script, gzip.compress((there / SCRIPT).read_bytes(), 9, mtime=0))
            _replace(licences, text.encode())
    except Exception as error:  # whatever it is, medimg works without the viewer
        return " ".join(str(error).split()) or type(error).__name__
    return None


def _install(npm: str, root: Path, folder: Path) -> None:
    """Let npm install what the lock file lists; no script of a package is run."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(root / name, folder)
    words = ("--ignore-scripts", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error")
    patience = ("--fetch-retries=1", "--fetch-timeout=30000")
    done = subprocess.run(
        [npm, "ci", *words, *patience], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(f"npm ci failed: {said[0] if said else done.returncode}")


def _licences(assets: Path, modules: Path) -> Iterator[str]:
    """Yield the licence of NiiVue, whose package brings none, and those of the packages inside its script."""
    yield (assets / "niivue.LICENSE.txt").read_text(encoding="utf-8")
    yield "Its script holds glyphs of the font Roboto (Apache License 2.0), and these packages:\n"
    for path in sorted(modules.rglob("*")):
        if path.is_file() and path.stem.lower() in ("license", "licence"):
            yield f"{'-' * 80}\n{path.parent.relative_to(modules).as_posix()}\n"
            yield path.read_text(encoding="utf-8", errors="replace")


def _replace(path: Path, content: bytes) -> None:
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.write_bytes(content)
    made.replace(path)


if __name__ == "__main__":
    reason = fetch_viewer(Path(__file__).resolve().parent)
    sys.exit(f"the viewer could not be fetched: {reason}" if reason else 0)

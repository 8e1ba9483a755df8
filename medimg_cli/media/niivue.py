"""A page of HTML that shows volumes with NiiVue, and asks nobody for anything.

The viewer's script, the voxels (NIfTI, gzip, base64) and the controls lie in the page. A Content-Security-Policy allows
the two scripts and the style sheet of the page by their digests, pictures from ``data:`` URLs, and nothing else: no
request can leave it. All text that comes from files is escaped.

The viewer itself is no part of the repository: `hatch_build.py` fetches it when medimg is built.
"""

from __future__ import annotations

import gzip
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medimg_cli.errors import MissingExtraError
from medimg_cli.media.colormaps import COLORMAPS, colormap
from medimg_cli.media.page import asset, escaped, policy

__all__ = ["Layer", "Page", "page_html", "viewer_script"]

_HOLE = re.compile(r"{{(\w+)}}")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One volume of a page.

    Parameters
    ----------
    name : str
    content : bytes
        A NIfTI-1 file, compressed with gzip.
    kind : str
        What its values are.
    window : (low, high)
        Values that become black and white.
    signed : bool
        Whether negative values are shown like positive ones, in other colours.
    factor : float
        What values were multiplied with in the file: the viewer knows no windows narrower than 0.00001.
    colormap : str
        Name of one of `COLORMAPS`, for the intensities of an image; those of overlays are shown in red to yellow, and
        where they are negative in blue.
    labels : sequence of (value, name, (red, green, blue, opacity))
        Label n stands for the number n in the file; the first is the background.
    opacity : float
        0 to 1; of an overlay what its outlines go round.
    step : str
        What a step along the fourth axis is called: "time step", "channel".
    seconds : float, optional
        Between two steps.
    """

    name: str
    content: bytes
    kind: Literal["intensities", "labels", "colours"]
    window: tuple[float, float] = (0.0, 1.0)
    signed: bool = False
    factor: float = 1.0
    colormap: str = "gray"
    labels: Sequence[tuple[int, str, tuple[int, int, int, int]]] = ()
    opacity: float = 1.0
    step: str = "channel"
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows.

    Parameters
    ----------
    title : str
    summary : str
        One line of facts.
    facts : sequence of (name, text)
    notes : sequence of str
        What was done to the image for this page; one sentence each.
    layers : sequence of Layer
        The image, then what lies over it; wherever their grids lie.
    view : str
        What is shown first: "axial", "coronal", "sagittal", "all" or "solid".
    neurological : bool
        Whether the patient's left is on the left at first.
    letters : bool
        Whether anybody knows how the axes lie in the patient.
    outline : float
        Opacity of outlines around labels over the image, 0 to 1.
    inverted : bool
        Whether low values are bright.
    first : int
        The step that is shown first.
    presets : mapping
        Windows by name: (low, high).
    generator : str
        Program and version.
    """

    title: str
    summary: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    layers: Sequence[Layer]
    view: str = "all"
    neurological: bool = False
    letters: bool = True
    outline: float = 0.0
    inverted: bool = False
    first: int = 0
    presets: Mapping[str, tuple[float, float]]
    generator: str = "medimg"


def viewer_script() -> tuple[bytes, str]:
    """Return the script of the viewer, compressed with gzip, and the licences of what it holds.

    Raises
    ------
    MissingExtraError
        If medimg was built without it.
    """
    try:
        return asset("niivue.umd.js.gz"), asset("niivue.LICENSES.txt").decode()
    except FileNotFoundError:
        hint = "install npm, then medimg again; in a checkout: make viewer"
        raise MissingExtraError("medimg was built without the viewer, NiiVue", hint=hint) from None


def page_html(page: Page) -> Iterator[bytes]:
    """Yield a page, piece by piece.

    Parameters
    ----------
    page : Page

    Raises
    ------
    MissingExtraError
        If medimg was built without the viewer.
    """
    viewer, licences = viewer_script()
    template, style, script = (asset(f"view.{kind}").decode() for kind in ("html", "css", "js"))
    volumes = (_packed(f"volume{number}", layer.content) for number, layer in enumerate(page.layers))
    holes: dict[str, Any] = {
        "policy": policy([script, gzip.decompress(viewer).decode()], [style]),
        "generator": escaped(page.generator),
        "title": escaped(page.title),
        "summary": escaped(page.summary),
        "style": style,
        "notes": "".join(f'<p class="note">{escaped(note)}</p>\n' for note in page.notes),
        "facts": "".join(f"<tr><th>{escaped(name)}</th><td>{escaped(text)}</td></tr>" for name, text in page.facts),
        "licences": "\n".join(map(escaped, licences.splitlines())),
        "page": _json(_described(page)),
        "viewer": b64encode(viewer).decode(),
        "volumes": volumes,
        "script": script,
    }
    for number, part in enumerate(_HOLE.split(template)):
        found = holes[part] if number % 2 else part
        yield from (piece.encode() for piece in ([found] if isinstance(found, str) else found))


def _packed(name: str, content: bytes) -> str:
    return f'<script type="text/plain" id="{name}">{b64encode(content).decode()}</script>\n'


def _described(page: Page) -> dict[str, Any]:
    """Return what the script of the page needs to know."""
    tables = {name: colormap(name) for name in (*COLORMAPS, *(layer.colormap for layer in page.layers))}
    return {
        "view": page.view,
        "neurological": page.neurological,
        "letters": page.letters,
        "outline": page.outline,
        "first": page.first,
        "presets": [[name, list(window)] for name, window in page.presets.items()],
        "colormaps": {name: (t[::-1] if page.inverted else t).tobytes().hex() for name, t in tables.items()},
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "window": layer.window,
                "signed": layer.signed,
                "factor": layer.factor,
                "colormap": layer.colormap,
                "labels": layer.labels,
                "opacity": layer.opacity,
                "step": layer.step,
                "seconds": layer.seconds,
            }
            for layer in page.layers
        ],
    }


def _json(value: object) -> str:
    """Return JSON that nothing in it can end: ASCII without the signs that HTML acts upon."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

"""A page of HTML that shows the images of a data set: small views and facts, to sort and to filter.

Everything lies in the page; its Content-Security-Policy allows its one script by its digest, pictures from ``data:``
URLs, and nothing else. Without JavaScript it is a plain table. All text that comes from files is escaped.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

from medimg_cli.media.facets import BY, FACETS, oddities, twins
from medimg_cli.media.page import asset, data_url, escaped, policy
from medimg_cli.text import size_text

__all__ = ["report_page"]

Record = Mapping[str, Any]

#: Values of a facet that are shown at once, and labels of a label map.
_FIRST, _LABELS = 6, 8
_COLUMNS = (
    ("Image", (("name", "Name"), ("bytes", "Size"))),
    ("Views", ()),
    ("Shape", (("voxels", "Shape"),)),
    ("Spacing, mm", (("volume", "Spacing, mm"),)),
    ("Axes", (("orientation", "Axes"),)),
    ("Type", (("dtype", "Type"),)),
    ("Values", (("min", "Min"), ("mean", "Mean"), ("max", "Max"))),
    ("Notes", (("notes", "Notes"),)),
)
"""Title of each column, and by what its buttons sort: a key and a word."""
_STATES = (
    ("failed", "could not be read"),
    ("findings", "with findings"),
    ("odd", "unlike the others"),
    ("twins", "that look the same"),
    ("warnings", "with warnings"),
)


class _Row(NamedTuple):
    """One image with all that is said of it beside its record."""

    record: Record
    name: str
    odd: Mapping[str, str]
    twins: Sequence[str]

    @property
    def states(self) -> list[str]:
        """The groups of :data:`_STATES` that it belongs to."""
        record = self.record
        there = {
            "failed": "error" in record,
            "findings": bool(record.get("findings")),
            "odd": bool(self.odd),
            "twins": bool(self.twins),
            "warnings": bool(_warnings(record)),
        }
        return [name for name, _ in _STATES if there[name]]


def report_page(
    records: Sequence[Record],
    names: Sequence[str],
    *,
    title: str,
    side: int,
    letters: bool = True,
    notes: Sequence[str] = (),
    generator: str = "medimg",
) -> Iterator[bytes]:
    """Yield the page of a data set, piece by piece.

    Parameters
    ----------
    records : sequence of mapping
        As `picturing.surveying` makes them, in the order of the page.
    names : sequence of str
        What each image is called.
    title : str
    side : int
        Pixels of the longest edge of the views of an image.
    letters : bool
        Whether letters say where left and right are.
    notes : sequence of str
        How to read the page; one sentence each.
    generator : str
        Program and version.
    """
    odd, alike = oddities(records), twins(records)
    rows = [
        _Row(record, name, odd[n], [names[other] for other in alike[n]])
        for n, (record, name) in enumerate(zip(records, names, strict=True))
    ]
    style, script = (asset(f"report.{kind}").decode() for kind in ("css", "js"))
    parts = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'<meta http-equiv="Content-Security-Policy" content="{policy([script])}">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n',
        f'<meta name="generator" content="{escaped(generator)}">\n<link rel="icon" href="data:,">\n',
        f"<title>{escaped(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n",
        f"<header>\n<h1>{escaped(title)}</h1>\n{_counts(rows)}</header>\n",
        *_facets(rows),
        _TOOLS,
        *_table(rows, side, letters),
        "<footer>\n",
        *(f"<p>{escaped(note)}</p>\n" for note in notes),
        f"</footer>\n<script>{script}</script>\n</body>\n</html>\n",
    )
    yield from (part.encode() for part in parts)


# -- head -----------------------------------------------------------------------------------------------------------

_TOOLS = """<form class="tools script" role="search">
<label>Filter <input type="search" id="query" placeholder="name, label, warning ..." autocomplete="off"></label>
<output id="shown"></output>
<button type="button" id="all" hidden>Show all</button>
<span class="gap"></span>
<label>Views <input type="range" id="side" min="48" max="192" value="104"></label>
<button type="button" id="tiles" aria-pressed="false">Tiles</button>
<button type="button" id="save" title="Save the names of the images that are shown, one a line">Save list</button>
</form>
"""


def _counts(rows: Sequence[_Row]) -> str:
    """Return how many images there are, and how many of them need a look."""
    total = len(rows)
    parts = [f"<li><b>{total}</b> {'image' if total == 1 else 'images'}</li>"]
    found = Counter(state for row in rows for state in row.states)
    parts += [
        f'<li class="{state}"><button type="button" aria-pressed="false" data-facet="state" data-value="{state}">'
        f"<b>{found[state]}</b> {words}</button></li>"
        for state, words in _STATES
        if found[state]
    ]
    return f'<ul class="counts">{"".join(parts)}</ul>\n'


def _facets(rows: Sequence[_Row]) -> Iterator[str]:
    """Yield how often each value of each facet occurs; a facet that is the same for all is one line."""
    yield '<section class="facets" aria-label="Distributions">\n'
    for facet in FACETS:
        counts = Counter(text for row in rows if (text := facet.text(row.record)))
        if not counts:
            continue
        most = counts.most_common()
        bars = [_bar(facet.key, text, count, most[0][1]) for text, count in most]
        rest = len(bars) - _FIRST
        more = f"<details><summary>{rest} more</summary><ul>{''.join(bars[_FIRST:])}</ul></details>" if rest > 0 else ""
        yield f"<div><h2>{escaped(facet.title)}</h2><ul>{''.join(bars[:_FIRST])}</ul>{more}</div>\n"
    yield "</section>\n"


def _bar(key: str, text: str, count: int, most: int) -> str:
    return (
        f'<li><button type="button" aria-pressed="false" data-facet="{key}" data-value="{escaped(text)}" '
        f'style="--part:{count / most:.3f}"><span>{escaped(text)}</span><b>{count}</b></button></li>'
    )


# -- table ----------------------------------------------------------------------------------------------------------


def _table(rows: Sequence[_Row], side: int, letters: bool) -> Iterator[str]:
    yield '<div class="scroll">\n<table>\n<thead><tr>'
    for title, keys in _COLUMNS:
        buttons = [f'<button type="button" data-key="{key}">{word}</button>' for key, word in keys]
        yield f'<th scope="col">{" ".join(buttons) or title}</th>'
    yield "</tr></thead>\n<tbody>\n"
    for number, row in enumerate(rows):
        cells = (
            ("name", _name(row)),
            ("views", _views(row.record, side, letters)),
            *((key, _fact(row, key)) for key in ("shape", "spacing", "orientation", "dtype")),
            ("values", "".join(_values(row.record))),
            ("notes", "".join(_notes(row))),
        )
        yield f"<tr {_attributes(number, row)}>"
        for (title, _), (kind, content) in zip(_COLUMNS, cells, strict=True):
            odd = f' title="{escaped(row.odd[kind])}"' if kind in row.odd else ""
            marks = f"{kind} odd" if odd else kind
            tag = 'th scope="row"' if kind == "name" else "td"
            yield f'<{tag} class="{marks}" data-title="{title}"{odd}>{content}</{tag[:2]}>'
        yield "</tr>\n"
    yield "</tbody>\n</table>\n</div>\n"


def _attributes(number: int, row: _Row) -> str:
    """Return what the script sorts and filters by."""
    record, values = row.record, row.record.get("values") or {}
    spacing = record.get("spacing_mm")
    found: dict[str, Any] = {
        "number": number,
        "name": row.name,
        "state": " ".join(row.states),
        "bytes": record.get("file_bytes"),
        "voxels": prod(record["shape"]) if "shape" in record else None,
        "volume": f"{prod(spacing):.9g}" if spacing else None,
        "notes": len(row.states) + len(_warnings(record)) + len(row.odd) or None,
        **{key: values.get(key) for key in ("min", "mean", "max")},
        **{facet.key: facet.text(record) for facet in FACETS},
    }
    said = ((key, value) for key, value in found.items() if value not in (None, ""))
    return " ".join(f'data-{key}="{escaped(str(value))}"' for key, value in said)


def _name(row: _Row) -> str:
    record = row.record
    folder, _, name = row.name.rpartition("/")
    above = f'<span class="quiet">{_breakable(folder)}/</span><wbr>' if folder else ""
    more = [
        record.get("format") or "",
        record.get("compression") or "",
        size_text(record["file_bytes"]) if record.get("file_bytes") is not None else "",
    ]
    return f"{above}<b>{_breakable(name)}</b>{_small(', '.join(word for word in more if word))}"


def _views(record: Record, side: int, letters: bool) -> str:
    found = []
    for view in record.get("views", ()):
        said = view["letters"] if letters else ""
        marks = "".join(f'<i class="{place}">{escaped(each)}</i>' for place, each in zip("lt", said[::2], strict=False))
        way = f" view, {view['letters'][0]} on the left, {view['letters'][2]} above" if view["letters"] else " view"
        found.append(
            f'<span class="view"><img alt="{escaped(view["name"] + way)}" width="{view["width"]}" '
            f'height="{view["height"]}" style="--w:{view["width"] / side:.4g}" decoding="async" loading="lazy" '
            f'src="{data_url(view["data"], view["type"])}">{marks}</span>'
        )
    window = record.get("window")
    said = f' title="{escaped(window)}"' if window else ""
    return f"<div{said}>{''.join(found)}</div>" if found else ""


def _fact(row: _Row, key: str) -> str:
    """Return the cell of a fact that is a facet, with a smaller line below it."""
    record = row.record
    text = next(facet for facet in FACETS if facet.key == key).text(record)
    if not text:
        return ""
    below = ""
    if key == "shape":
        text, _, below = text.partition(", ")
    elif key == "spacing":
        steps = record["time_spacing_s"]
        below = BY.join(f"{length:.4g}" for length in record["extent_mm"]) + " in all"
        below += f", {steps:.4g} s" if steps else ""
    elif key == "orientation":
        angle, shear = record["obliquity_deg"], record["shear_deg"]
        below = ", ".join(
            [f"oblique {angle:.3g}°"] * (angle >= 0.5)
            + [f"sheared {shear:.3g}°"] * (shear > 0.01)
            + [f"taken for {record['orientation']}"] * (text == "unknown")
        )
    elif key == "dtype" and text.endswith("*"):
        inter = record["inter"] or 0.0
        added = f" {'-' if inter < 0 else '+'} {abs(inter):.4g}" if inter else ""
        text, below = text[:-1], f"{BY.strip()} {record['slope']:.4g}{added}"
    return f"{escaped(text)}{_small(below)}"


def _values(record: Record) -> Iterator[str]:
    """Yield the range of values, or the labels of a label map."""
    values = record.get("values")
    labels = record.get("labels")
    if labels is not None:
        yield f"{len(labels)} {'label' if len(labels) == 1 else 'labels'}"
        items = [_label(label) for label in labels]
        if items:
            yield f'<ul class="labels">{"".join(items[:_LABELS])}</ul>'
        if len(items) > _LABELS:
            rest = ", ".join(str(label["value"]) for label in labels[_LABELS:])
            yield f'<span class="quiet" title="{escaped(rest)}">and {len(items) - _LABELS} more</span>'
    elif values is not None and values["min"] is not None:
        yield f'<span class="nowrap">{values["min"]:.5g} to {values["max"]:.5g}</span>'
        yield _small(f"mean {values['mean']:.4g} ± {values['std']:.4g}")


def _label(label: Mapping[str, Any]) -> str:
    text = f"{label['value']:g} {label['name']}".rstrip()
    return (
        f'<li title="{label["voxels"]} voxels"><i style="background:{escaped(label["color"])}"></i>{escaped(text)}</li>'
    )


def _notes(row: _Row) -> Iterator[str]:
    """Yield what a careful user should know of an image, the worst first."""
    record = row.record
    if "error" in record:
        yield _note("error", record["error"])
    for finding in record.get("findings", ()):
        yield _note(finding["severity"], f"{finding['code']} {finding['message']}")
    for key, usual in row.odd.items():
        title = next(facet.title for facet in FACETS if facet.key == key)
        yield _note("odd", f"{title.partition(' ')[0]}: {usual}")
    if row.twins:
        more = f" and {len(row.twins) - 1} more" if len(row.twins) > 1 else ""
        yield _note("twins", f"looks the same as {row.twins[0]}{more}")
    yield from (_note("warning", text) for text in _warnings(record))
    yield from (_note("remark", text.partition(" (--")[0]) for text in record.get("remarks", ()))


def _warnings(record: Record) -> list[str]:
    """Return what the header warns of, and what is odd about the values."""
    values = record.get("values") or {}
    found = list(record.get("warnings", ()))
    counts = (f"{values[key]} {word}" for key, word in (("nan", "NaN"), ("infinite", "infinite")) if values.get(key))
    if odd := ", ".join(counts):
        found.append(f"not finite: {odd}")
    if values and values["min"] is None:
        found.append("no value is finite")
    elif values and values["min"] == values["max"]:
        found.append(f"all values are {values['min']:.5g}")
    return found


def _note(kind: str, text: str) -> str:
    return f'<p class="{escaped(kind)}">{escaped(text)}</p>'


def _small(text: str) -> str:
    return f"<small>{escaped(text)}</small>" if text else ""


def _breakable(name: str) -> str:
    """Return a name as HTML that is broken between its words, if anywhere.

    >>> _breakable("sub-01/brain_1.nii.gz")
    'sub-<wbr>01/<wbr>brain_<wbr>1.<wbr>nii.<wbr>gz'
    """
    return re.sub(r"(?<=[-_./])(?=\w)", "<wbr>", escaped(name))

"""What images of a data set have in common, and which are unlike the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["BY", "FACETS", "Facet", "oddities", "twins"]

Record = Mapping[str, Any]

BY = " \N{MULTIPLICATION SIGN} "
"""What stands between the numbers of a shape."""

#: Images of a kind from which on one can be unlike the others.
_SOME = 3
#: Share of them that has to agree on a fact.
_MOST = 2 / 3
#: Labels that are named one by one.
_NAMED = 8

_AXES = {"time": "time steps", "channel": "channels", "vector": "vector components"}
_KINDS = {"intensities": "intensities", "labels": "label map", "colours": "colours"}


class Facet(NamedTuple):
    """One fact by which images are sorted into heaps.

    Parameters
    ----------
    key : str
    title : str
    text : callable
        Record -> the fact as one reads it; "" where it is not known.
    watched : bool
        Whether an image that is unlike most others of its kind is worth a mark.
    """

    key: str
    title: str
    text: Callable[[Record], str]
    watched: bool = True


def _shape(record: Record) -> str:
    """Write a shape with the axes beside space that have more than one step.

    >>> _shape({"spatial_shape": [64], "axes": [{"kind": "time", "size": 200}], "channels": 200})
    '64, 200 time steps'
    """
    if "spatial_shape" not in record:
        return ""
    axes = record["axes"] or [{"kind": "channel", "size": record["channels"]}]
    more = [f", {axis['size']} {_AXES[axis['kind']]}" for axis in axes if axis["size"] > 1 and axis["kind"] in _AXES]
    return BY.join(map(str, record["spatial_shape"])) + "".join(more)


def _spacing(record: Record) -> str:
    return BY.join(f"{step:.4g}" for step in record.get("spacing_mm", ()))


def _orientation(record: Record) -> str:
    return str(record.get("orientation", "")) if record.get("orientation_known", True) else "unknown"


def _type(record: Record) -> str:
    """Write the type of the stored numbers, with a star where they are scaled, as `medimg info` does."""
    if "dtype" not in record:
        return ""
    scaled = record["slope"] is not None and (record["slope"], record["inter"] or 0.0) != (1.0, 0.0)
    return record["dtype"] + ("*" if scaled else "")


def _labels(record: Record) -> str:
    """Name the labels of a label map by their values; many by how many they are.

    >>> _labels({"labels": [{"value": 1}, {"value": 5}]}), _labels({"labels": []}), _labels({})
    ('1, 5', 'none', '')
    """
    if record.get("labels") is None:
        return ""
    values = [label["value"] for label in record["labels"]]
    if len(values) > _NAMED:
        return f"{len(values)} from {values[0]} to {values[-1]}"
    return ", ".join(map(str, values)) or "none"


FACETS = (
    Facet("shape", "Shape", _shape),
    Facet("spacing", "Spacing in mm", _spacing),
    Facet("orientation", "Orientation", _orientation),
    Facet("dtype", "Type", _type),
    Facet("kind", "Kind", lambda record: _KINDS.get(record.get("kind", ""), ""), watched=False),
    Facet("format", "Format", lambda record: record.get("format") or "", watched=False),
    Facet("labels", "Labels", _labels),
)
"""What a page counts; to add a fact, give it a row."""


def oddities(records: Sequence[Record]) -> list[dict[str, str]]:
    """Find images that are unlike two thirds or more of those of their kind.

    Parameters
    ----------
    records : sequence of mapping
        As `picturing.surveying` makes them.

    Returns
    -------
    list of dict
        For each record: key of a facet -> what most others have. Fewer than three images of a kind are not compared.

    Examples
    --------
    >>> seen = [{"kind": "labels", "orientation": word} for word in ("RAS", "RAS", "LPS", "RAS")]
    >>> oddities(seen)[2]
    {'orientation': '3 of 4 label maps have RAS'}
    """
    found: list[dict[str, str]] = [{} for _ in records]
    for kind, members in _heaps((record.get("kind"), number) for number, record in enumerate(records)):
        if len(members) < _SOME or kind not in _KINDS:
            continue
        for facet in FACETS:
            texts = {number: facet.text(records[number]) for number in members} if facet.watched else {}
            usual, count = Counter(texts.values()).most_common(1)[0] if texts else ("", 0)
            if usual and count >= _MOST * len(texts):
                for number, text in texts.items():
                    if text != usual:
                        found[number][facet.key] = f"{count} of {len(texts)} {_many(kind)} have {usual}"
    return found


def _many(kind: str) -> str:
    return {"labels": "label maps", "colours": "colour images"}.get(kind, "images")


def twins(records: Sequence[Record]) -> list[list[int]]:
    """Find images that look alike: as many voxels, the same range, mean and deviation; label maps: the same views too.

    Axes may be stored in another order, or placed elsewhere. Images of one value only are not compared.

    Parameters
    ----------
    records : sequence of mapping

    Returns
    -------
    list of list of int
        For each record the numbers of the others that look like it.

    Examples
    --------
    >>> values = {"min": 0, "max": 9, "mean": 3.25, "std": 2.5}
    >>> first = {"shape": [1, 4, 5, 6], "kind": "intensities", "values": values}
    >>> twins([first, {**first, "values": {**values, "max": 8}}, {**first, "shape": [1, 6, 5, 4]}])
    [[2], [], [0]]
    """
    found: list[list[int]] = [[] for _ in records]
    marks = ((_mark(record), number) for number, record in enumerate(records))
    for mark, members in _heaps(marks):
        for number in members if mark is not None else ():
            found[number] = [other for other in members if other != number]
    return found


def _mark(record: Record) -> tuple[Any, ...] | None:
    """Return what two images share only if they look alike; None where nobody can tell."""
    values = record.get("values")
    if not values or values["min"] is None or values["min"] == values["max"] or "error" in record:
        return None
    views = tuple(view["data"] for view in record["views"]) if record["kind"] == "labels" else ()
    rough = (f"{values[key]:.9g}" for key in ("mean", "std"))  # sums of floats depend on the order of voxels
    return (record["kind"], *sorted(record["shape"]), values["min"], values["max"], *rough, *views)


def _heaps(pairs: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, list[int]]]:
    """Yield keys with the numbers that have them, in the order in which keys appear."""
    heaps: dict[Any, list[int]] = {}
    for key, number in pairs:
        heaps.setdefault(key, []).append(number)
    yield from heaps.items()

"""3D Slicer's markups (``.mrk.json``): points are lists of control points, boxes are ROIs.

Written is what schema 1.0.3 of Slicer's Markups module describes (markups-schema-v1.0.3.json), read are all 1.x. Of a
list of control points, whatever its type (Fiducial, Line, Curve ...), positions, labels and descriptions are read; of
a ROI centre, size, orientation, and the integer label that MONAI Label puts there (0 where a ROI has none and others
do). How Slicer displays and measures them is not. Coordinates are LPS unless the file says RAS, in mm or um.

Metadata that JSON can hold stand under ``"metadata"`` at the top, where Slicer ignores them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medimg_cli.affine import AffineMatrix
from medimg_cli.annotations.axes import frame, is_voxel
from medimg_cli.annotations.base import Array
from medimg_cli.annotations.boxes import BoundingBoxes, BoundingBoxFormat, Representation
from medimg_cli.annotations.points import Points
from medimg_cli.errors import FormatError, GeometryError, UnsupportedError, UsageError

__all__ = ["print_boxes", "print_points", "read_boxes", "read_points"]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
_SYSTEMS = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS", "": "LPS"}
_UNITS = {"": 1.0, "mm": 1.0, "um": 1e-3}
_LPS_AXES = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
_ALIGNED = 1e-6  # what may be missing in a direction that is meant to be an axis
_SHEAR = 0.01  # degrees that the edges of a ROI may be off a right angle by


class _Roi(NamedTuple):
    """A box with edges of its own: directions in RAS+ are the columns of ``edges``."""

    center: Array
    size: Array
    edges: Array
    system: str
    label: int | None
    name: str
    description: str


# -- points


def read_points(
    kind: type[Points], text: str, path: str, *, axes: str | None = None, name: str | None = None, affine: Any = None
) -> Points:
    """Read a list of control points."""
    content, markups = _markups(text)
    lists = [markup for markup in markups if markup.get("type") != "ROI" and "controlPoints" in markup]
    if name is not None:
        lists = [markup for markup in lists if markup.get("name") == name]
    if len(lists) != 1:
        names = ", ".join(ascii(str(markup.get("name", "")))[:40] for markup in lists[:8])
        found = f"{len(lists)} lists of points ({names})" if lists else "no such list of points"
        raise (
            UsageError(f"it holds {found}", hint="choose one by name=")
            if lists or name
            else FormatError("it holds no list of points")
        )
    system, scale = _system(lists[0])
    if axes is not None and axes != system:
        raise UsageError(f"it is written along {system}, not along {axes}", hint="leave out axes")
    points = _list(lists[0]["controlPoints"], "controlPoints")
    rows = [_position(point, scale) for point in points]
    metadata = _metadata(content, points, lists[0])
    return kind(np.array(rows, dtype=np.float64).reshape(-1, 3), system, affine=affine, metadata=metadata)


def print_points(points: Points, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a list of control points, and the metadata that it holds."""
    nothing = [""] * len(points)
    names, descriptions = (points.metadata.get(key, nothing) for key in ("names", "descriptions"))
    markup = _markup("Fiducial", points.metadata)
    markup["controlPoints"] = [
        _control_point(at, row, name, text)
        for at, (row, name, text) in enumerate(zip(points.numpy().tolist(), names, descriptions, strict=True), 1)
    ]
    named = ("name",) if "name" in markup else ()
    return _text([markup], points.metadata, ("names", "descriptions", *named))


def _position(point: Mapping[str, Any], scale: float) -> list[float]:
    status, position = point.get("positionStatus", "defined"), point.get("position")
    if status not in ("defined", "undefined", "preview"):
        raise FormatError(f"positionStatus is {_shown(status)}, expected defined, undefined or preview")
    if status != "defined" or position in (None, ""):
        return [math.nan] * 3
    return [value * scale for value in _numbers(position, 3, "position")]


def _control_point(at: int, row: Sequence[float], name: str, description: str) -> dict[str, Any]:
    defined = not any(map(math.isnan, row))
    return {
        "id": str(at),
        "label": name,
        "description": description,
        "associatedNodeID": "",
        **({"position": list(row)} if defined else {}),
        "orientation": _LPS_AXES,
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined" if defined else "undefined",
    }


# -- boxes


def read_boxes(
    kind: type[BoundingBoxes], text: str, path: str, *, format: BoundingBoxFormat | None = None, affine: Any = None
) -> BoundingBoxes:
    """Read ROIs."""
    content, markups = _markups(text)
    rois = [_roi(markup, number) for number, markup in enumerate(markups, 1) if markup.get("type") == "ROI"]
    if markups and not rois:
        raise FormatError("it holds no ROI")
    groups = list(_groups(rois))
    if len(groups) > 1 and format is None:
        raise UnsupportedError(
            f"its {len(rois)} ROIs are turned against each other, which no one format can hold",
            hint="pass format= to read the boxes around them",
        )
    if format is not None and is_voxel(format.axes) and affine is None:
        raise UsageError("it does not say where voxels are", hint="pass affine=, too")
    nothing = kind(np.empty((0, 6)), BoundingBoxFormat("LPS", Representation.CENTER_SIZE))
    boxes = [_boxes(kind, group) for group in groups] or [nothing]
    boxes = [each if affine is None else each.moved_to(affine) for each in boxes]
    texts = {"names": [roi.name for roi in rois], "descriptions": [roi.description for roi in rois]}
    metadata = {**_own(content), **{key: found for key, found in texts.items() if any(found)}}
    given = any(roi.label is not None for roi in rois)
    labels = np.array([roi.label or 0 for roi in rois], dtype=np.int64) if given else None
    if len(boxes) == 1:
        return boxes[0]._changed(_metadata=metadata, _labels=labels)
    assert format is not None
    rows = np.vstack([each.numpy(format) for each in boxes])
    return kind(rows, format, labels=labels, affine=affine, metadata=metadata)


def print_boxes(boxes: BoundingBoxes, path: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of ROIs, and the metadata that it holds."""
    source = boxes._source
    place = frame(source.axes, source.affine)
    if np.isnan(boxes.numpy()).any():
        raise UsageError("a box has no place: nan among its numbers")
    if place.shear_deg > _SHEAR:
        raise GeometryError(
            f"edges of the boxes are {90 - place.shear_deg:.2f} degrees apart, those of a ROI 90",
            hint="write a table (.csv)",
        )
    rows = source.numpy(BoundingBoxFormat(source.axes, Representation.CENTER_SIZE))
    edges = place.to_lps().numpy()[:3, :3] / place.spacing
    if np.linalg.det(edges) < 0:  # a ROI's edges are right-handed; a box is its own mirror image
        edges[:, 2] *= -1
    centers = place.to_lps().apply(rows[:, :3])
    sizes = rows[:, 3:] * place.spacing
    nothing = [""] * len(boxes)
    names, descriptions = (boxes.metadata.get(key, nothing) for key in ("names", "descriptions"))
    labels = [None] * len(boxes) if boxes._labels is None else boxes._labels.tolist()
    orientation = (edges.ravel() + 0.0).tolist()
    markups = []
    for at, label in enumerate(labels):
        center = centers[at].tolist()
        point = _control_point(1, center, names[at], descriptions[at])
        markup = _markup("ROI", {"name": names[at]})
        markup |= {"roiType": "Box", "center": center, "orientation": orientation, "size": sizes[at].tolist()}
        markup |= {"insideOut": False, "controlPoints": [point | {"orientation": orientation}]}
        markups.append(markup if label is None else markup | {"label": {"value": label}})
    return _text(markups, boxes.metadata, ("names", "descriptions"))


def _roi(markup: Mapping[str, Any], number: int) -> _Roi:
    if markup.get("insideOut", False) is not False:
        raise UnsupportedError(f"ROI {number} is turned inside out: what is outside of it is no box")
    system, scale = _system(markup)
    points = _list(markup.get("controlPoints", []), "controlPoints")
    first = points[0] if points else {}
    center = np.array(_numbers(markup.get("center", first.get("position")), 3, f"center of ROI {number}")) * scale
    size = np.abs(_numbers(markup.get("size"), 3, f"size of ROI {number}")) * scale
    edges = np.reshape(_numbers(markup.get("orientation", _LPS_AXES), 9, f"orientation of ROI {number}"), (3, 3))
    if np.abs(edges.T @ edges - np.eye(3)).max() > 1e-3:
        raise FormatError(f"orientation of ROI {number} is no rotation")
    if system == "LPS":
        center, edges = center * (-1, -1, 1), edges * [[-1], [-1], [1]]
    label = markup.get("label")
    value = label.get("value") if isinstance(label, dict) else None
    if value is not None and (type(value) is not int or abs(value) >= 2**63):
        raise FormatError(f"label of ROI {number} is {_shown(value)}, expected an integer")
    name = _word(markup, "name") or _word(first, "label")
    return _Roi(center, size, edges, system, value, name, _word(first, "description"))


def _groups(rois: Sequence[_Roi]) -> Iterator[list[_Roi]]:
    """Yield runs of ROIs that one format can hold: along the patient's axes, or turned alike."""
    group: list[_Roi] = []
    for roi in rois:
        if group and not _alike(roi, group[0]):
            yield group
            group = []
        group.append(roi)
    if group:
        yield group


def _alike(roi: _Roi, other: _Roi) -> bool:
    turned = float(np.abs(roi.edges - other.edges).max())
    return (_aligned(roi) and _aligned(other)) or turned < _ALIGNED


def _aligned(roi: _Roi) -> bool:
    """Tell whether every edge runs along an axis of the patient."""
    return bool((np.abs(np.abs(roi.edges) - np.round(np.abs(roi.edges))) < _ALIGNED).all())


def _boxes(kind: type[BoundingBoxes], rois: Sequence[_Roi]) -> BoundingBoxes:
    edges = rois[0].edges
    if _aligned(rois[0]):
        system = rois[0].system if len({roi.system for roi in rois}) == 1 else "RAS"
        flips = (-1, -1, 1) if system == "LPS" else (1, 1, 1)
        rows = [[*(roi.center * flips + 0.0), *(np.round(np.abs(roi.edges)) @ roi.size)] for roi in rois]
        return kind(rows, BoundingBoxFormat(system, Representation.CENTER_SIZE))
    place = AffineMatrix.from_spacing(1.0, direction=edges.tolist())  # millimetres along the edges
    back = place.inverse()
    rows = [[*back.apply(roi.center), *roi.size] for roi in rois]
    return kind(rows, BoundingBoxFormat.IJKWHD, affine=place)


# -- JSON


def _markups(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"it is not valid JSON: {ascii(str(error))[1:61]}") from None
    if not isinstance(content, dict) or "markups" not in content:
        raise FormatError("it is no markups file: it has no 'markups'", hint="expected 3D Slicer's .mrk.json")
    schema = str(content.get("@schema", "markups-schema-v1."))
    if "markups-schema-v1." not in schema.lower():
        raise UnsupportedError(f"its schema is {_shown(schema)}, expected version 1 of 3D Slicer's markups")
    return content, _list(content["markups"], "markups")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _list(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise FormatError(f"{what} is {_shown(value)}, expected a list of objects")
    return value


def _numbers(value: Any, count: int, what: str) -> list[float]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != count or any(type(each) not in (int, float) or abs(each) > 1e100 for each in numbers):
        raise FormatError(f"{what} is {_shown(value)}, expected {count} numbers")
    return [float(each) for each in numbers]


def _word(item: Mapping[str, Any], key: str) -> str:
    text = item.get(key, "")
    if not isinstance(text, str) or any("\ud800" <= each <= "\udfff" for each in text):
        raise FormatError(f"{key} is {_shown(text)}, expected a text")
    return text


def _system(markup: Mapping[str, Any]) -> tuple[str, float]:
    """Return the axes of a markup's coordinates, and how many mm one unit is."""
    system, units = markup.get("coordinateSystem", "LPS"), markup.get("coordinateUnits", "mm")
    if str(system).upper() not in _SYSTEMS:
        raise FormatError(f"coordinateSystem is {_shown(system)}, expected LPS or RAS")
    code = units[0] if isinstance(units, list) and units else units
    if not isinstance(code, str) or code not in _UNITS:
        raise UnsupportedError(f"coordinateUnits are {_shown(units)}, expected mm or um")
    return _SYSTEMS[str(system).upper()], _UNITS[code]


def _markup(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    name = metadata.get("name")
    named = {"name": name} if isinstance(name, str) and name else {}
    return {"type": kind, **named, "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": False}


def _metadata(
    content: Mapping[str, Any], points: Sequence[Mapping[str, Any]], markup: Mapping[str, Any]
) -> dict[str, Any]:
    found: dict[str, Any] = _own(content)
    if _word(markup, "name"):
        found["name"] = markup["name"]
    for key, member in (("names", "label"), ("descriptions", "description")):
        texts = [_word(point, member) for point in points]
        if any(texts):
            found[key] = texts
    return found


def _own(content: Mapping[str, Any]) -> dict[str, Any]:
    own = content.get("metadata")
    return dict(own) if isinstance(own, dict) else {}


def _text(
    markups: list[dict[str, Any]], metadata: Mapping[str, Any], texts: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file, and the metadata that it holds: those in markups, and what JSON can hold."""
    own = {key: value for key, value in metadata.items() if key not in texts and _fits(value)}
    content = {"@schema": _SCHEMA, "markups": markups} | ({"metadata": own} if own else {})
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", (*texts, *own)


def _fits(value: Any) -> bool:
    """Tell whether JSON gives back what it is given; tuples come back as lists."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == _lists(value))
    except (TypeError, ValueError, RecursionError):
        return False


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."

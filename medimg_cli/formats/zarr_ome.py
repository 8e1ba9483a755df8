"""OME-Zarr (OME-NGFF 0.1 to 0.5): axes, scales, names and labels of a multiscale image.

Decisions, each by the specification:

- World coordinates of OME-NGFF are lengths along the image's own axes; **no anatomical orientation is stated**. Unless
  axes carry the attribute ``orientation`` (RFC-4), x, y, z run to the left, back and head, as ITK (and ngff-zarr) read
  such images and as medimg reads all formats without directions; a warning says that orientation is unknown.
- Transformations are a scale, then a translation, of the data set and after them those of the multiscale image (0.4,
  "multiscales" metadata). Units are UDUNITS names; without a unit lengths count as mm, times as seconds.
- ``x``, ``y``, ``z`` are I, J, K; spatial axes of other names follow the order z, y, x from last to first.
- Axes of 0.1 and 0.2 are t, c, z, y, x; 0.3 has names alone. Neither has scales: spacing 1 and a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.formats.foreign import sane_origin, sane_spacing
from medimg_cli.labels import LabelTable

__all__ = ["Axis", "Multiscale", "channel_names", "label_table", "multiscale", "only_image", "plain_axes"]

_SPACE = {
    "angstrom": 1e-7, "attometer": 1e-15, "centimeter": 10.0, "decimeter": 100.0, "femtometer": 1e-12, "foot": 304.8,
    "hectometer": 1e5, "inch": 25.4, "kilometer": 1e6, "meter": 1e3, "micrometer": 1e-3, "mile": 1609344.0,
    "millimeter": 1.0, "nanometer": 1e-6, "parsec": 3.0856775814913673e19, "picometer": 1e-9, "yard": 914.4,
    "mm": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "nm": 1e-6, "m": 1e3, "cm": 10.0,
}  # fmt: skip
_TIME = {
    "attosecond": 1e-18, "centisecond": 0.01, "day": 86400.0, "decisecond": 0.1, "femtosecond": 1e-15, "hour": 3600.0,
    "kilosecond": 1e3, "microsecond": 1e-6, "millisecond": 1e-3, "minute": 60.0, "nanosecond": 1e-9,
    "picosecond": 1e-12, "second": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6,
}  # fmt: skip
#: RFC-4: where an axis runs -> axis of RAS+ and sign.
_ORIENTATIONS = {
    "left-to-right": (0, 1.0), "right-to-left": (0, -1.0), "posterior-to-anterior": (1, 1.0),
    "anterior-to-posterior": (1, -1.0), "inferior-to-superior": (2, 1.0), "superior-to-inferior": (2, -1.0),
}  # fmt: skip
_KINDS = {"t": "time", "c": "channel", "x": "space", "y": "space", "z": "space"}


class Axis(NamedTuple):
    """One axis of an array, in its order.

    Parameters
    ----------
    name : str
    kind : str
        "space", "time" or "channel".
    unit : str
        As stated; "" where nothing is.
    orientation : str
        Of RFC-4; "" where nothing is stated.
    """

    name: str
    kind: str
    unit: str = ""
    orientation: str = ""


class Multiscale(NamedTuple):
    """The first multiscale image of a group.

    Parameters
    ----------
    axes : tuple of Axis
    paths : tuple of str
        Of the arrays, the finest first.
    scales, origins : tuple of tuple of float
        Per array: step and place of the first item along each axis, in the axes' units.
    name : str
    version : str
    notes : tuple of str
        Warnings.
    """

    axes: tuple[Axis, ...]
    paths: tuple[str, ...]
    scales: tuple[tuple[float, ...], ...]
    origins: tuple[tuple[float, ...], ...]
    name: str
    version: str
    notes: tuple[str, ...]

    def spatial(self) -> tuple[int, ...]:
        """Return which axes of the array are I, J, K, as far as there are any."""
        return spatial_axes(self.axes)

    def others(self) -> tuple[int, ...]:
        """Return the axes of the array that make the channels: time first, it is fastest in C."""
        rest = [n for n, axis in enumerate(self.axes) if axis.kind != "space"]
        return tuple(sorted(rest, key=lambda n: self.axes[n].kind != "time"))

    def place(self, level: int, notes: list[str]) -> tuple[AffineMatrix, str]:
        """Return the affine of a level and where it comes from: "orientation" (RFC-4), or "scale".

        Parameters
        ----------
        level : int
        notes : list of str
            Gets warnings.
        """
        axes = [self.axes[n] for n in self.spatial()]
        factors = [_factor(axis, _SPACE, notes) for axis in axes] + [1.0] * (3 - len(axes))
        sizes = [self.scales[level][n] for n in self.spatial()] + [1.0] * (3 - len(axes))
        starts = [self.origins[level][n] for n in self.spatial()] + [0.0] * (3 - len(axes))
        spacing = sane_spacing([a * b for a, b in zip(sizes, factors, strict=True)], notes)
        origin = sane_origin([a * b for a, b in zip(starts, factors, strict=True)], notes)
        runs = [_ORIENTATIONS.get(axis.orientation) for axis in axes]
        stated = [run for run in runs if run is not None]
        if len(stated) == 3 == len({along for along, _ in stated}):
            return _turned(stated, spacing, origin), "orientation"
        notes.append("orientation is unknown: OME-Zarr states none, x, y, z are taken as left, posterior, superior")
        return AffineMatrix.from_lps(AffineMatrix.from_spacing(spacing, origin=origin)), "scale"

    def step(self, level: int, notes: list[str]) -> tuple[float | None, str | None]:
        """Return the seconds between two steps of time, and their unit; None without an axis of time."""
        found = next((n for n, axis in enumerate(self.axes) if axis.kind == "time"), None)
        if found is None:
            return None, None
        axis, size = self.axes[found], self.scales[level][found]
        seconds = size * _factor(axis, _TIME, notes)
        stated = bool(axis.unit) or size != 1.0  # a step of 1 of no unit says nothing
        short = {"second": "s", "millisecond": "ms", "microsecond": "us"}.get(axis.unit, axis.unit)
        return (seconds if stated and 0 < seconds < 1e30 else None), short or None

    def space_unit(self) -> str | None:
        """Return the unit of the first spatial axis as other formats call it."""
        unit = next((axis.unit for axis in self.axes if axis.kind == "space"), "")
        return {"millimeter": "mm", "micrometer": "um", "meter": "m"}.get(unit, unit) or None


def _turned(runs: Sequence[tuple[int, float]], spacing: Sequence[float], origin: Sequence[float]) -> AffineMatrix:
    rows = [[0.0] * 4 for _ in range(3)]
    for column, (along, sign) in enumerate(runs):
        rows[along][column] = sign * spacing[column]
        rows[along][3] = sign * origin[column]
    return AffineMatrix(rows)


def _factor(axis: Axis, table: Mapping[str, float], notes: list[str]) -> float:
    if axis.unit and axis.unit not in table:
        note = f"the unit {axis.unit[:20]!r} of axis {axis.name[:20]!r} is unknown, taken as mm or seconds"
        notes.extend([note] if note not in notes else [])
    return table.get(axis.unit, 1.0)


def spatial_axes(axes: Sequence[Axis]) -> tuple[int, ...]:
    """Return which axes are I, J, K.

    >>> spatial_axes(plain_axes(["c", "z", "y", "x"])), spatial_axes(plain_axes(["x", "y"]))
    ((3, 2, 1), (0, 1))
    """
    space = {axis.name: n for n, axis in enumerate(axes) if axis.kind == "space"}
    named = [space[name] for name in ("x", "y", "z") if name in space]
    return tuple(named if len(named) == len(space) else list(space.values())[::-1])


def plain_axes(names: Sequence[str]) -> tuple[Axis, ...]:
    """Return axes of which only names are known.

    >>> [axis.kind for axis in plain_axes(["time", "c", "y", "x"])]
    ['time', 'channel', 'space', 'space']
    """
    first = {"time": "t", "channel": "c"}
    short = [first.get(name.lower(), name) for name in names]
    kinds = [_KINDS.get(name, "channel") for name in short]
    if kinds.count("space") < 2:  # names of somebody's own: the last ones are places
        kinds = [kind if kind == "time" else "channel" for kind in kinds[:-3]] + ["space"] * len(kinds[-3:])
    return tuple(Axis(name, kind) for name, kind in zip(short, kinds, strict=True))


def multiscale(attributes: Mapping[str, Any]) -> Multiscale | None:
    """Read the first multiscale image of a group's attributes, None where there is none.

    Raises
    ------
    FormatError
        If the metadata break the specification.
    """
    facts = attributes.get("ome") if isinstance(attributes.get("ome"), dict) else attributes
    assert isinstance(facts, Mapping)
    if "multiscales" not in facts:
        return None
    images, notes = facts["multiscales"], []
    if not isinstance(images, list) or not images:
        raise FormatError("'multiscales' is empty: there is no image in it")
    if len(images) > 1:
        notes.append(f"the first of {len(images)} multiscale images is read")
    try:
        return _multiscale(images[0], facts, notes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, FormatError):
            raise
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)[:80]
        raise FormatError(f"the multiscales metadata make no sense: {what}") from None


def _multiscale(image: Mapping[str, Any], facts: Mapping[str, Any], notes: list[str]) -> Multiscale:
    axes = _axes(image.get("axes"))
    datasets = image["datasets"]
    paths = tuple(part["path"] for part in datasets)
    if not paths or not all(isinstance(path, str) and path for path in paths):
        raise FormatError("'datasets' names no arrays")
    scales, origins = [], []
    for part in datasets:
        scale, origin = [1.0] * len(axes), [0.0] * len(axes)
        steps = [*part.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())]
        for step in steps:
            scale, origin = _transformed(step, scale, origin, notes)
        scales.append(tuple(scale))
        origins.append(tuple(origin))
    if not any("coordinateTransformations" in part for part in datasets):
        notes.append("no scale is stated: spacing 1 mm is used")
    name, version = image.get("name"), image.get("version", facts.get("version", ""))
    return Multiscale(
        axes, paths, tuple(scales), tuple(origins), name if isinstance(name, str) else "", str(version), tuple(notes)
    )


def _axes(stated: Any) -> tuple[Axis, ...]:
    if stated is None:
        return plain_axes("tczyx")
    if all(isinstance(axis, str) for axis in stated):
        return plain_axes(stated)
    found = []
    for axis in stated:
        kind = axis.get("type") or _KINDS.get(axis["name"], "channel")
        turn = axis.get("orientation") or {}
        value = turn.get("value", "") if isinstance(turn, dict) else turn
        kind = kind if kind in ("space", "time") else "channel"
        found.append(Axis(str(axis["name"]), kind, str(axis.get("unit") or ""), str(value)))
    count = sum(axis.kind == "space" for axis in found)
    if len({axis.name for axis in found}) != len(found) or not 1 <= count <= 3:
        raise FormatError(f"axes {', '.join(axis.name[:20] for axis in found)} are not those of an image in space")
    return tuple(found)


def _transformed(
    step: Mapping[str, Any], scale: list[float], origin: list[float], notes: list[str]
) -> tuple[list[float], list[float]]:
    """Apply one more transformation to scale and origin."""
    kind = step["type"]
    values = step.get(kind)
    if kind == "identity":
        return scale, origin
    if kind not in ("scale", "translation") or not isinstance(values, list):
        notes.append(f"the transformation {str(kind)[:20]!r} cannot be read and is left out")
        return scale, origin
    if len(values) != len(scale):
        raise FormatError(f"a {kind} has {len(values)} numbers, there are {len(scale)} axes")
    numbers = [float(value) for value in values]
    if kind == "scale":
        moved = [a * b if a else a for a, b in zip(origin, numbers, strict=True)]
        return [a * b for a, b in zip(scale, numbers, strict=True)], moved
    return scale, [a + b for a, b in zip(origin, numbers, strict=True)]


def only_image(attributes: Mapping[str, Any], name: str) -> None:
    """Refuse a group that holds images but is none, and say how to name one of them.

    Raises
    ------
    UnsupportedError
        If it is a plate, a well, a list of label images, or a collection.
    """
    found = attributes.get("ome")
    facts = {**attributes, **found} if isinstance(found, dict) else attributes

    def first(key: str, part: str) -> str:
        items = facts[key].get(part) if isinstance(facts[key], dict) else None
        path = items[0].get("path") if isinstance(items, list) and items and isinstance(items[0], dict) else None
        return path if isinstance(path, str) and path.isprintable() else "PATH"

    def refused(what: str, path: str) -> UnsupportedError:
        return UnsupportedError(f"{what}, not one image", path=name, hint=f"name one inside, as in {name}/{path}")

    if "plate" in facts:
        raise refused("is a plate of wells", f"{first('plate', 'wells')}/0")
    if "well" in facts:
        raise refused("is a well of several fields", first("well", "images"))
    labels = facts.get("labels")
    if isinstance(labels, list) and "multiscales" not in facts:
        if not labels:
            raise FormatError("holds no label images", path=name)
        raise refused(f"holds {len(labels)} label images", str(labels[0]) if str(labels[0]).isprintable() else "0")
    if "bioformats2raw.layout" in facts and "multiscales" not in facts:
        raise refused("holds a series of images", "0")


def label_table(attributes: Mapping[str, Any], notes: list[str]) -> LabelTable | None:
    """Read names and colours of a label image ("image-label" metadata); None where it is none."""
    found = attributes.get("ome")
    facts = found if isinstance(found, dict) else attributes
    stated = facts.get("image-label")
    if not isinstance(stated, dict):
        return None
    rows: dict[int, tuple[str, Any]] = {}
    try:
        for color in stated.get("colors") or ():
            rgba = color.get("rgba")
            rows[color["label-value"]] = ("", tuple(rgba) if rgba is not None else None)
        for entry in stated.get("properties") or ():
            name = next((entry[key] for key in ("name", "class", "label", "label-name") if key in entry), "")
            rows[entry["label-value"]] = (str(name), rows.get(entry["label-value"], ("", None))[1])
        return LabelTable([(value, *rows[value]) for value in sorted(rows)])
    except (FormatError, KeyError, TypeError, AttributeError) as error:
        notes.append(f"the colours of the labels cannot be read: {str(error)[:60]}")
        return LabelTable()


def channel_names(attributes: Mapping[str, Any]) -> list[str]:
    """Return what the channels are called ("omero" metadata); empty where nothing is stated."""
    found = attributes.get("ome")
    facts = found if isinstance(found, dict) else attributes
    omero = facts.get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list):
        return []
    names = [channel.get("label") if isinstance(channel, dict) else None for channel in channels]
    return [str(name) for name in names] if all(names) else []

"""Files of points and boxes.

``.mrk.json``, ``.json``
    3D Slicer's markups, schema 1.0.3: points as a list of control points, boxes as ROIs, turned ones too; in mm, LPS
    when written.
``.csv``, ``.tsv``
    Tables with one header row: points or boxes along any axes.
``.fcsv``
    Slicer's old list of fiducials: points in mm, LPS when written.

Columns of a table of points are the letters of its axes, as in Slicer's control points tables: ``r,a,s`` or ``l,p,s``
in mm, ``i,j,k`` voxel indices; or ``x,y,z`` where a line ``# CoordinateSystem = LPS`` at the top, or whoever reads,
says which they are. ``label`` is the name of a point, ``description`` more about it, ``defined`` 0 where its place is
not known; other columns are not read. Tables of boxes have six columns, ``r1,a1,s1,r2,a2,s2`` for two corners or
``r,a,s,r_size,a_size,s_size`` for centre and size, and ``name``, ``description`` and ``label``, an integer. A line
``# affine =`` at the top with twelve numbers, row by row, ties ``i,j,k`` to the world.

Text is UTF-8. What a file cannot hold `write` returns, and a warning says.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.annotations.axes import is_voxel, parse_axes
from medimg_cli.annotations.base import PER_ROW, Annotation
from medimg_cli.annotations.points import Points
from medimg_cli.errors import FormatError, LossError, LossWarning, MedImgError, UnsupportedError, UsageError
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.source import open_source

if TYPE_CHECKING:
    from medimg_cli.annotations.boxes import BoundingBoxes

__all__ = ["read", "write"]

_MOST_BYTES = 64 * 2**20
_HERE = "medimg_cli.annotations."


class _Format(NamedTuple):
    """A format: endings, title, module; whether it holds boxes, voxel coordinates, named lists."""

    suffixes: tuple[str, ...]
    title: str
    module: str
    boxes: bool
    voxels: bool
    lists: bool


_FORMATS = (
    _Format((".mrk.json", ".json"), "3D Slicer's markups", _HERE + "markups", boxes=True, voxels=False, lists=True),
    _Format((".csv", ".tsv"), "a table", _HERE + "tables", boxes=True, voxels=True, lists=False),
    _Format((".fcsv",), "Slicer's list of fiducials", _HERE + "fiducials", boxes=False, voxels=False, lists=False),
)


def read(kind: type[Any], path: Any, **options: Any) -> Any:
    """Read points or boxes; see `Points.read` and `BoundingBoxes.read`."""
    if isinstance(path, str | bytes | os.PathLike):
        path = os.path.expanduser(os.fsdecode(path))
    name = str(path)
    row = _format(name, kind)
    content = open_source(path).head(_MOST_BYTES + 1)
    if options.get("name") is not None and not row.lists:
        raise UsageError(f"{row.title} holds one list of points", path=name, hint="leave out name")
    try:
        if len(content) > _MOST_BYTES:
            raise FormatError(f"more than {_MOST_BYTES >> 20} MiB, too large for {row.title}")
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise FormatError(f"it holds NUL characters, it is not {row.title}")
        parse: Callable[..., Any] = _function(row, "read", kind)
        return parse(kind, text, name, **options)
    except UnicodeDecodeError:
        raise FormatError("it is not UTF-8 text", path=name) from None
    except MedImgError as error:
        raise error.at(name) from None


def write(
    annotation: Annotation, path: str | os.PathLike[str], *, axes: Any, strict: bool, force: bool
) -> tuple[str, ...]:
    """Write points or boxes; see `Annotation.write`."""
    name = os.fsdecode(os.path.expanduser(os.fspath(path)))
    try:
        row = _format(name, type(annotation))
        shown = _outgoing(annotation, row, axes)
        _check_texts(shown)
        text, held = _function(row, "print", type(annotation))(shown, name)
        lost = tuple(f"metadata {key!r}" for key in shown.metadata if key not in held)
        if strict and lost:
            raise LossError(f"{row.title} cannot hold {', '.join(lost)}")
        content = _encoded(text)
    except MedImgError as error:
        raise error.at(name) from None
    with AtomicGroup(force=force) as group:
        group.create(name).write(content)
    if lost:
        warnings.warn(f"{name} does not hold: {'; '.join(lost)}", LossWarning, stacklevel=3)
    return lost


def _format(name: str, kind: type[Any]) -> _Format:
    what = "points" if issubclass(kind, Points) else "boxes"
    rows = [row for row in _FORMATS if row.boxes or what == "points"]
    for row in rows:
        if name.lower().endswith(row.suffixes):
            return row
    suffixes = ", ".join(suffix for row in rows for suffix in row.suffixes)
    raise UsageError(f"no format of {what} has this suffix", path=name, hint=f"use one of {suffixes}")


def _function(row: _Format, verb: str, kind: type[Any]) -> Callable[..., Any]:
    what = "points" if issubclass(kind, Points) else "boxes"
    function: Callable[..., Any] = getattr(import_module(row.module), f"{verb}_{what}")
    return function


def _outgoing(annotation: Any, row: _Format, axes: Any) -> Any:
    """Return the annotation along the axes in which it is written."""
    voxel, is_points = is_voxel(annotation.axes), isinstance(annotation, Points)
    if axes is not None and not row.voxels:
        raise UsageError(f"{row.title} have axes of their own", hint="leave out axes")
    wanted = annotation.axes if axes is None else parse_axes(axes)
    if not row.voxels:
        wanted = "LPS"
    elif axes is None and voxel and is_points and annotation.has_affine:
        wanted = "RAS"
    if is_voxel(wanted) != voxel and not annotation.has_affine:
        if row.voxels:
            hint = "give affine=, or write the axes that they have"
        else:
            hint = "give affine=, or write a table (.csv)"
        what = f"without an affine there is no way from {annotation.axes} to {wanted}"
        raise UsageError(what, hint=hint)
    if is_points:
        return annotation.to_axes(wanted)
    return annotation.to_format(_in_axes(annotation, wanted)) if row.voxels else annotation


def _in_axes(boxes: BoundingBoxes, axes: str) -> Any:
    return type(boxes.format)(axes, boxes.format.representation)


def _check_texts(annotation: Annotation) -> None:
    """Refuse names and descriptions that are not one text a row."""
    for key in PER_ROW:
        texts = annotation.metadata.get(key)
        if texts is None:
            continue
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"metadata {key!r} is no list of texts")
        if len(texts) != len(annotation):
            raise UsageError(f"metadata {key!r} has {len(texts)} texts for {len(annotation)} rows")
        if any("\0" in text for text in texts):
            raise UnsupportedError(f"metadata {key!r} hold a NUL character, which no text file holds")


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UnsupportedError("a name or description is not valid Unicode") from None

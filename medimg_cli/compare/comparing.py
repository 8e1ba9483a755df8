"""Two images compared: the facts, and whether they are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from medimg_cli.compare.asking import SECTIONS, Comparing
from medimg_cli.compare.headers import Apart, Fits, compare_headers
from medimg_cli.compare.placing import Placed, parts_apart, place, shift_of, without_turns
from medimg_cli.compare.voxels import VoxelFacts, compare_voxels
from medimg_cli.errors import UsageError
from medimg_cli.expanding import may_hold_series, open_named

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.reading import Reading
    from medimg_cli.header import Header

__all__ = ["SCHEMA", "Comparison", "compare", "compare_images", "compare_paths"]

SCHEMA = "medimg.diff/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What differs between two images, A and B.

    Parameters
    ----------
    a, b : str or None
        Paths, where there are any.
    headers : (Header, Header)
        Of the two; the second in the order of the first where it was turned.
    differences, excused : tuple of Apart
        Fields that differ; and fields that do, too, but one of the formats cannot hold them.
    geometry : mapping
        Where both lie, JSON-able: see `facts`.
    voxels : VoxelFacts or None
        None where voxels were not compared.
    not_compared : str or None
        Why they were not; None where they were.
    wanted : Comparing
        What was to be compared.
    """

    a: str | None
    b: str | None
    headers: tuple[Header, Header]
    differences: tuple[Apart, ...]
    excused: tuple[Apart, ...]
    geometry: Mapping[str, Any]
    voxels: VoxelFacts | None
    not_compared: str | None
    wanted: Comparing = field(default_factory=Comparing)

    @property
    def same(self) -> bool:
        """Whether nothing differs beyond the tolerances."""
        return not self.sections

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections in which something differs."""
        found = {each.section for each in self.differences}
        if self.voxels is not None and self.voxels.beyond:
            found.add("voxels")
        if self.voxels is None and self.wanted.reads_voxels:
            found.add("voxels")
        return tuple(name for name in SECTIONS if name in found)

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON holds it: the record of ``medimg diff --json``, schema ``medimg.diff/1``."""
        voxels = {"compared": self.voxels is not None, "reason": self.not_compared}
        tolerances = {"rtol": self.wanted.rtol, "atol": self.wanted.atol, "geometry_mm": self.wanted.geometry_tolerance}
        return {
            "schema": SCHEMA,
            "a": self.a,
            "b": self.b,
            "same": self.same,
            "sections": list(self.sections),
            "tolerances": tolerances,
            "geometry": dict(self.geometry),
            "differences": [each.facts() for each in self.differences],
            "excused": [each.facts() for each in self.excused],
            "voxels": voxels | (self.voxels.facts() if self.voxels is not None else {}),
        }


def compare(
    a: Backend, b: Backend, wanted: Comparing | None = None, *, names: tuple[str | None, str | None] = (None, None)
) -> Comparison:
    """Compare two images; see `compare_images`.

    Parameters
    ----------
    a, b : Backend
    wanted : Comparing, optional
        What is to be compared, and how strictly; left out: everything, exactly, and corners within 0.001 mm.
    names : (str or None, str or None)
        Paths of the two: their suffixes tell what their formats can hold.

    Raises
    ------
    MedImgError
        If voxels of one of them cannot be read.
    """
    wanted = wanted or Comparing()
    tolerance = wanted.geometry_tolerance
    placed = place(
        a.header, b, Fits(a.header, b.header, names, tolerance), canonical=wanted.canonical, tolerance=tolerance
    )
    headers = (a.header, placed.backend.header)
    if wanted.canonical:
        headers = (without_turns(headers[0]), without_turns(headers[1]))
    found, excused = compare_headers(headers[1], Fits(*headers, names, tolerance), every=wanted.every)
    found, excused = _with_turn(placed, a.header, b.header, found, excused)
    found = [each for part in found for each in _in_parts(part, headers, tolerance)]
    excused = [each for each in excused if not wanted.ignores(each.field, each.key)]
    why = _why_not(headers, wanted)
    voxels = None if why else compare_voxels(a, placed.backend, rtol=wanted.rtol, atol=wanted.atol)
    return Comparison(
        a=names[0],
        b=names[1],
        headers=headers,
        differences=tuple(each for each in found if not wanted.ignores(each.field, each.key)),
        excused=tuple(excused),
        geometry=_geometry(a.header, b.header, placed, tolerance),
        voxels=voxels,
        not_compared=why,
        wanted=wanted,
    )


def compare_images(a: Any, b: Any, **options: Any) -> Comparison:
    """Compare two images: geometry, types, metadata, label tables and voxels, across formats and orientations.

    Images may be larger than memory. What the format of the other image cannot hold is no difference, unless ``every``
    asks for it: an image equals what any lossless conversion made of it.

    Parameters
    ----------
    a, b : Image, or anything that `Image` takes
        A path, a URL, a folder of DICOM files, an array, an image of nibabel or SimpleITK ...
    **options
        Fields of `medimg_cli.compare.Comparing`: ``rtol``, ``atol``, ``geometry_tolerance``, ``ignore``, ``every``,
        ``canonical``, ``header_only``.

    Returns
    -------
    Comparison
        Its ``same`` says yes or no, its ``facts()`` everything.

    Raises
    ------
    UsageError
        If a tolerance is negative, or a name that is to be ignored is unknown.
    MedImgError
        If an image cannot be read.
    """
    wanted = Comparing(**options)
    (one, name), (two, other) = _opened(a), _opened(b)
    return compare(one, two, wanted, names=(name, other))


def compare_paths(a: str, b: str, wanted: Comparing, reading: Reading | None = None) -> Comparison:
    """Compare the images of two paths; ``-`` is standard input.

    Parameters
    ----------
    a, b : str
        Files, URLs, folders of DICOM.
    wanted : Comparing
    reading : Reading, optional
        Which image of a source that holds several; a choice is meant for those of the two that are DICOM.

    Raises
    ------
    UsageError
        If both are standard input.
    MedImgError
        If one cannot be read.
    """
    if a == b == "-":
        raise UsageError("standard input is one image, not two", hint="name a file for one of them")
    choosing = [may_hold_series(path) for path in (a, b)]
    one, two = (
        open_named(path, replace(reading, series=None) if reading and any(choosing) and not is_series else reading)
        for path, is_series in zip((a, b), choosing, strict=True)
    )
    return compare(one, two, wanted, names=(a, b))


def _opened(source: Any) -> tuple[Backend, str | None]:
    """Return the voxels of an image, in a file or not, and its path."""
    from medimg_cli.formats import open_backend
    from medimg_cli.image import Image
    from medimg_cli.sources.readers import settled

    if isinstance(source, (str, os.PathLike)):
        return open_backend(source), os.fspath(source)
    image = source if isinstance(source, Image) else Image(source)
    path = image.path if isinstance(image.path, (str, os.PathLike)) else None
    return settled(image._backend), None if path is None else os.fspath(path)  # changes in memory count


def _with_turn(
    placed: Placed, a: Header, b: Header, found: list[Apart], excused: list[Apart]
) -> tuple[list[Apart], list[Apart]]:
    """Add that one image is stored in another order than the other."""
    if placed.turned is None:
        return found, excused
    one, two = "".join(a.orientation), "".join(b.orientation)
    turn = Apart("orientation", None, one, two, f"orientation: {one} -> {two}, stored in another order")
    return (found, [*excused, turn]) if placed.excused else ([turn, *found], excused)


def _in_parts(each: Apart, headers: tuple[Header, Header], tolerance: float) -> list[Apart]:
    """Break a difference of affines into spacing, origin and direction."""
    if each.field != "affine":
        return [each]
    parts = parts_apart(*headers, tolerance)
    return [Apart("affine", key, x, y, f"{key}: differs") for key, (x, y) in parts.items()] or [each]


def _why_not(headers: tuple[Header, Header], wanted: Comparing) -> str | None:
    """Say why voxels are not compared."""
    if not wanted.reads_voxels:
        return "they were left out"
    one, two = (header.shape for header in headers)
    if one[1:] != two[1:]:
        return f"the images have {' x '.join(map(str, one[1:]))} and {' x '.join(map(str, two[1:]))} voxels"
    return f"the images have {one[0]} and {two[0]} channels" if one[0] != two[0] else None


def _geometry(a: Header, b: Header, placed: Placed, tolerance: float) -> dict[str, Any]:
    """Return where both images lie, as they are stored, and how far they are apart."""
    turned = placed.backend.header
    mm, voxels = shift_of(a, turned)
    both: dict[str, list[Any]] = {
        "shape": [list(header.shape) for header in (a, b)],
        "spacing_mm": [list(header.spacing) for header in (a, b)],
        "origin_mm": [list(header.origin) for header in (a, b)],
        "direction": [[list(row) for row in header.affine.direction] for header in (a, b)],
        "orientation": ["".join(header.orientation) for header in (a, b)],
        "affine": [_rows(header.affine) for header in (a, b)],
        "affine_source": [header.affine_source or None for header in (a, b)],
        "sform": [_rows(header.sform) for header in (a, b)],
        "sform_code": [header.sform_code for header in (a, b)],
        "qform": [_rows(header.qform) for header in (a, b)],
        "qform_code": [header.qform_code for header in (a, b)],
    }
    return {
        "same_places": a.grid.same_as(turned.grid, tolerance),
        "turned_to": placed.turned,
        "shift_mm": mm,
        "shift_voxels": voxels,
        **{name: {"a": one, "b": two} for name, (one, two) in both.items()},
    }


def _rows(affine: Any) -> Any:
    return None if affine is None else [list(row) for row in affine.rows]

"""Geometry as MetaImage, NRRD and OME-Zarr state it, before a codec replaced what cannot be: for rules about headers.

Codecs put right angles and 1 mm in the place of what no reader could use, so that the image opens; the neutral header
does not tell. The raw one does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import hypot, isfinite
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.checks.subject import Subject
from medimg_cli.errors import GeometryError

__all__ = ["stated_sizes", "unusable"]

_MATRICES = ("TransformMatrix", "ElementDirection", "Rotation", "Orientation")
_PLACES = ("Offset", "Position", "Origin", "ElementOrigin", "ImagePosition")
#: Numbers of one entry that are looked at, at most.
_MOST = 64


def stated_sizes(subject: Subject) -> Sequence[float]:
    """Return the voxel sizes that a raw header states along its spatial axes; none where it states none as such."""
    native = subject.header.native
    if native is None:
        return ()
    if native.family == "metaimage":
        entries = _entries(native.data, "=")
        return _numbers(entries.get("ElementSpacing") or entries.get("ElementSize") or "")[:3]
    if native.family == "zarr":
        return _scale(native.data)
    return ()


def unusable(subject: Subject) -> Iterator[str]:
    """Say of each matrix, vector and place that a raw header states why it cannot be used."""
    native = subject.header.native
    if native is None:
        return
    if native.family == "metaimage":
        yield from _of_metaimage(_entries(native.data, "="))
    elif native.family == "nrrd":
        yield from _of_nrrd(_entries(native.data, ":"))


def _of_metaimage(entries: Mapping[str, str]) -> Iterator[str]:
    for name in _MATRICES:
        numbers = _numbers(entries.get(name, ""))
        side = {4: 2, 9: 3}.get(len(numbers), 0)
        if side and _is_flat([numbers[n * side : n * side + side] for n in range(side)]):
            yield f"{name} holds a matrix without volume, or numbers that are not finite"
    for name in _PLACES:
        if not all(map(isfinite, _numbers(entries.get(name, ""))[:3])):
            yield f"{name} holds numbers that are not finite"


def _of_nrrd(entries: Mapping[str, str]) -> Iterator[str]:
    vectors = [_numbers(text) for text in re.findall(r"\(([^()]*)\)", entries.get("space directions", "")[:4096])]
    given = [vector for vector in vectors if not all(number != number for number in vector)]  # all NaN: "none"
    if any(not all(map(isfinite, vector)) or not hypot(*vector) for vector in given):
        yield "the space directions hold a vector of length 0, or numbers that are not finite"
    elif len(given) == 3 and all(len(vector) == 3 for vector in given) and _is_flat(given):
        yield "the space directions lie in one plane"
    origin = _numbers(entries.get("space origin", "").strip("() "))
    if not all(map(isfinite, origin)) and not all(number != number for number in origin):
        yield "the space origin holds numbers that are not finite"


def _is_flat(rows: Sequence[Sequence[float]]) -> bool:
    """Tell whether a matrix of 2 x 2 or 3 x 3 numbers has no volume, or holds numbers that are not finite."""
    filled = [[*row, *(0.0,) * (3 - len(row)), 0.0] for row in rows]
    filled += [[float(n == column) for column in range(3)] + [0.0] for n in range(len(rows), 3)]
    try:
        return AffineMatrix(filled).is_singular
    except GeometryError:
        return True


def _entries(lines: Any, sign: str) -> dict[str, str]:
    """Return the entries of a header of text lines; where a key comes twice, the last one."""
    parted = (line.decode("latin-1").partition(sign) for line in lines if isinstance(line, bytes))
    return {key.strip(): value.strip() for key, _, value in parted}


def _numbers(text: str) -> list[float]:
    """Return the numbers of an entry; none where it holds something else."""
    try:
        return [float(word) for word in text[:4096].replace(",", " ").split()[:_MOST]]
    except ValueError:
        return []


def _scale(metadata: Any) -> Sequence[float]:
    """Return the first scale of the spatial axes of OME-Zarr, slowest axis last; none where there is none.

    Source: OME-NGFF 0.4, "multiscales": the transformations of the first data set, then axes of type "space".
    """
    try:
        image = metadata["multiscales"][0]
        scale = next(each["scale"] for each in image["datasets"][0]["coordinateTransformations"] if "scale" in each)
        pairs = zip(image["axes"], scale, strict=False)
        sizes = [float(size) for axis, size in pairs if axis.get("type") == "space"]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, StopIteration):
        return ()
    return sizes[::-1][:3]

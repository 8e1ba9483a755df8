"""Fields in which two headers differ, and which of them are no difference because a format cannot hold them.

A field is excused where converting one image to the format of the other gives what the other says; or where the two
agree once each has gone through both formats. What a format can hold is what its ``fit`` says
(:mod:`medimg_cli.formats.writing`). A format that medimg does not write excuses what it says nothing about. A series of
DICOM always says more of the acquisition than other files: key-values, and a description, that only the series has are
no difference. Between files of the same format nothing is excused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import dist, hypot
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.compare.asking import section_of
from medimg_cli.errors import MedImgError
from medimg_cli.facts import identifies
from medimg_cli.formats import codec_module, find_format, format_for_output, split_suffix
from medimg_cli.formats.writing import is_dicom_target, is_naming, is_nothing, losses_between, what_comes_back
from medimg_cli.header import differences

if TYPE_CHECKING:
    from medimg_cli.header import Gradients, Header

__all__ = ["Apart", "Fits", "compare_headers"]

_FORMS = ("sform", "qform")
_MATRICES = ("affine", *_FORMS)
#: Millimetres within which a form is the affine.
_EQUAL = 1e-3
#: What text files of gradients are rounded to.
_ROUNDED = 1e-3
_KEYED = ("metadata", "labels")
_SERIES = "dicom"
#: What stands for a value that tells who somebody is.
_HIDDEN = "(hidden)"
#: Fields and keys -> (value of A, value of B).
Pairs = dict[tuple[str, str | None], tuple[Any, Any]]


class Apart(NamedTuple):
    """One fact in which two images differ.

    Parameters
    ----------
    field : str
        Name of the field of the header; "orientation" of how it is stored, or whether it is known at all.
    key : str or None
        Which key-value, label or part of the affine.
    a, b : object
        What the two say.
    note : str
        The sentence for people.
    """

    field: str
    key: str | None
    a: Any
    b: Any
    note: str

    @property
    def section(self) -> str:
        """The part of the comparison that it belongs to."""
        return section_of(self.field)

    @property
    def name(self) -> str:
        """How the fact is called where one name must do."""
        return self.key if self.key is not None and self.field != "labels" else self.field

    def is_affine(self, headers: tuple[Header, Header]) -> bool:
        """Tell whether the field is a form of NIfTI that is the affine of its image, in both images."""
        if self.field not in _FORMS or self.a is None or self.b is None:
            return False
        a, b = headers
        shape = a.spatial_shape
        return max(self.a.mm_shift(a.affine, shape), self.b.mm_shift(b.affine, shape)) <= _EQUAL

    def facts(self) -> dict[str, Any]:
        """Return the fact as JSON holds it."""
        hidden = self.field == "metadata" and self.key is not None and identifies(self.key)
        a, b = (
            (self.a and _HIDDEN, self.b and _HIDDEN)
            if hidden
            else (_plain(self.field, self.a), _plain(self.field, self.b))
        )
        return {"section": self.section, "field": self.field, "key": self.key, "a": a, "b": b, "note": self.note}


class Fits:
    """What would come back of either of two headers from the format of the other.

    Parameters
    ----------
    a, b : Header
    names : (str or None, str or None)
        Paths of the two; their suffixes matter.
    tolerance : float
        Millimetres, for affines.
    """

    def __init__(self, a: Header, b: Header, names: tuple[str | None, str | None], tolerance: float) -> None:
        self.a, self.b, self.tolerance = a, _without_own(b, a), tolerance
        self._targets = (_target(a, names[0]), _target(b, names[1]))
        self.alike = a.format == b.format
        self.a_as_b, self.b_as_a = self._fit(a, 1), self._fit(b, 0)

    def _fit(self, header: Header | None, which: int) -> Header | None:
        """Return what comes back from the format of A (0) or B (1); None where it is not written, or refuses."""
        target = self._targets[which]
        if header is None or target is None:
            return None
        format = (self.a, self.b)[which].format
        if format in ("nifti1", "nifti2"):
            header = header.replace(format=format)
        try:
            return what_comes_back(header, target)
        except (MedImgError, ArithmeticError):  # sizes of 0
            return None

    def explained(self) -> Pairs:
        """Return what differs and no format explains; a subset of what differs."""
        found = _pairs(self.a, self.b, self.tolerance)
        if self.alike:
            return found
        there, back = (self._fit(self.b_as_a, 1), self._fit(self.a_as_b, 0))
        bare = (self._without_sidecar(self.a, 1), self._without_sidecar(self.b, 0))
        rounds = (
            *((self.a_as_b, self.b), (self.a, self.b_as_a), (self.a_as_b, there), (back, self.b_as_a)),
            *((bare[0], self.b), (self.a, bare[1]), (_without_own(self.a, self.b), self.b)),
        )
        known = [_pairs(x, y, self.tolerance) for x, y in rounds if x is not None and y is not None]
        return {name: pair for name, pair in found.items() if not self._excused(name, pair, known)}

    def _excused(self, name: tuple[str, str | None], pair: tuple[Any, Any], known: list[Pairs]) -> bool:
        silent = (self.a_as_b is None and is_nothing(pair[1])) or (self.b_as_a is None and is_nothing(pair[0]))
        named = name[0] == "axes" and _is_naming(*pair)
        return silent or named or self._says_nothing(name, pair) or any(name not in each for each in known)

    def _says_nothing(self, name: tuple[str, str | None], pair: tuple[Any, Any]) -> bool:
        """Tell whether a form of NIfTI that only one image has is the affine of that image."""
        if name[0] not in _FORMS or None not in pair:
            return False
        header, form = (self.b, pair[1]) if pair[0] is None else (self.a, pair[0])
        return bool(form.mm_shift(header.affine, header.spatial_shape) <= _EQUAL)

    def _without_sidecar(self, header: Header, which: int) -> Header | None:
        """Return what comes back of a label map whose table does not lie beside it."""
        target = self._targets[which]
        if target is None or is_dicom_target(target) or header.labels is None:
            return None
        try:
            fitted: Header = codec_module(format_for_output(target)).fit(header, target)
        except (MedImgError, ArithmeticError):
            return None
        return fitted

    def places_explained(self) -> bool:
        """Tell whether one format cannot say where the image lies, so that voxels go by their index."""
        affine: tuple[str, None] = ("affine", None)
        pairs = ((self.a_as_b, self.b), (self.a, self.b_as_a))
        return not self.alike and any(
            affine not in _pairs(x, y, self.tolerance) for x, y in pairs if x is not None and y is not None
        )

    def lost(self) -> Pairs:
        """Return what differs and B has lost, as a loss report says, or has without A and its own format."""
        found = _pairs(self.a, self.b, self.tolerance)
        report = losses_between(self.a, self.b)
        fields = {each.field for each in report}
        made = None if self.alike or self.a_as_b is None else _pairs(self.a_as_b, self.b, self.tolerance)
        added = {name for name, (a, _) in found.items() if is_nothing(a) and (made is None or name in made)}
        kept = {name: pair for name, pair in found.items() if name[0] in fields or name in added}
        if self.a.scaled and not self.b.scaled:  # the report says it of the slope
            kept = {name: pair for name, pair in kept.items() if name[0] not in ("dtype", "inter")}
        listed = {name for name, _ in kept}
        for each in report:
            if each.field not in listed and each.field not in _MATRICES:  # those are within the tolerance
                kept[each.field, None] = (each.before, each.after)
        return kept


def compare_headers(b: Header, fits: Fits, *, every: bool) -> tuple[list[Apart], list[Apart]]:
    """List the facts in which two headers differ.

    Parameters
    ----------
    b : Header
        The second one.
    fits : Fits
        What formats make of the two.
    every : bool
        Whether what a format cannot hold is a difference, too.

    Returns
    -------
    found, excused : list of Apart
        The differences; and what is none because one of the formats cannot hold it.
    """
    kept = fits.lost() if every else fits.explained()
    found: list[Apart] = []
    excused: list[Apart] = []
    for (field, key), (one, two) in {**_pairs(fits.a, b, fits.tolerance), **kept}.items():
        each = Apart(field, key, one, two, _note(field, key, one, two, fits.a))
        (found if (field, key) in kept else excused).append(each)
    return found, excused


def _is_naming(a: tuple[tuple[str, int], ...], b: tuple[tuple[str, int], ...]) -> bool:
    """Tell whether axes differ only in that one format names them, or has one more of size 1."""
    one, two = (tuple(axis for axis in axes if axis[1] > 1) for axes in (a, b))
    return is_naming(one, two) or is_naming(two, one)


def _without_own(header: Header, other: Header) -> Header:
    """Return the header of a series without what a series says in its own way, where the other is of another format.

    That are words of which the other says nothing; the type of a segmentation, the narrowest for its labels, whatever
    they were before; and directions of gradients, which have a length of 1.
    """
    if header.format != _SERIES or other.format == _SERIES:
        return header
    shared = {key: value for key, value in header.metadata.items() if key in other.metadata}
    words = header.description if other.description else ""
    words = other.description if words == other.description.strip() else words  # DICOM fills up with blanks
    dtype = other.dtype if header.intent == "label" else header.dtype
    gradients = other.gradients if _same_directions(header.gradients, other.gradients) else header.gradients
    return header.replace(metadata=shared, description=words, dtype=dtype, gradients=gradients)


def _same_directions(one: Gradients | None, two: Gradients | None) -> bool:
    """Tell whether gradients differ in the lengths of their directions only, by no more than rounding."""
    if one is None or two is None or len(one.bvals) != len(two.bvals):
        return False
    weights = all(abs(x - y) <= _ROUNDED * max(1.0, abs(x)) for x, y in zip(one.bvals, two.bvals, strict=True))
    pairs = zip(one.bvecs, two.bvecs, strict=True)
    return weights and all(dist(u, v) <= 2 * _ROUNDED and dist(_unit(u), _unit(v)) <= 1e-5 for u, v in pairs)


def _unit(vector: tuple[float, float, float]) -> tuple[float, ...]:
    length = hypot(*vector)
    return tuple(x / length for x in vector) if length else vector


def _target(header: Header, path: str | None) -> str | None:
    """Return a name of a file to which the format of an image is written, None where it is not."""
    if header.format == "dicom":
        return "image.dcm" if header.intent == "label" or header.labels is not None else "image/"
    try:
        row = find_format(header.format)
    except MedImgError:
        return None
    if not row.writes:
        return None
    name = os.path.basename((path or "").rstrip("/"))
    return name if split_suffix(name)[1] in row.suffixes else f"image{row.suffixes[0]}"


def _pairs(a: Header, b: Header, tolerance: float) -> Pairs:
    """Return what differs; key-values and labels one by one."""
    listed = [each for each in differences(a, b) if each.field not in _MATRICES]
    listed += [each for each in differences(a, b, tolerance=tolerance) if each.field in _MATRICES]
    order = a._fields
    found: Pairs = {}
    for each in sorted(listed, key=lambda each: order.index(each.field)):
        if each.field in _KEYED:
            left, right = (_by_key(value) for value in (each.before, each.after))
            keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
            found.update({(each.field, key): (left.get(key), right.get(key)) for key in keys})
            if not keys:  # the same labels in another order
                found[each.field, None] = (each.before, each.after)
        else:
            found[each.field, None] = (each.before, each.after)
    if a.orientation_known != b.orientation_known:
        found["orientation", None] = (_known(a), _known(b))
    return found


def _known(header: Header) -> str | None:
    return "".join(header.orientation) if header.orientation_known else None


def _by_key(value: Any) -> dict[str, Any]:
    """Return key-values, or labels by their number, as a mapping."""
    if value is None:
        return {}
    return dict(value) if isinstance(value, Mapping) else {str(label.value): label for label in value}


def _note(field: str, key: str | None, a: Any, b: Any, header: Header) -> str:
    """Say one difference as a user would want to read it."""
    if field == "labels" and key is not None:
        return f"label {key}: {_renamed(a, b)}"
    if field == "orientation":
        return f"orientation: {'unknown' if a is None else a} -> {'unknown' if b is None else b}"
    if key is not None:
        return f"{key}: {_sided(a, b)}"
    if field == "gradients":
        return f"gradients: {_sided(a, b)}"
    other = header.replace(**{field: a}), header.replace(**{field: b})
    notes = [each.note for each in differences(*other, tolerance=0) if each.field == field]
    return notes[0] if notes else f"{field.replace('_', ' ')}: differs"


def _sided(a: Any, b: Any) -> str:
    return "only in B" if a is None else "only in A" if b is None else "differs"


def _renamed(a: Any, b: Any) -> str:
    if a is None or b is None:
        return "added" if a is None else "removed"
    changes = (("renamed", a.name != b.name or a.abbreviation != b.abbreviation), ("recoloured", a.color != b.color))
    return ", ".join(word for word, is_so in changes if is_so)


def _plain(field: str, value: Any) -> Any:
    """Return the value of a field as JSON holds it; what may be long or tell of people is only counted."""
    from medimg_cli.formats.neutral import FACTS
    from medimg_cli.operations.protocol import plain

    if value is None or value == "" or field == "orientation":
        return value or None
    if field in _MATRICES:
        return [list(row) for row in value.rows] if hasattr(value, "rows") else plain(value)
    if field == "labels":
        return value.to_json() if hasattr(value, "to_json") else {"name": value.name, "color": value.hex}
    if field == "extensions":
        return [{"code": code, "bytes": len(content)} for code, content in value]
    if field == "history":
        return [str(step.get("name", "")) for step in value]
    if field == "metadata":
        return plain(value)
    return plain(FACTS[field].show(value) if field in FACTS else value)

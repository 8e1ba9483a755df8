"""Which frames belong together: the frames of one series, split into parts that are one image each.

A series (one SeriesInstanceUID) is one image or several. Decisions:

- It is always split where frames differ in what no image can hold side by side: size and type of pixels, orientation,
  spacing, frame of reference, StackID, magnitude and phase (real, imaginary), localizers and other images.
- It is split by echo, inversion time, flip angle, kernel, tube voltage and the rest of ImageType (maps that were
  computed), unless these change from slice to slice: where no two of the parts share a position and all of them
  together are evenly spaced, they are one stack.
- Time points, b-values and directions of diffusion are one image: its volumes (`ordering`). So are acquisitions, unless
  some share positions and each has positions of its own.
- Images without a position are pictures: one for each file. Where some of a kind have one and others have not, they
  stay together, and `place` names the first without.
- Two scouts at a right angle are two images. dcm2niix 1.0.20220720 makes one of those of 98892001/CT2N of pydicom's
  test files, tilted by 45 degrees, which is wrong.
- Two frames are parallel where their direction cosines differ by less than 0.001.

Labels are as short as tells the parts apart, and those of dcm2niix where it has one: ``e2``, ``ph``, ``real``,
``imaginary``.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.tags import PRIVATE, TAGS
from medimg_cli.formats.dicom.vectors import Vector, close, dot, normal_of

__all__ = ["Part", "component", "split"]

#: Difference of direction cosines below which two slices are parallel, and of spacing in mm.
_PARALLEL, _SAME_SPACING = 1e-3, 1e-4
#: Two positions nearer than this are one, in mm.
_SAME = 0.01
#: What may tell images of one series apart.
_TOLD = (
    *("ImageType", "ComplexImageComponent", "FrameOfReferenceUID", "StackID", "EchoNumbers", "EchoTime"),
    *("InversionTime", "FlipAngle", "ConvolutionKernel", "KVP"),
)
_PRIVATE = ("GEImageKind", "PhilipsImageKind")
_TAGS = (
    *(TAGS[keyword][0] for keyword in _TOLD),
    *(g << 16 | block << 8 | low for (g, low), row in PRIVATE.items() if row[0] in _PRIVATE for block in (16, 17, 18)),
)
#: Words of ImageType (PS3.3, C.8.3.1.1.1; those of makers) for what a number of a complex image is.
_COMPONENTS = {
    **dict.fromkeys(("M", "MAGNITUDE", "M_FFE", "M_SE", "M_IR"), ""),
    **dict.fromkeys(("P", "PHASE", "PHASE MAP", "P_FFE", "P_SE", "P_IR"), "ph"),
    **dict.fromkeys(("R", "REAL", "R_FFE", "R_SE", "R_IR"), "real"),
    **dict.fromkeys(("I", "IMAGINARY", "I_FFE", "I_SE", "I_IR"), "imaginary"),
}
_GE_KINDS = {0.0: "", 1.0: "ph", 2.0: "real", 3.0: "imaginary"}
#: Words for maps in Hz, which Philips calls real numbers.
_FIELDS = frozenset(("FIELD_MAP", "B0 MAP"))
_SCOUTS = frozenset(("LOCALIZER", "SCOUT"))
#: Words of ImageType that make poor labels.
_DULL = frozenset(("ORIGINAL", "PRIMARY", "SECONDARY", "OTHER", "NONE", *_COMPONENTS))
_LONGEST = 24


class Part(NamedTuple):
    """The frames of one image, in no order.

    Parameters
    ----------
    frames : tuple of Frame
    label : str
        What tells it from other parts of its series, short and fit for a file name ("e2", "ph"); "" where it is the
        only one.
    """

    frames: tuple[Frame, ...]
    label: str = ""


class _Traits(NamedTuple):
    """What tells images apart; frames with equal traits are of one image.

    The first eight always do, the others where images share positions.
    """

    size: tuple[int, int]
    type: tuple[Any, ...]
    place: int
    picture: int
    reference: str
    stack: str
    component: str
    scout: bool
    kind: frozenset[str]
    echo: tuple[float, float]
    inversion: float
    flip: float
    kernel: str
    voltage: float
    acquisition: float = 0

    @property
    def firm(self) -> tuple[Any, ...]:
        """Those that always split."""
        return self[:8]


class _Group(NamedTuple):
    traits: _Traits
    frames: list[Frame]


def split(frames: Iterable[Frame]) -> list[Part]:
    """Split the frames of one series into parts that are one image each.

    Parameters
    ----------
    frames : iterable of Frame

    Returns
    -------
    list of Part
        In the order of their labels.
    """
    firm: dict[tuple[Any, ...], list[_Group]] = {}
    for group in _by_traits(frames):
        firm.setdefault(group.traits.firm, []).append(group)
    groups = [part for each in firm.values() for whole in _joined(each) for part in _by_acquisition(whole)]
    if len(groups) < 2:
        return [Part(tuple(group.frames)) for group in groups]
    labels = _labels(groups)
    parts = [Part(tuple(group.frames), label) for group, label in zip(groups, labels, strict=True)]
    return sorted(parts, key=lambda part: _natural(part.label))


def component(frame: Frame) -> str:
    """Return which part of a complex number a frame shows: "ph", "real", "imaginary"; "" for magnitude and all else.

    ComplexImageComponent (0008,9208) says it, else the image kind of GE, else a word of ImageType.
    """
    if not _FIELDS.isdisjoint(frame.kind):
        return ""
    said = _COMPONENTS.get(frame.text("ComplexImageComponent").upper())
    if said is not None:
        return said
    kind = frame.number("GEImageKind")
    if kind in _GE_KINDS:
        return _GE_KINDS[kind]
    words = (*frame.kind[2:], frame.text("PhilipsImageKind").upper())
    return next((_COMPONENTS[word] for word in words if _COMPONENTS.get(word)), "")


# groups of frames


def _by_traits(frames: Iterable[Frame]) -> list[_Group]:
    """Gather frames whose traits are equal, in the order of their first frames.

    What thousands of files say in the same bytes is looked at once.
    """
    told: dict[int, tuple[Any, ...]] = {}
    alike: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in frames:
        file = frame.file
        said = told.get(id(file))
        if said is None:
            said = told[id(file)] = (*map(file.elements.raw.get, _TAGS), file.pixels)
        facts = tuple(map(frame.facts.get, _TOLD)) if frame.facts else ()
        key = (said, facts, frame.orientation, frame.spacing, frame.tile and frame.size, _lost(frame) and id(file))
        alike.setdefault(key, []).append(frame)
    places, pictures = _Places(), _pictures(alike.values())
    groups: dict[_Traits, _Group] = {}
    for members in alike.values():
        traits = _traits(members[0], places, pictures.get(id(members[0].file), 0))
        groups.setdefault(traits, _Group(traits, [])).frames.extend(members)
    return list(groups.values())


def _lost(frame: Frame) -> bool:
    return frame.position is None or frame.orientation is None


def _pictures(groups: Iterable[Sequence[Frame]]) -> dict[int, int]:
    """Return a number for each file without a position, by its id; none of them where other frames have one."""
    lost: dict[int, int] = {}
    for group in groups:
        if not _lost(group[0]):
            return {}
        lost.setdefault(id(group[0].file), len(lost) + 1)
    return lost


class _Places:
    """Numbers for orientations and spacings; those that are nearly the same have one number.

    They are kept in the order of one weighted sum, so that only those with nearly the same sum are compared.
    """

    _WEIGHTS = (1.0, 0.7548, 0.5698, 0.4302, 0.3247, 0.2451, 0.185, 0.1397)

    def __init__(self) -> None:
        self.known: list[tuple[float, int, Vector]] = []
        self.exactly: dict[tuple[Vector | None, Vector | None], int] = {}

    def number(self, orientation: Vector | None, spacing: Vector | None) -> int:
        """Return the number of an orientation with a spacing."""
        exact = orientation, spacing
        if exact not in self.exactly:
            self.exactly[exact] = self._near(orientation, spacing)
        return self.exactly[exact]

    def _near(self, orientation: Vector | None, spacing: Vector | None) -> int:
        scale = _PARALLEL / _SAME_SPACING
        here = (*(orientation or (9.0,) * 6), *(size * scale for size in spacing or (-1.0, -1.0)))
        total = sum(weight * x for weight, x in zip(self._WEIGHTS, here, strict=True))
        reach = sum(self._WEIGHTS) * _PARALLEL
        for n in range(bisect_left(self.known, (total - reach, -1, ())), len(self.known)):
            other, number, there = self.known[n]
            if other > total + reach:
                break
            if close(here, there, _PARALLEL):
                return number
        insort(self.known, (total, len(self.known), here))
        return len(self.known) - 1


def _traits(frame: Frame, places: _Places, picture: int) -> _Traits:
    pixels, kind = frame.file.pixels, frozenset(frame.kind)
    bits = pixels.stored if pixels.signed else 0
    number = frame.number("EchoNumbers") or 0.0
    return _Traits(
        frame.size,
        (pixels.dtype, pixels.samples, pixels.photometric, pixels.planar, bits),
        places.number(frame.orientation, frame.spacing),
        picture,
        frame.text("FrameOfReferenceUID"),
        frame.text("StackID"),
        component(frame),
        not kind.isdisjoint(_SCOUTS),
        frozenset(word for word in kind if word not in _COMPONENTS),
        (number, round(frame.number("EchoTime") or 0.0, 3)),
        round(frame.number("InversionTime") or 0.0, 3),
        round(frame.number("FlipAngle") or 0.0, 3),
        frame.text("ConvolutionKernel"),
        round(frame.number("KVP") or 0.0, 1),
    )


def _joined(groups: list[_Group]) -> list[_Group]:
    """Return one group where several share no position and are an even stack together, else the groups."""
    if len(groups) < 2 or groups[0].frames[0].position is None:
        return groups
    echoes = {group.traits.echo[0] for group in groups}
    places = [_spots(group.frames) for group in groups]
    if len(echoes) > 1 or len(set().union(*places)) < sum(map(len, places)):
        return groups
    frames = [frame for group in groups for frame in group.frames]
    return [_Group(groups[0].traits, frames)] if _even(frames) else groups


def _by_acquisition(group: _Group) -> list[_Group]:
    """Split a group by AcquisitionNumber where acquisitions are no time points of the same slices."""
    found: dict[float, list[Frame]] = {}
    for frame in group.frames:
        found.setdefault(frame.number("AcquisitionNumber") or 0.0, []).append(frame)
    if len(found) < 2 or any(frame.position is None for frame in group.frames):
        return [group]
    places = [_spots(frames) for frames in found.values()]
    shared = Counter(place for each in places for place in each)
    own = all(any(shared[place] == 1 for place in each) for each in places)
    if not own or len(shared) == sum(map(len, places)) or sum(map(len, places)) < len(group.frames):
        return [group]
    if not all(len(frames) > 1 and _even(frames) for frames in found.values()):
        return [group]
    return [_Group(group.traits._replace(acquisition=number), frames) for number, frames in found.items()]


def _spots(frames: Iterable[Frame]) -> set[tuple[int, ...]]:
    """Return where frames are, in steps of `_SAME`."""
    return {tuple(round(x / _SAME) for x in frame.position or ()) for frame in frames}


def _even(frames: Sequence[Frame]) -> bool:
    """Tell whether frames, one at each position, are evenly spaced."""
    normal = normal_of(frames[0].orientation or (1, 0, 0, 0, 1, 0))
    along = sorted(dot(normal, frame.position) for frame in frames if frame.position is not None)
    gaps = [y - x for x, y in pairwise(along)]
    return not gaps or max(gaps) - min(gaps) <= max(2 * _SAME, 0.02 * max(gaps))


# labels


def _labels(groups: Sequence[_Group]) -> list[str]:
    """Return a label for each of several groups: of what differs, only as much as is needed to tell them apart."""
    told: list[tuple[str, ...]] = [()] * len(groups)
    chosen: dict[str, list[str]] = {}
    for name, column_of in _NAMED.items():
        if len(set(told)) == len(groups):
            break
        column = column_of(groups)
        better = [(*before, word) for before, word in zip(told, column, strict=True)]
        if len(set(better)) > len(set(told)):
            told, chosen[name] = better, column
    columns = [chosen[name] for name in sorted(chosen, key=lambda name: name != "echo")]
    return _unique(["_".join(filter(None, words)) for words in zip(*columns, strict=True)] or [""] * len(groups))


def _unique(labels: Sequence[str]) -> list[str]:
    """Return labels that no two share: their place among equal ones behind them."""
    count, seen = Counter(labels), Counter[str]()
    found = []
    for label in labels:
        seen[label] += 1
        number = f"p{seen[label]}" if count[label] > 1 else ""
        found.append("_".join(filter(None, (label, number))))
    return found


def _kinds(groups: Sequence[_Group]) -> list[str]:
    """Return the words of ImageType that not all groups have."""
    shared = frozenset.intersection(*(group.traits.kind for group in groups))
    found = []
    for group in groups:
        own = [word for word in group.frames[0].kind if word in group.traits.kind - shared]
        bright = [word for word in own if word not in _DULL]
        found.append(_slug("-".join(bright or [word for word in own if word == "DERIVED"])))
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.+-]+", "-", text.lower())[:_LONGEST].strip("-.")


def _natural(label: str) -> list[tuple[int, str]]:
    """Return a key by which e2 comes before e10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,9})", label) if part]


def _ranked(letter: str, of: Callable[[_Traits], Any]) -> Callable[[Sequence[_Group]], list[str]]:
    """Return a column of places in order: "e1", "e2" ..."""

    def column(groups: Sequence[_Group]) -> list[str]:
        rank = {value: n for n, value in enumerate(sorted({of(group.traits) for group in groups}), 1)}
        return [f"{letter}{rank[of(group.traits)]}" for group in groups]

    return column


def _numbered(letters: str, of: Callable[[_Traits], float]) -> Callable[[Sequence[_Group]], list[str]]:
    """Return a column of numbers that are said: "ti900", "fa15" ..."""
    return lambda groups: [f"{letters}{of(group.traits):.6g}" for group in groups]


def _echoes(groups: Sequence[_Group]) -> list[str]:
    """Return echo numbers where each stands for one echo time, else places in the order of echo times."""
    echoes = {group.traits.echo for group in groups}
    numbers = {number for number, _ in echoes}
    if len(numbers) == len(echoes) and all(number.is_integer() and 0 < number < 1000 for number in numbers):
        return [f"e{int(group.traits.echo[0])}" for group in groups]
    return _ranked("e", lambda traits: (traits.echo[1], traits.echo[0]))(groups)


def _planes(groups: Sequence[_Group]) -> list[str]:
    """Return the planes where each orientation is one of its own, else numbers in the order of InstanceNumber."""
    keys = [tuple(round(x, 2) for x in group.frames[0].orientation or ()) for group in groups]
    first = dict(zip(reversed(keys), (group.frames[0] for group in reversed(groups)), strict=True))
    names = {key: _plane(frame) for key, frame in first.items()}
    if len(set(names.values())) < len(names):
        order = sorted(first, key=lambda key: (first[key].number("InstanceNumber") or 0.0, key))
        names = {key: f"o{n}" for n, key in enumerate(order, 1)}
    return [names[key] for key in keys]


def _plane(frame: Frame) -> str:
    if frame.orientation is None:
        return "picture"
    normal = normal_of(frame.orientation)
    return ("sag", "cor", "ax")[max(range(3), key=lambda axis: abs(normal[axis]))]


def _spacings(groups: Sequence[_Group]) -> list[str]:
    return [_slug("x".join(f"{size:.4g}" for size in reversed(group.frames[0].spacing or ()))) for group in groups]


def _pictured(groups: Sequence[_Group]) -> list[str]:
    """Return what tells pictures apart: InstanceNumber where each has one of its own."""
    numbers = [group.frames[0].number("InstanceNumber") for group in groups]
    if None in numbers or len(set(numbers)) < len(groups):
        return [f"i{group.traits.picture}" if group.traits.picture else "" for group in groups]
    return [f"i{number:.0f}" if group.traits.picture else "" for group, number in zip(groups, numbers, strict=True)]


#: What labels are made of, most telling first.
_NAMED: Mapping[str, Callable[[Sequence[_Group]], list[str]]] = {
    "component": lambda groups: [group.traits.component for group in groups],
    "kind": _kinds,
    "echo": _echoes,
    "inversion": _numbered("ti", lambda traits: traits.inversion),
    "flip": _numbered("fa", lambda traits: traits.flip),
    "kernel": lambda groups: [_slug(group.traits.kernel) for group in groups],
    "voltage": _numbered("kv", lambda traits: traits.voltage),
    "plane": _planes,
    "stack": _ranked("s", lambda traits: traits.stack),
    "acquisition": _numbered("a", lambda traits: traits.acquisition),
    "picture": _pictured,
    "size": lambda groups: ["{1}x{0}".format(*group.traits.size) for group in groups],
    "spacing": _spacings,
    "reference": _ranked("f", lambda traits: traits.reference),
    "type": lambda groups: [group.traits.type[0] for group in groups],
}

"""Images that are unlike the many others of their kind, and names that are too much alike."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import exp, log
from statistics import median
from typing import TYPE_CHECKING

from medimg_cli.checks.file_names import kind_of
from medimg_cli.checks.rule import Found
from medimg_cli.orientation import transform_between
from medimg_cli.storage.urls import is_local

if TYPE_CHECKING:
    from medimg_cli.checks.dataset import DataSet
    from medimg_cli.checks.subject import Profile
    from medimg_cli.header import Header

__all__ = ["kinds", "names_alike", "odd_dtypes", "odd_orientations", "odd_sizes", "odd_spacings"]

#: Relative differences that are none: of voxel sizes, and of numbers of voxels.
_FLOOR_SPACING, _FLOOR_SIZE = 0.02, 0.05


def kinds(profiles: Sequence[Profile]) -> tuple[tuple[Profile, ...], ...]:
    """Return images of a kind, where there are enough of them."""
    groups: dict[tuple[object, ...], list[Profile]] = {}
    for each in profiles:
        spatial = sum(size > 1 for size in each.header.spatial_shape)
        key = kind_of(each.path), each.is_labels, each.header.channels > 1, spatial
        groups.setdefault(key, []).append(each)
    return tuple(tuple(each) for each in groups.values() if len(each) >= each[0].settings.limit("set-least"))


def _axes(header: Header) -> Sequence[int]:
    """Return voxel axes in the order of x, y and z of the world, so that order of storage does not matter."""
    if not header.orientation_known:
        return 0, 1, 2
    return [axis for axis, _ in transform_between(header.orientation, "RAS")]


def odd_spacings(data: DataSet) -> Iterator[Found]:
    """Find images whose voxels are unlike those of the others."""

    def facts(header: Header) -> list[float]:
        return [header.spacing[axis] for axis in _axes(header)]

    def say(values: Sequence[float]) -> str:
        return "voxels of " + " x ".join(f"{value:.4g}" for value in values) + " mm"

    yield from _odd(data, facts, _FLOOR_SPACING, say)


def odd_sizes(data: DataSet) -> Iterator[Found]:
    """Find images whose numbers of voxels, or of channels, are unlike those of the others."""

    def facts(header: Header) -> list[float]:
        return [float(header.spatial_shape[axis]) for axis in _axes(header)] + [float(header.channels)]

    def say(values: Sequence[float]) -> str:
        voxels = " x ".join(f"{value:.0f}" for value in values[:3])
        return f"{voxels} voxels" + (f" in {values[3]:.0f} channels" if values[3] > 1 else "")

    yield from _odd(data, facts, _FLOOR_SIZE, say)


def _odd(
    data: DataSet,
    facts: Callable[[Header], Sequence[float]],
    floor: float,
    say: Callable[[Sequence[float]], str],
) -> Iterator[Found]:
    """Yield images one of whose numbers is many deviations from the median of its kind, on a logarithmic scale.

    The deviation is the median absolute one, times 1.4826 (as of a normal distribution), and at least ``floor``. Where
    too many are odd, none is: they are no set.
    """
    for group in data.kinds:
        rows = [[log(max(value, 1e-9)) for value in facts(each.header)] for each in group]
        middle = [median(column) for column in zip(*rows, strict=True)]
        spread = [
            max(floor, 1.4826 * median(abs(value - at) for value in column))
            for column, at in zip(zip(*rows, strict=True), middle, strict=True)
        ]
        most, agree = (group[0].settings.limit(name) for name in ("outlier-deviations", "set-agree"))
        odd = [
            each
            for each, row in zip(group, rows, strict=True)
            if any(abs(value - at) > most * width for value, at, width in zip(row, middle, spread, strict=True))
        ]
        if len(odd) > max(1, (1 - agree) * len(group)):
            continue  # they are no set of one kind
        for each in odd:
            usual = f"usual of {len(group)} images of its kind"
            message = f"{say(facts(each.header))}, {usual}: {say([exp(at) for at in middle])}"
            yield Found(message, path=each.path, series=each.series)


def odd_orientations(data: DataSet) -> Iterator[Found]:
    """Find images that are stored in another orientation than nearly all others."""

    def orientation(header: Header) -> str | None:
        return "".join(header.orientation) if header.orientation_known else None

    yield from _few(data, orientation, "it is stored")


def odd_dtypes(data: DataSet) -> Iterator[Found]:
    """Find images of another type than nearly all others."""
    yield from _few(data, lambda header: header.dtype, "its type is")


def _few(data: DataSet, fact: Callable[[Header], str | None], what: str) -> Iterator[Found]:
    """Yield images that have another word than nearly all others of their kind."""
    for group in data.kinds:
        words = [fact(each.header) for each in group]
        counts = Counter(word for word in words if word is not None)
        if len(counts) < 2:
            continue
        (usual, count), *_ = counts.most_common()
        if count < group[0].settings.limit("set-agree") * counts.total():
            continue
        for each, word in zip(group, words, strict=True):
            if word is not None and word != usual:
                message = f"{what} {word}, {count} of {counts.total()} images of its kind have {usual}"
                yield Found(message, path=each.path, series=each.series)


def names_alike(data: DataSet) -> Iterator[Found]:
    """Find names in a folder that differ in case only, or in compression only."""
    from medimg_cli.formats import split_suffix
    from medimg_cli.text import escape

    groups: dict[tuple[str, str], list[str]] = {}
    for path in {os.path.normpath(path): path for path in data.paths}.values():
        if is_local(path):
            stem, suffix, _ = split_suffix(path)
            folder, name = os.path.split(stem)
            groups.setdefault((folder, (name + suffix).lower()), []).append(path)
    for first, *others in groups.values():
        for path in others:
            case = os.path.basename(path).lower() == os.path.basename(first).lower()
            message = f"its name differs in {'case' if case else 'compression'} only from that of {escape(first)}"
            yield Found(message, path=path)

"""Rules about label maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from medimg_cli.checks.islands import IslandFacts, Islands
from medimg_cli.checks.numbers import MOST_LABELS, NumberFacts, Numbers
from medimg_cli.checks.phrases import among, listed, number, place, placed
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject
from medimg_cli.text import counted

__all__ = ["RULES"]

#: Values that a message names at most.
_SOME = 5
_PLURAL = {"is": "are", "has": "have"}
#: Names from which a table is that of an atlas or a program, not that of one image.
_DICTIONARY = 256


def _numbers(subject: Subject) -> NumberFacts | None:
    """Return what numbers a label map holds, None where the image is none."""
    return subject.gathered.get(Numbers) if subject.is_labels else None


def _values(subject: Subject) -> tuple[int, ...]:
    """Return the labels that an image holds: whole numbers, without 0; none where it has too many to tell."""
    facts = _numbers(subject)
    if facts is None or facts.distinct is None:
        return ()
    return tuple(value for value in facts.distinct if isinstance(value, int) and value)


def _where(subject: Subject, value: Any) -> tuple[int, ...] | None:
    """Return a voxel of a value as (c, i, j, k), None where nobody knows one."""
    facts: IslandFacts | None = subject.gathered.get(Islands)
    found = facts.pieces.get(value) if facts else None
    return found.first if found else None


def _some(values: Iterable[Any]) -> str:
    """Return numbers in words, the first few of them."""
    return listed([number(value) for value in values], _SOME)


def _about(subject: Subject, verb: str, text: str, values: Iterable[int]) -> Iterator[Found]:
    """Yield what is wrong with some labels, at a voxel of the first of them; the verb is "is" or "has"."""
    values = list(values)
    if not values:
        return
    facts = _numbers(subject)
    assert facts is not None and facts.distinct is not None
    voxels = sum(facts.distinct[value] for value in values)
    at = _where(subject, values[0])
    held = f"value {_some(values)} {verb}" if len(values) == 1 else f"values {_some(values)} {_PLURAL[verb]}"
    yield Found(f"{held} {text}: {counted(voxels, 'voxel')}{placed(subject, at)}", **place(subject, at))


def _not_whole(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if facts is None:
        return
    if facts.nans or facts.infinities:
        at = facts.nan_at or facts.infinity_at
        text = f"{among(facts.nans + facts.infinities, facts.count)} of a label map are NaN or infinite"
        yield Found(text + placed(subject, at), **place(subject, at))
    if facts.whole or not facts.finite:
        return
    if facts.distinct is None:
        many = f"more than {MOST_LABELS:,} different numbers, from {number(facts.low)} to {number(facts.high)}"
        yield Found(f"a label map holds {many}, that are not whole")
        return
    odd = {value: count for value, count in facts.distinct.items() if not isinstance(value, int)}
    where = next((found for found in (_where(subject, value) for value in odd) if found), None)
    text = f"{among(sum(odd.values()), facts.count)} of a label map are not whole: {_some(odd)}"
    yield Found(text + placed(subject, where), **place(subject, where))


def _unexpected(subject: Subject) -> Iterator[Found]:
    known = subject.settings.known
    if known is not None and _numbers(subject) is not None:
        odd = [value for value in _values(subject) if value not in known]
        yield from _about(subject, "is", f"in a label map that may hold {_some(known)}", odd)


def _unnamed(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    table = subject.header.labels if facts else None
    odd = [value for value in _values(subject) if table.get(value) is None] if table else []
    yield from _about(subject, "has", "no name in its table of labels", odd)


def _negative(subject: Subject) -> Iterator[Found]:
    yield from _about(subject, "is", "negative", [value for value in _values(subject) if value < 0])


def _only_background(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if facts is not None and not facts.nonzero and not facts.nans:
        yield Found(f"a label map holds nothing but background: all {counted(facts.count, 'value')} are 0")


def _scaled(subject: Subject) -> Iterator[Found]:
    header = subject.header
    if header.scaled and subject.is_labels and header.intent != "label":  # of these H056 speaks
        slope, inter = number(float(header.slope or 0)), number(float(header.inter or 0))
        yield Found(f"a label map is stored with slope {slope} and intercept {inter}: some readers leave them out")


def _too_many(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    if facts is None or not facts.whole:
        return
    most = subject.settings.limit("labels-most")
    found = facts.levels if facts.distinct is None else len(facts.distinct)
    if found is None or found > most:
        count = f"more than {MOST_LABELS:,}" if found is None else f"{found:,}"
        yield Found(f"a label map holds {count} different values: they look like measurements")


def _islands(subject: Subject) -> Iterator[Found]:
    facts: IslandFacts | None = subject.gathered.get(Islands)
    odd = {value: each for value, each in facts.pieces.items() if each.islands} if facts else {}
    if not odd:
        return
    islands, voxels = sum(each.islands for each in odd.values()), sum(each.voxels for each in odd.values())
    value, first = next(iter(odd.items()))
    table = subject.header.labels
    name = f" ({table.name_of(value)})" if table and table.name_of(value) else ""
    where = f"in label {number(value)}{name}"
    if len(odd) > 1:
        where = f"in {len(odd):,} labels, one of them {where}"
    least = number(subject.settings.limit("island-voxels"))
    yield Found(
        f"{counted(islands, 'island')} of fewer than {least} voxels ({counted(voxels, 'voxel')} in all) {where}"
        + placed(subject, first.island),
        **place(subject, first.island),
    )


def _absent(subject: Subject) -> Iterator[Found]:
    facts = _numbers(subject)
    table = subject.header.labels if facts else None
    if facts is None or not table or facts.distinct is None or len(table) >= _DICTIONARY:
        return
    absent = [label.value for label in table if label.value and label.value not in facts.distinct]
    if absent:
        yield Found(f"{len(absent):,} of {counted(len(table), 'label')} in its table have no voxel: {_some(absent)}")


RULES: tuple[Rule, ...] = (
    Rule(
        "L001",
        "fractional-label",
        "error",
        _not_whole,
        "A label map holds whole numbers.",
        why="A label is a name, and there is nothing between two names. Numbers with fractions come from interpolation "
        "between labels, so that a voxel between 2 and 4 is 3; or the file holds probabilities.",
        example="`sub-01_dseg.nii.gz`, resampled with trilinear interpolation: 0.25, 1.5 and 2.75 at the borders.",
        remedy="Resample the original again: `medimg resample` keeps the values of label maps. Probabilities belong "
        "into a file that is not called a label map (BIDS: `_probseg`).",
        gathers=(Numbers, Islands),
    ),
    Rule(
        "L002",
        "unexpected-label",
        "error",
        _unexpected,
        "A label map holds no values but those that the configuration names.",
        why="A training with four classes breaks down at the fifth, or learns it as another.",
        example="`known-labels = [0, 1, 2]` for a path, and a file there that also holds 255.",
        remedy="`medimg labels` tells how many voxels each value has; `medimg labels --remap` puts one value in place "
        "of another.",
        gathers=(Numbers, Islands),
    ),
    Rule(
        "L003",
        "unnamed-label",
        "warning",
        _unnamed,
        "Each value of a label map has a name in its table.",
        why="The table that comes with the file, in its header or beside it, does not know what these voxels are. It "
        "is the table of another file, or the voxels were changed afterwards.",
        example="A `.seg.nrrd` with segments 1 and 2, and voxels of value 3.",
        remedy="`medimg labels --table` tries another table, and `--embed` puts it into the file; `--remap` changes "
        "values.",
        gathers=(Numbers, Islands),
    ),
    Rule(
        "L004",
        "negative-label",
        "warning",
        _negative,
        "No label is negative.",
        why="Labels are numbers of rows in tables and of classes, from 0. Programs that store them unsigned make 255 "
        "or 65535 of -1, others stop.",
        example="-1 for voxels that nobody has looked at.",
        remedy="`medimg labels --remap -1=0` puts another value in its place.",
        gathers=(Numbers, Islands),
    ),
    Rule(
        "L005",
        "only-background",
        "warning",
        _only_background,
        "A label map holds more than background.",
        why="A segmentation that failed leaves zeros behind, and a loss over classes that are not there is NaN. It may "
        "be right: not every patient has a lesion.",
        example="A mask of zeros, saved before anybody had drawn in it.",
        remedy="Look at the image with `medimg plot`, and segment it again. Where empty masks are meant, ignore this "
        "rule for them.",
        gathers=(Numbers,),
    ),
    Rule(
        "L006",
        "scaled-labels",
        "warning",
        _scaled,
        "A label map is stored without slope and intercept.",
        why="Programs that read stored numbers see other labels than programs that scale them, and a product with a "
        "slope such as 0.1 is rarely a whole number.",
        example="A mask of 0 and 1, stored as 0 and 255 with a slope of 1/255.",
        remedy="`medimg convert --dtype float32` stores the values themselves, and `--dtype uint8` after it makes the "
        "file small.",
    ),
    Rule(
        "L007",
        "too-many-labels",
        "warning",
        _too_many,
        "A label map holds no more different values than the largest parcellations.",
        why="The largest parcellations in use have some thousand labels. More are measurements in a file that is "
        "called, or declared, a label map; programs will interpolate, count and colour them as labels.",
        example="A T1 image that was saved as `case_001.nii.gz` below `labelsTr`.",
        remedy="Rename the file or correct its intent: `medimg edit`. Where every cell or vessel has a number of its "
        "own, raise the limit `labels-most`.",
        gathers=(Numbers,),
    ),
    Rule(
        "L008",
        "island",
        "info",
        _islands,
        "Each label lies in pieces of some size.",
        why="Single voxels apart from the rest of their label are slips of a hand or noise of a classifier. They make "
        "boxes, distances and counts of lesions wrong. Voxels that touch by a corner hang together.",
        example="A liver of one piece, and three voxels of its label in a lung.",
        remedy="Look at the voxel named with `medimg plot`. Whether it is wrong, nobody but you can tell; "
        "`island-voxels` sets the size.",
        gathers=(Numbers, Islands),
    ),
    Rule(
        "L009",
        "absent-label",
        "info",
        _absent,
        "Each name in the table of a label map has voxels.",
        why="A structure that is named but not there was forgotten, or it is missing in this patient. Tables of 256 "
        "names and more belong to an atlas, and nobody expects all of it.",
        example="A table with left and right kidney, and voxels of the left one only.",
        remedy="`medimg labels` lists what is there.",
        gathers=(Numbers,),
    ),
)

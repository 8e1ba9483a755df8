"""``medimg diff``: what differs between two images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from medimg_cli.cli.options import Form, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields, value_text
from medimg_cli.compare import Apart, Comparing, Comparison, compare_paths
from medimg_cli.compare.voxels import Spot
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.urls import public_name

__all__ = ["diff"]

_PATH = "An image, a folder of DICOM, or - for standard input."

Ignore = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Leave out a part (geometry, dtype, metadata, labels, voxels) or a field, such as origin, slope, "
        "metadata.EchoTime; may be repeated.",
    ),
]


@with_options
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help=_PATH, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The image to compare it with.", show_default=False)],
    rtol: Annotated[
        float, typer.Option(metavar="X", help="Values may differ by this share of the larger one.", show_default=False)
    ] = 0.0,
    atol: Annotated[float, typer.Option(metavar="X", help="Values may differ by this much.", show_default=False)] = 0.0,
    geometry_tolerance: Annotated[
        float, typer.Option(metavar="MM", help="How far corners may lie apart.", show_default=True)
    ] = 1e-3,
    ignore: Ignore = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also list what the format of the other image cannot hold.")
    ] = False,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Bring both to RAS+ first: how they are stored is no difference.")
    ] = False,
    header_only: Annotated[bool, typer.Option("--header-only", help="Read no voxels.")] = False,
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Print the bare value of this key of --json; may be repeated."),
    ] = None,
    *,
    reading: Reading,
    console: Console,
) -> int:
    """Compare two images: geometry, types, metadata, label tables and voxels.

    The exit code is 0 where they are the same, 1 where something differs, and 2 where an image cannot be read. --quiet
    prints nothing, as cmp -s does.

    The formats may differ. What the format of the other image cannot hold is no difference, so an image is the same as
    all that was converted from it without loss; --all lists what was lost on the way. Voxels are compared at the same
    places where the two are stored in different orders, and by their index where the places differ. NaN equals NaN.
    Without tolerances, values must be equal. Label maps get a Dice coefficient per label. Images may be larger than
    memory.

    Shifts are those of the worst corner of the grid. A relative difference is one in relation to the larger value.

    Examples:

        medimg diff before.nii.gz after.nii.gz
        medimg diff scan.nii.gz scan.nrrd && echo converted without loss
        medimg diff --all scan.nii.gz scan.mha
        medimg diff --rtol 1e-5 --atol 1e-8 expected.nii.gz result.nii.gz
        medimg diff --ignore metadata --ignore dtype a.nii.gz b.nii.gz
        medimg diff --canonical --field voxels.correlation a.nii.gz b.mgz
        medimg diff --series 3 dicom/ scan.nii.gz
    """
    wanted = Comparing(
        rtol=rtol, atol=atol, geometry_tolerance=geometry_tolerance, ignore=tuple(ignore or ()), every=every,
        canonical=canonical, header_only=header_only,
    )  # fmt: skip
    found = compare_paths(a, b, wanted, reading)
    _warn(found, console)
    if field:
        emit_fields([found.facts()], field, console=console)
    elif json or form != "table":
        emit("json" if json else form, _records(found, json, form), columns=(), console=console)
    elif not console.quiet:
        _show(found, console)
    return 0 if found.same else 1


def _warn(found: Comparison, console: Console) -> None:
    """Say what a careful user should know of either image."""
    for name, header in zip((found.a, found.b), found.headers, strict=True):
        for sentence in header.warnings:
            console.warning(f"{public_name(name or '')}: {sentence}")


def _records(found: Comparison, json: bool, form: str) -> list[Mapping[str, Any]]:
    """Return one record for JSON, and one for each difference for CSV."""
    if json or form != "csv":
        return [found.facts()]
    rows: list[Mapping[str, Any]] = [each.facts() for each in found.differences]
    if found.voxels is not None and found.voxels.beyond:
        worst = found.voxels.largest or found.voxels.odd
        a, b = (worst.a, worst.b) if worst is not None else (None, None)
        note = _voxels(found)
        rows.append({"section": "voxels", "field": "voxels", "key": None, "a": a, "b": b, "note": note})
    return rows


# -- the table ------------------------------------------------------------------------------------------------------

Row = Mapping[str, str | list[str]]

_PAGE = (Column("", lambda row: row["name"]), Column("", lambda row: row["text"]))
_SIDES = (
    *(Column("", lambda row: row["name"]), Column("A", lambda row: row["a"]), Column("B", lambda row: row["b"])),
    Column("", lambda row: row["note"]),
)

#: Labels, and characters of a value, that the table shows.
_MOST_LABELS, _WIDEST = 20, 48


def _show(found: Comparison, console: Console) -> None:
    """Say in a line that two images are the same; or what differs, in words and then value by value."""
    if found.same:
        console.out(_same(found))
        return
    names = [{"name": name, "text": public_name(path or "")} for name, path in (("A", found.a), ("B", found.b))]
    words = [{"name": name, "text": text} for name in found.sections for text in [_WORDS[name](found)]]
    emit("table", [*names, *words], columns=_PAGE, console=console)
    rows = [*_fields(found), *_values(found)]
    if rows:
        console.out("")
        emit("table", rows, columns=_SIDES, console=console)


def _same(found: Comparison) -> str:
    """Say that nothing differs, and what was not looked at."""
    shape = " x ".join(map(str, found.headers[0].spatial_shape))
    voxels = found.voxels
    if voxels is None:
        text = f"same headers, {shape} voxels; voxels were left out"
    elif voxels.differing:
        text = f"same within the tolerance: {_count(voxels.differing, voxels.count)} differ{_by(found)}"
    else:
        text = f"same: {shape} voxels"
    turned = found.geometry["turned_to"] is not None
    left = len({each.field for each in found.excused if not (turned and each.field == "orientation")})
    return text + (f" ({left} field{'s' * (left > 1)} that a format cannot hold: see --all)" if left else "")


def _geometry(found: Comparison) -> str:
    """Say where B lies."""
    fields = {each.field for each in found.differences if each.section == "geometry"}
    said, place = [], found.geometry
    if "shape" in fields:
        said.append("the shapes differ")
    if "affine" in fields:
        voxels = "" if place["shift_voxels"] is None else f" ({place['shift_voxels']:.4g} voxels)"
        said.append(f"B lies {place['shift_mm']:.4g} mm{voxels} from A at the worst corner")
    if "orientation" in fields and place["turned_to"] is not None:
        one, two = (place["orientation"][side] for side in "ab")
        said.append(f"B is stored as {two}, A as {one}: the same places in another order")
    rest = [each for each in _listed(found) if each.field in fields - {"shape", "affine"}]
    said += [each.note for each in rest if not (each.field == "orientation" and place["turned_to"] is not None)]
    return "; ".join(said)


def _listed(found: Comparison) -> list[Apart]:
    """Return what differs, without forms of NIfTI that are the affine in both images: they say the same once more."""
    moved = any(each.field == "affine" for each in found.differences)
    return [each for each in found.differences if not (moved and each.is_affine(found.headers))]


def _notes(section: str) -> Any:
    def words(found: Comparison) -> str:
        notes = [each.note.removeprefix(f"{section}: ") for each in found.differences if each.section == section]
        return "; ".join(notes[:6]) + (f"; and {len(notes) - 6} more" if len(notes) > 6 else "")

    return words


def _voxels(found: Comparison) -> str:
    """Say in how many voxels two images differ, and by how much."""
    voxels = found.voxels
    if voxels is None:
        return f"not compared: {found.not_compared}"
    beyond = "" if voxels.beyond == voxels.differing else f", {voxels.beyond} beyond the tolerance"
    odd = [f"{voxels.nan} of NaN against a number"] if voxels.nan else []
    odd += [f"{voxels.infinite} of an infinity against another value"] if voxels.infinite else []
    return f"{_count(voxels.differing, voxels.count)} differ{beyond}{_by(found)}" + "".join(f"; {each}" for each in odd)


_WORDS: Mapping[str, Any] = {
    "geometry": _geometry, "dtype": _notes("dtype"), "metadata": _notes("metadata"), "labels": _notes("labels"),
    "voxels": _voxels,
}  # fmt: skip


def _count(some: int, every: int) -> str:
    return f"{some} of {every} values ({100 * some / every:.3g} %)"


def _by(found: Comparison) -> str:
    largest = found.voxels.largest if found.voxels is not None else None
    return f", by up to {_numbers(largest.facts()['difference'])}" if largest is not None else ""


_TITLES = {"spacing": "spacing mm", "origin": "origin mm"}


def _fields(found: Comparison) -> Iterator[Row]:
    """Yield the fields that differ, both values next to each other; of many labels the first ones."""
    left = _MOST_LABELS
    for each in _listed(found):
        facts = each.facts()
        name = each.name.replace("_", " ") if each.key is None else _TITLES.get(each.name, each.name)
        note = each.note.partition(": ")[2] if each.section in ("labels", "metadata") else ""
        if each.field == "labels" and each.key is not None:
            name, left = f"label {each.key}", left - 1
            if left < 0:
                continue
        a, b = (_side(each.field, facts[side]) for side in "ab")
        yield {"name": name, "a": a, "b": b, "note": note if note in ("renamed", "recoloured") else ""}
    if left < 0:
        yield {"name": f"and {-left} more labels", "a": "", "b": "", "note": "see --json"}


def _side(field: str, value: Any) -> str | list[str]:
    """Write what one image says, short."""
    if value is None or value == "" or value == []:
        return "-"
    if field == "axes":
        return " x ".join(f"{size} {kind}" for kind, size in value)
    if field == "gradients":
        return f"{len(value['bvals'])} directions"
    if field == "labels":
        if isinstance(value, list):
            return f"{len(value)} labels"
        return " ".join(word for word in (value["name"], value["color"]) if word) or "-"
    if field == "extensions":
        return ", ".join(f"code {each['code']}, {each['bytes']} bytes" for each in value)
    if isinstance(value, list) and isinstance(value[0], list):
        return [_numbers(row) for row in value[:3]]
    text = _numbers(value)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_numbers(each) for each in value)
    return _number(value) if isinstance(value, float) else value_text(value)


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}"


def _values(found: Comparison) -> Iterator[Row]:
    """Yield what voxels say: the worst of them with both values, all together, and labels."""
    voxels = found.voxels
    if voxels is None or not voxels.differing:
        return
    several = found.headers[0].channels > 1
    relative = None if _same_place(voxels.relative, voxels.largest) else voxels.relative
    spots = (("worst", voxels.largest), ("worst, relative", relative), ("first not finite", voxels.odd))
    for name, spot in spots:
        if spot is not None:
            facts = spot.facts()
            channel = f" of channel {spot.channel}" if several else ""
            place = f"{' '.join(map(str, spot.voxel))}{channel} ({' '.join(map(_number, spot.world))} mm)"
            by = "" if spot.difference is None else f"by {_numbers(facts['difference'])} "
            a, b = _two_values(facts["a"], facts["b"])
            yield {"name": name, "a": a, "b": b, "note": f"{by}at voxel {place}"}
    numbers = (("mean of B - A", voxels.mean), ("RMSE", voxels.rmse), ("correlation", voxels.correlation))
    told = ", ".join(f"{name} {value:.10g}" for name, value in numbers if value is not None)
    if told and voxels.labels is None:
        yield {"name": "overall", "a": "", "b": "", "note": told}
    yield from _labels(found)


def _same_place(one: Spot | None, two: Spot | None) -> bool:
    return one is not None and two is not None and (one.channel, one.voxel) == (two.channel, two.voxel)


def _two_values(a: Any, b: Any) -> tuple[str, str]:
    """Write two values with as few digits as tell them apart.

    >>> _two_values(0.1, 0.30000000000000004), _two_values(0.3, 0.30000000000000004), _two_values(7, "nan")
    (('0.1', '0.3'), ('0.3', '0.30000000000000004'), ('7', 'nan'))
    """
    short = [f"{each:.9g}" if isinstance(each, float) else value_text(each) for each in (a, b)]
    return (short[0], short[1]) if short[0] != short[1] else (value_text(a), value_text(b))


def _labels(found: Comparison) -> Iterator[Row]:
    """Yield the labels that do not lie where they lie in the other image, the worst first."""
    apart = [each for each in found.voxels.labels or () if each.dice < 1] if found.voxels is not None else []
    apart.sort(key=lambda each: each.dice)
    for each in apart[:_MOST_LABELS]:
        name = f"label {each.value}" + (f" {each.name}" if each.name else "")
        yield {"name": name, "a": _voxel_count(each.a), "b": _voxel_count(each.b), "note": f"Dice {each.dice:.4f}"}
    if len(apart) > _MOST_LABELS:
        yield {"name": f"and {len(apart) - _MOST_LABELS} more", "a": "", "b": "", "note": "see --json"}


def _voxel_count(count: int) -> str:
    return f"{count} voxel{'s' * (count != 1)}"

"""``medimg stats``: what the values of images are like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from medimg_cli.cli.options import Form, Paths, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields, number
from medimg_cli.cli.running import Tally
from medimg_cli.describing import Describing, describe_images
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.urls import public_name

__all__ = ["stats"]


@with_options
def stats(
    paths: Paths,
    mask: Annotated[
        str | None, typer.Option(metavar="FILE", help="Count only voxels where this image is not 0.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Describe each label of this label map; 0 is background.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="FILE", help="Names of the labels; default: the table in the label map.")
    ] = None,
    percentile: Annotated[
        list[float] | None,
        typer.Option(metavar="P", help="Find this percentile, 0 to 100; may be repeated. Default: 1 5 25 75 95 99."),
    ] = None,
    above: Annotated[
        float | None, typer.Option(metavar="VALUE", help="Count the voxels above this value, and their mm3.")
    ] = None,
    overall: Annotated[bool, typer.Option("--overall", help="Describe all channels together, not each.")] = False,
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Print the bare value of this key of --json, one line per row; may be repeated."
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look for images in folders.")] = False,
    *,
    reading: Reading,
    console: Console,
) -> int:
    """Describe the values of images: range, mean, deviation, median and percentiles, counts and volumes.

    One image of one channel gives a page; channels, labels and several images give a row each, and an image of several
    channels one more row for all of them. Values are scaled as the file says. NaN and infinities are counted and left
    out of everything else. Percentiles are exact. An image may be larger than memory.

    std is that of all voxels, as in NumPy. mrstats and fslstats divide by n - 1: that is std_sample. A mask and a label
    map must lie on the grid of the image. An image that fails does not stop the others; the exit code is then 2.

    Examples:

        medimg stats scan.nii.gz
        medimg stats --mask brain.nii.gz --percentile 2 --percentile 98 t1.nii.gz
        medimg stats --labels aseg.nii.gz --table LUT.txt t1.nii.gz
        medimg stats --labels aseg.nii.gz --format csv t1.nii.gz > regions.csv
        medimg stats --field mean --overall --recursive study/
    """
    wanted = Describing(
        mask=mask, labels=labels, table=table, percentiles=percentile, above=above, each=not overall, reading=reading
    )
    if wanted.known == ():
        console.warning(f"{public_name(str(labels))}: there is no label in it, background only")
    tally = Tally(describe_images(paths, wanted, recursive=recursive), console)
    if field:
        emit_fields(tally, field, console=console)
    elif json or form != "table":
        emit("json" if json else form, tally, columns=(), console=console)
    else:
        _show(list(tally), wanted, console)
    return 2 if tally.failed else 0


# -- tables ---------------------------------------------------------------------------------------------------------


def _show(records: Sequence[Mapping[str, Any]], wanted: Describing, console: Console) -> None:
    """Print one record as a page, several as a row each."""
    from medimg_cli.statistics.describe import PERCENTILES, percentile_name

    good = [record for record in records if "error" not in record]
    if len(records) == len(good) == 1 and wanted.labels is None:
        rows = [{"name": name, "text": text} for name, text in _page(good[0], wanted.asked) if text]
        emit("table", rows, columns=_PAGE, console=console)
    elif good or len(records) > 1:
        asked = wanted.asked
        keys = () if asked is PERCENTILES else [percentile_name(percent) for percent in asked]
        emit("table", records, columns=list(_columns(good, keys, len(records) > len(good))), console=console)


_PAGE = (Column("", lambda row: row["name"]), Column("", lambda row: row["text"]))


def _page(record: Mapping[str, Any], percentiles: Sequence[float]) -> Iterator[tuple[str, str | list[str]]]:
    """Yield what to show of one record, as (name, text or lines); what is absent has no text."""
    from medimg_cli.statistics.describe import percentile_name

    percents = [(f"{number(percent)}%", _text(record[percentile_name(percent)])) for percent in percentiles]
    widths = [max(len(pair[i]) for pair in percents) for i in range(2)]
    sample = _text(record["std_sample"])
    odd = ((record["nan"], "NaN"), (record["positive_infinity"], "+inf"), (record["negative_infinity"], "-inf"))
    yield "path", public_name(record["path"])
    yield "voxels", _counted(record["count"], record["volume_mm3"])
    yield "not finite", ", ".join(f"{count} {what}" for count, what in odd if count)
    yield from ((name, _text(record[name])) for name in ("min", "max", "mean"))
    yield "std", _text(record["std"])
    yield "std, n - 1", sample if sample != _text(record["std"]) else ""
    yield "median", _text(record["median"])
    yield "percentiles", [f"{name.rjust(widths[0])}  {text.rjust(widths[1])}" for name, text in percents]
    yield "sum", _text(record["sum"])
    if "above" in record:
        yield f"above {number(record['above'])}", _counted(record["above_count"], record["above_mm3"])


def _text(value: float | None) -> str:
    """Write a value as a table shows it: whole numbers in full, others with six digits at least.

    >>> _text(1234567), _text(1234567.8), _text(0.1234567), _text(None)
    ('1234567', '1234568', '0.123457', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if 1e6 <= abs(value) < 1e15 else f"{value + 0.0:.6g}"


def _counted(count: int, volume: float | None) -> str:
    return f"{count}" if volume is None else f"{count} ({_text(volume)} mm3)"


def _columns(records: Sequence[Mapping[str, Any]], percentiles: Sequence[str], failed: bool) -> Iterator[Column]:
    """Yield the columns that say something about these records; ``percentiles`` are keys that were asked for."""

    def any_has(name: str) -> bool:
        return any(record.get(name) for record in records)

    if any(record["channel"] for record in records):
        yield _column("CHANNEL", lambda record: "all" if record["channel"] is None else str(record["channel"]))
    if any_has("label"):
        yield _fact("LABEL", "label")
    if any_has("name"):
        yield _column("NAME", lambda record: record["name"] or "", right=False)
    yield _fact("COUNT", "count")
    if any_has("label"):
        yield _fact("MM3", "volume_mm3")
    yield from (_fact(name.upper(), name) for name in ("min", "max", "mean", "std", "median"))
    yield from (_fact(name.upper(), name) for name in percentiles)
    if any("above" in record for record in records):
        yield _fact("ABOVE", "above_count")
    if any_has("nan"):
        yield _fact("NAN", "nan")
    if any_has("positive_infinity") or any_has("negative_infinity"):
        yield _column("INF", lambda record: str(record["positive_infinity"] + record["negative_infinity"]))
    if failed or len({record["path"] for record in records}) > 1:
        yield Column("PATH", lambda record: public_name(record["path"]) + (" (failed)" if "error" in record else ""))


def _fact(title: str, name: str) -> Column:
    return _column(title, lambda record: _text(record[name]))


def _column(title: str, text: Callable[[Mapping[str, Any]], str], *, right: bool = True) -> Column:
    return Column(title, lambda record: "-" if "error" in record else text(record), right)

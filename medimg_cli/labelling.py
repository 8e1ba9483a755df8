"""The labels of label maps, as plain facts: the record behind ``medimg labels``, its JSON and its tables.

A record is a JSON-able mapping with the keys of :data:`KEYS`, one for each label. Keys may be added, none changes its
meaning: :data:`SCHEMA` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from medimg_cli.errors import FormatError, StorageError
from medimg_cli.expanding import open_named
from medimg_cli.labels import Label, LabelTable
from medimg_cli.listing import Listing, failed
from medimg_cli.statistics.recognition import declared_labels

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.reading import Reading
    from medimg_cli.statistics.labelled import LabelFacts

__all__ = ["KEYS", "SCHEMA", "list_labels", "save_table"]

SCHEMA = "medimg.labels/1"

#: Different values that label maps rarely have more of.
_MANY = 512

KEYS = (
    *("schema", "path", "channel", "value", "name", "color", "voxels", "volume_mm3", "centroid_mm"),
    *("box", "bounds_mm", "components"),
)
"""Keys of a record, in order."""


def list_labels(
    paths: Iterable[str],
    *,
    table: LabelTable | None = None,
    every: bool = False,
    components: bool = False,
    neighbours: Literal[6, 26] = 26,
    reading: Reading | None = None,
) -> Iterator[Listing]:
    """Measure the labels of each image; one that fails never stops the others.

    Parameters
    ----------
    paths : iterable of str
        ``-`` is standard input.
    table : LabelTable, optional
        Names and colours, instead of those that the image brings along.
    every : bool
        Also list the background, 0, and what the table names and no voxel has.
    components, neighbours
        Whether and how to count connected pieces; see `label_facts`.
    reading : Reading, optional
        Which image of a source that holds several.

    Yields
    ------
    Listing
        One an image.
    """
    from medimg_cli.statistics.labelled import label_facts

    for path in paths:
        try:
            backend = open_named(path, reading)
            names = (backend.header.labels if table is None else table) or LabelTable()
            facts = label_facts(backend, components=components, neighbours=neighbours)
            records = [_record(path, each, backend, names) for each in facts if every or each.value]
            if every:
                records += _absent(path, facts, names, components=components)
            yield Listing(path, tuple(records), (*backend.header.warnings, *_doubts(backend, facts)))
        except Exception as error:
            yield failed(SCHEMA, path, error)


def _doubts(backend: Backend, facts: tuple[LabelFacts, ...]) -> tuple[str, ...]:
    """Say so where numbers are hardly labels."""
    values = len({each.value for each in facts})
    if values <= _MANY or declared_labels(backend.header) is not None:
        return ()
    return (f"it holds {values} different values, and nothing says that they are labels",)


def _record(path: str, facts: LabelFacts, backend: Backend, names: LabelTable) -> dict[str, Any]:
    return {
        **_named(path, names.get(facts.value) or Label(facts.value), known=facts.value in names.values),
        "channel": facts.channel if backend.header.channels > 1 else None,
        "voxels": facts.voxels,
        "volume_mm3": facts.volume,
        "centroid_mm": list(facts.centroid),
        "box": [list(span) for span in facts.box],
        "bounds_mm": [list(span) for span in facts.bounds],
        "components": facts.components,
    }


def _named(path: str, label: Label, *, known: bool) -> dict[str, Any]:
    """Return a record of which only the names are known, every key in its place."""
    name = label.name if known else None
    said = {"schema": SCHEMA, "path": path, "value": label.value, "name": name, "color": label.hex}
    return dict.fromkeys(KEYS) | said


def _absent(
    path: str, facts: tuple[LabelFacts, ...], names: LabelTable, *, components: bool
) -> Iterator[dict[str, Any]]:
    """Yield records of labels that no voxel has."""
    present = {each.value for each in facts}
    nothing: dict[str, Any] = {"voxels": 0, "volume_mm3": 0.0, "components": 0 if components else None}
    for label in names:
        if label.value not in present:
            yield _named(path, label, known=True) | nothing


def save_table(
    path: str,
    target: str,
    *,
    table: LabelTable | None = None,
    force: bool = False,
    reading: Reading | None = None,
) -> tuple[str, ...]:
    """Write the label table of an image to a text file; its suffix says in which format.

    Parameters
    ----------
    path : str
        The image.
    target : str
        The file: ``.ctbl``, ``.tsv``, ``.json``, ``.label``, ``.txt`` or ``.lut``.
    table : LabelTable, optional
        What to write instead of the table that the image brings along.
    force : bool
        Whether an existing file may be replaced.
    reading : Reading, optional
        Which image of a source that holds several.

    Returns
    -------
    tuple of str
        What the format could not hold as it was; one sentence each.

    Raises
    ------
    FormatError
        If the image has no label table.
    StorageError
        If the file exists and ``force`` is False, or cannot be written.
    UsageError
        If the suffix is that of no label table.
    """
    from os.path import lexists

    found = open_named(path, reading).header.labels if table is None else table
    if not found:
        raise FormatError("has no label table", path=path, hint="name one with --table FILE")
    held = found.fit(LabelTable.format_of(target))
    if lexists(target) and not force:
        raise StorageError("already exists", path=target, hint="use --force to replace it")
    found.write(target)
    changed = sum(old != new for old, new in zip(found, held, strict=True))
    return (f"{changed} of {len(found)} labels changed to what the format can hold",) if changed else ()

"""The label table beside an image: ``X.tsv`` beside ``X.nii.gz`` (BIDS 1.9, "discrete segmentations").

A table inside the file is what counts. One beside it is read where there is none inside, written where the format has
no room for one, and travels along where the input had one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from medimg_cli.dtypes import is_complex, is_integer
from medimg_cli.errors import FormatError, MedImgError, NotFoundError, StorageError
from medimg_cli.formats import knows_suffix, split_suffix
from medimg_cli.storage.source import ByteSource, PathSource

if TYPE_CHECKING:
    from medimg_cli.header import Header
    from medimg_cli.labels import LabelTable
    from medimg_cli.storage.atomic import AtomicGroup

__all__ = ["copy_table", "refuse_table", "stale_table", "table_beside", "table_path", "with_table", "write_table"]

_MOST_BYTES = 1 << 24
_SEGMENTATION = "_dseg"
#: Parts of a name that tables of several images are named after.
_ENTITIES = r"(?:^|_)((?:desc|atlas|seg)-[A-Za-z0-9]+)(?=_)"
#: Folders above an image that may hold a table for all images below (BIDS, inheritance): session, subject, data set.
_LEVELS = 3


def table_path(path: str) -> str:
    """Return the name of the table beside an image.

    >>> table_path("sub-1/sub-1_dseg.nii.gz")
    'sub-1/sub-1_dseg.tsv'
    """
    return f"{split_suffix(path)[0]}.tsv"


def with_table(header: Header, source: ByteSource) -> Header:
    """Return the header of an image with the table that lies beside it, where it has none itself.

    A file of that name without the columns ``index`` and ``name`` is another kind of table. One that has them and
    cannot be read is a warning.

    Parameters
    ----------
    header : Header
        As the file has it.
    source : ByteSource
        The file.
    """
    base = os.path.basename(split_suffix(source.name)[0])
    if not isinstance(source, PathSource) or not _may_have_table(header, base):
        return header
    name = f"{base}.tsv"
    try:
        found = _find(source, base)
        if found is None:
            return header
        name = os.path.basename(found.name)
        table = _parsed(found.head(_MOST_BYTES), strict=base.endswith(_SEGMENTATION))
    except MedImgError as error:
        return header.warn(f"the label table {name} beside it is ignored: {error.message}")
    return header if table is None else header.replace(labels=table)


def _may_have_table(header: Header, base: str) -> bool:
    """Tell whether a table beside an image could be meant for it: its voxels are labels or may be."""
    if header.labels is not None or header.scaled or is_complex(header.dtype) or "rgb" in dict(header.axes):
        return False
    return is_integer(header.dtype) or header.dtype == "bool" or base.endswith(_SEGMENTATION)


def _find(source: PathSource, base: str) -> PathSource | None:
    """Return the table of an image, or that of all images of its kind in the folders above."""
    complete = type(source) is PathSource  # a file under construction knows no others, and inherits nothing
    if not complete or os.path.lexists(os.path.join(os.path.dirname(source.path or ""), f"{base}.tsv")):
        try:
            return source.sibling(f"{base}.tsv")
        except NotFoundError:
            pass
    if not complete or not base.endswith(_SEGMENTATION):
        return None
    path = next((path for path in _inherited(source.path or source.name, base) if os.path.isfile(path)), None)
    return None if path is None else PathSource(path)


def _inherited(path: str, base: str) -> Iterator[str]:
    """Yield where a table for several images may lie, the nearest place first."""
    folder = os.path.dirname(os.path.abspath(path))
    for _ in range(_LEVELS + 1):
        for entity in re.findall(_ENTITIES, base):
            yield os.path.join(folder, f"{entity}{_SEGMENTATION}.tsv")
        yield os.path.join(folder, f"{_SEGMENTATION[1:]}.tsv")
        folder = os.path.dirname(folder)


def _parsed(content: bytes, *, strict: bool) -> LabelTable | None:
    """Read a table; None where it is of another kind, unless ``strict``, or empty."""
    from medimg_cli.labels import LabelTable

    first = content.lstrip(b"\xef\xbb\xbf \r\n").partition(b"\n")[0].strip().lower().split(b"\t")
    if not strict and not {b"index", b"name"} <= {cell.strip() for cell in first}:
        return None
    try:
        table = LabelTable.from_text(content.decode("utf-8-sig"), "bids")
    except UnicodeDecodeError:
        raise FormatError("it is not UTF-8 text") from None
    return table if len(table) else None


def table_beside(header: Header, fitted: Header, path: str) -> LabelTable | None:
    """Return the table that goes into a file beside an output, because the output itself has no room for it.

    Parameters
    ----------
    header : Header
        What is to be written.
    fitted : Header
        What the format holds of it.
    path : str
        The output.
    """
    base = os.path.basename(split_suffix(path)[0])
    return header.labels.fit("bids") if header.labels and _may_have_table(fitted, base) else None


def write_table(group: AtomicGroup, table: LabelTable, path: str) -> dict[str, str]:
    """Write a table beside an output, together with it.

    Parameters
    ----------
    group : AtomicGroup
        That of the output; the output joins it afterwards.
    table : LabelTable
    path : str
        The output.

    Returns
    -------
    dict of str
        Name -> path of the file, where it says the same already and stays.

    Raises
    ------
    StorageError
        If a table of that name says something else, and belongs to another image or may not be replaced.
    """
    target = table_path(path)
    if _says(target, table):
        return {os.path.basename(target): target}
    owner = _other_image(path) if os.path.lexists(target) else None
    if owner is not None:
        hint = f"it belongs to {owner}: give the output another name"
        raise StorageError("the label table would be replaced by another one", path=target, hint=hint)
    group.create(target).write(table.to_text("bids").encode())
    return {}


def _says(path: str, table: LabelTable | None) -> bool:
    """Tell whether a file holds a table."""
    try:
        return table is not None and _parsed(PathSource(path).head(_MOST_BYTES), strict=False) == table
    except MedImgError:
        return False


def _other_image(path: str) -> str | None:
    """Return an image in the folder of another one that has the same name but for the suffix."""
    folder, stem = os.path.dirname(path) or ".", os.path.basename(split_suffix(path)[0])
    for name in sorted(os.listdir(folder)):
        found, suffix, _ = split_suffix(name)
        if found == stem and knows_suffix(suffix) and name != os.path.basename(path):
            return name
    return None


def _travels(source: str, target: str, before: Header, after: Header) -> bool:
    """Tell whether an image has its table from the file beside it, which is to lie beside the output as well."""
    old, new = table_path(source), table_path(target)
    if not before.labels or not after.labels or not os.path.isfile(old) or not _says(old, before.labels):
        return False
    if os.path.realpath(old) == os.path.realpath(new):
        return before.labels != after.labels and os.path.realpath(source) == os.path.realpath(target)
    return not _says(new, after.labels.fit("bids"))


def refuse_table(source: str, target: str, *, before: Header, after: Header, force: bool) -> None:
    """Refuse, before an image is written, a label table that could not be written after it; see `copy_table`.

    Raises
    ------
    StorageError
        If there is one to copy, its target exists, and ``force`` is False.
    """
    new = table_path(target)
    if not force and os.path.lexists(new) and _travels(source, target, before, after):
        raise StorageError("the label table exists", path=new, hint="use --force to replace it")


def copy_table(source: str, target: str, *, before: Header, after: Header, force: bool) -> str | None:
    """Copy the label table beside an image to where it was written, with the numbers and names of today.

    Parameters
    ----------
    source, target : str
        The two images.
    before, after : Header
        Of the image read and the image written.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    str or None
        The file written; None where there is none to copy, or it is there already.
    """
    from medimg_cli.storage.atomic import AtomicGroup

    if not _travels(source, target, before, after) or after.labels is None:
        return None
    new = table_path(target)
    same = before.labels == after.labels
    content = PathSource(table_path(source)).head(_MOST_BYTES) if same else after.labels.to_text("bids").encode()
    with AtomicGroup(force=force) as group:
        group.create(new).write(content)
    return new


def stale_table(path: str, header: Header) -> list[str]:
    """Say so where a label table lies beside an image that was just written without one."""
    name = table_path(path)
    if (
        header.labels
        or not os.path.isfile(name)
        or not _may_have_table(header, os.path.basename(split_suffix(path)[0]))
    ):
        return []
    try:
        if _parsed(PathSource(name).head(_MOST_BYTES), strict=False) is None:
            return []
    except MedImgError:
        pass
    return [f"{os.path.basename(name)} beside the output was there before and is not its own"]

"""Files that travel with an image: ``X.bval`` and ``X.bvec`` (FSL), ``X.json`` (BIDS), beside ``X.nii.gz``.

Gradients are read into the header and written from it, so they need no mapping here. A JSON sidecar names
voxel axes by letters (BIDS 1.9, "i", "j-" ...) and times slices by their index: both are moved as the axes
were.

Images from DICOM have no JSON sidecar of their own: one is made of what their headers say, beside NIfTI and Analyze,
which hold nothing of it. Its refusals and its axes are those of one that is copied.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, MedImgError, NotFoundError, StorageError
from medimg_cli.formats import open_backend, split_suffix
from medimg_cli.header import Gradients, Header
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.source import ByteSource, open_source

__all__ = [
    "Moved",
    "copy_sidecar",
    "gradient_files",
    "moved_axes",
    "parse_gradients",
    "read_facts",
    "read_gradients",
    "refuse_sidecar",
    "sidecar_paths",
    "stale_gradients",
    "turned",
    "write_sidecars",
]

_MOST_BYTES = 1 << 24
_SUFFIXES = ("bval", "bvec", "json")
#: Formats whose gradients lie beside the image; the others hold them or cannot.
_BESIDE = (".nii", ".hdr", ".img", ".nia")
_LETTERS = "ijk"
_SIGNED, _PLAIN = ("PhaseEncodingDirection", "SliceEncodingDirection"), ("PhaseEncodingAxis",)
_SLICE_AXIS, _SLICE_TIMES = "SliceEncodingDirection", "SliceTiming"


def sidecar_paths(path: str) -> dict[str, str]:
    """Return the names of the files that would travel with an image.

    >>> sidecar_paths("sub-1/dwi.nii.gz")
    {'bval': 'sub-1/dwi.bval', 'bvec': 'sub-1/dwi.bvec', 'json': 'sub-1/dwi.json'}
    """
    stem = split_suffix(path)[0]
    return {suffix: f"{stem}.{suffix}" for suffix in _SUFFIXES}


def read_facts(path: str) -> dict[str, Any]:
    """Return what the JSON sidecar of an image says; nothing where there is none, or it is no JSON object."""
    import json

    try:
        with open(sidecar_paths(path)["json"], "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def read_gradients(source: ByteSource, base: str | None = None) -> Gradients | None:
    """Read the gradient table beside an image; None where there is none.

    Parameters
    ----------
    source : ByteSource
        The image.
    base : str, optional
        Its name without folder and suffix.

    Raises
    ------
    FormatError
        If one of the two files is missing, or they are no table.
    """
    if base is None:
        base = split_suffix(source.name)[0].rpartition("/")[2]
    try:
        bvals = source.sibling(base + ".bval")
    except MedImgError:
        return None
    try:
        bvecs = source.sibling(base + ".bvec")
    except MedImgError:
        raise FormatError(f"{base}.bval has no {base}.bvec beside it, gradients are ignored") from None
    return parse_gradients(_text(bvals), _text(bvecs), base)


def _text(source: ByteSource) -> str:
    return source.head(_MOST_BYTES).decode("latin-1")


def parse_gradients(bvals: str, bvecs: str, name: str) -> Gradients:
    """Read the text of the two files.

    Parameters
    ----------
    bvals : str
        Numbers in s/mm2, in one line or one column.
    bvecs : str
        Three lines of N numbers, or N lines of three.
    name : str
        What messages call them.

    Raises
    ------
    FormatError
        If something is no number, or the counts differ.

    Examples
    --------
    >>> parse_gradients("0 1000", "0 1\\n0 0\\n0 0", "dwi").bvecs
    ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    """
    values = [value for row in _rows(bvals, f"{name}.bval") for value in row]
    rows = _rows(bvecs, f"{name}.bvec")
    if len(rows) == 3 and all(len(row) == len(values) for row in rows):
        vectors = list(zip(*rows, strict=True))
    elif len(rows) == len(values) and all(len(row) == 3 for row in rows):
        vectors = [(row[0], row[1], row[2]) for row in rows]
    else:
        raise FormatError(f"{name}.bval and {name}.bvec are no table of {len(values)} gradients and are ignored")
    directions = []
    for x, y, z in vectors:
        known = x == x and y == y and z == z  # NaN where there is no direction, at b = 0
        directions.append((x, y, z) if known else (0.0, 0.0, 0.0))
    if not all(isfinite(value) for row in [values, *directions] for value in row):
        raise FormatError(f"{name}.bval and {name}.bvec hold infinite numbers and are ignored")
    return Gradients(tuple(values), tuple(directions))


def _rows(text: str, name: str) -> list[list[float]]:
    try:
        rows = [[float(word) for word in line.replace(",", " ").split()] for line in text.splitlines()]
    except ValueError:
        raise FormatError(f"{name} holds something that is no number, gradients are ignored") from None
    return [row for row in rows if row]


def gradient_files(header: Header, path: str) -> tuple[tuple[str, bytes], ...]:
    """Return names and contents of the gradient files beside an output; none where the format holds them.

    Parameters
    ----------
    header : Header
        As it will be read from the output.
    path : str
        The output.
    """
    if header.gradients is None or split_suffix(path)[1] not in _BESIDE:
        return ()
    names = sidecar_paths(path)
    bvals = " ".join(_shown(value) for value in header.gradients.bvals) + "\n"
    columns = zip(*header.gradients.bvecs, strict=True)
    bvecs = "".join(" ".join(_shown(value) for value in row) + "\n" for row in columns)
    return (names["bval"], bvals.encode()), (names["bvec"], bvecs.encode())


def _shown(value: float) -> str:
    """Print a number so that it comes back the same; whole ones without a point, as people write b-values."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


class Moved(NamedTuple):
    """How the axes of an image were moved.

    Parameters
    ----------
    axes : tuple of (old axis, +1 or -1)
        Per new axis, as `orientation.transform_between` says it.
    positions : tuple of (range or None)
        Per new axis the old index of each of its voxels; None where they lie between old ones, or outside.
    shape_before : (I, J, K)
    """

    axes: tuple[tuple[int, int], ...]
    positions: tuple[range | None, ...]
    shape_before: tuple[int, int, int]

    @property
    def idle(self) -> bool:
        """Whether nothing moved."""
        whole = tuple(range(size) for size in self.shape_before)
        return self.axes == ((0, 1), (1, 1), (2, 1)) and self.positions == whole


def moved_axes(voxel_map: AffineMatrix, before: Sequence[int], after: Sequence[int]) -> Moved:
    """Find out how axes moved from the map of new voxels to old ones.

    Parameters
    ----------
    voxel_map : AffineMatrix
        New voxel -> old voxel.
    before, after : 3 ints
        Voxels along the axes.

    Examples -------- >>> moved_axes(AffineMatrix([[0, -1, 0, 9], [1, 0, 0, 0], [0, 0, 1, 2]]), (10, 8, 7),
    (8, 10, 5)) Moved(axes=((1, 1), (0, -1), (2, 1)), positions=(range(0, 8), range(9, -1, -1), range(2, 7)),
    shape_before=(10, 8, 7))
    """
    from medimg_cli.orientation import axes_of

    axes = axes_of(voxel_map.rows)
    positions: list[range | None] = []
    for new, (old, _) in enumerate(axes):
        column = [row[new] for row in voxel_map.rows[:3]]
        step, start = round(column[old]), round(voxel_map[old, 3])
        exact = all(abs(value - (step if n == old else 0)) < 1e-3 for n, value in enumerate(column))
        exact = exact and abs(voxel_map[old, 3] - start) < 1e-2 and step != 0
        span = range(start, start + step * after[new], step or 1)
        inside = exact and 0 <= span[0] < before[old] and 0 <= span[-1] < before[old]
        positions.append(span if inside else None)
    i, j, k = before
    return Moved(axes, tuple(positions), (i, j, k))


def turned(facts: dict[str, Any], moved: Moved) -> dict[str, Any]:
    """Return the content of a JSON sidecar for the new axes.

    Letters follow their axis. ``SliceTiming`` stays in the order of rising (or, with a minus, falling) slice
    index, picks the slices that are left, and is dropped where slices are no longer those that were acquired.

    Examples
    --------
    >>> flipped = Moved(((0, 1), (1, 1), (2, -1)), (range(4), range(4), range(2, -1, -1)), (4, 4, 3))
    >>> turned({"SliceTiming": [0, 1, 2], "PhaseEncodingDirection": "k-"}, flipped)
    {'SliceTiming': [2, 1, 0], 'PhaseEncodingDirection': 'k'}
    """
    found = dict(facts)
    for key in (*_SIGNED, *_PLAIN):
        letter = _axis_letter(facts.get(key))
        if letter is None:
            continue
        axis, sign = letter
        new, turn = _new_axis(moved, axis)
        timed = key == _SLICE_AXIS and _SLICE_TIMES in facts  # then the list is turned, not the letter
        minus = (sign if timed else sign * turn) < 0 and key not in _PLAIN
        found[key] = _LETTERS[new] + ("-" if minus else "")
    times = facts.get(_SLICE_TIMES)
    if not isinstance(times, list):
        return found
    axis, sign = _axis_letter(facts.get(_SLICE_AXIS)) or (2, 1)
    new, _ = _new_axis(moved, axis)
    positions = moved.positions[new]
    if positions == range(moved.shape_before[axis]):
        picked: list[Any] | None = times
    elif positions is None or len(times) != moved.shape_before[axis]:
        picked = None
    else:
        by_slice = times[::sign]
        picked = [by_slice[position] for position in positions][::sign]
    if picked is None:
        del found[_SLICE_TIMES]
    else:
        found[_SLICE_TIMES] = picked
        if new != 2 and _SLICE_AXIS not in facts:
            found[_SLICE_AXIS] = _LETTERS[new]
    return found


def _axis_letter(value: Any) -> tuple[int, int] | None:
    """Read "i", "j-" ... as axis and sign."""
    if not isinstance(value, str) or value[:1] not in tuple(_LETTERS) or value[1:] not in ("", "-", "+"):
        return None
    return _LETTERS.index(value[0]), -1 if value.endswith("-") else 1


def _new_axis(moved: Moved, old: int) -> tuple[int, int]:
    """Return where an old axis is now, and whether it runs backwards."""
    for new, (axis, sign) in enumerate(moved.axes):
        if axis == old:
            return new, sign
    raise AssertionError("every old axis has a new one")


def copy_sidecar(
    source: str, target: str, header: Header, *, before: Header | None = None, force: bool = False
) -> str | None:
    """Copy the JSON sidecar of an image to where it was written, its axes moved as the image's were.

    Parameters
    ----------
    source, target : str
        The two images.
    header : Header
        Of the image written; its history goes on where that of ``source`` ends.
    before : Header, optional
        Of the image read; must be given where it has been overwritten meanwhile, and where the sidecar is to be made
        of it (DICOM), else it is read again.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    str or None
        The file written; None where there is no sidecar, or it is the one that is there already.

    Raises
    ------
    StorageError
        If the target's sidecar exists and ``force`` is False, or writing fails.
    """
    own = os.path.isfile(sidecar_paths(source)["json"])
    if not own and _made(before, target) is None:
        return None
    before = open_backend(source).header if before is None else before
    steps = header.history[len(before.history) :]
    if header.history[: len(before.history)] == before.history:
        total = AffineMatrix()
        for step in steps:
            total = total @ AffineMatrix(step["voxel_map"])
    elif before.affine.is_singular:
        total = AffineMatrix()
    else:
        total = before.affine.inverse() @ header.affine
    moved = moved_axes(total, before.shape[1:], header.shape[1:])
    made = None if own else _made(before, target)
    return write_json(source, target, moved, force=force) if made is None else _write_made(made, target, moved, force)


def _made(header: Header | None, target: str) -> dict[str, Any] | None:
    """Return the sidecar that a reader made of the header of its files (DICOM); None where none goes beside a target.

    Formats that hold key-values of their own get none.
    """
    if header is None or header.native is None or split_suffix(target)[1] not in _BESIDE:
        return None
    return getattr(header.native.data, "sidecar", None) or None


def _write_made(facts: dict[str, Any], target: str, moved: Moved, force: bool) -> str:
    import json

    path = sidecar_paths(target)["json"]
    text = json.dumps(turned(facts, moved), indent="\t", ensure_ascii=False)
    with AtomicGroup(force=force) as group:
        group.create(path).write(text.encode() + b"\n")
    return path


def refuse_sidecar(source: str, target: str, *, force: bool, before: Header | None = None) -> None:
    """Refuse, before an image is written, a sidecar that could not be written after it.

    Parameters
    ----------
    source, target : str
        The two images.
    force : bool
        Whether an existing file may be replaced.
    before : Header, optional
        Of the image read, which can have a sidecar without a file of it.

    Raises
    ------
    StorageError
        If there is one to copy, its target exists, and ``force`` is False.
    """
    old, new = sidecar_paths(source)["json"], sidecar_paths(target)["json"]
    if force or not os.path.lexists(new) or os.path.realpath(old) == os.path.realpath(new):
        return
    if os.path.isfile(old) or _made(before, target) is not None:
        raise StorageError("the sidecar exists", path=new, hint="use --force to replace it")


def stale_gradients(path: str, header: Header) -> list[str]:
    """Say so where gradient files lie beside an image that was just written without gradients."""
    names = sidecar_paths(path)
    if header.gradients is not None or header.channels < 2 or split_suffix(path)[1] not in _BESIDE:
        return []
    found = [os.path.basename(names[suffix]) for suffix in ("bval", "bvec") if os.path.exists(names[suffix])]
    return [f"{' and '.join(found)} beside the output were there before and are not its own"] if found else []


def write_json(source: str, target: str, moved: Moved, *, force: bool = False) -> str | None:
    """Write the JSON sidecar of an image beside another one; see `copy_sidecar`.

    A sidecar that is no JSON object is copied where nothing moved and left behind otherwise.
    """
    old, new = sidecar_paths(source)["json"], sidecar_paths(target)["json"]
    shared = os.path.realpath(old) == os.path.realpath(new)
    if shared and (moved.idle or os.path.realpath(source) != os.path.realpath(target)):
        return None  # it stays that of the image it belongs to
    try:
        content = open_source(old).head(_MOST_BYTES)
    except NotFoundError:
        return None
    if not moved.idle:
        changed = _turned_text(content, moved)
        if changed is None:
            return None
        content = changed
    with AtomicGroup(force=force) as group:
        group.create(new).write(content)
    return new


def _turned_text(content: bytes, moved: Moved) -> bytes | None:
    """Return a sidecar for the new axes, in the style of the old one; None where it is no JSON object."""
    import json

    try:
        facts = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    changed = turned(facts, moved)
    if changed == facts:
        return content
    start = content.lstrip().removeprefix(b"{")
    indent = start[: len(start) - len(start.lstrip())].rpartition(b"\n")[2].decode() if b"\n" in content else None
    text = json.dumps(changed, indent=indent, ensure_ascii=False)
    return text.encode() + (b"\n" if content.endswith(b"\n") else b"")


def write_sidecars(
    source: str, target: str, header: Header, moved: Moved | None = None, *, force: bool = False
) -> list[str]:
    """Write all files that travel with an image beside an output.

    Parameters
    ----------
    source, target : str
        The image read and the image written.
    header : Header
        As the output holds it.
    moved : Moved, optional
        How its axes moved; found from the histories where left out.
    force : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of str
        The files written.
    """
    written = []
    with AtomicGroup(force=force) as group:
        for name, content in gradient_files(header, target):
            group.create(name).write(content)
            written.append(name)
    if moved is None:
        copied = copy_sidecar(source, target, header, force=force)
    else:
        copied = write_json(source, target, moved, force=force)
    return [*written, copied] if copied else written

"""Manifests: what a folder of images is to hold, in a file beside them that git shows the changes of.

A manifest is text: a line of JSON that says what it is, and one an image, sorted by path::

    {"schema": "medimg.manifest/1", "canonical": false}
    {"path": "sub-01/t1.nii.gz", "hash": "medimg1:...", "voxels_hash": "medimg1-voxels:...", "geometry": [20, ...],
     "shape": [1, 256, 256, 176], "spacing_mm": [1.0, 1.0, 1.2], "orientation": "RAS", "dtype": "int16",
     "format": "nifti1"}

(each on one line). Paths are relative to the folder of the manifest, with slashes; none leads out of it. An image of
DICOM also has ``series``: its UID and number, and the label that tells it from others of the same series. The hashes
are those of :mod:`medimg_cli.hashing`, and ``hash`` follows from ``voxels_hash`` and ``geometry``: a line that was
edited by hand is noticed. The same images give the same bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from math import dist
from typing import Any, NamedTuple

from medimg_cli.digesting import Hashing, hash_images
from medimg_cli.errors import FormatError, NotFoundError, StorageError, UnsupportedError, UsageError
from medimg_cli.facts import find_images
from medimg_cli.listing import Listing, failed
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.urls import is_url, public_name

__all__ = ["SCHEMA", "VERIFIED", "Manifest", "places", "read_manifest", "verify_manifest", "write_manifest"]

SCHEMA = "medimg.manifest/1"
VERIFIED = "medimg.verify/1"

SUFFIX = ".jsonl"
_FACTS = ("shape", "spacing_mm", "orientation", "dtype", "format")
_HASHES = ("hash", "voxels_hash", "geometry")

#: Bytes of a manifest, and of one line of it, at most: 300,000 images; a path of 4096 strange bytes.
_LARGEST, _LONGEST = 1 << 27, 1 << 16

Key = tuple[str, str, int, str]
"""Path; UID and number of the series, and label: what stands for one image."""


class Manifest(NamedTuple):
    """What a manifest says.

    Parameters
    ----------
    folder : str
        Where it lies, "" for here: paths are relative to that.
    canonical : bool
        Whether images were turned to RAS+ first.
    images : mapping of (path, UID, number, label) to mapping
        Hashes and facts.
    """

    folder: str
    canonical: bool
    images: Mapping[Key, Mapping[str, Any]]


# -- writing --------------------------------------------------------------------------------------------------------


def places(manifest: str, paths: Sequence[str]) -> list[str]:
    """Return the paths that a command is about: those that are given, or the whole folder of the manifest.

    Raises
    ------
    UsageError
        If one does not lie in the folder of the manifest.
    """
    folder = os.path.dirname(manifest)
    for path in paths:
        _relative(path, folder)
    return list(paths) or [folder or os.curdir]


def write_manifest(
    path: str, records: Iterable[Mapping[str, Any]], *, canonical: bool = False, force: bool = False
) -> list[Mapping[str, Any]]:
    """Write the manifest of images, whole or not at all.

    Parameters
    ----------
    path : str
        Ends in ``.jsonl``.
    records : iterable of mapping
        Of `digesting.hash_images`; looked at when the file is known to be writable. Those that failed are left out.
    canonical : bool
        Whether images were turned to RAS+ first.
    force : bool
        Replace an existing file.

    Returns
    -------
    list of mapping
        The records that are in it.

    Raises
    ------
    UsageError
        If the name has another ending, an image lies outside the folder of the manifest, or none could be read.
    StorageError
        If the file exists and ``force`` is False, or cannot be written.
    """
    if not path.endswith(SUFFIX):
        raise UsageError(f"--manifest {path}", hint=f"the name of a manifest ends in {SUFFIX}")
    folder = os.path.dirname(path)
    found: dict[Key, Mapping[str, Any]] = {}
    with AtomicGroup(force=force) as group:
        file = group.create(path)
        for record in records:
            if "error" not in record:
                key = _key(_relative(record["path"], folder), record["series"])
                if found.setdefault(key, record)["hash"] != record["hash"]:
                    raise UnsupportedError("holds two images that nothing tells apart", path=record["path"])
        if not found:
            raise UsageError("no image could be read, and no manifest is written", path=path)
        lines = [{"schema": SCHEMA, "canonical": canonical}, *(_line(key, found[key]) for key in sorted(found))]
        file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    return [found[key] for key in sorted(found)]


def _line(key: Key, record: Mapping[str, Any]) -> dict[str, Any]:
    series = {} if record["series"] is None else {"series": _series(key)}
    return {"path": key[0], **series, **{name: record[name] for name in (*_HASHES, *_FACTS)}}


def _key(path: str, series: Mapping[str, Any] | None) -> Key:
    series = series or {}
    number = series.get("number")
    return path, series.get("uid") or "", -1 if number is None else number, series.get("label") or ""


def _series(key: Key) -> dict[str, Any]:
    _, uid, number, label = key
    return {"uid": uid or None, "number": None if number == -1 else number, "label": label or None}


def _relative(path: str, folder: str) -> str:
    """Return the path of an image as a manifest in a folder has it.

    Raises
    ------
    UsageError
        If it does not lie there.
    """
    if path == "-" or is_url(path):
        what = "standard input" if path == "-" else public_name(path)
        raise UsageError(f"{what} lies in no folder, and so in no manifest", hint="name files and folders")
    found = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    if found.split(os.sep)[0] == os.pardir:
        hint = "a manifest lies in a folder above all of its images"
        raise UsageError("lies outside the folder of the manifest", path=path, hint=hint)
    return found.replace(os.sep, "/")


# -- reading --------------------------------------------------------------------------------------------------------


def read_manifest(path: str) -> Manifest:
    """Read a manifest, and believe nothing in it.

    Raises
    ------
    NotFoundError
        If it does not exist.
    StorageError
        If it cannot be read.
    FormatError
        If it is no manifest, one of another version, larger than any is, or a line of it makes no sense: a path that
        leads out of the folder or is there twice, a hash that does not fit its parts.
    """
    if not os.path.exists(path):
        raise NotFoundError("no such file", path=path)
    if not os.path.isfile(path):
        raise StorageError("is no regular file", path=path)
    if os.path.getsize(path) > _LARGEST:
        raise FormatError(f"is larger than {_LARGEST >> 20} MB, no manifest is", path=path)
    images: dict[Key, Mapping[str, Any]] = {}
    with open(path, "rb") as file:
        canonical = _canonical(file.readline(_LONGEST), path)
        for number, raw in enumerate(iter(lambda: file.readline(_LONGEST), b""), 2):
            if not raw.strip():
                continue
            try:
                line = _parsed(raw)
                _check(line, canonical)
                key = _key(line["path"], line.get("series"))
                if key in images:
                    raise ValueError("its image is there twice")
            except ValueError as error:
                raise FormatError(f"line {number}: {error}", path=path) from None
            images[key] = line
    return Manifest(os.path.dirname(path), canonical, images)


def _canonical(raw: bytes, path: str) -> bool:
    """Read the first line: is this a manifest, of this version, and of turned images?"""
    try:
        head = _parsed(raw)
        schema = str(head.get("schema"))
    except ValueError:
        schema = ""
    if schema == SCHEMA and isinstance(head.get("canonical"), bool):
        return bool(head["canonical"])
    if schema.startswith("medimg.manifest/") and schema != SCHEMA:
        raise FormatError(f"is of version {schema[:40]!r}, expected {SCHEMA!r}", path=path, hint="use a newer medimg")
    raise FormatError("is no manifest of medimg", path=path, hint="write one with: medimg hash --manifest FILE")


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("is no JSON, or too long") from None
    if not isinstance(line, dict):
        raise ValueError("is no JSON object")
    return line


def _check(line: Mapping[str, Any], canonical: bool) -> None:
    """Refuse a line that no manifest has.

    Raises
    ------
    ValueError
        With a sentence for the user.
    """
    path, series, geometry = line.get("path"), line.get("series", {}), line.get("geometry", ())
    if not isinstance(path, str) or not path or "\0" in path or path != os.path.normpath(path):
        raise ValueError("its path is no plain relative path")
    if os.path.isabs(path) or path.split("/")[0] == "..":
        raise ValueError("its path leads out of the folder")
    words = {"uid": str, "number": int, "label": str}
    if not isinstance(series, dict) or not all(isinstance(series.get(w), (t, type(None))) for w, t in words.items()):
        raise ValueError("its series makes no sense")
    if not _is_row(geometry, 13, int) or geometry[0] < 1:
        raise ValueError("its geometry is no list of 13 integers, the first above 0")
    voxels = str(line.get("voxels_hash"))
    if line.get("hash") != _hash_of(voxels, geometry, canonical):
        raise ValueError("its hash does not fit its voxels_hash and geometry")
    if not _is_row(line.get("shape"), 4, int) or not _is_row(line.get("spacing_mm"), 3, int, float):
        raise ValueError("its shape or spacing_mm is missing, or no list of numbers")
    if not all(isinstance(line.get(name), str) for name in ("orientation", "dtype", "format")):
        raise ValueError("its orientation, dtype or format is missing, or no text")


def _is_row(value: object, count: int, *kinds: type) -> bool:
    return isinstance(value, list) and len(value) == count and all(type(item) in kinds for item in value)


def _hash_of(voxels: str, geometry: Sequence[int], canonical: bool) -> str | None:
    """Return the hash that follows from its parts; None where the first is no voxel hash."""
    from medimg_cli.hashing import ImageHash

    found = ImageHash(voxels.rpartition(":")[2], tuple(geometry), canonical)
    return found.image if re.fullmatch("[0-9a-f]{64}", found.voxels) and found.values == voxels else None


# -- verifying ------------------------------------------------------------------------------------------------------


def verify_manifest(manifest: Manifest, paths: Iterable[str], wanted: Hashing) -> Iterator[Listing]:
    """Compare a folder with its manifest.

    Parameters
    ----------
    manifest : Manifest
    paths : iterable of str
        Files and folders in the folder of the manifest: what is not below them is not looked at.
    wanted : Hashing
        Its ``canonical`` is that of the manifest. Where it chooses a series, no other one is looked for.

    Yields
    ------
    Listing
        One an image, sorted by path. A record of `VERIFIED` has a ``status``: "same", "missing", "new", or "changed",
        and then in ``changed`` what: "voxels", "geometry", or nothing but "header". ``differences`` are facts, before
        and after; ``shift_mm`` is how far the geometry moved. Where an image could not be read, ``error``.
    """
    listed: dict[str, list[Key]] = {}
    found: set[str] = set()
    chosen = wanted.reading is not None and wanted.reading.series is not None
    for path in paths:
        scope = _relative(path, manifest.folder)
        keys = [key for key in manifest.images if scope == os.curdir or f"{key[0]}/".startswith(f"{scope}/")]
        if not keys and not os.path.exists(path):
            yield failed(VERIFIED, path, NotFoundError("no such file", path=path))
        for key in keys:
            if key not in listed.setdefault(key[0], []):
                listed[key[0]].append(key)
        found.update(_relative(image, manifest.folder) for image in _images(path))
    dicom = {key[0] for key, line in manifest.images.items() if line["format"] == "dicom"}
    new = {path for each in found for path in _unlisted(each, manifest.folder, listed, dicom)}
    there = {path: _place(path, manifest.folder) for path in sorted(listed)}
    there = {path: name for path, name in there.items() if _is_readable(name)}
    hashed = groupby(hash_images(there.values(), wanted), key=lambda listing: listing.path)
    for path in sorted({*listed, *new}):
        name = _place(path, manifest.folder)
        refusal = None if path in there else _refusal(name)
        if refusal is not None:
            yield failed(VERIFIED, name, refusal)
        elif path in new:
            yield Listing(name, (_record(name, None, "new"),))
        elif path in there:
            yield from _compared(name, listed[path], manifest, list(next(hashed)[1]), chosen=chosen)
        elif os.path.exists(name):
            yield failed(VERIFIED, name, StorageError("is no regular file", path=name))
        else:
            yield from (Listing(name, (_record(name, key, "missing"),)) for key in sorted(listed[path]))


def _place(path: str, folder: str) -> str:
    """Return where a path of a manifest is; a file that is called - is not standard input."""
    name = os.path.join(folder, path) if path != os.curdir else folder or path
    return name if name != "-" else os.path.join(os.curdir, name)


def _is_readable(path: str) -> bool:
    """Tell whether a path is there, and no pipe, socket or device."""
    return os.path.isfile(path) or os.path.isdir(path)


def _refusal(path: str) -> PermissionError | None:
    """Return why nobody here may look at a path; None where one may, or where nothing is."""
    try:
        os.scandir(path).close() if os.path.isdir(path) else os.stat(path)
    except PermissionError as error:
        return error
    except OSError:
        return None
    return None


def _images(path: str) -> Iterator[str]:
    """Yield the images of a folder, or the file itself; nothing where there is none."""
    if os.path.exists(path):
        try:
            yield from find_images([path], recursive=True)
        except UsageError:
            return


def _unlisted(path: str, folder: str, listed: Collection[str], dicom: Collection[str]) -> set[str]:
    """Return what the manifest does not list of an image that was found.

    Parameters
    ----------
    path : str
        Of the image, in the folder of the manifest. A folder of DICOM stands for all files below it.
    folder : str
        That of the manifest.
    listed, dicom : collection of str
        All paths of the manifest, and those of DICOM: of folders, or of files one by one.

    Returns
    -------
    set of str
        The path; of a folder with images of DICOM that are listed, files that are neither listed nor below these.
    """
    from medimg_cli.formats.folders import holds_dicom

    if path in listed:
        return set()
    if not any(path == os.curdir or name.startswith(f"{path}/") for name in dicom):
        return {path}
    found = set()
    for place, folders, names in os.walk(_place(path, folder)):
        folders[:] = (name for name in folders if not name.startswith("."))
        files = (_relative(os.path.join(place, name), folder) for name in names if holds_dicom(place, [name]))
        found |= {file for file in files if not _is_below(file, dicom)}
    return found


def _is_below(path: str, listed: Collection[str]) -> bool:
    """Tell whether a path or a folder that it lies in is listed."""
    return path in listed or any(path[:place] in listed for place, letter in enumerate(path) if letter == "/")


def _compared(
    name: str, keys: Sequence[Key], manifest: Manifest, listings: Sequence[Listing], *, chosen: bool
) -> Iterator[Listing]:
    """Compare the images that one path holds with those that it is to hold; of a chosen series, nothing is missing."""
    if any("series" not in listing.records[0] for listing in listings):  # not even its series are known
        yield from (_failed(listing) for listing in listings)
        return
    now = {_key(keys[0][0], listing.records[0]["series"]): listing for listing in listings}
    for key in sorted({*(() if chosen else keys), *now}):
        if key not in now:
            yield Listing(name, (_record(name, key, "missing"),))
        elif "error" in now[key].records[0]:
            yield _failed(now[key])
        elif key not in manifest.images:
            yield Listing(name, (_record(name, key, "new"),))
        else:
            facts = _changes(manifest.images[key], now[key].records[0])
            yield Listing(name, ({**_record(name, key, "changed" if facts["changed"] else "same"), **facts},))


def _failed(listing: Listing) -> Listing:
    return listing._replace(records=tuple({**record, "schema": VERIFIED} for record in listing.records), warnings=())


def _record(name: str, key: Key | None, status: str) -> dict[str, Any]:
    series = _series(key) if key is not None and key[1:] != ("", -1, "") else None
    facts: dict[str, Any] = {"changed": [], "shift_mm": None, "differences": []}
    return {"schema": VERIFIED, "path": name, "series": series, "status": status, **facts}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Say what of an image is no longer as it was."""
    changed = []
    moved = before["geometry"] != after["geometry"]
    if before["voxels_hash"] != after["voxels_hash"]:
        changed.append("voxels")
    if moved:
        changed.append("geometry")
    differences = [
        {"fact": name, "before": before[name], "after": after[name]} for name in _FACTS if before[name] != after[name]
    ]
    if differences and not changed:
        changed.append("header")
    shift = _shift(before["geometry"], after["geometry"]) if moved else None
    return {"changed": changed, "shift_mm": shift, "differences": differences}


def _shift(before: Sequence[int], after: Sequence[int]) -> float | None:
    """Return how far the farthest of the four points moved, in mm; None where numbers are beyond floats."""
    try:
        a, b = ([x / numbers[0] for x in numbers[1:]] for numbers in (before, after))
        return round(max(dist(a[n : n + 3], b[n : n + 3]) for n in range(0, 12, 3)), 6)
    except OverflowError:
        return None

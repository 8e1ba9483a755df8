"""``medimg hash``: digests of images, manifests of folders, and whether folders still hold what their manifest says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

import typer

from medimg_cli.cli.options import Form, with_options
from medimg_cli.cli.render import Column, Console, emit, emit_fields, escape, value_text
from medimg_cli.cli.running import Tally
from medimg_cli.digesting import Hashing, hash_images
from medimg_cli.errors import UsageError
from medimg_cli.formats.reading import Reading
from medimg_cli.storage.urls import public_name
from medimg_cli.text import counted

__all__ = ["hash_"]


@with_options
def hash_(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Images, or - for standard input; with a manifest, default: its folder.",
            show_default=False,
        ),
    ] = None,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Hash the image turned to RAS+: the order of storage is no matter.")
    ] = False,
    voxels: Annotated[bool, typer.Option("--voxels", help="Hash shape and values only, wherever they lie.")] = False,
    manifest: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write hashes and facts to this file, which ends in .jsonl.")
    ] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="FILE", help="Say what is missing, changed and new since this was written.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an existing manifest.")] = False,
    form: Form = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Print the bare value of this key of --json, one line per image; may be repeated."
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look for images in folders; with a manifest, always.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Work on N images at a time; 0 is one per core.")
    ] = 1,
    *,
    reading: Reading,
    console: Console,
) -> int:
    """Print a hash of the values, shape and geometry of images, which does not depend on the files they come in.

    Container, compression, dtype, byte order, scaling and header text do not count: a scan converted to another format
    has the hash it had. A shift of 0.1 mm or one voxel that differs gives another hash. How axes are stored counts,
    unless --canonical turns images to RAS+ first. The page on hashes says how to compute them without medimg.

    --manifest writes a line for each image below a folder: path, hash, shape, spacing, orientation, dtype and format,
    sorted, so that git shows what changes. --verify reads all images again and says which are missing, new or
    changed, and whether that is in voxels, geometry or only the header; the exit code is then 1. An image that fails
    does not stop the others; the exit code is then 2.

    Examples:

        medimg hash scan.nii.gz scan.nrrd
        medimg hash --canonical --recursive study/
        medimg hash --manifest study/images.jsonl --jobs 0
        medimg hash --verify study/images.jsonl
        medimg hash --verify study/images.jsonl --json study/sub-01
    """
    _check(manifest, verify, canonical=canonical, voxels=voxels, force=force)
    wanted = Hashing(canonical=canonical, voxels=voxels, reading=reading, jobs=jobs)
    chosen = _Chosen("json" if json else form, field or (), console)
    if verify is not None:
        return _verify(verify, paths or (), wanted, chosen)
    if manifest is not None:
        return _write(manifest, paths or (), wanted, chosen, force=force)
    if not paths:
        raise UsageError("no images", hint="give PATH..., or --verify FILE")
    tally = Tally(hash_images(paths, wanted, recursive=recursive), console)
    chosen.show(tally, _show_hashes)
    return 2 if tally.failed else 0


def _check(manifest: str | None, verify: str | None, *, canonical: bool, voxels: bool, force: bool) -> None:
    """Refuse options that make no sense together."""
    if manifest is not None and verify is not None:
        raise UsageError("--manifest and --verify exclude each other", hint="give one of them")
    if voxels and (manifest is not None or verify is not None):
        raise UsageError("a manifest holds both hashes of an image", hint="leave out --voxels")
    if verify is not None and (canonical or force):
        word = "--canonical" if canonical else "--force"
        raise UsageError(f"{word} says nothing to --verify", hint="the manifest says which images, and how")
    if force and manifest is None:
        raise UsageError("--force replaces a manifest, and none is written", hint="give --manifest FILE")


class _Chosen:
    """How records are printed.

    Parameters
    ----------
    form : str
    fields : sequence of str
        Keys whose bare values are printed instead.
    console : Console
    """

    def __init__(self, form: str, fields: Sequence[str], console: Console) -> None:
        self.form, self.fields, self.console = form, fields, console

    def show(
        self, records: Iterable[Mapping[str, Any]], table: Callable[[Iterable[Mapping[str, Any]], Console], None]
    ) -> None:
        """Print records as they were asked for; ``table`` prints them where nothing was."""
        if self.fields:
            emit_fields(records, self.fields, console=self.console)
        elif self.form != "table":
            emit(self.form, records, columns=(), console=self.console)
        else:
            table(records, self.console)


def _show_hashes(records: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print a line an image, as sha256sum does."""
    for _, group in groupby(records, key=lambda record: record["path"]):
        images = list(group)
        for record in images:
            if "error" not in record:
                console.out(f"{record['hash']}  {escape(_name(record, several=len(images) > 1))}")


def _name(record: Mapping[str, Any], *, several: bool) -> str:
    name = public_name(record["path"])
    return f"{name} @{record['series']['index']}" if several and record["series"] else name


# -- manifests ------------------------------------------------------------------------------------------------------


def _write(path: str, paths: Sequence[str], wanted: Hashing, chosen: _Chosen, *, force: bool) -> int:
    from medimg_cli.manifests import places, write_manifest

    tally = Tally(hash_images(places(path, paths), wanted, recursive=True), chosen.console)
    written = write_manifest(path, tally, canonical=wanted.canonical, force=force)
    left = f", {tally.failed} left out that failed" if tally.failed else ""
    chosen.console.message(f"{path}: {counted(len(written), 'image')}{left}")
    chosen.show(written, _show_nothing)
    return 2 if tally.failed else 0


def _show_nothing(records: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print nothing: the file says it all."""


def _verify(path: str, paths: Sequence[str], wanted: Hashing, chosen: _Chosen) -> int:
    from dataclasses import replace

    from medimg_cli.manifests import places, read_manifest, verify_manifest

    manifest = read_manifest(path)
    wanted = replace(wanted, canonical=manifest.canonical)
    tally = _Verdict(verify_manifest(manifest, places(path, paths), wanted), chosen.console)
    chosen.show(tally, _show_changes)
    chosen.console.message(tally.summary())
    return tally.code


class _Verdict(Tally):
    """Records of what was verified, and how many of them have each status."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        self.counts = dict.fromkeys(("same", "changed", "missing", "new", "failed"), 0)
        for record in super().__iter__():
            self.counts[_status(record)] += 1
            yield record

    @property
    def code(self) -> int:
        """Exit code: 2 if one failed, 1 if one is not as it was, else 0."""
        return 2 if self.counts["failed"] else int(sum(self.counts.values()) > self.counts["same"])

    def summary(self) -> str:
        """Say how many images are as they were."""
        counts = ", ".join(f"{count:,} {status}" for status, count in self.counts.items() if count)
        return f"{counted(sum(self.counts.values()), 'image')}: {counts}" if counts else "no images"


def _status(record: Mapping[str, Any]) -> str:
    return "failed" if "error" in record else str(record["status"])


def _show_changes(records: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print a row for each image that is not as it was."""
    rows = [record for record in records if _status(record) != "same"]
    emit("table", rows, columns=_COLUMNS, console=console)


def _place(record: Mapping[str, Any]) -> str:
    series = record.get("series") or {}
    words = (str(series[word]) for word in ("number", "uid", "label") if series.get(word) is not None)
    return " ".join((public_name(record["path"]), *words))


def _what(record: Mapping[str, Any]) -> str:
    if "error" in record:
        return str(record["error"])
    shift = record["shift_mm"]
    told = {"geometry": "geometry" if shift is None else f"geometry by {shift:g} mm", "header": "header only"}
    facts = [
        f"{one['fact'].removesuffix('_mm')} {value_text(one['before'])} -> {value_text(one['after'])}"
        for one in record["differences"]
    ]
    return "; ".join([*(told.get(word, word) for word in record["changed"]), *facts])


_COLUMNS = (Column("STATUS", _status), Column("PATH", _place), Column("WHAT", _what))

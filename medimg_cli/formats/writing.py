"""Writing an image: what fits, what is lost, and the bytes, to a file that appears whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medimg_cli.errors import LossError, NotFoundError, StorageError
from medimg_cli.formats import Format, codec_module, format_for_output, open_backend, split_suffix
from medimg_cli.formats.tables import table_beside, write_table
from medimg_cli.header import Difference, Header, differences
from medimg_cli.storage.atomic import AtomicGroup, StagedFile
from medimg_cli.storage.atomic_folder import StagedFolder
from medimg_cli.storage.codecs import pack_bits
from medimg_cli.storage.compress import open_sink
from medimg_cli.storage.source import PathSource

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.formats.dicom.targets import DicomSaving
    from medimg_cli.labels import LabelTable
    from medimg_cli.storage.stored import Layout

__all__ = [
    *(
        "Encoded",
        "is_dicom_target",
        "is_naming",
        "is_nothing",
        "keeps_slope",
        "losses",
        "losses_between",
        "save_backend",
    ),
    "what_comes_back",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """How a codec lays an image out in one file, or in a data file and a header file.

    Parameters
    ----------
    layout : Layout
        Where the voxels lie, in which dtype and byte order.
    head, tail : bytes
        What stands before and behind the voxels in the file that holds them.
    compression : str or None
        Codec of that file.
    head_plain : bool
        Whether ``head`` stays uncompressed (NRRD, MetaImage) while the voxels are compressed.
    size_at : (offset, width) or None
        Where in ``head`` the number of compressed bytes belongs, as decimal text, once it is known.
    data_name : str or None
        Name of the file that holds the voxels, where that is not the target itself.
    header : bytes
        Content of the header file, where the voxels are in another one; compressed if ``header_compression``.
    header_compression : str or None
    header_name : str or None
        Name of the header file, where that is not the target itself.
    bits : bool
        Whether voxels of dtype bool go into one bit each, the first into the highest.
    """

    layout: Layout
    head: bytes = b""
    tail: bytes = b""
    compression: str | None = None
    head_plain: bool = False
    size_at: tuple[int, int] | None = None
    data_name: str | None = None
    header: bytes = b""
    header_compression: str | None = None
    header_name: str | None = None
    bits: bool = False


def losses(header: Header, path: str) -> tuple[Difference, ...]:
    """Tell what a file of that name cannot hold of an image; nothing is written."""
    return losses_between(header, what_comes_back(header, path))


def what_comes_back(header: Header, path: str) -> Header:
    """Return what would be read from a file of that name, and from the label table beside it; nothing is written."""
    if is_dicom_target(path):
        return _fit_dicom(header, path)
    fitted: Header = codec_module(format_for_output(path)).fit(header, path)
    return _with_table(fitted, table_beside(header, fitted, path))


def is_dicom_target(path: str) -> bool:
    """Tell whether a name asks for DICOM: a folder, said by a slash, or a file."""
    from medimg_cli.formats.dicom.targets import is_target

    return is_target(path)


def _fit_dicom(header: Header, path: str, saving: DicomSaving | None = None) -> Header:
    from medimg_cli.formats.dicom.targets import DicomSaving, fit

    return fit(header, path, saving or DicomSaving())


def _save_dicom(
    backend: Backend, path: str, saving: DicomSaving | None, force: bool, strict: bool, carried: Header | None
) -> tuple[Difference, ...]:
    """Write DICOM; a loss is told, or refused before anything appears."""
    from medimg_cli.formats.dicom.targets import DicomSaving, save

    lost = losses_between(backend.header, _fit_dicom(backend.header, path, saving), carried)
    _refuse_losses(lost, "DICOM", path, strict)
    save(backend, path, saving or DicomSaving(), force=force)
    return lost


def _refuse_losses(lost: tuple[Difference, ...], title: str, path: str, strict: bool) -> None:
    if strict and lost:
        raise LossError(
            f"{title} cannot hold: " + "; ".join(map(str, lost)), path=path, hint="leave out --strict to accept"
        )


def _with_table(fitted: Header, table: LabelTable | None) -> Header:
    return fitted if table is None else fitted.replace(labels=table)


def losses_between(header: Header, fitted: Header, carried: Header | None = None) -> tuple[Difference, ...]:
    """Return the differences in which something was there before: what a format adds is no loss.

    Nor is history that nobody brought along: what the operations of this call have added to ``carried``.

    Parameters
    ----------
    header : Header
        What is to be written, or was.
    fitted : Header
        What would come back, or has.
    carried : Header, optional
        Of the image before the operations of this call.
    """
    found = [d for d in differences(header, fitted) if not is_nothing(d.before)]
    lost = [d for d in found if d.field != "axes" or not is_naming(d.before, d.after)]
    if carried is not None and not carried.history:
        lost = [d for d in lost if d.field != "history"]
    placed = fitted.format == "dicom" and fitted.orientation_known and not header.orientation_known
    if placed or header.affine_source == "pixdim" != fitted.affine_source:
        note = f"orientation: it was unknown, {'DICOM' if placed else fitted.format} states one"
        lost.append(Difference("orientation", None, "".join(fitted.orientation), note))
    if header.scaled and not fitted.scaled:
        lost = [d for d in lost if d.field not in ("dtype", "slope", "inter")]
        note = f"slope: values are stored as {fitted.dtype}, the format has no slope"
        lost.insert(0, Difference("slope", header.slope, None, note))
    lost += [Difference("values", "exact", "lossy", note) for note in fitted.warnings if note.startswith("lossy")]
    return tuple(lost)


def is_nothing(value: Any) -> bool:
    """Tell whether the value of a field says nothing."""
    return value in (None, "", (), 0) or value == {}


def keeps_slope(header: Header, path: str) -> bool:
    """Tell whether a file of that name can hold an image like this with a slope."""
    if is_dicom_target(path):
        return True
    scaled = header.replace(slope=0.5, inter=1.0)
    fitted: Header = codec_module(format_for_output(path)).fit(scaled, path)
    return fitted.scaled


def is_naming(before: tuple[tuple[str, int], ...], after: tuple[tuple[str, int], ...]) -> bool:
    """Tell whether axes differ only in that plain channels have got a name."""
    pairs = zip(before, after, strict=False)
    return len(before) == len(after) and all(a == b or (a[0] == "channel" and a[1] == b[1]) for a, b in pairs)


def save_backend(
    backend: Backend,
    path: str,
    *,
    level: int | None = None,
    force: bool = False,
    strict: bool = False,
    threads: int | None = None,
    carried: Header | None = None,
    alone: bool = False,
    dicom: DicomSaving | None = None,
) -> tuple[Difference, ...]:
    """Write an image to a file and read its header back.

    A label table that the format has no room for goes into a ``.tsv`` beside the file.

    Parameters
    ----------
    backend : Backend
        The image; its voxels are streamed.
    path : str
        Target; its suffix names the format and the compression.
    level : int, optional
        Compression level.
    force : bool
        Whether an existing file may be replaced; the target may be the source.
    strict : bool
        Whether any loss is an error.
    threads : int, optional
        Threads for compression.
    carried : Header, optional
        Of the image before the operations of this call: the history that they recorded may be left behind.
    alone : bool
        Whether the file goes where nothing lies beside it, so that a label table would be left behind.
    dicom : DicomSaving, optional
        How it becomes DICOM, where the name ends in a slash or in ``.dcm``.

    Returns
    -------
    tuple of Difference
        What the target could not hold.

    Raises
    ------
    LossError
        If ``strict`` and something would be lost; nothing has been written then.
    StorageError
        If the target exists, the disk is full, or the file does not say what was written.
    """
    if is_dicom_target(path):
        return _save_dicom(backend, path, dicom, force, strict, carried)
    row = format_for_output(path)
    module = codec_module(row)
    fitted = module.fit(backend.header, path)
    table = None if alone else table_beside(backend.header, fitted, path)
    expected = _with_table(fitted, table)
    lost = losses_between(backend.header, expected, carried)
    _refuse_losses(lost, row.title, path, strict)
    with AtomicGroup(force=force) as group:
        there = {} if table is None else write_table(group, table, path)
        if fitted.gradients is not None:
            from medimg_cli.formats.sidecars import gradient_files

            for name, content in gradient_files(fitted, path):
                group.create(name).write(content)
        if hasattr(module, "encode"):
            _write_encoded(group, module.encode(fitted, path, level), backend, fitted, path, level, threads)
        elif hasattr(module, "write_folder"):
            store = group.add(StagedFolder(path, force=force, replaceable=module.is_store))
            module.write_folder(store, backend, fitted, level=level, threads=threads)
        else:
            staged = group.create(path)
            module.write_file(staged, path, backend, fitted, level)
        _verify(group, path, expected, row, there)
    return lost


def _write_encoded(
    group: AtomicGroup,
    encoded: Encoded,
    backend: Backend,
    fitted: Header,
    path: str,
    level: int | None,
    threads: int | None,
) -> None:
    folder = os.path.dirname(path)
    data_path = os.path.join(folder, encoded.data_name) if encoded.data_name else path
    staged = group.create(data_path)
    if encoded.header:  # refuse an existing header before the voxels are written
        header_file = group.create(os.path.join(folder, encoded.header_name) if encoded.header_name else path)
    _write_voxels(staged, encoded, backend, fitted, level, threads)
    if encoded.header:
        sink = open_sink(header_file.write, encoded.header_compression, level, 1)
        sink.write(encoded.header)
        sink.finish()


def _write_voxels(
    staged: StagedFile, encoded: Encoded, backend: Backend, fitted: Header, level: int | None, threads: int | None
) -> None:
    raw = not backend.header.scaled or fitted.scaled
    if encoded.head_plain:
        staged.write(encoded.head)
    sink = open_sink(staged.write, encoded.compression, level, threads)
    try:
        if encoded.head and not encoded.head_plain:
            sink.write(encoded.head)
        blocks = backend.blocks(encoded.layout, raw=raw)
        for block in pack_bits(blocks) if encoded.bits else blocks:
            sink.write(block)
        if encoded.tail:
            sink.write(encoded.tail)
        sink.finish()
    except BaseException:
        sink.abort()
        raise
    if encoded.size_at is not None:
        offset, width = encoded.size_at
        staged.patch(offset, str(staged.written - len(encoded.head)).ljust(width).encode())


class _Staged(PathSource):
    """A file under construction, whose siblings may be under construction, too."""

    __slots__ = ("_others",)

    def __init__(self, path: str, name: str, others: dict[str, str]) -> None:
        super().__init__(path, name=name)
        self._others = others

    def sibling(self, name: str) -> PathSource:
        if name not in self._others:
            raise NotFoundError(f"its file {name!r} is not being written", path=self.name)
        return PathSource(self._others[name], name=name)


def _verify(group: AtomicGroup, path: str, expected: Header, row: Format, there: dict[str, str]) -> None:
    """Read the header of what was written; it must say what ``fit`` promised.

    ``there`` are files beside it, name -> path, that say what is needed and stay.
    """
    written: Any = _staged_backend(group, path, row, there).header
    wrong = differences(expected, written)
    problem = next((w for w in written.warnings if w.startswith("truncated")), None)
    if wrong or problem:
        what = problem or "; ".join(map(str, wrong))
        raise StorageError(f"the written header does not read back: {what}", path=path, hint="please report this")


def _staged_backend(group: AtomicGroup, path: str, row: Format, there: dict[str, str]) -> Backend:
    last = group.files[-1]
    module = codec_module(row)
    if hasattr(module, "open_folder") and hasattr(module, "write_folder"):
        folder: Backend = module.open_folder(last.readable_path)
        return folder
    others = there | {os.path.basename(file.path): file.readable_path for file in group.files}
    return open_backend(_Staged(last.readable_path, path, others), format=row.name)


def output_compression(path: str) -> str | None:
    """Return the compression that a file name asks for."""
    _, suffix, compression = split_suffix(path)
    return "gzip" if suffix == ".mgz" else compression

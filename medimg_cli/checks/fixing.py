"""What ``medimg check --fix`` does: rewrite a file so that rules are kept, with every voxel in its place.

A rule says in its `Mend` what is to change. All mends of a file are made in one rewrite beside it, which takes its
name when it has been read again: the findings are gone, the header says what it said, and all voxels are the same. Only
NIfTI on a disk of this machine is mended, and every byte that no mend names is copied as it is; files of any format may
become compressed, or plain, as their names say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from medimg_cli.checks.rule import Mend, Rule
from medimg_cli.checks.subject import Subject

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.storage.source import ByteSource
    from medimg_cli.storage.stored import StoredArray

__all__ = ["fix", "mend_of"]

#: Bytes behind the voxels, or of a pair's header, that are copied at most.
_MOST_BEHIND = 1 << 30


def mend_of(subject: Subject, rule: Rule) -> Mend | None:
    """Return what mends a file that breaks a rule; None where nothing safe does.

    Parameters
    ----------
    subject : Subject
    rule : Rule
        One that the subject breaks.
    """
    if rule.mend is None or not _is_plain_file(subject):
        return None
    mend = rule.mend(subject)
    if mend is None or (mend.recode and not _can_recode(subject)):
        return None
    about_nifti = mend.fields or mend.tidy or mend.cut
    if about_nifti and not subject.in_nifti:
        return None
    if (mend.cut or mend.tidy) and subject.is_pair:
        return None
    return mend


def _is_plain_file(subject: Subject) -> bool:
    """Tell whether an image is one file of this machine, or a pair, and nothing speaks against reading its voxels."""
    from medimg_cli.backends import shortage
    from medimg_cli.storage.urls import is_local

    if subject.backend is None or subject.stored is None or subject.unreadable is not None:
        return False
    if subject.entry.series is not None or not is_local(subject.path):
        return False
    path = _in_file(subject.stored.source).path
    own = path == subject.path or subject.is_pair  # not in an archive, nor in a file that this one names
    whole = not _undecoded(subject.stored.source) and shortage(subject.backend) is None
    return own and whole and os.path.isfile(subject.path)


def _undecoded(source: ByteSource) -> int:
    """Return how many bytes follow compressed data and would be lost, as far as somebody has read up to there."""
    from medimg_cli.storage.encoded import EncodedSource

    return source.ignored if isinstance(source, EncodedSource) else 0


def _in_file(source: ByteSource) -> ByteSource:
    """Return the bytes of a file as they are there, compressed or not."""
    from medimg_cli.storage.encoded import EncodedSource

    return source.base if isinstance(source, EncodedSource) else source


def _stored(subject: Subject) -> StoredArray:
    assert subject.stored is not None
    return subject.stored


def _can_recode(subject: Subject) -> bool:
    """Tell whether a file is compressed as a whole or not at all, and its format has files as its name says."""
    from medimg_cli.errors import UsageError
    from medimg_cli.formats import format_for_output
    from medimg_cli.storage.encoded import EncodedSource

    try:
        format_for_output(subject.path)
    except UsageError:
        return False
    source = _stored(subject).source
    whole = not isinstance(source, EncodedSource) or (source.start == 0 and source.length is None)
    return whole and not subject.is_pair


def fix(subject: Subject, rules: Iterable[Rule]) -> tuple[str, ...]:
    """Mend what rules have found in a file, in one atomic rewrite.

    Parameters
    ----------
    subject : Subject
    rules : iterable of Rule
        Broken ones, with ``mend``.

    Returns
    -------
    tuple of str
        Codes of the rules that were mended.

    Raises
    ------
    StorageError
        If the file cannot be written, or would not say the same.
    """
    from medimg_cli.errors import StorageError
    from medimg_cli.storage.atomic import AtomicGroup

    wanted = {rule.code: (rule, mend) for rule in rules if (mend := mend_of(subject, rule)) is not None}
    if not wanted:
        return ()
    mend = _together([mend for _, mend in wanted.values()], subject.nifti or {})
    target, source = _file_of(subject)
    if not os.stat(target).st_mode & 0o222:  # where links lead to stores whose files must never change, root may write
        raise StorageError("is write-protected", path=target)
    with AtomicGroup(force=True) as group:
        staged = group.create(target)
        _write(staged, subject, source, mend)
        staged.sync()  # now, not between the last look at the old file and its end
        after = Subject(subject.entry, subject.settings, _opened(staged.readable_path, target, subject))
        left = [code for code, (rule, _) in wanted.items() if any(True for _ in rule.check(after))]
        problem = f"{', '.join(left)} would still be broken" if left else _difference(subject, after, mend)
        if lost := _undecoded(source):
            problem = f"{lost} bytes that follow the compressed data would be lost"
        if problem:
            raise StorageError(f"is not mended: {problem}", path=subject.path, hint="it stays as it was")
    return tuple(wanted)


def _together(mends: Iterable[Mend], before: Mapping[str, Any]) -> Mend:
    """Return all mends as one; of a field with several numbers each mend has a say on those that it changes."""
    fields: dict[str, Any] = {}
    tidy = cut = recode = False
    for mend in mends:
        for name, value in mend.fields.items():
            if isinstance(value, tuple) and name in fields:
                triples = zip(value, before[name], fields[name], strict=True)
                value = tuple(so_far if _alike(new, old) else new for new, old, so_far in triples)
            fields[name] = value
        tidy, cut, recode = tidy or mend.tidy, cut or mend.cut, recode or mend.recode
    return Mend(fields, tidy, cut, recode)


def _alike(a: float, b: float) -> bool:
    """Tell whether two numbers are the same, or both NaN."""
    return a == b or (a != a and b != b)


def _file_of(subject: Subject) -> tuple[str, ByteSource]:
    """Return the file that is to be written anew, and its decoded bytes: of a pair the header."""
    from medimg_cli.formats import split_suffix
    from medimg_cli.formats.nifti import decoded, header_of_pair
    from medimg_cli.storage.source import open_source

    source = open_source(subject.path)
    stem, suffix, _ = split_suffix(subject.path)
    if suffix != ".img" or not subject.is_pair:
        return subject.path, decoded(source)
    header = header_of_pair(source, stem)
    path = _in_file(header).path
    assert path is not None
    return path, header


def _write(staged: Any, subject: Subject, source: ByteSource, mend: Mend) -> None:
    """Write the mended file: its head anew, all that follows as it is."""
    from medimg_cli.formats.writing import output_compression
    from medimg_cli.storage.compress import open_sink
    from medimg_cli.storage.encoded import EncodedSource

    now = source.codec if isinstance(source, EncodedSource) else None
    compression = output_compression(staged.path) if mend.recode else now
    head, start = _head(subject, mend) if mend.fields or mend.tidy else (b"", 0)
    stop = start if subject.is_pair else _stored(subject).span()[1]
    sink = open_sink(staged.write, compression, None, 1)
    try:
        sink.write(head)
        for piece in _pieces(source, start, stop, cut=mend.cut):
            sink.write(piece)
        sink.finish()
    except BaseException:
        sink.abort()
        raise


def _pieces(source: ByteSource, start: int, stop: int, *, cut: bool) -> Iterator[bytes]:
    """Yield the bytes of a file up to its end, or up to where it is cut; length and checksum are verified.

    Raises
    ------
    OversizeError
        If far more bytes follow the voxels: a bomb fills the disk.
    """
    from medimg_cli.errors import OversizeError

    with source.cursor() as cursor:
        yield from cursor.chunks(start, stop - start)
        left = 0 if cut else _MOST_BEHIND
        for piece in cursor.chunks(stop, left):
            left -= len(piece)
            yield piece
        if not cut and not left:
            raise OversizeError(f"more than {_MOST_BEHIND >> 20} MiB follow the voxels", path=source.name)
        cursor.verify()


def _head(subject: Subject, mend: Mend) -> tuple[bytes, int]:
    """Return what takes the place of the first bytes of a NIfTI file, and how many bytes that are."""
    from medimg_cli.formats.nifti_fields import SIZES, extension_bytes, unpack

    assert subject.header.native is not None
    version, byte_order, raw = subject.header.native.data
    fields = unpack(raw, version, byte_order)
    if not mend.tidy:
        return _patched(raw, fields, fields | dict(mend.fields), version, byte_order), len(raw)
    offset = _stored(subject).offset
    extensions = _extensions(subject)
    behind = extension_bytes(extensions, byte_order)
    if not extensions:  # zeros in front of the voxels stay, and become a few more
        behind = bytes(-(-offset // 16) * 16 - SIZES[version])
    place = (float if version == 1 else int)(SIZES[version] + len(behind))
    changed = fields | dict(mend.fields) | {"vox_offset": place}
    return _patched(raw, fields, changed, version, byte_order) + behind, offset


def _extensions(subject: Subject) -> list[tuple[int, bytes]]:
    """Return all extensions of a single NIfTI file, medimg's own among them."""
    from medimg_cli.formats.nifti_fields import SIZES, read_extensions

    assert subject.header.native is not None
    version, byte_order, _ = subject.header.native.data
    stored = _stored(subject)
    return read_extensions(stored.source.head(stored.offset)[SIZES[version] :], byte_order, subject.path)[0]


def _patched(raw: bytes, before: dict[str, Any], after: dict[str, Any], version: int, byte_order: str) -> bytes:
    """Return a raw header in which only the bytes differ that stand for fields which changed."""
    from medimg_cli.formats.nifti_fields import pack

    old, new = pack(before, version, byte_order), pack(after, version, byte_order)
    return bytes(kept if a == b else b for kept, a, b in zip(raw, old, new, strict=True))


def _opened(path: str, name: str, subject: Subject) -> Backend:
    """Open the mended file under the name of the image, before it has its own name."""
    from medimg_cli.formats import open_backend
    from medimg_cli.storage.source import PathSource

    class Mended(PathSource):
        """The file under construction, whose siblings are those of the old one."""

        __slots__ = ()

        def sibling(self, wanted: str) -> PathSource:
            return PathSource(name).sibling(wanted)

    return open_backend(Mended(path, name=name), reading=subject.entry.reading)


def _difference(before: Subject, after: Subject, mend: Mend) -> str:
    """Say what a mended file would say or hold otherwise, in facts that are not the mended ones; "" where nothing."""
    from medimg_cli.header import differences

    mended = {f"nifti_{name}" for name in mend.fields}
    # A label table may lie in a folder above; one inside is among the extensions, which are copied, or compared below.
    old, new = (
        header.replace(labels=None, metadata={key: text for key, text in header.metadata.items() if key not in mended})
        for header in (before.header, after.header)
    )
    told = [str(difference) for difference in differences(old, new)]
    if mend.tidy and _plain(_extensions(before)) != _plain(_extensions(after)):
        told.append("extensions would change")
    if _checksum(before) != _checksum(after):
        told.append("voxels would change")
    return "; ".join(told)


def _plain(extensions: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return extensions without the zeros that fill them up."""
    return [(code, content.rstrip(b"\0")) for code, content in extensions]


def _checksum(subject: Subject) -> int:
    """Return the CRC-32 of all stored voxels as they lie in the file."""
    import zlib

    total = 0
    assert subject.backend is not None
    for block in subject.backend.blocks(_stored(subject).layout):
        total = zlib.crc32(block, total)
    return total

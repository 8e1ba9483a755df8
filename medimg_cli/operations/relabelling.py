"""What ``medimg labels`` is asked to change, and what becomes of it once it meets an image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medimg_cli.backends import with_header
from medimg_cli.errors import UsageError
from medimg_cli.labels import LabelTable, some
from medimg_cli.operations.protocol import Operation, Recipe, Request, Step
from medimg_cli.operations.relabel import Remap
from medimg_cli.statistics.counts import count_values

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Embed", "ExtractRequest", "KeepRequest", "MergeRequest", "RemapRequest", "label_requests"]

_MERGE = re.compile(r"(?P<labels>.+?)=(?P<value>-?\d+)(?::(?P<name>.*))?", re.DOTALL)
_REMAP = re.compile(r"\s*(?P<old>.+?)\s*=\s*(?P<new>-?\d+)\s*(?:,|$)", re.DOTALL)


def label_requests(
    *,
    remap: str | None = None,
    keep: str | None = None,
    merge: Sequence[str] = (),
    extract: str | None = None,
    table: LabelTable | None = None,
    embed: bool = False,
) -> tuple[Request, ...]:
    """Return the operations for the options of a command line; none where nothing is to be changed.

    Parameters
    ----------
    remap, keep, merge, extract
        At most one of them; see the requests.
    table : LabelTable, optional
        Names and colours instead of those that the image brings along; the output gets them, too.
    embed : bool
        Whether the output gets that table where nothing else changes.

    Raises
    ------
    UsageError
        If an option makes no sense, or two exclude each other.

    Examples
    --------
    >>> label_requests(keep="1,liver")
    (KeepRequest(text='1,liver'),)
    """
    if embed and table is None:
        raise UsageError("--embed needs a table", hint="name it with --table FILE")
    changes: list[Request] = [MergeRequest(tuple(merge))] if merge else []
    changes += [] if remap is None else [RemapRequest(remap)]
    changes += [] if keep is None else [KeepRequest(keep)]
    changes += [] if extract is None else [ExtractRequest(extract)]
    if len(changes) > 1:
        raise UsageError("--remap, --keep, --merge and --extract exclude each other", hint="run medimg labels twice")
    return (*([Embed(table)] if table is not None and (embed or changes) else []), *changes)


@dataclass(frozen=True, slots=True)
class Embed(Recipe):
    """Give an image a label table. No voxel changes, and the history says nothing of it.

    Parameters
    ----------
    table : LabelTable
    """

    table: LabelTable

    name: ClassVar[str] = "embed"

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        return self.in_place(header, idle=header.labels == self.table)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image with the table in its header."""
        return with_header(backend, backend.header.replace(labels=self.table))

    def inverse(self, step: Step) -> None:
        """Return None: the table that was there before is not known."""


@dataclass(frozen=True, slots=True)
class RemapRequest(Request):
    """Other numbers for some labels.

    Parameters
    ----------
    text : str
        ``3=1,liver=2``: old numbers or names, and their new numbers.

    Raises
    ------
    UsageError
        If the text is something else.
    """

    text: str

    def __post_init__(self) -> None:
        _ = self.pairs

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """Old label and new number, as they were written."""
        pairs: list[tuple[str, int]] = []
        rest = self.text
        while True:
            found = _REMAP.match(rest)
            if found is None:
                raise UsageError(f"--remap {self.text}: {rest!r} is no pair", hint="write OLD=NEW, as in 3=1,liver=2")
            pairs.append((found["old"], int(found["new"])))
            rest = rest[found.end() :]
            if not found[0].endswith(","):
                return pairs

    def prepare(self, source: Backend) -> Remap:
        """Return the remapping of an image.

        Raises
        ------
        UsageError
            If a label is unknown.
        """
        known = _Known(source)
        return Remap(tuple((known.number(old), new) for old, new in self.pairs))

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say what becomes what."""
        assert isinstance(operation, Remap)
        shown = some([f"{_shown(old, header.labels)} -> {new}" for old, new in operation.mapping])
        return (f"{shown}; all others stay", *_joined_by(header.labels, operation))


@dataclass(frozen=True, slots=True)
class KeepRequest(Request):
    """Only some labels; what held another one becomes 0.

    Parameters
    ----------
    text : str
        ``1,2,liver``: numbers or names.
    """

    text: str

    def __post_init__(self) -> None:
        _words(self.text, "--keep")

    def prepare(self, source: Backend) -> Remap:
        """Return the remapping of an image; see `RemapRequest.prepare`."""
        known = _Known(source)
        kept = dict.fromkeys(known.numbers(self.text, "--keep"))
        return Remap(tuple((value, value) for value in kept), default=0)

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say what is kept."""
        assert isinstance(operation, Remap)
        return (f"keeps {some(_shown(old, header.labels) for old, _ in operation.mapping)}; all others become 0",)


@dataclass(frozen=True, slots=True)
class MergeRequest(Request):
    """Several labels as one.

    Parameters
    ----------
    texts : tuple of str
        ``10,11,left lung=1`` or ``10,11=1:lungs``: labels, their number, and what they are called from now on.

    Raises
    ------
    UsageError
        If a text is something else.
    """

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        _ = self.groups

    @property
    def groups(self) -> list[tuple[str, int, str | None]]:
        """Labels, new number and new name of each group."""
        groups = []
        for text in self.texts:
            found = _MERGE.fullmatch(text)
            if found is None:
                hint = "write OLD,OLD=NEW or OLD,OLD=NEW:NAME, as in 10,11=1:lungs"
                raise UsageError(f"--merge {text} says not what becomes what", hint=hint)
            _words(found["labels"], "--merge")
            groups.append((found["labels"], int(found["value"]), found["name"]))
        return groups

    def prepare(self, source: Backend) -> Remap:
        """Return the remapping of an image; see `RemapRequest.prepare`."""
        known = _Known(source)
        mapping = [(old, new) for text, new, _ in self.groups for old in known.numbers(text, "--merge")]
        names = {new: name for _, new, name in self.groups if name}
        return Remap(tuple(mapping), names=names)

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say what becomes what, in a sentence each."""
        assert isinstance(operation, Remap)
        names, new_names = header.labels, dict(operation.names)
        sentences = []
        for new in dict.fromkeys(value for _, value in operation.mapping):
            olds = some(_shown(old, names) for old, value in operation.mapping if value == new)
            sentences.append(f"{olds} -> {new}" + (f" ({new_names[new]})" if new in new_names else ""))
        return (*sentences, *_joined_by(names, operation))


@dataclass(frozen=True, slots=True)
class ExtractRequest(Request):
    """A mask of some labels: 1 there, 0 elsewhere (uint8).

    Parameters
    ----------
    text : str
        ``17,liver``: numbers or names.
    """

    text: str

    def __post_init__(self) -> None:
        _words(self.text, "--extract")

    def prepare(self, source: Backend) -> Remap:
        """Return the remapping of an image; see `RemapRequest.prepare`."""
        known = _Known(source)
        values = list(dict.fromkeys(known.numbers(self.text, "--extract")))
        named = [name for value in values if (name := (source.header.labels or LabelTable()).name_of(value))]
        names = {1: " + ".join(named)} if named else {}
        return Remap(tuple((value, 1) for value in values), default=0, dtype="uint8", names=names)

    def remarks(self, header: Header, operation: Operation) -> tuple[str, ...]:
        """Say what is 1 now."""
        assert isinstance(operation, Remap)
        return (f"{some(_shown(old, header.labels) for old, _ in operation.mapping)} -> 1; all others become 0",)


class _Known:
    """The labels of an image: what its table names, and what occurs in it."""

    def __init__(self, source: Backend) -> None:
        self.source, self.table = source, source.header.labels or LabelTable()
        self._counts: Mapping[int | float, int] | None = None

    def number(self, word: str) -> int:
        """Return the number of a label that somebody wrote as a number or as a name.

        Raises
        ------
        UsageError
            If it neither is in the table nor occurs, or a name is not that of one label.
        """
        number = _number(word)
        if number is None:
            return self.table.value_of(word)
        if self.table.get(number) is None and number not in self.counts:
            raise UsageError(f"no voxel is {number}, and no table names it", hint=f"the image holds {self._present()}")
        return number

    def numbers(self, text: str, option: str) -> list[int]:
        """Return the numbers of labels in a list; commas inside a name of the table do not part it."""
        names = {_joined(label.name.split(",")) for label in self.table if "," in label.name}
        words, found = _words(text, option), []
        while words:
            count = next((n for n in range(len(words), 1, -1) if _joined(words[:n]) in names), 1)
            found.append(self.number(", ".join(words[:count])))
            words = words[count:]
        return found

    @property
    def counts(self) -> Mapping[int | float, int]:
        if self._counts is None:
            self._counts = count_values(self.source)
        return self._counts

    def _present(self) -> str:
        return some(str(value) for value in self.counts)


def _joined_by(table: LabelTable | None, operation: Remap) -> tuple[str, ...]:
    """Say which labels of a table others join, so that nobody can tell them apart any more."""
    olds = {old for old, _ in operation.mapping}
    joined = [new for new in dict.fromkeys(new for _, new in operation.mapping) if new not in olds]
    known = [_shown(new, table) for new in joined if table is not None and table.get(new) is not None]
    return (f"{some(known)} {'is' if len(known) == 1 else 'are'} there already and cannot be told apart then",) * bool(
        known
    )


def _number(word: str) -> int | None:
    try:
        return int(word)
    except ValueError:
        return None


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{option} {text!r} is no list of labels", hint=f"as in {option} 1,2,liver")
    return words


def _joined(parts: Sequence[str]) -> str:
    return ",".join(part.strip().casefold() for part in parts)


def _shown(value: int, names: LabelTable | None) -> str:
    name = names.name_of(value) if names else ""
    return f"{value} ({name})" if name else str(value)

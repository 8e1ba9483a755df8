"""`LabelTable`: what the numbers of a label map stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medimg_cli.errors import FormatError, StorageError, UnsupportedError, UsageError
from medimg_cli.labels.label import Label, checked, from_rows, some, to_rows
from medimg_cli.labels.text import SUFFIX_HINT, SUFFIXES, once, sniff, text_format

__all__ = ["LabelTable"]

_MOST_BYTES = 16 * 2**20  # of a table file: the largest in use have some 100 kB


class LabelTable(Sequence[Label]):
    """An immutable sequence of labels, each value once.

    Parameters
    ----------
    labels : iterable of Label, or of tuples (value, name, color, abbreviation), or mapping of value to name
        Colours may have three numbers; they are opaque then.

    Raises
    ------
    FormatError
        If a value is no integer from 0 to 2**64 - 1 or occurs twice, a name is no text or longer than 4096
        characters, or a colour is not 3 or 4 integers from 0 to 255.

    Examples
    --------
    >>> table = LabelTable([(1, "liver", (221, 130, 101)), (5, "left kidney")])
    >>> table[0]
    Label(value=1, name='liver', color=(221, 130, 101, 255), abbreviation='')
    >>> table.name_of(5), table.get(2), 5 in table
    ('left kidney', None, True)
    """

    __slots__ = ("_by_value", "_labels")

    _labels: tuple[Label, ...]
    _by_value: dict[int, Label]

    def __init__(self, labels: Iterable[Sequence[Any]] | Mapping[int, str] = ()) -> None:
        by_value: dict[int, Label] = {}
        for each in labels.items() if isinstance(labels, Mapping) else labels:
            label = checked(*each)
            if label.value in by_value:
                raise FormatError(f"label {label.value} occurs twice")
            by_value[label.value] = label
        object.__setattr__(self, "_by_value", by_value)
        object.__setattr__(self, "_labels", tuple(by_value.values()))

    @property
    def values(self) -> tuple[int, ...]:
        """The values in the order of the table."""
        return tuple(self._by_value)

    def get(self, value: int, default: Label | None = None) -> Label | None:
        """Return the label of a value, or `default` where the table has none."""
        return self._by_value.get(value, default)

    def name_of(self, value: int, default: str = "") -> str:
        """Return the name of a value, or `default` where the table has none."""
        label = self._by_value.get(value)
        return default if label is None else label.name

    def value_of(self, name: str) -> int:
        """Return the value of the label of a name; case and blanks after commas count only where they must.

        Raises
        ------
        UsageError
            If no label, or more than one, is called that.

        Examples
        --------
        >>> LabelTable({1: "liver", 2: "Lung, left"}).value_of("lung,left")
        2
        """
        for same in (str, _loosely):
            found = [label.value for label in self if same(label.name) == same(name)]
            if len(found) == 1:
                return found[0]
            if found:
                raise UsageError(
                    f"{len(found)} labels are called {name!r}", hint=f"give one of {some(map(str, found))}"
                )
        if not len(self):
            raise UsageError(f"no label is called {name!r}: there is no label table", hint="give its number")
        from difflib import get_close_matches

        near = get_close_matches(name, [label.display for label in self], 3, 0.4)
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else f"there are {some(label.display for label in self)}"
        )
        raise UsageError(f"no label is called {name!r}", hint=hint)

    @classmethod
    def read(cls, path: str | os.PathLike[str], format: str | None = None) -> LabelTable:
        """Read a table from a text file.

        Parameters
        ----------
        path : path-like
            At most 16 MiB, UTF-8.
        format : str, optional
            A key of `FORMATS`; found from the content where omitted.

        Raises
        ------
        StorageError
            If the file can't be read.
        FormatError
            If the content is no label table or breaks its format's rules.
        UsageError
            If `format` is unknown.
        """
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise StorageError(error.strerror or str(error), path=path) from None
        if len(content) > _MOST_BYTES:
            raise FormatError(f"more than {_MOST_BYTES >> 20} MiB, too large for a label table", path=path)
        try:
            return cls.from_text(content.decode("utf-8-sig"), format)
        except UnicodeDecodeError:
            raise FormatError("label table is not UTF-8 text", path=path, hint="save it as UTF-8") from None
        except FormatError as error:
            raise error.at(path) from None

    def write(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write the table to a text file; a file of that name is replaced at once or not at all.

        Parameters
        ----------
        path : path-like
            ``.ctbl`` is 3D Slicer, ``.tsv`` BIDS, ``.json`` JSON, ``.label`` ITK-SNAP, ``.txt`` and ``.lut``
            FreeSurfer.
        format : str, optional
            A key of `FORMATS`, to override the suffix.

        Raises
        ------
        UsageError
            If `format` is unknown, or omitted and the suffix says nothing.
        UnsupportedError
            If a value is larger than the format holds.
        StorageError
            If the file can't be written.
        """
        content = self.to_text(format or self.format_of(path)).encode()
        try:
            _replace_file(os.path.realpath(path), content)
        except OSError as error:
            raise StorageError(error.strerror or str(error), path=path) from None

    @staticmethod
    def format_of(path: str | os.PathLike[str]) -> str:
        """Return the key of `FORMATS` that the suffix of a file to be written stands for.

        Raises
        ------
        UsageError
            If it stands for none.
        """
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            raise UsageError(f"no label table format has the suffix {suffix!r}", path=path, hint=SUFFIX_HINT)
        return SUFFIXES[suffix]

    @classmethod
    def from_text(cls, text: str, format: str | None = None) -> LabelTable:
        """Read a table from text.

        Parameters
        ----------
        text : str
            Content of a file.
        format : str, optional
            A key of `FORMATS`; found from the content where omitted.

        Raises
        ------
        FormatError
            If the text is no label table or breaks its format's rules; the message names the line.
        UsageError
            If `format` is unknown.

        Examples
        --------
        >>> LabelTable.from_text("#No. Label Name: R G B A\\n17  Left-Hippocampus  220 216 20 0")[0]
        Label(value=17, name='Left-Hippocampus', color=(220, 216, 20, 255), abbreviation='')
        """
        if "\0" in text:
            raise FormatError("label table holds NUL characters, it is not text")
        return cls(once(text_format(format or sniff(text)).parse(text)))

    def to_text(self, format: str) -> str:
        """Return the content of a file in the given format.

        Parameters
        ----------
        format : str
            A key of `FORMATS`.

        Raises
        ------
        UsageError
            If `format` is unknown.
        UnsupportedError
            If a value is larger than the format holds.

        Examples
        --------
        >>> print(LabelTable([(3, "left kidney", (185, 102, 83))]).to_text("slicer"), end="")
        # Color table file
        # 1 values
        3 left_kidney 185 102 83 255
        """
        return "\n".join(text_format(format).print(self.fit(format))) + "\n"

    def fit(self, format: str) -> LabelTable:
        """Return the table that would come back from a file of the given format.

        Where a format asks for a colour or a name and a label has none, it gets one; characters that the
        format can't hold become underscores (spaces in ITK-SNAP and BIDS files). The table loses nothing
        where the result equals it.

        Raises
        ------
        UsageError
            If `format` is unknown.
        UnsupportedError
            If a value is larger than the format holds.

        Examples
        --------
        >>> LabelTable([(3, "left kidney", (185, 102, 83, 128), "LK")]).fit("bids")[0]
        Label(value=3, name='left kidney', color=(185, 102, 83, 255), abbreviation='LK')
        """
        row = text_format(format)
        for label in self:
            if label.value > row.most:
                raise UnsupportedError(f"label {label.value} is beyond {row.most}, the largest of {row.title}")
        return LabelTable(row.fit(list(self)))

    @classmethod
    def from_json(cls, rows: Any) -> LabelTable:
        """Build a table from a list of mappings with ``value``, ``name``, ``color``, ``abbreviation``.

        Only ``value`` must be there; other keys are ignored. A colour is 3 or 4 numbers, or ``"#rrggbb"``.

        Raises
        ------
        FormatError
            If `rows` is something else.
        """
        return cls(from_rows(rows))

    def to_json(self) -> list[dict[str, Any]]:
        """Return a list of plain mappings; what a label lacks is left out.

        Examples
        --------
        >>> LabelTable([(1, "liver", (221, 130, 101))]).to_json()
        [{'value': 1, 'name': 'liver', 'color': [221, 130, 101, 255]}]
        """
        return to_rows(self._labels)

    def __getitem__(self, index: Any) -> Any:
        found = self._labels[index]
        return LabelTable(found) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels)

    def __contains__(self, item: object) -> bool:
        """Return whether a value, or a whole label, is in the table."""
        return self._by_value.get(item.value) == item if isinstance(item, Label) else item in self._by_value

    def __eq__(self, other: object) -> bool:
        return self._labels == other._labels if isinstance(other, LabelTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._labels)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"LabelTable is frozen: can't set {name!r}")

    def __reduce__(self) -> tuple[object, ...]:
        return LabelTable, (self._labels,)

    def __repr__(self) -> str:
        return f"LabelTable({list(self._labels)!r})"


def _loosely(name: str) -> str:
    return ",".join(part.strip() for part in name.casefold().split(","))


def _replace_file(target: str, content: bytes) -> None:
    """Write beside the target, then rename: the old file stays until the new one is complete."""
    temporary = f"{target}.{os.getpid()}.tmp"
    with open(temporary, "xb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if os.path.exists(target):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

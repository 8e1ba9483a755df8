"""Findings that somebody has seen and lives with: a file of them, so that only new ones are told.

::

    {
      "schema": "medimg.baseline/1",
      "findings": [
        {"path": "a.nii.gz", "series": null, "code": "H001", "message": "sform and qform are 7.2 mm apart", "count": 1}
      ]
    }

Entries are sorted, a line each; paths count from the folder of the file. A finding is known where path, series and code
are the same, and the message but for its numbers: numbers that are not whole may be 2 % off, because other versions and
machines round otherwise. Whole numbers (labels, slices, voxels) are the same or the finding is a new one. Of files that
a message names, the name counts, not the folder.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from medimg_cli.checks.config import Config
from medimg_cli.checks.rule import Finding
from medimg_cli.errors import UsageError
from medimg_cli.storage.atomic import AtomicGroup
from medimg_cli.storage.urls import is_local, public_name

__all__ = ["SCHEMA", "Baseline", "Entry"]

SCHEMA = "medimg.baseline/1"

#: Bytes of a file, and findings of one kind, at most.
_MOST_BYTES, _MOST_COUNT = 1 << 28, 1 << 40
_KEYS = ("path", "series", "code", "message", "count")
#: Of the larger one: so far off may numbers be that are not whole.
_OFF = 0.02
#: A number that is no part of a word, a version or a UID.
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?!\.?\w)")
#: Folders in front of the name of another file, which are called otherwise from another working folder.
_FOLDERS = re.compile(r"(?<!\S)\S*/(?=[^/]*\.)")


class Entry(NamedTuple):
    """Findings that are known, all of one kind in one image.

    Parameters
    ----------
    path : str
        From the folder of the baseline, with slashes; "" of a finding about a set.
    series : int or None
    code : str
    message : str
    times : int
        How many there are; ``count`` in the file.
    """

    path: str
    series: int | None
    code: str
    message: str
    times: int = 1


class Baseline:
    """Findings that are known.

    Parameters
    ----------
    path : str
        The file.
    entries : iterable of Entry

    Examples
    --------
    A run that tells only what is new::

        known = Baseline.read("baseline.json")
        new = [finding for finding in findings if not known.knows(finding)]
        outdated = known.outdated(looked_at, config)

    A run that takes down what there is, and keeps what is known of files that it did not look at::

        Baseline.read("baseline.json", may_be_missing=True).updated(findings, looked_at, config).write()
    """

    def __init__(self, path: str, entries: Iterable[Entry] = ()) -> None:
        self.path = path
        counts: Counter[Entry] = Counter()
        for entry in entries:
            counts[entry._replace(times=0)] += entry.times
        self.entries = tuple(sorted((each._replace(times=n) for each, n in counts.items()), key=_order))
        self._folder = os.path.dirname(os.path.abspath(path))
        self._left = [entry.times for entry in self.entries]
        self._places: dict[tuple[Any, ...], list[int]] = {}
        for place, entry in enumerate(self.entries):
            self._places.setdefault(_kind(entry), []).append(place)

    @classmethod
    def read(cls, path: str, *, may_be_missing: bool = False) -> Baseline:
        """Read a file.

        Parameters
        ----------
        path : str
        may_be_missing : bool
            Whether a file that does not exist is an empty baseline.

        Raises
        ------
        UsageError
            If the file cannot be read, or is no baseline.
        """
        if may_be_missing and not os.path.lexists(path):
            return cls(path)
        if not os.path.exists(path):
            raise UsageError("does not exist", path=path, hint="--update-baseline writes it")
        if not os.path.isfile(path):
            raise UsageError("is no file", path=path)
        try:
            with open(path, "rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise UsageError("is too large for a baseline", path=path)
            return cls(path, _entries(json.loads(content)))
        except OSError as error:
            raise UsageError(f"cannot be read: {(error.strerror or str(error)).lower()}", path=path) from None
        except UsageError as error:
            raise error.at(path) from None
        except (ValueError, RecursionError):
            raise UsageError("is no JSON", path=path, hint="give another name") from None

    def knows(self, finding: Finding) -> bool:
        """Tell whether a finding is known; each entry knows as many as it counts, so ask once for each finding."""
        entry = self._entry(finding)
        alike = [place for place in self._places.get(_kind(entry), ()) if self._left[place]]
        for same in (str.__eq__, _same_numbers):  # its very own entry first
            for place in alike:
                if same(entry.message, self.entries[place].message):
                    self._left[place] -= 1
                    return True
        return False

    def outdated(self, looked_at: Collection[str], config: Config) -> tuple[Entry, ...]:
        """Return the entries that no finding was asked for.

        Parameters
        ----------
        looked_at : collection of str
            Paths that were looked at, as findings have them, "" for the set of them; of others nobody can tell, unless
            they are gone.
        config : Config
            Of the run: rules that do not hold find nothing.
        """
        seen = {self._relative(path) for path in looked_at}
        return tuple(
            entry
            for entry, left in zip(self.entries, self._left, strict=True)
            if left and self._is_over(entry, seen, config)
        )

    def updated(self, findings: Iterable[Finding], looked_at: Collection[str], config: Config) -> Baseline:
        """Return the baseline that knows some findings, and all that was known of what was not looked at.

        Parameters
        ----------
        findings : iterable of Finding
            Those that are mended count no more.
        looked_at : collection of str
        config : Config
        """
        seen = {self._relative(path) for path in looked_at}
        new = [self._entry(finding) for finding in findings if not finding.fixed]
        kept = [entry for entry in self.entries if not self._is_over(entry, seen, config)]
        found = {entry._replace(times=0) for entry in new}
        return Baseline(self.path, [*new, *(entry for entry in kept if entry._replace(times=0) not in found)])

    def write(self) -> None:
        """Write the file: in one step, in place of the one that may be there.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        rows = ",".join(f"\n    {json.dumps(dict(zip(_KEYS, entry, strict=True)))}" for entry in self.entries)
        text = f'{{\n  "schema": "{SCHEMA}",\n  "findings": [{rows}\n  ]\n}}\n'
        with AtomicGroup(force=True) as group:
            group.create(self.path).write(text.encode())

    def _is_over(self, entry: Entry, seen: Collection[str], config: Config) -> bool:
        """Tell whether a run would have found again what an entry knows."""
        if not is_local(entry.path):
            return entry.path in seen and entry.code in config.settings_for(entry.path).codes
        path = os.path.join(self._folder, entry.path)
        if entry.path not in seen:
            return not os.path.lexists(path)
        return entry.code in config.settings_for(path).codes

    def _entry(self, finding: Finding) -> Entry:
        message = _FOLDERS.sub("", finding.message)
        return Entry(self._relative(finding.path), finding.series, finding.code, message)

    def _relative(self, path: str) -> str:
        if not is_local(path):
            return public_name(path)  # baselines are shared: no password, no signature
        return os.path.relpath(path, self._folder).replace(os.sep, "/")


def _order(entry: Entry) -> tuple[Any, ...]:
    return entry.path, entry.series or 0, entry.code, entry.message


def _kind(entry: Entry) -> tuple[Any, ...]:
    """Return what must be the same in two findings: all but numbers."""
    return entry.path, entry.series, entry.code, _NUMBER.sub("#", entry.message)


def _same_numbers(one: str, two: str) -> bool:
    return all(map(_near, _NUMBER.findall(one), _NUMBER.findall(two)))


def _near(one: str, two: str) -> bool:
    if one == two:
        return True
    if one.lstrip("+-").isdecimal() and two.lstrip("+-").isdecimal():
        return False
    a, b = float(one), float(two)
    return abs(a - b) <= _OFF * max(abs(a), abs(b))


def _entries(data: Any) -> Iterator[Entry]:
    """Read entries from what JSON holds."""
    if not isinstance(data, dict) or not isinstance(data.get("findings"), list):
        raise UsageError("is no baseline of medimg", hint="--update-baseline writes one")
    if data.get("schema") != SCHEMA:
        raise UsageError(f"is no baseline that this version reads: its schema is not {SCHEMA}")
    for number, row in enumerate(data["findings"], 1):
        entry = _entry_of(row) if isinstance(row, dict) else None
        if entry is None:
            raise UsageError(f"entry {number} makes no sense", hint="--update-baseline writes a new one")
        yield entry


def _entry_of(row: dict[str, Any]) -> Entry | None:
    texts = [row.get(name) for name in ("path", "code", "message")]
    series, count = row.get("series"), row.get("count", 1)
    whole = [each for each in (series, count) if each is not None]
    if not all(isinstance(each, str) and "\0" not in each for each in texts):
        return None
    if not all(type(each) is int and 0 <= each <= _MOST_COUNT for each in whole) or not count:
        return None
    return Entry(row["path"], series, row["code"], row["message"], count)

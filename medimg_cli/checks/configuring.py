"""From a configuration file and a command line to a `Config`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from medimg_cli.checks.config import Config, Layer, Wishes
from medimg_cli.checks.config_files import Source, find_source, read_source, working_folder
from medimg_cli.checks.expectations import parse
from medimg_cli.checks.limits import LIMITS
from medimg_cli.checks.pairing import parse_pair
from medimg_cli.checks.patterns import Patterns
from medimg_cli.checks.rule import SEVERITIES
from medimg_cli.checks.rules import RULES
from medimg_cli.checks.selecting import meant, meant_by_all
from medimg_cli.errors import UsageError
from medimg_cli.text import did_you_mean

__all__ = ["KEYS", "Key", "load_config"]

#: Label values that a configuration lists at most, ranges counted in full.
_MOST_LABELS = 1 << 16


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f'a list of text expected, such as ["..."], found {_shown(value)}')
    return tuple(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise UsageError(f"text expected, found {_shown(value)}")
    return value


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"true or false expected, found {_shown(value)}")
    return value


def _rules(value: Any) -> dict[str, int]:
    return meant_by_all(_texts(value))


def _patterns(value: Any) -> Patterns:
    return Patterns(_texts(value))


def _some_patterns(value: Any) -> Patterns:
    patterns = _patterns(value)
    if not patterns:
        raise UsageError("at least one pattern of paths expected")
    return patterns


def _expectations(value: Any) -> tuple[str, ...]:
    texts = _texts(value)
    for text in texts:
        parse(text)
    return texts


def _severity(value: Any) -> Any:
    if value not in SEVERITIES:
        hint = "'ignore' leaves rules out" if value == "off" else None
        raise UsageError(f"error, warning or info expected, found {_shown(value)}", hint=hint)
    return value


def _severities(value: Any) -> dict[str, Any]:
    """Return code -> severity; who names a rule more closely wins."""
    found: dict[str, tuple[int, Any]] = {}
    for word, severity in _table(value).items():
        try:
            for code, closely in meant(word).items():
                if closely >= found.get(code, (-1, ""))[0]:
                    found[code] = closely, _severity(severity)
        except UsageError as error:
            raise _within(error, word) from None
    return {code: severity for code, (_, severity) in found.items()}


def _limits(value: Any) -> dict[str, float]:
    names = [limit.name for limit in LIMITS]
    for name, number in _table(value).items():
        if name not in names:
            raise UsageError(f"no limit is called {name!r}", hint=_near(name, names))
        if isinstance(number, bool) or not isinstance(number, (int, float)) or number != number:
            raise UsageError(f"{name}: a number expected, found {_shown(number)}")
    return dict(value)


def _labels(value: Any) -> tuple[int, ...]:
    """Return label values; text such as "1000-2035" is a range."""
    spans: list[range] = []
    for each in value if isinstance(value, list) else [None]:
        low, _, high = each.partition("-") if isinstance(each, str) else ("", "", "")
        if isinstance(each, int) and not isinstance(each, bool):
            spans.append(range(each, each + 1))
        elif max(len(low), len(high)) < 19 and low.isdecimal() and high.isdecimal() and int(low) <= int(high):
            spans.append(range(int(low), int(high) + 1))
        else:
            raise UsageError(f'a list of label values expected, such as [0, 1, "10-35"], found {_shown(value)}')
    if sum(map(len, spans)) > _MOST_LABELS:
        raise UsageError(f"more than {_MOST_LABELS} label values")
    return tuple(sorted({label for span in spans for label in span}))


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    """Return pairs of patterns: of two texts one, else a list of such."""
    rows = [value] if isinstance(value, list) and value and isinstance(value[0], str) else value
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 2 for row in rows):
        hint = 'write: pair = ["images/*.nii.gz", "labels/{name}"]'
        raise UsageError(f"two patterns expected, found {_shown(value)}", hint=hint)
    pairs = tuple((one, two) for one, two in map(_texts, rows))
    for one, two in pairs:
        try:
            parse_pair(one, two)
        except UsageError as error:
            raise UsageError(error.message.removeprefix("--pair: "), hint=error.hint) from None
    return pairs


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"a table expected, found {_shown(value)}")
    return value


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UsageError(f"tables [[check.overrides]] expected, found {_shown(value)}")
    return value


class Key(NamedTuple):
    """One row: a key of a configuration.

    Parameters
    ----------
    name : str
    where : str
        "check": in ``[check]``; "overrides": in ``[[check.overrides]]``; "both".
    read : callable
        Takes what TOML holds and returns what is meant; raises `UsageError`.
    form : str
        What its value is, in a word or two.
    says : str
        What it does, one sentence.
    """

    name: str
    where: Literal["check", "overrides", "both"]
    read: Callable[[Any], Any]
    form: str
    says: str


KEYS: tuple[Key, ...] = (
    Key("paths", "overrides", _some_patterns, "patterns", "What the override holds for."),
    Key("select", "both", _rules, "rules", "Rules that hold, in place of those that hold anyway."),
    Key("extend-select", "both", _rules, "rules", "Rules that hold beside the others."),
    Key("ignore", "both", _rules, "rules", "Rules that do not hold."),
    Key("expect", "both", _expectations, "expectations", "What must be so."),
    Key("severity", "both", _severities, "table", "Rules, each with `error`, `warning` or `info`."),
    Key("limits", "both", _limits, "table", "Numbers that rules compare with, by name."),
    Key("known-labels", "both", _labels, "label values", 'The values that label maps may hold; "10-35" is a range.'),
    Key("label-map", "overrides", _yes_or_no, "true or false", "Whether the paths are label maps."),
    Key("label-maps", "check", _patterns, "patterns", "Paths that are label maps, whatever their headers say."),
    Key("pair", "check", _pairs, "two patterns, or pairs", "Which label map belongs to which image, as `--pair`."),
    Key("exclude", "check", _patterns, "patterns", "Paths that are not looked at, not even when they are named."),
    Key("error-on", "check", _severity, "severity", "Severity from which a finding makes the exit code 1."),
    Key("header-only", "check", _yes_or_no, "true or false", "Whether rules that read voxels are left out."),
    Key("baseline", "check", _text, "file", "File that knows findings of which nothing is said."),
    Key("overrides", "check", _tables, "tables", "What holds for some paths only; a later one wins."),
)
"""Keys of ``[check]`` and ``[[check.overrides]]``; to add one, give it a row."""


def load_config(wishes: Wishes) -> Config:
    """Return what holds for all paths of a run.

    Parameters
    ----------
    wishes : Wishes

    Raises
    ------
    UsageError
        If a file or a wish makes no sense: the message names the file and the key.
    """
    if wishes.isolated and wishes.config is not None:
        raise UsageError("--config names a file, and --isolated says that there is none")
    source = None
    if not wishes.isolated:
        source = find_source() if wishes.config is None else read_source(wishes.config)
    values = {} if source is None else _values_of(source)
    overrides = values.pop("overrides", ())
    folder = working_folder()
    root = folder if source is None else os.path.dirname(os.path.abspath(source.path))
    baseline = values.get("baseline")
    header_only = wishes.header_only or values.get("header-only", False)
    known = tuple(code for code, rule in RULES.items() if not (header_only and rule.reads_voxels))
    maps = values.get("label-maps")
    return Config(
        root=root,
        folder=folder,
        codes=tuple(code for code in known if RULES[code].on),
        known_codes=known,
        needs={code: rule.needs for code, rule in RULES.items() if rule.needs},
        layers=(
            _layer(values),
            *((Layer(paths=maps, labels=True),) if maps else ()),
            *map(_layer, overrides),
            _layer_of(wishes),
        ),
        exclude=values.get("exclude", Patterns()),
        pairs=(wishes.pair,) if wishes.pair else values.get("pair", ()),
        error_on=wishes.error_on or values.get("error-on", "error"),
        header_only=header_only,
        baseline=wishes.baseline or (baseline and os.path.relpath(os.path.join(root, baseline))),
        file=source and source.path,
    )


def _values_of(source: Source) -> dict[str, Any]:
    """Return the keys of a file with what they mean; of ``overrides`` a list of such."""
    _refuse_others(source.values, ["check"], source, f"[{source.prefix[:-1]}]" if source.prefix else "the file")
    name = f"{source.prefix}check"
    try:
        table = _table(source.values.get("check", {}))
    except UsageError as error:
        raise UsageError(f"[{name}]: {error.message}", path=source.path) from None
    values = _read_keys(table, "check", f"[{name}]", source)
    if "overrides" in values:
        places = ((f"[[{name}.overrides]] {number}", each) for number, each in enumerate(values["overrides"], 1))
        values["overrides"] = [_read_keys(each, "overrides", place, source) for place, each in places]
        for number, each in enumerate(values["overrides"], 1):
            if "paths" not in each:
                raise UsageError(f"[[{name}.overrides]] {number}: paths are missing", path=source.path)
    return values


def _read_keys(table: Mapping[str, Any], where: str, place: str, source: Source) -> dict[str, Any]:
    keys = {key.name: key for key in KEYS if key.where in (where, "both")}
    _refuse_others(table, list(keys), source, place)
    found = {}
    for name, value in table.items():
        try:
            found[name] = keys[name].read(value)
        except UsageError as error:
            raise UsageError(f"{place} {name}: {error.message}", path=source.path, hint=error.hint) from None
    return found


def _refuse_others(table: Mapping[str, Any], known: list[str], source: Source, place: str) -> None:
    for name in table:
        if name not in known:
            raise UsageError(f"{place} has no key {name!r}", path=source.path, hint=_near(name, known))


def _layer(values: Mapping[str, Any]) -> Layer:
    """Return what a table says of rules; who knows the labels of some paths says that they are label maps."""
    known, paths = values.get("known-labels"), values.get("paths")
    return Layer(
        paths=paths,
        select=values.get("select"),
        extend_select=values.get("extend-select", {}),
        ignore=values.get("ignore", {}),
        severities=values.get("severity", {}),
        limits=values.get("limits", {}),
        expect=values.get("expect"),
        labels=values.get("label-map", True if known is not None and paths is not None else None),
        known=known,
    )


def _layer_of(wishes: Wishes) -> Layer:
    """Return what a command line says of rules."""
    options = {
        "--select": (_rules, wishes.select),
        "--extend-select": (_rules, wishes.extend_select),
        "--ignore": (_rules, wishes.ignore),
        "--expect": (_expectations, wishes.expect),
        "--pair": (_pairs, wishes.pair),
    }
    found = dict(_options(options))
    return Layer(
        select=found.get("--select"),
        extend_select=found.get("--extend-select", {}),
        ignore=found.get("--ignore", {}),
        expect=found.get("--expect"),
    )


def _options(options: Mapping[str, tuple[Callable[[Any], Any], Any]]) -> Iterator[tuple[str, Any]]:
    for name, (read, given) in options.items():
        if given:
            try:
                yield name, read(list(given))
            except UsageError as error:
                raise _within(error, name) from None


def _within(error: UsageError, name: str) -> UsageError:
    """Return an error that says where it was."""
    return UsageError(f"{name}: {error.message}", hint=error.hint)


def _near(name: str, known: list[str]) -> str:
    return did_you_mean(name, known, f"there are {', '.join(known)}")


def _shown(value: Any) -> str:
    from reprlib import repr as short

    return short(value)

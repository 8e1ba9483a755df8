"""Which rules hold for which path, and what is expected there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from medimg_cli.checks.expectations import parse
from medimg_cli.checks.limits import LIMITS
from medimg_cli.checks.measures import MEASURES
from medimg_cli.checks.patterns import Patterns, place_of
from medimg_cli.checks.rule import Rule, Severity

__all__ = ["Config", "Layer", "Settings", "Wishes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for one path.

    Parameters
    ----------
    codes : tuple of str
        Of the rules that hold.
    severities : mapping of str to str
        Code -> severity, where it is not the one of the rule.
    limits : mapping of str to float
        Those of `LIMITS` that are not as there.
    expect : tuple of str
        Expectations, as they were written: "spacing <= 1.0".
    labels : bool or None
        Whether the path is a label map; None where nobody says so.
    known : tuple of int or None
        The values that a label map here may hold; None: nobody says.
    header_only : bool
        Whether voxels are left alone.
    """

    codes: tuple[str, ...] = ()
    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    expect: tuple[str, ...] = ()
    labels: bool | None = None
    known: tuple[int, ...] | None = None
    header_only: bool = False

    @property
    def of_header(self) -> bool:
        """Whether anything is expected of headers."""
        return any(not MEASURES[parse(text).measure].of_values for text in self.expect)

    @property
    def of_values(self) -> bool:
        """Whether anything is expected of values, so that voxels must be read."""
        return any(MEASURES[parse(text).measure].of_values for text in self.expect)

    def limit(self, name: str) -> float:
        """Return a number that a rule compares with."""
        return self.limits[name] if name in self.limits else _DEFAULTS[name]

    def severity(self, rule: Rule) -> Severity:
        """Return how bad it is to break a rule here."""
        return self.severities.get(rule.code, rule.severity)


_DEFAULTS = {limit.name: limit.value for limit in LIMITS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one place says of rules: a configuration file, a part of it that holds for some paths, or a command line.

    Parameters
    ----------
    paths : Patterns or None
        What it holds for; None: everything.
    select : mapping of str to int, or None
        Code -> how closely it was named: 0 by "all", 1 by its letter, 4 by all of it. All other rules are left out.
    extend_select, ignore : mapping of str to int
        Likewise; rules beside the others, and those to leave out.
    severities, limits : mapping
        As in `Settings`.
    expect : tuple of str or None
        Expectations: each takes the place of what was said of the same fact before; () takes all of them away.
    labels, known
        As in `Settings`; None: nothing is said.
    """

    paths: Patterns | None = None
    select: Mapping[str, int] | None = None
    extend_select: Mapping[str, int] = field(default_factory=dict)
    ignore: Mapping[str, int] = field(default_factory=dict)
    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    expect: tuple[str, ...] | None = None
    labels: bool | None = None
    known: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What holds for all paths of a run.

    Parameters
    ----------
    root : str
        Folder that the patterns of paths start from; absolute.
    folder : str
        The working folder: what paths start from.
    codes : tuple of str
        Of the rules that hold where nothing else is said of a path.
    known_codes : tuple of str
        Of all rules that may be selected.
    needs : mapping of str to str
        Code -> the property of `Settings` without which the rule has nothing to say.
    layers : tuple of Layer
        From the weakest up.
    exclude : Patterns
        Paths that are not looked at.
    pairs : tuple of (str, str)
        Pattern of images, and where the label map of each is.
    error_on : str
        Severity from which a finding makes the exit code 1.
    header_only : bool
        Whether voxels are left alone.
    baseline : str or None
        File that knows findings of which nothing is to be said.
    file : str or None
        The configuration file, as people call it.
    """

    root: str = ""
    folder: str = ""
    codes: tuple[str, ...] = ()
    known_codes: tuple[str, ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    exclude: Patterns = field(default_factory=Patterns)
    pairs: tuple[tuple[str, str], ...] = ()
    error_on: Severity = "error"
    header_only: bool = False
    baseline: str | None = None
    file: str | None = None
    #: Which layers hold -> what comes of them: worked out once, and never for a `Config` that was replaced.
    _made: dict[tuple[bool, ...], Settings] = field(default_factory=dict, init=False, compare=False, repr=False)

    def settings_for(self, path: str) -> Settings:
        """Return what holds for one path."""
        if any(layer.paths is not None for layer in self.layers):
            place = place_of(path, self.root, self.folder)
            held = tuple(layer.paths is None or layer.paths.match(place) for layer in self.layers)
        else:
            held = ()
        settings = self._made.get(held)
        if settings is None:
            layers = [layer for layer, holds in zip(self.layers, held, strict=True) if holds] if held else self.layers
            settings = self._made[held] = self._settings(layers)
        return settings

    def excludes(self, path: str) -> bool:
        """Tell whether a path is not to be looked at; also one that a user named."""
        return bool(self.exclude) and path != "-" and self.exclude.match(place_of(path, self.root, self.folder))

    def _settings(self, layers: Sequence[Layer]) -> Settings:
        severities: dict[str, Severity] = {}
        limits: dict[str, float] = {}
        labels, known = None, None
        for layer in layers:
            severities.update(layer.severities)
            limits.update(layer.limits)
            labels = labels if layer.labels is None else layer.labels
            known = known if layer.known is None else layer.known
        settings = Settings(
            severities=severities,
            limits=limits,
            expect=_expected(layers),
            labels=labels,
            known=known,
            header_only=self.header_only,
        )
        return replace(settings, codes=self._chosen(layers, settings))

    def _chosen(self, layers: Sequence[Layer], settings: Settings) -> tuple[str, ...]:
        """Return the rules that hold, of those that have anything to say."""
        usual = frozenset(self.codes)
        return tuple(
            code
            for code in self.known_codes
            if _is_on(code, layers, code in usual) and (code not in self.needs or getattr(settings, self.needs[code]))
        )


def _is_on(code: str, layers: Sequence[Layer], on: bool) -> bool:
    """Tell whether a rule holds.

    In one layer, who names it more closely wins, and of two that name it as closely, ``ignore``. A later layer wins
    over those before it, but what an earlier one ignores comes back only where it is named as closely as there.
    """
    ignored = -1
    for layer in layers:
        wanted = max((layer.select or {}).get(code, -1), layer.extend_select.get(code, -1))
        unwanted = layer.ignore.get(code, -1)
        if unwanted >= 0 and unwanted >= wanted:
            on, ignored = False, max(unwanted, ignored)
        elif wanted >= 0:
            on = wanted >= ignored
            ignored = -1 if on else ignored
        elif layer.select is not None:
            on = False
    return on


def _expected(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return what is expected; a later layer goes before what an earlier one says of the same fact."""
    expected: list[str] = []
    for layer in layers:
        if layer.expect is not None:
            about = {parse(text).measure for text in layer.expect}
            kept = [text for text in expected if layer.expect and parse(text).measure not in about]
            expected = [*kept, *layer.expect]
    return tuple(dict.fromkeys(expected))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a command line says of rules; each goes before what a configuration file says.

    Parameters
    ----------
    select, extend_select, ignore : tuple of str
        Codes, the first letters of codes, names, or "all"; several with commas between them.
    expect : tuple of str
        Expectations for all paths.
    pair : (str, str) or None
        As one of ``Config.pairs``.
    header_only : bool
        Whether rules that read voxels are left out.
    error_on : str or None
        Severity from which a finding makes the exit code 1.
    baseline : str or None
        File that knows findings of which nothing is to be said.
    config : str or None
        Configuration file; None: the nearest one above the working folder.
    isolated : bool
        Whether no file is looked for.
    """

    select: tuple[str, ...] | None = None
    extend_select: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    expect: tuple[str, ...] | None = None
    pair: tuple[str, str] | None = None
    header_only: bool = False
    error_on: Severity | None = None
    baseline: str | None = None
    config: str | None = None
    isolated: bool = False

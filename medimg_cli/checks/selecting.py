"""Which rules people mean: ``H001``, ``H0``, ``H``, ``forms-disagree``, ``all``."""

from __future__ import annotations

from collections.abc import Iterable

from medimg_cli.checks.rules import RULES
from medimg_cli.errors import UsageError
from medimg_cli.text import did_you_mean

__all__ = ["meant", "meant_by_all"]


def meant(word: str) -> dict[str, int]:
    """Return the rules that a word means.

    Parameters
    ----------
    word : str
        A code, how codes begin, a name, or "all"; capital or small letters.

    Returns
    -------
    dict
        Code -> how closely the word names it: the letters of the code that it gives; 0 for "all", 4 for a name.

    Raises
    ------
    UsageError
        If there is no such rule.

    Examples
    --------
    >>> meant("h001"), meant("forms-disagree"), set(meant("H").values())
    ({'H001': 4}, {'H001': 4}, {1})
    """
    text = word.strip()
    if text.lower() == "all":
        return dict.fromkeys(RULES, 0)
    codes = [code for code in RULES if text and code.startswith(text.upper())]
    if codes:
        return dict.fromkeys(codes, len(text))
    named = [code for code, rule in RULES.items() if rule.name == text.lower()]
    if not named:
        raise UsageError(f"no rule is called {word!r}", hint=_hint(text))
    return dict.fromkeys(named, len(named[0]))


def meant_by_all(words: Iterable[str]) -> dict[str, int]:
    """Return the rules that several words mean, commas between them or not, each named as closely as any word does.

    Raises
    ------
    UsageError
        If one of them means no rule.
    """
    found: dict[str, int] = {}
    for word in words:
        for each in word.split(","):
            for code, closely in meant(each).items():
                found[code] = max(closely, found.get(code, 0))
    return found


def _hint(word: str) -> str:
    names = (name for code, rule in RULES.items() for name in (code, rule.name))
    return did_you_mean(word, names, "see: medimg check --explain all")

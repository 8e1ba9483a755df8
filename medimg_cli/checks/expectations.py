"""What people expect of images, in a line each: ``spacing <= 1.0``, ``dtype in [int16, uint8]``.

::

    expectation = fact operator value [tolerance]
    operator    = "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in" | "matches"
    value       = item                             behind "in" and "not in": "[" item {"," item} "]"
    item        = number | axes | range | text | "none"
    axes        = axis ("x" axis)+                 or, behind "=" and its like, "[" number {"," number} "]"
    axis        = number | "*"
    range       = number ".." number               behind "in" and "not in" only
    tolerance   = ("+-" | "±") number

Nothing is evaluated: what is none of this is refused, with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from medimg_cli.checks.measures import MEASURES, Measure
from medimg_cli.errors import UsageError
from medimg_cli.text import did_you_mean

__all__ = ["Expectation", "Span", "parse"]

#: Of the expected number: numbers that are not whole are taken for it so near to it. Headers keep 24 bits.
_NEAR = 1e-5
_LONGEST = 2000
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[-+]?(?:\d+(?:\.(?!\.)\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<by>x(?=[\s\d*+.-]|$))
    |(?P<quoted>"[^"]*"|'[^']*')
    |(?P<sign><=|>=|!=|==|=|<|>|\+/?-|±|\.\.|\[|\]|,|\*)
    |(?P<word>[^\W\d][\w./-]*)
    )""",
    re.VERBOSE,
)
_ORDERS = ("<=", ">=", "<", ">")
_OPERATORS = ("=", "==", "!=", *_ORDERS)


class Span(NamedTuple):
    """Numbers from one to another, both included."""

    low: float
    high: float


class Expectation(NamedTuple):
    """One expectation.

    Parameters
    ----------
    measure : str
        Of which fact: a key of `MEASURES`.
    operator : str
        "=", "!=", "<", "<=", ">", ">=", "in", "not in" or "matches".
    values : tuple
        What it may be: one, or several where ``operator`` says so. Numbers, text, None (absent), tuples of numbers and
        None, a number an axis (None: any), and `Span`.
    tolerance : float or None
        How far off a number may be; None: exactly if both are whole, else 1e-5 of it.
    wanted : str
        Operator and value as they were written.
    """

    measure: str
    operator: str
    values: tuple[Any, ...]
    tolerance: float | None
    wanted: str

    def keeps(self, found: Any) -> bool:
        """Tell whether what was found is as expected.

        Parameters
        ----------
        found : number, str, tuple of numbers or None
            The fact, as its `Measure` has it; None: it is absent.
        """
        if self.operator in ("!=", "not in"):
            return not self._any_is(found)
        if self.operator in _ORDERS:
            return found is not None and self._in_order(found)
        if self.operator == "matches":
            return found is not None and fnmatchcase(str(found).casefold(), self.values[0].casefold())
        return self._is(found)

    def _is(self, found: Any) -> bool:
        """Tell whether what was found is what is expected, or one of it: of several numbers, each."""
        if not isinstance(found, tuple):
            return self._among(found)
        plain = any(type(value) is not tuple for value in self.values)
        return self._is_whole(found) or (plain and all(map(self._among, found)))

    def _any_is(self, found: Any) -> bool:
        """Tell whether what was found, or one number of it, is what must not be."""
        if not isinstance(found, tuple):
            return self._among(found)
        return self._is_whole(found) or any(map(self._among, found))

    def _among(self, found: Any) -> bool:
        return any(self._same(found, value) for value in self.values)

    def _is_whole(self, found: tuple[Any, ...]) -> bool:
        """Tell whether several numbers are one of the expected tuples: axis by axis, or as sets."""
        wanted = [value for value in self.values if type(value) is tuple]
        if MEASURES[self.measure].kind == "set":
            return any(self._holds(found, value) and self._holds(value, found) for value in wanted)
        return any(self._on_axes(found, value, self._same) for value in wanted)

    def _holds(self, numbers: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
        return all(any(self._same(each, other) for each in numbers) for other in others)

    @staticmethod
    def _on_axes(found: tuple[Any, ...], wanted: tuple[Any, ...], holds: Callable[[Any, Any], bool]) -> bool:
        part = found[len(found) - len(wanted) :]  # a shape of three leaves channels out
        pairs = zip(part, wanted, strict=False)
        return len(part) == len(wanted) and all(value is None or holds(each, value) for each, value in pairs)

    def _same(self, found: Any, value: Any) -> bool:
        if found is None or value is None:
            return found is value
        if isinstance(value, Span):
            if MEASURES[self.measure].kind == "set" and not (isfinite(found) and found == int(found)):
                return False  # labels are whole numbers
            return value.low <= found <= value.high or self._near(found, value.low) or self._near(found, value.high)
        if isinstance(value, str) or isinstance(found, str):
            return str(found).casefold() == str(value).casefold()
        return type(value) is not tuple and self._near(found, value)

    def _near(self, found: float, value: float) -> bool:
        if found == value:
            return True
        if self.tolerance is not None:
            return bool(abs(found - value) <= self.tolerance * (1 + 1e-9))
        whole = value == int(value) and isfinite(found) and found == int(found)
        return not whole and bool(abs(found - value) <= _NEAR * abs(value))

    def _in_order(self, found: Any) -> bool:
        (wanted,) = self.values
        if not isinstance(found, tuple):
            return self._one_in_order(found, wanted)
        if type(wanted) is tuple:
            return self._on_axes(found, wanted, self._one_in_order)
        return all(self._one_in_order(each, wanted) for each in found)

    def _one_in_order(self, found: float, value: float) -> bool:
        if self._near(found, value):
            return self.operator in ("<=", ">=")
        return bool(found < value if self.operator.startswith("<") else found > value)


@lru_cache(4096)
def parse(text: str) -> Expectation:
    """Read an expectation.

    Parameters
    ----------
    text : str

    Raises
    ------
    UsageError
        If it is none, with the place where it stops making sense.

    Examples
    --------
    >>> parse("spacing = 1 x 1 x 3 +- 0.01")
    Expectation(measure='spacing', operator='=', values=((1, 1, 3),), tolerance=0.01, wanted='= 1 x 1 x 3 +- 0.01')
    >>> parse("labels in [0, 1, 10..35]").values
    (0, 1, Span(low=10, high=35))
    >>> parse("spacing <= 1").keeps((0.9, 1.0000001, 1)), parse("spacing <= 1").keeps((0.9, 1.2, 1))
    (True, False)
    """
    return _Parser(text).expectation()


class _Parser:
    """Reads one expectation, token by token."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        if len(text) > _LONGEST:
            raise UsageError(f"an expectation of {len(text)} characters, at most {_LONGEST} make sense")
        self.kind, self.token, self.end = "", "", 0
        self.advance()

    def advance(self) -> None:
        """Go to the next token; its kind is "" at the end."""
        found = _TOKEN.match(self.text, self.end)
        if found is not None:
            self.kind, self.at = found.lastgroup or "", found.start(found.lastgroup or 0)
            self.token, self.end = found[self.kind], found.end()
            return
        rest = self.text[self.end :].lstrip()
        self.kind, self.token, self.at = "odd" if rest else "", rest.split(" ")[0], len(self.text) - len(rest)

    def refuse(self, wanted: str, hint: str | None = None, at: int | None = None) -> UsageError:
        """Return the error that says what was expected here."""
        place = (self.at if at is None else at) + 1
        found = f", found {self.token!r}" if at is None and self.token else ""
        return UsageError(f"{self.text!r}, character {place}: {wanted}{found}", hint=hint)

    def take(self, *tokens: str) -> str | None:
        """Take one of some tokens, if it is next."""
        if self.kind in ("sign", "word", "by") and self.token in tokens:
            token = self.token
            self.advance()
            return token
        return None

    def expectation(self) -> Expectation:
        measure = self.measure()
        start = self.at
        operator = self.operator(measure)
        if operator == "matches":
            values: tuple[Any, ...] = (self.glob(),)
        elif operator in ("in", "not in"):
            values = self.several(measure)
        else:
            values = (self.value(measure, operator),)
        tolerance = self.tolerance(measure, operator)
        if self.kind:
            raise self.refuse("nothing more expected")
        return Expectation(measure.name, operator, values, tolerance, " ".join(self.text[start:].split()))

    def measure(self) -> Measure:
        if self.kind != "word":
            raise self.refuse("a fact such as spacing expected")
        name = self.token.lower().replace("_", "-")
        known = {alias: row for row in MEASURES.values() for alias in (row.name, *row.others)}
        if name not in known:
            raise self.refuse("a fact expected", hint=did_you_mean(name, known, f"there are {', '.join(MEASURES)}"))
        self.advance()
        return known[name]

    def operator(self, measure: Measure) -> str:
        at = self.at
        if (self.kind, self.token) == ("word", "matches"):  # what follows is no token
            if measure.kind != "text":
                raise self.refuse(f"{measure.name} is no text: it has no 'matches'", at=at)
            return "matches"
        if self.take("not"):
            if not self.take("in"):
                raise self.refuse("'in' expected behind 'not'")
            return "not in"
        token = self.take("in", *_OPERATORS)
        if token is None:
            raise self.refuse("an operator (=, !=, <, <=, >, >=, in, not in, matches) expected")
        if token in _ORDERS and measure.kind == "text":
            raise self.refuse(f"{measure.name} is text: it has no {token!r}", at=at)
        return "=" if token == "==" else token

    def glob(self) -> str:
        """Take the rest as a pattern."""
        rest = self.text[self.end :].strip()
        text = rest[1:-1] if len(rest) > 1 and rest[0] == rest[-1] and rest[0] in "\"'" else rest
        self.at = self.end
        if not text:
            raise self.refuse("a pattern such as *FSL* expected", at=len(self.text))
        self.kind = ""
        return text

    def value(self, measure: Measure, operator: str) -> Any:
        """Take one value, which may be several numbers in brackets."""
        at = self.at
        several = measure.kind == "axes" or (measure.kind == "set" and operator not in _ORDERS)
        if several and self.take("["):
            return self.sized(measure, tuple(self.until_bracket(self.axis, measure)), at)
        value = self.item(measure)
        if isinstance(value, Span):
            raise self.refuse("a range stands in brackets behind 'in'", at=at)
        if value is None and operator in _ORDERS:
            raise self.refuse(f"a number expected behind {operator!r}", at=at)
        return value

    def several(self, measure: Measure) -> tuple[Any, ...]:
        """Take values in brackets."""
        if not self.take("["):
            raise self.refuse("'[' expected")
        return tuple(self.until_bracket(self.item, measure))

    def until_bracket(self, take: Callable[[Measure], Any], measure: Measure) -> Iterator[Any]:
        """Take what stands between commas, and the bracket behind it."""
        yield take(measure)
        while self.take(","):
            yield take(measure)
        if not self.take("]"):
            raise self.refuse("',' or ']' expected")

    def item(self, measure: Measure) -> Any:
        """Take text, a number, a range, or a number an axis."""
        if measure.kind != "set" and self.kind == "word" and self.token.lower() == "none":
            self.advance()
            return None
        if measure.kind == "text":
            return self.words(measure)
        at = self.at
        first = self.axis(measure)
        value: Any = first
        if first is not None and self.take(".."):
            value = Span(first, self.number())
            if value.high < value.low:
                raise self.refuse("the range ends before it begins", at=at)
        elif measure.kind == "axes" and (self.kind == "by" or first is None):
            axes = [first]
            while self.take("x"):
                axes.append(self.axis(measure))
            value = self.sized(measure, tuple(axes), at)
        self.unit(measure)
        return value

    def axis(self, measure: Measure) -> float | None:
        """Take a number, or where there are axes ``*``."""
        if measure.kind == "axes" and self.take("*"):
            return None
        return self.number("a number or *" if measure.kind == "axes" else "a number")

    def sized(self, measure: Measure, values: tuple[Any, ...], at: int) -> tuple[Any, ...]:
        """Refuse a count of axes that the fact does not have."""
        if measure.sizes and len(values) not in measure.sizes:
            sizes = " or ".join(map(str, measure.sizes))
            raise self.refuse(f"{sizes} numbers expected for {measure.name}, not {len(values)}", at=at)
        return values

    def unit(self, measure: Measure) -> None:
        """Take the unit of a number, where somebody wrote it."""
        if measure.unit:
            self.take(measure.unit)

    def number(self, wanted: str = "a number") -> float:
        if self.kind != "number":
            raise self.refuse(f"{wanted} expected")
        value = int(self.token) if self.token.lstrip("+-").isdecimal() else float(self.token)
        if not isfinite(value):
            raise self.refuse("a finite number expected")
        self.advance()
        return value

    def words(self, measure: Measure) -> str:
        """Take text: quoted, or words."""
        at = self.at
        if self.kind not in ("quoted", "word", "number"):
            raise self.refuse("text expected")
        text = self.token[1:-1] if self.kind == "quoted" else self.token
        quoted = self.kind == "quoted"
        self.advance()
        while not quoted and self.kind == "word":
            text += f" {self.token}"
            self.advance()
        allowed = measure.choices()
        if allowed is not None and text.casefold() not in allowed:
            hint = did_you_mean(text, allowed, f"there are {', '.join(allowed[:6])}")
            raise self.refuse(f"{text!r} is no {measure.name}", hint=hint, at=at)
        return text

    def tolerance(self, measure: Measure, operator: str) -> float | None:
        at = self.at
        if not self.take("+-", "+/-", "±"):
            return None
        if measure.kind == "text" or operator in ("<", ">"):
            raise self.refuse("no tolerance expected here", at=at)
        value = self.number("a tolerance")
        if value < 0:
            raise self.refuse("a tolerance of at least 0 expected", at=at)
        self.unit(measure)
        return value

"""From values to what a screen shows: 8 bits of grey, or the colours of labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Any

import numpy as np

from medimg_cli.errors import UsageError

if TYPE_CHECKING:
    from medimg_cli.header import Header
    from medimg_cli.labels import LabelTable

__all__ = [
    "PERCENTILES",
    "PRESETS",
    "LabelColours",
    "Shades",
    "WindowRule",
    "describe_window",
    "inverted",
    "parse_window",
    "stored_window",
    "window_of",
]

Array = np.ndarray[Any, Any]

#: Percentiles of the values that become black and white.
PERCENTILES = (0.5, 99.5)

PRESETS = {
    "brain": (40, 80),
    "subdural": (75, 215),
    "stroke": (40, 40),
    "lung": (-600, 1500),
    "mediastinum": (50, 350),
    "soft": (40, 400),
    "abdomen": (50, 400),
    "liver": (30, 150),
    "bone": (400, 1800),
    "angio": (300, 600),
}
"""Centre and width of windows for CT in Hounsfield units.

All but one are typical values that Radiopaedia gives ("Windowing (CT)", doi:10.53347/rID-52108), and where it gives a
range, one from inside. The window for angiography is that of the Stone viewer of Orthanc.
"""

#: How a window may be written, for hints.
_FORMS = "CENTER,WIDTH as in 40,80, LOW:HIGH as in 0:1200, 1%:99%, full, or a name as in brain"
#: Values that lie in so small a part of a window look alike.
_ONE_SHADE = 0.02
#: A file's own window is not believed where fewer of the values lie inside, or it is so many times as wide as they are.
_INSIDE, _WIDER = 0.01, 10

#: Distinct colours for labels that have none of their own, in the order of their values; 0 is black.
_COLOURS = (
    *((230, 75, 60), (70, 170, 90), (85, 130, 230), (240, 190, 60), (175, 95, 200), (75, 200, 205)),
    *((240, 140, 60), (150, 195, 80), (225, 120, 175), (130, 150, 175), (190, 140, 100), (250, 235, 150)),
)
_BLACK = (0, 0, 0)
#: Labels from 0 up to this one are looked up in one step.
_DENSE = 1 << 16


@dataclass(frozen=True)
class WindowRule:
    """How a window is found: the answer to `parse_window`.

    Parameters
    ----------
    low, high : float
        Values that become black and white, or percentiles.
    percent : bool
        Whether these are percentiles, 0 to 100.
    stored : bool
        Whether the file's own window goes before the percentiles.
    preset : str
        Name of the preset that it was; a rule is the same without.
    """

    low: float
    high: float
    percent: bool = False
    stored: bool = False
    preset: str = field(default="", compare=False, repr=False)

    def limits(
        self, header: Header, sample: Callable[[], Array], extremes: Callable[[], tuple[float, float]] | None = None
    ) -> tuple[float, float]:
        """Return the values that become black and white.

        The file's own window is not believed where it would show nothing: where fewer than one value in a hundred
        lies inside, or where it is more than ten times as wide as the values. Percentiles are taken then.

        Parameters
        ----------
        header : Header
        sample : function without arguments
            Gives an array of values; called only where the answer depends on them.
        extremes : function without arguments, optional
            Gives the smallest and the largest of all values, as `window_of` takes it.

        Returns
        -------
        low, high : float
            Low is the smaller one.

        Examples
        --------
        >>> from medimg_cli.affine import AffineMatrix
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(1, 9, 9, 9), dtype="int16", affine=AffineMatrix(), metadata={"nifti_cal_max": 300.0})
        >>> parse_window("auto").limits(header, lambda: np.arange(1000))
        (0.0, 300.0)
        >>> parse_window("auto").limits(header.replace(metadata={"nifti_cal_max": 1.0}), lambda: np.arange(1001))
        (5.0, 995.0)
        """
        if not self.percent:
            return self.low, self.high
        values = sample()
        found = window_of(values, (self.low, self.high), extremes)
        own = stored_window(header) if self.stored else None
        return own if own is not None and _shows(own, values, found) else found

    def remark(self, header: Header, limits: tuple[float, float], values: Array | None = None) -> str | None:
        """Return what a user should know of the limits that were found; None where they are as expected.

        Parameters
        ----------
        header : Header
        limits : (low, high)
        values : array, optional
            A sample, to tell whether anything is seen.

        Examples
        --------
        >>> from medimg_cli.affine import AffineMatrix
        >>> from medimg_cli.header import Header
        >>> header = Header(shape=(1, 9, 9, 9), dtype="int16", affine=AffineMatrix(), metadata={"Modality": "MR"})
        >>> parse_window("brain").remark(header, (0, 80))
        'brain is a window for CT, the image says MR'
        """
        modality = header.metadata.get("Modality", "CT")
        if self.preset and modality != "CT":
            return f"{self.preset} is a window for CT, the image says {modality}"
        if values is not None and values.size:
            if not np.isfinite(values).any():
                return "no value is finite: there is nothing to see"
            low, high = window_of(values, PERCENTILES)
            narrow = high - low < _ONE_SHADE * (limits[1] - limits[0])
            if self.preset and (narrow or low >= limits[1] or high <= limits[0]):
                return f"{self.preset}, for Hounsfield units, shows values from {low:.4g} to {high:.4g} as one shade"
        own = stored_window(header) if self.stored else None
        if own is None or own == limits:
            return None
        return f"the file's own {describe_window(*own)} would show nothing, percentiles are taken"


def parse_window(text: str | None) -> WindowRule:
    """Read a window as users write it.

    Parameters
    ----------
    text : str or None
        "auto" or None, a key of `PRESETS`, "CENTER,WIDTH", "LOW:HIGH", "1%:99%" (percentiles), or "full" (from the
        smallest to the largest value).

    Raises
    ------
    UsageError
        If it is none of these, or such a window holds no value.

    Examples
    --------
    >>> parse_window("brain") == parse_window("40,80") == parse_window("0:80")
    True
    >>> parse_window("1%:99%")
    WindowRule(low=1.0, high=99.0, percent=True, stored=False)
    """
    word = "auto" if text is None else text.strip().lower()
    if word == "auto":
        return WindowRule(*PERCENTILES, percent=True, stored=True)
    if word == "full":
        return WindowRule(0.0, 100.0, percent=True)
    if word in PRESETS:
        return replace(_around(*PRESETS[word]), preset=word)
    parts = [part.strip() for part in re.split("[,:]", word)]
    percent = ":" in word and len(parts) == 2 and all(part.endswith("%") for part in parts)
    numbers = [_number(part.removesuffix("%") if percent else part) for part in parts]
    if len(numbers) != 2 or None in numbers:
        raise UsageError(f"no window: {text!r}", hint=_hint(word))
    first, second = (number for number in numbers if number is not None)
    if "," in word:
        if second <= 0:
            raise UsageError(f"the window {text!r} has a width of {second:g}", hint="give CENTER,WIDTH, width above 0")
        return _around(first, second)
    if first >= second:
        raise UsageError(f"the window {text!r} ends where it starts, or before", hint="give LOW:HIGH")
    if percent and not 0 <= first < second <= 100:
        raise UsageError(f"the window {text!r} has percentiles outside 0% to 100%")
    return WindowRule(first, second, percent=percent)


def _around(center: float, width: float) -> WindowRule:
    return WindowRule(center - width / 2, center + width / 2)


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None


def _hint(word: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, ["auto", "full", *PRESETS], 1)
    return f"did you mean {near[0]}?" if near else f"give {_FORMS}"


def stored_window(header: Header) -> tuple[float, float] | None:
    """Return the values that become black and white as the file itself says; None where it does not.

    NIfTI's ``cal_min`` and ``cal_max`` (``nifti1.h``: of scaled values) go before DICOM's WindowCenter and WindowWidth,
    of which the first of several counts. Their linear function (PS3.3, C.11.2.1.2.1) runs from c - 0.5 - (w - 1) / 2 to
    c - 0.5 + (w - 1) / 2. Where a width is 1 or less, which that function does not know, and for the other functions,
    the window runs from c - w / 2 to c + w / 2 (LINEAR_EXACT, C.11.2.1.3.2). After values were rescaled, by what the
    history says, the window is of other values and does not count.

    Examples
    --------
    >>> from medimg_cli.affine import AffineMatrix
    >>> from medimg_cli.header import Header
    >>> tags = {"WindowCenter": [40, 450], "WindowWidth": [400, 1500]}
    >>> stored_window(Header(shape=(1, 9, 9, 9), dtype="int16", affine=AffineMatrix(), metadata=tags))
    (-160.0, 239.0)
    """
    if any(_rescales(step) for step in header.history):
        return None
    facts = header.metadata
    low, high = (_number(facts.get(f"nifti_{name}", 0)) for name in ("cal_min", "cal_max"))
    if low is not None and high is not None and low < high:
        return low, high
    center, width = (_number(_first(facts.get(name))) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    if width > 1 and facts.get("VOILUTFunction", "LINEAR") == "LINEAR":
        center, width = center - 0.5, width - 1
    return center - width / 2, center + width / 2


def _rescales(step: Mapping[str, Any]) -> bool:
    """Tell whether a step gave other values: rescale, and cast where it rescales to a range that was named."""
    parameters = step.get("parameters")
    named = isinstance(parameters, Mapping) and isinstance(parameters.get("rescale"), Sequence)
    return step.get("name") == "rescale" or named


def _first(value: Any) -> Any:
    """Return the first of several values, however they are listed."""
    if isinstance(value, str):
        return value.split("\\")[0]
    return next(iter(value), None) if isinstance(value, Sequence) else value


def _shows(window: tuple[float, float], values: Array, found: tuple[float, float]) -> bool:
    """Tell whether a window shows some of the values, and these as more than one shade of black."""
    low, high = window
    if high - low > _WIDER * (found[1] - found[0]):
        return False
    real = _real(values)
    with np.errstate(invalid="ignore"):
        inside = np.count_nonzero((real > low) & (real < high))
    return bool(inside >= _INSIDE * np.count_nonzero(np.isfinite(real)))


def inverted(header: Header) -> bool:
    """Tell whether low values are meant to be shown bright: DICOM's MONOCHROME1 (PS3.3, C.7.6.3.1.2)."""
    return bool(header.metadata.get("PhotometricInterpretation") == "MONOCHROME1")


def describe_window(low: float, high: float) -> str:
    """Say what a window is, in numbers as exact as three digits of its width.

    Examples
    --------
    >>> describe_window(0, 1200), describe_window(-0.0004, 0.98765)
    ('window 0 to 1200', 'window 0 to 0.988')
    """
    span = high - low
    digits = 2 - floor(log10(span)) if 0 < span < float("inf") else 0
    shown = (f"{round(end, max(digits, 0)) + 0.0:.10g}" for end in (low, high))
    return "window " + " to ".join(shown)


def window_of(
    values: Array, percentiles: tuple[float, float], extremes: Callable[[], tuple[float, float]] | None = None
) -> tuple[float, float]:
    """Return the values that become black and white.

    Parameters
    ----------
    values : array
        NaN and infinities do not count; of complex numbers their magnitude.
    percentiles : (low, high)
        In percent. Where both fall on one value, as in an image that is nearly all background, the extremes are taken.
    extremes : function without arguments, optional
        Gives the smallest and the largest value, where ``values`` are a sample; asked for where they are to be taken.

    Returns
    -------
    low, high : float
        Low is the smaller one, also where all values are the same.

    Examples
    --------
    >>> window_of(np.array([0.0, 1, 2, 3, 4, np.nan]), (0, 100))
    (0.0, 4.0)
    """
    finite = _real(values)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.percentile(finite, percentiles))
    if low == high or tuple(percentiles) == (0, 100):
        low, high = extremes() if extremes is not None else (float(finite.min()), float(finite.max()))
    return (low, high) if low < high else (low, low + 1.0)


class Shades:
    """Values as 8 bits of grey, linearly between the ends of a window.

    NaN is black, infinities are what lies beyond the window; of complex numbers the magnitude is shown. Types of 8 and
    16 bits go through a table, which is made once: make one object for all slices.

    Parameters
    ----------
    window : (low, high)
    inverted : bool
        Whether low is white and high is black.

    Examples
    --------
    >>> shades = Shades((0, 100))
    >>> shades(np.array([-5, 0, 50, 100], "int16")).tolist()
    [0, 0, 128, 255]
    >>> Shades((0, 100), inverted=True)(np.array([0, 100, np.inf, np.nan])).tolist()
    [255, 0, 0, 0]
    """

    def __init__(self, window: tuple[float, float], inverted: bool = False) -> None:
        low, high = (float(end) for end in window)
        self.window, self.inverted = (low, high), inverted
        self._tables: dict[str, Array] = {}

    def __call__(self, values: Array) -> Array:
        """Return an array of uint8 of the same shape."""
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        if values.dtype.itemsize > 2:
            return self._computed(values)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        places = np.dtype(f"u{values.dtype.itemsize}")
        table = self._tables.get(values.dtype.str)
        if table is None:
            every = np.arange(256**places.itemsize, dtype=places).view(values.dtype)
            table = self._tables[values.dtype.str] = self._computed(every)
        shown: Array = np.take(table, values.view(places), mode="clip")
        return shown

    def _computed(self, values: Array) -> Array:
        """Return the greys of values of any type; the steps work in one array, for they are many and large."""
        low, high = self.window
        start, most, span = (high, -255, high - low) if self.inverted else (low, 255, high - low)
        with np.errstate(all="ignore"):
            values = np.abs(values) if values.dtype.kind == "c" else values
            single = values.dtype == np.float32 and 1e-30 < span < 1e30
            part = np.subtract(values, start, dtype=np.float32 if single else np.float64)
            part *= most
            part /= span
            np.clip(part, 0, 255, out=part)
            np.rint(part, out=part)
            if part.size and np.isnan(part.min()):
                part[np.isnan(part)] = 0
            return part.astype(np.uint8)


def _real(values: Array) -> Array:
    return np.abs(values) if np.iscomplexobj(values) else values.astype(np.float64)


class LabelColours:
    """Labels as colours: those of a table, or one of twelve in turn by their value; 0 is black where it has none.

    A label has the same colour in all slices. What is no label is black: NaN, infinities, numbers between two labels.

    Parameters
    ----------
    table : LabelTable, optional
        Its opacities do not count.

    Examples
    --------
    >>> from medimg_cli.labels import LabelTable
    >>> LabelColours(LabelTable([(7, "liver", (221, 130, 101))]))(np.array([0, 7])).tolist()
    [[0, 0, 0], [221, 130, 101]]
    """

    def __init__(self, table: LabelTable | None = None) -> None:
        self._own = {label.value: label.color[:3] for label in table or () if label.color is not None}
        self._dense: Array | None = None

    def of(self, number: float) -> tuple[int, int, int]:
        """Return the red, green and blue of one label."""
        if not isfinite(number) or number != int(number):
            return _BLACK
        label = int(number)
        return self._own.get(label, _COLOURS[(label - 1) % len(_COLOURS)] if label else _BLACK)

    def __call__(self, values: Array) -> Array:
        """Return an array of uint8 with a last axis of red, green and blue."""
        if values.dtype.kind == "c":
            values = np.abs(values)
        if values.size and values.min() >= 0 and float(values.max()) < _DENSE:  # not so where there is a NaN
            numbers = values.astype(np.uint16, copy=False)
            if values.dtype.kind != "f" or (numbers == values).all():
                shown: Array = np.take(self._first_labels(), numbers, axis=0, mode="clip")
                return shown
        found, where = np.unique(values, return_inverse=True)
        shades = np.array([self.of(number) for number in found.tolist()], np.uint8).reshape(-1, 3)
        return shades[where.reshape(values.shape)]

    def _first_labels(self) -> Array:
        if self._dense is None:
            turns = np.arange(-1, _DENSE - 1) % len(_COLOURS)
            dense = np.array(_COLOURS, np.uint8)[turns]
            dense[0] = _BLACK
            for label, colour in self._own.items():
                if label < _DENSE:
                    dense[label] = colour
            self._dense = dense
        return self._dense

"""Changing how values are stored or what they are: cast, rescale, clamp. Nothing is lost in silence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, floor
from sys import float_info
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.backends import numpy_dtype, scale
from medimg_cli.dtypes import (
    ITEMSIZE,
    can_hold,
    integer_range,
    is_complex,
    is_float,
    is_integer,
    scaled_dtype,
)
from medimg_cli.errors import CastError, UnsupportedError, UsageError
from medimg_cli.operations.pointwise import MapBackend
from medimg_cli.operations.protocol import Recipe, Step

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Cast", "Clamp", "Rescale", "dtype_name"]

Pair = tuple[float, float]

#: Smallest and largest normal number of the floats that values with a slope are read as (IEEE 754).
_NORMAL = {"float32": (2.0**-126, (2 - 2.0**-23) * 2.0**127), "float64": (2.0**-1022, float_info.max)}


def dtype_name(dtype: Any) -> str:
    """Return our name of a dtype.

    Parameters
    ----------
    dtype : str, numpy dtype or type, torch dtype, or Python's bool, int, float, complex

    Raises
    ------
    UsageError
        If it is no type of voxels.

    Examples
    --------
    >>> dtype_name("int16"), dtype_name(float)
    ('int16', 'float64')
    """
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if name not in ITEMSIZE:
        import numpy as np

        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = ""
    if name not in ITEMSIZE:
        raise UsageError(f"{dtype!r} is no dtype of voxels", hint="one of: " + ", ".join(ITEMSIZE))
    return name


@dataclass(frozen=True, slots=True)
class Cast(Recipe):
    """Store values in another dtype.

    A cast refers to values, not to stored numbers: of an image with a slope, a cast to integers asks whether
    the *values* are whole. A cast to the dtype in which the image is stored changes nothing and keeps its
    slope. What would change a value is refused unless somebody says how:

    Parameters
    ----------
    dtype : str or dtype
        Wanted stored type.
    round : bool
        Fractions go to the nearest whole number (halves to the even one), floats to the nearest float of a
        narrower type.
    clip : bool
        Values beyond the range of the type take its nearest end. NaN, which integers lack, becomes 0.
    rescale : True or (low, high), optional
        True: the finite values are spread over the whole range of an integer type, and slope and inter are
        stored so that values survive to within half a step (and the precision of float32 up to 16 bits,
        float64 beyond). A pair: the values themselves become ``low`` ... ``high``, no slope is stored. Either
        says how to round; NaN and infinities still need ``clip``.
    slope, inter : float, optional
        Store ``(value - inter) / slope`` with these.
    source : (low, high), optional
        The range that is rescaled; found by `prepare` where left out.
    before : (dtype, slope, inter), optional
        How values were stored before; filled in by `prepare`.

    Raises
    ------
    UsageError
        If the dtype is none, or the options make no sense together.
    CastError
        When prepared, if a value would change in a way that no option allows.
    """

    dtype: Any
    round: bool = False
    clip: bool = False
    rescale: Any = None
    slope: float | None = None
    inter: float | None = None
    source: Pair | None = None
    before: tuple[Any, ...] | None = None

    name: ClassVar[str] = "cast"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", dtype_name(self.dtype))
        if self.rescale is False:
            object.__setattr__(self, "rescale", None)
        if self.rescale is None or self.rescale is True:
            if self.rescale and not is_integer(self.dtype):
                raise UsageError(
                    f"rescaling to the full range of {self.dtype} makes no sense",
                    hint="say MIN:MAX, or take an integer type",
                )
            return
        try:
            low, high = (float(end) for end in self.rescale)
        except (TypeError, ValueError):
            low, high = 1.0, 0.0
        if not (low < high and abs(low) + abs(high) < float("inf")):
            raise UsageError(f"rescale is {self.rescale}, expected True or (low, high) with low < high")
        object.__setattr__(self, "rescale", (low, high))
        if is_integer(self.dtype) and not _inside(low, high, integer_range(self.dtype)):
            raise CastError(f"rescaling to {low:g}:{high:g} does not fit into {self.dtype}")

    def prepare(self, source: Backend) -> Cast:
        """Find the range to rescale, and refuse the cast where it would lose something.

        The voxels are read once, and not at all where the types alone tell that nothing can be lost.

        Raises
        ------
        CastError
            If a value would change in a way that no option allows; says how many, and which option allows it.
        """
        header = source.header
        if self._keeps(header):
            return self
        ready = replace(self, before=(header.dtype, header.slope, header.inter))
        if self.rescale is not None:
            ready = ready._ranged(source)
        if not self._certain(header):
            from medimg_cli.operations.casting import check_cast

            check_cast(source, ready, ready.stored_as(header))
        return ready

    def _certain(self, header: Header) -> bool:
        """Tell whether types and options alone say that every value may be cast."""
        if is_complex(header.value_dtype) and not is_complex(self.dtype):
            return False
        if self.clip and (self.round or self.rescale is not None):
            return True
        if self.rescale is not None:  # to a range that is met, unless there are NaN and infinities
            return self.source is None and not is_float(header.value_dtype)
        return self.slope is None and can_hold(self.dtype, header.value_dtype)

    def _keeps(self, header: Header) -> bool:
        same = self.slope is None or (self.slope, self.inter or 0.0) == (header.slope, header.inter or 0.0)
        return self.dtype == header.dtype and same and self.rescale is None

    def _ranged(self, source: Backend) -> Cast:
        """Return the cast with the range of the source, and the slope that follows from it."""
        from medimg_cli.statistics import value_range

        span = self.source
        if span is None:
            found = value_range(source)
            span = (0.0, 0.0) if found.low is None or found.high is None else (float(found.low), float(found.high))
        if self.rescale is not True:
            return replace(self, source=span)
        low, high = integer_range(self.dtype)
        slope = (span[1] - span[0]) / (high - low) if span[0] != span[1] else 1.0
        inter = span[0] - low * slope
        least, most = _NORMAL[scaled_dtype(self.dtype)]
        largest = max(abs(inter), abs(low * slope), abs(high * slope), abs(span[0]), abs(span[1]))
        if not (least <= slope and largest <= most):
            raise CastError(
                f"values from {span[0]:g} to {span[1]:g} are too small or large for a slope on {self.dtype}",
                hint="cast to int32, or give MIN:MAX",
            )
        return replace(self, source=span, slope=slope, inter=inter)

    def stored_as(self, header: Header) -> Header:
        """Return the header of an image stored this way, its history not yet moved on."""
        return header.replace(dtype=self.dtype, slope=self.slope, inter=self.inter)

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header.

        Raises
        ------
        UsageError
            If the range to rescale is not known: `prepare` comes first.
        """
        if self.rescale is not None and self.source is None:
            raise UsageError("the range to rescale is not known yet", hint="call prepare first")
        return self.in_place(header, idle=self._keeps(header))

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image with its values stored otherwise, computed when they are read."""
        return MapBackend(backend, self.stored_as(backend.header).follow(step), self)

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the stored numbers for values."""
        from medimg_cli.operations.casting import stored_numbers

        return stored_numbers(values, self)

    def inverse(self, step: Step) -> Cast | None:
        """Return the cast back to the storage of before; refused in its turn where values do not fit."""
        if self.before is None:
            return None
        dtype, slope, inter = self.before
        if isinstance(self.rescale, tuple) and self.source is not None and self.source[0] < self.source[1]:
            if slope is not None:
                dtype, slope, inter = scaled_dtype(dtype), None, None
            return Cast(dtype, rescale=self.source, source=self.rescale, clip=self.clip)
        return Cast(dtype, round=self.round or self.rescale is True, clip=self.clip, slope=slope, inter=inter)


def _inside(low: float, high: float, span: tuple[int, int]) -> bool:
    return span[0] <= low and high <= span[1]


@dataclass(frozen=True, slots=True)
class Rescale(Recipe):
    """Map values linearly so that one range becomes another.

    The result is float: float32 where the image has at most 16 bits or is float32 itself, else float64.

    Parameters
    ----------
    low, high : float
        What the ends of the range become.
    source : (low, high), optional
        The range; left out, that of the finite values. Values outside it go on along the same line.

    Raises
    ------
    UsageError
        If ``low`` is not below ``high``, or the source range is empty.
    UnsupportedError
        When prepared, if the values are complex.
    """

    low: float = 0.0
    high: float = 1.0
    source: Pair | None = None

    name: ClassVar[str] = "rescale"
    intensity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"rescaling to {self.low:g} ... {self.high:g}: the first must be the smaller")
        if self.source is not None and not self.source[0] <= self.source[1]:
            raise UsageError(f"rescaling from {self.source}: the first must be the smaller")

    def prepare(self, source: Backend) -> Rescale:
        """Find the range of the values."""
        from medimg_cli.statistics import value_range

        if self.source is not None:
            return self
        found = value_range(source)
        return replace(self, source=(float(found.low or 0.0), float(found.high or 0.0)))

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        return self.in_place(header)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image with its values mapped, computed when they are read."""
        header = backend.header
        if is_complex(header.dtype):
            raise UnsupportedError("complex values cannot be rescaled")
        dtype = header.value_dtype if is_float(header.value_dtype) else scaled_dtype(header.value_dtype)
        return MapBackend(backend, header.replace(dtype=dtype, slope=None, inter=None).follow(step), self)

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the values of the result."""
        from medimg_cli.operations.casting import spread

        assert self.source is not None
        return spread(values, self.source, (self.low, self.high))

    def inverse(self, step: Step) -> Rescale | None:
        """Return the map that leads back, as floats; None where all values had become one."""
        if self.source is None or self.source[0] == self.source[1]:
            return None
        return Rescale(*self.source, source=(self.low, self.high))


@dataclass(frozen=True, slots=True)
class Clamp(Recipe):
    """Limit values to a range, in the dtype that they have.

    A value beyond a limit takes the last value inside it that the image can hold: an int16 image clamped at
    4.5 stops at 4, one with a slope at a multiple of it. NaN stays NaN.

    Parameters
    ----------
    low, high : float, optional
        The limits; None leaves that side open.

    Raises
    ------
    UsageError
        If there is no limit, or ``low`` is above ``high``.
    CastError
        When applied, if the image can hold no value between the limits.
    """

    low: float | None = None
    high: float | None = None

    name: ClassVar[str] = "clamp"
    intensity: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise UsageError("clamp without a limit", hint="give low, high, or both")
        limits = [limit for limit in (self.low, self.high) if limit is not None]
        if any(limit != limit for limit in limits) or limits != sorted(limits):
            raise UsageError(f"clamp from {self.low} to {self.high}: the first must be the smaller")

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        return self.in_place(header)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image with its values limited, computed when they are read."""
        header = backend.header
        if is_complex(header.dtype):
            raise UnsupportedError("complex values cannot be clamped")
        return MapBackend(backend, header.follow(step), _Limits(*self._stored(header)), raw=True)

    def _stored(self, header: Header) -> tuple[Any, Any]:
        """Return the limits as stored numbers, the lower one first."""
        low = None if self.low is None else _inward(self.low, header, True)
        high = None if self.high is None else _inward(self.high, header, False)
        if header.scaled and (header.slope or 1.0) < 0:
            low, high = high, low
        if low is not None and high is not None and low > high:
            raise CastError(
                f"a {header.dtype} image holds no value from {self.low} to {self.high}", hint="cast it first"
            )
        return low, high

    def inverse(self, step: Step) -> None:
        """Return None: what lay beyond the limits is gone."""


@dataclass(frozen=True, slots=True)
class _Limits:
    """Limits on stored numbers."""

    low: Any
    high: Any

    def kernel(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        limited: np.ndarray[Any, Any] = np.clip(numbers, self.low, self.high)
        return limited


def _inward(limit: float, header: Header, up: bool) -> Any:
    """Return the stored number of the last value inside a limit.

    Parameters
    ----------
    limit : float
    header : Header
    up : bool
        Whether values must be at least the limit; else at most.
    """
    dtype = numpy_dtype(header.dtype)
    slope, inter = (header.slope or 1.0, header.inter or 0.0) if header.scaled else (1.0, 0.0)
    number = (limit - inter) / slope if header.scaled else limit
    if dtype.kind == "f":
        return dtype.type(number)
    low, high = integer_range(header.dtype)
    rising = up == (slope > 0)
    if abs(number) == float("inf"):
        candidates = [low if number < 0 else high] if (number < 0) == rising else []
    elif header.scaled:
        guess = int(min(max(round(number), low - 1), high + 1))
        candidates = list(range(guess - 2, guess + 3) if rising else range(guess + 2, guess - 3, -1))
    else:
        candidates = [max(ceil(number), low) if up else min(floor(number), high)]
    for candidate in candidates:
        if low <= candidate <= high and _holds(candidate, limit, header, up):
            return dtype.type(candidate)
    raise CastError(
        f"a {header.dtype} image holds no value {'from' if up else 'up to'} {limit:g}", hint="cast it first"
    )


def _holds(number: int, limit: float, header: Header, up: bool) -> bool:
    """Tell whether the value of a stored number lies inside a limit."""
    import numpy as np

    value = scale(np.full(1, number, numpy_dtype(header.dtype)), header)[0].item() if header.scaled else number
    return bool(value >= limit if up else value <= limit)

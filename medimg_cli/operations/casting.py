"""The arithmetic behind a cast: numbers to store for values, and what would change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medimg_cli.backends import numpy_dtype, scale, with_header
from medimg_cli.dtypes import integer_range, is_complex, is_integer
from medimg_cli.errors import CastError
from medimg_cli.operations.pointwise import MapBackend
from medimg_cli.statistics import value_blocks

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.operations.cast import Cast, Pair

    Array = np.ndarray[Any, Any]

__all__ = ["cast_silently", "check_cast", "is_exact", "outgoing", "spread", "stored_again", "stored_numbers"]


def stored_numbers(values: Array, cast: Cast) -> Array:
    """Return the numbers to store for values: rounded to even, clipped, NaN to 0 for integers."""
    return _to_dtype(_wanted(values, cast), cast.dtype)


def _wanted(values: Array, cast: Cast) -> Array:
    """Return the exact numbers that a cast should store, before they are rounded and clipped."""
    import numpy as np

    if values.dtype.kind == "c" and not is_complex(cast.dtype):
        values = values.real
    if isinstance(cast.rescale, tuple):
        assert cast.source is not None
        return spread(values, cast.source, cast.rescale)
    if cast.slope is None:
        return values
    wide = values.astype(np.promote_types(np.float64, values.dtype))
    wide -= cast.inter or 0.0
    wide /= cast.slope
    return wide


def spread(values: Array, source: Pair, target: Pair) -> Array:
    """Map one range to another in float64, its ends exactly; a range without extent goes to the low end."""
    import numpy as np

    wide = values.astype(np.promote_types(np.float64, values.dtype))
    if source[0] == source[1]:
        return np.where(np.isnan(wide), wide, target[0])
    wide -= source[0]
    wide /= source[1] - source[0]
    ends = wide == 1.0
    wide *= target[1] - target[0]
    wide += target[0]
    wide[ends] = target[1]
    return wide


def _to_dtype(numbers: Array, dtype: str) -> Array:
    import numpy as np

    target = numpy_dtype(dtype)
    if target.kind in "iub":
        low, high = integer_range(dtype)
        if numbers.dtype.kind in "iub":
            least, most = integer_range(numbers.dtype.name)
            if least < low or high < most:
                numbers = np.clip(numbers, max(least, low), min(most, high))
            return numbers.astype(target)
        wide = np.rint(numbers.astype(np.promote_types(np.float64, numbers.dtype)))
        wide[np.isnan(wide)] = 0.0
        top = wide.dtype.type(high)
        if int(top) > high:  # 2**63 - 1 is no float64
            top = np.nextafter(top, wide.dtype.type(0))
        whole: Array = np.clip(wide, low, top, out=wide).astype(target)
        return whole
    with np.errstate(over="ignore"):
        found = numbers.astype(target)
    if target.kind == "f" and target.itemsize < 8:
        beyond = np.isinf(found) & np.isfinite(numbers)
        if beyond.any():
            found[beyond] = np.where(numbers[beyond] > 0, np.finfo(target).max, np.finfo(target).min)
    return found


@dataclass(slots=True)
class _Tally:
    """What a cast would change, counted, with an example of each."""

    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)

    def add(self, kind: str, where: Array, values: Array) -> None:
        """Count the values of one kind."""
        import numpy as np

        count = int(np.count_nonzero(where))
        if count:
            self.counts[kind] = self.counts.get(kind, 0) + count
            self.examples.setdefault(kind, values[where][0].item())


def _tally(tally: _Tally, values: Array, cast: Cast, after: Header) -> None:
    """Count in one block of values what the cast would change."""
    import numpy as np

    tally.total += values.size
    target = numpy_dtype(cast.dtype)
    if values.dtype.kind == "c" and target.kind != "c":
        tally.add("complex", values.imag != 0, values)
    wanted = _wanted(values, cast)
    plain = values.real if wanted.dtype.kind != "c" else values
    missing = np.isnan(wanted) if wanted.dtype.kind in "fc" else np.zeros(wanted.shape, bool)
    beyond = _beyond(wanted, cast.dtype, missing)
    if target.kind in "iub":
        tally.add("nan", missing, plain)
    tally.add("clip", beyond, plain)
    if not cast.round and cast.rescale is None:
        stored = _to_dtype(wanted, cast.dtype)
        tally.add("round", ~(_exact(values, wanted, stored, after) | missing | beyond), plain)


def _beyond(wanted: Array, dtype: str, missing: Array) -> Array:
    """Tell which numbers lie beyond the range of a dtype, after rounding."""
    import numpy as np

    target = numpy_dtype(dtype)
    if target.kind in "iub":
        low, high = integer_range(dtype)
        if wanted.dtype.kind in "iub":
            least, most = integer_range(wanted.dtype.name)
            outside = np.zeros(wanted.shape, bool)
            if least < low:
                outside |= wanted < low
            return outside | (wanted > high) if high < most else outside
        wide = np.rint(wanted.astype(np.promote_types(np.float64, wanted.dtype)))
        above = wide > high if int(wide.dtype.type(high)) == high else wide >= wide.dtype.type(high)
        beyond: Array = ((wide < low) | above) & ~missing
        return beyond
    with np.errstate(over="ignore"):
        narrow = wanted.astype(target)
    overflown: Array = np.isinf(narrow) & ~(np.isinf(wanted) | missing)
    return overflown


def _exact(values: Array, wanted: Array, stored: Array, after: Header) -> Array:
    """Tell which values come back exactly from the numbers that are stored for them."""
    import numpy as np

    if after.scaled:
        back: Array = scale(stored, after) == values
        return back
    if wanted.dtype.kind in "iub":
        if stored.dtype.kind in "iub":
            return np.ones(wanted.shape, bool)
        return _fits_float(wanted, np.finfo(stored.dtype).nmant + 1)
    if stored.dtype.kind in "iub":
        whole: Array = np.rint(wanted) == wanted
        return whole
    again = stored if wanted.dtype.kind == "c" else stored.real
    same: Array = again.astype(wanted.dtype) == wanted
    return same


def _fits_float(numbers: Array, bits: int) -> Array:
    """Tell which integers have at most so many significant bits."""
    import numpy as np

    size = numbers.astype(np.uint64)
    if numbers.dtype.kind == "i":
        size = np.where(numbers < 0, (~numbers).astype(np.uint64) + np.uint64(1), size)
    lowest = size & (~size + np.uint64(1))
    odd = size // np.maximum(lowest, np.uint64(1))
    return (odd >> np.uint64(bits)) == 0 if bits < 64 else np.ones(numbers.shape, bool)


#: What a message says of each kind, and which option allows it.
_KINDS = {
    "complex": ("with an imaginary part", ""),
    "round": ("rounded", "round"),
    "clip": ("clipped", "clip"),
    "nan": ("NaN dropped", "clip"),
}


def check_cast(source: Backend, cast: Cast, after: Header) -> None:
    """Refuse a cast that would change a value in a way that no option allows.

    Parameters
    ----------
    source : Backend
        Its values are read once.
    cast : Cast
        Its range and slope known.
    after : Header
        Header of the result.

    Raises
    ------
    CastError
        Says how many values would change, gives an example of each kind, and names the options.
    """
    tally = _Tally()
    for values in value_blocks(source):
        _tally(tally, values, cast, after)
    allowed = {"clip", "nan"} if cast.clip else set()
    found = [kind for kind in _KINDS if kind in tally.counts and kind not in allowed]
    if not found:
        return
    what = []
    for kind in found:
        example = "" if kind == "nan" else f" (such as {_shown(tally.examples[kind])})"
        what.append(f"{tally.counts[kind]} {_KINDS[kind][0]}{example}")
    raise CastError(
        f"cast to {cast.dtype} would change some of {tally.total} values: " + ", ".join(what),
        hint=_way_out(found, cast),
    )


def _way_out(found: list[str], cast: Cast) -> str:
    """Say which options allow a cast that was refused."""
    if "complex" in found:
        return "take the real part or the magnitude first"
    options = sorted({_KINDS[kind][1] for kind in found}, reverse=True)
    way = f"allow it with {' and '.join(options)} (--{' --'.join(options)})"
    if cast.rescale is None and found != ["nan"] and is_integer(cast.dtype):
        way += " or rescale (--rescale)"
    return way


def _shown(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def is_exact(source: Backend, cast: Cast) -> bool:
    """Tell whether a cast would change nothing; stops at the first block that says no."""
    tally = _Tally()
    after = cast.stored_as(source.header)
    for values in value_blocks(source):
        _tally(tally, values, cast, after)
        if tally.counts:
            return False
    return True


def cast_silently(backend: Backend, cast: Cast) -> Backend:
    """Return an image cast without a word in its history: how values are stored, not what is done to them.

    Raises
    ------
    CastError
        If a value would change in a way that the cast does not allow.
    """
    ready = cast.prepare(backend)
    return MapBackend(backend, ready.stored_as(backend.header), ready)


def stored_again(backend: Backend, dtype: str, slope: float | None, inter: float | None) -> Backend:
    """Return an image in the type and scaling that it once had where every value fits, else as it is.

    This is how values are stored, not an operation: the history does not mention it.
    """
    from medimg_cli.operations.cast import Cast

    cast = Cast(dtype, slope=slope, inter=inter)
    header = backend.header
    if (header.dtype, header.slope, header.inter) == (dtype, slope, inter) or not is_exact(backend, cast):
        return backend
    return MapBackend(backend, cast.stored_as(header), cast)


def outgoing(
    backend: Backend,
    dtype: object,
    storage: tuple[str, float | None, float | None] | None,
    squeeze: bool | None,
) -> Backend:
    """Return an image as it goes to a file.

    Parameters
    ----------
    backend : Backend
    dtype : str or dtype, optional
        What to store it in, if anybody says so.
    storage : (dtype, slope, inter), optional
        How its file stored it before its values were handed out to be written to.
    squeeze : bool, optional
        Whether axes of one step, and the last spatial axes where they have one voxel, are left out; None: as
        the header says.

    Raises
    ------
    CastError
        If ``dtype`` is given and a value does not fit.
    """
    from medimg_cli.operations.cast import Cast, dtype_name
    from medimg_cli.operations.protocol import apply

    wanted = None if dtype is None else dtype_name(dtype)
    if storage is not None and wanted in (None, storage[0]):
        backend = stored_again(backend, *storage)
    if wanted is not None:
        backend = apply(Cast(wanted), backend)
    if squeeze is None:
        return backend
    header = backend.header
    axes = tuple(axis for axis in header.axes if axis[1] > 1) if squeeze else header.axes
    sizes = header.spatial_shape
    ndim = next((count for count in (3, 2) if sizes[count - 1] > 1), 1) if squeeze else 3
    return with_header(backend, header.replace(axes=axes, ndim=ndim))

"""Operations on label maps: other numbers for labels, one channel for each label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from operator import index as as_int
from typing import TYPE_CHECKING, Any, ClassVar

from medimg_cli.backends import BLOCK, blocks_by_region, check_region, numpy_dtype
from medimg_cli.dtypes import ITEMSIZE, can_hold, integer_range, is_complex, is_integer
from medimg_cli.errors import CastError, GeometryError, UnsupportedError, UsageError
from medimg_cli.labels import Label, LabelTable
from medimg_cli.operations.pointwise import MapBackend
from medimg_cli.operations.protocol import Recipe, Step

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Backend, Buffer
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Layout, Region

__all__ = ["OneHot", "OneHotBackend", "Remap"]

#: Channels that a one-hot encoding may have.
_MOST_CHANNELS = 4096
#: Different values of the types that are looked up in a table.
_SMALL = 1 << 16


@dataclass(frozen=True, slots=True)
class Remap(Recipe):
    """Give labels other numbers. The label table follows.

    Parameters
    ----------
    mapping : mapping or pairs of old number to new number
        All are replaced at once: ``{1: 2, 2: 1}`` swaps.
    default : int, optional
        What all other voxels become; left out, they stay.
    dtype : str, optional
        Type of the result; left out, that of the image's values.
    names : mapping or pairs of new number to name, optional
        For labels that become one, and shall be called something else.

    Raises
    ------
    UsageError
        If a number is not whole, an old one occurs twice, or there is no such type.
    CastError
        When applied, if the type cannot hold a new number, or ``dtype`` a value that stays.
    """

    mapping: Any
    default: int | None = None
    dtype: str | None = None
    names: Any = ()

    name: ClassVar[str] = "remap"

    def __post_init__(self) -> None:
        pairs = self.mapping.items() if isinstance(self.mapping, Mapping) else self.mapping
        try:
            found = tuple((as_int(old), as_int(new)) for old, new in pairs)
            default = None if self.default is None else as_int(self.default)
        except (TypeError, ValueError):
            raise UsageError(f"labels are remapped by whole numbers, not by {self.mapping}") from None
        twice = [old for n, (old, _) in enumerate(found) if old in [each for each, _ in found[:n]]]
        if twice:
            raise UsageError(f"label {twice[0]} is remapped twice", hint="name it once")
        if self.dtype is not None and self.dtype not in ITEMSIZE:
            raise UsageError(f"there is no type {self.dtype!r}", hint="as in uint8, int16")
        object.__setattr__(self, "mapping", found)
        object.__setattr__(self, "default", default)
        names = self.names.items() if isinstance(self.names, Mapping) else self.names
        object.__setattr__(self, "names", tuple((as_int(value), str(name)) for value, name in names))

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        stays = self.default is None and self.dtype in (None, header.dtype) and not self.names
        return self.in_place(header, idle=stays and all(old == new for old, new in self.mapping))

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the image with its labels renumbered when they are read."""
        header, source = backend.header, backend.header.value_dtype
        dtype = self.dtype or source
        if is_complex(source) or is_complex(dtype):
            raise UnsupportedError("complex values are no labels")
        wanted = [new for _, new in self.mapping] + ([] if self.default is None else [self.default])
        low, high = integer_range(dtype) if is_integer(dtype) or dtype == "bool" else (-(2**24), 2**24)
        bad = next((new for new in wanted if not low <= new <= high), None)
        if bad is not None:
            raise CastError(f"label {bad} does not fit into {dtype}", hint="cast the label map first")
        if self.default is None and not can_hold(dtype, source):
            raise CastError(f"labels of type {source} that stay may not fit into {dtype}", hint="cast them afterwards")
        after = header.replace(dtype=dtype, slope=None, inter=None, labels=self._table(header.labels))
        return MapBackend(backend, after.follow(step), self)

    def _table(self, labels: LabelTable | None) -> LabelTable | None:
        """Return the table with new numbers; None where there was none, and nothing has got a name.

        Where several labels become one, the one that has the number already keeps its name, else the first one.
        What became the default is no label any more.
        """
        new = dict(self.mapping)
        stay, moved = [], []
        for label in labels or ():
            value = new.get(label.value, label.value if self.default in (None, label.value) else None)
            if value == label.value:
                stay.append(label)
            elif value is not None and value >= 0:
                moved.append(label._replace(value=value))
        kept: dict[int, Label] = {}
        for label in (*stay, *moved):
            kept.setdefault(label.value, label)
        for value, name in self.names:
            kept[value] = kept.get(value, Label(value))._replace(name=name)
        order = dict.fromkeys(new.get(label.value, label.value) for label in labels or ())
        rows = [kept.pop(value) for value in order if value in kept]
        return None if labels is None and not kept else LabelTable([*rows, *kept.values()])

    def kernel(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the new numbers for values; those of small types are looked up in a table."""
        import numpy as np

        if values.dtype.kind in "iu" and values.dtype.itemsize <= 2 and values.size > 4 * _SMALL:
            span = np.iinfo(values.dtype)
            every = np.arange(span.min, span.max + 1, dtype=values.dtype)
            found: np.ndarray[Any, Any] = self._mapped(every)[values.astype(np.intp) - span.min]
            return found
        return self._mapped(values)

    def _mapped(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        import numpy as np

        dtype = values.dtype if self.dtype is None else numpy_dtype(self.dtype)
        found = values.astype(dtype) if self.default is None else np.full_like(values, self.default, dtype)
        for old, new in self.mapping:
            found[values == old] = new
        return found

    def inverse(self, step: Step) -> Remap | None:
        """Return the map that leads back where labels only changed places, else None.

        Whether a label that took another number was alone with it afterwards, no step can know.
        """
        new = [number for _, number in self.mapping]
        if self.default is not None or self.dtype is not None or self.names:
            return None
        if set(new) != {old for old, _ in self.mapping} or len(set(new)) < len(new):
            return None
        return Remap(tuple((after, before) for before, after in self.mapping))


@dataclass(frozen=True, slots=True)
class OneHot(Recipe):
    """Turn a label map into one channel for each label, 1 where the label is and 0 elsewhere (uint8).

    Parameters
    ----------
    values : sequence of int, optional
        Labels in the order of the channels; left out, all that occur in ascending order, 0 included.

    Raises
    ------
    UsageError
        If a value occurs twice, or there is none.
    GeometryError
        When applied, if the image has several channels.
    UnsupportedError
        If there would be more than 4096 channels.
    """

    values: Any = None

    name: ClassVar[str] = "one_hot"

    def __post_init__(self) -> None:
        if self.values is None:
            return
        values = tuple(self.values)
        if not values or len(set(values)) < len(values):
            raise UsageError(f"labels for one-hot channels are {values}, expected each once")
        if len(values) > _MOST_CHANNELS:
            raise UnsupportedError(f"{len(values)} labels, at most {_MOST_CHANNELS} channels: this is no label map")
        object.__setattr__(self, "values", values)

    def prepare(self, source: Backend) -> OneHot:
        """Find the labels that occur."""
        from medimg_cli.statistics import count_values

        if self.values is not None:
            return self
        return replace(self, values=tuple(value for value in count_values(source) if value == value))

    def plan(self, header: Header) -> Step:
        """Return the step for an image with this header."""
        if header.channels != 1:
            raise GeometryError(f"one-hot channels need a label map with one channel, this has {header.channels}")
        return self.in_place(header)

    def apply(self, backend: Backend, step: Step) -> Backend:
        """Return the channels, made when they are read."""
        header, count = backend.header.follow(step), len(self.values)
        header = header.replace(shape=(count, *header.spatial_shape), axes=(("channel", count),), dtype="uint8")
        header = header.replace(slope=None, inter=None, gradients=None, time_spacing=None)
        return OneHotBackend(backend, header, self.values)

    def inverse(self, step: Step) -> None:
        """Return None: channels that are no longer 0 and 1 name no label."""


class OneHotBackend:
    """One channel for each label of another image.

    Parameters
    ----------
    base : Backend
        One channel.
    header : Header
        Of the result.
    values : sequence of number
        Label of each channel.
    """

    def __init__(self, base: Backend, header: Header, values: tuple[float, ...]) -> None:
        self.base, self.header, self.values = base, header, values

    def read(self, region: Region, *, raw: bool = False) -> np.ndarray[Any, Any]:
        import numpy as np

        check_region(region, self.header.shape)
        labels = self.base.read((range(1), *region[1:]))[0]
        out = np.empty_like(labels, numpy_dtype(self.header.dtype), shape=(len(region[0]), *labels.shape))
        for n, channel in enumerate(region[0]):
            out[n] = labels == self.values[channel]
        return out

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        yield from blocks_by_region(self, layout, raw=raw, max_bytes=max_bytes)

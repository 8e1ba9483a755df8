"""The facts of an image that expectations speak of: those of ``medimg info --json``, and some of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medimg_cli.checks.phrases import number
from medimg_cli.facts import image_facts

if TYPE_CHECKING:
    from medimg_cli.checks.numbers import NumberFacts
    from medimg_cli.checks.subject import Subject

__all__ = ["MEASURES", "Measure", "found_in_header", "found_in_values"]


def _anything() -> Sequence[str] | None:
    return None


def _dtypes() -> Sequence[str]:
    from medimg_cli.dtypes import ITEMSIZE

    return tuple(ITEMSIZE)


def _formats() -> Sequence[str]:
    from medimg_cli.formats import all_formats

    return tuple(row.name for row in all_formats())


def _orientations() -> Sequence[str]:
    from itertools import permutations, product

    pairs = ("rl", "ap", "si")
    return tuple("".join(codes) for order in permutations(pairs) for codes in product(*order)) + ("unknown",)


def _compressions() -> Sequence[str]:
    return ("gzip", "bzip2", "zstd", "xz", "zlib")


def _byte_orders() -> Sequence[str]:
    return ("little", "big")


class Measure(NamedTuple):
    """One row: a fact that expectations may speak of.

    Parameters
    ----------
    name : str
        As expectations have it.
    kind : str
        "number", "text", "axes" (a number an axis), or "set" (any count of numbers).
    key : str
        Of a record of `image_facts`, with a dot where it is nested; "" where voxels are read for it.
    unit : str
        "mm", "s", "deg", "bytes", or "".
    says : str
        What it is, one sentence.
    others : tuple of str
        Other names of it.
    sizes : tuple of int
        How many axes there may be.
    choices : callable
        Returns all texts that it may be in small letters, or None.
    free : bool
        Whether it is text that anybody may have written, perhaps the name of a patient: it is not printed.
    """

    name: str
    kind: Literal["number", "text", "axes", "set"]
    key: str
    unit: str
    says: str
    others: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    choices: Callable[[], Sequence[str] | None] = _anything
    free: bool = False

    @property
    def of_values(self) -> bool:
        """Whether voxels are read for it."""
        return not self.key

    def shown(self, found: Any) -> str:
        """Write what was found, with its unit; no control characters of a file.

        >>> MEASURES["spacing"].shown((1.0, 1.0, 3.0000002)), MEASURES["time-spacing"].shown(None)
        ('1 x 1 x 3 mm', 'none')
        """
        if found is None:
            return "none"
        if self.free:
            return "something else"
        if isinstance(found, str):
            return found
        if not isinstance(found, tuple):
            text = number(found)
        else:
            text = (" x " if self.kind == "axes" else ", ").join(map(number, found))
        return f"{text} {self.unit}" if self.unit else text


_ROWS = (
    Measure(*("shape", "axes", "shape", "", "Voxels along I, J, K; four numbers: channels before them."), sizes=(3, 4)),
    Measure("spatial-shape", "axes", "spatial_shape", "", "Voxels along I, J, K.", sizes=(3,)),
    Measure("channels", "number", "channels", "", "Channels, or steps of time."),
    Measure("spacing", "axes", "spacing_mm", "mm", "Size of a voxel along I, J, K.", ("spacing-mm",), (3,)),
    Measure("origin", "axes", "origin_mm", "mm", "Centre of voxel (0, 0, 0), RAS+.", ("origin-mm",), (3,)),
    Measure("extent", "axes", "extent_mm", "mm", "Voxels times spacing.", ("extent-mm",), (3,)),
    Measure(
        *("orientation", "text", "orientation", "", "Where the axes run to; `unknown` if the file does not say."),
        choices=_orientations,
    ),
    Measure("affine-source", "text", "affine_source", "", "Where the affine comes from: sform, qform, pixdim ..."),
    Measure("sform-code", "number", "sform_code", "", "Of NIfTI."),
    Measure("qform-code", "number", "qform_code", "", "Of NIfTI."),
    Measure("shear", "number", "shear_deg", "deg", "How far the axes are from right angles.", ("shear-deg",)),
    Measure("obliquity", "number", "obliquity_deg", "deg", "How far the axes lie off the world's.", ("obliquity-deg",)),
    Measure("units", "text", "units.space", "", "Unit of lengths, as the file has it.", ("units.space",)),
    Measure("time-units", "text", "units.time", "", "Unit of times, as the file has it.", ("units.time",)),
    Measure(
        *("time-spacing", "number", "time_spacing_s", "s", "From one step of time to the next."),
        others=("time-spacing-s", "tr"),
    ),
    Measure("dtype", "text", "dtype", "", "Type of the numbers stored.", choices=_dtypes),
    Measure("byte-order", "text", "byte_order", "", "little or big.", choices=_byte_orders),
    Measure("slope", "number", "slope", "", "value = stored * slope + inter; none where nothing scales."),
    Measure("inter", "number", "inter", "", "See slope."),
    Measure("format", "text", "format", "", "As `medimg formats` calls it.", choices=_formats),
    Measure("compression", "text", "compression", "", "gzip, bzip2, zstd, xz, zlib or none.", choices=_compressions),
    Measure("intent", "text", "intent", "", "What values mean: label, vector, z-score ..."),
    Measure("description", "text", "description", "", "Free text; what it is is not printed.", free=True),
    Measure("memory-bytes", "number", "memory_bytes", "bytes", "Size of all values in memory."),
    Measure("file-bytes", "number", "file_bytes", "bytes", "Size of the file or files."),
    Measure("modality", "text", "series.modality", "", "Of DICOM: CT, MR ...", ("series.modality",)),
    Measure("min", "number", "", "", "Smallest finite value."),
    Measure("max", "number", "", "", "Largest finite value."),
    Measure("nan", "number", "", "", "How many values are NaN."),
    Measure("infinite", "number", "", "", "How many values are infinite.", ("inf",)),
    Measure("labels", "set", "", "", "All values that occur."),
)

MEASURES: Mapping[str, Measure] = {row.name: row for row in _ROWS}
"""Name -> fact; to add one, give it a row above."""


def found_in_header(subject: Subject) -> Callable[[str], Any]:
    """Return what looks a fact of a header up, by the name of its measure."""
    header = subject.header
    facts = image_facts(header, subject.path, subject.entry.facts())

    def look_up(name: str) -> Any:
        if name == "orientation" and not header.orientation_known:
            return "unknown"
        value: Any = facts
        for key in MEASURES[name].key.split("."):
            value = None if value is None else value.get(key)
        return tuple(value) if isinstance(value, list) else value

    return look_up


def found_in_values(numbers: NumberFacts) -> Callable[[str], Any]:
    """Return what looks a fact of values up, by the name of its measure."""

    def look_up(name: str) -> Any:
        if name == "labels":
            odd = (float("nan"),) * bool(numbers.nans) + (float("inf"),) * bool(numbers.infinities)
            return None if numbers.distinct is None else (*numbers.distinct, *odd)
        return {"min": numbers.low, "max": numbers.high, "nan": numbers.nans, "infinite": numbers.infinities}[name]

    return look_up

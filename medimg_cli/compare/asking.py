"""What is to be compared, and how strictly."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from medimg_cli.errors import UsageError
from medimg_cli.text import did_you_mean

__all__ = ["FIELDS", "SECTIONS", "Comparing", "section_of"]

SECTIONS = ("geometry", "dtype", "metadata", "labels", "voxels")
"""What is compared, in the order in which it is told."""

FIELDS = {
    **dict.fromkeys(("shape", "axes", "affine", "orientation", "sform", "sform_code"), "geometry"),
    **dict.fromkeys(("qform", "qform_code"), "geometry"),
    **dict.fromkeys(("dtype", "slope", "inter"), "dtype"),
    **dict.fromkeys(("time_spacing", "intent", "intent_params", "intent_name", "description"), "metadata"),
    **dict.fromkeys(("gradients", "metadata", "history", "extensions", "values"), "metadata"),
    "labels": "labels",
}
"""Field of a header -> its section."""

_PARTS = ("spacing", "origin", "direction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """What is to be compared, and how strictly.

    Parameters
    ----------
    rtol, atol : float
        Values a and b of a voxel are the same where ``|a - b| <= atol + rtol * max(|a|, |b|)``; at least 0.
    geometry_tolerance : float
        Millimetres that a corner of the grid may lie beside that of the other; at least 0.
    ignore : tuple of str
        Sections (`SECTIONS`), fields of `FIELDS`, parts of the affine (spacing, origin, direction), or
        ``metadata.KEY`` and ``labels.VALUE``.
    every : bool
        Also list what the format of the other image cannot hold.
    canonical : bool
        Bring both images to the orientation that is closest to RAS+ first: the order of storage is then no difference.
    header_only : bool
        Read no voxels.

    Raises
    ------
    UsageError
        If a tolerance is negative or not finite, or there is nothing of a name that is to be ignored.
    """

    rtol: float = 0.0
    atol: float = 0.0
    geometry_tolerance: float = 1e-3
    ignore: tuple[str, ...] = ()
    every: bool = False
    canonical: bool = False
    header_only: bool = False

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "geometry_tolerance"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0):
                raise UsageError(f"--{name.replace('_', '-')} {value:g}", hint="give a number from 0 on")
        for name in self.ignore:
            if not _is_known(name):
                raise UsageError(f"--ignore {name!r}: there is nothing of that name to compare", hint=_hint(name))

    def ignores(self, field: str, key: str | None = None) -> bool:
        """Tell whether a field, or one key of it, is to be left out."""
        names = {field, section_of(field)} | ({key, f"{field}.{key}"} if field == "affine" else {f"{field}.{key}"})
        return any(name in names for name in self.ignore)

    @property
    def reads_voxels(self) -> bool:
        """Whether voxels are to be compared."""
        return not self.header_only and "voxels" not in self.ignore


def section_of(field: str) -> str:
    """Return the section of a field.

    >>> section_of("slope"), section_of("qform_code")
    ('dtype', 'geometry')
    """
    return FIELDS.get(field, field)


def _is_known(name: str) -> bool:
    field, dot, key = name.partition(".")
    return name in (*SECTIONS, *FIELDS, *_PARTS) or bool(dot and key and field in ("metadata", "labels"))


def _hint(name: str) -> str:
    words = [*SECTIONS, *(field for field in FIELDS if field not in SECTIONS), *_PARTS]
    return did_you_mean(name, words, f"give one of {', '.join(words)}, or metadata.KEY")

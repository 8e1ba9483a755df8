"""What the axes of a NRRD file are, and where its voxels lie in the world.

Clauses of the format's definition that decide:

- An axis is spatial where it has a space direction (section 4: "none" marks those that have not). Without any space
  direction the first three axes that are domains are spatial (section 6, "kinds:"; an axis without kind counts as one,
  as in teem's ``nrrdDomainAxesGet``).
- Named spaces say which way their axes grow; what names no anatomy ("space dimension:", "3D-right-handed", a name
  that nobody knows, no space at all) is read as left-posterior-superior, as ITK reads it, and a volume gets a warning.
  "scanner-xyz" coincides with left-posterior-superior for a patient who lies head first and face up (teem's
  nrrdEnums.h).
- Origin and directions are in "space units:", spacings in "units:"; ITK ignores both, here they become mm.
- Without directions the origin follows from "axis mins:" and "centers:", cell-centred where nothing is said, as in
  teem's ``nrrdOriginCalculate``.
- Section 4: the measurement frame and the directions are columns, coordinates of the space they lie in.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import OversizeError
from medimg_cli.formats.nrrd_fields import (
    Parsed,
    Space,
    integer,
    quoted,
    real,
    reals,
    role_of,
    space_of,
    vectors,
    words,
)
from medimg_cli.formats.repair import LIMIT, usable_axes

__all__ = ["Axes", "Placed", "finite_vectors", "place", "read_axes"]

Vectors = list[tuple[float, ...] | None]

#: Units of length -> mm. Everything else counts as mm.
LENGTHS: dict[str, float] = {
    "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0,
    "meter": 1000.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "nm": 1e-6, "nanometer": 1e-6,
}  # fmt: skip
#: Units of time -> (s, our name).
TIMES: dict[str, tuple[float, str]] = {
    "s": (1.0, "s"), "sec": (1.0, "s"), "second": (1.0, "s"), "seconds": (1.0, "s"), "ms": (1e-3, "ms"),
    "msec": (1e-3, "ms"), "millisecond": (1e-3, "ms"), "milliseconds": (1e-3, "ms"), "us": (1e-6, "us"),
    "min": (60.0, "min"),
}  # fmt: skip
_MOST_AXES = 16
_MOST_BYTES = 1 << 62


class Axes(NamedTuple):
    """What each axis of the file is to us.

    Parameters
    ----------
    sizes : tuple of int
        Of all axes of the file, fastest first.
    spatial : tuple of int
        Axes of the file that are I, J, K; fewer where the file has fewer.
    others : tuple of (int, str)
        Axis of the file and kind of each further axis, in the order of ``Header.axes``.
    is_complex : bool
        Whether the fastest axis holds real and imaginary part.
    vectors : list of vector or None
        Space directions of all axes.
    space : Space or None
    """

    sizes: tuple[int, ...]
    spatial: tuple[int, ...]
    others: tuple[tuple[int, str], ...]
    is_complex: bool
    vectors: Vectors
    space: Space | None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, I, J, K)."""
        i, j, k = ([self.sizes[axis] for axis in self.spatial] + [1, 1, 1])[:3]
        return prod(self.sizes[axis] for axis, _ in self.others), i, j, k

    @property
    def named(self) -> tuple[tuple[str, int], ...]:
        """``Header.axes``."""
        return tuple((kind, self.sizes[axis]) for axis, kind in self.others)

    @property
    def order(self) -> tuple[int, ...]:
        """Axes in the sense of ``Layout.packed``, fastest first."""
        place = {axis: n for n, axis in enumerate(self.spatial)}
        place.update({axis: 3 + n for n, (axis, _) in enumerate(self.others)})
        return tuple(place[axis] for axis in range(len(self.sizes)) if axis in place)


class Placed(NamedTuple):
    """Where the voxels are, and when."""

    affine: AffineMatrix
    source: str
    space_units: str | None
    time_spacing: float | None
    time_units: str | None
    warnings: tuple[str, ...]


def read_axes(parsed: Parsed, dtype: str, itemsize: int) -> tuple[Axes, list[str]]:
    """Find out what each axis is.

    Raises
    ------
    FormatError
        If the number of axes, sizes, kinds or vectors contradict each other, or no file can be so large.
    """
    sizes = _sizes(parsed, itemsize)
    count = len(sizes)
    warnings: list[str] = []
    space = space_of(parsed)
    dimension = space.dimension if space else None
    directions: Vectors = [None] * count
    if "space directions" in parsed.fields:
        directions = vectors(parsed, "space directions", count, dimension)
        if not any(directions):
            warnings.append("no axis has a space direction: they are taken from the kinds and spacings of the axes")
    if space is None:
        lengths = {len(vector) for vector in directions if vector is not None}
        if len(lengths) > 1:
            raise parsed.error(f"space directions have {sorted(lengths)} coordinates")
        space = Space(None, lengths.pop()) if lengths else None
    roles = [role_of(kind, size) for kind, size in zip(words(parsed, "kinds", count), sizes, strict=True)]
    spatial = _by_direction(directions, roles) or tuple(n for n in range(count) if roles[n] in ("space", ""))[:3]
    is_complex = roles[0] == "complex" and dtype in ("float32", "float64") and 0 not in spatial
    others = _others(parsed, Axes(sizes, spatial, (), is_complex, directions, space), roles)
    return Axes(sizes, spatial, others, is_complex, directions, space), warnings


def _sizes(parsed: Parsed, itemsize: int) -> tuple[int, ...]:
    for field in ("dimension", "sizes"):
        if field not in parsed.fields:
            raise parsed.error(f"the header lacks '{field}'")
    count = integer(parsed, "dimension", parsed.fields["dimension"])
    if not 1 <= count <= _MOST_AXES:
        raise parsed.error(f"dimension is {count}, expected 1 to {_MOST_AXES}")
    texts = parsed.fields["sizes"].split(None, _MOST_AXES)
    if len(texts) != count:
        raise parsed.error(f"dimension is {count}, sizes has {len(texts)} numbers")
    sizes = tuple(integer(parsed, "sizes", text) for text in texts)
    if min(sizes) < 1:
        raise parsed.error(f"sizes {sizes}: an axis has no voxels")
    if prod(sizes) * itemsize > _MOST_BYTES:
        raise OversizeError(f"sizes {sizes}: no file can hold that", path=parsed.name)
    return sizes


def _is_zero(vector: Sequence[float]) -> bool:
    return all(value == 0 for value in vector[:3])


def _step_beyond(vector: Sequence[float] | None) -> float | None:
    """Return the step of an axis along a fourth dimension of its space, None where it is none."""
    if vector is None or len(vector) < 4 or not _is_zero(vector):
        return None
    return next((value for value in vector[3:] if value), None)


def _by_direction(directions: Vectors, roles: Sequence[str]) -> tuple[int, ...]:
    found = [
        n
        for n, vector in enumerate(directions)
        if vector is not None
        and _step_beyond(vector) is None
        and not (_is_zero(vector) and roles[n] not in ("space", ""))
    ]
    best = sorted(found, key=lambda n: (_is_zero(directions[n] or ()), roles[n] not in ("space", "")))[:3]
    return tuple(sorted(best))


def _others(parsed: Parsed, axes: Axes, roles: Sequence[str]) -> tuple[tuple[int, str], ...]:
    """Return the further axes in our order: a pixel's own components last."""
    plain: list[tuple[int, str]] = []
    components: list[tuple[int, str]] = []
    rest = [n for n in range(len(axes.sizes)) if n not in axes.spatial and not (axes.is_complex and n == 0)]
    is_weighted = len(rest) == 1 and parsed.values.get("modality", "").strip() == "DWMRI"
    for n in rest:
        role = "channel" if is_weighted else roles[n]
        if role in ("space", ""):
            role = "time" if _looks_like_time(parsed, axes, n) else "channel"
        if role == "time" and any(kind == "time" for _, kind in plain):
            role = "channel"
        if role in ("vector", "rgb", "complex"):
            components.append((n, "rgb" if role == "rgb" else "vector"))
        else:
            plain.append((n, role))
    return tuple(plain + components)


def _looks_like_time(parsed: Parsed, axes: Axes, n: int) -> bool:
    """Tell whether an axis without a kind of its own is time: by its space, its unit, or a step that is not 1."""
    step = _step_beyond(axes.vectors[n])
    if axes.space is not None and axes.space.letters and axes.space.dimension == 4:
        return True
    count = len(axes.sizes)
    if quoted(parsed, "units", count)[n] in TIMES:
        return True
    if step is None:
        spacings = reals(parsed, "spacings", count)
        step = spacings[n] if spacings else None
    return step is not None and isfinite(step) and step not in (0.0, 1.0)


def place(parsed: Parsed, axes: Axes) -> Placed:
    """Read the affine and the time between steps.

    Raises
    ------
    FormatError
        If a vector has another number of coordinates than the space.
    """
    warnings: list[str] = []
    letters = axes.space.letters if axes.space is not None and axes.space.letters else None
    has_directions = any(axes.vectors[n] is not None for n in axes.spatial)
    if has_directions:
        columns, origin, unit = _with_directions(parsed, axes, warnings)
    else:
        columns, origin, unit = _with_spacings(parsed, axes, warnings)
    usable, repaired = usable_axes(columns)
    if repaired:
        warnings.append("the space directions hold no usable matrix: what is missing was set to right angles and 1 mm")
    if not all(isfinite(value) and abs(value) < LIMIT for value in origin):
        warnings.append("the space origin is not finite, taken as 0")
        origin = [0.0, 0.0, 0.0]
    matrix = [[usable[0][row], usable[1][row], usable[2][row], origin[row]] for row in range(3)]
    affine = AffineMatrix.from_lps(matrix)
    if letters and letters != "LPS":
        affine = AffineMatrix.between(letters, "RAS") @ AffineMatrix(matrix)
    if letters is None and ("space" in parsed.fields or len(axes.spatial) > 2):
        name = parsed.fields.get("space")
        reason = "the header names no space" if name is None else f"the space {name[:60]!r} names no anatomy"
        warnings.append(f"orientation is unknown: {reason}, read as left-posterior-superior")
    source = "spacings" if "spacings" in parsed.fields else "none"
    if has_directions:
        source = "unnamed space" if letters is None else "space directions"
    seconds, time_unit = _time(parsed, axes)
    return Placed(affine, source, unit, seconds, time_unit, tuple(warnings))


def _factor(unit: str, warnings: list[str]) -> float:
    factor = LENGTHS.get(unit.lower(), LENGTHS.get(unit)) if unit else 1.0
    if factor is None:
        note = f"the unit of length {unit[:20]!r} is unknown, taken as mm"
        warnings.extend([note] if note not in warnings else [])
        return 1.0
    return factor


def _with_directions(
    parsed: Parsed, axes: Axes, warnings: list[str]
) -> tuple[list[Sequence[float] | None], list[float], str | None]:
    """Return columns and origin in mm from space directions, and the unit that they were in."""
    dimension = axes.space.dimension if axes.space is not None else 3
    units = quoted(parsed, "space units", dimension)
    factors = ([_factor(unit, warnings) for unit in units[:3]] + [1.0, 1.0])[:3]

    def in_mm(vector: Sequence[float]) -> list[float]:
        padded = [*vector[:3], 0.0, 0.0][:3]
        return [value * factor for value, factor in zip(padded, factors, strict=True)]

    columns: list[Sequence[float] | None] = []
    for n in axes.spatial:
        vector = axes.vectors[n]
        columns.append(None if vector is None else in_mm(vector))
    if dimension < 3:  # a plane: the axes that it lacks are those of the world
        columns += [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0)][len(columns) - 1 :]
    columns += [None] * (3 - len(columns))
    return columns, in_mm(_origin(parsed, dimension) or [0.0] * dimension), units[0] or None


def _origin(parsed: Parsed, dimension: int) -> Sequence[float] | None:
    if "space origin" not in parsed.fields:
        return None
    return vectors(parsed, "space origin", 1, dimension)[0]


def _with_spacings(
    parsed: Parsed, axes: Axes, warnings: list[str]
) -> tuple[list[Sequence[float] | None], list[float], str | None]:
    """Return columns and origin in mm from spacings, minima and maxima of the axes, and the unit that they were in."""
    count = len(axes.sizes)
    spacings, mins, maxs = (reals(parsed, field, count) for field in ("spacings", "axis mins", "axis maxs"))
    units, centers = quoted(parsed, "units", count), words(parsed, "centers", count)
    columns: list[Sequence[float] | None] = []
    origin, is_placed = [0.0, 0.0, 0.0], True
    for place, n in enumerate(axes.spatial):
        at_nodes = centers[n].lower() == "node"
        step = spacings[n] if spacings else float("nan")
        low, high = mins[n] if mins else float("nan"), maxs[n] if maxs else float("nan")
        gaps = axes.sizes[n] - at_nodes
        if not isfinite(step) and isfinite(low) and isfinite(high) and gaps:
            step = (high - low) / gaps
        is_placed &= isfinite(low) and isfinite(step)
        if step == 0 or abs(step) > LIMIT:
            warnings.append(f"the spacing of axis {n} is {step:g}, taken as 1")
        good = isfinite(step) and 0 < abs(step) <= LIMIT
        factor = _factor(units[n], warnings)
        size = (step if good else 1.0) * factor
        columns.append([size * (row == place) for row in range(3)])
        origin[place] = low * factor + (0.0 if at_nodes else size / 2)
    stated = _origin(parsed, axes.space.dimension) if axes.space is not None else None
    if stated is not None:
        origin = [*stated[:3], 0.0, 0.0][:3]
    elif not is_placed:
        origin = [0.0, 0.0, 0.0]
    for row in range(len(columns), 3):
        columns.append([float(row == each) for each in range(3)])
    return columns, origin, next((units[n] for n in axes.spatial if units[n]), None)


def _time(parsed: Parsed, axes: Axes) -> tuple[float | None, str | None]:
    """Return the seconds between two steps of the time axis, and the unit that the file states."""
    n = next((axis for axis, kind in axes.others if kind == "time"), None)
    if n is None:
        return None, None
    step, unit = _step_beyond(axes.vectors[n]), ""
    if step is not None and axes.space is not None:
        unit = quoted(parsed, "space units", axes.space.dimension)[3]
    else:
        spacings = reals(parsed, "spacings", len(axes.sizes))
        step = spacings[n] if spacings else None
        unit = quoted(parsed, "units", len(axes.sizes))[n]
    factor, name = TIMES.get(unit.lower(), (1.0 if not unit else 0.0, None))
    seconds = step * factor if step is not None else 0.0
    return (seconds if isfinite(seconds) and seconds > 0 else None), name


def finite_vectors(text: str, count: int) -> list[tuple[float, ...]] | None:
    """Read ``count`` vectors of three finite numbers, None where the text is something else."""
    parts = text.replace(")", "(").split("(")[1::2]
    found = [tuple(real(word.strip()) for word in part.split(",", 4)) for part in parts[: count + 1]]
    if len(found) != count or any(len(each) != 3 or any(x is None or not isfinite(x) for x in each) for each in found):
        return None
    return found  # type: ignore[return-value]

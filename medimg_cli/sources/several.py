"""Several images as one, behind one another on the channel axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medimg_cli.backends import FramesBackend
from medimg_cli.dtypes import ITEMSIZE, can_hold
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.grid import way_to
from medimg_cli.header import Gradients

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["check_grids", "joined", "joined_gradients", "stacked"]


def joined(backends: Sequence[Backend], names: Sequence[str]) -> Backend:
    """Return several images as one, behind one another on the channel axis.

    The stored numbers stay where all images have the same scaling; else their values are taken. The type is
    the narrowest that holds all of them exactly.

    Parameters
    ----------
    backends : sequence of Backend
    names : sequence of str
        What messages call them.

    Raises
    ------
    GeometryError
        If their grids differ; names both and the distance.
    UnsupportedError
        If no type holds the values of all.
    """
    headers = [backend.header for backend in backends]
    first = headers[0]
    check_grids(headers, names)
    if len(backends) == 1:
        return backends[0]
    channels = sum(header.channels for header in headers)
    whole = first.replace(
        shape=(channels, *first.spatial_shape),
        axes=_joined_axes(headers, channels),
        time_spacing=_joined_spacing(headers),
        gradients=joined_gradients(headers),
        metadata={k: v for k, v in first.metadata.items() if all(h.metadata.get(k) == v for h in headers)},
        native=None,
        file_bytes=None,
        warnings=tuple(dict.fromkeys(warning for header in headers for warning in header.warnings)),
    )
    return stacked(backends, whole)


def check_grids(headers: Sequence[Header], names: Sequence[str], tolerance: float = 1e-3) -> None:
    """Refuse images that do not lie on the grid of the first.

    Parameters
    ----------
    headers : sequence of Header
    names : sequence of str
        What messages call the images.
    tolerance : float
        Millimetres that corners may be apart.

    Raises
    ------
    GeometryError
        If one lies elsewhere: says how far, and names both.
    """
    grid = headers[0].grid
    for header, name in zip(headers[1:], names[1:], strict=True):
        other = header.grid
        if other.same_as(grid, tolerance):
            continue
        hint = way_to(other, grid, names[0], tolerance)
        if other.shape != grid.shape:
            found = f"has spatial shape {other.shape}, {names[0]} has {grid.shape}"
        else:
            found = f"its grid lies {other.mm_shift(grid):.4g} mm from that of {names[0]}"
        raise GeometryError(found, path=name, hint=hint)


def stacked(backends: Sequence[Backend], whole: Header, axis: int = 0) -> Backend:
    """Return images behind one another on one axis of (C, I, J, K).

    The stored numbers stay where all images have the same type and scaling; else their values are taken, in the
    narrowest type that holds all of them exactly.

    Parameters
    ----------
    backends : sequence of Backend
        Of the same shape on all other axes.
    whole : Header
        Of the result, but for type and scaling.
    axis : int

    Raises
    ------
    UnsupportedError
        If no type holds the values of all.
    """
    headers = [backend.header for backend in backends]
    first = headers[0]
    alike = len({(h.dtype, *((h.slope, h.inter or 0.0) if h.scaled else ())) for h in headers}) == 1
    scaled = not alike and any(header.scaled for header in headers)
    dtype = _common([header.value_dtype if scaled else header.dtype for header in headers])
    slope, inter = (first.slope, first.inter) if alike else (None, None)
    whole = whole.replace(dtype=dtype, slope=slope, inter=inter)
    return FramesBackend(backends, whole, axis=axis, scaled=scaled)


def _common(dtypes: Sequence[str]) -> str:
    """Return the narrowest dtype that holds all values of several, one of them where possible."""
    wanted = set(dtypes)
    usual = (name for name in ITEMSIZE if name not in ("float128", "complex256"))  # which hardly any program reads
    for dtype in (*dtypes, *sorted(usual, key=lambda name: ITEMSIZE[name])):
        if all(can_hold(dtype, each) for each in wanted):
            return dtype
    hint = "cast one of them first: medimg convert --dtype float64, which refuses what it would change"
    raise UnsupportedError(f"no usual type holds all values of {' and '.join(sorted(wanted))}", hint=hint)


def _joined_axes(headers: Sequence[Header], channels: int) -> tuple[tuple[str, int], ...]:
    kinds = {header.axes[0][0] if len(header.axes) == 1 else "" for header in headers}
    return (("time", channels),) if kinds == {"time"} else (("channel", channels),)


def _joined_spacing(headers: Sequence[Header]) -> float | None:
    """Return the time between steps where all images are series with the same, else None."""
    timed = all([kind for kind, _ in header.axes] == ["time"] for header in headers)
    spacings = {header.time_spacing for header in headers}
    return spacings.pop() if timed and len(spacings) == 1 else None


def joined_gradients(headers: Sequence[Header]) -> Gradients | None:
    """Return the gradients of all images behind one another; None where one has none."""
    found = [header.gradients for header in headers if header.gradients is not None]
    if len(found) < len(headers):
        return None
    bvals = tuple(b for each in found for b in each.bvals)
    return Gradients(bvals, tuple(vector for each in found for vector in each.bvecs))

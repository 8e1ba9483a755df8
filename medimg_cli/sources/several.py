"""Several images as one, behind one another on the channel axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medimg_cli.backends import FramesBackend
from medimg_cli.dtypes import ITEMSIZE, can_hold
from medimg_cli.errors import GeometryError, UnsupportedError
from medimg_cli.header import Gradients

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["joined"]


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
    for header, name in zip(headers[1:], names[1:], strict=True):
        if header.spatial_shape != first.spatial_shape:
            raise GeometryError(
                f"has spatial shape {header.spatial_shape}, {names[0]} has {first.spatial_shape}", path=name
            )
        if not header.grid.same_as(first.grid):
            shift = header.grid.mm_shift(first.grid)
            raise GeometryError(
                f"its grid lies {shift:.4g} mm from that of {names[0]}", path=name, hint="resample it first"
            )
    if len(backends) == 1:
        return backends[0]
    alike = len({(header.dtype, header.slope, header.inter) for header in headers}) == 1
    scaled = not alike and any(header.scaled for header in headers)
    dtype = _common([header.value_dtype if scaled else header.dtype for header in headers])
    channels = sum(header.channels for header in headers)
    whole = first.replace(
        shape=(channels, *first.spatial_shape),
        dtype=dtype,
        slope=first.slope if alike else None,
        inter=first.inter if alike else None,
        axes=_joined_axes(headers, channels),
        time_spacing=_joined_spacing(headers),
        gradients=_joined_gradients(headers),
        metadata={k: v for k, v in first.metadata.items() if all(h.metadata.get(k) == v for h in headers)},
        native=None,
        file_bytes=None,
        warnings=tuple(dict.fromkeys(warning for header in headers for warning in header.warnings)),
    )
    return FramesBackend(backends, whole, axis=0, scaled=scaled)


def _common(dtypes: Sequence[str]) -> str:
    """Return the narrowest dtype that holds all values of several, one of them where possible."""
    wanted = set(dtypes)
    for dtype in (*dtypes, *sorted(ITEMSIZE, key=lambda name: ITEMSIZE[name])):
        if all(can_hold(dtype, each) for each in wanted):
            return dtype
    raise UnsupportedError(f"no type holds the values of {' and '.join(sorted(wanted))}", hint="cast them first")


def _joined_axes(headers: Sequence[Header], channels: int) -> tuple[tuple[str, int], ...]:
    kinds = {header.axes[0][0] if len(header.axes) == 1 else "" for header in headers}
    return (("time", channels),) if kinds == {"time"} else (("channel", channels),)


def _joined_spacing(headers: Sequence[Header]) -> float | None:
    """Return the time between steps where all images are series with the same, else None."""
    timed = all([kind for kind, _ in header.axes] == ["time"] for header in headers)
    spacings = {header.time_spacing for header in headers}
    return spacings.pop() if timed and len(spacings) == 1 else None


def _joined_gradients(headers: Sequence[Header]) -> Gradients | None:
    found = [header.gradients for header in headers if header.gradients is not None]
    if len(found) < len(headers):
        return None
    bvals = tuple(b for each in found for b in each.bvals)
    return Gradients(bvals, tuple(vector for each in found for vector in each.bvecs))

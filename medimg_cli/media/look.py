"""`Look`: how values become pictures, the same for every command that draws and for every method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from medimg_cli.errors import UsageError

__all__ = ["Look", "PageLook", "SurveyLook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How values become pictures.

    Parameters
    ----------
    window : str, optional
        Which values become black and white, see `parse_window`: "brain", "40,80" (centre, width), "0:1200",
        "1%:99%", "full". Left out: the window that the file states, else percentiles 0.5 and 99.5.
    colormap : str
        Name of one of `COLORMAPS`, for intensities.
    channel : int
        Which channel or time step is shown; colours are shown whole.
    overlay : str, optional
        Path or URL of a label map, on whatever grid, that is drawn over the picture.
    outline : bool
        Whether labels of the overlay are drawn as outlines.
    opacity : float, optional
        Of the overlay, 0 to 1; left out: 0.5, and 1 for outlines.
    neurological : bool
        Whether the patient's left is on the left of axial and coronal pictures. Default: radiological, on the right.
    planes : str
        "stored": planes of the voxels nearest to those of the body. "straight": planes of the body, interpolated.
        "auto": straight where the letters would mislead, see `Scene`.
    kind : str
        "labels" and "intensities" say what the values are; "auto" asks the header and then the voxels.
    plain : bool
        Whether letters, scale bar and captions are left out.

    Raises
    ------
    UsageError
        If a value makes no sense.
    """

    window: str | None = None
    colormap: str = "gray"
    channel: int = 0
    overlay: str | None = None
    outline: bool = False
    opacity: float | None = None
    neurological: bool = False
    planes: Literal["auto", "stored", "straight"] = "auto"
    kind: Literal["auto", "labels", "intensities"] = "auto"
    plain: bool = False

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
            ("planes", self.planes, ("auto", "stored", "straight")),
            ("kind", self.kind, ("auto", "labels", "intensities")),
        )
        for name, value, known in choices:
            if value not in known:
                raise UsageError(f"{name} is {value!r}", hint=f"expected one of {', '.join(known)}")
        if self.opacity is not None and not 0 <= self.opacity <= 1:
            raise UsageError(f"opacity is {self.opacity}", hint="expected 0 (not seen) to 1 (nothing shines through)")
        if self.window is not None:
            from medimg_cli.media.window import parse_window

            parse_window(self.window)
        if self.colormap != "gray":
            from medimg_cli.media.colormaps import colormap

            colormap(self.colormap)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLook(Look):
    """How values become pictures in a page, over which several images may lie; ``channel`` is the step shown first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyLook(Look):
    """How values become pictures where many images are looked at; nothing lies over them."""

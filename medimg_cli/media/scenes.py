"""From paths and a look to a scene: what is opened, taken for labels, and said about that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from medimg_cli.backends import decode
from medimg_cli.errors import GeometryError, UsageError
from medimg_cli.formats import open_backend
from medimg_cli.media.frames import Scene
from medimg_cli.media.window import parse_window
from medimg_cli.operations.resampling import refuse_apart
from medimg_cli.statistics.recognition import ONE_VALUE, declared_labels, why_labels
from medimg_cli.storage.urls import public_name

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header
    from medimg_cli.media.look import Look

__all__ = ["Opened", "doubts_of_overlay", "open_scene"]


class Opened(NamedTuple):
    """An image that pictures are taken of.

    Parameters
    ----------
    scene : Scene
    header : Header
        Of the image as it is stored.
    remarks : tuple of str
        What was decided for the user; one sentence each.
    """

    scene: Scene
    header: Header
    remarks: tuple[str, ...]


def open_scene(backend: Backend, look: Look, name: str = "the image", *, overlay: Backend | None = None) -> Opened:
    """Return the scene of an image, with the overlay of the look over it.

    Parameters
    ----------
    backend : Backend
    look : Look
    name : str
        Of the image, for messages: a path or URL as the user gave it.
    overlay : Backend, optional
        A label map to draw over it; left out: that which the look names.

    Raises
    ------
    UsageError
        If the overlay is no label map, or there is no such channel.
    MedImgError
        If voxels that it takes to decide cannot be read, or the overlay does not lie on the image.
    """
    coloured = getattr(backend, "coloured", None)  # numbers that are places in a table of colours
    backend = coloured() if coloured is not None and look.kind == "auto" else backend
    header, name = backend.header, public_name(name)
    remarks: list[str] = []
    decode(backend)  # it is read in several parts
    labels = look.kind == "labels"
    if look.kind == "auto":
        reason = why_labels(backend)
        labels = reason is not None and reason != ONE_VALUE
        if labels and declared_labels(header) is None:
            remarks.append(f"taken for a label map: {reason} (--kind intensities says otherwise)")
    if overlay is None and look.overlay is None and (look.outline or look.opacity is not None):
        remarks.append("outline and opacity are those of an overlay, and there is none")
    if look.overlay is not None:
        path = public_name(look.overlay)
        overlay = open_backend(look.overlay)
        if why_labels(overlay) is None:
            hint = "--overlay takes labels"
            raise UsageError("is no label map: its values are many, or no whole numbers", path=path, hint=hint)
        remarks += doubts_of_overlay(path, overlay.header, header, name)
        if overlay.header.channels > 1:
            remarks.append(f"of the {overlay.header.channels} channels of {path} the first is drawn")
    scene = Scene(backend, look, labels=labels, overlay=overlay, name=name)
    if not labels and not scene.colour:
        doubt = parse_window(look.window).remark(header, scene.limits(), scene.sample)
        remarks += [doubt] if doubt else []
    if scene.misled is not None:
        remarks.append(f"{scene.misled} (--planes straight shows those of the body)")
    return Opened(scene, header, tuple(remarks))


def doubts_of_overlay(path: str, overlay: Header, header: Header, name: str) -> list[str]:
    """Say what a careful user should know of an image that is shown over another.

    Parameters
    ----------
    path : str
        Of the overlay.
    overlay, header : Header
        Of the overlay and of the image.
    name : str
        Of the image.

    Raises
    ------
    GeometryError
        If nothing of the overlay lies on the image.
    """
    try:
        refuse_apart(overlay.grid, header.grid, name)
    except GeometryError as error:
        error.path = error.path or path
        raise
    doubts = [f"{path}: {warning}" for warning in overlay.warnings]
    if overlay.orientation_known != header.orientation_known and not overlay.grid.same_as(header.grid):
        which = path if header.orientation_known else name
        doubts.append(f"{which} does not say how it lies in the body: where the overlay lies is a guess")
    return doubts

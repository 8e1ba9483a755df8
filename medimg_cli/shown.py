"""`Shown`: an image as pictures, in files, notebooks and other programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from medimg_cli.annotated import Annotated
from medimg_cli.errors import MedImgError, MissingExtraError, UsageError
from medimg_cli.sources.placing import promise_of
from medimg_cli.sources.readers import settled
from medimg_cli.voxels import in_memory

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.media.film import Film, Roll
    from medimg_cli.media.frames import Scene
    from medimg_cli.media.look import Look

__all__ = ["Shown"]

#: Bytes of a compressed image that is inflated for thumbnails.
_INFLATED = 1 << 28
#: Pixels of the longest edge of the volume on a thumbnail.
_THUMBNAIL = 128
#: What TorchIO's ``plot`` hands on to matplotlib.
_MATPLOTLIB = frozenset(
    {"axes", "figsize", "figsize_multiplier", "savefig_kwargs", "voxels", "aspect", "interpolation"}
)


class Shown(Annotated):
    """What people see of an image.

    Pictures follow the radiological convention: the patient's left is on the right of axial and coronal ones.
    """

    def _look(self, overlay: Any = None, **look: Any) -> tuple[Look, Backend | None]:
        """Return how the image is shown, and what is drawn over it: an image, where a look can only name a path."""
        from medimg_cli.media.look import Look

        known = [field.name for field in fields(Look)]
        for word in look:
            if word in _MATPLOTLIB:
                raise TypeError(f"{word!r} is for matplotlib; use size, plain, and the picture that is returned")
            if word not in known:
                raise TypeError(
                    f"unexpected keyword argument {word!r}; how pictures look is told by {', '.join(known)}"
                )
        drawn = overlay if isinstance(overlay, Shown) else None
        if overlay is not None and drawn is None:
            look["overlay"] = os.fspath(overlay)
        kind = "labels" if self.type == "label" else "intensities"
        return Look(**{"kind": kind, **look}), settled(drawn._backend) if drawn is not None else None

    def _scene(self, overlay: Any = None, **look: Any) -> Scene:
        """Return the scene of this image; an overlay is a path or an image."""
        from medimg_cli.media.scenes import open_scene

        seen, over = self._look(overlay, **look)
        return open_scene(settled(self._backend), seen, overlay=over).scene

    def as_pil(self, transpose: bool = True) -> Any:
        """Return an image with a single slice as a Pillow image, its values limited to 0 ... 255.

        Parameters
        ----------
        transpose : bool
            Whether i runs to the right and j down; else the other way round.

        Raises
        ------
        StateError
            If it has several slices, or channels other than 1, 3 or 4.
        """
        from medimg_cli.sources.dataobj import picture

        self._flat()
        return picture(self.numpy(writeable=False), transpose)

    def plot(
        self,
        *,
        channel: int = 0,
        indices: Sequence[int | None] | None = None,
        coordinates: Sequence[float | None] | None = None,
        percentiles: tuple[float, float] | None = None,
        title: str | None = None,
        output_path: str | os.PathLike[str] | None = None,
        mosaic: tuple[int, int] | None = None,
        axis: str | None = None,
        all_slices: bool = False,
        cross: bool | None = None,
        size: int | None = None,
        **look: Any,
    ) -> Any:
        """Return the sagittal, coronal and axial view through one place, or a mosaic of slices, in true proportions.

        Only the slices that are shown, and some to find the window, are read. ``medimg plot`` draws the same.

        Parameters
        ----------
        channel : int
            Which channel is shown, unless the channels are colours.
        indices : 3 ints or None, optional
            Voxel (i, j, k) that the views pass through; None: the middle of that axis.
        coordinates : 3 floats or None, optional
            The same in RAS+ mm; the nearest voxel is taken.
        percentiles : (low, high), optional
            Of the values that become black and white. Left out: the window that the file states, else 0.5 and 99.5.
            Labels are shown in their colours.
        title : str, optional
            Left out: the name of the file.
        output_path : path-like, optional
            Where the picture is saved; its suffix names the format.
        mosaic : (rows, columns), optional
            Evenly spread slices instead of the three views.
        axis : str, optional
            Where a mosaic goes: "R", "L", "A", "P", "S" or "I". Left out: "S".
        all_slices : bool
            Whether a mosaic goes through empty slices at the ends, too.
        cross : bool, optional
            Whether a cross-hair marks the place; left out: where one is given. ``intersections`` is TorchIO's word.
        size : int, optional
            Pixels of the longest edge of the volume, or of a tile of a mosaic.
        **look
            Fields of `medimg_cli.media.look.Look`: window, colormap, overlay (a path or an image), outline, opacity,
            neurological, planes, kind, plain. ``cmap`` is TorchIO's word for colormap; its ``show`` changes nothing,
            for the picture is returned.

        Returns
        -------
        PIL.Image.Image
            A notebook shows it.

        Raises
        ------
        TypeError
            If there is no such keyword.
        UsageError
            If there is no such channel, or two keywords exclude each other, such as indices and coordinates.
        GeometryError
            If the place lies outside the image.
        """
        from medimg_cli.media.plots import Plot, Point, draw_plot

        if indices is not None and coordinates is not None:
            raise UsageError("a place is given twice: as indices and as coordinates")
        if percentiles is not None:
            if look.get("window") is not None:
                raise UsageError("a window is given twice: as window and as percentiles")
            look["window"] = "{}%:{}%".format(*percentiles)
        point = Point(tuple(indices)) if indices is not None else None
        if coordinates is not None:
            point = Point(tuple(coordinates), "mm")
        look.pop("show", None)
        if "cmap" in look:
            look["colormap"] = look.pop("cmap") or "gray"
        wanted = Plot(
            point=point,
            mosaic=mosaic,
            axis=axis,
            all_slices=all_slices,
            cross=look.pop("intersections", cross),
            title=title,
            size=size,
        )
        seen, over = self._look(channel=channel, **look)
        path = self._path[0] if isinstance(self._path, list) else self._path
        name = os.path.basename(str(path or ""))
        drawn = draw_plot(settled(self._backend), seen, wanted, name=name, overlay=over).picture
        if output_path is not None:
            from medimg_cli.media.saving import save_picture

            save_picture(drawn, os.path.expanduser(os.fspath(output_path)), force=True)
        return drawn

    def to_gif(
        self,
        output_path: str | os.PathLike[str] | None = None,
        *,
        seconds: float | None = 5.0,
        direction: str = "I",
        loop: int = 0,
        rescale: bool = True,
        optimize: bool = True,
        reverse: bool = False,
        bounce: bool = False,
        fps: float | None = None,
        time: bool = False,
        at: str | None = None,
        size: int | None = None,
        **look: Any,
    ) -> Any:
        """Save a sweep through the slices, or through time, as an animated GIF or WebP, in true proportions.

        Channels are colours where the file says so; of others one is shown, three are not taken for colours.

        Parameters
        ----------
        output_path : path-like, optional
            ``.gif`` or ``.webp``. Left out in a notebook: shown there.
        seconds : float, optional
            How long one round takes; at most 50 frames a second are shown, further slices are left out. None, with
            ``fps``: as long as it takes to show all.
        direction : str
            Where the sweep goes: "I", "S", "A", "P", "R" or "L".
        loop : int
            How often it is repeated; 0: for ever.
        rescale : bool
            Whether the range of values becomes 0 ... 255; else values are taken for these.
        optimize : bool
            Whether to leave out of a GIF what does not change from frame to frame.
        reverse : bool
            Whether to play it backwards.
        bounce : bool
            Whether it goes there and back in this time.
        fps : float, optional
            Frames a second; slices are left out or shown more than once to keep to it.
        time : bool
            Whether to go through the time steps or channels of one slice across that direction.
        at : str, optional
            Which slice that is: "50%" (where left out), "12mm" or a voxel.
        size : int, optional
            Pixels of the longer edge; left out: those of the voxels, small ones enlarged to at least 256.
        **look
            Fields of `Look`: window, colormap, channel, neurological, plain ...; ``overlay`` is a path or a LabelMap.

        Returns
        -------
        IPython.display.Image or None
            The former in a notebook.

        Raises
        ------
        UsageError
            If there is no path, outside of a notebook; if the direction or the duration makes no sense.
        """
        from medimg_cli.media.film import Film
        from medimg_cli.media.moving import ANIMATIONS, check_suffix, write_animation

        name = _media_path(output_path, ".gif")
        check_suffix(name, ANIMATIONS)
        film = Film(
            axis=direction,
            seconds=seconds,
            fps=fps,
            loop=loop,
            reverse=reverse,
            bounce=bounce,
            time=time,
            at=at,
            size=size,
        )
        if not rescale:
            look = {"window": "0:255", **look}
        write_animation(self._roll(film, look), name, loop=loop, optimize=optimize, force=True)
        return _inline("Image", filename=name)

    def to_video(
        self,
        output_path: str | os.PathLike[str] | None = None,
        *,
        seconds: float | None = 5.0,
        direction: str = "I",
        verbosity: str = "error",
        reverse: bool = False,
        bounce: bool = False,
        fps: float | None = None,
        time: bool = False,
        at: str | None = None,
        size: int | None = None,
        **look: Any,
    ) -> Any:
        """Save a sweep through the slices, or through time, as video (``.mp4``, ``.webm``), in true proportions.

        Parameters
        ----------
        output_path : path-like, optional
            Left out in a notebook: shown there.
        seconds, direction, reverse, bounce, fps, time, at, size, **look
            As for `to_gif`.
        verbosity : str
            Log level of ffmpeg.

        Raises
        ------
        UsageError
            If there is no path, outside of a notebook; if the direction or the duration makes no sense.
        MissingExtraError
            If there is no ffmpeg.
        """
        from medimg_cli.media.film import Film
        from medimg_cli.media.moving import check_suffix
        from medimg_cli.media.video import VIDEOS, require_ffmpeg, write_video

        name = _media_path(output_path, ".mp4")
        check_suffix(name, VIDEOS)
        film = Film(
            axis=direction, seconds=seconds, fps=fps, reverse=reverse, bounce=bounce, time=time, at=at, size=size
        )
        require_ffmpeg()
        write_video(self._roll(film, look), name, verbosity=verbosity, force=True)
        return _inline("Video", name, embed=True, html_attributes="controls autoplay loop muted")

    def _roll(self, film: Film, look: dict[str, Any]) -> Roll:
        """Return the frames of a film of this image."""
        from medimg_cli.media.film import Roll

        return Roll(self._scene(**look), film)

    def plot_interactive(self, height: int = 300) -> Any:
        """Return a viewer for notebooks (NiiVue), in the radiological convention.

        Parameters
        ----------
        height : int
            Pixels.

        Raises
        ------
        MissingExtraError
            If ipyniivue is not installed.
        """
        try:
            import ipyniivue
        except ImportError:
            hint = "pip install 'medimg-cli[notebook]'"
            raise MissingExtraError("the interactive viewer needs ipyniivue", hint=hint) from None
        widget = ipyniivue.NiiVue(height=height)
        widget.opts.is_radiological_convention = True
        widget.load_volumes([{"path": self._temporary(".nii.gz")}])
        return widget

    def show(self, viewer_path: str | os.PathLike[str] | None = None) -> None:
        """Show the image in another program, and do not wait for it.

        Parameters
        ----------
        viewer_path : path-like, optional
            The program; left out, the command in ``SITK_SHOW_COMMAND``, then ITK-SNAP or 3D Slicer.

        Raises
        ------
        StateError
            If there is none (a RuntimeError).
        StorageError
            If it cannot be started.
        """
        from medimg_cli.media.viewer import start, viewer_command

        command = viewer_command(viewer_path)
        start(command, self._temporary(".nii.gz"))

    def _temporary(self, suffix: str) -> str:
        """Write the image where another program finds it; the file stays, for that one may outlive this one."""
        import tempfile

        from medimg_cli.formats.writing import save_backend

        folder = tempfile.mkdtemp(prefix="medimg-")
        path = os.path.join(folder, type(self).__name__ + suffix)
        save_backend(settled(self._backend), path)
        return path

    def _repr_html_(self) -> str:
        """Return thumbnails and facts for a notebook; an image that cannot be read shows what is wrong."""
        from medimg_cli.media.page import card

        title = type(self).__name__
        if promise_of(self._backend) is not None:
            return card(title, [("state", "not loaded" if self._path else "empty")])
        header = self.header
        facts = [
            ("shape", str(header.shape)),
            ("spacing", " x ".join(f"{size:.4g}" for size in header.spacing) + " mm"),
            ("orientation", "".join(header.orientation) + "+"),
            ("dtype", header.value_dtype + (f" (stored: {header.dtype})" if header.scaled else "")),
            ("memory", f"{self.memory / 1e6:.4g} MB" + ("" if self.is_loaded else ", not loaded")),
        ]
        if self._path is not None:
            facts.append(("path", str(self._path)))
        if not in_memory(self._backend) and header.compression and header.data_bytes > _INFLATED:
            return card(title, [*facts, ("thumbnails", "load() the image first, it is large and compressed")])
        try:
            pictures = self._scene(plain=True).views(side=_THUMBNAIL)
        except (MedImgError, MemoryError) as error:
            return card(title, [*facts, ("voxels", str(error))])
        return card(title, facts, list(zip(("sagittal", "coronal", "axial"), pictures, strict=True)))


def _in_notebook() -> bool:
    """Tell whether a notebook would show what a call returns."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


def _media_path(path: str | os.PathLike[str] | None, suffix: str) -> str:
    """Return where a film goes: a path that is given, or in a notebook a temporary file."""
    if path is not None:
        return os.path.expanduser(os.fspath(path))
    if not _in_notebook():
        raise UsageError("no path is given, and there is no notebook to show it in", hint="give output_path")
    import tempfile

    return os.path.join(tempfile.mkdtemp(prefix="medimg-"), "film" + suffix)


def _inline(kind: str, *values: Any, **options: Any) -> Any:
    """Return what a notebook shows, elsewhere None."""
    if not _in_notebook():
        return None
    from IPython import display

    return getattr(display, kind)(*values, **options)

"""`Shown`: an image as pictures, in files, notebooks and other programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medimg_cli.annotated import Annotated
from medimg_cli.errors import MedImgError, MissingExtraError, UsageError
from medimg_cli.sources.placing import promise_of
from medimg_cli.sources.readers import settled
from medimg_cli.voxels import in_memory

if TYPE_CHECKING:
    from medimg_cli.media.frames import Scene

__all__ = ["Shown"]

#: Bytes of a compressed image that is inflated for thumbnails.
_INFLATED = 1 << 28
#: Pixels of the longest edge of the volume: on a thumbnail, and in a plot.
_THUMBNAIL, _PLOT = 128, 420


class Shown(Annotated):
    """What people see of an image.

    Pictures follow the radiological convention: the patient's left is on the right of axial and coronal ones.
    """

    def _scene(self, **options: Any) -> Scene:
        from medimg_cli.media.frames import Scene

        return Scene(settled(self._backend), labels=self.type == "label", **options)

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
        percentiles: tuple[float, float] = (0.5, 99.5),
        title: str | None = None,
        output_path: str | os.PathLike[str] | None = None,
    ) -> Any:
        """Return the sagittal, coronal and axial view through one place, side by side, in true proportions.

        Only the three slices, and some to find the window, are read.

        Parameters
        ----------
        channel : int
            Which channel is shown, unless the channels are colours.
        indices : 3 ints or None, optional
            Voxel (i, j, k) that the views pass through; None: the middle of that axis.
        coordinates : 3 floats or None, optional
            The same in RAS+ mm; the nearest voxel is taken.
        percentiles : (low, high)
            Of the values that become black and white. Labels are shown in their colours.
        title : str, optional
            Left out: the name of the file.
        output_path : path-like, optional
            Where the picture is saved; its suffix names the format.

        Returns
        -------
        PIL.Image.Image
            A notebook shows it.

        Raises
        ------
        UsageError
            If there is no such channel, or both indices and coordinates are given.
        GeometryError
            If the place lies outside the image.
        """
        from medimg_cli.media.frames import side_by_side

        scene = self._scene(channel=channel, percentiles=percentiles)
        places = self._places(scene, indices, coordinates)
        path = self._path[0] if isinstance(self._path, list) else self._path
        name = title if title is not None else os.path.basename(str(path or ""))
        sheet = side_by_side(scene.views(places, side=_PLOT, letters=True), title=name)
        if output_path is not None:
            from medimg_cli.media.page import save_picture

            save_picture(sheet, os.fspath(output_path))
        return sheet

    def _places(self, scene: Scene, indices: Any, coordinates: Any) -> list[int | None]:
        """Return the place of a voxel in the volume as it is shown."""
        if indices is not None and coordinates is not None:
            raise UsageError("a place is given twice: as indices and as coordinates")
        given = coordinates if coordinates is not None else indices
        if given is None:
            return [None] * 3
        if len(given) != 3:
            raise UsageError(f"a place is {tuple(given)}, expected three numbers")
        grid, shown = self.grid, scene.volume.header.grid
        middle = grid.center if coordinates is not None else [n // 2 for n in grid.shape]
        place = [m if each is None else each for m, each in zip(middle, given, strict=True)]
        if coordinates is None:
            counted = [n + v if isinstance(v, int) and v < 0 else v for n, v in zip(grid.shape, place, strict=True)]
            place = list(grid.world(counted))
        return [round(float(each)) for each in shown.voxel(place)]

    def to_gif(
        self,
        output_path: str | os.PathLike[str] | None = None,
        *,
        seconds: float = 5.0,
        direction: str = "I",
        loop: int = 0,
        rescale: bool = True,
        optimize: bool = True,
        reverse: bool = False,
    ) -> Any:
        """Save a journey through the slices as an animated GIF, in true proportions.

        Parameters
        ----------
        output_path : path-like, optional
            Left out in a notebook: shown there.
        seconds : float
            How long one round takes; at most 50 frames a second are shown, further slices are left out.
        direction : str
            Where the journey goes: "I", "S", "A", "P", "R" or "L".
        loop : int
            How often it is repeated; 0: for ever.
        rescale : bool
            Whether the range of values becomes 0 ... 255; else values are taken for these.
        optimize : bool
            Whether to make the palette small.
        reverse : bool
            Whether to play it backwards.

        Returns
        -------
        IPython.display.Image or None
            The former in a notebook.

        Raises
        ------
        UsageError
            If there is no path, outside of a notebook; if the direction or the duration makes no sense.
        """
        from medimg_cli.media.moving import FASTEST, check_film, write_gif

        name = _media_path(output_path, ".gif")
        check_film(seconds, name, ".gif")
        scene = self._scene(window=None if rescale else (0.0, 255.0))
        frames = list(scene.frames(direction, most=max(1, int(seconds * FASTEST)), reverse=reverse))
        write_gif(frames, name, seconds=seconds, loop=loop, optimize=optimize)
        return _inline("Image", filename=name)

    def to_video(
        self,
        output_path: str | os.PathLike[str] | None = None,
        *,
        seconds: float = 5.0,
        direction: str = "I",
        verbosity: str = "error",
    ) -> Any:
        """Save a journey through the slices as H.264 video (``.mp4``), in true proportions.

        Parameters
        ----------
        output_path : path-like, optional
            Left out in a notebook: shown there.
        seconds : float
            How long it takes.
        direction : str
            Where the journey goes: "I", "S", "A", "P", "R" or "L".
        verbosity : str
            Log level of ffmpeg.

        Raises
        ------
        UsageError
            If there is no path, outside of a notebook; if the direction or the duration makes no sense.
        MissingExtraError
            If there is no ffmpeg.
        """
        from medimg_cli.media.moving import write_video

        name = _media_path(output_path, ".mp4")
        scene = self._scene()
        count = len(scene.sweep(direction)[1])
        write_video(scene.frames(direction), name, seconds=seconds, count=count, verbosity=verbosity)
        return _inline("Video", name, embed=True, html_attributes="controls autoplay loop muted")

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
            pictures = self._scene().views(side=_THUMBNAIL)
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

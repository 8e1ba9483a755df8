"""`Operated`: operations on an image, their history, and the way back.

Operations return new images and leave the one they are called on as it is; voxels are computed when somebody reads
them. What was done is in the header, so that it is saved with the image and can be undone by another program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from medimg_cli.errors import IrreversibleWarning
from medimg_cli.operations.history import Undo, as_before, on_labels, way_back
from medimg_cli.operations.protocol import apply
from medimg_cli.sources.readers import settled
from medimg_cli.voxels import Voxels

if TYPE_CHECKING:
    from medimg_cli.operations.protocol import Request

__all__ = ["Operated"]


class Operated(Voxels):
    """What can be done to an image, and undone."""

    @property
    def type(self) -> str:
        """ "label" or "intensity"."""
        raise NotImplementedError

    def apply(self, operation: Request | Undo) -> Self:
        """Return the image that an operation makes of this one, lazily, the operation added to its history.

        An operation on intensities leaves a label map as it is, and none invents labels in it.

        Parameters
        ----------
        operation : Operation or Undo
            See :mod:`medimg_cli.operations`.

        Raises
        ------
        MedImgError
            If it makes no sense for this image, or would lose something that nobody allowed it to lose.
        """
        with self._lock:
            backend, is_label = settled(self._backend), self.type == "label"
            undoing = isinstance(operation, Undo)
            for each in operation if isinstance(operation, Undo) else (operation,):
                fitting = on_labels(each, undoing=undoing) if is_label else each
                backend = backend if fitting is None else apply(fitting, backend)
            return self._derived(backend)

    def reorient(self, codes: str | Sequence[str]) -> Self:
        """Return the image with its axes permuted and flipped to run to letters such as "RAS"; lossless."""
        from medimg_cli.operations.reorient import Reorient

        return self.apply(Reorient(codes))

    def flip(self, axes: int | str | Sequence[int | str]) -> Self:
        """Return the image with voxel axes (0, 1, 2, or directions such as "L") running the other way.

        No voxel moves in the world: the affine follows.
        """
        from medimg_cli.operations.flip import Flip

        return self.apply(Flip(axes))

    def crop(self, amounts: int | Sequence[Sequence[int]]) -> Self:
        """Return the image without some voxels at its ends: an int, or ((lo, hi), (lo, hi), (lo, hi))."""
        from medimg_cli.operations.crop import Crop

        return self.apply(Crop(amounts))

    def pad(
        self, amounts: int | Sequence[Sequence[int]], *, mode: str = "constant", value: float | None = None
    ) -> Self:
        """Return the image with voxels added at its ends; see :class:`~medimg_cli.operations.pad.Pad`."""
        from medimg_cli.operations.pad import Pad

        return self.apply(Pad(amounts, mode=mode, value=value))

    def crop_or_pad(self, shape: int | Sequence[int], *, mode: str = "constant", value: float | None = None) -> Self:
        """Return the image cropped or padded about its centre to a spatial shape."""
        from medimg_cli.operations.crop import CropOrPad

        return self.apply(CropOrPad(shape, mode=mode, value=value))

    def resample(
        self, target: Any = None, *, size: Any = None, interpolation: str | None = None, **options: Any
    ) -> Self:
        """Return the image on another grid, in world space.

        Parameters
        ----------
        target : float, 3 floats, Grid or Image
            Spacing in mm (one number: isotropic), or the grid to resample to.
        size : int or 3 ints, optional
            Instead of a spacing: voxels along i, j, k over the same field of view.
        interpolation : str, optional
            "linear", "nearest", "cubic", "lanczos", or for labels "label" (they vote); left out: linear, nearest for
            labels.
        **options
            See :class:`~medimg_cli.operations.resample.Resample`.

        Raises
        ------
        UsageError
            If labels would be interpolated.
        """
        from medimg_cli.operations.resample import Resample

        return self.apply(Resample(target, size=size, interpolation=interpolation, **options))

    def cast(self, dtype: Any, *, round: bool = False, clip: bool = False, rescale: Any = None) -> Self:
        """Return the image with its values stored in another dtype, as `operations.cast.Cast` says.

        Raises
        ------
        CastError
            If a value would change in a way that no option allows.
        """
        from medimg_cli.operations.cast import Cast

        result = self.apply(Cast(dtype, round=round, clip=clip, rescale=rescale))
        result._storage = None  # the type was asked for: saving does not go back to another
        return result

    def rescale(self, low: float = 0.0, high: float = 1.0, *, source: tuple[float, float] | None = None) -> Self:
        """Return the image with its range of values mapped to another, as floats."""
        from medimg_cli.operations.cast import Rescale

        return self.apply(Rescale(low, high, source=source))

    def clamp(self, low: float | None = None, high: float | None = None) -> Self:
        """Return the image with its values limited to a range, in the dtype that they have."""
        from medimg_cli.operations.cast import Clamp

        return self.apply(Clamp(low, high))

    # -- history

    @property
    def applied_transforms(self) -> list[dict[str, Any]]:
        """Steps applied so far, before the image was saved, too: plain values that JSON can hold, oldest first."""
        return list(self.header.history)

    def get_inverse_transform(self, warn: bool = True, ignore_intensity: bool = False) -> Undo:
        """Return what leads back to the grid, and as far as possible the values, before all steps of the history.

        Cropping, padding, flipping, reorienting and slicing are undone exactly (what was cut off is 0),
        resampling by resampling back to the grid before, changes of intensities where they have an inverse.
        The result can be called with another image on the same grid, such as a segmentation.

        Parameters
        ----------
        warn : bool
            Whether to warn of steps that have no inverse; they are left out.
        ignore_intensity : bool
            Whether to leave out, without a warning, steps that only change values or how they are stored.

        Raises
        ------
        UnsupportedError, FormatError
            If the history was recorded by a later version, or makes no sense.
        """
        undo, lost = way_back(self.header.history, ignore_intensity=ignore_intensity)
        if lost and warn:
            import warnings

            names = ", ".join(dict.fromkeys(str(step.get("name")) for step in lost))
            warnings.warn(f"no inverse, left out: {names}", IrreversibleWarning, stacklevel=2)
        return undo

    def apply_inverse_transform(self, warn: bool = True, ignore_intensity: bool = False) -> Self:
        """Return the image as it was before all steps of its history, as far as they can be undone.

        Parameters
        ----------
        warn, ignore_intensity
            As `get_inverse_transform`.

        Returns
        -------
        Image
            On the first grid, exactly; its history is empty.
        """
        undone = self.apply(self.get_inverse_transform(warn=warn, ignore_intensity=ignore_intensity))
        if self.header.history:
            undone._replace_header(as_before(undone.header, self.header.history[0]).replace(history=()))
        return undone

    def clear_history(self) -> None:
        """Forget the steps applied so far; nothing else changes."""
        if self.header.history:
            self._replace_header(self.header.replace(history=()))

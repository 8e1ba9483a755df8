"""Every error that medimg raises on purpose.

Each class also inherits the builtin that a caller would expect, so that ``except ValueError`` or ``except
OSError`` work without knowing medimg. The text of an error is one line: the path, what is wrong, what to do.
"""

from __future__ import annotations

__all__ = [
    "CastError",
    "DamagedError",
    "DuplicateSliceError",
    "EmptyFileError",
    "FormatError",
    "GeometryError",
    "IrreversibleWarning",
    "LossError",
    "LossWarning",
    "MedImgError",
    "MissingExtraError",
    "MissingPartError",
    "MissingSliceError",
    "NotFoundError",
    "OutsideError",
    "OversizeError",
    "SliceError",
    "StateError",
    "StorageError",
    "TruncatedError",
    "UnevenSliceError",
    "UnknownFormatError",
    "UnsupportedError",
    "UsageError",
]


class MedImgError(Exception):
    """Base of all errors of medimg.

    Parameters
    ----------
    message : str
        What was found and what was expected, on one line.
    path : str or path-like, optional
        The file that the message speaks of; printed in front of it.
    hint : str, optional
        What to do about it; printed behind a semicolon.

    Examples
    --------
    >>> str(MedImgError("352 bytes, expected 24544", path="a.nii", hint="fetch the file again"))
    'a.nii: 352 bytes, expected 24544; fetch the file again'
    """

    def __init__(self, message: str, *, path: object = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = None if path is None else str(path)
        self.hint = hint

    def __str__(self) -> str:
        text = self.message if self.path is None else f"{self.path}: {self.message}"
        return text if self.hint is None else f"{text}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.path, self.hint)

    def at(self, path: object) -> MedImgError:
        """Return this error with ``path`` filled in where it has none."""
        if self.path is None:
            self.path = str(path)
        return self


def _rebuild(kind: type[MedImgError], message: str, path: str | None, hint: str | None) -> MedImgError:
    return kind(message, path=path, hint=hint)


class FormatError(MedImgError, ValueError):
    """The content of a file is not what its format allows."""


class TruncatedError(FormatError, EOFError):
    """A file ends before the bytes that its header declares."""


class DamagedError(FormatError):
    """Encoded bytes do not decode, or a checksum disagrees."""


class EmptyFileError(FormatError):
    """A file has no bytes."""


class UnknownFormatError(FormatError):
    """The content of a file is not the image that its name promises, nor another one that medimg knows."""


class MissingPartError(FormatError):
    """The other file of an image, its header or its voxels, is not there."""


class OutsideError(FormatError):
    """A file points to bytes outside its own folder, which are not read."""


class OversizeError(FormatError):
    """A header states more than any file could hold, or data decode to far more than their file could mean."""


class UnsupportedError(MedImgError, NotImplementedError):
    """The file or request is valid, but medimg cannot serve it here."""


class MissingExtraError(MedImgError, ImportError):
    """An optional dependency is not installed; the text names the extra."""


class GeometryError(MedImgError, ValueError):
    """An affine, orientation, spacing or region makes no sense, or the target cannot hold it."""


class SliceError(GeometryError):
    """Slices make no regular stack; the line names two of them, and their distance in mm."""


class MissingSliceError(SliceError):
    """There is a gap between two slices, of one or several whole slices, or a volume has fewer than others."""


class DuplicateSliceError(SliceError):
    """Two slices lie at one position, or are copies of each other."""


class UnevenSliceError(SliceError):
    """The steps between slices differ."""


class CastError(MedImgError, ValueError):
    """A change of dtype would clip, round or drop values, and nobody said how."""


class LossError(MedImgError, ValueError):
    """A strict conversion would lose something."""


class LossWarning(UserWarning):
    """Something did not fit into the file that it was saved to."""


class IrreversibleWarning(UserWarning):
    """A step of an image's history has no inverse."""


class StorageError(MedImgError, OSError):
    """Reading or writing bytes failed, the target exists, or the file changed since it was opened."""


class NotFoundError(StorageError, FileNotFoundError):
    """A file that was named does not exist."""


class StateError(MedImgError, RuntimeError):
    """An object is not in the state that a call needs: an image without voxels, for example."""


class UsageError(MedImgError, ValueError):
    """A call or command line asks for something that cannot be."""

"""Where an image lies when its caller says so, at once or as soon as its voxels are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import BLOCK, Backend, with_header
from medimg_cli.errors import GeometryError, StateError

if TYPE_CHECKING:
    import numpy as np

    from medimg_cli.backends import Buffer
    from medimg_cli.header import Header
    from medimg_cli.storage.stored import Layout, Region

    Array = np.ndarray[Any, Any]

__all__ = ["EmptyBackend", "Promise", "own_promise", "placed_by", "promise_of", "with_affine"]


class Promise:
    """What an image is told before its voxels are known: where it lies, and its key-values."""

    def __init__(self) -> None:
        self.placement: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}

    def kept(self, backend: Backend) -> Backend:
        """Return the voxels that have come, placed and labelled as promised."""
        placed = placed_by(backend, **self.placement)
        return with_header(placed, placed.header.replace(metadata={**placed.header.metadata, **self.metadata}))


def promise_of(backend: Backend) -> Promise | None:
    """Return what is promised to a backend whose voxels are not known yet, else None."""
    promise: Promise | None = getattr(backend, "promise", None)
    return promise


def own_promise(backend: Backend) -> Backend:
    """Return a backend that shares no promise with another image."""
    promise = promise_of(backend)
    if promise is None:
        return backend
    twin: Any = copy(backend)
    twin.promise = Promise()
    twin.promise.placement, twin.promise.metadata = dict(promise.placement), dict(promise.metadata)
    result: Backend = twin
    return result


class EmptyBackend:
    """The backend of an image that has no voxels yet."""

    def __init__(self) -> None:
        self.promise: Promise | None = Promise()

    @property
    def header(self) -> Header:
        """Raise: there is none."""
        raise _empty()

    def read(self, region: Region, *, raw: bool = False) -> Array:
        """Raise: there is nothing to read."""
        raise _empty()

    def blocks(self, layout: Layout, *, raw: bool = True, max_bytes: int = BLOCK) -> Iterator[Buffer]:
        """Raise: there is nothing to read."""
        raise _empty()


def _empty() -> StateError:
    return StateError("the image is empty", hint="give it voxels with set_data")


def placed_by(
    backend: Backend, *, affine: Any = None, spacing: Any = None, origin: Any = None, direction: Any = None
) -> Backend:
    """Return an image with the geometry that its caller gives it.

    Raises
    ------
    GeometryError
        If an affine is given together with a part of one, or one of them is none.
    """
    given = {"affine": affine, "spacing": spacing, "origin": origin, "direction": direction}
    given = {name: value for name, value in given.items() if value is not None}
    if "affine" in given and len(given) > 1:
        raise GeometryError(
            "an affine is given together with spacing, origin or direction", hint="give one or the other"
        )
    promise = promise_of(backend)
    if promise is not None:
        _moved(AffineMatrix(), given)  # refuses at once what makes no sense
        promise.placement.update(given)
        return backend
    if not given:
        return backend
    header = backend.header
    wanted = _moved(header.affine, given)
    placed = with_affine(header, wanted)
    shift = header.affine.mm_shift(wanted, header.spatial_shape)
    if header.format and shift > 1e-3:
        placed = placed.warn(f"the affine was given by the caller, {shift:.4g} mm from that of the file")
    return with_header(backend, placed)


def _moved(start: AffineMatrix, given: Mapping[str, Any]) -> AffineMatrix:
    """Return an affine with all or some of its parts replaced."""
    found = AffineMatrix(given.get("affine", start))
    found = found.with_direction(given["direction"]) if "direction" in given else found
    found = found.with_spacing(given["spacing"]) if "spacing" in given else found
    return found.with_origin(given["origin"]) if "origin" in given else found


def with_affine(header: Header, affine: AffineMatrix) -> Header:
    """Return a header with another affine.

    Both NIfTI forms become the new affine and keep their codes; where both codes were 0 the sform gets code 2
    (aligned), as nibabel gives it. A quaternion holds no shear: of a sheared affine only the sform remains,
    with the code of the qform where it had none. Gradients keep their directions along the voxel axes.
    """
    if header.gradients is not None:
        header = header.replace(gradients=header.gradients.under(header.affine, affine))
    if header.sform_code is None and header.qform_code is None:
        return header.replace(affine=affine, affine_source="given")
    sform_code, qform_code = header.sform_code or 0, header.qform_code or 0
    sheared = affine.is_singular or affine.is_sheared
    if sheared or not (sform_code or qform_code):
        sform_code = sform_code or qform_code or 2
    qform_code = 0 if sheared else qform_code
    return header.replace(
        affine=affine,
        affine_source="sform" if sform_code else "qform",
        sform=affine if sform_code else None,
        sform_code=sform_code,
        qform=affine if qform_code else None,
        qform_code=qform_code,
    )

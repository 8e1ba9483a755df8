"""The protocol of operations: values that say what is to be done to an image, lazily and on the record.

An operation is a frozen dataclass of JSON-able values. It goes through four steps, each of which can be
looked at alone:

- ``prepare(source)`` resolves what depends on the data: a range, the labels that occur, whether a cast loses
  anything. Most operations need nothing and return themselves.
- ``plan(header)`` is pure: the :class:`Step` that it would be, with the grid before, the grid after, and the
  map from new voxel indices to old ones.
- ``apply(backend, step)`` returns a backend that reads only what a region needs. Its header has followed the
  step.
- ``inverse(step)`` returns the operation that leads back to the grid before, verbatim, or None where there is
  none.

Index operations stay in stored numbers; pointwise ones map blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, GeometryError
from medimg_cli.grid import Grid

if TYPE_CHECKING:
    from medimg_cli.backends import Backend
    from medimg_cli.header import Header

__all__ = ["Operation", "Recipe", "Request", "Rows", "Step", "apply", "landed", "perform"]

#: The rows of an affine, as JSON and frozen dataclasses hold them.
Rows = tuple[tuple[float, ...], ...]

#: Millimetres by which an inverse may find its image beside the place where it was: float32 in a file header.
_ASTRAY = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One operation as it was, or will be, applied to one image.

    Parameters
    ----------
    name : str
        A row of ``OPERATIONS``.
    version : int
        Of the meaning of ``parameters``.
    parameters : mapping
        Fields of the operation that differ from their defaults, JSON-able.
    grid_before, grid_after : Grid
        Where the voxels lay, and where they lie.
    voxel_map : AffineMatrix
        New voxel -> old voxel.
    idle : bool
        Whether nothing changes at all, so that nothing is recorded.
    """

    name: str
    version: int
    parameters: Mapping[str, Any]
    grid_before: Grid
    grid_after: Grid
    voxel_map: AffineMatrix
    idle: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the step as a plain value that JSON can hold; `from_json` leads back, bit for bit."""
        return {
            "name": self.name,
            "version": self.version,
            "parameters": plain(self.parameters),
            "grid_before": _grid_to_json(self.grid_before),
            "grid_after": _grid_to_json(self.grid_after),
            "voxel_map": plain(self.voxel_map.rows),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """Read a step from what `to_json` returned.

        Raises
        ------
        FormatError
            If something is missing or of the wrong kind.
        """
        try:
            return cls(
                name=str(data["name"]),
                version=int(data["version"]),
                parameters=dict(data["parameters"]),
                grid_before=Grid(data["grid_before"]["shape"], data["grid_before"]["affine"]),
                grid_after=Grid(data["grid_after"]["shape"], data["grid_after"]["affine"]),
                voxel_map=AffineMatrix(data["voxel_map"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"the history holds a step that cannot be read: {error}") from None


class Request(Protocol):
    """What becomes an operation once it meets an image: an operation, or words that stand for one."""

    def for_target(self, header: Header, path: str) -> Request:
        """Return the request for an output of that name, whose format may not hold all that it asks for."""
        return self

    def prepare(self, source: Backend) -> Operation: ...

    def remarks(self, header: Header, operation: Operation) -> Sequence[str]:
        """Say, in a sentence each, what was decided for an image of which nobody told it."""
        return ()


class Operation(Request, Protocol):
    """What every operation offers; the module's text is the contract."""

    #: Name of its row in ``OPERATIONS``.
    name: ClassVar[str]
    #: Version of the meaning of its fields.
    version: ClassVar[int]
    #: Whether it changes intensities, so that label maps are left alone.
    intensity: ClassVar[bool]

    def prepare(self, source: Backend) -> Operation: ...
    def plan(self, header: Header) -> Step: ...
    def apply(self, backend: Backend, step: Step) -> Backend: ...
    def inverse(self, step: Step) -> Operation | None: ...


class Recipe:
    """What operations share: most need no data, and their parameters are their fields."""

    __slots__ = ()

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    intensity: ClassVar[bool] = False

    def for_target(self, header: Header, path: str) -> Self:
        """Return the operation for an output of that name: the same one for all of them."""
        return self

    def prepare(self, source: Backend) -> Self:
        """Return the operation with everything that depends on data resolved; here it already is."""
        return self

    def remarks(self, header: Header, operation: Operation) -> Sequence[str]:
        """Return nothing: an operation was asked for in full."""
        return ()

    def parameters(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, JSON-able."""
        found = {}
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            if entry.default is MISSING or value != entry.default:
                found[entry.name] = plain(value)
        return found

    def step(self, before: Grid, after: Grid, voxel_map: AffineMatrix, *, idle: bool = False) -> Step:
        """Return the step of this operation between two grids."""
        return Step(
            name=self.name,
            version=self.version,
            parameters=self.parameters(),
            grid_before=before,
            grid_after=after,
            voxel_map=voxel_map,
            idle=idle,
        )

    def in_place(self, header: Header, *, idle: bool = False) -> Step:
        """Return the step of an operation that moves no voxel."""
        return self.step(header.grid, header.grid, AffineMatrix(), idle=idle)


def apply(operation: Request, backend: Backend) -> Backend:
    """Apply an operation to an image, lazily.

    Parameters
    ----------
    operation : Operation or Request
    backend : Backend

    Returns
    -------
    Backend
        The same backend where the operation changes nothing; else one whose header has followed the step and
        lists it in its history.

    Raises
    ------
    MedImgError
        Where the operation makes no sense for this image, or would lose something that nobody allowed it to
        lose.
    """
    return perform(operation.prepare(backend), backend)


def perform(operation: Operation, backend: Backend) -> Backend:
    """Apply an operation that is prepared; see `apply`."""
    step = operation.plan(backend.header)
    return backend if step.idle else operation.apply(backend, step)


def landed(grid: Grid, affine: Rows | None) -> Grid:
    """Return a grid with the exact affine that an inverse restores, where there is one.

    Parameters
    ----------
    grid : Grid
        As computed.
    affine : 4 x 4 rows, optional
        As it was recorded.

    Raises
    ------
    GeometryError
        If the two are apart by more than rounding: the operation is the inverse for another image.
    """
    if affine is None:
        return grid
    wanted = Grid(grid.shape, affine)
    if not grid.same_as(wanted, _ASTRAY):
        raise GeometryError(
            f"this inverse belongs to an image that lies {grid.mm_shift(wanted):.3g} mm from this one",
            hint="apply it to the image whose history it comes from",
        )
    return wanted


#: Floats that JSON has no word for, as histories write them.
_WORDS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: lists for tuples, words for NaN and infinities.

    >>> plain({"axes": (0, (1, 2)), "value": float("inf")})
    {'axes': [0, [1, 2]], 'value': 'inf'}
    """
    kind = type(value)
    if kind in (tuple, list):
        return [plain(item) for item in value]
    if kind not in (float, int, str, bool):
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return [plain(item) for item in value]
        value = value.item() if hasattr(value, "item") else value  # numpy's scalars
    return str(value) if isinstance(value, float) and value - value != 0 else value


def frozen(value: Any) -> Any:
    """Return what `plain` made as frozen dataclasses hold it.

    >>> frozen({"axes": [0, [1, 2]], "value": "inf"})
    {'axes': (0, (1, 2)), 'value': inf}
    """
    if isinstance(value, dict):
        return {key: frozen(item) for key, item in value.items()}
    if isinstance(value, str):
        return _WORDS.get(value, value)
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _grid_to_json(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": plain(grid.affine.rows)}

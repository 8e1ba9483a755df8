"""Operations: reorient, flip, crop, pad, slice, cast and the rest, lazily and on the record.

One row each in `OPERATIONS`; the protocol is in :mod:`medimg_cli.operations.protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from medimg_cli.errors import FormatError, UnsupportedError
from medimg_cli.operations.protocol import Operation, Step, apply, frozen

__all__ = ["OPERATIONS", "Operation", "Row", "Step", "apply", "from_json", "inverse_of", "operation_class"]


class Row(NamedTuple):
    """One operation: its name in histories, and where its class is.

    Parameters
    ----------
    name : str
    target : str
        "module:class", imported when the operation is met.
    """

    name: str
    target: str


_HERE = "medimg_cli.operations."

OPERATIONS: tuple[Row, ...] = (
    Row("reorient", _HERE + "reorient:Reorient"),
    Row("turn", _HERE + "reorient:Turn"),
    Row("flip", _HERE + "flip:Flip"),
    Row("slice", _HERE + "slicing:Slice"),
    Row("crop", _HERE + "crop:Crop"),
    Row("pad", _HERE + "pad:Pad"),
    Row("crop_or_pad", _HERE + "crop:CropOrPad"),
    Row("place", _HERE + "crop:Place"),
    Row("resample", _HERE + "resample:Resample"),
    Row("cast", _HERE + "cast:Cast"),
    Row("rescale", _HERE + "cast:Rescale"),
    Row("clamp", _HERE + "cast:Clamp"),
    Row("remap", _HERE + "relabel:Remap"),
    Row("one_hot", _HERE + "relabel:OneHot"),
)
"""All operations; to add one, write its file and give it a row."""


def operation_class(name: str) -> Any:
    """Import the class of an operation.

    Raises
    ------
    UnsupportedError
        If there is none of that name.
    """
    for row in OPERATIONS:
        if row.name == name:
            module, _, attribute = row.target.partition(":")
            return getattr(import_module(module), attribute)
    raise UnsupportedError(f"there is no operation {name!r} in this version")


def from_json(step: Mapping[str, Any]) -> Operation:
    """Return the operation that a step of a history tells of.

    Parameters
    ----------
    step : mapping
        As `Step.to_json` returned it; ``name``, ``version`` and ``parameters`` are read.

    Raises
    ------
    UnsupportedError
        If there is no such operation, or the step comes from a later version of it.
    FormatError
        If its parameters make no sense.

    Examples
    --------
    >>> from_json({"name": "flip", "version": 1, "parameters": {"axes": [0]}})
    Flip(axes=(0,), affine=None)
    """
    if not isinstance(step, Mapping):
        raise FormatError(f"the history holds {type(step).__name__}, expected a step")
    found = operation_class(str(step.get("name"))[:80])
    try:
        version = int(step.get("version", 1))
        if version <= found.version:
            operation: Operation = found(**frozen(dict(step.get("parameters", {}))))
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"the history holds a step {step['name']!r} that cannot be read: {error}") from None
    if version > found.version:
        raise UnsupportedError(f"operation {step['name']!r} was recorded by a later version of medimg")
    return operation


def inverse_of(step: Mapping[str, Any]) -> Operation | None:
    """Return the operation that undoes a step of a history, or None where there is none.

    Raises
    ------
    UnsupportedError, FormatError
        As `from_json`.
    """
    return from_json(step).inverse(Step.from_json(step))

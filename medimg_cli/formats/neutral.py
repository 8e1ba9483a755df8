"""Facts of a header as JSON, for formats that can carry text but have no field of their own for them.

NPZ files carry all of them, MRtrix files those that no key of theirs says. What is read back is checked like
any other content of a file: a fact of the wrong type is left out, with a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any, NamedTuple

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import MedImgError
from medimg_cli.header import Gradients, Header

__all__ = ["FACTS", "OF_GRID", "from_facts", "to_facts"]


class _Fact(NamedTuple):
    """How one field of a header becomes JSON, and back; ``parse`` raises where it is something else."""

    show: Callable[[Any], Any]
    parse: Callable[[Any, Header], Any]


def _same(value: Any) -> Any:
    return value


def _text(value: Any, _: Header) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any, _: Header) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or abs(value) > 1 << 31):
        raise TypeError
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def _seconds(value: Any, _: Header) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if not isfinite(seconds):
        raise ValueError
    return seconds


def _numbers(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_number(each) for each in value)


def _matrix(value: Any, _: Header) -> AffineMatrix | None:
    return None if value is None else AffineMatrix([_numbers(row) for row in value])


def _show_matrix(affine: AffineMatrix | None) -> Any:
    return None if affine is None else [list(row) for row in affine.rows[:3]]


def _axes(value: Any, header: Header) -> tuple[tuple[str, int], ...]:
    axes, product = [], 1
    for kind, size in value:
        if not isinstance(kind, str) or isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise TypeError
        axes.append((kind, size))
        product *= size
    if product != header.channels:
        raise ValueError
    return tuple(axes)


def _show_gradients(gradients: Gradients | None) -> Any:
    if gradients is None:
        return None
    return {"bvals": list(gradients.bvals), "bvecs": [list(each) for each in gradients.bvecs]}


def _gradients(value: Any, header: Header) -> Gradients | None:
    if value is None:
        return None
    bvals = _numbers(value["bvals"])
    bvecs = tuple((x, y, z) for x, y, z in map(_numbers, value["bvecs"]))
    if len(bvals) != header.channels or len(bvecs) != header.channels:
        raise ValueError
    if not all(isfinite(number) for row in (bvals, *bvecs) for number in row):
        raise ValueError
    return Gradients(bvals, bvecs)


def _show_labels(labels: Any) -> Any:
    return None if labels is None else labels.to_json()


def _labels(value: Any, _: Header) -> Any:
    from medimg_cli.labels import LabelTable

    return None if value is None else LabelTable.from_json(value)


def _metadata(value: Any, _: Header) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _history(value: Any, _: Header) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list) or not all(isinstance(step, dict) for step in value):
        raise TypeError
    return tuple(value)


def _show_extensions(extensions: tuple[tuple[int, bytes], ...]) -> Any:
    from base64 import b64encode

    return [[code, b64encode(content).decode("ascii")] for code, content in extensions]


def _extensions(value: Any, header: Header) -> tuple[tuple[int, bytes], ...]:
    from base64 import b64decode

    found = []
    for code, content in value:
        if _whole(code, header) is None:
            raise TypeError
        found.append((code, b64decode(content, validate=True)))
    return tuple(found)


_TEXT, _WHOLE, _MATRIX = _Fact(_same, _text), _Fact(_same, _whole), _Fact(_show_matrix, _matrix)

#: Fields of a header that can travel as JSON.
FACTS: dict[str, _Fact] = {
    "axes": _Fact(lambda axes: [list(axis) for axis in axes], _axes),
    "sform": _MATRIX,
    "sform_code": _WHOLE,
    "qform": _MATRIX,
    "qform_code": _WHOLE,
    "space_units": _TEXT,
    "time_units": _TEXT,
    "time_spacing": _Fact(_same, _seconds),
    "intent": _TEXT,
    "intent_params": _Fact(list, lambda value, _: _numbers(value)),
    "intent_name": _TEXT,
    "description": _TEXT,
    "gradients": _Fact(_show_gradients, _gradients),
    "labels": _Fact(_show_labels, _labels),
    "metadata": _Fact(dict, _metadata),
    "history": _Fact(list, _history),
    "extensions": _Fact(_show_extensions, _extensions),
}
#: Facts that speak of the voxel axes and are wrong once somebody else has moved them.
OF_GRID = frozenset({"sform", "sform_code", "qform", "qform_code", "history", "gradients"})


def to_facts(header: Header, names: Iterable[str]) -> dict[str, Any]:
    """Return fields of a header as plain JSON values.

    >>> to_facts(Header(shape=(1, 2, 3, 4), dtype="int8", affine=AffineMatrix(), intent="label"), ["intent"])
    {'intent': 'label'}
    """
    return {name: FACTS[name].show(getattr(header, name)) for name in names}


def from_facts(header: Header, facts: Mapping[str, Any]) -> Header:
    """Return a header with the fields that ``facts`` states; unknown names are ignored.

    A fact of the wrong type, or one that contradicts the shape, is left out, with a warning.
    """
    found: dict[str, Any] = {}
    wrong = []
    for name, value in facts.items():
        if name not in FACTS:
            continue
        try:
            found[name] = FACTS[name].parse(value, header)
        except (TypeError, ValueError, KeyError, OverflowError, MedImgError):
            wrong.append(name)
    header = header.replace(**found)
    if wrong:
        what = ", ".join(sorted(wrong))
        header = header.warn(f"what the header says as JSON about {what} makes no sense and is ignored")
    return header

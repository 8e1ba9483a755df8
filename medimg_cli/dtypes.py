"""Names, sizes and ranges of voxel types, without NumPy.

A dtype is NumPy's name of a type in native byte order ("int16", "complex64"); byte order is told apart.
"""

from __future__ import annotations

__all__ = ["ITEMSIZE", "can_hold", "integer_range", "is_complex", "is_float", "is_integer", "kind", "scaled_dtype"]

#: Bytes that one value of each type takes.
ITEMSIZE: dict[str, int] = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "float128": 16,
    "complex64": 8,
    "complex128": 16,
    "complex256": 32,
}

#: Bits of the significand, hidden bit included: integers up to 2**bits are exact.
_PRECISION = {"float16": 11, "float32": 24, "float64": 53, "float128": 64}
_PARTS = {"complex64": "float32", "complex128": "float64", "complex256": "float128"}


def kind(dtype: str) -> str:
    """Return "bool", "int", "uint", "float" or "complex".

    >>> kind("uint16"), kind("complex64")
    ('uint', 'complex')
    """
    return dtype.rstrip("0123456789")


def is_integer(dtype: str) -> bool:
    """Tell whether ``dtype`` is a signed or unsigned integer (bool is not)."""
    return kind(dtype) in ("int", "uint")


def is_float(dtype: str) -> bool:
    """Tell whether ``dtype`` is a real floating-point type."""
    return kind(dtype) == "float"


def is_complex(dtype: str) -> bool:
    """Tell whether ``dtype`` is complex."""
    return kind(dtype) == "complex"


def integer_range(dtype: str) -> tuple[int, int]:
    """Return the smallest and largest value of an integer or boolean type.

    >>> integer_range("int8")
    (-128, 127)
    """
    if dtype == "bool":
        return 0, 1
    bits = 8 * ITEMSIZE[dtype]
    return (0, 2**bits - 1) if kind(dtype) == "uint" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def can_hold(target: str, source: str) -> bool:
    """Tell whether every value of type ``source`` is exact in type ``target``.

    >>> can_hold("int32", "uint16"), can_hold("int16", "uint16"), can_hold("float32", "int32")
    (True, False, False)
    """
    if target == source:
        return True
    if is_complex(source):
        return is_complex(target) and ITEMSIZE[target] >= ITEMSIZE[source]
    if is_complex(target):
        return can_hold(_PARTS[target], source)
    if is_float(source):
        return is_float(target) and ITEMSIZE[target] >= ITEMSIZE[source]
    low, high = integer_range(source)
    if is_float(target):
        return high <= 2 ** _PRECISION[target] and low >= -(2 ** _PRECISION[target])
    if target == "bool":
        return False
    target_low, target_high = integer_range(target)
    return target_low <= low and high <= target_high


def scaled_dtype(dtype: str) -> str:
    """Return the type of ``stored * slope + inter`` for stored values of type ``dtype``.

    float32 where the stored type has at most 16 bits, else float64; complex types stay complex and float128
    itself.

    >>> scaled_dtype("int16"), scaled_dtype("int32"), scaled_dtype("complex64")
    ('float32', 'float64', 'complex128')
    """
    if is_complex(dtype):
        return "complex256" if dtype == "complex256" else "complex128"
    if dtype == "float128":
        return dtype
    return "float32" if ITEMSIZE[dtype] <= 2 else "float64"

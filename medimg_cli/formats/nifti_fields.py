"""The raw headers of NIfTI-1 and NIfTI-2: their fields, codes, quaternions and extensions, as the standard names them.

Sources: ``nifti1.h`` (R. W. Cox, 2003 to 2007) and ``nifti2.h`` (2011), which define every field below by its offset.
"""

from __future__ import annotations

import struct
from math import isfinite, sqrt
from typing import Any

from medimg_cli.affine import AffineMatrix
from medimg_cli.errors import FormatError, TruncatedError, UnknownFormatError
from medimg_cli.formats.text import clipped, decoded

__all__ = ["DATATYPES", "INTENTS", "Fields", "pack", "read_extensions", "unpack"]

Fields = dict[str, Any]

_NIFTI1 = (
    ("sizeof_hdr", "i"), ("data_type", "10s"), ("db_name", "18s"), ("extents", "i"), ("session_error", "h"),
    ("regular", "B"), ("dim_info", "B"), ("dim", "8h"), ("intent_p", "3f"), ("intent_code", "h"), ("datatype", "h"),
    ("bitpix", "h"), ("slice_start", "h"), ("pixdim", "8f"), ("vox_offset", "f"), ("scl_slope", "f"),
    ("scl_inter", "f"), ("slice_end", "h"), ("slice_code", "B"), ("xyzt_units", "B"), ("cal_max", "f"),
    ("cal_min", "f"), ("slice_duration", "f"), ("toffset", "f"), ("glmax", "i"), ("glmin", "i"), ("descrip", "80s"),
    ("aux_file", "24s"), ("qform_code", "h"), ("sform_code", "h"), ("quatern", "3f"), ("qoffset", "3f"),
    ("srow", "12f"), ("intent_name", "16s"), ("magic", "4s"),
)  # fmt: skip
_NIFTI2 = (
    ("sizeof_hdr", "i"), ("magic", "8s"), ("datatype", "h"), ("bitpix", "h"), ("dim", "8q"), ("intent_p", "3d"),
    ("pixdim", "8d"), ("vox_offset", "q"), ("scl_slope", "d"), ("scl_inter", "d"), ("cal_max", "d"), ("cal_min", "d"),
    ("slice_duration", "d"), ("toffset", "d"), ("slice_start", "q"), ("slice_end", "q"), ("descrip", "80s"),
    ("aux_file", "24s"), ("qform_code", "i"), ("sform_code", "i"), ("quatern", "3d"), ("qoffset", "3d"),
    ("srow", "12d"), ("slice_code", "i"), ("xyzt_units", "i"), ("intent_code", "i"), ("intent_name", "16s"),
    ("dim_info", "B"), ("unused", "15s"),
)  # fmt: skip
_TABLES = {1: _NIFTI1, 2: _NIFTI2}
_CODES = {version: "".join(code for _, code in table) for version, table in _TABLES.items()}


def _places(table: tuple[tuple[str, str], ...]) -> tuple[tuple[str, int, int | None], ...]:
    """Return where the values of each field are among all values: the first, and behind the last of several."""
    places, at = [], 0
    for name, code in table:
        count = 1 if code.endswith("s") else int(code[:-1] or 1)
        places.append((name, at, at + count if count > 1 else None))
        at += count
    return tuple(places)


_PLACES = {version: _places(table) for version, table in _TABLES.items()}
#: Bytes of the header, without extender.
SIZES = {1: 348, 2: 540}

#: datatype code -> (dtype, components of one voxel).
DATATYPES: dict[int, tuple[str, int]] = {
    2: ("uint8", 1), 4: ("int16", 1), 8: ("int32", 1), 16: ("float32", 1), 32: ("complex64", 1), 64: ("float64", 1),
    128: ("uint8", 3), 256: ("int8", 1), 512: ("uint16", 1), 768: ("uint32", 1), 1024: ("int64", 1),
    1280: ("uint64", 1), 1536: ("float128", 1), 1792: ("complex128", 1), 2048: ("complex256", 1), 2304: ("uint8", 4),
}  # fmt: skip

#: Extensions that one header may have.
MOST_EXTENSIONS = 10_000
#: intent_code -> neutral name.
INTENTS: dict[int, str] = {
    2: "correlation", 3: "t-test", 4: "f-test", 5: "zscore", 6: "chi2", 7: "beta", 8: "binomial", 9: "gamma",
    10: "poisson", 11: "normal", 12: "noncentral-f", 13: "noncentral-chi2", 14: "logistic", 15: "laplace",
    16: "uniform", 17: "noncentral-t", 18: "weibull", 19: "chi", 20: "inverse-gaussian", 21: "extreme-value",
    22: "p-value", 23: "log-p-value", 24: "log10-p-value", 1001: "estimate", 1002: "label", 1003: "neuroname",
    1004: "matrix", 1005: "symmetric-matrix", 1006: "displacement-vector", 1007: "vector", 1008: "pointset",
    1009: "triangle", 1010: "quaternion", 1011: "dimensionless", 2001: "time-series", 2002: "node-index",
    2003: "rgb-vector", 2004: "rgba-vector", 2005: "shape", 2006: "fsl-fnirt-displacement-field",
    2007: "fsl-cubic-spline-coefficients", 2008: "fsl-dct-coefficients", 2009: "fsl-quadratic-spline-coefficients",
    2016: "fsl-topup-cubic-spline-coefficients", 2017: "fsl-topup-quadratic-spline-coefficients",
    2018: "fsl-topup-field",
}  # fmt: skip
#: Intents whose last axis holds the components of a vector.
VECTOR_INTENTS = frozenset({1005, 1006, 1007, 1008, 1009, 1010, 2003, 2004, 2006})
#: Factor from the unit of space (xyzt_units & 7) to mm, and its name.
SPACE_UNITS: dict[int, tuple[float, str | None]] = {0: (1.0, None), 1: (1000.0, "m"), 2: (1.0, "mm"), 3: (0.001, "um")}
#: Largest code of sform and qform: NIFTI_XFORM_TEMPLATE_OTHER.
LAST_FORM_CODE = 5
#: Square of a quaternion's length above which it is more than rounding that is wrong.
LONGEST_QUATERNION = 1.001


def unpack(data: bytes, version: int, byte_order: str) -> Fields:
    """Read the fields of a raw header."""
    values = struct.unpack_from(("<" if byte_order == "little" else ">") + _CODES[version], data)
    return {name: values[start] if stop is None else values[start:stop] for name, start, stop in _PLACES[version]}


def pack(fields: Fields, version: int, byte_order: str) -> bytes:
    """Write the fields of a raw header; absent ones are zero, numbers the version cannot hold are an error."""
    values: list[Any] = []
    for name, code in _TABLES[version]:
        default: Any = b"" if code.endswith("s") else 0
        value = fields.get(name, (default,) * int(code[:-1] or 1) if not code.endswith("s") else default)
        values.extend(value if isinstance(value, tuple) else (value,))
    try:
        return struct.pack(("<" if byte_order == "little" else ">") + _CODES[version], *values)
    except (struct.error, OverflowError) as error:
        raise FormatError(f"a value does not fit into a NIfTI-{version} header: {error}") from None


def recognise(head: bytes, name: str) -> tuple[int, str]:
    """Return version and byte order of a header.

    Raises
    ------
    TruncatedError
        If there are fewer bytes than a header has.
    FormatError
        If ``sizeof_hdr`` or the magic is of no NIfTI version.
    """
    for version, size in SIZES.items():
        for byte_order in ("little", "big"):
            if head[:4] == size.to_bytes(4, byte_order):  # type: ignore[arg-type]
                if len(head) < size:
                    raise TruncatedError(
                        f"ends after {len(head)} bytes, a NIfTI-{version} header has {size}", path=name
                    )
                magic = head[344:348] if version == 1 else head[4:8]
                if magic[:2] in (b"n+", b"ni") and magic[2:] == b"%d\0" % version:
                    return version, byte_order
                raise UnknownFormatError(
                    f"has no NIfTI magic, found {magic!r}", path=name, hint="it may be an Analyze header"
                )
    if len(head) < 4:
        raise TruncatedError(f"ends after {len(head)} bytes, a NIfTI header has 348", path=name)
    size = int.from_bytes(head[:4], "little")
    raise UnknownFormatError(f"is no NIfTI file: sizeof_hdr is {size}, expected 348 or 540", path=name)


def text(raw: bytes) -> str:
    """Decode a text field up to its first null character: UTF-8, else Latin-1."""
    return decoded(raw.partition(b"\0")[0])


def text_bytes(value: str, size: int) -> bytes:
    """Encode text for a field of ``size`` bytes, cut between characters."""
    return clipped(value, size).encode()


def quaternion_affine(fields: Fields, spacing: tuple[float, float, float]) -> AffineMatrix | None:
    """Return the qform in the file's own units, None where it holds no finite numbers (``nifti1.h``, method 2)."""
    b, c, d = fields["quatern"]
    offset = fields["qoffset"]
    if not all(map(isfinite, (b, c, d, *offset))):
        return None
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < 1e-7:  # a half turn, or rounding: make it a unit quaternion without real part
        scale = 1.0 / sqrt(b * b + c * c + d * d)
        a, b, c, d = 0.0, b * scale, c * scale, d * scale
    else:
        a = sqrt(rest)
    sx, sy, sz = spacing
    if fields["pixdim"][0] < 0:
        sz = -sz
    return AffineMatrix.from_rows(
        (
            ((a * a + b * b - c * c - d * d) * sx, 2 * (b * c - a * d) * sy, 2 * (b * d + a * c) * sz, offset[0]),
            (2 * (b * c + a * d) * sx, (a * a + c * c - b * b - d * d) * sy, 2 * (c * d - a * b) * sz, offset[1]),
            (2 * (b * d - a * c) * sx, 2 * (c * d + a * b) * sy, (a * a + d * d - c * c - b * b) * sz, offset[2]),
        )
    )


def affine_quaternion(affine: AffineMatrix) -> tuple[tuple[float, float, float], float]:
    """Return quaternion (b, c, d) and qfac of an affine without shear (``nifti1.h``, nifti_mat44_to_quatern)."""
    r = [list(row) for row in affine.direction]
    qfac = -1.0 if affine.determinant < 0 else 1.0
    if qfac < 0:
        for row in r:
            row[2] = -row[2]
    trace = r[0][0] + r[1][1] + r[2][2] + 1.0
    if trace > 0.5:
        a = 0.5 * sqrt(trace)
        b, c, d = (r[2][1] - r[1][2]) / a / 4, (r[0][2] - r[2][0]) / a / 4, (r[1][0] - r[0][1]) / a / 4
        return (b, c, d), qfac
    diagonal = [1.0 + r[0][0] - r[1][1] - r[2][2], 1.0 + r[1][1] - r[0][0] - r[2][2], 1.0 + r[2][2] - r[0][0] - r[1][1]]
    n = max(range(3), key=diagonal.__getitem__)
    m, k = (n + 1) % 3, (n + 2) % 3
    vector = [0.0] * 3
    vector[n] = 0.5 * sqrt(max(diagonal[n], 0.0))
    vector[m] = 0.25 * (r[n][m] + r[m][n]) / vector[n]
    vector[k] = 0.25 * (r[n][k] + r[k][n]) / vector[n]
    a = 0.25 * (r[k][m] - r[m][k]) / vector[n]
    sign = -1.0 if a < 0 else 1.0
    return (sign * vector[0] + 0.0, sign * vector[1] + 0.0, sign * vector[2] + 0.0), qfac


def read_extensions(data: bytes, byte_order: str, name: str) -> tuple[list[tuple[int, bytes]], list[str]]:
    """Read the extensions between header and voxels.

    Parameters
    ----------
    data : bytes
        What lies between the header and ``vox_offset``, extender included.

    Returns
    -------
    list of (code, content), list of str
        Extensions, and warnings.

    Raises
    ------
    FormatError
        If an extension states a length (esize) that cannot be.
    """
    extensions: list[tuple[int, bytes]] = []
    warnings: list[str] = []
    if len(data) < 4 or not data[0]:
        return extensions, warnings
    at = 4
    while at + 8 <= len(data):
        size, code = struct.unpack_from("<ii" if byte_order == "little" else ">ii", data, at)
        if size < 8 or at + size > len(data):
            raise FormatError(f"a header extension states {size} bytes, {len(data) - at} are there", path=name)
        if size % 16:
            warnings.append(f"a header extension has {size} bytes, not a multiple of 16 as the standard asks")
        extensions.append((code, data[at + 8 : at + size]))
        if len(extensions) > MOST_EXTENSIONS:
            raise FormatError(f"has more than {MOST_EXTENSIONS} header extensions", path=name)
        at += size
    return extensions, warnings


def padded(content: bytes) -> bytes:
    """Fill the content of an extension up: with its size and code it has a multiple of 16 bytes."""
    return content.ljust(-(-(8 + len(content)) // 16) * 16 - 8, b"\0")


def extension_bytes(extensions: list[tuple[int, bytes]], byte_order: str) -> bytes:
    """Write extender and extensions; each is filled up to a multiple of 16 bytes."""
    if not extensions:
        return bytes(4)
    parts = [b"\1\0\0\0"]
    for code, content in extensions:
        content = padded(content)
        parts.append(struct.pack("<ii" if byte_order == "little" else ">ii", 8 + len(content), code))
        parts.append(content)
    return b"".join(parts)

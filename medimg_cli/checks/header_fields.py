"""Rules about single fields of NIfTI headers: sizes, offsets, scaling, and bits that nobody should set.

Sources: ``nifti1.h`` and ``nifti2.h`` by field; what ``nifti_tool -check_hdr`` and nibabel's ``nib-nifti-dx`` look at.
Fields that Analyze 7.5 left behind and that SPM and FSL still fill (regular, extents, glmax, glmin) are sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from medimg_cli.checks.rule import Found, Mend, Rule
from medimg_cli.checks.subject import Subject

__all__ = ["RULES"]

#: Bytes behind which extensions and voxels should begin (``nifti1.h``, vox_offset).
_ALIGNED = 16
#: Bits of dim_info and of xyzt_units that mean something.
_BITS = 0x3F
#: Bytes between header and voxels up to which they are looked at.
_MOST = 1 << 24


def _file_fields(subject: Subject) -> Mapping[str, Any] | None:
    """Return the raw fields of a NIfTI file; None of other files, NIfTI in a store of chunks among them."""
    return subject.nifti if subject.in_nifti else None


def _behind_header(subject: Subject, most: int) -> bytes:
    """Return the bytes between the header and the voxels of a single file, extender first; none of a pair."""
    stored = subject.stored
    if stored is None or subject.header.native is None or subject.is_pair:
        return b""
    from medimg_cli.formats.nifti_fields import SIZES

    start = SIZES[subject.header.native.data[0]]
    return stored.source.head(min(stored.offset, start + most))[start:]


def _extension_sizes(subject: Subject, behind: bytes) -> list[int]:
    """Return the lengths that extensions state (esize)."""
    assert subject.header.native is not None
    order = subject.header.native.data[1]
    found, at = [], 4
    while behind[:1] > b"\0" and at + 8 <= len(behind):
        size = int.from_bytes(behind[at : at + 4], order, signed=True)
        if size < 8:
            break
        found.append(size)
        at += size
    return found


# sizes


def _bitpix(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None and fields["bitpix"] != _bits(fields):
        yield Found(f"bitpix is {fields['bitpix']}, datatype {fields['datatype']} has {_bits(fields)} bits a voxel")


def _bits(fields: Mapping[str, Any]) -> int:
    from medimg_cli.dtypes import ITEMSIZE
    from medimg_cli.formats.nifti_fields import DATATYPES

    dtype, components = DATATYPES[fields["datatype"]]
    return 8 * ITEMSIZE[dtype] * components


def _mend_bitpix(subject: Subject) -> Mend | None:
    return Mend(fields={"bitpix": _bits(subject.nifti)}) if subject.nifti else None


def _dim_behind(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None:
        rank = fields["dim"][0]
        odd = [(n, size) for n, size in enumerate(fields["dim"]) if n > rank and size not in (0, 1)]
        if odd:
            said = ", ".join(f"dim[{n}] is {size}" for n, size in odd)
            yield Found(f"dim[0] is {rank}, yet {said}: expected 1")


def _mend_dim(subject: Subject) -> Mend | None:
    if subject.nifti is None:
        return None
    rank = subject.nifti["dim"][0]
    return Mend(fields={"dim": tuple(1 if n > rank else size for n, size in enumerate(subject.nifti["dim"]))})


def _trailing_axis(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None:
        rank = fields["dim"][0]
        if rank > 3 and fields["dim"][rank] == 1:
            yield Found(f"dim[0] is {rank}, and the last axis has one step")


# scaling


def _scaling_not_finite(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is None:
        return
    slope, inter = fields["scl_slope"], fields["scl_inter"]
    if isfinite(slope) and isfinite(inter):
        return
    if not (slope != slope and inter != inter) and slope != 0:
        yield Found(f"scl_slope is {slope:g} and scl_inter {inter:g}: that is no scaling")
    elif inter != inter and slope != slope:
        yield Found("scl_slope and scl_inter are NaN, expected 1 and 0 where nothing is scaled")


def _intercept_alone(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None and fields["scl_slope"] == 0 and fields["scl_inter"] != 0:
        yield Found(f"scl_slope is 0 (unscaled), yet scl_inter is {fields['scl_inter']:g}")


def _mend_scaling(subject: Subject) -> Mend | None:
    """State in fields what the file is read as: unscaled."""
    return Mend(fields={"scl_slope": 1.0, "scl_inter": 0.0}) if not subject.header.scaled else None


def _scaled_colours(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is None or fields["datatype"] not in (128, 2304):
        return
    slope, inter = fields["scl_slope"], fields["scl_inter"]
    if slope and isfinite(slope) and isfinite(inter) and (slope, inter) != (1.0, 0.0):
        yield Found(f"colours have scl_slope {slope:g} and scl_inter {inter:g}, which do not hold for colours")


def _display_range(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None:
        low, high = fields["cal_min"], fields["cal_max"]
        if not isfinite(low) or not isfinite(high) or low > high:
            yield Found(f"the display range is cal_min {low:g} to cal_max {high:g}")


# places


def _offset_zero(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is None or subject.is_pair:
        return
    offset = fields["vox_offset"]
    if offset == 0 or offset != int(offset):
        least = 352 if subject.header.format == "nifti1" else 544
        yield Found(f"vox_offset is {offset:g}, expected a whole number from {least}")


def _unaligned(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None and fields["vox_offset"] % _ALIGNED and fields["vox_offset"] == int(fields["vox_offset"]):
        yield Found(f"vox_offset is {fields['vox_offset']:g}, which is no multiple of {_ALIGNED}")


def _mend_places(subject: Subject) -> Mend | None:
    """Lay extensions and voxels out anew, where nothing but zeros lies between them."""
    if _file_fields(subject) is None or subject.is_pair:
        return None
    behind = _behind_header(subject, _MOST)
    if len(behind) == _MOST or any(behind[4 + sum(_extension_sizes(subject, behind)) :]):
        return None
    return Mend(tidy=True)


def _mend_offset(subject: Subject) -> Mend | None:
    """State where the voxels begin, where the size of the file leaves no doubt."""
    stored = subject.stored
    if stored is None or stored.source.size != stored.span()[1]:
        return None
    return _mend_places(subject)


def _pair_magic(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is not None and fields["magic"].startswith(b"ni") and not subject.is_pair:
        yield Found("the magic says header and voxels are two files, they are one")


def _mend_magic(subject: Subject) -> Mend | None:
    if subject.nifti is None:
        return None
    return Mend(fields={"magic": b"n+" + subject.nifti["magic"][2:]})


def _extension_size(subject: Subject) -> Iterator[Found]:
    if _file_fields(subject) is None or _behind_header(subject, 1) in (b"", b"\0"):
        return
    odd = [size for size in _extension_sizes(subject, _behind_header(subject, _MOST)) if size % _ALIGNED]
    if odd:
        yield Found(f"a header extension has {odd[0]} bytes, expected a multiple of {_ALIGNED}")


# reserved bits


def _reserved(subject: Subject) -> Iterator[Found]:
    fields = _file_fields(subject)
    if fields is None:
        return
    said = [name for name in ("dim_info", "xyzt_units") if fields[name] & ~_BITS]
    if fields.get("unused", b"").strip(b"\0"):
        said.append("unused_str")
    if any(_behind_header(subject, 4)[1:]):
        said.append("extender[1] to [3]")
    if said:
        yield Found(f"reserved bits are set in {', '.join(said)}, expected 0")


def _mend_reserved(subject: Subject) -> Mend | None:
    fields = subject.nifti
    if fields is None:
        return None
    changes = {name: fields[name] & _BITS for name in ("dim_info", "xyzt_units")}
    tidy = any(_behind_header(subject, 4)[1:])
    if tidy and _mend_places(subject) is None:
        return None
    return Mend(fields=changes | ({"unused": b""} if "unused" in fields else {}), tidy=tidy)


RULES = (
    Rule(
        "H030",
        "bitpix",
        "warning",
        _bitpix,
        "bitpix is the number of bits of the datatype.",
        why="Tools that reckon sizes from bitpix read other voxels than those that go by the datatype.",
        example="datatype 16 (float32) with bitpix 16, after a cast that forgot one of the two.",
        remedy="`medimg check --fix` writes the bits of the datatype, which is what medimg reads by.",
        mend=_mend_bitpix,
    ),
    Rule(
        "H031",
        "scaling-not-finite",
        "warning",
        _scaling_not_finite,
        "scl_slope and scl_inter are finite numbers.",
        why="Some tools turn every voxel into NaN, others take the image as unscaled.",
        example="scl_slope 1 with scl_inter NaN.",
        remedy="`medimg check --fix` writes 1 and 0, which is how medimg and the standard read it: unscaled.",
        mend=_mend_scaling,
    ),
    Rule(
        "H032",
        "intercept-alone",
        "warning",
        _intercept_alone,
        "scl_inter is 0 where scl_slope is 0.",
        why="The standard says slope 0 means unscaled; some readers add the intercept all the same.",
        example="scl_slope 0 with scl_inter -1024 in a CT: air is 0 or -1024, as the tool pleases.",
        remedy="`medimg check --fix` writes 1 and 0, as the standard reads it. If the intercept was meant, convert the "
        "original again.",
        mend=_mend_scaling,
    ),
    Rule(
        "H033",
        "scaled-colours",
        "warning",
        _scaled_colours,
        "Colours have no slope and intercept.",
        why="The standard forbids scaling of RGB; a tool that applies it shows other colours.",
        example="datatype 128 (RGB) with scl_slope 2.",
        remedy="`medimg check --fix` writes 1 and 0, which is how colours are read.",
        mend=_mend_scaling,
    ),
    Rule(
        "H034",
        "display-range",
        "warning",
        _display_range,
        "cal_min is not above cal_max, and both are finite.",
        why="Viewers take the two for black and white: the image opens inverted, empty or not at all.",
        example="cal_min 1000 and cal_max 0.",
        remedy="`medimg edit --unset nifti_cal_min --unset nifti_cal_max` lets the viewer choose; name only those that "
        "are not 0.",
    ),
    Rule(
        "H035",
        "vox-offset",
        "error",
        _offset_zero,
        "vox_offset of a single file is a whole number behind the header.",
        why="Readers begin at byte 0, 348 or 352: the whole image is shifted, and nobody can tell which is right.",
        example="vox_offset 0 in a .nii that was made of a pair by renaming.",
        remedy="`medimg check --fix` writes where the voxels begin, if they end where a plain file ends.",
        mend=_mend_offset,
    ),
    Rule(
        "H036",
        "unaligned",
        "warning",
        _unaligned,
        "vox_offset is a multiple of 16, as the standard recommends.",
        why="SPM and others that map voxels into memory refuse such a file, or read it shifted.",
        example="vox_offset 353.",
        remedy="`medimg check --fix` fills the gap with zeros, and moves the voxels in the file.",
        mend=_mend_places,
    ),
    Rule(
        "H037",
        "pair-magic",
        "warning",
        _pair_magic,
        "The magic says whether header and voxels are in one file.",
        why="Readers that believe it look for a second file, and find none or the wrong one.",
        example="The magic ni1 in a .nii file.",
        remedy="`medimg check --fix` writes the magic of a single file.",
        mend=_mend_magic,
    ),
    Rule(
        "H038",
        "dim-behind-rank",
        "info",
        _dim_behind,
        "Sizes behind the last axis are 1.",
        why="Tools that multiply all of dim, or look for the last size above 1, get another shape.",
        example="dim[0] 3 with dim[4] 30, left from a series of which one volume was kept.",
        remedy="`medimg check --fix` writes 1.",
        mend=_mend_dim,
    ),
    Rule(
        "H039",
        "trailing-axis",
        "info",
        _trailing_axis,
        "The last axis behind space has more than one step.",
        why="Tools that want three axes refuse the image, though it holds one volume.",
        example="A volume of shape 181 x 217 x 181 x 1.",
        remedy="All is well where a series of one step is meant. Else `nibabel.squeeze_image` drops the axis; "
        "medimg keeps it.",
    ),
    Rule(
        "H040",
        "extension-size",
        "warning",
        _extension_size,
        "Header extensions have a multiple of 16 bytes.",
        why="The standard wants it, and readers that round lose their place and all extensions behind.",
        example="An extension of 21 bytes: 8, and a comment of 13 letters.",
        remedy="`medimg check --fix` fills it up with zeros.",
        mend=_mend_places,
    ),
    Rule(
        "H041",
        "reserved-bits",
        "info",
        _reserved,
        "Bits and bytes that the standard reserves are 0.",
        why="A later version of the standard may give them a meaning, and the file would claim it.",
        example="xyzt_units 255; text in unused_str of NIfTI-2; extender bytes behind the first.",
        remedy="`medimg check --fix` clears them.",
        mend=_mend_reserved,
    ),
)
"""Rules about single fields of NIfTI headers."""

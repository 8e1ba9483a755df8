"""Hold medimg against the DICOM folders of the manifest: every volume that dcm2niix makes of them, and no other.

dcm2niix is the referee for mosaics, time and multi-frame objects. Where medimg decides otherwise, `DECISIONS` says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import conformance_dicom
import numpy as np
import referee
from referee import Facts

_UNEVEN = "slices are missing: refused, unless --gaps says what to do"
_PRECISE = "Philips: dcm2niix scales by private slopes, medimg by those of the standard (PS3.3, C.7.6.16.2.9)"
#: (folder as it ends, file of dcm2niix) -> what medimg does instead, and why.
DECISIONS: Mapping[tuple[str, str], str] = {
    (
        "dcm_qa_12bit/In/",
        "4_FMRI_AX_ASC.nii",
    ): "12 bits with a sign: this dcm2niix takes them for unsigned (PS3.5, 8.1.1)",
    ("77654033/CT2/", "2_1.1_Routine_Brain.nii"): _UNEVEN,
    ("77654033/CT2/", "2_1.1_Routine_Brain_Eq_1.nii"): _UNEVEN,
    ("dicomdirtests/", "2_1.1_Routine_Brain.nii"): _UNEVEN,
    ("dicomdirtests/", "2_1.1_Routine_Brain_Eq_1.nii"): _UNEVEN,
    ("98892001/CT2N/", "4_Scout.nii"): "two scouts at a right angle are two images; dcm2niix takes it for a tilt",
    ("dicomdirtests/", "4_Scout.nii"): "two scouts at a right angle are two images; dcm2niix takes it for a tilt",
    ("nitest-balls1/DICOM/", "1201_WIP_DTI_SENSE.nii"): "the series without its trace; the whole is the other file",
}
#: Folders whose values dcm2niix scales otherwise -> why; then shape, place and the relative mean are compared.
SCALED: Mapping[str, str] = {"dcm_qa_enh/In/Philips/": _PRECISE, "nitest-balls1/DICOM/": _PRECISE}
#: Folders that hold no image, and why.
NOT_IMAGES: Mapping[str, str] = {
    "TINY_ALPHA/": "its files have neither rows nor pixels",
    "SE000000/": "its files have neither rows nor pixels",
}


class Volume(NamedTuple):
    """What medimg makes of one series.

    Parameters
    ----------
    name : str
    facts : Facts
        Its values, (I, J, K, C), and affine.
    positioned : bool
        Whether it lies somewhere.
    """

    name: str
    facts: Facts
    positioned: bool


def rows(data: Path) -> list[dict[str, str]]:
    """Return the manifest's rows of DICOM folders."""
    return [row for row in conformance_dicom.rows(data) if row["kind"] == "DICOM folder"]


def check_folder(data: Path, row: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the images of a folder; nothing where all is as it should be."""
    with conformance_dicom.located(data, row) as path:
        return _checked(path, row)


def _checked(path: Path, row: Mapping[str, str]) -> list[str]:
    from medimg_cli.errors import MedImgError

    theirs = json.loads(row["dcm2niix"] or "[]")
    try:
        ours = list(volumes(path))
    except MedImgError as error:
        if not theirs and any(row["path"].endswith(end) for end in NOT_IMAGES):
            return []
        return [f"refused: {error}"]
    problems, left = [], list(ours)
    for volume in theirs:
        decision = next((why for (end, name), why in DECISIONS.items()
                         if row["path"].endswith(end) and name == volume["file"]), "")  # fmt: skip
        if decision:
            continue
        scaled = any(row["path"].endswith(end) for end in SCALED)
        found = next((one for one in left if not _why(one, volume, scaled)), None)
        if found is None:
            near = [f"{one.name} {one.facts.array.shape}{_why(one, volume, scaled)}" for one in left]
            problems.append(f"{volume['file']} {volume['shape']} is none of {near[:8]}")
        else:
            left.remove(found)
    return problems


def volumes(path: Path) -> Iterator[Volume]:
    """Yield all images of a source that can be read."""
    from medimg_cli.formats.dicom.catalogue import catalogue
    from medimg_cli.formats.dicom.opening import image_of
    from medimg_cli.storage.stored import whole

    for one in catalogue(str(path)).series:
        if one.error is None:
            backend = image_of(one)
            array = np.moveaxis(backend.read(whole(backend.header.shape)), 0, -1)
            affine = np.asarray(backend.header.affine.numpy(), float)
            yield Volume(str(one), Facts(array, affine), backend.header.affine_source == "dicom")


def _why(one: Volume, volume: Mapping[str, Any], scaled: bool) -> str:
    """Say what is different; "" where two volumes are the same."""
    shape = [*one.facts.array.shape]
    named = [*volume["shape"], 1, 1][:4]
    if sorted(shape[:3]) != sorted(named[:3]) or shape[3:] != named[3:]:
        return f": shape {shape}"
    if scaled:
        apart = abs(_relative(one.facts.array) - _relative(volume))
        if apart > 1e-5:
            return f": relative mean {apart:.2g} away"
    elif referee.canonical_hash(one.facts) != volume["sha"]:
        return ": voxels"
    if one.positioned:
        gap = referee.affine_gap(one.facts, np.array(volume["affine"]))
        if gap > referee.TOLERANCE_MM + 5e-6 * max(shape):
            return f": affine {gap:.3g} away"
    return ""


def _relative(values: Any) -> float:
    """Return where the mean lies between least and greatest: the same whatever the slope and intercept."""
    if isinstance(values, Mapping):
        low, high, mean = values["min"], values["max"], values["mean"]
    else:
        low, high, mean = float(values.min()), float(values.max()), float(values.mean(dtype=np.float64))
    return (mean - low) / (high - low) if high > low else 0.0

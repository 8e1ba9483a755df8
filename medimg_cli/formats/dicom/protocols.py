"""Protocols of measurement that scanners put into private elements: ASCCONV of Siemens, the protocol block of GE.

Neither is documented by its maker: names and codes are those that the documentation of dcm2niix and of
siemens_to_ismrmrd tell. A damaged protocol says nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from medimg_cli.errors import FormatError
from medimg_cli.formats.dicom.describing import Told
from medimg_cli.formats.dicom.elements import plain, printable
from medimg_cli.formats.dicom.siemens import Fields, csa_header, protocol

__all__ = ["csa_fields", "ge_protocol", "protocol_number", "siemens_facts", "siemens_protocol"]

#: Bytes to which a protocol block of GE may inflate.
_MOST_INFLATED = 1 << 20
#: Name in the sidecar and in the protocol -> what its codes stand for.
_CODES: Mapping[tuple[str, str], Mapping[int, Any]] = {
    ("PartialFourier", "sKSpace.ucPhasePartialFourier"): {1: 0.5, 2: 0.625, 4: 0.75, 8: 0.875, 16: 1},
    ("CoilCombinationMethod", "ucCoilCombineMode"): {1: "Sum of Squares", 2: "Adaptive Combine"},
    ("MatrixCoilMode", "sPat.ucPATMode"): {1: "SENSE", 2: "GRAPPA"},
    ("DiffusionScheme", "sDiffusion.dsScheme"): {1: "Bipolar", 2: "Monopolar"},
}
#: Name in the sidecar -> names in the protocol (several generations of scanners), and what to divide by.
_NUMBERS = {
    "BaseResolution": (("sKSpace.lBaseResolution",), 1),
    "DelayTime": (("lDelayTimeInTR",), 1e6),
    "TxRefAmp": (("sTXSPEC.asNucleusInfo[0].flReferenceAmplitude",), 1),
    "PhaseResolution": (("sKSpace.dPhaseResolution",), 1),
    "PhaseOversampling": (("sKSpace.dPhaseOversamplingForDialog",), 1),
    "VendorReportedEchoSpacing": (("sFastImaging.lEchoSpacing",), 1e6),
    "RefLinesPE": (("sPat.lRefLinesPE",), 1),
    "ParallelReductionFactorInPlane": (("sPat.lAccelFactPE",), 1),
    "ParallelReductionFactorOutOfPlane": (("sPat.lAccelFact3D",), 1),
}
_COILS = (
    "sCoilSelectMeas.aRxCoilSelectData[0].asList[0].sCoilElementID.tCoilID",
    "asCoilSelectMeas[0].asList[0].sCoilElementID.tCoilID",
)
_SHIMS = (
    *(("sGRADSPEC.asGPAData[0].lOffset" + axis, "sGRADSPEC.lOffset" + axis) for axis in "XYZ"),
    *((f"sGRADSPEC.alShimCurrent[{n}]",) for n in range(5)),
)


def csa_fields(told: Told) -> Fields:
    """Return the fields of the CSA header of an image of Siemens; none where it is damaged."""
    try:
        return csa_header(told.holder("SiemensImageHeader"))
    except FormatError:
        return {}


def siemens_protocol(told: Told) -> Mapping[str, str]:
    """Return the protocol of a measurement of Siemens; nothing where there is none, or it is damaged."""
    for keyword in ("SiemensSeriesHeader", "SiemensProtocol"):
        try:
            found = protocol(told.holder(keyword), keyword)
        except FormatError:
            continue
        if found:
            return found
    return {}


def siemens_facts(told: Told) -> dict[str, Any]:
    """Return what the protocol of a measurement of Siemens says, as dcm2niix calls it; times in s."""
    said = siemens_protocol(told)
    found: dict[str, Any] = {}
    for name, (keys, unit) in _NUMBERS.items():
        value = protocol_number(said, *keys)
        if value is not None and value > (1 if name.startswith("ParallelReduction") else 0):
            found[name] = plain(value / unit)
    for name, key in _CODES:
        code = _CODES[name, key].get(int(protocol_number(said, key) or 0))
        if code is not None:
            found[name] = code
    if protocol_number(said, "sPat.lAccelFactPE") is None:
        found.pop("MatrixCoilMode", None)
    if told.number("DiffusionBValue", "SiemensBValue") is None and "B_value" not in csa_fields(told):
        found.pop("DiffusionScheme", None)
    shims = [protocol_number(said, *keys) for keys in _SHIMS]
    if shims[0]:
        found["ShimSetting"] = [plain(shim or 0.0) for shim in shims]
    coil = next((said[key] for key in _COILS if said.get(key)), "")
    for name, words in (
        ("ReceiveCoilName", coil),
        ("ReceiveCoilActiveElements", said.get("sCoilSelectMeas.sCoilStringForConversion", "")),
        ("PulseSequenceDetails", said.get("tSequenceFileName", "")),
    ):
        if words:
            found[name] = words
    return found


def protocol_number(said: Mapping[str, str], *keys: str) -> float | None:
    """Return a number of a protocol, decimal or hexadecimal; None where it has none."""
    for key in keys:
        words = said.get(key, "").partition("#")[0].strip()
        try:
            value = float(int(words, 16)) if words.lower().startswith("0x") else float(words)
        except ValueError:
            continue
        if abs(value) < 1e30:
            return value
    return None


def ge_protocol(told: Told) -> dict[str, str]:
    """Return the protocol block of GE (0025,xx1B), lines ``NAME "value"`` in gzip; nothing where it is damaged."""
    block = told.holder("GEProtocol").value("GEProtocol")
    start = block.find(b"\x1f\x8b", 0, 16)
    if start < 0:
        return {}
    try:
        text = zlib.decompressobj(31).decompress(block[start:], _MOST_INFLATED)
    except zlib.error:
        return {}
    lines = (line.strip().partition(" ") for line in text.decode("latin-1").splitlines())
    return {name.removeprefix("set "): printable(words).strip('"') for name, _, words in lines if name}

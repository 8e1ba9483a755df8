"""What a file says of how its image was made, under the names and in the units of BIDS, and what is odd about it.

Names that tell who the patient is are not among what is read.
"""

from __future__ import annotations

from typing import Any

from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.tags import DESCRIBING

__all__ = ["doubts", "metadata", "time_spacing"]

#: Keyword of DICOM -> name in BIDS where it differs.
_NAMES = {"ManufacturerModelName": "ManufacturersModelName", "EchoNumbers": "EchoNumber"}
#: Milliseconds of DICOM that BIDS counts in seconds.
_SECONDS = frozenset(("RepetitionTime", "EchoTime", "InversionTime", "ExposureTime"))
_EXECUTABLES = {b"MZ": "Windows", b"\x7fELF": "Linux", b"\xca\xfe\xba\xbe": "macOS", b"\xcf\xfa\xed\xfe": "macOS"}


def time_spacing(frame: Frame) -> float | None:
    """Return seconds between volumes: TemporalResolution, else TR where one excitation fills a volume's slice (EPI)."""
    step = frame.number("TemporalResolution")
    if not step and "EP" in frame.text("ScanningSequence"):
        step = frame.number("RepetitionTime")
    return step / 1000 if step and step > 0 else None


def metadata(frame: Frame) -> dict[str, Any]:
    """Return what describes the acquisition, under the names and in the units of BIDS."""
    found: dict[str, Any] = {}
    for keyword in DESCRIBING:
        value = frame.file.elements.plain(keyword)
        if value is None:
            continue
        if keyword in _SECONDS and isinstance(value, (int, float)):
            value = value / 1000
        found[_NAMES.get(keyword, keyword)] = value
    kind = frame.file.elements.plain("ImageType")
    if kind is not None:
        found["ImageType"] = kind
    if frame.file.pixels.photometric != "MONOCHROME2":
        found["PhotometricInterpretation"] = frame.file.pixels.photometric
    return found


def doubts(frame: Frame, scaled: bool) -> list[str]:
    """Say what a careful reader should know of a file."""
    found = []
    head = frame.file.source.head(128)
    for magic, system in _EXECUTABLES.items():
        if head.startswith(magic):
            found.append(f"its preamble starts like a program for {system}: never run this file")
    if scaled:
        found.append("its slices have rescale slopes of their own: the numbers are values, not what is stored")
    elif frame.scaling[0] == 0:
        found.append("RescaleSlope is 0: the stored numbers are the values")
    if "ModalityLUTSequence" in frame.file.elements:
        found.append("its modality look-up table is not applied: the numbers are what is stored")
    if frame.file.pixels.photometric == "MONOCHROME1":
        found.append("MONOCHROME1: low values are meant to be shown bright; they are kept as stored")
    if frame.file.pixels.photometric == "PALETTE COLOR":
        found.append("PALETTE COLOR: the numbers are places in a table of colours, which is not applied")
    return found

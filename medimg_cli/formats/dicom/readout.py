"""How slices were read out: direction of phase encoding, echo spacing, and when each slice was acquired.

Axes are those of the image as it is opened: I runs along a row of the file, J down a column, K along the slices as they
are placed. dcm2niix turns rows around, so its "j" is "j-" here, and the same direction in the patient.

Decisions:

- A direction is said where its sign is known (Siemens: PhaseEncodingDirectionPositive; GE: Flipped or Unflipped views);
  else PhaseEncodingAxis. Of three-dimensional acquisitions neither is said, unless they are echo-planar.
- EffectiveEchoSpacing is 1 / (BandwidthPerPixelPhaseEncode x ReconMatrixPE); of GE from its echo spacing, the lines of
  its matrix and its ASSET factor, rounded up to two lines, to four with partial Fourier. Philips writes none:
  what follows from its water-fat shift is called Estimated, and is said of echo-planar images only (dcm2niix: of all).
- TotalReadoutTime is EffectiveEchoSpacing x (ReconMatrixPE - 1), as FSL counts it.
- Times of slices are those of the first volume; of the second where they are none, as some sequences (CMRR) write them.
  Of syngo XA the second volume comes first: its first one is often false.
- GE writes no times: they follow from the order of slices, TR and delay in its protocol block, as in dcm2niix, for
  fMRI without multiband only. Of Philips nothing says them.
- Siemens mosaics without times (syngo VA) get those that the order of slices and the delay in their protocol make.
- Times that are all the same, or later than the RepetitionTime, are none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil
from typing import Any

from medimg_cli.formats.dicom.describing import DAY, Told, clock
from medimg_cli.formats.dicom.elements import plain
from medimg_cli.formats.dicom.frames import Frame
from medimg_cli.formats.dicom.protocols import csa_fields, ge_protocol, protocol_number, siemens_protocol
from medimg_cli.formats.dicom.siemens import csa_number, csa_numbers

__all__ = ["multiband", "phase_encoding", "readout", "slice_times"]

#: ppm by which fat and water are apart, as (MHz / T) at the field of a scanner: what Philips counts its shift with.
_WATER_FAT = 3.4


def phase_encoding(told: Told) -> dict[str, Any]:
    """Return the direction of phase encoding in axes of the image, and what says which way it goes."""
    along = told.text("InPlanePhaseEncodingDirection").upper()[:3]
    if along not in ("ROW", "COL"):
        return {}
    found: dict[str, Any] = {"InPlanePhaseEncodingDirectionDICOM": along}
    positive = _positive(told)
    if told.maker == "GE" and positive is not None:
        found["PhaseEncodingPolarityGE"] = "Unflipped" if positive else "Flipped"
    if told.text("MRAcquisitionType") == "3D" and not told.is_planar:
        return found
    letter = "i" if along == "ROW" else "j"
    if positive is None:
        return {**found, "PhaseEncodingAxis": letter}
    return {**found, "PhaseEncodingDirection": letter if positive else f"{letter}-"}


def _positive(told: Told) -> bool | None:
    """Tell whether phases were encoded along rising indices of the file; None where nothing says it."""
    if told.maker == "Siemens":
        sign = told.number("SiemensPhaseEncodingPositive")
        sign = csa_number(csa_fields(told), "PhaseEncodingDirectionPositive") if sign is None else sign
        return None if sign is None else sign > 0
    if told.maker == "GE":
        order = told.text("RectilinearPhaseEncodeReordering").upper()
        if order in ("LINEAR", "REVERSE_LINEAR"):
            return order == "LINEAR"
        return {"0": True, "1": False}.get(ge_protocol(told).get("VIEWORDER", "")) if told.is_planar else None
    return None


def readout(told: Told, said: dict[str, Any]) -> dict[str, Any]:
    """Return the lines that were read, and the time from line to line in s.

    Parameters
    ----------
    told : Told
    said : dict
        What is known already: the factor of parallel imaging, the oversampling.
    """
    rows, columns = told.frame.size
    along = told.text("InPlanePhaseEncodingDirection").upper()[:3]
    found: dict[str, Any] = {}
    lines = _lines(told)
    if lines:
        found["AcquisitionMatrixPE"] = lines
    matrix = rows if rows == columns or along == "COL" else columns if along == "ROW" else lines
    if told.frame.file.mosaic and told.frame.tile is None:
        matrix = 0  # a mosaic that cannot be taken apart
    if matrix:
        found["ReconMatrixPE"] = matrix
    steps = told.number("NumberOfPhaseEncodingSteps")
    if steps:
        found["PhaseEncodingSteps"] = plain(steps)
    dwell = told.number("SiemensRealDwellTime", "SiemensFrameDwellTime") or csa_number(
        csa_fields(told), "RealDwellTime"
    )
    if dwell and dwell > 0:
        found["DwellTime"] = dwell * 1e-9
    if not matrix or matrix < 2:
        return found
    factor = float(said.get("ParallelReductionFactorInPlane", 1))
    width = _bandwidth(told)
    if width:
        spacing = 1 / (width * matrix)
        found |= {"BandwidthPerPixelPhaseEncode": width, "EffectiveEchoSpacing": spacing}
        found["DerivedVendorReportedEchoSpacing"] = spacing * factor / (1 + float(said.get("PhaseOversampling", 0)))
    else:
        found |= _spacing_of_ge(told, lines, matrix, factor)
    if "EffectiveEchoSpacing" in found:
        found["TotalReadoutTime"] = found["EffectiveEchoSpacing"] * (matrix - 1)
    else:
        found |= _estimated(told, matrix)
    return found


def _lines(told: Told) -> int:
    """Return how many lines of phases a slice has; 0 where nothing says it."""
    matrix = told.numbers("AcquisitionMatrix") or ()
    phases = [int(count) for count in matrix[2:4] if count > 0]
    steps = told.number("NumberOfPhaseEncodingSteps") if told.frame.file.enhanced else None
    return phases[0] if phases else int(told.number("MRAcquisitionPhaseEncodingStepsInPlane") or steps or 0)


def _bandwidth(told: Told) -> float | None:
    """Return the bandwidth of a pixel along phases in Hz, as Siemens writes it."""
    width = told.number("SiemensBandwidthPerPixelPhaseEncode", "SiemensFrameBandwidthPhaseEncode")
    width = width or csa_number(csa_fields(told), "BandwidthPerPixelPhaseEncode")
    return width if width and width > 0 else None


def _spacing_of_ge(told: Told, lines: int, matrix: int, factor: float) -> dict[str, Any]:
    microseconds = told.number("GEEchoSpacing")
    if not microseconds or microseconds <= 0 or lines < 2:
        return {}
    together = 4 if "PFF" in told.text("ScanOptions").split("\\") else 2
    read = ceil(lines / factor / together) * together
    return {"EffectiveEchoSpacing": (read - 1) * microseconds * 1e-6 / (lines - 1)}


def _estimated(told: Told, matrix: int) -> dict[str, Any]:
    """Return what follows from the water-fat shift of Philips in pixels."""
    shift, frequency = told.number("PhilipsWaterFatShift"), told.number("ImagingFrequency", "TransmitterFrequency")
    train = told.number("EchoTrainLength", "PhilipsEPIFactor") or 0.0
    if not shift or not frequency or train < 2 or not told.is_planar:
        return {}
    whole = shift / (frequency * _WATER_FAT * (train + 1)) * train
    return {"EstimatedEffectiveEchoSpacing": whole / (matrix - 1), "EstimatedTotalReadoutTime": whole}


# when each slice was acquired


def slice_times(told: Told, volumes: Sequence[Sequence[Frame]]) -> list[float] | None:
    """Return the time of each slice in s from the first one, by K; None where nothing says it.

    Parameters
    ----------
    told : Told
        Of the first frame.
    volumes : sequence of sequence of Frame
        Frames by time and K.
    """
    if len(volumes[0]) < 2 or told.text("MRAcquisitionType") == "3D" or told.text("Modality") != "MR":
        return None
    excitation = (told.number("RepetitionTime") or 0.0) / 1000
    late = told.number("SiemensTimeAfterStart") is not None
    for frames in volumes[1::-1] if late else volumes[:2]:
        times = _times(told, frames, len(volumes) > 1)
        if times is not None and len(set(times)) > 1:
            shifted = [round(time - min(times), 9) for time in times]
            if not excitation or max(shifted) <= excitation:
                return shifted
    return None


def _times(told: Told, frames: Sequence[Frame], timed: bool) -> list[float] | None:
    """Return the times of the slices of one volume in s, counted from anywhere."""
    if told.maker == "GE":
        return _times_of_ge(told, frames) if timed else None
    if told.maker == "Siemens" or (told.maker == "UIH" and timed):
        return _times_of_mosaic(frames) or _times_of_frames(frames) or _times_of_order(told, frames)
    return None


def multiband(times: Sequence[float] | None) -> int:
    """Return how many slices were excited at once; 1 where that cannot be told from their times."""
    counts = set(Counter(times).values()) if times else {1}
    return counts.pop() if len(counts) == 1 else 1


def _times_of_mosaic(frames: Sequence[Frame]) -> list[float] | None:
    """Return the times of the tiles of a mosaic, which Siemens lists in the order of tiles."""
    told = Told(frames[0])
    listed = told.numbers("SiemensMosaicRefAcqTimes") or csa_numbers(csa_fields(told), "MosaicRefAcqTimes")
    if listed is None or any(frame.tile is None for frame in frames):
        return None
    places = [_place(frame) for frame in frames]
    return [listed[place] / 1000 for place in places] if max(places) < len(listed) else None


def _place(frame: Frame) -> int:
    """Return which tile of a mosaic a slice is, row by row."""
    tile = frame.tile
    assert tile is not None
    return tile.row // tile.rows * (frame.file.pixels.columns // tile.columns) + tile.column // tile.columns


def _times_of_frames(frames: Sequence[Frame]) -> list[float] | None:
    """Return the times at which slices of their own were acquired, across midnight too."""
    after = [Told(frame).number("SiemensTimeAfterStart") for frame in frames]
    times = after if None not in after else [clock(frame.text("AcquisitionTime")) for frame in frames]
    known = [time for time in times if time is not None]
    if len(known) < len(times) or any(frame.tile is not None for frame in frames):
        return None
    return [time + DAY if max(known) - time > DAY / 2 else time for time in known]


def _times_of_order(told: Told, frames: Sequence[Frame]) -> list[float] | None:
    """Return the times that the order of slices makes, where Siemens says no more of a mosaic without multiband."""
    said = siemens_protocol(told)
    mode, excitation = protocol_number(said, "sSliceArray.ucMode"), told.number("RepetitionTime")
    if mode not in (1, 2, 4) or not excitation or any(frame.tile is None for frame in frames):
        return None
    count = len(frames)
    between = (excitation / 1000 - (protocol_number(said, "lDelayTimeInTR") or 0.0) / 1e6) / count
    turns = _interleaved(count, count % 2) if mode == 4 else list(range(count))
    turns = turns[::-1] if mode == 2 else turns
    places = [_place(frame) for frame in frames]
    return [turns[place] * between for place in places] if max(places) < count else None


def _times_of_ge(told: Told, frames: Sequence[Frame]) -> list[float] | None:
    """Return the times that the order of slices in the protocol of GE makes."""
    said = ge_protocol(told)
    bands, excitation = told.text("GEHyperband").split("\\")[0], told.number("RepetitionTime")
    numbers = [frame.number("InstanceNumber") for frame in frames]
    if "FMRI" not in said.get("IOPT", "") or bands not in ("", "0", "1") or not excitation or None in numbers:
        return None
    count = len(frames)
    between = (excitation / 1000 - (told.number("GEGroupDelay") or 0.0)) / count
    turns = list(range(count)) if said.get("SLICEORDER") == "0" else _interleaved(count, 1)
    rank = {k: n for n, k in enumerate(sorted(range(count), key=lambda k: numbers[k] or 0.0))}
    return [turns[rank[k]] * between for k in range(count)]


def _interleaved(count: int, first: int) -> list[int]:
    """Return when each slice has its turn: every other one, then those between.

    Parameters
    ----------
    count : int
    first : int
        1: the first slice comes first; 0: the second one.

    Examples
    --------
    >>> _interleaved(5, 1), _interleaved(4, 0)
    ([0, 3, 1, 4, 2], [2, 0, 3, 1])
    """
    order = [*range(1 - first, count, 2), *range(first, count, 2)]
    turns = [0] * count
    for turn, place in enumerate(order):
        turns[place] = turn
    return turns

"""What a series that is written takes over from another one: patient, study, equipment and acquisition.

Decisions:

- Only elements on a list are taken over, so that nothing that describes pixels, geometry or one instance of the
  template slips in; private elements and sequences stay behind.
- The frame of reference is taken over where image and template lie on the same grid, its axes in any order. Each slice
  then names the slices of the template that it stands for (SourceImageSequence, PS3.3, C.12.4), if they are slices
  along the same axis.
- How something was acquired is taken over only by objects of the same modality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medimg_cli.errors import LossWarning, UnsupportedError, UsageError
from medimg_cli.formats.dicom.catalogue import catalogue
from medimg_cli.formats.dicom.objects import misfit
from medimg_cli.formats.dicom.reading import full_dataset
from medimg_cli.formats.dicom.series import Series
from medimg_cli.formats.dicom.tags import DESCRIBING
from medimg_cli.formats.foreign import foreign_errors
from medimg_cli.grid import Grid
from medimg_cli.labels import some

if TYPE_CHECKING:
    from medimg_cli.formats.dicom.frames import Frame

__all__ = ["Template", "fitting", "images_in", "read_template", "values"]

_STUDY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight"),
    *("PatientSize", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "InstitutionName", "StationName", "DeviceSerialNumber", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "BodyPartExamined", "PatientPosition", "Laterality", "Manufacturer"),
    *("ManufacturerModelName", "SoftwareVersions", "SeriesDate", "SeriesTime", "AcquisitionDate"),
)
_PLACE = ("FrameOfReferenceUID", "PositionReferenceIndicator")
#: Of `DESCRIBING`, what speaks of pixels, geometry, time points or one instance.
_NOT_ACQUISITION = frozenset((
    "Modality", "ConversionType", "SeriesDescription", "ReconstructionDiameter", "ActualFrameDuration",
    "AcquisitionMatrix", "WindowCenter", "WindowWidth", "Units", "FrameReferenceTime",
))  # fmt: skip
#: How far the corners of an image may lie from those of its template, in mm.
_TOLERANCE = 0.01


class Template(NamedTuple):
    """What is taken over.

    Parameters
    ----------
    inherited : dict
        Keyword -> value.
    number : int or None
        SeriesNumber of the template.
    frames : tuple of tuple of Frame
        Frames of the template at each K of the image; empty where they are not the same slices.
    """

    inherited: dict[str, Any]
    number: int | None
    frames: tuple[tuple[Frame, ...], ...]


def read_template(path: str, grid: Grid, modality: str) -> Template:
    """Read what an image takes over from a series.

    Parameters
    ----------
    path : str
        A folder or a file. Of several series, the one on the grid of the image.
    grid : Grid
        Of the image.
    modality : str
        Of what is written.

    Raises
    ------
    UnsupportedError
        If there is no series of images.
    UsageError
        If there are several, and none or more than one lies on the grid.
    """
    found = images_in(path)
    same = fitting(found, grid)
    left = same or found
    if len(left) > 1:
        words = some(str(series) for series, _ in left)
        raise UsageError(f"holds {len(left)} series that could be the template: {words}", path=path,
                         hint="give a file of one of them")  # fmt: skip
    series, own = left[0]
    wanted = [*_STUDY, *(_PLACE if same else ())]
    if series.modality == modality:
        wanted += [keyword for keyword in DESCRIBING if keyword not in _NOT_ACQUISITION and keyword not in wanted]
    number = series.number
    return Template(values(series, wanted), number, _frames(series, own, grid) if same else ())


def images_in(path: str) -> list[tuple[Series, Grid]]:
    """Return the series of images of a source, each with its grid.

    Raises
    ------
    UnsupportedError
        If there is none.
    """
    found = []
    for series in catalogue(path).series:
        if series.stack is not None:
            first = series.stack.volumes[0]
            rows, columns = first[0].size
            found.append((series, Grid((columns, rows, len(first)), series.stack.affine)))
    if not found:
        raise UnsupportedError("holds no series of images that can be a template", path=path)
    return found


def fitting(found: Sequence[tuple[Series, Grid]], grid: Grid) -> list[tuple[Series, Grid]]:
    """Return those series that lie on a grid, their axes in any order."""
    return [(series, own) for series, own in found if grid.turned_to(own, _TOLERANCE) is not None]


def values(series: Series, wanted: Sequence[str]) -> dict[str, Any]:
    """Return elements of the first file by keyword, without empty ones; values that DICOM forbids stay behind, with a
    warning that names their keywords.
    """
    import warnings

    file = series.files[0]
    with foreign_errors(file.source.name, "DICOM"):
        dataset = full_dataset(file, "SpecificCharacterSet", *wanted)
        dataset.decode()
        found = {element.keyword: element.value for element in dataset if element.VR != "SQ"}
    kept = {keyword: found[keyword] for keyword in wanted if found.get(keyword) not in (None, "", [])}
    wrong = [keyword for keyword, value in kept.items() if misfit(keyword, value)]
    if wrong:
        text = f"the template's {', '.join(wrong)} cannot be taken over: DICOM forbids such a value"
        warnings.warn(text, LossWarning, stacklevel=2)
    return {keyword: value for keyword, value in kept.items() if keyword not in wrong}


def _frames(series: Series, own: Grid, grid: Grid) -> tuple[tuple[Frame, ...], ...]:
    """Return the frames at each K of a grid; none where its slices run along another axis."""
    assert series.stack is not None
    volumes, count = series.stack.volumes, grid.shape[2]
    if own.shape[2] != count:
        return ()
    places = [own.affine.inverse().apply(grid.affine.apply(((grid.shape[0] - 1) / 2, (grid.shape[1] - 1) / 2, k)))[2]
              for k in range(count)]  # fmt: skip
    if any(abs(place - round(place)) > 0.01 for place in places) or len({round(place) for place in places}) < count:
        return ()
    return tuple(tuple(volume[round(place)] for volume in volumes) for place in places)

"""Rules about what tells who a patient is.

Each says where something stands, of what kind it is and how long, and never what: findings are printed in logs that
more people read than the images. What is looked at where says `clues`, what counts as what `identity_words`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from medimg_cli.checks.clues import Clue
from medimg_cli.checks.identity_words import CONTACT, DATE, FIELD, IDENTIFIER, NUMBER, PERSON, PLACE, USER
from medimg_cli.checks.phrases import listed
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.checks.subject import Subject

__all__ = ["RULES"]

#: Places that one message names.
_MOST = 5


def _holds(kind: str, one: str, several: str) -> Callable[[Subject], Iterator[Found]]:
    """Return the rule that speaks where something of a kind was found: one finding a file.

    Parameters
    ----------
    kind : str
        One of those of `identity_words`.
    one, several : str
        What a message says behind one place, and behind several.
    """

    def check(subject: Subject) -> Iterator[Found]:
        if not subject.clues:
            return
        by_file: dict[str | None, list[Clue]] = {}
        for clue in subject.clues:
            if clue.kind == kind:
                by_file.setdefault(clue.path, []).append(clue)
        for path, clues in by_file.items():
            places = list(dict.fromkeys(_said(clue) for clue in clues))
            yield Found(f"{listed(places, _MOST)} {one if len(places) == 1 else several}", path=path)

    return check


def _said(clue: Clue) -> str:
    return f"{clue.place} ({clue.size} characters)" if clue.size else clue.place


_REMEDY = (
    "`medimg edit` replaces text of a header and key-values: `--description`, `--set`, `--unset`; anonymise files of "
    "DICOM before they are converted, with a tool made for that. `nifti_tool -rm_ext ALL` drops extensions of NIfTI."
)

RULES: tuple[Rule, ...] = (
    Rule(
        "P001",
        "identity-field",
        "warning",
        _holds(FIELD, "is set: it says who the patient is", "are set: they say who the patient is"),
        "Fields that say who the patient is are empty.",
        why="Name, number, birth date and address of a patient stand in fields made for them. They go wherever the "
        "file goes. Empty fields, codes like sub-01 and words like anonymous are left alone.",
        example="A DICOM series with PatientName and PatientBirthDate; a key PatientID in the JSON file of an image.",
        remedy=f"Remove the keys from JSON. {_REMEDY}",
    ),
    Rule(
        "P002",
        "person-name",
        "warning",
        _holds(PERSON, "reads like the name of a person", "read like the name of a person"),
        "No text reads like the name of a person.",
        why="Free text of headers and names of files are forgotten when fields are emptied. The rule knows names as "
        "DICOM writes them (DOE^JOHN), after a word like patient, and after titles; other names it cannot know.",
        example="A NIfTI file whose descrip is DOE^JOHN; a file DOE^JANE_T1.nii.gz; a key ReferringPhysicianName.",
        remedy=f"Rename the file. {_REMEDY}",
    ),
    Rule(
        "P003",
        "date",
        "info",
        _holds(DATE, "holds a date", "hold a date"),
        "No text holds a date.",
        why="The day of a scan, with the place, may tell who was scanned; many ethics boards ask for its removal. "
        "Dates of programs and times of day without a date are left alone.",
        example="A folder ses-20120131; a key AcquisitionDateTime in the JSON file of an image; StudyDate of DICOM.",
        remedy=f"Rename sessions, shift dates. {_REMEDY}",
    ),
    Rule(
        "P004",
        "identifier",
        "warning",
        _holds(IDENTIFIER, "holds the number of a patient or visit", "hold the number of a patient or visit"),
        "No text holds the number of a patient or a visit.",
        why="The number of a medical record or an accession number leads anybody with access to the system of the "
        "hospital to the patient.",
        example="A descrip with MRN 4711023; a file name with a social security number.",
        remedy=f"Replace it by a code whose key stays in the house. {_REMEDY}",
    ),
    Rule(
        "P005",
        "place",
        "info",
        _holds(PLACE, "says where the image was made", "say where the image was made"),
        "No text says where the image was made.",
        why="Hospital, station and serial number of the scanner narrow down who was scanned, the more so with a date.",
        example="Keys InstitutionName and StationName that dcm2niix writes; the same elements of DICOM.",
        remedy=f"dcm2niix leaves them out with -ba y. {_REMEDY}",
    ),
    Rule(
        "P006",
        "user-or-host",
        "info",
        _holds(USER, "names a user, a host or a home folder", "name a user, a host or a home folder"),
        "No text names a user, a host or a home folder.",
        why="Histories that AFNI, FreeSurfer and MRtrix write hold command lines: who worked on which computer, in "
        "which folder, and folders are called after patients.",
        example="An AFNI history of jdoe@ward7; a command line with /home/john.doe/study/smith.",
        remedy=_REMEDY,
    ),
    Rule(
        "P007",
        "contact",
        "warning",
        _holds(
            CONTACT, "holds an e-mail address or a telephone number", "hold an e-mail address or a telephone number"
        ),
        "No text holds an e-mail address or a telephone number.",
        why="They lead to a person.",
        example="A comment with call +49 30 1234567; an address of a physician.",
        remedy=_REMEDY,
    ),
    Rule(
        "P008",
        "long-number",
        "info",
        _holds(NUMBER, "holds a number of 8 digits or more", "hold a number of 8 digits or more"),
        "No name of a file or folder holds a long number.",
        why="A number of eight digits or more is often that of a patient, a visit or an order; codes of studies "
        "are mostly shorter.",
        example="A folder 0047110815; a file 98765432_T1.nii.gz.",
        remedy="Rename it to a code whose key stays in the house, unless it is one already.",
    ),
)

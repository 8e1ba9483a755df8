"""Words that tell who somebody is: names of fields, and patterns of text.

Nothing here hands out the text itself: it says what kind of thing was found. The kinds are those of the rules of
privacy, and follow the identifiers that the US privacy rule lists (45 CFR 164.514 (b)(2)).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from medimg_cli.facts import identifies

__all__ = [
    *("CONTACT", "DATE", "FIELD", "IDENTIFIER", "NUMBER", "PERSON", "PLACE", "USER"),
    *("is_placeholder", "kind_of_field", "kinds_in_name", "kinds_in_text"),
]

FIELD = "field"
"""A field about the patient that is set."""
PERSON = "person"
"""The name of a person."""
DATE = "date"
IDENTIFIER = "identifier"
"""The number of a patient or a visit, said to be one."""
PLACE = "place"
"""An institution, a station, a scanner."""
USER = "user"
"""A user, a host, a home folder."""
CONTACT = "contact"
"""An e-mail address, a telephone number."""
NUMBER = "number"
"""A long number."""

#: Characters of a text that are looked at.
_MOST = 1 << 16

# -- names of fields ------------------------------------------------------------------------------------------------

#: Parts of names of fields, lower case without punctuation, and their kind; the first that fits decides.
_FIELDS = (
    (("uid", "software", "conversion", "version", "build", "template", "consistencyinfo"), None),
    (("email", "telephone", "phonenumber"), CONTACT),
    (("patientcomments", "issuerofpatient"), FIELD),
    (("patientsex", "patientage", "patientsize", "patientweight", "patientposition", "patientorient"), None),
    (("physician", "operatorsname", "operatorname", "radiologist", "technologist", "technician"), PERSON),
    (("institution", "hospital", "stationname", "deviceserialnumber", "clinicname"), PLACE),
    (("username", "hostname", "computername", "loginname"), USER),
)
_DATES = re.compile(r"(?:date|datetime|dateandtime)$")


def kind_of_field(name: str) -> str | None:
    """Return the kind of thing that a field of that name holds; None where the name says nothing of it.

    >>> kind_of_field("PatientBirthDate"), kind_of_field("AcquisitionDateTime"), kind_of_field("EchoTime")
    ('field', 'date', None)
    """
    plain = "".join(c for c in name.lower() if c.isalnum())
    if identifies(name):
        return FIELD
    for parts, kind in _FIELDS:
        if any(part in plain for part in parts):
            return kind
    return DATE if _DATES.search(plain) else None


# -- what is there instead of a name --------------------------------------------------------------------------------

_NOBODY = frozenset(
    ("anon", "unknown", "none", "null", "nil", "na", "no", "not", "noname", "removed", "redacted", "deleted", "blank")
    + ("empty", "hidden", "xx", "xxx", "xxxx", "de", "identified", "deidentified", "deident", "pseudonym", "masked")
    + ("provided", "applicable", "unspecified", "unassigned", "default", "test", "tests", "testing", "phantom")
    + ("fantom", "qa", "qc", "acr", "dummy", "demo", "example", "sample", "template", "atlas", "mni")
    + ("patient", "patients", "pat", "name", "names", "subject", "subj", "sub", "sbj", "volunteer", "proband")
    + ("control", "case", "participant", "id", "first", "last", "firstname", "lastname", "given", "family")
    + ("doctor", "dr", "person", "mr", "ct", "mri", "pseudo")
)
"""Words that stand where a name was, or never was."""
_DIGEST = re.compile(r"(?=.*[a-f])[0-9a-f]{8,64}", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_NO_DATE = re.compile(r"(?:0+|0001|1900|1970)[-./]?0?[01][-./]?0?[01]")


def is_placeholder(text: str) -> bool:
    """Tell whether a text stands for nobody: it is empty, says so, or is a code of letters and digits.

    >>> [is_placeholder(text) for text in ("", "Anonymous^Patient", "sub-01", "LIDC-IDRI-0001", "Doe^John", "4711023")]
    [True, True, True, True, False, False]
    """
    text = text.strip(" \t\r\n\0^=.,;:-_*#?\"'()[]{}<>")[:80]
    words = _WORD.findall(text)
    if not words or len(set(text)) == 1 or _NO_DATE.match(text):
        return True
    if all(word.isdecimal() or len(word) == 1 or _is_nobody(word.lower()) for word in words):
        digits = [len(word) for word in words if word.isdecimal()]
        return sum(digits) <= 4 or (max(digits) <= 4 and any(_is_nobody(word.lower()) for word in words))
    if not any(c.isdigit() for c in text) or _holds_date(text.replace("_", " ")):
        return False
    code = text[:2].isalpha() and all(part.isalnum() for part in re.split(r"[-_.]", text) if part)
    return code or bool(_DIGEST.fullmatch(text))


def _is_nobody(word: str) -> bool:
    return word in _NOBODY or word.startswith(("anonym", "pseudonym"))


# -- patterns of text -----------------------------------------------------------------------------------------------

_YEAR, _MONTH, _DAY = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_MONTHS = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_A_DATE = re.compile(
    rf"(?<![0-9A-Za-z.]){_YEAR}{_MONTH}{_DAY}(?:[_T-]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?(?!\d|\.\d)"
    rf"|(?<![\d.]){_YEAR}([-/._]){_MONTH}\1{_DAY}(?!\d|\.\d)"
    rf"|(?<![\d.]){_DAY}([-/.]){_MONTH}\2{_YEAR}(?!\d|\.\d)"
    rf"|(?<![\d.]){_MONTH}([-/]){_DAY}\3{_YEAR}(?!\d|\.\d)"
    rf"|(?<!\d)\d{{1,2}}[. -]{{1,2}}{_MONTHS}[., -]{{1,2}}{_YEAR}(?!\d)"
    rf"|(?<![A-Za-z]){_MONTHS}[. ]{{1,2}}\d{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}(?!\d)"
)
#: Texts whose dates are those of programs.
_PROGRAM = re.compile(
    r"version|\bbuil[dt]\b|buildtime|free ?surfer|\bfsl|-dirty\b|releas|compil|revision|\$(?:id|date|name)|copyright"
    r"|^\W{0,9}v?\d+\.\d+(?:\.\d+|-|:)",
    re.IGNORECASE,
)
_LETTERS = "A-Za-zÀ-ÖØ-öø-ÿ"
_CARET = re.compile(rf"(?<![{_LETTERS}])([{_LETTERS}][{_LETTERS}'-]{{1,40}})\^([{_LETTERS}][{_LETTERS}'. -]{{0,40}})")
_NAMED = re.compile(
    r"(?i:\b(?:patient(?:'?s)?[ _]?(?:name)?|(?:subject|participant)(?:'?s)?[ _]?name|full[ _]?name|(?<!.)name)\s{0,4}"
    r"[:=]\s{0,4})([A-ZÀ-Þ][\w'-]{1,40}(?:[ ,^]{1,3}[A-ZÀ-Þ][\w'.-]{0,40}){1,3})"
)
_TITLED = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme|Monsieur|Madame)\b\.? {0,2}[A-ZÀ-Þ][a-zß-ÿ]{2,30}")
_KEYED = re.compile(
    r"(?i:\b(?:mrn|medical record(?: ?(?:no|number))?|pat(?:ient)?[ _-]?(?:id|no|number)|accession(?:[ _-]?(?:no|nr"
    r"|number|id))?|hospital[ _-]?(?:no|number|id)|nhs[ _-]?(?:no|number)?|ssn|insurance[ _-]?(?:no|number))\b"
    r"[\s:=#.]{0,4})(?=[\w-]{0,20}\d)([\w-]{3,40})"
)
#: Without so many digits there is neither a date nor a number of anybody.
_MANY_DIGITS = re.compile(r"(?:\d\D{0,3}){4}")
_SOCIAL = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_NUMBER = re.compile(r"(?<![0-9A-Za-z])(?<!\d\.)\d{8,12}(?![0-9A-Za-z]|\.\d)")
_AT_HOST = re.compile(r"\[[\w.-]{1,64}@[\w.-]{1,64}:")
_HOME = re.compile(
    r"(?:/(?:usr/)?home|/Users|\\Users|\\Documents and Settings|/media|/run/media)[/\\]{1,2}"
    r"(?!(?:shared|public|user|username|ubuntu|root|runner|docker|data|default|admin|local|test|tmp)\b)\w[\w.-]{1,40}",
    re.IGNORECASE,
)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,4}[A-Za-z]{2,12}\b")
_PHONE = re.compile(
    r"(?i:\b(?:tel|phone|telephone|fax|mobile|cell)\b)[\s.:]{0,3}\+?\d[\d ()/.-]{5,20}\d"
    r"|(?<![\w+.])\+\d{1,3}[ (/-][\d ()/-]{6,18}\d(?![\w.])|(?<!\w)\(\d{3}\) ?\d{3}-\d{4}(?!\d)"
)
_HOSPITAL = re.compile(
    r"\b[A-ZÀ-Þ][\w.'-]{2,30} (?:Hospital|Klinik|Infirmary|Clinic)\b"
    r"|\b(?:Hospital|Hôpital|Ospedale|Klinikum|Clinique|Universitätsklinikum)(?: of| de| du| di)? [A-ZÀ-Þ]\w{2,30}"
)
#: Words around a caret that are no names: protocols and parts of the body, as Siemens writes them.
_NO_NAME = re.compile(
    r"head|brain|neuro|spine|neck|chest|thorax|abdomen|abd|pelvis|hip|knee|foot|hand|wrist|elbow|shoulder|heart|cardiac"
    r"|breast|liver|prostate|kidney|body|whole|general|routine|library|clinical|research|study|studies|adult|child"
    r"|libraries|user|users|default|protocol|advanced|express|investigators?|qa|fmrif|physics|service|development|exp"
    r"|log|sqrt|mri?|ct",
    re.IGNORECASE,
)


def kinds_in_text(text: str, *, of_program: bool = False) -> Iterator[str]:
    """Yield the kinds of things that a text holds, each once.

    Parameters
    ----------
    text : str
        Of a header; at most 65,536 characters are looked at.
    of_program : bool
        Whether the text says what programs did: its dates are of no interest.

    >>> list(kinds_in_text("DOE^JOHN 31.01.2012")), list(kinds_in_text("TE=2.5;Time=143015.000"))
    (['person', 'date'], [])
    """
    text = text[:_MOST].replace("\0", " ").strip()
    if len(text) < 5:
        return
    if _holds_name(text) or _TITLED.search(text) or any(not is_placeholder(hit[1]) for hit in _NAMED.finditer(text)):
        yield PERSON
    if any(c.isdigit() for c in text):
        if _holds_identifier(text):
            yield IDENTIFIER
        if not of_program and _holds_date(text) and not _PROGRAM.search(text):
            yield DATE
    if _HOME.search(text) or ("@" in text and _AT_HOST.search(text)):
        yield USER
    mail = _MAIL.search(_AT_HOST.sub(" ", text)) if "@" in text else None
    if (mail and not mail[0].endswith(".local")) or _PHONE.search(text):
        yield CONTACT
    if _HOSPITAL.search(text):
        yield PLACE


@lru_cache(maxsize=256)
def kinds_in_name(name: str) -> tuple[str, ...]:
    """Return the kinds of things that the name of a file or folder holds, each once.

    >>> kinds_in_name("DOE^JOHN_20120131"), kinds_in_name("sub-01_T1w"), kinds_in_name("0047110815")
    (('person', 'date'), (), ('number',))
    """
    spaced, found = name.replace("_", " "), []
    if _holds_name(spaced):
        found.append(PERSON)
    if _MANY_DIGITS.search(name) is None:
        return tuple(found)
    if _holds_identifier(spaced):
        found.append(IDENTIFIER)
    if _holds_date(spaced) or _holds_date(name):
        found.append(DATE)
    elif any(len(set(hit[0])) > 2 for hit in _NUMBER.finditer(name)):
        found.append(NUMBER)
    return tuple(found)


def _holds_name(text: str) -> bool:
    """Tell whether a text holds a name as DICOM writes them."""
    return "^" in text and any(_is_name(found[1], found[2].strip()) for found in _CARET.finditer(text))


def _is_name(family: str, given: str) -> bool:
    if is_placeholder(f"{family} {given}"):
        return False
    return not (_NO_NAME.fullmatch(family) or _NO_NAME.fullmatch(given))


def _holds_identifier(text: str) -> bool:
    return bool(_SOCIAL.search(text)) or any(not is_placeholder(found[1]) for found in _KEYED.finditer(text))


def _holds_date(text: str) -> bool:
    return any(not _NO_DATE.match(found[0]) for found in _A_DATE.finditer(text))

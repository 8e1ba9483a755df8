"""What tells who a patient is: found, and never said again."""

from __future__ import annotations

from pathlib import Path

import pytest

from medimg_cli.checks.checking import Checking, check_paths
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.identity_words import (
    CONTACT,
    DATE,
    FIELD,
    IDENTIFIER,
    NUMBER,
    PERSON,
    PLACE,
    USER,
    is_placeholder,
    kind_of_field,
    kinds_in_name,
    kinds_in_text,
)
from medimg_cli.checks.rule import Finding
from tests.checks.planted_privacy import PLANTED, Make, dicom, in_extension, nifti
from tests.checks.planting import Case, look


def findings(folder: Path, select: tuple[str, ...] = ("P",)) -> list[Finding]:
    config = load_config(Wishes(isolated=True, select=select))
    return [each for checked in check_paths([str(folder)], Checking(config=config)) for each in checked.findings]


SECRETS = (
    *("doe", "jane", "john", "4711023", "19610203", "moriarty", "watson", "31.01.2012", "20120131", "55342", "0815-47"),
    *("mungo", "awp1", "jdoe", "ward7", "clinic.example", "1234567", "123-4567", "98765432", "0047110815", "078-05"),
)


@pytest.mark.parametrize(
    ("code", "case"),
    [pytest.param(code, case, id=f"{code}-{case.name}") for code, row in PLANTED.items() for case in row.faults],
)
def test_no_message_repeats_what_it_found(code: str, case: Case, tmp_path: Path) -> None:
    messages = [
        each.message for checked in look(case, code, tmp_path) for each in checked.findings if each.code[0] == "P"
    ]
    assert messages
    for message in messages:
        assert not [secret for secret in SECRETS if secret in message.lower()], message
        assert message.isprintable() and not message.endswith(".")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("PatientName", FIELD), ("Patient's Name", FIELD), ("patient_id", FIELD), ("PatientBirthDate", FIELD),
        ("(0010,0010)", FIELD), ("AccessionNumber", FIELD), ("OtherPatientIDs", FIELD), ("PatientComments", FIELD),
        ("ReferringPhysicianName", PERSON), ("OperatorsName", PERSON), ("AcquisitionDateTime", DATE),
        ("StudyDate", DATE), ("InstitutionAddress", PLACE), ("DeviceSerialNumber", PLACE), ("StationName", PLACE),
        ("UserName", USER), ("Email", CONTACT), ("PatientTelephoneNumbers", CONTACT),
        ("EchoTime", None), ("PatientPosition", None), ("PatientSex", None), ("AcquisitionTime", None),
        ("StudyInstanceUID", None), ("SoftwareDate", None), ("ConversionSoftwareVersion", None), ("Dated", None),
        ("update_rate", None), ("SequenceName", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_fields(name: str, kind: str | None) -> None:
    if name == "PatientTelephoneNumbers":
        assert kind_of_field(name) in (FIELD, CONTACT)
    else:
        assert kind_of_field(name) == kind


@pytest.mark.parametrize(
    "text",
    ["", " ", "^^^^", "anonymous", "ANON^1", "Anonymized Patient", "sub-01", "sub01_ses02", "Subject 12", "case_0007",
     "Patient 001", "TCGA-02-0001", "BraTS19_CBICA_AAB_1", "IXI002", "REMOVED", "N/A", "unknown", "xxxx", "----", "0000",
     "19000101", "0001-01-01", "phantom", "b2cbe507f250", "1234", "de-identified", "not provided", "\0\0"],
)  # fmt: skip
def test_what_stands_for_nobody(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    ["Doe^John", "Doe, John", "Müller^Jürgen", "山田^太郎", "Διονυσιος", "4711023", "12 34 56", "A1234567", "19610203",
     "ROGERS_20180526", "Smith", "Luci", "Testa^Anna", "Anna Nowak"],
)  # fmt: skip
def test_what_may_be_somebody(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Müller^Jürgen", [PERSON]), ("Patient: Anna Nowak, T1", [PERSON]), ("by Dr. Watson", [PERSON]),
        ("Name: Doe, John", [PERSON]), ("2012-01-31", [DATE]), ("31/01/2012", [DATE]), ("01/31/2012", [DATE]),
        ("31-Jan-2012", [DATE]), ("scan 20120131_143015", [DATE]), ("January 3rd, 2012", [DATE]),
        ("MRN 4711023", [IDENTIFIER]), ("SSN 078-05-1120", [IDENTIFIER]), ("at St. Mungo Hospital", [PLACE]),
        ("Klinikum Großhadern", [PLACE]), ("/home/jdoe/a.nii", [USER]), (r"D:\Users\jdoe\a", [USER]),
        ("j.doe@example.org", [CONTACT]), ("Tel. 030 1234567", [CONTACT]), ("+49 30 1234567", [CONTACT]),
        ("FSL5.0", []), ("6.0.4:ddd0a010", []), ("spm - 3D normalized", []), ("TE=2.5;Time=143015.000", []),
        ("TE=30;Time=83634.135;phase=1;mb=2", []), ("FreeSurfer May 13 2013", []), ("FreeSurfer matlab", []),
        ("2203.12-dirty 2024-02-01T16:17:47+00:00", []), ("NIFTI_INTENT_LABEL", []), ("MNI152NLin2009cAsym", []),
        ("Left-Cerebral-White-Matter", []), ("b=1000 dir=64", []), ("1.3.12.2.1107.5.2.32.35162.20120131", []),
        ("Philips Medical Systems Achieva 3.2.3", []), ("www.bic.mni.mcgill.ca/ServicesAtlases", []),
        ("http://www.ncbi.nlm.nih.gov/pubmed/11771995", []), ("Head^General", []), ("5x5x5 mm^3", []),
        ("v1.0.20241127", []), ("R 2012-2013", []), ("12.5 mm 2012", []), ("-90 -126.0 -72", []),
        ("5.3.0-HCP", []), ("mri_convert ./004/mri/orig/003.mgz", []), ("Dr Who is fine; dr. x", []),
    ],
)  # fmt: skip
def test_texts(text: str, kinds: list[str]) -> None:
    if text.startswith("Dr Who"):
        kinds = [PERSON]  # a title and a capital: it reads like a name
    assert list(kinds_in_text(text)) == kinds


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("DOE^JOHN", (PERSON,)), ("DOE^JOHN_T1_20120131.nii", (PERSON, DATE)), ("2012-01-31", (DATE,)),
        ("20081001114742_t1.nii.gz", (DATE,)), ("ses-20120131", (DATE,)), ("20120131GE", (DATE,)), ("IM-4711-98765432.dcm", (NUMBER,)),
        ("sub-01_T1w.nii.gz", ()), ("2012", ()), ("201201", ()), ("12345678.9.10", ()), ("11111111", ()),
        ("a98765432", ()), ("t1_2mm_b0-1000-2000.nii", ()), ("MNI152_T1_1mm_2009c", ()), ("scan_20129931", (NUMBER,)),
    ],
)  # fmt: skip
def test_names_of_files_and_folders(name: str, kinds: tuple[str, ...]) -> None:
    assert kinds_in_name(name) == kinds


def test_folders_of_the_users_own_machine_are_no_part_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the working folder all folders count, elsewhere three."""
    deep = tmp_path / "98765432" / "data" / "a" / "b" / "c"
    nifti("t1.nii.gz")(deep)
    assert findings(deep) == []
    monkeypatch.chdir(tmp_path)
    assert [each.code for each in findings(Path("98765432"))] == ["P008"]
    assert [each.code for each in findings(tmp_path / "98765432")] == ["P008"]
    monkeypatch.chdir(deep)
    assert findings(Path()) == []


def test_one_finding_a_rule_and_a_file(tmp_path: Path) -> None:
    nifti(sidecar={"PatientName": "Doe", "PatientID": "4711023", "PatientBirthDate": "19610203"}, descrip="Roe^Jane")(
        tmp_path
    )
    found = findings(tmp_path)
    assert [(each.code, Path(each.path).name) for each in found] == [("P001", "scan.json"), ("P002", "scan.nii.gz")]
    assert found[0].message.endswith("are set: they say who the patient is")


def test_the_last_slice_of_a_series_is_looked_at_too(tmp_path: Path) -> None:
    from pydicom import dcmread

    dicom(PatientName="ANON", PatientID="007")(tmp_path)
    for n in (2, 3):
        data = dcmread(tmp_path / "slice.dcm")
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{n}"
        data.ImagePositionPatient, data.InstanceNumber = [1, 2, 3 * n], n
        data.PatientName = "Doe^John" if n == 3 else "ANON"
        data.save_as(tmp_path / f"slice{n}.dcm")
    assert [each.message for each in findings(tmp_path)] == [
        "element PatientName (8 characters) is set: it says who the patient is"
    ]


HOSTILE: dict[str, Make] = {
    "deep-json": nifti(extension=(44, b'{"a":' * 5000 + b"1" + b"}" * 5000)),
    "wide-json": nifti(sidecar={f"key{n}": [{"b": n}] for n in range(20_000)}),
    "no-dicom": nifti(extension=(2, bytes(range(256)) * 40)),
    "cut-dicom": nifti(extension=(2, in_extension(PatientName="Doe^John", PatientComments="x" * 500)[1][:-300])),
    "carets": nifti(extension=(6, b"A^" * 30_000)),
    "words": nifti(extension=(6, b"Patient: " + b"Aa " * 20_000)),
    "ats": nifti(extension=(6, b"a.b-c@" * 10_000)),
    "digits": nifti(extension=(6, b"1-2." * 16_000)),
    "many-digits": nifti(extension=(6, b"12345678" * 8_000)),
    "spaces": nifti(extension=(6, b"tel" + b" " * 60_000 + b"x")),
    "controls": nifti(descrip="\x1b[2J\x07Doe^John\r\n"),
    "keys": nifti(sidecar={"\x1b[31mPatientName" + "x" * 300: "Doe", "": "", "PatientID": {"a": ["b"]}}),
    "latin": nifti(descrip="".join(map(chr, range(160, 239)))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_ends_and_is_not_said(name: str, tmp_path: Path) -> None:
    """A pattern that backtracks would take minutes."""
    HOSTILE[name](tmp_path)
    found = findings(tmp_path)
    assert all(each.message.isprintable() and len(each.message) < 400 for each in found)


def test_all_kinds_are_told_by_header_alone() -> None:
    from medimg_cli.checks.privacy import RULES

    assert len(RULES) == 8 and not any(rule.reads_voxels for rule in RULES)
    assert {rule.severity for rule in RULES} == {"warning", "info"}


def test_lines_of_par_files(tmp_path: Path) -> None:
    from nibabel.testing import data_path

    for suffix in (".PAR", ".REC"):
        content = (Path(str(data_path)) / f"phantom_EPI_asc_CLEAR_2_1{suffix}").read_bytes()
        (tmp_path / f"a{suffix}").write_bytes(content)
    assert [each.code for each in findings(tmp_path)] == ["P003"]
    text = (tmp_path / "a.PAR").read_text(encoding="latin-1")
    place = text.index(":", text.index("Patient name")) + 1
    (tmp_path / "a.PAR").write_text(
        text[:place] + "   Doe, John\n" + text[text.index("\n", place) + 1 :], encoding="latin-1"
    )
    found = findings(tmp_path)
    assert [each.code for each in found] == ["P001", "P003"]
    assert found[0].message == "line Patient name (9 characters) is set: it says who the patient is"

"""Text with and without something that tells who a patient is; all names and numbers are made up."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from tests.checks.planting import Case, Planted
from tests.helpers import AFFINES

OBLIQUE = np.array(AFFINES["left-handed"].rows)
Make = Callable[[Path], object]


def nifti(
    name: str = "scan.nii.gz",
    *,
    extension: tuple[int, bytes] | None = None,
    sidecar: Mapping[str, Any] | None = None,
    **texts: str,
) -> Make:
    """Write a NIfTI image with texts in its header, one extension, and a JSON file beside it."""

    def make(folder: Path) -> None:
        image = nib.Nifti1Image(np.arange(60, dtype="int16").reshape(5, 4, 3), OBLIQUE)
        for field, text in texts.items():
            image.header[field] = text.encode("latin-1")
        if extension is not None:
            code, content = extension
            image.header.extensions.append(nib.nifti1.Nifti1Extension(code, content))
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, path)
        if sidecar is not None:
            path.with_name(path.name.partition(".")[0] + ".json").write_text(json.dumps(sidecar))

    return make


def behind_a_null(text: str) -> Make:
    """Write text behind the null character that ends descrip."""

    def make(folder: Path) -> None:
        nifti("scan.nii")(folder)
        data = bytearray((folder / "scan.nii").read_bytes())
        field = b"FSL5.0\0" + text.encode()
        data[148 : 148 + len(field)] = field
        (folder / "scan.nii").write_bytes(data)

    return make


def key_values(name: str = "scan.nrrd", **entries: str) -> Make:
    def make(folder: Path) -> None:
        image = sitk.GetImageFromArray(np.arange(60, dtype="int16").reshape(3, 4, 5))
        image.SetSpacing((0.9, 1.25, 3))
        for key, value in entries.items():
            image.SetMetaData(key, value)
        sitk.WriteImage(image, str(folder / name))

    return make


def elements(**values: str) -> Dataset:
    data = Dataset()
    for keyword, value in values.items():
        setattr(data, keyword, value)
    return data


def dicom(**values: str) -> Make:
    """Write one slice."""

    def make(folder: Path) -> None:
        data = elements(**values)
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", "1.2.3.1", "MR"
        data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 4, 5, 16, 16, 15
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
        data.PixelSpacing, data.SliceThickness = [0.9, 1.25], 3
        data.ImagePositionPatient, data.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
        data.PixelData = np.arange(20, dtype="<u2").tobytes()
        data.save_as(folder / "slice.dcm", enforce_file_format=True)

    return make


def in_extension(**values: str) -> tuple[int, bytes]:
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    memory = DicomBytesIO()
    memory.is_little_endian, memory.is_implicit_VR = True, False
    write_dataset(memory, elements(**values))
    return 2, memory.getvalue()


def command(line: str) -> Make:
    """Write a MIF file with a history of commands."""

    def make(folder: Path) -> None:
        head = (
            "mrtrix image\ndim: 2,2,2\nvox: 1,2,3\nlayout: +0,+1,+2\ndatatype: UInt8\n"
            f"command_history: {line}\nfile: . 512\nEND\n"
        )
        (folder / "a.mif").write_bytes(head.encode().ljust(512, b"\0") + bytes(range(8)))

    return make


def tagged(line: str) -> Make:
    """Write an MGH file whose tail holds a command line (TAG_CMDLINE, 3)."""

    def make(folder: Path) -> None:
        path = folder / "a.mgh"
        nib.save(nib.MGHImage(np.arange(60, dtype="int16").reshape(5, 4, 3), OBLIQUE), path)
        text = line.encode() + b"\0"
        path.write_bytes(path.read_bytes() + struct.pack(">iq", 3, len(text)) + text)

    return make


AFNI = (
    '<?xml version="1.0" ?>\n<AFNI_attributes>\n<AFNI_atr ni_type="String" atr_name="HISTORY_NOTE" >\n"{}"\n</AFNI_atr>'
)
BUILT = "2203.12-dirty 2024-02-01T16:17:47+00:00"

PLANTED: dict[str, Planted] = {
    "P001": Planted(
        (
            Case("dicom", dicom(PatientName="Doe^John", PatientID="4711023"), "element PatientName (8 characters)"),
            Case("sidecar", nifti(sidecar={"PatientBirthDate": "19610203", "EchoTime": 0.03}), "JSON key PatientBirthDate"),
            Case("number-in-sidecar", nifti(sidecar={"PatientID": 4711023}), "JSON key PatientID (7 characters) is set"),
            Case("nrrd", key_values(**{"Patient Name": "Doe John"}), "key Patient Name"),
            Case("dicom-in-nifti", nifti(extension=in_extension(PatientName="Doe^John")), "extension 2 element PatientName"),
            Case("json-in-nifti", nifti(extension=(44, b'{"Meta": {"PatientName": "Doe^John"}}')), "extension 44 key PatientName"),
        ),
        (
            Case("pseudonyms", dicom(PatientName="Anonymous", PatientID="sub-01", PatientBirthDate="")),
            Case("code", dicom(PatientName="LIDC-IDRI-0001", PatientID="LIDC-IDRI-0001", PatientSex="F", PatientAge="061Y")),
            Case("position", nifti(sidecar={"PatientPosition": "HFS", "ImageOrientationPatientDICOM": [1, 0, 0, 0, 1, 0]})),
            Case("dicom-in-nifti", nifti(extension=in_extension(PatientName="ANON", PatientID="007"))),
            Case("broken-json", nifti(extension=(44, b'{"PatientName": "Doe^J'))),
        ),
    ),
    "P002": Planted(
        (
            Case("descrip", nifti(descrip="DOE^JOHN 2 T1"), "descrip (13 characters) reads like the name"),
            Case("file", nifti("DOE^JANE_T1.nii.gz"), "its name reads like the name of a person"),
            Case("folder", nifti("Doe^Jane Mary/t1.nii.gz"), "the name of its folder"),
            Case("behind-a-null", behind_a_null("Patient: John Doe"), "descrip"),
            Case("physician", nifti(sidecar={"ReferringPhysicianName": "Moriarty"}), "JSON key ReferringPhysicianName"),
            Case("comment", nifti(extension=(6, b"seen by Dr. Watson on ward 7")), "extension 6"),
        ),
        (
            Case("spm", nifti(descrip="spm - 3D normalized", aux_file="Harvard-Oxford")),
            Case("protocol", nifti(sidecar={"StudyDescription": "Head^General", "ProtocolName": "FMRIF^QA"})),
            Case("body-part", nifti(descrip="Brain^Routine")),
            Case("exponent", nifti("t1_10^6.nii.gz", descrip="x^2 + log^b")),
            Case("citation", nifti(descrip="Lindner, Kolodziej, Egger (2018) Skull-stripped MRI Datasets.")),
            Case("placeholder", nifti(descrip="PATIENT^NAME", sidecar={"OperatorsName": "Anonymized"})),
        ),
    ),
    "P003": Planted(
        (
            Case("descrip", nifti(descrip="T1 31.01.2012"), "descrip (13 characters) holds a date"),
            Case("session", nifti("sub-01/ses-20120131/sub-01_ses-20120131_T1w.nii.gz"), "the name of its folder, its name"),
            Case("sidecar", nifti(sidecar={"AcquisitionDateTime": "2012-01-31T14:30:15.000000"}), "AcquisitionDateTime"),
            Case("dicom", dicom(StudyDate="20120131"), "element StudyDate"),
            Case("in-words", nifti(descrip="scanned Jan 31, 2012"), "descrip"),
            Case("time-stamp", nifti("T1_20120131143015_4.nii.gz"), "its name"),
        ),
        (
            Case("time-of-day", nifti(descrip="TE=2.5;Time=143015.000", sidecar={"AcquisitionTime": "14:30:15.000000"})),
            Case("build", nifti(descrip=BUILT, sidecar={"ConversionSoftwareVersion": "v1.0.20241127", "ConsistencyInfo": "N4_LATEST_20160120"})),
            Case("freesurfer", nifti(descrip="FreeSurfer May 13 2013")),
            Case("atlas", nifti("MNI152NLin2009cAsym_res-01_T1w.nii.gz", descrip="ICBM152NLin2009")),
            Case("no-day", nifti("scan_20121399.nii.gz", descrip="1.3.12.2.1107.5.2.43.20120131.3")),
            Case("history", nifti(extension=(4, AFNI.format("[me@pc: Thu Jan 23 11:35:32 2014] 3dcopy a b").encode()))),
        ),
    ),
    "P004": Planted(
        (
            Case("record", nifti(descrip="MRN: 4711023"), "descrip (12 characters) holds the number"),
            Case("social-security", nifti("078-05-1120_t1.nii.gz"), "its name holds the number"),
            Case("accession", key_values(comment="Accession No. 55342-A7"), "key comment"),
            Case("spaced", nifti(extension=(6, b"patient id 0815-4711")), "extension 6"),
        ),
        (
            Case("pseudonym", nifti(descrip="Patient ID: sub-01")),
            Case("uid", nifti(descrip="1.2.840.113619.2.176.3596.6864740.7052")),
            Case("version", nifti(descrip="6.0.4:ddd0a010")),
            Case("range", nifti("100-20-30000_b.nii.gz", descrip="b 0-1000-2000")),
        ),
    ),
    "P005": Planted(
        (
            Case("sidecar", nifti(sidecar={"InstitutionName": "St. Mungo", "StationName": "AWP1"}), "InstitutionName (9 characters)"),
            Case("dicom", dicom(InstitutionName="St. Mungo"), "element InstitutionName"),
            Case("text", nifti(descrip="3T, Mungo Hospital"), "descrip"),
        ),
        (
            Case("removed", nifti(sidecar={"InstitutionName": "REMOVED", "StationName": ""})),
            Case("maker", nifti(sidecar={"Manufacturer": "Siemens", "ManufacturersModelName": "Skyra"}, descrip="Philips Achieva")),
        ),
    ),
    "P006": Planted(
        (
            Case("afni", nifti(extension=(4, AFNI.format("[jdoe@ward7: Thu Jan 23 2014] 3dcopy a b").encode())), "extension 4"),
            Case("mrtrix", command("mrconvert /home/john.doe/in.nii a.mif  (version=3.0.4)"), "key command_history"),
            Case("freesurfer", tagged("mri_convert /Users/jdoe/in.nii out.mgz"), "key command_history"),
            Case("windows", nifti(descrip=r"C:\Users\jdoe\Desktop\x.nii"), "descrip"),
        ),
        (
            Case("program", command("mrconvert in.nii /opt/fsl/a.mif  (version=3.0.4)")),
            Case("everybody", nifti(descrip="/Users/Shared/x.nii /home/user/a")),
            Case("relative", tagged("mri_convert ./004/mri/orig/003.mgz ../homework/a.mgz")),
        ),
    ),
    "P007": Planted(
        (
            Case("mail", nifti(descrip="ask j.doe@clinic.example.org"), "descrip (28 characters)"),
            Case("telephone", key_values(comment="call Tel: +49 30 1234567"), "key comment"),
            Case("american", nifti(extension=(6, b"call (555) 123-4567 first")), "extension 6"),
        ),
        (
            Case("afni", nifti(extension=(4, AFNI.format("[user@Users-MacBook-Pro.local: Thu Jan 23 2014] 3dcopy").encode()))),
            Case("numbers", key_values(matrix="+1.000000e+00 -0.5 1234567 +12 1 0", link="https://example.org/pubmed/11771995")),
            Case("at", nifti(descrip="3T @ 64 channels")),
        ),
    ),
    "P008": Planted(
        (
            Case("file", nifti("98765432_T1.nii.gz"), "its name holds a number"),
            Case("folder", nifti("0047110815/t1.nii.gz"), "the name of its folder"),
        ),
        (
            Case("date", nifti("sub-01_20120131_T1.nii.gz")),
            Case("shorter", nifti("9876543/case_00012.nii.gz")),
            Case("uid", nifti("1.2.840.113619.12345678.3.nii.gz")),
            Case("zeros", nifti("00000000_b.nii.gz")),
        ),
    ),
}  # fmt: skip

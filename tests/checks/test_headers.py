"""Rules about headers on what others find, on real files, and on noise."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pytest

from medimg_cli.checks.config import Settings
from medimg_cli.checks.examining import examine, subjects_of
from medimg_cli.checks.fixing import mend_of
from medimg_cli.checks.headers import RULES
from medimg_cli.checks.rule import Finding
from medimg_cli.errors import MedImgError
from medimg_cli.facts import find_images
from medimg_cli.formats.reading import Reading
from tests.checks.nifti_files import extension, nifti, nifti_bytes
from tests.checks.planted_headers import PLANTED
from tests.checks.planting import Case

DATA = Path(os.environ.get("MEDIMG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
ALL = Settings(codes=tuple(rule.code for rule in RULES))


def findings(path: object, settings: Settings = ALL) -> list[Finding]:
    return [found for subject in subjects_of(str(path), settings, Reading()) for found in examine(subject)]


FAULTS = [pytest.param(code, case, id=f"{code}-{case.name}") for code, row in PLANTED.items() for case in row.faults]


def test_no_rule_about_headers_reads_voxels() -> None:
    assert not [rule.code for rule in RULES if rule.reads_voxels]


@pytest.mark.parametrize(("code", "case"), FAULTS)
def test_messages_are_one_plain_sentence(code: str, case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    told = findings(path)
    assert told
    for found in told:
        assert found.message.isascii() and found.message.isprintable()
        assert not found.message.endswith(".")
        assert str(tmp_path) not in found.message
        assert found.severity == next(rule.severity for rule in RULES if rule.code == found.code)


@pytest.mark.parametrize(("code", "case"), FAULTS)
def test_what_nibabel_complains_of_is_found(code: str, case: Case, tmp_path: Path) -> None:
    """As nib-nifti-dx does it: all of its checks on the bytes of the header."""
    path = case.make(tmp_path)
    if path.suffix != ".nii":
        pytest.skip("nib-nifti-dx looks at plain NIfTI files")
    content = path.read_bytes()
    kind = nibabel.Nifti1Header if content[:4] in (b"\\\1\0\0", b"\0\0\1\\") else nibabel.Nifti2Header
    complaints = kind.diagnose_binaryblock(content[: kind.template_dtype.itemsize])
    if complaints:
        assert [found for found in findings(path) if found.severity != "info"], complaints


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_sound_file_has_no_findings(version: int, order: str, tmp_path: Path) -> None:
    make = nifti("a.nii.gz", version=version, order=order, extender=extension(b"a comment", order=order))
    assert findings(make(tmp_path)) == []


def test_a_pair_is_judged_by_its_header(tmp_path: Path) -> None:
    for name, field in (("sound", {}), ("odd", {"bitpix": 8})):
        content = nifti_bytes(magic=b"ni1", vox_offset=0, **field)
        (tmp_path / f"{name}.hdr").write_bytes(content[:348])
        (tmp_path / f"{name}.img").write_bytes(content[352:])
    assert findings(tmp_path / "sound.hdr") == findings(tmp_path / "sound.img") == []
    assert [found.code for found in findings(tmp_path / "odd.img")] == ["H030"]


def test_limits_come_from_settings(tmp_path: Path) -> None:
    path = nifti(shape=(5, 4, 3, 6), pixdim={4: 95})(tmp_path)
    assert not findings(path)
    strict = Settings(codes=ALL.codes, limits={"time-step-most": 90})
    assert [found.code for found in findings(path, strict)] == ["H025"]


def test_text_of_a_header_is_not_repeated(tmp_path: Path) -> None:
    path = nifti(descrip=b"Doe^John\x1b[2J", aux_file=b"Doe\xff\0Jane")(tmp_path)
    said = " ".join(found.message for found in findings(path))
    assert "0x1b" in said
    assert "Doe" not in said and "Jane" not in said


def mutated(seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    wanted = [
        nifti_bytes(extender=extension(b"a comment")),
        nifti_bytes(version=2, order=">", shape=(5, 4, 3, 6)),
        nifti_bytes(shape=(5, 4, 3, 1, 3), intent_code=1007, order=">"),
    ]
    for _ in range(200):
        content = bytearray(chance.choice(wanted))
        for _ in range(chance.randrange(1, 12)):
            content[chance.randrange(4, 400)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        yield bytes(content)


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_a_header_never_ends_in_a_crash(seed: int, tmp_path: Path) -> None:
    opened = 0
    for number, content in enumerate(mutated(seed)):
        path = tmp_path / f"{number}.nii"
        path.write_bytes(content)
        for subject in subjects_of(str(path), ALL, Reading()):
            opened += subject.backend is not None
            for found in examine(subject):
                assert found.message
                rule = next(rule for rule in RULES if rule.code == found.code)
                assert found.fixable == (mend_of(subject, rule) is not None)
    assert opened > 50


def test_real_files_have_no_errors_in_their_headers() -> None:
    """Each of them is read by trusted readers: an error of ours would be a false alarm."""
    if not (DATA / "MANIFEST.csv").exists():
        pytest.skip("no real files: set MEDIMG_TEST_DATA to a folder with MANIFEST.csv")
    wrong, looked_at = [], 0
    for path in find_images([str(DATA)], recursive=True):
        if "_generated" in path:
            continue
        try:
            wrong += [found for found in findings(path) if found.severity == "error"]
            looked_at += 1
        except MedImgError:
            continue
    assert looked_at > 100
    assert wrong == []

"""What --fix does to files: only what is wrong changes, and whatever happens, no voxel is lost."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medimg_cli.checks.checking import Checked, Checking, check_paths
from medimg_cli.checks.config import Settings, Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.examining import subjects_of
from medimg_cli.checks.fixing import fix
from medimg_cli.checks.headers import RULES
from medimg_cli.checks.rule import Found, Mend, Rule
from medimg_cli.errors import StorageError
from medimg_cli.formats.reading import Reading
from tests.checks.nifti_files import extension, nifti, nifti_bytes
from tests.checks.planted_headers import PLANTED
from tests.checks.planting import Case

CONFIG = load_config(Wishes(isolated=True, select=("H",)))
FIXABLE = [
    pytest.param(case, id=f"{rule.code}-{case.name}")
    for rule in RULES
    if rule.mend is not None
    for case in PLANTED[rule.code].faults
]
#: Several faults at once, and the fields that mend them.
FAULTS = {
    "quatern_b": 0.9, "quatern_c": 0.9, "quatern_d": 0.9, "bitpix": 8, "scl_slope": 0, "scl_inter": -1024,
    "dim": {6: 4}, "dim_info": 0xC0 | 0x39,
}  # fmt: skip


def checked(path: object, *, mend: bool = False) -> Checked:
    (one,) = (each for each in check_paths([str(path)], Checking(config=CONFIG, fix=mend)) if each.path)
    return one


def codes(path: object) -> list[str]:
    return [found.code for found in checked(path).findings]


def plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def fields(content: bytes, version: int, order: str) -> np.ndarray:
    kind = {1: nibabel.Nifti1Header, 2: nibabel.Nifti2Header}[version]
    dtype = kind.template_dtype.newbyteorder(order)
    return np.frombuffer(content[: dtype.itemsize], dtype)[0]


@pytest.mark.parametrize("case", FIXABLE)
def test_each_fault_that_can_be_mended_is(case: Case, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    before = checked(path).findings
    fixable = {found.code for found in before if found.fixable}
    told = checked(path, mend=True)
    assert not told.message
    assert {found.code for found in told.findings if found.fixed} == fixable
    assert codes(path) == [found.code for found in before if not found.fixable]
    content = plain(path)
    assert not any(found.fixed for found in checked(path, mend=True).findings)
    assert plain(path) == content


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize(("version", "order"), [(1, "<"), (1, ">"), (2, "<"), (2, ">")])
def test_nothing_but_what_was_wrong_changes(name: str, version: int, order: str, tmp_path: Path) -> None:
    noise = extension(bytes(range(1, 200)), order=order)
    make = nifti(name, version=version, order=order, extender=noise, behind=b"tail", descrip=b"\xff\x01 odd", **FAULTS)
    path = make(tmp_path)
    old = plain(path)
    told = checked(path, mend=True)
    assert {found.code for found in told.findings if found.fixed} == {"H007", "H030", "H032", "H038", "H041"}
    new = plain(path)
    before, after = fields(old, version, order), fields(new, version, order)
    changed = {field for field in before.dtype.names if before[field].tobytes() != after[field].tobytes()}
    assert changed == {*FAULTS}
    size = before.dtype.itemsize
    assert new[size:] == old[size:]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    length = np.sqrt(3 * 0.9**2)
    for letter in "bcd":
        assert after[f"quatern_{letter}"] == pytest.approx(0.9 / length, rel=1e-6)
    assert (after["scl_slope"], after["scl_inter"], after["bitpix"], after["dim_info"]) == (1, 0, 16, 0x39)


@pytest.mark.parametrize(("version", "order"), [(1, "<"), (1, ">"), (2, "<"), (2, ">")])
def test_nibabel_reads_the_same_voxels_in_the_same_places(version: int, order: str, tmp_path: Path) -> None:
    path = nifti("scan.nii.gz", version=version, order=order, **{**FAULTS, "quatern_b": 0.1, "pixdim": {0: 0}})(
        tmp_path
    )
    before = nifti_bytes(version=version, order=order)
    sound = tmp_path / "sound.nii"
    sound.write_bytes(before)
    checked(path, mend=True)
    image, like = nibabel.load(path), nibabel.load(sound)
    assert np.array_equal(image.get_fdata(), like.get_fdata())
    assert np.array_equal(image.affine, like.affine)
    assert not type(image.header).diagnose_binaryblock(plain(path)[: like.header.structarr.itemsize])


def test_bits_of_fields_that_nobody_mends_stay(tmp_path: Path) -> None:
    """A signalling NaN becomes a quiet one on its way through a float: other bytes are never touched."""
    content = bytearray(nifti_bytes(bitpix=8))
    content[124:128] = struct.pack("<I", 0x7F800001)  # cal_max
    path = tmp_path / "scan.nii"
    path.write_bytes(content)
    checked(path, mend=True)
    assert path.read_bytes()[124:128] == struct.pack("<I", 0x7F800001)
    assert path.read_bytes() == bytes(content[:72]) + b"\x10\0" + bytes(content[74:])


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_extension_keeps_its_content(order: str, tmp_path: Path) -> None:
    odd = extension(b"x" * 13, order=order, fill=False) + extension(b"second", order=order)[4:]
    path = nifti(order=order, extender=odd, behind=b"tail")(tmp_path)
    assert {found.code for found in checked(path, mend=True).findings if found.fixed} == {"H036", "H040"}
    image = nibabel.load(path)
    assert [each.get_content().rstrip(b"\0") for each in image.header.extensions] == [b"x" * 13, b"second"]
    assert path.read_bytes().endswith(nifti_bytes(order=order)[352:] + b"tail")
    assert codes(path) == []


@pytest.mark.parametrize("given", ["hdr", "img"])
@pytest.mark.parametrize("packed", [False, True])
def test_of_a_pair_only_the_header_is_written(given: str, packed: bool, tmp_path: Path) -> None:
    content = nifti_bytes(magic=b"ni1", vox_offset=0, bitpix=8)
    ending, wrap = (".gz", gzip.compress) if packed else ("", bytes)
    header, data = tmp_path / f"a.hdr{ending}", tmp_path / f"a.img{ending}"
    header.write_bytes(wrap(content[:348] + b"\0\0\0\0rest"))
    data.write_bytes(wrap(content[352:]))
    before = os.stat(data)
    assert [found.fixed for found in checked(tmp_path / f"a.{given}{ending}", mend=True).findings] == [True]
    assert plain(header) == content[:72] + b"\x10\0" + content[74:348] + b"\0\0\0\0rest"
    after = os.stat(data)
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    path = nifti(bitpix=8)(tmp_path / "store")
    path.chmod(0o640)
    link = tmp_path / "link.nii"
    link.symlink_to(path)
    assert [found.fixed for found in checked(link, mend=True).findings] == [True]
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert codes(path) == []
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["link.nii", "scan.nii", "store"]


def test_what_lies_beside_is_still_read(tmp_path: Path) -> None:
    table = "index\tname\n1\tliver\n"
    (tmp_path / "dseg.tsv").write_text(table)
    folder = tmp_path / "sub-1"
    folder.mkdir()
    labels = nifti("sub-1_dseg.nii.gz", bitpix=8)(folder)
    texts = {".bval": "0 1000 1000\n", ".bvec": "0 1 0\n0 0 1\n0 0 0\n"}
    weighted = nifti("dwi.nii.gz", shape=(5, 4, 3, 3), pixdim={4: 2.0}, beside=texts, bitpix=8)(folder)
    for path in (labels, weighted):
        assert [found.fixed for found in checked(path, mend=True).findings] == [True]


@pytest.mark.parametrize(
    ("code", "make"),
    [
        ("H011", nifti(pixdim={1: -0.9})),  # the qform depends on it
        ("H036", nifti(extender=b"\0\0\0\0something")),  # somebody's bytes
        ("H041", nifti(extender=b"\0\0\0\7something")),
        ("H035", nifti(vox_offset=0, behind=b"tail")),  # where do they begin?
        ("H035", nifti("a.nii.gz", vox_offset=0)),  # nobody knows how long it is
        ("H007", nifti("a.nii.gz", quatern_b=0.9, quatern_c=0.9, quatern_d=0.9, data=b"")),  # no voxels
    ],
    ids=["sign", "bytes-between", "extender", "tail", "length", "truncated"],
)
def test_what_cannot_be_mended_safely_is_not(code: str, make: object, tmp_path: Path) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    before = path.read_bytes()
    told = checked(path, mend=True)
    assert [found.fixed for found in told.findings if found.code == code] == [False]
    assert path.read_bytes() == before


def test_a_damaged_file_stays_as_it_is(tmp_path: Path) -> None:
    path = nifti("scan.nii.gz", bitpix=8, shape=(50, 40, 30))(tmp_path)
    for content in (path.read_bytes()[:-300], path.read_bytes()[:-8] + b"\0" * 8):
        path.write_bytes(content)
        told = checked(path, mend=True)
        assert told.message
        assert [found.fixed for found in told.findings] == [False]
        assert path.read_bytes() == content


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = nifti(bitpix=8)(tmp_path)
    (subject,) = subjects_of(str(path), Settings(codes=("H030",)), Reading())
    other = nifti_bytes(bitpix=8, shape=(6, 4, 3))
    path.write_bytes(other)
    os.utime(path, ns=(1, 1))
    with pytest.raises(StorageError):
        fix(subject, [rule for rule in RULES if rule.code == "H030"])
    assert path.read_bytes() == other


def broken(_: object) -> tuple[Found, ...]:
    return (Found("broken"),)


def rule(mend: Mend, check: object = None) -> Rule:
    return Rule("H999", "made-up", "info", check or (lambda _: ()), "A rule.", mend=lambda _: mend)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_bytes_behind_the_voxels_can_be_cut(name: str, tmp_path: Path) -> None:
    path = nifti(name, behind=b"x" * 5000)(tmp_path)
    (subject,) = subjects_of(str(path), Settings(), Reading())
    assert fix(subject, [rule(Mend(cut=True))]) == ("H999",)
    assert plain(path) == nifti_bytes()


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_file_can_become_compressed_as_its_name_says(name: str, tmp_path: Path) -> None:
    path = nifti("other.nii" if name.endswith(".gz") else "other.nii.gz")(tmp_path).rename(tmp_path / name)
    (subject,) = subjects_of(str(path), Settings(), Reading())
    assert fix(subject, [rule(Mend(recode=True))]) == ("H999",)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    assert plain(path) == nifti_bytes()


@pytest.mark.parametrize(("name", "suffix"), [("a.mha", ".gz"), ("a.nrrd", ""), ("a.nii", ".gz")])
def test_a_wrong_compression_is_mended_in_any_format(name: str, suffix: str, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(60, dtype="int16").reshape(3, 4, 5))
    sitk.WriteImage(image, str(tmp_path / name), useCompression=False)
    path = (tmp_path / name).rename(tmp_path / (name + suffix))
    content = path.read_bytes()
    if not suffix:
        path.write_bytes(gzip.compress(content))
    config = load_config(Wishes(isolated=True, select=("F013",)))
    told = next(iter(check_paths([str(path)], Checking(config=config, fix=True))))
    if path.name == "a.mha.gz":  # MetaImage is never compressed as a whole
        assert not any(found.fixed for found in told.findings)
        return
    assert [found.fixed for found in told.findings] == [True]
    assert plain(path) == content
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == bool(suffix)


def test_a_mend_that_does_not_help_is_not_made(tmp_path: Path) -> None:
    path = nifti()(tmp_path)
    before = path.read_bytes()
    (subject,) = subjects_of(str(path), Settings(), Reading())
    with pytest.raises(StorageError, match="H999 would still be broken"):
        fix(subject, [rule(Mend(fields={"cal_max": 1.0}), broken)])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"srow": (2.0,) * 12}, "sform: moves by 92"),
        ({"vox_offset": 368.0}, "voxels would change|cannot|truncated"),
        ({"dim": (3, 4, 5, 3, 1, 1, 1, 1)}, "shape"),
        ({"descrip": b"other"}, "description"),
        ({"scl_slope": 2.0}, "slope"),
    ],
    ids=["place", "offset", "shape", "text", "slope"],
)
def test_a_mend_that_harms_is_refused(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = nifti(behind=bytes(16))(tmp_path)
    before = path.read_bytes()
    (subject,) = subjects_of(str(path), Settings(), Reading())
    with pytest.raises(StorageError, match=said):
        fix(subject, [rule(Mend(fields=change))])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scan.nii"]


def run(*words: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    import resource

    def hold() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "medimg_cli", "check", "--isolated", "--select", "H", *words]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=env, preexec_fn=hold)


def test_the_command_mends_and_says_so(tmp_path: Path) -> None:
    path = nifti(bitpix=8, sform_code=999)(tmp_path)
    first = run("--fix", str(path))
    assert "H030" in first.stdout and "mended" in first.stdout
    assert first.returncode == 0
    again = run("--fix", str(path))
    assert "H030" not in again.stdout and "H006" in again.stdout


def test_a_disk_that_is_full_costs_nothing_but_one_line(tmp_path: Path) -> None:
    path = nifti(bitpix=8, shape=(50, 40, 30))(tmp_path)
    before = path.read_bytes()
    done = run("--fix", str(path), limit=4096)
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if str(path) in line]) == 1
    assert "Traceback" not in done.stderr
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scan.nii"]


def test_a_file_that_must_not_be_written_is_named(tmp_path: Path) -> None:
    path = nifti(bitpix=8)(tmp_path)
    path.chmod(0o444)
    done = run("--fix", str(path))
    assert done.returncode == 2
    assert "write-protected" in done.stderr
    assert "H030" in done.stdout


def test_bytes_that_nobody_decodes_are_not_lost(tmp_path: Path) -> None:
    path = nifti("scan.nii.gz", bitpix=8)(tmp_path)
    path.write_bytes(path.read_bytes() + b"a signature")
    before = path.read_bytes()
    for more, code in (("--extend-select", "F"), 0), (("--header-only",), 2):
        done = run("--fix", *more, str(path))
        assert (done.returncode, path.read_bytes()) == (code, before), more
        assert ("11 bytes" in done.stderr) == (code == 2)


def test_standard_input_is_never_mended(tmp_path: Path) -> None:
    path = nifti(bitpix=8)(tmp_path)
    command = [sys.executable, "-m", "medimg_cli", "check", "--isolated", "--select", "H", "--fix", "--json", "-"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with path.open("rb") as file:
        done = subprocess.run(command, stdin=file, capture_output=True, text=True, env=env)
    assert '"fixable": false' in done.stdout and '"fixable": true' not in done.stdout


def test_many_files_are_mended_in_a_pool(tmp_path: Path) -> None:
    first = nifti("0.nii.gz", bitpix=8)(tmp_path)
    for number in range(1, 9):
        shutil.copy(first, tmp_path / f"{number}.nii.gz")
    told = list(check_paths([str(tmp_path)], Checking(config=CONFIG, fix=True, jobs=2)))
    assert [found.fixed for each in told for found in each.findings] == [True] * 9
    assert not [found for each in check_paths([str(tmp_path)], Checking(config=CONFIG)) for found in each.findings]

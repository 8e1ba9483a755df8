"""Hold medimg against facts of independent readers, one check a file.

Each check takes the folder of real files and one item of it, and returns a :class:`Result`. None of them
raises for what medimg does wrong.
"""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import proving
import referee
from decisions import Decision, decision_for
from referee import Facts

READERS = ("nib", "sitk", "mrtrix", "pynrrd")
NAMES = {"nib": "nibabel", "sitk": "SimpleITK", "mrtrix": "MRtrix", "pynrrd": "pynrrd"}
SITK_TYPES = {
    "8-bit unsigned integer": "uint8",
    "8-bit signed integer": "int8",
    "16-bit unsigned integer": "uint16",
    "16-bit signed integer": "int16",
    "32-bit unsigned integer": "uint32",
    "32-bit signed integer": "int32",
    "64-bit unsigned integer": "uint64",
    "64-bit signed integer": "int64",
    "32-bit float": "float32",
    "64-bit float": "float64",
    "complex of 32-bit float": "complex64",
    "complex of 64-bit float": "complex128",
}
GEOMETRY_FREE = ("analyze75.hdr", "analyze75.img", "stack.tif")
PEAK_LIMIT = 2 * proving.GIB
BAD_SECONDS = 20.0
PWNED = "PWNED_BY_PICKLE"
#: Files that are not what their name says: they are held to another class.
MISMADE = {"bad/dcm_pixeldata_vl_4GB.dcm": "degenerate"}  # the number stands in the first pixels, not in the length


@dataclass(frozen=True, slots=True)
class Result:
    """Hold what one check found.

    Attributes
    ----------
    group, path : str
        Where the item belongs, and its path below the folder of real files.
    status : str
        ``"pass"``, ``"fail"`` or ``"listed"`` (nothing was required).
    expected, got : str
        In words; `got` is what medimg says.
    agrees : tuple of str
        Readers that give the same answer.
    note : str
        The clause that decides, the class of a bad file, or what went wrong.
    """

    group: str
    path: str
    status: str
    expected: str = ""
    got: str = ""
    agrees: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """Hold what medimg says of a file: values and, where a slope applies, the stored numbers."""

    facts: Facts
    raw: np.ndarray | None
    header: Any
    orientation: str
    problems: tuple[str, ...] = ()

    def describe(self) -> str:
        """Say shape, dtype, orientation and origin in one line."""
        origin = ", ".join(f"{value:.6g}" for value in self.facts.affine[:3, 3])
        slope, inter = self.header.slope or 1.0, self.header.inter or 0.0
        scaling = "" if self.raw is None else f" * {slope:.6g} + {inter:.6g}"
        return f"{tuple(self.header.shape)} {self.header.dtype}{scaling} {self.orientation} origin ({origin})"


def manifest(data: Path) -> list[dict[str, str]]:
    """Return the manifest's rows of volume files."""
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] == "volume file"]


def generated(data: Path) -> list[tuple[str, str, str]]:
    """Return (path below ``_generated``, class, description) of every derived file."""
    with (data / "_generated" / "odd_manifest.csv").open(newline="", encoding="utf-8") as file:
        return [(row["path"], row["class"], row["what"]) for row in csv.DictReader(file)]


def ask(path: Path) -> Said:
    """Read a file with medimg, whole, and check that its own answers fit together."""
    import medimg_cli as mi

    header = mi.read_header(path)
    image = mi.Image(path)
    values = np.asarray(image.numpy())
    raw = None
    if header.slope not in (None, 1.0) or header.inter not in (None, 0.0):
        raw = image.dataobj.read(tuple(range(size) for size in header.shape), raw=True)
    problems = []
    if not tuple(header.shape) == tuple(image.shape) == values.shape:
        problems.append(f"header shape {header.shape}, image {image.shape}, array {values.shape}")
    if raw is not None and (raw.dtype.name != header.dtype or raw.shape != values.shape):
        problems.append(f"raw array is {raw.dtype.name} {raw.shape}, header {header.dtype} {header.shape}")
    affine = np.asarray(image.affine.numpy(), float)
    if not np.array_equal(affine, np.asarray(header.affine.numpy(), float), equal_nan=True):
        problems.append("affine of the image is not the affine of the header")
    facts = Facts(np.moveaxis(values, 0, -1), affine)
    back = None if raw is None else np.moveaxis(raw, 0, -1)
    return Said(facts, back, header, "".join(image.orientation), tuple(problems))


def refusal(error: BaseException, path: Path) -> str:
    """Say how medimg refused `path`; an exception that is not one of its own is marked."""
    from medimg_cli.errors import MedImgError

    line = str(error).splitlines()[0] if str(error) else ""
    line = line.replace(f"{path}: ", "").replace(f"{path.parent}/", "")
    kind = type(error).__name__ if isinstance(error, MedImgError) else f"FOREIGN {type(error).__name__}"
    return f"{kind}: {line[:160]}"


def _components(row: Mapping[str, str]) -> int | None:
    """Return the components of a pixel that the manifest's dtype names; None where it doesn't say."""
    dtype = row["dtype"]
    if dtype.startswith("["):
        return dtype.count("u1")
    return None if dtype.startswith("vector") else 1


def _dtype(row: Mapping[str, str]) -> str | None:
    """Return the NumPy name of the manifest's dtype (of a component), or None where it can't be told."""
    text = row["dtype"].removeprefix("vector of ")
    if text.startswith("["):
        return "uint8"
    if text in SITK_TYPES or not text:
        return SITK_TYPES.get(text)
    return np.dtype(text).newbyteorder("=").name


def _shape_problem(row: Mapping[str, str], shape: tuple[int, ...]) -> str | None:
    """Compare (C, I, J, K) with the manifest's shape, whose axes beyond the third make up C."""
    named = json.loads(row["shape"])
    space = tuple((named + [1, 1])[:3])
    count = int(np.prod(named[3:], dtype=int))
    components = _components(row)
    fits = shape[0] % count == 0 if components is None else shape[0] == count * components
    return None if fits and tuple(shape[1:]) == space else f"shape {shape}, not {named} x {components or 'n'}"


def _scaling_problem(said: Said) -> str | None:
    """Check that values are stored numbers * slope + inter, to 1e-6 of the largest."""
    if said.raw is None:
        return None
    slope = 1.0 if said.header.slope is None else said.header.slope
    expected = said.raw.astype(np.complex128 if np.iscomplexobj(said.raw) else np.float64) * slope
    wrong = referee.same_values(said.facts.array, expected + (said.header.inter or 0.0), relative=1e-6)
    return wrong and f"values are not stored * slope + inter: {wrong}"


def check_agree(data: Path, row: Mapping[str, str]) -> Result:
    """Hold medimg against a row on which the independent readers agree: shape, dtype, affine, voxel hash."""
    expected = f"{row['shape']} {row['dtype']} {row['orientation']}"
    try:
        said = ask(data / row["path"])
    except Exception as error:
        return Result("agree", row["path"], "fail", expected, "", (), refusal(error, data / row["path"]))
    problems = [*said.problems, _shape_problem(row, tuple(said.header.shape)), _scaling_problem(said)]
    if _dtype(row) not in (None, said.header.dtype):
        problems.append(f"dtype {said.header.dtype}, not {_dtype(row)}")
    gap = referee.affine_gap(said.facts, np.array(json.loads(row["affine_RAS"])))
    if not gap <= referee.TOLERANCE_MM:
        problems.append(f"affine is {gap:.6g} away")
    scaled = said.raw is not None and bool(row["sha256_canonical_unscaled"])
    voxels = Facts(said.raw, said.facts.affine) if said.raw is not None and scaled else said.facts
    if referee.canonical_hash(voxels) != row["sha256_canonical_unscaled" if scaled else "sha256_canonical"]:
        problems.append("voxel hash differs" + (" (unscaled)" if scaled else ""))
    wrong = "; ".join(problem for problem in problems if problem)
    return Result("agree", row["path"], "fail" if wrong else "pass", expected, said.describe(), (), wrong)


def _variants(said: Said) -> list[np.ndarray]:
    """Return the arrays another reader may hold: values as given, and scaled in each float type."""
    arrays = [said.facts.array]
    if said.raw is not None and not np.iscomplexobj(said.raw):
        slope, inter = said.header.slope or 1.0, said.header.inter or 0.0
        arrays.append(said.raw.astype(np.float64) * slope + inter)
        arrays.append(said.raw.astype(np.float32) * np.float32(slope) + np.float32(inter))
        arrays.append(said.raw)
    return arrays


def _agreeing(row: Mapping[str, str], said: Said) -> tuple[str, ...]:
    """Name the readers whose hash medimg's voxels give, in medimg's own closest-canonical order."""
    hashes = {referee.canonical_hash(Facts(array, said.facts.affine)) for array in _variants(said)}
    return tuple(name for name in READERS if row.get(f"{name}_sha") and row[f"{name}_sha"] in hashes)


def _stored_order_equal(row: Mapping[str, str], said: Said) -> bool:
    """Say whether the stored voxels are the reference's, whatever the geometry."""
    if not row["affine_RAS"]:
        return False
    affine = np.array(json.loads(row["affine_RAS"]))
    wanted = {row["sha256_canonical"], row["sha256_canonical_unscaled"]} - {""}
    return any(referee.canonical_hash(Facts(array, affine)) in wanted for array in _variants(said))


def _own_answer(path: Path, decision: Decision, said: Said, same_order: bool) -> bool:
    """Hold medimg to a decision that no reader shares: the clause's affine, or nibabel's voxels with other axes."""
    affine, same = decision.affine, same_order
    if decision.space is not None:
        import nibabel

        theirs = nibabel.load(path)
        time = ({0, 1, 2, 3} - set(decision.space)).pop()
        moved = np.asanyarray(theirs.dataobj).transpose(*decision.space, time)
        same = referee.same_values(said.facts.array, moved, relative=1e-6) is None
        affine = theirs.affine
    gap = float(np.max(np.abs(said.facts.affine - np.array(affine))))
    return same and gap <= referee.TOLERANCE_MM


def check_other(data: Path, row: Mapping[str, str]) -> Result:
    """Say what medimg makes of a row without agreement, and hold it to the decision that was taken."""
    decision = decision_for(row["path"])
    readers = [name for name in READERS if row[f"{name}_sha"]]
    note = decision.clause if decision else ""
    follows = decision.follows if decision else tuple(readers)
    expected = " or ".join(NAMES.get(name, name) for name in follows) or "nothing"
    try:
        said = ask(data / row["path"])
    except Exception as error:
        got = refusal(error, data / row["path"])
        fine = "FOREIGN" not in got and (not readers or "refuse" in follows)
        note = note if readers else ""
        return Result(_group(row), row["path"], "pass" if fine else "fail", expected, got, (), note)
    agrees = _agreeing(row, said)
    same_order = _stored_order_equal(row, said)
    fine = bool(set(agrees) & set(follows)) or not follows
    if "own" in follows and decision:
        fine = _own_answer(data / row["path"], decision, said, same_order)
    geometry = ""
    if row["affine_RAS"] and said.facts.array.shape[:3] == tuple((json.loads(row["shape"]) + [1, 1])[:3]):
        gap = referee.affine_gap(said.facts, np.array(json.loads(row["affine_RAS"])))
        geometry = f"; affine {gap:.2g} from the manifest's"
    got = said.describe() + geometry + ("; stored voxels as the manifest's" if same_order and not agrees else "")
    wrong = "; ".join(said.problems)
    status = "fail" if wrong or (readers and not fine) else ("pass" if readers else "listed")
    named = tuple(NAMES[name] for name in agrees)
    return Result(_group(row), row["path"], status, expected, got, named, "; ".join(x for x in (wrong, note) if x))


def _group(row: Mapping[str, str]) -> str:
    return "disagree" if row["verdict"].startswith("DISAGREE") else row["verdict"]


def check_format(data: Path, name: str) -> Result:
    """Hold one container of ``_generated/formats`` against ``ref.nii``: values, dtype, geometry."""
    folder = data / "_generated" / "formats"
    reference = referee.nibabel_facts(folder / "ref.nii")
    expected = "ref.nii"
    try:
        said = ask(folder / name)
    except Exception as error:
        return Result("formats", name, "fail", expected, "", (), refusal(error, folder / name))
    problems = [*said.problems, _scaling_problem(said)]
    note = ""
    if name in GEOMETRY_FREE:
        note = "this container holds no patient axes: voxels compared in stored order"
        problems.append(referee.same_values(said.facts.array, reference.array))
    elif name.endswith(".mnc"):
        note = decision_for("/formats/vol.mnc").clause  # type: ignore[union-attr]
        other = referee.nibabel_facts(folder / name)
        problems.append(referee.same_values(said.facts.array.transpose(2, 1, 0, 3), reference.array, relative=1e-6))
        gap = referee.affine_gap(said.facts, other.affine)
        problems.append(None if gap <= referee.TOLERANCE_MM else f"affine is {gap:.3g} from nibabel's")
    else:
        problems.append(referee.same_values(referee.canonical(said.facts).array, referee.canonical(reference).array))
        gap = referee.affine_gap(said.facts, reference.affine)
        problems.append(None if gap <= referee.TOLERANCE_MM else f"affine is {gap:.3g} away")
    if said.header.dtype != "int16":
        problems.append(f"dtype {said.header.dtype}, not int16")
    wrong = "; ".join(problem for problem in problems if problem)
    return Result("formats", name, "fail" if wrong else "pass", expected, said.describe(), (), wrong or note)


def odd_reference(path: Path) -> tuple[Facts, Facts | None, str]:
    """Return values, stored numbers and stored dtype as nibabel, else SimpleITK, sees them."""
    if path.suffix in (".nrrd", ".mha"):
        facts = referee.sitk_facts(path)
        return facts, None, facts.array.dtype.name
    import nibabel

    dtype = nibabel.load(path).header.get_data_dtype()
    facts, raw = referee.nibabel_facts(path), referee.nibabel_facts(path, scaled=False)
    return facts, raw, "uint8" if dtype.names else dtype.newbyteorder("=").name


def check_valid(data: Path, name: str, group: str = "odd") -> Result:
    """Hold a strange but valid file against an independent reader: stored numbers, values, dtype, affine."""
    path = data / "_generated" / name
    decision = decision_for(f"_generated/{name}")
    values, stored, dtype = odd_reference(path)
    affine = np.array(decision.affine) if decision and decision.affine else values.affine
    expected = f"{values.array.shape} {dtype}"
    try:
        said = ask(path)
    except Exception as error:
        return Result(group, name, "fail", expected, "", (), refusal(error, path))
    problems = [*said.problems, _scaling_problem(said)]
    own = said.facts.array if said.raw is None else said.raw
    theirs = values.array if stored is None else stored.array
    wrong = referee.same_values(own, theirs)
    problems.append(wrong and f"stored numbers: {wrong}")
    wrong = referee.same_values(said.facts.array, values.array, relative=1e-6)
    problems.append(wrong and f"values: {wrong}")
    if said.header.dtype != dtype:
        problems.append(f"dtype {said.header.dtype}, not {dtype}")
    gap = float(np.max(np.abs(said.facts.affine - affine)))
    problems.append(None if gap <= referee.TOLERANCE_MM else f"affine is {gap:.4g} away")
    text = "; ".join(problem for problem in problems if problem)
    note = decision.clause if decision else ""
    return Result(group, name, "fail" if text else "pass", expected, said.describe(), (), text or note)


def check_listed(data: Path, name: str, what: str) -> Result:
    """Say what medimg makes of a degenerate file; only an exception that is not its own fails."""
    try:
        said = ask(data / "_generated" / name)
    except Exception as error:
        got = "refused: " + refusal(error, data / "_generated" / name)
        return Result("degenerate", name, "fail" if "FOREIGN" in got else "listed", "", got, (), what)
    warnings = " | ".join(said.header.warnings)
    return Result("degenerate", name, "listed", "", said.describe() + (f" [{warnings}]" if warnings else ""), (), what)


def _leaks(text: bytes) -> str | None:
    """Say which secret of this machine `text` gives away."""
    for secret in (Path("/etc/passwd"), Path("/etc/hostname")):
        try:
            content = secret.read_bytes()[:12]
        except OSError:
            continue
        if len(content) >= 4 and content in text:
            return f"holds bytes of {secret}"
    return None


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _voice_problems(outcome: proving.Outcome) -> list[str]:
    """Check the manners of any run on a bad file: no hang, signal, traceback, echo or waste."""
    found = []
    if outcome.timed_out:
        found.append(f"no end within {BAD_SECONDS:.0f} s")
    elif outcome.code < 0:
        found.append(f"killed by signal {-outcome.code}")
    if outcome.traceback:
        found.append("traceback: " + outcome.err_lines[-1][:100])
    control = proving.control_bytes(outcome.out + outcome.err)
    if control:
        found.append(f"control bytes {control!r} echoed")
    leak = _leaks(outcome.out + outcome.err)
    if leak:
        found.append("output " + leak)
    if outcome.peak > PEAK_LIMIT:
        found.append(f"{outcome.peak / proving.GIB:.1f} GiB of memory")
    return found


def check_bad(data: Path, name: str, kind: str, what: str) -> Result:
    """Give a bad file to ``medimg convert`` and ``medimg info`` and hold both to the promises for its class.

    invalid, bomb: convert refuses with exit code 2 and one line, and leaves no file. hostile: refused, or
    read without the attack. degenerate: refused or read.
    """
    path = data / "_generated" / name
    kind = MISMADE.get(name, kind)
    with tempfile.TemporaryDirectory(prefix="medimg-bad-") as scratch:
        options: dict[str, Any] = {"timeout": BAD_SECONDS, "env": {"TMPDIR": scratch}, "cwd": scratch}
        target = Path(scratch) / "out.nii.gz"
        converted = proving.medimg("convert", path, target, **options)
        problems = _voice_problems(converted)
        refused = proving.one_line(converted)
        must = kind in ("invalid", "bomb")
        if refused and (must or converted.code != 0):
            problems.append(f"convert: {refused}")
        left = sorted(entry.name for entry in Path(scratch).iterdir() if entry.name != "out.json")  # a sidecar
        if target.exists() and kind == "hostile":
            problems.append(_leaks(_unpacked(target)) or "")
        wanted = [target.name] if converted.code == 0 else []
        if left != wanted:
            problems.append(f"left behind: {left}")
        asked = [["info"], ["info", "--json"], ["info", "--all"]] if kind == "hostile" else [["info"]]
        for words in asked:
            outcome = proving.medimg(*words, path, **options)
            problems += [f"{' '.join(words)}: {problem}" for problem in _voice_problems(outcome)]
            if outcome.code not in (0, 2):
                problems.append(f"{' '.join(words)}: exit code {outcome.code}")
        if (Path(scratch) / PWNED).exists() or (Path("/tmp") / PWNED).exists():
            problems.append("ran a pickle")
    text = "; ".join(dict.fromkeys(problem for problem in problems if problem))
    said = converted.err_lines[-1] if converted.err_lines else f"exit code {converted.code}"
    said = said.replace(f"{path}: ", "").replace(f"{data}/_generated/", "")
    group = f"bad: {kind}"
    needed = must or kind == "hostile"
    status = "fail" if text else ("pass" if needed else "listed")
    peak = f" [{converted.peak >> 20} MiB, {converted.seconds:.2f} s]"
    expected = "refused" if must else ("refused or neutralised" if kind == "hostile" else "refused or read")
    got = ("refused: " if converted.code else "read: ") + said + peak
    return Result(group, name, status, expected, got, (), text or what)


__all__ = [
    "Result",
    "check_agree",
    "check_bad",
    "check_format",
    "check_listed",
    "check_other",
    "check_valid",
    "generated",
    "manifest",
]

"""Checks in CI: the hooks of pre-commit, the GitHub Action, and every block of docs/ci.md, run as a user would run them.

Nothing here needs a network: a hook or the action installs this checkout beside the libraries that are there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import medimg_cli
from medimg_cli.affine import AffineMatrix
from medimg_cli.backends import ArrayBackend
from medimg_cli.formats import FORMATS
from medimg_cli.formats.writing import save_backend
from medimg_cli.header import Header
from tests.helpers import AFFINES, affine

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
HOOKS: dict[str, dict[str, Any]] = {
    hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
}
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
#: Blocks of the page that are files, by the name in their first line.
FILES = {
    name: text
    for text, name in re.findall(r"^```(?:yaml|make|toml)\n(# ([\w./-]+)\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
#: What stands on the page in place of things that only the reader knows.
PLACEHOLDERS = ("https://github.com/OWNER/medimg", f"v{medimg_cli.__version__}")
#: What an installation needs of this checkout.
SOURCES = ("medimg_cli", "man", "completions", "pyproject.toml", "README.md", "LICENSE", "hatch_build.py")

#: Turned a little, left-handed, no two steps alike.
PLACE = AffineMatrix.from_spacing(
    (0.9, 1.25, 1.4), origin=(31, -28, 14), direction=affine((4, -3, 7), (1, 1, 1), (-1, -1, 1)).direction
)

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
needs_precommit = pytest.mark.skipif(
    not (Path(sysconfig.get_path("purelib")) / "pre_commit").exists(), reason="needs pre-commit"
)


# images, and how to run things


def write(path: Path, values: np.ndarray[Any, Any], **fields: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    save_backend(ArrayBackend(values, Header(shape=values.shape, dtype=values.dtype.name, **fields)), str(path))


def write_good(path: Path, seed: int = 0, affine: AffineMatrix = PLACE) -> None:
    """Write an image in which nothing is wrong: no two sides alike, every slice with values of its own."""
    write(path, np.random.default_rng(seed).normal(400, 90, (1, 13, 12, 11)).astype("int16"), affine=affine)


def write_labels(path: Path, second: int = 2, affine: AffineMatrix = PLACE) -> None:
    """Write a label map with two labels on the grid of a good image."""
    values = np.zeros((1, 13, 12, 11), "uint8")
    values[:, 2:6, 3:8, 1:9], values[:, 8:12, 3:8, 2:9] = 1, second
    write(path, values, affine=affine, intent="label")


def write_truncated(path: Path) -> None:
    """Write the first two thirds of a good image, as a copy that was broken off does."""
    write_good(path, seed=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def clean_environment(**changes: str) -> dict[str, str]:
    """Return an environment in which nothing of git, pip, pre-commit or a CI server is set."""
    foreign = ("GIT_", "PIP_", "GITHUB_", "RUNNER_", "PRE_COMMIT", "PYTHON", "VIRTUAL_ENV", "FORCE_COLOR", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*foreign, "MAKE", "MFLAGS"))}
    who = {f"GIT_{role}_{what}": "a@b.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "npm_config_offline": "true"}
    return {**kept, **who, **nothing, **changes}


@pytest.fixture
def shell(tmp_path: Path) -> Mapping[str, str]:
    """Return an environment in which ``medimg`` is this checkout and ``python`` the one that runs the tests."""
    programs = tmp_path / "bin"
    programs.mkdir()
    medimg = programs / "medimg"
    medimg.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m medimg_cli "$@"\n')
    medimg.chmod(0o755)
    search = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return clean_environment(PATH=search, PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1")


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that is installed here, except medimg."""
    folder = tmp_path_factory.mktemp("libraries")
    for place in dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")):
        for entry in sorted(Path(place).iterdir()):
            if "medimg" not in entry.name and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="module")
def offline(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return an environment in which pip installs this checkout without a network, beside the libraries of the tests."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_CACHE_DIR": "1"}
    data = tmp_path_factory.mktemp("virtualenv")
    settings |= {"VIRTUALENV_NO_PERIODIC_UPDATE": "1", "VIRTUALENV_OVERRIDE_APP_DATA": str(data)}
    return clean_environment(PATH=search, PYTHONPATH=str(libraries), **settings)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a git repository with what users get of medimg."""
    folder = tmp_path_factory.mktemp("checkout") / "medimg"
    folder.mkdir()
    for name in (*SOURCES, ".pre-commit-hooks.yaml", "action.yml"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    if shutil.which("git"):
        git = ["git", "-C", str(folder)]
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "all"]):
            subprocess.run([*git, *words], env=clean_environment(), check=True)
        subprocess.run([*git, "tag", PLACEHOLDERS[1]], env=clean_environment(), check=True)
    return folder


def run(*words: object, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )


# -- the hooks


def endings() -> Iterator[str]:
    """Yield all endings of files that medimg reads; a Zarr store is a folder, and archives are only read if named."""
    for row in FORMATS:
        if row.name not in ("zarr", "archive"):
            for suffix in row.suffixes:
                yield from (suffix + c for c in (("", ".gz", ".bz2", ".xz", ".zst") if row.compressed else ("",)))


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_hooks_take_every_file_that_medimg_reads_and_no_other(name: str) -> None:
    taken = re.compile(HOOKS[name]["files"])
    assert len(set(endings())) > 70
    for ending in endings():
        assert taken.search(f"sub-01/anat/a b{ending}") and taken.search(f"X{ending.upper()}"), ending
    for other in (
        "README.md",
        "nii",
        "a.nii.txt",
        "nii.gz.py",
        "a.gz",
        "a.json",
        "a.bval",
        "a.tar.gz",
        "xnii",
        "a.zip",
    ):
        assert not taken.search(other), other
    assert bool(taken.search("data/medimg.toml")) is (not HOOKS[name].get("pass_filenames", True))


@needs_precommit
def test_hooks_are_what_pre_commit_expects(tmp_path: Path) -> None:
    checking = (sys.executable, "-m", "pre_commit", "validate-manifest")
    assert run(*checking, ".pre-commit-hooks.yaml", cwd=ROOT, env=clean_environment()).returncode == 0
    broken = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8").replace("language: python", "language: no")
    (tmp_path / "broken.yaml").write_text(broken, encoding="utf-8")
    assert run(*checking, tmp_path / "broken.yaml", cwd=ROOT, env=clean_environment()).returncode == 1


class Repository(NamedTuple):
    """A git repository with images, in which pre-commit is installed."""

    folder: Path
    env: Mapping[str, str]

    def git(self, *words: object) -> subprocess.CompletedProcess[str]:
        return run("git", *words, cwd=self.folder, env=self.env)

    def commit(self) -> subprocess.CompletedProcess[str]:
        self.git("add", "--all")
        return self.git("commit", "-m", "more images")


@pytest.fixture
def repository(tmp_path: Path, checkout: Path, offline: Mapping[str, str]) -> Repository:
    """Do what docs/ci.md says, with this checkout in place of the repository on the net."""
    folder = tmp_path / "images"
    folder.mkdir()
    made = Repository(folder, {**offline, "PRE_COMMIT_HOME": str(tmp_path / "pre-commit")})
    config = FILES[".pre-commit-config.yaml"]
    assert all(config.count(placeholder) == 1 for placeholder in PLACEHOLDERS)
    (folder / ".pre-commit-config.yaml").write_text(config.replace(PLACEHOLDERS[0], str(checkout)), encoding="utf-8")
    assert made.git("init", "--quiet").returncode == 0
    assert run(sys.executable, "-m", "pre_commit", "install", cwd=folder, env=made.env).returncode == 0
    return made


@needs_git
@needs_precommit
def test_a_commit_with_a_broken_image_is_refused(repository: Repository, tmp_path: Path) -> None:
    """pre-commit clones this checkout, builds it, makes an environment for it, and runs what is installed there."""
    write_good(repository.folder / "sub 01" / "t1 'a' $x.nii.gz")
    (repository.folder / "notes.txt").write_text("no image\n")
    done = repository.commit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "medimg check" in done.stderr and "Passed" in done.stderr
    (installed,) = tmp_path.glob("pre-commit/repo*/py_env-*/lib/python3*/site-packages/medimg_cli")
    assert not installed.is_symlink()

    write_truncated(repository.folder / "sub 02" / "t1.nii.gz")
    write_good(repository.folder / "sub 03" / "t1.nii.gz")
    done = repository.commit()
    assert done.returncode == 1 and "truncated" in done.stderr and "sub 02/t1.nii.gz" in done.stderr
    assert "sub 01" not in done.stderr and "sub 03" not in done.stderr
    assert repository.git("log", "--oneline").stdout.count("\n") == 1

    (repository.folder / "sub 02" / "t1.nii.gz").unlink()
    assert repository.commit().returncode == 0

    # Behind a link, as git-annex has it, and everything at once, with the other hook.
    write_truncated(tmp_path / "store" / "broken.nii.gz")
    (repository.folder / "linked.nii.gz").symlink_to(tmp_path / "store" / "broken.nii.gz")
    done = repository.commit()
    assert done.returncode == 1 and "linked.nii.gz" in done.stderr
    (repository.folder / "linked.nii.gz").unlink()

    config = repository.folder / ".pre-commit-config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("medimg-check", "medimg-check-all"), encoding="utf-8")
    assert repository.commit().returncode == 0, "no image changes, so nothing runs"
    write_truncated(repository.folder / "old.nii.gz")
    repository.git("add", "--all")
    assert repository.git("commit", "--no-verify", "-m", "broken").returncode == 0
    write_good(repository.folder / "new.nii.gz")
    done = repository.commit()
    assert done.returncode == 1 and "old.nii.gz" in done.stderr


# -- the action


def schema_says(kind: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Ask check-jsonschema, which brings the schemas along, what is wrong with a file."""
    pytest.importorskip("check_jsonschema")
    checking = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{kind}")
    return run(*checking, path, cwd=ROOT, env=clean_environment())


def test_the_action_is_one(tmp_path: Path) -> None:
    assert schema_says("github-actions", ROOT / "action.yml").returncode == 0
    broken = tmp_path / "action.yml"
    broken.write_text((ROOT / "action.yml").read_text(encoding="utf-8").replace("shell: bash", "shel: bash"))
    assert schema_says("github-actions", broken).returncode == 1


def test_no_input_of_the_action_is_read_as_code() -> None:
    scripts = [step for step in ACTION["runs"]["steps"] if "run" in step]
    assert len(scripts) == 2
    assert not [step["name"] for step in scripts if "${{" in step["run"] or step["shell"] != "bash"]
    used = re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8"))
    assert set(used) == set(ACTION["inputs"])


def test_every_input_of_the_action_is_on_the_page() -> None:
    table = re.search(r"^\| input \| says \|\n.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert table is not None
    assert re.findall(r"`([\w-]+)`", " ".join(re.findall(r"^\|(.*?)\|", table.group(), re.MULTILINE))) == list(
        ACTION["inputs"]
    )


class Runner(NamedTuple):
    """What runs the steps of the action: as GitHub does, as far as scripts can tell."""

    workspace: Path
    temp: Path
    here: Path
    env: Mapping[str, str]

    def step(self, name: str, inputs: Mapping[str, str]) -> tuple[int, str, dict[str, str]]:
        """Run a step; return its exit code, what it says, and its outputs."""
        (step,) = (step for step in ACTION["runs"]["steps"] if step.get("name") == name)
        assert set(inputs) <= set(ACTION["inputs"])
        values = {f"inputs.{each}": inputs.get(each, row["default"]) for each, row in ACTION["inputs"].items()}
        values["github.action_path"] = str(self.here)
        env = {each: values[text.removeprefix("${{").removesuffix("}}").strip()] for each, text in step["env"].items()}
        outputs, script = self.temp / "outputs", self.temp / "script.sh"
        outputs.write_text("")
        script.write_text(step["run"])
        given = {**self.env, **env, "RUNNER_TEMP": str(self.temp), "GITHUB_OUTPUT": str(outputs), "CI": "true"}
        bash = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script)
        done = run(*bash, cwd=self.workspace, env=given)
        lines = [line.partition("=") for line in outputs.read_text().splitlines()]
        return done.returncode, done.stdout + done.stderr, {key: value for key, _, value in lines}


@pytest.fixture
def runner(tmp_path: Path, shell: Mapping[str, str]) -> Runner:
    """Return a runner on which medimg is this checkout."""
    made = Runner(tmp_path / "work space", tmp_path / "runner's temp", ROOT, shell)
    made.workspace.mkdir()
    made.temp.mkdir()
    return made


@needs_bash
def test_the_action_installs_itself_and_checks(
    tmp_path: Path, checkout: Path, offline: Mapping[str, str], runner: Runner
) -> None:
    fresh = runner._replace(here=checkout, env=offline)
    write_good(fresh.workspace / "data" / "good.nii.gz")
    code, said, _ = fresh.step("Install medimg", {})
    assert code == 0, said
    assert list(fresh.temp.glob("medimg/lib/python3*/site-packages/medimg_cli"))
    code, said, outputs = fresh.step("Check images", {"paths": "data"})
    assert code == 0 and "::" not in said and outputs == {"exit-code": "0", "findings": "0"}

    write_truncated(fresh.workspace / "data" / "broken.nii.gz")
    inputs = {"paths": "data", "sarif": "medimg.sarif", "junit": "reports.xml"}
    code, said, outputs = fresh.step("Check images", inputs)
    assert code == 1 and outputs == {"exit-code": "1", "findings": "1"}
    assert re.search(r"^::error file=data/broken\.nii\.gz,.*::.*truncated", said, re.MULTILINE)
    assert "data/broken.nii.gz" in (fresh.workspace / "medimg.sarif").read_text(encoding="utf-8")
    assert "data/broken.nii.gz" in (fresh.workspace / "reports.xml").read_text(encoding="utf-8")

    code, _, outputs = fresh.step("Check images", {"paths": "nothing here"})
    assert code == 2 and outputs["exit-code"] == "2"

    code, said, _ = fresh.step("Install medimg", {"version": "0.0.1", "extras": "zst,minc"})
    named = re.search(r"medimg-cli(\[minc,zst\])?==0\.0\.1", said)  # versions of pip differ in whether they name extras
    assert code == 1 and named, "nothing can be had without an index"


HOSTILE = 'it\'s "odd" $(touch pwned) `touch pwned` ; touch pwned & * {a,b} \\ %'


@needs_bash
def test_names_and_inputs_are_never_code(runner: Runner) -> None:
    write_truncated(runner.workspace / HOSTILE / "-rf.nii.gz")
    write_truncated(runner.workspace / "--help.nii.gz")
    paths = f"{HOSTILE}\n--help.nii.gz\r\n"
    code, _, outputs = runner.step("Check images", {"paths": paths, "sarif": f"{HOSTILE}.sarif"})
    assert code == 1 and outputs == {"exit-code": "1", "findings": "2"}
    assert (runner.workspace / f"{HOSTILE}.sarif").exists()
    others = set(ACTION["inputs"]) - {"paths", "sarif", "version", "extras", "python-version"}
    code, _, outputs = runner.step("Check images", dict.fromkeys(others, HOSTILE))
    assert code == 2 and outputs == {"exit-code": "2", "findings": "2"}
    for name in ("version", "extras"):
        code, said, _ = runner.step("Install medimg", {name: HOSTILE})
        assert code == 2 and said.startswith(f"::error::{name}: not ") and "pwned" not in said
    assert {path.name for path in runner.workspace.iterdir()} == {HOSTILE, f"{HOSTILE}.sarif", "--help.nii.gz"}


@needs_bash
def test_rules_reach_the_command(runner: Runner) -> None:
    write_truncated(runner.workspace / "broken.nii.gz")
    for inputs, expected in (
        ({"ignore": "H, F"}, 0),
        ({"select": "H001,F"}, 1),
        ({"select": "H001 H002", "extend-select": "F001"}, 0),
        ({"arguments": "--header-only\n--ignore\nF"}, 0),
        ({"error-on": "catastrophe"}, 2),
        ({"config": "nowhere.toml"}, 2),
    ):
        code, said, outputs = runner.step("Check images", inputs)
        assert code == expected and outputs["exit-code"] == str(expected), (inputs, said)


# -- the page


def test_the_page_has_the_files_that_it_speaks_of() -> None:
    assert set(FILES) == {
        *(".pre-commit-config.yaml", ".github/workflows/images.yml", ".gitlab-ci.yml", "Makefile", "medimg.toml"),
    }
    assert HOOKS.keys() == set(re.findall(r"^\| `(medimg-[\w-]+)`", PAGE, re.MULTILINE))


@pytest.mark.parametrize(
    ("name", "kind"), [(".github/workflows/images.yml", "github-workflows"), (".gitlab-ci.yml", "gitlab-ci")]
)
def test_workflows_are_what_their_servers_expect(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(FILES[name], encoding="utf-8")
    assert schema_says(kind, path).returncode == 0
    path.write_text(re.sub("runs-on|when", "wen", FILES[name]), encoding="utf-8")
    assert schema_says(kind, path).returncode == 1


def test_the_github_workflow_gives_the_action_what_it_takes() -> None:
    steps = yaml.safe_load(FILES[".github/workflows/images.yml"])["jobs"]["check"]["steps"]
    (step,) = (step for step in steps if "medimg@" in step["uses"])
    assert step["uses"] == f"OWNER/medimg@{PLACEHOLDERS[1]}"
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert step["with"]["sarif"] == steps[-1]["with"]["sarif_file"]


@needs_bash
def test_the_gitlab_job_reports_a_broken_image(tmp_path: Path, shell: Mapping[str, str]) -> None:
    (job,) = yaml.safe_load(FILES[".gitlab-ci.yml"]).values()
    write_truncated(tmp_path / "data" / "broken.nii.gz")
    script = "\n".join(["set -e", *job["script"]])
    assert run("bash", "-c", script, cwd=tmp_path, env=shell).returncode == 1
    report = (tmp_path / job["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8")
    assert "data/broken.nii.gz" in report and "<failure" in report
    write_good(tmp_path / "data" / "broken.nii.gz")
    assert run("bash", "-c", script, cwd=tmp_path, env=shell).returncode == 0
    assert "<failure" not in (tmp_path / job["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8")


@needs_bash
def test_the_configuration_does_what_the_page_says(tmp_path: Path, shell: Mapping[str, str]) -> None:
    (tmp_path / "medimg.toml").write_text(FILES["medimg.toml"], encoding="utf-8")

    def found() -> set[tuple[str, str]]:
        done = run("medimg", "check", "data", "--format", "jsonl", cwd=tmp_path, env=shell)
        records = [json.loads(line) for line in done.stdout.splitlines()]
        assert done.returncode == bool(records), done.stderr
        return {(record["path"], record["code"][0]) for record in records}

    image, labels = tmp_path / "data" / "images" / "a.nii.gz", tmp_path / "data" / "labels" / "a.nii.gz"
    write_good(image)
    write_labels(labels)
    write_truncated(tmp_path / "data" / "raw" / "b.nii.gz")
    assert found() == set()
    write_labels(labels, 5)
    assert found() == {("data/labels/a.nii.gz", "L")}
    write_labels(labels, affine=AFFINES["left-handed"])
    assert ("data/labels/a.nii.gz", "S") in found()
    labels.unlink()
    assert ("data/images/a.nii.gz", "S") in found()
    write_good(image, affine=AFFINES["sheared"])
    assert ("data/images/a.nii.gz", "E") in found()


@needs_bash
def test_what_is_known_of_old_data_is_not_told_again(tmp_path: Path, shell: Mapping[str, str]) -> None:
    save, write_down, look_again = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    write_truncated(tmp_path / "data" / "old.nii.gz")
    done = run("bash", "-c", save, cwd=tmp_path, env=shell)
    assert done.returncode == 1 and "data/old.nii.gz" in done.stdout
    assert {path.name for path in tmp_path.glob("medimg.*")} == {"medimg.xml", "medimg.sarif"}
    assert run("bash", "-c", look_again, cwd=tmp_path, env=shell).returncode == 2, "nothing is written down yet"
    assert run("bash", "-c", write_down, cwd=tmp_path, env=shell).returncode == 0
    done = run("bash", "-c", look_again, cwd=tmp_path, env=shell)
    assert done.returncode == 0 and done.stdout == ""
    write_truncated(tmp_path / "data" / "new.nii.gz")
    done = run("bash", "-c", look_again, cwd=tmp_path, env=shell)
    assert done.returncode == 1 and "new.nii.gz" in done.stdout and "old.nii.gz" not in done.stdout


@needs_make
def test_make_checks_again_only_what_changed(tmp_path: Path, shell: Mapping[str, str]) -> None:
    (tmp_path / "Makefile").write_text(FILES["Makefile"], encoding="utf-8")
    for name in ("a.nii.gz", "sub/b.nii.gz", "sub/c.nii"):
        write_good(tmp_path / "data" / name)

    def checked(*words: str, code: int = 0) -> set[str]:
        done = run("make", *words, cwd=tmp_path, env=shell)
        assert done.returncode == code, done.stdout + done.stderr
        return set(re.findall(r"^medimg check --quiet (\S+)$", done.stdout, re.MULTILINE))

    everything = {"data/a.nii.gz", "data/sub/b.nii.gz", "data/sub/c.nii"}
    assert checked("-j2", "-k", "check") == everything
    assert checked("check") == set()
    age(tmp_path)
    write_truncated(tmp_path / "data" / "sub" / "b.nii.gz")
    assert checked("check", code=2) == {"data/sub/b.nii.gz"}
    assert checked("train", code=2) == {"data/sub/b.nii.gz"}, "what was found wrong is not forgotten"
    write_good(tmp_path / "data" / "sub" / "b.nii.gz")
    done = run("make", "train", cwd=tmp_path, env=shell)
    assert done.returncode == 0 and done.stdout.endswith("train on 3 images\n")
    age(tmp_path)
    (tmp_path / "medimg.toml").write_text(FILES["medimg.toml"], encoding="utf-8")
    assert checked("--dry-run", "check") == everything, "what is expected has changed"


def age(folder: Path) -> None:
    """Make all files a minute older: what is written next is newer than they are, whatever the clock of the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime_ns - 60 * 10**9
            os.utime(path, ns=(then, then))

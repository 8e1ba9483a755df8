"""Many paths: order, jobs, what fails, and rules over the set of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import medimg_cli as mi
from medimg_cli.checks import rules
from medimg_cli.checks.checking import Checked, Checking, check_paths, find
from medimg_cli.checks.config import Wishes
from medimg_cli.checks.configuring import load_config
from medimg_cli.checks.examining import examine, plan_for, subjects_of
from medimg_cli.checks.rule import Found, Rule
from medimg_cli.formats.reading import Reading
from tests.helpers import AFFINES

CHANCE = np.random.default_rng(7)


def save(path: Path, array: np.ndarray | None = None) -> Path:
    array = CHANCE.integers(1, 900, (1, 7, 6, 5)).astype("int16") if array is None else array
    mi.ScalarImage(array, affine=AFFINES["left-handed"]).save(path)
    return path


def checked(*paths: Path | str, jobs: int = 1, **wishes: object) -> list[Checked]:
    config = load_config(Wishes(isolated=True, **wishes))  # type: ignore[arg-type]
    return list(check_paths(map(str, paths), Checking(config=config, jobs=jobs)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a data set of 40 images; every seventh is cut off, and one is empty."""
    for n in range(40):
        path = save(tmp_path / f"sub-{n:02d}" / "t1.nii.gz") if (tmp_path / f"sub-{n:02d}").mkdir() is None else None
        assert path is not None
        if n % 7 == 3:
            path.write_bytes(path.read_bytes()[:-30])
    (tmp_path / "sub-11" / "t1.nii.gz").write_bytes(b"")
    return tmp_path


def test_several_jobs_say_the_same_in_the_same_order(tree: Path) -> None:
    alone = checked(tree, tree / "missing.nii", tree / "sub-03" / "t1.nii.gz", select=("F",))
    several = checked(tree, tree / "missing.nii", tree / "sub-03" / "t1.nii.gz", select=("F",), jobs=3)
    assert [(each.path, each.findings, each.message) for each in several] == [
        (each.path, each.findings, each.message) for each in alone
    ]
    assert [Path(each.path).parent.name for each in alone[:40]] == [f"sub-{n:02d}" for n in range(40)]
    broken = [Path(each.path).parent.name for each in alone[:40] if each.findings]
    assert broken == ["sub-03", "sub-10", "sub-11", "sub-17", "sub-24", "sub-31", "sub-38"]
    assert "no such file" in alone[40].message


def test_an_image_that_is_named_twice_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub" / "a.nii").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    for jobs in (1, 2):
        told = checked("sub/a.nii", ".", "sub//a.nii", "./sub", "gone.nii", "gone.nii", jobs=jobs, select=("F",))
        assert [(each.path, len(each.findings)) for each in told] == [("sub/a.nii", 1), ("gone.nii", 0)]


def test_what_a_file_holds_is_a_finding_and_what_nobody_can_look_at_is_not(tmp_path: Path) -> None:
    (tmp_path / "text.nii").write_text("no image")
    (tmp_path / "empty").mkdir()
    text, empty, gone = checked(tmp_path / "text.nii", tmp_path / "empty", tmp_path / "gone.nii")
    assert [each.severity for each in text.findings] == ["error"] and not text.message
    assert not empty.findings and "no images" in empty.message
    assert not gone.findings and gone.message.endswith("no such file")


def test_what_was_asked_for_is_no_fault_of_a_file(tmp_path: Path) -> None:
    wanted = Checking(config=load_config(Wishes(isolated=True)), reading=Reading(series="7"))
    (told,) = check_paths([str(save(tmp_path / "a.nii"))], wanted)
    assert not told.findings and "leave out --series" in told.message


def test_header_rules_read_no_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii.gz", CHANCE.integers(1, 900, (1, 40, 41, 42)).astype("int16"))
    stream = bytearray(path.read_bytes())
    stream[-8:-4] = bytes(4)  # the checksum: only who reads to the end comes across it
    path.write_bytes(stream)
    (told,) = checked(path, header_only=True)
    assert not told.findings
    (told,) = checked(path)
    assert [each.severity for each in told.findings if each.code.startswith("F")] == ["error"]
    monkeypatch.setattr("medimg_cli.statistics.blocks.value_boxes", lambda *_, **__: pytest.fail("voxels were read"))
    checked(save(tmp_path / "b.nii"), header_only=True)


def test_all_gatherers_share_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medimg_cli.statistics import blocks

    passes = []
    value_boxes = blocks.value_boxes

    def counted(*words: object, **more: object) -> Iterator[object]:
        passes.append(words)
        yield from value_boxes(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(blocks, "value_boxes", counted)
    path = save(tmp_path / "a_dseg.nii.gz", CHANCE.integers(0, 3, (1, 7, 6, 5)).astype("uint8"))
    checked(path, select=("all",))
    assert len(passes) == 1
    assert len(plan_for(tuple(rules.RULES)).gathers) > 2


def test_a_rule_over_a_set_holds_where_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(data: object) -> Iterator[Found]:
        yield from (Found(f"one of {len(data.profiles)}", path=each.path) for each in data.profiles)  # type: ignore[attr-defined]
        yield Found("a partner is missing", path=str(tmp_path / "partner.nii"))

    monkeypatch.setitem(rules.RULES, "S999", Rule("S999", "many", "warning", many, "There are few.", over="set"))
    (tmp_path / "medimg.toml").write_text(
        '[check]\nselect = ["S999"]\n[[check.overrides]]\npaths = ["b.nii"]\nignore = ["S999"]\n'
    )
    for name in "abc":
        save(tmp_path / f"{name}.nii")
    found = mi.check([tmp_path], config=tmp_path / "medimg.toml")
    assert [(Path(each.path).name, each.message) for each in found] == [
        ("a.nii", "one of 3"),
        ("c.nii", "one of 3"),
        ("partner.nii", "a partner is missing"),
    ]


def test_excluded_paths_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "medimg.toml").write_text('[check]\nexclude = ["derivatives"]\n')
    (tmp_path / "derivatives").mkdir()
    save(tmp_path / "derivatives" / "a.nii").write_bytes(b"")
    save(tmp_path / "b.nii")
    config = load_config(Wishes(config=str(tmp_path / "medimg.toml")))
    wanted = Checking(config=config)
    left_out = Checked(str(tmp_path / "derivatives" / "a.nii"), excluded=True)
    assert find([str(tmp_path)], wanted) == [str(tmp_path / "b.nii"), left_out]
    assert list(check_paths([left_out.path], wanted)) == [left_out]


def test_a_worker_that_is_killed_is_said_of_its_paths_only(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.nii") for n in range(3)]
    (tmp_path / "killing.py").write_text(
        "import os, signal\nfrom medimg_cli.checks import checking\n\n"
        "def examine_paths(task, wanted, *, threads):\n"
        "    if task.input.endswith('1.nii'):\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return checking.examine_paths(task, wanted, threads=threads)\n"
    )
    import subprocess
    import sys

    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from medimg_cli.checks import checking\nfrom medimg_cli.checks.config import Wishes\n"
        "from medimg_cli.checks.configuring import load_config\n"
        "if __name__ == '__main__':\n"
        "    checking.__name__ = 'killing'\n"
        "    wanted = checking.Checking(config=load_config(Wishes(isolated=True)), jobs=2)\n"
        "    for each in checking.check_paths(sys.argv[2:], wanted):\n"
        "        print(bool(each.message), 'killed' in each.message)\n"
    )
    (tmp_path / "main.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**__import__("os").environ, "PYTHONPATH": f"{Path(mi.__file__).parents[1]}:{tmp_path}"},
    )
    assert done.stdout.split("\n")[:3] == ["False False", "True True", "False False"], done.stderr


def test_the_library_says_what_the_command_says(tree: Path) -> None:
    found = mi.check(tree, select="F", jobs=2)
    assert {each.severity for each in found} == {"error"} and len(found) == 7
    assert mi.check(str(tree), select=["F"], ignore="F") == []
    with pytest.raises(mi.StorageError, match="no such file"):
        mi.check([tree / "gone.nii"])
    with pytest.raises(mi.UsageError):
        mi.check(tree, select="nonsense")


def test_one_subject_may_be_examined_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-1]))
    settings = load_config(Wishes(isolated=True)).settings_for(str(path))
    (subject,) = subjects_of(str(path), settings, Reading())
    assert [each.code for each in examine(subject) if each.severity == "error"]
    assert subject.unreadable is not None


def test_the_working_folder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nii")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    (told,) = checked(path)
    assert not told.message

"""What stands in the repository is true: commands of the README, extras, packaged files, no machine's paths."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

import medimg_cli
from medimg_cli.cli.app import COMMANDS, build, main
from medimg_cli.cli.example import example_path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _shell_lines(text: str) -> list[str]:
    """Return what a reader would type: lines of code blocks that are for a shell, prompts taken off."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ") or not any(b in line for b in "│─")]


def _calls(text: str) -> list[list[str]]:
    """Return the words of each call of medimg: command first."""
    return [call.split() for call in re.findall(r"(?:^|[\s/`(])medimg ((?:[\w-]+)[^|;&)`\n]*)", text)]


def test_every_command_that_the_readme_types_exists() -> None:
    names = {row.name: row for row in COMMANDS}
    calls = [words for line in _shell_lines(README) for words in _calls(line)]
    assert calls
    for words in calls:
        assert words[0] in names, f"README types: medimg {' '.join(words)}"
        known = {word for parameter in build(names[words[0]]).params for word in parameter.opts}
        for word in words[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"README types: medimg {' '.join(words)}"


def test_readme_has_the_two_commands_that_do_everything() -> None:
    assert 'medimg info "$(.venv/bin/medimg example)"' in README
    assert "pytest" in README
    first_screen = README.splitlines()[:60]
    assert any("medimg info" in line for line in first_screen)


def test_what_the_readme_shows_is_what_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(example_path(), tmp_path / "bold.nii.gz")
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    calls = [part for block in shown for part in block.split("$ medimg ")[1:]]
    assert len(calls) >= 2
    for call in calls:
        words, _, expected = call.partition("\n")
        assert main(words.split()) == 0
        said = capsys.readouterr()
        assert said.out + said.err == expected.rstrip("\n") + "\n"


def test_every_command_has_a_man_page() -> None:
    assert {path.name for path in (ROOT / "man").iterdir()} == {
        "medimg.1", *(f"medimg-{row.name}.1" for row in COMMANDS)
    }  # fmt: skip


def test_packaged_files_exist_and_go_where_shells_and_man_look() -> None:
    shared = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert all((ROOT / source).exists() for source in shared)
    assert set(shared.values()) == {
        "share/man/man1",
        "share/bash-completion/completions/medimg",
        "share/zsh/site-functions/_medimg",
        "share/fish/vendor_completions.d/medimg.fish",
    }
    assert (ROOT / "medimg_cli" / "py.typed").exists()


def test_version_is_written_once() -> None:
    assert "version" not in PROJECT["project"] and PROJECT["project"]["dynamic"] == ["version"]
    assert f"## [{medimg_cli.__version__}]" in (ROOT / "CHANGELOG.md").read_text() or "[Unreleased]" in (
        ROOT / "CHANGELOG.md"
    ).read_text(encoding="utf-8")


def test_all_is_every_extra_but_ffmpeg() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    named = everything.removeprefix("medimg-cli[").removesuffix("]").split(",")
    assert sorted(named) == sorted(set(extras) - {"all", "dev", "ffmpeg"})


def test_every_extra_that_a_format_names_exists() -> None:
    from medimg_cli.formats import FORMATS

    assert {row.extra for row in FORMATS if row.extra} <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a git checkout")
def test_no_file_names_a_machine() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    homes = "|".join(("wor" + "k", "ro" + "ot", "tmp/" + "plan"))
    hosts = r"https?://(?:[a-z]+\.)?(?:py" + r"pi|python" + r"hosted|npm" + r"js)\.(?:org|com|io)"
    forbidden = re.compile(rf"(?<![\w.])/(?:{homes})/|{hosts}")
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        assert len(content) < 1 << 20, f"{name} is over 1 MiB"
        found = forbidden.search(content.decode("utf-8", "replace"))
        assert found is None, f"{name} names {found.group() if found else ''}"
